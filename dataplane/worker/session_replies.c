/*
 * session_replies.c - what the backend said, or that it failed: what becomes of it at the client, in the log and in the records.
 *
 * Flow:   session_relay_run() -> relay_next() -> session_rcpt_replied() and its sisters -> dialogue, wlog, policy
 * Touches: a failure raises the backend's flag of suspicion in the segment, which makes worker 0 probe.
 * Keeps:  no failure of ours or the backend's is a 5xx; another backend is tried only while no recipient of the transaction is accepted.
 * Source: POLICY section 5.
 */
#include "dataplane/worker/worker_impl.h"

#include <stdio.h>

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
		const uint32_t n_free = pool_n_free(&w->kepts);

		if (n_free == 0 || (!must_keep(s) && n_free <= w->kepts.n / 2))
			return false; /* half of them are for those that must be kept */
		s->kept_rcpts = pool_at(&w->kepts, pool_get(&w->kepts));
		s->kept_rcpts->n = 0;
	}
	if (s->kept_rcpts->n == KEPT_RCPTS_MAX)
		return false;
	memcpy(s->kept_rcpts->rcpt[s->kept_rcpts->n++], e->rcpt.text, sizeof(e->rcpt.text));
	return true;
}

void
session_rcpt_replied(struct worker *w, struct session *s)
{
	const struct smtp_reply *r = relay_reply(s->relay->relay); /* lent as long as the relay is there */

	if (r->code >= 500)
		session_rcpt_undo(w, s);
	if (r->code / 100 == 2) {
		uint16_t index = 0;

		if (!keep_rcpt(w, s) && must_keep(s)) {
			/* the backend took it, we cannot keep it: the transaction there is thrown away as a whole at DATA */
			s->txn_failed = true;
			counter_inc(w->counters, CTR_worker_envelopes_full);
			session_answer_text(w, s, 452, "4.3.1", "Out of memory for recipients, please try again later");
			return;
		}
		session_pool(w, s, &index);
		s->pool = index;
		s->txn_has_pool = true;
		s->rcpts_accepted++;
		s->message_ref = s->answer.ref;
		memcpy(s->message_backend, s->relay->conf.name, sizeof(s->message_backend));
	}
	session_answer_rcpt(w, s, r);
}

static void
suspect(struct worker *w, const struct session *s)
{
	uint32_t i = session_backend_index(w, s->relay->conf.id);

	if (i != UINT32_MAX)
		atomic_store_explicit(&w->shared->backend_suspect[i], 1, memory_order_relaxed);
}

/* The backend failed us. What the client hears depends on where its dialogue stands. */
void
session_backend_failed(struct worker *w, struct session *s)
{
	const enum session_wait wait = s->wait;
	const enum relay_stage stage = relay_stage(s->relay->relay);
	struct smtp_reply r = *relay_reply(s->relay->relay);
	char words[256];
	struct smtp_env env_room;
	const struct smtp_env *env;
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
	env = session_env(w, s, &env_room);
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
			session_authenticated_lost(w, s);
			return;
		}
		pool = session_pool(w, s, &index);
		if (pool != NULL) {
			s->wait = SESSION_WAIT_NONE;
			session_relay_next(w, s, pool);
		} else {
			session_answer_rcpt(w, s, &r);
		}
		return;
	case SESSION_WAIT_BACKEND_AUTH:
		session_relay_abort(w, s);
		if (stage < RELAY_STAGE_READY) /* nothing of the exchange was said yet */
			session_auth_next(w, s);
		else
			session_auth_failed(w, s);
		return;
	case SESSION_WAIT_BACKEND_DATA:
		wlog_message(w, s, words, "failed", relay_stage_name(stage));
		s->wait = SESSION_WAIT_NONE;
		smtp_session_data_answer(s->smtp, env, &r, w->now_us);
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
		smtp_session_message_answer(s->smtp, env, &r, w->now_us);
		s->poke = true;
		return;
	case SESSION_WAIT_NONE:
		if (smtp_session_state(s->smtp) == SMTP_ST_DATA || smtp_session_state(s->smtp) == SMTP_ST_CHUNK ||
			smtp_session_state(s->smtp) ==
				SMTP_ST_END_WAIT) { /* END_WAIT: an empty chunk whose end was not told yet */
			wlog_message(w, s, words, "failed", relay_stage_name(stage));
			smtp_session_data_failed(s->smtp, env, &r, w->now_us);
			s->poke = true;
		} else if (smtp_session_state(s->smtp) == SMTP_ST_AUTH ||
			   smtp_session_state(s->smtp) == SMTP_ST_AUTH_WAIT) {
			session_relay_abort(w, s);
			session_auth_failed(w, s);
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
	case SESSION_WAIT_TURN:
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
	const struct smtp_reply *r = relay_reply(s->relay->relay); /* lent as long as the relay is there */
	char words[256];
	struct smtp_env env_room;
	const struct smtp_env *env;
	const bool delivered = r->code / 100 == 2;

	smtp_reply_words(r, words, sizeof(words));
	wlog_message(w, s, words,
		s->client_gone       ? "unheard"
		: delivered          ? "delivered"
		: r->code / 100 == 4 ? "deferred"
				     : "refused",
		relay_stage(s->relay->relay) == RELAY_STAGE_BODY ? "BODY" : "DOT");
	counter_inc(w->counters, delivered ? CTR_worker_messages_delivered : CTR_worker_messages_refused);
	if (r->code / 100 != 4) /* a 4xx says nothing about the client: it must not cost the automatic allow */
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
	env = session_env(w, s, &env_room);
	smtp_session_message_answer(s->smtp, env, r, w->now_us);
	s->poke = true;
}

/* It refused DATA or a chunk: the message is over, as at its end. */
static void
data_refused(struct worker *w, struct session *s, const struct smtp_reply *r)
{
	char words[256];

	smtp_reply_words(r, words, sizeof(words));
	wlog_message(w, s, words, r->code >= 500 ? "refused" : "deferred", "DATA");
	counter_inc(w->counters, CTR_worker_messages_refused);
	if (r->code >= 500)
		session_message_done(w, s, false);
	s->message_open = false;
	s->txn_has_pool = false;
}

void
session_data_replied(struct worker *w, struct session *s)
{
	const struct smtp_reply *r = relay_reply(s->relay->relay); /* lent as long as the relay is there */
	struct smtp_env env_room;
	const struct smtp_env *env;

	s->wait = SESSION_WAIT_NONE;
	if (r->code == 354 || r->code / 100 == 2) /* 2xx: to a chunk */
		s->message_open = true;
	else
		data_refused(w, s, r);
	env = session_env(w, s, &env_room);
	smtp_session_data_answer(s->smtp, env, r, w->now_us);
	s->poke = true;
}

/* The connection was lost between two transactions: a recipient that waits is asked again, over a new one, unseen. */
void
session_backend_closed(struct worker *w, struct session *s)
{
	const bool waits = s->wait == SESSION_WAIT_BACKEND_RCPT, auth_waits = s->wait == SESSION_WAIT_BACKEND_AUTH;

	session_backend_drop(s, relay_must_abort(s->relay->relay));
	session_relay_put(w, s);
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
		session_authenticated_lost(w, s);
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
	struct smtp_env env_room;
	const struct smtp_env *env;

	wlog_message(w, s, relay_words(s->relay->relay), for_good ? "refused" : "deferred", "BODY");
	counter_inc(w->counters, CTR_worker_messages_refused);
	if (for_good)
		session_message_done(w, s, false);
	s->txn_has_pool = false;
	s->wait = SESSION_WAIT_NONE;
	env = session_env(w, s, &env_room);
	smtp_session_data_failed(s->smtp, env, &r, w->now_us);
	s->poke = true;
	session_relay_abort(w, s);
}

void
session_message_or_body_replied(struct worker *w, struct session *s)
{
	if (s->wait == SESSION_WAIT_BACKEND_DOT)
		message_replied(w, s);
	else if ((s->wait == SESSION_WAIT_NONE || s->wait == SESSION_WAIT_BACKEND_DATA) && s->client.conn != NULL)
		body_replied(w, s);
	else
		session_backend_failed(w, s);
}
