/*
 * test_tcp_plain.c - a plain connection is treated like any other, only in fewer steps.
 *
 * Two endpoints hear and do the same. One of them is never taken for plain: a bit of not_plain that means nothing is set in its connection.
 * After each step all they know, have told, counted and sent must be equal.
 *
 * And of the bare ACKs in a burst: which the one behind makes superfluous.
 */
#include <string.h>

#include "dataplane/base/seq.h"
#include "tests/check.h"
#include "tests/helpers/tcp_check.h"
#include "tests/helpers/tcp_peer.h"

#define NEVER_PLAIN (UINT32_C(1) << 31)
#define ROUNDS      400
#define STEPS       120

struct twins {
	struct peer a, b; /* b is never plain */
	uint64_t rng;
	uint64_t seed;
};

/* What both must agree on: without what is their own place in memory, and whether it is asked what there is to send. */
static struct tcp_conn
comparable(const struct tcp_conn *c)
{
	struct tcp_conn r;

	memcpy(&r, c, sizeof(r)); /* padding as it is */
	r.tcp = NULL;
	r.user = NULL;
	memset(&r.timer, 0, sizeof(r.timer));
	memset(&r.snd_queue, 0, sizeof(r.snd_queue));
	memset(&r.rcv_queue, 0, sizeof(r.rcv_queue));
	memset(&r.rcv_view, 0, sizeof(r.rcv_view));
	r.snd_cursor = NULL;
	r.sb = NULL;
	r.ooo = NULL;
	r.not_plain &= ~NEVER_PLAIN;
	r.on_list &= (uint8_t) ~(TCP_ON_LIST(TCP_LIST_OUT) | TCP_HAS_PLACE(TCP_LIST_OUT));
	return r;
}

static void
equal(struct twins *t, const char *after)
{
	struct tcp_conn a, b;

	tcp_check_invariants(t->a.e.tcp, false);
	tcp_check_invariants(t->b.e.tcp, false);
	if (t->a.c == NULL || t->a.c->tcp == NULL) {
		if (t->b.c != NULL && t->b.c->tcp != NULL)
			fail_msg("seed %llu: after %s one is gone", (unsigned long long)t->seed, after);
		return;
	}
	a = comparable(t->a.c);
	b = comparable(t->b.c);
	for (size_t i = 0; i < sizeof(a); i++)
		if (((const uint8_t *)&a)[i] != ((const uint8_t *)&b)[i])
			fail_msg("seed %llu: after %s octet %zu of the connections differs: %u and %u",
				(unsigned long long)t->seed, after, i, ((const uint8_t *)&a)[i],
				((const uint8_t *)&b)[i]);
	if (memcmp(&t->a.e.counters, &t->b.e.counters, sizeof(t->a.e.counters)) != 0)
		fail_msg("seed %llu: after %s the counters differ", (unsigned long long)t->seed, after);
	if (t->a.events != t->b.events)
		fail_msg("seed %llu: after %s events %x and %x", (unsigned long long)t->seed, after, t->a.events,
			t->b.events);
}

static void
hear_both(struct twins *t)
{
	for (;;) {
		const struct heard a = *peer_hear(&t->a), *b = peer_hear(&t->b);

		if (a.any != b->any || a.h.flags != b->h.flags || a.h.wnd != b->h.wnd || a.seq != b->seq ||
			a.ack != b->ack || a.len != b->len || a.h.tsval != b->h.tsval || a.h.tsecr != b->h.tsecr ||
			a.h.n_sack != b->h.n_sack || memcmp(a.text, b->text, a.len) != 0)
			fail_msg("seed %llu: one sent flags %x seq %u ack %u len %u wnd %u, the other %x %u %u %u %u",
				(unsigned long long)t->seed, a.h.flags, a.seq, a.ack, a.len, a.h.wnd, b->h.flags,
				b->seq, b->ack, b->len, b->h.wnd);
		if (!a.any)
			return;
	}
}

static uint32_t
below(struct twins *t, uint32_t n)
{
	return (uint32_t)(rng_next(&t->rng) >> 20) % n;
}

/* Mostly what a client says, now and then what one does not. */
static struct say
random_segment(struct twins *t)
{
	struct say s = { .len = below(t, 3) == 0 ? 0 : below(t, 2) == 0 ? below(t, 60) : below(t, 1400) };

	if (rng_chance(&t->rng, 300))
		s.flags = TCP_ACK | TCP_PSH;
	if (rng_chance(&t->rng, 150))
		s.ack = -(int64_t)below(t, 1500);
	else if (rng_chance(&t->rng, 100) && t->a.c != NULL && t->a.c->tcp != NULL) /* what it said last, once more */
		s.ack = (int32_t)(t->a.c->snd_una - t->a.rcv_nxt);
	if (rng_chance(&t->rng, 100))
		s.wnd = 1 + below(t, 4000);
	s.zero_wnd = rng_chance(&t->rng, 15);
	if (rng_chance(&t->rng, 60))
		s.seq = (int64_t)below(t, 3000) - 1500;
	s.keep = s.seq != 0;
	if (rng_chance(&t->rng, 20))
		s.tsval = (int64_t)below(t, 40) - 20;
	s.no_ts = rng_chance(&t->rng, 5);
	if (rng_chance(&t->rng, 30)) {
		s.n_sack = 1;
		s.sack[0] = below(t, 3000);
		s.sack[1] = s.sack[0] + 1 + below(t, 1400);
	}
	if (rng_chance(&t->rng, 5))
		s.flags = TCP_FIN | TCP_ACK;
	if (rng_chance(&t->rng, 2))
		s.flags = TCP_SYN;
	s.no_flags = rng_chance(&t->rng, 2);
	return s;
}

static void
step(struct twins *t)
{
	const uint32_t n = below(t, 2000), what = below(t, 100);
	const struct say s = random_segment(t);

	if (what < 45) {
		peer_say(&t->a, &s);
		peer_say(&t->b, &s);
		equal(t, "a segment");
	} else if (what < 60) {
		peer_write(&t->a, n);
		peer_write(&t->b, n);
		equal(t, "writing");
	} else if (what < 75) {
		tcp_consume(t->a.c, n);
		tcp_consume(t->b.c, n);
		equal(t, "reading");
	} else if (what < 85) {
		const uint64_t us = rng_chance(&t->rng, 900) ? n * 30 : n * 1000;

		peer_wait(&t->a, us);
		peer_wait(&t->b, us);
	} else {
		hear_both(t);
		equal(t, "sending");
	}
}

static bool
both_there(const struct twins *t)
{
	return t->a.c != NULL && t->a.c->tcp != NULL && t->a.c->state != TCP_STATE_CLOSED;
}

static void
test_plain_and_general_way_agree(void **state)
{
	static struct twins t;
	uint64_t plain = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		/* what peer_write() queues in one piece is a segment, or more than one */
		const struct peer_options opt = { .mss = seed % 2 == 0 ? 700 : 1460,
			.no_ts = seed % 3 == 0,
			.no_sack = seed % 5 == 0,
			.no_wscale = seed % 7 == 0,
			.v6 = seed % 11 == 0 };

		t = (struct twins){ .rng = seed, .seed = seed };
		peer_establish(&t.a, &opt, NULL);
		peer_establish(&t.b, &opt, NULL);
		t.b.c->not_plain |= NEVER_PLAIN;
		for (uint32_t i = 0; i < STEPS && both_there(&t); i++) {
			plain += tcp_is_plain(t.a.c);
			step(&t);
		}
		hear_both(&t);
		equal(&t, "the end");
		peer_fini(&t.a);
		peer_fini(&t.b);
	}
	CHECK_TRUE("most of it was plain enough to compare", plain > ROUNDS * STEPS / 8);
}

/* A segment of the peer as a burst has it: looked at ahead. */
static struct net_seg
ahead(struct peer *p, const struct tcp_hdr *h, struct wire_seg *room)
{
	struct net_seg seg = { .flow = flow_reverse(&p->flow) };

	wire_seg_build(room, &p->flow, h);
	seg.tcp = (struct buf_view){ .ptr = room->octets, .len_octets = room->len_octets };
	tcp_prefetch(p->e.tcp, &seg, false);
	tcp_prefetch_conn(p->e.tcp, &seg);
	return seg;
}

struct pair_of_acks {
	const char *label;
	struct tcp_hdr first, second; /* seq, ack, tsval relative to what is usual; flags as they are */
	bool want;
};

static bool
is_outdone(struct peer *p, const struct pair_of_acks *t, uint16_t other_port)
{
	static const uint8_t like_timestamps[12] = { TCP_OPT_NOP, TCP_OPT_NOP, TCP_OPT_TIMESTAMP, 10 };
	static struct wire_seg room[2];
	struct tcp_hdr h[2] = { t->first, t->second };
	struct net_seg seg[2];

	for (uint32_t i = 0; i < 2; i++) {
		h[i].seq += p->snd_nxt;
		h[i].ack += p->rcv_nxt;
		h[i].wnd = 2000;
		h[i].wscale = TCP_WSCALE_NONE;
		h[i].tsval += 6000;
		h[i].payload = like_timestamps;
		seg[i] = ahead(p, &h[i], &room[i]);
	}
	seg[0].flow.remote_port ^= other_port; /* found at the same place all the same, as where two tags are one */
	return tcp_is_outdone(p->e.tcp, &seg[0], &seg[1]);
}

static void
test_an_ack_is_left_out_for_one_that_says_more(void **state)
{
	/* 3,000 octets are in flight, from where the peer has heard */
	static const struct pair_of_acks t[] = {
		{ "more by the second", { .flags = TCP_ACK, .has_ts = true, .ack = 1000 },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 2000 }, true },
		{ "all of it", { .flags = TCP_ACK, .has_ts = true },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 3000, .tsval = 1 }, true },
		{ "the same: a duplicate counts", { .flags = TCP_ACK, .has_ts = true, .ack = 1000 },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 1000 }, false },
		{ "less", { .flags = TCP_ACK, .has_ts = true, .ack = 2000 },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 1000 }, false },
		{ "more than was ever sent", { .flags = TCP_ACK, .has_ts = true, .ack = 1000 },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 3001 }, false },
		{ "before what is acknowledged", { .flags = TCP_ACK, .has_ts = true, .ack = (uint32_t)-10 },
			{ .flags = TCP_ACK, .has_ts = true, .ack = (uint32_t)-5 }, false },
		{ "text in the first", { .flags = TCP_ACK, .has_ts = true, .payload_octets = 1 },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 1000 }, false },
		{ "text in the second", { .flags = TCP_ACK, .has_ts = true },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 1000, .payload_octets = 1 }, false },
		{ "text that looks like timestamps", { .flags = TCP_ACK, .payload_octets = 12 },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 1000 }, false },
		{ "a FIN in the first", { .flags = TCP_ACK | TCP_FIN, .has_ts = true },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 1000 }, false },
		{ "a reset in the second", { .flags = TCP_ACK, .has_ts = true },
			{ .flags = TCP_ACK | TCP_RST, .has_ts = true, .ack = 1000 }, false },
		{ "a keepalive's number in the first", { .flags = TCP_ACK, .has_ts = true, .seq = (uint32_t)-1 },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 1000 }, false },
		{ "an older time in the second", { .flags = TCP_ACK, .has_ts = true, .tsval = 1 },
			{ .flags = TCP_ACK, .has_ts = true, .ack = 1000 }, false },
		{ "no timestamps in the second", { .flags = TCP_ACK, .has_ts = true },
			{ .flags = TCP_ACK, .ack = 1000 }, false },
		{ "SACK blocks", { .flags = TCP_ACK, .has_ts = true, .n_sack = 1 },
			{ .flags = TCP_ACK, .has_ts = true, .n_sack = 1, .ack = 1000 }, false },
	};
	const struct peer_options opt = { .mss = 1460 };
	static struct wire_seg room;
	struct peer p;

	(void)state;
	peer_establish(&p, &opt, NULL);
	peer_write(&p, 3000);
	while (tcp_end_output(&p.e, &room))
		;
	CHECK_EQ("in flight", p.c->snd_max - p.c->snd_una, 3000);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		const uint64_t in = tcp_end_count(&p.e, CTR_tcp_in_segs);

		CHECK_EQ(t[i].label, is_outdone(&p, &t[i], 0), t[i].want);
		CHECK_EQ(t[i].label, tcp_end_count(&p.e, CTR_tcp_in_segs) - in, t[i].want);
	}
	CHECK_EQ("left out", tcp_end_count(&p.e, CTR_tcp_acks_outdone), 2);
	CHECK_EQ("nothing was taken in", p.c->snd_max - p.c->snd_una, 3000);
	CHECK_TRUE("of another connection", !is_outdone(&p, &t[0], 1));
	p.c->dupacks = 1;
	tcp_judge_order(p.c);
	CHECK_TRUE("of one that counts duplicates", !is_outdone(&p, &t[0], 0));
	p.c->dupacks = 0;
	tcp_judge_order(p.c);
	CHECK_TRUE("and again", is_outdone(&p, &t[0], 0));
	peer_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_and_general_way_agree),
		cmocka_unit_test(test_an_ack_is_left_out_for_one_that_says_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
