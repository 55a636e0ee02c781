/*
 * test_csum.c - the Internet checksum over whole and cut input.
 */
#include "tests/check.h"

#include "dataplane/net/csum.h"

/* RFC 1071 section 3: the sum of these is ddf2. */
static void
test_csum_follows_the_example_of_the_rfc(void **state)
{
	static const uint8_t data[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };

	(void)state;
	CHECK_EQ("of eight octets", csum_of(data, sizeof(data)), (uint16_t)~0xddf2);
	CHECK_EQ("of nothing", csum_of(data, 0), 0xffff);
	CHECK_EQ("of one octet", csum_of(data + 2, 1), (uint16_t)~0xf200);
}

/* Sums 16 bits at a time as the RFC says it, the slow way. */
static uint16_t
plain_sum(const uint8_t *p, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i++) {
		sum += (i & 1) != 0 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)~sum;
}

static void
test_csum_of_pieces_equals_that_of_the_whole(void **state)
{
	uint8_t data[173];
	uint32_t x = 1;

	(void)state;
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
	memset(data + 64, 0xff, 40); /* carries */
	for (uint32_t len = 0; len <= sizeof(data); len++)
		CHECK_EQ("whole", csum_of(data, len), plain_sum(data, len));
	for (uint32_t a = 0; a <= sizeof(data); a++) {
		for (uint32_t b = a; b <= sizeof(data); b += 3) {
			const struct buf_view views[3] = { { .ptr = data, .len_octets = a },
				{ .ptr = data + a, .len_octets = b - a },
				{ .ptr = data + b, .len_octets = (uint32_t)sizeof(data) - b } };
			struct csum c = csum_start();

			csum_add_views(&c, views, 3);
			CHECK_EQ("three pieces", csum_finish(&c), plain_sum(data, sizeof(data)));
		}
	}
}

static void
test_csum_of_pseudo_headers(void **state)
{
	struct ip_addr a4, b4, a6, b6;
	const uint8_t pseudo4[] = { 192, 0, 2, 1, 198, 51, 100, 7, 0, 6, 0, 20 };
	uint8_t pseudo6[40] = { 0 };
	struct csum c;

	(void)state;
	ip_addr_parse("192.0.2.1", &a4);
	ip_addr_parse("198.51.100.7", &b4);
	ip_addr_parse("2001:db8::1", &a6);
	ip_addr_parse("2001:db8:ffff::2", &b6);
	c = csum_start();
	csum_add_pseudo(&c, &a4, &b4, CSUM_PROTO_TCP, 20);
	CHECK_EQ("IPv4", csum_finish(&c), plain_sum(pseudo4, sizeof(pseudo4)));
	memcpy(pseudo6, a6.octet, 16);
	memcpy(pseudo6 + 16, b6.octet, 16);
	pseudo6[33] = 1; /* 65556 octets */
	pseudo6[35] = 20;
	pseudo6[39] = 58;
	c = csum_start();
	csum_add_pseudo(&c, &a6, &b6, CSUM_PROTO_ICMPV6, 65556);
	CHECK_EQ("IPv6 with a length above 16 bits", csum_finish(&c), plain_sum(pseudo6, sizeof(pseudo6)));
}

/* One changed bit always changes the sum. */
static void
test_csum_is_good_notices_every_changed_bit(void **state)
{
	uint8_t tcp[24] = { 0xc0, 0x00, 0x00, 0x19, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5,
		0xb4 };
	struct ip_addr src, dst;
	struct csum c = csum_start();
	uint16_t sum;

	(void)state;
	ip_addr_parse("192.0.2.1", &src);
	ip_addr_parse("198.51.100.7", &dst);
	csum_add_pseudo(&c, &src, &dst, CSUM_PROTO_TCP, sizeof(tcp));
	csum_add(&c, tcp, sizeof(tcp));
	sum = csum_finish(&c);
	tcp[16] = (uint8_t)(sum >> 8);
	tcp[17] = (uint8_t)sum;
	CHECK_TRUE("as sent", csum_is_good(&src, &dst, CSUM_PROTO_TCP, tcp, sizeof(tcp)));
	CHECK_TRUE("addresses swapped sum alike", csum_is_good(&dst, &src, CSUM_PROTO_TCP, tcp, sizeof(tcp)));
	for (uint32_t bit = 0; bit < sizeof(tcp) * 8; bit++) {
		tcp[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CHECK_TRUE("one bit changed", !csum_is_good(&src, &dst, CSUM_PROTO_TCP, tcp, sizeof(tcp)));
		tcp[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CHECK_TRUE("another protocol", !csum_is_good(&src, &dst, CSUM_PROTO_ICMP, tcp, sizeof(tcp)));
}

/* One segment of header, constant and view of a buffer, as csum_set_tcp() sums it, next to the sum of the same octets in one piece. */
static void
check_known(const char *label, const struct buf_pool *pool, const struct buf_view *v, uint32_t odd_octets)
{
	static const uint8_t before[] = { 0x80, 0xff, 0x7f };
	const struct buf_view views[2] = { { before, odd_octets, NULL }, *v };
	const uint32_t octets = odd_octets + v->len_octets;
	uint8_t whole[20 + sizeof(before) + BUF_ROOM_MAX_OCTETS] = { 0, 25, 0x12, 0x34, 0xab };
	struct ip_addr src, dst;

	ip_addr_parse("192.0.2.1", &src);
	ip_addr_parse("198.51.100.7", &dst);
	csum_set_tcp(whole, 20, csum_pseudo(&src, &dst, CSUM_PROTO_TCP, 20 + octets, true), pool, views, 2);
	memcpy(whole + 20, before, odd_octets);
	memcpy(whole + 20 + odd_octets, v->ptr, v->len_octets);
	CHECK_TRUE(label, csum_is_good(&src, &dst, CSUM_PROTO_TCP, whole, 20 + octets));
}

/* A segment that came in and goes out again, whole and in every part, at even and odd places on both sides. */
static void
test_csum_of_what_is_known_is_that_of_its_octets(void **state)
{
	static const uint32_t payloads[] = { 61, 64, 259 };
	struct buf_pool *pool = buf_malloc_create(1);
	struct ip_addr src, dst;
	uint32_t x = 7;

	(void)state;
	ip_addr_parse("2001:db8::1", &src);
	ip_addr_parse("2001:db8:ffff::2", &dst);
	for (uint32_t fill = 0; fill < 3; fill++) /* random, all ones, all zero: the two forms of zero */
		for (uint32_t k = 0; k < 2 * ARRAY_LEN(payloads); k++) {
			const uint32_t octets = payloads[k / 2],
				       at = k % 2; /* in memory at an even place, at an odd one */
			struct buf_view in = { .len_octets = 20 + octets };
			uint8_t *data;

			in.buf = buf_alloc(pool, 512, &data);
			in.ptr = data + at;
			for (uint32_t i = 0; i < in.len_octets; i++)
				data[at + i] = fill == 1 && i >= 20   ? 0xff
				               : fill == 2 && i >= 20 ? 0
				                                      : (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
			CHECK_TRUE(
				"wrong, as it stands", !csum_is_good_tcp(&src, &dst, &in, 20, buf_sum(pool, in.buf)));
			csum_set_tcp(data + at, 20, csum_pseudo(&src, &dst, CSUM_PROTO_TCP, 20 + octets, false), NULL,
				&(struct buf_view){ .ptr = data + at + 20, .len_octets = octets }, 1);
			CHECK_TRUE("as sent", csum_is_good_tcp(&src, &dst, &in, 20, buf_sum(pool, in.buf)));
			CHECK_EQ("the payload is known", buf_sum(pool, in.buf)->len_octets, octets);
			for (uint32_t from = 0; from <= octets; from++)
				for (uint32_t len = 0; len <= octets - from; len += 1 + len / 64)
					for (uint32_t odd = 0; odd < 4; odd++)
						check_known("a part", pool,
							&(struct buf_view){ in.ptr + 20 + from, len, in.buf }, odd);
			check_known("more than is known, in front", pool,
				&(struct buf_view){ in.ptr + 19, octets + 1, in.buf }, 1);
			check_known("and behind", pool, &(struct buf_view){ in.ptr + 21, octets + 1, in.buf }, 1);
			check_known(
				"half in, in front", pool, &(struct buf_view){ in.ptr + 15, octets - 2, in.buf }, 2);
			check_known("and behind", pool, &(struct buf_view){ in.ptr + 30, octets - 5, in.buf }, 3);
			buf_unref(pool, in.buf);
		}
	buf_malloc_destroy(pool);
}

/* A buffer that comes from the pool again knows nothing of its last life. */
static void
test_csum_of_a_buffer_is_forgotten_with_it(void **state)
{
	struct buf_pool *pool = buf_malloc_create(1);
	uint8_t *data;
	struct buf *buf = buf_alloc(pool, 512, &data);

	(void)state;
	*buf_sum(pool, buf) = (struct buf_sum){ .at = (uint32_t)(uintptr_t)data, .len_octets = 300, .sum = 1 };
	buf_unref(pool, buf);
	buf = buf_alloc(pool, 512, &data);
	CHECK_EQ("nothing is known", buf_sum(pool, buf)->len_octets, 0);
	buf_unref(pool, buf);
	buf_malloc_destroy(pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_csum_follows_the_example_of_the_rfc),
		cmocka_unit_test(test_csum_of_pieces_equals_that_of_the_whole),
		cmocka_unit_test(test_csum_of_pseudo_headers),
		cmocka_unit_test(test_csum_is_good_notices_every_changed_bit),
		cmocka_unit_test(test_csum_of_what_is_known_is_that_of_its_octets),
		cmocka_unit_test(test_csum_of_a_buffer_is_forgotten_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
