/*
 * csum.c - the Internet checksum, over pieces of any length.
 *
 * Flow:   see csum.h
 * Pure:   no state beyond the caller's struct csum.
 * Keeps:  the 64-bit sum cannot overflow: a carry is added back at each 8 octets.
 * Source: RFC 1071 section 2 (byte order independence, parallel sums, odd pieces are swapped).
 */
#include "dataplane/net/csum.h"

#include <arpa/inet.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define TCP_CHECKSUM_OFFSET 16

struct block {
	uint8_t octet[64];
};

/* 64 octets at a time: what is left of the len octets at *p is less. The carry of one word goes into the next, where the compiler would
 * fetch it out of the flags and back: 250 instructions for 1,448 octets instead of 770. */
static uint64_t
sum_blocks(const uint8_t **p, uint32_t len, uint64_t sum)
{
	const uint8_t *at = *p;

	for (; len >= 64; at += 64, len -= 64) {
#ifdef __x86_64__
		__asm__("addq 0(%1), %0\n\tadcq 8(%1), %0\n\tadcq 16(%1), %0\n\tadcq 24(%1), %0\n\t"
			"adcq 32(%1), %0\n\tadcq 40(%1), %0\n\tadcq 48(%1), %0\n\tadcq 56(%1), %0\n\tadcq $0, %0"
			: "+r"(sum)
			: "r"(at), "m"(*(const struct block *)at)
			: "cc");
#else
		for (uint32_t i = 0; i < 64; i += 8)
			sum = csum_carry(sum, csum_load_8(at + i));
#endif
	}
	*p = at;
	return sum;
}

struct half_block {
	uint8_t octet[32];
};

/* The same of 32 octets: of a header without payload there is little more. */
static inline uint64_t
sum_half_block(const uint8_t *p, uint64_t sum)
{
#ifdef __x86_64__
	__asm__("addq 0(%1), %0\n\tadcq 8(%1), %0\n\tadcq 16(%1), %0\n\tadcq 24(%1), %0\n\tadcq $0, %0"
		: "+r"(sum)
		: "r"(p), "m"(*(const struct half_block *)p)
		: "cc");
	return sum;
#else
	for (uint32_t i = 0; i < 32; i += 8)
		sum = csum_carry(sum, csum_load_8(p + i));
	return sum;
#endif
}

/*
 * sum, and one piece as if it began at an even place. The last odd octet is padded with zero behind it. What is over behind whole words is
 * read as the end of eight octets that end with it: x86-64 and arm64 as we build them.
 */
static inline uint64_t
sum_piece(const uint8_t *p, uint32_t len, uint64_t sum)
{
	uint32_t four;
	uint16_t two;

	if (len >= 8) {
		const uint8_t *end = p + len;

		if (len >= 64)
			sum = sum_blocks(&p, len, sum);
		if (len & 32) {
			sum = sum_half_block(p, sum);
			p += 32;
		}
		for (; end - p >= 8; p += 8)
			sum = csum_carry(sum, csum_load_8(p));
		return p == end ? sum : csum_carry(sum, csum_load_8(end - 8) >> (64 - 8 * (end - p)));
	}
	if (len & 4) {
		memcpy(&four, p, 4);
		sum = csum_carry(sum, four);
		p += 4;
	}
	if (len & 2) {
		memcpy(&two, p, 2);
		sum = csum_carry(sum, two);
		p += 2;
	}
	if (len & 1) { /* as a word with a zero octet behind it, whatever the order of octets here */
		two = 0;
		memcpy(&two, p, 1);
		sum = csum_carry(sum, two);
	}
	return sum;
}

/* A sum of octets that do not begin at an even place, as if they did; and the other way round. */
static inline uint64_t
swap_if(bool odd, uint64_t sum)
{
	return odd ? __builtin_bswap16(csum_fold(sum)) : sum;
}

/* len_octets that sum to sum as if they began at an even place go behind those of c. */
static inline void
add_sum(struct csum *c, uint64_t sum, uint32_t len_octets)
{
	c->sum = csum_carry(c->sum, swap_if(c->odd, sum));
	c->odd ^= len_octets & 1;
}

void
csum_add(struct csum *c, const void *ptr, uint32_t len_octets)
{
	if (len_octets > 0)
		add_sum(c, sum_piece(ptr, len_octets, 0), len_octets);
}

/* Of a part of what is known, with so many octets of that before and behind it: by the parts around it (RFC 1624). */
static __attribute__((noinline)) uint64_t
sum_of_part(const struct buf_sum *known, const struct buf_view *v, uint32_t before, uint32_t behind)
{
	const bool odd = before % 2 != 0;
	uint64_t around = sum_piece(v->ptr - before, before, 0);

	around = csum_carry(
		around, swap_if((before + v->len_octets) % 2 != 0, sum_piece(v->ptr + v->len_octets, behind, 0)));
	return swap_if(odd, (uint64_t)known->sum + (uint16_t)~csum_fold(around));
}

/* As if it began at an even place. */
static inline uint64_t
sum_of_view(const struct buf_pool *pool, const struct buf_view *v)
{
	const struct buf_sum *known;
	uint32_t before, around;

	if (v->buf == NULL || (known = buf_sum(pool, v->buf))->len_octets < v->len_octets)
		return sum_piece(v->ptr, v->len_octets, 0);
	before = (uint32_t)(uintptr_t)v->ptr - known->at;
	around = known->len_octets - v->len_octets;
	if (around == 0 && before == 0)
		return known->sum;
	if (before > around || around >= v->len_octets) /* it is no part of it, or shorter than what is around it */
		return sum_piece(v->ptr, v->len_octets, 0);
	return sum_of_part(known, v, before, around - before);
}

void
csum_add_views(struct csum *c, const struct buf_view *view, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		csum_add(c, view[i].ptr, view[i].len_octets);
}

/* The same of what is sent, by what is known of its buffers. */
static void
add_known_views(struct csum *c, const struct buf_pool *pool, const struct buf_view *view, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t sum = sum_of_view(pool, &view[i]);

		/* zero has two forms */
		HOT_BUG_ON(csum_fold(sum) % UINT16_MAX !=
			   csum_fold(sum_piece(view[i].ptr, view[i].len_octets, 0)) % UINT16_MAX);
		add_sum(c, sum, view[i].len_octets);
	}
}

void
csum_add_pseudo(
	struct csum *c, const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t len_octets)
{
	HOT_BUG_ON(c->odd);
	c->sum = csum_carry(c->sum, csum_pseudo(src, dst, proto, len_octets, ip_addr_is_v4(dst)));
}

uint16_t
csum_finish(const struct csum *c)
{
	return ntohs((uint16_t)~csum_fold(c->sum));
}

uint16_t
csum_of(const void *ptr, uint32_t len_octets)
{
	struct csum c = csum_start();

	csum_add(&c, ptr, len_octets);
	return csum_finish(&c);
}

bool
csum_is_good(const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, const void *ptr, uint32_t len_octets)
{
	return csum_fold(sum_piece(ptr, len_octets, csum_pseudo(src, dst, proto, len_octets, ip_addr_is_v4(dst)))) ==
	       UINT16_MAX;
}

bool
csum_is_good_tcp(const struct ip_addr *src, const struct ip_addr *dst, const struct buf_view *tcp,
	uint32_t header_octets, struct buf_sum *known)
{
	const uint8_t *payload = tcp->ptr + header_octets;
	const uint32_t octets = tcp->len_octets - header_octets;
	const uint64_t sum = sum_piece(
		tcp->ptr, header_octets, csum_pseudo(src, dst, CSUM_PROTO_TCP, tcp->len_octets, ip_addr_is_v4(dst)));
	const uint16_t of_payload = csum_fold(sum_piece(payload, octets, 0));

	HOT_BUG_ON(octets > UINT16_MAX);
	*known = (struct buf_sum){
		.at = (uint32_t)(uintptr_t)payload, .len_octets = (uint16_t)octets, .sum = of_payload
	};
	return csum_fold(csum_carry(sum, of_payload)) == UINT16_MAX;
}

void
csum_set_tcp(uint8_t *tcp, uint32_t header_octets, uint64_t pseudo, const struct buf_pool *pool,
	const struct buf_view *view, uint32_t n)
{
	struct csum c = { .sum = sum_piece(tcp, header_octets, pseudo) };
	uint16_t field;

	/* what stood in the field is taken off the sum: cleared just before, it would have to reach memory before its word is read */
	memcpy(&field, tcp + TCP_CHECKSUM_OFFSET, 2);
	c.sum = csum_carry(c.sum, (uint16_t)~field);
	add_known_views(&c, pool, view, n);
	field = (uint16_t)~csum_fold(c.sum);
	memcpy(tcp + TCP_CHECKSUM_OFFSET, &field, 2);
}
