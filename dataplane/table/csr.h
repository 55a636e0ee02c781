/*
 * csr.h - hash buckets of a position-independent table: start[b] to start[b + 1] are the entries of bucket b.
 *
 * Flow:   prefix.c and name_set.c; not for others.
 * Pure:   the octets lent.
 * Keeps:  entries are dense and buckets cost 4 octets each, so a million networks fit the 32 octets each that DESIGN
 *         section 1 allows; a chain that csr_valid() took has at most CSR_CHAIN_MAX entries, so a lookup is bounded
 *         whatever the file says.
 */
#ifndef GREYLINE_TABLE_CSR_H
#define GREYLINE_TABLE_CSR_H

#include <stdbool.h>
#include <stdint.h>

/* With as many buckets as entries and a keyed hash the longest chain of 2^32 entries is about 13 (balls into bins). */
#define CSR_CHAIN_MAX 64

static inline uint32_t
csr_bucket(uint64_t hash, uint32_t n_buckets)
{
	return (uint32_t)((unsigned __int128)hash * n_buckets >> 64);
}

/* start has n_buckets + 1 numbers: rising, from 0 to n_entries, no chain too long. */
static inline bool
csr_valid(const uint32_t *start, uint32_t n_buckets, uint32_t n_entries)
{
	if (n_buckets == 0 || start[0] != 0 || start[n_buckets] != n_entries)
		return false;
	for (uint32_t b = 0; b < n_buckets; b++) {
		if (start[b + 1] < start[b] || start[b + 1] - start[b] > CSR_CHAIN_MAX)
			return false;
	}
	return true;
}

/* From how many each bucket gets (in start[b]) to where each ends; filling then goes backwards with --start[b]. */
static inline void
csr_sum(uint32_t *start, uint32_t n_buckets)
{
	uint32_t sum = 0;

	for (uint32_t b = 0; b < n_buckets; b++) {
		sum += start[b];
		start[b] = sum;
	}
	start[n_buckets] = sum;
}

#endif
