/*
 * tls_memory.h - OpenSSL's memory: one capped region for each lcore, and one for the main thread's keys.
 *
 * Flow:   main: tls_memory_install() -> tls_memory_create() for each worker; tls_context, stream_tls: tls_memory_enter() around every
 *         call of OpenSSL
 * Touches: mmap, mlock, madvise at creation. Nothing while serving: pages are touched as they are first used.
 * Keeps:  a region never gives more than its cap; what it holds is locked (as far as the limit allows) and never in a core dump; memory
 *         may be freed by any thread, and goes back to the region it came from.
 *
 * CRYPTO_set_mem_functions() is for the whole process, so the region is chosen by the calling thread: what it entered, or the
 * libc heap where it entered none (start, tools, tests that do not install this). Whose a block is tells its address: all regions lie in
 * one reservation of address space. An lcore's own blocks cost it no lock and no atomic operation; a block that another thread frees
 * waits on a list of its region until the owner passes.
 */
#ifndef GREYLINE_TLS_TLS_MEMORY_H
#define GREYLINE_TLS_TLS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_MEMORY_REGIONS_MAX      32         /* workers, the main thread, and some to spare */
#define TLS_MEMORY_PAGE_OCTETS      131072     /* a page holds blocks of one size */
#define TLS_MEMORY_BLOCK_MAX_OCTETS 131072     /* larger ones are refused: no message of TLS needs them */
#define TLS_MEMORY_CAP_MIN_OCTETS   (4u << 20) /* one page for each size that OpenSSL asks for */
#define TLS_MEMORY_CAP_MAX_OCTETS   (UINT64_C(64) << 30)

struct tls_memory;

/*
 * Takes over OpenSSL's allocations: before anything in the process has used OpenSSL. cap_max_octets is the most a region may be given
 * later. 0; -EBUSY where OpenSSL has allocated already; -ENOMEM where so much address space cannot be had.
 */
int tls_memory_install(uint64_t cap_max_octets);

/* A region of cap_octets (rounded up to pages). NULL when no slot or memory is left. Locked tells whether its pages can be locked. */
struct tls_memory *tls_memory_create(uint64_t cap_octets, bool *locked);
/* Drops a region with all that lies in it: whatever was allocated there must not be used any more. */
void tls_memory_destroy(struct tls_memory *m);

/* From now on the calling thread allocates from m (NULL: the libc heap). Answers what it used before, to be entered again afterwards. */
struct tls_memory *tls_memory_enter(struct tls_memory *m);

uint64_t tls_memory_cap_octets(const struct tls_memory *m);
uint64_t tls_memory_used_octets(const struct tls_memory *m); /* in blocks given out; read by any thread */
uint64_t tls_memory_free_octets(const struct tls_memory *m); /* of pages that hold no block yet: what is surely left */
uint64_t tls_memory_refused(const struct tls_memory *m);     /* allocations refused: cap, or too large */

#endif
