/*
 * model_say.c - segments a model says: options, windows, text, resets.
 */
#include "tests/sim/model_impl.h"

#include <stdio.h>
#include <string.h>

/* Numbers as positions of the two streams. */
void
model_trace(const struct model_conn *c, const char *way, uint32_t at, uint32_t octets, uint8_t flags, uint32_t ack,
	uint32_t wnd)
{
	if (c->host->trace)
		printf("%10.6f .%u:%u %s .%u:%u %s%s%s%s%s at %d len %u ack %d wnd %u\n", (double)c->host->now_us / 1e6,
			c->here[15], c->port_here, way, c->there[15], c->port_there, (flags & SYN) != 0 ? "S" : "",
			(flags & ACK) != 0 ? "A" : "", (flags & FIN) != 0 ? "F" : "", (flags & RST) != 0 ? "R" : "",
			(flags & PSH) != 0 ? "P" : "", (int)at, octets, (int)ack, wnd);
}

uint32_t
model_stream_number(const struct model_conn *c, size_t at)
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

		set32(o, model_stream_number(c, p->at));
		set32(o + 4, model_stream_number(c, p->at + p->octets));
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

void
model_say(struct model_conn *c, uint32_t seq, uint8_t flags, const uint8_t *text, uint32_t octets)
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
	model_trace(c, "->", seq - c->iss - 1, octets, flags, (uint32_t)c->in_octets + c->eof,
		wnd << (syn ? 0 : c->scale_here));
	set16(tcp, c->port_here);
	set16(tcp + 2, c->port_there);
	set32(tcp + 4, seq);
	set32(tcp + 8, (flags & ACK) != 0 ? model_stream_number(c, c->in_octets) + c->eof : 0);
	tcp[12] = (uint8_t)(head / 4 << 4);
	tcp[13] = flags;
	set16(tcp + 14, wnd);
	set16(tcp + 16, ~model_sum_of(tcp, len, model_pseudo_sum(c->here, c->there, 6, len)) & 0xffff);
	head = model_packet_head(c->host, out, c->here, c->there, 6, len, 64);
	memcpy(out + 14 + head, tcp, len);
	model_put_on_wire(c->host, out, 14 + head + len);
	if ((flags & ACK) != 0) {
		c->ack_now = false;
		c->ack_due_us = NEVER;
	}
}

void
model_say_syn(struct model_conn *c)
{
	for (uint32_t i = 0; i < 1u + c->host->habits.repeats_syn; i++)
		model_say(c, c->iss, c->server ? SYN | ACK : SYN, NULL, 0);
}

/* An RST to a segment that belongs to nothing here. */
void
model_refuse(struct model_host *h, const uint8_t *here, const uint8_t *there, uint16_t port_here, uint16_t port_there,
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
		model_say(&c, s->ack, RST, NULL, 0);
	else
		model_say(&c, 0, RST | ACK, NULL, 0);
}

uint32_t
model_our_end(const struct model_conn *c)
{
	return c->iss + 1 + (uint32_t)c->out_octets;
}

/* New text as far as the other's window goes; one octet beyond where it is closed and the timer says so. */
void
model_say_text(struct model_conn *c, bool probe)
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
		n = c->host->habits.ragged ? 1 + model_draw(c->host, n) : n;
		n = n < left ? n : left;
		n = n < room ? n : room;
		if (n == left && c->fin_queued && !c->fin_acked && c->nxt != model_our_end(c) + 1)
			flags |= FIN;
		if (n == 0 && (flags & FIN) == 0)
			return;
		model_say(c, c->nxt, flags | (n > 0 ? PSH : 0), n > 0 ? c->out + at : NULL, n);
		c->nxt += n + ((flags & FIN) != 0);
		if ((int32_t)(c->nxt - c->max) > 0)
			c->max = c->nxt;
		if (c->rto_due_us == NEVER)
			c->rto_due_us = c->host->now_us + c->rto_us;
		if (probe)
			return;
	}
}
