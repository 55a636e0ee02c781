/*
 * tcp_sack.c - the scoreboard.
 *
 * Pure:   see the header. Every walk is over at most TCP_SACK_RANGES_MAX ranges.
 */
#include "dataplane/tcp/tcp_sack.h"

#include <string.h>

#include "dataplane/base/seq.h"

static void
remove_range(struct tcp_scoreboard *sb, uint32_t i)
{
	memmove(&sb->r[i], &sb->r[i + 1], (sb->n - i - 1) * sizeof(sb->r[0]));
	sb->n--;
}

uint32_t
tcp_scoreboard_add(struct tcp_scoreboard *sb, uint32_t start, uint32_t end)
{
	uint32_t i = 0, fresh = end - start;

	while (i < sb->n && seq_lt(sb->r[i].end, start))
		i++;
	/* merge every range that overlaps or touches into [start, end) */
	while (i < sb->n && seq_leq(sb->r[i].start, end)) {
		const struct tcp_sack_block old = sb->r[i];
		uint32_t lo = seq_max(old.start, start), hi = seq_min(old.end, end);

		if (seq_leq(old.start, start) && seq_geq(old.end, end))
			return 0;
		if (seq_lt(lo, hi))
			fresh -= hi - lo; /* ranges are disjoint: what is known is counted once */
		start = seq_min(start, old.start);
		end = seq_max(end, old.end);
		remove_range(sb, i);
	}
	if (sb->n == TCP_SACK_RANGES_MAX)
		return UINT32_MAX;
	memmove(&sb->r[i + 1], &sb->r[i], (sb->n - i) * sizeof(sb->r[0]));
	sb->r[i] = (struct tcp_sack_block){ .start = start, .end = end };
	sb->n++;
	return fresh;
}

void
tcp_scoreboard_prune(struct tcp_scoreboard *sb, uint32_t una)
{
	while (sb->n > 0 && seq_leq(sb->r[0].end, una))
		remove_range(sb, 0);
	if (sb->n > 0 && seq_lt(sb->r[0].start, una))
		sb->r[0].start = una;
}

uint32_t
tcp_scoreboard_octets(const struct tcp_scoreboard *sb, uint32_t from, uint32_t to)
{
	uint32_t octets = 0;

	for (uint32_t i = 0; i < sb->n; i++) {
		uint32_t lo = seq_max(sb->r[i].start, from), hi = seq_min(sb->r[i].end, to);

		if (seq_lt(lo, hi))
			octets += hi - lo;
	}
	return octets;
}

/* IsLost() of octets just below range i: three ranges above, or more than two segments' worth of octets. */
static bool
is_lost_below(const struct tcp_scoreboard *sb, uint32_t i, uint32_t mss)
{
	uint32_t octets = 0;

	if (sb->n - i >= TCP_DUP_THRESH)
		return true;
	for (; i < sb->n; i++)
		octets += sb->r[i].end - sb->r[i].start;
	return octets > (TCP_DUP_THRESH - 1) * mss;
}

bool
tcp_scoreboard_hole(
	const struct tcp_scoreboard *sb, uint32_t from, uint32_t mss, uint32_t *start, uint32_t *end, bool *lost)
{
	for (uint32_t i = 0; i < sb->n; i++) {
		if (seq_lt(from, sb->r[i].start)) {
			*start = from;
			*end = sb->r[i].start;
			*lost = is_lost_below(sb, i, mss);
			return true;
		}
		from = seq_max(from, sb->r[i].end);
	}
	return false;
}

uint32_t
tcp_scoreboard_pipe(const struct tcp_scoreboard *sb, uint32_t una, uint32_t max, uint32_t high_rxt, uint32_t mss)
{
	uint32_t pipe = 0, at = una;

	for (uint32_t i = 0; i < sb->n; i++) {
		const uint32_t hole_end = sb->r[i].start;

		if (seq_lt(at, hole_end)) {
			if (!is_lost_below(sb, i, mss))
				pipe += hole_end - at; /* RFC 6675 section 4, SetPipe() (a) */
			if (seq_lt(at, high_rxt))
				pipe += seq_min(hole_end, high_rxt) - at; /* (b) */
		}
		at = sb->r[i].end;
	}
	return pipe + (seq_lt(at, max) ? max - at : 0);
}
