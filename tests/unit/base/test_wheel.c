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

		switch (rnd(8)) {
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wheel_agrees_with_a_list),
		cmocka_unit_test(test_wheel_pops_no_more_than_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
