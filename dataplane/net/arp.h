/*
 * arp.h - ARP for IPv4 over Ethernet.
 *
 * Flow:   net_input() -> arp_parse();  net.c -> arp_build() for requests and replies
 * Pure:   octets in, fields out, and back. What to believe is decided in net.c and neigh.c.
 * Source: RFC 826, RFC 5227 (probes: the sender's protocol address is zero).
 */
#ifndef GREYLINE_NET_ARP_H
#define GREYLINE_NET_ARP_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/octets.h"

#define ARP_OCTETS 28

enum arp_op { ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp {
	uint16_t op;
	uint8_t sender_mac[6], target_mac[6];
	struct ip_addr sender, target; /* IPv4; 0.0.0.0 as sender in a probe */
};

/* False for what is cut, not IPv4 over Ethernet, or an unknown operation. */
bool arp_parse(struct octets o, struct arp *out);

/* Writes ARP_OCTETS; returns the place behind. */
uint8_t *arp_build(uint8_t *p, const struct arp *arp);

#endif
