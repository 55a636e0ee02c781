/*
 * admission.c - who gets in when there is less room than there are clients, and who gives way: limits of a source, room kept for those who
 * are known, and what the water marks of slots, blocks and buffers (base/marks.def) mean for sessions.
 *
 * Flow:   SYN -> admission_syn() -> tcp;  accept -> session_begin() -> admission_enter() ... session_maybe_free() -> admission_leave()
 *         each turn: admission_turn() -> marks -> some sessions are looked at -> session_give_way()
 * Touches: the table of sources in the segment (all workers count there), the verdict table, read only.
 * Keeps:  - limits are asked of the address and of its /24 or /64; only handshakes that were completed are counted, so nobody is shut out by
 *           SYNs that others forge in his name;
 *         - strangers have at most their share of the slots (limits.reserve), and a source of strangers at most a share of what is left of it:
 *           with k sources that take all they can, 1 / (1 + k / 4) of it stays free for others;
 *         - a client that is no stranger meets none of this, and limits only as limits.known_clients says;
 *         - who is a stranger is one question (policy_is_stranger()), whatever runs short, and it is asked again before somebody is sent away;
 *         - one line of log a second and worker, however many are refused.
 * Source: the share of what is left is the dynamic threshold of Choudhury and Hahne (1998), there for buffers of a switch.
 */
#include "dataplane/worker/worker_impl.h"

#include <string.h>

#include "dataplane/base/bug.h"

#define ADDRESS_SHARE 4 /* of the slots that are left to strangers, an address may hold one in so many */
#define NETWORK_SHARE 2
#define LOOK_SHARE    8 /* fewer sessions than one slot in so many: who is a stranger is not even asked */
/* While slots are short (MARK_slots) a stranger who has come to no accepted recipient by then gives his slot to the next. A greylisted delivery
 * takes a few round trips and the 2 s of DNS. */
#define STRANGER_SHORT_US (UINT64_C(20) * 1000000)
/* While blocks are short (MARK_silent) a stranger who keeps one by silence gives it back: in place of limits.command_timeout. */
#define STRANGER_SILENT_US (UINT64_C(10) * 1000000)
#define LOOKS_PER_TURN     64u

static uint32_t
share_of_strangers(const struct worker *w)
{
	return w->n_slots -
	       (uint32_t)((uint64_t)w->n_slots * MIN(w->snapshot->conf->limits_reserve_percent, 100u) / 100);
}

static uint32_t
left_to_strangers(const struct worker *w)
{
	const uint32_t share = share_of_strangers(w);

	return MIN(share > w->admission.n_strangers ? share - w->admission.n_strangers : 0, w->n_slots - w->n_live);
}

bool
admission_mark(const struct worker *w, enum mark m)
{
	return marks_on(w->admission.marks, m);
}

/* Of the last second, what has passed since a SYN was dropped unread; some 2 % of error is nothing here. */
static uint32_t
unshed_ms(const struct worker *w)
{
	const uint64_t ms = w->admission.shed_us != 0 ? (w->now_us - w->admission.shed_us) >> 10 : MARK_TURNS_MS;

	return (uint32_t)MIN(ms, MARK_TURNS_MS);
}

/* Blocks are a matter of their own only where there are fewer than slots; what segments of this turn have woken has its block promised. */
static void
look_marks(struct worker *w)
{
	struct admission *a = &w->admission;
	const uint32_t blocks = w->sessions.n < w->n_slots ? w->sessions.n : 0;
	const uint32_t n_free = pool_n_free(&w->sessions), woken = tcp_n_woken(w->tcp);
	uint32_t set = a->own_marks;

	set = marks_look(set, MARK_BLOCKS, n_free > woken ? n_free - woken : 0, blocks);
	set = marks_look(set, MARK_TURNS, unshed_ms(w), MARK_TURNS_MS);
	if (w->snapshot->conf->limits_reserve_percent != 0)
		set = marks_look(set, MARK_SLOTS, left_to_strangers(w), share_of_strangers(w));
	else
		set = marks_look(set, MARK_SLOTS, 0, 0);
	if (set != a->own_marks) {
		marks_count(w->counters, a->own_marks, set);
		a->own_marks = set;
	}
	set |= tcp_marks(w->tcp);
	if (set != a->marks) {
		a->marks = set;
		__atomic_store_n(&w->segment->live->marks[w->conf.index], set, __ATOMIC_RELAXED);
	}
}

/* The limits of an address or its network, and, of strangers, the share of what is left; all workers have about as much. */
static struct source_limits
limits_of(const struct worker *w, bool is_network, bool stranger)
{
	const struct conf *conf = w->snapshot->conf;
	struct source_limits l = { .sessions =
					   is_network ? conf->client_network_sessions_max : conf->client_sessions_max,
		.per_min = is_network ? conf->limits_network_rate : conf->limits_client_rate };
	uint64_t share;

	if (!stranger) {
		if (conf->limits_known_clients != LIMITS_KNOWN_LIMITED)
			l.per_min = 0;
		if (conf->limits_known_clients == LIMITS_KNOWN_EXEMPT)
			l.sessions = 0;
		return l;
	}
	if (conf->limits_reserve_percent == 0)
		return l;
	share = (uint64_t)left_to_strangers(w) * MAX(w->shared->n_workers, 1u) /
	        (is_network ? NETWORK_SHARE : ADDRESS_SHARE);
	share = MAX(share, UINT64_C(1));
	if (l.sessions == 0 || share < l.sessions)
		l.sessions = (uint32_t)MIN(share, UINT64_C(0xffffffff));
	return l;
}

/* What a source may not: the counter of its refusal; COUNTER_N: it may. */
static enum counter
judge(const struct worker *w, const struct source_state *s, bool is_network, bool stranger)
{
	const struct conf *conf = w->snapshot->conf;
	const struct source_limits l = limits_of(w, is_network, stranger);

	switch (source_judge(s, &l)) {
	case SOURCE_OK:
		break;
	case SOURCE_OVER_SESSIONS:
		if (l.sessions < (is_network ? conf->client_network_sessions_max : conf->client_sessions_max) ||
			(is_network ? conf->client_network_sessions_max : conf->client_sessions_max) == 0)
			return CTR_worker_over_share;
		return is_network ? CTR_worker_over_network_sessions : CTR_worker_over_client_sessions;
	case SOURCE_OVER_RATE:
		return is_network ? CTR_worker_over_network_rate : CTR_worker_over_client_rate;
	}
	return COUNTER_N;
}

struct source {
	struct source_key address, network;
	struct source_state address_now, network_now;
};

/* Any place of w->arrival serves: who shares it is hashed anew. */
static struct arrival *
place_of(struct worker *w, const struct ip_addr *client)
{
	uint64_t word;

	memcpy(&word, client->octet + 8, sizeof(word));
	return &w->arrival[word * UINT64_C(0x9e3779b97f4a7c15) >> (64 - ARRIVALS_BITS)];
}

const struct arrival *
admission_arrival(struct worker *w, const struct ip_addr *client)
{
	const struct source_table *t = &w->segment->sources;
	struct arrival *a = place_of(w, client);

	if (a->verdict_tag == 0 || !ip_addr_equal(&a->client, client)) { /* a tag is never 0 */
		const struct ip_addr network = policy_client_network(client);

		a->client = *client;
		a->address = source_key_of(t, client, false);
		a->network = source_key_of(t, &network, true);
		a->verdict_tag = policy_client_tag(&w->segment->table, client);
	}
	return a;
}

void
admission_expect(struct worker *w, const struct ip_addr *client)
{
	const struct arrival *a = admission_arrival(w, client);

	source_table_prefetch(&w->segment->sources, a->address);
	source_table_prefetch(&w->segment->sources, a->network);
	verdict_table_prefetch(&w->segment->table, a->verdict_tag);
}

static struct source
source_of(struct worker *w, const struct ip_addr *client)
{
	const struct source_table *t = &w->segment->sources;
	const struct arrival *a = admission_arrival(w, client);
	struct source s = { .address = a->address, .network = a->network };

	s.address_now = source_table_look(t, s.address, w->now_us);
	s.network_now = source_table_look(t, s.network, w->now_us);
	return s;
}

static enum counter
judge_both(const struct worker *w, const struct source *s, bool stranger)
{
	enum counter why = judge(w, &s->address_now, false, stranger);

	if (why == COUNTER_N)
		why = judge(w, &s->network_now, true, stranger);
	if (why != COUNTER_N || !stranger)
		return why;
	if (admission_mark(w, MARK_blocks))
		return CTR_worker_blocks_for_known;
	if (w->snapshot->conf->limits_reserve_percent == 0)
		return COUNTER_N;
	return left_to_strangers(w) == 0           ? CTR_worker_strangers_full
	       : admission_mark(w, MARK_strangers) ? CTR_worker_strangers_no_buffers
	                                           : COUNTER_N;
}

/*
 * Whether this client may have one more session; COUNTER_N, or the counter that says why not. Who is a stranger is asked only where it makes a
 * difference: a verdict costs lines of memory, and at rest everybody gets in.
 */
static enum counter
admit(const struct worker *w, const struct ip_addr *client, const struct source *s, bool *stranger)
{
	enum counter why;

	*stranger = w->n_live <= w->n_slots / LOOK_SHARE || session_is_stranger(w, client);
	why = judge_both(w, s, *stranger);
	if (why == COUNTER_N || !*stranger)
		return why;
	*stranger = session_is_stranger(w, client);
	return *stranger ? why : judge_both(w, s, false);
}

static void
refused(struct worker *w, const struct ip_addr *client, const struct source *s, enum counter why)
{
	struct admission *a = &w->admission;

	counter_inc(w->counters, CTR_worker_over_limit);
	counter_inc(w->counters, why);
	source_table_refused(&w->segment->sources, s->address);
	source_table_refused(&w->segment->sources, s->network);
	a->last = *client;
	a->last_why = why;
	a->n_unsaid++;
}

/* The line of the refusals of the second that ended. */
static void
say_refusals(struct worker *w)
{
	struct admission *a = &w->admission;

	if (a->n_unsaid == 0 || a->said_s == w->now_s)
		return;
	wlog_refused(w, &a->last, counter_names[a->last_why].name, a->n_unsaid);
	a->said_s = w->now_s;
	a->n_unsaid = 0;
}

enum counter
admission_enter(struct worker *w, struct session *s)
{
	const struct conf *conf = w->snapshot->conf;
	const struct source from = source_of(w, &s->flow.remote);
	bool stranger;
	enum counter why;

	if (w->sessions.n < w->n_slots) /* blocks may go within a turn */
		look_marks(w);
	why = admit(w, &s->flow.remote, &from, &stranger);
	if (why != COUNTER_N) {
		refused(w, &s->flow.remote, &from, why);
		return why;
	}
	s->counted_address =
		source_table_enter(&w->segment->sources, from.address, conf->limits_client_rate, w->now_us);
	s->counted_network =
		source_table_enter(&w->segment->sources, from.network, conf->limits_network_rate, w->now_us);
	if (!s->counted_address || !s->counted_network)
		counter_inc(w->counters, CTR_worker_sources_full);
	s->source = (struct session_source){ from.address, from.network };
	s->stranger = stranger;
	w->admission.n_strangers += stranger;
	return COUNTER_N;
}

void
admission_leave_soon(const struct worker *w, const struct session *s)
{
	if (s->source.address.hash == 0)
		return;
	source_table_prefetch(&w->segment->sources, s->source.address);
	source_table_prefetch(&w->segment->sources, s->source.network);
}

void
admission_leave(struct worker *w, struct session *s)
{
	struct source_table *t = &w->segment->sources;

	if (s->source.address.hash == 0 && (s->counted_address || s->counted_network)) { /* it rested meanwhile */
		const struct arrival *a = admission_arrival(w, &s->flow.remote);

		s->source = (struct session_source){ a->address, a->network };
	}
	if (s->counted_address)
		source_table_leave(t, s->source.address);
	if (s->counted_network)
		source_table_leave(t, s->source.network);
	s->counted_address = s->counted_network = false;
	admission_passed(w, s);
}

void
admission_passed(struct worker *w, struct session *s)
{
	w->admission.n_strangers -= s->stranger;
	s->stranger = false;
}

/* Whether a trusted proxy speaks for somebody we do not know yet: then nothing can be said of a SYN. */
static bool
speaks_for_another(const struct worker *w, const struct flow *f)
{
	uint32_t index;
	const struct conf_listener *l = worker_listener_of(w, f, &index);

	return l == NULL || session_proxy_expected(l, &f->remote);
}

bool
admission_syn(struct worker *w, const struct flow *f)
{
	struct source from;
	enum counter why;
	bool stranger;

	if (speaks_for_another(w, f))
		return true; /* or for no listener: tcp has its own answer */
	from = source_of(w, &f->remote);
	why = admit(w, &f->remote, &from, &stranger);
	if (why == COUNTER_N)
		return true;
	refused(w, &f->remote, &from, why);
	counter_inc(w->counters, CTR_worker_syn_ignored);
	return false;
}

/*
 * Who has completed a handshake of late is served, and whose mail was taken is remembered longest; of the rest there is no time for all. To ask
 * the verdict table as well would cost as much as an answer: a SYN dropped here costs a quarter of that.
 */
bool
admission_sheds(struct worker *w, const struct flow *f)
{
	if (tcp_is_proven(w->tcp, &f->remote))
		return false;
	counter_inc(w->counters, CTR_worker_syn_shed);
	w->admission.taken.syns++;
	w->admission.shed_us = w->now_us;
	return true;
}

/* Since when the client keeps s waiting; UINT64_MAX: it does not. */
static uint64_t
silent_since_us(const struct worker *w, const struct session *s)
{
	const struct smtp_env *env = worker_env(w, LISTENER_NONE);
	uint64_t due_us;

	if (s->is_submission || s->wait != SESSION_WAIT_NONE || s->client.conn == NULL)
		return UINT64_MAX;
	due_us = smtp_session_deadline_us(s->smtp, env);
	return due_us != UINT64_MAX ? due_us - env->conf->command_timeout_s * UINT64_C(1000000) : UINT64_MAX;
}

/* Why s has to give way, as the counter of it; COUNTER_N: it stays. Nobody who is known has to. */
static enum counter
must_give_way(struct worker *w, struct session *s)
{
	enum counter why = COUNTER_N;
	uint64_t since_us;

	if (!s->live || !s->stranger || !s->begun)
		return COUNTER_N;
	if (admission_mark(w, MARK_slots) && w->now_us - s->accepted_us >= STRANGER_SHORT_US)
		why = CTR_worker_gave_way;
	else if (admission_mark(w, MARK_silent) && (since_us = silent_since_us(w, s)) != UINT64_MAX &&
		 w->now_us >= since_us + STRANGER_SILENT_US)
		why = CTR_worker_silent_shed;
	if (why != COUNTER_N && !session_is_stranger(w, &s->flow.remote)) {
		admission_passed(w, s); /* he came while nobody was asked, or is known since */
		return COUNTER_N;
	}
	return why;
}

/* The next session to look at: of all where slots are short, else of those that hold a block. NULL: none there; false: no more in this turn. */
static bool
next_session(struct worker *w, struct session **s)
{
	struct admission *a = &w->admission;

	if (admission_mark(w, MARK_slots)) {
		a->cursor = (a->cursor + 1) % w->n_slots_fresh;
		if (session_store_visit(w, a->cursor, s))
			return true; /* else one at rest, and no block to wake it: those who hold them are looked at */
	}
	if (w->sessions.n_fresh == 0)
		return false;
	a->block_cursor = (a->block_cursor + 1) % w->sessions.n_fresh;
	*s = pool_at(&w->sessions, a->block_cursor);
	return true;
}

/* While slots or blocks are short: a few sessions of each turn. */
static void
look_at_sessions(struct worker *w)
{
	for (uint32_t i = 0; i < MIN(LOOKS_PER_TURN, w->n_slots_fresh); i++) {
		struct session *s;
		enum counter why;

		if (!next_session(w, &s))
			return;
		why = s != NULL ? must_give_way(w, s) : COUNTER_N;
		if (why != COUNTER_N)
			session_give_way(w, s, why);
		if (s != NULL && s->live)
			session_idle(w, s);
	}
}

void
admission_turn(struct worker *w)
{
	struct admission *a = &w->admission;

	look_marks(w);
	/* silence is decided before TCP answers; so is what would only fill room that known clients need */
	a->watch_syns = w->snapshot->conf->limits_answer == LIMITS_ANSWER_SILENCE || admission_mark(w, MARK_blocks) ||
	                (w->snapshot->conf->limits_reserve_percent != 0 &&
				(admission_mark(w, MARK_strangers) || left_to_strangers(w) == 0));
	if (a->n_unsaid != 0)
		say_refusals(w);
	if (a->n_strangers > 0 && (admission_mark(w, MARK_slots) || admission_mark(w, MARK_silent)))
		look_at_sessions(w);
}
