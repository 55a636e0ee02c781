/*
 * sim.h - a whole gateway and its peers in one thread and virtual time: the second implementation of the port.
 *
 * Flow:   test -> sim_step() -> hosts and workers take turns -> wire -> ...
 * Keeps:  everything follows from the seed; time moves only in sim_step(); the wire loses, duplicates, reorders and delays as told; a
 *         frame reaches any worker of the gateway, as a NIC without our steering would deliver it.
 *
 * sim.c is the stage (time, segment, workers); wire.c the wire, sim_port.c what a worker sees of it, sim_host.c the hosts.
 * Hosts are net and tcp of our own with an address each; what they say is the test's. Control is the test, too: it reads the event rings
 * and writes answers and snapshots.
 */
#ifndef GREYLINE_TESTS_SIM_SIM_H
#define GREYLINE_TESTS_SIM_SIM_H

#include "dataplane/base/conf.h"
#include "dataplane/link/segment.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/tls/stream.h"
#include "dataplane/worker/worker.h"
#include "tests/sim/wire.h"

#define SIM_HOSTS_MAX   16
#define SIM_STREAM_ROOM (48u << 20)

struct sim;
struct sim_host;

/*
 * A station on a wire that is no sim_host: frames for anybody on that port come to rx(); turn() is called in each step and answers when it
 * wants the next one.
 */
struct sim_tap {
	void (*rx)(void *arg, const uint8_t *frame, uint32_t octets);
	uint64_t (*turn)(void *arg, uint64_t now_us);
	void *arg;
	uint32_t port;
};

/* A connection of a host. */
struct sim_conn {
	struct sim_host *host;
	struct tcp_conn *tcp; /* NULL when gone */
	bool connected, eof, reset, refused, timed_out, closed, accepted;
	uint8_t *in;                        /* everything received so far */
	size_t in_octets, in_room, in_seen; /* seen: up to where the test has looked */
	const uint8_t *out;                 /* what is still to be sent; borrowed until sent */
	size_t out_octets;
	bool close_after_out, forgotten;
	bool deaf;             /* takes nothing from its socket: its window closes */
	struct stream *stream; /* not NULL: in and out are what passes through it; set before anything is sent */
	void *user;
};

/* What a worker's turn costs in virtual time; all zero: nothing, and its queue has room for what is on the wire. */
struct sim_pace {
	uint32_t rx_us, tx_us; /* each frame it takes in, each it sends */
	uint32_t rx_room;      /* frames of its receive queue, at most 1024; 0: that */
};

struct sim_conf {
	uint64_t seed;
	uint32_t n_workers;
	struct sim_wire wire;
	struct stream *(*stream_create)(void *arg); /* of the gateway's sessions; NULL: identity */
	struct tls_context *(*tls_create)(void *arg, uint32_t worker, struct counters *counters); /* NULL: no TLS */
	void *tls_arg;
	const struct snapshot_part *parts; /* SNAPSHOT_SECTION_N; NULL: sim_default_parts() */
	uint32_t n_bufs;                   /* of the one pool; 0: plenty */
};

struct sim *sim_create(const struct sim_conf *conf);
void sim_destroy(struct sim *sim); /* aborts when a buffer leaked */
/* The data plane is killed and started anew at once: sessions are gone, the segment and the marks of connections stay. */
void sim_kill_gateway(struct sim *sim);

uint64_t sim_now_us(const struct sim *sim);
uint64_t sim_random(struct sim *sim);
struct worker *sim_worker(struct sim *sim, uint32_t i);
struct segment *sim_segment(struct sim *sim);
struct tls_context *sim_tls(struct sim *sim, uint32_t worker); /* what tls_create gave; destroyed with the simulator */
struct buf_pool *sim_pool(struct sim *sim);
struct worker_shared *sim_shared(struct sim *sim);
struct sim_wire *sim_wire_of(struct sim *sim);
void sim_rehash(
	struct sim *sim); /* a new indirection table is NOT applied by workers: only the arrival lcore changes */

/* Replaces the configuration while sessions run. */
void sim_publish(struct sim *sim, const struct snapshot_part *parts);

/* A host on port 0 (wan) or 1 (lan). */
struct sim_host *sim_host_add(struct sim *sim, uint32_t port, const char *addr, const char *addr6);
int sim_listen(struct sim_host *h, const char *addr, uint16_t port);
struct sim_conn *sim_connect(struct sim_host *h, const char *local, const char *remote, uint16_t port);
/* The most it offers on connections accepted from now on, once what the SYN-ACK offered is used up. */
void sim_host_window(struct sim_host *h, uint32_t octets);
/* The next accepted connection nobody has taken; NULL when none. */
struct sim_conn *sim_accept(struct sim_host *h);
void sim_send(struct sim_conn *c, const void *data, size_t octets); /* borrowed until it is sent */
void sim_close(struct sim_conn *c);
void sim_abort(struct sim_conn *c);
/* Whether c takes anything from its socket; when it does again, what waits there is taken at once. */
void sim_deafen(struct sim_conn *c, bool deaf);
/* The test is done with c: freed as soon as its connection is gone. */
void sim_conn_forget(struct sim_conn *c);
void sim_host_pause(struct sim_host *h, bool paused); /* answers nothing */

/* One step: delivers what is due, lets everyone take a turn, moves time to the next thing due (at most max_us). */
void sim_step(struct sim *sim, uint64_t max_us);
/* Steps until done answers true; false when limit_us of virtual time passed before. */
bool sim_until(struct sim *sim, uint64_t limit_us, bool (*done)(void *arg), void *arg);
void sim_run(struct sim *sim, uint64_t for_us);

/* Called in each step: backends and control played by the test. */
void sim_on_step(struct sim *sim, void (*fn)(struct sim *sim, void *arg), void *arg);

/* Puts a station on a wire; borrowed for life. What it says goes through sim_tap_tx(), which copies. */
void sim_tap_add(struct sim *sim, struct sim_tap *tap);
void sim_tap_tx(struct sim *sim, uint32_t port, const uint8_t *frame, uint32_t octets);
/* A frame as it comes to the gateway's port on the far side of the switch, where a port with a VLAN has its tags: worker 0 gets it. */
void sim_trunk_rx(struct sim *sim, uint32_t port, const uint8_t *frame, uint32_t octets);
/* Steps since the start: many in little virtual time means that somebody's deadline does not move. */
uint64_t sim_steps(const struct sim *sim);

/* From now on. */
void sim_set_pace(struct sim *sim, const struct sim_pace *pace);
/* Frames lost at the workers' receive queues. */
uint64_t sim_missed(const struct sim *sim);
uint32_t sim_bufs_in_use(const struct sim *sim); /* of gateway and hosts together */
uint64_t sim_frames(const struct sim *sim);

/*
 * For a gateway whose workers run elsewhere (threads): with n_workers 0 in sim_conf and `workers` in the configuration, frames for the
 * gateway go to tx, frames of it come in by sim_outside_rx(), and time is the caller's.
 */
void sim_outside(
	struct sim *sim, void (*tx)(void *arg, uint32_t port, const uint8_t *frame, uint32_t octets), void *arg);
void sim_outside_rx(struct sim *sim, uint32_t port, const uint8_t *frame, uint32_t octets);
void sim_set_now(struct sim *sim, uint64_t now_us);

#endif
