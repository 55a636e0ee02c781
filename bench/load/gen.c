/*
 * gen.c - the sessions of the load generator, see gen.h.
 *
 * A session's life, as its steps: SYN -> [SYN-ACK] ACK -> [220] EHLO -> [250] MAIL -> [250] RCPT -> [451] QUIT -> [221] FIN -> [FIN] ACK.
 * In brackets what the gateway says: 7 segments; 8 are sent. Each step but the first is sent in answer to exactly one segment, so a
 * retransmission sends the last step again.
 */
#include "bench/load/gen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ETH_OCTETS     14
#define IP_OCTETS      20
#define TCP_OCTETS     20
#define TS_OCTETS      12
#define SYN_OPT_OCTETS 20 /* MSS, SACK permitted, timestamps, window scale: as Linux orders them */

#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_PSH 0x08
#define FLAG_ACK 0x10

#define PORT_BASE     32768u /* 15 bits of the slot; the rest is in the address */
#define PORT_SLOTS    32768u
#define RESEND_NS     UINT64_C(300000000)
#define RESENDS_MAX   8
#define TICK_SLOTS    256
#define REPLY_OCTETS  600
#define MESSAGE_PIECE 1400
#define SLOW_PIECE    4
#define WINDOW_SCALE  7 /* of our own SYN */

static const uint8_t gen_mac[6] = { 2, 0, 0, 0, 0, 10 };

enum step {
	STEP_FREE,
	STEP_SYN,
	STEP_BANNER,
	STEP_EHLO,
	STEP_MAIL,
	STEP_RCPT,
	STEP_DATA,
	STEP_BODY,
	STEP_QUIT,
	STEP_FIN,
	STEP_IDLE
};

struct session {
	uint64_t start_ns; /* intended */
	uint64_t sent_ns;  /* of the last step */
	uint32_t client;   /* number of the address */
	uint32_t serial;   /* of the triplet */
	uint32_t snd_nxt;  /* behind the last step */
	uint32_t rcv_nxt;
	uint32_t ts_recent;
	uint32_t body_sent; /* octets of the message */
	uint32_t acked;     /* of it */
	uint32_t window;    /* the gateway's, octets */
	uint8_t step, resends;
	uint8_t shift; /* of its window */
	uint8_t said;  /* octets of the line said so far (slow) */
};

/* The backend the generator plays: one per connection of the relay. */
struct served {
	uint32_t peer_ip;
	uint16_t peer_port;
	uint8_t state; /* 0 free, 1 SYN seen, 2 commands, 3 data, 4 closing */
	uint8_t tail;  /* octets of CRLF.CRLF seen */
	bool fin;
	uint32_t snd_nxt, rcv_nxt, ts_recent;
	uint32_t line_octets;
	char line[512];
};

#define SERVED_MAX 4096

struct gen {
	struct gen_conf conf;
	struct gen_ops ops;
	void *arg;
	struct session *session;
	uint32_t *free;
	uint32_t n_free, slot_bits, tick_at, n_idle;
	uint32_t serial, next_client;
	uint64_t random[2];
	uint8_t gateway_mac[6];
	bool ready;
	uint16_t ip_id;
	struct gen_stats stats;
	struct gen_histogram latency, reply;
	char complaint[1024];
	struct served *served;
};

/* ---- small things ---- */

static uint64_t
next_random(struct gen *g)
{
	uint64_t a = g->random[0];
	const uint64_t b = g->random[1];

	g->random[0] = b;
	a ^= a << 23;
	a ^= a >> 17;
	a ^= b ^ (b >> 26);
	g->random[1] = a;
	return a + b;
}

static void
put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void
put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static uint32_t
get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t
get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

/* Sum of 16-bit words in memory's order, in 32-bit steps (RFC 1071). */
static uint64_t
sum_of(const uint8_t *p, uint32_t n, uint64_t sum)
{
	uint32_t w;

	for (; n >= 4; p += 4, n -= 4) {
		memcpy(&w, p, 4);
		sum += w;
	}
	if (n > 0) {
		w = 0;
		memcpy(&w, p, n);
		sum += w;
	}
	return sum;
}

static uint16_t
fold(uint64_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint16_t
tcp_sum(const uint8_t *ip, uint32_t tcp_octets)
{
	uint8_t tail[4] = { 0, 6, (uint8_t)(tcp_octets >> 8), (uint8_t)tcp_octets };

	return (uint16_t)~fold(sum_of(ip + IP_OCTETS, tcp_octets, sum_of(tail, 4, sum_of(ip + 12, 8, 0))));
}

static void
histogram_add(struct gen_histogram *h, uint64_t ns)
{
	const uint32_t top = ns < 32 ? 0 : 63u - (uint32_t)__builtin_clzll(ns) - 5u; /* 32 buckets a power of two */
	const uint32_t at = ns < 32 ? (uint32_t)ns : (top + 1) * 32 + (uint32_t)(ns >> top & 31);

	h->bucket[at < GEN_BUCKETS ? at : GEN_BUCKETS - 1]++;
	h->n++;
}

uint64_t
gen_percentile(const struct gen_histogram *h, double share)
{
	const uint64_t want = (uint64_t)((double)h->n * share);
	uint64_t seen = 0;

	for (uint32_t i = 0; i < GEN_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > want)
			return i < 32 ? i : (uint64_t)(32 + i % 32) << (i / 32 - 1);
	}
	return 0;
}

const char *
gen_template_name(enum gen_template t)
{
	static const char *const names[] = {
#define X(name, help) #name,
		GEN_TEMPLATES(X)
#undef X
	};

	return names[t];
}

const char *
gen_template_help(enum gen_template t)
{
	static const char *const help[] = {
#define X(name, text) text,
		GEN_TEMPLATES(X)
#undef X
	};

	return help[t];
}

bool
gen_template_parse(const char *text, enum gen_template *t)
{
	for (uint32_t i = 0; i < GEN_TEMPLATES_N; i++)
		if (strcmp(text, gen_template_name((enum gen_template)i)) == 0) {
			*t = (enum gen_template)i;
			return true;
		}
	return false;
}

/* ---- addresses: slot <-> port and client ---- */

static uint32_t
client_ip(const struct gen *g, uint32_t client)
{
	return (uint32_t)g->conf.client_net << 24 | ((client + g->conf.first_client) & 0xffff) << 8 | 1;
}

static int64_t
slot_of(const struct gen *g, uint32_t ip, uint32_t port)
{
	const uint32_t client = ((ip >> 8 & 0xffff) - g->conf.first_client) & 0xffff;
	uint32_t slot;

	if (ip >> 24 != g->conf.client_net || port < PORT_BASE)
		return -1;
	slot = (port - PORT_BASE) | (g->slot_bits != 0 ? (client & ((1u << g->slot_bits) - 1)) << 15 : 0);
	return slot < g->conf.slots && g->session[slot].client == client ? (int64_t)slot : -1;
}

/* ---- out ---- */

/* Writes Ethernet, IPv4 and TCP headers; options as the caller says. Payload already lies behind. */
static void
frame_send(struct gen *g, uint8_t *f, uint32_t src, uint32_t dst, uint32_t sport, uint32_t dport, uint32_t seq,
	uint32_t ack, uint8_t flags, uint32_t opt_octets, uint32_t payload_octets)
{
	const uint32_t tcp_octets = TCP_OCTETS + opt_octets + payload_octets;
	uint8_t *ip = f + ETH_OCTETS, *tcp = ip + IP_OCTETS;
	uint16_t sum;

	memcpy(f, g->gateway_mac, 6);
	memcpy(f + 6, gen_mac, 6);
	put16(f + 12, 0x0800);
	put16(ip, 0x4500);
	put16(ip + 2, IP_OCTETS + tcp_octets);
	put16(ip + 4, g->ip_id++);
	put16(ip + 6, 0x4000);
	put16(ip + 8, 0x4006);
	put16(ip + 10, 0);
	put32(ip + 12, src);
	put32(ip + 16, dst);
	sum = (uint16_t)~fold(sum_of(ip, IP_OCTETS, 0));
	memcpy(ip + 10, &sum, 2);
	put16(tcp, sport);
	put16(tcp + 2, dport);
	put32(tcp + 4, seq);
	put32(tcp + 8, ack);
	tcp[12] = (uint8_t)((TCP_OCTETS + opt_octets) / 4 << 4);
	tcp[13] = flags;
	put16(tcp + 14, 64240);
	put32(tcp + 16, 0);
	sum = tcp_sum(ip, tcp_octets);
	memcpy(tcp + 16, &sum, 2);
	g->ops.send(g->arg, ETH_OCTETS + IP_OCTETS + tcp_octets);
}

static uint32_t
put_timestamps(const struct gen *g, uint8_t *opt, uint32_t ts_recent, uint64_t now_ns)
{
	if (!g->conf.timestamps)
		return 0;
	put32(opt, 0x0101080a);
	put32(opt + 4, (uint32_t)(now_ns / 1000000) + 1);
	put32(opt + 8, ts_recent);
	return TS_OCTETS;
}

static uint32_t
put_syn_options(const struct gen *g, uint8_t *opt, uint64_t now_ns)
{
	put32(opt, 0x020405b4); /* MSS 1460 */
	if (!g->conf.timestamps) {
		put32(opt + 4, 0x04020103); /* SACK permitted, NOP, window scale */
		put32(opt + 8, 0x03070101);
		opt[7] = 3;
		opt[8] = 3;
		opt[9] = WINDOW_SCALE;
		return 12;
	}
	put32(opt + 4, 0x0402080a);
	put32(opt + 8, (uint32_t)(now_ns / 1000000) + 1);
	put32(opt + 12, 0);
	put32(opt + 16, 0x01030300 | WINDOW_SCALE);
	return SYN_OPT_OCTETS;
}

static void
send_segment(struct gen *g, uint32_t slot, uint8_t flags, uint32_t seq, const char *payload, uint32_t octets,
	uint64_t now_ns)
{
	struct session *s = &g->session[slot];
	uint8_t *f = g->ops.room(g->arg);
	uint8_t *opt;
	uint32_t n;

	if (f == NULL) /* lost: it is sent again later */
		return;
	opt = f + ETH_OCTETS + IP_OCTETS + TCP_OCTETS;
	n = (flags & FLAG_SYN) != 0 ? put_syn_options(g, opt, now_ns) : put_timestamps(g, opt, s->ts_recent, now_ns);
	if (octets > 0)
		memcpy(opt + n, payload, octets);
	g->stats.segments_out++;
	frame_send(g, f, client_ip(g, s->client), g->conf.gateway_ip, PORT_BASE + (slot & (PORT_SLOTS - 1)),
		g->conf.gateway_port, seq, (flags & FLAG_ACK) != 0 ? s->rcv_nxt : 0, flags, n, octets);
}

/* A word of letters for a number: triplets differ in letters, because the policy folds digits of senders. */
static uint32_t
put_word(char *out, uint32_t n)
{
	for (uint32_t i = 0; i < 7; i++) {
		out[i] = (char)('a' + n % 26);
		n /= 26;
	}
	return 7;
}

/* The line of a step; answers its octets. */
static uint32_t
line_of(const struct gen *g, const struct session *s, char *out)
{
	static const char mail[] = "MAIL FROM:<", at[] = "@sender.example>\r\n",
			  rcpt[] = "RCPT TO:<user@example.org>\r\n";
	uint32_t n = 0;

	switch ((enum step)s->step) {
	case STEP_EHLO:
		memcpy(out, "EHLO client.example\r\n", 21);
		return 21;
	case STEP_MAIL:
		memcpy(out, mail, sizeof(mail) - 1);
		n = sizeof(mail) - 1;
		n += put_word(out + n, s->serial);
		memcpy(out + n, at, sizeof(at) - 1);
		n += (uint32_t)sizeof(at) - 1;
		if (g->conf.template == GEN_pipelined) {
			memcpy(out + n, rcpt, sizeof(rcpt) - 1);
			n += (uint32_t)sizeof(rcpt) - 1;
			memcpy(out + n, "QUIT\r\n", 6);
			n += 6;
		}
		return n;
	case STEP_RCPT:
		memcpy(out, rcpt, sizeof(rcpt) - 1);
		return sizeof(rcpt) - 1;
	case STEP_DATA:
		memcpy(out, "DATA\r\n", 6);
		return 6;
	case STEP_QUIT:
		memcpy(out, "QUIT\r\n", 6);
		return 6;
	case STEP_FREE:
	case STEP_SYN:
	case STEP_BANNER:
	case STEP_BODY:
	case STEP_FIN:
	case STEP_IDLE:
		break;
	}
	return 0;
}

#define BODY_LINE_OCTETS 72
#define BODY_WINDOW      (32 * MESSAGE_PIECE)

/* Octets of the message from at: lines of 70 letters, then a dot. */
static uint32_t
body_piece(const struct gen *g, uint32_t at, char *out)
{
	const uint32_t total = g->conf.message_octets / BODY_LINE_OCTETS * BODY_LINE_OCTETS + 3;
	const uint32_t n = total - at < MESSAGE_PIECE ? total - at : MESSAGE_PIECE;

	for (uint32_t i = 0; i < n; i++) {
		const uint32_t p = at + i, col = p % BODY_LINE_OCTETS;

		out[i] = p >= total - 3 ? ".\r\n"[p - (total - 3)]
		         : col == 70    ? '\r'
		         : col == 71    ? '\n'
		                        : (char)('a' + col % 26);
	}
	return n;
}

static void
send_body(struct gen *g, uint32_t slot, bool probe, uint64_t now_ns)
{
	struct session *s = &g->session[slot];
	const uint32_t total = g->conf.message_octets / BODY_LINE_OCTETS * BODY_LINE_OCTETS + 3;
	char piece[MESSAGE_PIECE];

	/* what the gateway offers is kept to; nothing offered and nothing under way: one octet asks again (RFC 9293 3.8.6.1) */
	while (s->body_sent < total) {
		const uint32_t in_flight = s->body_sent - s->acked;
		const uint32_t room = s->window < BODY_WINDOW ? s->window : BODY_WINDOW;
		uint32_t n = body_piece(g, s->body_sent, piece);

		if (in_flight + n > room) {
			if (in_flight > 0 || (room == 0 && !probe))
				break;
			n = room == 0 ? 1 : n < room ? n : room;
		}
		probe = false;
		send_segment(g, slot, FLAG_ACK | FLAG_PSH, s->snd_nxt, piece, n, now_ns);
		s->snd_nxt += n;
		s->body_sent += n;
	}
	s->sent_ns = now_ns;
}

/* The next piece of a line of n octets. */
static void
send_slowly(struct gen *g, uint32_t slot, const char *line, uint32_t n, uint64_t now_ns)
{
	struct session *s = &g->session[slot];
	const uint32_t piece = n - s->said < SLOW_PIECE ? n - s->said : SLOW_PIECE;

	send_segment(g, slot, FLAG_ACK | FLAG_PSH, s->snd_nxt, line + s->said, piece, now_ns);
	s->snd_nxt += piece;
	s->said = (uint8_t)(s->said + piece);
	s->sent_ns = now_ns;
}

static void
send_step(struct gen *g, uint32_t slot, bool again, uint64_t now_ns)
{
	struct session *s = &g->session[slot];
	char line[256];
	uint32_t n;

	s->sent_ns = now_ns;
	switch ((enum step)s->step) {
	case STEP_SYN:
		send_segment(g, slot, FLAG_SYN, s->snd_nxt - 1, NULL, 0, now_ns);
		return;
	case STEP_BANNER:
	case STEP_IDLE:
		send_segment(g, slot, FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
		return;
	case STEP_FIN:
		if (!again)
			s->snd_nxt++;
		send_segment(g, slot, FLAG_ACK | FLAG_FIN, s->snd_nxt - 1, NULL, 0, now_ns);
		return;
	case STEP_BODY:
		if (again) { /* go back: simple, and rare */
			s->snd_nxt -= s->body_sent - s->acked;
			s->body_sent = s->acked;
		}
		send_body(g, slot, again, now_ns);
		return;
	case STEP_RCPT:
	case STEP_QUIT:
		if (g->conf.template == GEN_pipelined) { /* said with MAIL; only the gateway's words can be missing */
			if (again)
				send_segment(g, slot, FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
			return;
		}
		/* fallthrough */
	case STEP_EHLO:
	case STEP_MAIL:
	case STEP_DATA:
		n = line_of(g, s, line);
		if (g->conf.template == GEN_slow) {
			if (again) { /* the whole line, as far as it was said */
				send_segment(g, slot, FLAG_ACK | FLAG_PSH, s->snd_nxt - s->said, line, s->said, now_ns);
				return;
			}
			s->said = 0;
			send_slowly(g, slot, line, n, now_ns);
			return;
		}
		if (!again)
			s->snd_nxt += n;
		send_segment(g, slot, FLAG_ACK | FLAG_PSH, s->snd_nxt - n, line, n, now_ns);
		return;
	case STEP_FREE:
		return;
	}
}

/* ---- sessions ---- */

static void
session_free(struct gen *g, uint32_t slot)
{
	g->n_idle -= g->session[slot].step == STEP_IDLE;
	g->session[slot].step = STEP_FREE;
	g->free[g->n_free++] = slot;
}

static void
session_fail(struct gen *g, uint32_t slot)
{
	g->stats.failed++;
	session_free(g, slot);
}

uint32_t
gen_start(struct gen *g, uint32_t n, uint64_t intended_ns, uint64_t now_ns)
{
	uint32_t i;

	for (i = 0; i < n && g->n_free > 0; i++) {
		const uint32_t slot = g->free[--g->n_free];
		struct session *s = &g->session[slot];
		const uint32_t high = g->next_client++;

		*s = (struct session){ .start_ns = intended_ns, .step = STEP_SYN, .snd_nxt = (uint32_t)next_random(g) };
		s->serial = g->serial++;
		if (g->conf.triplets != 0)
			s->serial %= g->conf.triplets;
		/* a triplet that is to be met again comes from one client; its slot's bits are then its own */
		s->client = ((g->conf.triplets != 0 ? s->serial : high) << g->slot_bits | slot >> 15) &
		            (g->conf.clients - 1);
		g->stats.started++;
		send_step(g, slot, false, now_ns);
	}
	return i;
}

static void
complain(struct gen *g, const struct session *s, const uint8_t *reply, uint32_t octets)
{
	const size_t used = strlen(g->complaint);

	g->stats.wrong_reply++;
	if (used + 200 < sizeof(g->complaint))
		snprintf(g->complaint + used, sizeof(g->complaint) - used, "step %u was answered: %.*s%s", s->step,
			(int)(octets < 150 ? octets : 150), (const char *)reply,
			octets > 0 && reply[octets - 1] == '\n' ? "" : "\n");
}

/* Octets of the first whole reply: up to the end of the line that has a space after its code. 0: none. Replies of the gateway fit a
 * segment. */
static uint32_t
reply_octets(const uint8_t *p, uint32_t n)
{
	for (uint32_t line = 0; line < n;) {
		const uint8_t *end = memchr(p + line, '\n', n - line);
		const uint32_t next = end != NULL ? (uint32_t)(end - p) + 1 : 0;

		if (next < line + 5)
			return 0;
		if (p[line + 3] == ' ')
			return next;
		line = next;
	}
	return 0;
}

static bool
is_grey_reply(const uint8_t *p, uint32_t n)
{
	static const char text[] = "451 4.7.1 Greylisted, please try again in ", end[] = " seconds\r\n";
	uint32_t at = sizeof(text) - 1, digits = 0;

	if (n < at || memcmp(p, text, at) != 0)
		return false;
	for (; at < n && p[at] >= '0' && p[at] <= '9'; at++)
		digits++;
	return digits > 0 && n - at == sizeof(end) - 1 && memcmp(p + at, end, sizeof(end) - 1) == 0;
}

static bool
reply_is_right(const struct gen *g, const struct session *s, const uint8_t *p, uint32_t n)
{
	const uint32_t code = (uint32_t)(p[0] - '0') * 100 + (uint32_t)(p[1] - '0') * 10 + (uint32_t)(p[2] - '0');

	switch ((enum step)s->step) {
	case STEP_BANNER:
		return code == 220;
	case STEP_EHLO:
	case STEP_MAIL:
	case STEP_BODY:
		return code == 250;
	case STEP_RCPT:
		switch (g->conf.template) {
		case GEN_greylist:
		case GEN_pipelined:
		case GEN_slow:
			return is_grey_reply(p, n);
		case GEN_listed:
		case GEN_denied:
			return code == 554 || code == 550;
		case GEN_retry:
		case GEN_data:
			return code == 250 || is_grey_reply(p, n); /* the first time; what passes is counted */
		case GEN_idle:
		case GEN_none:
		case GEN_TEMPLATES_N:
			return false;
		}
		return false;
	case STEP_DATA:
		return code == 354;
	case STEP_QUIT:
		return code == 221;
	case STEP_FREE:
	case STEP_SYN:
	case STEP_FIN:
	case STEP_IDLE:
		break;
	}
	return false;
}

static void
reply_arrived(struct gen *g, uint32_t slot, const uint8_t *p, uint32_t n, uint64_t now_ns)
{
	struct session *s = &g->session[slot];
	const bool grey = s->step == STEP_RCPT && p[0] == '4';

	if (!reply_is_right(g, s, p, n)) {
		complain(g, s, p, n);
		send_segment(g, slot, FLAG_RST | FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
		session_fail(g, slot);
		return;
	}
	switch ((enum step)s->step) {
	case STEP_BANNER:
		s->step = STEP_EHLO;
		break;
	case STEP_EHLO:
		s->step = g->conf.template == GEN_idle ? STEP_IDLE : STEP_MAIL;
		g->n_idle += g->conf.template == GEN_idle;
		break;
	case STEP_MAIL:
		s->step = STEP_RCPT;
		break;
	case STEP_RCPT:
		histogram_add(&g->reply, now_ns - s->sent_ns);
		s->step = g->conf.template == GEN_data && !grey ? STEP_DATA : STEP_QUIT;
		g->stats.passed += !grey && p[0] == '2';
		break;
	case STEP_DATA:
		s->step = STEP_BODY;
		break;
	case STEP_BODY:
		s->step = STEP_QUIT;
		break;
	case STEP_QUIT:
		s->step = STEP_FIN;
		break;
	case STEP_FREE:
	case STEP_SYN:
	case STEP_FIN:
	case STEP_IDLE:
		return;
	}
	s->resends = 0;
	send_step(g, slot, false, now_ns);
}

struct segment {
	uint32_t src, dst, sport, dport, seq, ack, octets, ts_val;
	uint16_t window;
	uint8_t flags, shift;
	const uint8_t *payload;
};

static void
session_input(struct gen *g, uint32_t slot, const struct segment *in, uint64_t now_ns)
{
	struct session *s = &g->session[slot];

	g->stats.segments_in++;
	if (s->step == STEP_FREE) {
		g->stats.stray++;
		return;
	}
	if (in->flags & FLAG_RST) {
		g->stats.reset++;
		session_fail(g, slot);
		return;
	}
	if (s->step == STEP_SYN) {
		if ((in->flags & (FLAG_SYN | FLAG_ACK)) != (FLAG_SYN | FLAG_ACK) || in->ack != s->snd_nxt) {
			g->stats.wrong_segment++;
			return;
		}
		s->rcv_nxt = in->seq + 1;
		s->ts_recent = in->ts_val;
		s->window = in->window; /* never scaled in a SYN (RFC 7323 2.2) */
		s->shift = in->shift;
		s->step = STEP_BANNER;
		s->resends = 0;
		send_step(g, slot, false, now_ns);
		return;
	}
	if (in->seq != s->rcv_nxt) { /* a retransmission, or something lost before it: what we have is said again */
		g->stats.wrong_segment++;
		if (in->octets > 0 || in->flags & (FLAG_FIN | FLAG_SYN))
			send_segment(g, slot, FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
		return;
	}
	s->ts_recent = in->ts_val;
	s->window = (uint32_t)in->window << s->shift;
	if (s->step == STEP_BODY) {
		const uint32_t in_flight = s->body_sent - s->acked, left = s->snd_nxt - in->ack;

		if (left <= in_flight && left < in_flight + 1) {
			s->acked += in_flight - left;
			if (in->octets == 0) {
				if (in_flight != left)
					s->resends = 0;
				send_body(g, slot, false, now_ns);
			}
		}
	}
	if (in->octets > 0) {
		const bool several = g->conf.template == GEN_pipelined && s->step >= STEP_MAIL;

		for (uint32_t at = 0; at < in->octets && s->step != STEP_FREE;) {
			const uint32_t n = reply_octets(in->payload + at, in->octets - at);

			if (n == 0 || (n < in->octets && !several)) {
				g->stats.wrong_segment++;
				return; /* the rest comes again as one, or the session fails */
			}
			s->rcv_nxt += n;
			at += n;
			reply_arrived(g, slot, in->payload + at - n, n, now_ns);
		}
		if (several && (s->step == STEP_RCPT || s->step == STEP_QUIT)) /* the other replies are to come */
			send_segment(g, slot, FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
		return;
	}
	if (in->flags & FLAG_FIN && s->step == STEP_FIN && in->ack == s->snd_nxt) {
		s->rcv_nxt++;
		send_segment(g, slot, FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
		histogram_add(&g->latency, now_ns - s->start_ns);
		g->stats.done++;
		session_free(g, slot);
	}
}

/* ---- the backend: what a relay may say, answered in one breath ---- */

static void
served_send(struct gen *g, struct served *v, const struct segment *in, uint8_t flags, const char *text, uint64_t now_ns)
{
	const uint32_t octets = text != NULL ? (uint32_t)strlen(text) : 0;
	uint8_t *f = g->ops.room(g->arg), *opt;
	uint32_t n;

	if (f == NULL)
		return;
	opt = f + ETH_OCTETS + IP_OCTETS + TCP_OCTETS;
	n = (flags & FLAG_SYN) != 0 ? put_syn_options(g, opt, now_ns) : put_timestamps(g, opt, v->ts_recent, now_ns);
	if (flags & FLAG_SYN && g->conf.timestamps)
		put32(opt + 12, v->ts_recent);
	if (octets > 0)
		memcpy(opt + n, text, octets);
	frame_send(g, f, in->dst, in->src, in->dport, in->sport, v->snd_nxt, v->rcv_nxt, flags, n, octets);
	v->snd_nxt += octets + ((flags & (FLAG_SYN | FLAG_FIN)) != 0);
}

static struct served *
served_find(struct gen *g, const struct segment *in, bool create)
{
	const uint32_t h = (in->src * 2654435761u ^ in->sport * 40503u) % SERVED_MAX;
	struct served *free = NULL;

	for (uint32_t i = 0; i < 64; i++) {
		struct served *v = &g->served[(h + i) % SERVED_MAX];

		if (v->state != 0 && v->peer_ip == in->src && v->peer_port == in->sport)
			return v;
		if (v->state == 0 && free == NULL)
			free = v;
	}
	if (create && free != NULL)
		*free = (struct served){ .peer_ip = in->src,
			.peer_port = (uint16_t)in->sport,
			.state = 1,
			.snd_nxt = (uint32_t)next_random(g) };
	return create ? free : NULL;
}

static const char *
served_command(struct served *v, const char *line)
{
	if (strncmp(line, "PROXY ", 6) == 0) /* version 1, before everything */
		return NULL;
	if (strncmp(line, "EHLO", 4) == 0)
		return "250-mta.bench\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250 "
		       "ENHANCEDSTATUSCODES\r\n";
	if (strncmp(line, "RCPT", 4) == 0 && strstr(line, ".invalid") != NULL)
		return "554 5.7.1 Relay access denied\r\n";
	if (strncmp(line, "DATA", 4) == 0) {
		v->state = 3;
		v->tail = 2;
		return "354 End data with <CR><LF>.<CR><LF>\r\n";
	}
	if (strncmp(line, "QUIT", 4) == 0) {
		v->fin = true;
		return "221 2.0.0 Bye\r\n";
	}
	return "250 2.0.0 Ok\r\n";
}

/* One octet; a reply when it ends a line or a message. */
static const char *
served_octet(struct gen *g, struct served *v, uint8_t c)
{
	static const char end[] = "\r\n.\r\n";

	if (v->state == 3) {
		g->stats.backend_octets++;
		v->tail = c == (uint8_t)end[v->tail] ? (uint8_t)(v->tail + 1) : c == '\r' ? 1 : 0;
		if (v->tail < 5)
			return NULL;
		v->state = 2;
		v->line_octets = 0;
		g->stats.backend_messages++;
		return "250 2.0.0 Ok: queued\r\n";
	}
	if (v->line_octets + 1 < sizeof(v->line))
		v->line[v->line_octets++] = (char)c;
	if (c != '\n')
		return NULL;
	v->line[v->line_octets] = '\0';
	v->line_octets = 0;
	return served_command(v, v->line);
}

static void
served_input(struct gen *g, const struct segment *in, uint64_t now_ns)
{
	struct served *v = served_find(g, in, (in->flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN);
	uint32_t said = 0;

	if (v == NULL) {
		g->stats.stray++;
		return;
	}
	v->ts_recent = in->ts_val;
	if (in->flags & FLAG_RST) {
		v->state = 0;
		return;
	}
	if (v->state == 1) {
		if (in->flags & FLAG_SYN) {
			v->rcv_nxt = in->seq + 1;
			served_send(g, v, in, FLAG_SYN | FLAG_ACK, NULL, now_ns);
			return;
		}
		v->state = 2;
		g->stats.backend_sessions++;
		served_send(g, v, in, FLAG_ACK | FLAG_PSH, "220 mta.bench ESMTP\r\n", now_ns);
		said = 1;
	}
	if (v->state == 4 && in->ack == v->snd_nxt && !(in->flags & FLAG_FIN)) {
		v->state = 0;
		return;
	}
	if (in->seq != v->rcv_nxt) {
		if (in->octets > 0 || in->flags & FLAG_FIN)
			served_send(g, v, in, FLAG_ACK, NULL, now_ns);
		return;
	}
	for (uint32_t i = 0; i < in->octets; i++) {
		const char *text = served_octet(g, v, in->payload[i]);

		v->rcv_nxt++;
		if (text != NULL) {
			served_send(g, v, in, FLAG_ACK | FLAG_PSH, text, now_ns);
			said++;
		}
	}
	if (in->flags & FLAG_FIN) {
		v->rcv_nxt++;
		served_send(g, v, in, v->state == 4 ? FLAG_ACK : FLAG_ACK | FLAG_FIN, NULL, now_ns);
		v->state = 0; /* the last ACK, or its retransmission, is a stray: harmless */
		return;
	}
	if (v->fin) {
		v->fin = false;
		v->state = 4;
		served_send(g, v, in, FLAG_ACK | FLAG_FIN, NULL, now_ns);
		return;
	}
	if (in->octets > 0 && said == 0)
		served_send(g, v, in, FLAG_ACK, NULL, now_ns);
}

/* ---- in ---- */

static void
arp_input(struct gen *g, const uint8_t *frame, uint32_t octets)
{
	const uint8_t *a = frame + ETH_OCTETS;
	uint8_t *f;

	if (octets < ETH_OCTETS + 28)
		return;
	g->stats.arp++;
	if (get32(a + 14) == g->conf.gateway_ip) {
		memcpy(g->gateway_mac, a + 8, 6);
		g->ready = true;
	}
	if (g->conf.beside || get16(a + 6) != 1 ||
		get32(a + 24) == g->conf.gateway_ip) /* not a request for one of ours: all but the gateway is */
		return;
	f = g->ops.room(g->arg);
	if (f == NULL)
		return;
	memset(f, 0, 60);
	memcpy(f, a + 8, 6);
	memcpy(f + 6, gen_mac, 6);
	put16(f + 12, 0x0806);
	put32(f + 14, 0x00010800);
	put32(f + 18, 0x06040002);
	memcpy(f + 22, gen_mac, 6);
	memcpy(f + 28, a + 24, 4);
	memcpy(f + 32, a + 8, 10);
	g->ops.send(g->arg, 60);
}

void
gen_hello(struct gen *g)
{
	uint8_t *f = g->ops.room(g->arg);

	if (f == NULL)
		return;
	memset(f, 0, 60);
	memset(f, 0xff, 6);
	memcpy(f + 6, gen_mac, 6);
	put16(f + 12, 0x0806);
	put32(f + 14, 0x00010800);
	put32(f + 18, 0x06040001);
	memcpy(f + 22, gen_mac, 6);
	put32(f + 28, (g->conf.gateway_ip & 0xffffff00) | 1); /* the router */
	put32(f + 38, g->conf.gateway_ip);
	g->ops.send(g->arg, 60);
}

static bool
segment_parse(struct gen *g, const uint8_t *frame, uint32_t octets, struct segment *out)
{
	const uint8_t *ip = frame + ETH_OCTETS, *tcp = ip + IP_OCTETS;
	uint32_t ip_octets, header;

	if (octets < ETH_OCTETS + IP_OCTETS + TCP_OCTETS || ip[0] != 0x45 || ip[9] != 6)
		return false;
	ip_octets = get16(ip + 2);
	header = (uint32_t)(tcp[12] >> 4) * 4;
	if (ip_octets > octets - ETH_OCTETS || ip_octets < IP_OCTETS + header || header < TCP_OCTETS)
		return false;
	if (fold(sum_of(ip, IP_OCTETS, 0)) != 0xffff || tcp_sum(ip, ip_octets - IP_OCTETS) != 0) {
		g->stats.bad_checksum++;
		return false;
	}
	*out = (struct segment){ .src = get32(ip + 12),
		.dst = get32(ip + 16),
		.sport = get16(tcp),
		.dport = get16(tcp + 2),
		.seq = get32(tcp + 4),
		.ack = get32(tcp + 8),
		.flags = tcp[13],
		.window = (uint16_t)get16(tcp + 14),
		.payload = tcp + header,
		.octets = ip_octets - IP_OCTETS - header };
	for (uint32_t at = TCP_OCTETS; at + 1 < header;) { /* timestamps, wherever they stand */
		if (tcp[at] == 0)
			break;
		if (tcp[at] == 1) {
			at++;
			continue;
		}
		if (tcp[at] == 8 && at + 10 <= header)
			out->ts_val = get32(tcp + at + 2);
		if (tcp[at] == 3 && at + 3 <= header)
			out->shift = tcp[at + 2] < 14 ? tcp[at + 2] : 14;
		if (tcp[at + 1] < 2)
			break;
		at += tcp[at + 1];
	}
	return true;
}

void
gen_input(struct gen *g, const uint8_t *frame, uint32_t octets, uint64_t now_ns)
{
	struct segment in;
	int64_t slot;

	if (octets < ETH_OCTETS)
		return;
	if (get16(frame + 12) == 0x0806) {
		arp_input(g, frame, octets);
		return;
	}
	if (get16(frame + 12) != 0x0800 || !segment_parse(g, frame, octets, &in)) {
		g->stats.stray++;
		return;
	}
	slot = in.sport == g->conf.gateway_port ? slot_of(g, in.dst, in.dport) : -1;
	if (slot >= 0)
		session_input(g, (uint32_t)slot, &in, now_ns);
	else if (in.dport == 25 && g->served != NULL)
		served_input(g, &in, now_ns);
	else if ((in.flags & FLAG_SYN) != 0)
		g->stats.flood_answered++;
	else
		g->stats.stray++;
}

void
gen_flood(struct gen *g, uint32_t n, uint8_t net, uint64_t now_ns)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t r = next_random(g);
		uint8_t *f = g->ops.room(g->arg);
		uint32_t opt;

		if (f == NULL)
			return;
		opt = put_syn_options(g, f + ETH_OCTETS + IP_OCTETS + TCP_OCTETS, now_ns);
		frame_send(g, f, (uint32_t)net << 24 | ((uint32_t)r & 0xffffff), g->conf.gateway_ip,
			1024 + (uint32_t)(r >> 24 & 0x7fff), g->conf.gateway_port, (uint32_t)(r >> 32), 0, FLAG_SYN,
			opt, 0);
		g->stats.flood_sent++;
	}
}

void
gen_tick(struct gen *g, uint64_t now_ns)
{
	for (uint32_t i = 0; i < TICK_SLOTS; i++) {
		const uint32_t slot = g->tick_at;
		struct session *s = &g->session[slot];

		g->tick_at = (g->tick_at + 1) & (g->conf.slots - 1);
		if (s->step == STEP_FREE || s->step == STEP_IDLE)
			continue;
		if (g->conf.template == GEN_slow && s->step >= STEP_EHLO && s->step <= STEP_QUIT) {
			char line[256];
			const uint32_t n = line_of(g, s, line);

			if (s->said < n && now_ns - s->sent_ns >= g->conf.pause_ms * UINT64_C(1000000)) {
				send_slowly(g, slot, line, n, now_ns);
				continue;
			}
		}
		if (now_ns - s->sent_ns < RESEND_NS << s->resends)
			continue;
		if (++s->resends > RESENDS_MAX) {
			session_fail(g, slot);
			continue;
		}
		if (s->step == STEP_BANNER) { /* our ACK may have been lost, or the gateway waits for DNS */
			send_step(g, slot, true, now_ns);
			continue;
		}
		g->stats.resent++;
		send_step(g, slot, true, now_ns);
	}
}

/* ---- start and end ---- */

struct gen *
gen_create(const struct gen_conf *conf, const struct gen_ops *ops, void *arg)
{
	struct gen *g = calloc(1, sizeof(*g));

	if (g == NULL || conf->slots == 0 || conf->slots > GEN_SLOTS_MAX || (conf->slots & (conf->slots - 1)) != 0 ||
		conf->clients == 0 || conf->clients > GEN_CLIENTS || (conf->clients & (conf->clients - 1)) != 0) {
		free(g);
		return NULL;
	}
	g->conf = *conf;
	g->ops = *ops;
	g->arg = arg;
	g->random[0] = conf->seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	g->random[1] = conf->seed ^ UINT64_C(0xd1b54a32d192ed03);
	for (uint32_t n = conf->slots; n > PORT_SLOTS; n /= 2)
		g->slot_bits++;
	g->session = calloc(conf->slots, sizeof(*g->session));
	g->free = calloc(conf->slots, sizeof(*g->free));
	g->served = conf->beside ? NULL : calloc(SERVED_MAX, sizeof(*g->served));
	if (g->session == NULL || g->free == NULL || (!conf->beside && g->served == NULL) ||
		1u << g->slot_bits > conf->clients) {
		gen_destroy(g);
		return NULL;
	}
	for (uint32_t i = conf->slots; i-- > 0;)
		g->free[g->n_free++] = i;
	return g;
}

void
gen_destroy(struct gen *g)
{
	if (g == NULL)
		return;
	free(g->session);
	free(g->free);
	free(g->served);
	free(g);
}

bool
gen_is_ready(const struct gen *g)
{
	return g->ready;
}

bool
gen_owns(const struct gen *g, const uint8_t *frame, uint32_t octets)
{
	if (octets < ETH_OCTETS + IP_OCTETS + TCP_OCTETS || get16(frame + 12) != 0x0800)
		return false;
	return frame[ETH_OCTETS + 16] == g->conf.client_net;
}

uint32_t
gen_idle(const struct gen *g)
{
	return g->n_idle;
}

uint32_t
gen_open(const struct gen *g)
{
	return g->conf.slots - g->n_free;
}

const struct gen_stats *
gen_stats(const struct gen *g)
{
	return &g->stats;
}

struct gen_histogram *
gen_latency(struct gen *g)
{
	return &g->latency;
}

struct gen_histogram *
gen_reply(struct gen *g)
{
	return &g->reply;
}

const char *
gen_complaint(const struct gen *g)
{
	return g->complaint;
}
