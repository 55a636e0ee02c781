/*
 * test_tcp_parts.c - the parts of the endpoint against plain models: header, scoreboard, out-of-order store, table, pieces.
 */
#include <stdlib.h>

#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_ooo.h"
#include "dataplane/tcp/tcp_proven.h"
#include "tests/check.h"
#include "tests/helpers/tcp_pair.h"
#include "tests/helpers/tcp_peer.h"

static void
test_wire_says_what_it_is_told(void **state)
{
	static const struct {
		const char *label;
		struct tcp_hdr h;
		uint32_t header_octets;
	} rows[] = {
		{ "bare", { .seq = 1, .ack = 2, .flags = TCP_ACK, .wnd = 3, .wscale = TCP_WSCALE_NONE }, 20 },
		{ "timestamps",
			{ .flags = TCP_ACK | TCP_FIN | TCP_PSH,
				.wscale = TCP_WSCALE_NONE,
				.has_ts = true,
				.tsval = 0xfffffff0,
				.tsecr = 7 },
			32 },
		{ "SYN with all",
			{ .seq = 0xffffffff,
				.flags = TCP_SYN,
				.mss = 1460,
				.wscale = 5,
				.sack_permitted = true,
				.has_ts = true,
				.tsval = 1,
				.tsecr = 2 },
			40 },
		{ "SYN without timestamps",
			{ .flags = TCP_SYN | TCP_ACK, .mss = 1440, .wscale = 0, .sack_permitted = true }, 32 },
		{ "SYN with timestamps alone",
			{ .flags = TCP_SYN, .mss = 1440, .wscale = TCP_WSCALE_NONE, .has_ts = true, .tsval = 9 }, 36 },
		{ "SYN with MSS alone", { .flags = TCP_SYN, .mss = 536, .wscale = TCP_WSCALE_NONE }, 24 },
		{ "SACK beside timestamps",
			{ .flags = TCP_ACK,
				.wscale = TCP_WSCALE_NONE,
				.has_ts = true,
				.n_sack = 3,
				.sack = { { 1, 2 }, { 3, 4 }, { 0xfffffff0, 5 } } },
			60 },
		{ "SACK alone",
			{ .flags = TCP_ACK,
				.wscale = TCP_WSCALE_NONE,
				.n_sack = 4,
				.sack = { { 1, 2 }, { 3, 4 }, { 5, 6 }, { 7, 8 } } },
			56 },
	};
	uint8_t octets[TCP_HEADER_MAX_OCTETS];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct tcp_hdr *want = &rows[i].h;
		struct tcp_hdr h;
		const uint32_t n = tcp_hdr_build(octets, &pair_flow_v4, want);

		CHECK_EQ(rows[i].label, n, rows[i].header_octets);
		CHECK_TRUE(rows[i].label, tcp_hdr_parse(&h, octets, n));
		CHECK_EQ(rows[i].label, octets[0] << 8 | octets[1], pair_flow_v4.local_port);
		CHECK_EQ(rows[i].label, octets[2] << 8 | octets[3], pair_flow_v4.remote_port);
		CHECK_EQ(rows[i].label, h.seq, want->seq);
		CHECK_EQ(rows[i].label, h.ack, want->ack);
		CHECK_EQ(rows[i].label, h.wnd, want->wnd);
		CHECK_EQ(rows[i].label, h.flags, want->flags);
		CHECK_EQ(rows[i].label, h.mss, want->mss);
		CHECK_EQ(rows[i].label, h.wscale, want->wscale);
		CHECK_EQ(rows[i].label, h.sack_permitted, want->sack_permitted);
		CHECK_EQ(rows[i].label, h.has_ts, want->has_ts);
		CHECK_EQ(rows[i].label, h.tsval, want->tsval);
		CHECK_EQ(rows[i].label, h.tsecr, want->tsecr);
		CHECK_EQ(rows[i].label, h.n_sack, want->n_sack);
		CHECK_OCTETS(rows[i].label, h.sack, sizeof(h.sack), want->sack, sizeof(want->sack));
		CHECK_EQ(rows[i].label, h.payload_octets, 0);
		CHECK_TRUE(rows[i].label, !h.options_broken);
		/* cut anywhere it does not parse, or parses without reading beyond: the sanitizer sees */
		for (uint32_t cut = 0; cut < n; cut++) {
			uint8_t *exact = malloc(cut > 0 ? cut : 1);

			memcpy(exact, octets, cut);
			CHECK_TRUE(rows[i].label, !tcp_hdr_parse(&h, exact, cut));
			free(exact);
		}
	}
}

/* A scoreboard against one flag for each octet, around the wrap of numbers. */
static void
test_scoreboard_agrees_with_flags(void **state)
{
	enum { SPAN = 4000 };
	static bool known[SPAN];
	struct tcp_scoreboard sb;
	uint64_t rng = 7;

	(void)state;
	for (uint32_t round = 0; round < 300; round++) {
		const uint32_t base = 0xfffffff0u - SPAN / 2 + (uint32_t)(rng_next(&rng) % 1000);
		uint32_t una = 0;

		memset(known, 0, sizeof(known));
		sb.n = 0;
		for (uint32_t step = 0; step < 120; step++) {
			uint32_t a = una + (uint32_t)(rng_next(&rng) % (SPAN - una)),
				 b = a + 1 + (uint32_t)(rng_next(&rng) % 200);
			uint32_t fresh = 0, got, octets = 0, from, start, end;
			bool lost, hole;

			b = MIN(b, SPAN);
			got = tcp_scoreboard_add(&sb, base + a, base + b);
			if (got != UINT32_MAX) {
				for (uint32_t i = a; i < b; i++) {
					fresh += !known[i];
					known[i] = true;
				}
				CHECK_EQ("fresh octets", got, fresh);
			} else {
				CHECK_EQ("full", sb.n, TCP_SACK_RANGES_MAX);
			}
			if (step % 10 == 9 && una < SPAN - 300) {
				una += (uint32_t)(rng_next(&rng) % 200);
				tcp_scoreboard_prune(&sb, base + una);
			}
			for (uint32_t i = una; i < SPAN; i++)
				octets += known[i];
			CHECK_EQ("octets", tcp_scoreboard_octets(&sb, base + una, base + SPAN), octets);
			for (uint32_t i = 1; i < sb.n; i++)
				CHECK_TRUE("sorted and apart", seq_lt(sb.r[i - 1].end, sb.r[i].start));
			/* the first hole from anywhere */
			from = una + (uint32_t)(rng_next(&rng) % (SPAN - una));
			hole = tcp_scoreboard_hole(&sb, base + from, 100, &start, &end, &lost);
			{
				uint32_t at = from, stop, above = 0;

				while (at < SPAN && known[at])
					at++;
				for (stop = at; stop < SPAN && !known[stop]; stop++)
					;
				CHECK_EQ("a hole below the highest", hole, at < SPAN && stop < SPAN);
				if (hole) {
					uint32_t ranges = 0;

					CHECK_EQ("start", start - base, at);
					CHECK_EQ("end", end - base, stop);
					for (uint32_t i = stop; i < SPAN; i++) {
						above += known[i];
						ranges += known[i] && !known[i - 1];
					}
					CHECK_EQ("lost", lost, ranges >= 3 || above > 200);
				}
			}
		}
	}
}

static void
test_scoreboard_pipe(void **state)
{
	struct tcp_scoreboard sb = { .n = 0 };

	(void)state;
	/* 10 segments of 100 in flight; 3rd, 5th and 6th to 8th reported */
	CHECK_EQ("nothing known", tcp_scoreboard_pipe(&sb, 0, 1000, 0, 100), 1000);
	tcp_scoreboard_add(&sb, 200, 300);
	CHECK_EQ("one above is no loss", tcp_scoreboard_pipe(&sb, 0, 1000, 0, 100), 900);
	tcp_scoreboard_add(&sb, 400, 500);
	CHECK_EQ("two neither", tcp_scoreboard_pipe(&sb, 0, 1000, 0, 100), 800);
	tcp_scoreboard_add(&sb, 500, 800);
	/* above [0,200) more than two segments: lost, so it is not in the pipe; the same for [300,400); [800,1000) is */
	CHECK_EQ("lost", tcp_scoreboard_pipe(&sb, 0, 1000, 0, 100), 200);
	CHECK_EQ("sent again", tcp_scoreboard_pipe(&sb, 0, 1000, 100, 100), 300);
}

/* The out-of-order store against a map of octets. */
static void
test_ooo_agrees_with_a_map(void **state)
{
	enum { SPAN = 20000 };
	static uint8_t have[SPAN];
	uint64_t rng = 99;

	(void)state;
	for (uint32_t round = 0; round < 30; round++) {
		struct peer p;
		uint32_t next = 0, read = 0;

		peer_init(&p, &(struct peer_options){ .mss = 1460 }, NULL);
		p.iss = 0xffffffffu - (uint32_t)(rng_next(&rng) % 20000);
		p.snd_nxt = p.iss;
		peer_reach(&p, PEER_ESTABLISHED);
		memset(have, 0, sizeof(have));
		while (next < SPAN) {
			const uint32_t at = next - MIN(next, 50u) + (uint32_t)(rng_next(&rng) % 3000);
			uint32_t len = 1 + (uint32_t)(rng_next(&rng) % (rng_chance(&rng, 500) ? 100 : 1400));
			const struct heard *h;

			if (at >= SPAN)
				continue;
			len = MIN(len, SPAN - at);
			p.snd_nxt = p.iss + 1 + at;
			SAY(&p, .len = len, .keep = true);
			memset(have + at, 1, len);
			while (next < SPAN && have[next])
				next++;
			h = peer_hear_all(&p, NULL);
			CHECK_EQ("in order", p.c->rcv_nxt - p.iss - 1, next);
			if (h->any) {
				CHECK_EQ("acknowledged", h->ack - 1, next);
				for (uint32_t i = 0; i < h->h.n_sack; i++)
					for (uint32_t s = h->h.sack[i].start; s != h->h.sack[i].end; s++)
						CHECK_TRUE("what is reported is held", have[s - p.iss - 1]);
				if (h->h.n_sack > 0 && at > next)
					CHECK_TRUE("the newest block comes first",
						seq_in(p.iss + 1 + at, h->h.sack[0].start, h->h.sack[0].end));
			}
			read += peer_read(&p, read);
		}
		CHECK_EQ("all read", read, SPAN);
		CHECK_EQ("nothing left", p.c->n_ooo, 0);
		peer_hear_all(&p, NULL);
		peer_fini(&p);
	}
}

static void
test_table_holds_what_it_promises(void **state)
{
	enum { N = 10000 };
	static uint64_t hash[N];
	struct tcp_filter filter;
	struct tcp_table t;
	uint64_t rng = 3;

	(void)state;
	CHECK_TRUE("created", tcp_filter_create(&filter, N) && tcp_table_create(&t, N, &filter));
	for (uint32_t i = 0; i < N; i++) {
		hash[i] = rng_next(&rng);
		CHECK_TRUE("inserted", tcp_table_insert(&t, hash[i], i));
	}
	for (uint32_t round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < N; i++) {
			uint32_t at = 0, found;
			bool seen = false;

			while ((found = tcp_table_next(&t, hash[i], &at)) != TCP_TABLE_NONE)
				seen |= found == i;
			CHECK_EQ("found", seen, round == 0 || i % 2 == 1);
		}
		for (uint32_t i = 0; i < N && round == 0; i += 2)
			tcp_table_remove(&t, hash[i], i);
	}
	CHECK_EQ("half is left", t.n, N / 2);
	/* equal hashes: no more than two buckets hold, then a refusal, and nobody is lost */
	tcp_table_destroy(&t);
	CHECK_TRUE("created", tcp_table_create(&t, 64, &filter));
	for (uint32_t i = 0; i < 17; i++)
		CHECK_EQ("two buckets", tcp_table_insert(&t, 12345, i), i < 16);
	for (uint32_t i = 0; i < 16; i++)
		tcp_table_remove(&t, 12345, i);
	CHECK_EQ("empty", t.n, 0);
	tcp_table_destroy(&t);
	tcp_filter_destroy(&filter);
}

/* A filter over two tables: what one of them has it never denies, also where a cell was once full; what none has it mostly does. */
static void
test_filter_never_denies_what_a_table_has(void **state)
{
	enum { N = 4096, SAME = 300 };
	static uint64_t hash[N];
	struct tcp_filter filter;
	struct tcp_table t[2], many;
	uint64_t rng = 5;
	uint32_t wrong = 0;

	(void)state;
	CHECK_TRUE("created", tcp_filter_create(&filter, N) && tcp_table_create(&t[0], N, &filter) &&
				      tcp_table_create(&t[1], N, &filter) && tcp_table_create(&many, N, &filter));
	for (uint32_t i = 0; i < N; i++) {
		hash[i] = rng_next(&rng);
		CHECK_TRUE("inserted", tcp_table_insert(&t[i % 2], hash[i], i));
	}
	for (uint32_t i = 0; i < N; i++)
		CHECK_TRUE("all are known", tcp_filter_may_have(&filter, hash[i]));
	for (uint32_t i = 0; i < N; i += 2)
		tcp_table_remove(&t[0], hash[i], i);
	for (uint32_t i = 0; i < N; i++) {
		CHECK_TRUE("those that are left", i % 2 == 0 || tcp_filter_may_have(&filter, hash[i]));
		wrong += i % 2 == 0 && tcp_filter_may_have(&filter, hash[i]);
	}
	CHECK_TRUE("most that went are not", wrong < N / 4);
	for (uint32_t i = 1; i < N; i += 2)
		tcp_table_remove(&t[1], hash[i], i);
	for (uint32_t i = 0; i < N; i++)
		CHECK_TRUE("none is known", !tcp_filter_may_have(&filter, hash[i]));
	/* more of one cell than it can count: buckets differ, the cell is that of the upper half */
	for (uint32_t i = 0; i < SAME; i++)
		CHECK_TRUE("inserted", tcp_table_insert(&many, UINT64_C(7) << 32 | i, i));
	for (uint32_t i = 0; i < SAME; i++) {
		CHECK_TRUE("known", tcp_filter_may_have(&filter, UINT64_C(7) << 32 | i));
		tcp_table_remove(&many, UINT64_C(7) << 32 | i, i);
	}
	tcp_table_destroy(&t[0]);
	tcp_table_destroy(&t[1]);
	tcp_table_destroy(&many);
	tcp_filter_destroy(&filter);
}

static bool
is_proven(struct tcp_proven *p, struct ip_addr addr)
{
	return tcp_proven_enter(p, &addr);
}

/* Of far more addresses than there is room for: who was proven again lately is there, who was long ago is not. */
static void
test_proven_addresses_give_way_by_age(void **state)
{
	const struct siphash_key secret = { 1, 2 };
	const struct ip_addr once = ip_addr_v4(0x0a000001), again = ip_addr_v4(0x0a000002);
	struct tcp_proven_bucket *bucket, before;
	struct tcp_proven proven;
	uint32_t lately = 0, n = 0;

	(void)state;
	assert_true(tcp_proven_create(&proven, &secret));
	CHECK_TRUE("nobody yet", !tcp_proven_enter(&proven, &once));
	tcp_proven_note(&proven, &once, 0);
	CHECK_TRUE("proven", tcp_proven_enter(&proven, &once));
	for (uint32_t i = 0; i < 100000; i++) {
		const uint64_t now_us = i * UINT64_C(6400000);
		const struct ip_addr other = ip_addr_v4(0x0b000000 + i);

		if (i % 100 == 0)
			tcp_proven_note(&proven, &again, now_us);
		tcp_proven_note(&proven, &other, now_us);
	}
	CHECK_TRUE("gave way", !tcp_proven_enter(&proven, &once));
	tcp_proven_leave(&proven, &once); /* of a slot that is gone: nothing */
	CHECK_TRUE("still there", tcp_proven_enter(&proven, &again));
	for (uint32_t i = 90000; i < 100000; i++)
		lately += is_proven(&proven, ip_addr_v4(0x0b000000 + i));
	CHECK_TRUE("most of those of late, too", lately > 8500);
	tcp_proven_destroy(&proven);

	/* one bucket: full of others that came later, then the first is proven again, then one more comes */
	assert_true(tcp_proven_create(&proven, &secret));
	tcp_proven_note(&proven, &again, 0);
	bucket = proven.bucket;
	while (bucket->slot[0] == 0)
		bucket++;
	while (bucket->slot[TCP_PROVEN_WAYS - 1] == 0) {
		const struct ip_addr other = ip_addr_v4(0x0c000000 + n++);

		tcp_proven_note(&proven, &other, UINT64_C(640000000));
	}
	tcp_proven_note(&proven, &again, UINT64_C(1280000000));
	before = *bucket;
	while (memcmp(&before, bucket, sizeof(before)) == 0) {
		const struct ip_addr other = ip_addr_v4(0x0c000000 + n++);

		tcp_proven_note(&proven, &other, UINT64_C(1920000000));
	}
	CHECK_TRUE("who was proven again is not the one", is_proven(&proven, again));
	tcp_proven_destroy(&proven);
}

/* A crowd of newcomers, time after time: of those whose mail was taken some may go, of the others nobody stays. */
static void
test_proven_addresses_that_are_vouched_for_give_way_last(void **state)
{
	const struct siphash_key secret = { 1, 2 };
	const struct ip_addr stranger = ip_addr_v4(0x0d000001), one = ip_addr_v4(0x0d000002);
	struct tcp_proven proven;
	uint32_t vouched = 0, others = 0;

	(void)state;
	assert_true(tcp_proven_create(&proven, &secret));
	tcp_proven_vouch(&proven, &stranger);
	CHECK_TRUE("nobody is proven by that", !is_proven(&proven, stranger));
	for (uint32_t i = 0; i < 4000; i++) {
		const struct ip_addr good = ip_addr_v4(0x0a000000 + i), other = ip_addr_v4(0x0c000000 + i);

		tcp_proven_note(&proven, &good, 0);
		tcp_proven_vouch(&proven, &good);
		tcp_proven_note(&proven, &other, 0);
	}
	for (uint32_t i = 0; i < 200000; i++) {
		const struct ip_addr new = ip_addr_v4(0x0b000000 + i);

		tcp_proven_note(&proven, &new, i * UINT64_C(640000));
	}
	for (uint32_t i = 0; i < 4000; i++) {
		vouched += is_proven(&proven, ip_addr_v4(0x0a000000 + i));
		others += is_proven(&proven, ip_addr_v4(0x0c000000 + i));
	}
	CHECK_TRUE("who is vouched for", vouched > 3800);
	CHECK_TRUE("who is not", others == 0);
	tcp_proven_note(&proven, &one, UINT64_C(200000) * 640000);
	for (uint32_t i = 0; i < TCP_PROVEN_HANDSHAKES_MAX - 1; i++)
		is_proven(&proven, one);
	CHECK_TRUE("as many handshakes as others have", tcp_proven_may_enter(&proven, &one));
	CHECK_TRUE("one more", is_proven(&proven, one));
	CHECK_TRUE("and no more", !tcp_proven_may_enter(&proven, &one) && !is_proven(&proven, one));
	tcp_proven_leave(&proven, &one);
	CHECK_TRUE("until one is over", tcp_proven_may_enter(&proven, &one));
	tcp_proven_destroy(&proven);
}

/* The usual orders of options are read in whole words, all others octet by octet: both must mean the same. Padding in front makes the second
 * of the first. */
static void
test_wire_reads_usual_options_as_any_others(void **state)
{
	static const struct tcp_hdr usual[] = {
		{ .seq = 1,
			.flags = TCP_SYN,
			.mss = 1460,
			.wscale = 7,
			.sack_permitted = true,
			.has_ts = true,
			.tsval = 9,
			.tsecr = 8 },
		{ .seq = 1,
			.flags = TCP_ACK,
			.wscale = TCP_WSCALE_NONE,
			.has_ts = true,
			.tsval = 0x01020304,
			.tsecr = 0x05060708 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
		uint8_t plain[TCP_HEADER_MAX_OCTETS], padded[TCP_HEADER_MAX_OCTETS];
		const uint32_t n = tcp_hdr_build(plain, &pair_flow_v4, &usual[i]);

		for (uint32_t change = 0; change < 256 * (n - TCP_HEADER_MIN_OCTETS); change++) {
			const uint32_t at = TCP_HEADER_MIN_OCTETS + change / 256;
			const uint8_t was = plain[at];
			struct tcp_hdr a, b;

			plain[at] = (uint8_t)change;
			memcpy(padded, plain, TCP_HEADER_MIN_OCTETS);
			memset(padded + TCP_HEADER_MIN_OCTETS, 1, 4);
			memcpy(padded + TCP_HEADER_MIN_OCTETS + 4, plain + TCP_HEADER_MIN_OCTETS,
				n - TCP_HEADER_MIN_OCTETS);
			padded[12] = (uint8_t)((n + 4) / 4 << 4);
			CHECK_TRUE("parsed", tcp_hdr_parse(&a, plain, n) && tcp_hdr_parse(&b, padded, n + 4));
			b.header_octets = a.header_octets;
			b.payload = a.payload;
			if (memcmp(&a, &b, sizeof(a)) != 0)
				fail_msg("list %zu with octet %u as %u is read in two ways", i, at, plain[at]);
			plain[at] = was;
		}
	}
}

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void); /* of the sanitizer's run time; gcc has no header of it */
#endif

/* Octets the process has from malloc now. Elsewhere large tables are mapped by whole pages of 2 MiB, which tells nothing. */
static uint64_t
allocated_octets(void)
{
#ifdef __SANITIZE_ADDRESS__
	return __sanitizer_get_current_allocated_bytes();
#else
	skip();
	return 0;
#endif
}

static void
test_memory_lists_all_that_is_taken(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	static struct counters counters;
	struct memory_list list = { 0 };
	struct buf_pool *pool = buf_malloc_create(1024);
	const uint64_t before = allocated_octets();
	struct tcp *tcp;
	struct net *net;
	uint64_t taken, said;

	(void)state;
	conf.conns_max = 5000;
	conf.rests_max = 20000;
	conf.rest_user_octets = 100;
	conf.syn_ring_entries = 3000;
	conf.time_wait_max = 7000;
	tcp = tcp_create(&conf, pool, &counters, 0);
	net = net_create(&(struct net_conf){ .n_ports = 0 }, pool, &counters, 1, 0);
	BUG_ON(tcp == NULL || net == NULL);
	taken = allocated_octets() - before;
	tcp_memory(tcp, &list);
	net_memory(&list);
	said = memory_list_octets(&list);
	/* what malloc itself and the alignment of blocks take: a page for each allocation at most */
	CHECK_TRUE("nothing is left out", said <= taken && taken - said < 32 * 4096);
	net_destroy(net);
	tcp_destroy(tcp);
	buf_malloc_destroy(pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_says_what_it_is_told),
		cmocka_unit_test(test_wire_reads_usual_options_as_any_others),
		cmocka_unit_test(test_scoreboard_agrees_with_flags),
		cmocka_unit_test(test_scoreboard_pipe),
		cmocka_unit_test(test_ooo_agrees_with_a_map),
		cmocka_unit_test(test_table_holds_what_it_promises),
		cmocka_unit_test(test_filter_never_denies_what_a_table_has),
		cmocka_unit_test(test_proven_addresses_give_way_by_age),
		cmocka_unit_test(test_proven_addresses_that_are_vouched_for_give_way_last),
		cmocka_unit_test(test_memory_lists_all_that_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
