/*
 * cmd_db.c - db: the database read from its file, also while both daemons are down.
 *
 * Flow:   STATE_DIR/greyline.mdb -> LMDB cursor -> lmdb-schema codecs -> table
 * Touches: the file, for reading; the lock file beside it where it may be written.
 * Keeps:  contents are hostile: keys and values go through the codecs, what they refuse is counted. The secret of the tags is never shown.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lmdb.h>

#include "control/cli/cli.h"
#include "dataplane/base/addr.h"
#include "dataplane/base/conf.h"
#include "dataplane/policy/client.h"
#include "dataplane/policy/grey.h"
#include "dataplane/policy/policy.h"
#include "lmdb-schema/key.h"
#include "lmdb-schema/migrate.h"
#include "lmdb-schema/record.h"

#define DB_FILE          "greyline.mdb"
#define DB_DATABASES_MAX 32
#define DB_LIST_MAX      1000000
#define DB_TEXT_OCTETS   (4 * SCHEMA_VALUE_MAX_OCTETS + 1)

struct db {
	MDB_env *env;
	MDB_txn *txn;
	char path[4096];
};

static void
db_close(struct db *db)
{
	if (db->txn != NULL)
		mdb_txn_abort(db->txn);
	if (db->env != NULL)
		mdb_env_close(db->env);
}

/* A file cut or overwritten under its map is a signal, not an error. */
static void
on_damage(int signal_number)
{
	static const char text[] = "greylinectl: the database is damaged\n";

	(void)signal_number;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(CLI_UNREACHABLE);
}

static int
db_try(struct db *db, unsigned flags)
{
	int error = mdb_env_create(&db->env);

	if (error == 0)
		error = mdb_env_set_maxdbs(db->env, DB_DATABASES_MAX);
	if (error == 0)
		error = mdb_env_open(db->env, db->path, MDB_NOSUBDIR | MDB_RDONLY | flags, 0);
	if (error == 0)
		error = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &db->txn);
	if (error != 0) {
		if (db->env != NULL)
			mdb_env_close(db->env);
		*db = (struct db){ .path = "" };
	}
	return error;
}

/* CLI_OK, or the exit code after a message. */
static int
db_open(struct cli *cli, struct db *db)
{
	char path[sizeof(db->path)];
	int error;

	*db = (struct db){ .path = "" };
	if (snprintf(path, sizeof(path), "%s/" DB_FILE, cli->state_dir) >= (int)sizeof(path))
		return cli_fail(cli, CLI_USAGE, "usage", "the name of the state folder is too long");
	signal(SIGBUS, on_damage);
	signal(SIGSEGV, on_damage);
	strcpy(db->path, path);
	error = db_try(db, 0);
	if (error == EACCES || error == EROFS) {
		/* The lock file cannot be written: read without a place in its list of readers. A writer at work may then reuse pages under us,
		 * which the codecs notice; so say it. */
		strcpy(db->path, path);
		error = db_try(db, MDB_NOLOCK);
		if (error == 0)
			fprintf(stderr, "greylinectl: reading without the lock file; while greyline-control writes, "
					"records may be missing\n");
	}
	if (error != 0)
		return cli_fail(cli, CLI_UNREACHABLE, "unavailable", "%s: %s", path, mdb_strerror(error));
	strcpy(db->path, path);
	return CLI_OK;
}

/* A named database; false when it is not there. */
static bool
db_table(struct db *db, enum schema_db which, MDB_dbi *out)
{
	return mdb_dbi_open(db->txn, schema_db_name(which), 0, out) == 0;
}

static bool
db_value(struct db *db, enum schema_db which, const void *key, size_t octets, MDB_val *value)
{
	MDB_val k = { .mv_size = octets, .mv_data = (void *)(uintptr_t)key };
	MDB_dbi dbi;

	return db_table(db, which, &dbi) && mdb_get(db->txn, dbi, &k, value) == 0;
}

/* Stored text as printable ASCII. */
static json_t *
printable(struct schema_text text)
{
	char out[DB_TEXT_OCTETS];
	size_t at = 0;

	for (uint32_t i = 0; i < text.len_octets && at + 5 < sizeof(out); i++) {
		const unsigned char c = (unsigned char)text.ptr[i];

		at += (size_t)snprintf(out + at, sizeof(out) - at, c >= ' ' && c <= '~' ? "%c" : "\\x%02X", c);
	}
	out[at] = '\0';
	return json_string(out);
}

static json_t *
address(const uint8_t octets[16])
{
	char text[IP_ADDR_TEXT_MAX_OCTETS];
	struct ip_addr a;

	memcpy(a.octet, octets, sizeof(a.octet));
	return json_string(ip_addr_format(&a, text));
}

static const char *
kind_name(uint8_t kind)
{
	static const char *const names[] = { [VT_TRIPLET] = "triplet",
		[VT_CLIENT] = "client",
		[VT_AUTO] = "auto",
		[VT_PAIR] = "pair",
		[VT_TRAP] = "trap",
		[VT_SENDER_DOMAIN] = "sender-domain",
		[VT_TLS] = "tls" };

	return kind < ARRAY_LEN(names) && names[kind] != NULL ? names[kind] : "unknown";
}

/* What the entry says beside its time. */
static void
put_detail(json_t *o, const struct vt_entry *e)
{
	if (vt_kind(e) == VT_TRIPLET) {
		const struct grey_record rec = grey_load(e);

		json_object_set_new(o, "state", json_string(rec.state == GREY_WHITE ? "white" : "grey"));
		if (rec.lapsed > 0)
			json_object_set_new(o, "lapsed", json_integer(rec.lapsed));
	} else if (vt_kind(e) == VT_CLIENT) {
		const struct client_verdict v = client_load(e);

		json_object_set_new(o, "score", json_integer(v.score));
	} else if (vt_kind(e) == VT_AUTO) {
		json_object_set_new(o, "count", json_integer(VT_AUTO_COUNT(e)));
	} else if (vt_kind(e) == VT_TRAP) {
		json_object_set_new(o, "hours", json_integer(e->aux));
	} else if (vt_kind(e) == VT_TLS) {
		json_object_set_new(o, "state", json_string(vt_state(e) == VT_WHITE ? "completed" : "failed"));
		if (vt_state(e) != VT_WHITE)
			json_object_set_new(o, "failed", json_integer(e->aux));
	}
}

/* An entry with its name, if one is kept. NULL: the record is damaged. */
static json_t *
entry_object(struct db *db, const MDB_val *key, const MDB_val *value)
{
	struct schema_entry stored;
	struct schema_name name;
	struct vt_entry e;
	MDB_val name_value;
	char ref[9];
	uint8_t kind;
	uint64_t tag;
	json_t *o;

	if (schema_entry_key_parse(key->mv_data, key->mv_size, &kind, &tag) != 0 ||
		schema_entry_parse(value->mv_data, value->mv_size, &stored) != 0)
		return NULL;
	e = (struct vt_entry){ .tag = tag,
		.time_s = stored.time_s,
		.aux = stored.aux,
		.flags = stored.flags,
		.kind_state = vt_kind_state((enum vt_kind)(kind & 15), (enum vt_state)(stored.state & 15)) };
	o = json_object();
	if (kind == VT_TRIPLET)
		json_object_set_new(o, "ref", json_string(policy_ref_format(policy_ref_of_tag(tag), ref)));
	json_object_set_new(o, "kind", json_string(kind_name(kind)));
	put_detail(o, &e);
	json_object_set_new(o, "at", json_integer(stored.time_s)); /* policy time began as the wall clock's */
	if (db_value(db, SCHEMA_DB_NAMES, key->mv_data, key->mv_size, &name_value) &&
		schema_name_parse(name_value.mv_data, name_value.mv_size, &name) == 0) {
		json_object_set_new(o, "network", address(name.network));
		json_object_set_new(o, "sender", printable(name.sender));
		json_object_set_new(o, "recipient", printable(name.rcpt));
	}
	return o;
}

/* The answer as JSON, or the list in it as a table. Takes o. */
static void
print_list(
	const struct cli *cli, json_t *o, const char *list, const struct cli_field *columns, size_t n, const char *none)
{
	if (cli->json)
		cli_print_json(o);
	else
		cli_print_table(cli_get(o, list), columns, n, none);
	json_decref(o);
}

static const struct cli_field entry_columns[] = {
	{ "ref", "REF", CLI_TEXT },
	{ "kind", "KIND", CLI_TEXT },
	{ "state", "STATE", CLI_TEXT },
	{ "network", "NETWORK", CLI_TEXT },
	{ "sender", "SENDER", CLI_TEXT },
	{ "recipient", "RECIPIENT", CLI_TEXT },
	{ "at", "TIME", CLI_TIME },
	{ "lapsed", "LAPSED", CLI_TEXT },
	{ "score", "SCORE", CLI_TEXT },
	{ "count", "COUNT", CLI_TEXT },
	{ "hours", "HOURS", CLI_TEXT },
};

/* The kind of a word; -1 for all, -2 for none. */
static int
kind_of(const char *word)
{
	if (strcmp(word, "all") == 0)
		return -1;
	for (uint8_t k = VT_TRIPLET; k <= VT_KIND_KNOWN; k++)
		if (strcmp(kind_name(k), word) == 0)
			return k;
	return -2;
}

int
cmd_db_list(struct cli *cli, int argc, char **argv)
{
	const char *kind_word = "triplet", *limit_text = "100", *pos[CLI_ARGS_MAX];
	const struct cli_option options[] = { { "kind", &kind_word, NULL }, { "limit", &limit_text, NULL } };
	json_t *entries = json_array(), *o;
	size_t damaged = 0;
	MDB_cursor *cursor;
	MDB_val key, value;
	uint8_t from[SCHEMA_ENTRY_KEY_OCTETS];
	int kind, exit_code;
	bool more = false;
	struct db db;
	MDB_dbi dbi;
	long limit = 0;

	if (cli_arguments(cli, argc, argv, options, ARRAY_LEN(options), 0, 0, pos) < 0) {
		json_decref(entries);
		return CLI_USAGE;
	}
	kind = kind_of(kind_word);
	if (kind == -2) {
		json_decref(entries);
		return cli_usage(cli, "--kind is triplet, client, auto, pair, trap, sender-domain or all");
	}
	if (!cli_limit(cli, limit_text, DB_LIST_MAX, &limit)) {
		json_decref(entries);
		return CLI_USAGE;
	}
	exit_code = db_open(cli, &db);
	if (exit_code != CLI_OK) {
		json_decref(entries);
		return exit_code;
	}
	if (db_table(&db, SCHEMA_DB_ENTRIES, &dbi) && mdb_cursor_open(db.txn, dbi, &cursor) == 0) {
		key = (MDB_val){ .mv_data = from, .mv_size = schema_entry_key_build(from, (uint8_t)MAX(kind, 0), 0) };
		for (int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); rc == 0;
			rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
			if (kind >= 0 && (key.mv_size == 0 || *(const uint8_t *)key.mv_data != kind))
				break;
			if (json_array_size(entries) == (size_t)limit) {
				more = true;
				break;
			}
			o = entry_object(&db, &key, &value);
			if (o != NULL)
				json_array_append_new(entries, o);
			else
				damaged++;
		}
		mdb_cursor_close(cursor);
	}
	print_list(cli, json_pack("{s:o, s:b, s:I}", "entries", entries, "more", more, "damaged", (json_int_t)damaged),
		"entries", entry_columns, ARRAY_LEN(entry_columns), "no records");
	if (more && !cli->json)
		printf("there are more: --limit\n");
	if (damaged > 0 && !cli->json)
		printf("%zu damaged records left out\n", damaged);
	db_close(&db);
	return CLI_OK;
}

/* The reject kept under ref, or NULL. */
static json_t *
why_object(struct db *db, uint64_t ref)
{
	uint8_t key[SCHEMA_WHY_KEY_OCTETS];
	char ref_text[9];
	struct schema_why w;
	MDB_val value;

	if (!db_value(db, SCHEMA_DB_WHY, key, schema_why_key_build(key, ref), &value) ||
		schema_why_parse(value.mv_data, value.mv_size, &w) != 0)
		return NULL;
	return json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:i, s:s, s:s, s:o, s:i, s:i, s:o, s:o}", "kind",
		"reject", "ref", policy_ref_format(ref, ref_text), "at", (json_int_t)w.wall_s, "client",
		address(w.client), "ptr", printable(w.ptr), "helo", printable(w.helo), "from", printable(w.from),
		"rcpt", printable(w.rcpt), "rule", (int)w.rule, "rule_name", policy_rule_name((enum policy_rule)w.rule),
		"verdict", policy_verdict_name((enum verdict)w.verdict), "reason", printable(w.reason), "score",
		(int)w.score, "code", (int)w.code, "reply", printable(w.reply), "listener", printable(w.listener));
}

/* The triplet whose tag begins with ref, or NULL. */
static json_t *
triplet_object(struct db *db, uint64_t ref)
{
	uint8_t from[SCHEMA_ENTRY_KEY_OCTETS];
	MDB_val key = { .mv_data = from, .mv_size = schema_entry_key_build(from, VT_TRIPLET, ref << 24) }, value;
	MDB_cursor *cursor;
	json_t *o = NULL;
	uint64_t tag;
	uint8_t kind;
	MDB_dbi dbi;

	if (!db_table(db, SCHEMA_DB_ENTRIES, &dbi) || mdb_cursor_open(db->txn, dbi, &cursor) != 0)
		return NULL;
	if (mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE) == 0 &&
		schema_entry_key_parse(key.mv_data, key.mv_size, &kind, &tag) == 0 && kind == VT_TRIPLET &&
		policy_ref_of_tag(tag) == ref)
		o = entry_object(db, &key, &value);
	mdb_cursor_close(cursor);
	return o;
}

int
cmd_db_show(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field fields[] = {
		{ "kind", "kind", CLI_TEXT },
		{ "ref", "reference", CLI_TEXT },
		{ "state", "state", CLI_TEXT },
		{ "at", "at", CLI_TIME },
		{ "network", "network", CLI_TEXT },
		{ "client", "client", CLI_TEXT },
		{ "ptr", "name", CLI_TEXT },
		{ "helo", "HELO", CLI_TEXT },
		{ "sender", "sender", CLI_TEXT },
		{ "from", "sender", CLI_TEXT },
		{ "recipient", "recipient", CLI_TEXT },
		{ "rcpt", "recipient", CLI_TEXT },
		{ "lapsed", "windows lapsed", CLI_TEXT },
		{ "verdict", "verdict", CLI_TEXT },
		{ "rule", "rule", CLI_TEXT },
		{ "rule_name", "test", CLI_TEXT },
		{ "reason", "reason", CLI_TEXT },
		{ "score", "score", CLI_TEXT },
		{ "listener", "listener", CLI_TEXT },
		{ "code", "code", CLI_TEXT },
		{ "reply", "reply", CLI_TEXT },
	};
	const char *pos[CLI_ARGS_MAX];
	uint64_t ref;
	int exit_code;
	struct db db;
	json_t *o;

	if (cli_arguments(cli, argc, argv, NULL, 0, 1, 1, pos) < 0)
		return CLI_USAGE;
	if (policy_ref_parse(pos[0], &ref) != 0)
		return cli_usage(cli, "\"%.40s\" is no reference: 8 letters and digits", pos[0]);
	exit_code = db_open(cli, &db);
	if (exit_code != CLI_OK)
		return exit_code;
	o = why_object(&db, ref);
	if (o == NULL)
		o = triplet_object(&db, ref);
	if (o == NULL)
		exit_code = cli_fail(cli, CLI_NOT_FOUND, "not-found", "nothing is stored under %s", pos[0]);
	else if (cli->json)
		cli_print_json(o);
	else
		cli_print_fields(o, fields, ARRAY_LEN(fields));
	json_decref(o);
	db_close(&db);
	return exit_code;
}

/* Calls fn for each record of a database that is there. */
static void
db_each(struct db *db, enum schema_db which, json_t *(*fn)(const MDB_val *key, const MDB_val *value), json_t *into)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_dbi dbi;

	if (!db_table(db, which, &dbi) || mdb_cursor_open(db->txn, dbi, &cursor) != 0)
		return;
	while (json_array_size(into) < DB_LIST_MAX && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		json_t *o = fn(&key, &value);

		if (o != NULL)
			json_array_append_new(into, o);
	}
	mdb_cursor_close(cursor);
}

static json_t *
option_object(const MDB_val *key, const MDB_val *value)
{
	char name[SCHEMA_OPTION_KEY_MAX_OCTETS + 1];
	struct schema_option o;

	if (schema_option_key_parse(key->mv_data, key->mv_size, name) != 0 ||
		schema_option_parse(value->mv_data, value->mv_size, &o) != 0)
		return NULL;
	return json_pack(
		"{s:s, s:o, s:I}", "option", name, "value", printable(o.text), "set_at", (json_int_t)o.set_wall_s);
}

static json_t *
backend_object(const MDB_val *key, const MDB_val *value)
{
	static const char *const health[] = { [BACKEND_UNPROBED] = "unprobed",
		[BACKEND_UP] = "up",
		[BACKEND_DOWN] = "down",
		[BACKEND_OPEN_RELAY] = "open-relay",
		[BACKEND_LOOP] = "loop",
		[BACKEND_DRAINED] = "drained" };
	struct schema_backend b;
	uint32_t id;

	if (schema_backend_key_parse(key->mv_data, key->mv_size, &id) != 0 ||
		schema_backend_parse(value->mv_data, value->mv_size, &b) != 0)
		return NULL;
	return json_pack("{s:I, s:s, s:I, s:I, s:I, s:o}", "id", (json_int_t)id, "state",
		b.health < ARRAY_LEN(health) ? health[b.health] : "unknown", "size", (json_int_t)b.size_octets,
		"probed_at", (json_int_t)b.probed_s, "changed_at", (json_int_t)b.changed_s, "words",
		printable(b.words));
}

static int
print_all(struct cli *cli, int argc, char **argv, enum schema_db which, json_t *(*fn)(const MDB_val *, const MDB_val *),
	const char *name, const struct cli_field *columns, size_t n, const char *none)
{
	const char *pos[CLI_ARGS_MAX];
	json_t *list;
	int exit_code;
	struct db db;

	if (cli_arguments(cli, argc, argv, NULL, 0, 0, 0, pos) < 0)
		return CLI_USAGE;
	exit_code = db_open(cli, &db);
	if (exit_code != CLI_OK)
		return exit_code;
	list = json_array();
	db_each(&db, which, fn, list);
	print_list(cli, json_pack("{s:o}", name, list), name, columns, n, none);
	db_close(&db);
	return CLI_OK;
}

int
cmd_db_options(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field columns[] = { { "option", "OPTION", CLI_TEXT }, { "value", "VALUE", CLI_TEXT },
		{ "set_at", "SET", CLI_TIME } };

	return print_all(cli, argc, argv, SCHEMA_DB_OPTIONS, option_object, "options", columns, ARRAY_LEN(columns),
		"no option was set");
}

int
cmd_db_backends(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field columns[] = { { "id", "ID", CLI_TEXT }, { "state", "STATE", CLI_TEXT },
		{ "size", "SIZE", CLI_OCTETS }, { "probed_at", "PROBED", CLI_TIME },
		{ "changed_at", "CHANGED", CLI_TIME }, { "words", "SAID", CLI_TEXT } };

	return print_all(cli, argc, argv, SCHEMA_DB_BACKENDS, backend_object, "backends", columns, ARRAY_LEN(columns),
		"no backend was stored");
}

/* Every named database with its number of records; the names are the keys of the main one. */
static json_t *
tables_object(struct db *db)
{
	json_t *tables = json_object();
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_dbi names;

	if (mdb_dbi_open(db->txn, NULL, 0, &names) != 0 || mdb_cursor_open(db->txn, names, &cursor) != 0)
		return tables;
	while (json_object_size(tables) < DB_DATABASES_MAX && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		char name[64];
		MDB_stat stat;
		MDB_dbi dbi;

		if (key.mv_size >= sizeof(name))
			continue;
		memcpy(name, key.mv_data, key.mv_size);
		name[key.mv_size] = '\0';
		if (mdb_dbi_open(db->txn, name, 0, &dbi) == 0 && mdb_stat(db->txn, dbi, &stat) == 0)
			json_object_set_new(
				tables, name, json_integer((json_int_t)stat.ms_entries)); /* no UTF-8: left out */
	}
	mdb_cursor_close(cursor);
	return tables;
}

int
cmd_db_stats(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field fields[] = {
		{ "path", "file", CLI_TEXT },
		{ "schema_state", "layout", CLI_TEXT },
		{ "schema", "layout version", CLI_TEXT },
		{ "created_at", "created", CLI_TIME },
		{ "map_octets", "map", CLI_OCTETS },
		{ "used_octets", "used", CLI_OCTETS },
		{ "readers", "readers", CLI_TEXT },
	};
	const char *pos[CLI_ARGS_MAX], *name;
	struct schema_meta meta = { 0 };
	MDB_val value = { 0 };
	MDB_envinfo info;
	MDB_stat stat;
	bool has_meta;
	json_t *o, *tables, *count;
	int exit_code;
	struct db db;

	if (cli_arguments(cli, argc, argv, NULL, 0, 0, 0, pos) < 0)
		return CLI_USAGE;
	exit_code = db_open(cli, &db);
	if (exit_code != CLI_OK)
		return exit_code;
	mdb_env_info(db.env, &info);
	mdb_env_stat(db.env, &stat);
	has_meta = db_value(&db, SCHEMA_DB_META, SCHEMA_META_SCHEMA, strlen(SCHEMA_META_SCHEMA), &value);
	tables = tables_object(&db);
	o = json_pack("{s:s, s:s, s:I, s:I, s:i, s:O}", "path", db.path, "schema_state",
		schema_state_name(schema_judge(has_meta ? value.mv_data : NULL, has_meta ? value.mv_size : 0)),
		"map_octets", (json_int_t)info.me_mapsize, "used_octets",
		(json_int_t)((info.me_last_pgno + 1) * stat.ms_psize), "readers", (int)info.me_numreaders, "tables",
		tables);
	if (has_meta && schema_meta_parse(value.mv_data, value.mv_size, &meta) == 0) {
		json_object_set_new(o, "schema", json_integer(meta.schema));
		json_object_set_new(o, "created_at", json_integer((json_int_t)meta.created_wall_s));
	}
	if (cli->json) {
		cli_print_json(o);
	} else {
		cli_print_fields(o, fields, ARRAY_LEN(fields));
		printf("\n");
		json_object_foreach(tables, name, count)
		{
			cli_print_text(name);
			printf("%*lld\n", (int)(strlen(name) < 20 ? 24 - strlen(name) : 4),
				(long long)json_integer_value(count));
		}
	}
	json_decref(tables);
	json_decref(o);
	db_close(&db);
	return CLI_OK;
}

struct check {
	size_t good, damaged, unknown;
};

static void
check_table(struct db *db, enum schema_db which, struct check *c)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_dbi dbi;

	if (!db_table(db, which, &dbi) || mdb_cursor_open(db->txn, dbi, &cursor) != 0)
		return;
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
		switch (schema_record_check(which, key.mv_data, key.mv_size, value.mv_data, value.mv_size)) {
		case 0:
			c->good++;
			break;
		case -ENOTSUP:
			c->unknown++;
			break;
		default:
			c->damaged++;
			break;
		}
	mdb_cursor_close(cursor);
}

int
cmd_db_check(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field columns[] = {
		{ "table", "TABLE", CLI_TEXT },
		{ "good", "GOOD", CLI_TEXT },
		{ "damaged", "DAMAGED", CLI_TEXT },
		{ "unknown", "UNKNOWN VERSION", CLI_TEXT },
	};
	const char *pos[CLI_ARGS_MAX];
	json_t *list;
	size_t damaged = 0;
	int exit_code;
	struct db db;

	if (cli_arguments(cli, argc, argv, NULL, 0, 0, 0, pos) < 0)
		return CLI_USAGE;
	exit_code = db_open(cli, &db);
	if (exit_code != CLI_OK)
		return exit_code;
	list = json_array();
	for (int d = 0; d < SCHEMA_DB_N; d++) {
		struct check c = { 0 };

		check_table(&db, (enum schema_db)d, &c);
		damaged += c.damaged;
		json_array_append_new(
			list, json_pack("{s:s, s:I, s:I, s:I}", "table", schema_db_name((enum schema_db)d), "good",
				      (json_int_t)c.good, "damaged", (json_int_t)c.damaged, "unknown",
				      (json_int_t)c.unknown));
	}
	print_list(cli, json_pack("{s:o, s:I}", "tables", list, "damaged", (json_int_t)damaged), "tables", columns,
		ARRAY_LEN(columns), "no tables");
	db_close(&db);
	return damaged > 0 ? CLI_NOT_FOUND : CLI_OK;
}
