/*
 * sim.c - the simulator's stage: one segment, one snapshot, workers, hosts and stations on one wire, and the steps in which time moves.
 *
 * Touches: one temporary file for the segment; memory.
 * Keeps:   see the header.
 */
#include "tests/sim/sim_impl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIM_POOL_BUFS   65536
#define SIM_START_US    UINT64_C(1000000000)
#define SIM_STEP_MIN_US 100

struct tls_context *
sim_tls(struct sim *sim, uint32_t worker)
{
	return sim->tls[worker];
}

struct buf_pool *
sim_pool(struct sim *sim)
{
	return sim->pool;
}

uint64_t
sim_random(struct sim *sim)
{
	uint64_t a = sim->random[0];
	const uint64_t b = sim->random[1];

	sim->random[0] = b;
	a ^= a << 23;
	a ^= a >> 17;
	a ^= b ^ (b >> 26);
	sim->random[1] = a;
	return a + b;
}

static uint64_t
wire_random(void *arg)
{
	return sim_random(arg);
}

static void
deliver(struct sim *sim)
{
	struct wire_frame *w;

	while ((w = wire_land(&sim->wire, sim->now_us)) != NULL) {
		if (w->from >= 0 && sim->outside_tx != NULL)
			sim->outside_tx(sim->outside_arg, w->port, w->data, w->octets);
		else if (w->from >= 0)
			sim_io_arrive(sim, w);
		for (uint32_t i = 0; i < sim->n_hosts; i++)
			if (sim->host[i]->port == w->port && (int)i != w->from && !sim->host[i]->paused)
				sim_host_input(sim->host[i], w);
		for (uint32_t i = 0; i < sim->n_taps && w->from < 0; i++)
			if (sim->tap[i]->port == w->port)
				sim->tap[i]->rx(sim->tap[i]->arg, w->data, w->octets);
		free(w);
	}
}

/* ---- the whole ---- */

static void
map_snapshot(struct sim *sim, const struct snapshot_part *parts, struct snapshot *out)
{
	char why[256];
	int rc = snapshot_write(sim->snapshot_path, ++sim->generation, parts);

	if (rc == 0)
		rc = snapshot_map(out, sim->snapshot_path, why, sizeof(why));
	if (rc != 0) {
		fprintf(stderr, "snapshot: %d %s\n", rc, why);
		abort();
	}
}

static int
sim_entropy(void *arg, void *out, size_t octets)
{
	uint8_t *at = out;

	for (size_t i = 0; i < octets; i++)
		at[i] = (uint8_t)sim_random(arg);
	return 0;
}

static void
start_workers(struct sim *sim)
{
	const uint64_t marks_octets = worker_marks_octets(sim->snapshot.conf);
	uint8_t random[TCP_KEPT_RANDOM_OCTETS];
	char why[256] = "";

	for (uint32_t j = 0; j < sizeof(random); j++)
		random[j] = (uint8_t)sim_random(sim);
	tcp_kept_begin(&sim->kept, random, sim->now_us);
	for (uint32_t i = 0; i < sim->n_workers; i++) {
		struct worker_conf wc = { .index = i,
			.shared = &sim->shared,
			.io = &sim->io[i].io,
			.segment = &sim->segment,
			.stream_create = sim->stream_create,
			.entropy = sim_entropy,
			.entropy_arg = sim };

		if (sim->marks[i] == NULL) {
			sim->marks[i] = aligned_alloc(4096, (marks_octets + 4095) & ~UINT64_C(4095));
			BUG_ON(sim->marks[i] == NULL);
			memset(sim->marks[i], 0, marks_octets);
		}
		wc.marks = sim->marks[i];
		wc.kept = &sim->kept;
		if (sim->tls_create != NULL)
			wc.tls = sim->tls[i] = sim->tls_create(sim->tls_arg, i, &sim->segment.counters[i]);
		sim_io_init(sim, i);
		sim_entropy(sim, wc.random, sizeof(wc.random));
		sim->worker[i] = worker_create(&wc, sim->now_us, why, sizeof(why));
		if (sim->worker[i] == NULL) {
			fprintf(stderr, "worker: %s\n", why);
			abort();
		}
	}
}

struct sim *
sim_create(const struct sim_conf *conf)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	static struct segment control;
	struct segment_params params = { .entries = 4096, .table_key = { 1, 2 }, .workers = conf->n_workers };
	const char *tmp = getenv("TMPDIR");
	char why[256] = "";
	uint8_t key[FLOW_KEY_OCTETS];
	bool created;

	BUG_ON(sim == NULL);
	sim->now_us = SIM_START_US;
	sim->random[0] = conf->seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	sim->random[1] = conf->seed ^ UINT64_C(0xd1b54a32d192ed03);
	sim->pool = buf_malloc_create(conf->n_bufs != 0 ? conf->n_bufs : SIM_POOL_BUFS);
	sim->wire = (struct wire){ .how = conf->wire, .random = wire_random, .random_arg = sim };
	sim->n_workers = conf->n_workers;
	snprintf(sim->dir, sizeof(sim->dir), "%s/greyline-sim-XXXXXX", tmp != NULL ? tmp : "/tmp");
	BUG_ON(mkdtemp(sim->dir) == NULL);
	snprintf(sim->segment_path, sizeof(sim->segment_path), "%s/segment", sim->dir);
	snprintf(sim->snapshot_path, sizeof(sim->snapshot_path), "%s/snapshot", sim->dir);
	/* control's part: creates, sets the time, goes away (it may die at any time) */
	if (segment_open_control(&control, sim->segment_path, &params, &created, why, sizeof(why)) != 0) {
		fprintf(stderr, "segment: %s\n", why);
		abort();
	}
	segment_policy_start(&control, sim->now_us, 1700000000, "sim");
	segment_close(&control, true);
	if (segment_open_dataplane(&sim->segment, sim->segment_path, why, sizeof(why)) != 0) {
		fprintf(stderr, "segment: %s\n", why);
		abort();
	}
	map_snapshot(sim, conf->parts, &sim->snapshot);
	for (uint32_t i = 0; i < FLOW_KEY_OCTETS; i++)
		key[i] = (uint8_t)sim_random(sim);
	sim->shared.n_workers = conf->n_workers != 0 ? conf->n_workers : sim->snapshot.conf->workers;
	flow_steering_init(&sim->shared.steering, key, sim->shared.n_workers);
	worker_publish(&sim->shared, &sim->snapshot);
	sim->stream_create = conf->stream_create;
	sim->tls_create = conf->tls_create;
	sim->tls_arg = conf->tls_arg;
	start_workers(sim);
	return sim;
}

/* As SIGKILL and the supervisor: what the process held is gone, what is shared stays. */
void
sim_kill_gateway(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->n_workers; i++) {
		worker_destroy(sim->worker[i]);
		tls_context_destroy(sim->tls[i]);
		sim_io_drop(&sim->io[i]);
	}
	sim->segment.incarnation++;
	source_table_forget_sessions(&sim->segment.sources); /* as segment_open_dataplane() does */
	start_workers(sim);
}

void
sim_destroy(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->n_workers; i++) {
		worker_destroy(sim->worker[i]);
		tls_context_destroy(sim->tls[i]);
		sim_io_drop(&sim->io[i]);
		BUG_ON(sim->io[i].held != NULL); /* a turn that ended without flush() */
		free(sim->marks[i]);
	}
	for (uint32_t i = 0; i < sim->n_hosts; i++)
		sim_host_destroy(sim->host[i]);
	wire_fini(&sim->wire);
	buf_malloc_destroy(sim->pool);
	snapshot_unmap(&sim->snapshot);
	segment_close(&sim->segment, true);
	unlink(sim->segment_path);
	unlink(sim->snapshot_path);
	{
		char lock[320];

		snprintf(lock, sizeof(lock), "%s.lock", sim->segment_path);
		unlink(lock);
	}
	BUG_ON(rmdir(sim->dir) != 0); /* nothing is left behind */
	free(sim);
}

void
sim_publish(struct sim *sim, const struct snapshot_part *parts)
{
	struct snapshot old = sim->snapshot;
	static struct snapshot next[2]; /* workers hold the address: it must not be the one in force */
	static uint32_t which;
	struct snapshot *to = &next[which++ % 2];

	map_snapshot(sim, parts, to);
	worker_publish(&sim->shared, to);
	for (uint32_t i = 0; i < sim->n_workers; i++)
		worker_turn(sim->worker[i], sim->now_us);
	snapshot_unmap(&old);
	sim->snapshot = *to;
}

uint64_t
sim_now_us(const struct sim *sim)
{
	return sim->now_us;
}

struct worker *
sim_worker(struct sim *sim, uint32_t i)
{
	return sim->worker[i];
}

struct segment *
sim_segment(struct sim *sim)
{
	return &sim->segment;
}

struct worker_shared *
sim_shared(struct sim *sim)
{
	return &sim->shared;
}

struct sim_wire *
sim_wire_of(struct sim *sim)
{
	return &sim->wire.how;
}

void
sim_rehash(struct sim *sim)
{
	sim->rehash++;
}

uint32_t
sim_bufs_in_use(const struct sim *sim)
{
	return buf_malloc_in_use(sim->pool);
}

void
sim_set_pace(struct sim *sim, const struct sim_pace *pace)
{
	BUG_ON(pace->rx_room > ARRAY_LEN(sim->io[0].rx.frame));
	sim->pace = *pace;
}

uint64_t
sim_missed(const struct sim *sim)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < sim->n_workers; i++)
		n += sim->io[i].missed;
	return n;
}

uint64_t
sim_frames(const struct sim *sim)
{
	return sim->wire.frames;
}

void
sim_tap_add(struct sim *sim, struct sim_tap *tap)
{
	BUG_ON(sim->n_taps == SIM_TAPS_MAX);
	sim->tap[sim->n_taps++] = tap;
}

void
sim_tap_tx(struct sim *sim, uint32_t port, const uint8_t *frame, uint32_t octets)
{
	struct frame f = { .n_views = 1, .port_index = (uint8_t)port };

	f.view[0] = (struct buf_view){ .ptr = frame, .len_octets = octets };
	wire_send(&sim->wire, sim_frame_of(port, WIRE_FROM_TAP, &f), sim->now_us);
}

uint64_t
sim_steps(const struct sim *sim)
{
	return sim->steps;
}

void
sim_on_step(struct sim *sim, void (*fn)(struct sim *sim, void *arg), void *arg)
{
	sim->on_step = fn;
	sim->on_step_arg = arg;
}

void
sim_step(struct sim *sim, uint64_t max_us)
{
	uint64_t due = sim->now_us + max_us;
	bool busy = false;

	sim->steps++;
	deliver(sim);
	for (uint32_t i = 0; i < sim->n_taps; i++)
		due = MIN(due, sim->tap[i]->turn(sim->tap[i]->arg, sim->now_us));
	for (uint32_t i = 0; i < sim->n_workers; i++)
		if (sim->io[i].busy_until_us <= sim->now_us)
			busy |= worker_turn(sim->worker[i], sim->now_us);
	for (uint32_t i = 0; i < sim->n_hosts; i++)
		sim_host_turn(sim->host[i]);
	if (sim->on_step != NULL)
		sim->on_step(sim, sim->on_step_arg);
	if (busy) {
		sim->now_us += SIM_STEP_MIN_US;
		return;
	}
	due = MIN(due, wire_deadline_us(&sim->wire));
	for (uint32_t i = 0; i < sim->n_workers; i++)
		due = MIN(due,
			MAX(sim->io[i].rx.n > 0 ? 0 : worker_deadline_us(sim->worker[i]), sim->io[i].busy_until_us));
	for (uint32_t i = 0; i < sim->n_hosts; i++)
		due = MIN(due, sim_host_deadline_us(sim->host[i]));
	sim->now_us = MAX(due, sim->now_us + SIM_STEP_MIN_US);
}

bool
sim_until(struct sim *sim, uint64_t limit_us, bool (*done)(void *arg), void *arg)
{
	const uint64_t end = sim->now_us + limit_us;

	while (!done(arg)) {
		if (sim->now_us >= end)
			return false;
		sim_step(sim, MIN(end - sim->now_us, (uint64_t)100000));
	}
	return true;
}

void
sim_run(struct sim *sim, uint64_t for_us)
{
	const uint64_t end = sim->now_us + for_us;

	while (sim->now_us < end)
		sim_step(sim, end - sim->now_us);
}

void
sim_outside(struct sim *sim, void (*tx)(void *arg, uint32_t port, const uint8_t *frame, uint32_t octets), void *arg)
{
	sim->outside_tx = tx;
	sim->outside_arg = arg;
}

void
sim_outside_rx(struct sim *sim, uint32_t port, const uint8_t *frame, uint32_t octets)
{
	struct frame f = { .n_views = 1, .port_index = (uint8_t)port };

	f.view[0] = (struct buf_view){ .ptr = frame, .len_octets = octets };
	wire_fly(&sim->wire, sim_frame_of(port, WIRE_FROM_GATEWAY, &f), sim->now_us);
}

void
sim_set_now(struct sim *sim, uint64_t now_us)
{
	sim->now_us = now_us;
}
