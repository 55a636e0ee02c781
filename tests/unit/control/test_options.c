/*
 * test_options.c - the table of settings: parse, show, range, nearest names, documentation.
 */
#include "tests/check.h"

#include <stdlib.h>

#include "control/options.h"

static void
test_option_defaults_are_valid_but_for_the_host_name(void **state)
{
	struct option_values v;
	const char *path;

	(void)state;
	option_defaults(&v);
	CHECK_EQ("block", v.conf.grey_block_s, 240);
	CHECK_EQ("pass", v.conf.grey_pass_s, 6 * 3600);
	CHECK_EQ("expire", v.conf.grey_expire_s, 36 * 86400);
	CHECK_EQ("lapse memory", v.conf.grey_lapse_memory_s, 7 * 86400);
	CHECK_EQ("longest window", v.conf.grey_window_max_s, 4 * 86400);
	CHECK_EQ("reject threshold", v.conf.dnsbl_reject_threshold, 5);
	CHECK_EQ("grey threshold", v.conf.dnsbl_grey_threshold, 1);
	CHECK_EQ("no PTR", v.conf.ptr_missing, 3);
	CHECK_EQ("not confirmed", v.conf.ptr_unconfirmed, 0);
	CHECK_EQ("enforce", v.conf.mode, MODE_ENFORCE);
	CHECK_EQ("at rcpt", v.conf.reject_at, REJECT_AT_RCPT);
	CHECK_EQ("normalize", v.conf.bare_lf, BARE_LF_NORMALIZE);
	CHECK_EQ("relay", v.conf.known_clients_relay, 1);
	CHECK_EQ("deadline", v.conf.dns_deadline_ms, 2000);
	CHECK_EQ("after the dot", v.conf.backend_dot_s, 600);
	CHECK_EQ("why", v.why_entries, 1000000);
	CHECK_EQ("grey lines", v.conf.log_grey_per_s, 1000);
	CHECK_TRUE("host name is missing", option_check_all(&v, &path) != NULL);
	CHECK_STR("host name is missing", path, "hostname");
	strcpy(v.conf.hostname, "gw.example.org");
	CHECK_TRUE("the rest is right", option_check_all(&v, &path) == NULL);
}

/* What option_format() shows parses back to the same value, for defaults and both ends of every range. */
static void
test_option_text_goes_round(void **state)
{
	char text[OPTION_TEXT_OCTETS], why[OPTION_ERROR_OCTETS];
	struct option_values a, b;

	(void)state;
	for (unsigned i = 0; i < option_n; i++) {
		const struct option_row *o = &option_table[i];
		const int64_t at[] = { o->min, o->max };

		option_defaults(&a);
		for (unsigned k = 0;
			k < ARRAY_LEN(at) && o->type != OPTION_TEXT && o->type != OPTION_WORD && o->type != OPTION_BOOL;
			k++) {
			CHECK_EQ(o->path, option_set_integer(o, at[k], &a, why), 0);
			option_defaults(&b);
			CHECK_EQ(o->path, option_parse(o, option_format(o, &a, text), &b, why), 0);
			CHECK_TRUE(o->path, option_equal(o, &a, &b));
		}
		for (int64_t w = o->min; (o->type == OPTION_WORD || o->type == OPTION_BOOL) && w <= o->max; w++) {
			((uint8_t *)&a)[o->offset] = (uint8_t)w;
			CHECK_EQ(o->path, option_parse(o, option_format(o, &a, text), &b, why), 0);
			CHECK_EQ(o->path, ((uint8_t *)&b)[o->offset], w);
		}
		if (o->type == OPTION_TEXT)
			CHECK_EQ(o->path, option_format(o, &a, text)[0] == '\0' || option_parse(o, text, &b, why) == 0,
				1);
	}
}

static void
test_option_parse_values(void **state)
{
	static const struct {
		const char *path, *text;
		int64_t want; /* -1: refused */
	} rows[] = {
		{ "greylist.block", "10", 10 },
		{ "greylist.block", "10s", 10 },
		{ "greylist.block", "4m", 240 },
		{ "greylist.block", "1h", 3600 },
		{ "greylist.block", "1d", 86400 },
		{ "greylist.block", "0", -1 },
		{ "greylist.block", "-1", -1 },
		{ "greylist.block", "2d", -1 },
		{ "greylist.block", "", -1 },
		{ "greylist.block", " 4m", -1 },
		{ "greylist.block", "4m ", -1 },
		{ "greylist.block", "4 m", -1 },
		{ "greylist.block", "4M", -1 },
		{ "greylist.block", "500ms", -1 },
		{ "greylist.block", "abc", -1 },
		{ "greylist.block", "0x10", -1 },
		{ "greylist.block", "1e3", -1 },
		{ "greylist.block", "99999999d", -1 },
		{ "greylist.block", "18446744073709551617", -1 },
		{ "greylist.pass", "1w", 604800 },
		{ "dns.deadline_ms", "2000", 2000 },
		{ "dns.deadline_ms", "2s", 2000 },
		{ "dns.deadline_ms", "500ms", 500 },
		{ "dns.deadline_ms", "2h", -1 },
		{ "smtp.max_message_octets", "40m", 40 << 20 },
		{ "smtp.max_message_octets", "0", 0 },
		{ "smtp.max_message_octets", "1x", -1 },
		{ "mode", "observe", MODE_OBSERVE },
		{ "mode", "soft", MODE_SOFT },
		{ "mode", "enforce", MODE_ENFORCE },
		{ "mode", "Enforce", -1 },
		{ "mode", "2", -1 },
		{ "mode", "enf", -1 },
		{ "replies.grey_reference", "true", 1 },
		{ "replies.grey_reference", "on", 1 },
		{ "replies.grey_reference", "no", 0 },
		{ "replies.grey_reference", "2", -1 },
		{ "dnsbl.reject_threshold", "5", 5 },
		{ "dnsbl.reject_threshold", "1000", -1 },
		{ "smtp.max_rcpts", "99", -1 },
		{ "smtp.max_rcpts", "100", 100 },
		{ "backend.dot", "599s", -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct option_row *o = option_find(rows[i].path);
		char label[128], why[OPTION_ERROR_OCTETS], text[OPTION_TEXT_OCTETS];
		struct option_values v, before;
		uint64_t got = 0;
		int error;

		snprintf(label, sizeof(label), "%s = %s", rows[i].path, rows[i].text);
		CHECK_TRUE(label, o != NULL);
		option_defaults(&v);
		before = v;
		error = option_parse(o, rows[i].text, &v, why);
		CHECK_EQ(label, error == 0, rows[i].want >= 0);
		if (error != 0) {
			CHECK_TRUE(label, option_equal(o, &v, &before));
			CHECK_TRUE(label, why[0] != '\0' && strstr(why, option_range(o, text)) != NULL);
			continue;
		}
		memcpy(&got, (const char *)&v + o->offset, o->octets);
		CHECK_EQ(label, got, rows[i].want);
	}
}

static void
test_option_nearest_name(void **state)
{
	static const struct {
		const char *have, *want; /* NULL: none is near */
	} rows[] = {
		{ "greylist.blok", "greylist.block" },
		{ "greylist.pas", "greylist.pass" },
		{ "gerylist.block", "greylist.block" },
		{ "hostnme", "hostname" },
		{ "listener", "listeners" },
		{ "reverse_dns.mising", "reverse_dns.missing" },
		{ "dnsbl.zone", "dnsbl.zones" },
		{ "block", "greylist.block" },
		{ "clients.alow", "clients.allow" },
		{ "policy.block", "greylist.block" },
		{ "entirely.different.thing", NULL },
		{ "x", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *got = option_nearest(rows[i].have);

		CHECK_STR(rows[i].have, got != NULL ? got : "none", rows[i].want != NULL ? rows[i].want : "none");
	}
	CHECK_EQ("swapped letters count once", edit_distance("blcok", "block"), 1);
	CHECK_EQ("nothing in common", edit_distance("abc", "xyz"), 3);
	CHECK_EQ("empty", edit_distance("", "abc"), 3);
}

static void
test_option_relations(void **state)
{
	static const struct {
		const char *set, *to, *wrong; /* wrong: the option that is named */
	} rows[] = {
		{ "greylist.block", "6h", "greylist.pass" },
		{ "greylist.pass", "4m", "greylist.pass" },
		{ "greylist.pass", "5d", "greylist.window_max" },
		{ "greylist.expire", "4m", "greylist.expire" },
		{ "dnsbl.grey_threshold", "6", "dnsbl.grey_threshold" },
		{ "hostname", "nodots", "hostname" },
		{ "hostname", "-x.example", "hostname" },
		{ "hostname", "x..example", "hostname" },
		{ "hostname", "a b.example", "hostname" },
		{ "run_dir", "relative", "run_dir" },
		{ "log.file", "relative.log", "log.file" },
		{ "state.map_max_mb", "1", "state.map_max_mb" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char why[OPTION_ERROR_OCTETS];
		struct option_values v;
		const char *path;

		option_defaults(&v);
		strcpy(v.conf.hostname, "gw.example.org");
		CHECK_EQ(rows[i].set, option_parse(option_find(rows[i].set), rows[i].to, &v, why), 0);
		CHECK_TRUE(rows[i].set, option_check_all(&v, &path) != NULL);
		CHECK_STR(rows[i].set, path, rows[i].wrong);
	}
}

static void
test_option_dump_names_every_option(void **state)
{
	static const char *const forms[] = { "md", "man", "sample" };

	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(forms); f++) {
		char *text = NULL;
		size_t n = 0;
		FILE *out = open_memstream(&text, &n);

		CHECK_TRUE(forms[f], option_dump(out, forms[f]));
		fclose(out);
		for (unsigned i = 0; i < option_n; i++) {
			const char *last = strrchr(option_table[i].path, '.');

			CHECK_TRUE(option_table[i].path,
				strstr(text, last != NULL ? last + 1 : option_table[i].path) != NULL);
		}
		free(text);
	}
	CHECK_TRUE("another form", !option_dump(stdout, "html"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_option_defaults_are_valid_but_for_the_host_name),
		cmocka_unit_test(test_option_text_goes_round),
		cmocka_unit_test(test_option_parse_values),
		cmocka_unit_test(test_option_nearest_name),
		cmocka_unit_test(test_option_relations),
		cmocka_unit_test(test_option_dump_names_every_option),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
