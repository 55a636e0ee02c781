/*
 * test_splice.c - numbers and ends of a spliced session, and two connections played around it.
 */
#include "dataplane/relay/splice.h"

#include <stdlib.h>

#include "dataplane/relay/splice_impl.h"
#include "tests/check.h"

static struct counters counters;

static void
init(struct splice *s, enum conf_client_address how, uint64_t now_us)
{
	const struct conf_backend b = { .client_address = (uint8_t)how };
	const struct proxy_addrs a = {
		.src = ip_addr_v4(0xc0000207), .dst = ip_addr_v4(0xc6120002), .src_port = 40001, .dst_port = 587
	};

	memset(s, 0xa5, sizeof(*s));
	memset(&counters, 0, sizeof(counters));
	splice_init(s, &b, &a, NULL, &counters, now_us);
}

static void
open_splice(struct splice *s)
{
	init(s, CLIENT_ADDRESS_NONE, 0);
	splice_connected(s, 0);
}

static void
test_splice_header_first(void **state)
{
	static const char want[] = "PROXY TCP4 192.0.2.7 198.18.0.2 40001 587\r\n";
	uint8_t out[200];
	struct splice s;

	(void)state;
	init(&s, CLIENT_ADDRESS_PROXY_V1, 0);
	CHECK_EQ("nothing before the backend stands", splice_output(&s, out, sizeof(out)), 0);
	CHECK_EQ("nor from the client", splice_room(&s, SPLICE_TO_BACKEND, 100, 100), 0);
	splice_connected(&s, 0);
	CHECK_EQ("the client's octets wait for the header", splice_room(&s, SPLICE_TO_BACKEND, 100, 100), 0);
	CHECK_EQ("the backend's do not", splice_room(&s, SPLICE_TO_CLIENT, 100, 100), 100);
	splice_moved(&s, SPLICE_TO_BACKEND, 0, true, 0);
	CHECK_EQ("an end does not overtake the header", splice_next(&s, 0), SPLICE_ACTION_NONE);
	CHECK_EQ("in pieces", splice_output(&s, out, 10), 10);
	CHECK_EQ("still waiting", splice_room(&s, SPLICE_TO_BACKEND, 100, 100), 0);
	CHECK_EQ("the rest", splice_output(&s, out + 10, sizeof(out) - 10), sizeof(want) - 1 - 10);
	CHECK_OCTETS("the header", out, sizeof(want) - 1, want, sizeof(want) - 1);
	CHECK_EQ("once", splice_output(&s, out, sizeof(out)), 0);
	CHECK_EQ("now the client's", splice_room(&s, SPLICE_TO_BACKEND, 100, 100), 100);
	splice_moved(&s, SPLICE_TO_BACKEND, 0, true, 0);
	CHECK_EQ("and its end", splice_next(&s, 0), SPLICE_ACTION_SHUT_BACKEND);

	init(&s, CLIENT_ADDRESS_PROXY_V2, 0);
	splice_connected(&s, 0);
	CHECK_EQ("version 2", splice_output(&s, out, sizeof(out)), 28);
}

static void
test_splice_in_flight_is_bounded(void **state)
{
	struct splice s;

	(void)state;
	open_splice(&s);
	for (int way = 0; way < SPLICE_WAYS; way++) {
		enum splice_way w = (enum splice_way)way;

		CHECK_EQ("the receiver's room", splice_room(&s, w, 1000000, 500), 500);
		CHECK_EQ("what is there", splice_room(&s, w, 300, 500), 300);
		CHECK_EQ("the cap", splice_room(&s, w, 1000000, 1000000), SPLICE_FLIGHT_MAX_OCTETS);
		splice_moved(&s, w, 60000, false, 0);
		CHECK_EQ("less what flies", splice_room(&s, w, 1000000, 1000000), SPLICE_FLIGHT_MAX_OCTETS - 60000);
		CHECK_EQ("the window is that", splice_window(&s, w), SPLICE_FLIGHT_MAX_OCTETS - 60000);
		splice_moved(&s, w, SPLICE_FLIGHT_MAX_OCTETS - 60000, false, 0);
		CHECK_EQ("nothing more", splice_room(&s, w, 1, 1), 0);
		splice_acked(&s, w, 1000, 0);
		CHECK_EQ("acknowledged octets make room", splice_room(&s, w, 1000000, 1000000), 1000);
	}
	CHECK_EQ("counted in", counter_read(&counters, CTR_relay_splice_octets_in), SPLICE_FLIGHT_MAX_OCTETS);
	CHECK_EQ("counted out", counter_read(&counters, CTR_relay_splice_octets_out), SPLICE_FLIGHT_MAX_OCTETS);
	CHECK_EQ("moved", splice_octets_moved(&s, SPLICE_TO_CLIENT), SPLICE_FLIGHT_MAX_OCTETS);
}

static void
test_splice_half_close_goes_on_each_way(void **state)
{
	static const enum splice_action shut[SPLICE_WAYS] = { SPLICE_ACTION_SHUT_BACKEND, SPLICE_ACTION_SHUT_CLIENT };

	(void)state;
	for (int first = 0; first < SPLICE_WAYS; first++) {
		const enum splice_way a = (enum splice_way)first, b = (enum splice_way) !first;
		struct splice s;

		open_splice(&s);
		splice_moved(&s, a, 10, true, 5);
		CHECK_EQ("passed on", splice_next(&s, 5), shut[a]);
		CHECK_EQ("once", splice_next(&s, 5), SPLICE_ACTION_NONE);
		CHECK_EQ("half", splice_state(&s), SPLICE_ST_HALF);
		splice_moved(&s, a, 0, true, 5);
		CHECK_EQ("told again changes nothing", splice_next(&s, 5), SPLICE_ACTION_NONE);
		CHECK_EQ("no more that way", splice_window(&s, a), 0);
		CHECK_EQ("the other way goes on", splice_room(&s, b, 100, 100), 100);
		splice_moved(&s, b, 100, false, 6);
		splice_moved(&s, b, 0, true, 7);
		CHECK_EQ("passed on", splice_next(&s, 7), shut[b]);
		CHECK_EQ("and over", splice_next(&s, 7), SPLICE_ACTION_DONE);
		CHECK_EQ("once", splice_next(&s, 7), SPLICE_ACTION_NONE);
		CHECK_EQ("in order", splice_end(&s), SPLICE_END_ORDERLY);
		CHECK_EQ("nothing moves any more", splice_room(&s, b, 1, 1), 0);
		CHECK_TRUE("no deadline", splice_deadline_us(&s) == UINT64_MAX);
	}
}

static void
test_splice_ends_out_of_order(void **state)
{
	struct splice s;

	(void)state;
	init(&s, CLIENT_ADDRESS_NONE, 0);
	splice_lost(&s, SPLICE_TO_CLIENT, 1);
	CHECK_EQ("no backend", splice_next(&s, 1), SPLICE_ACTION_UNAVAILABLE);
	CHECK_STR("for the log", splice_end_name(splice_end(&s)), "no-backend");
	open_splice(&s);
	splice_lost(&s, SPLICE_TO_CLIENT, 1);
	CHECK_EQ("gone before an octet", splice_next(&s, 1), SPLICE_ACTION_UNAVAILABLE);
	open_splice(&s);
	splice_moved(&s, SPLICE_TO_CLIENT, 1, false, 1);
	splice_lost(&s, SPLICE_TO_CLIENT, 1);
	CHECK_EQ("gone after one", splice_next(&s, 1), SPLICE_ACTION_ABORT);
	CHECK_EQ("reset", splice_end(&s), SPLICE_END_RESET);
	CHECK_EQ("counted", counter_read(&counters, CTR_relay_splices_reset), 1);
	init(&s, CLIENT_ADDRESS_NONE, 0);
	splice_lost(&s, SPLICE_TO_BACKEND, 1);
	CHECK_EQ("the client gave up", splice_next(&s, 1), SPLICE_ACTION_ABORT);
	CHECK_EQ("once", splice_next(&s, 1), SPLICE_ACTION_NONE);
	splice_moved(&s, SPLICE_TO_CLIENT, 5, true, 2);
	splice_connected(&s, 2);
	CHECK_EQ("nothing wakes it", splice_state(&s), SPLICE_ST_DONE);
}

static void
test_splice_time_limits(void **state)
{
	struct splice s;

	(void)state;
	init(&s, CLIENT_ADDRESS_NONE, 1000);
	CHECK_EQ("10 s to connect", splice_deadline_us(&s), 10001000);
	CHECK_EQ("not yet", splice_next(&s, 10000999), SPLICE_ACTION_NONE);
	CHECK_EQ("now", splice_next(&s, 10001000), SPLICE_ACTION_UNAVAILABLE);

	open_splice(&s);
	splice_moved(&s, SPLICE_TO_CLIENT, 10, false, 50);
	splice_acked(&s, SPLICE_TO_CLIENT, 10, 60);
	CHECK_EQ("idle", splice_deadline_us(&s), 50 + SPLICE_IDLE_US);
	CHECK_EQ("ends", splice_next(&s, 50 + SPLICE_IDLE_US), SPLICE_ACTION_ABORT);
	CHECK_STR("as idle", splice_end_name(splice_end(&s)), "idle");

	open_splice(&s);
	splice_moved(&s, SPLICE_TO_BACKEND, 10, true, 50);
	splice_acked(&s, SPLICE_TO_BACKEND, 10, 60);
	splice_next(&s, 60);
	CHECK_EQ("a client that ended is waited for as long as an answer may take", splice_deadline_us(&s),
		50 + SPLICE_IDLE_US);

	open_splice(&s);
	splice_moved(&s, SPLICE_TO_CLIENT, 10, true, 50);
	splice_acked(&s, SPLICE_TO_CLIENT, 10, 60);
	splice_next(&s, 60);
	CHECK_EQ("after the backend's end", splice_deadline_us(&s), 50 + SPLICE_HALF_IDLE_US);

	open_splice(&s);
	splice_moved(&s, SPLICE_TO_BACKEND, 100, false, 50);
	splice_moved(&s, SPLICE_TO_CLIENT, 100, false, SPLICE_STALL_US - 1);
	splice_acked(&s, SPLICE_TO_CLIENT, 100, SPLICE_STALL_US);
	CHECK_EQ(
		"a side that never reads, however busy the other way is", splice_deadline_us(&s), 50 + SPLICE_STALL_US);
	CHECK_EQ("ends", splice_next(&s, 50 + SPLICE_STALL_US), SPLICE_ACTION_ABORT);
	CHECK_STR("as stalled", splice_end_name(splice_end(&s)), "stalled");
	CHECK_EQ("counted", counter_read(&counters, CTR_relay_splices_timeout), 1);
}

/* Two connections of random speed around a splice: every octet arrives once, in order, the bound holds, both ends come
 * last. */
static void
test_splice_random_play(void **state)
{
	enum { OCTETS = 300000 };
	const unsigned seed = 587;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int round = 0; round < 50; round++) {
		uint32_t sent[SPLICE_WAYS] = { 0 }, flying[SPLICE_WAYS] = { 0 }, arrived[SPLICE_WAYS] = { 0 };
		const uint32_t total[SPLICE_WAYS] = { (uint32_t)random() % OCTETS, (uint32_t)random() % OCTETS };
		bool shut[SPLICE_WAYS] = { false, false }, done = false;
		struct splice s;
		uint8_t out[200];
		uint64_t now_us = 0;

		init(&s, round % 2 == 0 ? CLIENT_ADDRESS_PROXY_V2 : CLIENT_ADDRESS_NONE, 0);
		splice_connected(&s, 0);
		for (int turn = 0; turn < 100000 && !done; turn++) {
			const enum splice_way w = (enum splice_way)(random() % SPLICE_WAYS);
			const uint32_t comes = (uint32_t)random() % 3000; /* not inside MIN(), which looks twice */
			uint32_t n = splice_room(&s, w, MIN(comes, total[w] - sent[w]), (uint32_t)random() % 5000);

			now_us += 100;
			if (random() % 4 == 0)
				splice_output(&s, out, 1 + (uint32_t)random() % 30);
			splice_moved(&s, w, n, sent[w] + n == total[w], now_us);
			sent[w] += n;
			flying[w] += n;
			CHECK_TRUE("bounded", flying[w] <= SPLICE_FLIGHT_MAX_OCTETS);
			n = flying[w] > 0 ? (uint32_t)random() % (flying[w] + 1) : 0;
			splice_acked(&s, w, n, now_us);
			flying[w] -= n;
			arrived[w] += n;
			switch (splice_next(&s, now_us)) {
			case SPLICE_ACTION_NONE:
				break;
			case SPLICE_ACTION_SHUT_BACKEND:
				CHECK_TRUE("after the last octet",
					!shut[SPLICE_TO_BACKEND] &&
						sent[SPLICE_TO_BACKEND] == total[SPLICE_TO_BACKEND]);
				shut[SPLICE_TO_BACKEND] = true;
				break;
			case SPLICE_ACTION_SHUT_CLIENT:
				CHECK_TRUE("after the last octet",
					!shut[SPLICE_TO_CLIENT] && sent[SPLICE_TO_CLIENT] == total[SPLICE_TO_CLIENT]);
				shut[SPLICE_TO_CLIENT] = true;
				break;
			case SPLICE_ACTION_DONE:
				done = true;
				break;
			case SPLICE_ACTION_UNAVAILABLE:
			case SPLICE_ACTION_ABORT:
				fail_msg("round %d: aborted", round);
			}
		}
		if (!done)
			fail_msg("round %d: state %d end %d, %u of %u, %u of %u", round, splice_state(&s),
				splice_end(&s), sent[0], total[0], sent[1], total[1]);
		CHECK_TRUE("it ended", done && shut[0] && shut[1]);
	}
}

static void
test_splice_is_small(void **state)
{
	(void)state;
	/* it stands behind every session block: an idle session costs 512 octets in all */
	CHECK_TRUE("small", splice_octets() <= 320);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_splice_header_first),
		cmocka_unit_test(test_splice_in_flight_is_bounded),
		cmocka_unit_test(test_splice_half_close_goes_on_each_way),
		cmocka_unit_test(test_splice_ends_out_of_order),
		cmocka_unit_test(test_splice_time_limits),
		cmocka_unit_test(test_splice_random_play),
		cmocka_unit_test(test_splice_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
