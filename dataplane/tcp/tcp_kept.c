/*
 * tcp_kept.c - what an earlier life left for connections of ours, believed or drawn anew.
 *
 * Pure:   see the header.
 */
#include "dataplane/tcp/tcp_kept.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define CURSOR_MAX (UINT64_C(1) << 48) /* four months at twenty million a second: what is beyond is no count of ours */

static_assert(offsetof(struct tcp_kept, worker) == 64, "cursors begin a line");
static_assert(sizeof(struct tcp_cursors) % 64 == 0, "and end one");

/* Against damage, not against an enemy: who can write the file can run as us. */
static uint64_t
check_of(const struct tcp_kept *k)
{
	static const struct siphash_key key = { UINT64_C(0x677265796c696e65), UINT64_C(0x6b65707470727473) };
	const uint64_t in[] = { TCP_KEPT_VERSION, TCP_CURSORS_N, CONF_WORKERS_MAX, k->timestamp_offset, k->secret.k0,
		k->secret.k1 };

	return siphash(&key, in, sizeof(in));
}

static bool
is_sound(const struct tcp_kept *k)
{
	if (k->check != check_of(k))
		return false;
	for (uint32_t w = 0; w < CONF_WORKERS_MAX; w++)
		for (uint32_t i = 0; i < TCP_CURSORS_N; i++)
			if (k->worker[w].next[i] > CURSOR_MAX)
				return false;
	return true;
}

/* Each worker goes on from the furthest: what it may choose now may have been another's before. */
static void
join_cursors(struct tcp_kept *k)
{
	for (uint32_t i = 0; i < TCP_CURSORS_N; i++) {
		uint64_t far = 0;

		for (uint32_t w = 0; w < CONF_WORKERS_MAX; w++)
			if (k->worker[w].next[i] > far)
				far = k->worker[w].next[i];
		for (uint32_t w = 0; w < CONF_WORKERS_MAX; w++)
			k->worker[w].next[i] = far;
	}
}

bool
tcp_kept_begin(struct tcp_kept *k, const uint8_t random[TCP_KEPT_RANDOM_OCTETS])
{
	static_assert(TCP_KEPT_RANDOM_OCTETS == sizeof(k->secret) + sizeof(k->timestamp_offset), "all of it is used");

	if (is_sound(k)) {
		join_cursors(k);
		return true;
	}
	memset(k, 0, sizeof(*k));
	memcpy(&k->secret, random, sizeof(k->secret));
	memcpy(&k->timestamp_offset, random + sizeof(k->secret), sizeof(k->timestamp_offset));
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* a kill comes between two of our own stores, nothing else does */
	k->check = check_of(k);
	return false;
}
