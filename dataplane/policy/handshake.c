/*
 * handshake.c - failed and completed handshakes of an address: when STARTTLS is hidden from it, and when never.
 *
 * Flow:   worker (end of a handshake) -> policy_tls_failed(), policy_tls_done() -> record;  worker (banner) -> policy_tls_state()
 * Touches: the verdict table, which all workers share and control keeps.
 * Keeps:  see handshake.h.
 */
#include "dataplane/policy/handshake.h"

#include "dataplane/policy/policy_impl.h"

static struct handshake
counts_for(enum handshake_state state, uint32_t age_s, uint32_t life_s)
{
	if (age_s >= life_s)
		return (struct handshake){ .state = HANDSHAKE_NONE };
	return (struct handshake){ .state = state, .since_s = age_s, .left_s = life_s - age_s };
}

struct handshake
handshake_load(const struct vt_entry *e, uint32_t now_s)
{
	const uint32_t age_s = policy_age_s(e->time_s, now_s);

	if (vt_kind(e) != VT_TLS)
		return (struct handshake){ .state = HANDSHAKE_NONE };
	if (vt_state(e) ==
		VT_WHITE) /* the last one may be younger than the record by so much: "never" errs on that side */
		return counts_for(HANDSHAKE_GOOD, age_s, HANDSHAKE_GOOD_S + HANDSHAKE_RENEW_S);
	if (e->aux >= HANDSHAKE_FAILURES)
		return counts_for(HANDSHAKE_HIDDEN, age_s, HANDSHAKE_HIDE_S);
	return counts_for(HANDSHAKE_FAILED, age_s, HANDSHAKE_MEMORY_S);
}

bool
handshake_failed(const struct vt_entry *before, uint64_t tag, uint32_t now_s, struct vt_entry *after)
{
	uint16_t failures = 1;

	switch (handshake_load(before, now_s).state) {
	case HANDSHAKE_GOOD:
	case HANDSHAKE_HIDDEN: /* who asks for STARTTLS all the same does not make it longer */
		return false;
	case HANDSHAKE_FAILED:
		failures = HANDSHAKE_FAILURES;
		break;
	case HANDSHAKE_NONE:
		break;
	}
	*after = (struct vt_entry){
		.tag = tag, .time_s = now_s, .aux = failures, .kind_state = vt_kind_state(VT_TLS, VT_GREY)
	};
	return true;
}

bool
handshake_done(const struct vt_entry *before, uint64_t tag, uint32_t now_s, struct vt_entry *after)
{
	const struct handshake h = handshake_load(before, now_s);

	if (h.state == HANDSHAKE_GOOD && h.since_s < HANDSHAKE_RENEW_S)
		return false;
	*after = (struct vt_entry){ .tag = tag, .time_s = now_s, .kind_state = vt_kind_state(VT_TLS, VT_WHITE) };
	return true;
}

/* ---- on the table ---- */

struct handshake
policy_tls_state(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s)
{
	struct vt_entry e;

	if (ctx->table == NULL || !verdict_table_may_hold(ctx->table, VT_TLS) ||
		!verdict_table_find(ctx->table, policy_tls_tag(ctx->table, client), &e))
		return (struct handshake){ .state = HANDSHAKE_NONE };
	return handshake_load(&e, now_s);
}

typedef bool transition_fn(const struct vt_entry *before, uint64_t tag, uint32_t now_s, struct vt_entry *after);

/* Moves the record on: true when this call did it. One that finds no room is counted, and nothing is hidden by it. */
static bool
move(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s, transition_fn *transition,
	struct vt_entry *after)
{
	const struct vt_ages ages = policy_ages(ctx->conf, now_s);
	uint64_t tag;

	if (ctx->table == NULL)
		return false;
	tag = policy_tls_tag(ctx->table, client);
	for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
		struct vt_entry before = { 0 };
		const bool found = verdict_table_find(ctx->table, tag, &before);

		if (!transition(&before, tag, now_s, after))
			return false;
		switch (verdict_table_put(ctx->table, found ? &before : NULL, after, &ages, NULL)) {
		case VT_PUT_DONE:
			return true;
		case VT_PUT_FULL:
			policy_count(ctx, CTR_policy_table_full);
			return false;
		case VT_PUT_RACED:
			break;
		}
	}
	policy_count(ctx, CTR_policy_state_raced);
	return false;
}

bool
policy_tls_failed(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s)
{
	struct vt_entry after;

	return move(ctx, client, now_s, handshake_failed, &after) && after.aux == HANDSHAKE_FAILURES;
}

void
policy_tls_done(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s)
{
	struct vt_entry after;

	move(ctx, client, now_s, handshake_done, &after);
}
