/* micro_table.c - the verdict table: hit, miss, update, insert; room, full, full of WHITE; 1 to N threads. */
#include "bench/micro/micro.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/bug.h"

#define ENTRIES       1000000 /* 21 MiB of table: beyond the second-level cache, as the real one is */
#define SMALL_ENTRIES 3000    /* in the cache: the instructions alone */

struct table_bench {
	struct verdict_table table;
	uint64_t entries;
	enum vt_state fill_state;
	uint64_t fill; /* entries to put in before a round */
	bool filled;   /* and they stay */
};

static void
table_make(struct table_bench *b, uint64_t entries, enum vt_state fill_state, uint64_t fill)
{
	const uint32_t n = verdict_table_buckets_for(entries);

	*b = (struct table_bench){ .entries = entries, .fill_state = fill_state, .fill = fill };
	verdict_table_bind(&b->table, memory(verdict_table_octets(n)), n, &micro_key);
}

static enum vt_put
table_put(struct table_bench *b, uint64_t i, enum vt_state state)
{
	const struct vt_entry e = {
		.tag = tag_of(i), .time_s = NOW_S - (uint32_t)(i % 4000), .kind_state = vt_kind_state(VT_TRIPLET, state)
	};

	return verdict_table_put(&b->table, NULL, &e, &micro_ages, NULL);
}

static void
table_refill(void *arg)
{
	struct table_bench *b = arg;

	memset(b->table.bucket, 0, verdict_table_octets(b->table.n_buckets));
	for (uint64_t i = 0; i < b->fill; i++)
		(void)table_put(b, i, b->fill_state);
}

static void
table_fill_once(void *arg)
{
	struct table_bench *b = arg;

	if (!b->filled)
		table_refill(b);
	b->filled = true;
}

static uint64_t
run_hit(void *arg)
{
	struct table_bench *b = arg;
	struct vt_entry e;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++)
		sum += verdict_table_find(&b->table, tag_of(mix(i) % b->fill), &e);
	return sum;
}

static uint64_t
run_miss(void *arg)
{
	struct table_bench *b = arg;
	struct vt_entry e;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++)
		sum += verdict_table_find(&b->table, tag_of(i + (UINT64_C(1) << 40)), &e);
	return sum;
}

static uint64_t
run_hit_prefetched(void *arg)
{
	enum { AHEAD = 16 };
	struct table_bench *b = arg;
	struct vt_entry e;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++) {
		verdict_table_prefetch(&b->table, tag_of(mix(i + AHEAD) % b->fill));
		sum += verdict_table_find(&b->table, tag_of(mix(i) % b->fill), &e);
	}
	return sum;
}

static uint64_t
run_insert(void *arg)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++)
		sum += table_put(arg, i + (UINT64_C(1) << 40), VT_GREY);
	return sum;
}

static uint64_t
run_update(void *arg)
{
	struct table_bench *b = arg;
	struct vt_entry e, want;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++) {
		if (!verdict_table_find(&b->table, tag_of(mix(i) % b->fill), &e))
			continue;
		want = e;
		want.time_s ^= 1;
		sum += verdict_table_put(&b->table, &e, &want, NULL, NULL);
	}
	return sum;
}

void
bench_table(void)
{
	struct table_bench big, small, full, white;
	const uint32_t n100m = verdict_table_buckets_for(100000000);
	struct vt_counts counts;

	table_make(&big, ENTRIES, VT_GREY, ENTRIES);
	table_make(&small, SMALL_ENTRIES, VT_GREY, SMALL_ENTRIES);
	table_make(&full, ENTRIES, VT_GREY, 3 * ENTRIES / 2);
	table_make(&white, ENTRIES, VT_WHITE, 3 * ENTRIES / 2);

	add_size("table octets per entry at load 0.75", "octets", (double)verdict_table_octets(n100m) / 100e6);
	add_size("table for 100 million entries", "MiB", (double)(verdict_table_octets(n100m) >> 20));
	measure(&(struct work){ "table hit, in cache", table_fill_once, run_hit, &small, OPS });
	measure(&(struct work){ "table hit", table_fill_once, run_hit, &big, OPS });
	measure(&(struct work){ "table hit, prefetched", table_fill_once, run_hit_prefetched, &big, OPS });
	measure(&(struct work){ "table miss", table_fill_once, run_miss, &big, OPS });
	measure(&(struct work){ "table update (find and put)", table_fill_once, run_update, &big, OPS });
	verdict_table_count(&big.table, &counts);
	add_size("table entries evicted while filling to 0.75", "of 1e6",
		(double)(ENTRIES - counts.used) * 1e6 / ENTRIES);
	big.fill = ENTRIES / 2;
	measure(&(struct work){ "table insert, half full", table_refill, run_insert, &big, OPS });
	measure(&(struct work){ "table insert, full of grey (evicts)", table_fill_once, run_insert, &full, OPS });
	measure(&(struct work){ "table insert, full of white (refused)", table_fill_once, run_insert, &white, OPS });
	free(big.table.bucket);
	free(small.table.bucket);
	free(full.table.bucket);
	free(white.table.bucket);
}

/* ---- several threads on one table ---- */

#define THREADS_MAX 64

struct thread_bench {
	struct table_bench *bench;
	uint64_t first;
	uint64_t (*run)(struct thread_bench *t);
	uint64_t sum;
};

static uint64_t
thread_hits(struct thread_bench *t)
{
	struct vt_entry e;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++)
		sum += verdict_table_find(&t->bench->table, tag_of(mix(t->first + i) % t->bench->fill), &e);
	return sum;
}

static uint64_t
thread_misses(struct thread_bench *t)
{
	struct vt_entry e;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++)
		sum += verdict_table_find(&t->bench->table, tag_of(t->first + i + (UINT64_C(1) << 40)), &e);
	return sum;
}

static uint64_t
thread_updates(struct thread_bench *t)
{
	struct vt_entry e, want;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++) {
		if (!verdict_table_find(&t->bench->table, tag_of(mix(t->first + i) % t->bench->fill), &e))
			continue;
		want = e;
		want.time_s ^= 1;
		sum += verdict_table_put(&t->bench->table, &e, &want, NULL, NULL);
	}
	return sum;
}

static uint64_t
thread_inserts(struct thread_bench *t)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++)
		sum += table_put(t->bench, t->first + i + (UINT64_C(1) << 41), VT_GREY);
	return sum;
}

static void *
thread_run(void *arg)
{
	struct thread_bench *t = arg;

	t->sum = t->run(t);
	return NULL;
}

/* Million operations a second of n threads together: best and middle of ROUNDS. */
static void
measure_threads(const char *name, struct table_bench *b, uint32_t n, uint64_t (*run)(struct thread_bench *t))
{
	static char names[4 * THREADS_MAX][64];
	static unsigned n_names;
	struct thread_bench bench[THREADS_MAX];
	pthread_t thread[THREADS_MAX];
	double took[ROUNDS];

	for (unsigned r = 0; r < ROUNDS; r++) {
		double start = now_s();

		for (uint32_t i = 0; i < n; i++) {
			bench[i] =
				(struct thread_bench){ .bench = b, .first = ((uint64_t)r * n + i) * OPS, .run = run };
			BUG_ON(pthread_create(&thread[i], NULL, thread_run, &bench[i]) != 0);
		}
		for (uint32_t i = 0; i < n; i++)
			pthread_join(thread[i], NULL);
		took[r] = (now_s() - start) * 1e9 / ((double)n * OPS);
	}
	snprintf(names[n_names], sizeof(names[0]), "table %s, %u thread%s together", name, n, n == 1 ? "" : "s");
	add_times(names[n_names++], "ns", took, ROUNDS);
}

/* 1, 2, 4 ... threads, and as many as there are CPUs. */
void
bench_threads(void)
{
	const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const uint32_t most = (uint32_t)(cpus < 2 ? 2 : cpus > THREADS_MAX ? THREADS_MAX : cpus);
	struct table_bench b;

	table_make(&b, 4 * ENTRIES, VT_GREY, ENTRIES);
	table_fill_once(&b);
	for (uint32_t n = 1;; n = n * 2 < most ? n * 2 : most) {
		measure_threads("hits", &b, n, thread_hits);
		measure_threads("misses", &b, n, thread_misses);
		measure_threads("updates", &b, n, thread_updates);
		measure_threads("inserts", &b, n, thread_inserts);
		if (n == most)
			break;
	}
	free(b.table.bucket);
}
