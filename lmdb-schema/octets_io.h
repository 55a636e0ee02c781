/*
 * octets_io.h - writing and reading of stored octets: big endian, checked, failure sticks. For key.c and record.c.
 *
 * Pure:   the memory lent. This folder sees libc alone, so it has its own (dataplane/base/octets.h is for the wire).
 * Keeps:  never beyond the room or the end; after the first failure nothing is written and every read answers zero.
 */
#ifndef GREYLINE_LMDB_SCHEMA_OCTETS_IO_H
#define GREYLINE_LMDB_SCHEMA_OCTETS_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct schema_out {
	uint8_t *at;
	size_t room, used;
	bool failed;
};

struct schema_in {
	const uint8_t *at;
	size_t left;
	bool failed;
};

/* Big endian, n_octets of them; what is read ten million times in a row is read by these. */
static inline uint64_t
get_uint(const uint8_t *p, unsigned n_octets)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n_octets; i++)
		v = v << 8 | p[i];
	return v;
}

static inline void
out_octets(struct schema_out *o, const void *p, size_t n)
{
	if (o->failed || o->room - o->used < n) {
		o->failed = true;
		return;
	}
	if (n > 0)
		memcpy(o->at + o->used, p, n);
	o->used += n;
}

static inline void
out_uint(struct schema_out *o, uint64_t v, unsigned n_octets)
{
	uint8_t b[8];

	for (unsigned i = 0; i < n_octets; i++)
		b[i] = (uint8_t)(v >> 8 * (n_octets - 1 - i));
	out_octets(o, b, n_octets);
}

static inline const uint8_t *
in_octets(struct schema_in *in, size_t n)
{
	const uint8_t *p = in->at;

	if (in->failed || in->left < n) {
		in->failed = true;
		return NULL;
	}
	in->at += n;
	in->left -= n;
	return p;
}

static inline uint64_t
in_uint(struct schema_in *in, unsigned n_octets)
{
	const uint8_t *p = in_octets(in, n_octets);
	uint64_t v = 0;

	for (unsigned i = 0; p != NULL && i < n_octets; i++)
		v = v << 8 | p[i];
	return v;
}

static inline void
in_copy(struct schema_in *in, void *out, size_t n)
{
	const uint8_t *p = in_octets(in, n);

	if (p != NULL)
		memcpy(out, p, n);
}

/* Everything was read and nothing is left over. */
static inline bool
in_done(const struct schema_in *in)
{
	return !in->failed && in->left == 0;
}

#endif
