/*
 * buf_slab.c - see buf_slab.h.
 */
#include "bench/instructions/buf_slab.h"

#include <stdlib.h>

#include "dataplane/base/bug.h"

struct buf {
	struct buf *next_free;
	uint32_t refs;
	struct buf_sum sum;
	uint32_t reserved[11]; /* octets begin on a cache line of their own, as an mbuf's do */
	uint8_t data[BUF_ROOM_MAX_OCTETS];
};

struct buf_slab {
	struct buf_pool pool;
	struct buf *mem, *free;
	uint32_t n_free;
};

static struct buf *
slab_alloc(struct buf_pool *pool, uint32_t room_octets, uint8_t **data)
{
	struct buf_slab *p = (struct buf_slab *)pool;
	struct buf *buf = p->free;

	if (buf == NULL || room_octets > BUF_ROOM_MAX_OCTETS)
		return NULL;
	p->free = buf->next_free;
	p->n_free--;
	buf->refs = 1;
	buf->sum.len_octets = 0;
	*data = buf->data;
	return buf;
}

static void
slab_ref(struct buf_pool *pool, struct buf *buf)
{
	(void)pool;
	HOT_BUG_ON(buf->refs == 0);
	buf->refs++;
}

static void
slab_unref(struct buf_pool *pool, struct buf *buf)
{
	struct buf_slab *p = (struct buf_slab *)pool;

	HOT_BUG_ON(buf->refs == 0);
	if (--buf->refs > 0)
		return;
	buf->next_free = p->free;
	p->free = buf;
	p->n_free++;
}

static uint32_t
slab_available(const struct buf_pool *pool)
{
	return ((const struct buf_slab *)pool)->n_free;
}

static const struct buf_ops slab_ops = {
	.alloc = slab_alloc,
	.ref = slab_ref,
	.unref = slab_unref,
	.available = slab_available,
};

struct buf_pool *
buf_slab_create(uint32_t n_bufs)
{
	struct buf_slab *p = calloc(1, sizeof(*p));

	BUG_ON(p == NULL);
	p->mem = calloc(n_bufs, sizeof(*p->mem));
	BUG_ON(p->mem == NULL);
	p->pool = (struct buf_pool){ .ops = &slab_ops,
		.sum_offset = offsetof(struct buf, sum),
		.room_octets = BUF_ROOM_MAX_OCTETS,
		.n_bufs = n_bufs };
	for (uint32_t i = n_bufs; i-- > 0;) {
		p->mem[i].next_free = p->free;
		p->free = &p->mem[i];
	}
	p->n_free = n_bufs;
	return &p->pool;
}

void
buf_slab_destroy(struct buf_pool *pool)
{
	struct buf_slab *p = (struct buf_slab *)pool;

	free(p->mem);
	free(p);
}

uint32_t
buf_slab_in_use(const struct buf_pool *pool)
{
	return pool->n_bufs - ((const struct buf_slab *)pool)->n_free;
}
