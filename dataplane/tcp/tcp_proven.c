/*
 * tcp_proven.c - addresses that have completed a handshake.
 *
 * Pure, Keeps: see the header.
 */
#include "dataplane/tcp/tcp_proven.h"

#include <string.h>

#include "dataplane/base/large.h"

/* 16 bits of it come round after 48 days; who was silent for so long only looks younger. */
#define TIME_UNIT_US     (UINT64_C(64) * 1000000)
#define HANDSHAKES_SHIFT 16
#define HANDSHAKE_ONE    (UINT64_C(1) << HANDSHAKES_SHIFT)
#define TAG_SHIFT        24
#define VOUCHED          (UINT64_C(1) << 23)

bool
tcp_proven_create(struct tcp_proven *p, const struct siphash_key *secret)
{
	p->key[0] = siphash(secret, "proven 0", 8) | 1;
	p->key[1] = siphash(secret, "proven 1", 8) | 1;
	p->bucket = large_alloc_touched(TCP_PROVEN_BUCKETS * sizeof(p->bucket[0]));
	return p->bucket != NULL;
}

void
tcp_proven_destroy(struct tcp_proven *p)
{
	large_free(p->bucket, TCP_PROVEN_BUCKETS * sizeof(p->bucket[0]));
}

/* Both halves of a product. */
static uint64_t
fold(uint64_t a, uint64_t b)
{
	const unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Keyed, and spread over the buckets also for addresses in a row; what a collision gains is an entry of the ring, and nobody outside sees one. */
static uint64_t
hash_of(const struct tcp_proven *p, const struct ip_addr *addr)
{
	uint64_t half[2];

	memcpy(half, addr->octet, sizeof(half));
	return fold(fold(half[0] ^ p->key[0], half[1] ^ p->key[1]) ^ p->key[1], p->key[0]);
}

void
tcp_proven_prefetch(const struct tcp_proven *p, const struct ip_addr *addr)
{
	__builtin_prefetch(&p->bucket[hash_of(p, addr) & (TCP_PROVEN_BUCKETS - 1)], 1);
}

static uint32_t
handshakes(uint64_t slot)
{
	return slot >> HANDSHAKES_SHIFT & 0x7f;
}

/* The address's slot, NULL where there is none. The tag is never 0: the lowest of its bits is set. */
static uint64_t *
find(const struct tcp_proven *p, uint64_t hash)
{
	struct tcp_proven_bucket *b = &p->bucket[hash & (TCP_PROVEN_BUCKETS - 1)];
	const uint64_t want = (hash >> TAG_SHIFT | 1) << TAG_SHIFT;

	for (uint32_t i = 0; i < TCP_PROVEN_WAYS; i++)
		if ((b->slot[i] ^ want) >> TAG_SHIFT == 0)
			return &b->slot[i];
	return NULL;
}

/* Of two that are taken, whether a gives way before b: who is not vouched for, else who was proven longer ago. */
static bool
gives_way(uint64_t a, uint64_t b, uint16_t now)
{
	if ((a & VOUCHED) != (b & VOUCHED))
		return (a & VOUCHED) == 0;
	return (uint16_t)(now - a) > (uint16_t)(now - b);
}

void
tcp_proven_note(struct tcp_proven *p, const struct ip_addr *addr, uint64_t now_us)
{
	const uint64_t hash = hash_of(p, addr);
	const uint16_t now = (uint16_t)(now_us / TIME_UNIT_US);
	struct tcp_proven_bucket *b = &p->bucket[hash & (TCP_PROVEN_BUCKETS - 1)];
	uint64_t *slot = find(p, hash);

	if (slot != NULL) {
		*slot = (*slot & ~UINT64_C(0xffff)) | now;
		return;
	}
	slot = &b->slot[0];
	for (uint32_t i = 0; i < TCP_PROVEN_WAYS && *slot != 0; i++)
		if (b->slot[i] == 0 || gives_way(b->slot[i], *slot, now))
			slot = &b->slot[i];
	*slot = (hash >> TAG_SHIFT | 1) << TAG_SHIFT | now;
}

void
tcp_proven_vouch(struct tcp_proven *p, const struct ip_addr *addr)
{
	uint64_t *slot = find(p, hash_of(p, addr));

	if (slot != NULL)
		*slot |= VOUCHED;
}

bool
tcp_proven_may_enter(const struct tcp_proven *p, const struct ip_addr *addr)
{
	const uint64_t *slot = find(p, hash_of(p, addr));

	return slot != NULL && handshakes(*slot) < TCP_PROVEN_HANDSHAKES_MAX;
}

bool
tcp_proven_enter(struct tcp_proven *p, const struct ip_addr *addr)
{
	uint64_t *slot = find(p, hash_of(p, addr));

	if (slot == NULL || handshakes(*slot) >= TCP_PROVEN_HANDSHAKES_MAX)
		return false;
	*slot += HANDSHAKE_ONE;
	return true;
}

/* An address whose slot was given to another since, and maybe back, has none or fewer to leave. */
void
tcp_proven_leave(struct tcp_proven *p, const struct ip_addr *addr)
{
	uint64_t *slot = find(p, hash_of(p, addr));

	if (slot != NULL && handshakes(*slot) > 0)
		*slot -= HANDSHAKE_ONE;
}
