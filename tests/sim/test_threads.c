/*
 * test_threads.c - what workers share, under TSan: table, rings, snapshots, backend states and redirected frames, by four threads.
 *
 * Two workers, each a thread with its own buffers; a thread that plays all hosts of the simulator; and the main thread, which is control:
 * it publishes a snapshot every few milliseconds, waits until both workers confirmed it, unmaps the old one, and answers questions. Frames
 * reach whichever worker the host thread fancies, so most of them are redirected by rings (link/ring.h, one a pair of workers).
 * Real time, bounded: RUN_US.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/link/ring.h"

#define N_WORKERS     2
#define RUN_US        3000000
#define FRAME_OCTETS  1600
#define FRAME_RECORDS 1024
#define POOL_BUFS     8192
#define CLIENTS       12

struct wire_record {
	uint32_t octets;
	uint8_t port;
	uint8_t data[FRAME_OCTETS - 8];
};

struct frame_ring {
	struct ring producer, consumer; /* a handle for each side */
	void *memory;
};

struct thread_io {
	struct port_io io;                     /* first */
	struct frame_ring in, out;             /* from and to the host thread */
	struct frame_ring redirect[N_WORKERS]; /* to us, by giver */
	struct frame_ring news[N_WORKERS];
	uint32_t index;
	struct worker *worker;
};

static struct scene s;
static struct thread_io tio[N_WORKERS];
static struct snapshot published[2]; /* by turns: one in force, one that every worker has left */
static atomic_bool stop;
static atomic_uint n_deferred, n_other;

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void
ring_make(struct frame_ring *r, uint32_t record_octets)
{
	r->memory = aligned_alloc(64, (ring_octets(record_octets, FRAME_RECORDS) + 63) & ~UINT64_C(63));
	BUG_ON(r->memory == NULL);
	memset(r->memory, 0, ring_octets(record_octets, FRAME_RECORDS));
	ring_bind(&r->producer, r->memory, record_octets, FRAME_RECORDS);
	ring_bind(&r->consumer, r->memory, record_octets, FRAME_RECORDS);
}

static void
push(struct frame_ring *r, uint32_t port, const uint8_t *frame, uint32_t octets)
{
	struct wire_record *rec = ring_reserve(&r->producer);

	if (rec == NULL || octets > sizeof(rec->data))
		return; /* a full ring drops */
	rec->octets = octets;
	rec->port = (uint8_t)port;
	memcpy(rec->data, frame, octets);
	ring_publish(&r->producer);
}

/* ---- the port of a worker's thread ---- */

static uint32_t
pull(struct thread_io *t, struct frame_ring *r, struct net_frame *out, uint32_t n)
{
	uint32_t got = 0;

	while (got < n) {
		const struct wire_record *rec = ring_front(&r->consumer);
		uint8_t *data;
		struct buf *buf;

		if (rec == NULL)
			break;
		buf = buf_alloc(t->io.pool, rec->octets, &data);
		if (buf != NULL) {
			memcpy(data, rec->data, rec->octets);
			out[got++] = (struct net_frame){ .view = { data, rec->octets, buf }, .port_index = rec->port };
		}
		ring_release(&r->consumer);
		if (buf == NULL)
			break;
	}
	return got;
}

static uint32_t
io_rx(struct port_io *io, struct net_frame *out, uint32_t n)
{
	struct thread_io *t = (struct thread_io *)io;

	return pull(t, &t->in, out, n);
}

static uint32_t
io_redirected(struct port_io *io, struct net_frame *out, uint32_t n)
{
	struct thread_io *t = (struct thread_io *)io;

	return pull(t, &t->redirect[1 - t->index], out, n);
}

static void
io_redirect(struct port_io *io, uint32_t worker, const struct net_frame *frame)
{
	struct thread_io *t = (struct thread_io *)io;

	push(&tio[worker].redirect[t->index], frame->port_index, frame->view.ptr, frame->view.len_octets);
	buf_unref(io->pool, frame->view.buf);
}

static void
io_tx(struct port_io *io, const struct frame *frames, uint32_t n)
{
	struct thread_io *t = (struct thread_io *)io;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t whole[FRAME_OCTETS];
		uint32_t octets = frames[i].hdr_len_octets;

		memcpy(whole, frames[i].hdr, octets);
		for (uint32_t j = 0; j < frames[i].n_views; j++) {
			BUG_ON(octets + frames[i].view[j].len_octets > sizeof(whole));
			memcpy(whole + octets, frames[i].view[j].ptr, frames[i].view[j].len_octets);
			octets += frames[i].view[j].len_octets;
		}
		push(&t->out, frames[i].port_index, whole, octets);
	}
}

static void
io_tx_answer(struct port_io *io, const struct net_frame *received, uint32_t octets)
{
	(void)io;
	(void)received;
	(void)octets;
	BUG_ON(true); /* no frame here says that it has room for one */
}

static void
io_flush(struct port_io *io)
{
	(void)io;
}

static void
io_neighbour_tell(struct port_io *io, const struct net_neighbour *n)
{
	struct thread_io *t = (struct thread_io *)io;

	push(&tio[1 - t->index].news[t->index], 0, (const uint8_t *)n, sizeof(*n));
}

static bool
io_neighbour_hear(struct port_io *io, struct net_neighbour *out)
{
	struct thread_io *t = (struct thread_io *)io;
	struct frame_ring *r = &t->news[1 - t->index];
	const struct wire_record *rec = ring_front(&r->consumer);

	if (rec == NULL)
		return false;
	memcpy(out, rec->data, sizeof(*out));
	ring_release(&r->consumer);
	return true;
}

static const struct port_io_ops io_ops = {
	.rx = io_rx,
	.tx = io_tx,
	.tx_answer = io_tx_answer,
	.flush = io_flush,
	.redirect = io_redirect,
	.redirected = io_redirected,
	.neighbour_tell = io_neighbour_tell,
	.neighbour_hear = io_neighbour_hear,
};

/* ---- threads ---- */

static void *
worker_thread(void *arg)
{
	struct thread_io *t = arg;

	while (!atomic_load(&stop))
		if (!worker_turn(t->worker, now_us()))
			usleep(50);
	return NULL;
}

static void
to_some_worker(void *arg, uint32_t port, const uint8_t *frame, uint32_t octets)
{
	(void)arg;
	push(&tio[sim_random(s.sim) % N_WORKERS].in, port, frame, octets);
}

struct client {
	struct sim_conn *c;
	char text[256];
	uint32_t n;
};

/* One client's step: a whole pipelined session, again and again, each with a sender of its own. */
static void
client_step(struct client *c, uint32_t index)
{
	if (c->c == NULL) {
		c->c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		snprintf(c->text, sizeof(c->text),
			"EHLO x.example\r\nMAIL FROM:<a%u.%u@sender.example>\r\nRCPT TO:<u@example.org>\r\nQUIT\r\n",
			index, c->n % 50);
		c->n++;
		return;
	}
	if (c->c->connected && c->c->user == NULL && c->c->in_octets > 4) {
		c->c->user = c;
		sim_send(c->c, c->text, strlen(c->text));
	}
	if (c->c->eof || c->c->tcp == NULL ||
		(c->c->in_octets > 0 && memmem(c->c->in, c->c->in_octets, "\n221 ", 5) != NULL)) {
		if (c->c->in_octets > 0 && memmem(c->c->in, c->c->in_octets, "\n451 4.7.1 Greylisted", 21) != NULL)
			atomic_fetch_add(&n_deferred, 1);
		else
			atomic_fetch_add(&n_other, 1);
		sim_close(c->c);
		sim_conn_forget(c->c);
		c->c = NULL;
	}
}

static void *
host_thread(void *arg)
{
	static struct client client[CLIENTS];

	(void)arg;
	while (!atomic_load(&stop)) {
		sim_set_now(s.sim, now_us());
		for (uint32_t i = 0; i < N_WORKERS; i++) {
			const struct wire_record *rec;

			while ((rec = ring_front(&tio[i].out.consumer)) != NULL) {
				sim_outside_rx(s.sim, rec->port, rec->data, rec->octets);
				ring_release(&tio[i].out.consumer);
			}
		}
		for (uint32_t i = 0; i < CLIENTS; i++)
			client_step(&client[i], i);
		sim_step(s.sim, 100);
		usleep(20);
	}
	return NULL;
}

static void
hosts_on_step(struct sim *sim, void *arg)
{
	(void)sim;
	(void)arg;
	fake_mta_step(&s.mta);
	fake_mta_step(&s.mta_x);
	fake_mta_step(&s.mta_v1);
	fake_mta_step(&s.submit);
}

/* Control's part: another snapshot, confirmed by both, the old one gone. Answers how many were published. */
static uint32_t
publish_for(uint64_t run_us)
{
	const uint64_t end_us = now_us() + run_us;
	char path[] = "/tmp/greyline-threads-XXXXXX", why[256];
	uint32_t n = 0;

	BUG_ON(mkdtemp(path) == NULL);
	while (now_us() < end_us) {
		struct snapshot *next = &published[n % 2];
		char file[64];

		snprintf(file, sizeof(file), "%s/s", path);
		s.config.conf.grey_block_s = 100 + n % 100;
		if (n >= 2)
			snapshot_unmap(next); /* both workers left it long ago: the one after it is confirmed */
		BUG_ON(snapshot_write(file, 1000 + n, sim_conf_parts(&s.config)) != 0);
		BUG_ON(snapshot_map(next, file, why, sizeof(why)) != 0);
		worker_publish(sim_shared(s.sim), next);
		for (uint32_t i = 0; i < N_WORKERS; i++)
			while (worker_generation(tio[i].worker) != next->generation)
				usleep(100);
		n++;
		for (uint32_t i = 0; i < 20; i++) {
			fake_control_step(&s.control);
			usleep(200);
		}
		unlink(file);
	}
	rmdir(path);
	return n;
}

static void
test_four_threads_share_without_a_race(void **state)
{
	pthread_t thread[N_WORKERS + 1];
	struct worker_shared *shared;
	uint32_t n_published;
	uint64_t redirected = 0;

	(void)state;
	scene_conf(&s);
	s.control.ptr = NULL;
	s.config.conf.client_sessions_max = 0;
	scene_start_outside(&s, 77, N_WORKERS);
	sim_set_now(s.sim, now_us());
	sim_outside(s.sim, to_some_worker, NULL);
	sim_on_step(s.sim, hosts_on_step, NULL);
	shared = sim_shared(s.sim);
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		ring_make(&tio[i].in, sizeof(struct wire_record));
		ring_make(&tio[i].out, sizeof(struct wire_record));
		for (uint32_t j = 0; j < N_WORKERS; j++) {
			ring_make(&tio[i].redirect[j], sizeof(struct wire_record));
			ring_make(&tio[i].news[j], sizeof(struct wire_record));
		}
	}
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		struct worker_conf wc = {
			.index = i, .shared = shared, .io = &tio[i].io, .segment = sim_segment(s.sim)
		};
		char why[256];

		tio[i].index = i;
		tio[i].io = (struct port_io){ .ops = &io_ops,
			.pool = buf_malloc_create(POOL_BUFS),
			.counters = &sim_segment(s.sim)->counters[i] };
		memset(wc.random, (int)i + 1, sizeof(wc.random));
		tio[i].worker = worker_create(&wc, now_us(), why, sizeof(why));
		BUG_ON(tio[i].worker == NULL);
	}
	for (uint32_t i = 0; i < N_WORKERS; i++)
		BUG_ON(pthread_create(&thread[i], NULL, worker_thread, &tio[i]) != 0);
	BUG_ON(pthread_create(&thread[N_WORKERS], NULL, host_thread, NULL) != 0);
	n_published = publish_for(RUN_US);
	atomic_store(&stop, true);
	for (uint32_t i = 0; i <= N_WORKERS; i++)
		pthread_join(thread[i], NULL);
	for (uint32_t i = 0; i < N_WORKERS; i++)
		redirected += counter_read(&sim_segment(s.sim)->counters[i], CTR_port_redirect_in);
	print_message("%u snapshots, %u sessions deferred, %u otherwise, %llu frames redirected\n", n_published,
		atomic_load(&n_deferred), atomic_load(&n_other), (unsigned long long)redirected);
	CHECK_TRUE("snapshots were changed", n_published > 20);
	CHECK_TRUE("sessions were served", atomic_load(&n_deferred) > 100);
	CHECK_TRUE("frames were redirected", redirected > 100);
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		worker_destroy(tio[i].worker);
		buf_malloc_destroy(tio[i].io.pool);
		free(tio[i].in.memory);
		free(tio[i].out.memory);
		for (uint32_t j = 0; j < N_WORKERS; j++) {
			free(tio[i].redirect[j].memory);
			free(tio[i].news[j].memory);
		}
	}
	scene_end(&s);
	snapshot_unmap(&published[0]);
	snapshot_unmap(&published[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_four_threads_share_without_a_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
