/*
 * session_judge.c - carries the dialogue's questions to policy and the verdicts back.
 *
 * Flow:   accept -> session_ask_verdict() -> event ring -> control -> answer ring -> session_verdict_answer()
 *         RCPT -> session_rcpt_soon() -> policy_rcpt_end() -> session_rcpt_judged() -> reply | relay | wait
 * Touches: the verdict table through policy; the event ring.
 * Keeps:  one deadline for all held answers of a client, counted from accept (POLICY section 4); a full ring means "decide without",
 *         never "wait for ever".
 */
#include "dataplane/worker/worker_impl.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"

/* What the dialogue showed so far, weighed (rule 9). */
static uint16_t
protocol_score(struct worker *w, const struct session *s)
{
	const struct conf *conf = w->snapshot->conf;
	const struct {
		uint32_t manner, weight;
	} weights[] = {
		{ MANNER_EARLY_TALKER, conf->protocol_early_talker },
		{ MANNER_PIPELINING, conf->protocol_pipelining },
		{ MANNER_BARE_LINE, conf->protocol_bare_line },
		{ MANNER_NON_SMTP, conf->protocol_non_smtp },
		{ MANNER_HELO_SYNTAX, conf->protocol_helo_syntax },
		{ MANNER_HELO_OURS, conf->protocol_helo_ours },
		{ MANNER_HELO_LITERAL, conf->protocol_helo_literal },
	};
	const uint32_t manners =
		smtp_session_manners(s->smtp) |
		smtp_helo_faults(smtp_session_helo(s->smtp), &s->flow.remote, conf->hostname, &s->told_local);
	uint32_t score = 0;

	for (size_t i = 0; manners != 0 && i < ARRAY_LEN(weights); i++)
		if (manners & weights[i].manner)
			score += weights[i].weight;
	if (conf->protocol_errors_from > 0 && smtp_session_errors(s->smtp) >= conf->protocol_errors_from)
		score += conf->protocol_errors;
	return (uint16_t)MIN(score, (uint32_t)UINT16_MAX);
}

struct policy_question
session_question(struct worker *w, struct session *s, const char *from, const char *rcpt)
{
	uint32_t listener;
	const struct conf_listener *l = session_listener(w, s, &listener);

	return (struct policy_question){
		.listener = listener,
		.i_trust_the_backend = l != NULL && l->i_trust_the_backend,
		.client = s->flow.remote,
		.verdict = s->verdict,
		.names = s->names,
		.protocol_score = protocol_score(w, s),
		.helo = smtp_session_helo(s->smtp),
		.ptr_name =
			s->verdict.ptr_state == PTR_CONFIRMED || s->verdict.ptr_state == PTR_GENERIC ? s->ptr_name : "",
		.from = from,
		.rcpt = rcpt,
		.now_s = w->now_s,
	};
}

bool
session_is_stranger(const struct worker *w, const struct ip_addr *client)
{
	const struct policy_ctx *ctx = &w->policy;

	return policy_is_stranger(ctx, client, w->now_s);
}

/* ---- the client's verdict ---- */

static bool
send_question(struct worker *w, const struct session *s, enum link_want_name want_name, bool background)
{
	struct link_event_client *e;

	if (w->snapshot->conf->dns_off)
		return false;
	e = ring_reserve(w->event);
	if (e == NULL) {
		counter_inc(w->counters, CTR_worker_questions_refused);
		return false;
	}
	*e = (struct link_event_client){
		.head = { .type = LINK_EVENT_CLIENT,
			.len_octets = sizeof(*e),
			.worker = (uint16_t)w->conf.index,
			.dataplane_incarnation = w->segment->incarnation,
			.control_incarnation = w->segment->live->incarnation[SEGMENT_CONTROL] },
		.session = background ? 0 : s->number,
		.client = s->flow.remote,
		.want_name = want_name,
		.deadline_ms = w->snapshot->conf->dns_deadline_ms,
	};
	ring_publish(w->event);
	counter_inc(w->counters, CTR_worker_questions);
	return true;
}

void
session_ask_verdict(struct worker *w, struct session *s)
{
	const struct policy_ctx *ctx = &w->policy;
	uint32_t listener;
	const bool want_name = session_listener(w, s, &listener) != NULL && w->wants_name >> listener & 1;
	enum link_want_name want = LINK_WANT_VERDICT;
	bool fresh, background;

	fresh = policy_client_find(ctx, admission_arrival(w, &s->flow.remote)->verdict_tag, w->now_s, &s->verdict);
	s->good = policy_in_good_standing(ctx, &s->flow.remote, w->now_s);
	if (s->good && s->verdict.known == CLIENT_KNOWN && s->verdict.time_s <= w->now_s &&
		w->now_s - s->verdict.time_s < w->snapshot->conf->client_fresh_s)
		fresh = true; /* asked about once in so long, even if DNS had a temporary error then */
	s->verdict_due_us = w->now_us + w->snapshot->conf->dns_deadline_ms * UINT64_C(1000);
	if (s->verdict.known == CLIENT_KNOWN && fresh && !want_name)
		return;
	background = s->verdict.known == CLIENT_KNOWN && !want_name;
	if (want_name)
		want = s->verdict.known != CLIENT_KNOWN ? LINK_WANT_NAME
		       : fresh                          ? LINK_WANT_LAST_NAME
		       : s->good                        ? LINK_WANT_NAME_NOW
		                                        : LINK_WANT_NAME;
	s->dns_asked = send_question(w, s, want, background) && !background;
	s->asked_us = w->now_us;
	if (s->verdict.known != CLIENT_KNOWN)
		s->verdict.known = s->dns_asked ? CLIENT_ASKED : CLIENT_LATE;
}

/* What waited for the verdict goes on, with it or without. */
static void
resume(struct worker *w, struct session *s)
{
	bool waits = false;

	switch ((enum session_wait)s->wait) {
	case SESSION_WAIT_VERDICT:
		session_rcpt(w, s);
		break;
	case SESSION_WAIT_NAME:
		session_relay_rcpt(w, s);
		break;
	case SESSION_WAIT_CONNECT_VERDICT:
		if (!session_connect_refused(w, s, &waits)) {
			s->wait = SESSION_WAIT_NONE;
			session_greet(w, s);
		} else if (s->tls_implicit) {
			session_client_lost(w, s, "refused");
		}
		break;
	case SESSION_WAIT_NONE:
	case SESSION_WAIT_PROXY:
	case SESSION_WAIT_TLS:
	case SESSION_WAIT_GREET_PAUSE:
	case SESSION_WAIT_TURN:
	case SESSION_WAIT_BACKEND_RCPT:
	case SESSION_WAIT_BACKEND_AUTH:
	case SESSION_WAIT_BACKEND_DATA:
	case SESSION_WAIT_BACKEND_DOT:
	case SESSION_WAIT_CLOSE:
		break;
	}
}

struct session *
session_of_answer(struct worker *w, uint64_t number)
{
	struct session *s = session_of_number(w, number);

	if (s != NULL)
		return s;
	counter_inc(w->counters, CTR_worker_answer_stale);
	return NULL;
}

void
session_verdict_answer(struct worker *w, const struct link_answer_client *a)
{
	struct session *s;

	if (a->session == 0)
		return; /* a refresh: control has stored it in the table */
	s = session_of_answer(w, a->session);
	if (s == NULL)
		return;
	if (!ip_addr_equal(&s->flow.remote, &a->client)) {
		counter_inc(w->counters, CTR_worker_answer_stale);
		session_idle(w, s);
		return;
	}
	s->verdict = a->verdict;
	if (s->verdict.known != CLIENT_LATE) /* control ran into its own deadline */
		s->verdict.known = CLIENT_KNOWN;
	s->dns_asked = false;
	s->dns_ms = (uint32_t)((w->now_us - s->asked_us) / 1000);
	if (a->ptr_len < sizeof(s->ptr_name)) {
		memcpy(s->ptr_name, a->ptr, a->ptr_len);
		s->ptr_name[a->ptr_len] = '\0';
	}
	resume(w, s);
	if (s->live)
		session_pump(w, s);
	if (s->live)
		session_idle(w, s);
}

/* A recipient waits for the first of what is still out; who waits for the banner or a name, for the client's verdict alone. */
uint64_t
session_verdict_due_us(const struct session *s)
{
	uint64_t due = UINT64_MAX;

	if (s->wait != SESSION_WAIT_VERDICT)
		return s->verdict_due_us;
	if (s->verdict.known == CLIENT_ASKED)
		due = s->verdict_due_us;
	if (s->names.known == CLIENT_ASKED)
		due = MIN(due, s->names_due_us);
	return due;
}

/* What is out of time is given up; a late answer still counts at the next recipient. */
void
session_verdict_late(struct worker *w, struct session *s)
{
	counter_inc(w->counters, CTR_worker_verdicts_late);
	if (w->now_us >= s->verdict_due_us) {
		if (s->verdict.known != CLIENT_KNOWN)
			s->verdict.known = CLIENT_LATE;
		s->dns_asked = false;
	}
	if (s->names.known == CLIENT_ASKED && w->now_us >= s->names_due_us)
		s->names.known = CLIENT_LATE;
	resume(w, s);
}

/* ---- splice of known clients ---- */

/* One pool, all of it told the client by PROXY and tested not to relay for strangers: behind a splice our relay guard does not stand. */
static bool
pool_takes_splices(struct worker *w, const struct conf_listener *l)
{
	const struct snapshot *snap = w->snapshot;

	if (__builtin_popcountll(l->pools) != 1 || l->default_pool >= snap->n_pools)
		return false;
	for (uint32_t i = 0; i < snap->n_backends; i++) {
		const struct conf_backend *b = &snap->backends[i];
		const struct backend_state *state;

		if (!(snap->pools[l->default_pool].backends >> i & 1))
			continue;
		if (b->client_address != CLIENT_ADDRESS_PROXY_V1 && b->client_address != CLIENT_ADDRESS_PROXY_V2)
			return false;
		state = segment_backend(w->segment, b->id, false);
		if (state == NULL || state->relaytest_s == 0)
			return false;
	}
	return true;
}

/*
 * Whether this client's octets go to a backend unread (POLICY section 5, last): switched on, with a fresh verdict and nothing to ask, a
 * client that is let through whatever it sends, and no rule that needs a recipient. Not in observe mode, which learns from messages.
 */
bool
session_may_splice(struct worker *w, const struct session *s)
{
	const struct snapshot *snap = w->snapshot;
	const struct policy_ctx *ctx = &w->policy;
	struct policy_question q = {
		.client = s->flow.remote, .names = NAME_VERDICT_NONE, .helo = "", .ptr_name = "", .now_s = w->now_s
	};
	const struct conf_listener *l;
	bool fresh = false;

	if (snap->conf->known_clients_relay || snap->conf->mode == MODE_OBSERVE)
		return false;
	l = worker_listener_of(w, &s->flow, &q.listener);
	if (l == NULL || l->tls >= LISTENER_TLS_REQUIRE || ctx->traps != NULL || snap->rcpt_allow != NULL ||
		snap->rcpt_deny != NULL || snap->rcpt_no_grey != NULL)
		return false;
	q.verdict = policy_client_lookup(ctx, &s->flow.remote, w->now_s, &fresh);
	return fresh && pool_takes_splices(w, l) && policy_is_known(ctx, &q);
}

/* ---- refusal at connect ---- */

bool
session_connect_refused(struct worker *w, struct session *s, bool *waits)
{
	const struct policy_ctx *ctx = &w->policy;
	struct policy_question q;
	struct policy_answer a;
	struct smtp_reply r;
	struct smtp_env env_room;
	const struct smtp_env *env;

	*waits = false;
	if (w->snapshot->conf->reject_at == REJECT_AT_RCPT)
		return false;
	q = session_question(w, s, "", "");
	policy_connect(ctx, &q, &a);
	if (a.verdict == VERDICT_WAIT) {
		*waits = s->verdict.known == CLIENT_ASKED;
		return false;
	}
	if (a.verdict == VERDICT_PASS)
		return false;
	env = session_env(w, s, &env_room);
	s->answer = a;
	smtp_reply_setf(&r, a.code, NULL, "%s %s %s", env->conf->hostname, a.enhanced, a.text);
	s->wait = SESSION_WAIT_NONE;
	counter_inc(w->counters, CTR_worker_refused_at_connect);
	wlog_rcpt(w, s, &r);
	smtp_session_refuse(s->smtp, env, &r, w->now_us);
	return true;
}

/*
 * A SYN to a listener of mail, refused before it costs anything (reject_at = syn). Not one of a trusted proxy, which speaks for others, nor
 * of submission, where nobody is judged.
 */
bool
session_syn_refused(struct worker *w, const struct net_seg *seg)
{
	const struct policy_ctx *ctx = &w->policy;
	uint32_t listener;
	const struct conf_listener *l = worker_listener_of(w, &seg->flow, &listener);

	if (l == NULL || l->role != ROLE_MX || session_proxy_expected(l, &seg->flow.remote) ||
		!policy_syn_refused(ctx, listener, &seg->flow.remote, w->now_s))
		return false;
	counter_inc(w->counters, CTR_worker_refused_at_syn);
	if (wlog_syn_allowed(w)) { /* only then is it worth asking why */
		struct policy_answer a;

		policy_syn_answer(ctx, listener, &seg->flow.remote, w->now_s, &a);
		wlog_syn_refused(w, l->name, &seg->flow.remote, &a);
	}
	return true;
}

/* ---- recipients ---- */

/*
 * The table holds a known client's verdict, not its name. Who is let through has time for it while the backend answers: the log and
 * XCLIENT name it then. Nobody waits for this.
 */
static void
ask_name(struct worker *w, struct session *s)
{
	if (s->ptr_name[0] != '\0' || s->dns_asked || s->name_asked || s->verdict.known != CLIENT_KNOWN ||
		s->verdict.ptr_state == PTR_NONE || s->verdict.ptr_state == PTR_TEMPERR)
		return;
	s->name_asked = true;
	s->asked_us = w->now_us;
	send_question(w, s, LINK_WANT_LAST_NAME, false);
}

void
session_rcpt_judged(struct worker *w, struct session *s, const struct policy_question *q)
{
	const struct smtp_envelope *e = smtp_session_envelope(s->smtp);

	if (e->from.len_octets > 0 && s->answer.after.kind_state != 0 && vt_kind(&s->answer.before) == VT_FREE)
		wlog_name(w, &s->answer, e->from.text, e->from.len_octets, e->rcpt.text, e->rcpt.len_octets);
	switch (s->answer.verdict) {
	case VERDICT_WAIT:
		session_names_ask(w, s);
		if (s->verdict.known == CLIENT_ASKED || s->names.known == CLIENT_ASKED) {
			s->wait = SESSION_WAIT_VERDICT;
			return;
		}
		/* nothing is under way that could be waited for, unless the names need no question or an answer came in this turn */
		if ((s->names.known == CLIENT_KNOWN && q->names.known != CLIENT_KNOWN) ||
			(s->verdict.known == CLIENT_KNOWN && q->verdict.known != CLIENT_KNOWN)) {
			session_rcpt(w, s);
			return;
		}
		if (s->verdict.known != CLIENT_KNOWN)
			s->verdict.known = CLIENT_LATE;
		if (s->names.known != CLIENT_KNOWN)
			s->names.known = CLIENT_LATE;
		counter_inc(w->counters, CTR_worker_verdicts_late);
		session_rcpt(w, s);
		return;
	case VERDICT_PASS:
		s->rcpt_us = w->now_us;
		/* not by the word alone: postmaster and call-outs pass whoever asks */
		if (s->stranger && !session_is_stranger(w, &s->flow.remote))
			admission_passed(w, s);
		ask_name(w, s);
		session_relay_rcpt(w, s);
		return;
	case VERDICT_DEFER:
	case VERDICT_REJECT:
		session_answer_text(w, s, s->answer.code, s->answer.enhanced, s->answer.text);
		return;
	}
}

/* The backend refused the recipient for good: its record goes back to what it was. */
void
session_rcpt_undo(struct worker *w, struct session *s)
{
	const struct policy_ctx *ctx = &w->policy;

	policy_undo(ctx, &s->answer);
}

/* At DATA of a null-sender transaction: the largest wait over its accepted recipients, 0 when none is grey. */
void
session_data_null_sender(struct worker *w, struct session *s, uint32_t *wait_s, uint64_t *ref)
{
	const struct policy_ctx *ctx = &w->policy;

	*wait_s = 0;
	if (s->kept_rcpts == NULL || smtp_session_envelope(s->smtp)->from.len_octets != 0)
		return;
	for (uint32_t i = 0; i < s->kept_rcpts->n; i++) {
		const struct policy_question q = session_question(w, s, "", s->kept_rcpts->rcpt[i]);
		struct policy_answer a;

		policy_null_sender_data(ctx, &q, &a);
		if (a.after.kind_state != 0 && vt_kind(&a.before) == VT_FREE)
			wlog_name(w, &a, "", 0, s->kept_rcpts->rcpt[i], (uint32_t)strlen(s->kept_rcpts->rcpt[i]));
		if (a.verdict == VERDICT_DEFER && a.wait_s > *wait_s) {
			*wait_s = a.wait_s;
			*ref = a.ref;
		}
	}
	if (*wait_s > 0)
		counter_inc(w->counters, CTR_worker_null_sender_deferred);
}

void
session_message_done(struct worker *w, struct session *s, bool delivered)
{
	const struct policy_ctx *ctx = &w->policy;
	const uint32_t n = s->kept_rcpts == NULL || smtp_session_is_authenticated(s->smtp) ? 0
	                   : delivered                                                     ? s->kept_rcpts->n
	                                                                                   : MIN(s->kept_rcpts->n, 1u);

	if (delivered)
		tcp_vouch(w->tcp, &s->flow.remote);
	for (uint32_t i = 0; i < n; i++) {
		const struct policy_question q = session_question(w, s, s->message_from, s->kept_rcpts->rcpt[i]);

		policy_message(ctx, &q, delivered);
	}
}
