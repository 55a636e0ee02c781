/*
 * eth.h - the Ethernet header.
 *
 * Flow:   net_input() -> eth_parse();  whoever builds a frame -> eth_build()
 * Pure:   octets in, fields out, and back.
 * Keeps:  a priority tag (VLAN 0) is stepped over; any other VLAN is not ours: what is, vlan.h has untagged before.
 * Source: RFC 894, IEEE 802.3 clause 3, IEEE 802.1Q clause 9.
 */
#ifndef GREYLINE_NET_ETH_H
#define GREYLINE_NET_ETH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/base/octets.h"

#define ETH_HEADER_OCTETS 14
#define ETH_MAC_OCTETS    6

#define ETH_TYPE_IPV4          0x0800
#define ETH_TYPE_ARP           0x0806
#define ETH_TYPE_VLAN          0x8100
#define ETH_TYPE_IPV6          0x86dd
#define ETH_TYPE_VLAN_PROVIDER 0x88a8 /* 802.1ad */
#define ETH_TYPE_VLAN_OLD      0x9100 /* the same, from before there was a standard */

struct eth_header {
	uint8_t dst[ETH_MAC_OCTETS], src[ETH_MAC_OCTETS];
	uint16_t type; /* ETH_TYPE_VLAN where the frame belongs to a VLAN */
};

/* Takes the header from o. False where there are too few octets. */
bool eth_parse(struct octets *o, struct eth_header *out);

/* Writes ETH_HEADER_OCTETS; returns the place behind. */
uint8_t *eth_build(uint8_t *p, const uint8_t *dst, const uint8_t *src, uint16_t type);

/* As eth_build(), where the destination stands already or comes later. */
static inline uint8_t *
eth_build_from(uint8_t *p, const uint8_t *src, uint16_t type)
{
	memcpy(p + ETH_MAC_OCTETS, src, ETH_MAC_OCTETS);
	return put_u16(p + 2 * ETH_MAC_OCTETS, type);
}

static inline bool
eth_is_group(const uint8_t *mac)
{
	return (mac[0] & 1) != 0;
}

/* Whether a station can have this address: no group, not all zero. */
static inline bool
eth_is_station(const uint8_t *mac)
{
	static const uint8_t zero[ETH_MAC_OCTETS];

	return !eth_is_group(mac) && memcmp(mac, zero, ETH_MAC_OCTETS) != 0;
}

#endif
