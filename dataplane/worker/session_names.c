/*
 * session_names.c - what lists of names say of a HELO name and a sender's domain: asked when a recipient's verdict depends on it.
 *
 * Flow:   session_rcpt(): policy waits -> session_names_ask() -> event ring -> control -> answer ring -> session_names_answer()
 * Touches: the event ring.
 * Keeps:  who is known to be good is never asked about, since policy never waits for it; what a session is held for DNS is
 *         dns.deadline_ms in all, whatever is asked when: names come after accept, so their time is what is left of that.
 * Source: POLICY section 4.
 */
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/dnsbl.h"
#include "dataplane/policy/triplet.h"
#include "dataplane/worker/worker_impl.h"

/* A new transaction: its names are others. */
void
session_names_begin(struct session *s)
{
	s->transaction++;
	s->names = NAME_VERDICT_NONE;
}

/* The names lists are asked about, of the kinds there are lists for. */
static void
names_of(const struct worker *w, const struct session *s, struct link_event_names *e)
{
	const struct conf *conf = w->snapshot->conf;
	char canonical[TRIPLET_PATH_MAX_OCTETS + 1], name[DNSBL_NAME_MAX_OCTETS + 1];
	const char *helo = smtp_session_helo(s->smtp), *domain;

	if (conf->helo_weight_max > 0)
		e->helo_len = (uint16_t)dnsbl_domain_askable(helo, strlen(helo), name);
	memcpy(e->text, name, e->helo_len);
	if (conf->sender_weight_max > 0) {
		triplet_canonical(smtp_session_envelope(s->smtp)->from.text, canonical);
		domain = triplet_domain(canonical);
		e->sender_len = (uint16_t)dnsbl_domain_askable(domain, strlen(domain), name);
	}
	memcpy(e->text + e->helo_len, name, e->sender_len);
}

void
session_names_ask(struct worker *w, struct session *s)
{
	const uint64_t deadline_us = w->snapshot->conf->dns_deadline_ms * UINT64_C(1000);
	struct link_event_names e = { 0 }, *to;

	if (s->names.known != CLIENT_UNASKED)
		return;
	names_of(w, s, &e);
	if (e.helo_len == 0 && e.sender_len == 0) {
		s->names.known = CLIENT_KNOWN; /* nothing a list could know */
		return;
	}
	to = s->held_us < deadline_us ? ring_reserve(w->event) : NULL;
	if (to == NULL) {
		counter_inc(w->counters, CTR_worker_questions_refused);
		s->names.known = CLIENT_LATE;
		return;
	}
	e.head = (struct link_head){ .type = LINK_EVENT_NAMES,
		.len_octets = sizeof(e),
		.worker = (uint16_t)w->conf.index,
		.dataplane_incarnation = w->segment->incarnation,
		.control_incarnation = w->segment->live->incarnation[SEGMENT_CONTROL] };
	e.session = s->number;
	e.transaction = s->transaction;
	e.client = s->flow.remote;
	e.deadline_ms = (uint32_t)((deadline_us - s->held_us) / 1000);
	memcpy(to, &e, sizeof(e));
	ring_publish(w->event);
	counter_inc(w->counters, CTR_worker_name_questions);
	s->names.known = CLIENT_ASKED;
	s->names_due_us = w->now_us + deadline_us - s->held_us;
}

void
session_names_answer(struct worker *w, const struct link_answer_names *a)
{
	struct session *s = session_of_answer(w, a->session);

	if (s == NULL)
		return;
	if (s->transaction != a->transaction) {
		counter_inc(w->counters, CTR_worker_answer_stale);
		session_idle(w, s);
		return;
	}
	s->names = a->names;
	if (s->names.known != CLIENT_LATE)
		s->names.known = CLIENT_KNOWN;
	if (s->wait == SESSION_WAIT_VERDICT) { /* else late: it counts at the next recipient */
		session_rcpt(w, s);
		if (s->live)
			session_pump(w, s);
	}
	if (s->live)
		session_idle(w, s);
}
