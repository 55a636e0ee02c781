/*
 * test_resolver.c - the resolver against a scripted server on loopback: everything a real one does, and what it should not do.
 */
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

		if (r->type == DNS_PTR) {
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
		(strstr(name, ".bl.example") != NULL || strstr(name, ".wl.example") != NULL)) {
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

static struct config *
make_config(uint16_t port, unsigned timeout_ms, const char *more)
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
			    "  \"wl.example=127.0.[0..255].2*-3\" ); };\n"
			    "clients = { allow_names = [ \".google.com\" ]; deny_names = [ \"bad.example.net\" ]; };\n",
			    port, more, timeout_ms) > 0);
	c = config_parse("test.conf", text, strlen(text), true, &errors);
	if (c == NULL)
		fail_msg("%s", errors.n > 0 ? errors.line[0] : "?");
	free(text);
	return c;
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
bench_open(struct bench *b, unsigned timeout_ms, const char *more, enum zones zones, bool invents)
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
	b->config = make_config(b->server.port, timeout_ms, more);
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

static void
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

static struct resolver_result
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
