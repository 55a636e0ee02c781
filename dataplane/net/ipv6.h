/*
 * ipv6.h - the IPv6 header and the extension headers behind it.
 *
 * Flow:   net_input() -> ipv6_parse();  whoever builds a packet -> ipv6_build(), ipv6_build_frag()
 * Pure:   octets in, fields out, and back.
 * Keeps:  at most IPV6_EXT_HEADERS_MAX headers and IPV6_EXT_OCTETS_MAX octets of them are walked; hop-by-hop options stand first;
 *         an option whose type says "discard" discards; a routing header with segments left is not for us (we are no router).
 * Source: RFC 8200 section 4, RFC 7112, RFC 6946, RFC 4291 section 2.
 */
#ifndef GREYLINE_NET_IPV6_H
#define GREYLINE_NET_IPV6_H

#include "dataplane/base/octets.h"
#include "dataplane/net/ip.h"

#define IPV6_HEADER_OCTETS      40
#define IPV6_FRAG_HEADER_OCTETS 8
#define IPV6_MTU_MIN_OCTETS     1280
#define IPV6_EXT_HEADERS_MAX    4
#define IPV6_EXT_OCTETS_MAX     256

/* o: the octets behind the Ethernet header, padding included. *out is written on IP_OK only; its payload is borrowed from o.
 * Parsing stops at a fragment header: proto is then what it names. */
enum ip_result ipv6_parse(struct octets o, struct ip_packet *out);

/* Writes IPV6_HEADER_OCTETS; next is the first header behind, payload_octets counts from there. Returns the place behind. */
uint8_t *ipv6_build(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, uint8_t next,
	uint32_t payload_octets, uint8_t hop_limit);

/* Writes IPV6_FRAG_HEADER_OCTETS; returns the place behind. */
uint8_t *ipv6_build_frag(uint8_t *p, uint8_t next, uint32_t offset_octets, bool more, uint32_t id);

#define IPV6_NEXT_FRAGMENT 44

static inline bool
ipv6_is_multicast(const struct ip_addr *a)
{
	return a->octet[0] == 0xff;
}

static inline bool
ipv6_is_link_local(const struct ip_addr *a)
{
	return a->octet[0] == 0xfe && (a->octet[1] & 0xc0) == 0x80;
}

/* Whether a packet may come from a: not unspecified, loopback, multicast, and nothing that holds an IPv4 address in the low bits
 * (::/96 and ::ffff:0:0/96, which would be taken for an IPv4 peer). */
bool ipv6_is_source(const struct ip_addr *a);

/* ff02::1:ffXX:XXXX of addr (RFC 4291 section 2.7.1). */
struct ip_addr ipv6_solicited_node(const struct ip_addr *addr);

/* fe80:: with the interface identifier of a MAC address (RFC 4291 appendix A). */
struct ip_addr ipv6_link_local_of(const uint8_t *mac);

/* 33:33 and the low four octets (RFC 2464 section 7). */
void ipv6_multicast_mac(const struct ip_addr *group, uint8_t *mac);

#endif
