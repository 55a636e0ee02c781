/*
 * runs.c - which phases follow each other, and what is printed of them; see load.h.
 *
 * Keeps:  ratios are taken within a pair of neighbouring phases, because the machine's speed moves; medians with quartiles and extremes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>

#include "bench/load/load.h"

#define GENERATOR_BOUND 0.9
#define WORKER_BOUND    0.9
#define OPEN_WAIT_S     180

enum figure {
	FIG_RATE,
	FIG_CYCLES,
	FIG_ECHO,
	FIG_ECHO_RATE,
	FIG_RATIO,
	FIG_OVER_ECHO,
	FIG_BUSY,
	FIG_WORKER_BUSY,
	FIG_WORKER_RATE,
	FIG_OCTETS,
	FIG_OTHER,       /* of the other gateway, where there is one; else 0 */
	FIG_OTHER_RATIO, /* of ours to its */
	FIG_N
};

static const char *const figure_names[FIG_N] = { "units_a_second", "worker_cycles_a_unit", "echo_cycles_a_unit",
	"echo_frames_a_second", "ratio_to_echo", "cycles_above_echo", "generator_busy", "worker_busy",
	"units_a_worker_second", "octets_a_second", "other_cycles_a_unit", "ratio_to_other" };

struct series {
	double v[FIG_N][PAIRS_MAX];
	uint32_t n;
};

struct sums {
	uint64_t units, sessions, failed, resent, segments_in, segments_out, flood, flood_answered, passed;
};

static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(const double *v, uint32_t n)
{
	double copy[PAIRS_MAX];

	if (n == 0)
		return 0;
	memcpy(copy, v, n * sizeof(*v));
	qsort(copy, n, sizeof(*copy), compare);
	return copy[n / 2];
}

static void
print_spread(const char *name, double *v, uint32_t n, const char *end)
{
	qsort(v, n, sizeof(*v), compare);
	printf("\"%s\": {\"median\": %.5g, \"p25\": %.5g, \"p75\": %.5g, \"min\": %.5g, \"max\": %.5g}%s\n", name,
		n > 0 ? v[n / 2] : 0, n > 0 ? v[n / 4] : 0, n > 0 ? v[n * 3 / 4] : 0, n > 0 ? v[0] : 0,
		n > 0 ? v[n - 1] : 0, end);
}

static void
print_series(struct series *s, const char *end)
{
	const double busy = median(s->v[FIG_BUSY], s->n), worker = median(s->v[FIG_WORKER_BUSY], s->n);

	for (uint32_t f = 0; f < FIG_N; f++)
		print_spread(figure_names[f], s->v[f], s->n, ",");
	printf("\"pairs\": %u, \"generator_bound\": %s, \"worker_bound\": %s%s\n", s->n,
		busy > GENERATOR_BOUND ? "true" : "false", worker > WORKER_BOUND ? "true" : "false", end);
}

static void
print_latency(const char *name, const struct gen_histogram *h, const char *end)
{
	printf("\"%s\": {\"n\": %" PRIu64 ", \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f}%s\n", name,
		h->n, (double)gen_percentile(h, 0.5) / 1e3, (double)gen_percentile(h, 0.9) / 1e3,
		(double)gen_percentile(h, 0.99) / 1e3, (double)gen_percentile(h, 0.999) / 1e3, end);
}

/* ---- pairs ---- */

/* What the phase counts: sessions, or, where there are none, the SYNs that reached the gateway (what its ring had no room for did not). */
static uint64_t
units_of(const struct load *l, const struct phase *p)
{
	if (l->part[0].conf.template == GEN_none)
		return load_sees_gateway(l) ? p->frames_in : p->flood;
	return p->sessions;
}

/*
 * Frames the echo turns round for one unit. A session's frames are half received and half sent; the echo receives and sends each. Of a
 * relayed message each frame the gateway received is one that a plain forward passes on. A spoofed SYN is one frame.
 */
static double
echo_frames(const struct load *l, const struct phase *p)
{
	const double units = (double)units_of(l, p);

	if (l->part[0].conf.template == GEN_none)
		return 1;
	if (l->part[0].conf.template == GEN_data || l->part[0].conf.template == GEN_retry)
		return (double)p->frames_in / units;
	return (double)(p->frames_in + p->frames_out) / 2 / units;
}

static void
sum_up(struct sums *sum, const struct load *l, const struct phase *p)
{
	sum->units += units_of(l, p);
	sum->sessions += p->sessions;
	sum->failed += p->failed;
	sum->resent += p->resent;
	sum->passed += p->passed;
	sum->segments_in += p->segments_in;
	sum->segments_out += p->segments_out;
	sum->flood += p->flood;
	sum->flood_answered += p->flood_answered;
}

static void
note_pair(const struct load *l, const struct phase *p, const struct echo_phase *e, const struct phase *other,
	struct series *s)
{
	const uint32_t n = s->n;
	const double units = (double)units_of(l, p);
	const double echo = e->frames > 0 ? (double)e->cycles / (double)e->frames * echo_frames(l, p) : 0;

	if (units == 0 || p->ns == 0 || (p->worker_cycles == 0 && load_sees_gateway(l)) || n == PAIRS_MAX ||
		(l->echo_shared != NULL && e->frames == 0) || (l->other != NULL && units_of(l->other, other) == 0))
		return;
	s->v[FIG_RATE][n] = units * 1e9 / (double)p->ns;
	s->v[FIG_CYCLES][n] = (double)p->worker_cycles / units;
	s->v[FIG_ECHO][n] = echo;
	s->v[FIG_ECHO_RATE][n] = e->ns > 0 ? (double)e->frames * 1e9 / (double)e->ns : 0;
	s->v[FIG_RATIO][n] = echo > 0 ? s->v[FIG_CYCLES][n] / echo : 0;
	s->v[FIG_OVER_ECHO][n] = s->v[FIG_CYCLES][n] - echo;
	s->v[FIG_BUSY][n] = p->generator_busy;
	if (load_sees_gateway(l)) {
		const double worked_ns = (double)p->worker_cycles * l->ns_a_cycle;

		s->v[FIG_WORKER_BUSY][n] = worked_ns / (double)p->ns_in_all / (double)l->segment.n_workers;
		s->v[FIG_WORKER_RATE][n] = units * 1e9 / worked_ns;
	}
	s->v[FIG_OCTETS][n] = (double)p->octets * 1e9 / (double)p->ns;
	if (l->other != NULL) {
		s->v[FIG_OTHER][n] = (double)other->worker_cycles / (double)units_of(l->other, other);
		s->v[FIG_OTHER_RATIO][n] = s->v[FIG_CYCLES][n] / s->v[FIG_OTHER][n];
	}
	s->n++;
}

static void
run_pairs(struct load *l, struct series *s, struct sums *sum)
{
	for (uint32_t i = 0; i < l->pairs && !stopped; i++) {
		struct echo_phase e = { 0 };
		struct phase p, other = { 0 };
		const uint32_t n = s->n;

		if (l->other != NULL && i % 2 != 0) /* each is first as often as second */
			gateway_phase(l->other, 0, &other);
		gateway_phase(l, l->flood_rate, &p);
		if (l->other != NULL && i % 2 == 0)
			gateway_phase(l->other, 0, &other);
		if (l->echo_shared != NULL)
			echo_phase(l, &e);
		else if (l->empty_phases)
			empty_phase(l);
		sum_up(sum, l, &p);
		note_pair(l, &p, &e, &other, s);
		if (s->n > n && l->other != NULL)
			fprintf(stderr, "pair %3u of %u: %7.0f cycles each, %7.0f beside %u open: %.2f times\n", i + 1,
				l->pairs, s->v[FIG_CYCLES][n], s->v[FIG_OTHER][n], l->other_open,
				s->v[FIG_OTHER_RATIO][n]);
		else if (s->n > n && !load_sees_gateway(l))
			fprintf(stderr, "phase %3u of %u: %8.0f a second, generator %3.0f %% busy%s\n", i + 1, l->pairs,
				s->v[FIG_RATE][n], s->v[FIG_BUSY][n] * 100, p.failed ? ", FAILED sessions" : "");
		else if (s->n > n)
			fprintf(stderr,
				"pair %3u of %u: %8.0f a second, worker %7.0f cycles each, echo %6.0f, ratio %5.1f, "
				"worker %3.0f %%, generator %3.0f %% busy%s\n",
				i + 1, l->pairs, s->v[FIG_RATE][n], s->v[FIG_CYCLES][n], s->v[FIG_ECHO][n],
				s->v[FIG_RATIO][n], s->v[FIG_WORKER_BUSY][n] * 100, s->v[FIG_BUSY][n] * 100,
				p.failed ? ", FAILED sessions" : "");
		else
			fprintf(stderr, "pair %3u of %u: nothing was served\n", i + 1, l->pairs);
	}
}

static uint64_t
resident_octets(const struct load *l)
{
	unsigned long size, resident;
	char path[64];
	FILE *f;

	if (!load_sees_gateway(l))
		return 0;
	snprintf(path, sizeof(path), "/proc/%u/statm", l->segment.live->dataplane_pid);
	f = fopen(path, "r");
	if (f == NULL || fscanf(f, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	if (f != NULL)
		fclose(f);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The same load while more and more sessions are open and silent. */
static void
run_levels(struct load *l, struct sums *sum)
{
	static struct series s;
	struct part *idle = &l->part[l->n_parts - 1];

	if (l->other != NULL)
		idle_raise(l->other, &l->other->part[l->other->n_parts - 1], l->other_open, OPEN_WAIT_S);
	printf("\"levels\": [\n");
	for (uint32_t i = 0; i < l->n_levels && !stopped; i++) {
		const uint32_t open = idle_raise(l, idle, l->levels[i], OPEN_WAIT_S);

		fprintf(stderr, "level: %u of %u sessions open\n", open, l->levels[i]);
		s.n = 0;
		run_pairs(l, &s, sum);
		printf("%s{\"wanted\": %u, \"open\": %u, \"open_after\": %u, \"resident_octets\": %" PRIu64 ",\n",
			i > 0 ? "," : "", l->levels[i], open, gen_idle(idle->gen), resident_octets(l));
		print_series(&s, "}");
	}
	printf("],\n");
}

/* The same closed loop with and without spoofed SYNs at a multiple of the rate it had without. */
static void
run_overload(struct load *l, struct sums *sum)
{
	static double peak[PAIRS_MAX], goodput[PAIRS_MAX], share[PAIRS_MAX], offered[PAIRS_MAX];
	uint64_t known_done = 0, known_failed = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i < l->pairs && !stopped; i++) {
		struct phase a, b;

		gateway_phase(l, 0, &a);
		gateway_phase(l, (uint64_t)((double)a.sessions * 1e9 / (double)a.ns * l->overload), &b);
		for (uint32_t k = 1; k < l->n_parts; k++) {
			known_done += gen_stats(l->part[k].gen)->done - l->part[k].before.done;
			known_failed += gen_stats(l->part[k].gen)->failed - l->part[k].before.failed;
		}
		sum_up(sum, l, &a);
		sum_up(sum, l, &b);
		if (a.sessions == 0)
			continue;
		peak[n] = (double)a.sessions * 1e9 / (double)a.ns;
		goodput[n] = (double)b.sessions * 1e9 / (double)b.ns;
		offered[n] = (double)b.flood * 1e9 / (double)b.ns;
		share[n] = goodput[n] / peak[n];
		fprintf(stderr,
			"pair %3u of %u: %8.0f sessions/s alone, %8.0f beside %8.0f spoofed SYNs/s: %3.0f %%, "
			"generator %3.0f %% busy\n",
			i + 1, l->pairs, peak[n], goodput[n], offered[n], share[n] * 100, b.generator_busy * 100);
		n++;
	}
	printf("\"overload\": {\n");
	print_spread("peak_a_second", peak, n, ",");
	print_spread("goodput_a_second", goodput, n, ",");
	print_spread("syns_a_second", offered, n, ",");
	print_spread("goodput_share", share, n, ",");
	printf("\"known_done\": %" PRIu64 ", \"known_failed\": %" PRIu64 "},\n", known_done, known_failed);
}

/* What is measured in one phase of run_alternate(). */
enum { LAT_SESSION_P50, LAT_SESSION_P99, LAT_REPLY_P50, LAT_REPLY_P99, LAT_N };

static void
latencies_of(const struct load *l, double out[LAT_N])
{
	struct gen *g = l->part[0].gen;

	out[LAT_SESSION_P50] = (double)gen_percentile(gen_latency(g), 0.5) / 1e3;
	out[LAT_SESSION_P99] = (double)gen_percentile(gen_latency(g), 0.99) / 1e3;
	out[LAT_REPLY_P50] = (double)gen_percentile(gen_reply(g), 0.5) / 1e3;
	out[LAT_REPLY_P99] = (double)gen_percentile(gen_reply(g), 0.99) / 1e3;
	memset(gen_latency(g), 0, sizeof(struct gen_histogram));
	memset(gen_reply(g), 0, sizeof(struct gen_histogram));
}

static uint64_t
gateway_counter(const struct load *l, enum counter which)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < l->segment.n_workers; i++)
		n += counter_read(&l->segment.counters[i], which);
	return n;
}

/* The first part alone, and beside the others, in turns: what these cost it, by its latencies within each pair. */
static void
run_alternate(struct load *l, struct sums *sum)
{
	static const char *const names[LAT_N] = { "session_p50", "session_p99", "rcpt_reply_p50", "rcpt_reply_p99" };
	static double alone[LAT_N][PAIRS_MAX], beside[LAT_N][PAIRS_MAX], times[LAT_N][PAIRS_MAX], steps[PAIRS_MAX];
	const uint64_t busy = gateway_counter(l, CTR_tls_busy);
	double v[LAT_N];
	uint32_t n = 0;

	latencies_of(l, v); /* of the phase that warmed up: dropped */
	for (uint32_t i = 0; i < l->pairs && !stopped; i++) {
		struct phase a, b;
		uint64_t queued;

		l->first_alone = true;
		gateway_phase(l, 0, &a);
		latencies_of(l, v);
		for (uint32_t k = 0; k < LAT_N; k++)
			alone[k][n] = v[k];
		l->first_alone = false;
		queued = gateway_counter(l, CTR_tls_queued);
		gateway_phase(l, l->flood_rate, &b);
		latencies_of(l, v);
		for (uint32_t k = 0; k < LAT_N; k++)
			beside[k][n] = v[k];
		sum_up(sum, l, &a);
		sum_up(sum, l, &b);
		if (a.sessions == 0 || b.sessions == 0)
			continue;
		for (uint32_t k = 0; k < LAT_N; k++)
			times[k][n] = beside[k][n] / alone[k][n];
		steps[n] = (double)(gateway_counter(l, CTR_tls_queued) - queued) * 1e9 / (double)b.ns;
		fprintf(stderr,
			"pair %3u of %u: p99 of a session %7.0f us alone, %7.0f us beside %5.0f steps of handshakes a "
			"second: "
			"%.2f times\n",
			i + 1, l->pairs, alone[LAT_SESSION_P99][n], beside[LAT_SESSION_P99][n], steps[n],
			times[LAT_SESSION_P99][n]);
		n++;
	}
	printf("\"alternate\": {\"pairs\": %u, \"answered_454\": %" PRIu64 ",\n", n,
		gateway_counter(l, CTR_tls_busy) - busy);
	for (uint32_t k = 0; k < LAT_N && n > 0; k++) {
		char name[64];

		snprintf(name, sizeof(name), "alone_%s_us", names[k]);
		print_spread(name, alone[k], n, ",");
		snprintf(name, sizeof(name), "beside_%s_us", names[k]);
		print_spread(name, beside[k], n, ",");
		snprintf(name, sizeof(name), "times_%s", names[k]);
		print_spread(name, times[k], n, ",");
	}
	if (n > 0)
		print_spread("handshake_steps_a_second", steps, n, "},");
	else
		printf("\"nothing\": true},\n");
}

static void
print_sums(const struct load *l, const struct sums *sum)
{
	const struct gen_stats *s = gen_stats(l->part[0].gen);
	uint64_t wrong = 0, wrong_segments = 0, bad = 0;

	for (uint32_t i = 0; i < l->n_parts; i++) {
		wrong += gen_stats(l->part[i].gen)->wrong_reply;
		wrong_segments += gen_stats(l->part[i].gen)->wrong_segment;
		bad += gen_stats(l->part[i].gen)->bad_checksum;
	}
	printf("\"units\": %" PRIu64 ", \"sessions\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"resent\": %" PRIu64
	       ", \"wrong_replies\": %" PRIu64 ", \"wrong_segments\": %" PRIu64 ", \"bad_checksums\": %" PRIu64
	       ", \"tx_full\": %" PRIu64 ",\n",
		sum->units, sum->sessions, sum->failed, sum->resent, wrong, wrong_segments, bad, l->gateway.full);
	printf("\"segments_in\": %.3f, \"segments_out\": %.3f, \"flood_sent\": %" PRIu64
	       ", \"flood_answered\": %" PRIu64 ",\n",
		sum->sessions ? (double)sum->segments_out / (double)sum->sessions : 0,
		sum->sessions ? (double)sum->segments_in / (double)sum->sessions : 0, sum->flood, sum->flood_answered);
	printf("\"passed\": %" PRIu64 ", \"backend_sessions\": %" PRIu64 ", \"backend_messages\": %" PRIu64
	       ", \"backend_octets\": %" PRIu64 ", \"tls_handshakes\": %" PRIu64 ", \"tls_resumed\": %" PRIu64 ",\n",
		sum->passed, s->backend_sessions, s->backend_messages, s->backend_octets, s->tls_handshakes,
		s->tls_resumed);
	printf("\"beside\": [");
	for (uint32_t i = 1; i < l->n_parts; i++)
		printf("%s{\"template\": \"%s\", \"rate\": %" PRIu64 ", \"done\": %" PRIu64 ", \"failed\": %" PRIu64
		       ", \"open\": %u}",
			i > 1 ? ", " : "", gen_template_name(l->part[i].conf.template), l->part[i].rate,
			l->part[i].done, l->part[i].failed, gen_open(l->part[i].gen));
	printf("],\n");
}

bool
load_run(struct load *l)
{
	static struct series s;
	struct sums sum = { 0 };
	struct phase warm;
	bool well = true;

	if (l->other != NULL)
		gateway_phase(l->other, 0, &warm);
	gateway_phase(l, l->overload > 0 ? 0 : l->flood_rate, &warm);
	if (l->rate_share > 0) { /* so far the loop was closed: that was the peak */
		gateway_phase(l, l->flood_rate, &warm);
		l->part[0].rate = (uint64_t)((double)warm.sessions * 1e9 / (double)warm.ns * l->rate_share) + 1;
		fprintf(stderr, "load: open loop at %" PRIu64 " sessions a second\n", l->part[0].rate);
	}
	for (uint32_t i = 0; i < l->n_parts; i++)
		l->part[i].done = l->part[i].failed = 0;
	l->turns_with_load = (struct turn_times){ 0 };
	printf("{\"template\": \"%s\", \"unit\": \"%s\", \"slots\": %u, \"rate\": %" PRIu64 ", \"flood_rate\": %" PRIu64
	       ", \"phase_ms\": %u, \"message_octets\": %u,\n",
		gen_template_name(l->part[0].conf.template),
		l->part[0].conf.template == GEN_none ? "spoofed SYN" : "session", l->part[0].conf.slots,
		l->part[0].rate, l->flood_rate == UINT64_MAX ? 0 : l->flood_rate, l->phase_ms,
		l->part[0].conf.message_octets);
	if (l->n_levels > 0)
		run_levels(l, &sum);
	else if (l->overload > 0)
		run_overload(l, &sum);
	else if (l->alternate)
		run_alternate(l, &sum);
	else
		run_pairs(l, &s, &sum);
	print_sums(l, &sum);
	print_latency("session_us", gen_latency(l->part[0].gen), ",");
	print_latency("rcpt_reply_us", gen_reply(l->part[0].gen), ",");
	turns_print(l);
	print_series(&s, "}");
	for (uint32_t i = 0; i < l->n_parts; i++) {
		const char *complaint = gen_complaint(l->part[i].gen);

		if (complaint[0] != '\0')
			fprintf(stderr, "load: wrong replies: %s", complaint);
		well &= gen_stats(l->part[i].gen)->wrong_reply == 0 && gen_stats(l->part[i].gen)->bad_checksum == 0;
	}
	for (uint32_t i = 0; l->other != NULL && i < l->other->n_parts; i++) {
		const struct gen_stats *o = gen_stats(l->other->part[i].gen);

		well &= o->wrong_reply == 0 && o->bad_checksum == 0;
	}
	return well && sum.units > 0;
}
