/*
 * dns_proof.c - which resolver and which zone may be believed: random names, test points, whom a zone lists.
 *
 * Flow:   proofs_turn() each half hour and at start -> attempts -> proof_random(), proof_point() -> zone_health.c
 * Keeps:  every resolver is asked for two random names, which nobody has; one that answers with addresses invents, and is not asked about
 *         zones. Every zone is asked for its test points, at each resolver. What says nothing changes nothing.
 * Source: RFC 5782 section 5.
 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "control/resolver_impl.h"
#include "dataplane/base/bug.h"

#define RESOLVER_INVENTS_US (60 * UINT64_C(1000000)) /* one that invents is looked at again */

/* A line about a zone, by its public name: never the key. */
void
zone_say(const struct upstream *up, uint32_t zone, const char *what)
{
	if (up == up->r->up)
		fprintf(stderr, "greyline-control: zone %s %s\n", up->zone[zone].name, what);
}

void
proof_client(struct job *j, uint32_t zone, bool listed)
{
	if (zone_health_client(&j->up->health[zone], j->f.good, listed))
		zone_say(j->up, zone, "lists a large share of the clients in good standing: quarantine");
}

static void
random_name(const struct resolver *r, uint32_t which, char out[DNS_NAME_OCTETS])
{
	static const char *const below[] = { "%016llx.invalid", "www.x%016llx.com" };
	unsigned long long value;

	if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
		value = siphash(&r->key, &(uint64_t){ resolver_now_us() }, sizeof(uint64_t));
	snprintf(out, DNS_NAME_OCTETS, below[which], value);
}

static void
random_ask(struct server *s, uint64_t now)
{
	char name[DNS_NAME_OCTETS];

	if (s->random_out > 0)
		return;
	s->invents_at_us = now + ZONE_PROOF_US;
	s->random_invented = s->random_clear = 0;
	s->random_out = 2;
	for (uint32_t i = 0; i < 2; i++) {
		struct question *q;

		random_name(s->up->r, i, name);
		q = question_new(s->up, NULL, QUESTION_RANDOM, i, DNS_A, name);
		s->up->r->stats.proving++;
		attempt_start(q, s);
		question_put(q);
	}
}

void
proof_random(struct server *s, const struct dns_answer *a)
{
	s->up->r->stats.proving--;
	s->random_invented += a->status == DNS_OK;
	s->random_clear += a->status == DNS_NONE;
	if (--s->random_out > 0)
		return;
	if (s->random_invented > 0)
		s->invents_at_us = resolver_now_us() + RESOLVER_INVENTS_US;
	/* what says nothing changes nothing */
	if (s->stats.inventing == (s->random_invented > 0) || (s->random_invented == 0 && s->random_clear == 0))
		return;
	s->stats.inventing = s->random_invented > 0;
	fprintf(stderr, "greyline-control: resolver %s %s\n", s->stats.name,
		s->stats.inventing ? "INVENTS ANSWERS for names that do not exist: it is not asked about blocklists"
				   : "no longer invents answers");
	servers_count(s->up);
}

/* The name of a test point; 0 when the zone is too long for it: then no round ends, the zone stays unproven for the family. */
static size_t
point_name(const struct config_zone *z, enum zone_family f, enum zone_point p, char *out, size_t room)
{
	if (z->kind == ZONE_KIND_CLIENT)
		return dnsbl_test_name(z->spec.zone, f == ZONE_V6, p == ZONE_POINT_LISTED, out, room);
	return dnsbl_query_domain(p == ZONE_POINT_LISTED ? z->test_point : DNSBL_CLEAN_DOMAIN, z->spec.zone, out, room);
}

static void
zone_prove(struct upstream *up, uint32_t zone, uint64_t now)
{
	const struct config_zone *z = &up->zone[zone];
	const uint32_t families = z->kind == ZONE_KIND_CLIENT ? ZONE_FAMILIES : 1;
	struct zone_health *h = &up->health[zone];
	char name[DNS_NAME_OCTETS];

	zone_health_round(h, (uint8_t)(up->n_servers * ZONE_POINTS), now);
	for (uint32_t i = 0; i < up->n_servers * ZONE_POINTS * families; i++) {
		const enum zone_family f = (enum zone_family)(i / ZONE_POINTS % families);
		const enum zone_point p = (enum zone_point)(i % ZONE_POINTS);
		struct question *q;

		if (point_name(z, f, p, name, sizeof(name)) == 0)
			continue;
		q = question_new(up, NULL, QUESTION_POINT, zone, DNS_A, name);
		q->family = f;
		q->point = p;
		up->r->stats.proving++;
		attempt_start(q, &up->server[i / (ZONE_POINTS * families)]);
		question_put(q);
	}
}

void
proof_point(struct server *s, const struct question *q, const struct dns_answer *a)
{
	struct upstream *up = q->up;
	const struct zone_weight w = zone_weigh(&up->zone[q->index], a);
	const bool heard = a->status != DNS_TEMPERR && !s->stats.inventing;
	struct zone_health *h = &up->health[q->index];
	char what[120];
	bool bad;

	up->r->stats.proving--;
	if (!zone_health_point(h, q->family, q->point, heard, w.listing, resolver_now_us(), &bad))
		return;
	if (h->family[q->family] == ZONE_STANDING_NO_FAMILY)
		return; /* a list of IPv4 alone: nothing is wrong */
	snprintf(what, sizeof(what), bad ? "fails its test points of %s (%s): quarantine" : "has proven itself for %s",
		up->zone[q->index].kind != ZONE_KIND_CLIENT ? "names"
		: q->family == ZONE_V6                      ? "IPv6"
							    : "IPv4",
		zone_standing_name(h->family[q->family]));
	zone_say(up, q->index, what);
}

void
proofs_turn(struct resolver *r, uint64_t now)
{
	struct upstream *up = r->up;
	bool bad;

	for (uint32_t i = 0; i < up->n_servers; i++)
		if (up->server[i].invents_at_us <= now)
			random_ask(&up->server[i], now);
	for (uint32_t i = 0; i < up->n_zones && up->n_servers > 0 && !r->stats.down; i++)
		if (up->health[i].proof_at_us <= now && !up->health[i].disabled)
			zone_prove(up, i, now);
	if (r->window_at_us > now)
		return;
	r->window_at_us = now + ZONE_PROOF_US;
	for (uint32_t i = 0; i < up->n_zones; i++)
		if (zone_health_window(&up->health[i], &bad))
			zone_say(up, i,
				bad ? "lists a large share of the clients in good standing: quarantine"
				    : "no longer lists good clients");
}

void
resolver_prove(struct resolver *r)
{
	for (uint32_t i = 0; i < r->up->n_zones; i++)
		r->up->health[i].proof_at_us = 0;
	for (uint32_t i = 0; i < r->up->n_servers; i++)
		r->up->server[i].invents_at_us = 0;
	proofs_turn(r, resolver_now_us());
}
