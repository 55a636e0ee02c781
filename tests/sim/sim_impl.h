/*
 * sim_impl.h - what the parts of the simulator know of each other: sim.c, sim_port.c, sim_host.c.
 */
#ifndef GREYLINE_TESTS_SIM_SIM_IMPL_H
#define GREYLINE_TESTS_SIM_SIM_IMPL_H

#include "tests/sim/sim.h"

#include "dataplane/base/bug.h"

#define SIM_CONNS_MAX 4096
#define SIM_TAPS_MAX  32

struct sim_queue {
	struct net_frame frame[1024];
	uint32_t n;
};

struct sim_io {
	struct port_io io; /* first */
	struct sim *sim;
	uint32_t index;
	struct sim_queue rx, redirected;
	struct wire_frame *held; /* sent and not flushed, last first: as a driver's batch, it waits for flush() */
	struct net_neighbour news[64];
	uint32_t n_news;
	uint32_t n_short;       /* frames received that are shorter than an answer's room */
	uint64_t busy_until_us; /* the worker is at its last turn for so long */
	uint64_t missed;        /* frames for which its queue had no room */
};

struct sim_host {
	struct sim *sim;
	uint32_t index, port;
	struct net *net;
	struct tcp *tcp;
	struct counters counters;
	struct flow_steering steering;
	struct sim_conn *conn[SIM_CONNS_MAX];
	uint32_t n_conns;
	bool paused;
	uint32_t window_octets; /* of connections it accepts */
};

struct sim {
	uint64_t now_us, random[2];
	struct sim_pace pace;
	struct buf_pool *pool;
	struct wire wire;
	struct segment segment;
	struct worker_shared shared;
	struct snapshot snapshot;
	char dir[256], segment_path[288], snapshot_path[288];
	uint64_t generation;
	uint32_t n_workers;
	struct sim_io io[CONF_WORKERS_MAX];
	struct worker *worker[CONF_WORKERS_MAX];
	struct tcp_mark *marks[CONF_WORKERS_MAX]; /* outlive the workers */
	struct tcp_kept kept;                     /* likewise */
	struct stream *(*stream_create)(void *arg);
	struct tls_context *(*tls_create)(void *arg, uint32_t worker, struct counters *counters);
	void *tls_arg;
	struct tls_context *tls[CONF_WORKERS_MAX];
	uint32_t rehash;
	struct sim_host *host[SIM_HOSTS_MAX];
	uint32_t n_hosts;
	struct sim_tap *tap[SIM_TAPS_MAX];
	uint32_t n_taps;
	uint64_t steps;
	void (*outside_tx)(void *arg, uint32_t port, const uint8_t *frame, uint32_t octets);
	void *outside_arg;
	void (*on_step)(struct sim *sim, void *arg);
	void *on_step_arg;
};

/* The same frame on the wire: a copy. */
struct wire_frame *sim_frame_of(uint32_t port, int from, const struct frame *f);
/* The port of worker i, with nothing under way. */
void sim_io_init(struct sim *sim, uint32_t i);
/* Frames that were not taken are gone. */
void sim_io_drop(struct sim_io *io);
/* A frame reaches some worker. Borrows w. */
void sim_io_arrive(struct sim *sim, const struct wire_frame *w);

void sim_host_input(struct sim_host *h, const struct wire_frame *w);
void sim_host_turn(struct sim_host *h);
uint64_t sim_host_deadline_us(const struct sim_host *h);
void sim_host_destroy(struct sim_host *h);

#endif
