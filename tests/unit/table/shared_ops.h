/*
 * shared_ops.h - what the kill test and the thread test do to one table and its rings, and how they know that nothing
 * is wrong.
 *
 * Keeps:  every entry written carries a checksum of itself in aux, every ring record is a function of its index: a torn
 *         or half visible one is seen by whoever reads it.
 */
#ifndef GREYLINE_TESTS_SHARED_OPS_H
#define GREYLINE_TESTS_SHARED_OPS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/link/ring.h"
#include "dataplane/table/verdict_table.h"

#define OPS_TAGS          900 /* more than the table has slots: eviction never rests */
#define OPS_BUCKETS       97
#define OPS_KEPT          40 /* tags that are WHITE from the start and must stay */
#define OPS_RECORD_OCTETS 256
#define OPS_RECORDS       64
#define OPS_NOW_S         1000000

static const struct siphash_key ops_key = { 5, 6 };
static const struct vt_ages ops_ages = {
	.now_s = OPS_NOW_S, .grey_s = 5000, .white_s = 500000, .client_s = 3000, .auto_s = 9000
};

static inline uint64_t
ops_random(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

static inline uint64_t
ops_tag(unsigned i)
{
	return siphash(&ops_key, &i, sizeof(i)) | 1;
}

static inline uint16_t
ops_sum(const struct vt_entry *e)
{
	struct vt_entry copy = *e;

	copy.aux = 0;
	return (uint16_t)siphash(&ops_key, &copy, sizeof(copy));
}

static inline struct vt_entry
ops_entry(uint64_t tag, enum vt_kind kind, enum vt_state state, uint32_t time_s)
{
	struct vt_entry e = { .tag = tag, .time_s = time_s, .kind_state = vt_kind_state(kind, state) };

	e.aux = ops_sum(&e);
	return e;
}

/* NULL, or what is wrong with an entry that was read. */
static inline const char *
ops_fault(const struct vt_entry *e)
{
	return e->aux == ops_sum(e) ? NULL : "a torn entry";
}

/* One random thing; NULL, or what was found wrong. Kept tags are never removed. */
static inline const char *
ops_table_step(const struct verdict_table *t, uint64_t *rng)
{
	const unsigned i = (unsigned)(ops_random(rng) % OPS_TAGS);
	const uint64_t tag = ops_tag(i), dice = ops_random(rng) % 16;
	struct vt_entry e, want, bucket[4];

	if (!verdict_table_find(t, tag, &e)) {
		if (i < OPS_KEPT)
			return "a WHITE entry is gone";
		want = ops_entry(tag, VT_TRIPLET, VT_GREY, OPS_NOW_S - (uint32_t)(ops_random(rng) % 6000));
		(void)verdict_table_put(t, NULL, &want, &ops_ages, &e);
		return vt_kind(&e) == VT_FREE ? NULL : ops_fault(&e);
	}
	if (e.tag != tag)
		return "an entry of another tag";
	if (ops_fault(&e) != NULL)
		return ops_fault(&e);
	if (i < OPS_KEPT && vt_state(&e) != VT_WHITE)
		return "a WHITE entry turned grey";
	if (dice < 10) {
		want = ops_entry(tag, VT_TRIPLET, i < OPS_KEPT || dice < 3 ? VT_WHITE : VT_GREY,
			OPS_NOW_S - (uint32_t)(ops_random(rng) % 6000));
		(void)verdict_table_put(t, &e, &want, &ops_ages, NULL);
	} else if (dice < 14 && i >= OPS_KEPT) {
		(void)verdict_table_remove(t, &e);
	} else if (dice == 15) {
		verdict_table_read_bucket(t, (uint32_t)(ops_random(rng) % t->n_buckets), bucket);
		for (unsigned k = 0; k < 4; k++) {
			if (vt_kind(&bucket[k]) != VT_FREE && ops_fault(&bucket[k]) != NULL)
				return ops_fault(&bucket[k]);
		}
	}
	return NULL;
}

static inline void
ops_record_fill(uint64_t *words, uint64_t index)
{
	for (unsigned w = 0; w < OPS_RECORD_OCTETS / 8; w++)
		words[w] = index * UINT64_C(0x9e3779b97f4a7c15) + w;
}

static inline void
ops_produce(struct ring *r, unsigned n)
{
	uint64_t *slot;

	while (n-- > 0 && (slot = ring_reserve(r)) != NULL) {
		ops_record_fill(slot, __atomic_load_n(&r->shared->head, __ATOMIC_RELAXED));
		ring_publish(r);
	}
}

static inline const char *
ops_consume(struct ring *r, unsigned n, uint64_t *consumed)
{
	while (n-- > 0) {
		const uint64_t *slot = ring_front(r);
		uint64_t want[OPS_RECORD_OCTETS / 8];

		if (slot == NULL)
			break;
		ops_record_fill(want, __atomic_load_n(&r->shared->tail, __ATOMIC_RELAXED));
		if (memcmp(slot, want, sizeof(want)) != 0)
			return "a ring record that is not whole";
		ring_release(r);
		(*consumed)++;
	}
	return r->broken > 0 ? "a ring with indices that cannot be" : NULL;
}

#endif
