/*
 * tcp_user.c - what the layer above does with connections: news, reading, writing, closing.
 *
 * Flow:   worker -> tcp_ready(), tcp_peek(), tcp_consume(), tcp_send(), tcp_close(), tcp_release() ...
 * Pure:   see tcp.h.
 * Keeps:  octets in order are lent where they came in until the turn ends; then tcp_settle_views() queues what is left.
 */
#include <errno.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/tcp/tcp_ooo.h"

void
tcp_accepting(struct tcp *tcp, bool yes)
{
	tcp->accepting = yes;
}

uint32_t
tcp_strays_take(struct tcp *tcp)
{
	const uint32_t n = tcp->strays;

	tcp->strays = 0;
	return n;
}

uint64_t
tcp_deadline_us(const struct tcp *tcp)
{
	if (tcp->list[TCP_LIST_OUT].n > 0 || tcp->list[TCP_LIST_READY].n > 0 || tcp->replies.added != tcp->replies.sent)
		return tcp->now_us;
	return tcp_timers_deadline_us(tcp);
}

struct tcp_conn *
tcp_ready(struct tcp *tcp, uint32_t *events)
{
	struct tcp_conn *c;

	if (tcp->list[TCP_LIST_READY].n == 0)
		return NULL;
	c = tcp_list_pop(tcp, TCP_LIST_READY);
	*events = c->events;
	c->events = 0;
	return c;
}

const void *
tcp_ready_user(const struct tcp *tcp)
{
	return tcp->list[TCP_LIST_READY].n > 0 ? tcp_list_first(tcp, TCP_LIST_READY)->user : NULL;
}

uint32_t
tcp_peek(const struct tcp_conn *c, struct buf_view *out, uint32_t n)
{
	uint32_t have = 0;

	if (c->rcv_view.len_octets > 0 && n > 0)
		out[have++] = c->rcv_view;
	for (const struct tcp_piece *p = c->rcv_queue.head; p != NULL && have < n; p = p->next)
		out[have++] = (struct buf_view){ .ptr = p->ptr, .len_octets = p->len_octets, .buf = p->buf };
	return have;
}

uint32_t
tcp_readable_octets(const struct tcp_conn *c)
{
	return c->rcv_readable;
}

static void
after_reading(struct tcp_conn *c)
{
	if (c->rcv_readable == 0 && c->fin_in && !c->eof_told) {
		c->eof_told = true;
		tcp_event(c, TCP_EV_EOF);
	}
	if (c->state >= TCP_STATE_ESTABLISHED && tcp_window_update_due(c)) {
		c->ack_now = true;
		tcp_want_output(c);
	}
}

/* Of the view, if there is one. Returns how many. */
static uint32_t
consume_view(struct tcp_conn *c, uint32_t octets)
{
	struct buf_view *v = &c->rcv_view;

	octets = MIN(octets, v->len_octets);
	v->ptr += octets;
	v->len_octets -= octets;
	if (v->len_octets == 0) {
		buf_unref(c->tcp->pool, v->buf);
		v->buf = NULL;
	}
	return octets;
}

void
tcp_consume(struct tcp_conn *c, uint32_t octets)
{
	uint32_t left = MIN(octets, c->rcv_readable);

	c->rcv_readable -= left;
	if (c->rcv_view.len_octets > 0)
		left -= consume_view(c, left);
	if (left > 0)
		tcp_queue_drop(&c->tcp->pieces, &c->rcv_queue, left);
	tcp_rcv_charge(c);
	after_reading(c);
}

/* A small part of a large buffer is copied now, where nobody has read it: only so long may it hold the buffer. Without memory for that, it
 * stays where it is and is asked again. */
void
tcp_settle_views(struct tcp *tcp)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < tcp->n_views; i++) {
		struct tcp_conn *c = &tcp->conns[tcp->view[i]];

		if (c->rcv_view.len_octets == 0)
			continue;
		if (tcp_queue_put_back(
			    &tcp->pieces, &c->rcv_queue, c->rcv_nxt - c->rcv_readable - c->fin_in, &c->rcv_view))
			c->rcv_view = (struct buf_view){ 0 };
		else
			tcp->view[left++] = c->index;
	}
	tcp->n_views = left;
}

void
tcp_set_rcv_limit(struct tcp_conn *c, uint32_t octets)
{
	c->rcv_limit = MIN(octets, c->tcp->conf.rcv_wnd_max_octets);
	after_reading(c);
}

uint32_t
tcp_unacked_octets(const struct tcp_conn *c)
{
	/* from SND.UNA, or from behind our SYN, to the end; of a FIN that was acknowledged nothing is left either */
	const int32_t octets = (int32_t)(c->snd_end - c->snd_una - (c->snd_una == c->iss));

	return octets > 0 ? (uint32_t)octets : 0;
}

static bool
may_write(const struct tcp_conn *c)
{
	return !c->fin_queued && !c->released && c->state != TCP_STATE_CLOSED;
}

uint32_t
tcp_send_room(const struct tcp_conn *c)
{
	const uint32_t queued = tcp_unacked_octets(c), max = c->tcp->conf.snd_queue_max_octets;

	return may_write(c) && queued < max ? max - queued : 0;
}

/* Octets were queued. */
static void
queued(struct tcp_conn *c, uint32_t octets)
{
	c->snd_end += octets;
	c->acked_all_due = true;
	tcp_want_output(c);
}

/* As far as there is room, with pieces and buffers as they are needed. Apart, so that what is nearly always done copies no view. */
static uint32_t __attribute__((noinline)) send_some(struct tcp_conn *c, const struct buf_view *v)
{
	struct tcp *tcp = c->tcp;
	struct buf_view part = *v;
	uint32_t n;

	if (!may_write(c) || v->len_octets == 0)
		return 0;
	part.len_octets = MIN(part.len_octets, tcp_send_room(c));
	n = tcp_queue_append(&tcp->pieces, &c->snd_queue, c->snd_end, &part);
	if (n > 0)
		queued(c, n);
	if (n < part.len_octets) {
		counter_inc(tcp->counters, CTR_tcp_no_buffer);
		tcp_list_add(tcp, TCP_LIST_STARVED, c);
	}
	if (n < v->len_octets)
		c->send_refused = true;
	return n;
}

uint32_t
tcp_send(struct tcp_conn *c, const struct buf_view *v)
{
	if (v->len_octets > tcp_send_room(c) ||
		!(tcp_queue_begin(&c->tcp->pieces, &c->snd_queue, c->snd_end, v) ||
			tcp_queue_attach(&c->tcp->pieces, &c->snd_queue, c->snd_end, v)))
		return send_some(c, v);
	queued(c, v->len_octets);
	return v->len_octets;
}

void
tcp_keepalive(struct tcp_conn *c)
{
	c->keepalive = true;
	if (c->state == TCP_STATE_ESTABLISHED && c->fifo == TCP_FIFO_NONE)
		tcp_fifo_put(c, TCP_FIFO_KEEPALIVE);
}

void
tcp_close(struct tcp_conn *c)
{
	if (c->fin_queued)
		return;
	switch ((enum tcp_state)c->state) {
	case TCP_STATE_CLOSED:
	case TCP_STATE_N:
		return;
	case TCP_STATE_SYN_SENT:
		tcp_conn_end(c, TCP_EV_CLOSED);
		tcp_conn_reap(c);
		return;
	case TCP_STATE_SYN_RECEIVED:
		break; /* FIN-WAIT-1 follows when it is established */
	case TCP_STATE_ESTABLISHED:
		tcp_set_state(c, TCP_STATE_FIN_WAIT_1);
		break;
	case TCP_STATE_CLOSE_WAIT:
		tcp_set_state(c, TCP_STATE_LAST_ACK);
		break;
	case TCP_STATE_FIN_WAIT_1:
	case TCP_STATE_FIN_WAIT_2:
	case TCP_STATE_CLOSING:
	case TCP_STATE_LAST_ACK:
		BUG_ON(true); /* these have fin_queued */
	}
	c->fin_queued = true;
	tcp_want_output(c);
}

void
tcp_abort(struct tcp_conn *c)
{
	tcp_conn_reset(c, 0);
}

/* Room for one more orphan: the oldest has had most of its time. */
static void
shed_orphan(struct tcp *tcp)
{
	struct tcp_conn *oldest;

	if (tcp->fifo[TCP_FIFO_ORPHAN].n < MAX(tcp->conf.conns_max / TCP_ORPHANS_SHARE, TCP_ORPHANS_MIN))
		return;
	oldest = &tcp->conns[tcp->fifo[TCP_FIFO_ORPHAN].head];
	counter_inc(tcp->counters, CTR_tcp_orphan_full);
	tcp_conn_reset(oldest, 0);
	tcp_conn_reap(oldest);
}

void
tcp_release(struct tcp_conn *c)
{
	struct tcp *tcp = c->tcp;

	BUG_ON(c->released);
	tcp_close(c);
	c->released = true;
	c->user = NULL;
	c->events = 0;
	tcp_list_del(tcp, TCP_LIST_READY, c);
	tcp_ooo_clear(c);
	c->discarded = c->rcv_readable;
	tcp_drop_unread(c);
	tcp_rcv_charge(c);
	if (c->state != TCP_STATE_CLOSED) {
		shed_orphan(tcp);
		tcp_fifo_put(c, TCP_FIFO_ORPHAN);
	}
	tcp_conn_reap(c);
}

const struct flow *
tcp_conn_flow(const struct tcp_conn *c)
{
	return &c->flow;
}

uint32_t
tcp_conn_tag(const struct tcp_conn *c)
{
	return c->tag;
}

void *
tcp_conn_user(const struct tcp_conn *c)
{
	return c->user;
}

void
tcp_conn_set_user(struct tcp_conn *c, void *user)
{
	c->user = user;
}

uint32_t
tcp_n_conns(const struct tcp *tcp)
{
	return tcp->n_conns;
}
