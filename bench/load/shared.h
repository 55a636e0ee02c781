/*
 * shared.h - what the echo tells the load generator: a file both map.
 *
 * Keeps:  one writer; readers see each word whole. Cycles are those of turns that received something, driver calls included, as the data
 *         plane counts its own (worker.busy_cycles).
 */
#ifndef GREYLINE_BENCH_LOAD_SHARED_H
#define GREYLINE_BENCH_LOAD_SHARED_H

#include <stdint.h>

struct echo_shared {
	uint64_t busy_cycles, busy_turns, frames;
};

#endif
