/*
 * wlog.c - what happened, as fields on the event ring; control makes lines of them and writes the log.
 *
 * Flow:   session -> wlog_rcpt(), wlog_message(), wlog_session() -> event ring -> control/log
 * Touches: the event ring.
 * Keeps:  a full ring loses the line and counts it, never slows a session; lines of greylisted strangers are capped a second, the rest
 *         counted in one summary line, and so are those of SYNs refused by their address, which cost their sender nothing; no address of ours or theirs carries a secret.
 * Source: POLICY section 8.
 */
#include "dataplane/worker/worker_impl.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/link/log_record.h"

#define WLOG_SYNS_PER_S 20 /* of a worker */

static struct link_event_log *
begin(struct worker *w, enum link_log_kind kind)
{
	struct link_event_log *e = ring_reserve(w->event);

	if (e == NULL) {
		counter_inc(w->counters, CTR_worker_log_full);
		return NULL;
	}
	log_record_start(e, kind, w->now_s);
	e->head.worker = (uint16_t)w->conf.index;
	e->head.dataplane_incarnation = w->segment->incarnation;
	e->head.control_incarnation = w->segment->live->incarnation[SEGMENT_CONTROL];
	return e;
}

static void
text(struct link_event_log *e, enum link_log_field field, const char *value)
{
	if (value[0] != '\0')
		log_record_put_text(e, field, value);
}

static void
address(struct link_event_log *e, enum link_log_field field, const struct ip_addr *a)
{
	char out[IP_ADDR_TEXT_MAX_OCTETS];

	text(e, field, ip_addr_format(a, out));
}

static const char *
mode_name(uint8_t mode)
{
	return mode == MODE_OBSERVE ? "observe" : mode == MODE_SOFT ? "soft" : "enforce";
}

/* Passes, rejects and failures are never dropped for rate: only deferrals by the greylist count against the cap. */
static bool
grey_line_allowed(struct worker *w, const struct policy_answer *a)
{
	if (a->rule != RULE_GREYLIST || a->verdict != VERDICT_DEFER)
		return true;
	if (w->grey_second != w->now_s) {
		wlog_flush(w);
		w->grey_second = w->now_s;
		w->grey_lines = 0;
	}
	if (w->grey_lines++ < w->snapshot->conf->log_grey_per_s / w->shared->n_workers + 1)
		return true;
	w->grey_dropped++;
	counter_inc(w->counters, CTR_worker_log_grey_capped);
	return false;
}

/*
 * Whether "relaying denied" has its line. Each costs its sender 30 octets and nobody else anything, so one session could write the log full:
 * the first few are written, the rest are counted in the session's line. Not a cap by rate: none of another session's is lost by it.
 */
static bool
relay_line_allowed(struct worker *w, struct session *s)
{
	if (s->answer.rule != RULE_RELAY)
		return true;
	if (s->relay_denied < UINT32_MAX)
		s->relay_denied++;
	if (s->relay_denied <= RELAY_DENIED_LINES_MAX)
		return true;
	counter_inc(w->counters, CTR_worker_log_relay_folded);
	return false;
}

void
wlog_rcpt(struct worker *w, struct session *s, const struct smtp_reply *r)
{
	const struct policy_answer *a = &s->answer;
	const struct smtp_envelope *env = smtp_session_envelope(s->smtp);
	struct link_event_log *e;
	char words[256], ref[9], tls[128];

	if (!relay_line_allowed(w, s) || !grey_line_allowed(w, a) || (e = begin(w, LINK_LOG_RCPT)) == NULL)
		return;
	e->verdict = (uint8_t)(r->code / 100 == 2 ? VERDICT_PASS : r->code / 100 == 4 ? VERDICT_DEFER : VERDICT_REJECT);
	e->rule = (uint8_t)a->rule;
	e->ref = a->ref;
	e->client = s->flow.remote;
	if (a->ref != 0)
		text(e, LOG_ref, policy_ref_format(a->ref, ref));
	text(e, LOG_listener, s->listener_name);
	address(e, LOG_client, &s->flow.remote);
	text(e, LOG_ptr, s->ptr_name);
	text(e, LOG_ptr_state, policy_ptr_name((enum ptr_state)s->verdict.ptr_state));
	text(e, LOG_helo, smtp_session_helo(s->smtp));
	text(e, LOG_tls, session_tls_word(s, tls, sizeof(tls)));
	log_record_put(e, LOG_from, env->from.text, env->from.len_octets);
	log_record_put(e, LOG_rcpt, env->rcpt.text, env->rcpt.len_octets);
	text(e, LOG_verdict, policy_verdict_name(a->verdict));
	log_record_put_number(e, LOG_rule, a->rule);
	text(e, LOG_reason, a->reason != NULL ? a->reason : "");
	log_record_put_number(e, LOG_score, a->score);
	text(e, LOG_mode, mode_name(w->snapshot->conf->mode));
	text(e, LOG_would, policy_verdict_name(a->would));
	if (a->wait_s != 0)
		log_record_put_number(e, LOG_left_s, a->wait_s);
	if (a->waited_s != 0)
		log_record_put_number(e, LOG_waited_s, a->waited_s);
	text(e, LOG_backend, s->relay != NULL ? s->relay->conf.name : s->lost_backend);
	text(e, LOG_reply, smtp_reply_words(r, words, sizeof(words)));
	if (s->relay != NULL && relay_words(s->relay->relay)[0] != '\0')
		text(e, LOG_backend_reply, relay_words(s->relay->relay));
	else if (s->relay == NULL && r->code / 100 == 4)
		text(e, LOG_backend_reply, s->backend_words);
	log_record_put_number(e, LOG_dns_ms, s->dns_ms);
	ring_publish(w->event);
}

void
wlog_message(struct worker *w, struct session *s, const char *words, const char *result, const char *stage)
{
	struct link_event_log *e = begin(w, LINK_LOG_MESSAGE);
	char ref[9];

	if (e == NULL)
		return;
	e->ref = s->message_ref;
	e->client = s->flow.remote;
	if (s->message_ref != 0)
		text(e, LOG_ref, policy_ref_format(s->message_ref, ref));
	text(e, LOG_listener, s->listener_name);
	address(e, LOG_client, &s->flow.remote);
	log_record_put(e, LOG_from, s->message_from, (uint32_t)strlen(s->message_from));
	log_record_put_number(e, LOG_rcpts, s->rcpts_accepted);
	log_record_put_number(e, LOG_octets, (int64_t)smtp_session_message_octets(s->smtp));
	text(e, LOG_backend, s->message_backend);
	text(e, LOG_backend_reply, words);
	text(e, LOG_result, result);
	text(e, LOG_stage, stage);
	ring_publish(w->event);
}

void
wlog_session(struct worker *w, struct session *s)
{
	struct link_event_log *e = begin(w, LINK_LOG_SESSION);
	char tls[128];

	if (e == NULL)
		return;
	e->client = s->flow.remote;
	text(e, LOG_listener, s->listener_name);
	address(e, LOG_client, &s->flow.remote);
	log_record_put_number(e, LOG_duration_s, (int64_t)((w->now_us - s->accepted_us) / 1000000));
	log_record_put_number(e, LOG_msgs, s->is_submission || !s->begun ? 0 : smtp_session_messages(s->smtp));
	log_record_put_number(e, LOG_octets, (int64_t)s->octets);
	if ((s->stream != NULL && s->stream->is_tls) || s->tls_hide == TLS_HIDE_YES)
		text(e, LOG_tls, session_tls_word(s, tls, sizeof(tls)));
	if (s->is_submission)
		text(e, LOG_backend, s->message_backend);
	if (s->relay_denied != 0)
		log_record_put_number(e, LOG_relay_denied, s->relay_denied);
	text(e, LOG_end, s->end_reason);
	ring_publish(w->event);
}

void
wlog_notice(struct worker *w, const char *words)
{
	struct link_event_log *e = begin(w, LINK_LOG_NOTICE);

	if (e == NULL)
		return;
	text(e, LOG_text, words);
	ring_publish(w->event);
}

void
wlog_tls_hidden(struct worker *w, const struct session *s, bool would)
{
	struct link_event_log *e = begin(w, LINK_LOG_NOTICE);

	if (e == NULL)
		return;
	e->client = s->flow.remote;
	text(e, LOG_text,
		would ? "STARTTLS would be hidden from this address: two handshakes failed"
		      : "STARTTLS is hidden from this address: two handshakes failed");
	text(e, LOG_listener, s->listener_name);
	address(e, LOG_client, &s->flow.remote);
	text(e, LOG_mode, mode_name(w->snapshot->conf->mode));
	log_record_put_number(e, LOG_left_s, HANDSHAKE_HIDE_S);
	ring_publish(w->event);
}

void
wlog_refused(struct worker *w, const struct ip_addr *client, const char *why, uint32_t n)
{
	struct link_event_log *e = begin(w, LINK_LOG_NOTICE);

	if (e == NULL)
		return;
	text(e, LOG_text, "connections refused by limits");
	address(e, LOG_client, client);
	text(e, LOG_reason, why);
	log_record_put_number(e, LOG_count, n);
	ring_publish(w->event);
}

bool
wlog_syn_allowed(struct worker *w)
{
	if (w->syn_second != w->now_s) {
		wlog_flush(w);
		w->syn_second = w->now_s;
		w->syn_lines = 0;
	}
	if (w->syn_lines < WLOG_SYNS_PER_S) {
		w->syn_lines++;
		return true;
	}
	w->syn_dropped++;
	counter_inc(w->counters, CTR_worker_log_syn_capped);
	return false;
}

void
wlog_syn_refused(struct worker *w, const char *listener, const struct ip_addr *client, const struct policy_answer *a)
{
	struct link_event_log *e = begin(w, LINK_LOG_NOTICE);

	if (e == NULL)
		return;
	e->client = *client;
	text(e, LOG_text, "connection refused at its SYN");
	text(e, LOG_listener, listener);
	address(e, LOG_client, client);
	log_record_put_number(e, LOG_rule, a->rule);
	text(e, LOG_reason, a->reason != NULL ? a->reason : "");
	log_record_put_number(e, LOG_score, a->score);
	ring_publish(w->event);
}

static void
summary(struct worker *w, uint32_t *dropped, const char *words)
{
	struct link_event_log *e = begin(w, LINK_LOG_NOTICE);

	if (e == NULL)
		return;
	text(e, LOG_text, words);
	log_record_put_number(e, LOG_count, *dropped);
	*dropped = 0;
	ring_publish(w->event);
}

/* The summary lines of the second that ended. */
void
wlog_flush(struct worker *w)
{
	if (w->grey_dropped != 0 && w->grey_second != w->now_s)
		summary(w, &w->grey_dropped, "greylisted recipients without a line of their own");
	if (w->syn_dropped != 0 && w->syn_second != w->now_s)
		summary(w, &w->syn_dropped, "connections refused at their SYN without a line of their own");
}

void
wlog_name(struct worker *w, const struct policy_answer *a, const char *from, uint32_t from_octets, const char *rcpt,
	uint32_t rcpt_octets)
{
	/* not read back from memory that others write to */
	const uint16_t sender_len = (uint16_t)MIN(from_octets, (uint32_t)LINK_NAME_PART_MAX_OCTETS),
		       rcpt_len = (uint16_t)MIN(rcpt_octets, (uint32_t)LINK_NAME_PART_MAX_OCTETS);
	struct link_event_name *e = ring_reserve(w->event);

	if (e == NULL) {
		counter_inc(w->counters, CTR_worker_names_lost);
		return;
	}
	/* field by field: clearing the room of the texts would cost more lines of memory than they take */
	e->head = (struct link_head){ .type = LINK_EVENT_NAME,
		.len_octets = sizeof(*e),
		.worker = (uint16_t)w->conf.index,
		.dataplane_incarnation = w->segment->incarnation,
		.control_incarnation = w->segment->live->incarnation[SEGMENT_CONTROL] };
	e->tag = a->tag;
	e->kind = VT_TRIPLET;
	e->reserved = 0;
	e->sender_len = sender_len;
	e->rcpt_len = rcpt_len;
	e->reserved2 = 0;
	e->network = a->network;
	memcpy(e->text, from, sender_len);
	memcpy(e->text + sender_len, rcpt, rcpt_len);
	ring_publish(w->event);
}
