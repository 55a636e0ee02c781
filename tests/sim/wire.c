/*
 * wire.c - see wire.h.
 */
#include "tests/sim/wire.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

static bool
chance(struct wire *wire, uint32_t per_mille)
{
	return per_mille != 0 && wire->random(wire->random_arg) % 1000 < per_mille;
}

struct wire_frame *
wire_frame_new(uint32_t port, int from, uint32_t octets)
{
	struct wire_frame *w = malloc(sizeof(*w) + octets);

	BUG_ON(w == NULL || octets > WIRE_FRAME_MAX_OCTETS);
	*w = (struct wire_frame){ .port = port, .from = from, .octets = octets };
	return w;
}

static bool
is_before(const struct wire_frame *a, const struct wire_frame *b)
{
	return a->due_us < b->due_us || (a->due_us == b->due_us && a->order < b->order);
}

void
wire_fly(struct wire *wire, struct wire_frame *w, uint64_t due_us)
{
	uint32_t i = wire->n_flying++;

	w->due_us = due_us;
	w->order = wire->order++;
	if (i == wire->room) {
		wire->room = wire->room * 2 + 256;
		wire->flying = realloc(wire->flying, wire->room * sizeof(*wire->flying));
		BUG_ON(wire->flying == NULL);
	}
	for (; i > 0 && is_before(w, wire->flying[(i - 1) / 2]); i = (i - 1) / 2)
		wire->flying[i] = wire->flying[(i - 1) / 2];
	wire->flying[i] = w;
}

/* The frame that is due first, taken off the wire. */
static struct wire_frame *
land(struct wire *wire)
{
	struct wire_frame *first = wire->flying[0], *last = wire->flying[--wire->n_flying];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < wire->n_flying) {
		child += child + 1 < wire->n_flying && is_before(wire->flying[child + 1], wire->flying[child]);
		if (!is_before(wire->flying[child], last))
			break;
		wire->flying[i] = wire->flying[child];
		i = child;
	}
	wire->flying[i] = last;
	return first;
}

struct wire_frame *
wire_land(struct wire *wire, uint64_t now_us)
{
	return wire_deadline_us(wire) <= now_us ? land(wire) : NULL;
}

uint64_t
wire_deadline_us(const struct wire *wire)
{
	return wire->n_flying > 0 ? wire->flying[0]->due_us : UINT64_MAX;
}

void
wire_fini(struct wire *wire)
{
	while (wire->n_flying > 0)
		free(land(wire));
	free(wire->flying);
}

static uint32_t
ethertype_of(const struct wire_frame *w)
{
	return w->octets >= 14 ? (uint32_t)w->data[12] << 8 | w->data[13] : 0;
}

static uint16_t
icmp_checksum(const uint8_t *p, uint32_t octets, uint32_t sum)
{
	for (uint32_t i = 0; i < octets; i++)
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The answer of a router that cannot pass w on: RFC 1191 for IPv4, RFC 4443 section 3.2 for IPv6. Its address is made up. */
static void
too_big(struct wire *wire, const struct wire_frame *w, uint64_t now_us)
{
	const bool v4 = ethertype_of(w) == 0x0800;
	const uint32_t head = v4 ? 20 : 40, quote = MIN(w->octets - 14, v4 ? 28u : 1000u), len = 8 + quote;
	struct wire_frame *r = calloc(1, sizeof(*r) + 14 + head + len);
	uint8_t *ip, *icmp;
	uint32_t pseudo = 0;
	uint16_t sum;

	BUG_ON(r == NULL);
	r->port = w->port;
	r->from = w->from >= 0 ? WIRE_FROM_GATEWAY : WIRE_FROM_TAP; /* towards who sent it */
	r->octets = 14 + head + len;
	memcpy(r->data, w->data + 6, 6);
	memcpy(r->data + 6, w->data, 6);
	memcpy(r->data + 12, w->data + 12, 2);
	ip = r->data + 14;
	icmp = ip + head;
	memcpy(icmp + 8, w->data + 14, quote);
	icmp[6] = (uint8_t)(wire->how.mtu >> 8); /* in both families its low octets stand here */
	icmp[7] = (uint8_t)wire->how.mtu;
	if (v4) {
		ip[0] = 0x45;
		ip[2] = (uint8_t)((head + len) >> 8);
		ip[3] = (uint8_t)(head + len);
		ip[8] = 64;
		ip[9] = 1;
		memcpy(ip + 12, w->data + 14 + 16, 4); /* as if the far end itself had said it */
		memcpy(ip + 16, w->data + 14 + 12, 4);
		sum = icmp_checksum(ip, 20, 0);
		ip[10] = (uint8_t)(sum >> 8);
		ip[11] = (uint8_t)sum;
		icmp[0] = 3;
		icmp[1] = 4;
	} else {
		ip[0] = 0x60;
		ip[4] = (uint8_t)(len >> 8);
		ip[5] = (uint8_t)len;
		ip[6] = 58;
		ip[7] = 64;
		memcpy(ip + 8, w->data + 14 + 24, 16);
		memcpy(ip + 24, w->data + 14 + 8, 16);
		icmp[0] = 2;
		for (uint32_t i = 8; i < 40; i += 2)
			pseudo += (uint32_t)ip[i] << 8 | ip[i + 1];
		pseudo += len + 58;
	}
	sum = icmp_checksum(icmp, len, pseudo);
	icmp[2] = (uint8_t)(sum >> 8);
	icmp[3] = (uint8_t)sum;
	wire_fly(wire, r, now_us + wire->how.delay_us);
}

/* Whether w is too large for the wire, which then has dealt with it. */
static bool
is_beyond_mtu(struct wire *wire, const struct wire_frame *w, uint64_t now_us)
{
	const uint32_t type = ethertype_of(w);

	if (wire->how.mtu == 0 || w->octets - 14 <= wire->how.mtu || (type != 0x0800 && type != 0x86dd))
		return false;
	if (!wire->how.mtu_silent)
		too_big(wire, w, now_us);
	return true;
}

void
wire_send(struct wire *wire, struct wire_frame *w, uint64_t now_us)
{
	uint64_t due = now_us + wire->how.delay_us;

	wire->frames++;
	if (chance(wire, wire->how.loss) || is_beyond_mtu(wire, w, now_us)) {
		free(w);
		return;
	}
	/* ARP has no checksum: nobody could tell */
	if (chance(wire, wire->how.corrupt) && ethertype_of(w) != 0x0806 && w->octets > 14)
		w->data[14 + wire->random(wire->random_arg) % (w->octets - 14)] ^=
			(uint8_t)(1u << wire->random(wire->random_arg) % 8);
	if (wire->how.jitter_us != 0)
		due += wire->random(wire->random_arg) % wire->how.jitter_us;
	if (chance(wire, wire->how.reorder))
		due += 2 * wire->how.delay_us + 500;
	if (chance(wire, wire->how.duplicate)) {
		struct wire_frame *again = malloc(sizeof(*again) + w->octets);

		BUG_ON(again == NULL);
		memcpy(again, w, sizeof(*again) + w->octets);
		wire_fly(wire, again, due + 50);
	}
	wire_fly(wire, w, due);
}
