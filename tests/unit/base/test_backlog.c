/*
 * test_backlog.c - when a worker is behind, by what its turns took in.
 */
#include "tests/check.h"

#include "dataplane/base/backlog.h"

#define TURN  (BACKLOG_FRAMES / 2)                        /* frames of a turn that did not empty its queue */
#define LASTS (BACKLOG_LASTS_FRAMES / BACKLOG_FRAMES * 2) /* so many such turns of a flood are one that lasts */

static bool
turn(struct backlog *b, uint32_t frames, uint32_t syns, uint32_t strays, uint32_t others, bool emptied)
{
	backlog_turn(b, &(struct backlog_taken){ frames, syns, strays, others, emptied, frames - syns });
	return b->behind;
}

/* n turns of what tells nothing but how long the queue stood: SYNs, or segments of sessions. */
static bool
turns_of(struct backlog *b, uint32_t n, bool syns)
{
	for (uint32_t i = 0; i < n; i++)
		turn(b, TURN, syns ? TURN : 0, 0, 0, false);
	return b->behind;
}

static void
test_backlog_is_a_queue_that_stands_and_is_full_of_syns(void **state)
{
	static const struct {
		const char *label;
		uint32_t frames, syns, strays, others; /* of each of the turns */
		uint32_t turns;
		bool want;
	} rows[] = {
		{ "SYNs alone, not for long", TURN, TURN, 0, 0, LASTS - 1, false },
		{ "for long", TURN, TURN, 0, 0, LASTS, true },
		{ "three in four", TURN, TURN * 3 / 4, 0, 0, LASTS, true },
		{ "fewer: sessions", TURN, TURN * 3 / 4 - 1, 0, 0, 3 * LASTS, false },
		{ "one in three, beside sessions", TURN, TURN / 3, 0, 0, 3 * LASTS, false },
		{ "each answered by a reset", TURN, TURN / 2, TURN / 2, 0, LASTS, true },
		{ "one in three, no session", TURN, TURN / 3, TURN - TURN / 3, 0, LASTS, true },
		{ "fewer: a flood, but not of SYNs", TURN, TURN / 3 - 1, TURN - TURN / 3, 0, 3 * LASTS, false },
		{ "no SYN at all", TURN, 0, TURN, 0, 3 * LASTS, false },
		{ "three in four of what is ours", TURN, TURN * 3 / 8, 0, TURN / 2, LASTS, true },
		{ "fewer of that", TURN, TURN * 3 / 8 - 1, 0, TURN / 2, 3 * LASTS, false },
		{ "all of it for others", TURN, 0, 0, TURN, 3 * LASTS, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct backlog b = { 0 };

		for (uint32_t n = 0; n < rows[i].turns; n++)
			turn(&b, rows[i].frames, rows[i].syns, rows[i].strays, rows[i].others, false);
		CHECK_EQ(rows[i].label, b.behind, rows[i].want);
	}
}

static void
test_backlog_is_over_when_the_queue_is_empty(void **state)
{
	struct backlog b = { 0 };

	(void)state;
	CHECK_TRUE("begins", turns_of(&b, LASTS, true));
	CHECK_TRUE("goes on while it stands", turns_of(&b, 1, true));
	CHECK_TRUE("is over", !turn(&b, 8, 8, 0, 0, true));
	CHECK_TRUE("and begins once the queue stands again", !turns_of(&b, 1, true));
	CHECK_TRUE("for it is one flood", turns_of(&b, 1, true));
	CHECK_TRUE("what stands is no flood any more", !turns_of(&b, 2, false));
}

/* A flood is what lasts: bursts between which there is time for all are none, however many, and one that went has to last anew. */
static void
test_backlog_of_bursts_is_none(void **state)
{
	struct backlog b = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		CHECK_TRUE("a burst of SYNs", !turns_of(&b, LASTS - 2, true));
		for (uint32_t n = 0; n < LASTS; n++)
			turn(&b, TURN, TURN, 0, 0, true);
		CHECK_TRUE("another, between sessions", !turns_of(&b, LASTS - 2, true));
		CHECK_TRUE("they take it off", !turns_of(&b, LASTS, false));
	}
	CHECK_TRUE("a flood", turns_of(&b, 20 * LASTS, true));
	for (uint32_t n = 0; n < 2 * LASTS; n++)
		turn(&b, TURN, 0, 0, 0, true);
	CHECK_TRUE("the next", !turns_of(&b, LASTS - 1, true));
	CHECK_TRUE("lasts", turns_of(&b, 1, true));
}

static void
test_backlog_stands_from_so_many_frames_until_the_queue_is_empty(void **state)
{
	struct backlog b = { 0 };

	(void)state;
	turn(&b, BACKLOG_STANDS_FRAMES - 1, 0, 0, 0, false);
	CHECK_TRUE("one less", !backlog_stands(&b));
	turn(&b, 1, 0, 0, 0, false);
	CHECK_TRUE("as many", backlog_stands(&b));
	turns_of(&b, LASTS + 1, true); /* it is judged meanwhile */
	CHECK_TRUE("and on", backlog_stands(&b) && b.behind);
	turn(&b, 1, 0, 0, 0, true);
	CHECK_TRUE("until it is empty", !backlog_stands(&b));
	turn(&b, BACKLOG_STANDS_FRAMES - 1, 0, 0, BACKLOG_STANDS_FRAMES - 1, false);
	CHECK_TRUE("others' frames", !backlog_stands(&b));
	turn(&b, 1, 0, 0, 1, false);
	CHECK_TRUE("are taken in as well", backlog_stands(&b));
}

/* As many as take the time of eight segments of sessions, whatever the turn took in so far; and a burst where a queue stands. */
static void
test_backlog_passes_hold_what_eight_segments_take(void **state)
{
	static const struct {
		const char *label;
		uint32_t frames, segs,
			want; /* taken in so far in the turn, of those segments that are no SYN, the next pass */
	} rows[] = {
		{ "nothing was seen yet", 0, 0, 8 },
		{ "sessions", 16, 16, 8 },
		{ "SYNs", 8, 0, 24 },
		{ "as many of them", 56, 0, 24 },
		{ "half of each", 16, 8, 12 },
		{ "a greylist dialogue: one in eight", 8, 7, 8 },
		{ "one in three, beside sessions", 9, 6, 10 },
		{ "three in four", 32, 8, 16 },
	};
	struct backlog b = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct backlog_taken t = { .frames = rows[i].frames, .segs = rows[i].segs };

		CHECK_EQ(rows[i].label, backlog_pass_frames(&b, &t), rows[i].want);
	}
	turns_of(&b, LASTS, false);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_EQ("a queue that stands",
			backlog_pass_frames(
				&b, &(struct backlog_taken){ .frames = rows[i].frames, .segs = rows[i].segs }),
			32);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backlog_is_a_queue_that_stands_and_is_full_of_syns),
		cmocka_unit_test(test_backlog_is_over_when_the_queue_is_empty),
		cmocka_unit_test(test_backlog_of_bursts_is_none),
		cmocka_unit_test(test_backlog_passes_hold_what_eight_segments_take),
		cmocka_unit_test(test_backlog_stands_from_so_many_frames_until_the_queue_is_empty),
	};

	return cmocka_run_group_tests_name("backlog", tests, NULL, NULL);
}
