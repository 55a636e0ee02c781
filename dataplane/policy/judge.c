/*
 * judge.c - what every rule needs: noting the decision, its words and reference, the trace, lists of addresses.
 *
 * Flow:   rules (rules_*.c) -> judge_decide(), judge_refuse(); explain <- judge_trace()
 * Pure:   but for the lines of the table that judge_prefetch() asks for.
 */
#include "dataplane/policy/judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/table/name_set.h"

#define REASON_MAX_OCTETS 180 /* of the reply; POLICY allows 200, the whole text has POLICY_TEXT_OCTETS */
#define REF_MASK          UINT64_C(0xffffffffff)

void
judge_tell(const struct judge *j, enum policy_rule rule, bool matched, const char *fmt, ...)
{
	char detail[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	j->trace(j->trace_arg, rule, matched, detail);
}

/* A reference of an event: 40 bits of a keyed hash of what happened to whom and when; never 0. */
uint64_t
judge_ref(const struct judge *j, enum policy_rule rule)
{
	static const struct siphash_key no_key;
	const uint32_t words[2] = { j->q->now_s, (uint32_t)rule };
	struct siphash_state s;
	uint64_t ref;

	siphash_init(&s, j->ctx->table != NULL ? &j->ctx->table->key : &no_key);
	siphash_update(&s, words, sizeof(words));
	siphash_update(&s, j->q->client.octet, sizeof(j->q->client.octet));
	siphash_update(&s, j->from, strlen(j->from) + 1);
	siphash_update(&s, j->rcpt, strlen(j->rcpt));
	ref = siphash_final(&s) & REF_MASK;
	return ref != 0 ? ref : 1;
}

/* Notes the decision as enforce would have it; the mode comes last. Answers true, for `return judge_decide(...)`. */
bool
judge_decide(struct judge *j, enum policy_rule rule, enum verdict verdict, uint16_t code, const char *reason)
{
	struct policy_answer *out = j->out;

	out->verdict = out->would = verdict;
	out->rule = rule;
	out->code = code;
	out->reason = reason;
	if (code != 0) {
		memcpy(out->enhanced, "0.7.1", sizeof("0.7.1"));
		out->enhanced[0] = (char)('0' + code / 100);
	}
	return true;
}

/* Text of outside (names of zones and lists) as printable ASCII, cut at REASON_MAX_OCTETS. */
static void
printable(const char *text, char out[REASON_MAX_OCTETS + 1])
{
	size_t n = 0;

	for (; *text != '\0' && n < REASON_MAX_OCTETS; text++)
		out[n++] = *text >= ' ' && *text <= '~' ? *text : '?';
	out[n] = '\0';
}

bool
judge_refuse(struct judge *j, enum policy_rule rule, enum verdict verdict, const char *word, const char *reason)
{
	char why[REASON_MAX_OCTETS + 1], ref[9];

	j->out->ref = judge_ref(j, rule);
	printable(reason, why);
	snprintf(j->out->text, sizeof(j->out->text), "Sending address not accepted due to spam filter; %s (%s)", why,
		policy_ref_format(j->out->ref, ref));
	return judge_decide(j, rule, verdict, verdict == VERDICT_REJECT ? 554 : 451, word);
}

/* Asks for the lines of the records that the rules from 6 on look at, all at once: their misses then overlap. */
void
judge_prefetch(struct judge *j)
{
	const struct verdict_table *t = j->ctx->table;

	if (t == NULL)
		return;
	j->has_traps = verdict_table_may_hold(t, VT_TRAP);
	if (j->has_traps) {
		j->trap_tags[0] = policy_trap_tag(t, &j->q->client);
		verdict_table_prefetch(t, j->trap_tags[0]);
		j->trap_tags[1] = policy_trap_network_tag(t, &j->q->client);
		verdict_table_prefetch(t, j->trap_tags[1]);
	}
	if (j->stage == STAGE_CONNECT)
		return;
	if (verdict_table_may_hold(t, VT_AUTO)) {
		j->auto_tag = policy_auto_tag(t, &j->q->client);
		verdict_table_prefetch(t, j->auto_tag);
	}
	triplet_key_make(&j->key, &t->key, &j->network, j->from, j->from_octets, j->rcpt, j->rcpt_octets);
	/* most recipients of strangers are new triplets, which note their pair */
	verdict_table_prefetch_put(t, j->key.tag);
	if (j->stage == STAGE_RCPT && j->from_octets > 0)
		verdict_table_prefetch_put(t, j->key.pair_tag);
	if (j->ctx->budget != NULL && j->stage == STAGE_RCPT)
		source_budget_prefetch(j->ctx->budget, judge_network_hash(j));
}

uint64_t
judge_network_hash(struct judge *j)
{
	if (j->network_hash == 0)
		j->network_hash = policy_address_tag(&j->ctx->table->key, VT_FREE, &j->network);
	return j->network_hash;
}

bool
judge_address_listed(const void *set, const char *path)
{
	uint64_t value;

	return set != NULL && path[0] != '\0' && name_set_find_address(set, path, (uint32_t)strlen(path), &value);
}

bool
judge_has_bad_manners(const struct policy_ctx *ctx, const struct policy_question *q)
{
	return q->protocol_score >= MAX(ctx->conf->protocol_grey_threshold, 1u);
}
