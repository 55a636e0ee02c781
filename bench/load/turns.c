/*
 * turns.c - from the receive call to the end of the transmit call: how long passes of the workers took, and how much of that was the machine.
 *
 * Flow:   phase.c: turns_add() around each phase -> runs.c: turns_print()
 * Keeps:  what is subtracted was measured in the same run, in phases without load, and is no more than pauses that are by themselves as long as
 *         what they are taken from; a long step of ours, which no empty loop has, stays.
 */
#include <inttypes.h>
#include <stdio.h>

#include "bench/load/load.h"
#include "dataplane/base/bug.h"

#define EMPTY_SHARE_MIN 0.25 /* of the time of the passes: less says too little of how often the machine pauses */

/* Adds what the workers have counted so far, times sign. */
void
turns_add(const struct load *l, struct turn_times *sum, int sign)
{
	const uint64_t by = (uint64_t)(int64_t)sign;

	for (uint32_t w = 0; w < l->segment.n_workers; w++) {
		const struct turn_times *t = &l->segment.live->turns[w];

		for (uint32_t i = 0; i < TURN_BUCKETS; i++) {
			sum->busy[i] += by * __atomic_load_n(&t->busy[i], __ATOMIC_RELAXED);
			sum->empty[i] += by * __atomic_load_n(&t->empty[i], __ATOMIC_RELAXED);
		}
		sum->busy_cycles += by * __atomic_load_n(&t->busy_cycles, __ATOMIC_RELAXED);
		sum->empty_cycles += by * __atomic_load_n(&t->empty_cycles, __ATOMIC_RELAXED);
	}
}

static double
us_of(const struct load *l, uint64_t cycles)
{
	return (double)cycles * l->ns_a_cycle / 1e3;
}

/* Lower edge of a bucket in microseconds. */
static double
edge_us(const struct load *l, uint32_t bucket)
{
	return bucket == 0 ? 0 : us_of(l, turn_bucket_from(bucket));
}

/* How many lie in that bucket or beyond. */
static double
tail(const uint64_t *bucket, uint32_t from)
{
	uint64_t n = 0;

	for (uint32_t i = from; i < TURN_BUCKETS; i++)
		n += bucket[i];
	return (double)n;
}

/* The first bucket that holds nothing below so many microseconds. */
static uint32_t
bucket_above(const struct load *l, double us)
{
	uint32_t i = 0;

	while (i < TURN_BUCKETS - 1 && edge_us(l, i) < us)
		i++;
	return i;
}

/* Pauses that passes of the load must have met, by how often the empty loop did, of those that reach that bucket by themselves. */
static double
pauses_met(const struct load *l, uint32_t from)
{
	const struct turn_times *empty = &l->turns_without_load;

	return empty->empty_cycles == 0 ? 0
	                                : tail(empty->empty, from) / (double)empty->empty_cycles *
	                                          (double)l->turns_with_load.busy_cycles;
}

/* Of the passes, those in that bucket or beyond; without pauses: but for those that a pause alone has brought there. */
static double
share_from(const struct load *l, uint32_t from, bool without_pauses)
{
	const double n = tail(l->turns_with_load.busy, 0), seen = tail(l->turns_with_load.busy, from),
		     met = without_pauses ? pauses_met(l, from) : 0;

	return seen > met && n > met ? (seen - met) / (n - met) : 0;
}

/* The smallest edge that at most 1 - share of the passes reach. */
static double
percentile_us(const struct load *l, double share, bool without_pauses)
{
	uint32_t i = 1;

	while (i < TURN_BUCKETS - 1 && share_from(l, i, without_pauses) > 1 - share)
		i++;
	return edge_us(l, i);
}

static void
print_percentiles(const struct load *l, const char *name, bool without_pauses)
{
	printf(", \"%s\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f}", name,
		percentile_us(l, 0.5, without_pauses), percentile_us(l, 0.9, without_pauses),
		percentile_us(l, 0.99, without_pauses), percentile_us(l, 0.999, without_pauses));
}

/* The counts of a histogram, or the buckets' lower edges. */
static void
print_histogram(const char *name, const struct load *l, const uint64_t *bucket)
{
	printf(", \"%s\": [", name);
	for (uint32_t i = 0; i < TURN_BUCKETS; i++)
		printf("%s%.6g", i > 0 ? ", " : "", bucket != NULL ? (double)bucket[i] : edge_us(l, i));
	printf("]");
}

void
turns_print(const struct load *l)
{
	static const uint32_t limits_us[] = { 5, 10, 50 };
	const struct turn_times *load = &l->turns_with_load, *none = &l->turns_without_load;

	printf("\"turn_us\": {\"n\": %.0f, \"busy_s\": %.3f, \"empty_s\": %.3f", tail(load->busy, 0),
		us_of(l, load->busy_cycles) / 1e6, us_of(l, none->empty_cycles) / 1e6);
	for (uint32_t i = 0; i < ARRAY_LEN(limits_us); i++) {
		const uint32_t from = bucket_above(l, limits_us[i]);

		printf(", \"above_%uus\": {\"n\": %.0f, \"by_pauses\": %.0f}", limits_us[i], tail(load->busy, from),
			pauses_met(l, from));
	}
	print_percentiles(l, "raw", false);
	if ((double)none->empty_cycles >= EMPTY_SHARE_MIN * (double)load->busy_cycles && none->empty_cycles > 0)
		print_percentiles(l, "without_pauses", true);
	else
		printf(", \"without_pauses\": null");
	print_histogram("from_us", l, NULL);
	print_histogram("busy", l, load->busy);
	print_histogram("empty", l, none->empty);
	print_histogram("empty_between_passes", l, load->empty);
	printf("},\n");
}
