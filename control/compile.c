/*
 * compile.c - builds the sections of a snapshot.
 *
 * Flow:   see compile.h.
 * Touches: the snapshot file alone, through snapshot_write().
 * Keeps:  the operator's entries come before the file's, so that of equal networks his stays.
 */
#include "control/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/siphash.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/table/name_set.h"

#define DOMAIN_NO_POOL 0xffffu

static void *
section_room(size_t octets)
{
	void *p = aligned_alloc(64, (octets + 63) & ~(size_t)63);

	BUG_ON(p == NULL);
	memset(p, 0, (octets + 63) & ~(size_t)63);
	return p;
}

static struct snapshot_part
prefix_part(const struct prefix_entry *a, uint32_t n_a, const struct prefix_entry *b, uint32_t n_b, uint64_t seed)
{
	struct snapshot_part part = { 0 };
	struct prefix_entry *all;
	size_t room;
	void *out;

	if (n_a + n_b == 0)
		return part;
	all = calloc((size_t)n_a + n_b, sizeof(*all));
	BUG_ON(all == NULL);
	if (n_a > 0)
		memcpy(all, a, n_a * sizeof(*all));
	if (n_b > 0)
		memcpy(all + n_a, b, n_b * sizeof(*all));
	room = prefix_table_octets(n_a + n_b);
	out = section_room(room);
	part.octets = prefix_table_build(out, room, all, n_a + n_b, seed);
	BUG_ON(part.octets == 0);
	part.data = out;
	free(all);
	return part;
}

static struct snapshot_part
names_part(const struct name_set_entry *entries, uint32_t n, uint64_t seed)
{
	struct snapshot_part part = { 0 };
	size_t room;
	void *out;

	if (n == 0)
		return part;
	room = name_set_octets(entries, n);
	out = section_room(room);
	part.octets = name_set_build(out, room, entries, n, seed);
	BUG_ON(part.octets == 0);
	part.data = out;
	return part;
}

static struct snapshot_part
texts_part(const struct config_texts *t, uint64_t seed)
{
	struct name_set_entry *e = calloc(t->n > 0 ? t->n : 1, sizeof(*e));
	struct snapshot_part part;

	BUG_ON(e == NULL);
	for (uint32_t i = 0; i < t->n; i++)
		e[i] = (struct name_set_entry){
			.name = t->v[i].text, .len_octets = (uint32_t)strlen(t->v[i].text), .value = i + 1
		};
	part = names_part(e, t->n, seed);
	free(e);
	return part;
}

/* --- domains: one set whose value says which listeners take the name and to which pool it goes */

struct domain {
	const char *name;
	uint32_t own_listeners; /* that list this very name */
	uint32_t own_pool;      /* that lists it, DOMAIN_NO_POOL for none */
};

struct domains {
	struct domain *v;
	uint32_t n, n_slots;
	uint32_t *slot; /* index + 1; open addressing */
	struct siphash_key key;
};

/* The domain of that name, made when there is none and make is set. */
static struct domain *
domain_at(struct domains *d, const char *name, bool make)
{
	char folded[256];
	uint32_t at;
	size_t n = 0;

	while (name[n] != '\0' && n < sizeof(folded) - 1) {
		folded[n] = (char)(name[n] >= 'A' && name[n] <= 'Z' ? name[n] + 32 : name[n]);
		n++;
	}
	at = (uint32_t)(siphash(&d->key, folded, n) % d->n_slots);
	while (d->slot[at] != 0) {
		if (strcasecmp(d->v[d->slot[at] - 1].name, name) == 0)
			return &d->v[d->slot[at] - 1];
		at = (at + 1) % d->n_slots;
	}
	if (!make)
		return NULL;
	d->v[d->n] = (struct domain){ .name = name, .own_pool = DOMAIN_NO_POOL };
	d->slot[at] = ++d->n;
	return &d->v[d->n - 1];
}

/*
 * A lookup takes the most specific name alone, so each name carries what the wider ones say as well: "a.example.org" is also taken by a
 * listener that lists ".example.org" or "*", and goes to the pool of the closest name that has one.
 */
static uint64_t
domain_value(struct domains *d, const struct domain *of)
{
	uint32_t listeners = of->own_listeners, pool = of->own_pool;
	const char *name = of->name;
	struct domain *wider;
	char with_dot[258];

	if (name[0] != '.' && strcmp(name, "*") != 0 && strlen(name) < sizeof(with_dot) - 1) {
		snprintf(with_dot, sizeof(with_dot), ".%s", name); /* ".x" holds x itself */
		wider = domain_at(d, with_dot, false);
		if (wider != NULL) {
			listeners |= wider->own_listeners;
			pool = pool == DOMAIN_NO_POOL ? wider->own_pool : pool;
		}
	}
	for (const char *dot = strchr(name + (name[0] == '.'), '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
		wider = domain_at(d, dot, false);
		if (wider != NULL) {
			listeners |= wider->own_listeners;
			pool = pool == DOMAIN_NO_POOL ? wider->own_pool : pool;
		}
	}
	wider = domain_at(d, "*", false);
	if (wider != NULL) {
		listeners |= wider->own_listeners;
		pool = pool == DOMAIN_NO_POOL ? wider->own_pool : pool;
	}
	return (uint64_t)pool << 32 | listeners;
}

static struct snapshot_part
domains_part(const struct config *c, uint64_t seed)
{
	struct domains d = { .key = { seed, ~seed } };
	struct name_set_entry *e;
	struct snapshot_part part;
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->n_listeners; i++)
		n += c->listener_domains[i].n;
	for (uint32_t i = 0; i < c->n_pools; i++)
		n += c->pool_domains[i].n;
	d.v = calloc(n + 1, sizeof(*d.v));
	d.n_slots = 2 * n + 16;
	d.slot = calloc(d.n_slots, sizeof(*d.slot));
	e = calloc(n + 1, sizeof(*e));
	BUG_ON(d.v == NULL || d.slot == NULL || e == NULL);
	for (uint32_t i = 0; i < c->n_listeners; i++)
		for (uint32_t k = 0; k < c->listener_domains[i].n; k++)
			domain_at(&d, c->listener_domains[i].v[k].text, true)->own_listeners |= UINT32_C(1) << i;
	for (uint32_t i = 0; i < c->n_pools; i++)
		for (uint32_t k = 0; k < c->pool_domains[i].n; k++) {
			struct domain *at = domain_at(&d, c->pool_domains[i].v[k].text, true);

			if (at->own_pool == DOMAIN_NO_POOL)
				at->own_pool = i;
		}
	for (uint32_t i = 0; i < d.n; i++)
		e[i] = (struct name_set_entry){ .name = d.v[i].name,
			.len_octets = (uint32_t)strlen(d.v[i].name),
			.value = domain_value(&d, &d.v[i]) };
	part = names_part(e, d.n, seed);
	free(e);
	free(d.v);
	free(d.slot);
	return part;
}

/* --- the arguments of the EAL */

/* Whether the file's own arguments name the option, as "-m" "512", "-m512" or "--opt=". */
static bool
eal_has(const struct config_texts *t, const char *option)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (strncmp(t->v[i].text, option, strlen(option)) == 0)
			return true;
	return false;
}

static void
eal_add(char **at, const char *end, const char *text)
{
	size_t n = strlen(text) + 1;

	BUG_ON(*at + n > end);
	memcpy(*at, text, n);
	*at += n;
}

static struct snapshot_part
eal_part(const struct config *c)
{
	const struct config_texts *t = &c->list[LIST_EAL];
	size_t room = 512 + sizeof(c->values.lcores);
	char number[16], *out, *at;

	for (uint32_t i = 0; i < t->n; i++)
		room += strlen(t->v[i].text) + 1;
	out = at = section_room(room);
	if (c->values.lcores[0] != '\0' && !eal_has(t, "--lcores") && !eal_has(t, "-l") && !eal_has(t, "-c")) {
		eal_add(&at, out + room, "--lcores");
		eal_add(&at, out + room, c->values.lcores);
	}
	if (!eal_has(t, "-m") && !eal_has(t, "--socket-mem")) {
		snprintf(number, sizeof(number), "%u", c->values.conf.memory_mb);
		eal_add(&at, out + room, "-m");
		eal_add(&at, out + room, number);
	}
	for (uint32_t i = 0; i < t->n; i++)
		eal_add(&at, out + room, t->v[i].text);
	return (struct snapshot_part){ .data = out, .octets = (size_t)(at - out) };
}

/* The most that all zones of a kind could say together. */
static int32_t
names_weight_max(const struct config *c, enum conf_zone_kind kind)
{
	int32_t sum = 0;

	for (uint32_t i = 0; i < c->n_zones; i++)
		if (c->zone[i].kind == kind)
			sum += MAX(dnsbl_zone_weight_max(&c->zone[i].spec), 0);
	return MIN(sum, DNSBL_SCORE_MAX);
}

int
compile_snapshot(const struct config *c, const struct compile_extra *extra, const char *segment_path, const char *path,
	uint64_t generation)
{
	struct snapshot_part part[SNAPSHOT_SECTION_N] = { 0 };
	struct conf_zone zones[CONF_ZONES_MAX];
	struct conf conf;
	const uint64_t seed = extra->seed;
	static const enum snapshot_section owned[] = { SNAPSHOT_EAL_ARGS, SNAPSHOT_DOMAINS, SNAPSHOT_CLIENT_ALLOW,
		SNAPSHOT_CLIENT_DENY, SNAPSHOT_SENDER_ALLOW, SNAPSHOT_SENDER_DENY, SNAPSHOT_RCPT_ALLOW,
		SNAPSHOT_RCPT_DENY, SNAPSHOT_RCPT_NO_GREY, SNAPSHOT_TRAPS };
	int error;

	memset(zones, 0, sizeof(zones));
	for (uint32_t i = 0; i < c->n_zones; i++) {
		memcpy(zones[i].name, c->zone[i].name, sizeof(zones[i].name));
		zones[i].kind = (uint8_t)c->zone[i].kind;
	}
	conf = c->values.conf;
	conf.dns_off = c->list[LIST_RESOLVERS].n == 0;
	conf.helo_weight_max = conf.dns_off ? 0 : names_weight_max(c, ZONE_KIND_HELO);
	conf.sender_weight_max = conf.dns_off ? 0 : names_weight_max(c, ZONE_KIND_SENDER);
	conf.has_allowed_names = c->list[LIST_CLIENT_ALLOW_NAMES].n > 0;
	part[SNAPSHOT_CONF] = (struct snapshot_part){ &conf, sizeof(conf) };
	part[SNAPSHOT_PORTS] = (struct snapshot_part){ c->port, c->n_ports * sizeof(c->port[0]) };
	part[SNAPSHOT_LISTENERS] = (struct snapshot_part){ c->listener, c->n_listeners * sizeof(c->listener[0]) };
	part[SNAPSHOT_POOLS] = (struct snapshot_part){ c->pool, c->n_pools * sizeof(c->pool[0]) };
	part[SNAPSHOT_BACKENDS] = (struct snapshot_part){ c->backend, c->n_backends * sizeof(c->backend[0]) };
	part[SNAPSHOT_ZONES] = (struct snapshot_part){ zones, c->n_zones * sizeof(zones[0]) };
	part[SNAPSHOT_EAL_ARGS] = eal_part(c);
	part[SNAPSHOT_SEGMENT_PATH] = (struct snapshot_part){ segment_path, strlen(segment_path) + 1 };
	part[SNAPSHOT_DOMAINS] = domains_part(c, seed);
	part[SNAPSHOT_CLIENT_ALLOW] =
		prefix_part(extra->allow, extra->n_allow, c->client_allow.v, c->client_allow.n, seed);
	part[SNAPSHOT_CLIENT_DENY] = prefix_part(extra->deny, extra->n_deny, c->client_deny.v, c->client_deny.n, seed);
	part[SNAPSHOT_SENDER_ALLOW] = texts_part(&c->list[LIST_SENDER_ALLOW], seed);
	part[SNAPSHOT_SENDER_DENY] = texts_part(&c->list[LIST_SENDER_DENY], seed);
	part[SNAPSHOT_RCPT_ALLOW] = texts_part(&c->list[LIST_RCPT_ALLOW], seed);
	part[SNAPSHOT_RCPT_DENY] = texts_part(&c->list[LIST_RCPT_DENY], seed);
	part[SNAPSHOT_RCPT_NO_GREY] = texts_part(&c->list[LIST_RCPT_NO_GREY], seed);
	part[SNAPSHOT_TRAPS] = texts_part(&c->list[LIST_TRAPS], seed);
	part[SNAPSHOT_CA] = (struct snapshot_part){ c->ca, c->ca_octets };
	error = snapshot_write(path, generation, part);
	for (size_t i = 0; i < ARRAY_LEN(owned); i++)
		free((void *)(uintptr_t)part[owned[i]].data);
	return error;
}
