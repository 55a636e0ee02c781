/*
 * api_status.c - status, stats, report, db stats, log reopen.
 *
 * Flow:   api.c -> a command here -> answer
 * Touches: nothing but what it shows.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/api.h"
#include "control/certs.h"
#include "control/control.h"
#include "control/stats.h"
#include "dataplane/base/bug.h"
#include "dataplane/base/marks.h"

static const char *
store_state_name(enum store_state s)
{
	switch (s) {
	case STORE_OFF:
		return "off";
	case STORE_READY:
		return "ready";
	case STORE_REFUSING:
		return "refusing";
	}
	return "?";
}

/* Of the families a zone has, one that is not believed: as `dnsbl status` says it. NULL: none. What has not been heard of yet is no failure. */
static const char *
zone_trouble(const struct control *c, uint32_t zone)
{
	for (enum zone_family f = ZONE_V4; f < ZONE_FAMILIES; f++) {
		enum zone_standing s =
			zone_health_standing(resolver_zone_health(c->resolver, zone), f, control_mono_us());

		if (s != ZONE_STANDING_ACTIVE && s != ZONE_STANDING_UNPROVEN && s != ZONE_STANDING_NO_FAMILY &&
			s != ZONE_STANDING_DISABLED)
			return zone_standing_name(s);
	}
	return NULL;
}

static const char *
dataplane_state_name(const struct control *c)
{
	static const char *const names[] = { "none", "starting", "serving", "draining" };
	uint32_t state = __atomic_load_n(&c->segment.live->dataplane_state, __ATOMIC_RELAXED);
	uint64_t beat = __atomic_load_n(&c->segment.live->heartbeat_us[SEGMENT_DATAPLANE], __ATOMIC_RELAXED);

	if (state != 0 && segment_boot_us() > beat + CONTROL_HEARTBEAT_DEAD_US)
		return "silent";
	return state < ARRAY_LEN(names) ? names[state] : "?";
}

static void
waiting_add(void *arg, const char *path)
{
	json_array_append_new(arg, json_string(path));
}

/* What is there of the segment or of the data plane's other memory, and what of that in huge pages: the data plane looked (dataplane/link/pages.h). */
static void
pages_json(json_t *o, const uint64_t *octets, const uint64_t *huge_octets)
{
	const uint64_t all = __atomic_load_n(octets, __ATOMIC_RELAXED),
		       huge = __atomic_load_n(huge_octets, __ATOMIC_RELAXED);

	if (all == 0)
		return;
	json_object_set_new(o, "memory_octets", json_integer((json_int_t)(all & INT64_MAX)));
	json_object_set_new(o, "memory_huge_octets", json_integer((json_int_t)(huge & INT64_MAX)));
}

static json_t *
status_dataplane(const struct control *c)
{
	const bool serves = control_dataplane_serves(c);
	const uint32_t set = serves ? stats_marks(c) : 0;
	json_t *marks = json_array();
	uint64_t sessions = 0;
	json_t *o;

	for (unsigned w = 0; serves && w < CONF_WORKERS_MAX; w++)
		sessions += __atomic_load_n(&c->segment.live->sessions_open[w], __ATOMIC_RELAXED);
	for (uint32_t m = 0; m < MARK_N; m++)
		if (marks_on(set, m))
			json_array_append_new(marks, json_string(mark_rows[m].name));
	o = json_pack("{s:s, s:i, s:b, s:I, s:i, s:o}", "state", dataplane_state_name(c), "pid",
		(int)__atomic_load_n(&c->segment.live->dataplane_pid, __ATOMIC_RELAXED), "alive", (int)serves,
		"sessions", (json_int_t)sessions, "workers", (int)c->dataplane_start.conf.workers, "short_of", marks);
	if (serves)
		pages_json(o, &c->segment.live->memory_octets, &c->segment.live->memory_huge_octets);
	return o;
}

#define COUNT_LONG_US 100000 /* of a table of some ten million entries */
#define COUNT_PAUSES  20

/* Counting walks the whole table, at 2 GiB for half a second: who asks for status again and again gets the last count for a while, so that
 * rings and questions are not kept waiting. */
static const struct vt_counts *
table_counts(struct control *c)
{
	const uint64_t now_us = control_mono_us();

	if (c->count_cost_us > COUNT_LONG_US && now_us < c->counted_us + COUNT_PAUSES * c->count_cost_us)
		return &c->table_counts;
	verdict_table_count(&c->segment.table, &c->table_counts);
	c->counted_us = control_mono_us();
	c->count_cost_us = c->counted_us - now_us;
	return &c->table_counts;
}

static json_t *
status_table(struct control *c)
{
	const struct store_progress p = store_load_progress(c->store, control_mono_us());
	const uint32_t loading = __atomic_load_n(&c->segment.live->loading, __ATOMIC_RELAXED);
	const double room = (double)c->segment.table.n_buckets * 4;
	const struct vt_counts n = *table_counts(c);
	json_t *o;

	o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:b}", "entries_wanted",
		(json_int_t)c->config->values.state_entries, "entries", (json_int_t)c->segment.entries, "used",
		(json_int_t)n.used, "grey", (json_int_t)n.grey, "white", (json_int_t)n.white, "clients",
		(json_int_t)n.by_kind[VT_CLIENT], "auto", (json_int_t)n.by_kind[VT_AUTO], "load",
		room > 0 ? (double)n.used / room : 0.0, "loading", (int)(loading != SEGMENT_LOADED));
	if (control_dataplane_serves(c))
		pages_json(o, &c->segment.live->pages_octets, &c->segment.live->pages_huge_octets);
	if (loading != SEGMENT_LOADED) {
		json_object_set_new(o, "loading_records", json_integer((json_int_t)p.done));
		json_object_set_new(o, "loading_of", json_integer((json_int_t)p.of));
		json_object_set_new(o, "loading_share", json_real(p.of > 0 ? (double)p.done / (double)p.of : 0));
		if (p.under_way)
			json_object_set_new(o, "loading_left_s", json_real(p.left_s));
	}
	return o;
}

static json_t *
status_store(struct control *c)
{
	const struct store_stats *s = store_stats(c->store);

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "state", store_state_name(s->state),
		"map_octets", (json_int_t)s->map_octets, "used_octets", (json_int_t)s->used_octets, "lag",
		(json_int_t)s->lag_buckets, "commits", (json_int_t)s->commits, "failures", (json_int_t)s->failures,
		"written", (json_int_t)s->records_written, "loaded", (json_int_t)s->loaded, "note",
		api_string(s->note));
}

static json_t *
status_resolver(struct control *c)
{
	const struct resolver_stats *s = resolver_stats(c->resolver);
	json_t *servers = json_array();

	for (uint32_t i = 0; i < c->config->list[LIST_RESOLVERS].n; i++)
		json_array_append_new(servers, api_string(c->config->list[LIST_RESOLVERS].v[i].text));
	return json_pack("{s:s, s:o, s:i, s:i, s:i}", "state",
		json_array_size(servers) == 0 ? "none"
		: s->down                     ? "down"
					      : "up",
		"servers", servers, "in_flight", (int)s->in_flight, "cached", (int)s->cached, "zones",
		(int)c->config->n_zones);
}

static json_t *
status_backends(struct control *c)
{
	int up = 0;

	for (uint32_t i = 0; i < c->config->n_backends; i++) {
		const struct backend_state *b = segment_backend(&c->segment, c->config->backend[i].id, false);

		up += b != NULL && b->health == BACKEND_UP && !b->drained;
	}
	return json_pack("{s:i, s:i}", "up", up, "total", (int)c->config->n_backends);
}

/* --- is all well */

static void __attribute__((format(printf, 2, 3))) alarm_add(json_t *alarms, const char *format, ...)
{
	char text[400];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(alarms, api_string(text));
}

static void
alarms_dataplane(struct control *c, json_t *alarms)
{
	const char *state = dataplane_state_name(c);
	const bool serves = strcmp(state, "serving") == 0;

	if (!serves)
		alarm_add(alarms, "the data plane is %s: no mail is taken",
			strcmp(state, "none") == 0 ? "not there" : state);
	else if (!control_confirmed(c))
		alarm_add(alarms, "a worker has not taken configuration %llu yet", (unsigned long long)c->generation);
	for (uint32_t m = 0; serves && m < MARK_N; m++)
		if (marks_on(stats_marks(c), m))
			alarm_add(alarms, "short of %s", mark_rows[m].help);
}

/* A pool without a backend in service is the alarm; a single backend that is away only when others serve. Drained is the operator's will. */
static void
alarms_backends(struct control *c, json_t *alarms)
{
	for (uint32_t p = 0; p < c->config->n_pools; p++) {
		bool any = false;

		for (uint32_t i = 0; i < c->config->n_backends && !any; i++) {
			const struct backend_state *b = segment_backend(&c->segment, c->config->backend[i].id, false);

			any = (c->config->pool[p].backends >> i & 1) != 0 && b != NULL && b->health == BACKEND_UP &&
			      !b->drained;
		}
		if (!any)
			alarm_add(alarms, "pool %s has no backend in service: its mail is deferred",
				c->config->pool[p].name);
	}
	for (uint32_t i = 0; i < c->config->n_backends; i++) {
		const struct backend_state *live = segment_backend(&c->segment, c->config->backend[i].id, false);
		struct backend_state b = { 0 };

		if (live != NULL)
			b = *live;
		b.words[sizeof(b.words) - 1] = '\0';
		if (b.health == BACKEND_OPEN_RELAY)
			alarm_add(alarms,
				"backend %s relays for strangers and is out of service: take our address out of its "
				"mynetworks",
				c->config->backend[i].name);
		else if (b.health == BACKEND_DOWN || b.health == BACKEND_LOOP)
			alarm_add(alarms, "backend %s is %s: %s", c->config->backend[i].name,
				b.health == BACKEND_LOOP ? "ourselves, a loop" : "down", b.words);
		else if (b.health == BACKEND_UP && b.failures > 0)
			alarm_add(alarms, "backend %s failed when it was last asked: %s", c->config->backend[i].name,
				b.words);
	}
}

json_t *
status_alarms(struct control *c)
{
	const struct resolver_stats *dns = resolver_stats(c->resolver);
	const struct store_stats *store = store_stats(c->store);
	json_t *alarms = json_array();

	alarms_dataplane(c, alarms);
	alarms_backends(c, alarms);
	certs_alarms(c, alarms);
	if (dns->down)
		alarm_add(alarms, "no resolver answers: clients are judged without DNS, nobody is refused for it");
	if (dns->zones_off)
		alarm_add(alarms, "every resolver invents answers for names that do not exist: blocklists are off");
	for (uint32_t i = 0; i < c->config->n_zones; i++)
		if (!dns->down && zone_trouble(c, i) != NULL)
			alarm_add(alarms, "zone %s does not count (%s): see dnsbl status", c->config->zone[i].name,
				zone_trouble(c, i));
	if (__atomic_load_n(&c->segment.live->loading, __ATOMIC_RELAXED) == SEGMENT_LOAD_AGAIN &&
		store->state == STORE_READY)
		alarm_add(alarms,
			"%llu of %llu records could be loaded from the database: mail of the others is greylisted once "
			"more; tried "
			"again each minute",
			(unsigned long long)__atomic_load_n(&c->segment.live->loading_done, __ATOMIC_RELAXED),
			(unsigned long long)__atomic_load_n(&c->segment.live->loading_of, __ATOMIC_RELAXED));
	if (store->state != STORE_READY || store->error != 0) /* READY with an error: it is about to be tried again */
		alarm_add(alarms,
			"the database in %s cannot be %s: what is decided now would not survive a restart: %s",
			c->config->values.state_dir, store->state == STORE_OFF ? "opened" : "written", store->note);
	if (c->log.fd < 0 && c->log.path[0] != '\0')
		alarm_add(alarms, "the log %s cannot be opened: lines are lost (stats control)", c->log.path);
	else if (c->log.error != 0)
		alarm_add(alarms, "the log %s cannot be written: %s; lines are lost (stats control)", c->log.path,
			strerror(abs(c->log.error)));
	return alarms;
}

static void
status(struct control *c, struct api_request *r, const json_t *args)
{
	static const char *const modes[] = { "observe", "soft", "enforce" };
	json_t *in_force = json_array(), *waiting = json_array(), *alarms, *result;

	(void)args;
	if (!c->attached) {
		json_decref(in_force);
		json_decref(waiting);
		api_error(r, "unavailable", "there is no segment");
		return;
	}
	for (uint32_t w = 0; w < c->dataplane_start.conf.workers; w++)
		json_array_append_new(in_force, json_integer((json_int_t)__atomic_load_n(
							&c->segment.live->snapshot_in_force[w], __ATOMIC_RELAXED)));
	control_waiting(c, waiting_add, waiting);
	alarms = status_alarms(c);
	result = json_pack("{s:b, s:o, s:s, s:s, s:s, s:I, s:i}", "well", (int)(json_array_size(alarms) == 0), "alarms",
		alarms, "version", CONTROL_VERSION, "hostname", c->config->values.conf.hostname, "mode",
		modes[c->config->values.conf.mode <= MODE_ENFORCE ? c->config->values.conf.mode : MODE_ENFORCE],
		"uptime_s", (json_int_t)((control_mono_us() - c->started_us) / 1000000), "control_pid", (int)getpid());
	json_object_set_new(result, "dataplane", status_dataplane(c));
	json_object_set_new(result, "snapshot",
		json_pack("{s:I, s:o}", "generation", (json_int_t)c->generation, "in_force", in_force));
	json_object_set_new(result, "table", status_table(c));
	json_object_set_new(result, "store", status_store(c));
	json_object_set_new(result, "resolver", status_resolver(c));
	json_object_set_new(result, "backends", status_backends(c));
	json_object_set_new(result, "segment", api_string(c->segment_path));
	json_object_set_new(result, "options_waiting_for_start", waiting);
	api_answer(r, result);
}

static void
stats(struct control *c, struct api_request *r, const json_t *args)
{
	const char *group = api_text(args, "group");
	json_t *result = json_object();

	stats_publish(c);
	for (unsigned i = 0; i < COUNTER_N; i++) {
		const struct counter_name *n = &counter_names[i];
		json_t *of;

		if (group != NULL && strcmp(group, n->group) != 0)
			continue;
		of = json_object_get(result, n->group);
		if (of == NULL) {
			of = json_object();
			json_object_set_new(result, n->group, of);
		}
		json_object_set_new(of, n->name, json_integer((json_int_t)stats_sum(c, (enum counter)i)));
	}
	if (json_object_size(result) == 0) {
		json_decref(result);
		api_error(r, "not-found", "there is no group %s", group != NULL ? group : "");
		return;
	}
	api_answer(r, result);
}

static void
report(struct control *c, struct api_request *r, const json_t *args)
{
	struct report_network top[REPORT_NETWORKS];
	int64_t limit = api_number(args, "limit", 20);
	uint32_t n = report_top(&c->report, top, (uint32_t)MIN(MAX(limit, 1), (int64_t)REPORT_NETWORKS));
	json_t *networks = json_array(), *result;

	for (uint32_t i = 0; i < n; i++) {
		char text[IP_ADDR_TEXT_MAX_OCTETS + 8];
		struct prefix_entry e = { .addr = top[i].network, .bits = ip_addr_is_v4(&top[i].network) ? 120 : 64 };

		json_array_append_new(networks,
			json_pack("{s:s, s:i, s:s, s:I}", "network", prefix_format(&e, text), "rule", (int)top[i].rule,
				"rule_name", policy_rule_name((enum policy_rule)top[i].rule), "count",
				(json_int_t)top[i].count));
	}
	result = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "since_at",
		(json_int_t)c->report.since_wall_s, "greylisted", (json_int_t)c->report.deferred, "passed",
		(json_int_t)c->report.passed, "never_came_back", (json_int_t)c->report.never_back, "lapsed",
		(json_int_t)stats_by_name(c, "policy", "grey_lapsed"), "rejected", (json_int_t)c->report.rejected,
		"delay_p50_s", (json_int_t)report_percentile(&c->report, 50), "delay_p95_s",
		(json_int_t)report_percentile(&c->report, 95), "refused_networks", networks);
	api_answer(r, result);
}

static void
table_add(void *arg, const char *name, uint64_t entries)
{
	json_object_set_new(arg, name, json_integer((json_int_t)entries));
}

static void
db_stats(struct control *c, struct api_request *r, const json_t *args)
{
	json_t *result = status_store(c), *tables = json_object();

	(void)args;
	store_tables(c->store, table_add, tables);
	json_object_set_new(result, "path", api_string(store_path(c->store)));
	json_object_set_new(result, "tables", tables);
	api_answer(r, result);
}

static void
log_reopen(struct control *c, struct api_request *r, const json_t *args)
{
	int error = log_open(&c->log, c->log.path);

	(void)args;
	if (error != 0)
		api_error(r, "unavailable", "%s: %s", c->log.path, strerror(-error));
	else
		api_answer(r, json_object());
}

const struct api_command api_commands_status[] = {
	{ "status", status, "" },
	{ "stats", stats, "group" },
	{ "report", report, "limit" },
	{ "db stats", db_stats, "" },
	{ "log reopen", log_reopen, "" },
	{ 0 },
};
