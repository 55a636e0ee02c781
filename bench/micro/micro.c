/*
 * micro.c - sizes and costs of the verdict table, network lists, name sets and rings.
 *
 * Flow:   micro [--json]: fixed work, a few seconds, a table (or one JSON object) on stdout.
 * Touches: memory of its own, the monotonic clock, one more thread for the ring.
 * Keeps:  every row is run ROUNDS times over the same work, and the best and the middle are shown: the machines we have
 *         change their clock within seconds and share cores, so a mean says more about the neighbours.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/base/bug.h"
#include "dataplane/link/message.h"
#include "dataplane/link/ring.h"
#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"
#include "dataplane/table/verdict_table.h"

#define ROUNDS        5
#define BUILD_ROUNDS  3
#define ENTRIES       1000000 /* 21 MiB of table: beyond the second-level cache, as the real one is */
#define OPS           200000
#define SMALL_ENTRIES 3000 /* in the cache: the instructions alone */
#define PREFIXES      1000000
#define PREFIX_OPS    50000
#define NAMES         100000
#define RING_RECORDS  4096
#define RING_MOVES    200000
#define NOW_S         1000000
#define ROWS_MAX      40

struct row {
	const char *name, *unit;
	double best, middle; /* the same where it is a size */
};

static struct row rows[ROWS_MAX];
static unsigned n_rows;

static const struct siphash_key key = { 1, 2 };
static const struct vt_ages ages = { .now_s = NOW_S, .grey_s = 5000, .white_s = 50000, .client_s = 500, .auto_s = 500 };

static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t
tag_of(uint64_t i)
{
	return mix(i + 0x1234567) | 1;
}

static void
add_row(const char *name, const char *unit, double best, double middle)
{
	BUG_ON(n_rows == ROWS_MAX);
	rows[n_rows++] = (struct row){ name, unit, best, middle };
}

static void
add_size(const char *name, const char *unit, double value)
{
	add_row(name, unit, value, value);
}

static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* What one row measures: sets up for a round where it must, then does ops operations and answers a sum nobody can leave
 * out. */
struct work {
	const char *name;
	void (*prepare)(void *arg);
	uint64_t (*run)(void *arg);
	void *arg;
	uint64_t ops;
};

static volatile uint64_t sink;

static void
measure(const struct work *w)
{
	double ns[ROUNDS];

	for (unsigned r = 0; r < ROUNDS; r++) {
		double start;

		if (w->prepare != NULL)
			w->prepare(w->arg);
		start = now_s();
		sink += w->run(w->arg);
		ns[r] = (now_s() - start) * 1e9 / (double)w->ops;
	}
	qsort(ns, ROUNDS, sizeof(ns[0]), compare);
	add_row(w->name, "ns", ns[0], ns[ROUNDS / 2]);
}

/* --- the verdict table --- */

struct table_bench {
	struct verdict_table table;
	uint64_t entries;
	enum vt_state fill_state;
	uint64_t fill; /* entries to put in before a round */
	bool filled;   /* and they stay */
};

static void *
memory(uint64_t octets)
{
	void *p = aligned_alloc(64, (octets + 63) & ~UINT64_C(63));

	BUG_ON(p == NULL);
	memset(p, 0, octets);
	return p;
}

static void
table_make(struct table_bench *b, uint64_t entries, enum vt_state fill_state, uint64_t fill)
{
	const uint32_t n = verdict_table_buckets_for(entries);

	*b = (struct table_bench){ .entries = entries, .fill_state = fill_state, .fill = fill };
	verdict_table_bind(&b->table, memory(verdict_table_octets(n)), n, &key);
}

static enum vt_put
table_put(struct table_bench *b, uint64_t i, enum vt_state state)
{
	const struct vt_entry e = {
		.tag = tag_of(i), .time_s = NOW_S - (uint32_t)(i % 4000), .kind_state = vt_kind_state(VT_TRIPLET, state)
	};

	return verdict_table_put(&b->table, NULL, &e, &ages, NULL);
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

static void
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

/* --- network lists --- */

struct prefix_bench {
	void *table;
	struct prefix_entry *entries;
	uint32_t n, lengths;
	bool miss;
};

static struct prefix_entry
prefix_at(uint32_t i, uint32_t lengths)
{
	const uint64_t r = mix(i);
	struct prefix_entry e = { .value = i };

	if (i % 2 == 0) {
		e.addr = ip_addr_v4((uint32_t)r);
		e.bits = (uint8_t)(128 - (lengths > 2 ? r >> 40 & 15 : 0));
	} else {
		memcpy(e.addr.octet, &r, sizeof(r));
		e.addr.octet[0] = 0x20;
		e.bits = (uint8_t)(64 - (lengths > 2 ? r >> 40 & 15 : 0));
	}
	e.addr = ip_addr_mask(&e.addr, e.bits);
	return e;
}

static uint64_t
run_prefix(void *arg)
{
	struct prefix_bench *b = arg;
	struct prefix_entry e;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < PREFIX_OPS; i++) {
		struct ip_addr a = b->entries[mix(i) % b->n].addr;

		if (b->miss)
			a.octet[i % 2 ? 1 : 15] ^= (uint8_t)(1 + i % 250);
		sum += prefix_table_find(b->table, &a, &e);
	}
	return sum;
}

static void
bench_prefix(void)
{
	static const struct {
		const char *build, *octets, *hit, *miss;
		uint32_t lengths;
	} kinds[] = {
		{ "prefix build of 1 million, 2 lengths", "prefix octets per entry, 2 lengths", "prefix hit, 2 lengths",
			"prefix miss, 2 lengths", 2 },
		{ "prefix build of 1 million, 32 lengths", "prefix octets per entry, 32 lengths",
			"prefix hit, 32 lengths", "prefix miss, 32 lengths", 32 },
	};
	const size_t room = prefix_table_octets(PREFIXES);
	struct prefix_bench b = {
		.table = memory(room), .entries = memory(PREFIXES * sizeof(struct prefix_entry)), .n = PREFIXES
	};

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		double took[BUILD_ROUNDS];
		size_t octets = 0;

		b.lengths = kinds[k].lengths;
		for (uint32_t i = 0; i < PREFIXES; i++)
			b.entries[i] = prefix_at(i, b.lengths);
		for (unsigned r = 0; r < BUILD_ROUNDS; r++) {
			const double start = now_s();

			octets = prefix_table_build(b.table, room, b.entries, PREFIXES, 1);
			took[r] = now_s() - start;
		}
		BUG_ON(!prefix_table_valid(b.table, octets));
		qsort(took, BUILD_ROUNDS, sizeof(took[0]), compare);
		add_row(kinds[k].build, "s", took[0], took[BUILD_ROUNDS / 2]);
		add_size(kinds[k].octets, "octets", (double)octets / prefix_table_count(b.table));
		b.miss = false;
		measure(&(struct work){ kinds[k].hit, NULL, run_prefix, &b, PREFIX_OPS });
		b.miss = true;
		measure(&(struct work){ kinds[k].miss, NULL, run_prefix, &b, PREFIX_OPS });
	}
	free(b.table);
	free(b.entries);
}

/* --- name sets --- */

struct name_bench {
	void *set;
	char (*names)[24];
	bool miss;
};

static uint64_t
run_names(void *arg)
{
	struct name_bench *b = arg;
	uint64_t sum = 0, value;

	for (uint64_t i = 0; i < OPS; i++) {
		char host[48];
		const int n = snprintf(host, sizeof(host), "mx%u.%s%s", (unsigned)(i % 10), b->names[mix(i) % NAMES],
			b->miss ? "x" : "");

		sum += name_set_find_domain(b->set, host, (uint32_t)n, &value);
	}
	return sum;
}

static void
bench_names(void)
{
	struct name_set_entry *e = memory(NAMES * sizeof(*e));
	struct name_bench b = { .names = memory(NAMES * sizeof(*b.names)) };
	size_t room, octets;

	for (uint32_t i = 0; i < NAMES; i++) {
		const int n = snprintf(b.names[i], sizeof(b.names[i]), ".domain%u.example", i);

		e[i] = (struct name_set_entry){ .name = b.names[i], .len_octets = (uint32_t)n, .value = i };
	}
	room = name_set_octets(e, NAMES);
	b.set = memory(room);
	octets = name_set_build(b.set, room, e, NAMES, 1);
	BUG_ON(!name_set_valid(b.set, octets));
	for (uint32_t i = 0; i < NAMES; i++)
		memmove(b.names[i], b.names[i] + 1, sizeof(b.names[i]) - 1); /* without the dot */
	add_size("name set octets per entry (names of 20)", "octets", (double)octets / NAMES);
	measure(&(struct work){ "name set find_domain by parent (with snprintf)", NULL, run_names, &b, OPS });
	b.miss = true;
	measure(&(struct work){ "name set find_domain miss (with snprintf)", NULL, run_names, &b, OPS });
	free(e);
	free(b.set);
	free(b.names);
}

/* --- rings --- */

struct ring_bench {
	struct ring in, out;
	uint32_t octets;
};

static void
ring_put(struct ring *r, uint32_t octets, uint64_t i)
{
	uint64_t *slot;

	while ((slot = ring_reserve(r)) == NULL)
		__builtin_ia32_pause();
	memset(slot, (int)i, octets);
	ring_publish(r);
}

static uint64_t
ring_get(struct ring *r)
{
	const uint64_t *slot;
	uint64_t v;

	while ((slot = ring_front(r)) == NULL)
		__builtin_ia32_pause();
	v = *slot;
	ring_release(r);
	return v;
}

static uint64_t
run_ring_alone(void *arg)
{
	struct ring_bench *b = arg;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < RING_MOVES; i += 64) {
		for (unsigned k = 0; k < 64; k++)
			ring_put(&b->in, b->octets, i);
		for (unsigned k = 0; k < 64; k++)
			sum += ring_get(&b->out);
	}
	return sum;
}

static void *
produce(void *arg)
{
	struct ring_bench *b = arg;

	for (uint64_t i = 0; i < RING_MOVES; i++)
		ring_put(&b->in, b->octets, i);
	return NULL;
}

static uint64_t
run_ring_two(void *arg)
{
	struct ring_bench *b = arg;
	uint64_t sum = 0;
	pthread_t t;

	BUG_ON(pthread_create(&t, NULL, produce, b) != 0);
	for (uint64_t i = 0; i < RING_MOVES; i++)
		sum += ring_get(&b->out);
	pthread_join(t, NULL);
	return sum;
}

static void
bench_ring(void)
{
	struct ring_bench b = { .octets = 256 };
	void *shared = memory(ring_octets(LINK_EVENT_OCTETS, RING_RECORDS));

	ring_bind(&b.in, shared, LINK_EVENT_OCTETS, RING_RECORDS);
	ring_bind(&b.out, shared, LINK_EVENT_OCTETS, RING_RECORDS);
	add_size("event ring of a worker", "MiB",
		(double)ring_octets(LINK_EVENT_OCTETS, LINK_EVENT_RECORDS) / (1 << 20));
	measure(&(struct work){
		"ring record of 256 octets, put and get, one thread", NULL, run_ring_alone, &b, RING_MOVES });
	measure(&(struct work){
		"ring record of 256 octets, from thread to thread", NULL, run_ring_two, &b, RING_MOVES });
	free(shared);
}

/* --- output --- */

static void
print_table(void)
{
	printf("%-52s %12s %12s  %s\n", "", "best", "middle of 5", "unit");
	for (unsigned i = 0; i < n_rows; i++)
		printf("%-52s %12.2f %12.2f  %s\n", rows[i].name, rows[i].best, rows[i].middle, rows[i].unit);
}

static void
print_json(void)
{
	printf("{\"rounds\":%u,\"rows\":[", ROUNDS);
	for (unsigned i = 0; i < n_rows; i++)
		printf("%s\n{\"name\":\"%s\",\"unit\":\"%s\",\"best\":%.3f,\"middle\":%.3f}", i > 0 ? "," : "",
			rows[i].name, rows[i].unit, rows[i].best, rows[i].middle);
	printf("\n]}\n");
}

int
main(int argc, char **argv)
{
	const bool json = argc == 2 && strcmp(argv[1], "--json") == 0;

	if (argc > 1 && !json) {
		fprintf(stderr, "usage: micro [--json]\n");
		return 2;
	}
	bench_table();
	bench_prefix();
	bench_names();
	bench_ring();
	if (json)
		print_json();
	else
		print_table();
	return 0;
}
