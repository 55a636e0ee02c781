/*
 * zone_health.c - the standing of a zone.
 *
 * Flow:   see zone_health.h.
 * Pure:   no clock, no I/O, no allocation.
 * Keeps:  see zone_health.h.
 * Source: RFC 5782 section 5.
 */
#include "control/zone_health.h"

#include <string.h>

#include "dataplane/base/bug.h"

void
zone_health_init(struct zone_health *h, const struct dnsbl_zone *zone, bool of_names)
{
	memset(h, 0, sizeof(*h));
	if (of_names)
		h->family[ZONE_V6] = ZONE_STANDING_NO_FAMILY;
	h->blocks = zone->n_filters == 0 && zone->weight > 0;
	for (unsigned i = 0; i < zone->n_filters; i++)
		h->blocks = h->blocks || zone->filter[i].weight > 0;
}

void
zone_health_round(struct zone_health *h, uint8_t n, uint64_t now_us)
{
	memset(h->round, 0, sizeof(h->round));
	for (unsigned f = 0; f < ZONE_FAMILIES; f++)
		h->round[f].out = n;
	h->proof_at_us = now_us + ZONE_RETRY_US;
}

/*
 * What a round says of a family. One resolver that hears the clean point listed is enough to doubt the zone; one that hears the listed
 * point listed is enough to believe that it is alive (another may be blocked by the list, which then lists nothing there).
 */
static enum zone_standing
round_says(const struct zone_round *r, enum zone_family f, enum zone_standing before)
{
	if (r->listed[ZONE_POINT_CLEAN] > 0)
		return ZONE_STANDING_LISTS_EVERYTHING;
	if (r->listed[ZONE_POINT_LISTED] > 0)
		return r->clear[ZONE_POINT_CLEAN] > 0 ? ZONE_STANDING_ACTIVE : before;
	if (r->error[ZONE_POINT_LISTED] > 0 || r->error[ZONE_POINT_CLEAN] > 0)
		return ZONE_STANDING_ANSWERS_ERRORS;
	if (r->clear[ZONE_POINT_LISTED] > 0)
		return f == ZONE_V6 ? ZONE_STANDING_NO_FAMILY : ZONE_STANDING_LISTS_NOTHING;
	return before;
}

static bool
standing_is_bad(enum zone_standing s)
{
	return s == ZONE_STANDING_LISTS_EVERYTHING || s == ZONE_STANDING_LISTS_NOTHING ||
	       s == ZONE_STANDING_ANSWERS_ERRORS;
}

static uint64_t
next_proof_us(struct zone_health *h)
{
	if (h->family[ZONE_V4] == ZONE_STANDING_UNPROVEN || h->family[ZONE_V6] == ZONE_STANDING_UNPROVEN) {
		const unsigned rounds = h->unheard++ / ZONE_FAMILIES; /* each ends once for each family */

		return MIN(ZONE_RETRY_US << MIN(rounds, 10u), ZONE_HEAL_US);
	}
	h->unheard = 0;
	return standing_is_bad(h->family[ZONE_V4]) || standing_is_bad(h->family[ZONE_V6]) ? ZONE_HEAL_US
	                                                                                  : ZONE_PROOF_US;
}

bool
zone_health_point(struct zone_health *h, enum zone_family f, enum zone_point p, bool heard, enum dnsbl_listing listing,
	uint64_t now_us, bool *bad)
{
	const enum zone_standing before = h->family[f];
	struct zone_round *r = &h->round[f];

	*bad = false;
	if (r->out == 0)
		return false; /* of a round before */
	if (heard) {
		switch (listing) {
		case DNSBL_NOT_LISTED:
			r->clear[p]++;
			break;
		case DNSBL_LISTED:
		case DNSBL_NO_MATCH: /* listed, by an answer no filter names: proof enough that the list is alive */
			r->listed[p]++;
			break;
		case DNSBL_ERROR:
			r->error[p]++;
			break;
		case DNSBL_NONSENSE: /* an address out of nowhere for what must not be listed: somebody answers everything */
			if (p == ZONE_POINT_CLEAN)
				r->listed[p]++;
			else
				r->error[p]++;
			break;
		}
	}
	if (--r->out > 0)
		return false;
	h->family[f] = round_says(r, f, before);
	h->proof_at_us = now_us + next_proof_us(h);
	*bad = standing_is_bad(h->family[f]);
	return h->family[f] != before;
}

static bool
share_is_bad(const struct zone_health *h)
{
	return h->good_asked >= ZONE_SHARE_MIN &&
	       (uint64_t)h->good_listed * 100 >= (uint64_t)h->good_asked * ZONE_SHARE_PERCENT;
}

bool
zone_health_client(struct zone_health *h, bool good_standing, bool listed)
{
	if (!h->blocks || !good_standing) /* an allowlist lists good clients: that is what it is for */
		return false;
	h->good_asked++;
	h->good_listed += listed;
	if (h->lists_good || !share_is_bad(h))
		return false;
	h->lists_good = true;
	return true;
}

bool
zone_health_window(struct zone_health *h, bool *bad)
{
	const bool before = h->lists_good, enough = h->good_asked >= ZONE_SHARE_MIN;

	/* with too few asked the last word stands, but a window in which none of them was listed is a better one */
	if (enough || (h->good_asked > 0 && h->good_listed == 0))
		h->lists_good = share_is_bad(h);
	h->good_asked = h->good_listed = 0;
	*bad = h->lists_good;
	return h->lists_good != before;
}

bool
zone_health_answered(struct zone_health *h, bool failed, uint64_t now_us)
{
	if (!failed) {
		zone_health_forgive(h);
		return false;
	}
	if (h->failures < ZONE_FAILURES_MAX && ++h->failures < ZONE_FAILURES_MAX)
		return false;
	if (h->open_until_us > now_us)
		return false;
	h->open_for_us = h->open_for_us == 0 ? ZONE_OPEN_MIN_US : MIN(h->open_for_us * 2, ZONE_OPEN_MAX_US);
	h->open_until_us = now_us + h->open_for_us;
	return h->open_for_us == ZONE_OPEN_MIN_US; /* said once, not at each trial */
}

void
zone_health_forgive(struct zone_health *h)
{
	h->failures = 0;
	h->open_until_us = h->open_for_us = 0;
}

bool
zone_health_counts(const struct zone_health *h, enum zone_family f)
{
	return !h->disabled && !h->lists_good && h->family[f] == ZONE_STANDING_ACTIVE;
}

bool
zone_health_asks(const struct zone_health *h, enum zone_family f, uint64_t now_us)
{
	/* unproven ones are asked along: the proof may be there before the client's answer */
	return !h->disabled && (h->family[f] == ZONE_STANDING_ACTIVE || h->family[f] == ZONE_STANDING_UNPROVEN) &&
	       h->open_until_us <= now_us;
}

enum zone_standing
zone_health_standing(const struct zone_health *h, enum zone_family f, uint64_t now_us)
{
	if (h->disabled)
		return ZONE_STANDING_DISABLED;
	if (h->family[f] != ZONE_STANDING_ACTIVE)
		return h->family[f];
	if (h->lists_good)
		return ZONE_STANDING_LISTS_GOOD_CLIENTS;
	return h->open_until_us > now_us ? ZONE_STANDING_FAILING : ZONE_STANDING_ACTIVE;
}

const char *
zone_standing_name(enum zone_standing s)
{
	static const char *const names[] = {
#define X(name, text) [ZONE_STANDING_##name] = text,
		ZONE_STANDINGS(X)
#undef X
	};

	return (unsigned)s < ARRAY_LEN(names) ? names[s] : "?";
}
