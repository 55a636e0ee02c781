/*
 * session.c - one client's session: its time, its octets out, its end, and what happens to it.
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
	admission_leave_soon(w, s);
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
			if (!session_in_clear(s))
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
	s->timer_stands = (session_is_plain(s) && smtp_session_awaits_command(s->smtp)) || session_awaits_body(s);
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
	if (session_in_clear(s)) {
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

void
session_finish_close(struct worker *w, struct session *s)
{
	s->stream->ops->shutdown(s->stream);
	session_flush_client(w, s);
	if (!s->live || s->client.conn == NULL)
		return;
	s->linger_due_us = s->relay != NULL ? w->now_us + BACKEND_LINGER_US : 0;
	drop_client(w, s, false);
	session_maybe_free(w, s);
}

/* ---- events ---- */

void
session_client_event(struct worker *w, struct session *s, uint32_t events)
{
	if (session_plain(w, s, events) || session_body(w, s, events))
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
	if (s->wait == SESSION_WAIT_CLOSE && s->client_eof && session_in_clear(s) && s->relay == NULL) {
		session_finish_close(w, s); /* as after nearly every QUIT: what would still come is read by nobody */
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

	s->timer_stands = false;
	if (s->linger_due_us != 0 && w->now_us >= s->linger_due_us) {
		if (s->client.conn != NULL) {
			session_finish_close(w, s);
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
				session_wants_body_room(s) && s->relay != NULL ? session_relay_room(s) : UINT32_MAX;

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
