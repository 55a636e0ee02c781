/*
 * tcp_table.c - two-choice buckets of one cache line.
 *
 * Pure:   see the header.
 * Keeps:  at a load of a half the emptier of two buckets of 8 is practically never full: in 2^32 entries less than one.
 */
#include "dataplane/tcp/tcp_table.h"

#include <assert.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"

#define FILTER_CELLS_MIN 64u
#define FILTER_CELLS_MAX (UINT32_C(1) << 28)

static_assert(sizeof(struct tcp_table_bucket) == 64, "a bucket is one cache line");

bool
tcp_filter_create(struct tcp_filter *f, uint32_t entries_max)
{
	uint32_t n = FILTER_CELLS_MIN;

	while (n < FILTER_CELLS_MAX && n < entries_max)
		n *= 2;
	*f = (struct tcp_filter){ .count = large_alloc_touched(n), .mask = n - 1 };
	return f->count != NULL;
}

void
tcp_filter_memory(const struct tcp_filter *f, const char *name, struct memory_list *l)
{
	memory_list_add(l, name, (uint64_t)f->mask + 1, sizeof(f->count[0]));
}

void
tcp_filter_destroy(struct tcp_filter *f)
{
	large_free(f->count, (size_t)f->mask + 1);
	f->count = NULL;
}

static void
filter_add(struct tcp_filter *f, uint64_t hash)
{
	uint8_t *count = tcp_filter_cell(f, hash);

	*count += *count < UINT8_MAX;
}

static void
filter_remove(struct tcp_filter *f, uint64_t hash)
{
	uint8_t *count = tcp_filter_cell(f, hash);

	*count -= *count <
	          UINT8_MAX; /* how many it was when it was full is not known: it never says less than there are */
}

bool
tcp_table_create(struct tcp_table *t, uint32_t entries_max, struct tcp_filter *filter)
{
	uint32_t n = 8;

	while (n < UINT32_C(1) << 28 && (uint64_t)n * TCP_TABLE_BUCKET_SLOTS < (uint64_t)entries_max * 2)
		n *= 2;
	*t = (struct tcp_table){ .mask = n - 1, .filter = filter };
	t->bucket = large_alloc_touched((size_t)n * sizeof(t->bucket[0]));
	return t->bucket != NULL;
}

void
tcp_table_memory(const struct tcp_table *t, const char *name, struct memory_list *l)
{
	memory_list_add(l, name, (uint64_t)t->mask + 1, sizeof(t->bucket[0]));
}

void
tcp_table_destroy(struct tcp_table *t)
{
	large_free(t->bucket, ((size_t)t->mask + 1) * sizeof(t->bucket[0]));
	t->bucket = NULL;
}

static struct tcp_table_bucket *
bucket_of(const struct tcp_table *t, uint64_t hash, uint32_t which)
{
	const uint32_t first = (uint32_t)hash;
	const uint32_t apart = (uint32_t)(hash >> 20 ^ hash >> 44) | 1; /* there are two buckets at least */

	return &t->bucket[(which == 0 ? first : first ^ apart) & t->mask];
}

static uint32_t
tag_of(uint64_t hash)
{
	return (uint32_t)(hash >> 32);
}

static uint32_t
used_slots(const struct tcp_table_bucket *b)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < TCP_TABLE_BUCKET_SLOTS; i++)
		n += b->index_plus_1[i] != 0;
	return n;
}

bool
tcp_table_insert(struct tcp_table *t, uint64_t hash, uint32_t index)
{
	struct tcp_table_bucket *a = bucket_of(t, hash, 0), *b = bucket_of(t, hash, 1);
	struct tcp_table_bucket *into = used_slots(b) < used_slots(a) ? b : a;

	for (uint32_t i = 0; i < TCP_TABLE_BUCKET_SLOTS; i++) {
		if (into->index_plus_1[i] != 0)
			continue;
		into->tag[i] = tag_of(hash);
		into->index_plus_1[i] = index + 1;
		t->n++;
		t->inserts++;
		filter_add(t->filter, hash);
		return true;
	}
	return false;
}

/* The place of index, which was inserted with hash. */
static uint32_t *
place_of(const struct tcp_table *t, uint64_t hash, uint32_t index)
{
	for (uint32_t which = 0; which < 2; which++) {
		struct tcp_table_bucket *b = bucket_of(t, hash, which);

		for (uint32_t i = 0; i < TCP_TABLE_BUCKET_SLOTS; i++)
			if (b->index_plus_1[i] == index + 1)
				return &b->index_plus_1[i];
	}
	BUG_ON(true); /* who is asked for was inserted */
	return NULL;
}

void
tcp_table_remove(struct tcp_table *t, uint64_t hash, uint32_t index)
{
	*place_of(t, hash, index) = 0;
	t->n--;
	filter_remove(t->filter, hash);
}

void
tcp_table_replace(struct tcp_table *t, uint64_t hash, uint32_t index, uint32_t by)
{
	*place_of(t, hash, index) = by + 1;
}

/* A bit for each slot with this tag; most segments of strangers have none, and cost nothing more. */
static uint32_t
hits_of(const struct tcp_table_bucket *b, uint32_t tag)
{
#ifdef __SSE2__
	const __m128i want = _mm_set1_epi32((int)tag);
	const __m128i low = _mm_load_si128((const __m128i *)(const void *)&b->tag[0]);
	const __m128i high = _mm_load_si128((const __m128i *)(const void *)&b->tag[4]);

	static_assert(TCP_TABLE_BUCKET_SLOTS == 8, "two vectors of four");
	return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(low, want))) |
	       (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(high, want))) << 4;
#else
	uint32_t hits = 0;

	for (uint32_t i = 0; i < TCP_TABLE_BUCKET_SLOTS; i++)
		hits |= (uint32_t)(b->tag[i] == tag) << i;
	return hits;
#endif
}

uint32_t
tcp_table_next(const struct tcp_table *t, uint64_t hash, uint32_t *at)
{
	const struct tcp_table_bucket *first = bucket_of(t, hash, 0), *second = bucket_of(t, hash, 1);
	const uint32_t tag = tag_of(hash);
	uint32_t hits;

	static_assert(2 * TCP_TABLE_BUCKET_SLOTS < 32, "a bit for each slot of both, and a shift by all of them");
	hits = (hits_of(first, tag) | hits_of(second, tag) << TCP_TABLE_BUCKET_SLOTS) & UINT32_MAX << *at;
	for (; hits != 0; hits &= hits - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(hits), slot = i % TCP_TABLE_BUCKET_SLOTS;
		const uint32_t index_plus_1 = (i == slot ? first : second)->index_plus_1[slot];

		if (index_plus_1 == 0)
			continue;
		*at = i + 1;
		return index_plus_1 - 1;
	}
	return TCP_TABLE_NONE;
}

uint32_t
tcp_table_guess(const struct tcp_table *t, uint64_t hash)
{
	const struct tcp_table_bucket *first = bucket_of(t, hash, 0);
	const uint32_t hits = hits_of(first, tag_of(hash));
	uint32_t at = 0;

	if (hits != 0 && first->index_plus_1[__builtin_ctz(hits)] != 0)
		return first->index_plus_1[__builtin_ctz(hits)] - 1;
	return tcp_table_next(t, hash, &at);
}

void
tcp_table_prefetch(const struct tcp_table *t, uint64_t hash)
{
	__builtin_prefetch(bucket_of(t, hash, 0));
	__builtin_prefetch(bucket_of(t, hash, 1));
}
