/*
 * test_relay.c - a relay and a scripted backend in virtual time: POLICY section 5, row by row. What fails is in test_relay_failing.c.
 */
#include "tests/unit/relay/relay_dialogue.h"

static void
test_relay_follows_the_dialogue(void **state)
{
	static const struct dialogue rows[] = {
		{ "a recipient asked for before the connection stands is held until the greeting is over",
			{ RCPT("a@example.org"), WANT(""), GREETED, WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE),
				SAY("250 2.1.5 ok\r\n"), RCPT_REPLY("250 2.1.5 ok\r\n"), NOTHING } },
		{ "a whole transaction, then QUIT: the backend closes first",
			{ DELIVERED, QUIT, WANT("QUIT\r\n"), SAY("221 bye\r\n"), NOTHING, CLOSE, CLOSED, NOTHING } },
		{ "several recipients, each with the backend's own answer",
			{ ACCEPTED, RCPT("b@example.org"), WANT("RCPT TO:<b@example.org>\r\n"),
				SAY("550 5.1.1 unknown\r\n"), RCPT_REPLY("550 5.1.1 unknown\r\n"),
				RCPT("c@example.org"), WANT("RCPT TO:<c@example.org>\r\n"), SAY("450 4.2.0 later\r\n"),
				RCPT_REPLY("450 4.2.0 later\r\n"), FIRST_DATA } },
		{ "a refused first recipient keeps MAIL: the next sends RCPT alone",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE),
				SAY("550 no\r\n"), RCPT_REPLY("550 no\r\n"), RCPT("b@example.org"),
				WANT("RCPT TO:<b@example.org>\r\n"), SAY("250 ok\r\n"), RCPT_REPLY("250 ok\r\n") } },
		{ "a second message on the same connection begins with MAIL, without RSET",
			{ DELIVERED, FIRST_RCPT, FIRST_DATA } },
		{ "a transaction given up is reset, and a recipient held until that is answered",
			{ ACCEPTED, RESET, RCPT("a@example.org"), WANT("RSET\r\n"), SAY("250 ok\r\n"),
				WANT(MAIL_LINE) } },
		{ "a reset without a transaction says nothing", { GREETED, RESET, WANT(""), NOTHING, FIRST_RCPT } },
		{ "a reset before the greeting drops the recipient that waits",
			{ RCPT("a@example.org"), RESET, GREETED, WANT(""), NOTHING, FIRST_RCPT } },
		{ "a reset while RCPT is under way: its answer is read and dropped",
			{ ACCEPTED, RCPT("b@example.org"), WANT("RCPT TO:<b@example.org>\r\n"), RESET, WANT(""),
				SAY("250 ok\r\n"), NOTHING, WANT("RSET\r\n"), SAY("250 ok\r\n"), NOTHING,
				FIRST_RCPT } },
		{ "replies of several lines pass as they are",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250-first\r\n250 ok\r\n"),
				WANT(RCPT_LINE), SAY("550-5.1.1 no such\r\n550-5.1.1 user\r\n550 5.1.1 here\r\n"),
				RCPT_REPLY("550-5.1.1 no such\r\n550-5.1.1 user\r\n550 5.1.1 here\r\n") } },
		{ "251 and 252 are acceptances as well",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE),
				SAY("251 forwards\r\n"), RCPT_REPLY("251 forwards\r\n"), FIRST_DATA } },
		{ "QUIT before the banner is not sent: nothing goes before it but PROXY",
			{ CONNECT, QUIT, WANT(""), CLOSED } },
		{ "QUIT while RCPT is under way waits for its answer",
			{ ACCEPTED, RCPT("b@example.org"), WANT("RCPT TO:<b@example.org>\r\n"), QUIT, WANT(""),
				SAY("250 ok\r\n"), NOTHING, WANT("QUIT\r\n"), CLOSE, CLOSED } },
		{ "a DATA refused ends the transaction; the backend is reset before the next",
			{ ACCEPTED, DATA, WANT("DATA\r\n"), SAY("452 4.3.1 no room\r\n"),
				DATA_REPLY("452 4.3.1 no room\r\n"), WANT("RSET\r\n"), SAY("250 ok\r\n"),
				FIRST_RCPT } },
		{ "the message's 4xx and 5xx pass as they are",
			{ IN_BODY, DOT, SAY("452 4.2.2 full\r\n"), MESSAGE_REPLY("452 4.2.2 full\r\n"), FIRST_RCPT,
				FIRST_DATA, DOT, SAY("552 5.3.4 too big\r\n"), MESSAGE_REPLY("552 5.3.4 too big\r\n"),
				AT(READY) } },
	};

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);
}

static void
test_relay_greets_as_the_client_did(void **state)
{
	static const struct dialogue hello[] = {
		{ "a client that said HELO is greeted for by HELO",
			{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT("HELO " CLIENT_HELO "\r\n"),
				SAY("250 hi\r\n"), WANT(MAIL_LINE) } },
	};
	static const struct dialogue rows[] = {
		{ "a backend that does not know EHLO gets HELO",
			{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT(EHLO_LINE), SAY("500 what?\r\n"),
				WANT("HELO " CLIENT_HELO "\r\n"), SAY("250 hi\r\n"), WANT(MAIL_LINE) } },
		{ "502 is not knowing as well", { RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT(EHLO_LINE),
							SAY("502 5.5.1 what?\r\n"), WANT("HELO " CLIENT_HELO "\r\n"),
							SAY("502 what?\r\n"), RCPT_REPLY("502 what?\r\n") } },
		{ "a refusal of the client's name is passed, and asked for again at the next recipient",
			{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT(EHLO_LINE),
				SAY("550 5.7.1 bad name\r\n"), RCPT_REPLY("550 5.7.1 bad name\r\n"), NOTHING, WANT(""),
				RCPT("b@example.org"), WANT(EHLO_LINE), SAY("250 well\r\n"), WANT(MAIL_LINE) } },
		{ "a temporary refusal of the client's name is a failure",
			{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT(EHLO_LINE), SAY("451 later\r\n"),
				FAILED, AT(EHLO) } },
	};
	struct play p;

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);

	play_init(&p, hello[0].label, CLIENT_ADDRESS_NONE);
	p.client.esmtp = false;
	play_again(&p);
	play_steps(&p, hello[0].steps);
}

static void
test_relay_passes_a_refused_greeting_only_when_a_probe_works(void **state)
{
	static const struct step refused[] = { RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT(EHLO_LINE),
		SAY("550 bad name\r\n"), { OP_END, NULL, 0 } };
	static const struct step failed[] = { FAILED, AT(EHLO), { OP_END, NULL, 0 } };
	static const struct step nameless[] = { RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"),
		WANT("EHLO " OUR_NAME "\r\n"), SAY("550 bad name\r\n"), FAILED, AT(EHLO), { OP_END, NULL, 0 } };
	struct play p;

	(void)state;
	play_init(&p, "no probe works: the refusal may be ours", CLIENT_ADDRESS_NONE);
	p.backend.probe_works = false;
	play_again(&p);
	play_steps(&p, refused);
	play_steps(&p, failed);
	CHECK_STR("the log has the backend's words", relay_words(&p.relay), "550 bad name");

	play_init(&p, "the client has no name, ours is refused", CLIENT_ADDRESS_NONE);
	p.client.helo[0] = '\0';
	play_again(&p);
	play_steps(&p, nameless);
}

static void
test_relay_pipelines_only_where_it_is_offered(void **state)
{
#define PIPELINING GREETED_WITH("250 PIPELINING\r\n"), RCPT("a@example.org"), WANT(MAIL_LINE RCPT_LINE)
	static const struct dialogue rows[] = {
		{ "MAIL and RCPT go together", { PIPELINING, SAY("250 ok\r\n250 fine\r\n"), RCPT_REPLY("250 fine\r\n"),
						       NOTHING, FIRST_DATA } },
		{ "the second recipient is RCPT alone",
			{ PIPELINING, SAY("250 ok\r\n250 fine\r\n"), RCPT_REPLY("250 fine\r\n"), RCPT("b@example.org"),
				WANT("RCPT TO:<b@example.org>\r\n") } },
		{ "a refused MAIL is the answer, that to RCPT is dropped",
			{ PIPELINING, SAY("550 5.7.1 not you\r\n503 5.5.1 no MAIL\r\n"),
				RCPT_REPLY("550 5.7.1 not you\r\n"), NOTHING, AT(READY) } },
		{ "a refused MAIL, then the connection is lost: the answer stands",
			{ PIPELINING, SAY("550 5.7.1 not you\r\n"), NOTHING, CLOSE, RCPT_REPLY("550 5.7.1 not you\r\n"),
				CLOSED } },
		{ "a refused MAIL, then 421: the answer stands",
			{ PIPELINING, SAY("450 4.7.1 wait\r\n"), SAY("421 bye\r\n"), RCPT_REPLY("450 4.7.1 wait\r\n"),
				CLOSED } },
		{ "a refused MAIL and an accepted RCPT: the backend is reset",
			{ PIPELINING, SAY("550 no\r\n250 ok\r\n"), RCPT_REPLY("550 no\r\n"), WANT("RSET\r\n"),
				SAY("250 ok\r\n"), NOTHING } },
		{ "MAIL's answer alone is no answer yet",
			{ PIPELINING, SAY("250 ok\r\n"), NOTHING, SAY("250 ok\r\n"), RCPT_REPLY("250 ok\r\n") } },
		{ "without PIPELINING two answers at once are one too many",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n250 ok\r\n"), FAILED } },
	};

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);
}

static void
test_relay_passes_parameters_the_backend_knows(void **state)
{
	static const struct dialogue rows[] = {
		{ "all of them, as the client wrote them",
			{ PARAMS(" SIZE=1000 BODY=8bitmime SMTPUTF8 RET=HDRS ENVID=x+3D"),
				RCPT_PARAMS(" NOTIFY=NEVER ORCPT=rfc822;a"),
				GREETED_WITH("250-SIZE 5000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n"),
				SIZE(1000),
				RCPT_NEEDS("a@example.org", EXT_8BITMIME | EXT_DSN | EXT_SMTPUTF8 | EXT_SIZE),
				WANT("MAIL FROM:<from@sender.example> SIZE=1000 BODY=8bitmime SMTPUTF8 RET=HDRS "
				     "ENVID=x+3D\r\n"),
				SAY("250 ok\r\n"), WANT("RCPT TO:<a@example.org> NOTIFY=NEVER ORCPT=rfc822;a\r\n") } },
		{ "SIZE is advice: a backend without it is not told",
			{ PARAMS(" SIZE=1000"), GREETED, SIZE(1000), RCPT_NEEDS("a@example.org", EXT_SIZE),
				WANT(MAIL_LINE) } },
		{ "BODY=7BIT is no need", { PARAMS(" BODY=7BIT"), GREETED, RCPT("a@example.org"), WANT(MAIL_LINE) } },
		{ "an unknown parameter does not go on", { PARAMS(" XCLIENT=1 AUTH=<>"), GREETED_WITH("250 DSN\r\n"),
								 RCPT("a@example.org"), WANT(MAIL_LINE) } },
	};

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);
}

static void
test_relay_answers_what_the_backend_cannot_do(void **state)
{
	static const uint32_t needs[] = { EXT_8BITMIME, EXT_SMTPUTF8, EXT_DSN, EXT_BINARYMIME, EXT_CHUNKING };
	static const struct dialogue rows[] = {
		{ "SIZE= above the backend's is 554 5.3.4",
			{ SIZE(5001), GREETED_WITH("250 SIZE 5000\r\n"), RCPT("a@example.org"),
				RCPT_REPLY("554 5.3.4 Message size exceeds the limit of the receiving server\r\n"),
				WANT(""), NOTHING } },
		{ "SIZE= at the backend's passes",
			{ SIZE(5000), GREETED_WITH("250 SIZE 5000\r\n"), RCPT("a@example.org"), WANT(MAIL_LINE) } },
		{ "SIZE without a number is no limit",
			{ SIZE(4000000000u), GREETED_WITH("250 SIZE\r\n"), RCPT("a@example.org"), WANT(MAIL_LINE) } },
		{ "552 to MAIL is 554 5.3.4 at RCPT", { GREETED, RCPT("a@example.org"), WANT(MAIL_LINE),
							      SAY("552 5.3.4 Message too large for us\r\n"),
							      RCPT_REPLY("554 5.3.4 Message too large for us\r\n") } },
		{ "552 to MAIL of several lines, without an enhanced code",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("552-too large\r\n552 really\r\n"),
				RCPT_REPLY("554 5.3.4 too large\r\n") } },
		{ "552 to MAIL without a text", { GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("552\r\n"),
							{ OP_ACTION, NULL, RELAY_ACTION_RCPT_REPLY } } },
		{ "552 to RCPT stays what it is",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE),
				SAY("552 5.2.2 full\r\n"), RCPT_REPLY("552 5.2.2 full\r\n") } },
		{ "MAIL's refusal is given at each recipient",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("550 5.7.1 no\r\n"),
				RCPT_REPLY("550 5.7.1 no\r\n"), RCPT("b@example.org"), WANT(MAIL_LINE),
				SAY("550 5.7.1 no\r\n"), RCPT_REPLY("550 5.7.1 no\r\n") } },
	};

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);
	for (size_t i = 0; i < ARRAY_LEN(needs); i++) {
		const struct step steps[] = { GREETED_WITH("250 SIZE 1\r\n"), RCPT_NEEDS("a@example.org", needs[i]),
			RCPT_REPLY("451 4.3.0 Mail server does not take this kind of message at the moment\r\n"),
			WANT(""), NOTHING, { OP_END, NULL, 0 } };
		struct play p;

		play_init(&p, "a need the backend lacks is 451", CLIENT_ADDRESS_NONE);
		play_steps(&p, steps);
	}
}

static void
test_relay_sends_proxy_first(void **state)
{
	static const uint8_t v2[] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21,
		0x11, 0, 12, 192, 0, 2, 7, 198, 18, 0, 2, 0x9c, 0x41, 0, 25 };
	static const struct dialogue v1[] = {
		{ "version 1: the header, and nothing more before the banner",
			{ WANT(""), RCPT("a@example.org"), CONNECT,
				WANT("PROXY TCP4 192.0.2.7 198.18.0.2 40001 25\r\n"), AFTER(9000), WANT(""),
				SAY("220 hi\r\n"), WANT(EHLO_LINE) } },
		{ "a banner before the header was sent: that backend expects none",
			{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), FAILED, AT(BANNER) } },
	};
	char out[600];
	struct play p;

	(void)state;
	run(v1, ARRAY_LEN(v1), CLIENT_ADDRESS_PROXY_V1);
	play_init(&p, "version 2", CLIENT_ADDRESS_PROXY_V2);
	CHECK_EQ("nothing before the connection stands", play_output(&p, out, sizeof(out)), 0);
	relay_connected(&p.relay, p.now_us);
	CHECK_OCTETS("version 2's header", out, play_output(&p, out, sizeof(out)), v2, sizeof(v2));
}

static void
test_relay_sends_xclient(void **state)
{
	static const struct dialogue rows[] = {
		{ "EHLO with our name, XCLIENT, 220, EHLO with the client's",
			{ XCLIENT_SENT, SAY("220 hello mail\r\n"), WANT(EHLO_LINE), SAY("250 hi\r\n"),
				WANT(MAIL_LINE) } },
		{ "the client's name refused after XCLIENT is the client's matter",
			{ XCLIENT_SENT, SAY("220 hello mail\r\n"), WANT(EHLO_LINE), SAY("550 5.7.1 liar\r\n"),
				RCPT_REPLY("550 5.7.1 liar\r\n"), NOTHING, RCPT("b@example.org"), WANT(EHLO_LINE),
				SAY("250 well\r\n"), WANT(MAIL_LINE) } },
		{ "only attributes the backend lists",
			{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT("EHLO " OUR_NAME "\r\n"),
				SAY("250-x\r\n250 xclient addr helo\r\n"),
				WANT("XCLIENT ADDR=192.0.2.7 HELO=" CLIENT_HELO "\r\n") } },
	};

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_XCLIENT);
}

static void
test_relay_xclient_refused_is_our_failure_and_an_alarm(void **state)
{
	static const struct dialogue rows[] = {
		{ "not offered", { RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT("EHLO " OUR_NAME "\r\n"),
					 SAY("250 SIZE\r\n"), FAILED, AT(XCLIENT) } },
		{ "offered without ADDR",
			{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT("EHLO " OUR_NAME "\r\n"),
				SAY("250-x\r\n250 XCLIENT NAME\r\n"), FAILED, AT(XCLIENT) } },
		{ "550", { XCLIENT_SENT, SAY("550 5.7.0 insufficient authorization\r\n"), FAILED, AT(XCLIENT) } },
		{ "501", { XCLIENT_SENT, SAY("501 5.5.4 bad syntax\r\n"), FAILED, AT(XCLIENT) } },
		{ "454", { XCLIENT_SENT, SAY("454 later\r\n"), FAILED, AT(XCLIENT) } },
		{ "250 is not the answer", { XCLIENT_SENT, SAY("250 ok\r\n"), FAILED, AT(XCLIENT) } },
	};

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_XCLIENT);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct play p;

		play_init(&p, rows[i].label, CLIENT_ADDRESS_XCLIENT);
		play_steps(&p, rows[i].steps);
		CHECK_EQ(rows[i].label, counter_read(&p.counters, CTR_relay_xclient_refused), 1);
		CHECK_STR(rows[i].label, relay_reply(&p.relay)->text, FAILURE);
	}
}

static void
test_relay_words_tell_the_backend_s_own(void **state)
{
	struct play p;

	(void)state;
	play_init(&p, "words", CLIENT_ADDRESS_NONE);
	play_steps(
		&p, (const struct step[]){ RCPT("a@example.org"), CONNECT,
			    SAY("554-5.7.1 go\taway\r\n554 5.7.1 now\r\n"), FAILED, AT(BANNER), { OP_END, NULL, 0 } });
	CHECK_TRUE("first line, printable", strncmp(relay_words(&p.relay), "554-5.7.1 go", 12) == 0);
	CHECK_TRUE("no words of the backend reach the client", strstr(relay_reply(&p.relay)->text, "away") == NULL);
}

static void
test_relay_wants_body_only_when_its_own_octets_are_out(void **state)
{
	struct play p;
	char out[64];

	(void)state;
	play_init(&p, "body", CLIENT_ADDRESS_NONE);
	play_steps(
		&p, (const struct step[]){ ACCEPTED, DATA, WANT("DATA\r\n"), SAY("354 go\r\n"), { OP_END, NULL, 0 } });
	CHECK_TRUE("not before the 354 was told", !relay_wants_body(&p.relay));
	CHECK_EQ("told", relay_next(&p.relay, p.now_us), RELAY_ACTION_DATA_REPLY);
	CHECK_TRUE("now", relay_wants_body(&p.relay));
	relay_body_sent(&p.relay, 5, true, p.now_us);
	CHECK_TRUE("not after the end", !relay_wants_body(&p.relay));

	play_init(&p, "chunk", CLIENT_ADDRESS_NONE);
	play_steps(&p, (const struct step[]){ ACCEPTED, BDAT(100, "LAST"), { OP_END, NULL, 0 } });
	CHECK_TRUE("not before BDAT is out", !relay_wants_body(&p.relay));
	play_output(&p, out, sizeof(out));
	CHECK_STR("BDAT", out, "BDAT 100 LAST\r\n");
	CHECK_TRUE("now", relay_wants_body(&p.relay));
}

static void
test_relay_chunks(void **state)
{
	static const struct dialogue rows[] = {
		{ "two chunks",
			{ ACCEPTED, BDAT(10, ""), WANT("BDAT 10\r\n"), BODY(4), BODY(6), SAY("250 10 octets\r\n"),
				DATA_REPLY("250 10 octets\r\n"), BDAT(5, "LAST"), WANT("BDAT 5 LAST\r\n"), BODY(5),
				SAY("250 queued\r\n"), MESSAGE_REPLY("250 queued\r\n"), FIRST_RCPT } },
		{ "an empty last chunk", { ACCEPTED, BDAT(0, "LAST"), WANT("BDAT 0 LAST\r\n"), SAY("250 queued\r\n"),
						 MESSAGE_REPLY("250 queued\r\n") } },
		{ "354 to a chunk is nonsense",
			{ ACCEPTED, BDAT(1, ""), WANT("BDAT 1\r\n"), BODY(1), SAY("354 go\r\n"), FAILED } },
		{ "a refused chunk ends the transaction",
			{ ACCEPTED, BDAT(1, ""), WANT("BDAT 1\r\n"), BODY(1), SAY("552 no\r\n"),
				DATA_REPLY("552 no\r\n"), WANT("RSET\r\n"), SAY("250 ok\r\n"), FIRST_RCPT } },
	};

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);
}

/* No octet of the client's may end a line: the session refuses them, the relay does not rely on it. */
static void
test_relay_refuses_octets_that_end_a_line(void **state)
{
	static const char *const bad[] = { "a\r\nRCPT TO:<b", "a\n", "a\r", "\x01", "\x7f" };
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		for (int where = 0; where < 4; where++) {
			struct play p;

			play_init(&p, bad[i], CLIENT_ADDRESS_NONE);
			play_steps(&p, (const struct step[]){ GREETED, { OP_END, NULL, 0 } });
			relay_rcpt(&p.relay, where == 0 ? bad[i] : "a@b", where == 1 ? bad[i] : "",
				where == 2 ? bad[i] : "c@d", where == 3 ? bad[i] : "", 0, 0, p.now_us);
			CHECK_EQ("answered", relay_next(&p.relay, p.now_us), RELAY_ACTION_RCPT_REPLY);
			CHECK_STR("as our failure", relay_reply(&p.relay)->text, FAILURE);
			CHECK_EQ("and nothing sent", play_output(&p, out, sizeof(out)), 0);
			play_steps(&p, (const struct step[]){ FIRST_RCPT, { OP_END, NULL, 0 } });
		}
	}
}

/* Nor may a greeting; and where nothing is configured the limits of POLICY section 6 hold. */
static void
test_relay_greets_with_harmless_octets_and_default_limits(void **state)
{
	struct play p;

	(void)state;
	play_init(&p, "greeting", CLIENT_ADDRESS_NONE);
	strcpy(p.client.helo, "a b~\r\nRSET\x7f\xe4");
	p.backend.greeting_ms = p.backend.total_ms = p.backend.reply_ms = p.backend.dot_s = 0;
	play_again(&p);
	CHECK_EQ("10 s to connect", relay_deadline_us(&p.relay), p.now_us + 10000000);
	play_steps(&p, (const struct step[]){
			       CONNECT, SAY("220 hi\r\n"), WANT("EHLO a b~??RSET??\r\n"), { OP_END, NULL, 0 } });
	CHECK_EQ("30 s in all", relay_deadline_us(&p.relay), p.now_us + 30000000);
	play_steps(&p, (const struct step[]){ SAY("250 hi\r\n"), RCPT("a@example.org"), { OP_END, NULL, 0 } });
	CHECK_EQ("35 s for a recipient", relay_deadline_us(&p.relay), p.now_us + 35000000);
	CHECK_STR("a stage's name", relay_stage_name(RELAY_STAGE_CLOSED), "CLOSED");
	CHECK_STR("no stage", relay_stage_name((enum relay_stage)(RELAY_STAGE_CLOSED + 1)), "?");
}

static void
test_relay_takes_the_longest_request(void **state)
{
	static char path[SMTP_PATH_MAX_OCTETS + 2], params[SMTP_PARAMS_MAX_OCTETS + 2];
	static char out[RELAY_OUT_MAX_OCTETS + 1];
	struct play p;

	(void)state;
	memset(path, 'x', SMTP_PATH_MAX_OCTETS);
	memset(params, 'y', SMTP_PARAMS_MAX_OCTETS);
	memcpy(params, " ENVID=", 7);
	play_init(&p, "longest", CLIENT_ADDRESS_NONE);
	play_steps(&p, (const struct step[]){ GREETED_WITH("250-DSN\r\n250 PIPELINING\r\n"), { OP_END, NULL, 0 } });
	relay_rcpt(&p.relay, path, params, path, params, 0, 0, p.now_us);
	CHECK_EQ("all of it", play_output(&p, out, sizeof(out)),
		2 * (SMTP_PATH_MAX_OCTETS + SMTP_PARAMS_MAX_OCTETS) + 14 + 12);

	path[SMTP_PATH_MAX_OCTETS] = 'x';
	play_init(&p, "too long", CLIENT_ADDRESS_NONE);
	play_steps(&p, (const struct step[]){ GREETED, { OP_END, NULL, 0 } });
	relay_rcpt(&p.relay, path, "", "a@b", "", 0, 0, p.now_us);
	CHECK_EQ("answered", relay_next(&p.relay, p.now_us), RELAY_ACTION_RCPT_REPLY);
	CHECK_STR("as our failure", relay_reply(&p.relay)->text, FAILURE);
}

/* A backend's answer of many lines, long lines and 8-bit is passed within the bounds (play_check_reply looks at each).
 * */
static void
test_relay_passes_odd_replies_within_bounds(void **state)
{
	static char reply[128 * 1200];
	size_t n = 0;
	struct play p;

	(void)state;
	for (int i = 0; i < SMTP_REPLY_LINES_MAX; i++) {
		n += (size_t)sprintf(reply + n, "550%c", i < SMTP_REPLY_LINES_MAX - 1 ? '-' : ' ');
		for (int j = 0; j < 1000; j++)
			reply[n++] = (char)(j % 3 == 0 ? 0xe4 : 'a' + j % 26);
		n += (size_t)sprintf(reply + n, "\r\n");
	}
	play_init(&p, "odd", CLIENT_ADDRESS_NONE);
	play_steps(&p, (const struct step[]){ ACCEPTED, RCPT("b@example.org"), WANT("RCPT TO:<b@example.org>\r\n"),
			       { OP_END, NULL, 0 } });
	play_say(&p, reply, (uint32_t)n);
	CHECK_EQ("passed", relay_next(&p.relay, p.now_us), RELAY_ACTION_RCPT_REPLY);
	CHECK_EQ("code", relay_reply(&p.relay)->code, 550);
	play_check_reply(&p, RELAY_ACTION_RCPT_REPLY);
}

static void
test_relay_tells_its_state(void **state)
{
	struct play p;

	(void)state;
	play_init(&p, "state", CLIENT_ADDRESS_NONE);
	CHECK_TRUE("connecting is not idle", !relay_is_idle(&p.relay));
	play_steps(&p, (const struct step[]){ GREETED, { OP_END, NULL, 0 } });
	CHECK_TRUE("greeted is idle", relay_is_idle(&p.relay) && !relay_has_transaction(&p.relay));
	play_steps(&p, (const struct step[]){ FIRST_RCPT, { OP_END, NULL, 0 } });
	CHECK_TRUE(
		"a recipient accepted is a transaction", !relay_is_idle(&p.relay) && relay_has_transaction(&p.relay));
	relay_reset(&p.relay, p.now_us);
	CHECK_TRUE("given up: takes a recipient at once", relay_is_idle(&p.relay) && !relay_has_transaction(&p.relay));
	relay_rcpt(&p.relay, "", "", "b@example.org", "", 0, 0, p.now_us);
	CHECK_TRUE("one waits", !relay_is_idle(&p.relay));
	play_steps(&p,
		(const struct step[]){ WANT("RSET\r\n"), SAY("250 ok\r\n"), WANT("MAIL FROM:<>\r\n"), SAY("250 ok\r\n"),
			WANT("RCPT TO:<b@example.org>\r\n"), SAY("250 ok\r\n250 x\r\n"), { OP_END, NULL, 0 } });
	CHECK_EQ("an action waits", relay_deadline_us(&p.relay), 0);
	CHECK_EQ("taken", relay_next(&p.relay, p.now_us), RELAY_ACTION_RCPT_REPLY);
	CHECK_EQ("another behind it", relay_deadline_us(&p.relay), 0);
	CHECK_EQ("taken", relay_next(&p.relay, p.now_us), RELAY_ACTION_FAILED);
	CHECK_TRUE("nothing more", relay_deadline_us(&p.relay) == UINT64_MAX);
	CHECK_TRUE("its recipients are known to be lost", relay_has_transaction(&p.relay));

	play_init(&p, "quit before the banner", CLIENT_ADDRESS_NONE);
	play_steps(&p, (const struct step[]){ CONNECT, QUIT, CLOSED, { OP_END, NULL, 0 } });
	CHECK_TRUE("by reset", relay_must_abort(&p.relay));
	play_init(&p, "354 to nobody", CLIENT_ADDRESS_NONE);
	play_steps(&p, (const struct step[]){ ACCEPTED, DATA, WANT("DATA\r\n"), RESET, SAY("354 go\r\n"), CLOSED,
			       { OP_END, NULL, 0 } });
	CHECK_TRUE("by reset", relay_must_abort(&p.relay));
	play_init(&p, "in order", CLIENT_ADDRESS_NONE);
	play_steps(&p, (const struct step[]){ DELIVERED, QUIT, WANT("QUIT\r\n"), CLOSE, CLOSED, { OP_END, NULL, 0 } });
	CHECK_TRUE("by FIN", !relay_must_abort(&p.relay));
	CHECK_EQ("not lost", counter_read(&p.counters, CTR_relay_lost), 0);
	CHECK_EQ("no failure", counter_read(&p.counters, CTR_relay_failed), 0);
}

static void
test_relay_words_and_counters(void **state)
{
	static const struct {
		const char *words;
		enum counter counter;
		struct step steps[PLAY_STEPS_MAX];
	} rows[] = {
		{ "no connection", CTR_relay_lost, { RCPT("a@example.org"), CLOSE, FAILED } },
		{ "no connection", CTR_relay_connect_failed, { RCPT("a@example.org"), CLOSE, FAILED } },
		{ "connection lost", CTR_relay_lost, { ACCEPTED, CLOSE, FAILED } },
		{ "connection lost", CTR_relay_closed_idle, { DELIVERED, CLOSE, CLOSED } },
		{ "no connection in time", CTR_relay_timeouts, { RCPT("a@example.org"), AFTER(10000), FAILED } },
		{ "421 4.4.2 timeout", CTR_relay_closed_idle, { DELIVERED, SAY("421 4.4.2 timeout\r\n"), CLOSED } },
		{ "421 4.4.2 timeout", CTR_relay_unasked_replies, { DELIVERED, SAY("421 4.4.2 timeout\r\n"), CLOSED } },
		{ "421 no more", CTR_relay_closing_replies,
			{ ACCEPTED, DATA, WANT("DATA\r\n"), SAY("421 no more\r\n"), FAILED } },
		{ "reply before the command", CTR_relay_unasked_replies,
			{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n250 x\r\n"), FAILED } },
		{ "not a reply", CTR_relay_broken_replies,
			{ RCPT("a@example.org"), CONNECT, SAY("hello\r\n"), FAILED } },
		{ "554 go away", CTR_relay_banner_failed,
			{ RCPT("a@example.org"), CONNECT, SAY("554 go away\r\n"), FAILED } },
		{ "250 queued as 1", CTR_relay_messages_accepted, { DELIVERED } },
		{ "550 5.1.1 unknown", CTR_relay_rcpt_refused,
			{ ACCEPTED, RCPT("b@example.org"), WANT("RCPT TO:<b@example.org>\r\n"),
				SAY("550 5.1.1 unknown\r\n"), RCPT_REPLY("550 5.1.1 unknown\r\n") } },
		{ "500 what", CTR_relay_rcpt_refused,
			{ ACCEPTED, RCPT("b@example.org"), WANT("RCPT TO:<b@example.org>\r\n"), SAY("500 what\r\n"),
				RCPT_REPLY("500 what\r\n") } },
		{ "552 big", CTR_relay_messages_refused,
			{ IN_BODY, DOT, SAY("552 big\r\n"), MESSAGE_REPLY("552 big\r\n") } },
		{ "452 disk", CTR_relay_early_replies,
			{ IN_BODY, SAY("452 disk\r\n"), MESSAGE_REPLY("452 disk\r\n") } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct play p;

		play_init(&p, rows[i].words, CLIENT_ADDRESS_NONE);
		play_steps(&p, rows[i].steps);
		CHECK_STR(counter_names[rows[i].counter].name, relay_words(&p.relay), rows[i].words);
		CHECK_EQ(counter_names[rows[i].counter].name, counter_read(&p.counters, rows[i].counter), 1);
	}
}

/* 48: a backend connection is never handed on: XCLIENT is said once in its life, and a relay for another client begins
 * unconnected. */
static void
test_pitfall_48_a_connection_belongs_to_one_client(void **state)
{
	static const struct step twice[] = { XCLIENT_SENT, SAY("220 hi\r\n"), WANT(EHLO_LINE), SAY("250 hi\r\n"),
		WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE), SAY("250 ok\r\n"), RCPT_REPLY("250 ok\r\n"),
		FIRST_DATA, DOT, SAY("250 queued\r\n"), MESSAGE_REPLY("250 queued\r\n"), NOTHING, FIRST_RCPT,
		{ OP_END, NULL, 0 } };
	static const struct step stale[] = { SAY("250 ok\r\n"), RCPT("b@example.org"), WANT(""), { OP_END, NULL, 0 } };
	struct play p;

	(void)state;
	play_init(&p, "XCLIENT once, however many messages", CLIENT_ADDRESS_XCLIENT);
	play_steps(&p, twice);

	p.label = "another client in the same memory";
	p.client.addrs.src = ip_addr_v4(0xc0000263);
	relay_init(&p.relay, &p.backend, &p.client, p.now_us);
	CHECK_EQ("unconnected", relay_stage(&p.relay), RELAY_STAGE_CONNECT);
	CHECK_TRUE("not idle", !relay_is_idle(&p.relay));
	CHECK_TRUE("no transaction", !relay_has_transaction(&p.relay));
	CHECK_EQ("nothing to say", relay_output_pending(&p.relay), 0);
	play_steps(&p, stale);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_relay_follows_the_dialogue),
		cmocka_unit_test(test_relay_greets_as_the_client_did),
		cmocka_unit_test(test_relay_passes_a_refused_greeting_only_when_a_probe_works),
		cmocka_unit_test(test_relay_pipelines_only_where_it_is_offered),
		cmocka_unit_test(test_relay_passes_parameters_the_backend_knows),
		cmocka_unit_test(test_relay_answers_what_the_backend_cannot_do),
		cmocka_unit_test(test_relay_sends_proxy_first),
		cmocka_unit_test(test_relay_sends_xclient),
		cmocka_unit_test(test_relay_xclient_refused_is_our_failure_and_an_alarm),
		cmocka_unit_test(test_relay_words_tell_the_backend_s_own),
		cmocka_unit_test(test_relay_wants_body_only_when_its_own_octets_are_out),
		cmocka_unit_test(test_relay_chunks),
		cmocka_unit_test(test_relay_refuses_octets_that_end_a_line),
		cmocka_unit_test(test_relay_greets_with_harmless_octets_and_default_limits),
		cmocka_unit_test(test_relay_takes_the_longest_request),
		cmocka_unit_test(test_relay_passes_odd_replies_within_bounds),
		cmocka_unit_test(test_relay_tells_its_state),
		cmocka_unit_test(test_relay_words_and_counters),
		cmocka_unit_test(test_pitfall_48_a_connection_belongs_to_one_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
