/*
 * key.c - see key.h.
 *
 * Pure:   see the header.
 */
#include "lmdb-schema/key.h"

#include <errno.h>

#include "lmdb-schema/octets_io.h"

const char *
schema_db_name(enum schema_db db)
{
	static const char *const names[SCHEMA_DB_N] = {
#define X(id, name) name,
		SCHEMA_DATABASES(X)
#undef X
	};

	return (unsigned)db < SCHEMA_DB_N ? names[db] : NULL;
}

static size_t
build_uint(uint8_t *out, uint64_t v, unsigned n_octets)
{
	struct schema_out o = { .at = out, .room = n_octets };

	out_uint(&o, v, n_octets);
	return o.used;
}

static int
parse_uint(const void *key, size_t octets, unsigned n_octets, uint64_t *out)
{
	struct schema_in in = { .at = key, .left = octets };
	const uint64_t v = in_uint(&in, n_octets);

	if (!in_done(&in))
		return -EBADMSG;
	*out = v;
	return 0;
}

size_t
schema_entry_key_build(uint8_t out[SCHEMA_ENTRY_KEY_OCTETS], uint8_t kind, uint64_t tag)
{
	out[0] = kind;
	return 1 + build_uint(out + 1, tag, 8);
}

int
schema_entry_key_parse(const void *key, size_t octets, uint8_t *kind, uint64_t *tag)
{
	const uint8_t *p = key;

	if (octets != SCHEMA_ENTRY_KEY_OCTETS || p[0] == 0 || p[0] > 15 || get_uint(p + 1, 8) == 0)
		return -EBADMSG;
	*kind = p[0];
	*tag = get_uint(p + 1, 8);
	return 0;
}

size_t
schema_backend_key_build(uint8_t out[SCHEMA_BACKEND_KEY_OCTETS], uint32_t id)
{
	return build_uint(out, id, SCHEMA_BACKEND_KEY_OCTETS);
}

int
schema_backend_key_parse(const void *key, size_t octets, uint32_t *id)
{
	uint64_t v;

	if (parse_uint(key, octets, SCHEMA_BACKEND_KEY_OCTETS, &v) != 0 || v == 0)
		return -EBADMSG;
	*id = (uint32_t)v;
	return 0;
}

size_t
schema_why_key_build(uint8_t out[SCHEMA_WHY_KEY_OCTETS], uint64_t ref)
{
	return build_uint(out, ref & SCHEMA_REF_MAX, SCHEMA_WHY_KEY_OCTETS);
}

int
schema_why_key_parse(const void *key, size_t octets, uint64_t *ref)
{
	return parse_uint(key, octets, SCHEMA_WHY_KEY_OCTETS, ref);
}

size_t
schema_order_key_build(uint8_t out[SCHEMA_ORDER_KEY_OCTETS], uint64_t sequence)
{
	return build_uint(out, sequence, SCHEMA_ORDER_KEY_OCTETS);
}

int
schema_order_key_parse(const void *key, size_t octets, uint64_t *sequence)
{
	return parse_uint(key, octets, SCHEMA_ORDER_KEY_OCTETS, sequence);
}

static bool
is_option_octet(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

static bool
is_option_name(const uint8_t *name, size_t octets)
{
	if (octets == 0 || octets > SCHEMA_OPTION_KEY_MAX_OCTETS)
		return false;
	for (size_t i = 0; i < octets; i++) {
		if (!is_option_octet(name[i]))
			return false;
	}
	return true;
}

size_t
schema_option_key_build(uint8_t out[SCHEMA_OPTION_KEY_MAX_OCTETS], const char *name)
{
	const size_t n = strnlen(name, SCHEMA_OPTION_KEY_MAX_OCTETS + 1);

	if (!is_option_name((const uint8_t *)name, n))
		return 0;
	memcpy(out, name, n);
	return n;
}

int
schema_option_key_parse(const void *key, size_t octets, char name[SCHEMA_OPTION_KEY_MAX_OCTETS + 1])
{
	if (!is_option_name(key, octets))
		return -EBADMSG;
	memcpy(name, key, octets);
	name[octets] = '\0';
	return 0;
}
