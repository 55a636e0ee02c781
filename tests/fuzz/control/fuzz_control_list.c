/*
 * fuzz_control_list.c - list files: every line is taken exactly or refused; a network that is taken is written back as it came.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control/config.h"
#include "dataplane/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_networks networks = { 0 };
	struct config_texts hosts = { 0 }, addresses = { 0 };
	struct config_errors errors = { 0 };

	config_list_parse(LIST_OF_NETWORKS, "fuzz", 1, (const char *)data, size, &networks, NULL, &errors);
	config_list_parse(LIST_OF_HOSTS, "fuzz", 1, (const char *)data, size, NULL, &hosts, &errors);
	config_list_parse(LIST_OF_ADDRESSES, "fuzz", 1, (const char *)data, size, NULL, &addresses, &errors);
	for (uint32_t i = 0; i < networks.n; i++) {
		struct ip_addr masked = ip_addr_mask(&networks.v[i].addr, networks.v[i].bits);
		char text[IP_ADDR_TEXT_MAX_OCTETS + 8];
		struct prefix_entry again;

		BUG_ON(!ip_addr_equal(&masked, &networks.v[i].addr));
		BUG_ON(prefix_parse(prefix_format(&networks.v[i], text), &again) != 0);
		BUG_ON(again.bits != networks.v[i].bits || !ip_addr_equal(&again.addr, &networks.v[i].addr));
	}
	for (uint32_t i = 0; i < hosts.n; i++)
		BUG_ON(config_host_wrong(hosts.v[i].text) != NULL);
	free(networks.v);
	config_texts_free(&hosts);
	config_texts_free(&addresses);
	config_errors_free(&errors);
	return 0;
}
