/*
 * store.c - LMDB: one environment, one writer: opening, its life, transactions.
 *
 * Flow:   see store.h; the other parts are named in store_impl.h.
 * Touches: STATE_DIR/greyline.mdb and its lock file; greyline.running says that the last life did not end in order.
 * Keeps:  every write happens in a transaction that ends within the call; a failed one changes nothing and is counted. After a life that
 *         did not end in order the whole file is walked first (store_recover.c).
 */
#include "control/store_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "lmdb-schema/migrate.h"

#define STORE_RETRY_US    5000000
#define STORE_DAMAGED     "damaged"
#define STORE_LOCK_OCTETS 8192 /* of liblmdb with its 126 readers */
#define STORE_GROW_TRIES  24

const char *
store_db_name(unsigned db)
{
	if (db == DB_CLIENTS)
		return "clients";
	if (db == DB_FIGURES)
		return "figures";
	return schema_db_name((enum schema_db)db);
}

void
store_note(struct store *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->stats.note, sizeof(s->stats.note), format, args);
	va_end(args);
	fprintf(stderr, "greyline-control: database: %s\n", s->stats.note);
}

/* --- failures */

static bool
is_damage(int error)
{
	return error == MDB_CORRUPTED || error == MDB_PAGE_NOTFOUND || error == MDB_PANIC || error == MDB_INVALID ||
	       error == MDB_VERSION_MISMATCH || error == MDB_INCOMPATIBLE;
}

/* Notes a failure and gives it as -errno. */
int
store_failed(struct store *s, int error, const char *what)
{
	if (error == 0 || error == MDB_NOTFOUND)
		return error == 0 ? 0 : -ENOENT;
	s->stats.failures++;
	if (s->stats.error != error)
		store_note(s, "%s: %s", what, mdb_strerror(error));
	s->stats.error = error;
	if (is_damage(error))
		s->damaged = true;
	s->stats.state = STORE_REFUSING;
	return error > 0 ? -error : -EIO;
}

/* --- opening */

static void
env_close(struct store *s)
{
	if (s->env != NULL)
		mdb_env_close(s->env);
	s->env = NULL;
	s->stats.state = STORE_OFF;
}

/* The last sequence of why_order and how many there are. */
int
store_why_start(struct store *s, MDB_txn *txn)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_stat st;
	int error = mdb_stat(txn, s->dbi[SCHEMA_DB_WHY_ORDER], &st);

	if (error != 0)
		return error;
	s->why_count = st.ms_entries;
	s->why_sequence = 1;
	error = mdb_cursor_open(txn, s->dbi[SCHEMA_DB_WHY_ORDER], &cursor);
	if (error != 0)
		return error;
	error = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
	if (error == 0 && schema_order_key_parse(key.mv_data, key.mv_size, &s->why_sequence) == 0)
		s->why_sequence++;
	mdb_cursor_close(cursor);
	return error == MDB_NOTFOUND ? 0 : error;
}

/* A layout of before: what means something else now goes, in the transaction that says so. */
static int
layout_renew(struct store *s, MDB_txn *txn, struct schema_meta *meta)
{
	const uint32_t from = meta->schema;
	MDB_val key = val(SCHEMA_META_SCHEMA, strlen(SCHEMA_META_SCHEMA)), value;
	uint8_t room[64];
	int error = 0;

	for (enum schema_db db = 0; db < SCHEMA_DB_N && error == 0; db++)
		if (!schema_carries_over(from, db))
			error = mdb_drop(txn, s->dbi[db], 0);
	store_note(s, "layout %u became layout %u: records whose keys mean something else there were let go", from,
		SCHEMA_VERSION);
	meta->schema = SCHEMA_VERSION;
	value = val(room, schema_meta_build(meta, room, sizeof(room)));
	return error == 0 ? mdb_put(txn, s->dbi[SCHEMA_DB_META], &key, &value, 0) : error;
}

/* Opens databases, looks at the layout. A layout of a later time is an error of LMDB's kind. */
static int
databases_open(struct store *s)
{
	uint8_t room[64];
	MDB_txn *txn;
	MDB_val key = val(SCHEMA_META_SCHEMA, strlen(SCHEMA_META_SCHEMA)), value;
	int error = mdb_txn_begin(s->env, NULL, 0, &txn);

	if (error != 0)
		return error;
	for (unsigned i = 0; i < DB_N && error == 0; i++)
		error = mdb_dbi_open(txn, store_db_name(i), MDB_CREATE, &s->dbi[i]);
	if (error == 0) {
		enum schema_state state;

		error = mdb_get(txn, s->dbi[SCHEMA_DB_META], &key, &value);
		state = error == 0 ? schema_judge(value.mv_data, value.mv_size) : schema_judge(NULL, 0);
		if (error == MDB_NOTFOUND)
			error = 0;
		switch (state) {
		case SCHEMA_CURRENT:
			break;
		case SCHEMA_EMPTY: {
			const struct schema_meta meta = { .schema = SCHEMA_VERSION,
				.created_wall_s = (uint64_t)time(NULL) };

			value = val(room, schema_meta_build(&meta, room, sizeof(room)));
			error = error == 0 ? mdb_put(txn, s->dbi[SCHEMA_DB_META], &key, &value, 0) : error;
			break;
		}
		case SCHEMA_NEWER: {
			struct schema_meta meta;

			if (schema_meta_parse(value.mv_data, value.mv_size, &meta) == 0)
				s->newer = meta.schema;
			error = MDB_VERSION_MISMATCH;
			break;
		}
		case SCHEMA_OLD: {
			struct schema_meta meta;

			error = schema_meta_parse(value.mv_data, value.mv_size, &meta) == 0
			                ? layout_renew(s, txn, &meta)
			                : MDB_VERSION_MISMATCH;
			break;
		}
		case SCHEMA_DAMAGED:
			error = MDB_VERSION_MISMATCH;
			break;
		}
	}
	if (error == 0)
		error = store_why_start(s, txn);
	if (error != 0) {
		mdb_txn_abort(txn);
		return error;
	}
	return mdb_txn_commit(txn);
}

/*
 * LMDB writes its lock file through a mapping: on a full disk the hole in a new one would end us by SIGBUS, again at each restart. So its
 * blocks are asked for before. 0 or an errno.
 */
static int
lock_file_make(const struct store *s)
{
	char path[sizeof(s->path) + 8];
	int fd, error;

	snprintf(path, sizeof(path), "%s-lock", s->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0)
		return errno;
	error = posix_fallocate(fd, 0, STORE_LOCK_OCTETS);
	close(fd);
	return error == EOPNOTSUPP || error == EINVAL ? 0 : error;
}

static int
env_open(struct store *s)
{
	const size_t map = s->params.map_octets != 0 ? (size_t)s->params.map_octets : (size_t)s->params.map_mb << 20;
	struct stat st;
	size_t size = map;
	int error = lock_file_make(s);

	if (error == 0)
		error = mdb_env_create(&s->env);
	if (error != 0) {
		s->env = NULL;
		return error;
	}
	if (stat(s->path, &st) == 0 && (uint64_t)st.st_size > size)
		size = ((size_t)st.st_size + (1u << 20)) & ~((size_t)(1u << 20) - 1);
	error = mdb_env_set_maxdbs(s->env, 16);
	if (error == 0)
		error = mdb_env_set_mapsize(s->env, size);
	/* NOMETASYNC: a commit costs one sync; a crash of the machine may lose the last one, never the file */
	if (error == 0)
		error = mdb_env_open(s->env, s->path, MDB_NOSUBDIR | MDB_NOMETASYNC | MDB_NORDAHEAD, 0640);
	if (error == 0 && store_is_cut(s->env, s->path))
		error = MDB_CORRUPTED;
	if (error == 0)
		error = databases_open(s);
	for (unsigned i = 0; error == MDB_MAP_FULL && i < STORE_GROW_TRIES; i++) { /* a tiny first map */
		size *= 2;
		error = mdb_env_set_mapsize(s->env, size);
		if (error == 0)
			error = databases_open(s);
	}
	if (error != 0) {
		mdb_env_close(s->env);
		s->env = NULL;
		return error;
	}
	s->stats.map_octets = size;
	mdb_reader_check(s->env, NULL);
	return 0;
}

/* Who goes back to an older release finds what the newer one left, and nothing that is damaged later takes its place. */
static void
set_aside_unusable(struct store *s, int error)
{
	char suffix[32], why[128];

	if (s->newer == 0) {
		store_set_aside(s, STORE_DAMAGED, mdb_strerror(error));
		return;
	}
	snprintf(suffix, sizeof(suffix), "layout-%u", s->newer);
	snprintf(why, sizeof(why), "a newer release wrote it (layout %u, known here is %u)", s->newer, SCHEMA_VERSION);
	store_set_aside(s, suffix, why);
}

/* True when a new database took the place of another. */
static bool
open_or_renew(struct store *s, bool suspect)
{
	bool renewed = false;
	char running[STORE_PATH_OCTETS + 32];
	int error, fd;

	store_running_path(s, running, sizeof(running));
	if ((suspect || access(running, F_OK) == 0) && access(s->path, R_OK) == 0 && !store_walk_is_sound(s->path)) {
		store_set_aside(s, STORE_DAMAGED, "the file is damaged");
		renewed = true;
	}
	s->newer = 0;
	error = env_open(s);
	if (error != 0 && is_damage(error)) {
		set_aside_unusable(s, error);
		renewed = true;
		error = env_open(s);
	}
	if (error != 0) {
		store_failed(s, error, "cannot open it; decisions go on from memory, nothing survives a restart");
		s->stats.state = STORE_OFF;
		return false;
	}
	fd = open(running, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	if (fd >= 0)
		close(fd);
	s->stats.state = STORE_READY;
	s->stats.error = 0;
	s->damaged = false;
	return renewed;
}

struct store *
store_create(const char *state_dir, const struct store_params *params)
{
	struct store *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	snprintf(s->dir, sizeof(s->dir), "%s", state_dir);
	snprintf(s->path, sizeof(s->path), "%s/greyline.mdb", s->dir);
	s->params = *params;
	s->name_tokens = (double)params->grey_per_s * STORE_NAME_BURST_S;
	STAILQ_INIT(&s->names);
	STAILQ_INIT(&s->whys);
	s->deferred = calloc(STORE_DEFERRED, sizeof(*s->deferred));
	BUG_ON(s->deferred == NULL);
	open_or_renew(s, false);
	return s;
}

void
store_destroy(struct store *s)
{
	char running[STORE_PATH_OCTETS + 32];

	if (s == NULL)
		return;
	if (s->env != NULL) {
		mdb_env_sync(s->env, 1);
		env_close(s);
		store_running_path(s, running, sizeof(running));
		unlink(running);
	}
	while (!STAILQ_EMPTY(&s->names)) {
		struct queued_name *n = STAILQ_FIRST(&s->names);

		STAILQ_REMOVE_HEAD(&s->names, link);
		free(n);
	}
	while (!STAILQ_EMPTY(&s->whys)) {
		struct queued_why *w = STAILQ_FIRST(&s->whys);

		STAILQ_REMOVE_HEAD(&s->whys, link);
		free(w);
	}
	free(s->deferred);
	free(s);
}

bool
store_maintain(struct store *s, uint64_t now_us)
{
	if (s->stats.state == STORE_READY && !s->damaged)
		return false;
	if (now_us < s->retry_at_us)
		return false;
	s->retry_at_us = now_us + STORE_RETRY_US;
	if (s->damaged) {
		env_close(s);
		store_set_aside(s, STORE_DAMAGED, "found damaged while running");
		open_or_renew(s, false);
		return s->stats.state == STORE_READY;
	}
	if (s->env == NULL)
		return open_or_renew(s, false) || s->stats.state == STORE_READY;
	s->stats.state = STORE_READY; /* the next write shows */
	return false;
}

const char *
store_path(const struct store *s)
{
	return s->path;
}

void
store_set_rates(struct store *s, uint32_t grey_per_s)
{
	s->params.grey_per_s = grey_per_s;
}

const struct store_stats *
store_stats(struct store *s)
{
	MDB_envinfo info;
	MDB_stat st;

	if (s->env != NULL && mdb_env_info(s->env, &info) == 0 && mdb_env_stat(s->env, &st) == 0) {
		s->stats.map_octets = info.me_mapsize;
		s->stats.used_octets = ((uint64_t)info.me_last_pgno + 1) * st.ms_psize;
	}
	return &s->stats;
}

/* --- transactions */

static bool
map_grow(struct store *s)
{
	const uint64_t max = (uint64_t)s->params.map_max_mb << 20;
	MDB_envinfo info;

	if (mdb_env_info(s->env, &info) != 0 || info.me_mapsize * 2 > max ||
		mdb_env_set_mapsize(s->env, info.me_mapsize * 2) != 0)
		return false;
	s->stats.grown++;
	s->stats.map_octets = info.me_mapsize * 2;
	return true;
}

/* Runs fn in a write transaction; grows the map and runs it anew where the map is full. 0 or -errno. */
int
store_write_txn(struct store *s, write_fn *fn, void *arg, const char *what)
{
	int error = MDB_MAP_FULL;

	if (s->env == NULL || s->damaged)
		return -EIO;
	for (unsigned i = 0; i < STORE_GROW_TRIES && error == MDB_MAP_FULL; i++) {
		MDB_txn *txn;

		if (i > 0 && !map_grow(s))
			break;
		error = mdb_txn_begin(s->env, NULL, 0, &txn);
		if (error == MDB_MAP_RESIZED) { /* by somebody else: take the file's size */
			mdb_env_set_mapsize(s->env, 0);
			error = mdb_txn_begin(s->env, NULL, 0, &txn);
		}
		if (error != 0)
			break;
		error = fn(s, txn, arg);
		if (error == 0)
			error = mdb_txn_commit(txn);
		else
			mdb_txn_abort(txn);
	}
	if (error == 0) {
		s->stats.commits++;
		if (s->stats.error != 0)
			store_note(s, "written again");
		s->stats.error = 0;
		s->stats.state = STORE_READY;
	}
	return store_failed(s, error, what);
}

int
store_read_begin(struct store *s, MDB_txn **txn)
{
	int error;

	if (s->env == NULL || s->damaged)
		return -EIO;
	error = mdb_txn_begin(s->env, NULL, MDB_RDONLY, txn);
	return error != 0 ? store_failed(s, error, "cannot read") : 0;
}

struct put {
	unsigned db;
	MDB_val key, value;
	bool remove;
};

static int
put_one(struct store *s, MDB_txn *txn, void *arg)
{
	struct put *p = arg;
	int error;

	if (!p->remove)
		return mdb_put(txn, s->dbi[p->db], &p->key, &p->value, 0);
	error = mdb_del(txn, s->dbi[p->db], &p->key, NULL);
	return error;
}

/* A record at once, in a transaction of its own. */
int
store_put_now(struct store *s, unsigned db, const void *key, size_t key_octets, const void *value, size_t octets)
{
	struct put p = { .db = db, .key = val(key, key_octets), .value = val(value, octets) };

	return store_write_txn(s, put_one, &p, "cannot write");
}

int
store_remove_now(struct store *s, unsigned db, const void *key, size_t key_octets)
{
	struct put p = { .db = db, .key = val(key, key_octets), .remove = true };

	return store_write_txn(s, put_one, &p, "cannot write");
}
