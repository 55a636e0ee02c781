/*
 * goes_on.c - see goes_on.h.
 *
 * Pure:   see tcp_kept.h.
 */
#include "dataplane/worker/goes_on.h"

#include <assert.h>

#include "dataplane/tcp/tcp_kept.h"

static_assert(GOES_ON_RANDOM_OCTETS == TCP_KEPT_RANDOM_OCTETS, "as many as are drawn");

uint64_t
goes_on_octets(void)
{
	return sizeof(struct tcp_kept);
}

uint64_t
goes_on_version(void)
{
	return TCP_KEPT_VERSION;
}

bool
goes_on_begin(struct tcp_kept *k, const uint8_t random[GOES_ON_RANDOM_OCTETS], uint64_t now_us)
{
	return tcp_kept_begin(k, random, now_us);
}
