/*
 * session_begin.c - a connection becomes a session: its listener, its limits, what is asked about it, and when it hears the banner.
 *
 * Flow:   tcp -> session_accept() -> (session_proxy) -> session_begin() -> session_greet()
 * Touches: nothing but the worker's own state, and counts over all workers in the segment (admission).
 * Keeps:  what may not begin ends here: by a reset, or by 421 where that costs others nothing.
 * Source: POLICY section 6.
 */
#include "dataplane/worker/worker_impl.h"

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
