/*
 * control.c - start order, publishing of snapshots, reload, the turns of the loop, the end.
 *
 * Flow:   main.c -> control_start() -> turn() every 1 to 10 ms, slow() every 100 ms -> control_stop()
 * Touches: everything, by the parts.
 * Keeps:  the order of the start: lock, database, table key, segment, policy time, backend states, records, snapshot, resolver, socket. A data
 *         plane that waits sees the segment before the snapshot, and the records of most databases before both.
 */
#include "control/control.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control/api.h"
#include "control/compile.h"
#include "control/stats.h"
#include "dataplane/base/bug.h"
#include "dataplane/policy/grey.h"

#define TURN_MIN_US       1000
#define TURN_MAX_US       10000
#define SLOW_US           100000
#define COMMIT_US         250000
#define COMMIT_BUDGET_US  20000
#define CHECK_US          500000
#define SECOND_US         1000000
#define ALARMS_US         5000000 /* between two looks at what is wrong: a restart of the data plane is over by then */
#define FIGURES_US        60000000
#define LOAD_FIRST_US     400000 /* so long records are loaded before anything is served */
#define LOAD_STEP_RECORDS 4000
#define LOAD_TURN_US      8000 /* of each turn while loading: what a request waits at most for it */
#define SWEEP_RECORDS     5000 /* of the database, a second */
#define SWEEP_TABLE_S     600  /* one sweep of the table */

/* --- time */

int64_t
control_wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

uint64_t
control_mono_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint32_t
control_now_s(const struct control *c)
{
	return c->attached ? segment_policy_now_s(&c->segment, segment_boot_us()) : 0;
}

int64_t
control_wall_of(const struct control *c, uint32_t policy_s)
{
	return control_wall_us() / 1000000 - ((int64_t)control_now_s(c) - policy_s);
}

/* --- what policy decides by */

void
control_policy_ctx(struct control *c, struct policy_ctx *ctx)
{
	*ctx = (struct policy_ctx){
		.conf = c->mapped ? c->snapshot.conf : &c->config->values.conf,
		.table = c->attached ? &c->segment.table : NULL,
		.budget = c->attached ? c->segment.budget : NULL,
	};
	if (!c->mapped)
		return;
	ctx->domains = c->snapshot.domains;
	ctx->client_allow = c->snapshot.client_allow;
	ctx->client_deny = c->snapshot.client_deny;
	ctx->sender_allow = c->snapshot.sender_allow;
	ctx->sender_deny = c->snapshot.sender_deny;
	ctx->rcpt_allow = c->snapshot.rcpt_allow;
	ctx->rcpt_deny = c->snapshot.rcpt_deny;
	ctx->rcpt_no_grey = c->snapshot.rcpt_no_grey;
	ctx->traps = c->snapshot.traps;
	ctx->zones = c->snapshot.zones;
	ctx->n_zones = c->snapshot.n_zones;
}

bool
control_dataplane_serves(const struct control *c)
{
	uint64_t beat;

	if (!c->attached || __atomic_load_n(&c->segment.live->dataplane_state, __ATOMIC_RELAXED) != 2)
		return false;
	beat = __atomic_load_n(&c->segment.live->heartbeat_us[SEGMENT_DATAPLANE], __ATOMIC_RELAXED);
	return segment_boot_us() < beat + CONTROL_HEARTBEAT_DEAD_US;
}

bool
control_confirmed(const struct control *c)
{
	uint32_t workers = c->dataplane_start.conf.workers;

	if (!control_dataplane_serves(c))
		return false;
	if (workers == 0 || workers > CONF_WORKERS_MAX)
		workers = 1;
	for (uint32_t w = 0; w < workers; w++)
		if (__atomic_load_n(&c->segment.live->snapshot_in_force[w], __ATOMIC_RELAXED) < c->generation)
			return false;
	return true;
}

void
control_confirm(struct control *c, confirm_fn *fn, void *arg)
{
	if (control_confirmed(c) || !control_dataplane_serves(c) || c->n_confirmations == CONTROL_CONFIRMATIONS_MAX) {
		fn(arg, control_confirmed(c));
		return;
	}
	c->confirmation[c->n_confirmations++] = (struct confirmation){
		.generation = c->generation, .deadline_us = control_mono_us() + CONTROL_CONFIRM_US, .fn = fn, .arg = arg
	};
}

static void
confirmations_turn(struct control *c, uint64_t now)
{
	for (uint32_t i = 0; i < c->n_confirmations;) {
		struct confirmation done = c->confirmation[i];
		bool confirmed = control_confirmed(c);

		if (!confirmed && now < done.deadline_us && !c->stopping) {
			i++;
			continue;
		}
		c->confirmation[i] = c->confirmation[--c->n_confirmations];
		done.fn(done.arg, confirmed);
	}
}

static void
map_own(struct control *c)
{
	struct snapshot fresh;
	char why[256];
	int error = snapshot_map(&fresh, c->snapshot_path, why, sizeof(why));

	if (error != 0) {
		fprintf(stderr, "greyline-control: %s: %s\n", c->snapshot_path, why);
		return;
	}
	if (c->mapped)
		snapshot_unmap(&c->snapshot);
	c->snapshot = fresh;
	c->mapped = true;
}

int
control_publish(struct control *c)
{
	const struct compile_extra extra = {
		.allow = c->allow.v, .n_allow = c->allow.n, .deny = c->deny.v, .n_deny = c->deny.n, .seed = c->seed
	};
	uint64_t generation = MAX(c->generation, snapshot_generation(c->snapshot_path));
	uint32_t ids[CONF_BACKENDS_MAX];
	int error;

	if (c->attached)
		generation = MAX(generation, __atomic_load_n(&c->segment.live->snapshot_generation, __ATOMIC_RELAXED));
	error = compile_snapshot(c->config, &extra, c->segment_path, c->snapshot_path, generation + 1);
	if (error != 0) {
		fprintf(stderr, "greyline-control: %s: %s\n", c->snapshot_path, strerror(-error));
		return error;
	}
	c->generation = generation + 1;
	if (c->attached) {
		for (uint32_t i = 0; i < c->config->n_backends; i++)
			ids[i] = c->config->backend[i].id;
		segment_backends_keep(&c->segment, ids, c->config->n_backends);
		__atomic_store_n(&c->segment.live->snapshot_generation, c->generation, __ATOMIC_RELEASE);
	}
	map_own(c);
	c->log.grey_per_s = c->config->values.conf.log_grey_per_s;
	c->log.format = c->config->values.log_format == 1 ? LOG_FORMAT_JSON : LOG_FORMAT_KV;
	if (strcmp(c->log.path, c->config->values.log_file) != 0) {
		error = log_open(&c->log, c->config->values.log_file);
		if (error != 0)
			fprintf(stderr, "greyline-control: %s: %s\n", c->config->values.log_file, strerror(-error));
	}
	store_set_rates(c->store, c->config->values.store_grey_per_s);
	return 0;
}

/* --- what was learned by zones and name lists that are others now */

static bool
texts_differ(const struct config_texts *a, const struct config_texts *b)
{
	if (a->n != b->n)
		return true;
	for (uint32_t i = 0; i < a->n; i++)
		if (strcmp(a->v[i].text, b->v[i].text) != 0)
			return true;
	return false;
}

static bool
questions_differ(const struct config *a, const struct config *b)
{
	if (a->n_zones != b->n_zones ||
		texts_differ(&a->list[LIST_CLIENT_ALLOW_NAMES], &b->list[LIST_CLIENT_ALLOW_NAMES]) ||
		texts_differ(&a->list[LIST_CLIENT_DENY_NAMES], &b->list[LIST_CLIENT_DENY_NAMES]) ||
		texts_differ(&a->big_senders, &b->big_senders))
		return true;
	for (uint32_t i = 0; i < a->n_zones; i++)
		if (memcmp(&a->zone[i].spec, &b->zone[i].spec, sizeof(a->zone[i].spec)) != 0 ||
			a->zone[i].kind != b->zone[i].kind || strcmp(a->zone[i].name, b->zone[i].name) != 0)
			return true;
	return false;
}

/* A verdict holds the index of a zone and whether a name was on a list: under other zones or lists it is asked for anew. */
static void
verdicts_drop(struct control *c)
{
	struct vt_entry e[4];

	for (uint32_t b = 0; c->attached && b < c->segment.table.n_buckets; b++) {
		verdict_table_read_bucket(&c->segment.table, b, e);
		for (unsigned i = 0; i < 4; i++)
			if (vt_kind(&e[i]) == VT_CLIENT)
				verdict_table_remove(&c->segment.table, &e[i]);
	}
}

/* --- the operator's clients */

static void
networks_add(struct control_networks *n, const struct prefix_entry *e)
{
	if (n->n == n->room) {
		n->room = n->room == 0 ? 16 : n->room * 2;
		n->v = realloc(n->v, n->room * sizeof(*n->v));
		BUG_ON(n->v == NULL);
	}
	n->v[n->n] = *e;
	n->v[n->n++].value = COMPILE_SOURCE_OPERATOR << 24;
}

static void
client_take(void *arg, const char *key, char list, const char *note, uint64_t wall_s)
{
	struct control *c = arg;
	struct prefix_entry e;

	(void)note;
	(void)wall_s;
	if (c->allow.n + c->deny.n + c->n_names >= CONTROL_CLIENTS_MAX)
		return;
	if (prefix_parse(key, &e) == 0) {
		networks_add(list == 'a' ? &c->allow : &c->deny, &e);
	} else if (config_host_wrong(key) == NULL) {
		config_texts_add(&c->config->list[list == 'a' ? LIST_CLIENT_ALLOW_NAMES : LIST_CLIENT_DENY_NAMES], key,
			strlen(key), 0, COMPILE_SOURCE_OPERATOR);
		c->n_names++;
	}
}

static void
names_drop_operators(struct config_texts *t)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < t->n; i++) {
		if (t->v[i].source == COMPILE_SOURCE_OPERATOR)
			free(t->v[i].text);
		else
			t->v[kept++] = t->v[i];
	}
	t->n = kept;
}

/* The operator's entries as the database has them, into the networks and the name lists of the configuration in force. */
static void
clients_read(struct control *c)
{
	c->allow.n = c->deny.n = c->n_names = 0;
	names_drop_operators(&c->config->list[LIST_CLIENT_ALLOW_NAMES]);
	names_drop_operators(&c->config->list[LIST_CLIENT_DENY_NAMES]);
	store_clients(c->store, client_take, c);
}

int
control_questions_changed(struct control *c)
{
	if (resolver_configure(c->resolver, c->config) != 0)
		return -EIO;
	verdicts_drop(c);
	return 0;
}

static int
clients_changed(struct control *c, uint32_t names_before)
{
	clients_read(c);
	if ((c->n_names > 0 || names_before > 0) && control_questions_changed(c) != 0)
		return -EIO;
	return control_publish(c);
}

int
control_client_put(struct control *c, const char *key, char list, const char *note, char *why)
{
	struct prefix_entry e;
	char text[IP_ADDR_TEXT_MAX_OCTETS + 8];
	const uint32_t names = c->n_names;
	int error = prefix_parse(key, &e);

	if (error == -EDOM) {
		snprintf(
			why, OPTION_ERROR_OCTETS, "%.80s has host bits set; right is %s", key, prefix_format(&e, text));
		return -EINVAL;
	}
	if (error == 0) {
		key = prefix_format(&e, text);
	} else if (config_host_wrong(key) != NULL || strchr(key, '.') == NULL || strcmp(key, "*") == 0) {
		snprintf(why, OPTION_ERROR_OCTETS, "\"%.80s\" is neither a network nor a host name", key);
		return -EINVAL;
	}
	error = store_client_put(c->store, key, list, note, (uint64_t)(control_wall_us() / 1000000));
	if (error == 0)
		error = clients_changed(c, names);
	if (error != 0)
		snprintf(why, OPTION_ERROR_OCTETS, "cannot be kept: %s", strerror(-error));
	return error == -EINVAL ? -EIO : error;
}

int
control_client_remove(struct control *c, const char *key)
{
	struct prefix_entry e;
	char text[IP_ADDR_TEXT_MAX_OCTETS + 8];
	const uint32_t names = c->n_names;
	int error;

	if (prefix_parse(key, &e) == 0)
		key = prefix_format(&e, text);
	error = store_client_remove(c->store, key);
	return error == 0 ? clients_changed(c, names) : error;
}

bool
control_entry_remove(struct control *c, enum vt_kind kind, uint64_t tag)
{
	struct vt_entry e;
	bool removed = false;

	for (unsigned i = 0;
		i < 8 && c->attached && verdict_table_find(&c->segment.table, tag, &e) && vt_kind(&e) == kind; i++)
		if (verdict_table_remove(&c->segment.table, &e)) {
			removed = true;
			break;
		}
	store_entry_remove(c->store, (uint8_t)kind, tag);
	return removed;
}

/* --- configuration */

struct overlay {
	struct config *config;
	struct {
		char name[64], text[OPTION_TEXT_OCTETS];
		bool done;
	} * v;
	uint32_t n;
};

static void
overlay_take(void *arg, const char *name, const char *text)
{
	struct overlay *o = arg;

	if (o->n == option_n)
		return;
	snprintf(o->v[o->n].name, sizeof(o->v[o->n].name), "%s", name);
	snprintf(o->v[o->n++].text, OPTION_TEXT_OCTETS, "%s", text);
}

/* Lays what was set over the file's values. Values that depend on each other find their order by trying again. */
static void
overlay(struct control *c, struct config *config)
{
	struct overlay o = { .config = config, .v = calloc(option_n, sizeof(*o.v)) };
	char why[OPTION_ERROR_OCTETS] = "";
	bool moved = true;

	BUG_ON(o.v == NULL);
	store_options(c->store, overlay_take, &o);
	while (moved) {
		moved = false;
		for (uint32_t i = 0; i < o.n; i++) {
			const struct option_row *option = option_find(o.v[i].name);

			if (!o.v[i].done && option != NULL && config_set(config, option, o.v[i].text, why) == 0)
				o.v[i].done = moved = true;
		}
	}
	for (uint32_t i = 0; i < o.n; i++)
		if (!o.v[i].done)
			fprintf(stderr, "greyline-control: set %s = %s does not fit any more and is left out: %s\n",
				o.v[i].name, o.v[i].text, option_find(o.v[i].name) == NULL ? "unknown setting" : why);
	free(o.v);
}

int
control_reload(struct control *c, struct config_errors *errors)
{
	struct config *fresh = config_load(c->config_path, errors), *old = c->config;
	int error;

	if (fresh == NULL)
		return -EINVAL;
	/* what is bound to the start stays as it is until then */
	if (strcmp(fresh->file.run_dir, c->at_start.run_dir) != 0 ||
		strcmp(fresh->file.state_dir, c->at_start.state_dir) != 0) {
		config_error(errors, "%s: run_dir and state_dir cannot change while running: restart greyline-control",
			c->config_path);
		config_free(fresh);
		return -EINVAL;
	}
	overlay(c, fresh);
	c->config = fresh;
	clients_read(c);
	error = resolver_configure(c->resolver, fresh);
	if (error == 0)
		error = control_publish(c);
	if (error != 0) {
		config_error(errors, "%s: cannot be applied: %s", c->config_path, strerror(-error));
		c->config = old;
		config_free(fresh);
		clients_read(c);
		if (resolver_configure(c->resolver, old) != 0)
			fprintf(stderr, "greyline-control: the resolver cannot be set up\n");
		return -EIO;
	}
	if (questions_differ(old, fresh))
		verdicts_drop(c);
	config_free(old);
	return 0;
}

void
control_waiting(const struct control *c, void (*fn)(void *arg, const char *path), void *arg)
{
	for (unsigned i = 0; i < option_n; i++) {
		const struct option_row *o = &option_table[i];
		const bool of_dataplane = strncmp(o->path, "dataplane.", 10) == 0;

		if (o->when != OPTION_START)
			continue;
		if (strcmp(o->path, "state.entries") == 0) {
			if (c->attached && c->segment.entries != c->config->values.state_entries)
				fn(arg, o->path);
		} else if (!option_equal(o, &c->config->values, of_dataplane ? &c->dataplane_start : &c->at_start)) {
			fn(arg, o->path);
		}
	}
}

/* --- the segment */

static void
backend_restore(void *arg, const struct backend_state *kept)
{
	struct control *c = arg;
	struct backend_state *slot;

	for (uint32_t i = 0; i < c->config->n_backends; i++) {
		if (c->config->backend[i].id != kept->id)
			continue;
		slot = segment_backend(&c->segment, kept->id, false);
		if (slot != NULL) { /* the segment knows better, but for the operator's word: that was stored first */
			__atomic_store_n(&slot->drained, kept->drained, __ATOMIC_RELAXED);
			return;
		}
		slot = segment_backend(&c->segment, kept->id, true);
		if (slot != NULL) {
			const uint32_t id = slot->id;

			*slot = *kept;
			slot->id = id;
			c->backend_kept[slot - c->segment.backends] = *slot;
		}
	}
}

static void
policy_time_start(struct control *c)
{
	struct schema_policy_time kept, now = { 0 };
	char boot_id[SEGMENT_BOOT_ID_OCTETS];

	segment_boot_id(boot_id);
	if (store_policy_time(c->store, &kept) == 0)
		segment_policy_restore(&c->segment, kept.offset_s, kept.boot_id, boot_id);
	segment_policy_start(&c->segment, segment_boot_us(), (uint64_t)(control_wall_us() / 1000000), boot_id);
	now.offset_s = __atomic_load_n(&c->segment.live->policy_offset_s, __ATOMIC_RELAXED);
	snprintf(now.boot_id, sizeof(now.boot_id), "%.36s", boot_id);
	store_policy_time_put(c->store, &now);
}

static struct vt_ages
ages_now(const struct control *c)
{
	return policy_ages(&c->config->values.conf, control_now_s(c));
}

static void
load_step(struct control *c)
{
	const struct vt_ages ages = ages_now(c);

	if (store_load_step(c->store, &c->segment.table, &ages, LOAD_STEP_RECORDS)) {
		__atomic_store_n(&c->segment.live->loading, 0, __ATOMIC_RELEASE);
		fprintf(stderr, "greyline-control: %" PRIu64 " records loaded\n", store_stats(c->store)->loaded);
	}
}

static void
load_until(struct control *c, uint64_t until_us)
{
	while (store_stats(c->store)->loading && control_mono_us() < until_us)
		load_step(c);
}

/* The key of the tags: the database's; else that of a segment that is there; else a new one. */
static int
table_key(struct control *c)
{
	struct segment reader;
	char why[256];
	int error = store_table_key(c->store, &c->table_key);

	if (error == 0)
		return 0;
	if (segment_open_reader(&reader, c->segment_path, why, sizeof(why)) == 0) {
		c->table_key = reader.table.key;
		segment_close(&reader, false);
	} else if (getrandom(&c->table_key, sizeof(c->table_key), 0) != (ssize_t)sizeof(c->table_key)) {
		fprintf(stderr, "greyline-control: no random octets: %s\n", strerror(errno));
		return -EIO;
	}
	store_table_key_put(c->store, &c->table_key);
	return 0;
}

static int
attach(struct control *c)
{
	const struct segment_params params = { .entries = c->config->values.state_entries,
		.table_key = c->table_key,
		.workers = c->config->values.conf.workers };
	char why[256] = "";
	bool created = false;
	int error = segment_open_control(&c->segment, c->segment_path, &params, &created, why, sizeof(why));

	if (error != 0) {
		fprintf(stderr, "greyline-control: segment %s: %s%s%s\n", c->segment_path, strerror(-error),
			why[0] != '\0' ? ": " : "", why);
		return error;
	}
	c->attached = true;
	memset(c->backend_kept, 0, sizeof(c->backend_kept));
	policy_time_start(c);
	store_backends(c->store, backend_restore, c);
	__atomic_store_n(&c->segment.live->control_pid, (uint32_t)getpid(), __ATOMIC_RELAXED);
	__atomic_store_n(&c->segment.live->heartbeat_us[SEGMENT_CONTROL], segment_boot_us(), __ATOMIC_RELAXED);
	c->unclean_seen = __atomic_load_n(&c->segment.live->unclean_ends, __ATOMIC_RELAXED);
	c->sweep_from_s = c->sweep_now_s = control_now_s(c);
	c->sweep_bucket = 0;
	verdict_table_requeue_in_flight(&c->segment.table);
	if (!created && c->segment.was_unclean)
		verdict_table_dirty_all(&c->segment.table);
	if (created || __atomic_load_n(&c->segment.live->loading, __ATOMIC_RELAXED) != 0) {
		uint64_t until = control_mono_us() + LOAD_FIRST_US;

		__atomic_store_n(&c->segment.live->loading, 1, __ATOMIC_RELEASE);
		store_load_begin(c->store);
		if (!store_stats(c->store)->loading)
			__atomic_store_n(&c->segment.live->loading, 0, __ATOMIC_RELEASE);
		load_until(c, until);
	}
	fprintf(stderr, "greyline-control: segment %s %s, %" PRIu64 " entries\n", c->segment_path,
		created ? "created" : "found", c->segment.entries);
	return 0;
}

/* The segment was deleted or replaced under us: what it holds is kept, another is made, and a snapshot that names it. */
static void
segment_lost(struct control *c)
{
	fprintf(stderr, "greyline-control: segment %s was deleted or replaced: making another\n", c->segment_path);
	c->counts.segments_lost++;
	while (store_commit(c->store, &c->segment.table, control_mono_us(), COMMIT_BUDGET_US) &&
		store_stats(c->store)->state == STORE_READY && store_stats(c->store)->lag_buckets > 0)
		;
	segment_close(&c->segment, false);
	c->attached = false;
	if (attach(c) == 0)
		control_publish(c);
}

/* --- turns */

static void
backends_keep(struct control *c)
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
	struct siphash_key key;

	if (store_table_key(c->store, &key) != 0 || key.k0 != c->table_key.k0 || key.k1 != c->table_key.k1)
		store_table_key_put(c->store, &c->table_key);
	verdict_table_dirty_all(&c->segment.table);
	policy_time_start(c);
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
	const struct vt_ages ages = ages_now(c);
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
	if (store_maintain(c->store, now))
		store_refill(c);
	backends_keep(c);
	alarms_watch(c, now);
	table_sweep(c);
	store_sweep_step(c->store, &c->segment.table, &ages, SWEEP_RECORDS);
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

static void
slow(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	const uint64_t now = control_mono_us();

	(void)fd;
	(void)what;
	if (!c->attached) {
		if (now >= c->check_at_us) {
			c->check_at_us = now + CHECK_US;
			if (attach(c) == 0)
				control_publish(c);
		}
		return;
	}
	__atomic_store_n(&c->segment.live->heartbeat_us[SEGMENT_CONTROL], segment_boot_us(), __ATOMIC_RELAXED);
	if (now >= c->check_at_us) {
		c->check_at_us = now + CHECK_US;
		if (!segment_is_current(&c->segment)) {
			segment_lost(c);
			return;
		}
	}
	if (now >= c->commit_at_us && !store_stats(c->store)->loading)
		commit_some(c, now);
	if (now >= c->second_at_us) {
		c->second_at_us = now + SECOND_US;
		second_turn(c, now);
	}
}

static void
turn(evutil_socket_t fd, short what, void *arg)
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
		confirmations_turn(c, control_mono_us());
	loading = c->attached && store_stats(c->store)->loading;
	if (loading)
		load_until(c, control_mono_us() + LOAD_TURN_US);
	behind = c->attached && c->commit_behind && !loading;
	if (behind)
		commit_some(c, control_mono_us());
	c->turn_us = taken > 0 || c->n_confirmations > 0 || loading || behind
	                     ? TURN_MIN_US
	                     : MIN(c->turn_us * 2, (uint32_t)TURN_MAX_US);
	tv.tv_usec = (suseconds_t)c->turn_us;
	event_add(c->turn, &tv);
}

static void
hangup(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	struct config_errors errors = { 0 };

	(void)fd;
	(void)what;
	log_open(&c->log, c->log.path);
	if (control_reload(c, &errors) != 0) {
		for (uint32_t i = 0; i < errors.n; i++)
			fprintf(stderr, "greyline-control: %s\n", errors.line[i]);
		fprintf(stderr, "greyline-control: the configuration stays as it was\n");
	} else {
		fprintf(stderr, "greyline-control: configuration read, generation %" PRIu64 "\n", c->generation);
	}
	config_errors_free(&errors);
}

static void
terminate(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;

	(void)fd;
	(void)what;
	c->stopping = true;
	event_base_loopbreak(c->base);
}

/* --- start and end */

static int
folder_make(const char *path, mode_t mode)
{
	char part[512];

	snprintf(part, sizeof(part), "%s", path);
	for (char *p = part + 1; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(part, 0755) != 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(part, mode) != 0 && errno != EEXIST ? -errno : 0;
}

/* One control process for a state folder: the lock ends with the process. */
static int
lock_take(struct control *c)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[256];

	snprintf(path, sizeof(path), "%s/control.lock", c->config->values.run_dir);
	c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (c->lock_fd < 0) {
		int error = -errno;

		fprintf(stderr, "greyline-control: %s: %s\n", path, strerror(-error));
		return error;
	}
	if (fcntl(c->lock_fd, F_OFD_SETLK, &lock) != 0) {
		fprintf(stderr, "greyline-control: another greyline-control runs (%s is locked)\n", path);
		return -EWOULDBLOCK;
	}
	return 0;
}

static int
paths_make(struct control *c)
{
	static const struct siphash_key key = { UINT64_C(0x677265796c696e65), UINT64_C(0x7365676d656e7400) };
	const char *run = c->config->values.run_dir;
	char folder[128];
	int error = folder_make(run, 0755);

	if (error != 0) {
		fprintf(stderr, "greyline-control: %s: %s\n", run, strerror(-error));
		return error;
	}
	error = folder_make(c->config->values.state_dir, 0750);
	if (error != 0) /* no place to keep anything: mail flows all the same */
		fprintf(stderr, "greyline-control: %s: %s\n", c->config->values.state_dir, strerror(-error));
	snprintf(folder, sizeof(folder), "/dev/shm/greyline-%016" PRIx64, siphash(&key, run, strlen(run)));
	error = folder_make(folder, 0750);
	if (error != 0) {
		fprintf(stderr, "greyline-control: %s: %s\n", folder, strerror(-error));
		return error;
	}
	snprintf(c->segment_path, sizeof(c->segment_path), "%s/segment", folder);
	snprintf(c->snapshot_path, sizeof(c->snapshot_path), "%s/policy.snapshot", run);
	snprintf(c->socket_path, sizeof(c->socket_path), "%s/control.sock", run);
	return 0;
}

static int
loop_make(struct control *c)
{
	const struct timeval tv = { .tv_usec = TURN_MIN_US }, slow_tv = { .tv_usec = SLOW_US };

	c->turn = evtimer_new(c->base, turn, c);
	c->slow = event_new(c->base, -1, EV_PERSIST, slow, c);
	c->sighup = evsignal_new(c->base, SIGHUP, hangup, c);
	c->sigterm = evsignal_new(c->base, SIGTERM, terminate, c);
	c->sigint = evsignal_new(c->base, SIGINT, terminate, c);
	if (c->turn == NULL || c->slow == NULL || c->sighup == NULL || c->sigterm == NULL || c->sigint == NULL)
		return -ENOMEM;
	c->turn_us = TURN_MIN_US;
	event_add(c->turn, &tv);
	event_add(c->slow, &slow_tv);
	event_add(c->sighup, NULL);
	event_add(c->sigterm, NULL);
	event_add(c->sigint, NULL);
	return 0;
}

static void
report_start(struct control *c)
{
	uint8_t *room = malloc(sizeof(c->report));
	size_t n;

	BUG_ON(room == NULL);
	n = store_figures(c->store, room, sizeof(c->report));
	if (report_load(&c->report, room, n) != 0)
		report_init(&c->report, (uint64_t)(control_wall_us() / 1000000));
	free(room);
}

int
control_start(struct control *c, const char *config_path, struct config *config)
{
	struct resolver_params rp = { .finished = events_client_finished,
		.finished_arg = c,
		.in_good_standing = events_client_is_good,
		.standing_arg = c };
	struct store_params sp;
	int error;

	memset(c, 0, sizeof(*c));
	c->lock_fd = -1;
	c->config = config;
	c->started_us = control_mono_us();
	snprintf(c->config_path, sizeof(c->config_path), "%s", config_path);
	log_init(&c->log);
	c->base = event_base_new();
	BUG_ON(c->base == NULL);
	if (getrandom(&c->seed, sizeof(c->seed), 0) != (ssize_t)sizeof(c->seed))
		c->seed = c->started_us;
	error = paths_make(c);
	if (error == 0)
		error = lock_take(c);
	if (error != 0)
		return error;
	sp = (struct store_params){ .map_mb = config->values.map_mb,
		.map_max_mb = config->values.map_max_mb,
		.grey_per_s = config->values.store_grey_per_s,
		.why_entries = config->values.why_entries };
	c->store = store_create(config->values.state_dir, &sp);
	BUG_ON(c->store == NULL);
	overlay(c, config);
	c->at_start = c->dataplane_start = config->values;
	clients_read(c);
	report_start(c);
	error = table_key(c);
	if (error == 0)
		error = attach(c);
	if (error != 0)
		return error;
	c->dataplane_incarnation = __atomic_load_n(&c->segment.live->incarnation[SEGMENT_DATAPLANE], __ATOMIC_RELAXED);
	rp.config = config;
	rp.in_flight = config->values.dns_in_flight;
	rp.cache_entries = config->values.dns_cache_entries;
	c->resolver = resolver_create(c->base, &rp);
	if (c->resolver == NULL) {
		fprintf(stderr, "greyline-control: the resolver cannot be set up\n");
		return -EIO;
	}
	error = control_publish(c);
	if (error == 0)
		error = api_open(c, c->socket_path);
	if (error != 0) {
		fprintf(stderr, "greyline-control: %s: %s\n", c->socket_path, strerror(-error));
		return error;
	}
	error = stats_listen(c, config->values.metrics_listen);
	if (error != 0) /* a taken port is no reason to stop mail */
		fprintf(stderr, "greyline-control: metrics.listen %s: %s\n", config->values.metrics_listen,
			strerror(-error));
	return loop_make(c);
}

void
control_stop(struct control *c)
{
	c->stopping = true;
	confirmations_turn(c, UINT64_MAX);
	if (c->attached && c->resolver != NULL)
		events_turn(c);
	stats_close(c);
	api_close(c);
	json_decref(c->alarms_seen);
	json_decref(c->alarms_said);
	resolver_destroy(c->resolver);
	if (c->attached) {
		for (unsigned i = 0;
			i < 1000 && store_commit(c->store, &c->segment.table, control_mono_us(), SECOND_US) &&
			store_stats(c->store)->state == STORE_READY && store_stats(c->store)->lag_buckets > 0;
			i++)
			;
		backends_keep(c);
		store_figures_put(c->store, &c->report, sizeof(c->report));
		segment_close(&c->segment, true);
	}
	log_flush(&c->log, control_wall_us());
	log_fini(&c->log);
	store_destroy(c->store);
	if (c->mapped)
		snapshot_unmap(&c->snapshot);
	if (c->turn != NULL)
		event_free(c->turn);
	if (c->slow != NULL)
		event_free(c->slow);
	if (c->sighup != NULL)
		event_free(c->sighup);
	if (c->sigterm != NULL)
		event_free(c->sigterm);
	if (c->sigint != NULL)
		event_free(c->sigint);
	if (c->base != NULL)
		event_base_free(c->base);
	free(c->allow.v);
	free(c->deny.v);
	config_free(c->config);
	if (c->lock_fd >= 0)
		close(c->lock_fd);
}
