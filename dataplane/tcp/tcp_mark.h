/*
 * tcp_mark.h - what the next life of a killed endpoint must know of its connections, in memory that outlives the process.
 *
 * Flow:   a connection begins or ends -> its mark;  after a restart: marks -> worker/orphans.c -> tcp_probe_orphan() -> the peer's ACK -> RST
 * Pure:   the memory is the caller's (tcp_conf.marks).
 * Keeps:  a peer that waits for us to speak has nothing to retransmit and would wait for minutes; asked, it answers with an ACK, and an
 *         ACK of no connection gets an RST with the one sequence number it must believe. Marks are read by the next life alone: a torn
 *         or foreign one costs a segment that nobody heeds.
 * Source: RFC 9293 section 3.10.7.4 (a segment outside the window is answered by an ACK) and section 3.5.1 (half-open connections).
 */
#ifndef GREYLINE_TCP_TCP_MARK_H
#define GREYLINE_TCP_TCP_MARK_H

#include <stdalign.h>
#include <stdint.h>

#include "dataplane/net/flow.h"

#define TCP_MARK_SYNS   1024u             /* handshakes not completed yet: a client's ACK may have met nobody */
#define TCP_MARK_SYN_US UINT64_C(5000000) /* older ones are nobody's */

/* One cache line. */
struct tcp_mark {
	alignas(64) struct flow flow;
	uint32_t iss, irs; /* initial sequence numbers, ours and the peer's (0: not told yet) */
	uint32_t life;     /* of the process that wrote it, never 0; 0: nothing here. Stored last. */
	uint32_t ts_ok;    /* timestamps were negotiated, or offered by us */
	uint64_t at_us;    /* boot time */
};

struct tcp;
struct tcp_conn;
struct tcp_syn_entry;

/* Marks of an endpoint with so many connections, those at rest counted. */
static inline uint32_t
tcp_marks_n(uint32_t conns_n)
{
	return conns_n + TCP_MARK_SYNS;
}

/* Internal to tcp: all do nothing where tcp_conf.marks is NULL. */
void tcp_mark_conn(const struct tcp_conn *c);
void tcp_unmark_conn(const struct tcp_conn *c);
void tcp_mark_move(const struct tcp *tcp, uint32_t from, uint32_t to);
void tcp_mark_syn(const struct tcp *tcp, const struct tcp_syn_entry *e);
void tcp_unmark_syn(const struct tcp *tcp, const struct tcp_syn_entry *e);

#endif
