/*
 * smtp_cmd.c - see smtp_cmd.h.
 *
 * Pure:   a line and the session's state; no clock.
 */
#include "dataplane/smtp/smtp_cmd.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"
#include "dataplane/smtp/smtp_auth.h"
#include "dataplane/smtp/smtp_path.h"

#define ST(name) (1u << SMTP_ST_##name)
#define ST_ANY   (ST(GREETED) | ST(READY) | ST(MAIL) | ST(RCPT) | ST(CHUNK))

/* RCPT commands of one transaction that are answered one by one, whatever became of them: a bound for who only probes names. */
#define RCPTS_TRIED_FACTOR 10
#define RCPTS_MIN          100 /* RFC 5321 section 4.5.3.1.8: these are always taken */

static const struct smtp_refusal fine;

static struct smtp_refusal
refusal(uint16_t code, const char *enhanced, const char *text)
{
	return (struct smtp_refusal){ code, enhanced, text };
}

static struct smtp_refusal
check_no_args(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)s;
	(void)env;
	return args.len_octets == 0 ? fine : refusal(501, "5.5.4", "No parameters allowed");
}

/* How many octets come before the first space or tab. */
static uint32_t
first_word(struct smtp_str text)
{
	return text_first_blank(text.ptr, text.len_octets);
}

/* HELO and EHLO: the first word is the name. Its truth is nobody's business here (RFC 5321 section 4.1.4). */
static struct smtp_refusal
check_helo(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	const uint32_t n = first_word(args);

	(void)s;
	(void)env;
	if ((text_kinds(args.ptr, n) & TEXT_8BIT) != 0)
		return refusal(501, "5.5.4", "Host name must be ASCII");
	if (n == 0)
		return refusal(501, "5.5.4", "Host name or address literal required");
	if (n >= SMTP_HELO_MAX_OCTETS)
		return refusal(501, "5.5.4", "Host name too long");
	return fine;
}

/* A greeting ends what was before it (RFC 5321 section 4.1.4). */
static void
take_helo(struct smtp_session *s, struct smtp_str args, bool esmtp)
{
	const uint32_t n = first_word(args);

	memcpy(s->helo, args.ptr, n);
	s->helo[n] = '\0';
	s->esmtp = esmtp;
	s->chunks_failed = 0;
	if (s->state != SMTP_ST_GREETED)
		smtp_tell(s, SMTP_ACTION_RESET);
	smtp_tell(s, SMTP_ACTION_EHLO);
	smtp_state_set(s, SMTP_ST_READY);
}

static void
apply_helo(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	take_helo(s, args, false);
	smtp_say(s, 250, NULL, env->conf->hostname);
}

static void
apply_ehlo(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	char text[SMTP_EHLO_MAX_OCTETS];

	take_helo(s, args, true);
	s->offered = (env->ext & ~(uint32_t)EXT_SIZE) | (env->size_octets > 0 ? EXT_SIZE : 0) |
	             (smtp_ehlo_auth(env, s->tls) ? EXT_AUTH : 0);
	s->offered_tls = smtp_ehlo_starttls(env, s->tls);
	if (env->ehlo != NULL)
		smtp_say_raw(s, env->ehlo, env->ehlo_octets);
	else
		smtp_say_raw(s, text, smtp_ehlo_write(text, env, s->tls));
}

/*
 * What a command may use: what is offered now and what this session was offered. A backend that lost an extension in between is no
 * fault of the client, which must not get a 5xx for it (P2): the relay answers 451.
 */
static uint32_t
usable_ext(const struct smtp_session *s, const struct smtp_env *env)
{
	const uint32_t now = (env->ext & ~(uint32_t)EXT_SIZE) | (env->size_octets > 0 ? EXT_SIZE : 0);

	return s->esmtp ? now | s->offered : now;
}

/* "FROM:" or "TO:" at the start of args, without a space before the colon; word is in small letters, and n octets. */
static inline bool
eat_word(struct smtp_str *args, const char *word, uint32_t n)
{
	if (args->len_octets < n || args->ptr[n - 1] != ':')
		return false;
	for (uint32_t i = 0; i < n - 1; i++)
		if ((args->ptr[i] | 0x20) != word[i]) /* by that bit only a letter becomes a small one */
			return false;
	args->ptr += n;
	args->len_octets -= n;
	return true;
}

/* Keeps parameters as the client sent them, with the space before them; a TAB between them becomes one. */
static bool
keep_params(struct smtp_str text, char out[SMTP_PARAMS_MAX_OCTETS], uint16_t *len)
{
	if (text.len_octets >= SMTP_PARAMS_MAX_OCTETS)
		return false;
	for (uint32_t i = 0; i < text.len_octets; i++)
		out[i] = text.ptr[i] == '\t' ? ' ' : text.ptr[i];
	out[text.len_octets] = '\0';
	*len = (uint16_t)text.len_octets;
	return true;
}

enum {
	SEEN_SIZE = 1,
	SEEN_BODY = 2,
	SEEN_UTF8 = 4,
	SEEN_RET = 8,
	SEEN_ENVID = 16,
	SEEN_NOTIFY = 32,
	SEEN_ORCPT = 64,
	SEEN_AUTH = 128
};

static const struct smtp_refusal bad_param = { 501, "5.5.4", "Bad value of a parameter" };

static struct smtp_refusal
fine_if(bool ok)
{
	return ok ? fine : bad_param;
}

/* One of each kind; a second is bad_param as well. */
static bool
seen_first(uint32_t *seen, uint32_t what)
{
	const bool first = (*seen & what) == 0;

	*seen |= what;
	return first;
}

static struct smtp_refusal
param_size(struct smtp_envelope *e, const struct smtp_env *env, struct smtp_str value)
{
	const uint64_t limit = smtp_size_limit(env);

	if (!smtp_str_number(value, &e->size_octets))
		return bad_param;
	e->needs |= EXT_SIZE;
	if (limit > 0 && e->size_octets > limit) {
		counter_inc(env->counters, CTR_smtp_too_large);
		return refusal(552, "5.3.4", "Message size exceeds fixed limit");
	}
	return fine;
}

static struct smtp_refusal
param_body(struct smtp_envelope *e, uint32_t ext, struct smtp_str value)
{
	e->needs |= EXT_8BITMIME;
	if (smtp_str_is(value, "7BIT") || smtp_str_is(value, "8BITMIME"))
		return fine;
	if (!smtp_str_is(value, "BINARYMIME") || (ext & EXT_BINARYMIME) == 0 || (ext & EXT_CHUNKING) == 0)
		return bad_param;
	e->needs |= EXT_BINARYMIME | EXT_CHUNKING;
	return fine;
}

static struct smtp_refusal
mail_param(
	struct smtp_envelope *e, const struct smtp_env *env, uint32_t ext, const struct smtp_param *p, uint32_t *seen)
{
	if (smtp_str_is(p->name, "SIZE") && (ext & EXT_SIZE) != 0)
		return seen_first(seen, SEEN_SIZE) ? param_size(e, env, p->value) : bad_param;
	if (smtp_str_is(p->name, "BODY") && (ext & EXT_8BITMIME) != 0)
		return seen_first(seen, SEEN_BODY) ? param_body(e, ext, p->value) : bad_param;
	if (smtp_str_is(p->name, "SMTPUTF8") && (ext & EXT_SMTPUTF8) != 0) {
		e->needs |= EXT_SMTPUTF8;
		return fine_if(seen_first(seen, SEEN_UTF8) && p->value.ptr == NULL);
	}
	if (smtp_str_is(p->name, "RET") && (ext & EXT_DSN) != 0) {
		e->needs |= EXT_DSN;
		return fine_if(
			seen_first(seen, SEEN_RET) && (smtp_str_is(p->value, "FULL") || smtp_str_is(p->value, "HDRS")));
	}
	if (smtp_str_is(p->name, "ENVID") && (ext & EXT_DSN) != 0) { /* RFC 3461 section 5.4: at most 100 octets */
		e->needs |= EXT_DSN;
		return fine_if(
			seen_first(seen, SEEN_ENVID) && p->value.len_octets <= 100 && smtp_str_is_xtext(p->value));
	}
	if (smtp_str_is(p->name, "AUTH") && (ext & EXT_AUTH) != 0) /* RFC 4954 section 5: xtext, or <> */
		return fine_if(
			seen_first(seen, SEEN_AUTH) && p->value.len_octets <= 500 && smtp_str_is_xtext(p->value));
	return refusal(555, "5.5.4", "Unsupported parameter of MAIL");
}

static struct smtp_refusal
path_refusal(enum smtp_path_result result, const char *enhanced, const char *what)
{
	switch (result) {
	case SMTP_PATH_OK:
		break;
	case SMTP_PATH_SYNTAX:
		return refusal(501, enhanced, what);
	case SMTP_PATH_TOO_LONG:
		return refusal(501, enhanced, "Address too long");
	case SMTP_PATH_NOT_UTF8:
		return refusal(553, "5.6.7", "Address is not valid UTF-8");
	}
	return fine;
}

static const struct smtp_refusal not_utf8 = { 553, "5.6.7", "Non-ASCII address needs SMTPUTF8" };

static struct smtp_refusal
check_mail(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	struct smtp_envelope *e = &s->envelope;
	const uint32_t ext = usable_ext(s, env);
	struct smtp_refusal why;
	struct smtp_param param;
	struct smtp_str rest;
	uint32_t seen = 0;
	int more;

	smtp_envelope_clear(e);
	if (!eat_word(&args, "from:", 5))
		return refusal(501, "5.5.4", "Syntax: MAIL FROM:<address>");
	why = path_refusal(smtp_path_parse(args, &e->from, &rest), "5.1.7", "Bad sender address syntax");
	if (why.code != 0)
		return why.code == 553 && (ext & EXT_SMTPUTF8) == 0 ? not_utf8 : why;
	if (!keep_params(rest, e->mail_params, &e->mail_params_len))
		return refusal(501, "5.5.4", "Parameters too long");
	while ((more = smtp_param_next(&rest, &param)) > 0) {
		why = s->esmtp ? mail_param(e, env, ext, &param, &seen)
		               : refusal(555, "5.5.4", "No parameters after HELO");
		if (why.code != 0)
			return why;
	}
	if (more < 0)
		return bad_param;
	if (e->from.has_8bit && (e->needs & EXT_SMTPUTF8) == 0)
		return not_utf8;
	return fine;
}

static void
apply_mail(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)args;
	if (env->conf->messages_max > 0 && s->n_messages >= env->conf->messages_max) {
		counter_inc(env->counters, CTR_smtp_too_many_messages);
		smtp_close(s, 421, "4.7.0", "Too many messages in one session", SMTP_ACTION_CLOSE);
		return;
	}
	counter_inc(env->counters, CTR_smtp_transactions);
	s->mail_needs = s->envelope.needs;
	s->n_rcpts_tried = 0;
	s->message_octets = 0;
	s->bdat = false;
	s->chunks_failed = 0;
	smtp_tell(s, SMTP_ACTION_MAIL);
	smtp_state_set(s, SMTP_ST_MAIL);
	smtp_say_raw(s, SMTP_FIXED("250 2.1.0 Ok\r\n"));
}

/* "NEVER", or a list of SUCCESS, FAILURE, DELAY (RFC 3461 section 4.1). */
static bool
is_notify(struct smtp_str value)
{
	if (smtp_str_is(value, "NEVER"))
		return true;
	for (;;) {
		const char *comma = value.len_octets > 0 ? memchr(value.ptr, ',', value.len_octets) : NULL;
		const uint32_t n = comma != NULL ? (uint32_t)(comma - value.ptr) : value.len_octets;
		const struct smtp_str word = { value.ptr, n };

		if (!smtp_str_is(word, "SUCCESS") && !smtp_str_is(word, "FAILURE") && !smtp_str_is(word, "DELAY"))
			return false;
		if (comma == NULL)
			return true;
		value.ptr += word.len_octets + 1;
		value.len_octets -= word.len_octets + 1;
	}
}

/* "rfc822;xtext" of at most 500 octets (RFC 3461 section 4.2), "utf-8;" with UTF-8 too (RFC 6533 section 3). */
static bool
is_orcpt(struct smtp_str value, bool utf8)
{
	const char *semi = value.len_octets > 0 ? memchr(value.ptr, ';', value.len_octets) : NULL;
	uint32_t type;

	if (semi == NULL || value.len_octets > 500)
		return false;
	type = (uint32_t)(semi - value.ptr);
	value.ptr += type + 1;
	value.len_octets -= type + 1;
	if (utf8 && smtp_str_is((struct smtp_str){ semi - type, type }, "utf-8"))
		return value.len_octets > 0;
	return type > 0 && smtp_str_is_xtext(value);
}

static struct smtp_refusal
rcpt_param(struct smtp_envelope *e, uint32_t ext, const struct smtp_param *p, uint32_t *seen)
{
	e->needs |= EXT_DSN;
	if (smtp_str_is(p->name, "NOTIFY") && (ext & EXT_DSN) != 0)
		return fine_if(seen_first(seen, SEEN_NOTIFY) && is_notify(p->value));
	if (smtp_str_is(p->name, "ORCPT") && (ext & EXT_DSN) != 0)
		return fine_if(seen_first(seen, SEEN_ORCPT) && is_orcpt(p->value, (e->needs & EXT_SMTPUTF8) != 0));
	return refusal(555, "5.5.4", "Unsupported parameter of RCPT");
}

static struct smtp_refusal
parse_rcpt(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	struct smtp_envelope *e = &s->envelope;
	struct smtp_refusal why;
	struct smtp_param param;
	struct smtp_str rest;
	uint32_t seen = 0;
	int more;

	if (!eat_word(&args, "to:", 3))
		return refusal(501, "5.5.4", "Syntax: RCPT TO:<address>");
	why = path_refusal(smtp_path_parse(args, &e->rcpt, &rest), "5.1.3", "Bad recipient address syntax");
	if (why.code != 0)
		return why.code == 553 && (s->mail_needs & EXT_SMTPUTF8) == 0 ? not_utf8 : why;
	if (e->rcpt.len_octets == 0)
		return refusal(501, "5.1.3", "Bad recipient address syntax");
	if (!keep_params(rest, e->rcpt_params, &e->rcpt_params_len))
		return refusal(501, "5.5.4", "Parameters too long");
	e->needs = s->mail_needs;
	while ((more = smtp_param_next(&rest, &param)) > 0) {
		why = s->esmtp ? rcpt_param(e, usable_ext(s, env), &param, &seen)
		               : refusal(555, "5.5.4", "No parameters after HELO");
		if (why.code != 0)
			return why;
	}
	if (more < 0)
		return bad_param;
	if (e->rcpt.has_8bit && (e->needs & EXT_SMTPUTF8) == 0)
		return not_utf8;
	return fine;
}

static struct smtp_refusal
check_rcpt(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	const uint32_t max = MAX(env->conf->rcpts_max, RCPTS_MIN);
	struct smtp_refusal why = fine;

	s->n_rcpts_tried += s->n_rcpts_tried < UINT32_MAX;
	if (s->envelope.n_rcpts >= max || s->n_rcpts_tried > (uint64_t)max * RCPTS_TRIED_FACTOR) {
		counter_inc(env->counters, CTR_smtp_too_many_rcpts);
		why = refusal(452, "4.5.3", "Too many recipients");
	} else {
		why = parse_rcpt(s, env, args);
	}
	if (why.code >= 500) {
		s->envelope.n_refused++;
		counter_inc(env->counters, CTR_smtp_rcpts_refused);
	} else if (why.code >= 400) {
		s->envelope.n_deferred++;
		counter_inc(env->counters, CTR_smtp_rcpts_deferred);
	}
	return why;
}

static void
apply_rcpt(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)env;
	(void)args;
	smtp_tell(s, SMTP_ACTION_RCPT);
	smtp_state_set(s, SMTP_ST_RCPT_WAIT);
}

/* DATA or BDAT without an accepted recipient: never 5xx when one was deferred, or the sender would bounce it. */
static struct smtp_refusal
no_rcpts(const struct smtp_session *s)
{
	if (s->envelope.n_deferred > 0)
		return refusal(451, "4.7.1", "No recipient accepted yet, please try again");
	if (s->envelope.n_refused > 0)
		return refusal(554, "5.5.1", "No valid recipients");
	return refusal(503, "5.5.1", "Need RCPT command");
}

static struct smtp_refusal
check_data(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	if (args.len_octets > 0)
		return check_no_args(s, env, args);
	if ((s->mail_needs & EXT_BINARYMIME) != 0)
		return refusal(503, "5.5.1", "BODY=BINARYMIME needs BDAT");
	return fine;
}

static void
apply_data(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)args;
	if (s->envelope.n_rcpts == 0) {
		const struct smtp_refusal why = no_rcpts(s);

		smtp_refuse(s, env, why, why.code == 503); /* else the fault was counted, or not, at RCPT */
		return;
	}
	smtp_data_init(&s->data, (enum conf_bare_lf)env->conf->bare_lf);
	smtp_tell(s, SMTP_ACTION_DATA);
	smtp_state_set(s, SMTP_ST_DATA_WAIT);
}

/* "BDAT SIZE [LAST]" (RFC 3030 section 2). What has no size cannot be stepped over: what follows might be octets of a message. */
static bool
parse_bdat(struct smtp_session *s, struct smtp_str args)
{
	struct smtp_str size = args;
	uint32_t n = 0;

	while (n < args.len_octets && args.ptr[n] != ' ' && args.ptr[n] != '\t')
		n++;
	size.len_octets = n;
	while (n < args.len_octets && (args.ptr[n] == ' ' || args.ptr[n] == '\t'))
		n++;
	args.ptr += n;
	args.len_octets -= n;
	s->chunk_last = smtp_str_is(args, "LAST");
	return smtp_str_number(size, &s->chunk_octets) && (args.len_octets == 0 || s->chunk_last);
}

/* Why a chunk is not wanted, whose octets come all the same. */
static struct smtp_refusal
bdat_refusal(const struct smtp_session *s, const struct smtp_env *env)
{
	const uint64_t limit = env->conf->message_max_octets;

	if (s->chunks_failed == 4) /* chunks sent before our 4xx was read: the message's fate stays temporary */
		return refusal(451, "4.3.0", "Transaction failed, please try again");
	if ((usable_ext(s, env) & EXT_CHUNKING) == 0 || !s->esmtp)
		return refusal(502, "5.5.1", "Command not implemented");
	if (s->state == SMTP_ST_CHUNK || s->state == SMTP_ST_RCPT) {
		if (limit > 0 && (s->chunk_octets > limit || s->message_octets > limit - s->chunk_octets))
			return refusal(552, "5.3.4", "Message size exceeds fixed limit");
		return fine;
	}
	return s->state == SMTP_ST_MAIL ? no_rcpts(s) : refusal(503, "5.5.1", "Need MAIL command");
}

static void
swallow_chunk(struct smtp_session *s, const struct smtp_env *env, struct smtp_refusal why)
{
	counter_inc(env->counters, CTR_smtp_swallowed);
	if (why.code == 552)
		counter_inc(env->counters, CTR_smtp_too_large);
	if (s->state == SMTP_ST_CHUNK)
		smtp_tell(s, SMTP_ACTION_ABORT);
	else if (why.code == 552)
		smtp_tell(s, SMTP_ACTION_RESET);
	if (why.code == 552) {
		s->chunks_failed = 5;
		smtp_state_set(s, SMTP_ST_READY);
	}
	if (s->chunk_last)
		s->chunks_failed = 0;
	smtp_refuse(s, env, why, false);
	s->resume = s->state;
	s->chunk_left = s->chunk_octets;
	if (s->chunk_left > 0)
		smtp_state_set(s, SMTP_ST_SWALLOW);
}

static void
apply_bdat(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	struct smtp_refusal why;

	if (!parse_bdat(s, args)) {
		counter_inc(env->counters, CTR_smtp_errors);
		smtp_close(s, 501, "5.5.4", "Syntax: BDAT SIZE [LAST]", SMTP_ACTION_CLOSE);
		return;
	}
	if (s->chunk_octets == 0 && !smtp_count_command(s, env)) /* empty chunks for ever */
		return;
	s->held = false;
	why = bdat_refusal(s, env);
	if (why.code != 0) {
		swallow_chunk(s, env, why);
		return;
	}
	counter_inc(env->counters, CTR_smtp_chunks);
	s->bdat = true;
	s->chunk_left = s->chunk_octets;
	smtp_tell(s, SMTP_ACTION_DATA);
	smtp_state_set(s, SMTP_ST_DATA_WAIT);
}

static void
apply_rset(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)env;
	(void)args;
	s->chunks_failed = 0;
	if (s->state != SMTP_ST_GREETED) {
		smtp_tell(s, SMTP_ACTION_RESET);
		smtp_state_set(s, SMTP_ST_READY);
	}
	smtp_say(s, 250, "2.0.0", "Ok");
}

static void
apply_noop(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)env;
	(void)args;
	smtp_say(s, 250, "2.0.0", "Ok");
}

static struct smtp_refusal
check_vrfy(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)s;
	(void)env;
	return args.len_octets > 0 ? fine : refusal(501, "5.5.4", "Syntax: VRFY address");
}

static void
apply_vrfy(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)env;
	(void)args;
	smtp_say(s, 252, "2.5.0", "Cannot verify the user, but will take a message for it");
}

static void
apply_help(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)env;
	(void)args;
	smtp_say(s, 214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT");
}

/* EXPN, ETRN, and what only a trusted peer may say: XCLIENT, XFORWARD, PROXY. Never forwarded. */
static struct smtp_refusal
check_never(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)s;
	(void)env;
	(void)args;
	return refusal(502, "5.5.1", "Command not implemented");
}

/*
 * AUTH on a listener that carries it to the backend. The mechanism must be one that was offered: -PLUS binds to a TLS channel that ends
 * here, and by EXTERNAL a backend would take the client for us.
 */
static struct smtp_refusal
check_auth(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	uint32_t n = 0;

	if (env->auth == 0 && (s->offered & EXT_AUTH) != 0 && s->esmtp)
		return refusal(454, "4.7.0", "Temporary authentication failure, please try again later");
	if (env->auth == 0)
		return check_never(s, env, args);
	if (s->state != SMTP_ST_READY || !s->esmtp)
		return refusal(503, "5.5.1",
			s->state == SMTP_ST_GREETED || !s->esmtp ? "Send EHLO first"
								 : "AUTH is not allowed inside a transaction");
	if (s->authenticated)
		return refusal(503, "5.5.1", "Already authenticated");
	if (!smtp_ehlo_auth(env, s->tls))
		return refusal(538, "5.7.11", "Encryption required for authentication");
	while (n < args.len_octets && args.ptr[n] != ' ')
		n++;
	for (uint32_t i = 0; i < args.len_octets; i++)
		if (args.ptr[i] < 0x20 || args.ptr[i] > 0x7e)
			return refusal(501, "5.5.2", "Line holds octets that are not allowed");
	if (n == 0)
		return refusal(501, "5.5.4", "Syntax: AUTH mechanism");
	if ((smtp_auth_bit(args.ptr, n) & env->auth) == 0)
		return refusal(504, "5.5.4", "Unrecognized authentication type");
	return fine;
}

/* The command as one line; what came with it lies in the client's segment or in the line's own room. */
static void
apply_auth(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	memmove(s->line.text + 5, args.ptr, args.len_octets);
	memcpy(s->line.text, "AUTH ", 5);
	smtp_auth_begin(s, env, args.len_octets + 5, true);
}

void
smtp_auth_begin(struct smtp_session *s, const struct smtp_env *env, uint32_t len_octets, bool whole)
{
	counter_inc(env->counters, CTR_smtp_auths);
	s->auth_octets = (uint16_t)len_octets;
	s->auth_whole = whole;
	smtp_tell(s, SMTP_ACTION_AUTH);
	smtp_state_set(s, SMTP_ST_AUTH_WAIT);
}

static struct smtp_refusal
check_starttls(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	struct smtp_refusal why;

	if (s->tls)
		return refusal(503, "5.5.1", "TLS is in use already");
	if (!env->starttls && !s->offered_tls)
		return check_never(s, env, args);
	if (s->state == SMTP_ST_GREETED)
		return refusal(503, "5.5.1", "Send EHLO first");
	if (s->authenticated) /* the session would have to be forgotten, which the backend cannot be told */
		return refusal(503, "5.5.1", "Already authenticated");
	why = check_no_args(s, env, args);
	if (why.code == 0 && (env->starttls_busy || !env->starttls)) {
		counter_inc(env->counters, CTR_tls_busy);
		return refusal(454, "4.7.0", "TLS not available at the moment, please try again later");
	}
	return why;
}

static void
apply_starttls(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)args;
	counter_inc(env->counters, CTR_smtp_starttls);
	smtp_tell(s, SMTP_ACTION_RESET);
	smtp_tell(s, SMTP_ACTION_STARTTLS);
	s->tls_wait = true; /* until then every octet is dropped: it was not said under TLS */
	smtp_state_set(s, SMTP_ST_READY);
	smtp_say(s, 220, "2.0.0", "Ready to start TLS");
}

static void
apply_quit(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)args;
	counter_inc(env->counters, CTR_smtp_quits);
	smtp_close_raw(s, SMTP_FIXED("221 2.0.0 Bye\r\n"), SMTP_ACTION_QUIT);
}

static struct smtp_refusal
check_any(struct smtp_session *s, const struct smtp_env *env, struct smtp_str args)
{
	(void)s;
	(void)env;
	(void)args;
	return fine;
}

/* The first four octets of a verb as a word, in small letters: all verbs are letters, and no two of ours are the same in these. */
#define VERB(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define VERB_SMALL       UINT32_C(0x20202020)

/* clang-format off */
/* X(name, its first four octets, in order in, uncounted, check, apply) */
#define COMMANDS(X)                                                                                                    \
	X(EHLO,     VERB('e', 'h', 'l', 'o'), ST_ANY,               false, check_helo,     apply_ehlo)                 \
	X(HELO,     VERB('h', 'e', 'l', 'o'), ST_ANY,               false, check_helo,     apply_helo)                 \
	X(MAIL,     VERB('m', 'a', 'i', 'l'), ST(READY),            false, check_mail,     apply_mail)                 \
	X(RCPT,     VERB('r', 'c', 'p', 't'), ST(MAIL) | ST(RCPT),  true,  check_rcpt,     apply_rcpt)                 \
	X(DATA,     VERB('d', 'a', 't', 'a'), ST(MAIL) | ST(RCPT),  false, check_data,     apply_data)                 \
	X(BDAT,     VERB('b', 'd', 'a', 't'), ST_ANY | ST(REFUSED), true,  check_any,      apply_bdat)                 \
	X(RSET,     VERB('r', 's', 'e', 't'), ST_ANY,               false, check_no_args,  apply_rset)                 \
	X(NOOP,     VERB('n', 'o', 'o', 'p'), ST_ANY,               false, check_any,      apply_noop)                 \
	X(QUIT,     VERB('q', 'u', 'i', 't'), ST_ANY | ST(REFUSED), false, check_no_args,  apply_quit)                 \
	X(VRFY,     VERB('v', 'r', 'f', 'y'), ST_ANY,               false, check_vrfy,     apply_vrfy)                 \
	X(HELP,     VERB('h', 'e', 'l', 'p'), ST_ANY,               false, check_any,      apply_help)                 \
	X(STARTTLS, VERB('s', 't', 'a', 'r'), ST_ANY,               false, check_starttls, apply_starttls)             \
	X(EXPN,     VERB('e', 'x', 'p', 'n'), ST_ANY,               false, check_never,    apply_noop)                 \
	X(AUTH,     VERB('a', 'u', 't', 'h'), ST_ANY,               false, check_auth,     apply_auth)                 \
	X(ETRN,     VERB('e', 't', 'r', 'n'), ST_ANY,               false, check_never,    apply_noop)                 \
	X(XCLIENT,  VERB('x', 'c', 'l', 'i'), ST_ANY,               false, check_never,    apply_noop)                 \
	X(XFORWARD, VERB('x', 'f', 'o', 'r'), ST_ANY,               false, check_never,    apply_noop)                 \
	X(PROXY,    VERB('p', 'r', 'o', 'x'), ST_ANY,               false, check_never,    apply_noop)
/* clang-format on */

enum {
#define X(name, verb, states, uncounted, check, apply) COMMAND_##name,
	COMMANDS(X)
#undef X
};

static const struct smtp_cmd commands[] = {
#define X(name, verb, states, uncounted, check, apply) { #name, states, uncounted, check, apply },
	COMMANDS(X)
#undef X
};

const struct smtp_cmd *
smtp_cmd_find(struct smtp_str line, struct smtp_str *args)
{
	struct smtp_str verb = { line.ptr, 4 };
	const struct smtp_cmd *cmd;
	uint32_t first;

	/* four octets and the end or a space: no space among the four will be taken for a letter */
	if (line.len_octets < 4 || (line.len_octets > 4 && line.ptr[4] != ' '))
		verb.len_octets = first_word(line);

	*args = (struct smtp_str){ line.ptr + verb.len_octets, line.len_octets - verb.len_octets };
	while (args->len_octets > 0 && (args->ptr[0] == ' ' || args->ptr[0] == '\t')) {
		args->ptr++;
		args->len_octets--;
	}
	while (args->len_octets > 0 &&
		(args->ptr[args->len_octets - 1] == ' ' || args->ptr[args->len_octets - 1] == '\t'))
		args->len_octets--;
	if (verb.len_octets < 4) /* none of them is so short */
		return NULL;
	memcpy(&first, verb.ptr, 4);
	switch (first | VERB_SMALL) {
#define X(name, word, states, uncounted, check, apply)                                                                 \
	case word:                                                                                                     \
		cmd = &commands[COMMAND_##name];                                                                       \
		break;
		COMMANDS(X)
#undef X
	default:
		return NULL;
	}
	/* four letters and nothing else: by that bit only a letter becomes a small one */
	return (verb.len_octets == 4 && cmd->name[4] == '\0') || smtp_str_is(verb, cmd->name) ? cmd : NULL;
}

bool
smtp_cmd_is_auth(const struct smtp_cmd *cmd)
{
	return cmd != NULL && cmd->apply == apply_auth;
}

bool
smtp_cmd_before_tls(const struct smtp_cmd *cmd)
{
	/* BDAT says its own refusal: its octets follow whatever we answer */
	static const char *const names[] = { "EHLO", "HELO", "NOOP", "RSET", "QUIT", "STARTTLS", "BDAT" };

	for (uint32_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(cmd->name, names[i]) == 0)
			return true;
	return false;
}

/* A certificate that we lack is our own failure: no 5xx for it. */
struct smtp_refusal
smtp_needs_tls(const struct smtp_env *env)
{
	if (env->starttls_busy)
		return refusal(454, "4.7.0", "TLS is required here and not available at the moment");
	return refusal(530, "5.7.0", "Must issue a STARTTLS command first");
}

const struct smtp_refusal smtp_only_quit = { 503, "5.5.1", "No service for you here, only QUIT" };

struct smtp_refusal
smtp_cmd_out_of_order(const struct smtp_session *s, const struct smtp_cmd *cmd)
{
	if (s->state == SMTP_ST_REFUSED)
		return smtp_only_quit;
	if (s->state == SMTP_ST_GREETED)
		return refusal(503, "5.5.1", "Send EHLO first");
	if (s->state == SMTP_ST_CHUNK)
		return refusal(503, "5.5.1", "A message is under way, BDAT or RSET expected");
	if (cmd->apply == apply_mail)
		return refusal(503, "5.5.1", "Nested MAIL command");
	return refusal(503, "5.5.1", "Need MAIL command");
}
