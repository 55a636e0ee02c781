/*
 * tcp_time_wait.c - compact records of TIME-WAIT.
 *
 * Pure:   see the header.
 */
#include "dataplane/tcp/tcp_time_wait.h"

#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/tcp/tcp_reply.h"

bool
tcp_time_wait_create(struct tcp_time_wait *tw, uint32_t max, struct tcp_filter *filter)
{
	*tw = (struct tcp_time_wait){
		.max = max, .head = TCP_INDEX_NONE, .tail = TCP_INDEX_NONE, .free = TCP_INDEX_NONE
	};
	tw->rec = large_alloc(max * sizeof(tw->rec[0]));
	if (tw->rec == NULL || !tcp_table_create(&tw->table, max, filter))
		return false;
	for (uint32_t i = 0; i < max; i++) {
		tw->rec[i].next = tw->free;
		tw->free = i;
	}
	return true;
}

void
tcp_time_wait_destroy(struct tcp_time_wait *tw)
{
	large_free(tw->rec, tw->max * sizeof(tw->rec[0]));
	tcp_table_destroy(&tw->table);
}

static void
list_push(struct tcp_time_wait *tw, uint32_t i)
{
	tw->rec[i].next = TCP_INDEX_NONE;
	tw->rec[i].prev = tw->tail;
	if (tw->tail != TCP_INDEX_NONE)
		tw->rec[tw->tail].next = i;
	else
		tw->head = i;
	tw->tail = i;
}

static void
list_del(struct tcp_time_wait *tw, uint32_t i)
{
	struct tcp_tw_record *r = &tw->rec[i];

	if (r->prev != TCP_INDEX_NONE)
		tw->rec[r->prev].next = r->next;
	else
		tw->head = r->next;
	if (r->next != TCP_INDEX_NONE)
		tw->rec[r->next].prev = r->prev;
	else
		tw->tail = r->prev;
}

void
tcp_time_wait_add(struct tcp *tcp, const struct tcp_conn *c, bool peer_holds)
{
	struct tcp_time_wait *tw = &tcp->time_wait;
	struct tcp_tw_record *r = tcp_time_wait_find(tw, &c->flow, c->hash);
	uint32_t i;

	if (tw->max == 0)
		return;
	if (r != NULL)
		tcp_time_wait_del(tw, r);
	if (tw->free == TCP_INDEX_NONE) {
		counter_inc(tcp->counters, CTR_tcp_time_wait_full);
		tcp_time_wait_del(tw, &tw->rec[tw->head]);
	}
	i = tw->free;
	if (!tcp_table_insert(&tw->table, c->hash, i)) {
		counter_inc(tcp->counters, CTR_tcp_time_wait_full);
		return;
	}
	tw->free = tw->rec[i].next;
	tw->rec[i] = (struct tcp_tw_record){
		.flow = c->flow,
		.hash = c->hash,
		.start_us = tcp->now_us,
		.snd_nxt = c->snd_max,
		.rcv_nxt = c->rcv_nxt,
		.ts_recent = c->ts_recent,
		.our_ts = tcp_ts_now(tcp, tcp->now_us),
		.ts_ok = c->ts_ok,
		.peer_holds = peer_holds,
	};
	list_push(tw, i);
	tw->n++;
	counter_inc(tcp->counters, CTR_tcp_time_wait);
}

struct tcp_tw_record *
tcp_time_wait_find(const struct tcp_time_wait *tw, const struct flow *flow, uint64_t hash)
{
	uint32_t at = 0, i;

	if (tw->n == 0)
		return NULL; /* clients close first: often there is none, and the table is larger than a cache */
	while ((i = tcp_table_next(&tw->table, hash, &at)) != TCP_TABLE_NONE)
		if (tcp_flow_equal(&tw->rec[i].flow, flow))
			return &tw->rec[i];
	return NULL;
}

void
tcp_time_wait_del(struct tcp_time_wait *tw, struct tcp_tw_record *r)
{
	uint32_t i = (uint32_t)(r - tw->rec);

	tcp_table_remove(&tw->table, r->hash, i);
	list_del(tw, i);
	r->next = tw->free;
	tw->free = i;
	tw->n--;
}

/* RFC 6191 section 2 and RFC 9293 section 3.10.7.4: a SYN that cannot be an old duplicate. */
static bool
is_new_connection(const struct tcp_tw_record *r, const struct tcp_hdr *h)
{
	if ((h->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN)
		return false;
	if (r->ts_ok && h->has_ts)
		return seq_gt(h->tsval, r->ts_recent) || (h->tsval == r->ts_recent && seq_gt(h->seq, r->rcv_nxt));
	return seq_gt(h->seq, r->rcv_nxt);
}

bool
tcp_time_wait_input(struct tcp *tcp, struct tcp_tw_record *r, const struct tcp_hdr *h, const struct net_frame *frame)
{
	struct tcp_time_wait *tw = &tcp->time_wait;
	struct tcp_hdr ack = { .seq = r->snd_nxt, .ack = r->rcv_nxt, .flags = TCP_ACK, .wscale = TCP_WSCALE_NONE };

	/* An RST would end TIME-WAIT early, and with it the protection it is for (RFC 1337): ignored. */
	if ((h->flags & TCP_RST) != 0) {
		counter_inc(tcp->counters, CTR_tcp_drop_rst);
		return false;
	}
	if (is_new_connection(r, h)) {
		counter_inc(tcp->counters, CTR_tcp_time_wait_reuse);
		tcp_time_wait_del(tw, r);
		return true;
	}
	/* Only what occupies sequence space is answered, so that two ends never acknowledge each other for ever. */
	if (tcp_hdr_seg_len(h) == 0) {
		counter_inc(tcp->counters, CTR_tcp_drop_time_wait);
		return false;
	}
	if (r->ts_ok) {
		ack.has_ts = true;
		ack.tsval = tcp_ts_now(tcp, tcp->now_us);
		ack.tsecr = r->ts_recent;
		r->our_ts = ack.tsval;
	}
	tcp_reply_add(tcp, &r->flow, &ack, frame);
	if ((h->flags & TCP_FIN) != 0 && h->seq + tcp_hdr_seg_len(h) == r->rcv_nxt) {
		uint32_t i = (uint32_t)(r - tw->rec);

		/* eighth step, TIME-WAIT: the peer's FIN again: start over */
		list_del(tw, i);
		r->start_us = tcp->now_us;
		list_push(tw, i);
	}
	return false;
}

uint32_t
tcp_time_wait_expire(struct tcp_time_wait *tw, uint64_t now_us, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && tcp_time_wait_deadline_us(tw) <= now_us) {
		tcp_time_wait_del(tw, &tw->rec[tw->head]);
		n++;
	}
	return n;
}

uint64_t
tcp_time_wait_deadline_us(const struct tcp_time_wait *tw)
{
	return tw->head == TCP_INDEX_NONE ? TCP_NEVER : tw->rec[tw->head].start_us + TCP_TIME_WAIT_US;
}
