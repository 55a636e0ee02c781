/*
 * migrate.h - what to do with a database another release wrote.
 *
 * Flow:   control/store at start: schema_judge() -> use, migrate or set aside;  `greylinectl db check` ->
 *         schema_record_check()
 * Pure:   octets in, octets out. Libc alone.
 * Keeps:  a newer layout is never written to; a record that is damaged or of an unknown version is left out, not
 *         guessed at.
 *
 * SCHEMA_VERSION is the layout: which databases there are and what their keys mean. It rises only when a key or a table
 * changes its meaning; a value that gains a field gets a new version of its own (record.h), its parser goes on reading
 * the old one, and the record is rewritten when it is written next.
 */
#ifndef GREYLINE_LMDB_SCHEMA_MIGRATE_H
#define GREYLINE_LMDB_SCHEMA_MIGRATE_H

#include <stddef.h>
#include <stdint.h>

#include "lmdb-schema/key.h"
#include "lmdb-schema/record.h"

#define SCHEMA_VERSION 1

enum schema_state {
	SCHEMA_EMPTY, /* no meta record: new */
	SCHEMA_CURRENT,
	SCHEMA_OLD,     /* schema_migrate() every record in one transaction, then write the meta record */
	SCHEMA_NEWER,   /* set aside: this release does not know it */
	SCHEMA_DAMAGED, /* set aside */
};

/* By the value of meta "schema"; NULL where there is none. */
enum schema_state schema_judge(const void *value, size_t octets);
const char *schema_state_name(enum schema_state s);

/* Whether key and value belong into that table: 0, -EBADMSG damaged, -ENOTSUP a version this build does not know. */
int schema_record_check(enum schema_db db, const void *key, size_t key_octets, const void *value, size_t octets);

struct schema_pair {
	uint8_t key[SCHEMA_KEY_MAX_OCTETS], value[SCHEMA_VALUE_MAX_OCTETS];
	size_t key_octets, octets;
};

/* One record of layout `from` as this layout has it: 0; -EBADMSG and -ENOTSUP as above, the record is then left out. */
int schema_migrate(uint32_t from, enum schema_db db, const void *key, size_t key_octets, const void *value,
	size_t octets, struct schema_pair *out);

#endif
