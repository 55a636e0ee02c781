/*
 * test_parsers.c - octet tables for each parser and builder: Ethernet, ARP, IPv4, IPv6, ND, ICMP errors.
 */
#include "tests/unit/net/net_wire.h"

#include "dataplane/net/arp.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/icmp.h"
#include "dataplane/net/ipv4.h"
#include "dataplane/net/ipv6.h"
#include "dataplane/net/nd.h"

/* Parses exactly len octets of a heap block, so that a read beyond them is noticed. */
#define WITH_EXACT(name, src, len)                                                                                     \
	for (uint8_t *name = memcpy(malloc((len) > 0 ? (len) : 1), (src), (len)), *once_ = name; once_ != NULL;        \
		free(name), once_ = NULL)

static void
test_eth_parse_steps_over_a_priority_tag_alone(void **state)
{
	static const struct {
		const char *label;
		uint8_t octet[20];
		uint32_t len;
		bool ok;
		uint16_t type;
		uint32_t left;
	} rows[] = {
		{ "plain", { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x00, 0xaa }, 15, true, 0x0800, 1 },
		{ "one octet short", { 0 }, 13, false, 0, 0 },
		{ "priority tag", { [12] = 0x81, 0x00, 0xe0, 0x00, 0x86, 0xdd, 0xaa }, 19, true, 0x86dd, 1 },
		{ "a VLAN is not ours", { [12] = 0x81, 0x00, 0x00, 0x05, 0x08, 0x00 }, 18, true, 0x8100, 4 },
		{ "priority tag cut", { [12] = 0x81, 0x00, 0x00, 0x00, 0x08 }, 17, false, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		WITH_EXACT(p, rows[i].octet, rows[i].len)
		{
			struct octets o = octets_of(p, rows[i].len);
			struct eth_header h;

			CHECK_EQ(rows[i].label, eth_parse(&o, &h), rows[i].ok);
			if (rows[i].ok) {
				CHECK_EQ(rows[i].label, h.type, rows[i].type);
				CHECK_EQ(rows[i].label, o.len_octets, rows[i].left);
			}
		}
	}
}

static void
test_arp_parse_and_build(void **state)
{
	static const uint8_t request[28] = { 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0x99, 198, 18, 0, 9, 0, 0, 0, 0, 0,
		0, 198, 18, 0, 2 };
	static const struct {
		const char *label;
		uint32_t at;
		uint8_t value;
	} bad[] = {
		{ "hardware", 1, 6 },
		{ "protocol", 2, 9 },
		{ "hardware length", 4, 8 },
		{ "protocol length", 5, 16 },
		{ "operation 3 (reverse ARP)", 7, 3 },
		{ "operation 0", 7, 0 },
	};
	uint8_t again[28];
	struct arp arp;

	(void)state;
	CHECK_TRUE("a request", arp_parse(octets_of(request, 28), &arp));
	CHECK_EQ("operation", arp.op, ARP_REQUEST);
	CHECK_EQ("sender", ip_addr_to_v4(&arp.sender), 0xc6120009);
	CHECK_EQ("target", ip_addr_to_v4(&arp.target), 0xc6120002);
	CHECK_TRUE("room used", arp_build(again, &arp) == again + 28);
	CHECK_OCTETS("builds the same", again, 28, request, 28);
	for (uint32_t len = 0; len < 28; len++)
		WITH_EXACT(p, request, len)
	CHECK_TRUE("cut", !arp_parse(octets_of(p, len), &arp));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		memcpy(again, request, 28);
		again[bad[i].at] = bad[i].value;
		CHECK_TRUE(bad[i].label, !arp_parse(octets_of(again, 28), &arp));
	}
}

/* A header of 20 to 60 octets and 8 of payload, its checksum right. */
static uint32_t
ipv4_with(uint8_t *h, uint32_t options_octets, const uint8_t *options)
{
	const uint32_t n = 20 + options_octets;

	memset(h, 0, n + 8);
	h[0] = (uint8_t)(0x40 | n / 4);
	put_u16(h + 2, (uint16_t)(n + 8));
	h[8] = 64;
	h[9] = 6;
	h[12] = 203;
	h[16] = 198;
	if (options_octets > 0)
		memcpy(h + 20, options, options_octets);
	put_u16(h + 10, csum_of(h, n));
	return n + 8;
}

static void
test_ipv4_parse_judges_each_field(void **state)
{
	static const struct {
		const char *label;
		uint32_t at;
		uint8_t value;
		enum ip_result want;
	} rows[] = {
		{ "as it should be", 0, 0x45, IP_OK },
		{ "version 6", 0, 0x65, IP_HEADER },
		{ "a header of 16 octets", 0, 0x44, IP_HEADER },
		{ "a header beyond the frame", 0, 0x4f, IP_SHORT },
		{ "shorter than its header", 3, 19, IP_HEADER },
		{ "longer than the frame", 3, 29, IP_SHORT },
		{ "no payload", 3, 20, IP_OK },
	};
	uint8_t h[80];
	struct ip_packet p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint32_t len = ipv4_with(h, 0, NULL);

		h[rows[i].at] = rows[i].value;
		put_u16(h + 10, 0);
		put_u16(h + 10, csum_of(h, 20));
		WITH_EXACT(x, h, len)
		CHECK_EQ(rows[i].label, ipv4_parse(octets_of(x, len), &p), rows[i].want);
	}
	ipv4_with(h, 0, NULL);
	h[8]--;
	CHECK_EQ("wrong checksum", ipv4_parse(octets_of(h, 28), &p), IP_CHECKSUM);
	ipv4_with(h, 0, NULL);
	put_u16(h + 4, 0xbeef);
	put_u16(h + 6, 0x2000 | 185);
	h[1] = 0x03;
	put_u16(h + 10, 0);
	put_u16(h + 10, csum_of(h, 20));
	CHECK_EQ("a fragment", ipv4_parse(octets_of(h, 28), &p), IP_OK);
	CHECK_TRUE("is one, with more to come", p.is_fragment && p.more);
	CHECK_EQ("offset", p.frag_offset_octets, 1480);
	CHECK_EQ("identification", p.frag_id, 0xbeef);
	CHECK_EQ("ecn", p.ecn, 3);
	CHECK_EQ("payload", p.payload_octets, 8);
}

static void
test_ipv4_parse_judges_options(void **state)
{
	static const struct {
		const char *label;
		uint8_t option[8];
		enum ip_result want;
	} rows[] = {
		{ "padding", { 1, 1, 1, 1, 1, 1, 1, 1 }, IP_OK },
		{ "ends early", { 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, IP_OK },
		{ "router alert", { 148, 4, 0, 0, 0 }, IP_OK },
		{ "loose source route", { 131, 7, 4, 1, 2, 3, 4, 0 }, IP_HEADER },
		{ "strict source route", { 1, 137, 7, 4, 1, 2, 3, 4 }, IP_HEADER },
		{ "length 0", { 7, 0, 0, 0 }, IP_HEADER },
		{ "length 1", { 7, 1, 0, 0 }, IP_HEADER },
		{ "beyond the header", { 7, 9, 0, 0 }, IP_HEADER },
		{ "length itself beyond", { 1, 1, 1, 1, 1, 1, 1, 7 }, IP_HEADER },
	};
	uint8_t h[80];
	struct ip_packet p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint32_t len = ipv4_with(h, 8, rows[i].option);

		WITH_EXACT(x, h, len)
		CHECK_EQ(rows[i].label, ipv4_parse(octets_of(x, len), &p), rows[i].want);
	}
}

static void
test_ipv4_build_is_parsed_back(void **state)
{
	const struct ip_addr src = addr_of("198.18.0.2"), dst = addr_of("203.0.113.9");
	const struct ipv4_frag whole = { .df = true }, piece = { .id = 7, .more = true, .offset_octets = 2960 };
	uint8_t h[28] = { 0 };
	struct ip_packet p;

	(void)state;
	CHECK_TRUE("room used", ipv4_build(h, &src, &dst, 6, 8, &whole) == h + 20);
	CHECK_EQ("parses", ipv4_parse(octets_of(h, 28), &p), IP_OK);
	CHECK_TRUE("addresses", ip_addr_equal(&p.src, &src) && ip_addr_equal(&p.dst, &dst));
	CHECK_TRUE("whole", !p.is_fragment);
	CHECK_EQ("may not be fragmented", h[6], 0x40);
	ipv4_build(h, &src, &dst, 1, 8, &piece);
	CHECK_EQ("a piece parses", ipv4_parse(octets_of(h, 28), &p), IP_OK);
	CHECK_EQ("its offset", p.frag_offset_octets, 2960);
	CHECK_TRUE("more", p.more);
}

/* Extension headers, then 8 octets of payload; next of the last header is 6. */
static void
test_ipv6_parse_walks_the_chain_within_limits(void **state)
{
	static const struct {
		const char *label;
		uint8_t first; /* next header of the fixed header */
		uint8_t ext[80];
		uint32_t ext_octets;
		enum ip_result want;
	} rows[] = {
		{ "none", 6, { 0 }, 0, IP_OK },
		{ "hop-by-hop with padding", 0, { 6, 0, 1, 4 }, 8, IP_OK },
		{ "hop-by-hop with router alert (discard not asked)", 0, { 6, 0, 5, 2, 0, 0, 1, 0 }, 8, IP_OK },
		{ "an option that says discard", 0, { 6, 0, 0x45, 4 }, 8, IP_EXTENSION },
		{ "an option that says discard and tell", 60, { 6, 0, 0xc2, 4 }, 8, IP_EXTENSION },
		{ "an option beyond its header", 60, { 6, 0, 1, 5 }, 8, IP_EXTENSION },
		{ "destination options of 16", 60, { 6, 1, 1, 12 }, 16, IP_OK },
		{ "longer than the packet", 60, { 6, 2, 1, 12 }, 8, IP_EXTENSION },
		{ "routing header used up", 43, { 6, 0, 0, 0 }, 8, IP_OK },
		{ "routing header with a segment left", 43, { 6, 0, 0, 1 }, 8, IP_EXTENSION },
		{ "hop-by-hop second", 60, { 0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4 }, 16, IP_EXTENSION },
		{ "four headers", 60,
			{ 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4 }, 32,
			IP_OK },
		{ "five headers", 60,
			{ 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0,
				0, 0, 6, 0, 1, 4 },
			40, IP_EXTENSION },
		{ "an atomic fragment", 44, { 6, 0, 0, 0, 1, 2, 3, 4 }, 8, IP_OK },
		{ "two fragment headers", 44, { 44, 0, 0, 0, 1, 2, 3, 4, 6, 0, 0, 0, 1, 2, 3, 4 }, 16, IP_EXTENSION },
		{ "no next header is a protocol nobody serves", 59, { 0 }, 0, IP_OK },
	};
	uint8_t h[40 + 80 + 8];
	struct ip_packet p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint32_t len = 40 + rows[i].ext_octets + 8;

		memset(h, 0, sizeof(h));
		h[0] = 0x60;
		put_u16(h + 4, (uint16_t)(rows[i].ext_octets + 8));
		h[6] = rows[i].first;
		memcpy(h + 40, rows[i].ext, rows[i].ext_octets);
		WITH_EXACT(x, h, len)
		{
			CHECK_EQ(rows[i].label, ipv6_parse(octets_of(x, len), &p), rows[i].want);
			if (rows[i].want == IP_OK) {
				CHECK_EQ(rows[i].label, p.payload_octets, 8);
				CHECK_TRUE(rows[i].label, !p.is_fragment);
			}
		}
		for (uint32_t cut = 0; cut < len; cut++)
			WITH_EXACT(y, h, cut)
		CHECK_TRUE("cut", ipv6_parse(octets_of(y, cut), &p) != IP_OK);
	}
	h[0] = 0x45;
	CHECK_EQ("version 4", ipv6_parse(octets_of(h, sizeof(h)), &p), IP_HEADER);
}

static void
test_ipv6_parse_stops_at_a_fragment(void **state)
{
	uint8_t h[40 + 8 + 16] = { 0x60, [4] = 0, 24, 44, 64, [40] = 60, 0, 0x05, 0xa9, 1, 2, 3, 4 };
	struct ip_packet p;

	(void)state;
	CHECK_EQ("parses", ipv6_parse(octets_of(h, sizeof(h)), &p), IP_OK);
	CHECK_TRUE("a fragment, more to come", p.is_fragment && p.more);
	CHECK_EQ("offset", p.frag_offset_octets, 0x5a8);
	CHECK_EQ("id", p.frag_id, 0x01020304);
	CHECK_EQ("what follows is left for the whole", p.proto, 60);
	CHECK_EQ("payload", p.payload_octets, 16);
}

static void
test_ipv6_addresses_made_of_others(void **state)
{
	const struct ip_addr a = addr_of("2001:db8::1:2345:6789");
	const struct ip_addr group = ipv6_solicited_node(&a), ll = ipv6_link_local_of(peer_mac);
	static const uint8_t want[6] = { 0x33, 0x33, 0xff, 0x45, 0x67, 0x89 };
	char text[IP_ADDR_TEXT_MAX_OCTETS];
	uint8_t mac[6];

	(void)state;
	CHECK_STR("solicited node", ip_addr_format(&group, text), "ff02::1:ff45:6789");
	ipv6_multicast_mac(&group, mac);
	CHECK_OCTETS("its MAC", mac, 6, want, 6);
	CHECK_STR("link local", ip_addr_format(&ll, text), "fe80::ff:fe00:99");
}

static void
test_nd_parse_passes_only_what_the_rfc_does(void **state)
{
	static const uint8_t ns[32] = { 135, 0, 0, 0, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, [23] = 2, 1, 1, 2, 0, 0, 0, 0,
		0x99 };
	static const struct {
		const char *label;
		uint32_t at;
		uint8_t value;
		const char *src, *dst;
		uint8_t hops;
		uint32_t len;
		bool want;
	} rows[] = {
		{ "a solicitation", 0, 135, "2001:db8::9", "2001:db8::2", 255, 32, true },
		{ "without options", 0, 135, "2001:db8::9", "2001:db8::2", 255, 24, true },
		{ "through a router", 0, 135, "2001:db8::9", "2001:db8::2", 254, 32, false },
		{ "code", 1, 1, "2001:db8::9", "2001:db8::2", 255, 32, false },
		{ "for a group", 8, 0xff, "2001:db8::9", "2001:db8::2", 255, 32, false },
		{ "option of length 0", 25, 0, "2001:db8::9", "2001:db8::2", 255, 32, false },
		{ "option beyond the end", 25, 2, "2001:db8::9", "2001:db8::2", 255, 32, false },
		{ "cut", 0, 135, "2001:db8::9", "2001:db8::2", 255, 23, false },
		{ "cut in the option", 0, 135, "2001:db8::9", "2001:db8::2", 255, 31, false },
		{ "unknown option", 24, 14, "2001:db8::9", "2001:db8::2", 255, 32, true },
		{ "duplicate test", 0, 135, "::", "ff02::1:ff00:2", 255, 24, true },
		{ "duplicate test with an address", 0, 135, "::", "ff02::1:ff00:2", 255, 32, false },
		{ "duplicate test by unicast", 0, 135, "::", "2001:db8::2", 255, 24, false },
		{ "an advertisement", 0, 136, "2001:db8::9", "2001:db8::2", 255, 32, true },
		{ "an advertisement to all", 0, 136, "2001:db8::9", "ff02::1", 255, 32, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t m[32];

		memcpy(m, ns, 32);
		m[rows[i].at] = rows[i].value;
		WITH_EXACT(x, m, rows[i].len)
		{
			const struct ip_packet p = { .src = addr_of(rows[i].src),
				.dst = addr_of(rows[i].dst),
				.ttl = rows[i].hops,
				.payload = x,
				.payload_octets = rows[i].len };
			struct nd nd;

			CHECK_EQ(rows[i].label, nd_parse(&p, &nd), rows[i].want);
		}
	}
	{
		uint8_t na[32];
		const struct ip_packet p = { .src = addr_of("2001:db8::9"),
			.dst = addr_of("ff02::1"),
			.ttl = 255,
			.payload = na,
			.payload_octets = 32 };
		struct nd nd;

		memcpy(na, ns, 32);
		na[0] = 136;
		na[4] = 0x40;
		CHECK_TRUE("solicited to a group", !nd_parse(&p, &nd));
	}
}

static void
test_nd_build_is_parsed_back(void **state)
{
	const struct ip_addr src = addr_of("2001:db8::2"), dst = addr_of("2001:db8::9");
	uint8_t m[32];
	const struct ip_packet p = { .src = src, .dst = dst, .ttl = 255, .payload = m, .payload_octets = 32 };
	struct nd nd;

	(void)state;
	CHECK_TRUE("room used", nd_build_ns(m, &src, &dst, &dst, our_mac) == m + 32);
	CHECK_TRUE("checksum", csum_is_good(&src, &dst, 58, m, 32));
	CHECK_TRUE("solicitation parses", nd_parse(&p, &nd) && nd.is_ns && nd.has_mac);
	CHECK_OCTETS("with our address", nd.mac, 6, our_mac, 6);
	nd_build_na(m, &src, &dst, &src, our_mac, true);
	CHECK_TRUE("checksum", csum_is_good(&src, &dst, 58, m, 32));
	CHECK_TRUE("advertisement parses", nd_parse(&p, &nd) && !nd.is_ns && nd.has_mac && nd.solicited && nd.override);
	nd_build_na(m, &src, &dst, &src, our_mac, false);
	CHECK_TRUE("unsolicited", nd_parse(&p, &nd) && !nd.solicited);
}

static void
test_icmp_error_parse_knows_hard_from_soft(void **state)
{
	static const struct {
		const char *label;
		int v;
		uint8_t type, code;
		uint32_t word;
		int want; /* -1: no error for TCP */
		uint32_t mtu;
	} rows[] = {
		{ "net unreachable", 4, 3, 0, 0, NET_ICMP_UNREACH_SOFT, 0 },
		{ "host unreachable", 4, 3, 1, 0, NET_ICMP_UNREACH_SOFT, 0 },
		{ "protocol unreachable", 4, 3, 2, 0, NET_ICMP_UNREACH_HARD, 0 },
		{ "port unreachable", 4, 3, 3, 0, NET_ICMP_UNREACH_HARD, 0 },
		{ "administratively", 4, 3, 13, 0, NET_ICMP_UNREACH_HARD, 0 },
		{ "too big, 1400", 4, 3, 4, 1400, NET_ICMP_TOO_BIG, 1400 },
		{ "too big, 0: the plateau below", 4, 3, 4, 0, NET_ICMP_TOO_BIG, 1492 },
		{ "too big, 68", 4, 3, 4, 68, NET_ICMP_TOO_BIG, 552 },
		{ "source quench", 4, 4, 0, 0, -1, 0 },
		{ "redirect", 4, 5, 1, 0, -1, 0 },
		{ "time exceeded", 4, 11, 0, 0, NET_ICMP_UNREACH_SOFT, 0 },
		{ "parameter problem", 4, 12, 0, 0, NET_ICMP_UNREACH_SOFT, 0 },
		{ "echo reply", 4, 0, 0, 0, -1, 0 },
		{ "no route", 6, 1, 0, 0, NET_ICMP_UNREACH_SOFT, 0 },
		{ "administratively", 6, 1, 1, 0, NET_ICMP_UNREACH_HARD, 0 },
		{ "address unreachable", 6, 1, 3, 0, NET_ICMP_UNREACH_SOFT, 0 },
		{ "port unreachable", 6, 1, 4, 0, NET_ICMP_UNREACH_HARD, 0 },
		{ "too big, 1400", 6, 2, 0, 1400, NET_ICMP_TOO_BIG, 1400 },
		{ "too big, 1279 is not believed", 6, 2, 0, 1279, -1, 0 },
		{ "time exceeded", 6, 3, 0, 0, NET_ICMP_UNREACH_SOFT, 0 },
		{ "unknown next header", 6, 4, 1, 0, NET_ICMP_UNREACH_HARD, 0 },
		{ "redirect", 6, 137, 0, 0, -1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t m[8 + 40 + 8] = { rows[i].type, rows[i].code };
		const uint32_t len = rows[i].v == 4 ? 8 + 20 + 8 : 8 + 40 + 8;
		struct ip_packet p = { .is_v4 = rows[i].v == 4, .payload_octets = len };
		struct net_icmp_error e;
		uint8_t *q = m + 8;

		put_u32(m + 4, rows[i].word);
		if (rows[i].v == 4) {
			q[0] = 0x45;
			put_u16(q + 2, 1500);
			q[9] = 6;
			q += 20;
		} else {
			q[0] = 0x60;
			q[6] = 6;
			q[8] = q[24] = 0x20;
			q += 40;
		}
		put_u16(q, 25);
		put_u16(q + 2, 40000);
		put_u32(q + 4, 77);
		WITH_EXACT(x, m, len)
		{
			p.payload = x;
			CHECK_EQ(rows[i].label, icmp_error_parse(&p, &e), rows[i].want >= 0);
			if (rows[i].want >= 0) {
				CHECK_EQ(rows[i].label, e.kind, rows[i].want);
				CHECK_EQ(rows[i].label, e.mtu, rows[i].mtu);
				CHECK_EQ(rows[i].label, e.quoted_seq, 77);
			}
		}
		for (uint32_t cut = 0; cut < len; cut++) {
			WITH_EXACT(y, m, cut)
			{
				p.payload = y;
				p.payload_octets = cut;
				CHECK_TRUE("cut", !icmp_error_parse(&p, &e));
			}
		}
	}
}

static void
test_icmp_error_parse_wants_a_tcp_header_in_the_quote(void **state)
{
	static const struct {
		const char *label;
		uint32_t at; /* in the quoted IPv4 header */
		uint8_t value;
		bool want;
	} rows[] = {
		{ "as it should be", 9, 6, true },
		{ "UDP", 9, 17, false },
		{ "version 6", 0, 0x65, false },
		{ "a header of 16 octets", 0, 0x44, false },
		{ "options push TCP beyond the quote", 0, 0x46, false },
		{ "a later fragment, whose octets are no ports", 7, 1, false },
		{ "a first fragment", 6, 0x20, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t m[8 + 20 + 8] = { 3, 3, [8] = 0x45, [17] = 6 };
		const struct ip_packet p = { .is_v4 = true, .payload = m, .payload_octets = sizeof(m) };
		struct net_icmp_error e;

		m[8 + rows[i].at] = rows[i].value;
		CHECK_EQ(rows[i].label, icmp_error_parse(&p, &e), rows[i].want);
	}
}

static void
test_icmp_limit_follows_the_clock(void **state)
{
	struct icmp_limit l;
	uint32_t n = 0;

	(void)state;
	icmp_limit_init(&l, 5000);
	while (icmp_limit_allow(&l, 5000))
		n++;
	CHECK_EQ("burst", n, ICMP_LIMIT_BURST);
	CHECK_TRUE("a clock stepped back earns nothing", !icmp_limit_allow(&l, 0));
	CHECK_TRUE("a millisecond earns one", icmp_limit_allow(&l, 1000));
	CHECK_TRUE("and no more", !icmp_limit_allow(&l, 1000));
	for (n = 0; icmp_limit_allow(&l, UINT64_C(3600000000)); n++)
		;
	CHECK_EQ("an hour earns no more than a burst", n, ICMP_LIMIT_BURST);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eth_parse_steps_over_a_priority_tag_alone),
		cmocka_unit_test(test_arp_parse_and_build),
		cmocka_unit_test(test_ipv4_parse_judges_each_field),
		cmocka_unit_test(test_ipv4_parse_judges_options),
		cmocka_unit_test(test_ipv4_build_is_parsed_back),
		cmocka_unit_test(test_ipv6_parse_walks_the_chain_within_limits),
		cmocka_unit_test(test_ipv6_parse_stops_at_a_fragment),
		cmocka_unit_test(test_ipv6_addresses_made_of_others),
		cmocka_unit_test(test_nd_parse_passes_only_what_the_rfc_does),
		cmocka_unit_test(test_nd_build_is_parsed_back),
		cmocka_unit_test(test_icmp_error_parse_knows_hard_from_soft),
		cmocka_unit_test(test_icmp_error_parse_wants_a_tcp_header_in_the_quote),
		cmocka_unit_test(test_icmp_limit_follows_the_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
