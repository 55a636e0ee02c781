/*
 * dnsbl.h - blocklists of DNS: what to ask, what an answer means, what it weighs.
 *
 * Flow:   control: configuration -> dnsbl_zone_parse();  client -> dnsbl_query_name() -> resolver -> A records -> dnsbl_judge() ->
 *         dnsbl_score_add() -> client_verdict.score
 * Pure:   octets and numbers.
 * Keeps:  an answer that cannot be a listing never is one: 127.255.255.0/24 is an error of the list, 127.0.0.1 and what lies outside
 *         127.0.0.0/8 is none (PITFALLS 40). A zone weighs at most DNSBL_WEIGHT_CAP unless it is decisive.
 * Source: POLICY section 4; RFC 5782 sections 2.1 (IPv4), 2.4 (IPv6), 5 (test points); the notation is postscreen's.
 *
 * Notation:   ZONE[=FILTER[*WEIGHT][,FILTER[*WEIGHT]...]][*WEIGHT]
 *
 *   bl.example                            any listing, weight 1
 *   bl.example*3                          any listing, weight 3
 *   bl.example=127.0.0.[2..11]*3          answers of that range
 *   list.example=127.0.[0..255].1*-2,127.0.[0..255].[2;3]*-4
 *
 * An octet of a filter is a number or a list in brackets of numbers and ranges N..M, separated by ';'. A filter names answers inside
 * 127.0.0.0/8 only.
 */
#ifndef GREYLINE_POLICY_DNSBL_H
#define GREYLINE_POLICY_DNSBL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/conf.h"

#define DNSBL_FILTERS_MAX     16
#define DNSBL_ANSWERS_MAX     64 /* A records looked at of one answer; more are ignored */
#define DNSBL_WEIGHT_MAX      99 /* of a filter as written, either sign */
#define DNSBL_WEIGHT_CAP      4  /* of a zone that is not decisive */
#define DNSBL_SCORE_MAX       999
#define DNSBL_NAME_MAX_OCTETS 253 /* RFC 1035 section 2.3.4, as text without the final dot */
#define DNSBL_WHY_OCTETS      200
#define DNSBL_TEST_DOMAIN     "test"    /* RFC 5782 section 5: lists of names have it, */
#define DNSBL_CLEAN_DOMAIN    "invalid" /* and never this */

struct dnsbl_filter {
	uint64_t octet[4][4]; /* for each octet of the answer a set of its 256 values */
	int16_t weight;
};

struct dnsbl_zone {
	char zone[DNSBL_NAME_MAX_OCTETS + 1]; /* as asked: may hold a key, never shown */
	bool decisive;                        /* may weigh more than DNSBL_WEIGHT_CAP */
	uint8_t n_filters;                    /* 0: any listing, weight */
	int16_t weight;
	struct dnsbl_filter filter[DNSBL_FILTERS_MAX];
};

/* Reads the notation. 0; -EINVAL with what is wrong and where in why (DNSBL_WHY_OCTETS, may be NULL); *out is written on success only. */
int dnsbl_zone_parse(const char *text, struct dnsbl_zone *out, char *why);
/* One filter with or without *WEIGHT (then 1). */
int dnsbl_filter_parse(const char *text, struct dnsbl_filter *out, char *why);
/* Whether text is a domain that can be asked: labels of 1 to 63 letters, digits, '-' and '_'; room for the longest prefix of an
 * address is not needed here. NULL when it is, else what is wrong. */
const char *dnsbl_zone_wrong(const char *text);

/* "4.3.2.1.ZONE" or 32 nibbles for IPv6. Returns the length, 0 when it is too long or room too small. Also for in-addr.arpa, ip6.arpa. */
size_t dnsbl_query_name(const struct ip_addr *client, const char *zone, char *out, size_t room);
/* The nibbles of all 16 octets, for IPv4 in its mapped form too: the test points of IPv6 lists are ::FFFF:7F00:2 and :1. */
size_t dnsbl_query_name_v6(const struct ip_addr *client, const char *zone, char *out, size_t room);
/*
 * The name as a list is asked about it, into out (DNSBL_NAME_MAX_OCTETS + 1): lower case, without final dot. Its length; 0 for what no list
 * of names knows: one label alone, an address, octets that no domain has.
 */
size_t dnsbl_domain_askable(const char *text, size_t octets, char *out);
/* "DOMAIN.ZONE" for lists of names (RFC 5782 section 3). domain: lower case A-labels. */
size_t dnsbl_query_domain(const char *domain, const char *zone, char *out, size_t room);
/* Test points of RFC 5782 section 5: listed true: what must be listed (127.0.0.2), false: what must not be (127.0.0.1). */
size_t dnsbl_test_name(const char *zone, bool v6, bool listed, char *out, size_t room);

enum dnsbl_listing {
	DNSBL_NOT_LISTED,
	DNSBL_LISTED,   /* weight counts */
	DNSBL_NO_MATCH, /* listed, but by no answer a filter names: weight 0 */
	DNSBL_ERROR,    /* 127.255.255.0/24: blocked resolver, quota, wrong question */
	DNSBL_NONSENSE, /* answers that cannot be listings: 127.0.0.1, outside 127.0.0.0/8 */
};

struct dnsbl_judgement {
	enum dnsbl_listing listing;
	int16_t weight;  /* 0 but for DNSBL_LISTED; capped */
	uint32_t answer; /* the one that decided, host order; 0: none */
};

/* Judges the A records of a zone's answer (host order). n 0 is NXDOMAIN or no data. Each filter counts once, whatever number of
 * records it matches; several filters add up. An error among the records makes the whole answer one. */
struct dnsbl_judgement dnsbl_judge(const struct dnsbl_zone *zone, const uint32_t *a_records, uint32_t n);

/* The score over zones. Begin with DNSBL_SCORE_NONE. */
struct dnsbl_score {
	int32_t sum;      /* clamped to DNSBL_SCORE_MAX either way */
	int16_t heaviest; /* of the zone that weighed most */
	uint8_t zone;     /* its index, ZONE_NONE when none listed the client */
};

#define DNSBL_SCORE_NONE ((struct dnsbl_score){ .zone = 0xff })

void dnsbl_score_add(struct dnsbl_score *s, uint8_t zone_index, const struct dnsbl_judgement *j);

/* What the zone can weigh at most, for display and for checks of the thresholds. */
int dnsbl_zone_weight_max(const struct dnsbl_zone *zone);

const char *dnsbl_listing_name(enum dnsbl_listing l);

#endif
