/*
 * stream.h - the seam between tcp and smtp: a transform of wire octets to plain octets and back.
 *
 * Flow:   tcp_peek -> stream_unwrap() -> smtp_session;  replies -> stream_wrap() -> tcp_send
 * Pure:   three implementations: identity, TLS, and one for tests that re-frames and delays as TLS does.
 * Keeps:  octets leave in the order they came; nothing is invented or lost; a transform holds at most
 *         STREAM_HELD_MAX_OCTETS each way.
 *
 * SMTP never sees TCP, and a stream sees neither: the worker carries views between them.
 */
#ifndef GREYLINE_TLS_STREAM_H
#define GREYLINE_TLS_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/buf.h"

#define STREAM_HELD_MAX_OCTETS 65536

struct stream;

struct stream_ops {
	/*
	 * Wire to plain. Borrows wire (len 0: only look whether something is held). Writes at most one view to *plain, lent
	 * until the next unwrap of this stream (len 0: nothing yet; a view without buf must be copied to be kept longer). Who
	 * cannot use all of a view keeps the rest and does not unwrap before it is used up: identity alone may be asked again.
	 * Returns the wire octets consumed. Call again while octets were consumed or a view came out.
	 */
	uint32_t (*unwrap)(struct stream *s, const struct buf_view *wire, struct buf_view *plain, uint64_t now_us);
	/* Plain to wire, likewise (lent until the next wrap). With plain len 0 it gives what it has to say by itself (handshake, close_notify). */
	uint32_t (*wrap)(struct stream *s, const struct buf_view *plain, struct buf_view *wire, uint64_t now_us);
	/* No more plain octets will come: what ends the stream (close_notify) comes out of wrap. */
	void (*shutdown)(struct stream *s);
	/* When to call again without input; UINT64_MAX: never. */
	uint64_t (*deadline_us)(const struct stream *s);
	/* Whether nothing of it is under way: all octets it was given came out, as far as they can without others, and no buffer is held. */
	bool (*may_rest)(const struct stream *s);
	void (*destroy)(struct stream *s);
};

/* Embedded first by an implementation. */
struct stream {
	const struct stream_ops *ops;
	bool failed;   /* the transform broke: abort the connection */
	bool peer_eof; /* an orderly end came inside the stream */
	bool is_tls;
	bool handshaking; /* TLS is not begun yet: an unwrap with octets is a step of some cost, which the worker gives out */
};

/* Identity: views pass through, nothing is held. A constant object serves every session. */
struct stream *stream_identity(void);

static inline uint32_t
stream_unwrap(struct stream *s, const struct buf_view *wire, struct buf_view *plain, uint64_t now_us)
{
	return s->ops->unwrap(s, wire, plain, now_us);
}

static inline uint32_t
stream_wrap(struct stream *s, const struct buf_view *plain, struct buf_view *wire, uint64_t now_us)
{
	return s->ops->wrap(s, plain, wire, now_us);
}

#endif
