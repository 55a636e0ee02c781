/*
 * smtp_data.h - the octets of a message: where it ends, and the line-end rules.
 *
 * Flow:   smtp_session_input() in DATA -> smtp_data_input() -> views of what the backend gets
 * Pure:   octets and a state of one octet. Never copies: a view lies in the input or is one of our constants.
 * Keeps:  the end is CRLF.CRLF and nothing else, wherever inputs are cut. Every octet but a CR whose successor is not known yet
 *         is given at once; such a CR is held as state. So what was given never holds the final CRLF of a message whose end
 *         was not seen. Input without bare CR, bare LF or NUL is given octet for octet.
 * Source: RFC 5321 sections 2.3.8, 4.1.1.4, 4.5.2; POLICY section 6.
 */
#ifndef GREYLINE_SMTP_SMTP_DATA_H
#define GREYLINE_SMTP_SMTP_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/buf.h"
#include "dataplane/base/conf.h"

enum smtp_data_at {       /* what the octets before were */
	SMTP_DATA_LINE,   /* CRLF, or nothing yet: a lone dot here may be the end */
	SMTP_DATA_SOFT,   /* a lone LF that we made a line end: a dot here is text and gets another before it */
	SMTP_DATA_DOT,    /* a dot after LINE */
	SMTP_DATA_DOT_CR, /* and a CR, held */
	SMTP_DATA_MID,    /* something within a line */
	SMTP_DATA_MID_CR, /* and a CR, held */
	SMTP_DATA_END,    /* CRLF.CRLF was seen */
};

struct smtp_data {
	uint8_t at;      /* enum smtp_data_at */
	uint8_t bare_lf; /* enum conf_bare_lf */
	bool broken;     /* reject: a bare CR or LF, or a NUL where a line could be taken for the end */
	uint32_t n_bare_lf, n_bare_cr, n_nul; /* octets changed or complained of */
};

/* Room for views: filled by smtp_data_input(), all n of them for the backend in their order. */
struct smtp_data_out {
	struct buf_view *view;
	uint32_t n, n_max;    /* n_max at least 4, or no octet is taken */
	uint32_t room_octets; /* what may still be given */
};

void smtp_data_init(struct smtp_data *d, enum conf_bare_lf bare_lf);

/*
 * Takes octets of in until they, the views or the room end, or the message does (d->at is SMTP_DATA_END), or it breaks the rule of
 * reject (d->broken; call again with out NULL to find its end). out NULL: nothing is given, only the end is looked for.
 * Returns octets consumed.
 */
uint32_t smtp_data_input(struct smtp_data *d, const struct buf_view *in, struct smtp_data_out *out);

#endif
