/*
 * session_rcpts.c - recipients are judged together: all that came in one turn, after each was looked at.
 *
 * Flow:   session_act() -> session_rcpt_soon() -> policy_rcpt_begin() ... session_rcpts_judge() -> policy_rcpt_end() -> session_rcpt_judged()
 * Touches: nothing but the worker's own state; the verdict table through policy.
 * Keeps:  nobody waits beyond his turn. Who waits is in SESSION_WAIT_TURN, so nothing his client sent behind RCPT is looked at before the
 *         answer, and replies keep their order. A session that ended meanwhile is told by its number, also where another one has its block.
 *
 * Of a table of many millions of records each line is a miss, and a page walk before it. What a record is asked for by is known when RCPT was
 * parsed; the lines that are asked for then come while other sessions are served.
 */
#include "dataplane/worker/worker_impl.h"

#include <stdlib.h>

#include "dataplane/base/bug.h"

/* One recipient under judgement; policy's part is behind it. */
struct rcpt_case {
	_Alignas(64) uint64_t number;
	struct session *s;
	struct policy_question q;
};

/* One line more than it needs, so that the same line of each case has a set of the cache of its own. */
static uint32_t
case_octets(void)
{
	const uint32_t lines = (uint32_t)((sizeof(struct rcpt_case) + policy_judge_octets() + 63) / 64);

	return (lines | 1) * 64;
}

/* The last is that of who does not wait. */
static struct rcpt_case *
case_at(const struct worker *w, uint32_t i)
{
	return (struct rcpt_case *)(void *)((uint8_t *)w->rcpts + (size_t)i * case_octets());
}

static struct judge *
judge_of(struct rcpt_case *c)
{
	return (struct judge *)(void *)(c + 1);
}

bool
session_rcpts_create(struct worker *w)
{
	w->rcpts = aligned_alloc(64, (size_t)(RCPTS_AT_ONCE + 1) * case_octets());
	return w->rcpts != NULL;
}

void
session_rcpts_destroy(struct worker *w)
{
	free(w->rcpts);
}

void
session_rcpts_memory(struct memory_list *l)
{
	memory_list_add(l, "recipients under judgement", RCPTS_AT_ONCE + 1, case_octets());
}

/*
 * A reload took the client's listener away: whom it serves, nobody knows any more, and policy would deny relaying for good. The client hears that it is
 * to come again, as for every failure that is not its own. True when it was answered.
 */
static bool
has_lost_listener(struct worker *w, struct session *s)
{
	uint32_t listener;

	if (session_listener(w, s, &listener) != NULL)
		return false;
	s->answer = (struct policy_answer){
		.verdict = VERDICT_DEFER, .would = VERDICT_DEFER, .pool = 0xffff, .reason = "listener-removed"
	};
	session_answer_text(w, s, 451, "4.3.0", "Mail server temporarily unavailable, please try again later");
	return true;
}

static void
begin(struct worker *w, struct session *s, struct rcpt_case *c)
{
	const struct smtp_envelope *e = smtp_session_envelope(s->smtp);

	if (s->wait == SESSION_WAIT_VERDICT)
		s->held_us += w->now_us - s->wait_began_us;
	s->wait_began_us = w->now_us;
	c->number = s->number;
	c->s = s;
	c->q = session_question(w, s, e->from.text, e->rcpt.text);
	policy_rcpt_begin(judge_of(c), &w->policy, &c->q, &s->answer);
}

static void
end(struct worker *w, struct rcpt_case *c)
{
	policy_rcpt_end(judge_of(c));
	session_rcpt_judged(w, c->s, &c->q);
}

void
session_rcpt(struct worker *w, struct session *s)
{
	struct rcpt_case *c = case_at(w, RCPTS_AT_ONCE);

	if (smtp_session_is_authenticated(s->smtp)) { /* the backend said who it is, and decides (POLICY section 1) */
		s->answer = (struct policy_answer){ .verdict = VERDICT_PASS,
			.would = VERDICT_PASS,
			.pool = 0xffff,
			.score = s->verdict.score,
			.reason = "authenticated" };
		s->rcpt_us = w->now_us;
		admission_passed(w, s);
		session_relay_rcpt(w, s);
		return;
	}
	if (has_lost_listener(w, s))
		return;
	begin(w, s, c);
	end(w, c);
}

void
session_rcpt_soon(struct worker *w, struct session *s)
{
	if (w->rcpts_at_once || w->n_rcpts == RCPTS_AT_ONCE || smtp_session_is_authenticated(s->smtp)) {
		session_rcpt(w, s);
		return;
	}
	if (has_lost_listener(w, s))
		return;
	begin(w, s, case_at(w, w->n_rcpts++));
	s->wait = SESSION_WAIT_TURN;
}

void
session_rcpts_judge(struct worker *w)
{
	w->rcpts_at_once = true;
	for (uint32_t i = 0; i < w->n_rcpts; i++) {
		struct rcpt_case *c = case_at(w, i);
		struct session *s = c->s;

		if (!s->live || s->number != c->number || s->wait != SESSION_WAIT_TURN)
			continue;
		s->wait = SESSION_WAIT_NONE;
		end(w, c);
		if (session_is_plain(s))
			session_plain_settle(w, s);
		else
			session_pump(w, s);
		if (s->live)
			session_idle_soon(w, s);
	}
	w->n_rcpts = 0;
	w->rcpts_at_once = false;
}
