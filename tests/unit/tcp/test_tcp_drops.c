/*
 * test_tcp_drops.c - caps of the TCP endpoint that no segment script reaches: what is refused at each is counted under its name.
 */
#include <errno.h>

#include "tests/check.h"
#include "tests/helpers/tcp_pair.h"
#include "tests/helpers/tcp_peer.h"

#define OTHERS_MAX 17

static const struct peer_options usual = { .mss = 1460, .n_bufs = 1024 };

static void
test_connect_without_a_block_is_counted(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_conn *c;
	struct tcp_end e;
	int err = 0;

	(void)state;
	conf.conns_max = 1;
	tcp_end_init(&e, &conf, 8, 1000000);
	c = tcp_connect(e.tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, e.now_us, &err);
	CHECK_TRUE("the first has the block", c != NULL);
	CHECK_EQ("not yet", tcp_end_count(&e, CTR_tcp_conn_none), 0);
	CHECK_TRUE("none for the second",
		tcp_connect(e.tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, e.now_us, &err) == NULL);
	CHECK_EQ("said", err, -ENOBUFS);
	CHECK_EQ("counted", tcp_end_count(&e, CTR_tcp_conn_none), 1);
	tcp_abort(c);
	tcp_release(c);
	tcp_end_fini(&e);
}

/* Connections nobody reads any more, with words the peer does not acknowledge: the oldest makes room, by a reset. */
static void
test_orphan_beyond_the_cap_is_counted(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct heard *h;
	struct peer p;

	(void)state;
	conf.conns_max = 2 * OTHERS_MAX;
	peer_init(&p, &usual, &conf);
	for (uint32_t i = 0; i < OTHERS_MAX; i++) {
		CHECK_EQ("there was room", tcp_end_count(&p.e, CTR_tcp_orphan_full), 0);
		p.snd_nxt = p.iss;
		p.c = NULL;
		p.flow.local_port = (uint16_t)(50000 + i);
		peer_reach(&p, PEER_ESTABLISHED);
		CHECK_EQ("last words", peer_write(&p, 10), 10);
		tcp_release(p.c);
		if (i + 1 < OTHERS_MAX)
			peer_hear_all(&p, NULL);
	}
	p.c = NULL;
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_orphan_full), 1);
	h = peer_hear(&p);
	while (h->any && (h->h.flags & TCP_RST) == 0)
		h = peer_hear(&p);
	CHECK_TRUE("the oldest is told", h->any && h->to_port == 50000);
	peer_wait(&p, UINT64_C(120000000));
	peer_hear_all(&p, NULL);
	peer_fini(&p);
}

/* A peer that acknowledges every second octet of a large flight. */
static void
test_sack_blocks_beyond_the_cap_are_counted(void **state)
{
	struct peer p;

	(void)state;
	peer_establish(&p, &usual, NULL);
	CHECK_EQ("taken", peer_write(&p, 4000), 4000);
	peer_hear_all(&p, NULL);
	for (uint32_t i = 0; i < 100; i++) {
		const int64_t at = 10 + 4 * (int64_t)i;

		if (i == 62)
			CHECK_EQ("as many as are remembered", tcp_end_count(&p.e, CTR_tcp_sack_full), 0);
		SAY(&p, .ack = -4000, .n_sack = 1, .sack = { at, at + 2 });
		peer_hear_all(&p, NULL);
		p.rcv_nxt = p.irs + 1 + 4000;
	}
	CHECK_EQ("each beyond", tcp_end_count(&p.e, CTR_tcp_sack_full), 100 - 62);
	peer_fini(&p);
}

static void
test_rest_without_a_record_is_counted(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	uint32_t record;
	struct peer p;

	(void)state;
	conf.rests_max = 0;
	peer_establish(&p, &usual, &conf);
	CHECK_TRUE("no record", tcp_rest(p.c, &record) == NULL);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_rest_none), 1);
	CHECK_EQ("it goes on", peer_write(&p, 10), 10);
	peer_drain(&p);
	peer_fini(&p);
}

/* SYNs, what completes a handshake and what a connection gets are none; whatever else comes for no connection is, however it is answered. */
static void
test_strays_are_what_belongs_to_no_connection(void **state)
{
	static const struct {
		const char *label;
		uint8_t flags;
		uint32_t want;
	} rows[] = {
		{ "a SYN", TCP_SYN, 0 },
		{ "an ACK of nothing", TCP_ACK, 1 },
		{ "an RST", TCP_RST, 1 },
		{ "a FIN", TCP_FIN | TCP_ACK, 1 },
	};
	struct peer p;
	uint16_t port;

	(void)state;
	peer_establish(&p, &usual, NULL);
	CHECK_EQ("a handshake", tcp_strays_take(p.e.tcp), 0);
	SAY(&p, .len = 10);
	CHECK_EQ("text", tcp_strays_take(p.e.tcp), 0);
	port = p.flow.remote_port;
	p.flow.remote_port = (uint16_t)(port + 1); /* nobody listens there */
	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
		SAY(&p, .flags = rows[i].flags, .keep = true);
		CHECK_EQ(rows[i].label, tcp_strays_take(p.e.tcp), rows[i].want);
		CHECK_EQ("taken", tcp_strays_take(p.e.tcp), 0);
	}
	p.flow.remote_port = port;
	peer_hear_all(&p, NULL);
	peer_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect_without_a_block_is_counted),
		cmocka_unit_test(test_orphan_beyond_the_cap_is_counted),
		cmocka_unit_test(test_sack_blocks_beyond_the_cap_are_counted),
		cmocka_unit_test(test_rest_without_a_record_is_counted),
		cmocka_unit_test(test_strays_are_what_belongs_to_no_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
