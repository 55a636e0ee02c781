/*
 * test_smtp_line.c - command lines out of pieces, and replies of our own.
 */
#include <stdlib.h>

#include "dataplane/smtp/smtp_line.h"
#include "dataplane/smtp/smtp_reply.h"
#include "tests/check.h"

struct seen {
	enum smtp_line_result result[64];
	char text[64][64];
	uint32_t n;
};

/* All lines of in, fed in pieces of at most cut octets. */
static void
read_lines(const uint8_t *in, uint32_t n, uint32_t cut, struct seen *seen)
{
	struct smtp_line line;
	uint32_t from = 0;

	seen->n = 0;
	smtp_line_init(&line);
	while (from < n) {
		struct smtp_str out = { NULL, 0 };
		uint32_t used, have = MIN(cut, n - from);
		uint8_t *piece = malloc(have);
		enum smtp_line_result result;

		memcpy(piece, in + from, have);
		result = smtp_line_input(&line, piece, have, &used, &out);
		CHECK_TRUE("something is taken", used > 0 && used <= have);
		from += used;
		if (result != SMTP_LINE_MORE) {
			snprintf(seen->text[seen->n], sizeof(seen->text[0]), "%.*s", (int)out.len_octets,
				out.len_octets > 0 ? out.ptr : "");
			seen->result[seen->n++] = result;
		} else {
			CHECK_EQ("more means that all was taken", used, have);
		}
		free(piece);
	}
}

static void
test_smtp_line_refuses_bare_lf_and_noise(void **state)
{
	static const struct {
		const char *label, *in;
		uint32_t n;
		enum smtp_line_result want;
		const char *text;
	} rows[] = {
#define ROW(label, in, want, text) { label, in, sizeof(in) - 1, want, text }
		ROW("a line", "NOOP\r\n", SMTP_LINE_DONE, "NOOP"),
		ROW("an empty one", "\r\n", SMTP_LINE_DONE, ""),
		ROW("TAB is a space", "a\tb\r\n", SMTP_LINE_DONE, "a\tb"),
		ROW("8-bit is for others to judge", "a\xff\r\n", SMTP_LINE_DONE, "a\xff"),
		ROW("LF alone", "NOOP\n", SMTP_LINE_BARE_LF, ""),
		ROW("LF first", "\n", SMTP_LINE_BARE_LF, ""),
		ROW("CR within", "a\rb\r\n", SMTP_LINE_NOISE, ""),
		ROW("CR CR LF", "a\r\r\n", SMTP_LINE_NOISE, ""),
		ROW("NUL", "a\0b\r\n", SMTP_LINE_NOISE, ""),
		ROW("NUL before CR", "a\0\r\n", SMTP_LINE_NOISE, ""),
		ROW("ESC", "\x1b[2J\r\n", SMTP_LINE_NOISE, ""),
		ROW("DEL", "a\x7f\r\n", SMTP_LINE_NOISE, ""),
#undef ROW
	};
	struct seen seen;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (uint32_t cut = 1; cut <= rows[i].n; cut++) {
			read_lines((const uint8_t *)rows[i].in, rows[i].n, cut, &seen);
			CHECK_EQ(rows[i].label, seen.n, 1);
			CHECK_EQ(rows[i].label, seen.result[0], rows[i].want);
			CHECK_STR(rows[i].label, seen.text[0], rows[i].text);
		}
}

static void
test_smtp_line_keeps_lines_apart_wherever_cut(void **state)
{
	static const char in[] = "EHLO a\r\nMAIL FROM:<>\r\nbad\nRCPT TO:<b>\r\n\r\nQUIT\r\n";
	static const char *const want[] = { "EHLO a", "MAIL FROM:<>", "", "RCPT TO:<b>", "", "QUIT" };
	struct seen seen;

	(void)state;
	for (uint32_t cut = 1; cut <= sizeof(in) - 1; cut++) {
		read_lines((const uint8_t *)in, sizeof(in) - 1, cut, &seen);
		CHECK_EQ("lines", seen.n, ARRAY_LEN(want));
		for (size_t i = 0; i < ARRAY_LEN(want); i++)
			CHECK_STR("line", seen.text[i], want[i]);
	}
}

static void
test_smtp_line_drops_what_is_too_long(void **state)
{
	static const uint32_t cuts[] = { 1, 7, 1000, 2047, 2048, 2049, 100000 };
	static uint8_t in[SMTP_LINE_MAX_OCTETS * 3];
	struct seen seen;

	(void)state;
	for (uint32_t len = SMTP_LINE_MAX_OCTETS - 3; len < SMTP_LINE_MAX_OCTETS + 4; len++)
		for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
			memset(in, 'x', len - 2);
			memcpy(in + len - 2, "\r\nNOOP\r\n", 8);
			read_lines(in, len + 6, cuts[c], &seen);
			CHECK_EQ("two lines", seen.n, 2);
			CHECK_EQ("the first", seen.result[0],
				len <= SMTP_LINE_MAX_OCTETS ? SMTP_LINE_DONE : SMTP_LINE_TOO_LONG);
			CHECK_STR("the second is whole", seen.text[1], "NOOP");
		}
}

/* PITFALLS 53: whatever text gets into a reply of ours comes out as one line, printable, 7-bit and bounded. */
static void
test_smtp_reply_is_one_printable_line(void **state)
{
	static const struct {
		const char *label;
		uint16_t code;
		const char *enhanced, *text, *want;
	} rows[] = {
		{ "plain", 250, "2.0.0", "Ok", "250 2.0.0 Ok\r\n" },
		{ "without enhanced code", 220, NULL, "host ESMTP", "220 host ESMTP\r\n" },
		{ "empty enhanced code", 220, "", "host ESMTP", "220 host ESMTP\r\n" },
		{ "without text", 250, "2.0.0", "", "250 2.0.0\r\n" },
		{ "a forged line", 554, "5.7.1", "x\r\n250 Ok", "554 5.7.1 x??250 Ok\r\n" },
		{ "8-bit and controls", 554, "5.7.1", "\x1b[2J\xc3\xbc\x7f\t", "554 5.7.1 ?[2J????\r\n" },
	};
	char text[2000], words[32];
	struct smtp_reply r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memset(&r, 0xa5, sizeof(r));
		smtp_reply_set(&r, rows[i].code, rows[i].enhanced, rows[i].text);
		CHECK_EQ(rows[i].label, r.code, rows[i].code);
		CHECK_OCTETS(rows[i].label, r.text, r.len_octets, rows[i].want, strlen(rows[i].want));
	}
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	smtp_reply_set(&r, 451, "4.7.1", text);
	CHECK_EQ("cut to a line", r.len_octets, SMTP_REPLY_LINE_MAX_OCTETS);
	CHECK_OCTETS("which ends", r.text + r.len_octets - 2, 2, "\r\n", 2);
	smtp_reply_setf(&r, 451, "4.7.1", "%s and more", text);
	CHECK_TRUE("by format too", r.len_octets <= SMTP_REPLY_LINE_MAX_OCTETS && r.text[r.len_octets - 1] == '\n');
	smtp_reply_set(&r, 451, text, "");
	CHECK_TRUE("whatever is long", r.len_octets <= SMTP_REPLY_LINE_MAX_OCTETS && r.text[r.len_octets - 1] == '\n');
	smtp_reply_set(&r, 250, "2.0.0", "Ok: queued as ABCDEF");
	CHECK_STR("words", smtp_reply_words(&r, words, sizeof(words)), "250 2.0.0 Ok: queued as ABCDEF");
	CHECK_STR("cut words", smtp_reply_words(&r, words, 10), "250 2.0.0");
	r.code = 550;
	r.len_octets = (uint16_t)snprintf(r.text, sizeof(r.text), "550-\x01\xffz\r\n550 last\r\n");
	CHECK_STR("the first line alone, printable", smtp_reply_words(&r, words, sizeof(words)), "550-??z");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smtp_line_refuses_bare_lf_and_noise),
		cmocka_unit_test(test_smtp_line_keeps_lines_apart_wherever_cut),
		cmocka_unit_test(test_smtp_line_drops_what_is_too_long),
		cmocka_unit_test(test_smtp_reply_is_one_printable_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
