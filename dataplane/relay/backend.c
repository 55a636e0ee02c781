/*
 * backend.c - which backend to take, and what a listener may offer.
 *
 * Flow:   backend_probe.c -> struct backend_state in the segment -> every worker: backend_choose(), backend_offer()
 * Pure:   states are arguments.
 * Keeps:  nothing is offered to clients that one backend in service was not heard to take; a backend that relays for
 *         strangers or is ourselves gets no session.
 * Source: POLICY sections 1 and 5.
 */
#include "dataplane/relay/backend.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"

/* --- choice --- */

static bool
is_in_service(const struct backend_state *s)
{
	if (s->drained)
		return false;
	switch ((enum backend_health)s->health) {
	case BACKEND_UNPROBED:
	case BACKEND_UP:
	case BACKEND_DOWN:
		return true;
	case BACKEND_OPEN_RELAY:
	case BACKEND_LOOP:
	case BACKEND_DRAINED:
		return false;
	}
	return false; /* the segment is hostile: an unknown number is no service */
}

/* SIZE alone is advice, PIPELINING and STARTTLS are hop by hop. */
#define NEEDS_END_TO_END (EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN | EXT_CHUNKING | EXT_BINARYMIME)

static bool
takes_needs(const struct backend_state *s, uint32_t needs)
{
	return !s->probed || (needs & NEEDS_END_TO_END & ~s->ext) == 0;
}

static bool
takes_size(const struct backend_state *s, uint64_t size_octets)
{
	return !s->probed || s->size_octets == 0 || size_octets <= s->size_octets;
}

/* Of the backends in set the one that spread falls on. set is not empty. */
static int
nth_of(uint64_t set, uint32_t spread)
{
	uint32_t n = spread % (uint32_t)__builtin_popcountll(set);

	for (; n > 0; n--)
		set &= set - 1;
	return __builtin_ctzll(set);
}

int
backend_choose(const struct conf_pool *pool, const struct backend_state *states, uint32_t n_backends, uint64_t tried,
	uint32_t needs, uint64_t size_octets, uint32_t spread)
{
	/* by preference: up, never asked, down */
	uint64_t able[3] = { 0 }, small[3] = { 0 };
	bool any = false, other_takes_size = false;

	for (uint32_t i = 0; i < MIN(n_backends, CONF_BACKENDS_MAX); i++) {
		const struct backend_state *s = &states[i];
		const uint64_t bit = UINT64_C(1) << i;
		const int rank = s->health == BACKEND_UP ? 0 : s->health == BACKEND_UNPROBED ? 1 : 2;

		if ((pool->backends & bit) == 0)
			continue;
		if ((tried & bit) != 0 || !is_in_service(s)) {
			other_takes_size |= takes_needs(s, needs) && takes_size(s, size_octets);
			continue;
		}
		any = true;
		if (!takes_needs(s, needs))
			continue;
		if (takes_size(s, size_octets))
			able[rank] |= bit;
		else
			small[rank] |= bit;
	}
	for (size_t rank = 0; rank < ARRAY_LEN(able); rank++) {
		if (able[rank] != 0)
			return nth_of(able[rank], spread);
	}
	for (size_t rank = 0; rank < ARRAY_LEN(small) && !other_takes_size; rank++) {
		if (small[rank] != 0)
			return nth_of(small[rank], spread);
	}
	return any ? -2 : -1;
}

void
backend_offer(const struct conf_listener *l, const struct conf_pool *pools, uint32_t n_pools,
	const struct conf_backend *backends, const struct backend_state *states, uint32_t n_backends, uint32_t *ext,
	uint64_t *size_octets)
{
	uint32_t common = NEEDS_END_TO_END | EXT_ENHANCEDSTATUSCODES | EXT_SIZE;
	uint64_t routable = 0, largest = 0;
	bool any = false, unlimited = false;

	for (uint32_t i = 0; i < MIN(n_pools, CONF_POOLS_MAX); i++) {
		if (l->pools >> i & 1)
			routable |= pools[i].backends;
	}
	for (uint32_t i = 0; i < MIN(n_backends, CONF_BACKENDS_MAX); i++) {
		const struct backend_state *s = &states[i];

		if ((routable >> i & 1) == 0 || backends[i].is_submission || !is_in_service(s))
			continue;
		any = true;
		common &= s->probed ? s->ext : 0;
		largest = MAX(largest, s->size_octets);
		unlimited |= !s->probed || s->size_octets == 0;
	}
	if (!any)
		common = 0;
	if ((common & EXT_8BITMIME) == 0) /* RFC 6531 section 3.1 */
		common &= ~(uint32_t)EXT_SMTPUTF8;
	if ((common & EXT_CHUNKING) == 0) /* RFC 3030 section 3 */
		common &= ~(uint32_t)EXT_BINARYMIME;
	/* A number smaller than some backend's limit would refuse for good what that one takes. */
	if (unlimited || (common & EXT_SIZE) == 0) {
		common &= ~(uint32_t)EXT_SIZE;
		largest = 0;
	}
	*ext = common | EXT_PIPELINING;
	*size_octets = largest;
}

uint32_t
backend_offer_auth(const struct conf_listener *l, const struct conf_pool *pools, uint32_t n_pools,
	const struct backend_state *states, uint32_t n_backends)
{
	uint32_t common = UINT32_MAX;
	bool any = false;

	if (!l->auth_relay || l->default_pool >= MIN(n_pools, CONF_POOLS_MAX))
		return 0;
	for (uint32_t i = 0; i < MIN(n_backends, CONF_BACKENDS_MAX); i++) {
		if ((pools[l->default_pool].backends >> i & 1) == 0 || !is_in_service(&states[i]))
			continue;
		any = true;
		common &= states[i].probed && (states[i].ext & EXT_AUTH) != 0 ? states[i].auth : 0;
	}
	return any ? common : 0;
}

/* --- states --- */

void
backend_state_words(struct backend_state *s, const char *words)
{
	snprintf(s->words, sizeof(s->words), "%s", words);
}

void
backend_state_health(struct backend_state *s, enum backend_health health, uint32_t now_s)
{
	if (s->health == health)
		return;
	s->health = (uint8_t)health;
	s->changed_s = now_s;
}

void
backend_state_failure(struct backend_state *s, const char *words, uint32_t now_s)
{
	backend_state_words(s, words);
	if (s->failures < UINT8_MAX)
		s->failures++;
	if (s->failures >= BACKEND_FAILURES_DOWN && (s->health == BACKEND_UP || s->health == BACKEND_UNPROBED))
		backend_state_health(s, BACKEND_DOWN, now_s);
}

void
backend_state_success(struct backend_state *s, uint32_t now_s)
{
	s->failures = 0;
	/* that it answers does not show that it stopped relaying: only a relay test does */
	if (s->health != BACKEND_OPEN_RELAY && s->health != BACKEND_DRAINED)
		backend_state_health(s, BACKEND_UP, now_s);
}
