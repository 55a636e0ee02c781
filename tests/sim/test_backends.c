/*
 * test_backends.c - the gateway and its backends, whole workers in virtual time: drained backends, and backends that are slow, die, talk
 * nonsense, out of turn, in pieces, or never read; the order of replies in a burst; what a hand-off costs.
 *
 * After each misbehaviour: the client got one correct reply for each command, nothing was delivered that was not answered 250 or the other
 * way round, no session, buffer or block is left. Names of POLICY sections and numbers of PITFALLS lines stand in the tests.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"

static struct scene s; /* one at a time */
static const char body[] = "Subject: hello\r\n\r\nlast\r\n";

/* ---- drain and ready ---- */

static void
test_a_drained_backend_gets_no_new_session_and_keeps_the_old(void **state)
{
	struct backend_state *state11;
	struct sim_conn *c;
	uint32_t before;

	(void)state;
	scene_conf(&s);
	s.config.pool[0].backends = 1 << 0 | 1 << 2; /* mta and mta-v1 */
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	do { /* until a session has the first of the two */
		c = scene_open(&s, CLIENT4, GATEWAY4);
		before = s.mta.n_conns;
		CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		if (s.mta.n_conns != before)
			break;
		scene_quit(&s, c);
	} while (true);
	state11 = segment_backend(sim_segment(s.sim), 11, false);
	__atomic_store_n(&state11->drained, 1, __ATOMIC_RELAXED);
	before = s.mta.n_messages;
	for (uint32_t i = 0; i < 2; i++) {
		CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
		CHECK_EQ("the session it has goes on", scene_chat(&s, c, "x\r\n."), 250);
		CHECK_EQ("and its next message", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
		CHECK_EQ("rcpt", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	}
	scene_quit(&s, c);
	CHECK_EQ("there", s.mta.n_messages, before + 2);
	for (uint32_t i = 0; i < 8; i++)
		CHECK_EQ("new ones go elsewhere", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body),
			250);
	CHECK_EQ("none here", s.mta.n_messages, before + 2);
	sim_run(s.sim, 65000000);
	CHECK_EQ("probes go on and change nothing", state11->drained, 1);
	CHECK_EQ("it is up", state11->health, BACKEND_UP);
	__atomic_store_n(&state11->drained, 0, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < 16; i++)
		CHECK_EQ("ready", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("has sessions again", s.mta.n_messages > before + 2);
	__atomic_store_n(&state11->drained, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&segment_backend(sim_segment(s.sim), 13, false)->drained, 1, __ATOMIC_RELAXED);
	CHECK_EQ("all drained", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_EQ("not the greylist", scene_wait_s(&s), -1);
	scene_end(&s);
}

/* ---- a backend that answers inside the body ---- */

static void
test_a_refusal_inside_the_body_is_the_backends_word_and_no_failure(void **state)
{
	static const struct {
		const char *label;
		enum fake_fail how;
		int want;
		const char *result;
	} rows[] = { { "5xx", FAKE_5XX, 550, "result=refused" }, { "4xx", FAKE_4XX, 450, "result=deferred" } };

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint64_t failures = scene_count(&s, CTR_worker_backend_failures);
		const uint32_t messages = s.mta.n_messages;
		struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
		const char *line;

		s.mta.at_body = rows[i].how;
		CHECK_EQ(rows[i].label, scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "DATA"), 354);
		scene_send_all(&s, c, "line one\r\n", 10);
		sim_run(s.sim, 1000000);
		CHECK_EQ("nothing before the dot", c->in_octets, c->in_seen);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "line two\r\n."), rows[i].want);
		CHECK_EQ("the session goes on", scene_chat(&s, c, "NOOP"), 250);
		s.mta.at_body = FAKE_OK;
		CHECK_EQ("with a new connection", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
		CHECK_EQ("rcpt", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
		scene_quit(&s, c);
		line = fake_control_find(&s.control, rows[i].result);
		CHECK_TRUE("logged with its own result", strstr(line, "stage=BODY") != NULL);
		CHECK_EQ("no failure", scene_count(&s, CTR_worker_backend_failures), failures);
		CHECK_EQ("not suspected", atomic_load(&sim_shared(s.sim)->backend_suspect[0]), 0);
		CHECK_EQ("nothing delivered", s.mta.n_messages, messages);
	}
	scene_end(&s);
}

/* A message that ends at DATA, or at a chunk, has its line in the log like every other (POLICY section 8), whoever ended it. */
static void
test_a_message_that_ends_at_data_is_logged(void **state)
{
	static const struct {
		enum fake_fail how;
		int want;
		const char *result;
	} rows[] = {
		{ FAKE_4XX, 450, "result=deferred stage=DATA" },
		{ FAKE_5XX, 550, "result=refused stage=DATA" },
		{ FAKE_421, 451, "result=failed stage=DATA" },
		{ FAKE_NONSENSE, 451, "result=failed stage=DATA" },
		{ FAKE_CLOSE, 451, "result=failed stage=DATA" },
		{ FAKE_RESET, 451, "result=failed stage=DATA" },
		{ FAKE_SILENT, 451, "result=failed stage=DATA" },
	};

	(void)state;
	for (uint32_t bdat = 0; bdat < 2; bdat++)
		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			struct sim_conn *c;
			uint64_t refused;

			scene_conf(&s);
			s.mta.ext = s.mta_x.ext = s.mta_v1.ext =
				"250-SIZE 50000000\r\n250-8BITMIME\r\n250-CHUNKING\r\n";
			scene_begin(&s);
			scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
			c = scene_open(&s, CLIENT4, GATEWAY4);
			CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
			refused = scene_count(&s, CTR_worker_messages_refused);
			s.mta.at_data = s.mta.at_chunk = rows[i].how;
			CHECK_EQ(rows[i].result, scene_chat(&s, c, bdat ? "BDAT 2\r\n" : "DATA"), rows[i].want);
			sim_run(s.sim, 100000);
			CHECK_TRUE(rows[i].result, fake_control_find(&s.control, rows[i].result)[0] != '\0');
			CHECK_EQ("counted", scene_count(&s, CTR_worker_messages_refused), refused + (i < 2));
			s.mta.at_data = s.mta.at_chunk = FAKE_OK;
			CHECK_EQ("the next goes on", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
			CHECK_EQ("rcpt", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
			CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
			CHECK_EQ("to its end", scene_chat(&s, c, "x\r\n."), 250);
			scene_quit(&s, c);
			scene_end(&s);
		}
}

/* So has one whose backend was lost between its recipients and DATA, with what was seen of that. */
static void
test_a_message_whose_backend_left_before_data_is_logged(void **state)
{
	(void)state;
	for (uint32_t bdat = 0; bdat < 2; bdat++) {
		struct sim_conn *c;

		scene_conf(&s);
		s.mta.ext = s.mta_x.ext = s.mta_v1.ext = "250-SIZE 50000000\r\n250-8BITMIME\r\n250-CHUNKING\r\n";
		scene_begin(&s);
		scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		fake_mta_shut(&s.mta);
		sim_run(s.sim, 1000000);
		CHECK_EQ("told", scene_chat(&s, c, bdat ? "BDAT 2 LAST\r\n" : "DATA"), 451);
		sim_run(s.sim, 100000);
		CHECK_TRUE("logged",
			strstr(fake_control_find(&s.control, "result=failed stage=DATA"), "connection lost") != NULL);
		CHECK_EQ("the next goes on", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
		CHECK_EQ("rcpt", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
		scene_quit(&s, c);
		scene_end(&s);
	}
}

/* ---- backends that misbehave ---- */

#define LONG_LINE "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
#define TEN(x)    x x x x x x x x x x
#define SEVEN(x)  x x x x x x x

static void
test_whatever_a_backend_says_the_client_gets_one_correct_reply(void **state)
{
	static const struct {
		const char *label, *raw;
		int rcpt, dot; /* wanted where it says so to RCPT, to the dot */
	} rows[] = {
		{ "no digits", "hello\r\n", 451, 451 },
		{ "a code below 200", "150 wait\r\n", 451, 451 },
		{ "a code of no class", "999 what\r\n", 451, 451 },
		{ "354 out of place", "354 go on\r\n", 451, 451 },
		{ "two codes in one reply", "250-a\r\n550 b\r\n", 451, 451 },
		{ "an empty line", "\r\n250 ok\r\n", 451, 451 },
		{ "control octets and 8-bit", "250 \xff\xfe\x01 ok\r\n", 451, 451 },
		{ "a lone LF ends it", "250 ok\n", 250, 250 },
		{ "421", "421 going\r\n", 451, 451 },
		{ "421 with its reason over lines", "421-going\r\n421 now\r\n", 451, 451 },
		{ "a long line", "550 " TEN(LONG_LINE) "\r\n", 550, 550 },
		{ "a line without end", TEN(SEVEN(LONG_LINE)) "\r\n", 451, 451 },
		{ "a few lines", "550-" TEN("a line\r\n550-") "a line\r\n550 end\r\n", 550, 550 },
		{ "a hundred lines", "550-" TEN(TEN("a line\r\n550-")) "a line\r\n550 end\r\n", 550, 550 },
		{ "lines without end",
			"550-" TEN(TEN("a line\r\n550-"
				       "x\r\n550-")) "a line\r\n550 end\r\n",
			451, 451 },
	};

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (int at_dot = 0; at_dot < 2; at_dot++)
			for (int dribble = 0; dribble < (strlen(rows[i].raw) > 200 ? 1 : 2);
				dribble++) { /* long ones whole: it takes its time */
				const char *label = rows[i].label;
				struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
				const int want = at_dot ? rows[i].dot : rows[i].rcpt;
				const uint32_t messages = s.mta.n_messages;
				int code;

				s.mta.raw = rows[i].raw;
				s.mta.dribble = dribble;
				*(at_dot ? &s.mta.at_dot : &s.mta.at_rcpt) = FAKE_RAW;
				code = scene_rcpt(&s, c, "a@sender.example", "u@example.org");
				if (at_dot) {
					CHECK_EQ(label, code, 250);
					CHECK_EQ(label, scene_chat(&s, c, "DATA"), 354);
					code = scene_chat(&s, c, "x\r\n.");
				}
				if (code != want)
					print_message("at the dot: %d, in pieces: %d, logged: %s\n", at_dot, dribble,
						fake_control_find(&s.control, "reply="));
				CHECK_EQ(label, code, want);
				CHECK_EQ(label, scene_wait_s(&s), -1);
				for (const char *p = s.reply; *p != '\0'; p++)
					CHECK_TRUE(label, (*p >= 0x20 && *p < 0x7f) || *p == '\r' || *p == '\n');
				s.mta.at_rcpt = s.mta.at_dot = FAKE_OK;
				CHECK_EQ("the session goes on", scene_chat(&s, c, "NOOP"), 250);
				CHECK_EQ("one reply only", c->in_octets, c->in_seen);
				CHECK_EQ(label, s.mta.n_messages, messages);
				scene_quit(&s, c);
				s.mta.dribble = false;
				sim_run(s.sim, 60000000); /* probed up again */
				CHECK_EQ(label, worker_sessions(sim_worker(s.sim, 0)), 0);
			}
	CHECK_EQ("and mail flows", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	scene_check_nothing_left(&s, "gone", 32);
	scene_end(&s);
}

/* Replies that nobody asked for, and 421 in the middle, at each place of a dialogue. */
static void
test_words_out_of_turn_never_answer_a_command(void **state)
{
	static const char *const words[] = { "421 4.3.2 shutting down\r\n", "250 2.0.0 Ok\r\n",
		"250 a\r\n250 b\r\n250 c\r\n550 d\r\n", "25", "550 5.1.1 never\r\n" };
	enum { AFTER_RCPT, IN_BODY, AFTER_MESSAGE, PLACES };

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		for (int place = 0; place < PLACES; place++) {
			struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
			uint32_t messages = s.mta.n_messages;
			int dot = 0;

			CHECK_EQ(words[i], scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
			if (place == AFTER_RCPT) {
				fake_mta_shout(&s.mta, words[i]);
				sim_run(s.sim, 100000);
				CHECK_EQ(words[i], scene_chat(&s, c, "DATA"), 451);
			} else {
				CHECK_EQ(words[i], scene_chat(&s, c, "DATA"), 354);
				scene_send_all(&s, c, "x\r\n", 3);
				sim_run(s.sim, 100000);
				if (place == IN_BODY) {
					fake_mta_shout(&s.mta, words[i]);
					sim_run(s.sim, 100000);
				}
				dot = scene_chat(&s, c, ".");
				if (place == IN_BODY)
					CHECK_EQ(words[i], dot, words[i][0] == '5' ? 550 : 451);
				else
					CHECK_EQ(words[i], dot, 250);
			}
			if (place == AFTER_MESSAGE) {
				fake_mta_shout(&s.mta, words[i]);
				sim_run(s.sim, 100000);
			}
			/* where its words were garbled it may have taken what was not answered 250: never the other way round */
			CHECK_TRUE("250 is the backend's", dot != 250 || s.mta.n_messages - messages == 1);
			CHECK_TRUE("and nothing else",
				dot == 250 || s.mta.n_messages == messages || strcmp(words[i], "25") == 0);
			messages = s.mta.n_messages;
			CHECK_EQ("the next transaction", scene_chat(&s, c, "RSET"), 250);
			CHECK_EQ("is served", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
			CHECK_EQ("by a new connection", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
			CHECK_EQ("as any", scene_chat(&s, c, "DATA"), 354);
			CHECK_EQ("delivered", scene_chat(&s, c, "y\r\n."), 250);
			CHECK_EQ("one reply for each", c->in_octets, c->in_seen);
			scene_quit(&s, c);
			CHECK_EQ("once", s.mta.n_messages - messages, 1);
			sim_run(s.sim, 60000000);
		}
	scene_check_nothing_left(&s, "gone", 32);
	scene_end(&s);
}

/* All its replies in the first segment: a reply before its command is no answer. */
static void
test_a_backend_that_answers_ahead_is_not_believed(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	s.mta.raw = "220 mta.example ESMTP\r\n250 mta.example\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 queued\r\n";
	s.mta.at_banner = FAKE_RAW;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("451", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	CHECK_EQ("no wait", scene_wait_s(&s), -1);
	CHECK_EQ("nothing to send", scene_chat(&s, c, "DATA") / 100, 4);
	scene_quit(&s, c);
	CHECK_EQ("nothing delivered", s.mta.n_messages, 1);
	scene_check_nothing_left(&s, "gone", 32);
	scene_end(&s);
}

/* Every reply one octet at a time, over a lossy wire. */
static void
test_replies_in_pieces_are_replies(void **state)
{
	(void)state;
	scene_conf(&s);
	s.mta.dribble = s.mta_x.dribble = s.mta_v1.dribble = true;
	scene_start(&s, 5, 1, (struct sim_wire){ .delay_us = 500, .loss = 10, .reorder = 20, .duplicate = 5 });
	scene_settle(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	CHECK_EQ("delivered", s.mta.n_messages, 1);
	scene_end(&s);
}

static void
test_a_backend_that_never_reads_costs_a_bounded_queue(void **state)
{
	static char mail[8u << 20];
	uint32_t before, most = 0;
	struct sim_conn *c;
	uint64_t begun;

	(void)state;
	scene_conf(&s);
	s.config.conf.data_timeout_s = 1800;
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	before = sim_bufs_in_use(s.sim);
	s.mta.deaf_in_data = true;
	memset(mail, 'a', sizeof(mail));
	for (size_t i = 78; i + 2 < sizeof(mail); i += 80)
		memcpy(mail + i, "\r\n", 2);
	memcpy(mail + sizeof(mail) - 5, "\r\n.\r\n", 5);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
	sim_send(c, mail, sizeof(mail));
	begun = sim_now_us(s.sim);
	while (c->in_octets == c->in_seen && c->tcp != NULL && sim_now_us(s.sim) - begun < UINT64_C(2000000000)) {
		sim_step(s.sim, 1000000);
		most = MAX(most, sim_bufs_in_use(s.sim));
	}
	/* send queue and both windows, 256 KiB each, of the gateway; the client's own send queue; segments of 1460 octets */
	print_message("buffers at the most: %u, before: %u\n", most, before);
	CHECK_TRUE("no memory grows", most - before < 2000);
	CHECK_TRUE("the client still has the most of it", c->out_octets > sizeof(mail) / 2);
	s.mta.deaf_in_data = false;
	CHECK_EQ("nothing was delivered", s.mta.n_messages, 1);
	sim_abort(c);
	sim_run(s.sim, 60000000);
	CHECK_EQ("mail flows", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	scene_check_nothing_left(&s, "gone", before + 16);
	scene_end(&s);
}

/* ---- order and time of replies in a burst (POLICY section 6) ---- */

static void
burst(const char *label, uint64_t dns_us, uint64_t backend_us, bool backend_silent)
{
	static char text[16384];
	uint64_t sent_us, last_us, most_us = 0;
	size_t n = 0;
	struct sim_conn *c;
	uint32_t taken = 0;
	int code;

	scene_conf(&s);
	s.config.conf.rcpts_max = 100;
	s.config.rcpt_no_grey = "example.org";
	scene_begin(&s);
	s.control.delay_us = dns_us;
	s.mta.delay_us = backend_us;
	n += (size_t)snprintf(text + n, sizeof(text) - n, "EHLO client.example\r\nMAIL FROM:<a@sender.example>\r\n");
	for (uint32_t i = 0; i < 100; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "RCPT TO:<u%u@%s>\r\n", i,
			i % 10 == 9 ? "elsewhere.example" : "example.org");
	n += (size_t)snprintf(text + n, sizeof(text) - n, "DATA\r\n");
	c = scene_open(&s, CLIENT4, GATEWAY4);
	s.mta.at_rcpt = backend_silent ? FAKE_SILENT : FAKE_OK;
	sim_send(c, text, n);
	sent_us = last_us = sim_now_us(s.sim);
	CHECK_EQ(label, scene_reply(&s, c), 250);
	CHECK_EQ(label, scene_reply(&s, c), 250);
	for (uint32_t i = 0; i < 100; i++) {
		code = scene_reply(&s, c);
		most_us = MAX(most_us, sim_now_us(s.sim) - last_us);
		last_us = sim_now_us(s.sim);
		if (i % 10 == 9)
			CHECK_EQ(label, code, 550); /* its place in the order shows that none was lost or swapped */
		else
			CHECK_EQ(label, code, backend_silent ? 451 : 250);
		taken += code == 250;
	}
	code = scene_reply(&s, c);
	most_us = MAX(most_us, sim_now_us(s.sim) - last_us);
	CHECK_EQ(label, code, backend_silent ? 451 : 354);
	print_message("%s: longest wait for one reply %.1f s, all in %.1f s\n", label, (double)most_us / 1e6,
		(double)(sim_now_us(s.sim) - sent_us) / 1e6);
	CHECK_TRUE(label, most_us <= 35000000 + 50000); /* and the way to the client */
	if (!backend_silent) {
		CHECK_EQ(label, scene_chat(&s, c, "x\r\n."), 250);
		CHECK_EQ(label, s.mta.message[s.mta.n_messages - 1].n_to, taken);
	}
	scene_quit(&s, c);
	scene_check_nothing_left(&s, label, 32);
	scene_end(&s);
}

static void
test_a_burst_of_a_hundred_recipients_keeps_order_and_time(void **state)
{
	(void)state;
	burst("prompt", 0, 0, false);
	burst("DNS 1.9 s, backend 0.3 s", 1900000, 300000, false);
	burst("DNS late, backend 8 s", 5000000, 8000000, false);
	burst("DNS late, backend silent", 5000000, 0, true);
}

/* ---- what a hand-off costs ---- */

static void
test_round_trips_of_a_hand_off(void **state)
{
	static const struct {
		const char *label;
		enum conf_client_address how;
		bool pipelining;
		uint32_t want, want_next;
	} rows[] = {
		{ "none", CLIENT_ADDRESS_NONE, true, 4, 1 },
		{ "PROXY v1", CLIENT_ADDRESS_PROXY_V1, true, 4, 1 },
		{ "PROXY v2", CLIENT_ADDRESS_PROXY_V2, true, 4, 1 },
		{ "XCLIENT", CLIENT_ADDRESS_XCLIENT, true, 6, 1 },
		{ "none, no PIPELINING", CLIENT_ADDRESS_NONE, false, 5, 1 },
		{ "PROXY v2, no PIPELINING", CLIENT_ADDRESS_PROXY_V2, false, 5, 1 },
		{ "XCLIENT, no PIPELINING", CLIENT_ADDRESS_XCLIENT, false, 7, 1 },
	};
	const uint64_t half_us = 100000;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sim_conn *c;
		uint64_t from_us, us;
		uint32_t trips;

		scene_conf(&s);
		s.config.backend[0].client_address = (uint8_t)rows[i].how;
		s.config.rcpt_no_grey = "example.org";
		s.mta.ext = rows[i].pipelining ? "250-PIPELINING\r\n" : "250-8BITMIME\r\n";
		scene_start(&s, 1, 1, (struct sim_wire){ .delay_us = half_us });
		s.mta.client_address = rows[i].how;
		scene_settle(&s);
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "EHLO client.example"), 250);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
		from_us = sim_now_us(s.sim);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
		us = sim_now_us(s.sim) - from_us - 2 * half_us; /* the client's own round trip */
		trips = (uint32_t)((us + half_us) / (2 * half_us));
		print_message("%-26s %u round trips before the reply to the first recipient (%.0f ms at 200 ms each)\n",
			rows[i].label, trips, (double)us / 1000);
		CHECK_EQ(rows[i].label, trips, rows[i].want);
		from_us = sim_now_us(s.sim);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "RCPT TO:<v@example.org>"), 250);
		us = sim_now_us(s.sim) - from_us - 2 * half_us;
		CHECK_EQ(rows[i].label, (us + half_us) / (2 * half_us), rows[i].want_next);
		scene_quit(&s, c);
		sim_run(s.sim, 10000000);
		scene_end(&s);
	}
}

/*
 * A reload takes the client's listener away while its backend is asked, and the backend fails: there is no pool to take another from, the client
 * hears so, and again for what it asks next.
 */
static void
test_a_backend_that_fails_after_its_listener_was_removed(void **state)
{
	static const enum fake_fail ways[] = { FAKE_SILENT, FAKE_CLOSE, FAKE_RESET, FAKE_421 };

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(ways); i++) {
		struct sim_conn *c;
		uint32_t before;

		scene_usual(&s);
		scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
		before = sim_bufs_in_use(s.sim);
		c = scene_open(&s, CLIENT4, GATEWAY4);
		s.mta.delay_us = 1000000;
		CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
		CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
		s.mta.at_rcpt = ways[i];
		sim_send(c, "RCPT TO:<u@example.org>\r\n", 25);
		sim_run(s.sim, 500000);
		s.config.listener[0].port = 2626;
		sim_publish(s.sim, sim_conf_parts(&s.config));
		CHECK_EQ("told", scene_reply_within(&s, c, 36000000), 451);
		CHECK_EQ("and again", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
		scene_quit(&s, c);
		scene_check_nothing_left(&s, "gone", before);
		scene_end(&s);
	}
}

/*
 * Nobody knows which domains a client may send to whose listener a reload took away: what it asks for is put off, and never denied for good, be it asked
 * for anew or in the burst that brought the reload, or waiting for DNS. What was accepted before is delivered.
 */
static void
test_no_recipient_is_refused_for_good_for_want_of_a_listener(void **state)
{
	struct sim_conn *c, *late, *waits;

	(void)state;
	scene_usual(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	late = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, late, "EHLO client.example"), 250);
	s.control.silent = true;
	waits = scene_open(&s, CLIENT6, GATEWAY6);
	CHECK_EQ("EHLO", scene_chat(&s, waits, "EHLO client.example"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, waits, "MAIL FROM:<a@sender.example>"), 250);
	sim_send(waits, "RCPT TO:<u@example.org>\r\n", 25);
	sim_run(s.sim, 100000);
	CHECK_EQ("it waits for DNS", waits->in_octets - waits->in_seen, 0);
	s.config.listener[0].port = 2626;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	CHECK_EQ("that waited", scene_reply_within(&s, waits, 3000000), 451);
	CHECK_TRUE("not by the greylist", strstr(s.reply, "451 4.3.0 ") == s.reply);
	CHECK_EQ("another one", scene_chat(&s, c, "RCPT TO:<v@example.org>"), 451);
	CHECK_TRUE("logged", strstr(fake_control_find(&s.control, "listener-removed"), "verdict=defer") != NULL);
	CHECK_EQ("what was accepted goes on", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("to its end", scene_chat(&s, c, "x\r\n."), 250);
	CHECK_EQ("MAIL", scene_chat(&s, late, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("the next one's", scene_chat(&s, late, "RCPT TO:<u@example.org>"), 451);
	CHECK_EQ("nor a stranger to us", scene_chat(&s, late, "RCPT TO:<u@elsewhere.example>"), 451);
	scene_quit(&s, c);
	scene_quit(&s, late);
	scene_quit(&s, waits);
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_drained_backend_gets_no_new_session_and_keeps_the_old),
		cmocka_unit_test(test_a_refusal_inside_the_body_is_the_backends_word_and_no_failure),
		cmocka_unit_test(test_a_message_that_ends_at_data_is_logged),
		cmocka_unit_test(test_a_message_whose_backend_left_before_data_is_logged),
		cmocka_unit_test(test_whatever_a_backend_says_the_client_gets_one_correct_reply),
		cmocka_unit_test(test_words_out_of_turn_never_answer_a_command),
		cmocka_unit_test(test_a_backend_that_answers_ahead_is_not_believed),
		cmocka_unit_test(test_replies_in_pieces_are_replies),
		cmocka_unit_test(test_a_backend_that_never_reads_costs_a_bounded_queue),
		cmocka_unit_test(test_a_burst_of_a_hundred_recipients_keeps_order_and_time),
		cmocka_unit_test(test_round_trips_of_a_hand_off),
		cmocka_unit_test(test_a_backend_that_fails_after_its_listener_was_removed),
		cmocka_unit_test(test_no_recipient_is_refused_for_good_for_want_of_a_listener),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
