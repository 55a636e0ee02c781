/*
 * stats.c - what was counted, for people and for Prometheus.
 *
 * Flow:   counters.def -> counters of workers and control -> `stats`, /metrics
 * Touches: the segment, an HTTP server on the loop.
 * Source: Prometheus text exposition format 0.0.4.
 */
#include "control/stats.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/api.h"
#include "control/certs.h"
#include "control/control.h"
#include "dataplane/base/bug.h"
#include "dataplane/base/marks.h"

#define STATS_BODY_MAX_OCTETS 4096 /* of a request */
#define STATS_TIMEOUT_S       10

struct stats_server {
	struct control *c;
	struct evhttp *http;
};

uint64_t
stats_sum(const struct control *c, enum counter which)
{
	uint64_t sum = 0;

	if (!c->attached)
		return 0;
	for (unsigned w = 0; w <= CONF_WORKERS_MAX; w++)
		sum += counter_read(&c->segment.counters[w], which);
	return sum;
}

uint64_t
stats_by_name(const struct control *c, const char *group, const char *name)
{
	for (unsigned i = 0; i < COUNTER_N; i++)
		if (strcmp(counter_names[i].group, group) == 0 && strcmp(counter_names[i].name, name) == 0)
			return stats_sum(c, (enum counter)i);
	return 0;
}

static void
put(struct control *c, enum counter which, uint64_t value)
{
	__atomic_store_n(&c->segment.counters[CONF_WORKERS_MAX].value[which], value, __ATOMIC_RELAXED);
}

void
stats_publish(struct control *c)
{
	const struct resolver_stats *dns;
	const struct store_stats *st;

	if (!c->attached)
		return;
	put(c, CTR_control_events_client, c->counts.events_client);
	put(c, CTR_control_events_names, c->counts.events_names);
	put(c, CTR_control_name_answers, c->counts.name_answers);
	put(c, CTR_control_events_name, c->counts.events_name);
	put(c, CTR_control_events_log, c->counts.events_log);
	put(c, CTR_control_events_malformed, c->counts.events_malformed);
	put(c, CTR_control_events_stale, c->counts.events_stale);
	put(c, CTR_control_answers, c->counts.answers);
	put(c, CTR_control_answers_full, c->counts.answers_full);
	put(c, CTR_control_rejects_kept, c->counts.rejects_kept);
	put(c, CTR_control_segments_lost, c->counts.segments_lost);
	put(c, CTR_control_log_lines, c->log.lines);
	put(c, CTR_control_log_lost, c->log.lost);
	put(c, CTR_control_log_grey_capped, c->log.capped_total);
	put(c, CTR_control_never_came_back, c->report.never_back);
	dns = resolver_stats(c->resolver);
	put(c, CTR_dns_clients, dns->clients);
	put(c, CTR_dns_cache_hits, dns->cache_hits);
	put(c, CTR_dns_coalesced, dns->coalesced);
	put(c, CTR_dns_questions, dns->questions);
	put(c, CTR_dns_timeouts, dns->timeouts);
	put(c, CTR_dns_servfails, dns->servfails);
	put(c, CTR_dns_late, dns->late);
	put(c, CTR_dns_refused, dns->refused);
	st = store_stats(c->store);
	put(c, CTR_store_commits, st->commits);
	put(c, CTR_store_failures, st->failures);
	put(c, CTR_store_records_written, st->records_written);
	put(c, CTR_store_records_removed, st->records_removed);
	put(c, CTR_store_grown, st->grown);
	put(c, CTR_store_set_aside, st->set_aside);
	put(c, CTR_store_names_lost, st->names_lost);
	put(c, CTR_store_why_lost, st->why_lost);
	put(c, CTR_store_grey_deferred, st->grey_deferred);
	put(c, CTR_store_grey_unstored, st->grey_unstored);
	put(c, CTR_store_loaded, st->loaded);
	put(c, CTR_store_load_refused, st->load_refused);
	put(c, CTR_store_load_damaged, st->load_damaged);
}

static void
gauge(struct evbuffer *out, const char *name, const char *help, double value)
{
	evbuffer_add_printf(out, "# HELP greyline_%s %s\n# TYPE greyline_%s gauge\ngreyline_%s %.15g\n", name, help,
		name, name, value);
}

uint32_t
stats_marks(const struct control *c)
{
	uint32_t set = 0;

	for (unsigned w = 0; w < CONF_WORKERS_MAX; w++)
		set |= __atomic_load_n(&c->segment.live->marks[w], __ATOMIC_RELAXED);
	return set;
}

/* Which pages are behind the shared table and the data plane's other memory: the data plane looks once a minute. */
static void
pages_metrics(const struct segment_live *l, struct evbuffer *out)
{
	gauge(out, "segment_octets", "octets of the segment the data plane has mapped",
		(double)__atomic_load_n(&l->pages_octets, __ATOMIC_RELAXED));
	gauge(out, "segment_huge_octets", "of greyline_segment_octets, in pages of 2 MiB",
		(double)__atomic_load_n(&l->pages_huge_octets, __ATOMIC_RELAXED));
	gauge(out, "memory_octets", "octets of other memory the data plane uses",
		(double)__atomic_load_n(&l->memory_octets, __ATOMIC_RELAXED));
	gauge(out, "memory_huge_octets", "of greyline_memory_octets, in pages of 2 MiB",
		(double)__atomic_load_n(&l->memory_huge_octets, __ATOMIC_RELAXED));
}

static void
dataplane_metrics(struct control *c, struct evbuffer *out)
{
	const bool serves = c->attached && control_dataplane_serves(c);
	const uint32_t marks = serves ? stats_marks(c) : 0;
	uint64_t sessions = 0;

	for (unsigned w = 0; serves && w < CONF_WORKERS_MAX; w++)
		sessions += __atomic_load_n(&c->segment.live->sessions_open[w], __ATOMIC_RELAXED);
	gauge(out, "sessions_open", "client sessions open now", (double)sessions);
	gauge(out, "dataplane_up", "1 when the data plane serves", serves);
	if (serves)
		pages_metrics(c->segment.live, out);
	evbuffer_add_printf(out, "# HELP greyline_short_of 1 while some worker has reached a water mark\n"
				 "# TYPE greyline_short_of gauge\n");
	for (uint32_t m = 0; m < MARK_N; m++)
		evbuffer_add_printf(
			out, "greyline_short_of{mark=\"%s\"} %d\n", mark_rows[m].name, (int)marks_on(marks, m));
}

static void
metrics(struct evhttp_request *req, void *arg)
{
	struct stats_server *server = arg;
	struct control *c = server->c;
	struct evbuffer *out;
	uint32_t up = 0;

	if (evhttp_request_get_command(req) != EVHTTP_REQ_GET && evhttp_request_get_command(req) != EVHTTP_REQ_HEAD) {
		evhttp_send_error(req, HTTP_BADMETHOD, NULL);
		return;
	}
	out = evbuffer_new();
	BUG_ON(out == NULL);
	stats_publish(c);
	for (unsigned i = 0; i < COUNTER_N; i++) {
		const struct counter_name *n = &counter_names[i];

		evbuffer_add_printf(out,
			"# HELP greyline_%s_%s_total %s\n# TYPE greyline_%s_%s_total counter\ngreyline_%s_%s_total "
			"%" PRIu64 "\n",
			n->group, n->name, n->help, n->group, n->name, n->group, n->name,
			stats_sum(c, (enum counter)i));
	}
	dataplane_metrics(c, out);
	gauge(out, "snapshot_generation", "generation of the configuration in force", (double)c->generation);
	if (c->attached) {
		json_t *alarms = status_alarms(c);

		gauge(out, "alarms", "what greylinectl status has as alarms; 0: all is well",
			(double)json_array_size(alarms));
		json_decref(alarms);
	}
	for (uint32_t i = 0; c->attached && i < c->config->n_backends; i++) {
		const struct backend_state *b = segment_backend(&c->segment, c->config->backend[i].id, false);

		up += b != NULL && b->health == BACKEND_UP && !b->drained;
	}
	certs_metrics(c, out);
	gauge(out, "backends", "backends of the configuration", c->config->n_backends);
	gauge(out, "backends_up", "backends that take sessions", up);
	gauge(out, "resolver_up", "0 when no resolver answers", resolver_stats(c->resolver)->down ? 0 : 1);
	gauge(out, "dns_in_flight", "clients asked for now", resolver_stats(c->resolver)->in_flight);
	gauge(out, "dns_cached", "clients whose answers are kept", resolver_stats(c->resolver)->cached);
	if (c->attached) {
		const struct store_progress p = store_load_progress(c->store, control_mono_us());
		const bool loaded = __atomic_load_n(&c->segment.live->loading, __ATOMIC_RELAXED) == SEGMENT_LOADED;

		gauge(out, "loaded_share", "records of the database that are in the table; 1 when none is missing",
			loaded || p.of == 0 ? 1 : (double)p.done / (double)p.of);
		gauge(out, "loading_left_seconds", "how long loading will take yet; 0 when it is over", p.left_s);
	}
	gauge(out, "store_used_octets", "octets of the database in use", (double)store_stats(c->store)->used_octets);
	evhttp_add_header(
		evhttp_request_get_output_headers(req), "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
	evhttp_send_reply(req, HTTP_OK, "OK", out);
	evbuffer_free(out);
}

static void
elsewhere(struct evhttp_request *req, void *arg)
{
	(void)arg;
	evhttp_send_error(req, HTTP_NOTFOUND, NULL);
}

int
stats_listen(struct control *c, const char *address)
{
	struct stats_server *server;
	char text[IP_ADDR_TEXT_MAX_OCTETS];
	struct ip_addr addr;
	uint16_t port;

	if (address[0] == '\0')
		return 0;
	if (config_server_parse(address, 9925, &addr, &port) != 0)
		return -EINVAL;
	server = calloc(1, sizeof(*server));
	BUG_ON(server == NULL);
	server->c = c;
	server->http = evhttp_new(c->base);
	BUG_ON(server->http == NULL);
	evhttp_set_max_body_size(server->http, STATS_BODY_MAX_OCTETS);
	evhttp_set_max_headers_size(server->http, STATS_BODY_MAX_OCTETS);
	evhttp_set_timeout(server->http, STATS_TIMEOUT_S);
	evhttp_set_cb(server->http, "/metrics", metrics, server);
	evhttp_set_gencb(server->http, elsewhere, server);
	errno = 0;
	if (evhttp_bind_socket(server->http, ip_addr_format(&addr, text), port) != 0) {
		int error = errno != 0 ? -errno : -EADDRNOTAVAIL;

		evhttp_free(server->http);
		free(server);
		return error;
	}
	c->stats_server = server;
	return 0;
}

void
stats_close(struct control *c)
{
	if (c->stats_server == NULL)
		return;
	evhttp_free(c->stats_server->http);
	free(c->stats_server);
	c->stats_server = NULL;
}
