/*
 * test_policy.c - the order of tests: relay guard, lists, modes, refusal at connect, explain (POLICY sections 2 and 7).
 */
#include "tests/unit/policy/world.h"

#include <errno.h>

#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

static void
test_relay_guard(void **state)
{
	static const struct {
		const char *label, *rcpt;
		bool ours;
		unsigned pool;
	} rows[] = {
		{ "our domain", "bob@example.org", true, 3 },
		{ "in capitals", "bob@EXAMPLE.ORG", true, 3 },
		{ "another domain", "bob@elsewhere.example", false, 0 },
		{ "a name below one of ours is not ours", "bob@www.example.org", false, 0 },
		{ "a name that ends like ours", "bob@notexample.org", false, 0 },
		{ "below a listed parent", "bob@a.b.sub.example.org", true, 4 },
		{ "the parent itself is not below itself", "bob@sub.example.org", false, 0 },
		{ "a domain of another listener", "bob@other.example", false, 0 },
		{ "the last at sign counts", "\"bob@example.org\"@elsewhere.example", false, 0 },
		{ "the last at sign counts, ours", "\"bob@elsewhere.example\"@example.org", true, 3 },
		{ "source route to elsewhere", "@example.org:bob@elsewhere.example", false, 0 },
		{ "source route to us", "@elsewhere.example,@b.example:bob@example.org", true, 3 },
		{ "no domain", "bob", false, 0 },
		{ "empty domain", "bob@", false, 0 },
		{ "the star is no domain", "bob@*", false, 0 },
		{ "an entry's dot is no domain", "bob@.sub.example.org", false, 0 },
		{ "a domain literal", "bob@[198.18.0.2]", false, 0 },
		{ "U-label of ours",
			"bob@b\xc3\xbc"
			"cher.example",
			true, 0 },
		{ "postmaster elsewhere", "postmaster@elsewhere.example", false, 0 },
		{ "postmaster alone", "postmaster", true, 0xffff },
		{ "abuse alone", "abuse", false, 0 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		w->q.rcpt = rows[i].rcpt;
		rcpt(w);
		if (rows[i].ours) {
			CHECK_TRUE(rows[i].label, w->a.rule != RULE_RELAY);
			CHECK_EQ(rows[i].label, w->a.pool, rows[i].pool);
			continue;
		}
		CHECK_ANSWER(rows[i].label, w, VERDICT_REJECT, RULE_RELAY, 550);
		CHECK_STR(rows[i].label, w->a.enhanced, "5.7.1");
		CHECK_STR(rows[i].label, w->a.text, "Relaying denied");
	}
}

static void
test_relay_star_needs_trust(void **state)
{
	struct world *w = *state;

	w->q.rcpt = "bob@elsewhere.example";
	rcpt(w);
	CHECK_ANSWER("without i_trust_the_backend", w, VERDICT_REJECT, RULE_RELAY, 550);
	w->q.i_trust_the_backend = true;
	rcpt(w);
	CHECK_ANSWER("with it", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	CHECK_EQ("its pool", w->a.pool, 9);
}

static void
test_relay_comes_before_everything_and_in_every_mode(void **state)
{
	struct world *w = *state;
	static const char *const all[] = { "*", NULL };

	w->q.rcpt = "bob@elsewhere.example";
	w->ctx.client_allow = world_networks(w, "192.0.2.0/24", NULL);
	w->ctx.rcpt_allow = world_names(w, all, NULL);
	w->q.verdict.known = CLIENT_UNASKED;
	for (int mode = MODE_OBSERVE; mode <= MODE_ENFORCE; mode++) {
		w->conf.mode = (uint8_t)mode;
		rcpt(w);
		CHECK_ANSWER("no mode, list or open question changes it", w, VERDICT_REJECT, RULE_RELAY, 550);
	}
	CHECK_EQ("nothing was written", records(w), 0);
	w->ctx.domains = NULL;
	rcpt(w);
	CHECK_ANSWER("no domains, no mail", w, VERDICT_REJECT, RULE_RELAY, 550);
}

static void
test_postmaster_and_abuse_are_always_reached(void **state)
{
	static const char *const rcpts[] = { "postmaster@example.org", "POSTMASTER@example.org", "abuse@example.org",
		"postmaster", "\"postmaster\"@example.org" };
	static const char *const deny_rcpt[] = { "postmaster@example.org", NULL };
	struct world *w = *state;

	w->q.verdict = (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_NONE, .score = 9, .zone = 0 };
	w->ctx.client_deny = world_networks(w, "192.0.2.0/24", NULL);
	w->ctx.rcpt_deny = world_names(w, deny_rcpt, NULL);
	policy_trap_store(&w->ctx, &w->q.client, false, false, 0, NOW_S);
	for (size_t i = 0; i < ARRAY_LEN(rcpts); i++) {
		w->q.rcpt = rcpts[i];
		rcpt(w);
		CHECK_ANSWER(rcpts[i], w, VERDICT_PASS, RULE_POSTMASTER, 0);
		CHECK_STR(rcpts[i], w->a.text, "");
	}
	w->q.rcpt = "postmaster2@example.org";
	rcpt(w);
	CHECK_TRUE("only these names", w->a.rule != RULE_POSTMASTER);
}

static void
test_lists_decide_in_their_order(void **state)
{
	static const char *const bob[] = { "bob@example.org", NULL }, *const alice[] = { "alice@sender.example", NULL },
				 *const domain[] = { "sender.example", NULL };
	struct world *w = *state;

	w->ctx.sender_deny = world_names(w, domain, NULL);
	rcpt(w);
	CHECK_ANSWER("denied sender", w, VERDICT_REJECT, RULE_DENIED, 554);
	CHECK_STR("word", w->a.reason, "denied-sender");
	CHECK_TRUE("text", strncmp(w->a.text, "Sending address not accepted due to spam filter; ", 49) == 0);

	w->ctx.sender_allow = world_names(w, alice, NULL);
	rcpt(w);
	CHECK_ANSWER("allowed comes before denied", w, VERDICT_PASS, RULE_ALLOWED, 0);
	CHECK_STR("word", w->a.reason, "allowed-sender");

	w->ctx.rcpt_deny = world_names(w, bob, NULL);
	rcpt(w);
	CHECK_ANSWER("denied recipient comes before allowed", w, VERDICT_REJECT, RULE_RCPT_DENIED, 550);
	w->ctx.rcpt_deny = NULL;
	w->ctx.sender_allow = NULL;

	w->ctx.rcpt_allow = world_names(w, bob, NULL);
	rcpt(w);
	CHECK_ANSWER("allowed recipient", w, VERDICT_PASS, RULE_ALLOWED, 0);
	w->ctx.rcpt_allow = NULL;
	w->ctx.sender_deny = NULL;

	w->q.from = "";
	w->ctx.sender_deny = world_names(w, (const char *const[]){ "*", NULL }, NULL);
	rcpt(w);
	CHECK_TRUE("the null sender is in no list", w->a.rule != RULE_DENIED);
}

static void
test_client_lists(void **state)
{
	struct world *w = *state;

	w->ctx.client_deny = world_networks(w, "192.0.2.0/24", "2001:db8:5::/48");
	rcpt(w);
	CHECK_ANSWER("denied network", w, VERDICT_REJECT, RULE_DENIED, 554);
	from_client(w, "2001:db8:5::99");
	rcpt(w);
	CHECK_ANSWER("denied IPv6 network", w, VERDICT_REJECT, RULE_DENIED, 554);
	from_client(w, "192.0.3.10");
	rcpt(w);
	CHECK_ANSWER("the next network is not in it", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	w->ctx.client_allow = world_networks(w, "192.0.3.10", NULL);
	w->q.verdict.score = 99;
	rcpt(w);
	CHECK_ANSWER("an allowed client meets no DNS verdict", w, VERDICT_PASS, RULE_ALLOWED, 0);
}

/* PITFALLS 45: a list never becomes wider than written. */
static void
test_pitfall_45_network_lists_are_exact(void **state)
{
	static const struct {
		const char *text;
		int want;
	} rows[] = {
		{ "192.0.2.0/24", 0 },
		{ "192.0.2.1/24", -EDOM },
		{ "192.0", -EINVAL },
		{ "192.0/16", -EINVAL },
		{ "::ffff:192.0.2.0/120", -EINVAL },
		{ "192.0.2.0/33", -EINVAL },
		{ "2001:db8::/129", -EINVAL },
		{ "2001:db8::1/64", -EDOM },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct prefix_entry e;

		CHECK_EQ(rows[i].text, prefix_parse(rows[i].text, &e), rows[i].want);
	}
	w->ctx.client_deny = world_networks(w, "192.0.2.0/31", NULL);
	from_client(w, "192.0.2.1");
	CHECK_EQ("inside", rcpt(w)->rule, RULE_DENIED);
	from_client(w, "192.0.2.2");
	CHECK_EQ("one beyond", rcpt(w)->rule, RULE_GREYLIST);
	from_client(w, "::192.0.2.1");
	CHECK_EQ("an IPv6 address that ends alike", rcpt(w)->rule, RULE_GREYLIST);
}

/* PITFALLS 46: names count whole labels, and only names that resolve back (name_list is set for no other). */
static void
test_pitfall_46_names_are_label_exact_and_confirmed(void **state)
{
	static const char *const list[] = { ".google.com", "mail.example.net", NULL };
	static const struct {
		const char *name;
		bool want;
	} rows[] = {
		{ "a.google.com", true },
		{ "x.y.google.com", true },
		{ "gle.com", false },
		{ "notgoogle.com", false },
		{ "a.notgoogle.com", false },
		{ "google.com.evil.example", false },
		{ "mail.example.net", true },
		{ "a.mail.example.net", false },
		{ "mail.example.ne", false },
	};
	struct world *w = *state;
	const void *set = world_names(w, list, NULL);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t value;

		CHECK_EQ(rows[i].name, name_set_find_domain(set, rows[i].name, (uint32_t)strlen(rows[i].name), &value),
			rows[i].want);
	}
	w->q.verdict.name_list = NAME_LIST_ALLOW;
	w->q.verdict.score = 99;
	rcpt(w);
	CHECK_ANSWER("allowed by its confirmed name", w, VERDICT_PASS, RULE_ALLOWED, 0);
	w->q.verdict.name_list = NAME_LIST_DENY;
	w->q.verdict.score = 0;
	rcpt(w);
	CHECK_ANSWER("denied by its confirmed name", w, VERDICT_REJECT, RULE_DENIED, 554);
	w->q.verdict.name_list = NAME_LIST_NONE;
	rcpt(w);
	CHECK_ANSWER("a name that was not confirmed is on no list", w, VERDICT_DEFER, RULE_GREYLIST, 451);
}

static void
test_opted_out_recipients_meet_no_greylist(void **state)
{
	static const char *const list[] = { "example.org", NULL };
	struct world *w = *state;

	w->ctx.rcpt_no_grey = world_names(w, list, NULL);
	rcpt(w);
	CHECK_ANSWER("passes", w, VERDICT_PASS, RULE_OPT_OUT, 0);
	w->q.verdict.score = 9;
	rcpt(w);
	CHECK_ANSWER("but the client's verdict comes first", w, VERDICT_REJECT, RULE_CLIENT, 554);
}

static void
test_modes(void **state)
{
	struct world *w = *state;
	static const char *const bob[] = { "bob@example.org", NULL };

	w->conf.mode = MODE_SOFT;
	w->q.verdict = (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_NONE, .zone = ZONE_NONE };
	rcpt(w);
	CHECK_ANSWER("soft: policy's 554 is 451", w, VERDICT_DEFER, RULE_CLIENT, 451);
	CHECK_STR("enhanced", w->a.enhanced, "4.7.1");
	CHECK_TRUE("the same words", strstr(w->a.text, "; no reverse DNS (") != NULL);
	CHECK_EQ("would", w->a.would, VERDICT_REJECT);
	w->ctx.rcpt_deny = world_names(w, bob, NULL);
	rcpt(w);
	CHECK_ANSWER("soft: 550 of a denied recipient is 451", w, VERDICT_DEFER, RULE_RCPT_DENIED, 451);
	w->ctx.rcpt_deny = NULL;

	w->conf.mode = MODE_OBSERVE;
	rcpt(w);
	CHECK_ANSWER("observe: never refuses", w, VERDICT_PASS, RULE_CLIENT, 0);
	CHECK_EQ("would", w->a.would, VERDICT_REJECT);
	CHECK_STR("no text", w->a.text, "");
	CHECK_STR("no code", w->a.enhanced, "");
	w->q.verdict = clean();
	rcpt(w);
	CHECK_ANSWER("observe: never delays", w, VERDICT_PASS, RULE_GREYLIST, 0);
	CHECK_EQ("would", w->a.would, VERDICT_DEFER);
	CHECK_EQ("counted", counted(w, CTR_policy_observed), 2);
}

static void
test_connect(void **state)
{
	struct world *w = *state;
	const struct client_verdict listed = {
		.known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 9
	};

	w->q.verdict = listed;
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_EQ("rcpt is the default", w->a.verdict, VERDICT_PASS);
	w->conf.reject_at = REJECT_AT_CONNECT;
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_ANSWER("554 banner", w, VERDICT_REJECT, RULE_CLIENT, 554);
	CHECK_STR("no enhanced code in a greeting", w->a.enhanced, "");
	CHECK_TRUE("words",
		strncmp(w->a.text, "Sending address not accepted due to spam filter; bl.lab.example (", 65) == 0);
	CHECK_EQ("counted", counted(w, CTR_policy_connect_refused), 1);
	w->conf.mode = MODE_SOFT;
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_EQ("soft: 421", w->a.code, 421);
	w->conf.mode = MODE_OBSERVE;
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_EQ("observe", w->a.verdict, VERDICT_PASS);
	w->conf.mode = MODE_ENFORCE;

	w->q.verdict = (struct client_verdict){ .known = CLIENT_ASKED };
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_EQ("waits for DNS", w->a.verdict, VERDICT_WAIT);
	w->q.verdict = clean();
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_EQ("strangers get the banner: the greylist is RCPT's", w->a.verdict, VERDICT_PASS);
	policy_trap_store(&w->ctx, &w->q.client, false, false, 0, NOW_S);
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_EQ("a trap's 451 is RCPT's", w->a.verdict, VERDICT_PASS);
	w->ctx.client_deny = world_networks(w, "192.0.2.0/24", NULL);
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_ANSWER("denied clients", w, VERDICT_REJECT, RULE_DENIED, 554);
	w->ctx.client_allow = world_networks(w, "192.0.2.10", NULL);
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_EQ("allowed clients", w->a.verdict, VERDICT_PASS);
}

static void
test_syn(void **state)
{
	struct world *w = *state;
	const struct client_verdict listed = {
		.known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = 0, .score = 9, .time_s = NOW_S
	};
	const struct client_verdict fine = {
		.known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE, .time_s = NOW_S
	};
#define REFUSED(label, want) CHECK_EQ(label, policy_syn_refused(&w->ctx, 0, &w->q.client, NOW_S), want)

	w->ctx.client_deny = world_networks(w, "192.0.2.0/24", NULL);
	REFUSED("rcpt is the default", false);
	w->conf.reject_at = REJECT_AT_CONNECT;
	REFUSED("the banner refuses, not the SYN", false);
	w->conf.reject_at = REJECT_AT_SYN;
	REFUSED("a denied address, never heard of", true);
	w->conf.mode = MODE_SOFT;
	REFUSED("soft defers, by a banner", false);
	w->conf.mode = MODE_OBSERVE;
	REFUSED("observe refuses nobody", false);
	w->conf.mode = MODE_ENFORCE;
	w->conf.has_allowed_names = 1;
	REFUSED("its name may be allowed, and is not known", false);
	policy_client_store(&w->ctx, &w->q.client, &fine, NOW_S);
	REFUSED("it is known, and is not allowed", true);
	w->ctx.client_allow = world_networks(w, "192.0.2.10", NULL);
	REFUSED("an allowed address", false);
	w->conf.has_allowed_names = 0;
	REFUSED("an allowed address of a denied network", false);
	w->ctx.client_deny = NULL;
	w->ctx.client_allow = NULL;
	REFUSED("a stranger without a hit", false);
	policy_client_store(&w->ctx, &w->q.client, &listed, NOW_S);
	REFUSED("a listed client of the table", true);
	policy_syn_answer(&w->ctx, 0, &w->q.client, NOW_S, &w->a);
	CHECK_EQ("by its verdict", w->a.rule, RULE_CLIENT);
	CHECK_EQ("of so much", w->a.score, 9);
	w->ctx.client_deny = world_networks(w, "192.0.2.0/24", NULL);
	policy_syn_answer(&w->ctx, 0, &w->q.client, NOW_S, &w->a);
	CHECK_EQ("by the list before", w->a.rule, RULE_DENIED);
	CHECK_STR("with its reason", w->a.reason, "denied-client");
	CHECK_EQ("counted by who refuses it", counted(w, CTR_policy_connect_refused), 0);
#undef REFUSED
}

struct trace {
	unsigned n;
	enum policy_rule rule[16];
	bool matched[16];
};

static void
trace_add(void *arg, enum policy_rule rule, bool matched, const char *detail)
{
	struct trace *t = arg;

	assert_true(t->n < 16);
	CHECK_TRUE("a detail", detail[0] != '\0');
	t->rule[t->n] = rule;
	t->matched[t->n++] = matched;
}

static void
test_explain_traces_every_rule_in_order_and_writes_nothing(void **state)
{
	struct world *w = *state;
	struct trace t = { 0 };

	w->q.dry = true;
	policy_rcpt(&w->ctx, &w->q, &w->a, trace_add, &t);
	CHECK_EQ("twelve rules", t.n, 12);
	for (unsigned i = 0; i < t.n; i++) {
		CHECK_EQ("in order", t.rule[i], i + 1);
		CHECK_EQ("only the last matched", t.matched[i], i == 11);
	}
	CHECK_EQ("nothing written", records(w), 0);
	for (unsigned i = 0; i < COUNTER_N; i++)
		CHECK_EQ("nothing counted", counter_read(&w->counters, (enum counter)i), 0);
	w->q.dry = false;
	rcpt(w);
	w->q.dry = true;
	t.n = 0;
	w->q.now_s += 40;
	policy_rcpt(&w->ctx, &w->q, &w->a, trace_add, &t);
	CHECK_EQ("what would happen now", w->a.wait_s, 200);
	t.n = 0;
	w->q.verdict.score = 9;
	policy_rcpt(&w->ctx, &w->q, &w->a, trace_add, &t);
	CHECK_EQ("stops where it was decided", t.n, RULE_CLIENT);
	CHECK_TRUE("and says so", t.matched[7]);
}

/* Several judgements under way at once, each ended in its turn, come to what each alone comes to at that moment. */
static void
test_two_steps_come_to_the_same_as_one(void **state)
{
	static const struct {
		const char *label, *from, *rcpt;
		enum verdict want;
		enum policy_rule rule;
		uint32_t early_s; /* what is left of the block; 0: not the greylist's word */
	} rows[] = {
		{ "new", "alice@sender.example", "bob@example.org", VERDICT_DEFER, RULE_GREYLIST, BLOCK_S },
		{ "foreign", "alice@sender.example", "bob@foreign.example", VERDICT_REJECT, RULE_RELAY, 0 },
		{ "the same as the first", "alice@sender.example", "bob@example.org", VERDICT_DEFER, RULE_GREYLIST,
			BLOCK_S - 10 },
		{ "postmaster", "alice@sender.example", "postmaster@example.org", VERDICT_PASS, RULE_POSTMASTER, 0 },
		{ "null sender", "", "bob@example.org", VERDICT_PASS, RULE_GREYLIST, BLOCK_S },
	};
	struct world *w = *state;
	struct policy_question q[ARRAY_LEN(rows)];
	struct policy_answer a[ARRAY_LEN(rows)];
	struct judge *j[ARRAY_LEN(rows)];

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		q[i] = w->q;
		q[i].from = rows[i].from;
		q[i].rcpt = rows[i].rcpt;
		q[i].now_s += i == 2 ? 10 : 0;
		j[i] = malloc(policy_judge_octets());
		memset(&a[i], 0xee, sizeof(a[i]));
		policy_rcpt_begin(j[i], &w->ctx, &q[i], &a[i]);
	}
	CHECK_EQ("the first step writes no record", records(w), 0);
	CHECK_EQ("and judges nobody", counted(w, CTR_policy_judged), 0);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		policy_rcpt_end(j[i]);
		CHECK_STR(rows[i].label, policy_verdict_name(a[i].verdict), policy_verdict_name(rows[i].want));
		CHECK_STR(rows[i].label, policy_rule_name(a[i].rule), policy_rule_name(rows[i].rule));
		CHECK_EQ(rows[i].label, a[i].wait_s, rows[i].early_s);
		free(j[i]);
	}
	CHECK_EQ("one began", counted(w, CTR_policy_grey_new), 1);
	CHECK_EQ("all were judged", counted(w, CTR_policy_judged), ARRAY_LEN(rows));
}

static void
test_words(void **state)
{
	(void)state;
	CHECK_STR("rule", policy_rule_name(RULE_GREYLIST), "greylist");
	CHECK_STR("rule beyond", policy_rule_name((enum policy_rule)99), "unknown");
	CHECK_STR("verdict", policy_verdict_name(VERDICT_WAIT), "wait");
	CHECK_STR("verdict beyond", policy_verdict_name((enum verdict)77), "unknown");
	CHECK_STR("ptr", policy_ptr_name(PTR_TEMPERR), "temperr");
	CHECK_STR("ptr beyond", policy_ptr_name((enum ptr_state)77), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_relay_guard),
		WORLD_TEST(test_relay_star_needs_trust),
		WORLD_TEST(test_relay_comes_before_everything_and_in_every_mode),
		WORLD_TEST(test_postmaster_and_abuse_are_always_reached),
		WORLD_TEST(test_lists_decide_in_their_order),
		WORLD_TEST(test_client_lists),
		WORLD_TEST(test_pitfall_45_network_lists_are_exact),
		WORLD_TEST(test_pitfall_46_names_are_label_exact_and_confirmed),
		WORLD_TEST(test_opted_out_recipients_meet_no_greylist),
		WORLD_TEST(test_modes),
		WORLD_TEST(test_connect),
		WORLD_TEST(test_syn),
		WORLD_TEST(test_explain_traces_every_rule_in_order_and_writes_nothing),
		WORLD_TEST(test_two_steps_come_to_the_same_as_one),
		WORLD_TEST(test_words),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
