/*
 * test_policy_client.c - what is known of a client: traps, the verdict of DNS, waiting for it, the record (POLICY sections 2 and 4).
 */
#include "tests/unit/policy/world.h"

#include "dataplane/policy/client.h"

static void
test_trap_defers_for_its_time(void **state)
{
	struct world *w = *state;

	CHECK_EQ("stored", policy_trap_store(&w->ctx, &w->q.client, false, false, 0, NOW_S), 0);
	rcpt(w);
	CHECK_ANSWER("451", w, VERDICT_DEFER, RULE_TRAP, 451);
	CHECK_STR("4.7.1", w->a.enhanced, "4.7.1");
	rcpt_at(w, NOW_S + DAY_S - 1);
	CHECK_ANSWER("the last second", w, VERDICT_DEFER, RULE_TRAP, 451);
	rcpt_at(w, NOW_S + DAY_S);
	CHECK_ANSWER("over", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	const struct vt_entry e = {
		.tag = 1, .time_s = NOW_S, .aux = 1, .kind_state = vt_kind_state(VT_TRAP, VT_NONE)
	};
	uint32_t left_s = 0;

	CHECK_TRUE("active", policy_trap_is_active(&w->conf, &e, NOW_S + 3599, &left_s));
	CHECK_EQ("what is left", left_s, 1);
	CHECK_TRUE("over in the same second as told", !policy_trap_is_active(&w->conf, &e, NOW_S + 3600, &left_s));
	from_client(w, "192.0.2.11");
	w->q.now_s = NOW_S;
	rcpt(w);
	CHECK_ANSWER("the neighbour is free", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	policy_trap_store(&w->ctx, &w->q.client, true, false, 2, NOW_S);
	from_client(w, "192.0.2.200");
	rcpt_at(w, NOW_S + 7199);
	CHECK_ANSWER("a network's trap holds for all of it", w, VERDICT_DEFER, RULE_TRAP, 451);
	rcpt_at(w, NOW_S + 7200);
	CHECK_ANSWER("for its own hours", w, VERDICT_PASS, RULE_GREYLIST, 0);
}

static void
test_trap_of_the_operator_refuses(void **state)
{
	struct world *w = *state;

	policy_trap_store(&w->ctx, &w->q.client, false, true, 1, NOW_S);
	rcpt(w);
	CHECK_ANSWER("rule 6", w, VERDICT_REJECT, RULE_DENIED, 554);
	CHECK_EQ("forgotten", policy_client_forget(&w->ctx, &w->q.client), 1);
	rcpt(w);
	CHECK_ANSWER("free", w, VERDICT_DEFER, RULE_GREYLIST, 451);
}

static void
test_trap_never_for_allowed_clients(void **state)
{
	struct world *w = *state;

	policy_trap_store(&w->ctx, &w->q.client, false, false, 0, NOW_S);
	w->ctx.client_allow = world_networks(w, "192.0.2.10", NULL);
	rcpt(w);
	CHECK_ANSWER("allowed by the administrator", w, VERDICT_PASS, RULE_ALLOWED, 0);
	w->ctx.client_allow = NULL;
	w->q.verdict.name_list = NAME_LIST_ALLOW;
	rcpt(w);
	CHECK_ANSWER("allowed by confirmed name", w, VERDICT_PASS, RULE_ALLOWED, 0);
}

static void
test_trap_of_the_future_does_not_block_for_ever(void **state)
{
	struct world *w = *state;

	policy_trap_store(&w->ctx, &w->q.client, false, false, 0, NOW_S + 100 * DAY_S);
	rcpt(w);
	CHECK_ANSWER("counts as now", w, VERDICT_DEFER, RULE_TRAP, 451);
	rcpt_at(w, NOW_S + DAY_S);
	CHECK_ANSWER("and is over a day later", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	CHECK_EQ("counted", counted(w, CTR_policy_clock_ahead), 1);
}

static void
test_client_verdict_rows(void **state)
{
	static const struct {
		const char *label;
		int score;
		enum ptr_state ptr;
		enum client_effect missing, unconfirmed, generic;
		enum verdict want;
		unsigned code;
		const char *reason;
		unsigned wait_s;
	} rows[] = {
		{ "clean", 0, PTR_CONFIRMED, EFFECT_REJECT, EFFECT_NOTHING, EFFECT_NOTHING, VERDICT_DEFER, 451,
			"greylist", BLOCK_S },
		{ "score at the reject threshold", 5, PTR_CONFIRMED, EFFECT_REJECT, EFFECT_NOTHING, EFFECT_NOTHING,
			VERDICT_REJECT, 554, "dnsbl", 0 },
		{ "score one below", 4, PTR_CONFIRMED, EFFECT_REJECT, EFFECT_NOTHING, EFFECT_NOTHING, VERDICT_DEFER,
			451, "greylist", 2 * BLOCK_S },
		{ "score at the grey threshold", 1, PTR_CONFIRMED, EFFECT_REJECT, EFFECT_NOTHING, EFFECT_NOTHING,
			VERDICT_DEFER, 451, "greylist", 2 * BLOCK_S },
		{ "an allowlist's score", -3, PTR_CONFIRMED, EFFECT_REJECT, EFFECT_NOTHING, EFFECT_NOTHING,
			VERDICT_DEFER, 451, "greylist", BLOCK_S },
		{ "no PTR, default", 0, PTR_NONE, EFFECT_REJECT, EFFECT_NOTHING, EFFECT_NOTHING, VERDICT_REJECT, 554,
			"no-ptr", 0 },
		{ "no PTR, nothing", 0, PTR_NONE, EFFECT_NOTHING, EFFECT_REJECT, EFFECT_REJECT, VERDICT_DEFER, 451,
			"greylist", BLOCK_S },
		{ "no PTR, grey", 0, PTR_NONE, EFFECT_GREY, EFFECT_REJECT, EFFECT_REJECT, VERDICT_DEFER, 451,
			"greylist", 2 * BLOCK_S },
		{ "no PTR, 451", 0, PTR_NONE, EFFECT_DEFER, EFFECT_REJECT, EFFECT_REJECT, VERDICT_DEFER, 451, "no-ptr",
			0 },
		{ "not confirmed, default", 0, PTR_UNCONFIRMED, EFFECT_REJECT, EFFECT_NOTHING, EFFECT_NOTHING,
			VERDICT_DEFER, 451, "greylist", BLOCK_S },
		{ "not confirmed, 554", 0, PTR_UNCONFIRMED, EFFECT_NOTHING, EFFECT_REJECT, EFFECT_NOTHING,
			VERDICT_REJECT, 554, "ptr-unconfirmed", 0 },
		{ "generic, default", 0, PTR_GENERIC, EFFECT_REJECT, EFFECT_NOTHING, EFFECT_NOTHING, VERDICT_DEFER, 451,
			"greylist", BLOCK_S },
		{ "generic, 554", 0, PTR_GENERIC, EFFECT_NOTHING, EFFECT_NOTHING, EFFECT_REJECT, VERDICT_REJECT, 554,
			"ptr-generic", 0 },
		{ "a temporary error is never absence", 0, PTR_TEMPERR, EFFECT_REJECT, EFFECT_REJECT, EFFECT_REJECT,
			VERDICT_DEFER, 451, "greylist", BLOCK_S },
		{ "not asked is never absence", 0, PTR_UNKNOWN, EFFECT_REJECT, EFFECT_REJECT, EFFECT_REJECT,
			VERDICT_DEFER, 451, "greylist", BLOCK_S },
		{ "the score names the reason before the PTR", 9, PTR_NONE, EFFECT_REJECT, EFFECT_NOTHING,
			EFFECT_NOTHING, VERDICT_REJECT, 554, "dnsbl", 0 },
		{ "a doubtful score does not hide the PTR", 2, PTR_NONE, EFFECT_REJECT, EFFECT_NOTHING, EFFECT_NOTHING,
			VERDICT_REJECT, 554, "no-ptr", 0 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		w->q.verdict = (struct client_verdict){ .known = CLIENT_KNOWN,
			.ptr_state = (uint8_t)rows[i].ptr,
			.zone = 0,
			.score = (int16_t)rows[i].score };
		w->conf.ptr_missing = (uint8_t)rows[i].missing;
		w->conf.ptr_unconfirmed = (uint8_t)rows[i].unconfirmed;
		w->conf.ptr_generic = (uint8_t)rows[i].generic;
		w->q.dry = true;
		rcpt(w);
		CHECK_STR(rows[i].label, policy_verdict_name(w->a.verdict), policy_verdict_name(rows[i].want));
		CHECK_EQ(rows[i].label, w->a.code, rows[i].code);
		CHECK_STR(rows[i].label, w->a.reason, rows[i].reason);
		CHECK_EQ(rows[i].label, w->a.wait_s, rows[i].wait_s);
	}
	CHECK_EQ("dry writes nothing", records(w), 0);
}

static void
test_client_reply_is_exact(void **state)
{
	struct world *w = *state;
	char want[POLICY_TEXT_OCTETS], ref[9];

	w->q.verdict =
		(struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = 1, .score = 6 };
	rcpt(w);
	CHECK_ANSWER("DNSBL", w, VERDICT_REJECT, RULE_CLIENT, 554);
	CHECK_TRUE("a reference", w->a.ref != 0 && w->a.ref >> 40 == 0);
	snprintf(want, sizeof(want), "Sending address not accepted due to spam filter; public.name (%s)",
		policy_ref_format(w->a.ref, ref));
	CHECK_STR("the zone's public name", w->a.text, want);
	CHECK_STR("enhanced", w->a.enhanced, "5.7.1");

	w->q.verdict = (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_NONE, .zone = ZONE_NONE };
	rcpt(w);
	snprintf(want, sizeof(want), "Sending address not accepted due to spam filter; no reverse DNS (%s)",
		policy_ref_format(w->a.ref, ref));
	CHECK_STR("no reverse DNS", w->a.text, want);

	/* PITFALLS 53: what is put into a reply is printable and bounded */
	w->q.verdict =
		(struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 6 };
	memset(w->zones[0].name, '\n', sizeof(w->zones[0].name) - 1);
	rcpt(w);
	for (const char *c = w->a.text; *c != '\0'; c++)
		CHECK_TRUE("printable", *c >= ' ' && *c <= '~');
	CHECK_TRUE("whole", w->a.text[strlen(w->a.text) - 1] == ')');
	w->q.verdict.zone = 63;
	rcpt(w);
	CHECK_TRUE("a zone that is gone", strstr(w->a.text, "; blocklist (") != NULL);
}

static void
test_wait_only_while_the_answer_could_change_something(void **state)
{
	static const char *const bob[] = { "bob@example.org", NULL };
	struct world *w = *state;

	w->q.verdict = (struct client_verdict){ .known = CLIENT_ASKED, .zone = ZONE_NONE };
	rcpt(w);
	CHECK_ANSWER("a stranger waits", w, VERDICT_WAIT, RULE_GREYLIST, 0);
	CHECK_EQ("and nothing is written", records(w), 0);
	CHECK_EQ("nor judged", counted(w, CTR_policy_judged), 0);

	w->q.rcpt = "postmaster@example.org";
	CHECK_EQ("postmaster does not", rcpt(w)->verdict, VERDICT_PASS);
	w->q.rcpt = "bob@elsewhere.example";
	CHECK_EQ("relaying denied does not", rcpt(w)->verdict, VERDICT_REJECT);
	w->q.rcpt = "bob@example.org";
	w->ctx.rcpt_allow = world_names(w, bob, NULL);
	CHECK_EQ("an allowed recipient does not", rcpt(w)->verdict, VERDICT_PASS);
	w->ctx.rcpt_allow = NULL;
	w->ctx.rcpt_deny = world_names(w, bob, NULL);
	CHECK_EQ("a denied recipient does not", rcpt(w)->verdict, VERDICT_REJECT);
	w->ctx.rcpt_deny = NULL;
	w->ctx.rcpt_no_grey = world_names(w, bob, NULL);
	CHECK_EQ("opted out of greylisting still waits for a 554", rcpt(w)->verdict, VERDICT_WAIT);
	w->ctx.rcpt_no_grey = NULL;
	w->ctx.client_deny = world_networks(w, "192.0.2.0/24", NULL);
	CHECK_EQ("a denied client may have an allowed name", rcpt(w)->verdict, VERDICT_WAIT);
	w->ctx.client_deny = NULL;

	w->q.verdict.known = CLIENT_LATE;
	rcpt(w);
	CHECK_ANSWER("late: decided without", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	CHECK_EQ("counted", counted(w, CTR_policy_decided_without), 1);
	w->q.verdict.known = CLIENT_ASKED;
	rcpt_at(w, NOW_S + BLOCK_S);
	CHECK_EQ("a retry that would pass waits: it may be a 554", w->a.verdict, VERDICT_WAIT);
	w->q.verdict.known = CLIENT_LATE;
	rcpt(w);
	CHECK_EQ("and passes without", w->a.verdict, VERDICT_PASS);
	w->q.verdict.known = CLIENT_ASKED;
	rcpt_at(w, NOW_S + BLOCK_S + 10);
	CHECK_ANSWER("a WHITE triplet never waits", w, VERDICT_PASS, RULE_GREYLIST, 0);
}

static void
test_wait_for_a_name_where_nothing_else_is_asked(void **state)
{
	static const char *const bob[] = { "bob@example.org", NULL };
	struct world *w = *state;

	w->ctx.n_zones = 0;
	w->conf.ptr_missing = EFFECT_NOTHING;
	w->ctx.rcpt_no_grey = world_names(w, bob, NULL);
	w->q.verdict.known = CLIENT_UNASKED;
	CHECK_EQ("the name may be denied", rcpt(w)->verdict, VERDICT_WAIT);
}

static void
test_late_verdict_has_no_effect(void **state)
{
	struct world *w = *state;

	w->q.verdict = (struct client_verdict){ .known = CLIENT_LATE, .ptr_state = PTR_NONE, .score = 99, .zone = 0 };
	rcpt(w);
	CHECK_ANSWER("half of an answer refuses nobody", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	CHECK_EQ("nor doubles", w->a.wait_s, BLOCK_S);
	CHECK_EQ("nor judges", client_judge(&w->conf, &w->q.verdict).effect, EFFECT_NOTHING);
}

static void
test_client_record_keeps_its_value(void **state)
{
	static const struct client_verdict rows[] = {
		{ .known = CLIENT_KNOWN, .ptr_state = PTR_NONE, .zone = ZONE_NONE, .time_s = NOW_S },
		{ .known = CLIENT_KNOWN,
			.ptr_state = PTR_GENERIC,
			.zone = 63,
			.score = 999,
			.name_list = NAME_LIST_DENY,
			.time_s = NOW_S },
		{ .known = CLIENT_KNOWN,
			.ptr_state = PTR_CONFIRMED,
			.zone = 31,
			.score = -999,
			.name_list = NAME_LIST_ALLOW,
			.time_s = NOW_S },
		{ .known = CLIENT_KNOWN, .ptr_state = PTR_TEMPERR, .zone = 32, .score = -1, .time_s = NOW_S },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct vt_entry e = client_store(&rows[i], 7, NOW_S);
		const struct client_verdict back = client_load(&e);

		CHECK_EQ("known", back.known, CLIENT_KNOWN);
		CHECK_EQ("ptr", back.ptr_state, rows[i].ptr_state);
		CHECK_EQ("zone", back.zone, rows[i].zone);
		CHECK_EQ("list", back.name_list, rows[i].name_list);
		CHECK_EQ("score", back.score, rows[i].score);
		CHECK_EQ("time", back.time_s, rows[i].time_s);
	}
	for (uint32_t bits = 0; bits < 1u << 24; bits += 251) { /* hostile memory: every field stays in its range */
		const struct vt_entry e = { .tag = 1,
			.aux = (uint16_t)bits,
			.flags = (uint8_t)(bits >> 16),
			.kind_state = vt_kind_state(VT_CLIENT, VT_NONE) };
		const struct client_verdict v = client_load(&e);

		CHECK_TRUE("in range", v.ptr_state <= PTR_TEMPERR && v.name_list <= NAME_LIST_BIG_SENDER &&
					       v.score >= -999 && v.score <= 999 &&
					       (v.zone < CONF_ZONES_MAX || v.zone == ZONE_NONE));
	}
}

static void
test_client_record_ages(void **state)
{
	struct world *w = *state;
	struct client_verdict good = clean(), bad = { .known = CLIENT_KNOWN, .ptr_state = PTR_NONE, .zone = ZONE_NONE };
	struct client_verdict temperr = { .known = CLIENT_KNOWN, .ptr_state = PTR_TEMPERR, .zone = ZONE_NONE };
	bool fresh;

	CHECK_EQ("none", policy_client_lookup(&w->ctx, &w->q.client, NOW_S, &fresh).known, CLIENT_UNASKED);
	policy_client_store(&w->ctx, &w->q.client, &good, NOW_S);
	CHECK_EQ("known", policy_client_lookup(&w->ctx, &w->q.client, NOW_S + 43199, &fresh).known, CLIENT_KNOWN);
	CHECK_EQ("fresh", fresh, 1);
	CHECK_EQ("usable", policy_client_lookup(&w->ctx, &w->q.client, NOW_S + 43200, &fresh).known, CLIENT_KNOWN);
	CHECK_EQ("not fresh: ask in the background", fresh, 0);
	CHECK_EQ("stale", policy_client_lookup(&w->ctx, &w->q.client, NOW_S + 4 * 43200, &fresh).known, CLIENT_UNASKED);
	CHECK_EQ("of the future: ask", policy_client_lookup(&w->ctx, &w->q.client, NOW_S - 1, &fresh).known,
		CLIENT_UNASKED);
	policy_client_store(&w->ctx, &w->q.client, &bad, NOW_S);
	CHECK_EQ("a bad one counts while fresh",
		policy_client_lookup(&w->ctx, &w->q.client, NOW_S + 43199, &fresh).known, CLIENT_KNOWN);
	CHECK_EQ("and not a second longer", policy_client_lookup(&w->ctx, &w->q.client, NOW_S + 43200, &fresh).known,
		CLIENT_UNASKED);
	policy_client_store(&w->ctx, &w->q.client, &temperr, NOW_S);
	CHECK_EQ("a temporary error", policy_client_lookup(&w->ctx, &w->q.client, NOW_S + 60, &fresh).known,
		CLIENT_KNOWN);
	CHECK_EQ("is asked for again soon", fresh, 0);
	policy_client_store(
		&w->ctx, &w->q.client, &(struct client_verdict){ .known = CLIENT_LATE, .score = 5 }, NOW_S + 61);
	CHECK_EQ(
		"half an answer is not kept", policy_client_lookup(&w->ctx, &w->q.client, NOW_S + 61, &fresh).score, 0);
	CHECK_EQ("forgotten", policy_client_forget(&w->ctx, &w->q.client), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_trap_defers_for_its_time),
		WORLD_TEST(test_trap_of_the_operator_refuses),
		WORLD_TEST(test_trap_never_for_allowed_clients),
		WORLD_TEST(test_trap_of_the_future_does_not_block_for_ever),
		WORLD_TEST(test_client_verdict_rows),
		WORLD_TEST(test_client_reply_is_exact),
		WORLD_TEST(test_wait_only_while_the_answer_could_change_something),
		WORLD_TEST(test_wait_for_a_name_where_nothing_else_is_asked),
		WORLD_TEST(test_late_verdict_has_no_effect),
		WORLD_TEST(test_client_record_keeps_its_value),
		WORLD_TEST(test_client_record_ages),
	};

	return cmocka_run_group_tests_name("policy-client", tests, NULL, NULL);
}
