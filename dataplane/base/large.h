/*
 * large.h - large pieces of memory, so laid that the kernel can back them by pages of 2 MiB: a table of some hundred MiB in pages of 4 KiB costs
 * a walk of the page tables at nearly every look.
 *
 * Flow:   whoever makes a pool or table at start -> large_alloc();  link/segment.c -> large_map_file(), large_collapse()
 * Touches: memory maps.
 * Keeps:  advice alone: where the kernel has no such page, or may not give one (transparent_hugepage/enabled = never, large_forbid()), all
 *         works as it would have.
 */
#ifndef GREYLINE_BASE_LARGE_H
#define GREYLINE_BASE_LARGE_H

#include <stdbool.h>
#include <stddef.h>

#define LARGE_PAGE_OCTETS ((size_t)2 << 20) /* of x86-64 and of ARM with pages of 4 KiB */
/* Less comes from malloc(): a page of 2 MiB for it would be more than half empty. */
#define LARGE_MIN_OCTETS ((size_t)1 << 20)

/*
 * octets of zeros at a cache line's begin; from LARGE_MIN_OCTETS on at a huge page's begin, with whole huge pages to its end. Its pages are
 * there when they are first needed. Allocates; NULL when memory is short. large_free() wants the same octets.
 */
void *large_alloc(size_t octets);
void large_free(void *at, size_t octets);

/* As large_alloc(), with all of its pages there from now on: for what is looked at all over from the first second. */
void *large_alloc_touched(size_t octets);

/* Maps a file from its begin, shared, at a huge page's begin. MAP_FAILED and errno. munmap() ends it. */
void *large_map_file(int fd, size_t octets, int prot);

/* Makes what lies there into huge pages now, whatever the file system's own rule; every 2 MiB of it hold at least one page. Some octets may stay
 * as they are: memory is short or in pieces, or the kernel is older than 6.1. */
void large_collapse(void *at, size_t octets);

/* No huge pages for this process from now on. */
void large_forbid(void);

#endif
