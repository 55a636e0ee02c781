/*
 * test_findings.c - the judge of DNS in virtual time: proofs by the half hour, quarantine and its end, the breaker, and that nobody waits
 * for what could not change the outcome. No socket and no clock: answers and time are arguments.
 */
#include "tests/check.h"

#include <stdlib.h>

#include "control/findings.h"
#include "dataplane/policy/client.h"

#define SECOND_US UINT64_C(1000000)
#define MINUTE_US (60 * SECOND_US)
#define ZONES     4

enum { BL, BL2, WL, DBL };

struct judge {
	struct config_zone zone[ZONES];
	struct zone_health health[ZONES];
	struct conf conf;
	struct findings_rules rules;
	uint64_t now_us;
};

static void
judge_init(struct judge *j)
{
	static const char *const specs[ZONES] = { "bl.example=127.0.0.[2..11]*5", "bl2.example=127.0.0.2*2",
		"wl.example=127.0.[0..255].2*-3", "dbl.example=127.0.1.2*4" };
	char why[DNSBL_WHY_OCTETS] = "";

	memset(j, 0, sizeof(*j));
	for (unsigned i = 0; i < ZONES; i++) {
		if (dnsbl_zone_parse(specs[i], &j->zone[i].spec, why) != 0)
			fail_msg("%s", why);
		j->zone[i].kind = i == DBL ? ZONE_KIND_SENDER : ZONE_KIND_CLIENT;
		zone_health_init(&j->health[i], &j->zone[i].spec, i == DBL);
	}
	j->zone[BL].spec.decisive = true;
	j->conf = (struct conf){ .dnsbl_reject_threshold = 5, .dnsbl_grey_threshold = 1, .ptr_missing = EFFECT_REJECT };
	j->rules = (struct findings_rules){ .zone = j->zone, .health = j->health, .n_zones = ZONES, .conf = &j->conf };
	j->now_us = SECOND_US;
}

/* One resolver's answers for both test points of the first family. */
static bool
prove(struct judge *j, unsigned zone, enum dnsbl_listing listed, enum dnsbl_listing clean, bool heard, bool *bad)
{
	bool changed;

	zone_health_round(&j->health[zone], ZONE_POINTS, j->now_us);
	changed = zone_health_point(&j->health[zone], ZONE_V4, ZONE_POINT_LISTED, heard, listed, j->now_us, bad);
	changed |= zone_health_point(&j->health[zone], ZONE_V4, ZONE_POINT_CLEAN, heard, clean, j->now_us, bad);
	if (j->zone[zone].kind == ZONE_KIND_CLIENT)
		for (unsigned p = 0; p < ZONE_POINTS; p++) {
			bool unused;

			zone_health_point(&j->health[zone], ZONE_V6, (enum zone_point)p, heard, DNSBL_NOT_LISTED,
				j->now_us, &unused);
		}
	return changed;
}

static void
prove_all(struct judge *j)
{
	bool bad;

	for (unsigned i = 0; i < ZONES; i++)
		prove(j, i, DNSBL_LISTED, DNSBL_NOT_LISTED, true, &bad);
}

static struct findings
begin(void)
{
	struct findings f = { .subject = { .kind = ZONE_KIND_CLIENT, .client = ip_addr_v4(0xc0000207) },
		.pending = 4,
		.ptr_none = PTR_NONE };

	for (unsigned i = BL; i <= WL; i++)
		f.zone[i].pending = true;
	return f;
}

static struct dns_answer
a_record(uint32_t addr)
{
	struct dns_answer a = { .status = DNS_OK, .ttl_s = 300, .n_addrs = 1 };

	a.addr[0] = ip_addr_v4(addr);
	return a;
}

static const struct dns_answer none = { .status = DNS_NONE, .ttl_s = 60 }, temperr = { .status = DNS_TEMPERR };

static void
zone_says(struct judge *j, struct findings *f, unsigned zone, const struct dns_answer *a)
{
	f->pending--;
	f->answered += a->status != DNS_TEMPERR;
	if (a->status == DNS_TEMPERR)
		findings_zone_failed(f, zone, 1);
	else
		findings_zone(f, &j->zone[zone], zone, a, 1);
}

static void
ptr_says(struct findings *f, const struct dns_answer *a, bool confirmed)
{
	const struct dns_answer forward = a_record(confirmed ? 0xc0000207 : 0xc6336401);

	f->answered += a->status != DNS_TEMPERR;
	findings_ptr(f, a);
	for (uint32_t i = 0; i < f->n_names; i++)
		findings_forward(f, i, &forward);
	f->pending--;
}

/* "A zone proves itself before it counts and every half hour ... and comes back by itself when it heals." */
static void
test_a_zone_proves_itself_every_half_hour(void **state)
{
	static const struct {
		const char *label;
		enum dnsbl_listing listed, clean;
		bool heard;
		enum zone_standing want;
		uint64_t next_us;
	} steps[] = {
		{ "nothing heard: it does not count, and is asked again soon", DNSBL_NOT_LISTED, DNSBL_NOT_LISTED,
			false, ZONE_STANDING_UNPROVEN, 3 * SECOND_US },
		{ "proven", DNSBL_LISTED, DNSBL_NOT_LISTED, true, ZONE_STANDING_ACTIVE, 30 * MINUTE_US },
		{ "still", DNSBL_LISTED, DNSBL_NOT_LISTED, true, ZONE_STANDING_ACTIVE, 30 * MINUTE_US },
		{ "silence changes nothing", DNSBL_NOT_LISTED, DNSBL_NOT_LISTED, false, ZONE_STANDING_ACTIVE,
			30 * MINUTE_US },
		{ "lists everything", DNSBL_LISTED, DNSBL_LISTED, true, ZONE_STANDING_LISTS_EVERYTHING, 5 * MINUTE_US },
		{ "still", DNSBL_LISTED, DNSBL_LISTED, true, ZONE_STANDING_LISTS_EVERYTHING, 5 * MINUTE_US },
		{ "back by itself", DNSBL_LISTED, DNSBL_NOT_LISTED, true, ZONE_STANDING_ACTIVE, 30 * MINUTE_US },
		{ "lists nothing", DNSBL_NOT_LISTED, DNSBL_NOT_LISTED, true, ZONE_STANDING_LISTS_NOTHING,
			5 * MINUTE_US },
		{ "error codes are errors", DNSBL_ERROR, DNSBL_ERROR, true, ZONE_STANDING_ANSWERS_ERRORS,
			5 * MINUTE_US },
		{ "invented answers", DNSBL_NONSENSE, DNSBL_NONSENSE, true, ZONE_STANDING_LISTS_EVERYTHING,
			5 * MINUTE_US },
		{ "back again", DNSBL_LISTED, DNSBL_NOT_LISTED, true, ZONE_STANDING_ACTIVE, 30 * MINUTE_US },
	};
	const struct dns_answer listed = a_record(0x7f000102);

	(void)state;
	for (unsigned zone = BL2; zone <= DBL; zone += DBL - BL2) { /* one of clients, one of names */
		struct judge j;

		judge_init(&j);
		prove_all(&j);
		zone_health_init(&j.health[zone], &j.zone[zone].spec, zone == DBL);
		for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
			struct findings f = { .subject = {
						      .kind = j.zone[zone].kind, .client = ip_addr_v4(0xc0000207) } };
			const enum zone_standing before = j.health[zone].family[ZONE_V4];
			struct dns_answer client = zone == DBL ? listed : a_record(0x7f000002);
			struct resolver_result r;
			bool bad, changed;

			f.zone[BL].state = f.zone[WL].state = ZONE_CLEAR;
			changed = prove(&j, zone, steps[i].listed, steps[i].clean, steps[i].heard, &bad);
			CHECK_EQ(steps[i].label, j.health[zone].family[ZONE_V4], steps[i].want);
			CHECK_EQ("logged once", changed, before != steps[i].want);
			CHECK_EQ(steps[i].label, j.health[zone].proof_at_us - j.now_us, steps[i].next_us);
			findings_zone(&f, &j.zone[zone], zone, &client, 1);
			findings_result(&f, &j.rules, &r);
			CHECK_EQ(steps[i].label, r.verdict.score > 0, steps[i].want == ZONE_STANDING_ACTIVE);
			j.now_us = j.health[zone].proof_at_us;
		}
	}
}

/* PITFALLS 40, row by row, through parse, filter and sum. */
static void
test_pitfall_40_what_is_no_listing(void **state)
{
	static const struct {
		const char *label;
		uint32_t answer;
		int score;
		bool complete;
	} rows[] = {
		{ "a listing", 0x7f000002, 5, true },
		{ "127.255.255.252: typing error in the zone", 0x7ffffffc, 0, false },
		{ "127.255.255.254: public resolver", 0x7ffffffe, 0, false },
		{ "127.255.255.255: too many questions", 0x7fffffff, 0, false },
		{ "127.0.0.1", 0x7f000001, 0, false },
		{ "outside 127/8", 0xcb007150, 0, false },
		{ "0.0.0.0", 0, 0, false },
		{ "a code no filter names", 0x7f000010, 0, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct dns_answer answer = a_record(rows[i].answer), name = {
			.status = DNS_OK, .n_names = 1, .ttl_s = 60, .name = { "mail.example.org" }
		};
		struct findings f = begin();
		struct resolver_result r;
		struct judge j;

		judge_init(&j);
		prove_all(&j);
		zone_says(&j, &f, BL, &answer);
		zone_says(&j, &f, BL2, &none);
		zone_says(&j, &f, WL, &none);
		ptr_says(&f, &name, true);
		findings_result(&f, &j.rules, &r);
		CHECK_EQ(rows[i].label, r.verdict.score, rows[i].score);
		CHECK_EQ(rows[i].label, r.complete, rows[i].complete);
		CHECK_EQ(rows[i].label, r.verdict.ptr_state, PTR_CONFIRMED);
	}
}

/* "A circuit breaker per zone": open after failures in a row, tried again after 5 s, 10 s, ... 5 min, closed by one answer. */
static void
test_the_breaker_of_a_zone_opens_and_closes(void **state)
{
	uint64_t pause_us = ZONE_OPEN_MIN_US;
	struct zone_health *h;
	struct judge j;

	(void)state;
	judge_init(&j);
	prove_all(&j);
	h = &j.health[BL];
	for (unsigned i = 0; i < ZONE_FAILURES_MAX - 1; i++)
		CHECK_TRUE(
			"closed", !zone_health_answered(h, true, j.now_us) && zone_health_asks(h, ZONE_V4, j.now_us));
	CHECK_TRUE("opens, said once", zone_health_answered(h, true, j.now_us));
	for (unsigned i = 0; i < 10; i++) {
		CHECK_TRUE("open", !zone_health_asks(h, ZONE_V4, j.now_us + pause_us - 1));
		CHECK_EQ("shown", zone_health_standing(h, ZONE_V4, j.now_us), ZONE_STANDING_FAILING);
		j.now_us += pause_us;
		CHECK_TRUE("tried again", zone_health_asks(h, ZONE_V4, j.now_us));
		CHECK_TRUE("not said again", !zone_health_answered(h, true, j.now_us));
		pause_us = MIN(pause_us * 2, ZONE_OPEN_MAX_US);
	}
	CHECK_EQ("never for longer than", pause_us, ZONE_OPEN_MAX_US);
	j.now_us += pause_us;
	zone_health_answered(h, false, j.now_us);
	CHECK_EQ("one answer closes it", zone_health_standing(h, ZONE_V4, j.now_us), ZONE_STANDING_ACTIVE);
}

/* Every order of every set of answers: once the judge lets the waiters go, nothing that comes can change what happens to the client. */
static void
test_nobody_waits_for_what_could_not_change_the_outcome(void **state)
{
	const struct dns_answer listed = a_record(0x7f000002);
	const struct dns_answer *const says[] = { &none, &listed, &temperr };
	static const struct dns_answer named = {
		.status = DNS_OK, .ttl_s = 60, .n_names = 1, .name = { "mail.example.org" }
	};
	const struct dns_answer *const ptrs[] = { &none, &named, &temperr };
	unsigned early = 0, at_the_end = 0;

	(void)state;
	for (unsigned what = 0; what < 3 * 3 * 3 * 3 * 24; what++) {
		const unsigned zones[3] = { what % 3, what / 3 % 3, what / 9 % 3 }, ptr = what / 27 % 3;
		unsigned order = what / 81, left[4] = { 0, 1, 2, 3 }, n_left = 4;
		enum client_effect then = EFFECT_NOTHING;
		struct findings f = begin();
		struct resolver_result r;
		bool decided = false;
		struct judge j;

		judge_init(&j);
		prove_all(&j);
		for (unsigned k = 0; k < 4; k++) {
			const unsigned at = order % n_left, which = left[at];

			order /= n_left;
			left[at] = left[--n_left];
			if (which == 3)
				ptr_says(&f, ptrs[ptr], true);
			else
				zone_says(&j, &f, which, says[zones[which]]);
			findings_result(&f, &j.rules, &r);
			if (!decided && f.pending > 0 && findings_decided(&f, &j.rules, &r)) {
				decided = true;
				early++;
				then = client_judge(&j.conf, &r.verdict).effect;
			}
		}
		at_the_end += !decided;
		if (decided && then != client_judge(&j.conf, &r.verdict).effect)
			fail_msg("case %u: told %d, in the end %d", what, (int)then,
				(int)client_judge(&j.conf, &r.verdict).effect);
	}
	CHECK_TRUE("some are let go early", early > 100);
	CHECK_TRUE("some had to wait", at_the_end > 100);
}

/* "SERVFAIL, timeout, REFUSED and truncated answers never count as missing" (PITFALLS 41): whatever else is known. */
static void
test_pitfall_41_an_error_is_never_absence(void **state)
{
	static const struct {
		const char *label;
		struct dns_answer ptr;
		bool forward_fails;
		enum ptr_state want;
	} rows[] = {
		{ "no PTR", { .status = DNS_NONE, .ttl_s = 60 }, false, PTR_NONE },
		{ "an error", { .status = DNS_TEMPERR }, false, PTR_TEMPERR },
		{ "a name whose address is not told", { .status = DNS_OK, .n_names = 1, .name = { "a.example" } }, true,
			PTR_TEMPERR },
		{ "names that cannot be asked for", { .status = DNS_OK, .n_names = 1, .name = { "a\\x20b.example" } },
			false, PTR_UNCONFIRMED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct dns_answer forward = rows[i].forward_fails ? temperr : none;
		struct findings f = begin();
		struct resolver_result r;
		struct judge j;

		judge_init(&j);
		prove_all(&j);
		findings_ptr(&f, &rows[i].ptr);
		for (uint32_t k = 0; k < f.n_names; k++)
			if (findings_name_is_askable(&f, k))
				findings_forward(&f, k, &forward);
		f.pending = 0;
		findings_result(&f, &j.rules, &r);
		CHECK_EQ(rows[i].label, r.verdict.ptr_state, rows[i].want);
	}
}

/* "A cache that respects TTLs within bounds, with negative caching by SOA". */
static void
test_ttls_have_bounds(void **state)
{
	static const struct {
		const char *label;
		uint32_t positive_s, negative_s, want_s;
	} rows[] = {
		{ "the smallest of all", 300, 120, 120 },
		{ "the negative one's SOA counts like the others", 100, 900, 100 },
		{ "not below", 0, 0, RESOLVER_TTL_MIN_S },
		{ "not above", 86400, 86400, RESOLVER_TTL_MAX_S },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct dns_answer listed = a_record(0x7f000002),
				  clear = { .status = DNS_NONE, .ttl_s = rows[i].negative_s };
		struct findings f = begin();
		struct resolver_result r;
		struct judge j;

		judge_init(&j);
		prove_all(&j);
		listed.ttl_s = rows[i].positive_s;
		zone_says(&j, &f, BL, &listed);
		zone_says(&j, &f, BL2, &clear);
		zone_says(&j, &f, WL, &clear);
		ptr_says(&f, &clear, false);
		findings_result(&f, &j.rules, &r);
		CHECK_EQ(rows[i].label, r.ttl_s, rows[i].want_s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_zone_proves_itself_every_half_hour),
		cmocka_unit_test(test_pitfall_40_what_is_no_listing),
		cmocka_unit_test(test_the_breaker_of_a_zone_opens_and_closes),
		cmocka_unit_test(test_nobody_waits_for_what_could_not_change_the_outcome),
		cmocka_unit_test(test_pitfall_41_an_error_is_never_absence),
		cmocka_unit_test(test_ttls_have_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
