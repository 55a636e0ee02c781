/*
 * tcp_pair.c - two endpoints back to back.
 */
#include "tests/helpers/tcp_pair.h"

#include <stdlib.h>

#include "tests/check.h"
#include "tests/helpers/tcp_check.h"

const struct flow pair_flow_v4 = {
	.local = { .octet = { [10] = 0xff, 0xff, 198, 18, 0, 9 } },
	.remote = { .octet = { [10] = 0xff, 0xff, 198, 18, 0, 2 } },
	.local_port = 40000,
	.remote_port = 25,
};
const struct flow pair_flow_v6 = {
	.local = { .octet = { 0x20, 1, 0xd, 0xb8, [15] = 9 } },
	.remote = { .octet = { 0x20, 1, 0xd, 0xb8, [15] = 2 } },
	.local_port = 40000,
	.remote_port = 25,
};

void
tcp_pair_init(struct tcp_pair *p, const struct tcp_conf *client, const struct tcp_conf *server,
	const struct wire_conf *wire, uint64_t seed, uint32_t n_bufs)
{
	*p = (struct tcp_pair){ .wire = *wire, .rng = seed, .now_us = 1000000 };
	tcp_end_init(&p->end[0], client, n_bufs, p->now_us);
	tcp_end_init(&p->end[1], server, n_bufs, p->now_us);
}

void
tcp_pair_fini(struct tcp_pair *p)
{
	while (p->items != NULL) {
		struct wire_item *i = p->items;

		p->items = i->next;
		free(i);
	}
	tcp_end_fini(&p->end[0]);
	tcp_end_fini(&p->end[1]);
}

static struct wire_seg *
post(struct tcp_pair *p, const struct wire_seg *seg, int to, uint64_t due_us)
{
	struct wire_item *i = malloc(
				 offsetof(struct wire_item, seg) + offsetof(struct wire_seg, octets) + seg->len_octets),
			 **at;

	i->due_us = due_us;
	i->to = to;
	i->seg.flow = seg->flow;
	i->seg.len_octets = seg->len_octets;
	memcpy(i->seg.octets, seg->octets, seg->len_octets);
	for (at = &p->items; *at != NULL && (*at)->due_us <= due_us; at = &(*at)->next)
		;
	i->next = *at;
	*at = i;
	p->n_items++;
	return &i->seg;
}

/* Puts NOPs in the place of an option. */
static void
strip_option(struct wire_seg *w, uint8_t kind)
{
	uint32_t at = TCP_HEADER_MIN_OCTETS;
	const uint32_t end = (uint32_t)(w->octets[12] >> 4) * 4;

	while (at < end && w->octets[at] != 0) {
		const uint32_t len = w->octets[at] == 1 ? 1 : w->octets[at + 1];

		if (w->octets[at] == kind)
			memset(w->octets + at, 1, len);
		at += len;
	}
	wire_seg_checksum(w);
}

static void
onto_wire(struct tcp_pair *p, struct wire_seg *seg, int to)
{
	uint64_t due_us = p->now_us + p->wire.delay_us;
	uint32_t copies = 1 + rng_chance(&p->rng, p->wire.duplicate_pm);
	struct wire_seg *copy;

	p->n_sent++;
	if ((seg->octets[13] & TCP_SYN) != 0) {
		if (p->wire.no_sack)
			strip_option(seg, 4);
		if (p->wire.no_ts)
			strip_option(seg, 8);
		if (p->wire.no_wscale)
			strip_option(seg, 3);
	}
	if (rng_chance(&p->rng, p->wire.loss_pm) || (p->wire.mtu != 0 && seg->len_octets + 20 > p->wire.mtu)) {
		p->n_lost++;
		return;
	}
	if (p->wire.rate_octets_s != 0) {
		p->free_us[to] =
			MAX(p->free_us[to], p->now_us) + (uint64_t)seg->len_octets * 1000000 / p->wire.rate_octets_s;
		due_us = p->free_us[to] + p->wire.delay_us;
	}
	while (copies-- > 0) {
		if (rng_chance(&p->rng, p->wire.reorder_pm))
			due_us += rng_next(&p->rng) % (p->wire.reorder_us + 1);
		copy = post(p, seg, to, due_us);
		/* one octet: two may cancel each other in the checksum */
		if (rng_chance(&p->rng, p->wire.corrupt_pm))
			copy->octets[rng_next(&p->rng) % copy->len_octets] ^= (uint8_t)(1 + rng_next(&p->rng) % 255);
	}
}

bool
tcp_pair_step(struct tcp_pair *p, uint64_t limit_us)
{
	static struct wire_seg seg;
	uint64_t next_us = limit_us;

	for (int e = 0; e < 2; e++) {
		p->end[e].now_us = p->now_us;
		while (tcp_end_output(&p->end[e], &seg))
			onto_wire(p, &seg, !e);
		tcp_check_invariants(p->end[e].tcp, true);
	}
	if (p->items != NULL)
		next_us = MIN(next_us, p->items->due_us);
	next_us = MIN(next_us, tcp_deadline_us(p->end[0].tcp));
	next_us = MIN(next_us, tcp_deadline_us(p->end[1].tcp));
	if (next_us >= limit_us) {
		p->now_us = MAX(p->now_us, limit_us);
		return false;
	}
	p->now_us = MAX(p->now_us, next_us);
	while (p->items != NULL && p->items->due_us <= p->now_us) {
		struct wire_item *i = p->items;

		p->items = i->next;
		p->n_items--;
		p->end[i->to].now_us = p->now_us;
		tcp_end_input(&p->end[i->to], &i->seg, false);
		free(i);
	}
	return true;
}

static void
app_read(struct stream_app *a)
{
	struct buf_view v[16];
	uint32_t left = a->read_max_octets != 0 ? a->read_max_octets : UINT32_MAX;
	uint32_t n;

	while (left > 0 && (n = tcp_peek(a->c, v, ARRAY_LEN(v))) > 0) {
		uint32_t took = 0;

		for (uint32_t i = 0; i < n && left > 0; i++) {
			const uint32_t len = MIN(v[i].len_octets, left);

			for (uint32_t k = 0; k < len; k++, a->read++)
				if (v[i].ptr[k] != stream_octet(a->name_in, a->read))
					fail_msg("octet %llu differs", (unsigned long long)a->read);
			took += len;
			left -= len;
		}
		tcp_consume(a->c, took);
	}
}

static void
app_write(struct stream_app *a)
{
	while (a->written < a->n_write) {
		const uint64_t piece = 1 + rng_next(&a->rng) % a->piece_max_octets;
		const uint32_t want = (uint32_t)MIN(piece, a->n_write - a->written);
		uint8_t copy[BUF_ROOM_MAX_OCTETS], *data = copy;
		struct buf *buf = rng_chance(&a->rng, a->no_buf_pm) ? NULL : buf_alloc(a->end->pool, want, &data);
		uint32_t took;

		for (uint32_t i = 0; i < want; i++)
			data[i] = stream_octet(a->name_out, a->written + i);
		took = tcp_send(a->c, &(struct buf_view){ .ptr = data, .len_octets = want, .buf = buf });
		memset(copy, 0, sizeof(copy)); /* octets without a buffer are ours again */
		buf_unref(a->end->pool, buf);
		a->written += took;
		if (took < want)
			return;
	}
	if (a->close_when_done && !a->closed) {
		a->closed = true;
		tcp_close(a->c);
	}
}

void
stream_app_turn(struct stream_app *a, uint32_t events)
{
	a->events_seen |= events;
	if (a->c == NULL)
		return;
	if ((events & (TCP_EV_CLOSED | TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_REFUSED)) != 0)
		a->ended = true;
	app_read(a);
	if ((events & TCP_EV_EOF) != 0) {
		a->eof = true;
		CHECK_EQ("EOF comes after the last octet", tcp_readable_octets(a->c), 0);
	}
	if (!a->ended)
		app_write(a);
}
