/*
 * world.h - everything one decision of policy needs: configuration, lists, a table, a question. Each test begins with a fresh one.
 */
#ifndef GREYLINE_TESTS_UNIT_POLICY_WORLD_H
#define GREYLINE_TESTS_UNIT_POLICY_WORLD_H

#include "tests/check.h"

#include "dataplane/policy/policy.h"

#define DAY_S   86400u
#define NOW_S   1000000u
#define BLOCK_S 240u
#define BUCKETS 256u

/* Everything one decision needs; each test begins with a fresh one. */
struct world {
	struct conf conf;
	struct conf_zone zones[2];
	struct verdict_table table;
	void *memory;
	struct source_budget_cell *budget;
	struct counters counters;
	struct policy_ctx ctx;
	struct policy_question q;
	struct policy_answer a;
	void *lists[8];
	unsigned n_lists;
};

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int world_setup(void **state);
int world_teardown(void **state);

/* Lists as a snapshot has them, freed with the world: names (values NULL: 1 each) end with NULL; of networks b may be NULL. */
const void *world_names(struct world *w, const char *const *list, const uint64_t *values);
const void *world_networks(struct world *w, const char *a, const char *b);

void from_client(struct world *w, const char *client);
struct client_verdict clean(void);

/* Asks w->q (at now_s); the answer stands in w->a. */
const struct policy_answer *rcpt(struct world *w);
const struct policy_answer *rcpt_at(struct world *w, uint32_t now_s);

uint64_t counted(const struct world *w, enum counter which);
uint64_t records(const struct world *w);

/* The first attempt, and the retry after the block. */
void make_white(struct world *w);

#define CHECK_ANSWER(label, w, want_verdict, want_rule, want_code)                                                     \
	do {                                                                                                           \
		CHECK_STR(label, policy_verdict_name((w)->a.verdict), policy_verdict_name(want_verdict));              \
		CHECK_STR(label, policy_rule_name((w)->a.rule), policy_rule_name(want_rule));                          \
		CHECK_EQ(label, (w)->a.code, want_code);                                                               \
	} while (0)

#endif
