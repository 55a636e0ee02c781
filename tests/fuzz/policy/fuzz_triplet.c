/*
 * fuzz_triplet.c - the normaliser of senders and recipients: whatever path comes in, the key stays in its room and is the same again.
 */
#include <stdint.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/policy.h"
#include "dataplane/policy/triplet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IN_MAX_OCTETS 1024

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char in[IN_MAX_OCTETS + 1], a[TRIPLET_PATH_MAX_OCTETS + 1], b[TRIPLET_PATH_MAX_OCTETS + 1];
	const struct siphash_key key = { 1, 2 };
	const struct ip_addr network = ip_addr_v4(0xc0000200);
	const size_t n = MIN(size, (size_t)IN_MAX_OCTETS);

	memcpy(in, data, n);
	in[n] = '\0'; /* as the dialogue hands it over; an octet 0 inside ends it early */
	triplet_normalise_sender(in, a);
	triplet_normalise_sender(in, b);
	BUG_ON(strcmp(a, b) != 0);
	BUG_ON((in[0] == '\0') != (a[0] == '\0') && strchr(in, '@') == NULL);
	triplet_normalise_rcpt(in, b);
	BUG_ON(triplet_tag(&key, &network, a, b) == 0);
	triplet_canonical(b, a);
	BUG_ON(strlen(a) > TRIPLET_PATH_MAX_OCTETS);
	triplet_normalise_domain(in, a);
	BUG_ON(strlen(a) > TRIPLET_PATH_MAX_OCTETS);
	return 0;
}
