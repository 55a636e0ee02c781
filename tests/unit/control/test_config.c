/*
 * test_config.c - greyline.conf: good files taken whole, bad ones refused with the exact line and the nearest name, list files.
 */
#include "tests/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "control/compile.h"
#include "control/config.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/table/name_set.h"

/* A file in which a test names only what matters: line 1 is `first`, then the parts, each replaceable. */
struct parts {
	const char *first, *ports, *pools, *listeners, *rest;
};

static const struct parts good = {
	.first = "hostname = \"gw.example.org\";",
	.ports = "ports = ( { name = \"wan\"; device = \"net_af_packet0,iface=wan0\"; addresses = [ \"198.18.0.2/24\", "
		 "\"2001:db8:0:1::2/64\" ];"
		 " gateway4 = \"198.18.0.1\"; }, { name = \"lan\"; device = \"net_af_packet1,iface=lan0\"; vlan = "
		 "4094; addresses = "
		 "[ \"198.18.1.2/24\" ]; } );",
	.pools = "pools = ( { name = \"default\"; backends = ( { name = \"mta1\"; address = \"198.18.1.3\"; port = 25; "
		 "client_address = \"proxy_v2\"; } ); } );",
	.listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; port = 25; domains "
		     "= [ \"example.org\" ]; pools = [ \"default\" ]; } );",
	.rest = "",
};

static struct config *
parse(const struct parts *p, struct config_errors *errors)
{
	const char *file = "/etc/greyline.conf";
	struct config *c;
	char *text = NULL;

	CHECK_TRUE("memory", asprintf(&text, "%s\n%s\n%s\n%s\n%s\n", p->first ? p->first : good.first,
				     p->ports ? p->ports : good.ports, p->pools ? p->pools : good.pools,
				     p->listeners ? p->listeners : good.listeners, p->rest ? p->rest : good.rest) > 0);
	c = config_parse(file, text, strlen(text), true, errors);
	free(text);
	return c;
}

static void
test_config_takes_a_good_file(void **state)
{
	const struct parts p = { .rest = "greylist = { block = \"10s\"; pass = 7200; };\nclients = { allow = [ "
					 "\"192.0.2.0/24\", \"2001:db8::/32\" ]; };\n"
					 "dnsbl = { zones = ( \"bl.example=127.0.0.[2..11]*3\", { zone = "
					 "\"key.bl.example\"; name = \"public.example\"; "
					 "filters = [ \"127.0.0.2*4\" ]; } ); };\ndns = { resolvers = [ \"127.0.0.1\", "
					 "\"[::1]:5353\" ]; deadline_ms = 1500; };\n" };
	struct config_errors errors = { 0 };
	struct config *c = parse(&p, &errors);

	(void)state;
	CHECK_TRUE(errors.n > 0 ? errors.line[0] : "read", c != NULL);
	CHECK_EQ("block", c->values.conf.grey_block_s, 10);
	CHECK_EQ("a plain number is seconds", c->values.conf.grey_pass_s, 7200);
	CHECK_EQ("_ms counts milliseconds", c->values.conf.dns_deadline_ms, 1500);
	CHECK_EQ("origin", c->origin[option_find("greylist.block") - option_table], ORIGIN_FILE);
	CHECK_EQ("origin", c->origin[option_find("greylist.expire") - option_table], ORIGIN_DEFAULT);
	CHECK_EQ("ports", c->n_ports, 2);
	CHECK_EQ("prefix in the 128-bit form", c->port[0].addr[0].prefix_bits, 120);
	CHECK_EQ("prefix of IPv6", c->port[0].addr[1].prefix_bits, 64);
	CHECK_EQ("mtu", c->port[0].mtu, 1500);
	CHECK_EQ("no VLAN", c->port[0].vlan, 0);
	CHECK_EQ("VLAN", c->port[1].vlan, 4094);
	CHECK_EQ("backends", c->n_backends, 1);
	CHECK_EQ("way", c->backend[0].client_address, CLIENT_ADDRESS_PROXY_V2);
	CHECK_EQ("listener's pools", c->listener[0].pools, 1);
	CHECK_EQ("networks", c->client_allow.n, 2);
	CHECK_EQ("zones", c->n_zones, 2);
	CHECK_STR("public name", c->zone[1].name, "public.example");
	CHECK_STR("key", c->zone[1].spec.zone, "key.bl.example");
	CHECK_STR("name of a text is its zone", c->zone[0].name, "bl.example");
	config_free(c);
	config_errors_free(&errors);
}

/* Every row: what replaces a part of the good file, and the text one of the errors has to hold. */
static void
test_config_refuses_with_line_value_and_remedy(void **state)
{
	static const struct {
		const char *label;
		struct parts p;
		const char *want[3];
	} rows[] = {
		{ "unknown setting", { .rest = "greylist = {\n block = \"4m\";\n blok = \"4m\"; };" },
			{ "/etc/greyline.conf:7: greylist.blok: unknown setting; did you mean greylist.block?" } },
		{ "unknown group", { .rest = "graylist = { block = 1; };" }, { ":5: graylist: unknown setting" } },
		{ "value", { .rest = "greylist = { block = \"4x\"; };" },
			{ ":5: greylist.block = \"4x\": ", "1s to 1d" } },
		{ "range", { .rest = "greylist = {\n\n block = 0; };" },
			{ ":7: greylist.block = 0: out of range; right is 1s to 1d" } },
		{ "negative", { .rest = "greylist = { block = \"-5s\"; };" },
			{ ":5: greylist.block = \"-5s\": out of range" } },
		{ "float", { .rest = "greylist = { block = 1.5; };" }, { ":5: greylist.block = 1.5: not a duration" } },
		{ "word", { .first = "hostname = \"gw.example.org\"; mode = \"enforced\";" },
			{ ":1: mode = \"enforced\": right is observe, soft or enforce" } },
		{ "relation", { .rest = "greylist = { pass = \"4m\"; };" },
			{ ":5: greylist.pass: has to be longer than greylist.block" } },
		{ "no host name", { .first = "mode = \"soft\";" }, { ": hostname: has to be given" } },
		{ "a group that is a value", { .rest = "greylist = 5;" }, { ":5: greylist: is a group" } },
		{ "syntax", { .rest = "greylist = = { };" },
			{ "/etc/greyline.conf:5: syntax error here or just before" } },
		{ "metrics address", { .rest = "metrics = { listen = \"localhost\"; };" },
			{ ":5: metrics.listen: has to be an address of ours" } },
		{ "twice", { .rest = "mode = \"soft\"; mode = \"soft\";" }, { ":5: " } },
		{ "include", { .rest = "@include \"/etc/passwd\"" }, { ":5: @include is not supported" } },
		{ "several errors at once",
			{ .first = "mode = 1;", .rest = "greylist = { blok = 1; };\nlog = { formatt = \"kv\"; };" },
			{ ":1: mode = 1: ", ":5: greylist.blok",
				":6: log.formatt: unknown setting; did you mean log.format?" } },
		{ "two-octet network", { .rest = "clients = { allow = [ \"192.0\" ]; };" },
			{ ":5: clients.allow: 192.0 is not a network" } },
		{ "host bits", { .rest = "clients = {\n deny = [ \"192.0.2.7/24\" ]; };" },
			{ ":6: clients.deny: 192.0.2.7/24 has host bits set; right is 192.0.2.0/24" } },
		{ "mapped IPv6", { .rest = "clients = { deny = [ \"::ffff:192.0.2.0/120\" ]; };" },
			{ ":5: clients.deny: ::ffff:192.0.2.0/120 is not a network" } },
		{ "host name list", { .rest = "clients = { allow_names = [ \"bad..name\" ]; };" },
			{ ":5: clients.allow_names: \"bad..name\" has an empty label" } },
		{ "half an address as a name", { .rest = "clients = { deny_names = [ \"192.0\" ]; };" },
			{ ":5: clients.deny_names: \"192.0\" is neither a domain name nor a network" } },
		{ "sender list", { .rest = "senders = { deny = [ \"a b@c.d\" ]; };" },
			{ ":5: senders.deny: \"a b@c.d\" has a space" } },
		{ "list of numbers", { .rest = "senders = { deny = [ 1, 2 ]; };" },
			{ ":5: senders.deny: 1 is not a text in quotes" } },
		{ "missing list file", { .rest = "clients = { deny_files = [ \"/nonexistent/list\" ]; };" },
			{ ":5: clients.deny_files: cannot read \"/nonexistent/list\"" } },
		{ "resolver", { .rest = "dns = { resolvers = [ \"ns.example.org\" ]; };" },
			{ ":5: dns.resolvers: \"ns.example.org\" is not a server" } },
		{ "zone", { .rest = "dnsbl = { zones = ( \"bl.example=128.0.0.2\" ); };" },
			{ ":5: dnsbl.zones[0]: " } },
		{ "zone twice", { .rest = "dnsbl = { zones = ( \"bl.example\",\n \"BL.example\" ); };" },
			{ ":6: dnsbl.zones[1]: this zone is there already (line 5)" } },
		{ "a list of names that speaks for clients",
			{ .rest = "dnsbl = { sender_zones = ( \"dbl.example*-2\" ); };" },
			{ ":5: dnsbl.sender_zones[0]: negative weights are for lists of client addresses" } },
		{ "a test point that is no domain",
			{ .rest = "dnsbl = { helo_zones = ( { zone = \"hbl.example\"; test_point = \"a b\"; } ); };" },
			{ ":5: dnsbl.helo_zones[0]: test_point = \"a b\": the zone is no domain" } },
		{ "a test point of a list of addresses",
			{ .rest = "dnsbl = { zones = ( { zone = \"bl.example\"; test_point = \"x\"; } ); };" },
			{ ":5: dnsbl.zones[0]: unknown member test_point" } },
		{ "a key is not told in an error",
			{ .rest = "dnsbl = { sender_zones = ( { zone = \"secretkey.example\"; filters = [ \"1.2.3.4\" "
				  "]; } ); };" },
			{ ":5: dnsbl.sender_zones[0]: \"1.2.3.4\": listings are answers in 127.0.0.0/8 only" } },
		{ "a key in a zone without a name",
			{ .rest = "dnsbl = { zones = ( \"abcdefgh12345678ijklmnop.zen.example=127.0.0.2*3\" ); };" },
			{ ":5: dnsbl.zones[0]: a label of this zone looks like a key" } },
		{ "a key in a group without a name",
			{ .rest = "dnsbl = { zones = ( { zone = \"abcdefgh12345678.zen.example\"; } ); };" },
			{ ":5: dnsbl.zones[0]: a label of this zone looks like a key" } },
		{ "zone member", { .rest = "dnsbl = { zones = ( { zone = \"bl.example\"; filter = [ ]; } ); };" },
			{ "unknown member filter; did you mean filters?" } },
		{ "no ports", { .ports = "" }, { ": ports: has to be given" } },
		{ "port without addresses", { .ports = "ports = ( { name = \"wan\"; device = \"x\"; } );" },
			{ ":2: ports.wan: addresses has to be given" } },
		{ "address without length",
			{ .ports = "ports = ( { name = \"wan\"; device = \"x\"; addresses = [ \"198.18.0.2\" ]; } );" },
			{ ":2: ports.wan: addresses: \"198.18.0.2\"" } },
		{ "gateway elsewhere",
			{ .ports = "ports = ( { name = \"wan\"; device = \"x\"; addresses = [ \"198.18.0.2/24\" ]; "
				   "gateway4 = \"10.0.0.1\"; } );" },
			{ ":2: ports.wan: gateway4 is in none of the port's networks" } },
		{ "mtu",
			{ .ports = "ports = ( { name = \"wan\"; device = \"x\"; mtu = 100; addresses = [ "
				   "\"198.18.0.2/16\" ]; } );" },
			{ ":2: ports.wan: mtu = 100: right is 1280 to 9000" } },
		{ "no VLAN is no option, not 0",
			{ .ports = "ports = ( { name = \"wan\"; device = \"x\"; vlan = 0; addresses = [ "
				   "\"198.18.0.2/16\" ]; } );" },
			{ ":2: ports.wan: vlan = 0: right is 1 to 4094" } },
		{ "a reserved VLAN",
			{ .ports = "ports = ( { name = \"wan\"; device = \"x\"; vlan = 4095; addresses = [ "
				   "\"198.18.0.2/16\" ]; } );" },
			{ ":2: ports.wan: vlan = 4095: right is 1 to 4094" } },
		{ "port member",
			{ .ports = "ports = ( { name = \"wan\"; devise = \"x\"; addresses = [ \"198.18.0.2/16\" ]; } "
				   ");" },
			{ ":2: ports.wan: unknown member devise; did you mean device?",
				":2: ports.wan: device has to be given" } },
		{ "mx without domains",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; "
				       "pools = [ \"default\" ]; } );" },
			{ ":4: listeners.mx: domains (or domains_file) has to be given" } },
		{ "mx with empty domains",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; "
				       "domains = [ ]; pools = [ \"default\" ]; } );" },
			{ ":4: listeners.mx: domains (or domains_file) has to be given" } },
		{ "star",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; "
				       "domains = [ \"*\" ]; pools = [ \"default\" ]; } );" },
			{ "i_trust_the_backend = true" } },
		{ "auth of submission",
			{ .listeners = "listeners = ( { name = \"in\"; role = \"submission\"; addresses = [ "
				       "\"198.18.0.2\" ]; "
				       "auth = \"relay\"; pools = [ \"default\" ]; } );" },
			{ ":4: listeners.in: auth = \"relay\": a submission listener is spliced" } },
		{ "auth by another name",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; "
				       "domains = [ \"a.b\" ]; auth = \"on\"; pools = [ \"default\" ]; } );" },
			{ ":4: listeners.mx: auth" } },
		{ "trusted host bits",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; "
				       "domains = [ \"a.b\" ]; trusted_proxies = [ \"198.18.0.9/24\" ]; pools = [ "
				       "\"default\" ]; } );" },
			{ ":4: listeners.mx: trusted_proxies: 198.18.0.9/24 has host bits set; right is "
			  "198.18.0.0/24" } },
		{ "trusted text",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; "
				       "domains = [ \"a.b\" ]; trusted_proxies = [ \"everybody\" ]; pools = [ "
				       "\"default\" ]; } );" },
			{ "trusted_proxies: \"everybody\" is not a network" } },
		{ "trusted everybody",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; "
				       "domains = [ \"a.b\" ]; trusted_proxies = [ \"0.0.0.0/0\", \"::/0\" ]; pools = "
				       "[ \"default\" ]; } );" },
			{ "trusted_proxies: 0.0.0.0/0 would let anybody name any client",
				"trusted_proxies: ::/0 would let anybody" } },
		{ "listener's address",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.3\" ]; "
				       "domains = [ \"a.b\" ]; pools = [ \"default\" ]; } );" },
			{ ":4: listeners.mx: addresses: 198.18.0.3 is no port's address" } },
		{ "pool's name",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; "
				       "domains = [ \"a.b\" ]; pools = [ \"defalt\" ]; } );" },
			{ ":4: listeners.mx: pools: there is no pool \"defalt\"; did you mean default?" } },
		{ "role",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mta\"; addresses = [ \"198.18.0.2\" ]; "
				       "domains = [ \"a.b\" ]; pools = [ \"default\" ]; } );" },
			{ "role = \"mta\": right is mx or submission" } },
		{ "listener's tls",
			{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; "
				       "domains = [ \"a.b\" ]; tls = \"requre\"; pools = [ \"default\" ]; } );" },
			{ ":4: listeners.mx: tls = \"requre\": right is off, may, require or implicit; did you mean "
			  "require?" } },
		{ "tls of submission",
			{ .listeners = "listeners = ( { name = \"s\"; role = \"submission\"; addresses = [ "
				       "\"198.18.0.2\" ]; "
				       "tls = \"implicit\"; pools = [ \"default\" ]; } );" },
			{ ":4: listeners.s: tls = \"implicit\": a submission listener is spliced, so TLS is the MTA's; "
			  "right is off" } },
		{ "backend's tls",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = "
				   "\"198.18.1.3\"; "
				   "client_address = \"none\"; tls = \"always\"; } ); } );" },
			{ ":3: pools.backends.m: tls = \"always\": right is never, may or require" } },
		{ "no fingerprint",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = "
				   "\"198.18.1.3\"; "
				   "client_address = \"none\"; tls = \"require\"; tls_fingerprints = [ \"ab:cd\" ]; } "
				   "); } );" },
			{ "tls_fingerprints: \"ab:cd\" is not a SHA-256; right are 64 hexadecimal digits" } },
		{ "tls_ca that is not there",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = "
				   "\"198.18.1.3\"; "
				   "client_address = \"none\"; tls = \"require\"; tls_name = \"m.b\"; tls_ca = "
				   "\"/nowhere.pem\"; } ); } );" },
			{ ":3: pools.backends.m: cannot read \"/nowhere.pem\": No such file or directory" } },
		{ "tls_ca that is none",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = "
				   "\"198.18.1.3\"; "
				   "client_address = \"none\"; tls = \"require\"; tls_name = \"m.b\"; tls_ca = "
				   "\"/etc/hostname\"; } ); } );" },
			{ ":3: pools.backends.m: tls_ca = \"/etc/hostname\" holds no certificate in PEM" } },
		{ "tls_name that is a pattern",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = "
				   "\"198.18.1.3\"; "
				   "client_address = \"none\"; tls = \"require\"; tls_name = \"*\"; } ); } );" },
			{ "tls_name = \"*\" is a pattern; right is the name itself" } },
		{ "no client_address",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"mta1\"; address = "
				   "\"198.18.1.3\"; } ); } );" },
			{ ":3: pools.backends.mta1: client_address has to be given" } },
		{ "client_address",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"mta1\"; address = "
				   "\"198.18.1.3\"; client_address = \"proxy\"; } ); } );" },
			{ "client_address = \"proxy\": right is none, proxy_v1, proxy_v2 or xclient" } },
		{ "loop",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"mta1\"; address = "
				   "\"198.18.0.2\"; port = 25; client_address = \"proxy_v2\"; } ); } );" },
			{ ":3: pools.backends.mta1: 198.18.0.2 port 25 is our own listener mx: a loop" } },
		{ "no way there",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"mta1\"; address = "
				   "\"2001:db8:9::3\"; client_address = \"proxy_v2\"; } ); } );" },
			{ "2001:db8:9::3 is in no port's network" } },
		{ "xclient for submission",
			{ .listeners = "listeners = ( { name = \"s\"; role = \"submission\"; addresses = [ "
				       "\"198.18.0.2\" ]; pools = [ \"default\" ]; } );",
				.pools = "pools = ( { name = \"default\"; backends = ( { name = \"mta1\"; address = "
					 "\"198.18.1.3\"; client_address = \"xclient\"; } ); } );" },
			{ ":3: pools.backends.mta1: client_address = \"xclient\" cannot serve a submission "
			  "listener" } },
		{ "one name, two backends",
			{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = "
				   "\"198.18.1.3\"; client_address = \"none\"; },\n"
				   "{ name = \"m\"; address = \"198.18.1.4\"; client_address = \"none\"; } ); } );" },
			{ ":4: pools.backends.m: another backend has this name (line 3)" } },
		{ "one domain, two pools",
			{ .pools = "pools = ( { name = \"default\"; domains = [ \"a.b\" ]; backends = ( { name = "
				   "\"m\"; address = \"198.18.1.3\"; client_address = \"none\"; } ); },\n"
				   "{ name = \"p\"; domains = [ \"A.b\" ]; backends = ( { name = \"m\"; address = "
				   "\"198.18.1.3\"; client_address = \"none\"; } ); } );" },
			{ ":4: pools: A.b goes to pool default already (line 3)" } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config_errors errors = { 0 };
		struct config *c = parse(&rows[i].p, &errors);
		char all[8192] = "";

		CHECK_TRUE(rows[i].label, c == NULL && errors.n > 0);
		for (uint32_t k = 0; k < errors.n; k++) {
			strncat(all, errors.line[k], sizeof(all) - strlen(all) - 2);
			strcat(all, "\n");
		}
		for (unsigned k = 0; k < ARRAY_LEN(rows[i].want) && rows[i].want[k] != NULL; k++)
			if (strstr(all, rows[i].want[k]) == NULL)
				fail_msg("%s: got\n%swant %s", rows[i].label, all, rows[i].want[k]);
		config_errors_free(&errors);
	}
}

static void
test_config_takes_what_is_written_out(void **state)
{
	static const struct parts rows[] = {
		{ .pools = "pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = \"198.18.1.3\"; "
			   "client_address = \"none\"; } ); } );" },
		{ .listeners = "listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; domains "
			       "= [ \"*\" ]; i_trust_the_backend = true; pools = [ \"default\" ]; } );" },
		{ .rest = "dnsbl = { zones = [ \"bl.example\", \"wl.example=127.0.[0..255].2*-2\" ]; };" },
		{ .rest = "# a comment\n// another\n/* and\n a third */" },
		{ .rest = "recipients = { no_greylist = [ \"abuse@\", \"example.net\", \"x@example.net\", "
			  "\".example.com\" ]; };" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config_errors errors = { 0 };
		struct config *c = parse(&rows[i], &errors);

		CHECK_TRUE(errors.n > 0 ? errors.line[0] : "read", c != NULL);
		config_free(c);
		config_errors_free(&errors);
	}
}

#define BIG_SENDERS GREYLINE_SOURCE "/packaging/big-senders.list"

/* Dated, every entry with what it is for, every name more than a top level domain; on or off by one option. */
static void
test_the_shipped_list_of_big_senders(void **state)
{
	static const struct parts
		on = { .rest = "clients = { big_senders = true; big_senders_file = \"" BIG_SENDERS "\"; };" },
		off = { .rest = "clients = { big_senders = false; big_senders_file = \"" BIG_SENDERS "\"; };" },
		gone = { .rest = "clients = { big_senders = true; big_senders_file = \"/nowhere/list\"; };" };
	struct config_errors errors = { 0 };
	struct config *c = parse(&on, &errors);
	FILE *f = fopen(BIG_SENDERS, "r");
	char line[512];
	uint32_t entries = 0;
	bool dated = false;

	(void)state;
	CHECK_TRUE(errors.n > 0 ? errors.line[0] : "read", c != NULL);
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		int year, month;

		dated = dated || (sscanf(line, "# As of %4d-%2d.", &year, &month) == 2 && year >= 2026 && month >= 1 &&
					 month <= 12);
		if (line[0] == '#' || line[0] == '\n')
			continue;
		entries++;
		CHECK_TRUE(line, strstr(line, "# ") != NULL && strlen(strstr(line, "# ")) > 6);
	}
	fclose(f);
	CHECK_TRUE("dated", dated);
	CHECK_TRUE("entries", entries >= 20);
	CHECK_EQ("all of them", c->big_senders.n, entries);
	for (uint32_t i = 0; i < c->big_senders.n; i++) {
		const char *name = c->big_senders.v[i].text;

		CHECK_TRUE(name, strchr(name + 1, '.') != NULL);
		for (uint32_t k = 0; k < i; k++)
			CHECK_TRUE(name, strcmp(name, c->big_senders.v[k].text) != 0);
	}
	config_free(c);
	config_errors_free(&errors);
	c = parse(&off, &errors);
	CHECK_EQ("off", c->big_senders.n, 0);
	config_free(c);
	config_errors_free(&errors);
	c = parse(&gone, &errors);
	CHECK_TRUE("named",
		c == NULL && strstr(errors.line[0], "clients.big_senders_file: cannot read \"/nowhere/list\"") != NULL);
	config_errors_free(&errors);
}

static void
test_config_list_names_file_and_line(void **state)
{
	static const char text[] = "# networks\n192.0.2.0/24\n\n  198.51.100.7   # one "
				   "address\n192.0.2.1/24\nnonsense\n2001:db8::/32\r\n10.1\n";
	struct config_networks n = { 0 };
	struct config_errors errors = { 0 };

	(void)state;
	config_list_parse(LIST_OF_NETWORKS, "nets.txt", 3, text, sizeof(text) - 1, &n, NULL, &errors);
	CHECK_EQ("good entries", n.n, 3);
	CHECK_EQ("source", n.v[1].value >> 24, 3);
	CHECK_EQ("line", n.v[1].value & 0xffffff, 4);
	CHECK_EQ("an address is a network of its own", n.v[1].bits, 128);
	CHECK_EQ("errors", errors.n, 3);
	CHECK_STR("host bits", errors.line[0], "nets.txt:5: 192.0.2.1/24 has host bits set; right is 192.0.2.0/24");
	CHECK_TRUE("a word", strncmp(errors.line[1], "nets.txt:6: nonsense is not a network", 36) == 0);
	CHECK_TRUE("two octets", strncmp(errors.line[2], "nets.txt:8: 10.1 is not a network", 33) == 0);
	free(n.v);
	config_errors_free(&errors);
}

static void
test_config_error_lines_are_printable(void **state)
{
	const struct parts p = { .rest = "senders = { deny = [ \"a\\x01\\n\\r b\" ]; };" };
	struct config_errors errors = { 0 };

	(void)state;
	CHECK_TRUE("refused", parse(&p, &errors) == NULL && errors.n > 0);
	for (const char *c = errors.line[0]; *c != '\0'; c++)
		CHECK_TRUE("printable", *c >= 0x20 && *c < 0x7f);
	config_errors_free(&errors);
}

static void
test_config_set_lies_over_the_file(void **state)
{
	const struct parts p = { .rest = "greylist = { block = \"10s\"; };" };
	const struct option_row *block = option_find("greylist.block"), *pass = option_find("greylist.pass");
	struct config_errors errors = { 0 };
	struct config *c = parse(&p, &errors);
	char why[OPTION_ERROR_OCTETS];

	(void)state;
	CHECK_TRUE("read", c != NULL);
	CHECK_EQ("set", config_set(c, block, "20s", why), 0);
	CHECK_EQ("in force", c->values.conf.grey_block_s, 20);
	CHECK_EQ("the file's", c->file.conf.grey_block_s, 10);
	CHECK_EQ("origin", c->origin[block - option_table], ORIGIN_SET);
	CHECK_TRUE("relation", config_set(c, pass, "20s", why) != 0);
	CHECK_TRUE("says why", strstr(why, "longer than greylist.block") != NULL);
	CHECK_EQ("nothing changed", c->values.conf.grey_pass_s, 21600);
	CHECK_TRUE("only by the file", config_set(c, option_find("run_dir"), "/x", why) != 0);
	CHECK_EQ("unset", config_unset(c, block, why), 0);
	CHECK_EQ("the file's again", c->values.conf.grey_block_s, 10);
	CHECK_EQ("origin", c->origin[block - option_table], ORIGIN_FILE);
	config_free(c);
}

/* What a recipient's domain finds in the compiled set: listener bits and pool, also where narrow and wide entries overlap. */
static void
test_compile_domains_carry_what_wider_ones_say(void **state)
{
	const struct parts p = {
		.pools = "pools = ( { name = \"default\"; backends = ( { name = \"m\"; address = \"198.18.1.3\"; "
			 "client_address = \"none\"; } ); },\n"
			 "{ name = \"b\"; domains = [ \"b.example.org\", \".wide.example\" ]; backends = ( { name = "
			 "\"n\"; address = \"198.18.1.4\"; client_address = \"none\"; } ); } );",
		.listeners = "listeners = ( { name = \"one\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; domains = "
			     "[ \".example.org\", \"x.wide.example\" ]; pools = [ \"default\", \"b\" ]; },\n"
			     "{ name = \"two\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; port = 2525; domains = "
			     "[ \"b.example.org\" ]; pools = [ \"b\" ]; } );",
		.rest = "clients = { allow = [ \"192.0.2.0/24\" ]; allow_names = [ \"mx.example.net\" ]; };",
	};
	static const struct {
		const char *name;
		uint64_t listeners, pool;
	} rows[] = { { "a.example.org", 1, 0xffff }, { "b.example.org", 3, 1 }, { "example.org", 1, 0xffff },
		{ "x.wide.example", 1, 1 } };
	const struct prefix_entry theirs = {
		.addr = ip_addr_v4(0xcb007100), .bits = 120, .value = COMPILE_SOURCE_OPERATOR << 24
	};
	const struct compile_extra extra = { .deny = &theirs, .n_deny = 1, .seed = 7 };
	char path[] = "/tmp/greyline-test-XXXXXX", why[256];
	struct config_errors errors = { 0 };
	struct config *c = parse(&p, &errors);
	struct prefix_entry e;
	struct snapshot s;
	struct ip_addr addr;
	uint64_t none;
	int fd;

	(void)state;
	CHECK_TRUE(errors.n > 0 ? errors.line[0] : "read", c != NULL);
	fd = mkstemp(path);
	CHECK_TRUE("file", fd >= 0);
	close(fd);
	unlink(path);
	CHECK_EQ("written", compile_snapshot(c, &extra, "/dev/shm/x/segment", path, 5), 0);
	CHECK_EQ("mapped", snapshot_map(&s, path, why, sizeof(why)), 0);
	CHECK_EQ("generation", s.generation, 5);
	CHECK_STR("segment", s.segment_path, "/dev/shm/x/segment");
	CHECK_STR("host name", s.conf->hostname, "gw.example.org");
	CHECK_EQ("some names are allowed", s.conf->has_allowed_names, 1);
	CHECK_EQ("nobody is there to be asked", s.conf->dns_off, 1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t value = 0;

		CHECK_TRUE(rows[i].name,
			name_set_find_domain(s.domains, rows[i].name, (uint32_t)strlen(rows[i].name), &value));
		CHECK_EQ(rows[i].name, value & 0xffffffff, rows[i].listeners);
		CHECK_EQ(rows[i].name, value >> 32, rows[i].pool);
	}
	CHECK_TRUE("not ours", !name_set_find_domain(s.domains, "example.com", 11, &none));
	ip_addr_parse("192.0.2.9", &addr);
	CHECK_TRUE("allowed", prefix_table_find(s.client_allow, &addr, &e));
	CHECK_EQ("line", e.value, 7);
	ip_addr_parse("203.0.113.77", &addr);
	CHECK_TRUE("the operator's", prefix_table_find(s.client_deny, &addr, &e));
	CHECK_EQ("an older generation is refused", compile_snapshot(c, &extra, "/dev/shm/x/segment", path, 5) < 0, 1);
	snapshot_unmap(&s);
	unlink(path);
	config_free(c);
	config_errors_free(&errors);
}

static void
test_config_server_parse(void **state)
{
	static const struct {
		const char *text, *addr;
		int port; /* -1: refused */
	} rows[] = {
		{ "192.0.2.1", "192.0.2.1", 53 },
		{ "192.0.2.1:5353", "192.0.2.1", 5353 },
		{ "2001:db8::1", "2001:db8::1", 53 },
		{ "[2001:db8::1]:54", "2001:db8::1", 54 },
		{ "[2001:db8::1]", "2001:db8::1", 53 },
		{ "192.0.2.1:0", "", -1 },
		{ "192.0.2.1:65536", "", -1 },
		{ "192.0.2.1:", "", -1 },
		{ "192.0.2:53", "", -1 },
		{ "[2001:db8::1", "", -1 },
		{ "[2001:db8::1]x", "", -1 },
		{ "", "", -1 },
		{ "host:53", "", -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[IP_ADDR_TEXT_MAX_OCTETS];
		struct ip_addr addr;
		uint16_t port;
		int error = config_server_parse(rows[i].text, 53, &addr, &port);

		CHECK_EQ(rows[i].text, error == 0, rows[i].port > 0);
		if (error == 0) {
			CHECK_EQ(rows[i].text, port, rows[i].port);
			CHECK_STR(rows[i].text, ip_addr_format(&addr, text), rows[i].addr);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_takes_a_good_file),
		cmocka_unit_test(test_config_refuses_with_line_value_and_remedy),
		cmocka_unit_test(test_config_takes_what_is_written_out),
		cmocka_unit_test(test_config_list_names_file_and_line),
		cmocka_unit_test(test_the_shipped_list_of_big_senders),
		cmocka_unit_test(test_config_error_lines_are_printable),
		cmocka_unit_test(test_config_set_lies_over_the_file),
		cmocka_unit_test(test_compile_domains_carry_what_wider_ones_say),
		cmocka_unit_test(test_config_server_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
