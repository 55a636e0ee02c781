/*
 * test_tcp_pitfalls_open.c - where other stacks fell: SYNs, cookies and source ports.
 *
 * Lines 12, 13 and 21 of the pitfalls, one test or more for each, named by its number (line 22 belongs to net).
 */
#include <errno.h>

#include "tests/check.h"
#include "tests/helpers/tcp_pair.h"
#include "tests/helpers/tcp_peer.h"

static const struct peer_options usual = { .mss = 1460 };
static const struct peer_options bare = {
	.mss = 1460, .wnd = 40000, .no_ts = true, .no_sack = true, .no_wscale = true
};

/* --- 12 --- */

static void
test_pitfall_12_third_acks_in_all_their_forms(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	uint32_t isn;

	(void)state;
	for (uint32_t cookie = 0; cookie < 2; cookie++) {
		conf.syn_ring_entries = cookie ? 0 : 16;

		/* several ACKs of one handshake make one connection */
		peer_init(&p, &usual, &conf);
		peer_say_syn(&p, TCP_SYN);
		isn = peer_hear(&p)->h.seq;
		peer_wait(&p, 900000);
		peer_say_syn(&p, TCP_SYN);
		CHECK_EQ("the same number for the same SYN", peer_hear(&p)->h.seq, isn);
		p.ts = true;
		SAY(&p, .ack = 0);
		SAY(&p, .ack = 0);
		SAY(&p, .ack = 0);
		CHECK_EQ("one connection", tcp_n_conns(p.e.tcp), 1);
		CHECK_EQ("accepted once", tcp_end_count(&p.e, CTR_tcp_accepted), 1);
		peer_fini(&p);

		/* RST+ACK completes none */
		peer_init(&p, &usual, &conf);
		peer_say_syn(&p, TCP_SYN);
		peer_hear(&p);
		p.ts = true;
		SAY(&p, .flags = TCP_RST | TCP_ACK);
		CHECK_EQ("none", tcp_n_conns(p.e.tcp), 0);
		peer_expect_silence(&p, "RST");
		CHECK_EQ("forgotten", p.e.tcp->listen.n, 0);
		peer_fini(&p);

		/* the third ACK with data and FIN */
		peer_init(&p, &usual, &conf);
		peer_say_syn(&p, TCP_SYN);
		peer_hear(&p);
		p.ts = true;
		SAY(&p, .flags = TCP_ACK | TCP_FIN, .len = 700);
		CHECK_EQ("data kept", tcp_readable_octets(p.c), 700);
		CHECK_EQ("FIN kept", peer_state(&p), PEER_CLOSE_WAIT);
		CHECK_EQ("both acknowledged", peer_hear_all(&p, NULL)->ack, 702);
		peer_fini(&p);

		/* a wrong ACK is reset, and completes nothing */
		peer_init(&p, &usual, &conf);
		peer_say_syn(&p, TCP_SYN);
		peer_hear(&p);
		p.ts = true;
		SAY(&p, .ack = 1);
		CHECK_TRUE("reset", (peer_hear(&p)->h.flags & TCP_RST) != 0);
		CHECK_EQ("none", tcp_n_conns(p.e.tcp), 0);
		peer_fini(&p);
	}

	/* out-of-order data comes before the third ACK */
	peer_init(&p, &usual, NULL);
	peer_say_syn(&p, TCP_SYN);
	peer_hear(&p);
	p.ts = true;
	SAY(&p, .len = 500, .seq = 1000, .keep = true);
	CHECK_TRUE("that ACK completes it", p.c != NULL);
	CHECK_EQ("a hole yet", tcp_readable_octets(p.c), 0);
	SAY(&p, .len = 1000, .keep = true);
	CHECK_EQ("kept", tcp_readable_octets(p.c), 1500);
	peer_fini(&p);

	/* beyond the ring, such data says nothing that could be checked: silence, and the lost segment completes it */
	conf.syn_ring_entries = 0;
	peer_init(&p, &usual, &conf);
	peer_say_syn(&p, TCP_SYN);
	peer_hear(&p);
	p.ts = true;
	SAY(&p, .len = 500, .seq = 1000, .keep = true);
	peer_expect_silence(&p, "not reset");
	SAY(&p, .len = 1000, .keep = true);
	CHECK_EQ("the first completes", tcp_readable_octets(p.c), 1000);
	peer_fini(&p);
}

static void
test_pitfall_12_syn_acks_are_repeated_and_forgotten(void **state)
{
	static const uint64_t at_us[] = { 1000000, 3000000, 7000000 };
	struct peer p;
	uint64_t start_us;
	uint32_t isn;

	(void)state;
	peer_init(&p, &usual, NULL);
	start_us = p.e.now_us;
	peer_say_syn(&p, TCP_SYN);
	isn = peer_hear(&p)->h.seq;
	for (size_t i = 0; i < ARRAY_LEN(at_us); i++) {
		const struct heard *h;

		p.e.now_us = tcp_deadline_us(p.e.tcp);
		CHECK_EQ("when", p.e.now_us - start_us, at_us[i]);
		h = peer_hear(&p);
		CHECK_EQ("SYN-ACK", h->h.flags, TCP_SYN | TCP_ACK);
		CHECK_EQ("the same", h->h.seq, isn);
	}
	p.e.now_us = tcp_deadline_us(p.e.tcp);
	peer_expect_silence(&p, "forgotten");
	CHECK_EQ("gone", p.e.tcp->listen.n, 0);
	CHECK_EQ("nothing waits", tcp_deadline_us(p.e.tcp) == UINT64_MAX, true);
	peer_fini(&p);
}

/* That host, by its last octet, completes a handshake; of the connection nothing is left. */
static void
prove(struct peer *p, uint8_t host)
{
	p->flow.local.octet[15] = host;
	peer_reach(p, PEER_ESTABLISHED);
	tcp_abort(p->c);
	tcp_release(p->c);
	p->c = NULL;
	peer_hear_all(p, NULL);
}

/* One more SYN of that host, by its last octet; whether it is answered by an entry of the ring. */
static bool
is_remembered(struct peer *p, uint8_t host)
{
	const uint32_t n = p->e.tcp->listen.n;

	p->flow.local.octet[15] = host;
	p->flow.local_port++;
	peer_say_syn(p, TCP_SYN);
	CHECK_EQ("answered", peer_hear(p)->h.flags, TCP_SYN | TCP_ACK);
	return p->e.tcp->listen.n > n;
}

static void
test_room_of_the_ring_is_kept_for_proven_addresses(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	uint32_t n = 0;

	(void)state;
	conf.syn_ring_entries = 64;
	peer_init(&p, &usual, &conf);
	prove(&p, 200);
	for (uint32_t i = 0; i < 100; i++)
		n += is_remembered(&p, 101);
	CHECK_EQ("an unproven address has three quarters", n, 48);
	for (n = 0; n < 100 && is_remembered(&p, 200);)
		n++;
	CHECK_EQ("a proven one goes on", n, TCP_PROVEN_HANDSHAKES_MAX);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_syn_proven), TCP_PROVEN_HANDSHAKES_MAX);
	/* one of them completes: another may come */
	p.flow.local_port--;
	p.flow.local.octet[15] = 200;
	peer_say_syn(&p, TCP_SYN);
	peer_hear(&p);
	p.ts = true;
	SAY(&p, .ack = 0);
	CHECK_TRUE("completed", p.c != NULL);
	CHECK_TRUE("room again", is_remembered(&p, 200));
	CHECK_TRUE("for one", !is_remembered(&p, 200));
	/* strangers' time runs out, and so does that of all: every entry was counted as what it was */
	p.flow.local.octet[15] = 200;
	while (p.e.tcp->listen.n > 0) {
		p.e.now_us = tcp_deadline_us(p.e.tcp);
		peer_hear_all(&p, NULL);
	}
	CHECK_EQ("no stranger is left", p.e.tcp->listen.n_strangers, 0);
	peer_fini(&p);
}

/* A second later, of n tuples; the peer hears its own alone. */
static void
hear_repetitions(struct peer *p, uint32_t n)
{
	peer_wait(p, 1000000);
	for (uint32_t i = 0; i < n; i++)
		peer_hear(p);
	peer_expect_silence(p, "all of them");
}

static void
test_strangers_give_way_once_their_syn_ack_was_repeated(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	uint32_t iss, irs;

	(void)state;
	conf.syn_ring_entries = 8;
	peer_init(&p, &usual, &conf);
	p.flow.local_port = 40000;
	for (uint32_t i = 0; i < 6; i++)
		CHECK_TRUE("room", is_remembered(&p, 101));
	CHECK_TRUE("full", !is_remembered(&p, 101));
	hear_repetitions(&p, 6);
	CHECK_EQ("all were repeated", tcp_end_count(&p.e, CTR_tcp_syn_ack_again), 6);
	CHECK_EQ("no cookie yet but of the one without room", tcp_end_count(&p.e, CTR_tcp_cookie_sent), 1);
	for (uint32_t i = 0; i < 6; i++) {
		is_remembered(&p, 102);
		CHECK_EQ("the oldest gave way", tcp_end_count(&p.e, CTR_tcp_syn_given_up), i + 1);
	}
	is_remembered(&p, 102);
	CHECK_EQ("none that was not repeated does", tcp_end_count(&p.e, CTR_tcp_syn_given_up), 6);
	CHECK_EQ("a cookie then", tcp_end_count(&p.e, CTR_tcp_cookie_sent), 2);
	peer_fini(&p);

	/* a proven address's entry is not a stranger's to take, though it be the oldest */
	conf.syn_ring_entries = 4;
	peer_init(&p, &usual, &conf);
	prove(&p, 200);
	for (uint32_t i = 0; i < 3; i++)
		CHECK_TRUE("a stranger", is_remembered(&p, 101));
	CHECK_TRUE("a proven one", is_remembered(&p, 200));
	hear_repetitions(&p, 4);
	for (uint32_t i = 0; i < 4; i++)
		is_remembered(&p, 102);
	CHECK_EQ("strangers' gave way", tcp_end_count(&p.e, CTR_tcp_syn_given_up), 3);
	CHECK_EQ("all of the rest are strangers", p.e.tcp->listen.n - p.e.tcp->listen.n_strangers, 1);
	peer_fini(&p);

	/* what gave way still completes, though no cookie was sent before */
	conf.syn_ring_entries = 1;
	peer_init(&p, &usual, &conf);
	peer_say_syn(&p, TCP_SYN);
	peer_hear(&p);
	iss = p.iss;
	irs = p.rcv_nxt;
	peer_wait(&p, 1000000);
	peer_hear_all(&p, NULL);
	p.flow.local_port++;
	peer_say_syn(&p, TCP_SYN);
	peer_hear(&p);
	CHECK_EQ("gave way", tcp_end_count(&p.e, CTR_tcp_syn_given_up), 1);
	CHECK_EQ("to one that is remembered", tcp_end_count(&p.e, CTR_tcp_cookie_sent), 0);
	p.flow.local_port--;
	p.iss = iss;
	p.rcv_nxt = irs;
	p.ts = true;
	SAY(&p, .ack = 0);
	CHECK_EQ("by its cookie", tcp_end_count(&p.e, CTR_tcp_cookie_good), 1);
	CHECK_TRUE("connected", p.c != NULL);
	peer_fini(&p);
}

/* While there is no time for all SYNs, and for a second after: a ring of strangers is not answered once more. */
static void
test_behind_the_syn_acks_of_strangers_are_not_repeated(void **state)
{
	struct peer p;

	(void)state;
	peer_init(&p, &usual, NULL);
	prove(&p, 200);
	tcp_behind(p.e.tcp, p.e.now_us);
	CHECK_TRUE("a stranger", is_remembered(&p, 101));
	CHECK_TRUE("a proven one, counted though there is room", is_remembered(&p, 200));
	CHECK_EQ("as what he is", p.e.tcp->listen.n_strangers, 1);
	tcp_behind(p.e.tcp, p.e.now_us + 1);
	hear_repetitions(&p, 1);
	CHECK_EQ("his", tcp_end_count(&p.e, CTR_tcp_syn_ack_again), 1);
	CHECK_EQ("the stranger's is counted", tcp_end_count(&p.e, CTR_tcp_syn_ack_withheld), 1);
	CHECK_TRUE("a stranger, at the end of the second", is_remembered(&p, 102));
	peer_wait(&p, 1000000);
	peer_hear_all(&p, NULL);
	CHECK_EQ("is answered once more", tcp_end_count(&p.e, CTR_tcp_syn_ack_again), 2);
	peer_wait(&p, 1000000);
	peer_hear_all(&p, NULL);
	CHECK_EQ("as are both the next time", tcp_end_count(&p.e, CTR_tcp_syn_ack_again), 4);
	CHECK_EQ("none is withheld", tcp_end_count(&p.e, CTR_tcp_syn_ack_withheld), 1);
	peer_fini(&p);
}

/* A cookie is a function of the time, too: a SYN-ACK said before its slot ended and again after it must not be another. */
static void
test_pitfall_12_a_repeated_syn_gets_the_same_number_in_the_next_slot(void **state)
{
	struct peer p;
	uint32_t isn;

	(void)state;
	peer_init(&p, &usual, NULL);
	p.e.now_us = TCP_COOKIE_SLOT_US - 500000;
	peer_say_syn(&p, TCP_SYN);
	isn = peer_hear(&p)->h.seq;
	peer_wait(&p, 900000);
	peer_say_syn(&p, TCP_SYN);
	CHECK_EQ("the number of the first answer", peer_hear(&p)->h.seq, isn);
	p.ts = true;
	SAY(&p, .ack = 0);
	CHECK_TRUE("and it completes", p.c != NULL);
	peer_fini(&p);
}

static void
test_pitfall_12_no_block_is_no_reset(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct peer p;
	struct tcp_conn *other;
	int err;

	(void)state;
	conf.conns_max = 1;
	peer_init(&p, &usual, &conf);
	peer_say_syn(&p, TCP_SYN);
	peer_hear(&p);
	p.ts = true;
	other = tcp_connect(p.e.tcp, &p.flow.remote, &p.flow.local, 99, NULL, p.e.now_us, &err);
	tcp_output(p.e.tcp, &(struct tcp_seg_out){ 0 }, 1, p.e.now_us);
	SAY(&p, .ack = 0);
	peer_expect_silence(&p, "no block: silence");
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_accept_no_block), 1);
	tcp_release(other);
	/* our SYN-ACK comes again, the client answers, now it fits */
	p.e.now_us = tcp_deadline_us(p.e.tcp);
	CHECK_EQ("again", peer_hear(&p)->h.flags, TCP_SYN | TCP_ACK);
	SAY(&p, .ack = 0);
	CHECK_TRUE("accepted now", p.c != NULL);
	/* and with no block left a SYN is not answered at all */
	p.flow.local_port++;
	peer_say_syn(&p, TCP_SYN);
	peer_expect_silence(&p, "no block for a SYN");
	p.flow.local_port--;
	peer_fini(&p);
}

/* One SYN to both: to a by tcp_input() and tcp_output(), to b by tcp_input_syn(). The same octets must come of it, and the same counters. */
static void
both_answer_alike(const char *label, struct tcp_end *a, struct tcp_end *b, const struct wire_seg *syn)
{
	const struct net_seg seg = { .flow = flow_reverse(&syn->flow),
		.tcp = { .ptr = syn->octets, .len_octets = syn->len_octets } };
	const struct net_frame frame = { .view = seg.tcp };
	uint8_t answer[TCP_HEADER_MAX_OCTETS];
	struct wire_seg queued, at_once;
	uint32_t octets;

	CHECK_TRUE(label, tcp_is_syn(&seg));
	tcp_input(a->tcp, &seg, &frame, a->now_us);
	octets = tcp_input_syn(b->tcp, &seg, &frame, answer, b->now_us);
	if (octets > 0) {
		at_once.flow = seg.flow;
		at_once.len_octets = octets;
		memcpy(at_once.octets, answer, octets);
	}
	if (octets > 0 || tcp_end_output(b, &at_once)) { /* an RST waits in both */
		CHECK_TRUE(label, tcp_end_output(a, &queued));
		CHECK_EQ(label, at_once.len_octets, queued.len_octets);
		CHECK_TRUE(label, memcmp(at_once.octets, queued.octets, queued.len_octets) == 0);
	}
	CHECK_TRUE(label, !tcp_end_output(a, &queued) && !tcp_end_output(b, &queued));
	for (uint32_t i = 0; i < COUNTER_N; i++)
		if (counter_read(&a->counters, i) != counter_read(&b->counters, i))
			fail_msg("%s: counter %s differs", label, counter_names[i].name);
}

static void
test_pitfall_12_answers_at_once_are_those_that_wait(void **state)
{
	static const struct {
		const char *label;
		struct tcp_hdr h;
	} rows[] = {
		{ "all options", { .mss = 1460, .wscale = 7, .sack_permitted = true, .has_ts = true, .tsval = 77 } },
		{ "all, zero where that is a value",
			{ .mss = 536, .wscale = 0, .sack_permitted = true, .has_ts = true } },
		{ "none", { .wscale = TCP_WSCALE_NONE } },
		{ "no timestamps", { .mss = 9000, .wscale = 14, .sack_permitted = true } },
		{ "timestamps alone", { .mss = 1, .wscale = TCP_WSCALE_NONE, .has_ts = true, .tsval = 1 } },
	};

	(void)state;
	for (uint32_t ring = 0; ring <= 16; ring += 16) {
		struct tcp_conf conf = tcp_end_conf();
		struct tcp_end a, b;
		struct wire_seg syn;
		struct flow f = pair_flow_v4;

		conf.syn_ring_entries = ring;
		tcp_end_init(&a, &conf, 8, 0);
		tcp_end_init(&b, &conf, 8, 0);
		for (uint32_t v6 = 0; v6 < 2; v6++, f = pair_flow_v6) {
			tcp_listen(a.tcp, &f.remote, f.remote_port, 1);
			tcp_listen(b.tcp, &f.remote, f.remote_port, 1);
			for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
				struct tcp_hdr h = rows[i].h;

				h.flags = TCP_SYN;
				h.seq = 1000 + (uint32_t)i;
				f.local_port++;
				wire_seg_build(&syn, &f, &h);
				both_answer_alike(rows[i].label, &a, &b, &syn);
				a.now_us = b.now_us += 3000;
				both_answer_alike("the same again", &a, &b, &syn);
				h.seq += 5;
				wire_seg_build(&syn, &f, &h);
				both_answer_alike("another of the same tuple", &a, &b, &syn);
				syn.octets[17] ^= 1;
				both_answer_alike("a wrong checksum", &a, &b, &syn);
			}
			f.remote_port++;
			wire_seg_build(&syn, &f, &(struct tcp_hdr){ .flags = TCP_SYN, .wscale = TCP_WSCALE_NONE });
			syn.octets[12] = 0x40;
			both_answer_alike("a header that is none", &a, &b, &syn);
			wire_seg_build(&syn, &f, &(struct tcp_hdr){ .flags = TCP_SYN, .wscale = TCP_WSCALE_NONE });
			both_answer_alike("nobody listens", &a, &b, &syn);
		}
		CHECK_TRUE("answered", tcp_end_count(&b, CTR_tcp_syn_in) > 0 &&
					       (tcp_end_count(&b, CTR_tcp_cookie_sent) > 0) == (ring == 0));
		tcp_accepting(a.tcp, false);
		tcp_accepting(b.tcp, false);
		wire_seg_build(&syn, &f, &(struct tcp_hdr){ .flags = TCP_SYN, .wscale = TCP_WSCALE_NONE });
		both_answer_alike("while none is accepted", &a, &b, &syn);
		tcp_end_fini(&a);
		tcp_end_fini(&b);
	}
}

static void
test_pitfall_12_cookies_expire_and_are_bound_to_the_tuple(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e;
	struct flow f = flow_reverse(&pair_flow_v4), g;
	struct tcp_syn_options o = { .mss = 1460, .wscale = 7, .sack = true }, back;
	uint32_t cookie;
	uint32_t guessed = 0;
	uint64_t hash;

	(void)state;
	tcp_end_init(&e, &conf, 8, 0);
	hash = tcp_flow_hash(e.tcp, &f);
	cookie = tcp_cookie_make(e.tcp, hash, 12345, &o, UINT64_C(100000000));
	CHECK_TRUE("good", tcp_cookie_check(e.tcp, hash, 12345, cookie, &back, UINT64_C(100000000)));
	CHECK_EQ("MSS", back.mss, 1460);
	CHECK_EQ("scale", back.wscale, 7);
	CHECK_TRUE("good after a minute", tcp_cookie_check(e.tcp, hash, 12345, cookie, &back, UINT64_C(160000000)));
	CHECK_TRUE("not after five", !tcp_cookie_check(e.tcp, hash, 12345, cookie, &back, UINT64_C(400000000)));
	CHECK_TRUE("other sequence number", !tcp_cookie_check(e.tcp, hash, 12346, cookie, &back, UINT64_C(100000000)));
	g = f;
	g.remote_port++;
	CHECK_TRUE("other tuple",
		!tcp_cookie_check(e.tcp, tcp_flow_hash(e.tcp, &g), 12345, cookie, &back, UINT64_C(100000000)));
	for (uint32_t i = 0; i < 100000; i++)
		guessed += tcp_cookie_check(e.tcp, hash, 12345, i * 2654435761u, &back, UINT64_C(100000000));
	CHECK_TRUE("guessing does not pay", guessed <= 2);
	for (uint32_t mss = 64; mss < 9000; mss += 7) {
		o.mss = (uint16_t)mss;
		cookie = tcp_cookie_make(e.tcp, hash, mss, &o, UINT64_C(100000000));
		CHECK_TRUE("good", tcp_cookie_check(e.tcp, hash, mss, cookie, &back, UINT64_C(100000000)));
		CHECK_TRUE("never more than the peer takes", back.mss <= mss);
	}
	tcp_end_fini(&e);
}

/*
 * The key changes while the stack runs: what was said just before it still completes, what the key before says of the time after does not. The
 * second endpoint keeps the key both began with, as somebody would who had found it out.
 */
static void
test_cookies_outlive_one_change_of_key_and_not_two(void **state)
{
	static const struct siphash_key fresh[2] = { { 11, 12 }, { 13, 14 } };
	const uint64_t slot = TCP_COOKIE_SLOT_US, first = 9 * TCP_COOKIE_SLOT_US;
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e, kept;
	const struct flow f = flow_reverse(&pair_flow_v4);
	const struct tcp_syn_options o = { .mss = 1460, .wscale = 7, .sack = true };
	struct tcp_syn_options back;
	uint32_t before, during, after;
	uint64_t hash; /* the same in both: they have one secret */

	(void)state;
	tcp_end_init(&e, &conf, 8, 0);
	tcp_end_init(&kept, &conf, 8, 0);
	hash = tcp_flow_hash(e.tcp, &f);
	before = tcp_cookie_make(e.tcp, hash, 1, &o, first - 1);
	CHECK_EQ("one key", tcp_cookie_make(kept.tcp, hash, 1, &o, first - 1), before);
	CHECK_EQ("the next is due", tcp_cookie_rekey(e.tcp, &fresh[0], first) / slot, 10 + TCP_COOKIE_KEY_SLOTS);
	CHECK_EQ("counted", tcp_end_count(&e, CTR_tcp_cookie_rekeyed), 1);
	CHECK_TRUE("of the slot before the change", tcp_cookie_check(e.tcp, hash, 1, before, &back, first + slot - 1));
	CHECK_EQ("and what it carried", back.mss, 1460);
	during = tcp_cookie_make(e.tcp, hash, 1, &o, first);
	CHECK_EQ("the same to the end of its slot", tcp_cookie_make(e.tcp, hash, 1, &o, first + slot - 1), during);
	CHECK_TRUE("of the slot of the change", tcp_cookie_check(e.tcp, hash, 1, during, &back, first + slot));
	CHECK_TRUE("to its end", tcp_cookie_check(e.tcp, hash, 1, during, &back, first + 2 * slot - 1));
	after = tcp_cookie_make(e.tcp, hash, 1, &o, first + slot);
	CHECK_TRUE("a new key", after != tcp_cookie_make(kept.tcp, hash, 1, &o, first + slot));
	CHECK_TRUE("good", tcp_cookie_check(e.tcp, hash, 1, after, &back, first + slot));
	CHECK_TRUE("the old key makes none any more",
		!tcp_cookie_check(
			e.tcp, hash, 1, tcp_cookie_make(kept.tcp, hash, 1, &o, first + slot), &back, first + slot));
	/* too early: cookies of the slot before would be lost */
	tcp_cookie_rekey(e.tcp, &fresh[1], first + slot);
	CHECK_EQ("not taken", tcp_end_count(&e, CTR_tcp_cookie_rekeyed), 1);
	CHECK_TRUE("still of the slot of the change", tcp_cookie_check(e.tcp, hash, 1, during, &back, first + slot));
	/* the earliest second change; four slots on the two bits of time that a cookie carries say the same again */
	tcp_cookie_rekey(e.tcp, &fresh[1], first + 2 * slot);
	CHECK_EQ("taken", tcp_end_count(&e, CTR_tcp_cookie_rekeyed), 2);
	for (uint64_t at = first + 2 * slot; at < first + 12 * slot; at += slot / 2) {
		CHECK_TRUE("two changes ago", !tcp_cookie_check(e.tcp, hash, 1, during, &back, at));
		CHECK_TRUE("the first key",
			!tcp_cookie_check(e.tcp, hash, 1, tcp_cookie_make(kept.tcp, hash, 1, &o, at), &back, at));
	}
	tcp_end_fini(&e);
	tcp_end_fini(&kept);
}

/* --- 13 --- */

static void
test_pitfall_13_syns_where_they_do_not_belong(void **state)
{
	struct peer p;

	(void)state;
	/* the states are in test_tcp_states; here: several SYNs of one tuple in one burst */
	peer_init(&p, &usual, NULL);
	peer_say_syn(&p, TCP_SYN);
	p.iss += 5000;
	peer_say_syn(&p, TCP_SYN);
	peer_say_syn(&p, TCP_SYN);
	p.iss += 5000;
	peer_say_syn(&p, TCP_SYN);
	CHECK_EQ("one is remembered", p.e.tcp->listen.n, 1);
	peer_hear_all(&p, NULL);
	p.ts = true;
	SAY(&p, .ack = 0);
	CHECK_TRUE("the last one is served", p.c != NULL);
	CHECK_EQ("one connection", tcp_n_conns(p.e.tcp), 1);
	peer_fini(&p);

	/* SYN of a peer that lost its memory: challenge, its RST, its SYN again */
	peer_in(&p, PEER_ESTABLISHED);
	SAY(&p, .flags = TCP_SYN, .seq = 100000, .keep = true);
	CHECK_EQ("challenge", peer_hear(&p)->h.flags, TCP_ACK);
	SAY(&p, .flags = TCP_RST, .keep = true);
	CHECK_TRUE("reset told", (p.events & TCP_EV_RESET) != 0);
	tcp_release(p.c);
	p.c = NULL;
	p.iss += 100000;
	peer_say_syn(&p, TCP_SYN);
	CHECK_EQ("served", peer_hear(&p)->h.flags, TCP_SYN | TCP_ACK);
	peer_fini(&p);

	/* TIME-WAIT: an old SYN gets an ACK, a new one is served (RFC 6191) */
	peer_in(&p, PEER_TIME_WAIT);
	SAY(&p, .flags = TCP_SYN, .seq = -100000, .tsval = -50, .keep = true);
	CHECK_EQ("old", peer_hear(&p)->h.flags, TCP_ACK);
	SAY(&p, .flags = TCP_SYN, .seq = -100000, .tsval = 50, .keep = true);
	CHECK_EQ("a later timestamp is new, whatever the number", peer_hear(&p)->h.flags, TCP_SYN | TCP_ACK);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_time_wait_reuse), 1);
	peer_fini(&p);
}

/* --- 21 --- */

/* The one cursor that has moved. */
static uint32_t
cursor_used(const struct tcp *tcp)
{
	uint32_t i = 0;

	while (i < TCP_CURSORS_N && tcp->kept->worker[2].next[i] == 0)
		i++;
	CHECK_TRUE("some cursor", i < TCP_CURSORS_N);
	return i;
}

static void
test_pitfall_21_source_ports(void **state)
{
	static struct flow_steering steering;
	static uint8_t used[65536];
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e;
	struct tcp_conn *c;
	uint8_t key[FLOW_KEY_OCTETS];
	uint32_t in_order = 0, last = 0, n, owned = 0;
	struct flow all = pair_flow_v4;
	int err;

	(void)state;
	for (uint32_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(i * 37 + 11);
	flow_steering_init(&steering, key, 4);
	for (uint32_t port = 16384; port < 65536; port++) {
		all.local_port = (uint16_t)port;
		owned += flow_owner(&steering, &all) == 2;
	}
	conf.conns_max = 60000;
	conf.steering = &steering;
	conf.worker = 2;
	tcp_end_init(&e, &conf, 8, 1000000);
	for (n = 0; n < 60000; n++) {
		const struct flow *f;

		c = tcp_connect(e.tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, e.now_us, &err);
		if (c == NULL)
			break;
		f = tcp_conn_flow(c);
		CHECK_EQ("ours", flow_owner(&steering, f), 2);
		CHECK_EQ("free", used[f->local_port], 0);
		used[f->local_port] = 1;
		if (n < 1000)
			in_order += f->local_port > last && f->local_port - last < 64;
		last = f->local_port;
	}
	CHECK_EQ("a pool nearly empty is no crash but an error", err, -EADDRNOTAVAIL);
	CHECK_TRUE("a quarter of all ports, nearly", owned > 49152 / 4 * 9 / 10);
	CHECK_EQ("each of them once before one comes again", n, owned);
	CHECK_TRUE("given up before all was searched again: at most so many tries a connect",
		e.tcp->kept->worker[2].next[cursor_used(e.tcp)] <= 49152 + 512);
	CHECK_TRUE("not one after another", in_order < 20);
	CHECK_EQ("counted", tcp_end_count(&e, CTR_tcp_port_none), 1);
	tcp_end_fini(&e);
}

static void
test_pitfall_21_not_again_within_the_peers_time_wait(void **state)
{
	struct tcp_conf conf = tcp_end_conf();

	(void)state;
	conf.time_wait_max = 1000;
	for (uint32_t ts = 0; ts < 2; ts++) {
		struct peer p;
		struct flow f;
		uint64_t hash;
		struct tcp_tw_record *r;

		peer_init(&p, ts ? &usual : &bare, &conf);
		peer_reach(&p, PEER_SYN_SENT);
		peer_say_syn(&p, TCP_SYN | TCP_ACK);
		CHECK_TRUE("connected", (p.events & TCP_EV_CONNECTED) != 0);
		peer_hear_all(&p, NULL);
		SAY(&p, .flags = TCP_FIN | TCP_ACK);
		peer_hear_all(&p, NULL);
		tcp_close(p.c);
		peer_hear_all(&p, NULL);
		SAY(&p, .ack = 0);
		CHECK_TRUE("closed", (p.events & TCP_EV_CLOSED) != 0);
		f = flow_reverse(&p.flow);
		hash = tcp_flow_hash(p.e.tcp, &f);
		r = tcp_time_wait_find(&p.e.tcp->time_wait, &f, hash);
		CHECK_TRUE("the tuple rests", r != NULL && r->peer_holds && r->ts_ok == (ts != 0));
		/* a segment for it is nobody's */
		SAY(&p, .ack = 0);
		CHECK_TRUE("RST", (peer_hear(&p)->h.flags & TCP_RST) != 0);
		peer_fini(&p);
	}
}

static void
test_pitfall_21_ports_rest(void **state)
{
	struct tcp_conf conf = tcp_end_conf();
	struct tcp_end e;
	struct tcp_conn fake = { .flow = pair_flow_v4 }, *c;
	int err = 0;

	(void)state;
	conf.time_wait_max = 50000;
	for (uint32_t ts = 0; ts < 2; ts++) {
		tcp_end_init(&e, &conf, 8, 1000000);
		fake.ts_ok = ts;
		for (uint32_t port = 16384; port < 65536; port++) {
			fake.flow.local_port = (uint16_t)port;
			fake.hash = tcp_flow_hash(e.tcp, &fake.flow);
			tcp_time_wait_add(e.tcp, &fake, true);
		}
		c = tcp_connect(e.tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, e.now_us, &err);
		CHECK_TRUE("all ports rest", c == NULL && err == -EADDRNOTAVAIL);
		e.now_us += 2000000;
		c = tcp_connect(e.tcp, &pair_flow_v4.local, &pair_flow_v4.remote, 25, NULL, e.now_us, &err);
		CHECK_EQ("a later timestamp makes a new connection (RFC 6191), without timestamps a minute must pass",
			c != NULL, ts);
		if (c != NULL)
			tcp_release(c);
		tcp_end_fini(&e);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pitfall_12_third_acks_in_all_their_forms),
		cmocka_unit_test(test_pitfall_12_syn_acks_are_repeated_and_forgotten),
		cmocka_unit_test(test_room_of_the_ring_is_kept_for_proven_addresses),
		cmocka_unit_test(test_strangers_give_way_once_their_syn_ack_was_repeated),
		cmocka_unit_test(test_behind_the_syn_acks_of_strangers_are_not_repeated),
		cmocka_unit_test(test_pitfall_12_a_repeated_syn_gets_the_same_number_in_the_next_slot),
		cmocka_unit_test(test_pitfall_12_no_block_is_no_reset),
		cmocka_unit_test(test_pitfall_12_answers_at_once_are_those_that_wait),
		cmocka_unit_test(test_pitfall_12_cookies_expire_and_are_bound_to_the_tuple),
		cmocka_unit_test(test_cookies_outlive_one_change_of_key_and_not_two),
		cmocka_unit_test(test_pitfall_13_syns_where_they_do_not_belong),
		cmocka_unit_test(test_pitfall_21_source_ports),
		cmocka_unit_test(test_pitfall_21_not_again_within_the_peers_time_wait),
		cmocka_unit_test(test_pitfall_21_ports_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
