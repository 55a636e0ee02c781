/*
 * test_tls_keeper.c - the main thread's side of TLS with a worker played by the test: certificates that come, go bad and are reloaded, options
 * nobody knows, keys of tickets that rotate, rows in the segment.
 */
#include <sys/stat.h>
#include <time.h>

#include "dataplane/tls_keeper.h"
#include "tests/check.h"
#include "tests/helpers/cert_files.h"

#define DAY_S   86400L
#define TICK_US UINT64_C(1000000)

static char said[65536];

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
	const size_t n = strlen(said);
	va_list ap;

	va_start(ap, format);
	vsnprintf(said + n, sizeof(said) - n, format, ap);
	va_end(ap);
}

static void
test_keeper_keeps_what_serves(void **state)
{
	static struct counters counters[CONF_WORKERS_MAX + 1];
	static struct cert_area area;
	static struct conf conf = { .hostname = "a.example",
		.workers = 2,
		.tls_memory_mb = 4,
		.tls_min_version = TLS_VERSION_1_2,
		.tls_tickets = 1,
		.tls_ticket_lifetime_s = 60 };
	struct snapshot s = { .conf = &conf, .generation = 1 };
	struct segment segment = { .certs = &area, .counters = counters };
	struct test_cert ca = test_cert_make("P-256", "Test CA", "", NULL, -DAY_S, 900 * DAY_S);
	struct test_cert one = test_cert_make("P-256", "leaf", "a.example", &ca, -DAY_S, 90 * DAY_S);
	struct test_cert two = test_cert_make("P-256", "leaf", "a.example", &ca, -DAY_S, 90 * DAY_S);
	struct tls_context *worker[2];
	struct tls_keeper *k;
	uint64_t now_us = 1000 * TICK_US, generation;
	char pair[600];

	(void)state;
	snprintf(conf.tls_certificates, sizeof(conf.tls_certificates), "/tmp/test-tls-keeper-XXXXXX");
	assert_non_null(mkdtemp(conf.tls_certificates));
	snprintf(pair, sizeof(pair), "%s/mx", conf.tls_certificates);
	test_write_pair(conf.tls_certificates, "mx", &one, &ca);
	area.sequence = 3; /* of a life that ended while it wrote */
	k = tls_keeper_create(&segment, &s, say);
	assert_non_null(k);
	tls_keeper_start(k, &s, now_us);
	CHECK_EQ("even again", area.sequence & 1, 0);
	CHECK_EQ("a row", area.n_rows, 1);
	CHECK_EQ("good", area.row[0].state, CERT_GOOD);
	CHECK_TRUE("said", strstr(said, "certificate mx: ECDSA 256") != NULL);
	for (unsigned i = 0; i < 2; i++) {
		worker[i] = tls_keeper_context(k, i);
		CHECK_TRUE("there is something to take", tls_context_take(worker[i]));
		CHECK_TRUE("a certificate", tls_context_has_certificate(worker[i]));
		CHECK_EQ("in force", tls_context_generation(worker[i]), area.generation);
	}

	/* keys of tickets rotate by the lifetime, not before */
	tls_keeper_tick(k, &s, now_us += 59 * TICK_US);
	CHECK_TRUE("not yet", !tls_context_take(worker[0]));
	tls_keeper_tick(k, &s, now_us += TICK_US);
	CHECK_TRUE("rotated", tls_context_take(worker[0]) && tls_context_take(worker[1]));
	tls_keeper_tick(k, &s, now_us += TICK_US);
	CHECK_TRUE("and not again", !tls_context_take(worker[0]));

	/* a new pair comes in by two looks; a reload is answered when both workers have it */
	generation = area.generation;
	test_write_pair(conf.tls_certificates, "mx", &two, &ca);
	tls_keeper_tick(k, &s, now_us += TICK_US);
	CHECK_EQ("at rest?", area.generation, generation);
	tls_keeper_tick(k, &s, now_us += TICK_US);
	CHECK_EQ("at rest", area.generation, generation + 1);
	area.reload_wanted = 5;
	tls_keeper_tick(k, &s, now_us += 20000);
	CHECK_TRUE("one worker", tls_context_take(worker[0]));
	tls_keeper_tick(k, &s, now_us += 20000);
	CHECK_EQ("is not both", area.reload_done, 0);
	CHECK_TRUE("the other", tls_context_take(worker[1]));
	tls_keeper_tick(k, &s, now_us += 20000);
	CHECK_EQ("answered", area.reload_done, 5);

	/* a bad one changes nothing but the row */
	test_write(pair, "privkey.pem", "rubbish\n", 0600);
	area.reload_wanted = 6;
	tls_keeper_tick(k, &s, now_us += 20000);
	CHECK_EQ("kept", area.row[0].state, CERT_KEPT);
	CHECK_EQ("answered at once", area.reload_done, 6);
	CHECK_TRUE("no worker is disturbed", !tls_context_take(worker[0]));
	CHECK_EQ("still in force", area.generation, generation + 1);
	CHECK_TRUE("said", strstr(said, "THE NEW FILES ARE NOT USED") != NULL);

	/* options that OpenSSL does not know: what was in force stays, it is said once, and mended by the next snapshot */
	snprintf(conf.tls_ciphers, sizeof(conf.tls_ciphers), "NO-SUCH-CIPHER");
	s.generation = 2;
	said[0] = '\0';
	for (unsigned i = 0; i < 100; i++)
		tls_keeper_tick(k, &s, now_us += 20000);
	CHECK_TRUE("told", strstr(area.folder_error, "NO-SUCH-CIPHER") != NULL);
	CHECK_TRUE("said", strstr(said, "TLS stays as it was") != NULL &&
				   strstr(strstr(said, "TLS stays as it was") + 1, "TLS stays as it was") == NULL);
	CHECK_TRUE("nothing to take", !tls_context_take(worker[0]));
	conf.tls_ciphers[0] = '\0';
	s.generation = 3;
	tls_keeper_tick(k, &s, now_us += 20000);
	CHECK_STR("mended", area.folder_error, "");

	/* no TLS */
	conf.tls_certificates[0] = '\0';
	s.generation = 4;
	tls_keeper_tick(k, &s, now_us += TICK_US);
	CHECK_TRUE("something to take", tls_context_take(worker[0]));
	CHECK_TRUE("no certificate", !tls_context_has_certificate(worker[0]));
	CHECK_EQ("none in force", area.generation, 0);
	CHECK_EQ("no row", area.n_rows, 0);
	tls_keeper_destroy(k);
	*strrchr(pair, '/') = '\0';
	test_remove_tree(pair);
	test_cert_free(&ca), test_cert_free(&one), test_cert_free(&two);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_keeper_keeps_what_serves) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
