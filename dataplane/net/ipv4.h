/*
 * ipv4.h - the IPv4 header.
 *
 * Flow:   net_input() -> ipv4_parse();  whoever builds a packet -> ipv4_build()
 * Pure:   octets in, fields out, and back.
 * Source: RFC 791, RFC 1122 section 3.2.1, RFC 7126 (source routes are dropped, other options ignored), RFC 6864 (the
 *         identification of a packet that may not be fragmented is zero).
 */
#ifndef GREYLINE_NET_IPV4_H
#define GREYLINE_NET_IPV4_H

#include "dataplane/base/octets.h"
#include "dataplane/net/csum.h"
#include "dataplane/net/ip.h"

#define IPV4_HEADER_OCTETS 20
#define IPV4_FRAGMENT_MASK 0x3fff /* more fragments, or an offset: a part of a packet */
#define IPV4_MTU_MIN_OCTETS                                                                                            \
	552 /* the least path MTU believed: RFC 1191's table begins there in practice (576 less options) */

/* o: the octets behind the Ethernet header, padding included. *out is written on IP_OK only; its payload is borrowed from o. */
enum ip_result ipv4_parse(struct octets o, struct ip_packet *out);

/* Which fragment: offset 0, more false and df true is a whole packet. */
struct ipv4_frag {
	uint16_t id;
	bool df, more;
	uint32_t offset_octets; /* a multiple of 8 */
};

#define IPV4_DF 0x4000

/* Writes IPV4_HEADER_OCTETS with its checksum; returns the place behind. id_and_frag: the second word, in host order. */
static inline uint8_t *
ipv4_put(uint8_t *p, uint32_t from, uint32_t to, uint8_t proto, uint32_t payload_octets, uint32_t id_and_frag)
{
	const uint32_t first = UINT32_C(0x4500) << 16 | (uint16_t)(IPV4_HEADER_OCTETS + payload_octets);
	const uint32_t third = (uint32_t)IP_TTL << 24 | (uint32_t)proto << 16; /* checksum 0 */
	/* from the numbers, not from the octets just written: reading those back at once would wait for the stores */
	const uint16_t sum = csum_fold((uint64_t)first + id_and_frag + third + from + to);

	p = put_u64(p, (uint64_t)first << 32 | id_and_frag);
	p = put_u64(p, (uint64_t)(third | (uint16_t)~sum) << 32 | from);
	return put_u32(p, to);
}

/* The same, of a fragment or a packet with an identification. */
uint8_t *ipv4_build(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto,
	uint32_t payload_octets, const struct ipv4_frag *frag);

/* Whether a packet of a stranger may come from there: no "this network", loopback, group or reserved address. */
static inline bool
ipv4_is_source_number(uint32_t host_order)
{
	const uint32_t first = host_order >> 24;

	return first != 0 && first != 127 && first < 224;
}

bool ipv4_is_source(const struct ip_addr *a);

#endif
