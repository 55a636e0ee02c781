/*
 * limits.h - how many sessions each client address and network has open in one worker.
 *
 * Pure:   memory is taken once by limits_init().
 * Keeps:  counts are exact; the table is twice as large as the sessions it can count, so it is never full; keyed hash.
 */
#ifndef GREYLINE_WORKER_LIMITS_H
#define GREYLINE_WORKER_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/siphash.h"

struct limits_cell {
	struct ip_addr addr;
	uint32_t is_network;
	uint32_t count; /* 0: free */
};

struct limits {
	struct limits_cell *cell;
	uint32_t n_cells; /* a power of two */
	struct siphash_key key;
};

/* Room for sessions_max sessions (each counts twice: address and network). 0 or -ENOMEM. */
int limits_init(struct limits *l, uint32_t sessions_max, const struct siphash_key *key);
void limits_fini(struct limits *l);

/* Counts a session of client; false, and nothing counted, when a limit (0: none) is reached. */
bool limits_enter(struct limits *l, const struct ip_addr *client, const struct ip_addr *network, uint32_t client_max,
	uint32_t network_max);
void limits_leave(struct limits *l, const struct ip_addr *client, const struct ip_addr *network);

#endif
