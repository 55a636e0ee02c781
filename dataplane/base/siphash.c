/*
 * siphash.c - SipHash-2-4, whole or in pieces, and SipHash-1-3 for tables.
 *
 * Pure:   see the header.
 * Source: the paper's section 2 for the rounds, its appendix A for the test vector.
 */
#include "dataplane/base/siphash.h"

#include <string.h>

static inline uint64_t
rotl(uint64_t x, unsigned b)
{
	return x << b | x >> (64 - b);
}

static inline void
sip_round(struct siphash_state *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static inline void
sip_block(struct siphash_state *s, uint64_t m)
{
	s->v3 ^= m;
	sip_round(s);
	sip_round(s);
	s->v0 ^= m;
}

/* By value, so that a hash in one go lives in registers. */
static inline struct siphash_state
sip_start(const struct siphash_key *key)
{
	return (struct siphash_state){
		.v0 = key->k0 ^ UINT64_C(0x736f6d6570736575),
		.v1 = key->k1 ^ UINT64_C(0x646f72616e646f6d),
		.v2 = key->k0 ^ UINT64_C(0x6c7967656e657261),
		.v3 = key->k1 ^ UINT64_C(0x7465646279746573),
	};
}

static inline uint64_t
sip_finish(struct siphash_state v)
{
	sip_block(&v, v.tail | (uint64_t)(v.n_octets & 0xff) << 56);
	v.v2 ^= 0xff;
	sip_round(&v);
	sip_round(&v);
	sip_round(&v);
	sip_round(&v);
	return v.v0 ^ v.v1 ^ v.v2 ^ v.v3;
}

void
siphash_init(struct siphash_state *s, const struct siphash_key *key)
{
	*s = sip_start(key);
}

/* The last 0 to 7 octets at p as a little-endian word: x86-64 and arm64 as we build them. */
static inline uint64_t
load_tail(const uint8_t *p, size_t len_octets)
{
	uint32_t four;
	uint16_t two;
	uint64_t m = 0;
	unsigned at = 0;

	if (len_octets & 4) {
		memcpy(&four, p, 4);
		m = four;
		at = 4;
	}
	if (len_octets & 2) {
		memcpy(&two, p + at, 2);
		m |= (uint64_t)two << (8 * at);
		at += 2;
	}
	if (len_octets & 1)
		m |= (uint64_t)p[at] << (8 * at);
	return m;
}

/* Whole words, whatever the place they begin at: what is over of one word goes into the next, never octet by octet. */
void
siphash_update(struct siphash_state *s, const void *data, size_t len_octets)
{
	const uint8_t *p = data;
	const unsigned held = s->n_octets % 8; /* octets in tail */
	struct siphash_state v = *s;

	v.n_octets += (uint32_t)len_octets;
	for (; len_octets >= 8; p += 8, len_octets -= 8) {
		uint64_t m;

		memcpy(&m, p, 8);
		if (held == 0) {
			sip_block(&v, m);
		} else {
			sip_block(&v, v.tail | m << (8 * held));
			v.tail = m >> (64 - 8 * held);
		}
	}
	if (len_octets > 0) {
		const uint64_t m = load_tail(p, len_octets);

		v.tail |= m << (8 * held);
		if (held + len_octets >= 8) {
			sip_block(&v, v.tail);
			v.tail = held + len_octets > 8 ? m >> (64 - 8 * held) : 0;
		}
	}
	*s = v;
}

uint64_t
siphash_final(struct siphash_state *s)
{
	return sip_finish(*s);
}

/* All of data behind what s holds already, n_before octets, a whole number of words. */
static inline uint64_t
sip_rest(struct siphash_state s, uint32_t n_before, const void *data, size_t len_octets)
{
	const uint8_t *p = data;
	const size_t octets = len_octets;

	for (; len_octets >= 8; p += 8, len_octets -= 8) {
		uint64_t m;

		memcpy(&m, p, 8);
		sip_block(&s, m);
	}
	s.tail = load_tail(p, len_octets);
	s.n_octets = n_before + (uint32_t)octets;
	return sip_finish(s);
}

uint64_t
siphash(const struct siphash_key *key, const void *data, size_t len_octets)
{
	return sip_rest(sip_start(key), 0, data, len_octets);
}

uint64_t
siphash_word_and(const struct siphash_key *key, uint64_t word, const void *data, size_t len_octets)
{
	struct siphash_state s = sip_start(key);

	sip_block(&s, word);
	return sip_rest(s, sizeof(word), data, len_octets);
}

uint64_t
siphash_12(const struct siphash_key *key, uint64_t first, uint32_t last)
{
	struct siphash_state s = sip_start(key);

	sip_block(&s, first);
	s.tail = last;
	s.n_octets = 12;
	return sip_finish(s);
}

uint64_t
siphash_20(const struct siphash_key *key, uint64_t first, uint64_t second, uint32_t last)
{
	struct siphash_state s = sip_start(key);

	sip_block(&s, first);
	sip_block(&s, second);
	s.tail = last;
	s.n_octets = 20;
	return sip_finish(s);
}

static inline void
sip13_block(struct siphash_state *s, uint64_t m)
{
	s->v3 ^= m;
	sip_round(s);
	s->v0 ^= m;
}

static inline uint64_t
sip13_finish(struct siphash_state v, uint64_t last)
{
	sip13_block(&v, last);
	v.v2 ^= 0xff;
	sip_round(&v);
	sip_round(&v);
	sip_round(&v);
	return v.v0 ^ v.v1 ^ v.v2 ^ v.v3;
}

uint64_t
siphash13_word_and(const struct siphash_key *key, uint64_t word, const void *data, size_t len_octets)
{
	const uint64_t n_octets = sizeof(word) + len_octets;
	struct siphash_state s = sip_start(key);
	const uint8_t *p = data;

	sip13_block(&s, word);
	for (; len_octets >= 8; p += 8, len_octets -= 8) {
		uint64_t m;

		memcpy(&m, p, 8);
		sip13_block(&s, m);
	}
	return sip13_finish(s, load_tail(p, len_octets) | n_octets << 56);
}

uint64_t
siphash13_12(const struct siphash_key *key, uint64_t first, uint32_t last)
{
	struct siphash_state s = sip_start(key);

	sip13_block(&s, first);
	return sip13_finish(s, last | UINT64_C(12) << 56);
}
