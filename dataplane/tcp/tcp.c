/*
 * tcp.c - the endpoint as a whole: what it is made of, its clock, hashes and sizes.
 *
 * Flow:   worker -> tcp_create(); the rest: tcp_input.c a segment in, tcp_output.c out, tcp_user.c what the layer above does,
 *         tcp_connect.c and tcp_listen.c how connections begin, tcp_conn.c their blocks.
 * Touches: malloc in tcp_create() alone.
 */
#include "dataplane/tcp/tcp.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/tcp/tcp_ooo.h"

#define SCOREBOARDS_MIN 64u
#define SCOREBOARDS_MAX 8192u

/* --- creation --- */

static uint32_t
n_scoreboards_of(const struct tcp_conf *conf)
{
	return MIN(MAX(conf->conns_max / 16, SCOREBOARDS_MIN), SCOREBOARDS_MAX);
}

static uint32_t
list_places(const struct tcp_conf *conf)
{
	uint32_t n = 1;

	while (n < conf->conns_max)
		n *= 2;
	return n;
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
	tcp->conns = large_alloc(conf->conns_max * sizeof(tcp->conns[0]));
	tcp->free_head = TCP_INDEX_NONE;
	return tcp->conns != NULL && tcp_rests_create(&tcp->rests, conf->rests_max, conf->rest_user_octets) &&
	       tcp_table_create(&tcp->table, conf->conns_max + conf->rests_max, &tcp->filter);
}

static bool
create_lists(struct tcp *tcp)
{
	const uint32_t n = list_places(&tcp->conf);

	for (uint32_t i = 0; i < TCP_LIST_N; i++) {
		tcp->list[i] = (struct tcp_todo){ .place = calloc(n, sizeof(tcp->list[i].place[0])), .mask = n - 1 };
		if (tcp->list[i].place == NULL)
			return false;
	}
	return true;
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
	tcp->timers_run_us = TCP_NEVER;
	tcp->accepting = true;
	block_hash_init(&tcp->flow_hash,
		&(struct siphash_key){ siphash(&conf->secret, "flow of 4", 9), siphash(&conf->secret, "flow, 4", 7) });
	tcp->kept = conf->kept;
	if (tcp->kept == NULL) {
		tcp->kept = &tcp->own_kept;
		tcp->own_kept.secret = conf->secret;
		tcp->own_kept.timestamp_offset = (uint32_t)siphash(&conf->secret, "timestamps", 10);
	}
	for (uint32_t i = 0; i < TCP_FIFO_N; i++)
		tcp->fifo[i] = (struct tcp_list){ TCP_INDEX_NONE, TCP_INDEX_NONE, 0 };
	wheel_init(&tcp->wheel, TCP_TICK_US, now_us);
	/* Two pieces for each buffer: one buffer may be read from one connection while it is sent on another. */
	if (tcp_filter_create(&tcp->filter, known_flows_max(conf)) && create_conns(tcp) && create_lists(tcp) &&
		create_scoreboards(tcp) && tcp_pieces_create(&tcp->pieces, pool, 2 * pool->n_bufs + 64) &&
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
	memory_list_add(l, "lists of connections", (uint64_t)TCP_LIST_N * list_places(&tcp->conf),
		sizeof(tcp->list[0].place[0]));
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

void
tcp_destroy(struct tcp *tcp)
{
	if (tcp == NULL)
		return;
	for (uint32_t i = 0; i < tcp->n_fresh; i++) {
		struct tcp_conn *c = &tcp->conns[i];

		if (c->tcp == NULL)
			continue;
		tcp_drop_queues(c);
		tcp_drop_unread(c);
	}
	tcp_replies_destroy(tcp);
	tcp_pieces_destroy(&tcp->pieces);
	tcp_listen_destroy(&tcp->listen);
	tcp_time_wait_destroy(&tcp->time_wait);
	tcp_table_destroy(&tcp->table);
	tcp_filter_destroy(&tcp->filter);
	tcp_rests_destroy(&tcp->rests);
	free(tcp->scoreboards);
	for (uint32_t i = 0; i < TCP_LIST_N; i++)
		free(tcp->list[i].place);
	large_free(tcp->conns, tcp->conf.conns_max * sizeof(tcp->conns[0]));
	free(tcp);
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

	HOT_BUG_ON(ip_addr_is_v4(&flow->local) != ip_addr_is_v4(&flow->remote));
	if (ip_addr_is_v4(&flow->local)) { /* 12 octets say as much */
		uint32_t local, remote;

		memcpy(&local, flow->local.octet + 12, 4);
		memcpy(&remote, flow->remote.octet + 12, 4);
		return block_hash_12(&tcp->flow_hash, (uint64_t)remote << 32 | local,
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
