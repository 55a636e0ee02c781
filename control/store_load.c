/*
 * store_load.c - records of the database into a cold segment.
 *
 * Flow:   control's turns -> store_load_step() -> verdict_table_put()
 * Touches: LMDB, read only; the verdict table.
 * Keeps:  WHITE and automatic allows come first; what the live table has is never replaced; damaged records are left out and counted.
 */
#include "control/store_impl.h"

#include <string.h>

void
store_load_begin(struct store *s)
{
	s->load_pass = s->env != NULL ? 1 : 0;
	s->load_started = false;
}

static bool
load_is_first(uint8_t kind, const struct schema_entry *e)
{
	return e->state == VT_WHITE || kind == VT_AUTO || kind == VT_TRAP;
}

uint32_t
store_age_limit_s(const struct vt_ages *ages, uint8_t kind, uint8_t state)
{
	switch ((enum vt_kind)kind) {
	case VT_TRIPLET:
		return state == VT_WHITE ? ages->white_s : ages->grey_s;
	case VT_CLIENT:
		return ages->client_s;
	case VT_AUTO:
	case VT_SENDER_DOMAIN:
		return ages->auto_s;
	case VT_PAIR:
		return ages->grey_s;
	case VT_TRAP:
	case VT_FREE:
	case VT_KIND_MAX:
		break;
	}
	return UINT32_MAX;
}

static void
load_one(struct store *s, const struct verdict_table *t, const struct vt_ages *ages, uint8_t kind, uint64_t tag,
	const struct schema_entry *e)
{
	struct vt_entry have, want = { .tag = tag,
		.time_s = e->time_s,
		.aux = e->aux,
		.flags = e->flags,
		.kind_state = vt_kind_state((enum vt_kind)kind, (enum vt_state)e->state) };

	if (want.time_s > ages->now_s) /* POLICY section 3: a time in the future is set to now */
		want.time_s = ages->now_s;
	if (ages->now_s - want.time_s >= store_age_limit_s(ages, kind, e->state) || verdict_table_find(t, tag, &have))
		return; /* expired; or the live table knows better */
	if (verdict_table_put(t, NULL, &want, ages, NULL) == VT_PUT_FULL)
		s->stats.load_refused++;
	else
		s->stats.loaded++;
}

bool
store_load_step(struct store *s, const struct verdict_table *t, const struct vt_ages *ages, uint32_t n_records)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_txn *txn;
	int error;

	if (s->load_pass == 0 || store_read_begin(s, &txn) != 0) {
		s->load_pass = 0;
		return true;
	}
	error = mdb_cursor_open(txn, s->dbi[SCHEMA_DB_ENTRIES], &cursor);
	if (error != 0) {
		mdb_txn_abort(txn);
		store_failed(s, error, "cannot load");
		s->load_pass = 0;
		return true;
	}
	key = val(s->load_key, sizeof(s->load_key));
	error = mdb_cursor_get(cursor, &key, &value, s->load_started ? MDB_SET_RANGE : MDB_FIRST);
	for (uint32_t i = 0; error == 0; i++) {
		struct schema_entry e;
		uint64_t tag;
		uint8_t kind;

		if (i == n_records && key.mv_size == sizeof(s->load_key)) { /* the next step begins with this one */
			memcpy(s->load_key, key.mv_data, sizeof(s->load_key));
			s->load_started = true;
			break;
		}
		if (schema_entry_key_parse(key.mv_data, key.mv_size, &kind, &tag) != 0 ||
			schema_entry_parse(value.mv_data, value.mv_size, &e) != 0 || kind == VT_FREE ||
			kind > VT_SENDER_DOMAIN || tag == 0)
			s->stats.load_damaged += s->load_pass == 1;
		else if (load_is_first(kind, &e) == (s->load_pass == 1))
			load_one(s, t, ages, kind, tag, &e);
		error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	if (error != 0) { /* the end, or damage: what was read stays */
		store_failed(s, error, "cannot load");
		s->load_pass = error == MDB_NOTFOUND && s->load_pass == 1 ? 2 : 0;
		s->load_started = false;
	}
	return s->load_pass == 0;
}
