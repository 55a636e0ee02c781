/*
 * tcp_wire.h - the TCP header and its options: octets to numbers and back.
 *
 * Flow:   tcp_input -> tcp_hdr_parse() -> the states;  tcp_output -> tcp_hdr_build() -> net_wrap (checksum)
 * Pure:   octets in, numbers out; no state.
 * Keeps:  never reads beyond the segment; an option list that is broken ends at the break, what came before it counts.
 * Source: RFC 9293 section 3.1 and 3.2, RFC 7323 section 2.2 and 3.2, RFC 2018 section 2 and 3.
 */
#ifndef GREYLINE_TCP_TCP_WIRE_H
#define GREYLINE_TCP_TCP_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/octets.h"
#include "dataplane/net/csum.h"
#include "dataplane/net/flow.h"

#define TCP_HEADER_MIN_OCTETS 20
#define TCP_HEADER_MAX_OCTETS 60
#define TCP_TS_OPTION_OCTETS  12 /* with the padding of RFC 7323 appendix A */
#define TCP_SACK_BLOCKS_MAX   4  /* what fits 40 octets of options (RFC 2018 section 3) */
#define TCP_WSCALE_MAX        14 /* RFC 7323 section 2.3: larger values count as 14 */
#define TCP_WSCALE_NONE       0xff

enum tcp_option_kind {
	TCP_OPT_END = 0,
	TCP_OPT_NOP = 1,
	TCP_OPT_MSS = 2,
	TCP_OPT_WSCALE = 3,
	TCP_OPT_SACK_PERMITTED = 4,
	TCP_OPT_SACK = 5,
	TCP_OPT_TIMESTAMP = 8,
};

enum tcp_flag {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_URG = 0x20,
};

struct tcp_sack_block {
	uint32_t start, end; /* [start, end) */
};

struct tcp_hdr {
	uint32_t seq, ack;
	uint16_t wnd;  /* as on the wire, not scaled */
	uint8_t flags; /* enum tcp_flag; the ECN bits are left out: we decline ECN */
	uint8_t header_octets;
	uint16_t mss;   /* 0: option absent */
	uint8_t wscale; /* TCP_WSCALE_NONE: option absent */
	uint8_t n_sack;
	bool sack_permitted;
	bool has_ts;
	bool options_broken;
	uint32_t tsval, tsecr;
	uint32_t payload_octets;
	const uint8_t *payload; /* borrowed from the segment */
	struct tcp_sack_block sack[TCP_SACK_BLOCKS_MAX];
};

/* What a SYN told: exact in the ring, rounded in a cookie. */
struct tcp_syn_options {
	uint16_t mss;   /* 0: not said */
	uint8_t wscale; /* TCP_WSCALE_NONE: not offered */
	bool sack, ts;
};

/* A SYN as far as its answer needs it. */
struct tcp_syn {
	uint32_t seq, tsval;
	struct tcp_syn_options opt;
};

/* Octets of sequence space: payload, SYN and FIN (RFC 9293: SEG.LEN). */
static inline uint32_t
tcp_hdr_seg_len(const struct tcp_hdr *h)
{
	return h->payload_octets + ((h->flags & TCP_SYN) != 0) + ((h->flags & TCP_FIN) != 0);
}

/* Timestamps, padded as RFC 7323 appendix A has them. */
static const uint32_t tcp_timestamps_head = TCP_OPT_NOP << 24 | TCP_OPT_NOP << 16 | TCP_OPT_TIMESTAMP << 8 | 10;

/* tcp_hdr_parse() of any header. */
bool tcp_hdr_parse_any(struct tcp_hdr *h, const uint8_t *ptr, uint32_t len_octets);

/* Parses a segment of len_octets. False where header or data offset do not fit into it. */
static inline bool
tcp_hdr_parse(struct tcp_hdr *h, const uint8_t *ptr, uint32_t len_octets)
{
	const uint32_t octets = TCP_HEADER_MIN_OCTETS + TCP_TS_OPTION_OCTETS;

	if (len_octets < octets || ptr[12] >> 4 != octets / 4 ||
		get_u32(ptr + TCP_HEADER_MIN_OCTETS) != tcp_timestamps_head)
		return tcp_hdr_parse_any(h, ptr, len_octets);
	/* timestamps alone: what nearly every segment of an established connection carries. Blocks that are not there are not written. */
	h->seq = get_u32(ptr + 4);
	h->ack = get_u32(ptr + 8);
	h->wnd = get_u16(ptr + 14);
	h->flags = ptr[13] & 0x3f;
	h->header_octets = (uint8_t)octets;
	h->mss = 0;
	h->wscale = TCP_WSCALE_NONE;
	h->n_sack = 0;
	h->sack_permitted = h->options_broken = false;
	h->has_ts = true;
	h->tsval = get_u32(ptr + 24);
	h->tsecr = get_u32(ptr + 28);
	h->payload_octets = len_octets - octets;
	h->payload = ptr + octets;
	return true;
}

/* The same of a SYN without more ado. False: its header or options are broken, tcp_hdr_parse() says how. */
bool tcp_syn_parse(struct tcp_syn *syn, const uint8_t *ptr, uint32_t len_octets);

static inline struct tcp_syn
tcp_syn_of(const struct tcp_hdr *h)
{
	return (struct tcp_syn){ .seq = h->seq,
		.tsval = h->tsval,
		.opt = { .mss = h->mss, .wscale = h->wscale, .sack = h->sack_permitted, .ts = h->has_ts } };
}

/*
 * Writes the header for a segment we send: ports of flow (local is the source), everything of h but its payload. The
 * checksum stays zero for net. out has room for TCP_HEADER_MAX_OCTETS; SACK blocks that do not fit are left out.
 * Returns the header's octets.
 */
uint32_t tcp_hdr_build(uint8_t *out, const struct flow *flow, const struct tcp_hdr *h);

/* Whether all of a segment is the header of an ACK, without options or with timestamps alone. */
static inline bool
tcp_hdr_is_bare_ack(const uint8_t *ptr, uint32_t len_octets)
{
	if (len_octets != TCP_HEADER_MIN_OCTETS && (len_octets != TCP_HEADER_MIN_OCTETS + TCP_TS_OPTION_OCTETS ||
							   get_u32(ptr + TCP_HEADER_MIN_OCTETS) != tcp_timestamps_head))
		return false;
	return ptr[12] >> 4 == len_octets / 4 && (ptr[13] & 0x3f) == TCP_ACK;
}

/* Heads of a SYN's options: each begins a word of four octets. */
static const uint32_t tcp_mss_head = TCP_OPT_MSS << 8 | 4,
		      tcp_wscale_head = TCP_OPT_NOP << 16 | TCP_OPT_WSCALE << 8 | 3;
static const uint32_t tcp_sack_and_timestamps_head =
	TCP_OPT_SACK_PERMITTED << 24 | 2 << 16 | TCP_OPT_TIMESTAMP << 8 | 10;

#define TCP_SYN_OPTIONS_OCTETS 20u /* all four of them, in the order Linux has */
#define TCP_SYN_OCTETS         (TCP_HEADER_MIN_OCTETS + TCP_SYN_OPTIONS_OCTETS)

static inline bool
tcp_hdr_has_syn_options(const struct tcp_hdr *h)
{
	return h->has_ts && h->sack_permitted && h->wscale != TCP_WSCALE_NONE;
}

/* tcp_hdr_build() of a SYN with all four options: in words, of which net reads each whole for the checksum. That is 0, or already known. */
static inline uint32_t
tcp_syn_put(uint8_t *out, const struct flow *flow, const struct tcp_hdr *h, uint16_t checksum)
{
	const uint64_t ports = (uint64_t)flow->local_port << 48 | (uint64_t)flow->remote_port << 32;

	out = put_u64(out, ports | h->seq);
	out = put_u64(out, (uint64_t)h->ack << 32 | TCP_SYN_OCTETS / 4 << 28 | (uint32_t)h->flags << 16 | h->wnd);
	out = put_u64(out, (uint64_t)checksum << 48 | tcp_mss_head << 16 | h->mss); /* the urgent pointer is zero */
	out = put_u64(out, (uint64_t)tcp_sack_and_timestamps_head << 32 | h->tsval);
	put_u64(out, (uint64_t)h->tsecr << 32 | tcp_wscale_head << 8 | h->wscale);
	return TCP_SYN_OCTETS;
}

/* The checksum of that header between two IPv4 addresses, from its numbers: octets that were just written would have to be waited for. */
static inline uint16_t
tcp_syn_checksum4(const struct flow *flow, const struct tcp_hdr *h)
{
	const uint64_t pseudo =
		(uint64_t)ip_addr_to_v4(&flow->local) + ip_addr_to_v4(&flow->remote) + CSUM_PROTO_TCP + TCP_SYN_OCTETS;
	const uint64_t fixed = (uint64_t)flow->local_port + flow->remote_port + h->seq + h->ack +
	                       (TCP_SYN_OCTETS / 4 << 28 | (uint32_t)h->flags << 16 | h->wnd);

	return (uint16_t)~csum_fold(pseudo + fixed + (tcp_mss_head << 16 | h->mss) + tcp_sack_and_timestamps_head +
				    h->tsval + h->tsecr + (tcp_wscale_head << 8 | h->wscale));
}

/* The same, of a segment with timestamps alone, or without any option; what nearly all are. In words, each of which net reads whole for the sum. */
static inline uint32_t
tcp_hdr_put(uint8_t *out, const struct flow *flow, const struct tcp_hdr *h)
{
	const uint64_t ports = (uint64_t)flow->local_port << 48 | (uint64_t)flow->remote_port << 32;
	const uint32_t words = h->has_ts ? 8 : 5;
	uint8_t *p = put_u64(out, ports | h->seq);

	p = put_u64(p, (uint64_t)h->ack << 32 | words << 28 | (uint32_t)h->flags << 16 | h->wnd);
	if (!h->has_ts) {
		put_u32(p, 0); /* checksum and urgent pointer */
	} else {
		p = put_u64(p, tcp_timestamps_head);
		put_u64(p, (uint64_t)h->tsval << 32 | h->tsecr);
	}
	return 4 * words;
}

#endif
