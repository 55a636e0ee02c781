/*
 * block_hash.h - the keyed hash of one block, where one is made for each segment: AES-128 of it, in twelve instructions.
 *
 * Pure:   octets and key in, 64 bits out. Whether this processor has AES is asked once, when the key is made ready.
 * Keeps:  where it has not, the hash is SipHash of the same octets: slower, as hard to guess, and another number. So it is for tables of
 *         this process alone.
 * Source: FIPS 197; all ten rounds, so that it is the block cipher and no invention of ours.
 */
#ifndef GREYLINE_BASE_BLOCK_HASH_H
#define GREYLINE_BASE_BLOCK_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/siphash.h"

#define BLOCK_HASH_ROUNDS 10

struct block_hash {
	_Alignas(16) uint8_t round_key[BLOCK_HASH_ROUNDS + 1][16];
	struct siphash_key key; /* where there is no AES */
	bool aes;
};

/* Makes key ready. */
void block_hash_init(struct block_hash *h, const struct siphash_key *key);

/* Of 12 octets, as they lie in memory: eight and four. The block's other four are zero. */
uint64_t block_hash_12(const struct block_hash *h, uint64_t first, uint32_t last);
/* The same for what others are told some bits of: without AES all rounds of SipHash-2-4. */
uint64_t block_hash_told(const struct block_hash *h, uint64_t first, uint32_t last);

#endif
