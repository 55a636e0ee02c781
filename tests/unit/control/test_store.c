/*
 * test_store.c - the database: what survives, what is loaded, and what happens when it is full or its folder cannot be used (PITFALLS 42).
 */
#include "tests/unit/control/store_play.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void
test_store_entries_survive_and_expired_ones_do_not(void **state)
{
	static const struct {
		const char *label;
		enum vt_kind kind;
		enum vt_state state;
		uint32_t time_s;
		bool back;
		uint32_t want_s;
	} rows[] = {
		{ "WHITE", VT_TRIPLET, VT_WHITE, 50000, true, 50000 },
		{ "WHITE, expired", VT_TRIPLET, VT_WHITE, 9999, false, 0 },
		{ "GREY", VT_TRIPLET, VT_GREY, 99000, true, 99000 },
		{ "GREY, expired", VT_TRIPLET, VT_GREY, 40000, false, 0 },
		{ "a time in the future is now", VT_TRIPLET, VT_WHITE, 200000, true, 100000 },
		{ "automatic allow", VT_AUTO, VT_NONE, 20000, true, 20000 },
		{ "client", VT_CLIENT, VT_NONE, 99990, true, 99990 },
		{ "trap", VT_TRAP, VT_NONE, 1, true, 1 },
		{ "a completed handshake", VT_TLS, VT_WHITE, 90000, true, 90000 },
		{ "a completed handshake, expired", VT_TLS, VT_WHITE, 9999, false, 0 },
		{ "a failed one", VT_TLS, VT_GREY, 99900, true, 99900 },
		{ "a failed one, expired", VT_TLS, VT_GREY, 99000, false, 0 },
	};
	struct folder f = folder_make();
	struct table a = table_make(false), b = table_make(false);
	struct store *s = store_in(&f, 0, 10000);
	struct siphash_key k;
	uint64_t tag[ARRAY_LEN(rows)];

	(void)state;
	CHECK_EQ("ready", store_stats(s)->state, STORE_READY);
	CHECK_EQ("no key yet", store_table_key(s, &k), -ENOENT);
	CHECK_EQ("key", store_table_key_put(s, &key), 0);
	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++)
		tag[i] = put(&a, i, rows[i].kind, rows[i].state, rows[i].time_s);
	commit_all(s, &a);
	store_destroy(s);
	s = store_in(&f, 0, 10000);
	CHECK_EQ("the key is kept", store_table_key(s, &k), 0);
	CHECK_TRUE("the key is kept", k.k0 == key.k0 && k.k1 == key.k1);
	load_all(s, &b);
	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct vt_entry e;

		CHECK_EQ(rows[i].label, verdict_table_find(&b.t, tag[i], &e), rows[i].back);
		if (!rows[i].back)
			continue;
		CHECK_EQ(rows[i].label, e.time_s, rows[i].want_s);
		CHECK_EQ(rows[i].label, e.aux, i);
		CHECK_EQ(rows[i].label, e.flags, 3);
		CHECK_EQ(rows[i].label, vt_state(&e), rows[i].state);
	}
	store_destroy(s);
	table_free(&a);
	table_free(&b);
	folder_remove(&f);
}

static void
test_store_live_table_knows_better_than_the_database(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false);
	struct store *s = store_in(&f, 0, 10000);
	struct vt_entry e;
	uint64_t tag;

	(void)state;
	put(&a, 1, VT_TRIPLET, VT_GREY, 99000);
	commit_all(s, &a);
	tag = put(&a, 1, VT_TRIPLET, VT_WHITE, 99500);
	load_all(s, &a);
	CHECK_TRUE("there", verdict_table_find(&a.t, tag, &e));
	CHECK_EQ("the newer one", vt_state(&e), VT_WHITE);
	store_destroy(s);
	table_free(&a);
	folder_remove(&f);
}

static void
test_store_grey_has_a_rate_and_white_has_none(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false), b = table_make(false);
	struct store *s = store_in(&f, 0, 100);
	struct vt_counts n;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		put(&a, i, VT_TRIPLET, VT_GREY, 99000);
	for (uint32_t i = 1000; i < 2000; i++)
		put(&a, i, VT_TRIPLET, VT_WHITE, 99000);
	store_commit(s, &a.t, 1000000, 1000000);
	load_all(s, &b);
	verdict_table_count(&b.t, &n);
	CHECK_EQ("every WHITE", n.white, 1000);
	CHECK_TRUE("some GREY", n.grey >= 1 && n.grey <= 100);
	for (unsigned i = 1; i <= 20; i++) /* virtual seconds */
		store_commit(s, &a.t, 1000000 + i * 1000000u, 1000000);
	load_all(s, &b);
	verdict_table_count(&b.t, &n);
	CHECK_EQ("all of them in time", n.grey, 1000);
	store_destroy(s);
	table_free(&a);
	table_free(&b);
	folder_remove(&f);
}

static void
test_store_grows_a_tiny_map(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false), b = table_make(false);
	struct store *s = store_in(&f, 32768, 1000000);
	struct vt_counts n;

	(void)state;
	CHECK_EQ("ready", store_stats(s)->state, STORE_READY);
	for (uint32_t i = 0; i < 10000; i++)
		put(&a, i, VT_TRIPLET, VT_WHITE, 99000);
	commit_all(s, &a);
	CHECK_TRUE("grown", store_stats(s)->grown > 0);
	load_all(s, &b);
	verdict_table_count(&b.t, &n);
	CHECK_EQ("everything is there", n.white, 10000);
	store_destroy(s);
	table_free(&a);
	table_free(&b);
	folder_remove(&f);
}

/* The map may not grow: writes are refused and counted, nothing else happens, and dirty buckets are not lost. */
static void
test_store_full_map_refuses_and_recovers(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false), b = table_make(false);
	struct store_params p = {
		.map_mb = 1, .map_octets = 131072, .map_max_mb = 0, .grey_per_s = 1000000, .why_entries = 10
	};
	struct store *s = store_create(f.path, &p);
	struct vt_counts n;

	(void)state;
	for (uint32_t i = 0; i < 10000; i++)
		put(&a, i, VT_TRIPLET, VT_WHITE, 99000);
	commit_all(s, &a);
	CHECK_EQ("refusing", store_stats(s)->state, STORE_REFUSING);
	CHECK_TRUE("counted", store_stats(s)->failures > 0);
	CHECK_EQ("not asked again at once", store_commit(s, &a.t, now_us(), 1000), 0);
	store_destroy(s);
	p.map_max_mb = 64;
	s = store_create(f.path, &p);
	verdict_table_requeue_in_flight(&a.t);
	commit_all(s, &a);
	CHECK_EQ("ready", store_stats(s)->state, STORE_READY);
	load_all(s, &b);
	verdict_table_count(&b.t, &n);
	CHECK_EQ("nothing was lost", n.white, 10000);
	store_destroy(s);
	table_free(&a);
	table_free(&b);
	folder_remove(&f);
}

/* A file that must not grow, as on a full disk. */
static void
test_store_full_disk_costs_durability_alone(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false);
	struct store *s = store_in(&f, 0, 1000000);
	struct rlimit before, tight;
	struct vt_counts n;

	(void)state;
	store_table_key_put(s, &key);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	tight = before;
	tight.rlim_cur = 65536;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	for (uint32_t i = 0; i < 10000; i++)
		put(&a, i, VT_TRIPLET, VT_WHITE, 99000);
	store_commit(s, &a.t, now_us(), 1000000);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	CHECK_TRUE("refusing", store_stats(s)->state == STORE_REFUSING && store_stats(s)->error != 0);
	verdict_table_count(&a.t, &n);
	CHECK_EQ("memory is as it was", n.white, 10000);
	store_maintain(s, now_us());
	commit_all(s, &a);
	CHECK_EQ("room again: ready", store_stats(s)->state, STORE_READY);
	store_destroy(s);
	table_free(&a);
	folder_remove(&f);
}

static void
test_store_unusable_folder_is_off_and_comes_back(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false);
	struct store_params p = { .map_mb = 4, .map_max_mb = 16, .grey_per_s = 100, .why_entries = 10 };
	char path[128];
	struct store *s;
	struct siphash_key k;

	(void)state;
	snprintf(path, sizeof(path), "%s/later", f.path);
	s = store_create(path, &p);
	CHECK_EQ("off", store_stats(s)->state, STORE_OFF);
	CHECK_EQ("no key", store_table_key(s, &k), -EIO);
	put(&a, 1, VT_TRIPLET, VT_WHITE, 99000);
	CHECK_EQ("a commit is nothing", store_commit(s, &a.t, now_us(), 1000), 0);
	store_why_add(s, 5, &(struct schema_why){ .verdict = VERDICT_REJECT });
	CHECK_EQ("an option is not kept", store_option_put(s, "mode", "soft", 1) != 0, 1);
	assert_int_equal(mkdir(path, 0700), 0);
	CHECK_TRUE("comes back", store_maintain(s, now_us() + 60000000));
	CHECK_EQ("ready", store_stats(s)->state, STORE_READY);
	store_destroy(s);
	table_free(&a);
	snprintf(path, sizeof(path), "%s/later/greyline.mdb", f.path);
	unlink(path);
	snprintf(path, sizeof(path), "%s/later/greyline.mdb-lock", f.path);
	unlink(path);
	snprintf(path, sizeof(path), "%s/later", f.path);
	rmdir(path);
	folder_remove(&f);
}

static bool
count_name(void *arg, const struct store_name *name)
{
	unsigned *n = arg;

	(void)name;
	(*n)++;
	return *n < 1000;
}

static void
test_store_names(void **state)
{
	struct folder f = folder_make();
	struct store *s = store_in(&f, 0, 100);
	struct ip_addr net = ip_addr_v4(0xc0000200);
	struct store_name name;
	uint64_t tag = UINT64_C(0x123456789a000001), got;
	unsigned n = 0;

	(void)state;
	store_name_add(s, VT_TRIPLET, tag, &net, 5, "a@b.example", 11, "c@d.example", 11);
	store_name_add(s, VT_TRIPLET, tag, &net, 6, "x", 1, "y", 1);
	store_name_add(s, VT_TRIPLET, tag + 1, &net, 5, "", 0, "z@d.example", 11);
	store_name_add(s, VT_CLIENT, tag + 2, &net, 5, "", 0, "", 0);
	CHECK_EQ("found before any commit", store_name(s, VT_TRIPLET, tag, &name), 0);
	CHECK_STR("the first name stays", name.sender, "a@b.example");
	CHECK_STR("recipient", name.rcpt, "c@d.example");
	CHECK_EQ("by reference", store_entry_by_ref(s, VT_TRIPLET, tag >> 24, &got), 0);
	CHECK_EQ("by reference", got == tag, 1);
	CHECK_EQ("another reference", store_entry_by_ref(s, VT_TRIPLET, (tag >> 24) + 1, &got), -ENOENT);
	CHECK_EQ("all of a kind", store_names(s, VT_TRIPLET, 0, 100, count_name, &n), 0);
	CHECK_EQ("all of a kind", n, 2);
	n = 0;
	CHECK_EQ("with a cap", store_names(s, VT_TRIPLET, 0, 1, count_name, &n), 1);
	n = 0;
	store_names(s, VT_TRIPLET, tag, 100, count_name, &n);
	CHECK_EQ("after one", n, 1);
	CHECK_EQ("removed", store_entry_remove(s, VT_TRIPLET, tag), 0);
	CHECK_EQ("gone", store_name(s, VT_TRIPLET, tag, &name), -ENOENT);
	store_destroy(s);
	folder_remove(&f);
}

/* A flood of names is no faster on disk than a flood of GREY records; what is left out is counted. */
static void
test_store_names_have_the_rate_of_grey(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false);
	struct store *s = store_in(&f, 0, 10);
	struct ip_addr net = ip_addr_v4(0xc0000200);
	uint64_t now = 1000000;
	unsigned n = 0;

	(void)state;
	store_commit(s, &a.t, now, 1000000);
	for (uint32_t i = 1; i <= 500; i++)
		store_name_add(s, VT_TRIPLET, i, &net, 5, "a", 1, "b", 1);
	CHECK_EQ("a burst of ten seconds", store_stats(s)->queued_names, 100);
	CHECK_EQ("the rest is counted", store_stats(s)->names_lost, 400);
	for (unsigned second = 0; second < 3; second++) {
		now += 1000000;
		while (store_commit(s, &a.t, now, 1000000))
			;
		for (uint32_t i = 1; i <= 500; i++)
			store_name_add(s, VT_TRIPLET, 1000 * (second + 1) + i, &net, 5, "a", 1, "b", 1);
	}
	CHECK_EQ("then as many as the rate", store_stats(s)->names_lost, 400 + 3 * 490);
	CHECK_EQ("stored", store_names(s, VT_TRIPLET, 0, 2000, count_name, &n), 0);
	CHECK_EQ("stored", n, 130);
	store_destroy(s);
	table_free(&a);
	folder_remove(&f);
}

static void
test_store_sweep_removes_what_memory_has_not(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false);
	struct store *s = store_in(&f, 0, 1000000);
	struct ip_addr net = ip_addr_v4(0xc0000200);
	struct vt_entry e;
	struct store_name name;
	uint64_t tag = 0, kept = 0;

	(void)state;
	for (uint32_t i = 0; i < 100; i++) {
		tag = put(&a, i, VT_TRIPLET, VT_WHITE, 99000);
		kept = i == 0 ? tag : kept;
		store_name_add(s, VT_TRIPLET, tag, &net, 5, "a", 1, "b", 1);
	}
	commit_all(s, &a);
	CHECK_TRUE("there", verdict_table_find(&a.t, tag, &e) && verdict_table_remove(&a.t, &e));
	for (unsigned i = 0; i < 20; i++)
		store_sweep_step(s, &a.t, &ages, 30);
	CHECK_EQ("entry and name", store_stats(s)->records_removed, 2);
	CHECK_EQ("gone", store_name(s, VT_TRIPLET, tag, &name), -ENOENT);
	CHECK_EQ("kept", store_name(s, VT_TRIPLET, kept, &name), 0);
	store_destroy(s);
	table_free(&a);
	folder_remove(&f);
}

static void
test_store_rejects_are_bounded(void **state)
{
	struct folder f = folder_make();
	struct table a = table_make(false);
	struct store *s = store_in(&f, 0, 100);
	char room[SCHEMA_VALUE_MAX_OCTETS], text[32];
	struct schema_why w;

	(void)state;
	for (uint64_t i = 0; i < 250; i++) {
		struct schema_why in = { .verdict = VERDICT_REJECT, .rule = RULE_CLIENT, .score = 5, .wall_s = i };

		snprintf(text, sizeof(text), "sender%u@example.org", (unsigned)i);
		in.from = schema_text_of(text);
		in.reply = schema_text_of("554 5.7.1 no");
		store_why_add(s, i, &in);
	}
	commit_all(s, &a);
	CHECK_EQ("the newest", store_why(s, 249, &w, room), 0);
	CHECK_TRUE("whole", w.from.len_octets == 21 && memcmp(w.from.ptr, "sender249@example.org", 21) == 0);
	CHECK_EQ("rule", w.rule, RULE_CLIENT);
	CHECK_EQ("the oldest that is kept", store_why(s, 150, &w, room), 0);
	CHECK_EQ("the one before it", store_why(s, 149, &w, room), -ENOENT);
	store_why_add(s, 150, &(struct schema_why){ .verdict = VERDICT_REJECT, .rule = RULE_DENIED });
	CHECK_EQ("the same reference again", store_why(s, 150, &w, room), 0);
	CHECK_EQ("the newer one", w.rule, RULE_DENIED);
	store_destroy(s);
	s = store_in(&f, 0, 100);
	CHECK_EQ("after a restart", store_why(s, 249, &w, room), 0);
	store_why_add(s, 1000, &(struct schema_why){ .verdict = VERDICT_REJECT });
	CHECK_EQ("one more", store_why(s, 1000, &w, room), 0);
	CHECK_EQ("the oldest went", store_why(s, 151, &w, room), -ENOENT);
	store_destroy(s);
	table_free(&a);
	folder_remove(&f);
}

static void
take_option(void *arg, const char *name, const char *text)
{
	char *all = arg;

	strcat(strcat(strcat(strcat(all, name), "="), text), ";");
}

static void
take_client(void *arg, const char *name, char list, const char *note, uint64_t wall_s)
{
	char *all = arg;

	(void)wall_s;
	sprintf(all + strlen(all), "%s %c %s;", name, list, note);
}

static void
take_backend(void *arg, const struct backend_state *b)
{
	*(struct backend_state *)arg = *b;
}

static void
test_store_options_clients_backends_figures(void **state)
{
	struct folder f = folder_make();
	struct store *s = store_in(&f, 0, 100);
	struct backend_state b = { .id = 7,
		.health = BACKEND_UP,
		.probed = 1,
		.ext = EXT_PIPELINING | EXT_SIZE,
		.size_octets = 40000000,
		.words = "250 ok" },
			     back;
	char all[512] = "", figures[16];

	(void)state;
	CHECK_EQ("option", store_option_put(s, "greylist.block", "10s", 1), 0);
	CHECK_EQ("option", store_option_put(s, "mode", "soft", 1), 0);
	CHECK_EQ("removed", store_option_remove(s, "mode"), 0);
	CHECK_EQ("not there", store_option_remove(s, "mode"), -ENOENT);
	CHECK_EQ("client", store_client_put(s, "192.0.2.0/24", 'd', "a note", 1), 0);
	CHECK_EQ("backend", store_backend_put(s, &b), 0);
	CHECK_EQ("figures", store_figures_put(s, "0123456789", 10), 0);
	store_destroy(s);
	s = store_in(&f, 0, 100);
	store_options(s, take_option, all);
	CHECK_STR("options", all, "greylist.block=10s;");
	all[0] = '\0';
	store_clients(s, take_client, all);
	CHECK_STR("clients", all, "192.0.2.0/24 d a note;");
	store_backends(s, take_backend, &back);
	CHECK_TRUE("backend", back.id == 7 && back.health == BACKEND_UP && back.size_octets == 40000000 &&
				      strcmp(back.words, "250 ok") == 0);
	CHECK_EQ("figures", store_figures(s, figures, sizeof(figures)), 10);
	CHECK_EQ("no room", store_figures(s, figures, 5), 0);
	CHECK_EQ("client removed", store_client_remove(s, "192.0.2.0/24"), 0);
	CHECK_EQ("client not there", store_client_remove(s, "192.0.2.0/24"), -ENOENT);
	CHECK_EQ("a miss is no failure", store_stats(s)->state, STORE_READY);
	store_destroy(s);
	folder_remove(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_entries_survive_and_expired_ones_do_not),
		cmocka_unit_test(test_store_live_table_knows_better_than_the_database),
		cmocka_unit_test(test_store_grey_has_a_rate_and_white_has_none),
		cmocka_unit_test(test_store_grows_a_tiny_map),
		cmocka_unit_test(test_store_full_map_refuses_and_recovers),
		cmocka_unit_test(test_store_full_disk_costs_durability_alone),
		cmocka_unit_test(test_store_unusable_folder_is_off_and_comes_back),
		cmocka_unit_test(test_store_names),
		cmocka_unit_test(test_store_names_have_the_rate_of_grey),
		cmocka_unit_test(test_store_sweep_removes_what_memory_has_not),
		cmocka_unit_test(test_store_rejects_are_bounded),
		cmocka_unit_test(test_store_options_clients_backends_figures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
