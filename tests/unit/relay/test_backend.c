/*
 * test_backend.c - choosing a backend, what a listener offers, how a state changes.
 */
#include "dataplane/relay/backend.h"

#include "tests/check.h"

enum { N = 4 };

static struct conf_backend backends[N];
static struct backend_state states[N];
static const struct conf_pool pool = { .name = "default", .backends = 0xf };

static int
all_up(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		backends[i] = (struct conf_backend){ .id = i + 1, .port = 25 };
		states[i] = (struct backend_state){ .id = i + 1,
			.health = BACKEND_UP,
			.probed = 1,
			.size_octets = 1000,
			.ext = EXT_PIPELINING | EXT_SIZE | EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN | EXT_CHUNKING |
			       EXT_BINARYMIME | EXT_ENHANCEDSTATUSCODES | EXT_STARTTLS | EXT_XCLIENT | EXT_AUTH };
	}
	return 0;
}

/* The set of backends that any spread gives; bit 63 for -1, bit 62 for -2. */
static uint64_t
chosen(uint64_t tried, uint32_t needs, uint64_t size_octets)
{
	uint64_t set = 0;

	for (uint32_t spread = 0; spread < 24; spread++) {
		int i = backend_choose(&pool, states, N, tried, needs, size_octets, spread);

		set |= i >= 0 ? UINT64_C(1) << i : i == -1 ? UINT64_C(1) << 63 : UINT64_C(1) << 62;
	}
	return set;
}

#define NONE_LEFT (UINT64_C(1) << 63)
#define NONE_ABLE (UINT64_C(1) << 62)

static void
test_backend_choose_spreads_and_tries_in_turn(void **state)
{
	(void)state;
	CHECK_EQ("all are used", chosen(0, 0, 0), 0xf);
	CHECK_EQ("not those that were tried", chosen(0x5, 0, 0), 0xa);
	CHECK_EQ("all tried", chosen(0xf, 0, 0), NONE_LEFT);
	states[0].health = BACKEND_DOWN;
	states[1].health = BACKEND_UNPROBED;
	CHECK_EQ("up first", chosen(0, 0, 0), 0xc);
	CHECK_EQ("then what was never asked", chosen(0xc, 0, 0), 0x2);
	CHECK_EQ("then what is down: the probe may be late", chosen(0xe, 0, 0), 0x1);
	for (int i = 0; i < N; i++)
		states[i].health = BACKEND_DOWN;
	CHECK_EQ("all down: tried all the same", chosen(0, 0, 0), 0xf);
	CHECK_EQ("an empty pool", backend_choose(&(struct conf_pool){ 0 }, states, N, 0, 0, 0, 3), -1);
}

static void
test_backend_choose_leaves_out_of_service_alone(void **state)
{
	static const uint8_t out[] = { BACKEND_OPEN_RELAY, BACKEND_LOOP, BACKEND_DRAINED, 200 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(out); i++) {
		all_up(NULL);
		states[0].health = out[i];
		CHECK_EQ("out of service", chosen(0, 0, 0), 0xe);
		CHECK_EQ("even as the last", chosen(0xe, 0, 0), NONE_LEFT);
	}
	all_up(NULL);
	states[3].drained = 1;
	CHECK_EQ("drained by the operator", chosen(0, 0, 0), 0x7);
}

static void
test_backend_choose_by_needs_and_size(void **state)
{
	(void)state;
	states[0].ext = states[1].ext = EXT_SIZE;
	CHECK_EQ("only who can", chosen(0, EXT_SMTPUTF8, 0), 0xc);
	CHECK_EQ("SIZE is no need", chosen(0, EXT_SIZE, 0), 0xf);
	CHECK_EQ("none is able", chosen(0xc, EXT_SMTPUTF8, 0), NONE_ABLE);
	states[0].probed = 0;
	CHECK_EQ("who was never asked may be able", chosen(0xc, EXT_SMTPUTF8, 0), 0x1);

	all_up(NULL);
	states[1].size_octets = 5000;
	states[2].size_octets = 0;
	CHECK_EQ("the size fits all", chosen(0, 0, 1000), 0xf);
	CHECK_EQ("the size fits two, one has no limit", chosen(0, 0, 1001), 0x6);
	CHECK_EQ("above all limits but none", chosen(0, 0, 5001), 0x4);
	states[2].size_octets = 1000;
	CHECK_EQ("above all: any, so that it answers 554 5.3.4", chosen(0, 0, 5001), 0xf);
	CHECK_EQ("the one that takes it failed: not the message's fault", chosen(0x2, 0, 3000), NONE_ABLE);
	states[1].drained = 1;
	CHECK_EQ("the one that takes it is out of service", chosen(0, 0, 3000), NONE_ABLE);
}

static void
offer(uint32_t *ext, uint64_t *size)
{
	static const struct conf_pool pools[2] = { { .backends = 0x3 }, { .backends = 0xc } };
	const struct conf_listener l = { .pools = 0x3 };

	backend_offer(&l, pools, 2, backends, states, N, ext, size);
}

static void
test_backend_offer_follows_every_backend(void **state)
{
	static const uint32_t end_to_end[] = { EXT_8BITMIME, EXT_SMTPUTF8, EXT_DSN, EXT_CHUNKING, EXT_BINARYMIME,
		EXT_ENHANCEDSTATUSCODES };
	const uint32_t all = EXT_PIPELINING | EXT_SIZE | EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN | EXT_CHUNKING |
	                     EXT_BINARYMIME | EXT_ENHANCEDSTATUSCODES;
	uint32_t ext;
	uint64_t size;

	(void)state;
	offer(&ext, &size);
	CHECK_EQ("all have all; never AUTH, XCLIENT; STARTTLS is ours to add", ext, all);
	CHECK_EQ("size", size, 1000);
	for (size_t i = 0; i < ARRAY_LEN(end_to_end); i++) {
		all_up(NULL);
		states[3].ext &= ~end_to_end[i];
		offer(&ext, &size);
		CHECK_EQ("one lacks it", ext & end_to_end[i], 0);
		CHECK_EQ("and what needs it goes, too", ext,
			all & ~end_to_end[i] & ~(end_to_end[i] == EXT_8BITMIME ? EXT_SMTPUTF8 : 0u) &
				~(end_to_end[i] == EXT_CHUNKING ? EXT_BINARYMIME : 0u));
	}
	all_up(NULL);
	for (int i = 0; i < N; i++)
		states[i].ext &= ~(uint32_t)EXT_PIPELINING;
	offer(&ext, &size);
	CHECK_TRUE("PIPELINING is ours alone", (ext & EXT_PIPELINING) != 0);
}

static void
test_backend_offer_before_the_first_probe(void **state)
{
	uint32_t ext;
	uint64_t size;

	(void)state;
	states[1].probed = 0;
	states[1].health = BACKEND_UNPROBED;
	offer(&ext, &size);
	CHECK_EQ("only what needs no backend", ext, EXT_PIPELINING);
	CHECK_EQ("no size", size, 0);
	all_up(NULL);
	states[1].health = BACKEND_DOWN;
	offer(&ext, &size);
	CHECK_TRUE("a backend that is down was heard before", (ext & EXT_DSN) != 0);
	for (int i = 0; i < N; i++)
		states[i].drained = 1;
	offer(&ext, &size);
	CHECK_EQ("nobody in service", ext, EXT_PIPELINING);
}

static void
test_backend_offer_leaves_out_whom_it_cannot_route_to(void **state)
{
	uint32_t ext;
	uint64_t size;

	(void)state;
	states[1].ext = 0;
	states[1].health = BACKEND_OPEN_RELAY;
	states[2].ext = 0;
	backends[2].is_submission = 1;
	offer(&ext, &size);
	CHECK_TRUE("neither counts", (ext & EXT_SMTPUTF8) != 0);
	backend_offer(&(struct conf_listener){ .pools = 0x2 },
		(struct conf_pool[]){ { .backends = 0xf }, { .backends = 0x8 } }, 2, backends, states, N, &ext, &size);
	CHECK_TRUE("of the listener's pools alone", (ext & EXT_SMTPUTF8) != 0);
}

static void
test_backend_offer_size_is_the_largest(void **state)
{
	uint32_t ext;
	uint64_t size;

	(void)state;
	states[2].size_octets = 4000;
	offer(&ext, &size);
	CHECK_EQ("largest", size, 4000);
	states[1].size_octets = 0;
	offer(&ext, &size);
	CHECK_EQ("one has no limit: none is offered", size, 0);
	CHECK_EQ("nor the keyword", ext & EXT_SIZE, 0);
	all_up(NULL);
	states[1].ext &= ~(uint32_t)EXT_SIZE;
	states[1].size_octets = 0;
	offer(&ext, &size);
	CHECK_EQ("one does not say", size, 0);
}

static void
test_backend_state_down_after_three_up_after_one(void **state)
{
	struct backend_state s = { .health = BACKEND_UP };

	(void)state;
	backend_state_failure(&s, "one", 10);
	backend_state_failure(&s, "two", 20);
	CHECK_EQ("two are not enough", s.health, BACKEND_UP);
	backend_state_failure(&s, "three", 30);
	CHECK_EQ("three are", s.health, BACKEND_DOWN);
	CHECK_EQ("since", s.changed_s, 30);
	CHECK_STR("why", s.words, "three");
	backend_state_failure(&s, "four", 40);
	CHECK_EQ("since still", s.changed_s, 30);
	backend_state_success(&s, 50);
	CHECK_EQ("one success", s.health, BACKEND_UP);
	CHECK_EQ("since", s.changed_s, 50);
	backend_state_failure(&s, "a", 60);
	backend_state_failure(&s, "b", 60);
	backend_state_success(&s, 60);
	backend_state_failure(&s, "c", 60);
	CHECK_EQ("in a row only", s.health, BACKEND_UP);
	for (int i = 0; i < 600; i++)
		backend_state_failure(&s, "x", 70);
	CHECK_EQ("the count does not wrap", s.failures, 255);

	s = (struct backend_state){ .health = BACKEND_OPEN_RELAY };
	backend_state_success(&s, 1);
	CHECK_EQ("an answer does not show that it stopped relaying", s.health, BACKEND_OPEN_RELAY);
	for (int i = 0; i < 5; i++)
		backend_state_failure(&s, "x", 1);
	CHECK_EQ("nor does silence", s.health, BACKEND_OPEN_RELAY);
	s = (struct backend_state){ .health = BACKEND_DRAINED };
	backend_state_success(&s, 1);
	CHECK_EQ("the operator's word stays", s.health, BACKEND_DRAINED);
}

#define T(f) cmocka_unit_test_setup(f, all_up)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_backend_choose_spreads_and_tries_in_turn),
		T(test_backend_choose_leaves_out_of_service_alone),
		T(test_backend_choose_by_needs_and_size),
		T(test_backend_offer_follows_every_backend),
		T(test_backend_offer_before_the_first_probe),
		T(test_backend_offer_leaves_out_whom_it_cannot_route_to),
		T(test_backend_offer_size_is_the_largest),
		T(test_backend_state_down_after_three_up_after_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
