/*
 * test_report.c - figures of the report, and names that look generic.
 */
#include "tests/check.h"

#include "control/generic.h"
#include "control/report.h"

static void
test_report_percentiles(void **state)
{
	static struct report r;

	(void)state;
	report_init(&r, 1);
	CHECK_EQ("nobody passed", report_percentile(&r, 50), 0);
	for (uint32_t i = 1; i <= 100; i++)
		report_delay(&r, i * 10);
	CHECK_TRUE("half", report_percentile(&r, 50) >= 500 && report_percentile(&r, 50) <= 575);
	CHECK_TRUE("95 of 100", report_percentile(&r, 95) >= 950 && report_percentile(&r, 95) <= 1090);
	CHECK_TRUE("all", report_percentile(&r, 100) >= 1000);
	report_delay(&r, UINT32_MAX);
	CHECK_EQ("the longest", report_percentile(&r, 100), UINT32_MAX);
}

static void
test_report_networks_that_are_refused_often_stay(void **state)
{
	struct report_network top[3];
	static struct report r;

	(void)state;
	report_init(&r, 1);
	for (uint32_t i = 0; i < 100000; i++) {
		struct ip_addr often = ip_addr_v4(0xc0000200), once = ip_addr_v4(0x0a000000 + i * 256);

		report_refused(&r, &once, 12);
		if (i % 10 == 0)
			report_refused(&r, &often, 8);
	}
	CHECK_EQ("three", report_top(&r, top, 3), 3);
	CHECK_EQ("the most refused", ip_addr_to_v4(&top[0].network), 0xc0000200);
	CHECK_EQ("its rule", top[0].rule, 8);
	CHECK_TRUE("its count", top[0].count >= 10000 && top[0].count < 11000);
}

static void
test_report_octets_of_another_version_are_refused(void **state)
{
	static struct report a, b;

	(void)state;
	report_init(&a, 77);
	report_delay(&a, 5);
	CHECK_EQ("taken", report_load(&b, &a, sizeof(a)), 0);
	CHECK_EQ("the same", memcmp(&a, &b, sizeof(a)), 0);
	CHECK_TRUE("cut", report_load(&b, &a, sizeof(a) - 1) != 0);
	a.version++;
	CHECK_TRUE("another version", report_load(&b, &a, sizeof(a)) != 0);
}

static void
test_generic_names(void **state)
{
	static const struct {
		const char *name, *client;
		bool want;
	} rows[] = {
		{ "192-0-2-7.dynamic.example.net", "192.0.2.7", true },
		{ "host7.2.0.192.pool.example.net", "192.0.2.7", true },
		{ "p5dc0000207.dip0.dsl.example.net", "192.0.2.7", true },
		{ "mail.example.org", "192.0.2.7", false },
		{ "mx-192-0-2-8.pool.example.net", "192.0.2.7", false },
		{ "dsl.example.net", "192.0.2.7", false },
		{ "192-0-2-7.example.net", "192.0.2.7", true },
		{ "mail-192-0-2-7.example.net", "192.0.2.7", false },
		{ "pool-2001-db8-0-0-0-0-0-1.example.net", "2001:db8::1", false },
		{ "pool-0000000000000001.example.net", "2001:db8::1", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ip_addr addr;

		ip_addr_parse(rows[i].client, &addr);
		CHECK_EQ(rows[i].name, ptr_is_generic(rows[i].name, &addr), rows[i].want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report_percentiles),
		cmocka_unit_test(test_report_networks_that_are_refused_often_stay),
		cmocka_unit_test(test_report_octets_of_another_version_are_refused),
		cmocka_unit_test(test_generic_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
