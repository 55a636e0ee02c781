/*
 * fuzz_smtp_reply.c - any octets as a backend's reply, whole and in pieces, and what EHLO makes of them.
 *
 * Keeps:  the same result in any cut; what is kept is whole lines of printable 7-bit octets within the bounds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/relay/ehlo.h"
#include "dataplane/smtp/smtp_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum smtp_reply_result
parse(struct smtp_reply_parser *p, const uint8_t *data, uint32_t len, uint32_t cut, uint32_t *used)
{
	enum smtp_reply_result result = SMTP_REPLY_MORE;
	uint32_t at = 0;

	smtp_reply_parser_init(p);
	while (at < len && result == SMTP_REPLY_MORE) {
		const uint32_t n = MIN(cut, len - at);
		uint8_t *piece = malloc(n);
		struct buf_view v = { .ptr = piece, .len_octets = n };

		memcpy(piece, data + at, n);
		result = smtp_reply_parse(p, &v);
		at += n - v.len_octets;
		free(piece);
	}
	*used = at;
	return result;
}

static void
check_kept(const struct smtp_reply *r)
{
	uint32_t line = 0;

	BUG_ON(r->code < 200 || r->code > 599);
	BUG_ON(r->len_octets < 5 || r->len_octets >= SMTP_REPLY_MAX_OCTETS || r->text[r->len_octets] != '\0');
	for (uint32_t i = 0; i < r->len_octets; i++) {
		const uint8_t c = (uint8_t)r->text[i];

		BUG_ON(c >= 0x7f || (c < 0x20 && c != '\t' && c != '\r' && c != '\n'));
		BUG_ON((c == '\n') != (i > 0 && r->text[i - 1] == '\r'));
		if (c != '\n')
			continue;
		BUG_ON(i - line + 1 > SMTP_REPLY_LINE_MAX_OCTETS || i - line < 4);
		BUG_ON(memcmp(r->text + line, r->text, 3) != 0);
		BUG_ON(i + 1 < r->len_octets && r->text[line + 3] != '-');
		BUG_ON(i + 1 == r->len_octets && r->text[line + 3] == '-');
		line = i + 1;
	}
	BUG_ON(line != r->len_octets);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct smtp_reply_parser whole, cut;
	enum smtp_reply_result result;
	uint32_t used, used_cut;
	struct ehlo ehlo;
	char words[64];

	if (size == 0)
		return 0;
	result = parse(&whole, data + 1, (uint32_t)size - 1, (uint32_t)size, &used);
	BUG_ON(parse(&cut, data + 1, (uint32_t)size - 1, 1u + data[0] % 16, &used_cut) != result);
	BUG_ON(used != used_cut);
	if (result != SMTP_REPLY_DONE)
		return 0;
	BUG_ON(whole.reply.len_octets != cut.reply.len_octets ||
		memcmp(whole.reply.text, cut.reply.text, whole.reply.len_octets) != 0);
	check_kept(&whole.reply);
	ehlo_parse(&whole.reply, &ehlo);
	BUG_ON((ehlo.ext & EXT_XCLIENT) == 0 && ehlo.xclient != 0);
	smtp_reply_words(&whole.reply, words, sizeof(words));
	return 0;
}
