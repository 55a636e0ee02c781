/*
 * smtp_manners.c - see smtp_manners.h.
 */
#include "dataplane/smtp/smtp_manners.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "dataplane/base/text.h"

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
is_full_name_long(const char *helo)
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

/* The octets from the one called from to the one before end, as bits. */
static uint64_t
bits_between(unsigned from, unsigned end)
{
	return ((UINT64_C(1) << (end - from)) - 1) << from;
}

/* The same of a name below 64 octets, as nearly all are: sixteen at a time. */
static bool
is_full_name(const char *helo, uint32_t n)
{
	uint64_t name = 0, dots = 0, digits = 0, before;
	unsigned end;

	if (n >= 64)
		return is_full_name_long(helo);
	for (uint32_t at = 0; at < n; at += 16) {
		const __m128i x = text_load_16(helo + at, n - at), small = _mm_or_si128(x, _mm_set1_epi8(0x20));
		const __m128i digit = _mm_and_si128(
			_mm_cmpgt_epi8(x, _mm_set1_epi8('0' - 1)), _mm_cmpgt_epi8(_mm_set1_epi8('9' + 1), x));
		const __m128i letter = _mm_and_si128(
			_mm_cmpgt_epi8(small, _mm_set1_epi8('a' - 1)), _mm_cmpgt_epi8(_mm_set1_epi8('z' + 1), small));
		const __m128i other =
			_mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('-')), _mm_cmpeq_epi8(x, _mm_set1_epi8('_')));

		digits |= (uint64_t)(uint32_t)_mm_movemask_epi8(digit) << at;
		name |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_or_si128(digit, _mm_or_si128(letter, other))) << at;
		dots |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_set1_epi8('.'))) << at;
	}
	end = n - (unsigned)(n > 1 && (dots >> (n - 1) & 1) != 0); /* one dot at the end is forgiven */
	dots &= bits_between(0, end);
	if (end == 0 || (name | dots) != bits_between(0, end))
		return false;
	if (dots == 0 || (dots & 1) != 0 || (dots & dots >> 1) != 0 || (dots >> (end - 1) & 1) != 0)
		return false;                                             /* one label, or one without octets */
	before = bits_between(64 - (unsigned)__builtin_clzll(dots), end); /* of the last label */
	return (digits & before) != before;
}

static bool
is_our_name(const char *helo, uint32_t n, const char *our_name)
{
	const size_t ours = strlen(our_name);

	return ours > 0 && (n == ours || (n == ours + 1 && helo[ours] == '.')) &&
	       strncasecmp(helo, our_name, ours) == 0;
}

/* An address without brackets. */
static bool
bare_address_is(const char *helo, const struct ip_addr *addr)
{
	struct ip_addr bare;

	return ip_addr_parse(helo, &bare) == 0 && ip_addr_equal(&bare, addr);
}

uint32_t
smtp_helo_faults(const char *helo, const struct ip_addr *client, const char *our_name, const struct ip_addr *our_addr)
{
	struct ip_addr literal;
	uint32_t faults = 0, n;
	bool full;

	if (helo[0] == '\0')
		return 0;
	if (literal_parse(helo, &literal)) {
		if (ip_addr_equal(&literal, our_addr))
			faults |= MANNER_HELO_OURS;
		if (!ip_addr_equal(&literal, client))
			faults |= MANNER_HELO_LITERAL;
		return faults;
	}
	n = (uint32_t)strlen(helo);
	full = is_full_name(helo, n);
	if (!full)
		faults |= MANNER_HELO_SYNTAX;
	if (is_our_name(helo, n, our_name) ||
		(!full && bare_address_is(helo, our_addr))) /* no full name is an address */
		faults |= MANNER_HELO_OURS;
	return faults;
}
