/*
 * store_write.c - dirty buckets, names and rejects into the database, and out of it what is gone.
 *
 * Flow:   control's turns -> store_commit() -> one transaction for a batch of buckets and what is queued;  store_sweep_step()
 * Touches: LMDB; the dirty and in-flight bits of the verdict table.
 * Keeps:  bits are cleared after the commit alone. WHITE is written with its batch; GREY and client verdicts at a bounded rate, deferred in a
 *         ring of STORE_DEFERRED buckets, beyond it left until they change next (counted).
 */
#include "control/store_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/base/bug.h"

/* --- committing */

struct batch {
	const struct verdict_table *t;
	uint32_t bucket[STORE_BATCH_BUCKETS];
	uint32_t n;
	uint32_t n_names, n_why;
	double tokens; /* left after this transaction, taken over when it commits */
	uint64_t written;
	uint32_t deferred[STORE_BATCH_BUCKETS];
	uint32_t n_deferred;
};

static bool
is_bulk(const struct vt_entry *e)
{
	return (vt_kind(e) == VT_TRIPLET && vt_state(e) != VT_WHITE) || vt_kind(e) == VT_CLIENT ||
	       vt_kind(e) == VT_PAIR || vt_kind(e) == VT_SENDER_DOMAIN ||
	       (vt_kind(e) == VT_TLS && vt_state(e) != VT_WHITE);
}

static int
entry_write(struct store *s, MDB_txn *txn, struct batch *b, const struct vt_entry *e, bool *later)
{
	const struct schema_entry record = {
		.state = (uint8_t)vt_state(e), .flags = e->flags, .aux = e->aux, .time_s = e->time_s
	};
	uint8_t key_room[SCHEMA_ENTRY_KEY_OCTETS], room[64];
	MDB_val key, value, have;
	int error;

	key = val(key_room, schema_entry_key_build(key_room, (uint8_t)vt_kind(e), e->tag));
	value = val(room, schema_entry_build(&record, room, sizeof(room)));
	error = mdb_get(txn, s->dbi[SCHEMA_DB_ENTRIES], &key, &have);
	if (error == 0 && have.mv_size == value.mv_size && memcmp(have.mv_data, value.mv_data, have.mv_size) == 0)
		return 0;
	if (error != 0 && error != MDB_NOTFOUND)
		return error;
	if (is_bulk(e)) {
		if (b->tokens < 1) {
			*later = true;
			return 0;
		}
		b->tokens -= 1;
	}
	b->written++;
	store_load_written(s, (uint8_t)vt_kind(e), &record);
	return mdb_put(txn, s->dbi[SCHEMA_DB_ENTRIES], &key, &value, 0);
}

static int
why_write(struct store *s, MDB_txn *txn, struct queued_why *w, uint64_t sequence, uint64_t *count)
{
	uint8_t ref[SCHEMA_WHY_KEY_OCTETS], order[SCHEMA_ORDER_KEY_OCTETS], room[SCHEMA_VALUE_MAX_OCTETS];
	struct schema_why before;
	MDB_val key, value;
	int error;

	key = val(ref, schema_why_key_build(ref, w->ref));
	error = mdb_get(txn, s->dbi[SCHEMA_DB_WHY], &key, &value);
	if (error == 0 && schema_why_parse(value.mv_data, value.mv_size, &before) ==
				  0) { /* the same reference again: its old place goes */
		MDB_val old = val(order, schema_order_key_build(order, before.sequence));

		if (mdb_del(txn, s->dbi[SCHEMA_DB_WHY_ORDER], &old, NULL) == 0)
			(*count)--;
	} else if (error != 0 && error != MDB_NOTFOUND) {
		return error;
	}
	w->why.sequence = sequence;
	value = val(room, schema_why_build(&w->why, room, sizeof(room)));
	if (value.mv_size == 0)
		return 0;
	error = mdb_put(txn, s->dbi[SCHEMA_DB_WHY], &key, &value, 0);
	if (error != 0)
		return error;
	key = val(order, schema_order_key_build(order, sequence));
	value = val(room, schema_order_build(w->ref, room, sizeof(room)));
	error = mdb_put(txn, s->dbi[SCHEMA_DB_WHY_ORDER], &key, &value, 0);
	(*count)++;
	return error;
}

/* Removes the oldest rejects beyond the cap. */
static int
why_trim(struct store *s, MDB_txn *txn, uint64_t *count)
{
	MDB_cursor *cursor;
	int error;

	if (*count <= s->params.why_entries)
		return 0;
	error = mdb_cursor_open(txn, s->dbi[SCHEMA_DB_WHY_ORDER], &cursor);
	if (error != 0)
		return error;
	while (*count > s->params.why_entries) {
		uint8_t ref_key[SCHEMA_WHY_KEY_OCTETS];
		MDB_val key, value, del;
		uint64_t ref;

		error = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
		if (error != 0)
			break;
		if (schema_order_parse(value.mv_data, value.mv_size, &ref) == 0) {
			del = val(ref_key, schema_why_key_build(ref_key, ref));
			error = mdb_del(txn, s->dbi[SCHEMA_DB_WHY], &del, NULL);
			if (error != 0 && error != MDB_NOTFOUND)
				break;
		}
		error = mdb_cursor_del(cursor, 0);
		if (error != 0)
			break;
		(*count)--;
	}
	mdb_cursor_close(cursor);
	return error == MDB_NOTFOUND ? 0 : error;
}

static int
queues_write(struct store *s, MDB_txn *txn, struct batch *b)
{
	uint64_t sequence = s->why_sequence, count = s->why_count;
	struct queued_name *n;
	struct queued_why *w;
	int error = 0;

	b->n_names = b->n_why = 0;
	STAILQ_FOREACH (n, &s->names, link) {
		uint8_t key_room[SCHEMA_ENTRY_KEY_OCTETS];
		MDB_val key = val(key_room, schema_entry_key_build(key_room, n->kind, n->tag)),
			value = val(n->value, n->octets);

		error = mdb_put(txn, s->dbi[SCHEMA_DB_NAMES], &key, &value, MDB_NOOVERWRITE);
		if (error != 0 && error != MDB_KEYEXIST)
			return error;
		if (++b->n_names == STORE_BATCH_BUCKETS)
			break;
	}
	STAILQ_FOREACH (w, &s->whys, link) {
		error = why_write(s, txn, w, sequence++, &count);
		if (error != 0)
			return error;
		if (++b->n_why == STORE_BATCH_BUCKETS)
			break;
	}
	error = why_trim(s, txn, &count);
	if (error != 0)
		return error;
	/* taken over by the caller when the transaction commits: kept in the batch's place */
	b->written += b->n_names + b->n_why;
	return 0;
}

static int
batch_write(struct store *s, MDB_txn *txn, void *arg)
{
	struct batch *b = arg;

	b->written = 0;
	b->n_deferred = 0;
	b->tokens = s->grey_tokens;
	for (uint32_t i = 0; i < b->n; i++) {
		struct vt_entry e[4];
		bool later = false;

		verdict_table_read_bucket(b->t, b->bucket[i], e);
		for (unsigned k = 0; k < 4; k++) {
			int error;

			if (vt_kind(&e[k]) == VT_FREE || vt_kind(&e[k]) > VT_KIND_KNOWN)
				continue;
			error = entry_write(s, txn, b, &e[k], &later);
			if (error != 0)
				return error;
		}
		if (later)
			b->deferred[b->n_deferred++] = b->bucket[i];
	}
	return queues_write(s, txn, b);
}

static void
queues_done(struct store *s, const struct batch *b)
{
	for (uint32_t i = 0; i < b->n_names; i++) {
		struct queued_name *n = STAILQ_FIRST(&s->names);

		STAILQ_REMOVE_HEAD(&s->names, link);
		s->stats.queued_names--;
		free(n);
	}
	for (uint32_t i = 0; i < b->n_why; i++) {
		struct queued_why *w = STAILQ_FIRST(&s->whys);

		STAILQ_REMOVE_HEAD(&s->whys, link);
		s->stats.queued_why--;
		free(w);
	}
	if (b->n_why > 0) {
		MDB_txn *txn;

		if (store_read_begin(s, &txn) == 0) {
			store_why_start(s, txn);
			mdb_txn_abort(txn);
		}
	}
}

static void
tokens_refill(struct store *s, uint64_t now_us)
{
	if (s->tokens_us != 0 && now_us > s->tokens_us)
		s->grey_tokens += (double)(now_us - s->tokens_us) * s->params.grey_per_s / 1e6;
	if (s->grey_tokens > s->params.grey_per_s || s->tokens_us == 0)
		s->grey_tokens = s->params.grey_per_s;
	if (s->tokens_us != 0 && now_us > s->tokens_us)
		s->name_tokens += (double)(now_us - s->tokens_us) * s->params.grey_per_s / 1e6;
	s->name_tokens = MIN(s->name_tokens, (double)s->params.grey_per_s * STORE_NAME_BURST_S);
	s->tokens_us = now_us;
}

static void
defer_bucket(struct store *s, uint32_t bucket)
{
	if (s->deferred_n == STORE_DEFERRED) { /* written when it changes next */
		s->stats.grey_unstored++;
		return;
	}
	s->deferred[(s->deferred_at + s->deferred_n++) % STORE_DEFERRED] = bucket;
	s->stats.grey_deferred++;
}

static uint64_t
clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

bool
store_commit(struct store *s, const struct verdict_table *t, uint64_t now_us, uint64_t budget_us)
{
	const uint64_t begin_us = clock_us();
	struct batch *b;
	bool more = false;

	if (s->env == NULL || s->stats.state != STORE_READY || s->damaged)
		return false;
	b = malloc(sizeof(*b));
	if (b == NULL)
		return false;
	b->t = t;
	tokens_refill(s, now_us);
	do {
		uint32_t from_deferred = 0, dirty;

		b->n = 0;
		if (s->grey_tokens >= 1)
			while (s->deferred_n > 0 && from_deferred < STORE_BATCH_BUCKETS / 4) {
				b->bucket[b->n++] = s->deferred[s->deferred_at];
				s->deferred_at = (s->deferred_at + 1) % STORE_DEFERRED;
				s->deferred_n--;
				from_deferred++;
			}
		dirty = verdict_table_take_dirty(t, &s->dirty_cursor, b->bucket + b->n, STORE_BATCH_BUCKETS - b->n);
		b->n += dirty;
		more = dirty > 0 && b->n == STORE_BATCH_BUCKETS;
		if (b->n == 0 && STAILQ_EMPTY(&s->names) && STAILQ_EMPTY(&s->whys))
			break;
		if (store_write_txn(s, batch_write, b, "cannot write; decisions go on from memory") != 0) {
			verdict_table_requeue_in_flight(t);
			for (uint32_t i = 0; i < from_deferred; i++)
				defer_bucket(s, b->bucket[i]);
			more = false;
			break;
		}
		verdict_table_committed(t, b->bucket + from_deferred, dirty);
		s->grey_tokens = b->tokens;
		s->stats.records_written += b->written;
		for (uint32_t i = 0; i < b->n_deferred; i++)
			defer_bucket(s, b->deferred[i]);
		queues_done(s, b);
	} while (more && clock_us() - begin_us < budget_us);
	s->stats.lag_buckets = more ? STORE_BATCH_BUCKETS : 0;
	free(b);
	return more || !STAILQ_EMPTY(&s->names) || !STAILQ_EMPTY(&s->whys);
}

/* Names and rejects that wait, before somebody reads them. */
static int
queues_txn(struct store *s, MDB_txn *txn, void *arg)
{
	return queues_write(s, txn, arg);
}

void
store_queues_flush(struct store *s)
{
	struct batch *b;

	if (STAILQ_EMPTY(&s->names) && STAILQ_EMPTY(&s->whys))
		return;
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return;
	if (store_write_txn(s, queues_txn, b, "cannot write") == 0)
		queues_done(s, b);
	free(b);
}

/* --- sweeping */

struct sweep {
	const struct verdict_table *t;
	const struct vt_ages *ages;
	uint32_t n;
	uint64_t removed;
	uint8_t next[SCHEMA_ENTRY_KEY_OCTETS];
	bool end;
};

static bool
sweep_is_dead(struct store *s, const struct sweep *w, uint8_t kind, uint64_t tag, const MDB_val *value)
{
	struct schema_entry e;
	struct vt_entry live;

	if (verdict_table_find(w->t, tag, &live))
		return (uint8_t)vt_kind(&live) != kind;
	if (s->sweep_db == SCHEMA_DB_NAMES)
		return true;
	if (schema_entry_parse(value->mv_data, value->mv_size, &e) != 0)
		return false; /* of another release: not ours to judge */
	if (w->ages->now_s > e.time_s && w->ages->now_s - e.time_s >= store_age_limit_s(w->ages, kind, e.state))
		return true;
	/* Not in memory: evicted or removed, unless memory was too small for all of it when it was loaded. The caller knows that it was. */
	return s->stats.load_refused == 0;
}

static int
sweep_write(struct store *s, MDB_txn *txn, void *arg)
{
	struct sweep *w = arg;
	MDB_cursor *cursor;
	MDB_val key, value;
	int error = mdb_cursor_open(txn, s->dbi[s->sweep_db], &cursor);

	if (error != 0)
		return error;
	w->removed = 0;
	w->end = false;
	key = val(s->sweep_key, sizeof(s->sweep_key));
	error = mdb_cursor_get(cursor, &key, &value, s->sweep_started ? MDB_SET_RANGE : MDB_FIRST);
	for (uint32_t i = 0; error == 0; i++) {
		uint64_t tag;
		uint8_t kind;

		if (i == w->n && key.mv_size == sizeof(w->next)) {
			memcpy(w->next, key.mv_data, sizeof(w->next));
			break;
		}
		if (schema_entry_key_parse(key.mv_data, key.mv_size, &kind, &tag) == 0 &&
			sweep_is_dead(s, w, kind, tag, &value)) {
			error = mdb_cursor_del(cursor, 0);
			if (error != 0)
				break;
			w->removed++;
		}
		error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (error == MDB_NOTFOUND) {
		w->end = true;
		error = 0;
	}
	return error;
}

void
store_sweep_step(struct store *s, const struct verdict_table *t, const struct vt_ages *ages, uint32_t n_records)
{
	struct sweep w = { .t = t, .ages = ages, .n = n_records };

	if (s->load.pass != 0 || s->stats.state != STORE_READY)
		return;
	if (s->sweep_db != SCHEMA_DB_ENTRIES && s->sweep_db != SCHEMA_DB_NAMES)
		s->sweep_db = SCHEMA_DB_ENTRIES;
	if (store_write_txn(s, sweep_write, &w, "cannot remove old records") != 0)
		return;
	s->stats.records_removed += w.removed;
	s->sweep_started = !w.end;
	memcpy(s->sweep_key, w.next, sizeof(s->sweep_key));
	if (w.end)
		s->sweep_db = s->sweep_db == SCHEMA_DB_ENTRIES ? SCHEMA_DB_NAMES : SCHEMA_DB_ENTRIES;
}

static int
entry_remove_write(struct store *s, MDB_txn *txn, void *arg)
{
	MDB_val key = *(MDB_val *)arg;
	int error = mdb_del(txn, s->dbi[SCHEMA_DB_ENTRIES], &key, NULL);

	if (error != 0 && error != MDB_NOTFOUND)
		return error;
	error = mdb_del(txn, s->dbi[SCHEMA_DB_NAMES], &key, NULL);
	return error == MDB_NOTFOUND ? 0 : error;
}

int
store_entry_remove(struct store *s, uint8_t kind, uint64_t tag)
{
	uint8_t room[SCHEMA_ENTRY_KEY_OCTETS];
	MDB_val key = val(room, schema_entry_key_build(room, kind, tag));

	store_queues_flush(s);
	return store_write_txn(s, entry_remove_write, &key, "cannot remove a record");
}
