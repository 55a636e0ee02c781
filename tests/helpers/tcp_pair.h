/*
 * tcp_pair.h - two endpoints back to back over a wire that loses, duplicates, delays and reorders, in virtual time.
 *
 * Keeps:  the same seed and conf replay exactly. Octets are a function of their position, so no copy of what was sent is kept.
 */
#ifndef GREYLINE_TESTS_HELPERS_TCP_PAIR_H
#define GREYLINE_TESTS_HELPERS_TCP_PAIR_H

#include "tests/helpers/tcp_end.h"

struct wire_conf {
	uint32_t loss_pm, duplicate_pm, reorder_pm, corrupt_pm; /* per mille */
	uint32_t delay_us;
	uint32_t reorder_us;            /* extra delay of a reordered segment, at most */
	uint32_t mtu;                   /* 0: no limit; larger segments vanish */
	uint32_t rate_octets_s;         /* 0: no limit */
	bool no_sack, no_ts, no_wscale; /* a middlebox takes these options out of SYNs */
};

struct wire_item {
	struct wire_item *next;
	uint64_t due_us;
	int to;
	struct wire_seg seg;
};

struct tcp_pair {
	struct tcp_end end[2]; /* 0 connects, 1 listens */
	struct wire_conf wire;
	uint64_t rng;
	uint64_t now_us;
	uint64_t free_us[2];     /* when the wire towards an end is free again */
	struct wire_item *items; /* sorted by time */
	uint32_t n_items;
	uint64_t n_sent, n_lost;
};

extern const struct flow pair_flow_v4, pair_flow_v6; /* as the client sees it; its local port is not fixed */

void tcp_pair_init(struct tcp_pair *p, const struct tcp_conf *client, const struct tcp_conf *server,
	const struct wire_conf *wire, uint64_t seed, uint32_t n_bufs);
void tcp_pair_fini(struct tcp_pair *p);
/* Sends what waits, delivers what is due, and moves the clock to the next thing that happens, at most until limit_us. False: nothing
 * will happen before limit_us; the clock stands there. */
bool tcp_pair_step(struct tcp_pair *p, uint64_t limit_us);

/* The octet at a position of a stream with a name. */
static inline uint8_t
stream_octet(uint64_t name, uint64_t at)
{
	uint64_t z = (at + name) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint8_t)(z >> 56 ^ z >> 23);
}

/* An application at one end: writes n_write octets of its stream in pieces, reads and compares what the other's should be, closes. */
struct stream_app {
	struct tcp_end *end;
	struct tcp_conn *c;
	uint64_t rng;
	uint64_t name_out, name_in;
	uint64_t n_write, written, n_read, read;
	uint32_t piece_max_octets;
	uint32_t read_max_octets; /* of one turn: a slow reader; 0: all */
	bool close_when_done, closed, eof, ended;
	uint32_t events_seen;
	uint32_t no_buf_pm; /* writes without a buffer */
};

/* Reads, writes and closes what it can; c's events of this turn in events. */
void stream_app_turn(struct stream_app *a, uint32_t events);

#endif
