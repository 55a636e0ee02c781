/*
 * test_net_drops.c - each reason for which the network layer drops a frame is counted under its name, and nothing else moves.
 */
#include "tests/unit/net/net_wire.h"

#define V4    "203.0.113.9"
#define V6    "2001:db8:77::9"
#define OURS4 "198.18.0.2"
#define OURS6 "2001:db8:0:1::2"

/* A frame of TCP, or of whatever payload stands there, that reaches its layer but for what a row changes. */
static struct wire
frame4(uint8_t proto, const void *payload, uint32_t len)
{
	struct wire w;

	wire_eth(&w, our_mac, peer_mac, 0x0800);
	wire_ip4(&w, V4, OURS4, proto, 7, 0, payload, len);
	return w;
}

static struct wire
frame6(uint8_t next, const void *payload, uint32_t len)
{
	struct wire w;

	wire_eth(&w, our_mac, peer_mac, 0x86dd);
	wire_ip6(&w, V6, OURS6, next, 64, payload, len);
	return w;
}

static struct wire
tcp4(void)
{
	uint8_t t[64];

	return frame4(6, t, wire_tcp(t, V4, 40000, OURS4, 25, "hi", 2));
}

static struct wire
icmp4(uint8_t type, uint8_t code, bool good)
{
	uint8_t m[36] = { type, code };

	wire_icmp_sum(m, sizeof(m), NULL, NULL);
	m[2] ^= !good;
	return frame4(1, m, sizeof(m));
}

static struct wire
icmp6(uint8_t type, uint8_t code, bool good)
{
	uint8_t m[64] = { type, code };

	wire_icmp_sum(m, sizeof(m), V6, OURS6);
	m[2] ^= !good;
	return frame6(58, m, sizeof(m));
}

static struct wire
vlan5(void)
{
	struct wire w;

	wire_eth(&w, our_mac, peer_mac, 0x8100);
	wire_put(&w, "\0\x05\x08\0", 4);
	return w;
}

/* A chain of n destination options of 8 octets each, then TCP. */
static struct wire
chain6(uint32_t n)
{
	uint8_t p[256] = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		p[8 * i] = i + 1 < n ? 60 : 6;
		p[8 * i + 2] = 1; /* PadN */
		p[8 * i + 3] = 4;
	}
	return frame6(60, p, 8 * n + wire_tcp(p + 8 * n, V6, 40000, OURS6, 25, "hi", 2));
}

static struct wire
arp_from(const uint8_t *sender_mac)
{
	static const uint8_t head[] = { 0, 1, 8, 0, 6, 4, 0, 1 };
	static const uint8_t sender[] = { 198, 18, 0, 9 }, nobody[6] = { 0 }, target[] = { 198, 18, 0, 2 };
	struct wire w;

	wire_eth(&w, all_mac, peer_mac, 0x0806);
	wire_put(&w, head, sizeof(head));
	wire_put(&w, sender_mac, 6);
	wire_put(&w, sender, 4);
	wire_put(&w, nobody, 6);
	wire_put(&w, target, 4);
	return w;
}

/* A frame with one octet of it changed by these bits. */
static struct wire
with(struct wire w, uint32_t at, uint8_t bits)
{
	w.octet[at] ^= bits;
	return w;
}

static struct wire
cut(struct wire w, uint32_t len)
{
	w.len = len;
	return w;
}

static struct wire
to_group(struct wire w)
{
	memcpy(w.octet, all_mac, 6);
	return w;
}

static void
test_net_drops_are_counted_by_reason(void **state)
{
	const struct {
		const char *label;
		struct wire w;
		enum counter want;
	} rows[] = {
		{ "no Ethernet header", cut(tcp4(), 13), CTR_net_drop_short },
		{ "IPv4 header cut", cut(tcp4(), 30), CTR_net_drop_short },
		{ "half a TCP header", frame4(6, "0123456789", 10), CTR_net_drop_short },
		{ "half an ICMP header", frame4(1, "\x08\0\0", 3), CTR_net_drop_short },
		{ "ARP cut", cut(arp_from(peer_mac), 30), CTR_net_drop_short },
		{ "for another station", with(tcp4(), 5, 0x40), CTR_net_drop_mac },
		{ "from a group", with(tcp4(), 6, 0x01), CTR_net_drop_mac },
		{ "TCP to everybody", to_group(tcp4()), CTR_net_drop_mac },
		{ "ARP for everybody's address", arp_from(all_mac), CTR_net_drop_mac },
		{ "an EtherType nobody knows", with(tcp4(), 12, 0x80), CTR_net_drop_ethertype },
		{ "of a VLAN", vlan5(), CTR_net_drop_vlan },
		{ "IPv4 of version 5", with(tcp4(), 14, 0x10), CTR_net_drop_ip_header },
		{ "IPv6 of version 7", with(chain6(1), 14, 0x10), CTR_net_drop_ip_header },
		{ "IPv4 checksum", with(tcp4(), 24, 0x01), CTR_net_drop_ip_checksum },
		{ "ICMP checksum of an echo", icmp4(8, 0, false), CTR_net_drop_ip_checksum },
		{ "ICMP checksum of an error", icmp4(3, 4, false), CTR_net_drop_ip_checksum },
		{ "ICMPv6 checksum", icmp6(2, 0, false), CTR_net_drop_ip_checksum },
		{ "ICMPv6 checksum of a solicitation", icmp6(135, 0, false), CTR_net_drop_ip_checksum },
		{ "UDP", frame4(17, "01234567", 8), CTR_net_drop_protocol },
		{ "UDP over IPv6", frame6(17, "01234567", 8), CTR_net_drop_protocol },
		{ "an echo of code 1", icmp4(8, 1, true), CTR_net_drop_protocol },
		{ "an error that quotes nothing of ours", icmp4(3, 1, true), CTR_net_drop_protocol },
		{ "a solicitation that is not from the link", icmp6(135, 0, true), CTR_net_drop_protocol },
		{ "more extension headers than are walked", chain6(5), CTR_net_drop_extension },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct rig r;

		rig_up(&r, 0, 1);
		CHECK_EQ(rows[i].label, rig_feed(&r, &rows[i].w, 0, false, 0), NET_NONE);
		for (enum counter c = 0; c < COUNTER_N; c++)
			if (c != CTR_net_arp_in) /* what came in, whatever becomes of it */
				CHECK_EQ(rows[i].label, rig_count(&r, c), c == rows[i].want);
		rig_down(&r);
	}
}

/* What the rows above change is what they are dropped for. */
static void
test_net_drops_nothing_that_is_right(void **state)
{
	const struct wire good[] = { tcp4(), chain6(1) };
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		CHECK_EQ("a segment", rig_feed(&r, &good[i], 0, false, 0), NET_SEGMENT);
	for (enum counter c = 0; c < COUNTER_N; c++)
		CHECK_EQ("nothing is counted", rig_count(&r, c), 0);
	rig_down(&r);
}

/* Datagrams that make room for later ones are counted, each once. */
static void
test_net_drops_of_reassembly_are_counted(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r, 0, 1);
	for (uint32_t i = 0; i < 1000; i++) {
		struct wire w;

		wire_eth(&w, our_mac, peer_mac, 0x0800);
		wire_ip4(&w, V4, OURS4, 6, (uint16_t)i, 0x2000, "01234567", 8);
		rig_feed(&r, &w, 0, false, i);
	}
	CHECK_EQ("taken", rig_count(&r, CTR_net_frag_in), 1000);
	CHECK_TRUE("most made room", rig_count(&r, CTR_net_frag_drop) >= 1000 - 512);
	CHECK_TRUE("the rest is held", rig_count(&r, CTR_net_frag_drop) < 1000);
	net_output(r.net, &(struct frame){ 0 }, 0, US(60));
	CHECK_EQ("in the end each", rig_count(&r, CTR_net_frag_drop), 1000);
	rig_down(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_net_drops_are_counted_by_reason),
		cmocka_unit_test(test_net_drops_nothing_that_is_right),
		cmocka_unit_test(test_net_drops_of_reassembly_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
