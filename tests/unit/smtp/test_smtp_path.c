/*
 * test_smtp_path.c - address and parameter syntax: what is taken, in which octets, and what is not.
 */
#include <stdlib.h>

#include "dataplane/smtp/smtp_path.h"
#include "tests/check.h"

/* Parses a copy of its exact size, so that the sanitizer sees a read beyond it. */
static enum smtp_path_result
parse(const char *text, struct smtp_path *out, char *rest, size_t n_rest)
{
	const uint32_t n = (uint32_t)strlen(text);
	char *copy = malloc(n > 0 ? n : 1);
	struct smtp_str left = { copy, 0 };
	enum smtp_path_result result;

	assert_non_null(copy);
	memcpy(copy, text, n);
	memset(out, 0xa5, sizeof(*out));
	result = smtp_path_parse((struct smtp_str){ copy, n }, out, &left);
	snprintf(rest, n_rest, "%.*s", (int)left.len_octets, left.ptr);
	free(copy);
	return result;
}

static void
test_smtp_path_takes_what_the_grammar_allows(void **state)
{
	static const struct {
		const char *in, *want, *rest;
		bool has_8bit;
	} rows[] = {
		{ "<>", "", "", false },
		{ "<> SIZE=1", "", " SIZE=1", false },
		{ "<a@b.example>", "a@b.example", "", false },
		{ "  <a@b.example>", "a@b.example", "", false },
		{ "<a@b>", "a@b", "", false },
		{ "<a.b+tag=x@b.example>", "a.b+tag=x@b.example", "", false },
		{ "<!#$%&'*+-/=?^_`{|}~@b.example>", "!#$%&'*+-/=?^_`{|}~@b.example", "", false },
		{ "<a..b.@b.example>", "a..b.@b.example", "", false },
		{ "<.a@b.example>", ".a@b.example", "", false },
		{ "<\"a b\"@b.example>", "\"a b\"@b.example", "", false },
		{ "<\"a@b\\\"<>,:;\"@c.example>", "\"a@b\\\"<>,:;\"@c.example", "", false },
		{ "<\"\"@c.example>", "\"\"@c.example", "", false },
		{ "<@x.example:a@b.example>", "a@b.example", "", false },
		{ "<@x.example,@y.example:a@b.example>", "a@b.example", "", false },
		{ "<a@[192.0.2.1]>", "a@[192.0.2.1]", "", false },
		{ "<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", "", false },
		{ "<a@[ipv6:::1]>", "a@[ipv6:::1]", "", false },
		{ "<a@[x400:content]>", "a@[x400:content]", "", false },
		{ "<postmaster>", "postmaster", "", false },
		{ "<PostMaster>", "PostMaster", "", false },
		{ "a@b.example", "a@b.example", "", false },
		{ "a@b.example SIZE=1", "a@b.example", " SIZE=1", false },
		{ "<a@under_score.example>", "a@under_score.example", "", false },
		{ "<a@-b-.example>", "a@-b-.example", "", false },
		{ "<j\xc3\xbcrgen@m\xc3\xbcller.example>", "j\xc3\xbcrgen@m\xc3\xbcller.example", "", true },
		{ "<\"\xf0\x9f\x93\xa7\"@b.example>", "\"\xf0\x9f\x93\xa7\"@b.example", "", true },
	};
	struct smtp_path path;
	char rest[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK_EQ(rows[i].in, parse(rows[i].in, &path, rest, sizeof(rest)), SMTP_PATH_OK);
		CHECK_STR(rows[i].in, path.text, rows[i].want);
		CHECK_EQ(rows[i].in, path.len_octets, strlen(rows[i].want));
		CHECK_EQ(rows[i].in, path.has_8bit, rows[i].has_8bit);
		CHECK_STR(rows[i].in, rest, rows[i].rest);
	}
}

static void
test_smtp_path_refuses_what_it_does_not(void **state)
{
	static const struct {
		const char *in;
		enum smtp_path_result want;
	} rows[] = {
		{ "", SMTP_PATH_SYNTAX },
		{ "<", SMTP_PATH_SYNTAX },
		{ ">", SMTP_PATH_SYNTAX },
		{ "< >", SMTP_PATH_SYNTAX },
		{ "<<a@b.example>>", SMTP_PATH_SYNTAX },
		{ "<a@b.example", SMTP_PATH_SYNTAX },
		{ "a@b.example>", SMTP_PATH_SYNTAX },
		{ "<a@b.example>x", SMTP_PATH_SYNTAX },
		{ "<a>", SMTP_PATH_SYNTAX },
		{ "<a@>", SMTP_PATH_SYNTAX },
		{ "<@>", SMTP_PATH_SYNTAX },
		{ "<@b.example>", SMTP_PATH_SYNTAX },
		{ "<@b.example:>", SMTP_PATH_SYNTAX },
		{ "<@b.example,:a@c.example>", SMTP_PATH_SYNTAX },
		{ "<@b.example,c.example:a@c.example>", SMTP_PATH_SYNTAX },
		{ "<a b@c.example>", SMTP_PATH_SYNTAX },
		{ "<a@b c.example>", SMTP_PATH_SYNTAX },
		{ "<a@b@c.example>", SMTP_PATH_SYNTAX },
		{ "<a,b@c.example>", SMTP_PATH_SYNTAX },
		{ "<a:b@c.example>", SMTP_PATH_SYNTAX },
		{ "<(x)a@c.example>", SMTP_PATH_SYNTAX },
		{ "<a@b..example>", SMTP_PATH_SYNTAX },
		{ "<a@.example>", SMTP_PATH_SYNTAX },
		{ "<a@b.example.>", SMTP_PATH_SYNTAX },
		{ "<a@b,example>", SMTP_PATH_SYNTAX },
		{ "<\"a@b.example>", SMTP_PATH_SYNTAX },
		{ "<\"a\"b@c.example>", SMTP_PATH_SYNTAX },
		{ "<\"a\\", SMTP_PATH_SYNTAX },
		{ "<a@[192.0.2.256]>", SMTP_PATH_SYNTAX },
		{ "<a@[192.0.2]>", SMTP_PATH_SYNTAX },
		{ "<a@[2001:db8::1]>", SMTP_PATH_SYNTAX },
		{ "<a@[IPv6:192.0.2.1]>", SMTP_PATH_SYNTAX },
		{ "<a@[IPv6:]>", SMTP_PATH_SYNTAX },
		{ "<a@[IPv6:2001:db8:::1]>", SMTP_PATH_SYNTAX },
		{ "<a@[]>", SMTP_PATH_SYNTAX },
		{ "<a@[192.0.2.1>", SMTP_PATH_SYNTAX },
		{ "<a@[tag]>", SMTP_PATH_SYNTAX },
		{ "<j\xfcrgen@b.example>", SMTP_PATH_NOT_UTF8 },
		{ "<\xc0\xaf@b.example>", SMTP_PATH_NOT_UTF8 },
		{ "<\xed\xa0\x80@b.example>", SMTP_PATH_NOT_UTF8 },
		{ "<\xf4\x90\x80\x80@b.example>", SMTP_PATH_NOT_UTF8 },
		{ "<a@b.\xc3>", SMTP_PATH_NOT_UTF8 },
		{ "<a@bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.example>", SMTP_PATH_SYNTAX },
	};
	struct smtp_path path;
	char rest[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_EQ(rows[i].in, parse(rows[i].in, &path, rest, sizeof(rest)), rows[i].want);
}

static void
test_smtp_path_has_its_bounds(void **state)
{
	struct smtp_path path;
	char in[1024], rest[256];

	(void)state;
	for (int local = 60; local < 400; local++) {
		snprintf(in, sizeof(in), "<%0*d@b.example>", local, 0);
		CHECK_EQ("a long local part", parse(in, &path, rest, sizeof(rest)),
			local + 10 <= SMTP_PATH_MAX_OCTETS ? SMTP_PATH_OK : SMTP_PATH_TOO_LONG);
	}
	for (int labels = 1; labels < 70; labels++) {
		int n = snprintf(in, sizeof(in), "<a@");

		for (int i = 0; i < labels; i++)
			n += snprintf(in + n, sizeof(in) - (size_t)n, "%sbbbb", i > 0 ? "." : "");
		snprintf(in + n, sizeof(in) - (size_t)n, ">");
		CHECK_EQ("a long domain", parse(in, &path, rest, sizeof(rest)),
			5 * labels - 1 <= SMTP_DOMAIN_MAX_OCTETS ? SMTP_PATH_OK : SMTP_PATH_TOO_LONG);
	}
}

static void
test_smtp_param_next_walks_parameters(void **state)
{
	static const struct {
		const char *in;
		int n;
		bool broken;
		const char *last;
	} rows[] = {
		{ "", 0, false, "" },
		{ "  \t ", 0, false, "" },
		{ " SIZE=1", 1, false, "SIZE" },
		{ " SIZE=1\tSMTPUTF8  BODY=8BITMIME ", 3, false, "BODY" },
		{ " =1", 0, true, "" },
		{ " SIZE=", 0, true, "" },
		{ " SIZE=1=2", 0, true, "" },
		{ " -A=1", 0, true, "" },
		{ " A-B=1", 1, false, "A-B" },
		{ " A_B=1", 0, true, "" },
		{ " A B=\x01", 1, true, "A" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct smtp_str text = { rows[i].in, (uint32_t)strlen(rows[i].in) };
		struct smtp_param param;
		char last[64] = "";
		int n = 0, more;

		while ((more = smtp_param_next(&text, &param)) > 0) {
			snprintf(last, sizeof(last), "%.*s", (int)param.name.len_octets, param.name.ptr);
			n++;
		}
		CHECK_EQ(rows[i].in, n, rows[i].n);
		CHECK_EQ(rows[i].in, more < 0, rows[i].broken);
		CHECK_STR(rows[i].in, last, rows[i].last);
	}
}

static void
test_smtp_str_number_stays_in_64_bits(void **state)
{
	static const struct {
		const char *in;
		bool ok;
		uint64_t want;
	} rows[] = {
		{ "0", true, 0 },
		{ "00000000000000000001", true, 1 },
		{ "18446744073709551615", true, UINT64_MAX },
		{ "18446744073709551616", false, 0 },
		{ "99999999999999999999", false, 0 },
		{ "000000000000000000001", false, 0 },
		{ "", false, 0 },
		{ "-1", false, 0 },
		{ "+1", false, 0 },
		{ " 1", false, 0 },
		{ "1a", false, 0 },
		{ "0x1", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t got = 0;

		CHECK_EQ(rows[i].in,
			smtp_str_number((struct smtp_str){ rows[i].in, (uint32_t)strlen(rows[i].in) }, &got),
			rows[i].ok);
		CHECK_TRUE(rows[i].in, got == rows[i].want);
	}
}

/*
 * Each octet at each place of short paths and of long ones: the way by sixteens and the grammar say the same. A space before the path is for the
 * grammar alone.
 */
static void
test_smtp_path_has_one_grammar(void **state)
{
	static const char *const paths[] = { "<a@b>", "<alice.smith@mail.example.org>", "<a@b.c> SIZE=1000",
		"<0123456789012345678901234567890@0123456789012345678901.example.org>",
		"<0123456789012345678901234567890@01234567890123456789012.example.org>",
		"<01234567890123456789012345678901@01234567890123456789012.example.org>",
		"<012345678901234567890123456789012345678901234567890123456789a@b>",
		"<012345678901234567890123456789012345678901234567890123456789ab@c>" };

	(void)state;
	for (size_t p = 0; p < ARRAY_LEN(paths); p++) {
		for (size_t at = 0; at <= strlen(paths[p]); at++) {
			for (unsigned c = 0; c < 256; c++) {
				struct smtp_path quick, grammar;
				char text[128], rest[2][128];
				enum smtp_path_result result[2];

				snprintf(text, sizeof(text), " %s", paths[p]);
				if (c != 0 && at < strlen(paths[p]))
					text[1 + at] = (char)c;
				if (c == 0) /* cut */
					text[1 + at] = '\0';
				result[0] = parse(text + 1, &quick, rest[0], sizeof(rest[0]));
				result[1] = parse(text, &grammar, rest[1], sizeof(rest[1]));
				if (text[1] == '\0') /* nothing is not a space */
					continue;
				if (result[0] != result[1] ||
					(result[0] == SMTP_PATH_OK && (strcmp(quick.text, grammar.text) != 0 ||
									      strcmp(rest[0], rest[1]) != 0 ||
									      quick.len_octets != grammar.len_octets ||
									      quick.has_8bit != grammar.has_8bit)))
					CHECK_STR(text, "the same", "another");
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smtp_path_takes_what_the_grammar_allows),
		cmocka_unit_test(test_smtp_path_refuses_what_it_does_not),
		cmocka_unit_test(test_smtp_path_has_its_bounds),
		cmocka_unit_test(test_smtp_path_has_one_grammar),
		cmocka_unit_test(test_smtp_param_next_walks_parameters),
		cmocka_unit_test(test_smtp_str_number_stays_in_64_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
