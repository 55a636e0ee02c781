/*
 * tcp_ooo.h - the out-of-order store of a connection.
 *
 * Flow:   tcp_input (a gap before the segment) -> tcp_ooo_insert();  gap filled -> tcp_ooo_pull() -> receive queue
 * Pure:   pieces and buffers come from those of the endpoint.
 * Keeps:  pieces are sorted, do not overlap, and lie above rcv_nxt; at most ooo_max_segs of them. Octets received twice
 *         count once: the first copy stays.
 */
#ifndef GREYLINE_TCP_TCP_OOO_H
#define GREYLINE_TCP_TCP_OOO_H

#include <stdint.h>

#include "dataplane/base/buf.h"
#include "dataplane/tcp/tcp_wire.h"

struct tcp;
struct tcp_conn;

enum tcp_ooo_result {
	TCP_OOO_KEPT,      /* all that was new */
	TCP_OOO_DUPLICATE, /* nothing was new */
	TCP_OOO_DROPPED,   /* limit or memory: some or all was not kept */
};

enum tcp_ooo_result tcp_ooo_insert(struct tcp_conn *c, uint32_t seq, const struct buf_view *v);

/* Moves what begins at or before rcv_nxt to the receive queue and rcv_nxt with it. Returns the octets moved. */
uint32_t tcp_ooo_pull(struct tcp_conn *c);

void tcp_ooo_clear(struct tcp_conn *c);

/* While MARK_out_of_order is reached: gives back what some connections keep, the next ones first, until it is not. Their peers send it again
 * (RFC 2018 section 8 has them keep it until it is acknowledged). Looks at a bounded number of them. */
void tcp_ooo_give_back(struct tcp *tcp);

/* SACK blocks to report: the block of the newest segment first, then those reported lately (RFC 2018 section 4). At most n.
 * Returns how many. */
uint32_t tcp_ooo_blocks(const struct tcp_conn *c, struct tcp_sack_block *out, uint32_t n);

#endif
