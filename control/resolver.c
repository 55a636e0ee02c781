/*
 * resolver.c - questions about clients on c-ares.
 *
 * Flow:   resolver_ask() -> a job for each client (coalesced) -> PTR and every zone at once -> forward names of the PTR -> result ->
 *         waiters, cache, params.finished
 * Touches: sockets of c-ares by libevent (a socket state callback: more sockets than ares_getsock()'s 16 may be open).
 * Keeps:  a job ends when its last question ends, which c-ares bounds by tries and time-outs; waiters are answered by their deadline
 *         with what is known by then; jobs, waiters, cache are capped. A configuration lives until the last job that asked by it ends.
 *
 * A job: PTR and zones are asked at once. The PTR's names (RESOLVER_PTR_NAMES_MAX at most) are then looked up forward. Every answer
 * counts pending down; at zero the job is finished.
 *
 * Each resolver has a channel of its own. A question goes to one that is up; when it fails there, or says nothing for dns.timeout_ms,
 * the next one is asked besides, and the first answer that says something is taken.
 *
 * Resolvers dead: after RESOLVER_SILENT_MAX time-outs in a row the root's NS are asked for; if even that is not answered, the resolver is
 * down: asked nothing but the root's NS every second until an answer comes. With all of them down clients are refused at once (decided
 * without DNS).
 *
 * Proofs (zone_health.h): at start and each half hour every resolver is asked for two random names, which nobody has; one that answers
 * with addresses invents, and is not asked about zones. Every zone is asked for its test points, at each resolver.
 */
#include "control/resolver.h"

#include <ares.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <time.h>

#include "control/generic.h"
#include "dataplane/base/bug.h"
#include "dataplane/base/siphash.h"
#include "dataplane/policy/client.h"
#include "dataplane/table/name_set.h"

#define RESOLVER_TICK_US     20000
#define RESOLVER_SILENT_MAX  16
#define RESOLVER_PROBE_US    1000000
#define RESOLVER_INVENTS_US  (60 * UINT64_C(1000000)) /* one that invents is looked at again */
#define RESOLVER_EDNS_OCTETS 1232                     /* never fragmented (DNS flag day 2020) */

struct fd_event {
	LIST_ENTRY(fd_event) link;
	ares_socket_t fd;
	struct event *event;
	struct server *server;
};

/* One resolver of one configuration. */
struct server {
	struct upstream *up;
	ares_channel channel;
	LIST_HEAD(, fd_event) fds;
	struct ip_addr addr;
	uint16_t port;
	uint32_t silent; /* time-outs in a row */
	bool probing;
	uint64_t probe_at_us, answered_us;
	uint64_t invents_at_us; /* when random names are asked for next */
	uint32_t random_out, random_invented, random_clear;
	struct resolver_server_stats stats;
};

/* One configuration: its resolvers and what its questions need. Counted by its jobs. */
struct upstream {
	struct resolver *r;
	unsigned refs;
	bool retired, dying;
	uint32_t next; /* whose turn it is */
	struct server server[RESOLVER_SERVERS_MAX];
	LIST_ENTRY(upstream) link;
	struct config_zone *zone;
	struct zone_health *health;
	uint32_t timeout_ms;
	uint32_t n_zones;
	void *allow_names, *deny_names; /* name_set */
	struct conf conf;               /* thresholds and effects: what could change an outcome */
	uint32_t deadline_ms;
	uint32_t n_servers;
};

struct waiter {
	STAILQ_ENTRY(waiter) link;
	resolver_fn *fn;
	void *arg;
	uint64_t deadline_us;
};

struct job {
	LIST_ENTRY(job) hash_link;
	TAILQ_ENTRY(job) link;
	STAILQ_HEAD(, waiter) waiters;
	struct resolver *r;
	struct upstream *up;
	struct ip_addr client;
	uint64_t started_us;
	uint32_t pending, answered;
	bool ptr_done, ptr_temperr, forward_temperr, more_names;
	uint32_t ttl_s;
	bool have_ttl, error;
	bool all_zones; /* of `dnsbl test`: those in quarantine, too */
	uint32_t n_names, n_forward;
	char name[RESOLVER_PTR_NAMES_MAX][DNS_NAME_OCTETS];
	bool confirmed[RESOLVER_PTR_NAMES_MAX];
	enum ptr_state ptr_none; /* PTR_NONE or PTR_UNCONFIRMED when there was no usable name */
	struct resolver_zone_result zone[CONF_ZONES_MAX];
};

/* The last three are asked of one resolver, without a job. */
enum question_kind { QUESTION_PTR, QUESTION_FORWARD, QUESTION_ZONE, QUESTION_HEALTH, QUESTION_POINT, QUESTION_RANDOM };

struct question {
	struct resolver *r;
	struct upstream *up;
	struct job *job;
	enum question_kind kind;
	uint32_t index;          /* of the name, of the zone */
	enum zone_family family; /* of a test point */
	enum zone_point point;
	enum dns_type type;
	uint64_t started_us;
	uint32_t tried, out; /* resolvers, as bits; answers of them still to come */
	unsigned refs;
	bool done, hedged;
	TAILQ_ENTRY(question) link; /* while another resolver may be asked besides */
	char name[DNS_NAME_OCTETS];
};

struct attempt {
	struct question *q;
	struct server *server;
	uint64_t started_us;
};

struct cached {
	LIST_ENTRY(cached) hash_link;
	TAILQ_ENTRY(cached) link; /* oldest use first */
	struct ip_addr client;
	uint64_t until_us;
	struct client_verdict verdict;
	uint32_t ttl_s;
	bool complete;
	char ptr[256];
};

struct resolver {
	struct event_base *base;
	struct event *tick;
	bool ticking;
	struct upstream *up;
	LIST_HEAD(, upstream) upstreams;
	uint32_t in_flight_max, cache_max, n_buckets;
	LIST_HEAD(job_bucket, job) * job_hash;
	LIST_HEAD(cache_bucket, cached) * cache_hash;
	TAILQ_HEAD(, job) jobs;
	TAILQ_HEAD(cache_list, cached) cache;
	TAILQ_HEAD(, question) hedges; /* the oldest first */
	struct siphash_key key;
	resolver_fn *finished;
	void *finished_arg;
	struct resolver_stats stats;
	bool (*in_good_standing)(void *arg, const struct ip_addr *client);
	void *standing_arg;
	uint64_t window_at_us; /* of the shares of good clients */
	uint32_t outstanding;  /* questions with c-ares */
};

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint32_t
bucket_of(const struct resolver *r, const struct ip_addr *client)
{
	return (uint32_t)(siphash(&r->key, client->octet, sizeof(client->octet)) % r->n_buckets);
}

/* --- cache */

static void
cache_drop(struct resolver *r, struct cached *c)
{
	LIST_REMOVE(c, hash_link);
	TAILQ_REMOVE(&r->cache, c, link);
	free(c);
	r->stats.cached--;
}

static struct cached *
cache_find(struct resolver *r, const struct ip_addr *client, uint64_t now)
{
	struct cached *c;

	LIST_FOREACH (c, &r->cache_hash[bucket_of(r, client)], hash_link)
		if (ip_addr_equal(&c->client, client)) {
			if (c->until_us <= now) {
				cache_drop(r, c);
				return NULL;
			}
			TAILQ_REMOVE(&r->cache, c, link);
			TAILQ_INSERT_TAIL(&r->cache, c, link);
			return c;
		}
	return NULL;
}

static void
cache_put(struct resolver *r, const struct ip_addr *client, const struct resolver_result *result, uint64_t now)
{
	struct cached *c = cache_find(r, client, now);

	if (c == NULL) {
		if (r->stats.cached >= r->cache_max && !TAILQ_EMPTY(&r->cache))
			cache_drop(r, TAILQ_FIRST(&r->cache));
		c = calloc(1, sizeof(*c));
		if (c == NULL)
			return;
		c->client = *client;
		LIST_INSERT_HEAD(&r->cache_hash[bucket_of(r, client)], c, hash_link);
		TAILQ_INSERT_TAIL(&r->cache, c, link);
		r->stats.cached++;
	}
	c->until_us = now + (uint64_t)result->ttl_s * 1000000;
	c->verdict = result->verdict;
	c->ttl_s = result->ttl_s;
	c->complete = result->complete;
	memcpy(c->ptr, result->ptr, sizeof(c->ptr));
}

bool
resolver_forget(struct resolver *r, const struct ip_addr *client)
{
	struct cached *c = cache_find(r, client, now_us());

	if (c != NULL)
		cache_drop(r, c);
	return c != NULL;
}

void
resolver_cache_each(
	const struct resolver *r, uint32_t max, void (*fn)(void *arg, const struct resolver_cached *c), void *arg)
{
	const uint64_t now = now_us();
	const struct cached *c;

	TAILQ_FOREACH_REVERSE(c, &r->cache, cache_list, link)
	{
		if (c->until_us <= now)
			continue;
		if (max-- == 0)
			return;
		fn(arg, &(struct resolver_cached){ .client = c->client,
				.verdict = c->verdict,
				.ttl_s = (uint32_t)((c->until_us - now) / 1000000),
				.complete = c->complete,
				.ptr = c->ptr });
	}
}

void
resolver_flush(struct resolver *r)
{
	while (!TAILQ_EMPTY(&r->cache))
		cache_drop(r, TAILQ_FIRST(&r->cache));
}

/* --- the result of a job */

static void
job_ptr(const struct job *j, struct resolver_result *out)
{
	struct client_verdict *v = &out->verdict;
	uint64_t value; /* name_set_find_domain() wants a place for it */
	int first = -1;

	for (uint32_t i = 0; i < j->n_names; i++) {
		if (!j->confirmed[i])
			continue;
		if (first < 0)
			first = (int)i;
		/* every confirmed name counts; denied is stronger */
		if (j->up->deny_names != NULL &&
			name_set_find_domain(j->up->deny_names, j->name[i], (uint32_t)strlen(j->name[i]), &value))
			v->name_list = NAME_LIST_DENY;
		else if (v->name_list == NAME_LIST_NONE && j->up->allow_names != NULL &&
			 name_set_find_domain(j->up->allow_names, j->name[i], (uint32_t)strlen(j->name[i]), &value))
			v->name_list = NAME_LIST_ALLOW;
	}
	snprintf(out->ptr, sizeof(out->ptr), "%s", first >= 0 ? j->name[first] : j->n_names > 0 ? j->name[0] : "");
	if (first >= 0)
		v->ptr_state = ptr_is_generic(out->ptr, &j->client) ? PTR_GENERIC : PTR_CONFIRMED;
	else if (!j->ptr_done)
		v->ptr_state = PTR_UNKNOWN;
	else if (j->ptr_temperr)
		v->ptr_state = PTR_TEMPERR;
	else if (j->n_names == 0)
		v->ptr_state = j->ptr_none;
	else if (j->n_forward > 0)
		v->ptr_state = PTR_UNKNOWN; /* forward questions still out */
	else
		v->ptr_state = j->forward_temperr || j->more_names ? PTR_TEMPERR : PTR_UNCONFIRMED;
}

static enum zone_family
family_of(const struct ip_addr *client)
{
	return ip_addr_is_v4(client) ? ZONE_V4 : ZONE_V6;
}

static void
job_result(const struct job *j, uint64_t now, struct resolver_result *out)
{
	struct client_verdict *v = &out->verdict;
	int score = 0, best = 0, benefit = 0, lowest, highest;
	bool unproven = false;

	memset(out, 0, sizeof(*out));
	v->zone = ZONE_NONE;
	job_ptr(j, out);
	for (uint32_t i = 0; i < j->up->n_zones; i++) {
		const struct resolver_zone_result *z = &j->zone[i];
		const struct zone_health *h = &j->up->health[i];
		const bool counts = zone_health_counts(h, family_of(&j->client)) && !j->r->stats.zones_off;

		out->zone[i] = *z;
		out->zone[i].counts = counts;
		if (h->disabled || h->family[family_of(&j->client)] == ZONE_STANDING_NO_FAMILY)
			continue;
		unproven = unproven || h->family[family_of(&j->client)] == ZONE_STANDING_UNPROVEN;
		if (z->state == ZONE_LISTED && counts) {
			score += z->weight;
			if (z->weight > best) {
				best = z->weight;
				v->zone = (uint8_t)i;
			}
		} else if (z->state != ZONE_CLEAR || !counts) {
			zone_weight_range(&j->up->zone[i], &lowest, &highest);
			benefit += lowest;
		}
	}
	/* An allowlist that does not answer, or does not count, might have spoken for the client: it gets the benefit of that, and no more. */
	if (score > 0)
		score = MAX(score + benefit, 0);
	v->score = (int16_t)MIN(MAX(score, -999), 999);
	v->known = j->pending == 0 || j->answered > 0 ? CLIENT_KNOWN : CLIENT_LATE;
	out->complete = j->pending == 0 && !j->error && !unproven;
	out->ttl_s = MIN(MAX(j->have_ttl ? j->ttl_s : 0, (uint32_t)RESOLVER_TTL_MIN_S), (uint32_t)RESOLVER_TTL_MAX_S);
	if (!out->complete)
		out->ttl_s = RESOLVER_TTL_ERROR_S;
	out->dns_ms = (uint32_t)((now - j->started_us) / 1000);
	out->n_zones = j->up->n_zones;
}

static void
waiter_answer(struct resolver *r, struct waiter *w, const struct ip_addr *client, const struct resolver_result *result)
{
	r->stats.waiters--;
	w->fn(w->arg, client, result);
	free(w);
}

static void
upstream_put(struct upstream *up)
{
	BUG_ON(up->refs == 0);
	up->refs--; /* the channel itself goes at the next tick: never inside one of its callbacks */
}

static void
job_finish(struct job *j)
{
	struct resolver *r = j->r;
	struct resolver_result result;
	uint64_t now = now_us();

	job_result(j, now, &result);
	LIST_REMOVE(j, hash_link);
	TAILQ_REMOVE(&r->jobs, j, link);
	r->stats.in_flight--;
	cache_put(r, &j->client, &result, now);
	if (r->finished != NULL)
		r->finished(r->finished_arg, &j->client, &result);
	while (!STAILQ_EMPTY(&j->waiters)) {
		struct waiter *w = STAILQ_FIRST(&j->waiters);

		STAILQ_REMOVE_HEAD(&j->waiters, link);
		waiter_answer(r, w, &j->client, &result);
	}
	upstream_put(j->up);
	free(j);
}

/* --- questions */

static void answered(void *arg, int status, int timeouts, unsigned char *octets, int n);

static struct question *
question_new(struct upstream *up, struct job *job, enum question_kind kind, uint32_t index, enum dns_type type,
	const char *name)
{
	struct question *q = calloc(1, sizeof(*q));

	BUG_ON(q == NULL);
	q->r = up->r;
	q->up = up;
	q->job = job;
	q->kind = kind;
	q->index = index;
	q->type = type;
	q->started_us = now_us();
	q->refs = 1;
	snprintf(q->name, sizeof(q->name), "%s", name);
	if (job != NULL)
		job->pending++;
	up->refs++;
	return q;
}

static void
question_put(struct question *q)
{
	if (--q->refs > 0)
		return;
	if (q->hedged)
		TAILQ_REMOVE(&q->r->hedges, q, link);
	upstream_put(q->up);
	free(q);
}

static void
attempt_start(struct question *q, struct server *server)
{
	struct attempt *a = malloc(sizeof(*a));

	BUG_ON(a == NULL);
	*a = (struct attempt){ q, server, now_us() };
	q->tried |= 1u << (server - q->up->server);
	q->out++;
	q->refs++;
	q->r->outstanding++;
	q->r->stats.questions++;
	server->stats.questions++;
	/* 2: the root's NS, which every resolver has at hand */
	ares_query(server->channel, q->name[0] != '\0' ? q->name : ".", 1,
		q->kind == QUESTION_HEALTH ? 2 : (int)q->type, answered, a);
}

/* A resolver not yet asked: one that is up, in turn; NULL when there is none. Zones are never asked through one that invents. */
static struct server *
server_pick(struct upstream *up, const struct question *q)
{
	for (uint32_t i = 0; i < up->n_servers; i++) {
		struct server *s = &up->server[(up->next + i) % up->n_servers];

		if ((q->tried >> (s - up->server) & 1) != 0 || s->stats.down ||
			(q->kind == QUESTION_ZONE && s->stats.inventing))
			continue;
		if (q->tried == 0)
			up->next = (uint32_t)(s - up->server) + 1;
		return s;
	}
	return NULL;
}

static void question_end(struct question *q, const struct dns_answer *a);

static void
question_ask(struct upstream *up, struct job *job, enum question_kind kind, uint32_t index, enum dns_type type,
	const char *name)
{
	static const struct dns_answer nothing = { .status = DNS_TEMPERR };
	struct question *q = question_new(up, job, kind, index, type, name);
	struct server *s = server_pick(up, q);

	if (s == NULL && up->n_servers > 0 && kind != QUESTION_ZONE)
		s = &up->server[0]; /* all down: what is under way goes on asking */
	if (s == NULL || up->dying) {
		question_end(q, &nothing);
	} else {
		if (up->n_servers > 1) {
			q->hedged = true;
			TAILQ_INSERT_TAIL(&up->r->hedges, q, link);
		}
		attempt_start(q, s);
	}
	question_put(q);
}

/* Questions without an answer for so long are asked of another resolver besides. */
static void
hedges_turn(struct resolver *r, uint64_t now)
{
	struct question *q;

	while ((q = TAILQ_FIRST(&r->hedges)) != NULL && q->started_us + (uint64_t)q->up->timeout_ms * 1000 <= now) {
		struct server *s = q->done || q->up->dying ? NULL : server_pick(q->up, q);

		TAILQ_REMOVE(&r->hedges, q, link);
		q->hedged = false;
		if (s == NULL)
			continue;
		r->stats.failovers++;
		attempt_start(q, s);
	}
}

static void
health_ask(struct server *s)
{
	struct question *q;

	if (s->probing)
		return;
	s->probing = true;
	q = question_new(s->up, NULL, QUESTION_HEALTH, 0, DNS_A, "");
	attempt_start(q, s);
	question_put(q);
}

/* Whether a resolver said anything since then. */
static bool
server_spoke_since(const struct upstream *up, uint64_t since_us)
{
	for (uint32_t i = 0; i < up->n_servers; i++)
		if (up->server[i].answered_us >= since_us)
			return true;
	return false;
}

static void
servers_count(struct upstream *up)
{
	bool all_down = up->n_servers > 0, all_invent = up->n_servers > 0;

	for (uint32_t i = 0; i < up->n_servers; i++) {
		all_down = all_down && up->server[i].stats.down;
		all_invent = all_invent && up->server[i].stats.inventing;
	}
	if (up != up->r->up)
		return;
	up->r->stats.down = all_down;
	if (up->r->stats.zones_off != all_invent) {
		up->r->stats.zones_off = all_invent;
		fprintf(stderr, all_invent
					? "greyline-control: EVERY RESOLVER INVENTS ANSWERS for names that do not "
					  "exist: blocklists are OFF\n"
					: "greyline-control: a resolver answers honestly again: blocklists are on\n");
	}
}

/* Whether a resolver spoke at all; time-outs in a row call for a look at the resolver itself. */
static void
server_note(struct server *s, const struct question *q, int status)
{
	const bool silent = status == ARES_ETIMEOUT || status == ARES_ECONNREFUSED;

	if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
		return;
	if (silent) {
		s->up->r->stats.timeouts++;
		s->stats.timeouts++;
		s->silent++;
		if (q->kind == QUESTION_HEALTH && !s->stats.down) {
			s->stats.down = true;
			fprintf(stderr, "greyline-control: resolver %s does not answer\n", s->stats.name);
			servers_count(s->up);
		} else if (q->kind != QUESTION_HEALTH && s->silent >= RESOLVER_SILENT_MAX) {
			health_ask(s);
		}
		return;
	}
	s->silent = 0;
	s->answered_us = now_us();
	s->stats.answers++;
	if (s->stats.down) {
		s->stats.down = false;
		fprintf(stderr, "greyline-control: resolver %s answers again\n", s->stats.name);
		for (uint32_t i = 0; i < s->up->n_zones; i++)
			zone_health_forgive(&s->up->health[i]);
		servers_count(s->up);
	}
}

/* --- proofs */

/* A line about a zone, by its public name: never the key. */
static void
zone_say(const struct upstream *up, uint32_t zone, const char *what)
{
	if (up == up->r->up)
		fprintf(stderr, "greyline-control: zone %s %s\n", up->zone[zone].name, what);
}

static void
zone_good_client(struct job *j, uint32_t zone, bool listed)
{
	struct resolver *r = j->r;

	if (r->in_good_standing != NULL && r->in_good_standing(r->standing_arg, &j->client) &&
		zone_health_client(&j->up->health[zone], true, listed))
		zone_say(j->up, zone, "lists a large share of the clients in good standing: quarantine");
}

static void
random_name(const struct resolver *r, uint32_t which, char out[DNS_NAME_OCTETS])
{
	static const char *const below[] = { "%016llx.invalid", "www.x%016llx.com" };
	unsigned long long value;

	if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
		value = siphash(&r->key, &(uint64_t){ now_us() }, sizeof(uint64_t));
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

static void
take_random(struct server *s, const struct dns_answer *a)
{
	s->up->r->stats.proving--;
	s->random_invented += a->status == DNS_OK;
	s->random_clear += a->status == DNS_NONE;
	if (--s->random_out > 0)
		return;
	if (s->random_invented > 0)
		s->invents_at_us = now_us() + RESOLVER_INVENTS_US;
	/* what says nothing changes nothing */
	if (s->stats.inventing == (s->random_invented > 0) || (s->random_invented == 0 && s->random_clear == 0))
		return;
	s->stats.inventing = s->random_invented > 0;
	fprintf(stderr, "greyline-control: resolver %s %s\n", s->stats.name,
		s->stats.inventing ? "INVENTS ANSWERS for names that do not exist: it is not asked about blocklists"
				   : "no longer invents answers");
	servers_count(s->up);
}

static void
zone_prove(struct upstream *up, uint32_t zone, uint64_t now)
{
	struct zone_health *h = &up->health[zone];
	char name[DNS_NAME_OCTETS];

	zone_health_round(h, (uint8_t)(up->n_servers * ZONE_POINTS), now);
	for (uint32_t i = 0; i < up->n_servers * ZONE_POINTS * ZONE_FAMILIES; i++) {
		const enum zone_family f = (enum zone_family)(i / ZONE_POINTS % ZONE_FAMILIES);
		const enum zone_point p = (enum zone_point)(i % ZONE_POINTS);
		struct question *q;

		if (dnsbl_test_name(
			    up->zone[zone].spec.zone, f == ZONE_V6, p == ZONE_POINT_LISTED, name, sizeof(name)) == 0)
			continue; /* too long a zone: no round ends, the zone stays unproven for the family */
		q = question_new(up, NULL, QUESTION_POINT, zone, DNS_A, name);
		q->family = f;
		q->point = p;
		up->r->stats.proving++;
		attempt_start(q, &up->server[i / (ZONE_POINTS * ZONE_FAMILIES)]);
		question_put(q);
	}
}

static void
take_point(struct server *s, const struct question *q, const struct dns_answer *a)
{
	struct upstream *up = q->up;
	const struct zone_weight w = zone_weigh(&up->zone[q->index], a);
	const bool heard = a->status != DNS_TEMPERR && !s->stats.inventing;
	struct zone_health *h = &up->health[q->index];
	char what[120];
	bool bad;

	up->r->stats.proving--;
	if (!zone_health_point(h, q->family, q->point, heard, w.listing, now_us(), &bad))
		return;
	if (h->family[q->family] == ZONE_STANDING_NO_FAMILY)
		return; /* a list of IPv4 alone: nothing is wrong */
	snprintf(what, sizeof(what), bad ? "fails its test points of %s (%s): quarantine" : "has proven itself for %s",
		q->family == ZONE_V6 ? "IPv6" : "IPv4", zone_standing_name(h->family[q->family]));
	zone_say(up, q->index, what);
}

static void
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
	proofs_turn(r, now_us());
}

static void
ttl_note(struct job *j, uint32_t ttl_s)
{
	if (!j->have_ttl || ttl_s < j->ttl_s)
		j->ttl_s = ttl_s;
	j->have_ttl = true;
}

/* A name that can be asked for: nothing escaped, nothing cut. */
static bool
name_is_askable(const char *name)
{
	return name[0] != '\0' && strpbrk(name, "\\?/: ") == NULL;
}

static void
take_ptr(struct job *j, const struct dns_answer *a)
{
	const enum dns_type type = ip_addr_is_v4(&j->client) ? DNS_A : DNS_AAAA;

	j->ptr_done = true;
	j->ptr_none = PTR_NONE;
	if (a->status == DNS_TEMPERR) {
		j->ptr_temperr = j->error = true;
		return;
	}
	ttl_note(j, a->ttl_s);
	if (a->status == DNS_NONE)
		return;
	j->ptr_none = PTR_UNCONFIRMED;
	j->more_names = a->n_names > RESOLVER_PTR_NAMES_MAX;
	for (uint32_t i = 0; i < a->n_names && j->n_names < RESOLVER_PTR_NAMES_MAX; i++)
		memcpy(j->name[j->n_names++], a->name[i], DNS_NAME_OCTETS);
	j->n_forward = j->n_names;
	for (uint32_t i = 0; i < j->n_names; i++) {
		if (name_is_askable(j->name[i]))
			question_ask(j->up, j, QUESTION_FORWARD, i, type, j->name[i]);
		else
			j->n_forward--;
	}
}

static void
take_forward(struct job *j, uint32_t index, const struct dns_answer *a)
{
	j->n_forward--;
	if (a->status == DNS_TEMPERR) {
		j->forward_temperr = true;
		j->error = true;
		return;
	}
	ttl_note(j, a->ttl_s);
	for (uint32_t i = 0; i < a->n_addrs; i++)
		if (ip_addr_equal(&a->addr[i], &j->client))
			j->confirmed[index] = true;
}

static void
take_zone(struct job *j, const struct question *q, const struct dns_answer *a)
{
	struct resolver_zone_result *z = &j->zone[q->index];
	struct resolver_zone_stats *stats = &j->r->stats.zone[q->index];
	struct resolver_zone_stats nowhere = { 0 };
	const uint64_t now = now_us(), ms = (now - q->started_us) / 1000;
	struct zone_health *h = &j->up->health[q->index];
	struct zone_weight w;

	z->dns_ms = (uint16_t)MIN(ms, (uint64_t)UINT16_MAX);
	if (j->up != j->r->up)
		stats = &nowhere;
	stats->in_flight -= stats->in_flight > 0;
	z->pending = false;
	if (a->status == DNS_TEMPERR) {
		/* silence is the zone's fault only where the resolver spoke about others meanwhile */
		if (server_spoke_since(j->up, q->started_us) && zone_health_answered(h, true, now))
			zone_say(j->up, q->index, "does not answer: it is left alone for a while");
		z->state = ZONE_ERROR;
		j->error = true;
		stats->errors++;
		return;
	}
	zone_health_answered(h, false, now);
	stats->answered++;
	stats->ms_total += ms;
	stats->ms_max = MAX(stats->ms_max, (uint32_t)MIN(ms, (uint64_t)UINT32_MAX));
	ttl_note(j, a->ttl_s);
	if (a->status == DNS_NONE) {
		z->state = ZONE_CLEAR;
		zone_good_client(j, q->index, false);
		return;
	}
	z->n_addrs = (uint8_t)MIN(a->n_addrs, (uint32_t)ARRAY_LEN(z->addr));
	memcpy(z->addr, a->addr, z->n_addrs * sizeof(z->addr[0]));
	w = zone_weigh(&j->up->zone[q->index], a);
	z->weight = (int16_t)w.weight;
	z->state = w.error ? ZONE_ERROR : w.listed ? ZONE_LISTED : ZONE_CLEAR;
	if (w.error) {
		j->error = true;
		stats->errors++;
	} else {
		stats->listed += w.listed;
		zone_good_client(j, q->index, w.listed && w.weight > 0);
	}
}

/* --- nobody waits for what could not change the outcome */

static void
waiters_answer(struct job *j, const struct resolver_result *result)
{
	while (!STAILQ_EMPTY(&j->waiters)) {
		struct waiter *w = STAILQ_FIRST(&j->waiters);

		STAILQ_REMOVE_HEAD(&j->waiters, link);
		waiter_answer(j->r, w, &j->client, result);
	}
}

/*
 * The effect with the best and the worst that missing zones can say. While reverse DNS is open only a refusal is certain, and only
 * where no name could allow the client: for everybody else the name matters, be it for the backend alone.
 */
static bool
job_is_decided(const struct job *j, const struct resolver_result *result)
{
	struct client_verdict best = result->verdict, worst = result->verdict;
	const bool ptr_open = result->verdict.ptr_state == PTR_UNKNOWN || j->n_forward > 0;
	int low = 0, high = 0, lowest, highest, score = 0;

	if (j->all_zones || result->verdict.known != CLIENT_KNOWN)
		return false;
	for (uint32_t i = 0; i < j->up->n_zones; i++) {
		const struct resolver_zone_result *z = &result->zone[i];

		if (z->counts && z->state == ZONE_LISTED)
			score += z->weight;
		else if (z->state == ZONE_UNASKED || z->state == ZONE_ERROR) {
			zone_weight_range(&j->up->zone[i], &lowest, &highest);
			low += lowest;
			high += z->counts && z->pending ? highest : 0;
		}
	}
	best.score = (int16_t)MIN(MAX(score + low, -999), 999);
	worst.score = (int16_t)MIN(MAX(score + high, -999), 999);
	if (ptr_open) {
		if (j->up->allow_names != NULL || j->up->deny_names != NULL)
			return false;
		best.ptr_state = PTR_CONFIRMED;
		return client_judge(&j->up->conf, &best).effect == EFFECT_REJECT;
	}
	return client_judge(&j->up->conf, &best).effect == client_judge(&j->up->conf, &worst).effect;
}

static void
job_answer_early(struct job *j)
{
	struct resolver_result result;

	if (STAILQ_EMPTY(&j->waiters) || j->pending == 0)
		return;
	job_result(j, now_us(), &result);
	if (!job_is_decided(j, &result))
		return;
	j->r->stats.early++;
	waiters_answer(j, &result);
}

/* The answer to a question, or that there is none. */
static void
question_end(struct question *q, const struct dns_answer *a)
{
	struct job *j = q->job;

	q->done = true;
	if (j == NULL)
		return;
	if (a->status != DNS_TEMPERR)
		j->answered++;
	switch (q->kind) {
	case QUESTION_PTR:
		take_ptr(j, a);
		break;
	case QUESTION_FORWARD:
		take_forward(j, q->index, a);
		break;
	case QUESTION_ZONE:
		take_zone(j, q, a);
		break;
	case QUESTION_HEALTH:
	case QUESTION_POINT:
	case QUESTION_RANDOM:
		break;
	}
	if (--j->pending == 0)
		job_finish(j);
	else
		job_answer_early(j);
}

static void
answered(void *arg, int status, int timeouts, unsigned char *octets, int n)
{
	struct attempt *at = arg;
	struct server *s = at->server, *next;
	struct question *q = at->q;
	struct resolver *r = q->r;
	struct dns_answer a;

	(void)timeouts;
	r->outstanding--;
	q->out--;
	/* c-ares gives the message with NXDOMAIN and "no data", too; what it says is read by our own parser */
	if (octets != NULL && n > 0 && (status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND)) {
		dns_answer_parse(octets, (size_t)n, q->name, q->type, &a);
		s->stats.ms_total += (now_us() - at->started_us) / 1000;
	} else {
		memset(&a, 0, sizeof(a));
		a.status = DNS_TEMPERR;
		if (status == ARES_ESERVFAIL || status == ARES_EREFUSED) {
			r->stats.servfails++;
			s->stats.failures++;
		}
	}
	free(at);
	if (q->kind == QUESTION_HEALTH) {
		s->probing = false;
		s->probe_at_us = now_us() + RESOLVER_PROBE_US;
	}
	server_note(s, q, status);
	if (q->kind == QUESTION_RANDOM) {
		take_random(s, &a);
	} else if (q->kind == QUESTION_POINT) {
		take_point(s, q, &a);
	} else if (!q->done) {
		if (a.status == DNS_TEMPERR && q->job != NULL && !q->up->dying &&
			(next = server_pick(q->up, q)) != NULL) {
			r->stats.failovers++;
			attempt_start(q, next);
		}
		if (!q->done && (a.status != DNS_TEMPERR || q->out == 0))
			question_end(q, &a);
	}
	question_put(q);
}

/* --- c-ares on the event loop */

static void
fd_ready(evutil_socket_t fd, short what, void *arg)
{
	struct fd_event *f = arg;

	ares_process_fd(f->server->channel, (what & EV_READ) != 0 ? fd : ARES_SOCKET_BAD,
		(what & EV_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
}

static void
fd_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct server *server = arg;
	struct fd_event *f;

	LIST_FOREACH (f, &server->fds, link)
		if (f->fd == fd)
			break;
	if (f != NULL) {
		event_del(f->event);
		event_free(f->event);
		if (!readable && !writable) {
			LIST_REMOVE(f, link);
			free(f);
			return;
		}
	} else {
		if (!readable && !writable)
			return;
		f = calloc(1, sizeof(*f));
		BUG_ON(f == NULL);
		f->fd = fd;
		f->server = server;
		LIST_INSERT_HEAD(&server->fds, f, link);
	}
	f->event = event_new(server->up->r->base, fd,
		(short)(EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0)), fd_ready, f);
	BUG_ON(f->event == NULL);
	event_add(f->event, NULL);
}

static int
channel_create(struct server *s, const struct config *config)
{
	char text[IP_ADDR_TEXT_MAX_OCTETS], server[IP_ADDR_TEXT_MAX_OCTETS + 16], empty[] = "", lookups[] = "b",
										  resolvconf[] = "/dev/null";
	struct ares_options o = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_STAYOPEN | ARES_FLAG_EDNS,
		.timeout = (int)config->values.dns_timeout_ms,
		.tries = (int)config->values.dns_tries,
		.ndots = 0,
		.domains = (char *[]){ empty },
		.ndomains = 0,
		.lookups = lookups,
		.sock_state_cb = fd_state,
		.sock_state_cb_data = s,
		.ednspsz = RESOLVER_EDNS_OCTETS,
		.resolvconf_path = resolvconf,
		.socket_receive_buffer_size = 1 << 20,
	};

	if (ares_init_options(&s->channel, &o,
		    ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS | ARES_OPT_DOMAINS |
			    ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ | ARES_OPT_RESOLVCONF |
			    ARES_OPT_SOCK_RCVBUF) != ARES_SUCCESS)
		return -ENOMEM;
	ip_addr_format(&s->addr, text);
	snprintf(server, sizeof(server), ip_addr_is_v4(&s->addr) ? "%s:%u" : "[%s]:%u", text, s->port);
	snprintf(s->stats.name, sizeof(s->stats.name), "%s", server);
	if (ares_set_servers_ports_csv(s->channel, server) != ARES_SUCCESS) {
		ares_destroy(s->channel);
		return -EINVAL;
	}
	return 0;
}

static int
servers_create(struct upstream *up, const struct config *config)
{
	const struct config_texts *t = &config->list[LIST_RESOLVERS];
	int error;

	for (uint32_t i = 0; i < t->n && up->n_servers < RESOLVER_SERVERS_MAX; i++) {
		struct server *s = &up->server[up->n_servers];

		if (config_server_parse(t->v[i].text, 53, &s->addr, &s->port) != 0)
			continue;
		s->up = up;
		LIST_INIT(&s->fds);
		error = channel_create(s, config);
		if (error != 0) {
			while (up->n_servers > 0)
				ares_destroy(up->server[--up->n_servers].channel);
			return error;
		}
		up->n_servers++;
	}
	return 0;
}

static void *
names_build(const struct config_texts *t)
{
	struct name_set_entry *e;
	size_t room, used;
	void *set;

	if (t->n == 0)
		return NULL;
	e = calloc(t->n, sizeof(*e));
	BUG_ON(e == NULL);
	for (uint32_t i = 0; i < t->n; i++)
		e[i] = (struct name_set_entry){ .name = t->v[i].text, .len_octets = (uint32_t)strlen(t->v[i].text) };
	room = name_set_octets(e, t->n);
	set = aligned_alloc(64, (room + 63) & ~(size_t)63);
	BUG_ON(set == NULL);
	used = name_set_build(set, room, e, t->n, 0x67726579);
	BUG_ON(used == 0);
	free(e);
	return set;
}

static void
upstream_destroy(struct upstream *up)
{
	LIST_REMOVE(up, link);
	up->dying = true; /* no question is asked of another resolver */
	for (uint32_t i = 0; i < up->n_servers; i++) {
		ares_destroy(up->server[i].channel);
		BUG_ON(!LIST_EMPTY(&up->server[i].fds));
	}
	free(up->zone);
	free(up->health);
	free(up->allow_names);
	free(up->deny_names);
	free(up);
}

/* Whether name is one of the words of dnsbl.disabled. */
static bool
zone_is_disabled(const char *words, const char *name)
{
	const size_t n = strlen(name);

	for (const char *p = words + strspn(words, " "); *p != '\0'; p += strcspn(p, " "), p += strspn(p, " "))
		if (strcspn(p, " ") == n && strncasecmp(p, name, n) == 0)
			return true;
	return false;
}

/* What is known of resolvers and zones that stay is taken over: a reload must not make a proven list count for nothing. */
static void
standings_take_over(struct upstream *up, const struct upstream *old, const struct config *config)
{
	for (uint32_t i = 0; i < up->n_zones; i++) {
		zone_health_init(&up->health[i], &up->zone[i].spec);
		for (uint32_t k = 0; old != NULL && k < old->n_zones; k++)
			if (strcasecmp(old->zone[k].spec.zone, up->zone[i].spec.zone) == 0) {
				const bool blocks = up->health[i].blocks;

				up->health[i] = old->health[k];
				up->health[i].blocks = blocks;
				memset(up->health[i].round, 0,
					sizeof(up->health[i].round)); /* its answers go to the old one */
				up->health[i].proof_at_us = MIN(up->health[i].proof_at_us, now_us() + ZONE_RETRY_US);
			}
		up->health[i].disabled = zone_is_disabled(config->values.dnsbl_disabled, up->zone[i].name);
	}
	for (uint32_t i = 0; i < up->n_servers; i++)
		for (uint32_t k = 0; old != NULL && k < old->n_servers; k++)
			if (strcmp(old->server[k].stats.name, up->server[i].stats.name) == 0) {
				up->server[i].stats = old->server[k].stats;
				up->server[i].stats.down = false;
			}
}

int
resolver_configure(struct resolver *r, const struct config *config)
{
	struct upstream *up = calloc(1, sizeof(*up));
	int error;

	if (up == NULL)
		return -ENOMEM;
	up->r = r;
	error = servers_create(up, config);
	if (error != 0) {
		free(up);
		return error;
	}
	up->zone = calloc(CONF_ZONES_MAX, sizeof(*up->zone));
	up->health = calloc(CONF_ZONES_MAX, sizeof(*up->health));
	BUG_ON(up->zone == NULL || up->health == NULL);
	memcpy(up->zone, config->zone, config->n_zones * sizeof(*up->zone));
	up->n_zones = config->n_zones;
	up->conf = config->values.conf;
	up->allow_names = names_build(&config->list[LIST_CLIENT_ALLOW_NAMES]);
	up->deny_names = names_build(&config->list[LIST_CLIENT_DENY_NAMES]);
	up->deadline_ms = config->values.conf.dns_deadline_ms;
	up->timeout_ms = config->values.dns_timeout_ms;
	standings_take_over(up, r->up, config);
	LIST_INSERT_HEAD(&r->upstreams, up, link);
	if (r->up != NULL)
		r->up->retired = true;
	r->up = up;
	memset(r->stats.zone, 0, sizeof(r->stats.zone));
	servers_count(up);
	resolver_flush(r); /* zones have other indices now, lists other names */
	proofs_turn(r, now_us());
	return 0;
}

/* --- time */

static void
waiters_late(struct job *j, uint64_t now)
{
	struct waiter *w = STAILQ_FIRST(&j->waiters);
	struct resolver_result result;

	while (w != NULL) {
		struct waiter *next = STAILQ_NEXT(w, link);

		if (w->deadline_us <= now) {
			STAILQ_REMOVE(&j->waiters, w, waiter, link);
			job_result(j, now, &result);
			j->r->stats.late++;
			waiter_answer(j->r, w, &j->client, &result);
		}
		w = next;
	}
}

static void tick_arm(struct resolver *r);

static void
tick(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *r = arg;
	struct upstream *up, *next_up;
	uint64_t now = now_us();
	struct job *j, *next;

	(void)fd;
	(void)what;
	r->ticking = false;
	for (up = LIST_FIRST(&r->upstreams); up != NULL; up = next_up) {
		next_up = LIST_NEXT(up, link);
		for (uint32_t i = 0; i < up->n_servers; i++)
			ares_process_fd(up->server[i].channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* time-outs */
		if (up->retired && up->refs == 0)
			upstream_destroy(up);
	}
	for (j = TAILQ_FIRST(&r->jobs); j != NULL; j = next) {
		next = TAILQ_NEXT(j, link);
		waiters_late(j, now);
	}
	hedges_turn(r, now);
	for (uint32_t i = 0; i < r->up->n_servers; i++)
		if (r->up->server[i].stats.down && r->up->server[i].probe_at_us <= now)
			health_ask(&r->up->server[i]);
	proofs_turn(r, now);
	tick_arm(r);
}

static void
tick_arm(struct resolver *r)
{
	const struct timeval fast = { .tv_usec = RESOLVER_TICK_US }, slow = { .tv_sec = 1 };
	bool busy = r->outstanding > 0 || !TAILQ_EMPTY(&r->jobs);

	if (r->ticking && !busy)
		return;
	event_add(r->tick, busy ? &fast : &slow);
	r->ticking = true;
}

/* --- asking */

static void
answer_at_once(struct resolver *r, const struct ip_addr *client, resolver_fn *fn, void *arg, enum client_known known)
{
	struct resolver_result result = {
		.verdict = { .known = (uint8_t)known, .ptr_state = PTR_UNKNOWN, .zone = ZONE_NONE }
	};

	(void)r;
	fn(arg, client, &result);
}

static struct job *
job_find(struct resolver *r, const struct ip_addr *client)
{
	struct job *j;

	LIST_FOREACH (j, &r->job_hash[bucket_of(r, client)], hash_link)
		if (ip_addr_equal(&j->client, client) && j->up == r->up)
			return j;
	return NULL;
}

static void
job_start(struct resolver *r, struct job *j)
{
	char name[DNS_NAME_OCTETS];

	j->pending++; /* held: an answer inside ares_query() must not end the job while it is being built */
	if (dns_reverse_name(&j->client, NULL, name, sizeof(name)) > 0)
		question_ask(r->up, j, QUESTION_PTR, 0, DNS_PTR, name);
	for (uint32_t i = 0; i < j->up->n_zones; i++) {
		if (!zone_question(&j->up->zone[i], &j->client, name, sizeof(name))) {
			j->zone[i].state = ZONE_CLEAR;
			continue;
		}
		if (!j->all_zones && (r->stats.zones_off || !zone_health_asks(&j->up->health[i], family_of(&j->client),
								    j->started_us))) {
			/* left alone because it failed: the verdict is not the whole */
			j->error = j->error || j->up->health[i].open_until_us > j->started_us;
			continue;
		}
		if (r->stats.zone[i].in_flight >= RESOLVER_ZONE_IN_FLIGHT_MAX) {
			r->stats.zone[i].full++;
			j->zone[i].state = ZONE_ERROR;
			j->error = true;
			continue;
		}
		r->stats.zone[i].asked++;
		r->stats.zone[i].in_flight++;
		j->zone[i].pending = true;
		question_ask(r->up, j, QUESTION_ZONE, i, DNS_A, name);
	}
	if (--j->pending == 0)
		job_finish(j);
}

void
resolver_ask(
	struct resolver *r, const struct ip_addr *client, uint32_t deadline_ms, bool fresh, resolver_fn *fn, void *arg)
{
	const uint64_t now = now_us();
	struct cached *c = fresh ? NULL : cache_find(r, client, now);
	struct job *j = job_find(r, client);
	struct waiter *w;

	r->stats.clients++;
	if (c != NULL) {
		struct resolver_result result = { .verdict = c->verdict, .complete = c->complete, .cached = true };

		result.ttl_s = (uint32_t)((c->until_us - now) / 1000000);
		memcpy(result.ptr, c->ptr, sizeof(result.ptr));
		r->stats.cache_hits++;
		fn(arg, client, &result);
		return;
	}
	if (r->up->n_servers == 0 || r->stats.waiters >= RESOLVER_WAITERS_MAX ||
		(j == NULL && (r->stats.down || r->stats.in_flight >= r->in_flight_max))) {
		r->stats.refused++;
		answer_at_once(r, client, fn, arg, CLIENT_LATE);
		return;
	}
	w = calloc(1, sizeof(*w));
	BUG_ON(w == NULL);
	*w = (struct waiter){
		.fn = fn, .arg = arg, .deadline_us = now + (uint64_t)MIN(deadline_ms, r->up->deadline_ms) * 1000
	};
	r->stats.waiters++;
	if (j != NULL) {
		r->stats.coalesced++;
		STAILQ_INSERT_TAIL(&j->waiters, w, link);
		return;
	}
	j = calloc(1, sizeof(*j));
	BUG_ON(j == NULL);
	j->r = r;
	j->up = r->up;
	j->client = *client;
	j->all_zones = fresh;
	j->started_us = now;
	j->ptr_none = PTR_NONE;
	STAILQ_INIT(&j->waiters);
	STAILQ_INSERT_TAIL(&j->waiters, w, link);
	LIST_INSERT_HEAD(&r->job_hash[bucket_of(r, client)], j, hash_link);
	TAILQ_INSERT_TAIL(&r->jobs, j, link);
	r->stats.in_flight++;
	r->up->refs++;
	job_start(r, j);
	r->ticking = false;
	tick_arm(r);
}

const struct zone_health *
resolver_zone_health(const struct resolver *r, uint32_t zone)
{
	return zone < r->up->n_zones ? &r->up->health[zone] : NULL;
}

const struct resolver_stats *
resolver_stats(const struct resolver *r)
{
	struct resolver_stats *s = &((struct resolver *)(uintptr_t)r)->stats;

	s->n_servers = r->up->n_servers;
	for (uint32_t i = 0; i < r->up->n_servers; i++)
		s->server[i] = r->up->server[i].stats;
	return &r->stats;
}

struct resolver *
resolver_create(struct event_base *base, const struct resolver_params *params)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (r == NULL || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(r);
		return NULL;
	}
	r->base = base;
	r->in_flight_max = params->in_flight;
	r->cache_max = params->cache_entries;
	r->finished = params->finished;
	r->finished_arg = params->finished_arg;
	r->n_buckets = MAX(params->cache_entries, 64u);
	r->job_hash = calloc(r->n_buckets, sizeof(*r->job_hash));
	r->cache_hash = calloc(r->n_buckets, sizeof(*r->cache_hash));
	BUG_ON(r->job_hash == NULL || r->cache_hash == NULL);
	LIST_INIT(&r->upstreams);
	TAILQ_INIT(&r->jobs);
	TAILQ_INIT(&r->cache);
	TAILQ_INIT(&r->hedges);
	r->in_good_standing = params->in_good_standing;
	r->standing_arg = params->standing_arg;
	if (getrandom(&r->key, sizeof(r->key), 0) != (ssize_t)sizeof(r->key))
		r->key = (struct siphash_key){ now_us(), (uint64_t)(uintptr_t)r };
	r->tick = evtimer_new(base, tick, r);
	BUG_ON(r->tick == NULL);
	if (resolver_configure(r, params->config) != 0) {
		resolver_destroy(r);
		return NULL;
	}
	tick_arm(r);
	return r;
}

void
resolver_destroy(struct resolver *r)
{
	struct upstream *up;

	if (r == NULL)
		return;
	r->finished = NULL;
	/* ends every question with ARES_EDESTRUCTION, and with the questions their jobs and waiters */
	while ((up = LIST_FIRST(&r->upstreams)) != NULL)
		upstream_destroy(up);
	resolver_flush(r);
	event_free(r->tick);
	free(r->job_hash);
	free(r->cache_hash);
	free(r);
	ares_library_cleanup();
}
