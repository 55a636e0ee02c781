/*
 * vlan.h - the 802.1Q tag of a port that has a VLAN: taken off what comes in, put into what goes out.
 *
 * Flow:   driver -> port_rx -> vlan_untag() -> worker;  worker -> port_tx -> vlan_tag() -> driver
 * Pure:   octets in, octets out.
 * Keeps:  nothing above the port sees a tag of a VLAN. A frame with a priority alone (VID 0) belongs to no VLAN, as 802.1Q has it: a port
 *         without one takes it (eth.h), a port with one does not. A tag behind ours is another network's: dropped.
 * Source: IEEE 802.1Q clauses 6.9 and 9.
 */
#ifndef GREYLINE_NET_VLAN_H
#define GREYLINE_NET_VLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"

#define VLAN_TAG_OCTETS 4
#define VLAN_VID_MASK   0x0fff
#define VLAN_VID_MAX    CONF_VLAN_MAX

enum vlan_result {
	VLAN_OURS,   /* taken, the tag is off */
	VLAN_NONE,   /* no tag, or a priority alone, where the port has a VLAN */
	VLAN_OTHER,  /* of another VLAN than the port's, or a provider's */
	VLAN_DOUBLE, /* ours, with a further tag inside */
	VLAN_SHORT   /* ends within the tag, or before it */
};

/* A received frame from its Ethernet header on. taken_off: a driver has taken the tag off already, tci is what stood in it. */
struct vlan_frame {
	uint8_t *octet;
	uint32_t octets;
	uint16_t tci;
	bool taken_off;
};

/*
 * vlan_untag - judges f by the VLAN of the port it came to; 0: the port has none.
 *
 * Where the tag is in the octets and ours, the addresses move up behind it: f then begins VLAN_TAG_OCTETS later. A port without a VLAN leaves
 * tags in the octets to net, which knows of no such EtherType.
 */
enum vlan_result vlan_untag(struct vlan_frame *f, uint16_t vlan);

/* Counts what vlan_untag() did not take. */
void vlan_count_drop(struct counters *counters, enum vlan_result why);

/* Writes header_octets of header, an Ethernet header at least, to out with the tag behind the addresses; vlan 0: as they are. Returns how many
 * that are. */
uint32_t vlan_tag(uint8_t *out, const uint8_t *header, uint32_t header_octets, uint16_t vlan);

#endif
