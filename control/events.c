/*
 * events.c - the rings: questions about clients, names, log lines; and answers.
 *
 * Flow:   event ring -> events_turn() -> resolver, store, log, report;  resolver -> answer ring and table
 * Touches: the segment's rings (copied, checked, then used), the table through policy.
 * Keeps:  a record of another life of the data plane is dropped and counted, but for log lines and names, which are true all the same;
 *         a full answer ring costs that answer (the session decides without), never a wait.
 */
#include "control/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/cert_check.h"
#include "dataplane/base/bug.h"
#include "dataplane/link/log_record.h"
#include "dataplane/policy/autoallow.h"

#define EVENTS_TURN_MAX 256 /* of one ring in one turn */

/* A bad verdict counts no longer than DNS says, and a failed question is asked again soon. */
#define CLIENT_BAD_MIN_S 300
#define CLIENT_RETRY_S   60

struct asked {
	struct control *c;
	uint16_t worker;
	uint32_t dataplane_incarnation;
	uint64_t session;
};

static struct link_head
answer_head(const struct asked *a, enum link_answer_type type, size_t octets)
{
	return (struct link_head){ .type = (uint16_t)type,
		.len_octets = (uint16_t)octets,
		.worker = a->worker,
		.dataplane_incarnation = a->dataplane_incarnation,
		.control_incarnation = a->c->segment.incarnation };
}

/* To the worker that asked, if somebody waits there and its ring has room. */
static void
answer_send(const struct asked *a, const void *record, size_t octets)
{
	struct control *c = a->c;
	void *slot;

	if (!c->attached || a->session == 0 || a->worker >= c->segment.n_workers ||
		c->segment.answer[a->worker].shared == NULL)
		return;
	slot = ring_reserve(&c->segment.answer[a->worker]);
	if (slot == NULL) {
		c->counts.answers_full++;
		return;
	}
	memcpy(slot, record, octets);
	ring_publish(&c->segment.answer[a->worker]);
	c->counts.answers++;
}

/* Of an earlier life of the data plane: nobody waits any more. */
static bool
is_stale(struct control *c, const struct link_head *head)
{
	if (head->dataplane_incarnation ==
		__atomic_load_n(&c->segment.live->incarnation[SEGMENT_DATAPLANE], __ATOMIC_RELAXED))
		return false;
	c->counts.events_stale++;
	return true;
}

static void
answer(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct asked *a = arg;
	struct control *c = a->c;
	struct link_answer_client out = { 0 };
	const size_t ptr_len = strnlen(result->ptr, sizeof(out.ptr));

	out.head = answer_head(a, LINK_ANSWER_CLIENT, sizeof(out));
	out.session = a->session;
	out.client = *client;
	out.verdict = result->verdict;
	out.verdict.time_s = control_now_s(c);
	out.dns_ms = result->dns_ms;
	out.ptr_len = (uint16_t)MIN(ptr_len, sizeof(out.ptr));
	memcpy(out.ptr, result->ptr, out.ptr_len);
	answer_send(a, &out, sizeof(out));
	free(a);
}

void
events_client_finished(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct control *c = arg;
	const struct conf *conf = &c->config->values.conf;
	struct client_verdict v = result->verdict;
	const uint32_t now_s = control_now_s(c), fresh_s = conf->client_fresh_s;
	uint32_t counts_s = fresh_s;
	struct policy_ctx ctx;

	bool good;

	if (!c->attached)
		return;
	control_policy_ctx(c, &ctx);
	good = policy_in_good_standing(&ctx, client, now_s);
	if (v.known != CLIENT_KNOWN || v.ptr_state == PTR_UNKNOWN) {
		/* nothing was heard: of a client in good standing that is kept, for it is not asked about again so soon */
		if (!good)
			return;
		v = (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_TEMPERR, .zone = ZONE_NONE };
	}
	/* Backdated, so that it is fresh for counts_s from now on. */
	if (good && v.score <= 0 && v.ptr_state != PTR_NONE && v.name_list != NAME_LIST_DENY)
		counts_s = fresh_s;
	else if (!result->complete)
		counts_s = MIN(fresh_s, (uint32_t)CLIENT_RETRY_S);
	else if (v.score > 0 || v.ptr_state == PTR_NONE || v.ptr_state == PTR_UNCONFIRMED ||
		 (v.name_list != NAME_LIST_NONE && v.name_list != NAME_LIST_BIG_SENDER))
		counts_s = MIN(fresh_s, MAX(result->ttl_s, (uint32_t)CLIENT_BAD_MIN_S));
	v.time_s = now_s > fresh_s - counts_s ? now_s - (fresh_s - counts_s) : 1;
	policy_client_store(&ctx, client, &v, now_s);
}

bool
events_client_is_good(void *arg, const struct ip_addr *client)
{
	struct control *c = arg;
	struct policy_ctx ctx;

	if (!c->attached)
		return false;
	control_policy_ctx(c, &ctx);
	return policy_in_good_standing(&ctx, client, control_now_s(c));
}

static void
take_client(struct control *c, const struct link_event_client *e, uint16_t worker)
{
	struct resolver_result last;
	struct asked *a;

	c->counts.events_client++;
	if (is_stale(c, &e->head))
		return;
	a = malloc(sizeof(*a));
	BUG_ON(a == NULL);
	*a = (struct asked){
		.c = c, .worker = worker, .dataplane_incarnation = e->head.dataplane_incarnation, .session = e->session
	};
	if (e->want_name == LINK_WANT_NAME_NOW && resolver_last(c->resolver, &e->client, &last)) {
		struct asked *refresh = malloc(sizeof(*refresh));

		BUG_ON(refresh == NULL);
		*refresh = *a;
		refresh->session = 0; /* the session has its answer; this one goes into the table */
		answer(a, &e->client, &last);
		a = refresh;
	}
	/* the name of a client whose verdict is fresh is what it was last, within that time: nobody is asked about it again */
	if (e->want_name == LINK_WANT_LAST_NAME && resolver_last(c->resolver, &e->client, &last) &&
		last.ttl_s < c->config->values.conf.client_fresh_s) {
		answer(a, &e->client, &last);
		return;
	}
	resolver_ask(c->resolver, &e->client,
		e->deadline_ms > 0 ? e->deadline_ms : c->config->values.conf.dns_deadline_ms, false, answer, a);
}

/* --- names */

/* The question about a transaction's names, until the lists of both have answered. */
struct asked_names {
	struct asked to;
	uint32_t transaction;
	uint64_t asked_us;
	unsigned out; /* of the two, and one while they are being asked */
	bool told;
	struct name_verdict v;
};

static void
names_tell(struct asked_names *a)
{
	struct control *c = a->to.c;
	struct link_answer_names out = { .session = a->to.session, .transaction = a->transaction, .names = a->v };

	a->told = true;
	if (out.names.known != CLIENT_LATE)
		out.names.known = CLIENT_KNOWN;
	out.dns_ms = (uint32_t)((control_mono_us() - a->asked_us) / 1000);
	out.head = answer_head(&a->to, LINK_ANSWER_NAMES, sizeof(out));
	answer_send(&a->to, &out, sizeof(out));
	c->counts.name_answers++;
}

/* Whether what the other list says could not change that the sender is refused. */
static bool
names_decided(const struct asked_names *a)
{
	const int32_t threshold = a->to.c->config->values.conf.dnsbl_reject_threshold;
	const int helo = a->v.helo_decisive ? a->v.helo_score : MIN(a->v.helo_score, threshold - 1);

	return threshold > 0 && a->v.sender_score + helo >= threshold;
}

static void
names_done(struct asked_names *a, const struct resolver_result *result)
{
	a->out--;
	if (result != NULL && result->verdict.known != CLIENT_KNOWN)
		a->v.known = CLIENT_LATE;
	if (!a->told && (a->out == 0 || names_decided(a)))
		names_tell(a);
	if (a->out == 0)
		free(a);
}

static void
helo_answered(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct asked_names *a = arg;

	(void)client;
	a->v.helo_score = MAX(result->verdict.score, (int16_t)0);
	a->v.helo_zone = result->verdict.zone;
	a->v.helo_decisive = result->decisive;
	names_done(a, result);
}

static void
sender_answered(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct asked_names *a = arg;

	(void)client;
	a->v.sender_score = MAX(result->verdict.score, (int16_t)0);
	a->v.sender_zone = result->verdict.zone;
	names_done(a, result);
}

static void
take_names(struct control *c, const struct link_event_names *e, uint16_t worker)
{
	const uint32_t deadline_ms = e->deadline_ms > 0 ? e->deadline_ms : c->config->values.conf.dns_deadline_ms;
	const bool good = events_client_is_good(c, &e->client);
	char helo[DNSBL_NAME_MAX_OCTETS + 1], sender[DNSBL_NAME_MAX_OCTETS + 1];
	struct asked_names *a;

	c->counts.events_names++;
	if (is_stale(c, &e->head))
		return;
	a = malloc(sizeof(*a));
	BUG_ON(a == NULL);
	*a = (struct asked_names){ .to = { c, worker, e->head.dataplane_incarnation, e->session },
		.transaction = e->transaction,
		.asked_us = control_mono_us(),
		.out = 1,
		.v = NAME_VERDICT_NONE };
	if (dnsbl_domain_askable(e->text, e->helo_len, helo) > 0) {
		a->out++;
		resolver_ask_name(c->resolver, ZONE_KIND_HELO, helo, good, deadline_ms, false, helo_answered, a);
	}
	if (dnsbl_domain_askable(e->text + e->helo_len, e->sender_len, sender) > 0) {
		a->out++;
		resolver_ask_name(c->resolver, ZONE_KIND_SENDER, sender, good, deadline_ms, false, sender_answered, a);
	}
	names_done(a, NULL);
}

static void
take_name(struct control *c, const struct link_event_name *e)
{
	c->counts.events_name++;
	store_name_add(c->store, e->kind, e->tag, &e->network, control_now_s(c), e->text, e->sender_len,
		e->text + e->sender_len, e->rcpt_len);
}

/* The raw octets of a field; "" when it is not there. */
static struct schema_text
raw_field(const struct link_event_log *e, enum link_log_field id)
{
	struct log_field f;

	if (!log_record_find(e, id, &f))
		return (struct schema_text){ "", 0 };
	return (struct schema_text){ (const char *)f.octets, f.len_octets };
}

static long
number_field(const struct link_event_log *e, enum link_log_field id)
{
	char text[24];

	log_text(e, id, text, sizeof(text));
	return strtol(text, NULL, 10);
}

static void
keep_reject(struct control *c, const struct link_event_log *e, int64_t wall_us)
{
	char mode[16];
	struct schema_why w = {
		.wall_s = (uint64_t)(wall_us / 1000000),
		.time_s = e->policy_s,
		.verdict = e->verdict,
		.rule = e->rule,
		.score = (int16_t)MIN(MAX(number_field(e, LOG_score), -999), 999),
		.listener = raw_field(e, LOG_listener),
		.ptr = raw_field(e, LOG_ptr),
		.helo = raw_field(e, LOG_helo),
		.from = raw_field(e, LOG_from),
		.rcpt = raw_field(e, LOG_rcpt),
		.reason = raw_field(e, LOG_reason),
		.reply = raw_field(e, LOG_reply),
	};

	log_text(e, LOG_mode, mode, sizeof(mode));
	w.mode = strcmp(mode, "observe") == 0 ? MODE_OBSERVE : strcmp(mode, "soft") == 0 ? MODE_SOFT : MODE_ENFORCE;
	w.code = (uint16_t)MIN(MAX(number_field(e, LOG_reply), 0), 999);
	memcpy(w.client, e->client.octet, sizeof(w.client));
	store_why_add(c->store, e->ref, &w);
	c->counts.rejects_kept++;
}

/*
 * When it happened, by the wall clock. Records wait in the ring while control is away; without this, minutes of mail would have the time of
 * its return. A fresh one has its time by the microsecond, one that waited by the second; what is said to be older than a day is not believed.
 */
static int64_t
log_time_us(const struct control *c, const struct link_event_log *e, int64_t wall_us)
{
	const int64_t waited_s = wall_us / 1000000 - control_wall_of(c, e->policy_s);

	return waited_s >= 2 && waited_s <= 86400 ? wall_us - wall_us % 1000000 - waited_s * 1000000 : wall_us;
}

static void
take_log(struct control *c, const struct link_event_log *e)
{
	const int64_t wall_us = control_wall_us(), at_us = log_time_us(c, e, wall_us);
	struct ip_addr network;

	c->counts.events_log++;
	log_event(&c->log, e, wall_us, at_us);
	if (e->kind != LINK_LOG_RCPT)
		return;
	network = policy_client_network(&e->client);
	if (e->rule == RULE_GREYLIST && e->verdict == VERDICT_DEFER)
		c->report.deferred++;
	else if (e->rule == RULE_GREYLIST && e->verdict == VERDICT_PASS && number_field(e, LOG_waited_s) > 0)
		report_delay(&c->report, (uint32_t)MIN(number_field(e, LOG_waited_s), (long)UINT32_MAX));
	if (e->rule != RULE_GREYLIST && e->verdict != VERDICT_PASS) {
		if (e->verdict == VERDICT_REJECT)
			c->report.rejected++;
		report_refused(&c->report, &network, e->rule);
		if (e->ref != 0)
			keep_reject(c, e, at_us);
	}
}

uint32_t
events_turn(struct control *c)
{
	uint32_t taken = 0;

	if (!c->attached)
		return 0;
	for (uint16_t w = 0; w < c->segment.n_workers; w++) {
		for (unsigned i = 0; i < EVENTS_TURN_MAX; i++) {
			union link_event e;
			enum link_take t = link_event_take(&c->segment.event[w], &e);

			if (t == LINK_EMPTY)
				break;
			taken++;
			if (t == LINK_MALFORMED) {
				c->counts.events_malformed++;
				continue;
			}
			switch ((enum link_event_type)e.head.type) {
			case LINK_EVENT_CLIENT:
				take_client(c, &e.client, w);
				break;
			case LINK_EVENT_NAMES:
				take_names(c, &e.names, w);
				break;
			case LINK_EVENT_NAME:
				take_name(c, &e.name);
				break;
			case LINK_EVENT_LOG:
				take_log(c, &e.log);
				break;
			case LINK_EVENT_KEYS:
				cert_check_event(c, &e.keys);
				break;
			case LINK_EVENT_BACKEND:
				c->second_at_us = 0; /* look at the states in this turn */
				break;
			}
		}
	}
	return taken;
}
