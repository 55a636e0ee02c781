/*
 * model_hear.c - segments a model hears, judged by a referee, and what they do to its connections.
 */
#include "tests/sim/model_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	/* who was killed before our SYN-ACK came asks as it has offered */
	if (s->has_ts && !c->ts && c->state != MODEL_SYN_RECEIVED)
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

void
model_drop_ooo(struct model_conn *c, uint32_t i)
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
		model_drop_ooo(c, i);
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
	if (c->host->habits.reneges && c->n_ooo > 0 && model_draw(c->host, 20) == 0)
		while (c->n_ooo > 0)
			model_drop_ooo(c, 0);
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
		if (c->fin_queued && c->una == model_our_end(c) + 1)
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
			model_say(c, c->nxt, ACK, NULL, 0);
		return;
	}
	referee(c, s);
	c->heard_us = h->now_us;
	if ((s->flags & RST) != 0) {
		if (s->seq == model_stream_number(c, c->in_octets) + c->eof) {
			c->state = MODEL_ENDED;
			c->reset = true;
			return;
		}
		c->ack_now = true; /* a challenge */
		return;
	}
	if ((s->flags & SYN) != 0) {
		if (c->state == MODEL_SYN_RECEIVED && s->seq == c->irs)
			model_say_syn(c);
		else
			c->ack_now = true;
		return;
	}
	if (c->ts && (int32_t)(s->tsval - c->ts_recent) < 0) { /* PAWS */
		c->ack_now = true;
		return;
	}
	if (c->ts && (int32_t)(s->seq - model_stream_number(c, c->in_octets)) <= 0)
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
	if (s->octets == 0 && (s->flags & FIN) == 0 && (int32_t)(s->seq - model_stream_number(c, c->in_octets)) < 0 &&
		s->ack == c->max)
		c->ack_now = true;
}

struct model_conn *
model_conn_new(struct model_host *h, bool server, const uint8_t *here, const uint8_t *there)
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
			.iss = model_draw(h, UINT32_MAX),
			.rto_us = 1000000,
			.rto_due_us = NEVER,
			.ack_due_us = NEVER,
			.heard_us = h->now_us,
			.v6 = !model_is_v4(here) };
		c->una = c->nxt = c->iss;
		c->max = c->iss + 1;
		memcpy(c->here, here, 16);
		memcpy(c->there, there, 16);
		return c;
	}
	return NULL;
}

void
model_on_tcp(struct model_host *h, const uint8_t *from, const uint8_t *to, const uint8_t *p, uint32_t octets)
{
	struct segment_seen s;
	struct model_conn *c = NULL;

	if (model_sum_of(p, octets, model_pseudo_sum(from, to, 6, octets)) != 0xffff) {
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
		model_trace(c, "<-", s.seq - c->irs - 1, s.octets, s.flags, s.ack - c->iss - 1,
			s.wnd << (c->scale_there > 0 && (s.flags & SYN) == 0 ? c->scale_there : 0));
		on_segment(c, &s);
		return;
	}
	if (h->listen_port != 0 && get16(p + 2) == h->listen_port && (s.flags & (SYN | ACK | RST)) == SYN &&
		(c = model_conn_new(h, true, to, from)) != NULL) {
		c->port_here = get16(p + 2);
		c->port_there = get16(p);
		c->state = MODEL_SYN_RECEIVED;
		learn_options(c, &s);
		c->rto_due_us = h->now_us + c->rto_us;
		model_say_syn(c);
		return;
	}
	model_refuse(h, to, from, get16(p + 2), get16(p), &s);
}
