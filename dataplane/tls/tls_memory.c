/*
 * tls_memory.c - see tls_memory.h.
 *
 * Keeps:  a page belongs to one size of blocks from its first block to its last, then to any size again; each size has a list of its
 *         pages with room, so giving and taking back are a few steps whatever lies there; the words of a free block are its link.
 *
 * Globals: the hooks of OpenSSL have no argument, so the reservation, the slots and each thread's current region are file-wide.
 */
#include "dataplane/tls/tls_memory.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "dataplane/base/bug.h"

#define NO_PAGE UINT32_MAX

/* Every size is a multiple of 16. Those above 4 KiB fit what OpenSSL has: records of 16 KiB with their framing, 4 KiB flights. */
static const uint32_t class_octets[] = { 16, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024,
	1280, 1536, 2048, 3072, 4352, 6144, 8704, 12288, 18720, 34944, 65536, TLS_MEMORY_BLOCK_MAX_OCTETS };

#define N_CLASSES ARRAY_LEN(class_octets)

struct block {
	struct block *next;
};

struct page {
	struct block *free;
	uint32_t next, prev; /* of the size's pages with room, or of the unused pages; NO_PAGE at the ends */
	uint32_t n_used;     /* blocks given out */
	uint32_t n_cut;      /* blocks cut off the page so far; the rest was never touched */
	uint8_t class_index;
};

struct tls_memory {
	uint8_t *base;
	uint64_t cap_octets;
	uint32_t n_pages, n_cut_pages, n_free_pages; /* pages never used lie behind n_cut_pages */
	uint32_t free_page;                          /* used once, empty now */
	uint32_t with_room[N_CLASSES];
	_Atomic uint64_t used_octets, refused, free_octets;
	_Atomic(struct block *) remote; /* freed by other threads */
	struct page page[];
};

static uint8_t *reservation;
static uint64_t reservation_octets, span_octets;
static unsigned span_shift;
static _Atomic(struct tls_memory *) slot[TLS_MEMORY_REGIONS_MAX];
static _Thread_local struct tls_memory *current;

/* ---- a region ---- */

static uint32_t
class_of(size_t octets)
{
	uint32_t lo = 0, hi = N_CLASSES;

	while (lo < hi) {
		const uint32_t mid = (lo + hi) / 2;

		if (class_octets[mid] < octets)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void
list_push(struct tls_memory *m, uint32_t *head, uint32_t i)
{
	m->page[i].next = *head;
	m->page[i].prev = NO_PAGE;
	if (*head != NO_PAGE)
		m->page[*head].prev = i;
	*head = i;
}

static void
list_remove(struct tls_memory *m, uint32_t *head, uint32_t i)
{
	struct page *p = &m->page[i];

	if (p->prev != NO_PAGE)
		m->page[p->prev].next = p->next;
	else
		*head = p->next;
	if (p->next != NO_PAGE)
		m->page[p->next].prev = p->prev;
}

static uint32_t
blocks_of(const struct page *p)
{
	return TLS_MEMORY_PAGE_OCTETS / class_octets[p->class_index];
}

static void
note_pages(struct tls_memory *m)
{
	atomic_store_explicit(&m->free_octets,
		(uint64_t)(m->n_pages - m->n_cut_pages + m->n_free_pages) * TLS_MEMORY_PAGE_OCTETS,
		memory_order_relaxed);
}

/* A page for class c, put at the head of its list; false at the cap. */
static bool
page_take(struct tls_memory *m, uint32_t c)
{
	uint32_t i = m->free_page;

	if (i != NO_PAGE) {
		list_remove(m, &m->free_page, i);
		m->n_free_pages--;
	} else if (m->n_cut_pages < m->n_pages) {
		i = m->n_cut_pages++;
	} else {
		return false;
	}
	m->page[i] = (struct page){ .class_index = (uint8_t)c };
	list_push(m, &m->with_room[c], i);
	note_pages(m);
	return true;
}

static void
give_back(struct tls_memory *m, struct block *b)
{
	const uint32_t i = (uint32_t)(((uint8_t *)b - m->base) / TLS_MEMORY_PAGE_OCTETS);
	struct page *p = &m->page[i];
	uint32_t *head = &m->with_room[p->class_index];
	const bool was_full = p->n_used == blocks_of(p);

	BUG_ON(i >= m->n_cut_pages || p->n_used == 0);
	b->next = p->free;
	p->free = b;
	p->n_used--;
	atomic_store_explicit(&m->used_octets, m->used_octets - class_octets[p->class_index], memory_order_relaxed);
	if (was_full)
		list_push(m, head, i);
	if (p->n_used == 0) {
		list_remove(m, head, i);
		list_push(m, &m->free_page, i);
		m->n_free_pages++;
		note_pages(m);
	}
}

static void
take_back_remote(struct tls_memory *m)
{
	struct block *b;

	if (atomic_load_explicit(&m->remote, memory_order_relaxed) == NULL)
		return;
	b = atomic_exchange_explicit(&m->remote, NULL, memory_order_acquire);
	while (b != NULL) {
		struct block *next = b->next;

		give_back(m, b);
		b = next;
	}
}

static void *
refuse(struct tls_memory *m)
{
	atomic_fetch_add_explicit(&m->refused, 1, memory_order_relaxed);
	return NULL;
}

static void *
give(struct tls_memory *m, size_t octets)
{
	const uint32_t c = class_of(octets);
	struct page *p;
	struct block *b;

	if (c == N_CLASSES)
		return refuse(m);
	if (m->with_room[c] == NO_PAGE) {
		take_back_remote(m);
		if (m->with_room[c] == NO_PAGE && !page_take(m, c))
			return refuse(m);
	}
	p = &m->page[m->with_room[c]];
	b = p->free;
	if (b != NULL)
		p->free = b->next;
	else
		b = (struct block *)(void *)(m->base + (uint64_t)(p - m->page) * TLS_MEMORY_PAGE_OCTETS +
					     (uint64_t)p->n_cut++ * class_octets[c]);
	if (++p->n_used == blocks_of(p))
		list_remove(m, &m->with_room[c], m->with_room[c]);
	atomic_store_explicit(&m->used_octets, m->used_octets + class_octets[c], memory_order_relaxed);
	return b;
}

/* ---- OpenSSL's hooks ---- */

/* The region that block lies in; NULL: of the libc heap. */
static struct tls_memory *
owner_of(const void *block)
{
	const uint64_t at = (uint64_t)((const uint8_t *)block - reservation);

	if (reservation == NULL || at >= reservation_octets)
		return NULL;
	return atomic_load_explicit(&slot[at >> span_shift], memory_order_acquire);
}

static size_t
room_of(const struct tls_memory *m, const void *block)
{
	return class_octets[m->page[((const uint8_t *)block - m->base) / TLS_MEMORY_PAGE_OCTETS].class_index];
}

static void *
hook_malloc(size_t octets, const char *file, int line)
{
	(void)file;
	(void)line;
	if (octets == 0)
		return NULL;
	return current != NULL ? give(current, octets) : malloc(octets);
}

static void
hook_free(void *block, const char *file, int line)
{
	struct tls_memory *m;
	struct block *b = block;

	(void)file;
	(void)line;
	if (block == NULL)
		return;
	m = owner_of(block);
	if (m == NULL) {
		free(block);
	} else if (m == current) {
		give_back(m, b);
	} else {
		b->next = atomic_load_explicit(&m->remote, memory_order_relaxed);
		while (!atomic_compare_exchange_weak_explicit(
			&m->remote, &b->next, b, memory_order_release, memory_order_relaxed))
			;
	}
}

static void *
hook_realloc(void *block, size_t octets, const char *file, int line)
{
	struct tls_memory *m;
	void *to;

	if (block == NULL)
		return hook_malloc(octets, file, line);
	if (octets == 0) {
		hook_free(block, file, line);
		return NULL;
	}
	m = owner_of(block);
	if (m == NULL)
		return realloc(block, octets);
	if (octets <= room_of(m, block))
		return block;
	to = hook_malloc(octets, file, line);
	if (to != NULL) {
		memcpy(to, block, room_of(m, block));
		hook_free(block, file, line);
	}
	return to;
}

/* ---- begin and end ---- */

int
tls_memory_install(uint64_t cap_max_octets)
{
	void *at;

	BUG_ON(reservation != NULL || cap_max_octets > TLS_MEMORY_CAP_MAX_OCTETS);
	span_octets = TLS_MEMORY_CAP_MIN_OCTETS;
	while (span_octets < cap_max_octets)
		span_octets *= 2;
	span_shift = (unsigned)__builtin_ctzll(span_octets);
	if (CRYPTO_set_mem_functions(hook_malloc, hook_realloc, hook_free) != 1)
		return -EBUSY;
	at = mmap(NULL, span_octets * TLS_MEMORY_REGIONS_MAX, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);
	if (at == MAP_FAILED)
		return -ENOMEM;
	reservation_octets = span_octets * TLS_MEMORY_REGIONS_MAX;
	reservation = at;
	return 0;
}

/* Locked as its pages are touched, and left out of core dumps: keys and mail lie there. */
static bool
protect(uint8_t *base, uint64_t octets)
{
	madvise(base, octets, MADV_DONTDUMP);
	return mlock2(base, octets, MLOCK_ONFAULT) == 0;
}

struct tls_memory *
tls_memory_create(uint64_t cap_octets, bool *locked)
{
	const uint64_t n_pages = (cap_octets + TLS_MEMORY_PAGE_OCTETS - 1) / TLS_MEMORY_PAGE_OCTETS;
	struct tls_memory *m;
	uint32_t i = 0;

	while (i < TLS_MEMORY_REGIONS_MAX && atomic_load(&slot[i]) != NULL)
		i++;
	if (reservation == NULL || i == TLS_MEMORY_REGIONS_MAX || n_pages * TLS_MEMORY_PAGE_OCTETS > span_octets)
		return NULL;
	m = calloc(1, sizeof(*m) + n_pages * sizeof(m->page[0]));
	if (m == NULL)
		return NULL;
	m->base = reservation + i * span_octets;
	m->cap_octets = n_pages * TLS_MEMORY_PAGE_OCTETS;
	m->n_pages = (uint32_t)n_pages;
	m->free_page = NO_PAGE;
	for (uint32_t c = 0; c < N_CLASSES; c++)
		m->with_room[c] = NO_PAGE;
	note_pages(m);
	if (mprotect(m->base, m->cap_octets, PROT_READ | PROT_WRITE) != 0) {
		free(m);
		return NULL;
	}
	*locked = protect(m->base, m->cap_octets);
	atomic_store_explicit(&slot[i], m, memory_order_release);
	return m;
}

void
tls_memory_destroy(struct tls_memory *m)
{
	if (m == NULL)
		return;
	BUG_ON(m == current);
	munlock(m->base, m->cap_octets);
	madvise(m->base, m->cap_octets, MADV_DONTNEED);
	mprotect(m->base, m->cap_octets, PROT_NONE);
	atomic_store_explicit(&slot[(uint64_t)(m->base - reservation) >> span_shift], NULL, memory_order_release);
	free(m);
}

struct tls_memory *
tls_memory_enter(struct tls_memory *m)
{
	struct tls_memory *before = current;

	current = m;
	return before;
}

uint64_t
tls_memory_cap_octets(const struct tls_memory *m)
{
	return m->cap_octets;
}

uint64_t
tls_memory_used_octets(const struct tls_memory *m)
{
	return atomic_load_explicit(&m->used_octets, memory_order_relaxed);
}

uint64_t
tls_memory_free_octets(const struct tls_memory *m)
{
	return atomic_load_explicit(&m->free_octets, memory_order_relaxed);
}

uint64_t
tls_memory_refused(const struct tls_memory *m)
{
	return atomic_load_explicit(&m->refused, memory_order_relaxed);
}
