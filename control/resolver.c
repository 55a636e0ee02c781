/*
 * resolver.c - subjects asked about: questions at once, coalesced, waiters answered in time, results kept.
 *
 * Flow:   resolver_ask() -> a job for each subject (coalesced) -> PTR and every zone at once -> forward names of the PTR -> findings ->
 *         waiters, cache, params.finished
 * Keeps:  a job ends when its last question ends, which dns_server.c bounds; waiters are answered by their deadline with what is known
 *         by then; jobs, waiters, cache are capped. A configuration lives until the last job that asked by it ends.
 *
 * A job: PTR and zones are asked at once. The PTR's names (RESOLVER_PTR_NAMES_MAX at most) are then looked up forward. Every answer
 * counts pending down; at zero the job is finished. With all resolvers down clients are refused at once (decided without DNS).
 */
#include "control/resolver.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "control/resolver_impl.h"
#include "dataplane/base/bug.h"
#include "dataplane/table/name_set.h"

#define RESOLVER_TICK_US 20000

uint64_t
resolver_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static struct subject
subject_of_client(const struct ip_addr *client)
{
	return (struct subject){ .kind = ZONE_KIND_CLIENT, .client = *client };
}

static struct job_bucket *
bucket_of(const struct resolver *r, const struct subject *s)
{
	return &r->job_hash[subject_hash(s, &r->key) % r->n_buckets];
}

/* --- cache */

bool
resolver_forget(struct resolver *r, const struct ip_addr *client)
{
	const struct subject s = subject_of_client(client);

	return dns_cache_drop(r->cache, &s);
}

void
resolver_cache_each(
	const struct resolver *r, uint32_t max, void (*fn)(void *arg, const struct dns_cached *c), void *arg)
{
	dns_cache_each(r->cache, resolver_now_us(), max, fn, arg);
}

void
resolver_flush(struct resolver *r)
{
	dns_cache_flush(r->cache);
}

bool
resolver_last(const struct resolver *r, const struct ip_addr *client, struct resolver_result *out)
{
	const struct subject s = subject_of_client(client);
	const struct dns_cached *c = dns_cache_last(r->cache, &s);
	const uint64_t now = resolver_now_us();

	if (c == NULL)
		return false;
	*out = (struct resolver_result){ .verdict = c->verdict, .complete = c->complete, .cached = true };
	out->ttl_s = (uint32_t)((now - c->put_us) / 1000000);
	memcpy(out->ptr, c->text, sizeof(out->ptr));
	return true;
}

/* --- the result of a job */

static struct findings_rules
rules_of(const struct upstream *up)
{
	return (struct findings_rules){ .zone = up->zone,
		.health = up->health,
		.n_zones = up->n_zones,
		.allow_names = up->allow_names,
		.deny_names = up->deny_names,
		.big_senders = up->big_senders,
		.conf = &up->conf,
		.zones_off = up->r->stats.zones_off };
}

static void
job_result(const struct job *j, uint64_t now, struct resolver_result *out)
{
	const struct findings_rules rules = rules_of(j->up);

	findings_result(&j->f, &rules, out);
	out->dns_ms = (uint32_t)((now - j->started_us) / 1000);
}

static void
waiter_answer(struct resolver *r, struct waiter *w, const struct ip_addr *client, const struct resolver_result *result)
{
	r->stats.waiters--;
	w->fn(w->arg, client, result);
	free(w);
}

static void
waiters_answer(struct job *j, const struct resolver_result *result)
{
	while (!STAILQ_EMPTY(&j->waiters)) {
		struct waiter *w = STAILQ_FIRST(&j->waiters);

		STAILQ_REMOVE_HEAD(&j->waiters, link);
		waiter_answer(j->r, w, &j->f.subject.client, result);
	}
}

static void
job_finish(struct job *j)
{
	struct resolver *r = j->r;
	struct resolver_result result;
	uint64_t now = resolver_now_us();

	job_result(j, now, &result);
	LIST_REMOVE(j, hash_link);
	TAILQ_REMOVE(&r->jobs, j, link);
	r->stats.in_flight--;
	dns_cache_put(r->cache, &j->f.subject, &result, now);
	if (r->finished != NULL && j->f.subject.kind == ZONE_KIND_CLIENT)
		r->finished(r->finished_arg, &j->f.subject.client, &result);
	waiters_answer(j, &result);
	BUG_ON(j->up->refs == 0);
	j->up->refs--; /* the channels go at the next tick: never inside one of their callbacks */
	free(j->f.seen);
	TAILQ_INSERT_HEAD(&r->free_jobs, j, link);
}

/* --- answers */

static void
take_ptr(struct job *j, const struct dns_answer *a)
{
	const enum dns_type type = ip_addr_is_v4(&j->f.subject.client) ? DNS_A : DNS_AAAA;

	findings_ptr(&j->f, a);
	for (uint32_t i = 0; i < j->f.n_names; i++)
		if (findings_name_is_askable(&j->f, i))
			question_ask(j->up, j, QUESTION_FORWARD, i, type, j->f.name[i]);
}

static void
take_zone(struct job *j, const struct question *q, const struct dns_answer *a)
{
	struct resolver_zone_stats nowhere = { 0 };
	struct resolver_zone_stats *stats = j->up == j->r->up ? &j->r->stats.zone[q->index] : &nowhere;
	const uint64_t now = resolver_now_us(), ms = (now - q->started_us) / 1000;
	struct zone_health *h = &j->up->health[q->index];
	struct zone_weight w;

	stats->in_flight -= stats->in_flight > 0;
	if (a->status == DNS_TEMPERR) {
		/* silence is the zone's fault only where the resolver spoke about others meanwhile */
		if (servers_spoke_since(j->up, q->started_us) && zone_health_answered(h, true, now))
			zone_say(j->up, q->index, "does not answer: it is left alone for a while");
		findings_zone_failed(&j->f, q->index, ms);
		stats->errors++;
		return;
	}
	zone_health_answered(h, false, now);
	stats->answered++;
	stats->ms_total += ms;
	stats->ms_max = MAX(stats->ms_max, (uint32_t)MIN(ms, (uint64_t)UINT32_MAX));
	w = findings_zone(&j->f, &j->up->zone[q->index], q->index, a, ms);
	stats->errors += w.error;
	stats->listed += w.listed;
	if (!w.error)
		proof_client(j, q->index, w.listed && w.weight > 0);
}

/* Nobody waits for what could not change the outcome. */
static void
job_answer_early(struct job *j)
{
	const struct findings_rules rules = rules_of(j->up);
	struct resolver_result result;

	if (STAILQ_EMPTY(&j->waiters) || j->f.pending == 0)
		return;
	job_result(j, resolver_now_us(), &result);
	if (!findings_decided(&j->f, &rules, &result))
		return;
	j->r->stats.early++;
	waiters_answer(j, &result);
}

void
resolver_answered(struct question *q, const struct dns_answer *a)
{
	struct job *j = q->job;

	q->done = true;
	if (j == NULL)
		return;
	if (a->status != DNS_TEMPERR)
		j->f.answered++;
	switch (q->kind) {
	case QUESTION_PTR:
		take_ptr(j, a);
		break;
	case QUESTION_FORWARD:
		findings_forward(&j->f, q->index, a);
		break;
	case QUESTION_ZONE:
		take_zone(j, q, a);
		break;
	case QUESTION_WHOAMI:
		findings_whoami(&j->f, q->index, q->server, a);
		break;
	case QUESTION_HEALTH:
	case QUESTION_POINT:
	case QUESTION_RANDOM:
		break;
	}
	if (--j->f.pending == 0)
		job_finish(j);
	else
		job_answer_early(j);
}

/* --- configuration */

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
	servers_destroy(up);
	free(up->zone);
	free(up->health);
	free(up->allow_names);
	free(up->deny_names);
	free(up->big_senders);
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
		zone_health_init(&up->health[i], &up->zone[i].spec, up->zone[i].kind != ZONE_KIND_CLIENT);
		for (uint32_t k = 0; old != NULL && k < old->n_zones; k++)
			if (old->zone[k].kind == up->zone[i].kind &&
				strcasecmp(old->zone[k].spec.zone, up->zone[i].spec.zone) == 0) {
				const bool blocks = up->health[i].blocks;

				up->health[i] = old->health[k];
				up->health[i].blocks = blocks;
				memset(up->health[i].round, 0,
					sizeof(up->health[i].round)); /* its answers go to the old one */
				up->health[i].proof_at_us =
					MIN(up->health[i].proof_at_us, resolver_now_us() + ZONE_RETRY_US);
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
	up->big_senders = names_build(&config->big_senders);
	up->timeout_ms = config->values.dns_timeout_ms;
	standings_take_over(up, r->up, config);
	LIST_INSERT_HEAD(&r->upstreams, up, link);
	if (r->up != NULL)
		r->up->retired = true;
	r->up = up;
	memset(r->stats.zone, 0, sizeof(r->stats.zone));
	servers_count(up);
	resolver_flush(r); /* zones have other indices now, lists other names */
	proofs_turn(r, resolver_now_us());
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
			waiter_answer(j->r, w, &j->f.subject.client, &result);
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
	uint64_t now = resolver_now_us();
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
			server_health_ask(&r->up->server[i]);
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
answer_at_once(const struct ip_addr *client, resolver_fn *fn, void *arg)
{
	struct resolver_result result = { .verdict = {
						  .known = CLIENT_LATE, .ptr_state = PTR_UNKNOWN, .zone = ZONE_NONE } };

	fn(arg, client, &result);
}

static struct job *
job_find(struct resolver *r, const struct subject *s)
{
	struct job *j;

	LIST_FOREACH (j, bucket_of(r, s), hash_link)
		if (j->up == r->up && subject_equal(&j->f.subject, s))
			return j;
	return NULL;
}

/* One zone about the subject of a job: asked, or noted why not. */
static void
job_ask_zone(struct resolver *r, struct job *j, uint32_t zone)
{
	const struct zone_health *h = &j->up->health[zone];
	char name[DNS_NAME_OCTETS];

	if (!zone_question(&j->up->zone[zone], &j->f.subject, name, sizeof(name))) {
		j->f.zone[zone].state = ZONE_CLEAR;
		return;
	}
	if (!j->f.whole && (r->stats.zones_off || !zone_health_asks(h, subject_family(&j->f.subject), j->started_us))) {
		/* left alone because it failed: the verdict is not the whole */
		j->f.error = j->f.error || h->open_until_us > j->started_us;
		return;
	}
	if (r->stats.zone[zone].in_flight >= RESOLVER_ZONE_IN_FLIGHT_MAX) {
		r->stats.zone[zone].full++;
		findings_zone_failed(&j->f, zone, 0);
		return;
	}
	r->stats.zone[zone].asked++;
	r->stats.zone[zone].in_flight++;
	j->f.zone[zone].pending = true;
	question_ask(r->up, j, QUESTION_ZONE, zone, DNS_A, name);
}

/* Of a zone that tells: the address each resolver has there. */
static void
job_ask_whoami(struct resolver *r, struct job *j, uint32_t zone)
{
	static const enum dns_type types[] = { DNS_A, DNS_TXT };
	const char *name = j->up->zone[zone].whoami;

	for (uint32_t s = 0; name[0] != '\0' && s < j->up->n_servers; s++)
		for (unsigned t = 0; t < ARRAY_LEN(types); t++)
			question_ask_one(r->up, j, s, zone, types[t], name);
}

static void
job_start(struct resolver *r, struct job *j)
{
	char name[DNS_NAME_OCTETS];

	j->f.pending++; /* held: an answer inside ares_query() must not end the job while it is being built */
	if (j->f.subject.kind == ZONE_KIND_CLIENT &&
		dns_reverse_name(&j->f.subject.client, NULL, name, sizeof(name)) > 0)
		question_ask(r->up, j, QUESTION_PTR, 0, DNS_PTR, name);
	for (uint32_t i = 0; i < j->up->n_zones; i++) {
		if (j->up->zone[i].kind != j->f.subject.kind)
			continue;
		job_ask_zone(r, j, i);
		if (j->f.whole)
			job_ask_whoami(r, j, i);
	}
	if (--j->f.pending == 0)
		job_finish(j);
}

static void
job_new(struct resolver *r, const struct subject *s, bool good, bool whole, struct waiter *w)
{
	struct job *j = TAILQ_FIRST(&r->free_jobs);

	if (j != NULL)
		TAILQ_REMOVE(&r->free_jobs, j, link);
	else
		j = malloc(sizeof(*j));
	BUG_ON(j == NULL);
	memset(j, 0, sizeof(*j));
	j->r = r;
	j->up = r->up;
	j->f.subject = *s;
	j->f.good = s->kind != ZONE_KIND_CLIENT
	                    ? good
	                    : r->in_good_standing != NULL && r->in_good_standing(r->standing_arg, &s->client);
	j->f.whole = whole;
	if (whole) {
		j->f.seen_max = r->up->n_zones * r->up->n_servers * 2;
		j->f.seen = calloc(MAX(j->f.seen_max, 1u), sizeof(*j->f.seen));
		BUG_ON(j->f.seen == NULL);
	}
	j->f.ptr_none = PTR_NONE;
	j->started_us = resolver_now_us();
	STAILQ_INIT(&j->waiters);
	STAILQ_INSERT_TAIL(&j->waiters, w, link);
	LIST_INSERT_HEAD(bucket_of(r, s), j, hash_link);
	TAILQ_INSERT_TAIL(&r->jobs, j, link);
	r->stats.in_flight++;
	r->up->refs++;
	job_start(r, j);
	r->ticking = false;
	tick_arm(r);
}

static void
ask(struct resolver *r, const struct subject *s, bool good, uint32_t deadline_ms, bool fresh, resolver_fn *fn,
	void *arg)
{
	const uint64_t now = resolver_now_us();
	const struct dns_cached *c = fresh ? NULL : dns_cache_find(r->cache, s, now);
	struct job *j = job_find(r, s);
	struct waiter *w;

	r->stats.clients++;
	if (c != NULL) {
		struct resolver_result result = {
			.verdict = c->verdict, .decisive = c->decisive, .complete = c->complete, .cached = true
		};

		result.ttl_s = (uint32_t)((c->until_us - now) / 1000000);
		if (s->kind == ZONE_KIND_CLIENT)
			memcpy(result.ptr, c->text, sizeof(result.ptr));
		r->stats.cache_hits++;
		fn(arg, &s->client, &result);
		return;
	}
	if (r->up->n_servers == 0 || r->stats.waiters >= RESOLVER_WAITERS_MAX ||
		(j == NULL && (r->stats.down || r->stats.in_flight >= r->in_flight_max))) {
		r->stats.refused++;
		answer_at_once(&s->client, fn, arg);
		return;
	}
	w = calloc(1, sizeof(*w));
	BUG_ON(w == NULL);
	*w = (struct waiter){ .fn = fn,
		.arg = arg,
		.deadline_us = now + (uint64_t)MIN(deadline_ms, r->up->conf.dns_deadline_ms) * 1000 };
	r->stats.waiters++;
	if (j != NULL) {
		r->stats.coalesced++;
		STAILQ_INSERT_TAIL(&j->waiters, w, link);
	} else {
		job_new(r, s, good, fresh, w);
	}
}

void
resolver_ask(
	struct resolver *r, const struct ip_addr *client, uint32_t deadline_ms, bool fresh, resolver_fn *fn, void *arg)
{
	const struct subject s = subject_of_client(client);

	ask(r, &s, false, deadline_ms, fresh, fn, arg);
}

void
resolver_ask_name(struct resolver *r, enum conf_zone_kind kind, const char *name, bool good, uint32_t deadline_ms,
	bool fresh, resolver_fn *fn, void *arg)
{
	struct subject s = { .kind = kind };

	snprintf(s.name, sizeof(s.name), "%s", name);
	ask(r, &s, good, deadline_ms, fresh, fn, arg);
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

	s->cached = dns_cache_n(r->cache);
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
	r->finished = params->finished;
	r->finished_arg = params->finished_arg;
	r->n_buckets = MAX(params->in_flight, 64u);
	LIST_INIT(&r->upstreams);
	TAILQ_INIT(&r->jobs);
	TAILQ_INIT(&r->free_jobs);
	TAILQ_INIT(&r->hedges);
	r->in_good_standing = params->in_good_standing;
	r->standing_arg = params->standing_arg;
	if (getrandom(&r->key, sizeof(r->key), 0) != (ssize_t)sizeof(r->key))
		r->key = (struct siphash_key){ resolver_now_us(), (uint64_t)(uintptr_t)r };
	r->job_hash = calloc(r->n_buckets, sizeof(*r->job_hash));
	r->cache = dns_cache_create(params->cache_entries, &r->key);
	r->tick = evtimer_new(base, tick, r);
	BUG_ON(r->job_hash == NULL || r->cache == NULL || r->tick == NULL);
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
	struct job *j;

	if (r == NULL)
		return;
	r->finished = NULL;
	/* ends every question with ARES_EDESTRUCTION, and with the questions their jobs and waiters */
	while ((up = LIST_FIRST(&r->upstreams)) != NULL)
		upstream_destroy(up);
	while ((j = TAILQ_FIRST(&r->free_jobs)) != NULL) {
		TAILQ_REMOVE(&r->free_jobs, j, link);
		free(j);
	}
	dns_cache_destroy(r->cache);
	event_free(r->tick);
	free(r->job_hash);
	free(r);
	ares_library_cleanup();
}
