/*
 * session_rest.h - a session at rest: what is kept of it beside its connection's record. Internal to worker.
 *
 * What every one has is in struct session_rest; names, a begun line and what only some have are pieces of octets behind it, as many as fit, and
 * go on in units.
 *
 * Keeps:  static_asserts hold what one costs: see SESSION_REST_OCTETS.
 */
#ifndef GREYLINE_WORKER_SESSION_REST_H
#define GREYLINE_WORKER_SESSION_REST_H

#include "dataplane/base/verdict.h"
#include "dataplane/base/wheel.h"
#include "dataplane/smtp/smtp_rest.h"
#include "dataplane/tcp/tcp_rest.h"

/* A record with its connection: four cache lines. */
#define SESSION_REST_RECORD_OCTETS 256
#define SESSION_REST_USER_OCTETS   (SESSION_REST_RECORD_OCTETS - sizeof(struct tcp_rest))
/* What one session at rest costs in all: record, slot, its place in the table of connections, its mark for the next life, its two cells of the
 * limits. What does not fit the record takes 64 octets for each 56 beyond. */
#define SESSION_REST_OCTETS_MAX 512

/* Texts that do not fit the record go on in units, each naming the next. */
struct session_text {
	uint32_t pool_link; /* struct pool's, while it is free */
	uint32_t next;      /* POOL_NONE: the last */
	char octets[56];
};

struct session_rest {
	struct wheel_node timer;
	uint64_t number, accepted_us;
	struct smtp_rest smtp;
	uint32_t verdict_due_after_us, asked_after_us; /* after accepted_us */
	uint32_t dns_ms, held_us;
	struct client_verdict verdict;
	uint32_t more;        /* a unit of texts; POOL_NONE: none */
	uint16_t text_octets; /* of all texts, see session_rest.c */
	bool good : 1, dns_asked : 1, name_asked : 1;
	bool counted_address : 1, counted_network : 1, stranger : 1;
	uint8_t tls_hide : 2; /* enum tls_hide */
	uint8_t wait : 4;     /* enum session_wait */
	bool tls_implicit : 1;
	bool proxied : 1, past : 1, streamed : 1; /* which parts there are, see session_rest.c */
	char text[];
};

#define SESSION_REST_TEXT_OCTETS (SESSION_REST_USER_OCTETS - offsetof(struct session_rest, text))

#endif
