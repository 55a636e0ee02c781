/*
 * tcp_peer.c - a scripted peer of one endpoint.
 */
#include "tests/helpers/tcp_peer.h"

#include "dataplane/base/seq.h"
#include "tests/helpers/tcp_pair.h"

void
peer_init(struct peer *p, const struct peer_options *opt, const struct tcp_conf *conf)
{
	const struct tcp_conf usual = tcp_end_conf();

	*p = (struct peer){ .opt = *opt, .iss = 0xfffff000, .flow = opt->v6 ? pair_flow_v6 : pair_flow_v4 };
	if (p->opt.wscale == 0)
		p->opt.wscale = 7;
	if (p->opt.wnd == 0)
		p->opt.wnd = 2000;
	p->snd_nxt = p->iss;
	tcp_end_init(&p->e, conf != NULL ? conf : &usual, opt->n_bufs != 0 ? opt->n_bufs : 256, 1000000);
	CHECK_EQ("listen", tcp_listen(p->e.tcp, &p->flow.remote, p->flow.remote_port, 9), 0);
}

void
peer_fini(struct peer *p)
{
	if (p->c != NULL) {
		tcp_abort(p->c);
		tcp_release(p->c);
	}
	p->c = NULL;
	peer_hear_all(p, NULL);
	CHECK_EQ("connections left", tcp_n_conns(p->e.tcp), 0);
	tcp_end_fini(&p->e);
}

static uint32_t
peer_clock(const struct peer *p)
{
	return 5000 + (uint32_t)(p->e.now_us / 1000);
}

uint32_t
peer_events(struct peer *p)
{
	struct tcp_conn *c;
	uint32_t events, all = 0;

	while ((c = tcp_ready(p->e.tcp, &events)) != NULL) {
		if ((events & TCP_EV_ACCEPTED) != 0)
			p->c = c;
		if (c == p->c)
			all |= events;
	}
	p->events |= all;
	return all;
}

static void
give(struct peer *p, const struct tcp_hdr *h, bool bad_checksum)
{
	static struct wire_seg w;

	wire_seg_build(&w, &p->flow, h);
	if (bad_checksum)
		w.octets[16] ^= 0x55;
	tcp_end_input(&p->e, &w, false);
	peer_events(p);
}

void
peer_say_syn(struct peer *p, uint8_t flags)
{
	struct tcp_hdr h = {
		.seq = p->iss,
		.flags = flags,
		.ack = (flags & TCP_ACK) != 0 ? p->rcv_nxt : 0,
		.wnd = p->opt.wnd,
		.mss = p->opt.mss,
		.wscale = p->opt.no_wscale ? TCP_WSCALE_NONE : p->opt.wscale,
		.sack_permitted = !p->opt.no_sack,
		.has_ts = !p->opt.no_ts,
		.tsval = peer_clock(p),
		.tsecr = p->tsecr,
	};
	static struct wire_seg w;

	wire_seg_build(&w, &p->flow, &h);
	if (h.mss == 0) {
		/* no MSS option: four octets of padding in its place */
		memset(w.octets + TCP_HEADER_MIN_OCTETS, 1, 4);
		wire_seg_checksum(&w);
	}
	tcp_end_input(&p->e, &w, false);
	p->snd_nxt = p->iss + 1;
	peer_events(p);
}

void
peer_say(struct peer *p, const struct say *s)
{
	static uint8_t octets[WIRE_SEG_MAX_OCTETS];
	struct tcp_hdr h = { .seq = p->snd_nxt + (uint32_t)s->seq, .wscale = TCP_WSCALE_NONE };

	h.flags = s->no_flags ? 0 : s->flags != 0 ? s->flags : TCP_ACK;
	if ((h.flags & TCP_ACK) != 0)
		h.ack = p->rcv_nxt + (uint32_t)s->ack;
	if (s->wnd != 0)
		p->opt.wnd = (uint16_t)s->wnd;
	h.wnd = s->zero_wnd ? 0 : p->opt.wnd;
	h.payload = octets;
	if (s->text != NULL) {
		h.payload = (const uint8_t *)s->text;
		h.payload_octets = (uint32_t)strlen(s->text);
	} else if (s->len > 0) {
		h.payload_octets = s->len;
		for (uint32_t i = 0; i < s->len; i++)
			octets[i] = stream_octet(1, h.seq + i - p->iss - 1);
	}
	if ((h.flags & TCP_SYN) != 0) {
		h.mss = 1460;
		h.sack_permitted = !p->opt.no_sack;
		h.wscale = p->opt.no_wscale ? TCP_WSCALE_NONE : p->opt.wscale;
	}
	h.has_ts = (p->ts || ((h.flags & TCP_SYN) != 0 && !p->opt.no_ts)) && !s->no_ts;
	h.tsval = peer_clock(p) + (uint32_t)s->tsval;
	h.tsecr = p->tsecr;
	h.n_sack = s->n_sack;
	for (uint32_t i = 0; i < s->n_sack; i++)
		h.sack[i] = (struct tcp_sack_block){ .start = p->irs + (uint32_t)s->sack[2 * i],
			.end = p->irs + (uint32_t)s->sack[2 * i + 1] };
	give(p, &h, s->bad_checksum);
	if (!s->keep && s->seq <= 0 && !s->bad_checksum)
		p->snd_nxt = seq_max(p->snd_nxt, h.seq + tcp_hdr_seg_len(&h));
}

struct heard *
peer_hear(struct peer *p)
{
	static struct heard heard;
	static struct wire_seg w;

	heard = (struct heard){ .any = tcp_end_output(&p->e, &w) };
	peer_events(p);
	if (!heard.any)
		return &heard;
	CHECK_TRUE("our segment parses", tcp_hdr_parse(&heard.h, w.octets, w.len_octets));
	heard.len = heard.h.payload_octets;
	heard.to_port = w.flow.remote_port;
	memcpy(heard.text, heard.h.payload, heard.len);
	heard.h.payload = heard.text;
	if ((heard.h.flags & TCP_SYN) != 0) {
		p->irs = heard.h.seq;
		p->rcv_nxt = p->irs + 1;
		p->flow.remote_port = w.flow.local_port; /* of a connect */
	}
	if ((heard.h.flags & (TCP_ACK | TCP_RST)) == TCP_ACK) {
		const bool syn = (heard.h.flags & TCP_SYN) != 0; /* the window of a SYN is never scaled */
		const uint32_t edge = heard.h.ack + ((uint32_t)heard.h.wnd << (syn ? 0 : p->scale));

		p->edge = syn ? edge : seq_max(p->edge, edge);
	}
	if (heard.h.has_ts)
		p->tsecr = heard.h.tsval;
	heard.seq = heard.h.seq - p->irs;
	heard.ack = heard.h.ack - p->iss;
	if (heard.h.seq == p->rcv_nxt && (heard.h.flags & TCP_RST) == 0)
		p->rcv_nxt += heard.len + ((heard.h.flags & TCP_FIN) != 0);
	return &heard;
}

struct heard *
peer_hear_all(struct peer *p, uint32_t *n)
{
	static struct heard last;
	struct heard *h;

	last.any = false;
	if (n != NULL)
		*n = 0;
	while ((h = peer_hear(p))->any) {
		last = *h;
		if (n != NULL)
			++*n;
	}
	return &last;
}

void
peer_expect_silence(struct peer *p, const char *label)
{
	const struct heard *h = peer_hear(p);

	if (h->any)
		fail_msg("%s: silence expected, got flags 0x%x seq %u ack %u len %u", label, h->h.flags, h->seq, h->ack,
			h->len);
}

void
peer_wait(struct peer *p, uint64_t us)
{
	p->e.now_us += us;
}

struct heard *
peer_hear_next(struct peer *p, uint64_t limit_us)
{
	const uint64_t until_us = p->e.now_us + limit_us;
	struct heard *h = peer_hear(p);

	for (uint32_t i = 0; i < 100 && !h->any && tcp_deadline_us(p->e.tcp) <= until_us; i++) {
		p->e.now_us = MAX(p->e.now_us, tcp_deadline_us(p->e.tcp));
		h = peer_hear(p);
	}
	return h;
}

uint32_t
peer_read(struct peer *p, uint32_t at)
{
	struct buf_view v[8];
	uint32_t n, sum = 0;

	while ((n = tcp_peek(p->c, v, ARRAY_LEN(v))) > 0) {
		uint32_t octets = 0;

		for (uint32_t i = 0; i < n; i++) {
			for (uint32_t k = 0; k < v[i].len_octets; k++)
				if (v[i].ptr[k] != stream_octet(1, at + sum + octets + k))
					fail_msg("octet %u differs", at + sum + octets + k);
			octets += v[i].len_octets;
		}
		sum += octets;
		tcp_consume(p->c, octets);
	}
	return sum;
}

uint32_t
peer_write(struct peer *p, uint32_t octets)
{
	uint32_t all = 0;

	while (all < octets) {
		uint8_t *data;
		const uint32_t n = MIN(octets - all, 1000u);
		struct buf *buf = buf_alloc(p->e.pool, n, &data);
		uint32_t took;

		if (buf == NULL)
			return all;
		for (uint32_t i = 0; i < n; i++)
			data[i] = stream_octet(2, p->c->snd_end + i - p->c->iss - 1);
		took = tcp_send(p->c, &(struct buf_view){ .ptr = data, .len_octets = n, .buf = buf });
		buf_unref(p->e.pool, buf);
		all += took;
		if (took < n)
			break;
	}
	return all;
}

static void
handshake(struct peer *p)
{
	const struct heard *h;

	peer_say_syn(p, TCP_SYN);
	h = peer_hear(p);
	CHECK_EQ("SYN-ACK", h->h.flags, TCP_SYN | TCP_ACK);
	p->ts = h->h.has_ts;
	p->sack = h->h.sack_permitted;
	p->scaled = h->h.wscale != TCP_WSCALE_NONE;
	p->scale = p->scaled ? h->h.wscale : 0;
	CHECK_TRUE("nothing accepted before the ACK", p->c == NULL);
	SAY(p, .ack = 0);
	CHECK_TRUE("accepted", p->c != NULL && (p->events & TCP_EV_ACCEPTED) != 0);
	CHECK_EQ("tag", tcp_conn_tag(p->c), 9);
	peer_expect_silence(p, "the third ACK is not answered");
}

static void
connect_out(struct peer *p)
{
	const struct heard *h;
	int err;

	p->c = tcp_connect(p->e.tcp, &p->flow.remote, &p->flow.local, p->flow.local_port, p, p->e.now_us, &err);
	CHECK_TRUE("connect", p->c != NULL);
	h = peer_hear(p);
	CHECK_EQ("SYN", h->h.flags, TCP_SYN);
	p->ts = !p->opt.no_ts;
	p->sack = !p->opt.no_sack;
	p->scaled = !p->opt.no_wscale;
	p->scale = p->scaled ? h->h.wscale : 0;
}

void
peer_reach(struct peer *p, enum peer_state state)
{
	switch (state) {
	case PEER_CLOSED:
	case PEER_STATE_N:
		tcp_unlisten(p->e.tcp, &p->flow.remote, p->flow.remote_port);
		return;
	case PEER_LISTEN:
		return;
	case PEER_SYN_SENT:
		connect_out(p);
		return;
	case PEER_SYN_RECEIVED:
		peer_say_syn(p, TCP_SYN);
		CHECK_EQ("SYN-ACK", peer_hear(p)->h.flags, TCP_SYN | TCP_ACK);
		p->ts = !p->opt.no_ts;
		return;
	case PEER_SYN_RECEIVED_BOTH:
		connect_out(p);
		peer_say_syn(p, TCP_SYN);
		CHECK_EQ("SYN-ACK", peer_hear(p)->h.flags, TCP_SYN | TCP_ACK);
		return;
	case PEER_ESTABLISHED:
		handshake(p);
		return;
	case PEER_FIN_WAIT_1:
		handshake(p);
		tcp_close(p->c);
		CHECK_EQ("FIN", peer_hear(p)->h.flags, TCP_FIN | TCP_ACK);
		p->rcv_nxt--; /* heard, but not acknowledged by default */
		return;
	case PEER_FIN_WAIT_2:
		peer_reach(p, PEER_FIN_WAIT_1);
		p->rcv_nxt++;
		SAY(p, .ack = 0);
		peer_expect_silence(p, "FIN-WAIT-2");
		return;
	case PEER_CLOSE_WAIT:
		handshake(p);
		SAY(p, .flags = TCP_FIN | TCP_ACK);
		CHECK_EQ("ACK of FIN", peer_hear(p)->ack, 2);
		return;
	case PEER_CLOSING:
		peer_reach(p, PEER_FIN_WAIT_1);
		SAY(p, .flags = TCP_FIN | TCP_ACK);
		CHECK_EQ("ACK of FIN", peer_hear(p)->ack, 2);
		return;
	case PEER_LAST_ACK:
		peer_reach(p, PEER_CLOSE_WAIT);
		tcp_close(p->c);
		CHECK_EQ("FIN", peer_hear(p)->h.flags, TCP_FIN | TCP_ACK);
		p->rcv_nxt--;
		return;
	case PEER_TIME_WAIT:
		peer_reach(p, PEER_FIN_WAIT_2);
		SAY(p, .flags = TCP_FIN | TCP_ACK);
		CHECK_EQ("ACK of FIN", peer_hear(p)->ack, 2);
		return;
	}
}

void
peer_in(struct peer *p, enum peer_state state)
{
	peer_init(p, &(struct peer_options){ .mss = 1460 }, NULL);
	peer_reach(p, state);
	CHECK_EQ(peer_state_name(state), peer_state(p), state);
}

const char *
peer_state_name(enum peer_state state)
{
	static const char *const name[] = { "CLOSED", "LISTEN", "SYN-SENT", "SYN-RECEIVED", "SYN-RECEIVED (both)",
		"ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT", "?" };

	return name[state];
}

enum peer_state
peer_state(struct peer *p)
{
	static const enum peer_state of[TCP_STATE_N] = {
		[TCP_STATE_CLOSED] = PEER_CLOSED,
		[TCP_STATE_SYN_SENT] = PEER_SYN_SENT,
		[TCP_STATE_SYN_RECEIVED] = PEER_SYN_RECEIVED_BOTH,
		[TCP_STATE_ESTABLISHED] = PEER_ESTABLISHED,
		[TCP_STATE_FIN_WAIT_1] = PEER_FIN_WAIT_1,
		[TCP_STATE_FIN_WAIT_2] = PEER_FIN_WAIT_2,
		[TCP_STATE_CLOSE_WAIT] = PEER_CLOSE_WAIT,
		[TCP_STATE_CLOSING] = PEER_CLOSING,
		[TCP_STATE_LAST_ACK] = PEER_LAST_ACK,
	};
	const struct flow f = flow_reverse(&p->flow);
	const uint64_t hash = tcp_flow_hash(p->e.tcp, &f);
	const struct tcp_conn *c = tcp_conn_find(p->e.tcp, &f, hash);

	if (c != NULL)
		return of[c->state];
	if (tcp_time_wait_find(&p->e.tcp->time_wait, &f, hash) != NULL)
		return PEER_TIME_WAIT;
	if (p->e.tcp->listen.n > 0)
		return PEER_SYN_RECEIVED;
	return p->e.tcp->listen.n_listeners > 0 && p->c == NULL ? PEER_LISTEN : PEER_CLOSED;
}

void
peer_establish(struct peer *p, const struct peer_options *opt, const struct tcp_conf *conf)
{
	peer_init(p, opt, conf);
	peer_reach(p, PEER_ESTABLISHED);
}

uint32_t
peer_drain(struct peer *p)
{
	uint32_t octets = 0;
	const struct heard *h;

	for (uint32_t i = 0; i < 100000; i++) {
		bool any = false;

		while ((h = peer_hear(p))->any) {
			octets += h->len;
			any = true;
		}
		if (!any)
			break;
		SAY(p, .ack = 0);
	}
	return octets;
}
