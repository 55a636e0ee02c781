/*
 * test_limits.c - limits of sources and room for known clients, with whole workers in virtual time; the crowd are models (model.h), a host
 * each of a network of its own.
 */
#include "tests/check.h"
#include "tests/sim/model.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

#include "dataplane/base/bug.h"
#include "dataplane/worker/worker_impl.h"

#define CROWD          24
#define SECOND         UINT64_C(1000000)
#define KNOWN4         "198.18.0.11"
#define SLOTS          64
#define MINUTE         (60 * SECOND)
#define CLIENT_NETWORK "198.18.0.0/24"

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */
static struct model_host crowd[CROWD];
static uint32_t n_crowd;

/* The wan port has an address in 198.19.0.0/16 besides: who connects from there is of a /24 of his own. */
static void
conf(void)
{
	struct conf_port *p;

	scene_conf(&s);
	p = &s.config.port[0];
	assert_int_equal(ip_addr_parse("198.19.0.2", &p->addr[p->n_addrs].addr), 0);
	p->addr[p->n_addrs++].prefix_bits = 96 + 16;
	n_crowd = 0;
}

static void
start(uint32_t workers)
{
	scene_start(&s, 1, workers, clean);
	scene_settle(&s);
}

static void
end(void)
{
	for (uint32_t i = 0; i < n_crowd; i++) {
		model_crash(&crowd[i]);
		model_host_fini(&crowd[i]);
	}
	scene_end(&s);
}

static uint32_t
sessions(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s.config.conf.workers; i++)
		n += worker_sessions(sim_worker(s.sim, i));
	return n;
}

/* Opens a connection and says what it was told: a code, 0 where nothing came in five seconds. */
static int
greeting(struct sim_conn **c)
{
	*c = scene_open(&s, CLIENT4, GATEWAY4);
	return atoi(s.reply);
}

static void
crowd_join(uint32_t n)
{
	for (; n_crowd < n; n_crowd++) {
		char ip4[32], ip6[48];
		struct model_host *h = &crowd[n_crowd];

		snprintf(ip4, sizeof(ip4), "198.19.%u.7", n_crowd + 1);
		snprintf(ip6, sizeof(ip6), "2001:db8:0:1::1:%u", n_crowd + 1);
		h->habits = (struct model_habits){ .mss = 1400,
			.ts = true,
			.sack = true,
			.wscale = 5,
			.window = 65535,
			.seg_max = 1400,
			.rto_us = 400000 };
		model_host_init(h, s.sim, 0, ip4, ip6, 100 + n_crowd);
	}
}

/* Every member of the crowd opens so many, and says nothing. */
static void
crowd_connects(uint32_t each)
{
	for (uint32_t k = 0; k < each; k++) {
		for (uint32_t i = 0; i < n_crowd; i++)
			(void)model_connect(&crowd[i], false, GATEWAY4, 25);
		sim_run(s.sim, SECOND / 10);
	}
}

static void
test_rate_of_an_address(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.limits_client_rate = 6;
	start(1);
	for (uint32_t i = 0; i < 6; i++) {
		CHECK_EQ("a minute's worth at once", greeting(&c), 220);
		scene_quit(&s, c);
	}
	CHECK_EQ("then 421", greeting(&c), 421);
	CHECK_TRUE("its words", strstr(s.reply, "gw.example Too many connections from your address") != NULL);
	sim_close(c);
	sim_run(s.sim, 10 * SECOND);
	CHECK_EQ("one more when it is paid for", greeting(&c), 220);
	scene_quit(&s, c);
	CHECK_EQ("and no second", greeting(&c), 421);
	sim_close(c);
	sim_run(s.sim, 2 * SECOND);
	CHECK_EQ("counted by reason", scene_count(&s, CTR_worker_over_client_rate), 2);
	CHECK_EQ("and in sum", scene_count(&s, CTR_worker_over_limit), 2);
	CHECK_TRUE("a line names client and reason",
		strstr(fake_control_find(&s.control, "connections refused by limits"), "client=" CLIENT4) != NULL &&
			strstr(fake_control_find(&s.control, "connections refused by limits"),
				"reason=over_client_rate") != NULL);
	end();
}

static void
test_rate_of_a_network(void **state)
{
	struct sim_conn *c;
	uint32_t refused = 0;

	(void)state;
	conf();
	s.config.conf.limits_network_rate = 5;
	start(1);
	for (uint32_t i = 0; i < 8; i++) {
		c = scene_open(&s, i % 2 == 0 ? CLIENT4 : CLIENT4, GATEWAY4);
		refused += atoi(s.reply) == 421;
		sim_close(c);
	}
	CHECK_EQ("three too many", refused, 3);
	CHECK_EQ("counted", scene_count(&s, CTR_worker_over_network_rate), 3);
	end();
}

/* Refusals in the thousands are a line a second, which counts them. */
static void
test_refusals_are_a_line_a_second(void **state)
{
	struct sim_conn *c;
	uint32_t before;

	(void)state;
	conf();
	s.config.conf.limits_client_rate = 1;
	start(1);
	CHECK_EQ("one", greeting(&c), 220);
	before = s.control.n_log;
	for (uint32_t i = 0; i < 200; i++) {
		sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		sim_run(s.sim, 20000);
	}
	sim_run(s.sim, 2 * SECOND);
	CHECK_TRUE("most were refused", scene_count(&s, CTR_worker_over_client_rate) >= 195);
	CHECK_TRUE("lines of refusals and nothing more than those of sessions", s.control.n_log - before <= 200 + 8);
	CHECK_TRUE(
		"it counts", strstr(fake_control_find(&s.control, "connections refused by limits"), "count=") != NULL);
	end();
}

static void
test_silence_answers_no_syn(void **state)
{
	struct sim_conn *a, *c;

	(void)state;
	conf();
	s.config.conf.client_sessions_max = 1;
	s.config.conf.limits_answer = LIMITS_ANSWER_SILENCE;
	start(1);
	CHECK_EQ("first", greeting(&a), 220);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, 5 * SECOND);
	CHECK_EQ("no SYN-ACK", scene_count(&s, CTR_tcp_accepted), 1);
	CHECK_TRUE("ignored, and asked again", scene_count(&s, CTR_worker_syn_ignored) >= 2);
	CHECK_EQ("no session", scene_count(&s, CTR_worker_sessions_begun), 1);
	scene_quit(&s, a);
	sim_run(s.sim, 10 * SECOND);
	CHECK_EQ("its next SYN finds room", scene_count(&s, CTR_tcp_accepted), 2);
	sim_close(c);
	end();
}

/* SYNs forged in somebody's name cost him nothing: only whole handshakes count. */
static void
test_forged_syns_shut_nobody_out(void **state)
{
	static const uint8_t gateway[16] = { [10] = 0xff, [11] = 0xff, 198, 18, 0, 2 };
	static const uint8_t victim[16] = { [10] = 0xff, [11] = 0xff, 198, 18, 0, 10 };
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.limits_client_rate = 3;
	s.config.conf.limits_answer = LIMITS_ANSWER_SILENCE;
	start(1);
	crowd_join(1);
	for (uint32_t i = 0; i < 500; i++) {
		model_forge(&crowd[0], victim, (uint16_t)(2000 + i), gateway, 25, i * 77777, 0, 2, 0);
		sim_run(s.sim, 1000);
	}
	CHECK_EQ("he gets in", greeting(&c), 220);
	scene_quit(&s, c);
	CHECK_EQ("nothing refused", scene_count(&s, CTR_worker_over_limit), 0);
	end();
}

/* Connections land on any worker: the limit is theirs together. */
static void
test_workers_keep_one_limit_together(void **state)
{
	struct sim_conn *c[12];
	uint32_t in = 0, workers = 0;

	(void)state;
	conf();
	s.config.conf.workers = 3;
	s.config.conf.client_sessions_max = 5;
	start(3);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		in += greeting(&c[i]) == 220;
	CHECK_EQ("five of twelve", in, 5);
	for (uint32_t i = 0; i < 3; i++)
		workers += worker_sessions(sim_worker(s.sim, i)) > 0;
	CHECK_TRUE("on more than one worker", workers > 1);
	for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
		sim_close(c[i]);
	sim_run(s.sim, 10 * SECOND);
	CHECK_EQ("all gone", sessions(), 0);
	CHECK_EQ("room again", greeting(&c[0]), 220);
	end();
}

static void
test_known_clients_are_exempt_as_configured(void **state)
{
	static const struct {
		const char *label;
		uint8_t known;
		int by_rate, by_sessions;
	} rows[] = {
		{ "limited", LIMITS_KNOWN_LIMITED, 421, 421 },
		{ "of rates", LIMITS_KNOWN_RATE_EXEMPT, 220, 421 },
		{ "of all", LIMITS_KNOWN_EXEMPT, 220, 220 },
	};
	struct sim_conn *c, *held[3];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		conf();
		s.config.client_allow = CLIENT_NETWORK;
		s.config.conf.limits_known_clients = rows[i].known;
		s.config.conf.limits_client_rate = 3;
		s.config.conf.client_sessions_max = 3;
		start(1);
		for (uint32_t k = 0; k < 3; k++) {
			CHECK_EQ(rows[i].label, greeting(&c), 220);
			scene_quit(&s, c);
		}
		sim_run(s.sim, 2 * SECOND);
		CHECK_EQ(rows[i].label, greeting(&c), rows[i].by_rate);
		sim_close(c);
		sim_run(s.sim, 5 * MINUTE);
		for (uint32_t k = 0; k < 3; k++)
			CHECK_EQ(rows[i].label, greeting(&held[k]), 220);
		sim_run(s.sim, MINUTE);
		CHECK_EQ(rows[i].label, greeting(&c), rows[i].by_sessions);
		end();
	}
}

/* Sessions that say nothing, from many networks: they get the strangers' share and not a slot more, and known clients come in at once. */
static void
test_strangers_leave_room_for_known_clients(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.sessions = SLOTS;
	s.config.conf.limits_reserve_percent = 50;
	s.config.client_allow = CLIENT_NETWORK;
	start(1);
	crowd_join(CROWD);
	crowd_connects(8);
	CHECK_TRUE("everybody of the crowd has a slot", sessions() >= CROWD);
	CHECK_TRUE("and no more", sessions() <= SLOTS / 2);
	for (uint32_t i = 0; i < 100; i++) {
		CHECK_EQ("a known client is greeted", greeting(&c), 220);
		scene_quit(&s, c);
		sim_run(s.sim, SECOND / 4);
		if (i % 10 == 0)
			crowd_connects(1);
	}
	CHECK_TRUE("strangers were refused",
		scene_count(&s, CTR_worker_over_share) + scene_count(&s, CTR_worker_strangers_full) > 50);
	end();
}

/* Without the reserve nothing is kept. */
static void
test_no_reserve_keeps_no_room(void **state)
{
	(void)state;
	conf();
	s.config.conf.sessions = SLOTS;
	s.config.conf.limits_reserve_percent = 0;
	start(1);
	crowd_join(1);
	crowd_connects(20);
	CHECK_EQ("nor is there a share of a source", sessions(), 20);
	crowd_join(CROWD);
	crowd_connects(8);
	CHECK_TRUE("all slots are strangers'", sessions() > SLOTS * 3 / 4);
	end();
}

/* A few sources that take all they can leave room for a stranger who wants one. */
static void
test_few_sources_leave_room_for_another_stranger(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.sessions = SLOTS;
	s.config.conf.limits_reserve_percent = 50;
	start(1);
	crowd_join(4);
	crowd_connects(30);
	CHECK_TRUE("they were stopped by their share", scene_count(&s, CTR_worker_over_share) > 50);
	CHECK_TRUE("half of the strangers' slots are left", sessions() <= SLOTS / 4 + 2);
	for (uint32_t i = 0; i < 20; i++) {
		CHECK_EQ("a stranger is greeted", greeting(&c), 220);
		scene_quit(&s, c);
		crowd_connects(1);
	}
	end();
}

/* While slots are short, who has come to nothing in 20 s gives his to the next; at rest he has the command time-out. */
static void
test_idle_strangers_give_way_when_slots_are_short(void **state)
{
	struct sim_conn *alone;

	(void)state;
	conf();
	s.config.conf.sessions = 40; /* 20 for strangers */
	s.config.conf.limits_reserve_percent = 50;
	start(1);
	CHECK_EQ("a quiet stranger", greeting(&alone), 220);
	sim_run(s.sim, 100 * SECOND);
	CHECK_EQ("is left alone", sessions(), 1);
	CHECK_EQ("nobody gave way", scene_count(&s, CTR_worker_gave_way), 0);
	crowd_join(CROWD);
	crowd_connects(3);
	CHECK_EQ("then slots are short", scene_reply(&s, alone), 421);
	CHECK_TRUE("its words", strstr(s.reply, "Too busy") != NULL);
	CHECK_TRUE("the crowd has slots", sessions() >= 16);
	sim_run(s.sim, 40 * SECOND);
	CHECK_TRUE("who stays silent gives way to those who still ask", scene_count(&s, CTR_worker_gave_way) >= 5);
	end();
}

/* He who is known came while nobody was asked who he is: he keeps his slot all the same, however short they are. */
static void
test_known_clients_do_not_give_way(void **state)
{
	struct sim_conn *known;

	(void)state;
	conf();
	s.config.conf.sessions = 40;
	s.config.conf.limits_reserve_percent = 50;
	s.config.client_allow = CLIENT_NETWORK;
	start(1);
	CHECK_EQ("a quiet client who is known", greeting(&known), 220);
	CHECK_EQ("was not asked", sim_worker(s.sim, 0)->admission.n_strangers, 1);
	crowd_join(CROWD);
	crowd_connects(3);
	CHECK_TRUE("slots are short", admission_mark(sim_worker(s.sim, 0), MARK_slots));
	sim_run(s.sim, 60 * SECOND);
	CHECK_TRUE("strangers gave way", scene_count(&s, CTR_worker_gave_way) >= 5);
	CHECK_EQ("he was asked and stays", scene_chat(&s, known, "NOOP"), 250);
	scene_quit(&s, known);
	end();
}

/* The last line of a banner has come; the pause teases with a first one. */
static bool
was_greeted(const struct sim_conn *c)
{
	return c->in_octets > 4 && memmem(c->in, c->in_octets, "220 ", 4) != NULL;
}

/* The mark of slots: no greet pause while it is reached, and again when it is over. */
static void
test_short_of_slots_nobody_waits_for_the_banner(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.sessions = SLOTS;
	s.config.conf.limits_reserve_percent = 50;
	s.config.conf.greet_pause_ms = 3000;
	start(1);
	crowd_join(CROWD);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, 2 * SECOND);
	CHECK_TRUE("at rest a stranger waits", !was_greeted(c));
	sim_abort(c);
	crowd_connects(4);
	CHECK_EQ("reached once", scene_count(&s, CTR_mark_slots), 1);
	CHECK_TRUE("told", marks_on(sim_segment(s.sim)->live->marks[0], MARK_slots));
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	for (uint32_t i = 0; i < 300 && !c->connected; i++) /* whoever gives way makes room for him */
		sim_run(s.sim, SECOND / 10);
	sim_run(s.sim, SECOND);
	CHECK_TRUE("then he does not", was_greeted(c));
	sim_abort(c);
	for (uint32_t i = 0; i < n_crowd; i++)
		model_crash(&crowd[i]);
	sim_run(s.sim, 10 * MINUTE);
	CHECK_EQ("it is over", sim_segment(s.sim)->live->marks[0], 0);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, 2 * SECOND);
	CHECK_TRUE("he waits again", !was_greeted(c));
	sim_abort(c);
	end();
}

/* Buffers nobody gives back; so many stay free, and a turn has seen it. */
static struct buf *hog[65536];
static uint32_t n_hog;

static uint32_t
leave(uint32_t n_free)
{
	struct worker *w = sim_worker(s.sim, 0);
	uint8_t *data;

	while (buf_available(w->io->pool) > n_free) {
		BUG_ON(n_hog == ARRAY_LEN(hog));
		hog[n_hog] = buf_alloc(w->io->pool, 100, &data);
		n_hog++;
	}
	while (n_hog > 0 && buf_available(w->io->pool) < n_free)
		buf_unref(w->io->pool, hog[--n_hog]);
	for (uint32_t turn = 0; turn < 2;
		turn++) /* tcp judges at the end of a turn that has no segment, the worker tells in the next */
		sim_run(s.sim, SECOND / 20);
	return w->io->pool->n_bufs;
}

/* The mark of buffers that strangers meet, last of all: their SYNs are not answered, who is known is served. */
static void
test_short_of_buffers_strangers_are_not_answered(void **state)
{
	struct sim_conn *c;
	uint32_t n;

	(void)state;
	conf();
	s.config.conf.limits_reserve_percent = 50;
	s.config.client_allow = CLIENT_NETWORK;
	start(1);
	crowd_join(4);
	n = leave(UINT32_MAX);
	leave(n * 4 / MARK_WHOLE + 8);
	crowd_connects(1);
	CHECK_EQ("at the edge they get in", sessions(), 4);
	CHECK_EQ("nobody was refused", scene_count(&s, CTR_worker_strangers_no_buffers), 0);
	leave(n * 4 / MARK_WHOLE - 8);
	CHECK_TRUE("told", marks_on(sim_segment(s.sim)->live->marks[0], MARK_strangers));
	crowd_connects(1);
	CHECK_EQ("below they do not", sessions(), 4);
	CHECK_TRUE("refused, counted", scene_count(&s, CTR_worker_strangers_no_buffers) >= 4);
	CHECK_EQ("by silence", scene_count(&s, CTR_worker_syn_ignored),
		scene_count(&s, CTR_worker_strangers_no_buffers));
	CHECK_EQ("who is known is greeted", greeting(&c), 220);
	scene_quit(&s, c);
	leave(n * 6 / MARK_WHOLE - 8);
	CHECK_TRUE("it stays until there is more", admission_mark(sim_worker(s.sim, 0), MARK_strangers));
	leave(n * 6 / MARK_WHOLE + 8);
	CHECK_TRUE("over", !admission_mark(sim_worker(s.sim, 0), MARK_strangers));
	sim_run(s.sim, 5 * SECOND);
	CHECK_EQ("their next SYNs are answered", sessions(), 8);
	CHECK_EQ("reached once", scene_count(&s, CTR_mark_strangers), 1);
	leave(UINT32_MAX);
	end();
}

/* Who passed the greylist is no stranger any more, and frees the stranger's slot he came with. */
static void
test_who_passes_is_no_stranger_any_more(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.sessions = SLOTS;
	s.config.conf.limits_reserve_percent = 50;
	s.config.conf.grey_block_s = 5;
	start(1);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("greylisted", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
	CHECK_EQ("holds a stranger's slot", sim_worker(s.sim, 0)->admission.n_strangers, 1);
	CHECK_EQ("postmaster is reached by strangers too", scene_chat(&s, c, "RCPT TO:<postmaster@example.org>"), 250);
	CHECK_EQ("and stays one", sim_worker(s.sim, 0)->admission.n_strangers, 1);
	scene_chat(&s, c, "RSET");
	sim_run(s.sim, 6 * SECOND);
	CHECK_EQ("passes", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("gives it back", sim_worker(s.sim, 0)->admission.n_strangers, 0);
	scene_quit(&s, c);
	crowd_join(CROWD);
	crowd_connects(8);
	for (uint32_t i = 0; i < 20; i++) {
		CHECK_EQ("he is greeted in any crowd", greeting(&c), 220);
		scene_quit(&s, c);
	}
	end();
}

/* A data plane that was killed leaves no sessions in the table of sources. */
static void
test_a_kill_forgets_sessions_and_keeps_rates(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.client_sessions_max = 2;
	s.config.conf.limits_client_rate = 4;
	start(1);
	CHECK_EQ("one", greeting(&c), 220);
	CHECK_EQ("two", greeting(&c), 220);
	CHECK_EQ("three is too many", greeting(&c), 421);
	sim_kill_gateway(s.sim);
	sim_run(s.sim, SECOND);
	CHECK_EQ("room for two", greeting(&c), 220);
	CHECK_EQ("again", greeting(&c), 220);
	CHECK_EQ("but four have come in this minute", greeting(&c), 421);
	CHECK_TRUE("counted as the rate or the sessions", scene_count(&s, CTR_worker_over_limit) >= 2);
	end();
}

/* --- each clause of who is let in --- */

/* As many as one source gets with so many workers of SLOTS each; sessions and network_sessions as configured, 0: no limit. */
static uint32_t
one_source_gets(uint32_t workers, uint32_t client_sessions)
{
	uint32_t n;

	conf();
	s.config.conf.sessions = SLOTS;
	s.config.conf.workers = workers;
	s.config.conf.limits_reserve_percent = 50;
	s.config.conf.client_sessions_max = client_sessions;
	s.config.conf.client_network_sessions_max = 0;
	start(workers);
	crowd_join(1);
	crowd_connects(40);
	sim_run(s.sim, SECOND);
	n = sessions();
	return n;
}

/* A quarter of what is left: k sessions of 32 slots until k is a quarter of 32 - k. */
static void
test_a_source_of_strangers_has_its_share(void **state)
{
	uint32_t n;

	(void)state;
	CHECK_EQ("a quarter of what is left, without another limit", one_source_gets(1, 0), 6);
	CHECK_TRUE("refused by its share", scene_count(&s, CTR_worker_over_share) > 20);
	CHECK_EQ("not by what nobody configured", scene_count(&s, CTR_worker_over_client_sessions), 0);
	end();
	CHECK_EQ("the same below a limit that is larger", one_source_gets(1, 30), 6);
	CHECK_TRUE("still its share", scene_count(&s, CTR_worker_over_share) > 20);
	CHECK_EQ("and not the limit", scene_count(&s, CTR_worker_over_client_sessions), 0);
	end();
	CHECK_EQ("a limit that is smaller", one_source_gets(1, 3), 3);
	CHECK_TRUE("by its name", scene_count(&s, CTR_worker_over_client_sessions) > 20);
	CHECK_EQ("and not as a share", scene_count(&s, CTR_worker_over_share), 0);
	end();
	n = one_source_gets(3, 0);
	CHECK_TRUE("of all workers together", n >= 18 && n <= 21);
	end();
}

/* The last slot of strangers is for one who has none, and none is for those beyond. */
static void
test_beyond_their_share_strangers_find_no_room(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.sessions = 32;
	s.config.conf.limits_reserve_percent = 50;
	s.config.client_allow = CLIENT_NETWORK;
	start(1);
	crowd_join(15);
	crowd_connects(1);
	CHECK_EQ("one each", sessions(), 15);
	crowd_connects(1);
	CHECK_EQ("the one that is left is nobody's second", sessions(), 15);
	crowd_join(CROWD);
	crowd_connects(1);
	CHECK_EQ("one more, and no more", sessions(), 16);
	CHECK_TRUE("counted", scene_count(&s, CTR_worker_strangers_full) >= CROWD - 16);
	CHECK_EQ("who is known is greeted", greeting(&c), 220);
	scene_quit(&s, c);
	end();
}

/* Slots that known clients have are left to nobody: a stranger's share is of those that are free. */
static void
test_known_clients_slots_are_nobodys_share(void **state)
{
	struct sim_conn *known[58];

	(void)state;
	conf();
	s.config.conf.sessions = SLOTS;
	s.config.conf.limits_reserve_percent = 50;
	s.config.client_allow = CLIENT_NETWORK;
	start(1);
	for (uint32_t i = 0; i < ARRAY_LEN(known); i++)
		CHECK_EQ("known", greeting(&known[i]), 220);
	crowd_join(1);
	crowd_connects(6);
	CHECK_EQ("one of the six that are free", sessions(), ARRAY_LEN(known) + 1);
	CHECK_TRUE("his share", scene_count(&s, CTR_worker_over_share) >= 5);
	end();
}

/* Who came first was not asked who he is, and counts as a stranger until somebody asks; from an eighth of the slots on each is asked. */
static void
test_who_is_known_is_asked_from_an_eighth_on(void **state)
{
	(void)state;
	conf();
	s.config.conf.sessions = SLOTS;
	s.config.conf.limits_reserve_percent = 50;
	s.config.client_allow = "198.19.0.0/16";
	start(1);
	crowd_join(CROWD);
	crowd_connects(1);
	CHECK_EQ("all are here", sessions(), CROWD);
	CHECK_EQ("and no more count as strangers", sim_worker(s.sim, 0)->admission.n_strangers, SLOTS / 8);
	end();
}

/* Who ends gives back what was counted for his address and his network, also when he rested meanwhile. */
static void
test_what_ends_is_given_back(void **state)
{
	struct sim_conn *c, *other;

	(void)state;
	conf();
	s.config.conf.client_sessions_max = 1;
	start(1);
	for (uint32_t i = 0; i < 3; i++) {
		const uint64_t rested = scene_count(&s, CTR_tcp_rested);

		CHECK_EQ("one", greeting(&c), 220);
		CHECK_EQ("no second", greeting(&other), 421);
		sim_close(other);
		sim_run(s.sim, 5 * SECOND);
		CHECK_TRUE("at rest", scene_count(&s, CTR_tcp_rested) > rested);
		scene_quit(&s, c);
		sim_run(s.sim, 5 * SECOND);
	}
	end();
	conf();
	s.config.conf.client_network_sessions_max = 1;
	start(1);
	for (uint32_t i = 0; i < 3; i++) {
		CHECK_EQ("one of the network", greeting(&c), 220);
		CHECK_EQ("no second", greeting(&other), 421);
		CHECK_EQ("by its name", scene_count(&s, CTR_worker_over_network_sessions), i + 1);
		sim_close(other);
		scene_quit(&s, c);
		sim_run(s.sim, 5 * SECOND);
	}
	end();
}

/* For explain: the refusals of an address and of its network. */
static void
test_refusals_are_noted_with_the_source(void **state)
{
	const struct ip_addr client = ip_addr_v4(0xc612000a), network = ip_addr_v4(0xc6120000);
	const struct source_table *t;
	struct sim_conn *a, *c;

	(void)state;
	conf();
	s.config.conf.client_sessions_max = 1;
	start(1);
	t = &sim_segment(s.sim)->sources;
	CHECK_EQ("one", greeting(&a), 220);
	for (uint32_t i = 0; i < 3; i++) {
		CHECK_EQ("no second", greeting(&c), 421);
		sim_close(c);
	}
	CHECK_EQ(
		"of the address", source_table_look(t, source_key_of(t, &client, false), sim_now_us(s.sim)).refused, 3);
	CHECK_EQ(
		"of the network", source_table_look(t, source_key_of(t, &network, true), sim_now_us(s.sim)).refused, 3);
	scene_quit(&s, a);
	end();
}

/* A source for which the table has no cell is let in and not counted, and leaves nothing of others'. */
static void
test_who_finds_no_cell_is_let_in(void **state)
{
	struct source_table *t;
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.client_sessions_max = 1;
	start(1);
	t = &sim_segment(s.sim)->sources;
	for (uint32_t i = 0; i < t->n_cells; i++)
		t->cells[i] = (struct source_cell){ .tag = UINT32_MAX, .sessions = 1 };
	for (uint32_t i = 0; i < 3; i++) {
		CHECK_EQ("in", greeting(&c), 220);
		CHECK_EQ("counted as not counted", scene_count(&s, CTR_worker_sources_full), i + 1);
	}
	scene_quit(&s, c);
	sim_run(s.sim, 5 * SECOND);
	for (uint32_t i = 0; i < t->n_cells; i++)
		if (t->cells[i].sessions != 1)
			CHECK_EQ("cells of others", t->cells[i].sessions, 1);
	end();
}

/* Of a trusted proxy's SYN nothing can be said before its header: with silence as the answer it is answered all the same. */
static void
test_a_proxys_syn_is_not_judged(void **state)
{
	struct sim_conn *c[3];
	struct conf_listener *l;

	(void)state;
	conf();
	s.config.conf.client_sessions_max = 1;
	s.config.conf.limits_answer = LIMITS_ANSWER_SILENCE;
	l = &s.config.listener[0];
	l->n_trusted = 1;
	assert_int_equal(ip_addr_parse("198.18.0.8", &l->trusted[0].addr), 0);
	l->trusted[0].prefix_bits = 96 + 29;
	start(1);
	for (uint32_t i = 0; i < 2; i++) { /* whom it speaks for has as many as he may */
		static const char header[] = "PROXY TCP4 198.18.0.10 198.18.0.2 4711 25\r\n";

		c[i] = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		scene_send_all(&s, c[i], header, sizeof(header) - 1);
		CHECK_EQ("told in words", scene_reply_within(&s, c[i], 5 * SECOND), i == 0 ? 220 : 421);
	}
	c[2] = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, SECOND);
	CHECK_TRUE("its next connection is taken", c[2]->connected);
	CHECK_EQ("no SYN was ignored", scene_count(&s, CTR_worker_syn_ignored), 0);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate_of_an_address),
		cmocka_unit_test(test_rate_of_a_network),
		cmocka_unit_test(test_refusals_are_a_line_a_second),
		cmocka_unit_test(test_silence_answers_no_syn),
		cmocka_unit_test(test_forged_syns_shut_nobody_out),
		cmocka_unit_test(test_workers_keep_one_limit_together),
		cmocka_unit_test(test_known_clients_are_exempt_as_configured),
		cmocka_unit_test(test_strangers_leave_room_for_known_clients),
		cmocka_unit_test(test_no_reserve_keeps_no_room),
		cmocka_unit_test(test_few_sources_leave_room_for_another_stranger),
		cmocka_unit_test(test_idle_strangers_give_way_when_slots_are_short),
		cmocka_unit_test(test_known_clients_do_not_give_way),
		cmocka_unit_test(test_short_of_slots_nobody_waits_for_the_banner),
		cmocka_unit_test(test_short_of_buffers_strangers_are_not_answered),
		cmocka_unit_test(test_who_passes_is_no_stranger_any_more),
		cmocka_unit_test(test_a_kill_forgets_sessions_and_keeps_rates),
		cmocka_unit_test(test_a_source_of_strangers_has_its_share),
		cmocka_unit_test(test_beyond_their_share_strangers_find_no_room),
		cmocka_unit_test(test_known_clients_slots_are_nobodys_share),
		cmocka_unit_test(test_who_is_known_is_asked_from_an_eighth_on),
		cmocka_unit_test(test_what_ends_is_given_back),
		cmocka_unit_test(test_refusals_are_noted_with_the_source),
		cmocka_unit_test(test_who_finds_no_cell_is_let_in),
		cmocka_unit_test(test_a_proxys_syn_is_not_judged),
	};

	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
