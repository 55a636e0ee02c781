/*
 * fuzz_net_input.c - frames of any octets into the network layer of one of two workers.
 *
 * Input:  a list of (flags, length in 2 octets, frame). Flags: 1 the second port, 2 redirected, 4 set IPv4 and ICMP checksums right,
 *         8 a second passes, 16 send a segment back to where the last one came from, 32 the port has a VLAN (32 and 1: a driver took the tag
 *         off, and told it in the frame's first two octets).
 * Holds:  what a port with a VLAN takes is one tag shorter and of that VLAN; what is sent with a tag comes back without it; a segment given lies in its frame or in the reassembled buffer; answers fit the MTU; every buffer is back at the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/octets.h"
#include "dataplane/net/csum.h"
#include "dataplane/net/net.h"
#include "dataplane/net/vlan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLAG_PORT = 1, FLAG_REDIRECTED = 2, FLAG_CHECKSUMS = 4, FLAG_TIME = 8, FLAG_SEND = 16, FLAG_VLAN = 32 };

#define FRAMES_MAX       64
#define FRAME_MAX_OCTETS 2000
#define FUZZ_VLAN        7

static const uint8_t mac[2][6] = { { 2, 0, 0, 0, 0, 1 }, { 2, 0, 0, 0, 0, 2 } };

static struct ip_addr
addr_of(const char *text)
{
	struct ip_addr a;

	BUG_ON(ip_addr_parse(text, &a) != 0);
	return a;
}

static struct net *
make_net(struct flow_steering *steering, struct buf_pool *pool, struct counters *counters)
{
	static const uint8_t key[FLOW_KEY_OCTETS] = { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67 };
	struct net_conf conf = { .n_ports = 2, .worker = 0, .steering = steering };

	if (steering->n_workers == 0)
		flow_steering_init(steering, key, 2);
	for (uint32_t i = 0; i < 2; i++) {
		struct conf_port *p = &conf.port[i];

		p->mtu = 1500;
		p->n_addrs = 2;
		p->addr[0] = (struct conf_port_addr){ .addr = addr_of(i == 0 ? "198.18.0.2" : "198.18.1.2"),
			.prefix_bits = 120 };
		p->addr[1] = (struct conf_port_addr){ .addr = addr_of(i == 0 ? "2001:db8:0:1::2" : "2001:db8:0:2::2"),
			.prefix_bits = 64 };
		memcpy(p->mac, mac[i], 6);
	}
	conf.port[0].gateway4 = addr_of("198.18.0.1");
	conf.port[0].gateway6 = addr_of("2001:db8:0:1::1");
	return net_create(&conf, pool, counters, 1, 0);
}

/* Most of what a fuzzer finds would end at a checksum. */
static void
set_checksums(uint8_t *p, uint32_t len)
{
	memcpy(p, mac[0], len >= 6 ? 6 : 0);
	if (len >= 34 && p[12] == 0x08 && p[13] == 0x00) {
		const uint32_t header = (p[14] & 15u) * 4, total = (uint32_t)p[16] << 8 | p[17];

		if (header < 20 || 14 + header > len)
			return;
		put_u16(p + 24, 0);
		put_u16(p + 24, csum_of(p + 14, header));
		if (p[23] == 1 && total >= header + 8 && 14 + total <= len) {
			put_u16(p + 14 + header + 2, 0);
			put_u16(p + 14 + header + 2, csum_of(p + 14 + header, total - header));
		}
	}
	if (len >= 62 && p[12] == 0x86 && p[13] == 0xdd && p[20] == 58) {
		const uint32_t octets = (uint32_t)p[18] << 8 | p[19];
		struct csum c = csum_start();
		struct ip_addr src, dst;

		if (octets < 8 || 54 + octets > len)
			return;
		memcpy(src.octet, p + 22, 16);
		memcpy(dst.octet, p + 38, 16);
		put_u16(p + 56, 0);
		csum_add_pseudo(&c, &src, &dst, 58, octets);
		csum_add(&c, p + 54, octets);
		put_u16(p + 56, csum_finish(&c));
	}
}

/* The header as a port with a VLAN sends it, and as one with the same VLAN takes it. */
static void
check_tag(const struct frame *f)
{
	uint8_t out[FRAME_HEADER_MAX_OCTETS + VLAN_TAG_OCTETS];
	struct vlan_frame back = { .octet = out, .octets = vlan_tag(out, f->hdr, f->hdr_len_octets, FUZZ_VLAN) };

	BUG_ON(back.octets != (uint32_t)f->hdr_len_octets + VLAN_TAG_OCTETS);
	BUG_ON(vlan_untag(&back, FUZZ_VLAN) != VLAN_OURS || back.octets != f->hdr_len_octets ||
		memcmp(back.octet, f->hdr, back.octets) != 0);
}

/* As the port does with a frame of len octets at *data: false where it drops it. */
static bool
untag(uint8_t **data, uint32_t *len, bool taken_off, struct counters *counters)
{
	const uint32_t before = *len;
	struct vlan_frame f = { .octet = *data, .octets = before, .taken_off = taken_off };
	uint16_t tci;
	enum vlan_result result;

	if (taken_off && before < 2)
		return false;
	f.tci = taken_off ? get_u16(f.octet) : 0;
	tci = !taken_off && before >= 16 ? get_u16(f.octet + 14) : f.tci;
	result = vlan_untag(&f, FUZZ_VLAN);
	vlan_count_drop(counters, result);
	BUG_ON(f.octets != (result == VLAN_OURS && !taken_off ? before - (uint32_t)VLAN_TAG_OCTETS : before) ||
		f.octet != *data + (before - f.octets));
	BUG_ON(result == VLAN_OURS && (tci & VLAN_VID_MASK) != FUZZ_VLAN);
	*data = f.octet;
	*len = f.octets;
	return result == VLAN_OURS;
}

static void
drain(struct net *net, struct buf_pool *pool, uint64_t now_us)
{
	struct net_neighbour news;
	struct frame f;

	for (uint32_t n = 0; net_output(net, &f, 1, now_us) == 1; n++) {
		uint32_t octets = f.hdr_len_octets;

		BUG_ON(n > 1000 || f.port_index > 1 || f.hdr_len_octets > FRAME_HEADER_MAX_OCTETS ||
			f.n_views > FRAME_VIEWS_MAX);
		for (uint32_t i = 0; i < f.n_views; i++) {
			octets += f.view[i].len_octets;
			buf_unref(pool, f.view[i].buf);
		}
		BUG_ON(octets > 1514);
		check_tag(&f);
	}
	while (net_neighbour_news(net, &news))
		BUG_ON(news.port_index > 1);
}

static void
check_segment(const struct net_out *out, const struct net_frame *frame)
{
	const struct buf_view *tcp = &out->seg.tcp;

	BUG_ON(tcp->len_octets < 20);
	if (out->reassembled != NULL)
		BUG_ON(tcp->buf != out->reassembled);
	else
		BUG_ON(tcp->ptr < frame->view.ptr ||
			tcp->ptr + tcp->len_octets > frame->view.ptr + frame->view.len_octets);
}

static void
feed(struct net *net, struct buf_pool *pool, const uint8_t *octets, uint32_t len, uint8_t flags, uint64_t now_us)
{
	struct net_frame frame = { .port_index = flags & FLAG_PORT, .redirected = (flags & FLAG_REDIRECTED) != 0 };
	struct frame reply = { .n_views = 1, .view = { { .ptr = (const uint8_t *)"abc", .len_octets = 3 } } };
	static struct counters dropped;
	struct net_out out;
	uint8_t *data;
	int rc;

	frame.view.buf = buf_alloc(pool, len, &data);
	if (frame.view.buf == NULL)
		return;
	memcpy(data, octets, len);
	if ((flags & FLAG_VLAN) && !untag(&data, &len, (flags & FLAG_PORT) != 0, &dropped)) {
		buf_unref(pool, frame.view.buf);
		return;
	}
	if (flags & FLAG_CHECKSUMS)
		set_checksums(data, len);
	frame.view.ptr = data;
	frame.view.len_octets = len;
	switch (net_input(net, &frame, &out, now_us)) {
	case NET_NONE:
		break;
	case NET_SEGMENT:
		check_segment(&out, &frame);
		if (flags & FLAG_SEND) {
			rc = net_wrap(net, &reply, &out.seg.flow, 20, NULL, now_us);
			BUG_ON(rc != 0 && rc != -EAGAIN && rc != -ENETUNREACH);
		}
		break;
	case NET_ICMP_ERROR:
		BUG_ON(!net_is_local(net, &out.error.flow.local));
		break;
	case NET_REDIRECT:
		BUG_ON(out.owner != 1 || (frame.redirected && out.whole.buf == NULL));
		buf_unref(pool, out.whole.buf);
		break;
	}
	buf_unref(pool, out.reassembled);
	buf_unref(pool, frame.view.buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct flow_steering steering;
	static struct counters counters;
	struct buf_pool *pool = buf_malloc_create(256);
	struct net *net = make_net(&steering, pool, &counters);
	struct octets o = octets_of(data, (uint32_t)(size > UINT32_MAX ? 0 : size));
	uint64_t now_us = 1;

	BUG_ON(net == NULL);
	for (uint32_t i = 0; i < FRAMES_MAX && o.len_octets > 3; i++) {
		const uint8_t flags = octets_u8(&o);
		const uint32_t asked = octets_u16(&o) % FRAME_MAX_OCTETS, len = MIN(asked, o.len_octets);

		if (flags & FLAG_TIME)
			now_us += 1000000;
		feed(net, pool, octets_take(&o, len), len, flags, now_us);
		drain(net, pool, now_us);
	}
	drain(net, pool, now_us + UINT64_C(100000000));
	net_destroy(net);
	buf_malloc_destroy(pool);
	return 0;
}
