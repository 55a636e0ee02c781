/*
 * marks.c - water marks, see the header.
 *
 * Pure:   a constant table made from marks.def.
 */
#include "dataplane/base/marks.h"

#include <assert.h>

static_assert(MARK_N <= 32, "a set is 32 bits");
#define MARK(name, resource, on, off, help)                                                                            \
	static_assert((on) < (off) && (off) <= MARK_OFF_MAX,                                                           \
		"two edges, and none above what marks_look() takes for plenty");
#include "dataplane/base/marks.def"
#undef MARK

const struct mark_row mark_rows[MARK_N] = {
#define MARK(name, resource, on, off, help) { MARK_##resource, on, off, #name, help },
#include "dataplane/base/marks.def"
#undef MARK
};

uint32_t
marks_judge(uint32_t set, enum mark_resource resource, uint64_t n_free, uint64_t n)
{
	for (uint32_t m = 0; m < MARK_N; m++) {
		const struct mark_row *row = &mark_rows[m];

		if (row->resource != resource)
			continue;
		if (n_free * MARK_WHOLE < row->on * n)
			set |= UINT32_C(1) << m;
		else if (n_free * MARK_WHOLE >= row->off * n)
			set &= ~(UINT32_C(1) << m);
	}
	return set;
}

void
marks_count(struct counters *counters, uint32_t was, uint32_t set)
{
	for (uint32_t m = 0; m < MARK_N; m++)
		if (marks_on(set & ~was, m))
			counter_inc(counters, CTR_mark_windows + m);
}
