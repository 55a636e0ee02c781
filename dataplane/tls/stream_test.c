/*
 * stream_test.c - see stream_test.h.
 *
 * Pure:   octets and time.
 */
#include "dataplane/tls/stream_test.h"

#include <string.h>

#include "dataplane/base/bug.h"

enum { RECORD_CLOSE = 0x15, RECORD_HANDSHAKE = 0x16, RECORD_DATA = 0x17 };

#define OVERHEAD_OCTETS (STREAM_TEST_HEADER_OCTETS + STREAM_TEST_TRAILER_OCTETS)

/* Drops what was lent by the call before. */
static void
lane_begin(struct stream_test_lane *l)
{
	l->from += l->lent;
	if (l->lent > 0)
		l->ready_us = UINT64_MAX;
	l->lent = 0;
	if (l->from > 0) {
		memmove(l->octet, l->octet + l->from, l->to - l->from);
		l->to -= l->from;
		l->from = 0;
	}
}

/* Octets of the whole record at the lane's start, 0: it is not whole. */
static uint32_t
lane_record(const struct stream_test_lane *l)
{
	const uint8_t *p = l->octet + l->from;
	const uint32_t have = l->to - l->from;
	uint32_t n;

	if (have < STREAM_TEST_HEADER_OCTETS)
		return 0;
	n = OVERHEAD_OCTETS + ((uint32_t)p[1] << 8 | p[2]);
	return have >= n ? n : 0;
}

/* A record became the first and whole: its delay starts. True when it has passed. */
static bool
lane_is_ready(struct stream_test_lane *l, uint64_t delay_us, uint64_t now_us)
{
	if (lane_record(l) == 0)
		return false;
	if (l->ready_us == UINT64_MAX)
		l->ready_us = now_us + delay_us;
	return now_us >= l->ready_us;
}

static uint8_t
check_octet(const uint8_t *p, uint32_t n)
{
	uint8_t sum = 0;

	while (n-- > 0)
		sum = (uint8_t)(sum * 31 + *p++);
	return sum;
}

static void
record_put(struct stream_test_lane *l, uint8_t type, const uint8_t *plain, uint32_t n)
{
	uint8_t *p = l->octet + l->to;

	p[0] = type;
	p[1] = (uint8_t)(n >> 8);
	p[2] = (uint8_t)n;
	for (uint32_t i = 0; i < n; i++)
		p[STREAM_TEST_HEADER_OCTETS + i] = plain != NULL ? (uint8_t)~plain[i] : (uint8_t)i;
	p[STREAM_TEST_HEADER_OCTETS + n] = check_octet(p, STREAM_TEST_HEADER_OCTETS + n);
	l->to += n + OVERHEAD_OCTETS;
}

static uint32_t
lane_room(const struct stream_test_lane *l)
{
	return STREAM_HELD_MAX_OCTETS - l->to;
}

static bool
is_open(const struct stream_test *t)
{
	return t->conf.handshake_octets == 0 || (t->hello_sent && t->hello_got);
}

/* The first record, whole and due: its payload is turned back in place and lent. */
static void
record_take(struct stream_test *t, struct buf_view *plain)
{
	struct stream_test_lane *l = &t->rx;
	uint8_t *p = l->octet + l->from;
	const uint32_t n = lane_record(l), payload = n - OVERHEAD_OCTETS;

	l->lent = n;
	if (p[n - 1] != check_octet(p, n - 1)) {
		t->stream.failed = true;
		return;
	}
	switch (p[0]) {
	case RECORD_DATA:
		if (!is_open(t) || t->stream.peer_eof) {
			t->stream.failed = true;
			return;
		}
		for (uint32_t i = 0; i < payload; i++)
			p[STREAM_TEST_HEADER_OCTETS + i] ^= 0xff;
		*plain = (struct buf_view){ p + STREAM_TEST_HEADER_OCTETS, payload, NULL };
		break;
	case RECORD_HANDSHAKE:
		t->stream.failed |= t->hello_got || t->conf.handshake_octets == 0;
		t->hello_got = true;
		break;
	case RECORD_CLOSE:
		t->stream.peer_eof = true;
		break;
	default:
		t->stream.failed = true;
		break;
	}
}

static uint32_t
test_unwrap(struct stream *s, const struct buf_view *wire, struct buf_view *plain, uint64_t now_us)
{
	struct stream_test *t = container_of_(s, struct stream_test, stream);
	uint32_t n;

	*plain = (struct buf_view){ NULL, 0, NULL };
	if (s->failed)
		return 0;
	lane_begin(&t->rx);
	n = MIN(wire->len_octets, lane_room(&t->rx));
	if (n > 0)
		memcpy(t->rx.octet + t->rx.to, wire->ptr, n);
	t->rx.to += n;
	if (t->rx.to >= STREAM_TEST_HEADER_OCTETS &&
		((uint32_t)t->rx.octet[1] << 8 | t->rx.octet[2]) > STREAM_TEST_RECORD_MAX_OCTETS)
		s->failed = true; /* it could never be held whole */
	while (plain->len_octets == 0 && !s->failed && lane_is_ready(&t->rx, t->conf.delay_us, now_us)) {
		record_take(t, plain);
		if (plain->len_octets == 0)
			lane_begin(&t->rx);
	}
	return n;
}

static void
say_hello(struct stream_test *t)
{
	if (t->conf.handshake_octets == 0 || t->hello_sent || (!t->conf.is_client && !t->hello_got))
		return;
	record_put(&t->tx, RECORD_HANDSHAKE, NULL, t->conf.handshake_octets);
	t->hello_sent = true;
}

static uint32_t
test_wrap(struct stream *s, const struct buf_view *plain, struct buf_view *wire, uint64_t now_us)
{
	struct stream_test *t = container_of_(s, struct stream_test, stream);
	uint32_t n = 0;

	*wire = (struct buf_view){ NULL, 0, NULL };
	if (s->failed)
		return 0;
	lane_begin(&t->tx);
	say_hello(t);
	/* room for a close record is kept */
	if (is_open(t) && !t->close_wanted && lane_room(&t->tx) > 2 * OVERHEAD_OCTETS)
		n = MIN(MIN(plain->len_octets, t->conf.record_octets), lane_room(&t->tx) - 2 * OVERHEAD_OCTETS);
	if (n > 0)
		record_put(&t->tx, RECORD_DATA, plain->ptr, n);
	if (t->close_wanted && !t->close_sent) {
		record_put(&t->tx, RECORD_CLOSE, NULL, 0);
		t->close_sent = true;
	}
	if (lane_is_ready(&t->tx, t->conf.delay_us, now_us)) {
		t->tx.lent = lane_record(&t->tx);
		*wire = (struct buf_view){ t->tx.octet + t->tx.from, t->tx.lent, NULL };
	}
	return n;
}

static void
test_shutdown(struct stream *s)
{
	container_of_(s, struct stream_test, stream)->close_wanted = true;
}

static uint64_t
test_deadline_us(const struct stream *s)
{
	const struct stream_test *t = (const struct stream_test *)s; /* embedded first */
	const uint64_t rx = t->rx.lent > 0 ? UINT64_MAX : t->rx.ready_us,
		       tx = t->tx.lent > 0 ? UINT64_MAX : t->tx.ready_us;

	if (s->failed)
		return UINT64_MAX;
	return MIN(rx, tx);
}

/* A record that is not whole may lie there as long as it wants. */
static bool
test_may_rest(const struct stream *s)
{
	const struct stream_test *t = (const struct stream_test *)s; /* embedded first */

	return !s->failed && !s->peer_eof && is_open(t) && !t->close_wanted && test_deadline_us(s) == UINT64_MAX &&
	       t->tx.to - t->tx.from == t->tx.lent && lane_record(&t->rx) == t->rx.lent;
}

static void
test_destroy(struct stream *s)
{
	(void)s;
}

static const struct stream_ops test_ops = {
	.unwrap = test_unwrap,
	.wrap = test_wrap,
	.shutdown = test_shutdown,
	.deadline_us = test_deadline_us,
	.may_rest = test_may_rest,
	.destroy = test_destroy,
};

void
stream_test_init(struct stream_test *t, const struct stream_test_conf *conf)
{
	BUG_ON(conf->record_octets == 0 || conf->record_octets > STREAM_TEST_RECORD_MAX_OCTETS ||
		conf->handshake_octets > STREAM_TEST_RECORD_MAX_OCTETS);
	memset(t, 0, offsetof(struct stream_test, rx));
	t->stream.ops = &test_ops;
	t->stream.is_tls = true;
	t->conf = *conf;
	t->rx.from = t->rx.to = t->rx.lent = 0;
	t->tx.from = t->tx.to = t->tx.lent = 0;
	t->rx.ready_us = t->tx.ready_us = UINT64_MAX;
}
