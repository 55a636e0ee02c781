/*
 * relay_transaction.c - what is said behind the greeting and what the backend answers: MAIL, RCPT, DATA, BDAT, the message's end, RSET,
 *                       AUTH, QUIT.
 *
 * Flow:   relay_rcpt() and its sisters -> relay_advance() -> a command; relay_handle_reply() -> relay_in_mail() and its sisters
 * Pure:   octets and time are arguments; counters are the only thing written outside.
 * Keeps:  one command is under way at a time (MAIL and RCPT together where the backend offers PIPELINING); a 5xx reaches the client
 *         only where it is the backend's own word to the client's own command.
 * Source: POLICY section 5; RFC 5321 section 4.3.2; RFC 2920; RFC 4954.
 */
#include "dataplane/relay/relay_parts.h"

#include <string.h>
#include <strings.h>

#include "dataplane/base/bug.h"

/* What a message cannot do without. SIZE alone is advice. */
#define RELAY_NEEDS (EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN | EXT_BINARYMIME | EXT_CHUNKING)

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
			if ((r->ehlo.ext & known[i].ext) != 0 && (!relay_out_str(r, " ") || !relay_out_add(r, p, len)))
				return false;
		}
		p += len;
	}
	return true;
}

static bool
out_path_command(struct relay *r, const char *verb, const char *path, const char *params)
{
	return relay_out_str(r, verb) && relay_out_str(r, path) && relay_out_str(r, ">") && out_params(r, params) &&
	       relay_out_str(r, "\r\n");
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
		relay_count(r, CTR_relay_lacks);
		relay_answer_rcpt(r, 451, "4.3.0", "Mail server does not take this kind of message at the moment");
		return;
	}
	if (r->ehlo.size_octets != 0 && r->size_octets > r->ehlo.size_octets) {
		relay_count(r, CTR_relay_too_big);
		relay_answer_rcpt(r, 554, "5.3.4", "Message size exceeds the limit of the receiving server");
		return;
	}
	if (with_mail)
		ok = ok && out_path_command(r, "MAIL FROM:<", r->request, r->request + r->mail_params_at);
	if (with_rcpt)
		ok = ok && out_path_command(r, "RCPT TO:<", r->request + r->rcpt_at, r->request + r->rcpt_params_at);
	if (!ok) {
		r->out_len = before;
		relay_count(r, CTR_relay_bad_request);
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
		relay_count(r, CTR_relay_bad_request);
		relay_answer_rcpt(r, 451, "4.3.0", RELAY_FAILURE_TEXT);
		return;
	}
	r->rcpt_sent = true;
	relay_await(r, RELAY_STAGE_RCPT, now_us);
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
	relay_out_add(r, r->request, r->auth_octets);
	if (r->auth_whole)
		relay_out_str(r, "\r\n");
	r->auth_line = !r->auth_whole;
	relay_forget_auth(r);
	relay_await(r, RELAY_STAGE_AUTH, now_us);
}

/* Nothing is under way: begins what waits. */
void
relay_advance(struct relay *r, uint64_t now_us)
{
	if (r->stage != RELAY_STAGE_READY)
		return;
	r->muted = false;
	if (r->want_quit) {
		r->want_quit = r->want_rcpt = r->want_reset = false;
		relay_out_str(r, "QUIT\r\n");
		relay_await(r, RELAY_STAGE_QUIT, now_us);
	} else if (r->want_reset) {
		r->want_reset = false;
		relay_out_str(r, "RSET\r\n");
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

void
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

static bool
is_passable_refusal(uint16_t code)
{
	return code >= 400 && code <= 599 && code != 421;
}

/*
 * 530 Must issue a STARTTLS command first (RFC 3207 section 4): said to us, who came without TLS, and not to the client, who would take the mail
 * back for good. tls = require is what the configuration lacks; the words tell.
 */
static bool
is_demand_for_tls(const struct smtp_reply *reply)
{
	char words[RELAY_WORDS_OCTETS];

	if (reply->code != 530)
		return false;
	smtp_reply_words(reply, words, sizeof(words));
	return strcasestr(words, "STARTTLS") != NULL;
}

void
relay_pass(struct relay *r, enum relay_action action)
{
	r->at = r->stage;
	if (r->muted)
		return;
	smtp_reply_copy(&r->reply, &r->parser.reply);
	relay_say(r, action);
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
		smtp_reply_copy(&r->reply, from);
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

void
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
	if (is_demand_for_tls(&r->parser.reply)) {
		relay_lose(r, false);
		return;
	}
	if (!is_passable_refusal(code)) {
		relay_nonsense(r);
		return;
	}
	relay_count(r, CTR_relay_mail_refused);
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

void
relay_in_rcpt(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (r->mail_refused) {
		relay_in_rcpt_unwanted(r, now_us);
		return;
	}
	if (code >= 250 && code <= 252) {
		relay_count(r, CTR_relay_rcpt_accepted);
		if (!r->muted)
			r->n_accepted++;
	} else if (is_demand_for_tls(&r->parser.reply)) {
		relay_lose(r, false);
		return;
	} else if (is_passable_refusal(code)) {
		relay_count(r, code < 500 ? CTR_relay_rcpt_deferred : CTR_relay_rcpt_refused);
	} else {
		relay_nonsense(r);
		return;
	}
	relay_pass(r, RELAY_ACTION_RCPT_REPLY);
	relay_ready(r, now_us);
}

/* Whatever its answer says, none of it is for the log. */
void
relay_in_auth(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	relay_words_set(r, "");
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
	relay_count(r, code == 235 ? CTR_relay_auth_accepted : CTR_relay_auth_refused);
	relay_ready(r, now_us);
}

/* DATA's answer, or that to a chunk which is not the last. */
void
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
	relay_count(r, CTR_relay_data_refused);
	relay_pass(r, RELAY_ACTION_DATA_REPLY);
	relay_transaction_over(r, false);
	relay_ready(r, now_us);
}

/* An answer inside the message: a refusal is passed at its end, all else is a failure. The connection is out of step
 * for good. */
void
relay_in_body(struct relay *r)
{
	const uint16_t code = r->parser.reply.code;

	relay_count(r, CTR_relay_early_replies);
	r->stage = RELAY_STAGE_BODY;
	if (!is_passable_refusal(code)) {
		relay_nonsense(r);
		return;
	}
	relay_count(r, code < 500 ? CTR_relay_messages_deferred : CTR_relay_messages_refused);
	r->must_abort = true;
	relay_pass(r, RELAY_ACTION_MESSAGE_REPLY);
	r->n_accepted = 0;
	relay_end(r);
}

void
relay_in_dot(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (code == 250) {
		relay_count(r, CTR_relay_messages_accepted);
	} else if (is_passable_refusal(code)) {
		relay_count(r, code < 500 ? CTR_relay_messages_deferred : CTR_relay_messages_refused);
	} else {
		relay_nonsense(r);
		return;
	}
	relay_pass(r, RELAY_ACTION_MESSAGE_REPLY);
	relay_transaction_over(r, true);
	relay_ready(r, now_us);
}

void
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
