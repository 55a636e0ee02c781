/*
 * source_budget.h - how many new GREY records a source network may start, so that one botnet cannot empty the table.
 *
 * Touches: shared memory of the segment (a fixed array of cells by keyed hash), relaxed atomics; two networks in one
 *          cell share it.
 */
#ifndef GREYLINE_TABLE_SOURCE_BUDGET_H
#define GREYLINE_TABLE_SOURCE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define SOURCE_BUDGET_CELLS 65536

struct source_budget_cell {
	uint64_t hour_and_count; /* hour of policy time << 32 | count */
};

/* Counts one new record of the network of this keyed hash; false when its budget of this hour is spent (limit 0: no limit). */
bool source_budget_take(struct source_budget_cell *cells, uint64_t network_hash, uint32_t limit, uint32_t now_s);

/* Asks for the line that source_budget_take() will count in. */
static inline void
source_budget_prefetch(const struct source_budget_cell *cells, uint64_t network_hash)
{
	__builtin_prefetch(&cells[network_hash % SOURCE_BUDGET_CELLS], 1);
}

#endif
