/*
 * test_rest_states.c - where sessions rest besides the first wait for a command: in the greet pause, between transactions, refused at connect,
 * under TLS; and that nothing anybody can see of a session tells whether it rested.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/worker/worker_impl.h"

#define SECOND_US UINT64_C(1000000)
#define MANY      100

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */

/* ---- in the greet pause ---- */

static void
conf_pause(uint32_t pause_ms)
{
	scene_conf(&s);
	s.config.conf.greet_pause_ms = pause_ms;
	s.config.conf.client_sessions_max = 0;
	s.config.conf.client_network_sessions_max = 0;
}

/* Nothing can rest any more. */
static void
take_all_records(void)
{
	struct tcp *tcp = scene_worker(&s)->tcp;

	while (pool_get(&tcp->rests.records) != POOL_NONE)
		continue;
}

/* As many as there were go back. */
static void
give_all_records(void)
{
	struct tcp *tcp = scene_worker(&s)->tcp;

	for (uint32_t i = 0; i < tcp->rests.records.n; i++)
		pool_put(&tcp->rests.records, i);
}

static void
test_sessions_in_the_greet_pause_rest(void **state)
{
	struct sim_conn *c[MANY];
	uint32_t bufs;

	(void)state;
	conf_pause(3000);
	scene_begin(&s);
	sim_run(s.sim, SECOND_US);
	bufs = sim_bufs_in_use(s.sim);
	for (uint32_t i = 0; i < MANY; i++) {
		c[i] = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		sim_run(s.sim, 2000);
	}
	sim_run(s.sim, SECOND_US);
	scene_check_resting(&s, "in the pause", MANY, bufs);
	for (uint32_t i = 0; i < MANY; i++) {
		CHECK_EQ("banner", scene_reply(&s, c[i]), 220);
		CHECK_STR("whole", s.reply, "220-gw.example ESMTP Greyline\r\n220 gw.example ESMTP Greyline\r\n");
	}
	CHECK_EQ("nobody was early", scene_count(&s, CTR_worker_early_talkers), 0);
	sim_run(s.sim, SECOND_US);
	scene_check_resting(&s, "after the banner", MANY, bufs);
	for (uint32_t i = 0; i < MANY; i++)
		scene_quit(&s, c[i]);
	scene_check_nothing_left(&s, "all ended", bufs);
	scene_end(&s);
}

/* How long a client waits for the banner that says something after say_s seconds, or nothing. */
static uint64_t
pause_us(uint32_t pause_ms, const char *say, bool rests)
{
	struct sim_conn *c;
	uint64_t at_us;

	conf_pause(pause_ms);
	scene_begin(&s);
	if (!rests)
		take_all_records();
	at_us = sim_now_us(s.sim);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, pause_ms * UINT64_C(1000) / 2);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), rests ? 1 : scene_worker(&s)->tcp->rests.records.n);
	sim_send(c, say, strlen(say));
	CHECK_EQ("banner", scene_reply(&s, c), 220);
	at_us = sim_now_us(s.sim) - at_us;
	CHECK_EQ("it talked early", scene_count(&s, CTR_smtp_early_talkers), say[0] != '\0');
	if (say[0] != '\0')
		CHECK_EQ("and its EHLO is answered", scene_reply(&s, c), 250);
	scene_quit(&s, c);
	scene_check_nothing_left(&s, "ended", 0);
	if (!rests)
		give_all_records();
	scene_end(&s);
	return at_us;
}

/* Rest makes no pause longer, and hides nobody who talks in it. */
static void
test_the_greet_pause_ends_in_time(void **state)
{
	static const uint32_t lengths_ms[] = { 300, 500, 777, 3000, 10000, 30000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lengths_ms); i++) {
		for (int early = 0; early < 2; early++) {
			const char *say = early ? "EHLO client.example\r\n" : "";
			const uint64_t with = pause_us(lengths_ms[i], say, true);

			CHECK_TRUE("not before its time", with >= lengths_ms[i] * UINT64_C(1000));
			CHECK_TRUE("nor later than without rest", with <= pause_us(lengths_ms[i], say, false) + 1000);
		}
	}
}

static void
test_who_goes_in_the_pause_is_found_at_rest(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf_pause(3000);
	scene_begin(&s);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), 1);
	sim_abort(c);
	sim_run(s.sim, SECOND_US);
	CHECK_TRUE("reset", fake_control_find(&s.control, "end=client-reset")[0] != '\0');
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), 1);
	sim_close(c);
	sim_run(s.sim, SECOND_US);
	CHECK_TRUE("closed", fake_control_find(&s.control, "end=client-closed")[0] != '\0');
	scene_check_nothing_left(&s, "ended", 0);
	scene_end(&s);
}

/* A pause that has begun is as long as it was then, whatever is set meanwhile; who comes later has the new one. */
static void
test_a_reload_in_the_pause_changes_the_next(void **state)
{
	struct sim_conn *c;
	uint64_t at_us;

	(void)state;
	conf_pause(3000);
	scene_begin(&s);
	at_us = sim_now_us(s.sim);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), 1);
	s.config.conf.greet_pause_ms = 20000;
	snprintf(s.config.conf.hostname, sizeof(s.config.conf.hostname), "renamed.example");
	sim_publish(s.sim, sim_conf_parts(&s.config));
	CHECK_EQ("banner", scene_reply(&s, c), 220);
	CHECK_TRUE("in time", sim_now_us(s.sim) - at_us <= 3100000);
	CHECK_TRUE("by the configuration in force", strstr(s.reply, "renamed.example") != NULL);
	scene_quit(&s, c);
	at_us = sim_now_us(s.sim);
	c = sim_connect(s.client, CLIENT6, GATEWAY6, 25);
	CHECK_EQ("banner", scene_reply(&s, c), 220);
	CHECK_TRUE("the new pause", sim_now_us(s.sim) - at_us >= 20000000);
	scene_quit(&s, c);
	scene_end(&s);
}

/* The banner waits for the client's verdict, which comes after delay_us or too late. How long that took. */
static uint64_t
connect_verdict_us(uint64_t delay_us, int code, bool rests)
{
	struct sim_conn *c;
	uint64_t at_us;

	scene_conf(&s);
	s.config.conf.reject_at = REJECT_AT_CONNECT;
	scene_begin(&s);
	s.control.verdict.score = 10;
	s.control.verdict.zone = 0;
	s.control.delay_us = delay_us;
	if (!rests)
		take_all_records();
	at_us = sim_now_us(s.sim);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, SECOND_US / 2);
	CHECK_EQ("holds a block", scene_worker(&s)->sessions.n_used, !rests);
	CHECK_EQ("banner", scene_reply(&s, c), code);
	at_us = sim_now_us(s.sim) - at_us;
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("refused or greeted, it holds one", scene_worker(&s)->sessions.n_used, !rests);
	if (code == 554)
		CHECK_EQ("only QUIT then", scene_chat(&s, c, "EHLO client.example"), 503);
	scene_quit(&s, c);
	scene_check_nothing_left(&s, "ended", 0);
	if (!rests)
		give_all_records();
	scene_end(&s);
	return at_us;
}

static void
test_a_wait_for_the_verdict_before_the_banner_rests(void **state)
{
	(void)state;
	CHECK_TRUE("refused when it comes",
		connect_verdict_us(1000000, 554, true) <= connect_verdict_us(1000000, 554, false) + 1000);
	CHECK_TRUE("greeted when it does not",
		connect_verdict_us(60000000, 220, true) <= connect_verdict_us(60000000, 220, false) + 1000);
}

static bool
is_soon_at_rest(void *arg)
{
	(void)arg;
	return scene_worker(&s)->idle_first != NULL && tcp_may_rest(scene_worker(&s)->idle_first->client.conn);
}

/* Who acknowledges a reply by itself, and sends his next command at once, is not put to rest between the two; a moment later he is. */
static void
test_a_command_behind_an_ack_finds_its_block(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	for (uint32_t i = 0; i < 5; i++) {
		CHECK_TRUE("acknowledged", sim_until(s.sim, SECOND_US, is_soon_at_rest, NULL));
		CHECK_EQ("its block is there still", scene_worker(&s)->sessions.n_used, 1);
		CHECK_EQ("served", scene_chat(&s, c, i == 0 ? "EHLO client.example" : "NOOP"), 250);
	}
	CHECK_EQ("it never rested", scene_count(&s, CTR_tcp_rested), 0);
	CHECK_TRUE("acknowledged", sim_until(s.sim, SECOND_US, is_soon_at_rest, NULL));
	sim_run(s.sim, 5000);
	CHECK_EQ("then it does", tcp_n_rests(scene_worker(&s)->tcp), 1);
	CHECK_EQ("once", scene_count(&s, CTR_tcp_rested), 1);
	CHECK_EQ(
		"nobody is waited for", scene_worker(&s)->idle_first == NULL && scene_worker(&s)->idle_last == NULL, 1);
	/* it ends while it is about to rest */
	CHECK_EQ("woken", scene_chat(&s, c, "NOOP"), 250);
	CHECK_TRUE("acknowledged", sim_until(s.sim, SECOND_US, is_soon_at_rest, NULL));
	sim_abort(c);
	sim_run(s.sim, 3000);
	CHECK_EQ("gone", worker_sessions(scene_worker(&s)), 0);
	CHECK_EQ("from the list, too", scene_worker(&s)->idle_first == NULL && scene_worker(&s)->idle_last == NULL, 1);
	scene_end(&s);
}

/* ---- between transactions ---- */

static void
test_sessions_between_transactions_rest(void **state)
{
	struct sim_conn *c[MANY];
	uint32_t bufs;

	(void)state;
	scene_conf(&s);
	s.config.conf.client_sessions_max = 0;
	s.config.conf.client_network_sessions_max = 0;
	scene_begin(&s);
	sim_run(s.sim, SECOND_US);
	bufs = sim_bufs_in_use(s.sim);
	for (uint32_t i = 0; i < MANY; i++) {
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("greylisted", scene_rcpt(&s, c[i], "a@sender.example", "u@example.org"), 451);
		CHECK_EQ("relaying denied", scene_chat(&s, c[i], "RCPT TO:<u@elsewhere.example>"), 550);
	}
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("a transaction holds its block", scene_worker(&s)->sessions.n_used, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		CHECK_EQ("ended", scene_chat(&s, c[i], "RSET"), 250);
	sim_run(s.sim, SECOND_US);
	scene_check_resting(&s, "between transactions", MANY, bufs);
	for (uint32_t i = 0; i < MANY; i++) {
		CHECK_EQ("the next", scene_chat(&s, c[i], "MAIL FROM:<b@sender.example>"), 250);
		CHECK_EQ("is judged", scene_chat(&s, c[i], "RCPT TO:<v@example.org>"), 451);
		CHECK_EQ("relaying denied", scene_chat(&s, c[i], "RCPT TO:<u@elsewhere.example>"), 550);
		scene_quit(&s, c[i]);
		CHECK_TRUE("counted over the whole session",
			strstr(fake_control_find(&s.control, "end=quit"), "relay_denied=2") != NULL);
	}
	scene_check_nothing_left(&s, "all ended", bufs);
	scene_end(&s);
}

/* Names asked about in a transaction that is over: their answer wakes nobody for good. */
static void
test_late_answers_about_names_leave_it_at_rest(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	s.config.conf.helo_weight_max = s.config.conf.sender_weight_max = 1;
	scene_begin(&s);
	s.control.names_delay_us = 6 * SECOND_US; /* beyond the deadline of 2 s */
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("greylisted", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	CHECK_EQ("asked", s.control.n_name_questions, 1);
	CHECK_EQ("ended", scene_chat(&s, c, "RSET"), 250);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), 1);
	sim_run(s.sim, 10 * SECOND_US);
	CHECK_EQ("at rest after the answer", tcp_n_rests(scene_worker(&s)->tcp), 1);
	CHECK_EQ("without a block", scene_worker(&s)->sessions.n_used, 0);
	CHECK_EQ("another transaction", scene_chat(&s, c, "MAIL FROM:<b@sender.example>"), 250);
	CHECK_EQ("is judged without", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
	CHECK_EQ("for its time for DNS is spent", s.control.n_name_questions, 1);
	scene_quit(&s, c);
	scene_end(&s);
}

/* A message was delivered: once its backend has gone the session rests, and another message takes another connection. */
static void
test_a_session_that_delivered_rests_without_its_backend(void **state)
{
	struct sim_conn *c[20];
	uint32_t bufs;

	(void)state;
	scene_conf(&s);
	s.config.conf.grey_block_s = 1;
	s.config.conf.client_sessions_max = 0;
	s.config.conf.client_network_sessions_max = 0;
	scene_begin(&s);
	CHECK_EQ("first", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", "x\r\n"), 451);
	sim_run(s.sim, 3 * SECOND_US);
	bufs = sim_bufs_in_use(s.sim);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
	for (uint32_t round = 1; round <= 2; round++) {
		for (uint32_t i = 0; i < ARRAY_LEN(c); i++) {
			CHECK_EQ("RCPT", scene_rcpt(&s, c[i], "a@sender.example", "u@example.org"), 250);
			CHECK_EQ("DATA", scene_chat(&s, c[i], "DATA"), 354);
			CHECK_EQ("message", scene_chat(&s, c[i], "Subject: x\r\n\r\nx\r\n."), 250);
		}
		sim_run(s.sim, 5 * SECOND_US);
		CHECK_EQ("a backend each", scene_worker(&s)->relays.n_used, ARRAY_LEN(c));
		fake_mta_shout(&s.mta, "421 4.4.2 mta.example Error: timeout exceeded\r\n");
		sim_run(s.sim, 8 * SECOND_US);
		scene_check_resting(&s, "without them", ARRAY_LEN(c), bufs);
		CHECK_EQ("none was taken for a failure", scene_count(&s, CTR_worker_backend_failures), 0);
	}
	CHECK_EQ("all arrived", s.mta.n_messages, 2 * ARRAY_LEN(c));
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++) {
		scene_quit(&s, c[i]);
		CHECK_TRUE("both in the line of its end",
			strstr(fake_control_find(&s.control, "end=quit"), "msgs=2 octets=34") != NULL);
	}
	scene_check_nothing_left(&s, "all ended", bufs);
	scene_end(&s);
}

/* Limits that count over a session are not begun anew by rest. */
static void
test_limits_count_on_over_rest(void **state)
{
	struct sim_conn *c;
	int code = 0;

	(void)state;
	scene_conf(&s);
	s.config.conf.messages_max = 2;
	s.config.conf.errors_max = 5;
	s.config.conf.grey_block_s = 1;
	scene_begin(&s);
	CHECK_EQ("first", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", "x\r\n"), 451);
	sim_run(s.sim, 3 * SECOND_US);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	for (uint32_t i = 0; i < 2; i++) {
		CHECK_EQ("RCPT", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
		CHECK_EQ("message", scene_chat(&s, c, "Subject: x\r\n\r\nx\r\n."), 250);
		fake_mta_shout(&s.mta, "421 idle for too long\r\n"); /* it goes: nothing of the transaction is left */
		sim_run(s.sim, 2 * SECOND_US);
		CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), 1);
		CHECK_EQ("no relay", scene_worker(&s)->relays.n_used, 0);
	}
	CHECK_EQ("one too many", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 421);
	sim_close(c);
	sim_run(s.sim, 2 * SECOND_US);
	CHECK_TRUE("told in the log", strstr(fake_control_find(&s.control, "duration_s="), "msgs=2") != NULL);
	CHECK_TRUE("with its octets", strstr(fake_control_find(&s.control, "duration_s="), "octets=34") != NULL);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	for (uint32_t i = 0; i < 6 && code != 421; i++) {
		code = scene_chat(&s, c, "NONSENSE");
		CHECK_EQ("errors", code, i < 5 ? 500 : 421);
		sim_run(s.sim, 2 * SECOND_US);
	}
	scene_end(&s);
}

/* ---- under TLS ---- */

static void
conf_tls(void)
{
	scene_conf(&s);
	s.config.conf.grey_block_s = 1;
	s.config.conf.client_sessions_max = 0;
	s.config.conf.client_network_sessions_max = 0;
	s.tls = true;
	scene_tls(&s, &scene_certs);
}

static void
test_sessions_under_tls_rest(void **state)
{
	struct sim_conn *c[MANY / 2];
	uint32_t bufs;

	(void)state;
	conf_tls();
	scene_begin(&s);
	sim_run(s.sim, SECOND_US);
	bufs = sim_bufs_in_use(s.sim);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++) {
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
		if (i % 2 == 0)
			CHECK_EQ("EHLO", scene_chat(&s, c[i], "EHLO client.example"), 250);
	}
	sim_run(s.sim, SECOND_US);
	scene_check_resting(&s, "after the handshake, half of them after EHLO", ARRAY_LEN(c), bufs);
	scene_tls_reload(&s, &scene_certs); /* those at rest keep what they began with */
	sim_run(s.sim, SECOND_US);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++) {
		if (i % 2 == 1)
			CHECK_EQ("EHLO", scene_chat(&s, c[i], "EHLO client.example"), 250);
		CHECK_TRUE("TLS still", strstr(s.reply, "STARTTLS") == NULL);
		CHECK_EQ("MAIL", scene_chat(&s, c[i], "MAIL FROM:<a@sender.example>"), 250);
		CHECK_EQ("RCPT", scene_chat(&s, c[i], "RCPT TO:<u@example.org>"), i == 0 ? 451 : atoi(s.reply));
		CHECK_TRUE("the log knows of TLS",
			strstr(fake_control_find(&s.control, "rcpt=u@example.org"), "tls=TLSv1.3:") != NULL);
		CHECK_EQ("RSET", scene_chat(&s, c[i], "RSET"), 250);
	}
	sim_run(s.sim, 15 * SECOND_US);
	CHECK_EQ("those that no backend holds rest again", tcp_n_rests(scene_worker(&s)->tcp) > 0, 1);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		scene_quit(&s, c[i]);
	scene_check_nothing_left(&s, "all ended", bufs);
	scene_end(&s);
}

/* The ends of sessions at rest under TLS: close_notify, FIN without it, RST, silence, a drain, and the worker's own. */
static void
test_ends_under_tls_at_rest(void **state)
{
	struct sim_conn *c[5];
	uint32_t bufs;

	(void)state;
	conf_tls();
	scene_begin(&s);
	bufs = sim_bufs_in_use(s.sim);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), ARRAY_LEN(c));
	c[0]->stream->ops->shutdown(c[0]->stream);
	sim_run(s.sim, SECOND_US);
	sim_close(c[0]);
	sim_close(c[1]);
	sim_abort(c[2]);
	sim_run(s.sim, 2 * SECOND_US);
	CHECK_TRUE("closed", fake_control_find(&s.control, "end=client-closed")[0] != '\0');
	CHECK_TRUE("reset", fake_control_find(&s.control, "end=client-reset")[0] != '\0');
	CHECK_EQ("two are left", tcp_n_rests(scene_worker(&s)->tcp), 2);
	atomic_store(&sim_shared(s.sim)->drain, 1);
	CHECK_EQ("told by 421 under TLS", scene_reply(&s, c[3]), 421);
	CHECK_EQ("told by 421 under TLS", scene_reply(&s, c[4]), 421);
	sim_close(c[3]);
	sim_close(c[4]);
	scene_check_nothing_left(&s, "ended", bufs);
	scene_end(&s);

	conf_tls();
	scene_begin(&s);
	c[0] = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c[0], "EHLO client.example"), 250);
	CHECK_EQ("silent for too long", scene_reply_within(&s, c[0], 400 * SECOND_US), 421);
	sim_close(c[0]);
	sim_run(s.sim, 2 * SECOND_US);
	c[1] = scene_open(&s, CLIENT4, GATEWAY4);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("one at rest", tcp_n_rests(scene_worker(&s)->tcp), 1);
	scene_end(&s); /* what its stream holds is freed, or the sanitizer says so */
}

/* ---- nobody can tell ---- */

/* What a client says, and how long it is silent then. "!" is an octet of a line, "@" waits for one more reply; "^": the MTA hangs up. */
struct step {
	const char *say;
	uint32_t then_s;
};

static const struct step life[] = {
	{ "NOOP", 3 },
	{ "EHLO a-rather-long-name-of-a-client-that-fits-nowhere.client.example", 3 },
	{ "!N", 2 },
	{ "OOP", 0 },
	{ "MAIL FROM:<a@sender.example>", 2 },
	{ "RCPT TO:<u@elsewhere.example>", 2 },
	{ "RCPT TO:<stranger@example.org>", 2 },
	{ "RSET", 5 },
	{ "NONSENSE", 1 },
	{ "MAIL FROM:<a@sender.example>", 0 },
	{ "RCPT TO:<u@example.org>", 2 },
	{ "RCPT TO:<u@elsewhere.example>", 0 },
	{ "DATA", 0 },
	{ "Subject: one\r\n\r\none\r\n.", 30 },
	{ "MAIL FROM:<a@sender.example> SIZE=100", 0 },
	{ "RCPT TO:<u@example.org>", 0 },
	{ "RSET", 40 },
	{ "MAIL FROM:<a@sender.example>", 3 },
	{ "RCPT TO:<u@example.org>", 0 },
	{ "DATA", 0 },
	{ "Subject: two\r\n\r\ntwo\r\n.", 3 },
	{ "^", 3 },
	{ "MAIL FROM:<bad", 2 },
	{ "RSET\r\nNOOP\r\nMAIL FROM:<c@sender.example>\r\nRCPT TO:<u@example.org>", 3 },
	{ "@", 0 },
	{ "@", 0 },
	{ "@", 0 },
	{ "RSET", 3 },
	{ "EHLO other.client.example", 3 },
	{ "MAIL FROM:<a@sender.example>", 0 },
	{ "RCPT TO:<u@example.org>", 0 },
	{ "BDAT 7\r\n12345", 0 },
	{ "BDAT 8 LAST\r\n6789\r\n", 4 },
	{ "BDAT 6 LAST\r\n123\n", 4 },
	{ "^", 3 },
	{ "VRFY u@example.org", 200 },
	{ "NOOP", 400 }, /* longer than it may be silent */
	{ "@", 2 },
};

struct told {
	char replies[16384], log[32768];
	struct counters counters;
};

static void
live(struct told *t, bool rests)
{
	struct sim_conn *c;
	size_t n = 0;
	uint32_t from;

	scene_begin(&s);
	s.mta.ext = s.mta_x.ext = s.mta_v1.ext = "250-SIZE 50000000\r\n250-8BITMIME\r\n250-CHUNKING\r\n";
	s.control.ptr = "a-name-of-dns.client.example";
	CHECK_EQ("first", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", "x\r\n"), 451);
	sim_run(s.sim, 60 * SECOND_US);
	if (!rests)
		take_all_records();
	from = s.control.n_log;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	n += (size_t)snprintf(t->replies + n, sizeof(t->replies) - n, "%s", s.reply);
	for (size_t i = 0; i < ARRAY_LEN(life); i++) {
		if (strcmp(life[i].say, "@") == 0)
			scene_reply_within(&s, c, 2 * SECOND_US);
		else if (life[i].say[0] == '!')
			sim_send(c, life[i].say + 1, strlen(life[i].say) - 1);
		else if (life[i].say[0] == '^')
			fake_mta_shout(&s.mta, "421 4.4.2 mta.example Error: timeout exceeded\r\n");
		else
			scene_chat(&s, c, life[i].say);
		if (life[i].say[0] != '!' && life[i].say[0] != '^')
			n += (size_t)snprintf(t->replies + n, sizeof(t->replies) - n, "%s", s.reply);
		sim_run(s.sim, life[i].then_s * SECOND_US);
	}
	sim_close(c);
	sim_run(s.sim, 20 * SECOND_US);
	CHECK_TRUE("it ended", strstr(t->replies, "421 4.4.2") != NULL);
	CHECK_TRUE(rests ? "it rested" : "it did not rest", (scene_count(&s, CTR_tcp_rested) > 8) == rests);
	CHECK_TRUE("all its lines are there", s.control.n_log - from < ARRAY_LEN(s.control.log));
	n = 0;
	for (uint32_t i = from; i < s.control.n_log; i++)
		n += (size_t)snprintf(
			t->log + n, sizeof(t->log) - n, "%s\n", s.control.log[i % ARRAY_LEN(s.control.log)]);
	t->counters = sim_segment(s.sim)->counters[0];
	if (!rests)
		give_all_records();
	scene_end(&s);
}

/* What differs by rest itself, or by which turn a thing happened in. */
static bool
may_differ(enum counter which)
{
	const char *group = counter_names[which].group;

	return which == CTR_worker_turns_busy || which == CTR_worker_busy_cycles || strcmp(group, "tcp") == 0 ||
	       strcmp(group, "net") == 0 || strcmp(group, "port") == 0;
}

static void
check_same(const char *label, const struct told *a, const struct told *b)
{
	CHECK_STR(label, a->replies, b->replies);
	CHECK_STR(label, a->log, b->log);
	for (uint32_t i = 0; i < COUNTER_N; i++)
		if (!may_differ((enum counter)i))
			CHECK_EQ(counter_names[i].name, a->counters.value[i], b->counters.value[i]);
}

static void
test_a_life_with_rests_looks_like_one_without(void **state)
{
	static struct told with, without;

	(void)state;
	for (uint32_t i = 0; i < 6; i++) {
		static const char *const labels[] = { "plain", "in other records", "under TLS" };

		for (uint32_t rests = 0; rests < 2; rests++) {
			scene_conf(&s);
			s.config.conf.grey_block_s = 1;
			s.config.conf.greet_pause_ms = i < 3 ? 0 : 2500;
			s.framed = i % 3 == 1;
			if (i % 3 == 2) {
				scene_tls(&s, &scene_certs);
				s.tls = true;
			}
			live(rests ? &with : &without, rests);
		}
		check_same(labels[i % 3], &with, &without);
	}
}

/* The same on a wire that loses, doubles and reorders: segments that come again find it at rest, too. */
static void
test_segments_that_come_again_find_it_at_rest(void **state)
{
	static const struct sim_wire bad = {
		.delay_us = 20000, .jitter_us = 30000, .loss = 100, .duplicate = 200, .reorder = 200
	};
	struct sim_conn *c;
	uint32_t bufs;

	(void)state;
	for (uint32_t seed = 1; seed <= 8; seed++) {
		scene_conf(&s);
		s.config.conf.greet_pause_ms = seed % 2 ? 1000 : 0;
		scene_start(&s, seed, 1, clean);
		scene_settle(&s);
		bufs = sim_bufs_in_use(s.sim);
		*sim_wire_of(s.sim) = bad;
		c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		CHECK_EQ("banner", scene_reply_within(&s, c, 100 * SECOND_US), 220);
		CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
		for (uint32_t i = 0; i < 10; i++) {
			CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
			CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@elsewhere.example>"), 550);
			CHECK_EQ("RSET", scene_chat(&s, c, "RSET"), 250);
			sim_run(s.sim, 2 * SECOND_US);
			CHECK_EQ("NOOP", scene_chat(&s, c, "NOOP"), 250);
		}
		CHECK_TRUE("it rested", scene_count(&s, CTR_tcp_rested) >= 10);
		sim_abort(c);
		*sim_wire_of(s.sim) = clean;
		scene_check_nothing_left(&s, "ended", bufs);
		scene_end(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions_in_the_greet_pause_rest),
		cmocka_unit_test(test_the_greet_pause_ends_in_time),
		cmocka_unit_test(test_who_goes_in_the_pause_is_found_at_rest),
		cmocka_unit_test(test_a_reload_in_the_pause_changes_the_next),
		cmocka_unit_test(test_a_wait_for_the_verdict_before_the_banner_rests),
		cmocka_unit_test(test_a_command_behind_an_ack_finds_its_block),
		cmocka_unit_test(test_sessions_between_transactions_rest),
		cmocka_unit_test(test_late_answers_about_names_leave_it_at_rest),
		cmocka_unit_test(test_a_session_that_delivered_rests_without_its_backend),
		cmocka_unit_test(test_limits_count_on_over_rest),
		cmocka_unit_test(test_sessions_under_tls_rest),
		cmocka_unit_test(test_ends_under_tls_at_rest),
		cmocka_unit_test(test_a_life_with_rests_looks_like_one_without),
		cmocka_unit_test(test_segments_that_come_again_find_it_at_rest),
	};

	return cmocka_run_group_tests(tests, scene_tls_set_up, scene_tls_tear_down);
}
