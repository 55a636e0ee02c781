/*
 * migrate.h - what to do with a database another release wrote.
 *
 * Flow:   control/store at start: schema_judge() -> use, carry over or set aside;  `greylinectl db check` ->
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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lmdb-schema/key.h"
#include "lmdb-schema/record.h"

/*
 * 1  the first.
 * 2  tags are other hashes of the same: entries and names of before stand under keys that nobody asks for, and cannot be
 *    counted anew, for an entry does not hold what its tag is a hash of. They are let go, which costs one greylist delay.
 */
#define SCHEMA_VERSION 2

enum schema_state {
	SCHEMA_EMPTY, /* no meta record: new */
	SCHEMA_CURRENT,
	SCHEMA_OLD,   /* empty what schema_carries_over() says no of, then write the meta record, in one transaction */
	SCHEMA_NEWER, /* set aside: this release does not know it */
	SCHEMA_DAMAGED, /* set aside */
};

/* By the value of meta "schema"; NULL where there is none. */
enum schema_state schema_judge(const void *value, size_t octets);
const char *schema_state_name(enum schema_state s);

/* Whether key and value belong into that table: 0, -EBADMSG damaged, -ENOTSUP a version this build does not know. */
int schema_record_check(enum schema_db db, const void *key, size_t key_octets, const void *value, size_t octets);

/* Whether records of layout `from` mean in this layout what they meant there; false: the table begins empty. */
bool schema_carries_over(uint32_t from, enum schema_db db);

#endif
