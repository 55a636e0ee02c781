/*
 * ring.c - see ring.h.
 *
 * Touches: the shared indices and records.
 * Keeps:  head is stored by the producer alone and tail by the consumer alone, each with one release store after the
 *         octets it stands for were written or read. There is no third state to be killed in: before the store the
 *         record is not there, after it the record is whole. Both indices only grow; slots are index modulo size.
 */
#include "dataplane/link/ring.h"

#include <assert.h>
#include <stddef.h>

#include "dataplane/base/bug.h"

static_assert(sizeof(struct ring_shared) == 128, "two cache lines, one for each side");

#define RING_AHEAD_OCTETS 256 /* of a record: what most events fill */

uint64_t
ring_octets(uint32_t record_octets, uint32_t n_records)
{
	return sizeof(struct ring_shared) + (uint64_t)record_octets * n_records;
}

void
ring_bind(struct ring *r, void *memory, uint32_t record_octets, uint32_t n_records)
{
	BUG_ON(n_records == 0 || (n_records & (n_records - 1)) != 0 || record_octets % 8 != 0 ||
		(uintptr_t)memory % 64 != 0);
	*r = (struct ring){ .shared = memory,
		.records = (uint8_t *)memory + sizeof(struct ring_shared),
		.record_octets = record_octets,
		.n_records = n_records };
}

static uint8_t *
slot(const struct ring *r, uint64_t index)
{
	return r->records + (index & (r->n_records - 1)) * r->record_octets;
}

void *
ring_reserve(struct ring *r)
{
	const uint64_t head = __atomic_load_n(&r->shared->head, __ATOMIC_RELAXED);
	const uint64_t tail = __atomic_load_n(&r->shared->tail, __ATOMIC_ACQUIRE);

	if (head - tail >= r->n_records) { /* a distance that cannot be is full too, until the consumer has reset it */
		r->full++;
		return NULL;
	}
	return slot(r, head);
}

/*
 * The next record and the consumer's index lie in the consumer's caches, or in none. All stores wait for those before them, and an insert into
 * the table, being locked, for all: so the lines are asked for while there is time.
 */
static void
ask_for_next(const struct ring *r, uint64_t index)
{
	const uint8_t *record = slot(r, index);

	for (uint32_t at = 0; at < MIN((uint32_t)RING_AHEAD_OCTETS, r->record_octets); at += 64)
		__builtin_prefetch(record + at, 1);
	__builtin_prefetch(&r->shared->tail);
}

void
ring_publish(struct ring *r)
{
	const uint64_t head = __atomic_load_n(&r->shared->head, __ATOMIC_RELAXED);

	__atomic_store_n(&r->shared->head, head + 1, __ATOMIC_RELEASE);
	ask_for_next(r, head + 1);
}

const void *
ring_front(struct ring *r)
{
	const uint64_t tail = __atomic_load_n(&r->shared->tail, __ATOMIC_RELAXED);
	const uint64_t head = __atomic_load_n(&r->shared->head, __ATOMIC_ACQUIRE);

	if (head == tail)
		return NULL;
	if (head - tail > r->n_records) {
		r->broken++;
		__atomic_store_n(&r->shared->tail, head, __ATOMIC_RELEASE);
		return NULL;
	}
	return slot(r, tail);
}

void
ring_release(struct ring *r)
{
	const uint64_t tail = __atomic_load_n(&r->shared->tail, __ATOMIC_RELAXED);

	__atomic_store_n(&r->shared->tail, tail + 1, __ATOMIC_RELEASE);
}

uint64_t
ring_count(const struct ring *r)
{
	const uint64_t tail = __atomic_load_n(&r->shared->tail, __ATOMIC_ACQUIRE);
	const uint64_t n = __atomic_load_n(&r->shared->head, __ATOMIC_ACQUIRE) - tail;

	return n > r->n_records ? 0 : n;
}
