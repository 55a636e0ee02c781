/*
 * test_zone_health.c - the standing of a zone in virtual time.
 */
#include "tests/check.h"

#include "control/zone_health.h"

#define SECOND_US UINT64_C(1000000)

static struct dnsbl_zone
zone_of(const char *text)
{
	struct dnsbl_zone z;
	char why[DNSBL_WHY_OCTETS];

	if (dnsbl_zone_parse(text, &z, why) != 0)
		fail_msg("%s", why);
	return z;
}

/* One answer for each point; 'L' listed, 'c' clear, 'E' error, 'N' nonsense, '-' nothing heard. */
static bool
tell(struct zone_health *h, enum zone_family f, enum zone_point p, char what, uint64_t now_us, bool *bad)
{
	const enum dnsbl_listing listing = what == 'L'   ? DNSBL_LISTED
	                                   : what == 'M' ? DNSBL_NO_MATCH
	                                   : what == 'E' ? DNSBL_ERROR
	                                   : what == 'N' ? DNSBL_NONSENSE
	                                                 : DNSBL_NOT_LISTED;

	return zone_health_point(h, f, p, what != '-', listing, now_us, bad);
}

static void
test_zone_health_test_points(void **state)
{
	static const struct {
		const char *label, *answers; /* listed and clean point of one resolver, then of the next */
		enum zone_standing want4, want6;
	} rows[] = {
		{ "as it should be", "Lc", ZONE_STANDING_ACTIVE, ZONE_STANDING_ACTIVE },
		{ "listed by an answer no filter names", "Mc", ZONE_STANDING_ACTIVE, ZONE_STANDING_ACTIVE },
		{ "127.0.0.1 is listed", "LL", ZONE_STANDING_LISTS_EVERYTHING, ZONE_STANDING_LISTS_EVERYTHING },
		{ "127.0.0.1 has an address from elsewhere", "NN", ZONE_STANDING_LISTS_EVERYTHING,
			ZONE_STANDING_LISTS_EVERYTHING },
		{ "127.0.0.2 is not listed", "cc", ZONE_STANDING_LISTS_NOTHING, ZONE_STANDING_NO_FAMILY },
		{ "errors", "EE", ZONE_STANDING_ANSWERS_ERRORS, ZONE_STANDING_ANSWERS_ERRORS },
		{ "an error for the listed one", "Ec", ZONE_STANDING_ANSWERS_ERRORS, ZONE_STANDING_ANSWERS_ERRORS },
		{ "silence proves nothing", "--", ZONE_STANDING_UNPROVEN, ZONE_STANDING_UNPROVEN },
		{ "half a proof is none", "L-", ZONE_STANDING_UNPROVEN, ZONE_STANDING_UNPROVEN },
		{ "the other half", "-c", ZONE_STANDING_UNPROVEN, ZONE_STANDING_UNPROVEN },
		{ "one resolver is blocked", "LcEE", ZONE_STANDING_ACTIVE, ZONE_STANDING_ACTIVE },
		{ "one resolver is told nothing", "ccLc", ZONE_STANDING_ACTIVE, ZONE_STANDING_ACTIVE },
		{ "one resolver is silent", "--Lc", ZONE_STANDING_ACTIVE, ZONE_STANDING_ACTIVE },
		{ "one resolver hears everything listed", "LcLL", ZONE_STANDING_LISTS_EVERYTHING,
			ZONE_STANDING_LISTS_EVERYTHING },
	};
	const struct dnsbl_zone z = zone_of("bl.example=127.0.0.[2..11]*3");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const size_t n = strlen(rows[i].answers);
		struct zone_health h;
		bool bad;

		zone_health_init(&h, &z, false);
		CHECK_TRUE(rows[i].label, !zone_health_counts(&h, ZONE_V4)); /* not before its proof */
		zone_health_round(&h, (uint8_t)n, SECOND_US);
		for (size_t k = 0; k < n; k++)
			for (unsigned f = 0; f < ZONE_FAMILIES; f++) {
				const bool changed = tell(&h, (enum zone_family)f, (enum zone_point)(k % 2),
					rows[i].answers[k], SECOND_US, &bad);

				CHECK_TRUE(rows[i].label, !changed || k == n - 1);
			}
		CHECK_EQ(rows[i].label, h.family[ZONE_V4], rows[i].want4);
		CHECK_EQ(rows[i].label, h.family[ZONE_V6], rows[i].want6);
		CHECK_EQ(rows[i].label, zone_health_counts(&h, ZONE_V4), rows[i].want4 == ZONE_STANDING_ACTIVE);
		CHECK_TRUE(rows[i].label,
			!tell(&h, ZONE_V4, ZONE_POINT_CLEAN, 'L', SECOND_US, &bad)); /* an answer too many */
		CHECK_EQ(rows[i].label, h.family[ZONE_V4], rows[i].want4);
	}
}

static void
prove(struct zone_health *h, const char *answers, uint64_t now_us, bool *changed, bool *bad)
{
	bool b;

	zone_health_round(h, 2, now_us);
	*changed = *bad = false;
	for (unsigned f = 0; f < ZONE_FAMILIES; f++)
		for (unsigned k = 0; k < 2; k++)
			if (tell(h, (enum zone_family)f, (enum zone_point)k, answers[k], now_us, &b) && f == ZONE_V4) {
				*changed = true;
				*bad = b;
			}
}

/* Half an hour while all is well, sooner while it is not; a change is told once; silence changes nothing. */
static void
test_zone_health_times_and_healing(void **state)
{
	const struct dnsbl_zone z = zone_of("bl.example");
	struct zone_health h;
	uint64_t now = SECOND_US;
	bool changed, bad;

	(void)state;
	zone_health_init(&h, &z, false);
	CHECK_EQ("at once", h.proof_at_us, 0);
	prove(&h, "--", now, &changed, &bad);
	CHECK_EQ("nothing heard: soon", h.proof_at_us, now + ZONE_RETRY_US);
	for (unsigned i = 0; i < 40; i++)
		prove(&h, "--", now, &changed, &bad);
	CHECK_EQ("later and later", h.proof_at_us, now + ZONE_HEAL_US);
	prove(&h, "Lc", now, &changed, &bad);
	CHECK_TRUE("told", changed && !bad);
	CHECK_EQ("each half hour", h.proof_at_us, now + 1800 * SECOND_US);
	prove(&h, "Lc", now += ZONE_PROOF_US, &changed, &bad);
	CHECK_TRUE("nothing new", !changed);
	prove(&h, "LL", now += ZONE_PROOF_US, &changed, &bad);
	CHECK_TRUE("quarantine, told",
		changed && bad && !zone_health_counts(&h, ZONE_V4) && !zone_health_asks(&h, ZONE_V4, now));
	CHECK_EQ("looked at sooner", h.proof_at_us, now + ZONE_HEAL_US);
	prove(&h, "LL", now += ZONE_HEAL_US, &changed, &bad);
	CHECK_TRUE("told once", !changed);
	prove(&h, "--", now += ZONE_HEAL_US, &changed, &bad);
	CHECK_TRUE("silence heals nothing", !changed && !zone_health_counts(&h, ZONE_V4));
	prove(&h, "Lc", now += ZONE_HEAL_US, &changed, &bad);
	CHECK_TRUE("healed", changed && !bad && zone_health_counts(&h, ZONE_V4));
	prove(&h, "--", now += ZONE_PROOF_US, &changed, &bad);
	CHECK_TRUE("silence condemns nothing", !changed && zone_health_counts(&h, ZONE_V4));
}

static void
test_zone_health_share_of_good_clients(void **state)
{
	const struct dnsbl_zone block = zone_of("bl.example*3"), allow = zone_of("wl.example=127.0.[0..255].2*-3");
	struct zone_health h, w;
	bool changed = false, bad;

	(void)state;
	zone_health_init(&h, &block, false);
	zone_health_init(&w, &allow, false);
	h.family[ZONE_V4] = w.family[ZONE_V4] = ZONE_STANDING_ACTIVE;
	for (unsigned i = 0; i < 1000; i++)
		CHECK_TRUE("strangers may all be listed", !zone_health_client(&h, false, true));
	for (unsigned i = 0; i < 100; i++)
		CHECK_TRUE("one in five good ones is not a large share yet", !zone_health_client(&h, true, i % 5 == 4));
	CHECK_TRUE("the window ends well", !zone_health_window(&h, &bad));
	for (unsigned i = 0; i < ZONE_SHARE_MIN && !changed; i++)
		changed = zone_health_client(&h, true, i % 4 == 0);
	CHECK_TRUE("one in four is", changed && !zone_health_counts(&h, ZONE_V4));
	CHECK_EQ("shown", zone_health_standing(&h, ZONE_V4, 0), ZONE_STANDING_LISTS_GOOD_CLIENTS);
	CHECK_TRUE("still asked, to see it heal", zone_health_asks(&h, ZONE_V4, 0));
	CHECK_TRUE("told once", !zone_health_client(&h, true, true));
	zone_health_window(&h, &bad);
	CHECK_TRUE("not healed by nobody asking", !zone_health_window(&h, &bad) && !zone_health_counts(&h, ZONE_V4));
	for (unsigned i = 0; i < ZONE_SHARE_MIN; i++)
		zone_health_client(&h, true, i == 0);
	CHECK_TRUE("healed", zone_health_window(&h, &bad) && !bad && zone_health_counts(&h, ZONE_V4));
	for (unsigned i = 0; i < 100; i++)
		CHECK_TRUE("an allowlist lists good clients: that is its task", !zone_health_client(&w, true, true));
}

static void
test_zone_health_breaker(void **state)
{
	const struct dnsbl_zone z = zone_of("bl.example");
	struct zone_health h;
	uint64_t now = SECOND_US, open_us = ZONE_OPEN_MIN_US;

	(void)state;
	zone_health_init(&h, &z, false);
	h.family[ZONE_V4] = ZONE_STANDING_ACTIVE;
	for (unsigned i = 0; i < ZONE_FAILURES_MAX - 1; i++)
		CHECK_TRUE("not yet", !zone_health_answered(&h, true, now) && zone_health_asks(&h, ZONE_V4, now));
	zone_health_answered(&h, false, now);
	for (unsigned i = 0; i < ZONE_FAILURES_MAX - 1; i++)
		CHECK_TRUE("in a row only", !zone_health_answered(&h, true, now));
	CHECK_TRUE("opens, told", zone_health_answered(&h, true, now) && !zone_health_asks(&h, ZONE_V4, now));
	CHECK_EQ("shown", zone_health_standing(&h, ZONE_V4, now), ZONE_STANDING_FAILING);
	CHECK_TRUE("what it still says counts", zone_health_counts(&h, ZONE_V4));
	for (unsigned i = 0; i < 12; i++) {
		CHECK_TRUE("a late failure opens nothing anew", !zone_health_answered(&h, true, now));
		CHECK_TRUE("closed to questions until then", !zone_health_asks(&h, ZONE_V4, now + open_us - 1));
		now += open_us;
		CHECK_TRUE("a trial", zone_health_asks(&h, ZONE_V4, now));
		CHECK_TRUE("fails, told once only",
			!zone_health_answered(&h, true, now) && !zone_health_asks(&h, ZONE_V4, now));
		open_us = MIN(open_us * 2, ZONE_OPEN_MAX_US);
	}
	zone_health_answered(&h, false, now);
	CHECK_TRUE("one answer closes it", zone_health_asks(&h, ZONE_V4, now));
	h.disabled = true;
	CHECK_TRUE("disabled", !zone_health_asks(&h, ZONE_V4, now) && !zone_health_counts(&h, ZONE_V4));
	CHECK_STR("shown", zone_standing_name(zone_health_standing(&h, ZONE_V4, now)), "disabled");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zone_health_test_points),
		cmocka_unit_test(test_zone_health_times_and_healing),
		cmocka_unit_test(test_zone_health_share_of_good_clients),
		cmocka_unit_test(test_zone_health_breaker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
