/*
 * session_proxy.c - the PROXY header of a trusted load balancer in front of us: who the client is.
 *
 * Flow:   session_accept() -> session_proxy_expected() -> (segments -> session_proxy_run()) -> session_begin()
 * Touches: nothing but the worker's own state.
 * Keeps:  a header is believed from a network of the listener's trusted_proxies alone (PITFALLS 47), and there it is demanded: without
 *         one the connection is closed unheard, for the proxy's own address would else stand for all clients. From anybody else its
 *         octets are commands like any other. Until it is whole nothing is said, asked or counted in the limits; then the session is
 *         the header's client's in everything: verdict, limits, greylist, logs, and what backends are told.
 * Source: PROXY protocol, sections 2 and 4 (a receiver must not guess whether a header is there).
 */
#include "dataplane/worker/worker_impl.h"

#include <string.h>

#include "dataplane/base/bug.h"

bool
session_proxy_expected(const struct conf_listener *l, const struct ip_addr *peer)
{
	for (uint32_t i = 0; i < l->n_trusted; i++) {
		const struct conf_port_addr *net = &l->trusted[i];
		const struct ip_addr of = ip_addr_mask(peer, net->prefix_bits);

		if (ip_addr_equal(&of, &net->addr) && ip_addr_is_v4(peer) == ip_addr_is_v4(&net->addr))
			return true;
	}
	return false;
}

void
session_proxy_begin(struct worker *w, struct session *s)
{
	s->wait = SESSION_WAIT_PROXY;
	s->pause_due_us = w->now_us + PROXY_HEADER_WAIT_US;
	session_proxy_run(w, s);
}

void
session_proxy_refuse(struct worker *w, struct session *s, const char *why)
{
	counter_inc(w->counters, CTR_worker_proxy_refused);
	session_client_lost(w, s, why);
}

/* Out of line: a frame of 12 KiB, for a header may come one octet at a time and each in a view of its own. */
static enum proxy_parse __attribute__((noinline))
look(const struct tcp_conn *conn, struct proxy_addrs *addrs, uint32_t *used)
{
	struct buf_view v[PROXY_HEADER_MAX_OCTETS];
	uint8_t head[PROXY_HEADER_MAX_OCTETS];
	uint32_t n_views = tcp_peek(conn, v, ARRAY_LEN(v)), n = 0;

	for (uint32_t i = 0; i < n_views && n < sizeof(head); i++) {
		const uint32_t take = MIN(v[i].len_octets, (uint32_t)sizeof(head) - n);

		memcpy(head + n, v[i].ptr, take);
		n += take;
	}
	return proxy_header_parse(head, n, addrs, used);
}

void
session_proxy_run(struct worker *w, struct session *s)
{
	struct proxy_addrs addrs = { 0 };
	uint32_t used = 0;

	switch (look(s->client.conn, &addrs, &used)) {
	case PROXY_MORE:
		if (s->client_eof)
			session_proxy_refuse(w, s, "no-proxy-header");
		else
			session_arm(w, s);
		return;
	case PROXY_BROKEN:
		session_proxy_refuse(w, s, "bad-proxy-header");
		return;
	case PROXY_DONE:
		if (ip_addr_is_zero(&addrs.src) || addrs.src_port == 0) {
			session_proxy_refuse(w, s, "bad-proxy-header");
			return;
		}
		s->flow.remote = addrs.src;
		s->flow.remote_port = addrs.src_port;
		s->told_local = addrs.dst; /* s->flow.local stays: it names the listener */
		s->told_local_port = addrs.dst_port;
		break;
	case PROXY_LOCAL:
		break; /* the proxy speaks for itself: section 2.2 */
	}
	tcp_consume(s->client.conn, used);
	counter_inc(w->counters, CTR_worker_proxied);
	s->wait = SESSION_WAIT_NONE;
	s->accepted_us = w->now_us; /* the client's deadlines begin with the client */
	session_begin(w, s);
}

void
session_proxy_event(struct worker *w, struct session *s, uint32_t events)
{
	if (events & (TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_CLOSED)) {
		session_proxy_refuse(w, s, "no-proxy-header");
		return;
	}
	if (events & TCP_EV_EOF)
		s->client_eof = true;
	session_proxy_run(w, s);
}
