/*
 * policy.c - the verdict on one recipient: the order of tests.
 *
 * Flow:   worker (RCPT) -> policy_rcpt() -> rules 1 to 12 -> mode -> answer;  DATA of a null sender -> policy_null_sender_data()
 * Touches: the verdict table and the budget of the source network, unless dry.
 * Keeps:  the first rule that matches decides; our own failure never refuses or delays; every loop over a record is bounded.
 * Source: POLICY sections 2, 3, 4 and 7.
 *
 * Each rule is a row of rules[]: a function that answers whether it decided. What an unknown verdict of the client could still change is
 * gathered on the way (may_allow, may_reject, may_doubt); the decision then becomes VERDICT_WAIT if one of those could overturn it.
 */
#include "dataplane/policy/policy.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"
#include "dataplane/policy/autoallow.h"
#include "dataplane/policy/client.h"
#include "dataplane/policy/grey.h"
#include "dataplane/policy/policy_impl.h"
#include "dataplane/policy/triplet.h"
#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

#define POOL_DEFAULT      0xffff
#define PAIR_NETWORKS     3   /* networks a pair remembers: the next one is the fourth */
#define REASON_MAX_OCTETS 180 /* of the reply; POLICY allows 200, the whole text has POLICY_TEXT_OCTETS */
#define REF_MASK          UINT64_C(0xffffffffff)
#define TRAP_BY_OPERATOR  1 /* vt_entry.flags of VT_TRAP */

enum stage { STAGE_RCPT, STAGE_DATA, STAGE_CONNECT };

/* One decision under way. */
struct judge {
	const struct policy_ctx *ctx;
	const struct policy_question *q;
	struct policy_answer *out;
	policy_trace_fn *trace;
	void *trace_arg;
	enum stage stage;
	struct ip_addr network;
	bool known;                            /* the client's verdict is there; its judgement is in client */
	bool open;                             /* it is neither there nor given up */
	bool may_allow, may_reject, may_doubt; /* what the open verdict could still do */
	bool doubt;                            /* greylist longer */
	bool names_open;                       /* the same of the lists of names */
	struct client_verdict listed;          /* the client's verdict with what lists say of its names added */
	struct client_judgement client;        /* of that */
	bool has_traps;                        /* somebody is blocked, perhaps this client */
	/* judge_prefetch(); traps: of the address, of its network; auto_tag 0: nobody has any */
	uint64_t trap_tags[2], auto_tag, triplet_tag;
	struct vt_entry trap; /* kind VT_FREE: none in force */
	uint32_t trap_left_s;
	char from[TRIPLET_PATH_MAX_OCTETS + 1], rcpt[TRIPLET_PATH_MAX_OCTETS + 1]; /* canonical */
	char from_key[TRIPLET_PATH_MAX_OCTETS + 1];                                /* of the triplet */
};

/* Words. */

const char *
policy_rule_name(enum policy_rule rule)
{
	static const char *const names[] = {
		[RULE_NONE] = "none",
		[RULE_SYNTAX] = "syntax",
		[RULE_RELAY] = "relay",
		[RULE_POSTMASTER] = "postmaster",
		[RULE_RCPT_DENIED] = "recipient-denied",
		[RULE_ALLOWED] = "allowed",
		[RULE_DENIED] = "denied",
		[RULE_TRAP] = "trap",
		[RULE_CLIENT] = "client",
		[RULE_PROTOCOL] = "protocol",
		[RULE_OPT_OUT] = "opt-out",
		[RULE_AUTO_ALLOW] = "auto-allow",
		[RULE_GREYLIST] = "greylist",
	};

	return (unsigned)rule < ARRAY_LEN(names) ? names[rule] : "unknown";
}

const char *
policy_verdict_name(enum verdict v)
{
	static const char *const names[] = {
		[VERDICT_PASS] = "pass", [VERDICT_DEFER] = "defer", [VERDICT_REJECT] = "reject", [VERDICT_WAIT] = "wait"
	};

	return (unsigned)v < ARRAY_LEN(names) ? names[v] : "unknown";
}

const char *
policy_ptr_name(enum ptr_state s)
{
	static const char *const names[] = { [PTR_UNKNOWN] = "unknown",
		[PTR_NONE] = "none",
		[PTR_UNCONFIRMED] = "unconfirmed",
		[PTR_CONFIRMED] = "confirmed",
		[PTR_GENERIC] = "generic",
		[PTR_TEMPERR] = "temperr" };

	return (unsigned)s < ARRAY_LEN(names) ? names[s] : "unknown";
}

/* Keys. */

struct ip_addr
policy_client_network(const struct ip_addr *client)
{
	return ip_addr_mask(client, ip_addr_is_v4(client) ? 96 + 24 : 64);
}

static uint64_t
address_tag(const struct verdict_table *t, enum vt_kind kind, const struct ip_addr *a)
{
	return policy_tag(&t->key, kind, a->octet, sizeof(a->octet));
}

uint64_t
policy_triplet_tag(const struct verdict_table *t, const struct ip_addr *client, const char *from, const char *rcpt)
{
	char from_key[TRIPLET_PATH_MAX_OCTETS + 1], rcpt_key[TRIPLET_PATH_MAX_OCTETS + 1];
	const struct ip_addr network = policy_client_network(client);

	triplet_normalise_sender(from, from_key);
	triplet_normalise_rcpt(rcpt, rcpt_key);
	return triplet_tag(&t->key, &network, from_key, rcpt_key);
}

uint64_t
policy_client_tag(const struct verdict_table *t, const struct ip_addr *client)
{
	return address_tag(t, VT_CLIENT, client);
}

uint64_t
policy_auto_tag(const struct verdict_table *t, const struct ip_addr *client)
{
	const struct ip_addr network = policy_client_network(client);

	return address_tag(t, VT_AUTO, &network);
}

uint64_t
policy_trap_tag(const struct verdict_table *t, const struct ip_addr *client)
{
	return address_tag(t, VT_TRAP, client);
}

/* A network and the address of the same octets (.0) are two keys: the scope is part of the material. */
uint64_t
policy_trap_network_tag(const struct verdict_table *t, const struct ip_addr *client)
{
	const struct ip_addr network = policy_client_network(client);
	uint8_t material[sizeof(network.octet) + 1];

	memcpy(material, network.octet, sizeof(network.octet));
	material[sizeof(network.octet)] = 'n';
	return policy_tag(&t->key, VT_TRAP, material, sizeof(material));
}

static uint64_t
pair_tag(const struct verdict_table *t, const char *from_key, const char *rcpt_key)
{
	uint8_t material[2 * (TRIPLET_PATH_MAX_OCTETS + 1)];
	const size_t n_from = strlen(from_key), n_rcpt = strlen(rcpt_key);

	memcpy(material, from_key, n_from);
	material[n_from] = '\0';
	memcpy(material + n_from + 1, rcpt_key, n_rcpt);
	return policy_tag(&t->key, VT_PAIR, material, (uint32_t)(n_from + 1 + n_rcpt));
}

static struct grey_conf
grey_conf_of(const struct conf *conf, bool doubt)
{
	const uint64_t block_s = (uint64_t)conf->grey_block_s << (doubt ? 1 : 0);

	return (struct grey_conf){
		.block_s = (uint32_t)MIN(block_s, UINT32_MAX),
		.pass_s = conf->grey_pass_s,
		.expire_s = conf->grey_expire_s,
		.lapse_memory_s = conf->grey_lapse_memory_s,
		.window_max_s = conf->grey_window_max_s,
	};
}

struct vt_ages
policy_ages(const struct conf *conf, uint32_t now_s)
{
	const struct grey_conf grey = grey_conf_of(conf, false);

	return (struct vt_ages){
		.now_s = now_s,
		.grey_s = (uint32_t)MIN((uint64_t)grey_window_s(&grey, 0) + conf->grey_lapse_memory_s, UINT32_MAX),
		.white_s = conf->grey_expire_s,
		.client_s = (uint32_t)MIN((uint64_t)conf->client_fresh_s * CLIENT_USABLE_FACTOR, UINT32_MAX),
		.auto_s = conf->grey_expire_s,
	};
}

/* Deciding. */

static void
judge_count(const struct judge *j, enum counter which)
{
	if (!j->q->dry)
		policy_count(j->ctx, which);
}

static void __attribute__((format(printf, 4, 5)))
judge_tell(const struct judge *j, enum policy_rule rule, bool matched, const char *fmt, ...)
{
	char detail[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	j->trace(j->trace_arg, rule, matched, detail);
}

/* A macro, so that the words of a trace nobody asked for are not even put together. */
#define judge_trace(j, rule, matched, ...)                                                                             \
	do {                                                                                                           \
		if ((j)->trace != NULL)                                                                                \
			judge_tell(j, rule, matched, __VA_ARGS__);                                                     \
	} while (0)

/* A reference of an event: 40 bits of a keyed hash of what happened to whom and when; never 0. */
static uint64_t
event_ref(const struct judge *j, enum policy_rule rule)
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

/* Notes the decision as enforce would have it; the mode comes last. Answers true, for `return decide(...)`. */
static bool
decide(struct judge *j, enum policy_rule rule, enum verdict verdict, uint16_t code, const char *reason)
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

static bool
refuse_client(struct judge *j, enum policy_rule rule, enum verdict verdict, const char *word, const char *reason)
{
	char why[REASON_MAX_OCTETS + 1], ref[9];

	j->out->ref = event_ref(j, rule);
	printable(reason, why);
	snprintf(j->out->text, sizeof(j->out->text), "Sending address not accepted due to spam filter; %s (%s)", why,
		policy_ref_format(j->out->ref, ref));
	return decide(j, rule, verdict, verdict == VERDICT_REJECT ? 554 : 451, word);
}

/* 1. Syntax and limits are the dialogue's; what arrives here has passed them. */
static bool
rule_syntax(struct judge *j)
{
	judge_trace(j, RULE_SYNTAX, false, "the dialogue checks it before");
	return false;
}

/* The value of name for this listener: bits in the lower half. */
static bool
domain_listed(const struct judge *j, const char *name, size_t n, uint16_t *pool)
{
	uint64_t value;

	if (j->q->listener >= 32 || !name_set_find(j->ctx->domains, name, (uint32_t)n, &value) ||
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
		if (domain_listed(j, domain, strlen(domain), pool))
			return true;
		for (const char *dot = strchr(domain, '.'); dot != NULL; dot = strchr(dot + 1, '.'))
			if (domain_listed(j, dot, strlen(dot), pool))
				return true;
	}
	return j->q->i_trust_the_backend && domain_listed(j, "*", 1, pool);
}

/* The local part of a canonical path. */
static bool
local_is(const char *path, const char *word)
{
	const char *domain = triplet_domain(path);
	const size_t n = (size_t)(domain - path) - (domain[0] != '\0');

	return n == strlen(word) && strncasecmp(path, word, n) == 0;
}

/* 2. Relay guard. No mode changes it. */
static bool
rule_relay(struct judge *j)
{
	const char *domain = triplet_domain(j->rcpt);
	uint16_t pool = POOL_DEFAULT;

	/* <postmaster> without a domain is ours by RFC 5321 section 4.5.1 */
	if (strcmp(j->rcpt, "postmaster") == 0) {
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
	j->out->ref = event_ref(j, RULE_RELAY);
	snprintf(j->out->text, sizeof(j->out->text), "Relaying denied");
	return decide(j, RULE_RELAY, VERDICT_REJECT, 550, "relay");
}

/* Asks for the lines of the records that the rules from 6 on look at, all at once: their misses then overlap. */
static void
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
	triplet_sender_key(j->from, j->from_key);
	j->triplet_tag = triplet_tag(&t->key, &j->network, j->from_key, j->rcpt);
	verdict_table_prefetch(t, j->triplet_tag);
}

/* 3. postmaster and abuse: no DNS, no greylist. */
static bool
rule_postmaster(struct judge *j)
{
	const bool is = local_is(j->rcpt, "postmaster") || (local_is(j->rcpt, "abuse") && strchr(j->rcpt, '@') != NULL);

	judge_trace(j, RULE_POSTMASTER, is,
		is ? "postmaster and abuse are always reached" : "neither postmaster nor abuse");
	if (!is) {
		judge_prefetch(j);
		return false;
	}
	judge_count(j, CTR_policy_postmaster);
	return decide(j, RULE_POSTMASTER, VERDICT_PASS, 0, "postmaster");
}

static bool
address_listed(const void *set, const char *path)
{
	uint64_t value;

	return set != NULL && path[0] != '\0' && name_set_find_address(set, path, (uint32_t)strlen(path), &value);
}

/* 4. Denied recipients. */
static bool
rule_rcpt_denied(struct judge *j)
{
	const bool is = address_listed(j->ctx->rcpt_deny, j->rcpt);
	char ref[9];

	judge_trace(j, RULE_RCPT_DENIED, is, is ? "in recipients.deny" : "not in recipients.deny");
	if (!is)
		return false;
	judge_count(j, CTR_policy_rcpt_denied);
	j->out->ref = event_ref(j, RULE_RCPT_DENIED);
	snprintf(j->out->text, sizeof(j->out->text), "Recipient address not accepted (%s)",
		policy_ref_format(j->out->ref, ref));
	return decide(j, RULE_RCPT_DENIED, VERDICT_REJECT, 550, "recipient-denied");
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
static bool
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
	} else if (address_listed(j->ctx->sender_allow, j->from)) {
		word = "allowed-sender";
		judge_trace(j, RULE_ALLOWED, true, "sender in senders.allow");
	} else if (address_listed(j->ctx->rcpt_allow, j->rcpt)) {
		word = "allowed-recipient";
		judge_trace(j, RULE_ALLOWED, true, "recipient in recipients.allow");
	} else {
		j->may_allow = j->open;
		judge_trace(j, RULE_ALLOWED, false, "neither client, confirmed name, sender nor recipient is allowed%s",
			j->open ? " (name not known yet)" : "");
		return false;
	}
	judge_count(j, CTR_policy_allowed);
	return decide(j, RULE_ALLOWED, VERDICT_PASS, 0, word);
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
static bool
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
	} else if (address_listed(j->ctx->sender_deny, j->from)) {
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
	return refuse_client(j, RULE_DENIED, VERDICT_REJECT, word, reason);
}

/* 7. Blocked by a trap: 451. Takes the automatic allow of the network, too. */
static bool
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
	return refuse_client(j, RULE_TRAP, VERDICT_DEFER, "trap", "temporarily blocked");
}

static const char *
zone_name(const struct judge *j, uint8_t zone)
{
	return j->ctx->zones != NULL && zone < j->ctx->n_zones && j->ctx->zones[zone].name[0] != '\0'
	               ? j->ctx->zones[zone].name
	               : "blocklist";
}

/* What weighs on a client whose score has an effect: its own zone where that would do alone, else the heavier of its names. */
struct blame {
	const char *word; /* for the log */
	uint8_t zone;
};

static struct blame
blame_of(const struct judge *j)
{
	const struct name_verdict *n = &j->q->names;
	const bool by_client = client_judge(j->ctx->conf, &j->q->verdict).effect >= j->client.effect;

	if (by_client || (n->helo_score <= 0 && n->sender_score <= 0))
		return (struct blame){ "dnsbl", j->q->verdict.zone };
	return n->sender_score >= n->helo_score ? (struct blame){ "dnsbl-sender", n->sender_zone }
	                                        : (struct blame){ "dnsbl-helo", n->helo_zone };
}

/* Whether any zone is asked about addresses: lists of names come last in the table of zones. */
static uint32_t
client_zones(const struct policy_ctx *ctx)
{
	return ctx->n_zones > 0 && (ctx->zones == NULL || ctx->zones[0].kind == ZONE_KIND_CLIENT) ? ctx->n_zones : 0;
}

/* What an answer that is still missing could do. */
static void
client_may(struct judge *j)
{
	const struct conf *conf = j->ctx->conf;
	const int names = j->names_open ? conf->helo_weight_max + conf->sender_weight_max : 0;

	if (j->open) {
		j->may_reject |= client_judge_may(conf, client_zones(j->ctx), EFFECT_DEFER);
		j->may_doubt |= client_judge_may(conf, client_zones(j->ctx), EFFECT_GREY);
	}
	if (names == 0)
		return;
	/* beside an open score of the client any weight may be the one that was missing */
	if (conf->dnsbl_reject_threshold > 0 && (j->open || j->listed.score + names >= conf->dnsbl_reject_threshold))
		j->may_reject = true;
	if (conf->dnsbl_grey_threshold > 0 && (j->open || j->listed.score + names >= conf->dnsbl_grey_threshold) &&
		j->client.effect < EFFECT_GREY)
		j->may_doubt = true;
}

static void
client_trace(const struct judge *j, bool is)
{
	const struct client_verdict *v = &j->q->verdict;
	const struct name_verdict *n = &j->q->names;

	if (j->trace == NULL)
		return;
	if (j->listed.known != CLIENT_KNOWN) {
		judge_trace(j, RULE_CLIENT, false,
			j->open ? "DNS has not answered yet" : "DNS did not answer in time: decided without");
		return;
	}
	judge_trace(j, RULE_CLIENT, is, "score %d%s%s%s%s%s%s, reverse DNS %s: %s", j->listed.score,
		v->zone != ZONE_NONE ? ", most by " : "", v->zone != ZONE_NONE ? zone_name(j, v->zone) : "",
		n->helo_score > 0 ? ", HELO name in " : "", n->helo_score > 0 ? zone_name(j, n->helo_zone) : "",
		n->sender_score > 0 ? ", sender's domain in " : "",
		n->sender_score > 0 ? zone_name(j, n->sender_zone) : "", policy_ptr_name((enum ptr_state)v->ptr_state),
		j->client.effect == EFFECT_REJECT  ? "refused"
		: j->client.effect == EFFECT_DEFER ? "deferred"
		: j->client.effect == EFFECT_GREY  ? "greylisted for twice the block"
						   : "nothing");
}

/* 8. The client's verdict: score of the lists and reverse DNS. */
static bool
rule_client(struct judge *j)
{
	const bool is = j->client.effect >= EFFECT_DEFER;
	struct blame by;

	client_may(j);
	client_trace(j, is);
	if (client_has_hit(&j->q->verdict) &&
		!j->q->dry) /* its own: a listed sender is no fault of the network that relays him */
		autoallow_lose(j->ctx, &j->network, j->q->now_s);
	j->doubt = j->client.effect == EFFECT_GREY;
	if (!is)
		return false;
	judge_count(j, j->client.effect == EFFECT_REJECT ? CTR_policy_client_refused : CTR_policy_client_deferred);
	by = j->client.reason != NULL ? (struct blame){ j->client.word, ZONE_NONE } : blame_of(j);
	return refuse_client(j, RULE_CLIENT, j->client.effect == EFFECT_REJECT ? VERDICT_REJECT : VERDICT_DEFER,
		by.word, j->client.reason != NULL ? j->client.reason : zone_name(j, by.zone));
}

static bool
has_bad_manners(const struct policy_ctx *ctx, const struct policy_question *q)
{
	return q->protocol_score >= MAX(ctx->conf->protocol_grey_threshold, 1u);
}

/* 9. HELO and protocol tests: at most "greylist longer" (RFC 5321 section 4.1.4). */
static bool
rule_protocol(struct judge *j)
{
	if (has_bad_manners(j->ctx, j->q))
		j->doubt = true;
	judge_trace(j, RULE_PROTOCOL, false, "protocol score %u", j->q->protocol_score);
	return false;
}

/* 10. Opted out of greylisting. */
static bool
rule_opt_out(struct judge *j)
{
	const bool is = address_listed(j->ctx->rcpt_no_grey, j->rcpt);

	judge_trace(j, RULE_OPT_OUT, is, is ? "in recipients.no_greylist" : "not in recipients.no_greylist");
	if (!is)
		return false;
	judge_count(j, CTR_policy_opted_out);
	return decide(j, RULE_OPT_OUT, VERDICT_PASS, 0, "opt-out");
}

/* 11. Automatic allow of the network; a client with a DNSBL hit does not have it. */
static bool
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
		return decide(j, RULE_AUTO_ALLOW, VERDICT_PASS, 0, "big-sender");
	}
	is = j->auto_tag != 0 && autoallow_check(j->ctx, j->auto_tag, j->q->now_s, j->q->dry, &count);
	judge_trace(j, RULE_AUTO_ALLOW, is, "%u messages counted for the network, %u needed", count,
		j->ctx->conf->grey_auto_after);
	if (!is)
		return false;
	judge_count(j, CTR_policy_auto_allowed);
	/* A client in good standing never waits for DNS; what DNS says counts for the next session. */
	j->may_reject = j->may_allow = j->may_doubt = false;
	return decide(j, RULE_AUTO_ALLOW, VERDICT_PASS, 0, "auto-allow");
}

/* What the three octets of a pair remember: a fingerprint, never 0, of each network. */
static uint8_t
pair_fingerprint(const struct siphash_key *key, const struct ip_addr *network)
{
	return (uint8_t)(siphash(key, network->octet, sizeof(network->octet)) % 255 + 1);
}

/*
 * Notes that this network began a window for the pair of sender and recipient; true when it is the fourth within the window of the first.
 * VT_PAIR: time_s of the first network, aux and flags three fingerprints. Two networks may share one (1 in 255): then the fifth passes.
 */
static bool
pair_note(const struct judge *j)
{
	const struct policy_ctx *ctx = j->ctx;
	const struct grey_conf grey = grey_conf_of(ctx->conf, j->doubt);
	const struct vt_ages ages = policy_ages(ctx->conf, j->q->now_s);
	const uint8_t mine = pair_fingerprint(&ctx->table->key, &j->network);
	const uint64_t tag = pair_tag(ctx->table, j->from_key, j->rcpt);

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
	return decide(j, RULE_GREYLIST, VERDICT_PASS, 0, "state-failure");
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

/* Appends text with its NUL and gives the new end: this reply is made for every stranger, and snprintf() was a tenth of the
 * whole decision. The parts are ours, their sum is far below POLICY_TEXT_OCTETS. */
static char *
put_text(char *at, const char *text)
{
	const size_t n = strlen(text);

	memcpy(at, text, n + 1);
	return at + n;
}

static bool
greylist_defer(struct judge *j, const struct grey_answer *a)
{
	struct policy_answer *out = j->out;
	char ref[9], *at;

	out->wait_s = a->wait_s;
	if (j->stage == STAGE_RCPT && j->q->from[0] == '\0') {
		/* Call-outs use the null sender and want the backend's answer; the greylist comes at DATA. */
		judge_trace(j, RULE_GREYLIST, true,
			"null sender: the backend answers RCPT, DATA would be deferred for %u s", a->wait_s);
		return decide(j, RULE_GREYLIST, VERDICT_PASS, 0, "null-sender");
	}
	judge_trace(j, RULE_GREYLIST, true, "%s: deferred for %u s", greylist_event_text(a->event), a->wait_s);
	at = put_text(out->text, "Greylisted, please try again in ");
	at = text_put_number(at, a->wait_s);
	at = put_text(at, " seconds");
	if (j->ctx->conf->grey_reference) {
		at = put_text(at, " (");
		at = put_text(at, policy_ref_format(out->ref, ref));
		at = put_text(at, ")");
	}
	return decide(j, RULE_GREYLIST, VERDICT_DEFER, 451, "greylist");
}

static bool
greylist_pass(struct judge *j, const struct grey_answer *a, bool by_pool)
{
	j->out->waited_s = a->waited_s;
	if (by_pool)
		judge_trace(j, RULE_GREYLIST, true, "fourth network of the same sender and recipient: let through");
	else
		judge_trace(j, RULE_GREYLIST, true, "%s%s", greylist_event_text(a->event),
			a->event == GREY_EVENT_PASSED ? ": becomes WHITE" : ": let through");
	return decide(j, RULE_GREYLIST, VERDICT_PASS, 0,
		by_pool                         ? "pool"
		: a->event == GREY_EVENT_PASSED ? "greylist-passed"
						: "greylist-white");
}

/* 12. The greylist. Always decides. */
static bool
rule_greylist(struct judge *j)
{
	const struct policy_ctx *ctx = j->ctx;
	const struct grey_conf conf = grey_conf_of(ctx->conf, j->doubt);
	const struct vt_ages ages = policy_ages(ctx->conf, j->q->now_s);
	bool pool_asked = false, by_pool = false, budgeted = false;

	if (ctx->table == NULL)
		return greylist_failed(j, "there is no table");
	j->out->tag = j->triplet_tag;
	j->out->ref = policy_ref_of_tag(j->out->tag);

	for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
		struct grey_record before = { 0 }, rec;
		struct vt_entry old, want;
		struct grey_answer a;
		bool found, hold;

		if (policy_record(ctx->table, j->out->tag, VT_TRIPLET, &old, &found))
			before = grey_load(&old);
		rec = before;
		a = grey_decide(&conf, &rec, j->q->now_s);
		if (a.event == GREY_EVENT_RENEWED)
			j->may_allow = j->may_reject = j->may_doubt = false; /* in good standing: never waits for DNS */
		else if (j->may_reject || (a.verdict == VERDICT_DEFER && (j->may_allow || j->may_doubt))) {
			judge_trace(j, RULE_GREYLIST, true, "waits for DNS");
			return decide(j, RULE_GREYLIST, VERDICT_WAIT, 0, "waiting");
		}

		/* A new window for a sender who comes from network after network; bounces come from everywhere and do not count. */
		if (a.verdict == VERDICT_DEFER && a.event != GREY_EVENT_EARLY && j->q->from[0] != '\0') {
			if (!pool_asked)
				by_pool = pair_note(j);
			pool_asked = true;
			if (by_pool) {
				a = (struct grey_answer){ .verdict = VERDICT_PASS, .event = a.event };
				rec = (struct grey_record){ .state = GREY_WHITE, .time_s = j->q->now_s };
			}
		}
		hold = a.verdict == VERDICT_DEFER && j->stage == STAGE_RCPT && j->q->from[0] == '\0';
		want = grey_store(&rec, j->out->tag);
		j->out->before = found && before.state != GREY_NONE ? old : (struct vt_entry){ 0 };
		j->out->after = want;

		if (!j->q->dry && !hold && grey_is_worth_writing(&conf, &before, &rec)) {
			enum vt_put put = VT_PUT_DONE;

			budgeted = budgeted || before.state != GREY_NONE || a.verdict == VERDICT_PASS ||
			           ctx->budget == NULL ||
			           source_budget_take(ctx->budget, &ctx->table->key, &j->network,
					   ctx->conf->grey_source_budget, j->q->now_s);
			if (budgeted)
				put = verdict_table_put(ctx->table, found ? &old : NULL, &want, &ages, NULL);
			if (put == VT_PUT_RACED)
				continue;
			if (budgeted && put == VT_PUT_DONE && rec.state == GREY_WHITE && before.state != GREY_WHITE)
				autoallow_white(ctx, &j->network, false, j->q->now_s);
			if (!budgeted || put == VT_PUT_FULL) { /* refused: still 451, but nothing is remembered */
				judge_count(j, budgeted ? CTR_policy_table_full : CTR_policy_grey_budget);
				j->out->after = j->out->before;
			}
		} else if (!hold && !j->q->dry && found) {
			j->out->after = old; /* as it stands */
		}
		if (!hold) {
			greylist_count(j, a.event);
			if (by_pool)
				judge_count(j, CTR_policy_grey_pool_pass);
			if (a.clock_ahead)
				judge_count(j, CTR_policy_clock_ahead);
			if (j->doubt && a.verdict == VERDICT_DEFER)
				judge_count(j, CTR_policy_client_doubted);
		}
		return a.verdict == VERDICT_PASS ? greylist_pass(j, &a, by_pool) : greylist_defer(j, &a);
	}
	judge_count(j, CTR_policy_state_raced);
	return greylist_failed(j, "the record changed each time");
}

typedef bool rule_fn(struct judge *j);

static rule_fn *const rules[] = {
	[RULE_SYNTAX] = rule_syntax,
	[RULE_RELAY] = rule_relay,
	[RULE_POSTMASTER] = rule_postmaster,
	[RULE_RCPT_DENIED] = rule_rcpt_denied,
	[RULE_ALLOWED] = rule_allowed,
	[RULE_DENIED] = rule_denied,
	[RULE_TRAP] = rule_trap,
	[RULE_CLIENT] = rule_client,
	[RULE_PROTOCOL] = rule_protocol,
	[RULE_OPT_OUT] = rule_opt_out,
	[RULE_AUTO_ALLOW] = rule_auto_allow,
	[RULE_GREYLIST] = rule_greylist,
};

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
	*out = (struct policy_answer){ .verdict = VERDICT_PASS, .pool = POOL_DEFAULT, .reason = "" };
	j->network = out->network = policy_client_network(&q->client);
	j->known = q->verdict.known == CLIENT_KNOWN;
	j->open = !j->known && q->verdict.known != CLIENT_LATE && stage != STAGE_DATA;
	j->names_open = q->names.known != CLIENT_KNOWN && q->names.known != CLIENT_LATE && stage == STAGE_RCPT;
	j->listed = client_add_names(ctx->conf, &q->verdict, &q->names);
	j->client = client_judge(ctx->conf, &j->listed);
	out->score = j->listed.score;
	triplet_canonical(q->from, j->from);
	triplet_canonical(q->rcpt, j->rcpt);
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
		out->verdict == VERDICT_WAIT || !address_listed(j->ctx->traps, j->rcpt))
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
	refuse_client(j, RULE_TRAP, VERDICT_DEFER, "trap", "temporarily blocked");
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

void
policy_rcpt(const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out,
	policy_trace_fn *trace, void *trace_arg)
{
	struct judge j;
	unsigned i;

	judge_init(&j, ctx, q, out, STAGE_RCPT);
	j.trace = trace;
	j.trace_arg = trace_arg;
	for (i = RULE_SYNTAX; i < ARRAY_LEN(rules); i++)
		if (rules[i](&j))
			break;
	BUG_ON(i == ARRAY_LEN(rules)); /* the greylist always decides */
	if (out->verdict == VERDICT_WAIT || is_undecided(&j))
		become_waiting(&j);
	else if (trap_fires(&j))
		trap_fire(&j);
	apply_mode(&j);
	count_verdict(&j);
}

void
policy_null_sender_data(const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out)
{
	/* What lets through at RCPT lets through at DATA; refusals are over, the recipient was accepted. */
	static const enum policy_rule again[] = { RULE_POSTMASTER, RULE_ALLOWED, RULE_OPT_OUT, RULE_AUTO_ALLOW,
		RULE_GREYLIST };
	struct policy_question as_null = *q;
	struct judge j;

	as_null.from = "";
	judge_init(&j, ctx, &as_null, out, STAGE_DATA);
	j.doubt = j.client.effect == EFFECT_GREY || has_bad_manners(ctx, q);
	for (unsigned i = 0; i < ARRAY_LEN(again); i++)
		if (rules[again[i]](&j))
			break;
	apply_mode(&j);
	if (out->would == VERDICT_DEFER)
		judge_count(&j, CTR_policy_grey_null_held);
}

void
policy_connect(const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out)
{
	static const enum policy_rule tests[] = { RULE_ALLOWED, RULE_DENIED, RULE_TRAP, RULE_CLIENT };
	struct policy_question client_only = *q;
	struct judge j;
	bool decided = false;

	client_only.from = client_only.rcpt = "";
	client_only.names = NAME_VERDICT_NONE;
	judge_init(&j, ctx, &client_only, out, STAGE_CONNECT);
	if (ctx->conf->reject_at == REJECT_AT_RCPT)
		return;
	judge_prefetch(&j);
	client_only.dry = true; /* nothing but the refusal itself is counted or written here; RCPT comes to the rest */
	for (unsigned i = 0; i < ARRAY_LEN(tests) && !decided; i++)
		decided = rules[tests[i]](&j);
	if (!decided)
		*out = (struct policy_answer){
			.verdict = VERDICT_PASS, .pool = POOL_DEFAULT, .reason = "", .score = j.listed.score
		};
	if (out->verdict == VERDICT_DEFER) /* a 451 belongs to RCPT */
		decide(&j, out->rule, VERDICT_PASS, 0, out->reason);
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

static bool
asks_for_names(const struct policy_ctx *ctx)
{
	return ctx->conf->helo_weight_max > 0 || ctx->conf->sender_weight_max > 0;
}

bool
policy_is_known(const struct policy_ctx *ctx, const struct policy_question *q)
{
	static const enum policy_rule tests[] = { RULE_ALLOWED, RULE_DENIED, RULE_TRAP, RULE_CLIENT, RULE_AUTO_ALLOW };
	struct policy_question client_only = *q;
	struct policy_answer out;
	struct judge j;
	bool decided = false;

	if (q->verdict.known != CLIENT_KNOWN)
		return false;
	client_only.from = client_only.rcpt = "";
	client_only.names = NAME_VERDICT_NONE;
	client_only.dry = true;
	judge_init(&j, ctx, &client_only, &out, STAGE_CONNECT);
	judge_prefetch(&j);
	if (ctx->table != NULL)
		j.auto_tag = policy_auto_tag(ctx->table, &q->client);
	for (unsigned i = 0; i < ARRAY_LEN(tests) && !decided; i++)
		decided = rules[tests[i]](&j);
	if (!decided || out.verdict != VERDICT_PASS)
		return false;
	return out.rule == RULE_ALLOWED ||
	       (out.rule == RULE_AUTO_ALLOW && ctx->sender_deny == NULL && !asks_for_names(ctx));
}

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
	const struct grey_conf conf = grey_conf_of(ctx->conf, false);
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

/* The client's record. */

bool
policy_in_good_standing(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s)
{
	uint16_t count;

	return ctx->table != NULL && autoallow_check(ctx, policy_auto_tag(ctx->table, client), now_s, true, &count);
}

struct client_verdict
policy_client_decode(const struct vt_entry *e)
{
	return client_load(e);
}

struct client_verdict
policy_client_lookup(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s, bool *fresh)
{
	struct client_verdict v;
	struct vt_entry e;
	bool found;

	*fresh = false;
	if (ctx->table != NULL &&
		policy_record(ctx->table, policy_client_tag(ctx->table, client), VT_CLIENT, &e, &found)) {
		v = client_load(&e);
		switch (client_age(ctx->conf, &v, now_s)) {
		case CLIENT_AGE_FRESH:
			*fresh = true;
			return v;
		case CLIENT_AGE_USABLE:
			return v;
		case CLIENT_AGE_STALE:
			break;
		}
	}
	return (struct client_verdict){ .known = CLIENT_UNASKED, .zone = ZONE_NONE };
}

void
policy_client_store(
	const struct policy_ctx *ctx, const struct ip_addr *client, const struct client_verdict *v, uint32_t now_s)
{
	const struct vt_ages ages = policy_ages(ctx->conf, now_s);
	const struct ip_addr network = policy_client_network(client);

	if (ctx->table == NULL || v->known != CLIENT_KNOWN)
		return; /* nothing worth keeping */
	if (client_has_hit(v))
		autoallow_lose(ctx, &network, now_s);
	for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
		const struct vt_entry want = client_store(v, policy_client_tag(ctx->table, client), now_s);
		struct vt_entry old;
		const bool found = verdict_table_find(ctx->table, want.tag, &old);

		if (found && memcmp(&old, &want, sizeof(old)) == 0)
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

int
policy_trap_store(const struct policy_ctx *ctx, const struct ip_addr *client, bool as_network, bool by_operator,
	uint16_t hours, uint32_t now_s)
{
	const struct vt_ages ages = policy_ages(ctx->conf, now_s);
	const struct ip_addr network = policy_client_network(client);
	struct vt_entry old, want;

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
	for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
		const bool found = verdict_table_find(ctx->table, want.tag, &old);

		switch (verdict_table_put(ctx->table, found ? &old : NULL, &want, &ages, NULL)) {
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

uint32_t
policy_client_forget(const struct policy_ctx *ctx, const struct ip_addr *client)
{
	uint64_t tags[4];
	uint32_t n = 0;

	if (ctx->table == NULL)
		return 0;
	tags[0] = policy_client_tag(ctx->table, client);
	tags[1] = policy_auto_tag(ctx->table, client);
	tags[2] = policy_trap_tag(ctx->table, client);
	tags[3] = policy_trap_network_tag(ctx->table, client);
	for (unsigned i = 0; i < ARRAY_LEN(tags); i++)
		for (unsigned try = 0; try < POLICY_CAS_TRIES; try++) {
			struct vt_entry e;

			if (!verdict_table_find(ctx->table, tags[i], &e))
				break;
			if (verdict_table_remove(ctx->table, &e)) {
				n++;
				break;
			}
		}
	return n;
}
