/*
 * neigh.c - next hops and their MAC addresses, both families.
 *
 * Pure:   see neigh.h.
 *
 * States. INCOMPLETE asks all three times, a second apart, then the entry is forgotten and the next use begins anew. An answer makes it
 * REACHABLE. NEIGH_FRESH_US later it is asked by unicast (PROBE) if somebody used it meanwhile, else it is STALE and the next use asks.
 * PROBE without three answers falls back to INCOMPLETE: the address may have moved to another card. An unsolicited word with another
 * address makes it STALE with the new address, so that it is verified by the next use.
 */
#include "dataplane/net/neigh.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/siphash.h"

#define NEIGH_BUCKETS 1024 /* a power of two */
#define NEIGH_NONE    UINT16_MAX

static_assert(NEIGH_ENTRIES_MAX < NEIGH_NONE, "an entry's number fits its link");

struct neigh_entry {
	struct ip_addr addr;
	uint8_t mac[6];
	uint8_t port_index;
	uint8_t probes;   /* sent in this state */
	uint8_t state;    /* enum neigh_state */
	bool used;        /* since it was confirmed */
	uint16_t next;    /* in its bucket or on the free list */
	uint32_t waiting; /* the caller's slot */
	uint64_t due_us;
	uint64_t used_us;
};

struct neigh {
	struct siphash_key key;
	uint64_t jitter;      /* state of a small generator: refreshes of many hops must not fall together */
	uint64_t deadline_us; /* at or before the first due time */
	uint16_t cursor;      /* where neigh_due() looks next */
	uint16_t high;        /* entries that were ever used lie below */
	uint16_t free_list;
	uint16_t last;      /* found the last time; looked at again before it is believed */
	uint32_t forgotten; /* entries so far: until it moves on, an entry's number means the same hop */
	uint16_t bucket[NEIGH_BUCKETS];
	struct neigh_entry entry[NEIGH_ENTRIES_MAX];
};

size_t
neigh_octets(void)
{
	return sizeof(struct neigh);
}

struct neigh *
neigh_create(uint64_t seed)
{
	struct neigh *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->key = (struct siphash_key){ .k0 = seed, .k1 = ~seed };
	n->jitter = seed | 1;
	n->deadline_us = UINT64_MAX;
	n->free_list = NEIGH_NONE;
	memset(n->bucket, 0xff, sizeof(n->bucket));
	return n;
}

void
neigh_destroy(struct neigh *n)
{
	free(n);
}

static uint16_t *
bucket_of(struct neigh *n, const struct ip_addr *addr, uint8_t port_index)
{
	uint8_t key[17];

	memcpy(key, addr->octet, 16);
	key[16] = port_index;
	return &n->bucket[siphash(&n->key, key, sizeof(key)) & (NEIGH_BUCKETS - 1)];
}

static struct neigh_entry *
lookup(struct neigh *n, const struct ip_addr *addr, uint8_t port_index)
{
	struct neigh_entry *last = &n->entry[n->last];

	/* nearly every frame goes to the router: its hash was not needed */
	if (last->state != NEIGH_FREE && last->port_index == port_index && ip_addr_equal(&last->addr, addr))
		return last;
	for (uint16_t i = *bucket_of(n, addr, port_index); i != NEIGH_NONE; i = n->entry[i].next)
		if (n->entry[i].port_index == port_index && ip_addr_equal(&n->entry[i].addr, addr)) {
			n->last = i;
			return &n->entry[i];
		}
	return NULL;
}

static void
set_due(struct neigh *n, struct neigh_entry *e, uint64_t due_us)
{
	e->due_us = due_us;
	if (due_us < n->deadline_us)
		n->deadline_us = due_us;
}

static void
unlink_entry(struct neigh *n, struct neigh_entry *e)
{
	const uint16_t self = (uint16_t)(e - n->entry);
	uint16_t *link = bucket_of(n, &e->addr, e->port_index);

	while (*link != self)
		link = &n->entry[*link].next;
	*link = e->next;
	n->forgotten++;
	e->state = NEIGH_FREE;
	e->next = n->free_list;
	n->free_list = self;
}

/* An entry nobody needs much: STALE and longest unused. */
static bool
evict(struct neigh *n)
{
	struct neigh_entry *best = NULL;

	for (uint32_t i = 0; i < n->high; i++) {
		struct neigh_entry *e = &n->entry[i];

		if (e->state == NEIGH_STALE && (best == NULL || e->used_us < best->used_us))
			best = e;
	}
	if (best == NULL)
		return false;
	unlink_entry(n, best);
	return true;
}

static struct neigh_entry *
add(struct neigh *n, const struct ip_addr *addr, uint8_t port_index)
{
	uint16_t *bucket = bucket_of(n, addr, port_index);
	struct neigh_entry *e;
	uint16_t self;

	if (n->free_list == NEIGH_NONE && n->high == NEIGH_ENTRIES_MAX && !evict(n))
		return NULL;
	if (n->free_list != NEIGH_NONE) {
		self = n->free_list;
		n->free_list = n->entry[self].next;
	} else {
		self = n->high++;
	}
	e = &n->entry[self];
	*e = (struct neigh_entry){
		.addr = *addr, .port_index = port_index, .next = *bucket, .waiting = NEIGH_NO_SLOT, .due_us = UINT64_MAX
	};
	*bucket = self;
	return e;
}

enum neigh_found
neigh_find(struct neigh *n, const struct ip_addr *addr, uint8_t port_index, uint8_t *mac, uint32_t **waiting,
	uint64_t now_us)
{
	struct neigh_entry *e = lookup(n, addr, port_index);

	if (e == NULL) {
		e = add(n, addr, port_index);
		if (e == NULL)
			return NEIGH_NO_ROOM;
		e->state = NEIGH_INCOMPLETE;
		set_due(n, e, now_us);
	}
	e->used = true;
	e->used_us = now_us;
	switch ((enum neigh_state)e->state) {
	case NEIGH_FREE:
	case NEIGH_INCOMPLETE:
		*waiting = &e->waiting;
		return NEIGH_PENDING;
	case NEIGH_STALE:
		e->state = NEIGH_PROBE;
		e->probes = 0;
		set_due(n, e, now_us);
		break;
	case NEIGH_REACHABLE:
	case NEIGH_PROBE:
	case NEIGH_STATIC:
		break;
	}
	memcpy(mac, e->mac, 6);
	return NEIGH_KNOWN;
}

uint16_t
neigh_last(const struct neigh *n)
{
	return n->last;
}

uint32_t
neigh_forgotten(const struct neigh *n)
{
	return n->forgotten;
}

bool
neigh_again(struct neigh *n, uint16_t entry, uint8_t *mac, uint64_t now_us)
{
	struct neigh_entry *e = &n->entry[entry];

	if (e->state != NEIGH_REACHABLE && e->state != NEIGH_PROBE && e->state != NEIGH_STATIC)
		return false;
	e->used = true;
	e->used_us = now_us;
	memcpy(mac, e->mac, 6);
	return true;
}

static void
confirm(struct neigh *n, struct neigh_entry *e, uint64_t now_us)
{
	n->jitter = n->jitter * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	e->state = NEIGH_REACHABLE;
	e->used = e->waiting != NEIGH_NO_SLOT;
	e->probes = 0;
	set_due(n, e, now_us + NEIGH_FRESH_US - (n->jitter >> 33) % (NEIGH_FRESH_US / 4));
}

static void
make_stale(struct neigh *n, struct neigh_entry *e, uint64_t now_us)
{
	e->state = NEIGH_STALE;
	set_due(n, e, now_us + NEIGH_STALE_US);
}

enum neigh_heard
neigh_hear(struct neigh *n, const struct neigh_word *word, uint32_t *waiting, uint64_t now_us)
{
	struct neigh_entry *e = lookup(n, &word->addr, word->port_index);
	bool same;

	*waiting = NEIGH_NO_SLOT;
	if (e == NULL || e->state == NEIGH_STATIC)
		return NEIGH_IGNORED;
	if (e->state ==
		NEIGH_INCOMPLETE) { /* RFC 4861 section 7.2.5: whatever the flags say, there is nothing to lose */
		memcpy(e->mac, word->mac, 6);
		*waiting = e->waiting;
		if (word->solicited)
			confirm(n, e, now_us);
		else
			make_stale(n, e, now_us);
		e->waiting = NEIGH_NO_SLOT;
		return NEIGH_RESOLVED;
	}
	same = memcmp(e->mac, word->mac, 6) == 0;
	if (!same && !word->override) {
		if (e->state == NEIGH_REACHABLE)
			make_stale(n, e, now_us);
		return NEIGH_IGNORED;
	}
	memcpy(e->mac, word->mac, 6);
	if (word->solicited)
		confirm(n, e, now_us);
	else if (!same)
		make_stale(n, e, now_us);
	return NEIGH_TAKEN;
}

int
neigh_set_static(struct neigh *n, const struct ip_addr *addr, uint8_t port_index, const uint8_t *mac)
{
	struct neigh_entry *e = lookup(n, addr, port_index);

	if (e == NULL)
		e = add(n, addr, port_index);
	if (e == NULL)
		return -ENOSPC;
	e->state = NEIGH_STATIC;
	e->due_us = UINT64_MAX;
	memcpy(e->mac, mac, 6);
	return 0;
}

/* What an entry that is due does. NEIGH_NOTHING: it only changed its state. */
static enum neigh_due_kind
run_due(struct neigh *n, struct neigh_entry *e, struct neigh_due *out, uint64_t now_us)
{
	*out = (struct neigh_due){ .addr = e->addr, .port_index = e->port_index, .waiting = NEIGH_NO_SLOT };
	memcpy(out->mac, e->mac, 6);
	switch ((enum neigh_state)e->state) {
	case NEIGH_FREE:
	case NEIGH_STATIC:
		break;
	case NEIGH_STALE:
		unlink_entry(n, e);
		break;
	case NEIGH_REACHABLE:
		if (!e->used) {
			make_stale(n, e, now_us);
			break;
		}
		e->state = NEIGH_PROBE;
		e->probes = 0;
		/* fall through */
	case NEIGH_PROBE:
		if (e->probes < NEIGH_PROBES_MAX) {
			e->probes++;
			set_due(n, e, now_us + NEIGH_RETRANS_US);
			return NEIGH_ASK_ONE;
		}
		e->state = NEIGH_INCOMPLETE;
		e->probes = 0;
		/* fall through */
	case NEIGH_INCOMPLETE:
		if (e->probes < NEIGH_PROBES_MAX) {
			e->probes++;
			set_due(n, e, now_us + NEIGH_RETRANS_US);
			return NEIGH_ASK_ALL;
		}
		out->waiting = e->waiting;
		unlink_entry(n, e);
		return NEIGH_GAVE_UP;
	}
	return NEIGH_NOTHING;
}

enum neigh_due_kind
neigh_due(struct neigh *n, struct neigh_due *out, uint64_t now_us)
{
	uint64_t first_us = UINT64_MAX;

	if (now_us < n->deadline_us)
		return NEIGH_NOTHING;
	for (; n->cursor < n->high; n->cursor++) {
		struct neigh_entry *e = &n->entry[n->cursor];

		if (e->state != NEIGH_FREE && now_us >= e->due_us) {
			const enum neigh_due_kind kind = run_due(n, e, out, now_us);

			if (kind != NEIGH_NOTHING)
				return kind; /* the rest comes with the next call: the deadline has not moved */
		}
	}
	n->cursor = 0;
	for (uint32_t i = 0; i < n->high; i++)
		if (n->entry[i].state != NEIGH_FREE && n->entry[i].due_us < first_us)
			first_us = n->entry[i].due_us;
	n->deadline_us = first_us;
	return NEIGH_NOTHING;
}

uint64_t
neigh_deadline_us(const struct neigh *n)
{
	return n->deadline_us;
}

enum neigh_state
neigh_state_of(const struct neigh *n, const struct ip_addr *addr, uint8_t port_index)
{
	/* lookup() changes nothing; the table is not const for its other callers alone */
	const struct neigh_entry *e = lookup((struct neigh *)(uintptr_t)n, addr, port_index);

	return e == NULL ? NEIGH_FREE : (enum neigh_state)e->state;
}
