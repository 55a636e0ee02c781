/*
 * store_load.c - records of the database into a cold segment.
 *
 * Flow:   control_segment.c -> store_load_begin(), store_load_step() in turns -> verdict_table_load()
 * Touches: LMDB, read only; the page cache of its file; the verdict table.
 * Keeps:  WHITE, automatic allows and traps come first, in a pass of their own; what the live table has is replaced by more alone; damaged
 *         records are left out and counted. Buckets are not marked dirty: the database has what it gives. Only a load that read every
 *         record says so (STORE_LOAD_WHOLE); after another one nobody may take "not in memory" for "gone".
 *
 *         A tag comes once: of a segment that was made empty, records are put without being looked for, as long as nobody else puts
 *         any of their kind (verdict_table_load()). That does not hold for a load after another one, nor for what the second pass may
 *         find although the first had it.
 *
 * What it costs: a record is two lines of a table that fits no cache, so entries go in batches whose lines are asked for together
 * (verdict_table_load()); one after another, waiting for memory was two thirds of it. The keys are in the order of the tags, which is that
 * of one of the two buckets. Reading twice costs a fifth of the whole and no memory; keeping the second pass's records aside would cost as
 * much as the table.
 */
#include "control/store_impl.h"

#include <fcntl.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define LOAD_READ_UNITS   1                    /* of the work: a record read, */
#define LOAD_PUT_UNITS    2                    /* and one put; what is left takes as long a unit as what was done */
#define LOAD_AHEAD_OCTETS (UINT64_C(64) << 20) /* of the file, asked for a step */

void
store_load_begin(struct store *s, bool is_first, uint64_t now_us)
{
	MDB_stat st = { 0 };
	MDB_txn *txn;

	s->load = (struct load){ .pass = 1, .known_kinds = is_first ? 0 : VT_KINDS_ALL, .began_us = now_us };
	if (store_read_begin(s, &txn) != 0) {
		s->load.pass = 0;
		return;
	}
	if (mdb_stat(txn, s->dbi[SCHEMA_DB_ENTRIES], &st) == 0)
		s->load.progress.of = st.ms_entries;
	mdb_txn_abort(txn);
	s->load.progress.under_way = true;
}

static bool
load_is_first(uint8_t kind, const struct schema_entry *e)
{
	return e->state == VT_WHITE || kind == VT_AUTO || kind == VT_TRAP;
}

/*
 * The first pass may have loaded this record as it was (WHITE, and now set back), and the second would find it again: records of its kind are
 * looked for from now on.
 */
void
store_load_written(struct store *s, uint8_t kind, const struct schema_entry *e)
{
	if (s->load.pass != 0 && !load_is_first(kind, e))
		s->load.known_kinds |= UINT32_C(1) << kind;
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
	case VT_TLS:
		return state == VT_WHITE ? ages->tls_good_s : ages->tls_failed_s;
	case VT_TRAP:
	case VT_FREE:
	case VT_KIND_MAX:
		break;
	}
	return UINT32_MAX;
}

/* Entries on their way into the table. */
struct batch {
	struct vt_entry e[VT_LOAD_MAX];
	uint32_t n;
	struct vt_load out;
};

static void
batch_put(struct batch *b, const struct verdict_table *t, const struct vt_ages *ages, uint32_t known_kinds)
{
	verdict_table_load(t, b->e, b->n, ages, known_kinds, &b->out);
	b->n = 0;
}

static void
batch_add(struct batch *b, const struct verdict_table *t, const struct vt_ages *ages, uint32_t known_kinds,
	uint8_t kind, uint64_t tag, const struct schema_entry *e)
{
	/* POLICY section 3: a time in the future is set to now */
	const uint32_t time_s = MIN(e->time_s, ages->now_s);

	if (ages->now_s - time_s >= store_age_limit_s(ages, kind, e->state))
		return; /* expired */
	b->e[b->n++] = (struct vt_entry){ .tag = tag,
		.time_s = time_s,
		.aux = e->aux,
		.flags = e->flags,
		.kind_state = vt_kind_state((enum vt_kind)kind, (enum vt_state)e->state) };
	if (b->n == VT_LOAD_MAX)
		batch_put(b, t, ages, known_kinds);
}

/*
 * The file into the page cache, in its own order and ahead of the cursor, whose order is another: after a reboot each page would else be one
 * wait for the disk. A wish: where memory is short, the kernel forgets it.
 */
static void
read_ahead(struct store *s)
{
	const struct store_stats *stats = store_stats(s);
	int fd;

	if (s->load.ahead_octets >= stats->used_octets || mdb_env_get_fd(s->env, &fd) != 0)
		return;
	(void)posix_fadvise(fd, (off_t)s->load.ahead_octets, (off_t)LOAD_AHEAD_OCTETS, POSIX_FADV_WILLNEED);
	s->load.ahead_octets += LOAD_AHEAD_OCTETS;
}

/* Up to n records of the pass under way from the cursor's place on. 0: more are there; MDB_NOTFOUND at the end of the pass. */
static int
load_records(struct store *s, MDB_cursor *cursor, struct batch *b, const struct verdict_table *t,
	const struct vt_ages *ages, uint32_t n)
{
	struct load *l = &s->load;
	MDB_val key = val(l->key, sizeof(l->key)), value;
	int error = mdb_cursor_get(cursor, &key, &value, l->started ? MDB_SET_RANGE : MDB_FIRST);

	for (uint32_t i = 0; error == 0; i++) {
		struct schema_entry e;
		uint64_t tag;
		uint8_t kind;

		if (i >= n && key.mv_size == sizeof(l->key)) { /* the next step begins with this one */
			memcpy(l->key, key.mv_data, sizeof(l->key));
			l->started = true;
			return 0;
		}
		l->units += LOAD_READ_UNITS;
		if (schema_entry_key_parse(key.mv_data, key.mv_size, &kind, &tag) != 0 ||
			schema_entry_parse(value.mv_data, value.mv_size, &e) != 0 || kind > VT_KIND_KNOWN) {
			if (l->pass == 1) {
				s->stats.load_damaged++;
				l->progress.done++;
			}
		} else if (load_is_first(kind, &e) == (l->pass == 1)) {
			batch_add(b, t, ages, l->known_kinds, kind, tag, &e);
			l->progress.done++;
			l->units += LOAD_PUT_UNITS;
		}
		error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	return error;
}

enum store_load
store_load_step(struct store *s, const struct verdict_table *t, const struct vt_ages *ages, uint32_t n_records)
{
	struct batch b = { .n = 0 };
	MDB_cursor *cursor;
	MDB_txn *txn;
	int error;

	s->load.progress.under_way = false;
	if (s->load.pass == 0 || store_read_begin(s, &txn) != 0)
		return STORE_LOAD_CUT;
	error = mdb_cursor_open(txn, s->dbi[SCHEMA_DB_ENTRIES], &cursor);
	if (error == 0) {
		read_ahead(s);
		error = load_records(s, cursor, &b, t, ages, n_records);
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	batch_put(&b, t, ages, s->load.known_kinds); /* what was read stays, whatever came then */
	s->stats.loaded += b.out.put + b.out.raised;
	s->stats.load_refused += b.out.refused;
	if (error == MDB_NOTFOUND) {
		s->load.started = false;
		if (s->load.pass++ == 2) {
			s->load.pass = 0;
			return STORE_LOAD_WHOLE;
		}
	} else if (error != 0) {
		store_failed(s, error, "cannot load");
		s->load.pass = 0;
		return STORE_LOAD_CUT;
	}
	s->load.progress.under_way = true;
	return STORE_LOAD_MORE;
}

/* By the work done and the time it took. Before there is any: unknown, said as one second. */
struct store_progress
store_load_progress(const struct store *s, uint64_t now_us)
{
	const struct load *l = &s->load;
	const uint64_t all = l->progress.of * (2 * LOAD_READ_UNITS + LOAD_PUT_UNITS);
	const uint64_t took_us = now_us > l->began_us ? now_us - l->began_us : 0;
	struct store_progress p = l->progress;

	p.done = MIN(p.done, p.of); /* records may come and go meanwhile */
	if (p.under_way)
		p.left_s = l->units > 0 && all > l->units
		                   ? (double)took_us / 1e6 * (double)(all - l->units) / (double)l->units
		                   : 0;
	return p;
}
