/*
 * test_reasm.c - fragments: order, overlap, caps, time; and whole frames through net_input().
 */
#include "tests/unit/net/net_wire.h"

#include "dataplane/net/reasm.h"

struct reasm_rig {
	struct buf_pool *pool;
	struct reasm *r;
	struct reasm_whole whole;
};

static void
up(struct reasm_rig *g)
{
	g->pool = buf_malloc_create(1024);
	g->r = reasm_create(g->pool);
}

static void
down(struct reasm_rig *g)
{
	reasm_destroy(g->r);
	buf_malloc_destroy(g->pool);
}

/* A fragment of datagram id whose octet at place i is i % 251. */
static enum reasm_result
add(struct reasm_rig *g, uint32_t id, uint32_t offset, uint32_t len, bool more, uint64_t now_us)
{
	uint8_t *data, stack[65536];
	struct buf *buf = len <= BUF_ROOM_MAX_OCTETS ? buf_alloc(g->pool, len, &data) : NULL;
	struct ip_packet p = { .is_v4 = true,
		.src = addr_of("203.0.113.9"),
		.dst = addr_of("198.18.0.2"),
		.proto = 6,
		.frag_id = id,
		.is_fragment = true,
		.more = more,
		.frag_offset_octets = offset,
		.payload_octets = len };
	enum reasm_result result;

	if (buf == NULL)
		data = stack;
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)((offset + i) % 251);
	p.payload = data;
	result = reasm_add(g->r, &p, buf, &g->whole, now_us);
	buf_unref(g->pool, buf);
	return result;
}

static void
check_whole(struct reasm_rig *g, const char *label, uint32_t octets)
{
	uint32_t at = 0;

	CHECK_EQ(label, g->whole.octets, octets);
	for (uint32_t i = 0; i < g->whole.n_views; i++) {
		for (uint32_t k = 0; k < g->whole.view[i].len_octets; k++, at++)
			if (g->whole.view[i].ptr[k] != at % 251)
				fail_msg("%s: octet %u differs", label, at);
		buf_unref(g->pool, g->whole.view[i].buf);
	}
	CHECK_EQ(label, at, octets);
	CHECK_EQ(label, reasm_pinned_octets(g->r), 0);
}

static void
test_reasm_in_any_order(void **state)
{
	static const uint8_t order[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 },
		{ 2, 1, 0 } };
	static const struct {
		uint32_t offset, len;
		bool more;
	} piece[3] = { { 0, 1480, true }, { 1480, 1480, true }, { 2960, 7, false } };
	struct reasm_rig g;

	(void)state;
	for (uint32_t i = 0; i < 6; i++) {
		up(&g);
		for (uint32_t k = 0; k < 3; k++) {
			const uint8_t n = order[i][k];

			CHECK_EQ("piece", add(&g, 1, piece[n].offset, piece[n].len, piece[n].more, 0),
				k < 2 ? REASM_HELD : REASM_DONE);
		}
		check_whole(&g, "whole", 2967);
		down(&g);
	}
}

static void
test_reasm_overlap_drops_the_datagram_and_its_rest(void **state)
{
	static const struct {
		const char *label;
		uint32_t offset, len;
		bool more;
		enum reasm_result want;
	} rows[] = {
		{ "the same once more is nothing", 800, 800, true, REASM_HELD },
		{ "into its head", 792, 16, true, REASM_DROPPED },
		{ "into its tail", 1592, 16, true, REASM_DROPPED },
		{ "inside", 808, 8, true, REASM_DROPPED },
		{ "around", 792, 816, true, REASM_DROPPED },
		{ "same place, shorter", 800, 8, true, REASM_DROPPED },
		{ "same place, longer", 800, 808, true, REASM_DROPPED },
		{ "an end before what is there", 0, 801, false, REASM_DROPPED },
	};
	struct reasm_rig g;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const bool dead = rows[i].want == REASM_DROPPED;

		up(&g);
		add(&g, 1, 800, 800, true, 0);
		CHECK_EQ(rows[i].label, add(&g, 1, rows[i].offset, rows[i].len, rows[i].more, 0), rows[i].want);
		CHECK_EQ(rows[i].label, reasm_pinned_octets(g.r), dead ? 0 : BUF_ROOM_MAX_OCTETS);
		CHECK_EQ("late fragments find it dead", add(&g, 1, 0, 800, true, 0), dead ? REASM_DROPPED : REASM_HELD);
		CHECK_EQ("late fragments find it dead", add(&g, 1, 1600, 8, false, 0),
			dead ? REASM_DROPPED : REASM_DONE);
		if (!dead)
			check_whole(&g, "whole after a duplicate", 1608);
		down(&g);
	}
}

static void
test_reasm_refuses_what_cannot_be(void **state)
{
	struct reasm_rig g;

	(void)state;
	up(&g);
	CHECK_EQ("empty", add(&g, 1, 8, 0, false, 0), REASM_DROPPED);
	CHECK_EQ("not a multiple of 8", add(&g, 2, 0, 15, true, 0), REASM_DROPPED);
	CHECK_EQ("beyond 65535", add(&g, 3, 65528, 8, false, 0), REASM_DROPPED);
	CHECK_EQ("the last octet", add(&g, 3, 65528, 7, false, 0), REASM_HELD);
	CHECK_EQ("beyond the end", add(&g, 3, 65528, 8, true, 0), REASM_DROPPED);
	add(&g, 4, 800, 8, false, 0);
	CHECK_EQ("another end", add(&g, 4, 1600, 8, false, 0), REASM_DROPPED);
	add(&g, 6, 8, 8, false, 0);
	CHECK_EQ("behind the end, which would make the octets add up", add(&g, 6, 16, 8, true, 0), REASM_DROPPED);
	for (uint32_t i = 0; i < REASM_FRAGS_MAX; i++)
		CHECK_EQ("up to the cap", add(&g, 5, 8 * i, 8, true, 0), REASM_HELD);
	CHECK_EQ("one too many", add(&g, 5, 800, 8, false, 0), REASM_DROPPED);
	down(&g);
}

static void
test_reasm_stays_within_its_memory(void **state)
{
	const uint32_t n_max = REASM_OCTETS_MAX / BUF_ROOM_MAX_OCTETS;
	struct reasm_rig g;

	(void)state;
	up(&g);
	for (uint32_t i = 0; i < n_max + 100; i++) {
		add(&g, i / 4, i % 4 * 8, 8, true, i);
		CHECK_TRUE("pinned", reasm_pinned_octets(g.r) <= REASM_OCTETS_MAX);
	}
	CHECK_EQ("full", reasm_pinned_octets(g.r), REASM_OCTETS_MAX);
	CHECK_EQ("each that made room is told of", reasm_lost(g.r), 100 / 4);
	CHECK_EQ("once", reasm_lost(g.r), 0);
	CHECK_EQ("the oldest went", add(&g, 0, 32, 8, false, n_max + 100), REASM_DROPPED);
	CHECK_EQ("the newest did not", add(&g, (n_max + 99) / 4, 32, 8, false, n_max + 100), REASM_DONE);
	for (uint32_t i = 0; i < g.whole.n_views; i++)
		buf_unref(g.pool, g.whole.view[i].buf);
	/* many datagrams of one fragment: the table is the cap */
	for (uint32_t i = 0; i < REASM_DATAGRAMS_MAX + 50; i++)
		CHECK_EQ("held", add(&g, 100000 + i, 8, 8, true, 1000 + i), REASM_HELD);
	down(&g);
}

static void
test_reasm_forgets_after_its_time(void **state)
{
	struct reasm_rig g;

	(void)state;
	up(&g);
	CHECK_TRUE("nothing is due", reasm_deadline_us(g.r) == UINT64_MAX);
	add(&g, 1, 0, 8, true, US(1));
	add(&g, 2, 0, 8, true, US(2));
	CHECK_EQ("the first is due", reasm_deadline_us(g.r), US(1) + REASM_TIMEOUT_US);
	CHECK_EQ("not yet", reasm_expire(g.r, US(1) + REASM_TIMEOUT_US - 1), 0);
	CHECK_EQ("now", reasm_expire(g.r, US(1) + REASM_TIMEOUT_US), 1);
	CHECK_EQ("then the second", reasm_deadline_us(g.r), US(2) + REASM_TIMEOUT_US);
	CHECK_EQ("begins anew", add(&g, 1, 8, 8, false, US(40)), REASM_HELD);
	down(&g);
}

static void
test_reasm_without_memory(void **state)
{
	struct reasm_rig g;

	(void)state;
	up(&g);
	buf_malloc_fail_at(g.pool, 1); /* the copy of a fragment that lies in no buffer */
	CHECK_EQ("no room", add(&g, 1, 0, 2056, true, 0), REASM_DROPPED);
	CHECK_EQ("pins nothing", reasm_pinned_octets(g.r), 0);
	down(&g);
}

/* ---- through net_input() ---- */

/* A TCP segment of total octets in pieces of at most piece; v6: with fragment headers. */
static uint32_t
fragments(struct wire *out, int v, uint32_t total, uint32_t piece)
{
	static uint8_t t[4096], payload[4096];
	uint32_t n = 0;

	for (uint32_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i % 251);
	wire_tcp(t, v == 4 ? "203.0.113.9" : "2001:db8:77::9", 40000, v == 4 ? "198.18.0.2" : "2001:db8:0:1::2", 25,
		payload, total - 20);
	for (uint32_t at = 0; at < total; at += piece, n++) {
		const uint32_t len = total - at < piece ? total - at : piece;
		const bool more = at + len < total;

		if (v == 4) {
			wire_eth(&out[n], our_mac, peer_mac, 0x0800);
			wire_ip4(&out[n], "203.0.113.9", "198.18.0.2", 6, 77, (uint16_t)((more ? 0x2000 : 0) | at / 8),
				t + at, len);
		} else {
			uint8_t body[2048] = { 6, 0, (uint8_t)(at >> 8), (uint8_t)(at | more), 0, 0, 0, 77 };

			memcpy(body + 8, t + at, len);
			wire_eth(&out[n], our_mac, peer_mac, 0x86dd);
			wire_ip6(&out[n], "2001:db8:77::9", "2001:db8:0:1::2", 44, 60, body, len + 8);
		}
	}
	return n;
}

static void
test_net_input_gives_a_segment_made_whole(void **state)
{
	(void)state;
	for (int v = 4; v <= 6; v += 2) {
		static struct wire w[8];
		struct rig r;
		uint32_t n = fragments(w, v, 1460, 600);

		rig_up(&r, 0, 1);
		for (uint32_t i = n; i-- > 0;) {
			struct net_frame f = { .view = { .ptr = w[i].octet, .len_octets = w[i].len },
				.l4_checksum = 1 };

			CHECK_EQ("piece", net_input(r.net, &f, &r.out, 0), i > 0 ? NET_NONE : NET_SEGMENT);
		}
		CHECK_EQ("length", r.out.seg.tcp.len_octets, 1460);
		CHECK_EQ("ports", r.out.seg.flow.remote_port, 40000);
		CHECK_TRUE("a port's word for one fragment is none for the whole", !r.out.seg.checksum_good);
		CHECK_TRUE("checksum",
			csum_is_good(&r.out.seg.flow.remote, &r.out.seg.flow.local, 6, r.out.seg.tcp.ptr, 1460));
		CHECK_TRUE("lies in the buffer given",
			r.out.reassembled != NULL && r.out.seg.tcp.buf == r.out.reassembled);
		buf_unref(r.pool, r.out.reassembled);
		CHECK_EQ("counted", rig_count(&r, CTR_net_frag_done), 1);
		CHECK_EQ("nothing stays", buf_malloc_in_use(r.pool), 0);
		rig_down(&r);
	}
}

/*
 * Two workers: wherever the fragments arrive, they meet at one worker, and the whole reaches the flow's owner as a frame of its own; no
 * frame crosses more than twice.
 */
static void
test_net_input_fragments_find_the_owner(void **state)
{
	(void)state;
	for (uint32_t arrive = 0; arrive < 16; arrive++) {
		static struct wire w[8], whole;
		struct rig r[2];
		uint32_t n = fragments(w, arrive & 8 ? 6 : 4, 1460, 600), segments = 0;

		assert_int_equal(n, 3);
		rig_up(&r[0], 0, 2);
		rig_up(&r[1], 1, 2);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t at = arrive >> i & 1;
			enum net_result result = rig_feed(&r[at], &w[i], 0, false, 0);

			if (result == NET_REDIRECT && r[at].out.whole.buf == NULL) {
				at = r[at].out.owner;
				result = rig_feed(&r[at], &w[i], 0, true, 0);
			}
			if (result == NET_REDIRECT) {
				CHECK_TRUE("the whole frame", r[at].out.whole.buf != NULL);
				whole.len = 0;
				wire_put(&whole, r[at].out.whole.ptr, r[at].out.whole.len_octets);
				buf_unref(r[at].pool, r[at].out.whole.buf);
				at = r[at].out.owner;
				result = rig_feed(&r[at], &whole, 0, true, 0);
				CHECK_EQ("an ordinary frame there", result, NET_SEGMENT);
			}
			if (result == NET_SEGMENT) {
				segments++;
				CHECK_EQ("at the owner", at, flow_owner(&r[0].steering, &r[at].out.seg.flow));
				CHECK_EQ("length", r[at].out.seg.tcp.len_octets, 1460);
				if (r[at].out.reassembled != NULL)
					buf_unref(r[at].pool, r[at].out.reassembled);
			}
		}
		CHECK_EQ("exactly once", segments, 1);
		rig_down(&r[0]);
		rig_down(&r[1]);
	}
}

static void
test_net_input_answers_a_large_echo(void **state)
{
	static uint8_t m[8 + 4000] = { 8, 0, 0, 0, 1, 2, 0, 1 };
	static uint8_t back[8 + 4000];
	struct wire w;
	uint32_t got = 0, n = 0;
	struct rig r;

	(void)state;
	for (uint32_t i = 8; i < sizeof(m); i++)
		m[i] = (uint8_t)(i * 7);
	wire_icmp_sum(m, sizeof(m), NULL, NULL);
	rig_up(&r, 0, 1);
	for (uint32_t at = 0; at < sizeof(m); at += 1000) {
		const uint32_t len = sizeof(m) - at < 1000 ? (uint32_t)sizeof(m) - at : 1000;

		wire_eth(&w, our_mac, peer_mac, 0x0800);
		wire_ip4(&w, "203.0.113.9", "198.18.0.2", 1, 9,
			(uint16_t)((at + len < sizeof(m) ? 0x2000 : 0) | at / 8), m + at, len);
		CHECK_EQ("piece", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	}
	while (rig_next(&r, &w, 0)) {
		const uint32_t at = (uint32_t)(w.octet[20] & 0x1f) * 2048 + w.octet[21] * 8u;

		CHECK_TRUE("fits the MTU", w.len <= 1514);
		memcpy(back + at, w.octet + 34, w.len - 34);
		got += w.len - 34;
		n++;
	}
	CHECK_EQ("frames", n, 3);
	CHECK_EQ("octets", got, sizeof(m));
	CHECK_EQ("a reply", back[0], 0);
	CHECK_EQ("checksum over all of it", csum_of(back, sizeof(back)), 0);
	CHECK_OCTETS("the octets come back", back + 4, sizeof(back) - 4, m + 4, sizeof(m) - 4);
	CHECK_EQ("nothing stays", buf_malloc_in_use(r.pool), 0);
	rig_down(&r);
}

static void
test_net_output_expires_fragments(void **state)
{
	static struct wire w[8];
	struct wire none;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	fragments(w, 4, 1460, 600);
	rig_feed(&r, &w[0], 0, false, US(1));
	CHECK_EQ("deadline", net_deadline_us(r.net), US(31));
	rig_next(&r, &none, US(31));
	CHECK_EQ("counted", rig_count(&r, CTR_net_frag_drop), 1);
	CHECK_EQ("nothing stays", buf_malloc_in_use(r.pool), 0);
	rig_down(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reasm_in_any_order),
		cmocka_unit_test(test_reasm_overlap_drops_the_datagram_and_its_rest),
		cmocka_unit_test(test_reasm_refuses_what_cannot_be),
		cmocka_unit_test(test_reasm_stays_within_its_memory),
		cmocka_unit_test(test_reasm_forgets_after_its_time),
		cmocka_unit_test(test_reasm_without_memory),
		cmocka_unit_test(test_net_input_gives_a_segment_made_whole),
		cmocka_unit_test(test_net_input_fragments_find_the_owner),
		cmocka_unit_test(test_net_input_answers_a_large_echo),
		cmocka_unit_test(test_net_output_expires_fragments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
