/*
 * findings.h - what DNS has said so far about one subject (a client's address, a HELO name, a sender's domain), and what that comes to.
 *
 * Flow:   resolver.c: answers -> findings_*() -> findings_result() -> waiters, cache, table
 * Pure:   no clock, no I/O, no allocation; answers come in.
 * Keeps:  a temporary error is never absence and never a listing; a zone counts only while it has proven itself; only names that resolve
 *         back to the address count; an allowlist that says nothing gives the client the benefit of what it might have said.
 * Source: POLICY section 4; PITFALLS 40, 41, 46.
 */
#ifndef GREYLINE_CONTROL_FINDINGS_H
#define GREYLINE_CONTROL_FINDINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "control/zone.h"
#include "control/zone_health.h"
#include "dataplane/base/siphash.h"
#include "dataplane/base/verdict.h"

#define RESOLVER_PTR_NAMES_MAX 8 /* names of one client that are looked up forward */
#define RESOLVER_TTL_MIN_S     30
#define RESOLVER_TTL_MAX_S     3600
#define RESOLVER_TTL_ERROR_S   30

/* ZONE_UNASKED: disabled, not of this kind or family, left alone for now. counts is apart: a zone in quarantine may list and not count. */
enum zone_state { ZONE_UNASKED, ZONE_CLEAR, ZONE_LISTED, ZONE_ERROR };

struct resolver_zone_result {
	uint8_t state; /* enum zone_state */
	bool counts;   /* the zone has proven itself */
	bool pending;  /* asked, not answered yet */
	int16_t weight;
	uint16_t dns_ms;
	uint8_t n_addrs;
	struct ip_addr addr[4];
};

/* Which address of a resolver a zone sees, of the zones that tell it (config_zone.whoami). */
struct resolver_seen {
	uint32_t zone, server; /* indices */
	struct ip_addr addr;
};

struct resolver_result {
	struct client_verdict verdict; /* of a name: score and zone alone */
	bool decisive;                 /* a decisive zone listed it */
	bool complete;                 /* every question got an answer that says something */
	bool cached;
	uint32_t ttl_s; /* of all of it, within bounds */
	uint32_t dns_ms;
	const struct resolver_seen *seen; /* of a whole result; lent while the callback runs */
	uint32_t n_seen;
	char ptr[256]; /* the confirmed name, else the first; "" without; printable ASCII */
	uint32_t n_zones;
	struct resolver_zone_result zone[CONF_ZONES_MAX]; /* not of a cached result: n_zones is 0 then */
};

/* Who or what is asked about. */
struct subject {
	enum conf_zone_kind kind;
	struct ip_addr client;      /* of ZONE_KIND_CLIENT */
	char name[DNS_NAME_OCTETS]; /* of the other kinds: lower case, without final dot */
};

bool subject_equal(const struct subject *a, const struct subject *b);
uint64_t subject_hash(const struct subject *s, const struct siphash_key *key);

/* What a configuration and the standings of its zones say about judging; all borrowed. */
struct findings_rules {
	const struct config_zone *zone;
	const struct zone_health *health;
	uint32_t n_zones;
	const void *allow_names, *deny_names, *big_senders; /* name_set, NULL: none */
	const struct conf *conf;
	bool zones_off; /* no resolver is honest */
};

struct findings {
	struct subject subject;
	uint32_t pending, answered; /* questions out; those that got an answer that says something */
	bool ptr_done, ptr_temperr, forward_temperr, more_names;
	bool have_ttl, error;
	bool good;  /* of a client in good standing: what lists it is looked at */
	bool whole; /* nothing is left out because it could not matter, zones in quarantine are asked: `dnsbl test` */
	uint32_t ttl_s;
	uint32_t n_names, n_forward;
	char name[RESOLVER_PTR_NAMES_MAX][DNS_NAME_OCTETS];
	bool confirmed[RESOLVER_PTR_NAMES_MAX];
	struct resolver_seen *seen; /* room for seen_max; NULL: nobody wants to know */
	uint32_t n_seen, seen_max;
	enum ptr_state ptr_none; /* PTR_NONE or PTR_UNCONFIRMED when there was no usable name */
	struct resolver_zone_result zone[CONF_ZONES_MAX];
};

/* The family by which a zone's standing is looked up; names have but one. */
enum zone_family subject_family(const struct subject *s);

/* An answer to the PTR question. Then names 0 to n_names are there; those findings_name_is_askable() are to be asked for, forward. */
void findings_ptr(struct findings *f, const struct dns_answer *a);
bool findings_name_is_askable(const struct findings *f, uint32_t index);
void findings_forward(struct findings *f, uint32_t index, const struct dns_answer *a);
/* An answer of a zone after ms; what it says is given back for the zone's own figures. Not for DNS_TEMPERR. */
struct zone_weight findings_zone(
	struct findings *f, const struct config_zone *zone, uint32_t index, const struct dns_answer *a, uint64_t ms);
/* The zone did not answer, or was not asked because it is too busy. */
void findings_zone_failed(struct findings *f, uint32_t index, uint64_t ms);

/* An answer to a zone's whoami name by a resolver: an A record outside 127.0.0.0/8, or an address in a text. */
void findings_whoami(struct findings *f, uint32_t zone, uint32_t server, const struct dns_answer *a);

/* All that is known by now. dns_ms is the caller's. */
void findings_result(const struct findings *f, const struct findings_rules *rules, struct resolver_result *out);
/* Whether what is still missing could not change the outcome. result: of now. */
bool findings_decided(
	const struct findings *f, const struct findings_rules *rules, const struct resolver_result *result);

#endif
