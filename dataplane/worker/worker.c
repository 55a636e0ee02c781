/*
 * worker.c - the turn of one lcore: what came in, what is due, what goes out.
 *
 * Flow:   port_io rx -> net_input -> tcp_input -> (tcp_ready -> session | relay | probe) -> tcp_output -> net_wrap -> port_io tx
 * Touches: the segment's rings, counters and states; its port_io.
 * Keeps:  every loop of a turn has a cap; what was collected goes out at the end of the turn (PITFALLS 23); a snapshot is changed
 *         between turns only, and confirmed by worker_generation() after the change.
 */
#include "dataplane/worker/worker_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define WHEEL_TICK_US        1000
#define REST_TICK_US         128000 /* 524 s for a round of the wheel: longer than limits.command_timeout as it is shipped */
#define SYN_RING_ENTRIES     4096
#define TIME_WAIT_MAX        65536
#define SND_QUEUE_MAX_OCTETS (256u << 10)
#define RCV_WND_MAX_OCTETS   (256u << 10)
#define OOO_MAX_SEGS         256
#define RCV_BUDGET_SHARE     2 /* offered windows may promise this many times the pool: a promise is rarely used up whole */

/* xorshift128+: for ports, labels and spreading. What must be unpredictable is keyed by SipHash in its own module. */
uint64_t
worker_random(struct worker *w)
{
	uint64_t a = w->random_state[0];
	const uint64_t b = w->random_state[1];

	w->random_state[0] = b;
	a ^= a << 23;
	a ^= a >> 17;
	a ^= b ^ (b >> 26);
	w->random_state[1] = a;
	return a + b;
}

const struct conf_listener *
worker_listener_of(const struct worker *w, const struct flow *f, uint32_t *index)
{
	for (uint32_t i = 0; i < w->snapshot->n_listeners; i++) {
		const struct conf_listener *l = &w->snapshot->listeners[i];

		if (l->port != f->local_port)
			continue;
		for (uint32_t j = 0; j < l->n_addrs; j++)
			if (ip_addr_equal(&l->addr[j], &f->local)) {
				*index = i;
				return l;
			}
	}
	*index = LISTENER_NONE;
	return NULL;
}

/* A listener that does not exist any more offers what needs no backend. */
static struct smtp_env
env_of(const struct worker *w, uint32_t listener)
{
	struct smtp_env env = {
		.conf = w->snapshot->conf,
		.ext = listener != LISTENER_NONE ? w->offer_ext[listener] : EXT_PIPELINING,
		.size_octets = listener != LISTENER_NONE ? w->offer_size[listener] : 0,
		.auth = listener != LISTENER_NONE ? w->offer_auth[listener] : 0,
		.counters = w->counters,
		.banner = w->banner,
		.banner_octets = (uint32_t)strlen(w->banner),
	};

	if (env.conf->message_max_octets != 0 &&
		(env.size_octets == 0 || env.conf->message_max_octets < env.size_octets))
		env.size_octets = env.conf->message_max_octets;
	return env;
}

/* What this data plane carries end to end: what else a backend may offer, no client hears of it. */
#define EXT_CARRIED                                                                                                    \
	(EXT_PIPELINING | EXT_SIZE | EXT_8BITMIME | EXT_SMTPUTF8 | EXT_DSN | EXT_ENHANCEDSTATUSCODES | EXT_CHUNKING |  \
		EXT_BINARYMIME)

static void
put_env(struct worker *w, uint32_t at, uint32_t listener)
{
	w->env[at] = env_of(w, listener);
	w->env[at].ehlo_octets = smtp_ehlo_write(w->ehlo[at], &w->env[at], false);
	w->env[at].ehlo = w->ehlo[at];
}

/* Apart from the question whether it is time: a frame of 20 KiB, cleared, is nothing to have in every turn. */
static void __attribute__((noinline)) renew_offers_now(struct worker *w)
{
	const struct snapshot *snap = w->snapshot;
	struct backend_state states[CONF_BACKENDS_MAX] = { 0 };

	w->offer_due_us = w->now_us + OFFER_RENEW_US;
	worker_backend_states(w, states);
	for (uint32_t i = 0; i < snap->n_listeners; i++) {
		backend_offer(&snap->listeners[i], snap->pools, snap->n_pools, snap->backends, states, snap->n_backends,
			&w->offer_ext[i], &w->offer_size[i]);
		w->offer_ext[i] &= EXT_CARRIED;
		w->offer_auth[i] =
			backend_offer_auth(&snap->listeners[i], snap->pools, snap->n_pools, states, snap->n_backends);
		put_env(w, i, i);
	}
	put_env(w, CONF_LISTENERS_MAX, LISTENER_NONE);
}

void
worker_backend_states(const struct worker *w, struct backend_state states[CONF_BACKENDS_MAX])
{
	for (uint32_t i = 0; i < w->snapshot->n_backends; i++) {
		const struct backend_state *s = segment_backend(w->segment, w->snapshot->backends[i].id, false);

		if (s != NULL)
			backend_state_load(&states[i], s);
		else
			states[i] = (struct backend_state){ 0 };
	}
}

static void
renew_offers(struct worker *w)
{
	if (w->now_us >= w->offer_due_us)
		renew_offers_now(w);
}

/* ---- snapshots ---- */

static bool
listens(const struct snapshot *snap, const struct ip_addr *addr, uint16_t port)
{
	for (uint32_t i = 0; i < snap->n_listeners; i++)
		for (uint32_t j = 0; snap->listeners[i].port == port && j < snap->listeners[i].n_addrs; j++)
			if (ip_addr_equal(&snap->listeners[i].addr[j], addr))
				return true;
	return false;
}

static void
listen_changes(struct worker *w, const struct snapshot *from, const struct snapshot *to)
{
	for (uint32_t i = 0; from != NULL && i < from->n_listeners; i++)
		for (uint32_t j = 0; j < from->listeners[i].n_addrs; j++)
			if (!listens(to, &from->listeners[i].addr[j], from->listeners[i].port))
				tcp_unlisten(w->tcp, &from->listeners[i].addr[j], from->listeners[i].port);
	for (uint32_t i = 0; i < to->n_listeners; i++)
		for (uint32_t j = 0; j < to->listeners[i].n_addrs; j++)
			if (tcp_listen(w->tcp, &to->listeners[i].addr[j], to->listeners[i].port, i) == -ENOSPC)
				counter_inc(w->counters, CTR_worker_listen_full);
}

static bool
some_backend_wants_name(const struct snapshot *snap, const struct conf_listener *l)
{
	for (uint32_t p = 0; p < snap->n_pools; p++)
		for (uint32_t b = 0; l->pools >> p & 1 && b < snap->n_backends; b++)
			if (snap->pools[p].backends >> b & 1 &&
				snap->backends[b].client_address == CLIENT_ADDRESS_XCLIENT)
				return true;
	return false;
}

static struct policy_ctx
policy_ctx_of(const struct worker *w, const struct snapshot *snap)
{
	return (struct policy_ctx){
		.conf = snap->conf,
		.domains = snap->domains,
		.client_allow = snap->client_allow,
		.client_deny = snap->client_deny,
		.sender_allow = snap->sender_allow,
		.sender_deny = snap->sender_deny,
		.rcpt_allow = snap->rcpt_allow,
		.rcpt_deny = snap->rcpt_deny,
		.rcpt_no_grey = snap->rcpt_no_grey,
		.traps = snap->traps,
		.zones = snap->zones,
		.n_zones = snap->n_zones,
		.table = &w->segment->table,
		.budget = w->segment->budget,
		.counters = w->counters,
	};
}

static bool
take_snapshot(struct worker *w)
{
	const struct snapshot *now = atomic_load_explicit(&w->shared->snapshot, memory_order_acquire);

	if (now == w->snapshot)
		return false;
	listen_changes(w, w->snapshot, now);
	w->snapshot = now;
	w->policy = policy_ctx_of(w, now);
	w->banner[smtp_banner_write(w->banner, now->conf)] = '\0';
	w->wants_name = w->with_tls = 0;
	for (uint32_t i = 0; i < now->n_listeners; i++) {
		w->wants_name |= (uint32_t)some_backend_wants_name(now, &now->listeners[i]) << i;
		w->with_tls |= (uint32_t)(now->listeners[i].tls != LISTENER_TLS_OFF) << i;
	}
	w->offer_due_us = 0;
	renew_offers(w);
	atomic_store_explicit(&w->generation, now->generation, memory_order_release);
	__atomic_store_n(&w->segment->live->snapshot_in_force[w->conf.index], now->generation, __ATOMIC_RELAXED);
	return true;
}

void
worker_publish(struct worker_shared *shared, const struct snapshot *snapshot)
{
	atomic_store_explicit(&shared->snapshot, snapshot, memory_order_release);
}

uint64_t
worker_generation(const struct worker *w)
{
	return atomic_load_explicit(&w->generation, memory_order_acquire);
}

uint32_t
worker_sessions(const struct worker *w)
{
	return atomic_load_explicit(&w->n_live_shared, memory_order_relaxed);
}

/* ---- start and end ---- */

/* A client's and a backend's for each session that is not at rest. */
static uint32_t
conns_max_of(const struct conf *conf)
{
	return session_store_blocks(conf) * 2 + PROBES_AT_ONCE;
}

static uint32_t
marks_conns_of(const struct conf *conf)
{
	return conns_max_of(conf) + conf->sessions;
}

uint64_t
worker_marks_octets(const struct conf *conf)
{
	return (uint64_t)tcp_marks_n(marks_conns_of(conf)) * sizeof(struct tcp_mark);
}

static struct tcp_conf
tcp_conf_of(const struct worker *w, const struct snapshot *snap)
{
	uint16_t mtu = 9000;
	struct tcp_conf conf = {
		.conns_max = conns_max_of(snap->conf),
		.rests_max = snap->conf->sessions,
		.rest_user_octets = session_rest_user_octets(),
		.syn_ring_entries = SYN_RING_ENTRIES,
		.time_wait_max = TIME_WAIT_MAX,
		.rcv_wnd_max_octets = RCV_WND_MAX_OCTETS,
		.rcv_budget_octets = (uint64_t)w->io->pool->n_bufs * w->io->pool->room_octets * RCV_BUDGET_SHARE,
		.snd_queue_max_octets = SND_QUEUE_MAX_OCTETS,
		.ooo_max_segs = OOO_MAX_SEGS,
		.worker = w->conf.index,
		.steering = &w->shared->steering,
		.kept = w->conf.kept,
		.marks = w->conf.marks,
		.life = w->segment->incarnation,
	};

	for (uint32_t i = 0; i < snap->n_ports; i++)
		mtu = MIN(mtu, snap->ports[i].mtu);
	conf.mtu = mtu;
	memcpy(&conf.secret, w->conf.random, sizeof(conf.secret));
	return conf;
}

void
worker_memory(const struct worker *w, struct memory_list *l)
{
	memory_list_add(l, "worker", 1, sizeof(*w));
	session_store_memory(w, l);
	session_rcpts_memory(l);
	tcp_memory(w->tcp, l);
	net_memory(l);
}

void
worker_bounds(const struct conf *conf, struct worker_bounds *b)
{
	*b = (struct worker_bounds){ .sessions = conf->sessions,
		.busy_sessions = session_store_blocks(conf),
		.busy_octets = session_store_block_octets(),
		.rest_octets = session_rest_octets_each() };
}

struct worker *
worker_create(const struct worker_conf *conf, uint64_t now_us, char *why, uint32_t why_octets)
{
	const struct snapshot *snap = atomic_load_explicit(&conf->shared->snapshot, memory_order_acquire);
	struct worker *w = aligned_alloc(64, (sizeof(*w) + 63) & ~(size_t)63);
	struct net_conf net_conf = {
		.n_ports = snap->n_ports, .steering = &conf->shared->steering, .worker = conf->index
	};
	struct tcp_conf tcp_conf;

	if (w == NULL) {
		snprintf(why, why_octets, "no memory for a worker");
		return NULL;
	}
	memset(w, 0, sizeof(*w));
	w->conf = *conf;
	w->shared = conf->shared;
	w->io = conf->io;
	w->segment = conf->segment;
	w->counters = &conf->segment->counters[conf->index];
	w->event = &conf->segment->event[conf->index];
	w->answer = &conf->segment->answer[conf->index];
	w->now_us = now_us;
	w->now_s = segment_policy_now_s(w->segment, now_us);
	memcpy(w->random_state, conf->random + 16, sizeof(w->random_state));
	w->random_state[0] |= 1; /* never all zero */
	wheel_init(&w->wheel, WHEEL_TICK_US, now_us);
	wheel_init(&w->rest_wheel, REST_TICK_US, now_us);
	wheel_init(&w->pause_wheel, WHEEL_TICK_US, now_us);
	for (uint32_t i = 0; i < snap->n_ports; i++)
		net_conf.port[i] = snap->ports[i];
	tcp_conf = tcp_conf_of(w, snap);
	if (!session_store_create(w, snap->conf) || !session_rcpts_create(w) ||
		(w->net = net_create(&net_conf, w->io->pool, w->counters, worker_random(w), now_us)) == NULL ||
		(w->tcp = tcp_create(&tcp_conf, w->io->pool, w->counters, now_us)) == NULL ||
		orphans_init(w, conf->marks, marks_conns_of(snap->conf)) != 0) {
		snprintf(why, why_octets, "no memory for %u sessions of a worker", snap->conf->sessions);
		worker_destroy(w);
		return NULL;
	}
	for (uint32_t i = 0; i < PROBES_AT_ONCE; i++)
		w->probe[i].end = (struct end){ .kind = END_PROBE, .owner = &w->probe[i] };
	w->cookie_key_due_us =
		w->conf.entropy == NULL ? UINT64_MAX : now_us + TCP_COOKIE_KEY_SLOTS * TCP_COOKIE_SLOT_US;
	__atomic_store_n(
		&w->segment->live->marks[conf->index], 0, __ATOMIC_RELAXED); /* those of a life before are over */
	take_snapshot(w);
	return w;
}

void
worker_destroy(struct worker *w)
{
	if (w == NULL)
		return;
	session_store_drop(w);
	probes_fini(w);
	if (w->tcp != NULL)
		tcp_destroy(w->tcp);
	if (w->net != NULL)
		net_destroy(w->net);
	orphans_fini(w);
	session_store_destroy(w);
	session_rcpts_destroy(w);
	free(w);
}

/* ---- the clock of turns ---- */

/* The CPU's own clock, for the share of turns that did work: some 20 cycles, twice a turn. 0 where there is none to read so cheaply. */
static uint64_t
cycles_now(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

/* ---- in ---- */

/* A SYN. True: answered in the buffer it came in, which is gone. */
static bool
input_syn(struct worker *w, const struct net_frame *f, const struct net_seg *seg)
{
	struct frame *apart = &w->seg_out[0].frame; /* nothing is on its way out yet */
	uint8_t *answer = f->room != NULL ? f->room : apart->hdr;
	uint32_t octets;

	w->admission.taken.syns++;
	if (w->admission.watch_syns && !admission_syn(w, &seg->flow))
		return false;
	octets = tcp_input_syn(w->tcp, seg, f, answer + frame_tcp_offset(&seg->flow), w->now_us);
	if (octets == 0)
		return false;
	octets = net_answer(w->net, answer, &seg->flow, octets, f);
	if (f->room != NULL) {
		w->io->ops->tx_answer(w->io, f, octets);
		return true;
	}
	apart->hdr_len_octets = (uint16_t)octets;
	apart->n_views = 0;
	apart->port_index = f->port_index;
	w->io->ops->tx(w->io, apart, 1);
	return false;
}

static void
input_result(struct worker *w, const struct net_frame *f, struct net_out *out, enum net_result result, bool is_syn)
{
	switch (result) {
	case NET_NONE:
		break;
	case NET_SEGMENT:
		if (!is_syn) {
			tcp_input(w->tcp, &out->seg, f, w->now_us);
		} else if (input_syn(w, f, &out->seg)) {
			buf_unref(w->io->pool, out->reassembled);
			return;
		}
		break;
	case NET_ICMP_ERROR:
		tcp_icmp_error(w->tcp, &out->error, w->now_us);
		break;
	case NET_REDIRECT:
		counter_inc(w->counters, CTR_port_redirect_out);
		w->admission.taken.others++;
		if (out->whole.buf == NULL) {
			w->io->ops->redirect(w->io, out->owner, f); /* takes our reference */
			return;
		}
		/* a datagram made whole from fragments goes in place of the last of them */
		w->io->ops->redirect(
			w->io, out->owner, &(struct net_frame){ .view = out->whole, .port_index = f->port_index });
		break;
	}
	buf_unref(w->io->pool, out->reassembled);
	buf_unref(w->io->pool, f->view.buf);
}

/*
 * The frames in w->rx. All are parsed and hashed first, and the lines of their connections asked for: of many sessions each segment is
 * somebody else's, and the misses of a burst then overlap instead of coming one after another.
 */
static void
input_burst(struct worker *w, uint32_t n, bool redirected)
{
	enum net_result result[RX_BURST_MAX_SEGS];
	uint32_t others = 0; /* a bit for each segment that is no SYN */
	const bool refuses_syns = w->snapshot->conf->reject_at == REJECT_AT_SYN, sheds = w->admission.backlog.behind;

	static_assert(RX_BURST_MAX_SEGS <= 32, "a bit for each");
	static_assert(RX_BURST_MAX_SEGS == BACKLOG_PASS_FRAMES_MAX, "a pass is a burst");
	tcp_wakes_max(w->tcp, pool_n_free(&w->sessions));
	for (uint32_t i = 0; i < n; i++) {
		struct net_seg *seg = &w->net_out[i].seg;

		w->rx[i].redirected = redirected;
		result[i] = net_input(w->net, &w->rx[i], &w->net_out[i], w->now_us);
		if (result[i] != NET_SEGMENT)
			continue;
		if (!tcp_is_syn(seg)) {
			others |= 1u << i;
			tcp_prefetch(w->tcp, seg, false);
			continue;
		}
		if (sheds && admission_sheds(w, &seg->flow)) {
			result[i] = NET_NONE;
		} else if (refuses_syns && session_syn_refused(w, seg)) {
			tcp_refuse(w->tcp, seg, &w->rx[i], w->now_us);
			result[i] = NET_NONE;
		} else {
			tcp_prefetch(w->tcp, seg, true);
		}
	}
	w->admission.taken.segs += (uint32_t)__builtin_popcount(others);
	for (uint32_t left = n > 1 ? others : 0; left != 0; left &= left - 1) {
		struct net_seg *seg = &w->net_out[__builtin_ctz(left)].seg;

		if (!tcp_prefetch_conn(w->tcp, seg))
			admission_expect(w, &seg->flow.remote);
	}
	for (uint32_t i = 0; i < n; i++) {
		if ((others >> i & 3) == 3 && tcp_is_outdone(w->tcp, &w->net_out[i].seg, &w->net_out[i + 1].seg))
			result[i] = NET_NONE;
		input_result(w, &w->rx[i], &w->net_out[i], result[i], (others >> i & 1) == 0);
	}
}

/* What a pass takes in: at most max from the device's queue, and as many of what others received for us. */
static uint32_t
input_frames(struct worker *w, uint32_t max)
{
	struct backlog_taken *taken = &w->admission.taken;
	const uint32_t own = w->io->ops->rx(w->io, w->rx, max);
	uint32_t others;

	input_burst(w, own, false);
	others = w->io->ops->redirected(w->io, w->rx, max);
	if (others > 0) {
		counter_add(w->counters, CTR_port_redirect_in, others);
		input_burst(w, others, true);
	}
	taken->emptied = own < max && others < max;
	taken->frames += own + others;
	return own + others;
}

static void
exchange_neighbours(struct worker *w)
{
	struct net_neighbour n;

	while (w->io->ops->neighbour_hear(w->io, &n))
		net_neighbour_learn(w->net, &n, w->now_us);
	while (net_neighbour_news(w->net, &n))
		w->io->ops->neighbour_tell(w->io, &n);
}

/* An answer of another life of either daemon is dropped: its session numbers mean nothing here. */
static bool
drain_answers(struct worker *w)
{
	uint32_t n = 0;

	for (; n < ANSWERS_PER_TURN; n++) {
		union link_answer a;
		const enum link_take taken = link_answer_take(w->answer, &a);

		if (taken == LINK_EMPTY)
			break;
		if (taken == LINK_MALFORMED) {
			counter_inc(w->counters, CTR_worker_answer_unknown);
			continue;
		}
		if (a.head.dataplane_incarnation != w->segment->incarnation) {
			counter_inc(w->counters, CTR_worker_answer_stale);
			continue;
		}
		switch ((enum link_answer_type)a.head.type) {
		case LINK_ANSWER_CLIENT:
			session_verdict_answer(w, &a.client);
			continue;
		case LINK_ANSWER_PROBE:
			probes_request(w, a.probe.backend_id, a.probe.relaytest != 0);
			continue;
		case LINK_ANSWER_NAMES:
			session_names_answer(w, &a.names);
			continue;
		case LINK_ANSWER_KEYS:
			probes_keys(w, &a.keys);
			continue;
		}
		counter_inc(w->counters, CTR_worker_answer_unknown);
	}
	return n > 0;
}

/* ---- connections ---- */

static void
serve_end(struct worker *w, struct end *e, uint32_t events)
{
	switch (e->kind) {
	case END_CLIENT:
		session_client_event(w, e->owner, events);
		if (((struct session *)e->owner)->live)
			session_idle_soon(w, e->owner);
		break;
	case END_BACKEND:
		session_relay_event(w, e->owner, events);
		if (((struct session *)e->owner)->live)
			session_idle(w, e->owner);
		break;
	case END_PROBE:
		probes_event(w, e->owner, events);
		break;
	}
}

/* While one session is served, the first lines of the next come: those around its end of the connection. */
static void
prefetch_next(const struct worker *w)
{
	const char *end = tcp_ready_user(w->tcp);

	if (end == NULL)
		return;
	for (int line = -2; line < 4; line++)
		__builtin_prefetch(end + 64 * line);
}

static bool
serve_connections(struct worker *w)
{
	uint32_t n = 0;

	for (; n < READY_PER_TURN; n++) {
		uint32_t events;
		struct tcp_conn *c = tcp_ready(w->tcp, &events);
		struct end *e;

		if (c == NULL)
			break;
		prefetch_next(w);
		if (events & TCP_EV_ACCEPTED) {
			session_accept(w, c);
			events &= ~(uint32_t)TCP_EV_ACCEPTED;
		}
		if (events & TCP_EV_WOKEN)
			session_woken(w, c);
		e = tcp_conn_user(c);
		/* what session_accept() refused has no user and is released */
		if (e == NULL || e->conn != c)
			continue;
		if (events != 0)
			serve_end(w, e, events);
		else if (e->kind == END_CLIENT && ((struct session *)e->owner)->wait == SESSION_WAIT_CONNECT_VERDICT)
			session_idle(w, e->owner); /* nothing was said whose ACK would tell that it may rest */
		if (w->n_rcpts == RCPTS_AT_ONCE)
			session_rcpts_judge(w);
	}
	session_rcpts_judge(w);
	return n > 0;
}

static bool
serve_timers(struct worker *w)
{
	uint32_t n = 0;
	struct wheel_node *node;

	for (; n < TIMERS_PER_TURN && (node = wheel_pop(&w->wheel, w->now_us)) != NULL; n++) {
		struct session *s = container_of_(node, struct session, timer);

		session_timer(w, s);
		if (s->live)
			session_idle(w, s);
	}
	n += session_rests_run(w, TIMERS_PER_TURN - n);
	return n > 0;
}

/* ---- out ---- */

/* All are wrapped before the first is copied by the port: headers just written in small words would have to be waited for. */
static bool
output_segments(struct worker *w)
{
	bool worked = false;
	uint32_t n;

	static_assert(TX_BURST_FRAMES <= 32, "a bit for each");
	do {
		uint32_t ready = 0;

		n = tcp_output(w->tcp, w->seg_out, TX_BURST_FRAMES, w->now_us);
		worked |= n > 0;
		for (uint32_t i = 0; i < n; i++) {
			struct tcp_seg_out *o = &w->seg_out[i];
			int rc = o->reply_to != NULL ? net_wrap_reply(w->net, &o->frame, &o->flow, o->tcp_header_octets,
							       o->reply_to, w->now_us)
			                             : net_wrap(w->net, &o->frame, &o->flow, o->tcp_header_octets,
							       o->path, w->now_us);

			ready |= (uint32_t)(rc == 0) << i;
		}
		for (; ready != 0; ready &= ready - 1) /* from where it lies: the port collects a burst by itself */
			w->io->ops->tx(w->io, &w->seg_out[__builtin_ctz(ready)].frame, 1);
	} while (n == TX_BURST_FRAMES);
	return worked;
}

static bool
output_own_frames(struct worker *w)
{
	bool worked = false;
	uint32_t n;

	while ((n = net_output(w->net, w->tx, TX_BURST_FRAMES, w->now_us)) > 0) {
		worked = true;
		w->io->ops->tx(w->io, w->tx, n);
		for (uint32_t i = 0; i < n; i++)
			for (uint32_t j = 0; j < w->tx[i].n_views; j++)
				buf_unref(w->io->pool, w->tx[i].view[j].buf);
	}
	return worked;
}

/* ---- drain ---- */

#define DRAIN_SLOTS_PER_TURN 256

static void
drain_some(struct worker *w)
{
	if (atomic_load_explicit(&w->shared->drain, memory_order_relaxed) == 0)
		return;
	if (!w->draining) {
		w->draining = true;
		tcp_accepting(w->tcp, false);
	}
	for (uint32_t i = 0; i < MIN((uint32_t)DRAIN_SLOTS_PER_TURN, w->n_slots_fresh); i++) {
		const uint32_t next = (w->drain_cursor + 1) % w->n_slots_fresh;
		struct session *s;

		if (!session_store_visit(w, next, &s))
			break; /* those told so far give their blocks back as they end */
		w->drain_cursor = next;
		if (s != NULL)
			session_drain(w, s);
		if (s != NULL && s->live)
			session_idle(w, s);
	}
}

/* ---- the turn ---- */

/* For the share of long passes. No branch depends on the clock, so that training (train.py) counts the same in each run. */
static void
note_pass(struct worker *w, bool worked, uint64_t cycles)
{
	struct turn_times *t = &w->segment->live->turns[w->conf.index];
	uint64_t *n = &(worked ? t->busy : t->empty)[turn_bucket(cycles)];
	uint64_t *sum = worked ? &t->busy_cycles : &t->empty_cycles;

	__atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
	__atomic_store_n(sum, *sum + cycles, __ATOMIC_RELAXED);
}

/* Out of the way of segments: a system call. */
static void
renew_cookie_key(struct worker *w)
{
	struct siphash_key fresh;

	if (w->conf.entropy(w->conf.entropy_arg, &fresh, sizeof(fresh)) == 0) {
		w->cookie_key_due_us = tcp_cookie_rekey(w->tcp, &fresh, w->now_us);
		return;
	}
	counter_inc(w->counters, CTR_tcp_cookie_key_kept);
	w->cookie_key_due_us = w->now_us + TCP_COOKIE_SLOT_US;
}

/* What is not of any frame: once a turn, in its first pass. */
static bool
serve_due(struct worker *w)
{
	bool worked = drain_answers(w);

	worked |= serve_timers(w);
	if (w->conf.index == 0)
		probes_run(w);
	orphans_run(w);
	drain_some(w);
	admission_turn(w);
	return worked;
}

static bool
send_out(struct worker *w)
{
	bool worked = output_segments(w);

	/* An ACK of this pass may have told the session that there is room again: the next serves it at once. */
	worked |= output_own_frames(w);
	w->io->ops->flush(w->io);
	return worked;
}

/* Serves whoever has news, and sends out what came of it: the end of a pass. */
static bool
serve_and_send(struct worker *w)
{
	const bool served = serve_connections(w);

	return send_out(w) || served;
}

/*
 * A turn is what is looked at once, and passes: each takes frames in, serves them and sends the answers, so that nobody waits for more than
 * the frames of his pass. It ends when the queue is empty, or after TURN_FRAMES. How many a pass has backlog.h says. Where a queue stands, it is a
 * whole burst: each finds the caches of instructions cold, and whoever is in the queue waits for all before him anyway.
 */
bool
worker_turn(struct worker *w, uint64_t now_us)
{
	const uint64_t began_cycles = cycles_now();
	const struct backlog *backlog = &w->admission.backlog;
	struct backlog_taken *taken = &w->admission.taken;
	uint64_t pass_cycles, cycles;
	bool worked;

	w->now_us = now_us;
	w->now_s = segment_policy_now_s(w->segment, now_us);
	worked = take_snapshot(w);
	w->policy.loading_left_s = segment_loading_left_s(w->segment, now_us);
	if (w->conf.tls != NULL)
		worked |= tls_context_take(w->conf.tls);
	renew_offers(w);
	exchange_neighbours(w);
	*taken = (struct backlog_taken){ .emptied = false };
	pass_cycles = cycles_now();
	worked |= input_frames(w, backlog_pass_frames(backlog, taken)) > 0;
	worked |= serve_due(w);
	worked |= serve_and_send(w);
	while (!taken->emptied && taken->frames < TURN_FRAMES) {
		const uint64_t next_cycles = cycles_now();

		if (input_frames(w, backlog_pass_frames(backlog, taken)) == 0)
			break;
		note_pass(w, true, next_cycles - pass_cycles);
		pass_cycles = next_cycles;
		serve_and_send(w);
	}
	taken->strays = tcp_strays_take(w->tcp);
	backlog_turn(&w->admission.backlog, taken);
	if (backlog->behind)
		tcp_behind(w->tcp, w->now_us);
	if (w->tls_first != NULL && session_tls_serve(w)) { /* what is slow comes after everybody else's answers */
		worked = true;
		session_rcpts_judge(w);
		send_out(w);
	}
	HOT_BUG_ON(w->n_rcpts != 0); /* they may not outlive the turn's snapshot */
	if (w->now_us >= w->cookie_key_due_us)
		renew_cookie_key(w);
	wlog_flush(w);
	cycles = cycles_now();
	note_pass(w, worked, cycles - pass_cycles);
	if (worked) {
		counter_inc(w->counters, CTR_worker_turns_busy);
		counter_add(w->counters, CTR_worker_busy_cycles, cycles - began_cycles);
	}
	return worked;
}

uint64_t
worker_deadline_us(const struct worker *w)
{
	uint64_t due = MIN(tcp_deadline_us(w->tcp), net_deadline_us(w->net));

	due = MIN(due, wheel_deadline_us(&w->wheel));
	due = MIN(due, wheel_deadline_us(&w->rest_wheel));
	due = MIN(due, wheel_deadline_us(&w->pause_wheel));
	due = MIN(due, session_idle_due_us(w));
	due = MIN(due, w->offer_due_us);
	due = MIN(due, w->orphans.due_us);
	if (w->conf.index == 0)
		due = MIN(due, probes_deadline_us(w));
	return w->tls_first != NULL ? w->now_us : due;
}
