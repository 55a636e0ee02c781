/*
 * test_dns.c - what senders see of the DNS judge, through a whole worker in virtual time: lists of names, known good clients, deadlines.
 *
 * The client, the backend and control are played by the test (scene.h). Names of POLICY sections stand in the tests.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

#include "dataplane/policy/policy.h"

#define SECOND_US  UINT64_C(1000000)
#define HOUR_S     3600u
#define AT_ONCE_US 100000 /* a few round trips of the simulated wire */

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */
static const char body[] = "Subject: hello\r\n\r\nlast\r\n";

static void
start(void)
{
	scene_conf(&s);
	s.config.conf.helo_weight_max = s.config.conf.sender_weight_max = 4;
	s.config.conf.backend_probe_s = 30 * 86400; /* days pass here, and every probe costs the simulator */
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
}

static struct policy_ctx
table_ctx(void)
{
	return (struct policy_ctx){ .conf = &s.config.conf, .table = &sim_segment(s.sim)->table };
}

static uint32_t
now_s(void)
{
	return segment_policy_now_s(sim_segment(s.sim), sim_now_us(s.sim));
}

static struct ip_addr
client4(void)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(CLIENT4, &a), 0);
	return a;
}

/* What control does with an answer: the table holds it. */
static void
store_verdict(int score, enum ptr_state ptr)
{
	const struct policy_ctx ctx = table_ctx();
	const struct client_verdict v = { .known = CLIENT_KNOWN,
		.ptr_state = (uint8_t)ptr,
		.zone = ZONE_NONE,
		.score = (int16_t)score,
		.time_s = now_s() };
	const struct ip_addr client = client4();

	policy_client_store(&ctx, &client, &v, now_s());
}

/* Five messages in five hours from five domains (POLICY section 3). */
static void
earn_automatic_allow(void)
{
	const struct policy_ctx ctx = table_ctx();
	char from[64];

	for (unsigned i = 0; i < 5; i++) {
		struct policy_question q = {
			.client = client4(), .from = from, .rcpt = "u@example.org", .now_s = now_s()
		};

		q.verdict =
			(struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
		snprintf(from, sizeof(from), "a@d%u.example", i);
		policy_message(&ctx, &q, true);
		sim_run(s.sim, HOUR_S * SECOND_US);
	}
}

/* A session up to its first recipient: the code, and how long the reply to it took. */
static int
rcpt_in(const char *helo, const char *from, const char *to, uint64_t *took_us)
{
	struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
	char line[600];
	uint64_t began;
	int code;

	snprintf(line, sizeof(line), "EHLO %s", helo);
	CHECK_EQ("EHLO", scene_chat(&s, c, line), 250);
	snprintf(line, sizeof(line), "MAIL FROM:<%s>", from);
	CHECK_EQ("MAIL", scene_chat(&s, c, line), 250);
	snprintf(line, sizeof(line), "RCPT TO:<%s>", to);
	began = sim_now_us(s.sim);
	code = scene_chat(&s, c, line);
	if (took_us != NULL)
		*took_us = sim_now_us(s.sim) - began;
	scene_quit(&s, c);
	return code;
}

/* ---- lists of names: POLICY section 4, "for HELO and sender domain" ---- */

static void
test_a_listed_sender_is_refused_with_the_public_name_of_the_list(void **state)
{
	(void)state;
	start();
	s.control.names = (struct name_verdict){ .sender_zone = 2, .sender_score = 6 };
	CHECK_EQ("refused", rcpt_in("Mail.Client.Example", "a@Spam.Example", "u@example.org", NULL), 554);
	CHECK_STR("HELO as lists are asked about it", s.control.asked_helo, "mail.client.example");
	CHECK_STR("the sender's domain", s.control.asked_sender, "spam.example");
	CHECK_TRUE("the list in reply and log",
		strstr(fake_control_find(&s.control, "rule=8"), "sender.list.example") != NULL);
	CHECK_TRUE(
		"which of its names", strstr(fake_control_find(&s.control, "rule=8"), "reason=dnsbl-sender") != NULL);
	CHECK_EQ("postmaster is reached",
		rcpt_in("mail.client.example", "a@spam.example", "postmaster@example.org", NULL), 250);
	s.control.names = (struct name_verdict){ .helo_zone = 1, .helo_score = 8 };
	CHECK_EQ("a HELO name alone is at most greylisted",
		rcpt_in("spam.example", "b@x.example", "u@example.org", NULL), 451);
	CHECK_TRUE("for longer", strstr(fake_control_find(&s.control, "from=b@x.example"), "left_s=480") != NULL);
	scene_end(&s);
}

/* dns.resolvers is empty: control could only say that it knows nothing, and with control gone nobody would say even that. */
static void
test_without_resolvers_nobody_asks_and_nobody_waits(void **state)
{
	uint64_t took_us = 0;

	(void)state;
	scene_conf(&s);
	s.config.conf.dns_off = 1;
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
	s.control.silent = true;
	CHECK_EQ("greylisted", rcpt_in("client.example", "a@sender.example", "u@example.org", &took_us), 451);
	CHECK_TRUE("at once", took_us < AT_ONCE_US);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("no question", s.control.n_questions, 0);
	CHECK_TRUE("by the greylist", strstr(fake_control_find(&s.control, "a@sender.example"), "rule=12") != NULL);
	scene_end(&s);
}

static void
test_only_names_a_list_could_know_are_asked_about(void **state)
{
	static const struct {
		const char *label, *helo, *from, *asked_helo, *asked_sender;
		unsigned questions;
	} rows[] = {
		{ "an address literal", "[198.18.0.10]", "a@sender.example", "", "sender.example", 1 },
		{ "one label", "localhost", "a@sender.example", "", "sender.example", 1 },
		{ "a bare address", "198.18.0.10", "a@sender.example", "", "sender.example", 1 },
		{ "the null sender has no domain", "client.example", "", "client.example", "", 1 },
		{ "neither", "localhost", "", "", "", 0 },
		{ "VERP is nothing to a list", "client.example", "a+b=c@Sender.Example", "client.example",
			"sender.example", 1 },
	};

	(void)state;
	start();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		s.control.n_name_questions = 0;
		s.control.asked_helo[0] = s.control.asked_sender[0] = '\0';
		rcpt_in(rows[i].helo, rows[i].from, "u@example.org", NULL);
		CHECK_EQ(rows[i].label, s.control.n_name_questions, rows[i].questions);
		CHECK_STR(rows[i].label, s.control.asked_helo, rows[i].asked_helo);
		CHECK_STR(rows[i].label, s.control.asked_sender, rows[i].asked_sender);
	}
	scene_end(&s);
}

static void
test_without_lists_of_names_nothing_is_asked(void **state)
{
	(void)state;
	start();
	s.config.conf.helo_weight_max = s.config.conf.sender_weight_max = 0;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	CHECK_EQ("greylisted", rcpt_in("client.example", "a@sender.example", "u@example.org", NULL), 451);
	CHECK_EQ("questions", s.control.n_name_questions, 0);
	scene_end(&s);
}

/* "One deadline for all held answers of a client: 2 s." Names come after accept; what a session is held is 2 s in all. */
static void
test_a_session_is_held_two_seconds_in_all(void **state)
{
	uint64_t began, held = 0;
	struct sim_conn *c;
	char line[100];

	(void)state;
	start();
	s.control.names_silent = s.control.silent = true;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	for (unsigned i = 0; i < 5; i++) {
		snprintf(line, sizeof(line), "MAIL FROM:<a@d%u.example>", i);
		CHECK_EQ("MAIL", scene_chat(&s, c, line), 250);
		for (unsigned k = 0; k < 3; k++) {
			snprintf(line, sizeof(line), "RCPT TO:<u%u@example.org>", k);
			began = sim_now_us(s.sim);
			CHECK_EQ("decided without", scene_chat(&s, c, line), 451);
			held += sim_now_us(s.sim) - began;
		}
		CHECK_EQ("RSET", scene_chat(&s, c, "RSET"), 250);
	}
	CHECK_TRUE("held as long as the deadline", held >= 2 * SECOND_US - 100000);
	CHECK_TRUE("and no longer, over five transactions", held < 2 * SECOND_US + 15 * AT_ONCE_US);
	scene_quit(&s, c);
	scene_end(&s);
}

static void
test_a_later_question_has_what_is_left_of_two_seconds(void **state)
{
	struct sim_conn *c;
	uint64_t began;

	(void)state;
	start();
	s.control.names_delay_us = 1500000;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	sim_run(s.sim, 10 * SECOND_US);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@first.example>"), 250);
	began = sim_now_us(s.sim);
	CHECK_EQ("waits for the answer", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
	CHECK_TRUE("a second and a half", sim_now_us(s.sim) - began >= 1500000 && sim_now_us(s.sim) - began < 1900000);
	CHECK_EQ("RSET", scene_chat(&s, c, "RSET"), 250);
	s.control.names_silent = true;
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@second.example>"), 250);
	began = sim_now_us(s.sim);
	CHECK_EQ("decided without", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
	CHECK_TRUE("after the half that is left",
		sim_now_us(s.sim) - began >= 200000 && sim_now_us(s.sim) - began < 900000);
	scene_quit(&s, c);
	scene_end(&s);
}

/* A client that dawdles before MAIL does not get past the lists by that. */
static void
test_names_have_their_time_after_a_slow_start(void **state)
{
	struct sim_conn *c;
	uint64_t began;

	(void)state;
	start();
	s.control.names = (struct name_verdict){ .sender_zone = 2, .sender_score = 6 };
	s.control.names_delay_us = SECOND_US;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	sim_run(s.sim, 30 * SECOND_US);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@spam.example>"), 250);
	began = sim_now_us(s.sim);
	CHECK_EQ("refused", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 554);
	CHECK_TRUE("waited for the answer", sim_now_us(s.sim) - began >= SECOND_US);
	scene_quit(&s, c);
	scene_end(&s);
}

static void
test_a_late_answer_about_names_counts_at_the_next_recipient(void **state)
{
	struct sim_conn *c;

	(void)state;
	start();
	s.control.names = (struct name_verdict){ .sender_zone = 2, .sender_score = 6 };
	s.control.names_delay_us = 3 * SECOND_US;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("decided without", scene_rcpt(&s, c, "a@spam.example", "u@example.org"), 451);
	sim_run(s.sim, 2 * SECOND_US);
	CHECK_EQ("the next one", scene_chat(&s, c, "RCPT TO:<v@example.org>"), 554);
	CHECK_EQ("RSET", scene_chat(&s, c, "RSET"), 250);
	s.control.names_silent = true;
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@good.example>"), 250);
	CHECK_EQ("another sender is not blamed for it", scene_chat(&s, c, "RCPT TO:<v@example.org>"), 451);
	scene_quit(&s, c);
	scene_end(&s);
}

/* The answer to the first transaction's question arrives in the second. */
static void
test_an_answer_about_other_names_is_stale(void **state)
{
	struct sim_conn *c;

	(void)state;
	start();
	s.control.names = (struct name_verdict){ .sender_zone = 2, .sender_score = 6 };
	s.control.names_delay_us = 1900000;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@spam.example>"), 250);
	s.control.names_delay_us = 2100000;
	CHECK_EQ("given up", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
	CHECK_EQ("RSET", scene_chat(&s, c, "RSET"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@good.example>"), 250);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("not refused for the first one", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
	scene_quit(&s, c);
	scene_end(&s);
}

/* ---- known good clients: "never wait for a question" ---- */

static void
test_known_good_clients_never_wait_for_names(void **state)
{
	uint64_t took;

	(void)state;
	start();
	CHECK_EQ("first", rcpt_in("client.example", "a@sender.example", "u@example.org", NULL), 451);
	sim_run(s.sim, 241 * SECOND_US);
	CHECK_EQ("WHITE", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	s.control.names_silent = s.control.silent = true;
	s.control.n_name_questions = 0;
	CHECK_EQ("passes", rcpt_in("client.example", "a@sender.example", "u@example.org", &took), 250);
	CHECK_TRUE("at once", took < AT_ONCE_US);
	CHECK_EQ("not asked about", s.control.n_name_questions, 0);
	earn_automatic_allow();
	CHECK_EQ(
		"any sender of the network", rcpt_in("client.example", "new@new.example", "u@example.org", &took), 250);
	CHECK_TRUE("at once", took < AT_ONCE_US);
	CHECK_TRUE("by automatic allow", strstr(fake_control_find(&s.control, "new@new.example"), "rule=11") != NULL);
	CHECK_EQ("not asked about", s.control.n_name_questions, 0);
	scene_end(&s);
}

/* Whatever the age of the verdict, and wherever a stranger would wait: before the banner, at the banner, at RCPT. */
static void
test_automatic_allow_never_waits_however_old_the_verdict(void **state)
{
	static const struct {
		const char *label;
		uint32_t hours;
		enum conf_reject_at reject_at;
		uint32_t pause_ms;
	} rows[] = {
		{ "fresh", 1, REJECT_AT_RCPT, 0 },
		{ "older than dns.fresh", 13, REJECT_AT_RCPT, 0 },
		{ "older than four times that", 49, REJECT_AT_RCPT, 0 },
		{ "two weeks old", 14 * 24, REJECT_AT_RCPT, 0 },
		{ "refusal at connect", 49, REJECT_AT_CONNECT, 0 },
		{ "greet pause", 49, REJECT_AT_RCPT, 5000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sim_conn *c;
		uint64_t began;

		start();
		store_verdict(0, PTR_CONFIRMED);
		earn_automatic_allow();
		store_verdict(0, PTR_CONFIRMED);
		s.config.conf.reject_at = (uint8_t)rows[i].reject_at;
		s.config.conf.greet_pause_ms = rows[i].pause_ms;
		sim_publish(s.sim, sim_conf_parts(&s.config));
		sim_run(s.sim, (uint64_t)rows[i].hours * HOUR_S * SECOND_US);
		s.control.silent = s.control.names_silent = true;
		began = sim_now_us(s.sim);
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_TRUE(rows[i].label, sim_now_us(s.sim) - began < AT_ONCE_US);
		CHECK_EQ(rows[i].label, scene_rcpt(&s, c, "new@new.example", "u@example.org"), 250);
		CHECK_TRUE(rows[i].label, sim_now_us(s.sim) - began < 2 * AT_ONCE_US);
		scene_quit(&s, c);
		scene_end(&s);
	}
}

/* "Re-asked in the background at most once in 12 hours", even where DNS had an error; a stranger with the same error is asked about again. */
static void
test_known_good_clients_are_asked_about_once_in_twelve_hours(void **state)
{
	(void)state;
	start();
	earn_automatic_allow();
	store_verdict(0, PTR_TEMPERR);
	s.control.n_questions = 0;
	for (unsigned i = 0; i < 11; i++) {
		sim_run(s.sim, HOUR_S * SECOND_US);
		CHECK_EQ("passes", rcpt_in("client.example", "new@new.example", "u@example.org", NULL), 250);
	}
	CHECK_EQ("questions but for its name, which control has",
		s.control.n_questions - s.control.n_last_name_questions, 0);
	sim_run(s.sim, 2 * HOUR_S * SECOND_US);
	CHECK_EQ("passes", rcpt_in("client.example", "new@new.example", "u@example.org", NULL), 250);
	CHECK_EQ("asked about after twelve", s.control.n_questions - s.control.n_last_name_questions, 1);
	scene_end(&s);

	start();
	store_verdict(0, PTR_TEMPERR);
	s.control.n_questions = 0;
	sim_run(s.sim, HOUR_S * SECOND_US);
	CHECK_EQ("a stranger", rcpt_in("client.example", "new@new.example", "u@example.org", NULL), 451);
	CHECK_EQ("is asked about", s.control.n_questions, 1);
	scene_end(&s);
}

/* The table holds a known client's verdict and not its name, which is asked for when it is let through: once a session, though it rests between. */
static void
test_the_name_of_a_known_client_is_asked_for_once_a_session(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	for (uint32_t i = 0; i < s.config.n_backends; i++) /* nobody needs the name before */
		s.config.backend[i].client_address = CLIENT_ADDRESS_NONE;
	scene_start(&s, 1, 1, clean);
	s.mta.client_address = CLIENT_ADDRESS_NONE;
	scene_settle(&s);
	earn_automatic_allow();
	store_verdict(0, PTR_CONFIRMED);
	s.control.ptr = NULL; /* which control has forgotten */
	c = scene_open(&s, CLIENT4, GATEWAY4);
	s.control.n_questions = 0;
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ("passes", scene_rcpt(&s, c, "new@new.example", "u@example.org"), 250);
		CHECK_EQ("no more of it", scene_chat(&s, c, "RSET"), 250);
		fake_mta_shout(&s.mta, "421 4.4.2 mta.example Error: timeout exceeded\r\n");
		sim_run(s.sim, 5 * SECOND_US);
		CHECK_EQ("rested", scene_count(&s, CTR_tcp_rested), 1 + i);
		CHECK_EQ("asked once", s.control.n_questions, 1);
	}
	CHECK_EQ("for the name alone", s.control.n_last_name_questions, 1);
	scene_quit(&s, c);
	scene_end(&s);
}

/* "A hit ends the automatic allow for the next session." */
static void
test_a_hit_ends_the_automatic_allow_for_the_next_session(void **state)
{
	struct sim_conn *c;

	(void)state;
	start();
	earn_automatic_allow();
	store_verdict(0, PTR_CONFIRMED);
	sim_run(s.sim, 13 * HOUR_S * SECOND_US);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("this session", scene_rcpt(&s, c, "new@new.example", "u@example.org"), 250);
	store_verdict(2, PTR_CONFIRMED); /* the answer of the question in the background */
	CHECK_EQ("goes on", scene_chat(&s, c, "RSET"), 250);
	scene_quit(&s, c);
	CHECK_EQ("the next one", rcpt_in("client.example", "newer@new.example", "u@example.org", NULL), 451);
	CHECK_TRUE("greylisted", strstr(fake_control_find(&s.control, "newer@new.example"), "rule=12") != NULL);
	store_verdict(0, PTR_CONFIRMED);
	CHECK_EQ("earned anew, not given back", rcpt_in("client.example", "newest@new.example", "u@example.org", NULL),
		451);
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_listed_sender_is_refused_with_the_public_name_of_the_list),
		cmocka_unit_test(test_without_resolvers_nobody_asks_and_nobody_waits),
		cmocka_unit_test(test_only_names_a_list_could_know_are_asked_about),
		cmocka_unit_test(test_without_lists_of_names_nothing_is_asked),
		cmocka_unit_test(test_a_session_is_held_two_seconds_in_all),
		cmocka_unit_test(test_a_later_question_has_what_is_left_of_two_seconds),
		cmocka_unit_test(test_names_have_their_time_after_a_slow_start),
		cmocka_unit_test(test_a_late_answer_about_names_counts_at_the_next_recipient),
		cmocka_unit_test(test_an_answer_about_other_names_is_stale),
		cmocka_unit_test(test_known_good_clients_never_wait_for_names),
		cmocka_unit_test(test_automatic_allow_never_waits_however_old_the_verdict),
		cmocka_unit_test(test_known_good_clients_are_asked_about_once_in_twelve_hours),
		cmocka_unit_test(test_the_name_of_a_known_client_is_asked_for_once_a_session),
		cmocka_unit_test(test_a_hit_ends_the_automatic_allow_for_the_next_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
