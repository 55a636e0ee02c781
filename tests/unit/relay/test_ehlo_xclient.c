/*
 * test_ehlo_xclient.c - what a backend offers, and the client's identity as XCLIENT tells it.
 */
#include "dataplane/relay/ehlo.h"
#include "dataplane/relay/xclient.h"

#include "tests/check.h"

static struct smtp_reply
reply(const char *text)
{
	struct smtp_reply_parser p;
	struct buf_view v = { .ptr = (const uint8_t *)text, .len_octets = (uint32_t)strlen(text) };

	smtp_reply_parser_init(&p);
	CHECK_EQ(text, smtp_reply_parse(&p, &v), SMTP_REPLY_DONE);
	return p.reply;
}

static void
test_ehlo_parse_rows(void **state)
{
	static const struct {
		const char *text;
		uint32_t ext;
		uint64_t size;
		uint32_t xclient;
	} rows[] = {
		{ "250 mta\r\n", 0, 0, 0 },
		{ "250\r\n", 0, 0, 0 },
		{ "250 PIPELINING\r\n", 0, 0, 0 }, /* the first line is the greeting */
		{ "250-mta\r\n250-PIPELINING\r\n250-SIZE "
		  "1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-CHUNKING\r\n250-BINARYMIME\r\n"
		  "250-ENHANCEDSTATUSCODES\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 XCLIENT NAME\r\n",
			(EXT_AUTH << 1) - 1, 1000, XCLIENT_NAME },
		{ "250-mta\r\n250-pipelining\r\n250 Size 07\r\n", EXT_PIPELINING | EXT_SIZE, 7, 0 },
		{ "250-mta\r\n250 SIZE\r\n", EXT_SIZE, 0, 0 },
		{ "250-mta\r\n250 SIZE 0\r\n", EXT_SIZE, 0, 0 },
		{ "250-mta\r\n250 SIZE 18446744073709551615\r\n", EXT_SIZE, UINT64_MAX, 0 },
		{ "250-mta\r\n250 SIZE 18446744073709551616\r\n", EXT_SIZE, 0, 0 },
		{ "250-mta\r\n250 SIZE 99999999999999999999999\r\n", EXT_SIZE, 0, 0 },
		{ "250-mta\r\n250 SIZE=5\r\n", 0, 0, 0 },
		{ "250-mta\r\n250 SIZE 5x\r\n", EXT_SIZE, 0, 0 },
		{ "250-mta\r\n250-\r\n250 \r\n", 0, 0, 0 },
		{ "250-mta\r\n250-SIZES 5\r\n250 DSNX\r\n", 0, 0, 0 },
		{ "250-mta\r\n250-ETRN\r\n250-VRFY\r\n250-XFORWARD NAME\r\n250 REQUIRETLS\r\n", 0, 0, 0 },
		{ "250-mta\r\n250 XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT\r\n",
			EXT_XCLIENT, 0,
			XCLIENT_NAME | XCLIENT_ADDR | XCLIENT_PROTO | XCLIENT_HELO | XCLIENT_REVERSE_NAME |
				XCLIENT_PORT },
		{ "250-mta\r\n250 XCLIENT\r\n", EXT_XCLIENT, 0, 0 },
		{ "250-mta\r\n250 DSN extra words\r\n", EXT_DSN, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct smtp_reply r = reply(rows[i].text);
		struct ehlo e;

		ehlo_parse(&r, &e);
		CHECK_EQ(rows[i].text, e.ext, rows[i].ext);
		CHECK_EQ(rows[i].text, e.size_octets, rows[i].size);
		CHECK_EQ(rows[i].text, e.xclient, rows[i].xclient);
	}
}

#define ALL (XCLIENT_NAME | XCLIENT_REVERSE_NAME | XCLIENT_ADDR | XCLIENT_PORT | XCLIENT_PROTO | XCLIENT_HELO)

static void
test_xclient_build_rows(void **state)
{
	static const struct {
		const char *label, *addr, *helo, *ptr;
		uint8_t ptr_state;
		bool confirmed, esmtp;
		uint32_t attrs;
		const char *want;
	} rows[] = {
		{ "confirmed", "192.0.2.1", "h", "mx.example", PTR_CONFIRMED, true, true, ALL,
			"XCLIENT NAME=mx.example REVERSE_NAME=mx.example ADDR=192.0.2.1 PORT=40000 PROTO=ESMTP "
			"HELO=h\r\n" },
		{ "IPv6 has its prefix", "2001:db8::1", "h", "mx.example", PTR_CONFIRMED, true, false, ALL,
			"XCLIENT NAME=mx.example REVERSE_NAME=mx.example ADDR=IPV6:2001:db8::1 PORT=40000 PROTO=SMTP "
			"HELO=h\r\n" },
		{ "a name that is not confirmed is REVERSE_NAME alone", "192.0.2.1", "h", "mx.example", PTR_UNCONFIRMED,
			false, true, XCLIENT_NAME | XCLIENT_REVERSE_NAME,
			"XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=mx.example\r\n" },
		{ "no name", "192.0.2.1", "h", "", PTR_NONE, false, true, XCLIENT_NAME | XCLIENT_REVERSE_NAME,
			"XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]\r\n" },
		{ "a DNS error", "192.0.2.1", "h", "", PTR_TEMPERR, false, true, XCLIENT_NAME | XCLIENT_REVERSE_NAME,
			"XCLIENT NAME=[TEMPUNAVAIL] REVERSE_NAME=[TEMPUNAVAIL]\r\n" },
		{ "not answered yet", "192.0.2.1", "h", "", PTR_UNKNOWN, false, true, XCLIENT_NAME,
			"XCLIENT NAME=[TEMPUNAVAIL]\r\n" },
		{ "a name Postfix would refuse is none", "192.0.2.1", "h", "a b.example", PTR_CONFIRMED, true, true,
			XCLIENT_NAME, "XCLIENT NAME=[UNAVAILABLE]\r\n" },
		{ "nor one with a dash at an end", "192.0.2.1", "h", "-a.example", PTR_CONFIRMED, true, true,
			XCLIENT_NAME, "XCLIENT NAME=[UNAVAILABLE]\r\n" },
		{ "nor one with an empty label", "192.0.2.1", "h", "a..example", PTR_CONFIRMED, true, true,
			XCLIENT_NAME, "XCLIENT NAME=[UNAVAILABLE]\r\n" },
		{ "nor one of digits", "192.0.2.1", "h", "1.2.3.4", PTR_CONFIRMED, true, true, XCLIENT_NAME,
			"XCLIENT NAME=[UNAVAILABLE]\r\n" },
		{ "an underscore is common", "192.0.2.1", "h", "a_b.example", PTR_CONFIRMED, true, true, XCLIENT_NAME,
			"XCLIENT NAME=a_b.example\r\n" },
		{ "xtext", "192.0.2.1", "a+b=c d\x01\xff", "", PTR_NONE, false, true, XCLIENT_HELO,
			"XCLIENT HELO=a+2Bb+3Dc+20d+01+FF\r\n" },
		{ "a greeting cannot end the line", "192.0.2.1", "x\r\nRCPT TO:<a>", "", PTR_NONE, false, true,
			XCLIENT_HELO, "XCLIENT HELO=x+0D+0ARCPT+20TO:<a>\r\n" },
		{ "an address literal", "192.0.2.1", "[192.0.2.1]", "", PTR_NONE, false, true, XCLIENT_HELO,
			"XCLIENT HELO=[192.0.2.1]\r\n" },
		{ "no greeting", "192.0.2.1", "", "", PTR_NONE, false, true, XCLIENT_HELO,
			"XCLIENT HELO=[UNAVAILABLE]\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct relay_client c = { .addrs.src_port = 40000,
			.ptr_state = rows[i].ptr_state,
			.ptr_confirmed = rows[i].confirmed,
			.esmtp = rows[i].esmtp };
		char out[XCLIENT_LINE_MAX_OCTETS + 1];

		CHECK_EQ("address", ip_addr_parse(rows[i].addr, &c.addrs.src), 0);
		strcpy(c.helo, rows[i].helo);
		strcpy(c.ptr_name, rows[i].ptr);
		out[xclient_build(&c, rows[i].attrs, out)] = '\0';
		CHECK_STR(rows[i].label, out, rows[i].want);
	}
}

static void
test_xclient_build_longest_fits(void **state)
{
	struct relay_client c = {
		.addrs.src_port = 65535, .ptr_confirmed = true, .ptr_state = PTR_CONFIRMED, .esmtp = true
	};
	static char out[XCLIENT_LINE_MAX_OCTETS];
	uint32_t n;

	(void)state;
	memset(&c.addrs.src, 0xff, sizeof(c.addrs.src));
	for (size_t i = 0; i < 255; i++)
		c.ptr_name[i] = i % 60 == 59 ? '.' : 'a';
	memset(c.helo, 'h', 255);
	n = xclient_build(&c, ALL, out);
	CHECK_TRUE("whole names", n > 3 * 255 && memmem(out, n, c.helo, 255) != NULL);
	memset(c.helo, '\xff', 255);
	n = xclient_build(&c, ALL, out);
	CHECK_TRUE("what triples is left out", memmem(out, n, "HELO=[UNAVAILABLE]\r\n", 20) != NULL);
	memset(c.ptr_name, 'a', 64);
	n = xclient_build(&c, ALL, out);
	CHECK_TRUE("a label of 64 is none", memmem(out, n, " NAME=[UNAVAILABLE]", 19) != NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ehlo_parse_rows),
		cmocka_unit_test(test_xclient_build_rows),
		cmocka_unit_test(test_xclient_build_longest_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
