/*
 * test_pages.c - what /proc/self/smaps says of pages, read right; and that segment and worker's memory have huge pages where the kernel has any.
 *
 * Touches: a file in /dev/shm (or TMPDIR), gone at once; memory maps; child processes.
 */
#include "dataplane/link/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/base/large.h"
#include "dataplane/link/segment.h"
#include "tests/check.h"

#define TABLE_ENTRIES 500000 /* some 11 MiB */

static void
test_pages_are_counted_by_mapping(void **state)
{
	static const char text[] =
		"400000-401000 r-xp 00000000 08:01 12 /usr/sbin/greyline-dataplane\n"
		"Size:                  4 kB\nRss:                   4 kB\nVmFlags: rd ex\n"
		"10000000-10800000 rw-s 00000000 00:18 3 /dev/shm/greyline-1/segment\n"
		"Rss:                6144 kB\nAnonymous:             0 kB\nFilePmdMapped:         0 "
		"kB\nShmemPmdMapped:     4096 kB\n"
		"Private_Hugetlb:        0 kB\nVmFlags: rd wr sh mr mw me ms sd hg\n"
		"20000000-20400000 rw-p 00000000 00:00 0\n"
		"Rss:                 200 kB\nAnonymous:           200 kB\nAnonHugePages:         0 kB\n"
		"20400000-20c00000 rw-p 00000000 00:00 0\n"
		"Rss:                8192 kB\nAnonHugePages:      2048 kB\n"
		"30000000-30200000 rw-s 00000000 00:0f 7 /dev/hugepages/greyline-1map_0\n"
		"Rss:                   0 kB\nShared_Hugetlb:        0 kB\nPrivate_Hugetlb:     2048 kB\n";
	struct pages there, other;
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");

	(void)state;
	CHECK_TRUE("text", f != NULL);
	CHECK_EQ("read", pages_read(f, (const void *)0x10000000, 0x800000, &there, &other), 0);
	fclose(f);
	CHECK_EQ("of the segment", there.octets, 6144 << 10);
	CHECK_EQ("huge", there.huge_octets, 4096 << 10);
	CHECK_EQ("else, what is written to", other.octets, (200 + 8192 + 2048) << 10);
	CHECK_EQ("huge", other.huge_octets, (2048 + 2048) << 10);
	f = fopen("/dev/null", "r");
	CHECK_EQ("a kernel that does not tell", pages_read(f, NULL, 0, &there, &other), -ENOSYS);
	fclose(f);
}

/* Whether this kernel gives huge pages to who asks, and has any now: by a way of asking that is not the one under test. */
static bool
kernel_has_huge_pages(bool shared)
{
	const size_t octets = 2 * LARGE_PAGE_OCTETS;
	uint8_t *at =
		mmap(NULL, octets, PROT_READ | PROT_WRITE, (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
	uint8_t *page = at + (LARGE_PAGE_OCTETS - (uintptr_t)at % LARGE_PAGE_OCTETS) % LARGE_PAGE_OCTETS;
	struct pages there = { 0 }, other;

	CHECK_TRUE("mapped", at != MAP_FAILED);
	*page = 1;
	if (shared)
		(void)madvise(page, LARGE_PAGE_OCTETS, 25 /* MADV_COLLAPSE */);
	else {
		(void)madvise(at, octets, MADV_HUGEPAGE);
		page[4096] = 1;
		(void)madvise(page, LARGE_PAGE_OCTETS, 25);
	}
	(void)pages_look(at, octets, &there, &other);
	munmap(at, octets);
	return there.huge_octets > 0;
}

/* Exit code: what was found of a segment made with or without them. 0: as it should be, 1: it has others, 77: this kernel has none now. */
static int
look_at_segment(bool plain)
{
	const struct segment_params params = {
		.entries = TABLE_ENTRIES, .table_key = { 1, 2 }, .workers = 1, .plain_pages = plain
	};
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
	char folder[200], path[250], lock[260], why[256];
	struct segment c, d;
	struct pages there, other;
	bool created;
	int result = 2; /* it cannot be looked at */

	snprintf(folder, sizeof(folder), "%s/greyline-test-XXXXXX", base != NULL ? base : "/tmp");
	if (mkdtemp(folder) == NULL)
		return 3;
	snprintf(path, sizeof(path), "%s/segment", folder);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	if (segment_open_control(&c, path, &params, &created, why, sizeof(why)) == 0) {
		if (segment_open_dataplane(&d, path, why, sizeof(why)) == 0) {
			if (pages_look(d.base, d.octets, &there, &other) == 0 && there.octets == d.octets)
				result = plain ? there.huge_octets != 0 : there.huge_octets != d.octets;
			segment_close(&d, true);
		}
		segment_close(&c, true);
	}
	unlink(path);
	unlink(lock);
	rmdir(folder);
	return result == 1 && !plain && !kernel_has_huge_pages(true) ? 77 : result;
}

/* Exit code as above, of memory as a worker has it. */
static int
look_at_memory(bool forbidden)
{
	const size_t octets = 4 * LARGE_PAGE_OCTETS;
	struct pages there, other;
	uint8_t *at;

	if (forbidden)
		large_forbid();
	at = large_alloc_touched(octets);
	if (at == NULL ||
		pages_look(at - (uintptr_t)at % LARGE_PAGE_OCTETS, octets + LARGE_PAGE_OCTETS, &there, &other) != 0 ||
		there.octets < octets)
		return 1;
	large_free(at, octets);
	if (forbidden)
		return there.huge_octets != 0;
	return there.huge_octets >= octets ? 0 : kernel_has_huge_pages(false) ? 1 : 77;
}

static void
check_in_child(const char *label, int (*look)(bool), bool without)
{
	const pid_t child = fork();
	int status = -1;

	if (child == 0)
		_exit(look(without));
	CHECK_TRUE("child", child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("not tried: this kernel has no huge page now\n");
		skip();
	}
	CHECK_EQ(label, WEXITSTATUS(status), 0);
}

/* No mount option, no setting: the mount of /dev/shm says huge=never nearly everywhere. */
static void
test_pages_of_a_segment_are_huge(void **state)
{
	(void)state;
	check_in_child("all of it", look_at_segment, false);
}

static void
test_pages_of_a_segment_are_plain_where_so_wanted(void **state)
{
	(void)state;
	check_in_child("none of it", look_at_segment, true);
}

#ifndef __SANITIZE_ADDRESS__ /* there it is all malloc()'s */
static void
test_pages_of_a_worker_are_huge(void **state)
{
	(void)state;
	check_in_child("all of it", look_at_memory, false);
}
#endif

static void
test_pages_of_a_worker_are_plain_where_forbidden(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	(void)state;
	(void)look_at_memory;
	skip();
#else
	(void)state;
	check_in_child("none of it", look_at_memory, true);
#endif
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages_are_counted_by_mapping),
		cmocka_unit_test(test_pages_of_a_segment_are_huge),
		cmocka_unit_test(test_pages_of_a_segment_are_plain_where_so_wanted),
#ifndef __SANITIZE_ADDRESS__
		cmocka_unit_test(test_pages_of_a_worker_are_huge),
#endif
		cmocka_unit_test(test_pages_of_a_worker_are_plain_where_forbidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
