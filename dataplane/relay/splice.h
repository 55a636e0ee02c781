/*
 * splice.h - two connections handing octets to each other: how many may move which way, and when to end.
 *
 * Flow:   worker: splice_init -> tcp_connect -> splice_connected -> (splice_output, splice_room, splice_moved,
 *         splice_acked, splice_next ...)
 * Pure:   numbers and time; views move from one connection to the other in the worker, without a copy and without
 *         being looked at.
 * Keeps:  the PROXY header is the first of what the backend gets; at most SPLICE_FLIGHT_MAX_OCTETS of each way are
 *         handed over and not acknowledged; an end of one way goes on as an end, and only after its last octet; each
 *         side is shut once.
 * Source: POLICY section 1 (submission listeners), DESIGN section 2; RFC 9293 section 3.6 (half-close).
 */
#ifndef GREYLINE_RELAY_SPLICE_H
#define GREYLINE_RELAY_SPLICE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/smtp/proxy_header.h"

#define SPLICE_FLIGHT_MAX_OCTETS 65536     /* of each way */
#define SPLICE_IDLE_US           660000000 /* no octet either way; beyond the 600 s for a message's answer (RFC 1047) */
#define SPLICE_HALF_IDLE_US      60000000  /* the same after the backend has ended */
#define SPLICE_STALL_US          120000000 /* octets of a way in flight and none acknowledged */

/* What a client on a plain port may be told when no backend took it and no octet was passed: an MTA's own words for
 * that. */
#define SPLICE_UNAVAILABLE_REPLY "421 4.3.2 Mail server temporarily unavailable\r\n"

/* The way octets go. */
enum splice_way { SPLICE_TO_BACKEND, SPLICE_TO_CLIENT, SPLICE_WAYS };

enum splice_state {
#define SPLICE_STATES(X)                                                                                               \
	X(CONNECTING) /* the backend does not answer yet; nothing is read from the client */                           \
	X(OPEN)       /* both ways */                                                                                  \
	X(HALF)       /* one way has ended and was shut, the other goes on */                                          \
	X(DONE)
#define X(name) SPLICE_ST_##name,
	SPLICE_STATES(X)
#undef X
};

enum splice_action {
	SPLICE_ACTION_NONE,
	SPLICE_ACTION_SHUT_BACKEND, /* the client's last octet was handed over: shut the backend's connection (FIN) */
	SPLICE_ACTION_SHUT_CLIENT,
	/* No backend before an octet was passed: try another, or say SPLICE_UNAVAILABLE_REPLY; then close. */
	SPLICE_ACTION_UNAVAILABLE,
	SPLICE_ACTION_DONE,  /* both ways ended in order: forget the splice */
	SPLICE_ACTION_ABORT, /* reset both connections: a side was reset, or a time limit passed */
};

enum splice_end {
	SPLICE_END_NONE,
	SPLICE_END_ORDERLY,
	SPLICE_END_RESET,
	SPLICE_END_IDLE,
	SPLICE_END_STALL,
	SPLICE_END_CONNECT
};

struct splice_limits { /* 0: the default */
	uint32_t connect_ms;
	uint32_t idle_s, half_idle_s;
	uint32_t flight_octets; /* at most SPLICE_FLIGHT_MAX_OCTETS */
};

struct splice; /* struct is in splice_impl.h for who embeds it */

uint32_t splice_octets(void);
/* Borrows all; limits may be NULL (all defaults); counters may be NULL, else outlive the splice. */
void splice_init(struct splice *s, const struct conf_backend *backend, const struct proxy_addrs *addrs,
	const struct splice_limits *limits, struct counters *counters, uint64_t now_us);

void splice_connected(struct splice *s, uint64_t now_us);
/* A connection is gone: reset, refused, timed out. */
void splice_lost(struct splice *s, enum splice_way giver_of, uint64_t now_us);

/* The PROXY header, at most n octets; it goes to the backend before any octet of the client. Returns how many. */
uint32_t splice_output(struct splice *s, uint8_t *out, uint32_t n);

/* How many of the available octets that the giver sent may be handed to the taker now, whose connection takes
 * room_octets. */
uint32_t splice_room(const struct splice *s, enum splice_way way, uint32_t available_octets, uint32_t room_octets);
/* So many were handed over. last: they were all there was before the giver's FIN; a FIN alone is 0 octets and last.
 * May be told again. */
void splice_moved(struct splice *s, enum splice_way way, uint32_t octets, bool last, uint64_t now_us);
/* The taker acknowledged so many of this way in all since the last call. */
void splice_acked(struct splice *s, enum splice_way way, uint32_t octets, uint64_t now_us);
/* What may be offered as a window to the giver of this way: what the taker can still take. */
uint32_t splice_window(const struct splice *s, enum splice_way way);

/* What to do next; each is given once. Call with nothing changed but the time to run time limits. */
enum splice_action splice_next(struct splice *s, uint64_t now_us);
uint64_t splice_deadline_us(const struct splice *s);

enum splice_state splice_state(const struct splice *s);
enum splice_end splice_end(const struct splice *s);
const char *splice_end_name(enum splice_end end); /* for the session's log line */
uint64_t splice_octets_moved(const struct splice *s, enum splice_way way);

#endif
