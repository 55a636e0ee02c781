/*
 * prefix.c - longest-prefix tables as octets of a snapshot: building, checking, looking up; text of networks.
 *
 * Flow:   see prefix.h. A section is: head, one row for each prefix length in use (longest first), then for each row a
 *         filter, its bucket starts and its entries (csr.h).
 * Pure:   see the header; no allocation even while building.
 * Keeps:  29 octets an entry: 24, 4 of its bucket, 1 of the filter. The filter is a bit for each entry among 8: most
 *         lengths of most lookups hold nothing, and then one bit of a small array is read instead of two lines of a
 *         large one. Offsets are from the section's start.
 * Source: DESIGN section 1 (why not rte_fib); RFC 4632 and RFC 4291 section 2.3 for the text of prefixes.
 */
#include "dataplane/table/prefix.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/siphash.h"
#include "dataplane/base/text.h"
#include "dataplane/table/csr.h"

#define PREFIX_MAGIC   UINT64_C(0x3278667270796c67) /* "glyprfx2" */
#define PREFIX_LENGTHS 129
#define V4_BASE_BITS   96
#define FILTER_BITS    8 /* for each entry */
#define ROW_SCAN_MAX   4 /* so few of a length are compared as they stand: each 8 instructions, the hash 170 */

struct prefix_row {
	uint32_t bits, n_entries, n_buckets, reserved;
	uint64_t filter, starts, entries; /* offsets */
};

struct prefix_head {
	uint64_t magic, octets;
	struct siphash_key key;
	uint32_t n_entries, n_rows;
	struct prefix_row row[];
};

struct prefix_cell {
	uint8_t addr[16];
	uint32_t value;
	uint32_t used;
};

static_assert(sizeof(struct prefix_cell) + sizeof(uint32_t) + FILTER_BITS / 8 <= 32,
	"octets an entry that the design allows");

static uint64_t
align8(uint64_t v)
{
	return (v + 7) & ~UINT64_C(7);
}

static uint64_t
rows_end(uint32_t n_rows)
{
	return sizeof(struct prefix_head) + (uint64_t)n_rows * sizeof(struct prefix_row);
}

static uint64_t
filter_octets(uint32_t n_buckets)
{
	return align8((uint64_t)n_buckets * FILTER_BITS / 8);
}

static uint64_t
row_octets(uint32_t n_entries)
{
	return filter_octets(n_entries) + align8(((uint64_t)n_entries + 1) * sizeof(uint32_t)) +
	       (uint64_t)n_entries * sizeof(struct prefix_cell);
}

size_t
prefix_table_octets(uint32_t n_entries)
{
	const uint32_t n_rows = MIN(n_entries, (uint32_t)PREFIX_LENGTHS);

	return rows_end(n_rows) + row_octets(n_entries) +
	       (uint64_t)n_rows * 24; /* a start more and alignments for each row */
}

/* Where a network of this length would be: its bucket and its bit of the filter. */
struct place_of {
	uint32_t bucket;
	uint64_t bit;
};

static struct place_of
place_of(const struct prefix_head *head, const struct prefix_row *row, const struct ip_addr *masked)
{
	struct siphash_key key = head->key;
	uint64_t hash;

	key.k1 ^= row->bits;
	hash = siphash(&key, masked->octet, sizeof(masked->octet));
	return (struct place_of){
		.bucket = csr_bucket(hash, row->n_buckets),
		.bit = (uint64_t)((unsigned __int128)(hash << 32 | hash >> 32) *
					  ((uint64_t)row->n_buckets * FILTER_BITS) >>
				  64),
	};
}

/* Rows longest first, with room for what each length has. Returns the octets of the whole. */
static uint64_t
lay_out_rows(struct prefix_head *head, const uint32_t count[PREFIX_LENGTHS], uint8_t row_of[PREFIX_LENGTHS])
{
	uint32_t r = 0;
	uint64_t at = rows_end(head->n_rows);

	for (int bits = PREFIX_LENGTHS - 1; bits >= 0; bits--) {
		if (count[bits] == 0)
			continue;
		row_of[bits] = (uint8_t)r;
		head->row[r] = (struct prefix_row){ .bits = (uint32_t)bits,
			.n_entries = count[bits],
			.n_buckets = count[bits],
			.filter = at,
			.starts = at + filter_octets(count[bits]) };
		head->row[r].entries = head->row[r].starts + align8(((uint64_t)count[bits] + 1) * sizeof(uint32_t));
		at += row_octets(count[bits]);
		r++;
	}
	return at;
}

/* Puts one entry into its bucket from behind. An equal one placed before came later in the list: it gives way. */
static void
place(const struct prefix_head *head, const struct prefix_row *row, uint32_t *start, struct prefix_cell *cell,
	const struct prefix_entry *e)
{
	const struct ip_addr masked = ip_addr_mask(&e->addr, e->bits);
	const uint32_t b = place_of(head, row, &masked).bucket;

	for (uint32_t i = start[b]; i < row->n_entries && cell[i].used == b + 1; i++) {
		if (memcmp(cell[i].addr, masked.octet, sizeof(masked.octet)) == 0) {
			cell[i].value = e->value;
			return;
		}
	}
	start[b]--;
	cell[start[b]] = (struct prefix_cell){ .value = e->value, .used = b + 1 };
	memcpy(cell[start[b]].addr, masked.octet, sizeof(masked.octet));
}

/* Closes the gaps that equal prefixes left, and makes starts of what were fill marks. */
static void
compact(struct prefix_row *row, uint32_t *start, struct prefix_cell *cell)
{
	uint32_t to = 0;

	for (uint32_t b = 0; b < row->n_buckets; b++) {
		uint32_t from = start[b];

		start[b] = to;
		for (; from < row->n_entries && cell[from].used == b + 1; from++) {
			const struct prefix_cell c = cell[from];

			cell[from].used = 0;
			cell[to++] = c;
		}
	}
	start[row->n_buckets] = to;
	row->n_entries = to;
}

size_t
prefix_table_build(void *out, size_t room_octets, const struct prefix_entry *entries, uint32_t n_entries, uint64_t seed)
{
	struct prefix_head *head = out;
	uint32_t count[PREFIX_LENGTHS] = { 0 };
	uint8_t row_of[PREFIX_LENGTHS] = { 0 };

	if (room_octets < prefix_table_octets(n_entries))
		return 0;
	*head = (struct prefix_head){ .magic = PREFIX_MAGIC, .key = { seed, ~seed } };
	for (uint32_t i = 0; i < n_entries; i++) {
		if (entries[i].bits >= PREFIX_LENGTHS)
			return 0;
		head->n_rows += count[entries[i].bits]++ == 0;
	}
	head->octets = lay_out_rows(head, count, row_of);
	memset((uint8_t *)out + rows_end(head->n_rows), 0, head->octets - rows_end(head->n_rows));

	for (uint32_t i = 0; i < n_entries; i++) {
		const struct prefix_row *row = &head->row[row_of[entries[i].bits]];
		const struct ip_addr masked = ip_addr_mask(&entries[i].addr, entries[i].bits);
		const struct place_of p = place_of(head, row, &masked);

		((uint32_t *)(void *)((uint8_t *)out + row->starts))[p.bucket]++;
		((uint8_t *)out + row->filter)[p.bit / 8] |= (uint8_t)(1 << p.bit % 8);
	}
	for (uint32_t r = 0; r < head->n_rows; r++)
		csr_sum((uint32_t *)(void *)((uint8_t *)out + head->row[r].starts), head->row[r].n_buckets);
	for (uint32_t i = n_entries; i-- > 0;) {
		const struct prefix_row *row = &head->row[row_of[entries[i].bits]];

		place(head, row, (uint32_t *)(void *)((uint8_t *)out + row->starts),
			(struct prefix_cell *)(void *)((uint8_t *)out + row->entries), &entries[i]);
	}
	for (uint32_t r = 0; r < head->n_rows; r++) {
		struct prefix_row *row = &head->row[r];

		compact(row, (uint32_t *)(void *)((uint8_t *)out + row->starts),
			(struct prefix_cell *)(void *)((uint8_t *)out + row->entries));
		head->n_entries += row->n_entries;
	}
	return head->octets;
}

static const uint32_t *
starts_of(const struct prefix_head *head, const struct prefix_row *row)
{
	return (const uint32_t *)(const void *)((const uint8_t *)head + row->starts);
}

static const struct prefix_cell *
cells_of(const struct prefix_head *head, const struct prefix_row *row)
{
	return (const struct prefix_cell *)(const void *)((const uint8_t *)head + row->entries);
}

/* Whether n things of size each at offset, a multiple of 8, lie inside. */
static bool
inside(uint64_t offset, uint64_t n, uint64_t size, uint64_t octets)
{
	return offset % 8 == 0 && offset <= octets && n <= (octets - offset) / size;
}

static bool
row_valid(const struct prefix_head *head, const struct prefix_row *row, size_t octets)
{
	return row->bits < PREFIX_LENGTHS && row->n_buckets > 0 &&
	       inside(row->filter, filter_octets(row->n_buckets), 1, octets) &&
	       inside(row->starts, (uint64_t)row->n_buckets + 1, sizeof(uint32_t), octets) &&
	       inside(row->entries, row->n_entries, sizeof(struct prefix_cell), octets) &&
	       csr_valid(starts_of(head, row), row->n_buckets, row->n_entries);
}

bool
prefix_table_valid(const void *table, size_t octets)
{
	const struct prefix_head *head = table;
	uint64_t sum = 0;

	if (octets < sizeof(*head) || (uintptr_t)table % 8 != 0 || head->magic != PREFIX_MAGIC ||
		head->octets > octets || head->n_rows > PREFIX_LENGTHS || rows_end(head->n_rows) > octets)
		return false;
	for (uint32_t r = 0; r < head->n_rows; r++) {
		if (!row_valid(head, &head->row[r], octets) || (r > 0 && head->row[r].bits >= head->row[r - 1].bits))
			return false;
		sum += head->row[r].n_entries;
	}
	return sum == head->n_entries;
}

static bool
row_find(const struct prefix_head *head, const struct prefix_row *row, const struct ip_addr *addr,
	struct prefix_entry *out)
{
	const struct ip_addr masked = ip_addr_mask(addr, row->bits);
	const struct prefix_cell *cell = cells_of(head, row);
	uint32_t i = 0, end = row->n_entries;

	if (end > ROW_SCAN_MAX) {
		const struct place_of p = place_of(head, row, &masked);
		const uint32_t *start = starts_of(head, row);

		if ((((const uint8_t *)head + row->filter)[p.bit / 8] & 1 << p.bit % 8) == 0)
			return false;
		i = start[p.bucket];
		end = start[p.bucket + 1];
	}
	for (; i < end; i++) {
		if (memcmp(cell[i].addr, masked.octet, sizeof(masked.octet)) == 0) {
			*out = (struct prefix_entry){
				.addr = masked, .bits = (uint8_t)row->bits, .value = cell[i].value
			};
			return true;
		}
	}
	return false;
}

bool
prefix_table_find(const void *table, const struct ip_addr *addr, struct prefix_entry *out)
{
	const struct prefix_head *head = table;
	const uint32_t shortest = ip_addr_is_v4(addr) ? V4_BASE_BITS : 0;

	if (head == NULL)
		return false;
	for (uint32_t r = 0; r < head->n_rows && head->row[r].bits >= shortest; r++) {
		if (row_find(head, &head->row[r], addr, out))
			return true;
	}
	return false;
}

uint32_t
prefix_table_count(const void *table)
{
	return table != NULL ? ((const struct prefix_head *)table)->n_entries : 0;
}

bool
prefix_table_at(const void *table, uint32_t i, struct prefix_entry *out)
{
	const struct prefix_head *head = table;

	for (uint32_t r = 0; head != NULL && r < head->n_rows; r++) {
		const struct prefix_row *row = &head->row[r];

		if (i < row->n_entries) {
			const struct prefix_cell *cell = &cells_of(head, row)[i];

			*out = (struct prefix_entry){ .bits = (uint8_t)row->bits, .value = cell->value };
			memcpy(out->addr.octet, cell->addr, sizeof(cell->addr));
			return true;
		}
		i -= row->n_entries;
	}
	return false;
}

/* Up to three digits without sign or leading zero; -1 where it is none. */
static int
parse_bits(const char *text)
{
	int v = 0, n = 0;

	for (; text[n] >= '0' && text[n] <= '9' && n < 3; n++)
		v = v * 10 + (text[n] - '0');
	return n == 0 || text[n] != '\0' || (n > 1 && text[0] == '0') ? -1 : v;
}

int
prefix_parse(const char *text, struct prefix_entry *out)
{
	const char *slash = strchr(text, '/');
	const size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	char addr_text[IP_ADDR_TEXT_MAX_OCTETS];
	struct ip_addr addr;
	bool dotted;
	int bits;

	if (len == 0 || len >= sizeof(addr_text))
		return -EINVAL;
	memcpy(addr_text, text, len);
	addr_text[len] = '\0';
	if (ip_addr_parse(addr_text, &addr) != 0)
		return -EINVAL;
	dotted = strchr(addr_text, ':') == NULL;
	if (!dotted && ip_addr_is_v4(&addr)) /* ::ffff:192.0.2.1 is meant as IPv4, but its length is not: refused */
		return -EINVAL;
	bits = slash != NULL ? parse_bits(slash + 1) : dotted ? 32 : 128;
	if (bits < 0 || bits > (dotted ? 32 : 128))
		return -EINVAL;
	bits += dotted ? V4_BASE_BITS : 0;
	*out = (struct prefix_entry){ .addr = ip_addr_mask(&addr, (unsigned)bits), .bits = (uint8_t)bits };
	return ip_addr_equal(&out->addr, &addr) ? 0 : -EDOM;
}

char *
prefix_format(const struct prefix_entry *e, char *out)
{
	const bool v4 = e->bits >= V4_BASE_BITS && ip_addr_is_v4(&e->addr);
	char *end;

	ip_addr_format(&e->addr, out);
	if (e->bits < 128) {
		end = out + strlen(out);
		*end++ = '/';
		*text_put_number(end, e->bits - (v4 ? (unsigned)V4_BASE_BITS : 0)) = '\0';
	}
	return out;
}
