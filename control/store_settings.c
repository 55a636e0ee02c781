/*
 * store_settings.c - small records, written at once: the table's key, policy time, options, the operator's clients, backends, figures.
 *
 * Flow:   control.c, api_*.c -> store_option_put() and its sisters
 * Touches: LMDB, each write in a transaction of its own.
 */
#include "control/store_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define STORE_OPTION_RECORDS_MAX 4096

/* --- meta */

static int
meta_get(struct store *s, const char *name, uint8_t *out, size_t room, size_t *octets)
{
	MDB_val key = val(name, strlen(name)), value;
	MDB_txn *txn;
	int error = store_read_begin(s, &txn);

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
	return store_failed(s, error, "cannot read");
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

	return store_write_txn(s, table_key_write, &k, "cannot keep the table's key");
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

	return store_put_now(s, SCHEMA_DB_META, SCHEMA_META_POLICY, strlen(SCHEMA_META_POLICY), room, n);
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
	return store_put_now(s, SCHEMA_DB_OPTIONS, key, key_octets, room, octets);
}

int
store_option_remove(struct store *s, const char *name)
{
	uint8_t key[SCHEMA_OPTION_KEY_MAX_OCTETS];
	size_t key_octets = schema_option_key_build(key, name);

	return key_octets == 0 ? -EINVAL : store_remove_now(s, SCHEMA_DB_OPTIONS, key, key_octets);
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

	if (store_read_begin(s, &txn) != 0)
		return;
	error = mdb_cursor_open(txn, s->dbi[db], &cursor);
	if (error == 0) {
		for (uint32_t i = 0; i < max && (error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0; i++)
			fn(arg, &key, &value);
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	store_failed(s, error, "cannot read");
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
	return store_put_now(s, DB_CLIENTS, key, strlen(key), room, octets);
}

int
store_client_remove(struct store *s, const char *key)
{
	return key[0] == '\0' ? -ENOENT : store_remove_now(s, DB_CLIENTS, key, strlen(key));
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
	return store_put_now(s, SCHEMA_DB_BACKENDS, key, schema_backend_key_build(key, b->id), room, octets);
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
	return store_put_now(s, DB_FIGURES, FIGURES_KEY, strlen(FIGURES_KEY), octets, n);
}

size_t
store_figures(struct store *s, void *out, size_t room)
{
	MDB_val key = val(FIGURES_KEY, strlen(FIGURES_KEY)), value;
	MDB_txn *txn;
	size_t n = 0;
	int error;

	if (store_read_begin(s, &txn) != 0)
		return 0;
	error = mdb_get(txn, s->dbi[DB_FIGURES], &key, &value);
	if (error == 0 && value.mv_size <= room) {
		n = value.mv_size;
		memcpy(out, value.mv_data, n);
	}
	mdb_txn_abort(txn);
	store_failed(s, error, "cannot read");
	return n;
}

void
store_tables(struct store *s, void (*fn)(void *arg, const char *name, uint64_t entries), void *arg)
{
	MDB_txn *txn;

	store_queues_flush(s);
	if (store_read_begin(s, &txn) != 0)
		return;
	for (unsigned i = 0; i < DB_N; i++) {
		MDB_stat st;

		if (mdb_stat(txn, s->dbi[i], &st) == 0)
			fn(arg, store_db_name(i), st.ms_entries);
	}
	mdb_txn_abort(txn);
}
