/* test_kept.c - memory that outlives a process: kept as it was, or thrown away whole. */
#include "tests/check.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/link/kept.h"

#define OCTETS 10000u

static char path[64];

static uint8_t *
life(uint64_t word, uint64_t octets)
{
	char why[256];
	uint8_t *p = kept_open(path, word, octets, why, sizeof(why));

	if (p == NULL)
		fprintf(stderr, "%s\n", why);
	CHECK_TRUE("opened", p != NULL);
	return p;
}

static bool
all_zero(const uint8_t *p, uint64_t octets)
{
	for (uint64_t i = 0; i < octets; i++)
		if (p[i] != 0)
			return false;
	return true;
}

/* A life that writes and is killed: it never says goodbye. */
static void
write_and_die(uint64_t word)
{
	uint8_t *p = life(word, OCTETS);

	memset(p, 0xa5, OCTETS);
	munmap(p, OCTETS);
}

static void
test_the_next_life_finds_what_was_there(void **state)
{
	struct stat st;
	uint8_t *p;

	(void)state;
	p = life(1, OCTETS);
	CHECK_TRUE("zeroed at first", all_zero(p, OCTETS));
	munmap(p, OCTETS);
	CHECK_EQ("status", stat(path, &st), 0);
	CHECK_EQ("nobody else reads it", st.st_mode & 0777, 0600);
	write_and_die(1);
	p = life(1, OCTETS);
	CHECK_EQ("first octet", p[0], 0xa5);
	CHECK_EQ("last octet", p[OCTETS - 1], 0xa5);
	munmap(p, OCTETS);
	unlink(path);
}

static void
test_another_shape_or_build_is_thrown_away_whole(void **state)
{
	static const struct {
		uint64_t word, octets;
	} rows[] = { { 2, OCTETS }, { 1, OCTETS - 1 }, { 1, OCTETS * 2 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t *p;

		write_and_die(1);
		p = life(rows[i].word, rows[i].octets);
		CHECK_TRUE("zeroed", all_zero(p, rows[i].octets));
		munmap(p, rows[i].octets);
		unlink(path);
	}
}

static void
test_damage_is_no_crash(void **state)
{
	static const off_t cut[] = { 0, 5, 4096, 5000 };

	(void)state;
	for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
		uint8_t *p;

		write_and_die(1);
		CHECK_EQ("cut", truncate(path, cut[i]), 0);
		p = life(1, OCTETS);
		CHECK_TRUE("made anew", all_zero(p, OCTETS));
		munmap(p, OCTETS);
		unlink(path);
	}
}

static void
test_a_link_is_not_followed_and_a_missing_folder_is_named(void **state)
{
	char why[256] = "";

	(void)state;
	CHECK_EQ("link", symlink("/tmp/greyline-kept-elsewhere", path), 0);
	CHECK_TRUE("refused", kept_open(path, 1, OCTETS, why, sizeof(why)) == NULL);
	CHECK_TRUE("named", strstr(why, path) != NULL);
	unlink(path);
	CHECK_TRUE("no folder", kept_open("/nowhere/at/all", 1, OCTETS, why, sizeof(why)) == NULL);
	CHECK_TRUE("why", strstr(why, "/nowhere/at/all: No such file") != NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_next_life_finds_what_was_there),
		cmocka_unit_test(test_another_shape_or_build_is_thrown_away_whole),
		cmocka_unit_test(test_damage_is_no_crash),
		cmocka_unit_test(test_a_link_is_not_followed_and_a_missing_folder_is_named),
	};

	snprintf(path, sizeof(path), "/tmp/greyline-kept-%d", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
