/*
 * sim_host.c - hosts of the simulator: our own net and tcp with an address each; what their connections say is the test's.
 */
#include "tests/sim/sim_impl.h"

#include <stdlib.h>
#include <string.h>

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
	h->window_octets = tcp.rcv_wnd_max_octets;
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

void
sim_host_window(struct sim_host *h, uint32_t octets)
{
	h->window_octets = octets;
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
sim_deafen(struct sim_conn *c, bool deaf)
{
	c->deaf = deaf;
	conn_pull(c);
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

void
sim_host_turn(struct sim_host *h)
{
	struct sim *sim = h->sim;
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
			tcp_set_rcv_limit(t, h->window_octets);
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
						   seg[i].path, sim->now_us);

			if (rc == 0)
				wire_send(&sim->wire, sim_frame_of(h->port, (int)h->index, &seg[i].frame), sim->now_us);
		}
	while ((n = net_output(h->net, frame, 32, sim->now_us)) > 0)
		for (uint32_t i = 0; i < n; i++) {
			wire_send(&sim->wire, sim_frame_of(h->port, (int)h->index, &frame[i]), sim->now_us);
			for (uint32_t j = 0; j < frame[i].n_views; j++)
				buf_unref(sim->pool, frame[i].view[j].buf);
		}
}

void
sim_host_input(struct sim_host *h, const struct wire_frame *w)
{
	struct sim *sim = h->sim;
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

uint64_t
sim_host_deadline_us(const struct sim_host *h)
{
	uint64_t due = MIN(tcp_deadline_us(h->tcp), net_deadline_us(h->net));

	for (uint32_t i = 0; i < h->n_conns; i++)
		if (h->conn[i]->stream != NULL && h->conn[i]->tcp != NULL)
			due = MIN(due, h->conn[i]->stream->ops->deadline_us(h->conn[i]->stream));
	return due;
}

void
sim_host_destroy(struct sim_host *h)
{
	for (uint32_t j = 0; j < h->n_conns; j++) {
		free(h->conn[j]->in);
		free(h->conn[j]);
	}
	tcp_destroy(h->tcp);
	net_destroy(h->net);
	free(h);
}
