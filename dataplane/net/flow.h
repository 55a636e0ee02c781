/*
 * flow.h - the 4-tuple of a connection, its hash and its owner.
 *
 * Flow:   port -> eth/ip parse -> flow_owner() -> the worker that holds the connection
 * Pure:   no I/O. The Toeplitz hash with our random key and our indirection table; a NIC is given the same two.
 * Keeps:  flow_hash() of a tuple as received by us equals what a NIC computes over source address, destination address,
 *         source port, destination port of that received packet. flow_owner() depends on nothing else.
 * Source: DESIGN section 4, ownership of flows; the Toeplitz hash as in the RSS specification (Microsoft, 2006).
 */
#ifndef GREYLINE_NET_FLOW_H
#define GREYLINE_NET_FLOW_H

#include <stdint.h>

#include "dataplane/base/addr.h"

/* As seen by us: local is our side. */
struct flow {
	struct ip_addr local, remote;
	uint16_t local_port, remote_port;
};

#define FLOW_KEY_OCTETS   52 /* enough for IPv6 with ports; NICs take 40 or 52 */
#define FLOW_RETA_ENTRIES 128

/* Shared by all workers, read only while they run (the simulator swaps it to play a re-hash). */
struct flow_steering {
	uint8_t key[FLOW_KEY_OCTETS];
	uint16_t reta[FLOW_RETA_ENTRIES]; /* worker index by hash modulo entries */
	uint32_t n_workers;
	uint32_t table[36][256]; /* per input octet: precomputed from key by flow_steering_init() */
};

/* key: FLOW_KEY_OCTETS random octets. n_workers 1 to 65535; reta is filled round robin. */
void flow_steering_init(struct flow_steering *s, const uint8_t *key, uint32_t n_workers);

/* Toeplitz over (remote, local, remote_port, local_port): the received packet's source comes first. IPv4 flows hash the
 * 4-octet addresses. */
uint32_t flow_hash(const struct flow_steering *s, const struct flow *f);

/* The worker that owns f, 0 to n_workers - 1. */
uint32_t flow_owner(const struct flow_steering *s, const struct flow *f);

/* The owner by a hash a NIC delivered with the frame. */
static inline uint32_t
flow_owner_of_hash(const struct flow_steering *s, uint32_t hash)
{
	return s->reta[hash % FLOW_RETA_ENTRIES];
}

#endif
