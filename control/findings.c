/*
 * findings.c - answers about one subject, gathered and judged.
 *
 * Flow:   see findings.h.
 * Pure:   no clock, no I/O, no allocation.
 * Keeps:  see findings.h.
 * Source: POLICY section 4.
 */
#include "control/findings.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "control/generic.h"
#include "dataplane/base/bug.h"
#include "dataplane/policy/client.h"
#include "dataplane/table/name_set.h"

enum zone_family
subject_family(const struct subject *s)
{
	return s->kind != ZONE_KIND_CLIENT || ip_addr_is_v4(&s->client) ? ZONE_V4 : ZONE_V6;
}

bool
subject_equal(const struct subject *a, const struct subject *b)
{
	if (a->kind != b->kind)
		return false;
	return a->kind == ZONE_KIND_CLIENT ? ip_addr_equal(&a->client, &b->client) : strcmp(a->name, b->name) == 0;
}

uint64_t
subject_hash(const struct subject *s, const struct siphash_key *key)
{
	if (s->kind == ZONE_KIND_CLIENT)
		return siphash(key, s->client.octet, sizeof(s->client.octet));
	return siphash(key, s->name, strlen(s->name)) ^ s->kind;
}

static void
ttl_note(struct findings *f, uint32_t ttl_s)
{
	if (!f->have_ttl || ttl_s < f->ttl_s)
		f->ttl_s = ttl_s;
	f->have_ttl = true;
}

/* --- reverse DNS */

/* A name that can be asked for: nothing escaped, nothing cut. */
bool
findings_name_is_askable(const struct findings *f, uint32_t index)
{
	const char *name = f->name[index];

	return name[0] != '\0' && strpbrk(name, "\\?/: ") == NULL;
}

void
findings_ptr(struct findings *f, const struct dns_answer *a)
{
	f->ptr_done = true;
	f->ptr_none = PTR_NONE;
	if (a->status == DNS_TEMPERR) {
		f->ptr_temperr = f->error = true;
		return;
	}
	ttl_note(f, a->ttl_s);
	if (a->status == DNS_NONE)
		return;
	f->ptr_none = PTR_UNCONFIRMED;
	f->more_names = a->n_names > RESOLVER_PTR_NAMES_MAX;
	for (uint32_t i = 0; i < a->n_names && f->n_names < RESOLVER_PTR_NAMES_MAX; i++)
		memcpy(f->name[f->n_names++], a->name[i], DNS_NAME_OCTETS);
	for (uint32_t i = 0; i < f->n_names; i++)
		f->n_forward += findings_name_is_askable(f, i);
}

void
findings_forward(struct findings *f, uint32_t index, const struct dns_answer *a)
{
	f->n_forward--;
	if (a->status == DNS_TEMPERR) {
		f->forward_temperr = true;
		f->error = true;
		return;
	}
	ttl_note(f, a->ttl_s);
	for (uint32_t i = 0; i < a->n_addrs; i++)
		if (ip_addr_equal(&a->addr[i], &f->subject.client))
			f->confirmed[index] = true;
}

static bool
name_listed(const void *set, const char *name)
{
	uint64_t value; /* name_set_find_domain() wants a place for it */

	return set != NULL && name_set_find_domain(set, name, (uint32_t)strlen(name), &value);
}

static void
result_ptr(const struct findings *f, const struct findings_rules *rules, struct resolver_result *out)
{
	struct client_verdict *v = &out->verdict;
	int first = -1;

	for (uint32_t i = 0; i < f->n_names; i++) {
		if (!f->confirmed[i])
			continue;
		if (first < 0)
			first = (int)i;
		/* every confirmed name counts; denied is stronger */
		if (name_listed(rules->deny_names, f->name[i]))
			v->name_list = NAME_LIST_DENY;
		else if (v->name_list != NAME_LIST_DENY && name_listed(rules->allow_names, f->name[i]))
			v->name_list = NAME_LIST_ALLOW;
		else if (v->name_list == NAME_LIST_NONE && name_listed(rules->big_senders, f->name[i]))
			v->name_list = NAME_LIST_BIG_SENDER;
	}
	snprintf(out->ptr, sizeof(out->ptr), "%s", first >= 0 ? f->name[first] : f->n_names > 0 ? f->name[0] : "");
	if (first >= 0)
		v->ptr_state = ptr_is_generic(out->ptr, &f->subject.client) ? PTR_GENERIC : PTR_CONFIRMED;
	else if (!f->ptr_done)
		v->ptr_state = PTR_UNKNOWN;
	else if (f->ptr_temperr)
		v->ptr_state = PTR_TEMPERR;
	else if (f->n_names == 0)
		v->ptr_state = f->ptr_none;
	else if (f->n_forward > 0)
		v->ptr_state = PTR_UNKNOWN; /* forward questions still out */
	else
		v->ptr_state = f->forward_temperr || f->more_names ? PTR_TEMPERR : PTR_UNCONFIRMED;
}

/* --- zones */

void
findings_zone_failed(struct findings *f, uint32_t index, uint64_t ms)
{
	struct resolver_zone_result *z = &f->zone[index];

	z->dns_ms = (uint16_t)MIN(ms, (uint64_t)UINT16_MAX);
	z->pending = false;
	z->state = ZONE_ERROR;
	f->error = true;
}

struct zone_weight
findings_zone(
	struct findings *f, const struct config_zone *zone, uint32_t index, const struct dns_answer *a, uint64_t ms)
{
	struct resolver_zone_result *z = &f->zone[index];
	struct zone_weight w = { 0 };

	z->dns_ms = (uint16_t)MIN(ms, (uint64_t)UINT16_MAX);
	z->pending = false;
	ttl_note(f, a->ttl_s);
	if (a->status == DNS_NONE) {
		z->state = ZONE_CLEAR;
		return w;
	}
	z->n_addrs = (uint8_t)MIN(a->n_addrs, (uint32_t)ARRAY_LEN(z->addr));
	memcpy(z->addr, a->addr, z->n_addrs * sizeof(z->addr[0]));
	w = zone_weigh(zone, a);
	z->weight = (int16_t)w.weight;
	z->state = w.error ? ZONE_ERROR : w.listed ? ZONE_LISTED : ZONE_CLEAR;
	f->error = f->error || w.error;
	return w;
}

/* The first word of a text that is an address. */
static bool
address_in(const char *text, struct ip_addr *out)
{
	static const char between[] = " \t\"=,;()<>";
	char word[IP_ADDR_TEXT_MAX_OCTETS];

	for (const char *p = text + strspn(text, between); *p != '\0'; p += strspn(p, between)) {
		const size_t n = strcspn(p, between);

		snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word)), p);
		if (n < sizeof(word) && ip_addr_parse(word, out) == 0)
			return true;
		p += n;
	}
	return false;
}

void
findings_whoami(struct findings *f, uint32_t zone, uint32_t server, const struct dns_answer *a)
{
	struct resolver_seen s = { .zone = zone, .server = server };
	bool found = false;

	if (a->status != DNS_OK || f->n_seen >= f->seen_max)
		return;
	for (uint32_t i = 0; i < a->n_addrs && !found; i++) {
		s.addr = a->addr[i];
		found = !ip_addr_is_v4(&s.addr) || ip_addr_to_v4(&s.addr) >> 24 != 127;
	}
	if (!found && !address_in(a->text, &s.addr))
		return;
	for (uint32_t i = 0; i < f->n_seen; i++) /* as A and as TXT */
		if (f->seen[i].zone == zone && f->seen[i].server == server && ip_addr_equal(&f->seen[i].addr, &s.addr))
			return;
	f->seen[f->n_seen++] = s;
}

/* Sums what counts. unproven: a zone was not heard of yet. */
static void
result_score(const struct findings *f, const struct findings_rules *rules, struct resolver_result *out, bool *unproven)
{
	struct client_verdict *v = &out->verdict;
	const enum zone_family family = subject_family(&f->subject);
	int score = 0, best = 0, benefit = 0, lowest, highest;

	v->zone = ZONE_NONE;
	for (uint32_t i = 0; i < rules->n_zones; i++) {
		const struct resolver_zone_result *z = &f->zone[i];
		const struct zone_health *h = &rules->health[i];
		const bool counts = zone_health_counts(h, family) && !rules->zones_off;

		if (rules->zone[i].kind != f->subject.kind) {
			out->zone[i] = (struct resolver_zone_result){ 0 };
			continue;
		}
		out->zone[i] = *z;
		out->zone[i].counts = counts;
		if (h->disabled || h->family[family] == ZONE_STANDING_NO_FAMILY)
			continue;
		*unproven = *unproven || h->family[family] == ZONE_STANDING_UNPROVEN;
		if (z->state == ZONE_LISTED && counts) {
			score += z->weight;
			out->decisive = out->decisive || rules->zone[i].spec.decisive;
			if (z->weight > best) {
				best = z->weight;
				v->zone = (uint8_t)i;
			}
		} else if (z->state != ZONE_CLEAR || !counts) {
			zone_weight_range(&rules->zone[i], &lowest, &highest);
			benefit += lowest;
		}
	}
	/* An allowlist that does not answer, or does not count, might have spoken for the client: it gets the benefit of that, and no more. */
	if (score > 0)
		score = MAX(score + benefit, 0);
	v->score = (int16_t)MIN(MAX(score, -CLIENT_SCORE_MAX), CLIENT_SCORE_MAX);
}

void
findings_result(const struct findings *f, const struct findings_rules *rules, struct resolver_result *out)
{
	bool unproven = false;

	memset(out, 0, offsetof(struct resolver_result, zone));
	if (f->subject.kind == ZONE_KIND_CLIENT)
		result_ptr(f, rules, out);
	result_score(f, rules, out, &unproven);
	out->verdict.known = f->pending == 0 || f->answered > 0 ? CLIENT_KNOWN : CLIENT_LATE;
	out->complete = f->pending == 0 && !f->error && !unproven;
	out->ttl_s = MIN(MAX(f->have_ttl ? f->ttl_s : 0, (uint32_t)RESOLVER_TTL_MIN_S), (uint32_t)RESOLVER_TTL_MAX_S);
	if (!out->complete)
		out->ttl_s = RESOLVER_TTL_ERROR_S;
	out->n_zones = rules->n_zones;
	out->seen = f->seen;
	out->n_seen = f->n_seen;
}

/* A name that is refused for already: further lists only add. */
static bool
name_decided(const struct findings *f, const struct findings_rules *rules, const struct resolver_result *result)
{
	const int32_t threshold = rules->conf->dnsbl_reject_threshold;

	return threshold > 0 && result->verdict.score >= threshold &&
	       (f->subject.kind == ZONE_KIND_SENDER || result->decisive);
}

/*
 * The effect with the best and the worst that missing zones can say. While reverse DNS is open only a refusal is certain, and only
 * where no name could allow the client: for everybody else the name matters, be it for the backend alone.
 */
bool
findings_decided(const struct findings *f, const struct findings_rules *rules, const struct resolver_result *result)
{
	struct client_verdict best = result->verdict, worst = result->verdict;
	const bool ptr_open = result->verdict.ptr_state == PTR_UNKNOWN || f->n_forward > 0;
	int low = 0, high = 0, lowest, highest, score = 0;

	if (f->whole || result->verdict.known != CLIENT_KNOWN)
		return false;
	if (f->subject.kind != ZONE_KIND_CLIENT)
		return name_decided(f, rules, result);
	for (uint32_t i = 0; i < rules->n_zones; i++) {
		const struct resolver_zone_result *z = &result->zone[i];

		if (rules->zone[i].kind != ZONE_KIND_CLIENT)
			continue;
		if (z->counts && z->state == ZONE_LISTED)
			score += z->weight;
		else if (z->state == ZONE_UNASKED || z->state == ZONE_ERROR) {
			zone_weight_range(&rules->zone[i], &lowest, &highest);
			low += lowest;
			high += z->counts && z->pending ? highest : 0;
		}
	}
	best.score = (int16_t)MIN(MAX(score + low, -CLIENT_SCORE_MAX), CLIENT_SCORE_MAX);
	worst.score = (int16_t)MIN(MAX(score + high, -CLIENT_SCORE_MAX), CLIENT_SCORE_MAX);
	if (ptr_open) {
		if (rules->allow_names != NULL || rules->deny_names != NULL)
			return false;
		best.ptr_state = PTR_CONFIRMED;
		return client_judge(rules->conf, &best).effect == EFFECT_REJECT;
	}
	return client_judge(rules->conf, &best).effect == client_judge(rules->conf, &worst).effect;
}
