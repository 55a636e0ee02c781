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

/* Label by label, as the grammar has it; an address literal is another matter. */
static bool
is_full(const char *name)
{
	unsigned labels = 0;
	bool number = false;

	while (*name != '\0') {
		const size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

		if (n == 0 || n > 63)
			return false;
		number = strspn(name, "0123456789") == n;
		labels++;
		name += n;
		if (*name == '\0')
			break;
		if (*name++ != '.')
			return false;
	}
	return labels >= 2 && !number;
}

/* Each octet at each place of short names and long ones. */
static void
test_smtp_helo_name_is_full_or_not(void **state)
{
	static const char *const names[] = { "a", "a.b", "a.b.", "mail.sender.example", "mail.example.7x1",
		"192.0.2.11", "a123456789.b123456789.c123456789.d123456789.e123456789.f1234567",
		"a123456789.b123456789.c123456789.d123456789.e123456789.f12345678",
		"a123456789b123456789c123456789d123456789e123456789f1234567890123.x",
		"a123456789b123456789c123456789d123456789e123456789f12345678901234.x" };
	const struct ip_addr ours = addr("198.51.100.1"), client = addr("192.0.2.1");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		for (size_t at = 0; at < strlen(names[i]); at++) {
			for (unsigned c = 0; c < 256; c++) {
				char name[80];
				bool full;

				strcpy(name, names[i]);
				name[at] = (char)c;
				if (name[0] == '\0' || name[0] == '[')
					continue;
				full = (smtp_helo_faults(name, &client, "gw.example", &ours) & MANNER_HELO_SYNTAX) == 0;
				if (full != is_full(name))
					CHECK_EQ(name, full, is_full(name));
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smtp_helo_faults_row_by_row),
		cmocka_unit_test(test_smtp_helo_name_is_full_or_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
