/*
 * test_name_set.c - sets of names: what matches and, above all, what does not.
 */
#include "dataplane/table/name_set.h"

#include <stdlib.h>

#include "tests/check.h"

struct built {
	void *set;
	size_t octets;
};

static struct built
build(const char *const *names, uint32_t n)
{
	struct name_set_entry e[32];
	void *big, *exact;
	size_t octets, room;

	for (uint32_t i = 0; i < n; i++)
		e[i] = (struct name_set_entry){
			.name = names[i], .len_octets = (uint32_t)strlen(names[i]), .value = i
		};
	room = name_set_octets(e, n);
	big = malloc(room);
	octets = name_set_build(big, room, e, n, 5);
	CHECK_TRUE("built", octets > 0 && octets <= room);
	exact = malloc(octets);
	memcpy(exact, big, octets);
	free(big);
	CHECK_TRUE("valid", name_set_valid(exact, octets));
	return (struct built){ exact, octets };
}

struct row {
	const char *name;
	int want; /* value, -1: none */
};

typedef bool find_fn(const void *set, const char *name, uint32_t len_octets, uint64_t *value);

static void
check_rows(const void *set, find_fn *find, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const size_t len = strlen(rows[i].name);
		char *exact = malloc(len + 1); /* its end is the end of the memory */
		uint64_t value = 0;
		bool found;

		memcpy(exact, rows[i].name, len);
		found = find(set, exact, (uint32_t)len, &value);
		CHECK_EQ(rows[i].name, found ? (long long)value : -1, rows[i].want);
		free(exact);
	}
}

static void
test_name_set_domains_match_whole_labels(void **state)
{
	static const char *const names[] = { "google.com", ".yahoo.com", ".co.uk", "Mixed.Example" };
	static const struct row rows[] = {
		{ "google.com", 0 },
		{ "GOOGLE.com", 0 },
		{ "google.com.", 0 },
		{ "gle.com", -1 },
		{ "oogle.com", -1 },
		{ "xgoogle.com", -1 },
		{ "mail.google.com", -1 },
		{ "google.com.evil.org", -1 },
		{ "google.co", -1 },
		{ "google.comm", -1 },
		{ "com", -1 },
		{ ".google.com", -1 },
		{ "yahoo.com", 1 },
		{ "a.yahoo.com", 1 },
		{ "a.b.YAHOO.com", 1 },
		{ "ayahoo.com", -1 },
		{ "yahoo.com.evil.org", -1 },
		{ "bbc.co.uk", 2 },
		{ "co.uk", 2 },
		{ "xco.uk", -1 },
		{ "uk", -1 },
		{ "mixed.example", 3 },
		{ "", -1 },
		{ ".", -1 },
		{ "..", -1 },
	};
	struct built b = build(names, ARRAY_LEN(names));

	(void)state;
	check_rows(b.set, name_set_find_domain, rows, ARRAY_LEN(rows));
	free(b.set);
}

static void
test_name_set_the_nearest_wins(void **state)
{
	static const char *const names[] = { "*", ".example.org", ".sub.example.org", "host.sub.example.org" };
	static const struct row rows[] = {
		{ "host.sub.example.org", 3 },
		{ "x.host.sub.example.org", 2 },
		{ "sub.example.org", 2 },
		{ "other.example.org", 1 },
		{ "example.org", 1 },
		{ "example.net", 0 },
		{ "", 0 },
	};
	struct built b = build(names, ARRAY_LEN(names));

	(void)state;
	check_rows(b.set, name_set_find_domain, rows, ARRAY_LEN(rows));
	free(b.set);
}

static void
test_name_set_addresses(void **state)
{
	static const char *const names[] = { "Bob@example.org", "postmaster@", "@whole.example", "plain.example",
		".below.example", "\"a@b\"@quoted.example" };
	static const struct row rows[] = {
		{ "bob@example.org", 0 },
		{ "BOB@EXAMPLE.ORG", 0 },
		{ "alice@example.org", -1 },
		{ "xbob@example.org", -1 },
		{ "bob@example.orgx", -1 },
		{ "bob@sub.example.org", -1 },
		{ "postmaster@any.example", 1 },
		{ "xpostmaster@any.example", -1 },
		{ "x@whole.example", 2 },
		{ "x@sub.whole.example", -1 },
		{ "x@awhole.example", -1 },
		{ "y@plain.example", 3 },
		{ "y@x.plain.example", -1 },
		{ "z@below.example", 4 },
		{ "z@a.below.example", 4 },
		{ "z@abelow.example", -1 },
		{ "\"a@b\"@quoted.example", 5 },
		{ "\"x@whole.example\"@other.example", -1 },
		{ "", -1 },
		{ "@", -1 },
		{ "noat", -1 },
		{ "plain.example", 3 },
	};
	struct built b = build(names, ARRAY_LEN(names));

	(void)state;
	check_rows(b.set, name_set_find_address, rows, ARRAY_LEN(rows));
	free(b.set);
}

static void
test_name_set_star_holds_everything(void **state)
{
	static const char *const names[] = { "*" };
	static const struct row rows[] = { { "a@b.c", 0 }, { "", 0 }, { "x", 0 } };
	struct built b = build(names, 1);
	char longer[2 * NAME_SET_NAME_MAX_OCTETS];
	uint64_t value;

	(void)state;
	check_rows(b.set, name_set_find_address, rows, ARRAY_LEN(rows));
	check_rows(b.set, name_set_find_domain, rows, ARRAY_LEN(rows));
	memset(longer, 'a', sizeof(longer));
	CHECK_TRUE("however long", name_set_find_address(b.set, longer, sizeof(longer), &value));
	CHECK_TRUE("however long", name_set_find_domain(b.set, longer, sizeof(longer), &value));
	CHECK_TRUE("but not as a name", !name_set_find_lowered(b.set, longer, sizeof(longer), &value));
	free(b.set);
}

static void
test_name_set_duplicates_empty_and_limits(void **state)
{
	static const char *const names[] = { "a.example", "A.EXAMPLE", "b.example", "a.Example" };
	struct built b = build(names, ARRAY_LEN(names));
	struct name_set_entry e = { .len_octets = NAME_SET_NAME_MAX_OCTETS + 1 };
	uint64_t value, room[256];
	uint32_t n = 0;

	(void)state;
	CHECK_EQ("two", name_set_count(b.set), 2);
	CHECK_TRUE("found", name_set_find_lowered(b.set, "a.example", 9, &value));
	CHECK_EQ("the first stays", value, 0);
	while (name_set_at(b.set, n, &e))
		n++;
	CHECK_EQ("listed", n, 2);
	free(b.set);

	b = build(NULL, 0);
	CHECK_TRUE(
		"empty", !name_set_find_lowered(b.set, "a", 1, &value) && !name_set_find_domain(b.set, "a", 1, &value));
	CHECK_TRUE("no set",
		!name_set_find_lowered(NULL, "a", 1, &value) && !name_set_find_address(NULL, "a@b", 3, &value));
	free(b.set);

	e.name = (const char *)room;
	e.len_octets = NAME_SET_NAME_MAX_OCTETS + 1;
	memset(room, 'a', sizeof(room));
	{
		uint64_t out[512];

		CHECK_EQ("a name too long", name_set_build(out, sizeof(out), &e, 1, 1), 0);
		e.len_octets = 5;
		CHECK_EQ("no room", name_set_build(out, name_set_octets(&e, 1) - 1, &e, 1, 1), 0);
	}
}

static void
test_name_set_hostile_sections(void **state)
{
	static const char *const names[] = { "google.com", ".yahoo.com", "bob@example.org", "*", "x" };
	struct built b = build(names, ARRAY_LEN(names));
	uint64_t value;

	(void)state;
	for (size_t cut = 0; cut < b.octets; cut++) {
		void *p = malloc(cut + 1);

		memcpy(p, b.set, cut);
		CHECK_TRUE("cut", !name_set_valid(p, cut));
		free(p);
	}
	for (size_t at = 0; at < b.octets; at++) {
		static const uint8_t with[] = { 0xff, 0x01, 0x80, 0x40 };

		for (size_t k = 0; k < ARRAY_LEN(with); k++) {
			uint8_t *p = malloc(b.octets);
			struct name_set_entry e;

			memcpy(p, b.set, b.octets);
			p[at] ^= with[k];
			if (name_set_valid(p, b.octets)) {
				name_set_find_domain(p, "mail.yahoo.com", 14, &value);
				name_set_find_address(p, "bob@example.org", 15, &value);
				for (uint32_t i = 0; name_set_at(p, i, &e); i++) {
					volatile char c = e.len_octets > 0 ? e.name[e.len_octets - 1] : ' ';

					(void)c;
				}
			}
			free(p);
		}
	}
	free(b.set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_set_domains_match_whole_labels),
		cmocka_unit_test(test_name_set_the_nearest_wins),
		cmocka_unit_test(test_name_set_addresses),
		cmocka_unit_test(test_name_set_star_holds_everything),
		cmocka_unit_test(test_name_set_duplicates_empty_and_limits),
		cmocka_unit_test(test_name_set_hostile_sections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
