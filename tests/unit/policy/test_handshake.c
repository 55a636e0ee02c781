/*
 * test_handshake.c - what is remembered of handshakes: the second failure hides for ten minutes, a completed one protects for thirty days.
 */
#include "dataplane/policy/handshake.h"
#include "tests/unit/policy/world.h"

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	CHECK_EQ(text, ip_addr_parse(text, &a), 0);
	return a;
}

/* What happens, row by row, to one address. */
static void
test_handshake_follows_the_timeline(void **state)
{
	enum what { FAIL, DONE, LOOK };
	static const struct {
		const char *label;
		uint32_t at_s; /* after NOW_S */
		enum what what;
		bool hides;
		enum handshake_state want;
	} rows[] = {
		{ "nobody knows it", 0, LOOK, false, HANDSHAKE_NONE },
		{ "the first failure hides nothing", 0, FAIL, false, HANDSHAKE_FAILED },
		{ "it is remembered", 86399, LOOK, false, HANDSHAKE_FAILED },
		{ "but not for ever", 86400, LOOK, false, HANDSHAKE_NONE },
		{ "so this is a first one", 86400, FAIL, false, HANDSHAKE_FAILED },
		{ "the second hides", 86500, FAIL, true, HANDSHAKE_HIDDEN },
		{ "one more in between says nothing new", 86600, FAIL, false, HANDSHAKE_HIDDEN },
		{ "for ten minutes from the second on", 86500 + 599, LOOK, false, HANDSHAKE_HIDDEN },
		{ "and no longer", 86500 + 600, LOOK, false, HANDSHAKE_NONE },
		{ "then it takes two again", 86500 + 600, FAIL, false, HANDSHAKE_FAILED },
		{ "two", 86500 + 601, FAIL, true, HANDSHAKE_HIDDEN },
		{ "a completed one ends it at once", 86500 + 700, DONE, false, HANDSHAKE_GOOD },
		{ "failures do not count then", 86500 + 800, FAIL, false, HANDSHAKE_GOOD },
		{ "nor a second one", 86500 + 801, FAIL, false, HANDSHAKE_GOOD },
		{ "nor on the thirtieth day", 86500 + 700 + 30 * DAY_S - 1, FAIL, false, HANDSHAKE_GOOD },
		{ "the record may be half a day older than the last one it stands for",
			86500 + 700 + 30 * DAY_S + 43199, FAIL, false, HANDSHAKE_GOOD },
		{ "after that they do", 86500 + 700 + 30 * DAY_S + 43200, FAIL, false, HANDSHAKE_FAILED },
		{ "and hide", 86500 + 700 + 30 * DAY_S + 43300, FAIL, true, HANDSHAKE_HIDDEN },
	};
	struct world *w = *state;
	const struct ip_addr client = addr("192.0.2.7");

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint32_t now_s = NOW_S + rows[i].at_s;
		bool hides = false;

		if (rows[i].what == FAIL)
			hides = policy_tls_failed(&w->ctx, &client, now_s);
		else if (rows[i].what == DONE)
			policy_tls_done(&w->ctx, &client, now_s);
		CHECK_EQ(rows[i].label, hides, rows[i].hides);
		CHECK_EQ(rows[i].label, policy_tls_state(&w->ctx, &client, now_s).state, rows[i].want);
	}
}

/* Whoever completes one every day is protected for thirty days from the last, whenever the record was written. */
static void
test_handshake_thirty_days_count_from_the_last_one(void **state)
{
	struct world *w = *state;
	const struct ip_addr client = addr("192.0.2.7");

	for (uint32_t gap_s = 1; gap_s < 3 * DAY_S; gap_s = gap_s * 3 + 1) {
		uint32_t now_s = NOW_S;

		for (uint32_t i = 0; i < 10; i++, now_s += gap_s)
			policy_tls_done(&w->ctx, &client, now_s);
		now_s += 30 * DAY_S - gap_s - 1; /* thirty days but a second after the last */
		CHECK_TRUE("first", !policy_tls_failed(&w->ctx, &client, now_s));
		CHECK_TRUE("second", !policy_tls_failed(&w->ctx, &client, now_s));
		CHECK_EQ("never hidden", policy_tls_state(&w->ctx, &client, now_s).state, HANDSHAKE_GOOD);
		verdict_table_bind(
			&w->table, memset(w->memory, 0, verdict_table_octets(BUCKETS)), BUCKETS, &w->table.key);
	}
}

static void
test_handshake_is_of_one_address_alone(void **state)
{
	static const char *const others[] = { "192.0.2.8", "192.0.3.7", "2001:db8::1", "::ffff:192.0.2.9" };
	struct world *w = *state;
	const struct ip_addr client = addr("192.0.2.7"), six = addr("2001:db8::2");

	policy_tls_failed(&w->ctx, &client, NOW_S);
	CHECK_TRUE("hidden", policy_tls_failed(&w->ctx, &client, NOW_S));
	policy_tls_failed(&w->ctx, &six, NOW_S);
	CHECK_TRUE("hidden", policy_tls_failed(&w->ctx, &six, NOW_S));
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		const struct ip_addr other = addr(others[i]);

		CHECK_EQ(others[i], policy_tls_state(&w->ctx, &other, NOW_S).state, HANDSHAKE_NONE);
		CHECK_TRUE(others[i], !policy_tls_failed(&w->ctx, &other, NOW_S));
	}
	CHECK_TRUE("a verdict of the same address is another record",
		policy_tls_tag(&w->table, &client) != policy_client_tag(&w->table, &client) &&
			policy_tls_tag(&w->table, &client) != policy_trap_tag(&w->table, &client));
}

static void
test_handshake_that_finds_no_room_hides_nothing(void **state)
{
	struct world *w = *state;
	const struct vt_ages ages = policy_ages(&w->conf, NOW_S);
	const struct ip_addr client = addr("192.0.2.7");

	for (uint64_t tag = 1; tag < BUCKETS * 40; tag++) {
		const struct vt_entry e = { .tag = tag * UINT64_C(0x9e3779b97f4a7c15),
			.time_s = NOW_S,
			.kind_state = vt_kind_state(VT_TRIPLET, VT_WHITE) };

		verdict_table_put(&w->table, NULL, &e, &ages, NULL);
	}
	for (int i = 0; i < 3; i++)
		CHECK_TRUE("refused", !policy_tls_failed(&w->ctx, &client, NOW_S));
	policy_tls_done(&w->ctx, &client, NOW_S);
	CHECK_EQ("nothing known", policy_tls_state(&w->ctx, &client, NOW_S).state, HANDSHAKE_NONE);
	CHECK_EQ("counted", counted(w, CTR_policy_table_full), 4);
	w->ctx.table = NULL;
	CHECK_TRUE("without a table", !policy_tls_failed(&w->ctx, &client, NOW_S));
	CHECK_EQ("nothing known", policy_tls_state(&w->ctx, &client, NOW_S).state, HANDSHAKE_NONE);
}

static void
test_handshake_forgetting_a_client_keeps_what_protects_it(void **state)
{
	struct world *w = *state;
	const struct ip_addr client = addr("192.0.2.7");

	policy_tls_failed(&w->ctx, &client, NOW_S);
	policy_tls_failed(&w->ctx, &client, NOW_S);
	CHECK_EQ("forgotten", policy_client_forget(&w->ctx, &client), 1);
	CHECK_EQ("not hidden any more", policy_tls_state(&w->ctx, &client, NOW_S).state, HANDSHAKE_NONE);
	policy_tls_done(&w->ctx, &client, NOW_S);
	CHECK_EQ("kept", policy_client_forget(&w->ctx, &client), 0);
	CHECK_EQ("protected", policy_tls_state(&w->ctx, &client, NOW_S).state, HANDSHAKE_GOOD);
}

static void
test_handshake_a_time_in_the_future_counts_as_now(void **state)
{
	struct world *w = *state;
	const struct ip_addr client = addr("192.0.2.7");
	struct handshake h;

	policy_tls_failed(&w->ctx, &client, NOW_S + DAY_S);
	policy_tls_failed(&w->ctx, &client, NOW_S + DAY_S);
	h = policy_tls_state(&w->ctx, &client, NOW_S);
	CHECK_EQ("hidden", h.state, HANDSHAKE_HIDDEN);
	CHECK_EQ("ten minutes at most", h.left_s, 600);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_handshake_follows_the_timeline),
		WORLD_TEST(test_handshake_thirty_days_count_from_the_last_one),
		WORLD_TEST(test_handshake_is_of_one_address_alone),
		WORLD_TEST(test_handshake_that_finds_no_room_hides_nothing),
		WORLD_TEST(test_handshake_forgetting_a_client_keeps_what_protects_it),
		WORLD_TEST(test_handshake_a_time_in_the_future_counts_as_now),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
