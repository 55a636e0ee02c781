/*
 * addr.h - one form for both address families.
 *
 * Keeps:  IPv4 is held as its IPv4-mapped form (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2), so equality, hashing and
 *         tables need no case. Whether an address is IPv4 is a question to the octets, never a second field.
 */
#ifndef GREYLINE_BASE_ADDR_H
#define GREYLINE_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct ip_addr {
	_Alignas(4) uint8_t octet[16];
};

#define IP_ADDR_TEXT_MAX_OCTETS 46 /* INET6_ADDRSTRLEN */

static inline bool
ip_addr_is_v4(const struct ip_addr *a)
{
	static const uint8_t mapped[4] = { 0, 0, 0xff, 0xff };
	uint64_t high;
	uint32_t mid, want;

	memcpy(&high, a->octet, 8);
	memcpy(&mid, a->octet + 8, 4);
	memcpy(&want, mapped, 4);
	return high == 0 && mid == want;
}

static inline struct ip_addr
ip_addr_v4(uint32_t host_order)
{
	return (struct ip_addr){ .octet = { [10] = 0xff,
					 0xff,
					 (uint8_t)(host_order >> 24),
					 (uint8_t)(host_order >> 16),
					 (uint8_t)(host_order >> 8),
					 (uint8_t)host_order } };
}

/* The IPv4 address in host order; only where ip_addr_is_v4(). */
static inline uint32_t
ip_addr_to_v4(const struct ip_addr *a)
{
	return (uint32_t)a->octet[12] << 24 | (uint32_t)a->octet[13] << 16 | (uint32_t)a->octet[14] << 8 | a->octet[15];
}

static inline bool
ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	uint64_t x[2], y[2];

	memcpy(x, a->octet, 16);
	memcpy(y, b->octet, 16);
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

static inline bool
ip_addr_is_zero(const struct ip_addr *a)
{
	static const struct ip_addr zero;

	return ip_addr_equal(a, &zero);
}

/* Whether a and b agree in their first prefix_bits (0 to 128, counted in the 128-bit form). */
static inline bool
ip_addr_same_prefix(const struct ip_addr *a, const struct ip_addr *b, unsigned prefix_bits)
{
	const unsigned bits = prefix_bits > 128 ? 128 : prefix_bits, first = bits < 64 ? bits : 64,
		       second = bits - first;
	uint64_t x[2], y[2];

	memcpy(x, a->octet, 16);
	memcpy(y, b->octet, 16);
	/* shifted out by what does not count; by 64 there is no shift in C */
	return (first == 0 || __builtin_bswap64(x[0] ^ y[0]) >> (64 - first) == 0) &&
	       (second == 0 || __builtin_bswap64(x[1] ^ y[1]) >> (64 - second) == 0);
}

/* Clears all bits after the first prefix_bits (0 to 128, counted in the 128-bit form). */
struct ip_addr ip_addr_mask(const struct ip_addr *a, unsigned prefix_bits);

/* Text of a into out (at least IP_ADDR_TEXT_MAX_OCTETS), RFC 5952; dotted quad for IPv4. Returns out. */
char *ip_addr_format(const struct ip_addr *a, char *out);

/* 0, or -EINVAL where text (NUL-terminated) is neither a dotted quad nor an IPv6 address. */
int ip_addr_parse(const char *text, struct ip_addr *out);

#endif
