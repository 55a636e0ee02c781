/*
 * tcp_listen.c - LISTEN and the passive SYN-RECEIVED.
 *
 * Pure:   see the header.
 * Keeps:  the four stages are FIFOs: an entry goes through them in the order it came, so each list is sorted by time.
 *
 * LISTEN:       a SYN is answered by a SYN-ACK and remembered; an ACK must complete one; all else gets an RST or nothing.
 * SYN-RECEIVED: (an entry) a repeated SYN is answered again; another SYN takes its place; the ACK makes the connection;
 *               an RST at RCV.NXT forgets it.
 */
#include "dataplane/tcp/tcp_listen.h"

#include <errno.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"
#include "dataplane/base/octets.h"
#include "dataplane/base/seq.h"
#include "dataplane/net/csum.h"
#include "dataplane/tcp/tcp_conn.h"

static const uint64_t stage_us[TCP_SYN_STAGES] = { 1000000, 3000000, 7000000, 15000000 };
/* He who is behind drops SYNs, is not for a moment, and is again: that long it is one flood. */
#define BEHIND_HOLD_US UINT64_C(1000000)

/* What a cookie can say of an MSS; the next lower one is used. The last is for jumbo frames. */
static const uint16_t cookie_mss[8] = { TCP_MSS_MIN, 536, 1220, 1360, 1440, 1452, 1460, 8940 };

bool
tcp_listen_create(struct tcp_listen *l, uint32_t entries, const struct siphash_key *cookie_key,
	struct tcp_filter *filter, uint64_t now_us)
{
	*l = (struct tcp_listen){
		.max = entries, .free = TCP_INDEX_NONE, .cookie_key_from = now_us / TCP_COOKIE_SLOT_US
	};
	block_hash_init(&l->cookie_key[0], cookie_key);
	l->cookie_key[1] = l->cookie_key[0];
	for (uint32_t i = 0; i < TCP_SYN_STAGES; i++)
		l->stage[i] = (struct tcp_syn_list){ TCP_INDEX_NONE, TCP_INDEX_NONE };
	l->entry = large_alloc(entries * sizeof(l->entry[0]));
	if (l->entry == NULL || !tcp_table_create(&l->table, entries, filter) ||
		!tcp_proven_create(&l->proven, cookie_key))
		return false;
	for (uint32_t i = 0; i < entries; i++) {
		l->entry[i].next = l->free;
		l->free = i;
	}
	return true;
}

void
tcp_listen_destroy(struct tcp_listen *l)
{
	large_free(l->entry, l->max * sizeof(l->entry[0]));
	tcp_table_destroy(&l->table);
	tcp_proven_destroy(&l->proven);
}

const struct tcp_listener *
tcp_listener_find(const struct tcp_listen *l, const struct flow *flow)
{
	for (uint32_t i = 0; i < TCP_LISTENERS_MAX && l->n_listeners > 0; i++) {
		const struct tcp_listener *x = &l->listener[i];

		if (x->used && x->port == flow->local_port && ip_addr_equal(&x->addr, &flow->local))
			return x;
	}
	return NULL;
}

int
tcp_listen(struct tcp *tcp, const struct ip_addr *addr, uint16_t port, uint32_t tag)
{
	struct tcp_listen *l = &tcp->listen;
	const struct flow as_flow = { .local = *addr, .local_port = port };

	if (tcp_listener_find(l, &as_flow) != NULL)
		return -EEXIST;
	for (uint32_t i = 0; i < TCP_LISTENERS_MAX; i++) {
		if (l->listener[i].used)
			continue;
		l->listener[i] = (struct tcp_listener){ .addr = *addr, .port = port, .tag = tag, .used = true };
		l->n_listeners++;
		return 0;
	}
	return -ENOSPC;
}

int
tcp_unlisten(struct tcp *tcp, const struct ip_addr *addr, uint16_t port)
{
	struct tcp_listen *l = &tcp->listen;

	for (uint32_t i = 0; i < TCP_LISTENERS_MAX; i++) {
		struct tcp_listener *x = &l->listener[i];

		if (!x->used || x->port != port || !ip_addr_equal(&x->addr, addr))
			continue;
		x->used = false;
		l->n_listeners--;
		return 0;
	}
	return -ENOENT;
}

/* --- the cookie: 2 bits of time, 8 bits of options under a mask, 22 bits of hash --- */

/*
 * A key comes into force with the slot after it was drawn. So each slot has one key: a cookie is checked against one, not two, and a SYN-ACK
 * said twice within a slot is the same.
 */
uint64_t
tcp_cookie_rekey(struct tcp *tcp, const struct siphash_key *fresh, uint64_t now_us)
{
	const uint64_t slot = now_us / TCP_COOKIE_SLOT_US;
	struct tcp_listen *l = &tcp->listen;

	if (slot >
		l->cookie_key_from) { /* else cookies of the slot before this one, which still hold, would lose their key */
		l->cookie_key[1] = l->cookie_key[0];
		block_hash_init(&l->cookie_key[0], fresh);
		l->cookie_key_from = slot + 1;
		counter_inc(tcp->counters, CTR_tcp_cookie_rekeyed);
	}
	return (l->cookie_key_from + TCP_COOKIE_KEY_SLOTS) * TCP_COOKIE_SLOT_US;
}

/*
 * Of who asks, with which number, and when. The tuple comes in as its hash, which is keyed by a secret of its own and which nobody is told, and
 * with it the slot: one tuple never says the same twice, two share a cookie with a chance of 2^-64, and nobody can tell which those are. That is
 * one block of the hash.
 */
static uint64_t
cookie_hash(const struct tcp *tcp, uint64_t flow_hash, uint32_t irs, uint64_t slot)
{
	const struct tcp_listen *l = &tcp->listen;
	const struct block_hash *key = slot < l->cookie_key_from ? &l->cookie_key[1] : &l->cookie_key[0];

	return block_hash_told(key, flow_hash + (slot << 32), irs);
}

/*
 * The cookie of these options: 8 bits of the hash mask them, the others make the check, by a product that options of another number
 * change. Nobody but the peer itself sees a cookie of its tuple; a stranger has to guess 22 bits, whatever the options.
 */
static uint32_t
cookie_of(uint64_t hash, uint64_t slot, uint32_t options)
{
	const uint32_t check = (uint32_t)((hash >> 8) * (2 * options + 1) >> 34) & 0x3fffff;

	return (uint32_t)(slot & 3) << 30 | (options ^ (uint32_t)(hash & 0xff)) << 22 | check;
}

static uint32_t
options_pack(const struct tcp_syn_options *opt)
{
	uint32_t mss = ARRAY_LEN(cookie_mss) - 1; /* most are near the end */

	while (mss > 0 && cookie_mss[mss] > opt->mss)
		mss--;
	return mss << 5 | (uint32_t)(opt->wscale > TCP_WSCALE_MAX ? 15 : opt->wscale) << 1 | opt->sack;
}

uint32_t
tcp_cookie_make(
	const struct tcp *tcp, uint64_t flow_hash, uint32_t irs, const struct tcp_syn_options *opt, uint64_t now_us)
{
	const uint64_t slot = now_us / TCP_COOKIE_SLOT_US;

	return cookie_of(cookie_hash(tcp, flow_hash, irs, slot), slot, options_pack(opt));
}

bool
tcp_cookie_check(const struct tcp *tcp, uint64_t flow_hash, uint32_t irs, uint32_t cookie, struct tcp_syn_options *opt,
	uint64_t now_us)
{
	const uint64_t slot_now = now_us / TCP_COOKIE_SLOT_US;

	for (uint64_t age = 0; age < 2 && age <= slot_now; age++) {
		const uint64_t slot = slot_now - age;
		uint64_t hash;
		uint32_t options;

		if ((slot & 3) != cookie >> 30)
			continue;
		hash = cookie_hash(tcp, flow_hash, irs, slot);
		options = (cookie >> 22 ^ (uint32_t)hash) & 0xff;
		if (cookie_of(hash, slot, options) != cookie)
			return false;
		*opt = (struct tcp_syn_options){ .mss = cookie_mss[options >> 5], .sack = options & 1 };
		opt->wscale = (options >> 1 & 15) == 15 ? TCP_WSCALE_NONE : (uint8_t)(options >> 1 & 15);
		return true;
	}
	return false;
}

/* --- the ring --- */

static void
stage_push(struct tcp_listen *l, uint32_t i)
{
	struct tcp_syn_list *s = &l->stage[l->entry[i].stage];

	l->entry[i].next = TCP_INDEX_NONE;
	l->entry[i].prev = s->tail;
	if (s->tail != TCP_INDEX_NONE)
		l->entry[s->tail].next = i;
	else
		s->head = i;
	s->tail = i;
}

static void
stage_del(struct tcp_listen *l, uint32_t i)
{
	const struct tcp_syn_entry *e = &l->entry[i];
	struct tcp_syn_list *s = &l->stage[e->stage];

	if (e->prev != TCP_INDEX_NONE)
		l->entry[e->prev].next = e->next;
	else
		s->head = e->next;
	if (e->next != TCP_INDEX_NONE)
		l->entry[e->next].prev = e->prev;
	else
		s->tail = e->prev;
}

struct tcp_syn_entry *
tcp_syn_find(const struct tcp_listen *l, const struct flow *flow, uint64_t hash)
{
	uint32_t at = 0, i;

	while ((i = tcp_table_next(&l->table, hash, &at)) != TCP_TABLE_NONE)
		if (tcp_flow_equal(&l->entry[i].flow, flow))
			return &l->entry[i];
	return NULL;
}

static void
entry_del(struct tcp *tcp, struct tcp_syn_entry *e)
{
	struct tcp_listen *l = &tcp->listen;
	uint32_t i = (uint32_t)(e - l->entry);

	tcp_unmark_syn(tcp, e);
	tcp_table_remove(&l->table, e->hash, i);
	stage_del(l, i);
	e->next = l->free;
	l->free = i;
	l->n--;
	if (e->proven)
		tcp_proven_leave(&l->proven, &e->flow.remote);
	else
		l->n_strangers--;
}

/* What a cookie of ours can still complete, it may from now on. */
static void
expect_cookies(struct tcp *tcp)
{
	tcp->listen.cookies_until_us = tcp->now_us + 2 * TCP_COOKIE_SLOT_US;
}

/* The oldest of those strangers whose SYN-ACK was repeated gives way; false: there is none. Only the heads are looked at. */
static bool
give_up_a_stranger(struct tcp *tcp)
{
	struct tcp_listen *l = &tcp->listen;

	for (uint32_t s = TCP_SYN_STAGES - 1; s > 0; s--) {
		const uint32_t i = l->stage[s].head;

		if (i == TCP_INDEX_NONE || l->entry[i].proven)
			continue;
		counter_inc(tcp->counters, CTR_tcp_syn_given_up);
		expect_cookies(tcp);
		entry_del(tcp, &l->entry[i]);
		return true;
	}
	return false;
}

static bool
is_behind(const struct tcp *tcp)
{
	return tcp->now_us < tcp->listen.behind_until_us;
}

/* An entry for a SYN of that flow; NULL: the ring is full for such as he is. */
static struct tcp_syn_entry *
entry_get(struct tcp *tcp, const struct flow *flow, uint64_t hash)
{
	struct tcp_listen *l = &tcp->listen;
	const bool crowded = l->n_strangers >= l->max - l->max / TCP_SYN_PROVEN_SHARE || l->free == TCP_INDEX_NONE;
	bool proven = false;
	uint32_t i;

	if (crowded || is_behind(tcp))
		proven = l->free != TCP_INDEX_NONE && tcp_proven_enter(&l->proven, &flow->remote);
	if (crowded && !proven && !give_up_a_stranger(tcp))
		return NULL;
	i = l->free;
	if (i == TCP_INDEX_NONE || !tcp_table_insert(&l->table, hash, i)) {
		if (proven)
			tcp_proven_leave(&l->proven, &flow->remote);
		return NULL;
	}
	if (proven)
		counter_inc(tcp->counters, CTR_tcp_syn_proven);
	else
		l->n_strangers++;
	l->free = l->entry[i].next;
	l->entry[i] = (struct tcp_syn_entry){ .hash = hash, .flow = *flow, .proven = proven };
	stage_push(l, i);
	l->n++;
	return &l->entry[i];
}

/* --- SYN --- */

/* What a SYN-ACK is made of: from an entry of the ring, or of a SYN that is not remembered. */
struct syn_ack {
	uint32_t irs, iss, tsval;
	uint16_t wnd;
	struct tcp_syn_options opt;
};

static inline struct tcp_hdr
syn_ack_hdr(const struct tcp *tcp, const struct flow *flow, const struct syn_ack *e)
{
	return (struct tcp_hdr){
		.seq = e->iss,
		.ack = e->irs + 1,
		.flags = TCP_SYN | TCP_ACK,
		.wnd = e->wnd, /* never scaled in a SYN (RFC 7323 section 2.2) */
		.mss = (uint16_t)tcp_mss_of_mtu(flow, tcp->conf.mtu),
		.wscale = e->opt.wscale == TCP_WSCALE_NONE ? TCP_WSCALE_NONE : TCP_RCV_WSCALE,
		.sack_permitted = e->opt.sack,
		.has_ts = e->opt.ts,
		.tsval = tcp_ts_now(tcp, tcp->now_us),
		.tsecr = e->tsval,
	};
}

/* Written to answer with its checksum, then its octets are returned; or, where that is NULL, queued: then 0. */
static inline __attribute__((always_inline)) uint32_t
send_syn_ack(struct tcp *tcp, const struct flow *flow, const struct syn_ack *e, const struct net_frame *frame,
	uint8_t *answer)
{
	struct tcp_hdr h;
	uint32_t octets;

	if (answer != NULL && e->opt.ts && e->opt.sack && e->opt.wscale != TCP_WSCALE_NONE &&
		ip_addr_is_v4(&flow->local)) {
		const struct tcp_hdr usual = syn_ack_hdr(tcp, flow, e); /* in registers */

		return tcp_syn_put(answer, flow, &usual, tcp_syn_checksum4(flow, &usual));
	}
	h = syn_ack_hdr(tcp, flow, e);
	if (answer == NULL) {
		tcp_reply_add(tcp, flow, &h, frame);
		return 0;
	}
	octets = tcp_hdr_build(answer, flow, &h);
	csum_set_tcp(answer, octets,
		csum_pseudo(&flow->local, &flow->remote, CSUM_PROTO_TCP, octets, ip_addr_is_v4(&flow->local)), NULL,
		NULL, 0);
	return octets;
}

static uint32_t
send_entry(struct tcp *tcp, const struct tcp_syn_entry *e, const struct net_frame *frame, uint8_t *answer)
{
	const struct syn_ack a = { .irs = e->irs, .iss = e->iss, .tsval = e->tsval, .wnd = e->wnd, .opt = e->opt };

	return send_syn_ack(tcp, &e->flow, &a, frame, answer);
}

/* An MSS that was not said is the default of the family. */
static struct tcp_syn_options
options_of(struct tcp_syn_options o, const struct flow *flow)
{
	if (o.mss == 0)
		o.mss = ip_addr_is_v4(&flow->local) ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6;
	o.mss = MAX(o.mss, TCP_MSS_MIN);
	return o;
}

/* PITFALLS 16. Directed broadcasts and other addresses of ours are net's to know. */
bool
tcp_is_possible_peer(const struct flow *flow)
{
	const struct ip_addr *r = &flow->remote;

	if (flow->remote_port == 0 || flow->local_port == 0 || ip_addr_equal(r, &flow->local))
		return false;
	if (ip_addr_is_v4(&flow->local)) { /* both are of one family */
		uint32_t a = ip_addr_to_v4(r);

		return a >> 24 != 0 && a >> 24 != 127 && a >> 28 < 0xe; /* this net, loopback, multicast and up */
	}
	return !ip_addr_is_zero(r) && r->octet[0] != 0xff;
}

static bool
may_accept(struct tcp *tcp)
{
	if (tcp->accepting && tcp->n_conns < tcp->conf.conns_max)
		return true;
	counter_inc(tcp->counters, CTR_tcp_syn_refused);
	return false;
}

/* A SYN that is remembered has its SYN-ACK repeated from fresh buffers, and asks for a block that may not be there: a cookie costs neither. */
static bool
cookies_only(struct tcp *tcp, enum counter what_is_not_done)
{
	if (!marks_on(tcp->marks, MARK_cookies) && !marks_on(tcp->marks, MARK_connections))
		return false;
	counter_inc(tcp->counters, what_is_not_done);
	return true;
}

static void
remember(struct tcp *tcp, struct tcp_syn_entry *e, const struct tcp_listener *x, const struct syn_ack *a)
{
	e->start_us = tcp->now_us;
	e->irs = a->irs;
	e->opt = a->opt;
	e->iss = a->iss;
	e->tsval = a->tsval;
	e->tag = x->tag;
	e->wnd = a->wnd;
	tcp_mark_syn(tcp, e);
}

/* A SYN to x alone. e: what is remembered of its flow, NULL: nothing. In one piece with who asks: of a flood each is answered here. */
static inline __attribute__((always_inline)) uint32_t
tcp_listen_syn(struct tcp *tcp, const struct tcp_listener *x, struct tcp_syn_entry *e, const struct flow *flow,
	const struct tcp_syn *syn, uint64_t hash, const struct net_frame *frame, uint8_t *answer)
{
	struct syn_ack a;

	counter_inc(tcp->counters, CTR_tcp_syn_in);
	if (e != NULL && e->irs == syn->seq) {
		counter_inc(tcp->counters, CTR_tcp_syn_repeated);
		if (syn->opt.ts)
			e->tsval = syn->tsval;
		return send_entry(tcp, e, frame, answer);
	}
	if (!may_accept(tcp))
		return 0;
	if (e != NULL) {
		/* A new incarnation, or a forger: the ACK to the old SYN-ACK still completes its cookie. */
		counter_inc(tcp->counters, CTR_tcp_syn_replaced);
		expect_cookies(tcp);
		entry_del(tcp, e);
	}
	e = cookies_only(tcp, CTR_tcp_cookies_only) ? NULL : entry_get(tcp, flow, hash);
	a = (struct syn_ack){ .irs = syn->seq,
		.tsval = syn->tsval,
		.wnd = (uint16_t)tcp_initial_window(tcp),
		.opt = options_of(syn->opt, flow) };
	a.iss = tcp_cookie_make(tcp, hash, syn->seq, &a.opt, tcp->now_us);
	if (e != NULL) {
		remember(tcp, e, x, &a);
	} else {
		counter_inc(tcp->counters, CTR_tcp_cookie_sent);
		expect_cookies(tcp);
	}
	return send_syn_ack(tcp, flow, &a, frame, answer);
}

/*
 * A SYN of a flow that nobody knows: what floods are made of, and how each session begins. One look at the filter stands for all tables. Whatever
 * is not as usual goes the way of every other segment (tcp_input.c), before anything was counted or changed: what comes of a SYN is the same either way.
 */
uint32_t
tcp_input_syn(
	struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint8_t *answer, uint64_t now_us)
{
	const uint64_t hash = seg->hash != 0 ? seg->hash : tcp_flow_hash(tcp, &seg->flow);
	const struct tcp_listener *x = tcp_listener_find(&tcp->listen, &seg->flow);
	struct tcp_syn syn;

	if (x == NULL || tcp_filter_may_have(&tcp->filter, hash) || !tcp_is_possible_peer(&seg->flow) ||
		!tcp_syn_parse(&syn, seg->tcp.ptr, seg->tcp.len_octets) ||
		(!seg->checksum_good && !csum_is_good(&seg->flow.remote, &seg->flow.local, CSUM_PROTO_TCP, seg->tcp.ptr,
						seg->tcp.len_octets)))
		return tcp_segment(tcp, seg, frame, answer, now_us);
	tcp_clock(tcp, now_us);
	tcp_reply_release(tcp);
	counter_inc(tcp->counters, CTR_tcp_in_segs);
	return tcp_listen_syn(tcp, x, NULL, &seg->flow, &syn, hash, frame, answer);
}

/* --- the ACK --- */

/* A connection in ESTABLISHED for a handshake that is complete; NULL: no memory. */
static struct tcp_conn *
establish(struct tcp *tcp, const struct tcp_syn_entry *e, const struct tcp_hdr *h)
{
	struct tcp_conn *c = tcp->conf.conns_max == tcp->n_conns ? NULL : tcp_conn_get(tcp, &e->flow, e->hash);

	if (c == NULL) {
		counter_inc(tcp->counters, CTR_tcp_accept_no_block);
		return NULL;
	}
	c->tag = e->tag;
	c->ts_ok = e->opt.ts;
	c->sack_ok = e->opt.sack;
	c->snd_wscale = e->opt.wscale == TCP_WSCALE_NONE ? 0 : e->opt.wscale;
	c->rcv_wscale = e->opt.wscale == TCP_WSCALE_NONE ? 0 : TCP_RCV_WSCALE;
	c->ts_recent = e->tsval;
	c->ts_recent_us = tcp->now_us;
	tcp_conn_init_send(c, e->iss);
	c->snd_una = c->snd_nxt = c->snd_max = e->iss + 1;
	tcp_conn_init_rcv(c, e->irs, e->wnd);
	tcp_set_mss(c, MIN(e->opt.mss, tcp_mss_of_mtu(&e->flow, tcp->conf.mtu)));
	tcp_init_cwnd(c);
	c->snd_wnd = c->snd_wnd_max = (uint32_t)h->wnd << c->snd_wscale;
	c->snd_wl1 = h->seq;
	c->snd_wl2 = h->ack;
	tcp_mark_conn(c);
	tcp_set_state(c, TCP_STATE_ESTABLISHED);
	tcp_proven_note(&tcp->listen.proven, &e->flow.remote, tcp->now_us);
	counter_inc(tcp->counters, CTR_tcp_accepted);
	tcp_event(c, TCP_EV_ACCEPTED);
	return c;
}

/* Whether the segment that completes the handshake of e may be its peer's: sequence and timestamp. */
static bool
is_of_entry(struct tcp *tcp, const struct tcp_syn_entry *e, const struct tcp_hdr *h)
{
	if (!seq_in(h->seq, e->irs + 1, e->irs + 1 + e->wnd + 1)) {
		counter_inc(tcp->counters, CTR_tcp_drop_sequence);
		return false;
	}
	if (e->opt.ts && !h->has_ts) {
		counter_inc(tcp->counters, CTR_tcp_drop_no_timestamp);
		return false;
	}
	if (e->opt.ts && seq_lt(h->tsval, e->tsval)) {
		counter_inc(tcp->counters, CTR_tcp_drop_paws);
		return false;
	}
	return true;
}

static void
first_rtt(struct tcp_conn *c, const struct tcp_syn_entry *e, const struct tcp_hdr *h)
{
	const struct tcp *tcp = c->tcp;
	const uint32_t age_ms = tcp_ts_now(tcp, tcp->now_us) - h->tsecr;

	if (c->ts_ok && age_ms < 60000)
		tcp_rtt_sample(c, age_ms * 1000);
	else if (e->stage == 0 && e->start_us != 0)
		tcp_rtt_sample(c, (uint32_t)MIN(tcp->now_us - e->start_us, UINT64_C(60000000)));
	else if (e->stage != 0)
		c->rto_us = TCP_RTO_AFTER_SYN_US;
}

/* True: h completed a handshake, the connection has it now. */
static bool
complete(struct tcp *tcp, struct tcp_syn_entry *e, struct tcp_syn_entry *in_ring, const struct net_seg *seg,
	const struct tcp_hdr *h)
{
	struct tcp_conn *c = establish(tcp, e, h);
	struct tcp_seg_in s;

	if (c == NULL)
		return false; /* a remembered entry stays: the client repeats its ACK when our SYN-ACK comes again */
	first_rtt(c, e, h);
	if (in_ring != NULL)
		entry_del(tcp, in_ring);
	s.h = *h;
	tcp_seg_start(&s, seg->tcp.buf, tcp->now_us);
	tcp_conn_input(c, &s);
	tcp_conn_reap(c);
	return true;
}

/* True: it completed a handshake. */
static bool
on_ack(struct tcp *tcp, const struct tcp_listener *x, struct tcp_syn_entry *e, const struct net_seg *seg,
	const struct tcp_hdr *h, uint64_t hash, const struct net_frame *frame)
{
	struct tcp_syn_entry from_cookie = { .flow = seg->flow, .hash = hash, .irs = h->seq - 1, .iss = h->ack - 1 };

	if (e != NULL && h->ack == e->iss + 1)
		return is_of_entry(tcp, e, h) && complete(tcp, e, e, seg, h);
	if (x != NULL && tcp->now_us < tcp->listen.cookies_until_us) {
		if (tcp_cookie_check(tcp, hash, from_cookie.irs, from_cookie.iss, &from_cookie.opt, tcp->now_us)) {
			from_cookie.opt.ts = h->has_ts;
			from_cookie.tsval = h->tsval;
			from_cookie.tag = x->tag;
			from_cookie.wnd = (uint16_t)tcp_initial_window(tcp);
			if (!complete(tcp, &from_cookie, e, seg, h))
				return false;
			counter_inc(tcp->counters, CTR_tcp_cookie_good);
			return true;
		}
		counter_inc(tcp->counters, CTR_tcp_cookie_bad);
		/* Data ahead of a lost first segment cannot prove its cookie, for the peer's ISN is not in it. The lost
		 * segment comes again and can: silence here, where RFC 9293 has an RST. */
		if (h->payload_octets > 0)
			return false;
	} else {
		counter_inc(tcp->counters, CTR_tcp_drop_no_conn);
	}
	tcp_reply_rst(tcp, &seg->flow, h, frame);
	return false;
}

uint32_t
tcp_listen_input(struct tcp *tcp, struct tcp_syn_entry *e, const struct net_seg *seg, const struct tcp_hdr *h,
	uint64_t hash, const struct net_frame *frame, uint8_t *answer)
{
	const struct tcp_listener *x = tcp_listener_find(&tcp->listen, &seg->flow);

	tcp->strays += (h->flags & TCP_SYN) == 0;
	if (!tcp_is_possible_peer(&seg->flow)) {
		counter_inc(tcp->counters, CTR_tcp_drop_address);
		return 0;
	}
	/* RFC 9293 section 3.10.7.2, first: check for an RST */
	if ((h->flags & TCP_RST) != 0) {
		if (e != NULL && h->seq == e->irs + 1) {
			counter_inc(tcp->counters, CTR_tcp_syn_reset);
			entry_del(tcp, e);
		} else {
			counter_inc(tcp->counters, CTR_tcp_drop_rst);
		}
		return 0;
	}
	/* second: check for an ACK */
	if ((h->flags & (TCP_ACK | TCP_SYN)) == TCP_ACK) {
		tcp->strays -= on_ack(tcp, x, e, seg, h, hash, frame); /* a connection has it */
		return 0;
	}
	/* third: check for a SYN */
	if ((h->flags & (TCP_ACK | TCP_SYN)) == TCP_SYN && x != NULL) {
		const struct tcp_syn syn = tcp_syn_of(h);

		if ((h->flags & TCP_FIN) == 0)
			return tcp_listen_syn(tcp, x, e, &seg->flow, &syn, hash, frame, answer);
		counter_inc(tcp->counters, CTR_tcp_syn_in);
		counter_inc(tcp->counters, CTR_tcp_drop_flags);
		return 0;
	}
	/* fourth: anything else. A listener drops what has neither SYN nor ACK; a closed port resets it (section 3.10.7.1). */
	counter_inc(tcp->counters, CTR_tcp_drop_no_conn);
	if (x == NULL || (h->flags & TCP_ACK) != 0)
		tcp_reply_rst(tcp, &seg->flow, h, frame);
	return 0;
}

void
tcp_refuse(struct tcp *tcp, const struct net_seg *seg, const struct net_frame *frame, uint64_t now_us)
{
	const uint8_t *p = seg->tcp.ptr;
	const uint32_t header_octets = (uint32_t)(p[12] >> 4) * 4;
	const struct tcp_hdr h = {
		.seq = get_u32(p + 4), .flags = TCP_SYN, .payload_octets = seg->tcp.len_octets - header_octets
	};

	tcp_clock(tcp, now_us);
	tcp_reply_release(tcp);
	counter_inc(tcp->counters, CTR_tcp_in_segs);
	if (header_octets < TCP_HEADER_MIN_OCTETS || header_octets > seg->tcp.len_octets)
		counter_inc(tcp->counters, CTR_tcp_drop_header);
	else if (!tcp_is_possible_peer(&seg->flow))
		counter_inc(tcp->counters, CTR_tcp_drop_address);
	else if (!tcp_may_reset(tcp))
		counter_inc(tcp->counters, CTR_tcp_rst_limited);
	else if (!seg->checksum_good &&
		 !csum_is_good(&seg->flow.remote, &seg->flow.local, CSUM_PROTO_TCP, p, seg->tcp.len_octets))
		counter_inc(tcp->counters, CTR_tcp_drop_checksum);
	else
		tcp_reply_rst(tcp, &seg->flow, &h, frame);
}

void
tcp_behind(struct tcp *tcp, uint64_t now_us)
{
	tcp->listen.behind_until_us = now_us + BEHIND_HOLD_US;
}

void
tcp_vouch(struct tcp *tcp, const struct ip_addr *addr)
{
	tcp_proven_vouch(&tcp->listen.proven, addr);
}

bool
tcp_is_proven(const struct tcp *tcp, const struct ip_addr *addr)
{
	return tcp_proven_may_enter(&tcp->listen.proven, addr);
}

/* --- time --- */

static void
entry_due(struct tcp *tcp, uint32_t i)
{
	struct tcp_listen *l = &tcp->listen;
	struct tcp_syn_entry *e = &l->entry[i];

	if (e->stage == TCP_SYN_STAGES - 1) {
		counter_inc(tcp->counters, CTR_tcp_syn_expired);
		entry_del(tcp, e);
		return;
	}
	stage_del(l, i);
	e->stage++;
	stage_push(l, i);
	if (cookies_only(tcp, CTR_tcp_syn_ack_withheld))
		return;
	if (is_behind(tcp) && !e->proven) {
		counter_inc(tcp->counters, CTR_tcp_syn_ack_withheld);
		return;
	}
	counter_inc(tcp->counters, CTR_tcp_syn_ack_again);
	send_entry(tcp, e, NULL, NULL);
}

uint32_t
tcp_listen_expire(struct tcp *tcp, uint64_t now_us, uint32_t max)
{
	struct tcp_listen *l = &tcp->listen;
	uint32_t n = 0;

	for (uint32_t s = 0; s < TCP_SYN_STAGES; s++) {
		while (n < max && l->stage[s].head != TCP_INDEX_NONE &&
			l->entry[l->stage[s].head].start_us + stage_us[s] <= now_us) {
			entry_due(tcp, l->stage[s].head);
			n++;
		}
	}
	return n;
}

uint64_t
tcp_listen_deadline_us(const struct tcp_listen *l)
{
	uint64_t due = TCP_NEVER;

	for (uint32_t s = 0; s < TCP_SYN_STAGES; s++)
		if (l->stage[s].head != TCP_INDEX_NONE)
			due = MIN(due, l->entry[l->stage[s].head].start_us + stage_us[s]);
	return due;
}
