/*
 * test_vlan.c - which frames a port with a VLAN takes, what it takes off them and puts into what it sends; each drop under its reason.
 *
 * Octets are written by hand here, not by vlan_tag().
 */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/net/vlan.h"

#define ADDRESSES 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12

static void
test_vlan_untag_takes_its_own_frames_alone(void **state)
{
	static const struct {
		const char *label;
		uint8_t octet[24];
		uint32_t len;
		int tci; /* what a driver took off; -1: nothing */
		uint16_t vlan;
		enum vlan_result want;
		uint32_t off; /* octets taken off */
	} rows[] = {
		{ "ours", { ADDRESSES, 0x81, 0, 0x00, 0x07, 0x08, 0x00, 0xaa }, 19, -1, 7, VLAN_OURS, 4 },
		{ "nothing behind the tag but a type", { ADDRESSES, 0x81, 0, 0x00, 0x07, 0x08, 0x00 }, 18, -1, 7,
			VLAN_OURS, 4 },
		{ "priority and drop bit are not the number", { ADDRESSES, 0x81, 0, 0xf0, 0x07, 0x86, 0xdd }, 18, -1, 7,
			VLAN_OURS, 4 },
		{ "the lowest", { ADDRESSES, 0x81, 0, 0x00, 0x01, 0x08, 0x06 }, 18, -1, 1, VLAN_OURS, 4 },
		{ "the highest", { ADDRESSES, 0x81, 0, 0x0f, 0xfe, 0x08, 0x06 }, 18, -1, 4094, VLAN_OURS, 4 },
		{ "taken off by the driver", { ADDRESSES, 0x08, 0x00, 0xaa }, 15, 0x7007, 7, VLAN_OURS, 0 },

		{ "untagged", { ADDRESSES, 0x08, 0x00, 0xaa }, 15, -1, 7, VLAN_NONE, 0 },
		{ "an EtherType that holds our number", { ADDRESSES, 0x00, 0x07, 0xaa }, 15, -1, 7, VLAN_NONE, 0 },
		{ "a priority alone", { ADDRESSES, 0x81, 0, 0xe0, 0x00, 0x08, 0x00 }, 18, -1, 7, VLAN_NONE, 0 },
		{ "a priority alone, taken off", { ADDRESSES, 0x08, 0x00 }, 14, 0xe000, 7, VLAN_NONE, 0 },

		{ "another", { ADDRESSES, 0x81, 0, 0x00, 0x06, 0x08, 0x00 }, 18, -1, 7, VLAN_OTHER, 0 },
		{ "another that differs in the high bits", { ADDRESSES, 0x81, 0, 0x01, 0x07, 0x08, 0x00 }, 18, -1, 7,
			VLAN_OTHER, 0 },
		{ "another, taken off", { ADDRESSES, 0x08, 0x00 }, 14, 6, 7, VLAN_OTHER, 0 },
		{ "reserved", { ADDRESSES, 0x81, 0, 0x0f, 0xff, 0x08, 0x00 }, 18, -1, 4094, VLAN_OTHER, 0 },
		{ "a provider's of our number", { ADDRESSES, 0x88, 0xa8, 0x00, 0x07, 0x08, 0x00 }, 18, -1, 7,
			VLAN_OTHER, 0 },
		{ "an old provider's", { ADDRESSES, 0x91, 0x00, 0x00, 0x07, 0x08, 0x00 }, 18, -1, 7, VLAN_OTHER, 0 },

		{ "ours in ours", { ADDRESSES, 0x81, 0, 0, 7, 0x81, 0, 0, 7, 0x08, 0 }, 22, -1, 7, VLAN_DOUBLE, 0 },
		{ "another in ours", { ADDRESSES, 0x81, 0, 0, 7, 0x81, 0, 0, 9, 0x08, 0 }, 22, -1, 7, VLAN_DOUBLE, 0 },
		{ "a priority in ours", { ADDRESSES, 0x81, 0, 0, 7, 0x81, 0, 0xe0, 0, 0x08, 0 }, 22, -1, 7, VLAN_DOUBLE,
			0 },
		{ "a provider's in ours", { ADDRESSES, 0x81, 0, 0, 7, 0x88, 0xa8, 0, 9, 0x08, 0 }, 22, -1, 7,
			VLAN_DOUBLE, 0 },
		{ "an old provider's in ours", { ADDRESSES, 0x81, 0, 0, 7, 0x91, 0, 0, 9, 0x08, 0 }, 22, -1, 7,
			VLAN_DOUBLE, 0 },
		{ "one left behind what was taken off", { ADDRESSES, 0x81, 0, 0, 7, 0x08, 0 }, 18, 7, 7, VLAN_DOUBLE,
			0 },
		{ "ours in another", { ADDRESSES, 0x81, 0, 0, 9, 0x81, 0, 0, 7, 0x08, 0 }, 22, -1, 7, VLAN_OTHER, 0 },

		{ "nothing", { 0 }, 0, -1, 7, VLAN_SHORT, 0 },
		{ "no type", { ADDRESSES, 0x81 }, 13, -1, 7, VLAN_SHORT, 0 },
		{ "no type behind what was taken off", { ADDRESSES, 0x08 }, 13, 7, 7, VLAN_SHORT, 0 },
		{ "ends within the tag", { ADDRESSES, 0x81, 0, 0, 7, 0x08 }, 17, -1, 7, VLAN_SHORT, 0 },

		{ "no VLAN: untagged", { ADDRESSES, 0x08, 0x00, 0xaa }, 15, -1, 0, VLAN_OURS, 0 },
		{ "no VLAN: a tag in the octets is net's to drop", { ADDRESSES, 0x81, 0, 0x00, 0x07, 0x08, 0x00 }, 18,
			-1, 0, VLAN_OURS, 0 },
		{ "no VLAN: too short is net's to drop", { 1 }, 1, -1, 0, VLAN_OURS, 0 },
		{ "no VLAN: one taken off", { ADDRESSES, 0x08, 0x00 }, 14, 7, 0, VLAN_OTHER, 0 },
		{ "no VLAN: a priority taken off", { ADDRESSES, 0x08, 0x00 }, 14, 0xe000, 0, VLAN_OURS, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		/* exactly so many octets: a read beyond them is noticed */
		uint8_t *octet = malloc(rows[i].len > 0 ? rows[i].len : 1);
		struct vlan_frame f = { .octet = octet,
			.octets = rows[i].len,
			.taken_off = rows[i].tci >= 0,
			.tci = (uint16_t)(rows[i].tci >= 0 ? rows[i].tci : 7) };

		assert_non_null(octet);
		memcpy(octet, rows[i].octet, rows[i].len);
		CHECK_EQ(rows[i].label, vlan_untag(&f, rows[i].vlan), rows[i].want);
		CHECK_EQ(rows[i].label, f.octet - octet, rows[i].off);
		CHECK_EQ(rows[i].label, f.octets, rows[i].len - rows[i].off);
		for (uint32_t k = 0; k < f.octets; k++) /* addresses, then what stood behind the tag */
			CHECK_EQ(rows[i].label, f.octet[k], rows[i].octet[k < 12 ? k : k + rows[i].off]);
		free(octet);
	}
}

static void
test_vlan_drops_are_counted_by_reason(void **state)
{
	static const struct {
		const char *label;
		enum vlan_result why;
		int want; /* -1: none */
	} rows[] = {
		{ "taken", VLAN_OURS, -1 },
		{ "untagged", VLAN_NONE, CTR_net_drop_untagged },
		{ "another", VLAN_OTHER, CTR_net_drop_vlan },
		{ "double", VLAN_DOUBLE, CTR_net_drop_double_tag },
		{ "short", VLAN_SHORT, CTR_net_drop_short },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct counters counters = { 0 };

		vlan_count_drop(&counters, rows[i].why);
		for (int c = 0; c < COUNTER_N; c++)
			CHECK_EQ(rows[i].label, counter_read(&counters, (enum counter)c), c == rows[i].want);
	}
}

static void
test_vlan_tag_is_put_behind_the_addresses(void **state)
{
	static const uint8_t header[] = { ADDRESSES, 0x08, 0x00, 0x45, 0x00 };
	static const uint8_t tagged[] = { ADDRESSES, 0x81, 0x00, 0x0f, 0xfe, 0x08, 0x00, 0x45, 0x00 };
	uint8_t out[sizeof(tagged)];

	(void)state;
	CHECK_EQ("with it", vlan_tag(out, header, sizeof(header), 4094), sizeof(tagged));
	assert_memory_equal(out, tagged, sizeof(tagged));
	memset(out, 0, sizeof(out));
	CHECK_EQ("a header alone", vlan_tag(out, header, 14, 4094), 18);
	assert_memory_equal(out, tagged, 18);
	CHECK_EQ("and not a further octet", out[18], 0);
	CHECK_EQ("without", vlan_tag(out, header, sizeof(header), 0), sizeof(header));
	assert_memory_equal(out, header, sizeof(header));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vlan_untag_takes_its_own_frames_alone),
		cmocka_unit_test(test_vlan_drops_are_counted_by_reason),
		cmocka_unit_test(test_vlan_tag_is_put_behind_the_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
