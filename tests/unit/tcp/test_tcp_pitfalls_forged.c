/*
 * test_tcp_pitfalls_forged.c - where other stacks fell: segments, options and ICMP errors that are not to be believed.
 *
 * Lines 14 to 18 and 20 of the pitfalls, one test or more for each, named by its number (line 19 belongs to net).
 */
#include "dataplane/base/octets.h"
#include "tests/check.h"
#include "tests/helpers/tcp_peer.h"

static const struct peer_options usual = { .mss = 1460 };
#define EVER UINT64_C(100000000000)
static const struct peer_options bare = {
	.mss = 1460, .wnd = 40000, .no_ts = true, .no_sack = true, .no_wscale = true
};

/* --- 14 --- */

static void
test_pitfall_14_rst_only_at_rcv_nxt(void **state)
{
	struct peer p;

	(void)state;
	peer_in(&p, PEER_ESTABLISHED);
	SAY(&p, .flags = TCP_RST, .bad_checksum = true);
	CHECK_EQ("a bad checksum is nothing", peer_state(&p), PEER_ESTABLISHED);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_drop_checksum), 1);
	peer_expect_silence(&p, "bad checksum");
	SAY(&p, .flags = TCP_RST, .seq = 5, .keep = true);
	CHECK_EQ("challenge", peer_hear(&p)->h.flags, TCP_ACK);
	CHECK_EQ("lives", peer_state(&p), PEER_ESTABLISHED);
	SAY(&p, .flags = TCP_RST, .seq = -1, .keep = true);
	peer_expect_silence(&p, "old RST");
	/* PAWS does not shield from an RST that is right */
	SAY(&p, .flags = TCP_RST | TCP_ACK, .tsval = -100000, .keep = true);
	CHECK_TRUE("reset", (p.events & TCP_EV_RESET) != 0);
	peer_expect_silence(&p, "never an RST for an RST");
	peer_fini(&p);

	/* RST to nobody */
	peer_in(&p, PEER_CLOSED);
	SAY(&p, .flags = TCP_RST | TCP_ACK);
	peer_expect_silence(&p, "never an RST for an RST");
	peer_fini(&p);

	/* SYN-SENT: refused at once */
	peer_in(&p, PEER_SYN_SENT);
	SAY(&p, .flags = TCP_RST | TCP_ACK, .ack = 1);
	CHECK_EQ("wrong ACK: nothing", peer_state(&p), PEER_SYN_SENT);
	SAY(&p, .flags = TCP_RST | TCP_ACK);
	CHECK_TRUE("told", (p.events & TCP_EV_REFUSED) != 0);
	peer_expect_silence(&p, "refused");
	peer_fini(&p);
}

/* --- 15, 16 --- */

static void
test_pitfall_15_acks_of_data_are_never_limited_challenges_are(void **state)
{
	struct peer p;
	uint32_t n;

	(void)state;
	peer_in(&p, PEER_ESTABLISHED);
	for (uint32_t i = 0; i < 100; i++) {
		SAY(&p, .text = "x", .seq = -1, .keep = true);
		CHECK_TRUE("data known already is acknowledged each time", peer_hear(&p)->any);
	}
	SAY(&p, .text = "xy");
	peer_wait(&p, 50000);
	peer_hear_all(&p, NULL);
	SAY(&p, .text = "yz", .seq = -1);
	CHECK_EQ("known in part: at once, for the peer has missed an ACK", peer_hear(&p)->ack, 4);
	n = 0;
	for (uint32_t i = 0; i < 100; i++) {
		SAY(&p, .flags = TCP_RST, .seq = 10, .keep = true);
		n += peer_hear(&p)->any;
	}
	CHECK_EQ("challenges are limited", n, 1);
	peer_wait(&p, 600000);
	SAY(&p, .flags = TCP_RST, .seq = 10, .keep = true);
	CHECK_TRUE("not for ever", peer_hear(&p)->any);
	peer_fini(&p);
}

static void
test_pitfall_16_impossible_sources_and_no_endless_acks(void **state)
{
	static const struct {
		const char *label;
		struct ip_addr from;
	} rows[] = {
		{ "unspecified", { .octet = { [10] = 0xff, 0xff } } },
		{ "broadcast", { .octet = { [10] = 0xff, 0xff, 255, 255, 255, 255 } } },
		{ "multicast", { .octet = { [10] = 0xff, 0xff, 224, 0, 0, 1 } } },
		{ "loopback", { .octet = { [10] = 0xff, 0xff, 127, 0, 0, 1 } } },
		{ "our own", { .octet = { [10] = 0xff, 0xff, 198, 18, 0, 2 } } },
	};
	struct peer p;
	uint32_t n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		peer_init(&p, &usual, NULL);
		p.flow.local = rows[i].from;
		peer_say_syn(&p, TCP_SYN);
		peer_expect_silence(&p, rows[i].label);
		CHECK_EQ(rows[i].label, tcp_end_count(&p.e, CTR_tcp_drop_address), 1);
		peer_fini(&p);
	}
	peer_init(&p, &(struct peer_options){ .mss = 1460, .v6 = true }, NULL);
	p.flow.local = (struct ip_addr){ .octet = { 0 } };
	peer_say_syn(&p, TCP_SYN);
	peer_expect_silence(&p, "unspecified v6");
	p.flow.local = (struct ip_addr){ .octet = { 0xff, 2, [15] = 1 } };
	peer_say_syn(&p, TCP_SYN);
	peer_expect_silence(&p, "multicast v6");
	peer_fini(&p);
	peer_init(&p, &usual, NULL);
	p.flow.local_port = 0;
	peer_say_syn(&p, TCP_SYN);
	peer_expect_silence(&p, "port 0");
	peer_fini(&p);

	/* two ends out of step: pure ACKs from out of the window are answered twice a second at most */
	peer_in(&p, PEER_ESTABLISHED);
	for (uint32_t i = 0; i < 1000; i++) {
		SAY(&p, .seq = 10000000, .ack = 0, .keep = true);
		n += peer_hear(&p)->any;
		SAY(&p, .ack = 5000000, .keep = true);
		n += peer_hear(&p)->any;
	}
	CHECK_TRUE("no storm", n <= 1);
	peer_fini(&p);
}

/* Both ends time out at once: an ACK that began at the SND.NXT that moved back would lie before the other's window, and so would
 * the other's: neither would ever be taken. */
static void
test_pitfall_16_an_ack_stands_where_the_peer_expects_us(void **state)
{
	struct peer p;
	const struct heard *h;

	(void)state;
	peer_establish(&p, &bare, NULL);
	SAY(&p, .len = 100);
	peer_write(&p, 5840);
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1;
	h = peer_hear_next(&p, EVER);
	CHECK_EQ("timed out", h->seq, 1);
	CHECK_TRUE("SND.NXT is back", p.c->snd_nxt != p.c->snd_max);
	peer_hear_all(&p, NULL);
	p.rcv_nxt = p.irs + 1;
	SAY(&p, .len = 100, .seq = -100, .keep = true);
	h = peer_hear(&p);
	CHECK_EQ("no text", h->len, 0);
	CHECK_EQ("after all that was sent", h->seq, 5841);
	peer_fini(&p);

	/* but the octet of a window probe was not taken */
	peer_establish(&p, &bare, NULL);
	SAY(&p, .zero_wnd = true);
	peer_write(&p, 100);
	CHECK_EQ("probe", peer_hear_next(&p, EVER)->len, 1);
	p.rcv_nxt = p.irs + 1;
	SAY(&p, .len = 100, .zero_wnd = true);
	peer_expect_silence(&p, "the ACK is delayed");
	peer_wait(&p, 50000);
	h = peer_hear(&p);
	CHECK_EQ("before the probe", h->seq, 1);
	peer_fini(&p);
}

/* --- 17 --- */

static void
give_raw(struct peer *p, const uint8_t *octets, uint32_t len)
{
	static struct wire_seg w;

	w.flow = p->flow;
	memcpy(w.octets, octets, len);
	w.len_octets = len;
	if (len >= 20)
		wire_seg_checksum(&w);
	tcp_end_input(&p->e, &w, false);
	peer_events(p);
}

static void
test_pitfall_17_options_of_every_broken_kind(void **state)
{
	static const struct {
		const char *label;
		uint8_t option[12];
		uint16_t mss; /* the peer's as understood */
		uint32_t broken;
	} rows[] = {
		{ "length 0", { 2, 0, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1 }, 536, 1 },
		{ "length 1", { 2, 1, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1 }, 536, 1 },
		{ "length 1, and a good one where it would end", { 77, 1, 2, 4, 5, 0x78, 1, 1, 1, 1, 1, 1 }, 536, 1 },
		{ "beyond the header", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4 }, 536, 1 },
		{ "kind without a length", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2 }, 536, 1 },
		{ "unknown", { 77, 6, 1, 2, 3, 4, 2, 4, 5, 0x78, 1, 1 }, 1400, 0 },
		{ "twice", { 2, 4, 5, 0x78, 2, 4, 2, 0x18, 1, 1, 1, 1 }, 1400, 0 },
		{ "after the end", { 0, 2, 4, 5, 0x78, 1, 1, 1, 1, 1, 1, 1 }, 536, 0 },
		{ "before the break", { 2, 4, 5, 0x78, 8, 0, 1, 1, 1, 1, 1, 1 }, 1400, 1 },
		{ "MSS of a wrong length", { 2, 3, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 536, 0 },
		{ "MSS of 1", { 2, 4, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 64, 0 },
		{ "none", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 536, 0 },
	};
	struct peer p;
	uint8_t seg[40];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		peer_init(&p, &bare, NULL);
		memset(seg, 0, sizeof(seg));
		put_u16(seg, p.flow.local_port);
		put_u16(seg + 2, p.flow.remote_port);
		put_u32(seg + 4, p.iss);
		seg[12] = 8 << 4;
		seg[13] = TCP_SYN;
		put_u16(seg + 14, 2000);
		memcpy(seg + 20, rows[i].option, 12);
		give_raw(&p, seg, 32);
		CHECK_EQ(rows[i].label, peer_hear(&p)->h.flags, TCP_SYN | TCP_ACK);
		p.snd_nxt = p.iss + 1;
		SAY(&p, .ack = 0);
		CHECK_TRUE(rows[i].label, p.c != NULL);
		CHECK_EQ(rows[i].label, p.c->mss, rows[i].mss);
		CHECK_EQ(rows[i].label, tcp_end_count(&p.e, CTR_tcp_bad_option), rows[i].broken);
		peer_fini(&p);
	}
	/* data offsets below 5 or beyond the segment, segments of every length */
	peer_in(&p, PEER_ESTABLISHED);
	for (uint32_t len = 0; len <= 40; len++) {
		for (uint32_t offset = 0; offset < 16; offset++) {
			memset(seg, 0, sizeof(seg));
			seg[12] = (uint8_t)(offset << 4);
			seg[13] = TCP_RST | TCP_ACK;
			put_u32(seg + 4, p.snd_nxt);
			if (offset >= 5 && offset * 4 <= len)
				continue;
			give_raw(&p, seg, len);
			CHECK_EQ("dropped", peer_state(&p), PEER_ESTABLISHED);
		}
	}
	CHECK_TRUE("counted", tcp_end_count(&p.e, CTR_tcp_drop_header) > 100);
	peer_fini(&p);
	/* no MSS option: the default of the family */
	peer_init(&p, &(struct peer_options){ .mss = 0, .no_ts = true, .v6 = true }, NULL);
	peer_reach(&p, PEER_ESTABLISHED);
	CHECK_EQ("1220 for IPv6", p.c->mss, 1220);
	peer_fini(&p);
}

/* --- 18 --- */

static void
test_pitfall_18_timestamps(void **state)
{
	struct peer p;
	uint32_t echo;

	(void)state;
	/* not sent unless negotiated */
	peer_establish(&p, &bare, NULL);
	peer_write(&p, 10);
	CHECK_TRUE("none", !peer_hear(&p)->h.has_ts);
	peer_write(&p, 10);
	CHECK_TRUE("nor behind what is not acknowledged", !peer_hear(&p)->h.has_ts);
	peer_fini(&p);

	/* TSval 0 is a value as any other; TSecr moves on */
	peer_establish(&p, &usual, NULL);
	SAY(&p, .len = 10);
	peer_expect_silence(&p, "the ACK is delayed");
	peer_wait(&p, 50000);
	echo = peer_hear(&p)->h.tsecr;
	SAY(&p, .len = 10);
	peer_expect_silence(&p, "the next one too");
	peer_wait(&p, 50000);
	CHECK_EQ("the echo moves on", peer_hear(&p)->h.tsecr - echo, 50);
	/* of a segment beyond a gap the time is not echoed: the gap's is what the round trip is measured by (RFC 7323 section 4.3) */
	peer_wait(&p, 50000);
	SAY(&p, .len = 10, .seq = 10, .keep = true);
	CHECK_EQ("not of what lies beyond a gap", peer_hear(&p)->h.tsecr - echo, 50);
	SAY(&p, .len = 10);
	CHECK_EQ("but of what fills it", peer_hear(&p)->h.tsecr - echo, 150);
	p.snd_nxt += 10;
	/* PAWS drops old duplicates and says so */
	SAY(&p, .len = 10, .tsval = -100000, .keep = true);
	CHECK_EQ("not taken", tcp_readable_octets(p.c), 40);
	CHECK_EQ("counted", tcp_end_count(&p.e, CTR_tcp_drop_paws), 1);
	CHECK_TRUE("answered", peer_hear(&p)->any);
	/* a segment without the option is no segment of this connection */
	SAY(&p, .len = 10, .no_ts = true, .keep = true);
	CHECK_EQ("not taken", tcp_readable_octets(p.c), 40);
	peer_expect_silence(&p, "dropped");
	SAY(&p, .flags = TCP_RST, .no_ts = true, .keep = true);
	CHECK_TRUE("but an RST may come without", (p.events & TCP_EV_RESET) != 0);
	peer_fini(&p);

	/* after 24 days of silence an old clock is a restarted one (RFC 7323 section 5.5) */
	peer_establish(&p, &usual, NULL);
	peer_wait(&p, UINT64_C(25) * 86400 * 1000000);
	SAY(&p, .len = 10, .tsval = -(INT64_C(25) * 86400000) - 1000);
	CHECK_EQ("taken", tcp_readable_octets(p.c), 10);
	peer_fini(&p);
}

static void
test_pitfall_18_tsval_zero_is_legal(void **state)
{
	struct peer p;
	struct tcp_hdr h;
	static struct wire_seg w;

	(void)state;
	peer_init(&p, &usual, NULL);
	h = (struct tcp_hdr){ .seq = 5, .flags = TCP_SYN, .wnd = 1000, .mss = 1460, .wscale = 7, .has_ts = true };
	wire_seg_build(&w, &p.flow, &h);
	tcp_end_input(&p.e, &w, false);
	CHECK_TRUE("negotiated", peer_hear(&p)->h.has_ts);
	h = (struct tcp_hdr){ .seq = 6,
		.ack = p.rcv_nxt,
		.flags = TCP_ACK,
		.wnd = 1000,
		.wscale = TCP_WSCALE_NONE,
		.has_ts = true,
		.tsecr = p.tsecr };
	wire_seg_build(&w, &p.flow, &h);
	tcp_end_input(&p.e, &w, false);
	peer_events(&p);
	CHECK_TRUE("accepted", p.c != NULL && p.c->ts_ok);
	h.flags |= TCP_PSH;
	h.payload = (const uint8_t *)"abc";
	h.payload_octets = 3;
	h.tsval = 1;
	wire_seg_build(&w, &p.flow, &h);
	tcp_end_input(&p.e, &w, false);
	CHECK_EQ("taken", tcp_readable_octets(p.c), 3);
	peer_fini(&p);
}

/* --- 20 --- */

static void
test_pitfall_20_too_big_is_believed_only_in_flight(void **state)
{
	struct peer p;
	struct net_icmp_error e;
	const struct heard *h;

	(void)state;
	for (uint32_t v6 = 0; v6 < 2; v6++) {
		peer_establish(&p, &(struct peer_options){ .mss = 1460, .no_ts = true, .v6 = v6 }, NULL);
		e = (struct net_icmp_error){
			.flow = flow_reverse(&p.flow), .quoted_seq = p.c->snd_una, .kind = NET_ICMP_TOO_BIG, .mtu = 1400
		};
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("nothing in flight, nothing believed", p.c->mss, v6 ? 1440 : 1460);
		peer_write(&p, 5000);
		peer_hear_all(&p, NULL);
		e.quoted_seq = p.c->snd_max;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		e.quoted_seq = p.c->snd_una - 1;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("not in flight", p.c->mss, v6 ? 1440 : 1460);
		e.quoted_seq = p.c->snd_una;
		e.mtu = v6 ? 1279 : 551;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("below the floor", p.c->mss, v6 ? 1440 : 1460);
		e.mtu = 1600;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("larger than what we have", p.c->mss, v6 ? 1440 : 1460);
		CHECK_EQ("each counted", tcp_end_count(&p.e, CTR_tcp_icmp_ignored), 5);
		peer_expect_silence(&p, "ignored");
		e.mtu = 1400;
		tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
		CHECK_EQ("believed", p.c->mss, v6 ? 1340 : 1360);
		p.rcv_nxt = p.irs + 1;
		h = peer_hear(&p);
		CHECK_EQ("sent again at once", h->seq, 1);
		CHECK_EQ("in the new size", h->len, v6 ? 1340 : 1360);
		CHECK_EQ("and the rest", peer_drain(&p), 5000 - p.c->mss);
		peer_fini(&p);
	}
	/* hard errors end a connect, not a connection */
	peer_in(&p, PEER_SYN_SENT);
	e = (struct net_icmp_error){
		.flow = flow_reverse(&p.flow), .quoted_seq = p.c->iss, .kind = NET_ICMP_UNREACH_HARD
	};
	tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
	peer_events(&p);
	CHECK_TRUE("refused", (p.events & TCP_EV_REFUSED) != 0);
	peer_fini(&p);
	peer_establish(&p, &usual, NULL);
	peer_write(&p, 100);
	peer_hear_all(&p, NULL);
	e = (struct net_icmp_error){
		.flow = flow_reverse(&p.flow), .quoted_seq = p.c->snd_una, .kind = NET_ICMP_UNREACH_HARD
	};
	tcp_icmp_error(p.e.tcp, &e, p.e.now_us);
	CHECK_EQ("lives", peer_state(&p), PEER_ESTABLISHED);
	peer_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pitfall_14_rst_only_at_rcv_nxt),
		cmocka_unit_test(test_pitfall_15_acks_of_data_are_never_limited_challenges_are),
		cmocka_unit_test(test_pitfall_16_impossible_sources_and_no_endless_acks),
		cmocka_unit_test(test_pitfall_16_an_ack_stands_where_the_peer_expects_us),
		cmocka_unit_test(test_pitfall_17_options_of_every_broken_kind),
		cmocka_unit_test(test_pitfall_18_timestamps),
		cmocka_unit_test(test_pitfall_18_tsval_zero_is_legal),
		cmocka_unit_test(test_pitfall_20_too_big_is_believed_only_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
