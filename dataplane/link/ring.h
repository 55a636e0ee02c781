/*
 * ring.h - single-producer single-consumer rings of fixed records between two processes.
 *
 * Touches: shared memory, by offsets.
 * Keeps:  the record first, then one release store of the index: a process killed anywhere leaves nothing half visible.
 *         Indices read from the other side are hostile: masked, and a distance beyond the size is a broken ring
 *         (counted, reset by its consumer).
 */
#ifndef GREYLINE_LINK_RING_H
#define GREYLINE_LINK_RING_H

#include <stdbool.h>
#include <stdint.h>

struct ring_shared {
	_Alignas(64) uint64_t head; /* written by the producer */
	_Alignas(64) uint64_t tail; /* written by the consumer */
};

/* Process-local handle. */
struct ring {
	struct ring_shared *shared;
	uint8_t *records;
	uint32_t record_octets; /* of one slot */
	uint32_t n_records;     /* a power of two */
	uint64_t full;          /* producer: refused because full */
	uint64_t broken;        /* consumer: indices that could not be */
};

uint64_t ring_octets(uint32_t record_octets, uint32_t n_records);
void ring_bind(struct ring *r, void *memory, uint32_t record_octets, uint32_t n_records);

/* Producer: the slot to fill, NULL when full; visible after ring_publish(), which asks for the lines of the next. */
void *ring_reserve(struct ring *r);
void ring_publish(struct ring *r);
/* Consumer: the oldest record, NULL when empty; copy it, then ring_release(). */
const void *ring_front(struct ring *r);
void ring_release(struct ring *r);
uint64_t ring_count(const struct ring *r);

#endif
