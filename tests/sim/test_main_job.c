/*
 * test_main_job.c - a whole worker from segments to segments, in virtual time: greylist, reject, modes, splice, limits, large mail.
 *
 * The client, the backend and control are played by the test (scene.h). Names of POLICY sections stand in the tests.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */
static const char body[] = "Subject: hello\r\n\r\nfirst line\r\n..dotted\r\nlast\r\n";
static const char body_wire[] = "Subject: hello\r\n\r\nfirst line\r\n..dotted\r\nlast\r\n.\r\n";

/* ---- POLICY section 3 ---- */

static void
test_stranger_is_greylisted_counts_down_and_passes(void **state)
{
	const struct fake_message *m;

	(void)state;
	scene_usual(&s);
	CHECK_EQ("first", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_STR("text", s.reply, "451 4.7.1 Greylisted, please try again in 240 seconds\r\n");
	sim_run(s.sim, 100000000);
	CHECK_EQ("early", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_TRUE("counts down", scene_wait_s(&s) > 0 && scene_wait_s(&s) < 142);
	sim_run(s.sim, (uint64_t)scene_wait_s(&s) * 1000000);
	CHECK_EQ("retry exactly when told", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_EQ("messages at the backend", s.mta.n_messages, 1);
	m = &s.mta.message[0];
	CHECK_OCTETS("octets", m->data, m->octets, body_wire, sizeof(body_wire) - 1);
	CHECK_STR("client by PROXY", m->client, CLIENT4);
	CHECK_STR("from", m->from, "a@sender.example");
	CHECK_STR("to", m->to[0], "u@example.org");
	CHECK_EQ("the next passes at once", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("logged with queue id",
		strstr(fake_control_find(&s.control, "result=delivered"), "queued as SIM1") != NULL);
	scene_end(&s);
}

static void
test_ipv6_client_is_served_alike(void **state)
{
	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT6, "a@sender.example", "u@example.org");
	CHECK_STR("client by PROXY", s.mta.message[0].client, CLIENT6);
	scene_end(&s);
}

static void
test_a_changed_block_acts_in_the_next_reply(void **state)
{
	(void)state;
	scene_usual(&s);
	CHECK_EQ("first", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_EQ("block", scene_wait_s(&s), 240);
	s.config.conf.grey_block_s = 60;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	CHECK_EQ("again", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_TRUE("existing record", scene_wait_s(&s) <= 60 && scene_wait_s(&s) > 50);
	scene_end(&s);
}

/* A restart without memory: who is known passes as soon as WHITE is loaded, who is not there yet is put off and keeps his chance. */
static void
test_known_clients_pass_while_records_are_loaded(void **state)
{
	struct segment_live *live;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	live = sim_segment(s.sim)->live;
	live->loading = SEGMENT_LOADING;
	live->loading_left_s = 3;
	live->loading_done = 10;
	live->loading_of = 100;
	live->heartbeat_us[SEGMENT_CONTROL] = sim_now_us(s.sim);
	CHECK_EQ("WHITE", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	live->heartbeat_us[SEGMENT_CONTROL] = sim_now_us(s.sim);
	CHECK_EQ("a miss", scene_deliver(&s, CLIENT4, "b@sender.example", "u@example.org", body), 451);
	CHECK_EQ("till all is there", scene_wait_s(&s), 3);
	sim_run(s.sim, 3000000);
	live->loading = SEGMENT_LOADED;
	CHECK_EQ("a stranger after all", scene_deliver(&s, CLIENT4, "b@sender.example", "u@example.org", body), 451);
	CHECK_EQ("whose first attempt this is", scene_wait_s(&s), 240);

	live->loading = SEGMENT_LOADING; /* and control is gone for good */
	sim_run(s.sim, SEGMENT_LOADING_SILENT_US);
	CHECK_EQ("nobody fills the table", scene_deliver(&s, CLIENT4, "c@sender.example", "u@example.org", body), 451);
	CHECK_EQ("so it is greylisted", scene_wait_s(&s), 240);
	sim_run(s.sim, 240000000);
	CHECK_EQ("and passes", scene_deliver(&s, CLIENT4, "c@sender.example", "u@example.org", body), 250);
	scene_end(&s);
}

static void
test_null_sender_gets_the_backends_answer_and_is_deferred_at_data(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	s.mta.unknown_rcpt = "nobody@example.org";
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("call-out is told the truth", scene_rcpt(&s, c, "", "nobody@example.org"), 550);
	CHECK_EQ("known user", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_EQ("DATA is deferred", scene_chat(&s, c, "DATA"), 451);
	CHECK_EQ("with the wait", scene_wait_s(&s), 240);
	scene_quit(&s, c);
	CHECK_EQ("the backend saw no DATA", s.mta.n_messages, 0);
	sim_run(s.sim, 241000000);
	CHECK_EQ("later it passes", scene_deliver(&s, CLIENT4, "", "u@example.org", body), 250);
	scene_end(&s);
}

static void
test_data_after_nothing_but_deferrals_is_451(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("grey", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 451);
	scene_quit(&s, c);
	scene_end(&s);
}

static void
test_known_and_new_recipient_in_one_message(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("known", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("new", scene_chat(&s, c, "RCPT TO:<v@example.org>"), 451);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	scene_quit(&s, c);
	CHECK_EQ("delivered once", s.mta.n_messages, 2);
	CHECK_EQ("to one", s.mta.message[1].n_to, 1);
	scene_end(&s);
}

/* ---- POLICY sections 2 and 4 ---- */

static void
test_listed_client_is_rejected_but_postmaster_is_reached(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	s.control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 5 };
	CHECK_EQ("listed", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 554);
	CHECK_TRUE("text",
		strstr(s.reply, "554 5.7.1 Sending address not accepted due to spam filter; bl.example (") == s.reply);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("postmaster", scene_rcpt(&s, c, "a@sender.example", "postmaster@example.org"), 250);
	CHECK_EQ("another in the same session", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 554);
	scene_quit(&s, c);
	scene_end(&s);
}

static void
test_no_reverse_dns_is_rejected_a_dns_failure_is_not(void **state)
{
	(void)state;
	scene_usual(&s);
	s.control.ptr = NULL;
	s.control.verdict = (struct client_verdict){ .ptr_state = PTR_NONE, .zone = ZONE_NONE };
	CHECK_EQ("none", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 554);
	CHECK_TRUE("reason", strstr(s.reply, "spam filter; no reverse DNS (") != NULL);
	s.control.verdict = (struct client_verdict){ .ptr_state = PTR_TEMPERR, .zone = ZONE_NONE };
	CHECK_EQ("temporary error", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	scene_end(&s);
}

static void
test_relaying_is_denied_before_anything_else(void **state)
{
	(void)state;
	scene_usual(&s);
	s.control.silent = true;
	CHECK_EQ("other domain", scene_deliver(&s, CLIENT4, "a@sender.example", "u@elsewhere.example", body), 550);
	CHECK_STR("text", s.reply, "550 5.7.1 Relaying denied\r\n");
	CHECK_EQ("source route",
		scene_deliver(&s, CLIENT4, "a@sender.example", "@example.org:u@elsewhere.example", body), 550);
	CHECK_EQ("percent hack is a local part of ours",
		scene_deliver(&s, CLIENT4, "a@sender.example", "u%elsewhere.example@example.org", body), 451);
	scene_end(&s);
}

static void
test_550_of_the_backend_is_its_own_and_undoes_the_record(void **state)
{
	(void)state;
	scene_usual(&s);
	s.mta.unknown_rcpt = "nobody@example.org";
	CHECK_EQ("first", scene_deliver(&s, CLIENT4, "a@sender.example", "nobody@example.org", body), 451);
	sim_run(s.sim, 241000000);
	CHECK_EQ("the MTA's word", scene_deliver(&s, CLIENT4, "a@sender.example", "nobody@example.org", body), 550);
	CHECK_STR("unchanged", s.reply, "550 5.1.1 User unknown in virtual mailbox table\r\n");
	scene_end(&s);
}

static void
test_dead_dns_delays_by_the_deadline_and_refuses_nobody(void **state)
{
	struct sim_conn *c;
	uint64_t before;

	(void)state;
	scene_usual(&s);
	s.control.silent = true;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	before = sim_now_us(s.sim);
	CHECK_EQ("grey, not refused", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	CHECK_TRUE("within the deadline", sim_now_us(s.sim) - before < 2100000);
	scene_quit(&s, c);
	sim_run(s.sim, 241000000);
	CHECK_EQ("passes", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("counted", scene_count(&s, CTR_worker_verdicts_late) > 0);
	scene_end(&s);
}

static void
test_a_late_answer_counts_at_the_next_recipient(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	s.control.delay_us = 3000000;
	s.control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 9 };
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("decided without", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	sim_run(s.sim, 2000000);
	CHECK_EQ("decided with it", scene_chat(&s, c, "RCPT TO:<v@example.org>"), 554);
	scene_quit(&s, c);
	scene_end(&s);
}

static void
test_reject_at_connect_refuses_by_banner(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	s.config.conf.reject_at = REJECT_AT_CONNECT;
	s.control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 9 };
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("banner", atoi(s.reply), 554);
	CHECK_EQ("only QUIT", scene_chat(&s, c, "EHLO x"), 503);
	CHECK_EQ("QUIT", scene_chat(&s, c, "QUIT"), 221);
	scene_end(&s);
}

/* A connection that the far end refuses or lets be; true: refused by a reset. */
static bool
is_refused(const char *from, const char *to)
{
	struct sim_conn *c = sim_connect(s.client, from, to, 25);

	sim_run(s.sim, 100000);
	CHECK_TRUE("one or the other", c->refused != c->connected);
	return c->refused;
}

static void
test_reject_at_syn_refuses_the_connection(void **state)
{
	(void)state;
	scene_conf(&s);
	s.config.conf.reject_at = REJECT_AT_SYN;
	s.config.client_deny = "198.18.0.10";
	s.control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 9 };
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	CHECK_TRUE("a denied address, at once", is_refused(CLIENT4, GATEWAY4));
	CHECK_TRUE("a stranger is answered", !is_refused(CLIENT6, GATEWAY6));
	sim_run(s.sim, 3000000); /* and judged, as connect does: control keeps what DNS said */
	CHECK_EQ("refused at the SYN", scene_count(&s, CTR_worker_refused_at_syn), 1);
	CHECK_EQ("no connection was made of it", scene_count(&s, CTR_tcp_syn_in), 1);
	CHECK_TRUE("who, where and why", strstr(fake_control_find(&s.control, "connection refused at its SYN"),
						 "listener=mx client=198.18.0.10 rule=6 reason=denied-client") != NULL);
	CHECK_TRUE("the stranger by his banner", scene_count(&s, CTR_worker_refused_at_connect) > 0);
	s.config.conf.mode = MODE_SOFT;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	CHECK_TRUE("soft answers, to defer", !is_refused(CLIENT4, GATEWAY4));
	scene_end(&s);
}

/* A SYN costs its sender nothing: the log has so many lines of them a second, the rest as a number, and every one is counted. */
static void
test_log_lines_of_refused_syns_are_bounded(void **state)
{
	uint32_t lines = 0, before;

	(void)state;
	scene_conf(&s);
	s.config.conf.reject_at = REJECT_AT_SYN;
	s.config.client_deny = "198.18.0.10";
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	sim_connect(s.client, CLIENT4, GATEWAY4, 25);          /* the next hop is known: what follows arrives at once */
	sim_run(s.sim, 3000000 - sim_now_us(s.sim) % 1000000); /* a second begins */
	before = s.control.n_log;
	for (uint32_t i = 0; i < 50; i++)
		sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, 2000000);
	CHECK_EQ("refused", scene_count(&s, CTR_worker_refused_at_syn), 51);
	CHECK_TRUE("the log's ring is long enough to look at", s.control.n_log - before < ARRAY_LEN(s.control.log));
	for (uint32_t i = before; i < s.control.n_log; i++)
		lines += strstr(s.control.log[i % ARRAY_LEN(s.control.log)], "connection refused at its SYN") != NULL;
	CHECK_EQ("lines", lines, 20);
	CHECK_EQ("without one", scene_count(&s, CTR_worker_log_syn_capped), 30);
	CHECK_TRUE("summed up",
		strstr(fake_control_find(&s.control, "connections refused at their SYN without"), "count=30") != NULL);
	before = s.control.n_log;
	sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, 2000000);
	CHECK_EQ("a later second has lines again, and no summary of nothing", s.control.n_log - before, 1);
	scene_end(&s);
}

/* ---- POLICY section 7 ---- */

static void
test_modes(void **state)
{
	(void)state;
	scene_conf(&s);
	s.config.conf.mode = MODE_OBSERVE;
	s.control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 9 };
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	CHECK_EQ("observe lets a listed client in",
		scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("and says so", strstr(fake_control_find(&s.control, "would=reject"), "verdict=pass") != NULL);
	{
		/* what was delivered without a hit starts warm, each recipient of it */
		struct sim_conn *c;

		s.control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("one", scene_rcpt(&s, c, "w@sender.example", "one@example.org"), 250);
		CHECK_EQ("two", scene_chat(&s, c, "RCPT TO:<two@example.org>"), 250);
		CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
		CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
		scene_quit(&s, c);
		s.config.conf.mode = MODE_ENFORCE;
		sim_publish(s.sim, sim_conf_parts(&s.config));
		CHECK_EQ("one is warm", scene_deliver(&s, CLIENT4, "w@sender.example", "one@example.org", body), 250);
		CHECK_EQ("two is warm", scene_deliver(&s, CLIENT4, "w@sender.example", "two@example.org", body), 250);
		CHECK_EQ("a third is not", scene_deliver(&s, CLIENT4, "w@sender.example", "three@example.org", body),
			451);
		s.control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 9 };
	}
	CHECK_EQ("relaying stays denied", scene_deliver(&s, CLIENT4, "a@sender.example", "u@elsewhere.example", body),
		550);
	s.config.conf.mode = MODE_SOFT;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	CHECK_EQ("soft makes 451 of it", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	scene_end(&s);
}

static void
test_a_pipelined_burst_keeps_the_order_of_replies(void **state)
{
	static const char burst[] = "EHLO client.example\r\nMAIL FROM:<a@sender.example>\r\nRCPT "
				    "TO:<u@example.org>\r\nRCPT TO:<new@example.org>\r\n"
				    "RCPT TO:<u@elsewhere.example>\r\nNOOP\r\nDATA\r\n";
	static const int want[] = { 250, 250, 250, 451, 550, 250, 354 };
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	s.mta.delay_us = 200000;
	s.control.delay_us = 300000;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	sim_send(c, burst, sizeof(burst) - 1);
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		CHECK_EQ("reply", scene_reply(&s, c), want[i]);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	scene_quit(&s, c);
	scene_end(&s);
}

/* ---- submission ---- */

static void
test_submission_is_spliced_behind_a_proxy_header(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 587);
	CHECK_EQ("the MTA's own banner", scene_reply(&s, c), 220);
	CHECK_TRUE("its words", strstr(s.reply, "mta.example") != NULL);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@example.org>"), 250);
	CHECK_EQ("RCPT anywhere: the MTA's business", scene_chat(&s, c, "RCPT TO:<x@elsewhere.example>"), 250);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	CHECK_EQ("QUIT", scene_chat(&s, c, "QUIT"), 221);
	sim_run(s.sim, 1000000);
	sim_close(c);
	sim_run(s.sim, 5000000);
	CHECK_EQ("questions", s.control.n_questions, 0);
	CHECK_STR("client by PROXY", s.submit.message[0].client, CLIENT4);
	CHECK_EQ("nothing is left open", worker_sessions(sim_worker(s.sim, 0)), 0);
	scene_end(&s);
}

/* Nobody says a word, and one side is gone without one: the other must not be held for the length of a session. */
static void
test_a_dead_side_of_a_splice_is_noticed_by_asking(void **state)
{
	(void)state;
	for (int client_dies = 0; client_dies < 2; client_dies++) {
		struct sim_conn *c;

		scene_usual(&s);
		c = sim_connect(s.client, CLIENT4, GATEWAY4, 587);
		CHECK_EQ("banner", scene_reply(&s, c), 220);
		CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
		sim_run(s.sim, 200000000);
		CHECK_EQ("who lives is left alone", worker_sessions(sim_worker(s.sim, 0)), 1);
		CHECK_TRUE("both are asked", scene_count(&s, CTR_tcp_keepalive) >= 2);
		sim_host_pause(client_dies ? s.client : s.submit.host, true);
		sim_run(s.sim, 400000000);
		CHECK_EQ("the dead one is noticed", worker_sessions(sim_worker(s.sim, 0)), 0);
		CHECK_EQ("by asking", scene_count(&s, CTR_tcp_keepalive_limit), 1);
		scene_end(&s);
	}
}

/* ---- time, drain, reload ---- */

static void
test_drain_says_421_to_idle_sessions_and_lets_messages_finish(void **state)
{
	struct sim_conn *idle, *busy;
	struct worker_shared *shared;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	idle = scene_open(&s, CLIENT4, GATEWAY4);
	busy = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("rcpt", scene_rcpt(&s, busy, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("data", scene_chat(&s, busy, "DATA"), 354);
	shared = sim_shared(s.sim);
	atomic_store(&shared->drain, 1);
	CHECK_EQ("idle is told", scene_reply(&s, idle), 421);
	sim_close(idle);
	CHECK_EQ("the message finishes", scene_chat(&s, busy, "x\r\n."), 250);
	CHECK_EQ("then it is told", scene_reply(&s, busy), 421);
	sim_close(busy);
	sim_run(s.sim, 10000000);
	CHECK_EQ("all gone", worker_sessions(sim_worker(s.sim, 0)), 0);
	scene_end(&s);
}

static void
test_silent_clients_are_ended(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_usual(&s);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("421 after the command time-out", scene_reply_within(&s, c, 400000000), 421);
	sim_run(s.sim, 10000000);
	CHECK_EQ("all gone", worker_sessions(sim_worker(s.sim, 0)), 0);
	scene_end(&s);
}

static void
test_too_many_sessions_of_one_address_are_told_421(void **state)
{
	struct sim_conn *a, *b;

	(void)state;
	scene_conf(&s);
	s.config.conf.client_sessions_max = 1;
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	a = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("first", atoi(s.reply), 220);
	b = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("second", atoi(s.reply), 421);
	sim_close(b);
	scene_quit(&s, a);
	sim_run(s.sim, 3000000);
	a = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("room again", atoi(s.reply), 220);
	scene_end(&s);
}

/* ---- large mail, lossy wire, several workers ---- */

static void
carry(const char *label, uint64_t seed, uint32_t n_workers, struct sim_wire wire, size_t octets, const char *client,
	bool framed)
{
	uint8_t *mail = malloc(octets + 5);
	size_t n = 0;
	uint64_t x = seed * 2654435761u + 1;
	struct sim_conn *c;
	const struct fake_message *m;

	BUG_ON(mail == NULL);
	while (n < octets) {
		/* lines of many lengths, some that begin with dots (stuffed), some with octets above 127 */
		size_t len = (x = x * UINT64_C(6364136223846793005) + 1442695040888963407u) >> 33;

		len = MIN(len % 1200, octets - n);
		if (len < 4)
			len = MIN((size_t)4, octets - n);
		memset(mail + n, (int)(33 + (x >> 40) % 200), len);
		for (size_t i = 0; i < len; i++)
			if (mail[n + i] == '\r' || mail[n + i] == '\n' || mail[n + i] == '.')
				mail[n + i] = 'a';
		if (len >= 4 && (x >> 20) % 4 == 0)
			mail[n] = mail[n + 1] = '.';
		n += len;
		mail[n - 1] = '\n';
		if (len > 1)
			mail[n - 2] = '\r';
		else if (n > 2)
			mail[n - 1] = 'x';
	}
	memcpy(mail + n - 2, "\r\n", 2);
	memcpy(mail + n, ".\r\n", 3);
	scene_conf(&s);
	s.framed = framed;
	s.config.conf.grey_block_s = 1;
	s.config.conf.data_timeout_s = 1800;
	scene_start(&s, seed, n_workers, wire);
	scene_settle(&s);
	CHECK_EQ(label, scene_deliver(&s, client, "a@sender.example", "u@example.org", "x\r\n"), 451);
	sim_run(s.sim, 5000000);
	c = scene_open(&s, client, strchr(client, ':') != NULL ? GATEWAY6 : GATEWAY4);
	CHECK_EQ(label, scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ(label, scene_chat(&s, c, "DATA"), 354);
	sim_send(c, mail, n + 3);
	CHECK_EQ(label, scene_reply_within(&s, c, UINT64_C(3600000000)), 250);
	CHECK_EQ(label, s.mta.n_messages, 1);
	m = &s.mta.message[0];
	CHECK_OCTETS(label, m->data, m->octets, mail, n + 3);
	scene_quit(&s, c);
	scene_end(&s);
	free(mail);
}

static void
test_large_mail_arrives_octet_for_octet(void **state)
{
	static const struct sim_wire lossy = {
		.loss = 10, .duplicate = 5, .reorder = 10, .delay_us = 5000, .jitter_us = 1000
	};

	(void)state;
	carry("20 MB, clean", 11, 1, clean, 20u << 20, CLIENT4, false);
	carry("20 MB, lossy", 12, 1, lossy, 20u << 20, CLIENT4, false);
	carry("2 MB, lossy, two workers, IPv6", 13, 2, lossy, 2u << 20, CLIENT6, false);
	carry("2 MB, clean, three workers", 14, 3, clean, 2u << 20, CLIENT4, false);
}

static void
test_a_stream_that_reframes_and_delays_changes_nothing(void **state)
{
	static const struct sim_wire lossy = {
		.loss = 10, .duplicate = 5, .reorder = 10, .delay_us = 2000, .jitter_us = 1000
	};

	(void)state;
	for (uint64_t seed = 31; seed < 36; seed++)
		carry("framed", seed, 1, clean, 300000, CLIENT4, true);
	carry("framed, lossy, two workers", 36, 2, lossy, 300000, CLIENT6, true);
}

static void
test_many_sessions_over_two_workers_with_a_changing_arrival_lcore(void **state)
{
	struct sim_conn *c[64];

	(void)state;
	scene_conf(&s);
	scene_start(&s, 21, 2, (struct sim_wire){ .delay_us = 300, .jitter_us = 200, .loss = 5, .reorder = 20 });
	scene_settle(&s);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		c[i] = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		CHECK_EQ("banner", scene_reply(&s, c[i]), 220);
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		sim_rehash(s.sim);
		CHECK_EQ("grey", scene_rcpt(&s, c[i], "a@sender.example", "u@example.org"), 451);
	}
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		CHECK_EQ("QUIT", scene_chat(&s, c[i], "QUIT"), 221);
		sim_close(c[i]);
	}
	sim_run(s.sim, 10000000);
	CHECK_EQ("all gone", worker_sessions(sim_worker(s.sim, 0)) + worker_sessions(sim_worker(s.sim, 1)), 0);
	CHECK_TRUE(
		"both had some", counter_read(&sim_segment(s.sim)->counters[0], CTR_worker_sessions_begun) > 0 &&
					 counter_read(&sim_segment(s.sim)->counters[1], CTR_worker_sessions_begun) > 0);
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stranger_is_greylisted_counts_down_and_passes),
		cmocka_unit_test(test_ipv6_client_is_served_alike),
		cmocka_unit_test(test_a_changed_block_acts_in_the_next_reply),
		cmocka_unit_test(test_known_clients_pass_while_records_are_loaded),
		cmocka_unit_test(test_null_sender_gets_the_backends_answer_and_is_deferred_at_data),
		cmocka_unit_test(test_data_after_nothing_but_deferrals_is_451),
		cmocka_unit_test(test_known_and_new_recipient_in_one_message),
		cmocka_unit_test(test_listed_client_is_rejected_but_postmaster_is_reached),
		cmocka_unit_test(test_no_reverse_dns_is_rejected_a_dns_failure_is_not),
		cmocka_unit_test(test_relaying_is_denied_before_anything_else),
		cmocka_unit_test(test_550_of_the_backend_is_its_own_and_undoes_the_record),
		cmocka_unit_test(test_dead_dns_delays_by_the_deadline_and_refuses_nobody),
		cmocka_unit_test(test_a_late_answer_counts_at_the_next_recipient),
		cmocka_unit_test(test_reject_at_connect_refuses_by_banner),
		cmocka_unit_test(test_reject_at_syn_refuses_the_connection),
		cmocka_unit_test(test_log_lines_of_refused_syns_are_bounded),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_a_pipelined_burst_keeps_the_order_of_replies),
		cmocka_unit_test(test_submission_is_spliced_behind_a_proxy_header),
		cmocka_unit_test(test_a_dead_side_of_a_splice_is_noticed_by_asking),
		cmocka_unit_test(test_drain_says_421_to_idle_sessions_and_lets_messages_finish),
		cmocka_unit_test(test_silent_clients_are_ended),
		cmocka_unit_test(test_too_many_sessions_of_one_address_are_told_421),
		cmocka_unit_test(test_large_mail_arrives_octet_for_octet),
		cmocka_unit_test(test_a_stream_that_reframes_and_delays_changes_nothing),
		cmocka_unit_test(test_many_sessions_over_two_workers_with_a_changing_arrival_lcore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
