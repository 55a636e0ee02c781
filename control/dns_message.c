/*
 * dns_message.c - reading answers.
 *
 * Flow:   see dns_message.h.
 * Pure:   octets in, records out.
 * Keeps:  a compression pointer leads only backwards, a name has 255 octets at most; each record is looked at once for each step of the
 *         CNAME chain, of which there are DNS_CNAMES_MAX.
 * Source: RFC 1035 section 4.1, RFC 2308 section 5 (a negative answer lives for the smaller of SOA TTL and MINIMUM).
 */
#include "control/dns_message.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/octets.h"

#define DNS_HEADER_OCTETS 12
#define DNS_FLAG_QR       0x8000
#define DNS_FLAG_TC       0x0200
#define DNS_CLASS_IN      1

/* An octet of a label as printable ASCII; a dot inside a label is escaped, too, so that it cannot pass for two labels. */
static size_t
label_octet(uint8_t c, char *out, size_t room)
{
	static const char hex[] = "0123456789abcdef";

	if (c > 0x20 && c < 0x7f && c != '.' && c != '\\' && c != '"') {
		if (room < 1)
			return 0;
		out[0] = (char)c;
		return 1;
	}
	if (room < 4)
		return 0;
	out[0] = '\\';
	out[1] = 'x';
	out[2] = hex[c >> 4];
	out[3] = hex[c & 15];
	return 4;
}

/*
 * A name at *at; *at moves behind it. text (DNS_NAME_OCTETS) gets it without final dot; what is too long after escaping makes the name
 * unusable ("?"), never a shorter one. False: malformed.
 */
static bool
name_read(const uint8_t *m, size_t octets, size_t *at, char *text)
{
	size_t pos = *at, n = 0, wire = 0, limit = pos;
	bool jumped = false, too_long = false;

	for (;;) {
		uint8_t len;

		if (pos >= octets)
			return false;
		len = m[pos];
		if ((len & 0xc0) == 0xc0) { /* a pointer: strictly backwards, so there is no loop */
			size_t to;

			if (pos + 1 >= octets)
				return false;
			to = (size_t)(len & 0x3f) << 8 | m[pos + 1];
			if (!jumped)
				*at = pos + 2;
			jumped = true;
			if (to >= limit)
				return false;
			limit = to;
			pos = to;
			continue;
		}
		if ((len & 0xc0) != 0)
			return false;
		pos++;
		if (len == 0)
			break;
		wire += (size_t)len + 1;
		if (wire > 254 || pos + len > octets)
			return false;
		if (n > 0 && n < DNS_NAME_OCTETS - 1)
			text[n++] = '.';
		for (size_t i = 0; i < len; i++) {
			size_t wrote = label_octet(m[pos + i], text + n, DNS_NAME_OCTETS - 1 - n);

			too_long = too_long || wrote == 0;
			n += wrote;
		}
		pos += len;
	}
	if (!jumped)
		*at = pos;
	if (too_long) {
		text[0] = '?';
		n = 1;
	}
	text[n] = '\0';
	return true;
}

struct record {
	char owner[DNS_NAME_OCTETS];
	uint16_t type, class;
	uint32_t ttl_s;
	size_t data, data_octets;
};

static uint16_t
u16_at(const uint8_t *m, size_t at)
{
	return (uint16_t)(m[at] << 8 | m[at + 1]);
}

static uint32_t
u32_at(const uint8_t *m, size_t at)
{
	return (uint32_t)u16_at(m, at) << 16 | u16_at(m, at + 2);
}

static bool
record_read(const uint8_t *m, size_t octets, size_t *at, struct record *r)
{
	if (!name_read(m, octets, at, r->owner) || *at + 10 > octets)
		return false;
	r->type = u16_at(m, *at);
	r->class = u16_at(m, *at + 2);
	r->ttl_s = u32_at(m, *at + 4);
	if (r->ttl_s > INT32_MAX) /* RFC 2181 section 8 */
		r->ttl_s = 0;
	r->data_octets = u16_at(m, *at + 8);
	r->data = *at + 10;
	if (r->data + r->data_octets > octets)
		return false;
	*at = r->data + r->data_octets;
	return true;
}

/* The printable part of a TXT record: its strings one after another. */
static void
text_read(const uint8_t *m, const struct record *r, char *out)
{
	size_t at = r->data, end = r->data + r->data_octets, n = 0;

	while (at < end) {
		size_t len = m[at++];

		for (size_t i = 0; i < len && at < end; i++, at++)
			if (n < DNS_TEXT_OCTETS - 1)
				out[n++] = m[at] >= 0x20 && m[at] < 0x7f ? (char)m[at] : '?';
	}
	out[n] = '\0';
}

/* Takes a record of the type asked for; false when its data are not what they should be. */
static bool
record_take(const uint8_t *m, size_t octets, const struct record *r, enum dns_type type, struct dns_answer *out)
{
	size_t at = r->data;

	switch (type) {
	case DNS_A:
		if (r->data_octets != 4)
			return false;
		if (out->n_addrs < DNS_ADDRS_MAX)
			out->addr[out->n_addrs++] = ip_addr_v4(u32_at(m, r->data));
		return true;
	case DNS_AAAA:
		if (r->data_octets != 16)
			return false;
		if (out->n_addrs < DNS_ADDRS_MAX)
			memcpy(out->addr[out->n_addrs++].octet, m + r->data, 16);
		return true;
	case DNS_PTR:
		if (out->n_names == DNS_NAMES_MAX)
			return true;
		if (!name_read(m, octets, &at, out->name[out->n_names]) || at != r->data + r->data_octets)
			return false;
		if (out->name[out->n_names][0] != '\0') /* the root is no host's name */
			out->n_names++;
		return true;
	case DNS_TXT:
		if (out->text[0] == '\0')
			text_read(m, r, out->text);
		return true;
	case DNS_CNAME:
	case DNS_SOA:
		break;
	}
	return false;
}

static void
ttl_take(struct dns_answer *out, uint32_t ttl_s, bool *have)
{
	if (!*have || ttl_s < out->ttl_s)
		out->ttl_s = ttl_s;
	*have = true;
}

/* Records of the type that belong to name, in the answer section; then the CNAME of name, if any, into next. -1: malformed. */
static int
chain_step(const uint8_t *m, size_t octets, size_t answers_at, unsigned n_answers, const char *name, enum dns_type type,
	struct dns_answer *out, bool *have_ttl, char *next)
{
	size_t at = answers_at;
	int found = 0;

	next[0] = '\0';
	for (unsigned i = 0; i < n_answers; i++) {
		struct record r;

		if (!record_read(m, octets, &at, &r))
			return -1;
		if (r.class != DNS_CLASS_IN || strcasecmp(r.owner, name) != 0)
			continue;
		if (r.type == (uint16_t)type) {
			if (!record_take(m, octets, &r, type, out))
				return -1;
			ttl_take(out, r.ttl_s, have_ttl);
			found++;
		} else if (r.type == DNS_CNAME && next[0] == '\0') {
			size_t to = r.data;

			if (!name_read(m, octets, &to, next))
				return -1;
			ttl_take(out, r.ttl_s, have_ttl);
		}
	}
	return found;
}

/* The time a negative answer may be kept, by the SOA of the authority section (RFC 2308 section 5). */
static bool
negative_ttl(const uint8_t *m, size_t octets, size_t at, unsigned n, uint32_t *ttl_s)
{
	for (unsigned i = 0; i < n; i++) {
		char name[DNS_NAME_OCTETS];
		struct record r;
		size_t data;

		if (!record_read(m, octets, &at, &r))
			return false;
		data = r.data;
		if (r.type != DNS_SOA || !name_read(m, octets, &data, name) || !name_read(m, octets, &data, name) ||
			data + 20 > r.data + r.data_octets)
			continue;
		*ttl_s = MIN(r.ttl_s, u32_at(m, data + 16));
		return true;
	}
	return false;
}

void
dns_answer_parse(const uint8_t *message, size_t octets, const char *name, enum dns_type type, struct dns_answer *out)
{
	char at_name[DNS_NAME_OCTETS], next[DNS_NAME_OCTETS];
	unsigned n_questions, n_answers, n_authority, rcode;
	size_t at = DNS_HEADER_OCTETS, answers_at;
	bool have_ttl = false;
	uint32_t ttl_s = 0;
	uint16_t flags;

	memset(out, 0, sizeof(*out));
	out->status = DNS_TEMPERR;
	if (octets < DNS_HEADER_OCTETS || octets > 65535 || strlen(name) >= sizeof(at_name))
		return;
	flags = u16_at(message, 2);
	rcode = flags & 15;
	n_questions = u16_at(message, 4);
	n_answers = u16_at(message, 6);
	n_authority = u16_at(message, 8);
	if ((flags & DNS_FLAG_QR) == 0 || (flags & DNS_FLAG_TC) != 0 || (rcode != 0 && rcode != 3) ||
		n_questions != 1 || n_answers + n_authority > DNS_RECORDS_MAX)
		return;
	if (!name_read(message, octets, &at, at_name) || at + 4 > octets || strcasecmp(at_name, name) != 0 ||
		u16_at(message, at) != (uint16_t)type || u16_at(message, at + 2) != DNS_CLASS_IN)
		return; /* the answer to another question */
	at += 4;
	answers_at = at;
	for (unsigned i = 0; i < n_answers; i++) {
		struct record r;

		if (!record_read(message, octets, &at, &r))
			return;
	}
	for (unsigned step = 0; step <= DNS_CNAMES_MAX; step++) {
		int found = chain_step(message, octets, answers_at, n_answers, at_name, type, out, &have_ttl, next);

		if (found < 0) {
			memset(out, 0, sizeof(*out));
			out->status = DNS_TEMPERR;
			return;
		}
		if (found > 0 && (type != DNS_PTR || out->n_names > 0)) {
			out->status = rcode == 0 ? DNS_OK : DNS_TEMPERR;
			return;
		}
		if (next[0] == '\0') {
			/* An alias whose end the resolver did not tell is no absence, unless it says so. */
			out->status = step == 0 || rcode == 3 || negative_ttl(message, octets, at, n_authority, &ttl_s)
			                      ? DNS_NONE
			                      : DNS_TEMPERR;
			break;
		}
		memcpy(at_name, next, sizeof(at_name));
	}
	/* beyond the chain's cap, or a loop: status is still DNS_TEMPERR */
	if (out->status == DNS_NONE) {
		const bool soa = negative_ttl(message, octets, at, n_authority, &ttl_s);

		out->ttl_s = soa ? (have_ttl ? MIN(out->ttl_s, ttl_s) : ttl_s) : 0;
	}
}

size_t
dns_reverse_name(const struct ip_addr *addr, const char *zone, char *out, size_t room)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;
	int wrote;

	if (ip_addr_is_v4(addr)) {
		wrote = snprintf(out, room, "%u.%u.%u.%u.%s", addr->octet[15], addr->octet[14], addr->octet[13],
			addr->octet[12], zone != NULL ? zone : "in-addr.arpa");
		return wrote > 0 && (size_t)wrote < room ? (size_t)wrote : 0;
	}
	if (room < 65)
		return 0;
	for (int i = 15; i >= 0; i--) {
		out[n++] = hex[addr->octet[i] & 15];
		out[n++] = '.';
		out[n++] = hex[addr->octet[i] >> 4];
		out[n++] = '.';
	}
	wrote = snprintf(out + n, room - n, "%s", zone != NULL ? zone : "ip6.arpa");
	return wrote > 0 && (size_t)wrote < room - n ? n + (size_t)wrote : 0;
}
