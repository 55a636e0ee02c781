/*
 * addr.c - addresses: masks and text.
 *
 * Pure:   libc's inet_pton and inet_ntop only.
 * Source: RFC 4291 section 2.2 and 2.5.5.2, RFC 5952.
 */
#include "dataplane/base/addr.h"

#include <arpa/inet.h>
#include <errno.h>

struct ip_addr
ip_addr_mask(const struct ip_addr *a, unsigned prefix_bits)
{
	const unsigned bits = prefix_bits > 128 ? 128 : prefix_bits, first = bits < 64 ? bits : 64,
		       second = bits - first;
	struct ip_addr out;
	uint64_t word[2];

	memcpy(word, a->octet, 16);
	word[0] &= first == 0 ? 0 : __builtin_bswap64(UINT64_MAX << (64 - first));
	word[1] &= second == 0 ? 0 : __builtin_bswap64(UINT64_MAX << (64 - second));
	memcpy(out.octet, word, 16);
	return out;
}

/* By hand: inet_ntop() goes through sprintf(), and a log record writes an address for each session. */
static void
format_v4(const uint8_t *octet, char *out)
{
	for (unsigned i = 0; i < 4; i++) {
		const unsigned v = octet[i];

		if (v >= 100)
			*out++ = (char)('0' + v / 100);
		if (v >= 10)
			*out++ = (char)('0' + v / 10 % 10);
		*out++ = (char)('0' + v % 10);
		*out++ = i < 3 ? '.' : '\0';
	}
}

char *
ip_addr_format(const struct ip_addr *a, char *out)
{
	if (ip_addr_is_v4(a))
		format_v4(a->octet + 12, out);
	else
		inet_ntop(AF_INET6, a->octet, out, IP_ADDR_TEXT_MAX_OCTETS);
	return out;
}

int
ip_addr_parse(const char *text, struct ip_addr *out)
{
	uint8_t v4[4];
	struct ip_addr a;

	if (inet_pton(AF_INET, text, v4) == 1) {
		*out = ip_addr_v4((uint32_t)v4[0] << 24 | (uint32_t)v4[1] << 16 | (uint32_t)v4[2] << 8 | v4[3]);
		return 0;
	}
	if (inet_pton(AF_INET6, text, a.octet) == 1) {
		*out = a;
		return 0;
	}
	return -EINVAL;
}
