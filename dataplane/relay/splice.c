/*
 * splice.c - two connections handing octets to each other.
 *
 * Flow:   worker: octets of one connection -> splice_room() -> the other connection -> splice_moved();  its ACKs ->
 *         splice_acked()
 * Pure:   numbers and time.
 * Keeps:  in_flight of a way never exceeds flight_octets; nothing moves towards the backend before its header; an end
 *         is passed on once and last; after DONE and ABORT nothing moves.
 * Source: POLICY section 1; RFC 9293 section 3.6.
 */
#include "dataplane/relay/splice.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/relay/splice_impl.h"

#define SPLICE_CONNECT_MS 10000 /* POLICY section 6 */

uint32_t
splice_octets(void)
{
	return sizeof(struct splice);
}

const char *
splice_end_name(enum splice_end end)
{
	switch (end) {
	case SPLICE_END_NONE:
		return "open";
	case SPLICE_END_ORDERLY:
		return "closed";
	case SPLICE_END_RESET:
		return "reset";
	case SPLICE_END_IDLE:
		return "idle";
	case SPLICE_END_STALL:
		return "stalled";
	case SPLICE_END_CONNECT:
		return "no-backend";
	}
	return "?";
}

static void
count(const struct splice *s, enum counter which, uint64_t n)
{
	if (s->counters != NULL)
		counter_add(s->counters, which, n);
}

void
splice_init(struct splice *s, const struct conf_backend *backend, const struct proxy_addrs *addrs,
	const struct splice_limits *limits, struct counters *counters, uint64_t now_us)
{
	static const struct splice_limits defaults;
	const struct splice_limits *l = limits != NULL ? limits : &defaults;
	uint8_t head[PROXY_HEADER_MAX_OCTETS];
	uint32_t n = 0;

	switch ((enum conf_client_address)backend->client_address) {
	case CLIENT_ADDRESS_PROXY_V1:
		n = proxy_header_build_v1(addrs, head);
		break;
	case CLIENT_ADDRESS_PROXY_V2:
		n = proxy_header_build_v2(addrs, head);
		break;
	case CLIENT_ADDRESS_NONE:
	case CLIENT_ADDRESS_XCLIENT: /* a splice speaks no SMTP; the configuration check refuses XCLIENT here */
		break;
	}
	BUG_ON(n > SPLICE_HEAD_OCTETS);
	*s = (struct splice){
		.state = SPLICE_ST_CONNECTING,
		.flight_octets = l->flight_octets != 0 ? MIN(l->flight_octets, SPLICE_FLIGHT_MAX_OCTETS)
		                                       : SPLICE_FLIGHT_MAX_OCTETS,
		.idle_us = l->idle_s != 0 ? (uint64_t)l->idle_s * 1000000 : SPLICE_IDLE_US,
		.half_idle_us = l->half_idle_s != 0 ? (uint64_t)l->half_idle_s * 1000000 : SPLICE_HALF_IDLE_US,
		.connect_end_us = now_us + (uint64_t)(l->connect_ms != 0 ? l->connect_ms : SPLICE_CONNECT_MS) * 1000,
		.moved_us = now_us,
		.counters = counters,
		.head_len = (uint16_t)n,
	};
	memcpy(s->head, head, n);
	count(s, CTR_relay_splices, 1);
}

/* Over; each side is told by the next action. */
static void
splice_finish(struct splice *s, enum splice_end end)
{
	if (s->state == SPLICE_ST_DONE)
		return;
	s->state = SPLICE_ST_DONE;
	s->end = (uint8_t)end;
	s->told = false;
	switch (end) {
	case SPLICE_END_NONE:
	case SPLICE_END_ORDERLY:
		break;
	case SPLICE_END_RESET:
		count(s, CTR_relay_splices_reset, 1);
		break;
	case SPLICE_END_IDLE:
	case SPLICE_END_STALL:
		count(s, CTR_relay_splices_timeout, 1);
		break;
	case SPLICE_END_CONNECT:
		count(s, CTR_relay_splices_unavailable, 1);
		break;
	}
}

void
splice_connected(struct splice *s, uint64_t now_us)
{
	if (s->state != SPLICE_ST_CONNECTING)
		return;
	s->state = SPLICE_ST_OPEN;
	s->moved_us = now_us;
}

void
splice_lost(struct splice *s, enum splice_way giver_of, uint64_t now_us)
{
	const bool backend = giver_of == SPLICE_TO_CLIENT;

	(void)now_us;
	if (s->state == SPLICE_ST_DONE)
		return;
	/* The client heard nothing yet: it can be told, or another backend can be tried. */
	if (backend && s->flow[SPLICE_TO_CLIENT].octets == 0 && s->flow[SPLICE_TO_BACKEND].octets == 0)
		splice_finish(s, SPLICE_END_CONNECT);
	else
		splice_finish(s, SPLICE_END_RESET);
}

uint32_t
splice_output(struct splice *s, uint8_t *out, uint32_t n)
{
	if (s->state != SPLICE_ST_OPEN && s->state != SPLICE_ST_HALF)
		return 0;
	n = MIN(n, (uint32_t)s->head_len - s->head_sent);
	memcpy(out, s->head + s->head_sent, n);
	s->head_sent = (uint16_t)(s->head_sent + n);
	return n;
}

uint32_t
splice_window(const struct splice *s, enum splice_way way)
{
	if (s->state == SPLICE_ST_DONE || s->flow[way].ended)
		return 0;
	/* Before the backend stands the client may send what fits: it waits in its own connection. */
	return s->flight_octets - s->flow[way].in_flight;
}

uint32_t
splice_room(const struct splice *s, enum splice_way way, uint32_t available_octets, uint32_t room_octets)
{
	uint32_t n = MIN(available_octets, room_octets);

	if (s->state != SPLICE_ST_OPEN && s->state != SPLICE_ST_HALF)
		return 0;
	if (way == SPLICE_TO_BACKEND && s->head_sent < s->head_len)
		return 0;
	return MIN(n, splice_window(s, way));
}

void
splice_moved(struct splice *s, enum splice_way way, uint32_t octets, bool last, uint64_t now_us)
{
	struct splice_flow *f = &s->flow[way];

	if (s->state != SPLICE_ST_OPEN && s->state != SPLICE_ST_HALF)
		return;
	BUG_ON(octets > s->flight_octets - f->in_flight);
	BUG_ON(f->ended && octets > 0);
	if (octets > 0) {
		if (f->in_flight == 0)
			f->acked_us = now_us;
		f->in_flight += octets;
		f->octets += octets;
		s->moved_us = now_us;
		count(s, way == SPLICE_TO_BACKEND ? CTR_relay_splice_octets_in : CTR_relay_splice_octets_out, octets);
	}
	/* an end does not overtake the header: the backend would take it for a port scan */
	if (!last || f->ended || (way == SPLICE_TO_BACKEND && s->head_sent < s->head_len))
		return;
	f->ended = true;
	s->moved_us = now_us;
	s->state = SPLICE_ST_HALF;
}

void
splice_acked(struct splice *s, enum splice_way way, uint32_t octets, uint64_t now_us)
{
	struct splice_flow *f = &s->flow[way];

	BUG_ON(octets > f->in_flight);
	f->in_flight -= octets;
	if (octets > 0)
		f->acked_us = now_us;
}

/* The next limit and which end it would be. */
static uint64_t
splice_limit_us(const struct splice *s, enum splice_end *end)
{
	uint64_t at_us;

	switch ((enum splice_state)s->state) {
	case SPLICE_ST_CONNECTING:
		*end = SPLICE_END_CONNECT;
		return s->connect_end_us;
	case SPLICE_ST_OPEN:
	case SPLICE_ST_HALF:
		*end = SPLICE_END_IDLE;
		/* After the backend's end nothing more can come of it; after the client's it may still work on a
		 * message. */
		at_us = s->moved_us + (s->flow[SPLICE_TO_CLIENT].ended ? s->half_idle_us : s->idle_us);
		for (int way = 0; way < SPLICE_WAYS; way++) {
			if (s->flow[way].in_flight > 0 && s->flow[way].acked_us + SPLICE_STALL_US < at_us) {
				*end = SPLICE_END_STALL;
				at_us = s->flow[way].acked_us + SPLICE_STALL_US;
			}
		}
		return at_us;
	case SPLICE_ST_DONE:
		break;
	}
	*end = SPLICE_END_NONE;
	return UINT64_MAX;
}

uint64_t
splice_deadline_us(const struct splice *s)
{
	enum splice_end end;

	if (s->state == SPLICE_ST_DONE)
		return s->told ? UINT64_MAX : 0;
	return splice_limit_us(s, &end);
}

static enum splice_action
splice_last_action(struct splice *s)
{
	if (s->told)
		return SPLICE_ACTION_NONE;
	s->told = true;
	switch ((enum splice_end)s->end) {
	case SPLICE_END_ORDERLY:
		return SPLICE_ACTION_DONE;
	case SPLICE_END_CONNECT:
		return SPLICE_ACTION_UNAVAILABLE;
	case SPLICE_END_NONE:
	case SPLICE_END_RESET:
	case SPLICE_END_IDLE:
	case SPLICE_END_STALL:
		break;
	}
	return SPLICE_ACTION_ABORT;
}

enum splice_action
splice_next(struct splice *s, uint64_t now_us)
{
	static const enum splice_action shut[SPLICE_WAYS] = {
		[SPLICE_TO_BACKEND] = SPLICE_ACTION_SHUT_BACKEND,
		[SPLICE_TO_CLIENT] = SPLICE_ACTION_SHUT_CLIENT,
	};
	enum splice_end end;

	if (s->state == SPLICE_ST_DONE)
		return splice_last_action(s);
	for (int way = 0; way < SPLICE_WAYS; way++) {
		if (s->flow[way].ended && !s->flow[way].shut_said) {
			s->flow[way].shut_said = true;
			return shut[way];
		}
	}
	if (s->flow[SPLICE_TO_BACKEND].ended && s->flow[SPLICE_TO_CLIENT].ended) {
		splice_finish(s, SPLICE_END_ORDERLY);
		return splice_last_action(s);
	}
	if (now_us >= splice_limit_us(s, &end)) {
		splice_finish(s, end);
		return splice_last_action(s);
	}
	return SPLICE_ACTION_NONE;
}

enum splice_state
splice_state(const struct splice *s)
{
	return (enum splice_state)s->state;
}

enum splice_end
splice_end(const struct splice *s)
{
	return (enum splice_end)s->end;
}

uint64_t
splice_octets_moved(const struct splice *s, enum splice_way way)
{
	return s->flow[way].octets;
}
