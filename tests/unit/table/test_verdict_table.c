/*
 * test_verdict_table.c - the verdict table: finding, writing, eviction, durability, the invariants.
 *
 * Pure: a table in memory of its own. What several processes do to one table at once is kill_test.c, threads are
 *       threads_test.c.
 */
#include "dataplane/table/verdict_table.h"

#include <stdlib.h>

#include "dataplane/base/atomic128.h"
#include "tests/check.h"

#define NOW_S 1000000

static const struct siphash_key key = { 11, 22 };
static const struct vt_ages ages = { .now_s = NOW_S,
	.grey_s = 1000,
	.white_s = 100000,
	.client_s = 500,
	.auto_s = 2000,
	.tls_good_s = 5000,
	.tls_failed_s = 400 };

static struct verdict_table
table_of(uint32_t n_buckets)
{
	struct verdict_table t;
	const uint64_t octets = verdict_table_octets(n_buckets);
	void *memory = aligned_alloc(64, octets);

	memset(memory, 0, octets);
	verdict_table_bind(&t, memory, n_buckets, &key);
	return t;
}

static void
table_free(struct verdict_table *t)
{
	free(t->bucket);
}

static struct vt_entry
entry(uint64_t tag, enum vt_kind kind, enum vt_state state, uint32_t age_s)
{
	return (struct vt_entry){ .tag = tag, .time_s = NOW_S - age_s, .kind_state = vt_kind_state(kind, state) };
}

static enum vt_put
add(const struct verdict_table *t, struct vt_entry e, struct vt_entry *evicted)
{
	return verdict_table_put(t, NULL, &e, &ages, evicted);
}

static void
check_sound(const char *label, const struct verdict_table *t, uint32_t want)
{
	char why[128];
	const uint32_t wrong = verdict_table_check(t, why, sizeof(why));

	if (wrong != want)
		fail_msg("%s: got %u wrong entries (%s), want %u", label, wrong, why, want);
	CHECK_EQ(label, why[0] != '\0', want > 0);
}

static uint64_t rng = 0x1234;

static uint64_t
random64(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* A tag whose two buckets are those given, in either order. */
static uint64_t
tag_for(const struct verdict_table *t, uint32_t a, uint32_t b)
{
	for (;;) {
		const uint64_t tag = random64();
		uint32_t c[2];

		verdict_table_candidates(t, tag, c);
		if ((c[0] == a && c[1] == b) || (c[0] == b && c[1] == a))
			return tag;
	}
}

static void
test_atomic128_swaps_only_what_was_expected(void **state)
{
	struct octets16 cell = { 1, 2 }, old = { 1, 2 };

	(void)state;
	CHECK_TRUE("this machine", atomic128_cpu_ok() && verdict_table_cpu_ok());
	CHECK_TRUE("as expected", atomic128_cas(&cell, &old, (struct octets16){ 3, 4 }));
	CHECK_EQ("low", atomic128_load(&cell).lo, 3);
	CHECK_EQ("high", atomic128_load(&cell).hi, 4);
	old = (struct octets16){ 3, 5 };
	CHECK_TRUE("only half is as expected", !atomic128_cas(&cell, &old, (struct octets16){ 6, 7 }));
	CHECK_EQ("what is there, low", old.lo, 3);
	CHECK_EQ("what is there, high", old.hi, 4);
	CHECK_EQ("untouched", atomic128_load(&cell).hi, 4);
}

static void
test_verdict_table_candidates_depend_on_the_tag_alone_and_differ(void **state)
{
	static const uint32_t sizes[] = { 2, 3, 7, 1000, 65537 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		const struct verdict_table t = { .n_buckets = sizes[i] };

		for (unsigned k = 0; k < 1000; k++) {
			const uint64_t tag = random64();
			uint32_t a[2], b[2];

			verdict_table_candidates(&t, tag, a);
			verdict_table_candidates(&t, tag, b);
			CHECK_TRUE("inside", a[0] < sizes[i] && a[1] < sizes[i]);
			CHECK_TRUE("two", a[0] != a[1]);
			CHECK_TRUE("the same again", a[0] == b[0] && a[1] == b[1]);
		}
	}
}

static void
test_verdict_table_sizes_hold_what_the_design_says(void **state)
{
	const uint32_t n = verdict_table_buckets_for(100000000);

	(void)state;
	CHECK_TRUE("load 0.75", (uint64_t)n * 4 * 3 / 4 >= 100000000);
	CHECK_TRUE("100 million in 2 GiB", verdict_table_octets(n) <= UINT64_C(2) << 30);
	CHECK_EQ("at least one bucket", verdict_table_buckets_for(0), 1);
	CHECK_EQ("whole lines", verdict_table_octets(1) % 64, 0);
}

static void
test_verdict_table_put_find_update_remove(void **state)
{
	struct verdict_table t = table_of(100);
	struct vt_entry e = entry(77, VT_TRIPLET, VT_GREY, 10), got, changed;

	(void)state;
	CHECK_TRUE("not there", !verdict_table_find(&t, 77, &got));
	CHECK_EQ("insert", add(&t, e, NULL), VT_PUT_DONE);
	CHECK_TRUE("found", verdict_table_find(&t, 77, &got));
	CHECK_OCTETS("whole", &got, sizeof(got), &e, sizeof(e));
	CHECK_EQ("a second insert of the tag", add(&t, e, NULL), VT_PUT_RACED);

	changed = e;
	changed.kind_state = vt_kind_state(VT_TRIPLET, VT_WHITE);
	CHECK_EQ("update", verdict_table_put(&t, &e, &changed, NULL, NULL), VT_PUT_DONE);
	CHECK_EQ("update of what is no more", verdict_table_put(&t, &e, &changed, NULL, NULL), VT_PUT_RACED);
	verdict_table_prefetch(&t, 77);
	CHECK_TRUE("found", verdict_table_find(&t, 77, &got));
	CHECK_EQ("white now", vt_state(&got), VT_WHITE);

	CHECK_TRUE("remove what is no more", !verdict_table_remove(&t, &e));
	CHECK_TRUE("remove", verdict_table_remove(&t, &changed));
	CHECK_TRUE("gone", !verdict_table_find(&t, 77, &got));
	CHECK_EQ("insert again", add(&t, e, NULL), VT_PUT_DONE);
	check_sound("after all", &t, 0);
	table_free(&t);
}

static void
test_verdict_table_put_refuses_what_is_no_entry(void **state)
{
	static const struct {
		const char *label;
		struct vt_entry e;
	} rows[] = {
		{ "tag 0", { .tag = 0, .kind_state = VT_TRIPLET << 4 | VT_GREY } },
		{ "kind 0", { .tag = 1, .kind_state = 1 } },
		{ "a kind nobody knows", { .tag = 1, .kind_state = 9 << 4 } },
		{ "a claim", { .tag = 1, .kind_state = VT_CLAIM << 4 } },
	};
	struct verdict_table t = table_of(10);
	struct vt_counts n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_EQ(rows[i].label, add(&t, rows[i].e, NULL), VT_PUT_FULL);
	verdict_table_count(&t, &n);
	CHECK_EQ("empty", n.used, 0);
	table_free(&t);
}

static void
test_verdict_table_is_full_at_a_high_load(void **state)
{
	struct verdict_table t = table_of(verdict_table_buckets_for(30000));
	uint64_t evictions = 0;
	struct vt_counts n;

	(void)state;
	for (unsigned i = 0; i < 30000; i++) {
		struct vt_entry evicted;

		CHECK_EQ("insert", add(&t, entry(random64(), VT_TRIPLET, VT_GREY, 1), &evicted), VT_PUT_DONE);
		evictions += vt_kind(&evicted) != VT_FREE;
	}
	verdict_table_count(&t, &n);
	CHECK_EQ("grey and evicted make what came", n.grey + evictions, 30000);
	CHECK_EQ("used", n.used, n.grey);
	CHECK_EQ("by kind", n.by_kind[VT_TRIPLET], n.grey);
	CHECK_EQ("free", n.by_kind[VT_FREE], (uint64_t)t.n_buckets * 4 - n.used);
	if (evictions > 30000 / 100)
		fail_msg("evictions at a load of 0.75: got %llu, want under 1 %%", (unsigned long long)evictions);
	check_sound("full", &t, 0);
	table_free(&t);
}

/* Two buckets are all there is: every tag may lie in any of the 8 slots. */
static void
fill_two_buckets(const struct verdict_table *t, const struct vt_entry with[8])
{
	for (unsigned i = 0; i < 8; i++) {
		struct vt_entry evicted;

		CHECK_EQ("fill", add(t, with[i], &evicted), VT_PUT_DONE);
		CHECK_EQ("nothing goes while there is room", vt_kind(&evicted), VT_FREE);
	}
}

struct worth_row {
	const char *label;
	enum vt_kind kind;
	enum vt_state st;
	uint32_t age_s;
};

/* Two full buckets of these; they go in this order, whoever comes. */
static void
check_order(const struct worth_row order[8])
{
	struct verdict_table t = table_of(2);
	struct vt_entry with[8], evicted;

	for (unsigned i = 0; i < 8; i++)
		with[(i * 5) % 8] = entry(100 + i, order[i].kind, order[i].st, order[i].age_s);
	fill_two_buckets(&t, with);
	for (unsigned i = 0; i < 8; i++) {
		CHECK_EQ(order[i].label, add(&t, entry(200 + i, VT_TRIPLET, VT_WHITE, 0), &evicted), VT_PUT_DONE);
		CHECK_EQ(order[i].label, evicted.tag, 100 + i);
	}
	CHECK_EQ("no victim is left", add(&t, entry(300, VT_TRIPLET, VT_WHITE, 0), &evicted), VT_PUT_FULL);
	CHECK_EQ("nothing went", vt_kind(&evicted), VT_FREE);
	check_sound("full of white", &t, 0);
	table_free(&t);
}

static void
test_verdict_table_evicts_the_least_worth(void **state)
{
	static const struct worth_row order[] = {
		{ "expired white", VT_TRIPLET, VT_WHITE, 100000 },
		{ "expired client", VT_CLIENT, VT_NONE, 500 },
		{ "oldest grey", VT_TRIPLET, VT_GREY, 900 },
		{ "a pair is as grey", VT_PAIR, VT_NONE, 800 },
		{ "lapsed", VT_TRIPLET, VT_LAPSED, 700 },
		{ "newest grey", VT_TRIPLET, VT_GREY, 0 },
		{ "oldest client", VT_CLIENT, VT_NONE, 499 },
		{ "client", VT_CLIENT, VT_NONE, 10 },
	};
	static const struct worth_row handshakes[] = {
		{ "expired completed handshake", VT_TLS, VT_WHITE, 5000 },
		{ "expired failed handshake", VT_TLS, VT_GREY, 400 },
		{ "oldest grey", VT_TRIPLET, VT_GREY, 900 },
		{ "a failed handshake is as grey", VT_TLS, VT_GREY, 399 },
		{ "newest grey", VT_TRIPLET, VT_GREY, 0 },
		{ "a completed one is as a client's verdict", VT_TLS, VT_WHITE, 4999 },
		{ "oldest client", VT_CLIENT, VT_NONE, 499 },
		{ "client", VT_CLIENT, VT_NONE, 10 },
	};

	(void)state;
	check_order(order);
	check_order(handshakes);
}

static void
test_verdict_table_grey_never_evicts_what_was_earned(void **state)
{
	static const struct {
		const char *label;
		enum vt_kind kind;
		enum vt_state st;
	} earned[] = {
		{ "white", VT_TRIPLET, VT_WHITE },
		{ "automatic allow", VT_AUTO, VT_NONE },
		{ "trap", VT_TRAP, VT_NONE },
	};

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(earned); k++) {
		struct verdict_table t = table_of(2);
		struct vt_entry with[8], evicted, got;

		for (unsigned i = 0; i < 8; i++)
			with[i] = entry(100 + i, earned[k].kind, earned[k].st, 100);
		fill_two_buckets(&t, with);
		for (unsigned i = 0; i < 100; i++)
			CHECK_EQ(earned[k].label, add(&t, entry(1000 + i, VT_TRIPLET, VT_GREY, 0), &evicted),
				VT_PUT_FULL);
		for (unsigned i = 0; i < 8; i++)
			CHECK_TRUE(earned[k].label, verdict_table_find(&t, 100 + i, &got));
		table_free(&t);
	}
}

static void
test_verdict_table_a_time_in_the_future_is_young(void **state)
{
	struct verdict_table t = table_of(2);
	struct vt_entry with[8], evicted;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		with[i] = entry(100 + i, VT_TRIPLET, VT_GREY, 0);
	with[3].time_s = UINT32_MAX; /* not 4 billion seconds old */
	with[5].time_s = NOW_S - 1;
	fill_two_buckets(&t, with);
	CHECK_EQ("insert", add(&t, entry(200, VT_TRIPLET, VT_GREY, 0), &evicted), VT_PUT_DONE);
	CHECK_EQ("the one second old one goes", evicted.tag, 105);
	table_free(&t);
}

static void
test_verdict_table_claims_of_the_killed_are_free_to_readers_and_first_to_go(void **state)
{
	struct verdict_table t = table_of(2);
	struct vt_entry with[8], evicted, got, bucket[4];
	struct vt_counts n;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		with[i] = entry(100 + i, VT_TRIPLET, VT_GREY, 900);
	fill_two_buckets(&t, with);
	t.bucket[2].kind_state = vt_kind_state(VT_CLAIM, VT_NONE);
	CHECK_TRUE("not found", !verdict_table_find(&t, t.bucket[2].tag, &got));
	verdict_table_read_bucket(&t, 0, bucket);
	CHECK_EQ("not read", vt_kind(&bucket[2]), VT_FREE);
	CHECK_EQ("nor its tag", bucket[2].tag, 0);
	check_sound("a claim is no fault", &t, 0);
	verdict_table_count(&t, &n);
	CHECK_EQ("counted", n.by_kind[VT_CLAIM], 1);
	CHECK_EQ("not as used", n.used, 7);
	CHECK_EQ("its tag can be inserted", add(&t, entry(t.bucket[2].tag, VT_TRIPLET, VT_GREY, 1), &evicted),
		VT_PUT_DONE);
	CHECK_EQ("into its place", vt_kind(&evicted), VT_FREE);
	verdict_table_count(&t, &n);
	CHECK_EQ("it is gone", n.by_kind[VT_CLAIM], 0);
	CHECK_EQ("eight again", n.used, 8);
	check_sound("sound", &t, 0);
	table_free(&t);
}

static void
test_verdict_table_a_foreign_claim_of_the_same_tag_is_taken_away(void **state)
{
	struct verdict_table t = table_of(2);
	struct vt_counts n;

	(void)state;
	t.bucket[5] = (struct vt_entry){ .tag = 42, .time_s = 9, .kind_state = vt_kind_state(VT_CLAIM, VT_NONE) };
	CHECK_EQ("insert", add(&t, entry(42, VT_TRIPLET, VT_GREY, 1), NULL), VT_PUT_DONE);
	verdict_table_count(&t, &n);
	CHECK_EQ("no claim", n.by_kind[VT_CLAIM], 0);
	CHECK_EQ("one entry", n.used, 1);
	table_free(&t);
}

static void
test_verdict_table_check_finds_what_is_wrong(void **state)
{
	struct verdict_table t = table_of(50);
	const struct vt_entry e = entry(tag_for(&t, 3, 30), VT_TRIPLET, VT_GREY, 1);

	(void)state;
	t.bucket[3 * 4 + 1] = e;
	check_sound("at home", &t, 0);
	t.bucket[30 * 4 + 2] = e;
	check_sound("twice", &t, 1);
	t.bucket[30 * 4 + 2] = (struct vt_entry){ 0 };
	t.bucket[4 * 4] = e;
	check_sound("in a bucket not its own", &t, 1);
	t.bucket[4 * 4] = (struct vt_entry){ .tag = 5, .kind_state = 12 << 4 };
	check_sound("of unknown kind", &t, 1);
	t.bucket[4 * 4] = (struct vt_entry){ .tag = 5 };
	check_sound("free with a tag", &t, 1);
	t.bucket[4 * 4] = (struct vt_entry){ .kind_state = VT_CLIENT << 4 };
	check_sound("without a tag", &t, 1);
	table_free(&t);
}

static void
test_verdict_table_merge_joins_what_damage_doubled(void **state)
{
	struct verdict_table t = table_of(50);
	const uint64_t tag = tag_for(&t, 3, 30);
	uint32_t c[2];
	struct vt_entry got;

	(void)state;
	verdict_table_candidates(&t, tag, c);
	t.bucket[c[0] * 4 + 1] = entry(tag, VT_TRIPLET, VT_GREY, 5);
	t.bucket[c[0] * 4 + 3] = entry(tag, VT_TRIPLET, VT_WHITE, 3);
	t.bucket[c[1] * 4 + 0] = entry(tag, VT_TRIPLET, VT_LAPSED, 50);
	check_sound("three of them", &t, 2);
	CHECK_EQ("two went", verdict_table_merge(&t, tag), 2);
	check_sound("one is left", &t, 0);
	CHECK_TRUE("found", verdict_table_find(&t, tag, &got));
	CHECK_EQ("lower slot", t.bucket[c[0] * 4 + 1].tag, tag);
	CHECK_EQ("highest state", vt_state(&got), VT_WHITE);
	CHECK_EQ("earliest time", got.time_s, NOW_S - 50);
	CHECK_EQ("nothing more to do", verdict_table_merge(&t, tag), 0);
	table_free(&t);
}

/* What lets a load put without looking, and what takes that away. */
static void
test_verdict_table_load_looks_where_somebody_put(void **state)
{
	static const struct {
		const char *label;
		bool put_first, same_kind; /* by somebody, an entry of the tag or of another kind */
		uint32_t known_kinds;
		uint64_t want_put, want_known, want_wrong;
	} rows[] = {
		{ "nobody put any: the caller answers for the tags", false, false, 0, 1, 0, 1 },
		{ "a load had the kind", false, false, 1u << VT_TRIPLET, 0, 1, 0 },
		{ "a load had all kinds", false, false, VT_KINDS_ALL, 0, 1, 0 },
		{ "somebody put the kind", true, true, 0, 0, 1, 0 },
		{ "somebody put another kind", true, false, 0, 1, 0, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct verdict_table t = table_of(50);
		const struct vt_entry e = entry(tag_for(&t, 3, 30), VT_TRIPLET, VT_WHITE, 5);
		struct vt_load out = { 0 };

		if (rows[i].put_first)
			CHECK_EQ(rows[i].label,
				add(&t, entry(77, rows[i].same_kind ? VT_TRIPLET : VT_CLIENT, VT_GREY, 5), NULL),
				VT_PUT_DONE);
		verdict_table_load(&t, &e, 1, &ages, VT_KINDS_ALL, &out);
		CHECK_EQ(rows[i].label, out.put, 1);
		CHECK_TRUE(rows[i].label, verdict_table_may_hold(&t, VT_TRIPLET));
		out = (struct vt_load){ 0 };
		verdict_table_load(&t, &e, 1, &ages, rows[i].known_kinds, &out);
		CHECK_EQ(rows[i].label, out.put, rows[i].want_put);
		CHECK_EQ(rows[i].label, out.known, rows[i].want_known);
		check_sound(rows[i].label, &t, (uint32_t)rows[i].want_wrong);
		table_free(&t);
	}
}

/* All fit at a load of 0.6, and the buckets are no fuller than where both are always looked at. */
static void
test_verdict_table_load_spreads_over_both_buckets(void **state)
{
	enum { BUCKETS = 4096, N = BUCKETS * 4 * 6 / 10 };
	static struct vt_entry e[N];
	struct verdict_table t = table_of(BUCKETS);
	struct vt_load out = { 0 };
	uint32_t full = 0;

	(void)state;
	for (uint32_t i = 0; i < N; i++) /* in the order of the tags, as a database gives them */
		e[i] = entry(UINT64_MAX / N * i + (random64() >> 20) + 1, VT_TRIPLET, VT_GREY, 5);
	for (uint32_t i = 0; i < N; i += VT_LOAD_MAX)
		verdict_table_load(&t, e + i, MIN(N - i, (uint32_t)VT_LOAD_MAX), &ages, 0, &out);
	CHECK_EQ("all were put", out.put, N);
	for (uint32_t b = 0; b < BUCKETS; b++) {
		struct vt_entry in[4];

		verdict_table_read_bucket(&t, b, in);
		full += vt_kind(&in[0]) != VT_FREE && vt_kind(&in[1]) != VT_FREE && vt_kind(&in[2]) != VT_FREE &&
		        vt_kind(&in[3]) != VT_FREE;
	}
	if (full > BUCKETS / 8)
		fail_msg("%u of %u buckets are full", full, BUCKETS);
	check_sound("spread", &t, 0);
	table_free(&t);
}

static uint32_t
take_all(const struct verdict_table *t, uint32_t *buckets, uint32_t room, uint32_t step)
{
	uint32_t cursor = 0, n = 0, got;

	while (n < room && (got = verdict_table_take_dirty(t, &cursor, buckets + n, MIN(step, room - n))) > 0)
		n += got;
	return n;
}

static void
test_verdict_table_dirty_follows_every_write(void **state)
{
	struct verdict_table t = table_of(200);
	const struct vt_entry e = entry(tag_for(&t, 70, 150), VT_TRIPLET, VT_GREY, 1);
	struct vt_entry changed = e, got;
	uint32_t buckets[200], other[200];

	(void)state;
	changed.aux = 9;
	CHECK_EQ("clean", take_all(&t, buckets, 200, 10), 0);
	add(&t, e, NULL);
	CHECK_EQ("after an insert", take_all(&t, buckets, 200, 10), 1);
	CHECK_TRUE("its bucket", buckets[0] == 70 || buckets[0] == 150);
	CHECK_EQ("once", take_all(&t, other, 200, 10), 0);
	verdict_table_put(&t, &e, &changed, NULL, NULL);
	CHECK_EQ("after an update", take_all(&t, other, 200, 10), 1);
	CHECK_EQ("the same bucket", other[0], buckets[0]);
	verdict_table_remove(&t, &changed);
	CHECK_EQ("after a removal", take_all(&t, other, 200, 10), 1);
	verdict_table_find(&t, e.tag, &got);
	CHECK_EQ("reading dirties nothing", take_all(&t, other, 200, 10), 0);
	table_free(&t);
}

static void
test_verdict_table_take_dirty_gives_all_in_steps_and_survives_a_killed_taker(void **state)
{
	struct verdict_table t = table_of(131);
	uint32_t buckets[300], n;
	bool seen[131] = { false };

	(void)state;
	verdict_table_dirty_all(&t);
	n = take_all(&t, buckets, 300, 7);
	CHECK_EQ("every bucket once", n, 131);
	for (uint32_t i = 0; i < n; i++) {
		CHECK_TRUE("no bucket twice", !seen[buckets[i]]);
		seen[buckets[i]] = true;
	}
	/* killed here: nothing was committed */
	verdict_table_requeue_in_flight(&t);
	CHECK_EQ("all again", take_all(&t, buckets, 300, 50), 131);
	verdict_table_committed(&t, buckets, 100);
	verdict_table_requeue_in_flight(&t);
	CHECK_EQ("only what was not committed", take_all(&t, buckets, 300, 50), 31);
	verdict_table_committed(&t, buckets, 31);
	verdict_table_requeue_in_flight(&t);
	CHECK_EQ("nothing", take_all(&t, buckets, 300, 50), 0);

	/* killed between the two stores of a take: both bits set */
	t.dirty[1] = t.in_flight[1] = 2;
	verdict_table_requeue_in_flight(&t);
	CHECK_EQ("once", take_all(&t, buckets, 300, 50), 1);
	CHECK_EQ("bucket", buckets[0], 65);
	table_free(&t);
}

static void
test_verdict_table_take_dirty_drops_bits_beyond_the_end(void **state)
{
	struct verdict_table t = table_of(10);
	uint32_t buckets[64];

	(void)state;
	t.dirty[0] = UINT64_MAX; /* damage */
	CHECK_EQ("only buckets there are", take_all(&t, buckets, 64, 64), 10);
	CHECK_EQ("the rest is cleared", t.dirty[0], 0);
	table_free(&t);
}

static void
test_verdict_table_of_one_bucket_works(void **state)
{
	struct verdict_table t = table_of(1);
	struct vt_entry evicted, got;

	(void)state;
	for (unsigned i = 1; i <= 4; i++)
		CHECK_EQ("room for four", add(&t, entry(i, VT_TRIPLET, VT_WHITE, 0), NULL), VT_PUT_DONE);
	CHECK_EQ("not for five", add(&t, entry(5, VT_TRIPLET, VT_WHITE, 0), &evicted), VT_PUT_FULL);
	for (unsigned i = 1; i <= 4; i++)
		CHECK_TRUE("found", verdict_table_find(&t, i, &got));
	check_sound("one bucket", &t, 0);
	table_free(&t);
}

static void
test_verdict_table_survives_hostile_memory(void **state)
{
	struct verdict_table t = table_of(64);
	uint32_t buckets[64];
	struct vt_counts n;
	char why[8];

	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		for (uint64_t i = 0; i < verdict_table_octets(64) / 8; i++)
			((uint64_t *)(void *)t.bucket)[i] = random64() & random64();
		for (unsigned i = 0; i < 300; i++) {
			const struct vt_entry e =
				entry(random64() | 1, (enum vt_kind)(1 + i % 6), (enum vt_state)(i % 4), i);
			struct vt_entry got, want;

			add(&t, e, &got);
			if (verdict_table_find(&t, e.tag, &got)) {
				want = got;
				want.aux++;
				verdict_table_put(&t, &got, &want, &ages, NULL);
			}
			verdict_table_merge(&t, random64());
		}
		take_all(&t, buckets, 64, 64);
		verdict_table_requeue_in_flight(&t);
		verdict_table_check(&t, why, sizeof(why));
		verdict_table_count(&t, &n);
		CHECK_TRUE("counted", n.used + n.by_kind[VT_FREE] + n.by_kind[VT_CLAIM] == 256);
	}
	table_free(&t);
}

/* Who looks for nothing where nothing can be must not miss what is there, nor look for what was never there. */
static void
test_verdict_table_knows_the_kinds_it_may_hold(void **state)
{
	struct verdict_table t = table_of(64);
	struct vt_entry e = entry(77, VT_TRAP, VT_NONE, 0);

	(void)state;
	for (unsigned kind = VT_TRIPLET; kind <= VT_KIND_KNOWN; kind++)
		CHECK_TRUE("none yet", !verdict_table_may_hold(&t, (enum vt_kind)kind));
	CHECK_EQ("a kind that cannot be", add(&t, entry(5, (enum vt_kind)9, VT_NONE, 0), NULL), VT_PUT_FULL);
	CHECK_EQ("no bit for it", *t.kinds, 0);
	CHECK_EQ("a trap", add(&t, e, NULL), VT_PUT_DONE);
	for (unsigned kind = VT_TRIPLET; kind <= VT_KIND_KNOWN; kind++)
		CHECK_EQ("traps alone", verdict_table_may_hold(&t, (enum vt_kind)kind), kind == VT_TRAP);
	CHECK_TRUE("removed", verdict_table_remove(&t, &e));
	CHECK_TRUE("another may come any time", verdict_table_may_hold(&t, VT_TRAP));
	table_free(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_atomic128_swaps_only_what_was_expected),
		cmocka_unit_test(test_verdict_table_candidates_depend_on_the_tag_alone_and_differ),
		cmocka_unit_test(test_verdict_table_knows_the_kinds_it_may_hold),
		cmocka_unit_test(test_verdict_table_sizes_hold_what_the_design_says),
		cmocka_unit_test(test_verdict_table_put_find_update_remove),
		cmocka_unit_test(test_verdict_table_put_refuses_what_is_no_entry),
		cmocka_unit_test(test_verdict_table_is_full_at_a_high_load),
		cmocka_unit_test(test_verdict_table_evicts_the_least_worth),
		cmocka_unit_test(test_verdict_table_grey_never_evicts_what_was_earned),
		cmocka_unit_test(test_verdict_table_a_time_in_the_future_is_young),
		cmocka_unit_test(test_verdict_table_claims_of_the_killed_are_free_to_readers_and_first_to_go),
		cmocka_unit_test(test_verdict_table_a_foreign_claim_of_the_same_tag_is_taken_away),
		cmocka_unit_test(test_verdict_table_check_finds_what_is_wrong),
		cmocka_unit_test(test_verdict_table_merge_joins_what_damage_doubled),
		cmocka_unit_test(test_verdict_table_load_looks_where_somebody_put),
		cmocka_unit_test(test_verdict_table_load_spreads_over_both_buckets),
		cmocka_unit_test(test_verdict_table_dirty_follows_every_write),
		cmocka_unit_test(test_verdict_table_take_dirty_gives_all_in_steps_and_survives_a_killed_taker),
		cmocka_unit_test(test_verdict_table_take_dirty_drops_bits_beyond_the_end),
		cmocka_unit_test(test_verdict_table_of_one_bucket_works),
		cmocka_unit_test(test_verdict_table_survives_hostile_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
