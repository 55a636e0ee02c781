/*
 * tcp_ack.c - what an ACK means: the fifth step of SEGMENT ARRIVES.
 *
 * Flow:   tcp_input.c, a state's function -> tcp_step_ack(): round trip, scoreboard, congestion window, recovery, the peer's window
 * Pure:   see tcp.h.
 * Keeps:  SND.UNA moves up to SND.MAX at most; the retransmission timer runs exactly while something is in flight.
 * Source: RFC 9293 section 3.10.7.4 (fifth), RFC 5961 section 5.2, RFC 5681, 6582, 6675 (what an ACK means), RFC 6298 (RTT).
 */
#include <assert.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"

/* RFC 6298 section 2. */
void
tcp_rtt_sample(struct tcp_conn *c, uint32_t rtt_us)
{
	static_assert(UINT64_C(8) * TCP_RTT_MAX_US <= UINT32_MAX, "the sums below need no more than 32 bits");
	rtt_us = MIN(MAX(rtt_us, 1), TCP_RTT_MAX_US);
	if (c->srtt_us == 0) {
		c->srtt_us = rtt_us;
		c->rttvar_us = rtt_us / 2;
	} else {
		uint32_t err = c->srtt_us > rtt_us ? c->srtt_us - rtt_us : rtt_us - c->srtt_us;

		c->rttvar_us = (3 * c->rttvar_us + err) / 4;
		c->srtt_us = MAX(1, (7 * c->srtt_us + rtt_us) / 8);
	}
	c->rto_us = c->srtt_us + MAX(4 * c->rttvar_us, TCP_TICK_US);
	c->rto_us = MAX(MIN(c->rto_us, TCP_RTO_MAX_US), TCP_RTO_MIN_US);
}

/* A sample of what was just acknowledged: by timestamp, which tells retransmissions apart, or by the one segment timed. */
void
tcp_take_rtt(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (c->ts_ok && s->h.has_ts) {
		const uint32_t age_ms = tcp_ts_now(c->tcp, s->now_us) - s->h.tsecr;

		if (age_ms < TCP_RTT_MAX_US / 1000) /* else the peer echoes what we never sent */
			tcp_rtt_sample(c, age_ms * 1000);
	} else if (c->rtt_timing && seq_gt(s->h.ack, c->rtt_seq)) {
		c->rtt_timing = false;
		tcp_rtt_sample(c, (uint32_t)MIN(s->now_us - c->rtt_start_us, TCP_RTT_MAX_US));
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

/*
 * RFC 5681 section 3.1, with appropriate octet counting (RFC 3465), since peers delay ACKs. RFC 3465 has a limit of two segments an ACK; peers of today
 * acknowledge whole bursts at once, and would hold slow start to two segments a round trip: RFC 9406 section 4.3 has eight where nothing is paced.
 */
static void
grow_cwnd(struct tcp_conn *c, uint32_t acked)
{
	if (!c->cwnd_limited)
		return; /* it was not the congestion window that held us back (RFC 7661 section 4.1) */
	if (c->cwnd < c->ssthresh) {
		c->cwnd += MIN(acked, TCP_SLOW_START_SEGS * c->mss);
	} else {
		c->cwnd_acked += acked;
		if (c->cwnd_acked >= c->cwnd) {
			c->cwnd_acked -= c->cwnd;
			c->cwnd += c->mss;
		}
	}
	c->cwnd = MIN(c->cwnd, TCP_CWND_MAX_OCTETS);
}

/*
 * RFC 5681 section 3.1, equation 4. FlightSize is what was outstanding before the loss was told of: peers that acknowledge a whole flight at
 * once (Linux does, and reports the loss in the same burst) leave next to nothing of it by then. Where it was the congestion window that
 * held us back, the flight was that window.
 */
static uint32_t
ssthresh_after_loss(const struct tcp_conn *c)
{
	const uint32_t flight = c->cwnd_limited ? MAX(flight_octets(c), c->cwnd) : flight_octets(c);

	return MAX(flight / 2, 2 * c->mss);
}

static void
enter_recovery(struct tcp_conn *c)
{
	counter_inc(c->tcp->counters, CTR_tcp_fast_retransmit);
	c->in_recovery = true;
	c->recover = c->snd_max;
	c->high_rxt = c->snd_una;
	c->ssthresh = ssthresh_after_loss(c);
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

/* Whether more than half of the queue is in use. */
static bool
is_room_short(const struct tcp_conn *c)
{
	const uint32_t max = c->tcp->conf.snd_queue_max_octets;

	return tcp_unacked_octets(c) > max - max / 2;
}

/* After a refusal some room is worth an event; who looked at the room instead of being refused hears of it at half. */
static void
tell_writable(struct tcp_conn *c, bool was_short)
{
	const uint32_t max = c->tcp->conf.snd_queue_max_octets;

	if (!(c->send_refused && tcp_send_room(c) >= MIN(max / 4, 16384)) &&
		!(was_short && !c->fin_queued && !is_room_short(c)))
		return;
	c->send_refused = false;
	tcp_event(c, TCP_EV_WRITABLE);
}

/* SND.UNA moves up to the ACK. */
static inline __attribute__((always_inline)) void
on_ack_advance(struct tcp_conn *c, const struct tcp_seg_in *s, const bool plain)
{
	const uint32_t acked = s->h.ack - c->snd_una;
	const uint32_t data_end = seq_min(s->h.ack, c->snd_end);
	const bool was_short = is_room_short(c);

	tcp_take_rtt(c, s);
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
	if (!plain)
		c->probe_out = c->probe_out && c->snd_una != c->snd_max;
	if (!plain && c->sb != NULL) {
		tcp_scoreboard_prune(c->sb, c->snd_una);
		/* The peer holds octets at SND.UNA and does not acknowledge them: it took its word back (RFC 2018 section 8). */
		if (c->sb->n > 0 && c->sb->r[0].start == c->snd_una) {
			counter_inc(c->tcp->counters, CTR_tcp_sack_reneged);
			c->sb->n = 0;
		}
		if (c->sb->n == 0 && !c->in_recovery) {
			tcp_scoreboard_put(c->tcp, c->sb);
			c->sb = NULL;
		}
	}
	if (!plain && c->in_recovery) {
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
	if (was_short || (!plain && c->send_refused))
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

/*
 * Whether what was sent again has been lost as well: of what was sent after it more than two segments' worth came through. RFC 6675 leaves
 * that to the time-out, which then sends all of the flight once more, however much of it has arrived; this is RFC 8985's "sent later,
 * delivered earlier" with IsLost()'s threshold in the place of time.
 */
static bool
is_retransmission_lost(const struct tcp_conn *c)
{
	return seq_gt(c->high_rxt, c->snd_una) &&
	       tcp_scoreboard_octets(c->sb, c->rxt_mark, c->snd_max) > (TCP_DUP_THRESH - 1) * c->mss;
}

/* All holes are to be sent again, the first at once. RFC 5681 section 4.3: a second indication of congestion. */
static void
recover_anew(struct tcp_conn *c)
{
	counter_inc(c->tcp->counters, CTR_tcp_retransmit_lost);
	c->recover = c->snd_max;
	c->high_rxt = c->snd_una;
	c->ssthresh = MAX(c->ssthresh / 2, 2 * c->mss);
	c->cwnd = c->ssthresh;
	c->rtx_due = true;
}

static void
on_dupack(struct tcp_conn *c)
{
	if (c->dupacks < UINT8_MAX)
		c->dupacks++;
	if (c->in_recovery) {
		if (!has_sacked(c))
			c->cwnd = MIN(c->cwnd + c->mss, TCP_CWND_MAX_OCTETS); /* RFC 6582 section 3.2 step 2 */
		else if (is_retransmission_lost(c))
			recover_anew(c);
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

/* The window of the newest segment counts (RFC 9293 section 3.10.7.4). */
static inline void
take_window(struct tcp_conn *c, const struct tcp_seg_in *s, uint32_t wnd)
{
	if (seq_lt(c->snd_wl1, s->h.seq) || (c->snd_wl1 == s->h.seq && seq_leq(c->snd_wl2, s->h.ack))) {
		on_window(c, wnd);
		c->snd_wl1 = s->h.seq;
		c->snd_wl2 = s->h.ack;
	}
}

void
tcp_step_ack_plain(struct tcp_conn *c, const struct tcp_seg_in *s)
{
	if (s->h.ack != c->snd_una)
		on_ack_advance(c, s, true);
	take_window(c, s, (uint32_t)s->h.wnd << c->snd_wscale);
	if (c->snd_nxt != c->snd_end)
		tcp_want_output(c); /* else it made room for nothing */
}

/*
 * Fifth: check the ACK field. False: the segment is done with.
 * RFC 5961 section 5.2 narrows what an old ACK may be; beyond SND.MAX (RFC 9293: SND.NXT, which moves back here) none is believed.
 */
bool
tcp_step_ack(struct tcp_conn *c, struct tcp_seg_in *s)
{
	const uint32_t wnd = (uint32_t)s->h.wnd << c->snd_wscale;
	uint32_t sacked;

	if ((s->h.flags & TCP_ACK) == 0) {
		counter_inc(c->tcp->counters, CTR_tcp_drop_flags);
		return false;
	}
	if (seq_gt(s->h.ack, c->snd_max) || seq_lt(s->h.ack, c->snd_una - MAX(c->snd_wnd_max, 65535u))) {
		counter_inc(c->tcp->counters, CTR_tcp_drop_ack);
		tcp_answer_unacceptable(c, s);
		return false;
	}
	if (c->timer_kind == TCP_TIMER_PERSIST)
		c->rtx_count = 0; /* the peer lives: probes go on for as long as it answers */
	if (seq_lt(s->h.ack, c->snd_una))
		return true; /* an old ACK tells nothing; its text may be new */
	sacked = take_sack(c, s);
	if (s->h.ack != c->snd_una)
		on_ack_advance(c, s, false);
	else if (is_dupack(c, s, sacked, wnd))
		on_dupack(c);
	take_window(c, s, wnd);
	tcp_want_output(c);
	return true;
}
