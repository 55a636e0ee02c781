/*
 * test_grey.c - the greylist's timeline, second by second (POLICY section 3).
 */
#include "tests/check.h"

#include "dataplane/policy/grey.h"

#define DAY_S 86400u

static const struct grey_conf conf = {
	.block_s = 240,
	.pass_s = 21600,
	.expire_s = 36 * DAY_S,
	.lapse_memory_s = 7 * DAY_S,
	.window_max_s = 4 * DAY_S,
};

struct step {
	const char *label;
	uint32_t at_s, want_wait_s; /* 0: passes */
	enum grey_event want_event;
};

static void
run_steps(const struct grey_conf *c, const struct step *steps, size_t n)
{
	struct grey_record rec = { 0 };

	for (size_t i = 0; i < n; i++) {
		const struct grey_answer a = grey_decide(c, &rec, steps[i].at_s);

		CHECK_EQ(steps[i].label, a.wait_s, steps[i].want_wait_s);
		CHECK_EQ(steps[i].label, a.verdict, steps[i].want_wait_s == 0 ? VERDICT_PASS : VERDICT_DEFER);
		CHECK_EQ(steps[i].label, a.event, steps[i].want_event);
	}
}

static void
test_grey_decide_follows_the_retry_timeline(void **state)
{
	static const struct grey_conf short_expire = { .block_s = 240,
		.pass_s = 21600,
		.expire_s = 100000,
		.lapse_memory_s = 7 * DAY_S,
		.window_max_s = 4 * DAY_S };
	static const struct step steps[] = {
		{ "first attempt is deferred for the whole block", 1000, 240, GREY_EVENT_NEW },
		{ "the wait counts down", 1100, 140, GREY_EVENT_EARLY },
		{ "one second early is deferred for one second", 1239, 1, GREY_EVENT_EARLY },
		{ "retry exactly when told passes", 1240, 0, GREY_EVENT_PASSED },
		{ "a pass renews the record", 90000, 0, GREY_EVENT_RENEWED },
		{ "the last second before expiry passes", 189999, 0, GREY_EVENT_RENEWED },
		{ "an expired record starts anew", 289999, 240, GREY_EVENT_EXPIRED },
		{ "the last second of the window passes", 311598, 0, GREY_EVENT_PASSED },
	};

	(void)state;
	run_steps(&short_expire, steps, ARRAY_LEN(steps));
}

static void
test_grey_window_lapses_and_learns(void **state)
{
	/* pass = 6 h: windows of 6, 12, 24, 48 and 96 h */
	static const struct step steps[] = {
		{ "first", 1000, 240, GREY_EVENT_NEW },
		{ "after the window: starts anew, lapsed 1", 1000 + 21600, 240, GREY_EVENT_LAPSED },
		{ "the second window is 12 h: 11 h later passes", 1000 + 21600 + 11 * 3600, 0, GREY_EVENT_PASSED },
		{ "WHITE as any other", 1000 + 21600 + 12 * 3600, 0, GREY_EVENT_RENEWED },
	};

	(void)state;
	run_steps(&conf, steps, ARRAY_LEN(steps));
}

/* PITFALLS 52: every interval under 4 days gets in, and how soon. */
static void
test_grey_any_interval_under_four_days_gets_in(void **state)
{
	static const uint32_t intervals_s[] = { 240, 3600, 21599, 21600, 8 * 3600, 12 * 3600, DAY_S - 1, DAY_S,
		2 * DAY_S, 3 * DAY_S, 4 * DAY_S - 1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(intervals_s); i++) {
		struct grey_record rec = { 0 };
		uint32_t now_s = 1000, attempts = 0;
		char label[64];

		snprintf(label, sizeof(label), "every %u s", intervals_s[i]);
		while (grey_decide(&conf, &rec, now_s).verdict != VERDICT_PASS && attempts++ < 20)
			now_s += intervals_s[i];
		CHECK_TRUE(label, attempts <= 6);
	}
}

static void
test_grey_retries_every_four_days_never_get_in(void **state)
{
	struct grey_record rec = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 40; i++) {
		CHECK_EQ("4 days is not under 4 days", grey_decide(&conf, &rec, 1000 + i * 4 * DAY_S).verdict,
			VERDICT_DEFER);
		CHECK_TRUE("the count of lapses stays in its bits", rec.lapsed <= GREY_LAPSED_MAX);
	}
}

static void
test_grey_lapse_is_remembered_for_seven_days(void **state)
{
	struct grey_record rec = { 0 };
	const uint32_t closed_s = 1000 + 21600;

	(void)state;
	grey_decide(&conf, &rec, 1000);
	CHECK_EQ("the last second of memory", grey_decide(&conf, &rec, closed_s + 7 * DAY_S - 1).event,
		GREY_EVENT_LAPSED);
	CHECK_EQ("counted", rec.lapsed, 1);

	rec = (struct grey_record){ 0 };
	grey_decide(&conf, &rec, 1000);
	CHECK_EQ("a second later it is forgotten", grey_decide(&conf, &rec, closed_s + 7 * DAY_S).event,
		GREY_EVENT_EXPIRED);
	CHECK_EQ("and the next window is the first again", rec.lapsed, 0);
}

static void
test_grey_a_pass_forgets_lapses(void **state)
{
	struct grey_record rec = { .state = GREY_WAITING, .time_s = 1000, .lapsed = 3 };

	(void)state;
	CHECK_EQ("passes", grey_decide(&conf, &rec, 1000 + 240).verdict, VERDICT_PASS);
	CHECK_EQ("no lapse left", rec.lapsed, 0);
}

static void
test_grey_white_lives_from_last_to_last_plus_expire(void **state)
{
	struct grey_record rec = { .state = GREY_WHITE, .time_s = 1000 };

	(void)state;
	CHECK_EQ("one second before", grey_decide(&conf, &rec, 1000 + 36 * DAY_S - 1).event, GREY_EVENT_RENEWED);
	CHECK_EQ("last is now", rec.time_s, 1000 + 36 * DAY_S - 1);
	CHECK_EQ("exactly at the end", grey_decide(&conf, &rec, rec.time_s + 36 * DAY_S).event, GREY_EVENT_EXPIRED);
	CHECK_EQ("it waits", rec.state, GREY_WAITING);
}

/* A change of an option acts on records that exist, in the next reply. */
static void
test_grey_changed_periods_act_on_existing_records(void **state)
{
	struct grey_record rec = { .state = GREY_WAITING, .time_s = 1000 };
	struct grey_conf c = conf;

	(void)state;
	CHECK_EQ("240", grey_decide(&c, &rec, 1010).wait_s, 230);
	c.block_s = 60;
	CHECK_EQ("a shorter block", grey_decide(&c, &rec, 1010).wait_s, 50);
	c.block_s = 600;
	CHECK_EQ("a longer block", grey_decide(&c, &rec, 1010).wait_s, 590);
	c.block_s = 10;
	CHECK_EQ("passes at once", grey_decide(&c, &rec, 1010).verdict, VERDICT_PASS);

	rec = (struct grey_record){ .state = GREY_WAITING, .time_s = 1000 };
	c.pass_s = 100;
	CHECK_EQ("a shorter window has lapsed", grey_decide(&c, &rec, 1100).event, GREY_EVENT_LAPSED);
	rec = (struct grey_record){ .state = GREY_WHITE, .time_s = 1000 };
	c.expire_s = 50;
	CHECK_EQ("a shorter expire has expired", grey_decide(&c, &rec, 1050).event, GREY_EVENT_EXPIRED);
}

/* PITFALLS 44, the half that is policy's: a time in the future is set to now, never waits longer, never for ever. */
static void
test_grey_clock_stepped_back(void **state)
{
	struct grey_record rec = { .state = GREY_WAITING, .time_s = 1000 };
	struct grey_answer a = grey_decide(&conf, &rec, 900);

	(void)state;
	CHECK_EQ("never longer than the block", a.wait_s, 240);
	CHECK_TRUE("said so", a.clock_ahead);
	CHECK_EQ("set to now", rec.time_s, 900);
	CHECK_EQ("a retry exactly when told passes", grey_decide(&conf, &rec, 900 + 240).verdict, VERDICT_PASS);

	rec = (struct grey_record){ .state = GREY_WHITE, .time_s = UINT32_MAX };
	CHECK_EQ("WHITE of the far future passes", grey_decide(&conf, &rec, 5000).verdict, VERDICT_PASS);
	CHECK_EQ("and lives from now", rec.time_s, 5000);
}

static void
test_grey_wait_is_between_one_and_block_whatever_comes(void **state)
{
	uint64_t seed = 20260101;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint32_t r[8];

		for (unsigned k = 0; k < ARRAY_LEN(r); k++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
			r[k] = (uint32_t)(seed >> 32) >> (seed >> 8 & 31);
		}
		const struct grey_conf c = {
			.block_s = r[0], .pass_s = r[1], .expire_s = r[2], .lapse_memory_s = r[3], .window_max_s = r[4]
		};
		struct grey_record rec = { .state = (enum grey_state)(r[5] % 3),
			.time_s = r[6],
			.lapsed = (uint8_t)(r[5] >> 8) & GREY_LAPSED_MAX };
		const struct grey_answer a = grey_decide(&c, &rec, r[7]);

		if (a.verdict == VERDICT_PASS) {
			CHECK_EQ("nothing to wait for", a.wait_s, 0);
			continue;
		}
		if (a.wait_s < 1 || a.wait_s > MAX(c.block_s, 1u))
			fail_msg("seed 20260101, round %u: wait %u, block %u", i, a.wait_s, c.block_s);
		if (r[7] < UINT32_MAX - a.wait_s && c.block_s < UINT32_MAX / 2 &&
			grey_decide(&c, &rec, r[7] + a.wait_s).verdict != VERDICT_PASS)
			fail_msg("seed 20260101, round %u: the retry as told did not pass", i);
	}
}

static void
test_grey_block_longer_than_window_still_passes(void **state)
{
	const struct grey_conf c = {
		.block_s = 600, .pass_s = 300, .expire_s = DAY_S, .lapse_memory_s = DAY_S, .window_max_s = DAY_S
	};
	struct grey_record rec = { 0 };

	(void)state;
	grey_decide(&c, &rec, 1000);
	CHECK_EQ("a retry as told", grey_decide(&c, &rec, 1600).verdict, VERDICT_PASS);
}

static void
test_grey_window_doubles_to_its_cap(void **state)
{
	static const struct {
		const char *label;
		uint8_t lapsed;
		uint32_t want_s;
	} rows[] = {
		{ "none", 0, 21600 },
		{ "once", 1, 43200 },
		{ "twice", 2, 86400 },
		{ "three", 3, 172800 },
		{ "four: 4 days", 4, 345600 },
		{ "capped", 5, 345600 },
		{ "capped at the end of its bits", GREY_LAPSED_MAX, 345600 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_EQ(rows[i].label, grey_window_s(&conf, rows[i].lapsed), rows[i].want_s);

	const struct grey_conf long_pass = { .block_s = 240, .pass_s = 7 * DAY_S, .window_max_s = 4 * DAY_S };

	CHECK_EQ("a window set longer than the cap stays", grey_window_s(&long_pass, 2), 7 * DAY_S);
}

static void
test_grey_record_keeps_its_value_in_the_entry(void **state)
{
	static const struct grey_record records[] = {
		{ .state = GREY_WAITING, .time_s = 1 },
		{ .state = GREY_WAITING, .time_s = UINT32_MAX, .lapsed = GREY_LAPSED_MAX },
		{ .state = GREY_WAITING, .time_s = 77, .lapsed = 1 },
		{ .state = GREY_WHITE, .time_s = 12345 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(records); i++) {
		const struct vt_entry e = grey_store(&records[i], 99);
		const struct grey_record back = grey_load(&e);

		CHECK_EQ("kind", vt_kind(&e), VT_TRIPLET);
		CHECK_EQ("tag", e.tag, 99);
		CHECK_EQ("state", back.state, records[i].state);
		CHECK_EQ("time", back.time_s, records[i].time_s);
		CHECK_EQ("lapsed", back.lapsed, records[i].lapsed);
	}
	for (unsigned k = 0; k < 256; k++) { /* hostile memory: what is no triplet is no record */
		const struct vt_entry e = {
			.tag = 1, .time_s = 5, .flags = 0xff, .aux = 0xffff, .kind_state = (uint8_t)k
		};

		if (k != vt_kind_state(VT_TRIPLET, VT_GREY) && k != vt_kind_state(VT_TRIPLET, VT_WHITE))
			CHECK_EQ("none", grey_load(&e).state, GREY_NONE);
	}
}

static void
test_grey_white_is_written_only_when_worth_it(void **state)
{
	const struct grey_record before = { .state = GREY_WHITE, .time_s = 100000 };
	struct grey_record after = before;

	(void)state;
	after.time_s += 3600;
	CHECK_TRUE("an hour is not worth it", !grey_is_worth_writing(&conf, &before, &after));
	after.time_s += 1;
	CHECK_TRUE("more is", grey_is_worth_writing(&conf, &before, &after));
	after.time_s = 99999;
	CHECK_TRUE("a time set back is", grey_is_worth_writing(&conf, &before, &after));
	after = (struct grey_record){ .state = GREY_WAITING, .time_s = 100000 };
	CHECK_TRUE("a change of state is", grey_is_worth_writing(&conf, &before, &after));
	CHECK_TRUE("GREY unchanged is not", !grey_is_worth_writing(&conf, &after, &after));

	const struct grey_conf lab = {
		.block_s = 2, .pass_s = 8, .expire_s = 20, .lapse_memory_s = 60, .window_max_s = 60
	};

	after = before;
	after.time_s += 1;
	CHECK_TRUE("1/64 of a short expire", grey_is_worth_writing(&lab, &before, &after));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grey_decide_follows_the_retry_timeline),
		cmocka_unit_test(test_grey_window_lapses_and_learns),
		cmocka_unit_test(test_grey_any_interval_under_four_days_gets_in),
		cmocka_unit_test(test_grey_retries_every_four_days_never_get_in),
		cmocka_unit_test(test_grey_lapse_is_remembered_for_seven_days),
		cmocka_unit_test(test_grey_a_pass_forgets_lapses),
		cmocka_unit_test(test_grey_white_lives_from_last_to_last_plus_expire),
		cmocka_unit_test(test_grey_changed_periods_act_on_existing_records),
		cmocka_unit_test(test_grey_clock_stepped_back),
		cmocka_unit_test(test_grey_wait_is_between_one_and_block_whatever_comes),
		cmocka_unit_test(test_grey_block_longer_than_window_still_passes),
		cmocka_unit_test(test_grey_window_doubles_to_its_cap),
		cmocka_unit_test(test_grey_record_keeps_its_value_in_the_entry),
		cmocka_unit_test(test_grey_white_is_written_only_when_worth_it),
	};

	return cmocka_run_group_tests_name("grey", tests, NULL, NULL);
}
