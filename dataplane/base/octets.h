/*
 * octets.h - a reader over octets whose failure sticks, so that it is checked once at the end.
 *
 * Flow:   every parser of wire octets.
 * Pure:   no I/O, no allocation. Borrows the octets.
 * Keeps:  never reads beyond len; after a failure every read answers zero and failed stays set.
 */
#ifndef GREYLINE_BASE_OCTETS_H
#define GREYLINE_BASE_OCTETS_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct octets {
	const uint8_t *ptr;
	uint32_t len_octets;
	bool failed;
};

static inline struct octets
octets_of(const void *ptr, uint32_t len_octets)
{
	return (struct octets){ .ptr = ptr, .len_octets = len_octets };
}

/* Big-endian loads where a header's length was checked as a whole. */
static inline uint16_t
get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t
get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The next n octets, or NULL (and failed) where there are fewer. */
static inline const uint8_t *
octets_take(struct octets *o, uint32_t n)
{
	const uint8_t *p = o->ptr;

	if (o->failed || o->len_octets < n) {
		o->failed = true;
		return NULL;
	}
	o->ptr += n;
	o->len_octets -= n;
	return p;
}

static inline uint8_t
octets_u8(struct octets *o)
{
	const uint8_t *p = octets_take(o, 1);

	return p != NULL ? p[0] : 0;
}

static inline uint16_t
octets_u16(struct octets *o)
{
	const uint8_t *p = octets_take(o, 2);

	return p != NULL ? get_u16(p) : 0;
}

static inline uint32_t
octets_u32(struct octets *o)
{
	const uint8_t *p = octets_take(o, 4);

	return p != NULL ? get_u32(p) : 0;
}

/* Copies n octets to out; zeroes out where there are fewer. */
static inline void
octets_copy(struct octets *o, void *out, uint32_t n)
{
	const uint8_t *p = octets_take(o, n);

	if (p != NULL)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}

/* Big-endian stores for builders; the caller has checked the room. */
static inline uint8_t *
put_u8(uint8_t *p, uint8_t v)
{
	*p = v;
	return p + 1;
}

static inline uint8_t *
put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static inline uint8_t *
put_u32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
	return p + 4;
}

static inline uint8_t *
put_u64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, 8);
	return p + 8;
}

#endif
