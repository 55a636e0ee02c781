/*
 * session_rest.c - sessions that wait for their client before a MAIL, the first or another, or let him wait for the banner: they hold no
 * block of memory and no buffer. How they become records, and sessions again.
 *
 * Flow:   a session was served -> session_idle() -> a moment later tcp_rest();  a segment -> TCP_EV_WOKEN -> session_woken();  its deadline, an answer of
 *         control, a drain -> session_wake()
 * Touches: nothing but the worker's own state.
 * Keeps:  what rests has said all it had to say and heard that it arrived; it has a deadline on a wheel of its kind: coarse where a client's
 *         silence ends it, so that a million of them are looked at once, fine where the client waits for us; its slot, number and place in
 *         the limits stay its own. Under TLS the stream stays, for its keys are nowhere else. There is always a block for
 *         every connection that tcp has woken and that was not served yet: segments for others are dropped, counted, and come again.
 */
#include "dataplane/worker/session_rest.h"

#include <assert.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/tcp/tcp_table.h"
#include "dataplane/worker/worker_impl.h"

#define WAKE_RETRY_US 1000000 /* of a deadline that found no block */

static_assert(sizeof(struct tcp_rest) % 8 == 0, "what lies behind it is aligned");
static_assert(SESSION_REST_USER_OCTETS >= sizeof(struct session_rest) + 24, "a usual HELO name fits the record");
static_assert(sizeof(struct session_text) == 64, "a unit is a cache line");
/* The table of connections has room for twice of them, in a power of two of buckets: four places at worst. Its two sources have a cell each at most. */
#define REST_OCTETS_EACH                                                                                               \
	(SESSION_REST_RECORD_OCTETS + sizeof(uint32_t) +                                                               \
		4 * sizeof(struct tcp_table_bucket) / TCP_TABLE_BUCKET_SLOTS + sizeof(struct tcp_mark) +               \
		2 * sizeof(struct source_cell))

static_assert(REST_OCTETS_EACH <= SESSION_REST_OCTETS_MAX, "what a session idle before MAIL costs in all");

/* ---- texts: one piece of octets, in the record and then in units ---- */

struct text_writer {
	struct worker *w;
	struct session_rest *r;
	char *at;
	uint32_t room;
	uint32_t *next; /* where the next unit is named */
	bool failed;
};

static void
put(struct text_writer *t, const void *octets, uint32_t n)
{
	const char *from = octets;

	t->r->text_octets = (uint16_t)(t->r->text_octets + n);
	while (n > 0 && !t->failed) {
		const uint32_t part = MIN(n, t->room);

		memcpy(t->at, from, part);
		t->at += part;
		t->room -= part;
		from += part;
		n -= part;
		if (n > 0) {
			const uint32_t unit = pool_get(&t->w->texts);
			struct session_text *u;

			if (unit == POOL_NONE) {
				t->failed = true;
				return;
			}
			u = pool_at(&t->w->texts, unit);
			u->next = POOL_NONE;
			*t->next = unit;
			t->next = &u->next;
			t->at = u->octets;
			t->room = sizeof(u->octets);
		}
	}
}

static void
put_units(struct worker *w, uint32_t unit)
{
	while (unit != POOL_NONE) {
		const uint32_t next = ((const struct session_text *)pool_at(&w->texts, unit))->next;

		pool_put(&w->texts, unit);
		unit = next;
	}
}

/* All of it into out, which has room for SESSION_TEXTS_MAX_OCTETS; the units go back. */
static void
take_texts(struct worker *w, const struct session_rest *r, char *out)
{
	uint32_t left = r->text_octets, part = MIN(left, (uint32_t)SESSION_REST_TEXT_OCTETS);

	memcpy(out, r->text, part);
	for (uint32_t unit = r->more; (left -= part) > 0;) {
		const struct session_text *u = pool_at(&w->texts, unit);

		out += part;
		part = MIN(left, (uint32_t)sizeof(u->octets));
		memcpy(out, u->octets, part);
		unit = u->next;
	}
	put_units(w, r->more);
}

/*
 * The pieces: of one under TLS its stream, first, for session_rest_drop() needs it alone; listener_name, HELO and PTR name as strings; then, of
 * those that have it, what follows; then what of a line has come.
 */

/* Who the client is, where a proxy named it. */
struct proxied {
	struct ip_addr remote, told_local;
	uint16_t remote_port, told_local_port;
};

/* What only a session has whose client gave a MAIL before: the log tells it at the end, limits count it. */
struct past {
	uint64_t octets, plain_only;
	uint32_t transaction, relay_denied;
	struct smtp_past smtp;
};

#define SESSION_TEXTS_MAX_OCTETS                                                                                       \
	(CONF_NAME_OCTETS + SMTP_HELO_MAX_OCTETS + 256 + sizeof(struct proxied) + sizeof(struct past) +                \
		sizeof(struct stream *) + sizeof(uint64_t) + SMTP_REST_LINE_MAX_OCTETS)

static_assert(SESSION_TEXTS_MAX_OCTETS <= UINT16_MAX, "counted in 16 bits");
static_assert(sizeof(struct stream *) <= SESSION_REST_TEXT_OCTETS, "a stream is named in the record itself");
static_assert(SESSION_WAIT_CLOSE < 16, "a wait fits 4 bits");

static bool
is_proxied(const struct session *s, const struct flow *flow)
{
	return !ip_addr_equal(&s->flow.remote, &flow->remote) || s->flow.remote_port != flow->remote_port ||
	       !ip_addr_equal(&s->told_local, &flow->local) || s->told_local_port != flow->local_port;
}

static bool
put_texts(struct worker *w, const struct session *s, struct session_rest *r, const struct smtp_past *past,
	const struct buf_view *line)
{
	struct text_writer t = { .w = w, .r = r, .at = r->text, .room = SESSION_REST_TEXT_OCTETS, .next = &r->more };
	const char *helo = smtp_session_helo(s->smtp);

	r->more = POOL_NONE;
	if (r->streamed)
		put(&t, &s->stream, sizeof(s->stream));
	put(&t, s->listener_name, (uint32_t)strlen(s->listener_name) + 1);
	put(&t, helo, (uint32_t)strlen(helo) + 1);
	put(&t, s->ptr_name, (uint32_t)strlen(s->ptr_name) + 1);
	if (r->proxied) {
		const struct proxied p = { .remote = s->flow.remote,
			.told_local = s->told_local,
			.remote_port = s->flow.remote_port,
			.told_local_port = s->told_local_port };

		put(&t, &p, sizeof(p));
	}
	if (r->past) {
		const struct past p = { .octets = s->octets,
			.plain_only = s->plain_only,
			.transaction = s->transaction,
			.relay_denied = s->relay_denied,
			.smtp = *past };

		put(&t, &p, sizeof(p));
	}
	if (r->wait == SESSION_WAIT_GREET_PAUSE)
		put(&t, &s->pause_due_us, sizeof(s->pause_due_us));
	put(&t, line->ptr, line->len_octets);
	if (t.failed)
		put_units(w, r->more);
	return !t.failed;
}

/* The next piece of what take_texts() gave. */
static const char *
take(const char *from, void *piece, size_t octets)
{
	memcpy(piece, from, octets);
	return from + octets;
}

/* ---- to rest ---- */

/* In these the client has nothing to do but to speak, or to wait for the banner. */
#define SESSION_REST_WAITS                                                                                             \
	(1u << SESSION_WAIT_NONE | 1u << SESSION_WAIT_GREET_PAUSE | 1u << SESSION_WAIT_CONNECT_VERDICT)

/* Whether nothing at all is under way. What is most often false comes first: this is asked after each segment of a client. */
static bool
may_rest(const struct session *s)
{
	return (SESSION_REST_WAITS >> s->wait & 1) != 0 && s->client.conn != NULL && tcp_may_rest(s->client.conn) &&
	       s->begun && !s->is_submission && smtp_session_may_rest(s->smtp) && s->held.len_octets == 0 &&
	       s->relay == NULL && s->backend.conn == NULL && s->backend_stream == NULL && s->kept_rcpts == NULL &&
	       !s->message_open && !s->client_eof && !s->poke && !s->unfinished && !s->tls_queued &&
	       s->linger_due_us == 0 && s->stream->ops->may_rest(s->stream);
}

/* Where the client waits for us at a known time, it is kept to the millisecond. */
static struct wheel *
wheel_of(struct worker *w, const struct session_rest *r)
{
	return r->wait == SESSION_WAIT_NONE ? &w->rest_wheel : &w->pause_wheel;
}

static uint32_t
after(const struct session *s, uint64_t us)
{
	return us > s->accepted_us ? (uint32_t)MIN(us - s->accepted_us, (uint64_t)UINT32_MAX) : 0;
}

static void
rest(struct worker *w, struct session *s)
{
	union {
		struct session_rest r;
		uint64_t room[SESSION_REST_USER_OCTETS / sizeof(uint64_t)];
	} u;
	struct session_rest *r = &u.r, *kept;
	const uint64_t due_us = session_due_us(w, s);
	struct smtp_past past;
	struct buf_view line;
	struct wheel *wheel;
	uint32_t record;

	*r = (struct session_rest){
		.number = s->number,
		.accepted_us = s->accepted_us,
		.verdict_due_after_us = after(s, s->verdict_due_us),
		.asked_after_us = after(s, s->asked_us),
		.dns_ms = s->dns_ms,
		.held_us = (uint32_t)MIN(s->held_us, (uint64_t)UINT32_MAX),
		.verdict = s->verdict,
		.good = s->good,
		.dns_asked = s->dns_asked,
		.name_asked = s->name_asked,
		.counted_address = s->counted_address,
		.counted_network = s->counted_network,
		.stranger = s->stranger,
		.tls_hide = s->tls_hide & 3u,
		.wait = s->wait & 15u,
		.tls_implicit = s->tls_implicit,
		.proxied = is_proxied(s, tcp_conn_flow(s->client.conn)),
		.past = s->transaction != 0,
		.streamed = s->stream != stream_identity(),
	};
	smtp_session_rest(s->smtp, &r->smtp, &past, &line);
	if (!put_texts(w, s, r, &past, &line)) {
		counter_inc(w->counters, CTR_worker_rest_texts_full);
		session_arm(w, s); /* one that was woken has no timer yet */
		return;
	}
	kept = tcp_rest(s->client.conn, &record);
	if (kept == NULL) {
		put_units(w, r->more);
		session_arm(w, s);
		return;
	}
	memcpy(kept, r, SESSION_REST_USER_OCTETS);
	wheel_cancel(&w->wheel, &s->timer);
	session_store_rest(w, s, record);
	wheel = wheel_of(w, kept);
	if (wheel_is_empty(wheel))
		wheel_pop(wheel, w->now_us); /* it was not run: its round starts now */
	wheel_arm(wheel, &kept->timer, due_us);
}

/*
 * Most clients acknowledge a reply by itself and send their next command a fraction of a millisecond later: who rested between the two would
 * rest for nothing, twice a session. So it is a moment until it does, unless blocks are needed. A longer one would cost more than it saves: a
 * session that waits for a round trip takes four lines of the caches at rest, ten times that in its block.
 */
#define REST_AFTER_US 2000

void
session_idle_soon(struct worker *w, struct session *s)
{
	if (s->rest_due_us != 0 || !may_rest(s))
		return;
	if (pool_n_free(&w->sessions) < w->sessions.n / 2) {
		rest(w, s);
		return;
	}
	s->rest_due_us = w->now_us + REST_AFTER_US;
	s->idle_next = NULL;
	s->idle_prev = w->idle_last;
	if (w->idle_last != NULL)
		w->idle_last->idle_next = s;
	else
		w->idle_first = s;
	w->idle_last = s;
}

void
session_idle_forget(struct worker *w, struct session *s)
{
	if (s->rest_due_us == 0)
		return;
	s->rest_due_us = 0;
	if (s->idle_prev != NULL)
		s->idle_prev->idle_next = s->idle_next;
	else
		w->idle_first = s->idle_next;
	if (s->idle_next != NULL)
		s->idle_next->idle_prev = s->idle_prev;
	else
		w->idle_last = s->idle_prev;
}

void
session_idle(struct worker *w, struct session *s)
{
	if (!may_rest(s))
		return;
	session_idle_forget(w, s);
	rest(w, s);
}

uint64_t
session_idle_due_us(const struct worker *w)
{
	return w->idle_first != NULL ? w->idle_first->rest_due_us : UINT64_MAX;
}

/* Those whose moment is over, at most max. Who was busy again meanwhile is asked when it was served the next time. */
static uint32_t
run_idle(struct worker *w, uint32_t max)
{
	struct session *s;
	uint32_t n = 0;

	for (; n < max && (s = w->idle_first) != NULL && w->now_us >= s->rest_due_us; n++) {
		session_idle_forget(w, s);
		session_idle(w, s);
	}
	return n;
}

/* ---- and back ---- */

static struct session *
wake(struct worker *w, uint32_t record, struct tcp_conn *conn)
{
	struct session_rest *r = tcp_rest_user(w->tcp, record);
	char texts[SESSION_TEXTS_MAX_OCTETS];
	struct session *s = session_store_wake(w, r->number);
	struct smtp_past smtp_past = { 0 };
	const char *at = texts, *helo;
	struct buf_view line;

	wheel_cancel(wheel_of(w, r), &r->timer);
	take_texts(w, r, texts);
	s->client.conn = conn;
	tcp_conn_set_user(conn, &s->client);
	s->flow = *tcp_conn_flow(conn);
	s->told_local = s->flow.local;
	s->told_local_port = s->flow.local_port;
	s->accepted_us = r->accepted_us;
	s->verdict_due_us = r->accepted_us + r->verdict_due_after_us;
	s->asked_us = r->accepted_us + r->asked_after_us;
	s->dns_ms = r->dns_ms;
	s->held_us = r->held_us;
	s->verdict = r->verdict;
	s->good = r->good;
	s->dns_asked = r->dns_asked;
	s->name_asked = r->name_asked;
	s->counted_address = r->counted_address;
	s->counted_network = r->counted_network;
	s->stranger = r->stranger;
	s->tls_hide = r->tls_hide;
	s->wait = r->wait;
	s->tls_implicit = r->tls_implicit;
	s->begun = true;
	s->stream = stream_identity();
	if (r->streamed)
		at = take(at, &s->stream, sizeof(s->stream));
	at = stpcpy(s->listener_name, at) - s->listener_name + at + 1;
	helo = at;
	at += strlen(at) + 1;
	at = stpcpy(s->ptr_name, at) - s->ptr_name + at + 1;
	if (r->proxied) {
		struct proxied p;

		at = take(at, &p, sizeof(p));
		s->flow.remote = p.remote;
		s->flow.remote_port = p.remote_port;
		s->told_local = p.told_local;
		s->told_local_port = p.told_local_port;
	}
	if (r->past) {
		struct past p;

		at = take(at, &p, sizeof(p));
		s->octets = p.octets;
		s->plain_only = p.plain_only;
		s->transaction = p.transaction;
		s->relay_denied = p.relay_denied;
		smtp_past = p.smtp;
	}
	if (r->wait == SESSION_WAIT_GREET_PAUSE)
		at = take(at, &s->pause_due_us, sizeof(s->pause_due_us));
	line = (struct buf_view){ .ptr = (const uint8_t *)at, .len_octets = r->text_octets - (uint32_t)(at - texts) };
	smtp_session_wake(s->smtp, &r->smtp, &smtp_past, helo, &line);
	tcp_rest_done(w->tcp, record);
	return s;
}

void
session_woken(struct worker *w, struct tcp_conn *conn)
{
	wake(w, tcp_woken_record(conn), conn); /* who serves the event arms its timer */
}

struct session *
session_wake(struct worker *w, uint32_t record)
{
	/* what a segment of this turn has woken has its block promised */
	struct tcp_conn *conn =
		tcp_rest_is_woken(w->tcp, record) || session_store_has_room(w) ? tcp_wake(w->tcp, record) : NULL;

	if (conn == NULL) {
		counter_inc(w->counters, CTR_worker_wakes_refused);
		return NULL;
	}
	return wake(w, record, conn);
}

uint64_t
session_rest_number(const struct worker *w, uint32_t record)
{
	return ((const struct session_rest *)tcp_rest_user(w->tcp, record))->number;
}

uint32_t
session_rest_user_octets(void)
{
	return SESSION_REST_USER_OCTETS;
}

uint32_t
session_rest_octets_each(void)
{
	return REST_OCTETS_EACH;
}

void
session_rest_drop(struct worker *w, uint32_t record)
{
	const struct session_rest *r = tcp_rest_user(w->tcp, record);
	struct stream *stream;

	if (!r->streamed)
		return;
	take(r->text, &stream, sizeof(stream));
	stream->ops->destroy(stream);
}

/* Those of one wheel that are due, at most max. */
static uint32_t
run_wheel(struct worker *w, struct wheel *wheel, uint32_t max)
{
	struct wheel_node *node;
	uint32_t n = 0;

	for (; n < max && (node = wheel_pop(wheel, w->now_us)) != NULL; n++) {
		const struct session_rest *r = container_of_(node, struct session_rest, timer);
		struct session *s = session_of_number(w, r->number);

		if (s == NULL) { /* no block: those in use are shed meanwhile */
			wheel_arm(wheel, node, w->now_us + WAKE_RETRY_US);
			continue;
		}
		session_timer(w, s);
		if (s->live)
			session_idle(w, s);
	}
	return n;
}

uint32_t
session_rests_run(struct worker *w, uint32_t max)
{
	uint32_t n = w->idle_first == NULL ? 0 : run_idle(w, max);

	n += wheel_is_empty(&w->pause_wheel) ? 0 : run_wheel(w, &w->pause_wheel, max - n);
	return n + (wheel_is_empty(&w->rest_wheel) ? 0 : run_wheel(w, &w->rest_wheel, max - n));
}
