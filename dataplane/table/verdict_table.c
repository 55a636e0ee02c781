/*
 * verdict_table.c - find, put, remove, sweep on the table several processes share.
 *
 * Flow:   policy_decide() -> find, put;  control/store -> take_dirty, read_bucket, committed
 * Touches: the memory of the table, nothing else; no lock, no allocation, no system call.
 * Keeps:  (1) A tag has at most one entry. An insert goes in three steps: the slot becomes a claim (kind VT_CLAIM, the
 *         tag, 56 bits of nonce); both buckets are read again; the claim becomes the entry. Whoever meets somebody
 *         else's claim for its own tag in the second step takes it away before its own third step, and whoever meets an
 *         entry withdraws. Of two inserts at least one sees the other's claim (both steps are locked swaps), so never
 *         do both reach the third step. The nonce keeps a claim taken away and placed anew by somebody else from being
 *         finished by its first owner.
 *         (2) A process killed between two steps leaves a claim, which nobody takes for an entry and which is the first
 *         victim when room is needed; killed before the dirty bit it leaves an entry that is in memory but not yet
 *         durable: control sweeps the table once after an unclean end.
 *         (3) Of a kind nobody but a load ever put, a load needs no claim: its records have each tag once. Both halves of the word
 *         kinds tell: a bit is set before the first put of its kind, and the load looks at it before and after its swaps. Put
 *         meanwhile: the tags of that batch are looked for again and joined. Killed between the two, one tag of at most VT_LOAD_MAX
 *         may stay twice, where somebody put that very tag in that moment; find() answers with one of them.
 *         DESIGN section 3 had duplicates made and merged afterwards; a process killed between the two would have left
 *         one for good.
 * Source: DESIGN section 3.
 */
#include "dataplane/table/verdict_table.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/base/atomic128.h"
#include "dataplane/base/bug.h"

#define VT_SLOTS            4 /* of a bucket */
#define VT_CANDIDATES       (2 * VT_SLOTS)
#define VT_INSERT_TRIES_MAX 8 /* lost races in one insert; then the caller finds again */
#define VT_MERGE_TRIES_MAX  8
#define VT_LINE_OCTETS      64
/* A load looks at the second bucket of a tag from so many used slots of the first on. Tables filled that way have as many full buckets as
 * those where both are always looked at (0.090 and 0.088 of all at a load of 0.6; 0.295 both at 0.75), for less than half of the second looks; from
 * three on they had 0.125. */
#define VT_LOAD_FIRST 2

static_assert(sizeof(struct vt_entry) == 16, "an entry is what one swap writes");
static_assert(sizeof(struct vt_entry) * VT_SLOTS == VT_LINE_OCTETS, "a bucket is one cache line");

/* A slot as read: where, and the octets that a swap will be compared with. */
struct vt_seen {
	struct vt_entry *slot;
	struct octets16 raw;
	struct vt_entry e;
	uint32_t bucket;
};

static struct vt_entry
entry_of(struct octets16 raw)
{
	struct vt_entry e;

	memcpy(&e, &raw, sizeof(e));
	return e;
}

static struct octets16
raw_of(const struct vt_entry *e)
{
	struct octets16 raw;

	memcpy(&raw, e, sizeof(raw));
	return raw;
}

static bool
is_entry(const struct vt_entry *e)
{
	return vt_kind(e) != VT_FREE && vt_kind(e) != VT_CLAIM;
}

static bool
may_be_stored(const struct vt_entry *e)
{
	return e->tag != 0 && vt_kind(e) != VT_FREE && vt_kind(e) <= VT_KIND_KNOWN;
}

/* Words of one bitmap, a whole number of cache lines. */
static uint64_t
bitmap_words(uint32_t n_buckets)
{
	return (((uint64_t)n_buckets + 511) / 512) * 8;
}

uint64_t
verdict_table_octets(uint32_t n_buckets)
{
	return (uint64_t)n_buckets * VT_LINE_OCTETS + 2 * bitmap_words(n_buckets) * sizeof(uint64_t) + VT_LINE_OCTETS;
}

uint32_t
verdict_table_buckets_for(uint64_t entries)
{
	const uint64_t n = entries / 3 + (entries % 3 != 0); /* 3 of 4 slots: a load of 0.75 */

	return n == 0 ? 1 : (uint32_t)MIN(n, UINT32_MAX);
}

void
verdict_table_bind(struct verdict_table *t, void *memory, uint32_t n_buckets, const struct siphash_key *key)
{
	BUG_ON(n_buckets == 0 || (uintptr_t)memory % VT_LINE_OCTETS != 0);
	t->bucket = memory;
	t->dirty = (uint64_t *)(void *)((uint8_t *)memory + (uint64_t)n_buckets * VT_LINE_OCTETS);
	t->in_flight = t->dirty + bitmap_words(n_buckets);
	t->kinds = t->in_flight + bitmap_words(n_buckets);
	t->n_buckets = n_buckets;
	t->key = *key;
}

bool
verdict_table_cpu_ok(void)
{
	return atomic128_cpu_ok();
}

/* The high half of a product spreads a hash over any size; the second hash is the tag stirred as splitmix64 ends. */
void
verdict_table_candidates(const struct verdict_table *t, uint64_t tag, uint32_t out[2])
{
	uint64_t h = (tag ^ tag >> 30) * UINT64_C(0xbf58476d1ce4e5b9);

	h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
	h ^= h >> 31;
	out[0] = (uint32_t)((unsigned __int128)tag * t->n_buckets >> 64);
	out[1] = (uint32_t)((unsigned __int128)h * t->n_buckets >> 64);
	if (out[1] == out[0])
		out[1] = out[0] + 1 < t->n_buckets ? out[0] + 1 : 0;
}

static struct vt_entry *
slot_of(const struct verdict_table *t, uint32_t bucket, unsigned slot)
{
	return &t->bucket[(uint64_t)bucket * VT_SLOTS + slot];
}

/* Where a tag may stand: one bucket alone in a table of one. */
struct vt_place {
	uint32_t bucket[2];
	unsigned n;
};

static struct vt_place
place_of(const struct verdict_table *t, uint64_t tag)
{
	struct vt_place p;

	verdict_table_candidates(t, tag, p.bucket);
	p.n = p.bucket[0] == p.bucket[1] ? 1 : 2;
	return p;
}

static struct vt_seen
see(struct vt_entry *slot, uint32_t bucket)
{
	struct vt_seen s = { .slot = slot, .raw = atomic128_load(slot), .bucket = bucket };

	s.e = entry_of(s.raw);
	return s;
}

/* Reads the slots of both buckets, lower slots first. Returns how many. */
static unsigned
read_candidates(const struct verdict_table *t, const struct vt_place *p, struct vt_seen seen[VT_CANDIDATES])
{
	unsigned n = 0;

	for (unsigned b = 0; b < p->n; b++)
		for (unsigned i = 0; i < VT_SLOTS; i++)
			seen[n++] = see(slot_of(t, p->bucket[b], i), p->bucket[b]);
	return n;
}

/* Whether some slot has this tag, by the first halves of the slots alone: nearly every look ends here and copies nothing. */
static inline bool
has_tag(const struct vt_entry *slot, uint64_t tag)
{
#pragma GCC unroll 4
	for (unsigned i = 0; i < VT_SLOTS; i++)
		if (__atomic_load_n(&slot[i].tag, __ATOMIC_ACQUIRE) == tag)
			return true;
	return false;
}

/*
 * The next slot but mine (NULL: none is), from *at on (counted over both buckets), that holds the tag, whatever its kind, read in one;
 * false: none.
 */
static inline bool
next_of_tag(const struct verdict_table *t, const struct vt_place *p, uint64_t tag, const struct vt_entry *mine,
	unsigned *at, struct vt_seen *out)
{
	for (unsigned b = *at / VT_SLOTS, i = *at % VT_SLOTS; b < p->n; b++, i = 0) {
		struct vt_entry *slot = slot_of(t, p->bucket[b], 0);

		if (!has_tag(slot, tag))
			continue;
		for (; i < VT_SLOTS; i++) {
			if (&slot[i] == mine || __atomic_load_n(&slot[i].tag, __ATOMIC_ACQUIRE) != tag)
				continue;
			*out = see(&slot[i], p->bucket[b]);
			if (out->e.tag != tag)
				continue;
			*at = b * VT_SLOTS + i + 1;
			return true;
		}
	}
	return false;
}

bool
verdict_table_find(const struct verdict_table *t, uint64_t tag, struct vt_entry *out)
{
	const struct vt_place p = place_of(t, tag);
	struct vt_seen seen;

	for (unsigned at = 0; next_of_tag(t, &p, tag, NULL, &at, &seen);)
		if (is_entry(&seen.e)) {
			*out = seen.e;
			return true;
		}
	return false;
}

void
verdict_table_prefetch(const struct verdict_table *t, uint64_t tag)
{
	uint32_t bucket[2];

	verdict_table_candidates(t, tag, bucket);
	__builtin_prefetch(slot_of(t, bucket[0], 0));
	__builtin_prefetch(slot_of(t, bucket[1], 0));
}

void
verdict_table_prefetch_put(const struct verdict_table *t, uint64_t tag)
{
	uint32_t bucket[2];

	verdict_table_candidates(t, tag, bucket);
	for (unsigned b = 0; b < 2; b++) {
		__builtin_prefetch(slot_of(t, bucket[b], 0), 1);
		__builtin_prefetch(&t->dirty[bucket[b] / 64], 1);
	}
}

/* After the swap, so that a taker that clears the bit and then reads the bucket sees the swap. */
static void
mark_dirty(const struct verdict_table *t, uint32_t bucket)
{
	__atomic_fetch_or(&t->dirty[bucket / 64], UINT64_C(1) << bucket % 64, __ATOMIC_RELEASE);
}

static bool
swap(struct vt_seen *seen, const struct vt_entry *want)
{
	return atomic128_cas(seen->slot, &seen->raw, raw_of(want));
}

/* What an entry is worth when room is needed; the lowest goes first, WORTH_KEEP never. */
enum vt_worth { WORTH_FREE, WORTH_CLAIM, WORTH_EXPIRED, WORTH_GREY, WORTH_CLIENT, WORTH_KEEP };

static uint32_t
age_s(const struct vt_entry *e, uint32_t now_s)
{
	return now_s > e->time_s ? now_s - e->time_s : 0;
}

static enum vt_worth
expired_or(const struct vt_entry *e, const struct vt_ages *ages, uint32_t life_s, enum vt_worth alive)
{
	return age_s(e, ages->now_s) >= life_s ? WORTH_EXPIRED : alive;
}

static enum vt_worth
worth(const struct vt_entry *e, const struct vt_ages *ages)
{
	switch (vt_kind(e)) {
	case VT_FREE:
		return WORTH_FREE;
	case VT_CLAIM:
		return WORTH_CLAIM;
	case VT_TRIPLET:
		if (vt_state(e) == VT_WHITE)
			return expired_or(e, ages, ages->white_s, WORTH_KEEP);
		return expired_or(e, ages, ages->grey_s, WORTH_GREY);
	case VT_PAIR: /* made by strangers in any number, as GREY is */
		return expired_or(e, ages, ages->grey_s, WORTH_GREY);
	case VT_SENDER_DOMAIN:
		return expired_or(e, ages, ages->auto_s, WORTH_GREY);
	case VT_CLIENT:
		return expired_or(e, ages, ages->client_s, WORTH_CLIENT);
	case VT_TLS: /* failures are made by strangers in any number; a completed handshake costs its maker, but anybody can have one */
		if (vt_state(e) == VT_WHITE)
			return expired_or(e, ages, ages->tls_good_s, WORTH_CLIENT);
		return expired_or(e, ages, ages->tls_failed_s, WORTH_GREY);
	case VT_AUTO:
		return expired_or(e, ages, ages->auto_s, WORTH_KEEP);
	case VT_TRAP:
		return expired_or(e, ages, ages->white_s, WORTH_KEEP);
	}
	return WORTH_EXPIRED; /* a kind nobody writes: damage */
}

/* A bit for each free slot. */
static inline unsigned
free_slots(const struct vt_entry *slot)
{
	unsigned is_free = 0;

#pragma GCC unroll 4
	for (unsigned i = 0; i < VT_SLOTS; i++)
		is_free |= (unsigned)(__atomic_load_n(&slot[i].kind_state, __ATOMIC_ACQUIRE) >> 4 == VT_FREE) << i;
	return is_free;
}

/* A free slot of the emptier bucket: with two choices nearly every entry finds room at a load of 0.75. false: none is free. */
static inline bool
choose_free(const struct verdict_table *t, const struct vt_place *p, struct vt_seen *out)
{
	unsigned b = 0, is_free = free_slots(slot_of(t, p->bucket[0], 0));
	const unsigned other = p->n > 1 ? free_slots(slot_of(t, p->bucket[1], 0)) : 0;

	if (__builtin_popcount(other) > __builtin_popcount(is_free)) {
		b = 1;
		is_free = other;
	}
	for (; is_free != 0; is_free &= is_free - 1) {
		*out = see(slot_of(t, p->bucket[b], (unsigned)__builtin_ctz(is_free)), p->bucket[b]);
		if (vt_kind(&out->e) == VT_FREE)
			return true;
	}
	return false;
}

/* The slot that has to go for an entry: of the least worth, and among those the oldest. false: nothing may go. */
static bool
choose_victim(const struct verdict_table *t, const struct vt_place *p, const struct vt_ages *ages, struct vt_seen *out)
{
	struct vt_seen seen[VT_CANDIDATES], *best = NULL;
	enum vt_worth best_worth = WORTH_KEEP;
	unsigned n;

	n = read_candidates(t, p, seen);
	for (unsigned i = 0; i < n; i++) {
		const enum vt_worth w = worth(&seen[i].e, ages);

		if (w < best_worth || (w == best_worth && w != WORTH_KEEP && w > WORTH_CLAIM &&
					      age_s(&seen[i].e, ages->now_s) > age_s(&best->e, ages->now_s))) {
			best = &seen[i];
			best_worth = w;
		}
	}
	if (best != NULL)
		*out = *best;
	return best != NULL;
}

/* A claim nobody else makes: the time stamp counter differs between moments, the stack's address between processes and
 * threads. */
static struct vt_entry
claim_for(uint64_t tag)
{
	struct vt_entry c = { .tag = tag, .kind_state = vt_kind_state(VT_CLAIM, VT_NONE) };
	const uint64_t stir = (__builtin_ia32_rdtsc() ^ (uint64_t)(uintptr_t)&c << 20) * UINT64_C(0x9e3779b97f4a7c15);

	c.time_s = (uint32_t)stir;
	c.aux = (uint16_t)(stir >> 32);
	c.flags = (uint8_t)(stir >> 48);
	return c;
}

enum claim_end { CLAIM_DONE, CLAIM_LOST /* try again */, CLAIM_ENTRY_THERE };

/* The second and third step. mine is the claimed slot, raw as swapped in. */
static enum claim_end
claim_finish(const struct verdict_table *t, const struct vt_place *p, struct vt_seen *mine, const struct vt_entry *want)
{
	static const struct vt_entry none;
	struct vt_seen seen;

	for (unsigned at = 0; next_of_tag(t, p, want->tag, mine->slot, &at, &seen);) {
		if (vt_kind(&seen.e) == VT_FREE)
			continue;
		if (is_entry(&seen.e)) {
			swap(mine, &none); /* withdrawn; if it is gone already, somebody did so for us */
			return CLAIM_ENTRY_THERE;
		}
		if (!swap(&seen, &none)) { /* it moved on, perhaps to an entry: look again from the start */
			swap(mine, &none);
			return CLAIM_LOST;
		}
	}
	return swap(mine, want) ? CLAIM_DONE : CLAIM_LOST;
}

/* clean: want is in the database as it is, so its bucket is not marked. */
static enum vt_put
insert(const struct verdict_table *t, const struct vt_entry *want, const struct vt_ages *ages, struct vt_entry *evicted,
	bool clean)
{
	const struct vt_place p = place_of(t, want->tag);

	for (unsigned tries = 0; tries < VT_INSERT_TRIES_MAX; tries++) {
		const struct vt_entry claim = claim_for(want->tag);
		struct vt_seen mine;

		/* Who puts without an old entry has just looked, and claim_finish() looks once more; a third look is worth it only where
		 * it is cheaper than a claim (of what is loaded much is known already) or another one would have to go for nothing. */
		bool is_room = !clean && choose_free(t, &p, &mine);

		for (unsigned at = 0; !is_room && next_of_tag(t, &p, want->tag, NULL, &at, &mine);)
			if (is_entry(&mine.e))
				return VT_PUT_RACED;
		is_room = is_room || choose_free(t, &p, &mine);
		if (!is_room && !choose_victim(t, &p, ages, &mine))
			return VT_PUT_FULL;
		if (!swap(&mine, &claim))
			continue;
		if (is_entry(&mine.e)) {
			*evicted = mine.e;
			mark_dirty(t, mine.bucket); /* what went is gone, whatever becomes of the claim */
		}
		mine.raw = raw_of(&claim);
		switch (claim_finish(t, &p, &mine, want)) {
		case CLAIM_DONE:
			if (!clean)
				mark_dirty(t, mine.bucket);
			return VT_PUT_DONE;
		case CLAIM_ENTRY_THERE:
			return VT_PUT_RACED;
		case CLAIM_LOST:
			break;
		}
	}
	return VT_PUT_RACED;
}

static enum vt_put
update(const struct verdict_table *t, const struct vt_entry *old, const struct vt_entry *want)
{
	const struct vt_place p = place_of(t, old->tag);
	struct vt_seen seen;

	for (unsigned at = 0; next_of_tag(t, &p, old->tag, NULL, &at, &seen);) {
		if (memcmp(&seen.e, old, sizeof(*old)) != 0)
			continue;
		if (!swap(&seen, want))
			return VT_PUT_RACED;
		mark_dirty(t, seen.bucket);
		return VT_PUT_DONE;
	}
	return VT_PUT_RACED;
}

/* Kinds somebody put who is no load: the upper half of the word. */
#define KINDS_PUT 32

/* Before the swap: killed between the two, the table is only looked at once more than needed. */
static void
note_kind(const struct verdict_table *t, enum vt_kind kind, bool is_load)
{
	const uint64_t bits = UINT64_C(1) << kind | (is_load ? 0 : UINT64_C(1) << (KINDS_PUT + kind));

	if ((__atomic_load_n(t->kinds, __ATOMIC_ACQUIRE) & bits) != bits)
		__atomic_fetch_or(t->kinds, bits, __ATOMIC_SEQ_CST);
}

static uint32_t
kinds_put(const struct verdict_table *t)
{
	return (uint32_t)(__atomic_load_n(t->kinds, __ATOMIC_ACQUIRE) >> KINDS_PUT);
}

enum vt_put
verdict_table_put(const struct verdict_table *t, const struct vt_entry *old, const struct vt_entry *want,
	const struct vt_ages *ages, struct vt_entry *evicted)
{
	struct vt_entry unasked;

	if (evicted == NULL)
		evicted = &unasked;
	*evicted = (struct vt_entry){ 0 };
	if (!may_be_stored(want))
		return VT_PUT_FULL;
	note_kind(t, vt_kind(want), old != NULL);
	if (old == NULL)
		return insert(t, want, ages, evicted, false);
	BUG_ON(old->tag != want->tag || !is_entry(old));
	return update(t, old, want);
}

static unsigned state_rank(const struct vt_entry *e);

/* Whether the database knows more than the table does: made while its record was not loaded yet. */
static bool
is_more(const struct vt_entry *want, const struct vt_entry *have)
{
	if (vt_kind(want) != vt_kind(have))
		return false;
	if (vt_kind(want) == VT_TRIPLET || vt_kind(want) == VT_TLS)
		return state_rank(want) > state_rank(have) && vt_state(want) == VT_WHITE;
	return vt_kind(want) == VT_AUTO && VT_AUTO_COUNT(want) > VT_AUTO_COUNT(have);
}

static void
load_one(const struct verdict_table *t, const struct vt_entry *want, const struct vt_ages *ages, struct vt_load *out)
{
	struct vt_entry have, evicted = { 0 };

	for (unsigned tries = 0; tries < VT_INSERT_TRIES_MAX; tries++) {
		switch (insert(t, want, ages, &evicted, true)) {
		case VT_PUT_DONE:
			out->put++;
			return;
		case VT_PUT_FULL:
			out->refused++;
			return;
		case VT_PUT_RACED: /* it is there, or somebody else is at work in its buckets */
			break;
		}
		if (!verdict_table_find(t, want->tag, &have))
			continue;
		if (!is_more(want, &have))
			break;
		if (update(t, &have, want) == VT_PUT_DONE) {
			out->raised++;
			return;
		}
	}
	out->known++;
}

/*
 * Puts an entry of a kind that no one else puts and whose tag is not there: one swap. false: there is no room, or another kind's entry came
 * into the slot.
 */
static bool
load_alone(const struct verdict_table *t, const struct vt_place *p, const struct vt_entry *want)
{
	struct vt_entry *first = slot_of(t, p->bucket[0], 0);
	const unsigned is_free = free_slots(first);
	struct vt_seen mine;

	if (__builtin_popcount(is_free) > VT_SLOTS - VT_LOAD_FIRST)
		mine = see(&first[__builtin_ctz(is_free)], p->bucket[0]);
	else if (!choose_free(t, p, &mine))
		return false;
	return vt_kind(&mine.e) == VT_FREE && swap(&mine, want);
}

/* Somebody put the kind while a load did so without a claim: claims for the tag are taken away, as an insert would, and two entries joined. */
static void
settle(const struct verdict_table *t, uint64_t tag)
{
	static const struct vt_entry none;
	const struct vt_place p = place_of(t, tag);
	struct vt_seen seen;

	for (unsigned at = 0; next_of_tag(t, &p, tag, NULL, &at, &seen);)
		if (vt_kind(&seen.e) == VT_CLAIM)
			swap(&seen, &none); /* or it became an entry, or went */
	verdict_table_merge(t, tag);
}

/*
 * Asks for the lines the entries need: the first bucket of each, and the second where it will be looked at. The records of a database come in
 * the order of their tags, and so of their first buckets.
 */
static void
load_ask(const struct verdict_table *t, const struct vt_entry *entries, uint32_t n, uint32_t looked, struct vt_place *p)
{
	unsigned run = 0; /* entries before this one with its first bucket */

	for (uint32_t i = 0; i < n; i++) {
		p[i] = place_of(t, entries[i].tag);
		__builtin_prefetch(slot_of(t, p[i].bucket[0], 0), 1);
	}
	for (uint32_t i = 0; i < n; i++) {
		run = i > 0 && p[i].bucket[0] == p[i - 1].bucket[0] ? run + 1 : 0;
		if ((looked >> vt_kind(&entries[i]) & 1) != 0 ||
			VT_SLOTS - (unsigned)__builtin_popcount(free_slots(slot_of(t, p[i].bucket[0], 0))) + run >=
				VT_LOAD_FIRST)
			__builtin_prefetch(slot_of(t, p[i].bucket[1], 0), 1);
	}
}

void
verdict_table_load(const struct verdict_table *t, const struct vt_entry *entries, uint32_t n,
	const struct vt_ages *ages, uint32_t known_kinds, struct vt_load *out)
{
	const uint32_t looked = known_kinds | kinds_put(t);
	struct vt_place p[VT_LOAD_MAX];
	uint32_t meanwhile;

	BUG_ON(n > VT_LOAD_MAX);
	load_ask(t, entries, n, looked, p);
	for (uint32_t i = 0; i < n; i++) {
		const enum vt_kind kind = vt_kind(&entries[i]);

		if (!may_be_stored(&entries[i])) {
			out->refused++;
			continue;
		}
		note_kind(t, kind, true);
		if ((looked >> kind & 1) == 0 && load_alone(t, &p[i], &entries[i]))
			out->put++;
		else
			load_one(t, &entries[i], ages, out);
	}
	meanwhile = kinds_put(t) & ~looked;
	for (uint32_t i = 0; meanwhile != 0 && i < n; i++)
		if ((meanwhile >> vt_kind(&entries[i]) & 1) != 0)
			settle(t, entries[i].tag);
}

bool
verdict_table_remove(const struct verdict_table *t, const struct vt_entry *old)
{
	static const struct vt_entry none;

	return is_entry(old) && update(t, old, &none) == VT_PUT_DONE;
}

void
verdict_table_read_bucket(const struct verdict_table *t, uint32_t bucket, struct vt_entry out[4])
{
	BUG_ON(bucket >= t->n_buckets);
	for (unsigned i = 0; i < VT_SLOTS; i++) {
		out[i] = entry_of(atomic128_load(slot_of(t, bucket, i)));
		if (!is_entry(&out[i]))
			out[i] = (struct vt_entry){ 0 };
	}
}

/* in_flight is set before dirty is cleared: killed between the two, both are set, and the bucket is written once more
 * than needed. */
static void
take_bits(const struct verdict_table *t, uint32_t word, uint64_t bits)
{
	__atomic_fetch_or(&t->in_flight[word], bits, __ATOMIC_ACQ_REL);
	__atomic_fetch_and(&t->dirty[word], ~bits, __ATOMIC_ACQ_REL);
}

uint32_t
verdict_table_take_dirty(const struct verdict_table *t, uint32_t *cursor, uint32_t *buckets, uint32_t n)
{
	const uint32_t n_words = (uint32_t)(((uint64_t)t->n_buckets + 63) / 64);
	uint32_t found = 0, word = *cursor / 64 < n_words ? *cursor / 64 : 0;

	/* one round over all words at most; the cursor is the bucket where the next call goes on */
	for (uint32_t i = 0; i < n_words && found < n; i++) {
		uint64_t bits = __atomic_load_n(&t->dirty[word], __ATOMIC_ACQUIRE), taken = 0;

		while (bits != 0 && found < n) {
			const uint64_t bit = bits & -bits;
			const uint64_t bucket = (uint64_t)word * 64 + (unsigned)__builtin_ctzll(bit);

			bits ^= bit;
			taken |= bit;
			if (bucket < t->n_buckets) /* bits beyond are damage: cleared, not reported */
				buckets[found++] = (uint32_t)bucket;
		}
		if (taken != 0)
			take_bits(t, word, taken);
		if (bits == 0)
			word = word + 1 < n_words ? word + 1 : 0;
	}
	*cursor = word * 64;
	return found;
}

void
verdict_table_committed(const struct verdict_table *t, const uint32_t *buckets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		BUG_ON(buckets[i] >= t->n_buckets);
		__atomic_fetch_and(&t->in_flight[buckets[i] / 64], ~(UINT64_C(1) << buckets[i] % 64), __ATOMIC_RELEASE);
	}
}

void
verdict_table_dirty_all(const struct verdict_table *t)
{
	const uint32_t whole = t->n_buckets / 64, rest = t->n_buckets % 64;

	for (uint32_t i = 0; i < whole; i++)
		__atomic_store_n(&t->dirty[i], UINT64_MAX, __ATOMIC_RELEASE);
	if (rest != 0)
		__atomic_store_n(&t->dirty[whole], UINT64_MAX >> (64 - rest), __ATOMIC_RELEASE);
}

void
verdict_table_requeue_in_flight(const struct verdict_table *t)
{
	const uint32_t n_words = (uint32_t)(((uint64_t)t->n_buckets + 63) / 64);

	for (uint32_t i = 0; i < n_words; i++) {
		const uint64_t bits = __atomic_load_n(&t->in_flight[i], __ATOMIC_ACQUIRE);

		if (bits == 0)
			continue;
		__atomic_fetch_or(&t->dirty[i], bits, __ATOMIC_ACQ_REL); /* first, as in take_bits() */
		__atomic_fetch_and(&t->in_flight[i], ~bits, __ATOMIC_ACQ_REL);
	}
}

/* WHITE over GREY over a lapsed one. */
static unsigned
state_rank(const struct vt_entry *e)
{
	switch (vt_state(e)) {
	case VT_NONE:
		return 0;
	case VT_LAPSED:
		return 1;
	case VT_GREY:
		return 2;
	case VT_WHITE:
		return 3;
	}
	return 0;
}

uint32_t
verdict_table_merge(const struct verdict_table *t, uint64_t tag)
{
	static const struct vt_entry none;
	const struct vt_place p = place_of(t, tag);
	uint32_t gone = 0;

	for (unsigned tries = 0; tries < VT_MERGE_TRIES_MAX; tries++) {
		struct vt_seen seen[VT_CANDIDATES], *first = NULL, *second = NULL;
		const unsigned n = read_candidates(t, &p, seen);
		struct vt_entry joined;

		for (unsigned i = 0; i < n && second == NULL; i++) {
			if (seen[i].e.tag != tag || !is_entry(&seen[i].e))
				continue;
			if (first == NULL)
				first = &seen[i];
			else
				second = &seen[i];
		}
		if (second == NULL)
			break;
		joined = first->e;
		joined.time_s = MIN(first->e.time_s, second->e.time_s);
		if (state_rank(&second->e) > state_rank(&first->e)) {
			joined.kind_state = second->e.kind_state;
			joined.aux = second->e.aux;
			joined.flags = second->e.flags;
		}
		if (!swap(first, &joined))
			continue;
		mark_dirty(t, first->bucket);
		if (swap(second, &none)) {
			mark_dirty(t, second->bucket);
			gone++;
		}
	}
	return gone;
}

/* What is wrong with the entry in this slot; NULL when nothing is. */
static const char *
fault_of(const struct verdict_table *t, uint32_t bucket, unsigned slot)
{
	const struct vt_entry e = entry_of(atomic128_load(slot_of(t, bucket, slot)));
	struct vt_place p;
	struct vt_seen seen;

	if (vt_kind(&e) == VT_FREE)
		return e.tag != 0 ? "a free slot with a tag" : NULL;
	if (vt_kind(&e) != VT_CLAIM && vt_kind(&e) > VT_KIND_KNOWN)
		return "an entry of unknown kind";
	if (e.tag == 0)
		return "an entry without a tag";
	p = place_of(t, e.tag);
	if (bucket != p.bucket[0] && bucket != p.bucket[1])
		return "an entry in a bucket that is not its own";
	if (vt_kind(&e) == VT_CLAIM)
		return NULL;
	for (unsigned at = 0; next_of_tag(t, &p, e.tag, NULL, &at, &seen) && seen.slot != slot_of(t, bucket, slot);)
		if (is_entry(&seen.e))
			return "an entry that is there twice";
	return NULL;
}

uint32_t
verdict_table_check(const struct verdict_table *t, char *why, uint32_t why_octets)
{
	uint32_t wrong = 0;

	if (why_octets > 0)
		why[0] = '\0';
	for (uint32_t b = 0; b < t->n_buckets; b++) {
		for (unsigned i = 0; i < VT_SLOTS; i++) {
			const char *fault = fault_of(t, b, i);

			/* In a live table an entry may move while it is looked at: only what is still so counts. */
			if (fault == NULL || (fault = fault_of(t, b, i)) == NULL)
				continue;
			if (wrong++ == 0 && why_octets > 0)
				snprintf(why, why_octets, "%s: bucket %u, slot %u", fault, b, i);
		}
	}
	return wrong;
}

void
verdict_table_count(const struct verdict_table *t, struct vt_counts *out)
{
	*out = (struct vt_counts){ 0 };
	for (uint32_t b = 0; b < t->n_buckets; b++) {
		for (unsigned i = 0; i < VT_SLOTS; i++) {
			const struct vt_entry e = entry_of(atomic128_load(slot_of(t, b, i)));

			out->by_kind[vt_kind(&e)]++;
			if (!is_entry(&e))
				continue;
			out->used++;
			out->grey += vt_kind(&e) == VT_TRIPLET && vt_state(&e) == VT_GREY;
			out->white += vt_kind(&e) == VT_TRIPLET && vt_state(&e) == VT_WHITE;
		}
	}
}
