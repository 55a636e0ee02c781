/*
 * source_table.h - what each client address and network does now: its open sessions, and how fast it connects.
 *
 * Flow:   worker/admission.c asks and counts; control reads it for explain and status.
 * Touches: shared memory of the segment (an array of cells by keyed hash), 16-octet atomics: all workers count in one place, so that the
 *          connections of an address may land on any of them.
 * Keeps:  a session that was entered is left exactly once; a cell with sessions is never given to another source; a source that finds no
 *         cell is let through and not counted (who fills the table by many addresses hides nobody's but its own numbers); two workers that
 *         ask at the same moment may let in one more each than the limit.
 * Source: the rate is the virtual scheduling of ITU-T I.371 (GCRA) with one minute's worth as its burst.
 */
#ifndef GREYLINE_TABLE_SOURCE_TABLE_H
#define GREYLINE_TABLE_SOURCE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/siphash.h"

#define SOURCE_CELLS_PER_WORKER 65536u
#define SOURCE_BUCKET_CELLS     8u /* two cache lines, which are fetched together */
#define SOURCE_RATE_PERIOD_US   UINT64_C(60000000)
#define SOURCE_RATE_MAX         60000000u /* a minute: one in a microsecond */

/* 0: free. Otherwise written by atomic128 alone. */
struct source_cell {
	_Alignas(16) uint32_t tag; /* never 0 */
	uint32_t sessions;
	uint64_t due_us : 48;  /* when it will have paid for all its connections: now + what is owed */
	uint64_t refused : 16; /* since the cell began; stops at the top */
};

struct source_table {
	struct source_cell *cells;
	uint32_t n_cells; /* a power of two */
	struct siphash_key key;
};

/* Whom it is about, hashed once. */
struct source_key {
	uint64_t hash;
};

struct source_limits {
	uint32_t sessions; /* at a time; 0: no limit */
	uint32_t per_min;  /* connections; 0: no limit, nothing is paid */
};

/* What is known of a source. */
struct source_state {
	uint32_t sessions, refused;
	uint64_t owed_us; /* beyond now; SOURCE_RATE_PERIOD_US and more: the rate is used up */
};

enum source_verdict { SOURCE_OK, SOURCE_OVER_SESSIONS, SOURCE_OVER_RATE };

/* memory: n_cells zeroed cells, or what an earlier life left there. */
void source_table_bind(struct source_table *t, void *memory, uint32_t n_cells, const struct siphash_key *key);

/* No session is open: at the start of a data plane, before its workers run. What was paid for connections stays. */
void source_table_forget_sessions(struct source_table *t);

struct source_key source_key_of(const struct source_table *t, const struct ip_addr *addr, bool is_network);

/* Asks for the lines of its cells: it will be counted. */
void source_table_prefetch(const struct source_table *t, struct source_key key);

/* All zero for a source without a cell. */
struct source_state source_table_look(const struct source_table *t, struct source_key key, uint64_t now_us);

/* Whether one more connection keeps to the limits. Changes nothing. */
enum source_verdict source_judge(const struct source_state *s, const struct source_limits *limits);

/* Counts a session and pays for its connection; false: no cell for this source, nothing is counted and nothing to be left. */
bool source_table_enter(struct source_table *t, struct source_key key, uint32_t per_min, uint64_t now_us);
void source_table_leave(struct source_table *t, struct source_key key);

/* Notes a refusal, for explain; a source without a cell gets none for it. */
void source_table_refused(struct source_table *t, struct source_key key);

#endif
