/*
 * store.h - the database: what survives a restart.
 *
 * Flow:   verdict table (dirty buckets), events (names, rejects), api (options, operator's clients), data plane (backend states) ->
 *         batched commits -> LMDB -> loading at start, names for people
 * Touches: STATE_DIR/greyline.mdb, greyline.mdb-lock and greyline.running. One writer, this process; opened once; no fork while open.
 * Keeps:  DESIGN section 3, durability: WHITE within a second, GREY at a bounded rate; a full map grows; a damaged file is set aside
 *         and begun anew; a disk that is full or read-only costs durability and nothing else (PITFALLS 42, 43).
 */
#ifndef GREYLINE_CONTROL_STORE_H
#define GREYLINE_CONTROL_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/conf.h"
#include "dataplane/table/verdict_table.h"
#include "lmdb-schema/record.h"

#define STORE_PATH_OCTETS   192
#define STORE_NAMES_QUEUE   65536 /* names waiting for a commit */
#define STORE_WHY_QUEUE     65536 /* rejects waiting for a commit */
#define STORE_DEFERRED      65536 /* buckets whose GREY entries wait for their turn */
#define STORE_BATCH_BUCKETS 4096  /* of one transaction */

struct store;

enum store_state {
	STORE_OFF, /* cannot be opened: tried again */
	STORE_READY,
	STORE_REFUSING, /* the last write failed: tried again */
};

struct store_params {
	uint32_t map_mb, map_max_mb;
	uint64_t map_octets; /* instead of map_mb where not 0 (tests) */
	uint32_t grey_per_s;
	uint32_t why_entries;
};

struct store_stats {
	enum store_state state;
	int error; /* of the last failure, 0 for none */
	uint64_t commits, failures, grown, set_aside, records_written, records_removed, names_lost, why_lost,
		grey_deferred, grey_unstored, loaded, load_refused, load_damaged;
	uint64_t map_octets, used_octets;
	uint32_t lag_buckets; /* dirty buckets left after the last turn, when it could not take all */
	uint32_t queued_names, queued_why;
	char note[160]; /* what happened last, for people */
};

/* Never NULL but for want of memory: a store that cannot be opened is STORE_OFF. */
struct store *store_create(const char *state_dir, const struct store_params *params);
void store_destroy(struct store *s);
/* Tries again what failed; sets aside what is damaged. Cheap when all is well. True when a new, empty database took the place of another
 * one: the caller marks the whole table dirty. */
bool store_maintain(struct store *s, uint64_t now_us);
const struct store_stats *store_stats(struct store *s);
const char *store_path(const struct store *s);
void store_set_rates(struct store *s, uint32_t grey_per_s);

/* The secret of all tags. store_table_key(): 0, -ENOENT none kept, -EIO no database. */
int store_table_key(struct store *s, struct siphash_key *key);
/* Keeps key; entries and names under another one are dropped. */
int store_table_key_put(struct store *s, const struct siphash_key *key);
int store_policy_time(struct store *s, struct schema_policy_time *out);
int store_policy_time_put(struct store *s, const struct schema_policy_time *p);

/*
 * Loading into a cold segment: WHITE and automatic allows first, then the rest. Step by step, about n_records each. is_first: the table was
 * made empty since, and no load of another store or life put anything into it.
 */
enum store_load {
	STORE_LOAD_MORE,
	STORE_LOAD_WHOLE, /* every record was read: what is not in the table now is gone */
	STORE_LOAD_CUT,   /* the database cannot be read (further) */
};

struct store_progress {
	bool under_way;
	uint64_t done, of; /* records */
	double left_s;
};

void store_load_begin(struct store *s, bool is_first, uint64_t now_us);
enum store_load store_load_step(
	struct store *s, const struct verdict_table *t, const struct vt_ages *ages, uint32_t n_records);
struct store_progress store_load_progress(const struct store *s, uint64_t now_us);

/* Writes what is dirty and queued, for at most budget_us. True when something is left. */
bool store_commit(struct store *s, const struct verdict_table *t, uint64_t now_us, uint64_t budget_us);
/* Removes records whose entry is gone from the table, n at a time. For a table into which all was loaded (STORE_LOAD_WHOLE) alone. */
void store_sweep_step(struct store *s, const struct verdict_table *t, const struct vt_ages *ages, uint32_t n_records);
/* Removes one entry's records at once. */
int store_entry_remove(struct store *s, uint8_t kind, uint64_t tag);

/* Queues a name; written once. At the bounded rate of GREY records: a flood of names would else fill the disk with what nobody comes back for. */
void store_name_add(struct store *s, uint8_t kind, uint64_t tag, const struct ip_addr *network, uint32_t first_s,
	const char *sender, uint32_t sender_len, const char *rcpt, uint32_t rcpt_len);

struct store_name {
	uint8_t kind;
	uint64_t tag;
	struct ip_addr network;
	uint32_t first_s;
	char sender[SCHEMA_PATH_MAX_OCTETS + 1], rcpt[SCHEMA_PATH_MAX_OCTETS + 1];
};

/* 0, -ENOENT, -EIO. Looks into the queue as well. */
int store_name(struct store *s, uint8_t kind, uint64_t tag, struct store_name *out);
/* Every name of kind with tag above after, in order, until fn answers false or max were seen. 0; 1 when max ended it. */
int store_names(struct store *s, uint8_t kind, uint64_t after, uint32_t max,
	bool (*fn)(void *arg, const struct store_name *name), void *arg);
/* Entries of kind whose tag begins with the 40 bits of ref. */
int store_entry_by_ref(struct store *s, uint8_t kind, uint64_t ref, uint64_t *tag);

/* A reject for `why`. Texts are copied. */
void store_why_add(struct store *s, uint64_t ref, const struct schema_why *w);
/* 0, -ENOENT, -EIO. Texts lie in room. */
int store_why(struct store *s, uint64_t ref, struct schema_why *out, char room[SCHEMA_VALUE_MAX_OCTETS]);

/* Settings by name. */
int store_option_put(struct store *s, const char *name, const char *text, uint64_t wall_s);
int store_option_remove(struct store *s, const char *name);
void store_options(struct store *s, void (*fn)(void *arg, const char *name, const char *text), void *arg);

/* The operator's clients: key is a network or a name as text; list 'a' or 'd'. */
int store_client_put(struct store *s, const char *key, char list, const char *note, uint64_t wall_s);
int store_client_remove(struct store *s, const char *key);
void store_clients(struct store *s,
	void (*fn)(void *arg, const char *key, char list, const char *note, uint64_t wall_s), void *arg);

int store_backend_put(struct store *s, const struct backend_state *b);
void store_backends(struct store *s, void (*fn)(void *arg, const struct backend_state *b), void *arg);

/* Figures of the report: octets of ours. */
int store_figures_put(struct store *s, const void *octets, size_t n);
size_t store_figures(struct store *s, void *out, size_t room);

/* Entries of each database, for `db stats`. */
void store_tables(struct store *s, void (*fn)(void *arg, const char *name, uint64_t entries), void *arg);

#endif
