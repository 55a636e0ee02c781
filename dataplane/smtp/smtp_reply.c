/*
 * smtp_reply.c - replies of our own making.
 *
 * Flow:   worker, relay, smtp_session -> smtp_reply_set() -> client;  reply of a backend -> smtp_reply_words() -> log
 * Pure:   text in, wire form out.
 * Keeps:  one line, printable 7-bit, within SMTP_REPLY_LINE_MAX_OCTETS.
 * Source: RFC 5321 section 4.2.
 */
#include "dataplane/smtp/smtp_reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"

static bool
is_printable(char c)
{
	return c >= 0x20 && c < 0x7f;
}

uint32_t
smtp_reply_write(char *out, uint16_t code, const char *enhanced, const char *text)
{
	const uint32_t max = SMTP_REPLY_LINE_MAX_OCTETS - 2;
	uint32_t n = 4, n_text, n_enhanced;

	BUG_ON(code < 200 || code > 599);
	out[0] = (char)('0' + code / 100);
	out[1] = (char)('0' + code / 10 % 10);
	out[2] = (char)('0' + code % 10);
	out[3] = ' ';
	if (enhanced != NULL && enhanced[0] != '\0') {
		for (n_enhanced = 0; enhanced[n_enhanced] != '\0' && n < max - 2; n_enhanced++)
			out[n++] = enhanced[n_enhanced]; /* "4.7.1": shorter than a call */
		if (text[0] != '\0')
			out[n++] = ' ';
	}
	n_text = (uint32_t)MIN(strlen(text), max - n);
	memcpy(out + n, text, n_text);
	if (text_kinds(text, n_text) != 0)
		for (uint32_t i = n; i < n + n_text; i++)
			out[i] = is_printable(out[i]) ? out[i] : '?';
	n += n_text;
	memcpy(out + n, "\r\n", 2);
	return n + 2;
}

void
smtp_reply_set(struct smtp_reply *r, uint16_t code, const char *enhanced, const char *text)
{
	r->code = code;
	r->len_octets = (uint16_t)smtp_reply_write(r->text, code, enhanced, text);
	r->text[r->len_octets] = '\0';
}

void
smtp_reply_setf(struct smtp_reply *r, uint16_t code, const char *enhanced, const char *fmt, ...)
{
	char text[SMTP_REPLY_LINE_MAX_OCTETS];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	smtp_reply_set(r, code, enhanced, text);
}

void
smtp_reply_copy(struct smtp_reply *to, const struct smtp_reply *from)
{
	to->code = from->code;
	to->len_octets = from->len_octets;
	memcpy(to->text, from->text, MIN(from->len_octets + 1u, sizeof(to->text))); /* with the NUL behind it */
}

char *
smtp_reply_words(const struct smtp_reply *r, char *out, uint32_t n)
{
	uint32_t at = 0;

	if (n == 0)
		return out;
	at = text_first_control(r->text, MIN(r->len_octets, n - 1));
	if (!text_is_7bit(r->text, at))
		at = 0;
	memcpy(out, r->text, at); /* nearly always all of the line */
	for (uint32_t i = at; i < r->len_octets && at + 1 < n; i++) {
		if (r->text[i] == '\r' || r->text[i] == '\n')
			break;
		out[at++] = is_printable(r->text[i]) ? r->text[i] : '?';
	}
	out[at] = '\0';
	return out;
}
