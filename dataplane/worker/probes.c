/*
 * probes.c - worker 0 asks every backend what it is, over its own TCP, and by TLS where sessions with it are under TLS.
 *
 * Flow:   schedule -> backend_probe_start() -> tcp_connect() -> [stream] -> backend_probe -> struct backend_state in the segment -> all workers
 * Touches: backend states in the segment (their one writer while the data plane runs; drained alone is control's).
 * Keeps:  certificates are asked for (cert check) as control says, and nothing of a state follows from them; else:
 *         at start, every 30 s, after each failure; the relay test at start and daily (POLICY section 1); at most PROBES_AT_ONCE at a time.
 */
#include "dataplane/worker/worker_impl.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define PROBES_EACH_US 1000 /* nothing about probes is so urgent that each turn should ask */
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
		if (w->probe[i].active && w->probe[i].probe.conf.id == id &&
			w->probe[i].probe.way != BACKEND_PROBE_KEYS)
			return true;
	return false;
}

static void
drop_conn(struct probe *p, bool abort_it)
{
	if (p->stream != NULL)
		p->stream->ops->destroy(p->stream);
	p->stream = NULL;
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

static bool
can_tls(const struct worker *w, const struct conf_backend *b)
{
	return b->tls != BACKEND_TLS_NEVER && w->conf.tls != NULL && tls_context_has_backend(w->conf.tls, b->id) &&
	       tls_context_has_memory(w->conf.tls);
}

/* Begins p, which is not active. False: it is not possible now. */
static bool
begin(struct worker *w, struct probe *p, uint32_t index, bool relaytest, enum backend_probe_way way)
{
	const struct conf_backend *b = &w->snapshot->backends[index];
	const struct backend_state *shared = segment_backend(w->segment, b->id, true);
	struct backend_state before = { 0 };
	struct ip_addr local;
	uint16_t mtu;
	int err;

	if (shared != NULL)
		backend_state_load(&before, shared);
	if (way != BACKEND_PROBE_KEYS)
		schedule_of(w, b->id)->next_us = w->now_us + PROBE_RETRY_US;
	if (net_source_for(w->net, &b->addr, &local, &mtu) != 0) {
		counter_inc(w->counters, CTR_worker_backend_unroutable);
		return false;
	}
	p->end.conn = tcp_connect(w->tcp, &local, &b->addr, b->port, &p->end, w->now_us, &err);
	if (p->end.conn == NULL) {
		counter_inc(w->counters, CTR_worker_backend_no_port);
		return false;
	}
	p->active = true;
	backend_probe_start(&p->probe, index, b, w->snapshot->conf->hostname, &local, relaytest,
		(uint32_t)worker_random(w), &before, w->now_us);
	p->probe.counters = w->counters;
	p->probe.way = (uint8_t)way;
	p->probe.tls_possible =
		way == BACKEND_PROBE_KEYS ? w->conf.tls != NULL && tls_context_has_memory(w->conf.tls) : can_tls(w, b);
	return true;
}

/* Its index in the snapshot in force; -1: it is not configured any more. */
static int
index_of(const struct worker *w, uint32_t id)
{
	for (uint32_t i = 0; i < w->snapshot->n_backends; i++)
		if (w->snapshot->backends[i].id == id)
			return (int)i;
	return -1;
}

static void
start(struct worker *w, uint32_t index, bool relaytest)
{
	for (uint32_t i = 0; i < PROBES_AT_ONCE; i++)
		if (!w->probe[i].active) {
			(void)begin(w, &w->probe[i], index, relaytest, BACKEND_PROBE_AS_CONFIGURED);
			return;
		}
}

/* ---- certificates, for cert check: a question of control's, and what was shown ---- */

static void
keys_tell(struct worker *w, struct link_event_keys *e, const char *words)
{
	struct link_event_keys *slot = ring_reserve(w->event);

	e->head = (struct link_head){ .type = LINK_EVENT_KEYS,
		.len_octets = sizeof(*e),
		.worker = (uint16_t)w->conf.index,
		.dataplane_incarnation = w->segment->incarnation,
		.control_incarnation = w->segment->live->incarnation[SEGMENT_CONTROL] };
	if (e->result != LINK_KEYS_SHOWN)
		snprintf(e->shown.why, sizeof(e->shown.why), "%s", words);
	if (slot == NULL) {
		counter_inc(w->counters, CTR_worker_keys_lost);
		return;
	}
	memcpy(slot, e, sizeof(*e));
	ring_publish(w->event);
}

static void
keys_found(struct worker *w, struct probe *p)
{
	if (p->found.result != LINK_KEYS_SHOWN)
		p->found.result = p->probe.tls_failed    ? LINK_KEYS_TLS_FAILED
		                  : p->probe.no_starttls ? LINK_KEYS_NO_STARTTLS
		                                         : LINK_KEYS_UNREACHABLE;
	keys_tell(w, &p->found, p->probe.found.words);
}

/* False: no probe is free for it now. */
static bool
keys_start(struct worker *w, const struct link_answer_keys *q)
{
	const int index = index_of(w, q->backend_id);
	struct link_event_keys none = { .question = q->question, .result = LINK_KEYS_UNREACHABLE };

	for (uint32_t i = 0; index >= 0 && i < PROBES_AT_ONCE; i++) {
		struct probe *p = &w->probe[i];

		if (p->active)
			continue;
		if (!begin(w, p, (uint32_t)index, false, BACKEND_PROBE_KEYS))
			break;
		p->asked = *q;
		p->found = (struct link_event_keys){ .question = q->question, .result = LINK_KEYS_RESULT_N };
		memcpy(p->found.shown.label, p->probe.conf.name, sizeof(p->probe.conf.name));
		return true;
	}
	for (uint32_t i = 0; index >= 0 && i < PROBES_AT_ONCE; i++)
		if (!w->probe[i].active) { /* so it was not for want of one */
			keys_tell(w, &none, "no connection can be opened: no route, or no port");
			return true;
		}
	if (index >= 0)
		return false;
	keys_tell(w, &none, "it is not configured");
	return true;
}

void
probes_keys(struct worker *w, const struct link_answer_keys *q)
{
	struct link_event_keys busy = { .question = q->question, .result = LINK_KEYS_UNREACHABLE };

	if (w->n_keys_waiting == KEYS_WAITING_MAX) {
		keys_tell(w, &busy, "too many questions at once");
		return;
	}
	w->keys_waiting[w->n_keys_waiting++] = *q;
}

static void
keys_run(struct worker *w)
{
	while (w->n_keys_waiting > 0 && keys_start(w, &w->keys_waiting[0])) {
		w->n_keys_waiting--;
		memmove(&w->keys_waiting[0], &w->keys_waiting[1], w->n_keys_waiting * sizeof(w->keys_waiting[0]));
	}
}

static void
finish(struct worker *w, struct probe *p)
{
	const int index = index_of(w, p->probe.conf.id);

	if (p->stream != NULL && p->end.conn != NULL && p->probe.ok) {
		p->stream->ops->shutdown(p->stream);
		conn_stream_send(p->end.conn, p->stream, (struct buf_view){ 0 }, w->now_us); /* close_notify */
	}
	drop_conn(p, !p->probe.ok);
	p->active = false;
	if (p->probe.way == BACKEND_PROBE_KEYS) {
		keys_found(w, p);
		return;
	}
	/* as a session with it would: once more in plain text, where the configuration allows */
	if (index >= 0 && backend_probe_may_go_plain(&p->probe) &&
		begin(w, p, (uint32_t)index, p->probe.relaytest, BACKEND_PROBE_PLAIN))
		return;
	store(w, &p->probe);
}

static void
flush(struct worker *w, struct probe *p)
{
	uint8_t piece[1024];
	struct buf_view v = { .ptr = piece };

	if (p->end.conn != NULL && p->stream != NULL)
		conn_stream_send(p->end.conn, p->stream, (struct buf_view){ 0 }, w->now_us);
	while (p->end.conn != NULL && (p->stream == NULL || !p->stream->handshaking)) {
		if (tcp_send_room(p->end.conn) < (p->stream != NULL ? 2 * CONN_STREAM_ROOM_OCTETS : sizeof(piece)))
			return;
		v.ptr = piece;
		v.len_octets = backend_probe_output(&p->probe, piece, sizeof(piece));
		if (v.len_octets == 0 || (p->stream != NULL ? conn_stream_send(p->end.conn, p->stream, v, w->now_us)
							    : tcp_send(p->end.conn, &v)) != v.len_octets)
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
	if (w->now_us < w->probes_due_us)
		return;
	w->probes_due_us = w->now_us + PROBES_EACH_US;
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
	keys_run(w);
	for (uint32_t i = 0; i < PROBES_AT_ONCE; i++) {
		struct probe *p = &w->probe[i];

		if (p->active && p->stream != NULL && w->now_us >= p->stream->ops->deadline_us(p->stream))
			probes_event(w, p, 0); /* there was no buffer */
		if (p->active && backend_probe_done(&p->probe, w->now_s, w->now_us))
			finish(w, p);
	}
}

void
probes_fini(struct worker *w)
{
	for (uint32_t i = 0; i < PROBES_AT_ONCE; i++)
		if (w->probe[i].stream != NULL)
			w->probe[i].stream->ops->destroy(w->probe[i].stream);
}

/*
 * The backend said 220 to STARTTLS. Its steps are not queued with those of sessions: there are at most PROBES_AT_ONCE under way, one for a backend in half a
 * minute unless an operator asks, nobody outside begins one, and of a handshake it is the client's part (some 0.2 ms, a verification with it).
 * And what a probe finds decides whether a backend is in service: behind a flood of clients' handshakes it would time out, and take a
 * backend out of service that is well.
 */
static void
start_tls(struct worker *w, struct probe *p)
{
	struct buf_view v;

	if (tcp_peek(p->end.conn, &v, 1) > 0) {
		backend_probe_tls_failed(&p->probe, "octets behind the answer to STARTTLS");
		return;
	}
	p->stream = p->probe.way == BACKEND_PROBE_KEYS
	                    ? stream_tls_asker(w->conf.tls, w->io->pool, p->asked.name, (uint8_t)p->asked.key_type)
	                    : stream_tls_client(w->conf.tls, w->io->pool, p->probe.conf.id);
	if (p->stream == NULL)
		backend_probe_tls_failed(&p->probe, "no memory for TLS");
}

/* One step through TLS; true when it may go on. */
static bool
feed_by_tls(struct worker *w, struct probe *p)
{
	struct stream *tls = p->stream;
	const bool was_handshaking = tls->handshaking;
	struct buf_view wire = { 0 }, plain = { 0 };
	uint32_t used;

	tcp_peek(p->end.conn, &wire, 1);
	used = stream_unwrap(tls, &wire, &plain, w->now_us);
	if (used > 0)
		tcp_consume(p->end.conn, used);
	if (was_handshaking && !tls->handshaking && !tls->failed) {
		if (p->probe.way == BACKEND_PROBE_KEYS && stream_tls_peer(tls, &p->found.shown))
			p->found.result = LINK_KEYS_SHOWN;
		backend_probe_tls_started(&p->probe, w->now_us);
	}
	if (plain.len_octets > 0)
		backend_probe_input(&p->probe, &plain, w->now_us);
	if (tls->failed || tls->peer_eof) {
		char words[80];

		if (was_handshaking && stream_tls_failure(tls) == STREAM_TLS_UNVERIFIED)
			counter_inc(w->counters, CTR_tls_backend_unverified);
		snprintf(words, sizeof(words), "TLS with it fails: %s",
			tls->peer_eof ? "closed by close_notify" : stream_tls_failure_word(stream_tls_failure(tls)));
		conn_stream_send(p->end.conn, tls, (struct buf_view){ 0 }, w->now_us); /* the alert */
		backend_probe_tls_failed(&p->probe, words);
		drop_conn(p, false);
		backend_probe_disconnected(&p->probe, w->now_us);
		return false;
	}
	return used > 0 || plain.len_octets > 0;
}

static void
feed(struct worker *w, struct probe *p)
{
	struct buf_view v;

	while (p->end.conn != NULL && p->stream == NULL && tcp_peek(p->end.conn, &v, 1) > 0) {
		uint32_t used = backend_probe_input(&p->probe, &v, w->now_us);

		if (used == 0)
			break;
		tcp_consume(p->end.conn, used);
		if (backend_probe_wants_tls(&p->probe))
			start_tls(w, p);
	}
	for (uint32_t i = 0; i < SESSION_PUMP_MAX && p->end.conn != NULL && p->stream != NULL && feed_by_tls(w, p); i++)
		flush(w, p);
}

void
probes_event(struct worker *w, struct probe *p, uint32_t events)
{
	if (events & TCP_EV_CONNECTED)
		backend_probe_connected(&p->probe, w->now_us);
	feed(w, p);
	if (events & (TCP_EV_EOF | TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_REFUSED | TCP_EV_CLOSED)) {
		drop_conn(p, (events & TCP_EV_EOF) == 0);
		backend_probe_disconnected(&p->probe, w->now_us);
	}
	flush(w, p);
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
			w->probes_due_us = 0;
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
		if (w->probe[i].active) {
			const struct stream *tls = w->probe[i].stream;

			due = MIN(due, w->probe[i].probe.deadline_us);
			due = tls != NULL ? MIN(due, tls->ops->deadline_us(tls)) : due;
		}
	return due != UINT64_MAX ? MAX(due, w->probes_due_us) : due;
}
