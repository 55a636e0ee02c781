/*
 * make_db.c - writes a small database through the codecs, for the tests of `greylinectl db`.
 *
 * usage: make_db FILE [damaged]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lmdb.h>

#include "dataplane/policy/client.h"
#include "dataplane/policy/grey.h"
#include "lmdb-schema/key.h"
#include "lmdb-schema/migrate.h"
#include "lmdb-schema/record.h"

static MDB_txn *txn;

static void
check(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "%s: %s\n", what, mdb_strerror(rc));
	exit(1);
}

static void
put(enum schema_db db, const void *key, size_t key_octets, const void *value, size_t octets)
{
	MDB_val k = { .mv_size = key_octets, .mv_data = (void *)(uintptr_t)key };
	MDB_val v = { .mv_size = octets, .mv_data = (void *)(uintptr_t)value };
	MDB_dbi dbi;

	check(mdb_dbi_open(txn, schema_db_name(db), MDB_CREATE, &dbi), "open");
	check(mdb_put(txn, dbi, &k, &v, 0), "put");
}

static void
put_entry(const struct vt_entry *e)
{
	const struct schema_entry s = {
		.state = (uint8_t)vt_state(e), .flags = e->flags, .aux = e->aux, .time_s = e->time_s
	};
	uint8_t key[SCHEMA_ENTRY_KEY_OCTETS], value[SCHEMA_VALUE_MAX_OCTETS];

	put(SCHEMA_DB_ENTRIES, key, schema_entry_key_build(key, (uint8_t)vt_kind(e), e->tag), value,
		schema_entry_build(&s, value, sizeof(value)));
}

int
main(int argc, char **argv)
{
	const struct grey_record white = { .state = GREY_WHITE, .time_s = 1700000000 },
				 grey = { .state = GREY_WAITING, .time_s = 1700000100, .lapsed = 2 };
	const struct client_verdict verdict = {
		.known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .score = 7, .zone = 1, .time_s = 1700000050
	};
	const struct schema_meta meta = { .schema = SCHEMA_VERSION, .created_wall_s = 1699999999 };
	const struct schema_table_key secret = { 0x5ec7e75ec7e75ec7, 0x1111111111111111 };
	const struct schema_option option = { .set_wall_s = 1700000200, .text = schema_text_of("10m") };
	const struct schema_name name = { .network = { [10] = 0xff, 0xff, 192, 0, 2, 0 },
		.first_s = 1700000000,
		.sender = schema_text_of("alice@sender.example"),
		.rcpt = schema_text_of("bob\x1b[2J@example.org") };
	const struct schema_why why = { .sequence = 1,
		.wall_s = 1700000300,
		.client = { [10] = 0xff, 0xff, 203, 0, 113, 9 },
		.verdict = 2,
		.rule = 8,
		.code = 554,
		.score = 6,
		.listener = schema_text_of("mx"),
		.helo = schema_text_of("spam.example"),
		.from = schema_text_of("x@spam.example"),
		.rcpt = schema_text_of("bob@example.org"),
		.reason = schema_text_of("dnsbl"),
		.reply = schema_text_of("554 5.7.1 no") };
	const struct schema_backend backend = { .health = 1,
		.probed = 1,
		.probed_s = 1700000000,
		.size_octets = 40000000,
		.words = schema_text_of("220 mta.example ESMTP") };
	uint8_t key[SCHEMA_KEY_MAX_OCTETS], value[SCHEMA_VALUE_MAX_OCTETS];
	struct vt_entry e;
	MDB_env *env;

	if (argc < 2)
		return 2;
	check(mdb_env_create(&env), "create");
	check(mdb_env_set_maxdbs(env, 16), "maxdbs");
	check(mdb_env_open(env, argv[1], MDB_NOSUBDIR, 0640), "env");
	check(mdb_txn_begin(env, NULL, 0, &txn), "txn");
	put(SCHEMA_DB_META, SCHEMA_META_SCHEMA, strlen(SCHEMA_META_SCHEMA), value,
		schema_meta_build(&meta, value, sizeof(value)));
	put(SCHEMA_DB_META, SCHEMA_META_TABLE_KEY, strlen(SCHEMA_META_TABLE_KEY), value,
		schema_table_key_build(&secret, value, sizeof(value)));
	e = grey_store(&white, UINT64_C(0x0123456789abcdef));
	put_entry(&e);
	put(SCHEMA_DB_NAMES, key, schema_entry_key_build(key, VT_TRIPLET, e.tag), value,
		schema_name_build(&name, value, sizeof(value)));
	e = grey_store(&grey, UINT64_C(0xfedcba9876543210));
	put_entry(&e);
	e = client_store(&verdict, 77, 1700000060);
	put_entry(&e);
	put(SCHEMA_DB_OPTIONS, key, schema_option_key_build(key, "greylist.block"), value,
		schema_option_build(&option, value, sizeof(value)));
	put(SCHEMA_DB_WHY, key, schema_why_key_build(key, 0x1122334455), value,
		schema_why_build(&why, value, sizeof(value)));
	put(SCHEMA_DB_BACKENDS, key, schema_backend_key_build(key, 42), value,
		schema_backend_build(&backend, value, sizeof(value)));
	if (argc > 2)
		put(SCHEMA_DB_ENTRIES, key, schema_entry_key_build(key, VT_TRIPLET, 5), "\x01x", 2);
	check(mdb_txn_commit(txn), "commit");
	mdb_env_close(env);
	return 0;
}
