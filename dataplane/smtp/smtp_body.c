/*
 * smtp_body.c - octets of the client that are no commands: a message's, a chunk's, a line of an AUTH exchange; passed on, or swallowed.
 *
 * Flow:   smtp_session_input() in DATA, AUTH or SWALLOW -> smtp_data -> body[] for the backend
 * Pure:   octets and time are arguments; counters are the only thing written outside.
 * Keeps:  every octet of a message is told from commands, also when nobody wants it any more.
 * Source: RFC 5321 section 4.5.2; RFC 3030; RFC 4954; POLICY section 6.
 */
#include "dataplane/smtp/smtp_session.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/smtp/smtp_session_impl.h"

/* Holds a reply until the octets before it have passed. */
static void
hold_reply(struct smtp_session *s, const struct smtp_reply *r)
{
	BUG_ON(r->len_octets > SMTP_REPLY_MAX_OCTETS);
	memcpy(s->line.text, r->text, r->len_octets);
	s->held_octets = r->len_octets;
	s->held_code = r->code;
	s->held = true;
}

/* The end of what was swallowed: its reply, if it was not given before. */
static void
swallowed(struct smtp_session *s, uint64_t now_us)
{
	smtp_state_set(s, (enum smtp_state)s->resume);
	s->since_us = now_us;
	if (!s->held)
		return;
	s->held = false;
	smtp_say_raw(s, s->line.text, s->held_octets);
	smtp_line_init(&s->line);
	if (s->held_code == 421) {
		smtp_tell(s, SMTP_ACTION_CLOSE);
		smtp_state_set(s, SMTP_ST_CLOSING);
	}
}

/* Nobody wants the rest of the message under way; r answers it when it ends. In DATA only. */
void
smtp_swallow_rest(struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r)
{
	counter_inc(env->counters, CTR_smtp_swallowed);
	hold_reply(s, r);
	s->resume = SMTP_ST_READY;
	if (s->bdat)
		s->chunks_failed = s->chunk_last ? 0 : (uint8_t)(r->code / 100);
	smtp_state_set(s, SMTP_ST_SWALLOW);
}

/* We refuse the message under way ourselves: the backend must not have it, the client learns it at the end. */
static void
refuse_body(struct smtp_session *s, const struct smtp_env *env, enum counter which, uint16_t code, const char *enhanced,
	const char *text)
{
	struct smtp_reply r;

	counter_inc(env->counters, which);
	smtp_reply_set(&r, code, enhanced, text);
	smtp_swallow_rest(s, env, &r);
	smtp_tell(s, SMTP_ACTION_ABORT);
}

/* The chunk's or the message's octets are all given. */
void
smtp_body_done(struct smtp_session *s)
{
	const bool more = s->bdat && !s->chunk_last;

	smtp_tell(s, more ? SMTP_ACTION_CHUNK_END : SMTP_ACTION_BODY_END);
	smtp_state_set(s, SMTP_ST_END_WAIT);
}

static uint32_t
chunk_input(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in, uint32_t room_octets,
	struct buf_view *body, uint32_t *n_body)
{
	uint32_t n = MIN(in->len_octets, room_octets);

	n = (uint32_t)MIN((uint64_t)n, s->chunk_left);
	if (n == 0 || *n_body == SMTP_BODY_VIEWS_MAX)
		return 0;
	body[(*n_body)++] = (struct buf_view){ in->ptr, n, in->buf };
	s->chunk_left -= n;
	s->message_octets += n;
	counter_add(env->counters, CTR_smtp_message_octets, n);
	if (s->chunk_left == 0)
		smtp_body_done(s);
	return n;
}

static uint32_t
text_input(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in, uint32_t room_octets,
	struct buf_view *body, uint32_t *n_body)
{
	struct smtp_data_out out = { body, *n_body, SMTP_BODY_VIEWS_MAX, room_octets };
	const uint32_t lf = s->data.n_bare_lf, cr = s->data.n_bare_cr, nul = s->data.n_nul;
	const uint32_t used = smtp_data_input(&s->data, in, &out);
	const uint64_t cap = env->conf->message_max_octets;
	uint32_t more = 3; /* dot and CRLF of the end may have been counted, until it is seen */

	*n_body = out.n;
	s->message_octets += used;
	counter_add(env->counters, CTR_smtp_message_octets, used);
	if (s->data.n_bare_lf != lf)
		counter_add(env->counters, CTR_smtp_bare_lf_octets, s->data.n_bare_lf - lf);
	if (s->data.n_bare_cr != cr)
		counter_add(env->counters, CTR_smtp_bare_cr_octets, s->data.n_bare_cr - cr);
	if (s->data.n_nul != nul)
		counter_add(env->counters, CTR_smtp_early_nul_octets, s->data.n_nul - nul);
	if (s->data.at == SMTP_DATA_END) {
		s->message_octets -= MIN(s->message_octets, 3u);
		more = 0;
	}
	if (s->data.broken)
		refuse_body(s, env, CTR_smtp_bare_refused, 550, "5.5.2", "Message holds a bare CR, LF or NUL");
	else if (cap > 0 && s->message_octets > cap && s->message_octets - cap > more)
		refuse_body(s, env, CTR_smtp_too_large, 552, "5.3.4", "Message size exceeds fixed limit");
	else if (s->data.at == SMTP_DATA_END)
		smtp_body_done(s);
	if (s->state == SMTP_ST_SWALLOW && s->data.at == SMTP_DATA_END)
		swallowed(s, s->since_us);
	return used;
}

uint32_t
smtp_body_input(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in, uint32_t room_octets,
	struct buf_view *body, uint32_t *n_body, uint64_t now_us)
{
	s->since_us = now_us;
	if (room_octets < SMTP_BODY_ROOM_MIN_OCTETS) { /* it is not the client who holds things up */
		s->floor_us = now_us;
		s->floor_octets = s->message_octets;
		return 0;
	}
	if (s->bdat)
		return chunk_input(s, env, in, room_octets, body, n_body);
	return text_input(s, env, in, room_octets, body, n_body);
}

/*
 * A line of an AUTH exchange: its octets pass to the backend up to CRLF, and nothing but printable ASCII does, so that no line of it can
 * hold a command (a backend may take a lone LF for a line's end).
 */
uint32_t
smtp_auth_input(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in, uint32_t room_octets,
	struct buf_view *body, uint32_t *n_body)
{
	static const uint8_t crlf[] = "\r\n";
	uint32_t n = 0;

	if (room_octets < SMTP_BODY_ROOM_MIN_OCTETS || *n_body + 2 > SMTP_BODY_VIEWS_MAX)
		return 0;
	if (s->auth_cr && in->ptr[0] == '\n') {
		body[(*n_body)++] = (struct buf_view){ .ptr = crlf, .len_octets = 2 };
		s->auth_cr = false;
		smtp_tell(s, SMTP_ACTION_AUTH_LINE);
		smtp_state_set(s, SMTP_ST_AUTH_WAIT);
		return 1;
	}
	while (n < MIN(in->len_octets, room_octets - 2) && in->ptr[n] >= 0x20 && in->ptr[n] <= 0x7e)
		n++;
	s->auth_line_octets = (uint16_t)MIN(s->auth_line_octets + n, SMTP_AUTH_LINE_MAX_OCTETS);
	if (s->auth_cr || (n < in->len_octets && in->ptr[n] != '\r' && (in->ptr[n] < 0x20 || in->ptr[n] > 0x7e))) {
		counter_inc(env->counters, CTR_smtp_noise_lines);
		smtp_close(s, 500, "5.5.2", "Authentication line holds octets that are not allowed", SMTP_ACTION_CLOSE);
		return in->len_octets;
	}
	if (s->auth_line_octets > SMTP_AUTH_LINE_MAX_OCTETS - 2) {
		counter_inc(env->counters, CTR_smtp_long_lines);
		smtp_close(s, 500, "5.5.6", "Authentication line too long", SMTP_ACTION_CLOSE);
		return in->len_octets;
	}
	if (n > 0)
		body[(*n_body)++] = (struct buf_view){ in->ptr, n, in->buf };
	if (n < in->len_octets && in->ptr[n] == '\r') {
		s->auth_cr = true;
		n++;
	}
	return n;
}

uint32_t
smtp_swallow_input(struct smtp_session *s, const struct buf_view *in, uint64_t now_us)
{
	uint32_t n;

	s->since_us = now_us;
	if (s->bdat || !s->held) {
		n = (uint32_t)MIN((uint64_t)in->len_octets, s->chunk_left);
		s->chunk_left -= n;
		if (s->chunk_left == 0)
			swallowed(s, now_us);
		return n;
	}
	n = smtp_data_input(&s->data, in, NULL);
	if (s->data.at == SMTP_DATA_END)
		swallowed(s, now_us);
	return n;
}
