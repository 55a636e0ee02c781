/*
 * sim_port.c - what a worker sees of the wire: the simulator's port_io.
 *
 * Keeps:  frames are copied onto the wire, so that no buffer is shared between a sender and a receiver; what a turn sends waits for
 *         flush(), as a driver's batch does. Where a port has a VLAN its frames have the tag on the way between the worker and the switch,
 *         which stands before the wire: stations know nothing of tags. What the switch does is written apart from net/vlan.c, so that
 *         one notices what the other does wrong.
 */
#include "tests/sim/sim_impl.h"

#include <string.h>

#include "dataplane/net/vlan.h"

struct wire_frame *
sim_frame_of(uint32_t port, int from, const struct frame *f)
{
	uint32_t octets = f->hdr_len_octets;
	struct wire_frame *w;

	for (uint32_t i = 0; i < f->n_views; i++)
		octets += f->view[i].len_octets;
	w = wire_frame_new(port, from, octets);
	memcpy(w->data, f->hdr, f->hdr_len_octets);
	octets = f->hdr_len_octets;
	for (uint32_t i = 0; i < f->n_views; i++) {
		memcpy(w->data + octets, f->view[i].ptr, f->view[i].len_octets);
		octets += f->view[i].len_octets;
	}
	return w;
}

static uint16_t
vlan_of(const struct sim *sim, uint32_t port)
{
	return port < sim->snapshot.n_ports ? sim->snapshot.ports[port].vlan : 0;
}

/* A frame as it comes to the gateway's port, in a buffer of room_octets. Takes data. */
static void
trunk_rx(struct sim_io *io, uint32_t port, struct buf *buf, uint8_t *data, uint32_t octets, uint32_t room_octets)
{
	struct vlan_frame f = { .octet = data, .octets = octets };
	const enum vlan_result tag = vlan_untag(&f, vlan_of(io->sim, port));

	if (tag != VLAN_OURS) {
		vlan_count_drop(io->io.counters, tag);
		buf_unref(io->sim->pool, buf);
		return;
	}
	io->rx.frame[io->rx.n++] = (struct net_frame){ .view = { .ptr = f.octet, .len_octets = f.octets, .buf = buf },
		.room = vlan_of(io->sim, port) == 0 && room_octets >= FRAME_HEADER_MAX_OCTETS ? data : NULL,
		.port_index = (uint8_t)port };
}

void
sim_trunk_rx(struct sim *sim, uint32_t port, const uint8_t *frame, uint32_t octets)
{
	uint8_t *data;
	struct buf *buf = buf_alloc(sim->pool, octets, &data);

	BUG_ON(buf == NULL || sim->io[0].rx.n == ARRAY_LEN(sim->io[0].rx.frame));
	memcpy(data, frame, octets);
	trunk_rx(&sim->io[0], port, buf, data, octets, octets);
}

/* The switch puts the tag in, with a priority as switches do. Returns how many octets that makes. */
static uint32_t
switch_to_trunk(uint8_t *data, const struct wire_frame *w, uint16_t vlan)
{
	if (vlan == 0 || w->octets < 14) {
		memcpy(data, w->data, w->octets);
		return w->octets;
	}
	memcpy(data, w->data, 12);
	memcpy(data + 12, (uint8_t[]){ 0x81, 0, (uint8_t)(0xa0 | vlan >> 8), (uint8_t)vlan }, 4);
	memcpy(data + 16, w->data + 12, w->octets - 12);
	return w->octets + 4;
}

/* The switch takes the tag off; what has another is a fault of the gateway. */
static void
switch_from_trunk(struct wire_frame *w, uint16_t vlan)
{
	if (vlan == 0)
		return;
	BUG_ON(w->octets < 18 || w->data[12] != 0x81 || w->data[13] != 0 || w->data[14] != vlan >> 8 ||
		w->data[15] != (vlan & 0xff));
	w->octets -= 4;
	memmove(w->data + 12, w->data + 16, w->octets - 12);
}

void
sim_io_arrive(struct sim *sim, const struct wire_frame *w)
{
	/* any lcore may get it, but one tuple mostly the same one: as a NIC whose table we do not know */
	struct sim_io *io = &sim->io[(w->octets > 40 ? (w->data[29] + w->data[35] + w->data[37] + sim->rehash) : 0u) %
				     sim->n_workers];
	const uint16_t vlan = vlan_of(sim, w->port);
	uint32_t room_octets;
	uint8_t *data;
	struct buf *buf;

	if (io->rx.n == (sim->pace.rx_room != 0 ? sim->pace.rx_room : ARRAY_LEN(io->rx.frame))) {
		io->missed++;
		return;
	}
	/* as large as the frame where an answer would fit, that whoever reads or writes beyond is seen; of the short ones each other is larger */
	room_octets = w->octets + (vlan != 0 ? VLAN_TAG_OCTETS : 0);
	if (room_octets < FRAME_HEADER_MAX_OCTETS && (io->n_short++ & 1) != 0)
		room_octets = FRAME_HEADER_MAX_OCTETS;
	buf = buf_alloc(sim->pool, room_octets, &data);
	if (buf != NULL)
		trunk_rx(io, w->port, buf, data, switch_to_trunk(data, w, vlan), room_octets);
}

static uint32_t
take(struct sim_queue *q, struct net_frame *out, uint32_t n)
{
	const uint32_t got = MIN(q->n, n);

	memcpy(out, q->frame, got * sizeof(*out));
	memmove(q->frame, q->frame + got, (q->n - got) * sizeof(*out));
	q->n -= got;
	return got;
}

/* The worker's turn takes so much longer. */
static void
spend(struct sim_io *io, uint64_t us)
{
	io->busy_until_us = MAX(io->busy_until_us, io->sim->now_us) + us;
}

static uint32_t
io_rx(struct port_io *io, struct net_frame *out, uint32_t n)
{
	struct sim_io *s = (struct sim_io *)io;
	const uint32_t got = take(&s->rx, out, n);

	spend(s, (uint64_t)got * s->sim->pace.rx_us);
	return got;
}

static uint32_t
io_redirected(struct port_io *io, struct net_frame *out, uint32_t n)
{
	struct sim_io *s = (struct sim_io *)io;
	const uint32_t got = take(&s->redirected, out, n);

	spend(s, (uint64_t)got * s->sim->pace.rx_us);
	return got;
}

/* A frame of the gateway behind the switch. */
static struct wire_frame *
gateway_frame(const struct frame *f, uint16_t vlan)
{
	struct frame tagged;
	struct wire_frame *w;

	if (vlan == 0)
		return sim_frame_of(f->port_index, WIRE_FROM_GATEWAY, f);
	tagged = *f;
	tagged.hdr_len_octets = (uint16_t)vlan_tag(tagged.hdr, f->hdr, f->hdr_len_octets, vlan);
	w = sim_frame_of(f->port_index, WIRE_FROM_GATEWAY, &tagged);
	switch_from_trunk(w, vlan);
	return w;
}

static void
io_tx(struct port_io *io, const struct frame *frames, uint32_t n)
{
	struct sim_io *s = (struct sim_io *)io;

	spend(s, (uint64_t)n * s->sim->pace.tx_us);
	for (uint32_t i = 0; i < n; i++) {
		struct wire_frame *w = gateway_frame(&frames[i], vlan_of(s->sim, frames[i].port_index));

		w->next = s->held;
		s->held = w;
	}
}

static void
io_tx_answer(struct port_io *io, const struct net_frame *received, uint32_t octets)
{
	struct frame f = { .port_index = received->port_index, .hdr_len_octets = (uint16_t)octets };

	BUG_ON(octets > sizeof(f.hdr));
	memcpy(f.hdr, received->room, octets);
	io_tx(io, &f, 1);
	buf_unref(io->pool, received->view.buf);
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
		wire_send(&s->sim->wire, w, s->sim->now_us);
	}
}

static void
io_redirect(struct port_io *io, uint32_t worker, const struct net_frame *frame)
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
	.tx_answer = io_tx_answer,
	.flush = io_flush,
	.redirect = io_redirect,
	.redirected = io_redirected,
	.neighbour_tell = io_neighbour_tell,
	.neighbour_hear = io_neighbour_hear,
};

void
sim_io_init(struct sim *sim, uint32_t i)
{
	sim->io[i] = (struct sim_io){ .sim = sim, .index = i };
	sim->io[i].io = (struct port_io){ .ops = &io_ops, .pool = sim->pool, .counters = &sim->segment.counters[i] };
}

static void
queue_drop(struct sim *sim, struct sim_queue *q)
{
	for (uint32_t i = 0; i < q->n; i++)
		buf_unref(sim->pool, q->frame[i].view.buf);
	q->n = 0;
}

void
sim_io_drop(struct sim_io *io)
{
	queue_drop(io->sim, &io->rx);
	queue_drop(io->sim, &io->redirected);
}
