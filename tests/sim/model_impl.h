/*
 * model_impl.h - what the parts of a model know of each other: model_ip.c (frames and packets), model_say.c (segments out), model_hear.c
 * (segments in, and the referee), model.c (time, and what a script calls).
 */
#ifndef GREYLINE_TESTS_SIM_MODEL_IMPL_H
#define GREYLINE_TESTS_SIM_MODEL_IMPL_H

#include "tests/sim/model.h"

#define FIN 1u
#define SYN 2u
#define RST 4u
#define PSH 8u
#define ACK 16u

#define NEVER UINT64_MAX

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

static inline uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void
set16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void
set32(uint8_t *p, uint32_t v)
{
	set16(p, v >> 16);
	set16(p + 2, v);
}

/* A number below n, of the host's own sequence; n 0: 0. */
uint32_t model_draw(struct model_host *h, uint32_t n);
/* RFC 1071, octet by octet. */
uint32_t model_sum_of(const uint8_t *p, size_t n, uint32_t sum);
bool model_is_v4(const uint8_t *a);
uint32_t model_pseudo_sum(const uint8_t *a, const uint8_t *b, uint32_t proto, uint32_t octets);
/* Room for the text of a packet in out; out + 14 + head is where it goes. Returns head. */
uint32_t model_packet_head(struct model_host *h, uint8_t *out, const uint8_t *from, const uint8_t *to, uint32_t proto,
	uint32_t octets, uint32_t hops);
void model_put_on_wire(struct model_host *h, const uint8_t *frame, uint32_t octets);
/* A frame from the wire; arg is the host. */
void model_rx(void *arg, const uint8_t *f, uint32_t octets);

/* Numbers as positions of the two streams. */
void model_trace(const struct model_conn *c, const char *way, uint32_t at, uint32_t octets, uint8_t flags, uint32_t ack,
	uint32_t wnd);
uint32_t model_stream_number(const struct model_conn *c, size_t at);
uint32_t model_our_end(const struct model_conn *c);
void model_say(struct model_conn *c, uint32_t seq, uint8_t flags, const uint8_t *text, uint32_t octets);
void model_say_syn(struct model_conn *c);
/* New text as far as the other's window goes; one octet beyond where it is closed and the timer says so. */
void model_say_text(struct model_conn *c, bool probe);
/* An RST to a segment that belongs to nothing here. */
void model_refuse(struct model_host *h, const uint8_t *here, const uint8_t *there, uint16_t port_here,
	uint16_t port_there, const struct segment_seen *s);

void model_drop_ooo(struct model_conn *c, uint32_t i);
/* A connection with nothing said yet; NULL when there is no room. */
struct model_conn *model_conn_new(struct model_host *h, bool server, const uint8_t *here, const uint8_t *there);
void model_on_tcp(struct model_host *h, const uint8_t *from, const uint8_t *to, const uint8_t *p, uint32_t octets);

#endif
