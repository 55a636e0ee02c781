/*
 * sim_port.c - what a worker sees of the wire: the simulator's port_io.
 *
 * Keeps:  frames are copied onto the wire, so that no buffer is shared between a sender and a receiver; what a turn sends waits for
 *         flush(), as a driver's batch does.
 */
#include "tests/sim/sim_impl.h"

#include <string.h>

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

void
sim_io_arrive(struct sim *sim, const struct wire_frame *w)
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
		struct wire_frame *w = sim_frame_of(frames[i].port_index, WIRE_FROM_GATEWAY, &frames[i]);

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
		wire_send(&s->sim->wire, w, s->sim->now_us);
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
