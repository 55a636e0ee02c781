/*
 * counters.h - counters by worker: one writer each, read by anybody.
 *
 * Keeps:  each struct counters has exactly one writing thread; readers see each value whole (relaxed atomics), never torn.
 */
#ifndef GREYLINE_BASE_COUNTERS_H
#define GREYLINE_BASE_COUNTERS_H

#include <stdint.h>

enum counter {
#define COUNTER(group, name, help) CTR_##group##_##name,
#include "dataplane/base/counters.def"
#undef COUNTER
	COUNTER_N
};

struct counters {
	uint64_t value[COUNTER_N];
};

struct counter_name {
	const char *group, *name, *help;
};

extern const struct counter_name counter_names[COUNTER_N];

static inline void
counter_add(struct counters *c, enum counter which, uint64_t n)
{
	uint64_t v = __atomic_load_n(&c->value[which], __ATOMIC_RELAXED);

	__atomic_store_n(&c->value[which], v + n, __ATOMIC_RELAXED);
}

static inline void
counter_inc(struct counters *c, enum counter which)
{
	counter_add(c, which, 1);
}

static inline uint64_t
counter_read(const struct counters *c, enum counter which)
{
	return __atomic_load_n(&c->value[which], __ATOMIC_RELAXED);
}

#endif
