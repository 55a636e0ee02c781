/*
 * test_tcp_marks.c - what the endpoint gives up as buffers and connection blocks run out, mark by mark (base/marks.def), and that it comes
 * back to what it was.
 */
#include "tests/helpers/tcp_peer.h"

#include "dataplane/base/bug.h"

#define BUFS 256
/* Free buffers at which each mark is reached and over; of 256 each 64th is four. */
#define AT(n64) ((n64)*BUFS / MARK_WHOLE)

static const struct peer_options usual = { .mss = 1460 };
static struct buf *hog[BUFS];
static uint32_t n_hog;

/* Leaves so many buffers free, and moves the clock on. */
static void
leave(struct peer *p, uint32_t n_free)
{
	uint8_t *data;

	while (buf_available(p->e.pool) > n_free) {
		hog[n_hog] = buf_alloc(p->e.pool, 100, &data);
		BUG_ON(hog[n_hog] == NULL);
		n_hog++;
	}
	while (buf_available(p->e.pool) < n_free) {
		BUG_ON(n_hog == 0);
		buf_unref(p->e.pool, hog[--n_hog]);
	}
	peer_wait(p, 1000);
	peer_hear_all(p, NULL);
}

static void
end(struct peer *p)
{
	while (n_hog > 0)
		buf_unref(p->e.pool, hog[--n_hog]);
	p->c = NULL;
	for (uint32_t i = 0; i < p->e.tcp->conf.conns_max; i++) {
		struct tcp_conn *c = &p->e.tcp->conns[i];

		if (c->tcp == NULL || c->state == TCP_STATE_CLOSED)
			continue;
		tcp_abort(c);
		tcp_release(c);
	}
	peer_hear_all(p, NULL);
	peer_fini(p);
}

static void
connect_from(struct peer *p, uint16_t port)
{
	p->snd_nxt = p->iss;
	p->c = NULL;
	p->flow.local_port = port;
	peer_reach(p, PEER_ESTABLISHED);
}

/* Marks are judged once a turn, when time has moved on. */
static bool
is_on(struct peer *p, enum mark m)
{
	tcp_clock(p->e.tcp, ++p->e.now_us);
	return marks_on(tcp_marks(p->e.tcp), m);
}

/* Reads all a client sends, and says how far its window goes beyond what was read. */
static uint32_t
window_after(struct peer *p, uint32_t octets)
{
	for (; octets > 0; octets -= 1000) {
		SAY(p, .len = 1000);
		tcp_consume(p->c, 1000);
		peer_wait(p, 50000);
		peer_hear_all(p, NULL);
	}
	return p->c->rcv_adv - p->c->rcv_nxt;
}

static void
test_below_an_eighth_windows_open_no_further(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	uint32_t before;

	(void)state;
	conf.rcv_wnd_max_octets = 32768;
	peer_init(&p, &usual, &conf);
	connect_from(&p, 50000);
	before = window_after(&p, 40000);
	leave(&p, AT(8));
	CHECK_TRUE("at the edge it is not reached", !is_on(&p, MARK_windows));
	CHECK_TRUE("windows are as before", window_after(&p, 40000) > before / 2);
	leave(&p, AT(8) - 1);
	CHECK_TRUE("reached", is_on(&p, MARK_windows));
	CHECK_TRUE("who is read has two segments", window_after(&p, 100000) <= 2 * 1460 + 32);
	CHECK_TRUE("counted", tcp_end_count(&p.e, CTR_tcp_rcv_pressure) > 0);
	SAY(&p, .len = 500, .seq = 1000, .keep = true);
	CHECK_EQ("nothing more out of order", p.c->n_ooo, 0);
	CHECK_EQ("counted, too", tcp_end_count(&p.e, CTR_tcp_ooo_shed), 1);
	leave(&p, AT(10) - 1);
	CHECK_TRUE("it stays until there is more", is_on(&p, MARK_windows));
	leave(&p, AT(10));
	CHECK_TRUE("over", !is_on(&p, MARK_windows));
	CHECK_TRUE("windows open again", window_after(&p, 40000) > before / 2);
	CHECK_EQ("reached once", tcp_end_count(&p.e, CTR_mark_windows), 1);
	end(&p);
}

/* Octets 1000 on of each stream, in segments of 500 behind a gap. */
static void
keep_out_of_order(struct peer *p, uint32_t segs)
{
	for (uint32_t i = 0; i < segs; i++)
		SAY(p, .len = 500, .seq = 1000 + 500 * (int64_t)i, .keep = true);
	peer_hear_all(p, NULL);
	CHECK_EQ("kept", p->c->n_ooo, segs);
}

static void
test_what_is_out_of_order_is_given_back(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_conn *first;
	struct peer p;
	uint32_t kept;

	(void)state;
	peer_init(&p, &usual, &conf);
	connect_from(&p, 50000);
	first = p.c;
	keep_out_of_order(&p, 12);
	connect_from(&p, 50001);
	keep_out_of_order(&p, 12);
	leave(&p, AT(6));
	CHECK_EQ("at the edge all of it stays", first->n_ooo + p.c->n_ooo, 24);
	leave(&p, AT(6) - 1);
	kept = first->n_ooo + p.c->n_ooo;
	CHECK_EQ("what one kept was enough", kept, 12);
	CHECK_EQ("counted by segments", tcp_end_count(&p.e, CTR_tcp_ooo_given_back), 12);
	CHECK_TRUE("over", !is_on(&p, MARK_out_of_order));
	CHECK_EQ("its buffers are back", buf_available(p.e.pool), AT(6) - 1 + 12);
	leave(&p, AT(6) - 1);
	CHECK_EQ("then the other's", first->n_ooo + p.c->n_ooo, 0);
	CHECK_EQ("reached twice", tcp_end_count(&p.e, CTR_mark_out_of_order), 2);
	leave(&p, BUFS / 2);
	/* their peers send it all again, and no octet is lost or doubled */
	SAY(&p, .len = 1000);
	CHECK_EQ("the gap alone", tcp_readable_octets(p.c), 1000);
	for (uint32_t i = 0; i < 12; i++)
		SAY(&p, .len = 500);
	CHECK_EQ("all of it", tcp_readable_octets(p.c), 7000);
	tcp_consume(p.c, 7000);
	end(&p);
}

/* A FIN behind what was given back counts when it is in order again. */
static void
test_a_fin_behind_what_was_given_back_is_not_lost(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;

	(void)state;
	peer_init(&p, &usual, &conf);
	connect_from(&p, 50000);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 500, .seq = 500, .keep = true);
	leave(&p, AT(6) - 1);
	CHECK_EQ("given back", p.c->n_ooo, 0);
	leave(&p, BUFS / 2);
	SAY(&p, .len = 500);
	CHECK_TRUE("not at its end", (peer_events(&p) & TCP_EV_EOF) == 0);
	SAY(&p, .flags = TCP_FIN | TCP_ACK, .len = 500);
	tcp_consume(p.c, 1000);
	CHECK_TRUE("at its end", (peer_events(&p) & TCP_EV_EOF) != 0);
	end(&p);
}

static void
check_cookies_only(struct peer *p, enum mark m)
{
	const uint64_t before = tcp_end_count(&p->e, CTR_tcp_cookies_only);
	const uint32_t n = p->e.tcp->listen.n;

	p->c = NULL;
	p->snd_nxt = p->iss;
	p->flow.local_port = 40000;
	CHECK_TRUE("reached", is_on(p, m));
	peer_say_syn(p, TCP_SYN);
	CHECK_EQ("answered", peer_hear(p)->h.flags, TCP_SYN | TCP_ACK);
	CHECK_EQ("not remembered", p->e.tcp->listen.n, n);
	CHECK_EQ("counted", tcp_end_count(&p->e, CTR_tcp_cookies_only), before + 1);
	peer_wait(p, 1500000);
	peer_expect_silence(p, "and not repeated");
	p->snd_nxt = p->iss;
	peer_reach(p, PEER_ESTABLISHED);
	CHECK_EQ("but it holds", tcp_end_count(&p->e, CTR_tcp_cookie_good), 1);
}

static void
test_short_of_buffers_syns_get_cookies_only(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	uint32_t n = 0;

	(void)state;
	peer_init(&p, &usual, &conf);
	connect_from(&p, 50000);
	leave(&p, AT(5));
	p.c = NULL;
	p.snd_nxt = p.iss;
	p.flow.local_port = 41000;
	peer_say_syn(&p, TCP_SYN);
	CHECK_EQ("at the edge it is remembered", p.e.tcp->listen.n, 1);
	leave(&p, AT(5) - 1);
	peer_wait(&p, 1500000);
	peer_hear_all(&p, &n);
	CHECK_EQ("what was remembered is not repeated", n, 0);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_syn_ack_withheld), 1);
	check_cookies_only(&p, MARK_cookies);
	leave(&p, AT(7) - 1);
	CHECK_TRUE("it stays until there is more", is_on(&p, MARK_cookies));
	leave(&p, AT(7));
	CHECK_TRUE("over", !is_on(&p, MARK_cookies));
	p.c = NULL;
	p.snd_nxt = p.iss;
	p.flow.local_port = 42000;
	n = p.e.tcp->listen.n;
	peer_say_syn(&p, TCP_SYN);
	CHECK_EQ("remembered again", p.e.tcp->listen.n, n + 1);
	CHECK_EQ("reached once", tcp_end_count(&p.e, CTR_mark_cookies), 1);
	end(&p);
}

static void
test_short_of_connections_syns_get_cookies_only(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;

	(void)state;
	conf.conns_max = 64;
	peer_init(&p, &usual, &conf);
	for (uint32_t i = 0; i < 60; i++)
		connect_from(&p, (uint16_t)(50000 + i));
	peer_wait(&p, 1000);
	peer_expect_silence(&p, "four are free");
	CHECK_TRUE("at the edge it is not reached", !is_on(&p, MARK_connections));
	connect_from(&p, 50060);
	peer_wait(&p, 1000);
	peer_expect_silence(&p, "three are free");
	check_cookies_only(&p, MARK_connections);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_mark_connections), 1);
	end(&p);
}

/* With three buffers left: data out of order and data in order; no buffer is kept, and who is read goes on. */
static void
test_at_the_bottom_who_is_read_goes_on(void **state)
{
	const uint32_t of_buffers = UINT32_C(1) << MARK_windows | UINT32_C(1) << MARK_out_of_order |
	                            UINT32_C(1) << MARK_cookies | UINT32_C(1) << MARK_strangers;
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;

	(void)state;
	peer_init(&p, &usual, &conf);
	connect_from(&p, 50000);
	leave(&p, 3);
	CHECK_TRUE("the first of them", is_on(&p, MARK_windows));
	CHECK_EQ("all marks of buffers", tcp_marks(p.e.tcp), of_buffers);
	for (uint32_t i = 0; i < 100; i++) {
		SAY(&p, .len = 1000, .seq = 2000, .keep = true);
		SAY(&p, .len = 1000);
		CHECK_EQ("taken", tcp_readable_octets(p.c), 1000);
		tcp_consume(p.c, 1000);
		peer_wait(&p, 50000);
		peer_hear_all(&p, NULL);
		CHECK_EQ("nothing is held", buf_available(p.e.pool), 3);
	}
	leave(&p, BUFS / 2);
	CHECK_TRUE("over", !is_on(&p, MARK_windows));
	CHECK_EQ("none is left", tcp_marks(p.e.tcp), 0);
	end(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_below_an_eighth_windows_open_no_further),
		cmocka_unit_test(test_what_is_out_of_order_is_given_back),
		cmocka_unit_test(test_a_fin_behind_what_was_given_back_is_not_lost),
		cmocka_unit_test(test_short_of_buffers_syns_get_cookies_only),
		cmocka_unit_test(test_short_of_connections_syns_get_cookies_only),
		cmocka_unit_test(test_at_the_bottom_who_is_read_goes_on),
	};

	return cmocka_run_group_tests_name("tcp_marks", tests, NULL, NULL);
}
