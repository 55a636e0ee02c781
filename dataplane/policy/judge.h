/*
 * judge.h - one decision under way: its state and what the rules share.
 */
#ifndef GREYLINE_POLICY_JUDGE_H
#define GREYLINE_POLICY_JUDGE_H

#include "dataplane/policy/client.h"
#include "dataplane/policy/grey.h"
#include "dataplane/policy/policy_impl.h"
#include "dataplane/policy/triplet.h"

#define POOL_DEFAULT 0xffff

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
	bool decided;                          /* by a rule before the first that needs a record */
	bool has_traps;                        /* somebody is blocked, perhaps this client */
	/* judge_prefetch(); traps: of the address, of its network; auto_tag 0: nobody has any */
	uint64_t trap_tags[2], auto_tag;
	struct vt_entry trap; /* kind VT_FREE: none in force */
	uint32_t trap_left_s;
	uint64_t network_hash; /* judge_network_hash(); 0: not yet */
	bool paid;             /* of the source network's budget: once, however often the record is decided anew */
	char from[TRIPLET_PATH_MAX_OCTETS + 1], rcpt[TRIPLET_PATH_MAX_OCTETS + 1]; /* canonical */
	uint32_t from_octets, rcpt_octets;
	const char *rcpt_domain; /* within rcpt */
	struct triplet_key key;  /* of the triplet and of the pair; by judge_prefetch() */
};

/* The rules, in their order; each answers whether it decided. */
typedef bool rule_fn(struct judge *j);

rule_fn rule_syntax;
rule_fn rule_relay;
rule_fn rule_postmaster;
rule_fn rule_rcpt_denied;
rule_fn rule_allowed;
rule_fn rule_denied;
rule_fn rule_trap;
rule_fn rule_client;
rule_fn rule_protocol;
rule_fn rule_opt_out;
rule_fn rule_auto_allow;
rule_fn rule_greylist;

static inline void
judge_count(const struct judge *j, enum counter which)
{
	if (!j->q->dry)
		policy_count(j->ctx, which);
}

void judge_tell(const struct judge *j, enum policy_rule rule, bool matched, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* A macro, so that the words of a trace nobody asked for are not even put together. */
#define judge_trace(j, rule, matched, ...)                                                                             \
	do {                                                                                                           \
		if ((j)->trace != NULL)                                                                                \
			judge_tell(j, rule, matched, __VA_ARGS__);                                                     \
	} while (0)

uint64_t judge_ref(const struct judge *j, enum policy_rule rule);

bool judge_decide(struct judge *j, enum policy_rule rule, enum verdict verdict, uint16_t code, const char *reason);

/* Refuses or defers the client as POLICY section 4 words it; word is for the log, reason for the reply. */
bool judge_refuse(struct judge *j, enum policy_rule rule, enum verdict verdict, const char *word, const char *reason);

void judge_prefetch(struct judge *j);

/* A keyed hash of the client's network, for what is remembered or counted of it but stands in no key. There is a table. */
uint64_t judge_network_hash(struct judge *j);

/* Whether path is in a list of addresses (a name_set, NULL: none). */
bool judge_address_listed(const void *set, const char *path);

bool judge_has_bad_manners(const struct policy_ctx *ctx, const struct policy_question *q);

#endif
