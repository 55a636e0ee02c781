/*
 * prefix.h - lists of networks: position-independent longest-prefix tables.
 *
 * Flow:   control builds -> snapshot section -> workers and `explain` look up with the same code.
 * Pure:   octets of the section; borrowed.
 * Keeps:  one hash per prefix length in use, IPv4 and IPv6 alike (IPv4 in its mapped form); at most 32 octets an entry;
 *         a million entries build in under 2 s. A lookup in a table that prefix_table_valid() took never reads outside
 *         the section. An IPv4 address is never matched by an IPv6 prefix that happens to hold the mapped range
 *         ("::/0"): nothing is silently wider.
 */
#ifndef GREYLINE_TABLE_PREFIX_H
#define GREYLINE_TABLE_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/addr.h"

struct prefix_entry {
	struct ip_addr addr; /* host bits zero */
	uint8_t bits;        /* 0 to 128 in the 128-bit form */
	uint8_t reserved[3];
	uint32_t value; /* the caller's: what the entry came from */
};

/* Octets prefix_table_build() needs at most. */
size_t prefix_table_octets(uint32_t n_entries);
/* Builds into out (8-aligned); of equal prefixes the first stays; host bits are cleared. Returns the octets used, 0
 * when room is too small or an entry has over 128 bits. */
size_t prefix_table_build(
	void *out, size_t room_octets, const struct prefix_entry *entries, uint32_t n_entries, uint64_t seed);
/* Whether the section is well formed: every offset inside. Called once when a snapshot is validated. */
bool prefix_table_valid(const void *table, size_t octets);
/* The longest prefix that holds addr. */
bool prefix_table_find(const void *table, const struct ip_addr *addr, struct prefix_entry *out);
uint32_t prefix_table_count(const void *table);
/* The i-th entry in no particular order, for listings; false beyond the end. */
bool prefix_table_at(const void *table, uint32_t i, struct prefix_entry *out);

/* "192.0.2.0/24", "2001:db8::/32", "192.0.2.1": 0; -EINVAL: not a network (two-octet prefixes, bits too many,
 * IPv4-mapped IPv6 text); -EDOM: host bits set; out then holds the network as it should be written. */
int prefix_parse(const char *text, struct prefix_entry *out);
/* "192.0.2.0/24" into out (at least IP_ADDR_TEXT_MAX_OCTETS + 4); a single address without its length. */
char *prefix_format(const struct prefix_entry *e, char *out);

#endif
