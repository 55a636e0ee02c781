/*
 * smtp_reply.h - a reply: made by us or received from a backend.
 *
 * Flow:   backend octets -> smtp_reply_parse() -> relay -> smtp_session -> client
 * Pure:   octets in, a reply out.
 * Keeps:  text is the wire form: whole lines with CRLF, code at each line's start, bounded by SMTP_REPLY_MAX_OCTETS; what is
 *         beyond is cut at a line's end and the last line made final. Replies of our own are 7-bit.
 * Source: RFC 5321 section 4.2, RFC 2034.
 */
#ifndef GREYLINE_SMTP_SMTP_REPLY_H
#define GREYLINE_SMTP_SMTP_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/buf.h"

#define SMTP_REPLY_MAX_OCTETS      2048 /* of a whole reply as we keep it */
#define SMTP_REPLY_LINE_MAX_OCTETS 512  /* RFC 5321 section 4.5.3.1.5; longer lines of backends are cut */
#define SMTP_REPLY_LINES_MAX       128  /* of one reply read; more is a protocol error */

struct smtp_reply {
	uint16_t code; /* 0: none */
	uint16_t len_octets;
	char text[SMTP_REPLY_MAX_OCTETS];
};

/* "CODE ENHANCED TEXT CRLF" of ours; enhanced may be NULL. Text is made printable 7-bit and cut to one line. The first writes into room for
 * SMTP_REPLY_LINE_MAX_OCTETS and returns how many there are. */
uint32_t smtp_reply_write(char *out, uint16_t code, const char *enhanced, const char *text);
void smtp_reply_set(struct smtp_reply *r, uint16_t code, const char *enhanced, const char *text);
void smtp_reply_setf(struct smtp_reply *r, uint16_t code, const char *enhanced, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The octets there are, not the room for them. */
void smtp_reply_copy(struct smtp_reply *to, const struct smtp_reply *from);

/* Reads a reply that may come in pieces. */
struct smtp_reply_parser {
	struct smtp_reply reply;
	uint32_t line_octets; /* of the line under way */
	uint16_t n_lines;
	char code_text[4];
	bool last_line;
	bool cut;
	bool cr;
	char line[SMTP_REPLY_LINE_MAX_OCTETS];
};

enum smtp_reply_result { SMTP_REPLY_MORE, SMTP_REPLY_DONE, SMTP_REPLY_BROKEN };

void smtp_reply_parser_init(struct smtp_reply_parser *p);
/* Consumes octets of *view up to the end of one reply (view is advanced). DONE: p->reply is whole; init before the next. BROKEN:
 * not a reply at all (no code, codes differ, control octets, too many lines). */
enum smtp_reply_result smtp_reply_parse(struct smtp_reply_parser *p, struct buf_view *view);

/* The first line's text without CRLF, printable, at most n - 1 octets, for logs. Returns out. */
char *smtp_reply_words(const struct smtp_reply *r, char *out, uint32_t n);

#endif
