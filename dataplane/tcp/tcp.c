/*
 * tcp.c - the endpoint as the layer above sees it: creation, connections, reading, writing, closing.
 *
 * Flow:   worker -> tcp_ready(), tcp_peek(), tcp_send(), tcp_close() ...
 * Touches: malloc in tcp_create() alone.
 * Keeps:  a block is freed by tcp_conn_reap() when it is closed, released and has no RST left to send; until then its index is
 *         its own. Lists are by index, so that the blocks may be many and small.
 */
#include "dataplane/tcp/tcp.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/tcp/tcp_ooo.h"

/* Source ports of connections of ours: RFC 6056 section 3.2 would have all above 1023; below 16384 live services. */
#define PORT_FIRST     16384u
#define PORTS_N        (65536u - PORT_FIRST)
#define PORT_TRIES_MAX 512u /* a pool nearly empty is given up, not searched */

#define SCOREBOARDS_MIN 64u
#define SCOREBOARDS_MAX 8192u

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

/* --- creation --- */

static uint32_t
n_scoreboards_of(const struct tcp_conf *conf)
{
	return MIN(MAX(conf->conns_max / 16, SCOREBOARDS_MIN), SCOREBOARDS_MAX);
}

static bool
create_scoreboards(struct tcp *tcp)
{
	const uint32_t n = n_scoreboards_of(&tcp->conf);

	tcp->scoreboards = calloc(n, sizeof(tcp->scoreboards[0]));
	if (tcp->scoreboards == NULL)
		return false;
	for (uint32_t i = 0; i < n; i++)
		tcp_scoreboard_put(tcp, &tcp->scoreboards[i]);
	return true;
}

static bool
create_conns(struct tcp *tcp)
{
	const struct tcp_conf *conf = &tcp->conf;

	/* pages are touched as blocks are first needed */
	tcp->conns_memory = calloc((size_t)conf->conns_max + 1, sizeof(tcp->conns[0]));
	tcp->conns = (struct tcp_conn *)(((uintptr_t)tcp->conns_memory + 63) & ~(uintptr_t)63);
	tcp->free_head = TCP_INDEX_NONE;
	return tcp->conns_memory != NULL && tcp_rests_create(&tcp->rests, conf->rests_max, conf->rest_user_octets) &&
	       tcp_table_create(&tcp->table, conf->conns_max + conf->rests_max, &tcp->filter);
}

/* All that one tuple can be: a connection, one at rest, a remembered SYN, a TIME-WAIT record. */
static uint32_t
known_flows_max(const struct tcp_conf *conf)
{
	return conf->conns_max + conf->rests_max + conf->syn_ring_entries + conf->time_wait_max;
}

struct tcp *
tcp_create(const struct tcp_conf *conf, struct buf_pool *pool, struct counters *counters, uint64_t now_us)
{
	struct tcp *tcp = calloc(1, sizeof(*tcp));

	if (tcp == NULL)
		return NULL;
	tcp->conf = *conf;
	tcp->pool = pool;
	tcp->counters = counters;
	tcp->now_us = now_us;
	tcp->now_ms = (uint32_t)(now_us / 1000);
	tcp->accepting = true;
	tcp->kept = conf->kept;
	if (tcp->kept == NULL) {
		tcp->kept = &tcp->own_kept;
		tcp->own_kept.secret = conf->secret;
		tcp->own_kept.timestamp_offset = (uint32_t)siphash(&conf->secret, "timestamps", 10);
	}
	for (uint32_t i = 0; i < TCP_LIST_N; i++)
		tcp->list[i] = (struct tcp_list){ TCP_INDEX_NONE, TCP_INDEX_NONE, 0 };
	for (uint32_t i = 0; i < TCP_FIFO_N; i++)
		tcp->fifo[i] = (struct tcp_list){ TCP_INDEX_NONE, TCP_INDEX_NONE, 0 };
	wheel_init(&tcp->wheel, TCP_TICK_US, now_us);
	/* Two pieces for each buffer: one buffer may be read from one connection while it is sent on another. */
	if (tcp_filter_create(&tcp->filter, known_flows_max(conf)) && create_conns(tcp) && create_scoreboards(tcp) &&
		tcp_pieces_create(&tcp->pieces, pool, 2 * pool->n_bufs + 64) &&
		tcp_listen_create(&tcp->listen, conf->syn_ring_entries, &conf->secret, &tcp->filter, now_us) &&
		tcp_time_wait_create(&tcp->time_wait, conf->time_wait_max, &tcp->filter) &&
		tcp_replies_create(&tcp->replies))
		return tcp;
	tcp_destroy(tcp);
	return NULL;
}

void
tcp_memory(const struct tcp *tcp, struct memory_list *l)
{
	memory_list_add(l, "endpoint", 1, sizeof(*tcp));
	memory_list_add(l, "connections", tcp->conf.conns_max, sizeof(tcp->conns[0]));
	pool_memory(&tcp->rests.records, "connections at rest", l);
	tcp_table_memory(&tcp->table, "buckets of connections", l);
	tcp_filter_memory(&tcp->filter, "filter of known flows", l);
	memory_list_add(l, "scoreboards", n_scoreboards_of(&tcp->conf), sizeof(tcp->scoreboards[0]));
	memory_list_add(l, "pieces of queues", tcp->pieces.n, sizeof(tcp->pieces.all[0]));
	memory_list_add(l, "SYNs remembered", tcp->listen.max, sizeof(tcp->listen.entry[0]));
	tcp_table_memory(&tcp->listen.table, "buckets of SYNs", l);
	memory_list_add(l, "buckets of proven addresses", TCP_PROVEN_BUCKETS, sizeof(tcp->listen.proven.bucket[0]));
	memory_list_add(l, "TIME-WAIT records", tcp->time_wait.max, sizeof(tcp->time_wait.rec[0]));
	tcp_table_memory(&tcp->time_wait.table, "buckets of TIME-WAIT", l);
	memory_list_add(l, "replies without a connection", TCP_REPLIES_MAX, sizeof(tcp->replies.ring[0]));
}

static void
drop_queues(struct tcp_conn *c)
{
	tcp_queue_clear(&c->tcp->pieces, &c->snd_queue);
	c->snd_cursor = NULL;
	tcp_ooo_clear(c);
	tcp_scoreboard_put(c->tcp, c->sb);
	c->sb = NULL;
}

static void
drop_unread(struct tcp_conn *c)
{
	buf_unref(c->tcp->pool, c->rcv_view.buf);
	c->rcv_view = (struct buf_view){ 0 };
	tcp_queue_clear(&c->tcp->pieces, &c->rcv_queue);
	c->rcv_readable = 0;
}

void
tcp_destroy(struct tcp *tcp)
{
	if (tcp == NULL)
		return;
	for (uint32_t i = 0; i < tcp->n_fresh; i++) {
		struct tcp_conn *c = &tcp->conns[i];

		if (c->tcp == NULL)
			continue;
		drop_queues(c);
		drop_unread(c);
	}
	tcp_replies_destroy(tcp);
	tcp_pieces_destroy(&tcp->pieces);
	tcp_listen_destroy(&tcp->listen);
	tcp_time_wait_destroy(&tcp->time_wait);
	tcp_table_destroy(&tcp->table);
	tcp_filter_destroy(&tcp->filter);
	tcp_rests_destroy(&tcp->rests);
	free(tcp->scoreboards);
	free(tcp->conns_memory);
	free(tcp);
}

/* --- lists --- */

static void
list_push(struct tcp *tcp, struct tcp_list *l, struct tcp_conn *c, struct tcp_link *link, size_t link_offset)
{
	link->next = TCP_INDEX_NONE;
	link->prev = l->tail;
	if (l->tail != TCP_INDEX_NONE)
		((struct tcp_link *)(void *)((char *)&tcp->conns[l->tail] + link_offset))->next = c->index;
	else
		l->head = c->index;
	l->tail = c->index;
	l->n++;
}

static void
list_remove(struct tcp *tcp, struct tcp_list *l, const struct tcp_link *link, size_t link_offset)
{
	if (link->prev != TCP_INDEX_NONE)
		((struct tcp_link *)(void *)((char *)&tcp->conns[link->prev] + link_offset))->next = link->next;
	else
		l->head = link->next;
	if (link->next != TCP_INDEX_NONE)
		((struct tcp_link *)(void *)((char *)&tcp->conns[link->next] + link_offset))->prev = link->prev;
	else
		l->tail = link->prev;
	l->n--;
}

static size_t
link_offset_of(enum tcp_list_id id)
{
	return offsetof(struct tcp_conn, link) + (size_t)id * sizeof(struct tcp_link);
}

void
tcp_list_add(struct tcp *tcp, enum tcp_list_id id, struct tcp_conn *c)
{
	if ((c->on_list & 1u << id) != 0)
		return;
	c->on_list |= (uint8_t)(1u << id);
	list_push(tcp, &tcp->list[id], c, &c->link[id], link_offset_of(id));
}

void
tcp_list_del(struct tcp *tcp, enum tcp_list_id id, struct tcp_conn *c)
{
	if ((c->on_list & 1u << id) == 0)
		return;
	c->on_list &= (uint8_t) ~(1u << id);
	list_remove(tcp, &tcp->list[id], &c->link[id], link_offset_of(id));
}

struct tcp_conn *
tcp_list_pop(struct tcp *tcp, enum tcp_list_id id)
{
	struct tcp_list *l = &tcp->list[id];
	struct tcp_conn *c = &tcp->conns[l->head];

	c->on_list &= (uint8_t) ~(1u << id);
	l->n--;
	l->head = c->link[id].next;
	if (l->head != TCP_INDEX_NONE)
		tcp->conns[l->head].link[id].prev = TCP_INDEX_NONE;
	else
		l->tail = TCP_INDEX_NONE;
	return c;
}

/* Moves c to the end of fifo, from whichever it was on, with a fresh start; TCP_FIFO_NONE: to none. */
void
tcp_fifo_put(struct tcp_conn *c, enum tcp_fifo fifo)
{
	struct tcp *tcp = c->tcp;
	const size_t offset = offsetof(struct tcp_conn, fifo_link);

	if (c->fifo != TCP_FIFO_NONE)
		list_remove(tcp, &tcp->fifo[c->fifo], &c->fifo_link, offset);
	c->fifo = (uint8_t)fifo;
	if (fifo == TCP_FIFO_NONE)
		return;
	c->fifo_start_us = tcp->now_us;
	list_push(tcp, &tcp->fifo[fifo], c, &c->fifo_link, offset);
}

/* --- time, hashes, sizes --- */

void
tcp_look_marks(struct tcp *tcp)
{
	const uint32_t was = tcp->marks;
	uint32_t set = marks_look(was, MARK_BUFFERS, buf_available(tcp->pool), tcp->pool->n_bufs);

	set = marks_look(set, MARK_CONNS, tcp->conf.conns_max - tcp->n_conns, tcp->conf.conns_max);
	if (set == was)
		return;
	marks_count(tcp->counters, was, set);
	tcp->marks = set;
	tcp->pressure = marks_on(set, MARK_windows);
}

uint32_t
tcp_marks(const struct tcp *tcp)
{
	return tcp->marks;
}

void
tcp_clock(struct tcp *tcp, uint64_t now_us)
{
	if (now_us <= tcp->now_us)
		return; /* the same turn; a clock that stepped back stands still */
	tcp->now_us = now_us;
	tcp->now_ms = (uint32_t)(now_us / 1000);
	tcp_look_marks(tcp);
}

/* Milliseconds, moving on over restarts by the offset kept in the segment (RFC 7323 section 5.4: 1 ms to 1 s). */
uint32_t
tcp_ts_now(const struct tcp *tcp, uint64_t now_us)
{
	return (now_us == tcp->now_us ? tcp->now_ms : (uint32_t)(now_us / 1000)) + tcp->kept->timestamp_offset;
}

uint64_t
tcp_flow_hash(const struct tcp *tcp, const struct flow *flow)
{
	uint8_t key[36];

	if (ip_addr_is_v4(&flow->local) &&
		ip_addr_is_v4(&flow->remote)) { /* 12 octets say as much; the length tells the families apart */
		uint32_t local, remote;

		memcpy(&local, flow->local.octet + 12, 4);
		memcpy(&remote, flow->remote.octet + 12, 4);
		return siphash13_12(&tcp->conf.secret, (uint64_t)remote << 32 | local,
			(uint32_t)flow->remote_port << 16 | flow->local_port);
	}
	memcpy(key, flow->local.octet, 16);
	memcpy(key + 16, flow->remote.octet, 16);
	memcpy(key + 32, &flow->local_port, 2);
	memcpy(key + 34, &flow->remote_port, 2);
	return siphash(&tcp->conf.secret, key, sizeof(key));
}

uint32_t
tcp_mss_of_mtu(const struct flow *flow, uint32_t mtu)
{
	const uint32_t headers = TCP_HEADER_MIN_OCTETS + (ip_addr_is_v4(&flow->local) ? 20 : 40);

	return MIN(mtu > headers + TCP_MSS_MIN ? mtu - headers : TCP_MSS_MIN, 65535u);
}

/* From the peer's option and the path; the options each segment has come off (RFC 6691). */
void
tcp_set_mss(struct tcp_conn *c, uint32_t mss_limit)
{
	c->mss_limit = mss_limit;
	c->mss = mss_limit - (c->ts_ok ? TCP_TS_OPTION_OCTETS : 0);
}

/* The window of a SYN or SYN-ACK: less when the budget over all connections runs out, never nothing. */
uint32_t
tcp_initial_window(const struct tcp *tcp)
{
	const uint64_t left = tcp->conf.rcv_budget_octets > tcp->rcv_offered_octets
	                              ? tcp->conf.rcv_budget_octets - tcp->rcv_offered_octets
	                              : 0;
	const uint64_t wnd = MIN(MAX(left / 16, 4096), 65535);

	return (uint32_t)MIN(wnd, tcp->conf.rcv_wnd_max_octets);
}

/* --- connections --- */

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
		tcp->free_head = c->link[0].next;
	tcp->n_conns++;
	*c = (struct tcp_conn){
		.flow = *flow,
		.hash = hash,
		.index = i,
		.tcp = tcp,
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
	wheel_cancel(&tcp->wheel, &c->timer);
	tcp_list_del(tcp, TCP_LIST_OUT, c);
	tcp_list_del(tcp, TCP_LIST_STARVED, c);
	drop_queues(c);
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
	c->link[0].next = tcp->free_head;
	tcp->free_head = c->index;
	tcp->n_conns--;
}

void
tcp_conn_reap_closed(struct tcp_conn *c)
{
	struct tcp *tcp = c->tcp;

	if (!c->released || c->rst_due)
		return;
	BUG_ON(c->in_table || c->fifo != TCP_FIFO_NONE || wheel_is_filed(&c->timer));
	for (enum tcp_list_id id = 0; id < TCP_LIST_N; id++)
		tcp_list_del(tcp, id, c);
	drop_unread(c);
	tcp_rcv_charge(c);
	tcp_conn_free(c);
}

/* --- connects --- */

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

/* --- what the layer above does --- */

void
tcp_accepting(struct tcp *tcp, bool yes)
{
	tcp->accepting = yes;
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
	return tcp->list[TCP_LIST_READY].n > 0 ? tcp->conns[tcp->list[TCP_LIST_READY].head].user : NULL;
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

uint32_t
tcp_send(struct tcp_conn *c, const struct buf_view *v)
{
	struct tcp *tcp = c->tcp;
	struct buf_view part = *v;
	const uint32_t room = tcp_send_room(c);
	uint32_t n;

	if (v->len_octets <= room && tcp_queue_begin(&tcp->pieces, &c->snd_queue, c->snd_end, v)) {
		queued(c, v->len_octets);
		return v->len_octets;
	}
	if (!may_write(c) || v->len_octets == 0)
		return 0;
	part.len_octets = MIN(part.len_octets, room);
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
	drop_unread(c);
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
