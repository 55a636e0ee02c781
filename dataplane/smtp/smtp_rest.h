/*
 * smtp_rest.h - what a dialogue is while its client says nothing and no transaction is open, the banner out or not: a few numbers, its HELO
 *               name, a begun line.
 *
 * Flow:   worker: smtp_session_may_rest() -> smtp_session_rest() ... smtp_session_wake() -> the dialogue goes on
 * Pure:   no time, no I/O. The two texts are the caller's to keep.
 * Keeps:  a dialogue that was put to rest and woken says and does what it would have without.
 */
#ifndef GREYLINE_SMTP_SMTP_REST_H
#define GREYLINE_SMTP_SMTP_REST_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/smtp/smtp_session.h"

#define SMTP_REST_LINE_MAX_OCTETS 512 /* of a line that has begun: RFC 5321 section 4.5.3.1.4 */

struct smtp_rest {
	uint64_t since_us;
	uint32_t n_commands, n_errors;
	uint32_t offered;
	uint8_t state; /* enum smtp_state */
	uint8_t manners;
	bool esmtp : 1, early_talker : 1, offered_tls : 1, tls : 1;
};

/* What a dialogue has besides that had a transaction; all zero before the first. Of the transaction itself nothing counts any more. */
struct smtp_past {
	uint32_t n_messages;
	uint8_t chunks_failed;
};

/* Before a MAIL, nothing to say, and nothing taken but perhaps the beginning of a line. */
bool smtp_session_may_rest(const struct smtp_session *s);
/* *line: what of a line has come; lent as smtp_session_helo() is. */
void smtp_session_rest(
	const struct smtp_session *s, struct smtp_rest *out, struct smtp_past *past, struct buf_view *line);
/* Makes a dialogue of it again in s, whatever that held. helo: a string. */
void smtp_session_wake(struct smtp_session *s, const struct smtp_rest *rest, const struct smtp_past *past,
	const char *helo, const struct buf_view *line);

#endif
