/*
 * test_smtp_manners.c - what is wrong with a HELO name, row by row.
 */
#include "dataplane/smtp/smtp_manners.h"

#include "tests/check.h"

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static void
test_smtp_helo_faults_row_by_row(void **state)
{
	static const struct {
		const char *helo, *client;
		uint32_t want;
	} rows[] = {
		{ "", "192.0.2.1", 0 },
		{ "mail.sender.example", "192.0.2.1", 0 },
		{ "mail.sender.example.", "192.0.2.1", 0 },
		{ "my_host.sender.example", "192.0.2.1", 0 },
		{ "xn--bcher-kva.example", "192.0.2.1", 0 },
		{ "3com.example", "192.0.2.1", 0 },
		{ "mail.example.7x", "192.0.2.1", 0 },
		{ "localhost", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "localhost.", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "a..b", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ ".b.c", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "b.c..", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "user@host.example", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "192.0.2.1", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "192.0.2.1.", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "[192.0.2.1]", "192.0.2.1", 0 },
		{ "[192.0.2.9]", "192.0.2.1", MANNER_HELO_LITERAL },
		{ "[192.0.2.1", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "[]", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "[IPv6:2001:db8::1]", "2001:db8::1", 0 },
		{ "[ipv6:2001:DB8:0::1]", "2001:db8::1", 0 },
		{ "[IPv6:2001:db8::2]", "2001:db8::1", MANNER_HELO_LITERAL },
		{ "[2001:db8::1]", "2001:db8::1", MANNER_HELO_SYNTAX },
		{ "[IPv6:192.0.2.1]", "192.0.2.1", MANNER_HELO_SYNTAX },
		{ "gw.example", "192.0.2.1", MANNER_HELO_OURS },
		{ "GW.Example.", "192.0.2.1", MANNER_HELO_OURS },
		{ "gw.example.net", "192.0.2.1", 0 },
		{ "[198.51.100.1]", "192.0.2.1", MANNER_HELO_OURS | MANNER_HELO_LITERAL },
		{ "198.51.100.1", "192.0.2.1", MANNER_HELO_OURS | MANNER_HELO_SYNTAX },
	};
	const struct ip_addr ours = addr("198.51.100.1");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct ip_addr client = addr(rows[i].client);

		CHECK_EQ(rows[i].helo, smtp_helo_faults(rows[i].helo, &client, "gw.example", &ours), rows[i].want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_smtp_helo_faults_row_by_row) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
