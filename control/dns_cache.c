/*
 * dns_cache.c - entries in buckets by a keyed hash, and in one queue by use.
 *
 * Flow:   see dns_cache.h.
 * Keeps:  see dns_cache.h.
 */
#include "control/dns_cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "dataplane/base/bug.h"

struct entry {
	LIST_ENTRY(entry) hash_link;
	TAILQ_ENTRY(entry) link; /* oldest use first */
	struct dns_cached known;
};

struct dns_cache {
	struct siphash_key key;
	uint32_t max, n, n_buckets;
	TAILQ_HEAD(entry_list, entry) used;
	LIST_HEAD(, entry) bucket[];
};

struct dns_cache *
dns_cache_create(uint32_t entries_max, const struct siphash_key *key)
{
	const uint32_t n_buckets = MAX(entries_max, 64u);
	struct dns_cache *c = calloc(1, sizeof(*c) + n_buckets * sizeof(c->bucket[0]));

	if (c == NULL)
		return NULL;
	c->key = *key;
	c->max = entries_max;
	c->n_buckets = n_buckets;
	TAILQ_INIT(&c->used);
	return c;
}

void
dns_cache_destroy(struct dns_cache *c)
{
	if (c != NULL)
		dns_cache_flush(c);
	free(c);
}

static uint32_t
bucket_of(const struct dns_cache *c, const struct subject *s)
{
	return (uint32_t)(subject_hash(s, &c->key) % c->n_buckets);
}

static void
entry_drop(struct dns_cache *c, struct entry *e)
{
	LIST_REMOVE(e, hash_link);
	TAILQ_REMOVE(&c->used, e, link);
	free(e);
	c->n--;
}

static bool
entry_is(const struct entry *e, const struct subject *s)
{
	if (e->known.kind != s->kind)
		return false;
	return s->kind == ZONE_KIND_CLIENT ? ip_addr_equal(&e->known.client, &s->client)
	                                   : strcmp(e->known.text, s->name) == 0;
}

static struct entry *
entry_find(const struct dns_cache *c, const struct subject *s)
{
	struct entry *e;

	LIST_FOREACH (e, &c->bucket[bucket_of(c, s)], hash_link)
		if (entry_is(e, s))
			return e;
	return NULL;
}

const struct dns_cached *
dns_cache_find(struct dns_cache *c, const struct subject *s, uint64_t now_us)
{
	struct entry *e = entry_find(c, s);

	if (e == NULL || e->known.until_us <= now_us)
		return NULL;
	TAILQ_REMOVE(&c->used, e, link);
	TAILQ_INSERT_TAIL(&c->used, e, link);
	return &e->known;
}

const struct dns_cached *
dns_cache_last(const struct dns_cache *c, const struct subject *s)
{
	const struct entry *e = entry_find(c, s);

	return e != NULL ? &e->known : NULL;
}

void
dns_cache_put(struct dns_cache *c, const struct subject *s, const struct resolver_result *result, uint64_t now_us)
{
	struct entry *e = entry_find(c, s);

	if (e == NULL) {
		if (c->n >= c->max && !TAILQ_EMPTY(&c->used))
			entry_drop(c, TAILQ_FIRST(&c->used));
		e = calloc(1, sizeof(*e));
		if (e == NULL)
			return;
		e->known.kind = s->kind;
		e->known.client = s->client;
		memcpy(e->known.text, s->name, sizeof(e->known.text));
		LIST_INSERT_HEAD(&c->bucket[bucket_of(c, s)], e, hash_link);
		c->n++;
	} else {
		TAILQ_REMOVE(&c->used, e, link);
	}
	TAILQ_INSERT_TAIL(&c->used, e, link);
	e->known.put_us = now_us;
	e->known.until_us = now_us + (uint64_t)result->ttl_s * 1000000;
	e->known.verdict = result->verdict;
	e->known.ttl_s = result->ttl_s;
	e->known.complete = result->complete;
	e->known.decisive = result->decisive;
	if (s->kind == ZONE_KIND_CLIENT)
		memcpy(e->known.text, result->ptr, sizeof(e->known.text));
}

bool
dns_cache_drop(struct dns_cache *c, const struct subject *s)
{
	struct entry *e = entry_find(c, s);

	if (e != NULL)
		entry_drop(c, e);
	return e != NULL;
}

void
dns_cache_flush(struct dns_cache *c)
{
	while (!TAILQ_EMPTY(&c->used))
		entry_drop(c, TAILQ_FIRST(&c->used));
}

uint32_t
dns_cache_n(const struct dns_cache *c)
{
	return c->n;
}

void
dns_cache_each(const struct dns_cache *c, uint64_t now_us, uint32_t max,
	void (*fn)(void *arg, const struct dns_cached *e), void *arg)
{
	const struct entry *e;

	TAILQ_FOREACH_REVERSE(e, &c->used, entry_list, link)
	{
		if (e->known.until_us <= now_us)
			continue;
		if (max-- == 0)
			return;
		fn(arg, &e->known);
	}
}
