/*
 * source_table.c - see source_table.h.
 *
 * Touches: the cells of one bucket by compare-and-swap.
 * Keeps:  loops over a bucket are bounded by its cells, swaps by SOURCE_TRIES_MAX; a swap that is lost so often leaves the source uncounted.
 */
#include "dataplane/table/source_table.h"

#include <assert.h>
#include <string.h>

#include "dataplane/base/atomic128.h"
#include "dataplane/base/bug.h"

#define SOURCE_TRIES_MAX 32
#define DUE_MASK         ((UINT64_C(1) << 48) - 1)
#define REFUSED_TOP      0xffff

#define SOURCE_LINE_CELLS (64 / sizeof(struct source_cell))

static_assert(sizeof(struct source_cell) == 16, "one swap writes a whole cell");

void
source_table_bind(struct source_table *t, void *memory, uint32_t n_cells, const struct siphash_key *key)
{
	BUG_ON(n_cells < SOURCE_BUCKET_CELLS || (n_cells & (n_cells - 1)) != 0);
	*t = (struct source_table){ .cells = memory, .n_cells = n_cells, .key = *key };
}

static struct source_cell
cell_load(const struct source_cell *at)
{
	const struct octets16 raw = atomic128_load(at);
	struct source_cell c;

	memcpy(&c, &raw, sizeof(c));
	return c;
}

/* Writes want where *old stands; else false, and *old is what stands there. */
static bool
cell_swap(struct source_cell *at, struct source_cell *old, const struct source_cell *want)
{
	struct octets16 expected, next;
	bool done;

	memcpy(&expected, old, sizeof(expected));
	memcpy(&next, want, sizeof(next));
	done = atomic128_cas(at, &expected, next);
	memcpy(old, &expected, sizeof(*old));
	return done;
}

void
source_table_forget_sessions(struct source_table *t)
{
	for (uint32_t i = 0; i < t->n_cells; i++) {
		struct source_cell old = cell_load(&t->cells[i]), want;

		do {
			want = old;
			want.sessions = 0;
		} while (old.sessions != 0 && !cell_swap(&t->cells[i], &old, &want));
	}
}

struct source_key
source_key_of(const struct source_table *t, const struct ip_addr *addr, bool is_network)
{
	uint8_t material[sizeof(addr->octet) + 8] = { 0 };
	uint64_t word;

	if (ip_addr_is_v4(addr)) { /* says as much, in one go */
		memcpy(&word, addr->octet + 8, sizeof(word));
		return (struct source_key){ siphash13_12(&t->key, word, is_network) };
	}
	memcpy(material, addr->octet, sizeof(addr->octet));
	memcpy(material + sizeof(addr->octet), is_network ? "net" : "address", is_network ? 3 : 7);
	return (struct source_key){ siphash(&t->key, material, sizeof(material)) };
}

static uint32_t
tag_of(struct source_key key)
{
	const uint32_t tag = (uint32_t)(key.hash >> 32);

	return tag != 0 ? tag : 1;
}

static struct source_cell *
bucket_of(const struct source_table *t, struct source_key key)
{
	return &t->cells[(uint32_t)key.hash & (t->n_cells - 1) & ~(SOURCE_BUCKET_CELLS - 1)];
}

void
source_table_prefetch(const struct source_table *t, struct source_key key)
{
	const struct source_cell *bucket = bucket_of(t, key);

	for (uint32_t i = 0; i < SOURCE_BUCKET_CELLS; i += SOURCE_LINE_CELLS)
		__builtin_prefetch(&bucket[i], 1);
}

/* Nothing can be owed for longer than the burst and the connection that used it up: what is, stands there from an earlier round of 48 bits. */
static uint64_t
owed_us(const struct source_cell *c, uint64_t now_us)
{
	const uint64_t owed = (c->due_us - now_us) & DUE_MASK;

	return owed <= 2 * SOURCE_RATE_PERIOD_US ? owed : 0;
}

/* Whether some cell has this tag, by the tags alone: most looks end here and copy nothing. */
static inline bool
has_tag(const struct source_cell *bucket, uint32_t tag)
{
#pragma GCC unroll 8
	for (uint32_t i = 0; i < SOURCE_BUCKET_CELLS; i++)
		if (__atomic_load_n(&bucket[i].tag, __ATOMIC_ACQUIRE) == tag)
			return true;
	return false;
}

/* The next cell of key from *at on, copied to *now; NULL: none. */
static inline struct source_cell *
next_of(const struct source_table *t, struct source_key key, uint32_t *at, struct source_cell *now)
{
	struct source_cell *bucket = bucket_of(t, key);
	const uint32_t tag = tag_of(key);

	if (!has_tag(bucket, tag))
		return NULL;
	for (uint32_t i = *at; i < SOURCE_BUCKET_CELLS; i++) {
		if (__atomic_load_n(&bucket[i].tag, __ATOMIC_ACQUIRE) != tag)
			continue;
		*now = cell_load(&bucket[i]);
		if (now->tag != tag)
			continue;
		*at = i + 1;
		return &bucket[i];
	}
	return NULL;
}

/*
 * The cell of key with at least so many sessions, copied to *now; NULL: it has none. Two workers that meet a new source at the same moment may
 * give it a cell each; both count then, until one is empty and goes.
 */
static struct source_cell *
find(const struct source_table *t, struct source_key key, uint32_t sessions, struct source_cell *now)
{
	struct source_cell *cell;
	uint32_t at = 0;

	while ((cell = next_of(t, key, &at, now)) != NULL && now->sessions < sessions)
		;
	return cell;
}

/* The cell that is least worth: free, else without sessions and with the least owed. NULL: all have sessions. */
static struct source_cell *
victim(const struct source_table *t, struct source_key key, uint64_t now_us, struct source_cell *was)
{
	struct source_cell *bucket = bucket_of(t, key), *best = NULL;

	for (uint32_t i = 0; i < SOURCE_BUCKET_CELLS; i++) {
		const struct source_cell c = cell_load(&bucket[i]);

		if (c.sessions != 0 || (c.tag != 0 && best != NULL && owed_us(&c, now_us) >= owed_us(was, now_us)))
			continue;
		best = &bucket[i];
		*was = c;
		if (c.tag == 0)
			break;
	}
	return best;
}

struct source_state
source_table_look(const struct source_table *t, struct source_key key, uint64_t now_us)
{
	struct source_state s = { 0 };
	struct source_cell c;

	for (uint32_t at = 0; next_of(t, key, &at, &c) != NULL;) {
		s.sessions += c.sessions;
		s.refused += c.refused;
		s.owed_us += owed_us(&c, now_us);
	}
	return s;
}

static uint64_t
price_us(uint32_t per_min)
{
	return SOURCE_RATE_PERIOD_US / MIN(per_min, SOURCE_RATE_MAX);
}

enum source_verdict
source_judge(const struct source_state *s, const struct source_limits *limits)
{
	if (limits->sessions != 0 && s->sessions >= limits->sessions)
		return SOURCE_OVER_SESSIONS;
	if (limits->per_min != 0 && s->owed_us + price_us(limits->per_min) >
					    price_us(limits->per_min) * MIN(limits->per_min, SOURCE_RATE_MAX))
		return SOURCE_OVER_RATE;
	return SOURCE_OK;
}

bool
source_table_enter(struct source_table *t, struct source_key key, uint32_t per_min, uint64_t now_us)
{
	for (unsigned tries = 0; tries < SOURCE_TRIES_MAX; tries++) {
		struct source_cell old, want;
		struct source_cell *at = find(t, key, 0, &old);
		uint64_t owed;

		if (at == NULL) {
			at = victim(t, key, now_us, &old);
			if (at == NULL)
				return false;
			want = (struct source_cell){ .tag = tag_of(key), .due_us = now_us & DUE_MASK };
		} else {
			want = old;
		}
		/* a flood that is exempt owes no more than what is told apart from an earlier round */
		owed = owed_us(&want, now_us) + (per_min != 0 ? price_us(per_min) : 0);
		want.due_us = (now_us + MIN(owed, 2 * SOURCE_RATE_PERIOD_US)) & DUE_MASK;
		want.sessions++;
		if (want.sessions != 0 && cell_swap(at, &old, &want))
			return true;
	}
	return false;
}

void
source_table_leave(struct source_table *t, struct source_key key)
{
	for (unsigned tries = 0; tries < SOURCE_TRIES_MAX; tries++) {
		struct source_cell old, want;
		struct source_cell *at = find(t, key, 1, &old);

		/* both daemons may write here, so a number that does not add up is no bug of ours: it is left alone */
		if (at == NULL)
			return;
		want = old;
		want.sessions--;
		if (cell_swap(at, &old, &want))
			return;
	}
}

void
source_table_refused(struct source_table *t, struct source_key key)
{
	struct source_cell old, want;
	struct source_cell *at = find(t, key, 0, &old);

	if (at == NULL || old.refused == REFUSED_TOP)
		return;
	want = old;
	want.refused++;
	(void)cell_swap(at, &old, &want); /* lost: another worker counts at this moment, and this is no account */
}
