/*
 * threads_test.c - four threads over one table, rings and snapshots being swapped: what ThreadSanitizer looks at.
 *
 * Flow:   thread 0 is control: it stores dirty buckets and consumes events; threads 1 and 2 are workers: table, events,
 *         answers, the snapshot in force; thread 3 is the data plane's main thread: it maps a new snapshot, publishes
 *         one pointer, and unmaps the old one when every worker has passed a turn. The invariants are those of
 *         kill_test.c.
 *         Then, one writer against one who stores, without a kill and with a rest after each few writes: what was
 *         stored is exactly what is there. That is what the order of swap and dirty bit is for.
 *         Then, a load into an empty table against one who puts the very same tags, from the same moment: no tag is there twice.
 * Touches: anonymous memory, a folder of its own in /dev/shm (or TMPDIR). About 4 s. Suite tsan: run in every build,
 *          meant for -Db_sanitize=thread.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "dataplane/table/source_budget.h"
#include "tests/unit/link/snapshot_parts.h"
#include "tests/unit/table/shared_ops.h"

#define RUN_S         3
#define WORKERS       2
#define TAKE          32
#define ORDER_S       1
#define ORDER_BUCKETS 3
#define LOAD_ROUNDS   4000
#define LOAD_TAGS     32
#define LOAD_BUCKETS  64

struct world {
	struct verdict_table table;
	struct ring event[WORKERS][2], answer[WORKERS][2]; /* a handle for each side, as each process has its own */
	struct source_budget_cell *budget;
	const struct snapshot *snapshot;
	uint64_t passed[WORKERS]; /* generation a worker has seen at the start of its turn */
	uint32_t stop;
	uint64_t turns[WORKERS], swaps, consumed[WORKERS + 1], stored;
	char folder[256];
};

static struct world world;

static void
clean_up(void)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/policy.snapshot", world.folder);
	unlink(path);
	rmdir(world.folder);
}

static void
fail(const char *what)
{
	clean_up();
	fprintf(stderr, "FAILED: %s\n", what);
	exit(1);
}

static bool
stopped(void)
{
	return __atomic_load_n(&world.stop, __ATOMIC_ACQUIRE) != 0;
}

static void
check(const char *wrong)
{
	if (wrong != NULL)
		fail(wrong);
}

static void *
control_run(void *arg)
{
	uint64_t rng = 77;
	uint32_t cursor = 0, buckets[TAKE];

	(void)arg;
	while (!stopped()) {
		for (unsigned i = 0; i < 20; i++)
			check(ops_table_step(&world.table, &rng));
		for (unsigned w = 0; w < WORKERS; w++) {
			check(ops_consume(&world.event[w][1], 16, &world.consumed[WORKERS]));
			ops_produce(&world.answer[w][0], 8);
		}
		const uint32_t n = verdict_table_take_dirty(&world.table, &cursor, buckets, TAKE);

		for (uint32_t i = 0; i < n; i++) {
			struct vt_entry e[4];

			verdict_table_read_bucket(&world.table, buckets[i], e);
			for (unsigned k = 0; k < 4; k++)
				check(vt_kind(&e[k]) != VT_FREE ? ops_fault(&e[k]) : NULL);
		}
		verdict_table_committed(&world.table, buckets, n);
		world.stored += n;
	}
	return NULL;
}

/* A turn begins with the snapshot pointer and holds it to the turn's end, never longer. */
static void
worker_turn(unsigned me, uint64_t *rng)
{
	const struct snapshot *s = __atomic_load_n(&world.snapshot, __ATOMIC_ACQUIRE);
	const struct ip_addr client = ip_addr_v4(0xc0000200 + (uint32_t)(ops_random(rng) % 512));
	struct prefix_entry e;
	uint64_t value;

	__atomic_store_n(&world.passed[me], s->generation, __ATOMIC_RELEASE);
	if (prefix_table_find(s->client_allow, &client, &e) != ((ip_addr_to_v4(&client) & 0xffffff00) == 0xc0000200))
		fail("a network list answers wrong");
	if (!name_set_find_domain(s->domains, "mail.example.net", 16, &value) ||
		s->conf->grey_block_s != (uint32_t)s->generation)
		fail("a snapshot that is not whole");
	for (unsigned i = 0; i < 20; i++)
		check(ops_table_step(&world.table, rng));
	ops_produce(&world.event[me][0], 1 + (unsigned)(ops_random(rng) % 4));
	check(ops_consume(&world.answer[me][1], 8, &world.consumed[me]));
	source_budget_take(world.budget, siphash(&ops_key, client.octet, sizeof(client.octet)), 100, 7200);
	world.turns[me]++;
}

static void *
worker_run(void *arg)
{
	const unsigned me = (unsigned)(uintptr_t)arg;
	uint64_t rng = 1000 + me;

	while (!stopped())
		worker_turn(me, &rng);
	return NULL;
}

static void
snapshot_make(struct snapshot *out, uint64_t generation)
{
	static struct snapshot_parts parts;
	char path[300], why[128];

	snapshot_parts_init(&parts);
	parts.conf.grey_block_s = (uint32_t)generation;
	snprintf(path, sizeof(path), "%s/policy.snapshot", world.folder);
	if (snapshot_write(path, generation, parts.part) != 0 || snapshot_map(out, path, why, sizeof(why)) != 0)
		fail("a snapshot cannot be made");
}

static bool
all_passed(uint64_t generation)
{
	for (unsigned w = 0; w < WORKERS; w++) {
		if (__atomic_load_n(&world.passed[w], __ATOMIC_ACQUIRE) < generation)
			return false;
	}
	return true;
}

static void *
main_run(void *arg)
{
	static struct snapshot kept[2]; /* outlives this thread: at the end a worker's last turn may still hold one */
	unsigned in_force = 0;

	(void)arg;
	kept[0] = *world.snapshot;
	for (uint64_t generation = 2; !stopped(); generation++) {
		snapshot_make(&kept[!in_force], generation);
		__atomic_store_n(&world.snapshot, &kept[!in_force], __ATOMIC_RELEASE);
		while (!all_passed(generation) && !stopped())
			usleep(100);
		if (stopped())
			break;
		snapshot_unmap(&kept[in_force]);
		in_force = !in_force;
		world.swaps++;
	}
	return NULL;
}

static void *
memory(uint64_t octets)
{
	void *p = aligned_alloc(64, (octets + 63) & ~UINT64_C(63));

	BUG_ON(p == NULL);
	memset(p, 0, octets);
	return p;
}

static void
set_up(void)
{
	static struct snapshot first;
	const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR"); /* fsync() there is cheap */

	snprintf(world.folder, sizeof(world.folder), "%s/greyline-threads-XXXXXX", tmp != NULL ? tmp : "/tmp");
	BUG_ON(mkdtemp(world.folder) == NULL);
	verdict_table_bind(&world.table, memory(verdict_table_octets(OPS_BUCKETS)), OPS_BUCKETS, &ops_key);
	world.budget = memory(SOURCE_BUDGET_CELLS * sizeof(struct source_budget_cell));
	for (unsigned w = 0; w < WORKERS; w++) {
		void *up = memory(ring_octets(OPS_RECORD_OCTETS, OPS_RECORDS)),
		     *down = memory(ring_octets(OPS_RECORD_OCTETS, OPS_RECORDS));

		for (unsigned side = 0; side < 2; side++) {
			ring_bind(&world.event[w][side], up, OPS_RECORD_OCTETS, OPS_RECORDS);
			ring_bind(&world.answer[w][side], down, OPS_RECORD_OCTETS, OPS_RECORDS);
		}
	}
	for (unsigned i = 0; i < OPS_KEPT; i++) {
		const struct vt_entry e = ops_entry(ops_tag(i), VT_TRIPLET, VT_WHITE, OPS_NOW_S);

		BUG_ON(verdict_table_put(&world.table, NULL, &e, &ops_ages, NULL) != VT_PUT_DONE);
	}
	snapshot_make(&first, 1);
	world.snapshot = &first;
}

/* --- the order of swap and dirty bit --- */

struct order {
	struct verdict_table table;
	struct vt_entry disk[ORDER_BUCKETS][4];
	uint64_t go, done; /* rounds begun and ended by the writer */
	uint64_t rounds;
};

static struct order order;

static void *
order_write(void *arg)
{
	uint64_t rng = 3;

	(void)arg;
	for (uint64_t round = 1;; round++) {
		while (__atomic_load_n(&order.go, __ATOMIC_ACQUIRE) < round) {
			if (stopped())
				return NULL;
		}
		for (uint64_t n = 1 + ops_random(&rng) % 3; n > 0; n--) {
			const uint64_t tag = ops_tag((unsigned)(ops_random(&rng) % 6));
			const struct vt_entry want = ops_entry(tag, VT_TRIPLET, VT_GREY, (uint32_t)ops_random(&rng));
			struct vt_entry e;

			if (!verdict_table_find(&order.table, tag, &e))
				(void)verdict_table_put(&order.table, NULL, &want, &ops_ages, NULL);
			else if (ops_random(&rng) % 4 == 0)
				(void)verdict_table_remove(&order.table, &e);
			else
				(void)verdict_table_put(&order.table, &e, &want, &ops_ages, NULL);
		}
		__atomic_store_n(&order.done, round, __ATOMIC_RELEASE);
	}
}

static uint32_t
order_store(uint32_t *cursor)
{
	uint32_t buckets[ORDER_BUCKETS];
	const uint32_t n = verdict_table_take_dirty(&order.table, cursor, buckets, ORDER_BUCKETS);

	for (uint32_t i = 0; i < n; i++)
		verdict_table_read_bucket(&order.table, buckets[i], order.disk[buckets[i]]);
	verdict_table_committed(&order.table, buckets, n);
	return n;
}

static void *
order_check(void *arg)
{
	uint32_t cursor = 0;

	(void)arg;
	for (uint64_t round = 1; !stopped(); round++) {
		__atomic_store_n(&order.go, round, __ATOMIC_RELEASE);
		while (__atomic_load_n(&order.done, __ATOMIC_ACQUIRE) < round && !stopped())
			(void)order_store(&cursor);
		if (stopped())
			break;
		while (order_store(&cursor) > 0)
			;
		for (uint32_t b = 0; b < ORDER_BUCKETS; b++) {
			struct vt_entry e[4];

			verdict_table_read_bucket(&order.table, b, e);
			if (memcmp(e, order.disk[b], sizeof(e)) != 0)
				fail("what was stored is not what is there");
		}
		order.rounds = round;
	}
	return NULL;
}

static void
test_order(void)
{
	pthread_t thread[2];

	__atomic_store_n(&world.stop, 0, __ATOMIC_RELEASE);
	verdict_table_bind(&order.table, memory(verdict_table_octets(ORDER_BUCKETS)), ORDER_BUCKETS, &ops_key);
	BUG_ON(pthread_create(&thread[0], NULL, order_write, NULL) != 0);
	BUG_ON(pthread_create(&thread[1], NULL, order_check, NULL) != 0);
	sleep(ORDER_S);
	__atomic_store_n(&world.stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	if (order.rounds == 0)
		fail("no round was stored");
	printf("rounds stored exactly %llu\n", (unsigned long long)order.rounds);
}

static int
judge(void)
{
	struct vt_counts n;
	char why[128];

	clean_up();
	if (verdict_table_check(&world.table, why, sizeof(why)) != 0)
		fail(why);
	verdict_table_count(&world.table, &n);
	if (n.by_kind[VT_CLAIM] != 0)
		fail("a claim is left though nobody was killed");
	for (unsigned w = 0; w < WORKERS; w++) {
		if (world.turns[w] == 0 || world.consumed[w] == 0)
			fail("a worker did nothing");
	}
	if (world.swaps == 0 || world.stored == 0 || world.consumed[WORKERS] == 0)
		fail("control or main did nothing");
	printf("turns %llu %llu, snapshots swapped %llu, events %llu, buckets stored %llu\n",
		(unsigned long long)world.turns[0], (unsigned long long)world.turns[1], (unsigned long long)world.swaps,
		(unsigned long long)world.consumed[WORKERS], (unsigned long long)world.stored);
	return 0;
}

/* --- a load without claims, and a put of the same tags */

struct load_world {
	struct verdict_table t;
	uint32_t round[2]; /* each side's; it begins one when both have ended the one before */
	uint64_t met;      /* tags the one who puts found loaded */
};

static const struct vt_ages load_ages = { .now_s = 100000, .grey_s = 50000, .white_s = 90000 };

static struct vt_entry
load_entry(uint32_t round, uint32_t i, enum vt_state state)
{
	const uint32_t n[2] = { round, i };

	return (struct vt_entry){
		.tag = siphash(&ops_key, n, sizeof(n)), .time_s = 99000, .kind_state = vt_kind_state(VT_TRIPLET, state)
	};
}

static void
load_meet(struct load_world *w, unsigned me, uint32_t round)
{
	__atomic_store_n(&w->round[me], round, __ATOMIC_RELEASE);
	while (__atomic_load_n(&w->round[!me], __ATOMIC_ACQUIRE) < round)
		;
}

static void *
load_put(void *arg)
{
	struct load_world *w = arg;

	for (uint32_t round = 1; round <= LOAD_ROUNDS; round++) {
		load_meet(w, 1, 2 * round - 1);
		for (uint32_t i = 0; i < LOAD_TAGS; i++) {
			const struct vt_entry e = load_entry(round, (i + round) % LOAD_TAGS, VT_GREY);

			w->met += verdict_table_put(&w->t, NULL, &e, &load_ages, NULL) == VT_PUT_RACED;
		}
		load_meet(w, 1, 2 * round);
	}
	return NULL;
}

static void
test_load(void)
{
	const uint64_t octets = verdict_table_octets(LOAD_BUCKETS);
	void *memory = aligned_alloc(64, octets);
	static struct load_world w;
	pthread_t thread;
	char why[128];

	BUG_ON(memory == NULL);
	verdict_table_bind(&w.t, memory, LOAD_BUCKETS, &ops_key);
	memset(memory, 0, octets);
	BUG_ON(pthread_create(&thread, NULL, load_put, &w) != 0);
	for (uint32_t round = 1; round <= LOAD_ROUNDS; round++) {
		struct vt_entry e[LOAD_TAGS];
		struct vt_load out = { 0 };

		for (uint32_t i = 0; i < LOAD_TAGS; i++)
			e[i] = load_entry(round, i, VT_WHITE);
		load_meet(&w, 0, 2 * round - 1);
		for (uint32_t i = 0; i < LOAD_TAGS; i += 4)
			verdict_table_load(&w.t, e + i, 4, &load_ages, 0, &out);
		load_meet(&w, 0, 2 * round);
		if (verdict_table_check(&w.t, why, sizeof(why)) != 0)
			fail(why);
		for (uint32_t i = 0; i < LOAD_TAGS; i++) {
			struct vt_entry have;

			if (!verdict_table_find(&w.t, e[i].tag, &have) || vt_state(&have) != VT_WHITE)
				fail("a loaded entry is gone");
		}
		memset(memory, 0, octets);
	}
	pthread_join(thread, NULL);
	if (w.met == 0 || w.met == (uint64_t)LOAD_ROUNDS * LOAD_TAGS)
		fail("the two never met");
	printf("loads against puts: %u rounds, %llu of %u tags were there\n", LOAD_ROUNDS, (unsigned long long)w.met,
		LOAD_ROUNDS * LOAD_TAGS);
	free(memory);
}

int
main(void)
{
	pthread_t thread[4];

	set_up();
	BUG_ON(pthread_create(&thread[0], NULL, control_run, NULL) != 0);
	BUG_ON(pthread_create(&thread[1], NULL, worker_run, (void *)(uintptr_t)0) != 0);
	BUG_ON(pthread_create(&thread[2], NULL, worker_run, (void *)(uintptr_t)1) != 0);
	BUG_ON(pthread_create(&thread[3], NULL, main_run, NULL) != 0);
	sleep(RUN_S);
	__atomic_store_n(&world.stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	test_order();
	test_load();
	return judge();
}
