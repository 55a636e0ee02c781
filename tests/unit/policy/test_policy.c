/*
 * test_policy.c - the order of tests, the greylist in the table, modes, replies, traps, automatic allow (POLICY sections 2, 3, 4, 7).
 */
#include "tests/check.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/policy/autoallow.h"
#include "dataplane/policy/client.h"
#include "dataplane/policy/grey.h"
#include "dataplane/policy/policy.h"
#include "dataplane/policy/triplet.h"
#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

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

static const void *
names(struct world *w, const char *const *list, const uint64_t *values)
{
	struct name_set_entry e[16];
	uint32_t n = 0;
	size_t octets;
	void *out;

	for (; list[n] != NULL; n++)
		e[n] = (struct name_set_entry){ .name = list[n],
			.len_octets = (uint32_t)strlen(list[n]),
			.value = values != NULL ? values[n] : 1 };
	octets = name_set_octets(e, n);
	out = aligned_alloc(64, (octets + 63) / 64 * 64);
	assert_true(name_set_build(out, octets, e, n, 5) > 0);
	w->lists[w->n_lists++] = out;
	return out;
}

static const void *
networks(struct world *w, const char *a, const char *b)
{
	const char *const text[2] = { a, b };
	struct prefix_entry e[2];
	uint32_t n = 0;
	size_t octets;
	void *out;

	while (n < 2 && text[n] != NULL) {
		assert_int_equal(prefix_parse(text[n], &e[n]), 0);
		n++;
	}
	octets = prefix_table_octets(n);
	out = aligned_alloc(64, (octets + 63) / 64 * 64);
	assert_true(prefix_table_build(out, octets, e, n, 5) > 0);
	w->lists[w->n_lists++] = out;
	return out;
}

static void
from_client(struct world *w, const char *client)
{
	assert_int_equal(ip_addr_parse(client, &w->q.client), 0);
}

static struct client_verdict
clean(void)
{
	return (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
}

static int
setup(void **state)
{
	static const char *const domains[] = { "example.org", ".sub.example.org", "other.example", "*",
		"xn--bcher-kva.example", NULL };
	static const uint64_t values[] = { 1 | UINT64_C(3) << 32, 1 | UINT64_C(4) << 32, 2, 1 | UINT64_C(9) << 32, 1 };
	const struct siphash_key key = { 0x1234, 0x5678 };
	const size_t octets = (verdict_table_octets(BUCKETS) + 63) / 64 * 64;
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->conf = (struct conf){
		.mode = MODE_ENFORCE,
		.ptr_missing = EFFECT_REJECT,
		.grey_block_s = BLOCK_S,
		.grey_pass_s = 21600,
		.grey_expire_s = 36 * DAY_S,
		.grey_lapse_memory_s = 7 * DAY_S,
		.grey_window_max_s = 4 * DAY_S,
		.grey_auto_after = 5,
		.grey_source_budget = 0,
		.dnsbl_reject_threshold = 5,
		.dnsbl_grey_threshold = 1,
		.client_fresh_s = 43200,
		.trap_s = DAY_S,
	};
	snprintf(w->zones[0].name, sizeof(w->zones[0].name), "bl.lab.example");
	snprintf(w->zones[1].name, sizeof(w->zones[1].name), "public.name");
	w->memory = aligned_alloc(64, octets);
	memset(w->memory, 0, octets);
	verdict_table_bind(&w->table, w->memory, BUCKETS, &key);
	w->budget = calloc(SOURCE_BUDGET_CELLS, sizeof(*w->budget));
	w->ctx = (struct policy_ctx){ .conf = &w->conf,
		.domains = names(w, domains, values),
		.zones = w->zones,
		.n_zones = 2,
		.table = &w->table,
		.budget = w->budget,
		.counters = &w->counters };
	w->q = (struct policy_question){ .verdict = clean(),
		.helo = "mail.sender.example",
		.ptr_name = "mail.sender.example",
		.from = "alice@sender.example",
		.rcpt = "bob@example.org",
		.now_s = NOW_S };
	from_client(w, "192.0.2.10");
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < w->n_lists; i++)
		free(w->lists[i]);
	free(w->memory);
	free(w->budget);
	free(w);
	return 0;
}

static const struct policy_answer *
rcpt(struct world *w)
{
	memset(&w->a, 0xee, sizeof(w->a)); /* every field has to be set */
	policy_rcpt(&w->ctx, &w->q, &w->a, NULL, NULL);
	return &w->a;
}

static const struct policy_answer *
rcpt_at(struct world *w, uint32_t now_s)
{
	w->q.now_s = now_s;
	return rcpt(w);
}

static uint64_t
counted(const struct world *w, enum counter which)
{
	return counter_read(&w->counters, which);
}

static uint64_t
records(const struct world *w)
{
	struct vt_counts c;

	verdict_table_count(&w->table, &c);
	return c.used;
}

static void
make_white(struct world *w)
{
	rcpt(w);
	rcpt_at(w, w->q.now_s + BLOCK_S);
	CHECK_EQ("made WHITE", w->a.verdict, VERDICT_PASS);
}

#define CHECK_ANSWER(label, w, want_verdict, want_rule, want_code)                                                     \
	do {                                                                                                           \
		CHECK_STR(label, policy_verdict_name((w)->a.verdict), policy_verdict_name(want_verdict));              \
		CHECK_STR(label, policy_rule_name((w)->a.rule), policy_rule_name(want_rule));                          \
		CHECK_EQ(label, (w)->a.code, want_code);                                                               \
	} while (0)

/* --- rule 2: relay */

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
	w->ctx.client_allow = networks(w, "192.0.2.0/24", NULL);
	w->ctx.rcpt_allow = names(w, all, NULL);
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

/* --- rules 3 to 6 */

static void
test_postmaster_and_abuse_are_always_reached(void **state)
{
	static const char *const rcpts[] = { "postmaster@example.org", "POSTMASTER@example.org", "abuse@example.org",
		"postmaster", "\"postmaster\"@example.org" };
	static const char *const deny_rcpt[] = { "postmaster@example.org", NULL };
	struct world *w = *state;

	w->q.verdict = (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_NONE, .score = 9, .zone = 0 };
	w->ctx.client_deny = networks(w, "192.0.2.0/24", NULL);
	w->ctx.rcpt_deny = names(w, deny_rcpt, NULL);
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

	w->ctx.sender_deny = names(w, domain, NULL);
	rcpt(w);
	CHECK_ANSWER("denied sender", w, VERDICT_REJECT, RULE_DENIED, 554);
	CHECK_STR("word", w->a.reason, "denied-sender");
	CHECK_TRUE("text", strncmp(w->a.text, "Sending address not accepted due to spam filter; ", 49) == 0);

	w->ctx.sender_allow = names(w, alice, NULL);
	rcpt(w);
	CHECK_ANSWER("allowed comes before denied", w, VERDICT_PASS, RULE_ALLOWED, 0);
	CHECK_STR("word", w->a.reason, "allowed-sender");

	w->ctx.rcpt_deny = names(w, bob, NULL);
	rcpt(w);
	CHECK_ANSWER("denied recipient comes before allowed", w, VERDICT_REJECT, RULE_RCPT_DENIED, 550);
	w->ctx.rcpt_deny = NULL;
	w->ctx.sender_allow = NULL;

	w->ctx.rcpt_allow = names(w, bob, NULL);
	rcpt(w);
	CHECK_ANSWER("allowed recipient", w, VERDICT_PASS, RULE_ALLOWED, 0);
	w->ctx.rcpt_allow = NULL;
	w->ctx.sender_deny = NULL;

	w->q.from = "";
	w->ctx.sender_deny = names(w, (const char *const[]){ "*", NULL }, NULL);
	rcpt(w);
	CHECK_TRUE("the null sender is in no list", w->a.rule != RULE_DENIED);
}

static void
test_client_lists(void **state)
{
	struct world *w = *state;

	w->ctx.client_deny = networks(w, "192.0.2.0/24", "2001:db8:5::/48");
	rcpt(w);
	CHECK_ANSWER("denied network", w, VERDICT_REJECT, RULE_DENIED, 554);
	from_client(w, "2001:db8:5::99");
	rcpt(w);
	CHECK_ANSWER("denied IPv6 network", w, VERDICT_REJECT, RULE_DENIED, 554);
	from_client(w, "192.0.3.10");
	rcpt(w);
	CHECK_ANSWER("the next network is not in it", w, VERDICT_DEFER, RULE_GREYLIST, 451);
	w->ctx.client_allow = networks(w, "192.0.3.10", NULL);
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
	w->ctx.client_deny = networks(w, "192.0.2.0/31", NULL);
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
	const void *set = names(w, list, NULL);

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

/* --- rule 7 */

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
	w->ctx.client_allow = networks(w, "192.0.2.10", NULL);
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

/* --- rule 8 */

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

/* --- rule 8: waiting */

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
	w->ctx.rcpt_allow = names(w, bob, NULL);
	CHECK_EQ("an allowed recipient does not", rcpt(w)->verdict, VERDICT_PASS);
	w->ctx.rcpt_allow = NULL;
	w->ctx.rcpt_deny = names(w, bob, NULL);
	CHECK_EQ("a denied recipient does not", rcpt(w)->verdict, VERDICT_REJECT);
	w->ctx.rcpt_deny = NULL;
	w->ctx.rcpt_no_grey = names(w, bob, NULL);
	CHECK_EQ("opted out of greylisting still waits for a 554", rcpt(w)->verdict, VERDICT_WAIT);
	w->ctx.rcpt_no_grey = NULL;
	w->ctx.client_deny = networks(w, "192.0.2.0/24", NULL);
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
	w->ctx.rcpt_no_grey = names(w, bob, NULL);
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

/* --- rule 10 */

static void
test_opted_out_recipients_meet_no_greylist(void **state)
{
	static const char *const list[] = { "example.org", NULL };
	struct world *w = *state;

	w->ctx.rcpt_no_grey = names(w, list, NULL);
	rcpt(w);
	CHECK_ANSWER("passes", w, VERDICT_PASS, RULE_OPT_OUT, 0);
	w->q.verdict.score = 9;
	rcpt(w);
	CHECK_ANSWER("but the client's verdict comes first", w, VERDICT_REJECT, RULE_CLIENT, 554);
}

/* --- rule 12: the greylist on the table */

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

/* --- automatic allow */

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

/* --- modes */

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
	w->ctx.rcpt_deny = names(w, bob, NULL);
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

/* --- reject_at */

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
	w->ctx.client_deny = networks(w, "192.0.2.0/24", NULL);
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_ANSWER("denied clients", w, VERDICT_REJECT, RULE_DENIED, 554);
	w->ctx.client_allow = networks(w, "192.0.2.10", NULL);
	policy_connect(&w->ctx, &w->q, &w->a);
	CHECK_EQ("allowed clients", w->a.verdict, VERDICT_PASS);
}

/* --- the client's record */

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

/* --- explain */

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

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
		WORLD_TEST(test_trap_defers_for_its_time),
		WORLD_TEST(test_trap_of_the_operator_refuses),
		WORLD_TEST(test_trap_never_for_allowed_clients),
		WORLD_TEST(test_trap_of_the_future_does_not_block_for_ever),
		WORLD_TEST(test_client_verdict_rows),
		WORLD_TEST(test_client_reply_is_exact),
		WORLD_TEST(test_wait_only_while_the_answer_could_change_something),
		WORLD_TEST(test_wait_for_a_name_where_nothing_else_is_asked),
		WORLD_TEST(test_late_verdict_has_no_effect),
		WORLD_TEST(test_opted_out_recipients_meet_no_greylist),
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
		WORLD_TEST(test_modes),
		WORLD_TEST(test_observe_makes_the_triplet_white),
		WORLD_TEST(test_connect),
		WORLD_TEST(test_client_record_keeps_its_value),
		WORLD_TEST(test_client_record_ages),
		WORLD_TEST(test_explain_traces_every_rule_in_order_and_writes_nothing),
		WORLD_TEST(test_words),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
