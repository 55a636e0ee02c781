/*
 * autoallow.h - the automatic allow of a client network that has shown, over days and sender domains, to send mail that is wanted.
 *
 * Pure:   the transitions; autoallow_*() of a policy_ctx read and write the table.
 * Keeps:  at most one message counted an hour and one for each sender domain; five refused in a row, a DNSBL hit or a trap lose it.
 * Source: POLICY section 3.
 *
 * A vt_entry of kind VT_AUTO (key: client network):
 *
 *   time_s      the last message counted or, once allowed, the last hour in which one was delivered
 *   aux         low 8 bits: messages counted; high 8 bits: WHITE triplets of the network, 255 is 255 or more (for traps)
 *   flags       bits 0 to 3: messages refused in a row; bits 4 to 7: generation, raised at each loss
 *
 * and of kind VT_SENDER_DOMAIN (key: client network, sender domain): time_s when it was counted, aux the generation it counted for. A
 * loss raises the generation, so that the domains count anew.
 */
#ifndef GREYLINE_POLICY_AUTOALLOW_H
#define GREYLINE_POLICY_AUTOALLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/policy/policy.h"

#define AUTOALLOW_INTERVAL_S  3600
#define AUTOALLOW_REFUSED_MAX 5

struct autoallow {
	uint32_t time_s;
	uint16_t count;
	uint8_t whites;     /* triplets that became WHITE, less those undone */
	uint8_t refused;    /* in a row, 0 to AUTOALLOW_REFUSED_MAX - 1 */
	uint8_t generation; /* modulo 16 */
};

struct autoallow autoallow_load(const struct vt_entry *e);
struct vt_entry autoallow_store(const struct autoallow *a, uint64_t tag);

/* Whether the record allows at now_s; conf->grey_auto_after 0 is off. */
bool autoallow_holds(const struct conf *conf, const struct autoallow *a, uint32_t now_s);
/* A delivered message: what it may do to the record. DOMAIN: it counts if its sender domain was not counted in this generation. */
enum autoallow_step { AUTOALLOW_NOTHING, AUTOALLOW_RENEW, AUTOALLOW_DOMAIN };
enum autoallow_step autoallow_delivered(const struct conf *conf, const struct autoallow *a, uint32_t now_s);
/* A refused message; true: the record is lost by it (and was reset). */
bool autoallow_refused(struct autoallow *a, uint32_t now_s);
void autoallow_reset(struct autoallow *a, uint32_t now_s);

/* On the table. tag: policy_auto_tag(). */
bool autoallow_check(const struct policy_ctx *ctx, uint64_t tag, uint32_t now_s, bool dry, uint16_t *count);
/* A triplet of the network became WHITE, or (undone) is none any more. */
void autoallow_white(const struct policy_ctx *ctx, const struct ip_addr *network, bool undone, uint32_t now_s);
/* How many are. */
uint8_t autoallow_whites(const struct policy_ctx *ctx, const struct ip_addr *network);
void autoallow_lose(const struct policy_ctx *ctx, const struct ip_addr *network, uint32_t now_s);
/* sender_domain: normalised. */
void autoallow_message(const struct policy_ctx *ctx, const struct ip_addr *network, const char *sender_domain,
	bool delivered, uint32_t now_s);

#endif
