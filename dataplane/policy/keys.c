/*
 * keys.c - under which key of the verdict table each record stands, and how long each kind is worth its place.
 *
 * Flow:   rules, control, tools -> policy_triplet_tag() and its sisters; verdict_table_put() <- policy_ages()
 * Pure:   functions of the addresses, the paths and the table's secret.
 * Keeps:  an address and its network never share a key.
 */
#include "dataplane/policy/policy.h"

#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/client.h"
#include "dataplane/policy/grey.h"
#include "dataplane/policy/policy_impl.h"
#include "dataplane/policy/triplet.h"

struct ip_addr
policy_client_network(const struct ip_addr *client)
{
	return ip_addr_mask(client, ip_addr_is_v4(client) ? 96 + 24 : 64);
}

uint64_t
policy_triplet_tag(const struct verdict_table *t, const struct ip_addr *client, const char *from, const char *rcpt)
{
	char from_key[TRIPLET_PATH_MAX_OCTETS + 1], rcpt_key[TRIPLET_PATH_MAX_OCTETS + 1];
	const struct ip_addr network = policy_client_network(client);

	triplet_normalise_sender(from, from_key);
	triplet_normalise_rcpt(rcpt, rcpt_key);
	return triplet_tag(&t->key, &network, from_key, rcpt_key);
}

uint64_t
policy_client_tag(const struct verdict_table *t, const struct ip_addr *client)
{
	return policy_address_tag(&t->key, VT_CLIENT, client);
}

uint64_t
policy_auto_tag(const struct verdict_table *t, const struct ip_addr *client)
{
	const struct ip_addr network = policy_client_network(client);

	return policy_address_tag(&t->key, VT_AUTO, &network);
}

uint64_t
policy_trap_tag(const struct verdict_table *t, const struct ip_addr *client)
{
	return policy_address_tag(&t->key, VT_TRAP, client);
}

/* A network and the address of the same octets (.0) are two keys: the scope is part of the material. */
uint64_t
policy_trap_network_tag(const struct verdict_table *t, const struct ip_addr *client)
{
	const struct ip_addr network = policy_client_network(client);
	uint8_t material[sizeof(network.octet) + 1];

	memcpy(material, network.octet, sizeof(network.octet));
	material[sizeof(network.octet)] = 'n';
	return policy_tag(&t->key, VT_TRAP, material, sizeof(material));
}

uint64_t
policy_tls_tag(const struct verdict_table *t, const struct ip_addr *client)
{
	return policy_address_tag(&t->key, VT_TLS, client);
}

struct grey_conf
policy_grey_conf(const struct conf *conf, bool doubt)
{
	const uint64_t block_s = (uint64_t)conf->grey_block_s << (doubt ? 1 : 0);

	return (struct grey_conf){
		.block_s = (uint32_t)MIN(block_s, UINT32_MAX),
		.pass_s = conf->grey_pass_s,
		.expire_s = conf->grey_expire_s,
		.lapse_memory_s = conf->grey_lapse_memory_s,
		.window_max_s = conf->grey_window_max_s,
	};
}

struct vt_ages
policy_ages(const struct conf *conf, uint32_t now_s)
{
	const struct grey_conf grey = policy_grey_conf(conf, false);

	return (struct vt_ages){
		.now_s = now_s,
		.grey_s = (uint32_t)MIN((uint64_t)grey_window_s(&grey, 0) + conf->grey_lapse_memory_s, UINT32_MAX),
		.white_s = conf->grey_expire_s,
		.client_s = (uint32_t)MIN((uint64_t)conf->client_fresh_s * CLIENT_USABLE_FACTOR, UINT32_MAX),
		.auto_s = conf->grey_expire_s,
		.tls_good_s = HANDSHAKE_GOOD_S + HANDSHAKE_RENEW_S,
		.tls_failed_s = HANDSHAKE_MEMORY_S,
	};
}
