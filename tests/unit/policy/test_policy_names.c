/*
 * test_policy_names.c - what lists of names (HELO, the sender's domain) do to a recipient's verdict: POLICY sections 2 and 4.
 */
#include "tests/check.h"

#include <stdlib.h>

#include "dataplane/policy/client.h"
#include "dataplane/policy/policy.h"
#include "dataplane/table/name_set.h"

#define NOW_S   1000000u
#define BLOCK_S 240u
#define BUCKETS 64u

enum { ZONE_CLIENTS, ZONE_HELO, ZONE_SENDER, ZONES };

struct world {
	struct conf conf;
	struct conf_zone zones[ZONES];
	struct verdict_table table;
	void *memory;
	struct counters counters;
	struct policy_ctx ctx;
	struct policy_question q;
	struct policy_answer a;
	_Alignas(64) uint8_t domains[1024];
};

static int
setup(void **state)
{
	static const struct name_set_entry ours = { .name = "example.org", .len_octets = 11, .value = 1 };
	const size_t octets = (verdict_table_octets(BUCKETS) + 63) / 64 * 64;
	const struct siphash_key key = { 1, 2 };
	struct world *w = aligned_alloc(64, sizeof(*w));

	assert_non_null(w);
	memset(w, 0, sizeof(*w));
	w->conf = (struct conf){
		.mode = MODE_ENFORCE,
		.ptr_missing = EFFECT_REJECT,
		.grey_block_s = BLOCK_S,
		.grey_pass_s = 21600,
		.grey_expire_s = 36 * 86400,
		.grey_lapse_memory_s = 7 * 86400,
		.grey_window_max_s = 4 * 86400,
		.grey_auto_after = 1,
		.dnsbl_reject_threshold = 5,
		.dnsbl_grey_threshold = 1,
		.helo_weight_max = 4,
		.sender_weight_max = 4,
		.client_fresh_s = 43200,
	};
	snprintf(w->zones[ZONE_CLIENTS].name, sizeof(w->zones[0].name), "bl.example");
	snprintf(w->zones[ZONE_HELO].name, sizeof(w->zones[0].name), "helo.example");
	snprintf(w->zones[ZONE_SENDER].name, sizeof(w->zones[0].name), "sender.example");
	w->zones[ZONE_HELO].kind = ZONE_KIND_HELO;
	w->zones[ZONE_SENDER].kind = ZONE_KIND_SENDER;
	w->memory = aligned_alloc(64, octets);
	memset(w->memory, 0, octets);
	verdict_table_bind(&w->table, w->memory, BUCKETS, &key);
	assert_true(name_set_build(w->domains, sizeof(w->domains), &ours, 1, 5) > 0);
	w->ctx = (struct policy_ctx){ .conf = &w->conf,
		.domains = w->domains,
		.zones = w->zones,
		.n_zones = ZONES,
		.table = &w->table,
		.counters = &w->counters };
	w->q = (struct policy_question){
		.verdict = { .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE },
		.names = NAME_VERDICT_NONE,
		.client = ip_addr_v4(0xc000020a),
		.helo = "mail.sender.example",
		.ptr_name = "mail.sender.example",
		.from = "alice@sender.example",
		.rcpt = "bob@example.org",
		.now_s = NOW_S,
	};
	w->q.names.known = CLIENT_KNOWN;
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	free(w->memory);
	free(w);
	return 0;
}

static const struct policy_answer *
rcpt(struct world *w)
{
	memset(&w->a, 0xee, sizeof(w->a));
	policy_rcpt(&w->ctx, &w->q, &w->a, NULL, NULL);
	return &w->a;
}

/* Weights are added to the client's score; what weighs most is named by its public name. */
static void
test_names_add_to_the_score_of_the_client(void **state)
{
	static const struct {
		const char *label;
		int client, helo, sender;
		uint8_t helo_decisive;
		enum verdict want;
		int score;
		const char *reason, *text;
	} rows[] = {
		{ "nothing listed", 0, 0, 0, 0, VERDICT_DEFER, 0, "greylist", NULL },
		{ "a sender's domain alone: doubt", 0, 0, 4, 0, VERDICT_DEFER, 4, "greylist", NULL },
		{ "a decisive list of senders refuses", 0, 0, 5, 0, VERDICT_REJECT, 5, "dnsbl-sender",
			"sender.example" },
		{ "sender and client agree", 2, 0, 3, 0, VERDICT_REJECT, 5, "dnsbl-sender", "sender.example" },
		{ "the client alone would do", 5, 0, 3, 0, VERDICT_REJECT, 8, "dnsbl", "bl.example" },
		{ "HELO alone never refuses, whatever it sums up to", 0, 8, 0, 0, VERDICT_DEFER, 4, "greylist", NULL },
		{ "but by a decisive list", 0, 8, 0, 1, VERDICT_REJECT, 8, "dnsbl-helo", "helo.example" },
		{ "HELO and client agree", 1, 4, 0, 0, VERDICT_REJECT, 5, "dnsbl-helo", "helo.example" },
		{ "HELO and sender agree", 0, 4, 3, 0, VERDICT_REJECT, 7, "dnsbl-helo", "helo.example" },
		{ "an allowlist of clients speaks for it", -4, 0, 4, 0, VERDICT_DEFER, 0, "greylist", NULL },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		w->q.verdict.score = (int16_t)rows[i].client;
		w->q.verdict.zone = rows[i].client > 0 ? ZONE_CLIENTS : ZONE_NONE;
		w->q.names = (struct name_verdict){ .known = CLIENT_KNOWN,
			.helo_zone = ZONE_HELO,
			.sender_zone = ZONE_SENDER,
			.helo_decisive = rows[i].helo_decisive,
			.helo_score = (int16_t)rows[i].helo,
			.sender_score = (int16_t)rows[i].sender };
		rcpt(w);
		CHECK_STR(rows[i].label, policy_verdict_name(w->a.verdict), policy_verdict_name(rows[i].want));
		CHECK_EQ(rows[i].label, w->a.score, rows[i].score);
		CHECK_STR(rows[i].label, w->a.reason, rows[i].reason);
		if (rows[i].text != NULL) {
			CHECK_EQ(rows[i].label, w->a.code, 554);
			CHECK_TRUE(rows[i].label, strstr(w->a.text, rows[i].text) != NULL);
		}
	}
}

/* "Greylist longer": twice the block. */
static void
test_names_that_are_listed_are_greylisted_for_longer(void **state)
{
	struct world *w = *state;

	w->q.names.sender_score = 2;
	CHECK_EQ("twice the block", rcpt(w)->wait_s, 2 * BLOCK_S);
}

/* The order of POLICY section 2 stays: who is allowed, or reaches postmaster, is not asked about. */
static void
test_names_come_after_what_stands_before(void **state)
{
	struct world *w = *state;

	w->q.names = (struct name_verdict){ .known = CLIENT_KNOWN, .sender_zone = ZONE_SENDER, .sender_score = 9 };
	w->q.rcpt = "postmaster@example.org";
	CHECK_EQ("postmaster", rcpt(w)->rule, RULE_POSTMASTER);
	w->q.rcpt = "bob@example.org";
	w->q.verdict.name_list = NAME_LIST_ALLOW;
	CHECK_EQ("allowed by a confirmed name", rcpt(w)->rule, RULE_ALLOWED);
	w->q.verdict.name_list = NAME_LIST_NONE;
	CHECK_EQ("refused at rule 8", rcpt(w)->rule, RULE_CLIENT);
	w->conf.mode = MODE_SOFT;
	CHECK_EQ("soft", rcpt(w)->verdict, VERDICT_DEFER);
	w->conf.mode = MODE_OBSERVE;
	CHECK_EQ("observed", rcpt(w)->verdict, VERDICT_PASS);
	CHECK_EQ("would", w->a.would, VERDICT_REJECT);
}

/* Nobody waits for what could not change the outcome. */
static void
test_names_are_waited_for_only_where_they_could_matter(void **state)
{
	struct world *w = *state;

	w->q.names = NAME_VERDICT_NONE;
	CHECK_EQ("a stranger waits: it may be greylisted for longer", rcpt(w)->verdict, VERDICT_WAIT);
	w->q.names.known = CLIENT_LATE;
	CHECK_EQ("no longer than the deadline", rcpt(w)->verdict, VERDICT_DEFER);
	CHECK_EQ("decided without", counter_read(&w->counters, CTR_policy_decided_without), 1);
	w->q.now_s += BLOCK_S;
	w->q.names.known = CLIENT_ASKED;
	w->q.verdict.score = 1; /* 8 more could be a 554 */
	CHECK_EQ("a retry waits: it may be refused", rcpt(w)->verdict, VERDICT_WAIT);
	w->q.verdict.score = -8;
	CHECK_EQ("nothing they say could do anything", rcpt(w)->verdict, VERDICT_PASS);
	w->q.verdict.score = 5;
	CHECK_EQ("refused whatever they say", rcpt(w)->verdict, VERDICT_REJECT);
	w->q.verdict.score = 0;
	CHECK_EQ("WHITE never waits", rcpt(w)->verdict, VERDICT_PASS);
	w->q.from = "other@sender.example";
	w->conf.helo_weight_max = w->conf.sender_weight_max = 0;
	CHECK_EQ("no list of names: nothing to wait for", rcpt(w)->verdict, VERDICT_DEFER);
}

/* A refusal by names needs no answer about the client. */
static void
test_names_count_without_the_clients_verdict(void **state)
{
	struct world *w = *state;

	w->q.verdict = (struct client_verdict){ .known = CLIENT_LATE, .zone = ZONE_NONE };
	w->q.names = (struct name_verdict){ .known = CLIENT_KNOWN, .sender_zone = ZONE_SENDER, .sender_score = 6 };
	CHECK_EQ("refused", rcpt(w)->verdict, VERDICT_REJECT);
	CHECK_EQ("score", w->a.score, 6);
	w->q.names.known = CLIENT_LATE;
	CHECK_EQ("by the half that came in time", rcpt(w)->verdict, VERDICT_REJECT);
}

/* The network's automatic allow: not used for a listed name, not lost by it, not earned by its messages. */
static void
test_names_and_automatic_allow(void **state)
{
	struct world *w = *state;

	w->q.names.sender_score = 2;
	policy_message(&w->ctx, &w->q, true);
	w->q.names.sender_score = 0;
	CHECK_EQ("not earned by a listed name", rcpt(w)->rule, RULE_GREYLIST);
	policy_message(&w->ctx, &w->q, true);
	w->q.from = "second@sender.example";
	CHECK_EQ("earned", rcpt(w)->rule, RULE_AUTO_ALLOW);
	w->q.names = NAME_VERDICT_NONE;
	CHECK_EQ("never waits", rcpt(w)->verdict, VERDICT_PASS);
	CHECK_EQ("by it", w->a.rule, RULE_AUTO_ALLOW);
	CHECK_TRUE("but is not spliced: the sender matters", !policy_is_known(&w->ctx, &w->q));
	w->q.names = (struct name_verdict){ .known = CLIENT_KNOWN, .sender_zone = ZONE_SENDER, .sender_score = 2 };
	CHECK_EQ("not for a listed name", rcpt(w)->rule, RULE_GREYLIST);
	w->q.names.sender_score = 0;
	CHECK_EQ("not lost by it", rcpt(w)->rule, RULE_AUTO_ALLOW);
}

/* Rule 11 and no more: lists and denials come before, a listing takes it away, the greylist is not met. */
static void
test_big_senders_have_the_automatic_allow(void **state)
{
	struct world *w = *state;

	w->q.verdict.name_list = NAME_LIST_BIG_SENDER;
	CHECK_EQ("first contact", rcpt(w)->verdict, VERDICT_PASS);
	CHECK_EQ("by rule 11", w->a.rule, RULE_AUTO_ALLOW);
	CHECK_STR("reason", w->a.reason, "big-sender");
	CHECK_EQ("counted", counter_read(&w->counters, CTR_policy_big_senders), 1);
	w->q.names = NAME_VERDICT_NONE;
	CHECK_EQ("never waits", rcpt(w)->verdict, VERDICT_PASS);
	w->q.names.known = CLIENT_KNOWN;
	w->q.verdict.score = 2;
	CHECK_EQ("listed: greylisted like anybody", rcpt(w)->rule, RULE_GREYLIST);
	w->q.verdict.score = 5;
	CHECK_EQ("or refused", rcpt(w)->verdict, VERDICT_REJECT);
	w->q.verdict.score = 0;
	w->q.rcpt = "bob@elsewhere.example";
	CHECK_EQ("never relays", rcpt(w)->rule, RULE_RELAY);
	w->q.rcpt = "bob@example.org";
	w->q.verdict.known = CLIENT_ASKED;
	w->q.verdict.name_list = NAME_LIST_NONE;
	CHECK_EQ("a stranger waits for the name that may allow it", rcpt(w)->verdict, VERDICT_WAIT);
}

struct traced {
	char detail[512];
};

static void
trace(void *arg, enum policy_rule rule, bool matched, const char *detail)
{
	struct traced *t = arg;

	(void)matched;
	if (rule == RULE_CLIENT)
		snprintf(t->detail, sizeof(t->detail), "%s", detail);
}

static void
test_names_are_explained(void **state)
{
	struct world *w = *state;
	struct traced t;

	w->q.names = (struct name_verdict){ .known = CLIENT_KNOWN,
		.helo_zone = ZONE_HELO,
		.sender_zone = ZONE_SENDER,
		.helo_score = 1,
		.sender_score = 2 };
	policy_rcpt(&w->ctx, &w->q, &w->a, trace, &t);
	CHECK_STR("trace", t.detail,
		"score 3, HELO name in helo.example, sender's domain in sender.example, reverse DNS confirmed: "
		"greylisted for twice the block");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names_add_to_the_score_of_the_client, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_that_are_listed_are_greylisted_for_longer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_come_after_what_stands_before, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_names_are_waited_for_only_where_they_could_matter, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_count_without_the_clients_verdict, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_and_automatic_allow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_big_senders_have_the_automatic_allow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_are_explained, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
