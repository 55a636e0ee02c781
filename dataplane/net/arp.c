/*
 * arp.c - ARP for IPv4 over Ethernet: parse and build.
 *
 * Pure:   see arp.h.
 */
#include "dataplane/net/arp.h"

#define ARP_HARDWARE_ETHERNET 1
#define ARP_PROTOCOL_IPV4     0x0800

bool
arp_parse(struct octets o, struct arp *out)
{
	const uint16_t hardware = octets_u16(&o), protocol = octets_u16(&o);
	const uint8_t hardware_octets = octets_u8(&o), protocol_octets = octets_u8(&o);

	out->op = octets_u16(&o);
	octets_copy(&o, out->sender_mac, 6);
	out->sender = ip_addr_v4(octets_u32(&o));
	octets_copy(&o, out->target_mac, 6);
	out->target = ip_addr_v4(octets_u32(&o));
	return !o.failed && hardware == ARP_HARDWARE_ETHERNET && protocol == ARP_PROTOCOL_IPV4 &&
	       hardware_octets == 6 && protocol_octets == 4 && (out->op == ARP_REQUEST || out->op == ARP_REPLY);
}

uint8_t *
arp_build(uint8_t *p, const struct arp *arp)
{
	p = put_u16(p, ARP_HARDWARE_ETHERNET);
	p = put_u16(p, ARP_PROTOCOL_IPV4);
	p = put_u8(p, 6);
	p = put_u8(p, 4);
	p = put_u16(p, arp->op);
	memcpy(p, arp->sender_mac, 6);
	p = put_u32(p + 6, ip_addr_to_v4(&arp->sender));
	memcpy(p, arp->target_mac, 6);
	return put_u32(p + 6, ip_addr_to_v4(&arp->target));
}
