/*
 * autoallow.c - counts delivered messages of a network towards its automatic allow, and takes it away.
 *
 * Flow:   the backend's reply to a message -> policy_message() -> autoallow_message();  rule 11 -> autoallow_check()
 * Touches: the verdict table.
 * Keeps:  a failure to write never costs more than one message counted or not counted.
 * Source: POLICY section 3.
 */
#include "dataplane/policy/autoallow.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/policy_impl.h"
#include "dataplane/policy/triplet.h"

struct autoallow
autoallow_load(const struct vt_entry *e)
{
	return (struct autoallow){ .time_s = e->time_s,
		.count = VT_AUTO_COUNT(e),
		.whites = VT_AUTO_WHITES(e),
		.refused = e->flags & 15,
		.generation = e->flags >> 4 };
}

struct vt_entry
autoallow_store(const struct autoallow *a, uint64_t tag)
{
	return (struct vt_entry){
		.tag = tag,
		.time_s = a->time_s,
		.aux = (uint16_t)(MIN(a->count, 0xffu) | a->whites << 8),
		.flags = (uint8_t)((a->refused & 15) | (a->generation & 15) << 4),
		.kind_state = vt_kind_state(VT_AUTO, VT_NONE),
	};
}

bool
autoallow_holds(const struct conf *conf, const struct autoallow *a, uint32_t now_s)
{
	return conf->grey_auto_after > 0 && a->count >= conf->grey_auto_after &&
	       policy_age_s(a->time_s, now_s) < conf->grey_expire_s;
}

enum autoallow_step
autoallow_delivered(const struct conf *conf, const struct autoallow *a, uint32_t now_s)
{
	/* a->time_s 0 is a network of which nothing was counted yet */
	if (conf->grey_auto_after == 0 ||
		(a->time_s != 0 && a->time_s <= now_s && now_s - a->time_s < AUTOALLOW_INTERVAL_S))
		return AUTOALLOW_NOTHING;
	return autoallow_holds(conf, a, now_s) ? AUTOALLOW_RENEW : AUTOALLOW_DOMAIN;
}

void
autoallow_reset(struct autoallow *a, uint32_t now_s)
{
	*a = (struct autoallow){ .time_s = now_s, .whites = a->whites, .generation = (a->generation + 1) & 15 };
}

bool
autoallow_refused(struct autoallow *a, uint32_t now_s)
{
	if (++a->refused < AUTOALLOW_REFUSED_MAX)
		return false;
	autoallow_reset(a, now_s);
	return true;
}

static uint64_t
auto_tag(const struct verdict_table *t, const struct ip_addr *network)
{
	return policy_address_tag(&t->key, VT_AUTO, network);
}

bool
autoallow_check(const struct policy_ctx *ctx, uint64_t tag, uint32_t now_s, bool dry, uint16_t *count)
{
	struct vt_entry e, want;
	struct autoallow a;
	bool found;

	*count = 0;
	if (ctx->table == NULL || !policy_record(ctx->table, tag, VT_AUTO, &e, &found))
		return false;
	a = autoallow_load(&e);
	*count = a.count;
	if (a.time_s > now_s && !dry) { /* a time in the future is set to now, or it would never expire */
		a.time_s = now_s;
		want = autoallow_store(&a, e.tag);
		(void)verdict_table_put(ctx->table, &e, &want, NULL, NULL); /* lost: the next one sets it */
		policy_count(ctx, CTR_policy_clock_ahead);
	}
	return autoallow_holds(ctx->conf, &a, now_s);
}

void
autoallow_lose(const struct policy_ctx *ctx, const struct ip_addr *network, uint32_t now_s)
{
	for (unsigned try = 0; ctx->table != NULL && try < POLICY_CAS_TRIES; try++) {
		struct vt_entry e, want;
		struct autoallow a;
		bool found;

		if (!policy_record(ctx->table, auto_tag(ctx->table, network), VT_AUTO, &e, &found) ||
			VT_AUTO_COUNT(&e) == 0)
			return;
		a = autoallow_load(&e);
		autoallow_reset(&a, now_s);
		want = autoallow_store(&a, e.tag);
		if (verdict_table_put(ctx->table, &e, &want, NULL, NULL) == VT_PUT_DONE) {
			policy_count(ctx, CTR_policy_auto_lost);
			return;
		}
	}
	policy_count(ctx, CTR_policy_state_raced);
}

void
autoallow_white(const struct policy_ctx *ctx, const struct ip_addr *network, bool undone, uint32_t now_s)
{
	const struct vt_ages ages = policy_ages(ctx->conf, now_s);

	for (unsigned try = 0; ctx->table != NULL && try < POLICY_CAS_TRIES; try++) {
		const uint64_t tag = auto_tag(ctx->table, network);
		struct autoallow a = { 0 };
		struct vt_entry old, want;
		bool found;

		if (policy_record(ctx->table, tag, VT_AUTO, &old, &found))
			a = autoallow_load(&old);
		if (a.whites == (undone ? 0 : UINT8_MAX))
			return;
		a.whites = (uint8_t)(undone ? a.whites - 1 : a.whites + 1);
		if (!found) /* a time of its own that keeps no message from being counted */
			a.time_s = now_s > AUTOALLOW_INTERVAL_S ? now_s - AUTOALLOW_INTERVAL_S : 0;
		want = autoallow_store(&a, tag);
		if (verdict_table_put(ctx->table, found ? &old : NULL, &want, &ages, NULL) != VT_PUT_RACED)
			return; /* full: the network looks less known than it is, nothing else */
	}
	policy_count(ctx, CTR_policy_state_raced);
}

uint8_t
autoallow_whites(const struct policy_ctx *ctx, const struct ip_addr *network)
{
	struct vt_entry e;
	bool found;

	if (ctx->table == NULL || !policy_record(ctx->table, auto_tag(ctx->table, network), VT_AUTO, &e, &found))
		return 0;
	return VT_AUTO_WHITES(&e);
}

/* Whether this sender domain counts for the generation: true once, then its record says no until it expires. */
static bool
auto_take_domain(const struct policy_ctx *ctx, const struct ip_addr *network, const char *domain, uint8_t generation,
	uint32_t now_s)
{
	const size_t n = strnlen(domain, TRIPLET_PATH_MAX_OCTETS);
	const struct vt_ages ages = policy_ages(ctx->conf, now_s);
	uint8_t material[sizeof(network->octet) + TRIPLET_PATH_MAX_OCTETS];
	struct vt_entry old, want;
	bool found;

	memcpy(material, network->octet, sizeof(network->octet));
	memcpy(material + sizeof(network->octet), domain, n);
	want = (struct vt_entry){
		.tag = policy_tag(&ctx->table->key, VT_SENDER_DOMAIN, material, (uint32_t)(sizeof(network->octet) + n)),
		.time_s = now_s,
		.aux = generation,
		.kind_state = vt_kind_state(VT_SENDER_DOMAIN, VT_NONE),
	};
	if (policy_record(ctx->table, want.tag, VT_SENDER_DOMAIN, &old, &found) && old.aux == generation &&
		policy_age_s(old.time_s, now_s) < ctx->conf->grey_expire_s)
		return false;
	/* Not stored, not counted: else one domain could count twice. */
	return verdict_table_put(ctx->table, found ? &old : NULL, &want, &ages, NULL) == VT_PUT_DONE;
}

void
autoallow_message(const struct policy_ctx *ctx, const struct ip_addr *network, const char *sender_domain,
	bool delivered, uint32_t now_s)
{
	const struct vt_ages ages = policy_ages(ctx->conf, now_s);
	bool domain_taken = false;

	if (ctx->table == NULL || ctx->conf->grey_auto_after == 0)
		return;
	for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
		const uint64_t tag = auto_tag(ctx->table, network);
		bool found, lost = false, granted = false;
		struct autoallow a = { 0 };
		struct vt_entry old, want;

		if (policy_record(ctx->table, tag, VT_AUTO, &old, &found))
			a = autoallow_load(&old);
		if (a.count > 0 && policy_age_s(a.time_s, now_s) >= ctx->conf->grey_expire_s)
			a = (struct autoallow){ .whites = a.whites,
				.generation = (a.generation + 1) & 15 }; /* expired: earned anew */
		if (!delivered) {
			if (!found || VT_AUTO_COUNT(&old) == 0)
				return; /* nothing to lose */
			lost = autoallow_refused(&a, now_s);
		} else {
			enum autoallow_step step = autoallow_delivered(ctx->conf, &a, now_s);

			if (step == AUTOALLOW_NOTHING && a.refused == 0)
				return;
			a.refused = 0;
			if (step == AUTOALLOW_DOMAIN &&
				(domain_taken || auto_take_domain(ctx, network, sender_domain, a.generation, now_s))) {
				domain_taken = true;
				a.count = (uint16_t)MIN(a.count + 1, UINT8_MAX);
				a.time_s = now_s;
				granted = a.count == ctx->conf->grey_auto_after;
			} else if (step == AUTOALLOW_RENEW) {
				a.time_s = now_s;
			} else if (!found) {
				return;
			}
		}
		want = autoallow_store(&a, tag);
		switch (verdict_table_put(ctx->table, found ? &old : NULL, &want, &ages, NULL)) {
		case VT_PUT_DONE:
			if (lost)
				policy_count(ctx, CTR_policy_auto_lost);
			if (granted)
				policy_count(ctx, CTR_policy_auto_granted);
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
