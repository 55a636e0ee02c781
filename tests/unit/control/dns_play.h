/*
 * dns_play.h - a scripted DNS server on loopback, and a resolver under test that asks it: everything a real one does, and what it should
 * not do. For one test file each: everything is static.
 */
#ifndef GREYLINE_TESTS_UNIT_CONTROL_DNS_PLAY_H
#define GREYLINE_TESTS_UNIT_CONTROL_DNS_PLAY_H

#include "tests/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control/resolver.h"
#include "tests/unit/control/dns_build.h"

enum how {
	OK,
	NXDOMAIN,
	SERVFAIL,
	REFUSED,
	SILENT,
	WRONG_ID,
	WRONG_QUESTION,
	GARBAGE,
	TRUNCATED,
	ALIAS,
	ALIAS_LOOP,
	OVERSIZED,
	LATE
};
/* what all zones do */
enum zones { AS_RULED, LIST_EVERYTHING, LIST_NOTHING, ANSWER_ERRORS };

struct rule {
	const char *name;
	uint16_t type;
	enum how how;
	const char *to[RESOLVER_PTR_NAMES_MAX + 4]; /* addresses or names */
};

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define LATE_MS        700

static const struct rule rules[] = {
	/* 192.0.2.1: a good client */
	{ "1.2.0.192.in-addr.arpa", DNS_PTR, OK, { "mail.example.org" } },
	{ "mail.example.org", DNS_A, OK, { "192.0.2.99", "192.0.2.1" } },
	/* .2: no PTR (by default NXDOMAIN); .3: a name that leads elsewhere; .4 .5 .6: errors */
	{ "3.2.0.192.in-addr.arpa", DNS_PTR, OK, { "other.example.org" } },
	{ "other.example.org", DNS_A, OK, { "198.51.100.1" } },
	{ "4.2.0.192.in-addr.arpa", DNS_PTR, SERVFAIL, { 0 } },
	{ "5.2.0.192.in-addr.arpa", DNS_PTR, REFUSED, { 0 } },
	{ "6.2.0.192.in-addr.arpa", DNS_PTR, SILENT, { 0 } },
	/* .7: the PTR by an alias (RFC 2317); .8: the forward question fails */
	{ "7.2.0.192.in-addr.arpa", DNS_PTR, ALIAS, { "7.0-127.2.0.192.in-addr.arpa", "alias.example.org" } },
	{ "alias.example.org", DNS_A, OK, { "192.0.2.7" } },
	{ "8.2.0.192.in-addr.arpa", DNS_PTR, OK, { "failing.example.org" } },
	{ "failing.example.org", DNS_A, SERVFAIL, { 0 } },
	/* .9: many names, the last within the limit is right; .10: more names than are asked for, none of them right */
	{ "9.2.0.192.in-addr.arpa", DNS_PTR, OK,
		{ "n1.example.org", "n2.example.org", "n3.example.org", "n4.example.org", "n5.example.org",
			"n6.example.org", "n7.example.org", "n8.example.org" } },
	{ "n8.example.org", DNS_A, OK, { "192.0.2.9" } },
	{ "10.2.0.192.in-addr.arpa", DNS_PTR, OK,
		{ "m1.example.org", "m2.example.org", "m3.example.org", "m4.example.org", "m5.example.org",
			"m6.example.org", "m7.example.org", "m8.example.org", "m9.example.org" } },
	/* .11 to .14: what an attacker or a broken server sends */
	{ "11.2.0.192.in-addr.arpa", DNS_PTR, WRONG_ID, { "mail.example.org" } },
	{ "12.2.0.192.in-addr.arpa", DNS_PTR, WRONG_QUESTION, { "mail.example.org" } },
	{ "13.2.0.192.in-addr.arpa", DNS_PTR, GARBAGE, { 0 } },
	{ "14.2.0.192.in-addr.arpa", DNS_PTR, TRUNCATED, { "tcp.example.org" } },
	{ "tcp.example.org", DNS_A, OK, { "192.0.2.14" } },
	/* .20 on: names of lists */
	{ "20.2.0.192.in-addr.arpa", DNS_PTR, OK, { "mx.google.com" } },
	{ "mx.google.com", DNS_A, OK, { "192.0.2.20" } },
	{ "21.2.0.192.in-addr.arpa", DNS_PTR, OK, { "gle.com" } },
	{ "gle.com", DNS_A, OK, { "192.0.2.21" } },
	{ "22.2.0.192.in-addr.arpa", DNS_PTR, OK, { "mx.google.com" } }, /* claims it, but it leads elsewhere */
	{ "23.2.0.192.in-addr.arpa", DNS_PTR, OK, { "bad.example.net" } },
	{ "bad.example.net", DNS_A, OK, { "192.0.2.23" } },
	{ "24.2.0.192.in-addr.arpa", DNS_PTR, OK, { "notgoogle.com" } },
	{ "notgoogle.com", DNS_A, OK, { "192.0.2.24" } },
	{ "25.2.0.192.in-addr.arpa", DNS_PTR, OK, { "192-0-2-25.dyn.example.net" } },
	{ "192-0-2-25.dyn.example.net", DNS_A, OK, { "192.0.2.25" } },
	/* zones: .30 listed, .31 listed by two, .32 and allowed, .33 error code, .34 not a listing, .35 outside 127/8, .36 the list fails */
	{ "30.2.0.192.bl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "31.2.0.192.bl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "31.2.0.192.key.bl2.example", DNS_A, OK, { "127.0.0.4" } },
	{ "32.2.0.192.bl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "32.2.0.192.wl.example", DNS_A, OK, { "127.0.5.2" } },
	{ "33.2.0.192.bl.example", DNS_A, OK, { "127.255.255.254" } },
	{ "34.2.0.192.bl.example", DNS_A, OK, { "127.0.0.1" } },
	{ "35.2.0.192.bl.example", DNS_A, OK, { "203.0.113.80" } },
	{ "36.2.0.192.bl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "36.2.0.192.wl.example", DNS_A, SERVFAIL, { 0 } },
	/* test points (RFC 5782): the first zone knows IPv6, too */
	{ "2.0.0.127.bl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "2.0.0.127.key.bl2.example", DNS_A, OK, { "127.0.0.2" } },
	{ "2.0.0.127.wl.example", DNS_A, OK, { "127.0.5.2" } },
	{ "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.key.bl2.example", DNS_A, OK,
		{ "127.0.0.2" } },
	/* .41: listed for certain, and its PTR comes late; .42: a CNAME loop; .43: larger than EDNS allows; .44: an octet that needs escaping */
	{ "41.2.0.192.bl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "41.2.0.192.in-addr.arpa", DNS_PTR, LATE, { "late.example.org" } },
	{ "42.2.0.192.in-addr.arpa", DNS_PTR, ALIAS_LOOP, { 0 } },
	{ "43.2.0.192.in-addr.arpa", DNS_PTR, OVERSIZED, { "mail.example.org" } },
	{ "44.2.0.192.in-addr.arpa", DNS_PTR, OK, { "odd name\n.example.org" } },
	{ "45.2.0.192.bl.example", DNS_A, SERVFAIL, { 0 } },
	/* lists of names: dbl.example, and hbl.example with a test point of its own */
	{ "test.dbl.example", DNS_A, OK, { "127.0.1.2" } },
	{ "spam.example.dbl.example", DNS_A, OK, { "127.0.1.2" } },
	{ "quota.example.dbl.example", DNS_A, OK, { "127.255.255.254" } },
	{ "odd.example.dbl.example", DNS_A, OK, { "127.0.1.255" } },
	{ "fails.example.dbl.example", DNS_A, SERVFAIL, { 0 } },
	{ "late.example.dbl.example", DNS_A, LATE, { "127.0.1.2" } },
	{ "point.hbl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "spam.example.hbl.example", DNS_A, OK, { "127.0.0.2" } },
	{ "spam.example.key.sure.example", DNS_A, OK, { "127.0.0.2" } },
	{ "test.key.sure.example", DNS_A, OK, { "127.0.0.2" } },
	/* who asks: as A, as a text, and an answer that is no address of anybody */
	{ "whoami.bl.example", DNS_A, OK, { "203.0.113.53" } },
	{ "whoami.bl.example", DNS_TXT, OK, { "resolver 203.0.113.53 seen" } },
	{ "whoami.dbl.example", DNS_TXT, OK, { "your resolver is 2001:db8::53, thank you" } },
	{ "whoami.dbl.example", DNS_A, OK, { "127.0.0.2" } },
	/* .40: later than the deadline of the test */
	{ "40.2.0.192.in-addr.arpa", DNS_PTR, LATE, { "late.example.org" } },
	{ "late.example.org", DNS_A, OK, { "192.0.2.40" } },
	/* 2001:db8::1 */
	{ "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", DNS_PTR, OK,
		{ "six.example.org" } },
	{ "six.example.org", DNS_AAAA, OK, { "2001:db8::1" } },
};

struct server {
	struct event_base *base;
	int fd;
	uint16_t port;
	struct event *readable;
	struct evconnlistener *tcp;
	bool dead;    /* swallows everything */
	bool refuses; /* SERVFAIL to everything */
	bool invents; /* an address for whatever does not exist */
	enum zones zones;
	unsigned questions, tcp_questions;
	struct bufferevent *client[8]; /* of TCP: ended with the server */
	unsigned n_clients;
};

struct late {
	struct server *s;
	struct event *timer;
	struct sockaddr_in to;
	struct dns_build b;
};

static void
put_ok(struct dns_build *b, const struct rule *r, const char *owner, unsigned from)
{
	for (unsigned i = from; i < ARRAY_LEN(r->to) && r->to[i] != NULL; i++) {
		struct ip_addr a;

		if (r->type == DNS_TXT) {
			uint8_t text[256];

			text[0] = (uint8_t)strlen(r->to[i]);
			memcpy(text + 1, r->to[i], text[0]);
			dns_record(b, DNS_AT_ANSWERS, owner, DNS_TXT, 600, text, text[0] + 1u);
		} else if (r->type == DNS_PTR) {
			dns_name_record(b, owner, DNS_PTR, 600, r->to[i]);
		} else if (ip_addr_parse(r->to[i], &a) == 0) {
			if (ip_addr_is_v4(&a))
				dns_a(b, owner, 600, ip_addr_to_v4(&a));
			else
				dns_record(b, DNS_AT_ANSWERS, owner, DNS_AAAA, 600, a.octet, 16);
		}
	}
}

/* The answer into b; false: none is sent. */
static bool
answer(struct server *s, const uint8_t *q, size_t n, bool tcp, struct dns_build *b, bool *later)
{
	char name[256] = "";
	size_t at = 12, len = 0;
	uint16_t id, type;
	const struct rule *r = NULL;

	*later = false;
	if (n < 17)
		return false;
	s->questions++;
	s->tcp_questions += tcp;
	id = (uint16_t)(q[0] << 8 | q[1]);
	while (at < n && q[at] != 0 && at + q[at] < n) {
		if (len > 0)
			name[len++] = '.';
		for (unsigned i = 0; i < q[at]; i++)
			name[len++] = (char)q[at + 1 + i];
		at += q[at] + 1u;
	}
	name[len] = '\0';
	type = (uint16_t)(q[at + 1] << 8 | q[at + 2]);
	if (s->dead)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		if (rules[i].type == type && strcasecmp(rules[i].name, name) == 0)
			r = &rules[i];
	if (s->refuses) {
		dns_begin(b, id, 0x8182, name, type);
		return true;
	}
	if (s->zones != AS_RULED && type == DNS_A &&
		(strstr(name, ".bl.example") != NULL || strstr(name, ".wl.example") != NULL ||
			strstr(name, ".dbl.example") != NULL)) {
		dns_begin(b, id, s->zones == LIST_NOTHING ? 0x8183 : 0x8180, name, type);
		if (s->zones != LIST_NOTHING)
			dns_a(b, name, 60,
				s->zones == LIST_EVERYTHING ? V4(127u, 0u, 0u, 2u) : V4(127u, 255u, 255u, 254u));
		return true;
	}
	if (r == NULL && s->invents && type == DNS_A) {
		dns_begin(b, id, 0x8180, name, type);
		dns_a(b, name, 60, V4(203u, 0u, 113u, 80u));
		return true;
	}
	if (r == NULL) {
		dns_begin(b, id, 0x8183, name, type);
		dns_soa(b, "example", 120, 90);
		return true;
	}
	switch (r->how) {
	case OK:
		dns_begin(b, id, 0x8180, name, type);
		put_ok(b, r, name, 0);
		return true;
	case NXDOMAIN:
		dns_begin(b, id, 0x8183, name, type);
		return true;
	case SERVFAIL:
		dns_begin(b, id, 0x8182, name, type);
		return true;
	case REFUSED:
		dns_begin(b, id, 0x8185, name, type);
		return true;
	case SILENT:
		return false;
	case WRONG_ID:
		dns_begin(b, (uint16_t)(id + 1), 0x8180, name, type);
		put_ok(b, r, name, 0);
		return true;
	case WRONG_QUESTION:
		dns_begin(b, id, 0x8180, "1.2.0.192.in-addr.arpa", type);
		put_ok(b, r, "1.2.0.192.in-addr.arpa", 0);
		return true;
	case GARBAGE:
		dns_begin(b, id, 0x8180, name, type);
		put_u16(b->m + DNS_AT_ANSWERS, 7);
		return true;
	case TRUNCATED:
		dns_begin(b, id, tcp ? 0x8180 : 0x8380, name, type);
		if (tcp)
			put_ok(b, r, name, 0);
		return true;
	case ALIAS:
		dns_begin(b, id, 0x8180, name, type);
		dns_name_record(b, name, DNS_CNAME, 600, r->to[0]);
		put_ok(b, r, r->to[0], 1);
		return true;
	case ALIAS_LOOP:
		dns_begin(b, id, 0x8180, name, type);
		dns_name_record(b, name, DNS_CNAME, 600, "loop.example.org");
		dns_name_record(b, "loop.example.org", DNS_CNAME, 600, name);
		return true;
	case OVERSIZED: /* beyond the 1232 octets that were offered, without TC */
		dns_begin(b, id, 0x8180, name, type);
		while (b->n < 3000)
			dns_name_record(b, name, DNS_PTR, 600, r->to[0]);
		return true;
	case LATE:
		dns_begin(b, id, 0x8180, name, type);
		put_ok(b, r, name, 0);
		*later = true;
		return true;
	}
	return false;
}

static void
send_late(evutil_socket_t fd, short what, void *arg)
{
	struct late *l = arg;

	(void)fd;
	(void)what;
	sendto(l->s->fd, l->b.m, l->b.n, 0, (struct sockaddr *)&l->to, sizeof(l->to));
	event_free(l->timer);
	free(l);
}

static void
udp_readable(evutil_socket_t fd, short what, void *arg)
{
	struct server *s = arg;
	uint8_t q[4096];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n;

	(void)what;
	while ((n = recvfrom(fd, q, sizeof(q), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len)) > 0) {
		static struct dns_build b;
		bool later;

		if (!answer(s, q, (size_t)n, false, &b, &later))
			continue;
		if (later) {
			const struct timeval tv = { .tv_usec = LATE_MS * 1000 };
			struct late *l = calloc(1, sizeof(*l));

			assert_non_null(l);
			l->s = s;
			l->to = from;
			l->b = b;
			l->timer = evtimer_new(s->base, send_late, l);
			event_add(l->timer, &tv);
			continue;
		}
		sendto(fd, b.m, b.n, 0, (struct sockaddr *)&from, from_len);
	}
}

static void
tcp_readable(struct bufferevent *bev, void *arg)
{
	uint8_t q[4096];
	size_t n = bufferevent_read(bev, q, sizeof(q));
	static struct dns_build b;
	uint8_t len[2];
	bool later;

	if (n > 2 && answer(arg, q + 2, n - 2, true, &b, &later)) {
		put_u16(len, (uint16_t)b.n);
		bufferevent_write(bev, len, 2);
		bufferevent_write(bev, b.m, b.n);
	}
}

static void
tcp_event(struct bufferevent *bev, short what, void *arg)
{
	(void)arg;
	if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0)
		bufferevent_disable(bev, EV_READ | EV_WRITE);
}

static void
tcp_accepted(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	struct server *s = arg;
	struct bufferevent *bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)l;
	(void)addr;
	(void)len;
	bufferevent_setcb(bev, tcp_readable, NULL, tcp_event, s);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	assert_true(s->n_clients < ARRAY_LEN(s->client));
	s->client[s->n_clients++] = bev;
}

static void
server_start(struct server *s, struct event_base *base)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);

	memset(s, 0, sizeof(*s));
	s->base = base;
	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&addr, &len), 0);
	s->port = ntohs(addr.sin_port);
	s->readable = event_new(base, s->fd, EV_READ | EV_PERSIST, udp_readable, s);
	event_add(s->readable, NULL);
	s->tcp = evconnlistener_new_bind(base, tcp_accepted, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 8,
		(struct sockaddr *)&addr, sizeof(addr));
	assert_non_null(s->tcp);
}

static void
server_stop(struct server *s)
{
	for (unsigned i = 0; i < s->n_clients; i++)
		bufferevent_free(s->client[i]);
	event_free(s->readable);
	evconnlistener_free(s->tcp);
	close(s->fd);
}

/* --- the resolver under test */

struct bench {
	struct event_base *base;
	struct server server;
	struct config *config;
	struct resolver *resolver;
	unsigned finished;
	bool all_good;
	struct resolver_result last_finished;
};

/* more: further resolvers, each after a comma; lists: further members of dnsbl. */
static struct config *
make_config_with(uint16_t port, unsigned timeout_ms, const char *more, const char *lists)
{
	struct config_errors errors = { 0 };
	struct config *c;
	char *text = NULL;

	assert_true(asprintf(&text,
			    "hostname = \"gw.example.org\";\n"
			    "ports = ( { name = \"wan\"; device = \"x\"; addresses = [ \"198.18.0.2/16\" ]; } );\n"
			    "pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = \"198.18.1.3\"; "
			    "client_address = \"none\"; } ); } );\n"
			    "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; domains = [ "
			    "\"example.org\" ]; pools = [ \"default\" ]; } );\n"
			    "dns = { resolvers = [ \"127.0.0.1:%u\"%s ]; timeout_ms = %u; tries = 2; deadline_ms = "
			    "2000; };\n"
			    "reverse_dns = { missing = \"nothing\"; };\n"
			    "dnsbl = { zones = ( { zone = \"bl.example\"; filters = [ \"127.0.0.[2..11]*5\" ]; "
			    "decisive = true; },\n"
			    "  { zone = \"key.bl2.example\"; name = \"bl2.example\"; filters = [ \"127.0.0.[2..11]*2\" "
			    "]; },\n"
			    "  \"wl.example=127.0.[0..255].2*-3\" ); %s };\n"
			    "clients = { allow_names = [ \".google.com\" ]; deny_names = [ \"bad.example.net\" ]; };\n",
			    port, more, timeout_ms, lists) > 0);
	c = config_parse("test.conf", text, strlen(text), true, &errors);
	if (c == NULL)
		fail_msg("%s", errors.n > 0 ? errors.line[0] : "?");
	free(text);
	return c;
}

static __attribute__((unused)) struct config *
make_config(uint16_t port, unsigned timeout_ms, const char *more)
{
	return make_config_with(port, timeout_ms, more, "");
}

static void
finished(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct bench *b = arg;

	(void)client;
	b->finished++;
	b->last_finished = *result;
}

static void run_ms(struct bench *b, unsigned ms);

/* Until every test point and random name has its answer, or none. */
static void
settle(struct bench *b)
{
	for (unsigned i = 0; i < 500 && resolver_stats(b->resolver)->proving > 0; i++)
		run_ms(b, 10);
	CHECK_EQ("proofs end", resolver_stats(b->resolver)->proving, 0);
	b->server.questions = b->server.tcp_questions = 0;
}

static bool
everybody_is_good(void *arg, const struct ip_addr *client)
{
	(void)client;
	return ((struct bench *)arg)->all_good;
}

static void
bench_open_with(
	struct bench *b, unsigned timeout_ms, const char *more, const char *lists, enum zones zones, bool invents)
{
	struct resolver_params p = { .in_flight = 8,
		.cache_entries = 16,
		.finished = finished,
		.finished_arg = b,
		.in_good_standing = everybody_is_good,
		.standing_arg = b };

	memset(b, 0, sizeof(*b));
	b->base = event_base_new();
	server_start(&b->server, b->base);
	b->server.zones = zones;
	b->server.invents = invents;
	b->config = make_config_with(b->server.port, timeout_ms, more, lists);
	p.config = b->config;
	b->resolver = resolver_create(b->base, &p);
	assert_non_null(b->resolver);
	settle(b);
	/* a machine that stood still for longer than the short time-outs of these tests has proven nothing */
	for (unsigned i = 0; i < 5 && resolver_zone_health(b->resolver, 0)->family[ZONE_V4] == ZONE_STANDING_UNPROVEN;
		i++) {
		resolver_prove(b->resolver);
		settle(b);
	}
}

static __attribute__((unused)) void
bench_open(struct bench *b, unsigned timeout_ms, const char *more, enum zones zones, bool invents)
{
	bench_open_with(b, timeout_ms, more, "", zones, invents);
}

static __attribute__((unused)) void
bench_start(struct bench *b, unsigned timeout_ms, const char *more)
{
	bench_open(b, timeout_ms, more, AS_RULED, false);
}

static void
bench_stop(struct bench *b)
{
	resolver_destroy(b->resolver);
	config_free(b->config);
	server_stop(&b->server);
	event_base_free(b->base);
}

struct got {
	unsigned n;
	struct resolver_result result;
	struct event_base *base;
	unsigned wanted;
};

static void
take(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct got *g = arg;

	(void)client;
	g->n++;
	g->result = *result;
	if (g->base != NULL && g->n == g->wanted)
		event_base_loopbreak(g->base);
}

static void
no_time_left(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

static void
run_ms(struct bench *b, unsigned ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };
	struct event *timer = evtimer_new(b->base, no_time_left, b->base);

	event_add(timer, &tv);
	event_base_dispatch(b->base);
	event_free(timer);
}

static __attribute__((unused)) enum zone_standing
zone_standing_v4(struct bench *b, uint32_t zone)
{
	return zone_health_standing(resolver_zone_health(b->resolver, zone), ZONE_V4, 0);
}

static __attribute__((unused)) struct resolver_result
ask_for(struct bench *b, const char *client, unsigned deadline_ms, bool fresh)
{
	struct got g = { .base = b->base, .wanted = 1 };
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(client, &addr), 0);
	resolver_ask(b->resolver, &addr, deadline_ms, fresh, take, &g);
	if (g.n == 0)
		run_ms(b, 5000);
	CHECK_EQ(client, g.n, 1);
	return g.result;
}

#endif
