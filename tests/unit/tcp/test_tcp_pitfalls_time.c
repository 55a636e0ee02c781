/*
 * test_tcp_pitfalls_time.c - where other stacks fell: what is lost or repeated, what ends and when, and what is done when something is short.
 *
 * Lines 7 to 11, 23 and 24 of the pitfalls, one test or more for each, named by its number. Line 23 belongs to the worker; what tcp
 * contributes is here.
 */
#include "tests/check.h"
#include "tests/helpers/tcp_pair.h"
#include "tests/helpers/tcp_peer.h"

static const struct peer_options usual = { .mss = 1460 };
#define EVER UINT64_C(100000000000)
static const struct peer_options bare = {
	.mss = 1460, .wnd = 40000, .no_ts = true, .no_sack = true, .no_wscale = true
};

/* --- 7 --- */

static void
test_pitfall_07_rto_doubles_to_a_cap_and_gives_up_by_count(void **state)
{
	struct peer p;
	uint64_t first_us, last_us, gap_us = 0;
	uint32_t n = 0;
	const struct heard *h;

	(void)state;
	peer_establish(&p, &bare, NULL);
	peer_write(&p, 100);
	CHECK_EQ("sent", peer_hear(&p)->len, 100);
	first_us = last_us = p.e.now_us;
	while ((p.events & TCP_EV_TIMEOUT) == 0) {
		CHECK_TRUE("something in flight has a timer", tcp_deadline_us(p.e.tcp) != UINT64_MAX);
		p.e.now_us = tcp_deadline_us(p.e.tcp);
		h = peer_hear(&p);
		if (!h->any)
			continue;
		n++;
		CHECK_EQ("the same octets", h->seq, 1);
		CHECK_TRUE("doubled, or at the cap", p.e.now_us - last_us + 5000 >= MIN(2 * gap_us, 60000000));
		CHECK_TRUE("never above the cap", p.e.now_us - last_us <= 60005000);
		gap_us = p.e.now_us - last_us;
		last_us = p.e.now_us;
	}
	CHECK_EQ("by count", n, TCP_RTX_MAX);
	CHECK_TRUE("not sooner than RFC 1122 has it", p.e.now_us - first_us > 100000000);
	CHECK_TRUE("the timer is off", p.c->timer_kind == TCP_TIMER_NONE);
	peer_fini(&p);
}

static void
test_pitfall_07_not_every_ack_restarts_the_timer(void **state)
{
	struct peer p;
	uint64_t due_us;

	(void)state;
	peer_establish(&p, &bare, NULL);
	peer_write(&p, 3000);
	peer_hear_all(&p, NULL);
	due_us = p.c->rtx_due_us;
	for (uint32_t i = 0; i < 5; i++) {
		peer_wait(&p, 10000);
		SAY(&p, .ack = -3000, .len = 1); /* data with an ACK of nothing new */
		peer_hear_all(&p, NULL);
		CHECK_EQ("same deadline", p.c->rtx_due_us, due_us);
	}
	SAY(&p, .ack = -1000);
	CHECK_TRUE("progress restarts it", p.c->rtx_due_us > due_us);
	SAY(&p, .ack = 0);
	CHECK_TRUE("nothing in flight, no timer", p.c->rtx_due_us == UINT64_MAX && p.c->timer_kind == TCP_TIMER_NONE);
	peer_fini(&p);
}

static void
test_pitfall_07_no_sample_from_what_was_sent_twice(void **state)
{
	struct peer p;
	uint32_t srtt_us, len = 0;

	(void)state;
	peer_establish(&p, &bare, NULL);
	peer_wait(&p, 10000);
	peer_write(&p, 100);
	peer_hear_all(&p, NULL);
	peer_wait(&p, 20000);
	SAY(&p, .ack = 0);
	srtt_us = p.c->srtt_us;
	CHECK_TRUE("a sample", srtt_us > 0);
	peer_write(&p, 100);
	peer_hear_all(&p, NULL);
	for (uint32_t i = 0; i < 3 && len == 0; i++) { /* a deadline is a lower bound: where a timer stood before */
		p.e.now_us = tcp_deadline_us(p.e.tcp);
		len = peer_hear(&p)->len;
	}
	CHECK_EQ("retransmitted", len, 100);
	peer_wait(&p, 1000);
	SAY(&p, .ack = 0);
	CHECK_EQ("no sample", p.c->srtt_us, srtt_us);
	peer_fini(&p);

	/* with timestamps the echo tells which one was acknowledged */
	peer_establish(&p, &usual, NULL);
	peer_write(&p, 100);
	peer_hear_all(&p, NULL);
	peer_wait(&p, 50000);
	SAY(&p, .ack = 0);
	CHECK_TRUE("a sample of 50 ms in it", p.c->srtt_us >= 5000);
	srtt_us = p.c->srtt_us;
	peer_write(&p, 100);
	peer_hear_all(&p, NULL);
	p.tsecr -= 100000000;
	SAY(&p, .ack = 0);
	CHECK_EQ("an echo of what was never sent is no sample", p.c->srtt_us, srtt_us);
	peer_fini(&p);
}

/* --- 8 --- */

static void
test_pitfall_08_sack_blocks_of_every_kind(void **state)
{
	struct peer p;
	const struct heard *h;

	(void)state;
	peer_establish(&p, &usual, NULL);
	peer_write(&p, 14480);
	peer_hear_all(&p, NULL);
	CHECK_EQ("in flight", p.rcv_nxt - p.irs - 1, 14480);
	/* duplicate, nested, wrapped, empty, beyond, before: none of them harms */
	SAY(&p, .ack = -14480, .n_sack = 3, .sack = { 1449, 2897, 1449, 2897, 1500, 1600 });
	CHECK_EQ("octets known once", tcp_scoreboard_octets(p.c->sb, p.c->snd_una, p.c->snd_max), 1448);
	SAY(&p, .ack = -14480, .n_sack = 3, .sack = { 2897, 1449, 0x7fffffff, -5, 3000, 3000 });
	SAY(&p, .ack = -14480, .n_sack = 3, .sack = { 14000, 20000, -1000, 1, 0, 14481 });
	CHECK_EQ("still", tcp_scoreboard_octets(p.c->sb, p.c->snd_una, p.c->snd_max), 1448);
	CHECK_EQ("one range", p.c->sb->n, 1);
	/* three segments above the hole: lost, sent again */
	SAY(&p, .ack = -14480, .n_sack = 1, .sack = { 1449, 5793 });
	h = peer_hear(&p);
	CHECK_EQ("the hole again", h->seq, 1);
	CHECK_EQ("no more than the hole", h->len, 1448);
	peer_hear_all(&p, NULL);
	CHECK_EQ("one recovery", tcp_end_count(&p.e, CTR_tcp_fast_retransmit), 1);
	/* reneging: the peer acknowledges into what it had reported, then takes it back. After the time-out all is sent again. */
	p.rcv_nxt = p.irs + 1;
	peer_wait(&p, 400000);
	p.e.now_us = MAX(p.e.now_us, tcp_deadline_us(p.e.tcp));
	h = peer_hear(&p);
	CHECK_EQ("from the start", h->seq, 1);
	CHECK_TRUE("old blocks forgotten at the time-out", p.c->sb == NULL);
	p.rcv_nxt = p.irs + 1 + h->len;
	SAY(&p, .ack = 0);
	CHECK_TRUE("the rest again, too", peer_drain(&p) >= 14480 - 2 * 1448);
	CHECK_EQ("everything acknowledged", tcp_unacked_octets(p.c), 0);
	peer_fini(&p);
}

static void
test_pitfall_08_reneging_seen_by_a_partial_ack(void **state)
{
	struct peer p;

	(void)state;
	peer_establish(&p, &usual, NULL);
	peer_write(&p, 14480);
	peer_hear_all(&p, NULL);
	SAY(&p, .ack = -14480, .n_sack = 1, .sack = { 1449, 5793 });
	peer_hear_all(&p, NULL);
	/* the hole is filled, but what was reported behind it is not acknowledged */
	p.rcv_nxt = p.irs + 1449;
	SAY(&p, .ack = 0);
	CHECK_EQ("noticed", tcp_end_count(&p.e, CTR_tcp_sack_reneged), 1);
	CHECK_TRUE("sent again", peer_drain(&p) > 0);
	for (uint32_t i = 0; i < 20 && tcp_unacked_octets(p.c) > 0; i++) {
		p.e.now_us = MAX(p.e.now_us, tcp_deadline_us(p.e.tcp));
		peer_drain(&p);
	}
	CHECK_EQ("everything acknowledged", tcp_unacked_octets(p.c), 0);
	peer_fini(&p);

	/* the same in the second of two reported ranges, the first being acknowledged whole by the same ACK */
	peer_establish(&p, &usual, NULL);
	peer_write(&p, 14480);
	peer_hear_all(&p, NULL);
	SAY(&p, .ack = -14480, .n_sack = 2, .sack = { 1449, 2897, 4345, 8689 });
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 5793;
	SAY(&p, .ack = 0);
	CHECK_EQ("noticed behind another range", tcp_end_count(&p.e, CTR_tcp_sack_reneged), 1);
	CHECK_TRUE("nothing is believed of it", p.c->sb == NULL || p.c->sb->n == 0);
	peer_fini(&p);
}

/* --- 9 --- */

static void
test_pitfall_09_fin_behind_a_full_window_is_sent_and_repeated(void **state)
{
	struct peer p;
	const struct heard *h;
	uint32_t fins = 0;

	(void)state;
	peer_establish(&p, &bare, NULL);
	SAY(&p, .zero_wnd = true);
	peer_write(&p, 3000);
	tcp_close(p.c);
	CHECK_EQ("FIN-WAIT-1 with the FIN queued", peer_state(&p), PEER_FIN_WAIT_1);
	peer_expect_silence(&p, "closed window");
	SAY(&p, .wnd = 30000);
	h = peer_hear_all(&p, NULL);
	CHECK_TRUE("FIN with the last octets", (h->h.flags & TCP_FIN) != 0 && h->len > 0);
	peer_fini(&p);

	/* closing needs no memory: no piece, no buffer is left */
	peer_establish(&p, &bare, NULL);
	buf_malloc_fail_at(p.e.pool, 1);
	tcp_close(p.c);
	CHECK_TRUE("FIN", (peer_hear(&p)->h.flags & TCP_FIN) != 0);
	buf_malloc_fail_at(p.e.pool, 0);
	peer_fini(&p);

	/* retransmitted in every closing state */
	for (uint32_t i = 0; i < 3; i++) {
		static const enum peer_state closing[] = { PEER_FIN_WAIT_1, PEER_CLOSING, PEER_LAST_ACK };

		peer_in(&p, closing[i]);
		fins = 0;
		for (uint32_t k = 0; k < 5; k++) {
			h = peer_hear_next(&p, EVER);
			CHECK_TRUE(peer_state_name(closing[i]), h->any && (h->h.flags & TCP_FIN) != 0);
			fins++;
			p.rcv_nxt = h->h.seq;
		}
		CHECK_EQ("again and again", fins, 5);
		SAY(&p, .ack = 1);
		CHECK_TRUE("until it is acknowledged", peer_state(&p) == (i == 0          ? PEER_FIN_WAIT_2
										 : i == 1 ? PEER_TIME_WAIT
											  : PEER_CLOSED));
		peer_fini(&p);
	}
}

/* --- 10 --- */

static void
test_pitfall_10_half_close_and_its_limits(void **state)
{
	struct peer p;

	(void)state;
	/* data after the peer's FIN is delivered to it */
	peer_in(&p, PEER_CLOSE_WAIT);
	CHECK_EQ("taken", peer_write(&p, 20000), 20000);
	CHECK_EQ("delivered", peer_drain(&p), 20000);
	/* and it ends */
	for (uint32_t i = 0; i < 5 && (p.events & TCP_EV_TIMEOUT) == 0; i++)
		peer_hear_next(&p, EVER);
	CHECK_TRUE("CLOSE-WAIT ends", (p.events & TCP_EV_TIMEOUT) != 0);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_close_wait_limit), 1);
	CHECK_TRUE("not before a backend may take after the dot", p.e.now_us >= 600000000);
	peer_fini(&p);

	/* the peer that never closes after QUIT */
	peer_in(&p, PEER_FIN_WAIT_2);
	tcp_release(p.c);
	p.c = NULL;
	CHECK_TRUE("reset", (peer_hear_next(&p, EVER)->h.flags & TCP_RST) != 0);
	CHECK_TRUE("within a minute", p.e.now_us <= 62000000);
	CHECK_EQ("its block is free", tcp_n_conns(p.e.tcp), 0);
	peer_fini(&p);

	/* FIN-WAIT-2 that is still read: data passes, silence ends it */
	peer_in(&p, PEER_FIN_WAIT_2);
	for (uint32_t i = 0; i < 5; i++) {
		peer_wait(&p, 50000000);
		SAY(&p, .len = 10);
		peer_hear_all(&p, NULL);
	}
	CHECK_EQ("read", tcp_readable_octets(p.c), 50);
	peer_wait(&p, TCP_FIN_WAIT_2_US + 1000000);
	peer_hear_all(&p, NULL);
	CHECK_TRUE("ended", (p.events & TCP_EV_TIMEOUT) != 0);
	peer_fini(&p);
}

/* --- 11 --- */

static void
test_pitfall_11_one_fifo_one_wheel_node_and_capped_expiries(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e;
	struct tcp_conn *c[600];
	struct wire_seg w;
	uint32_t n = 0, turn;
	int err;

	(void)state;
	conf.conns_max = 600;
	tcp_end_init(&e, &conf, 64, 1000000);
	for (uint32_t i = 0; i < 600; i++) {
		c[i] = tcp_connect(e.tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, e.now_us, &err);
		CHECK_TRUE("connect", c[i] != NULL);
	}
	while (tcp_end_output(&e, &w))
		n++;
	CHECK_EQ("SYNs", n, 600);
	for (uint32_t i = 0; i < 600; i++)
		CHECK_TRUE("waits on exactly one thing", wheel_is_armed(&c[i]->timer) && c[i]->fifo == TCP_FIFO_NONE);
	/* all are due at once: a turn handles its cap, the deadline says that there is more */
	e.now_us += 1500000;
	turn = 0;
	while (tcp_end_output(&e, &w))
		turn++;
	CHECK_EQ("one turn", turn, TCP_EXPIRIES_PER_TURN);
	CHECK_TRUE("more is due", tcp_deadline_us(e.tcp) <= e.now_us);
	CHECK_TRUE("counted", tcp_end_count(&e, CTR_tcp_expiries_capped) > 0);
	while (tcp_end_output(&e, &w))
		turn++;
	while (tcp_end_output(&e, &w))
		turn++;
	CHECK_EQ("all in the end", turn, 600);
	for (uint32_t i = 0; i < 600; i++)
		tcp_release(c[i]);
	CHECK_EQ("connections left", tcp_n_conns(e.tcp), 0);
	tcp_end_fini(&e);
}

static void
test_pitfall_11_a_repeated_ack_does_not_refresh_a_limit(void **state)
{
	struct peer p;

	(void)state;
	peer_in(&p, PEER_FIN_WAIT_2);
	for (uint32_t i = 0; i < TCP_FIN_WAIT_2_US / 10000000; i++) {
		peer_wait(&p, 11000000);
		SAY(&p, .ack = 0);
		peer_hear_all(&p, NULL);
	}
	CHECK_TRUE("ended all the same", (p.events & TCP_EV_TIMEOUT) != 0);
	peer_fini(&p);
}

/* Who is moved to the end of a FIFO starts anew there: the list stays sorted by time, and one that is due never hides behind one that is not. */
static void
test_pitfall_11_a_refreshed_limit_keeps_the_order_of_its_fifo(void **state)
{
	static const uint16_t ports[] = { 30001, 30002, 30003 };
	struct peer p;
	uint64_t start_us[3], last_us = 0;
	struct tcp_conn *c[3];

	(void)state;
	peer_init(&p, &usual, NULL);
	for (uint32_t i = 0; i < 3; i++) {
		p.flow.local_port = ports[i];
		p.snd_nxt = p.iss;
		p.c = NULL;
		peer_reach(&p, PEER_FIN_WAIT_2);
		c[i] = p.c;
		start_us[i] = p.e.now_us;
		peer_wait(&p, 10000000);
	}
	/* the first one speaks: its limit starts over, behind the others */
	peer_expect_silence(&p, "the clock of the endpoint moves on");
	tcp_fifo_put(c[0], TCP_FIFO_FIN_WAIT_2);
	start_us[0] = p.e.now_us;
	CHECK_EQ("three wait", p.e.tcp->fifo[TCP_FIFO_FIN_WAIT_2].n, 3);
	for (uint32_t i = p.e.tcp->fifo[TCP_FIFO_FIN_WAIT_2].head; i != TCP_INDEX_NONE;
		i = p.e.tcp->conns[i].fifo_link.next) {
		CHECK_TRUE("sorted", p.e.tcp->conns[i].fifo_start_us >= last_us);
		last_us = p.e.tcp->conns[i].fifo_start_us;
	}
	for (uint32_t k = 0; k < 3; k++) {
		const uint32_t i = (k + 1) % 3; /* 1, 2, 0 */

		p.e.now_us = start_us[i] + TCP_FIN_WAIT_2_US - 1;
		peer_hear_all(&p, NULL);
		CHECK_EQ("not before its time", c[i]->state, TCP_STATE_FIN_WAIT_2);
		p.e.now_us++;
		peer_hear_all(&p, NULL);
		CHECK_EQ("in its time", c[i]->state, TCP_STATE_CLOSED);
	}
	for (uint32_t i = 0; i < 3; i++)
		tcp_release(c[i]);
	p.c = NULL;
	peer_fini(&p);
}

/* --- 23, 24 --- */

static void
test_pitfall_23_a_turn_sends_all_it_may(void **state)
{
	struct peer p;
	struct tcp_seg_out out[64];

	(void)state;
	peer_establish(&p, &bare, NULL);
	peer_write(&p, 14600);
	CHECK_EQ("ten segments in one call", tcp_output(p.e.tcp, out, 64, p.e.now_us), 10);
	CHECK_EQ("and no more", tcp_output(p.e.tcp, out, 64, p.e.now_us), 0);
	peer_fini(&p);
}

static void
test_pitfall_24_shortage_sheds_and_counts(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	struct buf *hog[256];
	uint8_t *data;
	uint32_t n = 0, wakes = 0;

	(void)state;
	peer_establish(&p, &usual, &conf);
	while (n < 250 && (hog[n] = buf_alloc(p.e.pool, 100, &data)) != NULL)
		n++;
	peer_wait(&p, 1000);
	SAY(&p, .len = 500, .seq = 1000, .keep = true);
	CHECK_EQ("out of order is shed first", p.c->n_ooo, 0);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_ooo_shed), 1);
	SAY(&p, .len = 500);
	CHECK_EQ("in order is taken", tcp_readable_octets(p.c), 500);
	tcp_consume(p.c, 500);
	peer_wait(&p, 50000);
	peer_hear_all(&p, NULL);
	CHECK_TRUE("windows are held back", tcp_end_count(&p.e, CTR_tcp_rcv_pressure) > 0);
	/* nothing spins while memory is short */
	for (uint64_t until_us = p.e.now_us + 1000000; p.e.now_us < until_us; wakes++) {
		p.e.now_us = MIN(tcp_deadline_us(p.e.tcp), until_us);
		peer_expect_silence(&p, "nothing to say");
	}
	CHECK_TRUE("a few looks a second", wakes <= 60);
	while (n > 0)
		buf_unref(p.e.pool, hog[--n]);
	p.e.now_us += 50000;
	CHECK_TRUE("told when it is over", peer_hear(&p)->any);
	/* a refused write is taken up again */
	for (n = 0; n < 256 && (hog[n] = buf_alloc(p.e.pool, 100, &data)) != NULL; n++)
		;
	CHECK_EQ("refused", tcp_send(p.c, &(struct buf_view){ .ptr = (const uint8_t *)"abc", .len_octets = 3 }), 0);
	CHECK_TRUE("counted", tcp_end_count(&p.e, CTR_tcp_no_buffer) > 0);
	while (n > 0)
		buf_unref(p.e.pool, hog[--n]);
	p.e.now_us += 50000;
	p.events = 0;
	peer_hear_all(&p, NULL);
	CHECK_TRUE("writable", (p.events & TCP_EV_WRITABLE) != 0);
	peer_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pitfall_07_rto_doubles_to_a_cap_and_gives_up_by_count),
		cmocka_unit_test(test_pitfall_07_not_every_ack_restarts_the_timer),
		cmocka_unit_test(test_pitfall_07_no_sample_from_what_was_sent_twice),
		cmocka_unit_test(test_pitfall_08_sack_blocks_of_every_kind),
		cmocka_unit_test(test_pitfall_08_reneging_seen_by_a_partial_ack),
		cmocka_unit_test(test_pitfall_09_fin_behind_a_full_window_is_sent_and_repeated),
		cmocka_unit_test(test_pitfall_10_half_close_and_its_limits),
		cmocka_unit_test(test_pitfall_11_one_fifo_one_wheel_node_and_capped_expiries),
		cmocka_unit_test(test_pitfall_11_a_repeated_ack_does_not_refresh_a_limit),
		cmocka_unit_test(test_pitfall_11_a_refreshed_limit_keeps_the_order_of_its_fifo),
		cmocka_unit_test(test_pitfall_23_a_turn_sends_all_it_may),
		cmocka_unit_test(test_pitfall_24_shortage_sheds_and_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
