/*
 * test_dns_message.c - answers: what counts, what says nothing, how long each may be kept.
 */
#include "tests/check.h"

#include <stdlib.h>

#include "control/dns_message.h"
#include "tests/unit/control/dns_build.h"

#define PTR_NAME "7.2.0.192.in-addr.arpa"
#define RESPONSE 0x8180

static struct dns_answer
parse(const struct dns_build *b, const char *name, enum dns_type type)
{
	uint8_t *exact = malloc(b->n > 0 ? b->n : 1); /* so that the sanitizer sees its end */
	struct dns_answer a;

	assert_non_null(exact);
	memcpy(exact, b->m, b->n);
	dns_answer_parse(exact, b->n, name, type, &a);
	free(exact);
	return a;
}

static void
test_dns_ptr(void **state)
{
	struct dns_build b;
	struct dns_answer a;

	(void)state;
	dns_begin(&b, 1, RESPONSE, PTR_NAME, DNS_PTR);
	dns_name_record(&b, PTR_NAME, DNS_PTR, 300, "mail.example.org");
	dns_name_record(&b, PTR_NAME, DNS_PTR, 200, "mail2.example.org");
	a = parse(&b, PTR_NAME, DNS_PTR);
	CHECK_EQ("status", a.status, DNS_OK);
	CHECK_EQ("names", a.n_names, 2);
	CHECK_STR("first", a.name[0], "mail.example.org");
	CHECK_EQ("the smallest TTL", a.ttl_s, 200);
	a = parse(&b, "7.2.0.192.IN-ADDR.arpa", DNS_PTR);
	CHECK_EQ("case of the question does not matter", a.status, DNS_OK);
	a = parse(&b, "8.2.0.192.in-addr.arpa", DNS_PTR);
	CHECK_EQ("the answer to another question", a.status, DNS_TEMPERR);
	a = parse(&b, PTR_NAME, DNS_A);
	CHECK_EQ("the answer to another type", a.status, DNS_TEMPERR);
}

/* RFC 2317: the PTR stands under an alias. */
static void
test_dns_ptr_by_cname(void **state)
{
	struct dns_build b;
	struct dns_answer a;

	(void)state;
	dns_begin(&b, 1, RESPONSE, PTR_NAME, DNS_PTR);
	dns_name_record(&b, PTR_NAME, DNS_CNAME, 50, "7.0/25.2.0.192.in-addr.arpa");
	dns_name_record(&b, "7.0/25.2.0.192.in-addr.arpa", DNS_PTR, 300, "mail.example.org");
	dns_name_record(&b, "unrelated.example", DNS_PTR, 1, "evil.example");
	a = parse(&b, PTR_NAME, DNS_PTR);
	CHECK_EQ("status", a.status, DNS_OK);
	CHECK_EQ("one name", a.n_names, 1);
	CHECK_STR("name", a.name[0], "mail.example.org");
	CHECK_EQ("TTL of the chain", a.ttl_s, 50);
}

static void
test_dns_cname_loop_and_loose_end_say_nothing(void **state)
{
	char name[32], next[32];
	struct dns_build b;

	(void)state;
	dns_begin(&b, 1, RESPONSE, PTR_NAME, DNS_PTR);
	dns_name_record(&b, PTR_NAME, DNS_CNAME, 50, "a.example");
	dns_name_record(&b, "a.example", DNS_CNAME, 50, PTR_NAME);
	CHECK_EQ("loop", parse(&b, PTR_NAME, DNS_PTR).status, DNS_TEMPERR);
	dns_begin(&b, 1, RESPONSE, PTR_NAME, DNS_PTR);
	dns_name_record(&b, PTR_NAME, DNS_CNAME, 50, "a.example");
	CHECK_EQ("an end that was not told", parse(&b, PTR_NAME, DNS_PTR).status, DNS_TEMPERR);
	dns_soa(&b, "example", 100, 60);
	CHECK_EQ("an end that has no PTR", parse(&b, PTR_NAME, DNS_PTR).status, DNS_NONE);
	dns_begin(&b, 1, RESPONSE | 3, PTR_NAME, DNS_PTR);
	dns_name_record(&b, PTR_NAME, DNS_CNAME, 50, "a.example");
	CHECK_EQ("an end that is not there", parse(&b, PTR_NAME, DNS_PTR).status, DNS_NONE);
	dns_begin(&b, 1, RESPONSE, "c0.example", DNS_PTR);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "c%d.example", i);
		snprintf(next, sizeof(next), "c%d.example", i + 1);
		dns_name_record(&b, name, DNS_CNAME, 50, next);
	}
	dns_name_record(&b, "c20.example", DNS_PTR, 300, "mail.example.org");
	CHECK_EQ("a chain beyond the cap", parse(&b, "c0.example", DNS_PTR).status, DNS_TEMPERR);
}

static void
test_dns_negative_answers(void **state)
{
	static const struct {
		const char *label;
		uint16_t flags;
		uint32_t soa_ttl_s, minimum_s; /* 0: no SOA */
		enum dns_status want;
		uint32_t want_ttl_s;
	} rows[] = {
		{ "NXDOMAIN, minimum is smaller", RESPONSE | 3, 3600, 60, DNS_NONE, 60 },
		{ "NXDOMAIN, TTL of the SOA is smaller", RESPONSE | 3, 30, 60, DNS_NONE, 30 },
		{ "NXDOMAIN without SOA", RESPONSE | 3, 0, 0, DNS_NONE, 0 },
		{ "no data", RESPONSE, 3600, 120, DNS_NONE, 120 },
		{ "SERVFAIL", RESPONSE | 2, 0, 0, DNS_TEMPERR, 0 },
		{ "REFUSED", RESPONSE | 5, 0, 0, DNS_TEMPERR, 0 },
		{ "FORMERR", RESPONSE | 1, 0, 0, DNS_TEMPERR, 0 },
		{ "truncated for good", RESPONSE | 0x0200, 3600, 60, DNS_TEMPERR, 0 },
		{ "truncated NXDOMAIN", RESPONSE | 0x0203, 3600, 60, DNS_TEMPERR, 0 },
		{ "a question", 0x0100, 0, 0, DNS_TEMPERR, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct dns_build b;
		struct dns_answer a;

		dns_begin(&b, 1, rows[i].flags, PTR_NAME, DNS_PTR);
		if (rows[i].soa_ttl_s > 0)
			dns_soa(&b, "2.0.192.in-addr.arpa", rows[i].soa_ttl_s, rows[i].minimum_s);
		a = parse(&b, PTR_NAME, DNS_PTR);
		CHECK_EQ(rows[i].label, a.status, rows[i].want);
		CHECK_EQ(rows[i].label, a.ttl_s, rows[i].want_ttl_s);
	}
}

static void
test_dns_addresses(void **state)
{
	struct ip_addr six;
	struct dns_build b;
	struct dns_answer a;

	(void)state;
	dns_begin(&b, 1, RESPONSE, "mail.example.org", DNS_A);
	dns_a(&b, "MAIL.example.ORG", 60, 0xc0000207);
	for (uint32_t i = 0; i < 100; i++)
		dns_a(&b, "mail.example.org", 60, i);
	a = parse(&b, "mail.example.org", DNS_A);
	CHECK_EQ("capped", a.n_addrs, DNS_ADDRS_MAX);
	CHECK_EQ("first", ip_addr_to_v4(&a.addr[0]), 0xc0000207);
	ip_addr_parse("2001:db8::25", &six);
	dns_begin(&b, 1, RESPONSE, "mail.example.org", DNS_AAAA);
	dns_record(&b, DNS_AT_ANSWERS, "mail.example.org", DNS_AAAA, 60, six.octet, 16);
	a = parse(&b, "mail.example.org", DNS_AAAA);
	CHECK_TRUE("IPv6", a.n_addrs == 1 && ip_addr_equal(&a.addr[0], &six));
	dns_begin(&b, 1, RESPONSE, "mail.example.org", DNS_A);
	dns_record(&b, DNS_AT_ANSWERS, "mail.example.org", DNS_A, 60, "abcde", 5);
	CHECK_EQ("an A record of five octets", parse(&b, "mail.example.org", DNS_A).status, DNS_TEMPERR);
}

static void
test_dns_names_with_odd_octets_are_escaped(void **state)
{
	static const uint8_t raw[] = { 4, 'a', '.', 0x00, 0xff, 3, 'b', '"', '\\', 2, '\r', '\n', 0 };
	struct dns_build b;
	struct dns_answer a;

	(void)state;
	dns_begin(&b, 1, RESPONSE, PTR_NAME, DNS_PTR);
	dns_record(&b, DNS_AT_ANSWERS, PTR_NAME, DNS_PTR, 60, raw, sizeof(raw));
	a = parse(&b, PTR_NAME, DNS_PTR);
	CHECK_EQ("status", a.status, DNS_OK);
	CHECK_STR("escaped", a.name[0], "a\\x2e\\x00\\xff.b\\x22\\x5c.\\x0d\\x0a");
}

/* Every truncation and every octet changed: an answer or none, never a read outside. */
static void
test_dns_damaged_messages(void **state)
{
	struct dns_build b, cut;

	(void)state;
	dns_begin(&b, 1, RESPONSE, PTR_NAME, DNS_PTR);
	dns_name_record(&b, PTR_NAME, DNS_CNAME, 50, "a.example");
	dns_name_record(&b, "a.example", DNS_PTR, 300, "mail.example.org");
	dns_soa(&b, "example", 100, 60);
	for (size_t n = 0; n < b.n; n++) {
		cut = b;
		cut.n = n;
		if (parse(&cut, PTR_NAME, DNS_PTR).status == DNS_NONE)
			fail_msg("cut at %zu became absence", n);
	}
	for (size_t at = 0; at < b.n; at++)
		for (unsigned v = 0; v < 256; v += 5) {
			cut = b;
			cut.m[at] = (uint8_t)v;
			parse(&cut, PTR_NAME, DNS_PTR);
		}
	/* compression: to itself, forwards, beyond */
	for (unsigned to = 0; to < 64; to++) {
		dns_begin(&cut, 1, RESPONSE, PTR_NAME, DNS_PTR);
		dns_count(&cut, DNS_AT_ANSWERS);
		dns_put_u16(&cut, (uint16_t)(0xc000 | to));
		dns_put_u16(&cut, DNS_PTR);
		dns_put_u16(&cut, 1);
		dns_put_u32(&cut, 60);
		dns_put_u16(&cut, 2);
		dns_put_u16(&cut, (uint16_t)(0xc000 | to));
		parse(&cut, PTR_NAME, DNS_PTR);
	}
	dns_begin(&cut, 1, RESPONSE, PTR_NAME, DNS_PTR);
	dns_count(&cut, DNS_AT_ANSWERS);
	dns_put_u16(&cut, 0xc00c);
	dns_put_u16(&cut, DNS_PTR);
	dns_put_u16(&cut, 1);
	dns_put_u32(&cut, 60);
	dns_put_u16(&cut, 2);
	dns_put_u16(&cut, 0xc00c);
	CHECK_STR("a pointer back", parse(&cut, PTR_NAME, DNS_PTR).name[0], PTR_NAME);
}

static void
test_dns_reverse_name(void **state)
{
	char name[DNS_NAME_OCTETS];
	struct ip_addr addr;

	(void)state;
	ip_addr_parse("192.0.2.7", &addr);
	CHECK_EQ("length", dns_reverse_name(&addr, NULL, name, sizeof(name)), strlen(PTR_NAME));
	CHECK_STR("IPv4", name, PTR_NAME);
	ip_addr_parse("2001:db8::1", &addr);
	dns_reverse_name(&addr, NULL, name, sizeof(name));
	CHECK_STR("IPv6", name, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
	CHECK_EQ("no room", dns_reverse_name(&addr, NULL, name, 70), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dns_ptr),
		cmocka_unit_test(test_dns_ptr_by_cname),
		cmocka_unit_test(test_dns_cname_loop_and_loose_end_say_nothing),
		cmocka_unit_test(test_dns_negative_answers),
		cmocka_unit_test(test_dns_addresses),
		cmocka_unit_test(test_dns_names_with_odd_octets_are_escaped),
		cmocka_unit_test(test_dns_damaged_messages),
		cmocka_unit_test(test_dns_reverse_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
