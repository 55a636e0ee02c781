/*
 * stage.c - see stage.h.
 */
#include "bench/instructions/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include "bench/instructions/buf_slab.h"
#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"
#include "dataplane/link/message.h"
#include "dataplane/policy/policy.h"
#include "tests/sim/peers.h"

#define START_US UINT64_C(1000000000)
#define TURN_US                                                                                                        \
	60 /* of virtual time: 32 segments at half a million sessions a second are 4 us; time only has to move */
#define FULL_TURN_US                                                                                                   \
	15 /* likewise where frames wait from turn to turn: about what a full turn takes, so that they wait no longer than they would */
#define TABLE_ENTRIES    (1u << 16)
#define TURN_FRAMES      64 /* what a turn takes in at most */
#define PAGE_OCTETS      4096
#define QUEUE_FRAMES_MIN 1024u /* floods come by 32, idle clients by 48: a port's ring is as long */
#define OPEN_STEP        48 /* begun at once: fewer than a turn takes in, so that the worker is not behind (base/backlog.h) */
#define RAMP_STEP                                                                                                      \
	12 /* likewise of more slots, whose frames wait: fewer than a third of a turn's are SYNs, yet more begin than end */
#define OPEN_TURNS_MAX 64 /* for those to say all they say before they idle */

/* ---- the port ---- */

static uint32_t
io_rx(struct port_io *io, struct net_frame *out, uint32_t n)
{
	struct bench *b = (struct bench *)io;
	const uint32_t take = MIN(n, b->in.n), last = b->in_size - 1;

	for (uint32_t got = 0; got < take; got++) {
		const uint32_t at = (b->in_at + got) & last, octets = b->in.octets[at];
		uint8_t *data;
		struct buf *buf = buf_alloc(b->pool, octets, &data);

		BUG_ON(buf == NULL);
		memcpy(data, b->in.frame[at], octets);
		out[got] =
			(struct net_frame){ .view = { .ptr = data, .len_octets = octets, .buf = buf }, .room = data };
	}
	b->in_at = (b->in_at + take) & last;
	b->in.n -= take;
	return take;
}

static void
io_tx(struct port_io *io, const struct frame *frames, uint32_t n)
{
	struct bench *b = (struct bench *)io;

	for (uint32_t i = 0; i < n; i++) {
		const struct frame *f = &frames[i];
		uint32_t octets = f->hdr_len_octets;
		uint8_t *to;

		if (f->port_index != 0) /* probes of a backend that is not there */
			continue;
		BUG_ON(b->out.n == QUEUE_FRAMES);
		to = b->out.frame[b->out.n];
		memcpy(to, f->hdr, octets);
		for (uint32_t j = 0; j < f->n_views; j++) {
			memcpy(to + octets, f->view[j].ptr, f->view[j].len_octets);
			octets += f->view[j].len_octets;
		}
		b->out.octets[b->out.n++] = octets;
	}
}

static void
io_tx_answer(struct port_io *io, const struct net_frame *received, uint32_t octets)
{
	struct bench *b = (struct bench *)io;

	BUG_ON(b->out.n == QUEUE_FRAMES);
	memcpy(b->out.frame[b->out.n], received->room, octets);
	b->out.octets[b->out.n++] = octets;
	buf_unref(io->pool, received->view.buf);
}

static void
io_flush(struct port_io *io)
{
	(void)io;
}

static void
io_redirect(struct port_io *io, uint32_t worker, const struct net_frame *frame)
{
	(void)io;
	(void)worker;
	(void)frame;
	BUG_ON(true); /* one worker owns every flow */
}

static uint32_t
io_redirected(struct port_io *io, struct net_frame *out, uint32_t n)
{
	(void)io;
	(void)out;
	(void)n;
	return 0;
}

static void
io_tell(struct port_io *io, const struct net_neighbour *n)
{
	(void)io;
	(void)n;
}

static bool
io_hear(struct port_io *io, struct net_neighbour *out)
{
	(void)io;
	(void)out;
	return false;
}

static const struct port_io_ops io_ops = { .rx = io_rx,
	.tx = io_tx,
	.tx_answer = io_tx_answer,
	.flush = io_flush,
	.redirect = io_redirect,
	.redirected = io_redirected,
	.neighbour_tell = io_tell,
	.neighbour_hear = io_hear };

static uint8_t *
gen_room(void *arg)
{
	struct bench *b = arg;

	if (b->in.n == b->in_size) {
		b->in_full++;
		return NULL;
	}
	return b->in.frame[(b->in_at + b->in.n) & (b->in_size - 1)];
}

static void
gen_send(void *arg, uint32_t octets)
{
	struct bench *b = arg;

	b->in.octets[(b->in_at + b->in.n++) & (b->in_size - 1)] = octets;
}

/* ---- turns ---- */

static uint64_t
cycles_now(void)
{
#ifdef __x86_64__
	return __rdtsc();
#else
	return 0;
#endif
}

static uint64_t
cpu_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What callgrind counts: --toggle-collect=measured_turn. By its name, so there must be no clone of it, and no jump out of it. */
static bool __attribute__((noipa)) measured_turn(struct bench *b)
{
	const bool worked = worker_turn(b->worker, b->now_us);

	__asm__ volatile("" ::: "memory");
	return worked;
}

static void
control_turn(struct bench *b)
{
	union link_event e;

	while (link_event_take(&b->segment.event[0], &e) == LINK_TAKEN) {
		struct link_answer_client *a;

		if (e.head.type != LINK_EVENT_CLIENT)
			continue;
		b->asked++;
		if (b->dns == DNS_DEAD)
			continue;
		a = ring_reserve(&b->segment.answer[0]);
		if (a == NULL)
			continue;
		*a = (struct link_answer_client){
			.head = e.head, .session = e.client.session, .client = e.client.client, .verdict = b->verdict
		};
		a->head.type = LINK_ANSWER_CLIENT;
		a->head.len_octets = sizeof(*a);
		ring_publish(&b->segment.answer[0]);
	}
}

void
stage_turn(struct bench *b, bool measured)
{
	const uint32_t waiting = b->in.n;
	uint64_t cycles;

	b->now_us += waiting > TURN_FRAMES ? FULL_TURN_US : TURN_US;
	b->out.n = 0;
	if (measured) {
		const uint64_t cpu_ns = b->timed ? cpu_now_ns() : 0;

		cycles = cycles_now();
		measured_turn(b);
		b->cycles += cycles_now() - cycles;
		b->cpu_ns += b->timed ? cpu_now_ns() - cpu_ns : 0;
		b->frames_in += waiting - b->in.n;
		b->frames_out += b->out.n;
		b->turns++;
	} else {
		worker_turn(b->worker, b->now_us);
	}
	if (b->in.n == 0) /* the next frames come where these were */
		b->in_at = 0;
	control_turn(b);
	for (uint32_t i = 0; i < b->out.n; i++) {
		struct gen *of = b->beside != NULL && gen_owns(b->beside, b->out.frame[i], b->out.octets[i]) ? b->beside
		                                                                                             : b->gen;

		gen_input(of, b->out.frame[i], b->out.octets[i], b->now_us * 1000);
	}
	gen_tick(b->gen, b->now_us * 1000);
	if (b->beside != NULL)
		gen_tick(b->beside, b->now_us * 1000);
}

void
stage_run_sessions(struct bench *b, uint64_t n, bool measured)
{
	const uint64_t until = gen_stats(b->gen)->done + gen_stats(b->gen)->failed + n;
	const uint32_t step = gen_slots(b->gen) <= OPEN_STEP ? OPEN_STEP : RAMP_STEP;
	uint64_t left = n;

	while (gen_stats(b->gen)->done + gen_stats(b->gen)->failed < until) {
		left -= gen_start(b->gen, (uint32_t)MIN(left, (uint64_t)step), b->now_us * 1000, b->now_us * 1000);
		stage_turn(b, measured);
	}
	for (uint32_t i = 0; i < 4 || b->in.n > 0; i++) /* the last ACKs */
		stage_turn(b, measured);
}

/* ---- start ---- */

/* Each page of the verdict table is written to once: that the kernel maps it is no cost of a session. */
static void
touch_table(struct bench *b)
{
	volatile uint8_t *table = (volatile uint8_t *)b->segment.table.bucket;
	const uint64_t octets = verdict_table_octets(b->segment.table.n_buckets);

	for (uint64_t at = 0; at < octets; at += PAGE_OCTETS)
		table[at] = table[at];
}

void
stage_start(struct bench *b, const char *dir, uint32_t sessions, enum gen_template template)
{
	static struct segment control;
	static struct sim_config c;
	static char segment_path[128], snapshot_path[128];
	struct segment_params params = { .entries = b->entries != 0 ? b->entries : TABLE_ENTRIES,
		.table_key = { 1, 2 },
		.plain_pages = b->plain_table };
	struct worker_conf wc = { .shared = &b->shared, .io = &b->io, .segment = &b->segment };
	uint8_t key[FLOW_KEY_OCTETS];
	char why[256] = "";
	bool created;

	snprintf(segment_path, sizeof(segment_path), "%s/segment", dir);
	snprintf(snapshot_path, sizeof(snapshot_path), "%s/snapshot", dir);
	sim_conf_init(&c);
	c.n_backends = 1;
	c.pool[1].backends = c.pool[2].backends = c.pool[0].backends;
	c.listener[0].pools = 1;
	c.conf.sessions = sessions;
	c.conf.greet_pause_ms = b->greet_pause_ms;
	c.conf.grey_source_budget = 1000000;
	c.conf.log_grey_per_s = 1; /* at full speed nearly every line is over the cap */
	BUG_ON(ip_addr_parse("198.18.0.1", &c.port[0].gateway4) != 0);
	if (template == GEN_denied)
		c.client_deny = "10.0.0.0/8";
	if (stage_relays(template)) { /* the generator is the MTA, too: it knows PROXY v1, on the one port that is */
		c.client_allow = "10.0.0.0/8";
		c.backend[0].client_address = CLIENT_ADDRESS_PROXY_V1;
		BUG_ON(ip_addr_parse("198.18.0.3", &c.backend[0].addr) != 0);
	}
	if (segment_open_control(&control, segment_path, &params, &created, why, sizeof(why)) != 0 ||
		(segment_policy_start(&control, START_US, 1700000000, "bench"), segment_close(&control, true),
			segment_open_dataplane(&b->segment, segment_path, why, sizeof(why)) != 0) ||
		snapshot_write(snapshot_path, 1, sim_conf_parts(&c)) != 0 ||
		snapshot_map(&b->snapshot, snapshot_path, why, sizeof(why)) != 0) {
		fprintf(stderr, "instructions: %s\n", why);
		exit(1);
	}
	touch_table(b);
	unlink(segment_path);
	unlink(snapshot_path);
	strcat(segment_path, ".lock"); /* of who created it; there is room */
	unlink(segment_path);
	rmdir(dir);
	memset(key, 0x6d, sizeof(key));
	flow_steering_init(&b->shared.steering, key, 1);
	b->shared.n_workers = 1;
	worker_publish(&b->shared, &b->snapshot);
	b->pool = buf_slab_create(b->n_bufs != 0 ? b->n_bufs : STAGE_BUFS);
	b->io = (struct port_io){ .ops = &io_ops, .pool = b->pool, .counters = &b->segment.counters[0] };
	memset(wc.random, 0x2b, sizeof(wc.random));
	b->now_us = START_US;
	if (b->marked) {
		b->marks_octets = worker_marks_octets(b->snapshot.conf);
		b->marks = mmap(NULL, b->marks_octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		BUG_ON(b->marks == MAP_FAILED);
		wc.marks = b->marks;
	}
	if (b->plain_worker)
		large_forbid();
	b->worker = worker_create(&wc, b->now_us, why, sizeof(why));
	if (b->worker == NULL) {
		fprintf(stderr, "instructions: %s\n", why);
		exit(1);
	}
}

bool stage_relays(enum gen_template template)
{
	return template == GEN_data || template == GEN_retry;
}

bool
stage_wait_backend(struct bench *b)
{
	for (uint32_t i = 0; i < 100000; i++) {
		if (b->segment.backends[0].health == BACKEND_UP)
			return true;
		stage_turn(b, false);
	}
	return false;
}

void
stage_know_clients(struct bench *b, uint32_t clients)
{
	const struct policy_ctx ctx = { .conf = b->snapshot.conf,
		.table = &b->segment.table,
		.budget = b->segment.budget,
		.counters = b->io.counters };

	for (uint32_t i = 0; i < clients; i++) {
		const struct ip_addr a = ip_addr_v4(10u << 24 | (i & 0xffff) << 8 | 1);

		policy_client_store(&ctx, &a, &b->verdict, segment_policy_now_s(&b->segment, b->now_us));
	}
}

/* ---- generators ---- */

struct gen *
stage_gen(struct bench *b, const struct gen_conf *conf)
{
	const struct gen_ops ops = { .room = gen_room, .send = gen_send };
	struct gen *g = gen_create(conf, &ops, b);
	uint32_t size;

	if (g == NULL)
		return NULL;
	b->gen = g;
	BUG_ON(b->in.n != 0); /* its frames would lie elsewhere */
	for (size = MAX(b->in_size, QUEUE_FRAMES_MIN); size < 2 * conf->slots && size < QUEUE_FRAMES;)
		size *= 2;
	b->in_size = size;
	for (uint32_t i = 0; i < 1000 && !gen_is_ready(g); i++) {
		gen_hello(g);
		stage_turn(b, false);
	}
	BUG_ON(!gen_is_ready(g));
	return g;
}

bool
stage_open_idle(struct bench *b, uint32_t n)
{
	const uint32_t open = gen_open(b->gen);

	for (uint32_t opened = 0; opened < n;) {
		opened += gen_start(b->gen, MIN(n - opened, (uint32_t)OPEN_STEP), b->now_us * 1000, b->now_us * 1000);
		/* until the last has said what it has to say */
		for (uint32_t i = 0; i < OPEN_TURNS_MAX && gen_idle(b->gen) < open + opened; i++)
			stage_turn(b, false);
	}
	for (uint32_t i = 0; i < OPEN_TURNS_MAX; i++) /* what is acknowledged or comes to rest only now */
		stage_turn(b, false);
	return gen_idle(b->gen) == open + n;
}

void
stage_end(struct bench *b)
{
	worker_destroy(b->worker);
	if (b->marks != NULL)
		munmap(b->marks, b->marks_octets);
	if (buf_slab_in_use(b->pool) != 0) {
		fprintf(stderr, "%u buffers leaked\n", buf_slab_in_use(b->pool));
		exit(1);
	}
	buf_slab_destroy(b->pool);
	snapshot_unmap(&b->snapshot);
	segment_close(&b->segment, true);
}
