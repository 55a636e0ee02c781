/*
 * tcp_conn.c - the block of a connection: taken, found, its states and its end; and the FIFOs it waits in.
 *
 * Flow:   tcp_input, tcp_listen, tcp_connect, tcp_timer -> tcp_conn_get(), tcp_set_state(), tcp_conn_end() -> tcp_conn_reap()
 * Pure:   no clock, no memory of its own.
 * Keeps:  a block is freed by tcp_conn_reap() when it is closed, released and has no RST left to send; until then its index is
 *         its own. FIFOs are by index, so that the blocks may be many and small.
 */
#include "dataplane/tcp/tcp_conn.h"

#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_ooo.h"

const char *
tcp_state_name(enum tcp_state state)
{
	static const char *const name[TCP_STATE_N + 1] = {
#define X(name) #name,
		TCP_STATES(X)
#undef X
			"?",
	};

	return name[MIN(state, TCP_STATE_N)];
}

/* --- FIFOs --- */

static void
list_push(struct tcp *tcp, struct tcp_list *l, struct tcp_conn *c)
{
	c->fifo_link = (struct tcp_link){ .next = TCP_INDEX_NONE, .prev = l->tail };
	if (l->tail != TCP_INDEX_NONE)
		tcp->conns[l->tail].fifo_link.next = c->index;
	else
		l->head = c->index;
	l->tail = c->index;
	l->n++;
}

static void
list_remove(struct tcp *tcp, struct tcp_list *l, const struct tcp_conn *c)
{
	const struct tcp_link *link = &c->fifo_link;

	if (link->prev != TCP_INDEX_NONE)
		tcp->conns[link->prev].fifo_link.next = link->next;
	else
		l->head = link->next;
	if (link->next != TCP_INDEX_NONE)
		tcp->conns[link->next].fifo_link.prev = link->prev;
	else
		l->tail = link->prev;
	l->n--;
}

/* Moves c to the end of fifo, from whichever it was on, with a fresh start; TCP_FIFO_NONE: to none. */
void
tcp_fifo_put(struct tcp_conn *c, enum tcp_fifo fifo)
{
	struct tcp *tcp = c->tcp;

	if (c->fifo != TCP_FIFO_NONE)
		list_remove(tcp, &tcp->fifo[c->fifo], c);
	c->fifo = (uint8_t)fifo;
	if (fifo == TCP_FIFO_NONE)
		return;
	c->fifo_start_us = tcp->now_us;
	list_push(tcp, &tcp->fifo[fifo], c);
}

/* --- blocks --- */

struct tcp_scoreboard *
tcp_scoreboard_get(struct tcp *tcp)
{
	struct tcp_scoreboard *sb = tcp->sb_free;

	if (sb == NULL) {
		counter_inc(tcp->counters, CTR_tcp_sack_none_left);
		return NULL;
	}
	tcp->sb_free = sb->next_free;
	sb->n = 0;
	return sb;
}

void
tcp_scoreboard_put(struct tcp *tcp, struct tcp_scoreboard *sb)
{
	if (sb == NULL)
		return;
	sb->next_free = tcp->sb_free;
	tcp->sb_free = sb;
}

static const struct flow *
flow_of(const struct tcp *tcp, uint32_t index)
{
	return index < tcp->conf.conns_max ? &tcp->conns[index].flow : tcp_rest_flow(tcp, index - tcp->conf.conns_max);
}

uint32_t
tcp_index_find(const struct tcp *tcp, const struct flow *flow, uint64_t hash)
{
	uint32_t at = 0, i;

	while ((i = tcp_table_next(&tcp->table, hash, &at)) != TCP_TABLE_NONE)
		if (tcp_flow_equal(flow_of(tcp, i), flow))
			return i;
	return TCP_INDEX_NONE;
}

struct tcp_conn *
tcp_conn_find(const struct tcp *tcp, const struct flow *flow, uint64_t hash)
{
	const uint32_t i = tcp_index_find(tcp, flow, hash);

	return i < tcp->conf.conns_max ? &tcp->conns[i] : NULL;
}

/* The block to be used next; conf.conns_max: none is free. */
static uint32_t
next_free(const struct tcp *tcp)
{
	return tcp->free_head == TCP_INDEX_NONE ? tcp->n_fresh : tcp->free_head;
}

struct tcp_conn *
tcp_conn_get(struct tcp *tcp, const struct flow *flow, uint64_t hash)
{
	const uint32_t i = next_free(tcp);

	if (i == tcp->conf.conns_max || !tcp_table_insert(&tcp->table, hash, i))
		return NULL;
	return tcp_conn_take(tcp, flow, hash);
}

struct tcp_conn *
tcp_conn_take(struct tcp *tcp, const struct flow *flow, uint64_t hash)
{
	const uint32_t i = next_free(tcp);
	struct tcp_conn *c;

	if (i == tcp->conf.conns_max)
		return NULL;
	c = &tcp->conns[i];
	if (tcp->free_head == TCP_INDEX_NONE)
		tcp->n_fresh++;
	else
		tcp->free_head = c->fifo_link.next;
	tcp->n_conns++;
	*c = (struct tcp_conn){
		.flow = *flow,
		.hash = hash,
		.index = i,
		.tcp = tcp,
		.on_list = c->on_list, /* places of the one before it, and no more */
		.timer = c->timer,     /* likewise: at rest */
		.rtx_due_us = TCP_NEVER,
		.delack_due_us = TCP_NEVER,
		.rto_us = TCP_RTO_INITIAL_US,
		.rcv_limit = tcp->conf.rcv_wnd_max_octets,
		.rcv_mss = TCP_MSS_DEFAULT_V4,
		.own_mss = tcp_mss_of_mtu(flow, tcp->conf.mtu),
		.mss = TCP_MSS_DEFAULT_V4,
		.ssthresh = TCP_CWND_MAX_OCTETS,
		.in_table = true,
		.not_established = true,
	};
	return c;
}

void
tcp_drop_queues(struct tcp_conn *c)
{
	tcp_queue_clear(&c->tcp->pieces, &c->snd_queue);
	c->snd_cursor = NULL;
	tcp_ooo_clear(c);
	tcp_scoreboard_put(c->tcp, c->sb);
	c->sb = NULL;
}

void
tcp_drop_unread(struct tcp_conn *c)
{
	buf_unref(c->tcp->pool, c->rcv_view.buf);
	c->rcv_view = (struct buf_view){ 0 };
	tcp_queue_clear(&c->tcp->pieces, &c->rcv_queue);
	c->rcv_readable = 0;
}

void
tcp_conn_init_send(struct tcp_conn *c, uint32_t iss)
{
	c->iss = c->snd_una = c->snd_nxt = c->snd_max = c->recover = iss;
	c->snd_end = iss + 1;
}

void
tcp_conn_init_rcv(struct tcp_conn *c, uint32_t irs, uint32_t wnd)
{
	c->irs = irs;
	c->rcv_nxt = c->rcv_acked = irs + 1;
	c->rcv_adv = c->rcv_nxt + wnd;
	tcp_rcv_charge(c);
}

/* RFC 6928 section 2. */
void
tcp_init_cwnd(struct tcp_conn *c)
{
	c->cwnd = MIN(TCP_IW_SEGS * c->mss, MAX(2 * c->mss, TCP_IW_OCTETS));
}

void
tcp_set_state(struct tcp_conn *c, enum tcp_state state)
{
	c->state = (uint8_t)state;
	c->not_established = state != TCP_STATE_ESTABLISHED;
	if (c->released)
		return; /* its one limit runs already */
	if (state == TCP_STATE_FIN_WAIT_2)
		tcp_fifo_put(c, TCP_FIFO_FIN_WAIT_2);
	else if (state == TCP_STATE_CLOSE_WAIT)
		tcp_fifo_put(c, TCP_FIFO_CLOSE_WAIT);
	else if (state == TCP_STATE_ESTABLISHED && c->keepalive)
		tcp_fifo_put(c, TCP_FIFO_KEEPALIVE);
	else
		tcp_fifo_put(c, TCP_FIFO_NONE);
}

void
tcp_event(struct tcp_conn *c, uint32_t events)
{
	if (c->released || events == 0)
		return;
	c->events |= events;
	tcp_list_add(c->tcp, TCP_LIST_READY, c);
}

void
tcp_conn_end(struct tcp_conn *c, uint32_t event)
{
	struct tcp *tcp = c->tcp;

	if (c->state == TCP_STATE_CLOSED && !c->in_table)
		return;
	tcp_fifo_put(c, TCP_FIFO_NONE);
	c->state = TCP_STATE_CLOSED;
	c->not_established = true;
	c->timer_kind = TCP_TIMER_NONE;
	c->rtx_due_us = c->delack_due_us = TCP_NEVER;
	wheel_rest(&tcp->wheel, &c->timer);
	tcp_list_del(tcp, TCP_LIST_OUT, c);
	tcp_list_del(tcp, TCP_LIST_STARVED, c);
	tcp_drop_queues(c);
	tcp_table_remove(&tcp->table, c->hash, c->index);
	tcp_unmark_conn(c);
	c->in_table = false;
	c->rcv_adv = c->rcv_nxt;
	tcp_rcv_charge(c);
	tcp_event(c, event);
}

void
tcp_conn_reset(struct tcp_conn *c, uint32_t event)
{
	const enum tcp_state was = c->state;

	if (was == TCP_STATE_CLOSED)
		return;
	counter_inc(c->tcp->counters, CTR_tcp_reset_out);
	tcp_conn_end(c, event);
	/* a SYN without an answer has nobody to reset; the peer of a lost SYN-ACK gets an RST when it speaks */
	if (was == TCP_STATE_SYN_SENT)
		return;
	c->rst_due = c->rst_with_ack = true;
	tcp_want_output(c);
}

void
tcp_conn_time_wait(struct tcp_conn *c)
{
	struct tcp *tcp = c->tcp;

	if (c->ack_now) {
		struct tcp_hdr h = {
			.seq = c->snd_max,
			.ack = c->rcv_nxt,
			.flags = TCP_ACK,
			.wscale = TCP_WSCALE_NONE,
			.wnd = (uint16_t)MIN((c->rcv_adv - c->rcv_nxt) >> c->rcv_wscale, 65535u),
			.has_ts = c->ts_ok,
			.tsval = tcp_ts_now(tcp, tcp->now_us),
			.tsecr = c->ts_recent,
		};

		tcp_reply_add(tcp, &c->flow, &h, NULL);
	}
	tcp_time_wait_add(tcp, c, false);
	counter_inc(tcp->counters, CTR_tcp_closed);
	tcp_conn_end(c, TCP_EV_CLOSED);
}

void
tcp_conn_free(struct tcp_conn *c)
{
	struct tcp *tcp = c->tcp;

	c->tcp = NULL; /* free */
	c->in_table = false;
	c->fifo_link.next = tcp->free_head;
	tcp->free_head = c->index;
	tcp->n_conns--;
}

void
tcp_conn_reap_closed(struct tcp_conn *c)
{
	struct tcp *tcp = c->tcp;

	if (!c->released || c->rst_due)
		return;
	BUG_ON(c->in_table || c->fifo != TCP_FIFO_NONE || wheel_is_armed(&c->timer));
	for (enum tcp_list_id id = 0; id < TCP_LIST_N; id++)
		tcp_list_del(tcp, id, c);
	tcp_drop_unread(c);
	tcp_rcv_charge(c);
	tcp_conn_free(c);
}
