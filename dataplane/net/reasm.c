/*
 * reasm.c - datagrams from fragments, both families.
 *
 * Pure:   see reasm.h.
 * Keeps:  a datagram's fragments are sorted and do not overlap, so it is whole when their lengths add up to its end.
 */
#include "dataplane/net/reasm.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define REASM_ECN_CE 3 /* congestion experienced */

struct reasm_frag {
	uint32_t offset_octets;
	struct buf_view view;
};

struct reasm_datagram {
	bool used;
	bool dead; /* an overlap or too many: it stays until its time is over, so that late fragments find it */
	uint8_t proto;
	uint8_t ecn;
	bool is_v4;
	uint32_t id;
	struct ip_addr src, dst;
	uint64_t expires_us;
	uint32_t total_octets; /* 0: the last fragment has not come */
	uint32_t held_octets;
	uint32_t n_frags;
	struct reasm_frag frag[REASM_FRAGS_MAX];
};

struct reasm {
	struct buf_pool *pool;
	uint32_t n_used;
	uint32_t pinned_octets;
	uint32_t n_lost;
	uint64_t deadline_us; /* at or before the first expiry */
	struct reasm_datagram datagram[REASM_DATAGRAMS_MAX];
};

size_t
reasm_octets(void)
{
	return sizeof(struct reasm);
}

struct reasm *
reasm_create(struct buf_pool *pool)
{
	struct reasm *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->pool = pool;
	r->deadline_us = UINT64_MAX;
	return r;
}

static void
drop_frags(struct reasm *r, struct reasm_datagram *d)
{
	for (uint32_t i = 0; i < d->n_frags; i++) {
		buf_unref(r->pool, d->frag[i].view.buf);
		r->pinned_octets -= BUF_ROOM_MAX_OCTETS;
	}
	d->n_frags = 0;
}

static void
free_datagram(struct reasm *r, struct reasm_datagram *d)
{
	drop_frags(r, d);
	d->used = false;
	r->n_used--;
}

static enum reasm_result
kill_datagram(struct reasm *r, struct reasm_datagram *d)
{
	drop_frags(r, d);
	d->dead = true;
	return REASM_DROPPED;
}

void
reasm_destroy(struct reasm *r)
{
	if (r == NULL)
		return;
	for (uint32_t i = 0; i < REASM_DATAGRAMS_MAX; i++)
		if (r->datagram[i].used)
			free_datagram(r, &r->datagram[i]);
	BUG_ON(r->pinned_octets != 0);
	free(r);
}

/* RFC 791: source, destination, protocol and identification; RFC 8200: without the protocol. */
static bool
is_same(const struct reasm_datagram *d, const struct ip_packet *p)
{
	return d->used && d->id == p->frag_id && d->is_v4 == p->is_v4 && ip_addr_equal(&d->src, &p->src) &&
	       ip_addr_equal(&d->dst, &p->dst) && (!p->is_v4 || d->proto == p->proto);
}

/* The oldest datagram; want_frags: of those that pin buffers. NULL where there is none. */
static struct reasm_datagram *
oldest(struct reasm *r, bool want_frags)
{
	struct reasm_datagram *best = NULL;

	for (uint32_t i = 0; i < REASM_DATAGRAMS_MAX; i++) {
		struct reasm_datagram *d = &r->datagram[i];

		if (d->used && (!want_frags || d->n_frags > 0) && (best == NULL || d->expires_us < best->expires_us))
			best = d;
	}
	return best;
}

static struct reasm_datagram *
find_or_begin(struct reasm *r, const struct ip_packet *p, uint64_t now_us)
{
	struct reasm_datagram *place = NULL;

	if (r->n_used > 0)
		for (uint32_t i = 0; i < REASM_DATAGRAMS_MAX; i++)
			if (is_same(&r->datagram[i], p))
				return &r->datagram[i];
	if (r->n_used == REASM_DATAGRAMS_MAX) {
		struct reasm_datagram *victim = oldest(r, false);

		r->n_lost += !victim->dead;
		free_datagram(r, victim);
	}
	for (uint32_t i = 0; place == NULL; i++)
		if (!r->datagram[i].used)
			place = &r->datagram[i];
	*place = (struct reasm_datagram){ .used = true,
		.proto = p->proto,
		.is_v4 = p->is_v4,
		.id = p->frag_id,
		.src = p->src,
		.dst = p->dst,
		.expires_us = now_us + REASM_TIMEOUT_US };
	r->n_used++;
	if (place->expires_us < r->deadline_us)
		r->deadline_us = place->expires_us;
	return place;
}

/* A place in the sorted list for [from, to). -1: the same fragment is there already; -2: it overlaps another. */
static int
find_place(const struct reasm_datagram *d, uint32_t from, uint32_t to)
{
	uint32_t i = 0;

	while (i < d->n_frags && d->frag[i].offset_octets < from)
		i++;
	if (i < d->n_frags && d->frag[i].offset_octets == from && d->frag[i].view.len_octets == to - from)
		return -1;
	if (i > 0 && d->frag[i - 1].offset_octets + d->frag[i - 1].view.len_octets > from)
		return -2;
	if (i < d->n_frags && d->frag[i].offset_octets < to)
		return -2;
	return (int)i;
}

/* A view with a reference of its own; false when a copy was needed and the pool is empty. */
static bool
hold(struct reasm *r, const struct ip_packet *p, struct buf *buf, struct buf_view *out)
{
	uint8_t *data;

	if (buf != NULL) {
		buf_ref(r->pool, buf);
		*out = (struct buf_view){ .ptr = p->payload, .len_octets = p->payload_octets, .buf = buf };
		return true;
	}
	buf = buf_alloc(r->pool, p->payload_octets, &data);
	if (buf == NULL)
		return false;
	memcpy(data, p->payload, p->payload_octets);
	*out = (struct buf_view){ .ptr = data, .len_octets = p->payload_octets, .buf = buf };
	return true;
}

static enum reasm_result
give(struct reasm *r, struct reasm_datagram *d, struct reasm_whole *out)
{
	*out = (struct reasm_whole){
		.proto = d->proto, .ecn = d->ecn, .octets = d->total_octets, .n_views = d->n_frags
	};
	for (uint32_t i = 0; i < d->n_frags; i++)
		out->view[i] = d->frag[i].view;
	r->pinned_octets -= d->n_frags * BUF_ROOM_MAX_OCTETS;
	d->n_frags = 0;
	free_datagram(r, d);
	return REASM_DONE;
}

enum reasm_result
reasm_add(struct reasm *r, const struct ip_packet *p, struct buf *buf, struct reasm_whole *out, uint64_t now_us)
{
	const uint32_t from = p->frag_offset_octets, to = from + p->payload_octets;
	struct reasm_datagram *d, *victim;
	struct buf_view view;
	int place;

	r->n_lost += reasm_expire(r, now_us);
	/* all but the last are a multiple of 8 long; an empty one says nothing */
	if (p->payload_octets == 0 || to > REASM_DATAGRAM_MAX_OCTETS || (p->more && p->payload_octets % 8 != 0))
		return REASM_DROPPED;
	d = find_or_begin(r, p, now_us);
	if (d->dead)
		return REASM_DROPPED;
	/* the end, once known, is one */
	if (!p->more && d->total_octets != 0 && d->total_octets != to)
		return kill_datagram(r, d);
	if (d->total_octets != 0 && to > d->total_octets)
		return kill_datagram(r, d);
	if (!p->more && d->n_frags > 0 &&
		d->frag[d->n_frags - 1].offset_octets + d->frag[d->n_frags - 1].view.len_octets > to)
		return kill_datagram(r, d);
	place = find_place(d, from, to);
	if (place == -1)
		return REASM_HELD;
	if (place == -2 || d->n_frags == REASM_FRAGS_MAX)
		return kill_datagram(r, d);
	while (r->pinned_octets + BUF_ROOM_MAX_OCTETS > REASM_OCTETS_MAX) {
		victim = oldest(r, true);
		kill_datagram(r, victim);
		if (victim == d)
			return REASM_DROPPED;
		r->n_lost++;
	}
	if (!hold(r, p, buf, &view))
		return kill_datagram(r, d);
	r->pinned_octets += BUF_ROOM_MAX_OCTETS;
	memmove(&d->frag[place + 1], &d->frag[place], (d->n_frags - (uint32_t)place) * sizeof(d->frag[0]));
	d->frag[place] = (struct reasm_frag){ .offset_octets = from, .view = view };
	d->n_frags++;
	d->held_octets += p->payload_octets;
	if (d->n_frags == 1 ||
		p->ecn == REASM_ECN_CE) /* RFC 3168 section 5.3: what one fragment saw, the datagram saw */
		d->ecn = p->ecn;
	if (from == 0)
		d->proto = p->proto;
	if (!p->more)
		d->total_octets = to;
	return d->total_octets != 0 && d->held_octets == d->total_octets ? give(r, d, out) : REASM_HELD;
}

uint32_t
reasm_expire(struct reasm *r, uint64_t now_us)
{
	uint32_t n = 0;

	if (now_us < r->deadline_us)
		return 0;
	r->deadline_us = UINT64_MAX;
	for (uint32_t i = 0; i < REASM_DATAGRAMS_MAX; i++) {
		struct reasm_datagram *d = &r->datagram[i];

		if (!d->used)
			continue;
		if (now_us >= d->expires_us) {
			n += !d->dead;
			free_datagram(r, d);
		} else if (d->expires_us < r->deadline_us) {
			r->deadline_us = d->expires_us;
		}
	}
	return n;
}

uint32_t
reasm_lost(struct reasm *r)
{
	const uint32_t n = r->n_lost;

	r->n_lost = 0;
	return n;
}

uint64_t
reasm_deadline_us(const struct reasm *r)
{
	return r->deadline_us;
}

uint32_t
reasm_pinned_octets(const struct reasm *r)
{
	return r->pinned_octets;
}
