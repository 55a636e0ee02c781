/*
 * smtp_line.h - command lines out of octets that come in any pieces.
 *
 * Flow:   smtp_session_input() -> smtp_line_input() -> smtp_cmd_find()
 * Pure:   octets. A line that lies whole in one input is lent from there; only a cut one is gathered in fixed room.
 * Keeps:  a line ends at LF. It is a command only when CRLF ends it, it has no other CR, NUL or control octet (TAB counts as a
 *         space) and it fits SMTP_LINE_MAX_OCTETS; what is wrong with it is told once, when it ends.
 * Source: RFC 5321 sections 2.3.8 and 4.5.3.1.4.
 */
#ifndef GREYLINE_SMTP_SMTP_LINE_H
#define GREYLINE_SMTP_SMTP_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/smtp/smtp_session.h"

#define SMTP_LINE_DROP_MAX_OCTETS 65536 /* of one line without an end, then the peer is not speaking SMTP */

struct smtp_str { /* not NUL-terminated */
	const char *ptr;
	uint32_t len_octets;
};

enum smtp_line_result {
	SMTP_LINE_MORE,     /* no end yet */
	SMTP_LINE_DONE,     /* *out is the line without CRLF */
	SMTP_LINE_BARE_LF,  /* ended by LF without CR */
	SMTP_LINE_NOISE,    /* NUL, CR or another control octet in it */
	SMTP_LINE_TOO_LONG, /* its octets were dropped up to and including its LF */
	SMTP_LINE_ENDLESS,  /* over SMTP_LINE_DROP_MAX_OCTETS and no LF */
};

struct smtp_line {
	uint32_t len_octets; /* gathered, or dropped as well once over the room */
	char text[SMTP_LINE_MAX_OCTETS];
};

void smtp_line_init(struct smtp_line *l);

/* Takes octets up to the end of one line; *used of them are consumed. *out is lent until the next call. */
enum smtp_line_result smtp_line_input(
	struct smtp_line *l, const uint8_t *data, uint32_t len_octets, uint32_t *used, struct smtp_str *out);

#endif
