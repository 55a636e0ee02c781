/*
 * orphans.c - the connections that a killed life left open: their peers are told, so that nobody waits for a dead process.
 *
 * Flow:   worker_create() copies the marks left -> orphans_run(), each turn -> tcp_probe_orphan() -> the peer's ACK -> RST
 * Keeps:  a mark an earlier life left is asked about five times, for a probe may be lost or wait in vain for a next hop, and erased after
 *         the last, unless a connection of ours has its place by then; one ORPHAN_STEP_US, below the limit of RSTs.
 *
 * A client that waits for our banner or reply, and a backend that waits for our next command, have nothing to retransmit: without a word from
 * us they find out after their own time-out, minutes later.
 */
#include "dataplane/worker/worker_impl.h"

#include <stdlib.h>

#include "dataplane/base/bug.h"

#define ORPHAN_STEP_US 1000
#define ORPHAN_BURST   16 /* a turn, when turns are further apart than steps */

/*
 * Pauses before each round. The first finds next hops unresolved, and one frame a hop waits for its answer; the second finds them known; the
 * third is for what was lost, the others for hops whose first answer was lost (they are asked again after a second).
 */
static const uint64_t round_us[] = { 0, 20000, 300000, 1500000, 3000000 };

static bool
is_orphan(const struct worker *w, const struct tcp_mark *m, uint32_t index)
{
	if (m->life == 0 || m->life == w->segment->incarnation || !net_is_local(w->net, &m->flow.local))
		return false;
	return index < w->orphans.n_conns || w->now_us - m->at_us < TCP_MARK_SYN_US;
}

int
orphans_init(struct worker *w, struct tcp_mark *marks, uint32_t n_conns)
{
	const uint32_t n = tcp_marks_n(n_conns);
	struct orphans *o = &w->orphans;

	*o = (struct orphans){ .marks = marks, .n_conns = n_conns, .due_us = UINT64_MAX };
	if (marks == NULL)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		o->n += is_orphan(w, &marks[i], i);
	if (o->n == 0)
		return 0;
	o->list = calloc(o->n, sizeof(o->list[0]));
	if (o->list == NULL)
		return -1;
	o->n = 0;
	for (uint32_t i = 0; i < n; i++)
		if (is_orphan(w, &marks[i], i))
			o->list[o->n++] = (struct orphan){ .mark = marks[i], .index = i };
	o->due_us = w->now_us;
	return 0;
}

void
orphans_fini(struct worker *w)
{
	free(w->orphans.list);
	w->orphans.list = NULL;
}

/* The last round is over: what still stands there of an earlier life says nothing any more. */
static void
forget(struct worker *w)
{
	struct orphans *o = &w->orphans;

	for (uint32_t i = 0; i < o->n; i++) {
		struct tcp_mark *m = &o->marks[o->list[i].index];

		if (m->life == o->list[i].mark.life)
			m->life = 0;
	}
	orphans_fini(w);
	o->n = 0;
	o->due_us = UINT64_MAX;
}

void
orphans_run(struct worker *w)
{
	struct orphans *o = &w->orphans;

	for (uint32_t burst = 0; w->now_us >= o->due_us && burst < ORPHAN_BURST; burst++) {
		if (o->next < o->n) {
			tcp_probe_orphan(w->tcp, &o->list[o->next++].mark, w->now_us);
			o->due_us += ORPHAN_STEP_US;
		} else if (++o->round < ARRAY_LEN(round_us)) {
			o->next = 0;
			o->due_us = w->now_us + round_us[o->round];
		} else {
			forget(w);
		}
	}
}
