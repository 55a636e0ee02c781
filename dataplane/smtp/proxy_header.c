/*
 * proxy_header.c - PROXY protocol headers, versions 1 and 2, both ways.
 *
 * Flow:   relay, backend_probe, splice -> proxy_header_build_*() -> backend;  load balancer -> proxy_header_parse()
 * Pure:   octets.
 * Keeps:  a parse reads only what it was given, asks for more only while what it has can still become a header, and
 *         never for more than PROXY_HEADER_MAX_OCTETS; the verdict does not depend on where the octets were cut.
 * Source: HAProxy's proxy-protocol.txt, sections 2.1 (text) and 2.2 (binary).
 */
#include "dataplane/smtp/proxy_header.h"

#include <stdbool.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/octets.h"
#include "dataplane/base/text.h"

#define PROXY_V1_MAX_OCTETS   107 /* section 2.1: the longest line, CRLF included */
#define PROXY_V2_FIXED_OCTETS 16
#define PROXY_V2_LOCAL        0x20
#define PROXY_V2_PROXY        0x21
#define PROXY_V2_TCP4         0x11
#define PROXY_V2_TCP6         0x21
/* section 2.2: types of TLVs */
#define PROXY_V2_AUTHORITY      0x02
#define PROXY_V2_SSL            0x20
#define PROXY_V2_SSL_VERSION    0x21
#define PROXY_V2_SSL_CIPHER     0x23
#define PROXY_V2_SSL_CLIENT     0x01 /* the client spoke TLS */
#define PROXY_V2_TLV_SSL_OCTETS 8    /* type, length, client, verify; sub-TLVs follow */

static const uint8_t v2_signature[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

/* An address and the space behind it; returns the end of that. */
static char *
put_address(char *p, const struct ip_addr *a)
{
	ip_addr_format(a, p);
	p += strlen(p);
	*p++ = ' ';
	return p;
}

uint32_t
proxy_header_build_v1(const struct proxy_addrs *a, uint8_t *out)
{
	const bool v4 = ip_addr_is_v4(&a->src);
	char *p = (char *)out; /* all of it fits: PROXY_V1_MAX_OCTETS */

	BUG_ON(v4 != ip_addr_is_v4(&a->dst));
	memcpy(p, v4 ? "PROXY TCP4 " : "PROXY TCP6 ", 11);
	p = put_address(p + 11, &a->src);
	p = put_address(p, &a->dst);
	p = text_put_number(p, a->src_port);
	*p++ = ' ';
	p = text_put_number(p, a->dst_port);
	memcpy(p, "\r\n", 2);
	return (uint32_t)(p + 2 - (char *)out);
}

uint32_t
proxy_header_build_v2(const struct proxy_addrs *a, uint8_t *out)
{
	const bool v4 = ip_addr_is_v4(&a->src);
	const uint32_t addr_octets = v4 ? 4 : 16;
	uint8_t *p = out;

	BUG_ON(v4 != ip_addr_is_v4(&a->dst));
	memcpy(p, v2_signature, sizeof(v2_signature));
	p += sizeof(v2_signature);
	p = put_u8(p, PROXY_V2_PROXY);
	p = put_u8(p, v4 ? PROXY_V2_TCP4 : PROXY_V2_TCP6);
	p = put_u16(p, (uint16_t)(2 * addr_octets + 4));
	memcpy(p, a->src.octet + 16 - addr_octets, addr_octets);
	p += addr_octets;
	memcpy(p, a->dst.octet + 16 - addr_octets, addr_octets);
	p += addr_octets;
	p = put_u16(p, a->src_port);
	p = put_u16(p, a->dst_port);
	return (uint32_t)(p - out);
}

/* A type-length-value behind p; NULL where it does not fit before end. */
static uint8_t *
put_tlv(uint8_t *p, const uint8_t *end, uint8_t type, const char *value)
{
	const size_t n = strlen(value);

	if (p == NULL || (size_t)(end - p) < n + 3)
		return NULL;
	p = put_u8(p, type);
	p = put_u16(p, (uint16_t)n);
	memcpy(p, value, n);
	return p + n;
}

uint32_t
proxy_header_add_tls(uint8_t *out, uint32_t octets, const struct proxy_tls *tls)
{
	const uint8_t *end = out + PROXY_HEADER_MAX_OCTETS;
	uint8_t *at = out + octets, *p = at + PROXY_V2_TLV_SSL_OCTETS, *with_name;

	BUG_ON(octets < PROXY_V2_FIXED_OCTETS || octets + PROXY_V2_TLV_SSL_OCTETS > PROXY_HEADER_MAX_OCTETS);
	p = put_tlv(p, end, PROXY_V2_SSL_VERSION, tls->version);
	p = put_tlv(p, end, PROXY_V2_SSL_CIPHER, tls->cipher);
	BUG_ON(p == NULL); /* two words of at most 63 octets behind 52 */
	at = put_u8(at, PROXY_V2_SSL);
	at = put_u16(at, (uint16_t)(p - at - 2));
	at = put_u8(at, PROXY_V2_SSL_CLIENT);
	put_u32(at, 1); /* verify: no certificate of the client was checked */
	with_name = tls->name[0] != '\0' ? put_tlv(p, end, PROXY_V2_AUTHORITY, tls->name) : NULL;
	if (with_name != NULL)
		p = with_name;
	put_u16(out + PROXY_V2_FIXED_OCTETS - 2, (uint16_t)(p - out - PROXY_V2_FIXED_OCTETS));
	return (uint32_t)(p - out);
}

uint32_t
proxy_header_build_v2_local(uint8_t *out)
{
	uint8_t *p = out;

	memcpy(p, v2_signature, sizeof(v2_signature));
	p += sizeof(v2_signature);
	p = put_u8(p, PROXY_V2_LOCAL);
	p = put_u8(p, 0); /* UNSPEC */
	p = put_u16(p, 0);
	return (uint32_t)(p - out);
}

/* The next word of a version 1 line, up to sep, into out; false where it is empty or too long. */
static bool
v1_word(const char **at, const char *end, char sep, char *out, size_t room)
{
	const char *p = *at;
	size_t n;

	while (p < end && *p != sep)
		p++;
	n = (size_t)(p - *at);
	if (n == 0 || n >= room || (sep == ' ' && p == end))
		return false;
	memcpy(out, *at, n);
	out[n] = '\0';
	*at = p < end ? p + 1 : p;
	return true;
}

/* A decimal port without sign or leading zeros. */
static bool
v1_port(const char *text, uint16_t *out)
{
	uint32_t v = 0;

	if (text[0] == '0' && text[1] != '\0')
		return false;
	for (const char *p = text; *p != '\0'; p++) {
		if (*p < '0' || *p > '9')
			return false;
		v = v * 10 + (uint32_t)(*p - '0');
		if (v > 65535)
			return false;
	}
	*out = (uint16_t)v;
	return true;
}

/* An address of the family the line named: a dotted quad is no IPv6 address, nor the other way round. */
static bool
v1_addr(const char *text, bool v6, struct ip_addr *out)
{
	if ((strchr(text, ':') != NULL) != v6)
		return false;
	return ip_addr_parse(text, out) == 0;
}

/* The line without CRLF, after "PROXY ". */
static enum proxy_parse
v1_line(const char *at, const char *end, struct proxy_addrs *out)
{
	char word[IP_ADDR_TEXT_MAX_OCTETS];
	struct proxy_addrs a = { 0 };
	bool v6;

	/* section 2.1: after UNKNOWN the receiver must ignore what comes before the CRLF */
	if (end - at >= 7 && memcmp(at, "UNKNOWN", 7) == 0 && (end - at == 7 || at[7] == ' '))
		return PROXY_LOCAL;
	if (!v1_word(&at, end, ' ', word, sizeof(word)))
		return PROXY_BROKEN;
	v6 = strcmp(word, "TCP6") == 0;
	if (!v6 && strcmp(word, "TCP4") != 0)
		return PROXY_BROKEN;
	if (!v1_word(&at, end, ' ', word, sizeof(word)) || !v1_addr(word, v6, &a.src))
		return PROXY_BROKEN;
	if (!v1_word(&at, end, ' ', word, sizeof(word)) || !v1_addr(word, v6, &a.dst))
		return PROXY_BROKEN;
	if (!v1_word(&at, end, ' ', word, sizeof(word)) || !v1_port(word, &a.src_port))
		return PROXY_BROKEN;
	if (!v1_word(&at, end, '\r', word, sizeof(word)) || !v1_port(word, &a.dst_port))
		return PROXY_BROKEN;
	if (ip_addr_is_v4(&a.src) != ip_addr_is_v4(&a.dst)) /* ::ffff:a.b.c.d on one side of a TCP6 line */
		return PROXY_BROKEN;
	*out = a;
	return PROXY_DONE;
}

static enum proxy_parse
v1_parse(const uint8_t *data, uint32_t len, struct proxy_addrs *out, uint32_t *used)
{
	const char *text = (const char *)data;
	const uint32_t look = MIN(len, PROXY_V1_MAX_OCTETS);
	enum proxy_parse result;

	for (uint32_t i = 6; i < look; i++) {
		if (data[i] == '\r') {
			if (i + 1 == PROXY_V1_MAX_OCTETS)
				return PROXY_BROKEN;
			if (i + 1 == len)
				return PROXY_MORE;
			if (data[i + 1] != '\n')
				return PROXY_BROKEN;
			result = v1_line(text + 6, text + i, out);
			if (result != PROXY_BROKEN)
				*used = i + 2;
			return result;
		}
		if (data[i] < 0x20 || data[i] > 0x7e)
			return PROXY_BROKEN;
	}
	return look == PROXY_V1_MAX_OCTETS ? PROXY_BROKEN : PROXY_MORE;
}

/* The addresses of a whole version 2 block. */
static enum proxy_parse
v2_addrs(uint8_t family, struct octets *block, struct proxy_addrs *out)
{
	struct proxy_addrs a = { 0 };

	switch (family) {
	case PROXY_V2_TCP4:
		a.src = ip_addr_v4(octets_u32(block));
		a.dst = ip_addr_v4(octets_u32(block));
		break;
	case PROXY_V2_TCP6:
		octets_copy(block, a.src.octet, 16);
		octets_copy(block, a.dst.octet, 16);
		break;
	default:
		/* section 2.2 lets a receiver take UNSPEC and UDP as "no address known"; a mail client without an
		 * address is none */
		return PROXY_BROKEN;
	}
	a.src_port = octets_u16(block);
	a.dst_port = octets_u16(block);
	/* what is left are TLVs: skipped */
	if (block->failed || ip_addr_is_v4(&a.src) != ip_addr_is_v4(&a.dst))
		return PROXY_BROKEN;
	*out = a;
	return PROXY_DONE;
}

static enum proxy_parse
v2_parse(const uint8_t *data, uint32_t len, struct proxy_addrs *out, uint32_t *used)
{
	uint32_t block_octets, min_octets = 0;
	enum proxy_parse result;
	struct octets block;

	/* Everything that can be wrong is found as early as it is there, so that a peer is never waited for in vain. */
	if (len > 12 && data[12] != PROXY_V2_LOCAL && data[12] != PROXY_V2_PROXY)
		return PROXY_BROKEN;
	if (len > 13 && data[12] == PROXY_V2_PROXY) {
		if (data[13] != PROXY_V2_TCP4 && data[13] != PROXY_V2_TCP6)
			return PROXY_BROKEN;
		min_octets = data[13] == PROXY_V2_TCP4 ? 12 : 36;
	}
	if (len < PROXY_V2_FIXED_OCTETS)
		return PROXY_MORE;
	block_octets = (uint32_t)data[14] << 8 | data[15];
	if (block_octets < min_octets || block_octets > PROXY_HEADER_MAX_OCTETS - PROXY_V2_FIXED_OCTETS)
		return PROXY_BROKEN;
	if (len < PROXY_V2_FIXED_OCTETS + block_octets)
		return PROXY_MORE;
	if (data[12] == PROXY_V2_LOCAL) { /* section 2.2: the block is skipped whatever its family */
		*used = PROXY_V2_FIXED_OCTETS + block_octets;
		return PROXY_LOCAL;
	}
	block = octets_of(data + PROXY_V2_FIXED_OCTETS, block_octets);
	result = v2_addrs(data[13], &block, out);
	if (result == PROXY_DONE)
		*used = PROXY_V2_FIXED_OCTETS + block_octets;
	return result;
}

enum proxy_parse
proxy_header_parse(const uint8_t *data, uint32_t len_octets, struct proxy_addrs *out, uint32_t *used)
{
	const uint32_t n1 = MIN(len_octets, 6u), n2 = MIN(len_octets, (uint32_t)sizeof(v2_signature));

	if (len_octets == 0)
		return PROXY_MORE;
	if (memcmp(data, "PROXY ", n1) == 0)
		return n1 < 6 ? PROXY_MORE : v1_parse(data, len_octets, out, used);
	if (memcmp(data, v2_signature, n2) == 0)
		return n2 < sizeof(v2_signature) ? PROXY_MORE : v2_parse(data, len_octets, out, used);
	return PROXY_BROKEN;
}
