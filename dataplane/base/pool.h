/*
 * pool.h - blocks of one size, known by index, in one piece of memory that is touched as they are first needed.
 *
 * Pure:   memory is taken once by pool_create(); getting and putting are a few loads and stores.
 * Keeps:  a block not used before is all zero, one used before holds what was left in it, but for its first four octets; pages of
 *         blocks nobody has needed yet cost nothing; the block put last is the next one given, for it is warm.
 */
#ifndef GREYLINE_BASE_POOL_H
#define GREYLINE_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"
#include "dataplane/base/memory_list.h"

#define POOL_ALIGN_OCTETS 64u
#define POOL_NONE         UINT32_MAX

struct pool {
	uint8_t *blocks;
	size_t stride;
	uint32_t n, n_used;
	uint32_t n_fresh;     /* blocks before this one were used once */
	uint32_t free_plus_1; /* put last; a free block begins with the next one's */
};

/* What a block of so many octets takes. */
static inline size_t
pool_stride(size_t octets)
{
	return (octets + POOL_ALIGN_OCTETS - 1) & ~(size_t)(POOL_ALIGN_OCTETS - 1);
}

/* n blocks of octets each, aligned to POOL_ALIGN_OCTETS. Allocates; false when memory is short. */
static inline bool
pool_create(struct pool *p, uint32_t n, size_t octets)
{
	*p = (struct pool){ .n = n, .stride = pool_stride(octets) };
	p->blocks = large_alloc((size_t)n * p->stride);
	return p->blocks != NULL;
}

/* Nothing where it was not created. */
static inline void
pool_memory(const struct pool *p, const char *name, struct memory_list *l)
{
	memory_list_add(l, name, p->n, p->stride);
}

static inline void
pool_destroy(struct pool *p)
{
	large_free(p->blocks, (size_t)p->n * p->stride);
	*p = (struct pool){ 0 };
}

static inline void *
pool_at(const struct pool *p, uint32_t index)
{
	HOT_BUG_ON(index >= p->n);
	return p->blocks + (size_t)index * p->stride;
}

static inline uint32_t
pool_index(const struct pool *p, const void *block)
{
	return (uint32_t)((size_t)((const uint8_t *)block - p->blocks) / p->stride);
}

static inline uint32_t
pool_n_free(const struct pool *p)
{
	return p->n - p->n_used;
}

/* POOL_NONE: all are in use. */
static inline uint32_t
pool_get(struct pool *p)
{
	uint32_t index;

	if (p->free_plus_1 != 0) {
		index = p->free_plus_1 - 1;
		p->free_plus_1 = *(const uint32_t *)pool_at(p, index);
	} else if (p->n_fresh < p->n) {
		index = p->n_fresh++;
	} else {
		return POOL_NONE;
	}
	p->n_used++;
	return index;
}

static inline void
pool_put(struct pool *p, uint32_t index)
{
	HOT_BUG_ON(p->n_used == 0);
	*(uint32_t *)pool_at(p, index) = p->free_plus_1;
	p->free_plus_1 = index + 1;
	p->n_used--;
}

#endif
