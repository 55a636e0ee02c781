/*
 * load.h - a run of the load generator: its parts, a phase, what is known afterwards.
 *
 * Flow:   load.c (options) -> runs.c (which phases, what is printed) -> phase.c (one second of load);  turns.c (how long the worker's passes were)
 */
#ifndef GREYLINE_BENCH_LOAD_LOAD_H
#define GREYLINE_BENCH_LOAD_LOAD_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/load/gen.h"
#include "bench/load/shared.h"
#include "bench/load/wire.h"
#include "dataplane/link/segment.h"

#define PAIRS_MAX       1000
#define FLOOD_BURST_MAX 64
/* What of a flood is made up for after the generator stood still; more would come as one burst, as no wire brings a flood of that rate. */
#define FLOOD_DEBT_S 0.002
#define PARTS_MAX    4
#define LEVELS_MAX   16

/* Sessions of one kind. The first is what is measured; the others are there beside it. */
struct part {
	struct gen *gen;
	struct gen_conf conf;
	uint64_t rate;    /* sessions a second, 0: as many as slots allow */
	uint64_t started; /* in this phase */
	struct gen_stats before;
	uint64_t done, failed; /* over all measured phases */
};

struct load {
	struct wire gateway, echo;
	struct tape tape;
	struct part part[PARTS_MAX];
	uint32_t n_parts;
	struct rte_mempool *pool;
	struct segment segment;
	const struct echo_shared *echo_shared;
	double ns_a_cycle;
	uint32_t pairs, phase_ms;
	uint64_t flood_rate;  /* spoofed SYNs a second; UINT64_MAX: as many as the port takes */
	uint32_t flood_burst; /* of them together, 1 to FLOOD_BURST_MAX */
	uint8_t flood_net;
	uint32_t levels[LEVELS_MAX], n_levels; /* idle sessions to hold open meanwhile, rising */
	double rate_share; /* open loop at that share of what a closed loop reached; 0: as --rate says */
	bool alternate;    /* phases with the first part alone, and with all */
	bool first_alone;  /* in this phase only the first part starts sessions */
	double overload;   /* extra SYNs, as a multiple of the peak; 0: no such run */
	bool empty_phases; /* after each phase one without load: its empty turns are the empty loop that the machine's pauses are known by */
	struct turn_times turns_with_load, turns_without_load;
	struct load *other;  /* the same load on another gateway, in turns with this one; NULL: none */
	uint32_t other_open; /* idle sessions it holds open meanwhile */
};

struct phase {
	uint64_t sessions, failed, resent, segments_in, segments_out, ns, ns_in_all;
	uint64_t worker_cycles, worker_turns;
	uint64_t frames_in, frames_out; /* as the gateway sees them */
	uint64_t flood, flood_answered, passed, octets;
	double generator_busy;
};

struct echo_phase {
	uint64_t frames, cycles, ns;
};

extern volatile sig_atomic_t stopped;

/* Whether we have its segment, and so its counters: not where it is another machine. */
static inline bool
load_sees_gateway(const struct load *l)
{
	return l->segment.n_workers > 0;
}

uint64_t now_ns(const struct load *l);
/* One look at the gateway's wire. Whether something came. */
bool gateway_turn(struct load *l);
void gateway_phase(struct load *l, uint64_t flood_rate, struct phase *out);
/* Nothing is sent, for as long as a phase: workers that spin find nothing to do. */
void empty_phase(struct load *l);
/* The same sizes of frames turned round by the echo. */
void echo_phase(struct load *l, struct echo_phase *out);
/* Opens idle sessions of a part until so many are open, at most seconds long; how many there are. */
uint32_t idle_raise(struct load *l, struct part *p, uint32_t want, uint32_t seconds);

/* Adds (sign 1) or takes away (-1) what the workers have counted of their passes until now: around a phase, what it adds. */
void turns_add(const struct load *l, struct turn_times *sum, int sign);
void turns_print(const struct load *l);

/* All phases, and a JSON object on stdout. Whether nothing was wrong. */
bool load_run(struct load *l);

#endif
