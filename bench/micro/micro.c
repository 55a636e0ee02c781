/*
 * micro.c - sizes and costs of single parts, each alone.
 *
 * Flow:   micro [--json] [GROUP...]: fixed work, a few seconds a group; a table (or one JSON object) on stdout.
 * Touches: memory of its own, the monotonic clock, threads for what is shared, files below TMPDIR for the store and the snapshot.
 */
#include "bench/micro/micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/base/bug.h"

#define ROWS_MAX 80

struct row {
	const char *name, *unit;
	double best, middle; /* the same where it is a size */
};

static struct row rows[ROWS_MAX];
static unsigned n_rows;

const struct siphash_key micro_key = { 1, 2 };
const struct vt_ages micro_ages = { .now_s = NOW_S, .grey_s = 5000, .white_s = 50000, .client_s = 500, .auto_s = 500 };

double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t
tag_of(uint64_t i)
{
	return mix(i + 0x1234567) | 1;
}

void *
memory(uint64_t octets)
{
	void *p = aligned_alloc(64, (octets + 63) & ~UINT64_C(63));

	BUG_ON(p == NULL);
	memset(p, 0, octets);
	return p;
}

void
add_row(const char *name, const char *unit, double best, double middle)
{
	BUG_ON(n_rows == ROWS_MAX);
	rows[n_rows++] = (struct row){ name, unit, best, middle };
}

void
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

void
add_times(const char *name, const char *unit, double *took, uint32_t n)
{
	qsort(took, n, sizeof(took[0]), compare);
	add_row(name, unit, took[0], took[n / 2]);
}

/* The best rate is the highest. */
void
add_rates(const char *name, double *rate, uint32_t n)
{
	qsort(rate, n, sizeof(rate[0]), compare);
	add_row(name, "a second", rate[n - 1], rate[n / 2]);
}

static volatile uint64_t sink;

void
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
	add_times(w->name, "ns", ns, ROUNDS);
}

static const struct group {
	const char *name;
	void (*run)(void);
} groups[] = {
	{ "table", bench_table },
	{ "threads", bench_threads },
	{ "lists", bench_lists },
	{ "names", bench_names },
	{ "rings", bench_rings },
	{ "hash", bench_hash },
	{ "smtp", bench_smtp },
	{ "store", bench_store },
	{ "snapshot", bench_snapshot },
};

static void
print_table(void)
{
	printf("%-60s %12s %12s  %s\n", "", "best", "middle of 5", "unit");
	for (unsigned i = 0; i < n_rows; i++)
		printf("%-60s %12.2f %12.2f  %s\n", rows[i].name, rows[i].best, rows[i].middle, rows[i].unit);
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

static const struct group *
group_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(groups); i++)
		if (strcmp(groups[i].name, name) == 0)
			return &groups[i];
	return NULL;
}

int
main(int argc, char **argv)
{
	const bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
	const int first = json ? 2 : 1;

	for (int i = first; i < argc; i++) {
		if (group_of(argv[i]) == NULL) {
			fputs("usage: micro [--json] [GROUP...]; groups:", stderr);
			for (size_t k = 0; k < ARRAY_LEN(groups); k++)
				fprintf(stderr, " %s", groups[k].name);
			fputc('\n', stderr);
			return 2;
		}
	}
	for (size_t k = 0; k < ARRAY_LEN(groups); k++) {
		bool wanted = argc <= first;

		for (int i = first; i < argc; i++)
			wanted |= group_of(argv[i]) == &groups[k];
		if (wanted)
			groups[k].run();
	}
	if (json)
		print_json();
	else
		print_table();
	return 0;
}
