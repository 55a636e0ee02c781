/*
 * test_limits.c - sessions counted by address and network, against a plain model.
 */
#include "tests/check.h"

#include <stdlib.h>

#include "dataplane/worker/limits.h"

static const struct siphash_key key = { 3, 4 };

static void
test_limits_refuse_at_the_limit_and_forget_what_left(void **state)
{
	const struct ip_addr a = ip_addr_v4(0xc0000201), b = ip_addr_v4(0xc0000202), net = ip_addr_v4(0xc0000200);
	struct limits l;

	(void)state;
	CHECK_EQ("init", limits_init(&l, 16, &key), 0);
	CHECK_TRUE("first of a", limits_enter(&l, &a, &net, 2, 3));
	CHECK_TRUE("second of a", limits_enter(&l, &a, &net, 2, 3));
	CHECK_TRUE("third of a is refused", !limits_enter(&l, &a, &net, 2, 3));
	CHECK_TRUE("first of b", limits_enter(&l, &b, &net, 2, 3));
	CHECK_TRUE("the network is full", !limits_enter(&l, &b, &net, 2, 3));
	CHECK_TRUE("no limits: no refusal", limits_enter(&l, &b, &net, 0, 0));
	limits_leave(&l, &b, &net);
	limits_leave(&l, &a, &net);
	CHECK_TRUE("room again", limits_enter(&l, &a, &net, 2, 3));
	limits_fini(&l);
}

#define MODEL_SLOTS 200

static void
test_limits_agree_with_a_model(void **state)
{
	struct {
		struct ip_addr client, network;
		int live;
	} slot[MODEL_SLOTS];
	struct limits l;
	const unsigned seed = 20261121;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	memset(slot, 0, sizeof(slot));
	CHECK_EQ("init", limits_init(&l, MODEL_SLOTS, &key), 0);
	for (int step = 0; step < 200000; step++) {
		const size_t i = (size_t)random() % MODEL_SLOTS;
		uint32_t same = 0, same_network = 0, addr;
		int may;

		if (slot[i].live) {
			limits_leave(&l, &slot[i].client, &slot[i].network);
			slot[i].live = 0;
			continue;
		}
		addr = 0x0a000000u | (uint32_t)(random() % 20) << 8 | (uint32_t)(random() % 5);
		slot[i].client = ip_addr_v4(addr);
		slot[i].network = ip_addr_v4(addr & 0xffffff00u);
		for (size_t j = 0; j < MODEL_SLOTS; j++)
			if (slot[j].live) {
				same += ip_addr_equal(&slot[j].client, &slot[i].client);
				same_network += ip_addr_equal(&slot[j].network, &slot[i].network);
			}
		may = same < 2 && same_network < 6;
		if (limits_enter(&l, &slot[i].client, &slot[i].network, 2, 6) != may)
			fail_msg("step %d: want %d", step, may);
		slot[i].live = may;
	}
	for (size_t i = 0; i < MODEL_SLOTS; i++)
		if (slot[i].live)
			limits_leave(&l, &slot[i].client, &slot[i].network);
	for (uint32_t i = 0; i < l.n_cells; i++)
		CHECK_EQ("every cell is free again", l.cell[i].count, 0);
	limits_fini(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits_refuse_at_the_limit_and_forget_what_left),
		cmocka_unit_test(test_limits_agree_with_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
