/*
 * worker.h - one lcore's loop: frames in, sessions, frames out.
 *
 * Flow:   port_io rx -> net -> tcp -> session (stream, smtp, policy, relay) -> tcp -> net -> port_io tx
 * Touches: the segment (table, rings, counters, backend states) and its port_io; nothing else. No EAL, no system call, no lock.
 * Keeps:  everything is allocated in worker_create(); a turn is bounded; the worker goes on without control.
 *
 * Time is microseconds of the boot clock (CLOCK_BOOTTIME): policy time is derived from it (link/segment.h).
 */
#ifndef GREYLINE_WORKER_WORKER_H
#define GREYLINE_WORKER_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/base/memory_list.h"
#include "dataplane/link/segment.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/net/flow.h"
#include "dataplane/port/port.h"
#include "dataplane/tls/stream.h"
#include "dataplane/tls/tls_context.h"

struct tcp_kept;
struct tcp_mark;
struct worker;

/* One for the process (or the simulation): what the workers of it share. Written by the main thread but for backend_suspect. */
struct worker_shared {
	struct flow_steering steering;
	uint32_t n_workers;
	_Atomic(const struct snapshot *) snapshot;      /* published by the main thread, see worker_publish() */
	atomic_uint drain;                              /* 1: no new sessions, 421 to idle ones, messages finish */
	atomic_uint backend_suspect[CONF_BACKENDS_MAX]; /* a session failed on it: worker 0 probes soon */
};

struct worker_conf {
	uint32_t index; /* 0 to shared->n_workers - 1 */
	struct worker_shared *shared;
	struct port_io *io;
	struct segment *segment;                    /* attached; borrowed for life */
	struct stream *(*stream_create)(void *arg); /* of each client session; NULL: identity */
	void *stream_arg;
	struct tls_context *tls; /* this worker's own, borrowed for life; NULL: no TLS with anybody */
	/* worker_marks_octets() that outlive the process, aligned to 64, zeroed or as the last life of this worker left them: the peers of
	 * connections that are still marked there are told. NULL: none */
	struct tcp_mark *marks;
	struct tcp_kept *
		kept; /* outlives the process, one for all workers, after tcp_kept_begin(). NULL: timestamps and ports begin anew */
	uint8_t random[32]; /* fresh from the system (the simulator's seed there) */
	/* More of those, for the next key of SYN cookies: 0, or -1 when there are none now. Called seldom, after a burst was sent. NULL: the first
	 * key stays. */
	int (*entropy)(void *arg, void *out, size_t octets);
	void *entropy_arg;
};

/* Reads shared->snapshot for sizes and ports. NULL and a message in why when memory is short. */
struct worker *worker_create(const struct worker_conf *conf, uint64_t now_us, char *why, uint32_t why_octets);
void worker_destroy(struct worker *w);

/* One turn: a burst in, everything due, everything out. True when it did work. */
bool worker_turn(struct worker *w, uint64_t now_us);
/* The next time a turn is due without input; UINT64_MAX: none. */
uint64_t worker_deadline_us(const struct worker *w);

/* Main thread: publishes a snapshot to all workers; the old one may be unmapped when worker_generation() of each answers the new. */
void worker_publish(struct worker_shared *shared, const struct snapshot *snapshot);
uint64_t worker_generation(const struct worker *w);

/* Sessions open; after drain was set, the process may end when all are 0 (or conf.drain_s has passed). */
uint32_t worker_sessions(const struct worker *w);

/* Of the marks of one worker. */
uint64_t worker_marks_octets(const struct conf *conf);

/* What a worker takes at most, pool by pool, for the bounds printed at start; buffers apart. */
void worker_memory(const struct worker *w, struct memory_list *l);
struct worker_bounds {
	uint32_t sessions, busy_sessions;  /* that may be open, of those that may be other than at rest */
	uint32_t busy_octets, rest_octets; /* of one; names beyond the record's room apart */
};
void worker_bounds(const struct conf *conf, struct worker_bounds *b);

#endif
