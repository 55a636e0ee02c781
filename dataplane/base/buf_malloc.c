/*
 * buf_malloc.c - the buffer pool of tests and simulator: every buffer an allocation of its own.
 *
 * Touches: malloc, one call a buffer, so that sanitizers see each buffer's bounds and end of life.
 * Keeps:  counts are checked: a reference to a dead buffer and a pool destroyed with live ones abort.
 */
#include "dataplane/base/buf.h"

#include <stdlib.h>

#include "dataplane/base/bug.h"

struct buf {
	uint32_t refs;
	uint32_t room_octets;
	struct buf_sum sum;
	uint8_t data[];
};

struct buf_malloc_pool {
	struct buf_pool pool;
	uint32_t in_use;
	uint32_t fail_at;
};

static struct buf *
buf_malloc_alloc(struct buf_pool *pool, uint32_t room_octets, uint8_t **data)
{
	struct buf_malloc_pool *p = (struct buf_malloc_pool *)pool;
	struct buf *buf;

	if (p->fail_at != 0 && --p->fail_at == 0)
		return NULL;
	if (room_octets > BUF_ROOM_MAX_OCTETS || p->in_use == p->pool.n_bufs)
		return NULL;
	buf = malloc(sizeof(*buf) + room_octets);
	if (buf == NULL)
		return NULL;
	*buf = (struct buf){ .refs = 1, .room_octets = room_octets };
	p->in_use++;
	*data = buf->data;
	return buf;
}

static void
buf_malloc_ref(struct buf_pool *pool, struct buf *buf)
{
	(void)pool;
	BUG_ON(buf->refs == 0);
	buf->refs++;
}

static void
buf_malloc_unref(struct buf_pool *pool, struct buf *buf)
{
	struct buf_malloc_pool *p = (struct buf_malloc_pool *)pool;

	BUG_ON(buf->refs == 0);
	if (--buf->refs > 0)
		return;
	BUG_ON(p->in_use == 0);
	p->in_use--;
	free(buf);
}

static uint32_t
buf_malloc_available(const struct buf_pool *pool)
{
	const struct buf_malloc_pool *p = (const struct buf_malloc_pool *)pool;

	return p->pool.n_bufs - p->in_use;
}

static const struct buf_ops buf_malloc_ops = {
	.alloc = buf_malloc_alloc,
	.ref = buf_malloc_ref,
	.unref = buf_malloc_unref,
	.available = buf_malloc_available,
};

struct buf_pool *
buf_malloc_create(uint32_t n_bufs)
{
	struct buf_malloc_pool *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->pool = (struct buf_pool){ .ops = &buf_malloc_ops,
		.sum_offset = offsetof(struct buf, sum),
		.room_octets = BUF_ROOM_MAX_OCTETS,
		.n_bufs = n_bufs };
	return &p->pool;
}

void
buf_malloc_destroy(struct buf_pool *pool)
{
	struct buf_malloc_pool *p = (struct buf_malloc_pool *)pool;

	if (p == NULL)
		return;
	BUG_ON(p->in_use != 0);
	free(p);
}

uint32_t
buf_malloc_in_use(const struct buf_pool *pool)
{
	return ((const struct buf_malloc_pool *)pool)->in_use;
}

void
buf_malloc_fail_at(struct buf_pool *pool, uint32_t n)
{
	((struct buf_malloc_pool *)pool)->fail_at = n;
}
