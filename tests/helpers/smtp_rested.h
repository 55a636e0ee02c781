/*
 * smtp_rested.h - a dialogue put to rest and woken between two octets of its client, wherever that is allowed: what tests of dialogues do
 * besides, for nothing may differ by it.
 */
#ifndef GREYLINE_TESTS_HELPERS_SMTP_RESTED_H
#define GREYLINE_TESTS_HELPERS_SMTP_RESTED_H

#include <string.h>

#include "dataplane/smtp/smtp_rest.h"
#include "dataplane/smtp/smtp_session_impl.h"

/* True when it did. Its memory is filled with nonsense meanwhile, as a block is that others had. */
static inline bool
smtp_rested(struct smtp_session *s)
{
	char helo[SMTP_HELO_MAX_OCTETS], text[SMTP_REST_LINE_MAX_OCTETS];
	struct smtp_rest rest;
	struct smtp_past past;
	struct buf_view line;

	if (!smtp_session_may_rest(s))
		return false;
	smtp_session_rest(s, &rest, &past, &line);
	memcpy(helo, smtp_session_helo(s), strlen(smtp_session_helo(s)) + 1);
	memcpy(text, line.ptr, line.len_octets);
	line.ptr = (const uint8_t *)text;
	memset(s, 0xa5, sizeof(*s));
	smtp_session_wake(s, &rest, &past, helo, &line);
	return true;
}

#endif
