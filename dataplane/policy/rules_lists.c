/*
 * rules_lists.c - rules 1 to 7: relay guard, postmaster, lists of the administrator, traps.
 *
 * Flow:   policy.c (order of tests) -> rule_relay() ... rule_trap() -> judge_decide()
 * Touches: a trap of the future in the verdict table, and what a trap takes from its network, unless dry.
 * Keeps:  a list never matches wider than it is written; no mode changes the relay guard.
 * Source: POLICY sections 2 and 4.
 */
#include "dataplane/policy/judge.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/autoallow.h"
#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

/* 1. Syntax and limits are the dialogue's; what arrives here has passed them. */
bool
rule_syntax(struct judge *j)
{
	judge_trace(j, RULE_SYNTAX, false, "the dialogue checks it before");
	return false;
}

/* The value of name, in small letters, for this listener: bits in the lower half. */
static bool
domain_listed(const struct judge *j, const char *name, size_t n, uint16_t *pool)
{
	uint64_t value;

	if (j->q->listener >= 32 || !name_set_find_lowered(j->ctx->domains, name, (uint32_t)n, &value) ||
		!(value >> j->q->listener & 1))
		return false;
	*pool = (uint16_t)(value >> 32);
	return true;
}

/*
 * Whether the listener takes mail for domain. Each level is asked for by itself rather than by name_set_find_domain(): the nearest name may
 * belong to another listener while a parent belongs to this one, and "*" counts only where the backend is trusted.
 */
static bool
domain_is_ours(const struct judge *j, const char *domain, uint16_t *pool)
{
	if (j->ctx->domains == NULL)
		return false;
	/* ".example.org" and "*" are entries of the list, never domains of a recipient */
	if (domain[0] != '\0' && domain[0] != '.' && domain[0] != '*') {
		if (domain_listed(j, domain, j->rcpt_octets - (size_t)(domain - j->rcpt), pool))
			return true;
		for (const char *dot = strchr(domain, '.'); dot != NULL; dot = strchr(dot + 1, '.'))
			if (domain_listed(j, dot, strlen(dot), pool))
				return true;
	}
	return j->q->i_trust_the_backend && domain_listed(j, "*", 1, pool);
}

/* The local part of the recipient, whose letters are small; word likewise. */
static inline bool
local_is(const struct judge *j, const char *word)
{
	const size_t n = (size_t)(j->rcpt_domain - j->rcpt) - (j->rcpt_domain[0] != '\0');

	return n == strlen(word) && memcmp(j->rcpt, word, n) == 0;
}

/* 2. Relay guard. No mode changes it. */
bool
rule_relay(struct judge *j)
{
	const char *domain = j->rcpt_domain;
	uint16_t pool = POOL_DEFAULT;

	/* <postmaster> without a domain is ours by RFC 5321 section 4.5.1 */
	if (domain[0] == '\0' && strcmp(j->rcpt, "postmaster") == 0) {
		judge_trace(j, RULE_RELAY, false, "postmaster without a domain is always ours");
		return false;
	}
	if (domain_is_ours(j, domain, &pool)) {
		j->out->pool = pool;
		judge_trace(j, RULE_RELAY, false, "%s is one of our domains", domain);
		return false;
	}
	judge_trace(j, RULE_RELAY, true, "%s is none of our domains",
		domain[0] != '\0' ? domain : "an address without a domain");
	judge_count(j, CTR_policy_relay_denied);
	j->out->ref = judge_ref(j, RULE_RELAY);
	snprintf(j->out->text, sizeof(j->out->text), "Relaying denied");
	return judge_decide(j, RULE_RELAY, VERDICT_REJECT, 550, "relay");
}

/* 3. postmaster and abuse: no DNS, no greylist. */
bool
rule_postmaster(struct judge *j)
{
	const bool is = local_is(j, "postmaster") || (local_is(j, "abuse") && strchr(j->rcpt, '@') != NULL);

	judge_trace(j, RULE_POSTMASTER, is,
		is ? "postmaster and abuse are always reached" : "neither postmaster nor abuse");
	if (!is) {
		judge_prefetch(j);
		return false;
	}
	judge_count(j, CTR_policy_postmaster);
	return judge_decide(j, RULE_POSTMASTER, VERDICT_PASS, 0, "postmaster");
}

/* 4. Denied recipients. */
bool
rule_rcpt_denied(struct judge *j)
{
	const bool is = judge_address_listed(j->ctx->rcpt_deny, j->rcpt);
	char ref[9];

	judge_trace(j, RULE_RCPT_DENIED, is, is ? "in recipients.deny" : "not in recipients.deny");
	if (!is)
		return false;
	judge_count(j, CTR_policy_rcpt_denied);
	j->out->ref = judge_ref(j, RULE_RCPT_DENIED);
	snprintf(j->out->text, sizeof(j->out->text), "Recipient address not accepted (%s)",
		policy_ref_format(j->out->ref, ref));
	return judge_decide(j, RULE_RCPT_DENIED, VERDICT_REJECT, 550, "recipient-denied");
}

/* The list network that holds the client, as text for the trace. */
static bool
network_listed(const void *table, const struct ip_addr *client, char text[IP_ADDR_TEXT_MAX_OCTETS + 4])
{
	struct prefix_entry e;

	if (table == NULL || !prefix_table_find(table, client, &e))
		return false;
	prefix_format(&e, text);
	return true;
}

/* 5. Allowed client, confirmed name, sender, recipient. */
bool
rule_allowed(struct judge *j)
{
	char network[IP_ADDR_TEXT_MAX_OCTETS + 4];
	const char *word;

	if (network_listed(j->ctx->client_allow, &j->q->client, network)) {
		word = "allowed-client";
		judge_trace(j, RULE_ALLOWED, true, "client in clients.allow: %s", network);
	} else if (j->q->verdict.name_list == NAME_LIST_ALLOW) { /* only ever set for a name confirmed by its address */
		word = "allowed-name";
		judge_trace(j, RULE_ALLOWED, true, "confirmed name %s in clients.allow_names", j->q->ptr_name);
	} else if (judge_address_listed(j->ctx->sender_allow, j->from)) {
		word = "allowed-sender";
		judge_trace(j, RULE_ALLOWED, true, "sender in senders.allow");
	} else if (judge_address_listed(j->ctx->rcpt_allow, j->rcpt)) {
		word = "allowed-recipient";
		judge_trace(j, RULE_ALLOWED, true, "recipient in recipients.allow");
	} else {
		j->may_allow = j->open;
		judge_trace(j, RULE_ALLOWED, false, "neither client, confirmed name, sender nor recipient is allowed%s",
			j->open ? " (name not known yet)" : "");
		return false;
	}
	judge_count(j, CTR_policy_allowed);
	return judge_decide(j, RULE_ALLOWED, VERDICT_PASS, 0, word);
}

static uint32_t
trap_length_s(const struct conf *conf, const struct vt_entry *e)
{
	return e->aux != 0 ? e->aux * 3600u : conf->trap_s;
}

bool
policy_trap_is_active(const struct conf *conf, const struct vt_entry *e, uint32_t now_s, uint32_t *left_s)
{
	const uint32_t age_s = policy_age_s(e->time_s, now_s), length_s = trap_length_s(conf, e);

	if (vt_kind(e) != VT_TRAP || age_s >= length_s)
		return false;
	*left_s = length_s - age_s;
	return true;
}

/* Loads what blocks the client by its address or its network, whichever lasts longer. */
static void
judge_load_trap(struct judge *j)
{
	const struct verdict_table *t = j->ctx->table;

	if (t == NULL || !j->has_traps)
		return;
	for (unsigned i = 0; i < ARRAY_LEN(j->trap_tags); i++) {
		struct vt_entry e, set;
		uint32_t left_s;
		bool found;

		if (!policy_record(t, j->trap_tags[i], VT_TRAP, &e, &found) ||
			!policy_trap_is_active(j->ctx->conf, &e, j->q->now_s, &left_s))
			continue;
		if (e.time_s > j->q->now_s &&
			!j->q->dry) { /* a time in the future is set to now, or it would block for ever */
			set = e;
			set.time_s = j->q->now_s;
			(void)verdict_table_put(t, &e, &set, NULL, NULL);
			judge_count(j, CTR_policy_clock_ahead);
		}
		if (left_s > j->trap_left_s) {
			j->trap = e;
			j->trap_left_s = left_s;
		}
	}
}

/* 6. Denied client, confirmed name, sender; or denied by the operator for a time. */
bool
rule_denied(struct judge *j)
{
	char network[IP_ADDR_TEXT_MAX_OCTETS + 4];
	const char *word, *reason = "denied here";

	judge_load_trap(j);
	if (network_listed(j->ctx->client_deny, &j->q->client, network)) {
		word = "denied-client";
		judge_trace(j, RULE_DENIED, true, "client in clients.deny: %s", network);
	} else if (vt_kind(&j->trap) == VT_TRAP && (j->trap.flags & TRAP_BY_OPERATOR)) {
		word = "denied-client";
		judge_trace(j, RULE_DENIED, true, "client denied by the operator for %u s more", j->trap_left_s);
	} else if (j->q->verdict.name_list == NAME_LIST_DENY) {
		word = "denied-name";
		judge_trace(j, RULE_DENIED, true, "confirmed name %s in clients.deny_names", j->q->ptr_name);
	} else if (judge_address_listed(j->ctx->sender_deny, j->from)) {
		word = "denied-sender";
		reason = "sender denied here";
		judge_trace(j, RULE_DENIED, true, "sender in senders.deny");
	} else {
		j->may_reject = j->open;
		judge_trace(j, RULE_DENIED, false, "neither client, confirmed name nor sender is denied%s",
			j->open ? " (name not known yet)" : "");
		return false;
	}
	judge_count(j, CTR_policy_denied);
	return judge_refuse(j, RULE_DENIED, VERDICT_REJECT, word, reason);
}

/* 7. Blocked by a trap: 451. Takes the automatic allow of the network, too. */
bool
rule_trap(struct judge *j)
{
	const bool is = vt_kind(&j->trap) == VT_TRAP || j->q->verdict.trapped != 0;

	if (!is) {
		judge_trace(j, RULE_TRAP, false, "in no trap");
		return false;
	}
	judge_trace(j, RULE_TRAP, true, "caught by a trap, %u s left", j->trap_left_s);
	judge_count(j, CTR_policy_trapped);
	if (!j->q->dry)
		autoallow_lose(j->ctx, &j->network, j->q->now_s);
	return judge_refuse(j, RULE_TRAP, VERDICT_DEFER, "trap", "temporarily blocked");
}
