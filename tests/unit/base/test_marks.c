/*
 * test_marks.c - water marks: when each is reached, when it is over, and in which order.
 */
#include "tests/check.h"

#include <string.h>

#include "dataplane/base/counters.h"
#include "dataplane/base/marks.h"

/* What each is for, apart from marks.def, so that neither moves alone. */
static const struct {
	const char *name;
	enum mark_resource resource;
	uint32_t on, off; /* of 64 */
} want[] = {
	{ "windows", MARK_BUFFERS, 8, 10 },
	{ "out_of_order", MARK_BUFFERS, 6, 8 },
	{ "cookies", MARK_BUFFERS, 5, 7 },
	{ "strangers", MARK_BUFFERS, 4, 6 },
	{ "connections", MARK_CONNS, 4, 6 },
	{ "silent", MARK_BLOCKS, 8, 10 },
	{ "blocks", MARK_BLOCKS, 4, 6 },
	{ "slots", MARK_SLOTS, 16, 20 },
	{ "syns", MARK_TURNS, 8, 32 },
};

static void
test_marks_have_two_edges(void **state)
{
	(void)state;
	CHECK_EQ("all are here", ARRAY_LEN(want), MARK_N);
	for (uint32_t m = 0; m < MARK_N; m++) {
		const char *label = want[m].name;
		const uint64_t n = 6400, on = want[m].on * 100, off = want[m].off * 100;
		const uint32_t bit = UINT32_C(1) << m;

		CHECK_STR("name", mark_rows[m].name, label);
		CHECK_TRUE(label, (marks_look(0, want[m].resource, on, n) & bit) == 0);
		CHECK_TRUE(label, (marks_look(0, want[m].resource, on - 1, n) & bit) != 0);
		CHECK_TRUE(label, (marks_look(bit, want[m].resource, on, n) & bit) != 0);
		CHECK_TRUE(label, (marks_look(bit, want[m].resource, off - 1, n) & bit) != 0);
		CHECK_TRUE(label, (marks_look(bit, want[m].resource, off, n) & bit) == 0);
		CHECK_TRUE(
			"nothing of a kind is short of nothing", (marks_look(bit, want[m].resource, 0, 0) & bit) == 0);
	}
}

/* Of each resource, what is drained and filled again: marks come in the order of the file and go in the opposite one. */
static void
test_marks_come_in_order(void **state)
{
	(void)state;
	for (enum mark_resource r = 0; r < MARK_RESOURCES; r++) {
		uint32_t set = 0, last;

		for (uint64_t n_free = 1000; n_free-- > 0;) {
			last = set;
			set = marks_look(set, r, n_free, 1000);
			CHECK_TRUE("none goes on the way down", (last & ~set) == 0);
			for (uint32_t m = 1; m < MARK_N; m++)
				CHECK_TRUE("not before the one above it",
					mark_rows[m].resource != r || mark_rows[m - 1].resource != r ||
						!marks_on(set, m) || marks_on(set, m - 1));
		}
		for (uint32_t m = 0; m < MARK_N; m++)
			CHECK_EQ("at the bottom its own are on", marks_on(set, m), mark_rows[m].resource == r);
		for (uint64_t n_free = 0; n_free <= 1000; n_free++) {
			last = set;
			set = marks_look(set, r, n_free, 1000);
			CHECK_TRUE("none comes on the way up", (set & ~last) == 0);
			for (uint32_t m = 1; m < MARK_N; m++)
				CHECK_TRUE("not before the one below it",
					mark_rows[m].resource != r || mark_rows[m - 1].resource != r ||
						!marks_on(set, m) || marks_on(set, m - 1));
		}
		CHECK_EQ("at the top none", set, 0);
	}
}

static void
test_marks_of_other_resources_stay(void **state)
{
	const uint32_t all = (UINT32_C(1) << MARK_N) - 1;

	(void)state;
	for (enum mark_resource r = 0; r < MARK_RESOURCES; r++)
		for (uint32_t m = 0; m < MARK_N; m++) {
			CHECK_EQ("when one is full", marks_on(marks_look(all, r, 64, 64), m),
				mark_rows[m].resource != r);
			CHECK_EQ("when one is empty", marks_on(marks_look(0, r, 0, 64), m), mark_rows[m].resource == r);
		}
}

/* No product overflows, however large the pool. */
static void
test_marks_of_the_largest_pools(void **state)
{
	(void)state;
	CHECK_EQ("all free", marks_look(0, MARK_BUFFERS, UINT32_MAX, UINT32_MAX), 0);
	CHECK_TRUE(
		"an eighth less one", marks_on(marks_look(0, MARK_BUFFERS, UINT32_MAX / 8, UINT32_MAX), MARK_windows));
	CHECK_TRUE("of one, none", marks_on(marks_look(0, MARK_SLOTS, 0, 1), MARK_slots));
	CHECK_TRUE("of one, one", !marks_on(marks_look(0, MARK_SLOTS, 1, 1), MARK_slots));
}

/* Each is counted by its own name. */
static void
test_marks_have_counters(void **state)
{
	(void)state;
	for (uint32_t m = 0; m < MARK_N; m++) {
		CHECK_STR("group", counter_names[CTR_mark_windows + m].group, "mark");
		CHECK_STR("name", counter_names[CTR_mark_windows + m].name, mark_rows[m].name);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marks_have_two_edges),
		cmocka_unit_test(test_marks_come_in_order),
		cmocka_unit_test(test_marks_of_other_resources_stay),
		cmocka_unit_test(test_marks_of_the_largest_pools),
		cmocka_unit_test(test_marks_have_counters),
	};

	return cmocka_run_group_tests_name("marks", tests, NULL, NULL);
}
