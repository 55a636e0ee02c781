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
	struct ip_addr out = { 0 };
	unsigned whole = prefix_bits / 8;

	if (whole >= sizeof(out.octet))
		return *a;
	memcpy(out.octet, a->octet, whole);
	out.octet[whole] = (uint8_t)(a->octet[whole] & ~(0xffu >> (prefix_bits % 8)));
	return out;
}

char *
ip_addr_format(const struct ip_addr *a, char *out)
{
	if (ip_addr_is_v4(a))
		inet_ntop(AF_INET, a->octet + 12, out, IP_ADDR_TEXT_MAX_OCTETS);
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
