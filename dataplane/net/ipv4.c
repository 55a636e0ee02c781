/*
 * ipv4.c - the IPv4 header: parse and build.
 *
 * Pure:   see ipv4.h.
 */
#include "dataplane/net/ipv4.h"

#include "dataplane/net/csum.h"

#define IPV4_DF          0x4000
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
	struct ip_packet p = { .is_v4 = true };
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
	octets_take(&o, 1);
	p.ecn = octets_u8(&o) & 3;
	total_octets = octets_u16(&o);
	if (total_octets < header_octets)
		return IP_HEADER;
	p.frag_id = octets_u16(&o);
	frag = octets_u16(&o);
	p.ttl = octets_u8(&o);
	p.proto = octets_u8(&o);
	octets_take(&o, 2);
	p.src = ip_addr_v4(octets_u32(&o));
	p.dst = ip_addr_v4(octets_u32(&o));
	if (!options_are_fine(o.ptr, header_octets - IPV4_HEADER_OCTETS))
		return IP_HEADER;
	octets_take(&o, header_octets - IPV4_HEADER_OCTETS);
	p.payload_octets = total_octets - header_octets;
	p.payload = octets_take(&o, p.payload_octets);
	if (o.failed) /* the frame was cut on its way: the IP length is the truth */
		return IP_SHORT;
	p.more = (frag & IPV4_MF) != 0;
	p.frag_offset_octets = (frag & IPV4_OFFSET_MASK) * 8u;
	p.is_fragment = p.more || p.frag_offset_octets != 0;
	*out = p;
	return IP_OK;
}

uint8_t *
ipv4_build(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t payload_octets,
	const struct ipv4_frag *frag)
{
	uint8_t *h = p;

	p = put_u16(p, 0x4500);
	p = put_u16(p, (uint16_t)(IPV4_HEADER_OCTETS + payload_octets));
	p = put_u16(p, frag->id);
	p = put_u16(p, (uint16_t)((frag->df ? IPV4_DF : 0) | (frag->more ? IPV4_MF : 0) | frag->offset_octets / 8));
	p = put_u8(p, IP_TTL);
	p = put_u8(p, proto);
	p = put_u16(p, 0);
	p = put_u32(p, ip_addr_to_v4(src));
	p = put_u32(p, ip_addr_to_v4(dst));
	put_u16(h + 10, csum_of(h, IPV4_HEADER_OCTETS));
	return p;
}

bool
ipv4_is_source(const struct ip_addr *a)
{
	const uint8_t first = a->octet[12];

	return first != 0 && first != 127 && first < 224;
}
