/*
 * name_set.c - sets of names as octets of a snapshot: building, checking, looking up.
 *
 * Flow:   see name_set.h. A section is: head, bucket starts, entries (csr.h), the lower-case names one after another.
 * Pure:   see the header; no allocation even while building.
 * Keeps:  a name is compared whole, never by its end, and parents are cut at dots alone, so gle.com cannot match
 *         google.com.
 */
#include "dataplane/table/name_set.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/siphash.h"
#include "dataplane/table/csr.h"

#define NAME_SET_MAGIC UINT64_C(0x31656d616e796c67) /* "glyname1" */

/* Labels of a name that are looked at for parents; RFC 1035 allows 127. */
#define NAME_SET_LABELS_MAX 128

/* So few are compared one after another: their lengths mostly differ, and a hash costs as much as that of some ten comparisons. */
#define FEW_NAMES 4

struct name_head {
	uint64_t magic, octets;
	struct siphash_key key;
	uint32_t n_entries, n_buckets;
	uint64_t starts, entries, texts, texts_octets; /* offsets, but the last */
};

struct name_cell {
	uint64_t text; /* offset in texts */
	uint32_t len_octets;
	uint32_t used;
	uint64_t value;
};

static uint64_t
align8(uint64_t v)
{
	return (v + 7) & ~UINT64_C(7);
}

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static void
lower_copy(uint8_t *out, const char *name, uint32_t len_octets)
{
	for (uint32_t i = 0; i < len_octets; i++)
		out[i] = lower((uint8_t)name[i]);
}

static uint64_t
fixed_octets(uint32_t n)
{
	return sizeof(struct name_head) + align8(((uint64_t)MAX(n, 1u) + 1) * sizeof(uint32_t)) +
	       (uint64_t)n * sizeof(struct name_cell);
}

size_t
name_set_octets(const struct name_set_entry *entries, uint32_t n)
{
	uint64_t texts = 0;

	for (uint32_t i = 0; i < n; i++)
		texts += entries[i].len_octets;
	return fixed_octets(n) + align8(texts);
}

static uint32_t *
starts_of(struct name_head *head)
{
	return (uint32_t *)(void *)((uint8_t *)head + head->starts);
}

static struct name_cell *
cells_of(struct name_head *head)
{
	return (struct name_cell *)(void *)((uint8_t *)head + head->entries);
}

static const uint32_t *
const_starts_of(const struct name_head *head)
{
	return (const uint32_t *)(const void *)((const uint8_t *)head + head->starts);
}

static const struct name_cell *
const_cells_of(const struct name_head *head)
{
	return (const struct name_cell *)(const void *)((const uint8_t *)head + head->entries);
}

static const uint8_t *
text_of(const struct name_head *head, const struct name_cell *cell)
{
	return (const uint8_t *)head + head->texts + cell->text;
}

static uint32_t
bucket_of(const struct name_head *head, const uint8_t *lowered, uint32_t len_octets)
{
	return csr_bucket(siphash(&head->key, lowered, len_octets), head->n_buckets);
}

/* Puts one name into its bucket from behind; an equal one placed before came later in the list and gives way. */
static void
place(struct name_head *head, const struct name_set_entry *e, uint64_t *text_at)
{
	uint8_t *text = (uint8_t *)head + head->texts + *text_at;
	uint32_t *start = starts_of(head), b;
	struct name_cell *cell = cells_of(head);

	lower_copy(text, e->name, e->len_octets);
	b = bucket_of(head, text, e->len_octets);
	for (uint32_t i = start[b]; i < head->n_entries && cell[i].used == b + 1; i++) {
		if (cell[i].len_octets == e->len_octets && memcmp(text_of(head, &cell[i]), text, e->len_octets) == 0) {
			cell[i].value = e->value;
			return;
		}
	}
	start[b]--;
	cell[start[b]] =
		(struct name_cell){ .text = *text_at, .len_octets = e->len_octets, .used = b + 1, .value = e->value };
	*text_at += e->len_octets;
}

static void
compact(struct name_head *head)
{
	uint32_t *start = starts_of(head), to = 0;
	struct name_cell *cell = cells_of(head);

	for (uint32_t b = 0; b < head->n_buckets; b++) {
		uint32_t from = start[b];

		start[b] = to;
		for (; from < head->n_entries && cell[from].used == b + 1; from++) {
			const struct name_cell c = cell[from];

			cell[from].used = 0;
			cell[to++] = c;
		}
	}
	start[head->n_buckets] = to;
	head->n_entries = to;
}

size_t
name_set_build(void *out, size_t room_octets, const struct name_set_entry *entries, uint32_t n, uint64_t seed)
{
	struct name_head *head = out;
	uint64_t text_at = 0;

	if (room_octets < name_set_octets(entries, n))
		return 0;
	*head = (struct name_head){
		.magic = NAME_SET_MAGIC, .key = { seed, ~seed }, .n_entries = n, .n_buckets = MAX(n, 1u)
	};
	head->starts = sizeof(*head);
	head->entries = head->starts + align8(((uint64_t)head->n_buckets + 1) * sizeof(uint32_t));
	head->texts = head->entries + (uint64_t)n * sizeof(struct name_cell);
	memset((uint8_t *)out + sizeof(*head), 0, head->texts - sizeof(*head));

	for (uint32_t i = 0; i < n; i++) {
		uint8_t lowered[NAME_SET_NAME_MAX_OCTETS];

		if (entries[i].len_octets > NAME_SET_NAME_MAX_OCTETS)
			return 0;
		lower_copy(lowered, entries[i].name, entries[i].len_octets);
		starts_of(head)[bucket_of(head, lowered, entries[i].len_octets)]++;
	}
	csr_sum(starts_of(head), head->n_buckets);
	for (uint32_t i = n; i-- > 0;)
		place(head, &entries[i], &text_at);
	compact(head);
	memset((uint8_t *)out + head->texts + text_at, 0, align8(text_at) - text_at);
	head->texts_octets = text_at;
	head->octets = head->texts + align8(text_at);
	return head->octets;
}

static bool
inside(uint64_t offset, uint64_t n, uint64_t size, uint64_t octets)
{
	return offset % 8 == 0 && offset <= octets && n <= (octets - offset) / size;
}

bool
name_set_valid(const void *set, size_t octets)
{
	const struct name_head *head = set;
	const struct name_cell *cell;

	if (octets < sizeof(*head) || (uintptr_t)set % 8 != 0 || head->magic != NAME_SET_MAGIC ||
		head->octets > octets ||
		!inside(head->starts, (uint64_t)head->n_buckets + 1, sizeof(uint32_t), octets) ||
		!inside(head->entries, head->n_entries, sizeof(struct name_cell), octets) ||
		!inside(head->texts, head->texts_octets, 1, octets) ||
		!csr_valid(const_starts_of(head), head->n_buckets, head->n_entries))
		return false;
	cell = const_cells_of(head);
	for (uint32_t i = 0; i < head->n_entries; i++) {
		if (cell[i].len_octets > NAME_SET_NAME_MAX_OCTETS || cell[i].text > head->texts_octets ||
			cell[i].len_octets > head->texts_octets - cell[i].text)
			return false;
	}
	return true;
}

uint32_t
name_set_count(const void *set)
{
	return set != NULL ? ((const struct name_head *)set)->n_entries : 0;
}

bool
name_set_at(const void *set, uint32_t i, struct name_set_entry *out)
{
	const struct name_head *head = set;
	const struct name_cell *cell;

	if (head == NULL || i >= head->n_entries)
		return false;
	cell = &const_cells_of(head)[i];
	*out = (struct name_set_entry){
		.name = (const char *)text_of(head, cell), .len_octets = cell->len_octets, .value = cell->value
	};
	return true;
}

static bool
find_lowered(const void *set, const uint8_t *lowered, uint32_t len_octets, uint64_t *value)
{
	const struct name_head *head = set;
	const struct name_cell *cell = const_cells_of(head);
	uint32_t from = 0, end = head->n_entries;

	if (end > FEW_NAMES) {
		const uint32_t b = bucket_of(head, lowered, len_octets), *start = const_starts_of(head);

		from = start[b];
		end = start[b + 1];
	}
	for (uint32_t i = from; i < end; i++) {
		if (cell[i].len_octets == len_octets && memcmp(text_of(head, &cell[i]), lowered, len_octets) == 0) {
			*value = cell[i].value;
			return true;
		}
	}
	return false;
}

bool
name_set_find_lowered(const void *set, const char *name, uint32_t len_octets, uint64_t *value)
{
	return set != NULL && find_lowered(set, (const uint8_t *)name, len_octets, value);
}

/* ".b.c", ".c" of "a.b.c", after the name with a dot before it. dotted[0] is the dot. */
static bool
find_parents(const void *set, const uint8_t *dotted, uint32_t len_octets, uint64_t *value)
{
	unsigned labels = 0;

	for (uint32_t i = 0; i + 1 < len_octets && labels < NAME_SET_LABELS_MAX; i++) {
		if (dotted[i] != '.')
			continue;
		labels++;
		if (find_lowered(set, dotted + i, len_octets - i, value))
			return true;
	}
	return false;
}

static bool
find_any(const void *set, uint64_t *value)
{
	return find_lowered(set, (const uint8_t *)"*", 1, value);
}

/* buf[0] is room for a dot, the lower-case domain follows. */
static bool
find_domain_lowered(const void *set, uint8_t *buf, uint32_t len_octets, uint64_t *value)
{
	if (len_octets > 0 && buf[len_octets] == '.') /* "example.org." is example.org */
		len_octets--;
	if (len_octets == 0)
		return false;
	if (find_lowered(set, buf + 1, len_octets, value))
		return true;
	buf[0] = '.';
	return find_parents(set, buf, len_octets + 1, value);
}

bool
name_set_find_domain(const void *set, const char *name, uint32_t len_octets, uint64_t *value)
{
	uint8_t buf[NAME_SET_NAME_MAX_OCTETS + 1];

	if (name_set_count(set) == 0)
		return false;
	if (len_octets <= NAME_SET_NAME_MAX_OCTETS) {
		lower_copy(buf + 1, name, len_octets);
		if (find_domain_lowered(set, buf, len_octets, value))
			return true;
	}
	return find_any(set, value);
}

bool
name_set_find_address(const void *set, const char *address, uint32_t len_octets, uint64_t *value)
{
	uint8_t lowered[NAME_SET_NAME_MAX_OCTETS], buf[NAME_SET_NAME_MAX_OCTETS + 1];
	uint32_t at;

	if (name_set_count(set) == 0)
		return false;
	if (len_octets > sizeof(lowered))
		return find_any(set, value);
	lower_copy(lowered, address, len_octets);
	if (find_lowered(set, lowered, len_octets, value))
		return true;
	for (at = len_octets; at > 0 && lowered[at - 1] != '@'; at--)
		;
	if (at == 0) /* "" or "postmaster": no domain */
		return find_any(set, value);
	if (find_lowered(set, lowered, at, value)) /* "local@" */
		return true;
	if (find_lowered(set, lowered + at - 1, len_octets - at + 1, value)) /* "@domain" */
		return true;
	memcpy(buf + 1, lowered + at, len_octets - at);
	return find_domain_lowered(set, buf, len_octets - at, value) || find_any(set, value);
}
