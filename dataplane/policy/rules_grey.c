/*
 * rules_grey.c - rules 10 to 12: who is spared the greylist, and the greylist in the table.
 *
 * Flow:   policy.c (order of tests) -> rule_greylist() -> grey_decide() -> the record in the verdict table -> judge_decide()
 * Touches: the verdict table and the budget of the source network, unless dry.
 * Keeps:  our own failure lets through; a refused insert is still 451; every loop over a record is bounded.
 * Source: POLICY sections 2 and 3.
 */
#include "dataplane/policy/judge.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"
#include "dataplane/policy/autoallow.h"

#define PAIR_NETWORKS 3 /* networks a pair remembers: the next one is the fourth */

/* 10. Opted out of greylisting. */
bool
rule_opt_out(struct judge *j)
{
	const bool is = judge_address_listed(j->ctx->rcpt_no_grey, j->rcpt);

	judge_trace(j, RULE_OPT_OUT, is, is ? "in recipients.no_greylist" : "not in recipients.no_greylist");
	if (!is)
		return false;
	judge_count(j, CTR_policy_opted_out);
	return judge_decide(j, RULE_OPT_OUT, VERDICT_PASS, 0, "opt-out");
}

/* 11. Automatic allow of the network; a client with a DNSBL hit does not have it. */
bool
rule_auto_allow(struct judge *j)
{
	uint16_t count = 0;
	bool is;

	if (client_has_hit(&j->listed)) {
		judge_trace(j, RULE_AUTO_ALLOW, false, "not for a listed client");
		return false;
	}
	if (j->known && j->q->verdict.name_list == NAME_LIST_BIG_SENDER) { /* only ever set for a confirmed name */
		judge_trace(j, RULE_AUTO_ALLOW, true, "confirmed name %s is of a big sender's pool", j->q->ptr_name);
		judge_count(j, CTR_policy_big_senders);
		j->may_reject = j->may_allow = j->may_doubt = false;
		return judge_decide(j, RULE_AUTO_ALLOW, VERDICT_PASS, 0, "big-sender");
	}
	is = j->auto_tag != 0 && autoallow_check(j->ctx, j->auto_tag, j->q->now_s, j->q->dry, &count);
	judge_trace(j, RULE_AUTO_ALLOW, is, "%u messages counted for the network, %u needed", count,
		j->ctx->conf->grey_auto_after);
	if (!is)
		return false;
	judge_count(j, CTR_policy_auto_allowed);
	/* A client in good standing never waits for DNS; what DNS says counts for the next session. */
	j->may_reject = j->may_allow = j->may_doubt = false;
	return judge_decide(j, RULE_AUTO_ALLOW, VERDICT_PASS, 0, "auto-allow");
}

/* What the three octets of a pair remember: a fingerprint, never 0, of each network. */
static uint8_t
pair_fingerprint(uint64_t network_hash)
{
	return (uint8_t)(network_hash % 255 + 1);
}

/*
 * Notes that this network began a window for the pair of sender and recipient; true when it is the fourth within the window of the first.
 * VT_PAIR: time_s of the first network, aux and flags three fingerprints. Two networks may share one (1 in 255): then the fifth passes.
 */
static bool
pair_note(struct judge *j)
{
	const struct policy_ctx *ctx = j->ctx;
	const struct grey_conf grey = policy_grey_conf(ctx->conf, j->doubt);
	const struct vt_ages ages = policy_ages(ctx->conf, j->q->now_s);
	const uint8_t mine = pair_fingerprint(judge_network_hash(j));
	const uint64_t tag = j->key.pair_tag;

	for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
		uint8_t seen[PAIR_NETWORKS] = { 0 };
		struct vt_entry old, want;
		bool found, running;
		unsigned n = 0;

		running = policy_record(ctx->table, tag, VT_PAIR, &old, &found) && old.time_s <= j->q->now_s &&
		          j->q->now_s - old.time_s < grey_window_s(&grey, 0);
		if (running) {
			seen[0] = (uint8_t)old.aux;
			seen[1] = (uint8_t)(old.aux >> 8);
			seen[2] = old.flags;
		}
		while (n < PAIR_NETWORKS && seen[n] != 0 && seen[n] != mine)
			n++;
		if (n == PAIR_NETWORKS)
			return true;
		if (seen[n] == mine || j->q->dry)
			return false;
		seen[n] = mine;
		want = (struct vt_entry){
			.tag = tag,
			.time_s = running ? old.time_s : j->q->now_s,
			.aux = (uint16_t)(seen[0] | seen[1] << 8),
			.flags = seen[2],
			.kind_state = vt_kind_state(VT_PAIR, VT_NONE),
		};
		if (verdict_table_put(ctx->table, found ? &old : NULL, &want, &ages, NULL) != VT_PUT_RACED)
			return false; /* written, or no room: then this network is not remembered, nothing worse */
	}
	return false;
}

/* Our own failure to read or write state: let through. */
static bool
greylist_failed(struct judge *j, const char *detail)
{
	judge_trace(j, RULE_GREYLIST, true, "%s: let through", detail);
	judge_count(j, CTR_policy_state_failed);
	j->out->tag = 0;
	j->out->before = j->out->after = (struct vt_entry){ 0 };
	return judge_decide(j, RULE_GREYLIST, VERDICT_PASS, 0, "state-failure");
}

static void
greylist_count(const struct judge *j, enum grey_event event)
{
	static const enum counter counters[] = {
		[GREY_EVENT_NEW] = CTR_policy_grey_new,
		[GREY_EVENT_EARLY] = CTR_policy_grey_early,
		[GREY_EVENT_PASSED] = CTR_policy_grey_passed,
		[GREY_EVENT_RENEWED] = CTR_policy_grey_white,
		[GREY_EVENT_EXPIRED] = CTR_policy_grey_expired,
		[GREY_EVENT_LAPSED] = CTR_policy_grey_lapsed,
	};

	judge_count(j, counters[event]);
}

static const char *
greylist_event_text(enum grey_event event)
{
	static const char *const texts[] = {
		[GREY_EVENT_NEW] = "first attempt",
		[GREY_EVENT_EARLY] = "retry before the block is over",
		[GREY_EVENT_PASSED] = "retry within the window",
		[GREY_EVENT_RENEWED] = "WHITE",
		[GREY_EVENT_EXPIRED] = "record expired",
		[GREY_EVENT_LAPSED] = "retry after the window, which is doubled",
	};

	return texts[event];
}

/* Appends n octets and gives the new end: this reply is made for every stranger, and snprintf() was a tenth of the
 * whole decision. The parts are ours, their sum is far below POLICY_TEXT_OCTETS. */
static inline char *
put_octets(char *at, const char *text, size_t n)
{
	memcpy(at, text, n);
	return at + n;
}
#define PUT_WORDS(at, words) put_octets(at, words, sizeof(words) - 1)

/* A null sender at RCPT: call-outs use it and want the backend's answer. What the greylist would say is said at DATA, from the same record. */
static bool
greylist_hold(struct judge *j, const struct grey_answer *a)
{
	j->out->wait_s = a->wait_s;
	judge_trace(j, RULE_GREYLIST, true, "null sender: the backend answers RCPT, DATA would be deferred for %u s",
		a->wait_s);
	return judge_decide(j, RULE_GREYLIST, VERDICT_PASS, 0, "null-sender");
}

static bool
greylist_reply(struct judge *j, const struct grey_answer *a)
{
	struct policy_answer *out = j->out;
	char ref[9], *at;

	out->wait_s = a->wait_s;
	at = PUT_WORDS(out->text, "Greylisted, please try again in ");
	at = text_put_number(at, a->wait_s);
	at = PUT_WORDS(at, " seconds");
	if (j->ctx->conf->grey_reference) {
		at = PUT_WORDS(at, " (");
		at = put_octets(at, policy_ref_format(out->ref, ref), sizeof(ref) - 1);
		at = PUT_WORDS(at, ")");
	}
	*at = '\0';
	return judge_decide(j, RULE_GREYLIST, VERDICT_DEFER, 451, "greylist");
}

static bool
greylist_defer(struct judge *j, const struct grey_answer *a)
{
	if (j->doubt)
		judge_count(j, CTR_policy_client_doubted);
	judge_trace(j, RULE_GREYLIST, true, "%s: deferred for %u s", greylist_event_text(a->event), a->wait_s);
	return greylist_reply(j, a);
}

static bool
greylist_pass(struct judge *j, const struct grey_answer *a, bool by_pool)
{
	j->out->waited_s = a->waited_s;
	if (by_pool) {
		judge_count(j, CTR_policy_grey_pool_pass);
		judge_trace(j, RULE_GREYLIST, true, "fourth network of the same sender and recipient: let through");
		return judge_decide(j, RULE_GREYLIST, VERDICT_PASS, 0, "pool");
	}
	judge_trace(j, RULE_GREYLIST, true, "%s%s", greylist_event_text(a->event),
		a->event == GREY_EVENT_PASSED ? ": becomes WHITE" : ": let through");
	return judge_decide(j, RULE_GREYLIST, VERDICT_PASS, 0,
		a->event == GREY_EVENT_PASSED ? "greylist-passed" : "greylist-white");
}

/* The one ending of the greylist's answers: of an ordinary sender at RCPT, of the null sender at DATA. */
static bool
greylist_answer(struct judge *j, const struct grey_answer *a, bool by_pool)
{
	greylist_count(j, a->event);
	if (a->clock_ahead)
		judge_count(j, CTR_policy_clock_ahead);
	return a->verdict == VERDICT_PASS ? greylist_pass(j, a, by_pool) : greylist_defer(j, a);
}

/*
 * No record, but they are still being loaded: this one may be WHITE. Nothing is written, or the record that comes would find another in its
 * place; told is when all will be there, so that who is known comes back then.
 */
static bool
greylist_loading(struct judge *j, const struct grey_conf *conf, struct grey_answer *a)
{
	a->wait_s = MIN(j->ctx->loading_left_s, conf->block_s);
	if (j->q->from[0] == '\0' && j->stage == STAGE_RCPT)
		return greylist_hold(j, a);
	judge_trace(j, RULE_GREYLIST, true, "records are being loaded for another %u s: no record is begun",
		j->ctx->loading_left_s);
	judge_count(j, CTR_policy_grey_loading);
	return greylist_reply(j, a);
}

/*
 * Stores the record as it became (want) in place of old (NULL: none). A new window costs the source network of its budget; without one, or
 * without room, nothing is remembered and the answer stands. false: the record changed meanwhile, decide anew.
 */
static bool
greylist_store(
	struct judge *j, const struct vt_entry *old, const struct vt_entry *want, const struct grey_record *before)
{
	const struct policy_ctx *ctx = j->ctx;
	const struct vt_ages ages = policy_ages(ctx->conf, j->q->now_s);
	const bool is_white = vt_state(want) == VT_WHITE;

	j->paid = j->paid || before->state != GREY_NONE || is_white || ctx->budget == NULL ||
	          source_budget_take(ctx->budget, judge_network_hash(j), ctx->conf->grey_source_budget, j->q->now_s);
	if (!j->paid) {
		judge_count(j, CTR_policy_grey_budget);
		j->out->after = j->out->before;
		return true;
	}
	switch (verdict_table_put(ctx->table, old, want, &ages, NULL)) {
	case VT_PUT_DONE:
		if (is_white && before->state != GREY_WHITE)
			autoallow_white(ctx, &j->network, false, j->q->now_s);
		return true;
	case VT_PUT_FULL:
		judge_count(j, CTR_policy_table_full);
		j->out->after = j->out->before;
		return true;
	case VT_PUT_RACED:
		break;
	}
	return false;
}

/* 12. The greylist. Always decides. */
bool
rule_greylist(struct judge *j)
{
	const struct policy_ctx *ctx = j->ctx;
	const struct grey_conf conf = policy_grey_conf(ctx->conf, j->doubt);
	const bool is_null = j->q->from[0] == '\0';
	bool pool_asked = false, by_pool = false;

	if (ctx->table == NULL)
		return greylist_failed(j, "there is no table");
	j->out->tag = j->key.tag;
	j->out->ref = policy_ref_of_tag(j->out->tag);

	for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
		struct grey_record before = { 0 }, rec;
		struct vt_entry old, want;
		struct grey_answer a;
		bool found;

		if (policy_record(ctx->table, j->out->tag, VT_TRIPLET, &old, &found))
			before = grey_load(&old);
		rec = before;
		a = grey_decide(&conf, &rec, j->q->now_s);
		if (a.event == GREY_EVENT_RENEWED)
			j->may_allow = j->may_reject = j->may_doubt = false; /* in good standing: never waits for DNS */
		else if (j->may_reject || (a.verdict == VERDICT_DEFER && (j->may_allow || j->may_doubt))) {
			judge_trace(j, RULE_GREYLIST, true, "waits for DNS");
			return judge_decide(j, RULE_GREYLIST, VERDICT_WAIT, 0, "waiting");
		}
		if (!found && ctx->loading_left_s > 0)
			return greylist_loading(j, &conf, &a);
		if (a.verdict == VERDICT_DEFER && is_null && j->stage == STAGE_RCPT)
			return greylist_hold(j, &a);

		/* A new window for a sender who comes from network after network; bounces come from everywhere and do not count. */
		if (a.verdict == VERDICT_DEFER && a.event != GREY_EVENT_EARLY && !is_null) {
			if (!pool_asked)
				by_pool = pair_note(j);
			pool_asked = true;
			if (by_pool) {
				a = (struct grey_answer){ .verdict = VERDICT_PASS, .event = a.event };
				rec = (struct grey_record){ .state = GREY_WHITE, .time_s = j->q->now_s };
			}
		}
		want = grey_store(&rec, j->out->tag);
		j->out->before = found && before.state != GREY_NONE ? old : (struct vt_entry){ 0 };
		j->out->after = want;
		if (!j->q->dry && grey_is_worth_writing(&conf, &before, &rec)) {
			if (!greylist_store(j, found ? &old : NULL, &want, &before))
				continue;
		} else if (!j->q->dry && found) {
			j->out->after = old; /* as it stands */
		}
		return greylist_answer(j, &a, by_pool);
	}
	judge_count(j, CTR_policy_state_raced);
	return greylist_failed(j, "the record changed each time");
}
