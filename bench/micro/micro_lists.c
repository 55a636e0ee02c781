/* micro_lists.c - network lists, name sets, and the rings between the daemons. */
#include "bench/micro/micro.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/link/message.h"
#include "dataplane/link/ring.h"
#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

#define PREFIXES     1000000
#define PREFIX_OPS   50000
#define NAMES        100000
#define RING_RECORDS 4096
#define RING_MOVES   200000

/* --- network lists --- */

struct prefix_bench {
	void *table;
	struct prefix_entry *entries;
	uint32_t n, lengths;
	bool miss;
};

static struct prefix_entry
prefix_at(uint32_t i, uint32_t lengths)
{
	const uint64_t r = mix(i);
	struct prefix_entry e = { .value = i };

	if (i % 2 == 0) {
		e.addr = ip_addr_v4((uint32_t)r);
		e.bits = (uint8_t)(128 - (lengths > 2 ? r >> 40 & 15 : 0));
	} else {
		memcpy(e.addr.octet, &r, sizeof(r));
		e.addr.octet[0] = 0x20;
		e.bits = (uint8_t)(64 - (lengths > 2 ? r >> 40 & 15 : 0));
	}
	e.addr = ip_addr_mask(&e.addr, e.bits);
	return e;
}

static uint64_t
run_prefix(void *arg)
{
	struct prefix_bench *b = arg;
	struct prefix_entry e;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < PREFIX_OPS; i++) {
		struct ip_addr a = b->entries[mix(i) % b->n].addr;

		if (b->miss)
			a.octet[i % 2 ? 1 : 15] ^= (uint8_t)(1 + i % 250);
		sum += prefix_table_find(b->table, &a, &e);
	}
	return sum;
}

void
bench_lists(void)
{
	static const struct {
		const char *build, *octets, *hit, *miss;
		uint32_t lengths;
	} kinds[] = {
		{ "prefix build of 1 million, 2 lengths", "prefix octets per entry, 2 lengths", "prefix hit, 2 lengths",
			"prefix miss, 2 lengths", 2 },
		{ "prefix build of 1 million, 32 lengths", "prefix octets per entry, 32 lengths",
			"prefix hit, 32 lengths", "prefix miss, 32 lengths", 32 },
	};
	const size_t room = prefix_table_octets(PREFIXES);
	struct prefix_bench b = {
		.table = memory(room), .entries = memory(PREFIXES * sizeof(struct prefix_entry)), .n = PREFIXES
	};

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		double took[BUILD_ROUNDS];
		size_t octets = 0;

		b.lengths = kinds[k].lengths;
		for (uint32_t i = 0; i < PREFIXES; i++)
			b.entries[i] = prefix_at(i, b.lengths);
		for (unsigned r = 0; r < BUILD_ROUNDS; r++) {
			const double start = now_s();

			octets = prefix_table_build(b.table, room, b.entries, PREFIXES, 1);
			took[r] = now_s() - start;
		}
		BUG_ON(!prefix_table_valid(b.table, octets));
		add_times(kinds[k].build, "s", took, BUILD_ROUNDS);
		add_size(kinds[k].octets, "octets", (double)octets / prefix_table_count(b.table));
		b.miss = false;
		measure(&(struct work){ kinds[k].hit, NULL, run_prefix, &b, PREFIX_OPS });
		b.miss = true;
		measure(&(struct work){ kinds[k].miss, NULL, run_prefix, &b, PREFIX_OPS });
	}
	free(b.table);
	free(b.entries);
}

/* --- name sets --- */

struct name_bench {
	void *set;
	char (*names)[24];
	bool miss;
};

static uint64_t
run_names(void *arg)
{
	struct name_bench *b = arg;
	uint64_t sum = 0, value;

	for (uint64_t i = 0; i < OPS; i++) {
		char host[48];
		const int n = snprintf(host, sizeof(host), "mx%u.%s%s", (unsigned)(i % 10), b->names[mix(i) % NAMES],
			b->miss ? "x" : "");

		sum += name_set_find_domain(b->set, host, (uint32_t)n, &value);
	}
	return sum;
}

void
bench_names(void)
{
	struct name_set_entry *e = memory(NAMES * sizeof(*e));
	struct name_bench b = { .names = memory(NAMES * sizeof(*b.names)) };
	size_t room, octets;

	for (uint32_t i = 0; i < NAMES; i++) {
		const int n = snprintf(b.names[i], sizeof(b.names[i]), ".domain%u.example", i);

		e[i] = (struct name_set_entry){ .name = b.names[i], .len_octets = (uint32_t)n, .value = i };
	}
	room = name_set_octets(e, NAMES);
	b.set = memory(room);
	octets = name_set_build(b.set, room, e, NAMES, 1);
	BUG_ON(!name_set_valid(b.set, octets));
	for (uint32_t i = 0; i < NAMES; i++)
		memmove(b.names[i], b.names[i] + 1, sizeof(b.names[i]) - 1); /* without the dot */
	add_size("name set octets per entry (names of 20)", "octets", (double)octets / NAMES);
	measure(&(struct work){ "name set find_domain by parent (with snprintf)", NULL, run_names, &b, OPS });
	b.miss = true;
	measure(&(struct work){ "name set find_domain miss (with snprintf)", NULL, run_names, &b, OPS });
	free(e);
	free(b.set);
	free(b.names);
}

/* --- rings --- */

struct ring_bench {
	struct ring in, out;
	uint32_t octets;
};

static void
ring_put(struct ring *r, uint32_t octets, uint64_t i)
{
	uint64_t *slot;

	while ((slot = ring_reserve(r)) == NULL)
		__builtin_ia32_pause();
	memset(slot, (int)i, octets);
	ring_publish(r);
}

static uint64_t
ring_get(struct ring *r)
{
	const uint64_t *slot;
	uint64_t v;

	while ((slot = ring_front(r)) == NULL)
		__builtin_ia32_pause();
	v = *slot;
	ring_release(r);
	return v;
}

static uint64_t
run_ring_alone(void *arg)
{
	struct ring_bench *b = arg;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < RING_MOVES; i += 64) {
		for (unsigned k = 0; k < 64; k++)
			ring_put(&b->in, b->octets, i);
		for (unsigned k = 0; k < 64; k++)
			sum += ring_get(&b->out);
	}
	return sum;
}

static void *
produce(void *arg)
{
	struct ring_bench *b = arg;

	for (uint64_t i = 0; i < RING_MOVES; i++)
		ring_put(&b->in, b->octets, i);
	return NULL;
}

static uint64_t
run_ring_two(void *arg)
{
	struct ring_bench *b = arg;
	uint64_t sum = 0;
	pthread_t t;

	BUG_ON(pthread_create(&t, NULL, produce, b) != 0);
	for (uint64_t i = 0; i < RING_MOVES; i++)
		sum += ring_get(&b->out);
	pthread_join(t, NULL);
	return sum;
}

void
bench_rings(void)
{
	struct ring_bench b = { .octets = 256 };
	void *shared = memory(ring_octets(LINK_EVENT_OCTETS, RING_RECORDS));

	ring_bind(&b.in, shared, LINK_EVENT_OCTETS, RING_RECORDS);
	ring_bind(&b.out, shared, LINK_EVENT_OCTETS, RING_RECORDS);
	add_size("event ring of a worker", "MiB",
		(double)ring_octets(LINK_EVENT_OCTETS, LINK_EVENT_RECORDS) / (1 << 20));
	measure(&(struct work){
		"ring record of 256 octets, put and get, one thread", NULL, run_ring_alone, &b, RING_MOVES });
	measure(&(struct work){
		"ring record of 256 octets, from thread to thread", NULL, run_ring_two, &b, RING_MOVES });
	free(shared);
}
