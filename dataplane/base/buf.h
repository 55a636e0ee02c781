/*
 * buf.h - buffers of received and of made octets, shared by reference count.
 *
 * Flow:   port (or buf_malloc) -> tcp -> stream -> smtp -> relay -> tcp -> port
 * Pure:   the pool behind a buffer is one of two: malloc with checked counts (tests, simulator) or mbufs (port).
 * Keeps:  a view is borrowed unless its giver says otherwise; who keeps octets beyond a call takes a reference with
 *         buf_ref() and drops it with buf_unref(). Octets of a buffer somebody else may read are never written.
 *
 * Reference counts are touched by one lcore at a time: a buffer crosses lcores only as a whole (redirect rings).
 */
#ifndef GREYLINE_BASE_BUF_H
#define GREYLINE_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf; /* opaque: an mbuf, or a block of the malloc pool */

struct buf_view {
	const uint8_t *ptr;
	uint32_t len_octets;
	struct buf *buf; /* NULL: octets that outlive everything (constants) or are borrowed for one call */
};

struct buf_pool;

struct buf_ops {
	/* Gives a buffer with room for at least room_octets and one reference, its writable octets in *data; NULL when
	 * the pool is empty or the room is more than BUF_ROOM_MAX_OCTETS. */
	struct buf *(*alloc)(struct buf_pool *pool, uint32_t room_octets, uint8_t **data);
	void (*ref)(struct buf_pool *pool, struct buf *buf);
	void (*unref)(struct buf_pool *pool, struct buf *buf);
	uint32_t (*available)(const struct buf_pool *pool); /* buffers left, for water marks */
};

/*
 * What is known of a buffer's octets: the sum of some of them (net/csum.h), so that who sends on what came in need not read it again. Belongs to the
 * buffer: views of it come and go. alloc() gives a buffer of which nothing is known.
 */
struct buf_sum {
	uint32_t at;         /* where they begin: the low half of the address */
	uint16_t len_octets; /* 0: nothing is known */
	uint16_t sum;        /* of 16-bit words as they lie in memory, as if they began at an even place */
};

/* Embedded first in an implementation's pool. One pool for each lcore, all of one implementation. */
struct buf_pool {
	const struct buf_ops *ops;
	uint32_t sum_offset;  /* of a struct buf_sum within each struct buf */
	uint32_t room_octets; /* of one buffer */
	uint32_t n_bufs;      /* in all */
};

#define BUF_ROOM_MAX_OCTETS 2048

static inline struct buf *
buf_alloc(struct buf_pool *pool, uint32_t room_octets, uint8_t **data)
{
	return pool->ops->alloc(pool, room_octets, data);
}

static inline void
buf_ref(struct buf_pool *pool, struct buf *buf)
{
	if (buf != NULL)
		pool->ops->ref(pool, buf);
}

static inline void
buf_unref(struct buf_pool *pool, struct buf *buf)
{
	if (buf != NULL)
		pool->ops->unref(pool, buf);
}

static inline struct buf_sum *
buf_sum(const struct buf_pool *pool, struct buf *buf)
{
	return (struct buf_sum *)(void *)((char *)buf + pool->sum_offset);
}

static inline uint32_t
buf_available(const struct buf_pool *pool)
{
	return pool->ops->available(pool);
}

/*
 * The malloc pool: at most n_bufs buffers at a time. buf_malloc_destroy() aborts when one is still referenced: that is
 * how every test notices a leak. buf_malloc_in_use() for tests that look before the end. buf_malloc_fail_at(n) makes
 * the n-th allocation from now (1 = next) fail once; 0 turns that off.
 */
struct buf_pool *buf_malloc_create(uint32_t n_bufs);
void buf_malloc_destroy(struct buf_pool *pool);
uint32_t buf_malloc_in_use(const struct buf_pool *pool);
void buf_malloc_fail_at(struct buf_pool *pool, uint32_t n);

#endif
