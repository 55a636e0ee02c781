/*
 * xclient.c - the XCLIENT command.
 *
 * Pure:   a client in, a line out.
 * Keeps:  no octet of the client stands in the line unencoded but printable ASCII other than '+' and '='; the line
 *         fits: each name has at most XCLIENT_VALUE_MAX_OCTETS after encoding, or it is [UNAVAILABLE].
 * Source: Postfix XCLIENT_README; RFC 3461 section 4 (xtext).
 */
#include "dataplane/relay/xclient.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/relay/ehlo.h"

#define XCLIENT_VALUE_MAX_OCTETS 320 /* three names and some 130 octets around them */

static bool
is_ldh(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/*
 * Whether Postfix takes it for a host name (valid_hostname.c): it answers 501 to any other, and a stranger with an odd
 * octet in his reverse DNS could then never deliver. Such a name is as good as none.
 */
static bool
is_hostname(const char *name)
{
	const size_t len = strlen(name);
	size_t label = 0;
	bool digits_only = true;

	if (len == 0 || len >= CONF_HOST_OCTETS)
		return false;
	for (const char *p = name; *p != '\0'; p++) {
		if (*p == '.') {
			if (label == 0 || p[-1] == '-' || p[1] == '\0')
				return false;
			label = 0;
			continue;
		}
		if (!is_ldh(*p) || (label == 0 && *p == '-') || ++label > 63)
			return false;
		if (*p < '0' || *p > '9')
			digits_only = false;
	}
	return name[len - 1] != '-' && !digits_only;
}

struct line {
	char *out;
	uint32_t len;
};

static void
line_text(struct line *l, const char *text)
{
	const uint32_t n = (uint32_t)strlen(text);

	BUG_ON(l->len + n > XCLIENT_LINE_MAX_OCTETS);
	memcpy(l->out + l->len, text, n);
	l->len += n;
}

/* xtext (RFC 3461 section 4) of value to out; false where it is longer than room. */
static bool
xtext(const char *value, char *out, size_t room)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (const char *p = value; *p != '\0'; p++) {
		const uint8_t c = (uint8_t)*p;

		if (n + 4 > room)
			return false;
		if (c > 0x20 && c < 0x7f && c != '+' && c != '=') {
			out[n++] = (char)c;
		} else {
			out[n++] = '+';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		}
	}
	out[n] = '\0';
	return true;
}

static void
line_attr(struct line *l, const char *name, const char *value, const char *otherwise)
{
	char text[XCLIENT_VALUE_MAX_OCTETS + 1];

	line_text(l, " ");
	line_text(l, name);
	line_text(l, "=");
	if (value == NULL || value[0] == '\0' || !xtext(value, text, sizeof(text)))
		line_text(l, otherwise);
	else
		line_text(l, text);
}

uint32_t
xclient_build(const struct relay_client *c, uint32_t attrs, char out[XCLIENT_LINE_MAX_OCTETS])
{
	const bool temp = c->ptr_state == PTR_TEMPERR || c->ptr_state == PTR_UNKNOWN;
	const char *none = temp ? "[TEMPUNAVAIL]" : "[UNAVAILABLE]";
	const char *name = is_hostname(c->ptr_name) ? c->ptr_name : NULL;
	char addr[IP_ADDR_TEXT_MAX_OCTETS + 8] = "", port[8];
	struct line l = { .out = out };

	line_text(&l, "XCLIENT");
	if (attrs & XCLIENT_NAME)
		line_attr(&l, "NAME", c->ptr_confirmed ? name : NULL, none);
	if (attrs & XCLIENT_REVERSE_NAME)
		line_attr(&l, "REVERSE_NAME", name, none);
	if (attrs & XCLIENT_ADDR) {
		if (!ip_addr_is_v4(&c->addrs.src))
			strcpy(addr, "IPV6:");
		ip_addr_format(&c->addrs.src, addr + strlen(addr));
		line_attr(&l, "ADDR", addr, "[UNAVAILABLE]");
	}
	if (attrs & XCLIENT_PORT) {
		snprintf(port, sizeof(port), "%u", c->addrs.src_port);
		line_attr(&l, "PORT", port, "[UNAVAILABLE]");
	}
	if (attrs & XCLIENT_PROTO)
		line_attr(&l, "PROTO", c->esmtp ? "ESMTP" : "SMTP", "[UNAVAILABLE]");
	if (attrs & XCLIENT_HELO)
		line_attr(&l, "HELO", c->helo, "[UNAVAILABLE]");
	line_text(&l, "\r\n");
	return l.len;
}
