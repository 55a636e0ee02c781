/*
 * session_dialogue.c - what the client says, step by step to its dialogue; what the dialogue asks for is done; answers that were waited for.
 *
 * Flow:   session_client_event() and who answers -> session_pump() -> stream -> smtp_session -> (judge | relay) -> session_flush_client()
 * Touches: nothing but the worker's own state.
 * Keeps:  while the session waits no command is looked at; message octets go on as views. A usual command in clear takes a shorter
 *         way (session_plain.c), with the same functions.
 * Source: POLICY section 6.
 */
#include "dataplane/worker/worker_impl.h"

#include "dataplane/base/text.h"

#define OUT_PIECE_OCTETS 2048

/* The next plain octets: what is held, or what the stream makes of what arrived. False when there are none. */
static bool
next_plain(struct worker *w, struct session *s)
{
	struct buf_view wire = { 0 }, plain = { 0 };
	uint32_t used;

	if (s->held.len_octets > 0)
		return true;
	if (s->client.conn == NULL || (session_in_clear(s) && tcp_readable_octets(s->client.conn) == 0))
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
		text_copy(s->message_from, sizeof(s->message_from), smtp_session_envelope(s->smtp)->from.text);
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
		wlog_message(w, s, s->backend_words, "failed", "DATA");
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
		session_rcpt_soon(w, s);
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

bool
session_wants_body_room(const struct session *s)
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

	if (s->wait != SESSION_WAIT_NONE || s->client.conn == NULL)
		return false;
	if (smtp_session_output_pending(s->smtp) > OUT_PIECE_OCTETS)
		return false; /* a client that does not read its replies is not read from */
	if (session_wants_body_room(s)) {
		room = s->relay != NULL ? session_relay_room(s) : 0;
		if (room < SMTP_BODY_ROOM_MIN_OCTETS)
			return false;
	}
	if (!next_plain(w, s) && !s->poke)
		return false;
	if (s->held.len_octets == 0 && !s->poke)
		return true; /* a part of a record: there may be more of it */
	s->poke = false;
	env = session_env(w, s, &env_room);
	used = smtp_session_input(s->smtp, env, &s->held, room, body, &n_body, &action, w->now_us);
	if (!session_body_send(w, s, body, n_body, &sent))
		return false;
	if (sent > 0)
		relay_body_sent(s->relay->relay, sent, false, w->now_us);
	if (s->held.len_octets > 0)
		session_take_held(w, s, used);
	session_act(w, s, action);
	return used > 0 || action != SMTP_ACTION_NONE;
}

static void
client_eof(struct worker *w, struct session *s)
{
	if (s->wait == SESSION_WAIT_CLOSE) {
		session_finish_close(w, s);
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

/*
 * Whether another step may find anything, after one that moved: in clear only octets that wait, or an answer of ours. What the backend brought, its
 * relay has had to the end by then; through TLS there may be more.
 */
static bool
has_more(const struct session *s)
{
	return s->poke || s->held.len_octets > 0 || s->backend_stream != NULL || !session_in_clear(s) ||
	       s->client.conn == NULL || tcp_readable_octets(s->client.conn) > 0;
}

/* Whether the client's stream may have more to give since something went out: one of TLS reads nothing while too much of its own is unsent. */
static bool
flush_moved(struct worker *w, struct session *s)
{
	const uint32_t unsent =
		!session_in_clear(s) && s->client.conn != NULL && s->stream->is_tls ? tcp_send_room(s->client.conn) : 0;

	session_flush_client(w, s);
	return unsent != 0 && s->client.conn != NULL && tcp_send_room(s->client.conn) != unsent;
}

/*
 * Whether the backend has said something that the relay has not heard, inside a message or a line of AUTH: it answers nothing of what goes out from
 * here on, so it is heard first, or an answer that came before the end of a message would pass for the answer to it.
 */
static bool
must_hear_first(const struct session *s)
{
	return s->backend.conn != NULL && session_wants_body_room(s) && tcp_readable_octets(s->backend.conn) > 0;
}

/* relay_served: its relay was served to the end just now, and has nothing to say unless the client moves. */
static inline __attribute__((always_inline)) void
pump(struct worker *w, struct session *s, const bool relay_served)
{
	bool moved = true;

	if (s->wait == SESSION_WAIT_TLS) {
		session_tls_run(w, s);
		if (!s->live || s->wait == SESSION_WAIT_TLS)
			return;
	}
	if (!relay_served && must_hear_first(s))
		session_relay_run(w, s);
	for (uint32_t i = 0; moved && s->live && i < SESSION_PUMP_MAX; i++) {
		moved = client_step(w, s);
		if (!s->live || (moved && s->wait == SESSION_WAIT_TURN)) /* it goes on when it was judged */
			return;
		if (s->relay != NULL && ((i == 0 && !relay_served) || (moved && session_relay_is_due(s))))
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

void
session_pump(struct worker *w, struct session *s)
{
	pump(w, s, false);
}

void
session_pump_behind_relay(struct worker *w, struct session *s)
{
	pump(w, s, !s->unfinished && s->backend_stream == NULL); /* a stream of TLS may have more by itself */
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
