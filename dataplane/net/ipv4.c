/*
 * ipv4.c - the IPv4 header: parse and build.
 *
 * Pure:   see ipv4.h.
 */
#include "dataplane/net/ipv4.h"

#include "dataplane/net/csum.h"

#define IPV4_MF          0x2000
#define IPV4_OFFSET_MASK 0x1fff

#define IPV4_OPT_END  0
#define IPV4_OPT_NOP  1
#define IPV4_OPT_LSRR 131
#define IPV4_OPT_SSRR 137

/* Whether the options are well formed and hold no source route. Ends after at most 40 octets. */
static bool
options_are_fine(const uint8_t *p, uint32_t len)
{
	while (len > 0 && p[0] != IPV4_OPT_END) {
		uint32_t n = 1;

		if (p[0] != IPV4_OPT_NOP) {
			if (len < 2 || p[1] < 2 || p[1] > len)
				return false;
			if (p[0] == IPV4_OPT_LSRR || p[0] == IPV4_OPT_SSRR)
				return false;
			n = p[1];
		}
		p += n;
		len -= n;
	}
	return true;
}

enum ip_result
ipv4_parse(struct octets o, struct ip_packet *out)
{
	const uint8_t *h = o.ptr;
	uint32_t header_octets, total_octets;
	uint16_t frag;

	if (o.len_octets < IPV4_HEADER_OCTETS)
		return IP_SHORT;
	header_octets = (h[0] & 0x0fu) * 4;
	if (h[0] >> 4 != 4 || header_octets < IPV4_HEADER_OCTETS)
		return IP_HEADER;
	if (o.len_octets < header_octets)
		return IP_SHORT;
	if (csum_of(h, header_octets) != 0)
		return IP_CHECKSUM;
	total_octets = get_u16(h + 2);
	if (total_octets < header_octets ||
		!options_are_fine(h + IPV4_HEADER_OCTETS, header_octets - IPV4_HEADER_OCTETS))
		return IP_HEADER;
	if (o.len_octets < total_octets) /* the frame was cut on its way: the IP length is the truth */
		return IP_SHORT;
	frag = get_u16(h + 6);
	*out = (struct ip_packet){ .src = ip_addr_v4(get_u32(h + 12)),
		.dst = ip_addr_v4(get_u32(h + 16)),
		.proto = h[9],
		.ttl = h[8],
		.ecn = h[1] & 3,
		.is_v4 = true,
		.is_fragment = (frag & IPV4_FRAGMENT_MASK) != 0,
		.more = (frag & IPV4_MF) != 0,
		.frag_offset_octets = (frag & IPV4_OFFSET_MASK) * 8u,
		.frag_id = get_u16(h + 4),
		.payload = h + header_octets,
		.payload_octets = total_octets - header_octets };
	return IP_OK;
}

uint8_t *
ipv4_build(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t payload_octets,
	const struct ipv4_frag *frag)
{
	const uint32_t id_and_frag = (uint32_t)frag->id << 16 | (frag->df ? IPV4_DF : 0) | (frag->more ? IPV4_MF : 0) |
	                             frag->offset_octets / 8;

	return ipv4_put(p, ip_addr_to_v4(src), ip_addr_to_v4(dst), proto, payload_octets, id_and_frag);
}

bool
ipv4_is_source(const struct ip_addr *a)
{
	return ipv4_is_source_number(ip_addr_to_v4(a));
}
