/*
 * test_triplet.c - what makes two attempts the same (POLICY section 3, PITFALLS 39).
 */
#include "tests/check.h"

#include <errno.h>

#include "dataplane/policy/policy.h"
#include "dataplane/policy/triplet.h"

struct row {
	const char *label, *in, *want;
};

static const struct row sender_rows[] = {
	{ "the null sender stays empty", "", "" },
	{ "ASCII letters are folded", "Alice.B@Example.ORG", "alice.b@example.org" },
	{ "a.b is not ab", "a.b@example.org", "a.b@example.org" },
	{ "quotes that are not needed go", "\"a.b\"@example.org", "a.b@example.org" },
	{ "quoted pairs that are not needed go", "\"a\\b\"@example.org", "ab@example.org" },
	{ "quotes that are needed stay", "\"a b\"@example.org", "\"a b\"@example.org" },
	{ "an at sign in quotes", "\"a@b\"@Example.org", "\"a@b\"@example.org" },
	{ "a quote in quotes", "\"a\\\"b\"@example.org", "\"a\\\"b\"@example.org" },
	{ "dots in a row need quotes", "\"a..b\"@example.org", "\"a..b\"@example.org" },
	{ "a tag in quotes is a name", "\"a b+c\"@example.org", "\"a b+c\"@example.org" },
	{ "source route", "@one,@two:user@example.org", "user@example.org" },
	{ "UTF-8 local part keeps its octets", "J\xc3\xb6rg@example.org", "j\xc3\xb6rg@example.org" },
	{ "U-label as A-label",
		"user@b\xc3\xbc"
		"cher.example",
		"user@xn--bcher-kva.example" },
	{ "U-label in capitals",
		"user@B\xc3\x9c"
		"CHER.example",
		"user@xn--bcher-kva.example" },
	{ "A-label in capitals", "user@XN--BCHER-KVA.example", "user@xn--bcher-kva.example" },
	{ "octets that are no UTF-8 stay",
		"user@b\xff"
		"d.example",
		"user@b\xff"
		"d.example" },
	{ "U-label decomposed",
		"user@bu\xcc\x88"
		"cher.example",
		"user@xn--bcher-kva.example" },
	{ "a full-width letter is no letter of ours",
		"user@\xef\xbd\x85"
		"xample.example",
		"user@\xef\xbd\x85"
		"xample.example" },
	{ "nor is it with an accent", "user@b\xef\xbd\x95\xcc\x88\x63her.example",
		"user@b\xef\xbd\x95\xcc\x88\x63her.example" },
	{ "an ideographic full stop is no dot", "user@example\xe3\x80\x82org", "user@example\xe3\x80\x82org" },
	{ "a ligature is not its letters", "user@\xef\xac\x81sh.example", "user@\xef\xac\x81sh.example" },
	{ "a superscript is no digit", "user@a\xc2\xb2.example", "user@a\xc2\xb2.example" },
	{ "Greek in capitals", "user@\xce\xa0\xce\xb1.example", "user@xn--mxa3a.example" },
	{ "sharp s is no ss", "user@fa\xc3\x9f.example", "user@xn--fa-hia.example" },
	{ "a final dot goes", "user@example.org.", "user@example.org" },
	{ "no domain", "postmaster", "postmaster" },

	{ "+tag", "user+news@example.org", "user@example.org" },
	{ "only the first plus counts", "user+a+b@example.org", "user@example.org" },
	{ "a leading plus is a name", "+user@example.org", "+user@example.org" },
	{ "VERP with plus", "list-bounces+me=example.net@lists.example.org", "list-bounces@lists.example.org" },
	{ "digits of VERP", "bounce-1234-me=example.net@lists.example.org",
		"bounce-#-me=example.net@lists.example.org" },
	{ "digits of VERP, other message", "bounce-99999-me=example.net@lists.example.org",
		"bounce-#-me=example.net@lists.example.org" },
	{ "digits between dots", "n.20261101.7.msg@example.org", "n.#.#.msg@example.org" },
	{ "digits at a letter are a name", "user1@example.org", "user1@example.org" },
	{ "a year of birth is a name", "john1985@example.org", "john1985@example.org" },
	{ "a number alone is a name", "13800138000@example.org", "13800138000@example.org" },
	{ "a short mixed word is a name", "x-a1b2c3-y@example.org", "x-a1b2c3-y@example.org" },
	{ "unique token", "bounces-4f3a9c01b7-news@example.org", "bounces-#-news@example.org" },
	{ "unique tokens of a mailer", "010001890a1b2c3d-7d1e0f4a9b3c-000000@mail.example.org",
		"#-#-#@mail.example.org" },

	{ "BATV", "prvs=2345678abc=user@example.org", "user@example.org" },
	{ "BATV of the next day", "PRVS=9345999def=User@example.org", "user@example.org" },
	{ "BATV around a tag", "prvs=2345678abc=user+x@example.org", "user@example.org" },
	{ "BATV of Barracuda", "btv1==0123456789a==user@example.org", "user@example.org" },
	{ "BATV of SparkPost", "msprvs1=17999abcdefg=bounces-1-2@example.org", "bounces-#-#@example.org" },
	{ "BATV without an address", "prvs=2345678abc=@example.org", "prvs=2345678abc=@example.org" },
	{ "BATV with a broken tag", "prvs=23-45=user@example.org", "prvs=#-#=user@example.org" },

	{ "SRS0 keeps local part and domain", "SRS0=HHHH=TT=source.example=alice@fwd.example",
		"srs=source.example=alice@fwd.example" },
	{ "SRS0 of another day", "SRS0=Abc1=ZZ=source.example=alice@fwd.example",
		"srs=source.example=alice@fwd.example" },
	{ "SRS0 of another author", "SRS0=HHHH=TT=source.example=bob@fwd.example",
		"srs=source.example=bob@fwd.example" },
	{ "SRS0 with plus", "SRS0+HHHH=TT=source.example=alice@fwd.example", "srs=source.example=alice@fwd.example" },
	{ "SRS0 with minus", "SRS0-HHHH=TT=source.example=alice@fwd.example", "srs=source.example=alice@fwd.example" },
	{ "SRS0 around a tag", "SRS0=HHHH=TT=source.example=alice+x@fwd.example",
		"srs=source.example=alice@fwd.example" },
	{ "SRS0 around BATV", "SRS0=HHHH=TT=source.example=prvs=1234567abc=alice@fwd.example",
		"srs=source.example=alice@fwd.example" },
	{ "a domain of digits in SRS0 stays", "SRS0=HHHH=TT=163.com=alice@fwd.example",
		"srs=163.com=alice@fwd.example" },
	{ "SRS1 keeps local part and domain", "SRS1=GGGG=fwd.example==HHHH=TT=source.example=alice@two.example",
		"srs=source.example=alice@two.example" },
	{ "SRS1 with plus inside", "SRS1=GGGG=fwd.example=+HHHH=TT=source.example=alice@two.example",
		"srs=source.example=alice@two.example" },
	{ "SRS0 cut short is a name", "SRS0=HHHH=TT=alice@fwd.example", "srs0=hhhh=tt=alice@fwd.example" },
	{ "SRS in a name is a name", "srsly@example.org", "srsly@example.org" },
};

static const struct row rcpt_rows[] = {
	{ "folded", "User@Example.ORG", "user@example.org" },
	{ "the tag of a recipient stays", "user+folder@example.org", "user+folder@example.org" },
	{ "digits of a recipient stay", "box-123-x@example.org", "box-123-x@example.org" },
	{ "a.b quoted is a.b", "\"a.b\"@example.org", "a.b@example.org" },
	{ "U-label",
		"user@b\xc3\xbc"
		"cher.example",
		"user@xn--bcher-kva.example" },
	{ "source route", "@a:user@example.org", "user@example.org" },
};

static void
test_triplet_normalises_senders(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sender_rows); i++) {
		char out[TRIPLET_PATH_MAX_OCTETS + 1];

		triplet_normalise_sender(sender_rows[i].in, out);
		CHECK_STR(sender_rows[i].label, out, sender_rows[i].want);
	}
}

static void
test_triplet_normalises_recipients(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rcpt_rows); i++) {
		char out[TRIPLET_PATH_MAX_OCTETS + 1];

		triplet_normalise_rcpt(rcpt_rows[i].in, out);
		CHECK_STR(rcpt_rows[i].label, out, rcpt_rows[i].want);
	}
}

static void
test_triplet_long_paths_stay_in_their_room(void **state)
{
	char in[2000], out[TRIPLET_PATH_MAX_OCTETS + 1];

	(void)state;
	memset(in, 'a', sizeof(in));
	in[sizeof(in) - 1] = '\0';
	triplet_normalise_sender(in, out);
	CHECK_EQ("cut", strlen(out), TRIPLET_PATH_MAX_OCTETS);
	memset(in, '"', 320);
	memcpy(in + 310, "@e.example", 11);
	triplet_normalise_sender(in, out);
	CHECK_TRUE("quoted pairs cannot grow over it", strlen(out) <= TRIPLET_PATH_MAX_OCTETS);
	in[0] = '"';
	memset(in + 1, '\\', 300);
	memcpy(in + 301, "\"@e.example", 12);
	triplet_normalise_sender(in, out);
	CHECK_TRUE("backslashes", strlen(out) <= TRIPLET_PATH_MAX_OCTETS);
}

static void
test_triplet_tag_tells_apart_what_differs(void **state)
{
	const struct siphash_key key = { 1, 2 }, other_key = { 1, 3 };
	const struct ip_addr a = ip_addr_v4(0xc0000200), b = ip_addr_v4(0xc0000300);
	const uint64_t tag = triplet_tag(&key, &a, "s@x", "r@y");

	(void)state;
	CHECK_TRUE("the same again", tag == triplet_tag(&key, &a, "s@x", "r@y"));
	CHECK_TRUE("network", tag != triplet_tag(&key, &b, "s@x", "r@y"));
	CHECK_TRUE("sender", tag != triplet_tag(&key, &a, "t@x", "r@y"));
	CHECK_TRUE("recipient", tag != triplet_tag(&key, &a, "s@x", "q@y"));
	CHECK_TRUE("the border between them", triplet_tag(&key, &a, "ab", "c") != triplet_tag(&key, &a, "a", "bc"));
	CHECK_TRUE("key", tag != triplet_tag(&other_key, &a, "s@x", "r@y"));
	CHECK_TRUE("kinds never meet", policy_tag(&key, VT_CLIENT, "x", 1) != policy_tag(&key, VT_AUTO, "x", 1));
}

static void
test_policy_client_network_is_24_or_64(void **state)
{
	static const struct row rows[] = {
		{ "IPv4", "192.0.2.77", "192.0.2.0" },
		{ "IPv6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[IP_ADDR_TEXT_MAX_OCTETS];
		struct ip_addr a, n;

		ip_addr_parse(rows[i].in, &a);
		n = policy_client_network(&a);
		CHECK_STR(rows[i].label, ip_addr_format(&n, text), rows[i].want);
	}
}

static void
test_policy_ref_is_eight_characters_of_crockford(void **state)
{
	static const struct {
		const char *text;
		uint64_t want;
		int want_rc;
	} rows[] = {
		{ "00000000", 0, 0 },
		{ "ZZZZZZZZ", UINT64_C(0xffffffffff), 0 },
		{ "zzzzzzzz", UINT64_C(0xffffffffff), 0 },
		{ "0000000I", 1, 0 },
		{ "0000000l", 1, 0 },
		{ "O000000o", 0, 0 },
		{ "0000-0010", 32, 0 },
		{ "0000000U", 0, -EINVAL },
		{ "0000000", 0, -EINVAL },
		{ "000000000", 0, -EINVAL },
		{ "", 0, -EINVAL },
		{ "0000 000", 0, -EINVAL },
	};
	uint64_t seed = 7;
	char text[9];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t ref = 0;

		CHECK_EQ(rows[i].text, policy_ref_parse(rows[i].text, &ref), rows[i].want_rc);
		if (rows[i].want_rc == 0)
			CHECK_EQ(rows[i].text, ref, rows[i].want);
	}
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t back = 0, ref;

		seed = seed * UINT64_C(6364136223846793005) + 1;
		ref = seed >> 24;
		CHECK_EQ("parses", policy_ref_parse(policy_ref_format(ref, text), &back), 0);
		CHECK_TRUE("comes back", back == ref);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_triplet_normalises_senders),
		cmocka_unit_test(test_triplet_normalises_recipients),
		cmocka_unit_test(test_triplet_long_paths_stay_in_their_room),
		cmocka_unit_test(test_triplet_tag_tells_apart_what_differs),
		cmocka_unit_test(test_policy_client_network_is_24_or_64),
		cmocka_unit_test(test_policy_ref_is_eight_characters_of_crockford),
	};

	return cmocka_run_group_tests_name("triplet", tests, NULL, NULL);
}
