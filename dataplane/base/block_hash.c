/*
 * block_hash.c - AES-128 of one block where the processor has it, else SipHash-1-3.
 *
 * Pure:   see the header.
 * Source: FIPS 197 section 5.2 for the key's schedule, as the instruction AESKEYGENASSIST has it.
 */
#include "dataplane/base/block_hash.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <wmmintrin.h>

#define WITH_AES __attribute__((target("aes")))

/* The next round's key: word by word the one before, and the assisted last word. */
static inline WITH_AES __m128i
next_key(__m128i key, __m128i assist)
{
	key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
	key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
	return _mm_xor_si128(key, _mm_shuffle_epi32(assist, 0xff));
}

static WITH_AES void
expand(struct block_hash *h)
{
	__m128i k = _mm_loadu_si128((const __m128i *)(const void *)&h->key);
	__m128i *to = (__m128i *)(void *)h->round_key;

	/* the round's constant has to be one of the instruction */
	_mm_store_si128(to++, k);
#define ROUND(constant) _mm_store_si128(to++, k = next_key(k, _mm_aeskeygenassist_si128(k, constant)))
	ROUND(0x01);
	ROUND(0x02);
	ROUND(0x04);
	ROUND(0x08);
	ROUND(0x10);
	ROUND(0x20);
	ROUND(0x40);
	ROUND(0x80);
	ROUND(0x1b);
	ROUND(0x36);
#undef ROUND
}

static WITH_AES uint64_t
encrypt(const struct block_hash *h, uint64_t first, uint64_t second)
{
	const __m128i *k = (const __m128i *)(const void *)h->round_key;
	__m128i x = _mm_xor_si128(_mm_set_epi64x((long long)second, (long long)first), _mm_load_si128(k));

#pragma GCC unroll 16
	for (int i = 1; i < BLOCK_HASH_ROUNDS; i++)
		x = _mm_aesenc_si128(x, _mm_load_si128(k + i));
	return (uint64_t)_mm_cvtsi128_si64(_mm_aesenclast_si128(x, _mm_load_si128(k + BLOCK_HASH_ROUNDS)));
}

static bool
has_aes(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_AES) != 0;
}
#else
static void
expand(struct block_hash *h)
{
	(void)h;
}

static uint64_t
encrypt(const struct block_hash *h, uint64_t first, uint64_t second)
{
	return siphash13_12(&h->key, first, (uint32_t)second);
}

static bool
has_aes(void)
{
	return false;
}
#endif

void
block_hash_init(struct block_hash *h, const struct siphash_key *key)
{
	*h = (struct block_hash){ .key = *key, .aes = has_aes() };
	if (h->aes)
		expand(h);
}

uint64_t
block_hash_12(const struct block_hash *h, uint64_t first, uint32_t last)
{
	return h->aes ? encrypt(h, first, last) : siphash13_12(&h->key, first, last);
}

uint64_t
block_hash_told(const struct block_hash *h, uint64_t first, uint32_t last)
{
	return h->aes ? encrypt(h, first, last) : siphash_12(&h->key, first, last);
}
