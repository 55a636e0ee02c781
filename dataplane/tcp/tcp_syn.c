/*
 * tcp_syn.c - a SYN of a flow that nobody knows: what floods are made of, and how each session begins.
 *
 * Flow:   worker -> tcp_prefetch() of the burst -> tcp_input_syn() -> tcp_listen_syn() -> a SYN-ACK where the caller wants it
 * Pure:   see tcp.h.
 * Keeps:  one look at the filter stands for all tables. Whatever is not as usual goes the way of every other segment (tcp_input.c), before
 *         anything was counted or changed: what comes of a SYN is the same either way.
 * Source: RFC 9293 section 3.10.7.2, third; RFC 4987 section 3.
 */
#include "dataplane/net/csum.h"
#include "dataplane/tcp/tcp_conn.h"

uint32_t
tcp_input_syn(
	struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint8_t *answer, uint64_t now_us)
{
	const uint64_t hash = seg->hash != 0 ? seg->hash : tcp_flow_hash(tcp, &seg->flow);
	const struct tcp_listener *x = tcp_listener_find(&tcp->listen, &seg->flow);
	struct tcp_syn syn;

	if (x == NULL || tcp_filter_may_have(&tcp->filter, hash) || !tcp_is_possible_peer(&seg->flow) ||
		!tcp_syn_parse(&syn, seg->tcp.ptr, seg->tcp.len_octets) ||
		(!seg->checksum_good && !csum_is_good(&seg->flow.remote, &seg->flow.local, CSUM_PROTO_TCP, seg->tcp.ptr,
						seg->tcp.len_octets)))
		return tcp_segment(tcp, seg, frame, answer, now_us);
	tcp_clock(tcp, now_us);
	tcp_reply_release(tcp);
	counter_inc(tcp->counters, CTR_tcp_in_segs);
	return tcp_listen_syn(tcp, x, NULL, &seg->flow, &syn, hash, frame, answer);
}
