/*
 * client.h - a client's verdict: how it lies in a table entry, how long it counts, what it does.
 *
 * Pure:   no clock, no I/O, no allocation.
 * Source: POLICY section 4.
 *
 * The verdict in a vt_entry of kind VT_CLIENT:
 *
 *   time_s      policy time of the answer
 *   aux         bits 0 to 10: score + 1024; bits 11 to 15: the zone's lower 5 bits
 *   flags       bits 0 to 2: enum ptr_state; bits 3 and 4: the name list; bits 5 and 6: the zone's upper 2 bits; bit 7: zero
 *   kind_state  VT_CLIENT << 4
 *
 * The zone has 7 bits: 0 to 63 an index (CONF_ZONES_MAX), 127 none.
 */
#ifndef GREYLINE_POLICY_CLIENT_H
#define GREYLINE_POLICY_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/base/verdict.h"
#include "dataplane/table/verdict_table.h"

#define CLIENT_SCORE_MAX 999
/* A good verdict may be used, while it is asked for anew, for so many times its freshness; a bad one only while it is fresh. */
#define CLIENT_USABLE_FACTOR 4
/* A verdict with a temporary error of reverse DNS is fresh only so long. */
#define CLIENT_TEMPERR_S 60

struct vt_entry client_store(const struct client_verdict *v, uint64_t tag, uint32_t now_s);
struct client_verdict client_load(const struct vt_entry *e);

/* A listing that ends the automatic allow and keeps a message from counting for it. */
bool client_has_hit(const struct client_verdict *v);

/*
 * The verdict with what lists say of the client's names added. A HELO name alone never reaches the threshold of refusal (POLICY section 4;
 * RFC 5321 section 4.1.4) unless a decisive zone listed it. Names that are listed make a verdict of one that is not known.
 */
struct client_verdict client_add_names(
	const struct conf *conf, const struct client_verdict *v, const struct name_verdict *names);

struct client_judgement {
	enum client_effect effect; /* the strongest of all tests */
	const char *word;          /* constant word of the test that has it, "" for none: "dnsbl", "no-ptr", ... */
	const char *reason;        /* for the reply; of a zone NULL: its public name */
};

/* What a known verdict does. A threshold of 0 or less is off. */
struct client_judgement client_judge(const struct conf *conf, const struct client_verdict *v);
/* Whether any verdict at all could have an effect of min or more. */
bool client_judge_may(const struct conf *conf, uint32_t n_zones, enum client_effect min);

enum client_age { CLIENT_AGE_FRESH, CLIENT_AGE_USABLE, CLIENT_AGE_STALE };
enum client_age client_age(const struct conf *conf, const struct client_verdict *v, uint32_t now_s);

#endif
