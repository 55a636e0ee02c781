/*
 * pages.h - which pages back this process's memory: whether tables lie in pages of 2 MiB or of 4 KiB is seen nowhere else.
 *
 * Flow:   the data plane's main thread, at start and once a minute -> pages_look() -> segment_live -> greylinectl status, metrics
 * Touches: /proc/self/smaps.
 */
#ifndef GREYLINE_LINK_PAGES_H
#define GREYLINE_LINK_PAGES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct pages {
	uint64_t octets;      /* that are there: with a page behind them, mapped by this process */
	uint64_t huge_octets; /* of them, in pages of 2 MiB and more */
};

/* What lies at [at, at + octets), and all else this process may write to. 0, or -errno: -ENOSYS where the kernel does not tell. */
int pages_look(const void *at, size_t octets, struct pages *there, struct pages *else_where);

/* The same of a text as /proc/PID/smaps has it; f is read to its end. */
int pages_read(FILE *f, const void *at, size_t octets, struct pages *there, struct pages *else_where);

#endif
