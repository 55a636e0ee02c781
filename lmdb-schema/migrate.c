/*
 * migrate.c - see migrate.h.
 *
 * Pure:   see the header.
 */
#include "lmdb-schema/migrate.h"

#include <errno.h>
#include <string.h>

enum schema_state
schema_judge(const void *value, size_t octets)
{
	struct schema_meta m;
	int rc;

	if (value == NULL)
		return SCHEMA_EMPTY;
	rc = schema_meta_parse(value, octets, &m);
	if (rc == -ENOTSUP)
		return SCHEMA_NEWER;
	if (rc != 0)
		return SCHEMA_DAMAGED;
	if (m.schema == SCHEMA_VERSION)
		return SCHEMA_CURRENT;
	return m.schema > SCHEMA_VERSION ? SCHEMA_NEWER : SCHEMA_OLD;
}

const char *
schema_state_name(enum schema_state s)
{
	switch (s) {
	case SCHEMA_EMPTY:
		return "empty";
	case SCHEMA_CURRENT:
		return "current";
	case SCHEMA_OLD:
		return "old";
	case SCHEMA_NEWER:
		return "newer";
	case SCHEMA_DAMAGED:
		return "damaged";
	}
	return "?";
}

static bool
is_key(const void *key, size_t octets, const char *name)
{
	return octets == strlen(name) && memcmp(key, name, octets) == 0;
}

static int
check_meta(const void *key, size_t key_octets, const void *value, size_t octets)
{
	struct schema_meta m;
	struct schema_table_key k;
	struct schema_policy_time p;

	if (is_key(key, key_octets, SCHEMA_META_SCHEMA))
		return schema_meta_parse(value, octets, &m);
	if (is_key(key, key_octets, SCHEMA_META_TABLE_KEY))
		return schema_table_key_parse(value, octets, &k);
	if (is_key(key, key_octets, SCHEMA_META_POLICY))
		return schema_policy_time_parse(value, octets, &p);
	return -ENOTSUP; /* of another release */
}

int
schema_record_check(enum schema_db db, const void *key, size_t key_octets, const void *value, size_t octets)
{
	char option[SCHEMA_OPTION_KEY_MAX_OCTETS + 1];
	struct schema_backend backend;
	struct schema_option opt;
	struct schema_entry entry;
	struct schema_name name;
	struct schema_why why;
	uint64_t number;
	uint32_t id;
	uint8_t kind;
	int rc;

	switch (db) {
	case SCHEMA_DB_META:
		return check_meta(key, key_octets, value, octets);
	case SCHEMA_DB_ENTRIES:
		rc = schema_entry_key_parse(key, key_octets, &kind, &number);
		return rc != 0 ? rc : schema_entry_parse(value, octets, &entry);
	case SCHEMA_DB_NAMES:
		rc = schema_entry_key_parse(key, key_octets, &kind, &number);
		return rc != 0 ? rc : schema_name_parse(value, octets, &name);
	case SCHEMA_DB_OPTIONS:
		rc = schema_option_key_parse(key, key_octets, option);
		return rc != 0 ? rc : schema_option_parse(value, octets, &opt);
	case SCHEMA_DB_BACKENDS:
		rc = schema_backend_key_parse(key, key_octets, &id);
		return rc != 0 ? rc : schema_backend_parse(value, octets, &backend);
	case SCHEMA_DB_WHY:
		rc = schema_why_key_parse(key, key_octets, &number);
		return rc != 0 ? rc : schema_why_parse(value, octets, &why);
	case SCHEMA_DB_WHY_ORDER:
		rc = schema_order_key_parse(key, key_octets, &number);
		return rc != 0 ? rc : schema_order_parse(value, octets, &number);
	case SCHEMA_DB_N:
		break;
	}
	return -EBADMSG;
}

bool
schema_carries_over(uint32_t from, enum schema_db db)
{
	if (from == 0 || from > SCHEMA_VERSION)
		return false;
	return from > 1 || (db != SCHEMA_DB_ENTRIES && db != SCHEMA_DB_NAMES);
}
