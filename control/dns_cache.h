/*
 * dns_cache.h - what DNS said about subjects lately: a bounded cache, the least lately used goes first.
 *
 * Flow:   resolver.c: a finished question -> dns_cache_put();  the next one -> dns_cache_find()
 * Keeps:  at most the entries it was created for; an entry answers no question when its time is over, and goes when its place is needed; names and addresses are found by a keyed hash,
 *         so that nobody chooses the bucket. Allocates in dns_cache_put().
 */
#ifndef GREYLINE_CONTROL_DNS_CACHE_H
#define GREYLINE_CONTROL_DNS_CACHE_H

#include "control/findings.h"
#include "dataplane/base/siphash.h"

struct dns_cache;

struct dns_cached {
	enum conf_zone_kind kind;
	struct ip_addr client; /* of ZONE_KIND_CLIENT */
	uint64_t put_us, until_us;
	struct client_verdict verdict;
	uint32_t ttl_s;
	bool complete, decisive;
	char text[DNS_NAME_OCTETS]; /* of a client its name, of the other kinds the name asked about */
};

/* NULL without memory. */
struct dns_cache *dns_cache_create(uint32_t entries_max, const struct siphash_key *key);
void dns_cache_destroy(struct dns_cache *c);
/* NULL when nothing is known; else lent until the cache is next written. */
const struct dns_cached *dns_cache_find(struct dns_cache *c, const struct subject *s, uint64_t now_us);
/* The same, whatever its age, without being a use. */
const struct dns_cached *dns_cache_last(const struct dns_cache *c, const struct subject *s);
void dns_cache_put(struct dns_cache *c, const struct subject *s, const struct resolver_result *result, uint64_t now_us);
/* Whether there was something. */
bool dns_cache_drop(struct dns_cache *c, const struct subject *s);
void dns_cache_flush(struct dns_cache *c);
uint32_t dns_cache_n(const struct dns_cache *c);
/* The last used first, at most max. */
void dns_cache_each(const struct dns_cache *c, uint64_t now_us, uint32_t max,
	void (*fn)(void *arg, const struct dns_cached *e), void *arg);

#endif
