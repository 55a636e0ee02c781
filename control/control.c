/*
 * control.c - start order, publishing of snapshots, the end.
 *
 * Flow:   main.c -> control_start() -> control_turn() every 1 to 10 ms, control_slow() every 100 ms -> control_stop()
 * Touches: everything, by the parts.
 * Keeps:  the order of the start: lock, database, table key, segment, policy time, backend states, records, snapshot, resolver, socket. A data
 *         plane that waits sees the segment before the snapshot, and the records of most databases before both.
 */
#include "control/control_impl.h"

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
#include "control/cert_check.h"
#include "control/compile.h"
#include "control/stats.h"
#include "dataplane/base/bug.h"
#include "dataplane/policy/grey.h"

#define SLOW_US 100000

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
		.loading_left_s = c->attached ? segment_loading_left_s(&c->segment, segment_boot_us()) : 0,
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

void
control_confirmations_turn(struct control *c, uint64_t now)
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

/* --- start and end */

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

	c->turn = evtimer_new(c->base, control_turn, c);
	c->slow = event_new(c->base, -1, EV_PERSIST, control_slow, c);
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
	control_overlay(c, config);
	c->at_start = c->dataplane_start = config->values;
	control_clients_read(c);
	report_start(c);
	error = control_table_key(c);
	if (error == 0)
		error = control_attach(c);
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
	control_confirmations_turn(c, UINT64_MAX);
	if (c->attached && c->resolver != NULL)
		events_turn(c);
	stats_close(c);
	cert_check_stop(c);
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
		control_backends_keep(c);
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
