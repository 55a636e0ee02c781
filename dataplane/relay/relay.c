/*
 * relay.c - one client session's conversation with one backend: its stages and its doors.
 *
 * Flow:   session (recipient let through) -> relay_rcpt() -> backend -> relay_next() -> smtp_session's answer
 * Pure:   octets and time are arguments; counters are the only thing written outside.
 * Keeps:  one command is under way at a time (MAIL and RCPT together where the backend offers PIPELINING);
 *         a 5xx reaches the client only where it is the backend's own word to the client's own command, every failure
 *         is 451 4.3.0; 250 for a message is said only after the backend said 250 to its end;
 *         no octet of the client gets into a command that could end its line.
 * Source: POLICY section 5; RFC 5321 sections 4.3.2 and 4.5.3.2; RFC 2920; RFC 1047; Postfix XCLIENT_README.
 *
 * The stages (enum relay_stage) are the states:
 *   CONNECT  the connection is being opened by the worker; nothing to say
 *   BANNER   connected; PROXY was the first we sent, if the backend is configured for it; 220 is awaited
 *   EHLO0    the greeting before TLS is under way, with our name: it tells whether STARTTLS is offered
 *   STARTTLS STARTTLS was sent; 220 is awaited
 *   TLS      the worker's handshake with the backend is under way; then greetings begin anew
 *   EHLO     the first greeting is under way: ours where XCLIENT follows, else with the client's name
 *   XCLIENT  the client's identity was sent; 220 is awaited, and nothing but 220 is good
 *   EHLO2    the greeting after XCLIENT, with the client's name
 *   READY    nothing is under way. With recipients accepted a transaction is open, without the connection is idle
 *   AUTH     an AUTH exchange is under way: its answer is awaited, or a line of the client goes to the backend past us
 *   MAIL     MAIL is under way, alone or with RCPT behind it
 *   RCPT     RCPT is under way
 *   DATA     DATA, or a BDAT chunk whose octets are all sent, is under way
 *   BODY     octets of the message go to the backend past us; any octet from it now is out of turn
 *   DOT      the end of the message was sent; the backend's answer is awaited for ten minutes at least
 *   RSET     RSET is under way
 *   QUIT     QUIT was sent; the backend closes first
 *   CLOSED   over, in order or by failure
 *
 * BANNER to EHLO2 are in relay_greeting.c, what follows in relay_transaction.c, ends of all kinds in relay_end.c.
 */
#include "dataplane/relay/relay.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"
#include "dataplane/relay/relay_parts.h"

#define RELAY_CONNECT_MS 10000 /* POLICY section 6 */
#define RELAY_TOTAL_MS   30000
#define RELAY_REPLY_MS   35000
#define RELAY_DOT_MIN_S  600 /* RFC 1047, RFC 5321 section 4.5.3.2.6 */

const char *
relay_stage_name(enum relay_stage stage)
{
	static const char *const names[] = {
#define X(name) #name,
		RELAY_STAGES(X)
#undef X
	};

	return (uint32_t)stage < ARRAY_LEN(names) ? names[stage] : "?";
}

uint32_t
relay_octets(void)
{
	return sizeof(struct relay);
}

void
relay_words_set(struct relay *r, const char *words)
{
	if (words == r->words) /* what is kept already stays */
		return;
	text_copy(r->words, sizeof(r->words), words);
	r->words_due = false;
}

static uint64_t
ms_or(uint32_t ms, uint32_t otherwise_ms)
{
	return (uint64_t)(ms != 0 ? ms : otherwise_ms) * 1000;
}

/* The name in a greeting: what the client sent, made harmless. Its own octets end no line, else the session had
 * refused it. */
static void
name_sanitize(char *name)
{
	for (; *name != '\0'; name++) {
		if (*name < 0x20 || *name > 0x7e)
			*name = '?';
	}
}

void
relay_init(struct relay *r, const struct relay_backend *b, const struct relay_client *client, uint64_t now_us)
{
	memset(r, 0, offsetof(struct relay, request));
	r->out_len = r->out_sent = 0;
	r->reply.code = 0;
	r->reply.len_octets = 0;
	r->words[0] = '\0';
	r->words_due = false;
	r->reply_over = true;

	r->stage = RELAY_STAGE_CONNECT;
	r->client_address = b->conf.client_address;
	r->tls = b->conf.tls;
	r->tls_strict = b->conf.tls == BACKEND_TLS_REQUIRE || b->conf.ca_octets > 0 || b->conf.n_fingerprints > 0;
	r->tls_possible = b->tls_possible;
	r->probe_works = b->probe_works;
	r->counters = b->counters;
	text_copy(r->our_name, sizeof(r->our_name), b->our_name);
	r->client = *client;
	name_sanitize(r->client.helo);
	r->use_helo = !client->esmtp;

	r->greeting_us = ms_or(b->greeting_ms, RELAY_CONNECT_MS);
	r->connect_us = b->connect_ms != 0 ? (uint64_t)b->connect_ms * 1000 : r->greeting_us;
	r->total_us = ms_or(b->total_ms, RELAY_TOTAL_MS);
	r->reply_us = ms_or(b->reply_ms, RELAY_REPLY_MS);
	r->dot_us = (uint64_t)MAX(b->dot_s, RELAY_DOT_MIN_S) * 1000000;
	r->stall_us = b->body_stall_s != 0 ? (uint64_t)b->body_stall_s * 1000000 : r->dot_us;
	r->phase_us = now_us;
	r->setup_end_us = now_us + r->total_us;
}

/* Appends to what goes out; false (and nothing appended) where it has no room. */
bool
relay_out_add(struct relay *r, const char *text, size_t n)
{
	if (r->out_len + n > sizeof(r->out))
		return false;
	memcpy(r->out + r->out_len, text, n);
	r->out_len += (uint32_t)n;
	return true;
}

bool
relay_out_str(struct relay *r, const char *text)
{
	return relay_out_add(r, text, strlen(text));
}

/* A command under way: its answer is what comes next. */
void
relay_await(struct relay *r, enum relay_stage stage, uint64_t now_us)
{
	r->stage = stage;
	r->phase_us = now_us;
	r->reply_over = true;
}

static void
relay_handle_reply(struct relay *r, uint64_t now_us)
{
	r->words_due = true;
	if (r->parser.reply.code == 421 && r->stage != RELAY_STAGE_QUIT) {
		relay_count(r, CTR_relay_closing_replies);
		if (r->early)
			r->stage = RELAY_STAGE_BODY;
		relay_lose(r, true);
		return;
	}
	if (r->early) { /* it began before the end was sent, so it does not answer the end */
		relay_in_body(r);
		return;
	}
	switch ((enum relay_stage)r->stage) {
	case RELAY_STAGE_BANNER:
		relay_in_banner(r, now_us);
		return;
	case RELAY_STAGE_EHLO0:
		relay_in_ehlo0(r, now_us);
		return;
	case RELAY_STAGE_STARTTLS:
		relay_in_starttls(r, now_us);
		return;
	case RELAY_STAGE_EHLO:
	case RELAY_STAGE_EHLO2:
		relay_in_ehlo(r, now_us);
		return;
	case RELAY_STAGE_XCLIENT:
		relay_in_xclient(r, now_us);
		return;
	case RELAY_STAGE_AUTH:
		relay_in_auth(r, now_us);
		return;
	case RELAY_STAGE_MAIL:
		relay_in_mail(r, now_us);
		return;
	case RELAY_STAGE_RCPT:
		relay_in_rcpt(r, now_us);
		return;
	case RELAY_STAGE_DATA:
		relay_in_data(r, now_us);
		return;
	case RELAY_STAGE_DOT:
		relay_in_dot(r, now_us);
		return;
	case RELAY_STAGE_RSET:
		relay_in_rset(r, now_us);
		return;
	case RELAY_STAGE_TLS:
	case RELAY_STAGE_CONNECT:
	case RELAY_STAGE_READY:
		relay_count(r, CTR_relay_unasked_replies);
		relay_lose(r, true);
		return;
	case RELAY_STAGE_QUIT: /* 221 or not: it closes now, or the time limit does */
	case RELAY_STAGE_BODY: /* early */
	case RELAY_STAGE_CLOSED:
		return;
	}
}

/* --- doors --- */

void
relay_disconnected(struct relay *r, uint64_t now_us)
{
	(void)now_us;
	if (r->stage == RELAY_STAGE_CLOSED)
		return;
	if (r->stage != RELAY_STAGE_QUIT) {
		relay_words_set(r, r->stage == RELAY_STAGE_CONNECT ? "no connection" : "connection lost");
		if (r->stage != RELAY_STAGE_READY || r->n_accepted > 0)
			relay_count(r, CTR_relay_lost);
	}
	relay_lose(r, true);
}

/* Octets of the backend come: of the reply under way, or of a new one. */
static void
reply_goes_on(struct relay *r)
{
	if (!r->reply_over)
		return;
	smtp_reply_parser_init(&r->parser);
	r->reply_over = false;
	if (r->words_due) {
		r->words_due = false;
		r->words[0] = '\0';
	}
}

void
relay_end_not_there(struct relay *r)
{
	if (r->stage == RELAY_STAGE_DOT)
		r->early = true;
}

uint32_t
relay_input(struct relay *r, const struct buf_view *in, uint64_t now_us)
{
	struct buf_view v = *in;

	while (v.len_octets > 0 && r->stage != RELAY_STAGE_CLOSED) {
		enum smtp_reply_result result;

		if (r->action != RELAY_ACTION_NONE && r->stage != RELAY_STAGE_READY) {
			/* The worker has an answer to give first. What is here before the message's end does not
			 * answer it. */
			r->early = r->early || r->stage == RELAY_STAGE_BODY;
			return in->len_octets - v.len_octets;
		}
		if (r->stage == RELAY_STAGE_READY || r->stage == RELAY_STAGE_CONNECT) {
			/* Nothing was asked. Its first line is told to the log where it came whole; behind an answer
			 * that the worker has not seen yet it stays unread. */
			relay_count(r, CTR_relay_unasked_replies);
			if (r->action == RELAY_ACTION_NONE) {
				reply_goes_on(r);
				if (smtp_reply_parse(&r->parser, &v) == SMTP_REPLY_DONE)
					r->words_due = true;
				else
					relay_words_set(r, "octets that nothing asked for");
			}
			relay_lose(r, true);
			break;
		}
		if (r->out_sent < r->out_len && r->stage != RELAY_STAGE_QUIT) {
			relay_count(r, CTR_relay_unasked_replies);
			relay_words_set(r, "reply before the command");
			relay_nonsense(r);
			break;
		}
		if (r->stage == RELAY_STAGE_BODY)
			r->early = true;
		reply_goes_on(r);
		result = smtp_reply_parse(&r->parser, &v);
		if (result == SMTP_REPLY_MORE)
			break;
		if (result == SMTP_REPLY_BROKEN) {
			relay_words_set(r, "not a reply");
			if (r->early)
				r->stage = RELAY_STAGE_BODY;
			relay_nonsense(r);
			break;
		}
		relay_handle_reply(r, now_us);
		if (r->stage == RELAY_STAGE_READY || r->stage == RELAY_STAGE_QUIT)
			r->reply_over = true;
	}
	return in->len_octets; /* of a connection that is over all is swallowed */
}

uint32_t
relay_output(struct relay *r, uint8_t *out, uint32_t n)
{
	n = MIN(n, r->out_len - r->out_sent);
	memcpy(out, r->out + r->out_sent, n);
	r->out_sent += n;
	if (r->out_sent == r->out_len) {
		if (r->stage == RELAY_STAGE_AUTH)
			explicit_bzero(r->out, r->out_len);
		r->out_len = r->out_sent = 0;
	}
	return n;
}

uint32_t
relay_output_pending(const struct relay *r)
{
	return r->out_len - r->out_sent;
}

/* A string of the request: copied with its NUL. An octet that could end a line, or that would not come through, breaks
 * the request. */
static uint16_t
request_add(struct relay *r, uint32_t *at, const char *text, uint32_t max_octets)
{
	const uint16_t start = (uint16_t)*at;
	const size_t n = strlen(text);

	if (n > max_octets) {
		r->request_broken = true;
		r->request[(*at)++] = '\0';
		return start;
	}
	for (size_t i = 0; i < n; i++) {
		if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
			r->request_broken = true;
	}
	memcpy(r->request + start, text, n);
	r->request[start + n] = '\0';
	*at += (uint32_t)n + 1;
	return start;
}

/* A command on a relay that is over: what ended it is the answer, again. */
static void
relay_say_over(struct relay *r, bool may_reopen)
{
	if (r->action != RELAY_ACTION_NONE)
		return;
	relay_say(r, r->failed || !may_reopen ? RELAY_ACTION_FAILED : RELAY_ACTION_CLOSED);
}

/* Whether a command of the worker is under way. */
static bool
relay_answer_owed(const struct relay *r)
{
	switch ((enum relay_stage)r->stage) {
	case RELAY_STAGE_AUTH:
	case RELAY_STAGE_MAIL:
	case RELAY_STAGE_RCPT:
	case RELAY_STAGE_DATA:
	case RELAY_STAGE_BODY:
	case RELAY_STAGE_DOT:
		return true;
	case RELAY_STAGE_CONNECT:
	case RELAY_STAGE_BANNER:
	case RELAY_STAGE_EHLO0:
	case RELAY_STAGE_STARTTLS:
	case RELAY_STAGE_TLS:
	case RELAY_STAGE_EHLO:
	case RELAY_STAGE_XCLIENT:
	case RELAY_STAGE_EHLO2:
	case RELAY_STAGE_READY:
	case RELAY_STAGE_RSET:
	case RELAY_STAGE_QUIT:
	case RELAY_STAGE_CLOSED:
		break;
	}
	return false;
}

void
relay_rcpt(struct relay *r, const char *from, const char *mail_params, const char *rcpt, const char *rcpt_params,
	uint32_t needs, uint64_t size_octets, uint64_t now_us)
{
	uint32_t at = 0;

	if (r->stage == RELAY_STAGE_CLOSED || r->stage == RELAY_STAGE_QUIT) {
		relay_say_over(r, true);
		return;
	}
	BUG_ON(r->want_rcpt);
	BUG_ON(!r->muted && relay_answer_owed(r));
	r->request_broken = false;
	request_add(r, &at, from, SMTP_PATH_MAX_OCTETS);
	r->mail_params_at = request_add(r, &at, mail_params, SMTP_PARAMS_MAX_OCTETS);
	r->rcpt_at = request_add(r, &at, rcpt, SMTP_PATH_MAX_OCTETS);
	r->rcpt_params_at = request_add(r, &at, rcpt_params, SMTP_PARAMS_MAX_OCTETS);
	r->needs = needs;
	r->size_octets = size_octets;
	r->request_end_us = now_us + r->reply_us;
	r->want_rcpt = true;
	relay_advance(r, now_us);
}

void
relay_auth(struct relay *r, const char *text, uint32_t len_octets, bool whole, uint64_t now_us)
{
	if (r->stage == RELAY_STAGE_CLOSED || r->stage == RELAY_STAGE_QUIT) {
		relay_say_over(r, true);
		return;
	}
	BUG_ON(r->want_rcpt || r->want_auth || r->n_accepted > 0 || len_octets > sizeof(r->request));
	BUG_ON(!r->muted && relay_answer_owed(r));
	memcpy(r->request, text, len_octets);
	r->auth_octets = (uint16_t)len_octets;
	r->auth_whole = whole;
	r->want_auth = true;
	r->request_end_us = now_us + r->reply_us;
	relay_advance(r, now_us);
}

void
relay_limit(struct relay *r, uint64_t at_us)
{
	r->request_end_us = MIN(r->request_end_us, at_us);
}

void
relay_data(struct relay *r, uint64_t now_us)
{
	if (r->stage == RELAY_STAGE_CLOSED) {
		relay_say_over(r, false);
		return;
	}
	BUG_ON(r->stage != RELAY_STAGE_READY || r->n_accepted == 0);
	r->bdat = false;
	relay_out_str(r, "DATA\r\n");
	relay_await(r, RELAY_STAGE_DATA, now_us);
}

/* The octets of a message or a chunk are all with the connection. */
static void
relay_body_end(struct relay *r, uint64_t now_us)
{
	r->phase_us = now_us;
	r->stage = !r->bdat || r->bdat_last ? RELAY_STAGE_DOT : RELAY_STAGE_DATA;
	if (!r->early)
		r->reply_over = true;
}

void
relay_bdat(struct relay *r, uint64_t n_octets, bool last, uint64_t now_us)
{
	char line[48];

	if (r->stage == RELAY_STAGE_CLOSED) {
		relay_say_over(r, false);
		return;
	}
	BUG_ON(r->stage != RELAY_STAGE_READY || r->n_accepted == 0);
	snprintf(line, sizeof(line), "BDAT %llu%s\r\n", (unsigned long long)n_octets, last ? " LAST" : "");
	relay_out_str(r, line);
	r->bdat = true;
	r->bdat_last = last;
	r->bdat_left_octets = n_octets;
	r->early = false;
	relay_await(r, RELAY_STAGE_BODY, now_us);
	if (n_octets == 0)
		relay_body_end(r, now_us);
}

void
relay_body_sent(struct relay *r, uint32_t octets, bool end, uint64_t now_us)
{
	if (r->stage == RELAY_STAGE_AUTH) {
		r->phase_us = now_us;
		r->auth_line = !end;
		return;
	}
	if (r->stage != RELAY_STAGE_BODY)
		return; /* it failed in this very turn */
	r->phase_us = now_us;
	if (r->bdat) {
		BUG_ON(octets > r->bdat_left_octets);
		r->bdat_left_octets -= octets;
		end = r->bdat_left_octets == 0;
	}
	if (end)
		relay_body_end(r, now_us);
}

void
relay_reset(struct relay *r, uint64_t now_us)
{
	switch ((enum relay_stage)r->stage) {
	case RELAY_STAGE_CLOSED:
	case RELAY_STAGE_QUIT:
		r->n_accepted = 0;
		return;
	case RELAY_STAGE_AUTH: /* RSET would be a line of the exchange */
	case RELAY_STAGE_BODY: /* or of the message */
		r->must_abort = true;
		relay_end(r);
		return;
	case RELAY_STAGE_MAIL:
	case RELAY_STAGE_RCPT:
	case RELAY_STAGE_DATA:
	case RELAY_STAGE_DOT:
		r->muted = r->stage != RELAY_STAGE_DOT;
		break;
	case RELAY_STAGE_CONNECT:
	case RELAY_STAGE_BANNER:
	case RELAY_STAGE_EHLO0:
	case RELAY_STAGE_STARTTLS:
	case RELAY_STAGE_TLS:
	case RELAY_STAGE_EHLO:
	case RELAY_STAGE_XCLIENT:
	case RELAY_STAGE_EHLO2:
	case RELAY_STAGE_READY:
	case RELAY_STAGE_RSET:
		break;
	}
	r->want_rcpt = false;
	r->n_accepted = 0;
	r->reused = r->reused || r->mail_open;
	r->want_reset = r->mail_open || r->stage == RELAY_STAGE_MAIL;
	if (r->stage == RELAY_STAGE_RSET)
		r->want_reset = false;
	relay_advance(r, now_us);
}

void
relay_quit(struct relay *r, uint64_t now_us)
{
	switch ((enum relay_stage)r->stage) {
	case RELAY_STAGE_CLOSED:
		r->n_accepted = 0;
		if (r->action == RELAY_ACTION_NONE)
			relay_say(r, RELAY_ACTION_CLOSED);
		return;
	case RELAY_STAGE_QUIT:
		return;
	case RELAY_STAGE_AUTH: /* QUIT would be a line of the exchange */
	case RELAY_STAGE_BODY: /* or of the message */
		r->must_abort = true;
		relay_end(r);
		return;
	case RELAY_STAGE_CONNECT:
	case RELAY_STAGE_BANNER: /* nothing is said before the banner but PROXY */
		r->must_abort = true;
		relay_end(r);
		return;
	case RELAY_STAGE_MAIL:
	case RELAY_STAGE_RCPT:
	case RELAY_STAGE_DATA:
		r->muted = true;
		break;
	case RELAY_STAGE_EHLO0:
	case RELAY_STAGE_STARTTLS:
	case RELAY_STAGE_TLS:
	case RELAY_STAGE_EHLO:
	case RELAY_STAGE_XCLIENT:
	case RELAY_STAGE_EHLO2:
	case RELAY_STAGE_DOT:
	case RELAY_STAGE_READY:
	case RELAY_STAGE_RSET:
		break;
	}
	r->want_rcpt = false;
	r->want_quit = true;
	relay_advance(r, now_us);
}

enum relay_action
relay_next(struct relay *r, uint64_t now_us)
{
	enum relay_action action;

	if (r->action == RELAY_ACTION_NONE) {
		r->action = r->after;
		r->after = RELAY_ACTION_NONE;
		if (r->action == RELAY_ACTION_FAILED)
			r->at = r->after_at;
	}
	if (r->action == RELAY_ACTION_NONE && r->after == RELAY_ACTION_NONE && now_us >= relay_deadline_us(r))
		relay_timeout(r);
	action = (enum relay_action)r->action;
	r->action = RELAY_ACTION_NONE;
	if (action == RELAY_ACTION_FAILED) {
		relay_count(r, CTR_relay_failed);
		smtp_reply_set(&r->reply, 451, "4.3.0", RELAY_FAILURE_TEXT);
	}
	return action;
}

const struct smtp_reply *
relay_reply(const struct relay *r)
{
	return &r->reply;
}

const char *
relay_words(struct relay *r)
{
	if (r->words_due) {
		r->words_due = false;
		smtp_reply_words(&r->parser.reply, r->words, sizeof(r->words));
	}
	return r->words;
}

enum relay_stage
relay_stage(const struct relay *r)
{
	return r->stage == RELAY_STAGE_CLOSED ? (enum relay_stage)r->at : (enum relay_stage)r->stage;
}

uint32_t
relay_ext(const struct relay *r)
{
	return r->ehlo.ext;
}

bool
relay_is_idle(const struct relay *r)
{
	/* a recipient asked for during RSET is held until its answer */
	return (r->stage == RELAY_STAGE_READY || r->stage == RELAY_STAGE_RSET) && r->n_accepted == 0 && !r->want_rcpt &&
	       !r->want_auth && !r->want_quit;
}

bool
relay_has_transaction(const struct relay *r)
{
	return r->n_accepted > 0;
}

bool
relay_wants_body(const struct relay *r)
{
	return (r->stage == RELAY_STAGE_BODY || (r->stage == RELAY_STAGE_AUTH && r->auth_line)) &&
	       r->out_sent == r->out_len && r->action == RELAY_ACTION_NONE;
}

bool
relay_has_news(const struct relay *r)
{
	return r->action != RELAY_ACTION_NONE || r->after != RELAY_ACTION_NONE;
}

bool
relay_must_abort(const struct relay *r)
{
	return r->must_abort;
}
