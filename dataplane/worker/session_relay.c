/*
 * session_relay.c - the backend's side of a session: which backend gets a recipient or AUTH, and the turns of the conversation with it.
 *
 * Flow:   session_relay_rcpt() -> backend_choose() -> session_backend.c -> relay -> session_replies.c -> dialogue
 * Touches: backend states in the segment (read).
 * Keeps:  a backend's connection serves one client session; another backend is tried only while no recipient of the transaction is
 *         accepted; the whole search ends 30 s after the recipient was let through.
 * Source: POLICY section 5.
 */
#include "dataplane/worker/worker_impl.h"

#include "dataplane/base/bug.h"

#define TEXT_UNAVAILABLE "Mail server temporarily unavailable, please try again later"
#define TEXT_NO_AUTH     "Temporary authentication failure, please try again later"

uint32_t
session_backend_index(const struct worker *w, uint32_t id)
{
	for (uint32_t i = 0; i < w->snapshot->n_backends; i++)
		if (w->snapshot->backends[i].id == id)
			return i;
	return UINT32_MAX;
}

/* ---- choosing ---- */

const struct conf_pool *
session_pool(struct worker *w, struct session *s, uint16_t *index)
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
		if (session_backend_open(
			    w, s, (uint32_t)index, states[index].probed && states[index].health == BACKEND_UP))
			return 0;
	}
	return index < 0 ? index : -1;
}

/* The next backend of the pool that was not tried for this recipient; answers the client itself when there is none. */
void
session_relay_next(struct worker *w, struct session *s, const struct conf_pool *pool)
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
	struct smtp_env env_room;
	const struct smtp_env *env;

	env = session_env(w, s, &env_room);
	s->wait = SESSION_WAIT_NONE;
	smtp_session_auth_answer(s->smtp, env, r, w->now_us);
	s->poke = true;
}

/* Never a 5xx for what is our failure or the backend's (RFC 4954 section 6 has 454 for it). */
void
session_auth_failed(struct worker *w, struct session *s)
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
	return session_pool(w, s, &index);
}

void
session_auth_next(struct worker *w, struct session *s)
{
	const struct conf_pool *pool = auth_pool(w, s);

	if (pool != NULL && open_next(w, s, pool, 0, 0) == 0)
		ask_auth(w, s);
	else
		session_auth_failed(w, s);
}

/* AUTH opens the backend, whatever is known of the client (POLICY section 5). */
void
session_relay_auth(struct worker *w, struct session *s)
{
	const struct conf_pool *pool = auth_pool(w, s);
	const uint32_t backend = s->relay != NULL ? session_backend_index(w, s->relay->conf.id) : UINT32_MAX;

	if (pool != NULL && relay_usable(s, backend) && pool->backends >> backend & 1) {
		ask_auth(w, s);
		return;
	}
	if (s->relay != NULL)
		session_relay_abort(w, s);
	session_auth_next(w, s);
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
void
session_authenticated_lost(struct worker *w, struct session *s)
{
	struct smtp_env env_room;
	const struct smtp_env *env;

	s->answer.reason = "backend-failed";
	if (smtp_session_state(s->smtp) == SMTP_ST_RCPT_WAIT) {
		session_answer_text(w, s, 421, "4.3.0", TEXT_UNAVAILABLE);
		return;
	}
	env = session_env(w, s, &env_room);
	if (smtp_session_shut(s->smtp, env, TEXT_UNAVAILABLE, w->now_us))
		s->poke = true;
}

/*
 * Whether this recipient is let through because who sends is known to be good, and not for the first time: by the administrator, by automatic
 * allow, or as a WHITE triplet. Nobody of these waits for anything DNS says, the name for XCLIENT included.
 */
static bool
is_known_good(const struct session *s)
{
	return s->good || s->answer.rule == RULE_ALLOWED || s->answer.rule == RULE_AUTO_ALLOW ||
	       (vt_kind(&s->answer.before) == VT_TRIPLET && vt_state(&s->answer.before) == VT_WHITE);
}

/* A recipient that policy let through. */
void
session_relay_rcpt(struct worker *w, struct session *s)
{
	uint16_t index = 0;
	const struct conf_pool *pool = session_pool(w, s, &index);
	uint32_t backend = s->relay != NULL ? session_backend_index(w, s->relay->conf.id) : UINT32_MAX;

	s->wait = SESSION_WAIT_NONE;
	if (smtp_session_is_authenticated(s->smtp) && !relay_usable(s, backend)) {
		session_authenticated_lost(w, s);
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
	/*
	 * Who hands a stranger's name over, and opens a connection to do it, waits for it as long as anybody waits for DNS. The name of who
	 * is known to be good came from control's memory meanwhile, or is told as not known now ([TEMPUNAVAIL]).
	 */
	if (s->dns_asked && !is_known_good(s) && w->now_us < s->verdict_due_us && s->ptr_name[0] == '\0' &&
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
	session_relay_next(w, s, pool);
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
			session_rcpt_replied(w, s);
		return true;
	case RELAY_ACTION_AUTH_REPLY:
		if (s->wait == SESSION_WAIT_BACKEND_AUTH) {
			const struct smtp_reply r = *relay_reply(s->relay->relay);

			answer_auth(w, s, &r);
		}
		return true;
	case RELAY_ACTION_DATA_REPLY:
		if (s->wait == SESSION_WAIT_BACKEND_DATA)
			session_data_replied(w, s);
		return true;
	case RELAY_ACTION_MESSAGE_REPLY:
		session_message_or_body_replied(w, s);
		return true;
	case RELAY_ACTION_STARTTLS:
		session_backend_start_tls(w, s);
		return true;
	case RELAY_ACTION_FAILED:
		session_backend_failed(w, s);
		return true;
	case RELAY_ACTION_CLOSED:
		session_backend_closed(w, s);
		return true;
	}
	return false;
}

/* Whether another step may find anything, after one that moved: in clear only octets that wait, or what the relay has to tell. */
static bool
relay_has_more(const struct session *s)
{
	if (s->relay == NULL)
		return false;
	return s->backend_stream != NULL || relay_has_news(s->relay->relay) ||
	       (s->backend.conn != NULL && tcp_readable_octets(s->backend.conn) > 0);
}

bool
session_relay_is_due(const struct session *s)
{
	return relay_has_more(s) || relay_output_pending(s->relay->relay) > 0 || s->wait == SESSION_WAIT_BACKEND_AUTH;
}

void
session_relay_run(struct worker *w, struct session *s)
{
	bool moved = true;

	if (s->backend_stream != NULL) /* it reads nothing while too much of its own is unsent */
		session_relay_flush(w, s);
	for (uint32_t i = 0; moved && s->live && s->relay != NULL && i < SESSION_PUMP_MAX; i++) {
		moved = session_backend_feed(w, s);
		moved |= take_action(w, s);
		moved = moved && s->live && relay_has_more(s);
	}
	if (s->live) {
		s->unfinished |= moved;
		if (s->backend_stream != NULL || (s->relay != NULL && relay_output_pending(s->relay->relay) > 0))
			session_relay_flush(w, s);
	}
	if (s->live)
		auth_goes_on(w, s);
}

/* What the backend brought may have moved the client on, or ended what was left of the session. */
static void
after_backend(struct worker *w, struct session *s)
{
	if (s->live && s->client.conn != NULL) {
		session_pump_behind_relay(w, s);
	} else if (s->live) {
		session_maybe_free(w, s);
		session_arm(w, s); /* the client is gone: what the backend still owes has its own time limit */
	}
}

void
session_relay_turn(struct worker *w, struct session *s)
{
	if (s->backend_stream == NULL)
		session_backend_begin_tls(w, s);
	s->tls_turn = true;
	session_relay_run(w, s);
	s->tls_turn = false;
	after_backend(w, s);
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
	if (events == TCP_EV_ACKED_ALL && s->backend_stream == NULL)
		return; /* where room was short there is WRITABLE beside it */
	if (events & TCP_EV_CONNECTED)
		relay_connected(s->relay->relay, w->now_us);
	session_relay_run(w, s);
	/* an end comes after the octets before it; by then s may be free, or its connection another one */
	if (s->live && s->relay != NULL && s->backend.conn != NULL && s->number == number &&
		s->backend_opens == opens &&
		events & (TCP_EV_EOF | TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_REFUSED | TCP_EV_CLOSED)) {
		/* of a message that will be answered by 451 nothing more may go out: it could be taken, and come again */
		session_backend_drop(s, s->message_open || (events & TCP_EV_EOF) == 0);
		relay_disconnected(s->relay->relay, w->now_us);
		session_relay_run(w, s);
	}
	after_backend(w, s);
}
