/*
 * gen_wire.c - frames of the generator: headers written and read, ARP.
 *
 * Flow:   gen_session.c, gen_backend.c -> gen_frame_send() -> ops.send;  gen_input() -> gen_segment_parse()
 * Pure:   see gen.h.
 * Keeps:  every checksum of what comes in is verified.
 */
#include "bench/load/gen_impl.h"

static const uint8_t gen_mac[6] = { 2, 0, 0, 0, 0, 10 };

/* Writes Ethernet, IPv4 and TCP headers; options as the caller says. Payload already lies behind. */
void
gen_frame_send(struct gen *g, uint8_t *f, uint32_t src, uint32_t dst, uint32_t sport, uint32_t dport, uint32_t seq,
	uint32_t ack, uint8_t flags, uint32_t opt_octets, uint32_t payload_octets)
{
	const uint32_t tcp_octets = TCP_OCTETS + opt_octets + payload_octets;
	uint8_t *ip = f + ETH_OCTETS, *tcp = ip + IP_OCTETS;
	uint16_t sum;

	memcpy(f, g->gateway_mac, 6);
	memcpy(f + 6, gen_mac, 6);
	put16(f + 12, 0x0800);
	put16(ip, 0x4500);
	put16(ip + 2, IP_OCTETS + tcp_octets);
	put16(ip + 4, g->ip_id++);
	put16(ip + 6, 0x4000);
	put16(ip + 8, 0x4006);
	put16(ip + 10, 0);
	put32(ip + 12, src);
	put32(ip + 16, dst);
	sum = (uint16_t)~fold(sum_of(ip, IP_OCTETS, 0));
	memcpy(ip + 10, &sum, 2);
	put16(tcp, sport);
	put16(tcp + 2, dport);
	put32(tcp + 4, seq);
	put32(tcp + 8, ack);
	tcp[12] = (uint8_t)((TCP_OCTETS + opt_octets) / 4 << 4);
	tcp[13] = flags;
	put16(tcp + 14, 64240);
	put32(tcp + 16, 0);
	sum = tcp_sum(ip, tcp_octets);
	memcpy(tcp + 16, &sum, 2);
	g->ops.send(g->arg, ETH_OCTETS + IP_OCTETS + tcp_octets);
}

uint32_t
gen_put_timestamps(const struct gen *g, uint8_t *opt, uint32_t ts_recent, uint64_t now_ns)
{
	if (!g->conf.timestamps)
		return 0;
	put32(opt, 0x0101080a);
	put32(opt + 4, (uint32_t)(now_ns / 1000000) + 1);
	put32(opt + 8, ts_recent);
	return TS_OCTETS;
}

uint32_t
gen_put_syn_options(const struct gen *g, uint8_t *opt, uint64_t now_ns)
{
	put32(opt, 0x020405b4); /* MSS 1460 */
	if (!g->conf.timestamps) {
		put32(opt + 4, 0x04020103); /* SACK permitted, NOP, window scale */
		put32(opt + 8, 0x03070101);
		opt[7] = 3;
		opt[8] = 3;
		opt[9] = WINDOW_SCALE;
		return 12;
	}
	put32(opt + 4, 0x0402080a);
	put32(opt + 8, (uint32_t)(now_ns / 1000000) + 1);
	put32(opt + 12, 0);
	put32(opt + 16, 0x01030300 | WINDOW_SCALE);
	return SYN_OPT_OCTETS;
}

void
gen_arp_input(struct gen *g, const uint8_t *frame, uint32_t octets)
{
	const uint8_t *a = frame + ETH_OCTETS;
	uint8_t *f;

	if (octets < ETH_OCTETS + 28)
		return;
	g->stats.arp++;
	if (get32(a + 14) == g->conf.gateway_ip) {
		memcpy(g->gateway_mac, a + 8, 6);
		g->ready = true;
	}
	if (g->conf.beside || get16(a + 6) != 1 ||
		get32(a + 24) == g->conf.gateway_ip) /* not a request for one of ours: all but the gateway is */
		return;
	f = g->ops.room(g->arg);
	if (f == NULL)
		return;
	memset(f, 0, 60);
	memcpy(f, a + 8, 6);
	memcpy(f + 6, gen_mac, 6);
	put16(f + 12, 0x0806);
	put32(f + 14, 0x00010800);
	put32(f + 18, 0x06040002);
	memcpy(f + 22, gen_mac, 6);
	memcpy(f + 28, a + 24, 4);
	memcpy(f + 32, a + 8, 10);
	g->ops.send(g->arg, 60);
}

void
gen_hello(struct gen *g)
{
	uint8_t *f = g->ops.room(g->arg);

	if (f == NULL)
		return;
	memset(f, 0, 60);
	memset(f, 0xff, 6);
	memcpy(f + 6, gen_mac, 6);
	put16(f + 12, 0x0806);
	put32(f + 14, 0x00010800);
	put32(f + 18, 0x06040001);
	memcpy(f + 22, gen_mac, 6);
	put32(f + 28, (g->conf.gateway_ip & 0xffffff00) | 1); /* the router */
	put32(f + 38, g->conf.gateway_ip);
	g->ops.send(g->arg, 60);
}

bool
gen_segment_parse(struct gen *g, const uint8_t *frame, uint32_t octets, struct segment *out)
{
	const uint8_t *ip = frame + ETH_OCTETS, *tcp = ip + IP_OCTETS;
	uint32_t ip_octets, header;

	if (octets < ETH_OCTETS + IP_OCTETS + TCP_OCTETS || ip[0] != 0x45 || ip[9] != 6)
		return false;
	ip_octets = get16(ip + 2);
	header = (uint32_t)(tcp[12] >> 4) * 4;
	if (ip_octets > octets - ETH_OCTETS || ip_octets < IP_OCTETS + header || header < TCP_OCTETS)
		return false;
	if (fold(sum_of(ip, IP_OCTETS, 0)) != 0xffff || tcp_sum(ip, ip_octets - IP_OCTETS) != 0) {
		g->stats.bad_checksum++;
		return false;
	}
	*out = (struct segment){ .src = get32(ip + 12),
		.dst = get32(ip + 16),
		.sport = get16(tcp),
		.dport = get16(tcp + 2),
		.seq = get32(tcp + 4),
		.ack = get32(tcp + 8),
		.flags = tcp[13],
		.window = (uint16_t)get16(tcp + 14),
		.payload = tcp + header,
		.octets = ip_octets - IP_OCTETS - header };
	for (uint32_t at = TCP_OCTETS; at + 1 < header;) { /* timestamps, wherever they stand */
		if (tcp[at] == 0)
			break;
		if (tcp[at] == 1) {
			at++;
			continue;
		}
		if (tcp[at] == 8 && at + 10 <= header)
			out->ts_val = get32(tcp + at + 2);
		if (tcp[at] == 3 && at + 3 <= header)
			out->shift = tcp[at + 2] < 14 ? tcp[at + 2] : 14;
		if (tcp[at + 1] < 2)
			break;
		at += tcp[at + 1];
	}
	return true;
}
