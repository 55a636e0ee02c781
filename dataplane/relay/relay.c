/*
 * relay.c - one client session's conversation with one backend.
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
 */
#include "dataplane/relay/relay.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "dataplane/base/bug.h"
#include "dataplane/relay/relay_impl.h"
#include "dataplane/relay/xclient.h"

#define RELAY_CONNECT_MS   10000 /* POLICY section 6 */
#define RELAY_TOTAL_MS     30000
#define RELAY_REPLY_MS     35000
#define RELAY_DOT_MIN_S    600      /* RFC 1047, RFC 5321 section 4.5.3.2.6 */
#define RELAY_QUIT_US      10000000 /* for the answer to QUIT and the backend's FIN */
#define RELAY_FAILURE_TEXT "Mail server temporarily unavailable, please try again later"

/* What a message cannot do without. SIZE alone is advice. */
#define RELAY_NEEDS (EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN | EXT_BINARYMIME | EXT_CHUNKING)

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

static void
count(const struct relay *r, enum counter which)
{
	if (r->counters != NULL)
		counter_inc(r->counters, which);
}

static void
relay_words_set(struct relay *r, const char *words)
{
	if (words != r->words) /* what is kept already stays */
		snprintf(r->words, sizeof(r->words), "%s", words);
}

static uint64_t
ms_or(uint32_t ms, uint32_t otherwise_ms)
{
	return (uint64_t)(ms != 0 ? ms : otherwise_ms) * 1000;
}

static void
copy_text(char *out, size_t room, const char *text)
{
	const size_t n = strnlen(text, room - 1);

	memcpy(out, text, n);
	out[n] = '\0';
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
	smtp_reply_parser_init(&r->parser);

	r->stage = RELAY_STAGE_CONNECT;
	r->client_address = b->conf.client_address;
	r->tls = b->conf.tls;
	r->tls_strict = b->conf.tls == BACKEND_TLS_REQUIRE || b->conf.ca_octets > 0 || b->conf.n_fingerprints > 0;
	r->tls_possible = b->tls_possible;
	r->probe_works = b->probe_works;
	r->counters = b->counters;
	copy_text(r->our_name, sizeof(r->our_name), b->our_name);
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

/* --- how it ends --- */

static void
relay_say(struct relay *r, enum relay_action action)
{
	if (r->action == RELAY_ACTION_NONE)
		r->action = action;
	else
		r->after = action;
}

/* What AUTH said is nobody's business once it went out. */
static void
relay_forget_auth(struct relay *r)
{
	explicit_bzero(r->request, r->auth_octets);
	r->auth_octets = 0;
}

static void
relay_close(struct relay *r)
{
	r->stage = RELAY_STAGE_CLOSED;
	r->out_len = r->out_sent = 0;
	r->want_rcpt = r->want_reset = r->want_quit = r->want_auth = false;
	relay_forget_auth(r);
}

/* Over, and nothing is owed but a new connection when one is needed. */
static void
relay_end(struct relay *r)
{
	relay_close(r);
	r->n_accepted = 0;
	relay_say(r, RELAY_ACTION_CLOSED);
}

/* Over by a failure that is never the client's: 451 4.3.0, and the backend's words for the log. */
static void
relay_fail(struct relay *r)
{
	if (r->action == RELAY_ACTION_NONE)
		r->at = r->stage;
	else
		r->after_at = r->stage;
	r->failed = true;
	if (r->stage == RELAY_STAGE_BODY || r->stage == RELAY_STAGE_AUTH)
		r->must_abort = true;
	relay_close(r);
	relay_say(r, RELAY_ACTION_FAILED);
}

/*
 * The backend is of no more use: closed, silent, or said what cannot be. What that means depends on what was under
 * way. retry: where MAIL on a used connection is under way the cause may lie before it (an idle limit, a cap of
 * messages): opened anew, unseen.
 */
static void
relay_lose(struct relay *r, bool retry)
{
	if (r->muted && r->stage != RELAY_STAGE_DOT) {
		/* nobody waits for an answer, but perhaps a new recipient does */
		relay_end(r);
		return;
	}
	switch ((enum relay_stage)r->stage) {
	case RELAY_STAGE_CONNECT:
		count(r, CTR_relay_connect_failed);
		relay_fail(r);
		return;
	case RELAY_STAGE_BANNER:
		count(r, CTR_relay_banner_failed);
		relay_fail(r);
		return;
	case RELAY_STAGE_STARTTLS:
	case RELAY_STAGE_TLS:
		r->tls_failed = true;
		count(r, CTR_tls_backend_failed);
		relay_fail(r);
		return;
	case RELAY_STAGE_EHLO0:
	case RELAY_STAGE_EHLO:
	case RELAY_STAGE_EHLO2:
		count(r, CTR_relay_ehlo_failed);
		relay_fail(r);
		return;
	case RELAY_STAGE_XCLIENT:
	case RELAY_STAGE_AUTH:
	case RELAY_STAGE_DATA:
	case RELAY_STAGE_BODY:
	case RELAY_STAGE_DOT:
		relay_fail(r);
		return;
	case RELAY_STAGE_READY:
		if (r->n_accepted > 0) {
			relay_fail(r);
			return;
		}
		count(r, CTR_relay_closed_idle);
		relay_end(r);
		return;
	case RELAY_STAGE_MAIL:
		if (retry && r->reused) {
			count(r, CTR_relay_closed_idle);
			relay_end(r);
			return;
		}
		relay_fail(r);
		return;
	case RELAY_STAGE_RCPT:
		if (r->mail_refused) { /* the backend's word to MAIL is there; that to RCPT was not wanted */
			r->at = RELAY_STAGE_MAIL;
			r->mail_refused = false;
			relay_say(r, RELAY_ACTION_RCPT_REPLY);
			relay_end(r);
			return;
		}
		relay_fail(r);
		return;
	case RELAY_STAGE_RSET:
		count(r, CTR_relay_closed_idle);
		relay_end(r);
		return;
	case RELAY_STAGE_QUIT:
		relay_end(r);
		return;
	case RELAY_STAGE_CLOSED:
		return;
	}
}

/* Octets that are no reply, or a reply that cannot stand here. */
static void
relay_nonsense(struct relay *r)
{
	count(r, CTR_relay_broken_replies);
	relay_lose(r, false);
}

/* --- what we say --- */

/* Appends to what goes out; false (and nothing appended) where it has no room. */
static bool
out_add(struct relay *r, const char *text, size_t n)
{
	if (r->out_len + n > sizeof(r->out))
		return false;
	memcpy(r->out + r->out_len, text, n);
	r->out_len += (uint32_t)n;
	return true;
}

static bool
out_str(struct relay *r, const char *text)
{
	return out_add(r, text, strlen(text));
}

/* A command under way: its answer is what comes next. */
static void
relay_await(struct relay *r, enum relay_stage stage, uint64_t now_us)
{
	r->stage = stage;
	r->phase_us = now_us;
	smtp_reply_parser_init(&r->parser);
}

static void
relay_greet(struct relay *r, enum relay_stage stage, const char *verb, const char *name, uint64_t now_us)
{
	/* verb, name and line end always fit: nothing else is in out */
	out_str(r, verb);
	out_str(r, " ");
	out_str(r, name);
	out_str(r, "\r\n");
	relay_await(r, stage, now_us);
}

/* EHLO or HELO as the client would say it. */
static void
relay_greet_as_client(struct relay *r, enum relay_stage stage, uint64_t now_us)
{
	r->own_name = r->client.helo[0] == '\0';
	r->ehlo = (struct ehlo){ 0 };
	relay_greet(r, stage, r->use_helo ? "HELO" : "EHLO", r->own_name ? r->our_name : r->client.helo, now_us);
}

static void
relay_send_xclient(struct relay *r, uint64_t now_us)
{
	char line[XCLIENT_LINE_MAX_OCTETS];
	uint32_t n;

	/* Without ADDR the backend would judge the client by our address: as good as refused. */
	if ((r->ehlo.ext & EXT_XCLIENT) == 0 || (r->ehlo.xclient & XCLIENT_ADDR) == 0) {
		r->stage = RELAY_STAGE_XCLIENT;
		relay_words_set(r, "XCLIENT ADDR is not offered to us");
		count(r, CTR_relay_xclient_refused);
		relay_lose(r, false);
		return;
	}
	n = xclient_build(&r->client, r->ehlo.xclient, line);
	out_add(r, line, n);
	relay_await(r, RELAY_STAGE_XCLIENT, now_us);
}

/* The parameters of a client's command that the backend knows, each as the client wrote it. */
static bool
out_params(struct relay *r, const char *params)
{
	static const struct {
		const char *name;
		uint32_t ext; /* any of these */
	} known[] = {
		{ "SIZE", EXT_SIZE },
		{ "BODY", EXT_8BITMIME | EXT_BINARYMIME },
		{ "SMTPUTF8", EXT_SMTPUTF8 },
		{ "RET", EXT_DSN },
		{ "ENVID", EXT_DSN },
		{ "NOTIFY", EXT_DSN },
		{ "ORCPT", EXT_DSN },
		{ "AUTH", EXT_AUTH },
	};

	for (const char *p = params; *p != '\0';) {
		size_t len, key;

		p += strspn(p, " ");
		len = strcspn(p, " ");
		key = MIN(len, strcspn(p, "="));
		for (size_t i = 0; i < ARRAY_LEN(known) && len > 0; i++) {
			if (key != strlen(known[i].name) || strncasecmp(p, known[i].name, key) != 0)
				continue;
			if ((r->ehlo.ext & known[i].ext) != 0 && (!out_str(r, " ") || !out_add(r, p, len)))
				return false;
		}
		p += len;
	}
	return true;
}

static bool
out_path_command(struct relay *r, const char *verb, const char *path, const char *params)
{
	return out_str(r, verb) && out_str(r, path) && out_str(r, ">") && out_params(r, params) && out_str(r, "\r\n");
}

/* An answer to the recipient that is not a reply of the backend. */
static void
relay_answer_rcpt(struct relay *r, uint16_t code, const char *enhanced, const char *text)
{
	r->at = RELAY_STAGE_RCPT;
	r->want_rcpt = false;
	smtp_reply_set(&r->reply, code, enhanced, text);
	relay_say(r, RELAY_ACTION_RCPT_REPLY);
}

/* The recipient that waits, now that nothing is under way. */
static void
relay_send_rcpt(struct relay *r, uint64_t now_us)
{
	const bool pipelining = (r->ehlo.ext & EXT_PIPELINING) != 0;
	const bool with_mail = !r->mail_open, with_rcpt = r->mail_open || pipelining;
	const uint32_t before = r->out_len;
	bool ok = !r->request_broken;

	if ((r->needs & RELAY_NEEDS & ~r->ehlo.ext) != 0) {
		count(r, CTR_relay_lacks);
		relay_answer_rcpt(r, 451, "4.3.0", "Mail server does not take this kind of message at the moment");
		return;
	}
	if (r->ehlo.size_octets != 0 && r->size_octets > r->ehlo.size_octets) {
		count(r, CTR_relay_too_big);
		relay_answer_rcpt(r, 554, "5.3.4", "Message size exceeds the limit of the receiving server");
		return;
	}
	if (with_mail)
		ok = ok && out_path_command(r, "MAIL FROM:<", r->request, r->request + r->mail_params_at);
	if (with_rcpt)
		ok = ok && out_path_command(r, "RCPT TO:<", r->request + r->rcpt_at, r->request + r->rcpt_params_at);
	if (!ok) {
		r->out_len = before;
		count(r, CTR_relay_bad_request);
		relay_answer_rcpt(r, 451, "4.3.0", RELAY_FAILURE_TEXT);
		return;
	}
	r->want_rcpt = false;
	r->rcpt_sent = with_rcpt;
	r->mail_refused = false;
	relay_await(r, with_mail ? RELAY_STAGE_MAIL : RELAY_STAGE_RCPT, now_us);
}

/* RCPT behind a MAIL that was accepted, where they were not pipelined. */
static void
relay_send_held_rcpt(struct relay *r, uint64_t now_us)
{
	if (!out_path_command(r, "RCPT TO:<", r->request + r->rcpt_at, r->request + r->rcpt_params_at)) {
		r->out_len = r->out_sent;
		r->stage = RELAY_STAGE_READY;
		count(r, CTR_relay_bad_request);
		relay_answer_rcpt(r, 451, "4.3.0", RELAY_FAILURE_TEXT);
		return;
	}
	r->rcpt_sent = true;
	relay_await(r, RELAY_STAGE_RCPT, now_us);
}

/* The stage of a greeting with the client's name. */
static enum relay_stage
relay_greet_stage(const struct relay *r)
{
	return r->client_address == CLIENT_ADDRESS_XCLIENT ? RELAY_STAGE_EHLO2 : RELAY_STAGE_EHLO;
}

static void
relay_send_auth(struct relay *r, uint64_t now_us)
{
	r->want_auth = false;
	if ((r->ehlo.ext & EXT_AUTH) == 0 || r->out_len + r->auth_octets + 2 > sizeof(r->out)) {
		/* it was offered when the client heard of it: greeted by HELO, refused, or taken back meanwhile */
		r->stage = RELAY_STAGE_AUTH;
		relay_words_set(r, "AUTH is not offered to the client");
		relay_fail(r);
		return;
	}
	out_add(r, r->request, r->auth_octets);
	if (r->auth_whole)
		out_str(r, "\r\n");
	r->auth_line = !r->auth_whole;
	relay_forget_auth(r);
	relay_await(r, RELAY_STAGE_AUTH, now_us);
}

/* Nothing is under way: begins what waits. */
static void
relay_advance(struct relay *r, uint64_t now_us)
{
	if (r->stage != RELAY_STAGE_READY)
		return;
	r->muted = false;
	if (r->want_quit) {
		r->want_quit = r->want_rcpt = r->want_reset = false;
		out_str(r, "QUIT\r\n");
		relay_await(r, RELAY_STAGE_QUIT, now_us);
	} else if (r->want_reset) {
		r->want_reset = false;
		out_str(r, "RSET\r\n");
		relay_await(r, RELAY_STAGE_RSET, now_us);
	} else if (r->want_auth) {
		relay_send_auth(r, now_us);
	} else if (r->want_rcpt && r->ehlo_refused) {
		r->ehlo_refused = false;
		r->setup_end_us = now_us + r->total_us;
		relay_greet_as_client(r, relay_greet_stage(r), now_us);
	} else if (r->want_rcpt) {
		relay_send_rcpt(r, now_us);
	}
}

static void
relay_ready(struct relay *r, uint64_t now_us)
{
	r->stage = RELAY_STAGE_READY;
	relay_advance(r, now_us);
}

/* The transaction is over at the client; whether the backend knows it, too, decides about RSET. */
static void
relay_transaction_over(struct relay *r, bool backend_knows)
{
	r->n_accepted = 0;
	r->reused = true;
	r->bdat = false;
	if (backend_knows)
		r->mail_open = false;
	else if (r->mail_open)
		r->want_reset = true;
}

/* --- what the backend says, stage by stage --- */

static bool
is_passable_refusal(uint16_t code)
{
	return code >= 400 && code <= 599 && code != 421;
}

static void
relay_pass(struct relay *r, enum relay_action action)
{
	r->at = r->stage;
	if (r->muted)
		return;
	r->reply = r->parser.reply;
	relay_say(r, action);
}

/* The greeting that counts: behind TLS, or where there will be none. */
static void
relay_begin_greeting(struct relay *r, uint64_t now_us)
{
	r->ehlo = (struct ehlo){ 0 };
	if (r->client_address == CLIENT_ADDRESS_XCLIENT) {
		r->own_name = true;
		relay_greet(r, RELAY_STAGE_EHLO, "EHLO", r->our_name, now_us);
	} else {
		relay_greet_as_client(r, RELAY_STAGE_EHLO, now_us);
	}
}

static void
relay_in_banner(struct relay *r, uint64_t now_us)
{
	if (r->parser.reply.code != 220) {
		relay_lose(r, false);
		return;
	}
	if (r->tls == BACKEND_TLS_NEVER) {
		relay_begin_greeting(r, now_us);
		return;
	}
	r->own_name = true;
	relay_greet(r, RELAY_STAGE_EHLO0, "EHLO", r->our_name, now_us);
}

/* No TLS here: without it go on, or not at all; why NULL: the backend's words tell. */
static void
relay_without_tls(struct relay *r, const char *why, uint64_t now_us)
{
	if (!r->tls_strict) {
		relay_begin_greeting(r, now_us);
		return;
	}
	r->stage = RELAY_STAGE_STARTTLS;
	if (why != NULL)
		relay_words_set(r, why);
	relay_lose(r, false);
}

static void
relay_in_ehlo0(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (code == 250)
		ehlo_parse(&r->parser.reply, &r->ehlo);
	else if (code < 500) {
		relay_lose(r, false);
		return;
	}
	if (code != 250 || (r->ehlo.ext & EXT_STARTTLS) == 0) {
		relay_without_tls(r, "STARTTLS is not offered", now_us);
	} else if (!r->tls_possible) {
		relay_without_tls(r, "its TLS options cannot be used", now_us);
	} else {
		out_str(r, "STARTTLS\r\n");
		relay_await(r, RELAY_STAGE_STARTTLS, now_us);
	}
}

static void
relay_in_starttls(struct relay *r, uint64_t now_us)
{
	if (r->parser.reply.code != 220) {
		relay_without_tls(r, NULL, now_us);
		return;
	}
	relay_await(r, RELAY_STAGE_TLS, now_us);
	relay_say(r, RELAY_ACTION_STARTTLS);
}

/* The greeting with the client's name (or ours in its stead) was refused. */
static void
relay_greeting_refused(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (!r->use_helo && (code == 500 || code == 502)) { /* RFC 5321 section 3.2: unknown command, so HELO */
		r->use_helo = true;
		count(r, CTR_relay_helo_fallback);
		relay_greet_as_client(r, (enum relay_stage)r->stage, now_us);
		return;
	}
	if (code < 500 || r->own_name || !r->probe_works) {
		relay_lose(r, false);
		return;
	}
	count(r, CTR_relay_ehlo_refused);
	r->ehlo_refused = true;
	if (r->want_rcpt) {
		r->want_rcpt = false;
		relay_pass(r, RELAY_ACTION_RCPT_REPLY);
	}
	relay_ready(r, now_us);
}

static void
relay_in_ehlo(struct relay *r, uint64_t now_us)
{
	const bool before_xclient = r->stage == RELAY_STAGE_EHLO && r->client_address == CLIENT_ADDRESS_XCLIENT;
	const uint16_t code = r->parser.reply.code;

	if (code >= 400 && before_xclient) { /* it refuses us, not the client */
		relay_lose(r, false);
		return;
	}
	if (code >= 400) {
		relay_greeting_refused(r, now_us);
		return;
	}
	if (code != 250) {
		relay_nonsense(r);
		return;
	}
	if (!r->use_helo || before_xclient)
		ehlo_parse(&r->parser.reply, &r->ehlo);
	if (before_xclient) {
		relay_send_xclient(r, now_us);
		return;
	}
	count(r, CTR_relay_greetings);
	relay_ready(r, now_us);
}

static void
relay_in_xclient(struct relay *r, uint64_t now_us)
{
	if (r->parser.reply.code != 220) {
		count(r, CTR_relay_xclient_refused);
		relay_lose(r, false);
		return;
	}
	relay_greet_as_client(r, RELAY_STAGE_EHLO2, now_us);
}

/*
 * A refusal of MAIL, as the recipient gets it. 552 means a full mailbox when it answers RCPT, and senders take it for
 * temporary (RFC 5321 section 4.5.3.1.10); of MAIL it says that the message is too big.
 */
static void
relay_map_mail_reply(struct relay *r)
{
	char text[SMTP_REPLY_LINE_MAX_OCTETS];
	const struct smtp_reply *from = &r->parser.reply;
	const char *at = from->text + MIN(from->len_octets, 4);
	const char *end = memchr(from->text, '\r', from->len_octets);
	size_t n;

	if (from->code != 552) {
		r->reply = *from;
		return;
	}
	end = end != NULL && end > at ? end : at;
	n = strspn(at, "0123456789.");
	if (n >= 5 && at[0] == '5' && at[1] == '.' && at[n] == ' ') /* its enhanced code gives way to ours */
		at += n + 1;
	n = MIN((size_t)(end > at ? end - at : 0), sizeof(text) - 1);
	memcpy(text, at, n);
	text[n] = '\0';
	smtp_reply_set(&r->reply, 554, "5.3.4", text);
}

static void
relay_in_mail(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (code == 250) {
		r->mail_open = true;
		if (r->rcpt_sent)
			relay_await(r, RELAY_STAGE_RCPT, r->phase_us);
		else if (r->muted)
			relay_ready(r, now_us);
		else
			relay_send_held_rcpt(r, now_us);
		return;
	}
	if (!is_passable_refusal(code)) {
		relay_nonsense(r);
		return;
	}
	count(r, CTR_relay_mail_refused);
	relay_map_mail_reply(r);
	if (r->rcpt_sent) {
		r->mail_refused = true;
		relay_await(r, RELAY_STAGE_RCPT, r->phase_us);
		return;
	}
	r->at = RELAY_STAGE_MAIL;
	if (!r->muted)
		relay_say(r, RELAY_ACTION_RCPT_REPLY);
	relay_ready(r, now_us);
}

/* The answer to an RCPT that went with a MAIL the backend refused. */
static void
relay_in_rcpt_unwanted(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (code >= 300 && code < 400) {
		relay_nonsense(r);
		return;
	}
	r->mail_refused = false;
	r->at = RELAY_STAGE_MAIL;
	if (!r->muted)
		relay_say(r, RELAY_ACTION_RCPT_REPLY);
	if (code < 300) { /* it took a recipient without a sender: nobody knows what it has now */
		r->mail_open = true;
		r->want_reset = true;
	}
	relay_ready(r, now_us);
}

static void
relay_in_rcpt(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (r->mail_refused) {
		relay_in_rcpt_unwanted(r, now_us);
		return;
	}
	if (code >= 250 && code <= 252) {
		count(r, CTR_relay_rcpt_accepted);
		if (!r->muted)
			r->n_accepted++;
	} else if (is_passable_refusal(code)) {
		count(r, code < 500 ? CTR_relay_rcpt_deferred : CTR_relay_rcpt_refused);
	} else {
		relay_nonsense(r);
		return;
	}
	relay_pass(r, RELAY_ACTION_RCPT_REPLY);
	relay_ready(r, now_us);
}

/* Whatever its answer says, none of it is for the log. */
static void
relay_in_auth(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	r->words[0] = '\0';
	if (r->auth_line || (code != 235 && code != 334 && !is_passable_refusal(code))) {
		relay_nonsense(r);
		return;
	}
	relay_pass(r, RELAY_ACTION_AUTH_REPLY);
	if (code == 334) {
		r->auth_line = true;
		relay_await(r, RELAY_STAGE_AUTH, now_us);
		return;
	}
	count(r, code == 235 ? CTR_relay_auth_accepted : CTR_relay_auth_refused);
	relay_ready(r, now_us);
}

/* DATA's answer, or that to a chunk which is not the last. */
static void
relay_in_data(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (r->bdat && code == 250) {
		relay_pass(r, RELAY_ACTION_DATA_REPLY);
		relay_ready(r, now_us);
		return;
	}
	if (!r->bdat && code == 354 && r->muted) { /* given up meanwhile: whatever is said now would be a message */
		r->must_abort = true;
		relay_end(r);
		return;
	}
	if (!r->bdat && code == 354) {
		relay_pass(r, RELAY_ACTION_DATA_REPLY);
		relay_await(r, RELAY_STAGE_BODY, now_us);
		return;
	}
	if (!is_passable_refusal(code)) {
		relay_nonsense(r);
		return;
	}
	count(r, CTR_relay_data_refused);
	relay_pass(r, RELAY_ACTION_DATA_REPLY);
	relay_transaction_over(r, false);
	relay_ready(r, now_us);
}

/* An answer inside the message: a refusal is passed at its end, all else is a failure. The connection is out of step
 * for good. */
static void
relay_in_body(struct relay *r)
{
	const uint16_t code = r->parser.reply.code;

	count(r, CTR_relay_early_replies);
	r->stage = RELAY_STAGE_BODY;
	if (!is_passable_refusal(code)) {
		relay_nonsense(r);
		return;
	}
	count(r, code < 500 ? CTR_relay_messages_deferred : CTR_relay_messages_refused);
	r->must_abort = true;
	relay_pass(r, RELAY_ACTION_MESSAGE_REPLY);
	r->n_accepted = 0;
	relay_end(r);
}

static void
relay_in_dot(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (code == 250) {
		count(r, CTR_relay_messages_accepted);
	} else if (is_passable_refusal(code)) {
		count(r, code < 500 ? CTR_relay_messages_deferred : CTR_relay_messages_refused);
	} else {
		relay_nonsense(r);
		return;
	}
	relay_pass(r, RELAY_ACTION_MESSAGE_REPLY);
	relay_transaction_over(r, true);
	relay_ready(r, now_us);
}

static void
relay_in_rset(struct relay *r, uint64_t now_us)
{
	/* RFC 5321 section 4.1.1.5 knows 250 alone: what it holds now is anyone's guess. */
	if (r->parser.reply.code >= 300) {
		relay_lose(r, true);
		return;
	}
	r->mail_open = false;
	r->n_accepted = 0;
	relay_ready(r, now_us);
}

static void
relay_handle_reply(struct relay *r, uint64_t now_us)
{
	smtp_reply_words(&r->parser.reply, r->words, sizeof(r->words));
	if (r->parser.reply.code == 421 && r->stage != RELAY_STAGE_QUIT) {
		count(r, CTR_relay_closing_replies);
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
	case RELAY_STAGE_BODY:
		relay_in_body(r);
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
		count(r, CTR_relay_unasked_replies);
		relay_lose(r, true);
		return;
	case RELAY_STAGE_QUIT: /* 221 or not: it closes now, or the time limit does */
	case RELAY_STAGE_CLOSED:
		return;
	}
}

/* --- doors --- */

void
relay_connected(struct relay *r, uint64_t now_us)
{
	if (r->stage != RELAY_STAGE_CONNECT)
		return;
	switch ((enum conf_client_address)r->client_address) {
	case CLIENT_ADDRESS_PROXY_V1:
		r->out_len = proxy_header_build_v1(&r->client.addrs, r->out);
		break;
	case CLIENT_ADDRESS_PROXY_V2:
		r->out_len = proxy_header_build_v2(&r->client.addrs, r->out);
		if (r->client.tls.version[0] != '\0')
			r->out_len = proxy_header_add_tls(r->out, r->out_len, &r->client.tls);
		break;
	case CLIENT_ADDRESS_NONE:
	case CLIENT_ADDRESS_XCLIENT:
		break;
	}
	relay_await(r, RELAY_STAGE_BANNER, now_us);
}

void
relay_tls_started(struct relay *r, uint64_t now_us)
{
	if (r->stage != RELAY_STAGE_TLS)
		return;
	relay_begin_greeting(r, now_us);
}

void
relay_tls_failed(struct relay *r, const char *words)
{
	if (r->stage != RELAY_STAGE_TLS)
		return;
	relay_words_set(r, words);
	relay_lose(r, false);
}

bool
relay_may_go_plain(const struct relay *r)
{
	return r->tls_failed && !r->tls_strict;
}

void
relay_disconnected(struct relay *r, uint64_t now_us)
{
	(void)now_us;
	if (r->stage == RELAY_STAGE_CLOSED)
		return;
	if (r->stage != RELAY_STAGE_QUIT) {
		relay_words_set(r, r->stage == RELAY_STAGE_CONNECT ? "no connection" : "connection lost");
		if (r->stage != RELAY_STAGE_READY || r->n_accepted > 0)
			count(r, CTR_relay_lost);
	}
	relay_lose(r, true);
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
			count(r, CTR_relay_unasked_replies);
			if (r->action == RELAY_ACTION_NONE && smtp_reply_parse(&r->parser, &v) == SMTP_REPLY_DONE)
				smtp_reply_words(&r->parser.reply, r->words, sizeof(r->words));
			relay_lose(r, true);
			break;
		}
		if (r->out_sent < r->out_len && r->stage != RELAY_STAGE_QUIT) {
			count(r, CTR_relay_unasked_replies);
			relay_words_set(r, "reply before the command");
			relay_nonsense(r);
			break;
		}
		if (r->stage == RELAY_STAGE_BODY)
			r->early = true;
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
			smtp_reply_parser_init(&r->parser);
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
	out_str(r, "DATA\r\n");
	relay_await(r, RELAY_STAGE_DATA, now_us);
}

/* The octets of a message or a chunk are all with the connection. */
static void
relay_body_end(struct relay *r, uint64_t now_us)
{
	r->phase_us = now_us;
	r->stage = !r->bdat || r->bdat_last ? RELAY_STAGE_DOT : RELAY_STAGE_DATA;
	if (!r->early)
		smtp_reply_parser_init(&r->parser);
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
	out_str(r, line);
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

/* When the stage's own time is over; UINT64_MAX: it has none. */
static uint64_t
relay_stage_end_us(const struct relay *r)
{
	switch ((enum relay_stage)r->stage) {
	case RELAY_STAGE_CONNECT:
		return MIN(r->phase_us + r->connect_us, r->setup_end_us);
	case RELAY_STAGE_BANNER:
		return MIN(r->phase_us + r->greeting_us, r->setup_end_us);
	case RELAY_STAGE_EHLO0:
	case RELAY_STAGE_STARTTLS:
	case RELAY_STAGE_TLS:
	case RELAY_STAGE_EHLO:
	case RELAY_STAGE_XCLIENT:
	case RELAY_STAGE_EHLO2:
		return r->setup_end_us;
	case RELAY_STAGE_MAIL:
	case RELAY_STAGE_RCPT:
		return r->request_end_us;
	case RELAY_STAGE_DATA:
	case RELAY_STAGE_RSET:
		return r->phase_us + r->reply_us;
	case RELAY_STAGE_AUTH: /* while a line of the client is under way, the dialogue has the time for it */
		return r->auth_line ? UINT64_MAX : r->phase_us + r->reply_us;
	case RELAY_STAGE_BODY:
		return r->phase_us + r->stall_us;
	case RELAY_STAGE_DOT:
		return r->phase_us + r->dot_us;
	case RELAY_STAGE_QUIT:
		return r->phase_us + RELAY_QUIT_US;
	case RELAY_STAGE_READY:
	case RELAY_STAGE_CLOSED:
		break;
	}
	return UINT64_MAX;
}

uint64_t
relay_deadline_us(const struct relay *r)
{
	const uint64_t end_us = relay_stage_end_us(r);

	if (r->action != RELAY_ACTION_NONE || r->after != RELAY_ACTION_NONE)
		return 0;
	return r->want_rcpt || r->want_auth ? MIN(end_us, r->request_end_us) : end_us;
}

static void
relay_timeout(struct relay *r)
{
	static const char *const what[] = {
		[RELAY_STAGE_CONNECT] = "no connection in time",
		[RELAY_STAGE_BANNER] = "no banner in time",
		[RELAY_STAGE_EHLO0] = "no answer to EHLO in time",
		[RELAY_STAGE_STARTTLS] = "no answer to STARTTLS in time",
		[RELAY_STAGE_TLS] = "no TLS handshake in time",
		[RELAY_STAGE_EHLO] = "no answer to EHLO in time",
		[RELAY_STAGE_XCLIENT] = "no answer to XCLIENT in time",
		[RELAY_STAGE_EHLO2] = "no answer to EHLO in time",
		[RELAY_STAGE_READY] = "",
		[RELAY_STAGE_AUTH] = "no answer to AUTH in time",
		[RELAY_STAGE_MAIL] = "no answer to MAIL in time",
		[RELAY_STAGE_RCPT] = "no answer to RCPT in time",
		[RELAY_STAGE_DATA] = "no answer to DATA in time",
		[RELAY_STAGE_BODY] = "takes no octets of the message",
		[RELAY_STAGE_DOT] = "no answer to the message in time",
		[RELAY_STAGE_RSET] = "no answer to RSET in time",
		[RELAY_STAGE_QUIT] = "no answer to QUIT in time",
		[RELAY_STAGE_CLOSED] = "",
	};
	const bool waited = r->want_rcpt;

	relay_words_set(r, what[r->stage]);
	if (r->stage != RELAY_STAGE_QUIT)
		count(r, CTR_relay_timeouts);
	if (r->stage == RELAY_STAGE_RSET && waited) {
		relay_fail(r); /* the recipient has waited: not once more with the same backend */
		return;
	}
	relay_lose(r, false);
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
		count(r, CTR_relay_failed);
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
relay_words(const struct relay *r)
{
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
relay_must_abort(const struct relay *r)
{
	return r->must_abort;
}
