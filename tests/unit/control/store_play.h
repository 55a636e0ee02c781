/*
 * store_play.h - a database in a folder of its own and a table in memory, for tests of the store.
 */
#ifndef GREYLINE_TESTS_STORE_PLAY_H
#define GREYLINE_TESTS_STORE_PLAY_H

#include "tests/check.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "control/store.h"
#include "dataplane/policy/policy.h"
#include "dataplane/policy/triplet.h"

#define BUCKETS 16384

static const struct siphash_key key = { 11, 22 };
static const struct vt_ages ages = { .now_s = 100000,
	.grey_s = 50000,
	.white_s = 90000,
	.client_s = 50000,
	.auto_s = 90000,
	.tls_good_s = 90000,
	.tls_failed_s = 500 };

struct folder {
	char path[64];
};

static inline struct folder
folder_make(void)
{
	struct folder f = { "/tmp/greyline-store-XXXXXX" };

	assert_non_null(mkdtemp(f.path));
	return f;
}

static inline void
folder_remove(const struct folder *f)
{
	static const char *const names[] = { "greyline.mdb", "greyline.mdb-lock", "greyline.mdb.damaged",
		"greyline.running" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%s", f->path, names[i]);
		unlink(path);
	}
	CHECK_EQ("nothing else was left there", rmdir(f->path), 0);
}

static inline struct store *
store_in(const struct folder *f, uint64_t map_octets, uint32_t grey_per_s)
{
	const struct store_params p = {
		.map_mb = 4, .map_octets = map_octets, .map_max_mb = 256, .grey_per_s = grey_per_s, .why_entries = 100
	};
	struct store *s = store_create(f->path, &p);

	assert_non_null(s);
	return s;
}

struct table {
	struct verdict_table t;
	void *memory;
	size_t octets;
};

static inline struct table
table_make(bool shared)
{
	struct table t = { .octets = verdict_table_octets(BUCKETS) };

	t.memory = mmap(
		NULL, t.octets, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);
	assert_true(t.memory != MAP_FAILED);
	verdict_table_bind(&t.t, t.memory, BUCKETS, &key);
	return t;
}

static inline void
table_free(struct table *t)
{
	munmap(t->memory, t->octets);
}

static inline uint64_t
put(const struct table *t, uint32_t n, enum vt_kind kind, enum vt_state state, uint32_t time_s)
{
	struct vt_entry e = { .tag = policy_tag(&key, kind, &n, sizeof(n)),
		.time_s = time_s,
		.aux = (uint16_t)n,
		.flags = 3,
		.kind_state = vt_kind_state(kind, state) };
	struct vt_entry old;
	bool there = verdict_table_find(&t->t, e.tag, &old);

	CHECK_EQ("put", verdict_table_put(&t->t, there ? &old : NULL, &e, &ages, NULL), VT_PUT_DONE);
	return e.tag;
}

static inline uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static inline void
commit_all(struct store *s, const struct table *t)
{
	for (int i = 0; i < 100 && store_commit(s, &t->t, now_us(), 1000000); i++)
		;
}

static inline void
load_all(struct store *s, const struct table *t)
{
	struct vt_counts n;

	verdict_table_count(&t->t, &n);
	store_load_begin(s, n.used == 0, 0);
	for (int i = 0; i < 10000; i++)
		if (store_load_step(s, &t->t, &ages, 100) != STORE_LOAD_MORE)
			return;
	fail_msg("loading does not end");
}

#endif
