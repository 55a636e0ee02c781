/*
 * siphash.c - SipHash-2-4, whole or in pieces.
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

void
siphash_init(struct siphash_state *s, const struct siphash_key *key)
{
	*s = (struct siphash_state){
		.v0 = key->k0 ^ UINT64_C(0x736f6d6570736575),
		.v1 = key->k1 ^ UINT64_C(0x646f72616e646f6d),
		.v2 = key->k0 ^ UINT64_C(0x6c7967656e657261),
		.v3 = key->k1 ^ UINT64_C(0x7465646279746573),
	};
}

void
siphash_update(struct siphash_state *s, const void *data, size_t len_octets)
{
	const uint8_t *p = data;

	while (len_octets > 0 && s->n_octets % 8 != 0) {
		s->tail |= (uint64_t)*p++ << (8 * (s->n_octets++ % 8));
		len_octets--;
		if (s->n_octets % 8 == 0) {
			sip_block(s, s->tail);
			s->tail = 0;
		}
	}
	while (len_octets >= 8) {
		uint64_t m;

		memcpy(&m, p, 8); /* little endian: x86-64 and arm64 as we build them */
		sip_block(s, m);
		p += 8;
		len_octets -= 8;
		s->n_octets += 8;
	}
	while (len_octets-- > 0)
		s->tail |= (uint64_t)*p++ << (8 * (s->n_octets++ % 8));
}

uint64_t
siphash_final(struct siphash_state *s)
{
	sip_block(s, s->tail | (uint64_t)(s->n_octets & 0xff) << 56);
	s->v2 ^= 0xff;
	sip_round(s);
	sip_round(s);
	sip_round(s);
	sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

uint64_t
siphash(const struct siphash_key *key, const void *data, size_t len_octets)
{
	struct siphash_state s;

	siphash_init(&s, key);
	siphash_update(&s, data, len_octets);
	return siphash_final(&s);
}
