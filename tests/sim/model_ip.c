/*
 * model_ip.c - Ethernet, IPv4 and IPv6, ARP and neighbour solicitations of a model.
 */
#include "tests/sim/model_impl.h"

#include <string.h>

/* RFC 1071, octet by octet. */
uint32_t
model_sum_of(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++) {
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

bool
model_is_v4(const uint8_t *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a, mapped, 12) == 0;
}

uint32_t
model_pseudo_sum(const uint8_t *a, const uint8_t *b, uint32_t proto, uint32_t octets)
{
	const size_t skip = model_is_v4(a) ? 12 : 0;
	uint32_t sum = model_sum_of(a + skip, 16 - skip, 0);

	sum = model_sum_of(b + skip, 16 - skip, sum) + proto + octets;
	return (sum & 0xffff) + (sum >> 16);
}

/* Room for the text of a packet in out; out + 14 + head is where it goes. Returns head. */
uint32_t
model_packet_head(struct model_host *h, uint8_t *out, const uint8_t *from, const uint8_t *to, uint32_t proto,
	uint32_t octets, uint32_t hops)
{
	uint8_t *ip = out + 14;

	memcpy(out, h->gateway_mac, 6);
	memcpy(out + 6, h->mac, 6);
	if (model_is_v4(from)) {
		set16(out + 12, 0x0800);
		memset(ip, 0, 20);
		ip[0] = 0x45;
		set16(ip + 2, 20 + octets);
		set16(ip + 4, model_draw(h, 65536));
		ip[6] = 0x40;
		ip[8] = (uint8_t)hops;
		ip[9] = (uint8_t)proto;
		memcpy(ip + 12, from + 12, 4);
		memcpy(ip + 16, to + 12, 4);
		set16(ip + 10, ~model_sum_of(ip, 20, 0) & 0xffff);
		return 20;
	}
	set16(out + 12, 0x86dd);
	memset(ip, 0, 8);
	ip[0] = 0x60;
	set16(ip + 4, octets);
	ip[6] = (uint8_t)proto;
	ip[7] = (uint8_t)hops;
	memcpy(ip + 8, from, 16);
	memcpy(ip + 24, to, 16);
	return 40;
}

void
model_put_on_wire(struct model_host *h, const uint8_t *frame, uint32_t octets)
{
	if (h->down)
		return;
	h->frames_out++;
	sim_tap_tx(h->sim, h->tap.port, frame, octets);
}

static void
on_arp(struct model_host *h, const uint8_t *f, uint32_t octets)
{
	uint8_t reply[60] = { 0 };

	if (octets < 42 || get16(f + 20) != 1 || memcmp(f + 38, h->ip4 + 12, 4) != 0)
		return;
	memcpy(reply, f + 22, 6);
	memcpy(reply + 6, h->mac, 6);
	memcpy(reply + 12, f + 12, 8); /* types and lengths */
	set16(reply + 20, 2);
	memcpy(reply + 22, h->mac, 6);
	memcpy(reply + 28, h->ip4 + 12, 4);
	memcpy(reply + 32, f + 22, 10);
	model_put_on_wire(h, reply, sizeof(reply));
}

/* A neighbour solicitation for us. */
static void
on_icmp6(struct model_host *h, const uint8_t *from, const uint8_t *p, uint32_t octets)
{
	uint8_t out[14 + 40 + 32] = { 0 };
	uint8_t *na = out + 54;

	if (octets < 24 || p[0] != 135 || memcmp(p + 8, h->ip6, 16) != 0)
		return;
	model_packet_head(h, out, h->ip6, from, 58, 32, 255);
	na[0] = 136;
	na[4] = 0x60; /* solicited, override */
	memcpy(na + 8, h->ip6, 16);
	na[24] = 2;
	na[25] = 1;
	memcpy(na + 26, h->mac, 6);
	set16(na + 2, ~model_sum_of(na, 32, model_pseudo_sum(h->ip6, from, 58, 32)) & 0xffff);
	model_put_on_wire(h, out, sizeof(out));
}

void
model_rx(void *arg, const uint8_t *f, uint32_t octets)
{
	struct model_host *h = arg;
	uint8_t from[16] = { [10] = 0xff, [11] = 0xff }, to[16] = { [10] = 0xff, [11] = 0xff };
	const uint8_t *ip = f + 14;

	h->now_us = sim_now_us(h->sim);
	if (h->down || octets < 34 || (memcmp(f, h->mac, 6) != 0 && (f[0] & 1) == 0))
		return;
	h->frames_in++;
	if (get16(f + 12) == 0x0806) {
		on_arp(h, f, octets);
	} else if (get16(f + 12) == 0x0800) {
		const uint32_t head = (ip[0] & 15) * 4u, len = get16(ip + 2);

		memcpy(from + 12, ip + 12, 4);
		memcpy(to + 12, ip + 16, 4);
		if (head < 20 || len < head || 14 + len > octets || model_sum_of(ip, head, 0) != 0xffff ||
			memcmp(to, h->ip4, 16) != 0)
			return;
		if (ip[9] == 6)
			model_on_tcp(h, from, to, ip + head, len - head);
	} else if (get16(f + 12) == 0x86dd && octets >= 54) {
		const uint32_t len = get16(ip + 4);

		if (54 + len > octets)
			return;
		if (ip[6] == 58)
			on_icmp6(h, ip + 8, ip + 40, len);
		else if (ip[6] == 6 && memcmp(ip + 24, h->ip6, 16) == 0)
			model_on_tcp(h, ip + 8, ip + 24, ip + 40, len);
	}
}
