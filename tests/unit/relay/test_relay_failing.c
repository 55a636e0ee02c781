/*
 * test_relay_failing.c - every stage of a relay with a backend that fails, refuses, is silent, talks nonsense or out of turn.
 */
#include "tests/unit/relay/relay_dialogue.h"

#include <stdlib.h>

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
		{ "a reset while MAIL and RCPT are under way, and MAIL is refused: it does not answer the next "
		  "recipient",
			{ GREETED_WITH("250 PIPELINING\r\n"), RCPT("a@example.org"), WANT(MAIL_LINE RCPT_LINE), RESET,
				RCPT("b@example.org"), SAY("550 no\r\n503 no\r\n"), NOTHING, WANT("RSET\r\n"),
				SAY("250 ok\r\n"), NOTHING, WANT(MAIL_LINE "RCPT TO:<b@example.org>\r\n"),
				SAY("250 ok\r\n250 ok\r\n"), RCPT_REPLY("250 ok\r\n") } },
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
		cmocka_unit_test(test_relay_each_stage_failing_in_each_way),
		cmocka_unit_test(test_relay_reply_cut_at_every_octet),
		cmocka_unit_test(test_relay_time_limits),
		cmocka_unit_test(test_relay_limit_shortens_the_wait),
		cmocka_unit_test(test_relay_answers_inside_the_message),
		cmocka_unit_test(test_relay_surplus_replies),
		cmocka_unit_test(test_relay_closed_between_transactions_is_opened_anew),
		cmocka_unit_test(test_relay_gives_up_in_every_stage),
		cmocka_unit_test(test_pitfall_34_accepted_only_when_the_backend_said_so),
		cmocka_unit_test(test_pitfall_50_a_failure_never_looks_like_a_refusal),
		cmocka_unit_test(test_relay_random_octets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
