/*
 * resolver.h - everything DNS can say about a client: reverse name, its forward confirmation, the zones; asked at once.
 *
 * Flow:   events.c (LINK_EVENT_CLIENT), api (explain, dnsbl test) -> resolver_ask() -> c-ares -> resolver_result -> answer ring, table
 * Touches: UDP and TCP to the configured resolvers, on the event loop; no file, no /etc/hosts, no /etc/resolv.conf.
 * Keeps:  a question is answered by its deadline, with what is known then; a temporary error is never absence and never a listing;
 *         a zone counts only after it has proven itself, none counts through resolvers that invent answers;
 *         clients in flight, waiters and cache have caps; with every resolver dead an answer comes at once.
 * Source: POLICY section 4; PITFALLS 40, 41, 46.
 */
#ifndef GREYLINE_CONTROL_RESOLVER_H
#define GREYLINE_CONTROL_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "control/dns_cache.h"
#include "control/findings.h"

#define RESOLVER_WAITERS_MAX        65536 /* sessions waiting for any client */
#define RESOLVER_SERVERS_MAX        8
#define RESOLVER_ZONE_IN_FLIGHT_MAX 1024 /* questions for clients to one zone; beyond it the zone says nothing */

struct event_base;
struct resolver;

typedef void resolver_fn(void *arg, const struct ip_addr *client, const struct resolver_result *result);

struct resolver_params {
	const struct config *config; /* resolvers, times, zones, name lists: copied */
	uint32_t in_flight, cache_entries;
	resolver_fn *finished; /* every client (no name) whose questions all ended, late ones as well: for the table */
	void *finished_arg;
	/* Whether a client is in good standing (mail of it is known to be good); NULL: nobody is. A zone that lists many such is no good. */
	bool (*in_good_standing)(void *arg, const struct ip_addr *client);
	void *standing_arg;
};

/* NULL when there is no memory or c-ares cannot start. */
struct resolver *resolver_create(struct event_base *base, const struct resolver_params *params);
void resolver_destroy(struct resolver *r);
/* Takes a new configuration; what is under way goes on with the old one. 0 or -errno. */
int resolver_configure(struct resolver *r, const struct config *config);

/* Asks; fn is called once, perhaps before this returns (cached, refused). deadline_ms from now. fresh: past the cache. */
void resolver_ask(
	struct resolver *r, const struct ip_addr *client, uint32_t deadline_ms, bool fresh, resolver_fn *fn, void *arg);
/*
 * The same about a HELO name or a sender's domain (ZONE_KIND_HELO, ZONE_KIND_SENDER): what lists of names say. name: as
 * dnsbl_domain_askable() gives it. good: of a client in good standing. fn is given a zero address; nothing of this goes to the table.
 */
void resolver_ask_name(struct resolver *r, enum conf_zone_kind kind, const char *name, bool good, uint32_t deadline_ms,
	bool fresh, resolver_fn *fn, void *arg);
/* What was last heard of a client, whatever its age: verdict and name; out->ttl_s is its age here. False: nothing. */
bool resolver_last(const struct resolver *r, const struct ip_addr *client, struct resolver_result *out);
/* Whether there was something. */
bool resolver_forget(struct resolver *r, const struct ip_addr *client);
void resolver_flush(struct resolver *r);

/* Asks for the test points of every zone and for random names at every resolver, now; by itself at start and each half hour. */
void resolver_prove(struct resolver *r);
/* The standing of a zone of the configuration in force. */
const struct zone_health *resolver_zone_health(const struct resolver *r, uint32_t zone);

struct resolver_zone_stats {
	uint64_t asked, answered, listed, errors, full, ms_total;
	uint32_t ms_max, in_flight;
};

struct resolver_server_stats {
	char name[64];
	bool down;      /* silent: not asked until it answers again */
	bool inventing; /* it answers for names that do not exist: never asked about zones */
	uint64_t questions, answers, failures, timeouts, ms_total;
};

struct resolver_stats {
	uint64_t clients, cache_hits, coalesced, refused, late, questions, timeouts, servfails;
	uint64_t early;     /* sessions answered before the last answer, which could not have changed the outcome */
	uint64_t failovers; /* questions asked of a further resolver */
	uint32_t in_flight, cached, waiters;
	uint32_t proving; /* questions for test points and random names under way */
	bool down;        /* no resolver answers */
	bool zones_off;   /* every resolver invents answers: no zone is asked */
	uint32_t n_servers;
	struct resolver_server_stats server[RESOLVER_SERVERS_MAX];
	struct resolver_zone_stats zone[CONF_ZONES_MAX];
};

const struct resolver_stats *resolver_stats(const struct resolver *r);

/* What is cached, the last used first, at most max. */
void resolver_cache_each(
	const struct resolver *r, uint32_t max, void (*fn)(void *arg, const struct dns_cached *c), void *arg);

#endif
