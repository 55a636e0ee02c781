/*
 * probes.c - worker 0 asks every backend what it is, over its own TCP.
 *
 * Flow:   schedule -> backend_probe_start() -> tcp_connect() -> backend_probe -> struct backend_state in the segment -> all workers
 * Touches: backend states in the segment (their one writer while the data plane runs; drained alone is control's).
 * Keeps:  at start, every 30 s, after each failure; the relay test at start and daily (POLICY section 1); at most PROBES_AT_ONCE at a time.
 */
#include "dataplane/worker/worker_impl.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define SUSPECT_DELAY_US                                                                                               \
	500000 /* a failed session's probe waits so long: one restart of an MTA gives one probe, not a burst */
#define PROBE_RETRY_US 5000000 /* while a backend is not known to be up */

/* The schedule follows the snapshot by id: what is new is due now. */
static struct probe_schedule *
schedule_of(struct worker *w, uint32_t id)
{
	struct probe_schedule *free_one = NULL;

	for (uint32_t i = 0; i < CONF_BACKENDS_MAX; i++) {
		if (w->schedule[i].id == id)
			return &w->schedule[i];
		if (free_one == NULL && w->schedule[i].id == 0)
			free_one = &w->schedule[i];
	}
	if (free_one == NULL) {
		/* more names than slots over many reloads: forget those that are not configured any more */
		for (uint32_t i = 0; i < CONF_BACKENDS_MAX; i++) {
			bool used = false;

			for (uint32_t j = 0; j < w->snapshot->n_backends; j++)
				used |= w->snapshot->backends[j].id == w->schedule[i].id;
			if (!used) {
				free_one = &w->schedule[i];
				break;
			}
		}
	}
	BUG_ON(free_one == NULL); /* a snapshot has at most CONF_BACKENDS_MAX */
	*free_one = (struct probe_schedule){ .id = id, .next_us = w->now_us };
	return free_one;
}

static bool
is_probed_now(const struct worker *w, uint32_t id)
{
	for (uint32_t i = 0; i < PROBES_AT_ONCE; i++)
		if (w->probe[i].active && w->probe[i].probe.conf.id == id)
			return true;
	return false;
}

static void
drop_conn(struct probe *p, bool abort_it)
{
	if (p->end.conn == NULL)
		return;
	if (abort_it)
		tcp_abort(p->end.conn);
	else
		tcp_close(p->end.conn);
	tcp_conn_set_user(p->end.conn, NULL);
	tcp_release(p->end.conn);
	p->end.conn = NULL;
}
static void
store(struct worker *w, const struct backend_probe *p)
{
	struct backend_state *s = segment_backend(w->segment, p->conf.id, true);
	struct probe_schedule *sch = schedule_of(w, p->conf.id);
	char text[512];
	uint8_t before;

	sch->next_us =
		w->now_us + (p->found.health == BACKEND_UP ? w->snapshot->conf->backend_probe_s * UINT64_C(1000000)
							   : PROBE_RETRY_US);
	if (s == NULL)
		return;
	before = __atomic_load_n(&s->health, __ATOMIC_RELAXED);
	backend_state_store(s, &p->found);
	counter_inc(w->counters, p->ok ? CTR_worker_probes_ok : CTR_worker_probes_failed);
	if (before != p->found.health) {
		struct link_head *e = ring_reserve(w->event);

		if (e != NULL) {
			*e = (struct link_head){ .type = LINK_EVENT_BACKEND,
				.len_octets = sizeof(*e),
				.worker = (uint16_t)w->conf.index,
				.dataplane_incarnation = w->segment->incarnation,
				.control_incarnation = w->segment->live->incarnation[SEGMENT_CONTROL] };
			ring_publish(w->event);
		}
		snprintf(text, sizeof(text), "backend %s is %s: %s", p->conf.name,
			p->found.health == BACKEND_UP           ? "up"
			: p->found.health == BACKEND_OPEN_RELAY ? "out of service, an open relay"
			: p->found.health == BACKEND_LOOP       ? "out of service, ourselves"
								: "down",
			p->found.words);
		wlog_notice(w, text);
	}
	w->offer_due_us = 0;
}

static void
finish(struct worker *w, struct probe *p)
{
	store(w, &p->probe);
	drop_conn(p, !p->probe.ok);
	p->active = false;
}

static void
flush(struct probe *p)
{
	uint8_t piece[1024];
	struct buf_view v = { .ptr = piece };

	while (p->end.conn != NULL && tcp_send_room(p->end.conn) >= sizeof(piece)) {
		v.len_octets = backend_probe_output(&p->probe, piece, sizeof(piece));
		if (v.len_octets == 0 || tcp_send(p->end.conn, &v) != v.len_octets)
			return;
	}
}

static void
start(struct worker *w, uint32_t index, bool relaytest)
{
	const struct conf_backend *b = &w->snapshot->backends[index];
	const struct backend_state *shared = segment_backend(w->segment, b->id, true);
	struct backend_state before = { 0 };
	struct ip_addr local;
	uint16_t mtu;
	int err;

	if (shared != NULL)
		backend_state_load(&before, shared);
	for (uint32_t i = 0; i < PROBES_AT_ONCE; i++) {
		struct probe *p = &w->probe[i];

		if (p->active)
			continue;
		schedule_of(w, b->id)->next_us = w->now_us + PROBE_RETRY_US;
		if (net_source_for(w->net, &b->addr, &local, &mtu) != 0) {
			counter_inc(w->counters, CTR_worker_backend_unroutable);
			return;
		}
		p->end.conn = tcp_connect(w->tcp, &local, &b->addr, b->port, &p->end, w->now_us, &err);
		if (p->end.conn == NULL) {
			counter_inc(w->counters, CTR_worker_backend_no_port);
			return;
		}
		p->active = true;
		backend_probe_start(&p->probe, index, b, w->snapshot->conf->hostname, &local, relaytest,
			(uint32_t)worker_random(w), &before, w->now_us);
		p->probe.counters = w->counters;
		return;
	}
}

static bool
relaytest_due(const struct worker *w, const struct backend_state *s)
{
	return s == NULL || !s->probed || s->relaytest_s == 0 || s->health == BACKEND_OPEN_RELAY ||
	       s->relaytest_s > w->now_s || w->now_s - s->relaytest_s >= w->snapshot->conf->backend_relaytest_s;
}

void
probes_run(struct worker *w)
{
	for (uint32_t i = 0; i < w->snapshot->n_backends; i++) {
		const struct conf_backend *b = &w->snapshot->backends[i];
		struct probe_schedule *sch = schedule_of(w, b->id);

		if (atomic_load_explicit(&w->shared->backend_suspect[i], memory_order_relaxed) != 0) {
			atomic_store_explicit(&w->shared->backend_suspect[i], 0, memory_order_relaxed);
			sch->next_us = MIN(sch->next_us, w->now_us + SUSPECT_DELAY_US);
		}
		if (w->now_us < sch->next_us || is_probed_now(w, b->id))
			continue;
		start(w, i, relaytest_due(w, segment_backend(w->segment, b->id, false)) || sch->relaytest);
		sch->relaytest = false;
	}
	for (uint32_t i = 0; i < PROBES_AT_ONCE; i++) {
		struct probe *p = &w->probe[i];

		if (p->active && backend_probe_done(&p->probe, w->now_s, w->now_us))
			finish(w, p);
	}
}

void
probes_event(struct worker *w, struct probe *p, uint32_t events)
{
	struct buf_view v;

	if (events & TCP_EV_CONNECTED)
		backend_probe_connected(&p->probe, w->now_us);
	while (tcp_peek(p->end.conn, &v, 1) > 0) {
		uint32_t used = backend_probe_input(&p->probe, &v, w->now_us);

		if (used == 0)
			break;
		tcp_consume(p->end.conn, used);
	}
	if (events & (TCP_EV_EOF | TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_REFUSED | TCP_EV_CLOSED)) {
		drop_conn(p, (events & TCP_EV_EOF) == 0);
		backend_probe_disconnected(&p->probe, w->now_us);
	}
	flush(p);
	if (backend_probe_done(&p->probe, w->now_s, w->now_us))
		finish(w, p);
}

void
probes_request(struct worker *w, uint32_t backend_id, bool relaytest)
{
	for (uint32_t i = 0; i < w->snapshot->n_backends; i++)
		if (w->snapshot->backends[i].id == backend_id) {
			struct probe_schedule *sch = schedule_of(w, backend_id);

			sch->next_us = w->now_us;
			sch->relaytest |= relaytest;
		}
}

uint64_t
probes_deadline_us(const struct worker *w)
{
	uint64_t due = UINT64_MAX;

	for (uint32_t i = 0; i < w->snapshot->n_backends; i++)
		for (uint32_t j = 0; j < CONF_BACKENDS_MAX; j++)
			if (w->schedule[j].id == w->snapshot->backends[i].id && !is_probed_now(w, w->schedule[j].id))
				due = MIN(due, w->schedule[j].next_us);
	for (uint32_t i = 0; i < PROBES_AT_ONCE; i++)
		if (w->probe[i].active)
			due = MIN(due, w->probe[i].probe.deadline_us);
	return due;
}
