/*
 * tcp_piece.h - queues of octets in buffers: what waits to be read, to be sent, or for a gap to be filled.
 *
 * Flow:   tcp_input -> receive queue -> tcp_peek;  tcp_send -> send queue -> tcp_output
 * Pure:   pieces come from an array made at creation; octets lie in buffers of the pool, held by reference.
 * Keeps:  a piece holds one reference to its buffer. Octets in pieces below TCP_COMPACT_OCTETS are copied, many into one
 *         buffer, so that one octet does not pin 2 KiB. Octets once written are never written again.
 */
#ifndef GREYLINE_TCP_TCP_PIECE_H
#define GREYLINE_TCP_TCP_PIECE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/base/buf.h"

#define TCP_COMPACT_OCTETS   256
#define TCP_PIECE_MAX_OCTETS 65535

struct tcp_piece {
	struct tcp_piece *next;
	const uint8_t *ptr;
	struct buf *buf;
	uint32_t seq; /* of the first octet */
	uint32_t len_octets;
};

/* The pieces of one endpoint and the buffer that small ones are copied into. */
struct tcp_pieces {
	struct buf_pool *pool;
	struct tcp_piece *all, *free;
	uint32_t n, n_free;
	struct buf *compact; /* NULL: none begun */
	uint8_t *compact_at;
	uint32_t compact_left_octets;
};

struct tcp_queue {
	struct tcp_piece *head, *tail;
};

/* Allocates; false when memory is short. */
bool tcp_pieces_create(struct tcp_pieces *p, struct buf_pool *pool, uint32_t n);
void tcp_pieces_destroy(struct tcp_pieces *p);

/* Whether octets of v are copied rather than referenced. */
static inline bool
tcp_piece_is_compact(const struct buf_view *v)
{
	return v->buf == NULL || v->len_octets < TCP_COMPACT_OCTETS;
}

/*
 * A piece for the first octets of v, with a reference or copied as tcp_piece_is_compact() says. It is not in a queue yet.
 * NULL: no piece or buffer is left. Its len_octets may be less than that of v where octets were copied.
 */
struct tcp_piece *tcp_piece_make(struct tcp_pieces *p, uint32_t seq, const struct buf_view *v);

/* Copies octets of v behind last where its octets end where the compact buffer goes on. Returns how many (0: make a piece). */
uint32_t tcp_piece_extend(struct tcp_pieces *p, struct tcp_piece *last, const struct buf_view *v);

void tcp_piece_drop(struct tcp_pieces *p, struct tcp_piece *piece);

/* As tcp_queue_append(), for what is nearly always queued: few octets, where nothing is, copied where there is room for them. False: it takes
 * more than that, and nothing has changed. */
static inline bool
tcp_queue_begin(struct tcp_pieces *p, struct tcp_queue *q, uint32_t seq, const struct buf_view *v)
{
	struct tcp_piece *piece = p->free;
	const uint32_t n = v->len_octets;

	if (q->tail != NULL || piece == NULL || n == 0 || n > p->compact_left_octets || !tcp_piece_is_compact(v))
		return false;
	p->free = piece->next;
	p->n_free--;
	*piece = (struct tcp_piece){ .ptr = p->compact_at, .buf = p->compact, .seq = seq, .len_octets = n };
	memcpy(p->compact_at, v->ptr, n);
	p->compact_at += n;
	p->compact_left_octets -= n;
	buf_ref(p->pool, p->compact);
	q->head = q->tail = piece;
	return true;
}

/* Takes piece as the last of q. */
void tcp_queue_push(struct tcp_queue *q, struct tcp_piece *piece);

/* As tcp_queue_append(), for a text that one piece holds by a reference, as segments of a message are. False: it is none, and nothing has changed. */
static inline bool
tcp_queue_attach(struct tcp_pieces *p, struct tcp_queue *q, uint32_t seq, const struct buf_view *v)
{
	struct tcp_piece *piece = p->free;

	if (piece == NULL || tcp_piece_is_compact(v) || v->len_octets > TCP_PIECE_MAX_OCTETS)
		return false;
	p->free = piece->next;
	p->n_free--;
	*piece = (struct tcp_piece){ .ptr = v->ptr, .buf = v->buf, .seq = seq, .len_octets = v->len_octets };
	buf_ref(p->pool, v->buf);
	tcp_queue_push(q, piece);
	return true;
}

/* Appends octets of v, the first of which is seq. Returns how many were taken: fewer where memory is short. */
uint32_t tcp_queue_append(struct tcp_pieces *p, struct tcp_queue *q, uint32_t seq, const struct buf_view *v);
/*
 * Puts v before what q holds: copied where tcp_piece_is_compact() says so, and its reference dropped; else the piece takes it. False: no piece
 * or buffer is left, and nothing has changed.
 */
bool tcp_queue_put_back(struct tcp_pieces *p, struct tcp_queue *q, uint32_t seq, const struct buf_view *v);
/* Drops the first octets of q; at most what is there. */
void tcp_queue_drop(struct tcp_pieces *p, struct tcp_queue *q, uint32_t octets);
void tcp_queue_clear(struct tcp_pieces *p, struct tcp_queue *q);

#endif
