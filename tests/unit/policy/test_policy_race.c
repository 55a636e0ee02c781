/*
 * test_policy_race.c - four threads judge the same few triplets at once: answers stay right, the table stays whole.
 */
#include "tests/check.h"

#include <pthread.h>
#include <stdlib.h>

#include "dataplane/policy/policy.h"
#include "dataplane/table/name_set.h"

#define THREADS  4
#define ROUNDS   20000
#define TRIPLETS 16
#define BUCKETS  64u
#define BLOCK_S  240u

struct shared {
	struct conf conf;
	struct verdict_table table;
	struct source_budget_cell *budget;
	void *domains;
};

struct thread {
	struct shared *shared;
	struct counters counters;
	unsigned number, wrong;
	pthread_t id;
};

static void *
judge(void *arg)
{
	struct thread *t = arg;
	const struct policy_ctx ctx = { .conf = &t->shared->conf,
		.domains = t->shared->domains,
		.table = &t->shared->table,
		.budget = t->shared->budget,
		.counters = &t->counters };
	uint64_t seed = 99 + t->number;

	for (unsigned i = 0; i < ROUNDS; i++) {
		char from[32];
		struct policy_question q = { .client = ip_addr_v4(0xc0000200),
			.helo = "x",
			.ptr_name = "",
			.from = from,
			.rcpt = "bob@example.org",
			.now_s = 1000000 + i / 10 };
		struct policy_answer a;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		snprintf(from, sizeof(from), "%c@sender.example", 'a' + (int)(seed >> 33) % TRIPLETS);
		q.verdict =
			(struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
		policy_rcpt(&ctx, &q, &a, NULL, NULL);
		t->wrong += a.rule != RULE_GREYLIST;
		t->wrong += a.verdict == VERDICT_DEFER && (a.wait_s < 1 || a.wait_s > BLOCK_S);
		t->wrong += a.verdict != VERDICT_DEFER && a.verdict != VERDICT_PASS;
		if (a.verdict == VERDICT_PASS && (seed >> 20 & 3) == 0)
			policy_undo(&ctx, &a);
		if ((seed >> 22 & 7) == 0)
			policy_message(&ctx, &q, (seed >> 25 & 1) != 0);
		if ((seed >> 26 & 15) == 0)
			policy_client_store(&ctx, &q.client, &q.verdict, q.now_s);
	}
	return NULL;
}

static void
test_policy_threads_on_the_same_records(void **state)
{
	const struct name_set_entry domain = { .name = "example.org", .len_octets = 11, .value = 1 };
	const size_t octets = (verdict_table_octets(BUCKETS) + 63) / 64 * 64, set_octets = name_set_octets(&domain, 1);
	struct thread *threads = calloc(THREADS, sizeof(*threads));
	struct shared *shared = calloc(1, sizeof(*shared));
	void *memory = aligned_alloc(64, octets);
	const struct siphash_key key = { 3, 4 };
	uint64_t judged = 0, passed = 0, deferred = 0;
	char why[256] = "";

	(void)state;
	assert_non_null(threads);
	assert_non_null(shared);
	assert_non_null(memory);
	memset(memory, 0, octets);
	verdict_table_bind(&shared->table, memory, BUCKETS, &key);
	shared->budget = calloc(SOURCE_BUDGET_CELLS, sizeof(*shared->budget));
	shared->domains = aligned_alloc(64, (set_octets + 63) / 64 * 64);
	assert_true(name_set_build(shared->domains, set_octets, &domain, 1, 5) > 0);
	shared->conf = (struct conf){ .mode = MODE_ENFORCE,
		.grey_block_s = BLOCK_S,
		.grey_pass_s = 21600,
		.grey_expire_s = 3000000,
		.grey_lapse_memory_s = 604800,
		.grey_window_max_s = 345600,
		.grey_auto_after = 0,
		.grey_source_budget = 1000000,
		.dnsbl_reject_threshold = 5,
		.dnsbl_grey_threshold = 1,
		.client_fresh_s = 43200,
		.trap_s = 86400 };
	for (unsigned i = 0; i < THREADS; i++) {
		threads[i].shared = shared;
		threads[i].number = i;
		assert_int_equal(pthread_create(&threads[i].id, NULL, judge, &threads[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i].id, NULL);
		CHECK_EQ("answers that cannot be", threads[i].wrong, 0);
		judged += counter_read(&threads[i].counters, CTR_policy_judged);
		passed += counter_read(&threads[i].counters, CTR_policy_passed);
		deferred += counter_read(&threads[i].counters, CTR_policy_deferred);
		/* giving up is allowed, but is our own failure: let through and counted, never lost */
		CHECK_TRUE("given up hardly ever",
			counter_read(&threads[i].counters, CTR_policy_state_failed) < ROUNDS / 100);
	}
	CHECK_EQ("each judged once", judged, THREADS * ROUNDS);
	CHECK_EQ("each answered once", passed + deferred, THREADS * ROUNDS);
	CHECK_EQ(why, verdict_table_check(&shared->table, why, sizeof(why)), 0);
	free(shared->domains);
	free(shared->budget);
	free(memory);
	free(shared);
	free(threads);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_policy_threads_on_the_same_records) };

	return cmocka_run_group_tests_name("policy_race", tests, NULL, NULL);
}
