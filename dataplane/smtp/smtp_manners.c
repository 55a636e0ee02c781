/*
 * smtp_manners.c - see smtp_manners.h.
 */
#include "dataplane/smtp/smtp_manners.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 section 4.1.3). */
static bool
literal_parse(const char *helo, struct ip_addr *out)
{
	char text[IP_ADDR_TEXT_MAX_OCTETS + 1];
	size_t n, skip = 1;

	if (helo[0] != '[')
		return false;
	n = strlen(helo);
	if (n < 3 || helo[n - 1] != ']')
		return false;
	if (strncasecmp(helo + 1, "IPv6:", 5) == 0)
		skip = 6;
	if (n - skip - 1 >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)(n - skip - 1), helo + skip);
	if ((skip == 6) != (strchr(text, ':') != NULL))
		return false;
	return ip_addr_parse(text, out) == 0;
}

#define DIGIT 1
#define OTHER 2 /* letters, hyphen, underscore */

/* What an octet of a name is; the dot and all that has no place there: 0. */
static const uint8_t name_octet[256] = {
	['0' ... '9'] = DIGIT,
	['A' ... 'Z'] = OTHER,
	['a' ... 'z'] = OTHER,
	['-'] = OTHER,
	['_'] = OTHER,
};

/* Two labels or more of letters, digits, hyphens and underscores (there are many); one dot at the end is forgiven. A number alone as
 * the last label is an address without brackets. */
static bool
is_full_name(const char *helo)
{
	const uint8_t *p = (const uint8_t *)helo;
	uint32_t labels = 0;
	unsigned kinds = 0; /* of the last label */

	for (;; p++) {
		const uint8_t *label = p;

		if (labels > 0 && *p == '\0')
			break; /* behind the last dot */
		for (kinds = 0; name_octet[*p] != 0; p++)
			kinds |= name_octet[*p];
		if (p == label || p - label > 63)
			return false;
		labels++;
		if (*p == '\0')
			break;
		if (*p != '.')
			return false;
	}
	return labels >= 2 && kinds != DIGIT;
}

static bool
is_our_name(const char *helo, const char *our_name)
{
	const size_t n = strlen(our_name);

	return n > 0 && strncasecmp(helo, our_name, n) == 0 &&
	       (helo[n] == '\0' || (helo[n] == '.' && helo[n + 1] == '\0'));
}

/* An address without brackets: with a colon, or with a digit as its last octet. Most names are told from one by that. */
static bool
bare_address_is(const char *helo, const struct ip_addr *addr)
{
	const char last = helo[strlen(helo) - 1];
	struct ip_addr bare;

	if ((last < '0' || last > '9') && strchr(helo, ':') == NULL)
		return false;
	return ip_addr_parse(helo, &bare) == 0 && ip_addr_equal(&bare, addr);
}

uint32_t
smtp_helo_faults(const char *helo, const struct ip_addr *client, const char *our_name, const struct ip_addr *our_addr)
{
	struct ip_addr literal;
	uint32_t faults = 0;

	if (helo[0] == '\0')
		return 0;
	if (literal_parse(helo, &literal)) {
		if (ip_addr_equal(&literal, our_addr))
			faults |= MANNER_HELO_OURS;
		if (!ip_addr_equal(&literal, client))
			faults |= MANNER_HELO_LITERAL;
		return faults;
	}
	if (!is_full_name(helo))
		faults |= MANNER_HELO_SYNTAX;
	if (is_our_name(helo, our_name) || bare_address_is(helo, our_addr))
		faults |= MANNER_HELO_OURS;
	return faults;
}
