/*
 * records.c - what becomes of records outside the order of tests: the backend's answers, verdicts of control, traps, forgetting.
 *
 * Flow:   relay's replies -> policy_undo(), policy_message();  control's answers and the operator -> policy_client_store(), policy_trap_store()
 * Touches: the verdict table.
 * Keeps:  every loop over a record is bounded; nothing of another's is undone.
 * Source: POLICY sections 3 and 4.
 */
#include "dataplane/policy/policy.h"

#include <errno.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/autoallow.h"
#include "dataplane/policy/client.h"
#include "dataplane/policy/grey.h"
#include "dataplane/policy/policy_impl.h"
#include "dataplane/policy/triplet.h"
#include "dataplane/table/prefix.h"

void
policy_undo(const struct policy_ctx *ctx, const struct policy_answer *a)
{
	struct vt_entry now;

	/* wait_s > 0: a null sender whose record was not begun */
	if (ctx->table == NULL || a->tag == 0 || a->wait_s > 0 || memcmp(&a->before, &a->after, sizeof(now)) == 0)
		return;
	/* Another attempt may have moved the record on: then it is not ours to put back. */
	if (!verdict_table_find(ctx->table, a->tag, &now) || memcmp(&now, &a->after, sizeof(now)) != 0)
		return;
	if (vt_kind(&a->before) == VT_FREE ? !verdict_table_remove(ctx->table, &now)
					   : verdict_table_put(ctx->table, &now, &a->before, NULL, NULL) != VT_PUT_DONE)
		return;
	policy_count(ctx, CTR_policy_grey_undone);
	if (vt_state(&a->after) == VT_WHITE && vt_state(&a->before) != VT_WHITE)
		autoallow_white(ctx, &a->network, true, a->after.time_s);
}

/* Observe mode: a delivered message makes its triplet WHITE, so that enforcing starts warm. */
static void
warm_triplet(const struct policy_ctx *ctx, const struct policy_question *q)
{
	const struct grey_conf conf = policy_grey_conf(ctx->conf, false);
	const struct vt_ages ages = policy_ages(ctx->conf, q->now_s);
	const struct grey_record rec = { .state = GREY_WHITE, .time_s = q->now_s };
	const uint64_t tag = policy_triplet_tag(ctx->table, &q->client, q->from, q->rcpt);

	for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
		struct grey_record before = { 0 };
		struct vt_entry old, want = grey_store(&rec, tag);
		bool found;

		if (policy_record(ctx->table, tag, VT_TRIPLET, &old, &found))
			before = grey_load(&old);
		if (!grey_is_worth_writing(&conf, &before, &rec))
			return;
		switch (verdict_table_put(ctx->table, found ? &old : NULL, &want, &ages, NULL)) {
		case VT_PUT_DONE:
			return;
		case VT_PUT_FULL:
			policy_count(ctx, CTR_policy_table_full);
			return;
		case VT_PUT_RACED:
			break;
		}
	}
	policy_count(ctx, CTR_policy_state_raced);
}

void
policy_message(const struct policy_ctx *ctx, const struct policy_question *q, bool delivered)
{
	const struct ip_addr network = policy_client_network(&q->client);
	const bool hit = client_has_hit(&q->verdict) || q->names.helo_score > 0 || q->names.sender_score > 0;
	char from[TRIPLET_PATH_MAX_OCTETS + 1];

	if (ctx->table == NULL || q->dry)
		return;
	if (ctx->conf->mode == MODE_OBSERVE && delivered && !hit)
		warm_triplet(ctx, q);
	if (q->from[0] == '\0')
		return;
	/* An unknown verdict is not "without a hit" */
	if (delivered && (q->verdict.known != CLIENT_KNOWN || hit))
		return;
	triplet_canonical(q->from, from);
	autoallow_message(ctx, &network, triplet_domain(from), delivered, q->now_s);
}

bool
policy_in_good_standing(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s)
{
	uint16_t count;

	return ctx->table != NULL && verdict_table_may_hold(ctx->table, VT_AUTO) &&
	       autoallow_check(ctx, policy_auto_tag(ctx->table, client), now_s, true, &count);
}

/* Whether the client or its network is blocked by a trap or by the operator for a time. */
static bool
is_trapped(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s)
{
	struct vt_entry e;
	uint32_t left_s;
	bool found;

	if (!verdict_table_may_hold(ctx->table, VT_TRAP))
		return false;
	for (unsigned i = 0; i < 2; i++)
		if (policy_record(ctx->table,
			    i == 0 ? policy_trap_tag(ctx->table, client) : policy_trap_network_tag(ctx->table, client),
			    VT_TRAP, &e, &found) &&
			policy_trap_is_active(ctx->conf, &e, now_s, &left_s))
			return true;
	return false;
}

bool
policy_is_stranger(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s)
{
	const struct ip_addr network = policy_client_network(client);
	struct client_verdict v;
	struct prefix_entry e;
	bool fresh;

	if (ctx->client_allow != NULL && prefix_table_find(ctx->client_allow, client, &e))
		return false;
	if (ctx->table == NULL || (ctx->client_deny != NULL && prefix_table_find(ctx->client_deny, client, &e)) ||
		is_trapped(ctx, client, now_s))
		return true;
	v = policy_client_lookup(ctx, client, now_s, &fresh);
	if (v.known == CLIENT_KNOWN) {
		if (v.name_list == NAME_LIST_ALLOW)
			return false;
		if (v.name_list == NAME_LIST_DENY || client_judge(ctx->conf, &v).effect >= EFFECT_DEFER)
			return true;
		if (v.name_list == NAME_LIST_BIG_SENDER)
			return false;
	}
	return !policy_in_good_standing(ctx, client, now_s) && autoallow_whites(ctx, &network) == 0;
}

struct client_verdict
policy_client_decode(const struct vt_entry *e)
{
	return client_load(e);
}

/* By a pointer: put together octet by octet and read as words at once, a verdict would wait for every store before it. */
bool
policy_client_find(const struct policy_ctx *ctx, uint64_t tag, uint32_t now_s, struct client_verdict *out)
{
	struct vt_entry e;
	bool found;

	if (ctx->table != NULL && policy_record(ctx->table, tag, VT_CLIENT, &e, &found)) {
		*out = client_load(&e);
		switch (client_age(ctx->conf, out, now_s)) {
		case CLIENT_AGE_FRESH:
			return true;
		case CLIENT_AGE_USABLE:
			return false;
		case CLIENT_AGE_STALE:
			break;
		}
	}
	*out = (struct client_verdict){ .known = CLIENT_UNASKED, .zone = ZONE_NONE };
	return false;
}

struct client_verdict
policy_client_lookup(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s, bool *fresh)
{
	struct client_verdict v;

	*fresh = policy_client_find(ctx, ctx->table != NULL ? policy_client_tag(ctx->table, client) : 0, now_s, &v);
	return v;
}

/* Puts want in place of whatever stands under its tag: 0, -ENOSPC without room, -EBUSY when it changed each time; both counted. */
static int
record_replace(const struct policy_ctx *ctx, const struct vt_entry *want, uint32_t now_s)
{
	const struct vt_ages ages = policy_ages(ctx->conf, now_s);

	for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
		struct vt_entry old;
		const bool found = verdict_table_find(ctx->table, want->tag, &old);

		if (found && memcmp(&old, want, sizeof(old)) == 0)
			return 0;
		switch (verdict_table_put(ctx->table, found ? &old : NULL, want, &ages, NULL)) {
		case VT_PUT_DONE:
			return 0;
		case VT_PUT_FULL:
			policy_count(ctx, CTR_policy_table_full);
			return -ENOSPC;
		case VT_PUT_RACED:
			break;
		}
	}
	policy_count(ctx, CTR_policy_state_raced);
	return -EBUSY;
}

void
policy_client_store(
	const struct policy_ctx *ctx, const struct ip_addr *client, const struct client_verdict *v, uint32_t now_s)
{
	const struct ip_addr network = policy_client_network(client);
	struct vt_entry want;

	if (ctx->table == NULL || v->known != CLIENT_KNOWN)
		return; /* nothing worth keeping */
	if (client_has_hit(v))
		autoallow_lose(ctx, &network, now_s);
	want = client_store(v, policy_client_tag(ctx->table, client), now_s);
	(void)record_replace(ctx, &want, now_s); /* a verdict that finds no room is asked for again */
}

int
policy_trap_store(const struct policy_ctx *ctx, const struct ip_addr *client, bool as_network, bool by_operator,
	uint16_t hours, uint32_t now_s)
{
	const struct ip_addr network = policy_client_network(client);
	struct vt_entry want;

	if (ctx->table == NULL)
		return -ENOSPC;
	want = (struct vt_entry){
		.tag = as_network ? policy_trap_network_tag(ctx->table, client) : policy_trap_tag(ctx->table, client),
		.time_s = now_s,
		.aux = hours,
		.flags = by_operator ? TRAP_BY_OPERATOR : 0,
		.kind_state = vt_kind_state(VT_TRAP, VT_NONE),
	};
	if (!by_operator)
		autoallow_lose(ctx, &network, now_s);
	return record_replace(ctx, &want, now_s);
}

uint32_t
policy_client_forget(const struct policy_ctx *ctx, const struct ip_addr *client)
{
	uint64_t tags[5];
	uint32_t n = 0;

	if (ctx->table == NULL)
		return 0;
	tags[0] = policy_client_tag(ctx->table, client);
	tags[1] = policy_auto_tag(ctx->table, client);
	tags[2] = policy_trap_tag(ctx->table, client);
	tags[3] = policy_trap_network_tag(ctx->table, client);
	tags[4] = policy_tls_tag(ctx->table, client);
	for (unsigned i = 0; i < ARRAY_LEN(tags); i++)
		for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
			struct vt_entry e;

			if (!verdict_table_find(ctx->table, tags[i], &e) ||
				(vt_kind(&e) == VT_TLS && vt_state(&e) == VT_WHITE))
				break;
			if (verdict_table_remove(ctx->table, &e)) {
				n++;
				break;
			}
		}
	return n;
}
