/*
 * test_source_budget.c - how many new records one network may start in an hour.
 */
#include "dataplane/table/source_budget.h"

#include <stdlib.h>

#include "tests/check.h"

#define A UINT64_C(0x5ac07e11) /* hashes of two networks */
#define B UINT64_C(0x5ac07e12)

static void
test_source_budget_ends_and_comes_back_with_the_hour(void **state)
{
	struct source_budget_cell *cells = calloc(SOURCE_BUDGET_CELLS, sizeof(*cells));

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		CHECK_TRUE("within", source_budget_take(cells, A, 5, 7200 + i));
	CHECK_TRUE("spent", !source_budget_take(cells, A, 5, 7300));
	CHECK_TRUE("another network has its own", source_budget_take(cells, B, 5, 7300));
	CHECK_TRUE("the last second of the hour", !source_budget_take(cells, A, 5, 10799));
	CHECK_TRUE("the next hour", source_budget_take(cells, A, 5, 10800));
	for (unsigned i = 0; i < 100; i++)
		CHECK_TRUE("no limit", source_budget_take(cells, A, 0, 10800));
	free(cells);
}

static void
test_source_budget_hostile_cells(void **state)
{
	struct source_budget_cell *cells = malloc(SOURCE_BUDGET_CELLS * sizeof(*cells));

	(void)state;
	memset(cells, 0xff, SOURCE_BUDGET_CELLS * sizeof(*cells));
	CHECK_TRUE("an hour that cannot be starts anew", source_budget_take(cells, A, 1, 3600));
	CHECK_TRUE("and counts", !source_budget_take(cells, A, 1, 3600));
	free(cells);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_source_budget_ends_and_comes_back_with_the_hour),
		cmocka_unit_test(test_source_budget_hostile_cells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
