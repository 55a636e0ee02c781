/*
 * test_store_load.c - loading into a cold table: order, progress, damage, interruption, what is there already.
 */
#include "control/store.h"

#include "tests/check.h"

#include <errno.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/policy/triplet.h"
#include "lmdb-schema/key.h"

#define BUCKETS 4096
#define RECORDS 4000 /* a quarter of the slots; every tenth is WHITE */

static const struct siphash_key key = { 11, 22 };
static const struct vt_ages ages = {
	.now_s = 100000, .grey_s = 50000, .white_s = 90000, .client_s = 50000, .auto_s = 90000
};

struct bench {
	char dir[64];
	struct store *s;
	struct verdict_table t;
	void *memory;
	size_t octets;
};

static void
table_new(struct bench *b, uint32_t n_buckets)
{
	b->octets = verdict_table_octets(n_buckets);
	b->memory = mmap(NULL, b->octets, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	assert_true(b->memory != MAP_FAILED);
	verdict_table_bind(&b->t, b->memory, n_buckets, &key);
}

static void
table_drop(struct bench *b)
{
	munmap(b->memory, b->octets);
}

static struct store *
store_of(const struct bench *b)
{
	const struct store_params p = { .map_mb = 16, .map_max_mb = 256, .grey_per_s = 1000000, .why_entries = 100 };
	struct store *s = store_create(b->dir, &p);

	assert_non_null(s);
	return s;
}

static uint64_t
tag_of(uint32_t n)
{
	return policy_tag(&key, VT_TRIPLET, &n, sizeof(n));
}

static bool
is_white(uint32_t n)
{
	return n % 10 == 0;
}

static struct vt_entry
entry_of(uint32_t n)
{
	return (struct vt_entry){ .tag = tag_of(n),
		.time_s = 99000,
		.kind_state = vt_kind_state(VT_TRIPLET, is_white(n) ? VT_WHITE : VT_GREY) };
}

static void
put(const struct verdict_table *t, struct vt_entry e)
{
	CHECK_EQ("put", verdict_table_put(t, NULL, &e, &ages, NULL), VT_PUT_DONE);
}

static bool
has(const struct verdict_table *t, uint32_t n)
{
	struct vt_entry e;

	return verdict_table_find(t, tag_of(n), &e) && vt_state(&e) == (is_white(n) ? VT_WHITE : VT_GREY);
}

static void
commit_all(struct bench *b)
{
	uint64_t now_us = 0;

	while (store_commit(b->s, &b->t, now_us += 1000000, 1000000))
		;
}

/* A database of RECORDS, and a cold table beside it. */
static struct bench
bench_new(void)
{
	struct bench b = { .dir = "/tmp/greyline-load-XXXXXX" };

	assert_non_null(mkdtemp(b.dir));
	b.s = store_of(&b);
	table_new(&b, BUCKETS);
	for (uint32_t n = 0; n < RECORDS; n++)
		put(&b.t, entry_of(n));
	commit_all(&b);
	CHECK_EQ("records", store_stats(b.s)->records_written, RECORDS);
	table_drop(&b);
	table_new(&b, BUCKETS);
	return b;
}

static void
bench_end(struct bench *b)
{
	static const char *const names[] = { "greyline.mdb", "greyline.mdb-lock", "greyline.mdb.damaged",
		"greyline.running" };
	char path[128];

	store_destroy(b->s);
	table_drop(b);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", b->dir, names[i]);
		unlink(path);
	}
	CHECK_EQ("nothing else was left there", rmdir(b->dir), 0);
}

static uint32_t
count(const struct verdict_table *t, bool white)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < RECORDS; i++)
		n += is_white(i) == white && has(t, i);
	return n;
}

static void
check_whole(const char *label, struct bench *b)
{
	char why[128];

	CHECK_EQ(label, count(&b->t, true), RECORDS / 10);
	CHECK_EQ(label, count(&b->t, false), RECORDS - RECORDS / 10);
	if (verdict_table_check(&b->t, why, sizeof(why)) != 0)
		fail_msg("%s: %s", label, why);
}

static enum store_load
load_rest(struct bench *b)
{
	enum store_load how = STORE_LOAD_MORE;

	for (unsigned i = 0; how == STORE_LOAD_MORE; i++) {
		CHECK_TRUE("it ends", i < 1000);
		how = store_load_step(b->s, &b->t, &ages, 100);
	}
	return how;
}

static void
test_load_takes_what_is_white_first(void **state)
{
	struct bench b = bench_new();
	struct store_progress p;
	uint32_t steps = 0;

	(void)state;
	store_load_begin(b.s, true, 0);
	while (count(&b.t, true) < RECORDS / 10) {
		CHECK_EQ("there is more", store_load_step(b.s, &b.t, &ages, 100), STORE_LOAD_MORE);
		CHECK_EQ("no GREY before the last WHITE", count(&b.t, false), 0);
		steps++;
	}
	p = store_load_progress(b.s, 0);
	CHECK_TRUE("not in one step", steps > 10);
	CHECK_EQ("a tenth is loaded", p.done, RECORDS / 10);
	CHECK_EQ("of", p.of, RECORDS);
	CHECK_EQ("to its end", load_rest(&b), STORE_LOAD_WHOLE);
	check_whole("whole", &b);
	bench_end(&b);
}

static void
test_load_progress_is_of_the_work_done(void **state)
{
	struct bench b = bench_new();
	struct store_progress p, before = { .left_s = 1e9 };
	uint64_t now_us = 5000000;
	double worst = 0;

	(void)state;
	store_load_begin(b.s, true, now_us);
	p = store_load_progress(b.s, now_us);
	CHECK_TRUE("under way", p.under_way);
	CHECK_EQ("nothing yet", p.done, 0);
	for (unsigned i = 0;; i++) { /* every step takes a second, in both passes alike */
		const enum store_load how = store_load_step(b.s, &b.t, &ages, 100);

		now_us += 1000000;
		p = store_load_progress(b.s, now_us);
		CHECK_TRUE("it grows", p.done >= before.done && p.done <= p.of);
		if (how != STORE_LOAD_MORE) {
			CHECK_EQ("how", how, STORE_LOAD_WHOLE);
			CHECK_EQ("all", p.done, p.of);
			CHECK_TRUE("no time left", !p.under_way && p.left_s == 0);
			break;
		}
		if (i >= 45) { /* in the second pass steps do equal work: what is left is told within a third */
			const double left_s = 80 - 1 - i;

			worst = left_s > 5 && p.left_s / left_s > worst ? p.left_s / left_s : worst;
			CHECK_TRUE("it shrinks", p.left_s < before.left_s);
		}
		before = p;
	}
	if (worst < 0.5 || worst > 2)
		fail_msg("time left was told as %.2f times what it was", worst);
	bench_end(&b);
}

static void
test_load_marks_nothing_for_the_database_that_gave_it(void **state)
{
	struct bench b = bench_new();
	uint32_t cursor = 0, buckets[8];

	(void)state;
	store_load_begin(b.s, true, 0);
	load_rest(&b);
	CHECK_EQ("dirty buckets", verdict_table_take_dirty(&b.t, &cursor, buckets, ARRAY_LEN(buckets)), 0);
	CHECK_TRUE("kinds are noted", verdict_table_may_hold(&b.t, VT_TRIPLET));
	CHECK_EQ("loaded", store_stats(b.s)->loaded, RECORDS);
	bench_end(&b);
}

/* Straight into the file, as a disk or another release might leave it. */
static void
spoil(const struct bench *b)
{
	static const struct {
		uint8_t key[12], key_octets, value[12], value_octets;
	} bad[] = {
		{ { VT_TRIPLET, 1, 2, 3 }, 4, { 1, 2, 0, 0, 0, 0, 1, 0x86, 0xa0 }, 9 },              /* key cut */
		{ { VT_TRIPLET, 1, 2, 3, 4, 5, 6, 7, 8, 9 }, 10, { 1, 2, 0, 0, 0, 0, 1, 0, 0 }, 9 }, /* key too long */
		{ { 9, 1, 2, 3, 4, 5, 6, 7, 8 }, 9, { 1, 2, 0, 0, 0, 0, 1, 0, 0 }, 9 },              /* no such kind */
		{ { VT_TRIPLET, 0, 0, 0, 0, 0, 0, 0, 0 }, 9, { 1, 2, 0, 0, 0, 0, 1, 0, 0 }, 9 },     /* no tag */
		{ { VT_TRIPLET, 9, 2, 3, 4, 5, 6, 7, 8 }, 9, { 1, 2, 0, 0, 0, 0, 1, 0 }, 8 },        /* value cut */
		{ { VT_TRIPLET, 9, 2, 3, 4, 5, 6, 7, 9 }, 9, { 1, 2, 0, 0, 0, 0, 1, 0, 0, 0 }, 10 }, /* too long */
		{ { VT_TRIPLET, 9, 2, 3, 4, 5, 6, 7, 10 }, 9, { 7, 2, 0, 0, 0, 0, 1, 0, 0 }, 9 }, /* another release */
		{ { VT_TRIPLET, 9, 2, 3, 4, 5, 6, 7, 11 }, 9, { 1, 200, 0, 0, 0, 0, 1, 0, 0 }, 9 }, /* no such state */
		{ { VT_TRIPLET, 9, 2, 3, 4, 5, 6, 7, 12 }, 9, { 0 }, 0 },                           /* empty */
	};
	char path[128];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	snprintf(path, sizeof(path), "%s/greyline.mdb", b->dir);
	CHECK_EQ("env", mdb_env_create(&env), 0);
	CHECK_EQ("dbs", mdb_env_set_maxdbs(env, 16), 0);
	CHECK_EQ("open", mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	CHECK_EQ("txn", mdb_txn_begin(env, NULL, 0, &txn), 0);
	CHECK_EQ("dbi", mdb_dbi_open(txn, schema_db_name(SCHEMA_DB_ENTRIES), 0, &dbi), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		MDB_val k = { .mv_size = bad[i].key_octets, .mv_data = (void *)(uintptr_t)bad[i].key };
		MDB_val v = { .mv_size = bad[i].value_octets, .mv_data = (void *)(uintptr_t)bad[i].value };

		CHECK_EQ("put", mdb_put(txn, dbi, &k, &v, 0), 0);
	}
	CHECK_EQ("commit", mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
test_load_leaves_damaged_records_out(void **state)
{
	struct bench b = bench_new();
	struct vt_counts n;

	(void)state;
	store_destroy(b.s);
	spoil(&b);
	b.s = store_of(&b);
	store_load_begin(b.s, true, 0);
	CHECK_EQ("to its end all the same", load_rest(&b), STORE_LOAD_WHOLE);
	CHECK_EQ("damaged", store_stats(b.s)->load_damaged, 9);
	check_whole("the good ones", &b);
	verdict_table_count(&b.t, &n);
	CHECK_EQ("and none of the bad ones", n.used, RECORDS);
	CHECK_EQ("progress holds them", store_load_progress(b.s, 0).done, RECORDS + 9);
	bench_end(&b);
}

static void
test_load_replaces_what_is_there_by_more_alone(void **state)
{
	static const struct {
		const char *label;
		enum vt_kind kind;
		enum vt_state stored, live;
		uint16_t stored_aux, live_aux, want_aux;
		enum vt_state want;
		uint32_t want_s;
	} rows[] = {
		{ "WHITE over GREY begun meanwhile", VT_TRIPLET, VT_WHITE, VT_GREY, 0, 0, 0, VT_WHITE, 99000 },
		{ "GREY does not undo WHITE", VT_TRIPLET, VT_GREY, VT_WHITE, 0, 0, 0, VT_WHITE, 99500 },
		{ "GREY does not replace GREY", VT_TRIPLET, VT_GREY, VT_GREY, 3, 4, 4, VT_GREY, 99500 },
		{ "the higher count of an automatic allow", VT_AUTO, VT_NONE, VT_NONE, 5, 1, 5, VT_NONE, 99000 },
		{ "not the lower", VT_AUTO, VT_NONE, VT_NONE, 1, 5, 5, VT_NONE, 99500 },
		{ "a client's verdict stays", VT_CLIENT, VT_NONE, VT_NONE, 7, 1, 1, VT_NONE, 99500 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct bench b = bench_new();
		struct vt_entry e = { .tag = 0x1234567890 + i,
			.time_s = 99000,
			.aux = rows[i].stored_aux,
			.kind_state = vt_kind_state(rows[i].kind, rows[i].stored) };

		put(&b.t, e);
		commit_all(&b);
		table_drop(&b);
		table_new(&b, BUCKETS);
		e.time_s = 99500;
		e.aux = rows[i].live_aux;
		e.kind_state = vt_kind_state(rows[i].kind, rows[i].live);
		put(&b.t, e);
		store_load_begin(b.s, true, 0);
		CHECK_EQ(rows[i].label, load_rest(&b), STORE_LOAD_WHOLE);
		CHECK_TRUE(rows[i].label, verdict_table_find(&b.t, e.tag, &e));
		CHECK_EQ(rows[i].label, vt_state(&e), rows[i].want);
		CHECK_EQ(rows[i].label, e.aux, rows[i].want_aux);
		CHECK_EQ(rows[i].label, e.time_s, rows[i].want_s);
		bench_end(&b);
	}
}

static void
test_load_into_too_small_a_table_keeps_what_is_white(void **state)
{
	struct bench b = bench_new();
	char why[128];

	(void)state;
	table_drop(&b);
	table_new(&b, RECORDS / 16); /* slots for a quarter */
	store_load_begin(b.s, true, 0);
	CHECK_EQ("to its end", load_rest(&b), STORE_LOAD_WHOLE);
	CHECK_EQ("every WHITE", count(&b.t, true), RECORDS / 10);
	CHECK_TRUE("no room is counted, or who had to go is marked",
		store_stats(b.s)->loaded + store_stats(b.s)->load_refused == RECORDS);
	CHECK_EQ("sound", verdict_table_check(&b.t, why, sizeof(why)), 0);
	bench_end(&b);
}

static void
test_load_of_a_database_that_cannot_be_read_is_no_whole_one(void **state)
{
	struct bench b = { .dir = "/tmp/greyline-load-XXXXXX" };
	const struct store_params p = { .map_mb = 16, .map_max_mb = 256 };

	(void)state;
	assert_non_null(mkdtemp(b.dir));
	table_new(&b, BUCKETS);
	b.s = store_create("/dev/null/nowhere", &p);
	assert_non_null(b.s);
	store_load_begin(b.s, true, 0);
	CHECK_TRUE("not under way", !store_load_progress(b.s, 0).under_way);
	CHECK_EQ("cut", store_load_step(b.s, &b.t, &ages, 100), STORE_LOAD_CUT);
	bench_end(&b);
}

static void
test_load_goes_on_after_an_end_in_the_middle(void **state)
{
	struct bench b = bench_new();

	(void)state;
	for (unsigned steps = 1; steps < 80; steps += 13) {
		store_load_begin(b.s, steps == 1, 0);
		for (unsigned i = 0; i < steps; i++)
			store_load_step(b.s, &b.t, &ages, 100);
		store_destroy(b.s); /* in order, as at SIGTERM */
		b.s = store_of(&b);
	}
	store_load_begin(b.s, false, 0);
	CHECK_EQ("to its end", load_rest(&b), STORE_LOAD_WHOLE);
	check_whole("each once", &b);
	bench_end(&b);
}

/* What the first pass had is set back and written again before the second comes by: it is there once. */
static void
test_load_meets_again_what_was_set_back_meanwhile(void **state)
{
	struct bench b = bench_new();
	uint64_t now_us = 0;
	char why[128];

	(void)state;
	store_load_begin(b.s, true, 0);
	while (count(&b.t, true) < RECORDS / 10)
		CHECK_EQ("there is more", store_load_step(b.s, &b.t, &ages, 100), STORE_LOAD_MORE);
	for (uint32_t i = 0; i < RECORDS; i += 10) {
		struct vt_entry old, want;

		CHECK_TRUE("there", verdict_table_find(&b.t, tag_of(i), &old));
		want = old;
		want.kind_state = vt_kind_state(VT_TRIPLET, VT_GREY);
		CHECK_EQ("set back", verdict_table_put(&b.t, &old, &want, &ages, NULL), VT_PUT_DONE);
	}
	while (store_commit(b.s, &b.t, now_us += 1000000, 1000000))
		;
	CHECK_EQ("to its end", load_rest(&b), STORE_LOAD_WHOLE);
	if (verdict_table_check(&b.t, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	CHECK_EQ("none is WHITE", count(&b.t, true), 0);
	CHECK_EQ("the others are there", count(&b.t, false), RECORDS - RECORDS / 10);
	bench_end(&b);
}

/* Killed at any moment of a load: the table is sound, and the next life brings it to its end. */
static void
test_load_survives_kills(void **state)
{
	struct bench b = bench_new();
	volatile uint32_t *loads = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	unsigned seed = (unsigned)getpid();

	(void)state;
	print_message("seed %u\n", seed);
	assert_true(loads != MAP_FAILED);
	store_destroy(b.s);
	for (unsigned round = 0; round < 12; round++) {
		const pid_t pid = fork();
		char why[128];

		if (pid == 0) {
			b.s = store_of(&b);
			for (;; loads[0]++) {
				memset(b.memory, 0, (size_t)BUCKETS * 64);
				store_load_begin(b.s, true, 0);
				while (store_load_step(b.s, &b.t, &ages, 50) == STORE_LOAD_MORE)
					;
			}
		}
		usleep(5000 + (unsigned)rand_r(&seed) % 30000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (verdict_table_check(&b.t, why, sizeof(why)) != 0)
			fail_msg("round %u: %s", round, why);
		b.s = store_of(&b);
		CHECK_EQ("the database is sound", store_stats(b.s)->set_aside, 0);
		store_load_begin(b.s, false, 0);
		CHECK_EQ("to its end", load_rest(&b), STORE_LOAD_WHOLE);
		check_whole("after a kill", &b);
		store_destroy(b.s);
	}
	CHECK_TRUE("something was loaded", loads[0] > 0);
	munmap((void *)(uintptr_t)loads, 4096);
	b.s = store_of(&b);
	bench_end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load_takes_what_is_white_first),
		cmocka_unit_test(test_load_progress_is_of_the_work_done),
		cmocka_unit_test(test_load_marks_nothing_for_the_database_that_gave_it),
		cmocka_unit_test(test_load_leaves_damaged_records_out),
		cmocka_unit_test(test_load_replaces_what_is_there_by_more_alone),
		cmocka_unit_test(test_load_into_too_small_a_table_keeps_what_is_white),
		cmocka_unit_test(test_load_of_a_database_that_cannot_be_read_is_no_whole_one),
		cmocka_unit_test(test_load_goes_on_after_an_end_in_the_middle),
		cmocka_unit_test(test_load_meets_again_what_was_set_back_meanwhile),
		cmocka_unit_test(test_load_survives_kills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
