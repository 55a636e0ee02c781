/*
 * tcp_ooo.c - the out-of-order store.
 *
 * Pure:   see the header. A walk is over at most ooo_max_segs pieces.
 * Source: RFC 2018 section 4 for the order of blocks.
 */
#include "dataplane/tcp/tcp_ooo.h"

#include "dataplane/base/bug.h"
#include "dataplane/base/seq.h"
#include "dataplane/tcp/tcp_conn.h"

#define GIVE_BACK_LOOKS 256u /* connections looked at in a call */

static uint32_t
piece_end(const struct tcp_piece *p)
{
	return p->seq + p->len_octets;
}

/* Puts the first octets of v at *at, behind prev. Returns how many; 0: no memory or limit reached. */
static uint32_t
insert_between(
	struct tcp_conn *c, struct tcp_piece *prev, struct tcp_piece **at, uint32_t seq, const struct buf_view *v)
{
	struct tcp *tcp = c->tcp;
	struct tcp_piece *piece;
	uint32_t n = 0;

	if (prev != NULL && piece_end(prev) == seq)
		n = tcp_piece_extend(&tcp->pieces, prev, v);
	if (n > 0)
		return n;
	if (c->n_ooo >= tcp->conf.ooo_max_segs) {
		counter_inc(tcp->counters, CTR_tcp_ooo_full);
		return 0;
	}
	piece = tcp_piece_make(&tcp->pieces, seq, v);
	if (piece == NULL) {
		counter_inc(tcp->counters, CTR_tcp_no_buffer);
		return 0;
	}
	piece->next = *at;
	*at = piece;
	c->n_ooo++;
	return piece->len_octets;
}

/* Remembers that the block around seq is the newest. */
static void
remember_recent(struct tcp_conn *c, uint32_t seq)
{
	uint32_t n = MIN(c->n_sack_recent, TCP_SACK_RECENT - 1u);

	for (uint32_t i = n; i > 0; i--)
		c->sack_recent[i] = c->sack_recent[i - 1];
	c->sack_recent[0] = seq;
	c->n_sack_recent = (uint8_t)(n + 1);
}

enum tcp_ooo_result
tcp_ooo_insert(struct tcp_conn *c, uint32_t seq, const struct buf_view *v)
{
	struct tcp_piece *prev = NULL, **at = &c->ooo;
	struct buf_view rest = *v;
	bool kept = false;

	/* what is in order must never want for a piece because of what is not */
	if (c->tcp->pressure || c->tcp->pieces.n_free < c->tcp->pieces.n / 4) {
		counter_inc(c->tcp->counters, CTR_tcp_ooo_shed);
		return TCP_OOO_DROPPED;
	}
	remember_recent(c, seq);
	while (rest.len_octets > 0) {
		struct buf_view part = rest;
		uint32_t n;

		while (*at != NULL && seq_leq(piece_end(*at), seq)) {
			prev = *at;
			at = &prev->next;
		}
		if (*at != NULL && seq_leq((*at)->seq, seq)) {
			n = MIN(piece_end(*at) - seq, rest.len_octets); /* held already */
		} else {
			if (*at != NULL && seq_lt((*at)->seq, seq + part.len_octets))
				part.len_octets = (*at)->seq - seq;
			n = insert_between(c, prev, at, seq, &part);
			if (n == 0)
				return TCP_OOO_DROPPED;
			kept = true;
		}
		seq += n;
		rest.ptr += n;
		rest.len_octets -= n;
	}
	return kept ? TCP_OOO_KEPT : TCP_OOO_DUPLICATE;
}

uint32_t
tcp_ooo_pull(struct tcp_conn *c)
{
	uint32_t moved = 0;

	while (c->ooo != NULL && seq_leq(c->ooo->seq, c->rcv_nxt)) {
		struct tcp_piece *piece = c->ooo;
		uint32_t known = c->rcv_nxt - piece->seq;

		c->ooo = piece->next;
		c->n_ooo--;
		if (known >= piece->len_octets) {
			tcp_piece_drop(&c->tcp->pieces, piece);
			continue;
		}
		piece->ptr += known;
		piece->len_octets -= known;
		piece->seq = c->rcv_nxt;
		c->rcv_nxt += piece->len_octets;
		moved += piece->len_octets;
		tcp_queue_push(&c->rcv_queue, piece);
	}
	if (c->ooo == NULL)
		c->n_sack_recent = 0;
	return moved;
}

void
tcp_ooo_clear(struct tcp_conn *c)
{
	while (c->ooo != NULL) {
		struct tcp_piece *piece = c->ooo;

		c->ooo = piece->next;
		tcp_piece_drop(&c->tcp->pieces, piece);
	}
	c->n_ooo = 0;
	c->n_sack_recent = 0;
}

void
tcp_ooo_give_back(struct tcp *tcp)
{
	for (uint32_t i = 0; i < MIN(GIVE_BACK_LOOKS, tcp->n_fresh) && marks_on(tcp->marks, MARK_out_of_order); i++) {
		struct tcp_conn *c;

		tcp->ooo_cursor = (tcp->ooo_cursor + 1) % tcp->n_fresh;
		c = &tcp->conns[tcp->ooo_cursor];
		if (c->state == TCP_STATE_CLOSED || c->ooo == NULL)
			continue;
		counter_add(tcp->counters, CTR_tcp_ooo_given_back, c->n_ooo);
		tcp_ooo_clear(c);
		tcp_look_marks(tcp);
	}
}

/* The block of adjacent pieces that holds seq. */
static bool
block_around(const struct tcp_conn *c, uint32_t seq, struct tcp_sack_block *out)
{
	const struct tcp_piece *p = c->ooo;

	while (p != NULL) {
		struct tcp_sack_block b = { .start = p->seq, .end = piece_end(p) };

		while (p->next != NULL && p->next->seq == b.end) {
			p = p->next;
			b.end = piece_end(p);
		}
		if (seq_leq(b.start, seq) && seq_lt(seq, b.end)) {
			*out = b;
			return true;
		}
		p = p->next;
	}
	return false;
}

uint32_t
tcp_ooo_blocks(const struct tcp_conn *c, struct tcp_sack_block *out, uint32_t n)
{
	uint32_t have = 0;

	for (uint32_t i = 0; i < c->n_sack_recent && have < n; i++) {
		struct tcp_sack_block b;
		bool again = false;

		if (!block_around(c, c->sack_recent[i], &b))
			continue;
		for (uint32_t k = 0; k < have; k++)
			again |= out[k].start == b.start;
		if (!again)
			out[have++] = b;
	}
	return have;
}
