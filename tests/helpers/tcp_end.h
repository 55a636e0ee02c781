/*
 * tcp_end.h - one TCP endpoint under test with its pool and counters, and segments as octets between endpoints and tests.
 *
 * Keeps:  tcp_end_fini() fails the test when a buffer or a connection is left.
 */
#ifndef GREYLINE_TESTS_HELPERS_TCP_END_H
#define GREYLINE_TESTS_HELPERS_TCP_END_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/buf.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/tcp/tcp_wire.h"

#define WIRE_SEG_MAX_OCTETS 9216

struct tcp_end {
	struct tcp *tcp;
	struct buf_pool *pool;
	struct counters counters;
	uint64_t now_us;
};

/* A segment as it would lie on the wire, without IP. flow as its sender sees it. */
struct wire_seg {
	struct flow flow;
	uint32_t len_octets;
	uint8_t octets[WIRE_SEG_MAX_OCTETS];
};

struct tcp_conf tcp_end_conf(void); /* defaults: a test changes what matters */
void tcp_end_init(struct tcp_end *e, const struct tcp_conf *conf, uint32_t n_bufs, uint64_t now_us);
/* Destroys it; every buffer must be back, and no connection in use if none may be. */
void tcp_end_fini(struct tcp_end *e);

/* The next segment e sends at its now_us; false: none. */
bool tcp_end_output(struct tcp_end *e, struct wire_seg *out);
/* Gives w, as sent by the other side, to e. checksum_good as given. */
void tcp_end_input(struct tcp_end *e, const struct wire_seg *w, bool checksum_good);

uint64_t tcp_end_count(const struct tcp_end *e, enum counter which);

/* Sets the checksum of w (its flow as the sender sees it). */
void wire_seg_checksum(struct wire_seg *w);
/* Builds a segment of flow (sender's view) from h, payload included. */
void wire_seg_build(struct wire_seg *w, const struct flow *flow, const struct tcp_hdr *h);
struct flow flow_reverse(const struct flow *f);

/* A small generator of random numbers, so that a seed replays on every machine. */
uint64_t rng_next(uint64_t *state);
/* Whether an event of the given parts per thousand happens. */
bool rng_chance(uint64_t *state, uint32_t per_mille);

#endif
