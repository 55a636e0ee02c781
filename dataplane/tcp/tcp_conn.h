/*
 * tcp_conn.h - the states of a connection, its variables and what always holds for them. Internal to tcp.
 *
 * Keeps:  snd_una <= snd_nxt <= snd_max. snd_end is the number after the last octet queued; our FIN, once asked for, has the
 *         number snd_end. The send queue holds [snd_una, snd_end) without SYN and FIN.
 *         rcv_nxt <= rcv_adv: rcv_adv is the highest right edge ever offered and never moves back.
 *         A connection is on at most one FIFO and one wheel node (rtx and delayed ACK share it). That keeps its place on the wheel, at rest,
 *         when the block is free, for the next connection to take: blocks live as long as the wheel.
 *         In TCP_CLOSED it is in no table, on no timer, and holds nothing but octets still to be read.
 * Source: RFC 9293 section 3.3.1 and 3.3.2.
 */
#ifndef GREYLINE_TCP_TCP_CONN_H
#define GREYLINE_TCP_TCP_CONN_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/block_hash.h"
#include "dataplane/base/bug.h"
#include "dataplane/base/marks.h"
#include "dataplane/base/wheel.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/tcp/tcp_listen.h"
#include "dataplane/tcp/tcp_piece.h"
#include "dataplane/tcp/tcp_reply.h"
#include "dataplane/tcp/tcp_rest.h"
#include "dataplane/tcp/tcp_sack.h"
#include "dataplane/tcp/tcp_table.h"
#include "dataplane/tcp/tcp_time_wait.h"
#include "dataplane/tcp/tcp_wire.h"

/* LISTEN and the passive side of SYN-RECEIVED live in tcp_listen, TIME-WAIT in tcp_time_wait: neither has a block. */
#define TCP_STATES(X)                                                                                                  \
	X(CLOSED)                                                                                                      \
	X(SYN_SENT)                                                                                                    \
	X(SYN_RECEIVED) /* of a simultaneous open */                                                                   \
	X(ESTABLISHED)                                                                                                 \
	X(FIN_WAIT_1)                                                                                                  \
	X(FIN_WAIT_2)                                                                                                  \
	X(CLOSE_WAIT)                                                                                                  \
	X(CLOSING)                                                                                                     \
	X(LAST_ACK)

enum tcp_state {
#define X(name) TCP_STATE_##name,
	TCP_STATES(X)
#undef X
		TCP_STATE_N
};

const char *tcp_state_name(enum tcp_state state);

#define TCP_MSS_DEFAULT_V4 536 /* RFC 9293 section 3.7.1 */
#define TCP_MSS_DEFAULT_V6 1220
/* An MSS option below this counts as this: a peer must not make us send a header for each octet. */
#define TCP_MSS_MIN 64
/* PITFALLS 20: nothing smaller is believed of an ICMP error. */
#define TCP_PMTU_MIN_V4 552
#define TCP_PMTU_MIN_V6 1280

#define TCP_RTO_INITIAL_US 1000000u /* RFC 6298 (2.1) */
/* RFC 6298 (2.4) wants at least 1 s. 300 ms lies above every delayed ACK timer in use (200 ms), and a mail session of
 * twenty segments that loses one should not cost a second each time. Linux has 200 ms. */
#define TCP_RTO_MIN_US       300000u
#define TCP_RTO_MAX_US       60000000u  /* (2.5) */
#define TCP_RTT_MAX_US       120000000u /* no sample says more */
#define TCP_RTO_AFTER_SYN_US 3000000u   /* (5.7) where the SYN was retransmitted */
/* Give up after so many in a row: at least 150 s (RFC 1122 section 4.2.3.5 wants 100 s). A SYN: 127 s. */
#define TCP_RTX_MAX     10
#define TCP_SYN_RTX_MAX 6
#define TCP_PROBES_MAX  10 /* window probes in a row without any answer */
/* RFC 8985 section 7.2: the tail loss probe; its floor is our own, a few ticks. */
#define TCP_PROBE_MIN_US   10000u
#define TCP_PEER_DELACK_US 200000u /* worst delayed ACK of a peer */
#define TCP_DELACK_US      40000u

#define TCP_IW_SEGS         10 /* RFC 6928 */
#define TCP_IW_OCTETS       14600u
#define TCP_SLOW_START_SEGS 8 /* an ACK may add, RFC 9406 section 4.3 */
#define TCP_CWND_MAX_OCTETS (UINT32_C(1) << 30)
/* One challenge ACK of a connection in so long. No counter is shared over connections, so there is none to spy on. */
#define TCP_CHALLENGE_US 500000u
/* A burst is received before anything is sent; a peer counts one duplicate ACK for each segment beyond a gap all the same.
 * With SACK three tell it everything, without it each of them lets it send on (RFC 5681 section 3.2). */
#define TCP_DUPACKS_OWED_MAX      16
#define TCP_DUPACKS_OWED_SACK_MAX 3

#define TCP_EXPIRIES_PER_TURN 256
#define TCP_TICK_US           2000u
/* Of silence, while it is still read: longer than two of the peer's RTOs at their cap. */
#define TCP_FIN_WAIT_2_US UINT64_C(180000000)
#define TCP_CLOSE_WAIT_US UINT64_C(900000000) /* above the 600 s a backend may take after the final dot */
#define TCP_ORPHAN_US     UINT64_C(60000000)
/* RFC 9293 section 3.8.4, where the layer above asks for it: a peer silent for this to twice this is asked, once a period, so often. RFC 1122
 * wants two hours as the default; a session that is being relayed is not left to a dead peer, nor to a NAT that forgets, for so long. */
#define TCP_KEEPALIVE_US   UINT64_C(60000000)
#define TCP_KEEPALIVES_MAX 4
/* A path that swallows large segments and no ICMP comes back: after so many time-outs in a row of a segment that large, what every path
 * takes (RFC 8201 section 4), and in IPv4, after as many again, what every host takes. */
#define TCP_BLACK_HOLE_RTOS  2
#define TCP_BLACK_HOLE_MTU   1280u
#define TCP_BLACK_HOLE_MTU_4 576u
/* Of all connections so many may be orphans, 16 at least: peers that never close must not keep others out. Beyond it the oldest is reset. */
#define TCP_ORPHANS_SHARE 4
#define TCP_ORPHANS_MIN   16u
/* What arrives after tcp_release() is acknowledged up to so much: an RST at once would take our last reply out of the
 * peer's receive buffer. Less than the first window, or the window would end before the patience. */
#define TCP_ORPHAN_DISCARD_OCTETS 32768u
/* While buffers are short: a connection with less than this unread is served on, by two segments at a time; one with more gets no
 * window, and what it sends all the same is dropped, so that the last buffers are for those that are read. */
#define TCP_PRESSURE_UNREAD_OCTETS 2048u
#define TCP_PAWS_IDLE_US           (UINT64_C(24) * 86400 * 1000000) /* RFC 7323 section 5.5 */
#define TCP_RCV_WSCALE             5 /* 65535 << 5 holds the largest rcv_wnd_max_octets */
#define TCP_SACK_RECENT            4
#define TCP_INDEX_NONE             UINT32_MAX
#define TCP_NEVER                  UINT64_MAX
#define TCP_STARVED_PER_TURN       16
#define TCP_STARVED_RETRY_US       20000u
/* Connections whose octets wait in the buffer they came in, until the turn ends; beyond it they are queued at once. Two full bursts. */
#define TCP_VIEWS_MAX 128u

enum tcp_timer {
	TCP_TIMER_NONE,
	TCP_TIMER_RTO,
	TCP_TIMER_PROBE, /* tail loss probe, in place of the RTO that follows it */
	TCP_TIMER_PERSIST,
};

/* Lists of connections by index. */
struct tcp_link {
	uint32_t next, prev; /* TCP_INDEX_NONE at the ends */
};

struct tcp_list {
	uint32_t head, tail;
	uint32_t n;
};

enum tcp_fifo {
	TCP_FIFO_NONE,
	TCP_FIFO_FIN_WAIT_2,
	TCP_FIFO_CLOSE_WAIT,
	TCP_FIFO_ORPHAN,
	TCP_FIFO_KEEPALIVE, /* ESTABLISHED, asked for by tcp_keepalive() */
	TCP_FIFO_N
};

/*
 * What is to be done, in the order it was asked for: places with a connection each. A connection has one place at most, and keeps it
 * when it is taken off and put on again before its turn. So none of its neighbours in the list is touched, and a list that a turn empties begins
 * anew where its lines are near.
 */
struct tcp_todo {
	struct tcp_conn **place; /* as many as there are blocks, and up to a power of two */
	uint32_t mask;
	uint32_t head, tail; /* they never overtake each other; masked to be a place */
	uint32_t n;          /* on the list: places of those taken off are passed over */
};

enum tcp_list_id {
	TCP_LIST_OUT,     /* has something to send, or may have */
	TCP_LIST_READY,   /* has news for the layer above */
	TCP_LIST_STARVED, /* waits for memory: a refused tcp_send() or a window held back */
	TCP_LIST_N
};

/* Bits of tcp_conn.on_list. */
#define TCP_ON_LIST(id)   (1u << (id))
#define TCP_HAS_PLACE(id) (1u << (TCP_LIST_N + (id)))
static_assert(2 * TCP_LIST_N <= 8, "on_list has room for them");

/*
 * In the order of their use: a plain segment, in or out, touches the first TCP_CONN_HOT_LINES lines, each of which a burst asks for ahead; the
 * rest is of beginning and end, of loss, and of segments out of order.
 */
#define TCP_CONN_HOT_LINES 5

struct tcp_conn {
	/* the first line: whose it is, and what is to be done */
	_Alignas(64) struct flow flow;
	uint32_t index;
	struct tcp *tcp;
	void *user;
	uint32_t events; /* enum tcp_event not yet told */
	/* What makes the next segment, in or out, more than plain: tcp_is_plain() looks at all of it at once. What else does is summed up
	 * in not_established, by tcp_set_state() and its like, and in disordered, by tcp_judge_order(). */
	union {
		struct {
			bool released : 1;
			bool syn_due : 1; /* a SYN or SYN-ACK is to be sent */
			bool rst_due : 1; /* an RST is to be sent, then the block may go */
			bool fin_queued : 1, fin_in : 1 /* the peer's FIN is in order */;
			bool fin_known : 1; /* out of order: rcv_fin_seq */
			bool probe_due : 1, tail_probe_due : 1, keepalive_due : 1;
			bool probe_out : 1; /* the last octet before snd_max was a window probe, most likely not taken */
			bool in_recovery : 1, rtx_due : 1;
			bool send_refused : 1;
			bool not_established : 1, disordered : 1;
		};
		uint32_t not_plain;
	};

	/* the second: what we send, RFC 9293 section 3.3.1 */
	uint8_t state;      /* enum tcp_state; written by tcp_set_state() alone */
	uint8_t timer_kind; /* enum tcp_timer */
	uint8_t on_list;    /* TCP_ON_LIST(), TCP_HAS_PLACE() */
	uint8_t snd_wscale, rcv_wscale;
	uint8_t backoff;   /* RTO and persist: doublings */
	uint8_t rtx_count; /* retransmissions or unanswered probes in a row */
	uint8_t dupacks;
	uint8_t dupacks_owed; /* of ours to the peer */
	bool ts_ok, sack_ok;
	bool ack_now, tail_probed;
	bool heard;         /* an acceptable segment since keepalive looked last */
	bool acked_all_due; /* something was written since TCP_EV_ACKED_ALL */
	/* The last turn ended with octets that the congestion window held back. Judged when we send, not from the flight when an
	 * ACK comes: a burst of ACKs empties the flight before anything is sent. */
	bool cwnd_limited;
	uint32_t iss, snd_una, snd_nxt, snd_max, snd_end;
	uint32_t snd_wnd, snd_wl1, snd_wl2, snd_wnd_max;
	uint32_t mss; /* octets of payload in a segment, options taken off */
	uint32_t cwnd;
	uint32_t own_mss; /* what we may receive, by our MTU */

	/* the third */
	struct tcp_queue snd_queue;
	struct tcp_piece *snd_cursor; /* a piece at or before what was sent last; NULL: start at the head */
	struct tcp_scoreboard *sb;
	struct tcp_piece *ooo;
	uint32_t srtt_us, rttvar_us, rto_us;
	uint32_t recover;
	struct net_path path;

	/* the fourth: what we receive */
	uint32_t rcv_nxt, rcv_adv, rcv_limit;
	uint32_t rcv_acked; /* rcv_nxt as of our last ACK */
	uint32_t rcv_readable;
	uint32_t rcv_mss; /* the largest segment seen: what "full" means for delayed ACKs */
	uint32_t ts_recent;
	uint32_t rcv_charged; /* of the budget over all connections */
	uint64_t ts_recent_us;
	struct buf_view
		rcv_view; /* what came this turn and was not read yet, where it came in; the rest is in rcv_queue */

	/* the fifth: timers */
	struct wheel_node timer;
	uint64_t rtx_due_us; /* TCP_NEVER: not running */
	uint64_t delack_due_us;

	/* what not every segment touches */
	_Alignas(64) struct tcp_link fifo_link; /* of a free block: next alone, the next free one */
	uint64_t fifo_start_us;
	uint64_t hash;
	struct tcp_queue rcv_queue;
	uint32_t n_ooo;
	uint32_t sack_recent[TCP_SACK_RECENT];
	uint8_t n_sack_recent;
	uint8_t fifo;       /* enum tcp_fifo */
	uint8_t keepalives; /* unanswered */
	bool is_client : 1, rst_with_ack : 1;
	bool rtt_timing : 1, syn_retransmitted : 1;
	bool eof_told : 1, wnd_withheld : 1, ts_seen : 1;
	bool in_table : 1;
	bool keepalive : 1;
	uint32_t tag;
	uint32_t mss_limit; /* from the peer's option and the path, before options */
	uint32_t ssthresh, cwnd_acked;
	uint32_t high_rxt;
	uint32_t rxt_mark; /* in a recovery with SACK: SND.MAX when the last octets were sent again */
	uint32_t rtt_seq;
	uint64_t rtt_start_us;
	uint32_t irs;
	uint32_t rcv_fin_seq;
	uint32_t discarded; /* octets dropped after tcp_release() */
	uint64_t challenged_us;
};

static_assert(offsetof(struct tcp_conn, state) == 64 && offsetof(struct tcp_conn, snd_queue) == 2 * 64 &&
		      offsetof(struct tcp_conn, rcv_nxt) == 3 * 64 && offsetof(struct tcp_conn, timer) == 4 * 64 &&
		      offsetof(struct tcp_conn, fifo_link) == TCP_CONN_HOT_LINES * 64,
	"each part is a line");

struct tcp {
	struct tcp_conf conf;
	struct buf_pool *pool;
	struct counters *counters;
	uint64_t now_us;
	uint32_t now_ms; /* the same, as timestamps tell it */
	uint32_t strays; /* since they were last taken: tcp_strays_take() */
	bool accepting;
	bool pressure;               /* MARK_windows */
	uint32_t marks;              /* of buffers and of blocks: looked at once each time the clock moves */
	struct block_hash flow_hash; /* of IPv4 flows */
	uint32_t ooo_cursor;

	struct tcp_conn *conns; /* each begins where a line does */
	uint32_t free_head;     /* chain through fifo_link.next */
	uint32_t n_fresh;       /* blocks before this one were used once */
	uint32_t n_conns;
	struct tcp_rests rests;
	struct tcp_table table;   /* of blocks by index, and of records behind them */
	struct tcp_filter filter; /* of that table, and of those of remembered SYNs and TIME-WAIT records */
	struct wheel wheel;
	struct tcp_todo list[TCP_LIST_N];
	struct tcp_list fifo[TCP_FIFO_N];
	struct tcp_pieces pieces;
	uint32_t view[TCP_VIEWS_MAX]; /* indexes of connections that have, or had, a rcv_view */
	uint32_t n_views;
	struct tcp_scoreboard *scoreboards, *sb_free;
	uint64_t rcv_offered_octets; /* held and offered, over all connections */
	uint64_t starved_retry_us;
	struct tcp_kept *kept; /* conf.kept, else own_kept */
	struct tcp_kept own_kept;

	struct tcp_listen listen;
	struct tcp_time_wait time_wait;
	struct tcp_replies replies;
	uint64_t timers_run_us; /* the last time at which nothing more was due */
	uint32_t turn_expiries; /* since tcp_output() last had nothing more: it may be called several times for that */
};

/* A received segment with what the states ask of it. Trimmed as it goes. */
struct tcp_seg_in {
	struct tcp_hdr h;
	struct buf *buf; /* of the payload; borrowed */
	uint64_t now_us;
	uint32_t seq, len; /* SEG.SEQ and SEG.LEN after trimming */
	bool fin;
};

static inline bool
tcp_flow_equal(const struct flow *a, const struct flow *b)
{
	return a->local_port == b->local_port && a->remote_port == b->remote_port &&
	       ip_addr_equal(&a->remote, &b->remote) && ip_addr_equal(&a->local, &b->local);
}

/* tcp.c */
uint64_t tcp_flow_hash(const struct tcp *tcp, const struct flow *flow);
uint32_t tcp_mss_of_mtu(const struct flow *flow, uint32_t mtu);
void tcp_set_mss(struct tcp_conn *c, uint32_t mss_limit);
uint32_t tcp_initial_window(const struct tcp *tcp);
uint32_t tcp_ts_now(const struct tcp *tcp, uint64_t now_us);
void tcp_clock(struct tcp *tcp, uint64_t now_us);
/* Judges the water marks anew. */
void tcp_look_marks(struct tcp *tcp);

/* tcp_conn.c */
/* The index of a block, or conf.conns_max and more: of a record at rest; TCP_INDEX_NONE: there is none. */
uint32_t tcp_index_find(const struct tcp *tcp, const struct flow *flow, uint64_t hash);
/* Among the blocks. */
struct tcp_conn *tcp_conn_find(const struct tcp *tcp, const struct flow *flow, uint64_t hash);
/* Gives a zeroed block in TCP_CLOSED, in the table; NULL: no block or place. */
struct tcp_conn *tcp_conn_get(struct tcp *tcp, const struct flow *flow, uint64_t hash);
/* The same, for a flow that is in the table already; the caller changes its index there. */
struct tcp_conn *tcp_conn_take(struct tcp *tcp, const struct flow *flow, uint64_t hash);
void tcp_conn_init_send(struct tcp_conn *c, uint32_t iss);
void tcp_conn_init_rcv(struct tcp_conn *c, uint32_t irs, uint32_t wnd);
void tcp_init_cwnd(struct tcp_conn *c);
/* Gives the block back, whatever it holds. */
void tcp_conn_free(struct tcp_conn *c);
/* Of one in TCP_CLOSED, for tcp_conn_reap(). */
void tcp_conn_reap_closed(struct tcp_conn *c);
/* Frees the block when nobody needs it: call at the end of every entry, never in the middle. */
static inline void
tcp_conn_reap(struct tcp_conn *c)
{
	if (c->state == TCP_STATE_CLOSED)
		tcp_conn_reap_closed(c);
}
void tcp_set_state(struct tcp_conn *c, enum tcp_state state);
/* Ends c: everything but readable octets is dropped. event: told to the user, 0 for none. */
void tcp_conn_end(struct tcp_conn *c, uint32_t event);
/* As tcp_conn_end(), with an RST to the peer. */
void tcp_conn_reset(struct tcp_conn *c, uint32_t event);
/* Both sides are closed and the peer may still repeat its FIN: leaves a TIME-WAIT record behind. */
void tcp_conn_time_wait(struct tcp_conn *c);
void tcp_event(struct tcp_conn *c, uint32_t events);
/* Gives back what is queued to be sent, what came out of order, and the scoreboard. */
void tcp_drop_queues(struct tcp_conn *c);
/* Gives back what came and was not read. */
void tcp_drop_unread(struct tcp_conn *c);
static inline void
tcp_list_add(struct tcp *tcp, enum tcp_list_id id, struct tcp_conn *c)
{
	struct tcp_todo *l = &tcp->list[id];
	const uint32_t was = c->on_list;

	if ((was & TCP_ON_LIST(id)) != 0)
		return;
	c->on_list = (uint8_t)(was | TCP_ON_LIST(id) | TCP_HAS_PLACE(id));
	l->n++;
	if ((was & TCP_HAS_PLACE(id)) == 0)
		l->place[l->tail++ & l->mask] = c;
}

static inline void
tcp_list_del(struct tcp *tcp, enum tcp_list_id id, struct tcp_conn *c)
{
	if ((c->on_list & TCP_ON_LIST(id)) == 0)
		return;
	c->on_list &= (uint8_t)~TCP_ON_LIST(id);
	tcp->list[id].n--;
}

/* Takes the first of a list that has one. */
static inline struct tcp_conn *
tcp_list_pop(struct tcp *tcp, enum tcp_list_id id)
{
	struct tcp_todo *l = &tcp->list[id];
	struct tcp_conn *c;
	uint32_t was;

	HOT_BUG_ON(l->n == 0);
	do {
		c = l->place[l->head++ & l->mask];
		was = c->on_list;
		c->on_list = (uint8_t)(was & ~(TCP_ON_LIST(id) | TCP_HAS_PLACE(id)));
	} while ((was & TCP_ON_LIST(id)) == 0);
	l->n--;
	if (l->head == l->tail)
		l->head = l->tail = 0;
	return c;
}

/* Whose turn it is next, or whose it would have been; of a list that is not empty. */
static inline const struct tcp_conn *
tcp_list_first(const struct tcp *tcp, enum tcp_list_id id)
{
	const struct tcp_todo *l = &tcp->list[id];

	return l->place[l->head & l->mask];
}
void tcp_fifo_put(struct tcp_conn *c, enum tcp_fifo fifo);
struct tcp_scoreboard *tcp_scoreboard_get(struct tcp *tcp);
void tcp_scoreboard_put(struct tcp *tcp, struct tcp_scoreboard *sb);

/* tcp_user.c */
/* Puts what is left in views into queues; at the end of a turn. */
void tcp_settle_views(struct tcp *tcp);

/* tcp_input.c */
void tcp_conn_input(struct tcp_conn *c, struct tcp_seg_in *s);
/* Any segment. answer: as tcp_listen_input() has it. */
uint32_t tcp_segment(
	struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint8_t *answer, uint64_t now_us);
/* A segment as it arrives: s->h is the header as parsed. */
void tcp_seg_start(struct tcp_seg_in *s, struct buf *buf, uint64_t now_us);
void tcp_challenge_ack(struct tcp_conn *c);
void tcp_ack_now(struct tcp_conn *c);
/* To a segment outside of the window: an ACK, limited unless it carries text or FIN. */
void tcp_answer_unacceptable(struct tcp_conn *c, const struct tcp_seg_in *s);

/* tcp_ack.c */
/* The fifth step. False: the segment is done with. */
bool tcp_step_ack(struct tcp_conn *c, struct tcp_seg_in *s);
/* The same, of a plain connection and an ACK that is new, or of nothing while nothing is in flight. */
void tcp_step_ack_plain(struct tcp_conn *c, const struct tcp_seg_in *s);
void tcp_rtt_sample(struct tcp_conn *c, uint32_t rtt_us);
/* A sample of what the segment acknowledges, if it gives one. */
void tcp_take_rtt(struct tcp_conn *c, const struct tcp_seg_in *s);

/* tcp_output.c */
bool tcp_conn_output(struct tcp_conn *c, struct tcp_seg_out *out);
/* Moves rcv_adv as far as memory and silly-window rules allow and returns the window for the header. */
uint16_t tcp_rcv_window(struct tcp_conn *c);
/* Brings the connection's share of the receive budget up to date. */
void tcp_rcv_charge(struct tcp_conn *c);
/* Whether consuming has opened the window so much that the peer should hear of it. */
bool tcp_window_update_due(const struct tcp_conn *c);
static inline void
tcp_want_output(struct tcp_conn *c)
{
	tcp_list_add(c->tcp, TCP_LIST_OUT, c);
}

/* tcp_timer.c */
void tcp_timer_set(struct tcp_conn *c, enum tcp_timer kind, uint64_t due_us);
void tcp_timer_stop(struct tcp_conn *c);
void tcp_timer_arm_rto(struct tcp_conn *c);
/* The same, of a plain connection. */
void tcp_timer_arm_rto_plain(struct tcp_conn *c);
void tcp_timer_sent(struct tcp_conn *c);
void tcp_timer_arm_persist(struct tcp_conn *c);
void tcp_delack_set(struct tcp_conn *c, uint64_t due_us);
void tcp_timers_run(struct tcp *tcp, uint64_t now_us);
uint64_t tcp_timers_deadline_us(const struct tcp *tcp);
uint32_t tcp_rto_us(const struct tcp_conn *c);

/*
 * The number of a segment without text: the one the peer expects next, as far as we know. Not snd_nxt: after a time-out that lies
 * behind what the peer has, and a segment from there is outside of its window. Where both ends time out at once, neither would
 * take the other's ACK, for ever.
 */
static inline uint32_t
tcp_snd_front(const struct tcp_conn *c)
{
	return c->snd_max - c->probe_out;
}

/*
 * Whether nothing but octets and their acknowledgement is under way: established, no FIN, nothing lost, probed, repeated or refused. Of such a
 * connection the functions for each segment are told so (plain), and leave out the questions whose answer this is.
 */
static inline bool
tcp_is_in_order(const struct tcp_conn *c)
{
	return c->sb == NULL && c->ooo == NULL && c->dupacks == 0 && c->dupacks_owed == 0 && c->snd_nxt == c->snd_max;
}

/* At the end of all that may have brought c out of order, or into it again; nothing that a plain connection is given to does. */
static inline void
tcp_judge_order(struct tcp_conn *c)
{
	c->disordered = !tcp_is_in_order(c);
}

static inline bool
tcp_is_plain(const struct tcp_conn *c)
{
	HOT_BUG_ON(c->not_established != (c->state != TCP_STATE_ESTABLISHED));
	HOT_BUG_ON(!c->disordered && !tcp_is_in_order(c));
	return c->not_plain == 0;
}

static inline bool
tcp_fin_sent(const struct tcp_conn *c)
{
	return c->fin_queued && c->snd_max == c->snd_end + 1;
}

static inline bool
tcp_fin_acked(const struct tcp_conn *c)
{
	return c->fin_queued && c->snd_una == c->snd_end + 1;
}

#endif
