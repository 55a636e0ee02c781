/*
 * test_net_input.c - frames into the network layer: what reaches TCP, what is answered, what is dropped.
 */
#include "tests/unit/net/net_wire.h"

static struct wire
tcp4(const char *src, const char *dst)
{
	struct wire w;
	uint8_t t[128];

	wire_eth(&w, our_mac, peer_mac, 0x0800);
	wire_ip4(&w, src, dst, 6, 0, 0x4000, t, wire_tcp(t, src, 40000, dst, 25, "hi", 2));
	return w;
}

/* With four octets of options behind the IP header, which no plain segment has. */
static struct wire
tcp4_options(const char *src, const char *dst)
{
	struct wire w = tcp4(src, dst);
	uint8_t *h = w.octet + 14;

	memmove(h + 24, h + 20, w.len - 34);
	memset(h + 20, 1, 4);
	w.len += 4;
	h[0] = 0x46;
	put_u16(h + 2, (uint16_t)(w.len - 14));
	put_u16(h + 10, 0);
	put_u16(h + 10, csum_of(h, 24));
	return w;
}

static struct wire
tcp6(const char *src, const char *dst)
{
	struct wire w;
	uint8_t t[128];

	wire_eth(&w, our_mac, peer_mac, 0x86dd);
	wire_ip6(&w, src, dst, 6, 60, t, wire_tcp(t, src, 40000, dst, 25, "hi", 2));
	return w;
}

static void
test_net_input_gives_a_segment(void **state)
{
	struct rig r;
	struct wire w = tcp4("203.0.113.9", "198.18.0.2");
	struct net_frame f = { .view = { .ptr = w.octet, .len_octets = w.len } };

	(void)state;
	rig_up(&r, 0, 1);
	CHECK_EQ("IPv4", net_input(r.net, &f, &r.out, 0), NET_SEGMENT);
	CHECK_EQ("local port", r.out.seg.flow.local_port, 25);
	CHECK_EQ("remote port", r.out.seg.flow.remote_port, 40000);
	CHECK_EQ("ttl", r.out.seg.ttl, 61);
	CHECK_OCTETS("payload", r.out.seg.tcp.ptr + 20, r.out.seg.tcp.len_octets - 20, "hi", 2);
	CHECK_TRUE("unknown is not good", !r.out.seg.checksum_good);
	f.l4_checksum = 1;
	net_input(r.net, &f, &r.out, 0);
	CHECK_TRUE("the port verified it", r.out.seg.checksum_good);
	f.l4_checksum = 2;
	net_input(r.net, &f, &r.out, 0);
	CHECK_TRUE("bad by hardware is left to software", !r.out.seg.checksum_good);
	w = tcp6("2001:db8:77::9", "2001:db8:0:1::2");
	f.view.len_octets = w.len;
	CHECK_EQ("IPv6", net_input(r.net, &f, &r.out, 0), NET_SEGMENT);
	CHECK_EQ("IPv6 length", r.out.seg.tcp.len_octets, 22);
	rig_down(&r);
}

/* Ethernet pads to 60 octets; a port may cut a frame. The IP length rules (PITFALLS 19 and 25). */
static void
test_net_input_takes_the_length_of_the_ip_header(void **state)
{
	struct wire w = tcp4("203.0.113.9", "198.18.0.2");
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	memset(w.octet + w.len, 0xee, 60 - w.len + 40);
	w.len = 100;
	CHECK_EQ("padded", rig_feed(&r, &w, 0, false, 0), NET_SEGMENT);
	CHECK_EQ("padding is not payload", r.out.seg.tcp.len_octets, 22);
	w = tcp4("203.0.113.9", "198.18.0.2");
	w.len--;
	CHECK_EQ("cut by one octet", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	CHECK_EQ("and counted", rig_count(&r, CTR_net_drop_short), 1);
	w = tcp4_options("203.0.113.9", "198.18.0.2");
	memset(w.octet + w.len, 0xee, 20);
	w.len += 20;
	CHECK_EQ("with options, padded", rig_feed(&r, &w, 0, false, 0), NET_SEGMENT);
	CHECK_EQ("padding is not payload there either", r.out.seg.tcp.len_octets, 22);
	w = tcp6("2001:db8:77::9", "2001:db8:0:1::2");
	memset(w.octet + w.len, 0xee, 20);
	w.len += 20;
	CHECK_EQ("IPv6 padded", rig_feed(&r, &w, 0, false, 0), NET_SEGMENT);
	CHECK_EQ("IPv6 padding is not payload", r.out.seg.tcp.len_octets, 22);
	rig_down(&r);
}

static void
test_net_input_survives_every_cut(void **state)
{
	struct wire w[2] = { tcp4("203.0.113.9", "198.18.0.2"), tcp6("2001:db8:77::9", "2001:db8:0:1::2") };
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	for (uint32_t i = 0; i < 2; i++)
		while (w[i].len-- > 0)
			CHECK_EQ("cut", rig_feed(&r, &w[i], 0, false, 0), NET_NONE);
	rig_down(&r);
}

/* PITFALLS 16, and the strong model of hosts with two ports. */
static void
test_net_input_drops_addresses_that_cannot_be(void **state)
{
	static const struct {
		const char *label, *src, *dst;
		int v;
		enum net_result want;
	} rows[] = {
		{ "a stranger", "203.0.113.9", "198.18.0.2", 4, NET_SEGMENT },
		{ "a neighbour", "198.18.0.9", "198.18.0.2", 4, NET_SEGMENT },
		{ "our second address", "203.0.113.9", "198.18.0.3", 4, NET_SEGMENT },
		{ "from 0.0.0.0", "0.0.0.0", "198.18.0.2", 4, NET_NONE },
		{ "from this network", "0.1.2.3", "198.18.0.2", 4, NET_NONE },
		{ "from loopback", "127.0.0.1", "198.18.0.2", 4, NET_NONE },
		{ "from a group", "224.0.0.1", "198.18.0.2", 4, NET_NONE },
		{ "from a reserved address", "240.0.0.1", "198.18.0.2", 4, NET_NONE },
		{ "from everybody", "255.255.255.255", "198.18.0.2", 4, NET_NONE },
		{ "from the subnet's broadcast", "198.18.0.255", "198.18.0.2", 4, NET_NONE },
		{ "from the subnet's zero", "198.18.0.0", "198.18.0.2", 4, NET_NONE },
		{ "from ourselves", "198.18.0.2", "198.18.0.2", 4, NET_NONE },
		{ "from our address on the other port", "198.18.1.2", "198.18.0.2", 4, NET_NONE },
		{ "to the subnet's broadcast", "203.0.113.9", "198.18.0.255", 4, NET_NONE },
		{ "to everybody", "203.0.113.9", "255.255.255.255", 4, NET_NONE },
		{ "to somebody else", "203.0.113.9", "198.18.0.77", 4, NET_NONE },
		{ "to our address on the other port", "203.0.113.9", "198.18.1.2", 4, NET_NONE },
		{ "a stranger", "2001:db8:77::9", "2001:db8:0:1::2", 6, NET_SEGMENT },
		{ "from ::", "::", "2001:db8:0:1::2", 6, NET_NONE },
		{ "from ::1", "::1", "2001:db8:0:1::2", 6, NET_NONE },
		{ "from a group", "ff02::1", "2001:db8:0:1::2", 6, NET_NONE },
		{ "from a mapped address, which would pass for IPv4", "::ffff:203.0.113.9", "2001:db8:0:1::2", 6,
			NET_NONE },
		{ "from a compatible address", "::203.0.113.9", "2001:db8:0:1::2", 6, NET_NONE },
		{ "from ourselves", "2001:db8:0:1::2", "2001:db8:0:1::2", 6, NET_NONE },
		{ "to a group", "2001:db8:77::9", "ff02::1", 6, NET_NONE },
		{ "to somebody else", "2001:db8:77::9", "2001:db8:0:1::3", 6, NET_NONE },
	};
	uint64_t dropped = 0;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct wire w;

		if (rows[i].v == 4)
			w = tcp4(rows[i].src, rows[i].dst);
		else
			w = tcp6(rows[i].src, rows[i].dst);
		CHECK_EQ(rows[i].label, rig_feed(&r, &w, 0, false, 0), rows[i].want);
		dropped += rows[i].want == NET_NONE;
		CHECK_EQ(rows[i].label, rig_count(&r, CTR_net_drop_ip_address), dropped);
	}
	rig_down(&r);
}

static void
test_net_input_drops_what_is_not_for_our_mac(void **state)
{
	static const uint8_t other[6] = { 2, 0, 0, 0, 0, 7 }, group[6] = { 0x33, 0x33, 0, 0, 0, 1 }, zero[6] = { 0 };
	struct wire w = tcp4("203.0.113.9", "198.18.0.2");
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	memcpy(w.octet, other, 6);
	CHECK_EQ("another station", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	memcpy(w.octet, all_mac, 6);
	CHECK_EQ("a broadcast", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	memcpy(w.octet, group, 6);
	CHECK_EQ("a group", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	memcpy(w.octet, our_mac, 6);
	memcpy(w.octet + 6, group, 6);
	CHECK_EQ("from a group", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	memcpy(w.octet + 6, zero, 6);
	CHECK_EQ("from nobody", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	CHECK_EQ("counted", rig_count(&r, CTR_net_drop_mac), 5);
	memcpy(w.octet + 6, peer_mac, 6);
	CHECK_EQ("the port decides which MAC is ours", rig_feed(&r, &w, 1, false, 0), NET_NONE);
	put_u16(w.octet + 12, 0x88cc);
	CHECK_EQ("unknown type", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	CHECK_EQ("counted", rig_count(&r, CTR_net_drop_ethertype), 1);
	rig_down(&r);
}

static void
test_net_input_hands_a_flow_of_another_worker_over(void **state)
{
	uint32_t n[2] = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 200; i++) {
		struct rig r;
		struct wire w;
		char src[32];
		enum net_result result;

		snprintf(src, sizeof(src), "203.0.113.%u", i + 1);
		w = tcp4(src, "198.18.0.2");
		rig_up(&r, 1, 2);
		result = rig_feed(&r, &w, 0, false, 0);
		n[result == NET_SEGMENT]++;
		if (result == NET_REDIRECT) {
			CHECK_EQ("to the owner", r.out.owner, 0);
			CHECK_TRUE("as it came", r.out.whole.buf == NULL);
			CHECK_EQ("never twice", rig_feed(&r, &w, 0, true, 0), NET_SEGMENT);
		} else {
			CHECK_EQ("ours", result, NET_SEGMENT);
		}
		rig_down(&r);
	}
	CHECK_TRUE("both are used", n[0] > 50 && n[1] > 50);
}

/* ---- echo ---- */

static struct wire
echo4(const char *dst, uint32_t payload, const uint8_t *mac)
{
	uint8_t m[2048] = { 8, 0, 0, 0, 0x12, 0x34, 0, 1 };
	struct wire w;

	for (uint32_t i = 0; i < payload; i++)
		m[8 + i] = (uint8_t)i;
	wire_icmp_sum(m, 8 + payload, NULL, NULL);
	wire_eth(&w, mac, peer_mac, 0x0800);
	wire_ip4(&w, "203.0.113.9", dst, 1, 7, 0, m, 8 + payload);
	return w;
}

static void
test_net_input_answers_echo(void **state)
{
	struct wire w = echo4("198.18.0.2", 57, our_mac), reply;
	uint8_t m6[64] = { 128, 0, 0, 0, 9, 9, 0, 3, 'x', 'y', 'z' };
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	CHECK_EQ("consumed", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	CHECK_TRUE("answered", rig_next(&r, &reply, 0));
	CHECK_EQ("of the same size", reply.len, w.len);
	CHECK_OCTETS("to who asked", reply.octet, 6, peer_mac, 6);
	CHECK_OCTETS("from us", reply.octet + 6, 6, our_mac, 6);
	CHECK_OCTETS("IP source", reply.octet + 26, 4, w.octet + 30, 4);
	CHECK_OCTETS("IP destination", reply.octet + 30, 4, w.octet + 26, 4);
	CHECK_EQ("IP checksum", csum_of(reply.octet + 14, 20), 0);
	CHECK_EQ("type", reply.octet[34], 0);
	CHECK_EQ("ICMP checksum", csum_of(reply.octet + 34, reply.len - 34), 0);
	CHECK_OCTETS("the octets come back", reply.octet + 38, reply.len - 38, w.octet + 38, w.len - 38);
	CHECK_EQ("counted", rig_count(&r, CTR_net_icmp_echo), 1);

	wire_icmp_sum(m6, 11, "2001:db8:77::9", "2001:db8:0:1::2");
	wire_eth(&w, our_mac, peer_mac, 0x86dd);
	wire_ip6(&w, "2001:db8:77::9", "2001:db8:0:1::2", 58, 64, m6, 11);
	CHECK_EQ("IPv6 consumed", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	CHECK_TRUE("IPv6 answered", rig_next(&r, &reply, 0));
	CHECK_EQ("IPv6 type", reply.octet[54], 129);
	{
		const struct ip_addr a = addr_of("2001:db8:77::9"), b = addr_of("2001:db8:0:1::2");

		CHECK_TRUE("ICMPv6 checksum", csum_is_good(&b, &a, 58, reply.octet + 54, reply.len - 54));
	}
	CHECK_OCTETS("IPv6 octets come back", reply.octet + 58, reply.len - 58, w.octet + 58, w.len - 58);
	rig_down(&r);
}

static void
test_net_input_does_not_answer_every_echo(void **state)
{
	struct wire w, reply;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	w = echo4("198.18.0.255", 8, all_mac);
	rig_feed(&r, &w, 0, false, 0);
	w = echo4("198.18.0.2", 8, all_mac);
	rig_feed(&r, &w, 0, false, 0);
	w = echo4("198.18.0.2", 8, our_mac);
	w.octet[w.len - 1] ^= 1;
	rig_feed(&r, &w, 0, false, 0);
	CHECK_TRUE("broadcast, smurf and damage stay unanswered", !rig_next(&r, &reply, 0));
	/* a flood: the burst, then as many as time allows */
	w = echo4("198.18.0.2", 8, our_mac);
	for (uint32_t i = 0; i < 1000; i++) {
		rig_feed(&r, &w, 0, false, 1000);
		rig_next(&r, &reply, 1000);
	}
	CHECK_EQ("answered", rig_count(&r, CTR_net_icmp_echo), 200);
	CHECK_EQ("not answered", rig_count(&r, CTR_net_icmp_limited), 800);
	rig_feed(&r, &w, 0, false, 2000);
	CHECK_EQ("a millisecond earns one", rig_count(&r, CTR_net_icmp_echo), 201);
	rig_down(&r);
}

static void
test_net_input_counts_answers_beyond_the_queue(void **state)
{
	struct wire w = echo4("198.18.0.2", 8, our_mac), reply;
	uint32_t n = 0;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	for (uint32_t i = 0; i < 150; i++)
		rig_feed(&r, &w, 0, false, 0);
	CHECK_EQ("dropped", rig_count(&r, CTR_net_out_full), 22);
	while (rig_next(&r, &reply, 0))
		n++;
	CHECK_EQ("sent", n, 128);
	rig_down(&r);
}

static void
test_net_input_without_a_buffer(void **state)
{
	struct wire w = echo4("198.18.0.2", 8, our_mac);
	struct net_frame f = { .view = { .ptr = w.octet,
				       .len_octets = w.len } }; /* no buffer to attach: a copy is needed */
	struct wire reply;
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	buf_malloc_fail_at(r.pool, 1);
	net_input(r.net, &f, &r.out, 0);
	CHECK_EQ("counted", rig_count(&r, CTR_port_no_buffer), 1);
	CHECK_TRUE("no answer", !rig_next(&r, &reply, 0));
	net_input(r.net, &f, &r.out, 0);
	CHECK_TRUE("the next one is answered", rig_next(&r, &reply, 0));
	CHECK_OCTETS("with its octets", reply.octet + 38, reply.len - 38, w.octet + 38, w.len - 38);
	rig_down(&r);
}

/* ---- ICMP errors ---- */

static void
test_net_input_matches_icmp_errors_by_the_quoted_tuple(void **state)
{
	struct wire quoted = { .len = 0 }, w;
	uint8_t m[128] = { 3, 4, 0, 0, 0, 0, 0x05, 0x14 }, t[64];
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	wire_ip4(&quoted, "198.18.0.2", "203.0.113.9", 6, 0, 0x4000, t,
		wire_tcp(t, "198.18.0.2", 25, "203.0.113.9", 40000, "", 0));
	memcpy(m + 8, quoted.octet, 28);
	wire_icmp_sum(m, 36, NULL, NULL);
	wire_eth(&w, our_mac, peer_mac, 0x0800);
	wire_ip4(&w, "192.0.2.200", "198.18.0.2", 1, 0, 0, m, 36);
	CHECK_EQ("too big", rig_feed(&r, &w, 0, false, 0), NET_ICMP_ERROR);
	CHECK_EQ("kind", r.out.error.kind, NET_ICMP_TOO_BIG);
	CHECK_EQ("mtu", r.out.error.mtu, 1300);
	CHECK_EQ("sequence number", r.out.error.quoted_seq, 0x01020304);
	CHECK_EQ("local port", r.out.error.flow.local_port, 25);
	CHECK_EQ("remote port", r.out.error.flow.remote_port, 40000);
	m[6] = 0;
	m[7] = 68; /* PITFALLS 20 */
	wire_icmp_sum(m, 36, NULL, NULL);
	w.len = 14;
	wire_ip4(&w, "192.0.2.200", "198.18.0.2", 1, 0, 0, m, 36);
	rig_feed(&r, &w, 0, false, 0);
	CHECK_EQ("a tiny mtu is not believed", r.out.error.mtu, 552);
	m[8 + 15] += 9; /* the quoted source is not ours */
	wire_icmp_sum(m, 36, NULL, NULL);
	w.len = 14;
	wire_ip4(&w, "192.0.2.200", "198.18.0.2", 1, 0, 0, m, 36);
	CHECK_EQ("not about us", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	w.octet[w.len - 1]++;
	CHECK_EQ("damaged", rig_feed(&r, &w, 0, false, 0), NET_NONE);
	rig_down(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_net_input_gives_a_segment),
		cmocka_unit_test(test_net_input_takes_the_length_of_the_ip_header),
		cmocka_unit_test(test_net_input_survives_every_cut),
		cmocka_unit_test(test_net_input_drops_addresses_that_cannot_be),
		cmocka_unit_test(test_net_input_drops_what_is_not_for_our_mac),
		cmocka_unit_test(test_net_input_hands_a_flow_of_another_worker_over),
		cmocka_unit_test(test_net_input_answers_echo),
		cmocka_unit_test(test_net_input_does_not_answer_every_echo),
		cmocka_unit_test(test_net_input_counts_answers_beyond_the_queue),
		cmocka_unit_test(test_net_input_without_a_buffer),
		cmocka_unit_test(test_net_input_matches_icmp_errors_by_the_quoted_tuple),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
