/*
 * session_plain.c - the short way: what session_pump() comes to for a session in clear and without a backend, whose client sent a command.
 *
 * Flow:   tcp READABLE -> session_plain() -> smtp_session_commands() -> session_act() -> session_plain_settle() -> tcp_send()
 * Touches: nothing but the worker's own state.
 * Keeps:  whatever is not so after the step (a backend, octets left over, an answer of ours, no room) goes on in session_pump(), which is
 *         written to find a session in any state: this file may do less than it, never something else.
 *
 * The timer of such a session is armed once and then let stand: with each command its deadline moves away, so it never fires too late; when
 * it fires too early, session_timer() finds nothing due and arms it anew.
 */
#include "dataplane/worker/worker_impl.h"

#include "dataplane/base/bug.h"

#define ENDS (TCP_EV_EOF | TCP_EV_RESET | TCP_EV_TIMEOUT | TCP_EV_CLOSED)

/* What is not used of in stays here by a reference, as session_pump() has it; in is gone from the connection. */
static void
take(struct worker *w, struct session *s, const struct buf_view *in, uint32_t used)
{
	if (used < in->len_octets) {
		buf_ref(w->io->pool, in->buf);
		s->held = (struct buf_view){ in->ptr + used, in->len_octets - used, in->buf };
	}
	tcp_consume(s->client.conn, in->len_octets);
}

void
session_plain_settle(struct worker *w, struct session *s)
{
	session_flush_client(w, s);
	if (!s->live)
		return;
	if (s->client.conn == NULL || s->poke || s->held.len_octets > 0 || s->relay != NULL ||
		smtp_session_output_pending(s->smtp) > 0 || tcp_readable_octets(s->client.conn) > 0)
		session_pump(w, s);
	else if (!s->timer_stands || s->wait != SESSION_WAIT_NONE || !smtp_session_awaits_command(s->smtp))
		session_arm(w, s);
}

bool
session_plain(struct worker *w, struct session *s, uint32_t events)
{
	struct buf_view in;
	enum smtp_action action;
	struct smtp_env env_room;
	const struct smtp_env *env;
	uint32_t used;

	if ((events & ENDS) != 0 || !session_is_plain(s) || !smtp_session_awaits_command(s->smtp) ||
		smtp_session_output_pending(s->smtp) > 0 || tcp_peek(s->client.conn, &in, 1) == 0)
		return false;
	env = session_env(w, s, &env_room);
	used = smtp_session_commands(s->smtp, env, &in, &action, w->now_us);
	take(w, s, &in, used);
	session_act(w, s, action);
	if (s->live && s->wait != SESSION_WAIT_TURN) /* else it goes on when it was judged */
		session_plain_settle(w, s);
	return true;
}
