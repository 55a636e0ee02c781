/*
 * test_base.c - the small things everything stands on: SipHash, readers of octets, buffers, addresses, sequence numbers, counters.
 */
#include <errno.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/block_hash.h"
#include "dataplane/base/buf.h"
#include "dataplane/base/counters.h"
#include "dataplane/base/octets.h"
#include "dataplane/base/seq.h"
#include "dataplane/base/siphash.h"
#include "dataplane/base/text.h"
#include "tests/check.h"

/* The paper's appendix A has the one of 15 octets; the others are of the authors' reference code. */
static void
test_siphash_vectors(void **state)
{
	static const struct siphash_key key = { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) };
	static const struct {
		uint32_t len;
		uint64_t want;
	} rows[] = {
		{ 0, UINT64_C(0x726fdb47dd0e0e31) },
		{ 1, UINT64_C(0x74f839c593dc67fd) },
		{ 2, UINT64_C(0x0d6c8009d9a94f5a) },
		{ 7, UINT64_C(0xab0200f58b01d137) },
		{ 8, UINT64_C(0x93f5f5799a932462) },
		{ 15, UINT64_C(0xa129ca6149be45e5) },
	};
	uint8_t in[64];

	(void)state;
	for (uint32_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_TRUE("vector", siphash(&key, in, rows[i].len) == rows[i].want);
	/* of 12 octets, with fewer rounds: by a second implementation that also gives the vectors above */
	CHECK_TRUE("1-3",
		siphash13_12(&key, UINT64_C(0x0706050403020100), UINT32_C(0x0b0a0908)) == UINT64_C(0x78a384b157b4d9a2));
	/* in pieces of any size it is the same */
	for (uint32_t len = 0; len <= sizeof(in); len++) {
		for (uint32_t cut = 0; cut <= len; cut++) {
			for (uint32_t second = cut; second <= len; second += 5) {
				struct siphash_state s;

				siphash_init(&s, &key);
				siphash_update(&s, in, cut);
				siphash_update(&s, in + cut, second - cut);
				siphash_update(&s, in + second, len - second);
				CHECK_TRUE("in pieces", siphash_final(&s) == siphash(&key, in, len));
			}
		}
	}
}

/* The key of FIPS 197 appendix C.1; the block by a second implementation that also gives that appendix's vector. */
static void
test_block_hash(void **state)
{
	static const struct siphash_key key = { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) };
	const uint64_t first = UINT64_C(0x0706050403020100);
	const uint32_t last = UINT32_C(0x0b0a0908);
	struct block_hash h;

	(void)state;
	block_hash_init(&h, &key);
	if (h.aes)
		CHECK_TRUE("AES", block_hash_12(&h, first, last) == UINT64_C(0x01c580f2977c67f6));
	CHECK_TRUE("told: the same", !h.aes || block_hash_told(&h, first, last) == block_hash_12(&h, first, last));
	h.aes = false;
	CHECK_TRUE("told, without AES",
		block_hash_told(&h, first, last) == siphash(&key, "\0\1\2\3\4\5\6\7\10\11\12\13", 12));
	CHECK_TRUE("without AES", block_hash_12(&h, first, last) == UINT64_C(0x78a384b157b4d9a2));
}

static void
test_octets_failure_sticks(void **state)
{
	static const uint8_t in[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
	struct octets o = octets_of(in, sizeof(in));
	uint8_t copy[4] = { 9, 9, 9, 9 };

	(void)state;
	CHECK_EQ("u8", octets_u8(&o), 1);
	CHECK_EQ("u16", octets_u16(&o), 0x0203);
	CHECK_EQ("u32", octets_u32(&o), 0x04050607);
	CHECK_TRUE("good so far", !o.failed);
	CHECK_EQ("left", o.len_octets, 2);
	CHECK_EQ("too much", octets_u32(&o), 0);
	CHECK_TRUE("failed", o.failed);
	CHECK_EQ("nothing after a failure, though there is some left", octets_u8(&o), 0);
	octets_copy(&o, copy, 4);
	CHECK_EQ("zeroed", copy[0] | copy[1] | copy[2] | copy[3], 0);
	CHECK_TRUE("no octets", octets_take(&o, 0) == NULL);
	o = octets_of(in, 3);
	octets_copy(&o, copy, 3);
	CHECK_OCTETS("copied", copy, 3, in, 3);
	CHECK_TRUE("to the last", !o.failed && o.len_octets == 0);
}

static void
test_octets_stores_are_big_endian(void **state)
{
	static const uint8_t want[] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd };
	uint8_t out[8];

	(void)state;
	CHECK_EQ("length", put_u32(put_u16(put_u8(out, 0x01), 0x2345), 0x6789abcd) - out, 7);
	CHECK_OCTETS("octets", out, 7, want, 7);
}

static void
test_buf_malloc_counts(void **state)
{
	struct buf_pool *pool = buf_malloc_create(2);
	struct buf *a, *b;
	uint8_t *data;

	(void)state;
	CHECK_EQ("available", buf_available(pool), 2);
	a = buf_alloc(pool, 100, &data);
	CHECK_TRUE("one", a != NULL);
	memset(data, 1, 100);
	CHECK_TRUE("too large", buf_alloc(pool, BUF_ROOM_MAX_OCTETS + 1, &data) == NULL);
	b = buf_alloc(pool, BUF_ROOM_MAX_OCTETS, &data);
	CHECK_TRUE("two", b != NULL);
	CHECK_TRUE("no third", buf_alloc(pool, 1, &data) == NULL);
	buf_ref(pool, a);
	buf_unref(pool, a);
	CHECK_EQ("still held", buf_malloc_in_use(pool), 2);
	buf_unref(pool, a);
	CHECK_EQ("back", buf_malloc_in_use(pool), 1);
	CHECK_EQ("available", buf_available(pool), 1);
	buf_unref(pool, b);
	buf_ref(pool, NULL); /* octets without a buffer */
	buf_unref(pool, NULL);
	buf_malloc_fail_at(pool, 2);
	a = buf_alloc(pool, 1, &data);
	CHECK_TRUE("the first goes", a != NULL);
	CHECK_TRUE("the second fails", buf_alloc(pool, 1, &data) == NULL);
	b = buf_alloc(pool, 1, &data);
	CHECK_TRUE("once", b != NULL);
	buf_unref(pool, a);
	buf_unref(pool, b);
	buf_malloc_destroy(pool);
	buf_malloc_destroy(NULL);
}

static void
test_addr_text_and_masks(void **state)
{
	static const struct {
		const char *in, *out;
		unsigned prefix_bits;
		const char *masked;
	} rows[] = {
		{ "192.0.2.130", "192.0.2.130", 120, "192.0.2.0" },
		{ "192.0.2.130", "192.0.2.130", 121, "192.0.2.128" },
		{ "192.0.2.130", "192.0.2.130", 128, "192.0.2.130" },
		{ "0.0.0.0", "0.0.0.0", 128, "0.0.0.0" },
		{ "::ffff:192.0.2.1", "192.0.2.1", 96, "0.0.0.0" },
		{ "2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1", 64, "2001:db8::" },
		{ "2001:db8::ffff", "2001:db8::ffff", 127, "2001:db8::fffe" },
		{ "2001:db8::ffff", "2001:db8::ffff", 0, "::" },
		{ "::", "::", 128, "::" },
	};
	static const char *const bad[] = { "", "192.0.2", "192.0.2.256", "192.0.2.1.", "1:2:3", "::g", "192.0.2.1/24",
		" 192.0.2.1", "1::2::3" };
	char text[IP_ADDR_TEXT_MAX_OCTETS];
	struct ip_addr a, m;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK_EQ(rows[i].in, ip_addr_parse(rows[i].in, &a), 0);
		CHECK_STR(rows[i].in, ip_addr_format(&a, text), rows[i].out);
		m = ip_addr_mask(&a, rows[i].prefix_bits);
		CHECK_STR(rows[i].in, ip_addr_format(&m, text), rows[i].masked);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK_EQ(bad[i], ip_addr_parse(bad[i], &a), -EINVAL);
	a = ip_addr_v4(0xc0000201);
	CHECK_TRUE("v4", ip_addr_is_v4(&a) && ip_addr_to_v4(&a) == 0xc0000201 && !ip_addr_is_zero(&a));
	memset(&a, 0, sizeof(a));
	CHECK_TRUE("zero is not v4", ip_addr_is_zero(&a) && !ip_addr_is_v4(&a));
}

static void
test_seq_wraps(void **state)
{
	(void)state;
	CHECK_TRUE("across the wrap", seq_lt(0xfffffff0, 5) && seq_gt(5, 0xfffffff0) && seq_leq(7, 7) && seq_geq(7, 7));
	CHECK_TRUE(
		"in", seq_in(2, 0xfffffff0, 10) && !seq_in(10, 0xfffffff0, 10) && seq_in(0xfffffff0, 0xfffffff0, 10));
	CHECK_TRUE("an empty range holds nothing", !seq_in(5, 5, 5));
	CHECK_EQ("max", seq_max(0xfffffff0, 5), 5);
	CHECK_EQ("min", seq_min(0xfffffff0, 5), 0xfffffff0);
}

static void
test_counters_have_names_of_their_own(void **state)
{
	static struct counters c;

	(void)state;
	for (uint32_t i = 0; i < COUNTER_N; i++) {
		CHECK_TRUE("help", counter_names[i].help[0] != '\0');
		for (uint32_t k = 0; k < i; k++)
			if (strcmp(counter_names[i].group, counter_names[k].group) == 0)
				CHECK_TRUE(counter_names[i].name,
					strcmp(counter_names[i].name, counter_names[k].name) != 0);
	}
	counter_inc(&c, CTR_tcp_in_segs);
	counter_add(&c, CTR_tcp_in_segs, 4);
	CHECK_EQ("counted", counter_read(&c, CTR_tcp_in_segs), 5);
}

/* Every octet at every place of every length up to three words, against a look at each octet. */
static void
test_text_kinds_sees_each_octet_at_each_place(void **state)
{
	char text[24];

	(void)state;
	for (uint32_t n = 0; n <= sizeof(text); n++) {
		memset(text, 'a', sizeof(text));
		CHECK_EQ("plain", text_kinds(text, n), 0);
		for (uint32_t at = 0; at < n; at++) {
			for (unsigned c = 0; c < 256; c++) {
				const unsigned want =
					(c < 0x20 || c == 0x7f ? TEXT_CONTROL : 0) | (c > 0x7f ? TEXT_8BIT : 0);

				text[at] = (char)c;
				if (text_kinds(text, n) != want) {
					print_error("octet %u at %u of %u\n", c, at, n);
					CHECK_EQ("kinds", text_kinds(text, n), want);
				}
			}
			text[at] = at % 2 == 0 ? '~' : ' '; /* neighbours at both ends of what is printable */
		}
	}
	memset(text, 0x01, sizeof(text));
	text[3] = (char)0x80;
	CHECK_EQ("both", text_kinds(text, 8), TEXT_CONTROL | TEXT_8BIT);
}

static void
test_text_fold_folds_capitals_alone(void **state)
{
	(void)state;
	for (uint32_t n = 0; n < 40; n++) {
		for (unsigned c = 0; c < 128; c++) {
			char in[40], out[41];

			memset(in, 'Q', sizeof(in));
			memset(out, '!', sizeof(out));
			in[n / 2] = (char)c;
			text_fold(out, in, n);
			for (uint32_t i = 0; i < n; i++)
				CHECK_EQ("folded", out[i], in[i] >= 'A' && in[i] <= 'Z' ? in[i] + 32 : in[i]);
			CHECK_EQ("nothing behind", out[n], '!');
		}
	}
}

/* Each octet at each place of texts of each length, in memory of exactly that size. */
static void
test_text_looks_find_each_octet_at_each_place(void **state)
{
	(void)state;
	for (uint32_t n = 0; n <= 40; n++) {
		char *text = malloc(n > 0 ? n : 1);

		assert_non_null(text);
		memset(text, 'x', n);
		CHECK_EQ("no control", text_first_control(text, n), n);
		CHECK_EQ("no blank", text_first_blank(text, n), n);
		CHECK_TRUE("plain", text_is_7bit(text, n));
		for (uint32_t at = 0; at < n; at++) {
			for (unsigned c = 0; c < 256; c++) {
				const uint32_t control = c < 0x20 || c == 0x7f ? at : n,
					       blank = c == ' ' || c == '\t' ? at : n;

				text[at] = (char)c;
				if (text_first_control(text, n) != control || text_first_blank(text, n) != blank ||
					text_is_7bit(text, n) != (c < 0x80)) {
					printf("octet 0x%02x at %u of %u\n", c, at, n);
					CHECK_EQ("control", text_first_control(text, n), control);
					CHECK_EQ("blank", text_first_blank(text, n), blank);
					CHECK_EQ("7 bits", text_is_7bit(text, n), c < 0x80);
				}
			}
			text[at] = 'x';
		}
		if (n > 1) { /* the first of two */
			text[n / 2] = text[n - 1] = '\n';
			CHECK_EQ("first of two", text_first_control(text, n), n / 2);
			text[n / 2] = text[n - 1] = ' ';
			CHECK_EQ("first of two", text_first_blank(text, n), n / 2);
		}
		free(text);
	}
}

static void
test_text_put_number_writes_decimals(void **state)
{
	static const struct {
		uint64_t number;
		const char *want;
	} rows[] = { { 0, "0" }, { 9, "9" }, { 10, "10" }, { 240, "240" }, { UINT64_MAX, "18446744073709551615" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char out[TEXT_NUMBER_OCTETS + 1], *end = text_put_number(out, rows[i].number);

		*end = '\0';
		assert_string_equal(out, rows[i].want);
	}
}

static void
test_siphash_word_and_is_siphash_of_both(void **state)
{
	const struct siphash_key key = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	uint8_t all[40];

	(void)state;
	for (uint8_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i * 7 + 1);
	for (size_t n = 0; n + 8 <= sizeof(all); n++) {
		uint64_t word;

		memcpy(&word, all, 8);
		assert_true(siphash_word_and(&key, word, all + 8, n) == siphash(&key, all, n + 8));
	}
}

/* Made by an implementation after the paper that gives its vectors of SipHash-2-4, and of SipHash-1-3 those that others publish. */
static void
test_siphash_of_words_is_that_of_their_octets(void **state)
{
	static const struct {
		uint32_t n;
		uint64_t want;
	} rows[] = { { 8, UINT64_C(0x369095118d299a8e) }, { 12, UINT64_C(0x78a384b157b4d9a2) },
		{ 15, UINT64_C(0xd320d86d2a519956) }, { 23, UINT64_C(0x525a0e7fdae6c123) },
		{ 24, UINT64_C(0xf464aeb267349c8c) }, { 31, UINT64_C(0x2370dd1f8c21d1bc) } };
	const struct siphash_key key = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	uint64_t word, second;
	uint32_t four;
	uint8_t in[32];

	(void)state;
	for (uint8_t i = 0; i < sizeof(in); i++)
		in[i] = i;
	memcpy(&word, in, 8);
	memcpy(&second, in + 8, 8);
	memcpy(&four, in + 16, 4);
	assert_true(siphash_20(&key, word, second, four) == siphash(&key, in, 20));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_true(siphash13_word_and(&key, word, in + 8, rows[i].n - 8) == rows[i].want);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_kinds_sees_each_octet_at_each_place),
		cmocka_unit_test(test_text_fold_folds_capitals_alone),
		cmocka_unit_test(test_text_looks_find_each_octet_at_each_place),
		cmocka_unit_test(test_text_put_number_writes_decimals),
		cmocka_unit_test(test_siphash_word_and_is_siphash_of_both),
		cmocka_unit_test(test_siphash_of_words_is_that_of_their_octets),
		cmocka_unit_test(test_siphash_vectors),
		cmocka_unit_test(test_block_hash),
		cmocka_unit_test(test_octets_failure_sticks),
		cmocka_unit_test(test_octets_stores_are_big_endian),
		cmocka_unit_test(test_buf_malloc_counts),
		cmocka_unit_test(test_addr_text_and_masks),
		cmocka_unit_test(test_seq_wraps),
		cmocka_unit_test(test_counters_have_names_of_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
