/*
 * tcp_mark.c - writing marks, and asking the peer of one.
 *
 * Pure:   see the header.
 */
#include "dataplane/tcp/tcp_mark.h"

#include <assert.h>

#include "dataplane/tcp/tcp_conn.h"

static_assert(sizeof(struct tcp_mark) == 64, "a mark is one line");

static void
erase(struct tcp_mark *m)
{
	__atomic_store_n(&m->life, 0, __ATOMIC_RELAXED);
}

static void
write_mark(const struct tcp *tcp, struct tcp_mark *m, const struct flow *flow, uint32_t iss, uint32_t irs, bool ts_ok)
{
	erase(m);
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* a kill comes between two of our own stores, nothing else does */
	m->flow = *flow;
	m->iss = iss;
	m->irs = irs;
	m->ts_ok = ts_ok;
	m->at_us = tcp->now_us;
	__atomic_store_n(&m->life, tcp->conf.life, __ATOMIC_RELEASE);
}

void
tcp_mark_conn(const struct tcp_conn *c)
{
	const struct tcp *tcp = c->tcp;

	if (tcp->conf.marks != NULL)
		write_mark(tcp, &tcp->conf.marks[c->index], &c->flow, c->iss, c->irs, c->ts_ok);
}

void
tcp_unmark_conn(const struct tcp_conn *c)
{
	if (c->tcp->conf.marks != NULL)
		erase(&c->tcp->conf.marks[c->index]);
}

/* As a connection changes its index: told twice rather than not at all, if a kill comes between. */
void
tcp_mark_move(const struct tcp *tcp, uint32_t from, uint32_t to)
{
	struct tcp_mark *m = tcp->conf.marks, moved;

	if (m == NULL)
		return;
	moved = m[from];
	moved.life = 0;
	erase(&m[to]);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	m[to] = moved;
	__atomic_store_n(&m[to].life, tcp->conf.life, __ATOMIC_RELEASE);
	erase(&m[from]);
}

/* Several entries share a mark; the latest has it. In a flood that is as good as any. */
static struct tcp_mark *
mark_of_entry(const struct tcp *tcp, const struct tcp_syn_entry *e)
{
	const uint32_t index = (uint32_t)(e - tcp->listen.entry);

	return &tcp->conf.marks[tcp->conf.conns_max + tcp->conf.rests_max + index % TCP_MARK_SYNS];
}

void
tcp_mark_syn(const struct tcp *tcp, const struct tcp_syn_entry *e)
{
	if (tcp->conf.marks != NULL)
		write_mark(tcp, mark_of_entry(tcp, e), &e->flow, e->iss, e->irs, e->opt.ts);
}

void
tcp_unmark_syn(const struct tcp *tcp, const struct tcp_syn_entry *e)
{
	struct tcp_mark *m;

	if (tcp->conf.marks == NULL)
		return;
	m = mark_of_entry(tcp, e);
	if (m->iss == e->iss && m->irs == e->irs)
		erase(m);
}

bool
tcp_probe_orphan(struct tcp *tcp, const struct tcp_mark *m, uint64_t now_us)
{
	const struct tcp_hdr h = {
		.seq = m->iss, /* before all the peer may expect, so it must answer */
		.ack = m->irs + 1,
		.flags = TCP_ACK,
		.wscale = TCP_WSCALE_NONE,
		.has_ts = m->ts_ok != 0,
		.tsval = tcp_ts_now(tcp, now_us),
	};

	tcp_clock(tcp, now_us);
	if (!tcp_is_possible_peer(&m->flow) ||
		tcp_index_find(tcp, &m->flow, tcp_flow_hash(tcp, &m->flow)) != TCP_INDEX_NONE) /* begun anew */
		return false;
	counter_inc(tcp->counters, CTR_tcp_orphan_probe);
	tcp_reply_add(tcp, &m->flow, &h, NULL);
	return true;
}
