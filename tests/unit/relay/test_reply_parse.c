/*
 * test_reply_parse.c - replies of backends: every row cut at every octet, bounds, and what is kept.
 */
#include "dataplane/smtp/smtp_reply.h"

#include <stdlib.h>

#include "tests/check.h"

/* Parses text in pieces of n octets (exact blocks); the rest after the reply is left in *left. */
static enum smtp_reply_result
parse(struct smtp_reply_parser *p, const char *text, uint32_t len, uint32_t n, uint32_t *left)
{
	enum smtp_reply_result result = SMTP_REPLY_MORE;
	uint32_t at = 0;

	smtp_reply_parser_init(p);
	while (at < len && result == SMTP_REPLY_MORE) {
		uint32_t m = MIN(n, len - at);
		uint8_t *piece = malloc(m);
		struct buf_view v = { .ptr = piece, .len_octets = m };

		memcpy(piece, text + at, m);
		result = smtp_reply_parse(p, &v);
		CHECK_TRUE("view advanced within the piece", v.ptr == piece + m - v.len_octets);
		CHECK_TRUE("more means all was taken", result != SMTP_REPLY_MORE || v.len_octets == 0);
		at += m - v.len_octets;
		free(piece);
	}
	*left = len - at;
	return result;
}

struct row {
	const char *label;
	const char *text;
	enum smtp_reply_result want;
	uint16_t code;
	const char *kept; /* NULL: as text */
	uint32_t left;
};

#define DONE(code) SMTP_REPLY_DONE, code, NULL, 0
#define BROKEN     SMTP_REPLY_BROKEN, 0, NULL, 0
#define MORE       SMTP_REPLY_MORE, 0, NULL, 0

static const struct row rows[] = {
	{ "one line", "250 ok\r\n", DONE(250) },
	{ "no text", "250 \r\n", DONE(250) },
	{ "no space", "250\r\n", DONE(250) },
	{ "several lines", "250-a\r\n250-b\r\n250 c\r\n", DONE(250) },
	{ "several lines, the last without a space", "250-a\r\n250\r\n", DONE(250) },
	{ "an empty continued line", "250-\r\n250 x\r\n", DONE(250) },
	{ "a line feed alone ends a line", "250-a\n250 b\n", SMTP_REPLY_DONE, 250, "250-a\r\n250 b\r\n", 0 },
	{ "8-bit becomes a question mark", "550 caf\xc3\xa9\r\n", SMTP_REPLY_DONE, 550, "550 caf??\r\n", 0 },
	{ "a tab is text", "220 a\tb\r\n", DONE(220) },
	{ "what follows is left", "250 ok\r\n354 go\r\n", SMTP_REPLY_DONE, 250, "250 ok\r\n", 8 },
	{ "second digit of any kind", "299 ok\r\n", DONE(299) },
	{ "unfinished: code", "25", MORE },
	{ "unfinished: line", "250 ok", MORE },
	{ "unfinished: CR", "250 ok\r", MORE },
	{ "unfinished: more lines", "250-ok\r\n", MORE },
	{ "empty line", "\r\n", BROKEN },
	{ "no code", "hello\r\n", BROKEN },
	{ "two digits", "25 ok\r\n", BROKEN },
	{ "four digits", "2500 ok\r\n", BROKEN },
	{ "two digits and the end", "25\r\n", BROKEN },
	{ "first digit 1", "150 ok\r\n", BROKEN },
	{ "first digit 6", "650 ok\r\n", BROKEN },
	{ "first digit 0", "050 ok\r\n", BROKEN },
	{ "text right behind the code", "250ok\r\n", BROKEN },
	{ "codes differ", "250-a\r\n251 b\r\n", BROKEN },
	{ "codes differ in the last line", "250-a\r\n550 b\r\n", BROKEN },
	{ "bare CR", "250 a\rb\r\n", BROKEN },
	{ "CR CR LF", "250 a\r\r\n", BROKEN },
	{ "escape", "250 \x1b[2J\r\n", BROKEN },
	{ "DEL", "250 \x7f\r\n", BROKEN },
	{ "a space before the code", " 250 ok\r\n", BROKEN },
	{ "tab behind the code", "250\tok\r\n", BROKEN },
};

static void
test_smtp_reply_parse_rows_cut_at_every_octet(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint32_t len = (uint32_t)strlen(rows[i].text);

		for (uint32_t n = 1; n <= len; n++) {
			struct smtp_reply_parser p;
			uint32_t left;

			CHECK_EQ(rows[i].label, parse(&p, rows[i].text, len, n, &left), rows[i].want);
			if (rows[i].want != SMTP_REPLY_DONE)
				continue;
			CHECK_EQ(rows[i].label, p.reply.code, rows[i].code);
			CHECK_STR(rows[i].label, p.reply.text, rows[i].kept != NULL ? rows[i].kept : rows[i].text);
			CHECK_EQ(rows[i].label, p.reply.len_octets, strlen(p.reply.text));
			if (n == len)
				CHECK_EQ(rows[i].label, left, rows[i].left);
		}
	}
}

static void
test_smtp_reply_parse_nul_is_no_reply(void **state)
{
	struct smtp_reply_parser p;
	uint32_t left;

	(void)state;
	CHECK_EQ("NUL", parse(&p, "250 a\0b\r\n", 9, 9, &left), SMTP_REPLY_BROKEN);
	CHECK_EQ("NUL first", parse(&p, "\0", 1, 1, &left), SMTP_REPLY_BROKEN);
}

/* A line of len octets of text, marked sep, behind code 250. */
static size_t
put_line(char *out, char sep, size_t len)
{
	memcpy(out, "250", 3);
	out[3] = sep;
	memset(out + 4, 'x', len);
	memcpy(out + 4 + len, "\r\n", 2);
	return len + 6;
}

static void
check_kept(const char *label, const struct smtp_reply *r)
{
	uint32_t at = 0;

	CHECK_TRUE(label, r->len_octets > 0 && r->len_octets < SMTP_REPLY_MAX_OCTETS);
	while (at < r->len_octets) {
		const char *nl = memchr(r->text + at, '\n', r->len_octets - at);
		uint32_t line;

		CHECK_TRUE(label, nl != NULL && nl[-1] == '\r');
		line = (uint32_t)(nl - (r->text + at)) + 1;
		CHECK_TRUE(label, line <= SMTP_REPLY_LINE_MAX_OCTETS);
		CHECK_TRUE(label, memcmp(r->text + at, "250", 3) == 0);
		CHECK_EQ(label, r->text[at + 3], at + line == r->len_octets ? ' ' : '-');
		at += line;
	}
}

static void
test_smtp_reply_parse_bounds(void **state)
{
	static char text[SMTP_REPLY_LINES_MAX * 70000];
	struct smtp_reply_parser p;
	uint32_t left;

	(void)state;
	for (size_t len = 480; len < 530; len++) {
		size_t n = put_line(text, ' ', len);

		CHECK_EQ("a line around the limit", parse(&p, text, (uint32_t)n, 97, &left), SMTP_REPLY_DONE);
		CHECK_EQ("cut to the limit", p.reply.len_octets, MIN(n, (size_t)SMTP_REPLY_LINE_MAX_OCTETS));
		check_kept("around the limit", &p.reply);
	}
	for (size_t len = 0; len < 700; len += 7) {
		for (int lines = 2; lines <= SMTP_REPLY_LINES_MAX; lines += 21) {
			size_t n = 0;

			for (int i = 0; i < lines; i++)
				n += put_line(text + n, i < lines - 1 ? '-' : ' ', len);
			CHECK_EQ("many lines", parse(&p, text, (uint32_t)n, 1000, &left), SMTP_REPLY_DONE);
			check_kept("many lines", &p.reply);
		}
	}
	{
		size_t n = 0;

		for (int i = 0; i < SMTP_REPLY_LINES_MAX; i++)
			n += put_line(text + n, i < SMTP_REPLY_LINES_MAX - 1 ? '-' : ' ', 2);
		CHECK_EQ("the most lines", parse(&p, text, (uint32_t)n, 1000, &left), SMTP_REPLY_DONE);
		n = 0;
		for (int i = 0; i <= SMTP_REPLY_LINES_MAX; i++)
			n += put_line(text + n, i < SMTP_REPLY_LINES_MAX ? '-' : ' ', 2);
		CHECK_EQ("one more", parse(&p, text, (uint32_t)n, 1000, &left), SMTP_REPLY_BROKEN);
		n = put_line(text, ' ', 65530);
		CHECK_EQ("a very long line", parse(&p, text, (uint32_t)n, 1000, &left), SMTP_REPLY_DONE);
		n = put_line(text, ' ', 65536);
		CHECK_EQ("an endless line", parse(&p, text, (uint32_t)n, 1000, &left), SMTP_REPLY_BROKEN);
	}
}

/* Whatever comes, the same octets give the same result in any cut. */
static void
test_smtp_reply_parse_random_octets_in_any_cut(void **state)
{
	static const char alphabet[] = "2250--  5\r\n\r\n\nx\xe4";
	const unsigned seed = 821;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int round = 0; round < 20000; round++) {
		struct smtp_reply_parser a, b;
		char text[40];
		const uint32_t len = 1 + (uint32_t)random() % sizeof(text);
		uint32_t left_a, left_b;

		for (uint32_t i = 0; i < len; i++)
			text[i] = alphabet[(size_t)random() % (sizeof(alphabet) - 1)];
		if (random() % 2 == 0 && len > 4)
			memcpy(text, "250-", 4);
		CHECK_EQ("same result", parse(&a, text, len, len, &left_a), parse(&b, text, len, 1, &left_b));
		CHECK_EQ("same rest", left_a, left_b);
		CHECK_OCTETS("same reply", a.reply.text, a.reply.len_octets, b.reply.text, b.reply.len_octets);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smtp_reply_parse_rows_cut_at_every_octet),
		cmocka_unit_test(test_smtp_reply_parse_nul_is_no_reply),
		cmocka_unit_test(test_smtp_reply_parse_bounds),
		cmocka_unit_test(test_smtp_reply_parse_random_octets_in_any_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
