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
	uint8_t *at = large_alloc(octets), *first, *end;
	unsigned char resident;

	(void)state;
	CHECK_TRUE("there is some", at != NULL);
	first = at - (uintptr_t)at % LARGE_PAGE_OCTETS;
	end = at + octets + (LARGE_PAGE_OCTETS - (uintptr_t)(at + octets) % LARGE_PAGE_OCTETS);
	for (uint8_t *page = first; page < end; page += 4096)
		CHECK_EQ("mapped", mincore(page, 1, &resident), 0);
	CHECK_TRUE("another begins elsewhere in its page",
		(uintptr_t)large_alloc(octets + 64) % LARGE_PAGE_OCTETS != (uintptr_t)at % LARGE_PAGE_OCTETS);
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

/* A piece beyond a limit, and sums that would wrap. */
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

		static const size_t sizes[] = { 16 * LARGE_PAGE_OCTETS, SIZE_MAX - LARGE_PAGE_OCTETS, SIZE_MAX };

		if (setrlimit(RLIMIT_AS, &none) != 0)
			_exit(2);
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
			if (large_alloc(sizes[i]) != NULL || large_alloc_touched(sizes[i]) != NULL)
				_exit(3 + (int)i);
		_exit(0);
	}
	CHECK_TRUE("child", child > 0 && waitpid(child, &status, 0) == child);
	CHECK_EQ("none of them", status, 0);
#endif
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_is_zero_at_a_line_and_can_be_given_back),
		cmocka_unit_test(test_large_has_whole_huge_pages),
		cmocka_unit_test(test_large_of_a_file_begins_at_a_huge_page),
		cmocka_unit_test(test_large_that_cannot_be_had_is_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
