/*
 * tcp.h - the TCP endpoint of one worker: connections, listeners, timers.
 *
 * Flow:   net_input -> tcp_input() -> ... tcp_ready() -> the session reads and writes ... -> tcp_output() -> net_wrap -> port
 * Pure:   time, octets and randomness (a seed) are arguments; buffers from the pool given; no allocation after tcp_create().
 * Keeps:  PITFALLS 1 to 24. Memory is bounded by tcp_conf; every drop has a counter.
 * Source: RFC 9293, 7323, 2018, 5681, 6582, 6675, 6298, 6928, 5961, 6528, 4987, 6191, 1191, 8201, 1122.
 *
 * The layer above is pulled, never called: it asks tcp_ready() for connections with news and then reads, writes, closes.
 */
#ifndef GREYLINE_TCP_TCP_H
#define GREYLINE_TCP_TCP_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/buf.h"
#include "dataplane/base/counters.h"
#include "dataplane/base/memory_list.h"
#include "dataplane/base/siphash.h"
#include "dataplane/net/flow.h"
#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp_kept.h"
#include "dataplane/tcp/tcp_mark.h"

struct tcp;
struct tcp_conn;

struct tcp_conf {
	uint32_t conns_max;                   /* of this worker, both directions, those at rest apart */
	uint32_t rests_max;                   /* connections at rest; 0: none rests */
	uint32_t rest_user_octets;            /* what the layer above keeps beside each of those */
	uint32_t syn_ring_entries;            /* remembered SYNs; beyond: pure cookies */
	uint32_t time_wait_max;               /* compact records */
	uint32_t rcv_wnd_max_octets;          /* offered to one peer; 1,048,576 at most */
	uint64_t rcv_budget_octets;           /* over all offered windows */
	uint32_t snd_queue_max_octets;        /* of one connection */
	uint32_t ooo_max_segs;                /* out of order, of one connection */
	uint16_t mtu;                         /* smallest of the ports: MSS is derived from it */
	uint32_t worker;                      /* our index, for source ports that flow_owner() gives to us */
	const struct flow_steering *steering; /* borrowed for life */
	struct siphash_key
		secret; /* ISNs of what we accept, the table; the first key of cookies. Random at each start */
	/* timestamps, and numbers and ports of what we connect; outlives the process, one for all workers. NULL: all of it is of this life */
	struct tcp_kept *kept;
	struct tcp_mark *marks; /* tcp_marks_n(conns_max + rests_max) of them that outlive the process; NULL: none */
	uint32_t life;          /* this process's number for the marks, never 0 */
};

struct tcp *tcp_create(const struct tcp_conf *conf, struct buf_pool *pool, struct counters *counters, uint64_t now_us);
/* What it was given at creation; octets that wait in buffers are the pool's. */
void tcp_memory(const struct tcp *tcp, struct memory_list *l);
void tcp_destroy(struct tcp *tcp); /* drops every connection silently */

/* Listens on addr:port. tag comes back from tcp_conn_tag(). 0, -EEXIST, -ENOSPC (64 at most). Unlisten leaves what is established. */
int tcp_listen(struct tcp *tcp, const struct ip_addr *addr, uint16_t port, uint32_t tag);
int tcp_unlisten(struct tcp *tcp, const struct ip_addr *addr, uint16_t port);

/* Told by the worker before SYNs are answered: false = refuse silently (drain, overload). Default true. */
void tcp_accepting(struct tcp *tcp, bool yes);

#define TCP_COOKIE_SLOT_US   UINT64_C(64000000) /* a cookie holds for this to twice this */
#define TCP_COOKIE_KEY_SLOTS 8 /* a key is due for a change after so many; a cookie is bound to one of them anyway */

/*
 * A new key of SYN cookies, as random as the secret, in force from the next TCP_COOKIE_SLOT_US on; what was said under the one before still
 * verifies as long as it would have. One that comes before cookies of the last change have ended is not taken. Returns when the next is due.
 */
uint64_t tcp_cookie_rekey(struct tcp *tcp, const struct siphash_key *fresh, uint64_t now_us);

/* One segment. Borrows seg; takes references of its own to what it keeps. frame is what a stateless answer is addressed by. */
void tcp_input(struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint64_t now_us);
/* Whether a segment asks for a connection. In place of tcp_input(), of one that does: a SYN-ACK that is to go back to where frame came from
 * is written to answer at once, as TCP header with its checksum and without payload (at most TCP_HEADER_MAX_OCTETS; seg itself may lie there); returns its octets, 0
 * where there is none (any other answer comes out of tcp_output()). A flood costs no ring of answers that way. And what refuses it: an RST as from a port where nobody listens, within the limit of
 * those, else silence. */
static inline bool
tcp_is_syn(const struct net_seg *seg)
{
	return (seg->tcp.ptr[13] & 0x17) == 0x02; /* net gives whole headers: SYN, and neither ACK, RST nor FIN */
}
uint32_t tcp_input_syn(
	struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint8_t *answer, uint64_t now_us);
void tcp_refuse(struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint64_t now_us);
/* Segments since the last call that were no SYN and of no connection, and made none. */
uint32_t tcp_strays_take(struct tcp *tcp);
/*
 * More SYNs come than there is time for. For a second from now on handshakes of proven addresses are counted although the ring has room, so that
 * tcp_is_proven() tells something; and nobody else's SYN-ACK is repeated: that takes the time of answering once, a second later.
 */
void tcp_behind(struct tcp *tcp, uint64_t now_us);
/* Whether that address has completed a handshake with this worker of late, and has no more of them under way than one client may. */
bool tcp_is_proven(const struct tcp *tcp, const struct ip_addr *addr);
/* Such an address is remembered before those that nobody vouches for. */
void tcp_vouch(struct tcp *tcp, const struct ip_addr *addr);
/*
 * Of a burst: asks for the lines that tcp_input() of each of its segments will look at, so that their misses overlap. First the buckets (and
 * writes seg->hash), then, once the first step was done for the burst, what they point to (and writes seg->at): the second is of no use to a SYN,
 * and false where no connection is there: then it is the ACK that ends a handshake, mostly. May be left out.
 */
void tcp_prefetch(const struct tcp *tcp, struct net_seg *seg, bool is_syn);
bool tcp_prefetch_conn(const struct tcp *tcp, struct net_seg *seg);
/*
 * Of a burst, after those: whether seg is a bare ACK and the one behind it in the burst, next, tells the same connection all that seg does and more.
 * It is counted and left out then: tcp_input() is not called for it, as if it had been lost on its way.
 */
bool tcp_is_outdone(struct tcp *tcp, const struct net_seg *seg, const struct net_seg *next);
void tcp_icmp_error(struct tcp *tcp, const struct net_icmp_error *error, uint64_t now_us);

/*
 * Segments to send now, timers included (it runs what is due at now_us, at most TCP_EXPIRIES_PER_TURN). Each out[i] holds the
 * frame with the TCP header at frame_tcp_offset() and payload views lent until the next call into tcp. reply_to: not NULL for
 * stateless answers, lent likewise. Returns how many were written; call again until that is less than n.
 */
struct tcp_seg_out {
	struct frame frame;
	struct flow flow;
	uint32_t tcp_header_octets;
	struct net_path *path; /* for net_wrap(): the connection's; NULL: none */
	const struct net_frame *reply_to;
};
uint32_t tcp_output(struct tcp *tcp, struct tcp_seg_out *out, uint32_t n, uint64_t now_us);
uint64_t tcp_deadline_us(const struct tcp *tcp);

/* News of connections. Bits are levels except ACCEPTED, CONNECTED and the ends, which come once. */
enum tcp_event {
	TCP_EV_ACCEPTED = 1 << 0,  /* a new session: set its user pointer */
	TCP_EV_CONNECTED = 1 << 1, /* our connect was answered */
	TCP_EV_READABLE = 1 << 2,  /* octets wait that were not there before */
	TCP_EV_WRITABLE = 1 << 3,  /* room grew in a queue that had refused octets, or to half of it */
	TCP_EV_EOF = 1 << 4,       /* the peer's FIN, told once the last octet before it was consumed */
	TCP_EV_ACKED_ALL = 1 << 5, /* everything written so far was acknowledged */
	TCP_EV_CLOSED = 1 << 6,    /* both sides closed in order */
	TCP_EV_RESET = 1 << 7,     /* by the peer */
	TCP_EV_TIMEOUT = 1 << 8,   /* given up: connect or retransmission */
	TCP_EV_REFUSED = 1 << 9,   /* RST or hard ICMP error in SYN-SENT */
	TCP_EV_WOKEN = 1 << 10,    /* a segment came for a connection at rest: take what its record holds first */
};

/* The next connection with news, its events in *events (and cleared); NULL when none. */
struct tcp_conn *tcp_ready(struct tcp *tcp, uint32_t *events);

/* The user pointer of the connection tcp_ready() gives next, to ask for its lines ahead; NULL: none. */
const void *tcp_ready_user(const struct tcp *tcp);

/* Connects to remote from local (an address of ours; the port is chosen). user is the caller's. NULL: *err is -EADDRNOTAVAIL (no
 * port left) or -ENOBUFS (no connection block). */
struct tcp_conn *tcp_connect(struct tcp *tcp, const struct ip_addr *local, const struct ip_addr *remote,
	uint16_t remote_port, void *user, uint64_t now_us, int *err);

/* Readable octets in order as views, lent until tcp_consume(), the next tcp_input() or tcp_output(). Returns the number of views. */
uint32_t tcp_peek(const struct tcp_conn *c, struct buf_view *out, uint32_t n);
uint32_t tcp_readable_octets(const struct tcp_conn *c);
/* Drops the first octets of what is readable and so opens the window. */
void tcp_consume(struct tcp_conn *c, uint32_t octets);
/* Caps the window offered to the peer to what the other side can take (0 to rcv_wnd_max_octets); never shrinks what was offered. */
void tcp_set_rcv_limit(struct tcp_conn *c, uint32_t octets);

/* Room in the send queue. */
uint32_t tcp_send_room(const struct tcp_conn *c);
/* Queues octets: with v->buf a reference is taken (small pieces are copied together), without it the octets are copied.
 * Returns how many were taken, at most v->len_octets. Octets after tcp_close() are refused (0). */
uint32_t tcp_send(struct tcp_conn *c, const struct buf_view *v);
uint32_t tcp_unacked_octets(const struct tcp_conn *c); /* queued and not yet acknowledged */

/* While it is established: a peer that is silent is asked now and then whether it lives; one that does not answer ends the connection with
 * TCP_EV_TIMEOUT. May be called before it is connected. */
void tcp_keepalive(struct tcp_conn *c);

/* FIN after what is queued. Reading goes on. */
void tcp_close(struct tcp_conn *c);
/* RST now; what is queued is dropped. No event follows; tcp_release() is still due, as after every end (CLOSED, RESET, TIMEOUT,
 * REFUSED): readable octets stay readable until then. */
void tcp_abort(struct tcp_conn *c);
/* The caller forgets c: no more events. A connection not closed yet is closed; what still arrives is acknowledged and dropped
 * within limits (RST if data arrives that nobody reads). c is not valid after this call. */
void tcp_release(struct tcp_conn *c);

/*
 * Rest: an accepted connection on which nothing is under way becomes a record of tcp_rest_octets(), in which the layer above keeps what it
 * knows of it. A segment for it makes a connection of it again, told by TCP_EV_WOKEN; so does tcp_wake(). The record stays until
 * tcp_rest_done(), which is due after either.
 */
bool tcp_may_rest(const struct tcp_conn *c);
/* c is not valid after it. Gives *record and its conf.rest_user_octets, aligned to 8; NULL: no record is left, c goes on. */
void *tcp_rest(struct tcp_conn *c, uint32_t *record);
void *tcp_rest_user(const struct tcp *tcp, uint32_t record);
const struct flow *tcp_rest_flow(const struct tcp *tcp, uint32_t record);
/* NULL: no block is free. One that a segment has woken, and whose event was not told yet, is as good; it is not told then. */
struct tcp_conn *tcp_wake(struct tcp *tcp, uint32_t record);
bool tcp_rest_is_woken(const struct tcp *tcp, uint32_t record);
uint32_t tcp_woken_record(const struct tcp_conn *c); /* with TCP_EV_WOKEN: before another user pointer is set */
void tcp_rest_done(struct tcp *tcp, uint32_t record);
/* How many records may wait for tcp_rest_done(): segments for others are dropped and counted, their peers send again. */
void tcp_wakes_max(struct tcp *tcp, uint32_t n);
uint32_t tcp_n_woken(const struct tcp *tcp); /* that wait for it */
uint32_t tcp_n_rests(const struct tcp *tcp); /* at rest */
size_t tcp_rest_octets(uint32_t user_octets);

const struct flow *tcp_conn_flow(const struct tcp_conn *c);
uint32_t tcp_conn_tag(const struct tcp_conn *c);
void *tcp_conn_user(const struct tcp_conn *c);
void tcp_conn_set_user(struct tcp_conn *c, void *user);

/* Asks the peer of a connection that an earlier life left open to show itself: its answer gets an RST. False: the mark makes no sense, or
 * the tuple is in use again. */
bool tcp_probe_orphan(struct tcp *tcp, const struct tcp_mark *m, uint64_t now_us);

uint32_t tcp_n_conns(const struct tcp *tcp); /* blocks in use, for tests and status */
/* The water marks of buffers and blocks that are reached, as judged when this turn began; base/marks.h has them. */
uint32_t tcp_marks(const struct tcp *tcp);

#endif
