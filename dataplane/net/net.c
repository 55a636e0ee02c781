/*
 * net.c - the network layer of one worker: what came in, what goes out.
 *
 * Flow:   net_input(): Ethernet -> ARP and ND (net_hop.c) | IPv4 | IPv6 -> a TCP segment, an ICMP error, an answer of our own
 *         (net_icmp.c), or nothing
 *         net_wrap(): TCP header and payload -> route (net_route.c) -> next hop's MAC address (net_hop.c) -> frame
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
#include "dataplane/net/csum.h"
#include "dataplane/net/nd.h"
#include "dataplane/net/net_impl.h"

#define TCP_HEADER_MIN_OCTETS 20
#define TCP_HEADER_MAX_OCTETS 60

static_assert(WRAP_IPV6_OCTETS + TCP_HEADER_MAX_OCTETS <= FRAME_HEADER_MAX_OCTETS, "the largest TCP header fits");
static_assert(
	WRAP_IPV6_OCTETS + IPV6_FRAG_HEADER_OCTETS + ICMP_HEADER_OCTETS <= FRAME_HEADER_MAX_OCTETS, "so does an echo");
static_assert(FRAME_VIEWS_MAX >= REASM_FRAGS_MAX, "an echo answers with the views it came in");

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
		memcpy(&net->mac_word[i], conf->port[i].mac, ETH_MAC_OCTETS);
		for (uint32_t k = 0; k < conf->port[i].n_addrs; k++)
			net_add_own4(net, (uint8_t)i, &conf->port[i].addr[k]);
	}
	icmp_limit_init(&net->echo_limit, now_us);
	return net;
}

void
net_frame_drop(struct net *net, const struct frame *f)
{
	for (uint32_t i = 0; i < f->n_views; i++)
		buf_unref(net->pool, f->view[i].buf);
}

void
net_memory(struct memory_list *l)
{
	memory_list_add(l, "network layer", 1, sizeof(struct net));
	memory_list_add(l, "neighbour tables", 1, neigh_octets());
	memory_list_add(l, "reassembly", 1, reasm_octets());
}

void
net_destroy(struct net *net)
{
	if (net == NULL)
		return;
	for (uint32_t i = 0; i < NEIGH_WAITING_MAX; i++)
		if (net->waiting_used[i])
			net_frame_drop(net, &net->waiting[i]);
	while (net->queue_tail != net->queue_head)
		net_frame_drop(net, &net->queue[net->queue_tail++ % NET_QUEUE_FRAMES]);
	neigh_destroy(net->neigh);
	reasm_destroy(net->reasm);
	free(net);
}

struct frame *
net_queue_slot(struct net *net)
{
	struct frame *f;

	if (net->queue_head - net->queue_tail == NET_QUEUE_FRAMES) {
		net_count(net, CTR_net_out_full);
		return NULL;
	}
	f = &net->queue[net->queue_head % NET_QUEUE_FRAMES];
	f->n_views = 0;
	return f;
}

void
net_queue_push(struct net *net, struct frame *f, uint8_t port_index, const uint8_t *end)
{
	f->port_index = port_index;
	f->hdr_len_octets = (uint16_t)(end - f->hdr);
	net->queue_head++;
}

/* ---- input ---- */

/* A segment of ours, or of another worker. */
static enum net_result
segment_or_owner(const struct net *net, const struct net_frame *frame, struct net_out *out)
{
	if (!frame->redirected) {
		const uint32_t owner = flow_owner(net->conf.steering, &out->seg.flow);

		if (owner != net->conf.worker) {
			out->owner = owner;
			out->whole = (struct buf_view){ 0 };
			return NET_REDIRECT;
		}
	}
	return NET_SEGMENT;
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
		net_count(net, CTR_net_drop_short);
		return NET_NONE;
	}
	return segment_or_owner(net, frame, out);
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
		net_count(net, CTR_net_frag_drop);
		return NET_NONE;
	}
	o = octets_of(again.view.ptr + ETH_HEADER_OCTETS, again.view.len_octets - ETH_HEADER_OCTETS);
	if ((p->is_v4 ? ipv4_parse(o, &q) : ipv6_parse(o, &q)) != IP_OK || q.is_fragment || q.proto != IP_PROTO_TCP) {
		net_count(net,
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
	const struct net_answer a = { .port_index = frame->port_index,
		.to_mac = eth->src,
		.src = &p->dst,
		.dst = &p->src,
		.is_v4 = p->is_v4,
		.id = p->frag_id };
	const uint32_t owner = flow_owner(net->conf.steering, &addresses);
	enum net_result result = NET_NONE;
	struct reasm_whole whole;
	enum reasm_result added;

	/* 1. All fragments of one datagram meet at one worker: the owner of their addresses. */
	if (owner != net->conf.worker && !frame->redirected) {
		out->owner = owner;
		return NET_REDIRECT;
	}
	net_count(net, CTR_net_frag_in);
	added = reasm_add(net->reasm, p, frame->view.buf, &whole, now_us);
	counter_add(net->counters, CTR_net_frag_drop, reasm_lost(net->reasm));
	switch (added) {
	case REASM_HELD:
		return NET_NONE;
	case REASM_DROPPED:
		net_count(net, CTR_net_frag_drop);
		return NET_NONE;
	case REASM_DONE:
		break;
	}
	net_count(net, CTR_net_frag_done);
	/* 2. An echo is answered from its pieces; the first is at least 8 octets, because only the last may be shorter. */
	if (whole.proto == (p->is_v4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6)) {
		if (whole.view[0].len_octets >= ICMP_HEADER_OCTETS && whole.view[0].ptr[1] == 0 &&
			whole.view[0].ptr[0] == (p->is_v4 ? ICMP4_ECHO : ICMP6_ECHO))
			net_answer_echo(net, &a, whole.view, whole.n_views, whole.octets, now_us);
		else
			net_count(net, CTR_net_drop_protocol);
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
		return net_input_icmp(net, frame, eth, p, out, now_us);
	net_count(net, CTR_net_drop_protocol);
	return NET_NONE;
}

static void
drop_ip(struct net *net, enum ip_result why)
{
	switch (why) {
	case IP_OK:
		break;
	case IP_SHORT:
		net_count(net, CTR_net_drop_short);
		break;
	case IP_HEADER:
		net_count(net, CTR_net_drop_ip_header);
		break;
	case IP_CHECKSUM:
		net_count(net, CTR_net_drop_ip_checksum);
		break;
	case IP_EXTENSION:
		net_count(net, CTR_net_drop_extension);
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
			net_count(net, CTR_net_drop_ip_address);
		else if (!csum_is_good(&p.src, &p.dst, IP_PROTO_ICMPV6, p.payload, p.payload_octets))
			net_count(net, CTR_net_drop_ip_checksum);
		else
			net_input_nd(net, frame, eth, &p, now_us);
		return NET_NONE;
	}
	/* 2. All else comes from one host to one address of this port (RFC 1122 section 3.2.1.3, RFC 9293 MUST-57, MUST-63). */
	if (eth_is_group(eth->dst)) {
		net_count(net, CTR_net_drop_mac);
		return NET_NONE;
	}
	if (is_v4 ? !ipv4_is_source(&p.src) ||
				!net_may_arrive4(net, frame->port_index, ip_addr_to_v4(&p.src), ip_addr_to_v4(&p.dst))
		  : !ipv6_is_source(&p.src) || !net_port_has(net, frame->port_index, &p.dst) ||
				net_is_local(net, &p.src)) {
		net_count(net, CTR_net_drop_ip_address);
		return NET_NONE;
	}
	if (p.is_fragment)
		return input_fragment(net, frame, eth, &p, out, now_us);
	return input_whole(net, frame, eth, &p, out, now_us);
}

/* The IPv4 address whose octets lie in memory as w does. */
static struct ip_addr
addr_of_word(uint32_t w)
{
	static const uint8_t mapped[4] = { 0, 0, 0xff, 0xff };
	struct ip_addr a = { 0 };

	memcpy(a.octet + 8, mapped, 4);
	memcpy(a.octet + 12, &w, 4);
	return a;
}

static uint32_t
load_4(const uint8_t *p)
{
	uint32_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

static uint64_t
load_8(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

/*
 * What nearly every frame is: TCP over IPv4 without options, whole, from a host to an address of this port. True: out->seg is filled in. Of
 * whatever differs nothing is said here: it goes the long way, and is judged, counted and dropped there. Fields that stand side by side are
 * looked at together, under a mask.
 */
static bool
input_plain4(const struct net *net, const struct net_frame *frame, struct net_out *out)
{
	const uint8_t *e = frame->view.ptr, *h = e + ETH_HEADER_OCTETS;
	struct net_seg *seg = &out->seg;
	uint32_t octets, from, to, src;

	if (frame->view.len_octets < WRAP_IPV4_OCTETS + TCP_HEADER_MIN_OCTETS)
		return false;
	octets = get_u16(h + 2);
	/* 1. to our MAC address, from that of a station; IPv4 of five words; no fragment; TCP; and all of it is here */
	if (((load_8(e) ^ net->mac_word[frame->port_index]) & htobe64(UINT64_C(0xffffffffffff0000))) != 0 ||
		eth_is_group(e + ETH_MAC_OCTETS) ||
		(load_8(e + ETH_MAC_OCTETS - 2) & htobe64(UINT64_C(0xffffffffffff))) == 0 ||
		(load_4(e + 2 * ETH_MAC_OCTETS) & htobe32(0xffffff00)) != htobe32(ETH_TYPE_IPV4 << 16 | 0x4500) ||
		(load_4(h + 6) & htobe32(IPV4_FRAGMENT_MASK << 16 | 0xff)) != htobe32(IP_PROTO_TCP) ||
		octets < IPV4_HEADER_OCTETS + TCP_HEADER_MIN_OCTETS ||
		octets > frame->view.len_octets - ETH_HEADER_OCTETS)
		return false;
	/* 2. the checksum over all five words is all ones */
	from = load_4(h + 12);
	to = load_4(h + 16);
	if (csum_fold((uint64_t)load_4(h) + load_4(h + 4) + load_4(h + 8) + from + to) != UINT16_MAX)
		return false;
	/* 3. from a host that is not ours, to an address of this port */
	src = be32toh(from);
	if (!ipv4_is_source_number(src) || !net_may_arrive4(net, frame->port_index, src, be32toh(to)))
		return false;
	seg->flow.remote = addr_of_word(from);
	seg->flow.local = addr_of_word(to);
	h += IPV4_HEADER_OCTETS;
	seg->flow.remote_port = get_u16(h);
	seg->flow.local_port = get_u16(h + 2);
	seg->hash = 0;
	seg->tcp = (struct buf_view){ .ptr = h, .len_octets = octets - IPV4_HEADER_OCTETS, .buf = frame->view.buf };
	seg->checksum_good = frame->l4_checksum == 1;
	seg->port_index = frame->port_index;
	seg->ttl = h[8 - IPV4_HEADER_OCTETS];
	seg->ecn = h[1 - IPV4_HEADER_OCTETS] & 3;
	return true;
}

/* Any frame, from its Ethernet header on. */
static enum net_result
input_frame(struct net *net, const struct net_frame *frame, struct net_out *out, uint64_t now_us)
{
	struct octets o = octets_of(frame->view.ptr, frame->view.len_octets);
	struct eth_header eth;

	out->whole = (struct buf_view){ 0 };
	if (!eth_parse(&o, &eth)) {
		net_count(net, CTR_net_drop_short);
		return NET_NONE;
	}
	/* a port may be promiscuous, and a switch floods what it does not know */
	if ((!eth_is_group(eth.dst) && memcmp(eth.dst, net->conf.port[frame->port_index].mac, ETH_MAC_OCTETS) != 0) ||
		!eth_is_station(eth.src)) {
		net_count(net, CTR_net_drop_mac);
		return NET_NONE;
	}
	switch (eth.type) {
	case ETH_TYPE_ARP:
		net_input_arp(net, frame, o, now_us);
		return NET_NONE;
	case ETH_TYPE_IPV4:
	case ETH_TYPE_IPV6:
		return input_ip(net, frame, &eth, o, out, now_us);
	case ETH_TYPE_VLAN: /* a VLAN of which the port knows nothing */
		net_count(net, CTR_net_drop_vlan);
		return NET_NONE;
	default: /* not an enum of ours: any 16 bits may stand here */
		net_count(net, CTR_net_drop_ethertype);
		return NET_NONE;
	}
}

enum net_result
net_input(struct net *net, const struct net_frame *frame, struct net_out *out, uint64_t now_us)
{
	out->reassembled = NULL;
	HOT_BUG_ON(frame->port_index >= net->conf.n_ports);
	if (input_plain4(net, frame, out))
		return segment_or_owner(net, frame, out);
	return input_frame(net, frame, out, now_us);
}

/* ---- output ---- */

/* IP header and the Ethernet header but for its destination, before tcp_octets. */
static inline __attribute__((always_inline)) void
put_headers(struct net *net, uint8_t *frame, const struct flow *flow, uint32_t tcp_octets, uint8_t port_index,
	const bool is_v4)
{
	uint8_t *p;

	p = eth_build_from(frame, net->conf.port[port_index].mac, is_v4 ? ETH_TYPE_IPV4 : ETH_TYPE_IPV6);
	if (is_v4)
		ipv4_put(p, ip_addr_to_v4(&flow->local), ip_addr_to_v4(&flow->remote), IP_PROTO_TCP, tcp_octets,
			IPV4_DF);
	else
		ipv6_build(p, &flow->local, &flow->remote, IP_PROTO_TCP, tcp_octets, IP_TTL);
}

/* Checksum, IP header and the Ethernet header but for its destination. 0 or -EMSGSIZE. */
static inline __attribute__((always_inline)) int
wrap_of(struct net *net, struct frame *f, const struct flow *flow, uint32_t tcp_header_octets, uint8_t port_index,
	const bool is_v4)
{
	const uint32_t head = is_v4 ? WRAP_IPV4_OCTETS : WRAP_IPV6_OCTETS;
	uint32_t payload_octets = 0, tcp_octets;

	HOT_BUG_ON(tcp_header_octets < TCP_HEADER_MIN_OCTETS || tcp_header_octets > TCP_HEADER_MAX_OCTETS ||
		   f->n_views > FRAME_VIEWS_MAX);
	for (uint32_t i = 0; i < f->n_views; i++)
		payload_octets += f->view[i].len_octets;
	tcp_octets = tcp_header_octets + payload_octets;
	if (head - ETH_HEADER_OCTETS + tcp_octets > net->conf.port[port_index].mtu)
		return -EMSGSIZE;
	csum_set_tcp(f->hdr + head, tcp_header_octets,
		csum_pseudo(&flow->local, &flow->remote, CSUM_PROTO_TCP, tcp_octets, is_v4), net->pool, f->view,
		f->n_views);
	put_headers(net, f->hdr, flow, tcp_octets, port_index, is_v4);
	f->hdr_len_octets = (uint16_t)(head + tcp_header_octets);
	f->port_index = port_index;
	return 0;
}

static __attribute__((noinline)) int
wrap(struct net *net, struct frame *f, const struct flow *flow, uint32_t tcp_header_octets, uint8_t port_index)
{
	return wrap_of(net, f, flow, tcp_header_octets, port_index, ip_addr_is_v4(&flow->local));
}

/* By a way that is looked for, and kept in path. */
static __attribute__((noinline)) int
wrap_anew(struct net *net, struct frame *frame, const struct flow *flow, uint32_t tcp_header_octets,
	struct net_path *path, uint64_t now_us)
{
	uint32_t *slot = NULL;
	struct net_hop r;
	int err;

	if (!net_route(net, &flow->local, &flow->remote, &r))
		return -ENETUNREACH;
	err = wrap(net, frame, flow, tcp_header_octets, r.port_index);
	if (err != 0)
		return err;
	switch (neigh_find(net->neigh, &r.next, r.port_index, frame->hdr, &slot, now_us)) {
	case NEIGH_KNOWN:
		if (path != NULL)
			*path = (struct net_path){ .forgotten = neigh_forgotten(net->neigh),
				.entry = neigh_last(net->neigh),
				.port_index = r.port_index,
				.known = true };
		return 0;
	case NEIGH_NO_ROOM:
		net_count(net, CTR_net_neigh_full);
		return -EAGAIN;
	case NEIGH_PENDING:
		break;
	}
	net_wait_for_hop(net, frame, slot);
	return -EAGAIN;
}

int
net_wrap(struct net *net, struct frame *frame, const struct flow *flow, uint32_t tcp_header_octets,
	struct net_path *path, uint64_t now_us)
{
	if (path == NULL || !path->known || path->forgotten != neigh_forgotten(net->neigh) ||
		!neigh_again(net->neigh, path->entry, frame->hdr, now_us))
		return wrap_anew(net, frame, flow, tcp_header_octets, path, now_us);
	if (!ip_addr_is_v4(&flow->local))
		return wrap(net, frame, flow, tcp_header_octets, path->port_index);
	return wrap_of(net, frame, flow, tcp_header_octets, path->port_index, true);
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

uint32_t
net_answer(struct net *net, uint8_t *frame, const struct flow *flow, uint32_t tcp_header_octets,
	const struct net_frame *to)
{
	const bool is_v4 = ip_addr_is_v4(&flow->local);

	HOT_BUG_ON(to->view.len_octets < ETH_HEADER_OCTETS || tcp_header_octets < TCP_HEADER_MIN_OCTETS ||
		   tcp_header_octets > TCP_HEADER_MAX_OCTETS);
	memcpy(frame, to->view.ptr + ETH_MAC_OCTETS, ETH_MAC_OCTETS); /* who asked; our own address goes over it next */
	put_headers(net, frame, flow, tcp_header_octets, to->port_index, is_v4);
	return (is_v4 ? WRAP_IPV4_OCTETS : WRAP_IPV6_OCTETS) + tcp_header_octets;
}

uint32_t
net_output(struct net *net, struct frame *out, uint32_t n, uint64_t now_us)
{
	uint32_t done = 0;

	if (now_us >= neigh_deadline_us(net->neigh))
		net_ask_due(net, now_us);
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
