/*
 * smtp_session.h - the server's side of one dialogue: octets in, replies and actions out.
 *
 * Flow:   stream -> smtp_session_input() -> action for the worker (judge this recipient, begin data, body octets, end of message)
 *         -> the worker's answer -> smtp_session_output() -> stream
 * Pure:   time and octets are arguments; the configuration is lent for each call, no pointer is kept across calls.
 * Keeps:  replies leave in the order of their commands; while an action waits for its answer no later command is looked at
 *         (its octets stay unconsumed with the caller); every accumulated octet lies in fixed room.
 * Source: RFC 5321, 2920, 1870, 6152, 2034, 3030, 6531 (the parts named in POLICY sections 5 and 6).
 *
 * Loop of the caller:  input -> take action -> answer -> output, until nothing moves. After every answer input is called once
 * more, with no octets where there are none: an action may be pending (BDAT 0).
 */
#ifndef GREYLINE_SMTP_SMTP_SESSION_H
#define GREYLINE_SMTP_SMTP_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/buf.h"
#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/smtp/smtp_reply.h"

#define SMTP_LINE_MAX_OCTETS      2048 /* with CRLF: 512 of RFC 5321 4.5.3.1.4 and what SMTPUTF8 and DSN add */
#define SMTP_PATH_MAX_OCTETS      320  /* 64 + 1 + 255, RFC 5321 4.5.3.1, without angle brackets */
#define SMTP_PARAMS_MAX_OCTETS    1024
#define SMTP_HELO_MAX_OCTETS      256
#define SMTP_AUTH_LINE_MAX_OCTETS 12288 /* RFC 4954 section 4, of a line of an exchange with its CRLF */
#define SMTP_BODY_VIEWS_MAX       16
#define SMTP_BODY_ROOM_MIN_OCTETS 8 /* with less room no octet of a message is taken */

/* Lent for one call: what may change between calls. */
struct smtp_env {
	const struct conf *conf;
	uint32_t ext;         /* enum ehlo_ext offered on this listener, as POLICY section 5 derives it */
	uint64_t size_octets; /* SIZE to offer: the largest; 0 = "SIZE" is not offered */
	bool starttls;        /* offer STARTTLS */
	bool starttls_hidden; /* but not in EHLO: who asks for it all the same gets it (tls.hide_after_failures) */
	bool starttls_busy;   /* and answer it 454: no certificate, no memory, too many handshakes */
	bool tls_required;    /* no mail without TLS: 530 (RFC 3207 section 4) */
	const char *banner;   /* smtp_banner_write()'s line, made ahead; NULL: to be made */
	uint32_t banner_octets;
	const char *
		ehlo; /* smtp_ehlo_write()'s reply likewise, which is the same for all sessions where starttls is not set */
	uint32_t ehlo_octets;
	uint32_t auth; /* AUTH mechanisms to offer (smtp_auth.h); 0: AUTH is 502 */
	struct counters *counters;
};

struct smtp_path {
	uint16_t len_octets;
	bool has_8bit;
	/* NUL-terminated; source route stripped; the client's octets, quoting included; "" is <> */
	char text[SMTP_PATH_MAX_OCTETS + 1];
};

/* The transaction as MAIL and RCPT gave it. Lives in the session while a transaction is open. */
struct smtp_envelope {
	uint64_t size_octets; /* declared by SIZE=, 0 when none */
	uint32_t needs;       /* enum ehlo_ext this transaction declared: 8BITMIME, SMTPUTF8, DSN, BINARYMIME, SIZE */
	uint32_t n_rcpts;     /* accepted */
	uint32_t n_deferred;  /* answered 4xx */
	uint32_t n_refused;   /* answered 5xx */
	uint16_t mail_params_len, rcpt_params_len;
	struct smtp_path from;
	struct smtp_path rcpt; /* the recipient under judgement */
	/* " SIZE=1 BODY=8BITMIME" as sent by the client, NUL-terminated; "" when none */
	char mail_params[SMTP_PARAMS_MAX_OCTETS];
	char rcpt_params[SMTP_PARAMS_MAX_OCTETS];
};

enum smtp_action {
	SMTP_ACTION_NONE, /* nothing to do: wants octets */
	SMTP_ACTION_EHLO, /* HELO or EHLO was taken (informs; session->helo is set). No answer awaited. */
	SMTP_ACTION_MAIL, /* a transaction began (informs; envelope is filled in). No answer awaited. */
	SMTP_ACTION_RCPT, /* answer with smtp_session_rcpt_answer() */
	SMTP_ACTION_DATA, /* DATA, or any BDAT (smtp_session_uses_bdat(), smtp_session_chunk()), with accepted recipients: answer
	                           with smtp_session_data_answer() */
	SMTP_ACTION_CHUNK_END, /* all octets of a BDAT chunk that is not the last were given: answer (the backend's, to the chunk) with
	                           smtp_session_data_answer() */
	SMTP_ACTION_BODY_END, /* the message's end was seen, all body views were given (BDAT LAST: its octets): answer with
	                           smtp_session_message_answer() */
	SMTP_ACTION_ABORT, /* we refuse the message under way (bare LF, size, time-out, QUIT between chunks): abort the backend
	                           connection, no dot and no QUIT. What to answer the client is settled already. No answer awaited. */
	SMTP_ACTION_AUTH, /* AUTH: answer with smtp_session_auth_answer(); what it says by smtp_session_auth_text() */
	SMTP_ACTION_AUTH_LINE, /* a line of the exchange was given whole, as body views: answer with smtp_session_auth_answer() */
	SMTP_ACTION_RESET, /* RSET, EHLO or STARTTLS ended a transaction: reset the backend's side. No answer awaited. */
	SMTP_ACTION_STARTTLS, /* 220 was queued: after it is sent, change the stream; then smtp_session_tls_started() */
	SMTP_ACTION_QUIT,     /* 221 was queued: send, then close. */
	SMTP_ACTION_CLOSE,    /* our reply is queued (421, too many errors, time-out): send, then close */
};

enum smtp_state { /* of the dialogue, in order of the transaction */
#define SMTP_STATES(X)                                                                                                 \
	X(PAUSE)     /* greet pause: the banner is not sent yet; octets now are early talking */                       \
	X(GREETED)   /* banner sent, no EHLO yet */                                                                    \
	X(READY)     /* EHLO or HELO taken, no transaction */                                                          \
	X(MAIL)      /* MAIL taken, no recipient accepted */                                                           \
	X(RCPT)      /* at least one recipient accepted */                                                             \
	X(RCPT_WAIT) /* the answer to a recipient is awaited */                                                        \
	X(AUTH_WAIT) /* the answer to AUTH, or to a line of its exchange, is awaited */                                \
	X(AUTH)      /* a line of the client passes to the backend, unread */                                          \
	X(DATA_WAIT) /* the answer to DATA is awaited */                                                               \
	X(DATA)      /* octets of the message pass */                                                                  \
	X(CHUNK)     /* between two BDAT chunks of a message */                                                        \
	X(SWALLOW)   /* octets of a message that has its answer already are read to their end and dropped */           \
	X(END_WAIT)  /* the answer to the message is awaited */                                                        \
	X(REFUSED)   /* banner was 554: only QUIT, else 503 */                                                         \
	X(CLOSING)
#define X(name) SMTP_ST_##name,
	SMTP_STATES(X)
#undef X
};

const char *smtp_state_name(enum smtp_state state);

struct smtp_session; /* struct is in smtp_session_impl.h for who embeds it; size by smtp_session_octets() */

uint32_t smtp_session_octets(void);

/* Prepares s in the caller's memory, in state PAUSE; smtp_session_greet() queues the banner, at once or after the greet pause. */
void smtp_session_init(struct smtp_session *s, const struct smtp_env *env, uint64_t now_us);
void smtp_session_tease(
	struct smtp_session *s, const struct smtp_env *env); /* the first line of the banner, when a pause begins */
/* Octets are there before the banner is: noted, not read. */
void smtp_session_early(struct smtp_session *s, const struct smtp_env *env);
void smtp_session_greet(struct smtp_session *s, const struct smtp_env *env, uint64_t now_us);
/* A 554 banner (or 421 in soft mode) instead: reply is the whole banner. */
void smtp_session_refuse(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *banner, uint64_t now_us);

/*
 * Octets of the client. Consumes at most what can be worked on now and returns how many; *action tells what to do next.
 * In DATA, body views that go to the backend are written to body[] (lent: they point into in or into constants; take
 * references to keep them), together at most room_octets; *n_body says how many.
 * With in->len_octets == 0 it only reports a pending action or time-out: the caller has no octets and nothing holds them up.
 * (In DATA with room_octets below SMTP_BODY_ROOM_MIN_OCTETS the silence is ours: no time-out, the period starts anew.)
 */
uint32_t smtp_session_input(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in,
	uint32_t room_octets, struct buf_view body[SMTP_BODY_VIEWS_MAX], uint32_t *n_body, enum smtp_action *action,
	uint64_t now_us);

/* The same where octets of a message are awaited (smtp_session_awaits_body()), some are there and there is room for them. May use fewer than there
 * are, too, and none where an action is told first. */
uint32_t smtp_session_body(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in,
	uint32_t room_octets, struct buf_view body[SMTP_BODY_VIEWS_MAX], uint32_t *n_body, enum smtp_action *action,
	uint64_t now_us);

/* The same where the client's commands are awaited (smtp_session_awaits_command()) and some octets are there: of no message, so none come out.
 * May use fewer octets than there are; smtp_session_input() goes on with them. */
uint32_t smtp_session_commands(struct smtp_session *s, const struct smtp_env *env, const struct buf_view *in,
	enum smtp_action *action, uint64_t now_us);

/* The peer closed its side, and every octet before that was consumed: true when a message was under way (the backend connection
 * must be aborted). After the final dot it is false: the answer is awaited still, smtp_session_state() stays END_WAIT. */
bool smtp_session_eof(struct smtp_session *s);

/* Answers. The reply is copied; 2xx counts as accepted, 4xx deferred, 5xx refused. */
void smtp_session_rcpt_answer(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us);
/*
 * To ACTION_DATA: code 354 (any 2xx or 3xx for BDAT, whose text is not sent) lets octets pass; anything else ends the transaction
 * with it (and BDAT octets are swallowed). To ACTION_CHUNK_END: 2xx is given to the client and the next chunk awaited; anything
 * else ends the transaction with it, later chunks of this message are swallowed.
 */
void smtp_session_data_answer(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us);
/* The backend failed inside DATA: what follows is swallowed to its end, then r is the answer. */
void smtp_session_data_failed(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us);
/* To ACTION_AUTH and ACTION_AUTH_LINE: 334 lets the client's next line pass, 235 exempts the session, all else ends the exchange. */
void smtp_session_auth_answer(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us);
/* To ACTION_AUTH whose line is longer than a command (*whole false): the first part went out, the rest may pass. */
void smtp_session_auth_rest(struct smtp_session *s, uint64_t now_us);
void smtp_session_message_answer(
	struct smtp_session *s, const struct smtp_env *env, const struct smtp_reply *r, uint64_t now_us);
void smtp_session_tls_started(struct smtp_session *s, const struct smtp_env *env, uint64_t now_us);
/* Implicit TLS: before the banner. */
void smtp_session_tls_implicit(struct smtp_session *s);

/* Queues 421 and moves to CLOSING (drain, overload, session limit) where the dialogue allows it: never inside a message.
 * true when it did. */
bool smtp_session_shut(struct smtp_session *s, const struct smtp_env *env, const char *text, uint64_t now_us);

/* Octets to send to the client: copies at most n to out, returns how many. */
uint32_t smtp_session_output(struct smtp_session *s, uint8_t *out, uint32_t n);
/* The same without a copy: what is queued, lent until the next call, and dropping the first n octets of it. */
struct buf_view smtp_session_output_peek(const struct smtp_session *s);
void smtp_session_output_drop(struct smtp_session *s, uint32_t n);
/* The whole banner into room for SMTP_REPLY_LINE_MAX_OCTETS; how many octets it has, always fewer. */
uint32_t smtp_banner_write(char *out, const struct conf *conf);
/* The whole reply to EHLO, of a session under TLS or not, into room for SMTP_EHLO_MAX_OCTETS; how many octets it has. */
#define SMTP_EHLO_OFFERS     6  /* extensions that depend on the backends */
#define SMTP_EHLO_LINE_MAX   32 /* of a keyword's line: "250-SIZE 18446744073709551615" is the longest */
#define SMTP_EHLO_MAX_OCTETS 768
uint32_t smtp_ehlo_write(char *out, const struct smtp_env *env, bool tls);
bool smtp_ehlo_auth(
	const struct smtp_env *env, bool tls); /* not in the clear where there is TLS to be had (RFC 4954 section 4) */
bool smtp_ehlo_starttls(const struct smtp_env *env, bool tls);
/* Whether the client's next octets are a message's, nothing is to be said to it, and nothing else is due: as with commands, the deadline moves
 * away with each. */
bool smtp_session_awaits_body(const struct smtp_session *s);
/* Whether it is the client's turn to say a command, and nothing else is due: smtp_session_deadline_us() moves away with each. */
bool smtp_session_awaits_command(const struct smtp_session *s);
/* Whether smtp_session_input() has something to tell without new octets. */
bool smtp_session_has_news(const struct smtp_session *s);
uint32_t smtp_session_output_pending(const struct smtp_session *s);

/* When silence ends the session (command or data time-out); run by smtp_session_input() with no octets. In the past when an action
 * waits to be told. UINT64_MAX: never, which is so while an answer of ours is due. */
uint64_t smtp_session_deadline_us(const struct smtp_session *s, const struct smtp_env *env);

/* What the caller may know. */
enum smtp_state smtp_session_state(const struct smtp_session *s);
const char *smtp_session_helo(const struct smtp_session *s);         /* "" before EHLO */
bool smtp_session_is_esmtp(const struct smtp_session *s);            /* EHLO, not HELO */
struct smtp_envelope *smtp_session_envelope(struct smtp_session *s); /* lends until the next call */
uint32_t smtp_session_messages(const struct smtp_session *s);
uint64_t smtp_session_message_octets(const struct smtp_session *s); /* of the message under way or just ended */
bool smtp_session_uses_bdat(const struct smtp_session *s);
/* Octets of the BDAT chunk under way as its command gave them, and whether it is the last. */
uint64_t smtp_session_chunk(const struct smtp_session *s, bool *last);
/* The command AUTH as the client sent it, without its line end; *whole: nothing is missing. Lent until it is answered. */
struct buf_view smtp_session_auth_text(const struct smtp_session *s, bool *whole);
/* A backend answered 235 to this client: it decides about its recipients, not policy. */
bool smtp_session_is_authenticated(const struct smtp_session *s);
bool smtp_session_is_tls(const struct smtp_session *s);
bool smtp_session_early_talker(const struct smtp_session *s);
uint32_t smtp_session_manners(
	const struct smtp_session *s); /* enum smtp_manner seen so far, HELO's apart (smtp_manners.h) */
uint32_t smtp_session_errors(const struct smtp_session *s); /* bad commands since the last message a backend took */

#endif
