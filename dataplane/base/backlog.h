/*
 * backlog.h - whether frames wait in the device's queue for long, and whether it is SYNs that come faster than they can be served, so that the queue
 * overflows: then it loses frames of known clients and of open sessions as well as those of the flood.
 *
 * Flow:   worker, once a turn: what was taken in -> backlog_turn() -> backlog_stands(): longer passes;  admission_sheds() while .behind
 * Pure:   counts; no clock, no frames.
 * Keeps:  nobody is behind whose queue was emptied in the last turn, so what is shed is no more than what there was no time for: shedding
 *         empties the queue, strangers are answered again until it has stood for BACKLOG_FRAMES more. No burst is a flood.
 */
#ifndef GREYLINE_BASE_BACKLOG_H
#define GREYLINE_BASE_BACKLOG_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/bug.h"

/*
 * Of a queue that was never empty meanwhile: three quarters of the 1,024 that most devices have by default. As many come together after a pause of
 * the machine, too, and mostly SYNs, for sessions that wait say nothing: with 256, one session in sixty at half load met a dropped SYN.
 */
#define BACKLOG_FRAMES 768u
/*
 * One in so many of them at least is a SYN, else dropping SYNs helps nobody; and of so many in a hundred no session has anything: SYNs, and what
 * belongs to no connection, as the resets of a host in whose name a flood comes. Then half of the worker's time or more goes to them, for a
 * segment of a session costs three times as much. SYNs alone do not tell: at its ceiling a worker's queue is never empty, and a third of what
 * comes are SYNs beside a flood that there is time for, half where many sessions begin at once.
 */
#define BACKLOG_SYN_SHARE     3u
#define BACKLOG_STRAY_PERCENT 75u
/*
 * And it lasts: so many frames of standing queues that were such came of late, 3 ms of what a worker takes in, those of other queues taken off. A pause of
 * the machine makes a burst of any flood, also of one that there is time for; dropping the SYNs of sessions for that makes them wait for a repetition.
 * Twice as many at most are kept in mind: a flood that let the queue be empty for a moment is one still.
 */
#define BACKLOG_LASTS_FRAMES (4 * BACKLOG_FRAMES)
/*
 * What one pass takes in while no queue stands: some 1,800 cycles each, so that all are answered within 10 us; and where SYNs come, as many as take the
 * time of so many segments of sessions, for a SYN is answered or refused in a third of it or less. A pass has costs of its own, most of all
 * the device's indices, which another CPU or the device has written last.
 */
#define BACKLOG_PASS_FRAMES     8u
#define BACKLOG_PASS_FRAMES_MAX 32u
#define BACKLOG_SYNS_A_SEGMENT  3u
static_assert(BACKLOG_PASS_FRAMES * BACKLOG_SYNS_A_SEGMENT <= BACKLOG_PASS_FRAMES_MAX, "SYNs alone fit in");
/*
 * As many as wait after the machine paused for some 3 ms at half load: what is taken in before that is answered soon, beyond that cheaply. Where
 * 256 made a queue that stands, one pass in fifty was as long as at the ceiling; with 16,384 the ceiling itself came late.
 */
#define BACKLOG_STANDS_FRAMES 2048u

struct backlog {
	/* Taken in for this worker since the queue was last empty, or since it was judged; and for others meanwhile. */
	uint32_t frames, syns, strays;
	uint32_t passed_on;
	/* Taken in since the queue was last empty; no more are counted than stand for a queue that is not. */
	uint32_t standing;
	uint32_t flooded; /* frames of a flood, of late */
	bool behind;
};

/* What one turn took in. */
struct backlog_taken {
	uint32_t frames, syns; /* in all, and of those */
	uint32_t strays;       /* that are no SYN and belong to no connection */
	uint32_t others;       /* that were handed to other workers */
	bool emptied;          /* the queue had no more */
	uint32_t segs;         /* segments that are no SYN */
};

static inline void
backlog_turn(struct backlog *b, const struct backlog_taken *t)
{
	bool flood;

	if (t->emptied) {
		*b = (struct backlog){ .flooded = b->flooded - MIN(b->flooded, t->frames) };
		return;
	}
	b->standing = MIN(b->standing + t->frames, BACKLOG_STANDS_FRAMES);
	b->frames += t->frames - t->others;
	b->passed_on += t->others;
	b->syns += t->syns;
	b->strays += t->strays;
	if (b->frames + b->passed_on < BACKLOG_FRAMES)
		return;
	flood = b->syns > 0 && b->syns >= b->frames / BACKLOG_SYN_SHARE &&
	        (b->syns + b->strays) * 100 >= b->frames * BACKLOG_STRAY_PERCENT;
	*b = (struct backlog){ .standing = b->standing,
		.flooded = flood ? MIN(b->flooded + BACKLOG_FRAMES, 2 * BACKLOG_LASTS_FRAMES)
		                 : b->flooded - MIN(b->flooded, BACKLOG_FRAMES) };
	b->behind = flood && b->flooded >= BACKLOG_LASTS_FRAMES;
}

/* Whether the queue was not empty for so long that time a frame counts, not time until the next is answered. */
static inline bool
backlog_stands(const struct backlog *b)
{
	return b->standing == BACKLOG_STANDS_FRAMES;
}

/* How many frames the next pass takes in at most, after what the turn took in so far. */
static inline uint32_t
backlog_pass_frames(const struct backlog *b, const struct backlog_taken *t)
{
	if (backlog_stands(b))
		return BACKLOG_PASS_FRAMES_MAX;
	if (t->segs == t->frames)
		return BACKLOG_PASS_FRAMES;
	return BACKLOG_PASS_FRAMES * BACKLOG_SYNS_A_SEGMENT * t->frames /
	       (t->frames + (BACKLOG_SYNS_A_SEGMENT - 1) * t->segs);
}

#endif
