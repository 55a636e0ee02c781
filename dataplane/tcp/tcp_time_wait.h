/*
 * tcp_time_wait.h - what is left of a connection in TIME-WAIT: a compact record for 60 s.
 *
 * Flow:   tcp_conn_time_wait() -> record;  tcp_input -> tcp_time_wait_input(): repeat the ACK, or make way for a new SYN
 * Pure:   memory is allocated at creation.
 * Keeps:  at most time_wait_max records; the oldest makes room for the newest, counted. Order of the list is order of time.
 * Source: RFC 9293 section 3.6.1 and 3.10.7.4, RFC 1337 (RSTs are ignored), RFC 6191.
 */
#ifndef GREYLINE_TCP_TCP_TIME_WAIT_H
#define GREYLINE_TCP_TCP_TIME_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp_table.h"
#include "dataplane/tcp/tcp_wire.h"

/* 2 MSL with an MSL of 30 s: what Linux has. RFC 9293's MSL of 2 min dates from slower networks. */
#define TCP_TIME_WAIT_US UINT64_C(60000000)

struct tcp;
struct tcp_conn;

struct tcp_tw_record {
	struct flow flow;
	uint64_t hash;
	uint64_t start_us;
	uint32_t snd_nxt, rcv_nxt;
	uint32_t ts_recent;
	uint32_t our_ts; /* the last timestamp we sent */
	uint32_t next, prev;
	bool ts_ok;
	bool peer_holds; /* the peer is in TIME-WAIT, not we: only keeps the tuple from being used again */
};

struct tcp_time_wait {
	struct tcp_tw_record *rec;
	struct tcp_table table;
	uint32_t max, n;
	uint32_t head, tail, free;
};

bool tcp_time_wait_create(struct tcp_time_wait *tw, uint32_t max, struct tcp_filter *filter);
void tcp_time_wait_destroy(struct tcp_time_wait *tw);

/* Remembers c, which is about to end. peer_holds: see the record. */
void tcp_time_wait_add(struct tcp *tcp, const struct tcp_conn *c, bool peer_holds);
struct tcp_tw_record *tcp_time_wait_find(const struct tcp_time_wait *tw, const struct flow *flow, uint64_t hash);
void tcp_time_wait_del(struct tcp_time_wait *tw, struct tcp_tw_record *r);

/* A segment for a record. True: it was a SYN that may begin a new connection; the record is gone. */
bool tcp_time_wait_input(
	struct tcp *tcp, struct tcp_tw_record *r, const struct tcp_hdr *h, const struct net_frame *frame);

/* Ends records that are due; at most max. Returns how many. */
uint32_t tcp_time_wait_expire(struct tcp_time_wait *tw, uint64_t now_us, uint32_t max);
uint64_t tcp_time_wait_deadline_us(const struct tcp_time_wait *tw);

#endif
