/*
 * wire.h - a wire between stations: frames that are lost, said twice, late, out of order, damaged, or too large, as told.
 *
 * Flow:   wire_send() -> [lost | too big] -> flying, by due time -> wire_land() -> whoever hears it
 * Pure:   time and random numbers come from the caller; frames are the wire's own copies.
 * Keeps:  frames that are due at the same microsecond land in the order in which they were put on it.
 */
#ifndef GREYLINE_TESTS_SIM_WIRE_H
#define GREYLINE_TESTS_SIM_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#define WIRE_FRAME_MAX_OCTETS 9100
#define WIRE_FROM_GATEWAY     (-1)
#define WIRE_FROM_TAP         1000

/* What the wire does to each frame; probabilities in a thousand. */
struct sim_wire {
	uint32_t loss, duplicate, reorder;
	uint32_t corrupt; /* one bit of an IP packet turned over */
	uint64_t delay_us, jitter_us;
	uint32_t mtu;    /* larger IP packets do not pass; 0: all do */
	bool mtu_silent; /* nor is their sender told by ICMP */
};

struct wire_frame {
	struct wire_frame *next; /* for lists of the owner */
	uint64_t due_us, order;
	uint32_t port;
	int from; /* the station that said it; WIRE_FROM_GATEWAY, WIRE_FROM_TAP */
	uint32_t octets;
	uint8_t data[];
};

struct wire {
	struct sim_wire how;
	uint64_t (*random)(void *arg);
	void *random_arg;
	struct wire_frame **flying; /* a heap: the next one due is the first */
	uint32_t n_flying, room;
	uint64_t order, frames;
};

/* Gives a frame with room for octets. */
struct wire_frame *wire_frame_new(uint32_t port, int from, uint32_t octets);
/* Takes f: through all that the wire does. */
void wire_send(struct wire *w, struct wire_frame *f, uint64_t now_us);
/* Takes f: lands at due_us, whatever the wire does to others. */
void wire_fly(struct wire *w, struct wire_frame *f, uint64_t due_us);
/* Gives the next frame that is due; NULL when none is. */
struct wire_frame *wire_land(struct wire *w, uint64_t now_us);
uint64_t wire_deadline_us(const struct wire *w); /* UINT64_MAX: nothing flies */
void wire_fini(struct wire *w);

#endif
