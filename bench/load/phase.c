/*
 * phase.c - a second of load against the gateway, or of frames against the echo; see load.h.
 *
 * Keeps:  a phase against the gateway lasts phase_ms, then no session is started any more and those open end; cycles and counts are taken
 *         from before to after that, so no session is counted half. Sessions that stay open (idle) are left alone.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>

#include "bench/load/load.h"

#define DRAIN_NS      UINT64_C(3000000000) /* for what is open at the end of a phase: more than a retransmission */
#define STARTS_A_TURN 64
#define ECHO_AT_ONCE  512  /* frames under way to the echo */
#define OPENING_MAX   4096 /* idle sessions under way to being open */

struct cpu {
	uint64_t busy, total; /* cycles */
};

uint64_t
now_ns(const struct load *l)
{
	return (uint64_t)((double)rte_rdtsc() * l->ns_a_cycle);
}

bool
gateway_turn(struct load *l)
{
	struct rte_mbuf *m[WIRE_BURST];
	const uint16_t n = wire_receive(&l->gateway, m);
	const uint64_t now = n > 0 ? now_ns(l) : 0;

	for (uint16_t i = 0; i < n; i++) {
		const uint8_t *frame = rte_pktmbuf_mtod(m[i], const uint8_t *);
		const bool is_arp = frame[12] == 0x08 && frame[13] == 0x06; /* who the gateway is, all want to know */
		uint32_t at = 0;

		/* what is nobody's client (the backend's, answers to a flood) is the first part's */
		for (uint32_t k = 1; k < l->n_parts; k++) {
			if (is_arp)
				gen_input(l->part[k].gen, frame, m[i]->data_len, now);
			else if (gen_owns(l->part[k].gen, frame, m[i]->data_len))
				at = k;
		}
		gen_input(l->part[at].gen, frame, m[i]->data_len, now);
	}
	if (n > 0)
		rte_pktmbuf_free_bulk(m, n);
	return n > 0;
}

static uint64_t
worker_counter(const struct load *l, enum counter which)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < l->segment.n_workers; i++)
		sum += counter_read(&l->segment.counters[i], which);
	return sum;
}

/* Sessions of a part that are due now. */
static uint32_t
part_start(struct part *p, uint64_t began, uint64_t now)
{
	uint32_t n = 0;

	if (p->conf.template == GEN_none || p->conf.template == GEN_idle)
		return 0;
	if (p->rate == 0)
		return gen_start(p->gen, STARTS_A_TURN, now, now);
	/* each counts from when it should have begun, whenever it does */
	while (n < STARTS_A_TURN && began + p->started * UINT64_C(1000000000) / p->rate <= now &&
		gen_start(p->gen, 1, began + p->started * UINT64_C(1000000000) / p->rate, now) == 1) {
		p->started++;
		n++;
	}
	return n;
}

static uint32_t
flood_due(struct load *l, uint64_t rate, uint64_t began, uint64_t now, uint64_t *flooded)
{
	const uint64_t due = rate == UINT64_MAX ? UINT64_MAX : (uint64_t)((double)(now - began) * (double)rate / 1e9);
	const uint64_t debt = rate == UINT64_MAX ? 0 : (uint64_t)(FLOOD_DEBT_S * (double)rate);
	uint32_t n;

	if (debt > 0 && due > *flooded + debt)
		*flooded = due - debt;
	if (rate == 0 || due < *flooded + l->flood_burst)
		return 0;
	n = (uint32_t)RTE_MIN(due - *flooded, (uint64_t)FLOOD_BURST_MAX);
	if (wire_waiting(&l->gateway)) { /* these are lost, sessions' segments wait for their turn */
		l->gateway.full += n;
		*flooded += n;
		return 0;
	}
	gen_flood(l->part[0].gen, n, l->flood_net, now);
	*flooded += n;
	return n;
}

/* Sessions that are to end before the phase has. */
static uint32_t
still_open(const struct load *l)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < l->n_parts; i++)
		if (l->part[i].conf.template != GEN_idle)
			n += gen_open(l->part[i].gen);
	return n;
}

/* What is due now, of all parts; how much was begun. */
static uint32_t
work_due(struct load *l, bool starting, uint64_t flood_rate, uint64_t began, uint64_t now, uint64_t *flooded)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < l->n_parts; i++) {
		if (starting && !wire_waiting(&l->gateway) && (i == 0 || !l->first_alone))
			n += part_start(&l->part[i], began, now);
		gen_tick(l->part[i].gen, now);
	}
	return starting ? n + flood_due(l, flood_rate, began, now, flooded) : n;
}

void
gateway_phase(struct load *l, uint64_t flood_rate, struct phase *out)
{
	const uint64_t began = now_ns(l), until = began + l->phase_ms * UINT64_C(1000000);
	const uint64_t cycles = worker_counter(l, CTR_worker_busy_cycles),
		       turns = worker_counter(l, CTR_worker_turns_busy),
		       frames_in = worker_counter(l, CTR_port_rx_frames),
		       frames_out = worker_counter(l, CTR_port_tx_frames);
	uint64_t flooded = 0, now = began, ended = 0;
	struct part *first = &l->part[0];
	const struct gen_stats *s = gen_stats(first->gen);
	struct cpu cpu = { 0 };

	for (uint32_t i = 0; i < l->n_parts; i++) {
		l->part[i].before = *gen_stats(l->part[i].gen);
		l->part[i].started = 0;
	}
	l->gateway.tape = &l->tape;
	turns_add(l, &l->turns_with_load, -1);
	while (!stopped) {
		const uint64_t c = rte_rdtsc();
		bool busy = gateway_turn(l);

		now = now_ns(l);
		busy |= work_due(l, now < until, flood_rate, began, now, &flooded) > 0;
		wire_flush(&l->gateway);
		if (!busy)
			sched_yield(); /* control has this CPU, too: without, it waits for the end of our time slice */
		if (now < until) {
			const uint64_t spent = rte_rdtsc() - c;

			cpu.total += spent;
			cpu.busy += busy ? spent : 0;
		} else {
			if (ended == 0)
				ended = now;
			if (still_open(l) == 0 || now > until + DRAIN_NS)
				break;
		}
	}
	for (uint32_t i = 0; i < 2000; i++) { /* the last ACKs, and the turn that counts them */
		gateway_turn(l);
		wire_flush(&l->gateway);
	}
	usleep(2000);
	turns_add(l, &l->turns_with_load, 1);
	l->gateway.tape = NULL;
	for (uint32_t i = 0; i < l->n_parts; i++) {
		l->part[i].done += gen_stats(l->part[i].gen)->done - l->part[i].before.done;
		l->part[i].failed += gen_stats(l->part[i].gen)->failed - l->part[i].before.failed;
	}
	*out = (struct phase){ .sessions = s->done - first->before.done,
		.failed = s->failed - first->before.failed,
		.resent = s->resent - first->before.resent,
		.segments_in = s->segments_in - first->before.segments_in,
		.segments_out = s->segments_out - first->before.segments_out,
		.ns = ended - began,
		.ns_in_all = now - began,
		.worker_cycles = worker_counter(l, CTR_worker_busy_cycles) - cycles,
		.worker_turns = worker_counter(l, CTR_worker_turns_busy) - turns,
		.frames_in = worker_counter(l, CTR_port_rx_frames) - frames_in,
		.frames_out = worker_counter(l, CTR_port_tx_frames) - frames_out,
		.flood = s->flood_sent - first->before.flood_sent,
		.flood_answered = s->flood_answered - first->before.flood_answered,
		.passed = s->passed - first->before.passed,
		.octets = s->backend_octets - first->before.backend_octets,
		.generator_busy = cpu.total > 0 ? (double)cpu.busy / (double)cpu.total : 0 };
}

void
empty_phase(struct load *l)
{
	const uint64_t until = now_ns(l) + l->phase_ms * UINT64_C(1000000);

	turns_add(l, &l->turns_without_load, -1);
	while (!stopped && now_ns(l) < until) {
		if (!gateway_turn(l))
			sched_yield();
		wire_flush(&l->gateway);
	}
	turns_add(l, &l->turns_without_load, 1);
}

void
echo_phase(struct load *l, struct echo_phase *out)
{
	const uint64_t began = now_ns(l), until = began + l->phase_ms * UINT64_C(1000000);
	const struct echo_shared *e = l->echo_shared;
	const uint64_t f0 = __atomic_load_n(&e->frames, __ATOMIC_RELAXED),
		       c0 = __atomic_load_n(&e->busy_cycles, __ATOMIC_RELAXED);
	uint64_t under_way = 0, now = began, heard = began;

	while (!stopped && (now < until || (under_way > 0 && now < until + 100000000))) {
		struct rte_mbuf *m[WIRE_BURST];
		const uint16_t n = wire_receive(&l->echo, m);

		now = now_ns(l);
		if (n > 0) {
			rte_pktmbuf_free_bulk(m, n);
			under_way = under_way > n ? under_way - n : 0;
			heard = now;
		} else if (now - heard > 20000000) {
			under_way = 0; /* lost */
			heard = now;
		}
		for (uint32_t i = 0; now < until && i < WIRE_BURST && under_way < ECHO_AT_ONCE; i++) {
			uint8_t *f = wire_room(&l->echo);

			if (f == NULL)
				break;
			memset(f, 2, 14);
			wire_send(&l->echo, tape_next(&l->tape));
			under_way++;
		}
		wire_flush(&l->echo);
	}
	usleep(2000);
	*out = (struct echo_phase){ .frames = __atomic_load_n(&e->frames, __ATOMIC_RELAXED) - f0,
		.cycles = __atomic_load_n(&e->busy_cycles, __ATOMIC_RELAXED) - c0,
		.ns = now - began };
}

uint32_t
idle_raise(struct load *l, struct part *p, uint32_t want, uint32_t seconds)
{
	const uint64_t until = now_ns(l) + seconds * UINT64_C(1000000000);
	uint64_t now = now_ns(l), said = now;

	while (!stopped && gen_idle(p->gen) < want && now < until) {
		const uint32_t open = gen_open(p->gen), idle = gen_idle(p->gen);

		gateway_turn(l);
		now = now_ns(l);
		if (open < want && open - idle < OPENING_MAX)
			gen_start(p->gen, RTE_MIN(want - open, (uint32_t)STARTS_A_TURN), now, now);
		gen_tick(p->gen, now);
		wire_flush(&l->gateway);
		if (now - said > UINT64_C(2000000000)) {
			fprintf(stderr, "opening: %u of %u sessions open, %" PRIu64 " failed\n", gen_idle(p->gen), want,
				gen_stats(p->gen)->failed);
			said = now;
		}
	}
	return gen_idle(p->gen);
}
