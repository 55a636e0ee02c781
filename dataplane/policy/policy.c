/*
 * policy.c - the verdict on one recipient: the order of tests.
 *
 * Flow:   worker (RCPT) -> policy_rcpt() -> rules 1 to 12 -> mode -> answer;  DATA of a null sender -> policy_null_sender_data()
 * Touches: through its rules the verdict table and the budget of the source network, unless dry.
 * Keeps:  the first rule that matches decides; our own failure never refuses or delays.
 * Source: POLICY sections 2, 3, 4 and 7.
 *
 * Each rule is a function (rules_lists.c, rules_client.c, rules_grey.c) that answers whether it decided; an order of tests is written as it
 * is asked, one || after another, so that the compiler sees through it. What an unknown
 * verdict of the client could still change is gathered on the way (may_allow, may_reject, may_doubt); the decision then becomes VERDICT_WAIT
 * if one of those could overturn it.
 */
#include "dataplane/policy/policy.h"

#include <stddef.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/autoallow.h"
#include "dataplane/policy/judge.h"
#include "dataplane/table/prefix.h"

#define TRAP_WHITES_MAX 20 /* a network with more WHITE triplets is no stranger (POLICY section 4) */

static void
judge_init(struct judge *j, const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out,
	enum stage stage)
{
	memset(j, 0, offsetof(struct judge, from)); /* the paths are written below */
	j->ctx = ctx;
	j->q = q;
	j->out = out;
	j->stage = stage;
	memset(out, 0, offsetof(struct policy_answer, text)); /* texts are empty by their first octet */
	out->text[0] = out->enhanced[0] = '\0';
	out->verdict = VERDICT_PASS;
	out->pool = POOL_DEFAULT;
	out->reason = "";
	j->network = out->network = policy_client_network(&q->client);
	j->known = q->verdict.known == CLIENT_KNOWN;
	j->open = !j->known && q->verdict.known != CLIENT_LATE && stage != STAGE_DATA;
	j->names_open = q->names.known != CLIENT_KNOWN && q->names.known != CLIENT_LATE && stage == STAGE_RCPT;
	j->listed = client_add_names(ctx->conf, &q->verdict, &q->names);
	j->client = client_judge(ctx->conf, &j->listed);
	out->score = j->listed.score;
	j->from_octets = triplet_canonical(q->from, j->from);
	j->rcpt_octets = triplet_canonical(q->rcpt, j->rcpt);
	j->rcpt_domain = triplet_domain_of(j->rcpt, j->rcpt_octets);
}

/*
 * Whether the recipient is a trap that catches this client (POLICY section 4): a sender that is not null, and the attempt got past the
 * greylist or the network has no triplet that ever did. One with some meets the greylist like anybody before it is caught. What an earlier
 * rule decided stays: relaying, postmaster, a denied recipient, whom the administrator allows, who is refused anyway.
 */
static bool
trap_fires(struct judge *j)
{
	const struct policy_answer *out = j->out;
	uint8_t whites;

	if (j->ctx->traps == NULL || j->q->dry || j->q->from[0] == '\0' || out->rule < RULE_OPT_OUT ||
		out->verdict == VERDICT_WAIT || !judge_address_listed(j->ctx->traps, j->rcpt))
		return false;
	whites = autoallow_whites(j->ctx, &j->network);
	if (whites >
		TRAP_WHITES_MAX) { /* somebody real, who may have been forwarded to it: the shortcut goes, nothing else */
		autoallow_lose(j->ctx, &j->network, j->q->now_s);
		judge_count(j, CTR_policy_trap_spared);
		return false;
	}
	return out->verdict == VERDICT_PASS || whites == 0;
}

static void
trap_fire(struct judge *j)
{
	if (policy_trap_store(j->ctx, &j->q->client, j->ctx->conf->trap_scope_network, false, 0, j->q->now_s) == 0)
		judge_count(j, CTR_policy_trap_fired);
	judge_refuse(j, RULE_TRAP, VERDICT_DEFER, "trap", "temporarily blocked");
}

/* What the mode makes of the decision. */
static void
apply_mode(struct judge *j)
{
	struct policy_answer *out = j->out;

	if (out->rule == RULE_RELAY || out->verdict == VERDICT_PASS || out->verdict == VERDICT_WAIT)
		return; /* relaying denied never changes */
	if (j->ctx->conf->mode == MODE_OBSERVE) {
		out->verdict = VERDICT_PASS;
		out->code = 0;
		out->text[0] = out->enhanced[0] = '\0';
		judge_count(j, CTR_policy_observed);
	} else if (j->ctx->conf->mode == MODE_SOFT && out->verdict == VERDICT_REJECT) {
		out->verdict = VERDICT_DEFER;
		out->code = 451;
		out->enhanced[0] = '4';
	}
}

static void
count_verdict(const struct judge *j)
{
	switch (j->out->verdict) {
	case VERDICT_PASS:
		judge_count(j, CTR_policy_passed);
		break;
	case VERDICT_DEFER:
		judge_count(j, CTR_policy_deferred);
		break;
	case VERDICT_REJECT:
		judge_count(j, CTR_policy_rejected);
		break;
	case VERDICT_WAIT:
		judge_count(j, CTR_policy_waits);
		return;
	}
	judge_count(j, CTR_policy_judged);
	if ((j->q->verdict.known == CLIENT_LATE || j->q->names.known == CLIENT_LATE) && j->out->rule > RULE_ALLOWED)
		judge_count(j, CTR_policy_decided_without);
}

/* Whether the open verdict could overturn the decision that was reached. */
static bool
is_undecided(const struct judge *j)
{
	switch (j->out->verdict) {
	case VERDICT_PASS:
		return j->may_reject;
	case VERDICT_DEFER:
		return j->may_reject || j->may_allow || j->may_doubt;
	case VERDICT_REJECT:
		return j->may_allow;
	case VERDICT_WAIT:
		return false; /* said already */
	}
	return false;
}

static void
become_waiting(struct judge *j)
{
	const uint16_t pool = j->out->pool;
	const enum policy_rule rule = j->out->rule;

	*j->out = (struct policy_answer){
		.verdict = VERDICT_WAIT, .would = VERDICT_WAIT, .rule = rule, .pool = pool, .reason = "waiting"
	};
}

/* Those that need no record; the last of them asks for the lines of those that will be needed. */
static bool
judge_rcpt_begin(struct judge *j)
{
	return rule_syntax(j) || rule_relay(j) || rule_postmaster(j);
}

/* All others; the greylist always decides. */
static bool
judge_rcpt_end(struct judge *j)
{
	return rule_rcpt_denied(j) || rule_allowed(j) || rule_denied(j) || rule_trap(j) || rule_client(j) ||
	       rule_protocol(j) || rule_opt_out(j) || rule_auto_allow(j) || rule_greylist(j);
}

/* Those about who the client is. */
static bool
judge_client(struct judge *j)
{
	return rule_allowed(j) || rule_denied(j) || rule_trap(j) || rule_client(j);
}

static void
rcpt_begin(struct judge *j, const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out,
	policy_trace_fn *trace, void *trace_arg)
{
	judge_init(j, ctx, q, out, STAGE_RCPT);
	j->trace = trace;
	j->trace_arg = trace_arg;
	j->decided = judge_rcpt_begin(j);
}

uint32_t
policy_judge_octets(void)
{
	return sizeof(struct judge);
}

void
policy_rcpt_begin(
	struct judge *j, const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out)
{
	rcpt_begin(j, ctx, q, out, NULL, NULL);
}

void
policy_rcpt_end(struct judge *j)
{
	const bool decided = j->decided || judge_rcpt_end(j);

	BUG_ON(!decided);
	if (j->out->verdict == VERDICT_WAIT || is_undecided(j))
		become_waiting(j);
	else if (trap_fires(j))
		trap_fire(j);
	apply_mode(j);
	count_verdict(j);
}

void
policy_rcpt(const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out,
	policy_trace_fn *trace, void *trace_arg)
{
	struct judge j;

	rcpt_begin(&j, ctx, q, out, trace, trace_arg);
	policy_rcpt_end(&j);
}

void
policy_null_sender_data(const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out)
{
	struct policy_question as_null = *q;
	struct judge j;

	as_null.from = "";
	judge_init(&j, ctx, &as_null, out, STAGE_DATA);
	j.doubt = j.client.effect == EFFECT_GREY || judge_has_bad_manners(ctx, q);
	/* what lets through at RCPT lets through at DATA; refusals are over, the recipient was accepted */
	(void)(rule_postmaster(&j) || rule_allowed(&j) || rule_opt_out(&j) || rule_auto_allow(&j) || rule_greylist(&j));
	apply_mode(&j);
	if (out->would == VERDICT_DEFER)
		judge_count(&j, CTR_policy_grey_null_held);
}

void
policy_connect(const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out)
{
	struct policy_question client_only = *q;
	struct judge j;

	client_only.from = client_only.rcpt = "";
	client_only.names = NAME_VERDICT_NONE;
	judge_init(&j, ctx, &client_only, out, STAGE_CONNECT);
	if (ctx->conf->reject_at == REJECT_AT_RCPT)
		return;
	judge_prefetch(&j);
	client_only.dry = true; /* nothing but the refusal itself is counted or written here; RCPT comes to the rest */
	if (!judge_client(&j))
		*out = (struct policy_answer){
			.verdict = VERDICT_PASS, .pool = POOL_DEFAULT, .reason = "", .score = j.listed.score
		};
	if (out->verdict == VERDICT_DEFER) /* a 451 belongs to RCPT */
		judge_decide(&j, out->rule, VERDICT_PASS, 0, out->reason);
	if (is_undecided(&j) && !policy_in_good_standing(ctx, &q->client, q->now_s)) {
		become_waiting(&j);
		return;
	}
	apply_mode(&j);
	out->enhanced[0] = '\0';
	if (out->verdict == VERDICT_PASS) {
		out->text[0] = '\0';
		return;
	}
	if (out->verdict == VERDICT_DEFER)
		out->code = 421; /* soft */
	if (!q->dry)
		policy_count(ctx, CTR_policy_connect_refused);
}

/* As at accept, with the verdict that the table holds; without one, decided as if it came late, or not yet. */
static void
judge_syn(const struct policy_ctx *ctx, uint32_t listener, const struct ip_addr *client, uint32_t now_s, bool late,
	struct policy_answer *out)
{
	struct policy_question q = { .listener = listener,
		.client = *client,
		.names = NAME_VERDICT_NONE,
		.helo = "",
		.ptr_name = "",
		.now_s = now_s,
		.dry = true };
	bool fresh = false;

	q.verdict = policy_client_lookup(ctx, client, now_s, &fresh);
	if (late && q.verdict.known != CLIENT_KNOWN)
		q.verdict.known = CLIENT_LATE;
	policy_connect(ctx, &q, out);
}

void
policy_syn_answer(const struct policy_ctx *ctx, uint32_t listener, const struct ip_addr *client, uint32_t now_s,
	struct policy_answer *out)
{
	judge_syn(ctx, listener, client, now_s, true, out);
}

bool
policy_syn_refused(const struct policy_ctx *ctx, uint32_t listener, const struct ip_addr *client, uint32_t now_s)
{
	struct policy_answer out;
	struct prefix_entry e;

	if (ctx->conf->reject_at != REJECT_AT_SYN || ctx->conf->mode != MODE_ENFORCE)
		return false;
	/* 1. What the order of tests comes to for a denied address, when no name can allow it: two lists, no record. */
	if (!ctx->conf->has_allowed_names && ctx->client_deny != NULL &&
		prefix_table_find(ctx->client_deny, client, &e))
		return ctx->client_allow == NULL || !prefix_table_find(ctx->client_allow, client, &e);
	/* 2. Everybody else by what is known of him. */
	judge_syn(ctx, listener, client, now_s, false, &out);
	return out.verdict == VERDICT_REJECT;
}

static bool
asks_for_names(const struct policy_ctx *ctx)
{
	return ctx->conf->helo_weight_max > 0 || ctx->conf->sender_weight_max > 0;
}

bool
policy_is_known(const struct policy_ctx *ctx, const struct policy_question *q)
{
	struct policy_question client_only = *q;
	struct policy_answer out;
	struct judge j;

	if (q->verdict.known != CLIENT_KNOWN)
		return false;
	client_only.from = client_only.rcpt = "";
	client_only.names = NAME_VERDICT_NONE;
	client_only.dry = true;
	judge_init(&j, ctx, &client_only, &out, STAGE_CONNECT);
	judge_prefetch(&j);
	if (ctx->table != NULL)
		j.auto_tag = policy_auto_tag(ctx->table, &q->client);
	if (!(judge_client(&j) || rule_auto_allow(&j)) || out.verdict != VERDICT_PASS)
		return false;
	return out.rule == RULE_ALLOWED ||
	       (out.rule == RULE_AUTO_ALLOW && ctx->sender_deny == NULL && !asks_for_names(ctx));
}
