/*
 * test_stream.c - the identity stream and the re-framing one keep the contract of stream.h.
 */
#include <stdlib.h>

#include "dataplane/tls/stream.h"
#include "dataplane/tls/stream_test.h"
#include "tests/check.h"

#define MESSAGE_OCTETS 100000

/* One direction of a connection: who writes, who reads, and the wire between them. */
struct lane {
	struct stream *from, *to;
	const uint8_t *plain;
	uint32_t n_plain, sent;
	uint8_t wire[STREAM_HELD_MAX_OCTETS];
	uint32_t n_wire;
	uint8_t *got;
	uint32_t n_got;
};

/* Moves what can be moved now; true when anything did. */
static bool
lane_step(struct lane *l, uint64_t now_us)
{
	const uint32_t some = 1 + (uint32_t)random() % 5000;
	const struct buf_view plain = { l->plain + l->sent, MIN(l->n_plain - l->sent, some), NULL };
	struct buf_view out, in = { l->wire, 0, NULL };
	bool moved = false;
	uint32_t n;

	if (sizeof(l->wire) - l->n_wire > STREAM_TEST_RECORD_MAX_OCTETS + 16) {
		n = stream_wrap(l->from, &plain, &out, now_us);
		l->sent += n;
		if (out.len_octets > 0)
			memcpy(l->wire + l->n_wire, out.ptr, out.len_octets);
		l->n_wire += out.len_octets;
		moved |= n > 0 || out.len_octets > 0;
	}
	in.len_octets = l->n_wire > 0 ? 1 + (uint32_t)random() % l->n_wire : 0;
	n = stream_unwrap(l->to, &in, &out, now_us);
	memmove(l->wire, l->wire + n, l->n_wire - n);
	l->n_wire -= n;
	if (out.len_octets > 0) {
		CHECK_TRUE("not more than was sent", l->n_got + out.len_octets <= l->n_plain);
		memcpy(l->got + l->n_got, out.ptr, out.len_octets);
	}
	l->n_got += out.len_octets;
	return moved || n > 0 || out.len_octets > 0;
}

/* Both directions until all is there; time goes on to the next deadline when nothing moves. Returns the time taken. */
static uint64_t
converse(struct stream *a, struct stream *b, const uint8_t *plain, uint32_t n)
{
	static struct lane there, back;
	uint64_t now_us = 1000, turns = 0;

	there = (struct lane){ .from = a, .to = b, .plain = plain, .n_plain = n, .got = malloc(n) };
	back = (struct lane){ .from = b, .to = a, .plain = plain, .n_plain = n, .got = malloc(n) };
	while (there.n_got < n || back.n_got < n) {
		const bool moved = lane_step(&there, now_us) | lane_step(&back, now_us);

		CHECK_TRUE("neither failed", !a->failed && !b->failed);
		CHECK_TRUE("it ends", ++turns < 1000000);
		if (!moved) {
			const uint64_t next = MIN(a->ops->deadline_us(a), b->ops->deadline_us(b));

			CHECK_TRUE("a deadline when nothing moves", next != UINT64_MAX && next > now_us);
			now_us = next;
		}
	}
	CHECK_OCTETS("there", there.got, there.n_got, plain, n);
	CHECK_OCTETS("back", back.got, back.n_got, plain, n);
	free(there.got);
	free(back.got);
	return now_us - 1000;
}

static uint8_t *
some_octets(uint32_t n)
{
	uint8_t *p = malloc(n);

	assert_non_null(p);
	for (uint32_t i = 0; i < n; i++)
		p[i] = (uint8_t)random();
	return p;
}

static void
test_stream_identity_lends_what_it_was_lent(void **state)
{
	struct stream *s = stream_identity();
	const struct buf_view in = { (const uint8_t *)"abc", 3, (struct buf *)(uintptr_t)64 };
	struct buf_view out;

	(void)state;
	CHECK_EQ("unwrap takes all", stream_unwrap(s, &in, &out, 0), 3);
	CHECK_TRUE("the same octets in the same buffer", out.ptr == in.ptr && out.buf == in.buf && out.len_octets == 3);
	CHECK_EQ("wrap takes all", stream_wrap(s, &in, &out, 0), 3);
	CHECK_TRUE("the same again", out.ptr == in.ptr && out.buf == in.buf && out.len_octets == 3);
	CHECK_TRUE("no deadline", s->ops->deadline_us(s) == UINT64_MAX);
}

static void
test_stream_carries_every_octet_in_order(void **state)
{
	static const struct {
		const char *label;
		uint32_t record, handshake;
		uint64_t delay_us;
	} rows[] = {
		{ "one octet a record", 1, 0, 0 },
		{ "odd records", 1013, 0, 0 },
		{ "whole records", STREAM_TEST_RECORD_MAX_OCTETS, 0, 0 },
		{ "with a handshake", 4096, 900, 0 },
		{ "with a handshake and delays", 4096, 3000, 700 },
		{ "late octet by octet", 7, 10, 3 },
	};
	static struct stream_test a, b;
	uint8_t *plain;

	(void)state;
	srandom(7);
	plain = some_octets(MESSAGE_OCTETS);
	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct stream_test_conf conf = { .record_octets = rows[i].record,
			.delay_us = rows[i].delay_us,
			.handshake_octets = rows[i].handshake };
		struct stream_test_conf client = conf;
		const uint32_t n = rows[i].record < 10 ? 2000 : MESSAGE_OCTETS;
		uint64_t took_us;

		client.is_client = true;
		stream_test_init(&a, &client);
		stream_test_init(&b, &conf);
		took_us = converse(&a.stream, &b.stream, plain, n);
		CHECK_TRUE(rows[i].label, took_us >= rows[i].delay_us * 2 && (rows[i].delay_us > 0 || took_us == 0));
	}
	free(plain);
}

static void
test_stream_gives_nothing_of_half_a_record(void **state)
{
	const struct stream_test_conf conf = { .record_octets = 100, .delay_us = 50 };
	const struct buf_view plain = { (const uint8_t *)"QUIT\r\n", 6, NULL }, none = { NULL, 0, NULL };
	static struct stream_test a, b;
	struct buf_view wire, out;
	uint8_t record[64];
	uint32_t n;

	(void)state;
	stream_test_init(&a, &conf);
	stream_test_init(&b, &conf);
	CHECK_EQ("taken", stream_wrap(&a.stream, &plain, &wire, 1000), 6);
	CHECK_EQ("not out before its time", wire.len_octets, 0);
	CHECK_EQ("which is told", a.stream.ops->deadline_us(&a.stream), 1050);
	stream_wrap(&a.stream, &none, &wire, 1050);
	n = wire.len_octets;
	CHECK_EQ("a record", n, 6 + STREAM_TEST_HEADER_OCTETS + STREAM_TEST_TRAILER_OCTETS);
	memcpy(record, wire.ptr, n);
	CHECK_TRUE("wire is not plain", memcmp(record + STREAM_TEST_HEADER_OCTETS, "QUIT", 4) != 0);
	for (uint32_t i = 0; i + 1 < n; i++) {
		const struct buf_view octet = { record + i, 1, NULL };

		CHECK_EQ("an octet is taken", stream_unwrap(&b.stream, &octet, &out, 2000 + i), 1);
		CHECK_EQ("and nothing given", out.len_octets, 0);
		CHECK_TRUE("nothing to wait for", b.stream.ops->deadline_us(&b.stream) == UINT64_MAX);
	}
	stream_unwrap(&b.stream, &(struct buf_view){ record + n - 1, 1, NULL }, &out, 3000);
	CHECK_EQ("whole, but not due", out.len_octets, 0);
	CHECK_EQ("due then", b.stream.ops->deadline_us(&b.stream), 3050);
	stream_unwrap(&b.stream, &none, &out, 3050);
	CHECK_OCTETS("the octets", out.ptr, out.len_octets, "QUIT\r\n", 6);
	stream_unwrap(&b.stream, &none, &out, 3051);
	CHECK_EQ("once", out.len_octets, 0);
}

static void
test_stream_holds_no_more_than_its_room(void **state)
{
	const struct stream_test_conf conf = { .record_octets = 16000, .delay_us = 1000000 };
	static struct stream_test a;
	static uint8_t octets[STREAM_HELD_MAX_OCTETS * 2];
	struct buf_view wire;
	uint32_t taken = 0, n;

	(void)state;
	stream_test_init(&a, &conf);
	do {
		const struct buf_view plain = { octets, sizeof(octets), NULL };

		n = stream_wrap(&a.stream, &plain, &wire, 0);
		taken += n;
	} while (n > 0);
	CHECK_TRUE("bounded", taken < STREAM_HELD_MAX_OCTETS && taken > STREAM_HELD_MAX_OCTETS - 100);
}

static void
test_stream_ends_by_a_close_record_only(void **state)
{
	const struct stream_test_conf conf = { .record_octets = 100 };
	const struct buf_view none = { NULL, 0, NULL };
	static struct stream_test a, b;
	struct buf_view wire, out;

	(void)state;
	stream_test_init(&a, &conf);
	stream_test_init(&b, &conf);
	a.stream.ops->shutdown(&a.stream);
	CHECK_EQ("no plain octets after it",
		stream_wrap(&a.stream, &(struct buf_view){ (const uint8_t *)"x", 1, NULL }, &wire, 0), 0);
	stream_unwrap(&b.stream, &wire, &out, 0);
	CHECK_TRUE("the end is seen", b.stream.peer_eof && !b.stream.failed);
	stream_wrap(&a.stream, &none, &wire, 0);
	CHECK_EQ("said once", wire.len_octets, 0);
}

static void
test_stream_fails_on_a_broken_record(void **state)
{
	const struct stream_test_conf conf = { .record_octets = 100 };
	static struct stream_test a, b;
	struct buf_view wire, out;
	uint8_t record[64];

	(void)state;
	stream_test_init(&a, &conf);
	stream_wrap(&a.stream, &(struct buf_view){ (const uint8_t *)"abcdef", 6, NULL }, &wire, 0);
	for (uint32_t i = 0; i < wire.len_octets; i++) {
		memcpy(record, wire.ptr, wire.len_octets);
		record[i] ^= 1;
		stream_test_init(&b, &conf);
		stream_unwrap(&b.stream, &(struct buf_view){ record, wire.len_octets, NULL }, &out, 0);
		CHECK_EQ("nothing comes of it", out.len_octets, 0);
		if (i != 1 && i != 2) /* a length that is too long only waits */
			CHECK_TRUE("it is noticed", b.stream.failed);
	}
	memcpy(record, wire.ptr, wire.len_octets);
	record[1] = 0xff;
	stream_test_init(&b, &conf);
	stream_unwrap(&b.stream, &(struct buf_view){ record, wire.len_octets, NULL }, &out, 0);
	CHECK_TRUE("a length that could never be held is noticed at once", b.stream.failed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream_identity_lends_what_it_was_lent),
		cmocka_unit_test(test_stream_carries_every_octet_in_order),
		cmocka_unit_test(test_stream_gives_nothing_of_half_a_record),
		cmocka_unit_test(test_stream_holds_no_more_than_its_room),
		cmocka_unit_test(test_stream_ends_by_a_close_record_only),
		cmocka_unit_test(test_stream_fails_on_a_broken_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
