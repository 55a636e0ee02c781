/*
 * ipv6.c - the IPv6 header and the extension headers behind it: parse and build.
 *
 * Pure:   see ipv6.h.
 */
#include "dataplane/net/ipv6.h"

#include <string.h>

#define IPV6_NEXT_HOP_BY_HOP 0
#define IPV6_NEXT_ROUTING    43
#define IPV6_NEXT_DEST       60

#define IPV6_OPT_PAD1        0
#define IPV6_OPT_ACTION_MASK 0xc0 /* the two highest bits of an unknown type: 00 = step over, all else discards */

/* Options of a hop-by-hop or destination header: none is known here but padding. */
static bool
options_are_fine(const uint8_t *p, uint32_t len)
{
	while (len > 0) {
		uint32_t n = 1;

		if (p[0] != IPV6_OPT_PAD1) {
			if (len < 2 || p[1] + 2u > len || (p[0] & IPV6_OPT_ACTION_MASK) != 0)
				return false;
			n = p[1] + 2u;
		}
		p += n;
		len -= n;
	}
	return true;
}

/* One header of (next, length in 8 octets beyond the first 8, body) is taken from o; false where it may not pass. */
static bool
take_extension(struct octets *o, uint8_t type, uint8_t *next)
{
	const uint8_t *h = octets_take(o, 8);
	uint32_t body_octets;

	if (h == NULL)
		return false;
	body_octets = h[1] * 8u;
	if (octets_take(o, body_octets) == NULL)
		return false;
	*next = h[0];
	if (type == IPV6_NEXT_ROUTING)
		return h[3] == 0; /* segments left */
	return options_are_fine(h + 2, body_octets + 6);
}

static void
take_fragment(struct octets *o, struct ip_packet *p)
{
	uint16_t offset;

	p->proto = octets_u8(o);
	octets_take(o, 1);
	offset = octets_u16(o);
	p->frag_id = octets_u32(o);
	p->more = (offset & 1) != 0;
	p->frag_offset_octets = offset & 0xfff8u;
	p->has_frag_header = true;
	p->is_fragment = p->more || p->frag_offset_octets != 0;
}

/* Walks the chain from p->proto on; o ends where the IP length says. */
static bool
walk_chain(struct octets *o, struct ip_packet *p)
{
	const uint32_t all_octets = o->len_octets;
	bool fragment_seen = false;

	for (uint32_t n = 0;; n++) {
		const uint8_t type = p->proto;

		if (type != IPV6_NEXT_HOP_BY_HOP && type != IPV6_NEXT_ROUTING && type != IPV6_NEXT_DEST &&
			type != IPV6_NEXT_FRAGMENT)
			return true;
		if (n == IPV6_EXT_HEADERS_MAX || (type == IPV6_NEXT_HOP_BY_HOP && n > 0))
			return false;
		if (type == IPV6_NEXT_FRAGMENT) {
			if (fragment_seen)
				return false;
			fragment_seen = true;
			take_fragment(o, p);
			if (p->is_fragment)
				return !o->failed;
		} else if (!take_extension(o, type, &p->proto)) {
			return false;
		}
		if (o->failed || all_octets - o->len_octets > IPV6_EXT_OCTETS_MAX)
			return false;
	}
}

enum ip_result
ipv6_parse(struct octets o, struct ip_packet *out)
{
	struct ip_packet p = { .is_v4 = false };
	uint32_t first, payload_octets;
	struct octets chain;

	if (o.len_octets < IPV6_HEADER_OCTETS)
		return IP_SHORT;
	first = octets_u32(&o);
	if (first >> 28 != 6)
		return IP_HEADER;
	p.ecn = (uint8_t)(first >> 20) & 3;
	payload_octets = octets_u16(&o);
	p.proto = octets_u8(&o);
	p.ttl = octets_u8(&o);
	octets_copy(&o, p.src.octet, 16);
	octets_copy(&o, p.dst.octet, 16);
	if (payload_octets > o.len_octets)
		return IP_SHORT;
	chain = octets_of(o.ptr, payload_octets);
	if (!walk_chain(&chain, &p))
		return IP_EXTENSION;
	p.payload = chain.ptr;
	p.payload_octets = chain.len_octets;
	*out = p;
	return IP_OK;
}

uint8_t *
ipv6_build(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, uint8_t next, uint32_t payload_octets,
	uint8_t hop_limit)
{
	p = put_u32(p, UINT32_C(6) << 28);
	p = put_u16(p, (uint16_t)payload_octets);
	p = put_u8(p, next);
	p = put_u8(p, hop_limit);
	memcpy(p, src->octet, 16);
	memcpy(p + 16, dst->octet, 16);
	return p + 32;
}

uint8_t *
ipv6_build_frag(uint8_t *p, uint8_t next, uint32_t offset_octets, bool more, uint32_t id)
{
	p = put_u8(p, next);
	p = put_u8(p, 0);
	p = put_u16(p, (uint16_t)(offset_octets | (more ? 1 : 0)));
	return put_u32(p, id);
}

bool
ipv6_is_source(const struct ip_addr *a)
{
	static const uint8_t zero[10];

	if (ipv6_is_multicast(a))
		return false;
	return memcmp(a->octet, zero, 10) != 0 ||
	       !((a->octet[10] == 0 && a->octet[11] == 0) || (a->octet[10] == 0xff && a->octet[11] == 0xff));
}

struct ip_addr
ipv6_solicited_node(const struct ip_addr *addr)
{
	return (struct ip_addr){ .octet = { 0xff, 0x02, [11] = 0x01, 0xff, addr->octet[13], addr->octet[14],
					 addr->octet[15] } };
}

struct ip_addr
ipv6_link_local_of(const uint8_t *mac)
{
	return (struct ip_addr){ .octet = { 0xfe, 0x80, [8] = mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4],
					 mac[5] } };
}

void
ipv6_multicast_mac(const struct ip_addr *group, uint8_t *mac)
{
	mac[0] = mac[1] = 0x33;
	memcpy(mac + 2, group->octet + 12, 4);
}
