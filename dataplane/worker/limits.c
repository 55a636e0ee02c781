/*
 * limits.c - open sessions by client address and by network: linear probing with deletion by shifting back.
 *
 * Pure:   see the header.
 * Source: Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm R.
 */
#include "dataplane/worker/limits.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/base/bug.h"

int
limits_init(struct limits *l, uint32_t sessions_max, const struct siphash_key *key)
{
	uint32_t n = 64;

	while (n < sessions_max * 4)
		n *= 2;
	*l = (struct limits){ .n_cells = n, .key = *key };
	l->cell = calloc(n, sizeof(*l->cell));
	return l->cell != NULL ? 0 : -ENOMEM;
}

void
limits_fini(struct limits *l)
{
	free(l->cell);
	l->cell = NULL;
}

static uint32_t
home_of(const struct limits *l, const struct ip_addr *addr, uint32_t is_network)
{
	uint8_t material[20];
	uint64_t word;

	if (ip_addr_is_v4(addr)) { /* says as much, in one go */
		memcpy(&word, addr->octet + 8, 8);
		return (uint32_t)siphash13_12(&l->key, word, is_network) & (l->n_cells - 1);
	}
	memcpy(material, addr->octet, 16);
	memcpy(material + 16, &is_network, 4);
	return (uint32_t)siphash(&l->key, material, sizeof(material)) & (l->n_cells - 1);
}

/* The cell of addr, or the free one where it belongs. */
static struct limits_cell *
cell_from(const struct limits *l, uint32_t home, const struct ip_addr *addr, uint32_t is_network)
{
	uint32_t i = home;

	while (l->cell[i].count != 0 && (l->cell[i].is_network != is_network || !ip_addr_equal(&l->cell[i].addr, addr)))
		i = (i + 1) & (l->n_cells - 1);
	return &l->cell[i];
}

static struct limits_cell *
cell_of(const struct limits *l, const struct ip_addr *addr, uint32_t is_network)
{
	return cell_from(l, home_of(l, addr, is_network), addr, is_network);
}

static void
count_one(struct limits_cell *c, const struct ip_addr *addr, uint32_t is_network)
{
	c->addr = *addr;
	c->is_network = is_network;
	c->count++;
}

bool
limits_enter(struct limits *l, const struct ip_addr *client, const struct ip_addr *network, uint32_t client_max,
	uint32_t network_max)
{
	struct limits_cell *c = cell_of(l, client, 0);
	const uint32_t home = home_of(l, network, 1);

	if (client_max != 0 && c->count >= client_max)
		return false;
	if (network_max != 0 && cell_from(l, home, network, 1)->count >= network_max)
		return false;
	count_one(c, client, 0);
	count_one(cell_from(l, home, network, 1), network,
		1); /* looked up after the first was placed: they may share a home */
	return true;
}

static void
leave_one(struct limits *l, const struct ip_addr *addr, uint32_t is_network)
{
	struct limits_cell *c = cell_of(l, addr, is_network);
	const uint32_t mask = l->n_cells - 1;
	uint32_t hole = (uint32_t)(c - l->cell);

	BUG_ON(c->count == 0);
	if (--c->count > 0)
		return;
	for (uint32_t i = (hole + 1) & mask; l->cell[i].count != 0; i = (i + 1) & mask) {
		uint32_t home = home_of(l, &l->cell[i].addr, l->cell[i].is_network);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue; /* its home lies after the hole: it stays */
		l->cell[hole] = l->cell[i];
		l->cell[i].count = 0;
		hole = i;
	}
}

void
limits_leave(struct limits *l, const struct ip_addr *client, const struct ip_addr *network)
{
	leave_one(l, client, 0);
	leave_one(l, network, 1);
}
