/*
 * test_balancers.c - clients whose octets are passed on as they come, whole workers in virtual time: PROXY headers of load balancers that are
 * trusted and of anybody else, and the splice of known clients.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/policy.h"

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */
static const char body[] = "Subject: hello\r\n\r\nlast\r\n";

/* ---- PROXY from load balancers in front of us ---- */

#define HEADER_V1 "PROXY TCP4 203.0.113.7 198.51.100.25 4711 25\r\n"
#define HEADER_V2 "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc6\x33\x64\x19\x12\x67\0\x19"
#define HEADER_V2_V6                                                                                                   \
	"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\x20\x01\x0d\xb8\0\x07\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\x08\0\0\0\0" \
	"\0\0\0\0\0\x02"                                                                                               \
	"\x12\x67\0\x19"

/* The client's host is a trusted load balancer to the mx listener, or to both. */
static void
trust_client(bool submission)
{
	for (uint32_t i = 0; i < (submission ? 2u : 1u); i++) {
		struct conf_listener *l = &s.config.listener[i];

		l->n_trusted = 2;
		BUG_ON(ip_addr_parse("2001:db8:ffff::", &l->trusted[0].addr) != 0 ||
			ip_addr_parse("198.18.0.8", &l->trusted[1].addr) != 0);
		l->trusted[0].prefix_bits = 48;
		l->trusted[1].prefix_bits = 96 + 29;
	}
}

static struct sim_conn *
open_with(const void *header, size_t octets, bool one_at_a_time)
{
	struct sim_conn *c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);

	if (!one_at_a_time) {
		scene_send_all(&s, c, header, octets);
	} else {
		for (size_t i = 0; i < octets; i++) {
			scene_send_all(&s, c, (const char *)header + i, 1);
			sim_run(s.sim, 2000);
		}
	}
	scene_reply_within(&s, c, 30000000);
	return c;
}

static void
test_a_trusted_proxys_header_names_the_client_in_everything(void **state)
{
	static const struct {
		const char *label, *header;
		size_t octets;
		bool slow;
		const char *client;
	} rows[] = {
		{ "v1", HEADER_V1, sizeof(HEADER_V1) - 1, false, "203.0.113.7" },
		{ "v1, one octet at a time", HEADER_V1, sizeof(HEADER_V1) - 1, true, "203.0.113.7" },
		{ "v2", HEADER_V2, sizeof(HEADER_V2) - 1, false, "203.0.113.7" },
		{ "v2, one octet at a time", HEADER_V2, sizeof(HEADER_V2) - 1, true, "203.0.113.7" },
		{ "v2 of IPv6 over IPv4", HEADER_V2_V6, sizeof(HEADER_V2_V6) - 1, true, "2001:db8:7::1" },
	};
	char want[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *label = rows[i].label;
		struct sim_conn *c;
		uint32_t questions;

		scene_conf(&s);
		trust_client(false);
		scene_begin(&s);
		questions = s.control.n_questions;
		c = open_with(rows[i].header, rows[i].octets, rows[i].slow);
		CHECK_EQ(label, atoi(s.reply), 220);
		CHECK_EQ(label, s.control.n_questions, questions + 1);
		CHECK_EQ(label, scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
		scene_quit(&s, c);
		snprintf(want, sizeof(want), "client=%s", rows[i].client);
		CHECK_TRUE(label, strstr(fake_control_find(&s.control, "rcpt=u@example.org"), want) != NULL);
		sim_run(s.sim, 241000000);
		c = open_with(rows[i].header, rows[i].octets, rows[i].slow);
		CHECK_EQ(label, scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		CHECK_EQ(label, scene_chat(&s, c, "DATA"), 354);
		CHECK_EQ(label, scene_chat(&s, c, "x\r\n."), 250);
		scene_quit(&s, c);
		CHECK_EQ(label, s.mta.n_messages, 1);
		CHECK_STR(label, s.mta.message[0].client, rows[i].client);
		CHECK_TRUE(label, strstr(fake_control_find(&s.control, "end=quit"), want) != NULL);
		CHECK_EQ(label, scene_count(&s, CTR_worker_proxied), 2);
		scene_check_nothing_left(&s, label, 16);
		scene_end(&s);
	}
}

static void
test_limits_count_the_headers_client(void **state)
{
	static const char other[] = "PROXY TCP4 203.0.113.99 198.51.100.25 4711 25\r\n";
	struct sim_conn *a, *b, *c;

	(void)state;
	scene_conf(&s);
	trust_client(false);
	s.config.conf.client_sessions_max = 1;
	scene_begin(&s);
	a = open_with(HEADER_V1, sizeof(HEADER_V1) - 1, false);
	CHECK_EQ("first", atoi(s.reply), 220);
	b = open_with(other, sizeof(other) - 1, false);
	CHECK_EQ("another client behind the same proxy", atoi(s.reply), 220);
	c = open_with(HEADER_V2, sizeof(HEADER_V2) - 1, false);
	CHECK_EQ("the first again", atoi(s.reply), 421);
	sim_close(c);
	scene_quit(&s, a);
	scene_quit(&s, b);
	sim_run(s.sim, 3000000);
	a = open_with(HEADER_V2, sizeof(HEADER_V2) - 1, false);
	CHECK_EQ("room again", atoi(s.reply), 220);
	scene_quit(&s, a);
	scene_end(&s);
}

static void
test_a_trusted_proxy_without_a_header_is_closed(void **state)
{
#define ROW(label, text, fin)                                                                                          \
	{                                                                                                              \
		label, text, sizeof(text) - 1, fin                                                                     \
	}
	static const struct {
		const char *label, *octets;
		size_t n;
		bool fin;
	} rows[] = {
		ROW("silence", "", false),
		ROW("a client's own words", "EHLO client.example\r\n", false),
		ROW("cut, then silence", "PROXY TCP4 203.0.113.7 198.51", false),
		ROW("cut by the end", "PROXY TCP4 203.0.113.7 198.51", true),
		ROW("v2 cut by the end", "\r\n\r\n\0\r\nQUIT\n\x21\x11", true),
		ROW("mixed: v1 word, v2 signature", "PROXY \r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", false),
		ROW("mixed: half a signature, then v1", "\r\n\r\n\0\r\nPROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n", false),
		ROW("an address of the wrong family", "PROXY TCP4 2001:db8::1 198.51.100.25 4711 25\r\n", false),
		ROW("an endless line",
			"PROXY TCP4 203.0.113.7 198.51.100.25 4711 "
			"2555555555555555555555555555555555555555555555555555555555555555555",
			false),
		ROW("v2 of an unknown command", "\r\n\r\n\0\r\nQUIT\n\x2f\x11\0\x0c", false),
	};
#undef ROW
	uint64_t refused = 0;

	(void)state;
	scene_conf(&s);
	trust_client(false);
	scene_begin(&s);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sim_conn *c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);

		sim_run(s.sim, 10000);
		if (rows[i].n > 0)
			scene_send_all(&s, c, rows[i].octets, rows[i].n);
		if (rows[i].fin)
			sim_close(c);
		CHECK_TRUE(rows[i].label, sim_until(s.sim, 6000000, scene_is_gone, c));
		CHECK_EQ(rows[i].label, c->in_octets, 0); /* not even a banner */
		CHECK_EQ(rows[i].label, scene_count(&s, CTR_worker_proxy_refused), ++refused);
		scene_check_nothing_left(&s, rows[i].label, 16);
	}
	CHECK_EQ("nobody was asked about", s.control.n_questions, 0);
	CHECK_TRUE("logged", fake_control_find(&s.control, "end=no-proxy-header")[0] != '\0');
	scene_end(&s);
}

static void
test_a_header_of_anybody_else_is_never_believed(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	trust_client(false);
	s.config.listener[0].n_trusted = 1; /* the IPv6 network alone */
	scene_begin(&s);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("banner at once", atoi(s.reply), 220);
	CHECK_EQ("PROXY is no command", scene_chat(&s, c, "PROXY TCP4 203.0.113.7 198.51.100.25 4711 25") / 100, 5);
	CHECK_EQ("the session goes on", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	scene_quit(&s, c);
	CHECK_TRUE("as itself", strstr(fake_control_find(&s.control, "rcpt=u@example.org"), "client=" CLIENT4) != NULL);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	scene_send_all(&s, c, HEADER_V2, sizeof(HEADER_V2) - 1);
	CHECK_EQ("v2: the banner all the same", scene_reply(&s, c), 220);
	sim_abort(c);
	CHECK_EQ("none taken", scene_count(&s, CTR_worker_proxied), 0);
	scene_end(&s);
}

static void
test_a_proxy_that_speaks_for_itself_is_the_client(void **state)
{
	static const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", unknown[] = "PROXY UNKNOWN\r\n";
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	trust_client(false);
	scene_begin(&s);
	c = open_with(local, sizeof(local) - 1, false);
	CHECK_EQ("LOCAL", atoi(s.reply), 220);
	CHECK_EQ("judged as itself", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	CHECK_TRUE("logged as itself",
		strstr(fake_control_find(&s.control, "rcpt=u@example.org"), "client=" CLIENT4) != NULL);
	scene_quit(&s, c);
	c = open_with(unknown, sizeof(unknown) - 1, false);
	CHECK_EQ("UNKNOWN", atoi(s.reply), 220);
	scene_quit(&s, c);
	scene_end(&s);
}

static void
test_what_follows_the_header_in_its_segment_is_the_clients(void **state)
{
	static const char both[] = HEADER_V1 "EHLO client.example\r\n";
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	trust_client(true);
	scene_begin(&s);
	c = open_with(both, sizeof(both) - 1, false);
	CHECK_EQ("banner", atoi(s.reply), 220);
	CHECK_EQ("EHLO", scene_reply(&s, c), 250);
	scene_quit(&s, c);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 587);
	scene_send_all(&s, c, HEADER_V2, sizeof(HEADER_V2) - 1);
	CHECK_EQ("submission: the MTA's banner", scene_reply(&s, c), 220);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@example.org>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<x@elsewhere.example>"), 250);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	CHECK_EQ("QUIT", scene_chat(&s, c, "QUIT"), 221);
	sim_close(c);
	CHECK_STR("client by PROXY", s.submit.message[0].client, "203.0.113.7");
	scene_check_nothing_left(&s, "gone", 16);
	scene_end(&s);
}

/* ---- splice of known clients (POLICY section 5, last) ---- */

/* What control would have stored about the client. */
static void
store_verdict(int16_t score)
{
	const struct policy_ctx ctx = { .conf = &s.config.conf,
		.table = &sim_segment(s.sim)->table,
		.counters = &sim_segment(s.sim)->counters[0] };
	const uint32_t now_s = segment_policy_now_s(sim_segment(s.sim), sim_now_us(s.sim));
	const struct client_verdict v = { .known = CLIENT_KNOWN,
		.ptr_state = PTR_CONFIRMED,
		.zone = score > 0 ? 0 : ZONE_NONE,
		.score = score,
		.time_s = now_s };
	struct ip_addr client;

	BUG_ON(ip_addr_parse(CLIENT4, &client) != 0);
	policy_client_store(&ctx, &client, &v, now_s);
}

enum splice_row {
	SPLICED,
	OFF,
	OBSERVE,
	NO_VERDICT,
	STALE,
	TWO_POOLS,
	XCLIENT_BACKEND,
	NO_HEADER,
	RCPT_RULE,
	STRANGER,
	UNTESTED,
	TRAPS
};

static void
test_known_clients_are_spliced_where_every_condition_holds(void **state)
{
	static const struct {
		const char *label;
		enum splice_row row;
	} rows[] = {
		{ "all hold", SPLICED },
		{ "switched off, the default", OFF },
		{ "observe mode", OBSERVE },
		{ "no verdict yet", NO_VERDICT },
		{ "a verdict that is not fresh", STALE },
		{ "two pools on the listener", TWO_POOLS },
		{ "the backend is told by XCLIENT", XCLIENT_BACKEND },
		{ "the backend is told nothing", NO_HEADER },
		{ "a rule about recipients", RCPT_RULE },
		{ "a client nobody knows", STRANGER },
		{ "a backend whose relay test is not done", UNTESTED },
		{ "traps", TRAPS },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const enum splice_row row = rows[i].row;
		struct sim_conn *c;

		scene_conf(&s);
		s.config.listener[0].pools = row == TWO_POOLS ? 3 : 1;
		s.config.listener[0].default_pool = 0;
		s.config.conf.known_clients_relay = row == OFF;
		s.config.conf.mode = row == OBSERVE ? MODE_OBSERVE : MODE_ENFORCE;
		s.config.client_allow = row == STRANGER ? NULL : "198.18.0.10";
		s.config.rcpt_deny = row == RCPT_RULE ? "nobody@example.org" : NULL;
		if (row == XCLIENT_BACKEND)
			s.config.pool[0].backends = 1 << 1;
		if (row == NO_HEADER)
			s.config.backend[0].client_address = CLIENT_ADDRESS_NONE;
		scene_start(&s, 1, 1, clean);
		if (row == NO_HEADER)
			s.mta.client_address = CLIENT_ADDRESS_NONE;
		scene_settle(&s);
		if (row != NO_VERDICT)
			store_verdict(0);
		if (row == STALE)
			sim_run(s.sim, (uint64_t)s.config.conf.client_fresh_s * 1000000 + 2000000);
		if (row == TRAPS) { /* whatever they are: a list of addresses */
			sim_conf_parts(&s.config);
			s.config.part[SNAPSHOT_TRAPS] = s.config.part[SNAPSHOT_DOMAINS];
			sim_publish(s.sim, s.config.part);
		}
		if (row == UNTESTED)
			segment_backend(sim_segment(s.sim), 11, false)->relaytest_s = 0;
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ(rows[i].label, atoi(s.reply), 220);
		CHECK_EQ(rows[i].label, strstr(s.reply, "mta.example") != NULL, row == SPLICED);
		CHECK_EQ(rows[i].label, scene_count(&s, CTR_worker_known_spliced), row == SPLICED);
		if (row == SPLICED) {
			CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
			CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
			CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
			CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
			CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
			CHECK_STR("client by PROXY", s.mta.message[0].client, CLIENT4);
			CHECK_EQ("nobody was asked", s.control.n_questions, 0);
		}
		scene_chat(&s, c, "QUIT");
		sim_close(c);
		scene_check_nothing_left(&s, rows[i].label, 16);
		scene_end(&s);
	}
}

static void
test_limits_apply_before_a_splice(void **state)
{
	struct sim_conn *a, *b;

	(void)state;
	scene_conf(&s);
	s.config.listener[0].pools = 1;
	s.config.conf.known_clients_relay = 0;
	s.config.client_allow = "198.18.0.10";
	s.config.conf.client_sessions_max = 1;
	scene_begin(&s);
	store_verdict(0);
	a = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_TRUE("spliced", strstr(s.reply, "220 mta.example") == s.reply);
	b = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_TRUE("over the limit", strstr(s.reply, "421 gw.example") == s.reply);
	sim_close(b);
	scene_chat(&s, a, "QUIT");
	sim_close(a);
	scene_check_nothing_left(&s, "gone", 16);
	scene_end(&s);
}

/* Five messages an hour apart from five domains give the network automatic allow. */
static void
test_a_splice_never_renews_automatic_allow(void **state)
{
	const struct verdict_table *t;
	struct vt_entry before, after;
	struct ip_addr client;
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	s.config.listener[0].pools = 1;
	s.config.conf.known_clients_relay = 0;
	s.config.conf.grey_auto_after = 1;
	scene_begin(&s);
	scene_make_white(&s, CLIENT4, "a@one.example", "u@example.org");
	sim_run(s.sim, UINT64_C(3700000000));
	CHECK_EQ("counted", scene_deliver(&s, CLIENT4, "a@one.example", "u@example.org", body), 250);
	store_verdict(0);
	sim_run(s.sim, UINT64_C(3700000000));
	t = &sim_segment(s.sim)->table;
	BUG_ON(ip_addr_parse(CLIENT4, &client) != 0);
	CHECK_TRUE("record", verdict_table_find(t, policy_auto_tag(t, &client), &before));
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_TRUE("spliced by automatic allow", strstr(s.reply, "220 mta.example") == s.reply);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@two.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	scene_chat(&s, c, "QUIT");
	sim_close(c);
	sim_run(s.sim, 5000000);
	CHECK_TRUE("still there", verdict_table_find(t, policy_auto_tag(t, &client), &after));
	CHECK_OCTETS("unchanged", &after, sizeof(after), &before, sizeof(before));
	store_verdict(5);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_TRUE("a listed client is none", strstr(s.reply, "220 gw.example") == s.reply);
	scene_quit(&s, c);
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_trusted_proxys_header_names_the_client_in_everything),
		cmocka_unit_test(test_limits_count_the_headers_client),
		cmocka_unit_test(test_a_trusted_proxy_without_a_header_is_closed),
		cmocka_unit_test(test_a_header_of_anybody_else_is_never_believed),
		cmocka_unit_test(test_a_proxy_that_speaks_for_itself_is_the_client),
		cmocka_unit_test(test_what_follows_the_header_in_its_segment_is_the_clients),
		cmocka_unit_test(test_known_clients_are_spliced_where_every_condition_holds),
		cmocka_unit_test(test_limits_apply_before_a_splice),
		cmocka_unit_test(test_a_splice_never_renews_automatic_allow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
