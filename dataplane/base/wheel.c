/*
 * wheel.c - the lazy timer wheel.
 *
 * Pure:   see the header.
 * Keeps:  a node is filed in the slot of its due tick, or in the last slot of the round where it lies further out;
 *         a node found in its slot before its time is filed again.
 */
#include "dataplane/base/wheel.h"

#include <stddef.h>

#include "dataplane/base/bug.h"

#define SLOT_MASK       (WHEEL_SLOTS - 1u)
#define WHEEL_DROPS_MAX 1024 /* nodes at rest taken out in one wheel_pop() */

void
wheel_init(struct wheel *w, uint64_t tick_us, uint64_t now_us)
{
	*w = (struct wheel){ .tick_us = tick_us, .now_tick = now_us / tick_us, .first_tick = UINT64_MAX };
	for (uint32_t i = 0; i < WHEEL_SLOTS; i++)
		w->slot[i].next = w->slot[i].prev = &w->slot[i];
}

/* The tick at which node is looked at: rounded up, so that it is never before its due time. */
static uint64_t
due_tick(const struct wheel *w, uint64_t due_us)
{
	uint64_t tick =
		due_us > UINT64_MAX - w->tick_us ? UINT64_MAX / w->tick_us : (due_us + w->tick_us - 1) / w->tick_us;

	if (tick < w->now_tick)
		tick = w->now_tick;
	if (tick > w->now_tick + SLOT_MASK)
		tick = w->now_tick + SLOT_MASK;
	return tick;
}

static void
file_node(struct wheel *w, struct wheel_node *node)
{
	const uint64_t tick = due_tick(w, node->due_us);
	uint32_t slot = (uint32_t)(tick & SLOT_MASK);
	struct wheel_node *head = &w->slot[slot];

	if (tick < w->first_tick)
		w->first_tick = tick;
	node->filed_slot = slot;
	node->next = head;
	node->prev = head->prev;
	head->prev->next = node;
	head->prev = node;
	w->occupied[slot / 64] |= UINT64_C(1) << (slot % 64);
}

static void
unfile_node(struct wheel *w, struct wheel_node *node)
{
	struct wheel_node *head = &w->slot[node->filed_slot];

	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = NULL;
	if (head->next == head)
		w->occupied[node->filed_slot / 64] &= ~(UINT64_C(1) << (node->filed_slot % 64));
}

/* When the slot node is filed in comes round. */
static uint64_t
filed_tick(const struct wheel *w, const struct wheel_node *node)
{
	return w->now_tick + ((node->filed_slot - (uint32_t)w->now_tick) & SLOT_MASK);
}

/* Whether a slot that comes round at tick is looked at no later than due_us wants; no division, for this is asked with each segment. */
static bool
is_soon_enough(const struct wheel *w, uint64_t tick, uint64_t due_us)
{
	return tick == w->now_tick || (tick - 1) * w->tick_us < due_us;
}

void
wheel_arm(struct wheel *w, struct wheel_node *node, uint64_t due_us)
{
	const bool filed = wheel_is_filed(node);

	w->n_armed += !filed || node->rests;
	node->rests = false;
	node->due_us = due_us;
	if (filed) {
		const uint64_t tick = filed_tick(w, node);

		if (is_soon_enough(w, tick, due_us)) { /* lazy: filed again when its old slot comes round */
			if (tick < w->first_tick)
				w->first_tick = tick;
			return;
		}
		unfile_node(w, node);
	}
	file_node(w, node);
}

void
wheel_cancel(struct wheel *w, struct wheel_node *node)
{
	if (!wheel_is_filed(node))
		return;
	unfile_node(w, node);
	w->n_armed -= !node->rests;
	node->rests = false;
}

/* The first occupied slot at or after now_tick, as a tick; UINT64_MAX when the wheel is empty. */
static uint64_t
next_occupied_tick(const struct wheel *w)
{
	uint32_t start = (uint32_t)(w->now_tick & SLOT_MASK);

	if (w->n_armed == 0)
		return UINT64_MAX;
	for (uint32_t i = 0; i <= WHEEL_SLOTS / 64; i++) {
		uint32_t word = (start / 64 + i) % (WHEEL_SLOTS / 64);
		uint64_t bits = w->occupied[word];

		if (i == 0)
			bits &= ~UINT64_C(0) << (start % 64);
		else if (i == WHEEL_SLOTS / 64)
			bits &= ~(~UINT64_C(0) << (start % 64));
		if (bits != 0) {
			uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(bits);

			return w->now_tick + ((slot - start) & SLOT_MASK);
		}
	}
	BUG_ON(true); /* n_armed says there is one */
	return UINT64_MAX;
}

/* The tick of now_us; as long as that is the wheel's own, which a turn asks for several times, without a division. */
static uint64_t
tick_of(const struct wheel *w, uint64_t now_us)
{
	const uint64_t start_us = w->now_tick * w->tick_us;

	return now_us - start_us < w->tick_us ? w->now_tick : now_us / w->tick_us;
}

struct wheel_node *
wheel_pop(struct wheel *w, uint64_t now_us)
{
	const uint64_t now_tick = tick_of(w, now_us);

	for (uint32_t dropped = 0; dropped < WHEEL_DROPS_MAX;) {
		struct wheel_node *node;
		uint64_t tick;

		if (w->first_tick <= now_tick)
			w->first_tick = next_occupied_tick(w);
		tick = w->first_tick;
		if (tick > now_tick) {
			/* nothing until then: the round may start later */
			if (now_tick > w->now_tick)
				w->now_tick = now_tick;
			return NULL;
		}
		w->now_tick = tick;
		node = w->slot[tick & SLOT_MASK].next;
		unfile_node(w, node);
		if (node->rests) {
			node->rests = false;
			dropped++;
			continue;
		}
		if (node->due_us <= now_us) {
			w->n_armed--;
			return node;
		}
		/* it moved since it was filed: its due tick is after this one */
		HOT_BUG_ON(due_tick(w, node->due_us) == tick);
		file_node(w, node);
	}
	return NULL; /* the slot stays the next one: the rest of it is dropped by the next call */
}

uint64_t
wheel_deadline_us(const struct wheel *w)
{
	/* no armed node lies before first_tick: those at rest there wake nobody */
	const uint64_t tick = w->n_armed > 0 && w->first_tick > w->now_tick ? w->first_tick : next_occupied_tick(w);

	return tick == UINT64_MAX ? UINT64_MAX : tick * w->tick_us;
}
