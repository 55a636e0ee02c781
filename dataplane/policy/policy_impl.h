/*
 * policy_impl.h - what the files of this folder share: counters that may be missing, records by kind.
 */
#ifndef GREYLINE_POLICY_POLICY_IMPL_H
#define GREYLINE_POLICY_POLICY_IMPL_H

#include "dataplane/policy/grey.h"
#include "dataplane/policy/policy.h"

/* A compare-and-swap that lost is tried again so often; a record that still moves then counts as our own failure. */
#define POLICY_CAS_TRIES 8

#define TRAP_BY_OPERATOR 1 /* vt_entry.flags of VT_TRAP */

/* The greylist's times as configured; doubt doubles the block. */
struct grey_conf policy_grey_conf(const struct conf *conf, bool doubt);

static inline void
policy_count(const struct policy_ctx *ctx, enum counter which)
{
	if (ctx->counters != NULL)
		counter_inc(ctx->counters, which);
}

/* Seconds from then to now; a time in the future counts as now. */
static inline uint32_t
policy_age_s(uint32_t then_s, uint32_t now_s)
{
	return now_s > then_s ? now_s - then_s : 0;
}

/* The record of tag, if it is of that kind; what stands there otherwise is given too (*found), so that a put can replace it. */
static inline bool
policy_record(const struct verdict_table *t, uint64_t tag, enum vt_kind kind, struct vt_entry *out, bool *found)
{
	*found = verdict_table_find(t, tag, out);
	return *found && vt_kind(out) == kind;
}

#endif
