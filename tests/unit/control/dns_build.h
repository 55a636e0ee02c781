/*
 * dns_build.h - DNS messages for tests: the answer a scripted server gives, built record by record.
 */
#ifndef GREYLINE_TESTS_DNS_BUILD_H
#define GREYLINE_TESTS_DNS_BUILD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dataplane/base/octets.h"

struct dns_build {
	uint8_t m[4096];
	size_t n;
};

/* A name as labels; "\." inside is not known here. */
static inline void
dns_put_name(struct dns_build *b, const char *name)
{
	while (*name != '\0') {
		size_t n = strcspn(name, ".");

		b->m[b->n++] = (uint8_t)n;
		memcpy(b->m + b->n, name, n);
		b->n += n;
		name += n + (name[n] == '.');
	}
	b->m[b->n++] = 0;
}

static inline void
dns_put_u16(struct dns_build *b, uint16_t v)
{
	put_u16(b->m + b->n, v);
	b->n += 2;
}

static inline void
dns_put_u32(struct dns_build *b, uint32_t v)
{
	put_u32(b->m + b->n, v);
	b->n += 4;
}

/* Header and question; flags as on the wire, with rcode. */
static inline void
dns_begin(struct dns_build *b, uint16_t id, uint16_t flags, const char *name, uint16_t type)
{
	b->n = 0;
	dns_put_u16(b, id);
	dns_put_u16(b, flags);
	dns_put_u16(b, 1);
	for (int i = 0; i < 3; i++)
		dns_put_u16(b, 0);
	dns_put_name(b, name);
	dns_put_u16(b, type);
	dns_put_u16(b, 1);
}

static inline void
dns_count(struct dns_build *b, unsigned at)
{
	uint16_t n = (uint16_t)(b->m[at] << 8 | b->m[at + 1]);

	put_u16(b->m + at, (uint16_t)(n + 1));
}

#define DNS_AT_ANSWERS   6
#define DNS_AT_AUTHORITY 8

static inline void
dns_record(struct dns_build *b, unsigned section, const char *owner, uint16_t type, uint32_t ttl_s, const void *data,
	size_t n)
{
	dns_count(b, section);
	dns_put_name(b, owner);
	dns_put_u16(b, type);
	dns_put_u16(b, 1);
	dns_put_u32(b, ttl_s);
	dns_put_u16(b, (uint16_t)n);
	memcpy(b->m + b->n, data, n);
	b->n += n;
}

static inline void
dns_a(struct dns_build *b, const char *owner, uint32_t ttl_s, uint32_t addr)
{
	uint8_t data[4];

	put_u32(data, addr);
	dns_record(b, DNS_AT_ANSWERS, owner, 1, ttl_s, data, sizeof(data));
}

/* PTR (12) or CNAME (5) */
static inline void
dns_name_record(struct dns_build *b, const char *owner, uint16_t type, uint32_t ttl_s, const char *to)
{
	struct dns_build name = { .n = 0 };

	dns_put_name(&name, to);
	dns_record(b, DNS_AT_ANSWERS, owner, type, ttl_s, name.m, name.n);
}

static inline void
dns_soa(struct dns_build *b, const char *owner, uint32_t ttl_s, uint32_t minimum_s)
{
	struct dns_build data = { .n = 0 };

	dns_put_name(&data, "ns.example");
	dns_put_name(&data, "hostmaster.example");
	for (int i = 0; i < 4; i++)
		dns_put_u32(&data, 3600);
	dns_put_u32(&data, minimum_s);
	dns_record(b, DNS_AT_AUTHORITY, owner, 6, ttl_s, data.m, data.n);
}

#endif
