/*
 * reasm.h - datagrams from fragments, both families.
 *
 * Flow:   net_input() -> reasm_add() -> the whole datagram's pieces in order -> net.c
 * Pure:   time is an argument; buffers are held by reference; no allocation after reasm_create().
 * Keeps:  one datagram has at most REASM_FRAGS_MAX fragments and 65535 octets; all together pin at most REASM_OCTETS_MAX (each fragment
 *         counted as the whole buffer it pins); an overlap drops the datagram and all that still comes of it; a fragment that
 *         comes twice with the same place and length counts once. At a cap the oldest datagram goes.
 * Source: RFC 791, RFC 815, RFC 8200 section 4.5, RFC 5722, RFC 6946.
 */
#ifndef GREYLINE_NET_REASM_H
#define GREYLINE_NET_REASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/buf.h"
#include "dataplane/net/ip.h"

#define REASM_FRAGS_MAX           8
#define REASM_DATAGRAM_MAX_OCTETS 65535
#define REASM_DATAGRAMS_MAX       256
#define REASM_OCTETS_MAX          (UINT32_C(1) << 20)
#define REASM_TIMEOUT_US          (UINT64_C(30) * 1000000) /* RFC 791 has 15 s, RFC 8200 60 s */

struct reasm;

/* A datagram made whole: payload behind the IP (and fragment) header as views in order, each with one reference that is given. */
struct reasm_whole {
	uint8_t proto; /* of the first fragment */
	uint8_t ecn;
	uint32_t octets;
	uint32_t n_views;
	struct buf_view view[REASM_FRAGS_MAX];
};

enum reasm_result { REASM_HELD, REASM_DONE, REASM_DROPPED };

struct reasm *reasm_create(struct buf_pool *pool); /* NULL when memory is short; pool is borrowed for life */
size_t reasm_octets(void);                         /* of one; it takes nothing else but buffers */
void reasm_destroy(struct reasm *r);

/* p: a fragment whose payload lies in buf, which is borrowed (a reference is taken). buf NULL: the octets are copied. */
enum reasm_result reasm_add(
	struct reasm *r, const struct ip_packet *p, struct buf *buf, struct reasm_whole *out, uint64_t now_us);

/* Drops what is too old; returns how many datagrams that were. */
uint32_t reasm_expire(struct reasm *r, uint64_t now_us);
/* How many datagrams reasm_add() gave up, for room or age, beside the one it was called for; since it was last asked. */
uint32_t reasm_lost(struct reasm *r);
uint64_t reasm_deadline_us(const struct reasm *r); /* UINT64_MAX: nothing is held */

uint32_t reasm_pinned_octets(const struct reasm *r); /* for tests */

#endif
