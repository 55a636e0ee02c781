/*
 * net_icmp.c - echoes answered, errors handed to TCP.
 *
 * Flow:   net_input() -> net_input_icmp();  a datagram made whole -> net_answer_echo()
 * Pure:   see net.h. An answer attaches the question's octets.
 * Keeps:  answers are limited a second; an error is handed on only when it quotes a flow of ours.
 * Source: RFC 792, RFC 4443.
 */
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/net/csum.h"
#include "dataplane/net/net_impl.h"

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
say_echo_piece(struct net *net, const struct net_answer *a, const uint8_t *head, const struct buf_view *view,
	uint32_t n_views, uint32_t from, uint32_t len, uint32_t octets)
{
	const bool more = from + len < octets, cut = more || from > 0;
	struct frame *f = net_queue_slot(net);
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
	net_queue_push(net, f, a->port_index, p);
	return true;
}

/*
 * Answers an echo request whose ICMP message lies in views (each with a buffer, the first at least ICMP_HEADER_OCTETS long). Its
 * checksum is verified here. The reply's octets are the request's, attached; it is cut as the port's MTU wants.
 */
void
net_answer_echo(struct net *net, const struct net_answer *a, const struct buf_view *view, uint32_t n_views,
	uint32_t octets, uint64_t now_us)
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
		net_count(net, CTR_net_drop_ip_checksum);
		return;
	}
	if (!icmp_limit_allow(&net->echo_limit, now_us)) {
		net_count(net, CTR_net_icmp_limited);
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
			net_count(net, CTR_net_icmp_echo);
		return;
	}
	for (uint32_t from = 0; from < octets; from += cut)
		if (!say_echo_piece(net, a, head, view, n_views, from, MIN(cut, octets - from), octets))
			return;
	net_count(net, CTR_net_icmp_echo);
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
		net_count(net, CTR_net_drop_ip_checksum);
		return NET_NONE;
	}
	if (!icmp_error_parse(p, &out->error) || !net_is_local(net, &out->error.flow.local)) {
		net_count(net, CTR_net_drop_protocol);
		return NET_NONE;
	}
	owner = flow_owner(net->conf.steering, &out->error.flow);
	if (owner != net->conf.worker && !frame->redirected) {
		out->owner = owner;
		return NET_REDIRECT;
	}
	net_count(net, CTR_net_icmp_error_in);
	return NET_ICMP_ERROR;
}

enum net_result
net_input_icmp(struct net *net, const struct net_frame *frame, const struct eth_header *eth, const struct ip_packet *p,
	struct net_out *out, uint64_t now_us)
{
	const struct net_answer a = { .port_index = frame->port_index,
		.to_mac = eth->src,
		.src = &p->dst,
		.dst = &p->src,
		.is_v4 = p->is_v4,
		.id = p->frag_id };
	struct buf_view v;

	if (p->payload_octets < ICMP_HEADER_OCTETS) {
		net_count(net, CTR_net_drop_short);
		return NET_NONE;
	}
	if (p->payload[0] != (p->is_v4 ? ICMP4_ECHO : ICMP6_ECHO))
		return input_icmp_error(net, frame, p, out);
	if (p->payload[1] != 0) {
		net_count(net, CTR_net_drop_protocol);
		return NET_NONE;
	}
	v = holdable(net, frame, p);
	if (v.buf == NULL) {
		net_count(net, CTR_port_no_buffer);
		return NET_NONE;
	}
	net_answer_echo(net, &a, &v, 1, p->payload_octets, now_us);
	buf_unref(net->pool, v.buf);
	return NET_NONE;
}
