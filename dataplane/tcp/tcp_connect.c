/*
 * tcp_connect.c - connections of ours: which source port, which sequence number, the SYN.
 *
 * Flow:   worker (a backend's session, a probe) -> tcp_connect() -> the SYN by tcp_output()
 * Pure:   no clock, no memory of its own; cursors and secrets lie in the segment (tcp_kept.h), so that they outlive a kill.
 * Keeps:  a port is this worker's by flow_owner(), is not in use, and rests in nobody's TIME-WAIT who would refuse a SYN.
 * Source: RFC 6056 section 3.3.4, RFC 6528, RFC 6191.
 */
#include <errno.h>
#include <string.h>

#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"

/* Source ports of connections of ours: RFC 6056 section 3.2 would have all above 1023; below 16384 live services. */
#define PORT_FIRST     16384u
#define PORTS_N        (65536u - PORT_FIRST)
#define PORT_TRIES_MAX 512u /* a pool nearly empty is given up, not searched */

static uint64_t
keyed(const struct tcp *tcp, const char label[4], const struct flow *flow)
{
	uint8_t in[40];

	memcpy(in, label, 4);
	memcpy(in + 4, flow->local.octet, 16);
	memcpy(in + 20, flow->remote.octet, 16);
	memcpy(in + 36, &flow->local_port, 2);
	memcpy(in + 38, &flow->remote_port, 2);
	return siphash(&tcp->kept->secret, in, sizeof(in));
}

/* RFC 6528 section 3: a clock of 4 us and a keyed hash of the tuple. The key outlives a kill, so numbers move on as timestamps do. */
static uint32_t
isn_of(const struct tcp *tcp, const struct flow *flow)
{
	return (uint32_t)(tcp->now_us / 4) + tcp->kept->isn_offset + (uint32_t)keyed(tcp, "isn", flow);
}

/* Whether the peer may still be in TIME-WAIT for flow such that it would not take a SYN, or we are. */
static bool
is_port_resting(const struct tcp *tcp, const struct flow *flow, uint64_t hash)
{
	const struct tcp_tw_record *r = tcp_time_wait_find(&tcp->time_wait, flow, hash);

	if (r == NULL)
		return false;
	/* RFC 6191: a later timestamp is a new connection to the peer. A second, for clocks of another grain. */
	return !r->ts_ok || !seq_gt(tcp_ts_now(tcp, tcp->now_us), r->our_ts + 1000);
}

/*
 * A port of ours that is free. RFC 6056 section 3.3.4: a cursor that only goes forward, so that a port comes again after all others; where it
 * begins is a keyed hash of the pair of addresses, and so is the step, a unit modulo PORTS_N: who sees one pair's ports knows no other's.
 * All workers walk the same cycle, and each passes over what flow_owner() gives to another. False: none found in time.
 */
static bool
choose_port(struct tcp *tcp, struct flow *flow, uint64_t *hash)
{
	const uint64_t r = keyed(tcp, "port", flow);
	const uint32_t odd = (uint32_t)(r >> 16) % (PORTS_N / 2) * 2 + 1;
	const uint32_t step = odd % 3 == 0 ? odd + 2 : odd; /* PORTS_N is 3 * 2^14 */
	uint64_t *cursor = &tcp->kept->worker[tcp->conf.worker].next[(r >> 58) % TCP_CURSORS_N];

	for (uint32_t i = 0; i < PORT_TRIES_MAX; i++) {
		flow->local_port = (uint16_t)(PORT_FIRST + ((uint32_t)(r >> 32) + *cursor % PORTS_N * step) % PORTS_N);
		++*cursor;
		if (tcp->conf.steering != NULL && flow_owner(tcp->conf.steering, flow) != tcp->conf.worker)
			continue;
		*hash = tcp_flow_hash(tcp, flow);
		if (tcp_index_find(tcp, flow, *hash) == TCP_INDEX_NONE && !is_port_resting(tcp, flow, *hash))
			return true;
	}
	return false;
}

struct tcp_conn *
tcp_connect(struct tcp *tcp, const struct ip_addr *local, const struct ip_addr *remote, uint16_t remote_port,
	void *user, uint64_t now_us, int *err)
{
	struct flow flow = { .local = *local, .remote = *remote, .remote_port = remote_port };
	struct tcp_tw_record *tw;
	struct tcp_conn *c;
	uint64_t hash;

	tcp_clock(tcp, now_us);
	if (!choose_port(tcp, &flow, &hash)) {
		counter_inc(tcp->counters, CTR_tcp_port_none);
		*err = -EADDRNOTAVAIL;
		return NULL;
	}
	c = tcp_conn_get(tcp, &flow, hash);
	if (c == NULL) {
		counter_inc(tcp->counters, CTR_tcp_conn_none);
		*err = -ENOBUFS;
		return NULL;
	}
	tw = tcp_time_wait_find(&tcp->time_wait, &flow, hash);
	if (tw != NULL)
		tcp_time_wait_del(&tcp->time_wait, tw);
	tcp->kept->worker[tcp->conf.worker].seen_us = tcp->now_us;
	c->user = user;
	c->is_client = c->ts_ok = c->sack_ok = true;
	c->rcv_wscale = TCP_RCV_WSCALE;
	c->mss_limit = tcp_mss_of_mtu(&flow, tcp->conf.mtu);
	tcp_conn_init_send(c, isn_of(tcp, &flow));
	tcp_conn_init_rcv(c, 0, tcp_initial_window(tcp));
	tcp_mark_conn(c);
	tcp_set_state(c, TCP_STATE_SYN_SENT);
	c->syn_due = true;
	tcp_want_output(c);
	counter_inc(tcp->counters, CTR_tcp_connects);
	return c;
}
