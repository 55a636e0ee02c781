/*
 * test_source_table.c - sessions and connection rates of sources: against a model, at the limits, in full buckets, from several threads.
 */
#include "tests/check.h"

#include <pthread.h>
#include <stdlib.h>

#include "dataplane/table/source_table.h"

#define NOW_US UINT64_C(1000000000)
#define MINUTE SOURCE_RATE_PERIOD_US

static const struct siphash_key key = { 3, 4 };

static void
table_init(struct source_table *t, uint32_t n_cells)
{
	void *memory = aligned_alloc(128, n_cells * sizeof(struct source_cell));

	memset(memory, 0, n_cells * sizeof(struct source_cell));
	source_table_bind(t, memory, n_cells, &key);
}

static struct source_key
address(const struct source_table *t, uint32_t n)
{
	const struct ip_addr a = ip_addr_v4(n);

	return source_key_of(t, &a, false);
}

/* As a worker does: asks, then counts. */
static enum source_verdict
connect_at(struct source_table *t, struct source_key k, uint32_t sessions, uint32_t per_min, uint64_t now_us)
{
	const struct source_state s = source_table_look(t, k, now_us);
	const struct source_limits limits = { sessions, per_min };
	const enum source_verdict v = source_judge(&s, &limits);

	if (v == SOURCE_OK)
		CHECK_TRUE("a cell", source_table_enter(t, k, per_min, now_us));
	else
		source_table_refused(t, k);
	return v;
}

static void
test_sessions_are_refused_at_the_limit_and_again_welcome(void **state)
{
	struct source_table t;
	struct source_key a, net;
	const struct ip_addr as_address = ip_addr_v4(0xc0000200);

	(void)state;
	table_init(&t, 64);
	a = address(&t, 0xc0000200);
	net = source_key_of(&t, &as_address, true);
	CHECK_EQ("first", connect_at(&t, a, 2, 0, NOW_US), SOURCE_OK);
	CHECK_EQ("second", connect_at(&t, a, 2, 0, NOW_US), SOURCE_OK);
	CHECK_EQ("third", connect_at(&t, a, 2, 0, NOW_US), SOURCE_OVER_SESSIONS);
	CHECK_EQ("no limit", connect_at(&t, a, 0, 0, NOW_US), SOURCE_OK);
	CHECK_EQ("its refusals are told", source_table_look(&t, a, NOW_US).refused, 1);
	CHECK_EQ("a network is another source than the address of its octets",
		source_table_look(&t, net, NOW_US).sessions, 0);
	source_table_leave(&t, a);
	source_table_leave(&t, a);
	CHECK_EQ("one is left", source_table_look(&t, a, NOW_US).sessions, 1);
	CHECK_EQ("room again", connect_at(&t, a, 2, 0, NOW_US), SOURCE_OK);
	for (int i = 0; i < 5; i++)
		source_table_leave(&t, a);
	CHECK_EQ("never below nothing", source_table_look(&t, a, NOW_US).sessions, 0);
	free(t.cells);
}

static void
test_rate_lets_a_minutes_worth_in_at_once_and_then_its_pace(void **state)
{
	static const uint32_t rates[] = { 1, 7, 60, 1200, 59999 };
	struct source_table t;

	(void)state;
	table_init(&t, 64);
	for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
		const uint32_t rate = rates[i];
		const struct source_key a = address(&t, 0x0a000001 + (uint32_t)i);
		uint64_t now_us = NOW_US;
		uint32_t in = 0;

		while (connect_at(&t, a, 0, rate, now_us) == SOURCE_OK && in <= rate)
			in++;
		CHECK_EQ("the burst", in, rate);
		CHECK_EQ("and not one more", connect_at(&t, a, 0, rate, now_us + MINUTE / rate - 1), SOURCE_OVER_RATE);
		now_us += MINUTE / rate;
		CHECK_EQ("one more when it is paid for", connect_at(&t, a, 0, rate, now_us), SOURCE_OK);
		CHECK_EQ("again none", connect_at(&t, a, 0, rate, now_us), SOURCE_OVER_RATE);
		now_us += MINUTE;
		for (in = 0; connect_at(&t, a, 0, rate, now_us) == SOURCE_OK && in <= rate;)
			in++;
		CHECK_EQ("after a minute of silence the whole burst", in, rate);
	}
	free(t.cells);
}

static void
test_rate_over_any_hour_is_never_exceeded(void **state)
{
	struct source_table t;
	const uint32_t rate = 100;
	uint64_t now_us = NOW_US;
	uint32_t in = 0, asked = 0;
	struct source_key a;

	(void)state;
	table_init(&t, 64);
	a = address(&t, 1);
	srandom(5);
	while (now_us < NOW_US + 60 * MINUTE) {
		in += connect_at(&t, a, 0, rate, now_us) == SOURCE_OK;
		asked++;
		now_us += (uint64_t)random() % 200000;
	}
	CHECK_TRUE("it asked for far more", asked > 3 * 60 * rate);
	CHECK_TRUE("a burst and the pace", in <= 61 * rate + 1);
	CHECK_TRUE("and no less than the pace", in >= 60 * rate - 1);
	free(t.cells);
}

/* 48 bits of microseconds come round after nine years; a boot clock never gets there, but a number in shared memory may be any. */
static void
test_what_nobody_can_owe_is_not_owed(void **state)
{
	struct source_table t;
	struct source_key a;

	(void)state;
	table_init(&t, 64);
	a = address(&t, 1);
	CHECK_EQ("counted", connect_at(&t, a, 0, 60, NOW_US), SOURCE_OK);
	for (uint32_t i = 0; i < t.n_cells; i++)
		t.cells[i].due_us = t.cells[i].tag != 0 ? NOW_US + 100 * MINUTE : 0;
	CHECK_EQ("nothing", source_table_look(&t, a, NOW_US).owed_us, 0);
	CHECK_EQ("and it gets in", connect_at(&t, a, 0, 60, NOW_US), SOURCE_OK);
	CHECK_TRUE("time that seems to step back owes no more than two minutes",
		source_table_look(&t, a, NOW_US - 1).owed_us <= 2 * MINUTE);
	free(t.cells);
}

static void
test_full_buckets_keep_sessions_and_the_fastest(void **state)
{
	struct source_table t;
	uint32_t uncounted = 0;
	struct source_key fast;

	(void)state;
	table_init(&t, SOURCE_BUCKET_CELLS); /* all share one */
	fast = address(&t, 0x01010101);
	for (uint32_t i = 0; i < 50; i++)
		CHECK_EQ("fast", connect_at(&t, fast, 0, 60, NOW_US), SOURCE_OK);
	for (uint32_t i = 0; i < 50; i++)
		source_table_leave(&t, fast);
	for (uint32_t i = 0; i < 1000; i++) { /* a botnet that comes and goes */
		const struct source_key bot = address(&t, 0x0b000000 + i);

		CHECK_TRUE("room", source_table_enter(&t, bot, 60, NOW_US + i));
		source_table_leave(&t, bot);
	}
	CHECK_TRUE("who was fast is remembered", source_table_look(&t, fast, NOW_US + 1000).owed_us > 49 * MINUTE / 60);
	for (uint32_t i = 0; i < 20; i++) /* one that stays */
		uncounted += !source_table_enter(&t, address(&t, 0x0c000000 + i), 60, NOW_US);
	CHECK_EQ("beyond the cells nobody is counted", uncounted, 20 - SOURCE_BUCKET_CELLS);
	for (uint32_t i = 0; i < SOURCE_BUCKET_CELLS; i++)
		CHECK_EQ(
			"and nobody loses his", source_table_look(&t, address(&t, 0x0c000000 + i), NOW_US).sessions, 1);
	source_table_leave(&t, address(&t, 0x0c000000 + 19));
	CHECK_EQ("leaving without a cell takes nobody's",
		source_table_look(&t, address(&t, 0x0c000000), NOW_US).sessions, 1);
	free(t.cells);
}

static void
test_a_new_life_has_no_sessions_and_remembers_the_pace(void **state)
{
	struct source_table t;
	struct source_key a;

	(void)state;
	table_init(&t, 1024);
	a = address(&t, 7);
	for (uint32_t i = 0; i < 30; i++)
		CHECK_EQ("in", connect_at(&t, a, 0, 60, NOW_US), SOURCE_OK);
	source_table_forget_sessions(&t);
	CHECK_EQ("none is open", source_table_look(&t, a, NOW_US).sessions, 0);
	CHECK_EQ("half of the minute is used", source_table_look(&t, a, NOW_US).owed_us, MINUTE / 2);
	free(t.cells);
}

/* Two workers that met a new source at the same moment gave it a cell each: it is what both say, and each session is left once. */
static void
test_a_source_with_two_cells_is_what_both_say(void **state)
{
	struct source_table t;
	struct source_key a;
	struct source_cell *one, *other;

	(void)state;
	table_init(&t, SOURCE_BUCKET_CELLS);
	a = address(&t, 5);
	CHECK_EQ("in", connect_at(&t, a, 0, 60, NOW_US), SOURCE_OK);
	source_table_refused(&t, a);
	one = &t.cells[0];
	other = &t.cells[3];
	CHECK_TRUE("the first cell", one->tag != 0);
	*other = *one;
	other->sessions = 2;
	CHECK_EQ("sessions of both", source_table_look(&t, a, NOW_US).sessions, 3);
	CHECK_EQ("refusals of both", source_table_look(&t, a, NOW_US).refused, 2);
	CHECK_EQ("what both owe", source_table_look(&t, a, NOW_US).owed_us, 2 * MINUTE / 60);
	for (uint32_t left = 3; left-- > 0;) {
		source_table_leave(&t, a);
		CHECK_EQ("one less", source_table_look(&t, a, NOW_US).sessions, left);
	}
	free(t.cells);
}

/* Who is exempt pays and is not judged: what he owes is bounded, so that it is neither forgotten nor taken for an earlier round. */
static void
test_what_an_exempt_flood_owes_is_bounded(void **state)
{
	struct source_table t;
	struct source_key a;

	(void)state;
	table_init(&t, 64);
	a = address(&t, 6);
	for (uint32_t i = 0; i < 1000; i++)
		CHECK_TRUE("counted", source_table_enter(&t, a, 60, NOW_US));
	CHECK_EQ("two minutes and no more", source_table_look(&t, a, NOW_US).owed_us, 2 * MINUTE);
	CHECK_EQ("which is over the rate", connect_at(&t, a, 0, 60, NOW_US), SOURCE_OVER_RATE);
	CHECK_EQ("and is paid off", connect_at(&t, a, 0, 60, NOW_US + 2 * MINUTE), SOURCE_OK);
	free(t.cells);
}

static void
test_numbers_at_their_ends(void **state)
{
	const struct source_state new = { 0 };
	struct source_table t;
	struct source_key a;

	(void)state;
	table_init(&t, SOURCE_BUCKET_CELLS);
	a = address(&t, 8);
	CHECK_EQ("in", connect_at(&t, a, 0, 0, NOW_US), SOURCE_OK);
	CHECK_EQ("without a rate nothing is paid", source_table_look(&t, a, NOW_US).owed_us, 0);
	for (uint32_t i = 0; i < 70000; i++)
		source_table_refused(&t, a);
	CHECK_EQ("refusals stop at the top", source_table_look(&t, a, NOW_US).refused, 65535);
	t.cells[0].sessions = UINT32_MAX;
	CHECK_TRUE("a number that would come round is left alone", !source_table_enter(&t, a, 0, NOW_US));
	CHECK_EQ("as it was", t.cells[0].sessions, UINT32_MAX);
	CHECK_EQ("a rate beyond a microsecond's", source_judge(&new, &(struct source_limits){ 0, UINT32_MAX }),
		SOURCE_OK);
	CHECK_EQ("has a burst as any other",
		source_judge(&(struct source_state){ .owed_us = MINUTE / 2 }, &(struct source_limits){ 0, UINT32_MAX }),
		SOURCE_OK);
	source_table_refused(&t, address(&t, 9));
	CHECK_EQ("a refusal alone makes no cell", source_table_look(&t, address(&t, 9), NOW_US).refused, 0);
	free(t.cells);
}

/* Of both families, an address and its network are two; so are two addresses that differ in any half. */
static void
test_keys_tell_sources_apart(void **state)
{
	static const char *const texts[] = { "192.0.2.0", "192.0.2.1", "2001:db8::", "2001:db8::1", "2001:db8:0:1::" };
	uint64_t seen[2 * ARRAY_LEN(texts)];
	struct source_table t;
	uint32_t n = 0;

	(void)state;
	table_init(&t, 64);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		for (uint32_t network = 0; network < 2; network++) {
			struct ip_addr a;

			assert_int_equal(ip_addr_parse(texts[i], &a), 0);
			seen[n] = source_key_of(&t, &a, network).hash;
			for (uint32_t k = 0; k < n; k++)
				CHECK_TRUE(texts[i], seen[k] != seen[n]);
			n++;
		}
	free(t.cells);
}

#define MODEL_SLOTS 200

static void
test_sessions_agree_with_a_model(void **state)
{
	struct {
		uint32_t client;
		bool live;
	} slot[MODEL_SLOTS];
	const unsigned seed = 20261122;
	struct source_table t;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	memset(slot, 0, sizeof(slot));
	table_init(&t, 4096);
	for (int step = 0; step < 100000; step++) {
		const size_t i = (size_t)random() % MODEL_SLOTS;
		uint32_t same = 0;

		if (slot[i].live) {
			source_table_leave(&t, address(&t, slot[i].client));
			slot[i].live = false;
			continue;
		}
		slot[i].client = 0x0a000000u | (uint32_t)(random() % 40);
		for (size_t k = 0; k < MODEL_SLOTS; k++)
			same += slot[k].live && slot[k].client == slot[i].client;
		CHECK_EQ("count", source_table_look(&t, address(&t, slot[i].client), NOW_US).sessions, same);
		slot[i].live = connect_at(&t, address(&t, slot[i].client), 5, 0, NOW_US) == SOURCE_OK;
		CHECK_EQ("refused at five", slot[i].live, same < 5);
	}
	free(t.cells);
}

#define THREADS 4
#define ROUNDS  50000
#define SOURCES 3

static void *
thread_main(void *arg)
{
	struct source_table *t = arg;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		const struct source_key k = address(t, i % SOURCES);

		if (source_table_enter(t, k, 60000, NOW_US + i) && i % 2 == 0)
			source_table_leave(t, k);
	}
	return NULL;
}

/* Workers count together: nothing is lost, nobody has two cells. */
static void
test_threads_count_in_one_place(void **state)
{
	pthread_t thread[THREADS];
	struct source_table t;
	uint32_t cells = 0, sessions = 0;

	(void)state;
	table_init(&t, 64);
	for (uint32_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, thread_main, &t), 0);
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (uint32_t i = 0; i < t.n_cells; i++) {
		cells += t.cells[i].tag != 0;
		sessions += t.cells[i].sessions;
	}
	CHECK_TRUE("a cell for each source, two where they began at the same moment",
		cells >= SOURCES && cells <= SOURCES * 2);
	CHECK_EQ("every session that was entered and not left", sessions, THREADS * ROUNDS / 2);
	free(t.cells);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions_are_refused_at_the_limit_and_again_welcome),
		cmocka_unit_test(test_rate_lets_a_minutes_worth_in_at_once_and_then_its_pace),
		cmocka_unit_test(test_rate_over_any_hour_is_never_exceeded),
		cmocka_unit_test(test_what_nobody_can_owe_is_not_owed),
		cmocka_unit_test(test_full_buckets_keep_sessions_and_the_fastest),
		cmocka_unit_test(test_a_new_life_has_no_sessions_and_remembers_the_pace),
		cmocka_unit_test(test_a_source_with_two_cells_is_what_both_say),
		cmocka_unit_test(test_what_an_exempt_flood_owes_is_bounded),
		cmocka_unit_test(test_numbers_at_their_ends),
		cmocka_unit_test(test_keys_tell_sources_apart),
		cmocka_unit_test(test_sessions_agree_with_a_model),
		cmocka_unit_test(test_threads_count_in_one_place),
	};

	return cmocka_run_group_tests_name("source-table", tests, NULL, NULL);
}
