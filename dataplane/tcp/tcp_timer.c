/*
 * tcp_timer.c - what happens by time alone: RTO, tail probe, persist, delayed ACK, and the limits of waiting states.
 *
 * Flow:   tcp_output -> tcp_timers_run() -> connections get something to send, or end
 * Pure:   see tcp.h.
 * Keeps:  a connection has one wheel node for all of its short timers and stands in at most one FIFO. The RTO runs exactly
 *         while something is in flight. At most TCP_EXPIRIES_PER_TURN expiries a turn.
 * Source: RFC 6298, RFC 9293 section 3.8.6.1 (persist), RFC 8985 section 7 (tail probe), RFC 1122 section 4.2.3.5 (giving up).
 */
#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"

static const uint64_t fifo_us[TCP_FIFO_N] = {
	[TCP_FIFO_FIN_WAIT_2] = TCP_FIN_WAIT_2_US,
	[TCP_FIFO_CLOSE_WAIT] = TCP_CLOSE_WAIT_US,
	[TCP_FIFO_ORPHAN] = TCP_ORPHAN_US,
	[TCP_FIFO_KEEPALIVE] = TCP_KEEPALIVE_US,
};

/* The one node stands for the earlier of the two. */
static void
rearm(struct tcp_conn *c)
{
	const uint64_t due_us = MIN(c->rtx_due_us, c->delack_due_us);

	if (due_us == TCP_NEVER)
		wheel_rest(&c->tcp->wheel, &c->timer);
	else
		wheel_arm(&c->tcp->wheel, &c->timer, due_us);
}

void
tcp_timer_set(struct tcp_conn *c, enum tcp_timer kind, uint64_t due_us)
{
	c->timer_kind = kind;
	c->rtx_due_us = due_us;
	rearm(c);
}

void
tcp_timer_stop(struct tcp_conn *c)
{
	tcp_timer_set(c, TCP_TIMER_NONE, TCP_NEVER);
}

void
tcp_delack_set(struct tcp_conn *c, uint64_t due_us)
{
	if (c->delack_due_us == due_us)
		return;
	c->delack_due_us = due_us;
	rearm(c);
}

/* RFC 6298 (5.5): doubled for each time-out in a row, up to the cap. */
uint32_t
tcp_rto_us(const struct tcp_conn *c)
{
	const uint64_t rto_us = (uint64_t)c->rto_us << MIN(c->backoff, 16);

	if (c->backoff == 0)
		return c->rto_us;
	return (uint32_t)MIN(rto_us, TCP_RTO_MAX_US);
}

/* RFC 8985 section 7.2. */
static inline uint64_t
tail_probe_us(const struct tcp_conn *c)
{
	uint64_t pto_us = 2 * (uint64_t)c->srtt_us;

	if (c->snd_max - c->snd_una <= c->mss)
		pto_us += TCP_PEER_DELACK_US; /* a single segment: the peer may delay its ACK */
	return MAX(pto_us, TCP_PROBE_MIN_US);
}

/* plain: of a plain connection. */
static inline __attribute__((always_inline)) bool
may_tail_probe(const struct tcp_conn *c, const bool plain)
{
	return c->sack_ok && !c->tail_probed && c->rtx_count == 0 && c->srtt_us != 0 &&
	       (plain || (!c->in_recovery && c->snd_nxt == c->snd_max && (c->sb == NULL || c->sb->n == 0) &&
				 c->state >= TCP_STATE_ESTABLISHED));
}

static inline __attribute__((always_inline)) void
arm_rto(struct tcp_conn *c, const bool plain)
{
	const uint64_t now_us = c->tcp->now_us, rto_us = tcp_rto_us(c);
	const uint64_t probe_us = may_tail_probe(c, plain) ? tail_probe_us(c) : TCP_NEVER;

	if (probe_us < rto_us)
		tcp_timer_set(c, TCP_TIMER_PROBE, now_us + probe_us);
	else
		tcp_timer_set(c, TCP_TIMER_RTO, now_us + rto_us);
}

void
tcp_timer_arm_rto(struct tcp_conn *c)
{
	arm_rto(c, false);
}

void
tcp_timer_arm_rto_plain(struct tcp_conn *c)
{
	HOT_BUG_ON(!tcp_is_plain(c));
	arm_rto(c, true);
}

/* New octets are on their way. A tail of one segment has the time-out alone, for its ACK may be delayed; with the next one behind it the probe
 * comes first. */
void
tcp_timer_sent(struct tcp_conn *c)
{
	if (c->timer_kind != TCP_TIMER_RTO || (may_tail_probe(c, false) && tail_probe_us(c) < tcp_rto_us(c)))
		tcp_timer_arm_rto(c);
}

void
tcp_timer_arm_persist(struct tcp_conn *c)
{
	tcp_timer_set(c, TCP_TIMER_PERSIST, c->tcp->now_us + tcp_rto_us(c));
}

static void
give_up(struct tcp_conn *c)
{
	counter_inc(c->tcp->counters, CTR_tcp_timed_out);
	tcp_conn_end(c, TCP_EV_TIMEOUT);
}

/*
 * The segment at SND.UNA was lost time after time: it may be too large for a path whose ICMP is lost (RFC 1191 and 8201 leave that open,
 * RFC 4821 section 7.7 has what is done here in a longer form). A wrong guess costs this connection some headers.
 */
static void
guess_black_hole(struct tcp_conn *c)
{
	const bool v4 = ip_addr_is_v4(&c->flow.local);
	const uint32_t mtu = c->rtx_count < 2 * TCP_BLACK_HOLE_RTOS || !v4 ? TCP_BLACK_HOLE_MTU : TCP_BLACK_HOLE_MTU_4;
	const uint32_t mss = tcp_mss_of_mtu(&c->flow, mtu);
	const uint32_t sent = c->snd_max - c->snd_una - tcp_fin_sent(c);

	if (c->rtx_count % TCP_BLACK_HOLE_RTOS != 0 || mss >= c->mss_limit || sent <= mss)
		return;
	counter_inc(c->tcp->counters, CTR_tcp_pmtu_guessed);
	tcp_set_mss(c, mss);
}

static void
on_rto(struct tcp_conn *c)
{
	const bool syn = c->state == TCP_STATE_SYN_SENT || c->state == TCP_STATE_SYN_RECEIVED;

	counter_inc(c->tcp->counters, CTR_tcp_rto);
	if (c->rtx_count++ == (syn ? TCP_SYN_RTX_MAX : TCP_RTX_MAX)) {
		give_up(c);
		return;
	}
	c->backoff = (uint8_t)MIN(c->backoff + 1, 16);
	c->rtt_timing = false; /* Karn: what is sent again gives no sample */
	tcp_want_output(c);
	if (syn) {
		c->syn_due = true;
		c->syn_retransmitted = true;
		return;
	}
	guess_black_hole(c);
	/* RFC 5681 section 3.1 (4): half of what was in flight, once for a series of time-outs */
	if (c->rtx_count == 1)
		c->ssthresh = MAX((c->snd_max - c->snd_una) / 2, 2 * c->mss);
	c->cwnd = c->mss;
	c->cwnd_acked = 0;
	c->dupacks = 0;
	c->in_recovery = c->rtx_due = false;
	c->tail_probe_due = false;
	c->recover = c->snd_max;
	c->snd_nxt = c->snd_una;
	/* RFC 2018 section 8: after a time-out what was reported may be gone */
	tcp_scoreboard_put(c->tcp, c->sb);
	c->sb = NULL;
}

static void
on_persist(struct tcp_conn *c)
{
	if (c->rtx_count++ == TCP_PROBES_MAX) {
		give_up(c);
		return;
	}
	c->backoff = (uint8_t)MIN(c->backoff + 1, 16);
	c->probe_due = true;
	tcp_want_output(c);
}

static void
conn_timer_due(struct tcp_conn *c, uint64_t now_us)
{
	const enum tcp_timer kind = c->timer_kind;

	if (c->delack_due_us <= now_us) {
		c->delack_due_us = TCP_NEVER;
		c->ack_now = true;
		tcp_want_output(c);
	}
	if (c->rtx_due_us > now_us) {
		rearm(c);
		return;
	}
	tcp_timer_stop(c);
	switch (kind) {
	case TCP_TIMER_NONE:
		BUG_ON(true); /* never due */
		break;
	case TCP_TIMER_RTO:
		on_rto(c);
		break;
	case TCP_TIMER_PROBE:
		c->tail_probe_due = true;
		tcp_want_output(c);
		break;
	case TCP_TIMER_PERSIST:
		on_persist(c);
		break;
	}
}

/* RFC 9293 section 3.8.4: a segment the peer must answer. What is in flight has a timer that asks as well. */
static void
on_keepalive(struct tcp_conn *c)
{
	tcp_fifo_put(c, TCP_FIFO_KEEPALIVE);
	if (c->heard || c->timer_kind != TCP_TIMER_NONE) {
		c->heard = false;
		c->keepalives = 0;
		return;
	}
	if (c->keepalives++ == TCP_KEEPALIVES_MAX) {
		counter_inc(c->tcp->counters, CTR_tcp_keepalive_limit);
		tcp_conn_reset(c, TCP_EV_TIMEOUT);
		return;
	}
	counter_inc(c->tcp->counters, CTR_tcp_keepalive);
	c->keepalive_due = true;
	tcp_want_output(c);
}

static void
fifo_due(struct tcp_conn *c)
{
	switch ((enum tcp_fifo)c->fifo) {
	case TCP_FIFO_KEEPALIVE:
		on_keepalive(c);
		return;
	case TCP_FIFO_FIN_WAIT_2:
		counter_inc(c->tcp->counters, CTR_tcp_fin_wait_2_limit);
		break;
	case TCP_FIFO_CLOSE_WAIT:
		counter_inc(c->tcp->counters, CTR_tcp_close_wait_limit);
		break;
	case TCP_FIFO_ORPHAN:
		counter_inc(c->tcp->counters, CTR_tcp_orphan_limit);
		break;
	case TCP_FIFO_NONE:
	case TCP_FIFO_N:
		BUG_ON(true);
		break;
	}
	tcp_conn_reset(c, TCP_EV_TIMEOUT);
}

static uint64_t
fifo_deadline_us(const struct tcp *tcp, enum tcp_fifo fifo)
{
	const struct tcp_list *l = &tcp->fifo[fifo];

	return l->n == 0 ? TCP_NEVER : tcp->conns[l->head].fifo_start_us + fifo_us[fifo];
}

void
tcp_timers_run(struct tcp *tcp, uint64_t now_us)
{
	struct wheel_node *node;

	if (now_us == tcp->timers_run_us)
		return; /* what was due then is done, and nothing that was armed since is due at once */
	while (tcp->turn_expiries < TCP_EXPIRIES_PER_TURN && (node = wheel_pop(&tcp->wheel, now_us)) != NULL) {
		struct tcp_conn *c = container_of_(node, struct tcp_conn, timer);

		tcp->turn_expiries++;
		conn_timer_due(c, now_us);
		tcp_judge_order(c);
		tcp_conn_reap(c);
	}
	for (enum tcp_fifo f = TCP_FIFO_NONE + 1; f < TCP_FIFO_N; f++) {
		while (tcp->turn_expiries < TCP_EXPIRIES_PER_TURN && fifo_deadline_us(tcp, f) <= now_us) {
			struct tcp_conn *c = &tcp->conns[tcp->fifo[f].head];

			tcp->turn_expiries++;
			fifo_due(c);
			tcp_conn_reap(c);
		}
	}
	tcp->turn_expiries += tcp_listen_expire(tcp, now_us, TCP_EXPIRIES_PER_TURN - tcp->turn_expiries);
	tcp->turn_expiries += tcp_time_wait_expire(&tcp->time_wait, now_us, TCP_EXPIRIES_PER_TURN - tcp->turn_expiries);
	if (tcp->turn_expiries == TCP_EXPIRIES_PER_TURN)
		counter_inc(tcp->counters, CTR_tcp_expiries_capped);
	else if (wheel_is_done(&tcp->wheel, now_us))
		tcp->timers_run_us = now_us;
}

uint64_t
tcp_timers_deadline_us(const struct tcp *tcp)
{
	uint64_t due_us = wheel_deadline_us(&tcp->wheel);

	for (enum tcp_fifo f = TCP_FIFO_NONE + 1; f < TCP_FIFO_N; f++)
		due_us = MIN(due_us, fifo_deadline_us(tcp, f));
	due_us = MIN(due_us, tcp_listen_deadline_us(&tcp->listen));
	due_us = MIN(due_us, tcp_time_wait_deadline_us(&tcp->time_wait));
	if (tcp->timers_run_us != TCP_NEVER)
		due_us = MAX(due_us, tcp->timers_run_us + 1); /* a node at rest makes the wheel's bound a low one */
	if (tcp->list[TCP_LIST_STARVED].n > 0)
		due_us = MIN(due_us, tcp->starved_retry_us);
	return due_us;
}
