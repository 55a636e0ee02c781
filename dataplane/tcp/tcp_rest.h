/*
 * tcp_rest.h - what a connection is while nothing happens on it: a record of a fraction of its block.
 *
 * Flow:   the layer above finds its session idle -> tcp_may_rest() -> tcp_rest();  a segment for it, or tcp_wake() -> a block again
 * Pure:   memory is taken at creation.
 * Keeps:  only a connection of ESTABLISHED rests, accepted from a peer, that has nothing queued, nothing unacknowledged, nothing unread, nothing
 *         beyond a gap and no timer; an ACK that was owed goes out first. It is in the table all the while, under the record's index behind
 *         those of the blocks, and its window stays charged to the budget. What is not in the record is what every such connection
 *         has, or a guess about the path that begins anew. Keepalive ends with rest: who asked for it asks again when he waits for others.
 */
#ifndef GREYLINE_TCP_TCP_REST_H
#define GREYLINE_TCP_TCP_REST_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/pool.h"
#include "dataplane/net/flow.h"

struct tcp;

struct tcp_rest {
	_Alignas(8) uint32_t pool_link; /* struct pool's, while it is free; of its block, once it is woken */
	uint32_t iss, irs;
	uint32_t snd_nxt; /* all before it is acknowledged */
	uint32_t snd_wnd, snd_wnd_max;
	uint32_t cwnd, ssthresh;
	uint32_t srtt_us, rttvar_us, rto_us;
	uint32_t rcv_nxt, rcv_adv;
	uint32_t ts_recent;
	uint32_t ts_recent_s, challenged_ms; /* of the clock; they wrap */
	struct flow flow;
	uint16_t tag;
	uint16_t mss_limit, rcv_mss;
	uint8_t snd_wscale : 4, rcv_wscale : 4; /* TCP_WSCALE_MAX is 14 */
	bool ts_ok : 1, sack_ok : 1, ts_seen : 1, woken : 1;
};

struct tcp_rests {
	struct pool records; /* struct tcp_rest, then what the layer above keeps there */
	uint32_t n_woken;    /* records whose connection has a block again, not given back yet */
	uint32_t wakes_max;  /* of those, by segments */
};

bool tcp_rests_create(struct tcp_rests *r, uint32_t n, uint32_t user_octets);
void tcp_rests_destroy(struct tcp_rests *r);

static inline struct tcp_rest *
tcp_rest_at(const struct tcp_rests *r, uint32_t record)
{
	return pool_at(&r->records, record);
}

/* A segment came for record, hash being its flow's. NULL and counted: no block, or the layer above has no room for it. */
struct tcp_conn *tcp_rest_segment(struct tcp *tcp, uint32_t record, uint64_t hash);

#endif
