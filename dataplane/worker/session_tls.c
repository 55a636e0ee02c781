/*
 * session_tls.c - a client's handshake: when it may begin, its turn, its end.
 *
 * Flow:   STARTTLS (or an implicit listener's connection that nothing stands against) -> SESSION_WAIT_TLS -> the worker's queue ->
 *         session_tls_serve() -> stream_unwrap() -> done: the dialogue begins anew (RFC 3207 section 4.2), or the banner (RFC 8314)
 * Touches: the worker's own state; how a handshake ended goes to the record of its client in the verdict table (policy/handshake.h).
 * Keeps:  a step of a handshake costs as much as dozens of plain sessions, so it is never taken inside the serving of connections: whoever
 *         has octets for one waits in a queue, first come first served, and a turn takes tls.handshakes_per_turn from it after everybody
 *         else's answers went out. Admission is before the handshake: with the queue at tls.handshake_queue, or memory short, STARTTLS is
 *         454 and an implicit connection is closed. Who was refused at connect never gets here. Every handshake has a time limit.
 *         Handshakes with backends wait in the same queue, beyond its bound for admission: there is one at most for each session, which was
 *         let through already, so they make strangers' STARTTLS 454 and never the other way round. One that waits for too long is the
 *         relay's time-out: 451, and no mail is lost.
 *
 * Crypto lcores are not built: a step is bounded (0.2 to 0.5 ms), so they would lower the p99 of plain sessions under a flood by less than
 * a step, and cost two hand-overs between lcores for each, an SSL object that changes its thread (whose memory is the lcore's), and a core.
 */
#include "dataplane/worker/worker_impl.h"

#include <stdio.h>

#include "dataplane/base/bug.h"

static bool
is_busy(const struct worker *w)
{
	return w->n_tls_queued >= w->snapshot->conf->tls_handshake_queue || !tls_context_has_memory(w->conf.tls);
}

/* ---- the option that hides STARTTLS from who cannot do it ---- */

static enum tls_hide
look_up(struct worker *w, const struct session *s)
{
	const struct policy_ctx *ctx = &w->policy;

	if (policy_tls_state(ctx, &s->flow.remote, w->now_s).state != HANDSHAKE_HIDDEN)
		return TLS_HIDE_NO;
	if (ctx->conf->mode == MODE_OBSERVE) {
		counter_inc(w->counters, CTR_tls_hidden_would);
		return TLS_HIDE_WOULD;
	}
	counter_inc(w->counters, CTR_tls_hidden);
	return TLS_HIDE_YES;
}

/* Only where plain text is the alternative that the administrator allows: never where TLS is required. */
static bool
is_hidden(struct worker *w, struct session *s, const struct conf_listener *l)
{
	if (w->snapshot->conf->tls_hide_after_failures == 0 || l->tls != LISTENER_TLS_MAY)
		return false;
	if (s->tls_hide == TLS_HIDE_UNASKED)
		s->tls_hide = (uint8_t)look_up(w, s);
	return s->tls_hide == TLS_HIDE_YES;
}

/*
 * What counts as a failed handshake: one that TLS itself ended, the client by a fatal alert, or we because the octets it sent are no TLS that
 * we have. Not one that a lost, cut or slow connection may explain, which others can bring about, nor one that failed for want of memory here.
 */
static bool
is_clients_failure(enum stream_tls_failure f)
{
	switch (f) {
	case STREAM_TLS_VERSION:
	case STREAM_TLS_CIPHER:
	case STREAM_TLS_ALERT:
	case STREAM_TLS_NONSENSE:
		return true;
	case STREAM_TLS_NONE:
	case STREAM_TLS_UNVERIFIED:
	case STREAM_TLS_MEMORY:
		break;
	}
	return false;
}

static void
note_failure(struct worker *w, struct session *s, enum stream_tls_failure f)
{
	const struct policy_ctx *ctx = &w->policy;
	uint32_t listener;
	const struct conf_listener *l = session_listener(w, s, &listener);

	if (ctx->conf->tls_hide_after_failures == 0 || l == NULL || l->tls != LISTENER_TLS_MAY ||
		!is_clients_failure(f))
		return;
	if (!policy_tls_failed(ctx, &s->flow.remote, w->now_s))
		return;
	counter_inc(w->counters, CTR_tls_hides);
	wlog_tls_hidden(w, s, ctx->conf->mode == MODE_OBSERVE);
}

/* Also while the option is off: switched on, it knows at once whom it must not touch. */
static void
note_success(struct worker *w, const struct session *s)
{
	const struct policy_ctx *ctx = &w->policy;

	policy_tls_done(ctx, &s->flow.remote, w->now_s);
}

/* What the dialogue may offer. Without a certificate `may` offers nothing; where TLS is required it is offered and answered 454. */
void
session_tls_env(struct worker *w, struct session *s, const struct conf_listener *l, struct smtp_env *env)
{
	const bool possible = w->conf.tls != NULL && tls_context_has_certificate(w->conf.tls);

	if (l->tls == LISTENER_TLS_IMPLICIT || s->stream == NULL || s->stream->is_tls)
		return;
	env->tls_required = l->tls == LISTENER_TLS_REQUIRE;
	env->starttls = possible || env->tls_required;
	env->starttls_busy = !possible || is_busy(w);
	env->starttls_hidden = possible && is_hidden(w, s, l);
	env->ehlo = NULL; /* its own */
}

/* ---- the queue ---- */

void
session_tls_enqueue(struct worker *w, struct session *s, enum counter which)
{
	if (s->tls_queued)
		return;
	counter_inc(w->counters, which);
	s->tls_queued = true;
	s->tls_next = NULL;
	if (w->tls_first == NULL)
		w->tls_first = s;
	else
		w->tls_last->tls_next = s;
	w->tls_last = s;
	w->n_tls_queued++;
}

static struct session *
dequeue(struct worker *w)
{
	struct session *s = w->tls_first;

	w->tls_first = s->tls_next;
	if (w->tls_first == NULL)
		w->tls_last = NULL;
	w->n_tls_queued--;
	s->tls_queued = false;
	return s;
}

/* A session that ends leaves the queue. Its length is bounded, and few end inside it. */
void
session_tls_forget(struct worker *w, struct session *s)
{
	struct session *before = NULL;

	if (!s->tls_queued)
		return;
	for (struct session *at = w->tls_first; at != s; at = at->tls_next)
		before = at;
	if (before == NULL) {
		dequeue(w);
		return;
	}
	before->tls_next = s->tls_next;
	if (w->tls_last == s)
		w->tls_last = before;
	w->n_tls_queued--;
	s->tls_queued = false;
}

/* ---- begin ---- */

static bool
begin(struct worker *w, struct session *s)
{
	struct stream *tls = stream_tls_server(w->conf.tls, w->io->pool);

	if (tls == NULL) {
		session_tls_gone(w, s, CTR_tls_failed_memory, "tls-memory");
		return false;
	}
	s->stream->ops->destroy(s->stream);
	s->stream = tls;
	return true;
}

/* False: it cannot be, and the session is over. */
bool
session_tls_implicit(struct worker *w, struct session *s)
{
	if (w->conf.tls == NULL || !tls_context_has_certificate(w->conf.tls)) {
		counter_inc(w->counters, CTR_tls_no_certificate);
		session_client_lost(w, s, "no-certificate");
		return false;
	}
	if (is_busy(w)) {
		counter_inc(w->counters, CTR_tls_busy_implicit);
		session_client_lost(w, s, "tls-busy");
		return false;
	}
	s->wait = SESSION_WAIT_TLS;
	s->pause_due_us = w->now_us + w->snapshot->conf->tls_handshake_s * UINT64_C(1000000);
	return begin(w, s);
}

/*
 * STARTTLS was taken: everything that is here already was said in plain text and is dropped, in this segment and in those behind it; a
 * backend that knows the client by what it said before is let go. The stream is changed when the 220 is with the connection.
 */
void
session_tls_starttls(struct worker *w, struct session *s)
{
	const uint32_t behind = tcp_readable_octets(s->client.conn);

	counter_add(w->counters, CTR_smtp_plain_after_starttls, s->held.len_octets + behind);
	if (s->held.len_octets > 0)
		session_take_held(w, s, s->held.len_octets);
	tcp_consume(s->client.conn, behind);
	if (s->relay != NULL)
		session_relay_quit(w, s);
	session_tls_forget(w, s); /* of a handshake with a backend that is let go */
	s->wait = SESSION_WAIT_TLS;
	s->pause_due_us = w->now_us + w->snapshot->conf->tls_handshake_s * UINT64_C(1000000);
}

/* ---- end ---- */

/* It did not come to TLS. */
void
session_tls_gone(struct worker *w, struct session *s, enum counter why, const char *word)
{
	counter_inc(w->counters, why);
	session_tls_forget(w, s);
	session_client_lost(w, s, word);
}

static void
failed(struct worker *w, struct session *s)
{
	static const enum counter counter[] = {
		[STREAM_TLS_NONE] = CTR_tls_failed_nonsense,
		[STREAM_TLS_VERSION] = CTR_tls_failed_version,
		[STREAM_TLS_CIPHER] = CTR_tls_failed_cipher,
		[STREAM_TLS_ALERT] = CTR_tls_failed_alert,
		[STREAM_TLS_UNVERIFIED] = CTR_tls_failed_alert,
		[STREAM_TLS_MEMORY] = CTR_tls_failed_memory,
		[STREAM_TLS_NONSENSE] = CTR_tls_failed_nonsense,
	};
	const enum stream_tls_failure f = stream_tls_failure(s->stream);

	note_failure(w, s, f);
	session_tls_gone(w, s, counter[f], stream_tls_failure_word(f));
}

static void
done(struct worker *w, struct session *s)
{
	struct smtp_env env_room;
	const struct smtp_env *env;

	s->wait = SESSION_WAIT_NONE;
	note_success(w, s);
	if (s->tls_implicit) {
		smtp_session_tls_implicit(s->smtp);
		session_greet(w, s);
		return;
	}
	env = session_env(w, s, &env_room);
	smtp_session_tls_started(s->smtp, env, w->now_us);
}

/* ---- its turn ---- */

/* One step: what is here goes through the stream, as long as that is the handshake. */
static void
step(struct worker *w, struct session *s)
{
	struct buf_view wire, plain;
	uint32_t used = 1;

	for (uint32_t i = 0; used > 0 && s->stream->handshaking && !s->stream->failed && i < SESSION_PUMP_MAX; i++) {
		wire = (struct buf_view){ 0 };
		if (tcp_peek(s->client.conn, &wire, 1) == 0)
			break;
		used = stream_unwrap(s->stream, &wire, &plain, w->now_us);
		if (plain.len_octets > 0) { /* came behind the last message of the handshake */
			buf_ref(w->io->pool, plain.buf);
			s->held = plain;
		}
		if (used > 0)
			tcp_consume(s->client.conn, used);
		session_flush_client(w, s);
		if (!s->live || s->client.conn == NULL)
			return;
	}
	if (s->stream->failed)
		failed(w, s);
	else if (!s->stream->handshaking)
		done(w, s);
}

/* Something happened to a session that waits for its handshake: octets came, or its 220 can be sent. */
void
session_tls_run(struct worker *w, struct session *s)
{
	session_flush_client(w, s);
	if (!s->live || s->client.conn == NULL)
		return;
	if (!s->stream->handshaking) {
		if (smtp_session_output_pending(s->smtp) > 0) {
			session_arm(w, s);
			return;
		}
		if (!begin(w, s))
			return;
	}
	if (tcp_readable_octets(s->client.conn) > 0)
		session_tls_enqueue(w, s, CTR_tls_queued);
	session_arm(w, s);
}

/* After everybody else: so many steps of those that wait. True when there were any. */
bool
session_tls_serve(struct worker *w)
{
	const uint32_t n = w->snapshot->conf->tls_handshakes_per_turn;

	for (uint32_t i = 0; i < MAX(n, 1u) && w->tls_first != NULL; i++) {
		struct session *s = dequeue(w);

		if (s->wait != SESSION_WAIT_TLS ||
			!s->stream->is_tls) { /* with its backend; nothing where that went away meanwhile */
			if (session_backend_shakes(s))
				session_relay_turn(w, s);
			continue;
		}
		step(w, s);
		if (s->live && s->wait != SESSION_WAIT_TLS)
			session_pump(w, s);
		else if (s->live)
			session_arm(w, s);
	}
	return true;
}

/* For the log: "no", "hidden" (no, and STARTTLS was not offered), or "TLSv1.3:TLS_AES_256_GCM_SHA384". */
const char *
session_tls_word(const struct session *s, char *out, uint32_t octets)
{
	struct stream_tls_facts facts;

	if (s->stream == NULL || !s->stream->is_tls)
		return s->tls_hide == TLS_HIDE_YES ? "hidden" : "no";
	if (!stream_tls_facts(s->stream, &facts))
		return "yes";
	snprintf(out, octets, "%s:%s%s", facts.version, facts.cipher, facts.resumed ? ":resumed" : "");
	return out;
}
