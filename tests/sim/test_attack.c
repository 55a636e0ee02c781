/*
 * test_attack.c - what an attacker tries against a whole worker, in virtual time: to hold its resources, and to make it lose or forge mail.
 *
 * Each test is named after what must hold; those with a word "once" in a comment failed before the fix they came with.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */

/* A small worker, so that a test can exhaust it; clients of the test's network are allowed, so that RCPT reaches the backend. */
static void
start_small(uint32_t sessions, uint32_t client_sessions)
{
	scene_conf(&s);
	s.config.conf.sessions = sessions;
	s.config.conf.client_sessions_max = client_sessions;
	s.config.client_allow = "198.18.0.0/24";
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
}

static uint32_t
sessions(void)
{
	return worker_sessions(sim_worker(s.sim, 0));
}

/* ---- resources ---- */

/* Once: each connection above the limit held a session's slot for the second that its 421 took. */
static void
test_connections_above_the_limit_leave_room_for_others(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_small(64, 4);
	for (uint32_t i = 0; i < 120; i++) {
		sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		sim_run(s.sim, 3000);
	}
	CHECK_TRUE("most of the slots are free", sessions() <= 64 / 2);
	c = scene_open(&s, CLIENT6, GATEWAY6);
	CHECK_EQ("another client is greeted", atoi(s.reply), 220);
	scene_quit(&s, c);
	scene_end(&s);
}

/* Once: what was told 421 and never closed its side filled the table of connections for a minute. */
static void
test_clients_that_never_close_do_not_fill_the_connections(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_small(64, 4);
	for (uint32_t round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < 20; i++)
			sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		sim_run(s.sim, 1500000);
	}
	c = scene_open(&s, CLIENT6, GATEWAY6);
	CHECK_EQ("another client is greeted", atoi(s.reply), 220);
	scene_quit(&s, c);
	scene_end(&s);
}

/* Once: a session kept the memory of its recipients until it ended, though its transaction was over. */
static void
test_finished_transactions_give_back_the_memory_of_recipients(void **state)
{
	struct sim_conn *c[17];

	(void)state;
	start_small(64, 0);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++) {
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("null sender", scene_rcpt(&s, c[i], "", "u@example.org"), 250);
		CHECK_EQ("given up", scene_chat(&s, c[i], "RSET"), 250);
	}
	scene_end(&s);
}

/* Once: the five seconds for the backend's answer to QUIT were not watched over, only the client's own time-outs. */
static void
test_a_lost_client_does_not_leave_a_session_to_a_silent_backend(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_small(64, 0);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("recipient", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	sim_host_pause(s.lan, true);
	sim_abort(c);
	sim_run(s.sim, 12000000);
	CHECK_EQ("gone", sessions(), 0);
	sim_host_pause(s.lan, false);
	scene_end(&s);
}

static void
test_a_client_lost_after_the_dot_does_not_leave_a_session_either(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_small(64, 0);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("recipient", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
	s.mta.delay_us = 3000000;
	sim_send(c, "x\r\n.\r\n", 6);
	sim_run(s.sim, 1000000);
	sim_abort(c);
	for (uint32_t i = 0; i < 300 && fake_control_find(&s.control, "result=unheard")[0] == '\0'; i++)
		sim_run(s.sim, 10000);
	CHECK_TRUE(
		"its answer was awaited", strstr(fake_control_find(&s.control, "result=unheard"), "queued as") != NULL);
	sim_host_pause(s.lan, true);
	sim_run(s.sim, 12000000);
	CHECK_EQ("gone", sessions(), 0);
	sim_host_pause(s.lan, false);
	scene_end(&s);
}

/* A client that sends a megabyte of commands at once. */
static void
test_a_flood_of_commands_ends_the_session(void **state)
{
	static char flood[1 << 20];
	struct sim_conn *c;

	(void)state;
	start_small(64, 0);
	for (size_t i = 0; i + 6 <= sizeof(flood); i += 6)
		memcpy(flood + i, "NOOP\r\n", 6);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	sim_send(c, flood, sizeof(flood) / 6 * 6);
	sim_run(s.sim, 20000000);
	CHECK_EQ("too many commands end it", sessions(), 0);
	scene_end(&s);
}

/* ---- mail ---- */

/* Once: the recipient accepted before was lost, its client told 250 all the same. */
static void
test_a_reload_that_takes_the_backend_away_loses_no_accepted_recipient(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_small(64, 0);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("first", scene_rcpt(&s, c, "a@sender.example", "one@example.org"), 250);
	s.config.backend[0].id = 99; /* renamed */
	sim_publish(s.sim, sim_conf_parts(&s.config));
	sim_run(s.sim, 5000000);
	CHECK_EQ("second", scene_chat(&s, c, "RCPT TO:<two@example.org>"), 451);
	CHECK_EQ("the message", scene_chat(&s, c, "DATA"), 451);
	CHECK_EQ("nothing was taken", s.mta.n_messages, 0);
	CHECK_EQ("the next transaction goes to the new one", scene_rcpt(&s, c, "a@sender.example", "one@example.org"),
		250);
	scene_quit(&s, c);
	scene_end(&s);
}

/* Address syntax that is meant to lead past the relay guard: none of it reaches the backend as a recipient of ours. */
static void
test_no_form_of_a_foreign_address_is_taken(void **state)
{
	static const struct {
		const char *rcpt;
		int want;
	} rows[] = {
		{ "<u@elsewhere.example>", 550 }, { "<u@example.org@elsewhere.example>", 501 },
		{ "<\"u@example.org\"@elsewhere.example>", 550 },
		{ "<\"u\\\"@example.org\\\"\"@elsewhere.example>", 550 }, { "<@example.org:u@elsewhere.example>", 550 },
		{ "<@example.org,@example.net:u@elsewhere.example>", 550 }, { "<u@elsewhere.example.>", 501 },
		{ "<u@example.org.>", 501 }, { "<u@.example.org>", 501 }, { "<u@*>", 501 },
		{ "<u@notexample.org>", 550 }, { "<u@sub.example.org>", 550 }, { "<u@[198.18.0.2]>", 550 },
		{ "<u@[IPv6:2001:db8:0:1::2]>", 550 }, { "<u@[tag:example.org]>", 550 },
		{ "<postmaster@elsewhere.example>", 550 }, { "<abuse@elsewhere.example>", 550 },
		{ "<\"postmaster\">", 501 }, { "<abuse>", 501 }, { "<u>", 501 },
		{ "<u@example.org>@elsewhere.example", 501 }, { "<u@elsewhere.example> <u@example.org>", 501 },
		{ "<u@example.org\t>", 501 }, { "<u@example.org%00>", 501 }, { "<u@ex\xc3\xa4mple.org>", 553 },
		{ "<u@EXAMPLE.ORG>", 250 },
		{ "<u%elsewhere.example@example.org>",
			250 }, /* a local part like any other (POLICY section 2: after the last @) */
	};
	struct sim_conn *c;

	(void)state;
	start_small(64, 0);
	s.config.conf.errors_max = 1000;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char line[512];

		snprintf(line, sizeof(line), "RCPT TO:%s", rows[i].rcpt);
		CHECK_EQ(rows[i].rcpt, scene_chat(&s, c, line), rows[i].want);
	}
	scene_quit(&s, c);
	scene_end(&s);
}

/* Ends of data and of lines that other servers believe in: the backend gets one message, whatever is inside it. */
static void
test_no_octets_of_a_message_become_commands(void **state)
{
	static const char *const ends[] = { "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r\n\0.\r\n",
		"\r\n.\0\r\n", "\r.\r\n", "\r\r\n.\r\r\n", "\n\r.\n\r" };
	static const uint32_t lens[] = { 3, 3, 4, 4, 4, 6, 6, 4, 7, 5 };

	(void)state;
	start_small(64, 0);
	for (uint32_t i = 0; i < ARRAY_LEN(ends); i++)
		for (uint32_t cut = 0; cut < 2; cut++) {
			static const char evil[] =
				"MAIL FROM:<evil@sender.example>\r\nRCPT TO:<u@example.org>\r\nDATA\r\nforged\r\n.\r\n";
			struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
			const uint32_t before = s.mta.n_messages;
			char text[512];
			size_t n = 0;

			CHECK_EQ("recipient", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
			CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
			n += (size_t)snprintf(text, sizeof(text), "Subject: x\r\n\r\nline");
			memcpy(text + n, ends[i], lens[i]);
			if (cut) { /* within the end itself */
				sim_send(c, text, n + lens[i] / 2);
				sim_run(s.sim, 100000);
				memmove(text, text + n + lens[i] / 2, lens[i] - lens[i] / 2);
				n = 0;
				n += lens[i] - lens[i] / 2;
			} else {
				n += lens[i];
			}
			memcpy(text + n, evil, sizeof(evil) - 1);
			n += sizeof(evil) - 1;
			sim_send(c, text, n);
			CHECK_EQ("message", scene_reply(&s, c), 250);
			CHECK_EQ("one message", s.mta.n_messages - before, 1);
			CHECK_STR("of one sender", s.mta.message[before].from, "a@sender.example");
			scene_quit(&s, c);
		}
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connections_above_the_limit_leave_room_for_others),
		cmocka_unit_test(test_clients_that_never_close_do_not_fill_the_connections),
		cmocka_unit_test(test_finished_transactions_give_back_the_memory_of_recipients),
		cmocka_unit_test(test_a_lost_client_does_not_leave_a_session_to_a_silent_backend),
		cmocka_unit_test(test_a_client_lost_after_the_dot_does_not_leave_a_session_either),
		cmocka_unit_test(test_a_flood_of_commands_ends_the_session),
		cmocka_unit_test(test_a_reload_that_takes_the_backend_away_loses_no_accepted_recipient),
		cmocka_unit_test(test_no_form_of_a_foreign_address_is_taken),
		cmocka_unit_test(test_no_octets_of_a_message_become_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
