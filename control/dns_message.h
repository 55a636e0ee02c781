/*
 * dns_message.h - an answer of a resolver, read by a bounded parser of our own.
 *
 * Flow:   c-ares (raw answer) -> dns_answer_parse() -> resolver.c
 * Pure:   octets in; names and addresses out.
 * Keeps:  never reads outside the message; compression loops, chains and counts are bounded; only records that belong to the question,
 *         by way of its CNAMEs, are taken; names come out as printable ASCII.
 * Source: RFC 1035 section 4, RFC 2181 section 5, RFC 2308 (negative answers), RFC 2317 (CNAME in reverse zones), RFC 6891.
 */
#ifndef GREYLINE_CONTROL_DNS_MESSAGE_H
#define GREYLINE_CONTROL_DNS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/addr.h"

#define DNS_NAME_OCTETS 256 /* as text with NUL; longer after escaping: cut */
#define DNS_ADDRS_MAX   64
#define DNS_NAMES_MAX   16
#define DNS_TEXT_OCTETS 201 /* of a TXT record, with NUL: POLICY section 4 */
#define DNS_CNAMES_MAX  8
#define DNS_RECORDS_MAX 512 /* of all sections; more is malformed */

enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_TXT = 16, DNS_AAAA = 28 };

enum dns_status {
	DNS_OK,      /* records are there */
	DNS_NONE,    /* NXDOMAIN, or no record of the type */
	DNS_TEMPERR, /* SERVFAIL, REFUSED, time-out, truncated, malformed, a CNAME that leads nowhere: says nothing */
};

struct dns_answer {
	enum dns_status status;
	uint32_t ttl_s; /* smallest of all that was used; of a negative answer by its SOA, 0 when it has none */
	uint32_t n_addrs, n_names; /* at most the caps; what is beyond is dropped */
	struct ip_addr addr[DNS_ADDRS_MAX];
	char name[DNS_NAMES_MAX][DNS_NAME_OCTETS];
	char text[DNS_TEXT_OCTETS]; /* of TXT: the first record, "" without */
};

/* The answer to a question for (name, type). name without final dot, compared without case. */
void dns_answer_parse(
	const uint8_t *message, size_t octets, const char *name, enum dns_type type, struct dns_answer *out);

/* The name under which an address is asked for: reversed octets or nibbles, then zone ("in-addr.arpa", "ip6.arpa" for NULL). Returns the
 * octets written, 0 when out is too small. */
size_t dns_reverse_name(const struct ip_addr *addr, const char *zone, char *out, size_t room);

#endif
