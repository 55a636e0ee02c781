/*
 * test_net_output.c - frames out: headers and checksums, next hops asked for, kept, refreshed and forgotten.
 */
#include <errno.h>

#include "tests/unit/net/net_wire.h"

#include "dataplane/net/ipv6.h"
#include "dataplane/net/neigh.h"

static struct flow
flow4(const char *remote)
{
	return (struct flow){
		.local = addr_of("198.18.0.2"), .remote = addr_of(remote), .local_port = 25, .remote_port = 40000
	};
}

/* A frame with a TCP header of 24 octets and payload views; no buffer: lent octets. */
static struct frame
segment(const struct flow *flow, const char *payload, uint32_t n_views)
{
	struct frame f = { .n_views = (uint8_t)n_views };
	uint8_t *t = f.hdr + frame_tcp_offset(flow);
	const uint32_t len = (uint32_t)strlen(payload);

	put_u16(t, 25);
	put_u16(t + 2, 40000);
	t[12] = 0x60;
	t[20] = 2;
	t[21] = 4;
	put_u16(t + 22, 1460);
	put_u16(t + 16, 0xdead); /* what stands there must not matter */
	for (uint32_t i = 0; i < n_views; i++)
		f.view[i] = (struct buf_view){ .ptr = (const uint8_t *)payload + i * len / n_views,
			.len_octets = (i + 1) * len / n_views - i * len / n_views };
	return f;
}

static void
flat(const struct frame *f, struct wire *w)
{
	w->len = 0;
	wire_put(w, f->hdr, f->hdr_len_octets);
	for (uint32_t i = 0; i < f->n_views; i++)
		wire_put(w, f->view[i].ptr, f->view[i].len_octets);
}

/* An ARP packet. */
static struct wire
arp(uint16_t op, const uint8_t *eth_dst, const uint8_t *sender_mac, const char *sender, const char *target)
{
	const struct ip_addr s = addr_of(sender), t = addr_of(target);
	uint8_t b[28] = { 0, 1, 8, 0, 6, 4, (uint8_t)(op >> 8), (uint8_t)op };
	struct wire w;

	memcpy(b + 8, sender_mac, 6);
	memcpy(b + 14, s.octet + 12, 4);
	memcpy(b + 24, t.octet + 12, 4);
	wire_eth(&w, eth_dst, sender_mac, 0x0806);
	wire_put(&w, b, 28);
	return w;
}

static struct wire
na(const uint8_t *mac, const char *target, const char *dst, uint8_t flags, bool with_mac)
{
	uint8_t m[32] = { 136, 0, 0, 0, flags, [24] = 2, 1 };
	const struct ip_addr t = addr_of(target);
	const uint32_t len = with_mac ? 32 : 24;
	struct wire w;

	memcpy(m + 8, t.octet, 16);
	memcpy(m + 26, mac, 6);
	wire_icmp_sum(m, len, target, dst);
	wire_eth(&w, our_mac, mac, 0x86dd);
	wire_ip6(&w, target, dst, 58, 255, m, len);
	return w;
}

/* Makes a next hop known to worker's net. */
static void
know(struct rig *r, const char *hop, const uint8_t *mac, uint64_t now_us)
{
	struct flow flow = flow4(hop);
	struct frame f = segment(&flow, "", 0);
	struct wire w;

	CHECK_EQ("asked for", net_wrap(r->net, &f, &flow, 24, NULL, now_us), -EAGAIN);
	while (rig_next(r, &w, now_us))
		;
	w = arp(2, our_mac, mac, hop, "198.18.0.2");
	rig_feed(r, &w, 0, false, now_us);
	while (rig_next(r, &w, now_us))
		;
}

static void
test_net_wrap_writes_headers_and_checksum(void **state)
{
	struct rig r;
	struct wire w;

	(void)state;
	rig_up(&r, 0, 1);
	know(&r, "198.18.0.9", peer_mac, 0);
	for (uint32_t n_views = 0; n_views <= 5; n_views++) {
		const struct flow flow = flow4("198.18.0.9");
		struct frame f = segment(&flow, n_views > 0 ? "abcdefghijklm" : "", n_views);

		CHECK_EQ("wrapped", net_wrap(r.net, &f, &flow, 24, NULL, 0), 0);
		CHECK_EQ("header length", f.hdr_len_octets, 14 + 20 + 24);
		flat(&f, &w);
		CHECK_OCTETS("to", w.octet, 6, peer_mac, 6);
		CHECK_OCTETS("from", w.octet + 6, 6, our_mac, 6);
		CHECK_EQ("IP length", w.octet[16] << 8 | w.octet[17], w.len - 14);
		CHECK_EQ("IP checksum", csum_of(w.octet + 14, 20), 0);
		CHECK_TRUE("TCP checksum", csum_is_good(&flow.local, &flow.remote, 6, w.octet + 34, w.len - 34));
		CHECK_EQ("not to be fragmented", w.octet[20], 0x40);
	}
	rig_down(&r);
}

static void
test_net_wrap_reply_needs_no_neighbour(void **state)
{
	struct flow flow = { .local = addr_of("2001:db8:0:1::2"),
		.remote = addr_of("2001:db8:77::9"),
		.local_port = 25,
		.remote_port = 40000 };
	struct frame f = segment(&flow, "xyz", 2);
	struct wire in, w;
	struct net_frame to = { .view = { .ptr = in.octet, .len_octets = 60 } };
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	wire_eth(&in, our_mac, gw_mac, 0x86dd);
	CHECK_EQ("wrapped", net_wrap_reply(r.net, &f, &flow, 24, &to, 0), 0);
	flat(&f, &w);
	CHECK_OCTETS("to where it came from", w.octet, 6, gw_mac, 6);
	CHECK_EQ("IPv6 length", w.octet[18] << 8 | w.octet[19], w.len - 54);
	CHECK_TRUE("TCP checksum", csum_is_good(&flow.local, &flow.remote, 6, w.octet + 54, w.len - 54));
	CHECK_TRUE("nobody was asked", !rig_next(&r, &w, US(5)));
	rig_down(&r);
}

static void
test_net_wrap_refuses(void **state)
{
	static const char text[1461];
	struct flow nowhere = { .local = addr_of("2001:db8:9::9"), .remote = addr_of("fe80::1") };
	struct flow flow = flow4("198.18.0.255");
	struct frame f = segment(&flow, "", 0);
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	CHECK_EQ("link local without our link", net_wrap(r.net, &f, &nowhere, 24, NULL, 0), -ENETUNREACH);
	CHECK_EQ("a broadcast", net_wrap(r.net, &f, &flow, 24, NULL, 0), -ENETUNREACH);
	flow = flow4("198.18.0.9");
	f.n_views = 1;
	f.view[0] = (struct buf_view){ .ptr = (const uint8_t *)text, .len_octets = 1457 };
	CHECK_EQ("an octet too long", net_wrap(r.net, &f, &flow, 24, NULL, 0), -EMSGSIZE);
	f.view[0].len_octets = 1456;
	CHECK_EQ("just as long as may be", net_wrap(r.net, &f, &flow, 24, NULL, 0), -EAGAIN);
	rig_down(&r);
}

static void
test_net_wrap_asks_and_keeps_the_latest_frame(void **state)
{
	const struct flow flow = flow4("203.0.113.9"); /* through the gateway */
	struct frame a = segment(&flow, "first", 1), b = segment(&flow, "second", 2);
	struct wire w, reply;
	uint8_t *data;
	struct buf *buf;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	CHECK_EQ("first", net_wrap(r.net, &a, &flow, 24, NULL, 1000), -EAGAIN);
	buf = buf_alloc(r.pool, 6, &data);
	memcpy(data, "second", 6);
	b.view[0] = (struct buf_view){ .ptr = data, .len_octets = 3, .buf = buf };
	b.view[1] = (struct buf_view){ .ptr = data + 3, .len_octets = 3, .buf = buf };
	CHECK_EQ("none is lost yet", rig_count(&r, CTR_net_neigh_replaced), 0);
	CHECK_EQ("second", net_wrap(r.net, &b, &flow, 24, NULL, 1000), -EAGAIN);
	CHECK_EQ("the first is, and counted", rig_count(&r, CTR_net_neigh_replaced), 1);
	buf_unref(r.pool, buf);
	CHECK_EQ("a question waits", net_deadline_us(r.net), 1000);
	CHECK_TRUE("a question", rig_next(&r, &w, 1000));
	CHECK_TRUE("one", !rig_next(&r, &reply, 1000));
	CHECK_OCTETS("to all", w.octet, 6, all_mac, 6);
	CHECK_EQ("ARP", w.octet[12] << 8 | w.octet[13], 0x0806);
	CHECK_EQ("request", w.octet[21], 1);
	CHECK_OCTETS("from our address on that net", w.octet + 28, 4, ((uint8_t[]){ 198, 18, 0, 2 }), 4);
	CHECK_OCTETS("for the gateway", w.octet + 38, 4, ((uint8_t[]){ 198, 18, 0, 1 }), 4);
	reply = arp(2, our_mac, gw_mac, "198.18.0.1", "198.18.0.2");
	rig_feed(&r, &reply, 0, false, 2000);
	CHECK_TRUE("what waited goes", rig_next(&r, &w, 2000));
	CHECK_OCTETS("to the gateway", w.octet, 6, gw_mac, 6);
	CHECK_OCTETS("the latest", w.octet + w.len - 6, 6, "second", 6);
	CHECK_TRUE("its checksum is right", csum_is_good(&flow.local, &flow.remote, 6, w.octet + 34, w.len - 34));
	CHECK_TRUE("alone", !rig_next(&r, &w, 2000));
	CHECK_EQ("nothing stays", buf_malloc_in_use(r.pool), 0);
	rig_down(&r);
}

static void
test_net_wrap_gives_up_on_a_silent_hop(void **state)
{
	const struct flow flow = flow4("203.0.113.9");
	struct frame f = segment(&flow, "payload", 1);
	uint64_t now_us = 1000;
	uint32_t asked = 0;
	struct rig r;
	struct wire w;

	(void)state;
	rig_up(&r, 0, 1);
	net_wrap(r.net, &f, &flow, 24, NULL, now_us);
	for (uint32_t i = 0; i < 10 && net_deadline_us(r.net) != UINT64_MAX; i++) {
		now_us = net_deadline_us(r.net) > now_us ? net_deadline_us(r.net) : now_us;
		while (rig_next(&r, &w, now_us))
			asked++;
	}
	CHECK_EQ("asked three times", asked, 3);
	CHECK_EQ("a second apart", now_us, 1000 + US(3));
	CHECK_EQ("counted", rig_count(&r, CTR_net_neigh_failed), 1);
	CHECK_EQ("what waited is dropped", buf_malloc_in_use(r.pool), 0);
	f = segment(&flow, "payload", 1);
	CHECK_EQ("the next use begins anew", net_wrap(r.net, &f, &flow, 24, NULL, now_us), -EAGAIN);
	CHECK_TRUE("asked", rig_next(&r, &w, now_us));
	rig_down(&r);
}

/* PITFALLS 22: refreshed by unicast before expiry, serving meanwhile; the table's state after each step. */
static void
test_neighbour_in_use_is_refreshed_by_unicast(void **state)
{
	const struct flow flow = flow4("198.18.0.9");
	struct frame f = segment(&flow, "", 0);
	struct wire w, reply;
	uint64_t due_us;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	know(&r, "198.18.0.9", peer_mac, 0);
	CHECK_TRUE("the question is not repeated", !rig_next(&r, &w, US(2)));
	due_us = net_deadline_us(r.net);
	CHECK_TRUE("before 30 s", due_us > US(15) && due_us <= US(25));
	net_wrap(r.net, &f, &flow, 24, NULL, due_us - 1);
	CHECK_TRUE("not early", !rig_next(&r, &w, due_us - 1));
	CHECK_TRUE("asked again", rig_next(&r, &w, due_us));
	CHECK_OCTETS("by unicast", w.octet, 6, peer_mac, 6);
	f = segment(&flow, "", 0);
	CHECK_EQ("serves meanwhile", net_wrap(r.net, &f, &flow, 24, NULL, due_us), 0);
	CHECK_TRUE("and again after a second", rig_next(&r, &w, due_us + US(1)));
	reply = arp(2, our_mac, peer_mac, "198.18.0.9", "198.18.0.2");
	rig_feed(&r, &reply, 0, false, due_us + US(1.5));
	CHECK_TRUE("no third question", !rig_next(&r, &w, due_us + US(3)));
	CHECK_TRUE("confirmed", net_deadline_us(r.net) > due_us + US(15));
	/* nobody uses it: no question is asked when it is due, only at the next use */
	due_us = net_deadline_us(r.net);
	CHECK_TRUE("silent", !rig_next(&r, &w, due_us));
	CHECK_TRUE("for long", net_deadline_us(r.net) > due_us + US(600));
	f = segment(&flow, "", 0);
	CHECK_EQ("a stale one serves", net_wrap(r.net, &f, &flow, 24, NULL, due_us + US(60)), 0);
	CHECK_TRUE("and is asked", rig_next(&r, &w, due_us + US(60)));
	CHECK_OCTETS("by unicast", w.octet, 6, peer_mac, 6);
	/* no answer to three: then all are asked, and it no longer serves */
	rig_next(&r, &w, due_us + US(61));
	rig_next(&r, &w, due_us + US(62));
	CHECK_TRUE("asks all", rig_next(&r, &w, due_us + US(63)));
	CHECK_OCTETS("by broadcast", w.octet, 6, all_mac, 6);
	f = segment(&flow, "", 0);
	CHECK_EQ("does not serve", net_wrap(r.net, &f, &flow, 24, NULL, due_us + US(63)), -EAGAIN);
	rig_down(&r);
}

static void
test_neighbour_words_nobody_asked_for(void **state)
{
	static const uint8_t evil[6] = { 2, 6, 6, 6, 6, 6 };
	const struct flow flow = flow4("198.18.0.9");
	struct frame f = segment(&flow, "", 0);
	struct wire w, out;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	/* a flood of askers and of answers makes no entries */
	for (uint32_t i = 0; i < 3000; i++) {
		char text[32];

		snprintf(text, sizeof(text), "198.18.%u.%u", i / 250 + 2, i % 250 + 1);
		w = arp(i & 1 ? 1 : 2, our_mac, evil, text, "198.18.0.2");
		rig_feed(&r, &w, 0, false, 0);
		rig_next(&r, &out, 0);
	}
	CHECK_TRUE("no timer", net_deadline_us(r.net) == UINT64_MAX);
	CHECK_EQ("asked for when used", net_wrap(r.net, &f, &flow, 24, NULL, 0), -EAGAIN);
	rig_next(&r, &w, 0);
	/* our own address, a group as MAC */
	w = arp(2, our_mac, evil, "198.18.0.2", "198.18.0.2");
	rig_feed(&r, &w, 0, false, 0);
	w = arp(2, our_mac, all_mac, "198.18.0.9", "198.18.0.2");
	rig_feed(&r, &w, 0, false, 0);
	f = segment(&flow, "", 0);
	CHECK_EQ("still unknown", net_wrap(r.net, &f, &flow, 24, NULL, 0), -EAGAIN);
	/* a gratuitous word moves an entry that is there, and has it verified */
	w = arp(2, our_mac, peer_mac, "198.18.0.9", "198.18.0.2");
	rig_feed(&r, &w, 0, false, 0);
	while (rig_next(&r, &w, 0))
		;
	w = arp(1, all_mac, evil, "198.18.0.9", "198.18.0.9");
	rig_feed(&r, &w, 0, false, 0);
	f = segment(&flow, "", 0);
	CHECK_EQ("serves", net_wrap(r.net, &f, &flow, 24, NULL, 0), 0);
	CHECK_OCTETS("the new address", f.hdr, 6, evil, 6);
	CHECK_TRUE("is asked", rig_next(&r, &out, 0));
	CHECK_OCTETS("by unicast", out.octet, 6, evil, 6);
	rig_down(&r);
}

static void
test_neighbour_static_is_never_overwritten(void **state)
{
	static const uint8_t evil[6] = { 2, 6, 6, 6, 6, 6 };
	struct net_neighbour n = { .addr = addr_of("198.18.0.9") };
	const struct flow flow = flow4("198.18.0.9");
	struct frame f;
	struct wire w;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	memcpy(n.mac, peer_mac, 6);
	CHECK_EQ("set", net_neighbour_static(r.net, &n), 0);
	w = arp(2, our_mac, evil, "198.18.0.9", "198.18.0.2");
	rig_feed(&r, &w, 0, false, 0);
	memcpy(n.mac, evil, 6);
	net_neighbour_learn(r.net, &n, 0);
	f = segment(&flow, "", 0);
	CHECK_EQ("serves", net_wrap(r.net, &f, &flow, 24, NULL, US(100000)), 0);
	CHECK_OCTETS("what was set", f.hdr, 6, peer_mac, 6);
	CHECK_TRUE("never asked", !rig_next(&r, &w, US(100000)));
	rig_down(&r);
}

static void
test_neighbour_table_and_queue_are_bounded(void **state)
{
	struct rig r;
	struct wire w;

	(void)state;
	rig_up(&r, 0, 1);
	for (uint32_t i = 0; i < NEIGH_ENTRIES_MAX + 10; i++) {
		struct flow flow = { .local = addr_of("2001:db8:0:1::2"), .remote = addr_of("2001:db8:0:1::1:0") };
		struct frame f = segment(&flow, "payload", 1);

		put_u16(flow.remote.octet + 14, (uint16_t)i);
		CHECK_EQ("pending", net_wrap(r.net, &f, &flow, 24, NULL, 0), -EAGAIN);
	}
	CHECK_EQ("frames kept", buf_malloc_in_use(r.pool), NEIGH_WAITING_MAX);
	CHECK_EQ("counted", rig_count(&r, CTR_net_neigh_full), NEIGH_ENTRIES_MAX + 10 - NEIGH_WAITING_MAX);
	for (uint32_t s = 0; s < 5; s++)
		for (uint32_t i = 0; i < 4000 && rig_next(&r, &w, US(s)); i++)
			;
	for (uint32_t i = 0; i < 200; i++)
		rig_next(&r, &w, US(10));
	CHECK_EQ("all forgotten in the end", rig_count(&r, CTR_net_neigh_failed), NEIGH_ENTRIES_MAX);
	CHECK_EQ("and dropped", buf_malloc_in_use(r.pool), 0);
	rig_down(&r);
}

static void
test_neighbour_by_nd(void **state)
{
	const struct flow flow = {
		.local = addr_of("2001:db8:0:1::2"), .remote = addr_of("2001:db8:77::9"), .local_port = 25
	};
	const struct ip_addr gw = addr_of("2001:db8:0:1::1"), us = addr_of("2001:db8:0:1::2"),
			     group = ipv6_solicited_node(&gw);
	static const uint8_t group_mac[6] = { 0x33, 0x33, 0xff, 0, 0, 1 };
	struct frame f = segment(&flow, "hello", 1);
	struct wire w, word;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	CHECK_EQ("asked for", net_wrap(r.net, &f, &flow, 24, NULL, 0), -EAGAIN);
	CHECK_TRUE("a question", rig_next(&r, &w, 0));
	CHECK_OCTETS("to the group's MAC", w.octet, 6, group_mac, 6);
	CHECK_OCTETS("to the group", w.octet + 38, 16, group.octet, 16);
	CHECK_EQ("hop limit", w.octet[21], 255);
	CHECK_EQ("a solicitation", w.octet[54], 135);
	CHECK_TRUE("checksum", csum_is_good(&us, &group, 58, w.octet + 54, w.len - 54));
	word = na(gw_mac, "2001:db8:0:1::1", "2001:db8:0:1::2", 0x60, true);
	word.octet[word.len - 1] ^= 1;
	rig_feed(&r, &word, 0, false, 0);
	CHECK_TRUE("a damaged answer is none", !rig_next(&r, &w, 0));
	word = na(gw_mac, "2001:db8:0:1::1", "2001:db8:0:1::2", 0x60, true);
	rig_feed(&r, &word, 0, false, 0);
	CHECK_TRUE("what waited goes", rig_next(&r, &w, 0));
	CHECK_OCTETS("to the gateway", w.octet, 6, gw_mac, 6);
	CHECK_OCTETS("whole", w.octet + w.len - 5, 5, "hello", 5);
	/* a group is nobody's address */
	word = na(peer_mac, "2001:db8:0:1::1", "2001:db8:0:1::2", 0x60, true);
	word.octet[54 + 26] |= 1;
	wire_icmp_sum(word.octet + 54, 32, "2001:db8:0:1::1", "2001:db8:0:1::2");
	rig_feed(&r, &word, 0, false, 0);
	f = segment(&flow, "hello", 1);
	CHECK_EQ("serves", net_wrap(r.net, &f, &flow, 24, NULL, 0), 0);
	CHECK_OCTETS("what it had", f.hdr, 6, gw_mac, 6);
	/* without the override flag another address is not taken */
	word = na(peer_mac, "2001:db8:0:1::1", "2001:db8:0:1::2", 0x40, true);
	rig_feed(&r, &word, 0, false, 0);
	f = segment(&flow, "hello", 1);
	CHECK_EQ("serves", net_wrap(r.net, &f, &flow, 24, NULL, 0), 0);
	CHECK_OCTETS("the old one", f.hdr, 6, gw_mac, 6);
	CHECK_TRUE("but is verified", rig_next(&r, &w, 0));
	CHECK_OCTETS("by unicast", w.octet, 6, gw_mac, 6);
	/* a unicast question may be answered without the address */
	word = na(gw_mac, "2001:db8:0:1::1", "2001:db8:0:1::2", 0x40, false);
	rig_feed(&r, &word, 0, false, 0);
	CHECK_TRUE("not asked again", !rig_next(&r, &w, US(2)));
	CHECK_TRUE("confirmed", net_deadline_us(r.net) > US(15));
	rig_down(&r);
}

static void
test_nd_solicitations_are_answered(void **state)
{
	static const struct {
		const char *label, *src, *dst, *target;
		bool with_mac;
		const char *want_dst; /* NULL: no answer */
		uint8_t want_flags;
	} rows[] = {
		{ "by group", "2001:db8:0:1::9", "ff02::1:ff00:2", "2001:db8:0:1::2", true, "2001:db8:0:1::9", 0x60 },
		{ "by unicast", "2001:db8:0:1::9", "2001:db8:0:1::2", "2001:db8:0:1::2", false, "2001:db8:0:1::9",
			0x60 },
		{ "duplicate test", "::", "ff02::1:ff00:2", "2001:db8:0:1::2", false, "ff02::1", 0x20 },
		{ "our link-local address", "fe80::9", "ff02::1:ff00:1", "fe80::ff:fe00:1", true, "fe80::9", 0x60 },
		{ "somebody else", "2001:db8:0:1::9", "ff02::1:ff00:3", "2001:db8:0:1::3", true, NULL, 0 },
		{ "our address on the other port", "2001:db8:0:1::9", "ff02::1:ff00:2", "2001:db8:0:2::2", true, NULL,
			0 },
		{ "from a group", "ff02::9", "ff02::1:ff00:2", "2001:db8:0:1::2", true, NULL, 0 },
		{ "from ourselves", "2001:db8:0:1::2", "ff02::1:ff00:2", "2001:db8:0:1::2", true, NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t m[32] = { 135, [24] = 1, 1 };
		const struct ip_addr target = addr_of(rows[i].target);
		const uint32_t len = rows[i].with_mac ? 32 : 24;
		static const uint8_t group[6] = { 0x33, 0x33, 0xff, 0, 0, 2 };
		struct wire w, out;
		struct rig r;

		rig_up(&r, 0, 1);
		memcpy(m + 8, target.octet, 16);
		memcpy(m + 26, peer_mac, 6);
		wire_icmp_sum(m, len, rows[i].src, rows[i].dst);
		wire_eth(&w, group, peer_mac, 0x86dd);
		wire_ip6(&w, rows[i].src, rows[i].dst, 58, 255, m, len);
		rig_feed(&r, &w, 0, false, 0);
		CHECK_EQ(rows[i].label, rig_next(&r, &out, 0), rows[i].want_dst != NULL);
		if (rows[i].want_dst != NULL) {
			const struct ip_addr dst = addr_of(rows[i].want_dst);

			CHECK_OCTETS(rows[i].label, out.octet + 38, 16, dst.octet, 16);
			CHECK_EQ(rows[i].label, out.octet[54], 136);
			CHECK_EQ(rows[i].label, out.octet[58], rows[i].want_flags);
			CHECK_OCTETS(rows[i].label, out.octet + 80, 6, our_mac, 6);
			CHECK_TRUE(rows[i].label, csum_is_good(&target, &dst, 58, out.octet + 54, out.len - 54));
		}
		rig_down(&r);
	}
}

/* RFC 6980: neighbour discovery in fragments, whole ones included, is nothing. */
static void
test_nd_in_a_fragment_is_nothing(void **state)
{
	uint8_t m[8 + 32] = { 58, 0, 0, 1, 0, 0, 0, 9, 135, [8 + 24] = 1, 1 };
	const struct ip_addr target = addr_of("2001:db8:0:1::2");
	struct wire w, out;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	memcpy(m + 16, target.octet, 16);
	memcpy(m + 34, peer_mac, 6);
	wire_icmp_sum(m + 8, 32, "2001:db8:0:1::9", "2001:db8:0:1::2");
	wire_eth(&w, our_mac, peer_mac, 0x86dd);
	wire_ip6(&w, "2001:db8:0:1::9", "2001:db8:0:1::2", 44, 255, m, sizeof(m));
	rig_feed(&r, &w, 0, false, 0);
	CHECK_TRUE("a first fragment", !rig_next(&r, &out, 0));
	CHECK_EQ("waits for its rest", rig_count(&r, CTR_net_frag_in), 1);
	m[3] = 32;
	memset(m + 8, 0, 8);
	w.len = 14;
	wire_ip6(&w, "2001:db8:0:1::9", "2001:db8:0:1::2", 44, 255, m, 16);
	rig_feed(&r, &w, 0, false, 0);
	CHECK_EQ("made whole", rig_count(&r, CTR_net_frag_done), 1);
	CHECK_TRUE("and still nothing", !rig_next(&r, &out, 0));
	memcpy(m + 8, (const uint8_t[8]){ 135 }, 8);
	m[3] = 0;
	wire_icmp_sum(m + 8, 32, "2001:db8:0:1::9", "2001:db8:0:1::2");
	w.len = 14;
	wire_ip6(&w, "2001:db8:0:1::9", "2001:db8:0:1::2", 44, 255, m, sizeof(m));
	rig_feed(&r, &w, 0, false, 0);
	CHECK_TRUE("nor an atomic one", !rig_next(&r, &out, 0));
	rig_down(&r);
}

static void
test_arp_requests_are_answered(void **state)
{
	struct wire w, out;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	w = arp(1, all_mac, peer_mac, "198.18.0.9", "198.18.0.2");
	rig_feed(&r, &w, 0, false, 0);
	CHECK_TRUE("answered", rig_next(&r, &out, 0));
	CHECK_EQ("a reply", out.octet[21], 2);
	CHECK_OCTETS("our MAC", out.octet + 22, 6, our_mac, 6);
	CHECK_OCTETS("to who asked", out.octet, 6, peer_mac, 6);
	w = arp(1, all_mac, peer_mac, "0.0.0.0", "198.18.0.2"); /* RFC 5227: a probe */
	rig_feed(&r, &w, 0, false, 0);
	CHECK_TRUE("a probe is answered", rig_next(&r, &out, 0));
	w = arp(1, all_mac, peer_mac, "198.18.0.9", "198.18.1.2");
	rig_feed(&r, &w, 0, false, 0);
	CHECK_TRUE("the other port's address is not", !rig_next(&r, &out, 0));
	rig_feed(&r, &w, 1, false, 0);
	CHECK_TRUE("there it is", rig_next(&r, &out, 0));
	CHECK_OCTETS("with that port's MAC", out.octet + 22, 6, our_mac1, 6);
	rig_down(&r);
}

/* The reply to one worker's question may reach another: it is told on, and the one that asked goes on. */
static void
test_neighbour_news_reach_who_asked(void **state)
{
	const struct flow flow = flow4("198.18.0.9");
	struct frame f = segment(&flow, "x", 1);
	struct net_neighbour n;
	struct rig r[2];
	struct wire w;

	(void)state;
	rig_up(&r[0], 0, 2);
	rig_up(&r[1], 1, 2);
	net_wrap(r[0].net, &f, &flow, 24, NULL, 0);
	rig_next(&r[0], &w, 0);
	w = arp(2, our_mac, peer_mac, "198.18.0.9", "198.18.0.2");
	rig_feed(&r[1], &w, 0, false, 0);
	CHECK_TRUE("told", net_neighbour_news(r[1].net, &n));
	CHECK_TRUE("once", !net_neighbour_news(r[1].net, &n));
	net_neighbour_learn(r[0].net, &n, 0);
	CHECK_TRUE("not told again by who heard it so", !net_neighbour_news(r[0].net, &n));
	CHECK_TRUE("what waited goes", rig_next(&r[0], &w, 0));
	CHECK_OCTETS("there", w.octet, 6, peer_mac, 6);
	for (uint32_t i = 0; i < 200; i++) { /* a flood of answers nobody asked for */
		w = arp(2, our_mac, peer_mac, "198.18.0.77", "198.18.0.2");
		rig_feed(&r[1], &w, 0, false, 0);
	}
	for (uint32_t i = 0; i < 64; i++)
		CHECK_TRUE("bounded", net_neighbour_news(r[1].net, &n));
	CHECK_TRUE("at 64", !net_neighbour_news(r[1].net, &n));
	w = arp(2, our_mac, peer_mac, "198.18.0.3", "198.18.0.2");
	rig_feed(&r[1], &w, 0, false, 0);
	CHECK_TRUE("nobody else has our address", !net_neighbour_news(r[1].net, &n));
	n.port_index = 200;
	net_neighbour_learn(r[0].net, &n, 0); /* no such port: nothing */
	rig_down(&r[0]);
	rig_down(&r[1]);
}

static void
test_net_source_for_follows_the_route(void **state)
{
	static const struct {
		const char *label, *remote, *want; /* NULL: unreachable */
	} rows[] = {
		{ "on the lan", "198.18.1.3", "198.18.1.2" },
		{ "on the wan", "198.18.0.77", "198.18.0.2" },
		{ "through the gateway", "203.0.113.9", "198.18.0.2" },
		{ "on the lan", "2001:db8:0:2::3", "2001:db8:0:2::2" },
		{ "through the gateway", "2001:db8:77::9", "2001:db8:0:1::2" },
		{ "link local", "fe80::1", NULL },
		{ "broadcast of the lan", "198.18.1.255", NULL },
	};
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct ip_addr remote = addr_of(rows[i].remote);
		char text[IP_ADDR_TEXT_MAX_OCTETS];
		struct ip_addr local;
		uint16_t mtu;
		const int rc = net_source_for(r.net, &remote, &local, &mtu);

		CHECK_EQ(rows[i].label, rc, rows[i].want != NULL ? 0 : -ENETUNREACH);
		if (rows[i].want != NULL) {
			CHECK_STR(rows[i].label, ip_addr_format(&local, text), rows[i].want);
			CHECK_EQ(rows[i].label, mtu, 1500);
		}
	}
	{
		const struct ip_addr ours = addr_of("198.18.1.2"), other = addr_of("198.18.1.3");

		CHECK_TRUE("ours", net_is_local(r.net, &ours));
		CHECK_TRUE("not ours", !net_is_local(r.net, &other));
	}
	rig_down(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_net_wrap_writes_headers_and_checksum),
		cmocka_unit_test(test_net_wrap_reply_needs_no_neighbour),
		cmocka_unit_test(test_net_wrap_refuses),
		cmocka_unit_test(test_net_wrap_asks_and_keeps_the_latest_frame),
		cmocka_unit_test(test_net_wrap_gives_up_on_a_silent_hop),
		cmocka_unit_test(test_neighbour_in_use_is_refreshed_by_unicast),
		cmocka_unit_test(test_neighbour_words_nobody_asked_for),
		cmocka_unit_test(test_neighbour_static_is_never_overwritten),
		cmocka_unit_test(test_neighbour_table_and_queue_are_bounded),
		cmocka_unit_test(test_neighbour_by_nd),
		cmocka_unit_test(test_nd_solicitations_are_answered),
		cmocka_unit_test(test_nd_in_a_fragment_is_nothing),
		cmocka_unit_test(test_arp_requests_are_answered),
		cmocka_unit_test(test_neighbour_news_reach_who_asked),
		cmocka_unit_test(test_net_source_for_follows_the_route),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
