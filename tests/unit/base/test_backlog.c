/*
 * test_backlog.c - when a worker is behind, by what its turns took in.
 */
#include "tests/check.h"

#include "dataplane/base/backlog.h"

#define TURN (BACKLOG_FRAMES / 2) /* frames of a turn that did not empty its queue */

static bool
turn(struct backlog *b, uint32_t frames, uint32_t syns, uint32_t others, bool emptied)
{
	backlog_turn(b, &(struct backlog_taken){ frames, syns, others, emptied });
	return b->behind;
}

static void
test_backlog_is_a_queue_that_stands_and_is_full_of_syns(void **state)
{
	static const struct {
		const char *label;
		uint32_t frames, syns, others; /* of each of the turns */
		uint32_t turns;
		bool want;
	} rows[] = {
		{ "SYNs alone, for one turn", TURN, TURN, 0, 1, false },
		{ "for two", TURN, TURN, 0, 2, true },
		{ "one in three", TURN, TURN / 3, 0, 2, true },
		{ "fewer: sessions", TURN, TURN / 3 - 1, 0, 2, false },
		{ "no SYN at all", TURN, 0, 0, 20, false },
		{ "one in three of what is ours", TURN, TURN / 6, TURN / 2, 2, true },
		{ "fewer of that", TURN, TURN / 6 - 1, TURN / 2, 2, false },
		{ "all of it for others", TURN, 0, TURN, 20, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct backlog b = { 0 };

		for (uint32_t n = 0; n < rows[i].turns; n++)
			turn(&b, rows[i].frames, rows[i].syns, rows[i].others, false);
		CHECK_EQ(rows[i].label, b.behind, rows[i].want);
	}
}

static void
test_backlog_is_over_when_the_queue_is_empty(void **state)
{
	struct backlog b = { 0 };

	(void)state;
	turn(&b, TURN, TURN, 0, false);
	CHECK_TRUE("begins", turn(&b, TURN, TURN, 0, false));
	CHECK_TRUE("goes on while it stands", turn(&b, TURN, TURN, 0, false));
	CHECK_TRUE("is over", !turn(&b, TURN, TURN, 0, true));
	CHECK_TRUE("and begins from the start", !turn(&b, TURN, TURN, 0, false));
	CHECK_TRUE("not before", turn(&b, TURN, TURN, 0, false));
	turn(&b, TURN, 0, 0, false);
	CHECK_TRUE("what stands is no flood any more", !turn(&b, TURN, 0, 0, false));
}

static void
test_backlog_stands_from_so_many_frames_until_the_queue_is_empty(void **state)
{
	struct backlog b = { 0 };

	(void)state;
	turn(&b, BACKLOG_STANDS_FRAMES - 1, 0, 0, false);
	CHECK_TRUE("one less", !backlog_stands(&b));
	turn(&b, 1, 0, 0, false);
	CHECK_TRUE("as many", backlog_stands(&b));
	for (uint32_t n = 0; n < 3; n++) /* it is judged meanwhile */
		turn(&b, TURN, TURN, 0, false);
	CHECK_TRUE("and on", backlog_stands(&b) && b.behind);
	turn(&b, 1, 0, 0, true);
	CHECK_TRUE("until it is empty", !backlog_stands(&b));
	turn(&b, BACKLOG_STANDS_FRAMES - 1, 0, BACKLOG_STANDS_FRAMES - 1, false);
	CHECK_TRUE("others' frames", !backlog_stands(&b));
	turn(&b, 1, 0, 1, false);
	CHECK_TRUE("are taken in as well", backlog_stands(&b));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backlog_is_a_queue_that_stands_and_is_full_of_syns),
		cmocka_unit_test(test_backlog_is_over_when_the_queue_is_empty),
		cmocka_unit_test(test_backlog_stands_from_so_many_frames_until_the_queue_is_empty),
	};

	return cmocka_run_group_tests_name("backlog", tests, NULL, NULL);
}
