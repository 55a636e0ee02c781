/*
 * tcp_rest.c - putting connections to rest and waking them.
 *
 * Pure:   see the header.
 */
#include "dataplane/tcp/tcp_rest.h"

#include <assert.h>

#include "dataplane/tcp/tcp_conn.h"

static_assert(TCP_WSCALE_MAX < 16 && TCP_RCV_WSCALE < 16, "a scale fits 4 bits");

bool
tcp_rests_create(struct tcp_rests *r, uint32_t n, uint32_t user_octets)
{
	*r = (struct tcp_rests){ 0 };
	return n == 0 || pool_create(&r->records, n, sizeof(struct tcp_rest) + user_octets);
}

void
tcp_rests_destroy(struct tcp_rests *r)
{
	if (r->records.n > 0)
		pool_destroy(&r->records);
}

size_t
tcp_rest_octets(uint32_t user_octets)
{
	return pool_stride(sizeof(struct tcp_rest) + user_octets);
}

static bool
owes_ack(const struct tcp_conn *c)
{
	return c->ack_now || c->rcv_acked != c->rcv_nxt;
}

/* The peer may send two segments at least, so that it never waits for a window update that nobody would send. */
static bool
has_window(const struct tcp_conn *c)
{
	return !c->wnd_withheld || c->rcv_adv - c->rcv_nxt >= 2 * c->own_mss;
}

bool
tcp_may_rest(const struct tcp_conn *c)
{
	const struct tcp *tcp = c->tcp;

	return c->snd_una == c->snd_end && c->snd_una == c->snd_max && c->state == TCP_STATE_ESTABLISHED &&
	       c->rcv_readable == 0 && c->ooo == NULL && c->events == 0 && !c->is_client && !c->released &&
	       !c->fin_queued && !c->fin_in && !c->fin_known && !c->send_refused && !c->in_recovery && c->sb == NULL &&
	       c->timer_kind == TCP_TIMER_NONE && c->dupacks_owed == 0 &&
	       c->rcv_limit == tcp->conf.rcv_wnd_max_octets && c->mss_limit <= UINT16_MAX && c->rcv_mss <= UINT16_MAX &&
	       has_window(c) && (!owes_ack(c) || tcp_reply_has_room(&tcp->replies));
}

static void
send_owed_ack(struct tcp_conn *c)
{
	struct tcp *tcp = c->tcp;
	struct tcp_hdr h = {
		.seq = c->snd_max,
		.ack = c->rcv_nxt,
		.flags = TCP_ACK,
		.wscale = TCP_WSCALE_NONE,
		.has_ts = c->ts_ok,
		.tsval = tcp_ts_now(tcp, tcp->now_us),
		.tsecr = c->ts_recent,
	};

	h.wnd = tcp_rcv_window(c);
	tcp_reply_add(tcp, &c->flow, &h, NULL);
	counter_inc(tcp->counters, CTR_tcp_out_segs);
}

static void
fill(struct tcp_rest *r, const struct tcp_conn *c)
{
	*r = (struct tcp_rest){
		.iss = c->iss,
		.irs = c->irs,
		.snd_nxt = c->snd_nxt,
		.snd_wnd = c->snd_wnd,
		.snd_wnd_max = c->snd_wnd_max,
		.cwnd = c->cwnd,
		.ssthresh = c->ssthresh,
		.srtt_us = c->srtt_us,
		.rttvar_us = c->rttvar_us,
		.rto_us = c->rto_us,
		.rcv_nxt = c->rcv_nxt,
		.rcv_adv = c->rcv_adv,
		.ts_recent = c->ts_recent,
		.ts_recent_s = (uint32_t)(c->ts_recent_us / 1000000),
		.challenged_ms = (uint32_t)(c->challenged_us / 1000),
		.flow = c->flow,
		.tag = (uint16_t)c->tag,
		.mss_limit = (uint16_t)c->mss_limit,
		.rcv_mss = (uint16_t)c->rcv_mss,
		.snd_wscale = (uint8_t)(c->snd_wscale & 15u),
		.rcv_wscale = (uint8_t)(c->rcv_wscale & 15u),
		.ts_ok = c->ts_ok,
		.sack_ok = c->sack_ok,
		.ts_seen = c->ts_seen,
	};
}

void *
tcp_rest(struct tcp_conn *c, uint32_t *record)
{
	struct tcp *tcp = c->tcp;
	const uint32_t i = pool_get(&tcp->rests.records);
	struct tcp_rest *r;

	if (i == POOL_NONE) {
		counter_inc(tcp->counters, CTR_tcp_rest_none);
		return NULL;
	}
	if (owes_ack(c))
		send_owed_ack(c);
	r = tcp_rest_at(&tcp->rests, i);
	fill(r, c);
	tcp_table_replace(&tcp->table, c->hash, c->index, tcp->conf.conns_max + i);
	tcp_mark_move(tcp, c->index, tcp->conf.conns_max + i);
	wheel_rest(&tcp->wheel, &c->timer);
	tcp_fifo_put(c, TCP_FIFO_NONE);
	for (enum tcp_list_id id = 0; id < TCP_LIST_N; id++)
		tcp_list_del(tcp, id, c);
	tcp_conn_free(c); /* its window stays charged */
	counter_inc(tcp->counters, CTR_tcp_rested);
	*record = i;
	return r + 1;
}

/* When that was, of which the low bits in units are kept; 0 stays 0. */
static uint64_t
full_time(uint64_t now_us, uint32_t kept, uint32_t unit_us)
{
	const uint64_t now = now_us / unit_us;

	return kept == 0 ? 0 : (now - (uint32_t)((uint32_t)now - kept)) * unit_us;
}

/* A block for record, which stays for the layer above to take what is its own. */
static struct tcp_conn *
wake(struct tcp *tcp, uint32_t record, uint64_t hash)
{
	struct tcp_rest *r = tcp_rest_at(&tcp->rests, record);
	struct tcp_conn *c = tcp_conn_take(tcp, &r->flow, hash);

	if (c == NULL) {
		counter_inc(tcp->counters, CTR_tcp_wake_refused);
		return NULL;
	}
	tcp_table_replace(&tcp->table, hash, tcp->conf.conns_max + record, c->index);
	tcp_mark_move(tcp, tcp->conf.conns_max + record, c->index);
	c->state = TCP_STATE_ESTABLISHED;
	c->not_established = false;
	c->tag = r->tag;
	c->iss = r->iss;
	c->irs = r->irs;
	c->snd_una = c->snd_nxt = c->snd_max = c->snd_end = c->recover = r->snd_nxt;
	c->snd_wnd = r->snd_wnd;
	c->snd_wnd_max = r->snd_wnd_max;
	c->snd_wl1 = r->rcv_nxt; /* its latest segment ended there: an older one says nothing new of the window */
	c->snd_wl2 = r->snd_nxt;
	c->cwnd = r->cwnd;
	c->ssthresh = r->ssthresh;
	c->srtt_us = r->srtt_us;
	c->rttvar_us = r->rttvar_us;
	c->rto_us = r->rto_us;
	c->rcv_nxt = c->rcv_acked = r->rcv_nxt;
	c->rcv_adv = r->rcv_adv;
	c->rcv_charged = r->rcv_adv - r->rcv_nxt;
	c->ts_recent = r->ts_recent;
	c->ts_recent_us = full_time(tcp->now_us, r->ts_recent_s, 1000000);
	c->challenged_us = full_time(tcp->now_us, r->challenged_ms, 1000);
	c->rcv_mss = r->rcv_mss;
	c->snd_wscale = r->snd_wscale;
	c->rcv_wscale = r->rcv_wscale;
	c->ts_ok = r->ts_ok;
	c->sack_ok = r->sack_ok;
	c->ts_seen = r->ts_seen;
	tcp_set_mss(c, r->mss_limit);
	r->woken = true;
	r->pool_link = c->index;
	tcp->rests.n_woken++;
	counter_inc(tcp->counters, CTR_tcp_woken);
	return c;
}

struct tcp_conn *
tcp_rest_segment(struct tcp *tcp, uint32_t record, uint64_t hash)
{
	struct tcp_conn *c;

	if (tcp->rests.n_woken >= tcp->rests.wakes_max) {
		counter_inc(tcp->counters, CTR_tcp_wake_refused);
		return NULL;
	}
	c = wake(tcp, record, hash);
	if (c == NULL)
		return NULL;
	c->user = tcp_rest_at(&tcp->rests, record) + 1;
	tcp_event(c, TCP_EV_WOKEN);
	return c;
}

struct tcp_conn *
tcp_wake(struct tcp *tcp, uint32_t record)
{
	const struct tcp_rest *r = tcp_rest_at(&tcp->rests, record);

	if (r->woken) { /* by a segment of this turn: its event need not be told any more */
		tcp->conns[r->pool_link].events &= ~(uint32_t)TCP_EV_WOKEN;
		return &tcp->conns[r->pool_link];
	}
	return wake(tcp, record, tcp_flow_hash(tcp, &r->flow));
}

bool
tcp_rest_is_woken(const struct tcp *tcp, uint32_t record)
{
	return tcp_rest_at(&tcp->rests, record)->woken;
}

uint32_t
tcp_woken_record(const struct tcp_conn *c)
{
	return pool_index(&c->tcp->rests.records, (const struct tcp_rest *)c->user - 1);
}

void *
tcp_rest_user(const struct tcp *tcp, uint32_t record)
{
	return tcp_rest_at(&tcp->rests, record) + 1;
}

const struct flow *
tcp_rest_flow(const struct tcp *tcp, uint32_t record)
{
	return &tcp_rest_at(&tcp->rests, record)->flow;
}

void
tcp_rest_done(struct tcp *tcp, uint32_t record)
{
	HOT_BUG_ON(!tcp_rest_at(&tcp->rests, record)->woken);
	tcp->rests.n_woken--;
	pool_put(&tcp->rests.records, record);
}

void
tcp_wakes_max(struct tcp *tcp, uint32_t n)
{
	tcp->rests.wakes_max = n;
}

uint32_t
tcp_n_woken(const struct tcp *tcp)
{
	return tcp->rests.n_woken;
}

uint32_t
tcp_n_rests(const struct tcp *tcp)
{
	return tcp->rests.records.n_used - tcp->rests.n_woken;
}
