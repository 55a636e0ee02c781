/*
 * fuzz_smtp_session.c - one dialogue of a client that sends anything, cut anyhow, with a caller that answers anything.
 *
 * Input:  two octets of settings, four of a seed for cuts, answers, room and time; the rest is what the client sends.
 * Keeps:  what smtp_session.h promises, checked here: never more consumed than given, nothing while an answer is awaited, body octets
 *         only in a message and within the room, at most one question at a time, whole reply lines in 7-bit, and an end.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/smtp/smtp_session.h"
#include "dataplane/smtp/smtp_session_impl.h"
#include "tests/helpers/smtp_rested.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 200000

struct play {
	struct smtp_session s;
	struct smtp_env env;
	struct conf conf;
	struct counters counters;
	enum smtp_action awaited;
	uint32_t seed;
	uint64_t now_us;
	bool closed, gone;
	uint8_t code[4];
	uint32_t at_line; /* octets of the reply line under way */
	uint8_t last;
};

static uint32_t
draw(struct play *p, uint32_t below)
{
	p->seed ^= p->seed << 13;
	p->seed ^= p->seed >> 17;
	p->seed ^= p->seed << 5;
	return p->seed % below;
}

static void
settings(struct play *p, uint8_t a, uint8_t b)
{
	p->conf = (struct conf){ .hostname = "gw.example.org",
		.command_timeout_s = 300,
		.data_timeout_s = 180,
		.rcpts_max = 100,
		.commands_max = (a & 1) != 0 ? 20 : 0,
		.errors_max = (a & 2) != 0 ? 5 : 0,
		.messages_max = (a & 4) != 0 ? 2 : 0,
		.message_max_octets = (a & 8) != 0 ? 50 : 0,
		.bare_lf = (uint8_t)((a >> 4 & 3) % 3),
		.data_rate_floor_octets_s = (a & 64) != 0 ? 100 : 0 };
	p->env = (struct smtp_env){ .conf = &p->conf,
		.counters = &p->counters,
		.ext = (uint32_t)b & 0xfe,
		.starttls = (a & 128) != 0,
		.auth = (p->seed & 2) != 0 ? 0xfff : 0,
		.size_octets = (b & 1) != 0 ? 10000 : 0 };
}

/* Takes some of what is queued, by either way there is. */
static uint32_t
take_output(struct play *p, uint8_t out[64])
{
	const uint32_t some = 1 + draw(p, 64), had = smtp_session_output_pending(&p->s);
	const struct buf_view queued = smtp_session_output_peek(&p->s);
	const uint32_t n = MIN(some, queued.len_octets);

	BUG_ON(queued.len_octets != had);
	if (draw(p, 2) == 0)
		return smtp_session_output(&p->s, out, some);
	memcpy(out, queued.ptr, n);
	smtp_session_output_drop(&p->s, n);
	BUG_ON(smtp_session_output_pending(&p->s) != had - n);
	return n;
}

static void
read_output(struct play *p)
{
	uint8_t out[64];
	uint32_t n;

	while ((n = take_output(p, out)) > 0)
		for (uint32_t i = 0; i < n; i++) {
			const uint8_t c = out[i];

			BUG_ON(c >= 0x80 || (c < 0x20 && c != '\r' && c != '\n'));
			BUG_ON((c == '\n') != (p->last == '\r'));
			BUG_ON(p->at_line < 3 && (c < '0' || c > '9'));
			BUG_ON(p->at_line == 3 && c != ' ' && c != '-');
			p->at_line = c == '\n' ? 0 : p->at_line + 1;
			BUG_ON(p->at_line > SMTP_REPLY_LINE_MAX_OCTETS);
			p->last = c;
		}
}

static void
take_action(struct play *p, enum smtp_action action)
{
	switch (action) {
	case SMTP_ACTION_RCPT:
	case SMTP_ACTION_AUTH:
	case SMTP_ACTION_AUTH_LINE:
	case SMTP_ACTION_DATA:
	case SMTP_ACTION_CHUNK_END:
	case SMTP_ACTION_BODY_END:
		BUG_ON(p->awaited != SMTP_ACTION_NONE);
		p->awaited = action;
		break;
	case SMTP_ACTION_STARTTLS:
		read_output(p);
		smtp_session_tls_started(&p->s, &p->env, p->now_us);
		BUG_ON(smtp_session_helo(&p->s)[0] != '\0');
		break;
	case SMTP_ACTION_QUIT:
	case SMTP_ACTION_CLOSE:
		BUG_ON(p->closed || smtp_session_state(&p->s) != SMTP_ST_CLOSING);
		p->closed = true;
		break;
	case SMTP_ACTION_NONE:
	case SMTP_ACTION_EHLO:
	case SMTP_ACTION_MAIL:
	case SMTP_ACTION_ABORT:
	case SMTP_ACTION_RESET:
		break;
	}
}

/* A backend's answer to AUTH, or to a line of it: 334 once in two times, and nothing of the client's text stays. */
static void
answer_auth(struct play *p, enum smtp_action awaited)
{
	static const uint16_t codes[] = { 334, 334, 334, 235, 454, 535 };
	bool whole = true;
	const struct buf_view text = smtp_session_auth_text(&p->s, &whole);
	struct smtp_reply r;

	if (awaited == SMTP_ACTION_AUTH) {
		BUG_ON(text.len_octets < 6 || text.len_octets > SMTP_LINE_MAX_OCTETS);
		for (uint32_t i = 0; i < text.len_octets; i++)
			BUG_ON(text.ptr[i] < 0x20 || text.ptr[i] > 0x7e);
		if (!whole && draw(p, 4) != 0) {
			smtp_session_auth_rest(&p->s, p->now_us);
			return;
		}
	}
	smtp_reply_set(&r, codes[draw(p, ARRAY_LEN(codes))], NULL, "an answer");
	smtp_session_auth_answer(&p->s, &p->env, &r, p->now_us);
}

static void
answer(struct play *p)
{
	static const uint16_t codes[] = { 250, 250, 250, 451, 451, 550, 554, 452, 421 };
	static char longest[SMTP_REPLY_MAX_OCTETS];
	const enum smtp_action awaited = p->awaited;
	struct smtp_reply r;

	p->awaited = SMTP_ACTION_NONE;
	smtp_reply_set(&r, codes[draw(p, ARRAY_LEN(codes))], "2.0.0", "an answer");
	if (draw(p, 16) == 0) { /* the longest a backend may give */
		uint32_t n = 0;

		while (n + 2 * 60 <= SMTP_REPLY_MAX_OCTETS)
			n += (uint32_t)snprintf(longest + n, sizeof(longest) - n, "%u-%055u\r\n", r.code, 0);
		n += (uint32_t)snprintf(longest + n, sizeof(longest) - n, "%u last\r\n", r.code);
		memcpy(r.text, longest, n);
		r.len_octets = (uint16_t)n;
	}
	if (awaited == SMTP_ACTION_AUTH || awaited == SMTP_ACTION_AUTH_LINE) {
		answer_auth(p, awaited);
	} else if (awaited == SMTP_ACTION_RCPT) {
		smtp_session_rcpt_answer(&p->s, &p->env, &r, p->now_us);
	} else if (awaited == SMTP_ACTION_BODY_END) {
		smtp_session_message_answer(&p->s, &p->env, &r, p->now_us);
	} else {
		if (r.code == 250 && awaited == SMTP_ACTION_DATA)
			smtp_reply_set(&r, 354, NULL, "go");
		smtp_session_data_answer(&p->s, &p->env, &r, p->now_us);
	}
}

/* Something besides the client's octets. True when it was something that changes what input may do. */
static void
happen(struct play *p)
{
	struct smtp_reply r;

	if (draw(p, 4) != 0)
		read_output(p);
	if (p->awaited != SMTP_ACTION_NONE && draw(p, 3) != 0)
		answer(p);
	switch (draw(p, 200)) {
	case 0:
		smtp_reply_set(&r, 451, "4.3.0", "the backend is gone");
		if (p->awaited == SMTP_ACTION_DATA || p->awaited == SMTP_ACTION_CHUNK_END ||
			p->awaited == SMTP_ACTION_BODY_END)
			p->awaited = SMTP_ACTION_NONE;
		smtp_session_data_failed(&p->s, &p->env, &r, p->now_us);
		break;
	case 1:
		p->now_us += 100000000;
		break;
	case 2:
		if (smtp_session_shut(&p->s, &p->env, "going down", p->now_us))
			BUG_ON(smtp_session_state(&p->s) != SMTP_ST_CLOSING);
		break;
	case 3: /* the backend fails while a line of an exchange is under way */
		smtp_reply_set(&r, 454, "4.7.0", "the backend is gone");
		if (smtp_session_state(&p->s) == SMTP_ST_AUTH)
			smtp_session_auth_answer(&p->s, &p->env, &r, p->now_us);
		break;
	default:
		p->now_us += draw(p, 1000);
		break;
	}
}

/* Gives the next n octets at most. Returns consumed. */
static uint32_t
give(struct play *p, const uint8_t *data, uint32_t n)
{
	const enum smtp_state before = smtp_session_state(&p->s);
	const uint32_t room = draw(p, 8) == 0 ? draw(p, 20) : 1000;
	struct buf_view body[SMTP_BODY_VIEWS_MAX];
	const uint32_t waits = p->awaited;
	uint8_t *octets = malloc(n > 0 ? n : 1);
	const struct buf_view in = { octets, n, NULL };
	uint32_t used, n_body, given = 0;
	enum smtp_action action;

	BUG_ON(octets == NULL);
	if (n > 0)
		memcpy(octets, data, n);
	used = smtp_session_input(&p->s, &p->env, &in, room, body, &n_body, &action, p->now_us);
	BUG_ON(used > n || n_body > SMTP_BODY_VIEWS_MAX);
	BUG_ON(waits != SMTP_ACTION_NONE && (used > 0 || action != SMTP_ACTION_NONE));
	for (uint32_t i = 0; i < n_body; i++) {
		uint32_t sum = 0;

		BUG_ON(body[i].len_octets == 0);
		given += body[i].len_octets;
		for (uint32_t k = 0; k < body[i].len_octets; k++)
			sum += body[i].ptr[k]; /* touched, for the sanitizer */
		BUG_ON(sum == UINT32_MAX);
	}
	BUG_ON(given > room);
	BUG_ON(given > 0 && before != SMTP_ST_DATA && before != SMTP_ST_AUTH);
	for (uint32_t i = 0; i < n_body && before == SMTP_ST_AUTH; i++)
		for (uint32_t k = 0; k < body[i].len_octets; k++) {
			const uint8_t c = body[i].ptr[k];

			BUG_ON((c < 0x20 || c > 0x7e) && !(c == '\r' && k == 0) && !(c == '\n' && k == 1));
		}
	free(octets);
	take_action(p, action);
	return used;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct play p;
	uint32_t from = 6, steps = 0;
	uint64_t deadline;

	if (size < 6 || size > 65536)
		return 0;
	p.awaited = SMTP_ACTION_NONE;
	p.closed = p.gone = false;
	p.at_line = 0;
	p.last = 0;
	p.now_us = 1;
	memcpy(&p.seed, data + 2, 4);
	p.seed |= 1;
	memset(&p.s, 0xa5, sizeof(p.s));
	settings(&p, data[0], data[1]);
	smtp_session_init(&p.s, &p.env, p.now_us);
	if (draw(&p, 8) == 0)
		BUG_ON(give(&p, data + from, (uint32_t)size - from) != 0);
	smtp_session_greet(&p.s, &p.env, p.now_us);
	while (from < size && steps++ < STEPS_MAX) {
		const uint32_t some = draw(&p, 16) == 0 ? 0 : 1 + draw(&p, draw(&p, 2) == 0 ? 8 : 600);

		if (draw(&p, 8) == 0)
			smtp_rested(&p.s);
		from += give(&p, data + from, MIN((uint32_t)size - from, some));
		happen(&p);
	}
	/* whatever was sent: without more octets it ends in a question, which is answered, or by silence */
	read_output(&p);
	while (p.awaited != SMTP_ACTION_NONE || smtp_session_state(&p.s) != SMTP_ST_CLOSING) {
		const enum smtp_state at = smtp_session_state(&p.s);

		BUG_ON(steps++ > 2 * STEPS_MAX);
		if (p.awaited != SMTP_ACTION_NONE)
			answer(&p);
		else if (draw(&p, 4) == 0 && smtp_session_eof(&p.s))
			BUG_ON(at != SMTP_ST_DATA && at != SMTP_ST_CHUNK && at != SMTP_ST_DATA_WAIT &&
				at != SMTP_ST_END_WAIT && at != SMTP_ST_AUTH);
		deadline = smtp_session_deadline_us(&p.s, &p.env);
		if (deadline != UINT64_MAX)
			p.now_us = MAX(p.now_us, deadline);
		read_output(&p);
		give(&p, NULL, 0);
	}
	read_output(&p);
	BUG_ON(p.at_line != 0 || smtp_session_output_pending(&p.s) != 0);
	return 0;
}
