/*
 * tcp_table.h - from a flow's keyed hash to a connection's index.
 *
 * Flow:   tcp_input -> tcp_table_find() -> the connection
 * Pure:   memory is allocated at creation; entries are numbers, the caller compares flows.
 * Keeps:  a bucket is one cache line; an entry lies in one of two buckets, both functions of its hash alone, and is never
 *         moved. Both full: the insert is refused, never another entry lost. A filter over several tables never denies what one of them has.
 */
#ifndef GREYLINE_TCP_TCP_TABLE_H
#define GREYLINE_TCP_TCP_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/memory_list.h"

#define TCP_TABLE_BUCKET_SLOTS 8
#define TCP_TABLE_NONE         UINT32_MAX

struct tcp_table_bucket {
	_Alignas(64) uint32_t tag[TCP_TABLE_BUCKET_SLOTS];
	uint32_t index_plus_1[TCP_TABLE_BUCKET_SLOTS]; /* 0: free */
};

/*
 * What the hashes of several tables have in common: a small count for each of its cells. Where it is zero none of the tables has the hash: one
 * line instead of two a table, and of a table made for many connections those two are nowhere near. A count that was ever full stays.
 */
struct tcp_filter {
	uint8_t *count;
	uint32_t mask;
};

struct tcp_table {
	struct tcp_table_bucket *bucket;
	struct tcp_filter *filter; /* of this table and others */
	uint32_t mask;
	uint32_t n;
	uint32_t inserts; /* so far, modulo 2^32: what was not there is not there until it moves on */
};

/* For at most entries_max in all tables. Allocates; false when memory is short. */
bool tcp_filter_create(struct tcp_filter *f, uint32_t entries_max);
void tcp_filter_memory(const struct tcp_filter *f, const char *name, struct memory_list *l);
void tcp_filter_destroy(struct tcp_filter *f);

static inline uint8_t *
tcp_filter_cell(const struct tcp_filter *f, uint64_t hash)
{
	return &f->count[(uint32_t)(hash >> 32) & f->mask];
}

/* There are no more entries of this hash in the filter's tables, unless it is UINT8_MAX. */
static inline uint8_t
tcp_filter_count(const struct tcp_filter *f, uint64_t hash)
{
	return *tcp_filter_cell(f, hash);
}

/* False: none of the filter's tables has an entry of this hash. */
static inline bool
tcp_filter_may_have(const struct tcp_filter *f, uint64_t hash)
{
	return tcp_filter_count(f, hash) != 0;
}

/* Room for at least entries_max at a load of a half. Borrows filter for life. Allocates; false when memory is short. */
bool tcp_table_create(struct tcp_table *t, uint32_t entries_max, struct tcp_filter *filter);
void tcp_table_memory(const struct tcp_table *t, const char *name, struct memory_list *l);
void tcp_table_destroy(struct tcp_table *t);

/* False: both buckets are full. */
bool tcp_table_insert(struct tcp_table *t, uint64_t hash, uint32_t index);
/* Removes index, which was inserted with hash. */
void tcp_table_remove(struct tcp_table *t, uint64_t hash, uint32_t index);

/* What was inserted with hash as index has another one from now on. */
void tcp_table_replace(struct tcp_table *t, uint64_t hash, uint32_t index, uint32_t by);

/* The first candidate for hash, in either bucket; where the first bucket has one, the second is not looked at. */
uint32_t tcp_table_guess(const struct tcp_table *t, uint64_t hash);

/* Asks for the lines of both buckets. */
void tcp_table_prefetch(const struct tcp_table *t, uint64_t hash);

/* The next candidate for hash: *at starts as 0 and moves on; TCP_TABLE_NONE after the last. */
uint32_t tcp_table_next(const struct tcp_table *t, uint64_t hash, uint32_t *at);

#endif
