/*
 * relay.h - one client session's conversation with one backend, as a client of SMTP.
 *
 * Flow:   worker: relay_init -> tcp_connect -> relay_connected -> (relay_input, relay_output, relay_next ...) ->
 *         relay_quit
 * Pure:   octets and time; the connection itself is the worker's.
 * Keeps:  nothing is sent before the backend's banner but PROXY; commands go out one at a time (or pipelined where the
 *         backend offers it); message octets are not held here: the worker hands them straight on while
 *         relay_wants_body(). A relay is never handed to another client (PITFALLS 48).
 * Source: POLICY section 5; RFC 5321, Postfix XCLIENT_README, PROXY protocol.
 */
#ifndef GREYLINE_RELAY_RELAY_H
#define GREYLINE_RELAY_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/buf.h"
#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/base/verdict.h"
#include "dataplane/smtp/proxy_header.h"
#include "dataplane/smtp/smtp_reply.h"

/* Who the client is. Borrowed by relay_init(), which copies. */
struct relay_client {
	struct proxy_addrs addrs; /* src: the client, dst: our listener */
	char helo[256];
	char ptr_name[256];   /* "" when none */
	struct proxy_tls tls; /* version "": it speaks plain text */
	uint8_t ptr_state;    /* enum ptr_state: no name by TEMPERR or UNKNOWN is [TEMPUNAVAIL], else [UNAVAILABLE] */
	bool ptr_confirmed;   /* NAME is the name; else only REVERSE_NAME */
	bool esmtp;
};

struct relay_backend {
	struct conf_backend conf;
	uint32_t ext_wanted;                             /* unused bits zero */
	const char *our_name;                            /* hostname; relay_init() copies it */
	uint32_t greeting_ms, total_ms, reply_ms, dot_s; /* see conf.h; 0: the default. dot_s: 600 at least */
	uint32_t connect_ms;                             /* 0: as greeting_ms */
	uint32_t body_stall_s; /* no octet of the message could be handed over for so long; 0: dot_s */
	bool tls_possible;     /* where conf.tls is not never: its options can be used, there is memory */
	bool probe_works; /* probed and BACKEND_UP: only then a 5xx to EHLO is the client's fault (POLICY section 5) */
	struct counters *counters; /* outlives the relay; NULL: not counted. relay.connects is the worker's to count */
};

enum relay_stage { /* where a failure happened, for log and status */
#define RELAY_STAGES(X)                                                                                                \
	X(CONNECT)                                                                                                     \
	X(BANNER)                                                                                                      \
	X(EHLO0)                                                                                                       \
	X(STARTTLS)                                                                                                    \
	X(TLS)                                                                                                         \
	X(EHLO) X(XCLIENT) X(EHLO2) X(READY) X(AUTH) X(MAIL) X(RCPT) X(DATA) X(BODY) X(DOT) X(RSET) X(QUIT) X(CLOSED)
#define X(name) RELAY_STAGE_##name,
	RELAY_STAGES(X)
#undef X
};

const char *relay_stage_name(enum relay_stage stage);

enum relay_action {
	RELAY_ACTION_NONE,
	RELAY_ACTION_RCPT_REPLY,    /* relay_reply() answers the recipient (already mapped by POLICY section 5) */
	RELAY_ACTION_AUTH_REPLY,    /* relay_reply() answers AUTH or a line of its exchange */
	RELAY_ACTION_DATA_REPLY,    /* relay_reply() answers DATA or a BDAT chunk */
	RELAY_ACTION_MESSAGE_REPLY, /* relay_reply() answers the end of data */
	RELAY_ACTION_FAILED, /* our failure or the backend's: relay_reply() is the 451 to give; relay_stage() where */
	RELAY_ACTION_STARTTLS, /* the backend said 220: change the stream, then relay_tls_started() or relay_tls_failed() */
	RELAY_ACTION_CLOSED, /* after QUIT, or idle close by the backend between transactions: open anew when needed */
};

/*
 * What the worker may rely on:
 * - relay_rcpt() may be called at once after relay_init(), relay_reset() or a MESSAGE_REPLY: it is held until it can
 *   be sent.
 * - Loop: relay_input, relay_next, relay_output until nothing moves. While an action has not been taken, relay_input()
 *   consumes nothing, so call it again after relay_next() as long as octets are there.
 * - FAILED may come while no command waits (the backend closed with recipients accepted): keep its reply for the next
 *   DATA or RCPT, or call relay_rcpt() or relay_data() all the same: a failed relay answers FAILED again.
 * - CLOSED while a recipient waits (or relay_rcpt() on a closed relay): the connection was lost between two
 *   transactions, nothing of this one was answered: open anew, to any backend, and ask again. A fresh relay never
 *   answers so for a recipient.
 * - MESSAGE_REPLY with relay_stage() BODY: the backend answered inside the data: smtp_session_data_failed() with the
 *   reply, close the connection by reset. FAILED with stage BODY likewise.
 * - After FAILED and CLOSED the connection is the worker's to close; relay_must_abort() tells when by reset.
 */

struct relay;

uint32_t relay_octets(void);
void relay_init(
	struct relay *r, const struct relay_backend *backend, const struct relay_client *client, uint64_t now_us);

void relay_connected(struct relay *r, uint64_t now_us);
/* After RELAY_ACTION_STARTTLS. Octets the backend sent behind its 220 were not said under TLS: that is a failure, too. */
void relay_tls_started(struct relay *r, uint64_t now_us);
void relay_tls_failed(struct relay *r, const char *words);
/* It failed at TLS, and the configuration takes plain text for better than nothing (RFC 7435): open anew with tls = never. */
bool relay_may_go_plain(const struct relay *r);
/* The connection ended: refused, timed out, reset or closed by the backend. */
void relay_disconnected(struct relay *r, uint64_t now_us);

/* Begins a transaction's command; only when the previous one was answered. Addresses and params as in smtp_envelope.
 * The first recipient of a transaction sends MAIL before it. */
void relay_rcpt(struct relay *r, const char *from, const char *mail_params, const char *rcpt, const char *rcpt_params,
	uint32_t needs, uint64_t size_octets, uint64_t now_us);
/*
 * AUTH, as the client wrote it, 7-bit and without an octet that could end a line; at once after relay_init() or when idle. whole: nothing
 * of its line is missing; else the rest follows as body octets while relay_wants_body(), like every later line of the exchange (after a
 * 334), each with its CRLF and end set. Answered by AUTH_REPLY. Nothing of it is kept once it is sent, nor in relay_words().
 */
void relay_auth(struct relay *r, const char *text, uint32_t len_octets, bool whole, uint64_t now_us);
/* The recipient asked for must be answered by at_us, if that is earlier than reply_ms after relay_rcpt(): for a second
 * backend, tried while the client waits for one reply. */
void relay_limit(struct relay *r, uint64_t at_us);
void relay_data(struct relay *r, uint64_t now_us);
/* Octets of the message were handed to the connection by the worker; end: the terminating CRLF.CRLF was among them. */
void relay_body_sent(struct relay *r, uint32_t octets, bool end, uint64_t now_us);
/* BDAT: sends "BDAT n [LAST]" before the worker hands over n octets. */
void relay_bdat(struct relay *r, uint64_t n_octets, bool last, uint64_t now_us);
void relay_reset(struct relay *r, uint64_t now_us);
void relay_quit(struct relay *r, uint64_t now_us);

/* Octets of the backend: consumes all it can, returns how many. */
uint32_t relay_input(struct relay *r, const struct buf_view *in, uint64_t now_us);
/* Before relay_input(): the backend cannot have had the end of the message yet, so what it says next does not answer it. */
void relay_end_not_there(struct relay *r);
/* Octets for the backend (PROXY header, commands): at most n, returns how many. Body octets go after these. */
uint32_t relay_output(struct relay *r, uint8_t *out, uint32_t n);
uint32_t relay_output_pending(const struct relay *r);

/* What happened; each is given once. relay_stage() then tells where it happened. Call with nothing changed but the
 * time to run time-outs. */
enum relay_action relay_next(struct relay *r, uint64_t now_us);
uint64_t relay_deadline_us(const struct relay *r);

/* Octets of the message may be handed to the connection now: 354 came (or BDAT was sent) and no octet of ours is
 * before them. */
bool relay_wants_body(const struct relay *r);
/* relay_next() would answer something at once, whatever the time. */
bool relay_has_news(const struct relay *r);
/* The connection must end by reset, not by FIN: a message was cut. */
bool relay_must_abort(const struct relay *r);

const struct smtp_reply *relay_reply(const struct relay *r); /* the reply for the client; lends until the next call */
/* The backend's own words (first line, printable), for the log; lent until it says more. */
const char *relay_words(struct relay *r);
enum relay_stage relay_stage(const struct relay *r); /* what is under way; when over, where it ended */
uint32_t relay_ext(const struct relay *r);           /* EHLO keywords the backend gave */
bool relay_is_idle(const struct relay *r);           /* connected, greeted, no transaction: takes a recipient */
bool relay_has_transaction(const struct relay *r);   /* a recipient is accepted */

#endif
