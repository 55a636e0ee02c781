/*
 * smtp_path.h - the address in MAIL FROM and RCPT TO, and the parameters behind it.
 *
 * Flow:   smtp_cmd check -> smtp_path_parse(), smtp_params_next() -> smtp_envelope
 * Pure:   octets.
 * Keeps:  what is taken is kept in the client's own octets, quoting included, without brackets and source route.
 *
 * More is taken than RFC 5321 section 4.1.2 writes, where senders that mean well need it and an MTA takes it as well: spaces after
 * the colon, no angle brackets, dots anywhere in an unquoted local part (whole mobile networks have such addresses), local
 * parts over 64 octets (VERP, SRS), underscores in domains. Not taken: an address without a domain (<postmaster> excepted), a dot
 * at a domain's end, control octets anywhere.
 * Source: RFC 5321 sections 4.1.2, 4.1.3 and 4.5.3.1; RFC 6531 section 3.3.
 */
#ifndef GREYLINE_SMTP_SMTP_PATH_H
#define GREYLINE_SMTP_SMTP_PATH_H

#include "dataplane/smtp/smtp_line.h"

#define SMTP_DOMAIN_MAX_OCTETS 255

enum smtp_path_result {
	SMTP_PATH_OK,
	SMTP_PATH_SYNTAX,
	SMTP_PATH_TOO_LONG,
	SMTP_PATH_NOT_UTF8, /* octets over 127 that are no UTF-8 */
};

/*
 * Reads a path at the start of text: what follows "FROM:" or "TO:". On OK *rest is what is left after it, at a space or empty.
 * out->has_8bit tells of octets over 127: whether they may be there is the caller's to know. "<>" gives "".
 */
enum smtp_path_result smtp_path_parse(struct smtp_str text, struct smtp_path *out, struct smtp_str *rest);

/* True for a path that may stand without a domain: postmaster in any case. */
bool smtp_path_is_postmaster(const struct smtp_path *path);

struct smtp_param {
	struct smtp_str name, value; /* value.ptr NULL: no "=" */
};

/* The next " NAME[=VALUE]" of *text, which moves on. 1: *out is one; 0: no more; -1: not a parameter (RFC 5321 section 4.1.2). */
int smtp_param_next(struct smtp_str *text, struct smtp_param *out);

/* ASCII without regard to case; b is NUL-terminated. */
bool smtp_str_is(struct smtp_str a, const char *b);
/* Digits alone, at most 20 and within 64 bits. */
bool smtp_str_number(struct smtp_str text, uint64_t *out);
/* RFC 3461 section 4: printable ASCII without "+", "=", spaces, and "+XX". */
bool smtp_str_is_xtext(struct smtp_str text);

#endif
