/*
 * wire.h - one port of the load generator: frames in bursts, and the sizes of those that passed.
 *
 * Touches: an ethdev.
 * Keeps:  what the port does not take now waits for the next wire_flush(), in order; a frame is lost, and counted, only where WIRE_WAITING_MAX
 *         wait already. So a ring that is full for a moment costs no retransmission: who sees wire_waiting() begins nothing new meanwhile.
 */
#ifndef GREYLINE_BENCH_LOAD_WIRE_H
#define GREYLINE_BENCH_LOAD_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#define WIRE_BURST       32
#define WIRE_WAITING_MAX 8192 /* a power of two: two frames of each of 4,096 sessions */
#define WIRE_TAPE_SIZES  8192

/* Sizes of the last frames, in both directions: the echo gets the same. */
struct tape {
	uint16_t octets[WIRE_TAPE_SIZES];
	uint32_t n, at; /* written and, of those, read */
};

struct wire {
	uint16_t port;
	struct rte_mbuf *waiting[WIRE_WAITING_MAX]; /* a ring: n of them from first on */
	uint32_t first, n;
	struct rte_mbuf *lent;
	struct rte_mempool *pool;
	struct tape *tape; /* or NULL */
	uint64_t sent, received, full;
};

/* 0 or -errno. */
int wire_start(struct wire *w, uint16_t port, struct rte_mempool *pool);
/* Lends room for a frame until wire_send(); NULL: no buffer, or too many frames wait. */
uint8_t *wire_room(struct wire *w);
/* What lies in that room goes out, as soon as a wire_flush() finds the port has room. */
void wire_send(struct wire *w, uint32_t octets);
void wire_flush(struct wire *w);
/* Whether the port was full at the last wire_flush(). */
bool wire_waiting(const struct wire *w);
/* Up to WIRE_BURST frames, given. */
uint16_t wire_receive(struct wire *w, struct rte_mbuf **out);

void tape_note(struct tape *t, uint16_t octets);
/* The next size, round and round; 64 when nothing was noted. */
uint16_t tape_next(struct tape *t);

#endif
