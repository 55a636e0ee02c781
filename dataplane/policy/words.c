/*
 * words.c - the words of rules, verdicts and states of reverse DNS, for explain and log.
 *
 * Flow:   log, explain -> policy_rule_name() and its sisters
 * Pure:   constant tables.
 */
#include "dataplane/policy/policy.h"

#include "dataplane/base/bug.h"

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
