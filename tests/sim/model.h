/*
 * model.h - a peer that is not ours: a small TCP of its own over Ethernet, IPv4 and IPv6, written for the simulator.
 *
 * Keeps:  no line of dataplane/net or dataplane/tcp is used; what it hears it judges as a referee would, and ends the program with a message
 *         where the gateway breaks a rule. It is simple and slow on purpose: go-back-N, a fixed window, no congestion control.
 * Source: RFC 9293, 7323, 2018, 826, 4861.
 */
#ifndef GREYLINE_TESTS_SIM_MODEL_H
#define GREYLINE_TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/sim.h"

#define MODEL_CONNS_MAX 32
#define MODEL_OOO_MAX   16
#define MODEL_SEG_MAX   9000

/* Habits of a host; its connections share them. */
struct model_habits {
	uint16_t mss;       /* told in its SYN; 0: not told */
	bool ts, sack;      /* offered or accepted */
	int wscale;         /* -1: not offered */
	uint32_t window;    /* octets it ever offers at once */
	uint32_t delack_us; /* 0: every segment at once */
	uint32_t seg_max;   /* octets of text it sends in one segment, at most */
	bool ragged;        /* the length of each segment is drawn anew, also when it sends again */
	bool reneges;       /* drops what it has reported by SACK now and then */
	bool repeats_syn;   /* says its SYN twice, its third ACK three times */
	uint32_t deaf_pm;   /* each time it reads: chance in a thousand to stop reading for up to deaf_us */
	uint32_t deaf_us;
	uint32_t rto_us;
};

struct model_ooo {
	uint32_t at, octets; /* position in the stream */
	uint8_t *data;
};

enum model_state { MODEL_FREE, MODEL_SYN_SENT, MODEL_SYN_RECEIVED, MODEL_OPEN, MODEL_ENDED };

struct model_host;

struct model_conn {
	struct model_host *host;
	enum model_state state;
	bool v6, server, reset, timed_out;
	bool accepted_taken;
	uint8_t here[16], there[16];
	uint16_t port_here, port_there;
	bool ts, sack;
	int scale_here, scale_there;
	uint32_t mss_there, ts_recent;

	uint32_t iss, una, nxt, max; /* numbers */
	uint8_t *out;
	size_t out_octets, out_room;
	uint32_t wnd_there;
	bool fin_queued, fin_acked;
	uint64_t rto_due_us, rto_us;
	uint32_t tries;

	uint32_t irs;
	bool fin_known;
	size_t fin_at; /* of the stream */
	uint8_t *in;
	size_t in_octets, in_room; /* in order */
	size_t in_read;            /* the script has looked at so much: what lies behind fills the window */
	bool eof;
	struct model_ooo ooo[MODEL_OOO_MAX];
	uint32_t n_ooo;
	uint32_t edge; /* the right edge it has offered, as a position of the stream */
	uint64_t ack_due_us;
	bool ack_now;
	uint64_t deaf_until_us;
	uint64_t heard_us;
	void *user;
};

struct model_host {
	struct sim *sim;
	struct sim_tap tap;
	uint64_t rng;
	uint64_t now_us;
	uint8_t mac[6], gateway_mac[6];
	uint8_t ip4[16], ip6[16]; /* IPv4 as ::ffff:a.b.c.d */
	struct model_habits habits;
	uint16_t listen_port; /* 0: none */
	uint32_t clock_ms;    /* offset of its timestamps */
	uint16_t next_port;
	bool down;  /* hears nothing, says nothing */
	bool trace; /* prints each segment */
	struct model_conn conn[MODEL_CONNS_MAX];
	uint64_t frames_in, frames_out, bad_checksums;
};

void model_host_init(
	struct model_host *h, struct sim *sim, uint32_t port, const char *ip4, const char *ip6, uint64_t seed);
void model_host_fini(struct model_host *h);

struct model_conn *model_connect(struct model_host *h, bool v6, const char *to, uint16_t port);
/* The next connection somebody opened that nobody has taken; NULL when none. */
struct model_conn *model_accept(struct model_host *h);
/* The script has looked at n more octets of what came: the window opens by as much. */
void model_read(struct model_conn *c, size_t n);
void model_send(struct model_conn *c, const void *data, size_t octets);
void model_close(struct model_conn *c);  /* FIN after what was sent */
void model_abort(struct model_conn *c);  /* RST */
void model_forget(struct model_conn *c); /* the script is done with it: frees it */
/* A segment out of nothing, from any address: what an attacker sends. seq and ack as on the wire. */
void model_forge(struct model_host *h, const uint8_t from[16], uint16_t port_from, const uint8_t to[16],
	uint16_t port_to, uint32_t seq, uint32_t ack, uint8_t flags, uint32_t octets);
/* All connections are gone without a word, as when the host lost its power. */
void model_crash(struct model_host *h);

#endif
