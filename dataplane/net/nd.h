/*
 * nd.h - neighbour solicitations and advertisements.
 *
 * Flow:   net_input() -> nd_parse();  net.c -> nd_build_ns(), nd_build_na()
 * Pure:   octets in, fields out, and back. What to believe is decided in net.c and neigh.c.
 * Keeps:  what does not pass every validity test of the RFC is not parsed: hop limit 255, checksum, lengths, addresses.
 * Source: RFC 4861 sections 4.3, 4.4, 7.1; RFC 6980 (never in fragments: net.c).
 */
#ifndef GREYLINE_NET_ND_H
#define GREYLINE_NET_ND_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/net/ip.h"

#define ND_TYPE_NS        135
#define ND_TYPE_NA        136
#define ND_HOP_LIMIT      255
#define ND_MESSAGE_OCTETS 32 /* the body of 24 and one link-layer address option */
#define ND_OPTIONS_MAX    8

struct nd {
	bool is_ns;
	bool solicited, override; /* of an advertisement */
	bool has_mac;             /* the source (NS) or target (NA) link-layer address option was there */
	uint8_t mac[6];
	struct ip_addr target;
};

/* p: an ICMPv6 packet of type 135 or 136, its checksum verified already. */
bool nd_parse(const struct ip_packet *p, struct nd *out);

/* Write the ICMPv6 message of ND_MESSAGE_OCTETS with its checksum; return the place behind. An NS from an unspecified source is never
 * built (there is no duplicate address detection here), so the source's MAC is always told. */
uint8_t *nd_build_ns(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, const struct ip_addr *target,
	const uint8_t *mac);
uint8_t *nd_build_na(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, const struct ip_addr *target,
	const uint8_t *mac, bool solicited);

#endif
