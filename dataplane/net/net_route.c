/*
 * net_route.c - which addresses are ours, and which way a packet goes.
 *
 * Flow:   net_input() asks what may arrive, net_wrap() for the next hop, the worker where a connect of ours comes from
 * Pure:   see net.h.
 * Keeps:  an address of ours is answered only on the port that has it (RFC 1122 section 3.3.4.2, the strong model).
 * Source: RFC 1122 section 3.2.1.3 (addresses), section 3.3.1 (routes).
 */
#include <errno.h>

#include "dataplane/net/net_impl.h"

void
net_add_own4(struct net *net, uint8_t port_index, const struct conf_port_addr *a)
{
	const uint32_t host_mask =
		a->prefix_bits <= 96 ? UINT32_MAX : (uint32_t)((UINT64_C(1) << (128 - a->prefix_bits)) - 1);

	if (!ip_addr_is_v4(&a->addr))
		return;
	net->own4[net->n_own4++] = (struct own4){ .addr = ip_addr_to_v4(&a->addr),
		.host_mask = host_mask,
		.net_mask = ~host_mask,
		.port_index = port_index,
		.prefix_bits = a->prefix_bits,
		.has_broadcast = a->prefix_bits >= 96 && a->prefix_bits <= 126 };
}

bool
net_port_has(const struct net *net, uint8_t port_index, const struct ip_addr *addr)
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
		if (net_port_has(net, (uint8_t)i, addr))
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

	return o->has_broadcast && ((addr ^ o->addr) & o->net_mask) == 0 && (host == 0 || host == o->host_mask);
}

bool
net_may_arrive_from_near4(const struct net *net, uint8_t port_index, uint32_t src, uint32_t dst)
{
	bool ours = false;

	for (uint32_t i = 0; i < net->n_own4; i++) {
		const struct own4 *o = &net->own4[i];

		if (src == o->addr || (o->port_index == port_index && is_broadcast_of(o, src)))
			return false;
		ours |= o->addr == dst && o->port_index == port_index;
	}
	return ours;
}

/* The address of ours to speak from towards next: one whose prefix holds it, else the first of its family. NULL: none. */
const struct ip_addr *
net_source_on(const struct net *net, uint8_t port_index, const struct ip_addr *next)
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

/* As net_route(), of IPv4 addresses. */
static bool
route4(const struct net *net, const struct ip_addr *local, const struct ip_addr *remote, struct net_hop *out)
{
	const uint32_t from = local != NULL ? ip_addr_to_v4(local) : 0, to = ip_addr_to_v4(remote);
	const struct own4 *best = NULL, *home = NULL;
	bool is_broadcast = false;

	for (uint32_t i = 0; i < net->n_own4; i++) {
		const struct own4 *o = &net->own4[i];

		if (home == NULL && local != NULL && o->addr == from)
			home = o;
		if (((to ^ o->addr) & o->net_mask) == 0 && (best == NULL || o->prefix_bits > best->prefix_bits))
			best = o;
	}
	if (best != NULL) {
		for (uint32_t i = 0; i < net->n_own4; i++)
			is_broadcast |=
				net->own4[i].port_index == best->port_index && is_broadcast_of(&net->own4[i], to);
		*out = (struct net_hop){ .port_index = best->port_index, .next = *remote };
		return !is_broadcast;
	}
	if (home != NULL && !ip_addr_is_zero(&net->conf.port[home->port_index].gateway4)) {
		*out = (struct net_hop){ .port_index = home->port_index,
			.next = net->conf.port[home->port_index].gateway4 };
		return true;
	}
	for (uint32_t i = 0; i < net->conf.n_ports; i++) {
		if (ip_addr_is_zero(&net->conf.port[i].gateway4))
			continue;
		*out = (struct net_hop){ .port_index = (uint8_t)i, .next = net->conf.port[i].gateway4 };
		return true;
	}
	return false;
}

/* The longest prefix of a port that holds remote; else a gateway, that of the port which has local first. local may be NULL. */
bool
net_route(const struct net *net, const struct ip_addr *local, const struct ip_addr *remote, struct net_hop *out)
{
	int best_bits = -1, gateway_port = -1;

	if (ip_addr_is_v4(remote))
		return route4(net, local, remote, out);
	for (uint32_t i = 0; i < net->conf.n_ports; i++) {
		const struct conf_port *p = &net->conf.port[i];
		const bool is_home = local != NULL && net_port_has(net, (uint8_t)i, local);

		if (ipv6_is_link_local(remote)) {
			if (is_home) {
				*out = (struct net_hop){ .port_index = (uint8_t)i, .next = *remote };
				return true;
			}
			continue;
		}
		for (uint32_t k = 0; k < p->n_addrs; k++) {
			if (p->addr[k].prefix_bits > best_bits && prefix_has(&p->addr[k], remote)) {
				best_bits = p->addr[k].prefix_bits;
				*out = (struct net_hop){ .port_index = (uint8_t)i, .next = *remote };
			}
		}
		if (!ip_addr_is_zero(&p->gateway6) && (gateway_port < 0 || is_home))
			gateway_port = (int)i;
	}
	if (best_bits >= 0)
		return true;
	if (gateway_port < 0)
		return false;
	*out = (struct net_hop){ .port_index = (uint8_t)gateway_port, .next = net->conf.port[gateway_port].gateway6 };
	return true;
}

int
net_source_for(const struct net *net, const struct ip_addr *remote, struct ip_addr *local, uint16_t *mtu)
{
	const struct ip_addr *source;
	struct net_hop r;

	if (!net_route(net, NULL, remote, &r))
		return -ENETUNREACH;
	source = net_source_on(net, r.port_index, &r.next);
	/* a gateway may be link-local; who is spoken to is not */
	if (source != NULL && source == &net->link_local[r.port_index])
		source = net_source_on(net, r.port_index, remote);
	if (source == NULL || ip_addr_is_v4(source) != ip_addr_is_v4(remote) ||
		source == &net->link_local[r.port_index])
		return -ENETUNREACH;
	*local = *source;
	*mtu = net->conf.port[r.port_index].mtu;
	return 0;
}
