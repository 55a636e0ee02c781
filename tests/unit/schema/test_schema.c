/*
 * test_schema.c - the store's keys and values: fixed octets, round trips, cut everywhere, foreign versions, noise.
 */
#include <errno.h>
#include <stdlib.h>

#include "lmdb-schema/key.h"
#include "lmdb-schema/migrate.h"
#include "lmdb-schema/record.h"
#include "tests/check.h"

static void
test_key_octets_are_fixed_and_big_endian(void **state)
{
	static const uint8_t entry[] = { 3, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08 };
	static const uint8_t backend[] = { 0xaa, 0xbb, 0xcc, 0xdd };
	static const uint8_t why[] = { 0x12, 0x34, 0x56, 0x78, 0x9a };
	static const uint8_t order[] = { 0, 0, 0, 0, 0, 0, 1, 0 };
	uint8_t key[SCHEMA_KEY_MAX_OCTETS], kind;
	uint64_t v;
	uint32_t id;

	(void)state;
	CHECK_OCTETS("entry", key, schema_entry_key_build(key, 3, UINT64_C(0x0102030405060708)), entry, sizeof(entry));
	CHECK_EQ("entry", schema_entry_key_parse(entry, sizeof(entry), &kind, &v), 0);
	CHECK_TRUE("entry", kind == 3 && v == UINT64_C(0x0102030405060708));
	CHECK_OCTETS("backend", key, schema_backend_key_build(key, 0xaabbccdd), backend, sizeof(backend));
	CHECK_EQ("backend", schema_backend_key_parse(backend, sizeof(backend), &id), 0);
	CHECK_EQ("backend", id, 0xaabbccdd);
	CHECK_OCTETS(
		"why", key, schema_why_key_build(key, UINT64_C(0xffff123456789a) & SCHEMA_REF_MAX), why, sizeof(why));
	CHECK_EQ("why", schema_why_key_parse(why, sizeof(why), &v), 0);
	CHECK_EQ("why", v, UINT64_C(0x123456789a));
	CHECK_OCTETS("order", key, schema_order_key_build(key, 256), order, sizeof(order));
	CHECK_EQ("order", schema_order_key_parse(order, sizeof(order), &v), 0);
	CHECK_EQ("order", v, 256);
}

static void
test_key_parse_refuses_what_is_none(void **state)
{
	static const uint8_t zeros[16];
	uint8_t kind, key[SCHEMA_KEY_MAX_OCTETS];
	uint64_t v;
	uint32_t id;

	(void)state;
	for (size_t n = 0; n <= 16; n++) {
		schema_entry_key_build(key, 1, 1);
		CHECK_EQ("entry", schema_entry_key_parse(key, n, &kind, &v), n == 9 ? 0 : -EBADMSG);
		CHECK_EQ("why", schema_why_key_parse(zeros, n, &v), n == 5 ? 0 : -EBADMSG);
		CHECK_EQ("order", schema_order_key_parse(zeros, n, &v), n == 8 ? 0 : -EBADMSG);
		CHECK_EQ("backend 0", schema_backend_key_parse(zeros, n, &id), -EBADMSG);
		CHECK_EQ("kind 0", schema_entry_key_parse(zeros, n, &kind, &v), -EBADMSG);
	}
	schema_entry_key_build(key, 16, 1);
	CHECK_EQ("kind 16", schema_entry_key_parse(key, 9, &kind, &v), -EBADMSG);
	schema_entry_key_build(key, 1, 0);
	CHECK_EQ("tag 0", schema_entry_key_parse(key, 9, &kind, &v), -EBADMSG);
}

static void
test_key_of_an_option_is_a_dotted_name(void **state)
{
	static const struct {
		const char *name;
		size_t want;
	} rows[] = {
		{ "greylist.block", 14 },
		{ "dnsbl.zones.2", 13 },
		{ "a", 1 },
		{ "", 0 },
		{ "Greylist", 0 },
		{ "a b", 0 },
		{ "a/b", 0 },
		{ "0123456789012345678901234567890123456789012345678901234567890123", 64 },
		{ "01234567890123456789012345678901234567890123456789012345678901234", 0 },
	};
	uint8_t key[SCHEMA_OPTION_KEY_MAX_OCTETS];
	char name[SCHEMA_OPTION_KEY_MAX_OCTETS + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const size_t n = schema_option_key_build(key, rows[i].name);

		CHECK_EQ(rows[i].name, n, rows[i].want);
		if (n == 0)
			continue;
		CHECK_EQ(rows[i].name, schema_option_key_parse(key, n, name), 0);
		CHECK_STR(rows[i].name, name, rows[i].name);
	}
	CHECK_EQ("NUL", schema_option_key_parse("a\0b", 3, name), -EBADMSG);
	CHECK_EQ("nothing", schema_option_key_parse("", 0, name), -EBADMSG);
}

static void
test_db_names_are_fixed(void **state)
{
	(void)state;
	CHECK_STR("meta", schema_db_name(SCHEMA_DB_META), "meta");
	CHECK_STR("entries", schema_db_name(SCHEMA_DB_ENTRIES), "entries");
	CHECK_STR("why_order", schema_db_name(SCHEMA_DB_WHY_ORDER), "why_order");
	CHECK_TRUE("none", schema_db_name(SCHEMA_DB_N) == NULL);
}

static void
test_entry_octets_are_fixed(void **state)
{
	static const uint8_t want[] = { 1, 2, 3, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09 };
	const struct schema_entry e = { .state = 2, .flags = 3, .aux = 0x0405, .time_s = 0x06070809 };
	uint8_t v[SCHEMA_VALUE_MAX_OCTETS];

	(void)state;
	CHECK_OCTETS("version 1", v, schema_entry_build(&e, v, sizeof(v)), want, sizeof(want));
}

/* One record of each table, with every field set. */
struct sample {
	enum schema_db db;
	const char *label;
	uint8_t key[SCHEMA_KEY_MAX_OCTETS], value[SCHEMA_VALUE_MAX_OCTETS];
	size_t key_octets, octets;
};

static void
sample_meta(struct sample *s, const char *key)
{
	s->db = SCHEMA_DB_META;
	s->label = key;
	s->key_octets = strlen(key);
	memcpy(s->key, key, s->key_octets);
}

static unsigned
samples_make(struct sample *s)
{
	const struct schema_entry e = { .state = 1, .time_s = 77, .aux = 5 };
	const struct schema_name n = {
		.network = { 1, 2, 3 }, .first_s = 9, .sender = schema_text_of("a@b"), .rcpt = schema_text_of("c@d")
	};
	const struct schema_option o = { .set_wall_s = 1000, .text = schema_text_of("10s") };
	const struct schema_backend b = { .health = 1,
		.drained = 1,
		.failures = 2,
		.probed = 1,
		.ext = 7,
		.probed_s = 8,
		.relaytest_s = 9,
		.changed_s = 10,
		.size_octets = 11,
		.words = schema_text_of("220 hello") };
	const struct schema_why w = { .sequence = 3,
		.wall_s = 4,
		.time_s = 5,
		.client = { 9 },
		.verdict = 2,
		.rule = 8,
		.mode = 1,
		.code = 554,
		.score = -7,
		.listener = schema_text_of("mx"),
		.ptr = schema_text_of("ptr.example"),
		.helo = schema_text_of("helo.example"),
		.from = schema_text_of("f@g"),
		.rcpt = schema_text_of("h@i"),
		.reason = schema_text_of("dnsbl"),
		.reply = schema_text_of("554 5.7.1 no") };
	const struct schema_meta m = { .schema = SCHEMA_VERSION, .created_wall_s = 123 };
	const struct schema_table_key k = { 1, 2 };
	const struct schema_policy_time p = { .offset_s = -5, .boot_id = "6d543edb-473f-492b-891b-d618854ce8ba" };

	s[0] = (struct sample){ .db = SCHEMA_DB_ENTRIES, .label = "entries" };
	s[0].key_octets = schema_entry_key_build(s[0].key, 1, 42);
	s[0].octets = schema_entry_build(&e, s[0].value, sizeof(s[0].value));
	s[1] = (struct sample){ .db = SCHEMA_DB_NAMES, .label = "names" };
	s[1].key_octets = schema_entry_key_build(s[1].key, 1, 42);
	s[1].octets = schema_name_build(&n, s[1].value, sizeof(s[1].value));
	s[2] = (struct sample){ .db = SCHEMA_DB_OPTIONS, .label = "options" };
	s[2].key_octets = schema_option_key_build(s[2].key, "greylist.block");
	s[2].octets = schema_option_build(&o, s[2].value, sizeof(s[2].value));
	s[3] = (struct sample){ .db = SCHEMA_DB_BACKENDS, .label = "backends" };
	s[3].key_octets = schema_backend_key_build(s[3].key, 7);
	s[3].octets = schema_backend_build(&b, s[3].value, sizeof(s[3].value));
	s[4] = (struct sample){ .db = SCHEMA_DB_WHY, .label = "why" };
	s[4].key_octets = schema_why_key_build(s[4].key, 99);
	s[4].octets = schema_why_build(&w, s[4].value, sizeof(s[4].value));
	s[5] = (struct sample){ .db = SCHEMA_DB_WHY_ORDER, .label = "why_order" };
	s[5].key_octets = schema_order_key_build(s[5].key, 1);
	s[5].octets = schema_order_build(99, s[5].value, sizeof(s[5].value));
	sample_meta(&s[6], SCHEMA_META_SCHEMA);
	s[6].octets = schema_meta_build(&m, s[6].value, sizeof(s[6].value));
	sample_meta(&s[7], SCHEMA_META_TABLE_KEY);
	s[7].octets = schema_table_key_build(&k, s[7].value, sizeof(s[7].value));
	sample_meta(&s[8], SCHEMA_META_POLICY);
	s[8].octets = schema_policy_time_build(&p, s[8].value, sizeof(s[8].value));
	return 9;
}

static void
test_records_come_back(void **state)
{
	struct sample *s = calloc(9, sizeof(*s));
	struct schema_entry e;
	struct schema_name n;
	struct schema_option o;
	struct schema_backend b;
	struct schema_why w;
	struct schema_meta m;
	struct schema_table_key k;
	struct schema_policy_time p;
	char text[64];
	uint64_t ref;

	(void)state;
	samples_make(s);
	CHECK_EQ("entry", schema_entry_parse(s[0].value, s[0].octets, &e), 0);
	CHECK_TRUE("entry", e.state == 1 && e.flags == 0 && e.aux == 5 && e.time_s == 77);
	CHECK_EQ("name", schema_name_parse(s[1].value, s[1].octets, &n), 0);
	CHECK_TRUE("name", n.network[2] == 3 && n.first_s == 9);
	CHECK_STR("name", schema_text_copy(n.sender, text, sizeof(text)), "a@b");
	CHECK_STR("name", schema_text_copy(n.rcpt, text, sizeof(text)), "c@d");
	CHECK_STR("cut to the room", schema_text_copy(n.rcpt, text, 3), "c@");
	CHECK_EQ("option", schema_option_parse(s[2].value, s[2].octets, &o), 0);
	CHECK_STR("option", schema_text_copy(o.text, text, sizeof(text)), "10s");
	CHECK_EQ("backend", schema_backend_parse(s[3].value, s[3].octets, &b), 0);
	CHECK_TRUE("backend", b.health == 1 && b.drained == 1 && b.failures == 2 && b.probed == 1 && b.ext == 7 &&
				      b.probed_s == 8 && b.relaytest_s == 9 && b.changed_s == 10 &&
				      b.size_octets == 11);
	CHECK_STR("backend", schema_text_copy(b.words, text, sizeof(text)), "220 hello");
	CHECK_EQ("why", schema_why_parse(s[4].value, s[4].octets, &w), 0);
	CHECK_TRUE("why", w.sequence == 3 && w.wall_s == 4 && w.time_s == 5 && w.client[0] == 9 && w.verdict == 2 &&
				  w.rule == 8 && w.mode == 1 && w.code == 554 && w.score == -7);
	CHECK_STR("why", schema_text_copy(w.helo, text, sizeof(text)), "helo.example");
	CHECK_STR("why", schema_text_copy(w.reply, text, sizeof(text)), "554 5.7.1 no");
	CHECK_EQ("order", schema_order_parse(s[5].value, s[5].octets, &ref), 0);
	CHECK_EQ("order", ref, 99);
	CHECK_EQ("meta", schema_meta_parse(s[6].value, s[6].octets, &m), 0);
	CHECK_EQ("meta", m.created_wall_s, 123);
	CHECK_EQ("table key", schema_table_key_parse(s[7].value, s[7].octets, &k), 0);
	CHECK_TRUE("table key", k.k0 == 1 && k.k1 == 2);
	CHECK_EQ("policy", schema_policy_time_parse(s[8].value, s[8].octets, &p), 0);
	CHECK_EQ("policy", p.offset_s, -5);
	CHECK_STR("policy", p.boot_id, "6d543edb-473f-492b-891b-d618854ce8ba");
	free(s);
}

/* A value in memory of its exact size, so that the sanitizer sees every read beyond. */
static int
check_exact(const struct sample *s, const uint8_t *value, size_t octets)
{
	uint8_t *exact = malloc(octets > 0 ? octets : 1);
	int rc;

	memcpy(exact, value, octets);
	rc = schema_record_check(s->db, s->key, s->key_octets, exact, octets);
	free(exact);
	return rc;
}

static void
test_records_cut_longer_or_of_foreign_versions_are_refused(void **state)
{
	struct sample *s = calloc(9, sizeof(*s));
	const unsigned n = samples_make(s);

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		CHECK_TRUE(s[i].label, s[i].octets > 0);
		CHECK_EQ(s[i].label, check_exact(&s[i], s[i].value, s[i].octets), 0);
		for (size_t cut = 0; cut < s[i].octets; cut++)
			CHECK_EQ(s[i].label, check_exact(&s[i], s[i].value, cut), -EBADMSG);
		CHECK_EQ(s[i].label, check_exact(&s[i], s[i].value, s[i].octets + 1), -EBADMSG);
		for (unsigned version = 0; version < 256; version++) {
			s[i].value[0] = (uint8_t)version;
			CHECK_EQ(s[i].label, check_exact(&s[i], s[i].value, s[i].octets), version == 1 ? 0 : -ENOTSUP);
		}
		s[i].value[0] = 1;
		s[i].key_octets++;
		CHECK_TRUE(s[i].label, check_exact(&s[i], s[i].value, s[i].octets) != 0);
		s[i].key_octets = 0;
		CHECK_TRUE(s[i].label, check_exact(&s[i], s[i].value, s[i].octets) != 0);
	}
	free(s);
}

static void
test_records_of_noise_are_read_within_their_octets(void **state)
{
	struct sample *s = calloc(9, sizeof(*s));
	const unsigned n = samples_make(s);

	(void)state;
	srandom(7);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned round = 0; round < 5000; round++) {
			uint8_t value[300];
			const size_t octets = (size_t)random() % sizeof(value);

			for (size_t k = 0; k < octets; k++)
				value[k] = (uint8_t)(random() %
						     (round % 2 ? 4 : 256)); /* small numbers make short texts */
			value[0] = 1;
			check_exact(&s[i], value, octets);
		}
	}
	free(s);
}

static void
test_records_build_refuses_too_little_room_and_too_long_texts(void **state)
{
	char longer[SCHEMA_OPTION_MAX_OCTETS + 2];
	uint8_t v[SCHEMA_VALUE_MAX_OCTETS];
	struct schema_option o = { .set_wall_s = 1 };
	struct schema_name n = { .first_s = 1 };
	struct schema_why w = { .sequence = 1 };
	const struct schema_entry e = { .state = 1 };

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	o.text = schema_text_of(longer);
	CHECK_EQ("1025 octets of an option", schema_option_build(&o, v, sizeof(v)), 0);
	o.text.len_octets--;
	CHECK_TRUE("1024", schema_option_build(&o, v, sizeof(v)) > 0);
	n.sender = (struct schema_text){ longer, 321 };
	CHECK_EQ("321 octets of a sender", schema_name_build(&n, v, sizeof(v)), 0);
	for (size_t room = 0; room < 9; room++)
		CHECK_EQ("room", schema_entry_build(&e, v, room), 0);
	CHECK_EQ("room", schema_entry_build(&e, v, 9), 9);
	w.listener = w.reason = (struct schema_text){ longer, SCHEMA_WORD_MAX_OCTETS };
	w.ptr = w.helo = (struct schema_text){ longer, SCHEMA_HOST_MAX_OCTETS };
	w.from = w.rcpt = (struct schema_text){ longer, SCHEMA_PATH_MAX_OCTETS };
	w.reply = (struct schema_text){ longer, SCHEMA_REPLY_MAX_OCTETS };
	CHECK_TRUE("the longest of all has room", schema_why_build(&w, v, sizeof(v)) > 0);
}

static void
test_table_key_of_zeros_is_damage(void **state)
{
	const struct schema_table_key zero = { 0, 0 };
	struct schema_table_key k;
	uint8_t v[32];
	const size_t n = schema_table_key_build(&zero, v, sizeof(v));

	(void)state;
	CHECK_EQ("no secret", schema_table_key_parse(v, n, &k), -EBADMSG);
}

static void
test_schema_judge_says_what_to_do(void **state)
{
	static const struct {
		const char *label;
		uint32_t schema;
		enum schema_state want;
	} rows[] = {
		{ "current", SCHEMA_VERSION, SCHEMA_CURRENT },
		{ "old", SCHEMA_VERSION - 1, SCHEMA_OLD },
		{ "newer", SCHEMA_VERSION + 1, SCHEMA_NEWER },
		{ "newest", UINT32_MAX, SCHEMA_NEWER },
		{ "damaged", 0, SCHEMA_DAMAGED },
	};
	uint8_t v[32];

	(void)state;
	CHECK_EQ("empty", schema_judge(NULL, 0), SCHEMA_EMPTY);
	CHECK_EQ("no octets", schema_judge(v, 0), SCHEMA_DAMAGED);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct schema_meta m = { .schema = rows[i].schema };
		const size_t n = schema_meta_build(&m, v, sizeof(v));

		CHECK_EQ(rows[i].label, schema_judge(v, n), rows[i].want);
		CHECK_STR(rows[i].label, schema_state_name(rows[i].want),
			rows[i].want == SCHEMA_NEWER ? "newer" : rows[i].label);
		v[0] = 2;
		CHECK_EQ("meta of another version", schema_judge(v, n), SCHEMA_NEWER);
	}
}

static void
test_schema_carries_over_what_means_the_same(void **state)
{
	struct sample *s = calloc(9, sizeof(*s));
	const unsigned n = samples_make(s);

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		const bool is_tag = s[i].db == SCHEMA_DB_ENTRIES || s[i].db == SCHEMA_DB_NAMES;

		CHECK_TRUE(s[i].label, schema_carries_over(SCHEMA_VERSION, s[i].db));
		CHECK_EQ("tags of layout 1 are other hashes", schema_carries_over(1, s[i].db), !is_tag);
		CHECK_TRUE("a layout that is not known", !schema_carries_over(SCHEMA_VERSION + 1, s[i].db));
		CHECK_TRUE("none", !schema_carries_over(0, s[i].db));
		CHECK_EQ("sound", schema_record_check(s[i].db, s[i].key, s[i].key_octets, s[i].value, s[i].octets), 0);
		CHECK_EQ("cut", schema_record_check(s[i].db, s[i].key, s[i].key_octets, s[i].value, s[i].octets - 1),
			-EBADMSG);
	}
	CHECK_EQ("a meta record of another release",
		schema_record_check(SCHEMA_DB_META, "new", 3, s[6].value, s[6].octets), -ENOTSUP);
	CHECK_EQ("no table", schema_record_check(SCHEMA_DB_N, "new", 3, s[6].value, s[6].octets), -EBADMSG);
	free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_octets_are_fixed_and_big_endian),
		cmocka_unit_test(test_key_parse_refuses_what_is_none),
		cmocka_unit_test(test_key_of_an_option_is_a_dotted_name),
		cmocka_unit_test(test_db_names_are_fixed),
		cmocka_unit_test(test_entry_octets_are_fixed),
		cmocka_unit_test(test_records_come_back),
		cmocka_unit_test(test_records_cut_longer_or_of_foreign_versions_are_refused),
		cmocka_unit_test(test_records_of_noise_are_read_within_their_octets),
		cmocka_unit_test(test_records_build_refuses_too_little_room_and_too_long_texts),
		cmocka_unit_test(test_table_key_of_zeros_is_damage),
		cmocka_unit_test(test_schema_judge_says_what_to_do),
		cmocka_unit_test(test_schema_carries_over_what_means_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
