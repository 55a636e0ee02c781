/*
 * ip.h - what both IP parsers answer: one form for a packet of either family.
 *
 * Flow:   ipv4_parse(), ipv6_parse() -> net.c, reasm.c
 * Keeps:  payload_octets comes from the IP header's length and never reaches beyond the frame; Ethernet's padding is cut off.
 */
#ifndef GREYLINE_NET_IP_H
#define GREYLINE_NET_IP_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/addr.h"

#define IP_PROTO_ICMP   1
#define IP_PROTO_TCP    6
#define IP_PROTO_ICMPV6 58

#define IP_TTL 64 /* RFC 1700, and what hosts send today */

enum ip_result {
	IP_OK,
	IP_SHORT,     /* the frame is shorter than the header says */
	IP_HEADER,    /* a field that cannot be, or a source route */
	IP_CHECKSUM,  /* IPv4: the header's checksum is wrong */
	IP_EXTENSION, /* IPv6: a chain of headers beyond the limits, or one that may not be */
};

struct ip_packet {
	struct ip_addr src, dst;
	uint8_t proto; /* of the payload */
	uint8_t ttl;   /* or hop limit */
	uint8_t ecn;
	bool is_v4;
	bool is_fragment; /* only where offset is not 0 or more follow: an atomic fragment is none (RFC 6946) */
	bool more;
	bool has_frag_header; /* IPv6, an atomic fragment included */
	uint32_t frag_offset_octets;
	uint32_t frag_id;
	const uint8_t *payload;
	uint32_t payload_octets;
};

#endif
