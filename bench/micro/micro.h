/*
 * micro.h - the benchmarks of single parts: what a row is, and the groups of rows.
 *
 * Keeps:  every row is run ROUNDS times over the same work, and the best and the middle are shown: the machines we have
 *         change their clock within seconds and share cores, so a mean says more about the neighbours.
 */
#ifndef GREYLINE_BENCH_MICRO_MICRO_H
#define GREYLINE_BENCH_MICRO_MICRO_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/siphash.h"
#include "dataplane/table/verdict_table.h"

#define ROUNDS       5
#define BUILD_ROUNDS 3
#define OPS          200000
#define NOW_S        1000000

extern const struct siphash_key micro_key;
extern const struct vt_ages micro_ages;

/* What one row measures: sets up for a round where it must, then does ops operations and answers a sum nobody can leave
 * out. */
struct work {
	const char *name;
	void (*prepare)(void *arg);
	uint64_t (*run)(void *arg);
	void *arg;
	uint64_t ops;
};

double now_s(void);
uint64_t mix(uint64_t x);
/* A tag for number i, never 0. */
uint64_t tag_of(uint64_t i);
/* Zeroed, aligned to a cache line; ends the program when there is none. */
void *memory(uint64_t octets);
void add_row(const char *name, const char *unit, double best, double middle);
void add_size(const char *name, const char *unit, double value);
/* A row in nanoseconds an operation. */
void measure(const struct work *w);
/* A row from times in seconds, n of them: best and middle. */
void add_times(const char *name, const char *unit, double *took, uint32_t n);

void add_rates(const char *name, double *rate, uint32_t n);

void bench_table(void);
void bench_threads(void);
void bench_lists(void);
void bench_names(void);
void bench_rings(void);
void bench_hash(void);
void bench_smtp(void);
void bench_store(void);
void bench_snapshot(void);

#endif
