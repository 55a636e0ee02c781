/*
 * tcp_listen.h - LISTEN and the passive SYN-RECEIVED: the ring of SYNs and the cookie.
 *
 * Flow:   tcp_input (no connection) -> tcp_listen_input() -> SYN-ACK;  its ACK -> a connection in ESTABLISHED
 * Pure:   memory is allocated at creation; a SYN of a stranger costs an entry of the ring or nothing.
 * Keeps:  the ISN of every SYN-ACK is a keyed cookie, remembered or not, so a repeated SYN gets the same ISN and what the
 *         ring forgot is still understood. The ring holds at most syn_ring_entries, one in TCP_SYN_PROVEN_SHARE of them for addresses that
 *         have completed a handshake before; no connection block before the third ACK.
 * Source: RFC 4987 section 3.6, RFC 6528, RFC 9293 section 3.10.7.2.
 */
#ifndef GREYLINE_TCP_TCP_LISTEN_H
#define GREYLINE_TCP_TCP_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/block_hash.h"
#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp_proven.h"
#include "dataplane/tcp/tcp_table.h"
#include "dataplane/tcp/tcp_wire.h"

#define TCP_LISTENERS_MAX 64
#define TCP_SYN_STAGES    4 /* SYN-ACK again after 1, 3 and 7 s, forgotten after 15 s */
/*
 * SMTP's server speaks first: where a client's third ACK is lost and nothing is remembered here, he waits for a banner that nobody says. So under
 * a flood the ring is for those it can help. One entry in so many is kept for proven addresses, which no flood of invented ones can take; and of
 * strangers an entry whose SYN-ACK was repeated once gives way to the next, so that up to (ring / second) SYNs are each remembered for one loss.
 */
#define TCP_SYN_PROVEN_SHARE 4

struct tcp;
struct tcp_seg_in;

struct tcp_listener {
	struct ip_addr addr;
	uint16_t port;
	uint32_t tag;
	bool used;
};

struct tcp_syn_entry {
	struct flow flow;
	uint64_t hash;
	uint64_t start_us;
	uint32_t irs, iss, tsval;
	uint32_t tag;
	uint32_t next, prev;        /* of its stage */
	struct tcp_syn_options opt; /* its MSS as the peer said, or the default of its family */
	uint16_t wnd;               /* as offered */
	uint8_t stage;
	bool proven; /* counted with its address */
};

struct tcp_syn_list {
	uint32_t head, tail;
};

struct tcp_listen {
	struct tcp_listener listener[TCP_LISTENERS_MAX];
	uint32_t n_listeners;
	struct tcp_syn_entry *entry;
	struct tcp_table table;
	struct tcp_syn_list stage[TCP_SYN_STAGES];
	uint32_t max, n, free;
	uint32_t n_strangers; /* of n: those who are not proven */
	struct tcp_proven proven;
	uint64_t behind_until_us; /* tcp_behind() */
	/* Keys of cookies: [0] of the slots from cookie_key_from on, [1] of those before, the current one among them just after a change */
	struct block_hash cookie_key[2];
	uint64_t cookie_key_from;
	uint64_t cookies_until_us; /* an ACK may complete a cookie until then; before the first cookie: never */
};

/* Borrows filter for life. */
bool tcp_listen_create(struct tcp_listen *l, uint32_t entries, const struct siphash_key *cookie_key,
	struct tcp_filter *filter, uint64_t now_us);
void tcp_listen_destroy(struct tcp_listen *l);

/* Who listens there; NULL: nobody. */
const struct tcp_listener *tcp_listener_find(const struct tcp_listen *l, const struct flow *flow);

/* What is remembered of the SYN of a flow; NULL: nothing. */
struct tcp_syn_entry *tcp_syn_find(const struct tcp_listen *l, const struct flow *flow, uint64_t hash);

/*
 * A segment that belongs to no connection and no TIME-WAIT record; e: what tcp_syn_find() has of its flow. An answer, if any, is queued; an ACK that completes a handshake
 * makes a connection and is processed there. answer: not NULL: a SYN-ACK is written there instead (tcp_input_syn() says how), and its octets
 * are returned; else 0.
 */
uint32_t tcp_listen_input(struct tcp *tcp, struct tcp_syn_entry *e, const struct net_seg *seg, const struct tcp_hdr *h,
	uint64_t hash, const struct net_frame *frame, uint8_t *answer);

/* PITFALLS 16: whether a segment from there may be answered at all. */
bool tcp_is_possible_peer(const struct flow *flow);

/* An ICMP error about a SYN-ACK of ours: nothing but a counter may come of it. */
uint32_t tcp_listen_expire(struct tcp *tcp, uint64_t now_us, uint32_t max);
uint64_t tcp_listen_deadline_us(const struct tcp_listen *l);

/* The cookie, for tests: what tcp_cookie_make() carries comes back from tcp_cookie_check() rounded down. flow_hash: tcp_flow_hash(). */
uint32_t tcp_cookie_make(
	const struct tcp *tcp, uint64_t flow_hash, uint32_t irs, const struct tcp_syn_options *opt, uint64_t now_us);
bool tcp_cookie_check(const struct tcp *tcp, uint64_t flow_hash, uint32_t irs, uint32_t cookie,
	struct tcp_syn_options *opt, uint64_t now_us);

#endif
