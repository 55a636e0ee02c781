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
 * Resolvers dead: after RESOLVER_SILENT_MAX time-outs in a row the root's NS are asked for; if even that is not answered, clients are
 * refused at once (decided without DNS), and the root is asked for every second until an answer comes.
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
#include "dataplane/table/name_set.h"

#define RESOLVER_TICK_US     20000
#define RESOLVER_SILENT_MAX  16
#define RESOLVER_PROBE_US    1000000
#define RESOLVER_EDNS_OCTETS 1232 /* never fragmented (DNS flag day 2020) */

struct fd_event {
	LIST_ENTRY(fd_event) link;
	ares_socket_t fd;
	struct event *event;
	struct upstream *up;
};

/* One configuration: a channel and what its questions need. Counted by its jobs. */
struct upstream {
	struct resolver *r;
	ares_channel channel;
	unsigned refs;
	bool retired;
	LIST_HEAD(, fd_event) fds;
	LIST_ENTRY(upstream) link;
	struct config_zone *zone;
	uint32_t n_zones;
	void *allow_names, *deny_names; /* name_set */
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
	uint32_t n_names, n_forward;
	char name[RESOLVER_PTR_NAMES_MAX][DNS_NAME_OCTETS];
	bool confirmed[RESOLVER_PTR_NAMES_MAX];
	enum ptr_state ptr_none; /* PTR_NONE or PTR_UNCONFIRMED when there was no usable name */
	struct resolver_zone_result zone[CONF_ZONES_MAX];
};

enum question_kind { QUESTION_PTR, QUESTION_FORWARD, QUESTION_ZONE, QUESTION_HEALTH };

struct question {
	struct resolver *r;
	struct upstream *up;
	struct job *job; /* NULL for QUESTION_HEALTH */
	enum question_kind kind;
	uint32_t index;
	enum dns_type type;
	uint64_t started_us;
	char name[DNS_NAME_OCTETS];
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
	LIST_HEAD(job_bucket, job) *job_hash;
	LIST_HEAD(cache_bucket, cached) *cache_hash;
	TAILQ_HEAD(, job) jobs;
	TAILQ_HEAD(, cached) cache;
	struct siphash_key key;
	resolver_fn *finished;
	void *finished_arg;
	struct resolver_stats stats;
	uint32_t silent;         /* time-outs in a row */
	bool probing;
	uint64_t probe_at_us;
	uint32_t outstanding;    /* questions with c-ares */
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

	LIST_FOREACH(c, &r->cache_hash[bucket_of(r, client)], hash_link)
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

void
resolver_forget(struct resolver *r, const struct ip_addr *client)
{
	struct cached *c = cache_find(r, client, now_us());

	if (c != NULL)
		cache_drop(r, c);
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
		if (j->up->deny_names != NULL && name_set_find_domain(j->up->deny_names, j->name[i], (uint32_t)strlen(j->name[i]), &value))
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

static void
job_result(const struct job *j, uint64_t now, struct resolver_result *out)
{
	struct client_verdict *v = &out->verdict;
	int score = 0, best = 0, benefit = 0, lowest, highest;

	memset(out, 0, sizeof(*out));
	v->zone = ZONE_NONE;
	job_ptr(j, out);
	for (uint32_t i = 0; i < j->up->n_zones; i++) {
		const struct resolver_zone_result *z = &j->zone[i];

		if (z->state == ZONE_LISTED) {
			score += z->weight;
			if (z->weight > best) {
				best = z->weight;
				v->zone = (uint8_t)i;
			}
		} else if (z->state != ZONE_CLEAR) {
			zone_weight_range(&j->up->zone[i], &lowest, &highest);
			benefit += lowest;
		}
	}
	/* An allowlist that does not answer might have spoken for the client: it gets the benefit of that, and no more. */
	if (score > 0)
		score = MAX(score + benefit, 0);
	v->score = (int16_t)MIN(MAX(score, -999), 999);
	v->known = j->pending == 0 || j->answered > 0 ? CLIENT_KNOWN : CLIENT_LATE;
	out->complete = j->pending == 0 && !j->error;
	out->ttl_s = MIN(MAX(j->have_ttl ? j->ttl_s : 0, (uint32_t)RESOLVER_TTL_MIN_S), (uint32_t)RESOLVER_TTL_MAX_S);
	if (!out->complete)
		out->ttl_s = RESOLVER_TTL_ERROR_S;
	out->dns_ms = (uint32_t)((now - j->started_us) / 1000);
	out->n_zones = j->up->n_zones;
	memcpy(out->zone, j->zone, sizeof(out->zone));
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

static void
ask(struct upstream *up, struct job *job, enum question_kind kind, uint32_t index, enum dns_type type, const char *name)
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
	snprintf(q->name, sizeof(q->name), "%s", name);
	if (job != NULL)
		job->pending++;
	up->refs++;
	up->r->outstanding++;
	up->r->stats.questions++;
	ares_query(up->channel, q->name[0] != '\0' ? q->name : ".", 1, kind == QUESTION_HEALTH ? 2 : (int)type, answered, q);
}

static void
health_ask(struct resolver *r)
{
	if (r->probing || r->up->n_servers == 0)
		return;
	r->probing = true;
	ask(r->up, NULL, QUESTION_HEALTH, 0, DNS_A, "");
}

/* Whether a resolver spoke at all; a time-out in a row of them calls for a look at the resolver itself. */
static void
health_note(struct resolver *r, const struct question *q, int status)
{
	const bool silent = status == ARES_ETIMEOUT || status == ARES_ECONNREFUSED;

	if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
		return;
	if (!silent) {
		r->silent = 0;
		r->stats.down = false;
		return;
	}
	r->stats.timeouts++;
	r->silent++;
	if (q->kind == QUESTION_HEALTH)
		r->stats.down = true;
	else if (r->silent >= RESOLVER_SILENT_MAX)
		health_ask(r);
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
			ask(j->up, j, QUESTION_FORWARD, i, type, j->name[i]);
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
	const uint64_t ms = (now_us() - q->started_us) / 1000;
	struct zone_weight w;

	z->dns_ms = (uint16_t)MIN(ms, (uint64_t)UINT16_MAX);
	if (j->up == j->r->up)
		stats->ms_total += ms;
	else
		stats = &nowhere;
	if (a->status == DNS_TEMPERR) {
		z->state = ZONE_ERROR;
		j->error = true;
		stats->errors++;
		return;
	}
	ttl_note(j, a->ttl_s);
	if (a->status == DNS_NONE) {
		z->state = ZONE_CLEAR;
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
	} else if (w.listed) {
		stats->listed++;
	}
}

static void
answered(void *arg, int status, int timeouts, unsigned char *octets, int n)
{
	struct question *q = arg;
	struct resolver *r = q->r;
	struct job *j = q->job;
	struct dns_answer a;

	(void)timeouts;
	r->outstanding--;
	health_note(r, q, status);
	/* c-ares gives the message with NXDOMAIN and "no data", too; what it says is read by our own parser */
	if (octets != NULL && n > 0 && (status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND)) {
		dns_answer_parse(octets, (size_t)n, q->name, q->type, &a);
	} else {
		memset(&a, 0, sizeof(a));
		a.status = DNS_TEMPERR;
		if (status == ARES_ESERVFAIL || status == ARES_EREFUSED)
			r->stats.servfails++;
	}
	if (j == NULL) {
		r->probing = false;
		r->probe_at_us = now_us() + RESOLVER_PROBE_US;
	} else {
		if (a.status != DNS_TEMPERR)
			j->answered++;
		switch (q->kind) {
		case QUESTION_PTR:
			take_ptr(j, &a);
			break;
		case QUESTION_FORWARD:
			take_forward(j, q->index, &a);
			break;
		case QUESTION_ZONE:
			take_zone(j, q, &a);
			break;
		case QUESTION_HEALTH:
			break;
		}
		if (--j->pending == 0)
			job_finish(j);
	}
	upstream_put(q->up);
	free(q);
}

/* --- c-ares on the event loop */

static void
fd_ready(evutil_socket_t fd, short what, void *arg)
{
	struct fd_event *f = arg;

	ares_process_fd(f->up->channel, (what & EV_READ) != 0 ? fd : ARES_SOCKET_BAD, (what & EV_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
}

static void
fd_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct upstream *up = arg;
	struct fd_event *f;

	LIST_FOREACH(f, &up->fds, link)
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
		f->up = up;
		LIST_INSERT_HEAD(&up->fds, f, link);
	}
	f->event = event_new(up->r->base, fd, (short)(EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0)), fd_ready, f);
	BUG_ON(f->event == NULL);
	event_add(f->event, NULL);
}

static int
channel_create(struct upstream *up, const struct config *config)
{
	char servers[RESOLVER_SERVERS_MAX * 64], empty[] = "", lookups[] = "b", resolvconf[] = "/dev/null";
	struct ares_options o = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_STAYOPEN | ARES_FLAG_EDNS,
		.timeout = (int)config->values.dns_timeout_ms,
		.tries = (int)config->values.dns_tries,
		.ndots = 0,
		.domains = (char *[]){ empty },
		.ndomains = 0,
		.lookups = lookups,
		.sock_state_cb = fd_state,
		.sock_state_cb_data = up,
		.ednspsz = RESOLVER_EDNS_OCTETS,
		.resolvconf_path = resolvconf,
		.socket_receive_buffer_size = 1 << 20,
	};
	size_t at = 0;

	if (ares_init_options(&up->channel, &o, ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS | ARES_OPT_DOMAINS |
		ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ | ARES_OPT_RESOLVCONF | ARES_OPT_ROTATE |
		ARES_OPT_SOCK_RCVBUF) != ARES_SUCCESS)
		return -ENOMEM;
	servers[0] = '\0';
	for (uint32_t i = 0; i < config->list[LIST_RESOLVERS].n && up->n_servers < RESOLVER_SERVERS_MAX; i++) {
		char text[IP_ADDR_TEXT_MAX_OCTETS];
		struct ip_addr addr;
		uint16_t port;

		if (config_server_parse(config->list[LIST_RESOLVERS].v[i].text, 53, &addr, &port) != 0)
			continue;
		ip_addr_format(&addr, text);
		at += (size_t)snprintf(servers + at, sizeof(servers) - at, "%s%s%s%s:%u", at > 0 ? "," : "", ip_addr_is_v4(&addr) ? "" : "[",
			text, ip_addr_is_v4(&addr) ? "" : "]", port);
		up->n_servers++;
	}
	if (up->n_servers > 0 && ares_set_servers_ports_csv(up->channel, servers) != ARES_SUCCESS) {
		ares_destroy(up->channel);
		return -EINVAL;
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
	ares_destroy(up->channel);
	BUG_ON(!LIST_EMPTY(&up->fds));
	free(up->zone);
	free(up->allow_names);
	free(up->deny_names);
	free(up);
}

int
resolver_configure(struct resolver *r, const struct config *config)
{
	struct upstream *up = calloc(1, sizeof(*up));
	int error;

	if (up == NULL)
		return -ENOMEM;
	up->r = r;
	LIST_INIT(&up->fds);
	error = channel_create(up, config);
	if (error != 0) {
		free(up);
		return error;
	}
	up->zone = calloc(CONF_ZONES_MAX, sizeof(*up->zone));
	BUG_ON(up->zone == NULL);
	memcpy(up->zone, config->zone, config->n_zones * sizeof(*up->zone));
	up->n_zones = config->n_zones;
	up->allow_names = names_build(&config->list[LIST_CLIENT_ALLOW_NAMES]);
	up->deny_names = names_build(&config->list[LIST_CLIENT_DENY_NAMES]);
	up->deadline_ms = config->values.conf.dns_deadline_ms;
	LIST_INSERT_HEAD(&r->upstreams, up, link);
	if (r->up != NULL)
		r->up->retired = true;
	r->up = up;
	r->silent = 0;
	r->stats.down = false;
	memset(r->stats.zone, 0, sizeof(r->stats.zone));
	resolver_flush(r); /* zones have other indices now, lists other names */
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
		ares_process_fd(up->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* time-outs */
		if (up->retired && up->refs == 0)
			upstream_destroy(up);
	}
	for (j = TAILQ_FIRST(&r->jobs); j != NULL; j = next) {
		next = TAILQ_NEXT(j, link);
		waiters_late(j, now);
	}
	if (r->stats.down && !r->probing && r->probe_at_us <= now)
		health_ask(r);
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
	struct resolver_result result = { .verdict = { .known = (uint8_t)known, .ptr_state = PTR_UNKNOWN, .zone = ZONE_NONE } };

	(void)r;
	fn(arg, client, &result);
}

static struct job *
job_find(struct resolver *r, const struct ip_addr *client)
{
	struct job *j;

	LIST_FOREACH(j, &r->job_hash[bucket_of(r, client)], hash_link)
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
		ask(r->up, j, QUESTION_PTR, 0, DNS_PTR, name);
	for (uint32_t i = 0; i < j->up->n_zones; i++) {
		if (!zone_question(&j->up->zone[i], &j->client, name, sizeof(name))) {
			j->zone[i].state = ZONE_CLEAR;
			continue;
		}
		r->stats.zone[i].asked++;
		ask(r->up, j, QUESTION_ZONE, i, DNS_A, name);
	}
	if (--j->pending == 0)
		job_finish(j);
}

void
resolver_ask(struct resolver *r, const struct ip_addr *client, uint32_t deadline_ms, bool fresh, resolver_fn *fn, void *arg)
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
	*w = (struct waiter){ .fn = fn, .arg = arg, .deadline_us = now + (uint64_t)MIN(deadline_ms, r->up->deadline_ms) * 1000 };
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

const struct resolver_stats *
resolver_stats(const struct resolver *r)
{
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
