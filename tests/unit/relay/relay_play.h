/*
 * relay_play.h - a relay in virtual time with the backend played by the test.
 *
 * Flow:   test rows (struct step) -> play_run() -> relay
 * Keeps:  every octet the relay sends is compared; each reply for the client is 7-bit lines within the bounds; each
 *         failure is 451 4.3.0.
 */
#ifndef GREYLINE_TESTS_RELAY_PLAY_H
#define GREYLINE_TESTS_RELAY_PLAY_H

#include <stdlib.h>

#include "dataplane/relay/relay_impl.h"
#include "tests/check.h"

#define PLAY_STEPS_MAX 48

enum op {
	OP_END,     /* of the steps */
	OP_CONNECT, /* the connection stands */
	OP_CLOSE,   /* the connection is gone */
	OP_SAY,     /* the backend sends text */
	OP_WANT,    /* exactly this went out since the last look */
	OP_RCPT,    /* text: recipient, number: needs */
	OP_DATA,
	OP_BDAT, /* number: octets; text "LAST" or "" */
	OP_BODY, /* number: octets handed over */
	OP_DOT,  /* the end of the message was handed over */
	OP_RESET,
	OP_QUIT,
	OP_AFTER,  /* number: milliseconds pass */
	OP_ACTION, /* number: enum relay_action; text: the reply, or NULL */
	OP_AT,     /* number: enum relay_stage that relay_stage() says */
	OP_SIZE,   /* number: SIZE= of the recipients after this */
	OP_PARAMS, /* text: parameters of MAIL after this */
	OP_RCPT_PARAMS,
};

struct step {
	enum op op;
	const char *text;
	uint32_t number;
};

/* rows read as a dialogue */
/* clang-format off */
#define CONNECT          { OP_CONNECT, NULL, 0 }
#define CLOSE            { OP_CLOSE, NULL, 0 }
#define SAY(t)           { OP_SAY, t, 0 }
#define WANT(t)          { OP_WANT, t, 0 }
#define RCPT(t)          { OP_RCPT, t, 0 }
#define RCPT_NEEDS(t, n) { OP_RCPT, t, n }
#define DATA             { OP_DATA, NULL, 0 }
#define BDAT(n, t)       { OP_BDAT, t, n }
#define BODY(n)          { OP_BODY, NULL, n }
#define DOT              { OP_DOT, NULL, 0 }
#define RESET            { OP_RESET, NULL, 0 }
#define QUIT             { OP_QUIT, NULL, 0 }
#define AFTER(ms)        { OP_AFTER, NULL, ms }
#define RCPT_REPLY(t)    { OP_ACTION, t, RELAY_ACTION_RCPT_REPLY }
#define DATA_REPLY(t)    { OP_ACTION, t, RELAY_ACTION_DATA_REPLY }
#define MESSAGE_REPLY(t) { OP_ACTION, t, RELAY_ACTION_MESSAGE_REPLY }
#define FAILED           { OP_ACTION, NULL, RELAY_ACTION_FAILED }
#define CLOSED           { OP_ACTION, NULL, RELAY_ACTION_CLOSED }
#define NOTHING          { OP_ACTION, NULL, RELAY_ACTION_NONE }
#define AT(s)            { OP_AT, NULL, RELAY_STAGE_##s }
#define SIZE(n)          { OP_SIZE, NULL, n }
#define PARAMS(t)        { OP_PARAMS, t, 0 }
#define RCPT_PARAMS(t)   { OP_RCPT_PARAMS, t, 0 }
/* clang-format on */

#define OUR_NAME    "gw.example.org"
#define CLIENT_HELO "mail.sender.example"

struct play {
	struct relay relay;
	struct counters counters;
	struct relay_backend backend;
	struct relay_client client;
	uint64_t now_us;
	uint32_t size;
	const char *params, *rcpt_params;
	const char *label;
	uint32_t cut; /* the backend's octets come in pieces of so many; 0: whole */
};

static const char *const play_action_names[] = { "NONE", "RCPT_REPLY", "AUTH_REPLY", "DATA_REPLY", "MESSAGE_REPLY",
	"FAILED", "CLOSED" };

static inline void
play_init(struct play *p, const char *label, enum conf_client_address how)
{
	memset(p, 0, sizeof(*p));
	p->label = label;
	p->now_us = 1000000;
	p->params = p->rcpt_params = "";
	p->backend = (struct relay_backend){
		.conf = { .name = "mta1", .addr = ip_addr_v4(0xc6120103), .port = 25, .client_address = (uint8_t)how },
		.our_name = OUR_NAME,
		.greeting_ms = 10000,
		.total_ms = 30000,
		.reply_ms = 35000,
		.dot_s = 600,
		.probe_works = true,
		.counters = &p->counters,
	};
	p->client = (struct relay_client){
		.addrs = { .src = ip_addr_v4(0xc0000207),
			.dst = ip_addr_v4(0xc6120002),
			.src_port = 40001,
			.dst_port = 25 },
		.helo = CLIENT_HELO,
		.ptr_name = "mail.sender.example",
		.ptr_state = PTR_CONFIRMED,
		.ptr_confirmed = true,
		.esmtp = true,
	};
	relay_init(&p->relay, &p->backend, &p->client, p->now_us);
}

/* After the test changed p->backend or p->client. */
static inline void
play_again(struct play *p)
{
	memset(&p->relay, 0xa5, sizeof(p->relay)); /* what init does not set would show */
	relay_init(&p->relay, &p->backend, &p->client, p->now_us);
}

/* What goes out, at most n - 1 octets, terminated. */
static inline uint32_t
play_output(struct play *p, char *out, uint32_t n)
{
	uint32_t len = 0, got;

	/* small pieces: a command may leave in several segments */
	while (len < n - 1 && (got = relay_output(&p->relay, (uint8_t *)out + len,
				       p->cut != 0 ? MIN(7u, n - 1 - len) : n - 1 - len)) > 0)
		len += got;
	out[len] = '\0';
	return len;
}

static inline void
play_say(struct play *p, const char *text, uint32_t len)
{
	for (uint32_t at = 0; at < len;) {
		uint32_t n = p->cut != 0 ? MIN(p->cut, len - at) : len - at;
		uint8_t *piece = malloc(n); /* exact, so that a sanitizer sees a read beyond it */
		struct buf_view v = { .ptr = piece, .len_octets = n };
		uint32_t used;

		memcpy(piece, text + at, n);
		used = relay_input(&p->relay, &v, p->now_us);
		free(piece);
		CHECK_TRUE(p->label, used <= n);
		if (used == 0 || used < n) /* an action waits to be taken: the rest is the next row's */
			return;
		at += n;
	}
}

static inline void
play_check_reply(const struct play *p, enum relay_action action)
{
	const struct smtp_reply *r = relay_reply(&p->relay);

	CHECK_TRUE(p->label, r->len_octets >= 5 && r->len_octets < SMTP_REPLY_MAX_OCTETS);
	CHECK_TRUE(p->label, memcmp(r->text + r->len_octets - 2, "\r\n", 2) == 0);
	for (uint32_t i = 0; i < r->len_octets; i++)
		CHECK_TRUE(p->label, (r->text[i] >= 0x20 && r->text[i] < 0x7f) || strchr("\t\r\n", r->text[i]) != NULL);
	CHECK_TRUE(p->label, r->code >= 200 && r->code <= 599 && r->code != 421);
	if (action == RELAY_ACTION_FAILED) {
		CHECK_EQ(p->label, r->code, 451);
		CHECK_TRUE(p->label, memcmp(r->text, "451 4.3.0 ", 10) == 0);
	}
}

static inline void
play_step(struct play *p, const struct step *s, uint32_t index)
{
	char out[RELAY_OUT_MAX_OCTETS + 1], where[256];
	enum relay_action action;

	snprintf(where, sizeof(where), "%s, step %u (cut %u)", p->label, index, p->cut);
	switch (s->op) {
	case OP_END:
		return;
	case OP_CONNECT:
		relay_connected(&p->relay, p->now_us);
		return;
	case OP_CLOSE:
		relay_disconnected(&p->relay, p->now_us);
		return;
	case OP_SAY:
		play_say(p, s->text, (uint32_t)strlen(s->text));
		return;
	case OP_WANT:
		play_output(p, out, sizeof(out));
		CHECK_STR(where, out, s->text);
		return;
	case OP_RCPT:
		relay_rcpt(&p->relay, "from@sender.example", p->params, s->text, p->rcpt_params, s->number, p->size,
			p->now_us);
		return;
	case OP_DATA:
		relay_data(&p->relay, p->now_us);
		return;
	case OP_BDAT:
		relay_bdat(&p->relay, s->number, s->text[0] != '\0', p->now_us);
		return;
	case OP_BODY:
		relay_body_sent(&p->relay, s->number, false, p->now_us);
		return;
	case OP_DOT:
		relay_body_sent(&p->relay, 5, true, p->now_us);
		return;
	case OP_RESET:
		relay_reset(&p->relay, p->now_us);
		return;
	case OP_QUIT:
		relay_quit(&p->relay, p->now_us);
		return;
	case OP_AFTER:
		p->now_us += (uint64_t)s->number * 1000;
		return;
	case OP_ACTION:
		action = relay_next(&p->relay, p->now_us);
		if (action != s->number)
			fail_msg("%s: got %s, want %s (words \"%s\")", where, play_action_names[action],
				play_action_names[s->number], relay_words(&p->relay));
		if (action == RELAY_ACTION_FAILED || action == RELAY_ACTION_CLOSED) {
			CHECK_EQ(where, relay_output_pending(&p->relay), 0);
			CHECK_TRUE(where, relay_deadline_us(&p->relay) == UINT64_MAX);
			CHECK_TRUE(where, !relay_is_idle(&p->relay) && !relay_wants_body(&p->relay));
			CHECK_TRUE(where, action != RELAY_ACTION_CLOSED || !relay_has_transaction(&p->relay));
		}
		if (action == RELAY_ACTION_NONE || action == RELAY_ACTION_CLOSED)
			return;
		play_check_reply(p, action);
		if (s->text != NULL)
			CHECK_OCTETS(where, relay_reply(&p->relay)->text, relay_reply(&p->relay)->len_octets, s->text,
				strlen(s->text));
		return;
	case OP_AT:
		if (relay_stage(&p->relay) != s->number)
			fail_msg("%s: got %s, want %s", where, relay_stage_name(relay_stage(&p->relay)),
				relay_stage_name((enum relay_stage)s->number));
		return;
	case OP_SIZE:
		p->size = s->number;
		return;
	case OP_PARAMS:
		p->params = s->text;
		return;
	case OP_RCPT_PARAMS:
		p->rcpt_params = s->text;
		return;
	}
}

static inline void
play_steps(struct play *p, const struct step *steps)
{
	for (uint32_t i = 0; i < PLAY_STEPS_MAX && steps[i].op != OP_END; i++)
		play_step(p, &steps[i], i);
}

#endif
