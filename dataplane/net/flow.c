/*
 * flow.c - the hash of a tuple and its owner.
 *
 * Flow:   net_input(), tcp_connect(): whoever must know which worker a tuple belongs to.
 * Pure:   no I/O, no allocation.
 * Keeps:  see flow.h: equal to what a NIC with our key and table computes.
 * Source: the Toeplitz hash of the RSS specification: for every set bit of the input, the 32 bits of the key that begin at that
 *         bit are XORed. Here eight bits at a time from tables made once.
 */
#include "dataplane/net/flow.h"

#include <string.h>

#include "dataplane/base/bug.h"

/* The 32 bits of key that begin at bit (0 = the first octet's highest). */
static uint32_t
key_window(const uint8_t *key, uint32_t bit)
{
	uint64_t w = 0;

	for (uint32_t i = 0; i < 5; i++)
		w = w << 8 | key[bit / 8 + i];
	return (uint32_t)(w >> (8 - bit % 8));
}

void
flow_steering_init(struct flow_steering *s, const uint8_t *key, uint32_t n_workers)
{
	BUG_ON(n_workers == 0 || n_workers > UINT16_MAX);
	memcpy(s->key, key, FLOW_KEY_OCTETS);
	s->n_workers = n_workers;
	for (uint32_t i = 0; i < FLOW_RETA_ENTRIES; i++)
		s->reta[i] = (uint16_t)(i % n_workers);
	for (uint32_t i = 0; i < ARRAY_LEN(s->table); i++) {
		for (uint32_t v = 0; v < 256; v++) {
			uint32_t h = 0;

			for (uint32_t b = 0; b < 8; b++)
				if (v & (0x80u >> b))
					h ^= key_window(s->key, i * 8 + b);
			s->table[i][v] = h;
		}
	}
}

static uint32_t
hash_octets(const struct flow_steering *s, uint32_t h, uint32_t at, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		h ^= s->table[at + i][p[i]];
	return h;
}

uint32_t
flow_hash(const struct flow_steering *s, const struct flow *f)
{
	const uint32_t skip = ip_addr_is_v4(&f->local) && ip_addr_is_v4(&f->remote) ? 12 : 0, n = 16 - skip;
	const uint8_t ports[4] = { (uint8_t)(f->remote_port >> 8), (uint8_t)f->remote_port,
		(uint8_t)(f->local_port >> 8), (uint8_t)f->local_port };
	uint32_t h;

	h = hash_octets(s, 0, 0, f->remote.octet + skip, n);
	h = hash_octets(s, h, n, f->local.octet + skip, n);
	return hash_octets(s, h, 2 * n, ports, sizeof(ports));
}

uint32_t
flow_owner(const struct flow_steering *s, const struct flow *f)
{
	return s->n_workers == 1 ? 0 : flow_owner_of_hash(s, flow_hash(s, f));
}
