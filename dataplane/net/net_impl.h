/*
 * net_impl.h - what the files of the network layer share: one worker's state of it, and the parts by their names.
 *
 * Keeps:  see net.c.
 */
#ifndef GREYLINE_NET_NET_IMPL_H
#define GREYLINE_NET_NET_IMPL_H

#include "dataplane/base/octets.h"
#include "dataplane/net/arp.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/icmp.h"
#include "dataplane/net/ipv4.h"
#include "dataplane/net/ipv6.h"
#include "dataplane/net/neigh.h"
#include "dataplane/net/net.h"
#include "dataplane/net/reasm.h"

#define NET_QUEUE_FRAMES 128 /* of our own, until net_output(); a power of two */
#define NET_NEWS_MAX     64  /* for the other workers; a power of two */
#define WRAP_IPV4_OCTETS (ETH_HEADER_OCTETS + IPV4_HEADER_OCTETS)
#define WRAP_IPV6_OCTETS (ETH_HEADER_OCTETS + IPV6_HEADER_OCTETS)

static const uint8_t mac_broadcast[ETH_MAC_OCTETS] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* An IPv4 address of ours as numbers in host order: the form in which each segment is looked at. */
struct own4 {
	uint32_t addr, host_mask, net_mask; /* of the prefix: what is behind it, and itself */
	uint8_t port_index;
	uint8_t prefix_bits;
	bool has_broadcast; /* /31 and /32 have none */
};

struct net {
	struct net_conf conf;
	struct own4 own4[CONF_PORTS_MAX * CONF_ADDRS_MAX]; /* of all ports, in their order */
	uint32_t n_own4;
	struct buf_pool *pool;
	struct counters *counters;
	uint64_t mac_word[CONF_PORTS_MAX]; /* its octets first, as they lie in a frame */
	struct ip_addr link_local[CONF_PORTS_MAX];
	struct neigh *neigh;
	struct reasm *reasm;
	struct icmp_limit echo_limit;
	uint32_t n_waiting;                      /* slots of waiting[] in use */
	struct frame waiting[NEIGH_WAITING_MAX]; /* from the IP header on, Ethernet header left open */
	bool waiting_used[NEIGH_WAITING_MAX];
	uint32_t queue_head, queue_tail; /* head - tail frames wait */
	struct frame queue[NET_QUEUE_FRAMES];
	uint32_t news_head, news_tail;
	struct net_neighbour news[NET_NEWS_MAX];
};

/* Which way a packet goes. */
struct net_hop {
	uint8_t port_index;
	struct ip_addr next;
};

/* What an answer to a received frame needs of its Ethernet and IP headers. */
struct net_answer {
	uint8_t port_index;
	const uint8_t *to_mac;
	const struct ip_addr *src, *dst; /* of the answer */
	bool is_v4;
	uint32_t id; /* of the question, used again when the answer has to be cut */
};

static inline void
net_count(struct net *net, enum counter what)
{
	counter_inc(net->counters, what);
}

/* net.c */
/* The place of a frame to fill in; NULL when the queue is full (counted). It is sent once net_queue_push() was called. */
struct frame *net_queue_slot(struct net *net);
void net_queue_push(struct net *net, struct frame *f, uint8_t port_index, const uint8_t *end);
void net_frame_drop(struct net *net, const struct frame *f);

/* net_route.c */
void net_add_own4(struct net *net, uint8_t port_index, const struct conf_port_addr *a);
bool net_port_has(const struct net *net, uint8_t port_index, const struct ip_addr *addr);
/* net_may_arrive4() of a source in a network of ours: none of our own addresses, and no broadcast address of the port. */
bool net_may_arrive_from_near4(const struct net *net, uint8_t port_index, uint32_t src, uint32_t dst);

/* Whether a packet from src to dst may arrive at the port: from nobody of ours and no broadcast address, to an address of its own. */
static inline bool
net_may_arrive4(const struct net *net, uint8_t port_index, uint32_t src, uint32_t dst)
{
	const struct own4 *const end = net->own4 + net->n_own4;
	bool ours = false;

	for (const struct own4 *o = net->own4; o < end; o++) {
		if (((src ^ o->addr) & o->net_mask) == 0)
			return net_may_arrive_from_near4(net, port_index, src, dst);
		if (o->addr == dst && o->port_index == port_index)
			ours = true;
	}
	return ours;
}

const struct ip_addr *net_source_on(const struct net *net, uint8_t port_index, const struct ip_addr *next);
bool net_route(const struct net *net, const struct ip_addr *local, const struct ip_addr *remote, struct net_hop *out);

/* net_hop.c */
void net_input_arp(struct net *net, const struct net_frame *frame, struct octets o, uint64_t now_us);
void net_input_nd(struct net *net, const struct net_frame *frame, const struct eth_header *eth,
	const struct ip_packet *p, uint64_t now_us);
void net_wait_for_hop(struct net *net, const struct frame *f, uint32_t *slot);
void net_ask_due(struct net *net, uint64_t now_us);

/* net_icmp.c */
void net_answer_echo(struct net *net, const struct net_answer *a, const struct buf_view *view, uint32_t n_views,
	uint32_t octets, uint64_t now_us);
enum net_result net_input_icmp(struct net *net, const struct net_frame *frame, const struct eth_header *eth,
	const struct ip_packet *p, struct net_out *out, uint64_t now_us);

#endif
