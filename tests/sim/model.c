/*
 * model.c - a model's time, and what a script calls; see model.h.
 */
#include "tests/sim/model_impl.h"

#include <stdlib.h>
#include <string.h>

#define TRIES_MAX  14
#define RTO_MAX_US 30000000u
#define GIVE_UP_US UINT64_C(1200000000)

uint32_t
model_draw(struct model_host *h, uint32_t n)
{
	h->rng = h->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return n == 0 ? 0 : (uint32_t)(h->rng >> 33) % n;
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
		model_say_syn(c);
		return;
	}
	if (c->tries % 3 == 0 && c->mss_there > 500)
		c->mss_there = c->v6 ? 1180 : 500; /* a path may take less than we think */
	c->nxt = c->una;
	model_say_text(c, true);
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
		model_say_text(c, false);
		/* what is left and cannot be sent is tried again in a while */
		if (c->rto_due_us == NEVER && (c->nxt != model_our_end(c) || (c->fin_queued && !c->fin_acked)))
			c->rto_due_us = h->now_us + c->rto_us;
		if (c->ack_now)
			model_say(c, c->max, ACK, NULL, 0);
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
	h->tap = (struct sim_tap){ .rx = model_rx, .turn = turn, .arg = h, .port = port };
	parse_addr(ip4, h->ip4);
	parse_addr(ip6, h->ip6);
	memcpy(h->mac, (uint8_t[]){ 2, 0x77, 0, 0, (uint8_t)port, h->ip4[15] }, 6);
	memcpy(h->gateway_mac, (uint8_t[]){ 2, 0, 0, 0, (uint8_t)port, 1 }, 6); /* as sim_conf_init() has it */
	h->clock_ms = model_draw(h, UINT32_MAX);
	h->next_port = (uint16_t)(20000 + model_draw(h, 20000));
	h->habits = (struct model_habits){
		.mss = 1400, .ts = true, .sack = true, .wscale = 5, .window = 65535, .seg_max = 1400, .rto_us = 400000
	};
	sim_tap_add(sim, &h->tap);
}

void
model_forget(struct model_conn *c)
{
	while (c->n_ooo > 0)
		model_drop_ooo(c, 0);
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
	c = model_conn_new(h, false, v6 ? h->ip6 : h->ip4, there);
	if (c == NULL)
		return NULL;
	c->port_here = h->next_port++;
	c->port_there = port;
	c->state = MODEL_SYN_SENT;
	c->rto_due_us = h->now_us + c->rto_us;
	model_say_syn(c);
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
	model_say(&c, seq, flags, text, octets);
}

void
model_abort(struct model_conn *c)
{
	if (c->state == MODEL_OPEN)
		model_say(c, c->max, RST | ACK, NULL, 0);
	c->state = MODEL_ENDED;
}
