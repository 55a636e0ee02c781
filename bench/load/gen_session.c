/*
 * gen_session.c - the clients of the load generator.
 *
 * A session's life, as its steps: SYN -> [SYN-ACK] ACK -> [220] EHLO -> [250] MAIL -> [250] RCPT -> [451] QUIT -> [221] FIN -> [FIN] ACK.
 * In brackets what the gateway says: 7 segments; 8 are sent. Each step but the first is sent in answer to exactly one segment, so a
 * retransmission sends the last step again.
 *
 * Flow:   gen_start() -> SYN;  gen_input() -> gen_session_input() -> the next step;  gen_tick() -> what was lost, again
 * Pure:   see gen.h.
 */
#include "bench/load/gen_impl.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "bench/load/gen_hello.h"

#define RESEND_NS     UINT64_C(300000000)
#define RESENDS_MAX   8
#define TICK_SLOTS    256
#define REPLY_OCTETS  600
#define MESSAGE_PIECE 1448 /* what fits beside timestamps in 1,500 octets: as full as those of a real sender */
#define SLOW_PIECE    4

static uint32_t
client_ip(const struct gen *g, uint32_t client)
{
	return (uint32_t)g->conf.client_net << 24 | ((client + g->conf.first_client) & 0xffff) << 8 | 1;
}

int64_t
gen_slot_of(const struct gen *g, uint32_t ip, uint32_t port)
{
	const uint32_t client = ((ip >> 8 & 0xffff) - g->conf.first_client) & 0xffff;
	uint32_t slot;

	if (ip >> 24 != g->conf.client_net || port < PORT_BASE)
		return -1;
	slot = (port - PORT_BASE) | (g->slot_bits != 0 ? (client & ((1u << g->slot_bits) - 1)) << 15 : 0);
	return slot < g->conf.slots && g->session[slot].client == client ? (int64_t)slot : -1;
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
	n = (flags & FLAG_SYN) != 0 ? gen_put_syn_options(g, opt, now_ns)
	                            : gen_put_timestamps(g, opt, s->ts_recent, now_ns);
	if (octets > 0)
		memcpy(opt + n, payload, octets);
	g->stats.segments_out++;
	gen_frame_send(g, f, client_ip(g, s->client), g->conf.gateway_ip, PORT_BASE + (slot & (PORT_SLOTS - 1)),
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
	case STEP_STARTTLS:
		memcpy(out, "STARTTLS\r\n", 10);
		return 10;
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
	case STEP_RSET:
		memcpy(out, "RSET\r\n", 6);
		return 6;
	case STEP_QUIT:
		memcpy(out, "QUIT\r\n", 6);
		return 6;
	case STEP_FREE:
	case STEP_SYN:
	case STEP_BANNER:
	case STEP_HANDSHAKE:
	case STEP_BODY:
	case STEP_FIN:
	case STEP_HELLO:
	case STEP_IDLE:
		break;
	}
	return 0;
}

#define BODY_LINE  "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqr\r\n"
#define BODY_LINE3 BODY_LINE BODY_LINE BODY_LINE
#define BODY_LINES BODY_LINE3 BODY_LINE3 BODY_LINE3 BODY_LINE3 BODY_LINE3 BODY_LINE3 BODY_LINE3 BODY_LINE3

#define BODY_LINE_OCTETS 72
#define BODY_WINDOW      (32 * MESSAGE_PIECE)

/* Octets of the message from at: lines of 70 letters, then a dot. */
static uint32_t
body_piece(const struct gen *g, uint32_t at, char *out)
{
	static const char lines[] = BODY_LINES;
	static const char end[] = ".\r\n";
	const uint32_t body = g->conf.message_octets / BODY_LINE_OCTETS * BODY_LINE_OCTETS, total = body + 3;
	const uint32_t n = total - at < MESSAGE_PIECE ? total - at : MESSAGE_PIECE;
	const uint32_t text = at >= body ? 0 : n < body - at ? n : body - at;

	static_assert(sizeof(BODY_LINE) - 1 == BODY_LINE_OCTETS, "a line");
	static_assert(sizeof(lines) - 1 >= MESSAGE_PIECE + BODY_LINE_OCTETS, "a piece from anywhere in a line");
	memcpy(out, lines + at % BODY_LINE_OCTETS, text);
	memcpy(out + text, end + (at + text - body), n - text);
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

/* The flight of TLS, new or once more: it ends at snd_nxt, but for a FIN behind it. */
static void
send_flight(struct gen *g, uint32_t slot, bool again, uint64_t now_ns)
{
	struct session *s = &g->session[slot];
	const uint32_t new_octets = again ? 0 : gen_tls_new_flight(g, slot), fin = again && s->step == STEP_FIN ? 1 : 0;
	const uint8_t *flight;
	uint32_t n;

	if (!again && new_octets == 0)
		return;
	flight = gen_tls_flight(g, slot, &n);
	s->snd_nxt += new_octets;
	for (uint32_t at = 0; at < n; at += MESSAGE_PIECE)
		send_segment(g, slot, FLAG_ACK | FLAG_PSH, s->snd_nxt - fin - n + at, (const char *)flight + at,
			n - at < MESSAGE_PIECE ? n - at : MESSAGE_PIECE, now_ns);
}

/* A step under TLS; false: this one is none. */
static bool
send_step_by_tls(struct gen *g, uint32_t slot, bool again, uint64_t now_ns)
{
	const struct session *s = &g->session[slot];
	char line[256];

	if (!gen_tls_active(g, slot) || s->step == STEP_FREE)
		return false;
	if (!again && s->step == STEP_FIN)
		gen_tls_close(g, slot);
	else if (!again && s->step != STEP_HANDSHAKE)
		gen_tls_say(g, slot, line, line_of(g, s, line));
	/* the first flight was taken at the beginning and is sent as if again */
	if (!again && s->step == STEP_HANDSHAKE) {
		uint32_t n;

		gen_tls_flight(g, slot, &n);
		g->session[slot].snd_nxt += n;
		send_flight(g, slot, true, now_ns);
		return true;
	}
	send_flight(g, slot, again, now_ns);
	return s->step != STEP_FIN; /* whose FIN follows */
}

static void
send_step(struct gen *g, uint32_t slot, bool again, uint64_t now_ns)
{
	struct session *s = &g->session[slot];
	char line[256];
	uint32_t n;

	s->sent_ns = now_ns;
	if (send_step_by_tls(g, slot, again, now_ns))
		return;
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
	case STEP_STARTTLS:
	case STEP_MAIL:
	case STEP_RSET:
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
	case STEP_HELLO:
		n = (uint32_t)sizeof(client_hello);
		if (!again)
			s->snd_nxt += n;
		send_segment(g, slot, FLAG_ACK | FLAG_PSH, s->snd_nxt - n, (const char *)client_hello, n, now_ns);
		return;
	case STEP_HANDSHAKE:
	case STEP_FREE:
		return;
	}
}

static void
session_free(struct gen *g, uint32_t slot)
{
	g->n_idle -= g->session[slot].step == STEP_IDLE;
	gen_tls_end(g, slot);
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
	case STEP_RSET:
	case STEP_BODY:
		return code == 250;
	case STEP_RCPT:
		switch (g->conf.template) {
		case GEN_greylist:
		case GEN_between:
		case GEN_pipelined:
		case GEN_slow:
		case GEN_tls:
		case GEN_tls_resumed:
			return is_grey_reply(p, n);
		case GEN_listed:
		case GEN_denied:
			return code == 554 || code == 550;
		case GEN_retry:
		case GEN_data:
			return code == 250 || is_grey_reply(p, n); /* the first time; what passes is counted */
		case GEN_hello:
		case GEN_idle:
		case GEN_paused:
		case GEN_none:
		case GEN_TEMPLATES_N:
			return false;
		}
		return false;
	case STEP_DATA:
		return code == 354;
	case STEP_QUIT:
		return code == 221;
	case STEP_STARTTLS:
		return code == 220 || (code == 454 && g->conf.template == GEN_hello);
	case STEP_FREE:
	case STEP_SYN:
	case STEP_HANDSHAKE:
	case STEP_FIN:
	case STEP_HELLO:
	case STEP_IDLE:
		break;
	}
	return false;
}

/* The session is given up, and that was all it was for. */
static void
session_abandon(struct gen *g, uint32_t slot, uint64_t now_ns)
{
	struct session *s = &g->session[slot];

	send_segment(g, slot, FLAG_RST | FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
	histogram_add(&g->latency, now_ns - s->start_ns);
	g->stats.done++;
	session_free(g, slot);
}

/* Octets behind our ClientHello: records of a handshake, or an alert. */
static void
records_arrived(struct gen *g, uint32_t slot, const struct segment *in, uint64_t now_ns)
{
	struct session *s = &g->session[slot];

	s->rcv_nxt += in->octets;
	if (in->payload[0] == 0x16) {
		session_abandon(g, slot, now_ns);
		return;
	}
	complain(g, s, (const uint8_t *)"no handshake", 12);
	send_segment(g, slot, FLAG_RST | FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
	session_fail(g, slot);
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
		s->step = g->conf.template == GEN_idle                ? STEP_IDLE
		          : g->conf.template == GEN_hello             ? STEP_STARTTLS
		          : gen_is_tls(g) && !gen_tls_active(g, slot) ? STEP_STARTTLS
		                                                      : STEP_MAIL;
		g->n_idle += g->conf.template == GEN_idle;
		break;
	case STEP_STARTTLS:
		if (p[0] == '4') { /* too many wait: it is what a flood is to meet */
			session_abandon(g, slot, now_ns);
			return;
		}
		if (g->conf.template == GEN_hello) {
			s->step = STEP_HELLO;
			break;
		}
		if (!gen_tls_begin(g, slot)) {
			session_fail(g, slot);
			return;
		}
		s->step = STEP_HANDSHAKE;
		break;
	case STEP_MAIL:
		s->step = STEP_RCPT;
		break;
	case STEP_RCPT:
		histogram_add(&g->reply, now_ns - s->sent_ns);
		s->step = g->conf.template == GEN_between         ? STEP_RSET
		          : g->conf.template == GEN_data && !grey ? STEP_DATA
		                                                  : STEP_QUIT;
		g->stats.passed += !grey && p[0] == '2';
		break;
	case STEP_RSET:
		s->step = STEP_IDLE;
		g->n_idle++;
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
	case STEP_HANDSHAKE:
	case STEP_FIN:
	case STEP_HELLO:
	case STEP_IDLE:
		return;
	}
	s->resends = 0;
	send_step(g, slot, false, now_ns);
}

/* Octets that came under TLS: handshake, replies, close_notify. False: the session is over. */
static bool
input_by_tls(struct gen *g, uint32_t slot, const struct segment *in, uint64_t now_ns)
{
	struct session *s = &g->session[slot];
	const uint32_t before = s->snd_nxt;
	const uint8_t *plain;
	uint32_t n, have;

	s->rcv_nxt += in->octets;
	if (!gen_tls_feed(g, slot, in->payload, in->octets)) {
		complain(g, s, (const uint8_t *)"(TLS)", 5);
		send_segment(g, slot, FLAG_RST | FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
		session_fail(g, slot);
		return false;
	}
	s->sent_ns = now_ns; /* something came: what was said last has arrived */
	s->resends = 0;
	if (s->step == STEP_HANDSHAKE && gen_tls_is_open(g, slot)) {
		s->step = STEP_EHLO; /* goes out with the last words of the handshake */
		send_step(g, slot, false, now_ns);
	}
	plain = gen_tls_plain(g, slot, &have);
	while (s->step != STEP_FREE && (n = reply_octets(plain, have)) > 0) {
		uint8_t reply[REPLY_OCTETS];

		n = n < sizeof(reply) ? n : (uint32_t)sizeof(reply);
		memcpy(reply, plain, n);
		gen_tls_consume(g, slot, n);
		reply_arrived(g, slot, reply, n, now_ns);
		if (s->step == STEP_FREE)
			return false;
		plain = gen_tls_plain(g, slot, &have);
	}
	send_flight(g, slot, false, now_ns);
	if (s->snd_nxt == before) /* nothing to say: that it came */
		send_segment(g, slot, FLAG_ACK, s->snd_nxt, NULL, 0, now_ns);
	return true;
}

void
gen_session_input(struct gen *g, uint32_t slot, const struct segment *in, uint64_t now_ns)
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
	if (in->octets > 0 && s->step == STEP_BANNER && g->conf.template == GEN_paused) {
		s->rcv_nxt += in->octets; /* its first line */
		s->step = STEP_IDLE;
		g->n_idle++;
		send_step(g, slot, false, now_ns);
		return;
	}
	if (in->octets > 0 && s->step == STEP_HELLO) {
		records_arrived(g, slot, in, now_ns);
		return;
	}
	if (in->octets > 0 && gen_tls_active(g, slot)) {
		if (!input_by_tls(g, slot, in, now_ns) || !(in->flags & FLAG_FIN))
			return;
	} else if (in->octets > 0) {
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

void
gen_drip(struct gen *g, uint32_t n, uint64_t now_ns)
{
	while (n-- > 0) {
		const uint32_t slot = g->drip_at;
		struct session *s = &g->session[slot];

		g->drip_at = (g->drip_at + 1) & (g->conf.slots - 1);
		if (s->step != STEP_IDLE)
			continue;
		send_segment(g, slot, FLAG_ACK | FLAG_PSH, s->snd_nxt, "N", 1, now_ns);
		s->snd_nxt++;
	}
}
