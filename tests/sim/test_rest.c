/*
 * test_rest.c - sessions that wait for their client before MAIL, through a whole worker in virtual time: they hold no block and no buffer,
 * nobody notices, and a million of them is a matter of 512 octets each.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/autoallow.h"
#include "dataplane/policy/policy.h"
#include "dataplane/worker/worker_impl.h"

#define SECOND_US UINT64_C(1000000)
#define SESSIONS  1024
#define SLOTS     65536 /* so many that one address is far from its share */
#define BLOCKS    256   /* the least there are */

static struct scene s; /* one at a time */

static struct sim_conn *
open_said(const char *ehlo)
{
	struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);

	if (ehlo != NULL)
		CHECK_EQ(ehlo, scene_chat(&s, c, ehlo), 250);
	sim_run(s.sim, SECOND_US);
	return c;
}

#define MANY 200

static void
test_idle_sessions_hold_no_block_and_no_buffer(void **state)
{
	struct sim_conn *c[MANY];
	uint32_t bufs;

	(void)state;
	scene_conf(&s);
	s.config.conf.sessions = SLOTS;
	scene_begin(&s);
	s.control.ptr = "mx.client.example";
	sim_run(s.sim, SECOND_US);
	bufs = sim_bufs_in_use(s.sim);
	for (uint32_t i = 0; i < MANY; i++)
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
	sim_run(s.sim, SECOND_US);
	scene_check_resting(&s, "after the banner", MANY, bufs);
	for (uint32_t i = 0; i < MANY; i++)
		CHECK_EQ("EHLO", scene_chat(&s, c[i], i % 2 ? "EHLO client.example" : "HELO client.example"), 250);
	sim_run(s.sim, SECOND_US);
	scene_check_resting(&s, "after EHLO", MANY, bufs);
	CHECK_EQ("no texts beyond their records", scene_worker(&s)->texts.n_used, 0);
	for (uint32_t i = 0; i < MANY; i++) {
		CHECK_EQ("MAIL", scene_chat(&s, c[i], "MAIL FROM:<a@sender.example>"), 250);
		CHECK_EQ("RCPT", scene_chat(&s, c[i], "RCPT TO:<u@example.org>"), 451);
		CHECK_TRUE("as if it had not rested",
			strstr(fake_control_find(&s.control, "rcpt=u@example.org"), "helo=client.example") != NULL);
		scene_quit(&s, c[i]);
	}
	scene_check_nothing_left(&s, "all ended", bufs);
	CHECK_EQ("no record is left", scene_worker(&s)->tcp != NULL ? tcp_n_rests(scene_worker(&s)->tcp) : 1, 0);
	scene_end(&s);
}

/* What the client said before, and what control said of it, is there when it goes on; texts longer than a record's room lie in units. */
static void
test_names_of_any_length_are_kept(void **state)
{
	static const char zone[] = ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example";
	char helo[300], name[256], want[300];
	uint32_t bufs;

	(void)state;
	for (uint32_t n = 1; n < 255 - sizeof(zone); n += 7) {
		struct sim_conn *c;

		scene_conf(&s);
		scene_begin(&s);
		memset(name, 'h', n);
		snprintf(name + n, sizeof(name) - n, "%s", zone);
		s.control.ptr = name;
		bufs = sim_bufs_in_use(s.sim);
		snprintf(helo, sizeof(helo), "EHLO %s", name);
		c = open_said(helo);
		scene_check_resting(&s, helo, 1, bufs);
		CHECK_EQ(helo, scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
		CHECK_EQ(helo, scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
		CHECK_EQ("units given back", scene_worker(&s)->texts.n_used, 0);
		snprintf(want, sizeof(want), "helo=%s", name);
		CHECK_TRUE(want, strstr(fake_control_find(&s.control, "rcpt=u@example.org"), want) != NULL);
		snprintf(want, sizeof(want), "ptr=%s", name);
		CHECK_TRUE(want, strstr(fake_control_find(&s.control, "rcpt=u@example.org"), want) != NULL);
		scene_quit(&s, c);
		scene_end(&s);
	}
}

/* A line that comes in pieces, with rest between any two of them. */
static void
test_a_line_in_pieces_is_one_line(void **state)
{
	static const char line[] = "EHLO a-client-with-a-name-longer-than-the-record.example\r\n";
	struct sim_conn *c;
	uint32_t bufs;

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	bufs = sim_bufs_in_use(s.sim);
	c = open_said(NULL);
	for (size_t i = 0; i + 1 < sizeof(line); i++) {
		sim_send(c, line + i, 1);
		sim_run(s.sim, SECOND_US);
		scene_check_resting(&s, "between two octets", 1, bufs);
	}
	CHECK_EQ("its reply", scene_reply(&s, c), 250);
	CHECK_EQ("rest for each octet", scene_count(&s, CTR_tcp_rested) >= sizeof(line) - 1, 1);
	CHECK_EQ("nothing was sent twice", scene_count(&s, CTR_tcp_rto), 0);
	scene_quit(&s, c);
	scene_end(&s);
}

/* A line longer than rest takes keeps its block, and is answered. */
static void
test_a_long_begun_line_keeps_its_block(void **state)
{
	static char line[900];
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	memset(line, 'n', sizeof(line));
	memcpy(line, "NOOP ", 5);
	c = open_said("EHLO client.example");
	scene_send_all(&s, c, line, sizeof(line));
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("in its block", scene_worker(&s)->sessions.n_used, 1);
	CHECK_EQ("answered", scene_chat(&s, c, ""), 250);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest again", scene_worker(&s)->sessions.n_used, 0);
	scene_quit(&s, c);
	scene_end(&s);
}

static bool
is_answered(void *conn)
{
	const struct sim_conn *c = conn;

	return c->in_octets > c->in_seen || c->closed || c->reset;
}

/* Silence ends it when it would have ended in its block, neither sooner nor a rest's length later, however often it was woken. */
static void
test_silence_ends_it_in_time(void **state)
{
	for (uint32_t woken = 0; woken < 3; woken++) {
		struct sim_conn *c;
		uint64_t since_us;

		(void)state;
		scene_conf(&s);
		scene_begin(&s);
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
		since_us = sim_now_us(s.sim);
		for (uint32_t i = 0; i < 40 * woken; i++) { /* an octet of a line that does not end is no command */
			sim_run(s.sim, 3 * SECOND_US);
			sim_send(c, "x", 1);
		}
		CHECK_TRUE("421", sim_until(s.sim, 400 * SECOND_US, is_answered, c));
		CHECK_EQ("421", scene_reply(&s, c), 421);
		CHECK_TRUE("not before its time", sim_now_us(s.sim) - since_us >= 299 * SECOND_US);
		CHECK_TRUE("nor late", sim_now_us(s.sim) - since_us <= 301 * SECOND_US);
		sim_close(c);
		scene_check_nothing_left(&s, "ended", 0);
		CHECK_TRUE("in the log", fake_control_find(&s.control, "end=client-silent")[0] != '\0');
		scene_end(&s);
	}
}

static void
test_ends_of_clients_at_rest(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	c = open_said("EHLO client.example");
	sim_abort(c);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("reset", worker_sessions(scene_worker(&s)), 0);
	CHECK_TRUE("in the log", fake_control_find(&s.control, "end=client-reset")[0] != '\0');
	c = open_said(NULL);
	sim_close(c);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("closed", worker_sessions(scene_worker(&s)), 0);
	CHECK_TRUE("in the log", fake_control_find(&s.control, "end=client-closed")[0] != '\0');
	CHECK_EQ("records", tcp_n_rests(scene_worker(&s)->tcp), 0);
	scene_check_nothing_left(&s, "ended", 0);
	scene_end(&s);
}

/* Each of so many is told 421 at a drain, though there are fewer blocks than sessions. */
static void
test_a_drain_wakes_all(void **state)
{
	static struct sim_conn *c[400];
	uint32_t told = 0;

	(void)state;
	scene_conf(&s);
	s.config.conf.sessions = SLOTS;
	s.config.conf.busy_sessions = BLOCKS;
	s.config.conf.client_sessions_max = 0;
	s.config.conf.client_network_sessions_max = 0;
	scene_begin(&s);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), ARRAY_LEN(c));
	atomic_store(&sim_shared(s.sim)->drain, 1);
	for (uint32_t i = 0; i < 30 && worker_sessions(scene_worker(&s)) > 0; i++)
		sim_run(s.sim, SECOND_US);
	CHECK_EQ("all ended", worker_sessions(scene_worker(&s)), 0);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		told += scene_reply(&s, c[i]) == 421;
	CHECK_EQ("told", told, ARRAY_LEN(c));
	scene_end(&s);
}

/* What wakes a session twice in one turn: a segment, and a drain that comes round. Each line is answered, then 421. */
static void
test_a_drain_meets_what_segments_have_woken(void **state)
{
	static struct sim_conn *c[120];
	uint32_t told = 0;

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), ARRAY_LEN(c));
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		sim_send(c[i], "NOOP\r\n", 6);
	sim_step(s.sim, 1);
	atomic_store(&sim_shared(s.sim)->drain, 1);
	sim_run(s.sim, 5 * SECOND_US);
	CHECK_EQ("none is left woken and not served", tcp_n_woken(scene_worker(&s)->tcp), 0);
	CHECK_EQ("all ended", worker_sessions(scene_worker(&s)), 0);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++) {
		const int first = scene_reply(&s, c[i]);

		told += first == 421 || (first == 250 && scene_reply(&s, c[i]) == 421);
	}
	CHECK_EQ("told", told, ARRAY_LEN(c));
	scene_end(&s);
}

/* The answer about a client comes while its session rests: it counts. */
static void
test_an_answer_finds_a_session_at_rest(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	s.control.delay_us = 1500000;
	s.control.verdict.score = 10;
	s.control.verdict.zone = 0;
	s.control.ptr = "named.example";
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), 1);
	sim_run(s.sim, 3 * SECOND_US);
	CHECK_EQ("at rest again", tcp_n_rests(scene_worker(&s)->tcp), 1);
	CHECK_EQ("woken by it", scene_count(&s, CTR_tcp_woken), 1);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 554);
	CHECK_TRUE(
		"its name", strstr(fake_control_find(&s.control, "rcpt=u@example.org"), "ptr=named.example") != NULL);
	CHECK_EQ("asked once", s.control.n_questions, 1);
	scene_quit(&s, c);
	scene_end(&s);
}

/* Who came through a trusted proxy is the header's client after rest, too: in the log and in the limits. */
static void
test_a_proxied_client_stays_itself(void **state)
{
	static const char header[] = "PROXY TCP4 203.0.113.7 198.51.100.25 4711 25\r\n";
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	s.config.listener[0].n_trusted = 1;
	BUG_ON(ip_addr_parse("198.18.0.8", &s.config.listener[0].trusted[0].addr) != 0);
	s.config.listener[0].trusted[0].prefix_bits = 96 + 29;
	s.config.conf.client_sessions_max = 1;
	scene_begin(&s);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	scene_send_all(&s, c, header, sizeof(header) - 1);
	CHECK_EQ("banner", scene_reply(&s, c), 220);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	sim_run(s.sim, SECOND_US);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), 1);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
	CHECK_TRUE("its address",
		strstr(fake_control_find(&s.control, "rcpt=u@example.org"), "client=203.0.113.7") != NULL);
	scene_quit(&s, c);
	CHECK_TRUE("at the end", strstr(fake_control_find(&s.control, "end=quit"), "client=203.0.113.7") != NULL);
	scene_check_nothing_left(&s, "ended", 16);
	scene_end(&s);
}

/* A kill meets sessions at rest: the next life tells their peers. */
static void
test_peers_of_sessions_at_rest_are_told_of_a_kill(void **state)
{
	struct sim_conn *c[20];

	(void)state;
	scene_conf(&s);
	scene_begin(&s);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		c[i] = open_said("EHLO client.example");
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), ARRAY_LEN(c));
	sim_kill_gateway(s.sim);
	sim_run(s.sim, SECOND_US);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		CHECK_TRUE("reset", c[i]->reset);
	scene_end(&s);
}

/* ---- more sessions than blocks ---- */

static void
start_short(void)
{
	scene_conf(&s);
	s.config.conf.sessions = SLOTS;
	s.config.conf.busy_sessions = BLOCKS;
	s.config.conf.client_sessions_max = 0;
	s.config.conf.client_network_sessions_max = 0;
	scene_begin(&s);
}

/* The network of client has the automatic allow, as five messages of five senders would have brought it. */
static void
make_known(const char *client)
{
	struct policy_ctx ctx = { .conf = scene_worker(&s)->snapshot->conf, .table = &sim_segment(s.sim)->table };
	struct ip_addr addr, network;

	BUG_ON(ip_addr_parse(client, &addr) != 0);
	network = policy_client_network(&addr);
	for (uint32_t i = 0; i < 8; i++) {
		char domain[32];

		snprintf(domain, sizeof(domain), "sender%u.example", i);
		autoallow_message(
			&ctx, &network, domain, true, scene_worker(&s)->now_s + i * (AUTOALLOW_INTERVAL_S + 1));
	}
	CHECK_TRUE("in good standing", policy_in_good_standing(&ctx, &addr, scene_worker(&s)->now_s));
}

/*
 * Slow clients of the worst kind, as many as there are sessions: each sends an octet of its EHLO now and then. They rest between octets, so
 * blocks are free, and everybody else is served; nothing is refused and nothing grows.
 */
static void
test_slow_clients_leave_the_blocks_to_others(void **state)
{
	static struct sim_conn *slow[SESSIONS - 100];
	static const char line[] = "EHLO slow.example";
	uint32_t bufs, n = 0;

	(void)state;
	start_short();
	bufs = sim_bufs_in_use(s.sim);
	for (uint32_t i = 0; i < ARRAY_LEN(slow); i++) {
		slow[i] = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		sim_run(s.sim, 2000);
	}
	sim_run(s.sim, SECOND_US);
	scene_check_resting(&s, "all are open", ARRAY_LEN(slow), bufs);
	for (size_t o = 0; o + 1 < sizeof(line); o++) {
		for (uint32_t i = 0; i < ARRAY_LEN(slow); i++) {
			sim_send(slow[i], line + o, 1);
			if (i % 32 == 0)
				sim_run(s.sim, 5000);
		}
		CHECK_EQ("another client", scene_deliver(&s, CLIENT6, "a@sender.example", "u@example.org", "x\r\n"),
			451);
		n++;
	}
	sim_run(s.sim, 10 * SECOND_US);
	scene_check_resting(&s, "all wait in the middle of a word", ARRAY_LEN(slow), bufs);
	CHECK_EQ("nobody was refused",
		scene_count(&s, CTR_worker_sessions_full) + scene_count(&s, CTR_worker_blocks_for_known), 0);
	CHECK_EQ("nor shed", scene_count(&s, CTR_worker_silent_shed), 0);
	CHECK_EQ("nor dropped for want of a block",
		scene_count(&s, CTR_worker_wakes_refused) + scene_count(&s, CTR_tcp_wake_refused), 0);
	for (uint32_t i = 0; i < ARRAY_LEN(slow); i++)
		sim_abort(slow[i]);
	scene_check_nothing_left(&s, "gone", bufs);
	scene_end(&s);
}

/*
 * Strangers that keep blocks (a transaction begun, then silence): who is known gets in all the same, the last blocks are his; after some
 * seconds the silent ones are told 421, and strangers are served again.
 */
static void
test_blocks_kept_by_the_silent_go_to_others(void **state)
{
	static struct sim_conn *silent[BLOCKS + 20];
	struct sim_conn *c;
	uint32_t refused = 0, told = 0;

	(void)state;
	start_short();
	make_known(CLIENT6);
	for (uint32_t i = 0; i < ARRAY_LEN(silent); i++) {
		silent[i] = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		sim_run(s.sim, 20000);
		if (!silent[i]->connected ||
			silent[i]->reset) { /* its SYN is not answered; reset: it was, just before */
			refused++;
			if (!silent[i]->reset)
				sim_abort(silent[i]);
			silent[i] = NULL;
			continue;
		}
		scene_reply(&s, silent[i]);
		CHECK_EQ("EHLO", scene_chat(&s, silent[i], "EHLO client.example"), 250);
		CHECK_EQ("MAIL", scene_chat(&s, silent[i], "MAIL FROM:<a@sender.example>"), 250);
	}
	CHECK_TRUE("strangers were refused", refused > 0);
	CHECK_EQ("counted", scene_count(&s, CTR_worker_blocks_for_known), refused);
	CHECK_TRUE("before they cost anything", scene_count(&s, CTR_worker_syn_ignored) >= refused - 1);
	CHECK_TRUE("blocks are left", scene_worker(&s)->sessions.n - scene_worker(&s)->sessions.n_used >= BLOCKS / 16);
	c = scene_open(&s, CLIENT6, GATEWAY6);
	CHECK_EQ("who is known gets in", atoi(s.reply), 220);
	scene_quit(&s, c);
	sim_run(s.sim, 15 * SECOND_US);
	CHECK_TRUE("the silent were told", scene_count(&s, CTR_worker_silent_shed) > 0);
	for (uint32_t i = 0; i < ARRAY_LEN(silent); i++)
		if (silent[i] != NULL && silent[i]->in_octets > silent[i]->in_seen)
			told += scene_reply(&s, silent[i]) == 421;
	CHECK_EQ("by 421", told, scene_count(&s, CTR_worker_silent_shed));
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("a stranger is served again", atoi(s.reply), 220);
	scene_quit(&s, c);
	scene_end(&s);
}

/* Segments for sessions at rest when every block is taken: dropped and counted, sent again by their peers, served when a block is free. */
static void
test_a_wake_that_finds_no_block_is_late_not_lost(void **state)
{
	static struct sim_conn *idle[40], *busy[BLOCKS];
	uint32_t answered = 0;

	(void)state;
	start_short();
	make_known(CLIENT6); /* who is known may take the last block, and is not shed */
	for (uint32_t i = 0; i < ARRAY_LEN(idle); i++)
		idle[i] = open_said("EHLO client.example");
	for (uint32_t i = 0; i < ARRAY_LEN(busy); i++) {
		busy[i] = scene_open(&s, CLIENT6, GATEWAY6);
		CHECK_EQ("EHLO", scene_chat(&s, busy[i], "EHLO client.example"), 250);
		CHECK_EQ("MAIL", scene_chat(&s, busy[i], "MAIL FROM:<a@sender.example>"), 250);
	}
	CHECK_EQ("all taken", scene_worker(&s)->sessions.n_used, BLOCKS);
	for (uint32_t i = 0; i < ARRAY_LEN(idle); i++)
		sim_send(idle[i], "NOOP\r\n", 6);
	sim_run(s.sim, SECOND_US / 2);
	CHECK_TRUE("counted", scene_count(&s, CTR_tcp_wake_refused) >= ARRAY_LEN(idle));
	CHECK_EQ("still there", tcp_n_rests(scene_worker(&s)->tcp), ARRAY_LEN(idle));
	for (uint32_t i = 0; i < ARRAY_LEN(busy); i++)
		scene_quit(&s, busy[i]);
	sim_run(s.sim, 5 * SECOND_US);
	for (uint32_t i = 0; i < ARRAY_LEN(idle); i++)
		answered += scene_reply(&s, idle[i]) == 250;
	CHECK_EQ("all answered", answered, ARRAY_LEN(idle));
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_sessions_hold_no_block_and_no_buffer),
		cmocka_unit_test(test_names_of_any_length_are_kept),
		cmocka_unit_test(test_a_line_in_pieces_is_one_line),
		cmocka_unit_test(test_a_long_begun_line_keeps_its_block),
		cmocka_unit_test(test_silence_ends_it_in_time),
		cmocka_unit_test(test_ends_of_clients_at_rest),
		cmocka_unit_test(test_a_drain_wakes_all),
		cmocka_unit_test(test_a_drain_meets_what_segments_have_woken),
		cmocka_unit_test(test_an_answer_finds_a_session_at_rest),
		cmocka_unit_test(test_a_proxied_client_stays_itself),
		cmocka_unit_test(test_peers_of_sessions_at_rest_are_told_of_a_kill),
		cmocka_unit_test(test_slow_clients_leave_the_blocks_to_others),
		cmocka_unit_test(test_blocks_kept_by_the_silent_go_to_others),
		cmocka_unit_test(test_a_wake_that_finds_no_block_is_late_not_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
