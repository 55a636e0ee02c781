/*
 * session_relay.c - the backend's side of a session: which one, its connection, its replies.
 *
 * Flow:   session_relay_rcpt() -> backend_choose() -> tcp_connect() -> relay -> RCPT reply -> dialogue
 * Touches: backend states in the segment (read; a failure only raises a flag that makes worker 0 probe).
 * Keeps:  a backend's connection serves one client session; another backend is tried only while no recipient of the transaction is
 *         accepted; the whole search ends 30 s after the recipient was let through.
 * Source: POLICY section 5.
 */
#include "dataplane/worker/worker_impl.h"

#include <stdio.h>

#include "dataplane/base/bug.h"

#define CMD_PIECE_OCTETS        2048
#define BACKEND_TLS_ROOM_OCTETS 20480 /* a record of the largest size with its framing, and what TLS says by itself */
#define TEXT_UNAVAILABLE        "Mail server temporarily unavailable, please try again later"
#define TEXT_NO_AUTH            "Temporary authentication failure, please try again later"

static uint32_t
backend_index_of(const struct worker *w, uint32_t id)
{
	for (uint32_t i = 0; i < w->snapshot->n_backends; i++)
		if (w->snapshot->backends[i].id == id)
			return i;
	return UINT32_MAX;
}

static void
relay_put(struct worker *w, struct session *s)
{
	s->relay->next_free = w->free_relay;
	w->free_relay = s->relay;
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

static void
drop_backend(struct session *s, bool abort_it)
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
	drop_backend(s, true);
	if (s->relay != NULL)
		relay_put(w, s);
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
	if (s->backend_stream->handshaking || room < 2 * BACKEND_TLS_ROOM_OCTETS)
		return 0;
	return (room - BACKEND_TLS_ROOM_OCTETS) / 2;
}

uint32_t
session_relay_room(const struct session *s)
{
	if (s->backend.conn == NULL || !relay_wants_body(s->relay->relay))
		return 0;
	return plain_room(s);
}

/* What TLS says by itself, or makes of plain octets. Returns plain octets taken; less than all only where there is no room or no buffer. */
static uint32_t
send_by_tls(struct session *s, struct buf_view plain, uint64_t now_us)
{
	const uint32_t n = plain.len_octets;
	uint32_t used;
	struct buf_view wire;

	do {
		if (tcp_send_room(s->backend.conn) < BACKEND_TLS_ROOM_OCTETS)
			break;
		used = stream_wrap(s->backend_stream, &plain, &wire, now_us);
		plain.ptr += used;
		plain.len_octets -= used;
		if (wire.len_octets > 0 && tcp_send(s->backend.conn, &wire) != wire.len_octets) {
			s->backend_stream->failed = true; /* a record is cut: nothing can be said any more */
			break;
		}
	} while (used > 0 || wire.len_octets > 0);
	return n - plain.len_octets;
}

uint32_t
session_relay_send(struct worker *w, struct session *s, const struct buf_view *v)
{
	return s->backend_stream == NULL ? tcp_send(s->backend.conn, v) : send_by_tls(s, *v, w->now_us);
}

void
session_relay_flush(struct worker *w, struct session *s)
{
	uint8_t piece[CMD_PIECE_OCTETS];

	if (s->backend_stream != NULL && s->backend.conn != NULL)
		send_by_tls(s, (struct buf_view){ 0 }, w->now_us);
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
			drop_backend(s, true);
			relay_disconnected(s->relay->relay, w->now_us);
			return;
		}
	}
}

/* ---- choosing ---- */

static const struct conf_pool *
pool_of(struct worker *w, struct session *s, uint16_t *index)
{
	uint32_t listener;
	const struct conf_listener *l = session_listener(w, s, &listener);
	uint16_t pool = s->answer.pool;

	if (l == NULL)
		return NULL;
	if (pool == 0xffff || pool >= w->snapshot->n_pools || !(l->pools >> pool & 1))
		pool = l->default_pool;
	if (pool >= w->snapshot->n_pools)
		return NULL;
	*index = pool;
	return &w->snapshot->pools[pool];
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
	snprintf(c->helo, sizeof(c->helo), "%s", smtp_session_helo(s->smtp));
	snprintf(c->ptr_name, sizeof(c->ptr_name), "%s", s->ptr_name);
	if (stream_tls_facts(s->stream, &tls)) {
		snprintf(c->tls.version, sizeof(c->tls.version), "%s", tls.version);
		snprintf(c->tls.cipher, sizeof(c->tls.cipher), "%s", tls.cipher);
		snprintf(c->tls.name, sizeof(c->tls.name), "%s", tls.name);
	}
	/* a name this session does not hold (the verdict came from the table, the answer is late) is no proof of absence */
	if (c->ptr_name[0] == '\0' && c->ptr_state != PTR_NONE)
		c->ptr_state = PTR_UNKNOWN;
}

static bool
open_backend(struct worker *w, struct session *s, uint32_t index, bool probe_works)
{
	const struct conf *conf = w->snapshot->conf;
	struct session_relay *r = w->free_relay;
	const struct conf_backend *b = &w->snapshot->backends[index];
	struct relay_client client;
	struct relay_backend facts;
	struct ip_addr local;
	uint16_t mtu;
	int err;

	if (r == NULL) {
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
	w->free_relay = r->next_free;
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

static void
ask_backend(struct worker *w, struct session *s)
{
	const struct smtp_envelope *e = smtp_session_envelope(s->smtp);

	s->wait = SESSION_WAIT_BACKEND_RCPT;
	relay_rcpt(s->relay->relay, e->from.text, e->mail_params, e->rcpt.text, e->rcpt_params, e->needs,
		e->size_octets, w->now_us);
	/* the client waits for one reply, however many backends are tried for it and however long DNS took (POLICY section 6) */
	relay_limit(s->relay->relay, s->rcpt_begun_us + w->snapshot->conf->backend_reply_ms * UINT64_C(1000));
	session_relay_flush(w, s);
}

/* Opens the next backend of the pool that was not tried yet. 0, or what backend_choose() answers when there is none. */
static int
open_next(struct worker *w, struct session *s, const struct conf_pool *pool, uint32_t needs, uint64_t size_octets)
{
	const struct snapshot *snap = w->snapshot;
	struct backend_state states[CONF_BACKENDS_MAX];
	int index = -1;

	worker_backend_states(w, states);
	while (w->now_us < s->rcpt_us + snap->conf->backend_total_ms * UINT64_C(1000)) {
		index = backend_choose(
			pool, states, snap->n_backends, s->tried, needs, size_octets, (uint32_t)worker_random(w));
		if (index < 0)
			break;
		s->tried |= UINT64_C(1) << index;
		if (open_backend(w, s, (uint32_t)index, states[index].probed && states[index].health == BACKEND_UP))
			return 0;
	}
	return index < 0 ? index : -1;
}

/* The next backend of the pool that was not tried for this recipient; answers the client itself when there is none. */
static void
try_next(struct worker *w, struct session *s, const struct conf_pool *pool)
{
	const struct smtp_envelope *e = smtp_session_envelope(s->smtp);
	const int index = open_next(w, s, pool, e->needs, e->size_octets);

	if (index == 0) {
		ask_backend(w, s);
		return;
	}
	s->answer.reason = index == -2 ? "backend-unable" : "backend-down";
	session_answer_text(w, s, 451, "4.3.0", TEXT_UNAVAILABLE);
}

static bool
relay_usable(const struct session *s, uint32_t backend_index)
{
	return s->relay != NULL && !s->relay->quitting && s->backend.conn != NULL && backend_index != UINT32_MAX &&
	       relay_stage(s->relay->relay) >= RELAY_STAGE_READY && relay_stage(s->relay->relay) < RELAY_STAGE_QUIT;
}

/* ---- AUTH ---- */

/* The client's answer to AUTH, or to a line of its exchange. */
static void
answer_auth(struct worker *w, struct session *s, const struct smtp_reply *r)
{
	struct smtp_env env;

	session_env(w, s, &env);
	s->wait = SESSION_WAIT_NONE;
	smtp_session_auth_answer(s->smtp, &env, r, w->now_us);
	s->poke = true;
}

/* Never a 5xx for what is our failure or the backend's (RFC 4954 section 6 has 454 for it). */
static void
auth_failed(struct worker *w, struct session *s)
{
	struct smtp_reply r;

	counter_inc(w->counters, CTR_worker_auth_failed);
	smtp_reply_set(&r, 454, "4.7.0", TEXT_NO_AUTH);
	answer_auth(w, s, &r);
}

static void
ask_auth(struct worker *w, struct session *s)
{
	bool whole = false;
	const struct buf_view text = smtp_session_auth_text(s->smtp, &whole);

	s->wait = SESSION_WAIT_BACKEND_AUTH;
	relay_auth(s->relay->relay, (const char *)text.ptr, text.len_octets, whole, w->now_us);
	relay_limit(s->relay->relay, s->rcpt_begun_us + w->snapshot->conf->backend_reply_ms * UINT64_C(1000));
	session_relay_flush(w, s);
}

/* The pool AUTH is carried to: the listener's default, for there is no recipient yet that could choose another. */
static const struct conf_pool *
auth_pool(struct worker *w, struct session *s)
{
	uint16_t index;

	s->answer = (struct policy_answer){ .verdict = VERDICT_PASS, .would = VERDICT_PASS, .pool = 0xffff };
	return pool_of(w, s, &index);
}

static void
auth_try_next(struct worker *w, struct session *s)
{
	const struct conf_pool *pool = auth_pool(w, s);

	if (pool != NULL && open_next(w, s, pool, 0, 0) == 0)
		ask_auth(w, s);
	else
		auth_failed(w, s);
}

/* AUTH opens the backend, whatever is known of the client (POLICY section 5). */
void
session_relay_auth(struct worker *w, struct session *s)
{
	const struct conf_pool *pool = auth_pool(w, s);
	const uint32_t backend = s->relay != NULL ? backend_index_of(w, s->relay->conf.id) : UINT32_MAX;

	if (pool != NULL && relay_usable(s, backend) && pool->backends >> backend & 1) {
		ask_auth(w, s);
		return;
	}
	if (s->relay != NULL)
		session_relay_abort(w, s);
	auth_try_next(w, s);
}

/* The first part of a long AUTH went out: the rest passes behind it. */
static void
auth_goes_on(struct worker *w, struct session *s)
{
	bool whole = true;

	if (s->wait != SESSION_WAIT_BACKEND_AUTH || s->relay == NULL || !relay_wants_body(s->relay->relay))
		return;
	smtp_session_auth_text(s->smtp, &whole);
	if (whole)
		return;
	s->wait = SESSION_WAIT_NONE;
	smtp_session_auth_rest(s->smtp, w->now_us);
	s->poke = true;
}

/*
 * The backend that knows who the client is, is gone, and no other does: nothing of this session may be let through any more. A reply where
 * one is awaited, else at once.
 */
static void
authenticated_lost(struct worker *w, struct session *s)
{
	struct smtp_env env;

	s->answer.reason = "backend-failed";
	if (smtp_session_state(s->smtp) == SMTP_ST_RCPT_WAIT) {
		session_answer_text(w, s, 421, "4.3.0", TEXT_UNAVAILABLE);
		return;
	}
	session_env(w, s, &env);
	if (smtp_session_shut(s->smtp, &env, TEXT_UNAVAILABLE, w->now_us))
		s->poke = true;
}

/* A recipient that policy let through. */
void
session_relay_rcpt(struct worker *w, struct session *s)
{
	uint16_t index = 0;
	const struct conf_pool *pool = pool_of(w, s, &index);
	uint32_t backend = s->relay != NULL ? backend_index_of(w, s->relay->conf.id) : UINT32_MAX;

	s->wait = SESSION_WAIT_NONE;
	if (smtp_session_is_authenticated(s->smtp) && !relay_usable(s, backend)) {
		authenticated_lost(w, s);
		return;
	}
	if (pool == NULL || s->txn_failed) {
		s->answer.reason = "backend-failed";
		session_answer_text(w, s, 451, "4.3.0", TEXT_UNAVAILABLE);
		return;
	}
	if (s->txn_has_pool && s->pool != index) {
		s->answer.reason = "other-pool";
		session_answer_text(w, s, 452, "4.5.3", "Too many recipients, please send this one separately");
		return;
	}
	/* who hands the client's name over, and opens a connection to do it, waits for it as long as anybody waits for DNS */
	if (s->dns_asked && w->now_us < s->verdict_due_us && s->ptr_name[0] == '\0' &&
		!smtp_session_is_authenticated(s->smtp))
		for (uint32_t b = 0; b < w->snapshot->n_backends; b++)
			if (pool->backends >> b & 1 &&
				w->snapshot->backends[b].client_address == CLIENT_ADDRESS_XCLIENT) {
				s->wait = SESSION_WAIT_NAME;
				return;
			}
	if (relay_usable(s, backend) &&
		(s->txn_has_pool || smtp_session_is_authenticated(s->smtp) || pool->backends >> backend & 1)) {
		ask_backend(w, s);
		return;
	}
	if (s->relay != NULL)
		session_relay_abort(w, s); /* of another pool, or broken: between transactions nothing is lost by it */
	if (s->txn_has_pool) {
		/* a reload took the backend away that has this transaction's recipients: another one would get the message without them */
		s->txn_failed = true;
		s->answer.reason = "backend-removed";
		session_answer_text(w, s, 451, "4.3.0", TEXT_UNAVAILABLE);
		return;
	}
	try_next(w, s, pool);
}

/* ---- what the backend said ---- */

/*
 * Whether the accepted recipients of this transaction must be remembered: those of the null sender are judged at DATA. Others are for
 * what a delivered message teaches (observe mode, automatic allow): without room that is lost, and nothing else.
 */
static bool
must_keep(struct session *s)
{
	return smtp_session_envelope(s->smtp)->from.len_octets == 0;
}

/* False when there is no room to remember one more. */
static bool
keep_rcpt(struct worker *w, struct session *s)
{
	const struct smtp_envelope *e = smtp_session_envelope(s->smtp);

	if (s->kept_rcpts == NULL) {
		if (w->free_kept == NULL || (!must_keep(s) && w->n_kept_free <= w->n_kept / 2))
			return false; /* half of them are for those that must be kept */
		s->kept_rcpts = w->free_kept;
		w->free_kept = w->free_kept->next_free;
		w->n_kept_free--;
		s->kept_rcpts->n = 0;
	}
	if (s->kept_rcpts->n == KEPT_RCPTS_MAX)
		return false;
	memcpy(s->kept_rcpts->rcpt[s->kept_rcpts->n++], e->rcpt.text, sizeof(e->rcpt.text));
	return true;
}

static void
rcpt_replied(struct worker *w, struct session *s)
{
	struct smtp_reply r = *relay_reply(s->relay->relay);

	if (r.code >= 500)
		session_rcpt_undo(w, s);
	if (r.code / 100 == 2) {
		uint16_t index = 0;

		if (!keep_rcpt(w, s) && must_keep(s)) {
			/* the backend took it, we cannot keep it: the transaction there is thrown away as a whole at DATA */
			s->txn_failed = true;
			counter_inc(w->counters, CTR_worker_envelopes_full);
			session_answer_text(w, s, 452, "4.3.1", "Out of memory for recipients, please try again later");
			return;
		}
		pool_of(w, s, &index);
		s->pool = index;
		s->txn_has_pool = true;
		s->rcpts_accepted++;
		s->message_ref = s->answer.ref;
		memcpy(s->message_backend, s->relay->conf.name, sizeof(s->message_backend));
	}
	session_answer_rcpt(w, s, &r);
}

static void
suspect(struct worker *w, const struct session *s)
{
	uint32_t i = backend_index_of(w, s->relay->conf.id);

	if (i != UINT32_MAX)
		atomic_store_explicit(&w->shared->backend_suspect[i], 1, memory_order_relaxed);
}

/* The backend failed us. What the client hears depends on where its dialogue stands. */
static void
backend_failed(struct worker *w, struct session *s)
{
	const enum session_wait wait = s->wait;
	const enum relay_stage stage = relay_stage(s->relay->relay);
	struct smtp_reply r = *relay_reply(s->relay->relay);
	char words[256];
	struct smtp_env env;
	uint16_t index = 0;
	const struct conf_pool *pool;

	counter_inc(w->counters, CTR_worker_backend_failures);
	suspect(w, s);
	snprintf(words, sizeof(words), "%s", relay_words(s->relay->relay));
	snprintf(s->backend_words, sizeof(s->backend_words), "%.*s", (int)sizeof(s->backend_words) - 1, words);
	if (s->client.conn == NULL && wait != SESSION_WAIT_BACKEND_DOT) {
		session_relay_abort(w, s);
		session_maybe_free(w, s);
		return;
	}
	session_env(w, s, &env);
	switch (wait) {
	case SESSION_WAIT_BACKEND_RCPT:
		if (relay_may_go_plain(s->relay->relay) && s->relay->conf_index < CONF_BACKENDS_MAX) {
			s->plain_only |= UINT64_C(1) << s->relay->conf_index;
			s->tried &= ~(UINT64_C(1) << s->relay->conf_index);
		}
		memcpy(s->lost_backend, s->relay->conf.name, sizeof(s->lost_backend));
		session_relay_abort(w, s);
		if (s->txn_has_pool) {
			/* accepted recipients went down with it: every later command of this transaction is told so */
			s->txn_failed = true;
			s->answer.reason = "backend-failed";
			session_answer_rcpt(w, s, &r);
			return;
		}
		if (smtp_session_is_authenticated(s->smtp)) { /* another one does not know this client */
			authenticated_lost(w, s);
			return;
		}
		pool = pool_of(w, s, &index);
		if (pool != NULL) {
			s->wait = SESSION_WAIT_NONE;
			try_next(w, s, pool);
		} else {
			session_answer_rcpt(w, s, &r);
		}
		return;
	case SESSION_WAIT_BACKEND_AUTH:
		session_relay_abort(w, s);
		if (stage < RELAY_STAGE_READY) /* nothing of the exchange was said yet */
			auth_try_next(w, s);
		else
			auth_failed(w, s);
		return;
	case SESSION_WAIT_BACKEND_DATA:
		wlog_message(w, s, words, "failed", relay_stage_name(stage));
		s->wait = SESSION_WAIT_NONE;
		smtp_session_data_answer(s->smtp, &env, &r, w->now_us);
		s->poke = true;
		session_relay_abort(w, s);
		return;
	case SESSION_WAIT_BACKEND_DOT:
		wlog_message(w, s, words, s->client_gone ? "unheard" : "failed", relay_stage_name(stage));
		session_relay_abort(w, s);
		if (s->client.conn == NULL) {
			session_maybe_free(w, s);
			return;
		}
		s->wait = SESSION_WAIT_NONE;
		smtp_session_message_answer(s->smtp, &env, &r, w->now_us);
		s->poke = true;
		return;
	case SESSION_WAIT_NONE:
		if (smtp_session_state(s->smtp) == SMTP_ST_DATA || smtp_session_state(s->smtp) == SMTP_ST_CHUNK ||
			smtp_session_state(s->smtp) ==
				SMTP_ST_END_WAIT) { /* END_WAIT: an empty chunk whose end was not told yet */
			wlog_message(w, s, words, "failed", relay_stage_name(stage));
			smtp_session_data_failed(s->smtp, &env, &r, w->now_us);
			s->poke = true;
		} else if (smtp_session_state(s->smtp) == SMTP_ST_AUTH ||
			   smtp_session_state(s->smtp) == SMTP_ST_AUTH_WAIT) {
			session_relay_abort(w, s);
			auth_failed(w, s);
			return;
		} else if (s->txn_has_pool && smtp_session_state(s->smtp) == SMTP_ST_RCPT) {
			s->txn_failed = true; /* between RCPT and DATA */
		}
		session_relay_abort(w, s);
		return;
	case SESSION_WAIT_PROXY:
	case SESSION_WAIT_CONNECT_VERDICT:
	case SESSION_WAIT_TLS:
	case SESSION_WAIT_GREET_PAUSE:
	case SESSION_WAIT_VERDICT:
	case SESSION_WAIT_NAME:
		if (s->txn_has_pool)
			s->txn_failed = true;
		session_relay_abort(w, s);
		return;
	case SESSION_WAIT_CLOSE:
		session_relay_abort(w, s);
		session_maybe_free(w, s);
		return;
	}
}

static void
message_replied(struct worker *w, struct session *s)
{
	struct smtp_reply r = *relay_reply(s->relay->relay);
	char words[256];
	struct smtp_env env;
	const bool delivered = r.code / 100 == 2;

	smtp_reply_words(&r, words, sizeof(words));
	wlog_message(w, s, words,
		s->client_gone      ? "unheard"
		: delivered         ? "delivered"
		: r.code / 100 == 4 ? "deferred"
				    : "refused",
		relay_stage(s->relay->relay) == RELAY_STAGE_BODY ? "BODY" : "DOT");
	counter_inc(w->counters, delivered ? CTR_worker_messages_delivered : CTR_worker_messages_refused);
	if (r.code / 100 != 4) /* a 4xx says nothing about the client: it must not cost the automatic allow */
		session_message_done(w, s, delivered);
	session_kept_drop(w, s);
	s->message_open = false;
	s->txn_has_pool = false;
	s->wait = SESSION_WAIT_NONE;
	if (s->client.conn == NULL) {
		session_relay_quit(w, s);
		session_maybe_free(w, s);
		return;
	}
	session_env(w, s, &env);
	smtp_session_message_answer(s->smtp, &env, &r, w->now_us);
	s->poke = true;
}

static void
data_replied(struct worker *w, struct session *s)
{
	struct smtp_reply r = *relay_reply(s->relay->relay);
	struct smtp_env env;

	session_env(w, s, &env);
	s->wait = SESSION_WAIT_NONE;
	if (r.code == 354 || (smtp_session_uses_bdat(s->smtp) && r.code / 100 == 2)) {
		s->message_open = true;
	} else {
		s->message_open = false;
		s->txn_has_pool = false;
	}
	smtp_session_data_answer(s->smtp, &env, &r, w->now_us);
	s->poke = true;
}

/* The connection was lost between two transactions: a recipient that waits is asked again, over a new one, unseen. */
static void
backend_closed(struct worker *w, struct session *s)
{
	const bool waits = s->wait == SESSION_WAIT_BACKEND_RCPT, auth_waits = s->wait == SESSION_WAIT_BACKEND_AUTH;

	drop_backend(s, relay_must_abort(s->relay->relay));
	relay_put(w, s);
	if (s->client.conn == NULL) {
		session_maybe_free(w, s);
		return;
	}
	s->tried = 0;
	if (auth_waits)
		session_relay_auth(w, s);
	else if (waits)
		session_relay_rcpt(w, s);
	else if (s->wait == SESSION_WAIT_NONE && smtp_session_is_authenticated(s->smtp))
		authenticated_lost(w, s);
	else
		session_maybe_free(w, s);
}

/*
 * It refused inside the data: its own word about the message, not its failure, so it is not suspected, and the client gets it after its
 * dot, or as the answer to the chunk under way, whose last octets may have been sent while the answer came in. The connection is out of
 * step and goes by reset: the backend must not take half a message for a whole one.
 */
static void
body_replied(struct worker *w, struct session *s)
{
	const struct smtp_reply r = *relay_reply(s->relay->relay);
	const bool for_good = r.code >= 500;
	struct smtp_env env;

	wlog_message(w, s, relay_words(s->relay->relay), for_good ? "refused" : "deferred", "BODY");
	counter_inc(w->counters, CTR_worker_messages_refused);
	if (for_good)
		session_message_done(w, s, false);
	s->txn_has_pool = false;
	s->wait = SESSION_WAIT_NONE;
	session_env(w, s, &env);
	smtp_session_data_failed(s->smtp, &env, &r, w->now_us);
	s->poke = true;
	session_relay_abort(w, s);
}

static void
message_or_body_replied(struct worker *w, struct session *s)
{
	if (s->wait == SESSION_WAIT_BACKEND_DOT)
		message_replied(w, s);
	else if ((s->wait == SESSION_WAIT_NONE || s->wait == SESSION_WAIT_BACKEND_DATA) && s->client.conn != NULL)
		body_replied(w, s);
	else
		backend_failed(w, s);
}

/*
 * The same through TLS. What the relay does not take now waits in backend_held: a stream is not asked again before its view is used up.
 * A handshake with a backend is a client's: a key exchange and the check of a signature, less than ours as a server, and as rare as
 * sessions that are let through; it is not queued.
 */
static bool
feed_by_tls(struct worker *w, struct session *s)
{
	struct stream *tls = s->backend_stream;
	const bool was_handshaking = tls->handshaking;
	struct buf_view wire = { 0 }, plain = { 0 };
	uint32_t used;

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
		send_by_tls(s, (struct buf_view){ 0 }, w->now_us); /* the alert */
		if (was_handshaking)
			relay_tls_failed(s->relay->relay, word);
		drop_backend(s, false);
		if (!was_handshaking)
			relay_disconnected(s->relay->relay, w->now_us);
		return false;
	}
	if (was_handshaking && !tls->handshaking)
		relay_tls_started(s->relay->relay, w->now_us);
	if (s->backend_held.len_octets > 0) {
		const uint32_t took = relay_input(s->relay->relay, &s->backend_held, w->now_us);

		s->backend_held.ptr += took;
		s->backend_held.len_octets -= took;
		return took > 0 || used > 0;
	}
	return used > 0;
}

/* The backend said 220 to STARTTLS. */
static void
start_tls(struct worker *w, struct session *s)
{
	if (s->backend.conn == NULL)
		return; /* its end is told by its event */
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
static bool
feed(struct worker *w, struct session *s)
{
	struct buf_view v;
	bool fed = false;

	if (s->backend_stream != NULL && s->backend.conn != NULL)
		return feed_by_tls(w, s);
	while (s->backend.conn != NULL && tcp_peek(s->backend.conn, &v, 1) > 0) {
		const uint32_t used = relay_input(s->relay->relay, &v, w->now_us);

		if (used == 0)
			break;
		tcp_consume(s->backend.conn, used);
		fed = true;
	}
	return fed;
}

/* True when it did something. */
static bool
take_action(struct worker *w, struct session *s)
{
	switch (relay_next(s->relay->relay, w->now_us)) {
	case RELAY_ACTION_NONE:
		return false;
	case RELAY_ACTION_RCPT_REPLY:
		if (s->wait == SESSION_WAIT_BACKEND_RCPT)
			rcpt_replied(w, s);
		return true;
	case RELAY_ACTION_AUTH_REPLY:
		if (s->wait == SESSION_WAIT_BACKEND_AUTH) {
			const struct smtp_reply r = *relay_reply(s->relay->relay);

			answer_auth(w, s, &r);
		}
		return true;
	case RELAY_ACTION_DATA_REPLY:
		if (s->wait == SESSION_WAIT_BACKEND_DATA)
			data_replied(w, s);
		return true;
	case RELAY_ACTION_MESSAGE_REPLY:
		message_or_body_replied(w, s);
		return true;
	case RELAY_ACTION_STARTTLS:
		start_tls(w, s);
		return true;
	case RELAY_ACTION_FAILED:
		backend_failed(w, s);
		return true;
	case RELAY_ACTION_CLOSED:
		backend_closed(w, s);
		return true;
	}
	return false;
}

void
session_relay_run(struct worker *w, struct session *s)
{
	bool moved = true;

	if (s->backend_stream != NULL) /* it reads nothing while too much of its own is unsent */
		session_relay_flush(w, s);
	for (uint32_t i = 0; moved && s->live && s->relay != NULL && i < SESSION_PUMP_MAX; i++) {
		moved = feed(w, s);
		moved |= take_action(w, s);
	}
	if (s->live) {
		s->unfinished |= moved && s->relay != NULL;
		session_relay_flush(w, s);
	}
	if (s->live)
		auth_goes_on(w, s);
}

void
session_relay_event(struct worker *w, struct session *s, uint32_t events)
{
	const uint64_t number = s->number;
	const uint32_t opens = s->backend_opens;

	if (s->is_submission) {
		session_splice_event(w, s, END_BACKEND, events);
		if (s->live)
			session_arm(w, s);
		return;
	}
	if (events & TCP_EV_CONNECTED)
		relay_connected(s->relay->relay, w->now_us);
	session_relay_run(w, s);
	/* an end comes after the octets before it; by then s may be free, or its connection another one */
	if (s->live && s->relay != NULL && s->backend.conn != NULL && s->number == number &&
		s->backend_opens == opens &&
		events & (TCP_EV_EOF | TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_REFUSED | TCP_EV_CLOSED)) {
		drop_backend(s, (events & TCP_EV_EOF) == 0);
		relay_disconnected(s->relay->relay, w->now_us);
		session_relay_run(w, s);
	}
	if (s->live && s->client.conn != NULL) {
		session_pump(w, s);
	} else if (s->live) {
		session_maybe_free(w, s);
		session_arm(w, s); /* the client is gone: what the backend still owes has its own time limit */
	}
}
