/*
 * zone.h - DNS zones as the resolver asks them: policy's judge with what the configuration adds.
 *
 * Flow:   config_parts.c -> dnsbl_zone_parse();  resolver.c -> zone_question(), zone_weigh()
 * Pure:   text and answers in, names and weights out.
 * Source: POLICY section 4, RFC 5782; the judging itself is dataplane/policy/dnsbl.h.
 */
#ifndef GREYLINE_CONTROL_ZONE_H
#define GREYLINE_CONTROL_ZONE_H

#include "control/config.h"
#include "control/dns_message.h"

struct subject;

/* The name to ask about a subject of the zone's kind; false when it does not fit. */
bool zone_question(const struct config_zone *z, const struct subject *s, char *out, size_t room);

struct zone_weight {
	bool listed, error; /* error: an answer that says "you may not ask", or that cannot be a listing */
	enum dnsbl_listing listing;
	int weight; /* already held to what the zone may weigh */
};

struct zone_weight zone_weigh(const struct config_zone *z, const struct dns_answer *answer);
/* The lowest and highest the zone can weigh: 0 is always possible. */
void zone_weight_range(const struct config_zone *z, int *lowest, int *highest);
#endif
