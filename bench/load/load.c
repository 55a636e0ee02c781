/*
 * load.c - the load generator on ports: options, start, end. What it does then is in runs.c.
 *
 * Flow:   gen (sessions) <-> port 0 <-> gateway;  frames of the same sizes <-> port 1 <-> echo;  the same sessions <-> the last port <-> another
 *         gateway (--next-to)
 * Touches: two ports; the gateway's segment (counters, read only); the echo's counters; stdout (JSON), stderr (progress).
 * Keeps:  one thread. Its own busy share is measured and printed: above 90 % a rate is the generator's and is marked so.
 *
 * Exit status: 0 all replies and checksums were right, 1 they were not or nothing was served, 2 usage.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>

#include "bench/load/load.h"

#define POOL_BUFS    32767
#define IDLE_NET     11 /* first octet of the addresses of those that hold sessions open */
#define FLOOD_NET    100
#define PAUSE_MS     20
#define BACKEND_S    60
#define BACKEND_ASKS 2          /* banner and EHLO; then whether it relays for strangers */
#define GATEWAY_IP   0xc6120002 /* 198.18.0.2 */

volatile sig_atomic_t stopped;

static void
stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static uint8_t *
gen_room(void *arg)
{
	return wire_room(&((struct load *)arg)->gateway);
}

static void
gen_send(void *arg, uint32_t octets)
{
	wire_send(&((struct load *)arg)->gateway, octets);
}

static bool
all_ready(const struct load *l)
{
	for (uint32_t i = 0; i < l->n_parts; i++)
		if (!gen_is_ready(l->part[i].gen))
			return false;
	return true;
}

static void
wait_for_gateway(struct load *l)
{
	for (uint32_t i = 0; i < 200 && !all_ready(l) && !stopped; i++) {
		gen_hello(l->part[0].gen);
		wire_flush(&l->gateway);
		for (uint32_t k = 0; k < 50 && !all_ready(l); k++) {
			gateway_turn(l);
			usleep(1000);
		}
	}
	if (!all_ready(l))
		rte_exit(EXIT_FAILURE, "load: the gateway does not answer ARP within 10 s\n");
}

static bool
needs_backend(const struct load *l)
{
	for (uint32_t i = 0; i < l->n_parts; i++)
		if (l->part[i].conf.template == GEN_data || l->part[i].conf.template == GEN_retry)
			return true;
	return false;
}

/* Whether the gateway takes the backend for one that serves; of a gateway whose segment we do not see: whether it has asked. */
static bool
backend_is_up(const struct load *l)
{
	if (!load_sees_gateway(l))
		return gen_stats(l->part[0].gen)->backend_sessions >= BACKEND_ASKS;
	return __atomic_load_n(&l->segment.backends[0].health, __ATOMIC_RELAXED) == BACKEND_UP;
}

/* Templates that pass need the backend, which is ours: the gateway asks it again within half a minute. */
static void
wait_for_backend(struct load *l)
{
	const uint64_t until = now_ns(l) + BACKEND_S * UINT64_C(1000000000);

	while (!stopped && now_ns(l) < until) {
		gateway_turn(l);
		wire_flush(&l->gateway);
		if (backend_is_up(l))
			return;
	}
	rte_exit(EXIT_FAILURE, "load: the backend was not found up within %d s\n", BACKEND_S);
}

static void
usage(void)
{
	fputs("usage: load [--segment PATH] [--echo COUNTERS] [--pairs N] [--phase-ms N] PART [--beside PART]...\n"
	      "            [--flood SYNS_A_SECOND|max] [--flood-burst N] [--flood-net N] [--levels N,N,...]\n"
	      "            [--overload FACTOR] [--rate-share S] [--empty-phases] [--next-to SEGMENT --next-open N]\n"
	      "            -- EAL arguments (the gateway's port first, then the echo's, then that of the gateway it is "
	      "next to)\n"
	      "            without --segment (a gateway on another machine) its cycles are unknown: rates and "
	      "latencies "
	      "alone\n"
	      "PART:       --template T [--slots N] [--clients N] [--net N] [--triplets N] [--rate N] [--message N] "
	      "[--pause MS]\n"
	      "Templates:\n",
		stderr);
	for (uint32_t i = 0; i < GEN_TEMPLATES_N; i++)
		fprintf(stderr, "  %-10s %s\n", gen_template_name((enum gen_template)i),
			gen_template_help((enum gen_template)i));
	exit(2);
}

/* A whole number of at most max, or the usage. */
static uint64_t
number(const char *text, uint64_t max)
{
	char *end;
	const uint64_t n = strtoull(text, &end, 10);

	if (end == text || *end != '\0' || n > max) {
		fprintf(stderr, "load: '%s' is no number up to %llu\n", text, (unsigned long long)max);
		usage();
	}
	return n;
}

static struct part *
add_part(struct load *l)
{
	struct part *p = &l->part[l->n_parts];

	if (l->n_parts == PARTS_MAX) {
		fprintf(stderr, "load: at most %d parts\n", PARTS_MAX);
		exit(2);
	}
	p->conf = (struct gen_conf){ .template = GEN_greylist,
		.slots = 256,
		.clients = GEN_CLIENTS,
		.gateway_ip = GATEWAY_IP,
		.gateway_port = 25,
		.client_net = (uint8_t)(10 + 2 * l->n_parts),
		.timestamps = true,
		.beside = l->n_parts > 0,
		.pause_ms = PAUSE_MS,
		.seed = (uint64_t)getpid() + l->n_parts };
	l->n_parts++;
	return p;
}

static void
parse_levels(struct load *l, char *list)
{
	for (char *word = strtok(list, ","); word != NULL; word = strtok(NULL, ",")) {
		if (l->n_levels == LEVELS_MAX)
			usage();
		l->levels[l->n_levels++] = (uint32_t)number(word, GEN_SLOTS_MAX);
	}
}

static bool
part_option(struct part *p, int option, const char *value)
{
	switch (option) {
	case 't':
		return gen_template_parse(value, &p->conf.template);
	case 'n':
		p->conf.slots = (uint32_t)number(value, GEN_SLOTS_MAX);
		return true;
	case 'c':
		p->conf.clients = (uint32_t)number(value, GEN_CLIENTS);
		return true;
	case '3':
		p->conf.triplets = (uint32_t)number(value, UINT32_MAX);
		return true;
	case 'r':
		p->rate = number(value, UINT32_MAX);
		return true;
	case 'm':
		p->conf.message_octets = (uint32_t)number(value, 1u << 30);
		return true;
	case 'a':
		p->conf.client_net = (uint8_t)number(value, 223);
		return true;
	case 'w':
		p->conf.pause_ms = (uint32_t)number(value, 60000);
		return true;
	}
	return false;
}

static void
parse(struct load *l, int argc, char **argv, const char **segment, const char **echo, const char **next)
{
	static const struct option options[] = { { "segment", required_argument, NULL, 's' },
		{ "echo", required_argument, NULL, 'e' }, { "pairs", required_argument, NULL, 'p' },
		{ "phase-ms", required_argument, NULL, 'd' }, { "beside", no_argument, NULL, 'b' },
		{ "flood", required_argument, NULL, 'f' }, { "flood-net", required_argument, NULL, 'F' },
		{ "flood-burst", required_argument, NULL, 'B' }, { "alternate", no_argument, NULL, 'A' },
		{ "empty-phases", no_argument, NULL, 'E' }, { "levels", required_argument, NULL, 'l' },
		{ "overload", required_argument, NULL, 'o' }, { "rate-share", required_argument, NULL, 'R' },
		{ "template", required_argument, NULL, 't' }, { "slots", required_argument, NULL, 'n' },
		{ "clients", required_argument, NULL, 'c' }, { "triplets", required_argument, NULL, '3' },
		{ "rate", required_argument, NULL, 'r' }, { "message", required_argument, NULL, 'm' },
		{ "net", required_argument, NULL, 'a' }, { "pause", required_argument, NULL, 'w' },
		{ "next-to", required_argument, NULL, 'N' }, { "next-open", required_argument, NULL, 'O' }, { 0 } };
	struct part *p = add_part(l);
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			*segment = optarg;
			break;
		case 'e':
			*echo = optarg;
			break;
		case 'p':
			l->pairs = (uint32_t)number(optarg, PAIRS_MAX);
			break;
		case 'd':
			l->phase_ms = (uint32_t)number(optarg, 3600000);
			break;
		case 'b':
			p = add_part(l);
			break;
		case 'A':
			l->alternate = true;
			break;
		case 'E':
			l->empty_phases = true;
			break;
		case 'f':
			l->flood_rate = strcmp(optarg, "max") == 0 ? UINT64_MAX : number(optarg, UINT32_MAX);
			break;
		case 'B':
			l->flood_burst = (uint32_t)number(optarg, FLOOD_BURST_MAX);
			break;
		case 'F':
			l->flood_net = (uint8_t)number(optarg, 223);
			break;
		case 'l':
			parse_levels(l, optarg);
			break;
		case 'o':
			l->overload = strtod(optarg, NULL);
			break;
		case 'R':
			l->rate_share = strtod(optarg, NULL);
			break;
		case 'N':
			*next = optarg;
			break;
		case 'O':
			l->other_open = (uint32_t)number(optarg, GEN_SLOTS_MAX);
			break;
		default:
			if (!part_option(p, option, optarg))
				usage();
		}
	}
	if (optind >= argc || optind < 2)
		usage();
	if (*next != NULL && l->n_levels == 0) {
		fprintf(stderr, "load: --next-to compares how many sessions are open: it needs --levels\n");
		exit(2);
	}
	if (l->n_levels > 0) { /* those that are silent are a part of their own, the last */
		p = add_part(l);
		p->conf.template = GEN_idle;
		p->conf.client_net = IDLE_NET;
		while (p->conf.slots < l->levels[l->n_levels - 1])
			p->conf.slots *= 2;
	}
}

static const struct echo_shared *
echo_map(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct echo_shared), PROT_READ, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	return at == MAP_FAILED ? NULL : at;
}

static void
segment_open(struct load *l, const char *path)
{
	char why[256];

	if (segment_open_reader(&l->segment, path, why, sizeof(why)) != 0) {
		fprintf(stderr, "load: %s: %s\n", path, why);
		exit(1);
	}
}

/* Its generators and its wire. */
static void
load_start(struct load *l, uint16_t port)
{
	const struct gen_ops ops = { .room = gen_room, .send = gen_send };

	for (uint32_t i = 0; i < l->n_parts; i++)
		if ((l->part[i].gen = gen_create(&l->part[i].conf, &ops, l)) == NULL)
			rte_exit(EXIT_FAILURE, "load: no memory, or slots or clients that are no powers of two\n");
	if (wire_start(&l->gateway, port, l->pool) != 0)
		rte_exit(EXIT_FAILURE, "load: port %u does not start\n", port);
}

int
main(int argc, char **argv)
{
	static struct load l = { .pairs = 20, .phase_ms = 1000, .flood_net = FLOOD_NET, .flood_burst = 1 }, other;
	const char *segment = NULL, *echo = NULL, *next = NULL;
	uint16_t ports;
	bool well;

	parse(&l, argc, argv, &segment, &echo, &next);
	if (next != NULL) { /* the same in all but what is held open */
		other = l;
		other.part[other.n_parts - 1].conf.slots = 1;
		while (other.part[other.n_parts - 1].conf.slots < l.other_open)
			other.part[other.n_parts - 1].conf.slots *= 2;
		l.other = &other;
		segment_open(&other, next);
	}
	if (segment != NULL)
		segment_open(&l, segment);
	ports = (uint16_t)(1 + (echo != NULL) + (next != NULL));
	if (echo != NULL && (l.echo_shared = echo_map(echo)) == NULL) {
		fprintf(stderr, "load: %s: no counters of the echo\n", echo);
		return 1;
	}
	argv[optind - 1] = argv[0];
	if (rte_eal_init(argc - optind + 1, argv + optind - 1) < 0 || rte_eth_dev_count_avail() != ports)
		rte_exit(EXIT_FAILURE, "load: %u ports are wanted: the gateway's%s%s; there are %u\n", ports,
			echo != NULL ? ", the echo's" : "", next != NULL ? ", the other gateway's" : "",
			rte_eth_dev_count_avail());
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	l.ns_a_cycle = 1e9 / (double)rte_get_tsc_hz();
	l.pool = rte_pktmbuf_pool_create("load", POOL_BUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (l.pool == NULL)
		rte_exit(EXIT_FAILURE, "load: no memory for %d buffers\n", POOL_BUFS);
	load_start(&l, 0);
	if (echo != NULL && wire_start(&l.echo, 1, l.pool) != 0)
		rte_exit(EXIT_FAILURE, "load: the echo's port does not start\n");
	wait_for_gateway(&l);
	if (next != NULL) {
		other.ns_a_cycle = l.ns_a_cycle;
		other.pool = l.pool;
		load_start(&other, (uint16_t)(ports - 1));
		wait_for_gateway(&other);
	}
	if (needs_backend(&l))
		wait_for_backend(&l);
	well = load_run(&l);
	for (uint16_t i = 0; i < ports; i++)
		rte_eth_dev_stop(i);
	return stopped || !well ? 1 : 0;
}
