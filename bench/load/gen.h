/*
 * gen.h - clients for measuring a gateway: many scripted SMTP sessions over a TCP of their own.
 *
 * Flow:   wire -> gen_input() -> session -> gen_ops.send() -> wire;  gen_start(), gen_tick() -> new sessions, what was lost again
 * Pure:   no clock, no I/O, no EAL: frames and time are arguments. bench/instructions and bench/load drive it.
 * Keeps:  nothing of the gateway's own TCP, IP or SMTP code is used here (only its little helpers for bits): a fault of the one cannot
 *         hide behind the same fault in the other. Every reply is compared with what the template says; a segment that is not the next
 *         one is counted. A session costs 56 octets; sessions are found by port and address, without a table.
 *         Of TLS it has OpenSSL (gen_tls.c), which the gateway has, too: what is the gateway's own, its stream and its TCP, is not here.
 * Source: RFC 9293, RFC 7323 (timestamps, as a Linux client sends them), RFC 5321.
 *
 * The generator is the whole far side of one port: the router that answers ARP, up to 65,536 client addresses in as many /24, and, where
 * a template passes the greylist, the backend.
 */
#ifndef GREYLINE_BENCH_LOAD_GEN_H
#define GREYLINE_BENCH_LOAD_GEN_H

#include <stdbool.h>
#include <stdint.h>

#define GEN_FRAME_MAX_OCTETS 1514
#define GEN_SLOTS_MAX        (1u << 20)
#define GEN_CLIENTS          65536u

enum gen_template {
#define GEN_TEMPLATES(X)                                                                                               \
	X(greylist, "EHLO, MAIL, RCPT -> 451, QUIT; every triplet new")                                                \
	X(listed, "EHLO, MAIL, RCPT -> 554 (DNSBL), QUIT")                                                             \
	X(denied, "EHLO, MAIL, RCPT -> 554 (denied client), QUIT")                                                     \
	X(retry, "the same triplets again: EHLO, MAIL, RCPT -> 250, QUIT; the backend is the generator's")             \
	X(data, "EHLO, MAIL, RCPT, DATA, a message, QUIT for triplets that passed")                                    \
	X(pipelined, "EHLO, then MAIL, RCPT -> 451 and QUIT in one segment; every triplet new")                        \
	X(slow, "as greylist, each line in pieces of a few octets with a pause between")                               \
	X(tls, "EHLO, STARTTLS, a full handshake, then as greylist under TLS")                                         \
	X(tls_resumed, "the same with the ticket of an earlier session")                                               \
	X(hello, "EHLO, STARTTLS, a ClientHello; given up at the first octet of the answer, or at 454")                \
	X(idle, "EHLO, then silence: sessions that stay open")                                                         \
	X(between, "EHLO, MAIL, RCPT -> 451, RSET, then silence")                                                      \
	X(paused, "silence once the banner has begun: sessions in the greet pause")                                    \
	X(none, "no sessions: spoofed SYNs alone")
#define X(name, help) GEN_##name,
	GEN_TEMPLATES(X)
#undef X
		GEN_TEMPLATES_N
};

struct gen_conf {
	enum gen_template template;
	uint32_t slots;          /* sessions at a time, a power of two up to GEN_SLOTS_MAX */
	uint32_t clients;        /* addresses, a power of two up to GEN_CLIENTS */
	uint32_t first_client;   /* added to the number of a client: another template's addresses stay apart */
	uint32_t triplets;       /* 0: each session has its own; else they repeat */
	uint32_t message_octets; /* of a message (data) */
	uint32_t gateway_ip;     /* host order */
	uint16_t gateway_port;
	uint8_t client_net; /* first octet of the clients' addresses: NET.x.y.1 */
	bool timestamps;
	bool beside;       /* another gen on the same wire is router and backend */
	uint32_t pause_ms; /* between the pieces of a line (slow) */
	uint64_t seed;
};

#define GEN_BUCKETS 2048

/* Latencies: 32 buckets for each power of two of nanoseconds, so within 3 %. */
struct gen_histogram {
	uint64_t n, bucket[GEN_BUCKETS];
};

struct gen_stats {
	uint64_t passed;                /* recipients answered 250 */
	uint64_t started, done, failed; /* sessions; failed: gave up or was answered wrong */
	uint64_t wrong_reply, wrong_segment, bad_checksum, reset, resent;
	uint64_t segments_in, segments_out; /* of sessions alone */
	uint64_t arp, stray, flood_sent, flood_answered;
	uint64_t tls_handshakes, tls_resumed;
	uint64_t backend_sessions, backend_messages, backend_octets;
};

struct gen;

struct gen_ops {
	/* Lends room for a frame until the next call; NULL when the wire takes no more. */
	uint8_t *(*room)(void *arg);
	/* The frame in that room is octets long: send it. */
	void (*send)(void *arg, uint32_t octets);
};

struct gen *gen_create(const struct gen_conf *conf, const struct gen_ops *ops, void *arg);
void gen_destroy(struct gen *g);
/* Makes all its memory resident now: what grows later is somebody else's. */
void gen_touch(struct gen *g);

/* One frame of the wire. now_ns: any monotonic clock. */
void gen_input(struct gen *g, const uint8_t *frame, uint32_t octets, uint64_t now_ns);
/* Starts up to n sessions; intended_ns is what their latency counts from. Answers how many it could: slots or room may be short. */
uint32_t gen_start(struct gen *g, uint32_t n, uint64_t intended_ns, uint64_t now_ns);
/* n SYNs from spoofed addresses (NET2.x.y.z, never answered further). */
void gen_flood(struct gen *g, uint32_t n, uint8_t net, uint64_t now_ns);
/* Looks at some slots for what was lost. */
void gen_tick(struct gen *g, uint64_t now_ns);
/* Frames a port must see before anything else works: an ARP request for the gateway. */
void gen_hello(struct gen *g);
bool gen_is_ready(const struct gen *g);

/* Whether a frame of the wire is for one of this gen's clients. */
bool gen_owns(const struct gen *g, const uint8_t *frame, uint32_t octets);
uint32_t gen_open(const struct gen *g);
/* How many may be. */
uint32_t gen_slots(const struct gen *g);
/* An octet of a line that never ends from each of the next n slots whose sessions are idle. */
void gen_drip(struct gen *g, uint32_t n, uint64_t now_ns);
/* Sessions that reached silence (idle, between, paused). */
uint32_t gen_idle(const struct gen *g);
const struct gen_stats *gen_stats(const struct gen *g);
struct gen_histogram *gen_latency(struct gen *g); /* whole sessions, from what was intended */
struct gen_histogram *gen_reply(struct gen *g);   /* from sending RCPT to its reply */
/* Value at a share of 0 to 1, in nanoseconds. */
uint64_t gen_percentile(const struct gen_histogram *h, double share);
/* The first replies that were wrong, for the message; "" when none. */
const char *gen_complaint(const struct gen *g);

const char *gen_template_name(enum gen_template t);
const char *gen_template_help(enum gen_template t);
bool gen_template_parse(const char *text, enum gen_template *t);

#endif
