/*
 * source_budget.c - see source_budget.h.
 *
 * Touches: one cell of the segment by compare-and-swap.
 * Keeps:  a cell never counts beyond the limit by more than the swaps in flight; when the swap is lost too often the
 *         record is allowed, as a budget is a guard, not an account.
 */
#include "dataplane/table/source_budget.h"

#define BUDGET_HOUR_S    3600
#define BUDGET_TRIES_MAX 8

bool
source_budget_take(struct source_budget_cell *cells, uint64_t network_hash, uint32_t limit, uint32_t now_s)
{
	uint64_t *cell = &cells[network_hash % SOURCE_BUDGET_CELLS].hour_and_count;
	const uint32_t hour = now_s / BUDGET_HOUR_S;
	uint64_t old = __atomic_load_n(cell, __ATOMIC_RELAXED);

	if (limit == 0)
		return true;
	for (unsigned tries = 0; tries < BUDGET_TRIES_MAX; tries++) {
		const uint32_t count = (uint32_t)(old >> 32) == hour ? (uint32_t)old : 0;

		if (count >= limit)
			return false;
		if (__atomic_compare_exchange_n(
			    cell, &old, (uint64_t)hour << 32 | (count + 1), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	}
	return true;
}
