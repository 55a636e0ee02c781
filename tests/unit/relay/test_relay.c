/*
 * test_relay.c - a relay and a scripted backend in virtual time: POLICY section 5, row by row.
 *
 * Each dialogue runs three times: the backend's octets whole, one at a time, and three at a time.
 */
#include "tests/unit/relay/relay_play.h"

#include <stdlib.h>

static const uint32_t cuts[] = { 0, 1, 3 };

struct dialogue {
	const char *label;
	struct step steps[PLAY_STEPS_MAX];
};

static void
run(const struct dialogue *d, size_t n, enum conf_client_address how)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
			struct play p;

			play_init(&p, d[i].label, how);
			p.cut = cuts[c];
			play_steps(&p, d[i].steps);
		}
	}
}

#define MAIL_LINE "MAIL FROM:<from@sender.example>\r\n"
#define RCPT_LINE "RCPT TO:<a@example.org>\r\n"
#define EHLO_LINE "EHLO " CLIENT_HELO "\r\n"
#define FAILURE   "451 4.3.0 Mail server temporarily unavailable, please try again later\r\n"

/* up to the answer to the greeting, without pipelining */
#define GREETED           CONNECT, WANT(""), SAY("220 mta.example ESMTP\r\n"), WANT(EHLO_LINE), SAY("250 mta.example\r\n")
#define GREETED_WITH(ext) CONNECT, SAY("220 mta.example ESMTP\r\n"), WANT(EHLO_LINE), SAY("250-mta.example\r\n" ext)
/* one accepted recipient */
#define FIRST_RCPT                                                                                                     \
	RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE), SAY("250 ok\r\n"),                 \
		RCPT_REPLY("250 ok\r\n"), NOTHING
/* the octets of a message pass */
#define FIRST_DATA DATA, WANT("DATA\r\n"), SAY("354 go\r\n"), DATA_REPLY("354 go\r\n"), BODY(1000), AT(BODY)
#define ACCEPTED   GREETED, FIRST_RCPT
#define IN_BODY    ACCEPTED, FIRST_DATA
#define DELIVERED  IN_BODY, DOT, NOTHING, SAY("250 queued as 1\r\n"), MESSAGE_REPLY("250 queued as 1\r\n"), NOTHING

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

#define XCLIENT_OFFER "250-mta\r\n250 XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN\r\n"
#define XCLIENT_LINE                                                                                                   \
	"XCLIENT NAME=mail.sender.example REVERSE_NAME=mail.sender.example ADDR=192.0.2.7 PORT=40001 PROTO=ESMTP "     \
	"HELO=" CLIENT_HELO "\r\n"
#define XCLIENT_SENT                                                                                                   \
	RCPT("a@example.org"), CONNECT, WANT(""), SAY("220 hi\r\n"), WANT("EHLO " OUR_NAME "\r\n"),                    \
		SAY(XCLIENT_OFFER), WANT(XCLIENT_LINE)

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

/* --- every stage failing in every way --- */

enum way {
	WAY_CLOSE,
	WAY_SILENCE,
	WAY_4XX,
	WAY_5XX,
	WAY_421,
	WAY_3XX,
	WAY_1XX,
	WAY_GARBAGE,
	WAY_NUL,
	WAY_EMPTY,
	WAY_CODES,
	WAY_LINES,
	WAY_LINE,
	WAY_N
};

static const char *const way_names[] = { "closes", "silence", "4xx", "5xx", "421", "399", "199", "garbage", "NUL",
	"an empty line", "codes differ", "too many lines", "an endless line" };

/* What must come of it: F failed, R recipient's, D DATA's, M the message's answer, C closed, n nothing. */
struct stage_row {
	const char *label;
	enum conf_client_address how;
	char want[WAY_N + 1];
	struct step steps[PLAY_STEPS_MAX];
};

static void
way_apply(struct play *p, enum way way)
{
	static char big[200 * 1024];
	static const char *const says[WAY_N] = { [WAY_4XX] = "450 4.1.1 not now\r\n",
		[WAY_5XX] = "550 5.1.1 never\r\n",
		[WAY_421] = "421 4.3.2 going down\r\n",
		[WAY_3XX] = "399 what\r\n",
		[WAY_1XX] = "199 what\r\n",
		[WAY_GARBAGE] = "HTTP/1.1 200 OK\r\n",
		[WAY_EMPTY] = "\r\n",
		[WAY_CODES] = "250-one\r\n251 two\r\n" };
	size_t n = 0;

	switch (way) {
	case WAY_CLOSE:
		relay_disconnected(&p->relay, p->now_us);
		return;
	case WAY_SILENCE:
		if (relay_deadline_us(&p->relay) == UINT64_MAX)
			return;
		p->now_us = relay_deadline_us(&p->relay) - 1;
		CHECK_EQ(p->label, relay_next(&p->relay, p->now_us), RELAY_ACTION_NONE);
		p->now_us++;
		return;
	case WAY_NUL:
		play_say(p, "250 o\0k\r\n", 9);
		return;
	case WAY_LINES:
		for (int i = 0; i < SMTP_REPLY_LINES_MAX + 1; i++)
			n += (size_t)sprintf(big + n, "250-line %d\r\n", i);
		play_say(p, big, (uint32_t)n);
		return;
	case WAY_LINE:
		memset(big, 'x', sizeof(big));
		memcpy(big, "250 ", 4);
		play_say(p, big, sizeof(big));
		return;
	case WAY_4XX:
	case WAY_5XX:
	case WAY_421:
	case WAY_3XX:
	case WAY_1XX:
	case WAY_GARBAGE:
	case WAY_EMPTY:
	case WAY_CODES:
		play_say(p, says[way], (uint32_t)strlen(says[way]));
		return;
	case WAY_N:
		return;
	}
}

static const struct stage_row stage_rows[] = {
	/*                                              close silence 4xx 5xx 421 3xx 1xx garbage NUL empty codes lines
	 *                                              line */
	{ "CONNECT", CLIENT_ADDRESS_NONE, "FF...........", { RCPT("a@example.org") } },
	{ "BANNER", CLIENT_ADDRESS_NONE, "FFFFFFFFFFFFF", { RCPT("a@example.org"), CONNECT } },
	{ "BANNER after PROXY", CLIENT_ADDRESS_PROXY_V1, "FFFFFFFFFFFFF",
		{ RCPT("a@example.org"), CONNECT, WANT("PROXY TCP4 192.0.2.7 198.18.0.2 40001 25\r\n") } },
	{ "EHLO with the client's name", CLIENT_ADDRESS_NONE, "FFFRFFFFFFFFF",
		{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT(EHLO_LINE) } },
	{ "EHLO with our name", CLIENT_ADDRESS_XCLIENT, "FFFFFFFFFFFFF",
		{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT("EHLO " OUR_NAME "\r\n") } },
	{ "XCLIENT", CLIENT_ADDRESS_XCLIENT, "FFFFFFFFFFFFF", { XCLIENT_SENT } },
	{ "EHLO after XCLIENT", CLIENT_ADDRESS_XCLIENT, "FFFRFFFFFFFFF",
		{ XCLIENT_SENT, SAY("220 hi\r\n"), WANT(EHLO_LINE) } },
	{ "MAIL on a fresh connection", CLIENT_ADDRESS_NONE, "FFRRFFFFFFFFF",
		{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE) } },
	{ "MAIL on a used connection", CLIENT_ADDRESS_NONE, "CFRRCFFFFFFFF",
		{ DELIVERED, RCPT("a@example.org"), WANT(MAIL_LINE) } },
	{ "the first RCPT", CLIENT_ADDRESS_NONE, "FFRRFFFFFFFFF",
		{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE) } },
	{ "a later RCPT", CLIENT_ADDRESS_NONE, "FFRRFFFFFFFFF",
		{ ACCEPTED, RCPT("b@example.org"), WANT("RCPT TO:<b@example.org>\r\n") } },
	{ "between RCPT and DATA", CLIENT_ADDRESS_NONE, "FnFFFFFFFFFFF", { ACCEPTED } },
	{ "between transactions", CLIENT_ADDRESS_NONE, "CnCCCCCCCCCCC", { DELIVERED } },
	{ "before the first transaction", CLIENT_ADDRESS_NONE, "CnCCCCCCCCCCC", { GREETED } },
	{ "DATA", CLIENT_ADDRESS_NONE, "FFDDFFFFFFFFF", { ACCEPTED, DATA, WANT("DATA\r\n") } },
	{ "inside the message", CLIENT_ADDRESS_NONE, "FFMMFFFFFFFFF", { IN_BODY } },
	{ "after the message", CLIENT_ADDRESS_NONE, "FFMMFFFFFFFFF", { IN_BODY, DOT } },
	{ "RSET", CLIENT_ADDRESS_NONE, "CCCCCCCCCCCCC", { ACCEPTED, RESET, WANT("RSET\r\n") } },
	{ "RSET with a recipient waiting", CLIENT_ADDRESS_NONE, "CFCCCCCCCCCCC",
		{ ACCEPTED, RESET, WANT("RSET\r\n"), RCPT("b@example.org") } },
	{ "QUIT", CLIENT_ADDRESS_NONE, "CCnnnnCCCCCCC", { DELIVERED, QUIT, WANT("QUIT\r\n") } },
	{ "BDAT, not the last", CLIENT_ADDRESS_NONE, "FFDDFFFFFFFFF",
		{ ACCEPTED, BDAT(10, ""), WANT("BDAT 10\r\n"), BODY(10) } },
	{ "inside a chunk", CLIENT_ADDRESS_NONE, "FFMMFFFFFFFFF",
		{ ACCEPTED, BDAT(10, ""), WANT("BDAT 10\r\n"), BODY(9) } },
	{ "after the last chunk", CLIENT_ADDRESS_NONE, "FFMMFFFFFFFFF",
		{ ACCEPTED, BDAT(10, "LAST"), WANT("BDAT 10 LAST\r\n"), BODY(10) } },
	{ "between chunks", CLIENT_ADDRESS_NONE, "FnFFFFFFFFFFF",
		{ ACCEPTED, BDAT(10, ""), WANT("BDAT 10\r\n"), BODY(10), SAY("250 ok\r\n"),
			DATA_REPLY("250 ok\r\n") } },
};

static enum relay_action
letter_action(char c)
{
	switch (c) {
	case 'F':
		return RELAY_ACTION_FAILED;
	case 'R':
		return RELAY_ACTION_RCPT_REPLY;
	case 'D':
		return RELAY_ACTION_DATA_REPLY;
	case 'M':
		return RELAY_ACTION_MESSAGE_REPLY;
	case 'C':
		return RELAY_ACTION_CLOSED;
	default:
		return RELAY_ACTION_NONE;
	}
}

static void
test_relay_each_stage_failing_in_each_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(stage_rows); i++) {
		const struct stage_row *row = &stage_rows[i];

		for (int way = 0; way < WAY_N; way++) {
			for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
				char label[128];
				enum relay_action action;
				struct play p;

				if (row->want[way] == '.')
					continue;
				snprintf(label, sizeof(label), "%s, %s", row->label, way_names[way]);
				play_init(&p, label, row->how);
				p.cut = cuts[c];
				play_steps(&p, row->steps);
				way_apply(&p, (enum way)way);
				action = relay_next(&p.relay, p.now_us);
				if (action != letter_action(row->want[way]))
					fail_msg("%s (cut %u): got %s, want %s", label, p.cut,
						play_action_names[action],
						play_action_names[letter_action(row->want[way])]);
				if (action == RELAY_ACTION_NONE || action == RELAY_ACTION_CLOSED)
					continue;
				play_check_reply(&p, action);
				if (action == RELAY_ACTION_FAILED) {
					CHECK_TRUE(label, relay_words(&p.relay)[0] != '\0');
					CHECK_EQ(label, relay_next(&p.relay, p.now_us), RELAY_ACTION_NONE);
					relay_rcpt(&p.relay, "", "", "x@example.org", "", 0, 0, p.now_us);
					CHECK_EQ("a failed relay answers FAILED again", relay_next(&p.relay, p.now_us),
						RELAY_ACTION_FAILED);
				} else {
					CHECK_EQ(label, relay_reply(&p.relay)->code, way == WAY_4XX ? 450 : 550);
				}
			}
		}
	}
}

/* A good answer cut after each of its octets, and then the connection is lost: a failure, never half a reply. */
static void
test_relay_reply_cut_at_every_octet(void **state)
{
	static const char reply[] = "250-first line\r\n250 last line\r\n";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(stage_rows); i++) {
		const struct stage_row *row = &stage_rows[i];

		if (row->want[WAY_CLOSE] != 'F' || row->want[WAY_4XX] == '.' || strncmp(row->label, "between", 7) == 0)
			continue;
		for (uint32_t n = 1; n < sizeof(reply) - 1; n++) {
			struct play p;

			play_init(&p, row->label, row->how);
			play_steps(&p, row->steps);
			play_say(&p, reply, n);
			CHECK_EQ(row->label, relay_next(&p.relay, p.now_us), RELAY_ACTION_NONE);
			relay_disconnected(&p.relay, p.now_us);
			CHECK_EQ(row->label, relay_next(&p.relay, p.now_us), RELAY_ACTION_FAILED);
			CHECK_STR(row->label, relay_reply(&p.relay)->text, FAILURE);
		}
	}
}

static void
test_relay_time_limits(void **state)
{
	static const struct dialogue rows[] = {
		{ "10 s to connect", { RCPT("a@example.org"), AFTER(9999), NOTHING, AFTER(1), FAILED, AT(CONNECT) } },
		{ "10 s for the banner", { RCPT("a@example.org"), AFTER(9000), CONNECT, AFTER(9999), NOTHING, AFTER(1),
						 FAILED, AT(BANNER) } },
		{ "30 s in all", { RCPT("a@example.org"), AFTER(9000), CONNECT, AFTER(9000), SAY("220 hi\r\n"),
					 WANT(EHLO_LINE), AFTER(11999), NOTHING, AFTER(1), FAILED, AT(EHLO) } },
		{ "35 s for a recipient, MAIL included",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), AFTER(34000), NOTHING, SAY("250 ok\r\n"),
				WANT(RCPT_LINE), AFTER(999), NOTHING, AFTER(1), FAILED, AT(RCPT) } },
		{ "35 s for DATA",
			{ ACCEPTED, DATA, WANT("DATA\r\n"), AFTER(34999), NOTHING, AFTER(1), FAILED, AT(DATA) } },
		{ "600 s after the dot", { IN_BODY, DOT, AFTER(599999), NOTHING, AFTER(1), FAILED, AT(DOT) } },
		{ "an answer at the last moment after the dot",
			{ IN_BODY, DOT, AFTER(599999), NOTHING, SAY("250 ok\r\n"), MESSAGE_REPLY("250 ok\r\n") } },
		{ "octets of the message keep it alive",
			{ IN_BODY, AFTER(599000), BODY(1), AFTER(599000), NOTHING, AFTER(1000), FAILED, AT(BODY) } },
		{ "an idle connection has no limit of ours", { DELIVERED, AFTER(3600000), NOTHING, FIRST_RCPT } },
		{ "a recipient that waits for RSET", { ACCEPTED, RESET, WANT("RSET\r\n"), RCPT("b@example.org"),
							     AFTER(34999), NOTHING, AFTER(1), FAILED } },
		{ "a backend that does not close after QUIT is closed",
			{ DELIVERED, QUIT, WANT("QUIT\r\n"), AFTER(9999), NOTHING, AFTER(1), CLOSED } },
	};
	struct play p;

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);

	play_init(&p, "less than 600 s after the dot cannot be had", CLIENT_ADDRESS_NONE);
	p.backend.dot_s = 5;
	play_again(&p);
	play_steps(&p,
		(const struct step[]){ IN_BODY, DOT, AFTER(599999), NOTHING, AFTER(1), FAILED, { OP_END, NULL, 0 } });
}

/* A second backend, tried while the client waits: what is left of its time is less. */
static void
test_relay_limit_shortens_the_wait(void **state)
{
	struct play p;

	(void)state;
	play_init(&p, "limit", CLIENT_ADDRESS_NONE);
	play_steps(&p, (const struct step[]){ GREETED, RCPT("a@example.org"), { OP_END, NULL, 0 } });
	relay_limit(&p.relay, p.now_us + 40000000);
	CHECK_EQ("never longer", relay_deadline_us(&p.relay), p.now_us + 35000000);
	relay_limit(&p.relay, p.now_us + 5000000);
	play_steps(&p, (const struct step[]){ AFTER(4999), NOTHING, AFTER(1), FAILED, AT(MAIL), { OP_END, NULL, 0 } });

	play_init(&p, "limit while connecting", CLIENT_ADDRESS_NONE);
	play_steps(&p, (const struct step[]){ RCPT("a@example.org"), { OP_END, NULL, 0 } });
	relay_limit(&p.relay, p.now_us + 3000000);
	play_steps(
		&p, (const struct step[]){ AFTER(2999), NOTHING, AFTER(1), FAILED, AT(CONNECT), { OP_END, NULL, 0 } });
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
test_relay_answers_inside_the_message(void **state)
{
	static const struct dialogue rows[] = {
		{ "a refusal inside the message is the message's answer; the connection is of no more use",
			{ IN_BODY, SAY("552 5.3.4 too big\r\n"), MESSAGE_REPLY("552 5.3.4 too big\r\n"), AT(BODY),
				CLOSED } },
		{ "octets handed over after it change nothing",
			{ IN_BODY, SAY("451 4.3.1 disk\r\n"), BODY(100), DOT, MESSAGE_REPLY("451 4.3.1 disk\r\n"),
				AT(BODY), CLOSED } },
		{ "an acceptance inside the message is none", { IN_BODY, SAY("250 ok\r\n"), FAILED, AT(BODY) } },
		{ "an acceptance begun inside the message is none",
			{ IN_BODY, SAY("25"), DOT, SAY("0 ok\r\n"), FAILED, AT(BODY) } },
		{ "421 inside the message", { IN_BODY, SAY("421 bye\r\n"), FAILED, AT(BODY) } },
		{ "a reply right behind the 354 does not answer the end",
			{ ACCEPTED, DATA, WANT("DATA\r\n"), SAY("354 go\r\n250 queued\r\n"), DATA_REPLY("354 go\r\n"),
				BODY(1000), DOT, SAY("250 queued\r\n"), FAILED, AT(BODY) } },
		{ "closing inside the message", { IN_BODY, CLOSE, FAILED, AT(BODY) } },
		{ "a transaction given up inside the message ends the connection: RSET would be a line of it",
			{ IN_BODY, RESET, WANT(""), CLOSED } },
		{ "so would QUIT", { IN_BODY, QUIT, WANT(""), CLOSED } },
	};
	struct play p;

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		play_init(&p, rows[i].label, CLIENT_ADDRESS_NONE);
		play_steps(&p, rows[i].steps);
		CHECK_TRUE(rows[i].label, relay_must_abort(&p.relay));
	}
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

static void
test_relay_surplus_replies(void **state)
{
	static const struct dialogue rows[] = {
		{ "behind the answer to a recipient: that stands, then the backend is out of step",
			{ ACCEPTED, RCPT("b@example.org"), WANT("RCPT TO:<b@example.org>\r\n"),
				SAY("250 ok\r\n250 what\r\n"), RCPT_REPLY("250 ok\r\n"), FAILED } },
		{ "behind a refused only recipient: opened anew, unseen",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE),
				SAY("550 no\r\n550 no\r\n"), RCPT_REPLY("550 no\r\n"), CLOSED } },
		{ "421 behind the message's 250: the message was taken",
			{ IN_BODY, DOT, SAY("250 queued\r\n421 enough\r\n"), MESSAGE_REPLY("250 queued\r\n"),
				CLOSED } },
		{ "behind the banner", { RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n250 there\r\n"), FAILED } },
		{ "behind the answer to EHLO", { RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT(EHLO_LINE),
						       SAY("250 hi\r\n250 hi\r\n"), FAILED } },
	};

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);
}

static void
test_relay_closed_between_transactions_is_opened_anew(void **state)
{
	static const struct dialogue rows[] = {
		{ "closed while idle", { DELIVERED, CLOSE, CLOSED, NOTHING, RCPT("a@example.org"), CLOSED } },
		{ "idle limit of the backend: 421 first", { DELIVERED, SAY("421 4.4.2 timeout\r\n"), CLOSE, CLOSED } },
		{ "a recipient asked for before the loss was seen",
			{ DELIVERED, CLOSE, RCPT("a@example.org"), CLOSED } },
		{ "lost under the first MAIL of a later transaction",
			{ DELIVERED, RCPT("a@example.org"), WANT(MAIL_LINE), CLOSE, CLOSED } },
		{ "a cap of messages for a connection", { DELIVERED, RCPT("a@example.org"), WANT(MAIL_LINE),
								SAY("421 too many messages\r\n"), CLOSED } },
		{ "the first transaction of a connection has no such excuse",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), CLOSE, FAILED } },
		{ "nor has a later one that was begun", { DELIVERED, RCPT("a@example.org"), WANT(MAIL_LINE),
								SAY("250 ok\r\n"), WANT(RCPT_LINE), CLOSE, FAILED } },
		{ "lost with recipients accepted is a failure, whenever it is asked for",
			{ ACCEPTED, CLOSE, FAILED, AT(READY), NOTHING, DATA, FAILED, NOTHING } },
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

/* What was given up, asked twice, or comes at an odd moment. */
static void
test_relay_gives_up_in_every_stage(void **state)
{
	static const struct dialogue rows[] = {
		{ "a reset while MAIL is under way: no RCPT follows",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), RESET, SAY("250 ok\r\n"), NOTHING,
				WANT("RSET\r\n"), SAY("250 ok\r\n"), FIRST_RCPT } },
		{ "a reset while a MAIL is under way that is refused",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), RESET, SAY("550 no\r\n"), NOTHING,
				WANT("RSET\r\n"), SAY("250 ok\r\n"), FIRST_RCPT } },
		{ "a reset while DATA is under way: 354 cannot be taken back",
			{ ACCEPTED, DATA, WANT("DATA\r\n"), RESET, SAY("354 go\r\n"), WANT(""), CLOSED } },
		{ "a reset while a DATA is under way that is refused",
			{ ACCEPTED, DATA, WANT("DATA\r\n"), RESET, SAY("452 no\r\n"), NOTHING, WANT("RSET\r\n"),
				SAY("250 ok\r\n"), FIRST_RCPT } },
		{ "two resets are one RSET", { ACCEPTED, RESET, RESET, WANT("RSET\r\n"), RESET, SAY("250 ok\r\n"),
						     WANT(""), NOTHING, FIRST_RCPT } },
		{ "a reset between chunks, then DATA",
			{ ACCEPTED, BDAT(1, ""), WANT("BDAT 1\r\n"), BODY(1), SAY("250 ok\r\n"),
				DATA_REPLY("250 ok\r\n"), RESET, WANT("RSET\r\n"), SAY("250 ok\r\n"), FIRST_RCPT,
				FIRST_DATA, DOT, SAY("250 q\r\n"), MESSAGE_REPLY("250 q\r\n") } },
		{ "after a reset a lost connection is opened anew, unseen",
			{ ACCEPTED, RESET, WANT("RSET\r\n"), SAY("250 ok\r\n"), RCPT("a@example.org"), WANT(MAIL_LINE),
				CLOSE, CLOSED } },
		{ "QUIT while greeting drops the recipient that waits",
			{ RCPT("a@example.org"), CONNECT, SAY("220 hi\r\n"), WANT(EHLO_LINE), QUIT, SAY("250 hi\r\n"),
				WANT("QUIT\r\n"), NOTHING } },
		{ "QUIT on a relay that is over", { DELIVERED, CLOSE, CLOSED, QUIT, CLOSED, NOTHING } },
		{ "QUIT on a relay that failed", { ACCEPTED, CLOSE, FAILED, QUIT, CLOSED, NOTHING } },
		{ "DATA on a connection that ended in order is a failure", { DELIVERED, CLOSE, CLOSED, DATA, FAILED } },
		{ "a chunk on a connection that ended is one, too", { DELIVERED, CLOSE, CLOSED, BDAT(1, ""), FAILED } },
		{ "a refused MAIL and 354 to its RCPT: the refusal stands",
			{ GREETED_WITH("250 PIPELINING\r\n"), RCPT("a@example.org"), WANT(MAIL_LINE RCPT_LINE),
				SAY("550 no\r\n354 what\r\n"), RCPT_REPLY("550 no\r\n"), CLOSED } },
		{ "a refusal begun inside the message is the message's answer",
			{ IN_BODY, SAY("55"), DOT, SAY("2 too big\r\n"), MESSAGE_REPLY("552 too big\r\n"), AT(BODY),
				CLOSED } },
		{ "421 begun inside the message", { IN_BODY, SAY("42"), DOT, SAY("1 bye\r\n"), FAILED, AT(BODY) } },
		{ "nonsense begun inside the message", { IN_BODY, SAY("2"), DOT, SAY("x\r\n"), FAILED, AT(BODY) } },
		{ "252 is an acceptance",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n"), WANT(RCPT_LINE),
				SAY("252 perhaps\r\n"), RCPT_REPLY("252 perhaps\r\n"), FIRST_DATA } },
		{ "253 is nonsense", { GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("250 ok\r\n"),
					     WANT(RCPT_LINE), SAY("253 what\r\n"), FAILED } },
		{ "552 to MAIL with a number that is no enhanced code",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("552 55 MB at most\r\n"),
				RCPT_REPLY("554 5.3.4 55 MB at most\r\n") } },
		{ "552 to MAIL with dots that are no enhanced code",
			{ GREETED, RCPT("a@example.org"), WANT(MAIL_LINE), SAY("552 192.0.2.1 too big\r\n"),
				RCPT_REPLY("554 5.3.4 192.0.2.1 too big\r\n") } },
		{ "where a surplus reply was seen is told after the answer before it",
			{ ACCEPTED, RCPT("b@example.org"), WANT("RCPT TO:<b@example.org>\r\n"),
				SAY("250 ok\r\n250 x\r\n"), RCPT_REPLY("250 ok\r\n"), FAILED, AT(READY) } },
	};

	(void)state;
	run(rows, ARRAY_LEN(rows), CLIENT_ADDRESS_NONE);
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

/* --- PITFALLS --- */

/* 34: 250 after the data only when the backend said it; it dies between the final dot and the reply: 4xx. */
static void
test_pitfall_34_accepted_only_when_the_backend_said_so(void **state)
{
	static const char *const lies[] = { "220 ok\r\n", "251 ok\r\n", "200 ok\r\n", "354 ok\r\n", "2500 ok\r\n",
		"250ok\r\n", "25\r\n", "250-ok\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		struct play p;

		play_init(&p, lies[i], CLIENT_ADDRESS_NONE);
		play_steps(&p, (const struct step[]){ IN_BODY, DOT, { OP_END, NULL, 0 } });
		play_say(&p, lies[i], (uint32_t)strlen(lies[i]));
		relay_disconnected(&p.relay, p.now_us);
		CHECK_EQ(lies[i], relay_next(&p.relay, p.now_us), RELAY_ACTION_FAILED);
		CHECK_STR(lies[i], relay_reply(&p.relay)->text, FAILURE);
		CHECK_EQ(lies[i], counter_read(&p.counters, CTR_relay_messages_accepted), 0);
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

/*
 * 50: a backend down for hours must not send every sender through the greylist again: the worker undoes a pass only
 * for a 5xx to RCPT, so no failure of ours or of the backend may look like one. And a 5xx of the backend must.
 */
static void
test_pitfall_50_a_failure_never_looks_like_a_refusal(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(stage_rows); i++) {
		for (int way = 0; way < WAY_N; way++) {
			const struct stage_row *row = &stage_rows[i];
			enum relay_action action;
			struct play p;

			if (row->want[way] == '.')
				continue;
			play_init(&p, row->label, row->how);
			play_steps(&p, row->steps);
			way_apply(&p, (enum way)way);
			while ((action = relay_next(&p.relay, p.now_us)) != RELAY_ACTION_NONE) {
				const bool refusal =
					action == RELAY_ACTION_RCPT_REPLY && relay_reply(&p.relay)->code >= 500;

				CHECK_EQ(row->label, refusal, way == WAY_5XX && row->want[way] == 'R');
			}
		}
	}
}

static void
test_relay_random_octets(void **state)
{
	static const char *const bits[] = { "250 ok\r\n", "250-x\r\n", "220 hi\r\n", "354 go\r\n", "421 bye\r\n",
		"550 no\r\n", "2", "50", "\r\n", "\n", "\r", "-", " ", "XCLIENT ADDR NAME\r\n", "\0", "\xff",
		"250 PIPELINING\r\n" };
	unsigned seed = 20261121;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int round = 0; round < 4000; round++) {
		struct play p;
		char out[512];

		play_init(&p, "random", (enum conf_client_address)(random() % 4));
		for (int i = 0; i < 60; i++) {
			const char *b = bits[(size_t)random() % ARRAY_LEN(bits)];
			enum relay_action action;

			switch (random() % 8) {
			case 0:
				relay_connected(&p.relay, p.now_us);
				break;
			case 1:
				if (!p.relay.want_rcpt &&
					(p.relay.stage <= RELAY_STAGE_READY || p.relay.stage == RELAY_STAGE_RSET ||
						p.relay.stage == RELAY_STAGE_CLOSED))
					relay_rcpt(&p.relay, "a@b", " SIZE=3", "c@d", "", (uint32_t)random() & 0x7ff, 3,
						p.now_us);
				break;
			case 2:
				if (p.relay.stage == RELAY_STAGE_READY && p.relay.n_accepted > 0 && !p.relay.want_rcpt)
					relay_data(&p.relay, p.now_us);
				else if (relay_wants_body(&p.relay))
					relay_body_sent(&p.relay, 5, random() % 2 == 0, p.now_us);
				break;
			case 3:
				if (random() % 8 == 0)
					relay_reset(&p.relay, p.now_us);
				else if (random() % 32 == 0)
					relay_quit(&p.relay, p.now_us);
				break;
			case 4:
				if (random() % 64 == 0)
					relay_disconnected(&p.relay, p.now_us);
				else
					p.now_us += (uint64_t)random() % 1000000;
				break;
			case 5:
				play_output(&p, out, sizeof(out));
				break;
			default:
				play_say(&p, b, MAX((uint32_t)strlen(b), 1));
				break;
			}
			while ((action = relay_next(&p.relay, p.now_us)) != RELAY_ACTION_NONE) {
				if (action != RELAY_ACTION_CLOSED)
					play_check_reply(&p, action);
			}
			if (p.relay.stage == RELAY_STAGE_CLOSED && random() % 4 == 0)
				play_again(&p);
		}
	}
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
		cmocka_unit_test(test_relay_each_stage_failing_in_each_way),
		cmocka_unit_test(test_relay_reply_cut_at_every_octet),
		cmocka_unit_test(test_relay_time_limits),
		cmocka_unit_test(test_relay_limit_shortens_the_wait),
		cmocka_unit_test(test_relay_words_tell_the_backend_s_own),
		cmocka_unit_test(test_relay_answers_inside_the_message),
		cmocka_unit_test(test_relay_wants_body_only_when_its_own_octets_are_out),
		cmocka_unit_test(test_relay_chunks),
		cmocka_unit_test(test_relay_surplus_replies),
		cmocka_unit_test(test_relay_closed_between_transactions_is_opened_anew),
		cmocka_unit_test(test_relay_refuses_octets_that_end_a_line),
		cmocka_unit_test(test_relay_greets_with_harmless_octets_and_default_limits),
		cmocka_unit_test(test_relay_takes_the_longest_request),
		cmocka_unit_test(test_relay_passes_odd_replies_within_bounds),
		cmocka_unit_test(test_relay_gives_up_in_every_stage),
		cmocka_unit_test(test_relay_tells_its_state),
		cmocka_unit_test(test_relay_words_and_counters),
		cmocka_unit_test(test_pitfall_34_accepted_only_when_the_backend_said_so),
		cmocka_unit_test(test_pitfall_48_a_connection_belongs_to_one_client),
		cmocka_unit_test(test_pitfall_50_a_failure_never_looks_like_a_refusal),
		cmocka_unit_test(test_relay_random_octets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
