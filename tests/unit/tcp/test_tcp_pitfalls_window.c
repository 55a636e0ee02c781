/*
 * test_tcp_pitfalls_window.c - where other stacks fell: options, windows, and what fits in between.
 *
 * Lines 1 to 6 of the pitfalls, one test or more for each, named by its number.
 */
#include "tests/check.h"
#include "tests/helpers/tcp_peer.h"

static const struct peer_options usual = { .mss = 1460 };
#define EVER UINT64_C(100000000000)
static const struct peer_options bare = {
	.mss = 1460, .wnd = 40000, .no_ts = true, .no_sack = true, .no_wscale = true
};

/* --- 1 --- */

static void
test_pitfall_01_the_window_of_a_syn_is_never_scaled(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	const struct heard *h;

	(void)state;
	conf.rcv_wnd_max_octets = 1048576;
	peer_init(&p, &usual, &conf);
	peer_say_syn(&p, TCP_SYN);
	h = peer_hear(&p);
	CHECK_EQ("SYN-ACK says 64 KiB unscaled", h->h.wnd, 65535);
	CHECK_EQ("and a scale that holds 1 MiB", h->h.wscale, 5);
	p.ts = true;
	/* and the window the peer's third ACK gives is scaled, that of its SYN was not */
	SAY(&p, .wnd = 10);
	CHECK_EQ("the peer's scale", p.c->snd_wscale, 7);
	CHECK_EQ("scaled from the ACK on", p.c->snd_wnd, 1280);
	/* a window of 1 MiB in 16 bits */
	SAY(&p, .len = 1000);
	SAY(&p, .len = 1000);
	tcp_consume(p.c, 2000);
	h = peer_hear_all(&p, NULL);
	CHECK_EQ("1 MiB in units of 32", h->h.wnd, 1048576 / 32);
	peer_fini(&p);

	/* without scaling the field holds 65535 at most, whatever the limit */
	peer_init(&p, &(struct peer_options){ .mss = 1460, .no_wscale = true }, &conf);
	peer_reach(&p, PEER_ESTABLISHED);
	SAY(&p, .len = 1000);
	SAY(&p, .len = 1000);
	tcp_consume(p.c, 2000);
	CHECK_EQ("clamped, not cut", peer_hear_all(&p, NULL)->h.wnd, 65535);
	peer_fini(&p);
}

/* --- 2 --- */

static void
check_negotiated(const char *label, const struct peer_options *opt, bool cookie)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	const struct heard *h;

	if (cookie)
		conf.syn_ring_entries = 0;
	peer_init(&p, opt, &conf);
	peer_say_syn(&p, TCP_SYN);
	h = peer_hear(&p);
	CHECK_EQ(label, h->h.wscale != TCP_WSCALE_NONE, !opt->no_wscale);
	CHECK_EQ(label, h->h.has_ts, !opt->no_ts);
	CHECK_EQ(label, h->h.sack_permitted, !opt->no_sack);
	CHECK_EQ(label, h->h.mss, opt->v6 ? 1440 : 1460);
	p.ts = h->h.has_ts;
	SAY(&p, .ack = 0);
	CHECK_TRUE(label, p.c != NULL);
	CHECK_EQ(label, tcp_end_count(&p.e, CTR_tcp_cookie_good), cookie);
	CHECK_EQ(label, p.c->snd_wscale, opt->no_wscale ? 0 : MIN(opt->wscale, 14));
	CHECK_EQ(label, p.c->rcv_wscale, opt->no_wscale ? 0 : 5);
	CHECK_EQ(label, p.c->ts_ok, !opt->no_ts);
	CHECK_EQ(label, p.c->sack_ok, !opt->no_sack);
	CHECK_EQ(label, p.c->snd_wnd, (uint32_t)p.opt.wnd << p.c->snd_wscale);
	/* it carries octets both ways */
	CHECK_EQ(label, peer_write(&p, 3000), 3000);
	CHECK_EQ(label, peer_drain(&p), 3000);
	SAY(&p, .len = 100);
	CHECK_EQ(label, tcp_readable_octets(p.c), 100);
	peer_fini(&p);
}

static void
test_pitfall_02_every_set_of_options_is_negotiated_right(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 16; i++) {
		struct peer_options o = {
			.mss = 1460, .no_wscale = i & 1, .no_ts = i & 2, .no_sack = i & 4, .v6 = i & 8, .wscale = 9
		};
		char label[64];

		snprintf(label, sizeof(label), "options %u", i);
		check_negotiated(label, &o, false);
		check_negotiated(label, &o, true);
	}
	check_negotiated("a scale of 15 counts as 14", &(struct peer_options){ .mss = 1460, .wscale = 15 }, false);
	check_negotiated("a scale of 15 counts as 14", &(struct peer_options){ .mss = 1460, .wscale = 15 }, true);
	check_negotiated("a scale of 255 counts as 14", &(struct peer_options){ .mss = 1460, .wscale = 254 }, false);
	check_negotiated("so it does in an unusual list",
		&(struct peer_options){ .mss = 1460, .no_sack = true, .wscale = 254 }, false);
}

/* --- 3 --- */

static void
test_pitfall_03_zero_window_is_probed_and_its_acks_are_no_duplicates(void **state)
{
	struct peer p;
	const struct heard *h;
	uint64_t last_us = 0, gap_us = 0;

	(void)state;
	peer_establish(&p, &bare, NULL);
	SAY(&p, .zero_wnd = true);
	CHECK_EQ("taken", peer_write(&p, 5000), 5000);
	peer_expect_silence(&p, "nothing into a window of zero");
	p.c->cwnd = 1; /* the probe is not cwnd's */
	for (uint32_t i = 0; i < 14; i++) {
		uint64_t due_us;

		CHECK_TRUE("persist runs", tcp_deadline_us(p.e.tcp) != UINT64_MAX);
		h = peer_hear_next(&p, EVER);
		due_us = p.e.now_us;
		CHECK_EQ("one octet", h->len, 1);
		CHECK_EQ("the first one", h->seq, 1);
		if (last_us != 0)
			CHECK_TRUE("less and less often", due_us - last_us + 5000 >= MIN(2 * gap_us, 60000000));
		gap_us = last_us != 0 ? due_us - last_us : 0;
		last_us = due_us;
		CHECK_TRUE("at least each minute", gap_us <= 61000000);
		p.rcv_nxt = p.irs + 1;
		SAY(&p, .zero_wnd = true); /* not taken */
		peer_expect_silence(&p, "an ACK of a probe is not answered");
	}
	CHECK_EQ("no fast retransmit", tcp_end_count(&p.e, CTR_tcp_fast_retransmit), 0);
	CHECK_EQ("it answers, so it lives", tcp_end_count(&p.e, CTR_tcp_timed_out), 0);
	p.c->cwnd = 14600;
	SAY(&p, .wnd = 20000);
	CHECK_EQ("window opens", peer_drain(&p), 5000);
	peer_fini(&p);

	/* who answers no probe at all is given up by count */
	peer_establish(&p, &bare, NULL);
	SAY(&p, .zero_wnd = true);
	peer_write(&p, 100);
	for (uint32_t i = 0; i < 50 && (p.events & TCP_EV_TIMEOUT) == 0; i++)
		peer_hear_next(&p, EVER);
	CHECK_TRUE("given up", (p.events & TCP_EV_TIMEOUT) != 0);
	peer_fini(&p);
}

static void
test_pitfall_03_our_zero_window_answers_every_probe(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	const struct heard *h;

	(void)state;
	conf.rcv_wnd_max_octets = 2000;
	peer_establish(&p, &bare, &conf);
	SAY(&p, .len = 1000);
	SAY(&p, .len = 1000);
	CHECK_EQ("closed", peer_hear_all(&p, NULL)->h.wnd, 0);
	for (uint32_t i = 0; i < 20; i++) {
		SAY(&p, .len = 1, .keep = true);
		h = peer_hear(&p);
		CHECK_TRUE("a probe is answered at once, without limit", h->any);
		CHECK_EQ("window", h->h.wnd, 0);
		CHECK_EQ("not taken", h->ack, 2001);
	}
	tcp_consume(p.c, 2000);
	h = peer_hear(&p);
	CHECK_TRUE("the opening is told", h->any);
	CHECK_EQ("all of it", h->h.wnd, 2000);
	peer_fini(&p);
}

static void
test_pitfall_03_acks_of_a_closed_window_are_no_duplicates(void **state)
{
	struct peer p;

	(void)state;
	peer_establish(&p, &bare, NULL);
	peer_write(&p, 10000);
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1;
	for (uint32_t i = 0; i < 6; i++) {
		SAY(&p, .zero_wnd = true);
		peer_expect_silence(&p, "closed");
	}
	CHECK_EQ("no duplicate", p.c->dupacks, 0);
	CHECK_EQ("no fast retransmit", tcp_end_count(&p.e, CTR_tcp_fast_retransmit), 0);
	peer_fini(&p);
}

/* A peer that has filled our window stands at its right edge, and acknowledges from there. */
static void
test_pitfall_03_an_ack_from_the_edge_of_the_window_counts(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;

	(void)state;
	conf.rcv_wnd_max_octets = 2000;
	peer_establish(&p, &bare, &conf);
	peer_write(&p, 100);
	peer_hear_all(&p, NULL);
	SAY(&p, .seq = 2000, .ack = 0, .keep = true); /* its 2000 octets were lost on the way */
	CHECK_EQ("taken", tcp_unacked_octets(p.c), 0);
	peer_fini(&p);
}

/* --- 4 --- */

static void
test_pitfall_04_a_window_below_the_mss_does_not_deadlock(void **state)
{
	struct peer p;
	uint32_t octets = 0;

	(void)state;
	/* never a window of a segment: half of the largest ever seen is enough */
	peer_establish(&p, &(struct peer_options){ .mss = 1460, .no_wscale = true, .no_ts = true, .wnd = 500 }, NULL);
	peer_write(&p, 3000);
	CHECK_EQ("500 octets at a time", peer_drain(&p), 3000);
	peer_fini(&p);

	/* a window that was large and is now silly: held back, then sent when the override timer says so */
	peer_establish(&p, &(struct peer_options){ .mss = 1460, .no_wscale = true, .no_ts = true, .wnd = 20000 }, NULL);
	SAY(&p, .wnd = 100);
	peer_write(&p, 250);
	peer_expect_silence(&p, "100 of 20000 octets is silly");
	for (uint32_t i = 0; i < 10 && octets < 250; i++) {
		const struct heard *h = peer_hear_next(&p, EVER);

		CHECK_TRUE("no more than the window", h->any && h->len <= 100);
		octets += h->len;
		SAY(&p, .ack = 0);
	}
	CHECK_EQ("all came", octets, 250);
	peer_fini(&p);
}

/* --- 5 --- */

static void
test_pitfall_05_window_updates_are_not_lost(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	const struct heard *h;

	(void)state;
	conf.rcv_wnd_max_octets = 8000;
	peer_establish(&p, &bare, &conf);
	for (uint32_t i = 0; i < 8; i++)
		SAY(&p, .len = 1000);
	CHECK_EQ("closed", peer_hear_all(&p, NULL)->h.wnd, 0);
	/* octet by octet nothing silly is offered, but the opening is told when it is worth it, against what was told last */
	for (uint32_t i = 0; i < 1459; i++)
		tcp_consume(p.c, 1);
	peer_expect_silence(&p, "less than a segment");
	for (uint32_t i = 0; i < 3000; i++)
		tcp_consume(p.c, 1);
	h = peer_hear(&p);
	CHECK_TRUE("told", h->any);
	CHECK_EQ("all that was read", h->h.wnd, 4459);
	peer_fini(&p);
}

static void
test_pitfall_05_tiny_segments_do_not_exhaust_buffers(void **state)
{
	struct peer p;
	uint32_t before;

	(void)state;
	peer_establish(&p, &usual, NULL);
	before = buf_malloc_in_use(p.e.pool);
	for (uint32_t i = 0; i < 10000; i++) {
		SAY(&p, .len = 1);
		peer_hear_all(&p, NULL);
	}
	CHECK_EQ("all held", tcp_readable_octets(p.c), 10000);
	CHECK_TRUE("10,000 octets in few buffers", buf_malloc_in_use(p.e.pool) - before <= 6);
	/* out of order: every second octet */
	for (uint32_t i = 0; i < 5000; i++) {
		SAY(&p, .len = 1, .seq = 1 + 2 * i, .keep = true);
		peer_hear_all(&p, NULL);
	}
	CHECK_TRUE("pieces are capped", p.c->n_ooo <= 256);
	CHECK_TRUE("and counted", tcp_end_count(&p.e, CTR_tcp_ooo_full) > 0);
	CHECK_TRUE("few buffers still", buf_malloc_in_use(p.e.pool) - before <= 8);
	peer_fini(&p);
}

/* --- 6 --- */

static void
test_pitfall_06_fin_at_a_zero_window_and_across_its_edge(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	const struct heard *h;

	(void)state;
	conf.rcv_wnd_max_octets = 2000;
	peer_establish(&p, &bare, &conf);
	SAY(&p, .len = 2000);
	CHECK_EQ("closed", peer_hear_all(&p, NULL)->h.wnd, 0);
	SAY(&p, .flags = TCP_FIN | TCP_ACK);
	h = peer_hear(&p);
	CHECK_EQ("FIN taken at a window of zero", h->ack, 2002);
	CHECK_TRUE("not told before the data is read", (p.events & TCP_EV_EOF) == 0);
	tcp_consume(p.c, 2000);
	peer_events(&p);
	CHECK_TRUE("then told", (p.events & TCP_EV_EOF) != 0);
	peer_fini(&p);

	peer_establish(&p, &bare, &conf);
	SAY(&p, .len = 1500);
	peer_hear_all(&p, NULL);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 500);
	peer_wait(&p, 50000);
	CHECK_EQ("FIN just behind the window's last octet", peer_hear_all(&p, NULL)->ack, 2002);
	peer_fini(&p);

	peer_establish(&p, &bare, &conf);
	SAY(&p, .len = 1500);
	peer_wait(&p, 50000);
	peer_hear_all(&p, NULL);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 501, .keep = true);
	h = peer_hear(&p);
	CHECK_EQ("what fits is taken, the rest and its FIN are not", h->ack, 2001);
	CHECK_EQ("cut", tcp_end_count(&p.e, CTR_tcp_beyond_window), 1);
	tcp_consume(p.c, 2000);
	peer_hear_all(&p, NULL);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 1, .seq = 500);
	CHECK_EQ("and taken later", peer_hear_all(&p, NULL)->ack, 2003);
	peer_fini(&p);

	/* only a part of its octets are new */
	peer_establish(&p, &bare, &conf);
	SAY(&p, .len = 100);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 150, .seq = -100, .keep = true);
	CHECK_EQ("FIN behind known and new octets", peer_hear_all(&p, NULL)->ack, 152);
	CHECK_EQ("octets once, each in its place", peer_read(&p, 0), 150);
	peer_fini(&p);

	/* text beyond a FIN is no text */
	peer_establish(&p, &bare, &conf);
	SAY(&p, .len = 100, .seq = 500, .keep = true);
	peer_hear_all(&p, NULL);
	CHECK_EQ("kept", p.c->n_ooo, 1);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 100);
	CHECK_EQ("FIN", peer_hear_all(&p, NULL)->ack, 102);
	CHECK_EQ("dropped", p.c->n_ooo, 0);
	CHECK_EQ("octets before it", tcp_readable_octets(p.c), 100);
	peer_fini(&p);

	/* no memory for the text: no FIN behind it; the first text of a turn needs none */
	peer_establish(&p, &bare, &conf);
	peer_hear_all(&p, NULL);
	SAY(&p, .len = 1);
	buf_malloc_fail_at(p.e.pool, 2); /* the first is the segment's own */
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 100, .keep = true);
	CHECK_EQ("nothing taken", peer_hear_all(&p, NULL)->ack, 2);
	CHECK_EQ("state", peer_state(&p), PEER_ESTABLISHED);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 100);
	CHECK_EQ("all taken", peer_hear_all(&p, NULL)->ack, 103);
	peer_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pitfall_01_the_window_of_a_syn_is_never_scaled),
		cmocka_unit_test(test_pitfall_02_every_set_of_options_is_negotiated_right),
		cmocka_unit_test(test_pitfall_03_zero_window_is_probed_and_its_acks_are_no_duplicates),
		cmocka_unit_test(test_pitfall_03_our_zero_window_answers_every_probe),
		cmocka_unit_test(test_pitfall_03_acks_of_a_closed_window_are_no_duplicates),
		cmocka_unit_test(test_pitfall_03_an_ack_from_the_edge_of_the_window_counts),
		cmocka_unit_test(test_pitfall_04_a_window_below_the_mss_does_not_deadlock),
		cmocka_unit_test(test_pitfall_05_window_updates_are_not_lost),
		cmocka_unit_test(test_pitfall_05_tiny_segments_do_not_exhaust_buffers),
		cmocka_unit_test(test_pitfall_06_fin_at_a_zero_window_and_across_its_edge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
