/*
 * fuzz_proxy_header.c - any octets as a PROXY header.
 *
 * Keeps:  nothing beyond the octets given is read; a prefix never says less than "more" of what the whole says; what
 *         is parsed can be built again and parses to the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/smtp/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum proxy_parse
parse(const uint8_t *data, uint32_t len, struct proxy_addrs *a, uint32_t *used)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	enum proxy_parse result;

	memcpy(copy, data, len);
	*used = 0;
	result = proxy_header_parse(copy, len, a, used);
	free(copy);
	BUG_ON(*used > len || *used > PROXY_HEADER_MAX_OCTETS);
	BUG_ON((result == PROXY_DONE || result == PROXY_LOCAL) != (*used > 0));
	BUG_ON(result == PROXY_MORE && len >= PROXY_HEADER_MAX_OCTETS);
	return result;
}

static bool
same(const struct proxy_addrs *a, const struct proxy_addrs *b)
{
	return ip_addr_equal(&a->src, &b->src) && ip_addr_equal(&a->dst, &b->dst) && a->src_port == b->src_port &&
	       a->dst_port == b->dst_port;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint32_t len = (uint32_t)MIN(size, 1024);
	struct proxy_addrs a = { 0 }, b = { 0 };
	uint8_t built[PROXY_HEADER_MAX_OCTETS];
	uint32_t used, used_prefix, n;
	const enum proxy_parse result = parse(data, len, &a, &used);

	for (uint32_t i = 0; i < MIN(len, 600u); i++) {
		const enum proxy_parse prefix = parse(data, i, &b, &used_prefix);

		if (prefix == PROXY_MORE)
			continue;
		BUG_ON(prefix != result || (prefix != PROXY_BROKEN && used_prefix != used));
	}
	if (result != PROXY_DONE)
		return 0;
	n = proxy_header_build_v2(&a, built);
	BUG_ON(parse(built, n, &b, &used_prefix) != PROXY_DONE || used_prefix != n || !same(&a, &b));
	n = proxy_header_build_v1(&a, built);
	BUG_ON(parse(built, n, &b, &used_prefix) != PROXY_DONE || used_prefix != n || !same(&a, &b));
	return 0;
}
