/*
 * session_splice.c - a submission listener's session, or a known client's: two connections handing octets to each other.
 *
 * Flow:   accept -> backend_choose() -> tcp_connect() -> PROXY header -> views both ways (relay/splice.h says how many)
 * Touches: nothing but the worker's own state.
 * Keeps:  no octet is looked at or copied; no DNS, greylist or pause (POLICY section 1); the window offered to one side is what the
 *         other can take.
 */
#include "dataplane/worker/worker_impl.h"

#include <string.h>

#include "dataplane/base/bug.h"

static bool
open_next(struct worker *w, struct session *s)
{
	const struct snapshot *snap = w->snapshot;
	uint32_t listener;
	const struct conf_listener *l = worker_listener_of(w, &s->flow, &listener);
	struct backend_state states[CONF_BACKENDS_MAX];
	const struct proxy_addrs addrs = { .src = s->flow.remote,
		.dst = s->told_local,
		.src_port = s->flow.remote_port,
		.dst_port = s->told_local_port };
	const struct splice_limits limits = { .connect_ms = snap->conf->backend_connect_ms };

	if (l == NULL || l->default_pool >= snap->n_pools)
		return false;
	worker_backend_states(w, states);
	for (;;) {
		const int index = backend_choose(&snap->pools[l->default_pool], states, snap->n_backends, s->tried, 0,
			0, (uint32_t)worker_random(w));
		const struct conf_backend *b;
		struct ip_addr local;
		uint16_t mtu;
		int err;

		if (index < 0)
			return false;
		b = &snap->backends[index];
		s->tried |= UINT64_C(1) << index;
		if (net_source_for(w->net, &b->addr, &local, &mtu) != 0) {
			counter_inc(w->counters, CTR_worker_backend_unroutable);
			continue;
		}
		s->backend.conn = tcp_connect(w->tcp, &local, &b->addr, b->port, &s->backend, w->now_us, &err);
		if (s->backend.conn == NULL) {
			counter_inc(w->counters, CTR_worker_backend_no_port);
			continue;
		}
		tcp_keepalive(s->backend.conn);
		if (s->client.conn != NULL)
			tcp_keepalive(s->client.conn);
		memcpy(s->message_backend, b->name, sizeof(s->message_backend));
		splice_init(s->splice, b, &addrs, &limits, w->counters, w->now_us);
		s->spliced[SPLICE_TO_BACKEND] = s->spliced[SPLICE_TO_CLIENT] = 0;
		s->splice_acked[SPLICE_TO_BACKEND] = s->splice_acked[SPLICE_TO_CLIENT] = 0;
		counter_inc(w->counters, CTR_relay_connects);
		return true;
	}
}

/* Frees what is left of both sides. */
static void
end_splice(struct worker *w, struct session *s, const char *why, bool abort_it)
{
	struct end *ends[2] = { &s->client, &s->backend };

	s->end_reason = why;
	for (uint32_t i = 0; i < 2; i++) {
		if (ends[i]->conn == NULL)
			continue;
		if (abort_it)
			tcp_abort(ends[i]->conn);
		else
			tcp_close(ends[i]->conn);
		tcp_conn_set_user(ends[i]->conn, NULL);
		tcp_release(ends[i]->conn);
		ends[i]->conn = NULL;
	}
	s->client_gone = true;
	s->octets = splice_octets_moved(s->splice, SPLICE_TO_BACKEND);
	session_maybe_free(w, s);
}

static void
say_unavailable(struct worker *w, struct session *s)
{
	const struct buf_view v = { .ptr = (const uint8_t *)SPLICE_UNAVAILABLE_REPLY,
		.len_octets = sizeof(SPLICE_UNAVAILABLE_REPLY) - 1 };

	counter_inc(w->counters, CTR_worker_backend_failures);
	if (s->client.conn != NULL)
		tcp_send(s->client.conn, &v);
	end_splice(w, s, "no-backend", false);
}

void
session_splice_begin(struct worker *w, struct session *s)
{
	if (!open_next(w, s)) {
		const struct proxy_addrs none = { 0 };
		const struct conf_backend nobody = { 0 };

		splice_init(s->splice, &nobody, &none, NULL, NULL, w->now_us); /* so that its numbers read zero */
		say_unavailable(w, s);
	}
}

/* The views of one way, as many as both sides allow. */
static void
move_way(struct worker *w, struct session *s, enum splice_way way)
{
	struct end *giver = way == SPLICE_TO_BACKEND ? &s->client : &s->backend;
	struct end *taker = way == SPLICE_TO_BACKEND ? &s->backend : &s->client;
	const bool ended = way == SPLICE_TO_BACKEND ? s->client_eof : s->backend_eof;
	uint32_t moved = 0;
	struct buf_view v;

	if (giver->conn == NULL || taker->conn == NULL)
		return;
	{
		const uint64_t unacked = MIN((uint64_t)tcp_unacked_octets(taker->conn), s->spliced[way]);
		const uint64_t acked = s->spliced[way] - unacked;

		if (acked > s->splice_acked[way]) {
			splice_acked(s->splice, way, (uint32_t)(acked - s->splice_acked[way]), w->now_us);
			s->splice_acked[way] = acked;
		}
	}
	while (tcp_peek(giver->conn, &v, 1) > 0) {
		const uint32_t may = splice_room(s->splice, way, v.len_octets, tcp_send_room(taker->conn));
		uint32_t took;

		if (may == 0)
			break;
		v.len_octets = may;
		took = tcp_send(taker->conn, &v);
		if (took == 0)
			break;
		tcp_consume(giver->conn, took);
		s->spliced[way] += took;
		moved += took;
		splice_moved(s->splice, way, took, false, w->now_us);
	}
	if (ended && tcp_readable_octets(giver->conn) == 0)
		splice_moved(s->splice, way, 0, true, w->now_us);
	tcp_set_rcv_limit(giver->conn, splice_window(s->splice, way));
}

static void
send_header(struct session *s)
{
	uint8_t header[PROXY_HEADER_MAX_OCTETS];
	struct buf_view v = { .ptr = header };

	if (s->backend.conn == NULL || tcp_send_room(s->backend.conn) < sizeof(header))
		return;
	v.len_octets = splice_output(s->splice, header, sizeof(header));
	if (v.len_octets > 0)
		tcp_send(s->backend.conn, &v);
}

static void
run(struct worker *w, struct session *s)
{
	for (uint32_t i = 0; s->live && i < 8; i++) {
		send_header(s);
		move_way(w, s, SPLICE_TO_BACKEND);
		move_way(w, s, SPLICE_TO_CLIENT);
		switch (splice_next(s->splice, w->now_us)) {
		case SPLICE_ACTION_NONE:
			return;
		case SPLICE_ACTION_SHUT_BACKEND:
			if (s->backend.conn != NULL)
				tcp_close(s->backend.conn);
			continue;
		case SPLICE_ACTION_SHUT_CLIENT:
			if (s->client.conn != NULL)
				tcp_close(s->client.conn);
			continue;
		case SPLICE_ACTION_UNAVAILABLE:
			if (s->backend.conn != NULL) {
				tcp_abort(s->backend.conn);
				tcp_conn_set_user(s->backend.conn, NULL);
				tcp_release(s->backend.conn);
				s->backend.conn = NULL;
			}
			s->backend_eof = false;
			if (!open_next(w, s)) {
				say_unavailable(w, s);
				return;
			}
			continue;
		case SPLICE_ACTION_DONE:
			end_splice(w, s, splice_end_name(splice_end(s->splice)), false);
			return;
		case SPLICE_ACTION_ABORT:
			end_splice(w, s, splice_end_name(splice_end(s->splice)), true);
			return;
		}
	}
}

void
session_splice_event(struct worker *w, struct session *s, enum end_kind from, uint32_t events)
{
	const enum splice_way giver_of = from == END_CLIENT ? SPLICE_TO_BACKEND : SPLICE_TO_CLIENT;

	if (from == END_BACKEND && events & TCP_EV_CONNECTED)
		splice_connected(s->splice, w->now_us);
	if (events & TCP_EV_EOF) {
		if (from == END_CLIENT)
			s->client_eof = true;
		else
			s->backend_eof = true;
	}
	if (events & (TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_REFUSED))
		splice_lost(s->splice, giver_of, w->now_us);
	run(w, s);
}

void
session_splice_timer(struct worker *w, struct session *s)
{
	run(w, s);
}

uint64_t
session_splice_deadline_us(const struct session *s)
{
	return splice_deadline_us(s->splice);
}
