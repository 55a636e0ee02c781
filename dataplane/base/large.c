/*
 * large.c - see large.h.
 *
 * Touches: memory maps.
 */
#include "dataplane/base/large.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define LINE_OCTETS ((size_t)64)
/*
 * Where a table begins in its first huge page: were all to begin where a page does, their first blocks, which are used most, would lie in the same
 * sets of every cache, up to one of 2 MiB with 16 ways.
 */
#define COLOURS 2048u

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

static size_t
up_to(size_t octets, size_t unit)
{
	return (octets + unit - 1) & ~(unit - 1);
}

/* Under AddressSanitizer all of it is malloc()'s, which sees what is written beyond its end and what is never freed. */
static bool
is_mapped(size_t octets)
{
#ifdef __SANITIZE_ADDRESS__
	(void)octets;
	return false;
#else
	return octets >= LARGE_MIN_OCTETS;
#endif
}

/* Addresses for octets at a huge page's begin, with nothing behind them yet. MAP_FAILED: there are none. */
static void *
reserve(size_t octets)
{
	const size_t all = octets + LARGE_PAGE_OCTETS;
	uint8_t *base = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (base == MAP_FAILED)
		return MAP_FAILED;
	before = up_to((uintptr_t)base, LARGE_PAGE_OCTETS) - (uintptr_t)base;
	if (before > 0)
		(void)munmap(base, before);
	(void)munmap(base + before + octets, all - before - octets);
	return base + before;
}

/* Of octets alone, so that large_free() knows it, too, and each run has the same. */
static size_t
colour_octets(size_t octets)
{
	return (size_t)((uint64_t)octets * UINT64_C(0x9e3779b97f4a7c15) >> 32) % COLOURS * LINE_OCTETS;
}

/* Of all huge pages that hold octets. */
static size_t
whole_octets(size_t octets)
{
	return up_to(colour_octets(octets) + octets, LARGE_PAGE_OCTETS);
}

/* Where malloc()'s piece begins is kept before the line it is given out from. */
static void *
alloc_line(size_t octets)
{
	uint8_t *memory, *at;

	if (octets > SIZE_MAX - 2 * LINE_OCTETS)
		return NULL;
	memory = calloc(1, octets + 2 * LINE_OCTETS);
	if (memory == NULL)
		return NULL;
	at = memory + (up_to((uintptr_t)memory + sizeof(void *), LINE_OCTETS) - (uintptr_t)memory);
	((void **)(void *)at)[-1] = memory;
	return at;
}

static void *
alloc_pages(size_t octets)
{
	const size_t whole = whole_octets(octets);
	uint8_t *at;

	if (octets > SIZE_MAX - 4 * LARGE_PAGE_OCTETS || (at = reserve(whole)) == MAP_FAILED)
		return NULL;
	if (mmap(at, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
		(void)munmap(at, whole);
		return NULL;
	}
	(void)madvise(at, whole, MADV_HUGEPAGE);
	return at + colour_octets(octets);
}

void *
large_alloc(size_t octets)
{
	return is_mapped(octets) ? alloc_pages(octets) : alloc_line(octets);
}

void *
large_alloc_touched(size_t octets)
{
	void *at = large_alloc(octets);

	if (at != NULL && is_mapped(octets))
		(void)madvise((uint8_t *)at - colour_octets(octets), whole_octets(octets), MADV_POPULATE_WRITE);
	return at;
}

void
large_free(void *at, size_t octets)
{
	if (at == NULL)
		return;
	if (is_mapped(octets))
		(void)munmap((uint8_t *)at - colour_octets(octets), whole_octets(octets));
	else
		free(((void **)at)[-1]);
}

void *
large_map_file(int fd, size_t octets, int prot)
{
	void *at = reserve(octets), *base;

	if (at == MAP_FAILED)
		return MAP_FAILED;
	base = mmap(at, octets, prot, MAP_SHARED | MAP_FIXED, fd, 0);
	if (base == MAP_FAILED) {
		const int error = errno;

		(void)munmap(at, octets);
		errno = error;
		return MAP_FAILED;
	}
	(void)madvise(base, octets, MADV_HUGEPAGE);
	return base;
}

void
large_collapse(void *at, size_t octets)
{
	(void)madvise(at, octets, MADV_COLLAPSE);
}

void
large_forbid(void)
{
	(void)prctl(PR_SET_THP_DISABLE, 1UL, 0UL, 0UL, 0UL);
}
