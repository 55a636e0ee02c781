/*
 * tcp_reply.h - answers without a connection: SYN-ACKs, RSTs, ACKs out of TIME-WAIT.
 *
 * Flow:   tcp_input -> tcp_reply_add() -> tcp_output -> net_wrap_reply (addressed by the frame that is answered)
 * Pure:   a ring of fixed size; the frame that is answered is held by reference until it was lent and the next call came.
 * Keeps:  full: the answer is dropped and counted, the peer asks again. RSTs are limited to TCP_RST_PER_S.
 */
#ifndef GREYLINE_TCP_TCP_REPLY_H
#define GREYLINE_TCP_TCP_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp_wire.h"

#define TCP_REPLIES_MAX 512 /* above the largest burst; the queue is empty at the end of each turn */
#define TCP_RST_PER_S   2000

struct tcp;
struct tcp_seg_out;

struct tcp_reply {
	struct flow flow;
	struct tcp_hdr h;
	struct net_frame to;
	bool has_to;
};

struct tcp_replies {
	struct tcp_reply *ring;     /* TCP_REPLIES_MAX */
	uint32_t added, sent, done; /* done <= sent <= added: between done and sent they are lent */
	uint64_t rst_second;
	uint32_t rst_in_second;
};

bool tcp_replies_create(struct tcp_replies *r);
void tcp_replies_destroy(struct tcp *tcp);

static inline bool
tcp_reply_has_room(const struct tcp_replies *r)
{
	return r->added - r->done < TCP_REPLIES_MAX;
}

/* Queues h for flow. frame: what is answered, NULL where nothing is (a repeated SYN-ACK). */
void tcp_reply_add(struct tcp *tcp, const struct flow *flow, const struct tcp_hdr *h, const struct net_frame *frame);

/* Whether this second has an RST left. */
bool tcp_may_reset(struct tcp *tcp);

/* RST for a segment of no connection (RFC 9293 section 3.10.7.1); nothing for an RST. */
void tcp_reply_rst(struct tcp *tcp, const struct flow *flow, const struct tcp_hdr *h, const struct net_frame *frame);

/* The next one into out; false: none. */
bool tcp_reply_output(struct tcp *tcp, struct tcp_seg_out *out);
/* The caller is done with what it was lent. */
void tcp_reply_release(struct tcp *tcp);

#endif
