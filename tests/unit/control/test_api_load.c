/*
 * test_api_load.c - greyline-control as a process with a database to load: what is shown meanwhile, a kill in the middle, a database that comes late.
 *
 * The program's path is the first argument.
 */
#include "tests/unit/control/daemon_play.h"

#include <lmdb.h>
#include <time.h>

#include "dataplane/table/verdict_table.h"
#include "lmdb-schema/key.h"
#include "lmdb-schema/record.h"

/* Records straight into the database, every tenth WHITE. */
static void
fill_database(const struct daemon *d, uint32_t n)
{
	const uint32_t now_s = (uint32_t)time(NULL);
	char path[128];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	snprintf(path, sizeof(path), "%s/state/greyline.mdb", d->dir);
	CHECK_EQ("env", mdb_env_create(&env), 0);
	CHECK_EQ("dbs", mdb_env_set_maxdbs(env, 16), 0);
	CHECK_EQ("map", mdb_env_set_mapsize(env, UINT64_C(1) << 30), 0);
	CHECK_EQ("open", mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOSYNC, 0600), 0);
	CHECK_EQ("txn", mdb_txn_begin(env, NULL, 0, &txn), 0);
	CHECK_EQ("dbi", mdb_dbi_open(txn, schema_db_name(SCHEMA_DB_ENTRIES), 0, &dbi), 0);
	CHECK_EQ("empty", mdb_drop(txn, dbi, 0), 0);
	for (uint32_t i = 1; i <= n; i++) {
		const struct schema_entry e = { .state = i % 10 == 0 ? VT_WHITE : VT_GREY, .time_s = now_s };
		uint8_t key[SCHEMA_ENTRY_KEY_OCTETS], value[64];
		MDB_val k = { .mv_data = key,
			.mv_size = schema_entry_key_build(key, VT_TRIPLET, i * (UINT64_MAX / n)) };
		MDB_val v = { .mv_data = value, .mv_size = schema_entry_build(&e, value, sizeof(value)) };

		CHECK_EQ("put", mdb_put(txn, dbi, &k, &v, MDB_APPEND), 0);
	}
	CHECK_EQ("commit", mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
start_cold(struct daemon *d)
{
	if (d->segment[0] != '\0') {
		char *slash = strrchr(d->segment, '/');

		*slash = '\0';
		remove_tree(d->segment);
		*slash = '/';
	}
	d->pid = run(d);
	connect_to(d);
}

/* While it loads, status says how far it is and how long it will take; killed then, the next life loads all. */
static void
test_api_loading_is_shown_and_survives_a_kill(void **state)
{
	struct daemon d;
	json_t *j, *table;
	bool seen = false;
	uint32_t n = 300000;
	double last = -1;

	(void)state;
	daemon_start(&d, "");
	daemon_ask_segment(&d);
	j = ask_line(&d, "{\"cmd\":\"status\"}");
	CHECK_STR("nothing to load", value_at(j, "result/table/loading"), "false");
	CHECK_TRUE("nothing is said of it",
		json_object_get(json_object_get(json_object_get(j, "result"), "table"), "loading_share") == NULL);
	json_decref(j);
	for (unsigned tries = 0; !seen && tries < 6; tries++, n *= 2) { /* a machine may be done before it answers */
		d.entries = n * 2;
		write_config(&d, "");
		close(d.fd);
		kill(d.pid, SIGTERM);
		daemon_wait(&d);
		fill_database(&d, n);
		start_cold(&d);
		for (;;) {
			double share, left_s;

			j = ask_line(&d, "{\"cmd\":\"status\"}");
			table = json_object_get(json_object_get(j, "result"), "table");
			if (!json_is_true(json_object_get(table, "loading"))) {
				json_decref(j);
				break;
			}
			share = json_number_value(json_object_get(table, "loading_share"));
			left_s = json_number_value(json_object_get(table, "loading_left_s"));
			CHECK_TRUE("a share", share >= 0 && share < 1 && share >= last);
			CHECK_TRUE("a time", left_s > 0 && left_s < 600);
			CHECK_EQ("of", json_integer_value(json_object_get(table, "loading_of")), n);
			/* all that is loaded is there, and nothing else: the first tenth is WHITE */
			CHECK_TRUE("as much as it says",
				json_integer_value(json_object_get(table, "used")) ==
					json_integer_value(json_object_get(table, "loading_records")));
			if (share > 0.2)
				CHECK_EQ("WHITE came first", json_integer_value(json_object_get(table, "white")),
					n / 10);
			seen = share > 0.2;
			last = share;
			json_decref(j);
			if (seen)
				break;
		}
		if (seen)
			break;
		last = -1;
	}
	CHECK_TRUE("it was seen to load", seen);
	kill(d.pid, SIGKILL);
	daemon_wait(&d);
	close(d.fd);
	d.pid = run(&d); /* with the segment as it was left */
	connect_to(&d);
	for (unsigned i = 0; i < 600; i++) {
		j = ask_line(&d, "{\"cmd\":\"status\"}");
		seen = strcmp(value_at(j, "result/table/loading"), "false") == 0;
		if (seen)
			CHECK_EQ("all of them", (uint32_t)atoi(value_at(j, "result/table/used")), n);
		json_decref(j);
		if (seen)
			break;
		usleep(50000);
	}
	CHECK_TRUE("loaded", seen);
	daemon_end(&d);
}

static bool
wait_for(struct daemon *d, const char *line, const char *path, const char *want)
{
	for (unsigned i = 0; i < 400; i++) {
		json_t *j = ask_line(d, line);
		const bool is = strcmp(value_at(j, path), want) == 0;

		json_decref(j);
		if (is)
			return true;
		usleep(50000);
	}
	return false;
}

/*
 * The database cannot be opened when a machine comes up (here a folder stands in its place; a late mount, wrong permissions): mail is judged from
 * memory, an alarm says so, and when it can be opened all it has counts again. It is never begun anew for that.
 */
static void
test_api_database_that_comes_late_is_the_truth(void **state)
{
	static const char show[] = "{\"cmd\":\"grey show\",\"args\":{\"client\":\"198.51.100.1\",\"sender\":"
				   "\"a@b.example\",\"recipient\":\"c@example.org\"}}";
	char mdb[128], away[128];
	struct daemon d;

	(void)state;
	daemon_start(&d, "");
	daemon_ask_segment(&d);
	check(&d,
		"{\"cmd\":\"grey pass\",\"args\":{\"client\":\"198.51.100.1\",\"sender\":\"a@b.example\",\"recipient\":"
		"\"c@example.org\"}}",
		"result/state", "white");
	check(&d, "{\"cmd\":\"client deny\",\"args\":{\"client\":\"192.0.2.0/24\"}}", "ok", "true");
	check(&d, "{\"cmd\":\"set\",\"args\":{\"option\":\"greylist.block\",\"value\":\"77s\"}}", "ok", "true");
	close(d.fd);
	kill(d.pid, SIGTERM);
	CHECK_EQ("ends in order", daemon_wait(&d), 0);

	snprintf(mdb, sizeof(mdb), "%s/state/greyline.mdb", d.dir);
	snprintf(away, sizeof(away), "%s/away", d.dir);
	assert_int_equal(rename(mdb, away), 0);
	assert_int_equal(mkdir(mdb, 0700), 0);
	start_cold(&d);
	check(&d, "{\"cmd\":\"status\"}", "result/store/state", "off");
	check(&d, show, "error/code", "not-found");
	check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"198.51.100.9\"}}", "result/wait_s", "240");

	assert_int_equal(rmdir(mdb), 0);
	assert_int_equal(rename(away, mdb), 0);
	CHECK_TRUE("opened within seconds", wait_for(&d, "{\"cmd\":\"status\"}", "result/store/state", "ready"));
	CHECK_TRUE("what was WHITE is", wait_for(&d, show, "result/state", "white"));
	check(&d, "{\"cmd\":\"status\"}", "result/table/loading", "false");
	check(&d, "{\"cmd\":\"config\",\"args\":{\"option\":\"greylist.block\"}}", "result/options/0/value", "77s");
	check(&d, "{\"cmd\":\"explain\",\"args\":{\"client\":\"192.0.2.1\"}}", "result/rule", "6");
	check(&d, "{\"cmd\":\"db stats\"}", "result/tables/clients", "1");
	sleep(2); /* the sweep has been by, and removed nothing */
	check(&d, "{\"cmd\":\"db stats\"}", "result/tables/entries", "1");
	daemon_end(&d);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_api_loading_is_shown_and_survives_a_kill),
		cmocka_unit_test(test_api_database_that_comes_late_is_the_truth),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: test_api_load GREYLINE-CONTROL\n");
		return 2;
	}
	daemon_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
