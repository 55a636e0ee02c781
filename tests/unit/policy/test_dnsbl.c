/*
 * test_dnsbl.c - names, notation, answers and weights of blocklists (POLICY section 4, PITFALLS 40).
 */
#include "tests/check.h"

#include <errno.h>

#include "dataplane/policy/dnsbl.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static void
test_dnsbl_query_names(void **state)
{
	static const struct {
		const char *label, *client, *zone, *want;
	} rows[] = {
		{ "IPv4 reversed", "192.0.2.99", "bl.example", "99.2.0.192.bl.example" },
		{ "IPv6 nibbles (RFC 5782 section 2.4)", "2001:db8:1:2:3:4:567:89ab", "ugly.example.com",
			"b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com" },
		{ "reverse zone", "198.18.0.1", "in-addr.arpa", "1.0.18.198.in-addr.arpa" },
	};
	char out[300], zone[DNSBL_NAME_MAX_OCTETS + 1];
	struct ip_addr a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK_EQ(rows[i].label, ip_addr_parse(rows[i].client, &a), 0);
		CHECK_EQ(rows[i].label, dnsbl_query_name(&a, rows[i].zone, out, sizeof(out)), strlen(rows[i].want));
		CHECK_STR(rows[i].label, out, rows[i].want);
	}
	ip_addr_parse("192.0.2.99", &a);
	CHECK_EQ("room one short", dnsbl_query_name(&a, "bl.example", out, 21), 0);
	CHECK_EQ("room exact", dnsbl_query_name(&a, "bl.example", out, 22), 21);
	CHECK_EQ("no zone", dnsbl_query_name(&a, "", out, sizeof(out)), 0);
	memset(zone, 'a', 250);
	zone[250] = '\0';
	CHECK_EQ("longer than a name may be", dnsbl_query_name(&a, zone, out, sizeof(out)), 0);
}

static void
test_dnsbl_test_points(void **state)
{
	char out[300];

	(void)state;
	dnsbl_test_name("bl.example", false, true, out, sizeof(out));
	CHECK_STR("127.0.0.2", out, "2.0.0.127.bl.example");
	dnsbl_test_name("bl.example", false, false, out, sizeof(out));
	CHECK_STR("127.0.0.1", out, "1.0.0.127.bl.example");
	dnsbl_test_name("bl.example", true, true, out, sizeof(out));
	CHECK_STR("::FFFF:7F00:2", out, "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example");
	dnsbl_test_name("bl.example", true, false, out, sizeof(out));
	CHECK_STR("::FFFF:7F00:1", out, "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example");
}

static void
test_dnsbl_notation_is_read(void **state)
{
	static const struct {
		const char *label, *text, *zone;
		unsigned n_filters;
		int weight_max;
	} good[] = {
		{ "zone alone", "bl.example", "bl.example", 0, 1 },
		{ "zone with weight", "bl.example*3", "bl.example", 0, 3 },
		{ "capped", "bl.example*9", "bl.example", 0, 4 },
		{ "a filter", "zen.spamhaus.org=127.0.0.[2..11]*3", "zen.spamhaus.org", 1, 3 },
		{ "filter without weight", "bl.example=127.0.0.2", "bl.example", 1, 1 },
		{ "several filters", "bl.example=127.0.0.2*1,127.0.0.[4;6..7]*2", "bl.example", 2, 3 },
		{ "allowlist", "list.dnswl.org=127.0.[0..255].1*-2,127.0.[0..255].[2;3]*-4", "list.dnswl.org", 2, -4 },
		{ "a key", "abc123def.zen.dq.spamhaus.net=127.0.0.2*2", "abc123def.zen.dq.spamhaus.net", 1, 2 },
		{ "final dot", "bl.example.=127.0.0.2", "bl.example", 1, 1 },
		{ "underscore", "_bl.example", "_bl.example", 0, 1 },
	};
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "", "the zone is missing" },
		{ "=127.0.0.2", "the zone is missing" },
		{ "bl..example", "the zone has an empty label" },
		{ "bl example", "the zone is no domain: letters, digits, '-', '_' and '.' only" },
		{ "bl.example=", "a number is missing at the end" },
		{ "bl.example=127.0.0", "four octets and \".\" between them expected in \"127.0.0\"" },
		{ "bl.example=127.0.0.256", "\"\" begins with a number above 255" },
		{ "bl.example=127.0.0.[2..]", "a number is missing at \"]\"" },
		{ "bl.example=127.0.0.[2", "\"]\" is missing at the end" },
		{ "bl.example=127.0.0.[2,3]", "\"]\" or \";\" expected at \",3]\"" },
		{ "bl.example=127.0.0.[5..2]", "the range 5..2 is empty" },
		{ "bl.example=127.0.0.02", "a number with a leading zero at \"02\"" },
		{ "bl.example=10.0.0.2", "\"10.0.0.2\": listings are answers in 127.0.0.0/8 only" },
		{ "bl.example=[126..127].0.0.2", "\"[126..127].0.0.2\": listings are answers in 127.0.0.0/8 only" },
		{ "bl.example=127.0.0.1*2", "\"127.0.0.1*2\": 127.0.0.1 is never a listing (RFC 5782 section 2.1)" },
		{ "bl.example=127.255.255.[1..254]",
			"\"127.255.255.[1..254]\": 127.255.255.0/24 is how lists tell errors" },
		{ "bl.example=127.0.0.2*", "a number is missing at the end" },
		{ "bl.example=127.0.0.2*0", "a weight of 0 has no effect" },
		{ "bl.example=127.0.0.2*100", "\"\" begins with a number above 99" },
		{ "bl.example=127.0.0.2*1;", "\";\" is too much at the end" },
		{ "bl.example*3=127.0.0.2", "\"=127.0.0.2\" is too much at the end" },
	};
	char why[DNSBL_WHY_OCTETS];
	struct dnsbl_zone z;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CHECK_EQ(good[i].label, dnsbl_zone_parse(good[i].text, &z, why), 0);
		CHECK_STR(good[i].label, z.zone, good[i].zone);
		CHECK_EQ(good[i].label, z.n_filters, good[i].n_filters);
		CHECK_EQ(good[i].label, dnsbl_zone_weight_max(&z), good[i].weight_max);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK_EQ(bad[i].text, dnsbl_zone_parse(bad[i].text, &z, why), -EINVAL);
		if (strstr(bad[i].why, "\"\" begins") == NULL)
			CHECK_STR(bad[i].text, why, bad[i].why);
		else
			CHECK_TRUE(bad[i].text, strstr(why, strstr(bad[i].why, "begins")) != NULL);
		CHECK_EQ("no room for the reason", dnsbl_zone_parse(bad[i].text, &z, NULL), -EINVAL);
	}
}

static void
test_dnsbl_long_zones_and_many_filters(void **state)
{
	char text[4096] = "bl.example=127.0.0.2", why[DNSBL_WHY_OCTETS];
	struct dnsbl_zone z;

	(void)state;
	for (unsigned i = 1; i < DNSBL_FILTERS_MAX; i++)
		strcat(text, ",127.0.0.2");
	CHECK_EQ("as many as there may be", dnsbl_zone_parse(text, &z, why), 0);
	strcat(text, ",127.0.0.2");
	CHECK_EQ("one more", dnsbl_zone_parse(text, &z, why), -EINVAL);
	CHECK_STR("says so", why, "more than 16 filters");
	memset(text, 'a', 64);
	strcpy(text + 64, ".example");
	CHECK_EQ("label of 64", dnsbl_zone_parse(text, &z, why), -EINVAL);
	for (unsigned i = 0; i < 300; i++)
		text[i] = i % 10 == 9 ? '.' : 'a';
	strcpy(text + 300, "a");
	CHECK_EQ("name of 301", dnsbl_zone_parse(text, &z, why), -EINVAL);
}

/* PITFALLS 40: answers that cannot be listings never are. */
static void
test_dnsbl_answers_are_judged(void **state)
{
	static const struct {
		const char *label, *zone;
		uint32_t answer[4];
		unsigned n;
		enum dnsbl_listing listing;
		int weight;
	} rows[] = {
		{ "no record", "bl.example*3", { 0 }, 0, DNSBL_NOT_LISTED, 0 },
		{ "listed", "bl.example*3", { IP(127, 0, 0, 2) }, 1, DNSBL_LISTED, 3 },
		{ "127.0.0.1 is none", "bl.example*3", { IP(127, 0, 0, 1) }, 1, DNSBL_NONSENSE, 0 },
		{ "outside 127/8 is none", "bl.example*3", { IP(203, 0, 113, 9) }, 1, DNSBL_NONSENSE, 0 },
		{ "126/8 and 128/8 are outside", "bl.example*3", { IP(126, 255, 255, 255), IP(128, 0, 0, 0) }, 2,
			DNSBL_NONSENSE, 0 },
		{ "127.255.255.254 is an error", "bl.example*3", { IP(127, 255, 255, 254) }, 1, DNSBL_ERROR, 0 },
		{ "127.255.255.0 is an error", "bl.example*3", { IP(127, 255, 255, 0) }, 1, DNSBL_ERROR, 0 },
		{ "127.255.254.255 is a listing", "bl.example*3", { IP(127, 255, 254, 255) }, 1, DNSBL_LISTED, 3 },
		{ "an error beside a listing is an error", "bl.example*3", { IP(127, 0, 0, 2), IP(127, 255, 255, 252) },
			2, DNSBL_ERROR, 0 },
		{ "nonsense beside a listing is ignored", "bl.example*3", { IP(203, 0, 113, 9), IP(127, 0, 0, 2) }, 2,
			DNSBL_LISTED, 3 },
		{ "filter hit", "bl.example=127.0.0.[2..11]*3", { IP(127, 0, 0, 11) }, 1, DNSBL_LISTED, 3 },
		{ "filter missed by one", "bl.example=127.0.0.[2..11]*3", { IP(127, 0, 0, 12) }, 1, DNSBL_NO_MATCH, 0 },
		{ "filter of another octet", "bl.example=127.0.0.[2..11]*3", { IP(127, 0, 1, 2) }, 1, DNSBL_NO_MATCH,
			0 },
		{ "a filter with everything still knows errors", "bl.example=127.[0..255].[0..255].[0..255]*3",
			{ IP(127, 255, 255, 254) }, 1, DNSBL_ERROR, 0 },
		{ "a filter with everything still knows 127.0.0.1", "bl.example=127.[0..255].[0..255].[0..255]*3",
			{ IP(127, 0, 0, 1) }, 1, DNSBL_NONSENSE, 0 },
		{ "a filter counts once", "bl.example=127.0.0.[2..11]*1",
			{ IP(127, 0, 0, 2), IP(127, 0, 0, 4), IP(127, 0, 0, 10) }, 3, DNSBL_LISTED, 1 },
		{ "filters add up", "bl.example=127.0.0.2*1,127.0.0.4*2", { IP(127, 0, 0, 2), IP(127, 0, 0, 4) }, 2,
			DNSBL_LISTED, 3 },
		{ "a zone weighs 4 at most", "bl.example=127.0.0.2*3,127.0.0.4*3",
			{ IP(127, 0, 0, 2), IP(127, 0, 0, 4) }, 2, DNSBL_LISTED, 4 },
		{ "an allowlist", "wl.example=127.0.[0..255].[1..3]*-3", { IP(127, 0, 5, 2) }, 1, DNSBL_LISTED, -3 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct dnsbl_judgement j;
		struct dnsbl_zone z;

		CHECK_EQ(rows[i].label, dnsbl_zone_parse(rows[i].zone, &z, NULL), 0);
		j = dnsbl_judge(&z, rows[i].answer, rows[i].n);
		CHECK_STR(rows[i].label, dnsbl_listing_name(j.listing), dnsbl_listing_name(rows[i].listing));
		CHECK_EQ(rows[i].label, j.weight, rows[i].weight);
	}
}

static void
test_dnsbl_decisive_zones_weigh_what_is_written(void **state)
{
	const uint32_t answer = IP(127, 0, 0, 2);
	struct dnsbl_zone z;

	(void)state;
	CHECK_EQ("parses", dnsbl_zone_parse("bl.example*5", &z, NULL), 0);
	CHECK_EQ("capped", dnsbl_judge(&z, &answer, 1).weight, DNSBL_WEIGHT_CAP);
	z.decisive = true;
	CHECK_EQ("decisive", dnsbl_judge(&z, &answer, 1).weight, 5);
	CHECK_EQ("shown", dnsbl_zone_weight_max(&z), 5);
}

static void
test_dnsbl_scores_add_up_over_zones(void **state)
{
	struct dnsbl_score s = DNSBL_SCORE_NONE;

	(void)state;
	dnsbl_score_add(&s, 0, &(struct dnsbl_judgement){ .listing = DNSBL_NOT_LISTED });
	CHECK_EQ("nobody", s.zone, 0xff);
	dnsbl_score_add(&s, 1, &(struct dnsbl_judgement){ .listing = DNSBL_LISTED, .weight = -2 });
	dnsbl_score_add(&s, 2, &(struct dnsbl_judgement){ .listing = DNSBL_LISTED, .weight = 4 });
	dnsbl_score_add(&s, 3, &(struct dnsbl_judgement){ .listing = DNSBL_LISTED, .weight = 3 });
	dnsbl_score_add(&s, 4, &(struct dnsbl_judgement){ .listing = DNSBL_ERROR, .weight = 9 });
	CHECK_EQ("sum", s.sum, 5);
	CHECK_EQ("who weighed most", s.zone, 2);
	for (unsigned i = 0; i < 2000; i++)
		dnsbl_score_add(&s, 5, &(struct dnsbl_judgement){ .listing = DNSBL_LISTED, .weight = 999 });
	CHECK_EQ("clamped", s.sum, DNSBL_SCORE_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dnsbl_query_names),
		cmocka_unit_test(test_dnsbl_test_points),
		cmocka_unit_test(test_dnsbl_notation_is_read),
		cmocka_unit_test(test_dnsbl_long_zones_and_many_filters),
		cmocka_unit_test(test_dnsbl_answers_are_judged),
		cmocka_unit_test(test_dnsbl_decisive_zones_weigh_what_is_written),
		cmocka_unit_test(test_dnsbl_scores_add_up_over_zones),
	};

	return cmocka_run_group_tests_name("dnsbl", tests, NULL, NULL);
}
