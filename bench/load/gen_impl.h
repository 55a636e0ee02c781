/*
 * gen_impl.h - what the parts of the generator share.
 *
 * Flow:   gen.c (start, what comes in, floods), gen_session.c (the clients), gen_backend.c (the MTA it plays), gen_wire.c (frames)
 * Pure:   see gen.h.
 */
#ifndef GREYLINE_BENCH_GEN_IMPL_H
#define GREYLINE_BENCH_GEN_IMPL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "bench/load/gen.h"

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

#define PORT_BASE    32768u /* 15 bits of the slot; the rest is in the address */
#define PORT_SLOTS   32768u
#define WINDOW_SCALE 7 /* of our own SYN */

enum step {
	STEP_FREE,
	STEP_SYN,
	STEP_BANNER,
	STEP_EHLO,
	STEP_STARTTLS,
	STEP_HANDSHAKE,
	STEP_MAIL,
	STEP_RCPT,
	STEP_RSET,
	STEP_DATA,
	STEP_BODY,
	STEP_QUIT,
	STEP_FIN,
	STEP_HELLO,
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
	uint32_t n_free, slot_bits, tick_at, drip_at, n_idle;
	uint32_t serial, next_client;
	uint64_t random[2];
	uint8_t gateway_mac[6];
	bool ready;
	uint16_t ip_id;
	struct gen_stats stats;
	struct gen_histogram latency, reply;
	char complaint[1024];
	struct served *served;
	struct gen_tls **tls; /* by slot; NULL: plain */
	struct ssl_ctx_st *tls_ctx;
	struct ssl_session_st *tls_ticket;
};

struct segment {
	uint32_t src, dst, sport, dport, seq, ack, octets, ts_val;
	uint16_t window;
	uint8_t flags, shift;
	const uint8_t *payload;
};

static inline uint64_t
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

static inline void
put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void
put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static inline uint32_t
get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t
get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

/* Sum of 16-bit words in memory's order, in 32-bit steps (RFC 1071). */
static inline uint64_t
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

static inline uint16_t
fold(uint64_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static inline uint16_t
tcp_sum(const uint8_t *ip, uint32_t tcp_octets)
{
	uint8_t tail[4] = { 0, 6, (uint8_t)(tcp_octets >> 8), (uint8_t)tcp_octets };

	return (uint16_t)~fold(sum_of(ip + IP_OCTETS, tcp_octets, sum_of(tail, 4, sum_of(ip + 12, 8, 0))));
}

static inline void
histogram_add(struct gen_histogram *h, uint64_t ns)
{
	const uint32_t top = ns < 32 ? 0 : 63u - (uint32_t)__builtin_clzll(ns) - 5u; /* 32 buckets a power of two */
	const uint32_t at = ns < 32 ? (uint32_t)ns : (top + 1) * 32 + (uint32_t)(ns >> top & 31);

	h->bucket[at < GEN_BUCKETS ? at : GEN_BUCKETS - 1]++;
	h->n++;
}

/* --- gen_wire.c */

/* Writes Ethernet, IPv4 and TCP headers; options as the caller says. Payload already lies behind. */
void gen_frame_send(struct gen *g, uint8_t *f, uint32_t src, uint32_t dst, uint32_t sport, uint32_t dport, uint32_t seq,
	uint32_t ack, uint8_t flags, uint32_t opt_octets, uint32_t payload_octets);
/* Octets written. */
uint32_t gen_put_timestamps(const struct gen *g, uint8_t *opt, uint32_t ts_recent, uint64_t now_ns);
uint32_t gen_put_syn_options(const struct gen *g, uint8_t *opt, uint64_t now_ns);
void gen_arp_input(struct gen *g, const uint8_t *frame, uint32_t octets);
bool gen_segment_parse(struct gen *g, const uint8_t *frame, uint32_t octets, struct segment *out);

/* --- gen_session.c */

/* Which session a segment to this address and port is of; -1: none. */
int64_t gen_slot_of(const struct gen *g, uint32_t ip, uint32_t port);
void gen_session_input(struct gen *g, uint32_t slot, const struct segment *in, uint64_t now_ns);

/* --- gen_tls.c */

#define GEN_TLS_FLIGHT_OCTETS 4096

static inline bool
gen_is_tls(const struct gen *g)
{
	return g->conf.template == GEN_tls || g->conf.template == GEN_tls_resumed;
}

bool gen_tls_create(struct gen *g);
void gen_tls_destroy(struct gen *g);
bool gen_tls_begin(struct gen *g, uint32_t slot);
void gen_tls_end(struct gen *g, uint32_t slot);
bool gen_tls_active(const struct gen *g, uint32_t slot);
bool gen_tls_is_open(const struct gen *g, uint32_t slot);
bool gen_tls_feed(struct gen *g, uint32_t slot, const uint8_t *octets, uint32_t n);
const uint8_t *gen_tls_plain(const struct gen *g, uint32_t slot, uint32_t *n);
void gen_tls_consume(struct gen *g, uint32_t slot, uint32_t n);
void gen_tls_say(struct gen *g, uint32_t slot, const char *line, uint32_t n);
void gen_tls_close(struct gen *g, uint32_t slot);
uint32_t gen_tls_new_flight(struct gen *g, uint32_t slot);
const uint8_t *gen_tls_flight(const struct gen *g, uint32_t slot, uint32_t *n);

/* --- gen_backend.c */

void gen_backend_input(struct gen *g, const struct segment *in, uint64_t now_ns);

#endif
