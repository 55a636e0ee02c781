/*
 * tcp_kept.h - what connections of ours to others go on from after a kill, in memory that outlives the process.
 *
 * Flow:   main maps it -> tcp_kept_begin() -> tcp_conf.kept -> tcp_connect() draws ports from it, all segments their timestamps
 * Pure:   the memory is the caller's, the octets to draw from too. Not in the segment: that is mapped by control and tools also, and the secret
 *         is nobody's but the data plane's.
 * Keeps:  a backend holds TIME-WAIT for what the life before closed. It takes a SYN for such a tuple when its timestamp is later (RFC 6191),
 *         or its number higher: so the timestamps of the next life have the same offset to the boot clock, its numbers the same secret, and
 *         its ports go on where those of any worker stood, for tuples change their owner with the key of the steering.
 *         The boot clock begins anew with each boot. Where the file outlives that (on a disk), or the clock stands before a connection of the
 *         last life for whatever reason, both offsets make up for it: nothing that was sent is ever later than what is sent next.
 * Source: RFC 6056 section 3.3.4 (ports), RFC 6528 (numbers), RFC 7323 section 5.4 and RFC 6191 (timestamps).
 */
#ifndef GREYLINE_TCP_TCP_KEPT_H
#define GREYLINE_TCP_TCP_KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/base/siphash.h"

#define TCP_KEPT_VERSION 2 /* of this layout and of what its numbers mean */
/* Pairs of a local address and a remote port share one by hash: they take ports from each other, no more. */
#define TCP_CURSORS_N          64
#define TCP_KEPT_RANDOM_OCTETS 20

/* Written by one worker; the next port is counted before its SYN leaves, so a kill loses none. */
struct tcp_cursors {
	uint64_t next[TCP_CURSORS_N]; /* places of the cycle of ports looked at so far */
	uint64_t seen_us;             /* the boot clock at the last connection */
	uint64_t pad[7];
};

/* Lies at the start of a page: each worker's cursors have lines of their own. */
struct tcp_kept {
	uint64_t check; /* of version, offsets and secret, stored last; anything else: drawn anew */
	uint32_t timestamp_offset, isn_offset;
	struct siphash_key secret;
	uint64_t pad[4];
	struct tcp_cursors worker[CONF_WORKERS_MAX];
};

/* Before any worker runs. True: what the last life left is gone on from; false: there was nothing, or damage, and all of it is drawn anew. */
bool tcp_kept_begin(struct tcp_kept *k, const uint8_t random[TCP_KEPT_RANDOM_OCTETS], uint64_t now_us);

#endif
