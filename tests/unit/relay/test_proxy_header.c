/*
 * test_proxy_header.c - PROXY headers: built, parsed, cut at every octet, and everything that is none.
 */
#include "dataplane/smtp/proxy_header.h"

#include <stdlib.h>

#include "tests/check.h"

static const uint8_t sig[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

/* Parses exactly len octets, so that a sanitizer sees a read beyond them. */
static enum proxy_parse
parse(const void *data, uint32_t len, struct proxy_addrs *a, uint32_t *used)
{
	uint8_t *copy = calloc(1, len > 0 ? len : 1);
	enum proxy_parse result;

	memcpy(copy, data, len);
	memset(a, 0x55, sizeof(*a));
	*used = 0;
	result = proxy_header_parse(copy, len, a, used);
	free(copy);
	return result;
}

/* PITFALLS 47: one octet at a time asks for more until the last, and what follows the header is not touched. */
static void
check_at_every_octet(const char *label, const void *data, uint32_t len, enum proxy_parse want)
{
	uint8_t *longer = malloc(len + 20);
	struct proxy_addrs a;
	uint32_t used;

	for (uint32_t n = 0; n < len; n++) {
		CHECK_EQ(label, parse(data, n, &a, &used), PROXY_MORE);
		CHECK_EQ(label, used, 0);
	}
	CHECK_EQ(label, parse(data, len, &a, &used), want);
	CHECK_EQ(label, used, len);
	memcpy(longer, data, len);
	memcpy(longer + len, "EHLO x\r\nPROXY TCP4 \r\n", 20);
	CHECK_EQ(label, parse(longer, len + 20, &a, &used), want);
	CHECK_EQ(label, used, len);
	free(longer);
}

static void
test_proxy_header_v1_good(void **state)
{
	static const struct {
		const char *text, *src, *dst;
		uint16_t src_port, dst_port;
	} rows[] = {
		{ "PROXY TCP4 192.0.2.1 198.18.0.2 40000 25\r\n", "192.0.2.1", "198.18.0.2", 40000, 25 },
		{ "PROXY TCP6 2001:db8::1 2001:db8:0:1::2 65535 587\r\n", "2001:db8::1", "2001:db8:0:1::2", 65535,
			587 },
		{ "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", "255.255.255.255",
			65535, 65535 },
		{ "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
		  "65535\r\n",
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535,
			65535 },
		{ "PROXY TCP4 1.2.3.4 5.6.7.8 0 1\r\n", "1.2.3.4", "5.6.7.8", 0, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[IP_ADDR_TEXT_MAX_OCTETS];
		struct proxy_addrs a;
		uint8_t built[PROXY_HEADER_MAX_OCTETS];
		uint32_t used, len = (uint32_t)strlen(rows[i].text);

		check_at_every_octet(rows[i].text, rows[i].text, len, PROXY_DONE);
		parse(rows[i].text, len, &a, &used);
		CHECK_STR(rows[i].text, ip_addr_format(&a.src, text), rows[i].src);
		CHECK_STR(rows[i].text, ip_addr_format(&a.dst, text), rows[i].dst);
		CHECK_EQ(rows[i].text, a.src_port, rows[i].src_port);
		CHECK_EQ(rows[i].text, a.dst_port, rows[i].dst_port);
		CHECK_OCTETS(rows[i].text, built, proxy_header_build_v1(&a, built), rows[i].text, len);
	}
	check_at_every_octet("UNKNOWN", "PROXY UNKNOWN\r\n", 15, PROXY_LOCAL);
	check_at_every_octet("UNKNOWN with addresses", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", 35, PROXY_LOCAL);
}

static void
test_proxy_header_v1_broken(void **state)
{
	static const char *const rows[] = {
		"EHLO mail.example\r\n",
		"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY\tTCP4",
		"PROXYX",
		"PROXY \r\n",
		"PROXY TCP4\r\n",
		"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY UNKNOWNX\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
		"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
		"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
		"PROXY TCP4 ::1 ::2 1 2\r\n",
		"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP6 ::ffff:1.2.3.4 2001:db8::1 1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2x\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 99999999999 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx",
		"PROXY TCP4 1.2.3.4\x01 5.6.7.8 1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 \xb2\r\n",
		"PROXY UNKNOWN "
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaa",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint32_t len = (uint32_t)strlen(rows[i]);
		enum proxy_parse result = PROXY_MORE;
		struct proxy_addrs a;
		uint32_t used;

		CHECK_EQ(rows[i], parse(rows[i], len, &a, &used), PROXY_BROKEN);
		/* once broken, more octets never mend it; before, never done */
		for (uint32_t n = 0; n <= len; n++) {
			enum proxy_parse now = parse(rows[i], n, &a, &used);

			CHECK_TRUE(rows[i], now == PROXY_MORE || now == PROXY_BROKEN);
			CHECK_TRUE(rows[i], result != PROXY_BROKEN || now == PROXY_BROKEN);
			result = now;
		}
	}
}

/* A version 2 header: command, family, length said, octets of the block. Returns its length. */
static uint32_t
v2(uint8_t *out, uint8_t command, uint8_t family, uint32_t said, uint32_t block)
{
	memcpy(out, sig, sizeof(sig));
	out[12] = command;
	out[13] = family;
	out[14] = (uint8_t)(said >> 8);
	out[15] = (uint8_t)said;
	for (uint32_t i = 0; i < block; i++)
		out[16 + i] = (uint8_t)(i + 1);
	return 16 + block;
}

static void
test_proxy_header_v2_good(void **state)
{
	uint8_t data[1024], built[PROXY_HEADER_MAX_OCTETS];
	struct proxy_addrs a, b;
	uint32_t used, len;

	(void)state;
	len = v2(data, 0x21, 0x11, 12, 12);
	check_at_every_octet("TCP4", data, len, PROXY_DONE);
	parse(data, len, &a, &used);
	CHECK_EQ("source", ip_addr_to_v4(&a.src), 0x01020304);
	CHECK_EQ("destination", ip_addr_to_v4(&a.dst), 0x05060708);
	CHECK_EQ("source port", a.src_port, 0x090a);
	CHECK_EQ("destination port", a.dst_port, 0x0b0c);
	CHECK_OCTETS("built again", built, proxy_header_build_v2(&a, built), data, len);

	len = v2(data, 0x21, 0x21, 36, 36);
	check_at_every_octet("TCP6", data, len, PROXY_DONE);
	parse(data, len, &a, &used);
	CHECK_EQ("source", a.src.octet[15], 16);
	CHECK_EQ("destination", a.dst.octet[0], 17);
	CHECK_OCTETS("built again", built, proxy_header_build_v2(&a, built), data, len);
	b = a;

	len = v2(data, 0x21, 0x21, 36 + 100, 36 + 100);
	check_at_every_octet("with TLVs", data, len, PROXY_DONE);
	parse(data, len, &a, &used);
	CHECK_TRUE("TLVs change nothing", memcmp(&a, &b, sizeof(a)) == 0);
	len = v2(data, 0x21, 0x11, 496, 496);
	check_at_every_octet("the longest", data, len, PROXY_DONE);

	len = v2(data, 0x20, 0x00, 0, 0);
	check_at_every_octet("LOCAL", data, len, PROXY_LOCAL);
	CHECK_OCTETS("LOCAL built", built, proxy_header_build_v2_local(built), data, len);
	len = v2(data, 0x20, 0x31, 40, 40);
	check_at_every_octet("LOCAL with a block to skip", data, len, PROXY_LOCAL);
}

static void
test_proxy_header_v2_broken(void **state)
{
	static const struct {
		const char *label;
		uint8_t command, family;
		uint16_t said;
		uint32_t found_at;
	} rows[] = {
		{ "version 1 in a binary header", 0x11, 0x11, 12, 13 },
		{ "version 3", 0x31, 0x11, 12, 13 },
		{ "unknown command", 0x22, 0x11, 12, 13 },
		{ "UNSPEC", 0x21, 0x00, 12, 14 },
		{ "UDP over IPv4", 0x21, 0x12, 12, 14 },
		{ "Unix socket", 0x21, 0x31, 216, 14 },
		{ "a block too short for IPv4", 0x21, 0x11, 11, 16 },
		{ "a block too short for IPv6", 0x21, 0x21, 35, 16 },
		{ "too long", 0x21, 0x11, 497, 16 },
		{ "far too long", 0x21, 0x11, 65535, 16 },
		{ "LOCAL too long", 0x20, 0x00, 497, 16 },
	};
	uint8_t data[1024];
	struct proxy_addrs a;
	uint32_t used;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint32_t len = v2(data, rows[i].command, rows[i].family, rows[i].said, 600);

		for (uint32_t n = 0; n <= len; n++)
			CHECK_EQ(rows[i].label, parse(data, n, &a, &used),
				n < rows[i].found_at ? PROXY_MORE : PROXY_BROKEN);
	}
	for (uint32_t i = 0; i < 12; i++) { /* the signature, each octet wrong */
		v2(data, 0x21, 0x11, 12, 12);
		data[i] ^= 0x20;
		CHECK_EQ("signature", parse(data, 28, &a, &used), PROXY_BROKEN);
	}
	v2(data, 0x21, 0x21, 36, 36);
	memset(data + 16, 0, 32);
	memset(data + 26, 0xff, 2);
	CHECK_EQ("an IPv4-mapped source beside an IPv6 destination", parse(data, 52, &a, &used), PROXY_BROKEN);
}

/* PITFALLS 47: missing, cut, version mixed. That a peer must be trusted is the caller's question: the parser has no
 * state to believe with. */
static void
test_pitfall_47_missing_cut_or_mixed(void **state)
{
	static const char *const mixed[] = { "PROXY \r\n\r\n", "PROXY TCP4 \x21\x11",
		"\r\nPROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "\r\n\r\nEHLO" };
	struct proxy_addrs a;
	uint32_t used;

	(void)state;
	CHECK_EQ("nothing yet", parse("", 0, &a, &used), PROXY_MORE);
	CHECK_EQ("missing: a client that talks SMTP", parse("E", 1, &a, &used), PROXY_BROKEN);
	CHECK_EQ("missing: TLS", parse("\x16\x03\x01", 3, &a, &used), PROXY_BROKEN);
	for (size_t i = 0; i < ARRAY_LEN(mixed); i++)
		CHECK_EQ(mixed[i], parse(mixed[i], (uint32_t)strlen(mixed[i]), &a, &used), PROXY_BROKEN);
}

static void
test_proxy_header_random_octets(void **state)
{
	const unsigned seed = 47;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int round = 0; round < 50000; round++) {
		uint8_t data[700];
		uint32_t len, used;
		struct proxy_addrs a;
		enum proxy_parse result;

		if (random() % 2 == 0) {
			len = v2(data, (uint8_t)(0x20 + random() % 2), random() % 2 == 0 ? 0x11 : 0x21,
				(uint32_t)random() % 600, 600);
		} else {
			len = (uint32_t)sprintf((char *)data, "PROXY TCP%d 1.2.3.4 ::1 %ld 2\r\n",
				random() % 2 == 0 ? 4 : 6, random() % 70000);
		}
		for (int i = 0; i < 3; i++)
			data[(uint32_t)random() % len] = (uint8_t)random();
		len = (uint32_t)random() % (len + 1);
		result = parse(data, len, &a, &used);
		CHECK_TRUE("within what was given", used <= len && used <= PROXY_HEADER_MAX_OCTETS);
		CHECK_TRUE("used only when it is one", (result == PROXY_DONE || result == PROXY_LOCAL) == (used > 0));
		CHECK_TRUE("never asks for more than the limit", result != PROXY_MORE || len < PROXY_HEADER_MAX_OCTETS);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proxy_header_v1_good),
		cmocka_unit_test(test_proxy_header_v1_broken),
		cmocka_unit_test(test_proxy_header_v2_good),
		cmocka_unit_test(test_proxy_header_v2_broken),
		cmocka_unit_test(test_pitfall_47_missing_cut_or_mixed),
		cmocka_unit_test(test_proxy_header_random_octets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
