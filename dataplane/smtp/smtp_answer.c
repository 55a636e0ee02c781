/*
 * smtp_answer.c - what the caller's answers do: to a recipient, AUTH, DATA, a chunk, the message.
 *
 * Flow:   worker -> smtp_session_rcpt_answer() and its sisters -> reply, next state
 * Pure:   the answer and time are arguments; counters are the only thing written outside.
 * Keeps:  an answer stands where its command stood: it comes in the state that waits for it, or is dropped with the session.
 * Source: RFC 5321 section 4; RFC 3030; RFC 4954; POLICY section 6.
 */
#include "dataplane/smtp/smtp_session.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/smtp/smtp_session_impl.h"

/* A reply of the caller's. A 421 is the end of the session. */
void
smtp_give_reply(struct smtp_session *s, const struct smtp_reply *r)
{
	BUG_ON(r->len_octets > SMTP_REPLY_MAX_OCTETS);
	smtp_say_raw(s, r->text, r->len_octets);
	if (r->code == 421) {
		s->pending = 0;
		smtp_tell(s, SMTP_ACTION_CLOSE);
		smtp_state_set(s, SMTP_ST_CLOSING);
	}
}

void
smtp_session_rcpt_answer(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us)
{
	struct smtp_envelope *e = &s->envelope;

	if (s->state == SMTP_ST_CLOSING) /* the client did not wait */
		return;
	BUG_ON(s->state != SMTP_ST_RCPT_WAIT);
	switch (r->code / 100) {
	case 2:
		e->n_rcpts++;
		counter_inc(env->counters, CTR_smtp_rcpts_accepted);
		break;
	case 5:
		e->n_refused++;
		counter_inc(env->counters, CTR_smtp_rcpts_refused);
		break;
	default:
		e->n_deferred++;
		counter_inc(env->counters, CTR_smtp_rcpts_deferred);
		break;
	}
	smtp_state_set(s, e->n_rcpts > 0 ? SMTP_ST_RCPT : SMTP_ST_MAIL);
	s->since_us = now_us;
	smtp_give_reply(s, r);
}

struct buf_view
smtp_session_auth_text(const struct smtp_session *s, bool *whole)
{
	*whole = s->auth_whole;
	return (struct buf_view){ .ptr = (const uint8_t *)s->line.text, .len_octets = s->auth_octets };
}

/* The command's text is nobody's business any more. */
static void
auth_forget(struct smtp_session *s)
{
	explicit_bzero(s->line.text, s->auth_octets);
	s->auth_octets = 0;
	smtp_line_init(&s->line);
}

void
smtp_session_auth_rest(struct smtp_session *s, uint64_t now_us)
{
	if (s->state == SMTP_ST_CLOSING)
		return;
	BUG_ON(s->state != SMTP_ST_AUTH_WAIT || s->auth_whole);
	s->auth_line_octets = s->auth_octets;
	auth_forget(s);
	s->auth_whole = true;
	s->auth_cr = false;
	s->since_us = now_us;
	smtp_state_set(s, SMTP_ST_AUTH);
}

void
smtp_session_auth_answer(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us)
{
	if (s->state == SMTP_ST_CLOSING)
		return;
	BUG_ON(s->state != SMTP_ST_AUTH_WAIT && s->state != SMTP_ST_AUTH);
	if (s->state == SMTP_ST_AUTH ||
		!s->auth_whole) { /* a line of the client is not read to its end: no reply would stand in its place */
		auth_forget(s);
		smtp_close(
			s, 421, "4.7.0", "Temporary authentication failure, please try again later", SMTP_ACTION_CLOSE);
		return;
	}
	s->pending &= (uint16_t) ~(1u << SMTP_ACTION_AUTH_LINE);
	auth_forget(s);
	s->auth_line_octets = 0;
	s->auth_cr = false;
	s->since_us = now_us;
	smtp_state_set(s, r->code == 334 ? SMTP_ST_AUTH : SMTP_ST_READY);
	if (r->code == 235) {
		counter_inc(env->counters, CTR_smtp_authenticated);
		s->authenticated = true;
	}
	if (r->code >= 500) {
		counter_inc(env->counters, CTR_smtp_errors);
		if (env->conf->errors_max > 0 && ++s->n_errors > env->conf->errors_max) {
			counter_inc(env->counters, CTR_smtp_too_many_errors);
			smtp_close(s, 421, "4.7.0", "Too many errors", SMTP_ACTION_CLOSE);
			return;
		}
	}
	smtp_give_reply(s, r);
}

/* The transaction ends with r; of a message in chunks, more may be on the way. */
static void
end_transaction(struct smtp_session *s, const struct smtp_reply *r, uint64_t now_us)
{
	if (s->bdat && !s->chunk_last)
		s->chunks_failed = (uint8_t)(r->code / 100);
	smtp_state_set(s, SMTP_ST_READY);
	s->since_us = now_us;
	smtp_give_reply(s, r);
}

static void
chunk_answer(struct smtp_session *s, const struct smtp_reply *r, uint64_t now_us)
{
	if (r->code / 100 != 2) {
		end_transaction(s, r, now_us);
		return;
	}
	smtp_state_set(s, SMTP_ST_CHUNK);
	s->since_us = now_us;
	smtp_give_reply(s, r);
}

static void
data_go(struct smtp_session *s, const struct smtp_reply *r, uint64_t now_us)
{
	smtp_state_set(s, SMTP_ST_DATA);
	s->since_us = s->floor_us = now_us;
	s->floor_octets = s->message_octets;
	if (!s->bdat)
		smtp_say_raw(s, r->text, r->len_octets);
	else if (s->chunk_left == 0)
		smtp_body_done(s);
}

void
smtp_session_data_answer(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us)
{
	if (s->state == SMTP_ST_CLOSING)
		return;
	if (s->state == SMTP_ST_END_WAIT) {
		BUG_ON(!s->bdat || s->chunk_last);
		chunk_answer(s, r, now_us);
		return;
	}
	BUG_ON(s->state != SMTP_ST_DATA_WAIT);
	if (r->code == 354 || (s->bdat && r->code < 400)) {
		data_go(s, r, now_us);
	} else if (s->bdat && s->chunk_left > 0) {
		smtp_swallow_rest(s, env, r);
	} else {
		end_transaction(s, r, now_us);
	}
}

void
smtp_session_data_failed(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us)
{
	/* a question that was not told yet is answered by this */
	s->pending &= (uint16_t) ~(1u << SMTP_ACTION_DATA | 1u << SMTP_ACTION_CHUNK_END | 1u << SMTP_ACTION_BODY_END);
	switch (smtp_state_of(s)) {
	case SMTP_ST_DATA:
		smtp_swallow_rest(s, env, r);
		s->since_us = now_us;
		break;
	case SMTP_ST_CHUNK: /* nothing is owed now; what comes next learns it */
		s->chunks_failed = (uint8_t)(r->code / 100);
		smtp_state_set(s, SMTP_ST_READY);
		break;
	case SMTP_ST_DATA_WAIT:
		smtp_session_data_answer(s, env, r, now_us);
		break;
	case SMTP_ST_END_WAIT:
		if (s->bdat && !s->chunk_last)
			chunk_answer(s, r, now_us);
		else
			smtp_session_message_answer(s, env, r, now_us);
		break;
	case SMTP_ST_SWALLOW: /* has its answer already */
	case SMTP_ST_PAUSE:
	case SMTP_ST_GREETED:
	case SMTP_ST_READY:
	case SMTP_ST_MAIL:
	case SMTP_ST_RCPT:
	case SMTP_ST_RCPT_WAIT:
	case SMTP_ST_AUTH_WAIT:
	case SMTP_ST_AUTH:
	case SMTP_ST_REFUSED:
	case SMTP_ST_CLOSING:
		break;
	}
}

void
smtp_session_message_answer(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us)
{
	if (s->state == SMTP_ST_CLOSING)
		return;
	BUG_ON(s->state != SMTP_ST_END_WAIT || (s->bdat && !s->chunk_last));
	counter_inc(env->counters, CTR_smtp_messages);
	s->n_messages++;
	if (r->code / 100 == 2) {
		counter_inc(env->counters, CTR_smtp_messages_accepted);
		s->n_commands = s->n_errors = 0;
	}
	end_transaction(s, r, now_us);
	if (s->peer_eof && s->state != SMTP_ST_CLOSING) {
		smtp_tell(s, SMTP_ACTION_CLOSE);
		smtp_state_set(s, SMTP_ST_CLOSING);
	}
}
