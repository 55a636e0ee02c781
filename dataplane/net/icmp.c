/*
 * icmp.c - errors about our segments, and the limit on what we answer.
 *
 * Pure:   see icmp.h.
 */
#include "dataplane/net/icmp.h"

#include "dataplane/base/octets.h"
#include "dataplane/net/ipv4.h"
#include "dataplane/net/ipv6.h"

#define ICMP4_UNREACHABLE      3
#define ICMP4_TIME_EXCEEDED    11
#define ICMP4_PARAMETER        12
#define ICMP4_CODE_PROTOCOL    2
#define ICMP4_CODE_PORT        3
#define ICMP4_CODE_TOO_BIG     4
#define ICMP4_CODE_NET_ADMIN   9
#define ICMP4_CODE_HOST_ADMIN  10
#define ICMP4_CODE_ADMIN       13
#define ICMP6_UNREACHABLE      1
#define ICMP6_TOO_BIG          2
#define ICMP6_TIME_EXCEEDED    3
#define ICMP6_PARAMETER        4
#define ICMP6_CODE_ADMIN       1
#define ICMP6_CODE_PORT        4
#define ICMP6_CODE_POLICY      5
#define ICMP6_CODE_REJECT      6
#define ICMP6_CODE_NEXT_HEADER 1

/* RFC 1191 section 7: the plateaus, for routers that do not tell their MTU. */
static uint32_t
plateau_below(uint32_t octets)
{
	static const uint16_t plateau[] = { 32000, 17914, 8166, 4352, 2002, 1492, 1006 };

	for (uint32_t i = 0; i < sizeof(plateau) / sizeof(plateau[0]); i++)
		if (plateau[i] < octets)
			return plateau[i];
	return IPV4_MTU_MIN_OCTETS;
}

/* The quoted packet: *total_octets is the length its header tells. The quote is usually cut, so lengths are not held against it. */
static bool
parse_quote4(struct octets o, struct net_icmp_error *out, uint32_t *total_octets)
{
	const uint8_t first = octets_u8(&o);
	uint16_t frag;
	uint8_t proto;

	octets_take(&o, 1);
	*total_octets = octets_u16(&o);
	octets_take(&o, 2);
	frag = octets_u16(&o);
	octets_take(&o, 1);
	proto = octets_u8(&o);
	octets_take(&o, 2);
	out->flow.local = ip_addr_v4(octets_u32(&o));
	out->flow.remote = ip_addr_v4(octets_u32(&o));
	if (o.failed || first >> 4 != 4 || (first & 0x0f) < 5 || proto != IP_PROTO_TCP || (frag & 0x1fff) != 0)
		return false;
	octets_take(&o, (first & 0x0fu) * 4 - IPV4_HEADER_OCTETS);
	out->flow.local_port = octets_u16(&o);
	out->flow.remote_port = octets_u16(&o);
	out->quoted_seq = octets_u32(&o);
	return !o.failed;
}

/* We send no extension headers, so TCP follows at once. */
static bool
parse_quote6(struct octets o, struct net_icmp_error *out)
{
	const uint32_t first = octets_u32(&o);
	uint8_t proto;

	octets_take(&o, 2);
	proto = octets_u8(&o);
	octets_take(&o, 1);
	octets_copy(&o, out->flow.local.octet, 16);
	octets_copy(&o, out->flow.remote.octet, 16);
	out->flow.local_port = octets_u16(&o);
	out->flow.remote_port = octets_u16(&o);
	out->quoted_seq = octets_u32(&o);
	return !o.failed && first >> 28 == 6 && proto == IP_PROTO_TCP && !ip_addr_is_v4(&out->flow.local) &&
	       !ip_addr_is_v4(&out->flow.remote);
}

static bool
parse_error4(uint8_t type, uint8_t code, uint32_t word, struct octets quote, struct net_icmp_error *out)
{
	uint32_t total_octets;

	if (type != ICMP4_UNREACHABLE && type != ICMP4_TIME_EXCEEDED && type != ICMP4_PARAMETER)
		return false;
	if (!parse_quote4(quote, out, &total_octets))
		return false;
	out->kind = NET_ICMP_UNREACH_SOFT;
	if (type != ICMP4_UNREACHABLE)
		return true;
	switch (code) {
	case ICMP4_CODE_TOO_BIG:
		out->kind = NET_ICMP_TOO_BIG;
		out->mtu = word & 0xffff;
		if (out->mtu == 0)
			out->mtu = plateau_below(total_octets);
		if (out->mtu < IPV4_MTU_MIN_OCTETS)
			out->mtu = IPV4_MTU_MIN_OCTETS;
		break;
	case ICMP4_CODE_PROTOCOL:
	case ICMP4_CODE_PORT:
	case ICMP4_CODE_NET_ADMIN:
	case ICMP4_CODE_HOST_ADMIN:
	case ICMP4_CODE_ADMIN:
		out->kind = NET_ICMP_UNREACH_HARD;
		break;
	default: /* codes of others: networks and hosts come back */
		break;
	}
	return true;
}

static bool
parse_error6(uint8_t type, uint8_t code, uint32_t word, struct octets quote, struct net_icmp_error *out)
{
	if (type < ICMP6_UNREACHABLE || type > ICMP6_PARAMETER || !parse_quote6(quote, out))
		return false;
	out->kind = NET_ICMP_UNREACH_SOFT;
	if (type == ICMP6_TOO_BIG) {
		if (word < IPV6_MTU_MIN_OCTETS) /* RFC 8201 section 4: discarded */
			return false;
		out->kind = NET_ICMP_TOO_BIG;
		out->mtu = word;
	} else if (type == ICMP6_UNREACHABLE && (code == ICMP6_CODE_ADMIN || code == ICMP6_CODE_PORT ||
							code == ICMP6_CODE_POLICY || code == ICMP6_CODE_REJECT)) {
		out->kind = NET_ICMP_UNREACH_HARD;
	} else if (type == ICMP6_PARAMETER && code == ICMP6_CODE_NEXT_HEADER) {
		out->kind = NET_ICMP_UNREACH_HARD;
	}
	return true;
}

bool
icmp_error_parse(const struct ip_packet *p, struct net_icmp_error *out)
{
	struct octets o = octets_of(p->payload, p->payload_octets);
	const uint8_t type = octets_u8(&o), code = octets_u8(&o);
	struct net_icmp_error error = { 0 };
	uint32_t word;

	octets_take(&o, 2);
	word = octets_u32(&o);
	if (o.failed)
		return false;
	if (!(p->is_v4 ? parse_error4(type, code, word, o, &error) : parse_error6(type, code, word, o, &error)))
		return false;
	*out = error;
	return true;
}

#define ICMP_LIMIT_COST_US (1000000 / ICMP_LIMIT_PER_S)

void
icmp_limit_init(struct icmp_limit *l, uint64_t now_us)
{
	*l = (struct icmp_limit){ .credit_us = ICMP_LIMIT_COST_US * ICMP_LIMIT_BURST, .last_us = now_us };
}

bool
icmp_limit_allow(struct icmp_limit *l, uint64_t now_us)
{
	const uint64_t gained_us = now_us > l->last_us ? now_us - l->last_us : 0;

	l->last_us = now_us;
	l->credit_us += gained_us;
	if (l->credit_us > ICMP_LIMIT_COST_US * ICMP_LIMIT_BURST)
		l->credit_us = ICMP_LIMIT_COST_US * ICMP_LIMIT_BURST;
	if (l->credit_us < ICMP_LIMIT_COST_US)
		return false;
	l->credit_us -= ICMP_LIMIT_COST_US;
	return true;
}
