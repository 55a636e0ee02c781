/*
 * idle.c - what sessions cost that wait for their client before MAIL: octets of each, and what others pay for so many being open.
 *
 * Flow:   two workers of ../instructions/stage.h: one with many idle sessions, one with few;  sessions of the one, of the other, in turns
 * Touches: what stage.h touches; its own resident memory, read from /proc.
 * Keeps:  every idle session has said EHLO (or what its kind says) and acknowledged our reply; the generator's memory is touched before the first is opened, so what
 *         grows is the gateway's. Buffers, blocks and relays held at the end are counted, not supposed.
 *
 * With --drip SECONDS (of virtual time) they are slow ones instead: each sends an octet of a line that never ends every half minute, and
 * comes again when it is told 421; good clients beside them must succeed, and memory and buffers stay bounded.
 *
 * With --kind they are at rest elsewhere: between (after a transaction and RSET), paused (in the greet pause).
 *
 * Exit status 0 when all of them were open, a session costs no more than --at-most octets, and they held no buffer.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/instructions/buf_slab.h"
#include "bench/instructions/stage.h"
#include "dataplane/base/bug.h"

#define LEVELS_MAX     8
#define GREET_PAUSE_MS 30000 /* the longest there is: it must not end before all is measured */
#define FEW            1024u /* sessions open at the worker that is compared with */

struct level {
	uint32_t open;
	uint64_t resident_octets; /* grown since none was open */
};

static const struct gen_conf load_conf = { .template = GEN_greylist,
	.slots = 32,
	.clients = 1024,
	.gateway_ip = 0xc6120002,
	.gateway_port = 25,
	.client_net = 10,
	.timestamps = true,
	.seed = 7 };

static uint64_t
resident_octets(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages = 0, resident = 0;

	if (f == NULL || fscanf(f, "%lu %lu", &pages, &resident) != 2)
		resident = 0;
	if (f != NULL)
		fclose(f);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static struct bench *
open_stage(uint32_t sessions, enum gen_template kind, struct gen **load)
{
	char dir[] = "/tmp/greyline-bench-XXXXXX";
	struct bench *b = calloc(1, sizeof(*b));

	BUG_ON(b == NULL || mkdtemp(dir) == NULL);
	b->verdict = (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
	b->marked = b->timed = true;
	b->greet_pause_ms = kind == GEN_paused ? GREET_PAUSE_MS : 0;
	stage_start(b, dir, sessions, GEN_greylist);
	*load = stage_gen(b, &load_conf);
	BUG_ON(*load == NULL);
	stage_know_clients(b, load_conf.clients);
	stage_run_sessions(b, 4096, false); /* what a session touches is resident from here on */
	return b;
}

static struct gen *
idle_gen(struct bench *b, enum gen_template kind, uint32_t sessions)
{
	struct gen_conf conf = load_conf;
	struct gen *g;

	conf.template = kind;
	conf.client_net = 11;
	conf.clients = GEN_CLIENTS;
	for (conf.slots = 1; conf.slots < sessions; conf.slots *= 2)
		continue;
	g = stage_gen(b, &conf);
	BUG_ON(g == NULL);
	return g;
}

/* CPU time of the worker's turns a session, in nanoseconds, of n sessions. */
static double
cpu_ns_of(struct bench *b, struct gen *load, uint32_t n)
{
	const uint64_t before = b->cpu_ns;

	b->gen = load;
	stage_run_sessions(b, n, true);
	return (double)(b->cpu_ns - before) / n;
}

#define DRIP_EVERY_S    30
#define DRIP_GOOD_PER_S 100
#define DRIP_LOOK_US    1000000 /* of virtual time between two looks */
#define DRIP_TURN_US    1000

/*
 * Every session of b->gen sends an octet of a line that never ends once in every_s, for_s seconds long, and one that is ended comes again; good
 * clients beside them, good_per_s a second. False and said why: more than one in a hundred of those failed, or something grew.
 */
static bool
drip(struct bench *b, struct gen *good, uint32_t every_s, uint32_t for_s, uint32_t good_per_s, uint64_t base_octets,
	uint64_t octets_max)
{
	struct gen *slow = b->gen;
	const uint32_t open = gen_open(slow), bufs = buf_slab_in_use(b->pool);
	const uint64_t end_us = b->now_us + for_s * UINT64_C(1000000), began_us = b->now_us;
	const struct gen_stats before = *gen_stats(good), slow_before = *gen_stats(slow);
	uint64_t dripped = 0, begun = 0, look_us = b->now_us, octets = 0, octets_most = 0, failed, done, busy_octets;
	uint32_t bufs_most = 0, open_least = open;
	struct worker_bounds bounds;

	worker_bounds(b->snapshot.conf, &bounds);
	busy_octets = (uint64_t)MIN(bounds.busy_sessions, open) * bounds.busy_octets;
	b->beside = good;
	while (b->now_us < end_us || gen_open(good) > 0) {
		const uint64_t gone_us = b->now_us - began_us, now_ns = b->now_us * 1000;
		const uint64_t due = gone_us * open / (every_s * UINT64_C(1000000));

		if (b->now_us < end_us) {
			gen_drip(slow, (uint32_t)(due - dripped), now_ns);
			dripped = due;
			gen_start(slow, open - gen_open(slow), now_ns, now_ns);
			if (gone_us * good_per_s / 1000000 > begun)
				begun += gen_start(
					good, (uint32_t)(gone_us * good_per_s / 1000000 - begun), now_ns, now_ns);
		}
		b->now_us += DRIP_TURN_US; /* longer turns than others: minutes have to pass */
		stage_turn(b, false);
		if (b->now_us >= look_us) {
			look_us = b->now_us + DRIP_LOOK_US;
			bufs_most = MAX(bufs_most, buf_slab_in_use(b->pool));
			open_least = MIN(open_least, worker_sessions(b->worker));
			octets_most = MAX(octets_most, resident_octets() - base_octets);
			if (gen_stats(slow)->failed == slow_before.failed)
				octets = octets_most; /* all of them wait; later many are told 421 at a time */
		}
	}
	b->beside = NULL;
	failed = gen_stats(good)->failed - before.failed;
	done = gen_stats(good)->done - before.done;
	printf("{\"dripping\": %u, \"every_s\": %u, \"for_s\": %u, \"octets_sent\": %" PRIu64 ", \"ended\": %" PRIu64
	       ", \"open_least\": %u, \"good_done\": %" PRIu64 ", \"good_failed\": %" PRIu64
	       ", \"octets_each\": %.1f, \"octets_most\": %" PRIu64 ", \"buffers_most\": %u, \"buffers_before\": %u}\n",
		open, every_s, for_s, dripped, gen_stats(slow)->failed - slow_before.failed, open_least, done, failed,
		(double)octets / open, octets_most, bufs_most, bufs);
	if (done == 0 || failed * 100 > done + failed) {
		fprintf(stderr, "idle: %" PRIu64 " of %" PRIu64 " sessions of good clients failed: %s\n", failed,
			done + failed, gen_complaint(good));
		return false;
	}
	if (octets / open > octets_max || octets_most > octets_max * open + busy_octets ||
		bufs_most > bufs + open / 100 + 256) {
		fprintf(stderr,
			"idle: %" PRIu64 " octets a session that drips, %u buffers; %" PRIu64 " and %u are allowed\n",
			octets / open, bufs_most, octets_max, bufs + open / 100 + 256);
		return false;
	}
	return true;
}

static void
usage(void)
{
	fputs("usage: idle [--open N[,N...]] [--pairs N] [--sessions N] [--at-most OCTETS] [--drip SECONDS]\n"
	      "            [--kind idle|between|paused]\n",
		stderr);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "open", required_argument, NULL, 'o' },
		{ "pairs", required_argument, NULL, 'p' }, { "sessions", required_argument, NULL, 'n' },
		{ "at-most", required_argument, NULL, 'm' }, { "drip", required_argument, NULL, 'd' },
		{ "kind", required_argument, NULL, 'k' }, { 0 } };
	struct level level[LEVELS_MAX] = { { .open = 1024 }, { .open = 16384 }, { .open = 131072 },
		{ .open = 1000000 } };
	uint32_t n_levels = 4, drip_s = 0, pairs = 20, sessions = 4000, many_open, bufs;
	struct gen *many_load, *few_load, *idle, *few_idle;
	uint64_t at_most = 512, before, of_each = 0;
	enum gen_template kind = GEN_idle;
	struct bench *many, *few;
	bool ok;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		char *at = optarg;

		switch (option) {
		case 'o':
			for (n_levels = 0; n_levels < LEVELS_MAX && *at != '\0'; n_levels++) {
				level[n_levels].open = (uint32_t)strtoul(at, &at, 10);
				at += *at == ',';
				if (level[n_levels].open <= (n_levels > 0 ? level[n_levels - 1].open : 0))
					usage();
			}
			if (n_levels == 0 || *at != '\0' || level[n_levels - 1].open > GEN_SLOTS_MAX)
				usage();
			break;
		case 'p':
			pairs = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'n':
			sessions = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'd':
			drip_s = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'k':
			if (!gen_template_parse(optarg, &kind) ||
				(kind != GEN_idle && kind != GEN_between && kind != GEN_paused))
				usage();
			break;
		case 'm':
			at_most = strtoull(optarg, NULL, 10);
			break;
		default:
			usage();
		}
	}
	many_open = level[n_levels - 1].open;
	if (drip_s > 0) {
		many_open = level[n_levels - 1].open;
		many = open_stage(many_open * 2 + FEW, GEN_idle, &many_load); /* strangers have half of the slots */
		idle = idle_gen(many, GEN_idle, many_open);
		gen_touch(idle);
		before = resident_octets();
		if (!stage_open_idle(many, many_open)) {
			fprintf(stderr, "idle: %u of %u sessions are open: %s\n", worker_sessions(many->worker),
				many_open, gen_complaint(idle));
			return 1;
		}
		/* twice what an idle one takes: half a line, in units, is kept beside its record */
		ok = drip(many, many_load, DRIP_EVERY_S, drip_s, DRIP_GOOD_PER_S, before, at_most * 2);
		stage_end(many);
		gen_destroy(idle);
		gen_destroy(many_load);
		free(many);
		return ok ? 0 : 1;
	}
	few = open_stage(FEW * 2, kind, &few_load);
	few_idle = idle_gen(few, kind, FEW);
	BUG_ON(!stage_open_idle(few, FEW));
	many = open_stage(many_open + FEW, kind, &many_load);
	idle = idle_gen(many, kind, many_open);
	gen_touch(idle);
	bufs = buf_slab_in_use(many->pool);
	before = resident_octets();
	printf("{\"few\": %u, \"levels\": [", FEW);
	for (uint32_t i = 0; i < n_levels; i++) {
		many->gen = idle;
		if (!stage_open_idle(many, level[i].open - gen_open(idle)) ||
			worker_sessions(many->worker) != level[i].open) {
			fprintf(stderr, "idle: %u of %u sessions are open: %s\n", worker_sessions(many->worker),
				level[i].open, gen_complaint(idle));
			return 1;
		}
		level[i].resident_octets = resident_octets() - before;
		/* of fewer than there may be, tables made for all of them are a share of it */
		of_each = level[i].resident_octets / level[i].open;
		printf("%s{\"open\": %u, \"resident_octets\": %" PRIu64 ", \"octets_a_session\": %.1f, \"pairs\": [",
			i > 0 ? ", " : "", level[i].open, level[i].resident_octets,
			(double)level[i].resident_octets / level[i].open);
		fprintf(stderr, "%u idle sessions: %.1f MB more, %.1f octets each\n", level[i].open,
			(double)level[i].resident_octets / 1e6, (double)level[i].resident_octets / level[i].open);
		for (uint32_t pair = 0; pair < pairs; pair++) {
			double f, m;

			if (pair % 2 == 0) {
				f = cpu_ns_of(few, few_load, sessions);
				m = cpu_ns_of(many, many_load, sessions);
			} else {
				m = cpu_ns_of(many, many_load, sessions);
				f = cpu_ns_of(few, few_load, sessions);
			}
			printf("%s{\"few_cpu_ns\": %.0f, \"many_cpu_ns\": %.0f, \"ratio\": %.4f}", pair > 0 ? ", " : "",
				f, m, m / f);
			fprintf(stderr, "pair %u: %.0f ns a session with %u open, %.0f with %u: %.3f\n", pair + 1, f,
				FEW, m, level[i].open, m / f);
		}
		printf("]}");
	}
	printf("], \"buffers_held\": %u}\n", buf_slab_in_use(many->pool) - bufs);
	if (gen_stats(many_load)->failed + gen_stats(few_load)->failed + gen_stats(idle)->failed +
			gen_stats(few_idle)->failed >
		0) {
		fprintf(stderr, "idle: sessions failed: %s%s\n", gen_complaint(many_load), gen_complaint(few_load));
		return 1;
	}
	if (of_each > at_most || buf_slab_in_use(many->pool) != bufs) {
		fprintf(stderr,
			"idle: %" PRIu64 " octets a session, %u buffers held; %" PRIu64 " and none are allowed\n",
			of_each, buf_slab_in_use(many->pool) - bufs, at_most);
		return 1;
	}
	stage_end(many);
	stage_end(few);
	gen_destroy(idle);
	gen_destroy(few_idle);
	gen_destroy(many_load);
	gen_destroy(few_load);
	free(many);
	free(few);
	return 0;
}
