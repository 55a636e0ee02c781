/*
 * key.h - the named databases of the store and the octets of their keys.
 *
 * Flow:   control/store -> key_build -> LMDB -> key_parse;  `greylinectl db` reads with the same code.
 * Pure:   octets in, octets out. Libc alone.
 * Keeps:  integers in keys are big endian, so that LMDB's order is theirs; a key is read whole or not at all.
 * Source: README.md beside this file names every table, key, value, version and writer.
 */
#ifndef GREYLINE_LMDB_SCHEMA_KEY_H
#define GREYLINE_LMDB_SCHEMA_KEY_H

#include <stddef.h>
#include <stdint.h>

/* enum, name in LMDB */
/* clang-format off */
#define SCHEMA_DATABASES(X)                                                                                            \
	X(META, "meta") X(ENTRIES, "entries") X(NAMES, "names") X(OPTIONS, "options") X(BACKENDS, "backends")          \
	X(WHY, "why") X(WHY_ORDER, "why_order")

enum schema_db {
#define X(id, name) SCHEMA_DB_##id,
	SCHEMA_DATABASES(X)
#undef X
	SCHEMA_DB_N
};
/* clang-format on */

#define SCHEMA_ENTRY_KEY_OCTETS      9 /* kind, tag; of entries and names */
#define SCHEMA_BACKEND_KEY_OCTETS    4
#define SCHEMA_WHY_KEY_OCTETS        5 /* a reference has 40 bits */
#define SCHEMA_ORDER_KEY_OCTETS      8
#define SCHEMA_OPTION_KEY_MAX_OCTETS 64
#define SCHEMA_KEY_MAX_OCTETS        64 /* of any; LMDB allows 511 */
#define SCHEMA_REF_MAX               ((UINT64_C(1) << 40) - 1)

#define SCHEMA_META_SCHEMA    "schema"    /* struct schema_meta */
#define SCHEMA_META_TABLE_KEY "table_key" /* struct schema_table_key */
#define SCHEMA_META_POLICY    "policy"    /* struct schema_policy_time */

/* "entries" and so on; NULL for a number that is none. */
const char *schema_db_name(enum schema_db db);

/* Builders give the octets written. Parsers: 0, or -EBADMSG where the key is not one of that table; *out on success
 * only. */
size_t schema_entry_key_build(uint8_t out[SCHEMA_ENTRY_KEY_OCTETS], uint8_t kind, uint64_t tag);
int schema_entry_key_parse(const void *key, size_t octets, uint8_t *kind, uint64_t *tag);

size_t schema_backend_key_build(uint8_t out[SCHEMA_BACKEND_KEY_OCTETS], uint32_t id);
int schema_backend_key_parse(const void *key, size_t octets, uint32_t *id);

/* Only the low 40 bits of ref count. */
size_t schema_why_key_build(uint8_t out[SCHEMA_WHY_KEY_OCTETS], uint64_t ref);
int schema_why_key_parse(const void *key, size_t octets, uint64_t *ref);

size_t schema_order_key_build(uint8_t out[SCHEMA_ORDER_KEY_OCTETS], uint64_t sequence);
int schema_order_key_parse(const void *key, size_t octets, uint64_t *sequence);

/* A dotted option name: lower-case letters, digits, '_' and '.'. Builds 0 octets where it is none or too long. */
size_t schema_option_key_build(uint8_t out[SCHEMA_OPTION_KEY_MAX_OCTETS], const char *name);
/* name gets a NUL. */
int schema_option_key_parse(const void *key, size_t octets, char name[SCHEMA_OPTION_KEY_MAX_OCTETS + 1]);

#endif
