/*
 * test_restart.c - the data plane killed and started anew, seen from its peers, through whole workers in virtual time.
 *
 * Nobody may be left waiting for a dead process: a peer that has nothing to send would not find out before its own time-out, which RFC 5321
 * section 4.5.3.2 puts at minutes.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdio.h>
#include <string.h>

#define SECOND_US UINT64_C(1000000)

static const struct sim_wire clean = { .delay_us = 500 };
static const struct sim_wire lossy = {
	.loss = 100, .duplicate = 20, .reorder = 20, .delay_us = 20000, .jitter_us = 5000
};
static struct scene s; /* one at a time */

static bool
is_reset(void *arg)
{
	return ((struct sim_conn *)arg)->reset;
}

static uint64_t
probes_sent(void)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < CONF_WORKERS_MAX; i++)
		n += counter_read(&sim_segment(s.sim)->counters[i], CTR_tcp_orphan_probe);
	return n;
}

/* A session that waits for our reply: the client is known, the backend has accepted the recipient and waits for DATA. */
static struct sim_conn *
open_relayed(const char *from, const char *client, const char *gateway)
{
	struct sim_conn *c;

	CHECK_EQ("first attempt", scene_deliver(&s, client, from, "u@example.org", "Subject: x\r\n\r\n"), 451);
	sim_run(s.sim, 241 * SECOND_US);
	CHECK_EQ("retry", scene_deliver(&s, client, from, "u@example.org", "Subject: x\r\n\r\n"), 250);
	c = scene_open(&s, client, gateway);
	CHECK_EQ("recipient", scene_rcpt(&s, c, from, "u@example.org"), 250);
	return c;
}

static void
test_idle_peers_are_reset_after_a_kill(void **state)
{
	static const struct {
		const char *client, *gateway;
		uint32_t workers;
	} rows[] = { { CLIENT4, GATEWAY4, 1 }, { CLIENT6, GATEWAY6, 1 }, { CLIENT4, GATEWAY4, 2 },
		{ CLIENT6, GATEWAY6, 2 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sim_conn *c;

		scene_conf(&s);
		scene_start(&s, 1 + i, rows[i].workers, clean);
		scene_settle(&s);
		c = open_relayed("a@sender.example", rows[i].client, rows[i].gateway);
		CHECK_EQ("the backend waits for the message", scene_chat(&s, c, "DATA"), 354);
		sim_kill_gateway(s.sim);
		CHECK_TRUE("the client is told within 100 ms", sim_until(s.sim, SECOND_US / 10, is_reset, c));
		sim_run(s.sim, SECOND_US / 10);
		CHECK_EQ("and the backend", s.mta.n_aborted_in_data, 1);
		sim_conn_forget(c);
		CHECK_EQ("a new session is served",
			scene_deliver(&s, rows[i].client, "a@sender.example", "u@example.org", "Subject: y\r\n\r\n"),
			250);
		scene_end(&s);
	}
}

static void
test_a_client_whose_handshake_met_the_kill_is_reset(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	scene_start(&s, 3, 1, clean);
	scene_settle(&s);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	while (!c->connected)
		sim_step(s.sim, 100);
	/* its ACK reaches nobody, and it has nothing to send again: only the mark of the handshake can help */
	sim_wire_of(s.sim)->loss = 1000;
	sim_run(s.sim, SECOND_US / 10);
	sim_kill_gateway(s.sim);
	*sim_wire_of(s.sim) = clean;
	CHECK_TRUE("told", sim_until(s.sim, SECOND_US, is_reset, c));
	sim_conn_forget(c);
	scene_end(&s);
}

static void
test_over_a_bad_wire_every_peer_is_told(void **state)
{
	uint32_t told = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim_conn *c[20];

		scene_conf(&s);
		scene_start(&s, seed, 2, clean);
		scene_settle(&s);
		for (size_t i = 0; i < 20; i++) {
			c[i] = scene_open(&s, CLIENT4, GATEWAY4);
			CHECK_TRUE("banner", c[i] != NULL);
		}
		*sim_wire_of(s.sim) = lossy;
		sim_kill_gateway(s.sim);
		sim_run(s.sim, 6 * SECOND_US);
		for (size_t i = 0; i < 20; i++) {
			told += c[i]->reset;
			sim_conn_forget(c[i]);
		}
		scene_end(&s);
	}
	/* probe, answer and RST may each be lost, a next hop's answer too: with one frame in ten lost some 2 in 100 are not told */

	CHECK_TRUE("19 of 20 are told", told >= 380);
}

static void
test_what_ended_in_order_is_not_asked(void **state)
{
	struct sim_conn *c;
	uint64_t before;

	(void)state;
	scene_conf(&s);
	scene_start(&s, 5, 1, clean);
	scene_settle(&s);
	c = open_relayed("a@sender.example", CLIENT4, GATEWAY4);
	scene_quit(&s, c);
	sim_run(s.sim, 30 * SECOND_US); /* probes of the backends end, too */
	before = probes_sent();
	sim_kill_gateway(s.sim);
	sim_run(s.sim, 2 * SECOND_US);
	CHECK_EQ("nothing was left open", probes_sent() - before, 0);
	scene_end(&s);
}

static void
test_asked_a_bounded_number_of_times(void **state)
{
	struct sim_conn *c;
	uint64_t after;

	(void)state;
	scene_conf(&s);
	scene_start(&s, 6, 1, clean);
	scene_settle(&s);
	sim_run(s.sim, 30 * SECOND_US);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	sim_host_pause(s.client, true); /* switched off: never answers */
	sim_kill_gateway(s.sim);
	sim_run(s.sim, 6 * SECOND_US);
	after = probes_sent();
	CHECK_EQ("five times", after, 5);
	sim_kill_gateway(s.sim);
	sim_run(s.sim, 6 * SECOND_US);
	CHECK_EQ("and not by the life after", probes_sent(), after);
	sim_host_pause(s.client, false);
	sim_conn_forget(c);
	scene_end(&s);
}

/*
 * A referee on the backends' wire. A backend in TIME-WAIT takes a SYN of a tuple it knows by a later timestamp alone, where there is one; so
 * the clock may not go back over a kill, and a port may not come again as long as there are others.
 */
static struct {
	struct {
		uint64_t tuple;
		uint32_t seq;
	} syn[2048];
	uint32_t n, said_again, came_again, stamps, went_back, newest;
} heard;

static uint32_t
word_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#define HELD_MS 10 /* a SYN may wait for its next hop while others pass it */

static void
hear_stamp(const uint8_t *tcp)
{
	const uint32_t head = (uint32_t)(tcp[12] >> 4) * 4;

	for (uint32_t at = 20; at + 10 <= head && tcp[at] != 0; at += tcp[at] == 1 ? 1 : tcp[at + 1]) {
		if (tcp[at] == 1 || tcp[at] != 8)
			continue;
		if (heard.stamps++ > 0 && (int32_t)(word_at(tcp + at + 2) - heard.newest) < -HELD_MS)
			heard.went_back++;
		heard.newest = word_at(tcp + at + 2);
	}
}

static void
hear_lan(void *arg, const uint8_t *frame, uint32_t octets)
{
	const bool v4 = frame[12] == 0x08 && frame[13] == 0x00 && frame[23] == 6;
	const bool v6 = frame[12] == 0x86 && frame[13] == 0xdd && frame[20] == 6;
	const uint8_t *tcp = frame + 14 + (v4 ? (uint32_t)(frame[14] & 15) * 4 : 40);
	uint64_t tuple = UINT64_C(0xcbf29ce484222325); /* FNV-1a over both addresses and both ports */

	(void)arg;
	(void)octets;
	if (!v4 && !v6)
		return;
	hear_stamp(tcp);
	if ((tcp[13] & 0x12) != 0x02)
		return;
	for (const uint8_t *p = tcp - (v4 ? 8 : 32); p < tcp + 4; p++)
		tuple = (tuple ^ *p) * UINT64_C(0x100000001b3);
	for (uint32_t i = 0; i < heard.n; i++) {
		if (heard.syn[i].tuple != tuple)
			continue;
		heard.said_again += heard.syn[i].seq == word_at(tcp + 4);
		heard.came_again += heard.syn[i].seq != word_at(tcp + 4);
	}
	CHECK_TRUE("room", heard.n < sizeof(heard.syn) / sizeof(heard.syn[0]));
	heard.syn[heard.n].tuple = tuple;
	heard.syn[heard.n++].seq = word_at(tcp + 4);
}

static uint64_t
hear_no_turn(void *arg, uint64_t now_us)
{
	(void)arg;
	(void)now_us;
	return UINT64_MAX;
}

static void
test_ports_and_timestamps_go_on_over_kills(void **state)
{
	struct sim_tap tap = { .rx = hear_lan, .turn = hear_no_turn, .port = 1 };

	(void)state;
	for (uint32_t workers = 1; workers <= 2; workers++) {
		memset(&heard, 0, sizeof(heard));
		scene_conf(&s);
		scene_start(&s, 40 + workers, workers, clean);
		sim_tap_add(s.sim, &tap);
		scene_settle(&s);
		sim_conn_forget(open_relayed("a@sender.example", CLIENT4, GATEWAY4));
		for (uint32_t life = 0; life < 8; life++) {
			const uint32_t before = heard.n;

			for (uint32_t i = 0; i < 20; i++)
				CHECK_EQ("delivered",
					scene_deliver(
						&s, CLIENT4, "a@sender.example", "u@example.org", "Subject: y\r\n\r\n"),
					250);
			CHECK_TRUE("by connections of their own", heard.n >= before + 20);
			sim_kill_gateway(s.sim);
		}
		CHECK_TRUE("timestamps were heard", heard.stamps > 8 * 20 * 5);
		CHECK_EQ("none earlier than the one before", heard.went_back, 0);
		CHECK_EQ("no port came again while there were others", heard.came_again, 0);
		CHECK_EQ("each SYN was answered at once", heard.said_again, 0);
		scene_end(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_peers_are_reset_after_a_kill),
		cmocka_unit_test(test_a_client_whose_handshake_met_the_kill_is_reset),
		cmocka_unit_test(test_over_a_bad_wire_every_peer_is_told),
		cmocka_unit_test(test_what_ended_in_order_is_not_asked),
		cmocka_unit_test(test_asked_a_bounded_number_of_times),
		cmocka_unit_test(test_ports_and_timestamps_go_on_over_kills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
