/*
 * tcp_icmp.c - what an ICMP error says of a connection.
 *
 * Flow:   net -> tcp_icmp_error()
 * Pure:   see tcp.h.
 * Keeps:  only an error that quotes what is in flight is believed; a synchronised connection is ended by none.
 * Source: RFC 5927, RFC 1191, RFC 8201.
 */
#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"

/* RFC 5927: only what is in flight is believed. */
static bool
is_quote_in_flight(const struct tcp_conn *c, uint32_t quoted_seq)
{
	return c->snd_una != c->snd_max && seq_leq(c->snd_una, quoted_seq) && seq_lt(quoted_seq, c->snd_max);
}

/* RFC 1191, RFC 8201: smaller segments from here on, and what was too big again at once; no sign of congestion. */
static void
on_too_big(struct tcp_conn *c, uint32_t mtu)
{
	const uint32_t floor = ip_addr_is_v4(&c->flow.local) ? TCP_PMTU_MIN_V4 : TCP_PMTU_MIN_V6;
	uint32_t mss = tcp_mss_of_mtu(&c->flow, mtu);

	if (mtu < floor || mss >= c->mss_limit) {
		counter_inc(c->tcp->counters, CTR_tcp_icmp_ignored);
		return;
	}
	counter_inc(c->tcp->counters, CTR_tcp_pmtu);
	tcp_set_mss(c, mss);
	c->cwnd = MAX(c->cwnd, c->mss);
	if (c->state == TCP_STATE_SYN_SENT || c->state == TCP_STATE_SYN_RECEIVED)
		return;
	c->snd_nxt = c->snd_una;
	c->rtt_timing = false;
	if (c->in_recovery)
		c->in_recovery = c->rtx_due = false;
	c->recover = c->snd_max;
	tcp_want_output(c);
}

void
tcp_icmp_error(struct tcp *tcp, const struct net_icmp_error *error, uint64_t now_us)
{
	struct tcp_conn *c;

	tcp_clock(tcp, now_us);
	c = tcp_conn_find(tcp, &error->flow, tcp_flow_hash(tcp, &error->flow));
	if (c == NULL || !is_quote_in_flight(c, error->quoted_seq)) {
		counter_inc(tcp->counters, CTR_tcp_icmp_ignored);
		return;
	}
	switch (error->kind) {
	case NET_ICMP_TOO_BIG:
		on_too_big(c, error->mtu);
		break;
	case NET_ICMP_UNREACH_HARD:
		/* In synchronised states hard errors are soft (RFC 5927 section 6): retransmission goes on. */
		if (c->state == TCP_STATE_SYN_SENT) {
			counter_inc(tcp->counters, CTR_tcp_refused);
			tcp_conn_end(c, TCP_EV_REFUSED);
		}
		break;
	case NET_ICMP_UNREACH_SOFT:
		break;
	}
	tcp_judge_order(c);
	tcp_conn_reap(c);
}
