/*
 * dnsbl.c - names to ask, answers to judge, weights to add.
 *
 * Flow:   see dnsbl.h.
 * Pure:   no clock, no I/O, no allocation.
 * Keeps:  see dnsbl.h.
 * Source: RFC 5782.
 */
#include "dataplane/policy/dnsbl.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/verdict.h"

static_assert(ZONE_NONE == 0xff, "DNSBL_SCORE_NONE spells it out");

/* The text that is read, and where: errors name the place by what is left. */
struct scan {
	const char *at;
	char *why;
};

static int __attribute__((format(printf, 2, 3))) wrong(const struct scan *s, const char *fmt, ...)
{
	va_list args;

	if (s->why != NULL) {
		va_start(args, fmt);
		vsnprintf(s->why, DNSBL_WHY_OCTETS, fmt, args);
		va_end(args);
	}
	return -EINVAL;
}

static bool
scan_is(struct scan *s, const char *word)
{
	const size_t n = strlen(word);

	if (strncmp(s->at, word, n) != 0)
		return false;
	s->at += n;
	return true;
}

/* A number of at most max; leading zeroes are refused, as 010 is 8 to some and 10 to others. */
static int
scan_number(struct scan *s, unsigned max, unsigned *out)
{
	const char *begin = s->at;
	unsigned value = 0;

	while (*s->at >= '0' && *s->at <= '9' && s->at - begin < 4)
		value = value * 10 + (unsigned)(*s->at++ - '0');
	if (s->at == begin)
		return wrong(s, *begin == '\0' ? "a number is missing at the end" : "a number is missing at \"%.20s\"",
			begin);
	if (begin[0] == '0' && s->at - begin > 1)
		return wrong(s, "a number with a leading zero at \"%.20s\"", begin);
	if (value > max)
		return wrong(s, "\"%.20s\" begins with a number above %u", begin, max);
	*out = value;
	return 0;
}

static void
set_range(uint64_t set[4], unsigned lo, unsigned hi)
{
	for (unsigned v = lo; v <= hi; v++)
		set[v / 64] |= UINT64_C(1) << (v % 64);
}

static bool
set_has(const uint64_t set[4], unsigned v)
{
	return set[v / 64] >> (v % 64) & 1;
}

/* N or N..M */
static int
scan_range(struct scan *s, uint64_t set[4])
{
	unsigned lo, hi;

	if (scan_number(s, 255, &lo) != 0)
		return -EINVAL;
	hi = lo;
	if (scan_is(s, "..") && scan_number(s, 255, &hi) != 0)
		return -EINVAL;
	if (hi < lo)
		return wrong(s, "the range %u..%u is empty", lo, hi);
	set_range(set, lo, hi);
	return 0;
}

/* N or [N..M;N;...] */
static int
scan_octet(struct scan *s, uint64_t set[4])
{
	unsigned v;

	if (!scan_is(s, "[")) {
		if (scan_number(s, 255, &v) != 0)
			return -EINVAL;
		set_range(set, v, v);
		return 0;
	}
	do {
		if (scan_range(s, set) != 0)
			return -EINVAL;
	} while (scan_is(s, ";"));
	if (!scan_is(s, "]"))
		return wrong(s, *s->at == '\0' ? "\"]\" is missing at the end" : "\"]\" or \";\" expected at \"%.20s\"",
			s->at);
	return 0;
}

/* *N or *-N; 1 where there is none. */
static int
scan_weight(struct scan *s, int16_t *out)
{
	unsigned value;
	bool minus;

	*out = 1;
	if (!scan_is(s, "*"))
		return 0;
	minus = scan_is(s, "-");
	if (scan_number(s, DNSBL_WEIGHT_MAX, &value) != 0)
		return -EINVAL;
	if (value == 0)
		return wrong(s, "a weight of 0 has no effect");
	*out = (int16_t)(minus ? -(int)value : (int)value);
	return 0;
}

static bool
set_is_only(const uint64_t set[4], unsigned v)
{
	uint64_t only[4] = { 0 };

	set_range(only, v, v);
	return memcmp(only, set, sizeof(only)) == 0;
}

static int
scan_filter(struct scan *s, struct dnsbl_filter *out)
{
	const char *begin = s->at;
	struct dnsbl_filter f = { 0 };

	for (unsigned i = 0; i < 4; i++) {
		if (i > 0 && !scan_is(s, "."))
			return wrong(s, "four octets and \".\" between them expected in \"%.40s\"", begin);
		if (scan_octet(s, f.octet[i]) != 0)
			return -EINVAL;
	}
	if (!set_is_only(f.octet[0], 127))
		return wrong(s, "\"%.40s\": listings are answers in 127.0.0.0/8 only", begin);
	if (set_is_only(f.octet[1], 0) && set_is_only(f.octet[2], 0) && set_is_only(f.octet[3], 1))
		return wrong(s, "\"%.40s\": 127.0.0.1 is never a listing (RFC 5782 section 2.1)", begin);
	if (set_is_only(f.octet[1], 255) && set_is_only(f.octet[2], 255))
		return wrong(s, "\"%.40s\": 127.255.255.0/24 is how lists tell errors", begin);
	if (scan_weight(s, &f.weight) != 0)
		return -EINVAL;
	*out = f;
	return 0;
}

int
dnsbl_filter_parse(const char *text, struct dnsbl_filter *out, char *why)
{
	struct scan s = { text, why };
	struct dnsbl_filter f;

	if (scan_filter(&s, &f) != 0)
		return -EINVAL;
	if (*s.at != '\0')
		return wrong(&s, "\"%.20s\" is too much after the filter", s.at);
	*out = f;
	return 0;
}

const char *
dnsbl_zone_wrong(const char *text)
{
	size_t n = strlen(text), label = 0;

	if (n == 0)
		return "the zone is missing";
	if (n > DNSBL_NAME_MAX_OCTETS)
		return "the zone is longer than 253 octets";
	for (size_t i = 0; i < n; i++) {
		const char c = text[i];

		if (c == '.') {
			if (label == 0)
				return "the zone has an empty label";
			label = 0;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
			    c == '_'))
			return "the zone is no domain: letters, digits, '-', '_' and '.' only";
		if (++label > 63)
			return "the zone has a label longer than 63 octets";
	}
	return NULL;
}

int
dnsbl_zone_parse(const char *text, struct dnsbl_zone *out, char *why)
{
	struct scan s = { text, why };
	const size_t n_zone = strcspn(text, "=*");
	size_t n_name = n_zone;
	struct dnsbl_zone z = { .weight = 1 };
	const char *bad;

	if (n_zone > 1 && text[n_zone - 1] == '.')
		n_name--;
	if (n_name > DNSBL_NAME_MAX_OCTETS)
		return wrong(&s, "the zone is longer than %d octets", DNSBL_NAME_MAX_OCTETS);
	memcpy(z.zone, text, n_name);
	z.zone[n_name] = '\0';
	bad = dnsbl_zone_wrong(z.zone);
	if (bad != NULL)
		return wrong(&s, "%s", bad);
	s.at += n_zone;
	if (scan_is(&s, "=")) {
		do {
			if (z.n_filters == DNSBL_FILTERS_MAX)
				return wrong(&s, "more than %d filters", DNSBL_FILTERS_MAX);
			if (scan_filter(&s, &z.filter[z.n_filters]) != 0)
				return -EINVAL;
			z.n_filters++;
		} while (scan_is(&s, ","));
	} else if (scan_weight(&s, &z.weight) != 0) {
		return -EINVAL;
	}
	if (*s.at != '\0')
		return wrong(&s, "\"%.20s\" is too much at the end", s.at);
	*out = z;
	return 0;
}

static size_t
join_name(const char *labels, size_t n_labels, const char *zone, char *out, size_t room)
{
	const size_t n_zone = strlen(zone);

	if (n_zone == 0 || n_labels + n_zone > DNSBL_NAME_MAX_OCTETS || n_labels + n_zone >= room)
		return 0;
	memcpy(out, labels, n_labels);
	memcpy(out + n_labels, zone, n_zone + 1);
	return n_labels + n_zone;
}

size_t
dnsbl_query_name_v6(const struct ip_addr *client, const char *zone, char *out, size_t room)
{
	static const char hex[] = "0123456789abcdef";
	char labels[16 * 4];
	size_t n = 0;

	for (int i = 15; i >= 0; i--) {
		labels[n++] = hex[client->octet[i] & 15];
		labels[n++] = '.';
		labels[n++] = hex[client->octet[i] >> 4];
		labels[n++] = '.';
	}
	return join_name(labels, n, zone, out, room);
}

size_t
dnsbl_query_name(const struct ip_addr *client, const char *zone, char *out, size_t room)
{
	char labels[17];
	int n;

	if (!ip_addr_is_v4(client))
		return dnsbl_query_name_v6(client, zone, out, room);
	n = snprintf(labels, sizeof(labels), "%u.%u.%u.%u.", client->octet[15], client->octet[14], client->octet[13],
		client->octet[12]);
	return join_name(labels, (size_t)n, zone, out, room);
}

size_t
dnsbl_domain_askable(const char *text, size_t octets, char *out)
{
	const char *last;

	if (octets > 0 && text[octets - 1] == '.')
		octets--;
	if (octets == 0 || octets > DNSBL_NAME_MAX_OCTETS)
		return 0;
	for (size_t i = 0; i < octets; i++)
		out[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + ('a' - 'A') : text[i]);
	out[octets] = '\0';
	last = strrchr(out, '.');
	if (strlen(out) != octets || last == NULL || dnsbl_zone_wrong(out) != NULL ||
		strspn(last + 1, "0123456789") == strlen(last + 1))
		return 0;
	return octets;
}

size_t
dnsbl_query_domain(const char *domain, const char *zone, char *out, size_t room)
{
	char labels[DNSBL_NAME_MAX_OCTETS + 2];
	const int n = snprintf(labels, sizeof(labels), "%s.", domain);

	if (n < 2 || (size_t)n >= sizeof(labels))
		return 0;
	return join_name(labels, (size_t)n, zone, out, room);
}

size_t
dnsbl_test_name(const char *zone, bool v6, bool listed, char *out, size_t room)
{
	const struct ip_addr point = ip_addr_v4(UINT32_C(0x7f000000) | (listed ? 2 : 1));

	return v6 ? dnsbl_query_name_v6(&point, zone, out, room) : dnsbl_query_name(&point, zone, out, room);
}

static bool
filter_matches(const struct dnsbl_filter *f, uint32_t answer)
{
	for (unsigned i = 0; i < 4; i++)
		if (!set_has(f->octet[i], answer >> (24 - 8 * i) & 255))
			return false;
	return true;
}

static int
zone_cap(const struct dnsbl_zone *zone, int weight)
{
	if (!zone->decisive)
		weight = MIN(weight, DNSBL_WEIGHT_CAP);
	return MAX(MIN(weight, DNSBL_SCORE_MAX), -DNSBL_SCORE_MAX);
}

static bool
is_error(uint32_t answer)
{
	return answer >> 8 == 0x7fffff; /* 127.255.255.0/24 */
}

static bool
can_be_listing(uint32_t answer)
{
	return answer >> 24 == 127 && answer != 0x7f000001 && !is_error(answer);
}

struct dnsbl_judgement
dnsbl_judge(const struct dnsbl_zone *zone, const uint32_t *a_records, uint32_t n)
{
	bool matched[DNSBL_FILTERS_MAX] = { false };
	struct dnsbl_judgement j = { .listing = DNSBL_NOT_LISTED };
	int weight = 0;

	n = MIN(n, (uint32_t)DNSBL_ANSWERS_MAX);
	for (uint32_t i = 0; i < n; i++)
		if (is_error(a_records[i]))
			return (struct dnsbl_judgement){ .listing = DNSBL_ERROR, .answer = a_records[i] };
	for (uint32_t i = 0; i < n; i++) {
		if (!can_be_listing(a_records[i])) {
			if (j.listing == DNSBL_NOT_LISTED)
				j = (struct dnsbl_judgement){ .listing = DNSBL_NONSENSE, .answer = a_records[i] };
			continue;
		}
		if (j.listing == DNSBL_NOT_LISTED || j.listing == DNSBL_NONSENSE)
			j = (struct dnsbl_judgement){ .listing = DNSBL_NO_MATCH, .answer = a_records[i] };
		for (unsigned f = 0; f < zone->n_filters; f++)
			if (!matched[f] && filter_matches(&zone->filter[f], a_records[i])) {
				matched[f] = true;
				weight += zone->filter[f].weight;
				if (j.listing == DNSBL_NO_MATCH)
					j = (struct dnsbl_judgement){ .listing = DNSBL_LISTED, .answer = a_records[i] };
			}
		if (zone->n_filters == 0) {
			j.listing = DNSBL_LISTED;
			weight = zone->weight;
		}
	}
	if (j.listing == DNSBL_LISTED)
		j.weight = (int16_t)zone_cap(zone, weight);
	return j;
}

void
dnsbl_score_add(struct dnsbl_score *s, uint8_t zone_index, const struct dnsbl_judgement *j)
{
	if (j->listing != DNSBL_LISTED || j->weight == 0)
		return;
	s->sum = MAX(MIN(s->sum + j->weight, DNSBL_SCORE_MAX), -DNSBL_SCORE_MAX);
	if (s->zone == ZONE_NONE || j->weight > s->heaviest) {
		s->zone = zone_index;
		s->heaviest = j->weight;
	}
}

int
dnsbl_zone_weight_max(const struct dnsbl_zone *zone)
{
	int weight = zone->n_filters == 0 ? zone->weight : 0, positive = 0, negative = 0;

	for (unsigned f = 0; f < zone->n_filters; f++) {
		if (zone->filter[f].weight > 0)
			positive += zone->filter[f].weight;
		else
			negative = MIN(negative, zone->filter[f].weight);
	}
	if (zone->n_filters > 0)
		weight = positive > 0 ? positive : negative;
	return zone_cap(zone, weight);
}

const char *
dnsbl_listing_name(enum dnsbl_listing l)
{
	static const char *const names[] = { [DNSBL_NOT_LISTED] = "not-listed",
		[DNSBL_LISTED] = "listed",
		[DNSBL_NO_MATCH] = "no-match",
		[DNSBL_ERROR] = "error",
		[DNSBL_NONSENSE] = "nonsense" };

	return (unsigned)l < ARRAY_LEN(names) ? names[l] : "unknown";
}
