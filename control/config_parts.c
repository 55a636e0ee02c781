/*
 * config_parts.c - ports, pools with their backends and listeners: read, then checked against each other.
 *
 * Flow:   config.c -> reader_part() for each of them -> reader_check_parts()
 * Touches: the domain files they name.
 * Keeps:  POLICY section 1: domains are mandatory for mx, * needs i_trust_the_backend, a backend without PROXY or XCLIENT is refused
 *         unless none is written out, a backend that is our own listener is a loop.
 */
#include "control/config_member.h"
#include "control/config_tls.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/siphash.h"

/* --- ports */

static void
port_address(struct member_ctx *m, struct conf_port *p, const struct config_text *t)
{
	char text[IP_ADDR_TEXT_MAX_OCTETS];
	const char *slash = strchr(t->text, '/');
	struct ip_addr addr;
	long bits = 0;
	char *end = NULL;

	if (slash != NULL && (size_t)(slash - t->text) < sizeof(text) && isdigit((unsigned char)slash[1])) {
		memcpy(text, t->text, (size_t)(slash - t->text));
		text[slash - t->text] = '\0';
		bits = strtol(slash + 1, &end, 10);
	}
	if (end == NULL || *end != '\0' || ip_addr_parse(text, &addr) != 0 || bits < 1 ||
		bits > (ip_addr_is_v4(&addr) ? 32 : 128)) {
		reader_error(m->r, t->line, m->path,
			"addresses: \"%.60s\": right is an address with the length of its network, such as "
			"\"192.0.2.2/24\"",
			t->text);
		return;
	}
	if (p->n_addrs == CONF_ADDRS_MAX) {
		reader_error(m->r, t->line, m->path, "more than %d addresses", CONF_ADDRS_MAX);
		return;
	}
	for (uint32_t i = 0; i < p->n_addrs; i++)
		if (ip_addr_equal(&p->addr[i].addr, &addr))
			reader_error(m->r, t->line, m->path, "addresses: %s is given twice", text);
	p->addr[p->n_addrs].addr = addr;
	p->addr[p->n_addrs++].prefix_bits = (uint8_t)(bits + (ip_addr_is_v4(&addr) ? 96 : 0));
}

static bool
port_holds(const struct conf_port *p, const struct ip_addr *addr)
{
	for (uint32_t i = 0; i < p->n_addrs; i++) {
		struct ip_addr a = ip_addr_mask(&p->addr[i].addr, p->addr[i].prefix_bits),
			       b = ip_addr_mask(addr, p->addr[i].prefix_bits);

		if (ip_addr_equal(&a, &b) && ip_addr_is_v4(addr) == ip_addr_is_v4(&p->addr[i].addr))
			return true;
	}
	return false;
}

static void
port_mac(struct member_ctx *m, struct conf_port *p)
{
	char text[32];
	unsigned v[6];
	char rest;

	if (!member_text(m, "mac", text, sizeof(text), false) || text[0] == '\0')
		return;
	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &rest) != 6 ||
		(v[0] & 1) != 0) {
		reader_error(m->r, member_line_of(config_setting_get_member(m->group, "mac")), m->path,
			"mac = \"%s\": right is a unicast address such as 02:00:00:00:00:01", text);
		return;
	}
	for (unsigned i = 0; i < 6; i++)
		p->mac[i] = (uint8_t)v[i];
}

static void
read_port(struct config_reader *r, const config_setting_t *s, int index)
{
	struct conf_port *p = &r->config->port[r->config->n_ports];
	struct config_texts addresses = { 0 };
	const config_setting_t *list;
	struct member_ctx m;

	if (!member_begin(&m, r, s, "ports", index))
		return;
	if (r->config->n_ports == CONF_PORTS_MAX) {
		reader_error(r, member_line_of(s), m.path, "more than %d ports", CONF_PORTS_MAX);
		return;
	}
	r->config->n_ports++;
	member_name(&m, p->name);
	member_text(&m, "device", p->device, sizeof(p->device), true);
	port_mac(&m, p);
	member_number(&m, "mtu", 1280, 9000, 1500, &p->mtu);
	member_number(&m, "vlan", 1, CONF_VLAN_MAX, 0, &p->vlan);
	list = member_get(&m, "addresses", true);
	if (list != NULL)
		reader_texts(r, list, m.path, &addresses);
	for (uint32_t i = 0; i < addresses.n; i++)
		port_address(&m, p, &addresses.v[i]);
	if (list != NULL && addresses.n == 0)
		reader_error(r, member_line_of(list), m.path, "addresses is empty: a port needs one at least");
	config_texts_free(&addresses);
	member_addr(&m, "gateway4", &p->gateway4, false, 4);
	member_addr(&m, "gateway6", &p->gateway6, false, 6);
	if (!ip_addr_is_zero(&p->gateway4) && !port_holds(p, &p->gateway4))
		reader_error(r, member_line_of(config_setting_get_member(s, "gateway4")), m.path,
			"gateway4 is in none of the port's networks");
	if (!ip_addr_is_zero(&p->gateway6) && !port_holds(p, &p->gateway6) &&
		(p->gateway6.octet[0] != 0xfe || (p->gateway6.octet[1] & 0xc0) != 0x80))
		reader_error(r, member_line_of(config_setting_get_member(s, "gateway6")), m.path,
			"gateway6 is in none of the port's networks");
}

/* --- pools and backends */

uint32_t
config_backend_id(const char *name, const struct ip_addr *addr, uint16_t port)
{
	static const struct siphash_key key = { UINT64_C(0x6261636b656e6421), UINT64_C(0x677265796c696e65) };
	struct siphash_state s;
	uint32_t id;

	siphash_init(&s, &key);
	siphash_update(&s, name, strlen(name) + 1);
	siphash_update(&s, addr->octet, sizeof(addr->octet));
	siphash_update(&s, &port, sizeof(port));
	id = (uint32_t)siphash_final(&s);
	return id != 0 ? id : 1;
}

static bool
backend_client_address(struct member_ctx *m, uint8_t *out)
{
	static const char *const words[] = { "none", "proxy_v1", "proxy_v2", "xclient" };

	if (config_setting_get_member(m->group, "client_address") != NULL)
		return member_word(m, "client_address", words, ARRAY_LEN(words), CLIENT_ADDRESS_NONE, out);
	reader_error(m->r, member_line_of(m->group), m->path,
		"client_address has to be given: proxy_v2, proxy_v1 or xclient, as the MTA "
		"is configured; or \"none\" written out, and the MTA takes every client for the gateway");
	return false;
}

static void
read_backend(struct config_reader *r, const config_setting_t *s, int index, struct conf_pool *pool)
{
	struct conf_backend b = { 0 };
	struct config *c = r->config;
	struct member_ctx m;
	bool ok;

	if (!member_begin(&m, r, s, "pools.backends", index))
		return;
	ok = member_name(&m, b.name);
	ok = member_addr(&m, "address", &b.addr, true, 0) && ok;
	ok = member_number(&m, "port", 1, 65535, 25, &b.port) && ok;
	ok = backend_client_address(&m, &b.client_address) && ok;
	ok = backend_tls_read(&m, &b) && ok;
	if (!ok)
		return;
	b.id = config_backend_id(b.name, &b.addr, b.port);
	for (uint32_t i = 0; i < c->n_backends; i++) {
		const struct conf_backend *o = &c->backend[i];
		bool same = ip_addr_equal(&o->addr, &b.addr) && o->port == b.port &&
		            o->client_address == b.client_address && backend_tls_equal(c, o, &b);

		if (strcmp(o->name, b.name) == 0 && same) { /* one MTA in two pools */
			pool->backends |= UINT64_C(1) << i;
			return;
		}
		if (strcmp(o->name, b.name) == 0) {
			reader_error(r, member_line_of(s), m.path,
				"another backend has this name (line %u) with another address, port, client_address or "
				"tls",
				r->backend_line[i]);
			return;
		}
		if (o->id == b.id) {
			reader_error(r, member_line_of(s), m.path, "its number equals that of %s: give it another name",
				o->name);
			return;
		}
	}
	if (c->n_backends == CONF_BACKENDS_MAX) {
		reader_error(r, member_line_of(s), m.path, "more than %d backends", CONF_BACKENDS_MAX);
		return;
	}
	r->backend_line[c->n_backends] = member_line_of(s);
	pool->backends |= UINT64_C(1) << c->n_backends;
	c->backend[c->n_backends++] = b;
}

static bool
is_list(struct config_reader *r, const config_setting_t *s, const char *path)
{
	if (config_setting_is_list(s) || (config_setting_is_array(s) && config_setting_length(s) == 0))
		return true;
	reader_error(r, member_line_of(s), path, "right is a list of groups: ( { ... }, { ... } )");
	return false;
}

static void
read_pool(struct config_reader *r, const config_setting_t *s, int index)
{
	struct config *c = r->config;
	struct conf_pool *p = &c->pool[c->n_pools];
	const config_setting_t *list;
	struct member_ctx m;
	char path[384];

	if (!member_begin(&m, r, s, "pools", index))
		return;
	if (c->n_pools == CONF_POOLS_MAX) {
		reader_error(r, member_line_of(s), m.path, "more than %d pools", CONF_POOLS_MAX);
		return;
	}
	r->pool_line[c->n_pools] = member_line_of(s);
	member_name(&m, p->name);
	for (uint32_t i = 0; i < c->n_pools; i++)
		if (p->name[0] != '\0' && strcmp(c->pool[i].name, p->name) == 0)
			reader_error(
				r, member_line_of(s), m.path, "another pool has this name (line %u)", r->pool_line[i]);
	member_domains(&m, &c->pool_domains[c->n_pools]);
	list = member_get(&m, "backends", true);
	snprintf(path, sizeof(path), "%s.backends", m.path);
	if (list != NULL && is_list(r, list, path)) {
		for (int i = 0; i < config_setting_length(list); i++)
			read_backend(r, config_setting_get_elem(list, (unsigned)i), i, p);
		if (config_setting_length(list) == 0)
			reader_error(r, member_line_of(list), path, "is empty: a pool needs one backend at least");
	}
	c->n_pools++;
}

/* --- listeners */

static void
listener_role(struct member_ctx *m, struct conf_listener *l)
{
	static const char *const words[] = { "mx", "submission" };

	if (member_get(m, "role", true) != NULL)
		member_word(m, "role", words, ARRAY_LEN(words), ROLE_MX, &l->role);
}

/* AUTH on a listener of MTAs' mail: POLICY section 1 has it off. */
static void
listener_auth(struct member_ctx *m, struct conf_listener *l)
{
	static const char *const words[] = { "none", "relay" };
	const config_setting_t *s = config_setting_get_member(m->group, "auth");

	if (!member_word(m, "auth", words, ARRAY_LEN(words), 0, &l->auth_relay))
		return;
	if (l->role == ROLE_SUBMISSION && l->auth_relay)
		reader_error(m->r, member_line_of(s), m->path,
			"auth = \"relay\": a submission listener is spliced, so AUTH is the MTA's already; right is "
			"none");
}

static void
listener_addresses(struct member_ctx *m, struct conf_listener *l)
{
	const config_setting_t *list = member_get(m, "addresses", true);
	struct config_texts addresses = { 0 };

	if (list == NULL)
		return;
	reader_texts(m->r, list, m->path, &addresses);
	for (uint32_t i = 0; i < addresses.n; i++) {
		struct ip_addr a;

		if (ip_addr_parse(addresses.v[i].text, &a) != 0)
			reader_error(m->r, addresses.v[i].line, m->path, "addresses: \"%.60s\" is not an IP address",
				addresses.v[i].text);
		else if (l->n_addrs == CONF_ADDRS_MAX)
			reader_error(m->r, addresses.v[i].line, m->path, "more than %d addresses", CONF_ADDRS_MAX);
		else
			l->addr[l->n_addrs++] = a;
	}
	if (addresses.n == 0)
		reader_error(m->r, member_line_of(list), m->path, "addresses is empty: a listener needs one at least");
	config_texts_free(&addresses);
}

/* Networks of load balancers: kept as they are written, host bits refused, and never everybody. */
static void
listener_trusted(struct member_ctx *m, struct conf_listener *l)
{
	const config_setting_t *list = member_get(m, "trusted_proxies", false);
	struct config_texts networks = { 0 };
	char right[IP_ADDR_TEXT_MAX_OCTETS + 8];

	if (list == NULL)
		return;
	reader_texts(m->r, list, m->path, &networks);
	for (uint32_t i = 0; i < networks.n; i++) {
		const struct config_text *t = &networks.v[i];
		struct prefix_entry e;
		const int error = prefix_parse(t->text, &e);

		if (error == -EDOM)
			reader_error(m->r, t->line, m->path, "trusted_proxies: %.60s has host bits set; right is %s",
				t->text, prefix_format(&e, right));
		else if (error != 0)
			reader_error(m->r, t->line, m->path,
				"trusted_proxies: \"%.60s\" is not a network; right is for example 192.0.2.0/24",
				t->text);
		else if (e.bits == (ip_addr_is_v4(&e.addr) ? 96 : 0))
			reader_error(m->r, t->line, m->path, "trusted_proxies: %.60s would let anybody name any client",
				t->text);
		else if (l->n_trusted == CONF_TRUSTED_MAX)
			reader_error(
				m->r, t->line, m->path, "trusted_proxies: more than %d networks", CONF_TRUSTED_MAX);
		else
			l->trusted[l->n_trusted++] =
				(struct conf_port_addr){ .addr = e.addr, .prefix_bits = (uint8_t)e.bits };
	}
	config_texts_free(&networks);
}

static void
read_listener(struct config_reader *r, const config_setting_t *s, int index)
{
	struct config *c = r->config;
	struct conf_listener *l = &c->listener[c->n_listeners];
	uint32_t at = c->n_listeners;
	const config_setting_t *list;
	struct member_ctx m;

	if (!member_begin(&m, r, s, "listeners", index))
		return;
	if (at == CONF_LISTENERS_MAX) {
		reader_error(r, member_line_of(s), m.path, "more than %d listeners", CONF_LISTENERS_MAX);
		return;
	}
	r->listener_line[at] = member_line_of(s);
	c->n_listeners++;
	member_name(&m, l->name);
	for (uint32_t i = 0; i < at; i++)
		if (l->name[0] != '\0' && strcmp(c->listener[i].name, l->name) == 0)
			reader_error(r, member_line_of(s), m.path, "another listener has this name (line %u)",
				r->listener_line[i]);
	listener_role(&m, l);
	listener_addresses(&m, l);
	listener_trusted(&m, l);
	member_number(&m, "port", 1, 65535, l->role == ROLE_MX ? 25 : 587, &l->port);
	listener_tls_read(&m, l);
	listener_auth(&m, l);
	member_bool(&m, "i_trust_the_backend", &r->listener_trusts[at]);
	l->i_trust_the_backend = r->listener_trusts[at];
	member_domains(&m, &c->listener_domains[at]);
	list = member_get(&m, "pools", true);
	if (list != NULL)
		reader_texts(r, list, m.path, &r->listener_pools[at]);
	if (list != NULL && r->listener_pools[at].n == 0)
		reader_error(r, member_line_of(list), m.path, "pools is empty: a listener needs one at least");
}

bool
reader_part(struct config_reader *r, const config_setting_t *s, const char *path)
{
	static const struct {
		const char *path;
		void (*read)(struct config_reader *r, const config_setting_t *s, int index);
	} parts[] = { { "ports", read_port }, { "pools", read_pool }, { "listeners", read_listener } };
	enum conf_zone_kind kind;

	for (unsigned p = 0; p < ARRAY_LEN(parts); p++) {
		if (strcmp(path, parts[p].path) != 0)
			continue;
		if (!is_list(r, s, path))
			return true;
		for (int i = 0; i < config_setting_length(s); i++)
			parts[p].read(r, config_setting_get_elem(s, (unsigned)i), i);
		return true;
	}
	if (!reader_zone_kind(path, &kind))
		return false;
	if (config_setting_is_array(s) || is_list(r, s, path)) /* an array of texts is as good as a list of them */
		reader_zones(r, s, kind);
	return true;
}

/* --- relations */

static void
check_listener_pools(struct config_reader *r, uint32_t at)
{
	struct config *c = r->config;
	struct conf_listener *l = &c->listener[at];
	const char *names[CONF_POOLS_MAX];
	bool have_default = false;
	char path[128];

	snprintf(path, sizeof(path), "listeners.%s", l->name);
	for (uint32_t i = 0; i < c->n_pools; i++)
		names[i] = c->pool[i].name;
	for (uint32_t k = 0; k < r->listener_pools[at].n; k++) {
		const struct config_text *t = &r->listener_pools[at].v[k];
		const char *near;
		uint32_t i = 0;

		while (i < c->n_pools && strcmp(c->pool[i].name, t->text) != 0)
			i++;
		if (i == c->n_pools) {
			near = name_nearest(t->text, names, c->n_pools);
			reader_error(r, t->line, path, "pools: there is no pool \"%.60s\"%s%s%s", t->text,
				near != NULL ? "; did you mean " : "", near != NULL ? near : "",
				near != NULL ? "?" : "");
			continue;
		}
		l->pools |= UINT64_C(1) << i;
		if (k == 0 || (!have_default && c->pool_domains[i].n == 0))
			l->default_pool = (uint16_t)i;
		have_default = have_default || c->pool_domains[i].n == 0;
	}
}

static void
check_listener(struct config_reader *r, uint32_t at)
{
	struct config *c = r->config;
	struct conf_listener *l = &c->listener[at];
	const struct config_texts *domains = &c->listener_domains[at];
	char path[128], text[IP_ADDR_TEXT_MAX_OCTETS];

	snprintf(path, sizeof(path), "listeners.%s", l->name);
	check_listener_pools(r, at);
	if (l->role == ROLE_MX && domains->n == 0 && r->read_files)
		reader_error(r, r->listener_line[at], path,
			"domains (or domains_file) has to be given for role mx: without it this would be an open "
			"relay");
	if (l->role == ROLE_SUBMISSION && domains->n > 0)
		reader_error(r, domains->v[0].line, path, "domains are for role mx; on submission the MTA decides");
	for (uint32_t i = 0; i < domains->n; i++)
		if (strcmp(domains->v[i].text, "*") == 0 && !r->listener_trusts[at])
			reader_error(r, domains->v[i].line, path,
				"domains: \"*\" takes mail for every domain; it needs i_trust_the_backend = true, "
				"and a backend that refuses to relay");
	for (uint32_t a = 0; a < l->n_addrs; a++) {
		bool ours = false;

		for (uint32_t p = 0; p < c->n_ports; p++)
			for (uint32_t k = 0; k < c->port[p].n_addrs; k++)
				ours = ours || ip_addr_equal(&c->port[p].addr[k].addr, &l->addr[a]);
		if (!ours)
			reader_error(r, r->listener_line[at], path, "addresses: %s is no port's address",
				ip_addr_format(&l->addr[a], text));
		for (uint32_t o = 0; o < at; o++)
			for (uint32_t k = 0; k < c->listener[o].n_addrs; k++)
				if (c->listener[o].port == l->port &&
					ip_addr_equal(&c->listener[o].addr[k], &l->addr[a]))
					reader_error(r, r->listener_line[at], path,
						"%s port %u belongs to listener %s already",
						ip_addr_format(&l->addr[a], text), l->port, c->listener[o].name);
	}
}

static void
check_backend(struct config_reader *r, uint32_t at)
{
	struct config *c = r->config;
	struct conf_backend *b = &c->backend[at];
	char path[128], text[IP_ADDR_TEXT_MAX_OCTETS];
	bool by_mx = false, by_submission = false, reachable = false;

	snprintf(path, sizeof(path), "pools.backends.%s", b->name);
	for (uint32_t i = 0; i < c->n_listeners; i++) {
		const struct conf_listener *l = &c->listener[i];

		for (uint32_t a = 0; a < l->n_addrs; a++)
			if (l->port == b->port && ip_addr_equal(&l->addr[a], &b->addr))
				reader_error(r, r->backend_line[at], path, "%s port %u is our own listener %s: a loop",
					ip_addr_format(&b->addr, text), b->port, l->name);
		for (uint32_t p = 0; p < c->n_pools; p++)
			if ((l->pools >> p & 1) != 0 && (c->pool[p].backends >> at & 1) != 0) {
				by_mx = by_mx || l->role == ROLE_MX;
				by_submission = by_submission || l->role == ROLE_SUBMISSION;
			}
	}
	b->is_submission = by_submission && !by_mx;
	if (by_submission && b->client_address == CLIENT_ADDRESS_XCLIENT)
		reader_error(r, r->backend_line[at], path,
			"client_address = \"xclient\" cannot serve a submission listener, which is spliced: "
			"right is proxy_v2 or proxy_v1");
	for (uint32_t p = 0; p < c->n_ports; p++)
		reachable = reachable || port_holds(&c->port[p], &b->addr) ||
		            !ip_addr_is_zero(ip_addr_is_v4(&b->addr) ? &c->port[p].gateway4 : &c->port[p].gateway6);
	if (!reachable)
		reader_error(r, r->backend_line[at], path,
			"%s is in no port's network, and no port has a gateway for it", ip_addr_format(&b->addr, text));
}

static void
check_pool_domains(struct config_reader *r)
{
	struct config *c = r->config;
	struct config_texts *all = c->pool_domains;

	/* Two pools that name the same domain; quadratic only over pools with domains in the file itself. */
	for (uint32_t a = 0; a < c->n_pools; a++)
		for (uint32_t b = a + 1; b < c->n_pools; b++)
			for (uint32_t i = 0; i < all[a].n_inline; i++)
				for (uint32_t k = 0; k < all[b].n_inline; k++)
					if (strcasecmp(all[a].v[i].text, all[b].v[k].text) == 0)
						reader_error(r, all[b].v[k].line, "pools",
							"%s goes to pool %s already (line %u)", all[b].v[k].text,
							c->pool[a].name, all[a].v[i].line);
}

void
reader_check_parts(struct config_reader *r)
{
	struct config *c = r->config;

	if (c->n_ports == 0)
		reader_error(r, 1, "ports",
			"has to be given: ports = ( { name = \"wan\"; device = ...; addresses = [ ... ]; } );");
	for (uint32_t a = 0; a < c->n_ports; a++)
		for (uint32_t b = 0; b < a; b++)
			if (strcmp(c->port[a].name, c->port[b].name) == 0 ||
				strcmp(c->port[a].device, c->port[b].device) == 0)
				reader_error(r, 1, "ports", "both have the name %s or the device %s", c->port[a].name,
					c->port[a].device);
	if (c->n_listeners == 0)
		reader_error(
			r, 1, "listeners", "has to be given: listeners = ( { name = \"mx\"; role = \"mx\"; ... } );");
	if (c->n_pools == 0)
		reader_error(
			r, 1, "pools", "has to be given: pools = ( { name = \"default\"; backends = ( ... ); } );");
	for (uint32_t i = 0; i < c->n_listeners; i++)
		check_listener(r, i);
	for (uint32_t i = 0; i < c->n_backends; i++)
		check_backend(r, i);
	check_pool_domains(r);
}
