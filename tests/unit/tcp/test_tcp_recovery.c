/*
 * test_tcp_recovery.c - what is lost twice, and the end of a flight: losses that would cost a time-out.
 */
#include "tests/check.h"
#include "tests/helpers/tcp_peer.h"

#define MSS  1448
#define EVER UINT64_C(100000000000)

static const struct peer_options usual = { .mss = 1460 };

/* A peer in the middle of a recovery: the first of ten segments is lost, was sent again, and four new ones are on their way. */
static void
peer_in_recovery(struct peer *p)
{
	peer_establish(p, &usual, NULL);
	peer_write(p, 40 * MSS);
	peer_hear_all(p, NULL);
	CHECK_EQ("in flight", p->rcv_nxt - p->irs - 1, 10 * MSS);
	p->rcv_nxt = p->irs + 1;
	SAY(p, .ack = 0, .n_sack = 1, .sack = { MSS + 1, 4 * MSS + 1 });
	CHECK_EQ("the hole again", peer_hear(p)->seq, 1);
	peer_hear_all(p, NULL);
	p->rcv_nxt = p->irs + 1;
	SAY(p, .ack = 0, .n_sack = 1, .sack = { MSS + 1, 10 * MSS + 1 });
	peer_hear_all(p, NULL);
	p->rcv_nxt = p->irs + 1;
	CHECK_EQ("half of the window, and the hole in it", p->c->snd_max - p->c->snd_una, (10 + 4) * MSS);
	CHECK_EQ("recoveries", tcp_end_count(&p->e, CTR_tcp_fast_retransmit), 1);
}

static void
test_what_was_sent_again_and_lost_is_sent_once_more(void **state)
{
	struct peer p;
	uint32_t ssthresh;
	const struct heard *h;

	(void)state;
	peer_in_recovery(&p);
	ssthresh = p.c->ssthresh;
	SAY(&p, .ack = 0, .n_sack = 1, .sack = { MSS + 1, 12 * MSS + 1 });
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1;
	CHECK_EQ("two segments sent later have arrived: order may be to blame", tcp_end_count(&p.e, CTR_tcp_retransmit),
		1);
	SAY(&p, .ack = 0, .n_sack = 1, .sack = { MSS + 1, 13 * MSS + 1 });
	h = peer_hear(&p);
	CHECK_EQ("three: the hole once more", h->seq, 1);
	CHECK_EQ("no more than the hole", h->len, MSS);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_retransmit_lost), 1);
	CHECK_EQ("a second indication of congestion (RFC 5681 section 4.3)", p.c->ssthresh, MAX(ssthresh / 2, 2 * MSS));
	CHECK_EQ("no more at a time", p.c->cwnd, p.c->ssthresh);
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1;
	SAY(&p, .ack = 0, .n_sack = 1, .sack = { MSS + 1, 14 * MSS + 1 });
	peer_hear_all(&p, NULL);
	CHECK_EQ("not again for octets that were under way before", tcp_end_count(&p.e, CTR_tcp_retransmit_lost), 1);
	p.rcv_nxt = p.c->snd_max;
	SAY(&p, .ack = 0);
	CHECK_TRUE("over", !p.c->in_recovery);
	peer_drain(&p);
	CHECK_EQ("no time-out", tcp_end_count(&p.e, CTR_tcp_rto), 0);
	peer_fini(&p);
}

/* The hole is filled and another one, not told of before, remains: what was not sent again cannot have been lost twice. */
static void
test_a_hole_that_was_not_sent_again_is_no_second_loss(void **state)
{
	struct peer p;

	(void)state;
	peer_establish(&p, &usual, NULL);
	peer_write(&p, 40 * MSS);
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1;
	SAY(&p, .ack = 0, .n_sack = 2, .sack = { MSS + 1, 8 * MSS + 1, 9 * MSS + 1, 10 * MSS + 1 });
	CHECK_EQ("the first hole", peer_hear(&p)->seq, 1);
	peer_hear_all(&p, NULL);
	CHECK_EQ("new ones before the hole that is none yet", p.c->snd_max - p.c->snd_una, 13 * MSS);
	CHECK_EQ("which has not been sent again", tcp_end_count(&p.e, CTR_tcp_retransmit), 1);
	/* two ACKs in a burst, before anything is sent */
	p.rcv_nxt = p.irs + 1 + 8 * MSS;
	SAY(&p, .ack = 0, .n_sack = 1, .sack = { 9 * MSS + 1, 11 * MSS + 1 });
	SAY(&p, .ack = 0, .n_sack = 1, .sack = { 9 * MSS + 1, 13 * MSS + 1 });
	CHECK_EQ("the other hole", peer_hear(&p)->seq, 8 * MSS + 1);
	peer_hear_all(&p, NULL);
	CHECK_EQ("each hole once", tcp_end_count(&p.e, CTR_tcp_retransmit), 2);
	CHECK_EQ("no second loss", tcp_end_count(&p.e, CTR_tcp_retransmit_lost), 0);
	p.rcv_nxt = p.c->snd_max;
	SAY(&p, .ack = 0);
	peer_drain(&p);
	peer_fini(&p);
}

/*
 * A flight whose ACKs are all lost, on a path so long that its first segment alone would have the time-out: the probe comes before it. Once the
 * first segment's timer was kept for all of the flight.
 */
static void
test_the_probe_replaces_the_time_out_of_a_first_segment(void **state)
{
	struct peer p;
	const struct heard *h;
	uint64_t start_us;

	(void)state;
	peer_establish(&p, &usual, NULL);
	for (uint32_t i = 0; i < 20; i++) { /* a round trip of 60 ms */
		peer_write(&p, 2 * MSS);
		peer_hear_all(&p, NULL);
		peer_wait(&p, 60000);
		SAY(&p, .ack = 0);
	}
	peer_write(&p, MSS);
	peer_hear_all(&p, NULL);
	CHECK_EQ("one segment: its ACK may be delayed", p.c->timer_kind, TCP_TIMER_RTO);
	start_us = p.e.now_us;
	peer_write(&p, 4 * MSS);
	peer_hear_all(&p, NULL);
	h = peer_hear_next(&p, EVER);
	CHECK_TRUE("the last segment again", h->any && h->seq + h->len == p.c->snd_max - p.c->iss);
	CHECK_TRUE("after two round trips", p.e.now_us - start_us <= 130000);
	CHECK_EQ("a probe", tcp_end_count(&p.e, CTR_tcp_tail_probe), 1);
	CHECK_EQ("no time-out", tcp_end_count(&p.e, CTR_tcp_rto), 0);
	peer_fini(&p);
}

/* One small segment after the other: the time-out counts from the first of them (RFC 6298 section 5.1), however many follow. */
static void
test_small_segments_do_not_put_the_time_out_off(void **state)
{
	struct peer p;
	uint64_t start_us;

	(void)state;
	peer_establish(&p, &usual, NULL);
	for (uint32_t i = 0; i < 20; i++) {
		peer_write(&p, 2 * MSS);
		peer_hear_all(&p, NULL);
		peer_wait(&p, 60000);
		SAY(&p, .ack = 0);
	}
	start_us = p.e.now_us;
	for (uint32_t i = 0; i < 10; i++) {
		peer_write(&p, 10);
		peer_hear_all(&p, NULL);
		peer_wait(&p, 20000);
	}
	peer_hear_next(&p, EVER);
	CHECK_TRUE("within its time", p.e.now_us - start_us <= TCP_RTO_MIN_US + TCP_TICK_US);
	peer_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_sent_again_and_lost_is_sent_once_more),
		cmocka_unit_test(test_a_hole_that_was_not_sent_again_is_no_second_loss),
		cmocka_unit_test(test_the_probe_replaces_the_time_out_of_a_first_segment),
		cmocka_unit_test(test_small_segments_do_not_put_the_time_out_off),
	};

	return cmocka_run_group_tests_name("tcp_recovery", tests, NULL, NULL);
}
