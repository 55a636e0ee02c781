/*
 * buf_slab.h - a buffer pool as fast as an mbuf pool, without the EAL: fixed buffers on a free list.
 *
 * For measurements: the malloc pool's malloc and free would count as the worker's own. Keeps: what buf.h says; a reference to a dead
 * buffer aborts in checked builds.
 */
#ifndef GREYLINE_BENCH_INSTRUCTIONS_BUF_SLAB_H
#define GREYLINE_BENCH_INSTRUCTIONS_BUF_SLAB_H

#include "dataplane/base/buf.h"

struct buf_pool *buf_slab_create(uint32_t n_bufs);
void buf_slab_destroy(struct buf_pool *pool);
uint32_t buf_slab_in_use(const struct buf_pool *pool);

#endif
