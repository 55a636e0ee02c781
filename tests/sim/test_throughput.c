/*
 * test_throughput.c - a large transfer of our own TCP in virtual time, over a long wire that loses.
 *
 * usage: test_throughput [MEGABYTES [SEED [LOSS-PM [DELAY-US]]]]     (100 1 10 25000: 1 % lost each way, 50 ms round trip)
 *
 * What a sender in congestion avoidance reaches where each segment is lost with probability p is known: MSS / RTT * sqrt(3 / (2 p)) (Mathis,
 * Semke, Mahdavi, Ott 1997, with an ACK for each segment). It counts no time-out and no slow start, so four fifths of it are asked for. tests/stacks puts the
 * same wire between real devices and compares with Linux.
 */
#include "tests/sim/scene.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define PIECE_OCTETS (1u << 20)
#define SECOND_US    UINT64_C(1000000)
#define SHARE        0.8
#define MSS_OCTETS   1448

static uint64_t
pattern(uint64_t at)
{
	return (at / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

struct transfer {
	struct sim *sim;
	struct sim_conn *from, *to;
	uint64_t given, want, heard;
	uint8_t *piece;
};

/* What has come is what was sent, and makes room. */
static void
take(struct transfer *t)
{
	struct sim_conn *c = t->to;

	for (size_t i = 0; i < c->in_octets; i++, t->heard++)
		if (c->in[i] != (uint8_t)(pattern(t->heard) >> (t->heard % 8 * 8))) {
			fprintf(stderr, "octet %llu is another one\n", (unsigned long long)t->heard);
			exit(1);
		}
	c->in_octets = 0;
}

int
main(int argc, char **argv)
{
	const uint64_t megabytes = argc > 1 ? strtoull(argv[1], NULL, 10) : 100,
		       seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	const uint32_t loss = argc > 3 ? (uint32_t)atoi(argv[3]) : 10;
	const uint64_t delay_us = argc > 4 ? strtoull(argv[4], NULL, 10) : 25000;
	struct sim_conf conf = { .seed = seed, .n_workers = 1, .wire = { .loss = loss, .delay_us = delay_us } };
	struct sim_config config;
	struct sim_host *a, *b;
	struct transfer t = { .want = megabytes * 1000000 };
	uint64_t begin_us;
	double seconds, rate, bound;

	sim_conf_init(&config);
	conf.parts = sim_conf_parts(&config);
	t.sim = sim_create(&conf);
	a = sim_host_add(t.sim, 0, "198.18.0.20", NULL);
	b = sim_host_add(t.sim, 0, "198.18.0.21", NULL);
	BUG_ON(sim_listen(b, "198.18.0.21", 99) != 0);
	t.piece = malloc(PIECE_OCTETS);
	BUG_ON(t.piece == NULL);
	t.from = sim_connect(a, "198.18.0.20", "198.18.0.21", 99);
	begin_us = sim_now_us(t.sim);
	while (t.heard < t.want && sim_now_us(t.sim) - begin_us < 86400 * SECOND_US) {
		if (t.to == NULL)
			t.to = sim_accept(b);
		if (t.to != NULL)
			take(&t);
		if (t.from->connected && t.from->out_octets == 0 && t.given < t.want) {
			const size_t n = MIN(t.want - t.given, (uint64_t)PIECE_OCTETS);

			for (size_t i = 0; i < n; i++)
				t.piece[i] = (uint8_t)(pattern(t.given + i) >> ((t.given + i) % 8 * 8));
			t.given += n;
			sim_send(t.from, t.piece, n);
		}
		sim_step(t.sim, SECOND_US);
	}
	seconds = (double)(sim_now_us(t.sim) - begin_us) / 1e6;
	rate = (double)t.heard / seconds;
	bound = loss > 0 && delay_us > 0 ? MSS_OCTETS / (2.0 * (double)delay_us / 1e6) * sqrt(1500.0 / loss) : 0;
	printf("%.1f MB in %.1f s of virtual time: %.0f octets a second, %.2f of %.0f\n", (double)t.heard / 1e6,
		seconds, rate, bound > 0 ? rate / bound : 0, bound);
	sim_close(t.from);
	if (t.to != NULL)
		sim_close(t.to);
	sim_run(t.sim, 300 * SECOND_US);
	sim_destroy(t.sim);
	free(t.piece);
	return t.heard == t.want && rate >= SHARE * bound ? 0 : 1;
}
