/*
 * siphash.h - the keyed hash of everything an attacker may choose: table keys, SYN cookies, references.
 *
 * Pure:   octets and key in, 64 bits out.
 * Source: Aumasson and Bernstein, SipHash: a fast short-input PRF (2012); SipHash-2-4.
 */
#ifndef GREYLINE_BASE_SIPHASH_H
#define GREYLINE_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t k0, k1;
};

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len_octets);
/* Of word (its octets as they lie in memory) and data behind it: what begins with a number of ours needs no copy. */
uint64_t siphash_word_and(const struct siphash_key *key, uint64_t word, const void *data, size_t len_octets);

/* Of 12 octets, as they lie in memory: eight and four. */
uint64_t siphash_12(const struct siphash_key *key, uint64_t first, uint32_t last);

/* Of 20 octets: twice eight and four. */
uint64_t siphash_20(const struct siphash_key *key, uint64_t first, uint64_t second, uint32_t last);

/*
 * Of 12 octets as SipHash-1-3. For tables of this process alone, looked at with each segment, whose
 * hashes nobody is told: there fewer rounds are what its authors propose (and the kernel's and other tables use). Not for cookies and keys.
 */
uint64_t siphash13_12(const struct siphash_key *key, uint64_t first, uint32_t last);
/* siphash_word_and() likewise, for tags of the shared table that nobody is told. */
uint64_t siphash13_word_and(const struct siphash_key *key, uint64_t word, const void *data, size_t len_octets);

/* For input that comes in pieces. */
struct siphash_state {
	uint64_t v0, v1, v2, v3;
	uint64_t tail;
	uint32_t n_octets;
};

void siphash_init(struct siphash_state *s, const struct siphash_key *key);
void siphash_update(struct siphash_state *s, const void *data, size_t len_octets);
uint64_t siphash_final(struct siphash_state *s);

#endif
