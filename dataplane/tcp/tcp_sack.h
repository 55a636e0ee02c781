/*
 * tcp_sack.h - the scoreboard: which octets in flight the peer holds already.
 *
 * Flow:   tcp_input (SACK blocks) -> tcp_scoreboard_add();  tcp_output -> tcp_scoreboard_hole()
 * Pure:   a sorted array of disjoint ranges, bounded.
 * Keeps:  ranges lie in (snd_una, snd_max], are not empty, do not touch each other, ascend.
 * Source: RFC 2018 section 5, RFC 6675 section 3 and 4.
 */
#ifndef GREYLINE_TCP_TCP_SACK_H
#define GREYLINE_TCP_TCP_SACK_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/tcp_wire.h"

#define TCP_SACK_RANGES_MAX 62
#define TCP_DUP_THRESH      3 /* RFC 6675 section 2 */

struct tcp_scoreboard {
	struct tcp_scoreboard *next_free;
	uint32_t n;
	struct tcp_sack_block r[TCP_SACK_RANGES_MAX];
};

/* Adds [start, end). Returns the octets that were not known before; UINT32_MAX when no place was left for it. */
uint32_t tcp_scoreboard_add(struct tcp_scoreboard *sb, uint32_t start, uint32_t end);

/* Forgets what lies before una. */
void tcp_scoreboard_prune(struct tcp_scoreboard *sb, uint32_t una);

/* Octets of [from, to) that the peer holds. */
uint32_t tcp_scoreboard_octets(const struct tcp_scoreboard *sb, uint32_t from, uint32_t to);

/* The first gap at or after from that lies below the highest range: [*start, *end) and whether RFC 6675's IsLost() holds for
 * it. False: none. */
bool tcp_scoreboard_hole(
	const struct tcp_scoreboard *sb, uint32_t from, uint32_t mss, uint32_t *start, uint32_t *end, bool *lost);

/* RFC 6675's pipe: octets in the network, of [una, max), where holes up to high_rxt were retransmitted. */
uint32_t tcp_scoreboard_pipe(
	const struct tcp_scoreboard *sb, uint32_t una, uint32_t max, uint32_t high_rxt, uint32_t mss);

#endif
