/*
 * test_smtp_data.c - end of data and line-end rules against a naive normaliser, octet by octet.
 */
#include <stdlib.h>

#include "dataplane/smtp/smtp_data.h"
#include "dataplane/smtp/smtp_session.h"
#include "tests/check.h"
#include "tests/helpers/smtp_naive.h"

/* Feeds in in pieces that end at the bits of borders, which are of the first 32 octets; room is what the backend takes at a time. */
static struct smtp_naive
scan(const uint8_t *in, uint32_t n, enum conf_bare_lf mode, uint32_t borders, uint32_t room)
{
	struct smtp_naive o = { 0 };
	struct smtp_data d;
	uint32_t from = 0;

	smtp_data_init(&d, mode);
	while (from < n && d.at != SMTP_DATA_END && !d.broken) {
		uint32_t to = from + 1, used = 0;

		while (to < n && (to > 32 || (borders & 1u << (to - 1)) == 0))
			to++;
		while (from < to && d.at != SMTP_DATA_END && !d.broken) {
			struct buf_view view[SMTP_BODY_VIEWS_MAX];
			struct smtp_data_out out = { view, 0, SMTP_BODY_VIEWS_MAX, room };
			const struct buf_view piece = { in + from, to - from, NULL };
			uint32_t given = 0;

			used = smtp_data_input(&d, &piece, &out);
			from += used;
			for (uint32_t i = 0; i < out.n; i++) {
				memcpy(o.out + o.n_out, view[i].ptr, view[i].len_octets);
				o.n_out += view[i].len_octets;
				given += view[i].len_octets;
			}
			CHECK_EQ("the room left is told", out.room_octets, room - given);
			if (used == 0 && given == 0 && !d.broken)
				fail_msg("nothing moves at octet %u", from);
		}
	}
	o.used = from;
	o.ended = d.at == SMTP_DATA_END;
	o.broken = d.broken;
	return o;
}

static void
dump(char *text, const uint8_t *in, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		text += sprintf(text, "%02x ", in[i]);
	*text = '\0';
}

static void
compare(const uint8_t *in, uint32_t n, enum conf_bare_lf mode, uint32_t borders, uint32_t room,
	const struct smtp_naive *want)
{
	const struct smtp_naive got = scan(in, n, mode, borders, room);
	char text[4 * SMTP_NAIVE_MAX_OCTETS], out[13 * SMTP_NAIVE_MAX_OCTETS];
	bool same;

	if (want->broken) /* what was given before it was found does not count: the backend is left */
		same = got.broken && !got.ended;
	else
		same = !got.broken && got.ended == want->ended && got.used == want->used && got.n_out == want->n_out &&
		       memcmp(got.out, want->out, got.n_out) == 0;
	if (same)
		return;
	dump(text, in, n);
	dump(out, got.out, got.n_out);
	fail_msg("mode %d, borders %#x, room %u, in %s: got %s (used %u, ended %d, broken %d); want %u octets (used "
		 "%u, ended %d, broken %d)",
		mode, borders, room, text, out, got.used, got.ended, got.broken, want->n_out, want->used, want->ended,
		want->broken);
}

/* PITFALLS 31: all strings up to six octets over the five that matter, behind a line's start and in front of a true end. */
static void
test_smtp_data_ends_only_at_crlf_dot_crlf(void **state)
{
	static const uint8_t alphabet[] = { '\r', '\n', '.', '\0', 'a' };
	uint8_t in[SMTP_NAIVE_MAX_OCTETS];

	(void)state;
	for (uint32_t len = 0; len <= 6; len++) {
		uint32_t n_strings = 1;

		for (uint32_t i = 0; i < len; i++)
			n_strings *= ARRAY_LEN(alphabet);
		for (uint32_t k = 0; k < n_strings; k++) {
			uint32_t at = k;

			for (uint32_t i = 0; i < len; i++, at /= ARRAY_LEN(alphabet))
				in[i] = alphabet[at % ARRAY_LEN(alphabet)];
			for (int mode = BARE_LF_NORMALIZE; mode <= BARE_LF_TOLERATE; mode++) {
				const struct smtp_naive want = smtp_naive(in, len, (enum conf_bare_lf)mode);

				for (uint32_t borders = 0; borders < (len > 1 ? 1u << (len - 1) : 1u); borders++)
					compare(in, len, (enum conf_bare_lf)mode, borders, 1000, &want);
				compare(in, len, (enum conf_bare_lf)mode, 0, SMTP_BODY_ROOM_MIN_OCTETS, &want);
			}
		}
	}
}

/* The same strings inside a message: behind "b" CRLF, before CRLF "c" and a true end; each cut at every single border. */
static void
test_smtp_data_holds_the_rule_inside_a_message(void **state)
{
	static const uint8_t alphabet[] = { '\r', '\n', '.', '\0', 'a' };
	uint8_t in[SMTP_NAIVE_MAX_OCTETS];

	(void)state;
	for (uint32_t k = 0; k < 5 * 5 * 5 * 5 * 5 * 5; k++) {
		uint32_t at = k, n = 0;

		memcpy(in, "b\r\n", 3);
		n = 3;
		for (uint32_t i = 0; i < 6; i++, at /= ARRAY_LEN(alphabet))
			in[n++] = alphabet[at % ARRAY_LEN(alphabet)];
		memcpy(in + n, "\r\nc\r\n.\r\n", 8);
		n += 8;
		for (int mode = BARE_LF_NORMALIZE; mode <= BARE_LF_TOLERATE; mode++) {
			const struct smtp_naive want = smtp_naive(in, n, (enum conf_bare_lf)mode);

			compare(in, n, (enum conf_bare_lf)mode, 0xffffffff, 1000, &want);
			for (uint32_t border = 0; border < n; border++)
				compare(in, n, (enum conf_bare_lf)mode, 1u << border, 1000, &want);
		}
	}
}

/* A backend that ends a message at LF.LF, or drops NULs, or compares C strings, must see none end early in what we give. */
static bool
some_mta_sees_an_end(const uint8_t *out, uint32_t n, uint32_t *at)
{
	uint8_t line[4 * SMTP_NAIVE_MAX_OCTETS];
	uint32_t n_line = 0;
	bool bare = false;

	for (uint32_t i = 0; i < n; i++) {
		if (out[i] == '\n') {
			if (n_line > 0 && line[n_line - 1] == '\r')
				n_line--;
			line[n_line] = '\0';
			if (!bare && strcmp((const char *)line, ".") == 0) { /* C string: ". NUL x" too */
				*at = i + 1;
				return true;
			}
			n_line = 0;
			bare = false;
			continue;
		}
		if (out[i] != '\0' || (n_line > 0 && line[n_line - 1] != '\0')) /* leading NULs dropped */
			line[n_line++] = out[i];
	}
	return false;
}

static void
test_smtp_data_gives_no_mta_an_early_end(void **state)
{
	static const uint8_t alphabet[] = { '\r', '\n', '.', '\0', 'a' };
	uint8_t in[SMTP_NAIVE_MAX_OCTETS];

	(void)state;
	for (uint32_t k = 0; k < 5 * 5 * 5 * 5 * 5 * 5; k++) {
		uint32_t at = k, n = 3, end = 0;
		struct smtp_naive got;

		memcpy(in, "b\r\n", 3);
		for (uint32_t i = 0; i < 6; i++, at /= ARRAY_LEN(alphabet))
			in[n++] = alphabet[at % ARRAY_LEN(alphabet)];
		memcpy(in + n, "c\r\n.\r\n", 6);
		n += 6;
		got = scan(in, n, BARE_LF_NORMALIZE, 0, 1000);
		CHECK_TRUE("it ends", got.ended);
		for (uint32_t i = 0; i < got.n_out; i++) {
			if (got.out[i] == '\r')
				CHECK_EQ("each CR has its LF", got.out[i + 1], '\n');
			if (got.out[i] == '\n')
				CHECK_EQ("each LF has its CR", i > 0 ? got.out[i - 1] : 0, '\r');
		}
		CHECK_TRUE("an end is seen", some_mta_sees_an_end(got.out, got.n_out, &end));
		if (end != got.n_out) {
			char text[4 * SMTP_NAIVE_MAX_OCTETS];

			dump(text, in, n);
			fail_msg("%s: an MTA could end it at %u of %u", text, end, got.n_out);
		}
	}
}

static void
test_smtp_data_normalises_as_the_table_says(void **state)
{
	static const struct {
		const char *label, *in;
		uint32_t n;
		const char *want;
		uint32_t n_want;
	} rows[] = {
#define ROW(label, in, want) { label, in, sizeof(in) - 1, want, sizeof(want) - 1 }
		ROW("an empty message", ".\r\n", ".\r\n"),
		ROW("lines pass as they are", "a\r\n..b\r\n.\r\n", "a\r\n..b\r\n.\r\n"),
		ROW("a lone LF becomes CRLF", "a\nb\r\n.\r\n", "a\r\nb\r\n.\r\n"),
		ROW("LF.LF is text", "a\n.\nb\r\n.\r\n", "a\r\n..\r\nb\r\n.\r\n"),
		ROW("LF.CRLF is text", "a\n.\r\nb\r\n.\r\n", "a\r\n..\r\nb\r\n.\r\n"),
		ROW("CRLF.LF is text", "a\r\n.\nb\r\n.\r\n", "a\r\n..\r\nb\r\n.\r\n"),
		ROW("CR.CR is text", "a\r.\rb\r\n.\r\n", "a . b\r\n.\r\n"),
		ROW("CRLF.CR is text", "a\r\n.\rb\r\n.\r\n", "a\r\n. b\r\n.\r\n"),
		ROW("CR CR LF", "a\r\r\n.\r\n", "a \r\n.\r\n"),
		ROW("a dot behind a lone LF is stuffed", "a\n.b\r\n.\r\n", "a\r\n..b\r\n.\r\n"),
		ROW("and two become three", "a\n..b\r\n.\r\n", "a\r\n...b\r\n.\r\n"),
		ROW("NUL within a line passes", "a\0b\r\n.\r\n", "a\0b\r\n.\r\n"),
		ROW("dot NUL is no end", "a\r\n.\0\r\nb\r\n.\r\n", "a\r\n. \r\nb\r\n.\r\n"),
		ROW("NUL dot is no end", "a\r\n\0.\r\nb\r\n.\r\n", "a\r\n .\r\nb\r\n.\r\n"),
		ROW("8-bit passes", "\xe4\xff\r\n.\r\n", "\xe4\xff\r\n.\r\n"),
#undef ROW
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++)
		for (uint32_t borders = 0; borders < 2; borders++) {
			const struct smtp_naive got = scan(
				(const uint8_t *)rows[i].in, rows[i].n, BARE_LF_NORMALIZE, borders ? ~0u : 0, 1000);

			CHECK_OCTETS(rows[i].label, got.out, got.n_out, rows[i].want, rows[i].n_want);
			CHECK_TRUE(rows[i].label, got.ended);
		}
}

/* The final CRLF is given only when it was seen: a client that vanishes one octet before never has its message finished by us. */
static void
test_smtp_data_never_completes_what_was_not_sent(void **state)
{
	static const uint8_t in[] = "text\r\n.\r\n";

	(void)state;
	for (uint32_t n = 0; n < sizeof(in) - 1; n++)
		for (uint32_t borders = 0; borders < 256; borders++) {
			const struct smtp_naive got = scan(in, n, BARE_LF_NORMALIZE, borders, 1000);
			const bool dot_crlf = got.n_out >= 3 && memcmp(got.out + got.n_out - 3, ".\r\n", 3) == 0;

			CHECK_TRUE("no end seen", !got.ended);
			CHECK_TRUE("no end given", !dot_crlf);
		}
}

/* The views of a message without oddities lie in the input: nothing is copied. */
static void
test_smtp_data_points_into_the_input(void **state)
{
	static const uint8_t in[] = "a line\r\n..stuffed\r\nlast\r\n.\r\n";
	struct buf_view view[SMTP_BODY_VIEWS_MAX];
	struct smtp_data_out out = { view, 0, SMTP_BODY_VIEWS_MAX, 1000 };
	struct buf *buf = (struct buf *)(uintptr_t)64;
	const struct buf_view whole = { in, sizeof(in) - 1, buf };
	struct smtp_data d;

	(void)state;
	smtp_data_init(&d, BARE_LF_NORMALIZE);
	CHECK_EQ("all is taken", smtp_data_input(&d, &whole, &out), sizeof(in) - 1);
	CHECK_EQ("one view", out.n, 1);
	CHECK_TRUE("into the input", view[0].ptr == in && view[0].buf == buf && view[0].len_octets == sizeof(in) - 1);
}

/* Random text of many shapes, random cuts and rooms, against the naive one. */
static void
test_smtp_data_agrees_with_the_naive_one_on_random_text(void **state)
{
	static const uint8_t alphabet[] = { '\r', '\n', '\r', '\n', '.', '.', '\0', 'a', 'b', 0xff };
	const unsigned seed = 20261121;
	uint8_t in[32];

	(void)state;
	srandom(seed);
	for (unsigned k = 0; k < 200000; k++) {
		const uint32_t n = 1 + (uint32_t)random() % 32;
		const enum conf_bare_lf mode = (enum conf_bare_lf)(random() % 3);
		struct smtp_naive want;

		for (uint32_t i = 0; i < n; i++) /* CRLF in one draw of three, so that ends are met */
			in[i] = i > 0 && in[i - 1] == '\r' && random() % 3 > 0
			                ? '\n'
			                : alphabet[(size_t)random() % sizeof(alphabet)];
		want = smtp_naive(in, n, mode);
		compare(in, n, mode, (uint32_t)random(), SMTP_BODY_ROOM_MIN_OCTETS + (uint32_t)random() % 32, &want);
	}
}

/*
 * Lines of all lengths, which are run over by blocks, with up to six octets of those that matter put in anywhere: each place of a block, and what
 * lies across two of them. A cut and the room move the blocks.
 */
static void
test_smtp_data_agrees_with_the_naive_one_on_long_text(void **state)
{
	static const uint8_t alphabet[] = { '\r', '\n', '.', '\0', 'a', 0xff };
	const unsigned seed = 20261122;
	uint8_t in[SMTP_NAIVE_MAX_OCTETS];

	(void)state;
	srandom(seed);
	for (unsigned k = 0; k < 120000; k++) {
		const uint32_t n = 60 + (uint32_t)random() % (SMTP_NAIVE_MAX_OCTETS - 60),
			       line = 2 + (uint32_t)random() % 100;
		const uint32_t n_odd = (uint32_t)random() % 7, at = (uint32_t)random() % (n - n_odd);
		const enum conf_bare_lf mode = (enum conf_bare_lf)(random() % 3);
		const uint32_t first = (uint32_t)random() % line; /* where in a line the text begins */
		struct smtp_naive want;

		for (uint32_t i = 0; i < n; i++)
			in[i] = (i + first) % line == line - 2   ? '\r'
			        : (i + first) % line == line - 1 ? '\n'
			                                         : (uint8_t)('b' + i % 20);
		for (uint32_t i = 0; i < n_odd; i++)
			in[at + i] = alphabet[(size_t)random() % sizeof(alphabet)];
		want = smtp_naive(in, n, mode);
		compare(in, n, mode, random() % 2 == 0 ? 0 : 1u << random() % 31,
			random() % 4 == 0 ? SMTP_BODY_ROOM_MIN_OCTETS + (uint32_t)random() % 200 : 2000, &want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smtp_data_normalises_as_the_table_says),
		cmocka_unit_test(test_smtp_data_ends_only_at_crlf_dot_crlf),
		cmocka_unit_test(test_smtp_data_holds_the_rule_inside_a_message),
		cmocka_unit_test(test_smtp_data_gives_no_mta_an_early_end),
		cmocka_unit_test(test_smtp_data_never_completes_what_was_not_sent),
		cmocka_unit_test(test_smtp_data_points_into_the_input),
		cmocka_unit_test(test_smtp_data_agrees_with_the_naive_one_on_random_text),
		cmocka_unit_test(test_smtp_data_agrees_with_the_naive_one_on_long_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
