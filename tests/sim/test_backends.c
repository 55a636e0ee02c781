/*
 * test_backends.c - the gateway between load balancers in front and backends behind, whole workers in virtual time: PROXY headers of trusted
 * peers, splice of known clients, drained backends, and backends that are slow, die, talk nonsense, out of turn, in pieces, or never read.
 *
 * After each misbehaviour: the client got one correct reply for each command, nothing was delivered that was not answered 250 or the other
 * way round, no session, buffer or block is left. Names of POLICY sections and numbers of PITFALLS lines stand in the tests.
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

static void
start(void)
{
	scene_start(&s, 1, 1, clean);
	scene_settle(&s);
}

static uint64_t
count_of(enum counter which)
{
	return counter_read(&sim_segment(s.sim)->counters[0], which);
}

/* Lets the triplet through the greylist. */
static void
make_white(const char *from, const char *to)
{
	CHECK_EQ("first attempt", scene_deliver(&s, CLIENT4, from, to, body), 451);
	sim_run(s.sim, 241000000);
	CHECK_EQ("retry", scene_deliver(&s, CLIENT4, from, to, body), 250);
}

static void
send_all(struct sim_conn *c, const void *data, size_t octets)
{
	sim_send(c, data, octets);
	for (uint32_t i = 0; i < 100000 && c->out_octets > 0 && c->tcp != NULL; i++)
		sim_step(s.sim, 1000);
}

static bool
is_gone(void *arg)
{
	struct sim_conn *c = arg;

	return c->tcp == NULL || c->eof || c->reset;
}

/* Every session ends, and with it all that it held. */
static void
check_nothing_left(const char *label, uint32_t bufs_before)
{
	sim_run(s.sim, 20000000);
	CHECK_EQ(label, worker_sessions(sim_worker(s.sim, 0)), 0);
	CHECK_TRUE(label, sim_bufs_in_use(s.sim) <= bufs_before + 16); /* a probe may be under way */
}

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
		send_all(c, header, octets);
	} else {
		for (size_t i = 0; i < octets; i++) {
			send_all(c, (const char *)header + i, 1);
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
		start();
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
		CHECK_EQ(label, count_of(CTR_worker_proxied), 2);
		check_nothing_left(label, 16);
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
	start();
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
	start();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sim_conn *c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);

		sim_run(s.sim, 10000);
		if (rows[i].n > 0)
			send_all(c, rows[i].octets, rows[i].n);
		if (rows[i].fin)
			sim_close(c);
		CHECK_TRUE(rows[i].label, sim_until(s.sim, 6000000, is_gone, c));
		CHECK_EQ(rows[i].label, c->in_octets, 0); /* not even a banner */
		CHECK_EQ(rows[i].label, count_of(CTR_worker_proxy_refused), ++refused);
		check_nothing_left(rows[i].label, 16);
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
	start();
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("banner at once", atoi(s.reply), 220);
	CHECK_EQ("PROXY is no command", scene_chat(&s, c, "PROXY TCP4 203.0.113.7 198.51.100.25 4711 25") / 100, 5);
	CHECK_EQ("the session goes on", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	scene_quit(&s, c);
	CHECK_TRUE("as itself", strstr(fake_control_find(&s.control, "rcpt=u@example.org"), "client=" CLIENT4) != NULL);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	send_all(c, HEADER_V2, sizeof(HEADER_V2) - 1);
	CHECK_EQ("v2: the banner all the same", scene_reply(&s, c), 220);
	sim_abort(c);
	CHECK_EQ("none taken", count_of(CTR_worker_proxied), 0);
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
	start();
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
	start();
	c = open_with(both, sizeof(both) - 1, false);
	CHECK_EQ("banner", atoi(s.reply), 220);
	CHECK_EQ("EHLO", scene_reply(&s, c), 250);
	scene_quit(&s, c);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 587);
	send_all(c, HEADER_V2, sizeof(HEADER_V2) - 1);
	CHECK_EQ("submission: the MTA's banner", scene_reply(&s, c), 220);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@example.org>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<x@elsewhere.example>"), 250);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "x\r\n."), 250);
	CHECK_EQ("QUIT", scene_chat(&s, c, "QUIT"), 221);
	sim_close(c);
	CHECK_STR("client by PROXY", s.submit.message[0].client, "203.0.113.7");
	check_nothing_left("gone", 16);
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
		CHECK_EQ(rows[i].label, count_of(CTR_worker_known_spliced), row == SPLICED);
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
		check_nothing_left(rows[i].label, 16);
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
	start();
	store_verdict(0);
	a = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_TRUE("spliced", strstr(s.reply, "220 mta.example") == s.reply);
	b = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_TRUE("over the limit", strstr(s.reply, "421 gw.example") == s.reply);
	sim_close(b);
	scene_chat(&s, a, "QUIT");
	sim_close(a);
	check_nothing_left("gone", 16);
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
	start();
	make_white("a@one.example", "u@example.org");
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

/* ---- drain and ready ---- */

static void
test_a_drained_backend_gets_no_new_session_and_keeps_the_old(void **state)
{
	struct backend_state *state11;
	struct sim_conn *c;
	uint32_t before;

	(void)state;
	scene_conf(&s);
	s.config.pool[0].backends = 1 << 0 | 1 << 2; /* mta and mta-v1 */
	start();
	make_white("a@sender.example", "u@example.org");
	do { /* until a session has the first of the two */
		c = scene_open(&s, CLIENT4, GATEWAY4);
		before = s.mta.n_conns;
		CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		if (s.mta.n_conns != before)
			break;
		scene_quit(&s, c);
	} while (true);
	state11 = segment_backend(sim_segment(s.sim), 11, false);
	__atomic_store_n(&state11->drained, 1, __ATOMIC_RELAXED);
	before = s.mta.n_messages;
	for (uint32_t i = 0; i < 2; i++) {
		CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
		CHECK_EQ("the session it has goes on", scene_chat(&s, c, "x\r\n."), 250);
		CHECK_EQ("and its next message", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
		CHECK_EQ("rcpt", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	}
	scene_quit(&s, c);
	CHECK_EQ("there", s.mta.n_messages, before + 2);
	for (uint32_t i = 0; i < 8; i++)
		CHECK_EQ("new ones go elsewhere", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body),
			250);
	CHECK_EQ("none here", s.mta.n_messages, before + 2);
	sim_run(s.sim, 65000000);
	CHECK_EQ("probes go on and change nothing", state11->drained, 1);
	CHECK_EQ("it is up", state11->health, BACKEND_UP);
	__atomic_store_n(&state11->drained, 0, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < 16; i++)
		CHECK_EQ("ready", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("has sessions again", s.mta.n_messages > before + 2);
	__atomic_store_n(&state11->drained, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&segment_backend(sim_segment(s.sim), 13, false)->drained, 1, __ATOMIC_RELAXED);
	CHECK_EQ("all drained", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_EQ("not the greylist", scene_wait_s(&s), -1);
	scene_end(&s);
}

/* ---- a backend that answers inside the body ---- */

static void
test_a_refusal_inside_the_body_is_the_backends_word_and_no_failure(void **state)
{
	static const struct {
		const char *label;
		enum fake_fail how;
		int want;
		const char *result;
	} rows[] = { { "5xx", FAKE_5XX, 550, "result=refused" }, { "4xx", FAKE_4XX, 450, "result=deferred" } };

	(void)state;
	scene_conf(&s);
	start();
	make_white("a@sender.example", "u@example.org");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint64_t failures = count_of(CTR_worker_backend_failures);
		const uint32_t messages = s.mta.n_messages;
		struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
		const char *line;

		s.mta.at_body = rows[i].how;
		CHECK_EQ(rows[i].label, scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "DATA"), 354);
		send_all(c, "line one\r\n", 10);
		sim_run(s.sim, 1000000);
		CHECK_EQ("nothing before the dot", c->in_octets, c->in_seen);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "line two\r\n."), rows[i].want);
		CHECK_EQ("the session goes on", scene_chat(&s, c, "NOOP"), 250);
		s.mta.at_body = FAKE_OK;
		CHECK_EQ("with a new connection", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
		CHECK_EQ("rcpt", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
		scene_quit(&s, c);
		line = fake_control_find(&s.control, rows[i].result);
		CHECK_TRUE("logged with its own result", strstr(line, "stage=BODY") != NULL);
		CHECK_EQ("no failure", count_of(CTR_worker_backend_failures), failures);
		CHECK_EQ("not suspected", atomic_load(&sim_shared(s.sim)->backend_suspect[0]), 0);
		CHECK_EQ("nothing delivered", s.mta.n_messages, messages);
	}
	scene_end(&s);
}

/* ---- backends that misbehave ---- */

#define LONG_LINE "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
#define TEN(x)    x x x x x x x x x x
#define SEVEN(x)  x x x x x x x

static void
test_whatever_a_backend_says_the_client_gets_one_correct_reply(void **state)
{
	static const struct {
		const char *label, *raw;
		int rcpt, dot; /* wanted where it says so to RCPT, to the dot */
	} rows[] = {
		{ "no digits", "hello\r\n", 451, 451 },
		{ "a code below 200", "150 wait\r\n", 451, 451 },
		{ "a code of no class", "999 what\r\n", 451, 451 },
		{ "354 out of place", "354 go on\r\n", 451, 451 },
		{ "two codes in one reply", "250-a\r\n550 b\r\n", 451, 451 },
		{ "an empty line", "\r\n250 ok\r\n", 451, 451 },
		{ "control octets and 8-bit", "250 \xff\xfe\x01 ok\r\n", 451, 451 },
		{ "a lone LF ends it", "250 ok\n", 250, 250 },
		{ "421", "421 going\r\n", 451, 451 },
		{ "421 with its reason over lines", "421-going\r\n421 now\r\n", 451, 451 },
		{ "a long line", "550 " TEN(LONG_LINE) "\r\n", 550, 550 },
		{ "a line without end", TEN(SEVEN(LONG_LINE)) "\r\n", 451, 451 },
		{ "a few lines", "550-" TEN("a line\r\n550-") "a line\r\n550 end\r\n", 550, 550 },
		{ "a hundred lines", "550-" TEN(TEN("a line\r\n550-")) "a line\r\n550 end\r\n", 550, 550 },
		{ "lines without end",
			"550-" TEN(TEN("a line\r\n550-"
				       "x\r\n550-")) "a line\r\n550 end\r\n",
			451, 451 },
	};

	(void)state;
	scene_conf(&s);
	start();
	make_white("a@sender.example", "u@example.org");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (int at_dot = 0; at_dot < 2; at_dot++)
			for (int dribble = 0; dribble < (strlen(rows[i].raw) > 200 ? 1 : 2);
				dribble++) { /* long ones whole: it takes its time */
				const char *label = rows[i].label;
				struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
				const int want = at_dot ? rows[i].dot : rows[i].rcpt;
				const uint32_t messages = s.mta.n_messages;
				int code;

				s.mta.raw = rows[i].raw;
				s.mta.dribble = dribble;
				*(at_dot ? &s.mta.at_dot : &s.mta.at_rcpt) = FAKE_RAW;
				code = scene_rcpt(&s, c, "a@sender.example", "u@example.org");
				if (at_dot) {
					CHECK_EQ(label, code, 250);
					CHECK_EQ(label, scene_chat(&s, c, "DATA"), 354);
					code = scene_chat(&s, c, "x\r\n.");
				}
				if (code != want)
					print_message("at the dot: %d, in pieces: %d, logged: %s\n", at_dot, dribble,
						fake_control_find(&s.control, "reply="));
				CHECK_EQ(label, code, want);
				CHECK_EQ(label, scene_wait_s(&s), -1);
				for (const char *p = s.reply; *p != '\0'; p++)
					CHECK_TRUE(label, (*p >= 0x20 && *p < 0x7f) || *p == '\r' || *p == '\n');
				s.mta.at_rcpt = s.mta.at_dot = FAKE_OK;
				CHECK_EQ("the session goes on", scene_chat(&s, c, "NOOP"), 250);
				CHECK_EQ("one reply only", c->in_octets, c->in_seen);
				CHECK_EQ(label, s.mta.n_messages, messages);
				scene_quit(&s, c);
				s.mta.dribble = false;
				sim_run(s.sim, 60000000); /* probed up again */
				CHECK_EQ(label, worker_sessions(sim_worker(s.sim, 0)), 0);
			}
	CHECK_EQ("and mail flows", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	check_nothing_left("gone", 32);
	scene_end(&s);
}

/* Replies that nobody asked for, and 421 in the middle, at each place of a dialogue. */
static void
test_words_out_of_turn_never_answer_a_command(void **state)
{
	static const char *const words[] = { "421 4.3.2 shutting down\r\n", "250 2.0.0 Ok\r\n",
		"250 a\r\n250 b\r\n250 c\r\n550 d\r\n", "25", "550 5.1.1 never\r\n" };
	enum { AFTER_RCPT, IN_BODY, AFTER_MESSAGE, PLACES };

	(void)state;
	scene_conf(&s);
	start();
	make_white("a@sender.example", "u@example.org");
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		for (int place = 0; place < PLACES; place++) {
			struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);
			uint32_t messages = s.mta.n_messages;
			int dot = 0;

			CHECK_EQ(words[i], scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
			if (place == AFTER_RCPT) {
				fake_mta_shout(&s.mta, words[i]);
				sim_run(s.sim, 100000);
				CHECK_EQ(words[i], scene_chat(&s, c, "DATA"), 451);
			} else {
				CHECK_EQ(words[i], scene_chat(&s, c, "DATA"), 354);
				send_all(c, "x\r\n", 3);
				sim_run(s.sim, 100000);
				if (place == IN_BODY) {
					fake_mta_shout(&s.mta, words[i]);
					sim_run(s.sim, 100000);
				}
				dot = scene_chat(&s, c, ".");
				if (place == IN_BODY)
					CHECK_EQ(words[i], dot, words[i][0] == '5' ? 550 : 451);
				else
					CHECK_EQ(words[i], dot, 250);
			}
			if (place == AFTER_MESSAGE) {
				fake_mta_shout(&s.mta, words[i]);
				sim_run(s.sim, 100000);
			}
			/* where its words were garbled it may have taken what was not answered 250: never the other way round */
			CHECK_TRUE("250 is the backend's", dot != 250 || s.mta.n_messages - messages == 1);
			CHECK_TRUE("and nothing else",
				dot == 250 || s.mta.n_messages == messages || strcmp(words[i], "25") == 0);
			messages = s.mta.n_messages;
			CHECK_EQ("the next transaction", scene_chat(&s, c, "RSET"), 250);
			CHECK_EQ("is served", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
			CHECK_EQ("by a new connection", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
			CHECK_EQ("as any", scene_chat(&s, c, "DATA"), 354);
			CHECK_EQ("delivered", scene_chat(&s, c, "y\r\n."), 250);
			CHECK_EQ("one reply for each", c->in_octets, c->in_seen);
			scene_quit(&s, c);
			CHECK_EQ("once", s.mta.n_messages - messages, 1);
			sim_run(s.sim, 60000000);
		}
	check_nothing_left("gone", 32);
	scene_end(&s);
}

/* All its replies in the first segment: a reply before its command is no answer. */
static void
test_a_backend_that_answers_ahead_is_not_believed(void **state)
{
	struct sim_conn *c;

	(void)state;
	scene_conf(&s);
	start();
	make_white("a@sender.example", "u@example.org");
	s.mta.raw = "220 mta.example ESMTP\r\n250 mta.example\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 queued\r\n";
	s.mta.at_banner = FAKE_RAW;
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("451", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	CHECK_EQ("no wait", scene_wait_s(&s), -1);
	CHECK_EQ("nothing to send", scene_chat(&s, c, "DATA") / 100, 4);
	scene_quit(&s, c);
	CHECK_EQ("nothing delivered", s.mta.n_messages, 1);
	check_nothing_left("gone", 32);
	scene_end(&s);
}

/* Every reply one octet at a time, over a lossy wire. */
static void
test_replies_in_pieces_are_replies(void **state)
{
	(void)state;
	scene_conf(&s);
	s.mta.dribble = s.mta_x.dribble = s.mta_v1.dribble = true;
	scene_start(&s, 5, 1, (struct sim_wire){ .delay_us = 500, .loss = 10, .reorder = 20, .duplicate = 5 });
	scene_settle(&s);
	make_white("a@sender.example", "u@example.org");
	CHECK_EQ("delivered", s.mta.n_messages, 1);
	scene_end(&s);
}

static void
test_a_backend_that_never_reads_costs_a_bounded_queue(void **state)
{
	static char mail[8u << 20];
	uint32_t before, most = 0;
	struct sim_conn *c;
	uint64_t begun;

	(void)state;
	scene_conf(&s);
	s.config.conf.data_timeout_s = 1800;
	start();
	make_white("a@sender.example", "u@example.org");
	before = sim_bufs_in_use(s.sim);
	s.mta.deaf_in_data = true;
	memset(mail, 'a', sizeof(mail));
	for (size_t i = 78; i + 2 < sizeof(mail); i += 80)
		memcpy(mail + i, "\r\n", 2);
	memcpy(mail + sizeof(mail) - 5, "\r\n.\r\n", 5);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("rcpt", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("data", scene_chat(&s, c, "DATA"), 354);
	sim_send(c, mail, sizeof(mail));
	begun = sim_now_us(s.sim);
	while (c->in_octets == c->in_seen && c->tcp != NULL && sim_now_us(s.sim) - begun < UINT64_C(2000000000)) {
		sim_step(s.sim, 1000000);
		most = MAX(most, sim_bufs_in_use(s.sim));
	}
	/* send queue and both windows, 256 KiB each, of the gateway; the client's own send queue; segments of 1460 octets */
	print_message("buffers at the most: %u, before: %u\n", most, before);
	CHECK_TRUE("no memory grows", most - before < 2000);
	CHECK_TRUE("the client still has the most of it", c->out_octets > sizeof(mail) / 2);
	s.mta.deaf_in_data = false;
	CHECK_EQ("nothing was delivered", s.mta.n_messages, 1);
	sim_abort(c);
	sim_run(s.sim, 60000000);
	CHECK_EQ("mail flows", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	check_nothing_left("gone", before + 16);
	scene_end(&s);
}

/* ---- order and time of replies in a burst (POLICY section 6) ---- */

static void
burst(const char *label, uint64_t dns_us, uint64_t backend_us, bool backend_silent)
{
	static char text[16384];
	uint64_t sent_us, last_us, most_us = 0;
	size_t n = 0;
	struct sim_conn *c;
	uint32_t taken = 0;
	int code;

	scene_conf(&s);
	s.config.conf.rcpts_max = 100;
	s.config.rcpt_no_grey = "example.org";
	start();
	s.control.delay_us = dns_us;
	s.mta.delay_us = backend_us;
	n += (size_t)snprintf(text + n, sizeof(text) - n, "EHLO client.example\r\nMAIL FROM:<a@sender.example>\r\n");
	for (uint32_t i = 0; i < 100; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "RCPT TO:<u%u@%s>\r\n", i,
			i % 10 == 9 ? "elsewhere.example" : "example.org");
	n += (size_t)snprintf(text + n, sizeof(text) - n, "DATA\r\n");
	c = scene_open(&s, CLIENT4, GATEWAY4);
	s.mta.at_rcpt = backend_silent ? FAKE_SILENT : FAKE_OK;
	sim_send(c, text, n);
	sent_us = last_us = sim_now_us(s.sim);
	CHECK_EQ(label, scene_reply(&s, c), 250);
	CHECK_EQ(label, scene_reply(&s, c), 250);
	for (uint32_t i = 0; i < 100; i++) {
		code = scene_reply(&s, c);
		most_us = MAX(most_us, sim_now_us(s.sim) - last_us);
		last_us = sim_now_us(s.sim);
		if (i % 10 == 9)
			CHECK_EQ(label, code, 550); /* its place in the order shows that none was lost or swapped */
		else
			CHECK_EQ(label, code, backend_silent ? 451 : 250);
		taken += code == 250;
	}
	code = scene_reply(&s, c);
	most_us = MAX(most_us, sim_now_us(s.sim) - last_us);
	CHECK_EQ(label, code, backend_silent ? 451 : 354);
	print_message("%s: longest wait for one reply %.1f s, all in %.1f s\n", label, (double)most_us / 1e6,
		(double)(sim_now_us(s.sim) - sent_us) / 1e6);
	CHECK_TRUE(label, most_us <= 35000000 + 50000); /* and the way to the client */
	if (!backend_silent) {
		CHECK_EQ(label, scene_chat(&s, c, "x\r\n."), 250);
		CHECK_EQ(label, s.mta.message[s.mta.n_messages - 1].n_to, taken);
	}
	scene_quit(&s, c);
	check_nothing_left(label, 32);
	scene_end(&s);
}

static void
test_a_burst_of_a_hundred_recipients_keeps_order_and_time(void **state)
{
	(void)state;
	burst("prompt", 0, 0, false);
	burst("DNS 1.9 s, backend 0.3 s", 1900000, 300000, false);
	burst("DNS late, backend 8 s", 5000000, 8000000, false);
	burst("DNS late, backend silent", 5000000, 0, true);
}

/* ---- what a hand-off costs ---- */

static void
test_round_trips_of_a_hand_off(void **state)
{
	static const struct {
		const char *label;
		enum conf_client_address how;
		bool pipelining;
		uint32_t want, want_next;
	} rows[] = {
		{ "none", CLIENT_ADDRESS_NONE, true, 4, 1 },
		{ "PROXY v1", CLIENT_ADDRESS_PROXY_V1, true, 4, 1 },
		{ "PROXY v2", CLIENT_ADDRESS_PROXY_V2, true, 4, 1 },
		{ "XCLIENT", CLIENT_ADDRESS_XCLIENT, true, 6, 1 },
		{ "none, no PIPELINING", CLIENT_ADDRESS_NONE, false, 5, 1 },
		{ "PROXY v2, no PIPELINING", CLIENT_ADDRESS_PROXY_V2, false, 5, 1 },
		{ "XCLIENT, no PIPELINING", CLIENT_ADDRESS_XCLIENT, false, 7, 1 },
	};
	const uint64_t half_us = 100000;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sim_conn *c;
		uint64_t from_us, us;
		uint32_t trips;

		scene_conf(&s);
		s.config.backend[0].client_address = (uint8_t)rows[i].how;
		s.config.rcpt_no_grey = "example.org";
		s.mta.ext = rows[i].pipelining ? "250-PIPELINING\r\n" : "250-8BITMIME\r\n";
		scene_start(&s, 1, 1, (struct sim_wire){ .delay_us = half_us });
		s.mta.client_address = rows[i].how;
		scene_settle(&s);
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "EHLO client.example"), 250);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
		from_us = sim_now_us(s.sim);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
		us = sim_now_us(s.sim) - from_us - 2 * half_us; /* the client's own round trip */
		trips = (uint32_t)((us + half_us) / (2 * half_us));
		print_message("%-26s %u round trips before the reply to the first recipient (%.0f ms at 200 ms each)\n",
			rows[i].label, trips, (double)us / 1000);
		CHECK_EQ(rows[i].label, trips, rows[i].want);
		from_us = sim_now_us(s.sim);
		CHECK_EQ(rows[i].label, scene_chat(&s, c, "RCPT TO:<v@example.org>"), 250);
		us = sim_now_us(s.sim) - from_us - 2 * half_us;
		CHECK_EQ(rows[i].label, (us + half_us) / (2 * half_us), rows[i].want_next);
		scene_quit(&s, c);
		sim_run(s.sim, 10000000);
		scene_end(&s);
	}
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
		cmocka_unit_test(test_a_drained_backend_gets_no_new_session_and_keeps_the_old),
		cmocka_unit_test(test_a_refusal_inside_the_body_is_the_backends_word_and_no_failure),
		cmocka_unit_test(test_whatever_a_backend_says_the_client_gets_one_correct_reply),
		cmocka_unit_test(test_words_out_of_turn_never_answer_a_command),
		cmocka_unit_test(test_a_backend_that_answers_ahead_is_not_believed),
		cmocka_unit_test(test_replies_in_pieces_are_replies),
		cmocka_unit_test(test_a_backend_that_never_reads_costs_a_bounded_queue),
		cmocka_unit_test(test_a_burst_of_a_hundred_recipients_keeps_order_and_time),
		cmocka_unit_test(test_round_trips_of_a_hand_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
