/*
 * test_prefix.c - lists of networks: text, longest match, exactness, size and time, hostile sections.
 */
#include "dataplane/table/prefix.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "tests/check.h"

static uint64_t rng = 99;

static uint64_t
random64(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static struct ip_addr
addr_of(const char *text)
{
	struct ip_addr a;

	BUG_ON(ip_addr_parse(text, &a) != 0);
	return a;
}

struct built {
	void *table;
	size_t octets;
};

static struct built
build(const struct prefix_entry *e, uint32_t n)
{
	const size_t room = prefix_table_octets(n);
	void *big = malloc(room), *exact;
	size_t octets;

	octets = prefix_table_build(big, room, e, n, 7);
	CHECK_TRUE("built", octets > 0 && octets <= room);
	exact = malloc(octets); /* so that the sanitizer sees its end */
	memcpy(exact, big, octets);
	free(big);
	CHECK_TRUE("valid", prefix_table_valid(exact, octets));
	return (struct built){ exact, octets };
}

static struct built
build_texts(const char *const *texts, uint32_t n)
{
	struct prefix_entry e[32];

	for (uint32_t i = 0; i < n; i++) {
		CHECK_EQ(texts[i], prefix_parse(texts[i], &e[i]), 0);
		e[i].value = i;
	}
	return build(e, n);
}

static void
test_prefix_parse_is_exact_or_refuses(void **state)
{
	static const struct {
		const char *text;
		int want;
		const char *is; /* as written again */
	} rows[] = {
		{ "192.0.2.0/24", 0, "192.0.2.0/24" },
		{ "192.0.2.1", 0, "192.0.2.1" },
		{ "192.0.2.1/32", 0, "192.0.2.1" },
		{ "0.0.0.0/0", 0, "0.0.0.0/0" },
		{ "2001:db8::/32", 0, "2001:db8::/32" },
		{ "2001:DB8::1", 0, "2001:db8::1" },
		{ "::/0", 0, "::/0" },
		{ "192.0.2.1/24", -EDOM, "192.0.2.0/24" },
		{ "192.0.2.0/23", 0, "192.0.2.0/23" },
		{ "192.0.3.0/23", -EDOM, "192.0.2.0/23" },
		{ "2001:db8::1/64", -EDOM, "2001:db8::/64" },
		{ "192.0.2.0/33", -EINVAL, NULL },
		{ "2001:db8::/129", -EINVAL, NULL },
		{ "192.168", -EINVAL, NULL },
		{ "10.1/16", -EINVAL, NULL },
		{ "10", -EINVAL, NULL },
		{ "10/8", -EINVAL, NULL },
		{ "192.0.2.0/", -EINVAL, NULL },
		{ "/24", -EINVAL, NULL },
		{ "", -EINVAL, NULL },
		{ "192.0.2.0/24/8", -EINVAL, NULL },
		{ "192.0.2.0/+8", -EINVAL, NULL },
		{ "192.0.2.0/-8", -EINVAL, NULL },
		{ "192.0.2.0/08", -EINVAL, NULL },
		{ "192.0.2.0/ 8", -EINVAL, NULL },
		{ "192.0.2.0/0x8", -EINVAL, NULL },
		{ "192.0.2.0/4294967304", -EINVAL, NULL },
		{ " 192.0.2.0/24", -EINVAL, NULL },
		{ "192.0.2.0 /24", -EINVAL, NULL },
		{ "192.0.02.0/24", -EINVAL, NULL },
		{ "::ffff:192.0.2.0/120", -EINVAL, NULL },
		{ "::ffff:192.0.2.1", -EINVAL, NULL },
		{ "::ffff:c000:201/128", -EINVAL, NULL },
		{ "::ffff:0:0/96", -EINVAL, NULL },
		{ "[2001:db8::]/32", -EINVAL, NULL },
		{ "fe80::1%eth0", -EINVAL, NULL },
		{ "example.org", -EINVAL, NULL },
		{ "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb/12", -EINVAL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct prefix_entry e;
		char text[IP_ADDR_TEXT_MAX_OCTETS + 4];

		CHECK_EQ(rows[i].text, prefix_parse(rows[i].text, &e), rows[i].want);
		if (rows[i].is != NULL)
			CHECK_STR(rows[i].text, prefix_format(&e, text), rows[i].is);
	}
}

static void
test_prefix_find_gives_the_longest(void **state)
{
	static const char *const texts[] = { "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "2001:db8::/32",
		"2001:db8:1::/48", "2001:db8:1::1" };
	static const struct {
		const char *addr;
		int want; /* -1: none */
	} rows[] = {
		{ "10.255.0.1", 0 },
		{ "10.1.255.1", 1 },
		{ "10.1.2.4", 2 },
		{ "10.1.2.3", 3 },
		{ "11.0.0.0", -1 },
		{ "9.255.255.255", -1 },
		{ "2001:db8:ffff::1", 4 },
		{ "2001:db8:1::2", 5 },
		{ "2001:db8:1::1", 6 },
		{ "2001:db9::", -1 },
		{ "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", -1 },
		{ "::a01:203", -1 },
	};
	struct built b = build_texts(texts, ARRAY_LEN(texts));

	(void)state;
	CHECK_EQ("count", prefix_table_count(b.table), ARRAY_LEN(texts));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct ip_addr a = addr_of(rows[i].addr);
		struct prefix_entry e = { 0 };
		const bool found = prefix_table_find(b.table, &a, &e);

		CHECK_EQ(rows[i].addr, found ? (int)e.value : -1, rows[i].want);
	}
	free(b.table);
}

static void
test_prefix_of_ipv6_never_holds_ipv4(void **state)
{
	static const char *const six[] = { "::/0", "::/64", "::/80", "::fffe:0:0/95" };
	static const char *const four[] = { "0.0.0.0/0" };
	const struct ip_addr v4 = addr_of("192.0.2.1"), v6 = addr_of("2001:db8::1");
	struct built b = build_texts(six, ARRAY_LEN(six));
	struct prefix_entry e;

	(void)state;
	CHECK_TRUE("a client of IPv4 in ::/0", !prefix_table_find(b.table, &v4, &e));
	CHECK_TRUE("a client of IPv6 in ::/0", prefix_table_find(b.table, &v6, &e));
	free(b.table);
	b = build_texts(four, 1);
	CHECK_TRUE("a client of IPv4 in 0.0.0.0/0", prefix_table_find(b.table, &v4, &e));
	CHECK_TRUE("a client of IPv6 in 0.0.0.0/0", !prefix_table_find(b.table, &v6, &e));
	free(b.table);
}

static void
test_prefix_of_equal_ones_the_first_stays(void **state)
{
	static const char *const texts[] = { "192.0.2.0/24", "198.51.100.0/24", "192.0.2.0/24", "192.0.2.0/24",
		"2001:db8::/32", "2001:db8::/32" };
	struct built b = build_texts(texts, ARRAY_LEN(texts));
	const struct ip_addr a = addr_of("192.0.2.9"), c = addr_of("2001:db8::9");
	struct prefix_entry e;
	uint32_t n = 0;

	(void)state;
	CHECK_EQ("three are left", prefix_table_count(b.table), 3);
	CHECK_TRUE("found", prefix_table_find(b.table, &a, &e));
	CHECK_EQ("the first", e.value, 0);
	CHECK_TRUE("found", prefix_table_find(b.table, &c, &e));
	CHECK_EQ("the first", e.value, 4);
	while (prefix_table_at(b.table, n, &e))
		n++;
	CHECK_EQ("listed", n, 3);
	free(b.table);
}

static void
test_prefix_empty_and_none(void **state)
{
	const struct ip_addr a = addr_of("192.0.2.1");
	struct built b = build(NULL, 0);
	struct prefix_entry e;

	(void)state;
	CHECK_TRUE("empty", !prefix_table_find(b.table, &a, &e));
	CHECK_EQ("empty", prefix_table_count(b.table), 0);
	CHECK_TRUE("no table", !prefix_table_find(NULL, &a, &e));
	CHECK_EQ("no table", prefix_table_count(NULL), 0);
	free(b.table);
}

/* The same answers as a walk over all entries. */
static void
test_prefix_find_agrees_with_a_plain_walk(void **state)
{
	enum { N = 2000 };
	struct prefix_entry *e = calloc(N, sizeof(*e));
	struct built b;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		const bool v4 = i % 2 == 0;
		struct ip_addr a = ip_addr_v4((uint32_t)random64() & 0x0f0f0f0f);

		if (!v4) {
			a = addr_of("2001:db8::");
			a.octet[5] = (uint8_t)(random64() & 3);
			a.octet[9] = (uint8_t)(random64() & 3);
			a.octet[15] = (uint8_t)(random64() & 3);
		}
		e[i].bits = (uint8_t)(v4 ? 96 + random64() % 33 : 32 + random64() % 97);
		e[i].addr = ip_addr_mask(&a, e[i].bits);
		e[i].value = i;
	}
	b = build(e, N);
	for (unsigned k = 0; k < 4000; k++) {
		struct ip_addr a = e[random64() % N].addr;
		struct prefix_entry got = { 0 };
		int best = -1;

		a.octet[12 + random64() % 4] ^= (uint8_t)(1 << random64() % 8);
		for (unsigned i = 0; i < N; i++) {
			const struct ip_addr m = ip_addr_mask(&a, e[i].bits);

			if (ip_addr_is_v4(&a) && e[i].bits < 96)
				continue;
			if (ip_addr_equal(&m, &e[i].addr) && (best < 0 || e[i].bits > e[best].bits))
				best = (int)i;
		}
		if (!prefix_table_find(b.table, &a, &got))
			CHECK_EQ("none", best, -1);
		else
			CHECK_EQ("the same", got.value, best);
	}
	free(b.table);
	free(e);
}

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
test_prefix_a_million_in_time_and_room(void **state)
{
	enum { N = 1000000 };
	struct prefix_entry *e = calloc(N, sizeof(*e)), got;
	const size_t room = prefix_table_octets(N);
	void *table = malloc(room);
	double took;
	size_t octets;

	(void)state;
	for (unsigned i = 0; i < N; i++) { /* half /32, half random /64 */
		if (i % 2 == 0) {
			e[i].addr = ip_addr_v4((uint32_t)random64());
			e[i].bits = 128;
		} else {
			const uint64_t r = random64();

			memcpy(e[i].addr.octet, &r, sizeof(r));
			e[i].addr.octet[0] = 0x20;
			e[i].bits = 64;
		}
		e[i].value = i;
	}
	took = seconds();
	octets = prefix_table_build(table, room, e, N, 1);
	took = seconds() - took;
	CHECK_TRUE("at most 32 octets each", octets > 0 && octets <= (size_t)N * 32);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	CHECK_TRUE("under 2 s", took < 2.0);
#endif
	CHECK_TRUE("valid", prefix_table_valid(table, octets));
	for (unsigned i = 0; i < N; i += 997) {
		CHECK_TRUE("found", prefix_table_find(table, &e[i].addr, &got));
		CHECK_TRUE("itself or an equal before", got.value <= i);
	}
	free(table);
	free(e);
}

static void
test_prefix_build_refuses_too_little_room_and_too_many_bits(void **state)
{
	struct prefix_entry e[2] = { { .bits = 24 }, { .bits = 129 } };
	uint64_t room[64];

	(void)state;
	CHECK_EQ("no room", prefix_table_build(room, prefix_table_octets(1) - 1, e, 1, 1), 0);
	CHECK_EQ("129 bits", prefix_table_build(room, sizeof(room), e, 2, 1), 0);
}

/* Every octet of a section broken in turn, and cut everywhere: refused, or every lookup stays inside. */
static void
test_prefix_hostile_sections(void **state)
{
	static const char *const texts[] = { "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "2001:db8::1" };
	struct built b = build_texts(texts, ARRAY_LEN(texts));
	unsigned refused = 0;

	(void)state;
	for (size_t cut = 0; cut < b.octets; cut++) {
		void *p = malloc(cut + 1);

		memcpy(p, b.table, cut);
		CHECK_TRUE("cut", !prefix_table_valid(p, cut));
		free(p);
	}
	for (size_t at = 0; at < b.octets; at++) {
		for (unsigned k = 0; k < 4; k++) {
			static const uint8_t with[4] = { 0xff, 0x01, 0x80, 0x40 };
			uint8_t *p = malloc(b.octets);
			struct ip_addr a = addr_of(texts[2]);
			struct prefix_entry e;

			memcpy(p, b.table, b.octets);
			p[at] ^= with[k];
			if (prefix_table_valid(p, b.octets)) {
				for (unsigned i = 0; i < 50; i++) {
					a.octet[random64() % 16] ^= (uint8_t)random64();
					prefix_table_find(p, &a, &e);
				}
				for (uint32_t i = 0; prefix_table_at(p, i, &e); i++)
					;
			} else {
				refused++;
			}
			free(p);
		}
	}
	CHECK_TRUE("most damage to the structure is seen", refused > 500);
	free(b.table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix_parse_is_exact_or_refuses),
		cmocka_unit_test(test_prefix_find_gives_the_longest),
		cmocka_unit_test(test_prefix_of_ipv6_never_holds_ipv4),
		cmocka_unit_test(test_prefix_of_equal_ones_the_first_stays),
		cmocka_unit_test(test_prefix_empty_and_none),
		cmocka_unit_test(test_prefix_find_agrees_with_a_plain_walk),
		cmocka_unit_test(test_prefix_a_million_in_time_and_room),
		cmocka_unit_test(test_prefix_build_refuses_too_little_room_and_too_many_bits),
		cmocka_unit_test(test_prefix_hostile_sections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
