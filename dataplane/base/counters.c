/*
 * counters.c - the names behind the numbers.
 *
 * Pure:   a constant table made from counters.def.
 */
#include "dataplane/base/counters.h"

const struct counter_name counter_names[COUNTER_N] = {
#define COUNTER(group, name, help) { #group, #name, help },
#include "dataplane/base/counters.def"
#undef COUNTER
};
