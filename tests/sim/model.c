/*
 * model.c - see model.h.
 */
#include "tests/sim/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIN 1u
#define SYN 2u
#define RST 4u
#define PSH 8u
#define ACK 16u

#define TRIES_MAX  14
#define RTO_MAX_US 30000000u
#define NEVER      UINT64_MAX
#define GIVE_UP_US UINT64_C(1200000000)

struct segment_seen {
	uint32_t seq, ack, wnd;
	uint8_t flags;
	const uint8_t *text;
	uint32_t octets;
	uint16_t mss;
	int wscale; /* -1: none */
	bool sack_permitted, has_ts;
	uint32_t tsval, tsecr;
	uint32_t n_sack, sack[8];
};

static uint32_t
draw(struct model_host *h, uint32_t n)
{
	h->rng = h->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return n == 0 ? 0 : (uint32_t)(h->rng >> 33) % n;
}

static void __attribute__((format(printf, 2, 3), noreturn)) foul(const struct model_conn *c, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "model: the gateway broke a rule at port %u -> %u, %llu us: ", c->port_there, c->port_here,
		(unsigned long long)c->host->now_us);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	abort();
}

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void
set16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void
set32(uint8_t *p, uint32_t v)
{
	set16(p, v >> 16);
	set16(p + 2, v);
}

/* RFC 1071, octet by octet. */
static uint32_t
sum_of(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++) {
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static bool
is_v4(const uint8_t *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a, mapped, 12) == 0;
}

static uint32_t
pseudo_sum(const uint8_t *a, const uint8_t *b, uint32_t proto, uint32_t octets)
{
	const size_t skip = is_v4(a) ? 12 : 0;
	uint32_t sum = sum_of(a + skip, 16 - skip, 0);

	sum = sum_of(b + skip, 16 - skip, sum) + proto + octets;
	return (sum & 0xffff) + (sum >> 16);
}

/* Numbers as positions of the two streams. */
static void
trace(const struct model_conn *c, const char *way, uint32_t at, uint32_t octets, uint8_t flags, uint32_t ack,
	uint32_t wnd)
{
	if (c->host->trace)
		printf("%10.6f .%u:%u %s .%u:%u %s%s%s%s%s at %d len %u ack %d wnd %u\n", (double)c->host->now_us / 1e6,
			c->here[15], c->port_here, way, c->there[15], c->port_there, (flags & SYN) != 0 ? "S" : "",
			(flags & ACK) != 0 ? "A" : "", (flags & FIN) != 0 ? "F" : "", (flags & RST) != 0 ? "R" : "",
			(flags & PSH) != 0 ? "P" : "", (int)at, octets, (int)ack, wnd);
}

/* --- Ethernet and IP --- */

/* Room for the text of a packet in out; out + 14 + head is where it goes. Returns head. */
static uint32_t
packet_head(struct model_host *h, uint8_t *out, const uint8_t *from, const uint8_t *to, uint32_t proto, uint32_t octets,
	uint32_t hops)
{
	uint8_t *ip = out + 14;

	memcpy(out, h->gateway_mac, 6);
	memcpy(out + 6, h->mac, 6);
	if (is_v4(from)) {
		set16(out + 12, 0x0800);
		memset(ip, 0, 20);
		ip[0] = 0x45;
		set16(ip + 2, 20 + octets);
		set16(ip + 4, draw(h, 65536));
		ip[6] = 0x40;
		ip[8] = (uint8_t)hops;
		ip[9] = (uint8_t)proto;
		memcpy(ip + 12, from + 12, 4);
		memcpy(ip + 16, to + 12, 4);
		set16(ip + 10, ~sum_of(ip, 20, 0) & 0xffff);
		return 20;
	}
	set16(out + 12, 0x86dd);
	memset(ip, 0, 8);
	ip[0] = 0x60;
	set16(ip + 4, octets);
	ip[6] = (uint8_t)proto;
	ip[7] = (uint8_t)hops;
	memcpy(ip + 8, from, 16);
	memcpy(ip + 24, to, 16);
	return 40;
}

static void
put_on_wire(struct model_host *h, const uint8_t *frame, uint32_t octets)
{
	if (h->down)
		return;
	h->frames_out++;
	sim_tap_tx(h->sim, h->tap.port, frame, octets);
}

static void
on_arp(struct model_host *h, const uint8_t *f, uint32_t octets)
{
	uint8_t reply[60] = { 0 };

	if (octets < 42 || get16(f + 20) != 1 || memcmp(f + 38, h->ip4 + 12, 4) != 0)
		return;
	memcpy(reply, f + 22, 6);
	memcpy(reply + 6, h->mac, 6);
	memcpy(reply + 12, f + 12, 8); /* types and lengths */
	set16(reply + 20, 2);
	memcpy(reply + 22, h->mac, 6);
	memcpy(reply + 28, h->ip4 + 12, 4);
	memcpy(reply + 32, f + 22, 10);
	put_on_wire(h, reply, sizeof(reply));
}

/* A neighbour solicitation for us. */
static void
on_icmp6(struct model_host *h, const uint8_t *from, const uint8_t *p, uint32_t octets)
{
	uint8_t out[14 + 40 + 32] = { 0 };
	uint8_t *na = out + 54;

	if (octets < 24 || p[0] != 135 || memcmp(p + 8, h->ip6, 16) != 0)
		return;
	packet_head(h, out, h->ip6, from, 58, 32, 255);
	na[0] = 136;
	na[4] = 0x60; /* solicited, override */
	memcpy(na + 8, h->ip6, 16);
	na[24] = 2;
	na[25] = 1;
	memcpy(na + 26, h->mac, 6);
	set16(na + 2, ~sum_of(na, 32, pseudo_sum(h->ip6, from, 58, 32)) & 0xffff);
	put_on_wire(h, out, sizeof(out));
}

/* --- segments out --- */

static uint32_t
stream_number(const struct model_conn *c, size_t at)
{
	return c->irs + 1 + (uint32_t)at;
}

static uint32_t
clock_of(const struct model_host *h)
{
	return h->clock_ms + (uint32_t)(h->now_us / 1000);
}

/* The window now: what fits, in whole units of the scale, never less than was offered. */
static uint32_t
offer(struct model_conn *c)
{
	const size_t unread = c->in_octets - c->in_read;
	const uint32_t room = unread < c->host->habits.window ? c->host->habits.window - (uint32_t)unread : 0;
	const uint32_t at = (uint32_t)c->in_octets, unit = 1u << c->scale_here;
	const uint32_t most = 65535u << c->scale_here;
	uint32_t wnd = room < most ? room : most;

	/* RFC 9293 section 3.8.6.2.2 */
	if (at + wnd < c->edge || (at + wnd - c->edge < c->host->habits.window / 2 && at + wnd - c->edge < 1460))
		wnd = c->edge > at ? c->edge - at : 0;
	wnd = (wnd + unit - 1) / unit; /* up: an edge never moves back */
	wnd = wnd > 65535 ? 65535 : wnd;
	if (at + (wnd << c->scale_here) > c->edge)
		c->edge = at + (wnd << c->scale_here);
	return wnd;
}

static uint8_t *
put_sack(const struct model_conn *c, uint8_t *o)
{
	uint32_t n = c->n_ooo < 3 ? c->n_ooo : 3;

	if (!c->sack || n == 0)
		return o;
	*o++ = 1;
	*o++ = 1;
	*o++ = 5;
	*o++ = (uint8_t)(2 + 8 * n);
	for (uint32_t i = 0; i < n; i++) {
		const struct model_ooo *p = &c->ooo[c->n_ooo - 1 - i]; /* the latest first */

		set32(o, stream_number(c, p->at));
		set32(o + 4, stream_number(c, p->at + p->octets));
		o += 8;
	}
	return o;
}

static uint8_t *
put_options(struct model_conn *c, uint8_t *o, bool syn, bool with_text)
{
	const struct model_habits *b = &c->host->habits;

	if (syn) {
		if (b->mss != 0) {
			o[0] = 2;
			o[1] = 4;
			set16(o + 2, b->mss);
			o += 4;
		}
		if (c->sack) {
			*o++ = 4;
			*o++ = 2;
		}
		if (c->scale_here >= 0 && b->wscale >= 0 && (!c->server || c->scale_there >= 0)) {
			*o++ = 3;
			*o++ = 3;
			*o++ = (uint8_t)b->wscale;
		}
	}
	if (c->ts) {
		o[0] = 8;
		o[1] = 10;
		set32(o + 2, clock_of(c->host));
		set32(o + 6, c->ts_recent);
		o += 10;
	}
	if (!syn && !with_text)
		o = put_sack(c, o);
	return o;
}

static void
say(struct model_conn *c, uint32_t seq, uint8_t flags, const uint8_t *text, uint32_t octets)
{
	static uint8_t out[14 + 40 + 60 + MODEL_SEG_MAX];
	uint8_t tcp[60 + MODEL_SEG_MAX] = { 0 };
	const bool syn = (flags & SYN) != 0;
	uint8_t *o = put_options(c, tcp + 20, syn, octets > 0);
	uint32_t head, len, wnd;

	while ((o - tcp) % 4 != 0)
		*o++ = 1;
	head = (uint32_t)(o - tcp);
	len = head + octets;
	if (octets > 0)
		memcpy(tcp + head, text, octets);
	if (syn) { /* never scaled */
		wnd = c->host->habits.window < 65535 ? c->host->habits.window : 65535;
		c->edge = wnd > c->edge ? wnd : c->edge;
	} else {
		wnd = offer(c);
	}
	trace(c, "->", seq - c->iss - 1, octets, flags, (uint32_t)c->in_octets + c->eof,
		wnd << (syn ? 0 : c->scale_here));
	set16(tcp, c->port_here);
	set16(tcp + 2, c->port_there);
	set32(tcp + 4, seq);
	set32(tcp + 8, (flags & ACK) != 0 ? stream_number(c, c->in_octets) + c->eof : 0);
	tcp[12] = (uint8_t)(head / 4 << 4);
	tcp[13] = flags;
	set16(tcp + 14, wnd);
	set16(tcp + 16, ~sum_of(tcp, len, pseudo_sum(c->here, c->there, 6, len)) & 0xffff);
	head = packet_head(c->host, out, c->here, c->there, 6, len, 64);
	memcpy(out + 14 + head, tcp, len);
	put_on_wire(c->host, out, 14 + head + len);
	if ((flags & ACK) != 0) {
		c->ack_now = false;
		c->ack_due_us = NEVER;
	}
}

static void
say_syn(struct model_conn *c)
{
	for (uint32_t i = 0; i < 1u + c->host->habits.repeats_syn; i++)
		say(c, c->iss, c->server ? SYN | ACK : SYN, NULL, 0);
}

/* An RST to a segment that belongs to nothing here. */
static void
refuse(struct model_host *h, const uint8_t *here, const uint8_t *there, uint16_t port_here, uint16_t port_there,
	const struct segment_seen *s)
{
	struct model_conn c = {
		.host = h, .port_here = port_here, .port_there = port_there, .server = true, .scale_there = -1
	};
	const uint32_t len = s->octets + ((s->flags & SYN) != 0) + ((s->flags & FIN) != 0);

	if ((s->flags & RST) != 0)
		return;
	memcpy(c.here, here, 16);
	memcpy(c.there, there, 16);
	c.irs = s->seq + len - 1; /* so that the ACK is SEG.SEQ + SEG.LEN */
	if ((s->flags & ACK) != 0)
		say(&c, s->ack, RST, NULL, 0);
	else
		say(&c, 0, RST | ACK, NULL, 0);
}

static uint32_t
our_end(const struct model_conn *c)
{
	return c->iss + 1 + (uint32_t)c->out_octets;
}

/* New text as far as the other's window goes; one octet beyond where it is closed and the timer says so. */
static void
say_text(struct model_conn *c, bool probe)
{
	while (c->state == MODEL_OPEN) {
		const uint32_t at = c->nxt - c->iss - 1;
		uint32_t left = at < c->out_octets ? (uint32_t)c->out_octets - at : 0;
		const uint32_t used = c->nxt - c->una;
		uint32_t room = c->wnd_there > used ? c->wnd_there - used : 0;
		uint32_t n = c->host->habits.seg_max;
		uint8_t flags = ACK;

		if (probe && room == 0)
			room = 1;
		n = n < c->mss_there ? n : c->mss_there;
		n = c->host->habits.ragged ? 1 + draw(c->host, n) : n;
		n = n < left ? n : left;
		n = n < room ? n : room;
		if (n == left && c->fin_queued && !c->fin_acked && c->nxt != our_end(c) + 1)
			flags |= FIN;
		if (n == 0 && (flags & FIN) == 0)
			return;
		say(c, c->nxt, flags | (n > 0 ? PSH : 0), n > 0 ? c->out + at : NULL, n);
		c->nxt += n + ((flags & FIN) != 0);
		if ((int32_t)(c->nxt - c->max) > 0)
			c->max = c->nxt;
		if (c->rto_due_us == NEVER)
			c->rto_due_us = c->host->now_us + c->rto_us;
		if (probe)
			return;
	}
}

/* --- segments in --- */

static bool
parse(struct segment_seen *s, const uint8_t *p, uint32_t octets)
{
	const uint32_t head = octets >= 20 ? (p[12] >> 4) * 4u : 0;
	uint32_t at = 20;

	*s = (struct segment_seen){ .wscale = -1 };
	if (head < 20 || head > octets)
		return false;
	s->seq = get32(p + 4);
	s->ack = get32(p + 8);
	s->flags = p[13] & 0x3f;
	s->wnd = get16(p + 14);
	s->text = p + head;
	s->octets = octets - head;
	while (at < head && p[at] != 0) {
		uint32_t len;

		if (p[at] == 1) {
			at++;
			continue;
		}
		len = at + 1 < head ? p[at + 1] : 0;
		if (len < 2 || at + len > head)
			return false;
		if (p[at] == 2 && len == 4)
			s->mss = get16(p + at + 2);
		else if (p[at] == 3 && len == 3)
			s->wscale = p[at + 2];
		else if (p[at] == 4 && len == 2)
			s->sack_permitted = true;
		else if (p[at] == 8 && len == 10) {
			s->has_ts = true;
			s->tsval = get32(p + at + 2);
			s->tsecr = get32(p + at + 6);
		} else if (p[at] == 5)
			for (uint32_t i = 2; i + 8 <= len && s->n_sack < 4; i += 8, s->n_sack++) {
				s->sack[2 * s->n_sack] = get32(p + at + i);
				s->sack[2 * s->n_sack + 1] = get32(p + at + i + 4);
			}
		at += len;
	}
	return true;
}

/* What no honest peer says, whatever the wire did to the order of it. */
static void
referee(struct model_conn *c, const struct segment_seen *s)
{
	const int32_t begins = (int32_t)(s->seq - c->irs - 1);
	const int64_t ends = (int64_t)begins + s->octets;

	if ((s->flags & SYN) != 0)
		return;
	if (s->has_ts && !c->ts)
		foul(c, "timestamps that were not negotiated");
	if (s->n_sack > 0 && !c->sack)
		foul(c, "SACK that was not negotiated");
	if ((s->flags & RST) != 0)
		return;
	if (!s->has_ts && c->ts)
		foul(c, "no timestamp where they were negotiated");
	if ((s->flags & ACK) == 0)
		foul(c, "a segment without ACK, flags %02x", s->flags);
	if ((int32_t)(s->ack - c->max) > 0)
		foul(c, "ACK of %u octets that were never sent", s->ack - c->max);
	if (s->octets > (c->host->habits.mss != 0 ? c->host->habits.mss : c->v6 ? 1220u : 536u))
		foul(c, "a segment of %u octets, our MSS is %u", s->octets, c->host->habits.mss);
	if (s->octets > 0 && ends > (int64_t)c->edge + 1)
		foul(c, "text up to %lld, the window ends at %u", (long long)ends, c->edge);
	if (c->fin_known && s->octets > 0 && ends > (int64_t)c->fin_at)
		foul(c, "text up to %lld behind the FIN at %zu", (long long)ends, c->fin_at);
	if (c->fin_known && (s->flags & FIN) != 0 && ends != (int64_t)c->fin_at)
		foul(c, "a second FIN at %lld, the first was at %zu", (long long)ends, c->fin_at);
	for (uint32_t i = 0; i < s->n_sack; i++)
		if ((int32_t)(s->sack[2 * i + 1] - s->sack[2 * i]) <= 0 || (int32_t)(s->sack[2 * i + 1] - c->max) > 0)
			foul(c, "SACK block %u to %u of what was never sent", s->sack[2 * i] - c->iss,
				s->sack[2 * i + 1] - c->iss);
	/* octets said again are the same octets */
	for (uint32_t i = 0; i < s->octets; i++) {
		const int64_t at = (int64_t)begins + i;

		if (at >= 0 && (size_t)at < c->in_octets && c->in[at] != s->text[i])
			foul(c, "octet %lld is another one when it comes again", (long long)at);
	}
	for (uint32_t k = 0; k < c->n_ooo; k++)
		for (uint32_t i = 0; i < s->octets; i++) {
			const int64_t at = (int64_t)begins + i - c->ooo[k].at;

			if (at >= 0 && at < c->ooo[k].octets && c->ooo[k].data[at] != s->text[i])
				foul(c, "octet %lld is another one when it comes again", (long long)at + c->ooo[k].at);
		}
}

static void
take(struct model_conn *c, const uint8_t *text, uint32_t octets)
{
	if (c->in_octets + octets > c->in_room) {
		c->in_room = (c->in_octets + octets) * 2 + 4096;
		c->in = realloc(c->in, c->in_room);
	}
	memcpy(c->in + c->in_octets, text, octets);
	c->in_octets += octets;
}

static void
drop_ooo(struct model_conn *c, uint32_t i)
{
	free(c->ooo[i].data);
	c->ooo[i] = c->ooo[--c->n_ooo];
}

static void
pull_ooo(struct model_conn *c)
{
	for (uint32_t i = 0; i < c->n_ooo;) {
		struct model_ooo *p = &c->ooo[i];

		if (p->at > c->in_octets) {
			i++;
			continue;
		}
		if (p->at + p->octets > c->in_octets)
			take(c, p->data + (c->in_octets - p->at), p->at + p->octets - (uint32_t)c->in_octets);
		drop_ooo(c, i);
		i = 0;
	}
}

static void
on_text(struct model_conn *c, const struct segment_seen *s)
{
	const int64_t begins = (int32_t)(s->seq - c->irs - 1);
	const int64_t ends = begins + s->octets;
	const int64_t last = ends < (int64_t)c->edge ? ends : (int64_t)c->edge;

	if (s->octets == 0)
		return;
	if (c->host->habits.reneges && c->n_ooo > 0 && draw(c->host, 20) == 0)
		while (c->n_ooo > 0)
			drop_ooo(c, 0);
	if (begins > (int64_t)c->in_octets) {
		c->ack_now = true;
		if (c->n_ooo < MODEL_OOO_MAX && last > begins) {
			struct model_ooo *p = &c->ooo[c->n_ooo++];

			*p = (struct model_ooo){ .at = (uint32_t)begins, .octets = (uint32_t)(last - begins) };
			p->data = malloc(p->octets);
			memcpy(p->data, s->text, p->octets);
		}
		return;
	}
	if (last <= (int64_t)c->in_octets) {
		c->ack_now = true; /* known already, or beyond the window */
		return;
	}
	take(c, s->text + (c->in_octets - (size_t)begins), (uint32_t)(last - (int64_t)c->in_octets));
	if (c->n_ooo > 0) {
		pull_ooo(c);
		c->ack_now = true;
	}
	if (c->host->habits.delack_us == 0 || c->ack_due_us != NEVER)
		c->ack_now = true; /* every second one */
	else
		c->ack_due_us = c->host->now_us + c->host->habits.delack_us;
}

static void
on_fin(struct model_conn *c, const struct segment_seen *s)
{
	const int64_t at = (int64_t)(int32_t)(s->seq - c->irs - 1) + s->octets;

	if ((s->flags & FIN) != 0) {
		if (!c->fin_known && at < (int64_t)c->in_octets)
			foul(c, "FIN at %lld, before octet %zu that was sent", (long long)at, c->in_octets);
		c->fin_known = true;
		c->fin_at = (size_t)at;
		c->ack_now = true;
	}
	if (c->fin_known && c->fin_at == c->in_octets)
		c->eof = true;
}

static void
on_ack(struct model_conn *c, const struct segment_seen *s)
{
	if ((int32_t)(s->ack - c->una) > 0) {
		c->una = s->ack;
		if ((int32_t)(c->nxt - c->una) < 0)
			c->nxt = c->una;
		c->tries = 0;
		c->rto_us = c->host->habits.rto_us;
		c->rto_due_us = c->una == c->max ? NEVER : c->host->now_us + c->rto_us;
		if (c->fin_queued && c->una == our_end(c) + 1)
			c->fin_acked = true;
	}
	if ((int32_t)(s->ack - c->una) >= 0)
		c->wnd_there = s->wnd << (c->scale_there > 0 ? c->scale_there : 0);
	/* it lives: probes of its window go on */
	if (c->wnd_there == 0)
		c->tries = 0;
}

static void
learn_options(struct model_conn *c, const struct segment_seen *s)
{
	c->ts = c->ts && s->has_ts;
	c->sack = c->sack && s->sack_permitted;
	c->scale_there = s->wscale > 14 ? 14 : s->wscale;
	c->scale_here = c->scale_here >= 0 && s->wscale >= 0 ? c->scale_here : 0;
	c->mss_there = s->mss != 0 ? s->mss : c->v6 ? 1220 : 536;
	if (c->ts)
		c->mss_there -= 12;
	c->ts_recent = s->tsval;
	c->irs = s->seq;
	c->wnd_there = s->wnd;
}

static void
opened(struct model_conn *c)
{
	c->state = MODEL_OPEN;
	c->rto_due_us = NEVER;
	c->tries = 0;
	c->rto_us = c->host->habits.rto_us;
}

static void
on_segment(struct model_conn *c, const struct segment_seen *s)
{
	struct model_host *h = c->host;

	if (c->state == MODEL_SYN_SENT) {
		if ((s->flags & ACK) == 0 || s->ack != c->iss + 1)
			return;
		if ((s->flags & RST) != 0) {
			c->state = MODEL_ENDED;
			c->reset = true;
			return;
		}
		if ((s->flags & SYN) == 0)
			return;
		learn_options(c, s);
		c->una = c->nxt = c->max = c->iss + 1;
		opened(c);
		for (uint32_t i = 0; i < (h->habits.repeats_syn ? 3u : 1u); i++)
			say(c, c->nxt, ACK, NULL, 0);
		return;
	}
	referee(c, s);
	c->heard_us = h->now_us;
	if ((s->flags & RST) != 0) {
		if (s->seq == stream_number(c, c->in_octets) + c->eof) {
			c->state = MODEL_ENDED;
			c->reset = true;
			return;
		}
		c->ack_now = true; /* a challenge */
		return;
	}
	if ((s->flags & SYN) != 0) {
		if (c->state == MODEL_SYN_RECEIVED && s->seq == c->irs)
			say_syn(c);
		else
			c->ack_now = true;
		return;
	}
	if (c->ts && (int32_t)(s->tsval - c->ts_recent) < 0) { /* PAWS */
		c->ack_now = true;
		return;
	}
	if (c->ts && (int32_t)(s->seq - stream_number(c, c->in_octets)) <= 0)
		c->ts_recent = s->tsval;
	if (c->state == MODEL_SYN_RECEIVED && (s->flags & ACK) != 0 && s->ack == c->iss + 1) {
		c->una = c->nxt = c->max = c->iss + 1;
		opened(c);
	}
	if (c->state != MODEL_OPEN)
		return;
	on_ack(c, s);
	on_text(c, s);
	on_fin(c, s);
	/* an ACK from before our text: a probe or keep-alive */
	if (s->octets == 0 && (s->flags & FIN) == 0 && (int32_t)(s->seq - stream_number(c, c->in_octets)) < 0 &&
		s->ack == c->max)
		c->ack_now = true;
}

static struct model_conn *
conn_new(struct model_host *h, bool server, const uint8_t *here, const uint8_t *there)
{
	for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
		struct model_conn *c = &h->conn[i];

		if (c->state != MODEL_FREE)
			continue;
		*c = (struct model_conn){ .host = h,
			.server = server,
			.ts = h->habits.ts,
			.sack = h->habits.sack,
			.scale_here = h->habits.wscale,
			.scale_there = -1,
			.iss = draw(h, UINT32_MAX),
			.rto_us = 1000000,
			.rto_due_us = NEVER,
			.ack_due_us = NEVER,
			.heard_us = h->now_us,
			.v6 = !is_v4(here) };
		c->una = c->nxt = c->iss;
		c->max = c->iss + 1;
		memcpy(c->here, here, 16);
		memcpy(c->there, there, 16);
		return c;
	}
	return NULL;
}

static void
on_tcp(struct model_host *h, const uint8_t *from, const uint8_t *to, const uint8_t *p, uint32_t octets)
{
	struct segment_seen s;
	struct model_conn *c = NULL;

	if (sum_of(p, octets, pseudo_sum(from, to, 6, octets)) != 0xffff) {
		h->bad_checksums++;
		return;
	}
	if (!parse(&s, p, octets)) {
		fprintf(stderr, "model: a header that cannot be read\n");
		abort();
	}
	for (uint32_t i = 0; i < MODEL_CONNS_MAX && c == NULL; i++) {
		struct model_conn *x = &h->conn[i];

		if (x->state != MODEL_FREE && x->state != MODEL_ENDED && x->port_here == get16(p + 2) &&
			x->port_there == get16(p) && memcmp(x->there, from, 16) == 0 && memcmp(x->here, to, 16) == 0)
			c = x;
	}
	if (c != NULL) {
		trace(c, "<-", s.seq - c->irs - 1, s.octets, s.flags, s.ack - c->iss - 1,
			s.wnd << (c->scale_there > 0 && (s.flags & SYN) == 0 ? c->scale_there : 0));
		on_segment(c, &s);
		return;
	}
	if (h->listen_port != 0 && get16(p + 2) == h->listen_port && (s.flags & (SYN | ACK | RST)) == SYN &&
		(c = conn_new(h, true, to, from)) != NULL) {
		c->port_here = get16(p + 2);
		c->port_there = get16(p);
		c->state = MODEL_SYN_RECEIVED;
		learn_options(c, &s);
		c->rto_due_us = h->now_us + c->rto_us;
		say_syn(c);
		return;
	}
	refuse(h, to, from, get16(p + 2), get16(p), &s);
}

static void
rx(void *arg, const uint8_t *f, uint32_t octets)
{
	struct model_host *h = arg;
	uint8_t from[16] = { [10] = 0xff, [11] = 0xff }, to[16] = { [10] = 0xff, [11] = 0xff };
	const uint8_t *ip = f + 14;

	h->now_us = sim_now_us(h->sim);
	if (h->down || octets < 34 || (memcmp(f, h->mac, 6) != 0 && (f[0] & 1) == 0))
		return;
	h->frames_in++;
	if (get16(f + 12) == 0x0806) {
		on_arp(h, f, octets);
	} else if (get16(f + 12) == 0x0800) {
		const uint32_t head = (ip[0] & 15) * 4u, len = get16(ip + 2);

		memcpy(from + 12, ip + 12, 4);
		memcpy(to + 12, ip + 16, 4);
		if (head < 20 || len < head || 14 + len > octets || sum_of(ip, head, 0) != 0xffff ||
			memcmp(to, h->ip4, 16) != 0)
			return;
		if (ip[9] == 6)
			on_tcp(h, from, to, ip + head, len - head);
	} else if (get16(f + 12) == 0x86dd && octets >= 54) {
		const uint32_t len = get16(ip + 4);

		if (54 + len > octets)
			return;
		if (ip[6] == 58)
			on_icmp6(h, ip + 8, ip + 40, len);
		else if (ip[6] == 6 && memcmp(ip + 24, h->ip6, 16) == 0)
			on_tcp(h, ip + 8, ip + 24, ip + 40, len);
	}
}

/* --- time --- */

static void
time_out(struct model_conn *c)
{
	c->tries++;
	c->rto_us = c->rto_us * 2 < RTO_MAX_US ? c->rto_us * 2 : RTO_MAX_US;
	c->rto_due_us = c->host->now_us + c->rto_us;
	if (c->tries > TRIES_MAX) {
		c->state = MODEL_ENDED;
		c->timed_out = true;
		return;
	}
	if (c->state == MODEL_SYN_SENT || c->state == MODEL_SYN_RECEIVED) {
		say_syn(c);
		return;
	}
	if (c->tries % 3 == 0 && c->mss_there > 500)
		c->mss_there = c->v6 ? 1180 : 500; /* a path may take less than we think */
	c->nxt = c->una;
	say_text(c, true);
}

static uint64_t
conn_turn(struct model_conn *c)
{
	struct model_host *h = c->host;
	uint64_t due;

	if (c->state == MODEL_FREE || c->state == MODEL_ENDED)
		return NEVER;
	if (h->now_us - c->heard_us > GIVE_UP_US) {
		c->state = MODEL_ENDED;
		c->timed_out = true;
		return NEVER;
	}
	if (c->rto_due_us <= h->now_us)
		time_out(c);
	if (c->state == MODEL_OPEN) {
		if (c->ack_due_us <= h->now_us)
			c->ack_now = true;
		say_text(c, false);
		/* what is left and cannot be sent is tried again in a while */
		if (c->rto_due_us == NEVER && (c->nxt != our_end(c) || (c->fin_queued && !c->fin_acked)))
			c->rto_due_us = h->now_us + c->rto_us;
		if (c->ack_now)
			say(c, c->max, ACK, NULL, 0);
		if (c->eof && c->fin_acked) {
			c->state = MODEL_ENDED; /* no TIME-WAIT: a late segment gets an RST, which is a habit, too */
			return NEVER;
		}
	}
	due = c->rto_due_us < c->ack_due_us ? c->rto_due_us : c->ack_due_us;
	return due;
}

static uint64_t
turn(void *arg, uint64_t now_us)
{
	struct model_host *h = arg;
	uint64_t due = NEVER;

	h->now_us = now_us;
	if (h->down)
		return now_us + 100000;
	for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
		const uint64_t d = conn_turn(&h->conn[i]);

		due = d < due ? d : due;
	}
	return due;
}

/* --- for the script --- */

static void
parse_addr(const char *text, uint8_t *out)
{
	struct ip_addr a;

	if (ip_addr_parse(text, &a) != 0)
		abort();
	memcpy(out, a.octet, 16);
}

void
model_host_init(struct model_host *h, struct sim *sim, uint32_t port, const char *ip4, const char *ip6, uint64_t seed)
{
	*h = (struct model_host){
		.sim = sim, .rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1, .now_us = sim_now_us(sim)
	};
	h->tap = (struct sim_tap){ .rx = rx, .turn = turn, .arg = h, .port = port };
	parse_addr(ip4, h->ip4);
	parse_addr(ip6, h->ip6);
	memcpy(h->mac, (uint8_t[]){ 2, 0x77, 0, 0, (uint8_t)port, h->ip4[15] }, 6);
	memcpy(h->gateway_mac, (uint8_t[]){ 2, 0, 0, 0, (uint8_t)port, 1 }, 6); /* as sim_conf_init() has it */
	h->clock_ms = draw(h, UINT32_MAX);
	h->next_port = (uint16_t)(20000 + draw(h, 20000));
	h->habits = (struct model_habits){
		.mss = 1400, .ts = true, .sack = true, .wscale = 5, .window = 65535, .seg_max = 1400, .rto_us = 400000
	};
	sim_tap_add(sim, &h->tap);
}

void
model_forget(struct model_conn *c)
{
	while (c->n_ooo > 0)
		drop_ooo(c, 0);
	free(c->in);
	free(c->out);
	memset(c, 0, sizeof(*c));
}

void
model_crash(struct model_host *h)
{
	for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++)
		if (h->conn[i].state != MODEL_FREE) {
			h->conn[i].state = MODEL_ENDED;
			h->conn[i].timed_out = true;
		}
}

void
model_host_fini(struct model_host *h)
{
	for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++)
		if (h->conn[i].state != MODEL_FREE)
			model_forget(&h->conn[i]);
}

struct model_conn *
model_connect(struct model_host *h, bool v6, const char *to, uint16_t port)
{
	uint8_t there[16];
	struct model_conn *c;

	h->now_us = sim_now_us(h->sim);
	parse_addr(to, there);
	c = conn_new(h, false, v6 ? h->ip6 : h->ip4, there);
	if (c == NULL)
		return NULL;
	c->port_here = h->next_port++;
	c->port_there = port;
	c->state = MODEL_SYN_SENT;
	c->rto_due_us = h->now_us + c->rto_us;
	say_syn(c);
	return c;
}

struct model_conn *
model_accept(struct model_host *h)
{
	for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
		struct model_conn *c = &h->conn[i];

		if (c->server && c->state >= MODEL_OPEN && !c->accepted_taken) {
			c->accepted_taken = true;
			return c;
		}
	}
	return NULL;
}

void
model_read(struct model_conn *c, size_t n)
{
	const uint32_t before = c->edge - (uint32_t)c->in_octets;

	c->in_read += n;
	if (n > 0 && before < 1460)
		c->ack_now = true; /* a window that was nearly closed: its opening is told */
}

void
model_send(struct model_conn *c, const void *data, size_t octets)
{
	if (c->state == MODEL_ENDED || c->fin_queued)
		return;
	if (c->out_octets + octets > c->out_room) {
		c->out_room = (c->out_octets + octets) * 2 + 1024;
		c->out = realloc(c->out, c->out_room);
	}
	memcpy(c->out + c->out_octets, data, octets);
	c->out_octets += octets;
}

void
model_close(struct model_conn *c)
{
	c->fin_queued = true;
}

void
model_forge(struct model_host *h, const uint8_t from[16], uint16_t port_from, const uint8_t to[16], uint16_t port_to,
	uint32_t seq, uint32_t ack, uint8_t flags, uint32_t octets)
{
	static const uint8_t text[MODEL_SEG_MAX];
	struct model_conn c = {
		.host = h, .port_here = port_from, .port_there = port_to, .server = true, .scale_there = -1
	};

	memcpy(c.here, from, 16);
	memcpy(c.there, to, 16);
	c.irs = ack - 1;
	say(&c, seq, flags, text, octets);
}

void
model_abort(struct model_conn *c)
{
	if (c->state == MODEL_OPEN)
		say(c, c->max, RST | ACK, NULL, 0);
	c->state = MODEL_ENDED;
}
