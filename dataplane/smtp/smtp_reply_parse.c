/*
 * smtp_reply_parse.c - a backend's reply, read octet by octet as it comes.
 *
 * Flow:   backend octets -> smtp_reply_parse() -> relay, backend_probe
 * Pure:   octets in, a reply out; where the octets were cut makes no difference.
 * Keeps:  what is kept is safe to pass on: each line is CODE, then SP or '-', then TAB and printable 7-bit octets,
 *         then CRLF; all codes are the same; only the last line is final; at most SMTP_REPLY_MAX_OCTETS - 1 octets in
 *         whole lines, NUL behind them. Nothing beyond the end of the reply is consumed.
 * Source: RFC 5321 section 4.2. It asks for CRLF; a lone LF ends a line, too, for old servers send it and nothing can
 *         be smuggled through a reply that is written anew. 8-bit octets become '?': UTF-8 replies are for who asked
 *         for SMTPUTF8 (RFC 6531 section 3.7.4.2), and no reply of ours contains 8-bit (POLICY section 6).
 */
#include "dataplane/smtp/smtp_reply.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"

#define REPLY_LINE_READ_MAX_OCTETS 65536 /* of one line with what is cut away: an endless line is no reply */
#define REPLY_LINE_TEXT_MAX_OCTETS (SMTP_REPLY_LINE_MAX_OCTETS - 2)

void
smtp_reply_parser_init(struct smtp_reply_parser *p)
{
	/* the texts are written before they are read: clearing 2.5 KiB for each reply would buy nothing */
	p->reply.code = 0;
	p->reply.len_octets = 0;
	p->reply.text[0] = '\0';
	p->line_octets = 0;
	p->n_lines = 0;
	memset(p->code_text, 0, sizeof(p->code_text));
	p->last_line = false;
	p->cut = false;
	p->cr = false;
}

/* An octet of the line, before its end. false: this cannot be a reply. */
static bool
reply_octet(struct smtp_reply_parser *p, uint8_t c)
{
	const uint32_t at = p->line_octets;

	if (at >= REPLY_LINE_READ_MAX_OCTETS)
		return false;
	if ((c < 0x20 && c != '\t') || c == 0x7f)
		return false;
	if (at == 0 && (c < '2' || c > '5')) /* RFC 5321 section 4.2: the first digit is 2 to 5 */
		return false;
	if ((at == 1 || at == 2) && (c < '0' || c > '9'))
		return false;
	if (at < 3 && p->n_lines > 0 && (char)c != p->code_text[at])
		return false;
	if (at == 3 && c != ' ' && c != '-')
		return false;
	if (at < 3)
		p->code_text[at] = (char)c;
	if (at < REPLY_LINE_TEXT_MAX_OCTETS)
		p->line[at] = c < 0x80 ? (char)c : '?';
	p->line_octets++;
	return true;
}

/* Of the n octets at p those that are printable and 7-bit and fit the line, copied: behind the code nothing else is asked of them. */
static uint32_t
reply_plain(struct smtp_reply_parser *p, const uint8_t *octet, uint32_t n)
{
	uint32_t i;

	if (p->line_octets < 4 || p->line_octets >= REPLY_LINE_TEXT_MAX_OCTETS || p->cr)
		return 0;
	n = n < REPLY_LINE_TEXT_MAX_OCTETS - p->line_octets ? n : REPLY_LINE_TEXT_MAX_OCTETS - p->line_octets;
	for (i = 0; i < n && octet[i] >= 0x20 && octet[i] < 0x7f; i++)
		p->line[p->line_octets + i] = (char)octet[i];
	p->line_octets += i;
	return i;
}

/* Adds the line under way to the kept text, or notes that it had no room. */
static void
reply_keep_line(struct smtp_reply_parser *p)
{
	struct smtp_reply *r = &p->reply;
	uint32_t n = p->line_octets;

	if (n > REPLY_LINE_TEXT_MAX_OCTETS)
		n = REPLY_LINE_TEXT_MAX_OCTETS;
	if (p->cut || r->len_octets + n + 2 >= sizeof(r->text)) {
		p->cut = true;
		return;
	}
	memcpy(r->text + r->len_octets, p->line, n);
	memcpy(r->text + r->len_octets + n, "\r\n", 3);
	r->len_octets = (uint16_t)(r->len_octets + n + 2);
}

/* After the final line: where lines were cut, the last kept one becomes final. */
static void
reply_finish(struct smtp_reply_parser *p)
{
	struct smtp_reply *r = &p->reply;
	uint32_t start = r->len_octets;

	r->code = (uint16_t)((p->code_text[0] - '0') * 100 + (p->code_text[1] - '0') * 10 + (p->code_text[2] - '0'));
	if (!p->cut)
		return;
	for (start -= 2; start > 0 && r->text[start - 1] != '\n'; start--)
		;
	r->text[start + 3] = ' '; /* a line that goes on has its '-' there */
}

/* The line's end. false: this cannot be a reply. */
static bool
reply_line_end(struct smtp_reply_parser *p)
{
	if (p->line_octets < 3 || p->n_lines >= SMTP_REPLY_LINES_MAX)
		return false;
	p->last_line = p->line_octets == 3 || p->line[3] == ' ';
	reply_keep_line(p);
	p->n_lines++;
	p->line_octets = 0;
	p->cr = false;
	if (p->last_line)
		reply_finish(p);
	return true;
}

static bool
is_code(const struct smtp_reply_parser *p, const uint8_t *octet)
{
	return p->n_lines > 0 ? memcmp(octet, p->code_text, 3) == 0
	                      : octet[0] >= '2' && octet[0] <= '5' && octet[1] >= '0' && octet[1] <= '9' &&
	                                octet[2] >= '0' && octet[2] <= '9';
}

/* A whole line of printable octets, as nearly every one is, kept as it came. False, and nothing has changed: it is read octet by octet. */
static bool
reply_whole_line(struct smtp_reply_parser *p, struct buf_view *view)
{
	struct smtp_reply *r = &p->reply;
	const uint8_t *at = view->ptr;
	uint32_t n;

	if (p->line_octets > 0 || p->cr || p->cut || p->n_lines >= SMTP_REPLY_LINES_MAX)
		return false;
	n = text_first_control(at, MIN(view->len_octets, REPLY_LINE_TEXT_MAX_OCTETS + 1));
	if (n < 4 || n > REPLY_LINE_TEXT_MAX_OCTETS || n + 2 > view->len_octets || at[n] != '\r' || at[n + 1] != '\n' ||
		r->len_octets + n + 2 >= sizeof(r->text) || !is_code(p, at) || (at[3] != ' ' && at[3] != '-') ||
		!text_is_7bit(at, n))
		return false;
	memcpy(p->code_text, at, 3);
	memcpy(r->text + r->len_octets, at, n + 2);
	r->len_octets = (uint16_t)(r->len_octets + n + 2);
	r->text[r->len_octets] = '\0';
	p->n_lines++;
	p->last_line = at[3] == ' ';
	view->ptr += n + 2;
	view->len_octets -= n + 2;
	if (p->last_line)
		reply_finish(p);
	return true;
}

enum smtp_reply_result
smtp_reply_parse(struct smtp_reply_parser *p, struct buf_view *view)
{
	while (view->len_octets > 0) {
		uint32_t plain;
		uint8_t c;

		if (reply_whole_line(p, view)) {
			if (p->last_line)
				return SMTP_REPLY_DONE;
			continue;
		}
		plain = reply_plain(p, view->ptr, view->len_octets);
		view->ptr += plain;
		view->len_octets -= plain;
		if (view->len_octets == 0)
			break;
		c = *view->ptr++;
		view->len_octets--;
		if (c == '\n') {
			if (!reply_line_end(p))
				return SMTP_REPLY_BROKEN;
			if (p->last_line)
				return SMTP_REPLY_DONE;
		} else if (p->cr) {
			return SMTP_REPLY_BROKEN; /* a CR that ends no line */
		} else if (c == '\r') {
			p->cr = true;
		} else if (!reply_octet(p, c)) {
			return SMTP_REPLY_BROKEN;
		}
	}
	return SMTP_REPLY_MORE;
}
