/*
 * test_large.c - large pieces of memory: where they begin, that they are zero, that they can be had and given back, and what happens when not.
 *
 * Touches: memory maps; a file without a name; a child process with a limit on its memory.
 */
#include "dataplane/base/large.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"

static void
test_large_is_zero_at_a_line_and_can_be_given_back(void **state)
{
	static const size_t sizes[] = { 0, 1, 63, 64, 4097, LARGE_MIN_OCTETS - 1, LARGE_MIN_OCTETS, LARGE_PAGE_OCTETS,
		3 * LARGE_PAGE_OCTETS + 5 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		for (unsigned touched = 0; touched < 2; touched++) {
			uint8_t *at = touched ? large_alloc_touched(sizes[i]) : large_alloc(sizes[i]);
			size_t other = 0;

			CHECK_TRUE("there is some", at != NULL);
			CHECK_EQ("at a line", (uintptr_t)at % 64, 0);
			for (size_t k = 0; k < sizes[i]; k++)
				other += at[k] != 0;
			CHECK_EQ("zero", other, 0);
			memset(at, 0xff, sizes[i]); /* to its last octet */
			large_free(at, sizes[i]);
		}
	}
	large_free(NULL, LARGE_PAGE_OCTETS);
}

/* Both ends of it lie in huge pages of its own, else the kernel could give none there. */
static void
test_large_has_whole_huge_pages(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	(void)state;
	skip(); /* all of it is malloc()'s */
#else
	const size_t octets = 2 * LARGE_PAGE_OCTETS + 100;
	uint8_t *at = large_alloc(octets), *other = large_alloc(octets + 64), *first, *end;
	unsigned char resident;

	(void)state;
	CHECK_TRUE("there is some", at != NULL && other != NULL);
	first = at - (uintptr_t)at % LARGE_PAGE_OCTETS;
	end = at + octets + (LARGE_PAGE_OCTETS - (uintptr_t)(at + octets) % LARGE_PAGE_OCTETS);
	for (uint8_t *page = first; page < end; page += 4096)
		CHECK_EQ("mapped", mincore(page, 1, &resident), 0);
	CHECK_TRUE("another begins elsewhere in its page",
		(uintptr_t)other % LARGE_PAGE_OCTETS != (uintptr_t)at % LARGE_PAGE_OCTETS);
	large_free(other, octets + 64);
	large_free(at, octets);
	CHECK_TRUE("given back", mincore(first, 1, &resident) != 0 && errno == ENOMEM);
#endif
}

static void
test_large_of_a_file_begins_at_a_huge_page(void **state)
{
	const int fd = memfd_create("greyline-test", MFD_CLOEXEC);
	uint8_t *at;
	char seen = 0;

	(void)state;
	CHECK_TRUE("a file", fd >= 0 && ftruncate(fd, LARGE_PAGE_OCTETS) == 0);
	at = large_map_file(fd, LARGE_PAGE_OCTETS, PROT_READ | PROT_WRITE);
	CHECK_TRUE("mapped", at != MAP_FAILED);
	CHECK_EQ("where a huge page begins", (uintptr_t)at % LARGE_PAGE_OCTETS, 0);
	at[7] = 'x';
	large_collapse(at, LARGE_PAGE_OCTETS); /* whether or not this kernel can */
	CHECK_TRUE("shared", pread(fd, &seen, 1, 7) == 1 && seen == 'x');
	munmap(at, LARGE_PAGE_OCTETS);
	close(fd);
	CHECK_TRUE("no file", large_map_file(-1, LARGE_PAGE_OCTETS, PROT_READ) == MAP_FAILED && errno == EBADF);
}

/* Sums that would wrap: without a limit, which would refuse the little that comes of it as well. */
static void
test_large_of_more_than_there_are_addresses_is_null(void **state)
{
	static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 63, SIZE_MAX - 127, SIZE_MAX - LARGE_PAGE_OCTETS,
		SIZE_MAX - 3 * LARGE_PAGE_OCTETS };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
#ifdef __SANITIZE_ADDRESS__
		if (sizes[i] < SIZE_MAX - 127)
			break; /* it ends the process rather than refuse these */
#endif
		CHECK_TRUE("none", large_alloc(sizes[i]) == NULL);
		CHECK_TRUE("nor touched", large_alloc_touched(sizes[i]) == NULL);
	}
}

/* A piece beyond what the process may have. */
static void
test_large_that_cannot_be_had_is_null(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	(void)state;
	skip(); /* it needs the addresses itself */
#else
	const pid_t child = fork();
	int status = -1;

	(void)state;
	if (child == 0) {
		const struct rlimit none = { 0, 0 };
		const size_t octets = 16 * LARGE_PAGE_OCTETS;

		if (setrlimit(RLIMIT_AS, &none) != 0)
			_exit(2);
		_exit(large_alloc(octets) != NULL || large_alloc_touched(octets) != NULL);
	}
	CHECK_TRUE("child", child > 0 && waitpid(child, &status, 0) == child);
	CHECK_EQ("none", status, 0);
#endif
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_is_zero_at_a_line_and_can_be_given_back),
		cmocka_unit_test(test_large_has_whole_huge_pages),
		cmocka_unit_test(test_large_of_a_file_begins_at_a_huge_page),
		cmocka_unit_test(test_large_of_more_than_there_are_addresses_is_null),
		cmocka_unit_test(test_large_that_cannot_be_had_is_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
