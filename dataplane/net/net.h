/*
 * net.h - the network layer of one worker: frames in, transport segments out to the layer above, and back.
 *
 * Flow:   port_rx -> net_input() -> (a TCP segment for the caller | an answer of our own queued | nothing)
 *         tcp_output -> net_wrap() -> port_tx;  net_output() gives frames of our own (ARP, ND, ICMP, released waiters)
 * Pure:   time and octets are arguments; buffers come from the pool it was given; no allocation after net_create().
 * Keeps:  what is not for us, not valid, or beyond a cap is dropped with a counter; replies to strangers are rate limited
 *         where the RFC asks; neighbour entries are refreshed by unicast before they expire; static entries are never
 *         overwritten by input.
 * Source: RFC 894, 826, 791, 792, 1122, 8200, 4443, 4861, 4862 (no autoconfiguration), 1191, 8201, 5722, 6946.
 */
#ifndef GREYLINE_NET_NET_H
#define GREYLINE_NET_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/buf.h"
#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/base/memory_list.h"
#include "dataplane/net/flow.h"

struct net;

/* A received TCP segment: addresses of its IP header and the octets of TCP header plus payload. */
struct net_seg {
	struct flow flow; /* ports already read: local is our side */
	uint64_t hash;    /* tcp's own of flow, where tcp_prefetch() was asked before; 0: not known */
	uint32_t at,
		at_inserts; /* likewise where tcp_prefetch_conn() saw it last, and when; looked at again before it is believed */
	struct buf_view tcp; /* TCP header and payload; length by the IP length, never the frame's. Borrowed. */
	bool checksum_good;  /* verified by hardware or absent-but-trusted; false: verify in software */
	uint8_t port_index;
	uint8_t ttl;
	uint8_t ecn;
};

/* An ICMP error about a TCP segment of ours, already matched by its quoted tuple (RFC 5927: the sequence number is judged by
 * tcp). */
struct net_icmp_error {
	struct flow flow;
	uint32_t quoted_seq;
	enum { NET_ICMP_TOO_BIG, NET_ICMP_UNREACH_HARD, NET_ICMP_UNREACH_SOFT } kind;
	uint32_t mtu; /* of TOO_BIG */
};

enum net_result {
	NET_NONE,       /* consumed, dropped or answered */
	NET_SEGMENT,    /* out->seg is filled in */
	NET_ICMP_ERROR, /* out->error is filled in */
	NET_REDIRECT,   /* belongs to worker out->owner: hand the whole frame over */
};

struct net_out {
	struct net_seg seg;
	struct net_icmp_error error;
	uint32_t owner;
	struct buf *reassembled; /* not NULL: seg.tcp lies in this buffer, whose reference the caller now owns */
	/*
	 * Of NET_REDIRECT: with whole.buf set, this frame (made whole from fragments; its reference is given to the caller) is
	 * handed over with l4_checksum 0 instead of the one that was received. Fragments go to the owner of their addresses with
	 * ports zero, who puts them together; the datagram then goes to the owner of its tuple like any other frame. So a frame
	 * may cross twice, and never more: a fragment that was redirected stays, a whole frame that was redirected stays.
	 */
	struct buf_view whole;
};

/* A received frame, and what is known of it before it is parsed. net borrows it; a port gives it, with a reference the worker owns. */
struct net_frame {
	struct buf_view view; /* from the Ethernet header on */
	/* FRAME_HEADER_MAX_OCTETS from the frame's first on, which an answer may be written over while the worker's reference is the only one
	 * (PITFALLS 29). NULL: others hold the buffer, too, it is too small, or what goes out needs more than what is written there */
	uint8_t *room;
	uint32_t hash; /* Toeplitz hash by the NIC, with our key, where has_hash */
	bool has_hash;
	bool redirected; /* came from another lcore: never redirect again */
	uint8_t port_index;
	uint8_t l4_checksum; /* 0 unknown, 1 good, 2 bad */
};

struct net_conf {
	struct conf_port port[CONF_PORTS_MAX];
	uint32_t n_ports;
	const struct flow_steering *steering; /* borrowed for the life of net */
	uint32_t worker;                      /* our index */
};

/* Allocates at startup; NULL when memory is short. pool and counters are borrowed for life. Neighbour state is per worker:
 * every worker resolves for itself; ARP and ND replies that reach one worker only are told to the others by the caller through
 * net_neighbour_learn(). */
struct net *net_create(
	const struct net_conf *conf, struct buf_pool *pool, struct counters *counters, uint64_t seed, uint64_t now_us);
void net_destroy(struct net *net);
/* What it was given at creation; fragments and frames that wait are the pool's buffers. */
void net_memory(struct memory_list *l);

enum net_result net_input(struct net *net, const struct net_frame *frame, struct net_out *out, uint64_t now_us);

/*
 * A frame to send. hdr points to room inside the frame itself (FRAME_HEADER_MAX_OCTETS); payload views are lent until
 * the frame was given to port_tx, which takes references of its own.
 */
#define FRAME_HEADER_MAX_OCTETS 160 /* Ethernet 18, IPv6 40, TCP 60, and our ICMP and ARP bodies begin here too */
#define FRAME_VIEWS_MAX         8

struct frame {
	uint8_t hdr[FRAME_HEADER_MAX_OCTETS];
	uint16_t hdr_len_octets;
	uint8_t n_views;
	uint8_t port_index;
	struct buf_view view[FRAME_VIEWS_MAX];
};

/*
 * net_wrap - puts Ethernet and IP headers before a TCP segment and sets its checksum.
 *
 * frame->hdr holds the TCP header at frame_tcp_offset() of length tcp_header_octets, where it stays, frame->view[] the payload. On return
 * hdr_len_octets and port_index are set, and hdr starts with the Ethernet header.
 * path: NULL, or what the caller keeps for the flow's segments, all zero at first: next time the way is not looked for again.
 * Returns 0; -EAGAIN when the next hop is being resolved: the segment was dropped or (one each next hop) queued, TCP
 * retransmits; -ENETUNREACH when no route exists; -EMSGSIZE when the packet is larger than the port's MTU.
 */
struct net_path {
	uint32_t forgotten; /* as neigh_forgotten() was */
	uint16_t entry;     /* of the next hop */
	uint8_t port_index;
	bool known;
};

/* Behind Ethernet and IP headers without options: what is sent has none. */
static inline uint32_t
frame_tcp_offset(const struct flow *flow)
{
	return ip_addr_is_v4(&flow->local) ? 14 + 20 : 14 + 40;
}

int net_wrap(struct net *net, struct frame *frame, const struct flow *flow, uint32_t tcp_header_octets,
	struct net_path *path, uint64_t now_us);

/* As net_wrap(), but the reply to a frame just received: MAC addresses and port come from that frame, no neighbour lookup
 * (so a spoofed flood cannot fill the neighbour queue). */
int net_wrap_reply(struct net *net, struct frame *frame, const struct flow *flow, uint32_t tcp_header_octets,
	const struct net_frame *to, uint64_t now_us);

/*
 * net_answer - the same for a TCP header alone, which stands at frame + frame_tcp_offset(flow) with its checksum: the rest of the frame is written around it,
 * FRAME_HEADER_MAX_OCTETS are enough, and no MTU is less. frame may be where the received one lies. Returns its octets.
 */
uint32_t net_answer(struct net *net, uint8_t *frame, const struct flow *flow, uint32_t tcp_header_octets,
	const struct net_frame *to);

/* Frames of our own that wait: ARP, ND, ICMP, echo replies. Returns how many were written. Their views' references, if any,
 * are given to the caller, who drops them after port_tx. */
uint32_t net_output(struct net *net, struct frame *out, uint32_t n, uint64_t now_us);

/* The next time net_output() has something to say by itself (refresh, probe, reassembly time-out). */
uint64_t net_deadline_us(const struct net *net);

/* The address of ours on the path to remote (same family), for backend connections: 0 or -ENETUNREACH. mtu of the port. */
int net_source_for(const struct net *net, const struct ip_addr *remote, struct ip_addr *local, uint16_t *mtu);

/* Whether addr is one of ours. */
bool net_is_local(const struct net *net, const struct ip_addr *addr);

/* What another worker learned: the caller carries it over (rings between lcores). net_neighbour_news() gives the next thing we
 * learned ourselves, false when none is left. */
struct net_neighbour {
	struct ip_addr addr;
	uint8_t mac[6];
	uint8_t port_index;
	uint8_t reserved;
};
void net_neighbour_learn(struct net *net, const struct net_neighbour *n, uint64_t now_us);
bool net_neighbour_news(struct net *net, struct net_neighbour *out);

/* Fixes the next hop addr for life: input neither changes nor ages it. 0, or -ENOSPC when the neighbour table is full. */
int net_neighbour_static(struct net *net, const struct net_neighbour *n);

#endif
