/*
 * relay_end.c - how a relay ends: in order, by failure, by silence; and what that means where it stood.
 *
 * Flow:   relay.c and the stages' replies -> relay_lose() | relay_fail() | relay_end(); relay_next() -> relay_timeout()
 * Pure:   octets and time are arguments; counters are the only thing written outside.
 * Keeps:  every failure is 451 4.3.0 at the client, whatever the backend said in it.
 * Source: POLICY section 5; RFC 1047.
 */
#include "dataplane/relay/relay_parts.h"

#include <string.h>

#include "dataplane/base/bug.h"

#define RELAY_QUIT_US 10000000 /* for the answer to QUIT and the backend's FIN */

void
relay_say(struct relay *r, enum relay_action action)
{
	if (r->action == RELAY_ACTION_NONE)
		r->action = action;
	else
		r->after = action;
}

/* What AUTH said is nobody's business once it went out. */
void
relay_forget_auth(struct relay *r)
{
	explicit_bzero(r->request, r->auth_octets);
	r->auth_octets = 0;
}

static void
relay_close(struct relay *r)
{
	r->stage = RELAY_STAGE_CLOSED;
	r->out_len = r->out_sent = 0;
	r->want_rcpt = r->want_reset = r->want_quit = r->want_auth = false;
	relay_forget_auth(r);
}

/* Over, and nothing is owed but a new connection when one is needed. */
void
relay_end(struct relay *r)
{
	relay_close(r);
	r->n_accepted = 0;
	relay_say(r, RELAY_ACTION_CLOSED);
}

/* Over by a failure that is never the client's: 451 4.3.0, and the backend's words for the log. */
void
relay_fail(struct relay *r)
{
	if (r->action == RELAY_ACTION_NONE)
		r->at = r->stage;
	else
		r->after_at = r->stage;
	r->failed = true;
	if (r->stage == RELAY_STAGE_BODY || r->stage == RELAY_STAGE_AUTH)
		r->must_abort = true;
	relay_close(r);
	relay_say(r, RELAY_ACTION_FAILED);
}

/*
 * The backend is of no more use: closed, silent, or said what cannot be. What that means depends on what was under
 * way. retry: where MAIL on a used connection is under way the cause may lie before it (an idle limit, a cap of
 * messages): opened anew, unseen.
 */
void
relay_lose(struct relay *r, bool retry)
{
	if (r->muted && r->stage != RELAY_STAGE_DOT) {
		/* nobody waits for an answer, but perhaps a new recipient does */
		relay_end(r);
		return;
	}
	switch ((enum relay_stage)r->stage) {
	case RELAY_STAGE_CONNECT:
		relay_count(r, CTR_relay_connect_failed);
		relay_fail(r);
		return;
	case RELAY_STAGE_BANNER:
		relay_count(r, CTR_relay_banner_failed);
		relay_fail(r);
		return;
	case RELAY_STAGE_STARTTLS:
	case RELAY_STAGE_TLS:
		r->tls_failed = true;
		relay_count(r, CTR_tls_backend_failed);
		relay_fail(r);
		return;
	case RELAY_STAGE_EHLO0:
	case RELAY_STAGE_EHLO:
	case RELAY_STAGE_EHLO2:
		relay_count(r, CTR_relay_ehlo_failed);
		relay_fail(r);
		return;
	case RELAY_STAGE_XCLIENT:
	case RELAY_STAGE_AUTH:
	case RELAY_STAGE_DATA:
	case RELAY_STAGE_BODY:
	case RELAY_STAGE_DOT:
		relay_fail(r);
		return;
	case RELAY_STAGE_READY:
		if (r->n_accepted > 0) {
			relay_fail(r);
			return;
		}
		relay_count(r, CTR_relay_closed_idle);
		relay_end(r);
		return;
	case RELAY_STAGE_MAIL:
		if (retry && r->reused) {
			relay_count(r, CTR_relay_closed_idle);
			relay_end(r);
			return;
		}
		relay_fail(r);
		return;
	case RELAY_STAGE_RCPT:
		if (r->mail_refused) { /* the backend's word to MAIL is there; that to RCPT was not wanted */
			r->at = RELAY_STAGE_MAIL;
			r->mail_refused = false;
			relay_say(r, RELAY_ACTION_RCPT_REPLY);
			relay_end(r);
			return;
		}
		relay_fail(r);
		return;
	case RELAY_STAGE_RSET:
		relay_count(r, CTR_relay_closed_idle);
		relay_end(r);
		return;
	case RELAY_STAGE_QUIT:
		relay_end(r);
		return;
	case RELAY_STAGE_CLOSED:
		return;
	}
}

/* Octets that are no reply, or a reply that cannot stand here. */
void
relay_nonsense(struct relay *r)
{
	relay_count(r, CTR_relay_broken_replies);
	relay_lose(r, false);
}

/* When the stage's own time is over; UINT64_MAX: it has none. */
static uint64_t
relay_stage_end_us(const struct relay *r)
{
	switch ((enum relay_stage)r->stage) {
	case RELAY_STAGE_CONNECT:
		return MIN(r->phase_us + r->connect_us, r->setup_end_us);
	case RELAY_STAGE_BANNER:
		return MIN(r->phase_us + r->greeting_us, r->setup_end_us);
	case RELAY_STAGE_EHLO0:
	case RELAY_STAGE_STARTTLS:
	case RELAY_STAGE_TLS:
	case RELAY_STAGE_EHLO:
	case RELAY_STAGE_XCLIENT:
	case RELAY_STAGE_EHLO2:
		return r->setup_end_us;
	case RELAY_STAGE_MAIL:
	case RELAY_STAGE_RCPT:
		return r->request_end_us;
	case RELAY_STAGE_DATA:
	case RELAY_STAGE_RSET:
		return r->phase_us + r->reply_us;
	case RELAY_STAGE_AUTH: /* while a line of the client is under way, the dialogue has the time for it */
		return r->auth_line ? UINT64_MAX : r->phase_us + r->reply_us;
	case RELAY_STAGE_BODY:
		return r->phase_us + r->stall_us;
	case RELAY_STAGE_DOT:
		return r->phase_us + r->dot_us;
	case RELAY_STAGE_QUIT:
		return r->phase_us + RELAY_QUIT_US;
	case RELAY_STAGE_READY:
	case RELAY_STAGE_CLOSED:
		break;
	}
	return UINT64_MAX;
}

uint64_t
relay_deadline_us(const struct relay *r)
{
	const uint64_t end_us = relay_stage_end_us(r);

	if (r->action != RELAY_ACTION_NONE || r->after != RELAY_ACTION_NONE)
		return 0;
	return r->want_rcpt || r->want_auth ? MIN(end_us, r->request_end_us) : end_us;
}

void
relay_timeout(struct relay *r)
{
	static const char *const what[] = {
		[RELAY_STAGE_CONNECT] = "no connection in time",
		[RELAY_STAGE_BANNER] = "no banner in time",
		[RELAY_STAGE_EHLO0] = "no answer to EHLO in time",
		[RELAY_STAGE_STARTTLS] = "no answer to STARTTLS in time",
		[RELAY_STAGE_TLS] = "no TLS handshake in time",
		[RELAY_STAGE_EHLO] = "no answer to EHLO in time",
		[RELAY_STAGE_XCLIENT] = "no answer to XCLIENT in time",
		[RELAY_STAGE_EHLO2] = "no answer to EHLO in time",
		[RELAY_STAGE_READY] = "",
		[RELAY_STAGE_AUTH] = "no answer to AUTH in time",
		[RELAY_STAGE_MAIL] = "no answer to MAIL in time",
		[RELAY_STAGE_RCPT] = "no answer to RCPT in time",
		[RELAY_STAGE_DATA] = "no answer to DATA in time",
		[RELAY_STAGE_BODY] = "takes no octets of the message",
		[RELAY_STAGE_DOT] = "no answer to the message in time",
		[RELAY_STAGE_RSET] = "no answer to RSET in time",
		[RELAY_STAGE_QUIT] = "no answer to QUIT in time",
		[RELAY_STAGE_CLOSED] = "",
	};
	const bool waited = r->want_rcpt;

	relay_words_set(r, what[r->stage]);
	if (r->stage != RELAY_STAGE_QUIT)
		relay_count(r, CTR_relay_timeouts);
	if (r->stage == RELAY_STAGE_RSET && waited) {
		relay_fail(r); /* the recipient has waited: not once more with the same backend */
		return;
	}
	relay_lose(r, false);
}
