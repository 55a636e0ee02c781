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
	return (s->state == SMTP_ST_GREETED || s->state == SMTP_ST_READY) && s->out_octets == 0 && s->pending == 0 &&
	       s->line.len_octets <= SMTP_REST_LINE_MAX_OCTETS && !s->tls && !s->tls_wait && !s->authenticated &&
	       !s->held && !s->bdat && s->chunks_failed == 0 && s->n_messages == 0 && s->n_rcpts_tried == 0 &&
	       !s->peer_eof;
}

void
smtp_session_rest(const struct smtp_session *s, struct smtp_rest *out, struct buf_view *line)
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
	};
	*line = (struct buf_view){ .ptr = (const uint8_t *)s->line.text, .len_octets = s->line.len_octets };
}

void
smtp_session_wake(struct smtp_session *s, const struct smtp_rest *rest, const char *helo, const struct buf_view *line)
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
	BUG_ON(strlen(helo) >= sizeof(s->helo) || line->len_octets > SMTP_REST_LINE_MAX_OCTETS);
	memcpy(s->helo, helo, strlen(helo) + 1);
	memcpy(s->line.text, line->ptr, line->len_octets);
	s->line.len_octets = line->len_octets;
	smtp_state_set(s, (enum smtp_state)rest->state);
}
