/*
 * control_turns.c - what the loop does by the clock: rings and loading each turn, commits, alarms, sweeps.
 *
 * Flow:   loop -> control_turn() every 1 to 10 ms, control_slow() every 100 ms -> a second's work
 * Touches: everything, by the parts.
 */
#include "control/control_impl.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control/api.h"
#include "control/stats.h"
#include "dataplane/base/bug.h"
#include "dataplane/policy/grey.h"

#define TURN_MAX_US  10000
#define COMMIT_US    250000
#define CHECK_US     500000
#define ALARMS_US    5000000 /* between two looks at what is wrong: a restart of the data plane is over by then */
#define FIGURES_US   60000000
#define LOAD_TURN_US 8000 /* of each turn while loading: what a request waits at most for it */
#define SWEEP_RECORDS                                                                                                  \
	500 /* of the database at least, each SLOW_US; half as many as may be written a second, if that is more: five times
			    * as many are looked at as come, so what is dead stays below two thirds of what lives, whatever flood goes on */
#define SWEEP_TABLE_S 600 /* one sweep of the table */

void
control_backends_keep(struct control *c)
{
	for (uint32_t i = 0; i < CONF_BACKENDS_MAX; i++) {
		struct backend_state now = c->segment.backends[i];

		if (now.id == 0)
			continue;
		now.words[sizeof(now.words) - 1] = '\0';
		/* probed_s moves with every probe: alone it is not worth a write */
		if (now.id == c->backend_kept[i].id && now.health == c->backend_kept[i].health &&
			now.drained == c->backend_kept[i].drained && now.ext == c->backend_kept[i].ext &&
			now.size_octets == c->backend_kept[i].size_octets &&
			now.relaytest_s == c->backend_kept[i].relaytest_s && now.probed == c->backend_kept[i].probed)
			continue;
		if (store_backend_put(c->store, &now) != 0)
			return;
		c->backend_kept[i] = now;
	}
}

/* A part of the table each second: windows that closed without a retry are counted, what expired is removed. */
static void
table_sweep(struct control *c)
{
	const struct conf *conf = &c->config->values.conf;
	const struct grey_conf grey = { .block_s = conf->grey_block_s,
		.pass_s = conf->grey_pass_s,
		.expire_s = conf->grey_expire_s,
		.lapse_memory_s = conf->grey_lapse_memory_s,
		.window_max_s = conf->grey_window_max_s };
	const struct verdict_table *t = &c->segment.table;
	uint32_t n = t->n_buckets / SWEEP_TABLE_S + 1;

	for (; n > 0 && c->sweep_bucket < t->n_buckets; n--, c->sweep_bucket++) {
		struct vt_entry e[4];

		verdict_table_read_bucket(t, c->sweep_bucket, e);
		for (unsigned i = 0; i < 4; i++) {
			uint64_t closes_s;

			if (vt_kind(&e[i]) != VT_TRIPLET)
				continue;
			if (vt_state(&e[i]) == VT_WHITE) {
				if (c->sweep_now_s > e[i].time_s && c->sweep_now_s - e[i].time_s > conf->grey_expire_s)
					verdict_table_remove(t, &e[i]);
				continue;
			}
			closes_s = (uint64_t)e[i].time_s + grey_window_s(&grey, grey_load(&e[i]).lapsed);
			if (closes_s > c->sweep_from_s && closes_s <= c->sweep_now_s)
				c->report.never_back++;
			if (closes_s + conf->grey_lapse_memory_s < c->sweep_now_s)
				verdict_table_remove(t, &e[i]);
		}
	}
	if (c->sweep_bucket == t->n_buckets) {
		c->sweep_bucket = 0;
		c->sweep_from_s = c->sweep_now_s;
		c->sweep_now_s = control_now_s(c);
	}
}

/* A new database took the place of a lost one: what is in memory goes into it. */
static void
store_refill(struct control *c)
{
	const uint64_t wall_s = (uint64_t)(control_wall_us() / 1000000);
	char text[OPTION_TEXT_OCTETS];

	store_table_key_put(c->store, &c->table_key);
	verdict_table_dirty_all(&c->segment.table);
	control_policy_time_start(c);
	memset(c->backend_kept, 0, sizeof(c->backend_kept));
	for (unsigned i = 0; i < option_n; i++)
		if (c->config->origin[i] == ORIGIN_SET)
			store_option_put(c->store, option_table[i].path,
				option_format(&option_table[i], &c->config->values, text), wall_s);
	for (uint32_t i = 0; i < c->allow.n; i++)
		store_client_put(
			c->store, prefix_format(&c->allow.v[i], text), 'a', "kept over a new database", wall_s);
	for (uint32_t i = 0; i < c->deny.n; i++)
		store_client_put(c->store, prefix_format(&c->deny.v[i], text), 'd', "kept over a new database", wall_s);
}

/*
 * A database that could not be opened is there again, with all it had: it is the truth. What was set and the operator's clients count again.
 * Where it has another key than the table was begun with, the table's few minutes mean nothing to it: a new one is filled from it.
 */
static void
store_is_back(struct control *c, const struct siphash_key *key)
{
	const bool same = key->k0 == c->table_key.k0 && key->k1 == c->table_key.k1;

	fprintf(stderr, "greyline-control: the database is there again%s\n",
		same ? "" : ": a new segment is filled from it, what was remembered without it is forgotten");
	c->table_key = *key;
	if (same)
		verdict_table_dirty_all(&c->segment.table);
	else if (control_segment_renew(c) != 0)
		return;
	memset(c->backend_kept, 0, sizeof(c->backend_kept));
	control_overlay(c, c->config);
	control_clients_read(c);
	if (control_questions_changed(c) != 0)
		fprintf(stderr, "greyline-control: the resolver cannot be set up\n");
	control_publish(c);
	c->load_again_us = 0;
}

/* --- alarms */

static bool
alarm_is_in(const json_t *alarms, const char *text)
{
	for (size_t i = 0; i < json_array_size(alarms); i++)
		if (strcmp(json_string_value(json_array_get(alarms, i)), text) == 0)
			return true;
	return false;
}

static void
alarm_say(struct control *c, const char *what, const char *text)
{
	fprintf(stderr, "greyline-control: %s: %s\n", what, text);
	log_notice(&c->log, control_wall_us(), "%s: %s", what, text);
}

/* Tells of an alarm when two looks in a row found it, and once more when it is over: standard error and the log, not only `status`. */
static void
alarms_watch(struct control *c, uint64_t now)
{
	json_t *alarms, *said;

	if (now < c->alarms_at_us)
		return;
	c->alarms_at_us = now + ALARMS_US;
	alarms = status_alarms(c);
	said = json_array();
	for (size_t i = 0; i < json_array_size(alarms); i++) {
		json_t *one = json_array_get(alarms, i);
		const bool known = alarm_is_in(c->alarms_said, json_string_value(one));

		if (!known && !alarm_is_in(c->alarms_seen, json_string_value(one)))
			continue;
		if (!known)
			alarm_say(c, "ALARM", json_string_value(one));
		json_array_append(said, one);
	}
	for (size_t i = 0; i < json_array_size(c->alarms_said); i++) {
		const char *text = json_string_value(json_array_get(c->alarms_said, i));

		if (!alarm_is_in(alarms, text))
			alarm_say(c, "over", text);
	}
	json_decref(c->alarms_said);
	json_decref(c->alarms_seen);
	c->alarms_said = said;
	c->alarms_seen = alarms;
}

static void
second_turn(struct control *c, uint64_t now)
{
	uint32_t unclean = __atomic_load_n(&c->segment.live->unclean_ends, __ATOMIC_RELAXED);
	uint32_t incarnation = __atomic_load_n(&c->segment.live->incarnation[SEGMENT_DATAPLANE], __ATOMIC_RELAXED);

	if (unclean != c->unclean_seen) { /* a writer was killed between its swap and its dirty bit, perhaps */
		c->unclean_seen = unclean;
		verdict_table_dirty_all(&c->segment.table);
	}
	if (incarnation != c->dataplane_incarnation) {
		c->dataplane_incarnation = incarnation;
		c->dataplane_start = c->config->values;
	}
	if (store_maintain(c->store, now)) {
		struct siphash_key key;

		if (store_table_key(c->store, &key) == 0)
			store_is_back(c, &key);
		else
			store_refill(c);
		if (!c->attached)
			return;
	}
	control_backends_keep(c);
	alarms_watch(c, now);
	table_sweep(c);
	control_load_again(c);
	stats_publish(c);
	log_flush(&c->log, control_wall_us());
	if (now >= c->figures_at_us) {
		c->figures_at_us = now + FIGURES_US;
		store_figures_put(c->store, &c->report, sizeof(c->report));
	}
}

/* What is left over is written in the next turns, without waiting for the slow timer: a flood of GREY entries would else keep what became
 * WHITE from the disk, while we idle. */
static void
commit_some(struct control *c, uint64_t now)
{
	c->commit_behind = store_commit(c->store, &c->segment.table, now, COMMIT_BUDGET_US);
	c->commit_at_us = c->commit_behind ? now : now + COMMIT_US;
}

/* Only a table into which all was loaded says what is gone. */
static void
database_sweep(struct control *c)
{
	const struct vt_ages ages = control_ages(c);

	if (__atomic_load_n(&c->segment.live->loading, __ATOMIC_RELAXED) == SEGMENT_LOADED)
		store_sweep_step(
			c->store, &c->segment.table, &ages, MAX(SWEEP_RECORDS, c->config->values.store_grey_per_s / 2));
}

void
control_slow(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	const uint64_t now = control_mono_us();

	(void)fd;
	(void)what;
	if (!c->attached) {
		if (now >= c->check_at_us) {
			c->check_at_us = now + CHECK_US;
			if (control_attach(c) == 0)
				control_publish(c);
		}
		return;
	}
	__atomic_store_n(&c->segment.live->heartbeat_us[SEGMENT_CONTROL], segment_boot_us(), __ATOMIC_RELAXED);
	if (now >= c->check_at_us) {
		c->check_at_us = now + CHECK_US;
		if (!segment_is_current(&c->segment)) {
			control_segment_lost(c);
			return;
		}
	}
	if (now >= c->commit_at_us && !control_is_loading(c))
		commit_some(c, now);
	database_sweep(c);
	if (now >= c->second_at_us) {
		c->second_at_us = now + SECOND_US;
		second_turn(c, now);
	}
}

void
control_turn(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	struct timeval tv = { 0 };
	uint32_t taken = events_turn(c);
	bool loading, behind;

	(void)fd;
	(void)what;
	if (taken > 0)
		log_flush(&c->log, control_wall_us());
	if (c->n_confirmations > 0)
		control_confirmations_turn(c, control_mono_us());
	loading = control_is_loading(c);
	if (loading)
		control_load_until(c, control_mono_us() + LOAD_TURN_US);
	behind = c->attached && c->commit_behind && !loading;
	if (behind)
		commit_some(c, control_mono_us());
	c->turn_us = taken > 0 || c->n_confirmations > 0 || loading || behind
	                     ? TURN_MIN_US
	                     : MIN(c->turn_us * 2, (uint32_t)TURN_MAX_US);
	tv.tv_usec =
		loading ? 0 : (suseconds_t)c->turn_us; /* loading: no pause, but everybody else's turn comes between */
	event_add(c->turn, &tv);
}
