/*
 * sim_config.c - the configuration from which tests in the simulator start.
 */
#include "tests/sim/peers.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

static void
port_init(struct conf_port *p, const char *name, uint8_t n, const char *v4, const char *v6)
{
	snprintf(p->name, sizeof(p->name), "%s", name);
	snprintf(p->device, sizeof(p->device), "sim%u", n);
	p->mtu = 1500;
	memcpy(p->mac, (uint8_t[]){ 2, 0, 0, 0, n, 1 }, 6);
	p->n_addrs = 2;
	BUG_ON(ip_addr_parse(v4, &p->addr[0].addr) != 0 || ip_addr_parse(v6, &p->addr[1].addr) != 0);
	p->addr[0].prefix_bits = 96 + 24;
	p->addr[1].prefix_bits = 64;
}

static void
backend_init(struct conf_backend *b, const char *name, const char *addr, uint16_t port, enum conf_client_address how,
	uint32_t id)
{
	*b = (struct conf_backend){ .port = port, .client_address = (uint8_t)how, .id = id };
	snprintf(b->name, sizeof(b->name), "%s", name);
	BUG_ON(ip_addr_parse(addr, &b->addr) != 0);
}

static void
listener_init(struct conf_listener *l, const char *name, enum conf_role role, uint16_t port, uint64_t pools,
	uint16_t default_pool)
{
	*l = (struct conf_listener){
		.role = (uint8_t)role, .port = port, .pools = pools, .default_pool = default_pool, .n_addrs = 2
	};
	snprintf(l->name, sizeof(l->name), "%s", name);
	BUG_ON(ip_addr_parse("198.18.0.2", &l->addr[0]) != 0 || ip_addr_parse("2001:db8:0:1::2", &l->addr[1]) != 0);
}

void
sim_conf_init(struct sim_config *c)
{
	memset(c, 0, sizeof(*c));
	c->conf = (struct conf){
		.hostname = "gw.example",
		.mode = MODE_ENFORCE,
		.ptr_missing = EFFECT_REJECT,
		.known_clients_relay = 1,
		.grey_block_s = 240,
		.grey_pass_s = 21600,
		.grey_expire_s = 36 * 86400,
		.grey_lapse_memory_s = 7 * 86400,
		.grey_window_max_s = 4 * 86400,
		.grey_auto_after = 5,
		.grey_source_budget = 1000,
		.dnsbl_reject_threshold = 5,
		.dnsbl_grey_threshold = 1,
		.dns_deadline_ms = 2000,
		.client_fresh_s = 43200,
		.trap_s = 86400,
		.command_timeout_s = 300,
		.data_timeout_s = 180,
		.session_max_s = 3600,
		.rcpts_max = 100,
		.commands_max = 1000,
		.errors_max = 20,
		.messages_max = 100,
		.backend_connect_ms = 10000,
		.backend_greeting_ms = 10000,
		.backend_total_ms = 30000,
		.backend_reply_ms = 35000,
		.backend_dot_s = 600,
		.backend_probe_s = 30,
		.backend_relaytest_s = 86400,
		.drain_s = 60,
		.log_grey_per_s = 1000,
		.workers = 1,
		.sessions = 1024,
		.memory_mb = 64,
	};
	port_init(&c->port[0], "wan", 0, "198.18.0.2", "2001:db8:0:1::2");
	port_init(&c->port[1], "lan", 1, "198.18.1.2", "2001:db8:0:2::2");
	backend_init(&c->backend[0], "mta", "198.18.1.3", 25, CLIENT_ADDRESS_PROXY_V2, 11);
	backend_init(&c->backend[1], "mta-x", "198.18.1.4", 2525, CLIENT_ADDRESS_XCLIENT, 12);
	backend_init(&c->backend[2], "mta-v1", "198.18.1.5", 24, CLIENT_ADDRESS_PROXY_V1, 13);
	backend_init(&c->backend[3], "submit", "198.18.1.6", 587, CLIENT_ADDRESS_PROXY_V2, 14);
	c->backend[3].is_submission = 1;
	c->n_backends = 4;
	snprintf(c->pool[0].name, sizeof(c->pool[0].name), "default");
	c->pool[0].backends = 1 << 0;
	snprintf(c->pool[1].name, sizeof(c->pool[1].name), "second");
	c->pool[1].backends = 1 << 1;
	snprintf(c->pool[2].name, sizeof(c->pool[2].name), "submission");
	c->pool[2].backends = 1 << 3;
	listener_init(&c->listener[0], "mx", ROLE_MX, 25, 3, 0);
	listener_init(&c->listener[1], "submission", ROLE_SUBMISSION, 587, 1 << 2, 2);
	snprintf(c->zone[0].name, sizeof(c->zone[0].name), "bl.example");
	snprintf(c->zone[1].name, sizeof(c->zone[1].name), "helo.list.example");
	snprintf(c->zone[2].name, sizeof(c->zone[2].name), "sender.list.example");
	c->zone[1].kind = ZONE_KIND_HELO;
	c->zone[2].kind = ZONE_KIND_SENDER;
}

static void
list_part(struct sim_config *c, enum snapshot_section section, uint32_t i, const char *entry)
{
	size_t n;

	if (entry == NULL)
		return;
	if (section == SNAPSHOT_CLIENT_ALLOW || section == SNAPSHOT_CLIENT_DENY) {
		struct prefix_entry e;

		BUG_ON(prefix_parse(entry, &e) != 0);
		n = prefix_table_build(c->lists[i], sizeof(c->lists[i]), &e, 1, 1);
	} else {
		const struct name_set_entry e = { .name = entry, .len_octets = (uint32_t)strlen(entry), .value = 1 };

		n = name_set_build(c->lists[i], sizeof(c->lists[i]), &e, 1, 1);
	}
	BUG_ON(n == 0);
	c->part[section] = (struct snapshot_part){ c->lists[i], n };
}

const struct snapshot_part *
sim_conf_parts(struct sim_config *c)
{
	static const char eal[] = "";
	static const char path[] = "/nowhere";
	const struct name_set_entry domains[] = {
		{ "example.org", 11, UINT64_C(0xffff) << 32 | 1 },
		{ "example.net", 11, UINT64_C(1) << 32 | 1 },
		{ "*", 1, UINT64_C(0xffff) << 32 | 1 },
	};
	size_t n = name_set_build(c->domains, sizeof(c->domains), domains, c->any_domain ? 3 : 2, 7);

	BUG_ON(n == 0);
	memset(c->part, 0, sizeof(c->part));
	c->part[SNAPSHOT_CONF] = (struct snapshot_part){ &c->conf, sizeof(c->conf) };
	c->part[SNAPSHOT_PORTS] = (struct snapshot_part){ c->port, sizeof(c->port) };
	c->part[SNAPSHOT_LISTENERS] = (struct snapshot_part){ c->listener, sizeof(c->listener) };
	c->part[SNAPSHOT_POOLS] = (struct snapshot_part){ c->pool, sizeof(c->pool) };
	c->part[SNAPSHOT_BACKENDS] = (struct snapshot_part){ c->backend, c->n_backends * sizeof(c->backend[0]) };
	c->part[SNAPSHOT_ZONES] = (struct snapshot_part){ c->zone, sizeof(c->zone) };
	c->part[SNAPSHOT_EAL_ARGS] = (struct snapshot_part){ eal, sizeof(eal) };
	c->part[SNAPSHOT_SEGMENT_PATH] = (struct snapshot_part){ path, sizeof(path) };
	c->part[SNAPSHOT_DOMAINS] = (struct snapshot_part){ c->domains, n };
	list_part(c, SNAPSHOT_CLIENT_ALLOW, 0, c->client_allow);
	list_part(c, SNAPSHOT_CLIENT_DENY, 1, c->client_deny);
	list_part(c, SNAPSHOT_RCPT_DENY, 2, c->rcpt_deny);
	list_part(c, SNAPSHOT_RCPT_NO_GREY, 3, c->rcpt_no_grey);
	list_part(c, SNAPSHOT_TRAPS, 4, c->trap);
	list_part(c, SNAPSHOT_SENDER_ALLOW, 5, c->sender_allow);
	list_part(c, SNAPSHOT_SENDER_DENY, 6, c->sender_deny);
	list_part(c, SNAPSHOT_RCPT_ALLOW, 7, c->rcpt_allow);
	return c->part;
}
