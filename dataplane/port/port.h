/*
 * port.h - a network port as a worker sees it; one header, two implementations: DPDK (port/) and the simulator (tests/sim).
 *
 * Flow:   worker -> port_rx() -> frames in;  worker -> port_tx() -> frames out
 * Keeps:  free of <rte_*.h>. A frame received (net.h has it) belongs to the worker (one reference, drop by buf_unref). port_tx() copies the
 *         header and takes references to payload where the device can chain, else copies it: what it could not send was
 *         dropped and counted, TCP retransmits.
 */
#ifndef GREYLINE_PORT_PORT_H
#define GREYLINE_PORT_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/buf.h"
#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/net/net.h"

#define RX_BURST_MAX_SEGS 32

/* What a worker holds to reach the ports: one for each worker, every call made by that worker's thread alone. */
struct port_io;

struct port_io_ops {
	/* Up to n frames from all queues this worker polls. */
	uint32_t (*rx)(struct port_io *io, struct net_frame *out, uint32_t n);
	/* Sends n frames (through the owner lcore's ring where this worker has no queue of its own). */
	void (*tx)(struct port_io *io, const struct frame *frames, uint32_t n);
	/* Sends the octets that were written to received->room, to where it came from. Takes the reference of received. */
	void (*tx_answer)(struct port_io *io, const struct net_frame *received, uint32_t octets);
	/* End of the turn: what was collected goes out now. */
	void (*flush)(struct port_io *io);
	/* Hands a received frame (one reference, now the callee's) to its owner. A full ring drops and counts. */
	void (*redirect)(struct port_io *io, uint32_t worker, const struct net_frame *frame);
	/* Frames other workers handed to us. */
	uint32_t (*redirected)(struct port_io *io, struct net_frame *out, uint32_t n);
	/* Neighbour news to and from the other workers; from answers false when none is left. */
	void (*neighbour_tell)(struct port_io *io, const struct net_neighbour *n);
	bool (*neighbour_hear)(struct port_io *io, struct net_neighbour *out);
};

struct port_io {
	const struct port_io_ops *ops;
	struct buf_pool *pool;     /* this worker's buffers */
	struct counters *counters; /* this worker's */
};

#endif
