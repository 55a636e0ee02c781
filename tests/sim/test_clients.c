/*
 * test_clients.c - what senders may do beside the main job, through a whole worker in virtual time: chunks, AUTH behind a relay, strangers'
 * manners, traps.
 *
 * The client, the backend and control are played by the test (scene.h). Names of POLICY sections stand in the tests.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdio.h>
#include <stdlib.h>

static struct scene s; /* one at a time */
static const char body[] = "Subject: hello\r\n\r\nlast\r\n";

#define EXT_CHUNKS                                                                                                     \
	"250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250-DSN\r\n250-CHUNKING\r\n250-BINARYMIME\r\n"

/* ---- chunks (RFC 3030, POLICY section 6, PITFALLS 33) ---- */

static void
start_chunks(void)
{
	scene_conf(&s);
	s.mta.ext = s.mta_x.ext = s.mta_v1.ext = EXT_CHUNKS;
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
}

/* Sends octets as they are. */
static void
send_raw(struct sim_conn *c, const void *data, size_t octets)
{
	sim_send(c, data, octets);
	for (uint32_t i = 0; i < 100000 && c->out_octets > 0 && c->tcp != NULL; i++)
		sim_step(s.sim, 1000);
}

/* "BDAT n LAST" and its octets, in one go. */
static int
chunk(struct sim_conn *c, const char *octets, size_t n, bool last)
{
	static char out[65536];
	const int head = snprintf(out, sizeof(out), "BDAT %zu%s\r\n", n, last ? " LAST" : "");

	CHECK_TRUE("room in the test", (size_t)head + n <= sizeof(out));
	memcpy(out + head, octets, n);
	send_raw(c, out, (size_t)head + n);
	return scene_reply(&s, c);
}

static struct sim_conn *
open_white(void)
{
	struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);

	CHECK_EQ("recipient", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	return c;
}

static void
test_chunking_is_offered_only_if_all_backends_have_it(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_chunks();
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_TRUE("CHUNKING", strstr(s.reply, "CHUNKING\r\n") != NULL);
	CHECK_TRUE("BINARYMIME", strstr(s.reply, "BINARYMIME\r\n") != NULL);
	scene_quit(&s, c);
	scene_end(&s);

	scene_conf(&s);
	s.mta.ext = EXT_CHUNKS; /* the other pool's has it not */
	scene_begin(&s);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_TRUE("no CHUNKING", strstr(s.reply, "CHUNKING") == NULL);
	CHECK_TRUE("no BINARYMIME", strstr(s.reply, "BINARYMIME") == NULL);
	CHECK_EQ("octets of a refused BDAT", chunk(c, "QUIT\r\nQUIT\r\n", 12, true), 502);
	CHECK_EQ("were stepped over", scene_chat(&s, c, "NOOP"), 250);
	scene_quit(&s, c);
	scene_end(&s);
}

static void
test_chunks_arrive_octet_for_octet(void **state)
{
	static const char one[] = "Subject: x\r\n\r\n.\r\nbare\nlf\rcr", two[] = "\0nul\r\n.",
			  three[] = "\r\n\r\n.\r\nQUIT\r\n";
	static const char all[] = "Subject: x\r\n\r\n.\r\nbare\nlf\rcr\0nul\r\n.\r\n\r\n.\r\nQUIT\r\n";
	struct sim_conn *c;

	(void)state;
	start_chunks();
	c = open_white();
	CHECK_EQ("one chunk, LAST", chunk(c, one, sizeof(one) - 1, true), 250);
	CHECK_TRUE("the backend's own words", strstr(s.reply, "queued as SIM1") != NULL);
	CHECK_OCTETS("octets", s.mta.message[1].data, s.mta.message[1].octets, one, sizeof(one) - 1);
	CHECK_TRUE("logged", strstr(fake_control_find(&s.control, "result=delivered"), "queued as SIM1") != NULL);

	CHECK_EQ("next MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example> BODY=BINARYMIME"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_EQ("DATA cannot carry it", scene_chat(&s, c, "DATA"), 503);
	CHECK_EQ("first", chunk(c, one, sizeof(one) - 1, false), 250);
	CHECK_EQ("empty", chunk(c, "", 0, false), 250);
	CHECK_EQ("second", chunk(c, two, sizeof(two) - 1, false), 250);
	CHECK_EQ("third", chunk(c, three, sizeof(three) - 1, false), 250);
	CHECK_EQ("not there before LAST", s.mta.n_messages, 2);
	CHECK_EQ("0 LAST", chunk(c, "", 0, true), 250);
	CHECK_EQ("messages", s.mta.n_messages, 3);
	CHECK_OCTETS("octets", s.mta.message[2].data, s.mta.message[2].octets, all, sizeof(all) - 1);

	CHECK_EQ("a message of no octets", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_EQ("LAST alone", chunk(c, "", 0, true), 250);
	CHECK_EQ("messages", s.mta.n_messages, 4);
	CHECK_EQ("empty", s.mta.message[3].octets, 0);
	scene_quit(&s, c);
	scene_end(&s);
}

/* n octets in pipelined chunks of growing size over a bad wire. */
static void
test_a_pipelined_burst_of_chunks_over_a_bad_wire(void **state)
{
	static const struct sim_wire lossy = {
		.loss = 10, .duplicate = 5, .reorder = 10, .delay_us = 3000, .jitter_us = 1000
	};
	enum { OCTETS = 600000 };
	char *mail = malloc(OCTETS), *wire = malloc(OCTETS + 65536);
	size_t n = 0, at = 0, size = 1;
	uint32_t n_chunks = 0;
	struct sim_conn *c;

	(void)state;
	for (size_t i = 0; i < OCTETS; i++)
		mail[i] = (char)(i * 7 + i / 251);
	scene_conf(&s);
	s.mta.ext = s.mta_x.ext = s.mta_v1.ext = EXT_CHUNKS;
	scene_start(&s, 5, 2, lossy);
	scene_settle(&s);
	scene_make_white(&s, CLIENT6, "a@sender.example", "u@example.org");
	c = scene_open(&s, CLIENT6, GATEWAY6);
	CHECK_EQ("recipient", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	while (n < OCTETS) {
		const size_t take = MIN(size, OCTETS - n);

		at += (size_t)sprintf(wire + at, "BDAT %zu%s\r\n", take, n + take == OCTETS ? " LAST" : "");
		memcpy(wire + at, mail + n, take);
		at += take;
		n += take;
		n_chunks++;
		size = size * 3 / 2 + 1;
	}
	sim_send(c, wire, at);
	for (uint32_t i = 0; i < n_chunks; i++)
		CHECK_EQ("chunk", scene_reply(&s, c), 250);
	CHECK_EQ("chunks at the backend", s.mta.n_chunks, n_chunks);
	CHECK_EQ("messages", s.mta.n_messages, 2);
	CHECK_OCTETS("octets", s.mta.message[1].data, s.mta.message[1].octets, mail, OCTETS);
	scene_quit(&s, c);
	scene_end(&s);
	free(mail);
	free(wire);
}

static void
test_chunks_after_refused_recipients_are_stepped_over(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_chunks();
	s.mta.unknown_rcpt = "nobody@example.org";
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("grey", scene_rcpt(&s, c, "new@sender.example", "u@example.org"), 451);
	CHECK_EQ("chunk after a deferral", chunk(c, "RSET\r\nQUIT\r\n", 12, false), 451);
	CHECK_EQ("and its last", chunk(c, "QUIT\r\n", 6, true), 451);
	CHECK_EQ("RSET", scene_chat(&s, c, "RSET"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("relaying", scene_chat(&s, c, "RCPT TO:<x@elsewhere.example>"), 550);
	CHECK_EQ("chunk after a refusal", chunk(c, "QUIT\r\n", 6, true), 554);
	CHECK_EQ("in step", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_EQ("and the next is taken", chunk(c, "x\r\n", 3, true), 250);
	CHECK_EQ("without MAIL", chunk(c, "QUIT\r\n", 6, true), 503);
	CHECK_EQ("huge and unwanted", chunk(c, "MAIL\r\n", 6, false), 503);
	CHECK_EQ("no size: the end", scene_chat(&s, c, "BDAT LAST"), 501);
	CHECK_EQ("messages", s.mta.n_messages, 2);
	sim_run(s.sim, 3000000);
	sim_close(c);
	scene_end(&s);
}

static void
test_a_backend_that_fails_in_mid_chunk(void **state)
{
	static const enum fake_fail how[] = { FAKE_CLOSE, FAKE_RESET, FAKE_421, FAKE_4XX, FAKE_NONSENSE };
	struct sim_conn *c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(how); i++) {
		start_chunks();
		c = open_white();
		CHECK_EQ("first chunk", chunk(c, "one\r\n", 5, false), 250);
		s.mta.at_body = how[i];
		send_raw(c, "BDAT 20\r\nQUIT\r\nQ", 16);
		sim_run(s.sim, 2000000);
		s.mta.at_body = FAKE_OK;
		send_raw(c, "UIT\r\nNOOP\r\nX\r\n", 13);
		CHECK_EQ("answered after the chunk's octets", scene_reply(&s, c) / 100, 4);
		CHECK_EQ("chunks behind it stay temporary", chunk(c, "QUIT\r\n", 6, true), 451);
		CHECK_EQ("in step", scene_chat(&s, c, "NOOP"), 250);
		CHECK_EQ("nothing was delivered", s.mta.n_messages, 1);
		scene_quit(&s, c);
		CHECK_EQ(
			"a new one passes", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
		scene_end(&s);
	}
}

static void
test_a_backend_refuses_or_dies_between_chunks(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_chunks();
	c = open_white();
	s.mta.at_chunk = FAKE_4XX;
	CHECK_EQ("its 4xx is passed", chunk(c, "one\r\n", 5, false), 450);
	CHECK_EQ("later chunks", chunk(c, "two\r\n", 5, true), 451);
	s.mta.at_chunk = FAKE_5XX;
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_EQ("its 5xx is passed", chunk(c, "one\r\n", 5, false), 550);
	CHECK_EQ("later chunks", chunk(c, "two\r\n", 5, true) / 100, 5);
	s.mta.at_chunk = FAKE_OK;
	s.mta.at_dot = FAKE_CLOSE;
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_EQ("first", chunk(c, "one\r\n", 5, false), 250);
	CHECK_EQ("dies after the last: never 250", chunk(c, "two\r\n", 5, true), 451);
	s.mta.at_dot = FAKE_OK;
	scene_quit(&s, c);
	CHECK_EQ("nothing was delivered", s.mta.n_messages, 1);
	scene_end(&s);
}

static void
test_a_message_cut_between_chunks_is_never_delivered(void **state)
{
	static const char *const cut[] = { "RSET", "EHLO again.example", "QUIT", NULL };
	struct sim_conn *c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
		start_chunks();
		c = open_white();
		CHECK_EQ("first", chunk(c, "one\r\n", 5, false), 250);
		if (cut[i] != NULL) {
			CHECK_EQ(cut[i], scene_chat(&s, c, cut[i]) / 100, 2);
			if (i < 2)
				CHECK_EQ("no transaction any more", chunk(c, "QUIT\r\n", 6, true), 503);
		}
		sim_close(c);
		sim_run(s.sim, 10000000);
		CHECK_EQ("nothing was delivered", s.mta.n_messages, 1);
		CHECK_EQ("and a new one passes", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body),
			250);
		scene_end(&s);
	}
}

static void
test_a_huge_chunk_is_bounded_by_silence_alone(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_chunks();
	c = open_white();
	send_raw(c, "BDAT 18446744073709551615\r\nsome octets", 38);
	sim_run(s.sim, 1000000);
	CHECK_EQ("the size is the backend's to judge", s.mta.n_chunks, 1);
	CHECK_EQ("silence ends it", scene_reply(&s, c), 421);
	sim_run(s.sim, 5000000);
	sim_close(c);
	CHECK_EQ("nothing was delivered", s.mta.n_messages, 1);
	scene_end(&s);

	scene_conf(&s);
	s.config.conf.message_max_octets = 100000;
	s.mta.ext = s.mta_x.ext = s.mta_v1.ext = EXT_CHUNKS;
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	c = open_white();
	send_raw(c, "BDAT 100001\r\n", 13);
	CHECK_EQ("over our own limit", scene_reply(&s, c), 552);
	sim_abort(c);
	sim_run(s.sim, 5000000);
	CHECK_EQ("the backend saw no chunk", s.mta.n_chunks, 0);
	scene_end(&s);
}

static void
test_an_extension_lost_in_mid_session_is_no_5xx(void **state)
{
	struct sim_conn *c;

	(void)state;
	start_chunks();
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_TRUE("CHUNKING", strstr(s.reply, "CHUNKING\r\n") != NULL);
	s.mta.ext = "250-PIPELINING\r\n";
	sim_run(s.sim, 40000000); /* a probe later */
	CHECK_EQ(
		"MAIL with what was offered", scene_chat(&s, c, "MAIL FROM:<a@sender.example> SIZE=100 RET=HDRS"), 250);
	CHECK_EQ("no backend can take it now", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
	CHECK_EQ("RSET", scene_chat(&s, c, "RSET"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_EQ("BDAT", chunk(c, "QUIT\r\n", 6, true), 451);
	CHECK_EQ("in step", scene_chat(&s, c, "NOOP"), 250);
	scene_quit(&s, c);
	scene_end(&s);
}

/* POLICY section 5: within a minute, by probes of 30 s. */
static void
test_ehlo_follows_the_backends_within_a_minute(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	s.mta.ext = s.mta_x.ext = s.mta_v1.ext = "250-SIZE 1000\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250-AUTH "
						 "PLAIN\r\n250-XCLIENT NAME\r\n250-NEWTHING\r\n";
	sim_run(s.sim, 60000000);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_TRUE("SIZE", strstr(s.reply, "SIZE 1000\r\n") != NULL);
	CHECK_TRUE("SMTPUTF8", strstr(s.reply, "SMTPUTF8\r\n") != NULL);
	CHECK_TRUE("DSN is gone", strstr(s.reply, "DSN") == NULL);
	CHECK_TRUE("never AUTH", strstr(s.reply, "AUTH") == NULL);
	CHECK_TRUE("never XCLIENT", strstr(s.reply, "XCLIENT") == NULL);
	CHECK_TRUE("never what is not known", strstr(s.reply, "NEWTHING") == NULL);
	scene_quit(&s, c);
	scene_end(&s);
}

/* ---- strangers' manners (rule 9): scored, each by its switch, never a refusal ---- */

static void
start_manners(void)
{
	scene_conf(&s);
	s.config.conf.greet_pause_ms = 3000;
	s.config.conf.protocol_grey_threshold = 1;
	s.config.conf.protocol_early_talker = s.config.conf.protocol_pipelining = s.config.conf.protocol_bare_line = 1;
	s.config.conf.protocol_non_smtp = s.config.conf.protocol_errors = s.config.conf.protocol_helo_syntax = 1;
	s.config.conf.protocol_helo_ours = s.config.conf.protocol_helo_literal = 1;
	s.config.conf.protocol_errors_from = 5;
}

/* What a stranger sends before MAIL, after the banner unless early, and how long it is told to wait: block is 240. */
static int
wait_after(const char *say, int n_replies, bool early)
{
	struct sim_conn *c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);

	if (!early)
		CHECK_EQ("banner", scene_reply(&s, c), 220);
	else
		sim_run(s.sim, 1000000);
	send_raw(c, say, strlen(say));
	if (early)
		CHECK_EQ("banner after the pause", scene_reply(&s, c), 220);
	for (int i = 0; i < n_replies; i++)
		CHECK_TRUE("goes on", scene_reply(&s, c) > 0);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<m@sender.example>"), 250);
	CHECK_EQ("never a 5xx", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
	sim_abort(c);
	sim_run(s.sim, 1000000);
	return scene_wait_s(&s);
}

static void
test_bad_manners_greylist_longer_each_by_its_switch(void **state)
{
	static const struct {
		const char *label, *say;
		int n_replies;
		bool early;
		uint32_t *weight;
	} rows[] = {
		{ "early talker", "EHLO client.example\r\n", 1, true, &s.config.conf.protocol_early_talker },
		{ "pipelining before it was offered", "EHLO client.example\r\nNOOP\r\n", 2, false,
			&s.config.conf.protocol_pipelining },
		{ "pipelining after HELO", "HELO client.example\r\nNOOP\r\nNOOP\r\n", 3, false,
			&s.config.conf.protocol_pipelining },
		{ "bare LF", "EHLO client.example\n", 1, false, &s.config.conf.protocol_bare_line },
		{ "bare CR", "NO\rOP\r\n", 1, false, &s.config.conf.protocol_bare_line },
		{ "GET", "GET / HTTP/1.1\r\n", 1, false, &s.config.conf.protocol_non_smtp },
		{ "CONNECT", "CONNECT mail.example:25 HTTP/1.0\r\n", 1, false, &s.config.conf.protocol_non_smtp },
		{ "HELO without a dot", "EHLO localhost\r\n", 1, false, &s.config.conf.protocol_helo_syntax },
		{ "our name", "EHLO gw.example\r\n", 1, false, &s.config.conf.protocol_helo_ours },
		{ "another's address", "EHLO [203.0.113.9]\r\n", 1, false, &s.config.conf.protocol_helo_literal },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (int on = 1; on >= 0; on--) {
			char say[256];
			const bool greets =
				strncmp(rows[i].say, "EHLO", 4) == 0 || strncmp(rows[i].say, "HELO", 4) == 0;

			start_manners();
			if (!on)
				*rows[i].weight = 0;
			scene_begin(&s);
			snprintf(say, sizeof(say), "%s", rows[i].say);
			if (greets && strchr(rows[i].say, '\r') != NULL) {
				CHECK_EQ(rows[i].label, wait_after(say, rows[i].n_replies, rows[i].early),
					on ? 480 : 240);
			} else { /* the greeting comes after the bad line, in a segment of its own */
				struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);

				send_raw(c, say, strlen(say));
				CHECK_EQ(rows[i].label, scene_reply(&s, c), 500);
				CHECK_EQ("deferred", scene_rcpt(&s, c, "m@sender.example", "u@example.org"), 451);
				CHECK_EQ(rows[i].label, scene_wait_s(&s), on ? 480 : 240);
				scene_quit(&s, c);
			}
			scene_end(&s);
		}
}

static void
test_good_manners_score_nothing(void **state)
{
	static const char *const say[] = { "EHLO mail.sender.example\r\n", "HELO mail.sender.example\r\n",
		"EHLO [198.18.0.10]\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(say); i++) {
		start_manners();
		scene_begin(&s);
		CHECK_EQ(say[i], wait_after(say[i], 1, false), 240);
		scene_end(&s);
	}
}

static void
test_too_many_errors_greylist_longer(void **state)
{
	(void)state;
	for (int n = 4; n <= 5; n++) {
		struct sim_conn *c;

		start_manners();
		scene_begin(&s);
		c = scene_open(&s, CLIENT4, GATEWAY4);
		for (int i = 0; i < n; i++)
			CHECK_EQ("unknown", scene_chat(&s, c, "WHAT"), 500);
		CHECK_EQ("deferred", scene_rcpt(&s, c, "m@sender.example", "u@example.org"), 451);
		CHECK_EQ("from the fifth on", scene_wait_s(&s), n < 5 ? 240 : 480);
		scene_quit(&s, c);
		scene_end(&s);
	}
}

static void
test_the_greet_pause_shows_a_teaser_to_strangers_alone(void **state)
{
	struct sim_conn *c;
	uint64_t at_us;

	(void)state;
	start_manners();
	scene_begin(&s);
	at_us = sim_now_us(s.sim);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, 1000000);
	CHECK_OCTETS("teaser", c->in, c->in_octets, "220-gw.example ESMTP Greyline\r\n", 31);
	CHECK_EQ("banner", scene_reply(&s, c), 220);
	CHECK_STR("whole", s.reply, "220-gw.example ESMTP Greyline\r\n220 gw.example ESMTP Greyline\r\n");
	CHECK_TRUE("after the pause", sim_now_us(s.sim) >= at_us + 3000000 && sim_now_us(s.sim) < at_us + 4000000);
	scene_quit(&s, c);
	scene_end(&s);
}

/* ---- traps (POLICY section 4, rule 7) ---- */

static void
start_traps(void)
{
	scene_conf(&s);
	s.config.trap = "trap@example.org";
	scene_begin(&s);
}

#define OTHER4 "198.18.0.11" /* of the same network */

/* The next deliveries come from another host of the client's network. */
static void
be_other(void)
{
	s.client = sim_host_add(s.sim, 0, OTHER4, NULL);
}

static bool
is_trapped(const char *client, const char *from, const char *to)
{
	return scene_deliver(&s, client, from, to, body) == 451 && strstr(s.reply, "temporarily blocked") != NULL;
}

static void
test_a_stranger_is_caught_by_a_trap_for_a_day(void **state)
{
	(void)state;
	start_traps();
	CHECK_TRUE("at once", is_trapped(CLIENT4, "a@sender.example", "trap@example.org"));
	CHECK_TRUE("for every recipient", is_trapped(CLIENT4, "a@sender.example", "u@example.org"));
	CHECK_EQ("postmaster is reached",
		scene_deliver(&s, CLIENT4, "a@sender.example", "postmaster@example.org", body), 250);
	sim_run(s.sim, UINT64_C(86400) * 1000000);
	CHECK_EQ("a day later", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_TRUE("it is the greylist's turn", scene_wait_s(&s) > 0);
	CHECK_TRUE("caught again", is_trapped(CLIENT4, "a@sender.example", "trap@example.org"));
	be_other();
	CHECK_EQ("another address of its network is not",
		scene_deliver(&s, OTHER4, "a@sender.example", "v@example.org", body), 451);
	CHECK_TRUE("but greylisted", scene_wait_s(&s) > 0);
	scene_end(&s);
}

static void
test_a_trap_spares_bounces_and_allowed_clients(void **state)
{
	(void)state;
	start_traps();
	scene_deliver(&s, CLIENT4, "", "trap@example.org", body);
	CHECK_TRUE("null sender", !is_trapped(CLIENT4, "a@sender.example", "u@example.org"));
	scene_end(&s);

	scene_conf(&s);
	s.config.trap = "trap@example.org";
	s.config.client_allow = "198.18.0.0/24";
	scene_begin(&s);
	CHECK_EQ("allowed", scene_deliver(&s, CLIENT4, "a@sender.example", "trap@example.org", body), 250);
	CHECK_EQ("and stays so", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	scene_end(&s);
}

static void
test_a_known_client_is_caught_after_the_greylist_alone(void **state)
{
	(void)state;
	start_traps();
	scene_make_white(&s, CLIENT4, "a@sender.example", "u@example.org");
	CHECK_TRUE("greylisted like anybody",
		!is_trapped(CLIENT4, "a@sender.example", "trap@example.org") && scene_wait_s(&s) > 0);
	CHECK_EQ("its other mail passes", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	sim_run(s.sim, 241000000);
	CHECK_TRUE("caught when it comes back", is_trapped(CLIENT4, "a@sender.example", "trap@example.org"));
	CHECK_TRUE("all its mail", is_trapped(CLIENT4, "a@sender.example", "u@example.org"));
	scene_end(&s);
}

static void
test_a_trap_never_catches_a_network_with_many_white_triplets(void **state)
{
	(void)state;
	for (int n = 19; n <= 20; n++) { /* and the trap's own triplet makes one more */
		char from[64];

		start_traps();
		for (int round = 0; round < 2; round++) {
			for (int i = 0; i < n; i++) {
				snprintf(from, sizeof(from), "a@d%c.example", 'a' + i);
				CHECK_EQ("triplet", scene_deliver(&s, CLIENT4, from, "u@example.org", body),
					round == 0 ? 451 : 250);
			}
			sim_run(s.sim, round == 0 ? 300000000 : 1000);
		}
		CHECK_EQ("a trap once", is_trapped(CLIENT4, "z@dz.example", "trap@example.org"), false);
		sim_run(s.sim, 241000000);
		CHECK_EQ("and past the greylist", is_trapped(CLIENT4, "z@dz.example", "trap@example.org"), n < 20);
		scene_end(&s);
	}
}

static void
test_trap_scope_network(void **state)
{
	(void)state;
	scene_conf(&s);
	s.config.trap = "trap@example.org";
	s.config.conf.trap_scope_network = 1;
	scene_begin(&s);
	CHECK_TRUE("caught", is_trapped(CLIENT4, "a@sender.example", "trap@example.org"));
	be_other();
	CHECK_TRUE("with its network", is_trapped(OTHER4, "b@sender.example", "u@example.org"));
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunking_is_offered_only_if_all_backends_have_it),
		cmocka_unit_test(test_chunks_arrive_octet_for_octet),
		cmocka_unit_test(test_a_pipelined_burst_of_chunks_over_a_bad_wire),
		cmocka_unit_test(test_chunks_after_refused_recipients_are_stepped_over),
		cmocka_unit_test(test_a_backend_that_fails_in_mid_chunk),
		cmocka_unit_test(test_a_backend_refuses_or_dies_between_chunks),
		cmocka_unit_test(test_a_message_cut_between_chunks_is_never_delivered),
		cmocka_unit_test(test_a_huge_chunk_is_bounded_by_silence_alone),
		cmocka_unit_test(test_an_extension_lost_in_mid_session_is_no_5xx),
		cmocka_unit_test(test_ehlo_follows_the_backends_within_a_minute),
		cmocka_unit_test(test_bad_manners_greylist_longer_each_by_its_switch),
		cmocka_unit_test(test_good_manners_score_nothing),
		cmocka_unit_test(test_too_many_errors_greylist_longer),
		cmocka_unit_test(test_a_stranger_is_caught_by_a_trap_for_a_day),
		cmocka_unit_test(test_a_trap_spares_bounces_and_allowed_clients),
		cmocka_unit_test(test_a_known_client_is_caught_after_the_greylist_alone),
		cmocka_unit_test(test_a_trap_never_catches_a_network_with_many_white_triplets),
		cmocka_unit_test(test_trap_scope_network),
		cmocka_unit_test(test_the_greet_pause_shows_a_teaser_to_strangers_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
