/*
 * session.c - one client's session: carries octets between its connection, its dialogue and its backend.
 *
 * Flow:   tcp -> stream -> smtp_session -> (judge | relay) -> smtp_session -> stream -> tcp
 * Touches: nothing but the worker's own state.
 * Keeps:  a session waits for at most one thing (enum session_wait), and then some deadline is armed; while it waits no command of
 *         the client is looked at; message octets are handed on as views, never copied here; what the client sent and nobody has
 *         taken yet is one held view, so TCP's window closes by itself.
 * Source: POLICY section 6.
 *
 * Ends: the client's connection and the backend's end each for itself; session_maybe_free() frees when both are gone.
 */
#include "dataplane/worker/worker_impl.h"

#include "dataplane/base/bug.h"

#define SESSION_OVERTIME_US 1000000
#define OUT_PIECE_OCTETS    2048
#define OUT_ROOM_MIN_OCTETS 20480 /* a whole record of a stream with its framing; less room waits for TCP_EV_WRITABLE */

/* The memory of a transaction's recipients goes back with the transaction: idle sessions must not hold it. */
void
session_kept_drop(struct worker *w, struct session *s)
{
	if (s->kept_rcpts == NULL)
		return;
	pool_put(&w->kepts, pool_index(&w->kepts, s->kept_rcpts));
	s->kept_rcpts = NULL;
}

void
session_maybe_free(struct worker *w, struct session *s)
{
	if (!s->live || s->client.conn != NULL || s->backend.conn != NULL || s->relay != NULL)
		return;
	wlog_session(w, s);
	wheel_cancel(&w->wheel, &s->timer);
	buf_unref(w->io->pool, s->held.buf);
	s->held = (struct buf_view){ 0 };
	session_tls_forget(w, s);
	session_idle_forget(w, s);
	if (s->stream != NULL)
		s->stream->ops->destroy(s->stream);
	s->stream = NULL;
	session_kept_drop(w, s);
	admission_leave(w, s);
	session_store_put(w, s);
	counter_inc(w->counters, CTR_worker_sessions_ended);
}

/* ---- time ---- */

static bool
waits_for_verdict(const struct session *s)
{
	return s->wait == SESSION_WAIT_VERDICT || s->wait == SESSION_WAIT_NAME ||
	       s->wait == SESSION_WAIT_CONNECT_VERDICT;
}

uint64_t
session_due_us(const struct worker *w, const struct session *s)
{
	uint64_t due = UINT64_MAX;
	const struct smtp_env *env = worker_env(w, LISTENER_NONE); /* a deadline asks for the configuration alone */

	if (s->unfinished) /* it took its share of a turn, and perhaps nothing happens that would serve it again */
		due = w->now_us;
	if (waits_for_verdict(s))
		due = MIN(due, session_verdict_due_us(s));
	if (s->wait == SESSION_WAIT_GREET_PAUSE || s->wait == SESSION_WAIT_PROXY || s->wait == SESSION_WAIT_TLS)
		due = MIN(due, s->pause_due_us);
	if (s->linger_due_us != 0)
		due = MIN(due, s->linger_due_us);
	if (s->is_submission) {
		due = MIN(due, session_splice_deadline_us(s));
	} else {
		if (s->client.conn != NULL) {
			if (s->wait == SESSION_WAIT_NONE) /* else the dialogue is not asked: an answer of ours is due */
				due = MIN(due, smtp_session_deadline_us(s->smtp, env));
			due = MIN(due, s->stream->ops->deadline_us(s->stream));
			if (env->conf->session_max_s != 0) {
				const uint64_t end_us = s->accepted_us + env->conf->session_max_s * UINT64_C(1000000);

				/* past it inside a message: looked at again now and then, until the message ended */
				due = MIN(due, end_us > w->now_us ? end_us : w->now_us + SESSION_OVERTIME_US);
			}
		}
		if (s->relay != NULL)
			due = MIN(due, relay_deadline_us(s->relay->relay));
		if (s->backend_stream != NULL)
			due = MIN(due, s->backend_stream->ops->deadline_us(s->backend_stream));
	}
	return due;
}

void
session_arm(struct worker *w, struct session *s)
{
	uint64_t due;

	if (!s->live)
		return;
	due = session_due_us(w, s);
	s->timer_stands = false;
	if (due == UINT64_MAX) {
		wheel_cancel(&w->wheel, &s->timer);
		return;
	}
	s->timer_stands = session_is_plain(s) && smtp_session_awaits_command(s->smtp);
	wheel_arm(&w->wheel, &s->timer, MAX(due, w->now_us + 1000)); /* never again within this turn */
}

/* ---- the client's end ---- */

static uint32_t
listener_index(struct worker *w, struct session *s)
{
	if (s->listener_generation != w->snapshot->generation) {
		worker_listener_of(w, &s->flow, &s->listener);
		s->listener_generation = w->snapshot->generation;
		s->timer_stands = false; /* periods may have become shorter */
	}
	return s->listener;
}

const struct conf_listener *
session_listener(struct worker *w, struct session *s, uint32_t *index)
{
	*index = listener_index(w, s);
	return s->listener != LISTENER_NONE ? &w->snapshot->listeners[s->listener] : NULL;
}

const struct smtp_env *
session_env_anew(struct worker *w, struct session *s, struct smtp_env *room)
{
	const uint32_t listener = listener_index(w, s);
	const struct smtp_env *env = worker_env(w, listener);

	if (listener == LISTENER_NONE || (w->with_tls >> listener & 1) == 0)
		return env;
	*room = *env;
	session_tls_env(w, s, &w->snapshot->listeners[listener], room);
	return room;
}

/* Its stream changes nothing and holds nothing: where neither side has octets it need not be asked. */
static bool
is_plain(const struct session *s)
{
	return s->stream == stream_identity();
}

/* Octets of wire to the connection, whose room was looked at before. False: the pool is empty, and the client is lost. */
static bool
send_wire(struct worker *w, struct session *s, const struct buf_view *wire)
{
	if (wire->len_octets == 0 || tcp_send(s->client.conn, wire) == wire->len_octets)
		return true;
	counter_inc(w->counters, CTR_worker_reply_cut);
	session_client_lost(w, s, "no-buffer");
	return false;
}

/* One step out: what the dialogue says, or what the stream says by itself. True when something moved. */
static bool
push_client(struct worker *w, struct session *s)
{
	const struct buf_view plain = smtp_session_output_peek(s->smtp);
	struct buf_view wire;
	const uint32_t used = stream_wrap(s->stream, &plain, &wire, w->now_us);

	if (!send_wire(w, s, &wire))
		return false;
	smtp_session_output_drop(s->smtp, used);
	return used > 0 || wire.len_octets > 0;
}

/* Of a stream that changes nothing all goes in one piece. */
static void
flush_plain(struct worker *w, struct session *s)
{
	const struct buf_view out = smtp_session_output_peek(s->smtp);

	if (out.len_octets == 0 || s->client.conn == NULL || tcp_send_room(s->client.conn) < OUT_ROOM_MIN_OCTETS)
		return; /* nothing, as after every second step */
	if (send_wire(w, s, &out))
		smtp_session_output_drop(s->smtp, out.len_octets);
}

/* Gives what there is to say to the connection, as far as there is room. */
void
session_flush_client(struct worker *w, struct session *s)
{
	if (is_plain(s)) {
		flush_plain(w, s);
		return;
	}
	while (s->client.conn != NULL && tcp_send_room(s->client.conn) >= OUT_ROOM_MIN_OCTETS)
		if (!push_client(w, s))
			return;
}

/* The client's connection is over for us: nothing of it is used any more. */
static void
drop_client(struct worker *w, struct session *s, bool abort_it)
{
	(void)w;
	if (s->client.conn == NULL)
		return;
	if (abort_it)
		tcp_abort(s->client.conn);
	else
		tcp_close(s->client.conn);
	tcp_conn_set_user(s->client.conn, NULL);
	tcp_release(s->client.conn);
	s->client.conn = NULL;
	s->client_gone = true;
}

/*
 * The client is gone without QUIT. Inside a message the backend's connection is aborted, so that it never takes half a message for a
 * whole one; after the final dot its answer is awaited (it has the message, or will have).
 */
void
session_client_lost(struct worker *w, struct session *s, const char *why)
{
	const bool in_message = s->begun && !s->is_submission && smtp_session_eof(s->smtp);

	s->end_reason = why;
	if (s->stream != NULL && s->client.conn != NULL && s->stream->peer_eof) { /* close_notify is answered by ours */
		s->stream->ops->shutdown(s->stream);
		session_flush_client(w, s);
	}
	/* behind words of TLS by FIN, so that they arrive */
	drop_client(w, s, s->stream == NULL || !(s->stream->failed || s->stream->peer_eof));
	if (s->wait == SESSION_WAIT_BACKEND_DOT) {
		session_arm(w, s);
		return;
	}
	s->wait = SESSION_WAIT_CLOSE;
	if (s->relay != NULL) {
		if (in_message || s->message_open || s->is_submission)
			session_relay_abort(w, s);
		else
			session_relay_quit(w, s);
	}
	session_maybe_free(w, s);
	session_arm(w, s); /* a backend that does not answer QUIT has until linger_due_us */
}

void
session_close(struct worker *w, struct session *s, const char *why)
{
	if (s->wait == SESSION_WAIT_CLOSE)
		return;
	s->wait = SESSION_WAIT_CLOSE;
	s->end_reason = why;
	s->linger_due_us = w->now_us + CLOSE_LINGER_US;
	if (s->relay != NULL)
		session_relay_quit(w, s);
}

static void
finish_close(struct worker *w, struct session *s)
{
	s->stream->ops->shutdown(s->stream);
	session_flush_client(w, s);
	if (!s->live || s->client.conn == NULL)
		return;
	s->linger_due_us = s->relay != NULL ? w->now_us + BACKEND_LINGER_US : 0;
	drop_client(w, s, false);
	session_maybe_free(w, s);
}

/* ---- the dialogue ---- */

/* The next plain octets: what is held, or what the stream makes of what arrived. False when there are none. */
static bool
next_plain(struct worker *w, struct session *s)
{
	struct buf_view wire = { 0 }, plain = { 0 };
	uint32_t used;

	if (s->held.len_octets > 0)
		return true;
	if (s->client.conn == NULL || (is_plain(s) && tcp_readable_octets(s->client.conn) == 0))
		return false;
	tcp_peek(s->client.conn, &wire, 1);
	used = stream_unwrap(s->stream, &wire, &plain, w->now_us);
	if (plain.len_octets > 0) {
		/* held by a reference of our own: the view is lent only until tcp or the stream is called again */
		buf_ref(w->io->pool, plain.buf);
		s->held = plain;
	}
	if (used > 0)
		tcp_consume(s->client.conn, used);
	return s->held.len_octets > 0 || used > 0;
}

void
session_take_held(struct worker *w, struct session *s, uint32_t octets)
{
	s->held.ptr += octets;
	s->held.len_octets -= octets;
	if (s->held.len_octets == 0) {
		buf_unref(w->io->pool, s->held.buf);
		s->held = (struct buf_view){ 0 };
	}
}

static void
begin_transaction(struct worker *w, struct session *s)
{
	s->txn_failed = false;
	s->txn_has_pool = false;
	s->message_open = false;
	s->rcpts_accepted = 0;
	s->message_ref = 0;
	s->message_backend[0] = '\0';
	session_kept_drop(w, s);
}

static void
data_begins(struct worker *w, struct session *s)
{
	struct smtp_env env_room;
	const struct smtp_env *env;
	struct smtp_reply r;
	uint32_t wait_s = 0;
	uint64_t ref = 0;

	env = session_env(w, s, &env_room);
	if (!s->message_open) { /* a later chunk of a message was judged with its first */
		snprintf(s->message_from, sizeof(s->message_from), "%s", smtp_session_envelope(s->smtp)->from.text);
		if (!smtp_session_is_authenticated(s->smtp))
			session_data_null_sender(w, s, &wait_s, &ref);
	}
	if (wait_s > 0) {
		smtp_reply_setf(&r, 451, "4.7.1", "Greylisted, please try again in %u seconds", wait_s);
		smtp_session_data_answer(s->smtp, env, &r, w->now_us);
		s->poke = true;
		if (s->relay != NULL)
			relay_reset(s->relay->relay, w->now_us);
		begin_transaction(w, s);
		return;
	}
	if (s->txn_failed || s->relay == NULL ||
		(smtp_session_uses_bdat(s->smtp) &&
			(relay_ext(s->relay->relay) & EXT_CHUNKING) == 0)) { /* it had CHUNKING when it was offered */
		if (s->relay != NULL)
			session_relay_abort(w, s);
		smtp_reply_set(&r, 451, "4.3.0", "Mail server temporarily unavailable, please try again later");
		smtp_session_data_answer(s->smtp, env, &r, w->now_us);
		s->poke = true;
		begin_transaction(w, s);
		return;
	}
	if (smtp_session_uses_bdat(s->smtp)) {
		bool last = false;
		const uint64_t octets = smtp_session_chunk(s->smtp, &last);

		/* the octets follow at once: the backend answers a chunk as a whole */
		relay_bdat(s->relay->relay, octets, last, w->now_us);
		smtp_reply_set(&r, 354, NULL, "go on");
		s->message_open = true;
		smtp_session_data_answer(s->smtp, env, &r, w->now_us);
		s->poke = true;
		return;
	}
	s->wait = SESSION_WAIT_BACKEND_DATA;
	relay_data(s->relay->relay, w->now_us);
}

static void
body_ends(struct worker *w, struct session *s)
{
	s->octets += smtp_session_message_octets(s->smtp);
	if (s->relay == NULL)
		return; /* it failed inside the data: the dialogue has its answer already */
	s->wait = SESSION_WAIT_BACKEND_DOT;
	relay_body_sent(s->relay->relay, 0, true, w->now_us);
}

void
session_act(struct worker *w, struct session *s, enum smtp_action action)
{
	switch (action) {
	case SMTP_ACTION_NONE:
	case SMTP_ACTION_EHLO:
		break;
	case SMTP_ACTION_MAIL:
		begin_transaction(w, s);
		session_names_begin(s);
		break;
	case SMTP_ACTION_RCPT:
		s->tried = 0;
		s->backend_words[0] = s->lost_backend[0] = '\0';
		s->rcpt_begun_us = w->now_us;
		session_rcpt(w, s);
		break;
	case SMTP_ACTION_AUTH:
		s->tried = 0;
		s->rcpt_begun_us = s->rcpt_us = w->now_us;
		session_relay_auth(w, s);
		break;
	case SMTP_ACTION_AUTH_LINE:
		if (s->relay != NULL) {
			s->wait = SESSION_WAIT_BACKEND_AUTH;
			relay_body_sent(s->relay->relay, 0, true, w->now_us);
		}
		break;
	case SMTP_ACTION_DATA:
		data_begins(w, s);
		break;
	case SMTP_ACTION_BODY_END:
		body_ends(w, s);
		break;
	case SMTP_ACTION_CHUNK_END:
		if (s->relay != NULL) {
			s->wait = SESSION_WAIT_BACKEND_DATA;
			relay_body_sent(s->relay->relay, 0, true, w->now_us);
		}
		break;
	case SMTP_ACTION_ABORT:
		if (s->relay != NULL)
			session_relay_abort(w, s);
		break;
	case SMTP_ACTION_RESET:
		begin_transaction(w, s);
		if (s->relay != NULL)
			relay_reset(s->relay->relay, w->now_us);
		s->poke =
			true; /* STARTTLS may be what ended it: told at once, before octets come that are TLS already */
		break;
	case SMTP_ACTION_STARTTLS:
		session_tls_starttls(w, s);
		break;
	case SMTP_ACTION_QUIT:
		session_close(w, s, "quit");
		break;
	case SMTP_ACTION_CLOSE:
		session_close(w, s, "closed");
		break;
	}
}

static bool
wants_body_room(const struct session *s)
{
	return smtp_session_state(s->smtp) == SMTP_ST_DATA || smtp_session_state(s->smtp) == SMTP_ST_AUTH;
}

/* One step of the client's octets. True when something moved. */
static bool
client_step(struct worker *w, struct session *s)
{
	struct buf_view body[SMTP_BODY_VIEWS_MAX];
	enum smtp_action action = SMTP_ACTION_NONE;
	uint32_t n_body = 0, used, room = UINT32_MAX, sent = 0;
	struct smtp_env env_room;
	const struct smtp_env *env;
	bool in_auth;

	if (s->wait != SESSION_WAIT_NONE || s->client.conn == NULL)
		return false;
	if (smtp_session_output_pending(s->smtp) > OUT_PIECE_OCTETS)
		return false; /* a client that does not read its replies is not read from */
	if (wants_body_room(s)) {
		room = s->relay != NULL ? session_relay_room(s) : 0;
		if (room < SMTP_BODY_ROOM_MIN_OCTETS)
			return false;
	}
	if (!next_plain(w, s) && !s->poke)
		return false;
	if (s->held.len_octets == 0 && !s->poke)
		return true; /* a part of a record: there may be more of it */
	s->poke = false;
	in_auth = smtp_session_state(s->smtp) == SMTP_ST_AUTH;
	env = session_env(w, s, &env_room);
	used = smtp_session_input(s->smtp, env, &s->held, room, body, &n_body, &action, w->now_us);
	for (uint32_t i = 0; i < n_body; i++) {
		uint32_t took = s->backend.conn != NULL ? session_relay_send(w, s, &body[i]) : 0;

		if (took != body[i].len_octets) {
			/* the room was asked for: only an exhausted pool gets us here */
			counter_inc(w->counters, CTR_worker_body_cut);
			session_client_lost(w, s, "no-buffer");
			return false;
		}
		sent += took;
	}
	if (sent > 0) {
		s->message_open = s->message_open || !in_auth;
		relay_body_sent(s->relay->relay, sent, false, w->now_us);
	}
	if (s->held.len_octets > 0)
		session_take_held(w, s, used);
	session_act(w, s, action);
	return used > 0 || action != SMTP_ACTION_NONE;
}

static void
client_eof(struct worker *w, struct session *s)
{
	if (s->wait == SESSION_WAIT_CLOSE) {
		finish_close(w, s);
		return;
	}
	if (s->held.len_octets > 0 || tcp_readable_octets(s->client.conn) > 0)
		return; /* what it said before it closed is worked on first */
	if (s->stream->is_tls && !s->stream->peer_eof)
		counter_inc(w->counters, CTR_tls_no_close_notify);
	if (s->wait == SESSION_WAIT_NONE || s->wait == SESSION_WAIT_GREET_PAUSE ||
		s->wait == SESSION_WAIT_CONNECT_VERDICT)
		session_client_lost(w, s, "client-closed");
	/* else an answer is due: the half-closed client gets it, then the dialogue finds nothing more to read */
}

/* Whether another step may find anything, after one that moved: in clear and without a backend only octets that wait, or an answer of ours. */
static bool
has_more(const struct session *s)
{
	return s->poke || s->held.len_octets > 0 || s->relay != NULL || !is_plain(s) || s->client.conn == NULL ||
	       tcp_readable_octets(s->client.conn) > 0;
}

/* Whether the client's stream may have more to give since something went out: one of TLS reads nothing while too much of its own is unsent. */
static bool
flush_moved(struct worker *w, struct session *s)
{
	const uint32_t unsent =
		!is_plain(s) && s->client.conn != NULL && s->stream->is_tls ? tcp_send_room(s->client.conn) : 0;

	session_flush_client(w, s);
	return unsent != 0 && s->client.conn != NULL && tcp_send_room(s->client.conn) != unsent;
}

void
session_pump(struct worker *w, struct session *s)
{
	bool moved = true;

	if (s->wait == SESSION_WAIT_TLS) {
		session_tls_run(w, s);
		if (!s->live || s->wait == SESSION_WAIT_TLS)
			return;
	}
	for (uint32_t i = 0; moved && s->live && i < SESSION_PUMP_MAX; i++) {
		moved = client_step(w, s);
		if (!s->live)
			return;
		if (s->relay != NULL)
			session_relay_run(w, s);
		if (!s->live)
			return;
		moved |= flush_moved(w, s);
		moved = moved && has_more(s);
	}
	if (!s->live)
		return;
	s->unfinished = moved;
	if (s->stream->failed) {
		counter_inc(w->counters, stream_tls_failure(s->stream) == STREAM_TLS_ALERT    ? CTR_tls_alerts
					 : stream_tls_failure(s->stream) == STREAM_TLS_MEMORY ? CTR_tls_failed_memory
											      : CTR_tls_broken);
		session_client_lost(w, s, "stream");
	}
	if (s->live && (s->client_eof || s->stream->peer_eof) && s->client.conn != NULL)
		client_eof(w, s);
	if (s->live)
		session_arm(w, s);
}

/* ---- events ---- */

/* Nothing stands against this client any more: the banner, on an implicit listener after the handshake. */
void
session_greet(struct worker *w, struct session *s)
{
	struct smtp_env env_room;
	const struct smtp_env *env;

	if (s->tls_implicit && !s->stream->is_tls) {
		if (!session_tls_implicit(w, s))
			return;
		session_tls_run(w, s);
		return;
	}
	env = session_env(w, s, &env_room);
	s->wait = SESSION_WAIT_NONE;
	smtp_session_greet(s->smtp, env, w->now_us);
}

/* The banner: at once, after the greet pause (strangers only), or when the client's verdict decides about refusing it. */
static void
begin_dialogue(struct worker *w, struct session *s)
{
	bool waits = false;
	const struct conf *conf = w->snapshot->conf;
	struct smtp_env env_room;
	const struct smtp_env *env;

	if (session_connect_refused(w, s, &waits)) {
		if (s->tls_implicit) /* a banner in plain text is no answer here, and a handshake is more than it gets */
			session_client_lost(w, s, "refused");
		return;
	}
	if (waits) {
		s->wait = SESSION_WAIT_CONNECT_VERDICT;
		return;
	}
	if (conf->greet_pause_ms != 0 && !s->tls_implicit && s->verdict.known != CLIENT_KNOWN && !s->good &&
		!admission_mark(w, MARK_slots) && !admission_mark(w, MARK_silent)) {
		env = session_env(w, s, &env_room);
		smtp_session_tease(s->smtp, env); /* who takes a line for the whole banner shows it now */
		s->wait = SESSION_WAIT_GREET_PAUSE;
		s->pause_due_us = w->now_us + conf->greet_pause_ms * UINT64_C(1000);
		return;
	}
	session_greet(w, s);
}

static void
refuse_conn(struct worker *w, struct tcp_conn *conn, enum counter why)
{
	counter_inc(w->counters, why);
	tcp_conn_set_user(conn, NULL);
	tcp_abort(conn);
	tcp_release(conn);
}

/* Answered by 421 as soon as the dialogue can say it; by a reset where such sessions would take the slots or blocks of others. */
static void
refuse_over_limit(struct worker *w, struct session *s, const struct smtp_env *env, enum counter why)
{
	struct smtp_reply r;

	if (w->n_live > w->n_slots / OVER_LIMIT_POLITE_SHARE || s->tls_implicit || why == CTR_worker_blocks_for_known) {
		session_client_lost(w, s, "over-limit");
		return;
	}
	smtp_reply_setf(&r, 421, NULL, "%s %s, please try again later", env->conf->hostname,
		why == CTR_worker_over_share || why == CTR_worker_strangers_full ||
				why == CTR_worker_strangers_no_buffers
			? "Too busy"
			: "Too many connections from your address");
	smtp_session_refuse(s->smtp, env, &r, w->now_us);
	session_close(w, s, "over-limit");
}

/* Who the client is stands: everything that asks, counts or says begins here. */
void
session_begin(struct worker *w, struct session *s)
{
	uint32_t listener;
	const struct conf_listener *l = session_listener(w, s, &listener);
	enum counter over;

	if (l == NULL) { /* removed while a proxy's header was awaited */
		counter_inc(w->counters, CTR_worker_no_listener);
		session_client_lost(w, s, "no-listener");
		return;
	}
	s->begun = true;
	over = admission_enter(w, s);
	if (l->role == ROLE_SUBMISSION) {
		s->is_submission = true;
		if (over != COUNTER_N) {
			session_client_lost(w, s, "over-limit");
			return;
		}
		session_splice_begin(w, s);
		if (s->live)
			session_arm(w, s);
		return;
	}
	s->tls_implicit = l->tls == LISTENER_TLS_IMPLICIT;
	smtp_session_init(s->smtp, worker_env(w, listener), w->now_us);
	if (over != COUNTER_N) {
		refuse_over_limit(w, s, worker_env(w, listener), over);
	} else if (session_may_splice(w, s)) {
		counter_inc(w->counters, CTR_worker_known_spliced);
		s->is_submission = true;
		session_splice_begin(w, s);
		if (s->live)
			session_arm(w, s);
		return;
	} else {
		session_ask_verdict(w, s);
		begin_dialogue(w, s);
	}
	if (s->live && session_is_plain(s))
		session_plain_settle(w, s);
	else if (s->live)
		session_pump(w, s);
}

void
session_accept(struct worker *w, struct tcp_conn *conn)
{
	const struct conf_listener *l;
	struct session *s;
	uint32_t listener;

	l = worker_listener_of(w, tcp_conn_flow(conn), &listener);
	if (l == NULL) {
		refuse_conn(w, conn, CTR_worker_no_listener);
		return;
	}
	s = session_store_get(w);
	if (s == NULL) {
		refuse_conn(w, conn, CTR_worker_sessions_full);
		return;
	}
	counter_inc(w->counters, CTR_worker_sessions_begun);
	s->flow = *tcp_conn_flow(conn);
	s->client.conn = conn;
	s->accepted_us = w->now_us;
	s->stream = w->conf.stream_create != NULL ? w->conf.stream_create(w->conf.stream_arg) : stream_identity();
	memcpy(s->listener_name, l->name, sizeof(s->listener_name));
	tcp_conn_set_user(conn, &s->client);
	s->told_local = s->flow.local;
	s->told_local_port = s->flow.local_port;
	if (session_proxy_expected(l, &s->flow.remote))
		session_proxy_begin(w, s);
	else
		session_begin(w, s);
}

void
session_client_event(struct worker *w, struct session *s, uint32_t events)
{
	if (session_plain(w, s, events))
		return;
	if (s->wait == SESSION_WAIT_PROXY) {
		session_proxy_event(w, s, events);
		return;
	}
	if (s->is_submission) {
		session_splice_event(w, s, END_CLIENT, events);
		if (s->live)
			session_arm(w, s);
		return;
	}
	if (s->wait == SESSION_WAIT_TLS && events & (TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_CLOSED)) {
		session_tls_gone(w, s, CTR_tls_failed_gone, "tls-gone");
		return;
	}
	if (events & (TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_CLOSED)) {
		const char *why = events & TCP_EV_RESET     ? "client-reset"
		                  : events & TCP_EV_TIMEOUT ? "client-timeout"
		                                            : s->end_reason;

		session_client_lost(w, s, s->wait == SESSION_WAIT_CLOSE ? s->end_reason : why);
		return;
	}
	if (events & TCP_EV_EOF)
		s->client_eof = true;
	if (s->wait == SESSION_WAIT_CLOSE && s->client_eof && is_plain(s) && s->relay == NULL) {
		finish_close(w, s); /* as after nearly every QUIT: what would still come is read by nobody */
		if (s->live)
			session_arm(w, s);
		return;
	}
	if (s->wait == SESSION_WAIT_TLS && s->client_eof && tcp_readable_octets(s->client.conn) == 0) {
		session_tls_gone(w, s, CTR_tls_failed_gone, "tls-gone");
		return;
	}
	if (s->wait == SESSION_WAIT_CLOSE && events & TCP_EV_READABLE)
		tcp_consume(
			s->client.conn, tcp_readable_octets(s->client.conn)); /* after QUIT nothing is listened to */
	if ((s->wait == SESSION_WAIT_GREET_PAUSE || s->wait == SESSION_WAIT_CONNECT_VERDICT) &&
		events & TCP_EV_READABLE) {
		struct smtp_env env_room;
		const struct smtp_env *env;

		counter_inc(w->counters, CTR_worker_early_talkers);
		env = session_env(w, s, &env_room);
		smtp_session_early(s->smtp, env);
	}
	session_pump(w, s);
}

void
session_timer(struct worker *w, struct session *s)
{
	struct smtp_env env_room;
	const struct smtp_env *env;
	struct buf_view nothing = { 0 }, body[SMTP_BODY_VIEWS_MAX];
	enum smtp_action action = SMTP_ACTION_NONE;
	uint32_t n_body = 0;

	if (s->linger_due_us != 0 && w->now_us >= s->linger_due_us) {
		if (s->client.conn != NULL) {
			finish_close(w, s);
		} else if (s->relay != NULL) {
			session_relay_abort(w, s);
			session_maybe_free(w, s);
		}
		if (s->live)
			session_arm(w, s);
		return;
	}
	if (s->wait == SESSION_WAIT_PROXY) {
		if (w->now_us >= s->pause_due_us)
			session_proxy_refuse(w, s, "no-proxy-header");
		else
			session_arm(w, s);
		return;
	}
	if (s->is_submission) {
		session_splice_timer(w, s);
		if (s->live)
			session_arm(w, s);
		return;
	}
	if (waits_for_verdict(s) && w->now_us >= session_verdict_due_us(s)) {
		session_verdict_late(w, s);
	} else if (s->wait == SESSION_WAIT_GREET_PAUSE && w->now_us >= s->pause_due_us) {
		session_greet(w, s);
	} else if (s->wait == SESSION_WAIT_TLS && w->now_us >= s->pause_due_us) {
		session_tls_gone(w, s, CTR_tls_failed_timeout, "tls-timeout");
	} else if (s->client.conn != NULL && s->wait == SESSION_WAIT_NONE) {
		env = session_env(w, s, &env_room);
		if (env->conf->session_max_s != 0 &&
			w->now_us >= s->accepted_us + env->conf->session_max_s * UINT64_C(1000000) &&
			smtp_session_shut(s->smtp, env, "Session time limit reached", w->now_us)) {
			session_close(w, s, "session-limit");
		} else if (w->now_us >= smtp_session_deadline_us(s->smtp, env)) {
			const uint32_t room =
				wants_body_room(s) && s->relay != NULL ? session_relay_room(s) : UINT32_MAX;

			/* inside a message without room the silence is the backend's: no action, the period starts anew */
			smtp_session_input(s->smtp, env, &nothing, room, body, &n_body, &action, w->now_us);
			session_act(w, s, action);
			if (action == SMTP_ACTION_ABORT) { /* the backend must not take half a message; CLOSE follows */
				smtp_session_input(s->smtp, env, &nothing, room, body, &n_body, &action, w->now_us);
				session_act(w, s, action);
			}
			if (action == SMTP_ACTION_CLOSE)
				s->end_reason = "client-silent";
		}
	}
	if (s->live)
		session_pump(w, s);
}

/* SIGTERM: idle sessions are told 421; messages under way finish. */
void
session_drain(struct worker *w, struct session *s)
{
	struct smtp_env env_room;
	const struct smtp_env *env;

	if (s->is_submission || s->wait != SESSION_WAIT_NONE || s->client.conn == NULL)
		return;
	env = session_env(w, s, &env_room);
	if (!smtp_session_shut(s->smtp, env, "Service shutting down, please try again later", w->now_us))
		return;
	session_close(w, s, "drain");
	session_pump(w, s);
}

void
session_give_way(struct worker *w, struct session *s, enum counter why)
{
	struct smtp_env env_room;
	const struct smtp_env *env;

	if (s->wait == SESSION_WAIT_TLS) { /* a handshake that takes so long: there is no dialogue to say anything in */
		counter_inc(w->counters, why);
		session_client_lost(w, s, "gave-way");
		return;
	}
	if (s->is_submission || s->wait != SESSION_WAIT_NONE || s->client.conn == NULL)
		return;
	env = session_env(w, s, &env_room);
	if (!smtp_session_shut(s->smtp, env, "Too busy, please try again later", w->now_us)) {
		/* inside a message, or it does not read what it is told: only then it loses its connection without a word */
		if (s->rcpts_accepted == 0 && s->relay == NULL && smtp_session_output_pending(s->smtp) > 0) {
			counter_inc(w->counters, why);
			session_client_lost(w, s, "gave-way");
		}
		return;
	}
	counter_inc(w->counters, why);
	session_close(w, s, "gave-way");
	session_pump(w, s);
}

/* ---- answers to the dialogue ---- */

void
session_answer_rcpt(struct worker *w, struct session *s, const struct smtp_reply *r)
{
	struct smtp_env env_room;
	const struct smtp_env *env;

	env = session_env(w, s, &env_room);
	s->wait = SESSION_WAIT_NONE;
	wlog_rcpt(w, s, r);
	smtp_session_rcpt_answer(s->smtp, env, r, w->now_us);
	s->poke = smtp_session_has_news(s->smtp);
}

void
session_answer_text(struct worker *w, struct session *s, uint16_t code, const char *enhanced, const char *text)
{
	struct smtp_reply r;

	smtp_reply_set(&r, code, enhanced, text);
	session_answer_rcpt(w, s, &r);
}
