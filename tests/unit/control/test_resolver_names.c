/*
 * test_resolver_names.c - lists of names (HELO, sender's domain) over loopback: their proof, what they say, that they are coalesced, cached
 * and held to the deadline like all others.
 */
#include "tests/unit/control/dns_play.h"

#define LISTS                                                                                                          \
	"sender_zones = ( { zone = \"dbl.example\"; filters = [ \"127.0.1.[2..99]*4\" ]; whoami = "                    \
	"\"whoami.dbl.example\"; },\n"                                                                                 \
	"  { zone = \"key.sure.example\"; name = \"sure\"; filters = [ \"127.0.0.2*9\" ]; decisive = true; } );\n"     \
	"helo_zones = ( { zone = \"hbl.example\"; filters = [ \"127.0.0.2*9\" ]; test_point = \"point\"; } );"

enum { DBL = 4, SURE = 5, HBL = 3 }; /* zones of clients come first, then those of HELO names */

static void
start(struct bench *b, unsigned timeout_ms, enum zones zones)
{
	bench_open_with(b, timeout_ms, "", LISTS, zones, false);
	for (unsigned i = 0; i < 5 && zone_standing_v4(b, HBL) == ZONE_STANDING_UNPROVEN; i++) {
		resolver_prove(b->resolver);
		settle(b);
	}
}

static struct resolver_result
ask_name(struct bench *b, enum conf_zone_kind kind, const char *name, unsigned deadline_ms, bool fresh)
{
	struct got g = { .base = b->base, .wanted = 1 };

	resolver_ask_name(b->resolver, kind, name, b->all_good, deadline_ms, fresh, take, &g);
	if (g.n == 0)
		run_ms(b, 5000);
	CHECK_EQ(name, g.n, 1);
	return g.result;
}

static unsigned seen_n;
static struct resolver_seen seen_first;

/* What is lent for the callback alone. */
static void
take_seen(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	seen_n = result->n_seen;
	if (seen_n > 0)
		seen_first = result->seen[0];
	take(arg, client, result);
}

static void
ask_name_seen(struct bench *b, const char *name, bool fresh, struct resolver_result *r)
{
	struct got g = { .base = b->base, .wanted = 1 };

	resolver_ask_name(b->resolver, ZONE_KIND_SENDER, name, false, 2000, fresh, take_seen, &g);
	if (g.n == 0)
		run_ms(b, 5000);
	CHECK_EQ(name, g.n, 1);
	*r = g.result;
}

static void
test_names_are_judged_by_their_lists_alone(void **state)
{
	static const struct {
		const char *label, *name;
		enum conf_zone_kind kind;
		int score;
		uint8_t zone;
		bool complete, decisive;
	} rows[] = {
		{ "not listed", "good.example", ZONE_KIND_SENDER, 0, ZONE_NONE, true, false },
		{ "listed by two, one of them decisive", "spam.example", ZONE_KIND_SENDER, 13, SURE, true, true },
		{ "the same name as HELO: another list, held to 4", "spam.example", ZONE_KIND_HELO, 4, HBL, true,
			false },
		{ "an error code is no listing", "quota.example", ZONE_KIND_SENDER, 0, ZONE_NONE, false, false },
		{ "an answer no filter names", "odd.example", ZONE_KIND_SENDER, 0, ZONE_NONE, true, false },
		{ "a list that fails says nothing", "fails.example", ZONE_KIND_SENDER, 0, ZONE_NONE, false, false },
	};
	struct bench b;

	(void)state;
	start(&b, 60, AS_RULED);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct resolver_result r = ask_name(&b, rows[i].kind, rows[i].name, 2000, true);

		CHECK_EQ(rows[i].label, r.verdict.known, CLIENT_KNOWN);
		CHECK_EQ(rows[i].label, r.verdict.score, rows[i].score);
		CHECK_EQ(rows[i].label, r.verdict.zone, rows[i].zone);
		CHECK_EQ(rows[i].label, r.complete, rows[i].complete);
		CHECK_EQ(rows[i].label, r.decisive, rows[i].decisive);
		CHECK_EQ("no reverse DNS of a name", r.verdict.ptr_state, PTR_UNKNOWN);
	}
	CHECK_EQ("nothing of it goes to the table of clients", b.finished, 0);
	CHECK_EQ("lists of clients are not asked", resolver_stats(b.resolver)->zone[0].asked, 0);
	bench_stop(&b);
}

/* RFC 5782 section 5: "test" is listed, "invalid" is not. */
static void
test_names_lists_prove_themselves(void **state)
{
	static const struct {
		const char *label;
		enum zones zones;
		enum zone_standing want;
	} rows[] = {
		{ "lists everything", LIST_EVERYTHING, ZONE_STANDING_LISTS_EVERYTHING },
		{ "lists nothing", LIST_NOTHING, ZONE_STANDING_LISTS_NOTHING },
		{ "answers errors", ANSWER_ERRORS, ZONE_STANDING_ANSWERS_ERRORS },
	};
	struct bench b;

	(void)state;
	start(&b, 60, AS_RULED);
	CHECK_EQ("by the test point of RFC 5782", zone_standing_v4(&b, DBL), ZONE_STANDING_ACTIVE);
	CHECK_EQ("by its own", zone_standing_v4(&b, HBL), ZONE_STANDING_ACTIVE);
	CHECK_EQ("it has no IPv6", resolver_zone_health(b.resolver, DBL)->family[ZONE_V6], ZONE_STANDING_NO_FAMILY);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		b.server.zones = rows[i].zones;
		resolver_prove(b.resolver);
		settle(&b);
		CHECK_EQ(rows[i].label, zone_standing_v4(&b, DBL), rows[i].want);
		CHECK_EQ("it does not count", ask_name(&b, ZONE_KIND_SENDER, "spam.example", 2000, true).verdict.score,
			9);
		b.server.zones = AS_RULED;
		resolver_prove(b.resolver);
		settle(&b);
		CHECK_EQ("healed", zone_standing_v4(&b, DBL), ZONE_STANDING_ACTIVE);
	}
	bench_stop(&b);
}

static void
test_names_are_coalesced_and_cached(void **state)
{
	struct got g = { .wanted = 5 };
	struct resolver_result r;
	struct bench b;
	unsigned asked;

	(void)state;
	start(&b, 200, AS_RULED);
	g.base = b.base;
	for (int i = 0; i < 5; i++)
		resolver_ask_name(b.resolver, ZONE_KIND_SENDER, "good.example", false, 2000, false, take, &g);
	run_ms(&b, 3000);
	CHECK_EQ("every session is answered", g.n, 5);
	CHECK_EQ("one question for each list", b.server.questions, 2);
	CHECK_EQ("coalesced", resolver_stats(b.resolver)->coalesced, 4);
	r = ask_name(&b, ZONE_KIND_SENDER, "good.example", 2000, false);
	CHECK_TRUE("cached, by the SOA", r.cached && r.ttl_s <= 90 && r.ttl_s > 80);
	asked = b.server.questions;
	r = ask_name(&b, ZONE_KIND_HELO, "good.example", 2000, false);
	CHECK_TRUE("as HELO name it is another question", !r.cached && b.server.questions == asked + 1);
	r = ask_name(&b, ZONE_KIND_SENDER, "spam.example", 2000, false);
	r = ask_name(&b, ZONE_KIND_SENDER, "spam.example", 2000, false);
	CHECK_TRUE("a cached listing is the same", r.cached && r.verdict.score >= 9 && r.decisive);
	bench_stop(&b);
}

static void
test_names_keep_the_deadline(void **state)
{
	struct resolver_result r;
	struct bench b;

	(void)state;
	start(&b, 2000, AS_RULED);
	r = ask_name(&b, ZONE_KIND_SENDER, "late.example", 300, false);
	CHECK_TRUE("decided with what is known", r.verdict.score == 0 && !r.complete);
	CHECK_EQ("late", resolver_stats(b.resolver)->late, 1);
	run_ms(&b, LATE_MS);
	r = ask_name(&b, ZONE_KIND_SENDER, "late.example", 300, false);
	CHECK_TRUE("what came late is cached", r.cached && r.verdict.score == 4);
	b.server.dead = true;
	r = ask_name(&b, ZONE_KIND_SENDER, "dead.example", 300, false);
	CHECK_EQ("nothing heard is no verdict", r.verdict.known, CLIENT_LATE);
	CHECK_EQ("and no listing", r.verdict.score, 0);
	bench_stop(&b);
}

/* A list that has much of the mail of good clients is no list of bad names. */
static void
test_names_list_of_good_clients(void **state)
{
	struct bench b;

	(void)state;
	start(&b, 60, AS_RULED);
	b.all_good = true;
	for (unsigned i = 0; i < ZONE_SHARE_MIN; i++)
		ask_name(&b, ZONE_KIND_SENDER, i % 3 == 0 ? "spam.example" : "good.example", 2000, true);
	CHECK_EQ("quarantine", zone_standing_v4(&b, DBL), ZONE_STANDING_LISTS_GOOD_CLIENTS);
	CHECK_EQ("counts no more", ask_name(&b, ZONE_KIND_SENDER, "spam.example", 2000, true).verdict.score, 0);
	bench_stop(&b);
}

/* `dnsbl test`: which address of ours the list sees, by A or by TXT; sessions never ask for it. */
static void
test_whoami_tells_the_address_a_list_sees(void **state)
{
	struct resolver_result r;
	struct ip_addr want;
	struct bench b;

	(void)state;
	start(&b, 60, AS_RULED);
	ip_addr_parse("2001:db8::53", &want);
	ask_name_seen(&b, "good.example", true, &r);
	CHECK_EQ("by the text: 127.0.0.2 is nobody's address", seen_n, 1);
	CHECK_TRUE("address", ip_addr_equal(&seen_first.addr, &want));
	CHECK_EQ("of the zone", seen_first.zone, DBL);
	CHECK_EQ("by the resolver", seen_first.server, 0);
	b.server.questions = 0;
	ask_name_seen(&b, "other.example", false, &r);
	CHECK_EQ("a session does not ask", seen_n, 0);
	CHECK_EQ("two lists", b.server.questions, 2);
	bench_stop(&b);
}

static void
test_big_senders_are_known_by_confirmed_name(void **state)
{
	static const struct {
		const char *label, *client;
		uint8_t want;
	} rows[] = {
		{ "confirmed", "192.0.2.1", NAME_LIST_BIG_SENDER },
		{ "claimed by a PTR record alone", "192.0.2.3", NAME_LIST_NONE },
		{ "what the administrator allows is stronger", "192.0.2.20", NAME_LIST_ALLOW },
		{ "denied as well", "192.0.2.23", NAME_LIST_DENY },
	};
	static const char *const names[] = { "mail.example.org", "other.example.org", ".google.com",
		"bad.example.net" };
	struct bench b;

	(void)state;
	start(&b, 60, AS_RULED);
	CHECK_EQ("not on the list yet", ask_for(&b, "192.0.2.1", 2000, false).verdict.name_list, NAME_LIST_NONE);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		config_texts_add(&b.config->big_senders, names[i], strlen(names[i]), 1, 0);
	CHECK_EQ("configured", resolver_configure(b.resolver, b.config), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_EQ(rows[i].label, ask_for(&b, rows[i].client, 2000, false).verdict.name_list, rows[i].want);
	bench_stop(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_judged_by_their_lists_alone),
		cmocka_unit_test(test_names_lists_prove_themselves),
		cmocka_unit_test(test_names_are_coalesced_and_cached),
		cmocka_unit_test(test_names_keep_the_deadline),
		cmocka_unit_test(test_names_list_of_good_clients),
		cmocka_unit_test(test_big_senders_are_known_by_confirmed_name),
		cmocka_unit_test(test_whoami_tells_the_address_a_list_sees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
