/*
 * name_set.h - position-independent sets of names: domains, host names, mail addresses, each with a value.
 *
 * Flow:   control builds -> snapshot section -> policy and `explain` look up with the same code.
 * Pure:   octets of the section; borrowed.
 * Keeps:  ASCII letters are compared without case; matching is label exact: ".example.org" holds example.org and every
 *         name below it, "example.org" only itself, "*" everything; gle.com never matches google.com. A lookup in a set
 *         that name_set_valid() took never reads outside the section.
 */
#ifndef GREYLINE_TABLE_NAME_SET_H
#define GREYLINE_TABLE_NAME_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name_set_entry {
	const char *name; /* not NUL-terminated necessarily */
	uint32_t len_octets;
	uint64_t value;
};

#define NAME_SET_NAME_MAX_OCTETS 512 /* a mail address has 320 at most; longer names match nothing but "*" */

size_t name_set_octets(const struct name_set_entry *entries, uint32_t n);
/* Of equal names the first stays. Returns the octets used; 0 when room is too small or a name is longer than the
 * maximum. */
size_t name_set_build(void *out, size_t room_octets, const struct name_set_entry *entries, uint32_t n, uint64_t seed);
bool name_set_valid(const void *set, size_t octets);
uint32_t name_set_count(const void *set);
/* The i-th name (lower case), in no particular order; false beyond the end. The name lives as long as the set. */
bool name_set_at(const void *set, uint32_t i, struct name_set_entry *out);

/* Exactly this name, which is in small letters already. */
bool name_set_find_lowered(const void *set, const char *name, uint32_t len_octets, uint64_t *value);
/* A domain name: itself, then ".parent" for each parent (and itself), then "*". */
bool name_set_find_domain(const void *set, const char *name, uint32_t len_octets, uint64_t *value);
/* A mail address: "local@domain" itself, "local@", "@domain" and "domain" alike, ".parent" of the domain, "*". */
bool name_set_find_address(const void *set, const char *address, uint32_t len_octets, uint64_t *value);

#endif
