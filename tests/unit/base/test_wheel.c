/*
 * test_wheel.c - the timer wheel against a plain list of due times.
 */
#include <stdlib.h>

#include "dataplane/base/wheel.h"
#include "tests/check.h"

#define NODES   300
#define TICK_US 2000u

static uint64_t rng = 42;

static uint32_t
rnd(uint32_t n)
{
	rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(rng >> 33) % n;
}

static struct wheel wheel;
static struct wheel_node node[NODES];
static uint64_t due_us[NODES]; /* 0: not armed */

static void
check_after_pop(uint64_t now_us)
{
	uint64_t first_us = UINT64_MAX;
	uint32_t armed = 0;

	for (uint32_t i = 0; i < NODES; i++) {
		CHECK_EQ("armed as the model has it", wheel_is_armed(&node[i]), due_us[i] != 0);
		if (due_us[i] == 0)
			continue;
		armed++;
		CHECK_TRUE("at the latest one tick after it was due", due_us[i] + TICK_US > now_us);
		if (due_us[i] < first_us)
			first_us = due_us[i];
	}
	CHECK_EQ("armed", wheel.n_armed, armed);
	if (armed == 0)
		CHECK_TRUE("nothing armed", wheel_deadline_us(&wheel) == UINT64_MAX);
	else
		CHECK_TRUE("the deadline is a lower bound, to a tick", wheel_deadline_us(&wheel) < first_us + TICK_US);
}

static void
test_wheel_agrees_with_a_list(void **state)
{
	uint64_t now_us = 123456789;

	(void)state;
	wheel_init(&wheel, TICK_US, now_us);
	for (uint32_t round = 0; round < 100000; round++) {
		uint32_t i = rnd(NODES);
		struct wheel_node *n;

		switch (rnd(9)) {
		case 8:
			wheel_rest(&wheel, &node[i]);
			due_us[i] = 0;
			break;
		case 0:
			wheel_cancel(&wheel, &node[i]);
			due_us[i] = 0;
			break;
		case 1: /* in the past, too */
			due_us[i] = now_us - rnd(5000);
			wheel_arm(&wheel, &node[i], due_us[i]);
			break;
		case 2: /* far beyond a round */
			due_us[i] = now_us + (uint64_t)rnd(1000) * 1000000;
			wheel_arm(&wheel, &node[i], due_us[i]);
			break;
		case 3:
		case 4:
		case 5:
			due_us[i] = now_us + rnd(3000000);
			wheel_arm(&wheel, &node[i], due_us[i]);
			break;
		default:
			now_us += rnd(50) == 0 ? (uint64_t)rnd(100) * 1000000 : rnd(10) == 0 ? rnd(1000000) : rnd(5000);
			while ((n = wheel_pop(&wheel, now_us)) != NULL) {
				i = (uint32_t)(n - node);
				CHECK_TRUE("popped what was armed", due_us[i] != 0);
				CHECK_TRUE("never before its time", due_us[i] <= now_us);
				due_us[i] = 0;
			}
			check_after_pop(now_us);
			break;
		}
	}
}

static void
test_wheel_pops_no_more_than_asked(void **state)
{
	struct wheel_node *n;
	uint32_t popped = 0;

	(void)state;
	memset(node, 0, sizeof(node));
	wheel_init(&wheel, TICK_US, 0);
	for (uint32_t i = 0; i < NODES; i++)
		wheel_arm(&wheel, &node[i], 10000 + i);
	for (; popped < 10; popped++)
		CHECK_TRUE("due", wheel_pop(&wheel, 1000000) != NULL);
	/* what was not asked for is still there, and what is armed in between comes in its own time */
	wheel_arm(&wheel, &node[0], 2000000);
	CHECK_TRUE("more is due", wheel_deadline_us(&wheel) <= 1000000);
	while ((n = wheel_pop(&wheel, 1000000)) != NULL) {
		CHECK_TRUE("not the new one", n != &node[0]);
		popped++;
	}
	CHECK_EQ("all", popped, NODES);
	CHECK_TRUE("the new one", wheel_pop(&wheel, 2000000) == &node[0]);
}

/* Nodes at rest are taken out some at a time, and what is due among them still comes, by the next calls at the latest. */
static void
test_wheel_drops_those_at_rest_some_at_a_time(void **state)
{
	static struct wheel_node many[5000];
	const uint32_t n = sizeof(many) / sizeof(many[0]);
	struct wheel_node *due = NULL;
	uint32_t calls = 0;

	(void)state;
	wheel_init(&wheel, TICK_US, 0);
	for (uint32_t i = 0; i < n; i++) {
		wheel_arm(&wheel, &many[i], 10000);
		if (i + 1 < n)
			wheel_rest(&wheel, &many[i]);
	}
	CHECK_EQ("one is armed", wheel.n_armed, 1);
	while (due == NULL && calls++ < 10) {
		CHECK_TRUE("it is still said to be due", wheel_deadline_us(&wheel) <= 10000);
		due = wheel_pop(&wheel, 20000);
		CHECK_TRUE("and is not all", due != NULL || !wheel_is_done(&wheel, 20000));
	}
	CHECK_TRUE("until there is no more", wheel_pop(&wheel, 20000) == NULL && wheel_is_done(&wheel, 20000));
	CHECK_TRUE("the one that is armed", due == &many[n - 1]);
	CHECK_TRUE("not all in one call", calls > 1);
	for (uint32_t i = 0; i < n; i++)
		CHECK_TRUE("none is left on the wheel", !wheel_is_filed(&many[i]));
	/* armed again from rest: earlier than its place, and later */
	wheel_arm(&wheel, &many[0], 500000);
	wheel_rest(&wheel, &many[0]);
	wheel_arm(&wheel, &many[0], 100000);
	CHECK_TRUE("not before", wheel_pop(&wheel, 99000) == NULL);
	CHECK_TRUE("earlier", wheel_pop(&wheel, 102000) == &many[0]);
	wheel_arm(&wheel, &many[0], 200000);
	wheel_rest(&wheel, &many[0]);
	wheel_arm(&wheel, &many[0], 300000);
	CHECK_TRUE("not at its old place", wheel_pop(&wheel, 250000) == NULL);
	CHECK_TRUE("later", wheel_pop(&wheel, 302000) == &many[0]);
}

/* Who sleeps until the next is due is not woken by one that was at rest when its time came. */
static void
test_wheel_says_no_deadline_for_those_at_rest(void **state)
{
	struct wheel_node resting = { 0 }, armed = { 0 };

	(void)state;
	wheel_init(&wheel, TICK_US, 0);
	wheel_arm(&wheel, &resting, 10000);
	wheel_rest(&wheel, &resting);
	CHECK_TRUE("none", wheel_deadline_us(&wheel) == UINT64_MAX);
	CHECK_TRUE("nor is one due", wheel_pop(&wheel, 10000) == NULL);
	wheel_arm(&wheel, &armed, 100000);
	CHECK_EQ("that of the other", wheel_deadline_us(&wheel), 100000);
	CHECK_TRUE("nothing before", wheel_pop(&wheel, 99000) == NULL);
	CHECK_EQ("still", wheel_deadline_us(&wheel), 100000);
	CHECK_TRUE("and then it", wheel_pop(&wheel, 100000) == &armed);
	wheel_arm(&wheel, &resting, 110000);
	CHECK_TRUE("who rested is armed again", wheel_pop(&wheel, 112000) == &resting);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wheel_agrees_with_a_list),
		cmocka_unit_test(test_wheel_pops_no_more_than_asked),
		cmocka_unit_test(test_wheel_drops_those_at_rest_some_at_a_time),
		cmocka_unit_test(test_wheel_says_no_deadline_for_those_at_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
