/*
 * test_tcp_pitfalls.c - where other stacks fell: one test for each line, named by its number.
 *
 * Lines 19 and 22 belong to net, line 23 to the worker; what tcp contributes to 23 is here.
 */
#include <errno.h>
#include <stdlib.h>

#include "dataplane/base/octets.h"
#include "dataplane/base/seq.h"
#include "tests/check.h"
#include "tests/helpers/tcp_pair.h"
#include "tests/helpers/tcp_peer.h"

static const struct peer_options usual = { .mss = 1460 };
#define EVER UINT64_C(100000000000)
static const struct peer_options bare = {
	.mss = 1460, .wnd = 40000, .no_ts = true, .no_sack = true, .no_wscale = true
};

static void
established(struct peer *p, const struct peer_options *opt, const struct tcp_conf *conf)
{
	peer_init(p, opt, conf);
	peer_reach(p, PEER_ESTABLISHED);
}

/* Everything the peer must send is drained and acknowledged until nothing is left; returns the octets heard. */
static uint32_t
drain(struct peer *p)
{
	uint32_t octets = 0;
	const struct heard *h;

	for (uint32_t i = 0; i < 100000; i++) {
		bool any = false;

		while ((h = peer_hear(p))->any) {
			octets += h->len;
			any = true;
		}
		if (!any)
			break;
		SAY(p, .ack = 0);
	}
	return octets;
}

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
	CHECK_EQ(label, drain(&p), 3000);
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
}

/* --- 3 --- */

static void
test_pitfall_03_zero_window_is_probed_and_its_acks_are_no_duplicates(void **state)
{
	struct peer p;
	const struct heard *h;
	uint64_t last_us = 0, gap_us = 0;

	(void)state;
	established(&p, &bare, NULL);
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
	CHECK_EQ("window opens", drain(&p), 5000);
	peer_fini(&p);

	/* who answers no probe at all is given up by count */
	established(&p, &bare, NULL);
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
	established(&p, &bare, &conf);
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
	established(&p, &bare, NULL);
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
	established(&p, &bare, &conf);
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
	established(&p, &(struct peer_options){ .mss = 1460, .no_wscale = true, .no_ts = true, .wnd = 500 }, NULL);
	peer_write(&p, 3000);
	CHECK_EQ("500 octets at a time", drain(&p), 3000);
	peer_fini(&p);

	/* a window that was large and is now silly: held back, then sent when the override timer says so */
	established(&p, &(struct peer_options){ .mss = 1460, .no_wscale = true, .no_ts = true, .wnd = 20000 }, NULL);
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
	established(&p, &bare, &conf);
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
	established(&p, &usual, NULL);
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
	established(&p, &bare, &conf);
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

	established(&p, &bare, &conf);
	SAY(&p, .len = 1500);
	peer_hear_all(&p, NULL);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 500);
	peer_wait(&p, 50000);
	CHECK_EQ("FIN just behind the window's last octet", peer_hear_all(&p, NULL)->ack, 2002);
	peer_fini(&p);

	established(&p, &bare, &conf);
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
	established(&p, &bare, &conf);
	SAY(&p, .len = 100);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 150, .seq = -100, .keep = true);
	CHECK_EQ("FIN behind known and new octets", peer_hear_all(&p, NULL)->ack, 152);
	CHECK_EQ("octets once", tcp_readable_octets(p.c), 150);
	peer_fini(&p);

	/* text beyond a FIN is no text */
	established(&p, &bare, &conf);
	SAY(&p, .len = 100, .seq = 500, .keep = true);
	peer_hear_all(&p, NULL);
	CHECK_EQ("kept", p.c->n_ooo, 1);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 100);
	CHECK_EQ("FIN", peer_hear_all(&p, NULL)->ack, 102);
	CHECK_EQ("dropped", p.c->n_ooo, 0);
	CHECK_EQ("octets before it", tcp_readable_octets(p.c), 100);
	peer_fini(&p);

	/* no memory for the text: no FIN behind it */
	established(&p, &bare, &conf);
	peer_hear_all(&p, NULL);
	buf_malloc_fail_at(p.e.pool, 2); /* the first is the segment's own */
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 100, .keep = true);
	CHECK_EQ("nothing taken", peer_hear_all(&p, NULL)->ack, 1);
	CHECK_EQ("state", peer_state(&p), PEER_ESTABLISHED);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 100);
	CHECK_EQ("all taken", peer_hear_all(&p, NULL)->ack, 102);
	peer_fini(&p);
}

/* --- 7 --- */

static void
test_pitfall_07_rto_doubles_to_a_cap_and_gives_up_by_count(void **state)
{
	struct peer p;
	uint64_t first_us, last_us, gap_us = 0;
	uint32_t n = 0;
	const struct heard *h;

	(void)state;
	established(&p, &bare, NULL);
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
	established(&p, &bare, NULL);
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
	established(&p, &bare, NULL);
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
	established(&p, &usual, NULL);
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
	established(&p, &usual, NULL);
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
	CHECK_TRUE("the rest again, too", drain(&p) >= 14480 - 2 * 1448);
	CHECK_EQ("everything acknowledged", tcp_unacked_octets(p.c), 0);
	peer_fini(&p);
}

static void
test_pitfall_08_reneging_seen_by_a_partial_ack(void **state)
{
	struct peer p;

	(void)state;
	established(&p, &usual, NULL);
	peer_write(&p, 14480);
	peer_hear_all(&p, NULL);
	SAY(&p, .ack = -14480, .n_sack = 1, .sack = { 1449, 5793 });
	peer_hear_all(&p, NULL);
	/* the hole is filled, but what was reported behind it is not acknowledged */
	p.rcv_nxt = p.irs + 1449;
	SAY(&p, .ack = 0);
	CHECK_EQ("noticed", tcp_end_count(&p.e, CTR_tcp_sack_reneged), 1);
	CHECK_TRUE("sent again", drain(&p) > 0);
	for (uint32_t i = 0; i < 20 && tcp_unacked_octets(p.c) > 0; i++) {
		p.e.now_us = MAX(p.e.now_us, tcp_deadline_us(p.e.tcp));
		drain(&p);
	}
	CHECK_EQ("everything acknowledged", tcp_unacked_octets(p.c), 0);
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
	established(&p, &bare, NULL);
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
	established(&p, &bare, NULL);
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
	CHECK_EQ("delivered", drain(&p), 20000);
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

/* --- 12 --- */

static void
test_pitfall_12_third_acks_in_all_their_forms(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	uint32_t isn;

	(void)state;
	for (uint32_t cookie = 0; cookie < 2; cookie++) {
		conf.syn_ring_entries = cookie ? 0 : 16;

		/* several ACKs of one handshake make one connection */
		peer_init(&p, &usual, &conf);
		peer_say_syn(&p, TCP_SYN);
		isn = peer_hear(&p)->h.seq;
		peer_wait(&p, 900000);
		peer_say_syn(&p, TCP_SYN);
		CHECK_EQ("the same number for the same SYN", peer_hear(&p)->h.seq, isn);
		p.ts = true;
		SAY(&p, .ack = 0);
		SAY(&p, .ack = 0);
		SAY(&p, .ack = 0);
		CHECK_EQ("one connection", tcp_n_conns(p.e.tcp), 1);
		CHECK_EQ("accepted once", tcp_end_count(&p.e, CTR_tcp_accepted), 1);
		peer_fini(&p);

		/* RST+ACK completes none */
		peer_init(&p, &usual, &conf);
		peer_say_syn(&p, TCP_SYN);
		peer_hear(&p);
		p.ts = true;
		SAY(&p, .flags = TCP_RST | TCP_ACK);
		CHECK_EQ("none", tcp_n_conns(p.e.tcp), 0);
		peer_expect_silence(&p, "RST");
		CHECK_EQ("forgotten", p.e.tcp->listen.n, 0);
		peer_fini(&p);

		/* the third ACK with data and FIN */
		peer_init(&p, &usual, &conf);
		peer_say_syn(&p, TCP_SYN);
		peer_hear(&p);
		p.ts = true;
		SAY(&p, .flags = TCP_ACK | TCP_FIN, .len = 700);
		CHECK_EQ("data kept", tcp_readable_octets(p.c), 700);
		CHECK_EQ("FIN kept", peer_state(&p), PEER_CLOSE_WAIT);
		CHECK_EQ("both acknowledged", peer_hear_all(&p, NULL)->ack, 702);
		peer_fini(&p);

		/* a wrong ACK is reset, and completes nothing */
		peer_init(&p, &usual, &conf);
		peer_say_syn(&p, TCP_SYN);
		peer_hear(&p);
		p.ts = true;
		SAY(&p, .ack = 1);
		CHECK_TRUE("reset", (peer_hear(&p)->h.flags & TCP_RST) != 0);
		CHECK_EQ("none", tcp_n_conns(p.e.tcp), 0);
		peer_fini(&p);
	}

	/* out-of-order data comes before the third ACK */
	peer_init(&p, &usual, NULL);
	peer_say_syn(&p, TCP_SYN);
	peer_hear(&p);
	p.ts = true;
	SAY(&p, .len = 500, .seq = 1000, .keep = true);
	CHECK_TRUE("that ACK completes it", p.c != NULL);
	CHECK_EQ("a hole yet", tcp_readable_octets(p.c), 0);
	SAY(&p, .len = 1000, .keep = true);
	CHECK_EQ("kept", tcp_readable_octets(p.c), 1500);
	peer_fini(&p);

	/* beyond the ring, such data says nothing that could be checked: silence, and the lost segment completes it */
	conf.syn_ring_entries = 0;
	peer_init(&p, &usual, &conf);
	peer_say_syn(&p, TCP_SYN);
	peer_hear(&p);
	p.ts = true;
	SAY(&p, .len = 500, .seq = 1000, .keep = true);
	peer_expect_silence(&p, "not reset");
	SAY(&p, .len = 1000, .keep = true);
	CHECK_EQ("the first completes", tcp_readable_octets(p.c), 1000);
	peer_fini(&p);
}

static void
test_pitfall_12_syn_acks_are_repeated_and_forgotten(void **state)
{
	static const uint64_t at_us[] = { 1000000, 3000000, 7000000 };
	struct peer p;
	uint64_t start_us;
	uint32_t isn;

	(void)state;
	peer_init(&p, &usual, NULL);
	start_us = p.e.now_us;
	peer_say_syn(&p, TCP_SYN);
	isn = peer_hear(&p)->h.seq;
	for (size_t i = 0; i < ARRAY_LEN(at_us); i++) {
		const struct heard *h;

		p.e.now_us = tcp_deadline_us(p.e.tcp);
		CHECK_EQ("when", p.e.now_us - start_us, at_us[i]);
		h = peer_hear(&p);
		CHECK_EQ("SYN-ACK", h->h.flags, TCP_SYN | TCP_ACK);
		CHECK_EQ("the same", h->h.seq, isn);
	}
	p.e.now_us = tcp_deadline_us(p.e.tcp);
	peer_expect_silence(&p, "forgotten");
	CHECK_EQ("gone", p.e.tcp->listen.n, 0);
	CHECK_EQ("nothing waits", tcp_deadline_us(p.e.tcp) == UINT64_MAX, true);
	peer_fini(&p);
}

/* A cookie is a function of the time, too: a SYN-ACK said before its slot ended and again after it must not be another. */
static void
test_pitfall_12_a_repeated_syn_gets_the_same_number_in_the_next_slot(void **state)
{
	struct peer p;
	uint32_t isn;

	(void)state;
	peer_init(&p, &usual, NULL);
	p.e.now_us = TCP_COOKIE_SLOT_US - 500000;
	peer_say_syn(&p, TCP_SYN);
	isn = peer_hear(&p)->h.seq;
	peer_wait(&p, 900000);
	peer_say_syn(&p, TCP_SYN);
	CHECK_EQ("the number of the first answer", peer_hear(&p)->h.seq, isn);
	p.ts = true;
	SAY(&p, .ack = 0);
	CHECK_TRUE("and it completes", p.c != NULL);
	peer_fini(&p);
}

static void
test_pitfall_12_no_block_is_no_reset(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	struct tcp_conn *other;
	int err;

	(void)state;
	conf.conns_max = 1;
	peer_init(&p, &usual, &conf);
	peer_say_syn(&p, TCP_SYN);
	peer_hear(&p);
	p.ts = true;
	other = tcp_connect(p.e.tcp, &p.flow.remote, &p.flow.local, 99, NULL, p.e.now_us, &err);
	tcp_output(p.e.tcp, &(struct tcp_seg_out){ 0 }, 1, p.e.now_us);
	SAY(&p, .ack = 0);
	peer_expect_silence(&p, "no block: silence");
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_accept_no_block), 1);
	tcp_release(other);
	/* our SYN-ACK comes again, the client answers, now it fits */
	p.e.now_us = tcp_deadline_us(p.e.tcp);
	CHECK_EQ("again", peer_hear(&p)->h.flags, TCP_SYN | TCP_ACK);
	SAY(&p, .ack = 0);
	CHECK_TRUE("accepted now", p.c != NULL);
	/* and with no block left a SYN is not answered at all */
	p.flow.local_port++;
	peer_say_syn(&p, TCP_SYN);
	peer_expect_silence(&p, "no block for a SYN");
	p.flow.local_port--;
	peer_fini(&p);
}

static void
test_pitfall_12_cookies_expire_and_are_bound_to_the_tuple(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e;
	struct flow f = flow_reverse(&pair_flow_v4), g;
	struct tcp_syn_options o = { .mss = 1460, .wscale = 7, .sack = true }, back;
	uint32_t cookie;
	uint32_t guessed = 0;

	(void)state;
	tcp_end_init(&e, &conf, 8, 0);
	cookie = tcp_cookie_make(e.tcp, &f, 12345, &o, UINT64_C(100000000));
	CHECK_TRUE("good", tcp_cookie_check(e.tcp, &f, 12345, cookie, &back, UINT64_C(100000000)));
	CHECK_EQ("MSS", back.mss, 1460);
	CHECK_EQ("scale", back.wscale, 7);
	CHECK_TRUE("good after a minute", tcp_cookie_check(e.tcp, &f, 12345, cookie, &back, UINT64_C(160000000)));
	CHECK_TRUE("not after five", !tcp_cookie_check(e.tcp, &f, 12345, cookie, &back, UINT64_C(400000000)));
	CHECK_TRUE("other sequence number", !tcp_cookie_check(e.tcp, &f, 12346, cookie, &back, UINT64_C(100000000)));
	g = f;
	g.remote_port++;
	CHECK_TRUE("other tuple", !tcp_cookie_check(e.tcp, &g, 12345, cookie, &back, UINT64_C(100000000)));
	for (uint32_t i = 0; i < 100000; i++)
		guessed += tcp_cookie_check(e.tcp, &f, 12345, i * 2654435761u, &back, UINT64_C(100000000));
	CHECK_TRUE("guessing does not pay", guessed <= 2);
	for (uint32_t mss = 64; mss < 9000; mss += 7) {
		o.mss = (uint16_t)mss;
		cookie = tcp_cookie_make(e.tcp, &f, mss, &o, UINT64_C(100000000));
		CHECK_TRUE("good", tcp_cookie_check(e.tcp, &f, mss, cookie, &back, UINT64_C(100000000)));
		CHECK_TRUE("never more than the peer takes", back.mss <= mss);
	}
	tcp_end_fini(&e);
}

/* --- 13 --- */

static void
test_pitfall_13_syns_where_they_do_not_belong(void **state)
{
	struct peer p;

	(void)state;
	/* the states are in test_tcp_states; here: several SYNs of one tuple in one burst */
	peer_init(&p, &usual, NULL);
	peer_say_syn(&p, TCP_SYN);
	p.iss += 5000;
	peer_say_syn(&p, TCP_SYN);
	peer_say_syn(&p, TCP_SYN);
	p.iss += 5000;
	peer_say_syn(&p, TCP_SYN);
	CHECK_EQ("one is remembered", p.e.tcp->listen.n, 1);
	peer_hear_all(&p, NULL);
	p.ts = true;
	SAY(&p, .ack = 0);
	CHECK_TRUE("the last one is served", p.c != NULL);
	CHECK_EQ("one connection", tcp_n_conns(p.e.tcp), 1);
	peer_fini(&p);

	/* SYN of a peer that lost its memory: challenge, its RST, its SYN again */
	peer_in(&p, PEER_ESTABLISHED);
	SAY(&p, .flags = TCP_SYN, .seq = 100000, .keep = true);
	CHECK_EQ("challenge", peer_hear(&p)->h.flags, TCP_ACK);
	SAY(&p, .flags = TCP_RST, .keep = true);
	CHECK_TRUE("reset told", (p.events & TCP_EV_RESET) != 0);
	tcp_release(p.c);
	p.c = NULL;
	p.iss += 100000;
	peer_say_syn(&p, TCP_SYN);
	CHECK_EQ("served", peer_hear(&p)->h.flags, TCP_SYN | TCP_ACK);
	peer_fini(&p);

	/* TIME-WAIT: an old SYN gets an ACK, a new one is served (RFC 6191) */
	peer_in(&p, PEER_TIME_WAIT);
	SAY(&p, .flags = TCP_SYN, .seq = -100000, .tsval = -50, .keep = true);
	CHECK_EQ("old", peer_hear(&p)->h.flags, TCP_ACK);
	SAY(&p, .flags = TCP_SYN, .seq = -100000, .tsval = 50, .keep = true);
	CHECK_EQ("a later timestamp is new, whatever the number", peer_hear(&p)->h.flags, TCP_SYN | TCP_ACK);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_time_wait_reuse), 1);
	peer_fini(&p);
}

/* --- 14 --- */

static void
test_pitfall_14_rst_only_at_rcv_nxt(void **state)
{
	struct peer p;

	(void)state;
	peer_in(&p, PEER_ESTABLISHED);
	SAY(&p, .flags = TCP_RST, .bad_checksum = true);
	CHECK_EQ("a bad checksum is nothing", peer_state(&p), PEER_ESTABLISHED);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_drop_checksum), 1);
	peer_expect_silence(&p, "bad checksum");
	SAY(&p, .flags = TCP_RST, .seq = 5, .keep = true);
	CHECK_EQ("challenge", peer_hear(&p)->h.flags, TCP_ACK);
	CHECK_EQ("lives", peer_state(&p), PEER_ESTABLISHED);
	SAY(&p, .flags = TCP_RST, .seq = -1, .keep = true);
	peer_expect_silence(&p, "old RST");
	/* PAWS does not shield from an RST that is right */
	SAY(&p, .flags = TCP_RST | TCP_ACK, .tsval = -100000, .keep = true);
	CHECK_TRUE("reset", (p.events & TCP_EV_RESET) != 0);
	peer_expect_silence(&p, "never an RST for an RST");
	peer_fini(&p);

	/* RST to nobody */
	peer_in(&p, PEER_CLOSED);
	SAY(&p, .flags = TCP_RST | TCP_ACK);
	peer_expect_silence(&p, "never an RST for an RST");
	peer_fini(&p);

	/* SYN-SENT: refused at once */
	peer_in(&p, PEER_SYN_SENT);
	SAY(&p, .flags = TCP_RST | TCP_ACK, .ack = 1);
	CHECK_EQ("wrong ACK: nothing", peer_state(&p), PEER_SYN_SENT);
	SAY(&p, .flags = TCP_RST | TCP_ACK);
	CHECK_TRUE("told", (p.events & TCP_EV_REFUSED) != 0);
	peer_expect_silence(&p, "refused");
	peer_fini(&p);
}

/* --- 15, 16 --- */

static void
test_pitfall_15_acks_of_data_are_never_limited_challenges_are(void **state)
{
	struct peer p;
	uint32_t n;

	(void)state;
	peer_in(&p, PEER_ESTABLISHED);
	for (uint32_t i = 0; i < 100; i++) {
		SAY(&p, .text = "x", .seq = -1, .keep = true);
		CHECK_TRUE("data known already is acknowledged each time", peer_hear(&p)->any);
	}
	SAY(&p, .text = "xy");
	peer_wait(&p, 50000);
	peer_hear_all(&p, NULL);
	SAY(&p, .text = "yz", .seq = -1);
	CHECK_EQ("known in part: at once, for the peer has missed an ACK", peer_hear(&p)->ack, 4);
	n = 0;
	for (uint32_t i = 0; i < 100; i++) {
		SAY(&p, .flags = TCP_RST, .seq = 10, .keep = true);
		n += peer_hear(&p)->any;
	}
	CHECK_EQ("challenges are limited", n, 1);
	peer_wait(&p, 600000);
	SAY(&p, .flags = TCP_RST, .seq = 10, .keep = true);
	CHECK_TRUE("not for ever", peer_hear(&p)->any);
	peer_fini(&p);
}

static void
test_pitfall_16_impossible_sources_and_no_endless_acks(void **state)
{
	static const struct {
		const char *label;
		struct ip_addr from;
	} rows[] = {
		{ "unspecified", { .octet = { [10] = 0xff, 0xff } } },
		{ "broadcast", { .octet = { [10] = 0xff, 0xff, 255, 255, 255, 255 } } },
		{ "multicast", { .octet = { [10] = 0xff, 0xff, 224, 0, 0, 1 } } },
		{ "loopback", { .octet = { [10] = 0xff, 0xff, 127, 0, 0, 1 } } },
		{ "our own", { .octet = { [10] = 0xff, 0xff, 198, 18, 0, 2 } } },
	};
	struct peer p;
	uint32_t n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		peer_init(&p, &usual, NULL);
		p.flow.local = rows[i].from;
		peer_say_syn(&p, TCP_SYN);
		peer_expect_silence(&p, rows[i].label);
		CHECK_EQ(rows[i].label, tcp_end_count(&p.e, CTR_tcp_drop_address), 1);
		peer_fini(&p);
	}
	peer_init(&p, &(struct peer_options){ .mss = 1460, .v6 = true }, NULL);
	p.flow.local = (struct ip_addr){ .octet = { 0 } };
	peer_say_syn(&p, TCP_SYN);
	peer_expect_silence(&p, "unspecified v6");
	p.flow.local = (struct ip_addr){ .octet = { 0xff, 2, [15] = 1 } };
	peer_say_syn(&p, TCP_SYN);
	peer_expect_silence(&p, "multicast v6");
	peer_fini(&p);
	peer_init(&p, &usual, NULL);
	p.flow.local_port = 0;
	peer_say_syn(&p, TCP_SYN);
	peer_expect_silence(&p, "port 0");
	peer_fini(&p);

	/* two ends out of step: pure ACKs from out of the window are answered twice a second at most */
	peer_in(&p, PEER_ESTABLISHED);
	for (uint32_t i = 0; i < 1000; i++) {
		SAY(&p, .seq = 10000000, .ack = 0, .keep = true);
		n += peer_hear(&p)->any;
		SAY(&p, .ack = 5000000, .keep = true);
		n += peer_hear(&p)->any;
	}
	CHECK_TRUE("no storm", n <= 1);
	peer_fini(&p);
}

/* Both ends time out at once: an ACK that began at the SND.NXT that moved back would lie before the other's window, and so would
 * the other's: neither would ever be taken. */
static void
test_pitfall_16_an_ack_stands_where_the_peer_expects_us(void **state)
{
	struct peer p;
	const struct heard *h;

	(void)state;
	established(&p, &bare, NULL);
	SAY(&p, .len = 100);
	peer_write(&p, 5840);
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1;
	h = peer_hear_next(&p, EVER);
	CHECK_EQ("timed out", h->seq, 1);
	CHECK_TRUE("SND.NXT is back", p.c->snd_nxt != p.c->snd_max);
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1;
	SAY(&p, .len = 100, .seq = -100, .keep = true);
	h = peer_hear(&p);
	CHECK_EQ("no text", h->len, 0);
	CHECK_EQ("after all that was sent", h->seq, 5841);
	peer_fini(&p);

	/* but the octet of a window probe was not taken */
	established(&p, &bare, NULL);
	SAY(&p, .zero_wnd = true);
	peer_write(&p, 100);
	CHECK_EQ("probe", peer_hear_next(&p, EVER)->len, 1);
	p.rcv_nxt = p.irs + 1;
	SAY(&p, .len = 100, .zero_wnd = true);
	peer_wait(&p, 50000);
	h = peer_hear(&p);
	CHECK_EQ("before the probe", h->seq, 1);
	peer_fini(&p);
}

/* --- 17 --- */

static void
give_raw(struct peer *p, const uint8_t *octets, uint32_t len)
{
	static struct wire_seg w;

	w.flow = p->flow;
	memcpy(w.octets, octets, len);
	w.len_octets = len;
	if (len >= 20)
		wire_seg_checksum(&w);
	tcp_end_input(&p->e, &w, false);
	peer_events(p);
}

static void
test_pitfall_17_options_of_every_broken_kind(void **state)
{
	static const struct {
		const char *label;
		uint8_t option[12];
		uint16_t mss; /* the peer's as understood */
		uint32_t broken;
	} rows[] = {
		{ "length 0", { 2, 0, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1 }, 536, 1 },
		{ "length 1", { 2, 1, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1 }, 536, 1 },
		{ "beyond the header", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4 }, 536, 1 },
		{ "kind without a length", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2 }, 536, 1 },
		{ "unknown", { 77, 6, 1, 2, 3, 4, 2, 4, 5, 0x78, 1, 1 }, 1400, 0 },
		{ "twice", { 2, 4, 5, 0x78, 2, 4, 2, 0x18, 1, 1, 1, 1 }, 1400, 0 },
		{ "after the end", { 0, 2, 4, 5, 0x78, 1, 1, 1, 1, 1, 1, 1 }, 536, 0 },
		{ "before the break", { 2, 4, 5, 0x78, 8, 0, 1, 1, 1, 1, 1, 1 }, 1400, 1 },
		{ "MSS of a wrong length", { 2, 3, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 536, 0 },
		{ "MSS of 1", { 2, 4, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 64, 0 },
		{ "none", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 536, 0 },
	};
	struct peer p;
	uint8_t seg[40];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		peer_init(&p, &bare, NULL);
		memset(seg, 0, sizeof(seg));
		put_u16(seg, p.flow.local_port);
		put_u16(seg + 2, p.flow.remote_port);
		put_u32(seg + 4, p.iss);
		seg[12] = 8 << 4;
		seg[13] = TCP_SYN;
		put_u16(seg + 14, 2000);
		memcpy(seg + 20, rows[i].option, 12);
		give_raw(&p, seg, 32);
		CHECK_EQ(rows[i].label, peer_hear(&p)->h.flags, TCP_SYN | TCP_ACK);
		p.snd_nxt = p.iss + 1;
		SAY(&p, .ack = 0);
		CHECK_TRUE(rows[i].label, p.c != NULL);
		CHECK_EQ(rows[i].label, p.c->mss, rows[i].mss);
		CHECK_EQ(rows[i].label, tcp_end_count(&p.e, CTR_tcp_bad_option), rows[i].broken);
		peer_fini(&p);
	}
	/* data offsets below 5 or beyond the segment, segments of every length */
	peer_in(&p, PEER_ESTABLISHED);
	for (uint32_t len = 0; len <= 40; len++) {
		for (uint32_t offset = 0; offset < 16; offset++) {
			memset(seg, 0, sizeof(seg));
			seg[12] = (uint8_t)(offset << 4);
			seg[13] = TCP_RST | TCP_ACK;
			put_u32(seg + 4, p.snd_nxt);
			if (offset >= 5 && offset * 4 <= len)
				continue;
			give_raw(&p, seg, len);
			CHECK_EQ("dropped", peer_state(&p), PEER_ESTABLISHED);
		}
	}
	CHECK_TRUE("counted", tcp_end_count(&p.e, CTR_tcp_drop_header) > 100);
	peer_fini(&p);
	/* no MSS option: the default of the family */
	peer_init(&p, &(struct peer_options){ .mss = 0, .no_ts = true, .v6 = true }, NULL);
	peer_reach(&p, PEER_ESTABLISHED);
	CHECK_EQ("1220 for IPv6", p.c->mss, 1220);
	peer_fini(&p);
}

/* --- 18 --- */

static void
test_pitfall_18_timestamps(void **state)
{
	struct peer p;
	uint32_t echo;

	(void)state;
	/* not sent unless negotiated */
	established(&p, &bare, NULL);
	peer_write(&p, 10);
	CHECK_TRUE("none", !peer_hear(&p)->h.has_ts);
	peer_fini(&p);

	/* TSval 0 is a value as any other; TSecr moves on */
	established(&p, &usual, NULL);
	SAY(&p, .len = 10);
	peer_wait(&p, 50000);
	echo = peer_hear(&p)->h.tsecr;
	SAY(&p, .len = 10);
	peer_wait(&p, 50000);
	CHECK_EQ("the echo moves on", peer_hear(&p)->h.tsecr - echo, 50);
	/* of a segment beyond a gap the time is not echoed: the gap's is what the round trip is measured by (RFC 7323 section 4.3) */
	peer_wait(&p, 50000);
	SAY(&p, .len = 10, .seq = 10, .keep = true);
	CHECK_EQ("not of what lies beyond a gap", peer_hear(&p)->h.tsecr - echo, 50);
	SAY(&p, .len = 10);
	CHECK_EQ("but of what fills it", peer_hear(&p)->h.tsecr - echo, 150);
	p.snd_nxt += 10;
	/* PAWS drops old duplicates and says so */
	SAY(&p, .len = 10, .tsval = -100000, .keep = true);
	CHECK_EQ("not taken", tcp_readable_octets(p.c), 40);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_drop_paws), 1);
	CHECK_TRUE("answered", peer_hear(&p)->any);
	/* a segment without the option is no segment of this connection */
	SAY(&p, .len = 10, .no_ts = true, .keep = true);
	CHECK_EQ("not taken", tcp_readable_octets(p.c), 40);
	peer_expect_silence(&p, "dropped");
	SAY(&p, .flags = TCP_RST, .no_ts = true, .keep = true);
	CHECK_TRUE("but an RST may come without", (p.events & TCP_EV_RESET) != 0);
	peer_fini(&p);

	/* after 24 days of silence an old clock is a restarted one (RFC 7323 section 5.5) */
	established(&p, &usual, NULL);
	peer_wait(&p, UINT64_C(25) * 86400 * 1000000);
	SAY(&p, .len = 10, .tsval = -(INT64_C(25) * 86400000) - 1000);
	CHECK_EQ("taken", tcp_readable_octets(p.c), 10);
	peer_fini(&p);
}

static void
test_pitfall_18_tsval_zero_is_legal(void **state)
{
	struct peer p;
	struct tcp_hdr h;
	static struct wire_seg w;

	(void)state;
	peer_init(&p, &usual, NULL);
	h = (struct tcp_hdr){ .seq = 5, .flags = TCP_SYN, .wnd = 1000, .mss = 1460, .wscale = 7, .has_ts = true };
	wire_seg_build(&w, &p.flow, &h);
	tcp_end_input(&p.e, &w, false);
	CHECK_TRUE("negotiated", peer_hear(&p)->h.has_ts);
	h = (struct tcp_hdr){ .seq = 6,
		.ack = p.rcv_nxt,
		.flags = TCP_ACK,
		.wnd = 1000,
		.wscale = TCP_WSCALE_NONE,
		.has_ts = true,
		.tsecr = p.tsecr };
	wire_seg_build(&w, &p.flow, &h);
	tcp_end_input(&p.e, &w, false);
	peer_events(&p);
	CHECK_TRUE("accepted", p.c != NULL && p.c->ts_ok);
	h.flags |= TCP_PSH;
	h.payload = (const uint8_t *)"abc";
	h.payload_octets = 3;
	h.tsval = 1;
	wire_seg_build(&w, &p.flow, &h);
	tcp_end_input(&p.e, &w, false);
	CHECK_EQ("taken", tcp_readable_octets(p.c), 3);
	peer_fini(&p);
}

/* --- 20 --- */

static void
test_pitfall_20_too_big_is_believed_only_in_flight(void **state)
{
	struct peer p;
	struct net_icmp_error e;
	const struct heard *h;

	(void)state;
	for (uint32_t v6 = 0; v6 < 2; v6++) {
		established(&p, &(struct peer_options){ .mss = 1460, .no_ts = true, .v6 = v6 }, NULL);
		e = (struct net_icmp_error){
			.flow = flow_reverse(&p.flow), .quoted_seq = p.c->snd_una, .kind = NET_ICMP_TOO_BIG, .mtu = 1400
		};
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("nothing in flight, nothing believed", p.c->mss, v6 ? 1440 : 1460);
		peer_write(&p, 5000);
		peer_hear_all(&p, NULL);
		e.quoted_seq = p.c->snd_max;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		e.quoted_seq = p.c->snd_una - 1;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("not in flight", p.c->mss, v6 ? 1440 : 1460);
		e.quoted_seq = p.c->snd_una;
		e.mtu = v6 ? 1279 : 551;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("below the floor", p.c->mss, v6 ? 1440 : 1460);
		e.mtu = 1600;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("larger than what we have", p.c->mss, v6 ? 1440 : 1460);
		CHECK_EQ("each counted", tcp_end_count(&p.e, CTR_tcp_icmp_ignored), 5);
		peer_expect_silence(&p, "ignored");
		e.mtu = 1400;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("believed", p.c->mss, v6 ? 1340 : 1360);
		p.rcv_nxt = p.irs + 1;
		h = peer_hear(&p);
		CHECK_EQ("sent again at once", h->seq, 1);
		CHECK_EQ("in the new size", h->len, v6 ? 1340 : 1360);
		CHECK_EQ("and the rest", drain(&p), 5000 - p.c->mss);
		peer_fini(&p);
	}
	/* hard errors end a connect, not a connection */
	peer_in(&p, PEER_SYN_SENT);
	e = (struct net_icmp_error){
		.flow = flow_reverse(&p.flow), .quoted_seq = p.c->iss, .kind = NET_ICMP_UNREACH_HARD
	};
	tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
	peer_events(&p);
	CHECK_TRUE("refused", (p.events & TCP_EV_REFUSED) != 0);
	peer_fini(&p);
	established(&p, &usual, NULL);
	peer_write(&p, 100);
	peer_hear_all(&p, NULL);
	e = (struct net_icmp_error){
		.flow = flow_reverse(&p.flow), .quoted_seq = p.c->snd_una, .kind = NET_ICMP_UNREACH_HARD
	};
	tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
	CHECK_EQ("lives", peer_state(&p), PEER_ESTABLISHED);
	peer_fini(&p);
}

/* --- 21 --- */

static void
test_pitfall_21_source_ports(void **state)
{
	static struct flow_steering steering;
	static uint8_t used[65536];
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e;
	struct tcp_conn *c;
	uint8_t key[FLOW_KEY_OCTETS];
	uint32_t in_order = 0, last = 0, n, owned = 0;
	struct flow all = pair_flow_v4;
	int err;

	(void)state;
	for (uint32_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(i * 37 + 11);
	flow_steering_init(&steering, key, 4);
	for (uint32_t port = 16384; port < 65536; port++) {
		all.local_port = (uint16_t)port;
		owned += flow_owner(&steering, &all) == 2;
	}
	conf.conns_max = 60000;
	conf.steering = &steering;
	conf.worker = 2;
	tcp_end_init(&e, &conf, 8, 1000000);
	for (n = 0; n < 60000; n++) {
		const struct flow *f;

		c = tcp_connect(e.tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, e.now_us, &err);
		if (c == NULL)
			break;
		f = tcp_conn_flow(c);
		CHECK_EQ("ours", flow_owner(&steering, f), 2);
		CHECK_EQ("free", used[f->local_port], 0);
		used[f->local_port] = 1;
		if (n < 1000)
			in_order += f->local_port > last && f->local_port - last < 64;
		last = f->local_port;
	}
	CHECK_EQ("a pool nearly empty is no crash but an error", err, -EADDRNOTAVAIL);
	CHECK_TRUE("a quarter of all ports, nearly", n > 49152 / 4 * 9 / 10);
	CHECK_TRUE("given up before all was searched: at most so many tries a connect", n < owned);
	CHECK_TRUE("not one after another", in_order < 20);
	CHECK_EQ("counted", tcp_end_count(&e, CTR_tcp_port_none), 1);
	tcp_end_fini(&e);
}

static void
test_pitfall_21_not_again_within_the_peers_time_wait(void **state)
{
	struct tcp_conf conf = tcp_end_conf();

	(void)state;
	conf.time_wait_max = 1000;
	for (uint32_t ts = 0; ts < 2; ts++) {
		struct peer p;
		struct flow f;
		uint64_t hash;
		struct tcp_tw_record *r;

		peer_init(&p, ts ? &usual : &bare, &conf);
		peer_reach(&p, PEER_SYN_SENT);
		peer_say_syn(&p, TCP_SYN | TCP_ACK);
		CHECK_TRUE("connected", (p.events & TCP_EV_CONNECTED) != 0);
		peer_hear_all(&p, NULL);
		SAY(&p, .flags = TCP_FIN | TCP_ACK);
		peer_hear_all(&p, NULL);
		tcp_close(p.c);
		peer_hear_all(&p, NULL);
		SAY(&p, .ack = 0);
		CHECK_TRUE("closed", (p.events & TCP_EV_CLOSED) != 0);
		f = flow_reverse(&p.flow);
		hash = tcp_flow_hash(p.e.tcp, &f);
		r = tcp_time_wait_find(&p.e.tcp->time_wait, &f, hash);
		CHECK_TRUE("the tuple rests", r != NULL && r->peer_holds && r->ts_ok == (ts != 0));
		/* a segment for it is nobody's */
		SAY(&p, .ack = 0);
		CHECK_TRUE("RST", (peer_hear(&p)->h.flags & TCP_RST) != 0);
		peer_fini(&p);
	}
}

static void
test_pitfall_21_ports_rest(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e;
	struct tcp_conn fake = { .flow = pair_flow_v4 }, *c;
	int err = 0;

	(void)state;
	conf.time_wait_max = 50000;
	for (uint32_t ts = 0; ts < 2; ts++) {
		tcp_end_init(&e, &conf, 8, 1000000);
		fake.ts_ok = ts;
		for (uint32_t port = 16384; port < 65536; port++) {
			fake.flow.local_port = (uint16_t)port;
			fake.hash = tcp_flow_hash(e.tcp, &fake.flow);
			tcp_time_wait_add(e.tcp, &fake, true);
		}
		c = tcp_connect(e.tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, e.now_us, &err);
		CHECK_TRUE("all ports rest", c == NULL && err == -EADDRNOTAVAIL);
		e.now_us += 2000000;
		c = tcp_connect(e.tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, e.now_us, &err);
		CHECK_EQ("a later timestamp makes a new connection (RFC 6191), without timestamps a minute must pass",
			c != NULL, ts);
		if (c != NULL)
			tcp_release(c);
		tcp_end_fini(&e);
	}
}

/* --- 23, 24 --- */

static void
test_pitfall_23_a_turn_sends_all_it_may(void **state)
{
	struct peer p;
	struct tcp_seg_out out[64];

	(void)state;
	established(&p, &bare, NULL);
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
	established(&p, &usual, &conf);
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
		cmocka_unit_test(test_pitfall_12_third_acks_in_all_their_forms),
		cmocka_unit_test(test_pitfall_12_syn_acks_are_repeated_and_forgotten),
		cmocka_unit_test(test_pitfall_12_a_repeated_syn_gets_the_same_number_in_the_next_slot),
		cmocka_unit_test(test_pitfall_12_no_block_is_no_reset),
		cmocka_unit_test(test_pitfall_12_cookies_expire_and_are_bound_to_the_tuple),
		cmocka_unit_test(test_pitfall_13_syns_where_they_do_not_belong),
		cmocka_unit_test(test_pitfall_14_rst_only_at_rcv_nxt),
		cmocka_unit_test(test_pitfall_15_acks_of_data_are_never_limited_challenges_are),
		cmocka_unit_test(test_pitfall_16_impossible_sources_and_no_endless_acks),
		cmocka_unit_test(test_pitfall_16_an_ack_stands_where_the_peer_expects_us),
		cmocka_unit_test(test_pitfall_17_options_of_every_broken_kind),
		cmocka_unit_test(test_pitfall_18_timestamps),
		cmocka_unit_test(test_pitfall_18_tsval_zero_is_legal),
		cmocka_unit_test(test_pitfall_20_too_big_is_believed_only_in_flight),
		cmocka_unit_test(test_pitfall_21_source_ports),
		cmocka_unit_test(test_pitfall_21_not_again_within_the_peers_time_wait),
		cmocka_unit_test(test_pitfall_21_ports_rest),
		cmocka_unit_test(test_pitfall_23_a_turn_sends_all_it_may),
		cmocka_unit_test(test_pitfall_24_shortage_sheds_and_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
