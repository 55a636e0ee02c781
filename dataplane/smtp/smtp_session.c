/*
 * smtp_session.c - the dialogue: its states, and what is read when. Octets of messages are in smtp_body.c, the caller's answers in smtp_answer.c.
 *
 * Flow:   worker -> smtp_session_input() -> line -> smtp_cmd -> action -> worker's answer -> smtp_session_output()
 * Pure:   octets, answers and time are arguments; nothing is allocated, no pointer is kept.
 * Keeps:  replies leave in the order of commands, for while an answer is awaited nothing more is read; every octet of a message
 *         is told from commands, also when nobody wants it any more; a message without its end is never ended by us.
 * Source: RFC 5321 section 4, 2920, 3030, 3207; POLICY section 6.
 *
 * States:
 *   PAUSE     The banner is held back. Octets are early talking: they are noted and left where they are, never a 5xx by themselves.
 *   GREETED   The banner is out. EHLO or HELO is wanted; RSET, NOOP, VRFY, HELP and QUIT do no harm.
 *   READY     A greeting was taken. MAIL begins a transaction.
 *   MAIL      A sender, no accepted recipient yet: none given, or all answered 4xx or 5xx.
 *   RCPT      One accepted recipient or more. DATA or BDAT may follow.
 *   RCPT_WAIT The caller judges a recipient; commands behind it wait.
 *   AUTH_WAIT The caller carries AUTH, or a line of its exchange, to a backend; commands behind it wait.
 *   AUTH      The client's line of the exchange passes unread to its CRLF: nothing of it is kept here.
 *   DATA_WAIT The caller answers DATA, or says whether a chunk may pass.
 *   DATA      Octets of the message pass: to CRLF.CRLF, or as many as BDAT said.
 *   CHUNK     Between two chunks of one message. BDAT goes on with it, RSET, EHLO and QUIT end it.
 *   SWALLOW   Octets of a message or chunk whose fate is known are read to their end; then the held reply, if any, is given.
 *   END_WAIT  The caller answers the message, or a chunk of it.
 *   REFUSED   The banner was a refusal. QUIT, else 503.
 *   CLOSING   The last reply (221, 421) is queued. What still comes is dropped.
 */
#include "dataplane/smtp/smtp_session.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/smtp/smtp_cmd.h"
#include "dataplane/smtp/smtp_manners.h"
#include "dataplane/smtp/smtp_path.h"
#include "dataplane/smtp/smtp_session_impl.h"

/* A rate floor gives a message so long before it counts. */
#define SMTP_RATE_GRACE_US (60 * 1000000ull)

static_assert(SMTP_REPLY_MAX_OCTETS <= SMTP_LINE_MAX_OCTETS, "a held reply lies in the line's room");
static_assert(SMTP_AUTH_LINE_MAX_OCTETS <= UINT16_MAX, "counted in 16 bits");
static_assert(SMTP_ACTION_CLOSE < 16, "pending has a bit for each action");

const char *
smtp_state_name(enum smtp_state state)
{
	static const char *const names[] = {
#define X(name) #name,
		SMTP_STATES(X)
#undef X
	};

	return (unsigned)state < ARRAY_LEN(names) ? names[state] : "?";
}

uint32_t
smtp_session_octets(void)
{
	return sizeof(struct smtp_session);
}

/* The one place where the state changes. */
void
smtp_state_set(struct smtp_session *s, enum smtp_state state)
{
	s->state = (uint8_t)state;
}

void
smtp_tell(struct smtp_session *s, enum smtp_action action)
{
	s->pending |= (uint16_t)(1u << action);
}

/* The next thing to tell: what ends something goes before what begins or closes. */
static bool
next_action(struct smtp_session *s, enum smtp_action *action)
{
	static const uint16_t first = 1u << SMTP_ACTION_ABORT, second = 1u << SMTP_ACTION_RESET;
	uint16_t of = s->pending;

	if (of == 0)
		return false;
	if ((of & first) != 0)
		of = first;
	else if ((of & second) != 0)
		of = second;
	*action = (enum smtp_action)__builtin_ctz(of);
	s->pending &= (uint16_t) ~(1u << *action);
	return true;
}

/* --- what goes to the client --- */

static uint32_t
out_room(const struct smtp_session *s)
{
	return SMTP_OUT_MAX_OCTETS - (uint32_t)s->out_octets;
}

static bool
has_room_to_reply(const struct smtp_session *s)
{
	return out_room(s) >= SMTP_OUT_RESERVE_OCTETS;
}

void
smtp_say_raw(struct smtp_session *s, const char *text, uint32_t len_octets)
{
	if (s->out_at > 0) {
		memmove(s->out, s->out + s->out_at, s->out_octets);
		s->out_at = 0;
	}
	BUG_ON(len_octets > out_room(s));
	memcpy(s->out + s->out_octets, text, len_octets);
	s->out_octets = (uint16_t)(s->out_octets + len_octets);
}

void
smtp_say(struct smtp_session *s, uint16_t code, const char *enhanced, const char *text)
{
	char line[SMTP_REPLY_LINE_MAX_OCTETS];

	smtp_say_raw(s, line, smtp_reply_write(line, code, enhanced, text));
}

void
smtp_close(struct smtp_session *s, uint16_t code, const char *enhanced, const char *text, enum smtp_action how)
{
	char line[SMTP_REPLY_LINE_MAX_OCTETS];

	smtp_close_raw(s, line, smtp_reply_write(line, code, enhanced, text), how);
}

void
smtp_close_raw(struct smtp_session *s, const char *line, uint32_t len_octets, enum smtp_action how)
{
	const bool message = s->state == SMTP_ST_DATA || s->state == SMTP_ST_CHUNK || s->state == SMTP_ST_AUTH;

	s->pending &= 1u << SMTP_ACTION_ABORT;
	if (message)
		smtp_tell(s, SMTP_ACTION_ABORT);
	smtp_tell(s, how);
	if (out_room(s) >= SMTP_REPLY_LINE_MAX_OCTETS) /* else the client does not read anyway */
		smtp_say_raw(s, line, len_octets);
	smtp_state_set(s, SMTP_ST_CLOSING);
}

void
smtp_refuse(struct smtp_session *s, const struct smtp_env *env, struct smtp_refusal why, bool counts)
{
	if (why.code >= 500)
		counter_inc(env->counters, CTR_smtp_errors);
	if (why.code >= 500 && counts && env->conf->errors_max > 0 && ++s->n_errors > env->conf->errors_max) {
		counter_inc(env->counters, CTR_smtp_too_many_errors);
		smtp_close(s, 421, "4.7.0", "Too many errors", SMTP_ACTION_CLOSE);
		return;
	}
	smtp_say(s, why.code, why.enhanced, why.text);
}

bool
smtp_count_command(struct smtp_session *s, const struct smtp_env *env)
{
	if (env->conf->commands_max == 0 || ++s->n_commands <= env->conf->commands_max)
		return true;
	counter_inc(env->counters, CTR_smtp_too_many_commands);
	smtp_close(s, 421, "4.7.0", "Too many commands", SMTP_ACTION_CLOSE);
	return false;
}

uint64_t
smtp_size_limit(const struct smtp_env *env)
{
	const uint64_t ours = env->conf->message_max_octets, theirs = env->size_octets;

	if (ours == 0 || theirs == 0)
		return MAX(ours, theirs);
	return MIN(ours, theirs);
}

/* --- begin --- */

void
smtp_envelope_clear(struct smtp_envelope *e)
{
	memset(e, 0, offsetof(struct smtp_envelope, from));
	e->from.len_octets = e->rcpt.len_octets = 0;
	e->from.has_8bit = e->rcpt.has_8bit = false;
	e->from.text[0] = e->rcpt.text[0] = '\0';
	e->mail_params[0] = e->rcpt_params[0] = '\0';
}

void
smtp_session_clear(struct smtp_session *s)
{
	memset(s, 0,
		offsetof(struct smtp_session, line)); /* the big rooms behind it are written before they are read */
	s->helo[0] = '\0';
	smtp_line_init(&s->line);
	smtp_envelope_clear(&s->envelope);
}

void
smtp_session_init(struct smtp_session *s, const struct smtp_env *env, uint64_t now_us)
{
	smtp_session_clear(s);
	smtp_state_set(s, SMTP_ST_PAUSE);
	s->since_us = now_us;
	counter_inc(env->counters, CTR_smtp_sessions);
}

void
smtp_session_tease(struct smtp_session *s, const struct smtp_env *env)
{
	char line[SMTP_REPLY_LINE_MAX_OCTETS];

	if (s->state == SMTP_ST_PAUSE)
		smtp_say_raw(s, line,
			(uint32_t)snprintf(line, sizeof(line), "220-%s ESMTP Greyline\r\n", env->conf->hostname));
}

void
smtp_session_early(struct smtp_session *s, const struct smtp_env *env)
{
	if (s->state != SMTP_ST_PAUSE || s->early_talker)
		return;
	counter_inc(env->counters, CTR_smtp_early_talkers);
	s->early_talker = true;
	s->manners |= MANNER_EARLY_TALKER;
}

static_assert(CONF_HOST_OCTETS + sizeof("220  ESMTP Greyline\r\n") < SMTP_REPLY_LINE_MAX_OCTETS, "a banner is not cut");

uint32_t
smtp_banner_write(char *out, const struct conf *conf)
{
	char text[CONF_HOST_OCTETS + sizeof(" ESMTP Greyline")];

	snprintf(text, sizeof(text), "%s ESMTP Greyline", conf->hostname);
	return smtp_reply_write(out, 220, NULL, text);
}

void
smtp_session_greet(struct smtp_session *s, const struct smtp_env *env, uint64_t now_us)
{
	char line[SMTP_REPLY_LINE_MAX_OCTETS];

	if (s->state != SMTP_ST_PAUSE)
		return;
	if (env->banner != NULL)
		smtp_say_raw(s, env->banner, env->banner_octets);
	else
		smtp_say_raw(s, line, smtp_banner_write(line, env->conf));
	smtp_state_set(s, SMTP_ST_GREETED);
	s->since_us = now_us;
}

void
smtp_session_refuse(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *banner, uint64_t now_us)
{
	if (s->state != SMTP_ST_PAUSE)
		return;
	counter_inc(env->counters, CTR_smtp_refused_banner);
	smtp_state_set(s, SMTP_ST_REFUSED);
	s->since_us = now_us;
	smtp_give_reply(s, banner);
}

void
smtp_session_tls_started(struct smtp_session *s, const struct smtp_env *env, uint64_t now_us)
{
	(void)env;
	/* RFC 3207 section 4.2: nothing said before counts any more */
	s->tls = true;
	s->tls_wait = false;
	s->authenticated = false;
	s->esmtp = false;
	s->helo[0] = '\0';
	s->chunks_failed = 0;
	s->bdat = s->chunk_last = s->held = false;
	s->offered = s->mail_needs = 0;
	s->n_rcpts_tried = 0;
	smtp_envelope_clear(&s->envelope);
	smtp_line_init(&s->line);
	smtp_state_set(s, SMTP_ST_GREETED);
	s->since_us = now_us;
}

void
smtp_session_tls_implicit(struct smtp_session *s)
{
	BUG_ON(s->state != SMTP_ST_PAUSE);
	s->tls = true;
}

/* --- commands --- */

/* What speaks another protocol, or has a mail server spoken to by a browser. */
static bool
is_non_smtp(struct smtp_str line)
{
	static const char *const words[] = { "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT",
		"PATCH", "HOST:", "USER", "SSH-2.0", "SUBJECT:", "FROM:", "TO:", "RECEIVED:", "CONTENT-TYPE:" };
	struct smtp_str verb = line;

	verb.len_octets = 0;
	while (verb.len_octets < line.len_octets && line.ptr[verb.len_octets] != ' ' &&
		line.ptr[verb.len_octets] != '\t')
		verb.len_octets++;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (smtp_str_is(verb, words[i]))
			return true;
	return false;
}

static void
obey(struct smtp_session *s, const struct smtp_env *env, struct smtp_str line)
{
	struct smtp_str args;
	const struct smtp_cmd *cmd = smtp_cmd_find(line, &args);
	struct smtp_refusal why;

	if ((cmd == NULL || !cmd->uncounted) && !smtp_count_command(s, env))
		return;
	if (cmd == NULL) {
		counter_inc(env->counters, CTR_smtp_unknown_commands);
		if (is_non_smtp(line))
			s->manners |= MANNER_NON_SMTP;
		why = (struct smtp_refusal){ 500, "5.5.2", "Command not recognized" };
		smtp_refuse(s, env, s->state == SMTP_ST_REFUSED ? smtp_only_quit : why, true);
		return;
	}
	if (env->tls_required && !s->tls && !smtp_cmd_before_tls(cmd) && s->state != SMTP_ST_REFUSED)
		why = smtp_needs_tls(env);
	else
		why = (cmd->states & 1u << s->state) != 0 ? cmd->check(s, env, args) : smtp_cmd_out_of_order(s, cmd);
	if (why.code != 0)
		smtp_refuse(s, env, why, !cmd->uncounted);
	else
		cmd->apply(s, env, args);
}

static void
bad_line(struct smtp_session *s, const struct smtp_env *env, enum counter which, const char *text)
{
	counter_inc(env->counters, which);
	if (smtp_count_command(s, env))
		smtp_refuse(s, env, (struct smtp_refusal){ 500, "5.5.2", text }, true);
}

/* A command that is longer than any of ours: only AUTH may be, and passes on from here. False: it is none, or not to be had. */
static bool
long_auth(struct smtp_session *s, const struct smtp_env *env)
{
	struct smtp_str args;
	const struct smtp_str line = { s->line.text, SMTP_LINE_MAX_OCTETS };
	const struct smtp_cmd *cmd = smtp_cmd_find(line, &args);

	for (uint32_t i = 0; i < line.len_octets; i++)
		if (line.ptr[i] < 0x20 || line.ptr[i] > 0x7e)
			return false;
	if (!smtp_cmd_is_auth(cmd) || (cmd->states & 1u << s->state) == 0 || cmd->check(s, env, args).code != 0 ||
		!smtp_count_command(s, env))
		return false;
	counter_inc(env->counters, CTR_smtp_commands);
	smtp_auth_begin(s, env, SMTP_LINE_MAX_OCTETS, false);
	return true;
}

/* Reads up to the end of one line. Returns octets consumed. */
static uint32_t
command_input(
	struct smtp_session *s, const struct smtp_env *env, const uint8_t *data, uint32_t len_octets, uint64_t now_us)
{
	struct smtp_str line = { NULL, 0 };
	uint32_t used;
	const bool offered = s->esmtp; /* the first EHLO's reply offers PIPELINING */
	/* what fills the room to its last octet is looked at before more is dropped: AUTH may be longer */
	const uint32_t room =
		s->line.len_octets < SMTP_LINE_MAX_OCTETS ? SMTP_LINE_MAX_OCTETS - s->line.len_octets : UINT32_MAX;
	const enum smtp_line_result result = smtp_line_input(&s->line, data, MIN(len_octets, room), &used, &line);

	if (result == SMTP_LINE_MORE && s->line.len_octets == SMTP_LINE_MAX_OCTETS && long_auth(s, env))
		s->since_us = now_us;
	if (result == SMTP_LINE_MORE) /* a slow trickle does not prolong the period for one command */
		return used;
	s->since_us = now_us;
	counter_inc(env->counters, CTR_smtp_commands);
	switch (result) {
	case SMTP_LINE_MORE:
		break;
	case SMTP_LINE_DONE:
		obey(s, env, line);
		break;
	case SMTP_LINE_BARE_LF:
		s->manners |= MANNER_BARE_LINE;
		bad_line(s, env, CTR_smtp_bare_lf_commands, "Line must end with CRLF");
		break;
	case SMTP_LINE_NOISE:
		s->manners |= MANNER_BARE_LINE;
		bad_line(s, env, CTR_smtp_noise_lines, "Line holds octets that are not allowed");
		break;
	case SMTP_LINE_TOO_LONG:
		bad_line(s, env, CTR_smtp_long_lines, "Line too long");
		break;
	case SMTP_LINE_ENDLESS:
		counter_inc(env->counters, CTR_smtp_long_lines);
		smtp_close(s, 421, "4.7.0", "Line without end", SMTP_ACTION_CLOSE);
		break;
	}
	if (!offered && used < len_octets && s->state != SMTP_ST_SWALLOW && s->state != SMTP_ST_CLOSING)
		s->manners |= MANNER_PIPELINING;
	if (s->tls_wait) { /* what came with STARTTLS was not said under TLS */
		counter_add(env->counters, CTR_smtp_plain_after_starttls, len_octets - used);
		used = len_octets;
	}
	return used;
}

/* --- input --- */

bool
smtp_session_awaits_command(const struct smtp_session *s)
{
	static const uint32_t states = 1u << SMTP_ST_GREETED | 1u << SMTP_ST_READY | 1u << SMTP_ST_MAIL |
	                               1u << SMTP_ST_RCPT | 1u << SMTP_ST_CHUNK | 1u << SMTP_ST_REFUSED;

	return s->pending == 0 && !s->tls_wait && (states >> s->state & 1) != 0;
}

/* Silence for too long. */
static void
time_out(struct smtp_session *s, const struct smtp_env *env)
{
	const bool data = s->state == SMTP_ST_DATA || s->state == SMTP_ST_SWALLOW;
	char text[CONF_HOST_OCTETS + 32];

	counter_inc(env->counters, data ? CTR_smtp_timeouts_data : CTR_smtp_timeouts_command);
	snprintf(text, sizeof(text), "%s timeout exceeded", env->conf->hostname);
	smtp_close(s, 421, "4.4.2", text, SMTP_ACTION_CLOSE);
}

static uint32_t
input_step(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in, uint32_t room_octets,
	struct buf_view *body, uint32_t *n_body, uint64_t now_us)
{
	switch (smtp_state_of(s)) {
	case SMTP_ST_PAUSE:
		smtp_session_early(s, env);
		return 0;
	case SMTP_ST_GREETED:
	case SMTP_ST_READY:
	case SMTP_ST_MAIL:
	case SMTP_ST_RCPT:
	case SMTP_ST_CHUNK:
	case SMTP_ST_REFUSED:
		return has_room_to_reply(s) ? command_input(s, env, in->ptr, in->len_octets, now_us) : 0;
	case SMTP_ST_RCPT_WAIT:
	case SMTP_ST_AUTH_WAIT:
	case SMTP_ST_DATA_WAIT:
	case SMTP_ST_END_WAIT:
		return 0;
	case SMTP_ST_AUTH:
		return has_room_to_reply(s) ? smtp_auth_input(s, env, in, room_octets, body, n_body) : 0;
	case SMTP_ST_DATA:
		return has_room_to_reply(s) ? smtp_body_input(s, env, in, room_octets, body, n_body, now_us) : 0;
	case SMTP_ST_SWALLOW:
		return has_room_to_reply(s) ? smtp_swallow_input(s, in, now_us) : 0;
	case SMTP_ST_CLOSING:
		return in->len_octets;
	}
	return 0;
}

static void
end_of_input(struct smtp_session *s, uint32_t *n_body, enum smtp_action *action)
{
	if ((s->pending & 1u << SMTP_ACTION_ABORT) != 0)
		*n_body = 0; /* the backend goes: nothing more for it */
	next_action(s, action);
}

uint32_t
smtp_session_input(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in, uint32_t room_octets,
	struct buf_view body[SMTP_BODY_VIEWS_MAX], uint32_t *n_body, enum smtp_action *action, uint64_t now_us)
{
	uint32_t used = 0;

	*n_body = 0;
	*action = SMTP_ACTION_NONE;
	if (next_action(s, action))
		return 0;
	if (s->tls_wait) {
		counter_add(env->counters, CTR_smtp_plain_after_starttls, in->len_octets);
		return in->len_octets;
	}
	if (in->len_octets == 0) {
		if (s->state == SMTP_ST_DATA && room_octets < SMTP_BODY_ROOM_MIN_OCTETS) {
			s->since_us = s->floor_us = now_us;
			s->floor_octets = s->message_octets;
		} else if (now_us >= smtp_session_deadline_us(s, env)) {
			time_out(s, env);
		}
		next_action(s, action);
		return 0;
	}
	while (used < in->len_octets && s->pending == 0) {
		const struct buf_view rest = { in->ptr + used, in->len_octets - used, in->buf };
		const uint32_t n_before = *n_body;
		const uint32_t n = input_step(s, env, &rest, room_octets, body, n_body, now_us);

		for (uint32_t i = n_before; i < *n_body; i++)
			room_octets -= body[i].len_octets;
		used += n;
		if (n == 0)
			break;
	}
	end_of_input(s, n_body, action);
	return used;
}

bool
smtp_session_awaits_body(const struct smtp_session *s)
{
	return s->state == SMTP_ST_DATA && s->pending == 0 && !s->tls_wait && s->out_octets == 0;
}

uint32_t
smtp_session_body(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in, uint32_t room_octets,
	struct buf_view body[SMTP_BODY_VIEWS_MAX], uint32_t *n_body, enum smtp_action *action, uint64_t now_us)
{
	uint32_t used;

	HOT_BUG_ON(!smtp_session_awaits_body(s) || in->len_octets == 0 || room_octets < SMTP_BODY_ROOM_MIN_OCTETS);
	*n_body = 0;
	*action = SMTP_ACTION_NONE;
	used = smtp_body_input(s, env, in, room_octets, body, n_body, now_us);
	if (s->pending != 0)
		end_of_input(s, n_body, action);
	return used;
}

uint32_t
smtp_session_commands(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in,
	enum smtp_action *action, uint64_t now_us)
{
	uint32_t used = 0;

	*action = SMTP_ACTION_NONE;
	HOT_BUG_ON(!smtp_session_awaits_command(s) || in->len_octets == 0);
	do {
		if (!has_room_to_reply(s))
			break;
		used += command_input(s, env, in->ptr + used, in->len_octets - used, now_us);
	} while (used < in->len_octets && smtp_session_awaits_command(s));
	next_action(s, action);
	return used;
}

bool
smtp_session_eof(struct smtp_session *s)
{
	const enum smtp_state was = smtp_state_of(s);

	s->peer_eof = true;
	switch (was) {
	case SMTP_ST_END_WAIT:
		if (!s->bdat || s->chunk_last)
			return false; /* the message is whole: its answer is awaited */
		break;
	case SMTP_ST_DATA_WAIT:
	case SMTP_ST_DATA:
	case SMTP_ST_CHUNK:
	case SMTP_ST_PAUSE:
	case SMTP_ST_GREETED:
	case SMTP_ST_READY:
	case SMTP_ST_MAIL:
	case SMTP_ST_RCPT:
	case SMTP_ST_RCPT_WAIT:
	case SMTP_ST_AUTH_WAIT:
	case SMTP_ST_AUTH:
	case SMTP_ST_SWALLOW:
	case SMTP_ST_REFUSED:
	case SMTP_ST_CLOSING:
		break;
	}
	s->pending = 0;
	smtp_state_set(s, SMTP_ST_CLOSING);
	return was == SMTP_ST_DATA_WAIT || was == SMTP_ST_DATA || was == SMTP_ST_CHUNK || was == SMTP_ST_END_WAIT ||
	       was == SMTP_ST_AUTH || was == SMTP_ST_AUTH_WAIT;
}

bool
smtp_session_shut(struct smtp_session *s, const struct smtp_env *env, const char *text, uint64_t now_us)
{
	(void)now_us;
	switch (smtp_state_of(s)) {
	case SMTP_ST_PAUSE:
	case SMTP_ST_GREETED:
	case SMTP_ST_READY:
	case SMTP_ST_MAIL:
	case SMTP_ST_REFUSED:
		break;
	case SMTP_ST_RCPT: /* a recipient is accepted: its message may be on the way */
	case SMTP_ST_RCPT_WAIT:
	case SMTP_ST_AUTH_WAIT:
	case SMTP_ST_AUTH:
	case SMTP_ST_DATA_WAIT:
	case SMTP_ST_DATA:
	case SMTP_ST_CHUNK:
	case SMTP_ST_SWALLOW:
	case SMTP_ST_END_WAIT:
	case SMTP_ST_CLOSING:
		return false;
	}
	if (s->tls_wait || !has_room_to_reply(s))
		return false;
	counter_inc(env->counters, CTR_smtp_shut);
	smtp_close(s, 421, "4.3.2", text, SMTP_ACTION_CLOSE);
	return true;
}

bool
smtp_session_has_news(const struct smtp_session *s)
{
	return s->pending != 0;
}

/* --- output --- */

struct buf_view
smtp_session_output_peek(const struct smtp_session *s)
{
	return (struct buf_view){ .ptr = s->out + s->out_at, .len_octets = s->out_octets };
}

void
smtp_session_output_drop(struct smtp_session *s, uint32_t n)
{
	BUG_ON(n > s->out_octets);
	s->out_octets = (uint16_t)(s->out_octets - n);
	s->out_at = s->out_octets > 0 ? (uint16_t)(s->out_at + n) : 0;
}

uint32_t
smtp_session_output(struct smtp_session *s, uint8_t *out, uint32_t n)
{
	n = MIN(n, (uint32_t)s->out_octets);
	if (n > 0)
		memcpy(out, s->out + s->out_at, n);
	smtp_session_output_drop(s, n);
	return n;
}

uint32_t
smtp_session_output_pending(const struct smtp_session *s)
{
	return s->out_octets;
}

static uint64_t
data_deadline_us(const struct smtp_session *s, const struct conf *conf)
{
	const uint64_t silence_us = s->since_us + conf->data_timeout_s * 1000000ull;
	const uint64_t floor = conf->data_rate_floor_octets_s;

	if (floor == 0 || s->state != SMTP_ST_DATA)
		return silence_us;
	return MIN(silence_us,
		s->floor_us + SMTP_RATE_GRACE_US + (s->message_octets - s->floor_octets) * 1000000ull / floor);
}

uint64_t
smtp_session_deadline_us(const struct smtp_session *s, const struct smtp_env *env)
{
	if (s->pending != 0) /* due at once: an action waits to be told */
		return s->since_us;
	if (s->tls_wait)
		return UINT64_MAX;
	switch (smtp_state_of(s)) {
	case SMTP_ST_GREETED:
	case SMTP_ST_READY:
	case SMTP_ST_MAIL:
	case SMTP_ST_RCPT:
	case SMTP_ST_CHUNK:
	case SMTP_ST_AUTH:
	case SMTP_ST_REFUSED:
		return s->since_us + env->conf->command_timeout_s * 1000000ull;
	case SMTP_ST_DATA:
	case SMTP_ST_SWALLOW:
		return data_deadline_us(s, env->conf);
	case SMTP_ST_PAUSE:
	case SMTP_ST_RCPT_WAIT:
	case SMTP_ST_AUTH_WAIT:
	case SMTP_ST_DATA_WAIT:
	case SMTP_ST_END_WAIT:
	case SMTP_ST_CLOSING:
		break;
	}
	return UINT64_MAX;
}

/* --- what the caller may know --- */

enum smtp_state
smtp_session_state(const struct smtp_session *s)
{
	return smtp_state_of(s);
}

const char *
smtp_session_helo(const struct smtp_session *s)
{
	return s->helo;
}

bool
smtp_session_is_esmtp(const struct smtp_session *s)
{
	return s->esmtp;
}

bool
smtp_session_is_authenticated(const struct smtp_session *s)
{
	return s->authenticated;
}

bool
smtp_session_is_tls(const struct smtp_session *s)
{
	return s->tls;
}

struct smtp_envelope *
smtp_session_envelope(struct smtp_session *s)
{
	return &s->envelope;
}

uint32_t
smtp_session_messages(const struct smtp_session *s)
{
	return s->n_messages;
}

uint64_t
smtp_session_message_octets(const struct smtp_session *s)
{
	return s->message_octets;
}

bool
smtp_session_uses_bdat(const struct smtp_session *s)
{
	return s->bdat;
}

uint64_t
smtp_session_chunk(const struct smtp_session *s, bool *last)
{
	*last = s->chunk_last;
	return s->chunk_octets;
}

bool
smtp_session_early_talker(const struct smtp_session *s)
{
	return s->early_talker;
}

uint32_t
smtp_session_manners(const struct smtp_session *s)
{
	return s->manners;
}

uint32_t
smtp_session_errors(const struct smtp_session *s)
{
	return s->n_errors;
}
