/*
 * store.c - LMDB: one environment, one writer.
 *
 * Flow:   see store.h.
 * Touches: STATE_DIR/greyline.mdb and its lock file; greyline.running says that the last life did not end in order.
 * Keeps:  every write happens in a transaction that ends within the call; a failed one changes nothing and is counted. After a life that
 *         did not end in order a child of this process walks the whole file first: LMDB ends the process that reads a damaged page, and
 *         that must not be ours. The child is forked before the environment is opened (PITFALLS 43).
 */
#include "control/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "lmdb-schema/key.h"
#include "lmdb-schema/migrate.h"

/* Two tables of control's own beside those of lmdb-schema. */
enum { DB_CLIENTS = SCHEMA_DB_N, DB_FIGURES, DB_N };

#define STORE_RETRY_US           5000000
#define STORE_CHECK_S            2 /* the walk of a file after an unclean end; one that takes longer counts as sound */
#define STORE_LOCK_OCTETS        8192 /* of liblmdb with its 126 readers */
#define STORE_GROW_TRIES         24
#define STORE_OPTION_RECORDS_MAX 4096

struct queued_name {
	STAILQ_ENTRY(queued_name) link;
	uint8_t kind;
	uint64_t tag;
	size_t octets;
	uint8_t value[]; /* built */
};

struct queued_why {
	STAILQ_ENTRY(queued_why) link;
	uint64_t ref;
	struct schema_why why; /* texts point into room */
	char room[];
};

struct store {
	char dir[STORE_PATH_OCTETS], path[STORE_PATH_OCTETS + 32];
	struct store_params params;
	MDB_env *env;
	MDB_dbi dbi[DB_N];
	struct store_stats stats;
	bool damaged; /* found while running: set aside at the next store_maintain() */
	uint64_t retry_at_us;
	STAILQ_HEAD(, queued_name) names;
	STAILQ_HEAD(, queued_why) whys;
	uint64_t why_sequence; /* of the next reject */
	uint64_t why_count;

	uint32_t dirty_cursor;
	uint32_t *deferred; /* ring of bucket numbers */
	uint32_t deferred_at, deferred_n;
	double grey_tokens;
	uint64_t tokens_us;

	unsigned load_pass; /* 0: not loading; 1: WHITE and automatic allows; 2: the rest */
	uint8_t load_key[SCHEMA_ENTRY_KEY_OCTETS];
	bool load_started;
	unsigned sweep_db;
	uint8_t sweep_key[SCHEMA_ENTRY_KEY_OCTETS];
	bool sweep_started;
};

static const char *
db_name(unsigned db)
{
	if (db == DB_CLIENTS)
		return "clients";
	if (db == DB_FIGURES)
		return "figures";
	return schema_db_name((enum schema_db)db);
}

static void __attribute__((format(printf, 2, 3))) note(struct store *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->stats.note, sizeof(s->stats.note), format, args);
	va_end(args);
	fprintf(stderr, "greyline-control: database: %s\n", s->stats.note);
}

static MDB_val
val(const void *p, size_t n)
{
	return (MDB_val){ .mv_size = n, .mv_data = (void *)(uintptr_t)p };
}

/* --- failures */

static bool
is_damage(int error)
{
	return error == MDB_CORRUPTED || error == MDB_PAGE_NOTFOUND || error == MDB_PANIC || error == MDB_INVALID ||
	       error == MDB_VERSION_MISMATCH || error == MDB_INCOMPATIBLE;
}

/* Notes a failure and gives it as -errno. */
static int
failed(struct store *s, int error, const char *what)
{
	if (error == 0 || error == MDB_NOTFOUND)
		return error == 0 ? 0 : -ENOENT;
	s->stats.failures++;
	if (s->stats.error != error)
		note(s, "%s: %s", what, mdb_strerror(error));
	s->stats.error = error;
	if (is_damage(error))
		s->damaged = true;
	s->stats.state = STORE_REFUSING;
	return error > 0 ? -error : -EIO;
}

/* --- opening */

/* In a child: walks every record. Exit 0: sound. */
static void __attribute__((noreturn)) check_child(const char *path)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi, main_dbi;
	MDB_cursor *names, *cursor;
	MDB_val name, none, key, value;
	volatile unsigned sum = 0;

	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	alarm(STORE_CHECK_S);
	if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 32) != 0)
		_exit(0);
	if (mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0) != 0 ||
		mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0 || mdb_dbi_open(txn, NULL, 0, &main_dbi) != 0 ||
		mdb_cursor_open(txn, main_dbi, &names) != 0)
		_exit(1);
	while (mdb_cursor_get(names, &name, &none, MDB_NEXT) == 0) {
		char text[64];
		int error;

		if (name.mv_size >= sizeof(text))
			_exit(1);
		memcpy(text, name.mv_data, name.mv_size);
		text[name.mv_size] = '\0';
		if (mdb_dbi_open(txn, text, 0, &dbi) != 0 || mdb_cursor_open(txn, dbi, &cursor) != 0)
			_exit(1);
		while ((error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
			if (value.mv_size > 0)
				sum += *((const uint8_t *)value.mv_data + value.mv_size - 1);
			if (key.mv_size == 0 || key.mv_size > 511)
				_exit(1);
		}
		if (error != MDB_NOTFOUND)
			_exit(1);
	}
	(void)sum; /* volatile: every value was read */
	_exit(0);
}

/* Whether the file can be walked from end to end without ending the process that does. */
static bool
walk_is_sound(const char *path)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return true;
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null >= 0)
			dup2(null, 2); /* LMDB's last words are of no use to anybody */
		check_child(path);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGALRM;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
set_aside(struct store *s, const char *why)
{
	char to[sizeof(s->path) + 32], lock[sizeof(s->path) + 8];

	snprintf(to, sizeof(to), "%s.damaged", s->path); /* one is kept: a disk is not filled by damage */
	snprintf(lock, sizeof(lock), "%s-lock", s->path);
	if (rename(s->path, to) != 0 && errno != ENOENT) {
		unlink(s->path);
	}
	unlink(lock);
	s->stats.set_aside++;
	note(s, "%s; set aside as %s, a new one begins", why, to);
}

/* A file shorter than its last page would end us by SIGBUS. */
static bool
is_cut(MDB_env *env, const char *path)
{
	MDB_envinfo info;
	MDB_stat stat_env;
	struct stat st;

	if (mdb_env_info(env, &info) != 0 || mdb_env_stat(env, &stat_env) != 0 || stat(path, &st) != 0)
		return false;
	return (uint64_t)st.st_size < ((uint64_t)info.me_last_pgno + 1) * stat_env.ms_psize;
}

static void
running_path(const struct store *s, char *out, size_t room)
{
	snprintf(out, room, "%s/greyline.running", s->dir);
}

static void
env_close(struct store *s)
{
	if (s->env != NULL)
		mdb_env_close(s->env);
	s->env = NULL;
	s->stats.state = STORE_OFF;
}

/* The last sequence of why_order and how many there are. */
static int
why_start(struct store *s, MDB_txn *txn)
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

/* Opens databases, looks at the layout. A layout of another time is an error of LMDB's kind. */
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
		error = mdb_dbi_open(txn, db_name(i), MDB_CREATE, &s->dbi[i]);
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
		case SCHEMA_OLD: /* there is no layout before the first */
		case SCHEMA_NEWER:
		case SCHEMA_DAMAGED:
			error = MDB_VERSION_MISMATCH;
			break;
		}
	}
	if (error == 0)
		error = why_start(s, txn);
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
	if (error == 0 && is_cut(s->env, s->path))
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

/* True when a new database took the place of another. */
static bool
open_or_renew(struct store *s, bool suspect)
{
	bool renewed = false;
	char running[STORE_PATH_OCTETS + 32];
	int error, fd;

	running_path(s, running, sizeof(running));
	if ((suspect || access(running, F_OK) == 0) && access(s->path, R_OK) == 0 && !walk_is_sound(s->path)) {
		set_aside(s, "the file is damaged");
		renewed = true;
	}
	error = env_open(s);
	if (error != 0 && is_damage(error)) {
		set_aside(s, mdb_strerror(error));
		renewed = true;
		error = env_open(s);
	}
	if (error != 0) {
		failed(s, error, "cannot open it; decisions go on from memory, nothing survives a restart");
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
		running_path(s, running, sizeof(running));
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
		set_aside(s, "found damaged while running");
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
	s->stats.loading = s->load_pass != 0;
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

typedef int write_fn(struct store *s, MDB_txn *txn, void *arg);

/* Runs fn in a write transaction; grows the map and runs it anew where the map is full. 0 or -errno. */
static int
write_txn(struct store *s, write_fn *fn, void *arg, const char *what)
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
			note(s, "written again");
		s->stats.error = 0;
		s->stats.state = STORE_READY;
	}
	return failed(s, error, what);
}

static int
read_begin(struct store *s, MDB_txn **txn)
{
	int error;

	if (s->env == NULL || s->damaged)
		return -EIO;
	error = mdb_txn_begin(s->env, NULL, MDB_RDONLY, txn);
	return error != 0 ? failed(s, error, "cannot read") : 0;
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
static int
put_now(struct store *s, unsigned db, const void *key, size_t key_octets, const void *value, size_t octets)
{
	struct put p = { .db = db, .key = val(key, key_octets), .value = val(value, octets) };

	return write_txn(s, put_one, &p, "cannot write");
}

static int
remove_now(struct store *s, unsigned db, const void *key, size_t key_octets)
{
	struct put p = { .db = db, .key = val(key, key_octets), .remove = true };

	return write_txn(s, put_one, &p, "cannot write");
}

/* --- meta */

static int
meta_get(struct store *s, const char *name, uint8_t *out, size_t room, size_t *octets)
{
	MDB_val key = val(name, strlen(name)), value;
	MDB_txn *txn;
	int error = read_begin(s, &txn);

	if (error != 0)
		return error;
	error = mdb_get(txn, s->dbi[SCHEMA_DB_META], &key, &value);
	if (error == 0 && value.mv_size <= room) {
		memcpy(out, value.mv_data, value.mv_size);
		*octets = value.mv_size;
	} else if (error == 0) {
		error = MDB_NOTFOUND;
	}
	mdb_txn_abort(txn);
	return failed(s, error, "cannot read");
}

int
store_table_key(struct store *s, struct siphash_key *key)
{
	struct schema_table_key k;
	uint8_t room[128];
	size_t n;
	int error = meta_get(s, SCHEMA_META_TABLE_KEY, room, sizeof(room), &n);

	if (error != 0)
		return error;
	if (schema_table_key_parse(room, n, &k) != 0)
		return -ENOENT;
	*key = (struct siphash_key){ k.k0, k.k1 };
	return 0;
}

static int
table_key_write(struct store *s, MDB_txn *txn, void *arg)
{
	const struct siphash_key *key = arg;
	const struct schema_table_key k = { key->k0, key->k1 };
	uint8_t room[128];
	MDB_val name = val(SCHEMA_META_TABLE_KEY, strlen(SCHEMA_META_TABLE_KEY)), value;
	int error = mdb_drop(txn, s->dbi[SCHEMA_DB_ENTRIES], 0);

	if (error == 0)
		error = mdb_drop(txn, s->dbi[SCHEMA_DB_NAMES], 0);
	value = val(room, schema_table_key_build(&k, room, sizeof(room)));
	return error != 0 ? error : mdb_put(txn, s->dbi[SCHEMA_DB_META], &name, &value, 0);
}

int
store_table_key_put(struct store *s, const struct siphash_key *key)
{
	struct siphash_key k = *key;

	return write_txn(s, table_key_write, &k, "cannot keep the table's key");
}

int
store_policy_time(struct store *s, struct schema_policy_time *out)
{
	uint8_t room[256];
	size_t n;
	int error = meta_get(s, SCHEMA_META_POLICY, room, sizeof(room), &n);

	if (error == 0 && schema_policy_time_parse(room, n, out) != 0)
		error = -ENOENT;
	return error;
}

int
store_policy_time_put(struct store *s, const struct schema_policy_time *p)
{
	uint8_t room[256];
	size_t n = schema_policy_time_build(p, room, sizeof(room));

	return put_now(s, SCHEMA_DB_META, SCHEMA_META_POLICY, strlen(SCHEMA_META_POLICY), room, n);
}

/* --- loading */

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

static uint32_t
age_limit_s(const struct vt_ages *ages, uint8_t kind, uint8_t state)
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
	if (ages->now_s - want.time_s >= age_limit_s(ages, kind, e->state) || verdict_table_find(t, tag, &have))
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

	if (s->load_pass == 0 || read_begin(s, &txn) != 0) {
		s->load_pass = 0;
		return true;
	}
	error = mdb_cursor_open(txn, s->dbi[SCHEMA_DB_ENTRIES], &cursor);
	if (error != 0) {
		mdb_txn_abort(txn);
		failed(s, error, "cannot load");
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
		failed(s, error, "cannot load");
		s->load_pass = error == MDB_NOTFOUND && s->load_pass == 1 ? 2 : 0;
		s->load_started = false;
	}
	return s->load_pass == 0;
}

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
	       vt_kind(e) == VT_PAIR || vt_kind(e) == VT_SENDER_DOMAIN;
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

			if (vt_kind(&e[k]) == VT_FREE || vt_kind(&e[k]) > VT_SENDER_DOMAIN)
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

		if (read_begin(s, &txn) == 0) {
			why_start(s, txn);
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
		if (write_txn(s, batch_write, b, "cannot write; decisions go on from memory") != 0) {
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

static void
queues_flush(struct store *s)
{
	struct batch *b;

	if (STAILQ_EMPTY(&s->names) && STAILQ_EMPTY(&s->whys))
		return;
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return;
	if (write_txn(s, queues_txn, b, "cannot write") == 0)
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
	if (w->ages->now_s > e.time_s && w->ages->now_s - e.time_s >= age_limit_s(w->ages, kind, e.state))
		return true;
	/* Not in memory: evicted or removed, unless memory was too small for all of it when it was loaded. */
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

	if (s->load_pass != 0 || s->stats.state != STORE_READY)
		return;
	if (s->sweep_db != SCHEMA_DB_ENTRIES && s->sweep_db != SCHEMA_DB_NAMES)
		s->sweep_db = SCHEMA_DB_ENTRIES;
	if (write_txn(s, sweep_write, &w, "cannot remove old records") != 0)
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

	queues_flush(s);
	return write_txn(s, entry_remove_write, &key, "cannot remove a record");
}

/* --- names */

void
store_name_add(struct store *s, uint8_t kind, uint64_t tag, const struct ip_addr *network, uint32_t first_s,
	const char *sender, uint32_t sender_len, const char *rcpt, uint32_t rcpt_len)
{
	struct schema_name n = { .first_s = first_s,
		.sender = { sender, MIN(sender_len, (uint32_t)SCHEMA_PATH_MAX_OCTETS) },
		.rcpt = { rcpt, MIN(rcpt_len, (uint32_t)SCHEMA_PATH_MAX_OCTETS) } };
	uint8_t room[SCHEMA_VALUE_MAX_OCTETS];
	struct queued_name *q;
	size_t octets;

	memcpy(n.network, network->octet, sizeof(n.network));
	octets = schema_name_build(&n, room, sizeof(room));
	if (octets == 0 || s->stats.queued_names == STORE_NAMES_QUEUE || (q = malloc(sizeof(*q) + octets)) == NULL) {
		s->stats.names_lost++;
		return;
	}
	q->kind = kind;
	q->tag = tag;
	q->octets = octets;
	memcpy(q->value, room, octets);
	STAILQ_INSERT_TAIL(&s->names, q, link);
	s->stats.queued_names++;
}

static bool
name_take(uint8_t kind, uint64_t tag, const MDB_val *value, struct store_name *out)
{
	struct schema_name n;

	if (schema_name_parse(value->mv_data, value->mv_size, &n) != 0)
		return false;
	out->kind = kind;
	out->tag = tag;
	out->first_s = n.first_s;
	memcpy(out->network.octet, n.network, sizeof(out->network.octet));
	schema_text_copy(n.sender, out->sender, sizeof(out->sender));
	schema_text_copy(n.rcpt, out->rcpt, sizeof(out->rcpt));
	return true;
}

int
store_name(struct store *s, uint8_t kind, uint64_t tag, struct store_name *out)
{
	uint8_t room[SCHEMA_ENTRY_KEY_OCTETS];
	MDB_val key = val(room, schema_entry_key_build(room, kind, tag)), value;
	MDB_txn *txn;
	int error;

	queues_flush(s);
	error = read_begin(s, &txn);
	if (error != 0)
		return error;
	error = mdb_get(txn, s->dbi[SCHEMA_DB_NAMES], &key, &value);
	if (error == 0 && !name_take(kind, tag, &value, out))
		error = MDB_NOTFOUND;
	mdb_txn_abort(txn);
	return failed(s, error, "cannot read");
}

int
store_names(struct store *s, uint8_t kind, uint64_t after, uint32_t max,
	bool (*fn)(void *arg, const struct store_name *name), void *arg)
{
	uint8_t room[SCHEMA_ENTRY_KEY_OCTETS];
	struct store_name name;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;
	int error;
	uint32_t n = 0;

	if (after == UINT64_MAX)
		return 0;
	queues_flush(s);
	error = read_begin(s, &txn);
	if (error != 0)
		return error;
	error = mdb_cursor_open(txn, s->dbi[SCHEMA_DB_NAMES], &cursor);
	if (error != 0) {
		mdb_txn_abort(txn);
		return failed(s, error, "cannot read");
	}
	key = val(room, schema_entry_key_build(room, kind, after + 1));
	error = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	while (error == 0 && n < max) {
		uint64_t tag;
		uint8_t k;

		if (schema_entry_key_parse(key.mv_data, key.mv_size, &k, &tag) != 0 || k != kind) {
			error = MDB_NOTFOUND;
			break;
		}
		n++;
		if (name_take(k, tag, &value, &name) && !fn(arg, &name))
			break;
		error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	if (error != 0 && error != MDB_NOTFOUND)
		return failed(s, error, "cannot read");
	return error == 0 && n == max;
}

int
store_entry_by_ref(struct store *s, uint8_t kind, uint64_t ref, uint64_t *tag)
{
	uint8_t room[SCHEMA_ENTRY_KEY_OCTETS], k = 0;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;
	uint64_t at = 0;
	int error;

	queues_flush(s);
	error = read_begin(s, &txn);
	if (error != 0)
		return error;
	/* names are written with the first attempt, entries at a bounded rate: the name is the surer one */
	for (unsigned i = 0; i < 2; i++) {
		key = val(room, schema_entry_key_build(room, kind, ref << 24));
		error = mdb_cursor_open(txn, s->dbi[i == 0 ? SCHEMA_DB_NAMES : SCHEMA_DB_ENTRIES], &cursor);
		if (error != 0)
			break;
		error = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		if (error == 0 && (schema_entry_key_parse(key.mv_data, key.mv_size, &k, &at) != 0 || k != kind ||
					  at >> 24 != ref))
			error = MDB_NOTFOUND;
		mdb_cursor_close(cursor);
		if (error == 0) {
			*tag = at;
			break;
		}
	}
	mdb_txn_abort(txn);
	return failed(s, error, "cannot read");
}

/* --- rejects */

static char *
text_keep(struct schema_text *t, uint32_t max, char *at)
{
	t->len_octets = MIN(t->len_octets, max);
	if (t->len_octets > 0)
		memcpy(at, t->ptr, t->len_octets);
	t->ptr = at;
	return at + t->len_octets;
}

static size_t
why_texts(const struct schema_why *w)
{
	return (size_t)w->listener.len_octets + w->ptr.len_octets + w->helo.len_octets + w->from.len_octets +
	       w->rcpt.len_octets + w->reason.len_octets + w->reply.len_octets;
}

static void
why_keep(struct schema_why *w, char *at)
{
	at = text_keep(&w->listener, SCHEMA_WORD_MAX_OCTETS, at);
	at = text_keep(&w->ptr, SCHEMA_HOST_MAX_OCTETS, at);
	at = text_keep(&w->helo, SCHEMA_HOST_MAX_OCTETS, at);
	at = text_keep(&w->from, SCHEMA_PATH_MAX_OCTETS, at);
	at = text_keep(&w->rcpt, SCHEMA_PATH_MAX_OCTETS, at);
	at = text_keep(&w->reason, SCHEMA_WORD_MAX_OCTETS, at);
	text_keep(&w->reply, SCHEMA_REPLY_MAX_OCTETS, at);
}

void
store_why_add(struct store *s, uint64_t ref, const struct schema_why *w)
{
	struct queued_why *q;

	if (s->stats.queued_why == STORE_WHY_QUEUE || (q = malloc(sizeof(*q) + why_texts(w))) == NULL) {
		s->stats.why_lost++;
		return;
	}
	q->ref = ref;
	q->why = *w;
	why_keep(&q->why, q->room);
	STAILQ_INSERT_TAIL(&s->whys, q, link);
	s->stats.queued_why++;
}

int
store_why(struct store *s, uint64_t ref, struct schema_why *out, char room[SCHEMA_VALUE_MAX_OCTETS])
{
	uint8_t key_room[SCHEMA_WHY_KEY_OCTETS];
	MDB_val key = val(key_room, schema_why_key_build(key_room, ref)), value;
	struct queued_why *q;
	MDB_txn *txn;
	int error;

	queues_flush(s);
	STAILQ_FOREACH (q, &s->whys, link)
		if (q->ref == ref &&
			why_texts(&q->why) <= SCHEMA_VALUE_MAX_OCTETS) { /* the disk is full: it is in memory alone */
			*out = q->why;
			why_keep(out, room);
			return 0;
		}
	error = read_begin(s, &txn);
	if (error != 0)
		return error;
	error = mdb_get(txn, s->dbi[SCHEMA_DB_WHY], &key, &value);
	if (error == 0 &&
		(schema_why_parse(value.mv_data, value.mv_size, out) != 0 || why_texts(out) > SCHEMA_VALUE_MAX_OCTETS))
		error = MDB_NOTFOUND;
	if (error == 0)
		why_keep(out, room);
	mdb_txn_abort(txn);
	return failed(s, error, "cannot read");
}

/* --- settings, clients, backends, figures */

int
store_option_put(struct store *s, const char *name, const char *text, uint64_t wall_s)
{
	const struct schema_option o = { .set_wall_s = wall_s, .text = schema_text_of(text) };
	uint8_t key[SCHEMA_OPTION_KEY_MAX_OCTETS], room[SCHEMA_VALUE_MAX_OCTETS];
	size_t key_octets = schema_option_key_build(key, name), octets = schema_option_build(&o, room, sizeof(room));

	if (key_octets == 0 || octets == 0)
		return -EINVAL;
	return put_now(s, SCHEMA_DB_OPTIONS, key, key_octets, room, octets);
}

int
store_option_remove(struct store *s, const char *name)
{
	uint8_t key[SCHEMA_OPTION_KEY_MAX_OCTETS];
	size_t key_octets = schema_option_key_build(key, name);

	return key_octets == 0 ? -EINVAL : remove_now(s, SCHEMA_DB_OPTIONS, key, key_octets);
}

typedef void record_fn(void *arg, const MDB_val *key, const MDB_val *value);

/* Every record of a small table. */
static void
each(struct store *s, unsigned db, uint32_t max, record_fn *fn, void *arg)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_txn *txn;
	int error;

	if (read_begin(s, &txn) != 0)
		return;
	error = mdb_cursor_open(txn, s->dbi[db], &cursor);
	if (error == 0) {
		for (uint32_t i = 0; i < max && (error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0; i++)
			fn(arg, &key, &value);
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	failed(s, error, "cannot read");
}

struct option_each {
	void (*fn)(void *arg, const char *name, const char *text);
	void *arg;
};

static void
option_record(void *arg, const MDB_val *key, const MDB_val *value)
{
	char name[SCHEMA_OPTION_KEY_MAX_OCTETS + 1], text[SCHEMA_OPTION_MAX_OCTETS + 1];
	struct option_each *e = arg;
	struct schema_option o;

	if (schema_option_key_parse(key->mv_data, key->mv_size, name) == 0 &&
		schema_option_parse(value->mv_data, value->mv_size, &o) == 0)
		e->fn(e->arg, name, schema_text_copy(o.text, text, sizeof(text)));
}

void
store_options(struct store *s, void (*fn)(void *arg, const char *name, const char *text), void *arg)
{
	struct option_each e = { fn, arg };

	each(s, SCHEMA_DB_OPTIONS, STORE_OPTION_RECORDS_MAX, option_record, &e);
}

/* A client's record: the text of an option record, its first letter the list. */
int
store_client_put(struct store *s, const char *key, char list, const char *text, uint64_t wall_s)
{
	char value[SCHEMA_OPTION_MAX_OCTETS + 1];
	uint8_t room[SCHEMA_VALUE_MAX_OCTETS];
	struct schema_option o = { .set_wall_s = wall_s };
	size_t octets;

	snprintf(value, sizeof(value), "%c%.500s", list, text);
	o.text = schema_text_of(value);
	octets = schema_option_build(&o, room, sizeof(room));
	if (octets == 0 || key[0] == '\0' || strlen(key) > 300)
		return -EINVAL;
	return put_now(s, DB_CLIENTS, key, strlen(key), room, octets);
}

int
store_client_remove(struct store *s, const char *key)
{
	return key[0] == '\0' ? -ENOENT : remove_now(s, DB_CLIENTS, key, strlen(key));
}

struct client_each {
	void (*fn)(void *arg, const char *key, char list, const char *note, uint64_t wall_s);
	void *arg;
};

static void
client_record(void *arg, const MDB_val *key, const MDB_val *value)
{
	char name[512], text[SCHEMA_OPTION_MAX_OCTETS + 1];
	struct client_each *e = arg;
	struct schema_option o;

	if (key->mv_size >= sizeof(name) || schema_option_parse(value->mv_data, value->mv_size, &o) != 0 ||
		o.text.len_octets == 0)
		return;
	memcpy(name, key->mv_data, key->mv_size);
	name[key->mv_size] = '\0';
	schema_text_copy(o.text, text, sizeof(text));
	e->fn(e->arg, name, text[0], text + 1, o.set_wall_s);
}

void
store_clients(struct store *s, void (*fn)(void *arg, const char *key, char list, const char *text, uint64_t wall_s),
	void *arg)
{
	struct client_each e = { fn, arg };

	each(s, DB_CLIENTS, UINT32_MAX, client_record, &e);
}

int
store_backend_put(struct store *s, const struct backend_state *b)
{
	char words[sizeof(b->words) + 1];
	const struct schema_backend r = { .health = b->health,
		.drained = b->drained,
		.failures = b->failures,
		.probed = b->probed,
		.ext = b->ext,
		.probed_s = b->probed_s,
		.relaytest_s = b->relaytest_s,
		.changed_s = b->changed_s,
		.size_octets = b->size_octets,
		.words = { words, (uint32_t)strnlen(b->words, sizeof(b->words) - 1) } };
	uint8_t key[SCHEMA_BACKEND_KEY_OCTETS], room[SCHEMA_VALUE_MAX_OCTETS];
	size_t octets;

	memcpy(words, b->words, sizeof(b->words));
	octets = schema_backend_build(&r, room, sizeof(room));
	if (octets == 0)
		return -EINVAL;
	return put_now(s, SCHEMA_DB_BACKENDS, key, schema_backend_key_build(key, b->id), room, octets);
}

struct backend_each {
	void (*fn)(void *arg, const struct backend_state *b);
	void *arg;
};

static void
backend_record(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct backend_each *e = arg;
	struct schema_backend r;
	struct backend_state b = { 0 };

	if (schema_backend_key_parse(key->mv_data, key->mv_size, &b.id) != 0 ||
		schema_backend_parse(value->mv_data, value->mv_size, &r) != 0)
		return;
	b.health = r.health;
	b.drained = r.drained;
	b.failures = r.failures;
	b.probed = r.probed;
	b.ext = r.ext;
	b.probed_s = r.probed_s;
	b.relaytest_s = r.relaytest_s;
	b.changed_s = r.changed_s;
	b.size_octets = r.size_octets;
	schema_text_copy(r.words, b.words, sizeof(b.words));
	e->fn(e->arg, &b);
}

void
store_backends(struct store *s, void (*fn)(void *arg, const struct backend_state *b), void *arg)
{
	struct backend_each e = { fn, arg };

	each(s, SCHEMA_DB_BACKENDS, 4096, backend_record, &e);
}

#define FIGURES_KEY "report"

int
store_figures_put(struct store *s, const void *octets, size_t n)
{
	return put_now(s, DB_FIGURES, FIGURES_KEY, strlen(FIGURES_KEY), octets, n);
}

size_t
store_figures(struct store *s, void *out, size_t room)
{
	MDB_val key = val(FIGURES_KEY, strlen(FIGURES_KEY)), value;
	MDB_txn *txn;
	size_t n = 0;
	int error;

	if (read_begin(s, &txn) != 0)
		return 0;
	error = mdb_get(txn, s->dbi[DB_FIGURES], &key, &value);
	if (error == 0 && value.mv_size <= room) {
		n = value.mv_size;
		memcpy(out, value.mv_data, n);
	}
	mdb_txn_abort(txn);
	failed(s, error, "cannot read");
	return n;
}

void
store_tables(struct store *s, void (*fn)(void *arg, const char *name, uint64_t entries), void *arg)
{
	MDB_txn *txn;

	queues_flush(s);
	if (read_begin(s, &txn) != 0)
		return;
	for (unsigned i = 0; i < DB_N; i++) {
		MDB_stat st;

		if (mdb_stat(txn, s->dbi[i], &st) == 0)
			fn(arg, db_name(i), st.ms_entries);
	}
	mdb_txn_abort(txn);
}
