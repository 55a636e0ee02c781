/*
 * tcp_output.c - what to send now: retransmissions, probes, new data, FIN, a pure ACK, in this order.
 *
 * Flow:   tcp_output -> tcp_conn_output(), one segment a call -> net_wrap
 * Pure:   see tcp.h. Payload is attached as views of the send queue, never copied.
 * Keeps:  nothing beyond SND.UNA + SND.WND is sent but a window probe's one octet and a FIN; whatever is in flight has a
 *         running timer; what cannot be sent for want of window has the persist timer.
 * Source: RFC 9293 section 3.8.6 (windows, silly window), RFC 5681, 6582, 6675 (recovery), RFC 8985 section 7 (tail probe).
 */
#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/tcp/tcp_ooo.h"

#define OUTPUT_BURST_SEGS 16 /* of one connection before the next has its turn */

/* --- the window we offer --- */

static uint32_t
rcv_limit(const struct tcp_conn *c)
{
	return MIN(c->rcv_limit, UINT32_C(65535) << c->rcv_wscale);
}

/* The right edge we would offer if memory were no question. */
static uint32_t
wanted_edge(const struct tcp_conn *c)
{
	const uint32_t limit = rcv_limit(c);

	return c->rcv_nxt + (limit > c->rcv_readable ? limit - c->rcv_readable : 0);
}

static uint32_t
own_mss(const struct tcp_conn *c)
{
	return c->own_mss;
}

/* What the connection holds or may be sent is charged to the budget of all. */
void
tcp_rcv_charge(struct tcp_conn *c)
{
	const uint32_t charge = c->rcv_adv - c->rcv_nxt + c->rcv_readable;

	c->tcp->rcv_offered_octets += charge;
	c->tcp->rcv_offered_octets -= c->rcv_charged;
	c->rcv_charged = charge;
}

static void
withhold(struct tcp_conn *c, enum counter why)
{
	counter_inc(c->tcp->counters, why);
	c->wnd_withheld = true;
	tcp_list_add(c->tcp, TCP_LIST_STARVED, c);
}

/* What a connection that is read may always be offered: others, who leave theirs unread, must not bring it to a halt. */
static uint32_t
least_grow(const struct tcp_conn *c)
{
	const uint32_t have = c->rcv_adv - c->rcv_nxt, least = 2 * own_mss(c);

	return c->rcv_readable < TCP_PRESSURE_UNREAD_OCTETS && have < least ? least - have : 0;
}

/* Moves the right edge by up to grow octets: as far as budget and buffers go. */
static __attribute__((noinline)) void
grow_window(struct tcp_conn *c, uint32_t grow)
{
	const struct tcp *tcp = c->tcp;
	const uint32_t least = MIN(grow, least_grow(c));
	const uint64_t left = tcp->conf.rcv_budget_octets > tcp->rcv_offered_octets
	                              ? tcp->conf.rcv_budget_octets - tcp->rcv_offered_octets
	                              : 0;

	if (tcp->pressure) {
		withhold(c, CTR_tcp_rcv_pressure);
		grow = least;
	} else if (grow > left) {
		withhold(c, CTR_tcp_rcv_budget);
		grow = MAX((uint32_t)left, least);
	}
	c->rcv_adv += grow;
}

static inline __attribute__((always_inline)) uint16_t
rcv_window_of(struct tcp_conn *c, const bool plain)
{
	const uint32_t limit = rcv_limit(c), edge = wanted_edge(c), part = UINT32_C(1) << c->rcv_wscale;
	const uint32_t before = c->rcv_adv;
	const bool may_move = plain || (!c->fin_in && !c->released);
	uint32_t beyond;

	/* RFC 9293 section 3.8.6.2.2: move the edge by a segment or half of the buffer, or not at all */
	if (may_move && seq_geq(edge, before + MAX(1, MIN(limit / 2, own_mss(c)))))
		grow_window(c, edge - before);
	/* Scaling drops low bits: up where we may offer that much, so that the edge does not seem to move back (RFC 7323 section
	 * 2.4), else down: rounding up each time would creep beyond every limit. */
	beyond = (c->rcv_adv - c->rcv_nxt) & (part - 1);
	if (may_move && beyond != 0 && seq_leq(c->rcv_adv + part - beyond, edge))
		c->rcv_adv += part - beyond;
	if (c->rcv_adv != before)
		tcp_rcv_charge(c);
	return (uint16_t)MIN((c->rcv_adv - c->rcv_nxt) >> c->rcv_wscale, 65535u);
}

uint16_t
tcp_rcv_window(struct tcp_conn *c)
{
	return rcv_window_of(c, false);
}

bool
tcp_window_update_due(const struct tcp_conn *c)
{
	const uint32_t limit = rcv_limit(c), half = limit / 2, have = c->rcv_adv - c->rcv_nxt;
	uint32_t edge, grow;

	if (have > limit - half)
		return false; /* more than half is offered, so that there is less than half to add: mostly */
	edge = wanted_edge(c);
	grow = edge - c->rcv_adv;
	return !c->fin_in && !c->released && seq_gt(edge, c->rcv_adv) && grow >= MAX(1, MIN(half, 2 * own_mss(c))) &&
	       (have <= half || grow >= half);
}

/* --- building a segment --- */

static inline __attribute__((always_inline)) void
header_of(struct tcp_conn *c, struct tcp_seg_out *out, const struct tcp_hdr *h, const bool plain)
{
	uint8_t *at = out->frame.hdr + frame_tcp_offset(&c->flow);

	out->flow = c->flow;
	out->path = &c->path;
	out->reply_to = NULL;
	out->frame.hdr_len_octets = 0;
	out->tcp_header_octets = plain ? tcp_hdr_put(at, &c->flow, h) : tcp_hdr_build(at, &c->flow, h);
	counter_inc(c->tcp->counters, CTR_tcp_out_segs);
}

static void
header(struct tcp_conn *c, struct tcp_seg_out *out, const struct tcp_hdr *h)
{
	header_of(c, out, h, false);
}

/* The piece that holds seq. The cursor makes a walk from the head rare. */
static struct tcp_piece *
find_piece(struct tcp_conn *c, uint32_t seq)
{
	struct tcp_piece *p =
		c->snd_cursor != NULL && seq_leq(c->snd_cursor->seq, seq) ? c->snd_cursor : c->snd_queue.head;

	while (p != NULL && seq_leq(p->seq + p->len_octets, seq))
		p = p->next;
	c->snd_cursor = p;
	return p;
}

/* Attaches up to len octets from seq. Returns how many: fewer where there are more pieces than views. */
static uint32_t
attach(struct tcp_conn *c, struct frame *frame, uint32_t seq, uint32_t len)
{
	const struct tcp_piece *p = len > 0 ? find_piece(c, seq) : NULL;
	uint32_t n = 0;

	if (p != NULL && p->seq == seq && p->len_octets >= len) { /* nearly always */
		frame->n_views = 1;
		frame->view[0] = (struct buf_view){ .ptr = p->ptr, .len_octets = len, .buf = p->buf };
		return len;
	}
	frame->n_views = 0;
	for (; p != NULL && n < len && frame->n_views < FRAME_VIEWS_MAX; p = p->next) {
		const uint32_t skip = seq + n - p->seq;
		const uint32_t part = MIN(p->len_octets - skip, len - n);

		frame->view[frame->n_views++] =
			(struct buf_view){ .ptr = p->ptr + skip, .len_octets = part, .buf = p->buf };
		n += part;
	}
	BUG_ON(n == 0 && len > 0); /* the queue holds all of [snd_una, snd_end) */
	return n;
}

/*
 * A segment with ACK and up to len octets from seq, FIN behind them where fin and all of them fit. Returns the octets of
 * payload. Whatever ACK was owed is paid.
 */
static inline __attribute__((always_inline)) uint32_t
emit_of(struct tcp_conn *c, struct tcp_seg_out *out, uint32_t seq, uint32_t len, bool fin, const bool plain)
{
	struct tcp *tcp = c->tcp;
	struct tcp_hdr h = { .seq = seq, .ack = c->rcv_nxt, .flags = TCP_ACK, .wscale = TCP_WSCALE_NONE };
	const uint32_t n = attach(c, &out->frame, seq, len);

	if (!plain && n == len && fin)
		h.flags |= TCP_FIN;
	if (n > 0 && seq + n == c->snd_end)
		h.flags |= TCP_PSH;
	h.wnd = rcv_window_of(c, plain);
	if (c->ts_ok) {
		h.has_ts = true;
		h.tsval = tcp_ts_now(tcp, tcp->now_us);
		h.tsecr = c->ts_recent;
	}
	if (!plain && n == 0 && c->sack_ok && c->ooo != NULL) /* beside text they would make the segment too long */
		h.n_sack = (uint8_t)tcp_ooo_blocks(c, h.sack, c->ts_ok ? 3 : 4);
	header_of(c, out, &h, plain);
	counter_add(tcp->counters, CTR_tcp_out_octets, n);
	c->ack_now = false;
	c->rcv_acked = c->rcv_nxt;
	tcp_delack_set(c, TCP_NEVER);
	return n;
}

static uint32_t
emit(struct tcp_conn *c, struct tcp_seg_out *out, uint32_t seq, uint32_t len, bool fin)
{
	return emit_of(c, out, seq, len, fin, false);
}

static bool
emit_rst(struct tcp_conn *c, struct tcp_seg_out *out)
{
	struct tcp_hdr h = { .seq = tcp_snd_front(c), .flags = TCP_RST, .wscale = TCP_WSCALE_NONE };

	if (!c->rst_due)
		return false;
	c->rst_due = false;
	if (c->rst_with_ack) {
		h.flags |= TCP_ACK;
		h.ack = c->rcv_nxt;
	}
	out->frame.n_views = 0;
	header(c, out, &h);
	return true;
}

static bool
emit_syn(struct tcp_conn *c, struct tcp_seg_out *out)
{
	struct tcp *tcp = c->tcp;
	const bool answer = c->state == TCP_STATE_SYN_RECEIVED;
	struct tcp_hdr h = {
		.seq = c->iss,
		.flags = answer ? TCP_SYN | TCP_ACK : TCP_SYN,
		.ack = answer ? c->rcv_nxt : 0,
		.wnd = (uint16_t)MIN(
			c->rcv_adv - c->rcv_nxt, 65535u), /* never scaled in a SYN (RFC 7323 section 2.2) */
		.mss = (uint16_t)own_mss(c),
		.sack_permitted = c->sack_ok,
		.has_ts = c->ts_ok,
		.wscale = !answer || c->rcv_wscale != 0 ? TCP_RCV_WSCALE : TCP_WSCALE_NONE,
		.tsval = tcp_ts_now(tcp, tcp->now_us),
		.tsecr = answer ? c->ts_recent : 0,
	};

	if (!c->syn_due)
		return false;
	c->syn_due = false;
	c->ack_now = false;
	if (c->snd_max == c->iss) {
		c->rtt_timing = true;
		c->rtt_seq = c->iss;
		c->rtt_start_us = tcp->now_us;
	} else if (c->rtx_count > 0) {
		counter_inc(tcp->counters, CTR_tcp_retransmit);
	}
	c->snd_nxt = c->snd_max = c->iss + 1;
	out->frame.n_views = 0;
	header(c, out, &h);
	tcp_timer_arm_rto(c);
	return true;
}

/* --- what may be sent --- */

static bool
has_sacked(const struct tcp_conn *c)
{
	return c->sb != NULL && c->sb->n > 0;
}

static uint32_t
unsent_octets(const struct tcp_conn *c)
{
	return seq_lt(c->snd_nxt, c->snd_end) ? c->snd_end - c->snd_nxt : 0;
}

static uint32_t
usable_window(const struct tcp_conn *c)
{
	const uint32_t edge = c->snd_una + c->snd_wnd;

	return seq_gt(edge, c->snd_nxt) ? edge - c->snd_nxt : 0;
}

/* Octets the network holds of ours, as far as we know. */
static uint32_t
pipe_octets(const struct tcp_conn *c)
{
	const uint32_t sent = c->snd_nxt - c->snd_una;

	if (!has_sacked(c))
		return sent;
	if (c->snd_nxt != c->snd_max) /* after a time-out: what was sent again and is not yet acknowledged */
		return sent - tcp_scoreboard_octets(c->sb, c->snd_una, c->snd_nxt);
	return tcp_scoreboard_pipe(c->sb, c->snd_una, c->snd_max, c->in_recovery ? c->high_rxt : c->snd_una, c->mss);
}

static uint32_t
cwnd_room(const struct tcp_conn *c)
{
	const uint32_t pipe = pipe_octets(c);
	uint32_t cwnd = c->cwnd;

	if (!c->in_recovery && !has_sacked(c))
		cwnd += MIN(c->dupacks, 2u) * c->mss; /* limited transmit (RFC 3042); with SACK the pipe has it */
	return cwnd > pipe ? cwnd - pipe : 0;
}

static bool
may_send_new(const struct tcp_conn *c)
{
	return unsent_octets(c) > 0 && usable_window(c) >= MIN(unsent_octets(c), c->mss);
}

/* Without timestamps one segment at a time is timed. */
static void
start_rtt(struct tcp_conn *c, uint32_t seq)
{
	c->rtt_timing = true;
	c->rtt_seq = seq;
	c->rtt_start_us = c->tcp->now_us;
}

/* After a segment that occupies sequence space was emitted at snd_nxt. */
static inline __attribute__((always_inline)) void
sent_next(struct tcp_conn *c, uint32_t len, bool fin, const bool plain)
{
	const uint32_t seq = c->snd_nxt;

	if (!plain && seq_lt(seq, c->snd_max)) {
		counter_inc(c->tcp->counters, CTR_tcp_retransmit);
	} else if (!c->ts_ok && !c->rtt_timing) {
		start_rtt(c, seq);
	}
	c->snd_nxt += len + fin;
	if (!plain && seq_geq(c->snd_nxt, c->snd_max))
		c->probe_out = false;
	c->snd_max = plain ? c->snd_nxt : seq_max(c->snd_max, c->snd_nxt);
	tcp_timer_sent(c);
}

/* Sends up to len octets again from seq; a FIN that was sent goes with the last of them. Returns the octets of payload. */
static uint32_t
resend(struct tcp_conn *c, struct tcp_seg_out *out, uint32_t seq, uint32_t len)
{
	const bool fin = tcp_fin_sent(c) && seq + len == c->snd_end;

	counter_inc(c->tcp->counters, CTR_tcp_retransmit);
	return emit(c, out, seq, len, fin);
}

/* --- one kind of segment after another --- */

/* NewReno: the first hole, once for each duplicate or partial ACK that asked for it. */
static bool
recover_newreno(struct tcp_conn *c, struct tcp_seg_out *out)
{
	const uint32_t end = seq_min(c->snd_max, c->snd_end);

	if (!c->rtx_due)
		return false;
	c->rtx_due = false;
	/* no more than was sent: what was not may be beyond the window */
	resend(c, out, c->snd_una, seq_lt(c->snd_una, end) ? MIN(end - c->snd_una, c->mss) : 0);
	if (c->timer_kind == TCP_TIMER_NONE)
		tcp_timer_arm_rto(c);
	return true;
}

/* RFC 6675 section 4, NextSeg(): a lost hole, else new data, else any hole. */
static bool
recover_sack(struct tcp_conn *c, struct tcp_seg_out *out)
{
	uint32_t start, end;
	bool lost;

	if (!c->rtx_due && cwnd_room(c) < c->mss)
		return false;
	if (!tcp_scoreboard_hole(c->sb, seq_max(c->high_rxt, c->snd_una), c->mss, &start, &end, &lost) ||
		seq_geq(start, c->snd_end) || (!lost && !c->rtx_due && may_send_new(c))) {
		c->rtx_due = false;
		return false;
	}
	c->rtx_due = false;
	end = seq_min(end, c->snd_end);
	c->high_rxt = start + resend(c, out, start, MIN(c->mss, end - start));
	c->rxt_mark = c->snd_max;
	if (c->timer_kind == TCP_TIMER_NONE)
		tcp_timer_arm_rto(c);
	return true;
}

static bool
send_recovery(struct tcp_conn *c, struct tcp_seg_out *out)
{
	if (!c->in_recovery || c->snd_una == c->snd_max)
		return false;
	return has_sacked(c) ? recover_sack(c, out) : recover_newreno(c, out);
}

/* RFC 8985 section 7.3: new data if the window lets it, else the last segment again. */
static bool
send_tail_probe(struct tcp_conn *c, struct tcp_seg_out *out)
{
	const uint32_t end = seq_min(c->snd_max, c->snd_end);
	uint32_t len;

	if (!c->tail_probe_due)
		return false;
	c->tail_probe_due = false;
	if (c->snd_una == c->snd_max)
		return false;
	counter_inc(c->tcp->counters, CTR_tcp_tail_probe);
	c->tail_probed = true;
	if (may_send_new(c) && c->snd_nxt == c->snd_max) {
		len = MIN(unsent_octets(c), c->mss);
		sent_next(c, emit(c, out, c->snd_nxt, len, false), false, false);
	} else {
		len = seq_lt(c->snd_una, end) ? MIN(end - c->snd_una, c->mss) : 0;
		resend(c, out, end - len, len);
	}
	tcp_timer_arm_rto(c);
	return true;
}

/* Persist: RFC 9293 section 3.8.6.1. Not held back by cwnd nor by the rules against silly windows. */
static bool
send_window_probe(struct tcp_conn *c, struct tcp_seg_out *out)
{
	const uint32_t wnd = usable_window(c);

	if (!c->probe_due)
		return false;
	c->probe_due = false;
	if (unsent_octets(c) == 0)
		return false;
	counter_inc(c->tcp->counters, CTR_tcp_window_probe);
	if (wnd > 0) {
		sent_next(c, emit(c, out, c->snd_nxt, MIN(MIN(unsent_octets(c), wnd), c->mss), false), false, false);
		return true;
	}
	/* One octet beyond the window. SND.NXT stays: the octet counts as sent only if it is acknowledged. */
	emit(c, out, c->snd_nxt, 1, false);
	if (c->snd_max == c->snd_nxt) {
		c->snd_max++;
		c->probe_out = true;
	}
	tcp_timer_arm_persist(c);
	return true;
}

/* After a time-out, SND.NXT moves over what the peer reported since. Returns the octets until the next such range. */
static uint32_t
skip_sacked(struct tcp_conn *c)
{
	uint32_t until = UINT32_MAX;

	if (!has_sacked(c) || c->snd_nxt == c->snd_max)
		return until;
	for (uint32_t i = 0; i < c->sb->n; i++) {
		const struct tcp_sack_block *r = &c->sb->r[i];

		if (seq_leq(r->start, c->snd_nxt) && seq_lt(c->snd_nxt, r->end))
			c->snd_nxt = r->end;
		else if (seq_gt(r->start, c->snd_nxt))
			return r->start - c->snd_nxt;
	}
	return until;
}

/* Silly-window avoidance of the sender, RFC 9293 section 3.8.6.2.1: part of a segment that is there in whole is sent only
 * when it is half of the largest window ever seen. */
static bool
is_silly(const struct tcp_conn *c, uint32_t len, uint32_t wish)
{
	return len < wish && len < c->snd_wnd_max / 2 && c->snd_nxt == c->snd_max;
}

static inline __attribute__((always_inline)) bool
send_next_of(struct tcp_conn *c, struct tcp_seg_out *out, const bool plain)
{
	const uint32_t until_sacked = plain ? UINT32_MAX : skip_sacked(c);
	const uint32_t wish = MIN(MIN(unsent_octets(c), c->mss), until_sacked);
	const uint32_t len = MIN(wish, usable_window(c));
	const bool fin_next =
		!plain && c->fin_queued && seq_leq(c->snd_nxt, c->snd_end) && c->snd_nxt + len == c->snd_end;

	c->cwnd_limited = false;
	if (wish == 0 && !fin_next)
		return false;
	c->cwnd_limited = len > 0 && c->snd_nxt != c->snd_una && cwnd_room(c) < len;
	if (wish > 0 && (len == 0 || is_silly(c, len, wish))) {
		if (c->timer_kind == TCP_TIMER_NONE)
			tcp_timer_arm_persist(c);
		return false;
	}
	if (c->cwnd_limited)
		return false;
	{
		/* emit() may take fewer octets than asked where they lie in many pieces; the FIN then waits */
		uint32_t n = emit_of(c, out, c->snd_nxt, len, fin_next, plain);

		sent_next(c, n, fin_next && n == len, plain);
	}
	return true;
}

static bool
send_next(struct tcp_conn *c, struct tcp_seg_out *out)
{
	return send_next_of(c, out, false);
}

/* From an octet the peer has: outside of its window, so that it answers. */
static bool
send_keepalive(struct tcp_conn *c, struct tcp_seg_out *out)
{
	if (!c->keepalive_due)
		return false;
	c->keepalive_due = false;
	if (c->snd_una != c->snd_max)
		return false; /* something was sent meanwhile: its ACK is as good */
	emit(c, out, c->snd_una - 1, 0, false);
	return true;
}

static bool
send_ack(struct tcp_conn *c, struct tcp_seg_out *out)
{
	const bool duplicate = c->rcv_acked == c->rcv_nxt;

	if (!c->ack_now)
		return false;
	emit(c, out, tcp_snd_front(c), 0, false);
	if (c->ooo == NULL)
		c->dupacks_owed = 0;
	else if (duplicate && c->dupacks_owed > 0)
		c->dupacks_owed--;
	c->ack_now = c->dupacks_owed > 0;
	return true;
}

/*
 * What is nearly always sent: a reply, with nothing before it under way, which lies in one piece, fits one segment and the peer's window. False: it
 * is something else, and nothing has changed. What send_next_of() would do is done here without its questions.
 */
static inline bool
send_reply(struct tcp_conn *c, struct tcp_seg_out *out)
{
	const struct tcp *tcp = c->tcp;
	const struct tcp_piece *p = c->snd_queue.head;
	const uint32_t seq = c->snd_una, len = c->snd_end - seq;
	struct tcp_hdr h;

	if (c->snd_nxt != seq || p == NULL || p->len_octets != len || len > c->mss || len > c->snd_wnd)
		return false;
	HOT_BUG_ON(p->seq != seq);
	h.seq = seq;
	h.ack = c->rcv_acked = c->rcv_nxt;
	h.flags = TCP_ACK | TCP_PSH;
	h.wnd = rcv_window_of(c, true);
	h.has_ts = c->ts_ok;
	if (c->ts_ok) {
		h.tsval = tcp_ts_now(tcp, tcp->now_us);
		h.tsecr = c->ts_recent;
	} else if (!c->rtt_timing) {
		start_rtt(c, seq);
	}
	out->frame.n_views = 1;
	out->frame.view[0] = (struct buf_view){ .ptr = p->ptr, .len_octets = len, .buf = p->buf };
	header_of(c, out, &h, true);
	counter_add(tcp->counters, CTR_tcp_out_octets, len);
	c->cwnd_limited = c->ack_now = false;
	c->snd_nxt = c->snd_max = c->snd_end;
	c->delack_due_us = TCP_NEVER;
	tcp_timer_arm_rto_plain(c);
	return true;
}

/* Of a plain connection: new text, or the ACK that is owed. */
static bool
output_plain(struct tcp_conn *c, struct tcp_seg_out *out)
{
	return send_next_of(c, out, true) || send_ack(c, out);
}

static bool
output_synchronised(struct tcp_conn *c, struct tcp_seg_out *out)
{
	/* SACK blocks go out in an ACK of their own, before data that has no room for them */
	if (c->ooo != NULL && c->sack_ok && send_ack(c, out))
		return true;
	return send_recovery(c, out) || send_tail_probe(c, out) || send_window_probe(c, out) || send_next(c, out) ||
	       (c->keepalive_due && send_keepalive(c, out)) || send_ack(c, out);
}

static bool
output_general(struct tcp_conn *c, struct tcp_seg_out *out)
{
	switch ((enum tcp_state)c->state) {
	case TCP_STATE_CLOSED:
		return emit_rst(c, out);
	case TCP_STATE_SYN_SENT:
		return emit_syn(c, out);
	case TCP_STATE_SYN_RECEIVED:
		return emit_syn(c, out) || send_ack(c, out);
	case TCP_STATE_ESTABLISHED:
	case TCP_STATE_FIN_WAIT_1:
	case TCP_STATE_FIN_WAIT_2:
	case TCP_STATE_CLOSE_WAIT:
	case TCP_STATE_CLOSING:
	case TCP_STATE_LAST_ACK:
		return output_synchronised(c, out);
	case TCP_STATE_N:
		break;
	}
	BUG_ON(true);
	return false;
}

bool
tcp_conn_output(struct tcp_conn *c, struct tcp_seg_out *out)
{
	bool sent;

	if (tcp_is_plain(c))
		return output_plain(c, out);
	sent = output_general(c, out);
	tcp_judge_order(c);
	return sent;
}

/* After a segment went out: false where nothing is left that tcp_conn_output() would send, as after a reply and its only segment. */
static bool
may_have_more(const struct tcp_conn *c)
{
	return c->snd_nxt != c->snd_end || c->ack_now || c->not_plain != 0;
}

/* All has gone out that will now: an ACK that is owed still may wait for something it can go with. */
static void
delay_ack(struct tcp_conn *c)
{
	if (c->rcv_acked != c->rcv_nxt && c->delack_due_us == TCP_NEVER)
		tcp_delack_set(c, c->tcp->now_us + TCP_DELACK_US);
}

static void
feed(struct tcp_conn *c)
{
	counter_inc(c->tcp->counters, CTR_tcp_starved);
	if (c->send_refused && tcp_send_room(c) > 0) {
		c->send_refused = false;
		tcp_event(c, TCP_EV_WRITABLE);
	}
	if (!c->wnd_withheld)
		return;
	c->wnd_withheld = false;
	if (tcp_window_update_due(c)) {
		c->ack_now = true; /* the peer waits for it: a window update is not lost */
		tcp_want_output(c);
	}
}

/* Connections that waited for memory, a few each time, and only while there is some: one look for all of them each 20 ms, not a
 * timer for each. */
static void
feed_starved(struct tcp *tcp)
{
	if (tcp->list[TCP_LIST_STARVED].n == 0 || tcp->now_us < tcp->starved_retry_us)
		return;
	tcp->starved_retry_us = tcp->now_us + TCP_STARVED_RETRY_US;
	for (uint32_t i = 0; i < TCP_STARVED_PER_TURN && tcp->list[TCP_LIST_STARVED].n > 0; i++) {
		struct tcp_conn *c = tcp_list_pop(tcp, TCP_LIST_STARVED);
		const bool budget = tcp->rcv_offered_octets + 2 * own_mss(c) <= tcp->conf.rcv_budget_octets;

		if (tcp->pressure || (c->wnd_withheld && !budget))
			tcp_list_add(tcp, TCP_LIST_STARVED, c);
		else
			feed(c);
	}
}

uint32_t
tcp_output(struct tcp *tcp, struct tcp_seg_out *out, uint32_t n, uint64_t now_us)
{
	const struct tcp_todo *todo = &tcp->list[TCP_LIST_OUT];
	uint32_t have = 0;

	tcp_clock(tcp, now_us);
	tcp_reply_release(tcp);
	if (tcp->n_views > 0)
		tcp_settle_views(tcp);
	tcp_timers_run(tcp, now_us);
	feed_starved(tcp);
	if (tcp->marks != 0)
		tcp_ooo_give_back(tcp);
	while (have < n && tcp_reply_output(tcp, &out[have]))
		have++;
	while (have < n && todo->n > 0) {
		struct tcp_conn *c = tcp_list_pop(tcp, TCP_LIST_OUT);
		uint32_t k = 0;

		if (tcp_is_plain(c) && send_reply(c, &out[have])) {
			have++; /* and nothing is left to send or to acknowledge */
			continue;
		}
		while (have < n && k < OUTPUT_BURST_SEGS && (k == 0 || may_have_more(c)) &&
			tcp_conn_output(c, &out[have])) {
			have++;
			k++;
		}
		if ((have == n || k == OUTPUT_BURST_SEGS) && c->state != TCP_STATE_CLOSED)
			tcp_want_output(c); /* it may have more: behind the others */
		else if (c->state != TCP_STATE_CLOSED)
			delay_ack(c);
		else
			tcp_conn_reap(c);
	}
	if (have < n)
		tcp->turn_expiries = 0;
	return have;
}
