/*
 * tcp_check.c - invariants of tcp_conn.h, looked at from the outside.
 */
#include "tests/helpers/tcp_check.h"

#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"

static uint32_t
queue_octets(const struct tcp_queue *q, const struct tcp_piece **last)
{
	uint32_t octets = 0;

	*last = NULL;
	for (const struct tcp_piece *p = q->head; p != NULL; p = p->next) {
		BUG_ON(p->len_octets == 0 || p->buf == NULL);
		BUG_ON(*last != NULL && (*last)->seq + (*last)->len_octets != p->seq);
		octets += p->len_octets;
		*last = p;
	}
	BUG_ON(q->tail != *last);
	return octets;
}

static void
check_send(const struct tcp_conn *c, bool drained)
{
	const struct tcp_piece *last;
	const bool waiting =
		c->snd_una != c->snd_max || seq_lt(c->snd_nxt, c->snd_end) || (c->fin_queued && !tcp_fin_acked(c));

	BUG_ON(!seq_leq(c->snd_una, c->snd_nxt) || !seq_leq(c->snd_nxt, c->snd_max));
	BUG_ON(!seq_leq(c->snd_max, c->snd_end + c->fin_queued));
	BUG_ON(queue_octets(&c->snd_queue, &last) != tcp_unacked_octets(c));
	BUG_ON(last != NULL && last->seq + last->len_octets != c->snd_end);
	BUG_ON(c->mss == 0 || c->cwnd > 2 * TCP_CWND_MAX_OCTETS);
	if (c->sb != NULL) {
		for (uint32_t i = 0; i < c->sb->n; i++) {
			BUG_ON(!seq_lt(c->sb->r[i].start, c->sb->r[i].end));
			BUG_ON(!seq_lt(c->snd_una, c->sb->r[i].start) || !seq_leq(c->sb->r[i].end, c->snd_max));
			BUG_ON(i > 0 && !seq_lt(c->sb->r[i - 1].end, c->sb->r[i].start));
		}
	}
	/* nothing in flight: no retransmission timer. Something waits: a timer, or it is about to be sent. */
	BUG_ON(c->snd_una == c->snd_max && (c->timer_kind == TCP_TIMER_RTO || c->timer_kind == TCP_TIMER_PROBE));
	if (drained)
		BUG_ON(waiting && c->timer_kind == TCP_TIMER_NONE);
}

static void
check_receive(const struct tcp_conn *c)
{
	const struct tcp_piece *p, *last;
	uint32_t n = 0, at = c->rcv_nxt;

	BUG_ON(!seq_leq(c->rcv_nxt, c->rcv_adv));
	BUG_ON(queue_octets(&c->rcv_queue, &last) + c->rcv_view.len_octets != c->rcv_readable);
	BUG_ON((c->rcv_view.len_octets == 0) != (c->rcv_view.buf == NULL));
	for (p = c->ooo; p != NULL; p = p->next, n++) {
		BUG_ON(!seq_leq(at, p->seq) || (n == 0 && at == p->seq));
		at = p->seq + p->len_octets;
	}
	BUG_ON(n != c->n_ooo || n > c->tcp->conf.ooo_max_segs);
	BUG_ON(n > 0 && !seq_leq(at, c->rcv_adv));
}

static void
check_timers(const struct tcp_conn *c)
{
	const bool runs = c->rtx_due_us != TCP_NEVER || c->delack_due_us != TCP_NEVER;

	BUG_ON((c->timer_kind == TCP_TIMER_NONE) != (c->rtx_due_us == TCP_NEVER));
	BUG_ON(runs != wheel_is_armed(&c->timer));
	BUG_ON(c->released && c->state != TCP_STATE_CLOSED && c->fifo != TCP_FIFO_ORPHAN);
	BUG_ON(!c->released && (c->state == TCP_STATE_FIN_WAIT_2) != (c->fifo == TCP_FIFO_FIN_WAIT_2));
	BUG_ON(!c->released && (c->state == TCP_STATE_CLOSE_WAIT) != (c->fifo == TCP_FIFO_CLOSE_WAIT));
	BUG_ON(!c->released && (c->state == TCP_STATE_ESTABLISHED && c->keepalive) != (c->fifo == TCP_FIFO_KEEPALIVE));
}

void
tcp_check_invariants(const struct tcp *tcp, bool drained)
{
	uint64_t offered = 0;
	uint32_t n = 0, in_table = 0, on_fifo = 0, fifos = 0, rests = 0;

	for (uint32_t i = 0; i < tcp->conf.conns_max; i++) {
		const struct tcp_conn *c = &tcp->conns[i];

		if (c->tcp == NULL)
			continue;
		n++;
		in_table += c->in_table;
		on_fifo += c->fifo != TCP_FIFO_NONE;
		offered += c->rcv_charged;
		BUG_ON(c->in_table != (c->state != TCP_STATE_CLOSED));
		BUG_ON(c->rcv_charged != c->rcv_adv - c->rcv_nxt + c->rcv_readable);
		check_timers(c);
		check_receive(c);
		if (c->state != TCP_STATE_CLOSED)
			check_send(c, drained);
		else
			BUG_ON(wheel_is_armed(&c->timer) || c->fifo != TCP_FIFO_NONE || c->snd_queue.head != NULL ||
				c->sb != NULL);
		BUG_ON(drained && c->rst_due);
		BUG_ON(drained && c->state == TCP_STATE_CLOSED && c->released);
	}
	for (uint32_t i = 0; i < tcp->rests.records.n_fresh; i++) {
		const uint32_t index = tcp->conf.conns_max + i;
		const struct tcp_rest *r = tcp_rest_at(&tcp->rests, i);

		if (tcp_index_find(tcp, &r->flow, tcp_flow_hash(tcp, &r->flow)) != index)
			continue; /* free, or woken */
		rests++;
		offered += r->rcv_adv - r->rcv_nxt;
	}
	for (uint32_t f = 0; f < TCP_FIFO_N; f++)
		fifos += tcp->fifo[f].n;
	BUG_ON(rests != tcp_n_rests(tcp));
	in_table += rests;
	BUG_ON(n != tcp->n_conns || in_table != tcp->table.n || on_fifo != fifos || offered != tcp->rcv_offered_octets);
}
