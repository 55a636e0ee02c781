/*
 * test_tcp_conn.c - what the layer above is promised: events, reading, writing, closing, releasing, budgets, and every failure of
 * memory once.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/check.h"
#include "tests/helpers/tcp_pair.h"
#include "tests/helpers/tcp_peer.h"

#define EVER UINT64_C(100000000000)

static const struct peer_options usual = { .mss = 1460 };

/* Hears and acknowledges until all is sent. */
static void
drain_all(struct peer *p)
{
	for (uint32_t i = 0; i < 1000 && tcp_unacked_octets(p->c) > 0; i++) {
		peer_hear_all(p, NULL);
		SAY(p, .ack = 0);
	}
	CHECK_EQ("all acknowledged", tcp_unacked_octets(p->c), 0);
}

static void
test_listen_refuses_twice_and_too_many(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e;
	struct ip_addr a = pair_flow_v4.remote;

	(void)state;
	tcp_end_init(&e, &conf, 8, 0);
	for (uint16_t port = 1; port <= 64; port++)
		CHECK_EQ("room for 64", tcp_listen(e.tcp, &a, port, 0), 0);
	CHECK_EQ("twice", tcp_listen(e.tcp, &a, 25, 0), -EEXIST);
	CHECK_EQ("too many", tcp_listen(e.tcp, &a, 65, 0), -ENOSPC);
	CHECK_EQ("unlisten", tcp_unlisten(e.tcp, &a, 25), 0);
	CHECK_EQ("not there", tcp_unlisten(e.tcp, &a, 25), -ENOENT);
	CHECK_EQ("room again", tcp_listen(e.tcp, &pair_flow_v6.remote, 25, 0), 0);
	tcp_end_fini(&e);
}

static void
test_accepting_false_is_silence(void **state)
{
	struct peer p;

	(void)state;
	peer_init(&p, &usual, NULL);
	tcp_accepting(p.e.tcp, false);
	peer_say_syn(&p, TCP_SYN);
	peer_expect_silence(&p, "draining");
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_syn_refused), 1);
	tcp_accepting(p.e.tcp, true);
	p.snd_nxt = p.iss;
	peer_reach(&p, PEER_ESTABLISHED);
	/* what is established goes on */
	tcp_accepting(p.e.tcp, false);
	SAY(&p, .len = 10);
	CHECK_EQ("taken", tcp_readable_octets(p.c), 10);
	peer_fini(&p);
}

static void
test_connect_is_answered_and_carries_options(void **state)
{
	struct peer p;
	const struct heard *h;

	(void)state;
	peer_init(&p, &usual, NULL);
	p.c = NULL;
	{
		int err;

		p.c = tcp_connect(p.e.tcp, &p.flow.remote, &p.flow.local, 2525, &p, p.e.now_us, &err);
	}
	p.flow.local_port = 2525;
	CHECK_TRUE("user", tcp_conn_user(p.c) == &p);
	/* written before the answer: sent after it */
	CHECK_EQ("queued", tcp_send(p.c, &(struct buf_view){ .ptr = (const uint8_t *)"QUIT\r\n", .len_octets = 6 }), 6);
	h = peer_hear(&p);
	CHECK_EQ("SYN", h->h.flags, TCP_SYN);
	CHECK_EQ("MSS", h->h.mss, 1460);
	CHECK_EQ("scale", h->h.wscale, 5);
	CHECK_EQ("the window of a SYN is not scaled", h->h.wnd, 65535);
	CHECK_TRUE("options", h->h.sack_permitted && h->h.has_ts);
	CHECK_EQ("no text", h->len, 0);
	p.ts = p.sack = p.scaled = true;
	/* the SYN again after 1, 3 and 7 s */
	for (uint32_t i = 0; i < 3; i++) {
		h = peer_hear_next(&p, EVER);
		CHECK_EQ("SYN again", h->h.flags, TCP_SYN);
		CHECK_EQ("the same number", h->seq, 0);
		CHECK_TRUE("when", p.e.now_us - 1000000 >= (1000000u << (i + 1)) - 1000000u &&
					   p.e.now_us - 1000000 <= (1000000u << (i + 1)) - 1000000u + 10000);
	}
	peer_say_syn(&p, TCP_SYN | TCP_ACK);
	CHECK_TRUE("connected", (p.events & TCP_EV_CONNECTED) != 0);
	CHECK_EQ("the peer's scale", p.c->snd_wscale, p.opt.wscale);
	CHECK_EQ("which does not count for the window of its SYN-ACK", p.c->snd_wnd, p.opt.wnd);
	h = peer_hear(&p);
	CHECK_EQ("ACK with the text", h->len, 6);
	CHECK_OCTETS("text", h->text, 6, "QUIT\r\n", 6);
	CHECK_EQ("acknowledges the SYN", h->ack, 1);
	CHECK_TRUE("a SYN sent again makes the first RTO 3 s (RFC 6298 section 5.7)",
		p.c->rto_us == 3000000 || p.c->srtt_us != 0);
	p.events = 0;
	SAY(&p, .ack = 0);
	CHECK_TRUE("all acknowledged", (p.events & TCP_EV_ACKED_ALL) != 0);
	CHECK_EQ("nothing left", tcp_unacked_octets(p.c), 0);
	peer_fini(&p);
}

static void
test_connect_gives_up(void **state)
{
	struct peer p;
	uint32_t syns = 1;

	(void)state;
	peer_in(&p, PEER_SYN_SENT);
	while ((p.events & TCP_EV_TIMEOUT) == 0)
		syns += peer_hear_next(&p, EVER)->any;
	CHECK_EQ("SYNs", syns, TCP_SYN_RTX_MAX + 1);
	peer_fini(&p);

	/* closed while it connects */
	peer_in(&p, PEER_SYN_SENT);
	tcp_close(p.c);
	CHECK_TRUE("told", (peer_events(&p) & TCP_EV_CLOSED) != 0);
	peer_expect_silence(&p, "nobody to tell");
	CHECK_EQ("nothing is sent any more",
		tcp_send(p.c, &(struct buf_view){ .ptr = (const uint8_t *)"x", .len_octets = 1 }), 0);
	peer_fini(&p);
}

static void
test_simultaneous_open(void **state)
{
	struct peer p;

	(void)state;
	/* both SYNs cross, then both SYN-ACKs */
	peer_in(&p, PEER_SYN_RECEIVED_BOTH);
	SAY(&p, .flags = TCP_SYN | TCP_ACK, .seq = -1, .keep = true);
	CHECK_TRUE("connected", (p.events & TCP_EV_CONNECTED) != 0);
	CHECK_EQ("established", peer_state(&p), PEER_ESTABLISHED);
	peer_hear_all(&p, NULL);
	CHECK_EQ("text", peer_write(&p, 100), 100);
	CHECK_EQ("text", peer_hear(&p)->len, 100);
	peer_fini(&p);

	/* SYN-ACK lost: sent again */
	peer_in(&p, PEER_SYN_RECEIVED_BOTH);
	CHECK_EQ("again", peer_hear_next(&p, EVER)->h.flags, TCP_SYN | TCP_ACK);
	peer_fini(&p);

	/* two endpoints of ours cannot meet this way by chance; the peer's own SYN is data for nobody else */
	peer_in(&p, PEER_SYN_RECEIVED_BOTH);
	tcp_close(p.c);
	SAY(&p, .ack = 0);
	CHECK_EQ("closed while it opened", peer_state(&p), PEER_FIN_WAIT_1);
	CHECK_TRUE("FIN", (peer_hear_all(&p, NULL)->h.flags & TCP_FIN) != 0);
	peer_fini(&p);
}

static void
test_events_come_once_and_in_order(void **state)
{
	struct peer p;

	(void)state;
	peer_in(&p, PEER_ESTABLISHED);
	CHECK_EQ("accepted once", p.events, TCP_EV_ACCEPTED);
	p.events = 0;
	SAY(&p, .text = "EHLO a\r\n");
	CHECK_EQ("readable", p.events, TCP_EV_READABLE);
	p.events = 0;
	CHECK_EQ("no news", peer_events(&p), 0);
	SAY(&p, .flags = TCP_FIN | TCP_ACK);
	CHECK_EQ("FIN waits for the reader", p.events & TCP_EV_EOF, 0);
	tcp_consume(p.c, 3);
	CHECK_EQ("still", peer_events(&p) & TCP_EV_EOF, 0);
	tcp_consume(p.c, 5);
	CHECK_EQ("now", peer_events(&p), TCP_EV_EOF);
	tcp_consume(p.c, 5);
	CHECK_EQ("once", peer_events(&p), 0);
	tcp_close(p.c);
	peer_hear_all(&p, NULL);
	SAY(&p, .ack = 0);
	CHECK_TRUE("closed", (p.events & TCP_EV_CLOSED) != 0);
	p.events = 0;
	CHECK_EQ("once", peer_events(&p), 0);
	peer_fini(&p);
}

static void
test_writable_after_a_refusal_alone(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	uint32_t heard = 0;
	const struct heard *h;

	(void)state;
	conf.snd_queue_max_octets = 20000;
	peer_init(&p, &usual, &conf);
	peer_reach(&p, PEER_ESTABLISHED);
	p.events = 0;
	CHECK_EQ("room", tcp_send_room(p.c), 20000);
	CHECK_EQ("taken", peer_write(&p, 5000), 5000);
	peer_hear_all(&p, NULL);
	SAY(&p, .ack = 0);
	CHECK_EQ("no refusal, no event", p.events & TCP_EV_WRITABLE, 0);
	CHECK_EQ("all but the last", peer_write(&p, 30000), 20000);
	CHECK_EQ("no room", tcp_send_room(p.c), 0);
	while ((p.events & TCP_EV_WRITABLE) == 0) {
		while ((h = peer_hear(&p))->any)
			heard += h->len;
		SAY(&p, .ack = 0);
	}
	CHECK_TRUE("when some room has grown", tcp_send_room(p.c) >= 5000);
	/* who only looked at the room hears of it, too, when half is free again */
	while ((h = peer_hear(&p))->any)
		;
	SAY(&p, .ack = 0);
	peer_hear_all(&p, NULL);
	SAY(&p, .ack = 0);
	CHECK_EQ("to the last octet", peer_write(&p, tcp_send_room(p.c)), 20000);
	p.events = 0;
	while (tcp_unacked_octets(p.c) > 0) {
		while ((h = peer_hear(&p))->any)
			;
		SAY(&p, .ack = 0);
		CHECK_EQ("at half", (p.events & TCP_EV_WRITABLE) != 0, tcp_send_room(p.c) >= 10000);
	}
	tcp_close(p.c);
	CHECK_EQ("no octet after close", tcp_send_room(p.c), 0);
	peer_fini(&p);
}

static void
test_release_acknowledges_and_drops_within_limits(void **state)
{
	struct peer p;
	const struct heard *h;

	(void)state;
	/* our last words, while the peer still talks */
	peer_in(&p, PEER_ESTABLISHED);
	tcp_send(p.c, &(struct buf_view){ .ptr = (const uint8_t *)"221 2.0.0 Bye\r\n", .len_octets = 15 });
	tcp_release(p.c);
	p.c = NULL;
	h = peer_hear(&p);
	CHECK_EQ("text", h->len, 15);
	CHECK_TRUE("and FIN", (h->h.flags & TCP_FIN) != 0);
	SAY(&p, .text = "NOOP\r\n");
	h = peer_hear_all(&p, NULL);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_drop_after_close), 1);
	CHECK_EQ("acknowledged, not reset", h->h.flags, TCP_ACK);
	CHECK_EQ("and dropped", h->ack, 7);
	SAY(&p, .flags = TCP_FIN | TCP_ACK);
	CHECK_EQ("closed in order", peer_hear(&p)->ack, 8);
	CHECK_EQ("TIME-WAIT", peer_state(&p), PEER_TIME_WAIT);
	CHECK_EQ("block free", tcp_n_conns(p.e.tcp), 0);
	peer_fini(&p);

	/* a peer that does not stop */
	peer_in(&p, PEER_ESTABLISHED);
	tcp_release(p.c);
	p.c = NULL;
	peer_hear_all(&p, NULL);
	for (uint32_t i = 0; i < 100 && tcp_n_conns(p.e.tcp) > 0; i++) {
		SAY(&p, .len = 1000);
		h = peer_hear_all(&p, NULL);
	}
	CHECK_TRUE("reset in the end", (h->h.flags & TCP_RST) != 0);
	CHECK_EQ("block free", tcp_n_conns(p.e.tcp), 0);
	peer_fini(&p);

	/* text out of order is not remembered for nobody */
	peer_in(&p, PEER_ESTABLISHED);
	tcp_release(p.c);
	p.c = NULL;
	peer_hear_all(&p, NULL);
	SAY(&p, .len = 10, .seq = 100, .flags = TCP_FIN | TCP_ACK, .keep = true);
	CHECK_EQ("asked for the gap", peer_hear_all(&p, NULL)->ack, 1);
	SAY(&p, .flags = TCP_RST, .keep = true);
	peer_fini(&p);
}

static void
test_abort_resets_and_keeps_what_was_read(void **state)
{
	struct peer p;
	struct buf_view v;
	const struct heard *h;

	(void)state;
	peer_in(&p, PEER_ESTABLISHED);
	SAY(&p, .text = "MAIL");
	peer_write(&p, 3000);
	p.events = 0;
	tcp_abort(p.c);
	CHECK_EQ("no event", peer_events(&p), 0);
	CHECK_EQ("still readable", tcp_peek(p.c, &v, 1), 1);
	CHECK_OCTETS("octets", v.ptr, v.len_octets, "MAIL", 4);
	h = peer_hear(&p);
	CHECK_EQ("RST", h->h.flags, TCP_RST | TCP_ACK);
	CHECK_EQ("acknowledges what came", h->ack, 5);
	peer_expect_silence(&p, "once");
	tcp_abort(p.c);
	peer_expect_silence(&p, "twice is once");
	peer_fini(&p);

	/* the RST stands where the peer expects us, though SND.NXT has moved back */
	peer_in(&p, PEER_ESTABLISHED);
	peer_write(&p, 3000);
	peer_hear_all(&p, NULL);
	tcp_abort(p.c);
	tcp_release(p.c);
	p.c = NULL;
	CHECK_EQ("number", peer_hear(&p)->seq, 3001);
	CHECK_EQ("block free", tcp_n_conns(p.e.tcp), 0);
	peer_fini(&p);
}

static void
test_rcv_limit_is_back_pressure(void **state)
{
	struct peer p;
	const struct heard *h;
	uint32_t offered;

	(void)state;
	peer_in(&p, PEER_ESTABLISHED);
	offered = p.c->rcv_adv - p.c->rcv_nxt;
	tcp_set_rcv_limit(p.c, 0);
	peer_expect_silence(&p, "nothing to tell");
	CHECK_EQ("what was offered stands", p.c->rcv_adv - p.c->rcv_nxt, offered);
	while (p.c->rcv_adv - p.c->rcv_nxt >= 1000) {
		SAY(&p, .len = 1000);
		tcp_consume(p.c, 1000);
		peer_hear_all(&p, NULL);
	}
	SAY(&p, .len = p.c->rcv_adv - p.c->rcv_nxt);
	tcp_consume(p.c, 1000);
	peer_wait(&p, 50000);
	CHECK_EQ("closed, though all is read", peer_hear_all(&p, NULL)->h.wnd, 0);
	SAY(&p, .len = 1, .keep = true);
	CHECK_EQ("still", peer_hear_all(&p, NULL)->h.wnd, 0);
	tcp_set_rcv_limit(p.c, 100000);
	h = peer_hear(&p);
	CHECK_TRUE("opened at once", h->any);
	CHECK_EQ("by as much", (uint32_t)h->h.wnd << 5, 100000);
	peer_fini(&p);
}

static void
test_budget_bounds_all_windows_together(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	struct tcp_conn *first;
	uint64_t most = 0;

	(void)state;
	conf.rcv_budget_octets = 200000;
	peer_init(&p, &usual, &conf);
	for (uint32_t i = 0; i < 10; i++) {
		p.snd_nxt = p.iss;
		p.c = NULL;
		p.flow.local_port = (uint16_t)(50000 + i);
		peer_reach(&p, PEER_ESTABLISHED);
		if (i == 0)
			first = p.c;
		for (uint32_t k = 0; k < 10; k++) {
			SAY(&p, .len = 1000);
			tcp_consume(p.c, 1000);
			peer_hear_all(&p, NULL);
		}
		most = MAX(most, p.e.tcp->rcv_offered_octets);
	}
	/* each accepted connection starts with 4 KiB at least, whatever the budget: 10 of them */
	CHECK_TRUE("bounded", most <= 200000 + 10 * 4096);
	CHECK_TRUE("held back and counted", tcp_end_count(&p.e, CTR_tcp_rcv_budget) > 0);
	tcp_abort(first);
	tcp_release(first);
	peer_wait(&p, 50000);
	peer_hear_all(&p, NULL);
	CHECK_TRUE("what one gives back another gets", tcp_end_count(&p.e, CTR_tcp_starved) > 0);
	p.c = NULL;
	/* the sum goes back to nothing */
	for (uint32_t i = 0; i < conf.conns_max; i++) {
		struct tcp_conn *c = &p.e.tcp->conns[i];

		if (c->tcp == NULL)
			continue;
		tcp_abort(c);
		tcp_release(c);
	}
	peer_hear_all(&p, NULL);
	CHECK_EQ("nothing offered", p.e.tcp->rcv_offered_octets, 0);
	peer_fini(&p);
}

static void
test_ack_is_delayed_for_one_segment_not_for_two(void **state)
{
	struct peer p;
	uint64_t start_us;

	(void)state;
	peer_in(&p, PEER_ESTABLISHED);
	SAY(&p, .len = 1448);
	peer_expect_silence(&p, "one segment waits");
	start_us = p.e.now_us;
	CHECK_TRUE("answered", peer_hear_next(&p, EVER)->any);
	CHECK_TRUE("within 40 ms", p.e.now_us - start_us <= 40000 + TCP_TICK_US);
	SAY(&p, .len = 1448);
	SAY(&p, .len = 1448);
	CHECK_TRUE("the second full segment is answered at once", peer_hear(&p)->any);
	peer_expect_silence(&p, "once");
	/* an answer carries the ACK */
	SAY(&p, .len = 100);
	peer_write(&p, 10);
	CHECK_EQ("with the text", peer_hear(&p)->ack, 1 + 3 * 1448 + 100);
	peer_wait(&p, 100000);
	{
		const struct heard *h = peer_hear(&p);

		CHECK_TRUE("and no other follows", !h->any || h->len > 0);
	}
	peer_fini(&p);
}

/* A burst comes in before anything goes out: one ACK for all of it would hide from a peer without SACK that it has lost a segment. */
static void
test_a_burst_beyond_a_gap_is_answered_segment_by_segment(void **state)
{
	static const struct peer_options bare = {
		.mss = 1460, .wnd = 40000, .no_ts = true, .no_sack = true, .no_wscale = true
	};
	struct peer p;
	uint32_t n;

	(void)state;
	for (uint32_t sack = 0; sack < 2; sack++) {
		peer_init(&p, sack ? &usual : &bare, NULL);
		peer_reach(&p, PEER_ESTABLISHED);
		for (uint32_t i = 0; i < 7; i++)
			SAY(&p, .len = 1000, .seq = 1000 + 1000 * i, .keep = true);
		CHECK_EQ("all ask for the gap", peer_hear_all(&p, &n)->ack, 1);
		CHECK_EQ("answers", n, sack ? 3 : 7);
		/* with progress before the gap, the first answer is no duplicate */
		SAY(&p, .len = 1000);
		peer_hear_all(&p, NULL);
		p.snd_nxt += 7000;
		SAY(&p, .len = 1000);
		for (uint32_t i = 0; i < 3; i++)
			SAY(&p, .len = 1000, .seq = 1000 + 1000 * i, .keep = true);
		peer_hear_all(&p, &n);
		CHECK_EQ("one and three", n, 4);
		SAY(&p, .len = 1000);
		peer_hear_all(&p, &n);
		CHECK_EQ("a gap filled owes nothing", n, 1);
		peer_fini(&p);
	}
}

static void
test_fast_retransmit_and_limited_transmit(void **state)
{
	static const struct peer_options newreno = {
		.mss = 1000, .no_ts = true, .no_sack = true, .no_wscale = true, .wnd = 60000
	};
	struct peer p;
	const struct heard *h;

	(void)state;
	peer_init(&p, &newreno, NULL);
	peer_reach(&p, PEER_ESTABLISHED);
	peer_write(&p, 30000);
	peer_hear_all(&p, NULL);
	CHECK_EQ("ten segments of 1000 at first", p.rcv_nxt - p.irs - 1, 10000);
	p.rcv_nxt = p.irs + 1;
	SAY(&p, .ack = 0);
	h = peer_hear(&p);
	CHECK_EQ("first duplicate: new data (RFC 3042)", h->seq, 10001);
	peer_expect_silence(&p, "one");
	SAY(&p, .ack = 0);
	CHECK_EQ("second duplicate", peer_hear(&p)->seq, 11001);
	SAY(&p, .ack = 0);
	h = peer_hear(&p);
	CHECK_EQ("third: the first segment again", h->seq, 1);
	CHECK_EQ("once", h->len, 1000);
	p.rcv_nxt = p.irs + 1;
	/* partial ACK: the next hole at once (RFC 6582) */
	p.rcv_nxt = p.irs + 1 + 3000;
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1 + 3000;
	SAY(&p, .ack = 0);
	CHECK_EQ("next hole", peer_hear(&p)->seq, 3001);
	CHECK_EQ("one recovery", tcp_end_count(&p.e, CTR_tcp_fast_retransmit), 1);
	p.rcv_nxt = p.c->snd_max;
	SAY(&p, .ack = 0);
	CHECK_TRUE("over", !p.c->in_recovery);
	CHECK_TRUE("cwnd at most ssthresh and a segment", p.c->cwnd <= p.c->ssthresh + 1000);
	peer_fini(&p);
}

/* What is said again is what was said: the rest of a piece that the window cut is no retransmission. */
static void
test_a_fast_retransmit_stays_within_what_was_sent(void **state)
{
	static const struct peer_options narrow = {
		.mss = 1000, .no_ts = true, .no_sack = true, .no_wscale = true, .wnd = 512
	};
	struct peer p;
	const struct heard *h;

	(void)state;
	peer_init(&p, &narrow, NULL);
	peer_reach(&p, PEER_ESTABLISHED);
	peer_write(&p, 900);
	h = peer_hear(&p);
	CHECK_EQ("as much as the window takes", h->len, 512);
	p.rcv_nxt = p.irs + 1;
	for (uint32_t i = 0; i < 3; i++)
		SAY(&p, .ack = 0);
	h = peer_hear(&p);
	CHECK_TRUE("again", h->any && h->seq == 1);
	CHECK_EQ("no more than that", h->len, 512);
	CHECK_EQ("one recovery", tcp_end_count(&p.e, CTR_tcp_fast_retransmit), 1);
	SAY(&p, .ack = 0);
	h = peer_hear(&p);
	CHECK_EQ("the rest once there is room", h->seq, 513);
	CHECK_EQ("whole", h->len, 900 - 512);
	peer_drain(&p);
	peer_fini(&p);
}

static void
test_cwnd_grows_while_it_is_what_limits(void **state)
{
	static const struct peer_options options = {
		.mss = 1000, .no_ts = true, .no_sack = true, .wscale = 7, .wnd = 60000
	};
	struct peer p;
	uint32_t before;

	(void)state;
	peer_init(&p, &options, NULL);
	peer_reach(&p, PEER_ESTABLISHED);
	CHECK_EQ("ten segments (RFC 6928)", p.c->cwnd, 10000);
	/* slow start: by what is acknowledged, eight segments an ACK at most (RFC 9406) */
	peer_write(&p, 200000);
	peer_hear_all(&p, NULL);
	SAY(&p, .ack = -8000);
	CHECK_EQ("two segments acknowledged", p.c->cwnd, 12000);
	SAY(&p, .ack = 0);
	CHECK_EQ("eight at once count as eight", p.c->cwnd, 20000);
	peer_hear_all(&p, NULL);
	SAY(&p, .ack = 0);
	CHECK_EQ("twelve as eight", p.c->cwnd, 28000);
	/* congestion avoidance: a segment for each window acknowledged */
	p.c->ssthresh = 28000;
	for (uint32_t i = 0; i < 2; i++) {
		peer_hear_all(&p, NULL);
		SAY(&p, .ack = 0);
	}
	CHECK_TRUE("one segment a round trip", p.c->cwnd == 29000 || p.c->cwnd == 30000);
	drain_all(&p);
	/* nothing to send: no credit for it */
	before = p.c->cwnd;
	for (uint32_t i = 0; i < 50; i++) {
		peer_write(&p, 500);
		peer_hear_all(&p, NULL);
		SAY(&p, .ack = 0);
	}
	CHECK_EQ("limited by the application", p.c->cwnd, before);
	/* a time-out: one segment, and half of the flight as the threshold */
	peer_write(&p, 10000);
	peer_hear_all(&p, NULL);
	peer_hear_next(&p, EVER);
	CHECK_EQ("one segment", p.c->cwnd, 1000);
	CHECK_EQ("half of what was in flight", p.c->ssthresh, 5000);
	peer_fini(&p);
}

static void
test_a_loss_told_with_the_ack_of_a_whole_flight_halves_the_window(void **state)
{
	static const struct peer_options options = { .mss = 1000, .no_ts = true, .wscale = 7, .wnd = 60000 };
	struct peer p;

	(void)state;
	peer_init(&p, &options, NULL);
	peer_reach(&p, PEER_ESTABLISHED);
	peer_write(&p, 100000);
	peer_hear_all(&p, NULL);
	SAY(&p, .ack = 0);
	peer_hear_all(&p, NULL);
	CHECK_EQ("eighteen segments in flight", p.c->snd_max - p.c->snd_una, 18000);
	/* one burst of ACKs, as a kernel gives that has taken a whole train of segments: 14 of them, and three behind a hole */
	p.rcv_nxt = p.irs + 1 + 24000;
	for (uint32_t n = 1; n <= 3; n++)
		peer_say(&p, &(struct say){ .n_sack = 1, .sack = { 25001, 25001 + 1000 * (int64_t)n } });
	CHECK_TRUE("a loss", p.c->in_recovery);
	CHECK_TRUE("half of the flight that was out, not of what was left of it", p.c->ssthresh >= 9000);
	CHECK_TRUE("and no more than half of the window", p.c->ssthresh <= 13000);
	peer_fini(&p);

	/* the application was what limited: half of its flight */
	peer_init(&p, &options, NULL);
	peer_reach(&p, PEER_ESTABLISHED);
	peer_write(&p, 6000);
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1;
	for (uint32_t n = 1; n <= 3; n++)
		peer_say(&p, &(struct say){ .n_sack = 1, .sack = { 1001, 1001 + 1000 * (int64_t)n } });
	CHECK_TRUE("a loss", p.c->in_recovery);
	CHECK_EQ("half of the flight", p.c->ssthresh, 3000);
	peer_fini(&p);
}

static void
test_tail_probe_comes_before_the_rto(void **state)
{
	struct peer p;
	const struct heard *h;
	uint64_t start_us;

	(void)state;
	peer_init(&p, &usual, NULL);
	peer_reach(&p, PEER_ESTABLISHED);
	/* a round trip of 20 ms */
	for (uint32_t i = 0; i < 8; i++) {
		peer_write(&p, 3000);
		peer_hear_all(&p, NULL);
		peer_wait(&p, 20000);
		SAY(&p, .ack = 0);
	}
	peer_write(&p, 5 * 1448);
	peer_hear_all(&p, NULL);
	start_us = p.e.now_us;
	h = peer_hear_next(&p, EVER);
	CHECK_TRUE("the last segment again", h->any && h->seq + h->len == p.c->snd_max - p.c->iss);
	CHECK_TRUE("after two round trips, not after an RTO", p.e.now_us - start_us < 60000);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_tail_probe), 1);
	h = peer_hear_next(&p, EVER);
	CHECK_EQ("one probe, then the RTO", tcp_end_count(&p.e, CTR_tcp_rto), 1);
	peer_fini(&p);
}

/* Each allocation of a whole exchange is made to fail once: what was refused comes later or is asked for again. */
static void
test_every_allocation_fails_once(void **state)
{
	const struct wire_conf wire = { .delay_us = 3000, .loss_pm = 10, .reorder_pm = 50, .reorder_us = 5000 };
	const struct tcp_conf conf = tcp_end_conf();

	(void)state;
	for (uint32_t fail = 1; fail < 400; fail += fail < 60 ? 1 : 17) {
		struct tcp_pair p;
		struct stream_app app[2];
		int err;

		tcp_pair_init(&p, &conf, &conf, &wire, fail, 512);
		tcp_listen(p.end[1].tcp, &pair_flow_v4.remote, 25, 5);
		for (int e = 0; e < 2; e++)
			app[e] = (struct stream_app){ .end = &p.end[e],
				.rng = fail,
				.name_out = (uint64_t)e,
				.name_in = (uint64_t)!e,
				.n_write = 60000,
				.n_read = 60000,
				.piece_max_octets = 700,
				.close_when_done = true,
				.no_buf_pm = 500 };
		app[0].c =
			tcp_connect(p.end[0].tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, p.now_us, &err);
		buf_malloc_fail_at(p.end[0].pool, fail);
		buf_malloc_fail_at(p.end[1].pool, fail);
		for (;;) {
			for (int e = 0; e < 2; e++) {
				uint32_t events;
				struct tcp_conn *c;

				while ((c = tcp_ready(p.end[e].tcp, &events)) != NULL) {
					app[e].c = c;
					stream_app_turn(&app[e], events);
				}
			}
			if (app[0].ended && app[1].ended && app[0].eof && app[1].eof)
				break;
			if (!tcp_pair_step(&p, UINT64_C(600000000)))
				fail_msg("allocation %u: nothing moves", fail);
		}
		for (int e = 0; e < 2; e++) {
			CHECK_EQ("octets", app[e].read, 60000);
			tcp_release(app[e].c);
			CHECK_EQ("connections", tcp_n_conns(p.end[e].tcp), 0);
			CHECK_EQ("buffers", buf_malloc_in_use(p.end[e].pool), 0);
		}
		tcp_pair_fini(&p);
	}
}

static void
test_time_wait_is_capped_and_expires(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;

	(void)state;
	conf.time_wait_max = 4;
	peer_init(&p, &usual, &conf);
	for (uint32_t i = 0; i < 6; i++) {
		p.snd_nxt = p.iss;
		p.c = NULL;
		p.flow.local_port = (uint16_t)(50000 + i);
		peer_reach(&p, PEER_TIME_WAIT);
		tcp_release(p.c);
		p.c = NULL;
		peer_wait(&p, 1000000);
	}
	CHECK_EQ("records", p.e.tcp->time_wait.n, 4);
	CHECK_EQ("oldest made room", tcp_end_count(&p.e, CTR_tcp_time_wait_full), 2);
	/* a FIN again starts that one's minute over; pure ACKs and RSTs do nothing */
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .seq = -1, .keep = true);
	CHECK_TRUE("answered", peer_hear(&p)->any);
	SAY(&p, .ack = 0);
	SAY(&p, .flags = TCP_RST, .keep = true);
	SAY(&p, .flags = TCP_RST | TCP_ACK, .len = 5, .keep = true);
	peer_expect_silence(&p, "RFC 1337");
	CHECK_EQ("still", p.e.tcp->time_wait.n, 4);
	peer_wait(&p, TCP_TIME_WAIT_US);
	peer_expect_silence(&p, "over");
	CHECK_EQ("gone", p.e.tcp->time_wait.n, 0);
	CHECK_TRUE("nothing waits", tcp_deadline_us(p.e.tcp) == UINT64_MAX);
	peer_fini(&p);
}

static void
test_rsts_are_limited(void **state)
{
	struct peer p;
	uint32_t n = 0;

	(void)state;
	peer_init(&p, &(struct peer_options){ .mss = 1460, .n_bufs = 1024 }, NULL);
	peer_reach(&p, PEER_CLOSED);
	for (uint32_t i = 0; i < 5000; i++) {
		SAY(&p, .ack = 0);
		n += peer_hear(&p)->any;
	}
	CHECK_EQ("a second's worth", n, 2000);
	CHECK_EQ("the others are counted", tcp_end_count(&p.e, CTR_tcp_rst_limited), 3000);
	peer_wait(&p, 1000000);
	SAY(&p, .ack = 0);
	CHECK_TRUE("and more in the next", peer_hear(&p)->any);
	/* more than a burst without a turn: counted, not lost memory */
	for (uint32_t i = 0; i < 1000; i++)
		SAY(&p, .ack = 0);
	CHECK_TRUE("queue is capped", tcp_end_count(&p.e, CTR_tcp_reply_full) > 0);
	peer_wait(&p, 1000000);
	peer_fini(&p);
}

static void
test_flood_of_syns_leaves_room_for_cookies(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;

	(void)state;
	conf.syn_ring_entries = 8;
	peer_init(&p, &usual, &conf);
	for (uint32_t i = 0; i < 300; i++) {
		p.flow.local_port = (uint16_t)(1024 + i);
		peer_say_syn(&p, TCP_SYN);
		CHECK_EQ("each is answered", peer_hear(&p)->h.flags, TCP_SYN | TCP_ACK);
	}
	CHECK_EQ("remembered, but for a quarter kept for proven addresses", p.e.tcp->listen.n, 6);
	CHECK_EQ("the others are cookies", tcp_end_count(&p.e, CTR_tcp_cookie_sent), 294);
	p.flow.local_port = 60000;
	p.snd_nxt = p.iss;
	peer_reach(&p, PEER_ESTABLISHED);
	CHECK_EQ("served", tcp_end_count(&p.e, CTR_tcp_cookie_good), 1);
	CHECK_EQ("the MSS came through", p.c->mss, 1460 - TCP_TS_OPTION_OCTETS);
	peer_fini(&p);
}

/* Clients that send and are not read (they wait for DNS, or do not read their replies) must leave buffers to those that are. */
static void
test_unread_octets_of_some_leave_buffers_to_others(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;

	(void)state;
	conf.rcv_budget_octets = 256 * 2048 * 2;
	peer_init(&p, &usual, &conf); /* 256 buffers */
	for (uint32_t i = 0; i < 4; i++) {
		p.snd_nxt = p.iss;
		p.c = NULL;
		p.flow.local_port = (uint16_t)(50000 + i);
		peer_reach(&p, PEER_ESTABLISHED);
		for (uint32_t k = 0; k < 200; k++) {
			SAY(&p, .len = 300);
			p.e.now_us += 100;
			peer_hear_all(&p, NULL);
			p.snd_nxt = p.iss + 1 + tcp_readable_octets(p.c); /* what was not taken is sent again */
		}
	}
	CHECK_TRUE("some are left", buf_available(p.e.pool) >= 256 / 16);
	CHECK_TRUE("by dropping, counted", tcp_end_count(&p.e, CTR_tcp_rcv_shed) > 0);
	p.snd_nxt = p.iss;
	p.c = NULL;
	p.flow.local_port = 50100;
	peer_reach(&p, PEER_ESTABLISHED);
	for (uint32_t k = 0; k < 150; k++) { /* more than its first window */
		SAY(&p, .len = 1000);
		CHECK_EQ("another is read on", tcp_readable_octets(p.c), 1000);
		tcp_consume(p.c, 1000);
		p.e.now_us += 50000;
		peer_hear_all(&p, NULL);
	}
	CHECK_EQ("and answered",
		tcp_send(p.c, &(struct buf_view){ .ptr = (const uint8_t *)"250 Ok\r\n", .len_octets = 8 }), 8);
	p.c = NULL;
	for (uint32_t i = 0; i < conf.conns_max; i++) {
		struct tcp_conn *c = &p.e.tcp->conns[i];

		if (c->tcp == NULL)
			continue;
		tcp_abort(c);
		tcp_release(c);
	}
	peer_hear_all(&p, NULL);
	peer_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listen_refuses_twice_and_too_many),
		cmocka_unit_test(test_accepting_false_is_silence),
		cmocka_unit_test(test_connect_is_answered_and_carries_options),
		cmocka_unit_test(test_connect_gives_up),
		cmocka_unit_test(test_simultaneous_open),
		cmocka_unit_test(test_events_come_once_and_in_order),
		cmocka_unit_test(test_writable_after_a_refusal_alone),
		cmocka_unit_test(test_release_acknowledges_and_drops_within_limits),
		cmocka_unit_test(test_abort_resets_and_keeps_what_was_read),
		cmocka_unit_test(test_rcv_limit_is_back_pressure),
		cmocka_unit_test(test_unread_octets_of_some_leave_buffers_to_others),
		cmocka_unit_test(test_budget_bounds_all_windows_together),
		cmocka_unit_test(test_ack_is_delayed_for_one_segment_not_for_two),
		cmocka_unit_test(test_a_burst_beyond_a_gap_is_answered_segment_by_segment),
		cmocka_unit_test(test_fast_retransmit_and_limited_transmit),
		cmocka_unit_test(test_a_fast_retransmit_stays_within_what_was_sent),
		cmocka_unit_test(test_cwnd_grows_while_it_is_what_limits),
		cmocka_unit_test(test_a_loss_told_with_the_ack_of_a_whole_flight_halves_the_window),
		cmocka_unit_test(test_tail_probe_comes_before_the_rto),
		cmocka_unit_test(test_every_allocation_fails_once),
		cmocka_unit_test(test_time_wait_is_capped_and_expires),
		cmocka_unit_test(test_rsts_are_limited),
		cmocka_unit_test(test_flood_of_syns_leaves_room_for_cookies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
