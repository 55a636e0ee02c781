/*
 * test_syn_flood.c - what a lost third ACK costs while cookies are out, with a whole worker in virtual time.
 *
 * The client believes to be connected and waits for our banner; a server that remembers nothing of him waits for his ACK. Neither has anything
 * to say again: the weakness of SYN cookies where the server speaks first (RFC 4987 section 3.6). The attacker is a station on the wire
 * that says SYNs in the name of addresses that nobody has.
 */
#include "tests/check.h"
#include "tests/sim/model.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

#define SECOND UINT64_C(1000000)
#define RING   4096 /* SYN_RING_ENTRIES of worker.c */

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */
static struct model_host evil;
static struct sim_tap flood;
static uint64_t flood_every_us, flood_due_us, rng;

static uint64_t
count_of(enum counter which)
{
	return counter_read(&sim_segment(s.sim)->counters[0], which);
}

static uint64_t
flood_turn(void *arg, uint64_t now_us)
{
	static const uint8_t gateway[16] = { [10] = 0xff, [11] = 0xff, 198, 18, 0, 2 };
	uint8_t from[16] = { [10] = 0xff, [11] = 0xff, 11 };

	(void)arg;
	if (flood_every_us == 0)
		return UINT64_MAX;
	for (; flood_due_us <= now_us; flood_due_us += flood_every_us) {
		rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		from[13] = (uint8_t)(rng >> 56);
		from[14] = (uint8_t)(rng >> 48);
		from[15] = (uint8_t)(1 + (rng >> 40) % 254);
		model_forge(&evil, from, (uint16_t)(1024 + (rng >> 20) % 60000), gateway, 25, (uint32_t)rng, 0, 2, 0);
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
start(void)
{
	scene_conf(&s);
	scene_start(&s, 1, 1, clean);
	model_host_init(&evil, s.sim, 0, "198.18.0.66", "2001:db8:0:1::66", 7);
	flood = (struct sim_tap){ .rx = flood_hear, .turn = flood_turn };
	flood_every_us = 0;
	rng = 1;
	sim_tap_add(s.sim, &flood);
	scene_settle(&s);
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
	const uint64_t began_us = sim_now_us(s.sim), accepted = count_of(CTR_tcp_accepted);

	while (sim_now_us(s.sim) < began_us + 800)
		sim_step(s.sim, 50);
	CHECK_TRUE("the SYN-ACK is on its way", !c->connected);
	sim_wire_of(s.sim)->loss = 1000;
	while (sim_now_us(s.sim) < began_us + 1300)
		sim_step(s.sim, 50);
	CHECK_TRUE("the client is connected", c->connected);
	sim_wire_of(s.sim)->loss = 0;
	sim_run(s.sim, 1000);
	CHECK_EQ("the gateway does not know of it", count_of(CTR_tcp_accepted), accepted);
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
	CHECK_TRUE("cookies are out", count_of(CTR_tcp_cookie_sent) > 20000);
	for (uint32_t i = 0; i < 5; i++) {
		c = connect_losing_the_ack();
		CHECK_EQ("remembered all the same", count_of(CTR_tcp_syn_proven), i + 1);
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
	CHECK_TRUE("more were forged than the ring could hold for all its time", count_of(CTR_tcp_syn_in) > 2 * RING);
	CHECK_TRUE("some gave way", count_of(CTR_tcp_syn_given_up) > RING);
	c = connect_losing_the_ack();
	CHECK_EQ("not proven", count_of(CTR_tcp_syn_proven), 0);
	CHECK_EQ("greeted after one repetition", scene_reply_within(&s, c, 3 * SECOND / 2), 220);
	scene_quit(&s, c);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cookies_out_a_lost_third_ack_of_a_proven_client_is_asked_for_again),
		cmocka_unit_test(test_a_flood_that_the_ring_can_turn_over_costs_strangers_no_lost_third_ack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
