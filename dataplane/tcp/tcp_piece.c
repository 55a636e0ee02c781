/*
 * tcp_piece.c - queues of octets in buffers.
 *
 * Pure:   see the header.
 * Keeps:  the compact buffer is held by one reference of its own while it has room; every piece in it holds another.
 */
#include "dataplane/tcp/tcp_piece.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"

bool
tcp_pieces_create(struct tcp_pieces *p, struct buf_pool *pool, uint32_t n)
{
	*p = (struct tcp_pieces){ .pool = pool, .n = n, .n_free = n };
	p->all = large_alloc(n * sizeof(p->all[0]));
	if (p->all == NULL)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		p->all[i].next = p->free;
		p->free = &p->all[i];
	}
	return true;
}

void
tcp_pieces_destroy(struct tcp_pieces *p)
{
	if (p->all == NULL)
		return;
	BUG_ON(p->n_free != p->n);
	buf_unref(p->pool, p->compact);
	large_free(p->all, p->n * sizeof(p->all[0]));
	p->all = NULL;
}

/* Makes room for at least one octet in the compact buffer. */
static bool
compact_ready(struct tcp_pieces *p)
{
	if (p->compact_left_octets > 0)
		return true;
	buf_unref(p->pool, p->compact);
	p->compact = buf_alloc(p->pool, p->pool->room_octets, &p->compact_at);
	p->compact_left_octets = p->compact != NULL ? p->pool->room_octets : 0;
	return p->compact != NULL;
}

static uint32_t
compact_copy(struct tcp_pieces *p, const uint8_t *ptr, uint32_t len_octets)
{
	uint32_t n = MIN(len_octets, p->compact_left_octets);

	if (n == 0)
		return 0;
	memcpy(p->compact_at, ptr, n);
	p->compact_at += n;
	p->compact_left_octets -= n;
	return n;
}

struct tcp_piece *
tcp_piece_make(struct tcp_pieces *p, uint32_t seq, const struct buf_view *v)
{
	struct tcp_piece *piece = p->free;
	const bool compact = tcp_piece_is_compact(v);

	if (piece == NULL || (compact && !compact_ready(p)))
		return NULL;
	p->free = piece->next;
	p->n_free--;
	*piece = (struct tcp_piece){ .seq = seq };
	if (compact) {
		piece->ptr = p->compact_at;
		piece->buf = p->compact;
		piece->len_octets = compact_copy(p, v->ptr, v->len_octets);
	} else {
		piece->ptr = v->ptr;
		piece->buf = v->buf;
		piece->len_octets = MIN(v->len_octets, TCP_PIECE_MAX_OCTETS);
	}
	buf_ref(p->pool, piece->buf);
	return piece;
}

uint32_t
tcp_piece_extend(struct tcp_pieces *p, struct tcp_piece *last, const struct buf_view *v)
{
	uint32_t n;

	if (last == NULL || last->buf != p->compact || last->ptr + last->len_octets != p->compact_at ||
		!tcp_piece_is_compact(v) || last->len_octets >= TCP_PIECE_MAX_OCTETS)
		return 0;
	n = compact_copy(p, v->ptr, v->len_octets);
	last->len_octets += n;
	return n;
}

void
tcp_piece_drop(struct tcp_pieces *p, struct tcp_piece *piece)
{
	buf_unref(p->pool, piece->buf);
	piece->buf = NULL;
	piece->next = p->free;
	p->free = piece;
	p->n_free++;
	if (p->n_free < p->n)
		return;
	/* nobody holds octets: nor do we */
	buf_unref(p->pool, p->compact);
	p->compact = NULL;
	p->compact_left_octets = 0;
}

/* A copy of v in one piece, whose reference is the caller's. False: there is no buffer for it. */
static bool
copy_whole(struct tcp_pieces *p, const struct buf_view *v, struct buf_view *out)
{
	if (p->compact_left_octets < v->len_octets)
		p->compact_left_octets = 0; /* the rest of the buffer is let go */
	if (!compact_ready(p))
		return false;
	*out = (struct buf_view){ .ptr = p->compact_at, .len_octets = v->len_octets, .buf = p->compact };
	compact_copy(p, v->ptr, v->len_octets);
	buf_ref(p->pool, p->compact);
	return true;
}

bool
tcp_queue_put_back(struct tcp_pieces *p, struct tcp_queue *q, uint32_t seq, const struct buf_view *v)
{
	struct tcp_piece *piece = p->free;
	struct buf_view kept = *v;

	if (piece == NULL)
		return false;
	if (tcp_piece_is_compact(v)) {
		if (!copy_whole(p, v, &kept))
			return false;
		buf_unref(p->pool, v->buf);
	}
	p->free = piece->next;
	p->n_free--;
	*piece = (struct tcp_piece){
		.next = q->head, .ptr = kept.ptr, .buf = kept.buf, .seq = seq, .len_octets = kept.len_octets
	};
	q->head = piece;
	if (q->tail == NULL)
		q->tail = piece;
	return true;
}

uint32_t
tcp_queue_append(struct tcp_pieces *p, struct tcp_queue *q, uint32_t seq, const struct buf_view *v)
{
	struct buf_view rest = *v;

	while (rest.len_octets > 0) {
		uint32_t n = tcp_piece_extend(p, q->tail, &rest);

		if (n == 0) {
			struct tcp_piece *piece = tcp_piece_make(p, seq, &rest);

			if (piece == NULL)
				break;
			n = piece->len_octets;
			tcp_queue_push(q, piece);
		}
		seq += n;
		rest.ptr += n;
		rest.len_octets -= n;
	}
	return v->len_octets - rest.len_octets;
}

void
tcp_queue_push(struct tcp_queue *q, struct tcp_piece *piece)
{
	piece->next = NULL;
	if (q->tail != NULL)
		q->tail->next = piece;
	else
		q->head = piece;
	q->tail = piece;
}

void
tcp_queue_drop(struct tcp_pieces *p, struct tcp_queue *q, uint32_t octets)
{
	struct tcp_piece *only = q->head;

	if (only != NULL && only == q->tail && octets >= only->len_octets) {
		q->head = q->tail = NULL;
		tcp_piece_drop(p, only);
		return;
	}
	while (octets > 0 && q->head != NULL) {
		struct tcp_piece *piece = q->head;

		if (octets < piece->len_octets) {
			piece->ptr += octets;
			piece->len_octets -= octets;
			piece->seq += octets;
			return;
		}
		octets -= piece->len_octets;
		q->head = piece->next;
		if (q->head == NULL)
			q->tail = NULL;
		tcp_piece_drop(p, piece);
	}
}

void
tcp_queue_clear(struct tcp_pieces *p, struct tcp_queue *q)
{
	while (q->head != NULL)
		tcp_queue_drop(p, q, q->head->len_octets);
}
