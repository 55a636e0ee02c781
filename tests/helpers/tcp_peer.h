/*
 * tcp_peer.h - a scripted peer of one endpoint: builds a connection in any state, says segments in which a test names only what
 * matters, and hears the answers with numbers relative to the two initial ones.
 *
 * Keeps:  the peer's own numbers move with what it says in order; what it has heard in order is what it acknowledges by default.
 */
#ifndef GREYLINE_TESTS_HELPERS_TCP_PEER_H
#define GREYLINE_TESTS_HELPERS_TCP_PEER_H

#include "tests/check.h"
#include "tests/helpers/tcp_end.h"

/* States a peer can bring a connection to; those of RFC 9293. */
enum peer_state {
	PEER_CLOSED, /* a closed port */
	PEER_LISTEN,
	PEER_SYN_SENT,
	PEER_SYN_RECEIVED,      /* remembered in the ring */
	PEER_SYN_RECEIVED_BOTH, /* simultaneous open */
	PEER_ESTABLISHED,
	PEER_FIN_WAIT_1,
	PEER_FIN_WAIT_2,
	PEER_CLOSE_WAIT,
	PEER_CLOSING,
	PEER_LAST_ACK,
	PEER_TIME_WAIT,
	PEER_STATE_N
};

struct peer_options {
	uint16_t mss; /* 0: no option */
	bool no_wscale, no_sack, no_ts, v6;
	uint8_t wscale;  /* 0 with !no_wscale: 7 */
	uint16_t wnd;    /* as on the wire, 0: 2000 (256,000 with scale 7) */
	uint32_t n_bufs; /* of the endpoint's pool, 0: 256 */
};

struct peer {
	struct tcp_end e;
	struct tcp_conn *c; /* NULL: none, or not told yet */
	struct flow flow;   /* as the peer sees it: local is the peer */
	struct peer_options opt;
	uint32_t iss, snd_nxt; /* the peer's own */
	uint32_t irs, rcv_nxt; /* of the endpoint */
	uint32_t edge;         /* right edge of the window it has offered */
	uint32_t tsval, tsecr;
	uint32_t events;       /* told so far, of c */
	bool scaled, ts, sack; /* negotiated */
	uint8_t scale;
};

/* What the peer says. Zero means the usual: ACK alone, from its SND.NXT, of all it heard, its window, its clock. */
struct say {
	uint8_t flags; /* 0: ACK */
	bool no_flags, no_ack;
	int64_t seq; /* relative to SND.NXT */
	int64_t ack; /* relative to what was heard */
	const char *text;
	uint32_t len; /* octets of a pattern instead of text; position is SEG.SEQ - ISS - 1 */
	uint32_t wnd; /* as on the wire; 0: as before */
	bool zero_wnd;
	int64_t tsval; /* relative to the peer's clock, which is the endpoint's in ms */
	bool no_ts, bad_checksum;
	uint8_t n_sack;
	int64_t sack[2 * TCP_SACK_BLOCKS_MAX]; /* relative to the endpoint's ISS */
	bool keep;                             /* SND.NXT does not move */
};

#define SAY(p, ...) peer_say(p, &(struct say){ __VA_ARGS__ })

struct heard {
	bool any;
	struct tcp_hdr h;
	uint32_t seq, ack; /* relative to the endpoint's ISS, to the peer's ISS */
	uint32_t len;
	uint16_t to_port; /* of the peer */
	uint8_t text[WIRE_SEG_MAX_OCTETS];
};

void peer_init(struct peer *p, const struct peer_options *opt, const struct tcp_conf *conf);
/* Ends; the connection is aborted and released if there is one, and nothing may be left. */
void peer_fini(struct peer *p);

/* Brings the connection to state. The listener is on the flow's port with tag 9. */
void peer_reach(struct peer *p, enum peer_state state);
/* peer_init() and peer_reach() to ESTABLISHED. */
void peer_establish(struct peer *p, const struct peer_options *opt, const struct tcp_conf *conf);
/* peer_init() and peer_reach() with usual options. */
void peer_in(struct peer *p, enum peer_state state);
const char *peer_state_name(enum peer_state state);

void peer_say(struct peer *p, const struct say *s);
/* The SYN of the peer, as its options say. */
void peer_say_syn(struct peer *p, uint8_t flags);
/* The next segment of the endpoint. */
struct heard *peer_hear(struct peer *p);
/* Hears all there is; the last one. */
struct heard *peer_hear_all(struct peer *p, uint32_t *n);
/* Everything the endpoint has to send is heard and acknowledged until nothing is left; the octets heard. */
uint32_t peer_drain(struct peer *p);
void peer_expect_silence(struct peer *p, const char *label);
/* Moves the clock. */
void peer_wait(struct peer *p, uint64_t us);
/* Moves the clock from deadline to deadline (a lower bound, so not each has something to say) until a segment is heard, at most 100
 * times or until limit_us from now. */
struct heard *peer_hear_next(struct peer *p, uint64_t limit_us);
/* Takes events of the endpoint. */
uint32_t peer_events(struct peer *p);

/* Reads and drops all that is there, which must be the pattern from position at on. Returns how many octets that were. */
uint32_t peer_read(struct peer *p, uint32_t at);
/* Writes octets of the endpoint's stream, read and dropped by peer_hear(). Returns what was taken. */
uint32_t peer_write(struct peer *p, uint32_t octets);
/* The state of the connection as RFC 9293 calls it, from the outside: conn, ring and records. */
enum peer_state peer_state(struct peer *p);

#endif
