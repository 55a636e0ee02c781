/*
 * test_tcp_pair.c - two endpoints back to back: every octet arrives, over clean and over bad wires.
 *
 * The seed of a random wire is printed; GREYLINE_SEED=n replays from there, GREYLINE_SEEDS=n says how many.
 */
#include <stdlib.h>

#include "tests/check.h"
#include "tests/helpers/tcp_pair.h"

struct row {
	const char *label;
	struct wire_conf wire;
	uint64_t up, down; /* octets from the client, from the server */
	uint32_t piece_max, read_max;
	bool v6;
	uint16_t mtu;
};

static uint64_t
number_from_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static void
dispatch(struct tcp_pair *p, struct stream_app app[2])
{
	for (int e = 0; e < 2; e++) {
		uint32_t events;
		struct tcp_conn *c;
		bool told = false;

		while ((c = tcp_ready(p->end[e].tcp, &events)) != NULL) {
			if ((events & TCP_EV_ACCEPTED) != 0) {
				CHECK_TRUE("one connection", app[e].c == NULL);
				CHECK_EQ("tag", tcp_conn_tag(c), 5);
				app[e].c = c;
			}
			CHECK_TRUE("event of our connection", app[e].c == c);
			stream_app_turn(&app[e], events);
			told = true;
		}
		/* a slow reader goes on by itself */
		if (!told && app[e].c != NULL && app[e].read_max_octets != 0 && tcp_readable_octets(app[e].c) > 0)
			stream_app_turn(&app[e], 0);
	}
}

/* What each end thinks, for the message of a run that stands still. */
static void
print_end(const char *label, const struct stream_app *a)
{
	const struct tcp_conn *c = a->c;

	if (c == NULL)
		return;
	print_error("%s: %s events 0x%x una %u nxt %u max %u end %u wnd %u cwnd %u ssthresh %u timer %u recovery %d "
		    "dupacks %u readable %u "
		    "offered %u ooo %u written %llu\n",
		label, tcp_state_name(c->state), a->events_seen, c->snd_una - c->iss, c->snd_nxt - c->iss,
		c->snd_max - c->iss, c->snd_end - c->iss, c->snd_wnd, c->cwnd, c->ssthresh, c->timer_kind,
		c->in_recovery, c->dupacks, c->rcv_readable, c->rcv_adv - c->rcv_nxt, c->n_ooo,
		(unsigned long long)a->written);
}

static uint64_t
run(const struct row *row, uint64_t seed)
{
	struct tcp_conf conf = tcp_end_conf();
	const struct flow *f = row->v6 ? &pair_flow_v6 : &pair_flow_v4;
	struct tcp_pair p;
	struct stream_app app[2];
	uint64_t start_us, took_us;
	int err;

	if (row->mtu != 0)
		conf.mtu = row->mtu;
	tcp_pair_init(&p, &conf, &conf, &row->wire, seed, 4096);
	CHECK_EQ("listen", tcp_listen(p.end[1].tcp, &f->remote, f->remote_port, 5), 0);
	for (int e = 0; e < 2; e++)
		app[e] = (struct stream_app){ .end = &p.end[e],
			.rng = seed + (uint64_t)e,
			.name_out = (uint64_t)e,
			.name_in = (uint64_t)!e,
			.n_write = e == 0 ? row->up : row->down,
			.n_read = e == 0 ? row->down : row->up,
			.piece_max_octets = row->piece_max,
			.read_max_octets = row->read_max,
			.close_when_done = true,
			.no_buf_pm = 300 };
	app[0].c = tcp_connect(p.end[0].tcp, &f->local, &f->remote, f->remote_port, NULL, p.now_us, &err);
	CHECK_TRUE("connect", app[0].c != NULL);
	start_us = p.now_us;
	while (dispatch(&p, app), !(app[0].ended && app[1].ended && app[0].eof && app[1].eof)) {
		const uint64_t limit_us = row->read_max != 0 ? p.now_us + 1000 : start_us + UINT64_C(3600000000);

		if (!tcp_pair_step(&p, limit_us) && row->read_max == 0) {
			print_end("client", &app[0]);
			print_end("server", &app[1]);
			fail_msg("%s, seed %llu: nothing moves: read %llu and %llu", row->label,
				(unsigned long long)seed, (unsigned long long)app[0].read,
				(unsigned long long)app[1].read);
		}
	}
	took_us = p.now_us - start_us;
	for (int e = 0; e < 2; e++) {
		/* at a loss of 15 % the last ACKs may be lost until the other side's TIME-WAIT is over: then an RST ends it */
		const uint32_t ends = TCP_EV_CLOSED | (row->wire.loss_pm >= 150 ? TCP_EV_RESET : 0);

		if ((app[e].events_seen & ends) == 0)
			fail_msg("%s, seed %llu: end %d not closed in order: events 0x%x", row->label,
				(unsigned long long)seed, e, app[e].events_seen);
		CHECK_TRUE("end of file told", app[e].eof);
		CHECK_EQ("octets read", app[e].read, app[e].n_read);
		CHECK_EQ("octets written", app[e].written, app[e].n_write);
		tcp_release(app[e].c);
		CHECK_EQ("connections left", tcp_n_conns(p.end[e].tcp), 0);
	}
	printf("  %-44s seed %llu: %.3f s, %llu segments, %llu lost, rto %llu+%llu fast %llu+%llu\n", row->label,
		(unsigned long long)seed, (double)took_us / 1e6, (unsigned long long)p.n_sent,
		(unsigned long long)p.n_lost, (unsigned long long)tcp_end_count(&p.end[0], CTR_tcp_rto),
		(unsigned long long)tcp_end_count(&p.end[1], CTR_tcp_rto),
		(unsigned long long)tcp_end_count(&p.end[0], CTR_tcp_fast_retransmit),
		(unsigned long long)tcp_end_count(&p.end[1], CTR_tcp_fast_retransmit));
	tcp_pair_fini(&p);
	return took_us;
}

#define MB (UINT64_C(1) << 20)

static void
test_pair_carries_every_octet(void **state)
{
	static const struct row rows[] = {
		{ .label = "clean", .wire = { .delay_us = 5000 }, .up = 3 * MB, .down = 2 * MB, .piece_max = 2000 },
		{ .label = "clean v6",
			.wire = { .delay_us = 5000 },
			.up = 2 * MB,
			.down = 3 * MB,
			.piece_max = 2000,
			.v6 = true },
		{ .label = "nothing but FINs", .wire = { .delay_us = 5000 } },
		{ .label = "small pieces",
			.wire = { .delay_us = 5000 },
			.up = MB / 4,
			.down = MB / 4,
			.piece_max = 60 },
		{ .label = "1 % loss",
			.wire = { .delay_us = 25000, .loss_pm = 10 },
			.up = 3 * MB,
			.down = 3 * MB,
			.piece_max = 2000 },
		{ .label = "5 % loss",
			.wire = { .delay_us = 10000, .loss_pm = 50 },
			.up = MB,
			.down = MB,
			.piece_max = 2000 },
		{ .label = "15 % loss",
			.wire = { .delay_us = 2000, .loss_pm = 150 },
			.up = MB / 16,
			.down = MB / 16,
			.piece_max = 2000 },
		{ .label = "reordered",
			.wire = { .delay_us = 10000, .reorder_pm = 100, .reorder_us = 20000 },
			.up = 2 * MB,
			.down = 2 * MB,
			.piece_max = 2000 },
		{ .label = "everything wrong",
			.wire = { .delay_us = 10000,
				.loss_pm = 20,
				.duplicate_pm = 20,
				.reorder_pm = 50,
				.reorder_us = 30000,
				.corrupt_pm = 10 },
			.up = MB,
			.down = MB,
			.piece_max = 2000 },
		{ .label = "NewReno, 2 % loss",
			.wire = { .delay_us = 10000, .loss_pm = 20, .no_sack = true },
			.up = MB,
			.down = MB,
			.piece_max = 2000 },
		{ .label = "no option at all, 2 % loss",
			.wire = { .delay_us = 10000, .loss_pm = 20, .no_sack = true, .no_ts = true, .no_wscale = true },
			.up = MB,
			.down = MB,
			.piece_max = 2000 },
		{ .label = "no option at all, everything wrong",
			.wire = { .delay_us = 10000,
				.loss_pm = 20,
				.duplicate_pm = 20,
				.reorder_pm = 50,
				.reorder_us = 30000,
				.corrupt_pm = 10,
				.no_sack = true,
				.no_ts = true,
				.no_wscale = true },
			.up = MB / 2,
			.down = MB / 2,
			.piece_max = 2000 },
		{ .label = "SACK without timestamps, 2 % loss",
			.wire = { .delay_us = 10000, .loss_pm = 20, .no_ts = true },
			.up = MB,
			.down = MB,
			.piece_max = 2000 },
		{ .label = "slow readers",
			.wire = { .delay_us = 2000, .loss_pm = 5 },
			.up = MB,
			.down = MB,
			.piece_max = 2000,
			.read_max = 700 },
		{ .label = "mtu 1280 v6",
			.wire = { .delay_us = 2000, .loss_pm = 5 },
			.up = MB,
			.down = MB,
			.piece_max = 2000,
			.v6 = true,
			.mtu = 1280 },
	};

	const uint64_t first = number_from_env("GREYLINE_SEED", 1), n = number_from_env("GREYLINE_SEEDS", 4);

	(void)state;
	for (uint64_t seed = first; seed < first + n; seed++)
		for (size_t i = 0; i < ARRAY_LEN(rows); i++)
			run(&rows[i], seed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pair_carries_every_octet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
