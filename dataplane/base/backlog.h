/*
 * backlog.h - whether frames wait in the device's queue for long, and whether it is SYNs that come faster than they can be served, so that the queue
 * overflows: then it loses frames of known clients and of open sessions as well as those of the flood.
 *
 * Flow:   worker, once a turn: what was taken in -> backlog_turn() -> backlog_stands(): longer passes;  admission_sheds() while .behind
 * Pure:   counts; no clock, no frames.
 * Keeps:  nobody is behind whose queue was emptied in the last turn, so what is shed is no more than what there was no time for: shedding
 *         empties the queue, strangers are answered again until it has stood for BACKLOG_FRAMES more.
 */
#ifndef GREYLINE_BASE_BACKLOG_H
#define GREYLINE_BASE_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Of a queue that was never empty meanwhile: three quarters of the 1,024 that most devices have by default. As many come together after a pause of
 * the machine, too, and mostly SYNs, for sessions that wait say nothing: with 256, one session in sixty at half load met a dropped SYN.
 */
#define BACKLOG_FRAMES 768u
/* One in so many of them at least is a SYN: no dialogue has as many, the shortest, connect and close, has one in four. */
#define BACKLOG_SYN_SHARE 3u
/* As many as wait after the machine paused for some 0.4 ms at half load: what is taken in before that is answered soon, beyond that cheaply. */
#define BACKLOG_STANDS_FRAMES 256u

struct backlog {
	uint32_t frames, syns; /* taken in for this worker since the queue was last empty, or since it was judged */
	uint32_t passed_on;    /* taken in for others meanwhile */
	uint32_t
		standing; /* taken in since the queue was last empty; no more are counted than stand for a queue that is not */
	bool behind;
};

/* What one turn took in. */
struct backlog_taken {
	uint32_t frames, syns, others; /* in all; of those, SYNs, and what was handed to other workers */
	bool emptied;                  /* the queue had no more */
};

static inline void
backlog_turn(struct backlog *b, const struct backlog_taken *t)
{
	if (t->emptied) {
		*b = (struct backlog){ 0 };
		return;
	}
	b->standing = b->standing + t->frames < BACKLOG_STANDS_FRAMES ? b->standing + t->frames : BACKLOG_STANDS_FRAMES;
	b->frames += t->frames - t->others;
	b->passed_on += t->others;
	b->syns += t->syns;
	if (b->frames + b->passed_on < BACKLOG_FRAMES)
		return;
	*b = (struct backlog){ .standing = b->standing,
		.behind = b->syns > 0 && b->syns >= b->frames / BACKLOG_SYN_SHARE };
}

/* Whether the queue was not empty for so long that time a frame counts, not time until the next is answered. */
static inline bool
backlog_stands(const struct backlog *b)
{
	return b->standing == BACKLOG_STANDS_FRAMES;
}

#endif
