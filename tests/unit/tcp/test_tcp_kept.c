/*
 * test_tcp_kept.c - what the next life of an endpoint goes on from, and a peer in TIME-WAIT that judges it as Linux does.
 */
#include <string.h>

#include "dataplane/tcp/tcp_kept.h"
#include "tests/check.h"
#include "tests/helpers/tcp_end.h"

#define TIME_WAIT_US UINT64_C(60000000)
#define START_US     UINT64_C(5000000)

static const uint8_t random_a[TCP_KEPT_RANDOM_OCTETS] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 0,
	0, 0x30 };
/* timestamps earlier by a quarter of the circle */
static const uint8_t random_b[TCP_KEPT_RANDOM_OCTETS] = { 91, 92, 93, 94, 95, 96, 97, 98, 99, 90, 81, 82, 83, 84, 85,
	86, 0, 0, 0, 0xf0 };

/* --- what is believed --- */

static void
test_what_a_kill_left_is_gone_on_from(void **state)
{
	static struct tcp_kept k, was;

	(void)state;
	memset(&k, 0, sizeof(k));
	CHECK_TRUE("nothing there", !tcp_kept_begin(&k, random_a, START_US));
	CHECK_EQ("the offset is drawn", k.timestamp_offset, 0x30000000);
	k.worker[0].next[5] = 70;
	k.worker[3].next[5] = 90;
	k.worker[1].next[6] = 7;
	was = k;
	CHECK_TRUE("found", tcp_kept_begin(&k, random_b, START_US));
	CHECK_EQ("offset", k.timestamp_offset, was.timestamp_offset);
	CHECK_TRUE("secret", memcmp(&k.secret, &was.secret, sizeof(k.secret)) == 0);
	for (uint32_t w = 0; w < CONF_WORKERS_MAX; w++) {
		CHECK_EQ("all go on from the furthest", k.worker[w].next[5], 90);
		CHECK_EQ("of each pair", k.worker[w].next[6], 7);
		CHECK_EQ("one nobody used", k.worker[w].next[7], 0);
	}
}

static void
test_damage_is_drawn_anew(void **state)
{
	static struct tcp_kept good, k;
	/* an octet in each field that is believed; the cursor's is its highest: far more connections than there ever were */
	static const size_t at[] = { offsetof(struct tcp_kept, check), offsetof(struct tcp_kept, timestamp_offset),
		offsetof(struct tcp_kept, secret.k0), offsetof(struct tcp_kept, secret.k1) + 7,
		offsetof(struct tcp_kept, isn_offset), offsetof(struct tcp_kept, worker[1].seen_us) + 7,
		offsetof(struct tcp_kept, worker[CONF_WORKERS_MAX - 1].next[TCP_CURSORS_N - 1]) + 7 };

	(void)state;
	memset(&good, 0, sizeof(good));
	tcp_kept_begin(&good, random_a, START_US);
	good.worker[2].next[1] = 12345;
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		k = good;
		((uint8_t *)&k)[at[i]] ^= 0x40;
		CHECK_TRUE("refused", !tcp_kept_begin(&k, random_b, START_US));
		CHECK_EQ("drawn anew", k.timestamp_offset, 0xf0000000);
		CHECK_EQ("no cursor of it is left", k.worker[2].next[1], 0);
		CHECK_TRUE("and sound now", tcp_kept_begin(&k, random_a, START_US));
	}
	memset(&k, 0xa5, sizeof(k));
	CHECK_TRUE("foreign", !tcp_kept_begin(&k, random_b, START_US));
}

/* --- a peer that keeps TIME-WAIT --- */

/* By our port: what tcp_timewait_state_process() of Linux knows of a connection that it closed first. */
static struct {
	uint64_t until_us[65536];
	uint32_t ts_recent[65536], rcv_nxt[65536];
	bool ts; /* takes timestamps */
	uint32_t refused, reused;
} linux_peer;

static const struct flow pair = { .local = { { [10] = 0xff, 0xff, 10, 0, 0, 1 } },
	.remote = { { [10] = 0xff, 0xff, 10, 0, 0, 2 } },
	.remote_port = 25 };

/* A SYN is taken when no timestamp of it is earlier, and its timestamp is later or its number higher. */
static bool
peer_takes(const struct tcp_hdr *syn, uint16_t port, uint64_t now_us)
{
	const int32_t later = (int32_t)(syn->tsval - linux_peer.ts_recent[port]);
	const bool both = linux_peer.ts && syn->has_ts;

	if (now_us >= linux_peer.until_us[port])
		return true;
	linux_peer.reused++;
	if (both && later < 0)
		return false;
	return (both && later > 0) || (int32_t)(syn->seq - linux_peer.rcv_nxt[port]) > 0;
}

static void
hear_last(struct tcp_end *e, struct tcp_hdr *last, struct flow *flow)
{
	static struct wire_seg w;
	uint32_t n = 0;

	for (; tcp_end_output(e, &w); n++) {
		CHECK_TRUE("parsed", tcp_hdr_parse(last, w.octets, w.len_octets));
		*flow = w.flow;
	}
	CHECK_TRUE("something is said", n > 0);
}

static void
peer_says(struct tcp_end *e, const struct flow *ours, const struct tcp_hdr *answered, uint32_t seq, uint8_t flags)
{
	static struct wire_seg w;
	const struct flow theirs = flow_reverse(ours);
	const struct tcp_hdr h = { .seq = seq,
		.ack = answered->seq + tcp_hdr_seg_len(answered),
		.flags = flags,
		.wnd = 60000,
		.wscale = TCP_WSCALE_NONE,
		.mss = (flags & TCP_SYN) != 0 ? 1460 : 0,
		.has_ts = linux_peer.ts,
		.tsval = (uint32_t)(e->now_us / 1000) + 99,
		.tsecr = answered->tsval };

	wire_seg_build(&w, &theirs, &h);
	tcp_end_input(e, &w, true);
}

static uint32_t
events_of(struct tcp_end *e)
{
	uint32_t all = 0, some;

	while (tcp_ready(e->tcp, &some) != NULL)
		all |= some;
	return all;
}

/* Opens a connection that the peer closes first, so that TIME-WAIT is the peer's. */
static void
one_connection(struct tcp_end *e)
{
	struct tcp_hdr h;
	struct flow flow;
	int err = 0;
	struct tcp_conn *c = tcp_connect(e->tcp, &pair.local, &pair.remote, pair.remote_port, NULL, e->now_us, &err);

	CHECK_TRUE("a port is found", c != NULL);
	hear_last(e, &h, &flow);
	CHECK_EQ("SYN", h.flags, TCP_SYN);
	if (!peer_takes(&h, flow.local_port, e->now_us)) {
		linux_peer.refused++;
		tcp_abort(c);
		tcp_release(c);
		return;
	}
	peer_says(e, &flow, &h, 1000, TCP_SYN | TCP_ACK);
	hear_last(e, &h, &flow);
	CHECK_TRUE("connected", (events_of(e) & TCP_EV_CONNECTED) != 0);
	peer_says(e, &flow, &h, 1001, TCP_FIN | TCP_ACK);
	tcp_close(c);
	hear_last(e, &h, &flow);
	CHECK_TRUE("FIN", (h.flags & TCP_FIN) != 0);
	linux_peer.until_us[flow.local_port] = e->now_us + TIME_WAIT_US;
	linux_peer.ts_recent[flow.local_port] = h.tsval;
	linux_peer.rcv_nxt[flow.local_port] = h.seq + 1;
	peer_says(e, &flow, &h, 1002, TCP_ACK);
	CHECK_TRUE("closed", (events_of(e) & TCP_EV_CLOSED) != 0);
	tcp_release(c);
}

/* n connections, one each step_us, by a life of its own: with tables, cookies and hashes of its own secret. */
static uint64_t
live(struct tcp_kept *kept, uint64_t now_us, uint32_t n, uint32_t step_us)
{
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e;

	conf.time_wait_max = 65536;
	conf.kept = kept;
	conf.secret.k0 = now_us;
	tcp_end_init(&e, &conf, 64, now_us);
	for (uint32_t i = 0; i < n; i++) {
		one_connection(&e);
		e.now_us += step_us;
	}
	now_us = e.now_us;
	tcp_end_fini(&e);
	return now_us + 1000;
}

static void
test_a_peer_in_time_wait_takes_the_next_life(void **state)
{
	static const struct {
		bool ts, keeps;
		uint32_t first, then, step_us;
	} rows[] = {
		{ true, true, 45000, 45000, 50 },   /* ports are taken again: by their timestamps */
		{ false, true, 30000, 15000, 400 }, /* none is taken again: ports go on */
		{ true, false, 45000, 2000, 50 },   /* the referee is awake: all drawn anew meets refusals */
		{ false, false, 30000, 2000, 400 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static struct tcp_kept kept;
		uint64_t now_us;

		memset(&linux_peer, 0, sizeof(linux_peer));
		linux_peer.ts = rows[i].ts;
		memset(&kept, 0, sizeof(kept));
		tcp_kept_begin(&kept, random_a, START_US);
		now_us = live(&kept, START_US, rows[i].first, rows[i].step_us);
		CHECK_EQ("none refused in the first life", linux_peer.refused, 0);
		CHECK_EQ("no port comes again before all others", linux_peer.reused, 0);
		if (!rows[i].keeps)
			memset(&kept, 0, sizeof(kept));
		CHECK_EQ("found", tcp_kept_begin(&kept, random_b, now_us), rows[i].keeps);
		live(&kept, now_us, rows[i].then, rows[i].step_us);
		if (rows[i].keeps) {
			CHECK_EQ("none refused", linux_peer.refused, 0);
			CHECK_EQ("taken again", linux_peer.reused, rows[i].ts ? 45000 + 45000 - 49152 : 0);
		} else {
			CHECK_TRUE("refused", linux_peer.refused > 200);
		}
	}
}

/*
 * A file that outlives a boot: the clock begins anew, the backend has its TIME-WAIT for a while yet. With timestamps, and by numbers alone where
 * its ports come again; each boot after a longer or shorter life than the one before.
 */
static void
test_a_boot_takes_no_time_back(void **state)
{
	static const uint64_t after_boot_us[] = { 3000000, 1000000, UINT64_C(90000000000), 2000000 };

	(void)state;
	for (int ts = 0; ts < 2; ts++) {
		static struct tcp_kept kept;
		uint64_t now_us = UINT64_C(40) * 86400 * 1000000;

		memset(&linux_peer, 0, sizeof(linux_peer));
		linux_peer.ts = ts != 0;
		memset(&kept, 0, sizeof(kept));
		tcp_kept_begin(&kept, random_a, now_us);
		now_us = live(&kept, now_us, 30000, 50);
		for (size_t i = 0; i < sizeof(after_boot_us) / sizeof(after_boot_us[0]); i++) {
			const uint64_t last_us = now_us;

			now_us = after_boot_us[i];
			for (size_t p = 0; p < sizeof(linux_peer.until_us) / sizeof(linux_peer.until_us[0]); p++)
				if (linux_peer.until_us[p] > last_us) /* what is left of its minute is left */
					linux_peer.until_us[p] = linux_peer.until_us[p] - last_us + now_us;
				else
					linux_peer.until_us[p] = 0;
			CHECK_TRUE("found", tcp_kept_begin(&kept, random_b, now_us));
			now_us = live(&kept, now_us, 30000, ts ? 50 : 400);
			CHECK_EQ(ts ? "none refused by its timestamp" : "none refused by its number",
				linux_peer.refused, 0);
		}
		CHECK_TRUE("ports were taken again", linux_peer.reused > (ts ? 80000 : 20000));
	}
}

/* A clock that only goes on changes nothing. */
static void
test_a_clock_that_goes_on_moves_no_offset(void **state)
{
	static struct tcp_kept kept;
	uint64_t now_us;

	(void)state;
	memset(&linux_peer, 0, sizeof(linux_peer));
	memset(&kept, 0, sizeof(kept));
	tcp_kept_begin(&kept, random_a, START_US);
	now_us = live(&kept, START_US, 10, 50);
	CHECK_TRUE("seen", kept.worker[0].seen_us >= START_US && kept.worker[0].seen_us <= now_us);
	CHECK_TRUE("found", tcp_kept_begin(&kept, random_b, now_us));
	CHECK_EQ("timestamps", kept.timestamp_offset, 0x30000000);
	CHECK_EQ("numbers", kept.isn_offset, 0);
}

/* From one local to one backend address: each port is taken again 2.5 s later, within the peer's minute. */
static void
test_twenty_thousand_connections_a_second(void **state)
{
	static struct tcp_kept kept;

	(void)state;
	memset(&linux_peer, 0, sizeof(linux_peer));
	linux_peer.ts = true;
	memset(&kept, 0, sizeof(kept));
	tcp_kept_begin(&kept, random_a, START_US);
	live(&kept, START_US, 6 * 20000, 50);
	CHECK_EQ("none refused", linux_peer.refused, 0);
	CHECK_EQ("taken again", linux_peer.reused, 6 * 20000 - 49152);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_kill_left_is_gone_on_from),
		cmocka_unit_test(test_damage_is_drawn_anew),
		cmocka_unit_test(test_a_peer_in_time_wait_takes_the_next_life),
		cmocka_unit_test(test_a_boot_takes_no_time_back),
		cmocka_unit_test(test_a_clock_that_goes_on_moves_no_offset),
		cmocka_unit_test(test_twenty_thousand_connections_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
