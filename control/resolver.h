/*
 * resolver.h - everything DNS can say about a client: reverse name, its forward confirmation, the zones; asked at once.
 *
 * Flow:   events.c (LINK_EVENT_CLIENT), api (explain, dnsbl test) -> resolver_ask() -> c-ares -> resolver_result -> answer ring, table
 * Touches: UDP and TCP to the configured resolvers, on the event loop; no file, no /etc/hosts, no /etc/resolv.conf.
 * Keeps:  a question is answered by its deadline, with what is known then; a temporary error is never absence and never a listing;
 *         clients in flight, waiters and cache have caps; with every resolver dead an answer comes at once.
 * Source: POLICY section 4; PITFALLS 40, 41, 46.
 */
#ifndef GREYLINE_CONTROL_RESOLVER_H
#define GREYLINE_CONTROL_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "control/zone.h"
#include "dataplane/base/verdict.h"

#define RESOLVER_PTR_NAMES_MAX  8     /* names of one client that are looked up forward */
#define RESOLVER_WAITERS_MAX    65536 /* sessions waiting for any client */
#define RESOLVER_SERVERS_MAX    8
#define RESOLVER_TTL_MIN_S      30
#define RESOLVER_TTL_MAX_S      3600
#define RESOLVER_TTL_ERROR_S    30

struct event_base;
struct resolver;

enum zone_state { ZONE_UNASKED, ZONE_CLEAR, ZONE_LISTED, ZONE_ERROR };

struct resolver_zone_result {
	uint8_t state;        /* enum zone_state */
	int16_t weight;
	uint16_t dns_ms;
	uint8_t n_addrs;
	struct ip_addr addr[4];
};

struct resolver_result {
	struct client_verdict verdict;
	bool complete;            /* every question got an answer that says something */
	bool cached;
	uint32_t ttl_s;           /* of all of it, within bounds */
	uint32_t dns_ms;
	char ptr[256];            /* the confirmed name, else the first; "" without; printable ASCII */
	uint32_t n_zones;
	struct resolver_zone_result zone[CONF_ZONES_MAX]; /* not of a cached result: n_zones is 0 then */
};

typedef void resolver_fn(void *arg, const struct ip_addr *client, const struct resolver_result *result);

struct resolver_params {
	const struct config *config; /* resolvers, times, zones, name lists: copied */
	uint32_t in_flight, cache_entries;
	resolver_fn *finished;       /* every client whose questions all ended, late ones as well: for the table */
	void *finished_arg;
};

/* NULL when there is no memory or c-ares cannot start. */
struct resolver *resolver_create(struct event_base *base, const struct resolver_params *params);
void resolver_destroy(struct resolver *r);
/* Takes a new configuration; what is under way goes on with the old one. 0 or -errno. */
int resolver_configure(struct resolver *r, const struct config *config);

/* Asks; fn is called once, perhaps before this returns (cached, refused). deadline_ms from now. fresh: past the cache. */
void resolver_ask(struct resolver *r, const struct ip_addr *client, uint32_t deadline_ms, bool fresh, resolver_fn *fn, void *arg);
void resolver_forget(struct resolver *r, const struct ip_addr *client);
void resolver_flush(struct resolver *r);

struct resolver_zone_stats {
	uint64_t asked, listed, errors, ms_total;
};

struct resolver_stats {
	uint64_t clients, cache_hits, coalesced, refused, late, questions, timeouts, servfails;
	uint32_t in_flight, cached, waiters;
	bool down;
	struct resolver_zone_stats zone[CONF_ZONES_MAX];
};

const struct resolver_stats *resolver_stats(const struct resolver *r);

#endif
