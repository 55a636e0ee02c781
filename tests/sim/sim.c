/*
 * sim.c - the simulator's wire, hosts and the port of the gateway's workers.
 *
 * Touches: one temporary file for the segment; memory.
 * Keeps:  see the header. Frames are copied onto the wire, so that no buffer is shared between a sender and a receiver.
 */
#include "tests/sim/sim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/base/bug.h"

#define SIM_FRAME_MAX_OCTETS 9100
#define SIM_POOL_BUFS        65536
#define SIM_START_US         UINT64_C(1000000000)
#define SIM_CONNS_MAX        4096
#define SIM_STEP_MIN_US      100
#define SIM_TAPS_MAX         32
#define SIM_FROM_TAP         1000

struct wire_frame {
	struct wire_frame *next; /* of those held before flush() */
	uint64_t due_us, order;
	uint32_t port;
	int from_host; /* -1: the gateway */
	uint32_t octets;
	uint8_t data[];
};

struct sim_queue {
	struct port_frame frame[1024];
	uint32_t n;
};

struct sim_io {
	struct port_io io; /* first */
	struct sim *sim;
	uint32_t index;
	struct sim_queue rx, redirected;
	struct wire_frame *held; /* sent and not flushed, last first: as a driver's batch, it waits for flush() */
	struct net_neighbour news[64];
	uint32_t n_news;
};

struct sim_host {
	struct sim *sim;
	uint32_t index, port;
	struct net *net;
	struct tcp *tcp;
	struct counters counters;
	struct flow_steering steering;
	struct sim_conn *conn[SIM_CONNS_MAX];
	uint32_t n_conns;
	bool paused;
};

struct sim {
	uint64_t now_us, random[2], order, frames;
	struct buf_pool *pool;
	struct sim_wire wire;
	struct wire_frame **flying; /* a heap: the next one due is the first */
	uint32_t n_flying, flying_room;
	struct segment segment;
	struct worker_shared shared;
	struct snapshot snapshot;
	char dir[64], segment_path[96], snapshot_path[96];
	uint64_t generation;
	uint32_t n_workers;
	struct sim_io io[CONF_WORKERS_MAX];
	struct worker *worker[CONF_WORKERS_MAX];
	struct tcp_mark *marks[CONF_WORKERS_MAX]; /* outlive the workers */
	struct stream *(*stream_create)(void *arg);
	struct tls_context *(*tls_create)(void *arg, uint32_t worker, struct counters *counters);
	void *tls_arg;
	struct tls_context *tls[CONF_WORKERS_MAX];
	uint32_t rehash;
	struct sim_host *host[SIM_HOSTS_MAX];
	uint32_t n_hosts;
	struct sim_tap *tap[SIM_TAPS_MAX];
	uint32_t n_taps;
	uint64_t steps;
	void (*outside_tx)(void *arg, uint32_t port, const uint8_t *frame, uint32_t octets);
	void *outside_arg;
	void (*on_step)(struct sim *sim, void *arg);
	void *on_step_arg;
};

struct tls_context *
sim_tls(struct sim *sim, uint32_t worker)
{
	return sim->tls[worker];
}

struct buf_pool *
sim_pool(struct sim *sim)
{
	return sim->pool;
}

uint64_t
sim_random(struct sim *sim)
{
	uint64_t a = sim->random[0];
	const uint64_t b = sim->random[1];

	sim->random[0] = b;
	a ^= a << 23;
	a ^= a >> 17;
	a ^= b ^ (b >> 26);
	sim->random[1] = a;
	return a + b;
}

static bool
chance(struct sim *sim, uint32_t per_mille)
{
	return per_mille != 0 && sim_random(sim) % 1000 < per_mille;
}

/* ---- the wire ---- */

static struct wire_frame *
wire_frame_of(uint32_t port, int from_host, const struct frame *f)
{
	uint32_t octets = f->hdr_len_octets;
	struct wire_frame *w;

	for (uint32_t i = 0; i < f->n_views; i++)
		octets += f->view[i].len_octets;
	BUG_ON(octets > SIM_FRAME_MAX_OCTETS);
	w = malloc(sizeof(*w) + octets);
	BUG_ON(w == NULL);
	*w = (struct wire_frame){ .port = port, .from_host = from_host, .octets = octets };
	memcpy(w->data, f->hdr, f->hdr_len_octets);
	octets = f->hdr_len_octets;
	for (uint32_t i = 0; i < f->n_views; i++) {
		memcpy(w->data + octets, f->view[i].ptr, f->view[i].len_octets);
		octets += f->view[i].len_octets;
	}
	return w;
}

static bool
is_before(const struct wire_frame *a, const struct wire_frame *b)
{
	return a->due_us < b->due_us || (a->due_us == b->due_us && a->order < b->order);
}

static void
fly(struct sim *sim, struct wire_frame *w, uint64_t due_us)
{
	uint32_t i = sim->n_flying++;

	w->due_us = due_us;
	w->order = sim->order++;
	if (i == sim->flying_room) {
		sim->flying_room = sim->flying_room * 2 + 256;
		sim->flying = realloc(sim->flying, sim->flying_room * sizeof(*sim->flying));
		BUG_ON(sim->flying == NULL);
	}
	for (; i > 0 && is_before(w, sim->flying[(i - 1) / 2]); i = (i - 1) / 2)
		sim->flying[i] = sim->flying[(i - 1) / 2];
	sim->flying[i] = w;
}

/* The frame that is due first, taken off the wire. */
static struct wire_frame *
land(struct sim *sim)
{
	struct wire_frame *first = sim->flying[0], *last = sim->flying[--sim->n_flying];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < sim->n_flying) {
		child += child + 1 < sim->n_flying && is_before(sim->flying[child + 1], sim->flying[child]);
		if (!is_before(sim->flying[child], last))
			break;
		sim->flying[i] = sim->flying[child];
		i = child;
	}
	sim->flying[i] = last;
	return first;
}

static uint32_t
ethertype_of(const struct wire_frame *w)
{
	return w->octets >= 14 ? (uint32_t)w->data[12] << 8 | w->data[13] : 0;
}

static uint16_t
icmp_checksum(const uint8_t *p, uint32_t octets, uint32_t sum)
{
	for (uint32_t i = 0; i < octets; i++)
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The answer of a router that cannot pass w on: RFC 1191 for IPv4, RFC 4443 section 3.2 for IPv6. Its address is made up. */
static void
too_big(struct sim *sim, const struct wire_frame *w)
{
	const bool v4 = ethertype_of(w) == 0x0800;
	const uint32_t head = v4 ? 20 : 40, quote = MIN(w->octets - 14, v4 ? 28u : 1000u), len = 8 + quote;
	struct wire_frame *r = calloc(1, sizeof(*r) + 14 + head + len);
	uint8_t *ip, *icmp;
	uint32_t pseudo = 0;
	uint16_t sum;

	BUG_ON(r == NULL);
	r->port = w->port;
	r->from_host = w->from_host >= 0 ? -1 : SIM_FROM_TAP; /* towards who sent it */
	r->octets = 14 + head + len;
	memcpy(r->data, w->data + 6, 6);
	memcpy(r->data + 6, w->data, 6);
	memcpy(r->data + 12, w->data + 12, 2);
	ip = r->data + 14;
	icmp = ip + head;
	memcpy(icmp + 8, w->data + 14, quote);
	icmp[6] = (uint8_t)(sim->wire.mtu >> 8); /* in both families its low octets stand here */
	icmp[7] = (uint8_t)sim->wire.mtu;
	if (v4) {
		ip[0] = 0x45;
		ip[2] = (uint8_t)((head + len) >> 8);
		ip[3] = (uint8_t)(head + len);
		ip[8] = 64;
		ip[9] = 1;
		memcpy(ip + 12, w->data + 14 + 16, 4); /* as if the far end itself had said it */
		memcpy(ip + 16, w->data + 14 + 12, 4);
		sum = icmp_checksum(ip, 20, 0);
		ip[10] = (uint8_t)(sum >> 8);
		ip[11] = (uint8_t)sum;
		icmp[0] = 3;
		icmp[1] = 4;
	} else {
		ip[0] = 0x60;
		ip[4] = (uint8_t)(len >> 8);
		ip[5] = (uint8_t)len;
		ip[6] = 58;
		ip[7] = 64;
		memcpy(ip + 8, w->data + 14 + 24, 16);
		memcpy(ip + 24, w->data + 14 + 8, 16);
		icmp[0] = 2;
		for (uint32_t i = 8; i < 40; i += 2)
			pseudo += (uint32_t)ip[i] << 8 | ip[i + 1];
		pseudo += len + 58;
	}
	sum = icmp_checksum(icmp, len, pseudo);
	icmp[2] = (uint8_t)(sum >> 8);
	icmp[3] = (uint8_t)sum;
	fly(sim, r, sim->now_us + sim->wire.delay_us);
}

/* Whether w is too large for the wire, which then has dealt with it. */
static bool
is_beyond_mtu(struct sim *sim, const struct wire_frame *w)
{
	const uint32_t type = ethertype_of(w);

	if (sim->wire.mtu == 0 || w->octets - 14 <= sim->wire.mtu || (type != 0x0800 && type != 0x86dd))
		return false;
	if (!sim->wire.mtu_silent)
		too_big(sim, w);
	return true;
}

/* Takes w. */
static void
transmit(struct sim *sim, struct wire_frame *w)
{
	uint64_t due = sim->now_us + sim->wire.delay_us;

	sim->frames++;
	if (chance(sim, sim->wire.loss) || is_beyond_mtu(sim, w)) {
		free(w);
		return;
	}
	/* ARP has no checksum: nobody could tell */
	if (chance(sim, sim->wire.corrupt) && ethertype_of(w) != 0x0806 && w->octets > 14)
		w->data[14 + sim_random(sim) % (w->octets - 14)] ^= (uint8_t)(1u << sim_random(sim) % 8);
	if (sim->wire.jitter_us != 0)
		due += sim_random(sim) % sim->wire.jitter_us;
	if (chance(sim, sim->wire.reorder))
		due += 2 * sim->wire.delay_us + 500;
	if (chance(sim, sim->wire.duplicate)) {
		struct wire_frame *again = malloc(sizeof(*again) + w->octets);

		BUG_ON(again == NULL);
		memcpy(again, w, sizeof(*again) + w->octets);
		fly(sim, again, due + 50);
	}
	fly(sim, w, due);
}

static void
to_gateway(struct sim *sim, const struct wire_frame *w)
{
	/* any lcore may get it, but one tuple mostly the same one: as a NIC whose table we do not know */
	struct sim_io *io = &sim->io[(w->octets > 40 ? (w->data[29] + w->data[35] + w->data[37] + sim->rehash) : 0u) %
				     sim->n_workers];
	uint8_t *data;
	struct buf *buf;

	if (io->rx.n == ARRAY_LEN(io->rx.frame))
		return;
	buf = buf_alloc(sim->pool, w->octets, &data);
	if (buf == NULL)
		return;
	memcpy(data, w->data, w->octets);
	io->rx.frame[io->rx.n++] = (struct port_frame){ .view = { .ptr = data, .len_octets = w->octets, .buf = buf },
		.port_index = (uint8_t)w->port };
}

static void
to_host(struct sim *sim, struct sim_host *h, const struct wire_frame *w)
{
	struct net_out out = { 0 };
	struct net_frame frame = { 0 };
	uint8_t *data;
	struct buf *buf = buf_alloc(sim->pool, w->octets, &data);

	if (buf == NULL)
		return;
	memcpy(data, w->data, w->octets);
	frame.view = (struct buf_view){ .ptr = data, .len_octets = w->octets, .buf = buf };
	switch (net_input(h->net, &frame, &out, sim->now_us)) {
	case NET_SEGMENT:
		tcp_input(h->tcp, &out.seg, &frame, sim->now_us);
		break;
	case NET_ICMP_ERROR:
		tcp_icmp_error(h->tcp, &out.error, sim->now_us);
		break;
	case NET_NONE:
	case NET_REDIRECT:
		break;
	}
	buf_unref(sim->pool, out.reassembled);
	buf_unref(sim->pool, buf);
}

static void
deliver(struct sim *sim)
{
	while (sim->n_flying > 0 && sim->flying[0]->due_us <= sim->now_us) {
		struct wire_frame *w = land(sim);

		if (w->from_host >= 0 && sim->outside_tx != NULL)
			sim->outside_tx(sim->outside_arg, w->port, w->data, w->octets);
		else if (w->from_host >= 0)
			to_gateway(sim, w);
		for (uint32_t i = 0; i < sim->n_hosts; i++)
			if (sim->host[i]->port == w->port && (int)i != w->from_host && !sim->host[i]->paused)
				to_host(sim, sim->host[i], w);
		for (uint32_t i = 0; i < sim->n_taps && w->from_host < 0; i++)
			if (sim->tap[i]->port == w->port)
				sim->tap[i]->rx(sim->tap[i]->arg, w->data, w->octets);
		free(w);
	}
}

/* ---- the port of a worker ---- */

static uint32_t
take(struct sim_queue *q, struct port_frame *out, uint32_t n)
{
	const uint32_t got = MIN(q->n, n);

	memcpy(out, q->frame, got * sizeof(*out));
	memmove(q->frame, q->frame + got, (q->n - got) * sizeof(*out));
	q->n -= got;
	return got;
}

static uint32_t
io_rx(struct port_io *io, struct port_frame *out, uint32_t n)
{
	return take(&((struct sim_io *)io)->rx, out, n);
}

static uint32_t
io_redirected(struct port_io *io, struct port_frame *out, uint32_t n)
{
	return take(&((struct sim_io *)io)->redirected, out, n);
}

static void
io_tx(struct port_io *io, const struct frame *frames, uint32_t n)
{
	struct sim_io *s = (struct sim_io *)io;

	for (uint32_t i = 0; i < n; i++) {
		struct wire_frame *w = wire_frame_of(frames[i].port_index, -1, &frames[i]);

		w->next = s->held;
		s->held = w;
	}
}

static void
io_flush(struct port_io *io)
{
	struct sim_io *s = (struct sim_io *)io;
	struct wire_frame *in_order = NULL, *w;

	while ((w = s->held) != NULL) {
		s->held = w->next;
		w->next = in_order;
		in_order = w;
	}
	while ((w = in_order) != NULL) {
		in_order = w->next;
		transmit(s->sim, w);
	}
}

static void
io_redirect(struct port_io *io, uint32_t worker, const struct port_frame *frame)
{
	struct sim *sim = ((struct sim_io *)io)->sim;
	struct sim_queue *q = &sim->io[worker].redirected;

	BUG_ON(worker >= sim->n_workers);
	if (q->n == ARRAY_LEN(q->frame)) {
		counter_inc(io->counters, CTR_port_redirect_full);
		buf_unref(sim->pool, frame->view.buf);
		return;
	}
	q->frame[q->n++] = *frame;
}

static void
io_neighbour_tell(struct port_io *io, const struct net_neighbour *n)
{
	struct sim *sim = ((struct sim_io *)io)->sim;

	for (uint32_t i = 0; i < sim->n_workers; i++)
		if (&sim->io[i].io != io && sim->io[i].n_news < ARRAY_LEN(sim->io[i].news))
			sim->io[i].news[sim->io[i].n_news++] = *n;
}

static bool
io_neighbour_hear(struct port_io *io, struct net_neighbour *out)
{
	struct sim_io *s = (struct sim_io *)io;

	if (s->n_news == 0)
		return false;
	*out = s->news[--s->n_news];
	return true;
}

static const struct port_io_ops io_ops = {
	.rx = io_rx,
	.tx = io_tx,
	.flush = io_flush,
	.redirect = io_redirect,
	.redirected = io_redirected,
	.neighbour_tell = io_neighbour_tell,
	.neighbour_hear = io_neighbour_hear,
};

/* ---- hosts ---- */

struct sim_host *
sim_host_add(struct sim *sim, uint32_t port, const char *addr, const char *addr6)
{
	struct sim_host *h = calloc(1, sizeof(*h));
	struct net_conf conf = { .n_ports = 1 };
	struct tcp_conf tcp = { .conns_max = SIM_CONNS_MAX,
		.syn_ring_entries = 256,
		.time_wait_max = 4096,
		.rcv_wnd_max_octets = 256u << 10,
		.rcv_budget_octets = 64u << 20,
		.snd_queue_max_octets = 256u << 10,
		.ooo_max_segs = 256,
		.mtu = 1500 };
	uint8_t key[FLOW_KEY_OCTETS];

	BUG_ON(h == NULL || sim->n_hosts == SIM_HOSTS_MAX);
	h->sim = sim;
	h->index = sim->n_hosts;
	h->port = port;
	conf.port[0] =
		(struct conf_port){ .mtu = 1500, .mac = { 2, 0, 0, 0, (uint8_t)port, (uint8_t)(10 + h->index) } };
	BUG_ON(ip_addr_parse(addr, &conf.port[0].addr[0].addr) != 0);
	conf.port[0].addr[0].prefix_bits = 96 + 24;
	conf.port[0].n_addrs = 1;
	if (addr6 != NULL) {
		BUG_ON(ip_addr_parse(addr6, &conf.port[0].addr[1].addr) != 0);
		conf.port[0].addr[1].prefix_bits = 64;
		conf.port[0].n_addrs = 2;
	}
	memset(key, 0x5a, sizeof(key));
	flow_steering_init(&h->steering, key, 1);
	conf.steering = tcp.steering = &h->steering;
	tcp.secret = (struct siphash_key){ sim_random(sim), sim_random(sim) };
	h->net = net_create(&conf, sim->pool, &h->counters, sim_random(sim), sim->now_us);
	h->tcp = tcp_create(&tcp, sim->pool, &h->counters, sim->now_us);
	BUG_ON(h->net == NULL || h->tcp == NULL);
	sim->host[sim->n_hosts++] = h;
	return h;
}

void
sim_host_pause(struct sim_host *h, bool paused)
{
	h->paused = paused;
}

static struct sim_conn *
conn_new(struct sim_host *h, struct tcp_conn *tcp)
{
	struct sim_conn *c = calloc(1, sizeof(*c));

	BUG_ON(c == NULL || h->n_conns == SIM_CONNS_MAX);
	c->host = h;
	c->tcp = tcp;
	h->conn[h->n_conns++] = c;
	return c;
}

int
sim_listen(struct sim_host *h, const char *addr, uint16_t port)
{
	struct ip_addr a;

	BUG_ON(ip_addr_parse(addr, &a) != 0);
	return tcp_listen(h->tcp, &a, port, port);
}

struct sim_conn *
sim_connect(struct sim_host *h, const char *local, const char *remote, uint16_t port)
{
	struct sim_conn *c = conn_new(h, NULL);
	struct ip_addr from, to;
	int err = 0;

	BUG_ON(ip_addr_parse(local, &from) != 0 || ip_addr_parse(remote, &to) != 0);
	c->tcp = tcp_connect(h->tcp, &from, &to, port, c, h->sim->now_us, &err);
	BUG_ON(c->tcp == NULL);
	return c;
}

struct sim_conn *
sim_accept(struct sim_host *h)
{
	for (uint32_t i = 0; i < h->n_conns; i++)
		if (h->conn[i]->accepted) {
			h->conn[i]->accepted = false;
			return h->conn[i];
		}
	return NULL;
}

#define STREAM_ROOM_OCTETS 20480 /* room a record of a stream may need */

static void
conn_push(struct sim_conn *c)
{
	struct stream *stream = c->stream != NULL ? c->stream : stream_identity();

	while (c->tcp != NULL && tcp_send_room(c->tcp) >= STREAM_ROOM_OCTETS) {
		struct buf_view v = { .ptr = c->out,
			.len_octets = (uint32_t)MIN(c->out_octets, (size_t)STREAM_ROOM_OCTETS / 2) },
				wire;
		const uint32_t used = stream_wrap(stream, &v, &wire, c->host->sim->now_us);

		if (wire.len_octets > 0)
			(void)tcp_send(c->tcp, &wire); /* a connection that is closed takes nothing, as in life */
		c->out += used;
		c->out_octets -= used;
		if (used == 0 && wire.len_octets == 0)
			break;
	}
	if (c->tcp != NULL && c->close_after_out && c->out_octets == 0) {
		c->close_after_out = false;
		tcp_close(c->tcp);
	}
}

static void
conn_keep(struct sim_conn *c, const struct buf_view *v)
{
	if (c->in_octets + v->len_octets > c->in_room) {
		c->in_room = MAX(c->in_room * 2, c->in_octets + v->len_octets + 4096);
		c->in = realloc(c->in, c->in_room);
		BUG_ON(c->in == NULL || c->in_room > SIM_STREAM_ROOM * 2);
	}
	memcpy(c->in + c->in_octets, v->ptr, v->len_octets);
	c->in_octets += v->len_octets;
}

static void
conn_pull(struct sim_conn *c)
{
	struct stream *stream = c->stream != NULL ? c->stream : stream_identity();

	while (c->tcp != NULL && !c->deaf) {
		struct buf_view v = { 0 }, plain;
		uint32_t used;

		tcp_peek(c->tcp, &v, 1);
		used = stream_unwrap(stream, &v, &plain, c->host->sim->now_us);
		if (plain.len_octets > 0)
			conn_keep(c, &plain);
		if (used > 0)
			tcp_consume(c->tcp, used);
		if (used == 0 && plain.len_octets == 0)
			return;
	}
}

void
sim_send(struct sim_conn *c, const void *data, size_t octets)
{
	BUG_ON(c->out_octets != 0);
	c->out = data;
	c->out_octets = octets;
	conn_push(c);
}

void
sim_close(struct sim_conn *c)
{
	c->close_after_out = true;
	conn_push(c);
}

static void
conn_gone(struct sim_conn *c)
{
	if (c->tcp == NULL)
		return;
	tcp_conn_set_user(c->tcp, NULL);
	tcp_release(c->tcp);
	c->tcp = NULL;
}

void
sim_abort(struct sim_conn *c)
{
	if (c->tcp == NULL)
		return;
	tcp_abort(c->tcp);
	conn_gone(c);
}

void
sim_conn_forget(struct sim_conn *c)
{
	c->forgotten = true;
	c->out_octets = 0;
}

static void
reap(struct sim_host *h)
{
	for (uint32_t i = 0; i < h->n_conns;) {
		struct sim_conn *c = h->conn[i];

		if (!c->forgotten || c->tcp != NULL) {
			i++;
			continue;
		}
		h->conn[i] = h->conn[--h->n_conns];
		free(c->in);
		free(c);
	}
}

static void
host_turn(struct sim *sim, struct sim_host *h)
{
	static struct tcp_seg_out seg[32];
	static struct frame frame[32];
	uint32_t events, n;
	struct tcp_conn *t;

	if (h->paused)
		return;
	reap(h);
	while ((t = tcp_ready(h->tcp, &events)) != NULL) {
		struct sim_conn *c = tcp_conn_user(t);

		if (events & TCP_EV_ACCEPTED) {
			c = conn_new(h, t);
			c->accepted = c->connected = true;
			tcp_conn_set_user(t, c);
		}
		if (c == NULL)
			continue;
		c->connected |= (events & TCP_EV_CONNECTED) != 0;
		conn_pull(c);
		if (c->forgotten && events & TCP_EV_EOF)
			sim_close(c);
		c->eof |= (events & TCP_EV_EOF) != 0;
		c->reset |= (events & TCP_EV_RESET) != 0;
		c->refused |= (events & TCP_EV_REFUSED) != 0;
		c->timed_out |= (events & TCP_EV_TIMEOUT) != 0;
		c->closed |= (events & TCP_EV_CLOSED) != 0;
		if (events & (TCP_EV_RESET | TCP_EV_REFUSED | TCP_EV_TIMEOUT | TCP_EV_CLOSED))
			conn_gone(c);
		else
			conn_push(c);
	}
	for (uint32_t i = 0; i < h->n_conns; i++)
		if (h->conn[i]->stream != NULL && h->conn[i]->tcp != NULL) {
			conn_pull(h->conn[i]);
			conn_push(h->conn[i]);
		}
	while ((n = tcp_output(h->tcp, seg, 32, sim->now_us)) > 0)
		for (uint32_t i = 0; i < n; i++) {
			int rc = seg[i].reply_to != NULL
			                 ? net_wrap_reply(h->net, &seg[i].frame, &seg[i].flow, seg[i].tcp_header_octets,
						   seg[i].reply_to, sim->now_us)
			                 : net_wrap(h->net, &seg[i].frame, &seg[i].flow, seg[i].tcp_header_octets,
						   sim->now_us);

			if (rc == 0)
				transmit(sim, wire_frame_of(h->port, (int)h->index, &seg[i].frame));
		}
	while ((n = net_output(h->net, frame, 32, sim->now_us)) > 0)
		for (uint32_t i = 0; i < n; i++) {
			transmit(sim, wire_frame_of(h->port, (int)h->index, &frame[i]));
			for (uint32_t j = 0; j < frame[i].n_views; j++)
				buf_unref(sim->pool, frame[i].view[j].buf);
		}
}

/* ---- the whole ---- */

static void
map_snapshot(struct sim *sim, const struct snapshot_part *parts, struct snapshot *out)
{
	char why[256];
	int rc = snapshot_write(sim->snapshot_path, ++sim->generation, parts);

	if (rc == 0)
		rc = snapshot_map(out, sim->snapshot_path, why, sizeof(why));
	if (rc != 0) {
		fprintf(stderr, "snapshot: %d %s\n", rc, why);
		abort();
	}
}

static void
start_workers(struct sim *sim)
{
	const uint64_t marks_octets = worker_marks_octets(sim->snapshot.conf);
	char why[256] = "";

	for (uint32_t i = 0; i < sim->n_workers; i++) {
		struct worker_conf wc = { .index = i,
			.shared = &sim->shared,
			.io = &sim->io[i].io,
			.segment = &sim->segment,
			.stream_create = sim->stream_create };

		if (sim->marks[i] == NULL) {
			sim->marks[i] = aligned_alloc(4096, (marks_octets + 4095) & ~UINT64_C(4095));
			BUG_ON(sim->marks[i] == NULL);
			memset(sim->marks[i], 0, marks_octets);
		}
		wc.marks = sim->marks[i];
		if (sim->tls_create != NULL)
			wc.tls = sim->tls[i] = sim->tls_create(sim->tls_arg, i, &sim->segment.counters[i]);
		sim->io[i] = (struct sim_io){ .sim = sim, .index = i };
		sim->io[i].io =
			(struct port_io){ .ops = &io_ops, .pool = sim->pool, .counters = &sim->segment.counters[i] };
		for (uint32_t j = 0; j < sizeof(wc.random); j++)
			wc.random[j] = (uint8_t)sim_random(sim);
		sim->worker[i] = worker_create(&wc, sim->now_us, why, sizeof(why));
		if (sim->worker[i] == NULL) {
			fprintf(stderr, "worker: %s\n", why);
			abort();
		}
	}
}

struct sim *
sim_create(const struct sim_conf *conf)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	static struct segment control;
	struct segment_params params = { .entries = 4096, .table_key = { 1, 2 }, .workers = conf->n_workers };
	char why[256] = "";
	uint8_t key[FLOW_KEY_OCTETS];
	bool created;

	BUG_ON(sim == NULL);
	sim->now_us = SIM_START_US;
	sim->random[0] = conf->seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	sim->random[1] = conf->seed ^ UINT64_C(0xd1b54a32d192ed03);
	sim->pool = buf_malloc_create(conf->n_bufs != 0 ? conf->n_bufs : SIM_POOL_BUFS);
	sim->wire = conf->wire;
	sim->n_workers = conf->n_workers;
	snprintf(sim->dir, sizeof(sim->dir), "/tmp/greyline-sim-XXXXXX");
	BUG_ON(mkdtemp(sim->dir) == NULL);
	snprintf(sim->segment_path, sizeof(sim->segment_path), "%s/segment", sim->dir);
	snprintf(sim->snapshot_path, sizeof(sim->snapshot_path), "%s/snapshot", sim->dir);
	/* control's part: creates, sets the time, goes away (it may die at any time) */
	if (segment_open_control(&control, sim->segment_path, &params, &created, why, sizeof(why)) != 0) {
		fprintf(stderr, "segment: %s\n", why);
		abort();
	}
	segment_policy_start(&control, sim->now_us, 1700000000, "sim");
	segment_close(&control, true);
	if (segment_open_dataplane(&sim->segment, sim->segment_path, why, sizeof(why)) != 0) {
		fprintf(stderr, "segment: %s\n", why);
		abort();
	}
	map_snapshot(sim, conf->parts, &sim->snapshot);
	for (uint32_t i = 0; i < FLOW_KEY_OCTETS; i++)
		key[i] = (uint8_t)sim_random(sim);
	sim->shared.n_workers = conf->n_workers != 0 ? conf->n_workers : sim->snapshot.conf->workers;
	flow_steering_init(&sim->shared.steering, key, sim->shared.n_workers);
	worker_publish(&sim->shared, &sim->snapshot);
	sim->stream_create = conf->stream_create;
	sim->tls_create = conf->tls_create;
	sim->tls_arg = conf->tls_arg;
	start_workers(sim);
	return sim;
}

static void
queue_drop(struct sim *sim, struct sim_queue *q)
{
	for (uint32_t i = 0; i < q->n; i++)
		buf_unref(sim->pool, q->frame[i].view.buf);
	q->n = 0;
}

/* As SIGKILL and the supervisor: what the process held is gone, what is shared stays. */
void
sim_kill_gateway(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->n_workers; i++) {
		worker_destroy(sim->worker[i]);
		tls_context_destroy(sim->tls[i]);
		queue_drop(sim, &sim->io[i].rx);
		queue_drop(sim, &sim->io[i].redirected);
	}
	sim->segment.incarnation++;
	start_workers(sim);
}

void
sim_destroy(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->n_workers; i++) {
		worker_destroy(sim->worker[i]);
		tls_context_destroy(sim->tls[i]);
		queue_drop(sim, &sim->io[i].rx);
		queue_drop(sim, &sim->io[i].redirected);
		BUG_ON(sim->io[i].held != NULL); /* a turn that ended without flush() */
		free(sim->marks[i]);
	}
	for (uint32_t i = 0; i < sim->n_hosts; i++) {
		for (uint32_t j = 0; j < sim->host[i]->n_conns; j++) {
			free(sim->host[i]->conn[j]->in);
			free(sim->host[i]->conn[j]);
		}
		tcp_destroy(sim->host[i]->tcp);
		net_destroy(sim->host[i]->net);
		free(sim->host[i]);
	}
	while (sim->n_flying > 0)
		free(land(sim));
	free(sim->flying);
	buf_malloc_destroy(sim->pool);
	snapshot_unmap(&sim->snapshot);
	segment_close(&sim->segment, true);
	unlink(sim->segment_path);
	unlink(sim->snapshot_path);
	{
		char lock[128];

		snprintf(lock, sizeof(lock), "%s.lock", sim->segment_path);
		unlink(lock);
	}
	BUG_ON(rmdir(sim->dir) != 0); /* nothing is left behind */
	free(sim);
}

void
sim_publish(struct sim *sim, const struct snapshot_part *parts)
{
	struct snapshot old = sim->snapshot;
	static struct snapshot next[2]; /* workers hold the address: it must not be the one in force */
	static uint32_t which;
	struct snapshot *to = &next[which++ % 2];

	map_snapshot(sim, parts, to);
	worker_publish(&sim->shared, to);
	for (uint32_t i = 0; i < sim->n_workers; i++)
		worker_turn(sim->worker[i], sim->now_us);
	snapshot_unmap(&old);
	sim->snapshot = *to;
}

uint64_t
sim_now_us(const struct sim *sim)
{
	return sim->now_us;
}

struct worker *
sim_worker(struct sim *sim, uint32_t i)
{
	return sim->worker[i];
}

struct segment *
sim_segment(struct sim *sim)
{
	return &sim->segment;
}

struct worker_shared *
sim_shared(struct sim *sim)
{
	return &sim->shared;
}

struct sim_wire *
sim_wire_of(struct sim *sim)
{
	return &sim->wire;
}

void
sim_rehash(struct sim *sim)
{
	sim->rehash++;
}

uint32_t
sim_bufs_in_use(const struct sim *sim)
{
	return buf_malloc_in_use(sim->pool);
}

uint64_t
sim_frames(const struct sim *sim)
{
	return sim->frames;
}

void
sim_tap_add(struct sim *sim, struct sim_tap *tap)
{
	BUG_ON(sim->n_taps == SIM_TAPS_MAX);
	sim->tap[sim->n_taps++] = tap;
}

void
sim_tap_tx(struct sim *sim, uint32_t port, const uint8_t *frame, uint32_t octets)
{
	struct frame f = { .n_views = 1, .port_index = (uint8_t)port };

	f.view[0] = (struct buf_view){ .ptr = frame, .len_octets = octets };
	transmit(sim, wire_frame_of(port, SIM_FROM_TAP, &f));
}

uint64_t
sim_steps(const struct sim *sim)
{
	return sim->steps;
}

void
sim_on_step(struct sim *sim, void (*fn)(struct sim *sim, void *arg), void *arg)
{
	sim->on_step = fn;
	sim->on_step_arg = arg;
}

static uint64_t
host_deadline_us(const struct sim_host *h)
{
	uint64_t due = MIN(tcp_deadline_us(h->tcp), net_deadline_us(h->net));

	for (uint32_t i = 0; i < h->n_conns; i++)
		if (h->conn[i]->stream != NULL && h->conn[i]->tcp != NULL)
			due = MIN(due, h->conn[i]->stream->ops->deadline_us(h->conn[i]->stream));
	return due;
}

void
sim_step(struct sim *sim, uint64_t max_us)
{
	uint64_t due = sim->now_us + max_us;
	bool busy = false;

	sim->steps++;
	deliver(sim);
	for (uint32_t i = 0; i < sim->n_taps; i++)
		due = MIN(due, sim->tap[i]->turn(sim->tap[i]->arg, sim->now_us));
	for (uint32_t i = 0; i < sim->n_workers; i++)
		busy |= worker_turn(sim->worker[i], sim->now_us);
	for (uint32_t i = 0; i < sim->n_hosts; i++)
		host_turn(sim, sim->host[i]);
	if (sim->on_step != NULL)
		sim->on_step(sim, sim->on_step_arg);
	if (busy) {
		sim->now_us += SIM_STEP_MIN_US;
		return;
	}
	if (sim->n_flying > 0)
		due = MIN(due, sim->flying[0]->due_us);
	for (uint32_t i = 0; i < sim->n_workers; i++)
		due = MIN(due, worker_deadline_us(sim->worker[i]));
	for (uint32_t i = 0; i < sim->n_hosts; i++)
		due = MIN(due, host_deadline_us(sim->host[i]));
	sim->now_us = MAX(due, sim->now_us + SIM_STEP_MIN_US);
}

bool
sim_until(struct sim *sim, uint64_t limit_us, bool (*done)(void *arg), void *arg)
{
	const uint64_t end = sim->now_us + limit_us;

	while (!done(arg)) {
		if (sim->now_us >= end)
			return false;
		sim_step(sim, MIN(end - sim->now_us, (uint64_t)100000));
	}
	return true;
}

void
sim_run(struct sim *sim, uint64_t for_us)
{
	const uint64_t end = sim->now_us + for_us;

	while (sim->now_us < end)
		sim_step(sim, end - sim->now_us);
}

void
sim_outside(struct sim *sim, void (*tx)(void *arg, uint32_t port, const uint8_t *frame, uint32_t octets), void *arg)
{
	sim->outside_tx = tx;
	sim->outside_arg = arg;
}

void
sim_outside_rx(struct sim *sim, uint32_t port, const uint8_t *frame, uint32_t octets)
{
	struct frame f = { .n_views = 1, .port_index = (uint8_t)port };

	f.view[0] = (struct buf_view){ .ptr = frame, .len_octets = octets };
	fly(sim, wire_frame_of(port, -1, &f), sim->now_us);
}

void
sim_set_now(struct sim *sim, uint64_t now_us)
{
	sim->now_us = now_us;
}
