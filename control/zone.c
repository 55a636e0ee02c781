/*
 * zone.c - what the resolver needs of a zone, on top of policy's judge.
 *
 * Pure:   text and answers in, names and weights out.
 * Source: POLICY section 4; dataplane/policy/dnsbl.h.
 */
#include "control/zone.h"

#include "control/findings.h"
#include "dataplane/base/bug.h"

bool
zone_question(const struct config_zone *z, const struct subject *s, char *out, size_t room)
{
	if (s->kind == ZONE_KIND_CLIENT)
		return dnsbl_query_name(&s->client, z->spec.zone, out, room) > 0;
	return dnsbl_query_domain(s->name, z->spec.zone, out, room) > 0;
}

struct zone_weight
zone_weigh(const struct config_zone *z, const struct dns_answer *answer)
{
	uint32_t record[DNS_ADDRS_MAX], n = 0;
	struct dnsbl_judgement j;

	for (uint32_t i = 0; i < answer->n_addrs; i++)
		if (ip_addr_is_v4(&answer->addr[i]))
			record[n++] = ip_addr_to_v4(&answer->addr[i]);
	j = dnsbl_judge(&z->spec, record, n);
	return (struct zone_weight){
		.listed = j.listing == DNSBL_LISTED,
		.error = j.listing == DNSBL_ERROR || j.listing == DNSBL_NONSENSE,
		.listing = j.listing,
		.weight = j.weight,
	};
}

void
zone_weight_range(const struct config_zone *z, int *lowest, int *highest)
{
	int low = 0;

	for (unsigned i = 0; i < z->spec.n_filters; i++)
		low += MIN(z->spec.filter[i].weight, 0);
	if (z->spec.n_filters == 0)
		low = MIN(z->spec.weight, 0);
	*lowest = z->spec.decisive ? low : MAX(low, -DNSBL_WEIGHT_CAP);
	*highest = MAX(dnsbl_zone_weight_max(&z->spec), 0);
}
