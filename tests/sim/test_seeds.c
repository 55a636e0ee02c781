/*
 * test_seeds.c - a whole gateway among peers that are not ours, under everything a wire and a night can bring; one world for each seed.
 *
 * usage: test_seeds [--first N] [--count N] [--seed N] [--attacks [--roomy] [--only KIND]] [--verbose]
 *
 * A world: one to three workers; client hosts and two backends that are models (model.h) with habits drawn from the seed; senders that must
 * deliver their messages and come back until they have; a wire that loses, duplicates, reorders, delays, corrupts and changes its MTU with
 * and without a word; frames that arrive on any lcore, a re-hash in mid-session; control that stalls or forgets, backends that stall or lose
 * their power; the data plane killed and started anew. After the trouble the wire is clean again, and everything has to come to its end.
 *
 * What must hold, at every step: what tcp_check_invariants() says of each connection; what the models judge of each segment. At every
 * message: 250 is said only for what lies at a backend, octet for octet. At the end: every message was delivered; no connection, session or
 * buffer is left; an idle gateway sleeps and is silent. With --attacks each seed is a clean wire and one attack after another, and 99 of 100 sessions of the good
 * clients must succeed.
 */
#include "tests/sim/world.h"

#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/worker/worker_impl.h"
#include "tests/helpers/tcp_check.h"

#define BUFS        4096
#define ROOMY_SLOTS 1024

static struct world *current; /* of the handler of SIGABRT */
static const char *program;
static bool verbose;

void __attribute__((format(printf, 1, 2), noreturn)) world_die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	abort();
}

static void
on_abort(int signal_number)
{
	char text[256];
	const int n = snprintf(text, sizeof(text), "seed %llu failed at %llu us; replay: %s --seed %llu --verbose\n",
		(unsigned long long)current->seed,
		(unsigned long long)(current->sim != NULL ? sim_now_us(current->sim) : 0), program,
		(unsigned long long)current->seed);

	(void)signal_number;
	if (write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(3);
	signal(SIGABRT, SIG_DFL);
}

uint32_t
world_draw(struct world *w, uint32_t n)
{
	w->rng = w->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return n == 0 ? 0 : (uint32_t)(w->rng >> 33) % n;
}

bool
world_one_in(struct world *w, uint32_t n)
{
	return world_draw(w, n) == 0;
}

/* --- the world --- */

static void
check_workers(struct world *w)
{
	/* after a turn everything has been said */
	for (uint32_t i = 0; i < w->config.conf.workers; i++)
		tcp_check_invariants(sim_worker(w->sim, i)->tcp, false);
}

static void
step(struct sim *sim, void *arg)
{
	struct world *w = arg;
	const uint64_t now_us = sim_now_us(sim);

	for (uint32_t i = 0; i < w->n_senders; i++)
		world_sender_turn(w, &w->sender[i]);
	for (uint32_t i = 0; i < BACKENDS; i++)
		world_backend_turn(w, &w->backend[i]);
	if (now_us >= w->control_until_us)
		fake_control_step(&w->control);
	world_attack_turn(w);
	while (w->n_troubles > 0 && w->trouble[w->n_troubles - 1].at_us <= now_us)
		world_trouble(w, w->trouble[--w->n_troubles].kind);
	if (w->calm_us != 0 && now_us >= w->calm_us) {
		*sim_wire_of(sim) = (struct sim_wire){ .delay_us = 1000 };
		w->control_until_us = 0;
		w->calm_us = 0;
	}
	check_workers(w);
}

static int
by_time(const void *a, const void *b)
{
	const struct trouble *x = a, *y = b;

	return x->at_us < y->at_us ? 1 : x->at_us > y->at_us ? -1 : 0; /* the next one last */
}

static void
world_conf(struct world *w, uint32_t n_workers)
{
	struct sim_config *c = &w->config;

	sim_conf_init(c);
	c->conf.workers = n_workers;
	c->conf.sessions = 64;
	c->conf.memory_mb = 16;
	c->conf.grey_block_s = 5;
	c->conf.errors_max = 1000;
	c->conf.messages_max = 1000;
	c->conf.known_clients_relay = 0;
	c->conf.client_sessions_max = 20;
	c->client_allow = world_one_in(w, 2) ? "198.18.0.0/24" : NULL;
	c->backend[1] = c->backend[0];
	snprintf(c->backend[1].name, sizeof(c->backend[1].name), "mta-2");
	c->backend[1].addr.octet[15] = 4;
	c->backend[1].id = 12;
	c->n_backends = BACKENDS;
	for (uint32_t i = 0; i < 3; i++)
		c->pool[i].backends = 3;
}

static void
world_start(struct world *w, uint64_t seed, bool attacked, bool roomy)
{
	struct sim_conf conf = { .seed = seed, .n_bufs = BUFS };
	uint32_t n_senders;

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->verbose = verbose;
	w->rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 7;
	world_draw(w, 2);
	conf.n_workers = 1 + world_draw(w, 3);
	world_conf(w, conf.n_workers);
	if (attacked) { /* the slots are fewer than what attackers would hold: who gets the rest is the gateway's to see to */
		struct conf_port *p = &w->config.port[0];

		w->config.conf.limits_reserve_percent = 50;
		w->config.client_allow = NULL;
		w->roomy = roomy;
		if (roomy) { /* limits of addresses as they are by default; slots as many as a test may touch */
			w->config.conf.sessions = ROOMY_SLOTS;
			w->config.conf.client_sessions_max = 1000;
			w->config.conf.client_network_sessions_max = 4000;
			w->config.conf.limits_client_rate = 1200;
			w->config.conf.limits_network_rate = 6000;
		}
		BUG_ON(ip_addr_parse("198.19.0.2", &p->addr[p->n_addrs].addr) != 0);
		p->addr[p->n_addrs++].prefix_bits = 96 + 16;
	}
	conf.wire = (struct sim_wire){ .delay_us = 500 };
	conf.parts = sim_conf_parts(&w->config);
	w->sim = sim_create(&conf);
	w->control.sim = w->sim;
	w->control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
	w->control.ptr = "mail.sender.example";
	for (uint32_t i = 0; i < BACKENDS; i++) {
		static const char *const ip4[] = { "198.18.1.3", "198.18.1.4" }, *const ip6[] = { "2001:db8:0:2::3",
			"2001:db8:0:2::4" };

		model_host_init(&w->backend[i].host, w->sim, 1, ip4[i], ip6[i], seed * 100 + i);
		world_draw_habits(w, &w->backend[i].host);
		w->backend[i].host.listen_port = 25;
	}
	w->n_clients = 1 + world_draw(w, CLIENTS_MAX);
	for (uint32_t i = 0; i < w->n_clients; i++) {
		char ip4[32], ip6[48];

		snprintf(ip4, sizeof(ip4), "198.18.0.%u", 10 + i);
		snprintf(ip6, sizeof(ip6), "2001:db8:0:1::%u", 10 + i);
		model_host_init(&w->client[i], w->sim, 0, ip4, ip6, seed * 100 + 50 + i);
		world_draw_habits(w, &w->client[i]);
		n_senders = 1 + world_draw(w, SENDERS_MAX);
		for (uint32_t k = 0; k < n_senders; k++) {
			struct sender *s = &w->sender[w->n_senders++];

			*s = (struct sender){ .host = &w->client[i],
				.message = w->n_messages,
				.pipelines = world_one_in(w, 2),
				.half_closes = world_one_in(w, 3),
				.again_us = sim_now_us(w->sim) + 2 * SECOND + world_draw(w, 10 * SECOND) };
			w->n_messages += 1 + world_draw(w, 2);
			s->messages_end = w->n_messages;
		}
	}
	for (uint32_t i = 0; i < CLIENTS_MAX; i++)
		w->client[i].trace = verbose;
	for (uint32_t i = 0; i < BACKENDS; i++)
		w->backend[i].host.trace = verbose;
	w->n_troubles = world_draw(w, ARRAY_LEN(w->trouble));
	for (uint32_t i = 0; i < w->n_troubles; i++)
		w->trouble[i] = (struct trouble){ sim_now_us(w->sim) + world_draw(w, 90 * SECOND),
			world_draw(w, 2) == 0 ? T_WIRE : world_draw(w, T_N) };
	qsort(w->trouble, w->n_troubles, sizeof(w->trouble[0]), by_time);
	w->calm_us = sim_now_us(w->sim) + 180 * SECOND;
	if (world_one_in(w, 2))
		world_draw_wire(w);
	sim_on_step(w->sim, step, w);
}

static uint32_t
connections(const struct world *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->config.conf.workers; i++)
		n += tcp_n_conns(sim_worker(w->sim, i)->tcp);
	return n;
}

static void
world_end(struct world *w)
{
	uint64_t frames, steps;
	uint32_t sessions = 0, tries;

	if (!sim_until(w->sim, 7200 * SECOND, world_all_done, w)) {
		for (uint32_t i = 0; i < w->n_senders; i++)
			if (!w->sender[i].done || w->sender[i].conn != NULL)
				world_die("sender %u hangs in stage %u with message %u after %u tries, last reply: %s",
					i, w->sender[i].stage, w->sender[i].message, w->sender[i].tries,
					w->sender[i].reply);
	}
	if (w->attack != A_NONE)
		world_attack_judge(w);
	for (uint32_t i = 0; i < w->n_messages; i++)
		if (!w->accepted[i] || w->delivered[i] == 0)
			world_die("message %u: accepted %d, delivered %u", i, w->accepted[i], w->delivered[i]);
	/* every limit of a waiting state passes */
	sim_run(w->sim, 1000 * SECOND);
	frames = sim_frames(w->sim);
	steps = sim_steps(w->sim);
	sim_run(w->sim, 300 * SECOND);
	/* ten probes of each backend, at thirty frames each at most, and neighbours refreshed */
	if (sim_frames(w->sim) - frames > 1500)
		world_die("an idle gateway and its peers say %llu frames in five minutes",
			(unsigned long long)(sim_frames(w->sim) - frames));
	if (sim_steps(w->sim) - steps > 20000)
		world_die("an idle gateway wakes %llu times in five minutes",
			(unsigned long long)(sim_steps(w->sim) - steps));
	for (uint32_t i = 0; i < w->config.conf.workers; i++)
		sessions += worker_sessions(sim_worker(w->sim, i));
	if (sessions != 0)
		world_die("%u sessions are left", sessions);
	for (tries = 0; tries < 1000 && (connections(w) != 0 || sim_bufs_in_use(w->sim) != 0); tries++)
		sim_step(w->sim, 20000); /* a probe is under way */
	if (tries == 1000)
		world_die("%u connections and %u buffers are left", connections(w), sim_bufs_in_use(w->sim));
	for (uint32_t i = 0; i < w->n_clients; i++)
		model_host_fini(&w->client[i]);
	for (uint32_t i = 0; i < BACKENDS; i++)
		model_host_fini(&w->backend[i].host);
	sim_destroy(w->sim);
	w->sim = NULL;
}

int
main(int argc, char **argv)
{
	static struct world w;
	uint64_t first = 1, count = 20, messages = 0;
	bool attacks = false, roomy = false;
	uint32_t only = A_NONE;

	program = argv[0];
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0) {
			verbose = true;
		} else if (strcmp(argv[i], "--attacks") == 0) {
			attacks = true;
		} else if (strcmp(argv[i], "--roomy") == 0) {
			roomy = true;
		} else if (i + 1 < argc && strcmp(argv[i], "--only") == 0) { /* 1 to A_N - 1, as world.h has them */
			only = (uint32_t)strtoul(argv[++i], NULL, 10);
		} else if (i + 1 < argc && strcmp(argv[i], "--first") == 0) {
			first = strtoull(argv[++i], NULL, 10);
		} else if (i + 1 < argc && strcmp(argv[i], "--count") == 0) {
			count = strtoull(argv[++i], NULL, 10);
		} else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) {
			first = strtoull(argv[++i], NULL, 10);
			count = 1;
		} else {
			fprintf(stderr,
				"usage: %s [--first N] [--count N] [--seed N] [--attacks [--roomy] [--only KIND]] "
				"[--verbose]\n",
				argv[0]);
			return 2;
		}
	}
	current = &w;
	signal(SIGABRT, on_abort);
	/* one world after another in the same pages */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	for (uint64_t seed = first; seed < first + count; seed++) {
		for (enum attack a = attacks ? A_SYNS : A_NONE; a < (attacks ? A_N : A_SYNS); a++) {
			if (only != A_NONE && a != only)
				continue;
			world_start(&w, seed, attacks, roomy);
			if (attacks)
				world_attack_start(&w, a, seed);
			world_end(&w);
			messages += w.n_messages;
		}
	}
	printf("%llu worlds, %llu messages, all delivered\n", (unsigned long long)count, (unsigned long long)messages);
	return 0;
}
