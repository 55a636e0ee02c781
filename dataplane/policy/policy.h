/*
 * policy.h - the verdict on one recipient: the order of tests of POLICY section 2.
 *
 * Flow:   worker (RCPT) -> policy_rcpt() -> answer;  control (`explain`) -> the same code with dry set and a trace
 * Pure:   a function of the question, the lists of the snapshot, the records of the verdict table and the time. It reads and, unless
 *         dry, writes the table; nothing else.
 * Keeps:  first match decides; a failure of our own state never refuses or delays (let through, counted); 1 <= wait_s <= block,
 *         where the block of a doubtful client (EFFECT_GREY, "greylist longer") is twice greylist.block.
 * Source: POLICY sections 2, 3, 4, 7.
 */
#ifndef GREYLINE_POLICY_POLICY_H
#define GREYLINE_POLICY_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/base/verdict.h"
#include "dataplane/policy/handshake.h"
#include "dataplane/table/source_budget.h"
#include "dataplane/table/verdict_table.h"

/* What the snapshot and the segment lend for one decision; any list may be NULL (empty). */
struct policy_ctx {
	const struct conf *conf;
	const void *domains;                    /* name_set: value = listener bits (low 32) | pool index << 32 */
	const void *client_allow, *client_deny; /* prefix tables */
	const void *sender_allow, *sender_deny; /* name_set of addresses */
	const void *rcpt_allow, *rcpt_deny, *rcpt_no_grey;
	const void *traps;             /* name_set of addresses */
	const struct conf_zone *zones; /* public names */
	uint32_t n_zones;
	struct verdict_table *table;
	struct source_budget_cell *budget;
	struct counters *counters; /* NULL when dry */
	uint32_t loading_left_s;   /* records are still being loaded: about so long yet; 0: all there are, are there */
};

struct policy_question {
	uint32_t listener; /* index */
	bool i_trust_the_backend;
	struct ip_addr client;
	struct client_verdict verdict;
	struct name_verdict
		names; /* known = CLIENT_UNASKED: not asked yet, which a recipient waits for where it could matter */
	uint16_t protocol_score;     /* sum of the weights of what the dialogue showed */
	const char *helo, *ptr_name; /* "" when none; ptr_name only when confirmed */
	const char *from, *rcpt;     /* without brackets, NUL-terminated; "" is the null sender */
	uint32_t now_s;              /* policy time */
	bool dry;                    /* explain: writes nothing, counts nothing */
};

#define POLICY_TEXT_OCTETS 256

struct policy_answer {
	enum verdict
		verdict; /* as the client meets it: mode already applied (observe: PASS; soft: DEFER for policy 5xx) */
	enum verdict would;    /* what enforce would say */
	enum policy_rule rule; /* which decided */
	uint16_t code;         /* 0, 451, 550, 554 of the verdict in force */
	uint32_t wait_s;       /* of a greylist deferral */
	uint32_t waited_s;     /* of a pass by the greylist: since first */
	int16_t score;
	uint16_t pool;          /* of the recipient's domain; 0xffff: the listener's default */
	uint64_t ref;           /* 40 bits; of the triplet for the greylist, of the event for a reject; 0: none */
	uint64_t tag;           /* the triplet's, 0 when the greylist was not reached */
	struct vt_entry before; /* the triplet's record before (kind VT_FREE: none) and now: policy_undo() */
	struct vt_entry after;
	struct ip_addr network; /* of the client: policy_undo() */
	const char *reason; /* constant word for the log: "greylist", "dnsbl", "no-ptr", "relay", "postmaster", ... */
	char text[POLICY_TEXT_OCTETS]; /* reply text after code and enhanced code, "" for PASS; without CRLF */
	char enhanced[12];             /* "4.7.1" */
};

/* For explain: called once for each rule looked at, in order. */
typedef void policy_trace_fn(void *arg, enum policy_rule rule, bool matched, const char *detail);

/*
 * The verdict on one recipient. VERDICT_WAIT: what is missing of the client's verdict could change the outcome; ask again when it
 * came or the deadline passed (question.verdict.known = CLIENT_LATE).
 * Null sender (POLICY section 3): answers PASS for what is grey only, with after/tag set and wait_s > 0: the caller keeps
 * (tag, wait_s) and asks policy_null_sender_data() at DATA. Cannot fail.
 * A client known to be good (its triplet is WHITE, or its network has the automatic allow) never waits. In observe mode a recipient waits
 * like in the others, under the same deadline: without it `would=` would say nothing about the first mail of any client.
 */
void policy_rcpt(const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out,
	policy_trace_fn *trace, void *trace_arg);

/*
 * The same in two steps, for who has several recipients to judge: the first comes to the keys and asks for the lines of memory which the second
 * reads, and these are on their way while the others' first steps are taken. j: policy_judge_octets(), aligned as malloc() does; it, ctx, q with
 * its texts and out stay as they are until the second step.
 */
struct judge;
uint32_t policy_judge_octets(void);
void policy_rcpt_begin(
	struct judge *j, const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out);
void policy_rcpt_end(struct judge *j);

/* One accepted recipient of a null-sender transaction, judged at DATA: starts or keeps its record; answers PASS or DEFER (wait_s). */
void policy_null_sender_data(const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out);

/* The backend answered 5xx to RCPT: puts the record back to what it was. */
void policy_undo(const struct policy_ctx *ctx, const struct policy_answer *a);

/*
 * The backend answered a message: feeds automatic allow and the warm start of observe mode. delivered: it said 250; call once for each
 * accepted recipient. Not delivered: it refused the message for good (5xx); call once. A 4xx or a dead backend says nothing about the
 * client: do not call (POLICY section 3, PITFALLS 50).
 */
void policy_message(const struct policy_ctx *ctx, const struct policy_question *q, bool delivered);

/* At accept: whether reject_at = connect|syn refuses this client, with code (554; 421 in soft mode, then VERDICT_DEFER) and text, without
 * an enhanced code (RFC 2034 section 3: none in a greeting); else VERDICT_PASS or VERDICT_WAIT. */
void policy_connect(const struct policy_ctx *ctx, const struct policy_question *q, struct policy_answer *out);

/*
 * At a SYN, where reject_at = syn: whether the client is refused by its address and what the table holds of it. Whoever something not yet
 * known could still let through, or who would only be deferred (soft mode), is not: policy_connect() judges him at accept. Writes and counts
 * nothing.
 */
bool policy_syn_refused(const struct policy_ctx *ctx, uint32_t listener, const struct ip_addr *client, uint32_t now_s);
/* Of a client whose SYN is refused: rule, reason and score. */
void policy_syn_answer(const struct policy_ctx *ctx, uint32_t listener, const struct ip_addr *client, uint32_t now_s,
	struct policy_answer *out);

/*
 * Whether whatever this client sends to whomever would be let through, by who it is alone: allowed (address or confirmed name) or by
 * automatic allow, nothing known against it. Where automatic allow decides, a list of denied senders makes it false: that rule stands
 * before and needs a sender. Reads only; needs a known verdict. Rules about recipients are the caller's to look at.
 */
bool policy_is_known(const struct policy_ctx *ctx, const struct policy_question *q);

/* Whether the client's network has the automatic allow: its mail is known to be good. Such a client never waits for a question about it,
 * and is asked about again once in client_fresh_s at most. Reads only. */
bool policy_in_good_standing(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s);

/*
 * Whether nothing speaks for this client: neither allowed nor in good standing, and no triplet of its network ever passed the greylist; or
 * something speaks against it (denied, caught by a trap, listed). For who must choose whom to serve; reads only.
 */
bool policy_is_stranger(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s);

/* The client's record in the table as a verdict; known = CLIENT_UNASKED when there is none or it is stale. `fresh` false: usable, but
 * ask again in the background. */
struct client_verdict policy_client_lookup(
	const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s, bool *fresh);
/* The same of a client whose tag is known; true: fresh. */
bool policy_client_find(const struct policy_ctx *ctx, uint64_t tag, uint32_t now_s, struct client_verdict *out);
/* Stores control's answer. */
void policy_client_store(
	const struct policy_ctx *ctx, const struct ip_addr *client, const struct client_verdict *v, uint32_t now_s);

/* What is remembered of a client's handshakes: HANDSHAKE_HIDDEN where STARTTLS is not to be offered (tls.hide_after_failures). Reads only. */
struct handshake policy_tls_state(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s);
/* A handshake of the client failed by its doing: true when STARTTLS is hidden from it since this one. */
bool policy_tls_failed(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s);
/* One was completed: for thirty days nothing is hidden from this address. */
void policy_tls_done(const struct policy_ctx *ctx, const struct ip_addr *client, uint32_t now_s);

/* The network of a client: /24 or /64. */
struct ip_addr policy_client_network(const struct ip_addr *client);

/*
 * The keys of all records, for control and tools. Of addresses as they come: networks are taken, paths normalised here.
 */
uint64_t policy_triplet_tag(
	const struct verdict_table *t, const struct ip_addr *client, const char *from, const char *rcpt);
uint64_t policy_client_tag(const struct verdict_table *t, const struct ip_addr *client);
uint64_t policy_auto_tag(const struct verdict_table *t, const struct ip_addr *client); /* of its network */
uint64_t policy_trap_tag(const struct verdict_table *t, const struct ip_addr *client); /* of the address */
uint64_t policy_trap_network_tag(const struct verdict_table *t, const struct ip_addr *client);
uint64_t policy_tls_tag(const struct verdict_table *t, const struct ip_addr *client); /* of the address */

/* What decides which entry goes when buckets are full. */
struct vt_ages policy_ages(const struct conf *conf, uint32_t now_s);

/* A VT_CLIENT entry as the verdict it holds (known = CLIENT_KNOWN, whatever its age); see client.h for the layout. */
struct client_verdict policy_client_decode(const struct vt_entry *e);

/*
 * Blocks a client (or, as_network, its network) from now_s on: hours 1 to 65535, 0 for `trap.time`. by_operator: refused at rule 6 with
 * 554; else by a trap, rule 7, 451. A trap takes the automatic allow of the network. 0; -ENOSPC: no room in the table, -EBUSY: raced.
 */
int policy_trap_store(const struct policy_ctx *ctx, const struct ip_addr *client, bool as_network, bool by_operator,
	uint16_t hours, uint32_t now_s);
/* Whether an entry of kind VT_TRAP still blocks; *left_s how long. */
bool policy_trap_is_active(const struct conf *conf, const struct vt_entry *e, uint32_t now_s, uint32_t *left_s);
/* Removes what is kept about a client: verdict, automatic allow, traps, failed handshakes; that it completed one stays, for it can only
 * protect. Returns how many records went. */
uint32_t policy_client_forget(const struct policy_ctx *ctx, const struct ip_addr *client);

/* The reference of a greylist record: the upper 40 bits of its tag. */
static inline uint64_t
policy_ref_of_tag(uint64_t tag)
{
	return tag >> 24;
}

/* 40-bit reference as 8 characters of Crockford's base 32 (out 9 octets with NUL), and back: 0 or -EINVAL. */
char *policy_ref_format(uint64_t ref, char out[9]);
int policy_ref_parse(const char *text, uint64_t *ref);

/* The words of states and rules, for explain and log. */
const char *policy_rule_name(enum policy_rule rule);
const char *policy_verdict_name(enum verdict v);
const char *policy_ptr_name(enum ptr_state s);

#endif
