/*
 * test_tcp_views.c - octets in order are read where they came in, for as long as a turn lasts (PITFALLS 5).
 */
#include <string.h>

#include "tests/check.h"
#include "tests/helpers/tcp_peer.h"

static const struct peer_options usual = { .mss = 1460 };

static void
test_text_is_read_where_it_came_in_and_copied_where_it_stays(void **state)
{
	struct peer p;
	struct buf_view v, w;
	uint32_t in_use;

	(void)state;
	peer_establish(&p, &usual, NULL);
	in_use = buf_malloc_in_use(p.e.pool);
	SAY(&p, .text = "hello");
	CHECK_EQ("one view", tcp_peek(p.c, &v, 1), 1);
	CHECK_EQ("of all of it", v.len_octets, 5);
	CHECK_TRUE("no piece", p.c->rcv_queue.head == NULL);
	tcp_consume(p.c, 2);
	tcp_peek(p.c, &w, 1);
	CHECK_TRUE("the same octets", w.ptr == v.ptr + 2 && w.len_octets == 3);
	SAY(&p, .text = " world");
	CHECK_EQ("what comes behind it is queued", tcp_peek(p.c, &v, 1), 1);
	CHECK_TRUE("and it is not moved", v.ptr == w.ptr);
	peer_hear_all(&p, NULL); /* the turn ends */
	CHECK_EQ("copied, to where the rest is", buf_malloc_in_use(p.e.pool), in_use + 1);
	tcp_peek(p.c, &v, 1);
	CHECK_TRUE("in order", v.ptr != w.ptr && v.len_octets == 3 && memcmp(v.ptr, "llo", 3) == 0);
	tcp_consume(p.c, 3);
	tcp_peek(p.c, &v, 1);
	CHECK_TRUE("to the last", v.len_octets == 6 && memcmp(v.ptr, " world", 6) == 0);
	tcp_consume(p.c, 6);
	CHECK_EQ("no more", tcp_peek(p.c, &v, 1), 0);
	CHECK_EQ("buffers", buf_malloc_in_use(p.e.pool), in_use);
	peer_fini(&p);
}

static void
test_what_is_read_within_its_turn_needs_no_memory(void **state)
{
	struct peer p;
	uint32_t in_use;

	(void)state;
	peer_establish(&p, &usual, NULL);
	in_use = buf_malloc_in_use(p.e.pool);
	buf_malloc_fail_at(p.e.pool, 2); /* the first is the segment's own */
	SAY(&p, .text = "hello");
	tcp_consume(p.c, 5);
	CHECK_EQ("given back at once", buf_malloc_in_use(p.e.pool), in_use);
	peer_hear_all(&p, NULL);
	buf_malloc_fail_at(p.e.pool, 0);
	CHECK_EQ("nothing was wanted", tcp_end_count(&p.e, CTR_tcp_no_buffer), 0);
	peer_fini(&p);
}

static void
test_text_left_unread_without_memory_stays_until_there_is_some(void **state)
{
	struct peer p;
	struct buf_view v, w;

	(void)state;
	peer_establish(&p, &usual, NULL);
	SAY(&p, .text = "stays");
	tcp_peek(p.c, &v, 1);
	buf_malloc_fail_at(p.e.pool, 1);
	peer_hear(&p);
	tcp_peek(p.c, &w, 1);
	CHECK_TRUE("not moved", w.ptr == v.ptr);
	peer_hear(&p);
	tcp_peek(p.c, &w, 1);
	CHECK_TRUE("moved", w.ptr != v.ptr && w.len_octets == 5 && memcmp(w.ptr, "stays", 5) == 0);
	peer_fini(&p);
}

/* A large one is not copied, but its piece has the buffer. */
static void
test_a_large_view_keeps_its_buffer(void **state)
{
	struct peer p;
	struct buf_view v, w;

	(void)state;
	peer_establish(&p, &usual, NULL);
	SAY(&p, .len = 1400);
	tcp_peek(p.c, &v, 1);
	peer_hear_all(&p, NULL);
	tcp_peek(p.c, &w, 1);
	CHECK_TRUE("queued", p.c->rcv_queue.head != NULL && w.ptr == v.ptr && w.buf == v.buf);
	peer_fini(&p);
}

/* More connections than views: the others' text is queued at once. */
static void
test_views_are_bounded(void **state)
{
	struct peer p;

	(void)state;
	peer_establish(&p, &usual, NULL);
	for (uint32_t i = 0; i < TCP_VIEWS_MAX; i++) {
		SAY(&p, .len = 10);
		CHECK_TRUE("a view", p.c->rcv_view.len_octets == 10);
		tcp_consume(p.c, 10);
	}
	SAY(&p, .len = 10);
	CHECK_TRUE("queued", p.c->rcv_view.len_octets == 0 && p.c->rcv_queue.head != NULL);
	tcp_consume(p.c, 10);
	peer_hear_all(&p, NULL);
	SAY(&p, .len = 10);
	CHECK_TRUE("in the next turn again", p.c->rcv_view.len_octets == 10);
	peer_fini(&p);
}

/* Gone with octets unread, by either side, released or not: peer_fini() finds the buffer if it stays. */
static void
test_views_go_with_their_connection(void **state)
{
	for (uint32_t how = 0; how < 3; how++) {
		struct peer p;

		(void)state;
		peer_establish(&p, &usual, NULL);
		SAY(&p, .text = "unread");
		if (how == 0)
			SAY(&p, .flags = TCP_RST);
		else if (how == 1)
			tcp_abort(p.c);
		if (how < 2)
			CHECK_EQ("still readable", tcp_readable_octets(p.c), 6);
		peer_fini(&p);
	}
}

/* The buffer of a large text that was summed here knows its sum; of one that a device judged nothing is known, whatever its last life left. */
static void
test_a_large_text_is_known_only_where_it_was_summed(void **state)
{
	static const struct peer_options no_ts = { .mss = 1460, .no_ts = true };
	static const uint8_t text[1000] = { 1, 2, 3 };
	static struct wire_seg w;
	struct peer p;

	(void)state;
	peer_establish(&p, &no_ts, NULL);
	for (uint32_t judged = 0; judged < 2; judged++) {
		const struct tcp_hdr h = { .seq = p.snd_nxt,
			.ack = p.rcv_nxt,
			.flags = TCP_ACK,
			.wnd = p.opt.wnd,
			.wscale = TCP_WSCALE_NONE,
			.payload = text,
			.payload_octets = sizeof(text) };
		struct net_frame frame = { .view = { 0 } };
		struct net_seg seg = { .checksum_good = judged != 0 };
		struct buf *buf;
		uint8_t *data;

		wire_seg_build(&w, &p.flow, &h);
		if (judged != 0)
			w.octets[16] ^= 0xff; /* the field may hold anything then */
		buf = buf_alloc(p.e.pool, w.len_octets + 64, &data);
		memcpy(data + 64, w.octets, w.len_octets);
		*buf_sum(p.e.pool, buf) = (struct buf_sum){
			.at = (uint32_t)(uintptr_t)(data + 64 + 20), .len_octets = sizeof(text), .sum = 1
		};
		seg.flow = flow_reverse(&w.flow);
		seg.tcp = (struct buf_view){ .ptr = data + 64, .len_octets = w.len_octets, .buf = buf };
		frame.view = (struct buf_view){ .ptr = data, .len_octets = w.len_octets + 64, .buf = buf };
		tcp_input(p.e.tcp, &seg, &frame, p.e.now_us);
		CHECK_EQ("taken", tcp_readable_octets(p.c), sizeof(text));
		CHECK_EQ("octets known", buf_sum(p.e.pool, buf)->len_octets, judged != 0 ? 0 : sizeof(text));
		CHECK_TRUE("by their sum", judged != 0 || buf_sum(p.e.pool, buf)->sum == (1 | 2 << 8) + 3);
		tcp_consume(p.c, sizeof(text));
		buf_unref(p.e.pool, buf);
		p.snd_nxt += sizeof(text);
	}
	peer_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_is_read_where_it_came_in_and_copied_where_it_stays),
		cmocka_unit_test(test_what_is_read_within_its_turn_needs_no_memory),
		cmocka_unit_test(test_text_left_unread_without_memory_stays_until_there_is_some),
		cmocka_unit_test(test_a_large_view_keeps_its_buffer),
		cmocka_unit_test(test_views_are_bounded),
		cmocka_unit_test(test_a_large_text_is_known_only_where_it_was_summed),
		cmocka_unit_test(test_views_go_with_their_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
