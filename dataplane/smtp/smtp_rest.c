/*
 * smtp_rest.c - a dialogue at rest.
 *
 * Pure:   see the header.
 */
#include "dataplane/smtp/smtp_rest.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/smtp/smtp_session_impl.h"

bool
smtp_session_may_rest(const struct smtp_session *s)
{
	static const uint32_t states =
		1u << SMTP_ST_PAUSE | 1u << SMTP_ST_GREETED | 1u << SMTP_ST_READY | 1u << SMTP_ST_REFUSED;

	return (states >> s->state & 1) != 0 && s->out_octets == 0 && s->pending == 0 &&
	       s->line.len_octets <= SMTP_REST_LINE_MAX_OCTETS && !s->tls_wait && !s->authenticated && !s->peer_eof;
}

void
smtp_session_rest(const struct smtp_session *s, struct smtp_rest *out, struct smtp_past *past, struct buf_view *line)
{
	*out = (struct smtp_rest){
		.since_us = s->since_us,
		.n_commands = s->n_commands,
		.n_errors = s->n_errors,
		.offered = s->offered,
		.state = s->state,
		.manners = s->manners,
		.esmtp = s->esmtp,
		.early_talker = s->early_talker,
		.offered_tls = s->offered_tls,
		.tls = s->tls,
	};
	*past = (struct smtp_past){ .n_messages = s->n_messages, .chunks_failed = s->chunks_failed };
	*line = (struct buf_view){ .ptr = (const uint8_t *)s->line.text, .len_octets = s->line.len_octets };
}

void
smtp_session_wake(struct smtp_session *s, const struct smtp_rest *rest, const struct smtp_past *past, const char *helo,
	const struct buf_view *line)
{
	smtp_session_clear(s);
	s->since_us = rest->since_us;
	s->n_commands = rest->n_commands;
	s->n_errors = rest->n_errors;
	s->offered = rest->offered;
	s->manners = rest->manners;
	s->esmtp = rest->esmtp;
	s->early_talker = rest->early_talker;
	s->offered_tls = rest->offered_tls;
	s->tls = rest->tls;
	s->n_messages = past->n_messages;
	s->chunks_failed = past->chunks_failed;
	BUG_ON(strlen(helo) >= sizeof(s->helo) || line->len_octets > SMTP_REST_LINE_MAX_OCTETS);
	memcpy(s->helo, helo, strlen(helo) + 1);
	memcpy(s->line.text, line->ptr, line->len_octets);
	s->line.len_octets = line->len_octets;
	smtp_state_set(s, (enum smtp_state)rest->state);
}
