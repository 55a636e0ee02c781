/*
 * tcp_input.c - SEGMENT ARRIVES: one function for each state, the steps numbered as in RFC 9293 section 3.10.7.4.
 *
 * Flow:   net -> tcp_input() -> connection: tcp_conn_input() -> tcp_in_<state>();  TIME-WAIT record;  listener
 *         The fifth step, what an ACK means, is tcp_ack.c.
 * Pure:   see tcp.h.
 * Keeps:  a segment is judged whole before it changes anything: checksum, sequence, RST, SYN, ACK, then text and FIN.
 *         Nothing here frees a connection's block: tcp_conn_reap() does at the end.
 * Source: RFC 9293 section 3.10.7, RFC 5961 (RST and SYN in the window), RFC 7323 section 5 (PAWS).
 *
 * The states:
 *   CLOSED        no segment belongs to it; a block that is in this state waits for its user only.
 *   SYN-SENT      our SYN is out. SYN-ACK establishes, SYN alone is a simultaneous open, RST refuses.
 *   SYN-RECEIVED  of a simultaneous open: our SYN-ACK is out, its ACK establishes.
 *   ESTABLISHED   octets both ways.
 *   FIN-WAIT-1    our FIN is queued or out, its ACK is missing; the peer may still send.
 *   FIN-WAIT-2    our FIN is acknowledged; the peer may still send, for a limited time.
 *   CLOSE-WAIT    the peer's FIN came; we may still send, for a limited time.
 *   CLOSING       both FINs are out, ours is not acknowledged.
 *   LAST-ACK      as CLOSE-WAIT, our FIN is queued or out: its ACK ends the connection.
 *   TIME-WAIT     a record without a connection: tcp_time_wait.c.  LISTEN: tcp_listen.c.
 */
#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"
#include "dataplane/net/csum.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/tcp/tcp_ooo.h"

/* --- acknowledgements we owe --- */

void
tcp_ack_now(struct tcp_conn *c)
{
	c->ack_now = true;
	tcp_want_output(c);
}

/*
 * An ACK to a segment that is odd but may be an attack (RFC 5961 section 7). The limit is by connection, so that no counter shared
 * by connections tells a stranger about others. Segments that carry data never come here (PITFALLS 15).
 */
void
tcp_challenge_ack(struct tcp_conn *c)
{
	const uint64_t now_us = c->tcp->now_us;

	if (c->challenged_us != 0 && now_us - c->challenged_us < TCP_CHALLENGE_US) {
		counter_inc(c->tcp->counters, CTR_tcp_challenge_limited);
		return;
	}
	c->challenged_us = now_us > 0 ? now_us : 1;
	counter_inc(c->tcp->counters, CTR_tcp_challenge_ack);
	tcp_ack_now(c);
}

/* --- first step: sequence, timestamps --- */

void
tcp_seg_start(struct tcp_seg_in *s, struct buf *buf, uint64_t now_us)
{
	s->buf = buf;
	s->now_us = now_us;
	s->seq = s->h.seq;
	s->len = s->h.payload_octets;
	s->fin = (s->h.flags & TCP_FIN) != 0;
}

/* RFC 7323 section 5.3, R1. True: the segment is older than what came before. */
static bool
is_old_by_paws(const struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (!c->ts_ok || !s->h.has_ts || !seq_lt(s->h.tsval, c->ts_recent))
		return false;
	return s->now_us - c->ts_recent_us < TCP_PAWS_IDLE_US;
}

void
tcp_answer_unacceptable(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (s->len > 0 || s->fin)
		tcp_ack_now(c);
	else
		tcp_challenge_ack(c);
}

/*
 * Whether any of the segment lies in the window. RFC 9293's table, with two differences: an empty segment exactly at the right
 * edge counts as inside, because a peer that has filled our window acknowledges from there; and with a window of zero
 * whatever begins at RCV.NXT is let through with its text cut off, for its ACK, its RST and a FIN without text.
 */
static bool
is_in_window(const struct tcp_conn *c, const struct tcp_seg_in *s)
{
	const uint32_t seg_len = s->len + s->fin;

	if (seg_len == 0)
		return seq_leq(c->rcv_nxt, s->seq) && seq_leq(s->seq, c->rcv_adv);
	if (c->rcv_nxt == c->rcv_adv)
		return seq_leq(s->seq, c->rcv_nxt) && seq_gt(s->seq + seg_len, c->rcv_nxt);
	/* a FIN needs no room: it may stand on the edge itself, unless it has come already */
	return seq_leq(s->seq, c->rcv_adv) && seq_gt(s->seq + seg_len, c->rcv_nxt) &&
	       (s->seq != c->rcv_adv || (s->len == 0 && !c->fin_in));
}

/* Cuts off what lies before RCV.NXT and beyond the window. */
static void
trim(struct tcp_conn *c, struct tcp_seg_in *s)
{
	uint32_t room;

	if (seq_lt(s->seq, c->rcv_nxt)) {
		uint32_t known = MIN(c->rcv_nxt - s->seq, s->len);

		s->h.payload += known;
		s->len -= known;
		s->seq += known;
		c->ack_now = true; /* a duplicate in part: the peer missed an ACK of ours */
	}
	room = seq_lt(s->seq, c->rcv_adv) ? c->rcv_adv - s->seq : 0;
	if (s->len > room) {
		counter_inc(c->tcp->counters, CTR_tcp_beyond_window);
		s->len = room;
		s->fin = false;
		tcp_ack_now(c); /* window probes are answered, never limited */
	}
}

/* RFC 5961 section 3.2. */
static void
on_rst(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	/* In CLOSING and LAST-ACK RFC 9293 signals nothing: the peer has all octets, only its TIME-WAIT was over too soon. */
	const bool done =
		(c->state == TCP_STATE_CLOSING || c->state == TCP_STATE_LAST_ACK) && seq_geq(c->snd_una, c->snd_end);

	if (s->seq == c->rcv_nxt) {
		counter_inc(c->tcp->counters, done ? CTR_tcp_closed : CTR_tcp_reset_in);
		tcp_conn_end(c, done ? TCP_EV_CLOSED : TCP_EV_RESET);
	} else if (seq_lt(c->rcv_nxt, s->seq) && seq_lt(s->seq, c->rcv_adv)) {
		tcp_challenge_ack(c);
	} else {
		counter_inc(c->tcp->counters, CTR_tcp_drop_sequence);
	}
}

/* RFC 7323 section 4.3: which timestamp is echoed. */
static void
update_ts_recent(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (!c->ts_ok || !s->h.has_ts || !seq_leq(s->h.seq, c->rcv_acked))
		return;
	if (seq_geq(s->h.tsval, c->ts_recent) || s->now_us - c->ts_recent_us >= TCP_PAWS_IDLE_US) {
		c->ts_recent = s->h.tsval;
		c->ts_recent_us = s->now_us;
	}
}

/* The first four steps, common to all states from SYN-RECEIVED on. False: the segment is done with. */
static bool
step_sequence_rst_syn(struct tcp_conn *c, struct tcp_seg_in *s)
{
	struct counters *counters = c->tcp->counters;

	/* second (RFC 7323 and 5961 put it first): check the RST bit; PAWS never drops an RST */
	if ((s->h.flags & TCP_RST) != 0) {
		on_rst(c, s);
		return false;
	}
	/* first: check sequence number, with PAWS before it */
	if (c->ts_ok && !s->h.has_ts) {
		counter_inc(counters, CTR_tcp_drop_no_timestamp);
		return false;
	}
	if (is_old_by_paws(c, s)) {
		counter_inc(counters, CTR_tcp_drop_paws);
		tcp_answer_unacceptable(c, s);
		return false;
	}
	/* fourth: check the SYN bit. RFC 5961 section 4.2: an ACK whatever the number; a peer that was restarted answers with
	 * an RST that is exactly right. The SYN-ACK of a simultaneous open is the one exception. */
	if ((s->h.flags & TCP_SYN) != 0) {
		if (c->state != TCP_STATE_SYN_RECEIVED || s->h.seq != c->irs || (s->h.flags & TCP_ACK) == 0) {
			tcp_challenge_ack(c);
			return false;
		}
		s->seq++;
	}
	if (!is_in_window(c, s)) {
		const bool known = seq_leq(s->seq + s->len + s->fin, c->rcv_nxt);

		counter_inc(counters, known && s->len > 0 ? CTR_tcp_duplicate : CTR_tcp_drop_sequence);
		tcp_answer_unacceptable(c, s);
		return false;
	}
	c->heard = true;
	update_ts_recent(c, s);
	trim(c, s);
	return true;
}

/* --- seventh and eighth step: text and FIN --- */

static void
schedule_ack(struct tcp_conn *c, uint32_t received)
{
	c->rcv_mss = MAX(c->rcv_mss, received);
	/* every second full segment at once (RFC 9293 section 3.8.6.3), else within 40 ms: tcp_output() sets the clock, if nothing goes out */
	if (c->rcv_nxt - c->rcv_acked >= 2 * c->rcv_mss)
		c->ack_now = true;
	tcp_want_output(c);
}

/* Text after tcp_release(): acknowledged up to a limit and dropped. False: the connection was reset. */
static bool
discard_text(struct tcp_conn *c, struct tcp_seg_in *s)
{
	counter_inc(c->tcp->counters, CTR_tcp_drop_after_close);
	c->discarded += s->len;
	if (c->discarded > TCP_ORPHAN_DISCARD_OCTETS) {
		tcp_conn_reset(c, 0);
		return false;
	}
	if (s->seq != c->rcv_nxt) {
		s->fin = false; /* a gap: the peer repeats from there */
		tcp_ack_now(c);
		return true;
	}
	c->rcv_nxt += s->len;
	tcp_ack_now(c);
	return true;
}

/* Octets in order, c having nothing unread: most are read in the same turn, and need no place in a queue. */
static bool
take_view(struct tcp_conn *c, const struct buf_view *v)
{
	struct tcp *tcp = c->tcp;

	if (c->rcv_readable != 0 || v->buf == NULL || tcp->n_views == TCP_VIEWS_MAX)
		return false;
	buf_ref(tcp->pool, v->buf);
	/* one by one: v was just written so, and read in words of another size it would wait for all stores before */
	c->rcv_view.ptr = v->ptr;
	c->rcv_view.len_octets = v->len_octets;
	c->rcv_view.buf = v->buf;
	tcp->view[tcp->n_views++] = c->index;
	return true;
}

/* Seventh: process the segment text. False: the connection was reset. plain: a plain connection, and text at RCV.NXT. */
static inline __attribute__((always_inline)) bool
step_text_of(struct tcp_conn *c, struct tcp_seg_in *s, const bool plain)
{
	const struct buf_view v = { .ptr = s->h.payload, .len_octets = s->len, .buf = s->buf };
	const bool had_gap = !plain && c->ooo != NULL;
	uint32_t taken;

	if (s->len == 0)
		return true;
	if (!plain && c->released)
		return discard_text(c, s);
	if (c->tcp->pressure && c->rcv_readable >= TCP_PRESSURE_UNREAD_OCTETS) {
		counter_inc(c->tcp->counters, CTR_tcp_rcv_shed);
		s->fin = false;
		tcp_ack_now(c);
		return true; /* the peer sends it again */
	}
	if (!plain && s->seq != c->rcv_nxt) {
		enum tcp_ooo_result r = tcp_ooo_insert(c, s->seq, &v);

		counter_inc(c->tcp->counters, r == TCP_OOO_DUPLICATE ? CTR_tcp_duplicate : CTR_tcp_out_of_order);
		/* RFC 5681 section 4.2: at once, and for each */
		if (c->dupacks_owed < (c->sack_ok ? TCP_DUPACKS_OWED_SACK_MAX : TCP_DUPACKS_OWED_MAX))
			c->dupacks_owed++;
		tcp_ack_now(c);
		if (r == TCP_OOO_DROPPED)
			s->fin = false;
		return true;
	}
	if (take_view(c, &v) || tcp_queue_attach(&c->tcp->pieces, &c->rcv_queue, s->seq, &v))
		taken = s->len;
	else
		taken = tcp_queue_append(&c->tcp->pieces, &c->rcv_queue, s->seq, &v);
	if (taken < s->len) {
		counter_inc(c->tcp->counters, CTR_tcp_no_buffer);
		s->fin = false; /* the peer sends the rest again */
	}
	c->rcv_nxt += taken;
	c->rcv_readable += taken;
	if (had_gap) {
		uint32_t moved = tcp_ooo_pull(c);

		taken += moved;
		c->rcv_readable += moved;
	}
	counter_add(c->tcp->counters, CTR_tcp_in_octets, taken);
	if (taken > 0)
		tcp_event(c, TCP_EV_READABLE);
	if (had_gap || taken < s->len)
		tcp_ack_now(c);
	else
		schedule_ack(c, s->len);
	return true;
}

static bool
step_text(struct tcp_conn *c, struct tcp_seg_in *s)
{
	return step_text_of(c, s, false);
}

/* Eighth: check the FIN bit. True: the peer's FIN is now in order, for the first time. */
static bool
step_fin(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (c->fin_in)
		return false;
	if (s->fin) {
		c->fin_known = true;
		c->rcv_fin_seq = s->seq + s->len;
	}
	if (!c->fin_known || c->rcv_fin_seq != c->rcv_nxt) {
		if (s->fin)
			tcp_ack_now(c); /* beyond a gap: as text there (RFC 5681 section 4.2) */
		return false;
	}
	c->fin_in = true;
	c->rcv_nxt++;
	c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt);
	tcp_ooo_clear(c); /* text beyond a FIN is no text */
	if (c->rcv_readable == 0 && !c->eof_told) {
		c->eof_told = true;
		tcp_event(c, TCP_EV_EOF);
	}
	tcp_ack_now(c);
	return true;
}

/* --- the states --- */

/* Section 3.10.7.3. */
static void
tcp_in_syn_sent(struct tcp_conn *c, struct tcp_seg_in *s)
{
	struct tcp *tcp = c->tcp;
	const struct tcp_hdr *h = &s->h;
	const bool ack_ok = (h->flags & TCP_ACK) != 0 && h->ack == c->iss + 1 && seq_lt(c->snd_una, c->snd_max);

	/* first: check the ACK bit. We send no text with a SYN, so ISS + 1 is the only number that can be meant. */
	if ((h->flags & TCP_ACK) != 0 && !ack_ok) {
		counter_inc(tcp->counters, CTR_tcp_drop_ack);
		tcp_reply_rst(tcp, &c->flow, h, NULL);
		return;
	}
	/* second: check the RST bit */
	if ((h->flags & TCP_RST) != 0) {
		if (ack_ok) {
			counter_inc(tcp->counters, CTR_tcp_refused);
			tcp_conn_end(c, TCP_EV_REFUSED);
		} else {
			counter_inc(tcp->counters, CTR_tcp_drop_rst);
		}
		return;
	}
	/* fourth: check the SYN bit */
	if ((h->flags & TCP_SYN) == 0) {
		counter_inc(tcp->counters, CTR_tcp_drop_flags);
		return;
	}
	c->ts_ok = c->ts_ok && h->has_ts;
	c->sack_ok = c->sack_ok && h->sack_permitted;
	c->snd_wscale = h->wscale == TCP_WSCALE_NONE ? 0 : h->wscale;
	if (h->wscale == TCP_WSCALE_NONE)
		c->rcv_wscale = 0;
	if (c->ts_ok) {
		c->ts_recent = h->tsval;
		c->ts_recent_us = s->now_us;
	}
	/* our window of the SYN stands; RCV.NXT comes before it */
	tcp_conn_init_rcv(c, h->seq, c->rcv_adv - c->rcv_nxt);
	tcp_mark_conn(c); /* again, with what the SYN could not know: IRS, and whether timestamps were taken */
	{
		uint32_t mss = h->mss != 0                     ? h->mss
		               : ip_addr_is_v4(&c->flow.local) ? TCP_MSS_DEFAULT_V4
		                                               : TCP_MSS_DEFAULT_V6;

		tcp_set_mss(c, MIN(MAX(mss, TCP_MSS_MIN), c->mss_limit));
	}
	tcp_init_cwnd(c);
	c->snd_wnd = c->snd_wnd_max = h->wnd; /* never scaled in a SYN */
	c->snd_wl1 = h->seq;
	c->snd_wl2 = h->ack;
	if (!ack_ok) {
		/* simultaneous open */
		tcp_set_state(c, TCP_STATE_SYN_RECEIVED);
		c->syn_due = true;
		tcp_timer_stop(c);
		tcp_want_output(c);
		return;
	}
	c->snd_una = h->ack;
	c->rtx_count = 0;
	c->backoff = 0;
	tcp_timer_stop(c);
	c->rto_us = c->syn_retransmitted ? TCP_RTO_AFTER_SYN_US : c->rto_us;
	c->rtt_timing = c->rtt_timing && !c->syn_retransmitted;
	tcp_take_rtt(c, s);
	tcp_set_state(c, c->fin_queued ? TCP_STATE_FIN_WAIT_1 : TCP_STATE_ESTABLISHED);
	counter_inc(tcp->counters, CTR_tcp_connected);
	tcp_event(c, TCP_EV_CONNECTED);
	tcp_ack_now(c);
	/* sixth to eighth: text or FIN with the SYN-ACK */
	s->seq++;
	trim(c, s);
	if (step_text(c, s) && step_fin(c, s))
		tcp_set_state(c, c->fin_queued ? TCP_STATE_CLOSING : TCP_STATE_CLOSE_WAIT);
}

static void
tcp_in_established(struct tcp_conn *c, struct tcp_seg_in *s)
{
	if (!tcp_step_ack(c, s) || !step_text(c, s))
		return;
	if (step_fin(c, s))
		tcp_set_state(c, TCP_STATE_CLOSE_WAIT);
}

static void tcp_in_fin_wait_1(struct tcp_conn *c, struct tcp_seg_in *s);

static void
tcp_in_syn_received(struct tcp_conn *c, struct tcp_seg_in *s)
{
	/* fifth: SND.UNA < SEG.ACK =< SND.NXT, or a reset */
	if ((s->h.flags & TCP_ACK) == 0) {
		counter_inc(c->tcp->counters, CTR_tcp_drop_flags);
		return;
	}
	if (s->h.ack != c->iss + 1) {
		counter_inc(c->tcp->counters, CTR_tcp_drop_ack);
		tcp_reply_rst(c->tcp, &c->flow, &s->h, NULL);
		return;
	}
	c->syn_due = false;
	c->snd_una = c->iss + 1;
	c->snd_nxt = seq_max(c->snd_nxt, c->snd_una);
	c->snd_wl1 = s->h.seq - 1; /* so that this segment's window, now scaled, counts */
	c->rtx_count = 0;
	c->backoff = 0;
	tcp_timer_stop(c);
	tcp_set_state(c, c->fin_queued ? TCP_STATE_FIN_WAIT_1 : TCP_STATE_ESTABLISHED);
	counter_inc(c->tcp->counters, CTR_tcp_connected);
	tcp_event(c, TCP_EV_CONNECTED);
	if (c->state == TCP_STATE_FIN_WAIT_1)
		tcp_in_fin_wait_1(c, s);
	else
		tcp_in_established(c, s);
}

static void
tcp_in_fin_wait_1(struct tcp_conn *c, struct tcp_seg_in *s)
{
	bool fin;

	if (!tcp_step_ack(c, s) || !step_text(c, s))
		return;
	fin = step_fin(c, s);
	if (tcp_fin_acked(c) && fin)
		tcp_conn_time_wait(c);
	else if (tcp_fin_acked(c))
		tcp_set_state(c, TCP_STATE_FIN_WAIT_2);
	else if (fin)
		tcp_set_state(c, TCP_STATE_CLOSING);
}

static void
tcp_in_fin_wait_2(struct tcp_conn *c, struct tcp_seg_in *s)
{
	if (!tcp_step_ack(c, s) || !step_text(c, s))
		return;
	if (step_fin(c, s))
		tcp_conn_time_wait(c);
	else if (s->len > 0 && !c->released)
		tcp_fifo_put(c, TCP_FIFO_FIN_WAIT_2); /* it still sends and is still read: the limit is on silence */
}

/* Seventh and eighth behind the peer's FIN: text and another FIN are ignored. */
static void
ignore_after_fin(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (s->len > 0 || s->fin)
		counter_inc(c->tcp->counters, CTR_tcp_drop_after_fin);
}

static void
tcp_in_close_wait(struct tcp_conn *c, struct tcp_seg_in *s)
{
	if (tcp_step_ack(c, s))
		ignore_after_fin(c, s);
}

static void
tcp_in_closing(struct tcp_conn *c, struct tcp_seg_in *s)
{
	if (!tcp_step_ack(c, s))
		return;
	ignore_after_fin(c, s);
	if (tcp_fin_acked(c))
		tcp_conn_time_wait(c);
}

static void
tcp_in_last_ack(struct tcp_conn *c, struct tcp_seg_in *s)
{
	if (!tcp_step_ack(c, s))
		return;
	ignore_after_fin(c, s);
	if (!tcp_fin_acked(c))
		return;
	/* The peer is in TIME-WAIT. A source port of ours is not taken again before that is over. */
	if (c->is_client)
		tcp_time_wait_add(c->tcp, c, true);
	counter_inc(c->tcp->counters, CTR_tcp_closed);
	tcp_conn_end(c, TCP_EV_CLOSED);
}

/*
 * Whether of a plain connection this is a plain segment: no flag but ACK and PSH, what is expected next and fits the window, nothing to report,
 * and an ACK that is new, or of nothing while nothing is in flight.
 */
static bool
is_plain_segment(const struct tcp_conn *c, const struct tcp_seg_in *s)
{
	const struct tcp_hdr *h = &s->h;

	return (h->flags & ~TCP_PSH) == TCP_ACK && h->seq == c->rcv_nxt &&
	       h->payload_octets <= c->rcv_adv - c->rcv_nxt && h->n_sack == 0 &&
	       h->ack - c->snd_una <= c->snd_max - c->snd_una && (h->ack != c->snd_una || c->snd_una == c->snd_max) &&
	       c->timer_kind != TCP_TIMER_PERSIST && h->has_ts == c->ts_ok &&
	       (!c->ts_ok || seq_geq(h->tsval, c->ts_recent));
}

/* The first to the seventh step of such a segment: what is left of them. There is no FIN. */
static void
plain_segment(struct tcp_conn *c, struct tcp_seg_in *s)
{
	c->heard = true;
	update_ts_recent(c, s);
	tcp_step_ack_plain(c, s);
	step_text_of(c, s, true);
}

static void
general_segment(struct tcp_conn *c, struct tcp_seg_in *s)
{
	const enum tcp_state state = c->state;

	if (state != TCP_STATE_SYN_SENT && state != TCP_STATE_CLOSED && !step_sequence_rst_syn(c, s))
		return;
	switch (state) {
	case TCP_STATE_CLOSED:
	case TCP_STATE_N:
		break;
	case TCP_STATE_SYN_SENT:
		tcp_in_syn_sent(c, s);
		break;
	case TCP_STATE_SYN_RECEIVED:
		tcp_in_syn_received(c, s);
		break;
	case TCP_STATE_ESTABLISHED:
		tcp_in_established(c, s);
		break;
	case TCP_STATE_FIN_WAIT_1:
		tcp_in_fin_wait_1(c, s);
		break;
	case TCP_STATE_FIN_WAIT_2:
		tcp_in_fin_wait_2(c, s);
		break;
	case TCP_STATE_CLOSE_WAIT:
		tcp_in_close_wait(c, s);
		break;
	case TCP_STATE_CLOSING:
		tcp_in_closing(c, s);
		break;
	case TCP_STATE_LAST_ACK:
		tcp_in_last_ack(c, s);
		break;
	}
	tcp_rcv_charge(c); /* a FIN, or octets dropped for nobody, use up what was offered */
}

static inline void
conn_input(struct tcp_conn *c, struct tcp_seg_in *s)
{
	if (tcp_is_plain(c) && is_plain_segment(c, s)) {
		plain_segment(c, s);
		return;
	}
	general_segment(c, s);
	tcp_judge_order(c);
}

void
tcp_conn_input(struct tcp_conn *c, struct tcp_seg_in *s)
{
	conn_input(c, s);
}

/* --- the entry --- */

/* The connection of a segment where it was seen when the burst was looked at; NULL: not there, or not any more. */
static inline struct tcp_conn *
burst_find(const struct tcp *tcp, const struct net_seg *seg)
{
	struct tcp_conn *c;

	if (seg->hash == 0 || seg->at >= tcp->conf.conns_max)
		return NULL;
	c = &tcp->conns[seg->at];
	return c->state != TCP_STATE_CLOSED && tcp_flow_equal(&c->flow, &seg->flow) ? c : NULL;
}

/* The index of its connection, or record. A table that took nothing in since the burst was looked at still has none where it had none. */
static uint32_t
index_of(const struct tcp *tcp, const struct net_seg *seg, uint64_t hash)
{
	if (seg->hash != 0 && seg->at == TCP_TABLE_NONE && seg->at_inserts == tcp->table.inserts)
		return TCP_INDEX_NONE;
	return tcp_index_find(tcp, &seg->flow, hash);
}

/*
 * Whether it is as it was sent. Where that was summed here, the buffer of a text that may be sent on as it lies (smaller ones are copied) learns the
 * sum; where others judged it, the field may hold anything, and of the buffer nothing is known.
 */
static inline bool
is_sum_good(struct tcp *tcp, const struct net_seg *seg, const struct tcp_hdr *h)
{
	struct buf_sum *known;

	if (h->payload_octets < TCP_COMPACT_OCTETS || seg->tcp.buf == NULL)
		return seg->checksum_good || csum_is_good(&seg->flow.remote, &seg->flow.local, CSUM_PROTO_TCP,
						     seg->tcp.ptr, seg->tcp.len_octets);
	known = buf_sum(tcp->pool, seg->tcp.buf);
	known->len_octets = 0;
	return seg->checksum_good || csum_is_good_tcp(&seg->flow.remote, &seg->flow.local, &seg->tcp,
					     seg->tcp.len_octets - h->payload_octets, known);
}

/* The header of a segment that is whole. False: it is counted and done with. */
static inline bool
receive(struct tcp *tcp, const struct net_seg *seg, struct tcp_hdr *h, uint64_t now_us)
{
	tcp_clock(tcp, now_us);
	tcp_reply_release(tcp);
	counter_inc(tcp->counters, CTR_tcp_in_segs);
	if (!tcp_hdr_parse(h, seg->tcp.ptr, seg->tcp.len_octets)) {
		counter_inc(tcp->counters, CTR_tcp_drop_header);
		return false;
	}
	if (!is_sum_good(tcp, seg, h)) {
		counter_inc(tcp->counters, CTR_tcp_drop_checksum);
		return false;
	}
	if (h->options_broken)
		counter_inc(tcp->counters, CTR_tcp_bad_option);
	return true;
}

/* A segment whose connection was not seen ahead: of a connection all the same, of a record, or of none. answer: as tcp_listen_input() has it. */
static uint32_t
input_unseen(struct tcp *tcp, const struct net_seg *seg, struct tcp_seg_in *s, const struct net_frame *frame,
	uint8_t *answer)
{
	const uint64_t hash = seg->hash != 0 ? seg->hash : tcp_flow_hash(tcp, &seg->flow);
	const struct tcp_hdr *h = &s->h;
	struct tcp_syn_entry *e;
	struct tcp_tw_record *tw;
	struct tcp_conn *c;
	uint32_t i;

	i = index_of(tcp, seg, hash);
	if (i != TCP_INDEX_NONE) {
		c = i < tcp->conf.conns_max ? &tcp->conns[i] : tcp_rest_segment(tcp, i - tcp->conf.conns_max, hash);
		if (c == NULL)
			return 0;
		tcp_seg_start(s, seg->tcp.buf, tcp->now_us);
		tcp_conn_input(c, s);
		tcp_conn_reap(c);
		return 0;
	}
	e = tcp_syn_find(&tcp->listen, &seg->flow, hash);
	/* the ACK of a handshake: its SYN is all that the filter counts, and two lines of a large table are not looked at */
	if (tcp_filter_count(&tcp->filter, hash) > (e != NULL)) {
		tw = tcp_time_wait_find(&tcp->time_wait, &seg->flow, hash);
		if (tw != NULL && !tw->peer_holds && !tcp_time_wait_input(tcp, tw, h, frame))
			return 0;
	}
	return tcp_listen_input(tcp, e, seg, h, hash, frame, answer);
}

void
tcp_input(struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint64_t now_us)
{
	struct tcp_seg_in s;
	struct tcp_conn *c;

	if (!receive(tcp, seg, &s.h, now_us))
		return;
	c = burst_find(tcp, seg);
	if (c == NULL) {
		input_unseen(tcp, seg, &s, frame, NULL);
		return;
	}
	tcp_seg_start(&s, seg->tcp.buf, tcp->now_us);
	conn_input(c, &s);
	tcp_conn_reap(c);
}

uint32_t
tcp_segment(struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint8_t *answer, uint64_t now_us)
{
	struct tcp_seg_in s;

	return receive(tcp, seg, &s.h, now_us) ? input_unseen(tcp, seg, &s, frame, answer) : 0;
}

/* Whether a and b are bare ACKs of one connection that say the same but for what they acknowledge, their windows and times; b not the older one by these. */
static bool
are_bare_acks(const struct net_seg *a, const struct net_seg *b)
{
	const uint8_t *p = a->tcp.ptr, *q = b->tcp.ptr;
	const uint32_t octets = a->tcp.len_octets;

	return octets == b->tcp.len_octets && tcp_hdr_is_bare_ack(p, octets) && tcp_hdr_is_bare_ack(q, octets) &&
	       get_u32(p + 4) == get_u32(q + 4) && tcp_flow_equal(&a->flow, &b->flow) &&
	       (octets == TCP_HEADER_MIN_OCTETS || seq_geq(get_u32(q + 24), get_u32(p + 24)));
}

/*
 * An ACK is cumulative (RFC 9293 section 3.4), and its window is outdated by the next one's: peers that acknowledge each segment of a burst are
 * heard once. Not where duplicates are counted or SACK blocks awaited; nor for a number that was never sent, which would silence the peer for
 * whoever made it up.
 */
bool
tcp_is_outdone(struct tcp *tcp, const struct net_seg *seg, const struct net_seg *next)
{
	const struct tcp_conn *c;
	uint32_t more;

	if (seg->at != next->at || !are_bare_acks(seg, next))
		return false;
	c = burst_find(tcp, next);
	if (c == NULL || !tcp_is_plain(c))
		return false;
	more = get_u32(next->tcp.ptr + 8) - c->snd_una;
	if (more > c->snd_max - c->snd_una || get_u32(seg->tcp.ptr + 8) - c->snd_una >= more)
		return false;
	counter_inc(tcp->counters, CTR_tcp_in_segs);
	counter_inc(tcp->counters, CTR_tcp_acks_outdone);
	return true;
}

void
tcp_prefetch(const struct tcp *tcp, struct net_seg *seg, bool is_syn)
{
	seg->hash = tcp_flow_hash(tcp, &seg->flow);
	seg->at = TCP_TABLE_NONE;
	seg->at_inserts = tcp->table.inserts - 1; /* not seen yet */
	if (is_syn)
		__builtin_prefetch(
			tcp_filter_cell(&tcp->filter, seg->hash)); /* most say that there is nothing more to look at */
	else
		tcp_table_prefetch(&tcp->table, seg->hash);
}

bool
tcp_prefetch_conn(const struct tcp *tcp, struct net_seg *seg)
{
	uint32_t i;

	i = tcp_table_guess(&tcp->table, seg->hash);
	seg->at = i;
	seg->at_inserts = tcp->table.inserts;
	if (i == TCP_TABLE_NONE) { /* the ACK of a handshake, mostly */
		__builtin_prefetch(tcp_filter_cell(&tcp->filter, seg->hash));
		tcp_table_prefetch(&tcp->listen.table, seg->hash);
		tcp_proven_prefetch(&tcp->listen.proven, &seg->flow.remote);
		return false;
	}
	if (i >= tcp->conf.conns_max) {
		for (uint32_t line = 0; line < tcp->rests.records.stride; line += 64)
			__builtin_prefetch((const char *)tcp_rest_at(&tcp->rests, i - tcp->conf.conns_max) + line);
		return true;
	}
	for (uint32_t line = 0; line < TCP_CONN_HOT_LINES * 64; line += 64)
		__builtin_prefetch((const char *)&tcp->conns[i] + line);
	return true;
}
