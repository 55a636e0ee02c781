/*
 * ehlo.h - what a backend's answer to EHLO says it can do.
 *
 * Flow:   relay, backend_probe: reply to EHLO -> ehlo_parse()
 * Pure:   a reply in, a set out.
 * Source: RFC 5321 section 4.1.1.1, RFC 1870 section 4 (SIZE), Postfix XCLIENT_README.
 */
#ifndef GREYLINE_RELAY_EHLO_H
#define GREYLINE_RELAY_EHLO_H

#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/smtp/smtp_reply.h"

enum xclient_attr { /* as the backend lists them */
#define XCLIENT_ATTRS(X) X(NAME) X(REVERSE_NAME) X(ADDR) X(PORT) X(PROTO) X(HELO)
#define X(name)          XCLIENT_BIT_##name,
	XCLIENT_ATTRS(X)
#undef X
#define X(name) XCLIENT_##name = 1 << XCLIENT_BIT_##name,
		XCLIENT_ATTRS(X)
#undef X
};

struct ehlo {
	uint32_t ext;         /* enum ehlo_ext */
	uint32_t xclient;     /* enum xclient_attr, where EXT_XCLIENT */
	uint32_t auth;        /* mechanisms, bits of smtp_auth.h, where EXT_AUTH */
	uint64_t size_octets; /* SIZE's number; 0: none given, no fixed limit */
};

/* Cannot fail: what is not understood is not there. */
void ehlo_parse(const struct smtp_reply *r, struct ehlo *out);

#endif
