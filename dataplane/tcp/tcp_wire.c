/*
 * tcp_wire.c - the TCP header and its options.
 *
 * Pure:   see the header.
 * Source: RFC 9293 section 3.2: kind 0 ends the list, kind 1 is padding, every other kind has a length that counts
 *         kind and length; a kind met twice counts once, the first.
 */
#include "dataplane/tcp/tcp_wire.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/octets.h"

/* Of a SYN, as the heads in tcp_wire.h. */
static const uint32_t sack_head = TCP_OPT_NOP << 24 | TCP_OPT_NOP << 16 | TCP_OPT_SACK_PERMITTED << 8 | 2;

static void
parse_sack(struct tcp_hdr *h, struct octets body)
{
	if (h->n_sack != 0 || body.len_octets % 8 != 0)
		return;
	while (body.len_octets > 0 && h->n_sack < TCP_SACK_BLOCKS_MAX) {
		struct tcp_sack_block *b = &h->sack[h->n_sack++];

		b->start = octets_u32(&body);
		b->end = octets_u32(&body);
	}
}

/* One option with the octets behind its length. Options of a wrong length are unknown options. */
static void
parse_option(struct tcp_hdr *h, uint8_t kind, struct octets body)
{
	if (kind == TCP_OPT_MSS && body.len_octets == 2 && h->mss == 0) {
		h->mss = get_u16(body.ptr);
	} else if (kind == TCP_OPT_WSCALE && body.len_octets == 1 && h->wscale == TCP_WSCALE_NONE) {
		h->wscale = (uint8_t)MIN(body.ptr[0], TCP_WSCALE_MAX);
	} else if (kind == TCP_OPT_SACK_PERMITTED && body.len_octets == 0) {
		h->sack_permitted = true;
	} else if (kind == TCP_OPT_SACK) {
		parse_sack(h, body);
	} else if (kind == TCP_OPT_TIMESTAMP && body.len_octets == 8 && !h->has_ts) {
		h->has_ts = true;
		h->tsval = get_u32(body.ptr);
		h->tsecr = get_u32(body.ptr + 4);
	}
}

/* The options of a SYN as Linux orders them, build_syn_options() too: MSS, SACK permitted, timestamps, window scale. */
static bool
is_syn_of_linux(const uint8_t *p)
{
	return get_u16(p) == tcp_mss_head && get_u32(p + 4) == tcp_sack_and_timestamps_head &&
	       get_u32(p + 16) >> 8 == tcp_wscale_head;
}

static inline struct tcp_syn
syn_of_linux(uint32_t seq, const uint8_t *p)
{
	return (struct tcp_syn){ .seq = seq,
		.tsval = get_u32(p + 8),
		.opt = { .mss = get_u16(p + 2),
			.wscale = (uint8_t)MIN(p[19], TCP_WSCALE_MAX),
			.sack = true,
			.ts = true } };
}

static bool
parse_syn_of_linux(struct tcp_hdr *h, const uint8_t *p)
{
	struct tcp_syn syn;

	if (!is_syn_of_linux(p))
		return false;
	syn = syn_of_linux(h->seq, p);
	h->mss = syn.opt.mss;
	h->sack_permitted = syn.opt.sack;
	h->has_ts = syn.opt.ts;
	h->tsval = syn.tsval;
	h->tsecr = get_u32(p + 12);
	h->wscale = syn.opt.wscale;
	return true;
}

/* At most 40 rounds: every round takes an octet. */
static void
parse_options(struct tcp_hdr *h, const uint8_t *p, const uint8_t *end)
{
	while (p < end && p[0] != TCP_OPT_END) {
		if (p[0] == TCP_OPT_NOP) {
			p++;
			continue;
		}
		if (end - p < 2 || p[1] < 2 || p[1] > end - p) {
			h->options_broken = true;
			return;
		}
		parse_option(h, p[0], octets_of(p + 2, p[1] - 2u));
		p += p[1];
	}
}

bool
tcp_hdr_parse_any(struct tcp_hdr *h, const uint8_t *ptr, uint32_t len_octets)
{
	const uint8_t *options;
	uint32_t header_octets;

	*h = (struct tcp_hdr){ .wscale = TCP_WSCALE_NONE };
	if (len_octets < TCP_HEADER_MIN_OCTETS)
		return false;
	header_octets = (uint32_t)(ptr[12] >> 4) * 4;
	if (header_octets < TCP_HEADER_MIN_OCTETS || header_octets > len_octets)
		return false;
	/* ports: net has read them; checksum: verified beside; urgent pointer: urgent data is read in line (RFC 6093) */
	h->seq = get_u32(ptr + 4);
	h->ack = get_u32(ptr + 8);
	h->header_octets = (uint8_t)header_octets;
	h->flags = ptr[13] & 0x3f;
	h->wnd = get_u16(ptr + 14);
	options = ptr + TCP_HEADER_MIN_OCTETS;
	h->payload = ptr + header_octets;
	if (header_octets != TCP_SYN_OCTETS || !parse_syn_of_linux(h, options))
		parse_options(h, options, h->payload);
	h->payload_octets = len_octets - header_octets;
	return true;
}

bool
tcp_syn_parse(struct tcp_syn *syn, const uint8_t *ptr, uint32_t len_octets)
{
	const uint8_t *p = ptr + TCP_HEADER_MIN_OCTETS;
	struct tcp_hdr h;

	/* most are of Linux, or look like it */
	if (len_octets >= TCP_SYN_OCTETS && ptr[12] >> 4 == TCP_SYN_OCTETS / 4 && is_syn_of_linux(p)) {
		*syn = syn_of_linux(get_u32(ptr + 4), p);
		return true;
	}
	if (!tcp_hdr_parse(&h, ptr, len_octets) || h.options_broken)
		return false;
	*syn = tcp_syn_of(&h);
	return true;
}

/* In the order Linux has, for middleboxes that know no other: MSS, SACK permitted, timestamps, window scale. In whole words. */
static uint8_t *
build_syn_options(uint8_t *p, const struct tcp_hdr *h)
{
	p = put_u32(p, tcp_mss_head << 16 | h->mss);
	if (h->has_ts) {
		p = put_u32(p, h->sack_permitted ? tcp_sack_and_timestamps_head : tcp_timestamps_head);
		p = put_u32(p, h->tsval);
		p = put_u32(p, h->tsecr);
	} else if (h->sack_permitted) {
		p = put_u32(p, sack_head);
	}
	return h->wscale == TCP_WSCALE_NONE ? p : put_u32(p, tcp_wscale_head << 8 | h->wscale);
}

static uint8_t *
build_sack(uint8_t *p, const uint8_t *end, const struct tcp_hdr *h)
{
	uint32_t fit = (uint32_t)(end - p) < 4 ? 0 : ((uint32_t)(end - p) - 4) / 8;
	uint32_t n = MIN(fit, h->n_sack);

	if (n == 0)
		return p;
	p = put_u8(p, TCP_OPT_NOP);
	p = put_u8(p, TCP_OPT_NOP);
	p = put_u8(p, TCP_OPT_SACK);
	p = put_u8(p, (uint8_t)(2 + 8 * n));
	for (uint32_t i = 0; i < n; i++) {
		p = put_u32(p, h->sack[i].start);
		p = put_u32(p, h->sack[i].end);
	}
	return p;
}

uint32_t
tcp_hdr_build(uint8_t *out, const struct flow *flow, const struct tcp_hdr *h)
{
	const uint64_t ports = (uint64_t)flow->local_port << 48 | (uint64_t)flow->remote_port << 32;
	uint8_t *p = out + TCP_HEADER_MIN_OCTETS;
	uint32_t n;

	if ((h->flags & TCP_SYN) == 0 && h->n_sack == 0)
		return tcp_hdr_put(out, flow, h);
	if ((h->flags & TCP_SYN) != 0 && tcp_hdr_has_syn_options(h))
		return tcp_syn_put(out, flow, h, 0);
	if ((h->flags & TCP_SYN) != 0) {
		p = build_syn_options(p, h);
	} else {
		if (h->has_ts) {
			p = put_u32(p, tcp_timestamps_head);
			p = put_u32(p, h->tsval);
			p = put_u32(p, h->tsecr);
		}
		p = build_sack(p, out + TCP_HEADER_MAX_OCTETS, h);
	}
	n = (uint32_t)(p - out);
	BUG_ON(n % 4 != 0 || n > TCP_HEADER_MAX_OCTETS);
	p = put_u64(out, ports | h->seq);
	p = put_u64(p, (uint64_t)h->ack << 32 | n / 4 << 28 | (uint32_t)h->flags << 16 | h->wnd);
	put_u32(p, 0); /* checksum and urgent pointer */
	return n;
}
