/*
 * csum.h - the Internet checksum, over pieces of any length.
 *
 * Flow:   ipv4, icmp, nd, tcp (verify what was received), net_wrap() (set what is sent)
 * Pure:   octets in, 16 bits out.
 * Keeps:  pieces may have odd lengths: the sum is that of all of them one after another.
 * Source: RFC 1071; RFC 9293 section 3.1 and RFC 8200 section 8.1 for the pseudo headers.
 *
 * To verify a received TCP segment: csum_is_good(&seg->flow.remote, &seg->flow.local, CSUM_PROTO_TCP, tcp, len_octets).
 */
#ifndef GREYLINE_NET_CSUM_H
#define GREYLINE_NET_CSUM_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/buf.h"

#define CSUM_PROTO_ICMP   1
#define CSUM_PROTO_TCP    6
#define CSUM_PROTO_ICMPV6 58

struct csum {
	uint64_t sum; /* of 16-bit words as they lie in memory, not yet folded */
	bool odd;     /* an odd number of octets so far */
};

static inline struct csum
csum_start(void)
{
	return (struct csum){ .sum = 0 };
}

/* A sum of words of 16, 32 or 64 bits, carries added back, as one of 16: the halves are added crosswise, so that the carry falls into place. */
static inline uint16_t
csum_fold(uint64_t sum)
{
	uint32_t half;

	sum += sum >> 32 | sum << 32;
	half = (uint32_t)(sum >> 32);
	half += half >> 16 | half << 16;
	return (uint16_t)(half >> 16);
}

static inline uint64_t
csum_carry(uint64_t a, uint64_t b)
{
	a += b;
	return a + (a < b);
}

static inline uint64_t
csum_load_8(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, 8);
	return w;
}

/* The sum of a pseudo header; is_v4 tells of which family both addresses are. */
static inline uint64_t
csum_pseudo(const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t len_octets, const bool is_v4)
{
	/* The upper half of an IPv4 pseudo header's length is zero, so one form of the tail serves both families: zeroes and
	 * their places do not matter to the sum. Nor do they to the word: length and protocol as words of the wire. */
	const uint64_t sum = (uint64_t)htobe32(len_octets) + htobe32(proto);
	uint32_t word[2];

	if (is_v4) {
		memcpy(&word[0], src->octet + 12, 4);
		memcpy(&word[1], dst->octet + 12, 4);
		return sum + word[0] + word[1];
	}
	return csum_carry(csum_carry(csum_carry(csum_carry(sum, csum_load_8(src->octet)), csum_load_8(src->octet + 8)),
				  csum_load_8(dst->octet)),
		csum_load_8(dst->octet + 8));
}

/* Adds len_octets (any number) at ptr. */
void csum_add(struct csum *c, const void *ptr, uint32_t len_octets);

/* Adds all of n views one after another. */
void csum_add_views(struct csum *c, const struct buf_view *view, uint32_t n);

/* Adds the pseudo header, after an even number of octets (first, as a rule); len_octets is that of transport header and payload. Both addresses are of one family. */
void csum_add_pseudo(
	struct csum *c, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t len_octets);

/* The field's value in host order (store it with put_u16). Over data that holds a correct checksum it is 0. */
uint16_t csum_finish(const struct csum *c);

/* Of one piece, without a pseudo header. */
uint16_t csum_of(const void *ptr, uint32_t len_octets);

/*
 * Sets the checksum of a TCP header of header_octets, whatever stood in its field, with n views of payload behind it and csum_pseudo() of all that
 * before it. What is known of the views' buffers, which are of pool, is not read again.
 */
void csum_set_tcp(uint8_t *tcp, uint32_t header_octets, uint64_t pseudo, const struct buf_pool *pool,
	const struct buf_view *view, uint32_t n);

/* Whether a received TCP or ICMPv6 message with its checksum field in place is as it was sent. */
bool csum_is_good(
	const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, const void *ptr, uint32_t len_octets);

/* The same of a TCP segment of header_octets and payload; known gets the sum of that. */
bool csum_is_good_tcp(const struct ip_addr *src, const struct ip_addr *dst, const struct buf_view *tcp,
	uint32_t header_octets, struct buf_sum *known);

#endif
