/*
 * session_body.c - the short way of a message: what session_pump() comes to for octets of a client in clear that go on to a backend in clear.
 *
 * Flow:   tcp READABLE -> session_body() -> smtp_session_body() -> tcp_send() of the backend's connection
 * Touches: nothing but the worker's own state.
 * Keeps:  octets are taken from the client's connection as they were given to the backend's, by reference; whatever is not so (an action, no
 *         room, octets left over) goes on in session_pump(), which is written to find a session in any state.
 *
 * The timer is armed once for a message and then let stand, as in session_plain.c: silence is counted from each octet anew, by the dialogue and
 * by the relay.
 */
#include "dataplane/worker/worker_impl.h"

#include "dataplane/base/bug.h"

#define VIEWS_AT_ONCE 16 /* as many as a window of 24 KiB has full segments */

/*
 * In DATA nobody else is waited for, the client is there, nothing lingers, and octets behind its FIN there are none: where that came with nothing
 * held, the client was lost. A relay whose command is still to go out (a chunk's, behind a full queue) wants no octets yet; a backend that has said
 * something is heard first.
 */
bool
session_awaits_body(const struct session *s)
{
	const bool awaits = s->wait == SESSION_WAIT_NONE && s->backend.conn != NULL && session_in_clear(s) &&
	                    s->backend_stream == NULL && s->held.len_octets == 0 && smtp_session_awaits_body(s->smtp) &&
	                    relay_wants_body(s->relay->relay) && tcp_readable_octets(s->backend.conn) == 0;

	HOT_BUG_ON(awaits && (s->client.conn == NULL || s->is_submission || s->client_eof || s->linger_due_us != 0));
	HOT_BUG_ON(awaits && !s->message_open);
	return awaits;
}

bool
session_body_send(struct worker *w, struct session *s, const struct buf_view *body, uint32_t n_body, uint32_t *sent)
{
	for (uint32_t i = 0; i < n_body; i++) {
		const uint32_t took = s->backend.conn != NULL ? session_relay_send(w, s, &body[i]) : 0;

		if (took != body[i].len_octets) {
			/* the room was asked for: only an exhausted pool gets us here */
			counter_inc(w->counters, CTR_worker_body_cut);
			session_client_lost(w, s, "no-buffer");
			return false;
		}
		*sent += took;
	}
	return true;
}

/* What is in the client's connection, up to an action or the end of the room. False: the session is lost. */
static bool
carry(struct worker *w, struct session *s, const struct smtp_env *env, enum smtp_action *action)
{
	struct buf_view in[VIEWS_AT_ONCE], body[SMTP_BODY_VIEWS_MAX];
	const uint32_t n = tcp_peek(s->client.conn, in, VIEWS_AT_ONCE);
	uint32_t taken = 0, sent = 0, n_body;

	for (uint32_t i = 0; i < n && *action == SMTP_ACTION_NONE; i++) {
		const uint32_t room = tcp_send_room(s->backend.conn);
		uint32_t used;

		if (room < SMTP_BODY_ROOM_MIN_OCTETS)
			break;
		used = smtp_session_body(s->smtp, env, &in[i], room, body, &n_body, action, w->now_us);
		if (!session_body_send(w, s, body, n_body, &sent))
			return false;
		taken += used;
		if (used < in[i].len_octets)
			break;
	}
	tcp_consume(s->client.conn, taken);
	if (sent > 0)
		relay_body_sent(s->relay->relay, sent, false, w->now_us);
	return true;
}

bool
session_body(struct worker *w, struct session *s, uint32_t events)
{
	enum smtp_action action = SMTP_ACTION_NONE;
	struct smtp_env env_room;
	const struct smtp_env *env;

	if ((events & ~(uint32_t)(TCP_EV_READABLE | TCP_EV_ACKED_ALL)) != 0 || !session_awaits_body(s))
		return false;
	env = session_env(w, s, &env_room);
	if (!carry(w, s, env, &action))
		return true;
	session_act(w, s, action);
	if (s->live && (!session_awaits_body(s) || tcp_readable_octets(s->client.conn) > 0))
		session_pump(w, s);
	else if (s->live && !s->timer_stands)
		session_arm(w, s);
	return true;
}
