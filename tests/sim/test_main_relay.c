/*
 * test_main_relay.c - a whole worker in front of backends that fail, in virtual time: the transaction passed on, and what the client hears.
 *
 * The client, the backend and control are played by the test (scene.h). Names of POLICY sections stand in the tests.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */
static const char body[] = "Subject: hello\r\n\r\nfirst line\r\n..dotted\r\nlast\r\n";

/* ---- POLICY section 5 ---- */

static void
test_backend_failures_before_the_data_are_451_and_leave_the_record_white(void **state)
{
	static const struct {
		const char *label;
		size_t field;
		enum fake_fail how;
	} rows[] = {
		{ "closes at once", offsetof(struct fake_mta, at_connect), FAKE_CLOSE },
		{ "resets at once", offsetof(struct fake_mta, at_connect), FAKE_RESET },
		{ "says nothing", offsetof(struct fake_mta, at_banner), FAKE_SILENT },
		{ "421 banner", offsetof(struct fake_mta, at_banner), FAKE_421 },
		{ "554 banner", offsetof(struct fake_mta, at_banner), FAKE_5XX },
		{ "nonsense banner", offsetof(struct fake_mta, at_banner), FAKE_NONSENSE },
		{ "4xx to EHLO", offsetof(struct fake_mta, at_ehlo), FAKE_4XX },
		{ "EHLO unanswered", offsetof(struct fake_mta, at_ehlo), FAKE_SILENT },
		{ "421 to MAIL", offsetof(struct fake_mta, at_mail), FAKE_421 },
		{ "closes at MAIL", offsetof(struct fake_mta, at_mail), FAKE_CLOSE },
		{ "resets at RCPT", offsetof(struct fake_mta, at_rcpt), FAKE_RESET },
		{ "421 to RCPT", offsetof(struct fake_mta, at_rcpt), FAKE_421 },
		{ "nonsense to RCPT", offsetof(struct fake_mta, at_rcpt), FAKE_NONSENSE },
		{ "silent at RCPT", offsetof(struct fake_mta, at_rcpt), FAKE_SILENT },
		{ "closes at DATA", offsetof(struct fake_mta, at_data), FAKE_CLOSE },
		{ "421 to DATA", offsetof(struct fake_mta, at_data), FAKE_421 },
	};

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum fake_fail *at = (enum fake_fail *)(void *)((char *)&s.mta + rows[i].field);

		*at = rows[i].how;
		CHECK_EQ(rows[i].label, scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
		CHECK_TRUE(rows[i].label, scene_wait_s(&s) == -1); /* our failure, not the greylist's */
		*at = FAKE_OK;
		sim_run(s.sim, 90000000);
		CHECK_EQ(rows[i].label, scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	}
	scene_end(&s);
}

static void
test_backend_killed_inside_data_is_451_after_the_dot(void **state)
{
	static const struct {
		const char *label;
		size_t field;
		enum fake_fail how;
		int want;
	} rows[] = {
		{ "closes inside DATA", offsetof(struct fake_mta, at_body), FAKE_CLOSE, 451 },
		{ "resets inside DATA", offsetof(struct fake_mta, at_body), FAKE_RESET, 451 },
		{ "answers inside DATA", offsetof(struct fake_mta, at_body), FAKE_5XX, 550 },
		{ "closes after the dot", offsetof(struct fake_mta, at_dot), FAKE_CLOSE, 451 },
		{ "resets after the dot", offsetof(struct fake_mta, at_dot), FAKE_RESET, 451 },
		{ "421 to the dot", offsetof(struct fake_mta, at_dot), FAKE_421, 451 },
		{ "its own 4xx", offsetof(struct fake_mta, at_dot), FAKE_4XX, 450 },
		{ "its own 5xx", offsetof(struct fake_mta, at_dot), FAKE_5XX, 550 },
		{ "nonsense", offsetof(struct fake_mta, at_dot), FAKE_NONSENSE, 451 },
		{ "silence for ten minutes", offsetof(struct fake_mta, at_dot), FAKE_SILENT, 451 },
	};
	uint32_t before;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum fake_fail *at = (enum fake_fail *)(void *)((char *)&s.mta + rows[i].field);
		struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
		int code;

		before = s.mta.n_messages;
		*at = rows[i].how;
		CHECK_EQ(rows[i].label, scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "DATA"), 354);
		sim_run(s.sim, 1000000);
		code = scene_chat(&s, c, "line one\r\nline two\r\n.");
		if (code != rows[i].want && !(rows[i].how == FAKE_5XX && code == 451))
			CHECK_EQ(rows[i].label, code, rows[i].want);
		CHECK_EQ(rows[i].label, s.mta.n_messages, before);
		CHECK_EQ("the session goes on", scene_chat(&s, c, "NOOP"), 250);
		*at = FAKE_OK;
		scene_quit(&s, c);
		sim_run(s.sim, 90000000);
		CHECK_EQ(rows[i].label, scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
		CHECK_EQ("delivered once", s.mta.n_messages, before + 1);
	}
	CHECK_TRUE("and in so long a time the key of cookies changed", scene_count(&s, CTR_tcp_cookie_rekeyed) > 0);
	scene_end(&s);
}

static void
test_client_gone_inside_data_aborts_the_backend(void **state)
{
	static const struct {
		const char *label;
		bool reset;
	} rows[] = { { "FIN", false }, { "RST", true } };

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
		const uint32_t aborted = s.mta.n_aborted_in_data, messages = s.mta.n_messages, quits = s.mta.n_quits;

		CHECK_EQ(rows[i].label, scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "DATA"), 354);
		sim_send(c, "half a mess\r\n.", 14);
		sim_run(s.sim, 100000);
		if (rows[i].reset)
			sim_abort(c);
		else
			sim_close(c);
		sim_run(s.sim, 5000000);
		CHECK_EQ(rows[i].label, s.mta.n_aborted_in_data, aborted + 1);
		CHECK_EQ(rows[i].label, s.mta.n_messages, messages);
		CHECK_EQ(rows[i].label, s.mta.n_quits, quits);
		CHECK_EQ("nothing is left open", worker_sessions(sim_worker(s.sim, 0)), 0);
	}
	scene_end(&s);
}

static void
test_client_gone_after_the_dot_is_unheard_but_delivered(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	s.mta.delay_us = 3000000;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
	sim_send(c, "x\r\n.\r\n", 6);
	sim_run(s.sim, 100000);
	sim_abort(c);
	sim_run(s.sim, 20000000);
	CHECK_EQ("the backend has it", s.mta.n_messages, 2);
	CHECK_TRUE("logged", fake_control_find(&s.control, "result=unheard")[0] != '\0');
	CHECK_EQ("nothing is left open", worker_sessions(sim_worker(s.sim, 0)), 0);
	scene_end(&s);
}

static void
test_recipients_of_another_pool_come_separately(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	CHECK_EQ("grey", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.net", body), 451);
	sim_run(s.sim, 241000000);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("first pool", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("second pool", scene_chat(&s, c, "RCPT TO:<u@example.net>"), 452);
	CHECK_STR("code", strstr(s.reply, "452 4.5.3") == s.reply ? "452 4.5.3" : s.reply, "452 4.5.3");
	CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	CHECK_EQ("next transaction", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("its record had advanced", scene_chat(&s, c, "RCPT TO:<u@example.net>"), 250);
	CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	scene_quit(&s, c);
	CHECK_EQ("at the second", s.mta_x.n_messages, 1);
	CHECK_STR("client by XCLIENT", s.mta_x.message[0].client, CLIENT4);
	CHECK_STR("name by XCLIENT", s.mta_x.message[0].name, "mail.sender.example");
	scene_end(&s);
}

/* Who is known to be good does not wait for the name that XCLIENT tells, a stranger's first passing recipient does. */
static void
test_known_clients_never_wait_for_the_name_xclient_tells(void **state)
{
	struct sim_conn *c;
	uint64_t began;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	CHECK_EQ("grey", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.net", body), 451);
	sim_run(s.sim, 241000000);
	s.control.silent = true;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	began = sim_now_us(s.sim);
	CHECK_EQ("the first that passes", scene_chat(&s, c, "RCPT TO:<u@example.net>"), 250);
	CHECK_TRUE("waits for its name", sim_now_us(s.sim) - began > 1900000);
	CHECK_TRUE("no longer than the deadline", sim_now_us(s.sim) - began < 2100000);
	scene_quit(&s, c);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	began = sim_now_us(s.sim);
	CHECK_EQ("the next", scene_chat(&s, c, "RCPT TO:<u@example.net>"), 250);
	CHECK_TRUE("does not", sim_now_us(s.sim) - began < 50000);
	CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	scene_quit(&s, c);
	CHECK_STR("what is not known is told so", s.mta_x.message[0].name, "[TEMPUNAVAIL]");

	s.control.silent = false; /* and from its memory control answers at once */
	CHECK_EQ("again", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.net", body), 250);
	CHECK_STR("by its name", s.mta_x.message[1].name, "mail.sender.example");
	scene_end(&s);
}

static void
test_another_backend_of_the_pool_is_tried(void **state)
{
	(void)state;
	scene_conf(&s);
	s.config.pool[0].backends = 1 << 0 | 1 << 2; /* mta and mta-v1 */
	scene_start(&s, 3, 1, clean);
	scene_settle(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	s.mta.at_connect = FAKE_RESET;
	for (uint32_t i = 0; i < 6; i++)
		CHECK_EQ("the other one takes it",
			scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("client by PROXY v1", strcmp(s.mta_v1.message[s.mta_v1.n_messages - 1].client, CLIENT4) == 0);
	scene_end(&s);
}

static void
test_open_relay_and_loop_are_taken_out_of_service(void **state)
{
	(void)state;
	scene_conf(&s);
	s.mta.open_relay = true;
	s.mta_x.banner = "gw.example ESMTP";
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	CHECK_EQ("open relay", segment_backend(sim_segment(s.sim), 11, false)->health, BACKEND_OPEN_RELAY);
	CHECK_TRUE("names mynetworks",
		strstr(segment_backend(sim_segment(s.sim), 11, false)->words, "mynetworks") != NULL);
	CHECK_EQ("ourselves", segment_backend(sim_segment(s.sim), 12, false)->health, BACKEND_LOOP);
	CHECK_EQ("first", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	sim_run(s.sim, 241000000);
	CHECK_EQ("no service", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_EQ("nothing relayed", s.mta.n_messages, 0);
	scene_end(&s);
}

static void
test_ehlo_offers_what_all_backends_have(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	s.mta_x.ext =
		"250-PIPELINING\r\n250-SIZE 1000\r\n250-SMTPUTF8\r\n250-AUTH PLAIN\r\n250-VRFY\r\n250-CHUNKING\r\n";
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_TRUE("PIPELINING is ours", strstr(s.reply, "PIPELINING\r\n") != NULL);
	CHECK_TRUE("the largest SIZE", strstr(s.reply, "SIZE 50000000\r\n") != NULL);
	CHECK_TRUE("only one has 8BITMIME", strstr(s.reply, "8BITMIME") == NULL);
	CHECK_TRUE("only one has SMTPUTF8", strstr(s.reply, "SMTPUTF8") == NULL);
	CHECK_TRUE("never", strstr(s.reply, "AUTH") == NULL && strstr(s.reply, "VRFY") == NULL &&
				    strstr(s.reply, "XCLIENT") == NULL);
	scene_quit(&s, c);
	scene_end(&s);
}

static void
test_rset_between_messages_resets_the_backend(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	scene_make_white(&s, CLIENT4, "a@sender.example", "v@example.org");
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("RSET", scene_chat(&s, c, "RSET"), 250);
	CHECK_EQ("mail", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("rcpt", scene_chat(&s, c, "RCPT TO:<v@example.org>"), 250);
	CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	scene_quit(&s, c);
	CHECK_EQ("one recipient", s.mta.message[s.mta.n_messages - 1].n_to, 1);
	CHECK_STR("the second", s.mta.message[s.mta.n_messages - 1].to[0], "v@example.org");
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backend_failures_before_the_data_are_451_and_leave_the_record_white),
		cmocka_unit_test(test_backend_killed_inside_data_is_451_after_the_dot),
		cmocka_unit_test(test_client_gone_inside_data_aborts_the_backend),
		cmocka_unit_test(test_client_gone_after_the_dot_is_unheard_but_delivered),
		cmocka_unit_test(test_recipients_of_another_pool_come_separately),
		cmocka_unit_test(test_known_clients_never_wait_for_the_name_xclient_tells),
		cmocka_unit_test(test_another_backend_of_the_pool_is_tried),
		cmocka_unit_test(test_open_relay_and_loop_are_taken_out_of_service),
		cmocka_unit_test(test_ehlo_offers_what_all_backends_have),
		cmocka_unit_test(test_rset_between_messages_resets_the_backend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
