/*
 * backend.h - which backend to take, and what a listener may offer for those behind it.
 *
 * Flow:   backend_probe.h -> struct backend_state in the segment -> every worker: backend_choose()
 * Pure:   states are arguments.
 * Source: POLICY sections 1 and 5.
 */
#ifndef GREYLINE_RELAY_BACKEND_H
#define GREYLINE_RELAY_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"

#define BACKEND_FAILURES_DOWN 3 /* in a row */

/*
 * The next backend of a pool to try: not in tried (a bit each), in service, and able to carry needs and size_octets.
 * Spread by spread (a hash). A pool whose backends are all down is tried all the same (a probe may be late). states[i]
 * belongs to backend i. -1: none left; -2: none is able. Where all of the pool take too little for size_octets one of
 * them is answered, so that the relay says 554 5.3.4; where only one that is down or out of service takes it, -2: that
 * is our failure, not the message's.
 */
int backend_choose(const struct conf_pool *pool, const struct backend_state *states, uint32_t n_backends,
	uint64_t tried, uint32_t needs, uint64_t size_octets, uint32_t spread);

/* What a listener offers in EHLO, of all backends it can route to (POLICY section 5): ext and the largest SIZE. */
void backend_offer(const struct conf_listener *l, const struct conf_pool *pools, uint32_t n_pools,
	const struct conf_backend *backends, const struct backend_state *states, uint32_t n_backends, uint32_t *ext,
	uint64_t *size_octets);

/* The AUTH mechanisms a listener with auth = relay offers: those of every backend of its default pool, where the exchange is carried. */
uint32_t backend_offer_auth(const struct conf_listener *l, const struct conf_pool *pools, uint32_t n_pools,
	const struct backend_state *states, uint32_t n_backends);

/* The state's changes: pure, on a copy that the caller stores. Down after three failures in a row, up after one
 * success. */
void backend_state_failure(struct backend_state *s, const char *words, uint32_t now_s);
void backend_state_success(struct backend_state *s, uint32_t now_s);
void backend_state_words(struct backend_state *s, const char *words);
void backend_state_health(struct backend_state *s, enum backend_health health, uint32_t now_s);

#endif
