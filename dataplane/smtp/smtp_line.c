/*
 * smtp_line.c - see smtp_line.h.
 *
 * Pure:   octets; one pass over a line that comes whole.
 */
#include "dataplane/smtp/smtp_line.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"

void
smtp_line_init(struct smtp_line *l)
{
	l->len_octets = 0;
}

/* Control octets other than the tab. */
static bool
has_noise(const char *text, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t c = (uint8_t)text[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return true;
	}
	return false;
}

/* Judges a whole line, its LF included. */
static enum smtp_line_result
line_judge(const char *text, uint32_t len_octets, struct smtp_str *out)
{
	if (len_octets < 2 || text[len_octets - 2] != '\r')
		return SMTP_LINE_BARE_LF;
	len_octets -= 2;
	if ((text_kinds(text, len_octets) & TEXT_CONTROL) != 0 && has_noise(text, len_octets))
		return SMTP_LINE_NOISE;
	*out = (struct smtp_str){ .ptr = text, .len_octets = len_octets };
	return SMTP_LINE_DONE;
}

/* A cut line: n more octets of it. What is over the room is counted and dropped. */
static void
line_gather(struct smtp_line *l, const uint8_t *data, uint32_t n)
{
	const uint32_t at = MIN(l->len_octets, SMTP_LINE_MAX_OCTETS);

	if (n == 0)
		return;
	memcpy(l->text + at, data, MIN(n, SMTP_LINE_MAX_OCTETS - at));
	l->len_octets = MIN(l->len_octets + n, SMTP_LINE_DROP_MAX_OCTETS + 1);
}

enum smtp_line_result
smtp_line_input(struct smtp_line *l, const uint8_t *data, uint32_t len_octets, uint32_t *used, struct smtp_str *out)
{
	const uint8_t *lf;
	const uint32_t whole = l->len_octets == 0 ? text_first_control(data, len_octets) : len_octets;
	uint32_t n;
	enum smtp_line_result result;

	/* A whole line in one piece, of which the first control octet is its CR: as nearly every line comes. */
	if (whole + 1 < len_octets && data[whole] == '\r' && data[whole + 1] == '\n' &&
		whole + 2 <= SMTP_LINE_MAX_OCTETS) {
		*used = whole + 2;
		*out = (struct smtp_str){ .ptr = (const char *)data, .len_octets = whole };
		return SMTP_LINE_DONE;
	}
	lf = len_octets > 0 ? memchr(data, '\n', len_octets) : NULL;
	n = lf != NULL ? (uint32_t)(lf - data) + 1 : MIN(len_octets, SMTP_LINE_DROP_MAX_OCTETS + 1);
	*used = n;
	if (lf != NULL && l->len_octets == 0 && n <= SMTP_LINE_MAX_OCTETS)
		return line_judge((const char *)data, n, out);
	line_gather(l, data, n);
	if (lf == NULL)
		return l->len_octets > SMTP_LINE_DROP_MAX_OCTETS ? SMTP_LINE_ENDLESS : SMTP_LINE_MORE;
	result = l->len_octets > SMTP_LINE_MAX_OCTETS ? SMTP_LINE_TOO_LONG : line_judge(l->text, l->len_octets, out);
	smtp_line_init(l); /* text stays as it is until the next call */
	return result;
}
