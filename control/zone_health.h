/*
 * zone_health.h - whether a zone may be believed: its proof by test points, whom it lists, how often it fails.
 *
 * Flow:   resolver.c: answers for test points and clients -> zone_health_*() -> counts, may be asked, what to log
 * Pure:   no clock, no I/O, no allocation; answers and time come in.
 * Keeps:  a zone counts only for a family of addresses it has proven itself for; what says nothing (time-outs, SERVFAIL) never changes a
 *         standing; every bad standing ends by itself when the zone heals.
 * Source: POLICY section 4; RFC 5782 section 5 (127.0.0.2 is listed, 127.0.0.1 is not; ::FFFF:7F00:2 and :1 of IPv6; of names "test" and
 *         "invalid"); PITFALLS 40.
 */
#ifndef GREYLINE_CONTROL_ZONE_HEALTH_H
#define GREYLINE_CONTROL_ZONE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/policy/dnsbl.h"

#define ZONE_PROOF_US      (1800 * UINT64_C(1000000)) /* a proven zone proves itself again */
#define ZONE_HEAL_US       (300 * UINT64_C(1000000))  /* one in quarantine */
#define ZONE_RETRY_US      (3 * UINT64_C(1000000))    /* one of which nothing was heard */
#define ZONE_SHARE_MIN     20 /* clients in good standing asked for, before their share says something */
#define ZONE_SHARE_PERCENT 25 /* listed of them: no list of bad clients lists every fourth good one */
#define ZONE_FAILURES_MAX  20 /* in a row: the zone is left alone for a while */
#define ZONE_OPEN_MIN_US   (5 * UINT64_C(1000000))
#define ZONE_OPEN_MAX_US   (300 * UINT64_C(1000000))

#define ZONE_STANDINGS(X)                                                                                                        \
	X(UNPROVEN, "unproven") /* nothing heard of its test points yet */                                                       \
	X(ACTIVE, "active")                                                                                                      \
	X(LISTS_EVERYTHING, "lists-everything") /* 127.0.0.1 */                                                                  \
	X(LISTS_NOTHING, "lists-nothing")       /* 127.0.0.2 is not listed */                                                    \
	X(ANSWERS_ERRORS, "answers-errors")     /* 127.255.255.0/24: we may not ask */                                           \
	X(LISTS_GOOD_CLIENTS, "lists-good-clients")                                                                              \
	X(NO_FAMILY,                                                                                                             \
		"not-of-this-family") /* a list of IPv4 has no IPv6 test point; a list of names is of no family but the first */ \
	X(DISABLED, "disabled") /* by the operator */                                                                            \
	X(FAILING, "failing")   /* the breaker is open */

enum zone_standing {
#define X(name, text) ZONE_STANDING_##name,
	ZONE_STANDINGS(X)
#undef X
};

enum zone_family { ZONE_V4, ZONE_V6, ZONE_FAMILIES };
enum zone_point { ZONE_POINT_LISTED, ZONE_POINT_CLEAN, ZONE_POINTS };

/* Of one round of a proof: answers of all resolvers together. */
struct zone_round {
	uint8_t out; /* answers still missing */
	uint8_t listed[ZONE_POINTS], clear[ZONE_POINTS], error[ZONE_POINTS];
};

struct zone_health {
	enum zone_standing family[ZONE_FAMILIES];
	struct zone_round round[ZONE_FAMILIES];
	bool blocks; /* some answer weighs against a client */
	bool disabled;
	bool lists_good;
	uint32_t good_asked, good_listed; /* of this window */
	uint32_t failures;                /* in a row */
	unsigned unheard;                 /* rounds in a row that left a family unproven */
	uint64_t open_until_us, open_for_us, proof_at_us;
};

/* of_names: a list of names has one family only, the first. */
void zone_health_init(struct zone_health *h, const struct dnsbl_zone *zone, bool of_names);

/* A round begins: n answers will come for each family. */
void zone_health_round(struct zone_health *h, uint8_t n, uint64_t now_us);
/* An answer for a test point; listing only counts when heard. True: the round is over and a standing changed; *bad: for the worse. */
bool zone_health_point(struct zone_health *h, enum zone_family f, enum zone_point p, bool heard,
	enum dnsbl_listing listing, uint64_t now_us, bool *bad);
/* An answer for a client. True: the standing changed by it (for the worse). */
bool zone_health_client(struct zone_health *h, bool good_standing, bool listed);
/* What the share of good clients said in the window that ends. True: it changed; *bad: for the worse. */
bool zone_health_window(struct zone_health *h, bool *bad);
/* An answer, or none. True: the breaker opened by it. */
bool zone_health_answered(struct zone_health *h, bool failed, uint64_t now_us);
/* The resolver was away: whatever failed meanwhile was not the zone's fault. */
void zone_health_forgive(struct zone_health *h);

/* Whether its answers count for a client of the family. */
bool zone_health_counts(const struct zone_health *h, enum zone_family f);
/* Whether it is asked for clients at all: one that lists good clients is, to see it heal. */
bool zone_health_asks(const struct zone_health *h, enum zone_family f, uint64_t now_us);
/* The one word for `dnsbl status`. */
enum zone_standing zone_health_standing(const struct zone_health *h, enum zone_family f, uint64_t now_us);
const char *zone_standing_name(enum zone_standing s);

#endif
