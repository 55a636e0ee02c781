/*
 * test_store_damage.c - the database damaged, of another layout, cut by a crash or a kill, and on a disk that is full (PITFALLS 42, 43).
 */
#include "tests/unit/control/store_play.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lmdb-schema/key.h"
#include "lmdb-schema/migrate.h"

static void
damage(const struct folder *f, long from, long octets, int value)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/greyline.mdb", f->path);
	file = fopen(path, "r+");
	assert_non_null(file);
	fseek(file, from, SEEK_SET);
	while (octets-- > 0)
		fputc(value, file);
	fclose(file);
}

/* As after a crash: the walk before opening is done only then. */
static void
mark_running(const struct folder *f)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/greyline.running", f->path);
	close(open(path, O_WRONLY | O_CREAT, 0600));
}

static void
test_store_damaged_file_is_set_aside(void **state)
{
	static const struct {
		const char *label;
		long from, octets, cut; /* cut: length of the file after, 0: as it is */
		int value;
	} rows[] = {
		{ "both meta pages", 0, 8192, 0, 0xaa },
		{ "text instead", 0, 4096 * 8, 0, 'x' },
		{ "cut after the meta pages", 0, 0, 8192, 0 },
		{ "cut in the middle", 0, 0, 40960, 0 },
		{ "an empty file", 0, 0, 1, 0 },
		{ "every page but the meta pages", 8192, 200000, 0, 0xff },
		{ "pages of noise", 12288, 100000, 0, 0x5a },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct folder f = folder_make();
		struct table a = table_make(false);
		struct store *s = store_in(&f, 0, 1000000);
		char path[128];

		for (uint32_t n = 0; n < 5000; n++)
			put(&a, n, VT_TRIPLET, VT_WHITE, 99000);
		commit_all(s, &a);
		store_destroy(s);
		if (rows[i].octets > 0)
			damage(&f, rows[i].from, rows[i].octets, rows[i].value);
		snprintf(path, sizeof(path), "%s/greyline.mdb", f.path);
		if (rows[i].cut > 0)
			assert_int_equal(truncate(path, rows[i].cut), 0);
		mark_running(&f);
		s = store_in(&f, 0, 1000000);
		CHECK_EQ(rows[i].label, store_stats(s)->state, STORE_READY);
		CHECK_EQ(rows[i].label, store_stats(s)->set_aside, 1);
		verdict_table_dirty_all(&a.t);
		commit_all(s, &a);
		CHECK_EQ(rows[i].label, store_stats(s)->records_written, 5000);
		snprintf(path, sizeof(path), "%s/greyline.mdb.damaged", f.path);
		CHECK_EQ("the old one is there to be looked at", access(path, F_OK), 0);
		store_destroy(s);
		table_free(&a);
		folder_remove(&f);
	}
}

static void
count_option(void *arg, const char *name, const char *text)
{
	*(unsigned *)arg += strcmp(name, "mode") == 0 && strcmp(text, "soft") == 0;
}

/* What each of these databases holds beside its entries, and whether it does still. */
static void
put_option(struct store *s)
{
	CHECK_EQ("option", store_option_put(s, "mode", "soft", 1), 0);
}

static unsigned
has_option(struct store *s)
{
	unsigned n = 0;

	store_options(s, count_option, &n);
	return n;
}

/* Makes the file say that it has this layout. */
static void
layout_write(const struct folder *f, uint32_t layout)
{
	const struct schema_meta meta = { .schema = layout, .created_wall_s = 1 };
	uint8_t room[64];
	char path[128];
	MDB_val k = { .mv_size = strlen(SCHEMA_META_SCHEMA), .mv_data = (void *)(uintptr_t)SCHEMA_META_SCHEMA },
		v = { .mv_data = room };
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	snprintf(path, sizeof(path), "%s/greyline.mdb", f->path);
	v.mv_size = schema_meta_build(&meta, room, sizeof(room));
	CHECK_EQ("env", mdb_env_create(&env), 0);
	CHECK_EQ("dbs", mdb_env_set_maxdbs(env, 16), 0);
	CHECK_EQ("open", mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	CHECK_EQ("txn", mdb_txn_begin(env, NULL, 0, &txn), 0);
	CHECK_EQ("dbi", mdb_dbi_open(txn, schema_db_name(SCHEMA_DB_META), 0, &dbi), 0);
	CHECK_EQ("put", mdb_put(txn, dbi, &k, &v, 0), 0);
	CHECK_EQ("commit", mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

/* An option, and the entries of a where there is one, as a release with this layout left them. */
static void
database_of_layout(const struct folder *f, uint32_t layout, const struct table *a)
{
	struct store *s = store_in(f, 0, 100);

	if (a != NULL)
		commit_all(s, a);
	put_option(s);
	store_destroy(s);
	layout_write(f, layout);
}

/* Back to an older release: what the newer one wrote is kept under its own name, and no later damage takes its place. */
static void
test_store_of_a_newer_release_is_kept_aside(void **state)
{
	struct folder f = folder_make();
	struct store *s;
	char path[128], damaged[128];

	(void)state;
	database_of_layout(&f, 7, NULL);
	s = store_in(&f, 0, 100);
	CHECK_EQ("a new one begins", store_stats(s)->state, STORE_READY);
	CHECK_EQ("set aside", store_stats(s)->set_aside, 1);
	CHECK_EQ("with nothing of the old", has_option(s), 0);
	CHECK_TRUE("it is said why",
		strstr(store_stats(s)->note, "a newer release wrote it (layout 7, known here is 2)") != NULL);
	snprintf(damaged, sizeof(damaged), "%s/greyline.mdb.damaged", f.path);
	CHECK_TRUE("not as a damaged one", access(damaged, F_OK) != 0);
	snprintf(path, sizeof(path), "%s/greyline.mdb.layout-7", f.path);
	CHECK_EQ("by its layout", access(path, F_OK), 0);
	store_destroy(s);

	damage(&f, 0, 8192, 0xaa);
	s = store_in(&f, 0, 100);
	CHECK_EQ("the new one is damaged and set aside", store_stats(s)->set_aside, 1);
	CHECK_EQ("by a name of its own", access(damaged, F_OK), 0);
	store_destroy(s);
	snprintf(damaged, sizeof(damaged), "%s/greyline.mdb", f.path);
	CHECK_EQ("the newer release's is brought back", rename(path, damaged), 0);
	layout_write(&f, SCHEMA_VERSION);
	s = store_in(&f, 0, 100);
	CHECK_EQ("and whole", has_option(s), 1);
	store_destroy(s);
	folder_remove(&f);
}

/* Of the first layout the tags were other hashes: what stands under them goes once, what the operator said stays. */
static void
test_store_of_the_first_layout_keeps_what_means_the_same(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false), b = table_make(false), c = table_make(false);
	struct vt_counts n;
	struct store *s;

	(void)state;
	put(&a, 1, VT_TRIPLET, VT_WHITE, 99000);
	database_of_layout(&f, 1, &a);
	s = store_in(&f, 0, 100);
	CHECK_EQ("in use", store_stats(s)->state, STORE_READY);
	CHECK_EQ("not set aside", store_stats(s)->set_aside, 0);
	CHECK_TRUE("it is said", strstr(store_stats(s)->note, "layout 1 became layout 2") != NULL);
	load_all(s, &b);
	verdict_table_count(&b.t, &n);
	CHECK_EQ("entries are gone", n.used, 0);
	CHECK_EQ("the option is there", has_option(s), 1);
	put(&b, 2, VT_TRIPLET, VT_WHITE, 99000);
	commit_all(s, &b);
	store_destroy(s);

	s = store_in(&f, 0, 100); /* and only once */
	load_all(s, &c);
	verdict_table_count(&c.t, &n);
	CHECK_EQ("what was written since stays", n.white, 1);
	store_destroy(s);
	table_free(&a);
	table_free(&b);
	table_free(&c);
	folder_remove(&f);
}

/* A file that is not touched by a crash is used as it is. */
static void
test_store_sound_file_after_a_crash_is_kept(void **state)
{
	struct folder f = folder_make();
	struct store *s = store_in(&f, 0, 100);

	(void)state;
	put_option(s);
	store_destroy(s);
	mark_running(&f);
	s = store_in(&f, 0, 100);
	CHECK_EQ("not set aside", store_stats(s)->set_aside, 0);
	CHECK_EQ("what it held is there", has_option(s), 1);
	store_destroy(s);
	folder_remove(&f);
}

/* What is durable with its commit: triplets that passed, and completed handshakes. */
static enum vt_kind
killed_kind(uint32_t n)
{
	return n % 2 == 0 ? VT_TRIPLET : VT_TLS;
}

/* The writer is killed at random: the survivor finds a sound database that holds every WHITE of a finished commit. */
static void
test_store_killed_in_the_middle(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	struct folder f = folder_make();
	struct table a = table_make(true);
	volatile uint32_t *progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);

	(void)state;
	print_message("seed %u\n", seed);
	assert_true(progress != MAP_FAILED);
	for (unsigned round = 0; round < 12; round++) {
		struct table b;
		struct store *s;
		uint32_t committed;
		pid_t pid = fork();

		if (pid == 0) {
			s = store_in(&f, 0, 1000000);
			verdict_table_requeue_in_flight(&a.t);
			for (;;) {
				uint32_t first = progress[0];

				for (uint32_t i = 0; i < 50; i++) {
					const uint32_t n = (first + i) % 8000;
					const enum vt_kind kind = killed_kind(n);
					struct vt_entry old, e = { .tag = policy_tag(&key, kind, &n, sizeof(n)),
						.time_s = 99000,
						.kind_state = vt_kind_state(kind, VT_WHITE) };

					verdict_table_put(&a.t, verdict_table_find(&a.t, e.tag, &old) ? &old : NULL, &e,
						&ages, NULL);
				}
				store_commit(s, &a.t, now_us(), 1000000);
				progress[0] = first + 50;
			}
		}
		usleep(20000 + (unsigned)rand_r(&seed) % 60000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		committed = progress[0];
		s = store_in(&f, 0, 1000000);
		CHECK_EQ("sound", store_stats(s)->state, STORE_READY);
		CHECK_EQ("not set aside", store_stats(s)->set_aside, 0);
		b = table_make(false);
		load_all(s, &b);
		for (uint32_t n = 0; n < committed && n < 8000; n++) {
			struct vt_entry e;

			if (!verdict_table_find(&b.t, policy_tag(&key, killed_kind(n), &n, sizeof(n)), &e))
				fail_msg("round %u: WHITE %u of %u is lost", round, n, committed);
		}
		store_destroy(s);
		table_free(&b);
	}
	CHECK_TRUE("something was written", progress[0] > 0);
	munmap((void *)(uintptr_t)progress, 4096);
	table_free(&a);
	folder_remove(&f);
}

/* A small file system, full: the process of its own that has it ends with what went wrong, 0 for nothing, 77 where it may not mount. */
static int
start_on_a_full_disk(const struct folder *f)
{
	const struct store_params p = { .map_mb = 1, .map_max_mb = 4, .grey_per_s = 100, .why_entries = 100 };
	struct store *s;
	char path[128], page[4096] = { 0 };
	int fd;

	if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
		return 77;
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (mount("tmpfs", f->path, "tmpfs", 0, "size=256k,mode=0700") != 0)
		return 77;
	snprintf(path, sizeof(path), "%s/fill", f->path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, page, sizeof(page)) > 0)
		;
	close(fd);
	s = store_create(f->path, &p);
	if (s == NULL || store_stats(s)->state != STORE_OFF || store_stats(s)->error != ENOSPC)
		return 1;
	unlink(path);
	store_maintain(s, 60000000);
	if (store_stats(s)->state != STORE_READY || store_option_put(s, "mode", "soft", 1) != 0)
		return 2;
	store_destroy(s);
	return 0;
}

static void
test_store_starts_on_a_full_disk(void **state)
{
	struct folder f = folder_make();
	int status = 0;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(start_on_a_full_disk(&f));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	folder_remove(&f);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	CHECK_TRUE("not ended by a signal", WIFEXITED(status));
	CHECK_EQ("off, and ready when there is room", WEXITSTATUS(status), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_damaged_file_is_set_aside),
		cmocka_unit_test(test_store_of_a_newer_release_is_kept_aside),
		cmocka_unit_test(test_store_of_the_first_layout_keeps_what_means_the_same),
		cmocka_unit_test(test_store_sound_file_after_a_crash_is_kept),
		cmocka_unit_test(test_store_killed_in_the_middle),
		cmocka_unit_test(test_store_starts_on_a_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
