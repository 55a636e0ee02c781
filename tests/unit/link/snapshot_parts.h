/*
 * snapshot_parts.h - a small complete configuration as the parts of a snapshot, for tests to break.
 */
#ifndef GREYLINE_TESTS_SNAPSHOT_PARTS_H
#define GREYLINE_TESTS_SNAPSHOT_PARTS_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

struct snapshot_parts {
	struct conf conf;
	struct conf_port ports[2];
	struct conf_listener listeners[2];
	struct conf_pool pools[2];
	struct conf_backend backends[2];
	struct conf_zone zones[2];
	char eal[32];
	char segment_path[64];
	_Alignas(8) uint8_t domains[1024], addresses[1024], networks[1024];
	struct snapshot_part part[SNAPSHOT_SECTION_N];
};

static inline void
snapshot_parts_lists(struct snapshot_parts *p)
{
	const struct name_set_entry domains[] = { { "example.org", 11, UINT64_C(0xffff) << 32 | 1 },
		{ ".example.net", 12, UINT64_C(1) << 32 | 3 } };
	const struct name_set_entry addresses[] = { { "bob@example.org", 15, 1 }, { "postmaster@", 11, 2 } };
	struct prefix_entry networks[2];

	BUG_ON(prefix_parse("192.0.2.0/24", &networks[0]) != 0 || prefix_parse("2001:db8::/32", &networks[1]) != 0);
	p->part[SNAPSHOT_DOMAINS] =
		(struct snapshot_part){ p->domains, name_set_build(p->domains, sizeof(p->domains), domains, 2, 1) };
	p->part[SNAPSHOT_SENDER_DENY] = p->part[SNAPSHOT_RCPT_DENY] = (struct snapshot_part){ p->addresses,
		name_set_build(p->addresses, sizeof(p->addresses), addresses, 2, 1) };
	p->part[SNAPSHOT_CLIENT_ALLOW] = (struct snapshot_part){ p->networks,
		prefix_table_build(p->networks, sizeof(p->networks), networks, 2, 1) };
}

static inline void
snapshot_parts_init(struct snapshot_parts *p)
{
	memset(p, 0, sizeof(*p));
	snprintf(p->conf.hostname, sizeof(p->conf.hostname), "gw.example.org");
	p->conf.mode = MODE_ENFORCE;
	p->conf.workers = 1;
	p->conf.sessions = 1024;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(p->ports[i].name, sizeof(p->ports[i].name), "port%u", i);
		snprintf(p->ports[i].device, sizeof(p->ports[i].device), "net_af_packet%u,iface=p%u", i, i);
		p->ports[i].mtu = 1500;
		p->ports[i].n_addrs = 1;
		p->ports[i].addr[0] = (struct conf_port_addr){ .addr = ip_addr_v4(0xc6120002 + i), .prefix_bits = 120 };
		snprintf(p->listeners[i].name, sizeof(p->listeners[i].name), "mx%u", i);
		p->listeners[i].role = (uint8_t)i;
		p->listeners[i].port = 25;
		p->listeners[i].n_addrs = 1;
		p->listeners[i].pools = 1 + i;
		p->listeners[i].default_pool = (uint16_t)i;
		snprintf(p->pools[i].name, sizeof(p->pools[i].name), "pool%u", i);
		p->pools[i].backends = 1u << i;
		snprintf(p->backends[i].name, sizeof(p->backends[i].name), "mta%u", i);
		p->backends[i].port = 25;
		p->backends[i].client_address = CLIENT_ADDRESS_PROXY_V2;
		p->backends[i].id = 77 + i;
		snprintf(p->zones[i].name, sizeof(p->zones[i].name), "bl%u.example", i);
	}
	memcpy(p->eal, "--no-huge\0--no-pci", 19);
	snprintf(p->segment_path, sizeof(p->segment_path), "/dev/shm/greyline-test/segment");

	p->part[SNAPSHOT_CONF] = (struct snapshot_part){ &p->conf, sizeof(p->conf) };
	p->part[SNAPSHOT_PORTS] = (struct snapshot_part){ p->ports, sizeof(p->ports) };
	p->part[SNAPSHOT_LISTENERS] = (struct snapshot_part){ p->listeners, sizeof(p->listeners) };
	p->part[SNAPSHOT_POOLS] = (struct snapshot_part){ p->pools, sizeof(p->pools) };
	p->part[SNAPSHOT_BACKENDS] = (struct snapshot_part){ p->backends, sizeof(p->backends) };
	p->part[SNAPSHOT_ZONES] = (struct snapshot_part){ p->zones, sizeof(p->zones) };
	p->part[SNAPSHOT_EAL_ARGS] = (struct snapshot_part){ p->eal, 19 };
	p->part[SNAPSHOT_SEGMENT_PATH] = (struct snapshot_part){ p->segment_path, strlen(p->segment_path) + 1 };
	snapshot_parts_lists(p);
}

#endif
