/*
 * marks.h - water marks: what is given up, in which order, as buffers, connections and sessions run out.
 *
 * Flow:   who owns a resource, once a turn -> marks_look() -> marks_on() where something would be spent
 * Pure:   a set of bits, and how much is free; nothing else.
 * Keeps:  marks of one resource are reached in the order of marks.def and left in the opposite one. Between the two edges a mark stays as it
 *         is, so that a level that trembles does not change what is done with each turn.
 */
#ifndef GREYLINE_BASE_MARKS_H
#define GREYLINE_BASE_MARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/counters.h"

enum mark {
#define MARK(name, resource, on, off, help) MARK_##name,
#include "dataplane/base/marks.def"
#undef MARK
	MARK_N
};

/* What runs out, of one worker. */
enum mark_resource {
	MARK_BUFFERS, /* of the pool that frames are received into */
	MARK_CONNS,   /* blocks of connections, both directions */
	MARK_BLOCKS,  /* blocks of sessions that are not at rest, where there are fewer than slots */
	MARK_SLOTS,   /* session slots that strangers may use */
	MARK_TURNS,   /* time: of the last second, what has passed since SYNs were dropped for want of it */
	MARK_RESOURCES
};

#define MARK_TURNS_MS UINT64_C(1000)

#define MARK_WHOLE   64               /* on and off are parts of it */
#define MARK_OFF_MAX (MARK_WHOLE / 2) /* of any: with as much free and nothing on there is nothing to judge */

struct mark_row {
	enum mark_resource resource;
	uint32_t on, off;
	const char *name, *help;
};

extern const struct mark_row mark_rows[MARK_N];

uint32_t marks_judge(uint32_t set, enum mark_resource resource, uint64_t n_free, uint64_t n);

/* The set of marks, those of resource judged anew: n_free of n are free. n 0: there is no such resource, its marks are off. */
static inline uint32_t
marks_look(uint32_t set, enum mark_resource resource, uint64_t n_free, uint64_t n)
{
	return set == 0 && n_free >= n / 2 + 1 ? 0 : marks_judge(set, resource, n_free, n);
}

/* Counts each mark that is in set and was not. */
void marks_count(struct counters *counters, uint32_t was, uint32_t set);

static inline bool
marks_on(uint32_t set, enum mark m)
{
	return (set >> m & 1) != 0;
}

#endif
