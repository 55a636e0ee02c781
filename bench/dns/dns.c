/*
 * dns.c - questions a second of control's resolver: unique clients, so many at a time, against one server.
 *
 * Flow:   dns SERVER:PORT SECONDS CLIENTS_AT_A_TIME -> resolver_ask() for 10.0.0.1, 10.0.0.2, ... -> one JSON line
 *
 * Each client is a PTR, a forward question and three zones: five questions of which nothing is cached. What the process did with its time
 * is told by the kernel's account of it (user, system) and by the rounds of the event loop.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "control/resolver.h"
#include "dataplane/base/bug.h"

struct run {
	struct event_base *base;
	struct resolver *resolver;
	uint32_t next, at_a_time, out;
	uint64_t answered, complete, ptr_known, until_us;
	bool over, filling;
};

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void answered(void *arg, const struct ip_addr *client, const struct resolver_result *result);

/* At each answer, as sessions come while others are answered; but not inside itself: a refused client is answered at once. */
static void
fill(struct run *r)
{
	if (r->filling)
		return;
	r->filling = true;
	while (!r->over && r->out < r->at_a_time) {
		const struct ip_addr client = ip_addr_v4(UINT32_C(0x0a000000) + (++r->next & 0xffffff));

		r->out++;
		resolver_ask(r->resolver, &client, 10000, false, answered, r);
	}
	r->filling = false;
}

static void
answered(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct run *r = arg;

	(void)client;
	r->out--;
	r->answered++;
	r->complete += result->complete;
	r->ptr_known += result->verdict.ptr_state != PTR_UNKNOWN && result->verdict.ptr_state != PTR_TEMPERR;
	fill(r);
}

static struct config *
config_for(const char *server)
{
	struct config_errors errors = { 0 };
	struct config *c;
	char text[2048];

	snprintf(text, sizeof(text),
		"hostname = \"gw.bench\";\n"
		"ports = ( { name = \"wan\"; device = \"x\"; addresses = [ \"198.18.0.2/16\" ]; } );\n"
		"pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = \"198.18.1.3\"; client_address "
		"= \"none\"; } ); } );\n"
		"listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; domains = [ "
		"\"example.org\" ]; pools = [ "
		"\"default\" ]; } );\n"
		"reverse_dns = { missing = \"nothing\"; };\n"
		"dns = { resolvers = [ \"%s\" ]; timeout_ms = 2000; tries = 2; deadline_ms = 10000; };\n"
		"dnsbl = { zones = ( \"bl1.bench=127.0.0.2*2\", \"bl2.bench=127.0.0.2*2\", \"wl.bench=127.0.0.2*-2\" "
		"); };\n",
		server);
	c = config_parse("bench", text, strlen(text), false, &errors);
	if (c == NULL) {
		fprintf(stderr, "dns: %s\n", errors.n > 0 ? errors.line[0] : "no configuration");
		exit(1);
	}
	return c;
}

static double
seconds_of(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

int
main(int argc, char **argv)
{
	struct resolver_params p = { .in_flight = 2048, .cache_entries = 65536 };
	struct run r = { 0 };
	const struct resolver_stats *stats;
	uint64_t began_us, questions, timeouts, took_us, rounds = 0;
	struct rusage before, after;

	if (argc != 4 || atoi(argv[2]) <= 0 || atoi(argv[3]) <= 0 || atoi(argv[3]) > (int)p.in_flight) {
		fprintf(stderr, "usage: dns SERVER:PORT SECONDS CLIENTS_AT_A_TIME (1 to %u)\n", p.in_flight);
		return 2;
	}
	p.config = config_for(argv[1]);
	r.base = event_base_new();
	r.resolver = resolver_create(r.base, &p);
	BUG_ON(r.base == NULL || r.resolver == NULL);
	r.at_a_time = (uint32_t)atoi(argv[3]);
	stats = resolver_stats(r.resolver);
	while (stats->proving > 0)
		event_base_loop(r.base, EVLOOP_ONCE);
	for (unsigned i = 0; i < 3; i++)
		if (!zone_health_counts(resolver_zone_health(r.resolver, i), ZONE_V4)) {
			fprintf(stderr, "dns: zone %u has not proven itself: is that server set up as run.py does?\n",
				i);
			return 1;
		}
	questions = stats->questions;
	timeouts = stats->timeouts;
	getrusage(RUSAGE_SELF, &before);
	began_us = now_us();
	r.until_us = began_us + (uint64_t)atoi(argv[2]) * 1000000;
	while (now_us() < r.until_us) {
		fill(&r);
		event_base_loop(r.base, EVLOOP_ONCE);
		rounds++;
	}
	took_us = now_us() - began_us;
	getrusage(RUSAGE_SELF, &after);
	r.over = true;
	stats = resolver_stats(r.resolver);
	printf("{\"seconds\": %.3f, \"clients\": %llu, \"complete\": %llu, \"ptr_known\": %llu, \"questions\": %llu, "
	       "\"timeouts\": %llu, "
	       "\"refused\": %llu, \"user_s\": %.3f, \"system_s\": %.3f, \"rounds\": %llu}\n",
		(double)took_us / 1e6, (unsigned long long)r.answered, (unsigned long long)r.complete,
		(unsigned long long)r.ptr_known, (unsigned long long)(stats->questions - questions),
		(unsigned long long)(stats->timeouts - timeouts), (unsigned long long)stats->refused,
		seconds_of(&after.ru_utime) - seconds_of(&before.ru_utime),
		seconds_of(&after.ru_stime) - seconds_of(&before.ru_stime), (unsigned long long)rounds);
	resolver_destroy(r.resolver);
	config_free((struct config *)(uintptr_t)p.config);
	event_base_free(r.base);
	return 0;
}
