/*
 * instructions.c - what a session costs a worker, for callgrind to count: stage.h has the worker and its generator.
 *
 * Flow:   options -> stage_start() -> warm-up -> measured sessions or SYNs -> one line
 *
 * Exit status 0 and one line of JSON when every session went exactly as the template says, with 8 segments in and 7 out.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/instructions/stage.h"
#include "dataplane/base/bug.h"

#define WARM_SESSIONS UINT64_C(512)
#define RING_SYNS     8192 /* more than are remembered: from then on answers are pure cookies, as in a flood */

static void
usage(void)
{
	fputs("usage: instructions --layout | [--sessions N] [--slots N] [--entries N] [--idle N] [--flood N] "
	      "[--first-syns] "
	      "[--template T] "
	      "[--message OCTETS] "
	      "[--dns cached|asked|dead] "
	      "[--pages huge|table|plain] "
	      "[--no-timestamps]\n",
		stderr);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "sessions", required_argument, NULL, 'n' },
		{ "slots", required_argument, NULL, 's' }, { "template", required_argument, NULL, 't' },
		{ "dns", required_argument, NULL, 'd' }, { "message", required_argument, NULL, 'm' },
		{ "no-timestamps", no_argument, NULL, 'p' }, { "idle", required_argument, NULL, 'i' },
		{ "flood", required_argument, NULL, 'f' }, { "first-syns", no_argument, NULL, 'r' },
		{ "layout", no_argument, NULL, 'l' }, { "entries", required_argument, NULL, 'e' },
		{ "pages", required_argument, NULL, 'g' }, { 0 } };
	static struct bench b;
	char dir[] = "/dev/shm/greyline-bench-XXXXXX"; /* memory, as the data plane's segment is */
	struct gen_conf gc = { .template = GEN_greylist,
		.slots = 32,
		.clients = 1024,
		.gateway_ip = 0xc6120002,
		.gateway_port = 25,
		.client_net = 10,
		.timestamps = true,
		.seed = 7 };
	uint64_t sessions = 2000, warm, failed, in, out;
	uint32_t idle = 0, flood = 0, warm_syns = RING_SYNS;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'n':
			sessions = strtoull(optarg, NULL, 10);
			break;
		case 's':
			gc.slots = (uint32_t)strtoul(optarg, NULL, 10);
			if (gc.slots > STAGE_SLOTS_MAX) {
				fprintf(stderr, "instructions: --slots %s: at most %u\n", optarg, STAGE_SLOTS_MAX);
				return 2;
			}
			break;
		case 'e': /* of the verdict table: in the caches by default, in memory where millions of senders are known */
			b.entries = strtoull(optarg, NULL, 10);
			break;
		case 'g': /* of 2 MiB: for the table and the worker's own memory, for the table alone, for neither */
			if (strcmp(optarg, "huge") != 0 && strcmp(optarg, "table") != 0 && strcmp(optarg, "plain") != 0)
				usage();
			b.plain_table = strcmp(optarg, "plain") == 0;
			b.plain_worker = strcmp(optarg, "huge") != 0;
			break;
		case 'f':
			flood = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'r': /* while the ring still has room for them */
			warm_syns = 512;
			break;
		case 'i':
			idle = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 't':
			if (!gen_template_parse(optarg, &gc.template))
				usage();
			break;
		case 'd':
			b.dns = strcmp(optarg, "asked") == 0  ? DNS_ASKED
			        : strcmp(optarg, "dead") == 0 ? DNS_DEAD
			                                      : DNS_CACHED;
			break;
		case 'm':
			gc.message_octets = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			gc.timestamps = false;
			break;
		case 'l': /* how the worker was laid out: dataplane/train.py */
			puts(GREYLINE_LAYOUT);
			return 0;
		default:
			usage();
		}
	}
	warm = stage_relays(gc.template) ? MIN(sessions, WARM_SESSIONS) : MAX(WARM_SESSIONS, gc.slots * UINT64_C(2));
	BUG_ON(mkdtemp(dir) == NULL);
	b.verdict = (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
	if (gc.template == GEN_listed) {
		b.verdict.score = 10;
		b.verdict.zone = 0;
	}
	b.n_bufs = MAX(gc.slots * STAGE_BUFS_EACH, (uint32_t)STAGE_BUFS);
	stage_start(&b, dir, MAX(gc.slots * 2, 1024u) + idle, gc.template);
	if (stage_gen(&b, &gc) == NULL)
		usage();
	if (stage_relays(gc.template) && !stage_wait_backend(&b)) {
		fprintf(stderr, "instructions: the backend was not found up\n");
		return 1;
	}
	if (b.dns == DNS_CACHED)
		stage_know_clients(&b, gc.clients);
	if (idle > 0) { /* from addresses of their own */
		struct gen_conf ic = gc;
		struct gen *load = b.gen;

		ic.template = GEN_idle;
		ic.client_net = 11;
		for (ic.slots = 1; ic.slots < idle; ic.slots *= 2)
			continue;
		ic.clients = GEN_CLIENTS;
		if (stage_gen(&b, &ic) == NULL || !stage_open_idle(&b, idle) || worker_sessions(b.worker) != idle) {
			fprintf(stderr, "instructions: %u of %u idle sessions are open: %s\n",
				worker_sessions(b.worker), idle, gen_complaint(b.gen));
			return 1;
		}
		b.gen = load;
	}
	if (flood > 0) { /* SYNs from everywhere, nobody behind them */
		for (uint32_t i = 0; i < warm_syns + flood; i += 32) {
			gen_flood(b.gen, 32, 100, b.now_us * 1000);
			stage_turn(&b, i >= warm_syns);
		}
		printf("{\"spoofed_syns\": %u, \"answered\": %" PRIu64 ", \"tsc_cycles_a_syn\": %.0f}\n", flood,
			gen_stats(b.gen)->flood_answered, (double)b.cycles / flood);
		return gen_stats(b.gen)->flood_answered == warm_syns + flood ? 0 : 1;
	}
	stage_run_sessions(&b, warm, false);
	failed = gen_stats(b.gen)->failed;
	in = gen_stats(b.gen)->segments_out;
	out = gen_stats(b.gen)->segments_in;
	stage_run_sessions(&b, sessions, true);
	failed += gen_stats(b.gen)->failed - failed;
	in = gen_stats(b.gen)->segments_out - in;
	out = gen_stats(b.gen)->segments_in - out;
	printf("{\"template\": \"%s\", \"sessions\": %" PRIu64 ", \"slots\": %u, \"idle\": %u, \"turns\": %" PRIu64
	       ", \"in\": %.3f, \"out\": %.3f, "
	       "\"frames_in\": %.3f, \"frames_out\": %.3f, \"asked\": %" PRIu64 ", \"failed\": %" PRIu64
	       ", \"tsc_cycles_a_session\": %.0f}\n",
		gen_template_name(gc.template), sessions, gc.slots, idle, b.turns, (double)in / (double)sessions,
		(double)out / (double)sessions, (double)b.frames_in / (double)sessions,
		(double)b.frames_out / (double)sessions, b.asked, failed, (double)b.cycles / (double)sessions);
	if (failed != 0 || (!stage_relays(gc.template) && (in != 8 * sessions || out != 7 * sessions))) {
		fprintf(stderr,
			"instructions: not 8 segments in and 7 out, or failed sessions (%" PRIu64
			" frames found no room): %s\n",
			b.in_full, gen_complaint(b.gen));
		return 1;
	}
	if (gc.template == GEN_data && gen_stats(b.gen)->backend_messages != sessions + warm) {
		fprintf(stderr, "instructions: the backend has %" PRIu64 " messages of %" PRIu64 "\n",
			gen_stats(b.gen)->backend_messages, sessions + warm);
		return 1;
	}
	stage_end(&b);
	gen_destroy(b.gen);
	return 0;
}
