/*
 * handshake.h - what is remembered of an address and TLS, for the option that hides STARTTLS (tls.hide_after_failures).
 *
 * Pure:   the transitions; policy_tls_*() read and write the table.
 * Keeps:  only the second failure within HANDSHAKE_MEMORY_S hides, for HANDSHAKE_HIDE_S, that one address; an address that completed a
 *         handshake within HANDSHAKE_GOOD_S is never hidden from. What cannot be read or written hides nothing.
 * Source: docs/tls.md, docs/security.md (why off, and what counts as failed).
 *
 * A vt_entry of kind VT_TLS (key: client address):
 *
 *   state GREY   aux failures counted: 1, or HANDSHAKE_FAILURES from when on it is hidden; time_s of the last one counted
 *   state WHITE  a handshake was completed; time_s when, at most HANDSHAKE_RENEW_S older than the last one
 */
#ifndef GREYLINE_POLICY_HANDSHAKE_H
#define GREYLINE_POLICY_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/table/verdict_table.h"

#define HANDSHAKE_FAILURES 2
#define HANDSHAKE_HIDE_S   600
#define HANDSHAKE_MEMORY_S 86400 /* a sender's queue asks again within hours: a failure older than a day says nothing */
#define HANDSHAKE_GOOD_S   (30u * 86400)
#define HANDSHAKE_RENEW_S  (12u * 3600) /* the record of a completed handshake is rewritten no oftener */

enum handshake_state {
	HANDSHAKE_NONE,   /* nothing that counts */
	HANDSHAKE_FAILED, /* once */
	HANDSHAKE_HIDDEN,
	HANDSHAKE_GOOD,
};

struct handshake {
	enum handshake_state state;
	uint32_t since_s, left_s; /* age of the record, and how long it still counts */
};

/* What a record says at now_s; of another kind, or too old: HANDSHAKE_NONE. */
struct handshake handshake_load(const struct vt_entry *e, uint32_t now_s);

/* The record after one more failed handshake. False: nothing changes (protected, or hidden already). Nothing at all: before->kind VT_FREE. */
bool handshake_failed(const struct vt_entry *before, uint64_t tag, uint32_t now_s, struct vt_entry *after);
/* After a completed one. False: the record says so, recently enough. */
bool handshake_done(const struct vt_entry *before, uint64_t tag, uint32_t now_s, struct vt_entry *after);

#endif
