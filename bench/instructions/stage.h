/*
 * stage.h - a worker without EAL, clock or chance, and its generator, for who counts what a worker does.
 *
 * Flow:   gen (its own TCP) -> frames -> measured_turn() -> worker_turn() -> frames -> gen
 * Touches: one temporary directory (segment and snapshot); memory.
 * Keeps:  the same instructions in every run: fixed seed, virtual time, no thread. Buffers come from a fixed slab, so that an allocator
 *         is not counted as the worker. Only measured_turn() and what it calls is counted; generator and control's part run outside.
 */
#ifndef GREYLINE_BENCH_INSTRUCTIONS_STAGE_H
#define GREYLINE_BENCH_INSTRUCTIONS_STAGE_H

#include "bench/load/gen.h"
#include "dataplane/worker/worker.h"

#define QUEUE_FRAMES    32768
#define STAGE_SLOTS_MAX (QUEUE_FRAMES / 2) /* a client has his last ACK and his next SYN under way at once */

/* What each session may need of the buffers: windows of 64 KiB are offered as long as twice the pool would hold them. */
#define STAGE_BUFS_EACH 64
#define STAGE_BUFS      65536

enum dns { DNS_CACHED, DNS_ASKED, DNS_DEAD };

struct queue {
	uint32_t n;
	uint32_t octets[QUEUE_FRAMES];
	uint8_t frame[QUEUE_FRAMES][1536];
};

struct bench {
	struct port_io io; /* first */
	struct buf_pool *pool;
	struct segment segment;
	struct snapshot snapshot;
	struct worker_shared shared;
	struct worker *worker;
	struct gen *gen;
	struct gen *beside;   /* another on the same wire: gets what is its own; NULL: none */
	struct queue in, out; /* as the gateway sees them */
	/* in is a ring, no longer than the slots need: a worker's frames come by the same lines again and again */
	uint32_t in_at, in_size;
	uint64_t in_full; /* frames of the generator that found no room, and were lost */
	uint64_t now_us, frames_in, frames_out, turns, cycles;
	enum dns dns;
	struct client_verdict verdict;
	uint64_t asked;
	bool timed; /* by the thread's CPU time, too: turns last longer where the CPU is shared */
	uint64_t cpu_ns;
	bool marked; /* set before stage_start(): connections are marked for a next life, as those of the data plane are */
	uint32_t greet_pause_ms; /* likewise: what strangers wait for the banner */
	uint32_t n_bufs;         /* likewise; 0: STAGE_BUFS */
	uint64_t entries;        /* likewise: of the verdict table; 0: few, so that it lies in the caches */
	bool plain_table;        /* likewise: the table in pages of 4 KiB */
	bool plain_worker;       /* likewise: what the worker has of its own */
	void *marks;
	size_t marks_octets;
};

/* dir: a fresh one, gone afterwards. Dies where that cannot be. */
void stage_start(struct bench *b, const char *dir, uint32_t sessions, enum gen_template template);
void stage_end(struct bench *b);
/* A generator of conf, with ARP done; it is b->gen from now on. NULL: conf makes no sense. */
struct gen *stage_gen(struct bench *b, const struct gen_conf *conf);
/* n more sessions of b->gen, whose template is GEN_idle; false when not all of them came to silence. */
bool stage_open_idle(struct bench *b, uint32_t n);
/* Whether its sessions reach a backend, which then is the generator; and waits until a probe has found it up. */
bool stage_relays(enum gen_template template);
bool stage_wait_backend(struct bench *b);
/* Every client's verdict into the table, as control does after it asked DNS. */
void stage_know_clients(struct bench *b, uint32_t clients);
void stage_turn(struct bench *b, bool measured);
/* A closed loop of n sessions, as many at a time as there are slots. */
void stage_run_sessions(struct bench *b, uint64_t n, bool measured);

#endif
