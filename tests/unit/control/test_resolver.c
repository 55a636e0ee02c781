/*
 * test_resolver.c - the resolver against a scripted server on loopback: everything a real one does, and what it should not do.
 */
#include "tests/unit/control/dns_play.h"

static void
test_resolver_reverse_dns(void **state)
{
	static const struct {
		const char *label, *client;
		enum ptr_state want;
		const char *ptr;
		bool complete;
	} rows[] = {
		{ "confirmed, by its second address", "192.0.2.1", PTR_CONFIRMED, "mail.example.org", true },
		{ "no PTR", "192.0.2.2", PTR_NONE, "", true },
		{ "a name that leads elsewhere", "192.0.2.3", PTR_UNCONFIRMED, "other.example.org", true },
		{ "SERVFAIL is not absence", "192.0.2.4", PTR_TEMPERR, "", false },
		{ "REFUSED is not absence", "192.0.2.5", PTR_TEMPERR, "", false },
		{ "silence is not absence", "192.0.2.6", PTR_TEMPERR, "", false },
		{ "an alias (RFC 2317)", "192.0.2.7", PTR_CONFIRMED, "alias.example.org", true },
		{ "a forward question that fails", "192.0.2.8", PTR_TEMPERR, "failing.example.org", false },
		{ "many names, the last one is right", "192.0.2.9", PTR_CONFIRMED, "n8.example.org", true },
		{ "more names than are looked at", "192.0.2.10", PTR_TEMPERR, "m1.example.org", true },
		{ "an answer with another id", "192.0.2.11", PTR_TEMPERR, "", false },
		{ "an answer to another question", "192.0.2.12", PTR_TEMPERR, "", false },
		{ "garbage", "192.0.2.13", PTR_TEMPERR, "", false },
		{ "truncated, then TCP", "192.0.2.14", PTR_CONFIRMED, "tcp.example.org", true },
		{ "a CNAME loop", "192.0.2.42", PTR_TEMPERR, "", false },
		{ "more octets than were offered: by TCP, within limits", "192.0.2.43", PTR_TEMPERR, "mail.example.org",
			true },
		{ "odd octets: a name, escaped, and never asked for", "192.0.2.44", PTR_UNCONFIRMED,
			"odd\\x20name\\x0a.example.org", true },
		{ "generic", "192.0.2.25", PTR_GENERIC, "192-0-2-25.dyn.example.net", true },
		{ "IPv6", "2001:db8::1", PTR_CONFIRMED, "six.example.org", true },
		{ "IPv6 without", "2001:db8::2", PTR_NONE, "", true },
	};
	struct bench b;

	(void)state;
	bench_start(&b, 60, "");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct resolver_result r =
			ask_for(&b, rows[i].client, 2000, true); /* the whole, not what is certain already */

		CHECK_EQ(rows[i].label, r.verdict.ptr_state, rows[i].want);
		CHECK_STR(rows[i].label, r.ptr, rows[i].ptr);
		CHECK_EQ(rows[i].label, r.complete, rows[i].complete);
		CHECK_EQ(rows[i].label, r.verdict.known, CLIENT_KNOWN);
		CHECK_EQ(rows[i].label, r.verdict.score, 0);
	}
	CHECK_EQ("TCP for the truncated and for the oversized one", b.server.tcp_questions, 2);
	bench_stop(&b);
}

static void
test_resolver_name_lists_take_confirmed_names_alone(void **state)
{
	static const struct {
		const char *label, *client;
		uint8_t want;
	} rows[] = {
		{ "below .google.com, confirmed", "192.0.2.20", NAME_LIST_ALLOW },
		{ "gle.com is not google.com", "192.0.2.21", NAME_LIST_NONE },
		{ "claimed, not confirmed", "192.0.2.22", NAME_LIST_NONE },
		{ "denied", "192.0.2.23", NAME_LIST_DENY },
		{ "notgoogle.com", "192.0.2.24", NAME_LIST_NONE },
		{ "on no list", "192.0.2.1", NAME_LIST_NONE },
	};
	struct bench b;

	(void)state;
	bench_start(&b, 60, "");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_EQ(rows[i].label, ask_for(&b, rows[i].client, 2000, false).verdict.name_list, rows[i].want);
	bench_stop(&b);
}

static void
test_resolver_zones(void **state)
{
	static const struct {
		const char *label, *client;
		int score;
		uint8_t zone;
		bool complete;
	} rows[] = {
		{ "not listed", "192.0.2.1", 0, ZONE_NONE, true },
		{ "listed", "192.0.2.30", 5, 0, true },
		{ "listed by two: the sum, and the heavier one's name", "192.0.2.31", 7, 0, true },
		{ "listed and allowed", "192.0.2.32", 2, 0, true },
		{ "127.255.255.254 is an error", "192.0.2.33", 0, ZONE_NONE, false },
		{ "127.0.0.1 is no listing", "192.0.2.34", 0, ZONE_NONE, false },
		{ "outside 127/8 is no listing", "192.0.2.35", 0, ZONE_NONE, false },
		{ "an allowlist that fails might have helped", "192.0.2.36", 2, 0, false },
	};
	struct bench b;

	(void)state;
	bench_start(&b, 60, "");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct resolver_result r = ask_for(&b, rows[i].client, 2000, true);

		CHECK_EQ(rows[i].label, r.verdict.score, rows[i].score);
		CHECK_EQ(rows[i].label, r.verdict.zone, rows[i].zone);
		CHECK_EQ(rows[i].label, r.complete, rows[i].complete);
		CHECK_EQ(rows[i].label, r.n_zones, 3);
	}
	CHECK_EQ("errors are counted", resolver_stats(b.resolver)->zone[0].errors, 3);
	CHECK_EQ("listings are counted", resolver_stats(b.resolver)->zone[0].listed, 4);
	bench_stop(&b);
}

static void
test_resolver_coalesces_and_caches(void **state)
{
	struct got g = { .wanted = 5 };
	struct resolver_result r;
	struct ip_addr addr;
	struct bench b;
	unsigned asked;

	(void)state;
	bench_start(&b, 200, "");
	g.base = b.base;
	ip_addr_parse("192.0.2.1", &addr);
	for (int i = 0; i < 5; i++)
		resolver_ask(b.resolver, &addr, 2000, false, take, &g);
	run_ms(&b, 3000);
	CHECK_EQ("every session is answered", g.n, 5);
	asked = b.server.questions;
	CHECK_EQ("one PTR, one forward, three zones", asked, 5);
	CHECK_EQ("coalesced", resolver_stats(b.resolver)->coalesced, 4);
	CHECK_EQ("stored once", b.finished, 1);
	r = ask_for(&b, "192.0.2.1", 2000, false);
	CHECK_TRUE("cached", r.cached && r.verdict.ptr_state == PTR_CONFIRMED);
	CHECK_STR("the name as well", r.ptr, "mail.example.org");
	CHECK_TRUE("by the SOA of the negative ones", r.ttl_s <= 90 && r.ttl_s > 80);
	CHECK_EQ("not asked again", b.server.questions, asked);
	r = ask_for(&b, "192.0.2.1", 2000, true);
	CHECK_TRUE("past the cache", !r.cached && b.server.questions == asked + 5);
	resolver_forget(b.resolver, &addr);
	ask_for(&b, "192.0.2.1", 2000, false);
	CHECK_EQ("forgotten", b.server.questions, asked + 10);
	for (unsigned i = 100; i < 140; i++) {
		char text[32];

		snprintf(text, sizeof(text), "192.0.2.%u", i);
		ask_for(&b, text, 2000, false);
	}
	CHECK_EQ("the cache has its cap", resolver_stats(b.resolver)->cached, 16);
	bench_stop(&b);
}

static uint64_t
mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Nobody waits beyond the deadline; what comes later is cached and stored all the same. */
static void
test_resolver_deadline_and_late_answers(void **state)
{
	struct resolver_result r;
	struct bench b;
	uint64_t began;

	(void)state;
	bench_start(&b, 2000, "");
	began = mono_ms();
	r = ask_for(&b, "192.0.2.40", 300, false);
	CHECK_TRUE("answered at the deadline", mono_ms() - began >= 290 && mono_ms() - began < LATE_MS);
	CHECK_EQ("decided with what is known", r.verdict.ptr_state, PTR_UNKNOWN);
	CHECK_TRUE("not complete", !r.complete);
	CHECK_EQ("late", resolver_stats(b.resolver)->late, 1);
	CHECK_EQ("not stored yet", b.finished, 0);
	run_ms(&b, LATE_MS + 300);
	CHECK_EQ("stored", b.finished, 1);
	CHECK_EQ("with the late answer", b.last_finished.verdict.ptr_state, PTR_CONFIRMED);
	r = ask_for(&b, "192.0.2.40", 300, false);
	CHECK_TRUE("cached", r.cached && r.verdict.ptr_state == PTR_CONFIRMED);
	bench_stop(&b);
}

/* Every resolver dead: bounded, then quick; and back by itself. */
static void
test_resolver_all_dead(void **state)
{
	struct resolver_result r;
	struct bench b;
	uint64_t began;

	(void)state;
	bench_start(&b, 50, "");
	b.server.dead = true;
	for (unsigned i = 0; i < 12 && !resolver_stats(b.resolver)->down; i++) {
		char text[32];

		snprintf(text, sizeof(text), "192.0.2.%u", 100 + i);
		began = mono_ms();
		r = ask_for(&b, text, 2000, false);
		CHECK_TRUE("within the deadline", mono_ms() - began < 2000);
		CHECK_EQ("never absence", r.verdict.ptr_state == PTR_NONE, 0);
		CHECK_EQ("no score", r.verdict.score, 0);
		run_ms(&b, 120);
	}
	CHECK_TRUE("noticed", resolver_stats(b.resolver)->down);
	began = mono_ms();
	r = ask_for(&b, "192.0.2.200", 2000, false);
	CHECK_TRUE("at once", mono_ms() - began < 20);
	CHECK_EQ("decided without", r.verdict.known, CLIENT_LATE);
	CHECK_TRUE("counted", resolver_stats(b.resolver)->refused > 0);
	b.server.dead = false;
	for (unsigned i = 0; i < 40 && resolver_stats(b.resolver)->down; i++)
		run_ms(&b, 100);
	CHECK_TRUE("back by itself", !resolver_stats(b.resolver)->down);
	CHECK_EQ("asks again", ask_for(&b, "192.0.2.1", 2000, false).verdict.ptr_state, PTR_CONFIRMED);
	bench_stop(&b);
}

static void
test_resolver_fails_over_to_the_next(void **state)
{
	char more[64];
	struct bench b;
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int silent = socket(AF_INET, SOCK_DGRAM, 0);

	(void)state;
	assert_int_equal(bind(silent, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(silent, (struct sockaddr *)&addr, &len), 0);
	snprintf(more, sizeof(more), ", \"127.0.0.1:%u\"", ntohs(addr.sin_port));
	bench_start(&b, 60, more);
	CHECK_EQ("one of two is silent", ask_for(&b, "192.0.2.1", 2000, false).verdict.ptr_state, PTR_CONFIRMED);
	CHECK_EQ("zones too", ask_for(&b, "192.0.2.31", 2000, true).verdict.score, 7);
	bench_stop(&b);
	close(silent);
}

static void
test_resolver_in_flight_is_bounded(void **state)
{
	struct got g = { .wanted = 20 };
	struct bench b;

	(void)state;
	bench_start(&b, 100, "");
	g.base = b.base;
	for (unsigned i = 0; i < 20; i++) {
		struct ip_addr addr = ip_addr_v4(V4(192, 0, 2, 100 + i));

		resolver_ask(b.resolver, &addr, 2000, false, take, &g);
	}
	CHECK_EQ("beyond the cap: answered at once", g.n, 12);
	CHECK_EQ("without", g.result.verdict.known, CLIENT_LATE);
	CHECK_EQ("in flight", resolver_stats(b.resolver)->in_flight, 8);
	run_ms(&b, 3000);
	CHECK_EQ("all", g.n, 20);
	CHECK_EQ("none left", resolver_stats(b.resolver)->in_flight, 0);
	CHECK_EQ("nobody waits", resolver_stats(b.resolver)->waiters, 0);
	bench_stop(&b);
}

/* A new configuration while questions are out: they end by the old one; the next ask by the new. And an end with questions out. */
static void
test_resolver_changes_under_way(void **state)
{
	struct got g = { .wanted = 1 };
	struct config *other;
	struct ip_addr addr;
	struct bench b;

	(void)state;
	bench_start(&b, 300, "");
	g.base = b.base;
	ip_addr_parse("192.0.2.31", &addr);
	resolver_ask(b.resolver, &addr, 2000, false, take, &g);
	other = make_config(b.server.port, 300, "");
	other->n_zones = 1;
	CHECK_EQ("configured", resolver_configure(b.resolver, other), 0);
	config_free(b.config);
	b.config = other;
	if (g.n == 0)
		run_ms(&b, 3000);
	CHECK_EQ("by the old zones", g.result.verdict.score, 7);
	CHECK_EQ("by the new zones", ask_for(&b, "192.0.2.31", 2000, true).verdict.score, 5);
	run_ms(&b, 1100);
	b.server.dead = true;
	g.base = NULL;
	g.n = 0;
	for (unsigned i = 0; i < 5; i++) {
		addr = ip_addr_v4(V4(192, 0, 2, 100 + i));
		resolver_ask(b.resolver, &addr, 2000, false, take, &g);
	}
	bench_stop(&b);
	CHECK_EQ("the end answers everybody", g.n, 5);
}

static enum zone_standing
standing(struct bench *b, uint32_t zone, enum zone_family f)
{
	return zone_health_standing(resolver_zone_health(b->resolver, zone), f, 0);
}

/* PITFALLS 40: dead lists list everything or nothing, blocked resolvers get errors. Healed, they come back. */
static void
test_resolver_zone_that_fails_its_test_points_never_counts(void **state)
{
	static const struct {
		const char *label;
		enum zones zones;
		enum zone_standing want;
	} rows[] = {
		{ "lists everything", LIST_EVERYTHING, ZONE_STANDING_LISTS_EVERYTHING },
		{ "lists nothing", LIST_NOTHING, ZONE_STANDING_LISTS_NOTHING },
		{ "answers errors", ANSWER_ERRORS, ZONE_STANDING_ANSWERS_ERRORS },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct resolver_result r;
		struct bench b;

		bench_open(&b, 60, "", rows[i].zones, false);
		CHECK_EQ(rows[i].label, standing(&b, 0, ZONE_V4), rows[i].want);
		CHECK_EQ("another zone of the same resolver", standing(&b, 1, ZONE_V4), ZONE_STANDING_ACTIVE);
		r = ask_for(&b, "192.0.2.30", 2000, false);
		CHECK_EQ(rows[i].label, r.verdict.score, 0);
		CHECK_EQ("not asked", resolver_stats(b.resolver)->zone[0].asked, 0);
		r = ask_for(&b, "192.0.2.30", 2000, true);
		CHECK_EQ("asked for the operator, but not counted", r.verdict.score, 0);
		CHECK_EQ("shown", r.zone[0].n_addrs > 0, rows[i].zones != LIST_NOTHING);
		CHECK_TRUE("says so", !r.zone[0].counts);
		b.server.zones = AS_RULED;
		resolver_prove(b.resolver);
		settle(&b);
		CHECK_EQ("healed", standing(&b, 0, ZONE_V4), ZONE_STANDING_ACTIVE);
		CHECK_EQ("counts again", ask_for(&b, "192.0.2.30", 2000, true).verdict.score, 5);
		b.server.zones = rows[i].zones;
		resolver_prove(b.resolver);
		settle(&b);
		CHECK_EQ("and out again at the next proof", standing(&b, 0, ZONE_V4), rows[i].want);
		b.server.dead = true;
		resolver_prove(b.resolver);
		settle(&b);
		CHECK_EQ("silence changes no standing", standing(&b, 0, ZONE_V4), rows[i].want);
		bench_stop(&b);
	}
}

static void
test_resolver_that_invents_turns_zones_off(void **state)
{
	struct resolver_result r;
	struct bench b;

	(void)state;
	bench_open(&b, 60, "", AS_RULED, true);
	CHECK_TRUE("noticed", resolver_stats(b.resolver)->zones_off && resolver_stats(b.resolver)->server[0].inventing);
	r = ask_for(&b, "192.0.2.30", 2000, false);
	CHECK_EQ("no zone counts", r.verdict.score, 0);
	CHECK_EQ("no zone is asked",
		resolver_stats(b.resolver)->zone[0].asked + resolver_stats(b.resolver)->zone[1].asked, 0);
	CHECK_EQ("reverse DNS is", ask_for(&b, "192.0.2.1", 2000, false).verdict.ptr_state, PTR_CONFIRMED);
	b.server.invents = false;
	resolver_prove(b.resolver);
	settle(&b);
	CHECK_TRUE("noticed again", !resolver_stats(b.resolver)->zones_off);
	resolver_prove(b.resolver);
	settle(&b);
	CHECK_EQ("zones count", ask_for(&b, "192.0.2.30", 2000, true).verdict.score, 5);
	bench_stop(&b);
}

static void
test_resolver_inventing_one_is_passed_over(void **state)
{
	struct server liar;
	struct bench b;
	char more[64];
	struct event_base *base = event_base_new();

	(void)state;
	/* the second server runs on the bench's loop from its start */
	server_start(&liar, base);
	snprintf(more, sizeof(more), ", \"127.0.0.1:%u\"", liar.port);
	event_free(liar.readable);
	evconnlistener_free(liar.tcp);
	event_base_free(base);
	bench_start(&b, 60, more);
	liar.base = b.base;
	liar.invents = true;
	liar.n_clients = 0;
	liar.readable = event_new(b.base, liar.fd, EV_READ | EV_PERSIST, udp_readable, &liar);
	event_add(liar.readable, NULL);
	for (unsigned i = 0; i < 30; i++) { /* it was silent until now */
		run_ms(&b, 100);
		if (!resolver_stats(b.resolver)->server[1].down)
			break;
	}
	resolver_prove(b.resolver);
	settle(&b);
	CHECK_TRUE("one invents",
		resolver_stats(b.resolver)->server[1].inventing && !resolver_stats(b.resolver)->zones_off);
	for (unsigned i = 0; i < 6; i++) {
		CHECK_EQ("listed by the honest one", ask_for(&b, "192.0.2.30", 2000, true).verdict.score, 5);
		CHECK_EQ("not listed is not invented", ask_for(&b, "192.0.2.1", 2000, true).verdict.score, 0);
	}
	resolver_destroy(b.resolver);
	config_free(b.config);
	server_stop(&b.server);
	event_free(liar.readable);
	close(liar.fd);
	event_base_free(b.base);
}

static void
test_resolver_zone_of_ipv4_alone_is_not_asked_for_ipv6(void **state)
{
	struct resolver_result r;
	struct bench b;

	(void)state;
	bench_start(&b, 60, "");
	CHECK_EQ("knows IPv6", standing(&b, 0, ZONE_V6), ZONE_STANDING_ACTIVE);
	CHECK_EQ("IPv4 alone", standing(&b, 1, ZONE_V6), ZONE_STANDING_NO_FAMILY);
	r = ask_for(&b, "2001:db8::3", 2000, false);
	CHECK_EQ("the first counts, what the second would say does not", r.verdict.score, 5);
	CHECK_EQ("not asked", resolver_stats(b.resolver)->zone[1].asked, 0);
	CHECK_TRUE("that is no error", r.complete);
	bench_stop(&b);
}

static void
test_resolver_zone_that_lists_good_clients(void **state)
{
	struct bench b;

	(void)state;
	bench_start(&b, 60, "");
	b.all_good = true;
	for (unsigned i = 0; i < ZONE_SHARE_MIN - 1; i++)
		CHECK_EQ("counts so far",
			ask_for(&b, i % 2 == 0 ? "192.0.2.31" : "192.0.2.1", 2000, true).verdict.score,
			i % 2 == 0 ? 7 : 0);
	CHECK_EQ("too few to tell", standing(&b, 0, ZONE_V4), ZONE_STANDING_ACTIVE);
	ask_for(&b, "192.0.2.1", 2000, true);
	CHECK_EQ("not by one that is not listed", standing(&b, 0, ZONE_V4), ZONE_STANDING_LISTS_GOOD_CLIENTS);
	CHECK_EQ("counts no more", ask_for(&b, "192.0.2.31", 2000, true).verdict.score, 0);
	CHECK_EQ("an allowlist may list them", standing(&b, 2, ZONE_V4), ZONE_STANDING_ACTIVE);
	bench_stop(&b);
}

static void
test_resolver_disabled_zone(void **state)
{
	struct config *other;
	struct bench b;

	(void)state;
	bench_start(&b, 60, "");
	other = make_config(b.server.port, 60, "");
	snprintf(other->values.dnsbl_disabled, sizeof(other->values.dnsbl_disabled), "x bl2.example");
	CHECK_EQ("configured", resolver_configure(b.resolver, other), 0);
	CHECK_EQ("the other counts at once: its proof was taken over",
		ask_for(&b, "192.0.2.31", 2000, false).verdict.score, 5);
	CHECK_EQ("disabled, by its public name", standing(&b, 1, ZONE_V4), ZONE_STANDING_DISABLED);
	CHECK_EQ("not asked", resolver_stats(b.resolver)->zone[1].asked, 0);
	CHECK_EQ("enabled", resolver_configure(b.resolver, b.config), 0);
	settle(&b);
	CHECK_EQ("counts", ask_for(&b, "192.0.2.31", 2000, true).verdict.score, 7);
	config_free(other);
	bench_stop(&b);
}

/* A zone that fails while others answer is left alone; nobody waits for it, and others count. */
static void
test_resolver_zone_breaker(void **state)
{
	struct resolver_result r;
	struct bench b;

	(void)state;
	bench_start(&b, 60, "");
	for (unsigned i = 0; i < ZONE_FAILURES_MAX; i++)
		r = ask_for(&b, "192.0.2.45", 2000, true);
	CHECK_TRUE("an error, no listing", r.zone[0].state == ZONE_ERROR && r.verdict.score == 0);
	CHECK_TRUE("left alone", !zone_health_asks(resolver_zone_health(b.resolver, 0), ZONE_V4, mono_ms() * 1000));
	b.server.questions = 0;
	r = ask_for(&b, "192.0.2.31", 2000, false);
	CHECK_EQ("decided by the other", r.verdict.score, 2);
	CHECK_TRUE("that is not the whole", !r.complete && r.ttl_s == RESOLVER_TTL_ERROR_S);
	CHECK_TRUE("it comes back", zone_health_asks(resolver_zone_health(b.resolver, 0), ZONE_V4,
					    mono_ms() * 1000 + ZONE_OPEN_MIN_US + 1000));
	bench_stop(&b);
}

static void
test_resolver_refusing_one_fails_over(void **state)
{
	struct server other;
	struct bench b;
	char more[64];
	struct event_base *base = event_base_new();

	(void)state;
	server_start(&other, base);
	snprintf(more, sizeof(more), ", \"127.0.0.1:%u\"", other.port);
	event_free(other.readable);
	evconnlistener_free(other.tcp);
	event_base_free(base);
	bench_start(&b, 60, more);
	other.base = b.base;
	other.n_clients = 0;
	other.refuses = true;
	other.readable = event_new(b.base, other.fd, EV_READ | EV_PERSIST, udp_readable, &other);
	event_add(other.readable, NULL);
	for (unsigned i = 0; i < 30 && resolver_stats(b.resolver)->server[1].down; i++)
		run_ms(&b, 100);
	other.questions = 0;
	for (unsigned i = 0; i < 6; i++) {
		struct resolver_result r = ask_for(&b, "192.0.2.31", 2000, true);

		CHECK_TRUE("the other one knows", r.verdict.score == 7 && r.complete);
	}
	CHECK_TRUE("it was asked", other.questions > 0 && resolver_stats(b.resolver)->failovers > 0);
	resolver_destroy(b.resolver);
	config_free(b.config);
	server_stop(&b.server);
	event_free(other.readable);
	close(other.fd);
	event_base_free(b.base);
}

/* Refused whatever the missing PTR says: nobody waits for it. With a list of names to allow it could matter, so one waits. */
static void
test_resolver_answers_before_what_cannot_matter(void **state)
{
	struct resolver_result r;
	struct config *other;
	struct bench b;
	uint64_t began;

	(void)state;
	bench_start(&b, 2000, "");
	began = mono_ms();
	r = ask_for(&b, "192.0.2.41", 2000, false);
	CHECK_TRUE("a name could allow it", mono_ms() - began >= LATE_MS - 50 && r.verdict.score == 5);
	other = make_config(b.server.port, 2000, "");
	other->list[LIST_CLIENT_ALLOW_NAMES].n = other->list[LIST_CLIENT_DENY_NAMES].n = 0;
	other->n_zones = 1; /* no allowlist either */
	CHECK_EQ("configured", resolver_configure(b.resolver, other), 0);
	began = mono_ms();
	r = ask_for(&b, "192.0.2.41", 2000, false);
	CHECK_TRUE("nothing could", mono_ms() - began < LATE_MS - 50 && r.verdict.score == 5);
	CHECK_EQ("counted", resolver_stats(b.resolver)->early, 1);
	run_ms(&b, LATE_MS + 300);
	CHECK_TRUE("the whole is stored", b.last_finished.complete);
	other->list[LIST_CLIENT_ALLOW_NAMES].n = other->list[LIST_CLIENT_DENY_NAMES].n = 1;
	config_free(other);
	bench_stop(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resolver_zone_that_fails_its_test_points_never_counts),
		cmocka_unit_test(test_resolver_that_invents_turns_zones_off),
		cmocka_unit_test(test_resolver_inventing_one_is_passed_over),
		cmocka_unit_test(test_resolver_zone_of_ipv4_alone_is_not_asked_for_ipv6),
		cmocka_unit_test(test_resolver_zone_that_lists_good_clients),
		cmocka_unit_test(test_resolver_disabled_zone),
		cmocka_unit_test(test_resolver_zone_breaker),
		cmocka_unit_test(test_resolver_refusing_one_fails_over),
		cmocka_unit_test(test_resolver_answers_before_what_cannot_matter),
		cmocka_unit_test(test_resolver_reverse_dns),
		cmocka_unit_test(test_resolver_name_lists_take_confirmed_names_alone),
		cmocka_unit_test(test_resolver_zones),
		cmocka_unit_test(test_resolver_coalesces_and_caches),
		cmocka_unit_test(test_resolver_deadline_and_late_answers),
		cmocka_unit_test(test_resolver_all_dead),
		cmocka_unit_test(test_resolver_fails_over_to_the_next),
		cmocka_unit_test(test_resolver_in_flight_is_bounded),
		cmocka_unit_test(test_resolver_changes_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
