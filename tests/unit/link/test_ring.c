/*
 * test_ring.c - rings between processes: order, full, wrap-around, what a kill leaves, indices that cannot be.
 */
#include "dataplane/link/ring.h"

#include <stdlib.h>

#include "tests/check.h"

enum { OCTETS = 64, RECORDS = 8 };

static struct ring
ring_new(void)
{
	const uint64_t octets = ring_octets(OCTETS, RECORDS);
	void *memory = aligned_alloc(64, octets);
	struct ring r;

	memset(memory, 0, octets);
	ring_bind(&r, memory, OCTETS, RECORDS);
	return r;
}

static bool
put(struct ring *r, uint64_t value)
{
	uint64_t *slot = ring_reserve(r);

	if (slot == NULL)
		return false;
	*slot = value;
	ring_publish(r);
	return true;
}

static int64_t
get(struct ring *r)
{
	const uint64_t *slot = ring_front(r);
	int64_t value;

	if (slot == NULL)
		return -1;
	value = (int64_t)*slot;
	ring_release(r);
	return value;
}

static void
test_ring_keeps_order_over_many_rounds(void **state)
{
	struct ring r = ring_new();
	uint64_t in = 0, out = 0;

	(void)state;
	CHECK_EQ("empty", get(&r), -1);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 1 + round % RECORDS; i++)
			CHECK_TRUE("room", put(&r, in++));
		CHECK_EQ("count", ring_count(&r), in - out);
		while (out < in)
			CHECK_EQ("in order", get(&r), out++);
		CHECK_EQ("empty", get(&r), -1);
	}
	CHECK_EQ("never full", r.full, 0);
	free(r.shared);
}

static void
test_ring_full_refuses_and_counts(void **state)
{
	struct ring r = ring_new();

	(void)state;
	for (unsigned i = 0; i < RECORDS; i++)
		CHECK_TRUE("room", put(&r, i));
	CHECK_TRUE("full", !put(&r, 99));
	CHECK_TRUE("full", !put(&r, 99));
	CHECK_EQ("counted", r.full, 2);
	CHECK_EQ("the oldest", get(&r), 0);
	CHECK_TRUE("room again", put(&r, RECORDS));
	for (unsigned i = 1; i <= RECORDS; i++)
		CHECK_EQ("nothing lost, nothing overwritten", get(&r), i);
	free(r.shared);
}

static void
test_ring_a_record_that_was_not_published_is_not_there(void **state)
{
	struct ring r = ring_new(), next_life;
	uint64_t *slot = ring_reserve(&r);

	(void)state;
	*slot = 666; /* killed here */
	CHECK_EQ("nothing to see", get(&r), -1);
	ring_bind(&next_life, r.shared, OCTETS, RECORDS);
	put(&next_life, 7);
	CHECK_EQ("only what was published", get(&r), 7);
	CHECK_EQ("and no more", get(&r), -1);
	free(r.shared);
}

static void
test_ring_a_consumer_killed_before_release_sees_the_record_again(void **state)
{
	struct ring r = ring_new(), next_life;

	(void)state;
	put(&r, 5);
	CHECK_TRUE("read", ring_front(&r) != NULL); /* killed here */
	ring_bind(&next_life, r.shared, OCTETS, RECORDS);
	CHECK_EQ("again", get(&next_life), 5);
	free(r.shared);
}

static void
test_ring_hostile_indices_are_reset_by_the_consumer(void **state)
{
	static const struct {
		const char *label;
		uint64_t head, tail;
	} rows[] = {
		{ "head far ahead", UINT64_C(1) << 40, 0 },
		{ "tail ahead of head", 3, 4 },
		{ "one too many", RECORDS + 1, 0 },
		{ "all ones", UINT64_MAX, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ring r = ring_new();

		r.shared->head = rows[i].head;
		r.shared->tail = rows[i].tail;
		CHECK_EQ(rows[i].label, ring_count(&r), 0);
		CHECK_TRUE(rows[i].label, !put(&r, 1));
		CHECK_EQ(rows[i].label, get(&r), -1);
		CHECK_EQ(rows[i].label, r.broken, 1);
		CHECK_TRUE(rows[i].label, put(&r, 2));
		CHECK_EQ(rows[i].label, get(&r), 2);
		free(r.shared);
	}
}

static void
test_ring_indices_wrap_around(void **state)
{
	struct ring r = ring_new();

	(void)state;
	r.shared->head = r.shared->tail = UINT64_MAX - 2;
	for (unsigned i = 0; i < 100; i++) {
		CHECK_TRUE("put", put(&r, i) && put(&r, i + 1000));
		CHECK_EQ("get", get(&r), i);
		CHECK_EQ("get", get(&r), i + 1000);
	}
	CHECK_EQ("not broken", r.broken, 0);
	free(r.shared);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_keeps_order_over_many_rounds),
		cmocka_unit_test(test_ring_full_refuses_and_counts),
		cmocka_unit_test(test_ring_a_record_that_was_not_published_is_not_there),
		cmocka_unit_test(test_ring_a_consumer_killed_before_release_sees_the_record_again),
		cmocka_unit_test(test_ring_hostile_indices_are_reset_by_the_consumer),
		cmocka_unit_test(test_ring_indices_wrap_around),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
