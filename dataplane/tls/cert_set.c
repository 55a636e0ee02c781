/*
 * cert_set.c - an immutable set of certificates: made of items, looked up by name, freed by the last holder.
 *
 * Flow:   see cert_set.h. cert_store.c -> cert_set_build() -> workers
 * Pure:   memory alone; no clock (the time is an argument), no files.
 * Keeps:  identity 0 exists in every set; names are sorted, so that a lookup is a binary search of at most 17 steps whatever a client asks.
 */
#include "dataplane/tls/cert_set_impl.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define NAME_MAX_OCTETS 253

struct name_row {
	const char *name; /* of an item the set holds */
	uint16_t identity;
};

/* set first: what workers see is the beginning of what we free. */
struct set_mem {
	struct cert_set set;
	atomic_uint holders;
	struct cert_item *item[CERT_PAIRS_MAX];
	struct cert_pair pair[CERT_PAIRS_MAX];
	struct cert_identity identity[CERT_IDENTITIES_MAX];
	struct name_row *name;
	uint32_t n_names;
};

/* --- building --- */

struct claim {
	const char *name;
	uint16_t pair;
};

static int
claim_order(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	const int by_name = strcmp(x->name, y->name);

	return by_name != 0 ? by_name : x->pair < y->pair ? -1 : x->pair > y->pair;
}

static bool
is_valid(const struct cert_pair *p, int64_t now_s)
{
	return p->not_before <= now_s && now_s < p->not_after;
}

/* Of two pairs of one key type for one name: what is valid today, then what is valid longest, then the first by label. */
static bool
is_better(const struct cert_pair *a, const struct cert_pair *than, int64_t now_s)
{
	if (is_valid(a, now_s) != is_valid(than, now_s))
		return is_valid(a, now_s);
	return a->not_after > than->not_after;
}

static void
identity_add(const struct set_mem *m, struct cert_identity *id, uint16_t pair, int64_t now_s)
{
	uint16_t *at = &id->pair[m->pair[pair].key_type];

	if (*at == CERT_NO_PAIR || is_better(&m->pair[pair], &m->pair[*at], now_s))
		*at = pair;
}

static struct cert_identity
identity_none(void)
{
	struct cert_identity id;

	for (unsigned i = 0; i < CERT_KEY_TYPE_N; i++)
		id.pair[i] = CERT_NO_PAIR;
	return id;
}

/* The index of an identity like this one, made when there is none; 0, counted, where there is no room. */
static uint16_t
identity_index(struct set_mem *m, const struct cert_identity *id)
{
	for (uint32_t i = 1; i < m->set.n_identities; i++)
		if (memcmp(&m->identity[i], id, sizeof(*id)) == 0)
			return (uint16_t)i;
	if (m->set.n_identities == CERT_IDENTITIES_MAX) {
		m->set.n_names_dropped++;
		return 0;
	}
	m->identity[m->set.n_identities] = *id;
	return (uint16_t)m->set.n_identities++;
}

static void
add_names(struct set_mem *m, int64_t now_s)
{
	struct claim *claims;
	uint32_t n = 0, room = 0;

	for (uint32_t i = 0; i < m->set.n_pairs; i++)
		room += m->item[i]->n_names;
	claims = calloc(room + 1, sizeof(*claims));
	m->name = calloc(room + 1, sizeof(*m->name));
	BUG_ON(claims == NULL || m->name == NULL);
	for (uint32_t i = 0; i < m->set.n_pairs; i++)
		for (uint32_t k = 0; k < m->item[i]->n_names; k++)
			claims[n++] = (struct claim){ .name = m->item[i]->names[k], .pair = (uint16_t)i };
	qsort(claims, n, sizeof(*claims), claim_order);
	for (uint32_t i = 0; i < n;) {
		struct cert_identity id = identity_none();
		const char *name = claims[i].name;

		for (; i < n && strcmp(claims[i].name, name) == 0; i++)
			identity_add(m, &id, claims[i].pair, now_s);
		m->name[m->n_names++] = (struct name_row){ .name = name, .identity = identity_index(m, &id) };
	}
	free(claims);
}

static uint32_t
best_pair(const struct set_mem *m, int64_t now_s)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < m->set.n_pairs; i++)
		if (is_better(&m->pair[i], &m->pair[best], now_s))
			best = i;
	return best;
}

/* What clients without SNI see: the identity of the default name; where no certificate holds it, that of the best pair's first name. */
static bool
choose_default(struct set_mem *m, const char *default_name, int64_t now_s)
{
	bool known = false;
	uint32_t at = cert_set_identity(&m->set, default_name, strlen(default_name), &known);
	const uint32_t best = best_pair(m, now_s);

	if (!known && m->item[best]->n_names > 0)
		at = cert_set_identity(
			&m->set, m->item[best]->names[0], strlen(m->item[best]->names[0]), &(bool){ false });
	if (at != 0) {
		m->identity[0] = m->identity[at];
		return known;
	}
	m->identity[0] = identity_none();
	identity_add(m, &m->identity[0], (uint16_t)best, now_s);
	return known;
}

const struct cert_set *
cert_set_build(struct cert_item *const *items, uint32_t n, const char *default_name, int64_t now_s, uint64_t generation,
	bool *default_known)
{
	struct set_mem *m = calloc(1, sizeof(*m));

	BUG_ON(m == NULL || n == 0 || n > CERT_PAIRS_MAX);
	atomic_init(&m->holders, 1);
	m->set.generation = generation;
	m->set.pairs = m->pair;
	m->set.identities = m->identity;
	m->set.n_pairs = n;
	m->set.n_identities = 1;
	for (uint32_t i = 0; i < n; i++) {
		m->item[i] = cert_item_take(items[i]);
		m->pair[i] = items[i]->pair;
	}
	add_names(m, now_s);
	*default_known = choose_default(m, default_name, now_s);
	return &m->set;
}

/* --- looking up --- */

static const struct name_row *
name_find(const struct set_mem *m, const char *name)
{
	uint32_t from = 0, to = m->n_names;

	while (from < to) {
		const uint32_t mid = from + (to - from) / 2;
		const int order = strcmp(m->name[mid].name, name);

		if (order == 0)
			return &m->name[mid];
		if (order < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return NULL;
}

uint32_t
cert_set_identity(const struct cert_set *set, const char *name, size_t octets, bool *known)
{
	const struct set_mem *m = (const struct set_mem *)(const void *)set;
	const struct name_row *row = NULL;
	char text[NAME_MAX_OCTETS + 2];
	const char *dot;

	if (octets > 0 && name[octets - 1] == '.')
		octets--;
	*known = false;
	if (octets == 0 || octets > NAME_MAX_OCTETS || memchr(name, '\0', octets) != NULL || name[0] == '*')
		return 0;
	for (size_t i = 0; i < octets; i++)
		text[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
	text[octets] = '\0';
	row = name_find(m, text);
	dot = strchr(text, '.');
	if (row == NULL && dot != NULL && dot > text) {
		char *wild = text + (dot - text) - 1; /* the first label gives way to "*" */

		*wild = '*';
		row = name_find(m, wild);
	}
	*known = row != NULL;
	return row != NULL ? row->identity : 0;
}

/* --- holders --- */

const struct cert_set *
cert_set_take(const struct cert_set *set)
{
	struct set_mem *m = (struct set_mem *)(uintptr_t)set;

	atomic_fetch_add_explicit(&m->holders, 1, memory_order_relaxed);
	return set;
}

void
cert_set_release(const struct cert_set *set)
{
	struct set_mem *m = (struct set_mem *)(uintptr_t)set;

	if (m == NULL || atomic_fetch_sub_explicit(&m->holders, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < m->set.n_pairs; i++)
		cert_item_release(m->item[i]);
	free(m->name);
	free(m);
}
