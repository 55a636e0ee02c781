/*
 * control_segment.c - the shared memory from control's side: its key, attaching, policy time, filling it, losing it.
 *
 * Flow:   control_start() -> control_table_key(), control_attach();  control_slow() -> control_segment_lost();  turns -> control_load_until()
 * Touches: the segment, the database.
 */
#include "control/control_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/policy.h"

#define LOAD_AGAIN_US     60000000 /* after the database could not be read */
#define LOAD_FIRST_US     400000   /* so long records are loaded before anything is served */
#define LOAD_STEP_RECORDS 4000

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

void
control_policy_time_start(struct control *c)
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

struct vt_ages
control_ages(const struct control *c)
{
	return policy_ages(&c->config->values.conf, control_now_s(c));
}

static void
loading_set(struct control *c, enum segment_loading loading)
{
	__atomic_store_n(&c->segment.live->loading, loading, __ATOMIC_RELEASE);
}

/* How far it is, into the segment's header: what workers tell who is put off, and what a reader of the segment sees. */
static void
loading_say(struct control *c)
{
	const struct store_progress p = store_load_progress(c->store, control_mono_us());

	__atomic_store_n(&c->segment.live->loading_left_s, (uint32_t)MIN(p.left_s + 1, 1e9), __ATOMIC_RELAXED);
	__atomic_store_n(&c->segment.live->loading_done, p.done, __ATOMIC_RELAXED);
	__atomic_store_n(&c->segment.live->loading_of, p.of, __ATOMIC_RELAXED);
}

static void
load_end(struct control *c, enum store_load how)
{
	const struct store_progress p = store_load_progress(c->store, control_mono_us());
	const double took_s = (double)(control_mono_us() - c->load_began_us) / 1e6;

	c->counted_us = 0; /* what status counted is old now */
	if (how == STORE_LOAD_WHOLE) {
		loading_set(c, SEGMENT_LOADED);
		fprintf(stderr, "greyline-control: %" PRIu64 " records loaded in %.2f s\n",
			store_stats(c->store)->loaded, took_s);
		log_notice(&c->log, control_wall_us(), "loaded %" PRIu64 " of %" PRIu64 " records in %.2f s",
			store_stats(c->store)->loaded, p.of, took_s);
		return;
	}
	loading_set(c, SEGMENT_LOAD_AGAIN);
	c->load_again_us = control_mono_us() + LOAD_AGAIN_US;
	fprintf(stderr,
		"greyline-control: loading was cut short after %" PRIu64 " of %" PRIu64
		" records: %s; tried again in %u s, till then no record is removed from the database\n",
		p.done, p.of, store_stats(c->store)->note, LOAD_AGAIN_US / 1000000);
}

static void
load_begin(struct control *c, bool is_first)
{
	c->load_began_us = control_mono_us();
	store_load_begin(c->store, is_first, c->load_began_us);
	loading_say(c);
	if (!control_is_loading(c))
		load_end(c, STORE_LOAD_CUT);
}

bool
control_is_loading(const struct control *c)
{
	return c->attached && store_load_progress(c->store, 0).under_way;
}

void
control_load_until(struct control *c, uint64_t until_us)
{
	const struct vt_ages ages = control_ages(c);
	enum store_load how = STORE_LOAD_MORE;

	while (how == STORE_LOAD_MORE && control_is_loading(c) && control_mono_us() < until_us)
		how = store_load_step(c->store, &c->segment.table, &ages, LOAD_STEP_RECORDS);
	loading_say(c);
	if (how != STORE_LOAD_MORE)
		load_end(c, how);
}

void
control_load_again(struct control *c)
{
	if (__atomic_load_n(&c->segment.live->loading, __ATOMIC_RELAXED) == SEGMENT_LOAD_AGAIN &&
		!control_is_loading(c) && store_stats(c->store)->state == STORE_READY &&
		control_mono_us() >= c->load_again_us)
		load_begin(c, false);
}

/* The key of the tags: the database's; else that of a segment that is there; else a new one. */
int
control_table_key(struct control *c)
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

int
control_attach(struct control *c)
{
	const struct segment_params params = { .entries = c->config->values.state_entries,
		.table_key = c->table_key,
		.workers = c->config->values.conf.workers,
		.plain_pages = !c->config->values.conf.huge_pages };
	char why[256] = "";
	bool created = false;
	int error = segment_open_control(&c->segment, c->segment_path, &params, &created, why, sizeof(why));

	if (error != 0) {
		fprintf(stderr, "greyline-control: segment %s: %s%s%s\n", c->segment_path, strerror(-error),
			why[0] != '\0' ? ": " : "", why);
		return error;
	}
	c->attached = true;
	c->counted_us = 0;
	if (created)
		loading_set(c, SEGMENT_LOADING); /* before anybody meets a miss in it */
	__atomic_store_n(&c->segment.live->heartbeat_us[SEGMENT_CONTROL], segment_boot_us(), __ATOMIC_RELAXED);
	memset(c->backend_kept, 0, sizeof(c->backend_kept));
	control_policy_time_start(c);
	store_backends(c->store, backend_restore, c);
	__atomic_store_n(&c->segment.live->control_pid, (uint32_t)getpid(), __ATOMIC_RELAXED);
	c->unclean_seen = __atomic_load_n(&c->segment.live->unclean_ends, __ATOMIC_RELAXED);
	c->sweep_from_s = c->sweep_now_s = control_now_s(c);
	c->sweep_bucket = 0;
	verdict_table_requeue_in_flight(&c->segment.table);
	if (!created && c->segment.was_unclean)
		verdict_table_dirty_all(&c->segment.table);
	if (__atomic_load_n(&c->segment.live->loading, __ATOMIC_RELAXED) != SEGMENT_LOADED) {
		loading_set(c, SEGMENT_LOADING);
		load_begin(c, created);
		control_load_until(c, control_mono_us() + LOAD_FIRST_US);
	}
	fprintf(stderr, "greyline-control: segment %s %s, %" PRIu64 " entries\n", c->segment_path,
		created ? "created" : "found", c->segment.entries);
	return 0;
}

/* The segment was deleted or replaced under us: what it holds is kept, another is made, and a snapshot that names it. */
void
control_segment_lost(struct control *c)
{
	fprintf(stderr, "greyline-control: segment %s was deleted or replaced: making another\n", c->segment_path);
	c->counts.segments_lost++;
	while (store_commit(c->store, &c->segment.table, control_mono_us(), COMMIT_BUDGET_US) &&
		store_stats(c->store)->state == STORE_READY && store_stats(c->store)->lag_buckets > 0)
		;
	if (control_segment_renew(c) == 0)
		control_publish(c);
}

int
control_segment_renew(struct control *c)
{
	segment_close(&c->segment, false);
	c->attached = false;
	return control_attach(c);
}
