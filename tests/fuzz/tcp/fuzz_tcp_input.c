/*
 * fuzz_tcp_input.c - a peer that says anything, to a listener, to an established connection and to a connect of ours.
 *
 * The input is a list of steps: an octet says which, its arguments follow. Segments are built with numbers relative to those of
 * the connection, so that a few random octets hit windows and edges; raw ones have a right checksum and nothing else. After each
 * step the endpoint's invariants are checked, at the end that no buffer is left.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/octets.h"
#include "dataplane/net/csum.h"
#include "dataplane/tcp/tcp_conn.h"
#include "tests/helpers/tcp_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 400

struct fuzz {
	struct buf_pool *pool;
	struct counters counters;
	struct tcp *tcp;
	struct octets in;
	uint64_t now_us;
	struct tcp_conn *user[32]; /* connections we were told of and did not release */
	uint32_t n_users;
	uint32_t their_isn[4]; /* by remote port */
};

static const struct ip_addr ours = { .octet = { [10] = 0xff, 0xff, 198, 18, 0, 2 } };
static const struct ip_addr theirs = { .octet = { [10] = 0xff, 0xff, 198, 18, 0, 9 } };

static void
drain(struct fuzz *f)
{
	struct tcp_seg_out out[8];
	uint32_t n, rounds = 0;

	while ((n = tcp_output(f->tcp, out, 8, f->now_us)) > 0) {
		BUG_ON(++rounds > 10000); /* it never ends */
		for (uint32_t i = 0; i < n; i++) {
			struct tcp_hdr h;
			uint32_t sum = 0;

			BUG_ON(!tcp_hdr_parse(
				&h, out[i].frame.hdr + frame_tcp_offset(&out[i].flow), out[i].tcp_header_octets));
			for (uint32_t v = 0; v < out[i].frame.n_views; v++)
				for (uint32_t k = 0; k < out[i].frame.view[v].len_octets; k++)
					sum += out[i].frame.view[v].ptr[k]; /* the sanitizer sees what is not there */
			BUG_ON(sum == UINT32_MAX);
		}
	}
}

static void
take_news(struct fuzz *f)
{
	struct tcp_conn *c;
	uint32_t events;

	while ((c = tcp_ready(f->tcp, &events)) != NULL) {
		bool known = false;

		for (uint32_t i = 0; i < f->n_users; i++)
			known |= f->user[i] == c;
		if (known)
			continue;
		BUG_ON((events & TCP_EV_ACCEPTED) == 0 || f->n_users == 32);
		f->user[f->n_users++] = c;
	}
}

static void
give(struct fuzz *f, const struct flow *flow, const uint8_t *octets, uint32_t len)
{
	uint8_t *at;
	struct buf *buf = buf_alloc(f->pool, len, &at);
	struct net_frame frame = { .view = { .ptr = at, .len_octets = len, .buf = buf } };
	struct net_seg seg = { .flow = *flow, .tcp = { .ptr = at, .len_octets = len, .buf = buf } };

	if (buf == NULL)
		return;
	memcpy(at, octets, len);
	if (len >= 20) {
		struct csum c = csum_start();

		put_u16(at + 16, 0);
		csum_add_pseudo(&c, &flow->remote, &flow->local, CSUM_PROTO_TCP, len);
		csum_add(&c, at, len);
		put_u16(at + 16, csum_finish(&c));
	} else {
		seg.checksum_good = true;
	}
	tcp_input(f->tcp, &seg, &frame, f->now_us);
	buf_unref(f->pool, buf);
}

/* A segment with numbers near those that matter to the connection of flow. */
static void
step_segment(struct fuzz *f)
{
	const uint32_t which = octets_u8(&f->in) % 4;
	struct flow flow = {
		.local = ours, .remote = theirs, .local_port = 25, .remote_port = (uint16_t)(1000 + which)
	};
	const struct tcp_conn *c;
	uint8_t seg[TCP_HEADER_MAX_OCTETS + 2048] = { 0 };
	uint32_t seq = f->their_isn[which], ack = 0, options, payload;
	uint8_t flags = octets_u8(&f->in);
	int16_t d_seq = (int16_t)octets_u16(&f->in), d_ack = (int16_t)octets_u16(&f->in);

	if (which == 3 && f->n_users > 0)
		flow = f->user[d_ack & 7 % f->n_users]->flow;
	c = tcp_conn_find(f->tcp, &flow, tcp_flow_hash(f->tcp, &flow));
	if (c != NULL) {
		seq = (flags & 0x40) != 0 ? c->rcv_adv : c->rcv_nxt;
		ack = (flags & 0x80) != 0 ? c->snd_max : c->snd_una;
	} else if (f->tcp->listen.n > 0) {
		for (uint32_t i = 0; i < f->tcp->listen.max; i++)
			if (tcp_flow_equal(&f->tcp->listen.entry[i].flow, &flow)) {
				seq = f->tcp->listen.entry[i].irs + 1;
				ack = f->tcp->listen.entry[i].iss + 1;
			}
	}
	options = octets_u8(&f->in) % 11 * 4;
	put_u16(seg, flow.remote_port);
	put_u16(seg + 2, flow.local_port);
	put_u32(seg + 4, seq + (uint32_t)(int32_t)d_seq);
	put_u32(seg + 8, ack + (uint32_t)(int32_t)d_ack);
	seg[12] = (uint8_t)((5 + options / 4) << 4);
	seg[13] = flags & 0x3f;
	put_u16(seg + 14, octets_u16(&f->in));
	for (uint32_t i = 0; i < options; i++)
		seg[20 + i] = octets_u8(&f->in);
	/* a timestamp that is right, or nearly */
	if (c != NULL && c->ts_ok && options >= 12 && (seg[20] & 1) != 0) {
		seg[20] = seg[21] = 1;
		seg[22] = 8;
		seg[23] = 10;
		put_u32(seg + 24, c->ts_recent + seg[24] % 16 - 2);
		put_u32(seg + 28, tcp_ts_now(f->tcp, f->now_us) - seg[28] % 16);
	}
	/* SACK blocks in flight */
	if (c != NULL && options >= 24 && (seg[32] & 1) != 0) {
		seg[32] = seg[33] = 1;
		seg[34] = 5;
		seg[35] = 10;
		put_u32(seg + 36, c->snd_una + (uint32_t)(seg[36] << 5));
		put_u32(seg + 40, c->snd_una + (uint32_t)(seg[40] << 5));
	}
	payload = octets_u8(&f->in) * (flags & 0x10 ? 7u : 1u);
	memset(seg + 20 + options, 'x', payload);
	give(f, &flow, seg, 20 + options + payload);
}

static void
step_raw(struct fuzz *f)
{
	const uint32_t len = octets_u8(&f->in) % 80;
	const uint8_t *octets = octets_take(&f->in, len);
	const struct flow flow = { .local = ours, .remote = theirs, .local_port = 25, .remote_port = 1000 };

	if (octets != NULL)
		give(f, &flow, octets, len);
}

static struct tcp_conn *
pick(struct fuzz *f)
{
	return f->n_users > 0 ? f->user[octets_u8(&f->in) % f->n_users] : NULL;
}

static void
step_write(struct fuzz *f)
{
	struct tcp_conn *c = pick(f);
	const uint32_t len = 1 + octets_u16(&f->in) % 2048;
	uint8_t *at;
	struct buf *buf = buf_alloc(f->pool, len, &at);

	if (buf != NULL)
		memset(at, 'y', len);
	if (buf != NULL && c != NULL)
		tcp_send(c, &(struct buf_view){ .ptr = at, .len_octets = len, .buf = buf });
	buf_unref(f->pool, buf);
}

static void
release(struct fuzz *f, struct tcp_conn *c)
{
	for (uint32_t i = 0; i < f->n_users; i++)
		if (f->user[i] == c)
			f->user[i] = f->user[--f->n_users];
	tcp_release(c);
}

static void
step_icmp(struct fuzz *f)
{
	const struct tcp_conn *c = pick(f);
	struct net_icmp_error e = { .kind = octets_u8(&f->in) % 3, .mtu = octets_u16(&f->in) };

	if (c == NULL)
		return;
	e.flow = c->flow;
	e.quoted_seq = c->snd_una + octets_u8(&f->in) - 4u;
	tcp_icmp_error(f->tcp, &e, f->now_us);
}

static void
step(struct fuzz *f)
{
	struct tcp_conn *c;
	int err;

	switch (octets_u8(&f->in) % 16) {
	default:
		step_segment(f);
		break;
	case 8:
		step_raw(f);
		break;
	case 9:
		f->now_us += (uint64_t)octets_u8(&f->in) << (octets_u8(&f->in) % 22);
		break;
	case 10:
		step_write(f);
		break;
	case 11:
		if ((c = pick(f)) != NULL)
			tcp_consume(c, octets_u16(&f->in));
		break;
	case 12:
		if ((c = pick(f)) != NULL)
			tcp_close(c);
		break;
	case 13:
		if ((c = pick(f)) == NULL)
			break;
		if (octets_u8(&f->in) % 2 == 0)
			tcp_abort(c);
		release(f, c);
		break;
	case 14:
		if ((c = pick(f)) != NULL)
			tcp_set_rcv_limit(c, octets_u16(&f->in));
		step_icmp(f);
		break;
	case 15:
		if (f->n_users < 16 && (c = tcp_connect(f->tcp, &ours, &theirs, 25, NULL, f->now_us, &err)) != NULL)
			f->user[f->n_users++] = c;
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = { .in = octets_of(data, (uint32_t)size), .now_us = 1000000 };
	struct tcp_conf conf = {
		.conns_max = 16,
		.syn_ring_entries = 2,
		.time_wait_max = 4,
		.rcv_wnd_max_octets = 20000,
		.rcv_budget_octets = 60000,
		.snd_queue_max_octets = 20000,
		.ooo_max_segs = 8,
		.mtu = 1500,
		.secret = { 1, 2 },
	};

	if (octets_u8(&f.in) & 1)
		conf.syn_ring_entries = 0;
	f.pool = buf_malloc_create(64);
	f.tcp = tcp_create(&conf, f.pool, &f.counters, f.now_us);
	BUG_ON(f.pool == NULL || f.tcp == NULL || tcp_listen(f.tcp, &ours, 25, 1) != 0);
	for (uint32_t i = 0; i < 4; i++)
		f.their_isn[i] = octets_u32(&f.in);
	for (uint32_t i = 0; i < STEPS_MAX && f.in.len_octets > 0; i++) {
		step(&f);
		tcp_check_invariants(f.tcp, false);
		take_news(&f);
		if (i % 3 != 2)
			continue;
		drain(&f);
		tcp_check_invariants(f.tcp, true);
		take_news(&f);
	}
	drain(&f);
	while (f.n_users > 0) {
		tcp_abort(f.user[0]);
		release(&f, f.user[0]);
	}
	/* what was released closes within its limit, whatever the peer does not say */
	for (uint32_t i = 0; i < 300; i++) {
		f.now_us += 1000000;
		drain(&f);
	}
	BUG_ON(tcp_n_conns(f.tcp) != 0);
	tcp_destroy(f.tcp);
	buf_malloc_destroy(f.pool);
	return 0;
}
