/*
 * test_syn_flood.c - floods of SYNs against a whole worker in virtual time: what a lost third ACK costs while cookies are out, and who is
 * served when SYNs come faster than they can be answered.
 *
 * The client believes to be connected and waits for our banner; a server that remembers nothing of him waits for his ACK. Neither has anything
 * to say again: the weakness of SYN cookies where the server speaks first (RFC 4987 section 3.6). The attacker is a station on the wire
 * that says SYNs in the name of addresses that nobody has.
 */
#include "tests/check.h"
#include "tests/sim/model.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/marks.h"
#include "dataplane/tcp/tcp_wire.h"

#define SECOND UINT64_C(1000000)
#define RING   4096 /* SYN_RING_ENTRIES of worker.c */

static const struct sim_wire clean = { .delay_us = 500 }, uneven = { .delay_us = 500, .jitter_us = 300 };
static struct scene s; /* one at a time */
static struct model_host evil;
static struct sim_tap flood;
static uint64_t flood_every_us, flood_due_us, rng;
static const char *flood_as; /* in whose name; NULL: an address of its own each */
static bool flood_of_resets; /* every other is no SYN but a reset of nothing */

static uint64_t
flood_turn(void *arg, uint64_t now_us)
{
	static const uint8_t gateway[16] = { [10] = 0xff, [11] = 0xff, 198, 18, 0, 2 };
	uint8_t from[16] = { [10] = 0xff, [11] = 0xff, 11 };

	(void)arg;
	if (flood_every_us == 0)
		return UINT64_MAX;
	for (; flood_due_us <= now_us;
		flood_due_us += rng >> 33 & 1 ? 0 : 2 * flood_every_us) { /* one or more at once */
		rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		from[13] = (uint8_t)(rng >> 56);
		from[14] = (uint8_t)(rng >> 48);
		from[15] = (uint8_t)(1 + (rng >> 40) % 254);
		if (flood_as != NULL) {
			struct ip_addr as;

			BUG_ON(ip_addr_parse(flood_as, &as) != 0);
			memcpy(from, as.octet, sizeof(from));
		}
		model_forge(&evil, from, (uint16_t)(1024 + (rng >> 20) % 60000), gateway, 25, (uint32_t)rng, 0,
			flood_of_resets && (rng >> 34 & 1) ? TCP_RST : TCP_SYN, 0);
	}
	return flood_due_us;
}

static void
flood_hear(void *arg, const uint8_t *frame, uint32_t octets)
{
	(void)arg, (void)frame, (void)octets;
}

static void
flood_begin(uint32_t a_second)
{
	flood_every_us = SECOND / a_second;
	flood_due_us = sim_now_us(s.sim);
}

static void
start_seed(uint64_t seed, struct sim_wire wire)
{
	scene_start(&s, seed, 1, wire);
	model_host_init(&evil, s.sim, 0, "198.18.0.66", "2001:db8:0:1::66", 7);
	flood = (struct sim_tap){ .rx = flood_hear, .turn = flood_turn };
	flood_every_us = 0;
	flood_as = NULL;
	flood_of_resets = false;
	rng = seed;
	sim_tap_add(s.sim, &flood);
	scene_settle(&s);
}

static void
start(void)
{
	scene_conf(&s);
	start_seed(1, clean);
}

static void
end(void)
{
	flood_every_us = 0;
	sim_run(s.sim, 20 * SECOND);
	model_host_fini(&evil);
	scene_end(&s);
}

/* A connection whose third ACK the wire loses. Neighbours know each other: the SYN-ACK lands after two delays. */
static struct sim_conn *
connect_losing_the_ack(void)
{
	struct sim_conn *c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	const uint64_t began_us = sim_now_us(s.sim), accepted = scene_count(&s, CTR_tcp_accepted);

	while (sim_now_us(s.sim) < began_us + 800)
		sim_step(s.sim, 50);
	CHECK_TRUE("the SYN-ACK is on its way", !c->connected);
	sim_wire_of(s.sim)->loss = 1000;
	while (sim_now_us(s.sim) < began_us + 1300)
		sim_step(s.sim, 50);
	CHECK_TRUE("the client is connected", c->connected);
	sim_wire_of(s.sim)->loss = 0;
	sim_run(s.sim, 1000);
	CHECK_EQ("the gateway does not know of it", scene_count(&s, CTR_tcp_accepted), accepted);
	return c;
}

/* Who has been here before has his SYN remembered, however many others are forged. */
static void
test_cookies_out_a_lost_third_ack_of_a_proven_client_is_asked_for_again(void **state)
{
	struct sim_conn *c;

	(void)state;
	start();
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("a session before", atoi(s.reply), 220);
	scene_quit(&s, c);
	flood_begin(20000);
	sim_run(s.sim, 3 * SECOND);
	CHECK_TRUE("cookies are out", scene_count(&s, CTR_tcp_cookie_sent) > 20000);
	for (uint32_t i = 0; i < 5; i++) {
		c = connect_losing_the_ack();
		CHECK_EQ("remembered all the same", scene_count(&s, CTR_tcp_syn_proven), i + 1);
		CHECK_EQ("greeted after one repetition", scene_reply_within(&s, c, 3 * SECOND / 2), 220);
		scene_quit(&s, c);
	}
	end();
}

/* Strangers have the rest of the ring, a second each: what comes to fewer a second than it has entries is remembered for one loss. */
static void
test_a_flood_that_the_ring_can_turn_over_costs_strangers_no_lost_third_ack(void **state)
{
	struct sim_conn *c;

	(void)state;
	start();
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 26);
	sim_run(s.sim, SECOND);
	CHECK_TRUE("a closed port: they know each other's station, and no handshake was completed", c->refused);
	sim_conn_forget(c);
	flood_begin(2000);
	sim_run(s.sim, 20 * SECOND);
	CHECK_TRUE("more were forged than the ring could hold for all its time",
		scene_count(&s, CTR_tcp_syn_in) > 2 * RING);
	CHECK_TRUE("some gave way", scene_count(&s, CTR_tcp_syn_given_up) > RING);
	c = connect_losing_the_ack();
	CHECK_EQ("not proven", scene_count(&s, CTR_tcp_syn_proven), 0);
	CHECK_EQ("greeted after one repetition", scene_reply_within(&s, c, 3 * SECOND / 2), 220);
	scene_quit(&s, c);
	end();
}

/* --- more than can be answered --- */

#define SEEDS    5
#define SESSIONS 30

/* 12,500 SYNs a second answered, 50,000 dropped: about what one costs and the other, at a pace that a test can follow. */
static const struct sim_pace pace = { .rx_us = 20, .tx_us = 60, .rx_room = 1024 };

/* Some time passes, so that nobody keeps step with the worker's turns: what it has just taken in makes room for what answers at once. */
static void
linger(void)
{
	sim_run(s.sim, 1 + sim_random(s.sim) % 20000);
}

/* A dialogue within limit_us. */
static bool
is_served(const char *from, const char *to, uint64_t limit_us)
{
	uint64_t began_us;
	struct sim_conn *c;
	bool served;

	linger();
	began_us = sim_now_us(s.sim);
	c = sim_connect(s.client, from, to, 25);
	served = scene_reply_within(&s, c, limit_us) == 220 && scene_chat(&s, c, "EHLO client.example") == 250 &&
	         scene_chat(&s, c, "MAIL FROM:<a@sender.example>") == 250 && sim_now_us(s.sim) - began_us < limit_us;

	sim_abort(c);
	sim_conn_forget(c);
	return served;
}

/* Clients who have been here, in either family, and sessions that are open do not notice a flood of twice what can be answered. */
static void
test_a_flood_beyond_what_can_be_answered_is_shed(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint32_t v4 = 0, v6 = 0, open = 0;
		uint64_t answered, missed;
		struct sim_conn *c, *before;

		scene_conf(&s);
		start_seed(seed, uneven);
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("a session before", atoi(s.reply), 220);
		scene_quit(&s, c);
		c = scene_open(&s, CLIENT6, GATEWAY6);
		CHECK_EQ("and of the other family", atoi(s.reply), 220);
		scene_quit(&s, c);
		before = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("one that stays open", scene_chat(&s, before, "EHLO client.example"), 250);
		sim_set_pace(s.sim, &pace);
		flood_begin(25000);
		sim_run(s.sim, SECOND / 2);
		missed = sim_missed(s.sim);
		answered = scene_count(&s, CTR_tcp_syn_in);
		for (uint32_t i = 0; i < SESSIONS; i++) {
			uint64_t began_us;

			v4 += is_served(CLIENT4, GATEWAY4, SECOND / 2);
			v6 += is_served(CLIENT6, GATEWAY6, SECOND / 2);
			linger();
			began_us = sim_now_us(s.sim);
			open += scene_chat(&s, before, "NOOP") == 250 && sim_now_us(s.sim) - began_us < SECOND / 4;
		}
		printf("seed %u: of %u sessions each %u by IPv4, %u by IPv6, of as many turns of an open one %u; "
		       "%u SYNs shed, %u frames lost\n",
			(unsigned)seed, SESSIONS, v4, v6, open, (unsigned)scene_count(&s, CTR_worker_syn_shed),
			(unsigned)sim_missed(s.sim));
		CHECK_EQ("proven clients are served", v4, SESSIONS);
		CHECK_EQ("of both families", v6, SESSIONS);
		CHECK_EQ("open sessions go on", open, SESSIONS);
		CHECK_TRUE("next to nothing was lost at the queue", sim_missed(s.sim) - missed < 100);
		CHECK_TRUE("strangers' SYNs were dropped", scene_count(&s, CTR_worker_syn_shed) > 10000);
		CHECK_TRUE("told", marks_on(sim_segment(s.sim)->live->marks[0], MARK_syns));
		CHECK_TRUE("and answered as far as there was time", scene_count(&s, CTR_tcp_syn_in) - answered > 10000);
		flood_every_us = 0;
		sim_run(s.sim, 2 * SECOND);
		CHECK_TRUE("over", !marks_on(sim_segment(s.sim)->live->marks[0], MARK_syns));
		scene_quit(&s, before);
		end();
	}
}

/* What can be answered is answered, however full some bursts are. */
static void
test_a_flood_that_can_be_answered_is_not_shed(void **state)
{
	(void)state;
	start();
	sim_set_pace(s.sim, &pace);
	flood_begin(11000);
	sim_run(s.sim, 4 * SECOND);
	CHECK_TRUE("all were answered", scene_count(&s, CTR_tcp_syn_in) > 40000);
	CHECK_EQ("nothing was shed", scene_count(&s, CTR_worker_syn_shed), 0);
	CHECK_EQ("nothing was lost", sim_missed(s.sim), 0);
	end();
}

/* Beside a flood of twice what can be answered, which is as the caller says, another client who has been here is served. */
static void
check_another_is_served(uint64_t seed, const char *as, bool of_resets, uint64_t shed_min)
{
	uint32_t served = 0;
	struct sim_conn *c;
	uint64_t missed;

	scene_conf(&s);
	start_seed(seed, uneven);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	scene_quit(&s, c);
	c = scene_open(&s, CLIENT6, GATEWAY6);
	scene_quit(&s, c);
	sim_set_pace(s.sim, &pace);
	flood_as = as;
	flood_of_resets = of_resets;
	flood_begin(25000);
	sim_run(s.sim, SECOND);
	CHECK_TRUE("shed", scene_count(&s, CTR_worker_syn_shed) > shed_min);
	missed = sim_missed(s.sim);
	for (uint32_t i = 0; i < SESSIONS; i++)
		served += is_served(CLIENT6, GATEWAY6, SECOND / 2);
	CHECK_EQ("another proven client is served", served, SESSIONS);
	CHECK_TRUE("next to nothing was lost at the queue", sim_missed(s.sim) - missed < 100);
}

/*
 * Who floods in the name of an address that has been here gains no more than the handshakes that one client may have under way. Its host answers by
 * resets, of which those that a full queue loses leave handshakes whose SYN-ACK comes due again.
 */
static void
test_a_flood_in_a_proven_name_is_shed_as_well(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		check_another_is_served(seed, CLIENT4, false, 5000);
		CHECK_TRUE("SYN-ACKs were not repeated meanwhile", scene_count(&s, CTR_tcp_syn_ack_withheld) > 0);
		end();
	}
}

/* Fewer SYNs than could be answered if nothing else came: what is of no session counts. */
static void
test_a_flood_of_which_half_are_no_syns_is_shed_as_well(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		check_another_is_served(seed, NULL, true, 1000);
		end();
	}
}

/* SYNs are answered in passes of 8, 24, 24 and 8, and what is no SYN in passes of eight, so that no session waits for more. */
static void
test_a_pass_of_syns_alone_is_longer(void **state)
{
	static const struct {
		const char *label;
		uint8_t flags;
		uint32_t want; /* passes */
	} rows[] = {
		{ "SYNs", TCP_SYN, 4 },
		{ "resets", TCP_RST, 8 },
	};
	static const uint8_t gateway[16] = { [10] = 0xff, [11] = 0xff, 198, 18, 0, 2 };
	const uint8_t from[16] = { [10] = 0xff, [11] = 0xff, 11, 1, 2, 3 };

	(void)state;
	start();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint64_t segs = scene_count(&s, CTR_tcp_in_segs), passes = scene_passes(&s, 0);

		for (uint32_t n = 0; n < 64; n++)
			model_forge(&evil, from, (uint16_t)(1024 + n), gateway, 25, n, 0, rows[i].flags, 0);
		sim_run(s.sim, 1000);
		CHECK_EQ(rows[i].label, scene_count(&s, CTR_tcp_in_segs) - segs, 64);
		CHECK_EQ(rows[i].label, scene_passes(&s, 0) - passes, rows[i].want);
	}
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cookies_out_a_lost_third_ack_of_a_proven_client_is_asked_for_again),
		cmocka_unit_test(test_a_flood_that_the_ring_can_turn_over_costs_strangers_no_lost_third_ack),
		cmocka_unit_test(test_a_flood_beyond_what_can_be_answered_is_shed),
		cmocka_unit_test(test_a_flood_that_can_be_answered_is_not_shed),
		cmocka_unit_test(test_a_flood_in_a_proven_name_is_shed_as_well),
		cmocka_unit_test(test_a_flood_of_which_half_are_no_syns_is_shed_as_well),
		cmocka_unit_test(test_a_pass_of_syns_alone_is_longer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
