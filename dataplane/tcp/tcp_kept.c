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
#define CLOCK_MAX  (UINT64_C(1) << 56) /* two thousand years of uptime */
/*
 * What the last life may have said after its last connection began: timestamps for as long as a session lasts, twice over (half their circle is 24
 * days); numbers as many as a message has octets, 150 million (half their circle is 2.4 hours).
 */
#define TS_AFTER_LAST_US  (UINT64_C(7200) * 1000000)
#define ISN_AFTER_LAST_US (UINT64_C(600) * 1000000)

static_assert(offsetof(struct tcp_kept, worker) == 64, "cursors begin a line");
static_assert(sizeof(struct tcp_cursors) % 64 == 0, "and end one");

/* Against damage, not against an enemy: who can write the file can run as us. */
static uint64_t
check_of(const struct tcp_kept *k)
{
	static const struct siphash_key key = { UINT64_C(0x677265796c696e65), UINT64_C(0x6b65707470727473) };
	const uint64_t in[] = { TCP_KEPT_VERSION, TCP_CURSORS_N, CONF_WORKERS_MAX, k->timestamp_offset, k->isn_offset,
		k->secret.k0, k->secret.k1 };

	return siphash(&key, in, sizeof(in));
}

static bool
is_sound(const struct tcp_kept *k)
{
	if (k->check != check_of(k))
		return false;
	for (uint32_t w = 0; w < CONF_WORKERS_MAX; w++) {
		if (k->worker[w].seen_us > CLOCK_MAX)
			return false;
		for (uint32_t i = 0; i < TCP_CURSORS_N; i++)
			if (k->worker[w].next[i] > CURSOR_MAX)
				return false;
	}
	return true;
}

/* A kill comes between two of our own stores, nothing else does. */
static void
seal(struct tcp_kept *k)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	k->check = check_of(k);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * Where the clock stands before what a life before has seen, timestamps and numbers go forward by what it lost. A kill between offsets and
 * what was seen has it done again: forward once more, which harms nobody.
 */
static void
make_up_for_clock(struct tcp_kept *k, uint64_t now_us)
{
	uint64_t seen_us = 0;

	for (uint32_t w = 0; w < CONF_WORKERS_MAX; w++)
		if (k->worker[w].seen_us > seen_us)
			seen_us = k->worker[w].seen_us;
	if (seen_us <= now_us)
		return;
	k->timestamp_offset += (uint32_t)((seen_us - now_us + TS_AFTER_LAST_US) / 1000);
	k->isn_offset += (uint32_t)((seen_us - now_us + ISN_AFTER_LAST_US) / 4);
	seal(k);
	for (uint32_t w = 0; w < CONF_WORKERS_MAX; w++)
		k->worker[w].seen_us = now_us;
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
tcp_kept_begin(struct tcp_kept *k, const uint8_t random[TCP_KEPT_RANDOM_OCTETS], uint64_t now_us)
{
	static_assert(TCP_KEPT_RANDOM_OCTETS == sizeof(k->secret) + sizeof(k->timestamp_offset), "all of it is used");

	if (is_sound(k)) {
		join_cursors(k);
		make_up_for_clock(k, now_us);
		return true;
	}
	memset(k, 0, sizeof(*k));
	memcpy(&k->secret, random, sizeof(k->secret));
	memcpy(&k->timestamp_offset, random + sizeof(k->secret), sizeof(k->timestamp_offset));
	seal(k);
	return false;
}
