/*
 * test_policy_grey.c - the greylist in the table, the null sender, automatic allow, observe mode (POLICY sections 3 and 7).
 */
#include "tests/unit/policy/world.h"

#include "dataplane/policy/autoallow.h"
#include "dataplane/policy/grey.h"
#include "dataplane/policy/triplet.h"

static void
test_greylist_reply_is_exact(void **state)
{
	struct world *w = *state;
	char want[POLICY_TEXT_OCTETS], ref[9];
	uint64_t first_ref;

	rcpt(w);
	CHECK_ANSWER("first", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	CHECK_STR("enhanced", w->a.enhanced, "4.7.1");
	CHECK_STR("PITFALLS 37: the number is right", w->a.text, "Greylisted, please try again in 240 seconds");
	first_ref = w->a.ref;
	rcpt_at(w, NOW_S + 239);
	CHECK_STR("and at least 1, in the same words", w->a.text, "Greylisted, please try again in 1 seconds");
	CHECK_TRUE("the reference is the triplet's, so it stays",
		w->a.ref == first_ref && w->a.ref == policy_ref_of_tag(w->a.tag));
	w->conf.grey_reference = 1;
	rcpt_at(w, NOW_S + 200);
	snprintf(want, sizeof(want), "Greylisted, please try again in 40 seconds (%s)",
		policy_ref_format(w->a.ref, ref));
	CHECK_STR("with the reference switched on", w->a.text, want);
	w->conf.grey_block_s = 300;
	w->conf.grey_reference = 0;
	rcpt(w);
	CHECK_STR(
		"set greylist.block acts in the next reply", w->a.text, "Greylisted, please try again in 100 seconds");
}

static void
test_greylist_timeline_on_the_table(void **state)
{
	static const struct {
		const char *label;
		uint32_t at_s, want_wait_s;
	} steps[] = {
		{ "first", 0, 240 },
		{ "early", 100, 140 },
		{ "when told", 240, 0 },
		{ "WHITE", 5000, 0 },
		{ "35 days later", 5000 + 35 * DAY_S, 0 },
		{ "expired", 5000 + 71 * DAY_S, 240 },
		{ "after the window", 5000 + 71 * DAY_S + 21600, 240 },
		{ "in the doubled window", 5000 + 71 * DAY_S + 21600 + 43199, 0 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		rcpt_at(w, NOW_S + steps[i].at_s);
		CHECK_EQ(steps[i].label, w->a.wait_s, steps[i].want_wait_s);
		CHECK_EQ(steps[i].label, w->a.verdict, steps[i].want_wait_s > 0 ? VERDICT_DEFER : VERDICT_PASS);
	}
	CHECK_EQ("one lapse counted", counted(w, CTR_policy_grey_lapsed), 1);
	CHECK_EQ("one expiry", counted(w, CTR_policy_grey_expired), 1);
	CHECK_EQ("waited since the first attempt of the window", w->a.waited_s, 43199);
	CHECK_EQ("all judged", counted(w, CTR_policy_judged), ARRAY_LEN(steps));
}

static void
test_greylist_key_is_network_sender_recipient(void **state)
{
	struct world *w = *state;

	make_white(w);
	from_client(w, "192.0.2.250");
	CHECK_EQ("same /24", rcpt(w)->verdict, VERDICT_PASS);
	from_client(w, "192.0.3.10");
	CHECK_EQ("another /24", rcpt(w)->verdict, VERDICT_DEFER);
	from_client(w, "192.0.2.10");
	w->q.from = "ALICE+news@Sender.Example";
	CHECK_EQ("same sender to a human", rcpt(w)->verdict, VERDICT_PASS);
	w->q.from = "prvs=1234567890=alice@sender.example";
	CHECK_EQ("PITFALLS 39: BATV", rcpt(w)->verdict, VERDICT_PASS);
	w->q.from = "carol@sender.example";
	CHECK_EQ("another sender", rcpt(w)->verdict, VERDICT_DEFER);
	w->q.from = "alice@sender.example";
	w->q.rcpt = "Bob@EXAMPLE.org";
	CHECK_EQ("same recipient in capitals", rcpt(w)->verdict, VERDICT_PASS);
	w->q.rcpt = "bob+x@example.org";
	CHECK_EQ("another recipient", rcpt(w)->verdict, VERDICT_DEFER);
	w->q.rcpt = "bob@example.org";
	from_client(w, "2001:db8:1:2::3");
	CHECK_EQ("PITFALLS 38: IPv6 is a second network", rcpt(w)->verdict, VERDICT_DEFER);
}

/* PITFALLS 44, the half that is policy's: no verdict changes when the clock steps, and none is ever later than one block. */
static void
test_pitfall_44_clock_steps_change_no_verdict_for_the_worse(void **state)
{
	static const uint32_t steps_s[] = { 1, 3600, DAY_S };
	struct world *w = *state;

	make_white(w);
	for (size_t i = 0; i < ARRAY_LEN(steps_s); i++)
		CHECK_EQ("WHITE stays WHITE in the past", rcpt_at(w, NOW_S - steps_s[i])->verdict, VERDICT_PASS);
	w->q.from = "carol@sender.example";
	rcpt_at(w, NOW_S);
	rcpt_at(w, NOW_S - DAY_S);
	CHECK_EQ("GREY waits one block", w->a.wait_s, BLOCK_S);
	CHECK_EQ("and then passes", rcpt_at(w, NOW_S - DAY_S + BLOCK_S)->verdict, VERDICT_PASS);
	CHECK_TRUE("counted", counted(w, CTR_policy_clock_ahead) >= 1);
}

static void
test_greylist_backend_5xx_puts_the_record_back(void **state)
{
	struct world *w = *state;

	rcpt(w);
	rcpt_at(w, NOW_S + BLOCK_S);
	CHECK_EQ("passes", w->a.verdict, VERDICT_PASS);
	policy_undo(&w->ctx, &w->a);
	CHECK_EQ("counted", counted(w, CTR_policy_grey_undone), 1);
	rcpt_at(w, NOW_S + 21600);
	CHECK_EQ("GREY from the first attempt on: its window is over", w->a.verdict, VERDICT_DEFER);

	w->q.from = "white@sender.example";
	w->q.now_s = NOW_S;
	make_white(w);
	rcpt_at(w, NOW_S + 20 * DAY_S);
	policy_undo(&w->ctx, &w->a);
	rcpt_at(w, NOW_S + BLOCK_S + 36 * DAY_S);
	CHECK_EQ("last was put back, so it expired", w->a.verdict, VERDICT_DEFER);
}

static void
test_greylist_undo_leaves_what_others_wrote(void **state)
{
	struct world *w = *state;
	struct policy_answer mine;

	rcpt(w);
	mine = *rcpt_at(w, NOW_S + BLOCK_S);
	rcpt_at(w, NOW_S + BLOCK_S + DAY_S); /* another session moves `last` on */
	policy_undo(&w->ctx, &mine);
	CHECK_EQ("nothing undone", counted(w, CTR_policy_grey_undone), 0);
	CHECK_EQ("still WHITE", rcpt(w)->verdict, VERDICT_PASS);
}

/* PITFALLS 50: a backend that is down for hours sends nobody through the greylist again: nothing but a 5xx to RCPT undoes. */
static void
test_pitfall_50_white_outlives_a_dead_backend(void **state)
{
	struct world *w = *state;

	make_white(w);
	for (uint32_t hour = 1; hour < 48;
		hour++) /* 451 of the backend each time: no policy_undo(), no policy_message() */
		CHECK_EQ("let through", rcpt_at(w, NOW_S + hour * 3600)->verdict, VERDICT_PASS);
}

/* PITFALLS 52 on the table: a sender that retries every 8 hours gets in. */
static void
test_pitfall_52_eight_hour_retries_get_in(void **state)
{
	struct world *w = *state;

	CHECK_EQ("first", rcpt_at(w, NOW_S)->verdict, VERDICT_DEFER);
	CHECK_EQ("8 h: the 6 h window is over", rcpt_at(w, NOW_S + 8 * 3600)->verdict, VERDICT_DEFER);
	CHECK_EQ("16 h: inside the 12 h one", rcpt_at(w, NOW_S + 16 * 3600)->verdict, VERDICT_PASS);
	CHECK_EQ("counted", counted(w, CTR_policy_grey_lapsed), 1);
}

/* PITFALLS 36: the null sender meets the greylist at DATA, not at RCPT. */
static void
test_pitfall_36_null_sender_is_greylisted_at_data(void **state)
{
	struct world *w = *state;
	struct policy_answer a;

	w->q.from = "";
	rcpt(w);
	CHECK_ANSWER("RCPT gets the backend's answer", w, VERDICT_PASS, RULE_GREYLIST, 0);
	CHECK_EQ("what DATA would wait", w->a.wait_s, BLOCK_S);
	CHECK_TRUE("which triplet", w->a.tag != 0);
	CHECK_EQ("a call-out begins no record", records(w), 0);
	policy_undo(&w->ctx, &w->a);

	policy_null_sender_data(&w->ctx, &w->q, &a);
	CHECK_EQ("DATA is deferred", a.verdict, VERDICT_DEFER);
	CHECK_EQ("for the block", a.wait_s, BLOCK_S);
	CHECK_STR("in the same words", a.text, "Greylisted, please try again in 240 seconds");
	CHECK_EQ("and begins the record", records(w), 1);
	w->q.now_s += 100;
	policy_null_sender_data(&w->ctx, &w->q, &a);
	CHECK_EQ("kept", a.wait_s, 140);
	w->q.now_s = NOW_S + BLOCK_S;
	rcpt(w);
	CHECK_EQ("later RCPT passes", w->a.wait_s, 0);
	policy_null_sender_data(&w->ctx, &w->q, &a);
	CHECK_EQ("and DATA, too", a.verdict, VERDICT_PASS);

	w->q.rcpt = "postmaster@example.org";
	policy_null_sender_data(&w->ctx, &w->q, &a);
	CHECK_EQ("what passed by an earlier rule passes at DATA", a.verdict, VERDICT_PASS);
	w->conf.mode = MODE_OBSERVE;
	w->q.rcpt = "carol@example.org";
	policy_null_sender_data(&w->ctx, &w->q, &a);
	CHECK_EQ("observe", a.verdict, VERDICT_PASS);
	CHECK_EQ("would", a.would, VERDICT_DEFER);
}

/* PITFALLS 38: big senders come from network after network. */
static void
test_pitfall_38_fourth_network_passes(void **state)
{
	static const char *const clients[] = { "192.0.2.1", "198.51.100.1", "2001:db8:77::1", "203.0.113.1" };
	struct world *w = *state;

	for (unsigned i = 0; i < 3; i++) {
		from_client(w, clients[i]);
		CHECK_EQ(clients[i], rcpt_at(w, NOW_S + i)->verdict, VERDICT_DEFER);
		CHECK_EQ("a retry of the same network does not count", rcpt(w)->verdict, VERDICT_DEFER);
	}
	from_client(w, clients[3]);
	w->q.rcpt = "carol@example.org";
	CHECK_EQ("another recipient", rcpt(w)->verdict, VERDICT_DEFER);
	w->q.rcpt = "bob@example.org";
	w->q.from = "dave@sender.example";
	CHECK_EQ("another sender", rcpt(w)->verdict, VERDICT_DEFER);
	w->q.from = "alice@sender.example";
	rcpt_at(w, NOW_S + 10);
	CHECK_EQ("the fourth network passes", w->a.verdict, VERDICT_PASS);
	CHECK_STR("word", w->a.reason, "pool");
	CHECK_EQ("counted", counted(w, CTR_policy_grey_pool_pass), 1);
	CHECK_EQ("and is WHITE", rcpt_at(w, NOW_S + 20)->verdict, VERDICT_PASS);
	CHECK_EQ("counted once", counted(w, CTR_policy_grey_pool_pass), 1);
	from_client(w, clients[0]);
	CHECK_EQ("the others still wait", rcpt(w)->verdict, VERDICT_DEFER);
}

static void
test_fourth_network_only_within_the_window(void **state)
{
	static const char *const clients[] = { "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.5.1" };
	struct world *w = *state;

	for (unsigned i = 0; i < 4; i++) {
		from_client(w, clients[i]);
		CHECK_EQ(clients[i], rcpt_at(w, NOW_S + i * 7200)->verdict, VERDICT_DEFER);
	}
	w->q.from = "";
	for (unsigned i = 0; i < 4; i++) {
		struct policy_answer a;

		from_client(w, clients[i]);
		policy_null_sender_data(&w->ctx, &w->q, &a);
		CHECK_EQ("bounces come from everywhere and do not count", a.verdict, VERDICT_DEFER);
	}
}

/* PITFALLS 42: our own failure lets through; a refused insert is still 451. */
static void
test_pitfall_42_own_failure_lets_through(void **state)
{
	struct world *w = *state;

	w->ctx.table = NULL;
	rcpt(w);
	CHECK_ANSWER("no table", w, VERDICT_PASS, RULE_GREYLIST, 0);
	CHECK_EQ("counted", counted(w, CTR_policy_state_failed), 1);
	CHECK_EQ("no triplet", w->a.tag, 0);
	policy_undo(&w->ctx, &w->a);
	policy_message(&w->ctx, &w->q, true);
}

static void
test_refused_insert_is_still_451(void **state)
{
	struct world *w = *state;

	w->conf.grey_source_budget = 1;
	rcpt(w);
	CHECK_EQ("first of the network", w->a.verdict, VERDICT_DEFER);
	w->q.from = "carol@sender.example";
	rcpt(w);
	CHECK_ANSWER("budget spent", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	CHECK_EQ("counted", counted(w, CTR_policy_grey_budget), 1);
	rcpt_at(w, NOW_S + BLOCK_S);
	CHECK_EQ("nothing was remembered", w->a.verdict, VERDICT_DEFER);
	CHECK_EQ("but what there was goes on", (w->q.from = "alice@sender.example", rcpt(w))->verdict, VERDICT_PASS);

	struct conf conf = w->conf;
	struct verdict_table tiny;
	void *memory = aligned_alloc(64, (verdict_table_octets(1) + 63) / 64 * 64);
	char from[64];

	memset(memory, 0, (verdict_table_octets(1) + 63) / 64 * 64);
	verdict_table_bind(&tiny, memory, 1, &w->table.key);
	conf.grey_source_budget = 0;
	w->ctx.conf = &conf;
	w->ctx.table = &tiny;
	w->q.from = from;
	for (unsigned i = 0; i < 4; i++) { /* four WHITE triplets fill the only bucket */
		struct vt_entry e = {
			.time_s = NOW_S, .kind_state = vt_kind_state(VT_TRIPLET, VT_WHITE), .tag = 1000 + i
		};
		const struct vt_ages ages = policy_ages(&conf, NOW_S);

		CHECK_EQ("filled", verdict_table_put(&tiny, NULL, &e, &ages, NULL), VT_PUT_DONE);
	}
	snprintf(from, sizeof(from), "new@sender.example");
	rcpt_at(w, NOW_S + 1);
	CHECK_ANSWER("table full of WHITE", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	CHECK_EQ("counted", counted(w, CTR_policy_table_full), 1);
	free(memory);
}

static void
test_doubtful_clients_wait_twice_as_long(void **state)
{
	struct world *w = *state;

	w->q.verdict.score = 1;
	w->q.verdict.zone = 0;
	rcpt(w);
	CHECK_EQ("twice the block", w->a.wait_s, 2 * BLOCK_S);
	CHECK_EQ("the block is not enough", rcpt_at(w, NOW_S + BLOCK_S)->wait_s, BLOCK_S);
	CHECK_EQ("twice is", rcpt_at(w, NOW_S + 2 * BLOCK_S)->verdict, VERDICT_PASS);
	w->q.verdict = clean();
	w->q.protocol_score = 1;
	w->q.from = "carol@sender.example";
	CHECK_EQ("protocol tests: at most this", rcpt(w)->wait_s, 2 * BLOCK_S);
}

static void
deliver(struct world *w, const char *from, uint32_t at_s)
{
	w->q.from = from;
	w->q.now_s = at_s;
	policy_message(&w->ctx, &w->q, true);
}

static void
earn(struct world *w, uint32_t at_s)
{
	static const char *const senders[] = { "a@one.example", "b@two.example", "c@three.example", "d@four.example",
		"e@five.example" };

	for (unsigned i = 0; i < 5; i++)
		deliver(w, senders[i], at_s + i * 3600);
}

static enum policy_rule
rule_for_new_sender(struct world *w, uint32_t at_s)
{
	w->q.from = "somebody@else.example";
	w->q.now_s = at_s;
	w->q.dry = true;
	rcpt(w);
	w->q.dry = false;
	return w->a.rule;
}

static void
test_auto_allow_after_five(void **state)
{
	struct world *w = *state;

	deliver(w, "a@one.example", NOW_S);
	deliver(w, "b@two.example", NOW_S + 3600);
	deliver(w, "c@three.example", NOW_S + 7200);
	deliver(w, "d@four.example", NOW_S + 10800);
	CHECK_EQ("four are not enough", rule_for_new_sender(w, NOW_S + 14399), RULE_GREYLIST);
	deliver(w, "e@five.example", NOW_S + 14400);
	CHECK_EQ("five are", rule_for_new_sender(w, NOW_S + 14400), RULE_AUTO_ALLOW);
	CHECK_EQ("granted", counted(w, CTR_policy_auto_granted), 1);
	from_client(w, "192.0.2.99");
	CHECK_EQ("for the network", rule_for_new_sender(w, NOW_S + 14400), RULE_AUTO_ALLOW);
	from_client(w, "192.0.3.99");
	CHECK_EQ("and no other", rule_for_new_sender(w, NOW_S + 14400), RULE_GREYLIST);
	from_client(w, "192.0.2.10");
	CHECK_EQ("expires with the greylist", rule_for_new_sender(w, NOW_S + 14400 + 36 * DAY_S), RULE_GREYLIST);
	w->conf.grey_auto_after = 0;
	CHECK_EQ("0 is off", rule_for_new_sender(w, NOW_S + 14400), RULE_GREYLIST);
}

static void
test_auto_allow_counts_one_an_hour_and_one_per_domain(void **state)
{
	static const char *const senders[] = { "a@one.example", "b@two.example", "c@three.example", "d@four.example",
		"e@five.example" };
	struct world *w = *state;

	for (unsigned i = 0; i < 5; i++)
		deliver(w, senders[i], NOW_S + i * 3599);
	CHECK_EQ("a second less than an hour does not count", rule_for_new_sender(w, NOW_S + 18000), RULE_GREYLIST);
	policy_client_forget(&w->ctx, &w->q.client);
	for (unsigned i = 0; i < 20; i++)
		deliver(w, i % 2 ? "a@same.example" : "b@SAME.example", NOW_S + i * 3600);
	CHECK_EQ("one sender domain counts once", rule_for_new_sender(w, NOW_S + 20 * 3600), RULE_GREYLIST);
}

static void
test_auto_allow_counts_only_what_may_count(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 10; i++)
		deliver(w, "", NOW_S + i * 3600);
	CHECK_EQ("null senders do not", records(w), 0);
	w->q.verdict.score = 1;
	earn(w, NOW_S);
	CHECK_EQ("listed clients do not", records(w), 0);
	w->q.verdict = (struct client_verdict){ .known = CLIENT_LATE };
	earn(w, NOW_S);
	CHECK_EQ("clients of whom nothing is known do not", records(w), 0);
	w->q.verdict = clean();
	for (unsigned i = 0; i < 10; i++) {
		w->q.now_s += 3600;
		policy_message(&w->ctx, &w->q, false);
	}
	CHECK_EQ("refused messages do not", records(w), 0);
}

static void
test_auto_allow_is_lost(void **state)
{
	struct world *w = *state;
	struct client_verdict hit = { .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .score = 1, .zone = 0 };
	const uint32_t later_s = NOW_S + 18000;

	earn(w, NOW_S);
	policy_client_store(&w->ctx, &w->q.client, &hit, later_s);
	CHECK_EQ("by a DNSBL hit", rule_for_new_sender(w, later_s), RULE_GREYLIST);
	earn(w, later_s + 3600);
	CHECK_EQ("earned anew with the same domains", rule_for_new_sender(w, later_s + 5 * 3600), RULE_AUTO_ALLOW);
	policy_trap_store(&w->ctx, &w->q.client, false, false, 0, later_s + 20000);
	policy_client_lookup(&w->ctx, &w->q.client, later_s, &(bool){ false });
	CHECK_EQ("by a trap", rule_for_new_sender(w, later_s + 20000 + DAY_S), RULE_GREYLIST);
	CHECK_EQ("counted", counted(w, CTR_policy_auto_lost), 2);

	earn(w, later_s + 10 * DAY_S);
	for (unsigned i = 0; i < 4; i++)
		policy_message(&w->ctx, &w->q, false);
	CHECK_EQ("four refused in a row", rule_for_new_sender(w, later_s + 10 * DAY_S + 20000), RULE_AUTO_ALLOW);
	deliver(w, "e@five.example", later_s + 10 * DAY_S + 20000);
	for (unsigned i = 0; i < 4; i++)
		policy_message(&w->ctx, &w->q, false);
	CHECK_EQ("a delivered one between them", rule_for_new_sender(w, later_s + 10 * DAY_S + 20000), RULE_AUTO_ALLOW);
	w->q.from = "e@five.example";
	policy_message(&w->ctx, &w->q, false);
	CHECK_EQ("the fifth in a row", rule_for_new_sender(w, later_s + 10 * DAY_S + 20000), RULE_GREYLIST);
}

static void
test_auto_allow_renews_and_expires(void **state)
{
	struct world *w = *state;
	const uint32_t earned_s = NOW_S + 4 * 3600;

	earn(w, NOW_S);
	deliver(w, "a@one.example", earned_s + 30 * DAY_S);
	CHECK_EQ("a delivered message renews it", rule_for_new_sender(w, earned_s + 60 * DAY_S), RULE_AUTO_ALLOW);
	CHECK_EQ("expired", rule_for_new_sender(w, earned_s + 66 * DAY_S), RULE_GREYLIST);
	deliver(w, "a@one.example", earned_s + 66 * DAY_S);
	CHECK_EQ("one message does not bring it back", rule_for_new_sender(w, earned_s + 66 * DAY_S), RULE_GREYLIST);
	earn(w, earned_s + 67 * DAY_S);
	CHECK_EQ("five do", rule_for_new_sender(w, earned_s + 67 * DAY_S + 4 * 3600), RULE_AUTO_ALLOW);

	/* a record of a clock that was far ahead */
	w->q.now_s = NOW_S;
	w->q.from = "somebody@else.example";
	CHECK_EQ("counts as now", rcpt(w)->rule, RULE_AUTO_ALLOW);
	CHECK_EQ("and is set to now, so that it expires", rule_for_new_sender(w, NOW_S + 36 * DAY_S), RULE_GREYLIST);
	CHECK_EQ("the table's ages say so, too", policy_ages(&w->conf, NOW_S).auto_s, 36 * DAY_S);
}

static void
test_auto_allow_of_a_listed_client_is_not_used(void **state)
{
	struct world *w = *state;

	earn(w, NOW_S);
	w->q.verdict.score = 1;
	w->q.verdict.zone = 0;
	CHECK_EQ("greylisted", rule_for_new_sender(w, NOW_S + 18000), RULE_GREYLIST);
	w->q.verdict = (struct client_verdict){ .known = CLIENT_ASKED };
	w->q.now_s = NOW_S + 18000;
	rcpt(w);
	CHECK_ANSWER("in good standing: never waits", w, VERDICT_PASS, RULE_AUTO_ALLOW, 0);
}

static void
test_observe_makes_the_triplet_white(void **state)
{
	struct world *w = *state;

	w->conf.mode = MODE_OBSERVE;
	rcpt(w);
	policy_message(&w->ctx, &w->q, true);
	w->conf.mode = MODE_ENFORCE;
	rcpt_at(w, NOW_S + 1);
	CHECK_ANSWER("enforcing starts warm", w, VERDICT_PASS, RULE_GREYLIST, 0);
	CHECK_STR("WHITE", w->a.reason, "greylist-white");

	w->conf.mode = MODE_OBSERVE;
	w->q.from = "spam@sender.example";
	w->q.verdict.score = 1;
	rcpt(w);
	policy_message(&w->ctx, &w->q, true);
	w->conf.mode = MODE_ENFORCE;
	CHECK_EQ("not for a client with a DNSBL hit", rcpt(w)->verdict, VERDICT_DEFER);
	w->q.verdict = clean();
	w->q.from = "new@sender.example";
	rcpt(w);
	policy_message(&w->ctx, &w->q, true);
	CHECK_EQ("nor when enforcing", rcpt(w)->verdict, VERDICT_DEFER);
}

/* Until all records are loaded a miss is 451 without a record; what is there decides as always. */
static void
test_miss_while_records_are_loaded_begins_none(void **state)
{
	struct world *w = *state;
	struct policy_answer a;
	uint64_t had;

	make_white(w);
	had = records(w);
	w->ctx.loading_left_s = 7;
	rcpt(w);
	CHECK_ANSWER("who is WHITE passes", w, VERDICT_PASS, RULE_GREYLIST, 0);
	w->q.from = "new@sender.example";
	rcpt(w);
	CHECK_ANSWER("a miss is deferred", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	CHECK_STR("till all is there", w->a.text, "Greylisted, please try again in 7 seconds");
	CHECK_EQ("no record", records(w), had);
	CHECK_EQ("counted", counted(w, CTR_policy_grey_loading), 1);
	CHECK_EQ("not as a first attempt", counted(w, CTR_policy_grey_new), 1);
	CHECK_EQ("nothing to put back", vt_kind(&w->a.after), VT_FREE);
	w->ctx.loading_left_s = BLOCK_S * 3;
	CHECK_EQ("never longer than a block", rcpt(w)->wait_s, BLOCK_S);

	w->q.from = "";
	rcpt(w);
	CHECK_ANSWER("null sender: RCPT gets the backend's answer", w, VERDICT_PASS, RULE_GREYLIST, 0);
	policy_null_sender_data(&w->ctx, &w->q, &a);
	CHECK_EQ("DATA is deferred", a.verdict, VERDICT_DEFER);
	CHECK_EQ("and begins no record either", records(w), had);

	w->q.from = "new@sender.example";
	for (uint32_t i = 0; i < 8; i++) { /* nor do networks count towards the pool of a pair */
		char client[32];

		snprintf(client, sizeof(client), "192.0.%u.1", 10 + i);
		from_client(w, client);
		CHECK_EQ("from network after network", rcpt(w)->verdict, VERDICT_DEFER);
	}
	CHECK_EQ("still none", records(w), had);
	w->ctx.loading_left_s = 0;
	CHECK_EQ("loaded: the first attempt", rcpt(w)->wait_s, BLOCK_S);
	CHECK_EQ("with its record and its pair's", records(w), had + 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_greylist_reply_is_exact),
		WORLD_TEST(test_greylist_timeline_on_the_table),
		WORLD_TEST(test_greylist_key_is_network_sender_recipient),
		WORLD_TEST(test_pitfall_44_clock_steps_change_no_verdict_for_the_worse),
		WORLD_TEST(test_greylist_backend_5xx_puts_the_record_back),
		WORLD_TEST(test_greylist_undo_leaves_what_others_wrote),
		WORLD_TEST(test_pitfall_50_white_outlives_a_dead_backend),
		WORLD_TEST(test_pitfall_52_eight_hour_retries_get_in),
		WORLD_TEST(test_pitfall_36_null_sender_is_greylisted_at_data),
		WORLD_TEST(test_pitfall_38_fourth_network_passes),
		WORLD_TEST(test_fourth_network_only_within_the_window),
		WORLD_TEST(test_pitfall_42_own_failure_lets_through),
		WORLD_TEST(test_refused_insert_is_still_451),
		WORLD_TEST(test_doubtful_clients_wait_twice_as_long),
		WORLD_TEST(test_auto_allow_after_five),
		WORLD_TEST(test_auto_allow_counts_one_an_hour_and_one_per_domain),
		WORLD_TEST(test_auto_allow_counts_only_what_may_count),
		WORLD_TEST(test_auto_allow_is_lost),
		WORLD_TEST(test_auto_allow_renews_and_expires),
		WORLD_TEST(test_auto_allow_of_a_listed_client_is_not_used),
		WORLD_TEST(test_observe_makes_the_triplet_white),
		WORLD_TEST(test_miss_while_records_are_loaded_begins_none),
	};

	return cmocka_run_group_tests_name("policy-grey", tests, NULL, NULL);
}
