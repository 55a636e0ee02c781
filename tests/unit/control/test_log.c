/*
 * test_log.c - lines of the mail log: nothing a peer sends forges a field; caps; files that cannot be written.
 */
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "control/log.h"

#define WALL_US INT64_C(1795295194123456)

static struct link_event_log
rcpt(const char *helo, const char *from)
{
	struct link_event_log e;

	log_record_start(&e, LINK_LOG_RCPT, 1000);
	log_record_put_text(&e, LOG_client, "192.0.2.1");
	log_record_put_text(&e, LOG_helo, helo);
	log_record_put_text(&e, LOG_from, from);
	log_record_put_text(&e, LOG_verdict, "defer");
	log_record_put_number(&e, LOG_left_s, 240);
	return e;
}

static void
test_log_kv_line(void **state)
{
	struct link_event_log e = rcpt("mail.example.org", "a@example.org");
	char line[LOG_LINE_MAX_OCTETS];

	(void)state;
	log_format_event(LOG_FORMAT_KV, &e, WALL_US, line);
	CHECK_STR("line", line,
		"time=2026-11-21T21:06:34.123Z kind=rcpt client=192.0.2.1 helo=mail.example.org from=a@example.org "
		"verdict=defer left_s=240");
}

/* PITFALLS 53. A reader that splits as tests/e2e/logs.py does must see each field once, with the peer's octets only inside their own. */
static void
test_log_nothing_forges_a_field(void **state)
{
	static const char *const evil[] = {
		"x verdict=pass",
		"x\" verdict=pass \"",
		"x\\\" verdict=pass",
		"x\nverdict=pass",
		"x\rverdict=pass",
		"x\tverdict=pass",
		"x=y",
		"\\",
		"\\\\\"",
		"",
		"\x80\xff\x1b[31m",
		"a\"b\"c",
		"\x7f",
		"verdict=pass",
		"{\"verdict\":\"pass\"}",
		"\",\"verdict\":\"pass",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(evil); i++) {
		struct link_event_log e = rcpt(evil[i], evil[i]);
		char line[LOG_LINE_MAX_OCTETS];
		unsigned verdicts = 0, fields = 0;
		bool quoted = false;
		json_t *j;

		log_format_event(LOG_FORMAT_KV, &e, WALL_US, line);
		for (const char *p = line; *p != '\0'; p++) {
			CHECK_TRUE(evil[i], *p >= 0x20 && *p < 0x7f);
			if (quoted && *p == '\\') {
				CHECK_TRUE(evil[i], p[1] != '\0');
				p++;
				continue;
			}
			if (*p == '"')
				quoted = !quoted;
			if (!quoted && (p == line || p[-1] == ' ') && strncmp(p, "verdict=", 8) == 0)
				verdicts++;
			fields += !quoted && *p == ' ';
		}
		CHECK_TRUE(evil[i], !quoted);
		CHECK_EQ(evil[i], verdicts, 1);
		CHECK_EQ(evil[i], fields, 6);
		CHECK_TRUE(evil[i], strstr(line, " verdict=defer left_s=240") != NULL);

		log_format_event(LOG_FORMAT_JSON, &e, WALL_US, line);
		j = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		CHECK_TRUE(line, json_is_object(j));
		CHECK_EQ(evil[i], json_object_size(j), 7);
		CHECK_STR(evil[i], json_string_value(json_object_get(j, "verdict")), "defer");
		CHECK_EQ(evil[i], json_integer_value(json_object_get(j, "left_s")), 240);
		json_decref(j);
	}
}

static void
test_log_a_field_comes_once(void **state)
{
	struct link_event_log e = rcpt("a", "b");
	char line[LOG_LINE_MAX_OCTETS];

	(void)state;
	log_record_put_text(&e, LOG_verdict, "pass");
	log_format_event(LOG_FORMAT_KV, &e, WALL_US, line);
	CHECK_TRUE("the first stays", strstr(line, "verdict=defer") != NULL && strstr(line, "verdict=pass") == NULL);
}

static void
test_log_longest_record_fits(void **state)
{
	char big[3000], line[LOG_LINE_MAX_OCTETS];
	struct link_event_log e;

	(void)state;
	memset(big, 0xff, sizeof(big));
	for (int format = LOG_FORMAT_KV; format <= LOG_FORMAT_JSON; format++) {
		size_t n;

		log_record_start(&e, LINK_LOG_NOTICE, 1);
		for (int f = 0; f < LOG_FIELD_N; f++)
			log_record_put(&e, (enum link_log_field)f, big, 60);
		log_record_put(&e, LOG_text, big, sizeof(big));
		n = log_format_event((enum log_format)format, &e, WALL_US, line);
		CHECK_TRUE("bounded", n < LOG_LINE_MAX_OCTETS && line[n] == '\0');
	}
}

static unsigned
lines_of(const char *path, const char *with)
{
	char line[LOG_LINE_MAX_OCTETS];
	FILE *f = fopen(path, "r");
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, with) != NULL;
	fclose(f);
	return n;
}

static void
test_log_caps_greylisted_strangers_alone(void **state)
{
	struct link_event_log grey = rcpt("a", "grey@example.org"), reject = rcpt("a", "reject@example.org");
	char path[] = "/tmp/greyline-log-XXXXXX";
	struct log log;

	(void)state;
	close(mkstemp(path));
	grey.verdict = VERDICT_DEFER;
	grey.rule = RULE_GREYLIST;
	reject.verdict = VERDICT_REJECT;
	reject.rule = RULE_CLIENT;
	log_init(&log);
	log.grey_per_s = 10;
	CHECK_EQ("open", log_open(&log, path), 0);
	for (int i = 0; i < 50; i++) {
		log_event(&log, &grey, WALL_US, WALL_US);
		log_event(&log, &reject, WALL_US, WALL_US);
	}
	log_flush(&log, WALL_US);
	CHECK_EQ("capped", lines_of(path, "grey@"), 10);
	CHECK_EQ("never dropped", lines_of(path, "reject@"), 50);
	log_flush(&log, WALL_US + 1000000);
	CHECK_EQ("one summary line", lines_of(path, "kind=notice"), 1);
	CHECK_EQ("with its count", lines_of(path, "count=40"), 1);
	log_event(&log, &grey, WALL_US + 1100000, WALL_US + 1100000);
	log_flush(&log, WALL_US + 1100000);
	CHECK_EQ("a new second", lines_of(path, "grey@"), 11);
	log_fini(&log);
	unlink(path);
}

static void
test_log_reopens_after_rotation(void **state)
{
	struct link_event_log e = rcpt("a", "b@example.org");
	char path[] = "/tmp/greyline-log-XXXXXX", old[64];
	struct log log;

	(void)state;
	close(mkstemp(path));
	snprintf(old, sizeof(old), "%s.1", path);
	log_init(&log);
	log_open(&log, path);
	log_event(&log, &e, WALL_US, WALL_US);
	log_flush(&log, WALL_US);
	assert_int_equal(rename(path, old), 0);
	CHECK_EQ("reopen", log_open(&log, log.path), 0);
	log_event(&log, &e, WALL_US, WALL_US);
	log_flush(&log, WALL_US);
	CHECK_EQ("old", lines_of(old, "rcpt"), 1);
	CHECK_EQ("new", lines_of(path, "rcpt"), 1);
	log_fini(&log);
	unlink(path);
	unlink(old);
}

/* A full disk and a pipe nobody reads: lines are counted as lost, and no call waits. */
/* A folder that is not there at start: no `log reopen` is needed once it is. */
static void
test_log_is_opened_as_soon_as_it_can_be(void **state)
{
	struct link_event_log e = rcpt("a", "b@example.org");
	char folder[] = "/tmp/greyline-log-XXXXXX", path[64];
	struct log log;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/log", folder);
	assert_int_equal(rmdir(folder), 0);
	log_init(&log);
	CHECK_EQ("not there", log_open(&log, path), -ENOENT);
	log_event(&log, &e, WALL_US, WALL_US);
	log_flush(&log, WALL_US);
	CHECK_EQ("lost", log.lost, 1);
	assert_int_equal(mkdir(folder, 0700), 0);
	log_flush(&log, WALL_US + 1000000);
	CHECK_EQ("open", log.error, 0);
	log_event(&log, &e, WALL_US + 1000000, WALL_US + 1000000);
	log_flush(&log, WALL_US + 1000000);
	CHECK_EQ("written", lines_of(path, "rcpt"), 1);
	log_fini(&log);
	unlink(path);
	rmdir(folder);
}

static void
test_log_never_waits(void **state)
{
	struct link_event_log e = rcpt("a", "b@example.org");
	char path[] = "/tmp/greyline-log-XXXXXX";
	struct log log;
	int reader;

	(void)state;
	log_init(&log);
	CHECK_EQ("the device is there", log_open(&log, "/dev/full"), 0);
	log_event(&log, &e, WALL_US, WALL_US);
	log_flush(&log, WALL_US);
	CHECK_EQ("lost", log.lost, 1);
	CHECK_EQ("reason", log.error, -28);
	CHECK_EQ("a folder that is not there", log_open(&log, "/nonexistent/greyline.log") < 0, 1);
	log_event(&log, &e, WALL_US, WALL_US);
	CHECK_EQ("lost", log.lost, 2);
	close(mkstemp(path));
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK);
	CHECK_EQ("pipe", log_open(&log, path), 0);
	for (int i = 0; i < 20000; i++)
		log_event(&log, &e, WALL_US, WALL_US);
	log_flush(&log, WALL_US);
	CHECK_TRUE("the pipe is full, the rest is lost", log.lost > 10000);
	close(reader);
	log_fini(&log);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log_kv_line),
		cmocka_unit_test(test_log_nothing_forges_a_field),
		cmocka_unit_test(test_log_a_field_comes_once),
		cmocka_unit_test(test_log_longest_record_fits),
		cmocka_unit_test(test_log_caps_greylisted_strangers_alone),
		cmocka_unit_test(test_log_reopens_after_rotation),
		cmocka_unit_test(test_log_is_opened_as_soon_as_it_can_be),
		cmocka_unit_test(test_log_never_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
