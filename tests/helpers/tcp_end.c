/*
 * tcp_end.c - one TCP endpoint under test.
 */
#include "tests/helpers/tcp_end.h"

#include "dataplane/base/octets.h"
#include "dataplane/net/csum.h"
#include "tests/check.h"
#include "tests/helpers/tcp_check.h"

struct tcp_conf
tcp_end_conf(void)
{
	return (struct tcp_conf){
		.conns_max = 16,
		.syn_ring_entries = 16,
		.time_wait_max = 16,
		.rcv_wnd_max_octets = 262144,
		.rcv_budget_octets = 64u << 20,
		.snd_queue_max_octets = 262144,
		.ooo_max_segs = 256,
		.mtu = 1500,
		.secret = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 },
	};
}

void
tcp_end_init(struct tcp_end *e, const struct tcp_conf *conf, uint32_t n_bufs, uint64_t now_us)
{
	*e = (struct tcp_end){ .now_us = now_us };
	e->pool = buf_malloc_create(n_bufs);
	e->tcp = tcp_create(conf, e->pool, &e->counters, now_us);
	CHECK_TRUE("endpoint created", e->tcp != NULL);
}

void
tcp_end_fini(struct tcp_end *e)
{
	tcp_destroy(e->tcp);
	CHECK_EQ("buffers left", buf_malloc_in_use(e->pool), 0);
	buf_malloc_destroy(e->pool);
	e->tcp = NULL;
}

bool
tcp_end_output(struct tcp_end *e, struct wire_seg *out)
{
	struct tcp_seg_out seg;

	if (tcp_output(e->tcp, &seg, 1, e->now_us) == 0)
		return false;
	out->flow = seg.flow;
	memcpy(out->octets, seg.frame.hdr + frame_tcp_offset(&seg.flow), seg.tcp_header_octets);
	out->len_octets = seg.tcp_header_octets;
	for (uint32_t i = 0; i < seg.frame.n_views; i++) {
		const struct buf_view *v = &seg.frame.view[i];

		CHECK_TRUE("segment fits", out->len_octets + v->len_octets <= WIRE_SEG_MAX_OCTETS);
		memcpy(out->octets + out->len_octets, v->ptr, v->len_octets);
		out->len_octets += v->len_octets;
	}
	wire_seg_checksum(out);
	return true;
}

void
tcp_end_input(struct tcp_end *e, const struct wire_seg *w, bool checksum_good)
{
	/* as received: an Ethernet header's worth of other octets before it, in one buffer where it fits */
	uint8_t *data, spill[WIRE_SEG_MAX_OCTETS];
	const bool fits = w->len_octets + 64 <= BUF_ROOM_MAX_OCTETS;
	struct buf *buf = fits ? buf_alloc(e->pool, w->len_octets + 64, &data) : NULL;
	uint8_t *at = buf != NULL ? data + 64 : spill;
	struct net_frame frame = {
		.view = { .ptr = buf != NULL ? data : spill, .len_octets = 64 + w->len_octets, .buf = buf }
	};
	struct net_seg seg = { .flow = flow_reverse(&w->flow), .checksum_good = checksum_good };

	if (fits && buf == NULL)
		return; /* a port without a buffer drops */
	memcpy(at, w->octets, w->len_octets);
	if (buf != NULL)
		memset(data, 0xee, 64);
	else
		frame.view.len_octets = w->len_octets;
	seg.tcp = (struct buf_view){ .ptr = at, .len_octets = w->len_octets, .buf = buf };
	tcp_input(e->tcp, &seg, &frame, e->now_us);
	tcp_check_invariants(e->tcp, false);
	buf_unref(e->pool, buf);
}

uint64_t
tcp_end_count(const struct tcp_end *e, enum counter which)
{
	return counter_read(&e->counters, which);
}

void
wire_seg_checksum(struct wire_seg *w)
{
	struct csum c = csum_start();

	put_u16(w->octets + 16, 0);
	csum_add_pseudo(&c, &w->flow.local, &w->flow.remote, CSUM_PROTO_TCP, w->len_octets);
	csum_add(&c, w->octets, w->len_octets);
	put_u16(w->octets + 16, csum_finish(&c));
}

void
wire_seg_build(struct wire_seg *w, const struct flow *flow, const struct tcp_hdr *h)
{
	w->flow = *flow;
	w->len_octets = tcp_hdr_build(w->octets, flow, h);
	CHECK_TRUE("segment fits", w->len_octets + h->payload_octets <= WIRE_SEG_MAX_OCTETS);
	if (h->payload_octets > 0)
		memcpy(w->octets + w->len_octets, h->payload, h->payload_octets);
	w->len_octets += h->payload_octets;
	wire_seg_checksum(w);
}

struct flow
flow_reverse(const struct flow *f)
{
	return (struct flow){
		.local = f->remote, .remote = f->local, .local_port = f->remote_port, .remote_port = f->local_port
	};
}

uint64_t
rng_next(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

bool
rng_chance(uint64_t *state, uint32_t per_mille)
{
	return rng_next(state) % 1000 < per_mille;
}
