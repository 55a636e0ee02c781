/*
 * fuzz_control_dns.c - answers of a resolver: bounded, printable, and no damage becomes absence of a question that was another.
 */
#include <stdint.h>
#include <string.h>

#include "control/dns_message.h"
#include "dataplane/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum dns_type types[] = { DNS_PTR, DNS_A, DNS_AAAA, DNS_TXT };
	static struct dns_answer a;

	for (unsigned t = 0; t < ARRAY_LEN(types); t++) {
		dns_answer_parse(data, size, "7.2.0.192.in-addr.arpa", types[t], &a);
		BUG_ON(a.n_addrs > DNS_ADDRS_MAX || a.n_names > DNS_NAMES_MAX);
		BUG_ON(a.status == DNS_OK && a.n_addrs + a.n_names == 0 && types[t] != DNS_TXT);
		BUG_ON(a.status == DNS_NONE && a.n_addrs + a.n_names != 0);
		for (uint32_t i = 0; i < a.n_names; i++) {
			BUG_ON(strnlen(a.name[i], DNS_NAME_OCTETS) >= DNS_NAME_OCTETS || a.name[i][0] == '\0');
			for (const char *p = a.name[i]; *p != '\0'; p++)
				BUG_ON((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f);
		}
		for (const char *p = a.text; *p != '\0'; p++)
			BUG_ON((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f);
	}
	return 0;
}
