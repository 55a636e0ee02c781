/*
 * store_impl.h - what the parts of the store share: its state, transactions, failures.
 *
 * Flow:   store.c (opening, life, transactions), store_recover.c, store_load.c, store_write.c, store_names.c, store_settings.c
 * Touches: nothing by itself.
 */
#ifndef GREYLINE_CONTROL_STORE_IMPL_H
#define GREYLINE_CONTROL_STORE_IMPL_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "control/store.h"
#include "lmdb-schema/key.h"

/* Two tables of control's own beside those of lmdb-schema. */
enum { DB_CLIENTS = SCHEMA_DB_N, DB_FIGURES, DB_N };

#define STORE_NAME_BURST_S 10 /* names come in bursts: of so many seconds of their rate */

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

/* store_load.c */
struct load {
	unsigned pass; /* 0: not loading; 1: WHITE, automatic allows, traps; 2: the rest */
	uint8_t key[SCHEMA_ENTRY_KEY_OCTETS];
	bool started;         /* key is where the pass goes on */
	uint32_t known_kinds; /* kinds of which the table may have a record that is still to come */
	uint64_t began_us, ahead_octets, units /* of work done */;
	struct store_progress progress;
};

struct store {
	char dir[STORE_PATH_OCTETS], path[STORE_PATH_OCTETS + 32];
	struct store_params params;
	MDB_env *env;
	MDB_dbi dbi[DB_N];
	struct store_stats stats;
	uint32_t newer; /* the layout of the file, where a newer release wrote it; 0: it did not */
	bool damaged;   /* found while running: set aside at the next store_maintain() */
	uint64_t retry_at_us;
	STAILQ_HEAD(, queued_name) names;
	STAILQ_HEAD(, queued_why) whys;
	uint64_t why_sequence; /* of the next reject */
	uint64_t why_count;

	uint32_t dirty_cursor;
	uint32_t *deferred; /* ring of bucket numbers */
	uint32_t deferred_at, deferred_n;
	double grey_tokens, name_tokens;
	uint64_t tokens_us;

	struct load load;
	unsigned sweep_db;
	uint8_t sweep_key[SCHEMA_ENTRY_KEY_OCTETS];
	bool sweep_started;
};

static inline MDB_val
val(const void *p, size_t n)
{
	return (MDB_val){ .mv_size = n, .mv_data = (void *)(uintptr_t)p };
}

/* --- store.c */

const char *store_db_name(unsigned db);
/* What happened, for people: on stderr and in store_stats.note. */
void store_note(struct store *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Notes a failure of LMDB and gives it as -errno; 0 for 0, -ENOENT for MDB_NOTFOUND. */
int store_failed(struct store *s, int error, const char *what);
/* The last sequence of why_order and how many there are. */
int store_why_start(struct store *s, MDB_txn *txn);

typedef int write_fn(struct store *s, MDB_txn *txn, void *arg);

/* Runs fn in a write transaction; grows the map and runs it anew where the map is full. 0 or -errno. */
int store_write_txn(struct store *s, write_fn *fn, void *arg, const char *what);
/* A read transaction for the caller to abort. 0 or -errno. */
int store_read_begin(struct store *s, MDB_txn **txn);
/* A record at once, in a transaction of its own. */
int store_put_now(struct store *s, unsigned db, const void *key, size_t key_octets, const void *value, size_t octets);
int store_remove_now(struct store *s, unsigned db, const void *key, size_t key_octets);

/* --- store_recover.c */

/* Whether the file can be walked from end to end without ending the process that does. */
bool store_walk_is_sound(const char *path);
/* Renames the file out of the way, with that behind its name; one of each name is kept: a disk is not filled by damage. */
void store_set_aside(struct store *s, const char *suffix, const char *why);
/* A file shorter than its last page would end us by SIGBUS. */
bool store_is_cut(MDB_env *env, const char *path);
void store_running_path(const struct store *s, char *out, size_t room);

/* --- store_load.c */

/* A record is written while others are still being loaded. */
void store_load_written(struct store *s, uint8_t kind, const struct schema_entry *e);

/* How long an entry of this kind and state is worth keeping. */
uint32_t store_age_limit_s(const struct vt_ages *ages, uint8_t kind, uint8_t state);

/* --- store_write.c */

/* Writes names and rejects that wait, before somebody reads them. */
void store_queues_flush(struct store *s);

#endif
