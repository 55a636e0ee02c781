/*
 * vlan.c - see vlan.h.
 */
#include "dataplane/net/vlan.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/octets.h"
#include "dataplane/net/eth.h"

#define ADDRESSES_OCTETS (2 * ETH_MAC_OCTETS)

/* Whether a tag of any kind stands where the EtherType is: a customer's, a provider's (802.1ad), or a provider's from before that. */
static bool
is_tag(uint16_t type)
{
	return type == ETH_TYPE_VLAN || type == ETH_TYPE_VLAN_PROVIDER || type == ETH_TYPE_VLAN_OLD;
}

static enum vlan_result
judge(uint16_t tci, uint16_t vlan, uint16_t type_behind)
{
	const uint16_t vid = tci & VLAN_VID_MASK;

	if (vid != vlan)
		return vid == 0 ? VLAN_NONE : VLAN_OTHER;
	return is_tag(type_behind) ? VLAN_DOUBLE : VLAN_OURS;
}

enum vlan_result
vlan_untag(struct vlan_frame *f, uint16_t vlan)
{
	enum vlan_result result;
	uint16_t type;

	if (vlan == 0)
		return f->taken_off && (f->tci & VLAN_VID_MASK) != 0 ? VLAN_OTHER : VLAN_OURS;
	if (f->octets < ETH_HEADER_OCTETS)
		return VLAN_SHORT;
	type = get_u16(f->octet + ADDRESSES_OCTETS);
	if (f->taken_off)
		return judge(f->tci, vlan, type);
	if (type != ETH_TYPE_VLAN)
		return is_tag(type) ? VLAN_OTHER : VLAN_NONE;
	if (f->octets < ETH_HEADER_OCTETS + VLAN_TAG_OCTETS)
		return VLAN_SHORT;
	result = judge(get_u16(f->octet + ETH_HEADER_OCTETS), vlan, get_u16(f->octet + ETH_HEADER_OCTETS + 2));
	if (result != VLAN_OURS)
		return result;
	memmove(f->octet + VLAN_TAG_OCTETS, f->octet, ADDRESSES_OCTETS);
	f->octet += VLAN_TAG_OCTETS;
	f->octets -= VLAN_TAG_OCTETS;
	return VLAN_OURS;
}

void
vlan_count_drop(struct counters *counters, enum vlan_result why)
{
	switch (why) {
	case VLAN_OURS:
		break;
	case VLAN_NONE:
		counter_inc(counters, CTR_net_drop_untagged);
		break;
	case VLAN_OTHER:
		counter_inc(counters, CTR_net_drop_vlan);
		break;
	case VLAN_DOUBLE:
		counter_inc(counters, CTR_net_drop_double_tag);
		break;
	case VLAN_SHORT:
		counter_inc(counters, CTR_net_drop_short);
		break;
	}
}

uint32_t
vlan_tag(uint8_t *out, const uint8_t *header, uint32_t header_octets, uint16_t vlan)
{
	uint8_t *p;

	if (vlan == 0) {
		memcpy(out, header, header_octets);
		return header_octets;
	}
	HOT_BUG_ON(header_octets < ETH_HEADER_OCTETS || vlan > VLAN_VID_MAX);
	memcpy(out, header, ADDRESSES_OCTETS);
	p = put_u16(out + ADDRESSES_OCTETS, ETH_TYPE_VLAN);
	p = put_u16(p, vlan); /* priority 0; not to be dropped before others */
	memcpy(p, header + ADDRESSES_OCTETS, header_octets - ADDRESSES_OCTETS);
	return header_octets + VLAN_TAG_OCTETS;
}
