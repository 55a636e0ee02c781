/*
 * test_flow.c - the hash against the vectors of the RSS specification, and the owner.
 */
#include "tests/check.h"

#include "dataplane/net/flow.h"

/* "Verifying the RSS Hash Calculation": the 40 octets every vendor's vectors use. */
static const uint8_t known_key[FLOW_KEY_OCTETS] = { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25,
	0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80,
	0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa };

static struct flow
flow_of(const char *remote, uint16_t remote_port, const char *local, uint16_t local_port)
{
	struct flow f = { .local_port = local_port, .remote_port = remote_port };

	assert_int_equal(ip_addr_parse(remote, &f.remote), 0);
	assert_int_equal(ip_addr_parse(local, &f.local), 0);
	return f;
}

static void
test_flow_hash_equals_the_known_vectors(void **state)
{
	static const struct {
		const char *remote;
		uint16_t remote_port;
		const char *local;
		uint16_t local_port;
		uint32_t want;
	} rows[] = {
		{ "66.9.149.187", 2794, "161.142.100.80", 1766, 0x51ccc178 },
		{ "199.92.111.2", 14230, "65.69.140.83", 4739, 0xc626b0ea },
		{ "24.19.198.95", 12898, "12.22.207.184", 38024, 0x5c2b394a },
		{ "38.27.205.30", 48228, "209.142.163.6", 2217, 0xafc7327f },
		{ "153.39.163.191", 44251, "202.188.127.2", 1303, 0x10e828a2 },
		{ "3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x40207d3d },
		{ "3ffe:501:8:0:260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0xdde51bbf },
		{ "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x02d1feef },
	};
	static struct flow_steering s;

	(void)state;
	flow_steering_init(&s, known_key, 1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct flow f = flow_of(rows[i].remote, rows[i].remote_port, rows[i].local, rows[i].local_port);

		CHECK_EQ(rows[i].remote, flow_hash(&s, &f), rows[i].want);
	}
}

static void
test_flow_owner_is_the_row_of_the_hash(void **state)
{
	static struct flow_steering s;
	uint32_t n_of[3] = { 0 };

	(void)state;
	flow_steering_init(&s, known_key, 3);
	for (uint16_t port = 1024; port < 4096; port++) {
		const struct flow f = flow_of("198.51.100.9", port, "192.0.2.1", 25);
		const uint32_t owner = flow_owner(&s, &f);

		CHECK_EQ("the same for a hash a NIC gave", owner, flow_owner_of_hash(&s, flow_hash(&s, &f)));
		CHECK_EQ("round robin", owner, flow_hash(&s, &f) % FLOW_RETA_ENTRIES % 3);
		n_of[owner]++;
	}
	for (uint32_t i = 0; i < 3; i++)
		CHECK_TRUE("everybody gets about a third", n_of[i] > 900 && n_of[i] < 1150);
	flow_steering_init(&s, known_key, 1);
	CHECK_EQ("one worker owns all", flow_owner(&s, &(struct flow){ .remote_port = 7 }), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flow_hash_equals_the_known_vectors),
		cmocka_unit_test(test_flow_owner_is_the_row_of_the_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
