/*
 * tcp_input.c - SEGMENT ARRIVES: one function for each state, the steps numbered as in RFC 9293 section 3.10.7.4.
 *
 * Flow:   net -> tcp_input() -> connection: tcp_conn_input() -> tcp_in_<state>();  TIME-WAIT record;  listener
 * Pure:   see tcp.h.
 * Keeps:  a segment is judged whole before it changes anything: checksum, sequence, RST, SYN, ACK, then text and FIN.
 *         Nothing here frees a connection's block: tcp_conn_reap() does at the end.
 * Source: RFC 9293 section 3.10.7, RFC 5961 (RST, SYN and ACK in the window), RFC 7323 section 5 (PAWS), RFC 5681, 6582,
 *         6675 (what an ACK means), RFC 6298 (RTT).
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

static void
ack_now(struct tcp_conn *c)
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
	ack_now(c);
}

/* --- first step: sequence, timestamps --- */

struct tcp_seg_in
tcp_seg_of(const struct tcp_hdr *h, struct buf *buf, uint64_t now_us)
{
	return (struct tcp_seg_in){ .h = *h,
		.buf = buf,
		.now_us = now_us,
		.seq = h->seq,
		.len = h->payload_octets,
		.fin = (h->flags & TCP_FIN) != 0 };
}

/* RFC 7323 section 5.3, R1. True: the segment is older than what came before. */
static bool
is_old_by_paws(const struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (!c->ts_ok || !s->h.has_ts || !seq_lt(s->h.tsval, c->ts_recent))
		return false;
	return s->now_us - c->ts_recent_us < TCP_PAWS_IDLE_US;
}

static void
answer_unacceptable(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (s->len > 0 || s->fin)
		ack_now(c);
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
		ack_now(c); /* window probes are answered, never limited */
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
		answer_unacceptable(c, s);
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
		answer_unacceptable(c, s);
		return false;
	}
	c->heard = true;
	update_ts_recent(c, s);
	trim(c, s);
	return true;
}

/* --- fifth step: the ACK --- */

/* RFC 6298 section 2. */
void
tcp_rtt_sample(struct tcp_conn *c, uint32_t rtt_us)
{
	rtt_us = MAX(rtt_us, 1);
	if (c->srtt_us == 0) {
		c->srtt_us = rtt_us;
		c->rttvar_us = rtt_us / 2;
	} else {
		uint32_t err = c->srtt_us > rtt_us ? c->srtt_us - rtt_us : rtt_us - c->srtt_us;

		c->rttvar_us = (uint32_t)((3 * (uint64_t)c->rttvar_us + err) / 4);
		c->srtt_us = MAX(1, (uint32_t)((7 * (uint64_t)c->srtt_us + rtt_us) / 8));
	}
	c->rto_us = (uint32_t)MIN((uint64_t)c->srtt_us + MAX(4 * (uint64_t)c->rttvar_us, TCP_TICK_US), TCP_RTO_MAX_US);
	c->rto_us = MAX(c->rto_us, TCP_RTO_MIN_US);
}

/* A sample of what was just acknowledged: by timestamp, which tells retransmissions apart, or by the one segment timed. */
static void
take_rtt(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (c->ts_ok && s->h.has_ts) {
		const uint32_t age_ms = tcp_ts_now(c->tcp, s->now_us) - s->h.tsecr;

		if (age_ms < TCP_RTO_MAX_US / 1000 * 2) /* else the peer echoes what we never sent */
			tcp_rtt_sample(c, age_ms * 1000);
	} else if (c->rtt_timing && seq_gt(s->h.ack, c->rtt_seq)) {
		c->rtt_timing = false;
		tcp_rtt_sample(c, (uint32_t)MIN(s->now_us - c->rtt_start_us, UINT64_C(120000000)));
	}
}

/* Takes the blocks of a segment into the scoreboard. Returns the octets that were not known before. */
static uint32_t
take_sack(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	uint32_t fresh = 0;

	for (uint32_t i = 0; c->sack_ok && i < s->h.n_sack; i++) {
		struct tcp_sack_block b = s->h.sack[i];
		uint32_t n;

		/* what is not in flight is a D-SACK, an old ACK or a lie */
		if (!seq_lt(b.start, b.end) || seq_gt(b.end, c->snd_max) || seq_leq(b.end, c->snd_una) ||
			seq_leq(b.start, c->snd_una))
			continue;
		if (c->sb == NULL && (c->sb = tcp_scoreboard_get(c->tcp)) == NULL)
			return fresh;
		n = tcp_scoreboard_add(c->sb, b.start, b.end);
		if (n == UINT32_MAX)
			counter_inc(c->tcp->counters, CTR_tcp_sack_full);
		else
			fresh += n;
	}
	return fresh;
}

static uint32_t
flight_octets(const struct tcp_conn *c)
{
	return c->snd_max - c->snd_una;
}

static bool
has_sacked(const struct tcp_conn *c)
{
	return c->sb != NULL && c->sb->n > 0;
}

/* RFC 5681 section 3.1, with appropriate octet counting (RFC 3465, L = 2) since peers delay ACKs. */
static void
grow_cwnd(struct tcp_conn *c, uint32_t acked)
{
	if (!c->cwnd_limited)
		return; /* it was not the congestion window that held us back (RFC 7661 section 4.1) */
	if (c->cwnd < c->ssthresh) {
		c->cwnd += MIN(acked, 2 * c->mss);
	} else {
		c->cwnd_acked += acked;
		if (c->cwnd_acked >= c->cwnd) {
			c->cwnd_acked -= c->cwnd;
			c->cwnd += c->mss;
		}
	}
	c->cwnd = MIN(c->cwnd, TCP_CWND_MAX_OCTETS);
}

static void
enter_recovery(struct tcp_conn *c)
{
	counter_inc(c->tcp->counters, CTR_tcp_fast_retransmit);
	c->in_recovery = true;
	c->recover = c->snd_max;
	c->high_rxt = c->snd_una;
	c->ssthresh = MAX(flight_octets(c) / 2, 2 * c->mss);
	c->cwnd = c->ssthresh;
	c->cwnd_acked = 0;
	if (!has_sacked(c))
		c->cwnd += TCP_DUP_THRESH * c->mss; /* RFC 6582 section 3.2 step 2: what has left the network */
	c->rtx_due = true; /* the first retransmission goes out whatever the pipe (RFC 6675 section 5 step 4.3) */
	c->rtt_timing = false;
	c->tail_probe_due = false;
	tcp_timer_arm_rto(c);
}

static void
leave_recovery(struct tcp_conn *c)
{
	c->in_recovery = false;
	c->rtx_due = false;
	c->cwnd = has_sacked(c) || c->sack_ok ? c->ssthresh : MIN(c->ssthresh, MAX(flight_octets(c), c->mss) + c->mss);
	c->cwnd = MAX(c->cwnd, c->mss);
}

/* An ACK inside a recovery that does not end it. RFC 6582 section 3.2 step 3; with SACK the pipe says what to do. */
static void
partial_ack(struct tcp_conn *c, uint32_t acked)
{
	if (c->sb != NULL && c->sack_ok && has_sacked(c)) {
		c->high_rxt = seq_max(c->high_rxt, c->snd_una);
		return;
	}
	c->rtx_due = true;
	c->high_rxt = c->snd_una;
	c->cwnd = c->cwnd > acked ? c->cwnd - acked : 0;
	c->cwnd = MAX(c->cwnd + (acked >= c->mss ? c->mss : 0), c->mss);
}

/* Less room than half of the queue. */
static bool
is_room_short(const struct tcp_conn *c)
{
	return tcp_send_room(c) < c->tcp->conf.snd_queue_max_octets / 2;
}

/* After a refusal some room is worth an event; who looked at the room instead of being refused hears of it at half. */
static void
tell_writable(struct tcp_conn *c, bool was_short)
{
	const uint32_t max = c->tcp->conf.snd_queue_max_octets;

	if (!(c->send_refused && tcp_send_room(c) >= MIN(max / 4, 16384)) && !(was_short && !is_room_short(c)))
		return;
	c->send_refused = false;
	tcp_event(c, TCP_EV_WRITABLE);
}

/* SND.UNA moves up to the ACK. */
static void
on_ack_advance(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	const uint32_t acked = s->h.ack - c->snd_una;
	const uint32_t data_end = seq_min(s->h.ack, c->snd_end);
	const bool was_short = is_room_short(c);

	take_rtt(c, s);
	if (c->snd_queue.head != NULL && seq_gt(data_end, c->snd_una)) {
		if (c->snd_cursor != NULL && seq_leq(c->snd_cursor->seq + c->snd_cursor->len_octets, data_end))
			c->snd_cursor = NULL; /* it goes with what is acknowledged */
		tcp_queue_drop(&c->tcp->pieces, &c->snd_queue, data_end - c->snd_una);
	}
	c->snd_una = s->h.ack;
	c->snd_nxt = seq_max(c->snd_nxt, c->snd_una);
	c->backoff = 0;
	c->rtx_count = 0;
	c->dupacks = 0;
	c->tail_probed = false;
	c->probe_out = c->probe_out && c->snd_una != c->snd_max;
	if (c->sb != NULL) {
		/* The peer holds octets at SND.UNA and does not acknowledge them: it took its word back (RFC 2018 section 8). */
		if (c->sb->n > 0 && seq_leq(c->sb->r[0].start, c->snd_una) && seq_gt(c->sb->r[0].end, c->snd_una)) {
			counter_inc(c->tcp->counters, CTR_tcp_sack_reneged);
			c->sb->n = 0;
		}
		tcp_scoreboard_prune(c->sb, c->snd_una);
		if (c->sb->n == 0 && !c->in_recovery) {
			tcp_scoreboard_put(c->tcp, c->sb);
			c->sb = NULL;
		}
	}
	if (c->in_recovery) {
		if (seq_geq(c->snd_una, c->recover))
			leave_recovery(c);
		else
			partial_ack(c, acked);
	} else {
		grow_cwnd(c, acked);
		c->recover =
			seq_max(c->recover, c->snd_una); /* follows, so that it never seems to lie ahead after 2 GiB */
	}
	/* RFC 6298 (5.2) and (5.3): this restarts the timer, no other ACK does */
	if (c->snd_una == c->snd_max)
		tcp_timer_stop(c);
	else
		tcp_timer_arm_rto(c);
	tell_writable(c, was_short);
	if (c->acked_all_due && seq_geq(c->snd_una, c->snd_end)) {
		c->acked_all_due = false;
		tcp_event(c, TCP_EV_ACKED_ALL);
	}
}

/* RFC 5681 section 2: what is a duplicate ACK; with SACK: RFC 6675 section 2. */
static bool
is_dupack(const struct tcp_conn *c, const struct tcp_seg_in *s, uint32_t sacked, uint32_t wnd)
{
	if (s->h.ack != c->snd_una || c->snd_max == c->snd_una)
		return false;
	if (c->sack_ok)
		return sacked > 0;
	return s->h.payload_octets == 0 && !s->fin && wnd == c->snd_wnd && wnd != 0;
}

static void
on_dupack(struct tcp_conn *c)
{
	if (c->dupacks < UINT8_MAX)
		c->dupacks++;
	if (c->in_recovery) {
		if (!has_sacked(c))
			c->cwnd = MIN(c->cwnd + c->mss, TCP_CWND_MAX_OCTETS); /* RFC 6582 section 3.2 step 2 */
		return;
	}
	/* not again for octets of a recovery or time-out that is not over (RFC 6582 section 4, RFC 6675 section 5.1) */
	if (seq_lt(c->snd_una, c->recover) || c->snd_nxt != c->snd_max)
		return;
	if (c->dupacks >= TCP_DUP_THRESH) {
		enter_recovery(c);
	} else if (has_sacked(c)) {
		uint32_t start, end;
		bool lost = false;

		if (tcp_scoreboard_hole(c->sb, c->snd_una, c->mss, &start, &end, &lost) && lost)
			enter_recovery(c);
	}
}

/* Persist ends when the window opens. */
static void
on_window(struct tcp_conn *c, uint32_t wnd)
{
	const uint32_t before = c->snd_wnd;

	c->snd_wnd = wnd;
	c->snd_wnd_max = MAX(c->snd_wnd_max, wnd);
	if (c->timer_kind == TCP_TIMER_PERSIST && wnd > before) {
		tcp_timer_stop(c);
		c->backoff = 0;
		c->probe_due = false;
	}
}

/*
 * Fifth: check the ACK field. False: the segment is done with.
 * RFC 5961 section 5.2 narrows what an old ACK may be; beyond SND.MAX (RFC 9293: SND.NXT, which moves back here) none is believed.
 */
static bool
step_ack(struct tcp_conn *c, struct tcp_seg_in *s)
{
	const uint32_t wnd = (uint32_t)s->h.wnd << c->snd_wscale;
	uint32_t sacked;

	if ((s->h.flags & TCP_ACK) == 0) {
		counter_inc(c->tcp->counters, CTR_tcp_drop_flags);
		return false;
	}
	if (seq_gt(s->h.ack, c->snd_max) || seq_lt(s->h.ack, c->snd_una - MAX(c->snd_wnd_max, 65535u))) {
		counter_inc(c->tcp->counters, CTR_tcp_drop_ack);
		answer_unacceptable(c, s);
		return false;
	}
	if (c->timer_kind == TCP_TIMER_PERSIST)
		c->rtx_count = 0; /* the peer lives: probes go on for as long as it answers */
	if (seq_lt(s->h.ack, c->snd_una))
		return true; /* an old ACK tells nothing; its text may be new */
	sacked = take_sack(c, s);
	if (s->h.ack != c->snd_una)
		on_ack_advance(c, s);
	else if (is_dupack(c, s, sacked, wnd))
		on_dupack(c);
	if (seq_lt(c->snd_wl1, s->h.seq) || (c->snd_wl1 == s->h.seq && seq_leq(c->snd_wl2, s->h.ack))) {
		on_window(c, wnd);
		c->snd_wl1 = s->h.seq;
		c->snd_wl2 = s->h.ack;
	}
	tcp_want_output(c);
	return true;
}

/* --- seventh and eighth step: text and FIN --- */

static void
schedule_ack(struct tcp_conn *c, uint32_t received)
{
	c->rcv_mss = MAX(c->rcv_mss, received);
	/* every second full segment at once (RFC 9293 section 3.8.6.3), else within 40 ms */
	if (c->rcv_nxt - c->rcv_acked >= 2 * c->rcv_mss)
		ack_now(c);
	else if (c->delack_due_us == TCP_NEVER)
		tcp_delack_set(c, c->tcp->now_us + TCP_DELACK_US);
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
		ack_now(c);
		return true;
	}
	c->rcv_nxt += s->len;
	ack_now(c);
	return true;
}

/* Seventh: process the segment text. False: the connection was reset. */
static bool
step_text(struct tcp_conn *c, struct tcp_seg_in *s)
{
	const struct buf_view v = { .ptr = s->h.payload, .len_octets = s->len, .buf = s->buf };
	const bool had_gap = c->ooo != NULL;
	uint32_t taken;

	if (s->len == 0)
		return true;
	if (c->released)
		return discard_text(c, s);
	if (c->tcp->pressure && c->rcv_readable >= TCP_PRESSURE_UNREAD_OCTETS) {
		counter_inc(c->tcp->counters, CTR_tcp_rcv_shed);
		s->fin = false;
		ack_now(c);
		return true; /* the peer sends it again */
	}
	if (s->seq != c->rcv_nxt) {
		enum tcp_ooo_result r = tcp_ooo_insert(c, s->seq, &v);

		counter_inc(c->tcp->counters, r == TCP_OOO_DUPLICATE ? CTR_tcp_duplicate : CTR_tcp_out_of_order);
		/* RFC 5681 section 4.2: at once, and for each */
		if (c->dupacks_owed < (c->sack_ok ? TCP_DUPACKS_OWED_SACK_MAX : TCP_DUPACKS_OWED_MAX))
			c->dupacks_owed++;
		ack_now(c);
		if (r == TCP_OOO_DROPPED)
			s->fin = false;
		return true;
	}
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
		ack_now(c);
	else
		schedule_ack(c, s->len);
	return true;
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
			ack_now(c); /* beyond a gap: as text there (RFC 5681 section 4.2) */
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
	ack_now(c);
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
	take_rtt(c, s);
	tcp_set_state(c, c->fin_queued ? TCP_STATE_FIN_WAIT_1 : TCP_STATE_ESTABLISHED);
	counter_inc(tcp->counters, CTR_tcp_connected);
	tcp_event(c, TCP_EV_CONNECTED);
	ack_now(c);
	/* sixth to eighth: text or FIN with the SYN-ACK */
	s->seq++;
	trim(c, s);
	if (step_text(c, s) && step_fin(c, s))
		tcp_set_state(c, c->fin_queued ? TCP_STATE_CLOSING : TCP_STATE_CLOSE_WAIT);
}

static void
tcp_in_established(struct tcp_conn *c, struct tcp_seg_in *s)
{
	if (!step_ack(c, s) || !step_text(c, s))
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

	if (!step_ack(c, s) || !step_text(c, s))
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
	if (!step_ack(c, s) || !step_text(c, s))
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
	if (step_ack(c, s))
		ignore_after_fin(c, s);
}

static void
tcp_in_closing(struct tcp_conn *c, struct tcp_seg_in *s)
{
	if (!step_ack(c, s))
		return;
	ignore_after_fin(c, s);
	if (tcp_fin_acked(c))
		tcp_conn_time_wait(c);
}

static void
tcp_in_last_ack(struct tcp_conn *c, struct tcp_seg_in *s)
{
	if (!step_ack(c, s))
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

void
tcp_conn_input(struct tcp_conn *c, struct tcp_seg_in *s)
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

/* --- the entry --- */

void
tcp_input(struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint64_t now_us)
{
	struct tcp_tw_record *tw;
	struct tcp_conn *c;
	struct tcp_hdr h;
	uint64_t hash;

	tcp_clock(tcp, now_us);
	tcp_reply_release(tcp);
	counter_inc(tcp->counters, CTR_tcp_in_segs);
	if (!tcp_hdr_parse(&h, seg->tcp.ptr, seg->tcp.len_octets)) {
		counter_inc(tcp->counters, CTR_tcp_drop_header);
		return;
	}
	if (!seg->checksum_good &&
		!csum_is_good(&seg->flow.remote, &seg->flow.local, CSUM_PROTO_TCP, seg->tcp.ptr, seg->tcp.len_octets)) {
		counter_inc(tcp->counters, CTR_tcp_drop_checksum);
		return;
	}
	if (h.options_broken)
		counter_inc(tcp->counters, CTR_tcp_bad_option);
	hash = seg->hash != 0 ? seg->hash : tcp_flow_hash(tcp, &seg->flow);
	c = tcp_conn_find(tcp, &seg->flow, hash);
	if (c != NULL) {
		struct tcp_seg_in s = tcp_seg_of(&h, seg->tcp.buf, now_us);

		tcp_conn_input(c, &s);
		tcp_conn_reap(c);
		return;
	}
	tw = tcp_time_wait_find(&tcp->time_wait, &seg->flow, hash);
	if (tw != NULL && !tw->peer_holds && !tcp_time_wait_input(tcp, tw, &h, frame))
		return;
	tcp_listen_input(tcp, seg, &h, hash, frame);
}

void
tcp_prefetch(const struct tcp *tcp, struct net_seg *seg)
{
	seg->hash = tcp_flow_hash(tcp, &seg->flow);
	tcp_table_prefetch(&tcp->table, seg->hash);
}

void
tcp_prefetch_conn(const struct tcp *tcp, const struct net_seg *seg)
{
	uint32_t at = 0;
	const uint32_t i = tcp_table_next(&tcp->table, seg->hash, &at);

	if (i == TCP_TABLE_NONE)
		return;
	for (uint32_t line = 0; line < sizeof(tcp->conns[i]); line += 64)
		__builtin_prefetch((const char *)&tcp->conns[i] + line);
}

/* RFC 5927: only what is in flight is believed. */
static bool
is_quote_in_flight(const struct tcp_conn *c, uint32_t quoted_seq)
{
	return c->snd_una != c->snd_max && seq_leq(c->snd_una, quoted_seq) && seq_lt(quoted_seq, c->snd_max);
}

/* RFC 1191, RFC 8201: smaller segments from here on, and what was too big again at once; no sign of congestion. */
static void
on_too_big(struct tcp_conn *c, uint32_t mtu)
{
	const uint32_t floor = ip_addr_is_v4(&c->flow.local) ? TCP_PMTU_MIN_V4 : TCP_PMTU_MIN_V6;
	uint32_t mss = tcp_mss_of_mtu(&c->flow, mtu);

	if (mtu < floor || mss >= c->mss_limit) {
		counter_inc(c->tcp->counters, CTR_tcp_icmp_ignored);
		return;
	}
	counter_inc(c->tcp->counters, CTR_tcp_pmtu);
	tcp_set_mss(c, mss);
	c->cwnd = MAX(c->cwnd, c->mss);
	if (c->state == TCP_STATE_SYN_SENT || c->state == TCP_STATE_SYN_RECEIVED)
		return;
	c->snd_nxt = c->snd_una;
	c->rtt_timing = false;
	if (c->in_recovery)
		c->in_recovery = c->rtx_due = false;
	c->recover = c->snd_max;
	tcp_want_output(c);
}

void
tcp_icmp_error(struct tcp *tcp, const struct net_icmp_error *error, uint64_t now_us)
{
	struct tcp_conn *c;

	tcp_clock(tcp, now_us);
	c = tcp_conn_find(tcp, &error->flow, tcp_flow_hash(tcp, &error->flow));
	if (c == NULL || !is_quote_in_flight(c, error->quoted_seq)) {
		counter_inc(tcp->counters, CTR_tcp_icmp_ignored);
		return;
	}
	switch (error->kind) {
	case NET_ICMP_TOO_BIG:
		on_too_big(c, error->mtu);
		break;
	case NET_ICMP_UNREACH_HARD:
		/* In synchronised states hard errors are soft (RFC 5927 section 6): retransmission goes on. */
		if (c->state == TCP_STATE_SYN_SENT) {
			counter_inc(tcp->counters, CTR_tcp_refused);
			tcp_conn_end(c, TCP_EV_REFUSED);
		}
		break;
	case NET_ICMP_UNREACH_SOFT:
		break;
	}
	tcp_conn_reap(c);
}
