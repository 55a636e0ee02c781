/*
 * gen_backend.c - the small MTA the generator plays: what a relay may say, answered in one breath.
 *
 * Flow:   gen_input() -> gen_backend_input() -> gen_frame_send()
 * Pure:   see gen.h.
 */
#include "bench/load/gen_impl.h"

#include <string.h>

static void
served_send(struct gen *g, struct served *v, const struct segment *in, uint8_t flags, const char *text, uint64_t now_ns)
{
	const uint32_t octets = text != NULL ? (uint32_t)strlen(text) : 0;
	uint8_t *f = g->ops.room(g->arg), *opt;
	uint32_t n;

	if (f == NULL)
		return;
	opt = f + ETH_OCTETS + IP_OCTETS + TCP_OCTETS;
	n = (flags & FLAG_SYN) != 0 ? gen_put_syn_options(g, opt, now_ns)
	                            : gen_put_timestamps(g, opt, v->ts_recent, now_ns);
	if (flags & FLAG_SYN && g->conf.timestamps)
		put32(opt + 12, v->ts_recent);
	if (octets > 0)
		memcpy(opt + n, text, octets);
	gen_frame_send(g, f, in->dst, in->src, in->dport, in->sport, v->snd_nxt, v->rcv_nxt, flags, n, octets);
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

/* Octets of a message in which its end cannot begin: up to the next CR. */
static uint32_t
served_body(struct gen *g, const struct served *v, const uint8_t *p, uint32_t n)
{
	const uint8_t *cr;
	uint32_t passed;

	if (v->state != 3 || v->tail != 0)
		return 0;
	cr = memchr(p, '\r', n);
	passed = cr != NULL ? (uint32_t)(cr - p) : n;
	g->stats.backend_octets += passed;
	return passed;
}

void
gen_backend_input(struct gen *g, const struct segment *in, uint64_t now_ns)
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
		const uint32_t passed = served_body(g, v, in->payload + i, in->octets - i);
		const char *text;

		i += passed;
		v->rcv_nxt += passed;
		if (i == in->octets)
			break;
		text = served_octet(g, v, in->payload[i]);
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
