/*
 * proxy_header.h - the PROXY protocol, versions 1 and 2: built for backends, parsed from trusted load balancers.
 *
 * Pure:   octets.
 * Source: HAProxy's PROXY protocol specification, sections 2.1 and 2.2.
 */
#ifndef GREYLINE_SMTP_PROXY_HEADER_H
#define GREYLINE_SMTP_PROXY_HEADER_H

#include <stdint.h>

#include "dataplane/base/addr.h"

#define PROXY_HEADER_MAX_OCTETS 512 /* as Postfix takes it, TLVs included */

struct proxy_addrs {
	struct ip_addr src, dst; /* both IPv4 or both IPv6 */
	uint16_t src_port, dst_port;
};

#define PROXY_TLS_WORD_OCTETS 64

struct proxy_tls {
	char version[PROXY_TLS_WORD_OCTETS]; /* "TLSv1.3" */
	char cipher[PROXY_TLS_WORD_OCTETS];
	char name[256]; /* SNI; "" when none */
};

/* Writes a header for a proxied connection to out (PROXY_HEADER_MAX_OCTETS); returns its length. local is version 2's
 * LOCAL command (version 1: PROXY with our own addresses, as UNKNOWN is refused by Postfix): used by probes. */
uint32_t proxy_header_build_v1(const struct proxy_addrs *a, uint8_t *out);
uint32_t proxy_header_build_v2(const struct proxy_addrs *a, uint8_t *out);
/* Appends what is known of the client's TLS (section 2.2.6: SSL with version and cipher; AUTHORITY with the name of its SNI) to a
 * version 2 header of octets at out; what does not fit PROXY_HEADER_MAX_OCTETS is left out. Returns the new length. */
uint32_t proxy_header_add_tls(uint8_t *out, uint32_t octets, const struct proxy_tls *tls);
uint32_t proxy_header_build_v2_local(uint8_t *out);

enum proxy_parse { PROXY_MORE, PROXY_DONE, PROXY_LOCAL, PROXY_BROKEN };

/* Looks at the first len octets; on DONE and LOCAL *used octets belong to the header (LOCAL: version 2's LOCAL,
 * version 1's UNKNOWN; *out is left alone). Never needs more than PROXY_HEADER_MAX_OCTETS: beyond that it is BROKEN.
 * Whether the peer may send one at all is the caller's question. */
enum proxy_parse proxy_header_parse(const uint8_t *data, uint32_t len_octets, struct proxy_addrs *out, uint32_t *used);

#endif
