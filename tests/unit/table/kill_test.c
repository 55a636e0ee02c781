/*
 * kill_test.c - four processes insert, update, remove, scan and store on one table and its rings, and are killed at
 * random.
 *
 * Flow:   the parent kills a random child every few milliseconds, looks at the table while the other three go on, and
 *         starts the child's role anew. Child 0 is also the one that stores: it moves dirty buckets to a "disk" as
 *         control does.
 * Keeps:  shown at the end, with no process left: the table's own invariants; every entry whole; every entry that was
 *         WHITE from the start is there; no more claims than kills; rings whole and in order; what the disk lacks is at
 *         most one bucket for each kill (killed between a swap and its dirty bit), and nothing after one sweep.
 * Touches: anonymous shared memory, signals to its own children by their ids. About 8 s; the seed is printed (argument:
 *          another one).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "tests/unit/table/shared_ops.h"

#define CHILDREN    4
#define RUN_MS      8000
#define KILL_US_MAX 4000
#define TAKE_MAX    16

struct world {
	char fault[128]; /* first fault a child found */
	uint32_t faulty;
	uint64_t steps[CHILDREN], consumed[CHILDREN], stored;
	struct vt_entry disk[OPS_BUCKETS][4];
};

static struct world *world;
static struct verdict_table table;
static struct ring rings[CHILDREN]; /* i: child i produces, child i + 1 consumes */

static void *
shared_memory(uint64_t octets)
{
	void *p = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	BUG_ON(p == MAP_FAILED);
	return p;
}

static void
fault(const char *what, unsigned child)
{
	if (__atomic_exchange_n(&world->faulty, 1, __ATOMIC_ACQ_REL) == 0)
		snprintf(world->fault, sizeof(world->fault), "child %u: %s", child, what);
	_exit(1);
}

/* What control's store does: take, write, commit. Killed anywhere, in-flight bits say what has to be written again. */
static uint32_t
store_some(uint32_t *cursor)
{
	uint32_t buckets[TAKE_MAX];
	const uint32_t n = verdict_table_take_dirty(&table, cursor, buckets, TAKE_MAX);

	for (uint32_t i = 0; i < n; i++)
		verdict_table_read_bucket(&table, buckets[i], world->disk[buckets[i]]);
	verdict_table_committed(&table, buckets, n);
	return n;
}

static void
child_run(unsigned me, uint64_t rng)
{
	struct ring *in = &rings[(me + CHILDREN - 1) % CHILDREN], *out = &rings[me];
	uint32_t cursor = 0;

	if (me == 0)
		verdict_table_requeue_in_flight(&table);
	for (;;) {
		const char *wrong = NULL;

		for (unsigned i = 0; i < 50 && wrong == NULL; i++)
			wrong = ops_table_step(&table, &rng);
		if (wrong == NULL)
			wrong = ops_consume(in, 8, &world->consumed[me]);
		if (wrong != NULL)
			fault(wrong, me);
		ops_produce(out, 1 + (unsigned)(ops_random(&rng) % 8));
		if (me == 0)
			world->stored += store_some(&cursor);
		world->steps[me] += 50;
	}
}

static pid_t
child_start(unsigned me, uint64_t seed)
{
	const pid_t parent = getpid(), pid = fork();

	BUG_ON(pid < 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		child_run(me, seed);
	}
	return pid;
}

/* Kills one child; false when it had ended by itself. */
static bool
child_kill(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	BUG_ON(waitpid(pid, &status, 0) != pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int
complain(const char *what)
{
	fprintf(stderr, "FAILED: %s\n", what);
	return 1;
}

static bool
same_entries(const struct vt_entry a[4], const struct vt_entry b[4])
{
	return memcmp(a, b, 4 * sizeof(a[0])) == 0;
}

static uint32_t
buckets_not_on_disk(void)
{
	uint32_t n = 0;

	for (uint32_t b = 0; b < OPS_BUCKETS; b++) {
		struct vt_entry now[4];

		verdict_table_read_bucket(&table, b, now);
		n += !same_entries(now, world->disk[b]);
	}
	return n;
}

static void
store_rest(void)
{
	uint32_t cursor = 0;

	verdict_table_requeue_in_flight(&table);
	while (store_some(&cursor) > 0)
		;
}

/* Nobody runs any more. Returns 0 when all is as it should be. */
static int
judge(uint32_t kills)
{
	struct vt_counts n;
	char why[128];
	uint64_t consumed = 0, drained = 0;
	uint32_t behind;

	if (world->faulty)
		return complain(world->fault);
	if (verdict_table_check(&table, why, sizeof(why)) != 0)
		return complain(why);
	for (uint32_t b = 0; b < OPS_BUCKETS; b++) {
		struct vt_entry e[4];

		verdict_table_read_bucket(&table, b, e);
		for (unsigned i = 0; i < 4; i++) {
			if (vt_kind(&e[i]) != VT_FREE && ops_fault(&e[i]) != NULL)
				return complain(ops_fault(&e[i]));
		}
	}
	for (unsigned i = 0; i < OPS_KEPT; i++) {
		struct vt_entry e;

		if (!verdict_table_find(&table, ops_tag(i), &e) || vt_state(&e) != VT_WHITE)
			return complain("a WHITE entry did not stay");
	}
	verdict_table_count(&table, &n);
	if (n.by_kind[VT_CLAIM] > kills)
		return complain("more claims than kills");
	for (unsigned i = 0; i < CHILDREN; i++) {
		const char *wrong = ops_consume(&rings[i], OPS_RECORDS + 1, &drained);

		if (wrong != NULL)
			return complain(wrong);
		if (world->steps[i] == 0 || world->consumed[i] == 0)
			return complain("a role that did nothing");
		consumed += world->consumed[i];
	}
	store_rest();
	behind = buckets_not_on_disk();
	if (behind > kills)
		return complain("the disk lacks more than the kills explain");
	verdict_table_dirty_all(&table);
	store_rest();
	if (buckets_not_on_disk() != 0)
		return complain("the disk differs after a sweep");
	printf("kills %u, steps %llu %llu %llu %llu, ring records %llu, buckets stored %llu, left to the sweep %u, "
	       "claims left %llu, "
	       "used %llu of %u, white %llu\n",
		kills, (unsigned long long)world->steps[0], (unsigned long long)world->steps[1],
		(unsigned long long)world->steps[2], (unsigned long long)world->steps[3], (unsigned long long)consumed,
		(unsigned long long)world->stored, behind, (unsigned long long)n.by_kind[VT_CLAIM],
		(unsigned long long)n.used, OPS_BUCKETS * 4, (unsigned long long)n.white);
	return 0;
}

static void
set_up(void)
{
	void *memory = shared_memory(verdict_table_octets(OPS_BUCKETS));

	world = shared_memory(sizeof(*world));
	verdict_table_bind(&table, memory, OPS_BUCKETS, &ops_key);
	for (unsigned i = 0; i < CHILDREN; i++)
		ring_bind(&rings[i], shared_memory(ring_octets(OPS_RECORD_OCTETS, OPS_RECORDS)), OPS_RECORD_OCTETS,
			OPS_RECORDS);
	for (unsigned i = 0; i < OPS_KEPT; i++) {
		const struct vt_entry e = ops_entry(ops_tag(i), VT_TRIPLET, VT_WHITE, OPS_NOW_S);

		BUG_ON(verdict_table_put(&table, NULL, &e, &ops_ages, NULL) != VT_PUT_DONE);
	}
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) * 1000003 ^ (uint64_t)getpid(),
		 rng;
	pid_t pid[CHILDREN];
	uint32_t kills = 0;
	uint64_t end_ms;
	char why[128];
	int rc = 0;

	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	rng = seed | 1;
	set_up();
	for (unsigned i = 0; i < CHILDREN; i++)
		pid[i] = child_start(i, ops_random(&rng));
	end_ms = now_ms() + RUN_MS;
	while (rc == 0 && now_ms() < end_ms && !__atomic_load_n(&world->faulty, __ATOMIC_ACQUIRE)) {
		const unsigned victim = (unsigned)(ops_random(&rng) % CHILDREN);

		usleep((useconds_t)(ops_random(&rng) % KILL_US_MAX));
		if (!child_kill(pid[victim]))
			rc = complain("a child ended by itself");
		kills++;
		if (verdict_table_check(&table, why, sizeof(why)) != 0)
			rc = complain(why);
		pid[victim] = child_start(victim, ops_random(&rng));
	}
	for (unsigned i = 0; i < CHILDREN; i++)
		child_kill(pid[i]);
	if (world->faulty || rc == 0)
		rc = judge(kills + CHILDREN);
	return rc;
}
