/*
 * load.c - the load generator on ports: sessions against the gateway, the same frames against the echo, alternating.
 *
 * Flow:   gen (sessions) <-> port 0 <-> gateway;  frames of the same sizes <-> port 1 <-> echo
 * Touches: two ports; the gateway's segment (counters, read only); the echo's counters; stdout (JSON), stderr (progress).
 * Keeps:  one thread. Its own busy share is measured and printed: above 90 % a rate is the generator's and is marked so.
 *
 * A phase against the gateway lasts --phase-ms, then no session is started any more and those open end; cycles and counts are taken from
 * before to after that, so no session is counted half.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>

#include "bench/load/gen.h"
#include "bench/load/shared.h"
#include "dataplane/link/segment.h"

#define BURST           32
#define POOL_BUFS       32767
#define QUEUE_DESCS     1024
#define DRAIN_NS        UINT64_C(3000000000) /* for what is open at the end of a phase: more than a retransmission */
#define PAIRS_MAX       1000
#define STARTS_A_TURN   64
#define ECHO_AT_ONCE    512 /* frames under way to the echo */
#define GENERATOR_BOUND 0.9

struct wire {
	uint16_t port;
	struct rte_mbuf *batch[BURST];
	uint16_t n;
	struct rte_mbuf *lent;
	uint64_t sent, received, full;
};

struct cpu {
	uint64_t busy, total; /* cycles */
};

struct phase {
	uint64_t sessions, failed, resent, segments_in, segments_out, ns;
	uint64_t worker_cycles, worker_turns;
	uint64_t flood, flood_answered, passed;
	double generator_busy;
};

struct load {
	struct wire gateway, echo;
	struct gen *gen;
	struct gen_conf conf;
	struct rte_mempool *pool;
	struct segment segment;
	const struct echo_shared *echo_shared;
	double ns_a_cycle;
	uint32_t pairs, phase_ms;
	uint64_t rate;       /* sessions a second, 0: closed loop */
	uint64_t flood_rate; /* spoofed SYNs a second */
	struct cpu cpu;
};

static volatile sig_atomic_t stopped;

static void
stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static uint64_t
now_ns(const struct load *l)
{
	return (uint64_t)((double)rte_rdtsc() * l->ns_a_cycle);
}

/* ---- wires ---- */

static void
wire_flush(struct wire *w)
{
	uint16_t sent = 0;

	for (uint32_t tries = 0; sent < w->n && tries < 64; tries++)
		sent = (uint16_t)(sent + rte_eth_tx_burst(w->port, 0, w->batch + sent, (uint16_t)(w->n - sent)));
	if (sent < w->n) {
		rte_pktmbuf_free_bulk(w->batch + sent, w->n - sent);
		w->full += w->n - sent;
	}
	w->sent += sent;
	w->n = 0;
}

static uint8_t *
wire_room(struct load *l, struct wire *w)
{
	if (w->lent == NULL)
		w->lent = rte_pktmbuf_alloc(l->pool);
	return w->lent != NULL ? rte_pktmbuf_mtod(w->lent, uint8_t *) : NULL;
}

static void
wire_send(struct wire *w, uint32_t octets)
{
	w->lent->data_len = (uint16_t)octets;
	w->lent->pkt_len = octets;
	w->batch[w->n++] = w->lent;
	w->lent = NULL;
	if (w->n == BURST)
		wire_flush(w);
}

static uint8_t *
gen_room(void *arg)
{
	struct load *l = arg;

	return wire_room(l, &l->gateway);
}

static void
gen_send(void *arg, uint32_t octets)
{
	struct load *l = arg;

	wire_send(&l->gateway, octets);
}

/* One look at the gateway's wire. Whether something came. */
static bool
gateway_turn(struct load *l)
{
	struct rte_mbuf *m[BURST];
	const uint16_t n = rte_eth_rx_burst(l->gateway.port, 0, m, BURST);
	const uint64_t now = n > 0 ? now_ns(l) : 0;

	for (uint16_t i = 0; i < n; i++)
		gen_input(l->gen, rte_pktmbuf_mtod(m[i], const uint8_t *), m[i]->data_len, now);
	if (n > 0)
		rte_pktmbuf_free_bulk(m, n);
	l->gateway.received += n;
	return n > 0;
}

/* ---- phases ---- */

static uint64_t
worker_counter(const struct load *l, enum counter which)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < l->segment.n_workers; i++)
		sum += counter_read(&l->segment.counters[i], which);
	return sum;
}

/* Sessions and spoofed SYNs that are due now. */
static uint32_t
start_due(struct load *l, uint64_t began, uint64_t now, uint64_t *started, uint64_t *flooded)
{
	uint32_t n = 0;

	if (l->rate == 0) {
		n = gen_start(l->gen, STARTS_A_TURN, now, now);
	} else {
		/* each counts from when it should have begun, whenever it does */
		while (n < STARTS_A_TURN && began + *started * UINT64_C(1000000000) / l->rate <= now &&
			gen_start(l->gen, 1, began + *started * UINT64_C(1000000000) / l->rate, now) == 1) {
			++*started;
			n++;
		}
	}
	if (l->flood_rate != 0) {
		const uint64_t due = (uint64_t)((double)(now - began) * (double)l->flood_rate / 1e9);
		const uint32_t k = (uint32_t)RTE_MIN(due - *flooded, UINT64_C(64));

		gen_flood(l->gen, k, 100, now);
		*flooded += k;
		n += k;
	}
	return n;
}

static void
gateway_phase(struct load *l, struct phase *out)
{
	const uint64_t began = now_ns(l), until = began + l->phase_ms * UINT64_C(1000000);
	const struct gen_stats before = *gen_stats(l->gen);
	const uint64_t cycles = worker_counter(l, CTR_worker_busy_cycles),
		       turns = worker_counter(l, CTR_worker_turns_busy);
	uint64_t started = 0, flooded = 0, now = began, ended = 0;
	struct cpu cpu = { 0 };
	const struct gen_stats *s = gen_stats(l->gen);

	while (!stopped) {
		const uint64_t c = rte_rdtsc();
		bool busy = gateway_turn(l);

		now = now_ns(l);
		if (now < until)
			busy |= start_due(l, began, now, &started, &flooded) > 0;
		gen_tick(l->gen, now);
		wire_flush(&l->gateway);
		if (now < until) {
			const uint64_t spent = rte_rdtsc() - c;

			cpu.total += spent;
			cpu.busy += busy ? spent : 0;
		} else {
			if (ended == 0)
				ended = now;
			if (gen_open(l->gen) == 0 || now > until + DRAIN_NS)
				break;
		}
	}
	for (uint32_t i = 0; i < 2000; i++) /* the last ACKs, and the turn that counts them */
		gateway_turn(l);
	usleep(2000);
	*out = (struct phase){ .sessions = s->done - before.done,
		.failed = s->failed - before.failed,
		.resent = s->resent - before.resent,
		.segments_in = s->segments_in - before.segments_in,
		.segments_out = s->segments_out - before.segments_out,
		.ns = ended - began,
		.worker_cycles = worker_counter(l, CTR_worker_busy_cycles) - cycles,
		.worker_turns = worker_counter(l, CTR_worker_turns_busy) - turns,
		.flood = s->flood_sent - before.flood_sent,
		.flood_answered = s->flood_answered - before.flood_answered,
		.passed = s->passed - before.passed,
		.generator_busy = cpu.total > 0 ? (double)cpu.busy / (double)cpu.total : 0 };
}

/* Octets of the 15 frames of a greylist session with timestamps, 8 in and 7 out, without FCS. */
static const uint16_t frame_octets[] = { 74, 66, 87, 103, 94, 72, 66, 66, 74, 100, 150, 80, 129, 90, 66 };

/* The same frames turned round by the echo: frames and cycles. */
static void
echo_phase(struct load *l, uint64_t *frames, uint64_t *cycles, uint64_t *ns)
{
	const uint64_t began = now_ns(l), until = began + l->phase_ms * UINT64_C(1000000);
	const struct echo_shared *e = l->echo_shared;
	const uint64_t f0 = __atomic_load_n(&e->frames, __ATOMIC_RELAXED),
		       c0 = __atomic_load_n(&e->busy_cycles, __ATOMIC_RELAXED);
	uint64_t under_way = 0, now = began, heard = began;
	uint32_t at = 0;

	while (!stopped && (now < until || (under_way > 0 && now < until + 100000000))) {
		struct rte_mbuf *m[BURST];
		const uint16_t n = rte_eth_rx_burst(l->echo.port, 0, m, BURST);

		now = now_ns(l);
		if (n > 0) {
			rte_pktmbuf_free_bulk(m, n);
			under_way = under_way > n ? under_way - n : 0;
			heard = now;
		} else if (now - heard > 20000000) {
			under_way = 0; /* lost */
			heard = now;
		}
		for (uint32_t i = 0; now < until && i < BURST && under_way < ECHO_AT_ONCE; i++) {
			uint8_t *f = wire_room(l, &l->echo);

			if (f == NULL)
				break;
			memset(f, 2, 14);
			wire_send(&l->echo, frame_octets[at++ % RTE_DIM(frame_octets)]);
			under_way++;
		}
		wire_flush(&l->echo);
	}
	usleep(2000);
	*frames = __atomic_load_n(&e->frames, __ATOMIC_RELAXED) - f0;
	*cycles = __atomic_load_n(&e->busy_cycles, __ATOMIC_RELAXED) - c0;
	*ns = now - began;
}

/* ---- figures ---- */

static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
print_spread(const char *name, double *v, uint32_t n, const char *end)
{
	qsort(v, n, sizeof(*v), compare);
	printf("  \"%s\": {\"median\": %.4g, \"p25\": %.4g, \"p75\": %.4g, \"min\": %.4g, \"max\": %.4g}%s\n", name,
		n > 0 ? v[n / 2] : 0, n > 0 ? v[n / 4] : 0, n > 0 ? v[n * 3 / 4] : 0, n > 0 ? v[0] : 0,
		n > 0 ? v[n - 1] : 0, end);
}

static void
print_latency(const char *name, const struct gen_histogram *h, const char *end)
{
	printf("  \"%s\": {\"n\": %" PRIu64 ", \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f}%s\n", name,
		h->n, (double)gen_percentile(h, 0.5) / 1e3, (double)gen_percentile(h, 0.9) / 1e3,
		(double)gen_percentile(h, 0.99) / 1e3, (double)gen_percentile(h, 0.999) / 1e3, end);
}

static void
run(struct load *l)
{
	static double cycles[PAIRS_MAX], echo[PAIRS_MAX], ratio[PAIRS_MAX], rate[PAIRS_MAX], busy[PAIRS_MAX],
		echo_rate[PAIRS_MAX];
	struct phase p, sum = { 0 };
	uint32_t n = 0;
	bool has_echo = l->echo_shared != NULL;

	gateway_phase(l, &p); /* warm */
	for (uint32_t i = 0; i < l->pairs && !stopped; i++) {
		uint64_t f = 0, c = 0, ns = 0;

		gateway_phase(l, &p);
		if (has_echo)
			echo_phase(l, &f, &c, &ns);
		sum.sessions += p.sessions;
		sum.failed += p.failed;
		sum.resent += p.resent;
		sum.passed += p.passed;
		sum.segments_in += p.segments_in;
		sum.segments_out += p.segments_out;
		sum.flood += p.flood;
		sum.flood_answered += p.flood_answered;
		if (p.sessions + p.flood == 0 || p.ns == 0 || (has_echo && f == 0))
			continue;
		cycles[n] = (double)p.worker_cycles / (double)RTE_MAX(p.sessions, UINT64_C(1));
		echo[n] = has_echo ? (double)c / (double)f * 7.5
		                   : 0; /* 15 frames on one side of a port: 7.5 received and as many sent */
		ratio[n] = has_echo ? cycles[n] / echo[n] : 0;
		rate[n] = (double)p.sessions * 1e9 / (double)p.ns;
		echo_rate[n] = has_echo ? (double)f * 1e9 / (double)ns : 0;
		busy[n] = p.generator_busy;
		fprintf(stderr,
			"pair %3u: %8.0f sessions/s, worker %7.0f cycles a session, echo %5.0f for its 15 frames, "
			"ratio %5.1f, generator %3.0f %% busy%s\n",
			i + 1, rate[n], cycles[n], echo[n], ratio[n], busy[n] * 100,
			p.failed ? ", FAILED sessions" : "");
		n++;
	}
	printf("{\n  \"template\": \"%s\", \"slots\": %u, \"rate\": %" PRIu64 ", \"flood_rate\": %" PRIu64
	       ", \"pairs\": %u, \"phase_ms\": %u,\n",
		gen_template_name(l->conf.template), l->conf.slots, l->rate, l->flood_rate, n, l->phase_ms);
	printf("  \"sessions\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"resent\": %" PRIu64
	       ", \"wrong_replies\": %" PRIu64 ", \"wrong_segments\": %" PRIu64 ", \"bad_checksums\": %" PRIu64
	       ", \"tx_full\": %" PRIu64 ",\n",
		sum.sessions, sum.failed, sum.resent, gen_stats(l->gen)->wrong_reply, gen_stats(l->gen)->wrong_segment,
		gen_stats(l->gen)->bad_checksum, l->gateway.full);
	printf("  \"segments_in\": %.3f, \"segments_out\": %.3f, \"flood_sent\": %" PRIu64
	       ", \"flood_answered\": %" PRIu64 ",\n",
		sum.sessions ? (double)sum.segments_out / (double)sum.sessions : 0,
		sum.sessions ? (double)sum.segments_in / (double)sum.sessions : 0, sum.flood, sum.flood_answered);
	printf("  \"passed\": %" PRIu64 ", \"backend_messages\": %" PRIu64 ", \"backend_octets\": %" PRIu64 ",\n",
		sum.passed, gen_stats(l->gen)->backend_messages, gen_stats(l->gen)->backend_octets);
	print_latency("session_us", gen_latency(l->gen), ",");
	print_latency("rcpt_reply_us", gen_reply(l->gen), ",");
	print_spread("sessions_a_second", rate, n, ",");
	print_spread("worker_cycles_a_session", cycles, n, ",");
	print_spread("echo_cycles_15_frames", echo, n, ",");
	print_spread("echo_frames_a_second", echo_rate, n, ",");
	print_spread("ratio_to_echo", ratio, n, ",");
	print_spread("generator_busy", busy, n, ",");
	printf("  \"generator_bound\": %s\n}\n", n > 0 && busy[n / 2] > GENERATOR_BOUND ? "true" : "false");
	if (gen_complaint(l->gen)[0] != '\0')
		fprintf(stderr, "load: wrong replies: %s", gen_complaint(l->gen));
}

/* ---- start ---- */

static void
port_start(struct load *l, struct wire *w, uint16_t port)
{
	const struct rte_eth_conf conf = { 0 };

	w->port = port;
	if (rte_eth_dev_configure(port, 1, 1, &conf) != 0 ||
		rte_eth_rx_queue_setup(port, 0, QUEUE_DESCS, SOCKET_ID_ANY, NULL, l->pool) != 0 ||
		rte_eth_tx_queue_setup(port, 0, QUEUE_DESCS, SOCKET_ID_ANY, NULL) != 0 || rte_eth_dev_start(port) != 0)
		rte_exit(EXIT_FAILURE, "load: port %u does not start\n", port);
}

static void
wait_for_gateway(struct load *l)
{
	for (uint32_t i = 0; i < 200 && !gen_is_ready(l->gen) && !stopped; i++) {
		gen_hello(l->gen);
		wire_flush(&l->gateway);
		for (uint32_t k = 0; k < 50 && !gen_is_ready(l->gen); k++) {
			gateway_turn(l);
			usleep(1000);
		}
	}
	if (!gen_is_ready(l->gen))
		rte_exit(EXIT_FAILURE, "load: the gateway does not answer ARP within 10 s\n");
}

/* Templates that pass need the backend, which is ours: the gateway asks it again within half a minute. */
static void
wait_for_backend(struct load *l)
{
	const uint64_t until = now_ns(l) + UINT64_C(60000000000);

	while (!stopped && now_ns(l) < until) {
		gateway_turn(l);
		wire_flush(&l->gateway);
		if (__atomic_load_n(&l->segment.backends[0].health, __ATOMIC_RELAXED) == BACKEND_UP)
			return;
	}
	rte_exit(EXIT_FAILURE, "load: the backend was not found up within 60 s\n");
}

static void
usage(void)
{
	fputs("usage: load --segment PATH [--echo COUNTERS] [--template T] [--slots N] [--clients N] [--triplets N] "
	      "[--net N] [--rate N]\n"
	      "            [--flood N] [--message N] [--pairs N] [--phase-ms N] -- EAL arguments (the gateway's port "
	      "first, then the echo's)\n",
		stderr);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "segment", required_argument, NULL, 's' },
		{ "echo", required_argument, NULL, 'e' }, { "template", required_argument, NULL, 't' },
		{ "slots", required_argument, NULL, 'n' }, { "clients", required_argument, NULL, 'c' },
		{ "triplets", required_argument, NULL, '3' }, { "rate", required_argument, NULL, 'r' },
		{ "flood", required_argument, NULL, 'f' }, { "message", required_argument, NULL, 'm' },
		{ "pairs", required_argument, NULL, 'p' }, { "phase-ms", required_argument, NULL, 'd' },
		{ "net", required_argument, NULL, 'a' }, { 0 } };
	static struct load l;
	const struct gen_ops ops = { .room = gen_room, .send = gen_send };
	const char *segment = NULL, *echo = NULL;
	char why[256];
	int option, fd;

	l.conf = (struct gen_conf){ .template = GEN_greylist,
		.slots = 256,
		.clients = GEN_CLIENTS,
		.gateway_ip = 0xc6120002,
		.gateway_port = 25,
		.client_net = 10,
		.timestamps = true,
		.seed = (uint64_t)getpid() };
	l.pairs = 20;
	l.phase_ms = 1000;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			segment = optarg;
			break;
		case 'e':
			echo = optarg;
			break;
		case 't':
			if (!gen_template_parse(optarg, &l.conf.template))
				usage();
			break;
		case 'n':
			l.conf.slots = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			l.conf.clients = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case '3':
			l.conf.triplets = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			l.rate = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			l.flood_rate = strtoull(optarg, NULL, 10);
			break;
		case 'm':
			l.conf.message_octets = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			l.pairs = RTE_MIN((uint32_t)strtoul(optarg, NULL, 10), (uint32_t)PAIRS_MAX);
			break;
		case 'd':
			l.phase_ms = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'a':
			l.conf.client_net = (uint8_t)strtoul(optarg, NULL, 10);
			break;
		default:
			usage();
		}
	}
	if (segment == NULL || optind >= argc || optind < 2)
		usage();
	if (segment_open_reader(&l.segment, segment, why, sizeof(why)) != 0) {
		fprintf(stderr, "load: %s: %s\n", segment, why);
		return 1;
	}
	if (echo != NULL) {
		void *at;

		fd = open(echo, O_RDONLY | O_CLOEXEC);
		at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct echo_shared), PROT_READ, MAP_SHARED, fd, 0);
		if (at == MAP_FAILED) {
			fprintf(stderr, "load: %s: no counters of the echo\n", echo);
			return 1;
		}
		l.echo_shared = at;
	}
	argv[optind - 1] = argv[0];
	if (rte_eal_init(argc - optind + 1, argv + optind - 1) < 0 ||
		rte_eth_dev_count_avail() != (echo != NULL ? 2 : 1))
		rte_exit(EXIT_FAILURE, "load: a port for the gateway%s is wanted\n",
			echo != NULL ? " and one for the echo" : "");
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	l.ns_a_cycle = 1e9 / (double)rte_get_tsc_hz();
	l.pool = rte_pktmbuf_pool_create("load", POOL_BUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	l.gen = gen_create(&l.conf, &ops, &l);
	if (l.pool == NULL || l.gen == NULL)
		rte_exit(EXIT_FAILURE, "load: no memory, or numbers that are not powers of two\n");
	port_start(&l, &l.gateway, 0);
	if (echo != NULL)
		port_start(&l, &l.echo, 1);
	wait_for_gateway(&l);
	if (l.conf.template == GEN_data || l.conf.template == GEN_retry)
		wait_for_backend(&l);
	run(&l);
	rte_eth_dev_stop(0);
	if (echo != NULL)
		rte_eth_dev_stop(1);
	return stopped ? 1 : 0;
}
