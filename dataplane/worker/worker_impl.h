/*
 * worker_impl.h - what the files of this folder share: the worker, its sessions and its ends of connections.
 *
 * Keeps:  a connection's user pointer is a struct end, whose kind tells whose it is; a session is free when both its ends are gone;
 *         a session holds no pointer into a snapshot across turns (names and addresses are copied, lists are looked up anew).
 */
#ifndef GREYLINE_WORKER_WORKER_IMPL_H
#define GREYLINE_WORKER_WORKER_IMPL_H

#include "dataplane/base/backlog.h"
#include "dataplane/base/bug.h"
#include "dataplane/base/marks.h"
#include "dataplane/base/pool.h"
#include "dataplane/base/wheel.h"
#include "dataplane/net/net.h"
#include "dataplane/policy/policy.h"
#include "dataplane/relay/backend_probe.h"
#include "dataplane/relay/relay.h"
#include "dataplane/relay/splice.h"
#include "dataplane/smtp/smtp_manners.h"
#include "dataplane/smtp/smtp_session.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/tls/stream_tls.h"
#include "dataplane/worker/worker.h"

#define TX_BURST_FRAMES         32
#define TURN_FRAMES             64  /* then what is looked at once a turn is looked at again */
#define READY_PER_TURN          512 /* connections served in a turn */
#define ANSWERS_PER_TURN        256
#define TIMERS_PER_TURN         256
#define RCPTS_AT_ONCE           16 /* recipients judged together */
#define SESSION_PUMP_MAX        64 /* steps one session may take in a turn */
#define OVER_LIMIT_POLITE_SHARE 4  /* of the slots in use beyond one in so many: no 421 for who is over his limit */
#define CLOSE_LINGER_US         1000000 /* after 221: who closes first keeps TIME-WAIT, so the client gets a second */
#define BACKEND_LINGER_US       5000000 /* after QUIT: the backend closes first */
#define KEPT_RCPTS_SHARE        8       /* one such memory for so many sessions: most have no transaction open */
#define KEPT_RCPTS_MAX          100     /* accepted recipients remembered; the null sender's beyond: 452 */
#define PROXY_HEADER_WAIT_US    5000000 /* as long as Postfix waits for one */
#define PROBES_AT_ONCE          8
#define KEYS_WAITING_MAX        8     /* questions for certificates that wait for a free probe */
#define CONN_STREAM_ROOM_OCTETS 20480 /* a record of the largest size with its framing, and what TLS says by itself */
#define RELAY_DENIED_LINES_MAX  10    /* of one session; a spammer's list of foreign recipients is not the log's */
#define LISTENER_NONE           0xffffffffu
#define SESSION_SLOT_BITS       24 /* of a session's number: its slot */
#define SESSION_SLOT_MASK       ((UINT32_C(1) << SESSION_SLOT_BITS) - 1)

enum end_kind { END_CLIENT, END_BACKEND, END_PROBE };

/* One end of a connection, as its user pointer. */
struct end {
	enum end_kind kind;
	struct tcp_conn *conn; /* NULL: none */
	void *owner;           /* struct session or struct probe */
};

enum session_wait {
#define SESSION_WAITS(X)                                                                                               \
	X(NONE)            /* the client speaks */                                                                     \
	X(PROXY)           /* a trusted proxy's header is awaited, nothing has begun */                                \
	X(CONNECT_VERDICT) /* the banner waits for the client's verdict (reject_at = connect) */                       \
	X(TLS)             /* the handshake with the client is under way, or the 220 before it */                      \
	X(GREET_PAUSE)     /* the banner waits */                                                                      \
	X(TURN)            /* a recipient waits for the others of this turn, with whom it is judged */                 \
	X(VERDICT)         /* a recipient waits for the client's verdict, or that on its names */                      \
	X(NAME)            /* a recipient waits for the client's name, which XCLIENT hands over */                     \
	X(BACKEND_RCPT)    /* a recipient waits for the backend */                                                     \
	X(BACKEND_AUTH)    /* AUTH, or a line of its exchange, waits for the backend */                                \
	X(BACKEND_DATA)    /* DATA waits for the backend */                                                            \
	X(BACKEND_DOT)     /* the end of data waits for the backend */                                                 \
	X(CLOSE)           /* the last reply is on its way; the client closes */
#define X(name) SESSION_WAIT_##name,
	SESSION_WAITS(X)
#undef X
};

/* Whether STARTTLS is hidden from this session's client: looked up once, so that the session is offered the same throughout. */
enum tls_hide { TLS_HIDE_UNASKED, TLS_HIDE_NO, TLS_HIDE_WOULD /* but for observe mode */, TLS_HIDE_YES };

/* The accepted recipients of a transaction: the null sender's are judged at DATA, all are told policy when the message is delivered. */
struct kept_rcpts {
	uint32_t pool_link; /* struct pool's, while it is free */
	uint32_t n;
	char rcpt[KEPT_RCPTS_MAX][SMTP_PATH_MAX_OCTETS + 1];
};

/* The backend's side of a session. */
struct session_relay {
	uint32_t pool_link;       /* struct pool's, while it is free */
	struct conf_backend conf; /* copied at connect */
	char our_name[CONF_HOST_OCTETS];
	uint32_t conf_index; /* its index then */
	uint64_t opened_us;
	bool quitting;
	struct relay *relay; /* behind this struct, relay_octets() */
};

/*
 * In the order of use, for of many sessions each line is a miss: what every segment of a client asks about lies in the first three lines, what a
 * session or a transaction needs once follows, then what only one with a backend, under TLS or spliced has. Static assertions in
 * session_store.c hold the borders.
 */
struct session {
	/* 1. its state, and whose it is */
	_Alignas(64) uint32_t pool_link; /* struct pool's, while it is free */
	uint32_t slot;                   /* its name in w->place, for its life */
	bool live;
	uint8_t wait;                 /* enum session_wait */
	bool client_eof, client_gone; /* FIN seen; connection over */
	bool is_submission;           /* spliced: of a submission listener, or a known client's where that is on */
	bool begun;                   /* the client is known by address; before it only SESSION_WAIT_PROXY */
	bool good;                    /* its network had the automatic allow when it came: no pause, no wait for DNS */
	bool dns_asked;
	bool name_asked;   /* of a client whose verdict was known: nobody waits for it */
	bool message_open; /* octets of a message went to the backend, no final answer yet */
	bool txn_failed;   /* the backend of this transaction failed after it had accepted a recipient */
	bool txn_has_pool;
	bool counted_address, counted_network; /* in the table of sources */
	bool stranger;                         /* holds one of the strangers' slots (admission.c) */
	bool backend_eof;                      /* submission: the backend's FIN was seen */
	bool poke;       /* the dialogue was answered: it may have more to do without new octets */
	bool unfinished; /* more could move: it goes on in a later turn */
	bool timer_stands; /* armed for no later than it is due, for as long as it waits for commands or a message in clear: see session_plain.c */
	bool tls_implicit; /* the listener speaks TLS from the first octet */
	bool tls_queued;   /* in the worker's queue of handshakes, for a step with the client or with the backend */
	bool tls_turn;     /* a step with the backend may be taken: its turn has come */
	uint8_t tls_hide;  /* enum tls_hide */
	uint32_t listener; /* its index in the snapshot of listener_generation */
	struct end client;
	/* 2. its octets */
	struct stream *stream;
	struct smtp_session *smtp; /* behind the session, smtp_session_octets() */
	struct session_relay *relay;
	struct buf_view held;          /* plain octets the dialogue has not taken; one reference */
	struct stream *backend_stream; /* NULL: plain */
	struct kept_rcpts *kept_rcpts;
	/* 3. its time */
	struct wheel_node timer;
	uint64_t listener_generation; /* of the snapshot in which its listener was looked up last; 0: in none */
	uint64_t accepted_us, linger_due_us;
	uint32_t transaction;    /* counts MAIL: an answer about the names of an earlier one is stale */
	uint32_t rcpts_accepted; /* of this transaction */
	/* 4. once a session, once a transaction */
	uint64_t number;  /* unique in the worker's life; low 24 bits are the slot */
	struct flow flow; /* the client's; its local end is that of the connection, which names the listener */
	uint16_t told_local_port;
	uint16_t pool; /* of this transaction where txn_has_pool */
	struct ip_addr
		told_local; /* what the client connected to, for backends: the connection's own, or a trusted proxy's word */
	struct session_source {
		struct source_key address, network;
	} source; /* under which it is counted there; address 0: to be hashed anew */
	struct client_verdict verdict;
	uint32_t dns_ms;
	struct name_verdict names; /* of this transaction */
	uint64_t verdict_due_us, asked_us;
	uint64_t wait_began_us; /* of SESSION_WAIT_VERDICT */
	uint64_t held_us;       /* all waits for DNS so far: dns.deadline_ms at most */
	uint64_t rcpt_begun_us; /* when its turn came: the client waits for its reply since then */
	uint64_t tried;         /* backends by bit */
	uint64_t octets;        /* of all messages */
	uint64_t message_ref;
	const char *end_reason; /* constant word for the log */
	uint32_t relay_denied; /* recipients of this session answered so; the first RELAY_DENIED_LINES_MAX have lines */
	uint32_t backend_opens; /* connections to backends so far: tells an old one's event from a new one's */
	struct end backend;
	uint64_t plain_only; /* backends by bit: TLS with it failed, and without is allowed */
	uint64_t rcpt_us;    /* when it was let through */
	/* 5. some have it */
	uint64_t pause_due_us;
	uint64_t names_due_us;        /* while names.known is CLIENT_ASKED */
	struct buf_view backend_held; /* lent by its stream: what the relay has not taken yet */
	struct session *tls_next;
	struct session *idle_prev, *idle_next; /* in the list of those that rest soon, in order of rest_due_us */
	uint64_t rest_due_us;                  /* 0: not in it */
	struct splice *splice;                 /* submission: behind the session, splice_octets() */
	/* 6. What a session begins without touching: texts are empty by their first octet, of the answer its text is left as it was. */
	char listener_name[CONF_NAME_OCTETS];
	struct policy_answer answer;         /* to the recipient under judgement */
	char lost_backend[CONF_NAME_OCTETS]; /* who failed last for this recipient, for the log */
	char backend_words[128];             /* of the backend that failed this recipient, for its line in the log */
	uint64_t spliced[SPLICE_WAYS], splice_acked[SPLICE_WAYS]; /* set when a splice begins */
	char message_backend[CONF_NAME_OCTETS];
	char ptr_name[256];
	char message_from[SMTP_PATH_MAX_OCTETS + 1];
};

struct probe {
	struct end end;
	bool active;
	struct stream *stream; /* NULL: plain */
	struct backend_probe probe;
	struct link_answer_keys asked; /* of BACKEND_PROBE_KEYS */
	struct link_event_keys found;
};

struct probe_schedule {
	uint32_t id;
	bool relaytest; /* asked for by the operator */
	uint64_t next_us;
};

struct orphan {
	struct tcp_mark mark;
	uint32_t index;
};

/* Connections an earlier life left open: orphans.c. */
struct orphans {
	struct tcp_mark *marks; /* of this worker, in memory that outlives the process; NULL: none */
	struct orphan *list;    /* copied from there at the start */
	uint32_t n_conns;       /* marks of connections; those of handshakes follow */
	uint32_t n, next, round;
	uint64_t due_us;
};

/* Who gets in: admission.c. */
struct admission {
	uint32_t n_strangers;          /* slots strangers hold */
	uint32_t cursor, block_cursor; /* of looks at who might give way: by slots, by blocks */
	uint32_t own_marks;            /* of slots and blocks; those of buffers and connections are tcp's */
	uint32_t marks;                /* all, as the segment has them */
	bool watch_syns;               /* some SYNs are not to be answered */
	struct backlog backlog;        /* of this worker's queue */
	struct backlog_taken taken;    /* in this turn so far */
	uint64_t shed_us;              /* when a SYN was last dropped for that; 0: never */
	/* refusals since the last line in the log */
	struct ip_addr last;
	enum counter last_why;
	uint32_t n_unsaid, said_s;
};

/* What a client's records are found by: hashed when the ACK of its handshake is seen in a burst, and needed again when its session begins. */
#define ARRIVALS_BITS 6 /* more places than come in a burst */
#define ARRIVALS      (1u << ARRIVALS_BITS)
struct arrival {
	struct ip_addr client;
	struct source_key address, network;
	uint64_t verdict_tag; /* 0: nobody's yet */
};

struct worker {
	struct worker_conf conf;
	struct worker_shared *shared;
	struct port_io *io;
	struct segment *segment;
	struct counters *counters;
	const struct snapshot *snapshot; /* in force in this turn */
	_Atomic uint64_t generation;
	struct net *net;
	struct tcp *tcp;
	struct wheel wheel;
	struct admission admission;
	struct wheel rest_wheel, pause_wheel; /* of sessions at rest: that wait for the client, that let it wait */
	struct ring *event, *answer;
	uint64_t now_us;
	uint32_t now_s; /* policy time */
	uint64_t deadline_us;
	uint64_t next_number;
	uint32_t offer_ext[CONF_LISTENERS_MAX]; /* derived from the backends' states, renewed every OFFER_RENEW_US */
	uint64_t offer_size[CONF_LISTENERS_MAX];
	uint32_t offer_auth[CONF_LISTENERS_MAX];
	uint64_t offer_due_us;
	/* derived from the snapshot in force and the offers, so that sessions need not */
	char banner[SMTP_REPLY_LINE_MAX_OCTETS];
	struct smtp_env env[CONF_LISTENERS_MAX + 1];             /* of each listener, the last of none: worker_env() */
	char ehlo[CONF_LISTENERS_MAX + 1][SMTP_EHLO_MAX_OCTETS]; /* what each of those answers to EHLO in clear */
	struct policy_ctx policy;                                /* its loading_left_s is of this turn */
	uint32_t wants_name;        /* a bit for each listener of which some backend does */
	uint32_t with_tls;          /* likewise where TLS is spoken or offered */
	uint64_t cookie_key_due_us; /* the key of SYN cookies is drawn anew in the first turn after that */
	struct pool sessions;       /* struct session, its dialogue, its splice */
	struct pool relays;         /* struct session_relay and its relay */
	struct pool kepts;          /* struct kept_rcpts */
	struct pool texts;          /* struct session_text, of sessions at rest */
	uint32_t *place;            /* of each slot: where its session is, see session_store.c */
	uint32_t n_slots, n_slots_fresh, free_slot_plus_1;
	uint32_t n_live;
	struct session *idle_first, *idle_last; /* that nothing happens to, since a moment ago: session_rest.c */
	/* handshakes whose next octets are here, in the order they came */
	struct session *tls_first, *tls_last;
	uint32_t n_tls_queued;
	/* recipients of this turn that are not judged yet: session_rcpts.c */
	struct rcpt_case *rcpts;
	uint32_t n_rcpts;
	bool rcpts_at_once; /* they are being judged: what comes up meanwhile does not wait */
	_Atomic uint32_t n_live_shared;
	uint32_t drain_cursor;
	bool draining;
	struct orphans orphans;
	uint64_t probes_due_us; /* their lists are not walked before */
	struct probe probe[PROBES_AT_ONCE];
	struct probe_schedule schedule[CONF_BACKENDS_MAX];
	struct link_answer_keys keys_waiting[KEYS_WAITING_MAX];
	uint32_t n_keys_waiting;
	uint64_t random_state[2];
	uint64_t grey_second; /* policy second and count of log lines for greylisted strangers */
	uint32_t grey_lines, grey_dropped;
	uint32_t syn_second, syn_lines, syn_dropped; /* the same of SYNs refused by their address */
	struct arrival arrival[ARRIVALS];            /* at a place that the address tells */
	struct frame tx[TX_BURST_FRAMES];
	struct net_frame rx[RX_BURST_MAX_SEGS];
	struct net_out net_out[RX_BURST_MAX_SEGS]; /* of those */
	struct tcp_seg_out seg_out[TX_BURST_FRAMES];
};

#define OFFER_RENEW_US 1000000

/* worker.c */
uint64_t worker_random(struct worker *w);
const struct conf_listener *worker_listener_of(const struct worker *w, const struct flow *f, uint32_t *index);
/* What is known now of each backend of the snapshot, by its index there. */
void worker_backend_states(const struct worker *w, struct backend_state states[CONF_BACKENDS_MAX]);
/* What a dialogue of this listener borrows, but for what TLS adds; of LISTENER_NONE what needs no backend. */
static inline const struct smtp_env *
worker_env(const struct worker *w, uint32_t listener)
{
	return &w->env[MIN(listener, (uint32_t)CONF_LISTENERS_MAX)];
}

/* admission.c: limits of sources, room for known clients */
/* Counts the session; COUNTER_N, or the counter of why it is refused (it was counted and will be logged). */
enum counter admission_enter(struct worker *w, struct session *s);
void admission_leave(struct worker *w, struct session *s);
/* Asks for the lines that takes. */
void admission_leave_soon(const struct worker *w, const struct session *s);
/* What the client's records are found by; valid until the next call. */
const struct arrival *admission_arrival(struct worker *w, const struct ip_addr *client);
/* The client's handshake may be about to end: asks for what its session begins with. */
void admission_expect(struct worker *w, const struct ip_addr *client);
/* It is no stranger any more. */
void admission_passed(struct worker *w, struct session *s);
/* Asked while admission.backlog.behind, of a SYN that was not looked at further: whether it is dropped. */
bool admission_sheds(struct worker *w, const struct flow *f);
/* Asked while admission.watch_syns: whether a SYN is to be answered at all. */
bool admission_syn(struct worker *w, const struct flow *f);
/* Whether a water mark is reached, of whatever resource. */
bool admission_mark(const struct worker *w, enum mark m);
void admission_turn(struct worker *w);
/* session_store.c: where sessions are */
bool session_store_create(struct worker *w, const struct conf *conf);
void session_store_destroy(struct worker *w);
/* When the worker ends: what sessions hold of others. */
void session_store_drop(struct worker *w);
void session_store_memory(const struct worker *w, struct memory_list *l);
/* Of one that is not at rest, with what it has for a backend. */
uint32_t session_store_block_octets(void);
/* How many sessions may be other than at rest. */
uint32_t session_store_blocks(const struct conf *conf);
/* A block and a slot, with a number, all else zero; NULL: none left. */
struct session *session_store_get(struct worker *w);
void session_store_put(struct worker *w, struct session *s);
/* Whether a block is free beyond those that woken connections will need. */
bool session_store_has_room(const struct worker *w);
/* The session that has a block in this slot; NULL: none. */
struct session *session_store_at(const struct worker *w, uint32_t slot);
/* The session of a number, woken where it rests; NULL: gone, or no block is free to wake it. */
struct session *session_of_number(struct worker *w, uint64_t number);
/* That of a slot likewise; false: one is there, and no block is free to wake it. */
bool session_store_visit(struct worker *w, uint32_t slot, struct session **s);
/* s gives its block back, its slot names record from now on; and the other way round: a block, as session_store_get() gives it. */
void session_store_rest(struct worker *w, struct session *s, uint32_t record);
struct session *session_store_wake(struct worker *w, uint64_t number);
struct session_relay *session_store_relay_get(struct worker *w);

/* session_rest.c: sessions that hold no block */
/* Call when s was served: where nothing of it is under way it rests, and is not valid then; soon: in a moment, or at once. */
void session_idle(struct worker *w, struct session *s);
void session_idle_soon(struct worker *w, struct session *s);
/* It has to do with others now, or ends: it is not among those that rest soon. */
void session_idle_forget(struct worker *w, struct session *s);
uint64_t session_idle_due_us(const struct worker *w);
void session_woken(struct worker *w, struct tcp_conn *conn);
struct session *session_wake(struct worker *w, uint32_t record);
uint64_t session_rest_number(const struct worker *w, uint32_t record);
uint32_t session_rests_run(struct worker *w, uint32_t max);
/* When the worker ends: what lies outside of the record goes. */
void session_rest_drop(struct worker *w, uint32_t record);
uint32_t session_rest_user_octets(void);
uint32_t session_rest_octets_each(void); /* in all: record, slot, places in tables, mark */

/* session.c: a client's session: its time, its octets out, its end, what happens to it */
/* When something is due of it that no segment brings; UINT64_MAX: never. */
uint64_t session_due_us(const struct worker *w, const struct session *s);
void session_arm(struct worker *w, struct session *s);
void session_timer(struct worker *w, struct session *s);
void session_client_event(struct worker *w, struct session *s, uint32_t events);
void session_flush_client(struct worker *w, struct session *s);
/* The session's listener in the snapshot in force; NULL and LISTENER_NONE: it is there no more. */
const struct conf_listener *session_listener(struct worker *w, struct session *s, uint32_t *index);
/* What its dialogue borrows; room for it where it is the session's own. */
const struct smtp_env *session_env_anew(struct worker *w, struct session *s, struct smtp_env *room);
static inline const struct smtp_env *
session_env(struct worker *w, struct session *s, struct smtp_env *room)
{
	if (s->listener_generation == w->snapshot->generation && s->listener != LISTENER_NONE &&
		(w->with_tls >> s->listener & 1) == 0)
		return &w->env[s->listener];
	return session_env_anew(w, s, room);
}
/* Its stream changes nothing and holds nothing: where neither side has octets it need not be asked. */
static inline bool
session_in_clear(const struct session *s)
{
	return s->stream == stream_identity();
}
void session_client_lost(struct worker *w, struct session *s, const char *why);
void session_maybe_free(struct worker *w, struct session *s);
void session_kept_drop(struct worker *w, struct session *s);
/* Strangers are many and slots or blocks are few: a session that has come to nothing yet is told 421, which counts as why. */
void session_give_way(struct worker *w, struct session *s, enum counter why);
/* The last reply is queued: it goes out, the client has a moment to close first. */
void session_close(struct worker *w, struct session *s, const char *why);
/* That moment is over: our side of the connection ends. */
void session_finish_close(struct worker *w, struct session *s);
void session_drain(struct worker *w, struct session *s);

/* session_begin.c: a connection becomes a session */
void session_accept(struct worker *w, struct tcp_conn *conn);
void session_begin(struct worker *w, struct session *s);
void session_greet(struct worker *w, struct session *s);

/* session_dialogue.c: what the client says, and what is answered */
void session_pump(struct worker *w, struct session *s);
/* The same right behind session_relay_run(). */
void session_pump_behind_relay(struct worker *w, struct session *s);
/* Does what the dialogue asks for. */
void session_act(struct worker *w, struct session *s, enum smtp_action action);
/* What the client sends now goes on to the backend, so far as there is room. */
bool session_wants_body_room(const struct session *s);
/* Octets of what is held were taken. */
void session_take_held(struct worker *w, struct session *s, uint32_t octets);
void session_answer_rcpt(struct worker *w, struct session *s, const struct smtp_reply *r);
void session_answer_text(struct worker *w, struct session *s, uint16_t code, const char *enhanced, const char *text);

/* session_plain.c: the short way of a session in clear and without a backend that waits for a command */
/* Serves it, if that is what it is; false: it is not, and nothing was done. */
bool session_plain(struct worker *w, struct session *s, uint32_t events);
/* What is said goes out and the timer stands, when a step of such a session was done; what is left is the pump's. */
void session_plain_settle(struct worker *w, struct session *s);

/* session_body.c: the short way of a message's octets, from a client in clear to a backend in clear */
/* As session_plain(), for these. */
bool session_body(struct worker *w, struct session *s, uint32_t events);
/* Whether such octets are all it waits for. */
bool session_awaits_body(const struct session *s);
/* Views of a message to the backend, whose room was asked for; *sent grows by their octets. False: no buffer is left, and the session is lost. */
bool session_body_send(
	struct worker *w, struct session *s, const struct buf_view *body, uint32_t n_body, uint32_t *sent);

/* In clear, its client's turn, and nobody else has a part in it. */
static inline bool
session_is_plain(const struct session *s)
{
	return s->wait == SESSION_WAIT_NONE && session_in_clear(s) && s->client.conn != NULL && s->relay == NULL &&
	       s->held.len_octets == 0 && !s->is_submission && !s->client_eof && !s->poke && !s->unfinished &&
	       s->linger_due_us == 0;
}

/* session_judge.c: the client's verdict and the recipient's */
void session_ask_verdict(struct worker *w, struct session *s);
void session_verdict_answer(struct worker *w, const struct link_answer_client *a);
void session_verdict_late(struct worker *w, struct session *s);
/* The session of a number an answer carries; NULL and counted when it is none any more. session_idle() is due when it was served. */
struct session *session_of_answer(struct worker *w, uint64_t number);
/* When the wait for DNS is over. */
uint64_t session_verdict_due_us(const struct session *s);

/* session_rcpts.c: when recipients are judged */
bool session_rcpts_create(struct worker *w);
void session_rcpts_destroy(struct worker *w);
void session_rcpts_memory(struct memory_list *l);
/* The recipient in hand, at once; or with the others of this turn, in SESSION_WAIT_TURN until then. */
void session_rcpt(struct worker *w, struct session *s);
void session_rcpt_soon(struct worker *w, struct session *s);
/* Judges those that wait. No session is in the middle of a step. */
void session_rcpts_judge(struct worker *w);

/* session_names.c: what lists of names say */
void session_names_begin(struct session *s);
void session_names_ask(struct worker *w, struct session *s);
void session_names_answer(struct worker *w, const struct link_answer_names *a);

bool session_is_stranger(const struct worker *w, const struct ip_addr *client);
/* The question about rcpt; its texts are borrowed from the session. */
struct policy_question session_question(struct worker *w, struct session *s, const char *from, const char *rcpt);
/* What the policy's answer about q comes to, which stands in s->answer. */
void session_rcpt_judged(struct worker *w, struct session *s, const struct policy_question *q);
void session_data_null_sender(struct worker *w, struct session *s, uint32_t *wait_s, uint64_t *ref);
bool session_may_splice(struct worker *w, const struct session *s);
bool session_syn_refused(struct worker *w, const struct net_seg *seg);
bool session_connect_refused(struct worker *w, struct session *s, bool *waits);
void session_message_done(struct worker *w, struct session *s, bool delivered);
void session_rcpt_undo(struct worker *w, struct session *s);

/* session_relay.c: the backend's side: which one, and the turns of the conversation with it */
void session_relay_rcpt(struct worker *w, struct session *s);
void session_relay_auth(struct worker *w, struct session *s);
void session_relay_event(struct worker *w, struct session *s, uint32_t events);
void session_relay_run(struct worker *w, struct session *s);
/* Whether that would do anything, now that a relay that had nothing more to do was perhaps given something. */
bool session_relay_is_due(const struct session *s);
/* A step of the handshake with the backend has its turn. */
void session_relay_turn(struct worker *w, struct session *s);
/* The next backend of the pool that was not tried for this recipient; answers the client itself when there is none. */
void session_relay_next(struct worker *w, struct session *s, const struct conf_pool *pool);
void session_auth_next(struct worker *w, struct session *s);
void session_auth_failed(struct worker *w, struct session *s);
void session_authenticated_lost(struct worker *w, struct session *s);
/* Where the snapshot in force has the backend of this id; UINT32_MAX: it has not. */
uint32_t session_backend_index(const struct worker *w, uint32_t id);
const struct conf_pool *session_pool(struct worker *w, struct session *s, uint16_t *index);

/* session_backend.c: its connection */
/* Whether a handshake with the backend is due or under way. */
bool session_backend_shakes(const struct session *s);
bool session_backend_open(struct worker *w, struct session *s, uint32_t index, bool probe_works);
void session_backend_start_tls(struct worker *w, struct session *s);
void session_backend_begin_tls(struct worker *w, struct session *s);
bool session_backend_feed(struct worker *w, struct session *s);
void session_backend_drop(struct session *s, bool abort_it);
void session_relay_quit(struct worker *w, struct session *s);
void session_relay_abort(struct worker *w, struct session *s);
void session_relay_put(struct worker *w, struct session *s);
void session_relay_flush(struct worker *w, struct session *s);
uint32_t session_relay_room(const struct session *s);
uint32_t session_relay_send(struct worker *w, struct session *s, const struct buf_view *v);
void session_relay_stream_end(struct session *s);

/* session_replies.c: what it said */
void session_rcpt_replied(struct worker *w, struct session *s);
void session_data_replied(struct worker *w, struct session *s);
void session_message_or_body_replied(struct worker *w, struct session *s);
void session_backend_failed(struct worker *w, struct session *s);
void session_backend_closed(struct worker *w, struct session *s);

/* conn_stream.c: octets to a backend through a stream */
uint32_t conn_stream_send(struct tcp_conn *conn, struct stream *stream, struct buf_view plain, uint64_t now_us);

/* session_proxy.c: the header of a trusted load balancer */
bool session_proxy_expected(const struct conf_listener *l, const struct ip_addr *peer);
void session_proxy_begin(struct worker *w, struct session *s);
void session_proxy_run(struct worker *w, struct session *s);
void session_proxy_event(struct worker *w, struct session *s, uint32_t events);
void session_proxy_refuse(struct worker *w, struct session *s, const char *why);

/* session_tls.c: handshakes with clients */
void session_tls_env(struct worker *w, struct session *s, const struct conf_listener *l, struct smtp_env *env);
bool session_tls_implicit(struct worker *w, struct session *s);
/* A step of a handshake, with the client or with the backend, waits for its turn; counted as which where it does not wait already. */
void session_tls_enqueue(struct worker *w, struct session *s, enum counter which);
void session_tls_starttls(struct worker *w, struct session *s);
void session_tls_run(struct worker *w, struct session *s);
void session_tls_gone(struct worker *w, struct session *s, enum counter why, const char *word);
void session_tls_forget(struct worker *w, struct session *s);
bool session_tls_serve(struct worker *w);
const char *session_tls_word(const struct session *s, char *out, uint32_t octets);

/* session_splice.c: submission, known clients */
void session_splice_begin(struct worker *w, struct session *s);
void session_splice_event(struct worker *w, struct session *s, enum end_kind from, uint32_t events);
void session_splice_timer(struct worker *w, struct session *s);
uint64_t session_splice_deadline_us(const struct session *s);

/* probes.c: worker 0 asks the backends */
void probes_run(struct worker *w);
void probes_event(struct worker *w, struct probe *p, uint32_t events);
void probes_request(struct worker *w, uint32_t backend_id, bool relaytest);
uint64_t probes_deadline_us(const struct worker *w);
void probes_keys(struct worker *w, const struct link_answer_keys *q);
void probes_fini(struct worker *w);

/* orphans.c: what a killed life left open */
int orphans_init(struct worker *w, struct tcp_mark *marks, uint32_t n_conns);
void orphans_run(struct worker *w);
void orphans_fini(struct worker *w);

/* wlog.c: log lines as events */
void wlog_rcpt(struct worker *w, struct session *s, const struct smtp_reply *r);
void wlog_message(struct worker *w, struct session *s, const char *words, const char *result, const char *stage);
void wlog_session(struct worker *w, struct session *s);
void wlog_notice(struct worker *w, const char *text);
/* The second handshake of a client failed. */
void wlog_tls_hidden(struct worker *w, const struct session *s, bool would);
/* The last of n connections refused since the line before, and the counter that says why. */
void wlog_refused(struct worker *w, const struct ip_addr *client, const char *why, uint32_t n);
/* Whether one more SYN refused by its address has a line of its own (WLOG_SYNS_PER_S); if not it is counted in the next summary. */
bool wlog_syn_allowed(struct worker *w);
void wlog_syn_refused(
	struct worker *w, const char *listener, const struct ip_addr *client, const struct policy_answer *a);
void wlog_flush(struct worker *w);
void wlog_name(struct worker *w, const struct policy_answer *a, const char *from, uint32_t from_octets,
	const char *rcpt, uint32_t rcpt_octets);

#endif
