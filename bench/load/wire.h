/*
 * wire.h - one port of the load generator: frames in bursts, and the sizes of those that passed.
 *
 * Touches: an ethdev.
 * Keeps:  what the port does not take after some tries is dropped and counted; whoever sends over it sends again.
 */
#ifndef GREYLINE_BENCH_LOAD_WIRE_H
#define GREYLINE_BENCH_LOAD_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#define WIRE_BURST      32
#define WIRE_TAPE_SIZES 8192

/* Sizes of the last frames, in both directions: the echo gets the same. */
struct tape {
	uint16_t octets[WIRE_TAPE_SIZES];
	uint32_t n, at; /* written and, of those, read */
};

struct wire {
	uint16_t port;
	uint16_t n;
	struct rte_mbuf *batch[WIRE_BURST];
	struct rte_mbuf *lent;
	struct rte_mempool *pool;
	struct tape *tape; /* or NULL */
	uint64_t sent, received, full;
};

/* 0 or -errno. */
int wire_start(struct wire *w, uint16_t port, struct rte_mempool *pool);
/* Lends room for a frame until wire_send(); NULL: no buffer. */
uint8_t *wire_room(struct wire *w);
/* What lies in that room goes out, at the latest with the next wire_flush(). */
void wire_send(struct wire *w, uint32_t octets);
void wire_flush(struct wire *w);
/* Up to WIRE_BURST frames, given. */
uint16_t wire_receive(struct wire *w, struct rte_mbuf **out);

void tape_note(struct tape *t, uint16_t octets);
/* The next size, round and round; 64 when nothing was noted. */
uint16_t tape_next(struct tape *t);

#endif
