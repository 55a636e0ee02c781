/*
 * net_hop.c - next hops: ARP and neighbour discovery as asked and answered, and the frames that wait for an answer.
 *
 * Flow:   net_input() -> net_input_arp(), net_input_nd();  net_wrap() -> net_wait_for_hop();  net_output() -> net_ask_due()
 * Pure:   see net.h. The table itself is neigh.c, the octets are arp.c and nd.c.
 * Keeps:  one frame a hop waits, the latest; who asks for us is answered without an entry.
 * Source: RFC 826, RFC 4861, RFC 1122 section 2.3.2.2.
 */
#include <string.h>

#include "dataplane/net/csum.h"
#include "dataplane/net/nd.h"
#include "dataplane/net/net_impl.h"

#define NET_DUE_PER_CALL_MAX 16 /* questions to next hops in one net_output() */

static void
say_arp(struct net *net, uint8_t port_index, const uint8_t *to_mac, const struct arp *arp)
{
	struct frame *f = net_queue_slot(net);

	if (f == NULL)
		return;
	net_queue_push(net, f, port_index,
		arp_build(eth_build(f->hdr, to_mac, net->conf.port[port_index].mac, ETH_TYPE_ARP), arp));
}

/* Asks who has addr; to_mac NULL asks all. */
static void
ask4(struct net *net, uint8_t port_index, const struct ip_addr *addr, const uint8_t *to_mac)
{
	const struct ip_addr *source = net_source_on(net, port_index, addr);
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
	const struct ip_addr *source = net_source_on(net, port_index, addr);
	const uint8_t *own_mac = net->conf.port[port_index].mac;
	struct frame *f = net_queue_slot(net);
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
	net_queue_push(net, f, port_index, nd_build_ns(p, source, &dst, addr, own_mac));
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
	struct frame *f = net_queue_slot(net);

	if (f == NULL)
		return;
	if (unspecified) {
		ipv6_multicast_mac(dst, mac);
		to_mac = mac;
	}
	p = eth_build(f->hdr, to_mac, own_mac, ETH_TYPE_IPV6);
	p = ipv6_build(p, target, dst, IP_PROTO_ICMPV6, ND_MESSAGE_OCTETS, ND_HOP_LIMIT);
	net_queue_push(net, f, port_index, nd_build_na(p, target, dst, target, own_mac, !unspecified));
}

static void
release_waiting(struct net *net, uint32_t slot, const uint8_t *mac)
{
	struct frame *w, *f;

	if (slot == NEIGH_NO_SLOT)
		return;
	w = &net->waiting[slot];
	net->waiting_used[slot] = false;
	net->n_waiting--;
	f = mac != NULL ? net_queue_slot(net) : NULL;
	if (f == NULL) {
		net_frame_drop(net, w);
		return;
	}
	*f = *w; /* its references go along */
	memcpy(f->hdr, mac, ETH_MAC_OCTETS);
	net_queue_push(net, f, w->port_index, f->hdr + w->hdr_len_octets);
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

/* RFC 826. A request is answered to who asked, without an entry: a flood of askers costs nothing. */
void
net_input_arp(struct net *net, const struct net_frame *frame, struct octets o, uint64_t now_us)
{
	const uint8_t port_index = frame->port_index;
	struct neigh_word word;
	struct arp arp, reply;
	bool for_us;

	if (!arp_parse(o, &arp)) {
		net_count(net, CTR_net_drop_short);
		return;
	}
	net_count(net, CTR_net_arp_in);
	for_us = net_port_has(net, port_index, &arp.target);
	if (!eth_is_station(arp.sender_mac)) {
		net_count(net, CTR_net_drop_mac);
		return;
	}
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

void
net_input_nd(struct net *net, const struct net_frame *frame, const struct eth_header *eth, const struct ip_packet *p,
	uint64_t now_us)
{
	struct neigh_word word;
	struct nd nd;

	if (!nd_parse(p, &nd)) {
		net_count(net, CTR_net_drop_protocol);
		return;
	}
	net_count(net, CTR_net_nd_in);
	word = (struct neigh_word){ .addr = nd.is_ns ? p->src : nd.target,
		.port_index = frame->port_index,
		.solicited = nd.solicited && net_port_has(net, frame->port_index, &p->dst),
		.override = nd.is_ns || nd.override };
	/* an answer to a unicast question may leave its own address out (section 4.4): then the frame's sender is meant */
	memcpy(word.mac, nd.has_mac ? nd.mac : eth->src, ETH_MAC_OCTETS);
	if (nd.is_ns ? nd.has_mac : (nd.has_mac || nd.solicited))
		hear_from_wire(net, &word, now_us);
	if (!nd.is_ns || !net_port_has(net, frame->port_index, &nd.target) || net_is_local(net, &p->src))
		return;
	answer_ns(net, frame->port_index, p, &nd.target, word.mac);
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
void
net_wait_for_hop(struct net *net, const struct frame *f, uint32_t *slot)
{
	if (*slot == NEIGH_NO_SLOT) {
		if (net->n_waiting == NEIGH_WAITING_MAX) {
			net_count(net, CTR_net_neigh_full);
			return;
		}
		for (uint32_t i = 0; *slot == NEIGH_NO_SLOT; i++)
			if (!net->waiting_used[i])
				*slot = i;
		net->waiting_used[*slot] = true;
		net->n_waiting++;
	} else {
		net_count(net, CTR_net_neigh_replaced);
		net_frame_drop(net, &net->waiting[*slot]);
	}
	if (!keep_waiting(net, f, *slot)) {
		net_count(net, CTR_port_no_buffer);
		net->waiting_used[*slot] = false;
		net->n_waiting--;
		*slot = NEIGH_NO_SLOT;
	}
}

void
net_ask_due(struct net *net, uint64_t now_us)
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
			net_count(net, CTR_net_neigh_failed);
			release_waiting(net, due.waiting, NULL);
			break;
		}
	}
}
