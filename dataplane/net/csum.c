/*
 * csum.c - the Internet checksum, over pieces of any length.
 *
 * Flow:   see csum.h
 * Pure:   no state beyond the caller's struct csum.
 * Keeps:  the 64-bit sum cannot overflow: a carry is added back at each 8 octets.
 * Source: RFC 1071 section 2 (byte order independence, parallel sums, odd pieces are swapped).
 */
#include "dataplane/net/csum.h"

#include <arpa/inet.h>
#include <string.h>

static uint64_t
add_carry(uint64_t a, uint64_t b)
{
	a += b;
	return a + (a < b);
}

static uint16_t
fold(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)sum;
}

/* The sum of one piece as if it began at an even place. The last odd octet is padded with zero behind it. */
static uint64_t
sum_piece(const uint8_t *p, uint32_t len)
{
	uint64_t sum = 0, w[4];

	while (len >= 32) {
		memcpy(w, p, 32);
		sum = add_carry(add_carry(add_carry(add_carry(sum, w[0]), w[1]), w[2]), w[3]);
		p += 32;
		len -= 32;
	}
	while (len >= 8) {
		memcpy(w, p, 8);
		sum = add_carry(sum, w[0]);
		p += 8;
		len -= 8;
	}
	if (len > 0) {
		w[0] = 0;
		memcpy(w, p, len);
		sum = add_carry(sum, w[0]);
	}
	return sum;
}

void
csum_add(struct csum *c, const void *ptr, uint32_t len_octets)
{
	uint64_t sum;

	if (len_octets == 0)
		return;
	sum = sum_piece(ptr, len_octets);
	if (c->odd)
		sum = __builtin_bswap16(fold(sum));
	c->sum = add_carry(c->sum, sum);
	c->odd ^= len_octets & 1;
}

void
csum_add_views(struct csum *c, const struct buf_view *view, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		csum_add(c, view[i].ptr, view[i].len_octets);
}

void
csum_add_pseudo(
	struct csum *c, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t len_octets)
{
	/* The upper half of an IPv4 pseudo header's length is zero, so one form of the tail serves both families: zeroes and
	 * their places do not matter to the sum. */
	const uint8_t tail[8] = { (uint8_t)(len_octets >> 24), (uint8_t)(len_octets >> 16), (uint8_t)(len_octets >> 8),
		(uint8_t)len_octets, 0, 0, 0, proto };
	const uint32_t skip = ip_addr_is_v4(dst) ? 12 : 0;

	csum_add(c, src->octet + skip, 16 - skip);
	csum_add(c, dst->octet + skip, 16 - skip);
	csum_add(c, tail, sizeof(tail));
}

uint16_t
csum_finish(const struct csum *c)
{
	return ntohs((uint16_t)~fold(c->sum));
}

uint16_t
csum_of(const void *ptr, uint32_t len_octets)
{
	struct csum c = csum_start();

	csum_add(&c, ptr, len_octets);
	return csum_finish(&c);
}

bool
csum_is_good(const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, const void *ptr, uint32_t len_octets)
{
	struct csum c = csum_start();

	csum_add_pseudo(&c, src, dst, proto, len_octets);
	csum_add(&c, ptr, len_octets);
	return csum_finish(&c) == 0;
}
