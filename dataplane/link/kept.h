/*
 * kept.h - memory of one process that outlives it: a file beside the segment.
 *
 * Flow:   main -> kept_open() -> worker_create();  nobody closes it: the kernel does, and the next life finds what was there
 * Touches: one file of mode 0600 in the segment's folder. The caller holds the segment's lock of its role, so there is one user at a time.
 * Keeps:  what another build or another shape left is thrown away whole. Contents are to be checked by who reads them.
 */
#ifndef GREYLINE_LINK_KEPT_H
#define GREYLINE_LINK_KEPT_H

#include <stdint.h>

/* Maps path with octets zeroed, or as the last life left them where its word is the same (a number for version and shape). NULL: why says
 * what failed; a caller can do without. Aligned to a page. */
void *kept_open(const char *path, uint64_t word, uint64_t octets, char *why, uint32_t why_octets);

#endif
