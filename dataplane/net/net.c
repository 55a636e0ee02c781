/*
 * net.c - the network layer of one worker.
 *
 * Flow:   net_input(): Ethernet -> ARP | IPv4 | IPv6 -> a TCP segment, an ICMP error, an answer of our own, or nothing
 *         net_wrap(): TCP header and payload -> route -> next hop's MAC address -> frame
 *         net_output(): answers and questions of our own
 * Pure:   time and octets are arguments; see net.h.
 * Keeps:  an address of ours is answered only on the port that has it (RFC 1122 section 3.3.4.2, the strong model); nothing that came
 *         to a group address reaches TCP; a received buffer is never written, an answer attaches its octets.
 * Source: see net.h.
 */
#include "dataplane/net/net.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/octets.h"
#include "dataplane/net/arp.h"
#include "dataplane/net/csum.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/icmp.h"
#include "dataplane/net/ipv4.h"
#include "dataplane/net/ipv6.h"
#include "dataplane/net/nd.h"
#include "dataplane/net/neigh.h"
#include "dataplane/net/reasm.h"

#define NET_QUEUE_FRAMES       128 /* of our own, until net_output(); a power of two */
#define NET_NEWS_MAX           64  /* for the other workers; a power of two */
#define NET_DUE_PER_CALL_MAX   16  /* questions to next hops in one net_output() */
#define TCP_HEADER_MIN_OCTETS  20
#define TCP_HEADER_ROOM_OCTETS 64 /* the largest has 60 */
#define TCP_CHECKSUM_OFFSET    16
#define WRAP_IPV4_OCTETS       (ETH_HEADER_OCTETS + IPV4_HEADER_OCTETS)
#define WRAP_IPV6_OCTETS       (ETH_HEADER_OCTETS + IPV6_HEADER_OCTETS)

static_assert(FRAME_TCP_OFFSET >= WRAP_IPV6_OCTETS, "headers are put before the TCP header");
static_assert(FRAME_TCP_OFFSET + TCP_HEADER_ROOM_OCTETS <= FRAME_HEADER_MAX_OCTETS, "the largest TCP header fits");
static_assert(
	WRAP_IPV6_OCTETS + IPV6_FRAG_HEADER_OCTETS + ICMP_HEADER_OCTETS <= FRAME_HEADER_MAX_OCTETS, "so does an echo");
static_assert(FRAME_VIEWS_MAX >= REASM_FRAGS_MAX, "an echo answers with the views it came in");

/* An IPv4 address of ours as numbers in host order: the form in which each segment is looked at. */
struct own4 {
	uint32_t addr, host_mask;
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

static void
count(struct net *net, enum counter what)
{
	counter_inc(net->counters, what);
}

static const uint8_t mac_broadcast[ETH_MAC_OCTETS] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void
add_own4(struct net *net, uint8_t port_index, const struct conf_port_addr *a)
{
	const uint32_t host_mask =
		a->prefix_bits <= 96 ? UINT32_MAX : (uint32_t)((UINT64_C(1) << (128 - a->prefix_bits)) - 1);

	if (!ip_addr_is_v4(&a->addr))
		return;
	net->own4[net->n_own4++] = (struct own4){ .addr = ip_addr_to_v4(&a->addr),
		.host_mask = host_mask,
		.port_index = port_index,
		.prefix_bits = a->prefix_bits,
		.has_broadcast = a->prefix_bits >= 96 && a->prefix_bits <= 126 };
}

struct net *
net_create(
	const struct net_conf *conf, struct buf_pool *pool, struct counters *counters, uint64_t seed, uint64_t now_us)
{
	struct net *net = calloc(1, sizeof(*net));

	BUG_ON(conf->n_ports > CONF_PORTS_MAX);
	if (net == NULL)
		return NULL;
	net->conf = *conf;
	net->pool = pool;
	net->counters = counters;
	net->neigh = neigh_create(seed);
	net->reasm = reasm_create(pool);
	if (net->neigh == NULL || net->reasm == NULL) {
		net_destroy(net);
		return NULL;
	}
	for (uint32_t i = 0; i < conf->n_ports; i++) {
		net->link_local[i] = ipv6_link_local_of(conf->port[i].mac);
		for (uint32_t k = 0; k < conf->port[i].n_addrs; k++)
			add_own4(net, (uint8_t)i, &conf->port[i].addr[k]);
	}
	icmp_limit_init(&net->echo_limit, now_us);
	return net;
}

static void
frame_drop(struct net *net, const struct frame *f)
{
	for (uint32_t i = 0; i < f->n_views; i++)
		buf_unref(net->pool, f->view[i].buf);
}

void
net_destroy(struct net *net)
{
	if (net == NULL)
		return;
	for (uint32_t i = 0; i < NEIGH_WAITING_MAX; i++)
		if (net->waiting_used[i])
			frame_drop(net, &net->waiting[i]);
	while (net->queue_tail != net->queue_head)
		frame_drop(net, &net->queue[net->queue_tail++ % NET_QUEUE_FRAMES]);
	neigh_destroy(net->neigh);
	reasm_destroy(net->reasm);
	free(net);
}

/* ---- addresses and routes ---- */

static bool
port_has(const struct net *net, uint8_t port_index, const struct ip_addr *addr)
{
	const struct conf_port *p = &net->conf.port[port_index];

	for (uint32_t i = 0; i < p->n_addrs; i++)
		if (ip_addr_equal(&p->addr[i].addr, addr))
			return true;
	return ip_addr_equal(&net->link_local[port_index], addr);
}

bool
net_is_local(const struct net *net, const struct ip_addr *addr)
{
	for (uint32_t i = 0; i < net->conf.n_ports; i++)
		if (port_has(net, (uint8_t)i, addr))
			return true;
	return false;
}

static bool
prefix_has(const struct conf_port_addr *a, const struct ip_addr *addr)
{
	return ip_addr_same_prefix(&a->addr, addr, a->prefix_bits) && ip_addr_is_v4(&a->addr) == ip_addr_is_v4(addr);
}

/* Whether addr is the first or last address of that prefix (RFC 1122 section 3.2.1.3). */
static bool
is_broadcast_of(const struct own4 *o, uint32_t addr)
{
	const uint32_t host = addr & o->host_mask;

	return o->has_broadcast && ((addr ^ o->addr) & ~o->host_mask) == 0 && (host == 0 || host == o->host_mask);
}

/* Whether a packet from src to dst may arrive at the port: from nobody of ours and no broadcast address, to an address of its own. */
static bool
may_arrive4(const struct net *net, uint8_t port_index, uint32_t src, uint32_t dst)
{
	bool is_ours = false;

	for (uint32_t i = 0; i < net->n_own4; i++) {
		const struct own4 *o = &net->own4[i];

		if (src == o->addr)
			return false;
		if (o->port_index != port_index)
			continue;
		if (is_broadcast_of(o, src))
			return false;
		is_ours |= dst == o->addr;
	}
	return is_ours;
}

/* The address of ours to speak from towards next: one whose prefix holds it, else the first of its family. NULL: none. */
static const struct ip_addr *
source_on(const struct net *net, uint8_t port_index, const struct ip_addr *next)
{
	const struct conf_port *p = &net->conf.port[port_index];
	const struct ip_addr *first = NULL;

	if (!ip_addr_is_v4(next) && ipv6_is_link_local(next))
		return &net->link_local[port_index];
	for (uint32_t i = 0; i < p->n_addrs; i++) {
		if (prefix_has(&p->addr[i], next))
			return &p->addr[i].addr;
		if (first == NULL && ip_addr_is_v4(&p->addr[i].addr) == ip_addr_is_v4(next))
			first = &p->addr[i].addr;
	}
	return first == NULL && !ip_addr_is_v4(next) ? &net->link_local[port_index] : first;
}

struct net_route {
	uint8_t port_index;
	struct ip_addr next;
};

/* As route(), of IPv4 addresses. */
static bool
route4(const struct net *net, const struct ip_addr *local, const struct ip_addr *remote, struct net_route *out)
{
	const uint32_t from = local != NULL ? ip_addr_to_v4(local) : 0, to = ip_addr_to_v4(remote);
	const struct own4 *best = NULL, *home = NULL;
	bool is_broadcast = false;

	for (uint32_t i = 0; i < net->n_own4; i++) {
		const struct own4 *o = &net->own4[i];

		if (home == NULL && local != NULL && o->addr == from)
			home = o;
		if (((to ^ o->addr) & ~o->host_mask) == 0 && (best == NULL || o->prefix_bits > best->prefix_bits))
			best = o;
	}
	if (best != NULL) {
		for (uint32_t i = 0; i < net->n_own4; i++)
			is_broadcast |=
				net->own4[i].port_index == best->port_index && is_broadcast_of(&net->own4[i], to);
		*out = (struct net_route){ .port_index = best->port_index, .next = *remote };
		return !is_broadcast;
	}
	if (home != NULL && !ip_addr_is_zero(&net->conf.port[home->port_index].gateway4)) {
		*out = (struct net_route){ .port_index = home->port_index,
			.next = net->conf.port[home->port_index].gateway4 };
		return true;
	}
	for (uint32_t i = 0; i < net->conf.n_ports; i++) {
		if (ip_addr_is_zero(&net->conf.port[i].gateway4))
			continue;
		*out = (struct net_route){ .port_index = (uint8_t)i, .next = net->conf.port[i].gateway4 };
		return true;
	}
	return false;
}

/* The longest prefix of a port that holds remote; else a gateway, that of the port which has local first. local may be NULL. */
static bool
route(const struct net *net, const struct ip_addr *local, const struct ip_addr *remote, struct net_route *out)
{
	int best_bits = -1, gateway_port = -1;

	if (ip_addr_is_v4(remote))
		return route4(net, local, remote, out);
	for (uint32_t i = 0; i < net->conf.n_ports; i++) {
		const struct conf_port *p = &net->conf.port[i];
		const bool is_home = local != NULL && port_has(net, (uint8_t)i, local);

		if (ipv6_is_link_local(remote)) {
			if (is_home) {
				*out = (struct net_route){ .port_index = (uint8_t)i, .next = *remote };
				return true;
			}
			continue;
		}
		for (uint32_t k = 0; k < p->n_addrs; k++) {
			if (p->addr[k].prefix_bits > best_bits && prefix_has(&p->addr[k], remote)) {
				best_bits = p->addr[k].prefix_bits;
				*out = (struct net_route){ .port_index = (uint8_t)i, .next = *remote };
			}
		}
		if (!ip_addr_is_zero(&p->gateway6) && (gateway_port < 0 || is_home))
			gateway_port = (int)i;
	}
	if (best_bits >= 0)
		return true;
	if (gateway_port < 0)
		return false;
	*out = (struct net_route){ .port_index = (uint8_t)gateway_port, .next = net->conf.port[gateway_port].gateway6 };
	return true;
}

int
net_source_for(const struct net *net, const struct ip_addr *remote, struct ip_addr *local, uint16_t *mtu)
{
	const struct ip_addr *source;
	struct net_route r;

	if (!route(net, NULL, remote, &r))
		return -ENETUNREACH;
	source = source_on(net, r.port_index, &r.next);
	/* a gateway may be link-local; who is spoken to is not */
	if (source != NULL && source == &net->link_local[r.port_index])
		source = source_on(net, r.port_index, remote);
	if (source == NULL || ip_addr_is_v4(source) != ip_addr_is_v4(remote) ||
		source == &net->link_local[r.port_index])
		return -ENETUNREACH;
	*local = *source;
	*mtu = net->conf.port[r.port_index].mtu;
	return 0;
}

/* ---- what we say ---- */

/* The place of a frame to fill in; NULL when the queue is full (counted). It is sent once queue_push() was called. */
static struct frame *
queue_slot(struct net *net)
{
	struct frame *f;

	if (net->queue_head - net->queue_tail == NET_QUEUE_FRAMES) {
		count(net, CTR_net_out_full);
		return NULL;
	}
	f = &net->queue[net->queue_head % NET_QUEUE_FRAMES];
	f->n_views = 0;
	return f;
}

static void
queue_push(struct net *net, struct frame *f, uint8_t port_index, const uint8_t *end)
{
	f->port_index = port_index;
	f->hdr_len_octets = (uint16_t)(end - f->hdr);
	net->queue_head++;
}

static void
say_arp(struct net *net, uint8_t port_index, const uint8_t *to_mac, const struct arp *arp)
{
	struct frame *f = queue_slot(net);

	if (f == NULL)
		return;
	queue_push(net, f, port_index,
		arp_build(eth_build(f->hdr, to_mac, net->conf.port[port_index].mac, ETH_TYPE_ARP), arp));
}

/* Asks who has addr; to_mac NULL asks all. */
static void
ask4(struct net *net, uint8_t port_index, const struct ip_addr *addr, const uint8_t *to_mac)
{
	const struct ip_addr *source = source_on(net, port_index, addr);
	struct arp arp = { .op = ARP_REQUEST, .target = *addr };

	if (source == NULL)
		return;
	arp.sender = *source;
	memcpy(arp.sender_mac, net->conf.port[port_index].mac, ETH_MAC_OCTETS);
	say_arp(net, port_index, to_mac != NULL ? to_mac : mac_broadcast, &arp);
}

static void
ask6(struct net *net, uint8_t port_index, const struct ip_addr *addr, const uint8_t *to_mac)
{
	const struct ip_addr *source = source_on(net, port_index, addr);
	const uint8_t *own_mac = net->conf.port[port_index].mac;
	struct frame *f = queue_slot(net);
	struct ip_addr dst = *addr;
	uint8_t mac[ETH_MAC_OCTETS], *p;

	if (f == NULL)
		return;
	if (to_mac == NULL) {
		dst = ipv6_solicited_node(addr);
		ipv6_multicast_mac(&dst, mac);
		to_mac = mac;
	}
	p = eth_build(f->hdr, to_mac, own_mac, ETH_TYPE_IPV6);
	p = ipv6_build(p, source, &dst, IP_PROTO_ICMPV6, ND_MESSAGE_OCTETS, ND_HOP_LIMIT);
	queue_push(net, f, port_index, nd_build_ns(p, source, &dst, addr, own_mac));
}

/* Answers a solicitation; to an unspecified source (somebody tests for a duplicate) all nodes hear it (RFC 4861 section 7.2.4). */
static void
answer_ns(struct net *net, uint8_t port_index, const struct ip_packet *ns, const struct ip_addr *target,
	const uint8_t *to_mac)
{
	static const struct ip_addr all_nodes = { .octet = { 0xff, 0x02, [15] = 1 } };
	const uint8_t *own_mac = net->conf.port[port_index].mac;
	const bool unspecified = ip_addr_is_zero(&ns->src);
	const struct ip_addr *dst = unspecified ? &all_nodes : &ns->src;
	uint8_t mac[ETH_MAC_OCTETS], *p;
	struct frame *f = queue_slot(net);

	if (f == NULL)
		return;
	if (unspecified) {
		ipv6_multicast_mac(dst, mac);
		to_mac = mac;
	}
	p = eth_build(f->hdr, to_mac, own_mac, ETH_TYPE_IPV6);
	p = ipv6_build(p, target, dst, IP_PROTO_ICMPV6, ND_MESSAGE_OCTETS, ND_HOP_LIMIT);
	queue_push(net, f, port_index, nd_build_na(p, target, dst, target, own_mac, !unspecified));
}

/* ---- neighbours ---- */

static void
release_waiting(struct net *net, uint32_t slot, const uint8_t *mac)
{
	struct frame *w, *f;

	if (slot == NEIGH_NO_SLOT)
		return;
	w = &net->waiting[slot];
	net->waiting_used[slot] = false;
	net->n_waiting--;
	f = mac != NULL ? queue_slot(net) : NULL;
	if (f == NULL) {
		frame_drop(net, w);
		return;
	}
	*f = *w; /* its references go along */
	memcpy(f->hdr, mac, ETH_MAC_OCTETS);
	queue_push(net, f, w->port_index, f->hdr + w->hdr_len_octets);
}

static void
tell_others(struct net *net, const struct neigh_word *word)
{
	struct net_neighbour *n;

	if (net->conf.steering->n_workers == 1 || net->news_head - net->news_tail == NET_NEWS_MAX)
		return;
	n = &net->news[net->news_head++ % NET_NEWS_MAX];
	*n = (struct net_neighbour){ .addr = word->addr, .port_index = word->port_index };
	memcpy(n->mac, word->mac, ETH_MAC_OCTETS);
}

static enum neigh_heard
hear(struct net *net, const struct neigh_word *word, uint64_t now_us)
{
	enum neigh_heard heard;
	uint32_t slot;

	heard = neigh_hear(net->neigh, word, &slot, now_us);
	release_waiting(net, slot, word->mac);
	return heard;
}

/*
 * A word from the wire. What somebody asked for arrives at one worker, which need not be the one that asked: a solicited word is told
 * to the others whether we have an entry or not; they ignore what they did not ask for. A word that only changed something of ours is
 * told, too.
 */
static void
hear_from_wire(struct net *net, const struct neigh_word *word, uint64_t now_us)
{
	if (!eth_is_station(word->mac) || net_is_local(net, &word->addr))
		return;
	if (hear(net, word, now_us) != NEIGH_IGNORED || word->solicited)
		tell_others(net, word);
}

void
net_neighbour_learn(struct net *net, const struct net_neighbour *n, uint64_t now_us)
{
	struct neigh_word word = { .addr = n->addr, .port_index = n->port_index, .solicited = true, .override = true };

	if (n->port_index >= net->conf.n_ports)
		return;
	memcpy(word.mac, n->mac, ETH_MAC_OCTETS);
	hear(net, &word, now_us);
}

bool
net_neighbour_news(struct net *net, struct net_neighbour *out)
{
	if (net->news_tail == net->news_head)
		return false;
	*out = net->news[net->news_tail++ % NET_NEWS_MAX];
	return true;
}

int
net_neighbour_static(struct net *net, const struct net_neighbour *n)
{
	return neigh_set_static(net->neigh, &n->addr, n->port_index, n->mac);
}

/* ---- input ---- */

/* RFC 826. A request is answered to who asked, without an entry: a flood of askers costs nothing. */
static void
input_arp(struct net *net, const struct net_frame *frame, struct octets o, uint64_t now_us)
{
	const uint8_t port_index = frame->port_index;
	struct neigh_word word;
	struct arp arp, reply;
	bool for_us;

	if (!arp_parse(o, &arp)) {
		count(net, CTR_net_drop_short);
		return;
	}
	count(net, CTR_net_arp_in);
	for_us = port_has(net, port_index, &arp.target);
	if (!eth_is_station(arp.sender_mac))
		return;
	if (ipv4_is_source(&arp.sender)) {
		word = (struct neigh_word){ .addr = arp.sender,
			.port_index = port_index,
			.override = true,
			.solicited = for_us && arp.op == ARP_REPLY };
		memcpy(word.mac, arp.sender_mac, ETH_MAC_OCTETS);
		hear_from_wire(net, &word, now_us);
	}
	if (!for_us || arp.op != ARP_REQUEST || net_is_local(net, &arp.sender))
		return;
	reply = (struct arp){ .op = ARP_REPLY, .sender = arp.target, .target = arp.sender };
	memcpy(reply.sender_mac, net->conf.port[port_index].mac, ETH_MAC_OCTETS);
	memcpy(reply.target_mac, arp.sender_mac, ETH_MAC_OCTETS);
	say_arp(net, port_index, arp.sender_mac, &reply);
}

static void
input_nd(struct net *net, const struct net_frame *frame, const struct eth_header *eth, const struct ip_packet *p,
	uint64_t now_us)
{
	struct neigh_word word;
	struct nd nd;

	if (!nd_parse(p, &nd)) {
		count(net, CTR_net_drop_protocol);
		return;
	}
	count(net, CTR_net_nd_in);
	word = (struct neigh_word){ .addr = nd.is_ns ? p->src : nd.target,
		.port_index = frame->port_index,
		.solicited = nd.solicited && port_has(net, frame->port_index, &p->dst),
		.override = nd.is_ns || nd.override };
	/* an answer to a unicast question may leave its own address out (section 4.4): then the frame's sender is meant */
	memcpy(word.mac, nd.has_mac ? nd.mac : eth->src, ETH_MAC_OCTETS);
	if (nd.is_ns ? nd.has_mac : (nd.has_mac || nd.solicited))
		hear_from_wire(net, &word, now_us);
	if (!nd.is_ns || !port_has(net, frame->port_index, &nd.target) || net_is_local(net, &p->src))
		return;
	answer_ns(net, frame->port_index, p, &nd.target, word.mac);
}

/* What an answer to a received frame needs of its Ethernet and IP headers. */
struct answer {
	uint8_t port_index;
	const uint8_t *to_mac;
	const struct ip_addr *src, *dst; /* of the answer */
	bool is_v4;
	uint32_t id; /* of the question, used again when the answer has to be cut */
};

/* Octets [from, from + len) of views as views of f, each with a reference; the caller has checked that they exist. */
static void
attach(struct net *net, struct frame *f, const struct buf_view *view, uint32_t n_views, uint32_t from, uint32_t len)
{
	for (uint32_t i = 0; i < n_views && len > 0; i++) {
		uint32_t n;

		if (from >= view[i].len_octets) {
			from -= view[i].len_octets;
			continue;
		}
		n = MIN(view[i].len_octets - from, len);
		f->view[f->n_views++] =
			(struct buf_view){ .ptr = view[i].ptr + from, .len_octets = n, .buf = view[i].buf };
		buf_ref(net->pool, view[i].buf);
		from = 0;
		len -= n;
	}
}

/*
 * One piece of an echo reply: octets [from, from + len) of the ICMP message, which is head (ICMP_HEADER_OCTETS) and then views from
 * their ICMP_HEADER_OCTETS on. False when the queue is full.
 */
static bool
say_echo_piece(struct net *net, const struct answer *a, const uint8_t *head, const struct buf_view *view,
	uint32_t n_views, uint32_t from, uint32_t len, uint32_t octets)
{
	const bool more = from + len < octets, cut = more || from > 0;
	struct frame *f = queue_slot(net);
	uint8_t *p;

	if (f == NULL)
		return false;
	p = eth_build(f->hdr, a->to_mac, net->conf.port[a->port_index].mac, a->is_v4 ? ETH_TYPE_IPV4 : ETH_TYPE_IPV6);
	if (a->is_v4) {
		const struct ipv4_frag frag = {
			.id = (uint16_t)a->id, .df = !cut, .more = more, .offset_octets = from
		};

		p = ipv4_build(p, a->src, a->dst, IP_PROTO_ICMP, len, &frag);
	} else {
		p = ipv6_build(p, a->src, a->dst, cut ? IPV6_NEXT_FRAGMENT : IP_PROTO_ICMPV6,
			len + (cut ? IPV6_FRAG_HEADER_OCTETS : 0), IP_TTL);
		if (cut)
			p = ipv6_build_frag(p, IP_PROTO_ICMPV6, from, more, a->id);
	}
	if (from == 0) {
		memcpy(p, head, ICMP_HEADER_OCTETS);
		p += ICMP_HEADER_OCTETS;
		attach(net, f, view, n_views, ICMP_HEADER_OCTETS, len - ICMP_HEADER_OCTETS);
	} else {
		attach(net, f, view, n_views, from, len);
	}
	queue_push(net, f, a->port_index, p);
	return true;
}

/*
 * Answers an echo request whose ICMP message lies in views (each with a buffer, the first at least ICMP_HEADER_OCTETS long). Its
 * checksum is verified here. The reply's octets are the request's, attached; it is cut as the port's MTU wants.
 */
static void
answer_echo(struct net *net, const struct answer *a, const struct buf_view *view, uint32_t n_views, uint32_t octets,
	uint64_t now_us)
{
	const uint32_t overhead = a->is_v4 ? IPV4_HEADER_OCTETS : IPV6_HEADER_OCTETS;
	const uint32_t room = net->conf.port[a->port_index].mtu - overhead;
	/* a cut piece carries a fragment header more in IPv6, and a multiple of 8 octets */
	const uint32_t cut = (room - (a->is_v4 ? 0 : IPV6_FRAG_HEADER_OCTETS)) & ~7u;
	uint8_t head[ICMP_HEADER_OCTETS];
	struct csum c = csum_start();

	if (!a->is_v4)
		csum_add_pseudo(&c, a->dst, a->src, IP_PROTO_ICMPV6, octets);
	csum_add_views(&c, view, n_views);
	if (csum_finish(&c) != 0) {
		count(net, CTR_net_drop_ip_checksum);
		return;
	}
	if (!icmp_limit_allow(&net->echo_limit, now_us)) {
		count(net, CTR_net_icmp_limited);
		return;
	}
	memcpy(head, view[0].ptr, sizeof(head));
	head[0] = a->is_v4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY;
	head[2] = head[3] = 0;
	c = csum_start();
	if (!a->is_v4)
		csum_add_pseudo(&c, a->src, a->dst, IP_PROTO_ICMPV6, octets);
	csum_add(&c, head, sizeof(head));
	for (uint32_t i = 0; i < n_views; i++)
		csum_add(&c, view[i].ptr + (i == 0 ? sizeof(head) : 0),
			view[i].len_octets - (i == 0 ? (uint32_t)sizeof(head) : 0));
	put_u16(head + 2, csum_finish(&c));
	if (octets <= room) {
		if (say_echo_piece(net, a, head, view, n_views, 0, octets, octets))
			count(net, CTR_net_icmp_echo);
		return;
	}
	for (uint32_t from = 0; from < octets; from += cut)
		if (!say_echo_piece(net, a, head, view, n_views, from, MIN(cut, octets - from), octets))
			return;
	count(net, CTR_net_icmp_echo);
}

/* A view of the packet's payload that can be held: the frame's own buffer, or a copy. buf NULL: no buffer was left. */
static struct buf_view
holdable(struct net *net, const struct net_frame *frame, const struct ip_packet *p)
{
	struct buf_view v = { .ptr = p->payload, .len_octets = p->payload_octets, .buf = frame->view.buf };
	uint8_t *data;

	if (v.buf != NULL) {
		buf_ref(net->pool, v.buf);
		return v;
	}
	v.buf = buf_alloc(net->pool, p->payload_octets, &data);
	if (v.buf != NULL) {
		memcpy(data, p->payload, p->payload_octets);
		v.ptr = data;
	}
	return v;
}

static enum net_result
input_icmp_error(struct net *net, const struct net_frame *frame, const struct ip_packet *p, struct net_out *out)
{
	struct csum c = csum_start();
	uint32_t owner;

	if (!p->is_v4)
		csum_add_pseudo(&c, &p->src, &p->dst, IP_PROTO_ICMPV6, p->payload_octets);
	csum_add(&c, p->payload, p->payload_octets);
	if (csum_finish(&c) != 0) {
		count(net, CTR_net_drop_ip_checksum);
		return NET_NONE;
	}
	if (!icmp_error_parse(p, &out->error) || !net_is_local(net, &out->error.flow.local)) {
		count(net, CTR_net_drop_protocol);
		return NET_NONE;
	}
	owner = flow_owner(net->conf.steering, &out->error.flow);
	if (owner != net->conf.worker && !frame->redirected) {
		out->owner = owner;
		return NET_REDIRECT;
	}
	count(net, CTR_net_icmp_error_in);
	return NET_ICMP_ERROR;
}

static enum net_result
input_icmp(struct net *net, const struct net_frame *frame, const struct eth_header *eth, const struct ip_packet *p,
	struct net_out *out, uint64_t now_us)
{
	const struct answer a = { .port_index = frame->port_index,
		.to_mac = eth->src,
		.src = &p->dst,
		.dst = &p->src,
		.is_v4 = p->is_v4,
		.id = p->frag_id };
	struct buf_view v;

	if (p->payload_octets < ICMP_HEADER_OCTETS) {
		count(net, CTR_net_drop_short);
		return NET_NONE;
	}
	if (p->payload[0] != (p->is_v4 ? ICMP4_ECHO : ICMP6_ECHO))
		return input_icmp_error(net, frame, p, out);
	if (p->payload[1] != 0) {
		count(net, CTR_net_drop_protocol);
		return NET_NONE;
	}
	v = holdable(net, frame, p);
	if (v.buf == NULL) {
		count(net, CTR_port_no_buffer);
		return NET_NONE;
	}
	answer_echo(net, &a, &v, 1, p->payload_octets, now_us);
	buf_unref(net->pool, v.buf);
	return NET_NONE;
}

static enum net_result
input_tcp(struct net *net, const struct net_frame *frame, const struct ip_packet *p, struct net_out *out)
{
	struct net_seg *seg = &out->seg;
	struct octets o = octets_of(p->payload, p->payload_octets);

	*seg = (struct net_seg){ .port_index = frame->port_index,
		.ttl = p->ttl,
		.ecn = p->ecn,
		.checksum_good = frame->l4_checksum == 1,
		.tcp = { .ptr = p->payload, .len_octets = p->payload_octets, .buf = frame->view.buf } };
	seg->flow = (struct flow){ .local = p->dst, .remote = p->src };
	seg->flow.remote_port = octets_u16(&o);
	seg->flow.local_port = octets_u16(&o);
	if (p->payload_octets < TCP_HEADER_MIN_OCTETS) {
		count(net, CTR_net_drop_short);
		return NET_NONE;
	}
	if (!frame->redirected) {
		const uint32_t owner = flow_owner(net->conf.steering, &seg->flow);

		if (owner != net->conf.worker) {
			out->owner = owner;
			return NET_REDIRECT;
		}
	}
	return NET_SEGMENT;
}

static enum net_result input_whole(struct net *net, const struct net_frame *frame, const struct eth_header *eth,
	const struct ip_packet *p, struct net_out *out, uint64_t now_us);

/*
 * Writes a datagram made whole as one frame into a buffer of ours. The IP header is a new one (what stood between it and the fragment
 * header applied to each fragment and was looked at there). NULL: no buffer, or larger than one: then it is no segment of a peer that
 * keeps to our MSS.
 */
static struct buf *
write_whole(struct net *net, const struct eth_header *eth, const struct ip_packet *p, const struct reasm_whole *whole,
	struct buf_view *out)
{
	const uint32_t head = p->is_v4 ? WRAP_IPV4_OCTETS : WRAP_IPV6_OCTETS;
	const struct ipv4_frag none = { .id = (uint16_t)p->frag_id };
	uint8_t *data, *at;
	struct buf *buf;

	if (whole->octets > UINT16_MAX - head)
		return NULL;
	buf = buf_alloc(net->pool, head + whole->octets, &data);
	if (buf == NULL)
		return NULL;
	at = eth_build(data, eth->dst, eth->src, p->is_v4 ? ETH_TYPE_IPV4 : ETH_TYPE_IPV6);
	if (p->is_v4)
		at = ipv4_build(at, &p->src, &p->dst, whole->proto, whole->octets, &none);
	else
		at = ipv6_build(at, &p->src, &p->dst, whole->proto, whole->octets, p->ttl);
	for (uint32_t i = 0; i < whole->n_views; i++) {
		memcpy(at, whole->view[i].ptr, whole->view[i].len_octets);
		at += whole->view[i].len_octets;
	}
	*out = (struct buf_view){ .ptr = data, .len_octets = head + whole->octets, .buf = buf };
	return buf;
}

/* A datagram of a protocol other than echo, made whole: it goes the way of any frame, once more from its IP header on. */
static enum net_result
input_written(struct net *net, const struct net_frame *frame, const struct eth_header *eth, const struct ip_packet *p,
	const struct reasm_whole *whole, struct net_out *out, uint64_t now_us)
{
	struct net_frame again = { .port_index = frame->port_index };
	enum net_result result = NET_NONE;
	struct ip_packet q;
	struct octets o;

	if (write_whole(net, eth, p, whole, &again.view) == NULL) {
		count(net, CTR_net_frag_drop);
		return NET_NONE;
	}
	o = octets_of(again.view.ptr + ETH_HEADER_OCTETS, again.view.len_octets - ETH_HEADER_OCTETS);
	if ((p->is_v4 ? ipv4_parse(o, &q) : ipv6_parse(o, &q)) != IP_OK || q.is_fragment || q.proto != IP_PROTO_TCP) {
		count(net,
			CTR_net_drop_protocol); /* RFC 6980: no neighbour discovery; and no error that quotes so much */
	} else {
		q.ecn = whole->ecn;
		result = input_whole(net, &again, eth, &q, out, now_us);
	}
	if (result == NET_REDIRECT)
		out->whole = again.view;
	else if (result == NET_SEGMENT)
		out->reassembled = again.view.buf;
	else
		buf_unref(net->pool, again.view.buf);
	return result;
}

static enum net_result
input_fragment(struct net *net, const struct net_frame *frame, const struct eth_header *eth, const struct ip_packet *p,
	struct net_out *out, uint64_t now_us)
{
	const struct flow addresses = { .local = p->dst, .remote = p->src };
	const struct answer a = { .port_index = frame->port_index,
		.to_mac = eth->src,
		.src = &p->dst,
		.dst = &p->src,
		.is_v4 = p->is_v4,
		.id = p->frag_id };
	const uint32_t owner = flow_owner(net->conf.steering, &addresses);
	enum net_result result = NET_NONE;
	struct reasm_whole whole;

	/* 1. All fragments of one datagram meet at one worker: the owner of their addresses. */
	if (owner != net->conf.worker && !frame->redirected) {
		out->owner = owner;
		return NET_REDIRECT;
	}
	count(net, CTR_net_frag_in);
	switch (reasm_add(net->reasm, p, frame->view.buf, &whole, now_us)) {
	case REASM_HELD:
		return NET_NONE;
	case REASM_DROPPED:
		count(net, CTR_net_frag_drop);
		return NET_NONE;
	case REASM_DONE:
		break;
	}
	count(net, CTR_net_frag_done);
	/* 2. An echo is answered from its pieces; the first is at least 8 octets, because only the last may be shorter. */
	if (whole.proto == (p->is_v4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6)) {
		if (whole.view[0].len_octets >= ICMP_HEADER_OCTETS && whole.view[0].ptr[1] == 0 &&
			whole.view[0].ptr[0] == (p->is_v4 ? ICMP4_ECHO : ICMP6_ECHO))
			answer_echo(net, &a, whole.view, whole.n_views, whole.octets, now_us);
		else
			count(net, CTR_net_drop_protocol);
	} else {
		result = input_written(net, frame, eth, p, &whole, out, now_us);
	}
	for (uint32_t i = 0; i < whole.n_views; i++)
		buf_unref(net->pool, whole.view[i].buf);
	return result;
}

/* A packet with addresses that may be, for an address of ours, not a fragment. */
static enum net_result
input_whole(struct net *net, const struct net_frame *frame, const struct eth_header *eth, const struct ip_packet *p,
	struct net_out *out, uint64_t now_us)
{
	if (p->proto == IP_PROTO_TCP)
		return input_tcp(net, frame, p, out);
	if (p->proto == (p->is_v4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6))
		return input_icmp(net, frame, eth, p, out, now_us);
	count(net, CTR_net_drop_protocol);
	return NET_NONE;
}

static void
drop_ip(struct net *net, enum ip_result why)
{
	switch (why) {
	case IP_OK:
		break;
	case IP_SHORT:
		count(net, CTR_net_drop_short);
		break;
	case IP_HEADER:
		count(net, CTR_net_drop_ip_header);
		break;
	case IP_CHECKSUM:
		count(net, CTR_net_drop_ip_checksum);
		break;
	case IP_EXTENSION:
		count(net, CTR_net_drop_extension);
		break;
	}
}

static bool
is_nd(const struct ip_packet *p)
{
	return !p->is_v4 && p->proto == IP_PROTO_ICMPV6 && p->payload_octets > 0 &&
	       (p->payload[0] == ND_TYPE_NS || p->payload[0] == ND_TYPE_NA);
}

static enum net_result
input_ip(struct net *net, const struct net_frame *frame, const struct eth_header *eth, struct octets o,
	struct net_out *out, uint64_t now_us)
{
	const bool is_v4 = eth->type == ETH_TYPE_IPV4;
	struct ip_packet p;
	enum ip_result parsed;

	parsed = is_v4 ? ipv4_parse(o, &p) : ipv6_parse(o, &p);
	if (parsed != IP_OK) {
		drop_ip(net, parsed);
		return NET_NONE;
	}
	/* 1. Neighbour discovery comes to groups and, when somebody tests for a duplicate, from nobody. Never in fragments. */
	if (is_nd(&p) && !p.has_frag_header) {
		if (!ipv6_is_source(&p.src) && !ip_addr_is_zero(&p.src))
			count(net, CTR_net_drop_ip_address);
		else if (!csum_is_good(&p.src, &p.dst, IP_PROTO_ICMPV6, p.payload, p.payload_octets))
			count(net, CTR_net_drop_ip_checksum);
		else
			input_nd(net, frame, eth, &p, now_us);
		return NET_NONE;
	}
	/* 2. All else comes from one host to one address of this port (RFC 1122 section 3.2.1.3, RFC 9293 MUST-57, MUST-63). */
	if (eth_is_group(eth->dst)) {
		count(net, CTR_net_drop_mac);
		return NET_NONE;
	}
	if (is_v4 ? !ipv4_is_source(&p.src) ||
				!may_arrive4(net, frame->port_index, ip_addr_to_v4(&p.src), ip_addr_to_v4(&p.dst))
		  : !ipv6_is_source(&p.src) || !port_has(net, frame->port_index, &p.dst) || net_is_local(net, &p.src)) {
		count(net, CTR_net_drop_ip_address);
		return NET_NONE;
	}
	if (p.is_fragment)
		return input_fragment(net, frame, eth, &p, out, now_us);
	return input_whole(net, frame, eth, &p, out, now_us);
}

enum net_result
net_input(struct net *net, const struct net_frame *frame, struct net_out *out, uint64_t now_us)
{
	struct octets o = octets_of(frame->view.ptr, frame->view.len_octets);
	struct eth_header eth;

	out->reassembled = NULL;
	out->whole = (struct buf_view){ 0 };
	HOT_BUG_ON(frame->port_index >= net->conf.n_ports);
	if (!eth_parse(&o, &eth)) {
		count(net, CTR_net_drop_short);
		return NET_NONE;
	}
	/* a port may be promiscuous, and a switch floods what it does not know */
	if ((!eth_is_group(eth.dst) && memcmp(eth.dst, net->conf.port[frame->port_index].mac, ETH_MAC_OCTETS) != 0) ||
		!eth_is_station(eth.src)) {
		count(net, CTR_net_drop_mac);
		return NET_NONE;
	}
	switch (eth.type) {
	case ETH_TYPE_ARP:
		input_arp(net, frame, o, now_us);
		return NET_NONE;
	case ETH_TYPE_IPV4:
	case ETH_TYPE_IPV6:
		return input_ip(net, frame, &eth, o, out, now_us);
	default: /* not an enum of ours: any 16 bits may stand here */
		count(net, CTR_net_drop_ethertype);
		return NET_NONE;
	}
}

/* ---- output ---- */

static void
set_tcp_checksum(
	struct frame *f, uint8_t *tcp, const struct flow *flow, uint32_t header_octets, uint32_t payload_octets)
{
	struct csum c = csum_start();

	put_u16(tcp + TCP_CHECKSUM_OFFSET, 0);
	csum_add_pseudo(&c, &flow->local, &flow->remote, IP_PROTO_TCP, header_octets + payload_octets);
	csum_add(&c, tcp, header_octets);
	csum_add_views(&c, f->view, f->n_views);
	put_u16(tcp + TCP_CHECKSUM_OFFSET, csum_finish(&c));
}

/* Checksum, IP header and the Ethernet header but for its destination. 0 or -EMSGSIZE. */
static int
wrap(struct net *net, struct frame *f, const struct flow *flow, uint32_t tcp_header_octets, uint8_t port_index)
{
	const bool is_v4 = ip_addr_is_v4(&flow->local);
	const uint32_t head = is_v4 ? WRAP_IPV4_OCTETS : WRAP_IPV6_OCTETS;
	const struct ipv4_frag whole = { .df = true };
	uint32_t payload_octets = 0, tcp_octets;
	uint8_t tcp[TCP_HEADER_ROOM_OCTETS], *p;

	HOT_BUG_ON(tcp_header_octets < TCP_HEADER_MIN_OCTETS || tcp_header_octets > 60 || f->n_views > FRAME_VIEWS_MAX);
	for (uint32_t i = 0; i < f->n_views; i++)
		payload_octets += f->view[i].len_octets;
	tcp_octets = tcp_header_octets + payload_octets;
	if (head - ETH_HEADER_OCTETS + tcp_octets > net->conf.port[port_index].mtu)
		return -EMSGSIZE;
	memcpy(tcp, f->hdr + FRAME_TCP_OFFSET,
		sizeof(tcp)); /* by a size known here: two loads and two stores, no loop */
	memcpy(f->hdr + head, tcp, sizeof(tcp));
	set_tcp_checksum(f, f->hdr + head, flow, tcp_header_octets, payload_octets);
	p = eth_build(f->hdr, mac_broadcast, net->conf.port[port_index].mac, is_v4 ? ETH_TYPE_IPV4 : ETH_TYPE_IPV6);
	if (is_v4)
		ipv4_build(p, &flow->local, &flow->remote, IP_PROTO_TCP, tcp_octets, &whole);
	else
		ipv6_build(p, &flow->local, &flow->remote, IP_PROTO_TCP, tcp_octets, IP_TTL);
	f->hdr_len_octets = (uint16_t)(head + tcp_header_octets);
	f->port_index = port_index;
	return 0;
}

/* Keeps a wrapped frame until its hop answers. Views without a buffer are good for this call alone: they are copied together. */
static bool
keep_waiting(struct net *net, const struct frame *f, uint32_t slot)
{
	struct frame *w = &net->waiting[slot];
	uint32_t octets = 0;
	bool all_held = true;
	uint8_t *data;
	struct buf *buf;

	for (uint32_t i = 0; i < f->n_views; i++) {
		octets += f->view[i].len_octets;
		all_held = all_held && f->view[i].buf != NULL;
	}
	if (all_held) {
		*w = *f;
		for (uint32_t i = 0; i < f->n_views; i++)
			buf_ref(net->pool, f->view[i].buf);
		return true;
	}
	buf = buf_alloc(net->pool, octets, &data);
	if (buf == NULL)
		return false;
	*w = *f;
	w->n_views = 1;
	w->view[0] = (struct buf_view){ .ptr = data, .len_octets = octets, .buf = buf };
	for (uint32_t i = 0; i < f->n_views; i++) {
		memcpy(data, f->view[i].ptr, f->view[i].len_octets);
		data += f->view[i].len_octets;
	}
	return true;
}

/* RFC 1122 section 2.3.2.2: one frame a hop is kept, the latest. */
static void
wait_for_hop(struct net *net, const struct frame *f, uint32_t *slot)
{
	if (*slot == NEIGH_NO_SLOT) {
		if (net->n_waiting == NEIGH_WAITING_MAX) {
			count(net, CTR_net_neigh_full);
			return;
		}
		for (uint32_t i = 0; *slot == NEIGH_NO_SLOT; i++)
			if (!net->waiting_used[i])
				*slot = i;
		net->waiting_used[*slot] = true;
		net->n_waiting++;
	} else {
		frame_drop(net, &net->waiting[*slot]);
	}
	if (!keep_waiting(net, f, *slot)) {
		count(net, CTR_port_no_buffer);
		net->waiting_used[*slot] = false;
		net->n_waiting--;
		*slot = NEIGH_NO_SLOT;
	}
}

int
net_wrap(struct net *net, struct frame *frame, const struct flow *flow, uint32_t tcp_header_octets, uint64_t now_us)
{
	uint32_t *slot = NULL;
	struct net_route r;
	int err;

	if (!route(net, &flow->local, &flow->remote, &r))
		return -ENETUNREACH;
	err = wrap(net, frame, flow, tcp_header_octets, r.port_index);
	if (err != 0)
		return err;
	switch (neigh_find(net->neigh, &r.next, r.port_index, frame->hdr, &slot, now_us)) {
	case NEIGH_KNOWN:
		return 0;
	case NEIGH_NO_ROOM:
		count(net, CTR_net_neigh_full);
		return -EAGAIN;
	case NEIGH_PENDING:
		break;
	}
	wait_for_hop(net, frame, slot);
	return -EAGAIN;
}

int
net_wrap_reply(struct net *net, struct frame *frame, const struct flow *flow, uint32_t tcp_header_octets,
	const struct net_frame *to, uint64_t now_us)
{
	int err;

	(void)now_us;
	HOT_BUG_ON(to->view.len_octets < ETH_HEADER_OCTETS);
	err = wrap(net, frame, flow, tcp_header_octets, to->port_index);
	if (err == 0)
		memcpy(frame->hdr, to->view.ptr + ETH_MAC_OCTETS, ETH_MAC_OCTETS);
	return err;
}

static void
run_due(struct net *net, uint64_t now_us)
{
	struct neigh_due due;

	for (uint32_t i = 0; i < NET_DUE_PER_CALL_MAX; i++) {
		const enum neigh_due_kind kind = neigh_due(net->neigh, &due, now_us);
		const uint8_t *to_mac = kind == NEIGH_ASK_ONE ? due.mac : NULL;

		switch (kind) {
		case NEIGH_NOTHING:
			return;
		case NEIGH_ASK_ALL:
		case NEIGH_ASK_ONE:
			if (ip_addr_is_v4(&due.addr))
				ask4(net, due.port_index, &due.addr, to_mac);
			else
				ask6(net, due.port_index, &due.addr, to_mac);
			break;
		case NEIGH_GAVE_UP:
			count(net, CTR_net_neigh_failed);
			release_waiting(net, due.waiting, NULL);
			break;
		}
	}
}

uint32_t
net_output(struct net *net, struct frame *out, uint32_t n, uint64_t now_us)
{
	uint32_t done = 0;

	if (now_us >= neigh_deadline_us(net->neigh))
		run_due(net, now_us);
	if (now_us >= reasm_deadline_us(net->reasm))
		counter_add(net->counters, CTR_net_frag_drop, reasm_expire(net->reasm, now_us));
	while (done < n && net->queue_tail != net->queue_head)
		out[done++] = net->queue[net->queue_tail++ % NET_QUEUE_FRAMES];
	return done;
}

uint64_t
net_deadline_us(const struct net *net)
{
	if (net->queue_tail != net->queue_head)
		return 0;
	return MIN(neigh_deadline_us(net->neigh), reasm_deadline_us(net->reasm));
}
