/*
 * test_tls_hidden.c - STARTTLS hidden from an address whose handshakes fail (tls.hide_after_failures), with whole workers: what counts, from
 * whom, how long, and from whom never.
 */
#include "dataplane/tls/stream_tls.h"
#include "tests/check.h"
#include "tests/sim/scene.h"

#define OTHER4 "198.18.0.11"

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */
static struct sim_host *other;

static void
conf(void)
{
	scene_conf(&s);
	s.config.conf.grey_block_s = 1;
	scene_tls(&s, &scene_certs);
	s.config.conf.tls_hide_after_failures = 1;
}

static void
start(uint32_t n_workers)
{
	scene_start(&s, 5, n_workers, clean);
	other = sim_host_add(s.sim, 0, OTHER4, NULL);
	scene_settle(&s);
}

static struct sim_conn *
open_from(const char *client)
{
	struct sim_host *first = s.client;
	struct sim_conn *c;

	if (strcmp(client, OTHER4) == 0)
		s.client = other;
	c = scene_open(&s, client, GATEWAY4);
	s.client = first;
	return c;
}

static uint64_t
counted(enum counter which)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s.config.conf.workers; i++)
		n += sim_segment(s.sim)->counters[i].value[which];
	return n;
}

/* Policy time alone moves on: what the wall clock of a month would do, without a month of turns. */
static void
later(uint32_t seconds)
{
	sim_segment(s.sim)->live->policy_offset_s += seconds;
	sim_run(s.sim, 2000000);
}

static const char fatal_alert[] = "\x15\x03\x01\x00\x02\x02\x28";
static const char plain_text[] = "EHLO client.example\r\nMAIL FROM:<a@sender.example>\r\n";
/* the smallest hello there is: a version, 32 octets of random, no session, one cipher, no compression */
#define HELLO(version, cipher)                                                                                         \
	"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03" version "0123456789abcdef0123456789abcdef\x00\x00\x02" cipher       \
	"\x01\x00"
static const char old_version[] = HELLO("\x01", "\x00\x2f");
static const char no_cipher[] = HELLO("\x03", "\x00\x01");
static const char half_hello[] = "\x16\x03\x01\x02\x00\x01";

static struct sim_conn *
begin(const char *client)
{
	struct sim_conn *c = open_from(client);

	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("STARTTLS", scene_chat(&s, c, "STARTTLS"), 220);
	return c;
}

/* A handshake in which the client says this and nothing else. */
static void
shake(const char *client, const char *octets, size_t n)
{
	struct sim_conn *c = begin(client);

	sim_send(c, octets, n);
	sim_run(s.sim, 500000);
	sim_close(c);
	sim_run(s.sim, 2500000);
	sim_conn_forget(c);
}

static void
fail_once(const char *client)
{
	shake(client, fatal_alert, sizeof(fatal_alert) - 1);
}

static bool
offered(const char *client)
{
	struct sim_conn *c = open_from(client);
	bool yes;

	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	yes = strstr(s.reply, "STARTTLS") != NULL;
	scene_quit(&s, c);
	return yes;
}

static void
complete(const char *client)
{
	struct sim_conn *c = open_from(client);

	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_TRUE("TLS", scene_starttls(&s, c));
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	scene_quit(&s, c);
}

static void
test_after_two_failures_it_is_hidden_for_ten_minutes(void **state)
{
	const char *line;

	(void)state;
	conf();
	start(1);
	fail_once(CLIENT4);
	CHECK_TRUE("once is not enough", offered(CLIENT4));
	fail_once(CLIENT4);
	CHECK_TRUE("hidden", !offered(CLIENT4));
	CHECK_TRUE("from that address alone", offered(OTHER4));
	line = fake_control_find(&s.control, "STARTTLS is hidden from this address");
	CHECK_TRUE(line, strstr(line, "client=" CLIENT4) != NULL && strstr(line, "left_s=600") != NULL);
	CHECK_EQ("counted", counted(CTR_tls_hides), 1);
	CHECK_EQ("and each session", counted(CTR_tls_hidden), 1);
	CHECK_EQ("mail goes in plain text", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", "x\r\n"),
		451);
	CHECK_TRUE("and the log says so", fake_control_find(&s.control, "tls=hidden")[0] != '\0');
	sim_run(s.sim, UINT64_C(560000000)); /* every second of it, in virtual time */
	CHECK_TRUE("nearly over", !offered(CLIENT4));
	sim_run(s.sim, UINT64_C(40000000));
	CHECK_TRUE("over", offered(CLIENT4));
	fail_once(CLIENT4);
	CHECK_TRUE("from then on it takes two again", offered(CLIENT4));
	fail_once(CLIENT4);
	CHECK_TRUE("two", !offered(CLIENT4));
	scene_end(&s);
}

/* A client that does not like our certificate, and says so as TLS has it: under the keys of the handshake. */
static void
refuse_the_certificate(void)
{
	const struct conf_backend gateway = { .id = 1, .tls = BACKEND_TLS_REQUIRE, .n_fingerprints = 1 }; /* of none */
	struct counters ignored = { 0 };
	char why[256];
	struct tls_context *context = tls_context_create(NULL, NULL, &ignored, why, sizeof(why));
	struct stream *stream;
	struct sim_conn *c;

	CHECK_TRUE(why, context != NULL);
	CHECK_EQ(why, tls_context_load_backends(context, &gateway, 1, NULL, 0, why, sizeof(why)), 0);
	tls_context_take(context);
	c = begin(CLIENT4);
	stream = c->stream = stream_tls_client(context, sim_pool(s.sim), 1);
	CHECK_TRUE("refused", !scene_tls_wait(&s, c));
	CHECK_EQ("for that", stream_tls_failure(stream), STREAM_TLS_UNVERIFIED);
	sim_run(s.sim, 3000000);
	sim_close(c);
	sim_run(s.sim, 3000000);
	c->stream = NULL;
	stream->ops->destroy(stream);
	tls_context_destroy(context);
}

static void
test_a_refused_certificate_counts(void **state)
{
	(void)state;
	conf();
	start(1);
	refuse_the_certificate();
	refuse_the_certificate();
	CHECK_EQ("alerts", counted(CTR_tls_failed_alert), 2);
	CHECK_TRUE("hidden", !offered(CLIENT4));
	scene_end(&s);
}

static void
test_what_counts_as_a_failed_handshake(void **state)
{
	static const struct {
		const char *label, *octets;
		size_t n;
		enum counter counter;
		bool counts;
	} rows[] = {
		{ "an alert in its stead", fatal_alert, sizeof(fatal_alert) - 1, CTR_tls_failed_nonsense, true },
		{ "plain text", plain_text, sizeof(plain_text) - 1, CTR_tls_failed_nonsense, true },
		{ "a version that we do not have", old_version, sizeof(old_version) - 1, CTR_tls_failed_version, true },
		{ "ciphers that we do not have", no_cipher, sizeof(no_cipher) - 1, CTR_tls_failed_cipher, true },
		{ "closed before a word", "", 0, CTR_tls_failed_gone, false },
		{ "closed in the middle of a message", half_hello, sizeof(half_hello) - 1, CTR_tls_failed_gone, false },
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
		conf();
		start(1);
		for (uint32_t n = 0; n < 3; n++)
			if (n < 2 || !rows[i].counts)
				shake(CLIENT4, rows[i].octets, rows[i].n);
		CHECK_EQ(rows[i].label, counted(rows[i].counter), rows[i].counts ? 2 : 3);
		CHECK_EQ(rows[i].label, offered(CLIENT4), !rows[i].counts);
		scene_end(&s);
	}
}

/* What others on the way can bring about, or a lost segment. */
static void
test_a_lost_or_reset_connection_is_no_failed_handshake(void **state)
{
	(void)state;
	conf();
	start(1);
	for (uint32_t i = 0; i < 3; i++) { /* reset in the middle */
		struct sim_conn *c = begin(CLIENT4);

		sim_send(c, half_hello, sizeof(half_hello) - 1);
		sim_run(s.sim, 100000);
		sim_abort(c);
		sim_run(s.sim, 1000000);
		sim_conn_forget(c);
	}
	CHECK_EQ("gone", counted(CTR_tls_failed_gone), 3);
	for (uint32_t i = 0; i < 3; i++) { /* silent until the end of the time for it */
		struct sim_conn *c = begin(CLIENT4);

		sim_send(c, half_hello, sizeof(half_hello) - 1);
		sim_run(s.sim, 35000000);
		sim_conn_forget(c);
	}
	CHECK_EQ("timed out", counted(CTR_tls_failed_timeout), 3);
	for (uint32_t i = 0; i < 3; i++) { /* 220 said, and the client is never heard of again */
		struct sim_conn *c = begin(CLIENT4);

		sim_host_pause(s.client, true);
		sim_run(s.sim, 35000000);
		sim_host_pause(s.client, false);
		sim_run(s.sim, 5000000);
		sim_conn_forget(c);
	}
	CHECK_TRUE("still offered", offered(CLIENT4));
	CHECK_EQ("nothing was hidden", counted(CTR_tls_hides), 0);
	scene_end(&s);
}

static void
test_who_completed_one_in_thirty_days_is_never_touched(void **state)
{
	(void)state;
	conf();
	s.config.conf.tls_hide_after_failures = 0;
	start(1);
	complete(CLIENT4);
	s.config.conf.tls_hide_after_failures = 1; /* known at once, also from before it was switched on */
	sim_publish(s.sim, sim_conf_parts(&s.config));
	sim_run(s.sim, 2000000);
	for (uint32_t i = 0; i < 3; i++)
		fail_once(CLIENT4);
	CHECK_TRUE("the same day", offered(CLIENT4));
	later(30 * 86400 - 600);
	for (uint32_t i = 0; i < 3; i++)
		fail_once(CLIENT4);
	CHECK_TRUE("on the thirtieth", offered(CLIENT4));
	CHECK_EQ("nothing was hidden", counted(CTR_tls_hides), 0);
	later(86400);
	fail_once(CLIENT4);
	fail_once(CLIENT4);
	CHECK_TRUE("after that it counts as anybody", !offered(CLIENT4));
	scene_end(&s);
}

/* Hidden is not off: who asks for it all the same gets it, and with it the protection. */
static void
test_who_asks_for_it_all_the_same_gets_it(void **state)
{
	(void)state;
	conf();
	start(1);
	fail_once(CLIENT4);
	fail_once(CLIENT4);
	CHECK_TRUE("hidden", !offered(CLIENT4));
	complete(CLIENT4);
	CHECK_TRUE("offered again", offered(CLIENT4));
	for (uint32_t i = 0; i < 3; i++)
		fail_once(CLIENT4);
	CHECK_TRUE("for thirty days", offered(CLIENT4));
	scene_end(&s);
}

static void
test_it_is_off_by_default(void **state)
{
	(void)state;
	conf();
	s.config.conf.tls_hide_after_failures = 0;
	start(1);
	for (uint32_t i = 0; i < 4; i++)
		fail_once(CLIENT4);
	CHECK_TRUE("offered", offered(CLIENT4));
	CHECK_EQ(
		"nothing counted", counted(CTR_tls_hides) + counted(CTR_tls_hidden) + counted(CTR_tls_hidden_would), 0);
	s.config.conf.tls_hide_after_failures = 1;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	sim_run(s.sim, 2000000);
	fail_once(CLIENT4);
	CHECK_TRUE("what failed before it was on does not count", offered(CLIENT4));
	scene_end(&s);
}

static void
test_where_tls_is_required_it_is_never_hidden(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	start(1);
	fail_once(CLIENT4);
	fail_once(CLIENT4);
	CHECK_TRUE("hidden where plain text is the alternative", !offered(CLIENT4));
	s.config.listener[0].tls = LISTENER_TLS_REQUIRE;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	sim_run(s.sim, 2000000);
	CHECK_TRUE("offered where it is required", offered(CLIENT4));
	scene_end(&s);

	conf();
	s.config.listener[0].tls = LISTENER_TLS_REQUIRE;
	start(1);
	for (uint32_t i = 0; i < 3; i++)
		fail_once(CLIENT4);
	CHECK_TRUE("offered", offered(CLIENT4));
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("and demanded", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 530);
	scene_quit(&s, c);
	CHECK_EQ("failures there do not count", counted(CTR_tls_hides), 0);
	s.config.listener[0].tls = LISTENER_TLS_MAY;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	sim_run(s.sim, 2000000);
	CHECK_TRUE("nor elsewhere", offered(CLIENT4));
	scene_end(&s);
}

static void
test_observe_mode_tells_and_hides_nothing(void **state)
{
	const char *line;

	(void)state;
	conf();
	s.config.conf.mode = MODE_OBSERVE;
	start(1);
	fail_once(CLIENT4);
	fail_once(CLIENT4);
	CHECK_TRUE("offered", offered(CLIENT4));
	line = fake_control_find(&s.control, "STARTTLS would be hidden");
	CHECK_TRUE(line, strstr(line, "mode=observe") != NULL);
	CHECK_EQ("counted apart", counted(CTR_tls_hidden_would), 1);
	CHECK_EQ("nothing hidden", counted(CTR_tls_hidden), 0);
	scene_end(&s);
}

static bool
both_counted(enum counter which)
{
	return sim_segment(s.sim)->counters[0].value[which] > 0 && sim_segment(s.sim)->counters[1].value[which] > 0;
}

static void
test_two_workers_and_a_restart_share_what_is_known(void **state)
{
	(void)state;
	conf();
	start(2);
	for (uint32_t i = 0; i < 64 && !both_counted(CTR_tls_handshakes); i++)
		complete(OTHER4);
	CHECK_TRUE("both", both_counted(CTR_tls_handshakes));
	fail_once(CLIENT4);
	fail_once(CLIENT4);
	for (uint32_t i = 0; i < 64 && !both_counted(CTR_tls_hidden); i++) /* its port says which of them it meets */
		CHECK_TRUE("at either", !offered(CLIENT4));
	CHECK_TRUE("at both", both_counted(CTR_tls_hidden));
	sim_kill_gateway(s.sim);
	sim_run(s.sim, 3000000);
	CHECK_TRUE("the next life knows", !offered(CLIENT4));
	for (uint32_t i = 0; i < 3; i++)
		fail_once(OTHER4);
	CHECK_TRUE("and whom it must not touch", offered(OTHER4));
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_after_two_failures_it_is_hidden_for_ten_minutes),
		cmocka_unit_test(test_what_counts_as_a_failed_handshake),
		cmocka_unit_test(test_a_refused_certificate_counts),
		cmocka_unit_test(test_a_lost_or_reset_connection_is_no_failed_handshake),
		cmocka_unit_test(test_who_completed_one_in_thirty_days_is_never_touched),
		cmocka_unit_test(test_who_asks_for_it_all_the_same_gets_it),
		cmocka_unit_test(test_it_is_off_by_default),
		cmocka_unit_test(test_where_tls_is_required_it_is_never_hidden),
		cmocka_unit_test(test_observe_mode_tells_and_hides_nothing),
		cmocka_unit_test(test_two_workers_and_a_restart_share_what_is_known),
	};

	return cmocka_run_group_tests(tests, scene_tls_set_up, scene_tls_tear_down);
}
