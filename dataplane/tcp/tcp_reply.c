/*
 * tcp_reply.c - answers without a connection.
 *
 * Pure:   see the header.
 * Source: RFC 9293 section 3.10.7.1 for the form of an RST.
 */
#include "dataplane/tcp/tcp_reply.h"

#include <stdlib.h>

#include "dataplane/base/bug.h"
#include "dataplane/tcp/tcp_conn.h"

bool
tcp_replies_create(struct tcp_replies *r)
{
	*r = (struct tcp_replies){ .ring = calloc(TCP_REPLIES_MAX, sizeof(r->ring[0])) };
	return r->ring != NULL;
}

static void
drop_refs(struct tcp *tcp, uint32_t to)
{
	struct tcp_replies *r = &tcp->replies;

	for (; r->done != to; r->done++) {
		struct tcp_reply *reply = &r->ring[r->done % TCP_REPLIES_MAX];

		if (reply->has_to)
			buf_unref(tcp->pool, reply->to.view.buf);
	}
}

void
tcp_replies_destroy(struct tcp *tcp)
{
	if (tcp->replies.ring == NULL)
		return;
	drop_refs(tcp, tcp->replies.added);
	free(tcp->replies.ring);
}

void
tcp_reply_add(struct tcp *tcp, const struct flow *flow, const struct tcp_hdr *h, const struct net_frame *frame)
{
	struct tcp_replies *r = &tcp->replies;
	struct tcp_reply *reply = &r->ring[r->added % TCP_REPLIES_MAX];

	if (r->added - r->done == TCP_REPLIES_MAX) {
		counter_inc(tcp->counters, CTR_tcp_reply_full);
		return;
	}
	reply->flow = *flow;
	reply->h = *h;
	reply->has_to = frame != NULL;
	if (frame != NULL) {
		reply->to = *frame;
		buf_ref(tcp->pool, frame->view.buf);
	}
	r->added++;
}

bool
tcp_may_reset(struct tcp *tcp)
{
	struct tcp_replies *r = &tcp->replies;
	const uint64_t second = tcp->now_us / 1000000;

	if (r->rst_second != second) {
		r->rst_second = second;
		r->rst_in_second = 0;
	}
	return r->rst_in_second < TCP_RST_PER_S;
}

void
tcp_reply_rst(struct tcp *tcp, const struct flow *flow, const struct tcp_hdr *h, const struct net_frame *frame)
{
	struct tcp_hdr rst = { .flags = TCP_RST, .wscale = TCP_WSCALE_NONE };

	if ((h->flags & TCP_RST) != 0)
		return;
	if (!tcp_may_reset(tcp)) {
		counter_inc(tcp->counters, CTR_tcp_rst_limited);
		return;
	}
	tcp->replies.rst_in_second++;
	if ((h->flags & TCP_ACK) != 0) {
		rst.seq = h->ack;
	} else {
		rst.flags |= TCP_ACK;
		rst.ack = h->seq + tcp_hdr_seg_len(h);
	}
	counter_inc(tcp->counters, CTR_tcp_rst_out);
	tcp_reply_add(tcp, flow, &rst, frame);
}

bool
tcp_reply_output(struct tcp *tcp, struct tcp_seg_out *out)
{
	struct tcp_replies *r = &tcp->replies;
	const struct tcp_reply *reply = &r->ring[r->sent % TCP_REPLIES_MAX];

	if (r->sent == r->added)
		return false;
	r->sent++;
	out->flow = reply->flow;
	out->path = NULL;
	out->reply_to = reply->has_to ? &reply->to : NULL;
	out->frame.n_views = 0;
	out->tcp_header_octets =
		tcp_hdr_build(out->frame.hdr + frame_tcp_offset(&reply->flow), &reply->flow, &reply->h);
	return true;
}

void
tcp_reply_release(struct tcp *tcp)
{
	drop_refs(tcp, tcp->replies.sent);
}
