/*
 * nd.c - neighbour solicitations and advertisements: parse and build.
 *
 * Pure:   see nd.h.
 */
#include "dataplane/net/nd.h"

#include "dataplane/base/octets.h"
#include "dataplane/net/csum.h"
#include "dataplane/net/ipv6.h"

#define ND_OPT_SOURCE_MAC 1
#define ND_OPT_TARGET_MAC 2

#define ND_NA_SOLICITED UINT32_C(0x40000000)
#define ND_NA_OVERRIDE  UINT32_C(0x20000000)

/* RFC 4861 section 4.6: unknown options are stepped over; one of length zero voids the message. */
static bool
parse_options(struct octets *o, uint8_t wanted, struct nd *out)
{
	for (uint32_t n = 0; o->len_octets > 0; n++) {
		const uint8_t type = octets_u8(o), units = octets_u8(o);
		const uint8_t *body;

		if (units == 0 || n == ND_OPTIONS_MAX)
			return false;
		body = octets_take(o, units * 8u - 2);
		if (body == NULL)
			return false;
		if (type == wanted && units == 1) {
			memcpy(out->mac, body, 6);
			out->has_mac = true;
		}
	}
	return true;
}

bool
nd_parse(const struct ip_packet *p, struct nd *out)
{
	struct octets o = octets_of(p->payload, p->payload_octets);
	struct nd nd = { 0 };
	uint32_t flags;
	uint8_t code;

	nd.is_ns = octets_u8(&o) == ND_TYPE_NS;
	code = octets_u8(&o);
	octets_take(&o, 2);
	flags = octets_u32(&o);
	octets_copy(&o, nd.target.octet, 16);
	if (o.failed || code != 0 || p->ttl != ND_HOP_LIMIT || ipv6_is_multicast(&nd.target))
		return false;
	if (!parse_options(&o, nd.is_ns ? ND_OPT_SOURCE_MAC : ND_OPT_TARGET_MAC, &nd))
		return false;
	if (nd.is_ns) {
		if (ip_addr_is_zero(&p->src)) {
			const struct ip_addr group = ipv6_solicited_node(&nd.target);

			if (nd.has_mac || !ip_addr_equal(&p->dst, &group))
				return false;
		}
	} else {
		nd.solicited = (flags & ND_NA_SOLICITED) != 0;
		nd.override = (flags & ND_NA_OVERRIDE) != 0;
		if (nd.solicited && ipv6_is_multicast(&p->dst))
			return false;
	}
	*out = nd;
	return true;
}

static uint8_t *
build(uint8_t *p, uint8_t type, uint32_t flags, uint8_t option, const struct ip_addr *src, const struct ip_addr *dst,
	const struct ip_addr *target, const uint8_t *mac)
{
	uint8_t *h = p;
	struct csum c = csum_start();

	p = put_u8(p, type);
	p = put_u8(p, 0);
	p = put_u16(p, 0);
	p = put_u32(p, flags);
	memcpy(p, target->octet, 16);
	p = put_u8(p + 16, option);
	p = put_u8(p, 1);
	memcpy(p, mac, 6);
	csum_add_pseudo(&c, src, dst, IP_PROTO_ICMPV6, ND_MESSAGE_OCTETS);
	csum_add(&c, h, ND_MESSAGE_OCTETS);
	put_u16(h + 2, csum_finish(&c));
	return p + 6;
}

uint8_t *
nd_build_ns(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, const struct ip_addr *target,
	const uint8_t *mac)
{
	return build(p, ND_TYPE_NS, 0, ND_OPT_SOURCE_MAC, src, dst, target, mac);
}

uint8_t *
nd_build_na(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, const struct ip_addr *target,
	const uint8_t *mac, bool solicited)
{
	return build(p, ND_TYPE_NA, ND_NA_OVERRIDE | (solicited ? ND_NA_SOLICITED : 0), ND_OPT_TARGET_MAC, src, dst,
		target, mac);
}
