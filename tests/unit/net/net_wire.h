/*
 * net_wire.h - helpers of the net tests: frames in which a test names only what matters, and a net to feed them to.
 *
 * The headers are written here octet by octet and not by the builders under test.
 */
#ifndef GREYLINE_TESTS_NET_WIRE_H
#define GREYLINE_TESTS_NET_WIRE_H

#include <stdlib.h>

#include "tests/check.h"

#include "dataplane/base/octets.h"
#include "dataplane/net/csum.h"
#include "dataplane/net/net.h"

static const uint8_t our_mac[6] = { 0x02, 0, 0, 0, 0, 0x01 };
static const uint8_t our_mac1[6] = { 0x02, 0, 0, 0, 0, 0x02 };
static const uint8_t peer_mac[6] = { 0x02, 0, 0, 0, 0, 0x99 };
static const uint8_t gw_mac[6] = { 0x02, 0, 0, 0, 0, 0xfe };
static const uint8_t all_mac[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static inline struct ip_addr
addr_of(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

struct wire {
	uint8_t octet[4096];
	uint32_t len;
};

static inline void
wire_eth(struct wire *w, const uint8_t *dst, const uint8_t *src, uint16_t type)
{
	memcpy(w->octet, dst, 6);
	memcpy(w->octet + 6, src, 6);
	put_u16(w->octet + 12, type);
	w->len = 14;
}

static inline void
wire_put(struct wire *w, const void *data, uint32_t len)
{
	memcpy(w->octet + w->len, data, len);
	w->len += len;
}

/* frag: the 16 bits of flags and offset. */
static inline void
wire_ip4(struct wire *w, const char *src, const char *dst, uint8_t proto, uint16_t id, uint16_t frag,
	const void *payload, uint32_t len)
{
	const struct ip_addr s = addr_of(src), d = addr_of(dst);
	uint8_t *h = w->octet + w->len;

	memset(h, 0, 20);
	h[0] = 0x45;
	put_u16(h + 2, (uint16_t)(20 + len));
	put_u16(h + 4, id);
	put_u16(h + 6, frag);
	h[8] = 61;
	h[9] = proto;
	memcpy(h + 12, s.octet + 12, 4);
	memcpy(h + 16, d.octet + 12, 4);
	put_u16(h + 10, csum_of(h, 20));
	w->len += 20;
	wire_put(w, payload, len);
}

static inline void
wire_ip6(
	struct wire *w, const char *src, const char *dst, uint8_t next, uint8_t hops, const void *payload, uint32_t len)
{
	const struct ip_addr s = addr_of(src), d = addr_of(dst);
	uint8_t *h = w->octet + w->len;

	memset(h, 0, 40);
	h[0] = 0x60;
	put_u16(h + 4, (uint16_t)len);
	h[6] = next;
	h[7] = hops;
	memcpy(h + 8, s.octet, 16);
	memcpy(h + 24, d.octet, 16);
	w->len += 40;
	wire_put(w, payload, len);
}

/* A TCP segment of 20 octets and payload with a right checksum. Returns its length. */
static inline uint32_t
wire_tcp(uint8_t *t, const char *src, uint16_t src_port, const char *dst, uint16_t dst_port, const void *payload,
	uint32_t len)
{
	const struct ip_addr s = addr_of(src), d = addr_of(dst);
	struct csum c = csum_start();

	memset(t, 0, 20);
	put_u16(t, src_port);
	put_u16(t + 2, dst_port);
	put_u32(t + 4, 0x01020304);
	t[12] = 0x50;
	t[13] = 0x10;
	memcpy(t + 20, payload, len);
	csum_add_pseudo(&c, &s, &d, 6, 20 + len);
	csum_add(&c, t, 20 + len);
	put_u16(t + 16, csum_finish(&c));
	return 20 + len;
}

/* Sets the checksum of an ICMP message (src NULL: IPv4, no pseudo header). */
static inline void
wire_icmp_sum(uint8_t *m, uint32_t len, const char *src, const char *dst)
{
	struct csum c = csum_start();

	put_u16(m + 2, 0);
	if (src != NULL) {
		const struct ip_addr s = addr_of(src), d = addr_of(dst);

		csum_add_pseudo(&c, &s, &d, 58, len);
	}
	csum_add(&c, m, len);
	put_u16(m + 2, csum_finish(&c));
}

/* ---- a net ---- */

struct rig {
	struct buf_pool *pool;
	struct counters counters;
	struct flow_steering steering;
	struct net *net;
	struct net_out out;
};

#define US(seconds) ((uint64_t)((seconds)*1000000.0))

static inline void
rig_up(struct rig *r, uint32_t worker, uint32_t n_workers)
{
	static const uint8_t key[FLOW_KEY_OCTETS] = { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25,
		0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
		0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa };
	struct net_conf conf = { .n_ports = 2, .worker = worker };

	memset(r, 0, sizeof(*r));
	r->pool = buf_malloc_create(4096);
	flow_steering_init(&r->steering, key, n_workers);
	conf.steering = &r->steering;
	conf.port[0] = (struct conf_port){ .name = "wan",
		.mtu = 1500,
		.n_addrs = 3,
		.gateway4 = addr_of("198.18.0.1"),
		.gateway6 = addr_of("2001:db8:0:1::1"),
		.addr = { { .addr = addr_of("198.18.0.2"), .prefix_bits = 120 },
			{ .addr = addr_of("2001:db8:0:1::2"), .prefix_bits = 64 },
			{ .addr = addr_of("198.18.0.3"), .prefix_bits = 128 } } };
	conf.port[1] = (struct conf_port){ .name = "lan",
		.mtu = 1500,
		.n_addrs = 2,
		.addr = { { .addr = addr_of("198.18.1.2"), .prefix_bits = 120 },
			{ .addr = addr_of("2001:db8:0:2::2"), .prefix_bits = 64 } } };
	memcpy(conf.port[0].mac, our_mac, 6);
	memcpy(conf.port[1].mac, our_mac1, 6);
	r->net = net_create(&conf, r->pool, &r->counters, 42, 0);
	assert_non_null(r->net);
}

/* Ends the net; every buffer must be back (buf_malloc_destroy() aborts otherwise). */
static inline void
rig_down(struct rig *r)
{
	net_destroy(r->net);
	buf_malloc_destroy(r->pool);
}

/* Feeds a frame in a buffer of the pool, as a port does; its reference is dropped afterwards. */
static inline enum net_result
rig_feed(struct rig *r, const struct wire *w, uint8_t port_index, bool redirected, uint64_t now_us)
{
	struct net_frame f = { .port_index = port_index, .redirected = redirected };
	enum net_result result;
	uint8_t *data;

	f.view.buf = buf_alloc(r->pool, w->len, &data); /* exact size: the sanitizer sees its end */
	assert_non_null(f.view.buf);
	memcpy(data, w->octet, w->len);
	f.view.ptr = data;
	f.view.len_octets = w->len;
	result = net_input(r->net, &f, &r->out, now_us);
	r->out.seg.tcp.ptr = NULL; /* borrowed: gone with the frame; tests of its contents feed by themselves */
	buf_unref(r->pool, f.view.buf);
	return result;
}

/* The next frame of net_output() as octets; false when there is none. Drops its references. */
static inline bool
rig_next(struct rig *r, struct wire *w, uint64_t now_us)
{
	struct frame f;

	if (net_output(r->net, &f, 1, now_us) == 0)
		return false;
	w->len = 0;
	wire_put(w, f.hdr, f.hdr_len_octets);
	for (uint32_t i = 0; i < f.n_views; i++) {
		wire_put(w, f.view[i].ptr, f.view[i].len_octets);
		buf_unref(r->pool, f.view[i].buf);
	}
	return true;
}

static inline uint64_t
rig_count(const struct rig *r, enum counter which)
{
	return counter_read(&r->counters, which);
}

#endif
