/*
 * session_backend.c - the connection of a session to its backend: opened, spoken to in plain or through TLS, closed.
 *
 * Flow:   session_relay.c (which backend) -> session_backend_open() -> tcp_connect() -> relay <-> tcp, or relay <-> stream of TLS <-> tcp
 * Keeps:  a backend's connection serves one client session; what TLS cannot send whole ends the connection, for a cut record is none.
 * Source: POLICY section 5.
 */
#include "dataplane/worker/worker_impl.h"

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"

#define CMD_PIECE_OCTETS 2048

void
session_relay_put(struct worker *w, struct session *s)
{
	pool_put(&w->relays, pool_index(&w->relays, s->relay));
	s->relay = NULL;
}

void
session_relay_stream_end(struct session *s)
{
	if (s->backend_stream == NULL)
		return;
	s->backend_stream->ops->destroy(s->backend_stream);
	s->backend_stream = NULL;
}

void
session_backend_drop(struct session *s, bool abort_it)
{
	session_relay_stream_end(s);
	if (s->backend.conn == NULL)
		return;
	if (abort_it)
		tcp_abort(s->backend.conn);
	else
		tcp_close(s->backend.conn);
	tcp_conn_set_user(s->backend.conn, NULL);
	tcp_release(s->backend.conn);
	s->backend.conn = NULL;
}

void
session_relay_abort(struct worker *w, struct session *s)
{
	session_backend_drop(s, true);
	if (s->relay != NULL)
		session_relay_put(w, s);
	s->message_open = false;
}

/* QUIT, then the backend closes; it gets BACKEND_LINGER_US for that. */
void
session_relay_quit(struct worker *w, struct session *s)
{
	if (s->relay == NULL || s->relay->quitting)
		return;
	if (s->backend.conn == NULL || relay_stage(s->relay->relay) < RELAY_STAGE_READY) {
		session_relay_abort(w, s); /* not greeted yet: nothing to be polite to */
		return;
	}
	s->relay->quitting = true;
	if (s->client.conn == NULL)
		s->linger_due_us = w->now_us + BACKEND_LINGER_US;
	relay_quit(s->relay->relay, w->now_us);
	session_relay_flush(w, s);
}

/* Octets that may be handed over now. Under TLS each view becomes records: their framing needs room, too. */
static uint32_t
plain_room(const struct session *s)
{
	const uint32_t room = tcp_send_room(s->backend.conn);

	if (s->backend_stream == NULL)
		return room;
	if (s->backend_stream->handshaking || room < 2 * CONN_STREAM_ROOM_OCTETS)
		return 0;
	return (room - CONN_STREAM_ROOM_OCTETS) / 2;
}

uint32_t
session_relay_room(const struct session *s)
{
	if (s->backend.conn == NULL || !relay_wants_body(s->relay->relay))
		return 0;
	return plain_room(s);
}

uint32_t
session_relay_send(struct worker *w, struct session *s, const struct buf_view *v)
{
	return s->backend_stream == NULL ? tcp_send(s->backend.conn, v)
	                                 : conn_stream_send(s->backend.conn, s->backend_stream, *v, w->now_us);
}

void
session_relay_flush(struct worker *w, struct session *s)
{
	uint8_t piece[CMD_PIECE_OCTETS];

	if (s->backend_stream != NULL && s->backend.conn != NULL)
		conn_stream_send(s->backend.conn, s->backend_stream, (struct buf_view){ 0 }, w->now_us);
	while (s->relay != NULL && s->backend.conn != NULL && relay_output_pending(s->relay->relay) > 0) {
		uint32_t room = MIN(plain_room(s), (uint32_t)sizeof(piece));
		struct buf_view v = { .ptr = piece };

		if (room == 0)
			return; /* TCP_EV_WRITABLE comes */
		v.len_octets = relay_output(s->relay->relay, piece, room);
		if (v.len_octets == 0)
			return;
		if (session_relay_send(w, s, &v) != v.len_octets) {
			counter_inc(w->counters, CTR_worker_body_cut);
			session_backend_drop(s, true);
			relay_disconnected(s->relay->relay, w->now_us);
			return;
		}
	}
}

static void
client_facts(const struct session *s, struct relay_client *c)
{
	struct stream_tls_facts tls;

	*c = (struct relay_client){
		.addrs = { .src = s->flow.remote,
			.dst = s->told_local,
			.src_port = s->flow.remote_port,
			.dst_port = s->told_local_port },
		.ptr_state = s->verdict.ptr_state,
		.ptr_confirmed = s->verdict.ptr_state == PTR_CONFIRMED || s->verdict.ptr_state == PTR_GENERIC,
		.esmtp = smtp_session_is_esmtp(s->smtp),
	};
	text_copy(c->helo, sizeof(c->helo), smtp_session_helo(s->smtp));
	text_copy(c->ptr_name, sizeof(c->ptr_name), s->ptr_name);
	if (stream_tls_facts(s->stream, &tls)) {
		text_copy(c->tls.version, sizeof(c->tls.version), tls.version);
		text_copy(c->tls.cipher, sizeof(c->tls.cipher), tls.cipher);
		text_copy(c->tls.name, sizeof(c->tls.name), tls.name);
	}
	/* a name this session does not hold (the verdict came from the table, the answer is late) is no proof of absence */
	if (c->ptr_name[0] == '\0' && c->ptr_state != PTR_NONE)
		c->ptr_state = PTR_UNKNOWN;
}

bool
session_backend_open(struct worker *w, struct session *s, uint32_t index, bool probe_works)
{
	const struct conf *conf = w->snapshot->conf;
	struct session_relay *r;
	const struct conf_backend *b = &w->snapshot->backends[index];
	struct relay_client client;
	struct relay_backend facts;
	struct ip_addr local;
	uint16_t mtu;
	int err;

	if (pool_n_free(&w->relays) == 0) {
		counter_inc(w->counters, CTR_worker_relays_full);
		return false;
	}
	if (net_source_for(w->net, &b->addr, &local, &mtu) != 0) {
		counter_inc(w->counters, CTR_worker_backend_unroutable);
		return false;
	}
	s->backend.conn = tcp_connect(w->tcp, &local, &b->addr, b->port, &s->backend, w->now_us, &err);
	if (s->backend.conn == NULL) {
		counter_inc(w->counters, CTR_worker_backend_no_port);
		return false;
	}
	/* from here on one side may wait for minutes on the other: a dead one must not hold both */
	tcp_keepalive(s->backend.conn);
	if (s->client.conn != NULL)
		tcp_keepalive(s->client.conn);
	r = session_store_relay_get(w);
	r->conf = *b;
	r->conf_index = index;
	r->opened_us = w->now_us;
	r->quitting = false;
	memcpy(r->our_name, conf->hostname, sizeof(r->our_name));
	facts = (struct relay_backend){
		.conf = *b,
		.our_name = r->our_name,
		.connect_ms = conf->backend_connect_ms,
		.greeting_ms = conf->backend_greeting_ms,
		.total_ms = conf->backend_total_ms,
		.reply_ms = conf->backend_reply_ms,
		.dot_s = conf->backend_dot_s,
		.probe_works = probe_works,
		.counters = w->counters,
	};
	if (s->plain_only >> index & 1) {
		facts.conf.tls = BACKEND_TLS_NEVER;
		counter_inc(w->counters, CTR_tls_backend_plain);
	}
	facts.tls_possible = b->tls != BACKEND_TLS_NEVER && w->conf.tls != NULL &&
	                     tls_context_has_backend(w->conf.tls, b->id) && tls_context_has_memory(w->conf.tls);
	client_facts(s, &client);
	relay_init(r->relay, &facts, &client, w->now_us);
	s->relay = r;
	s->backend_opens++;
	counter_inc(w->counters, CTR_relay_connects);
	return true;
}

bool
session_backend_shakes(const struct session *s)
{
	if (s->backend.conn == NULL || s->relay == NULL)
		return false;
	return s->backend_stream != NULL ? s->backend_stream->handshaking
	                                 : relay_stage(s->relay->relay) == RELAY_STAGE_TLS;
}

/*
 * Octets of the backend for its relay. Where octets of a message are not acknowledged these were said before its end arrived, whatever they say: TCP
 * carries no answer without the acknowledgement of what it answers.
 */
static uint32_t
give(struct worker *w, struct session *s, const struct buf_view *v)
{
	if (s->wait == SESSION_WAIT_BACKEND_DOT && tcp_unacked_octets(s->backend.conn) > 0)
		relay_end_not_there(s->relay->relay);
	return relay_input(s->relay->relay, v, w->now_us);
}

/*
 * The same through TLS. What the relay does not take now waits in backend_held: a stream is not asked again before its view is used up.
 * A step of the handshake is taken in its turn alone (session_tls.c).
 */
static bool
feed_by_tls(struct worker *w, struct session *s)
{
	struct stream *tls = s->backend_stream;
	const bool was_handshaking = tls->handshaking;
	struct buf_view wire = { 0 }, plain = { 0 };
	uint32_t used;

	if (was_handshaking && !s->tls_turn) {
		if (tcp_readable_octets(s->backend.conn) > 0)
			session_tls_enqueue(w, s, CTR_tls_backend_queued);
		return false;
	}
	if (s->backend_held.len_octets == 0) {
		tcp_peek(s->backend.conn, &wire, 1);
		used = stream_unwrap(tls, &wire, &plain, w->now_us);
		s->backend_held = plain; /* lent until the next unwrap, and not longer needed */
		if (used > 0)
			tcp_consume(s->backend.conn, used);
	} else {
		used = 0;
	}
	if (tls->failed || tls->peer_eof) {
		const char *word =
			tls->peer_eof ? "closed by close_notify" : stream_tls_failure_word(stream_tls_failure(tls));

		if (was_handshaking && stream_tls_failure(tls) == STREAM_TLS_UNVERIFIED)
			counter_inc(w->counters, CTR_tls_backend_unverified);
		conn_stream_send(s->backend.conn, s->backend_stream, (struct buf_view){ 0 }, w->now_us); /* the alert */
		if (was_handshaking)
			relay_tls_failed(s->relay->relay, word);
		session_backend_drop(s, s->message_open); /* as in session_relay_event() */
		if (!was_handshaking)
			relay_disconnected(s->relay->relay, w->now_us);
		return false;
	}
	if (was_handshaking && !tls->handshaking)
		relay_tls_started(s->relay->relay, w->now_us);
	if (s->backend_held.len_octets > 0) {
		const uint32_t took = give(w, s, &s->backend_held);

		s->backend_held.ptr += took;
		s->backend_held.len_octets -= took;
		return took > 0 || used > 0;
	}
	return used > 0;
}

/* The backend said 220 to STARTTLS: our first message waits for its turn like every other step. */
void
session_backend_start_tls(struct worker *w, struct session *s)
{
	if (s->backend.conn == NULL)
		return; /* its end is told by its event */
	session_tls_enqueue(w, s, CTR_tls_backend_queued);
}

/* The first step. */
void
session_backend_begin_tls(struct worker *w, struct session *s)
{
	if (tcp_readable_octets(s->backend.conn) > 0) {
		relay_tls_failed(s->relay->relay, "octets behind the answer to STARTTLS");
		return;
	}
	s->backend_held = (struct buf_view){ 0 };
	s->backend_stream = stream_tls_client(w->conf.tls, w->io->pool, s->relay->conf.id);
	if (s->backend_stream == NULL)
		relay_tls_failed(s->relay->relay, "no memory for TLS");
}

/* Gives the backend's octets to the relay; true when some were taken. */
bool
session_backend_feed(struct worker *w, struct session *s)
{
	struct buf_view v;
	bool fed = false;

	if (s->backend_stream != NULL && s->backend.conn != NULL)
		return feed_by_tls(w, s);
	while (s->backend.conn != NULL && tcp_peek(s->backend.conn, &v, 1) > 0) {
		const uint32_t used = give(w, s, &v);

		if (used == 0)
			break;
		tcp_consume(s->backend.conn, used);
		fed = true;
	}
	return fed;
}
