/*
 * wheel.h - a lazy timer wheel: nodes are embedded, arming is O(1), a node that is not due before its old slot comes round is filed
 * again only then.
 *
 * Pure:   time comes in as an argument; memory is the caller's.
 * Keeps:  a node is on at most one wheel; wheel_pop() never gives a node before its due time; a node due is given at the
 *         latest one tick after it was due, whatever gap lies between two calls.
 */
#ifndef GREYLINE_BASE_WHEEL_H
#define GREYLINE_BASE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WHEEL_SLOTS 4096 /* a power of two */

struct wheel_node {
	struct wheel_node *next, *prev; /* both NULL: on no wheel */
	uint64_t due_us;
	uint32_t filed_slot;
	bool rests; /* nothing is due of it */
};

struct wheel {
	uint64_t tick_us;
	uint64_t now_tick;   /* slots before this one hold nothing that is due */
	uint64_t first_tick; /* no slot that has a node is looked at before it: most turns need not look for one */
	uint32_t n_armed;    /* without those that rest */
	uint64_t occupied[WHEEL_SLOTS / 64]; /* a bit for each slot that has a node */
	struct wheel_node slot[WHEEL_SLOTS]; /* list heads */
};

void wheel_init(struct wheel *w, uint64_t tick_us, uint64_t now_us);

/* Arms node for due_us, or moves it. */
void wheel_arm(struct wheel *w, struct wheel_node *node, uint64_t due_us);

/* Disarms; nothing where it is not armed. */
void wheel_cancel(struct wheel *w, struct wheel_node *node);

/*
 * Disarms for now: the node keeps its place, and is dropped when its slot comes round unless it is armed again. For timers that are stopped
 * and started with each segment: both then cost a store or two. wheel_cancel() before its memory goes.
 */
static inline void
wheel_rest(struct wheel *w, struct wheel_node *node)
{
	if (node->next == NULL || node->rests)
		return;
	node->rests = true;
	w->n_armed--;
}

/* Nothing will ever be due: there is nothing to pop. But after long without a pop call it once before the next node is armed: the round has to
 * start near now, or the node is looked at once for each round between. */
static inline bool
wheel_is_empty(const struct wheel *w)
{
	return w->n_armed == 0;
}

static inline bool
wheel_is_armed(const struct wheel_node *node)
{
	return node->next != NULL && !node->rests;
}

/* On a wheel, be it at rest: its memory must not go. */
static inline bool
wheel_is_filed(const struct wheel_node *node)
{
	return node->next != NULL;
}

/* The next node that is due at now_us, disarmed; NULL when none. The caller caps how many it takes in a turn. */
struct wheel_node *wheel_pop(struct wheel *w, uint64_t now_us);

/* After wheel_pop() had nothing at now_us: whether that was all, and it has not stopped on its way through nodes at rest. */
static inline bool
wheel_is_done(const struct wheel *w, uint64_t now_us)
{
	return w->first_tick > now_us / w->tick_us;
}

/* A lower bound of the next due time; UINT64_MAX when nothing is armed. */
uint64_t wheel_deadline_us(const struct wheel *w);

#endif
