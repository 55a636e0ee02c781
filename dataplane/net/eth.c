/*
 * eth.c - the Ethernet header: parse and build.
 *
 * Pure:   see eth.h.
 */
#include "dataplane/net/eth.h"

bool
eth_parse(struct octets *o, struct eth_header *out)
{
	const uint8_t *h = octets_take(o, ETH_HEADER_OCTETS);

	if (h == NULL)
		return false;
	memcpy(out->dst, h, ETH_MAC_OCTETS);
	memcpy(out->src, h + ETH_MAC_OCTETS, ETH_MAC_OCTETS);
	out->type = get_u16(h + 2 * ETH_MAC_OCTETS);
	if (out->type == ETH_TYPE_VLAN) {
		struct octets inner = *o;

		if ((octets_u16(&inner) & 0x0fff) == 0) { /* VLAN 0 carries a priority alone */
			out->type = octets_u16(&inner);
			*o = inner;
		}
	}
	return !o->failed;
}

uint8_t *
eth_build(uint8_t *p, const uint8_t *dst, const uint8_t *src, uint16_t type)
{
	memcpy(p, dst, ETH_MAC_OCTETS);
	return eth_build_from(p, src, type);
}
