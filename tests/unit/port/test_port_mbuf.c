/*
 * test_port_mbuf.c - what a driver says of a received frame, frame by frame; and chains a device may or may not send.
 *
 * Looks below port_dpdk.h: the flags of an mbuf are what is under test.
 */
#include "tests/check.h"

#include "dataplane/port/port_impl.h"

static struct port_set set; /* its first worker and its ports are the ones under test */
static struct port_worker *const w = &set.worker[0];
static struct counters counters;

/* A received frame of 64 octets with these flags. */
static struct rte_mbuf *
received(uint64_t ol_flags)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool.mp);

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
		struct net_frame f;

		CHECK_TRUE(rows[i].label, port_frame_of_mbuf(w, received(rows[i].flags), 1, &f));
		CHECK_EQ(rows[i].label, f.l4_checksum, rows[i].want);
		CHECK_EQ(rows[i].label, f.port_index, 1);
		CHECK_TRUE(rows[i].label, !f.has_hash);
		buf_unref(&w->pool.pool, f.view.buf);
	}
}

static void
test_port_frame_hash_counts_only_with_our_key(void **state)
{
	(void)state;
	for (int ours = 0; ours < 2; ours++) {
		struct rte_mbuf *m = received(RTE_MBUF_F_RX_RSS_HASH);
		struct net_frame f;

		m->hash.rss = 77;
		set.dev[0].hash_is_ours = ours != 0;
		CHECK_TRUE("taken", port_frame_of_mbuf(w, m, 0, &f));
		CHECK_EQ("hash", f.has_hash, ours);
		if (ours != 0)
			CHECK_EQ("its value", f.hash, 77);
		buf_unref(&w->pool.pool, f.view.buf);
	}
}

/* 64 octets as received, of which octet i behind the tag is i; with a tag (tpid not 0) in the octets, or told beside them. */
static struct rte_mbuf *
received_tagged(uint64_t ol_flags, uint16_t tpid, uint16_t tci)
{
	const uint32_t n = tpid != 0 ? 4 : 0;
	struct rte_mbuf *m = received(ol_flags);
	uint8_t *at = rte_pktmbuf_mtod(m, uint8_t *);

	for (uint32_t i = 0; i < 64 - n; i++)
		at[i < 12 ? i : i + n] = (uint8_t)i;
	if (tpid != 0)
		memcpy(at + 12, (uint8_t[]){ (uint8_t)(tpid >> 8), (uint8_t)tpid, (uint8_t)(tci >> 8), (uint8_t)tci },
			4);
	else
		m->vlan_tci = tci;
	return m;
}

/* Each port takes the frames of its own VLAN, whether the driver took the tag off or not, and no others; each drop has its reason. */
static void
test_port_frames_of_other_vlans_are_dropped(void **state)
{
	const uint64_t stripped = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
	const struct {
		const char *label;
		uint64_t flags;
		uint16_t tpid, tci, vlan;
		int dropped; /* -1: taken */
	} rows[] = {
		{ "no VLAN: untagged", 0, 0, 0, 0, -1 },
		{ "no VLAN: VLAN 5, tag taken off", stripped, 0, 5, 0, CTR_net_drop_vlan },
		{ "no VLAN: a priority alone, taken off", stripped, 0, 0xe000, 0, -1 },
		{ "no VLAN: the tag still there, net sees it", RTE_MBUF_F_RX_VLAN, 0x8100, 5, 0, -1 },
		{ "VLAN 5: its tag", 0, 0x8100, 5, 5, -1 },
		{ "VLAN 5: with a priority", 0, 0x8100, 0xf005, 5, -1 },
		{ "VLAN 5: the driver told it, too", RTE_MBUF_F_RX_VLAN, 0x8100, 5, 5, -1 },
		{ "VLAN 5: taken off", stripped, 0, 0x6005, 5, -1 },
		{ "VLAN 5: VLAN 6", 0, 0x8100, 6, 5, CTR_net_drop_vlan },
		{ "VLAN 5: VLAN 6, taken off", stripped, 0, 6, 5, CTR_net_drop_vlan },
		{ "VLAN 5: untagged", 0, 0, 0, 5, CTR_net_drop_untagged },
		{ "VLAN 5: a number left from before is no tag", 0, 0, 5, 5, CTR_net_drop_untagged },
		{ "VLAN 5: a priority alone", 0, 0x8100, 0xe000, 5, CTR_net_drop_untagged },
		{ "VLAN 5: a priority alone, taken off", stripped, 0, 0xe000, 5, CTR_net_drop_untagged },
		{ "VLAN 5: a tag behind the one taken off", stripped | RTE_MBUF_F_RX_VLAN, 0x8100, 9, 5,
			CTR_net_drop_double_tag },
		{ "VLAN 4094", 0, 0x8100, 4094, 4094, -1 },
	};
	const uint32_t before = buf_available(&w->pool.pool);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct rte_mbuf *m = received_tagged(rows[i].flags, rows[i].tpid, rows[i].tci);
		const bool untagged = rows[i].tpid != 0 && rows[i].vlan != 0;
		struct net_frame f;

		if (rows[i].tpid != 0 && (rows[i].flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0)
			m->vlan_tci = rows[i].vlan;
		set.dev[1].vlan = rows[i].vlan;
		memset(&counters, 0, sizeof(counters));
		CHECK_EQ(rows[i].label, port_frame_of_mbuf(w, m, 1, &f), rows[i].dropped < 0);
		for (int c = 0; c < COUNTER_N; c++)
			CHECK_EQ(rows[i].label, counters.value[c], c == rows[i].dropped);
		if (rows[i].dropped >= 0)
			continue;
		CHECK_EQ(rows[i].label, f.view.len_octets, untagged ? 60 : 64);
		for (uint32_t k = 0; k < (rows[i].tpid != 0 && !untagged ? 12 : f.view.len_octets); k++)
			CHECK_EQ(rows[i].label, f.view.ptr[k], k);
		buf_unref(&w->pool.pool, f.view.buf);
	}
	set.dev[1].vlan = 0;
	CHECK_EQ("nothing leaks", buf_available(&w->pool.pool), before);
}

/* A tag that lies across two mbufs of a chain; and what the mbuf says of itself afterwards, for it crosses rings to other workers. */
static void
test_port_tags_are_found_where_they_lie(void **state)
{
	const uint32_t before = buf_available(&w->pool.pool);
	struct rte_mbuf *m = received_tagged(0, 0x8100, 5), *rest = received_tagged(0, 0x8100, 5);
	struct net_frame f, crossed;

	(void)state;
	set.dev[1].vlan = 5;
	memmove(rte_pktmbuf_mtod(rest, uint8_t *), rte_pktmbuf_mtod_offset(rest, uint8_t *, 13), 51);
	rte_pktmbuf_trim(rest, 13);
	rte_pktmbuf_trim(m, 51);
	rte_pktmbuf_chain(m, rest);
	CHECK_EQ("whole", m->pkt_len, 64);
	CHECK_TRUE("taken", port_frame_of_mbuf(w, m, 1, &f));
	m = port_mbuf_pack(&f);
	CHECK_EQ("sound", rte_mbuf_check(m, 1, NULL), 0);
	port_mbuf_unpack(m, &crossed);
	CHECK_EQ("without the tag", crossed.view.len_octets, 60);
	for (uint32_t k = 0; k < 60; k++)
		CHECK_EQ("all of it", crossed.view.ptr[k], k);
	buf_unref(&w->pool.pool, crossed.view.buf);
	set.dev[1].vlan = 0;
	CHECK_EQ("nothing leaks", buf_available(&w->pool.pool), before);
}

/* What is sent has the tag between addresses and EtherType; a frame of a full MTU goes out whole. */
static void
test_port_frames_are_sent_with_the_tag(void **state)
{
	static const uint8_t payload[1446], tag[4] = { 0x81, 0x00, 0x0f, 0xfe };
	const uint32_t before = buf_available(&w->pool.pool);

	(void)state;
	for (int may_chain = 0; may_chain < 2; may_chain++) {
		const struct port_dev dev = { .vlan = 4094, .may_chain = may_chain != 0 };
		struct frame f = {
			.hdr_len_octets = 68, .n_views = 1, .view = { { .ptr = payload, .len_octets = 1446 } }
		};
		struct rte_mbuf *m;
		const uint8_t *at;

		for (uint32_t i = 0; i < 68; i++)
			f.hdr[i] = (uint8_t)i;
		m = port_mbuf_of_frame(&w->pool, &f, &dev);
		assert_non_null(m);
		CHECK_EQ("four octets more", m->pkt_len, 1518);
		CHECK_EQ("sound", rte_mbuf_check(m, 1, NULL), 0);
		at = rte_pktmbuf_mtod(m, const uint8_t *);
		for (uint32_t i = 0; i < 12; i++)
			CHECK_EQ("addresses", at[i], i);
		assert_memory_equal(at + 12, tag, 4);
		for (uint32_t i = 12; i < 68; i++)
			CHECK_EQ("the rest", at[i + 4], i);
		rte_pktmbuf_free(m);
		CHECK_EQ("nothing leaks", buf_available(&w->pool.pool), before);
	}
}

static void
test_port_frame_in_several_mbufs_becomes_one(void **state)
{
	const uint32_t before = buf_available(&w->pool.pool);
	struct net_frame f;

	(void)state;
	for (uint32_t n = 2; n <= 40; n += 19) {
		struct rte_mbuf *head = received(RTE_MBUF_F_RX_L4_CKSUM_GOOD);
		const bool fits = n * 64 <= w->pool.pool.room_octets;

		for (uint32_t i = 1; i < n; i++)
			rte_pktmbuf_chain(head, received(0));
		memset(&counters, 0, sizeof(counters));
		CHECK_EQ("taken", port_frame_of_mbuf(w, head, 0, &f), fits);
		CHECK_EQ("counted", counters.value[CTR_port_no_buffer], !fits);
		if (!fits)
			continue;
		CHECK_EQ("length", f.view.len_octets, n * 64);
		CHECK_EQ("last octet", f.view.ptr[n * 64 - 1], 0x5a);
		CHECK_EQ("its flags", f.l4_checksum, 1);
		buf_unref(&w->pool.pool, f.view.buf);
	}
	CHECK_EQ("nothing leaks", buf_available(&w->pool.pool), before);
}

/* A sent frame refers to the buffer of its payload until the device is done; af_xdp gets a copy in one. */
static void
test_port_mbuf_of_frame_chains_only_where_it_may(void **state)
{
	const uint32_t before = buf_available(&w->pool.pool);

	(void)state;
	for (int may_chain = 0; may_chain < 2; may_chain++) {
		const struct port_dev dev = { .may_chain = may_chain != 0 };
		struct frame f = { .hdr_len_octets = 54, .n_views = 2 };
		struct rte_mbuf *m;
		struct buf *buf;
		uint8_t *data;

		buf = buf_alloc(&w->pool.pool, 1400, &data);
		memset(data, 7, 1400);
		f.view[0] = (struct buf_view){ .ptr = data, .len_octets = 600, .buf = buf };
		f.view[1] = (struct buf_view){ .ptr = data + 600, .len_octets = 800, .buf = buf };
		m = port_mbuf_of_frame(&w->pool, &f, &dev);
		assert_non_null(m);
		CHECK_EQ("mbufs", m->nb_segs, may_chain ? 3 : 1);
		CHECK_EQ("octets", m->pkt_len, 1454);
		CHECK_EQ("sound", rte_mbuf_check(m, 1, NULL), 0);
		CHECK_EQ("references", rte_mbuf_refcnt_read((struct rte_mbuf *)buf), may_chain ? 3 : 1);
		buf_unref(&w->pool.pool, buf);
		if (may_chain)
			CHECK_EQ("its octets stay", *rte_pktmbuf_mtod(m->next->next, uint8_t *), 7);
		rte_pktmbuf_free(m);
		/* longer than one buffer */
		f.n_views = 1;
		f.view[0] = (struct buf_view){ .ptr = (const uint8_t[4096]){ 0 }, .len_octets = 4096 };
		CHECK_TRUE("too long", port_mbuf_of_frame(&w->pool, &f, &dev) == NULL);
		CHECK_EQ("nothing leaks", buf_available(&w->pool.pool), before);
	}
}

/* PITFALLS 29: an answer lies in the buffer of what it answers only where nobody else reads there. */
static void
test_port_mbuf_of_answer_needs_the_buffer_alone(void **state)
{
	const struct port_dev plain = { .may_chain = true }, tagged = { .vlan = 5 };
	const uint32_t before = buf_available(&w->pool.pool);
	struct net_frame in;
	struct rte_mbuf *m, *clone;

	(void)state;
	CHECK_TRUE("taken", port_frame_of_mbuf(w, received(RTE_MBUF_F_RX_L4_CKSUM_GOOD), 0, &in));
	m = (struct rte_mbuf *)in.view.buf;
	CHECK_TRUE("where it lies", in.room != NULL && in.room == in.view.ptr);
	/* somebody keeps a reference to its octets */
	buf_ref(&w->pool.pool, in.view.buf);
	CHECK_TRUE("held by another", port_room_of_mbuf(m, &plain) == NULL);
	buf_unref(&w->pool.pool, in.view.buf);
	CHECK_TRUE("a tag has to go in", port_room_of_mbuf(m, &tagged) == NULL);
	/* too little room behind where the frame begins */
	m->data_off = (uint16_t)(m->buf_len - FRAME_HEADER_MAX_OCTETS + 1);
	CHECK_TRUE("no room", port_room_of_mbuf(m, &plain) == NULL);
	m->data_off--;
	CHECK_TRUE("just enough", port_room_of_mbuf(m, &plain) != NULL);
	m->data_off = RTE_PKTMBUF_HEADROOM;
	/* octets of another mbuf */
	clone = rte_pktmbuf_alloc(w->pool.clones);
	rte_pktmbuf_attach(clone, m);
	CHECK_TRUE("not its own", port_room_of_mbuf(clone, &plain) == NULL);
	rte_pktmbuf_free(clone);
	/* over a ring between workers it is what it was */
	port_mbuf_unpack(port_mbuf_pack(&in), &in);
	CHECK_TRUE("where it lies", in.room == in.view.ptr);
	in.room = NULL;
	port_mbuf_unpack(port_mbuf_pack(&in), &in);
	CHECK_TRUE("none stays none", in.room == NULL);
	in.room = rte_pktmbuf_mtod(m, uint8_t *);
	memset(in.room, 0x21, 74);
	CHECK_TRUE("the very buffer", port_mbuf_of_answer(&in, 74) == m);
	CHECK_EQ("octets", m->pkt_len, 74);
	CHECK_EQ("in one", m->data_len, 74);
	CHECK_EQ("nothing said of it", m->ol_flags, 0);
	CHECK_EQ("sound", rte_mbuf_check(m, 1, NULL), 0);
	CHECK_EQ("its last", *rte_pktmbuf_mtod_offset(m, uint8_t *, 73), 0x21);
	rte_pktmbuf_free(m);
	CHECK_EQ("nothing leaks", buf_available(&w->pool.pool), before);
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
		{ "another driver: a frame of the MTU with a tag", "net_tap0", 9000, 9018 },
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
	set.n_ports = 2;
	set.n_workers = 1;
	w->set = &set;
	w->io.counters = &counters;
	return port_pool_init(&w->pool, 0, 512, BUF_ROOM_MAX_OCTETS);
}

static int
drop_pool(void **state)
{
	(void)state;
	port_pool_fini(&w->pool);
	return 0;
}

/* Of a buffer from the pool nothing is known, whatever hash a device or sum its last life has left there. */
static void
test_port_a_buffer_begins_unknown(void **state)
{
	struct buf *buf[64];
	uint8_t *data;

	(void)state;
	for (uint32_t round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < ARRAY_LEN(buf); i++) {
			buf[i] = buf_alloc(&w->pool.pool, 1400, &data);
			assert_non_null(buf[i]);
			CHECK_EQ("octets known", buf_sum(&w->pool.pool, buf[i])->len_octets, 0);
			*buf_sum(&w->pool.pool, buf[i]) =
				(struct buf_sum){ .at = (uint32_t)(uintptr_t)data, .len_octets = 1400, .sum = 1 };
			CHECK_EQ("nobody else's octets", rte_mbuf_check((struct rte_mbuf *)buf[i], 1, NULL), 0);
		}
		for (uint32_t i = 0; i < ARRAY_LEN(buf); i++)
			buf_unref(&w->pool.pool, buf[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_frame_checksum_states),
		cmocka_unit_test(test_port_frame_hash_counts_only_with_our_key),
		cmocka_unit_test(test_port_frames_of_other_vlans_are_dropped),
		cmocka_unit_test(test_port_tags_are_found_where_they_lie),
		cmocka_unit_test(test_port_frames_are_sent_with_the_tag),
		cmocka_unit_test(test_port_frame_in_several_mbufs_becomes_one),
		cmocka_unit_test(test_port_mbuf_of_frame_chains_only_where_it_may),
		cmocka_unit_test(test_port_mbuf_of_answer_needs_the_buffer_alone),
		cmocka_unit_test(test_port_a_buffer_holds_a_whole_slot),
		cmocka_unit_test(test_port_a_buffer_begins_unknown),
	};

	return cmocka_run_group_tests(tests, start_eal, drop_pool);
}
