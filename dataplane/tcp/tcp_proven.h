/*
 * tcp_proven.h - addresses that have completed a handshake: they exist, and hear what we say to them.
 *
 * Flow:   tcp_listen notes whom a third ACK came from, and asks before it remembers a SYN while others press
 * Pure:   half a cache line an address; memory is allocated at creation.
 * Keeps:  at most TCP_PROVEN_BUCKETS * TCP_PROVEN_WAYS addresses, of a bucket the one that was proven longest ago gives way, and before
 *         any that is vouched for one that is not, so that a crowd of newcomers takes no more than one of four from those; no address has
 *         more than TCP_PROVEN_HANDSHAKES_MAX entries of the ring by this, whoever forges its name.
 * Source: RFC 4987 section 3.6 (a hybrid of cache and cookies); what address validation is to RFC 9000 section 8.1.
 */
#ifndef GREYLINE_TCP_TCP_PROVEN_H
#define GREYLINE_TCP_TCP_PROVEN_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/siphash.h"

#define TCP_PROVEN_BUCKETS        4096u /* a power of two; of 32 octets: 128 KiB a worker */
#define TCP_PROVEN_WAYS           4u
#define TCP_PROVEN_HANDSHAKES_MAX 8u

/* A slot: 40 bits of the address's hash, 1 vouched for, 7 of handshakes, 16 of time; 0: free. */
struct tcp_proven_bucket {
	_Alignas(32) uint64_t slot[TCP_PROVEN_WAYS];
};

struct tcp_proven {
	struct tcp_proven_bucket *bucket;
	uint64_t key[2]; /* odd */
};

bool tcp_proven_create(struct tcp_proven *p, const struct siphash_key *secret);
void tcp_proven_destroy(struct tcp_proven *p);

/* Asks for what the functions below look at. */
void tcp_proven_prefetch(const struct tcp_proven *p, const struct ip_addr *addr);

/* A third ACK came from there. */
void tcp_proven_note(struct tcp_proven *p, const struct ip_addr *addr, uint64_t now_us);

/* It is worth more than a newcomer. Nothing where it is not proven (any more). */
void tcp_proven_vouch(struct tcp_proven *p, const struct ip_addr *addr);

/* One more handshake of that address; false: it is not proven, or has as many under way as it may. True is followed by one leave. */
bool tcp_proven_enter(struct tcp_proven *p, const struct ip_addr *addr);
/* Whether it would be true. */
bool tcp_proven_may_enter(const struct tcp_proven *p, const struct ip_addr *addr);
void tcp_proven_leave(struct tcp_proven *p, const struct ip_addr *addr);

#endif
