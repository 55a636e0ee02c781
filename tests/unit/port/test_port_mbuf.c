/*
 * test_port_mbuf.c - what a driver says of a received frame, frame by frame; and chains a device may or may not send.
 *
 * Looks below port_dpdk.h: the flags of an mbuf are what is under test.
 */
#include <errno.h>

#include "tests/check.h"

#include "dataplane/port/port_impl.h"

static struct port_pool pool;

/* A received frame of 64 octets with these flags. */
static struct rte_mbuf *
received(uint64_t ol_flags)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool.mp);

	assert_non_null(m);
	memset(rte_pktmbuf_append(m, 64), 0x5a, 64);
	m->ol_flags = ol_flags;
	return m;
}

/* PITFALLS 28 and 30. */
static void
test_port_frame_checksum_states(void **state)
{
	static const struct {
		const char *label;
		uint64_t flags;
		uint8_t want;
	} rows[] = {
		{ "a driver that says nothing", 0, 0 },
		{ "good", RTE_MBUF_F_RX_L4_CKSUM_GOOD, 1 },
		{ "bad", RTE_MBUF_F_RX_L4_CKSUM_BAD, 2 },
		{ "absent but trusted (virtio)", RTE_MBUF_F_RX_L4_CKSUM_NONE, 1 },
		{ "the IP checksum alone says nothing of TCP", RTE_MBUF_F_RX_IP_CKSUM_GOOD, 0 },
		{ "a bad outer checksum is another's", RTE_MBUF_F_RX_OUTER_L4_CKSUM_BAD, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct port_frame f;

		CHECK_EQ(rows[i].label, port_frame_of_mbuf(&pool, received(rows[i].flags), 1, true, &f), 0);
		CHECK_EQ(rows[i].label, f.l4_checksum, rows[i].want);
		CHECK_EQ(rows[i].label, f.port_index, 1);
		CHECK_TRUE(rows[i].label, !f.has_hash);
		buf_unref(&pool.pool, f.view.buf);
	}
}

static void
test_port_frame_hash_counts_only_with_our_key(void **state)
{
	(void)state;
	for (int ours = 0; ours < 2; ours++) {
		struct rte_mbuf *m = received(RTE_MBUF_F_RX_RSS_HASH);
		struct port_frame f;

		m->hash.rss = 77;
		CHECK_EQ("taken", port_frame_of_mbuf(&pool, m, 0, ours != 0, &f), 0);
		CHECK_EQ("hash", f.has_hash, ours);
		if (ours != 0)
			CHECK_EQ("its value", f.hash, 77);
		buf_unref(&pool.pool, f.view.buf);
	}
}

/* A driver that takes the tag off would make a frame of another VLAN look like ours. */
static void
test_port_frame_of_a_vlan_is_dropped(void **state)
{
	static const struct {
		const char *label;
		uint64_t flags;
		uint16_t tci;
		int want;
	} rows[] = {
		{ "VLAN 5, tag taken off", RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED, 5, -EPROTONOSUPPORT },
		{ "a priority alone", RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED, 0xe000, 0 },
		{ "the tag still there: net sees it", RTE_MBUF_F_RX_VLAN, 5, 0 },
	};
	const uint32_t before = buf_available(&pool.pool);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct rte_mbuf *m = received(rows[i].flags);
		struct port_frame f;

		m->vlan_tci = rows[i].tci;
		CHECK_EQ(rows[i].label, port_frame_of_mbuf(&pool, m, 0, false, &f), rows[i].want);
		if (rows[i].want == 0)
			buf_unref(&pool.pool, f.view.buf);
	}
	CHECK_EQ("nothing leaks", buf_available(&pool.pool), before);
}

static void
test_port_frame_in_several_mbufs_becomes_one(void **state)
{
	const uint32_t before = buf_available(&pool.pool);
	struct port_frame f;

	(void)state;
	for (uint32_t n = 2; n <= 40; n += 19) {
		struct rte_mbuf *head = received(RTE_MBUF_F_RX_L4_CKSUM_GOOD);
		const bool fits = n * 64 <= pool.pool.room_octets;

		for (uint32_t i = 1; i < n; i++)
			rte_pktmbuf_chain(head, received(0));
		CHECK_EQ("taken", port_frame_of_mbuf(&pool, head, 0, false, &f), fits ? 0 : -ENOBUFS);
		if (!fits)
			continue;
		CHECK_EQ("length", f.view.len_octets, n * 64);
		CHECK_EQ("last octet", f.view.ptr[n * 64 - 1], 0x5a);
		CHECK_EQ("its flags", f.l4_checksum, 1);
		buf_unref(&pool.pool, f.view.buf);
	}
	CHECK_EQ("nothing leaks", buf_available(&pool.pool), before);
}

/* A sent frame refers to the buffer of its payload until the device is done; af_xdp gets a copy in one. */
static void
test_port_mbuf_of_frame_chains_only_where_it_may(void **state)
{
	const uint32_t before = buf_available(&pool.pool);

	(void)state;
	for (int may_chain = 0; may_chain < 2; may_chain++) {
		struct frame f = { .hdr_len_octets = 54, .n_views = 2 };
		struct rte_mbuf *m;
		struct buf *buf;
		uint8_t *data;

		buf = buf_alloc(&pool.pool, 1400, &data);
		memset(data, 7, 1400);
		f.view[0] = (struct buf_view){ .ptr = data, .len_octets = 600, .buf = buf };
		f.view[1] = (struct buf_view){ .ptr = data + 600, .len_octets = 800, .buf = buf };
		m = port_mbuf_of_frame(&pool, &f, may_chain != 0);
		assert_non_null(m);
		CHECK_EQ("mbufs", m->nb_segs, may_chain ? 3 : 1);
		CHECK_EQ("octets", m->pkt_len, 1454);
		CHECK_EQ("sound", rte_mbuf_check(m, 1, NULL), 0);
		CHECK_EQ("references", rte_mbuf_refcnt_read((struct rte_mbuf *)buf), may_chain ? 3 : 1);
		buf_unref(&pool.pool, buf);
		if (may_chain)
			CHECK_EQ("its octets stay", *rte_pktmbuf_mtod(m->next->next, uint8_t *), 7);
		rte_pktmbuf_free(m);
		/* longer than one buffer */
		f.n_views = 1;
		f.view[0] = (struct buf_view){ .ptr = (const uint8_t[4096]){ 0 }, .len_octets = 4096 };
		CHECK_TRUE("too long", port_mbuf_of_frame(&pool, &f, may_chain != 0) == NULL);
		CHECK_EQ("nothing leaks", buf_available(&pool.pool), before);
	}
}

/* PITFALLS 25: net_af_packet copies a slot of its ring into an mbuf without a look at the room. */
static void
test_port_a_buffer_holds_a_whole_slot(void **state)
{
	static const struct {
		const char *label, *device;
		uint16_t mtu;
		uint32_t at_least;
	} rows[] = {
		{ "as it comes", "net_af_packet0,iface=wan0", 1500, 2048 },
		{ "jumbo frames", "net_af_packet0,iface=wan0", 9000, 16384 },
		{ "the operator's own slot", "net_af_packet0,iface=wan0,framesz=8192", 1500, 8192 },
		{ "another driver: a frame of the MTU", "net_tap0", 9000, 9018 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf_port port = { .name = "wan", .mtu = rows[i].mtu };
		const struct port_conf conf = { .ports = &port, .n_ports = 1, .n_workers = 1 };
		uint32_t room;

		snprintf(port.device, sizeof(port.device), "%s", rows[i].device);
		room = port_room_of_buffer(&conf);
		if (room < rows[i].at_least)
			fail_msg("%s: room for %u octets, %u may be copied", rows[i].label, room, rows[i].at_least);
	}
}

static int
start_eal(void **state)
{
	static const char args[] = "--no-huge\0--no-pci\0--log-level=error";
	const struct conf_port port = { .device = "net_null0", .mtu = 1500 };
	const struct port_conf conf = { .ports = &port,
		.n_ports = 1,
		.n_workers = 1,
		.memory_mb = 32,
		.eal_args = args,
		.eal_args_octets = sizeof(args),
		.instance = "test" };
	char why[256];

	(void)state;
	if (port_eal_start(&conf, why, sizeof(why)) != 0) {
		fprintf(stderr, "%s\n", why);
		return -1;
	}
	return port_pool_init(&pool, 0, 512, BUF_ROOM_MAX_OCTETS);
}

static int
drop_pool(void **state)
{
	(void)state;
	port_pool_fini(&pool);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_frame_checksum_states),
		cmocka_unit_test(test_port_frame_hash_counts_only_with_our_key),
		cmocka_unit_test(test_port_frame_of_a_vlan_is_dropped),
		cmocka_unit_test(test_port_frame_in_several_mbufs_becomes_one),
		cmocka_unit_test(test_port_mbuf_of_frame_chains_only_where_it_may),
		cmocka_unit_test(test_port_a_buffer_holds_a_whole_slot),
	};

	return cmocka_run_group_tests(tests, start_eal, drop_pool);
}
