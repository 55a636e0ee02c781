/*
 * icmp.h - ICMP of both families: echo, errors about our segments, and the limit on what we answer.
 *
 * Flow:   net_input() -> icmp_error_parse() -> NET_ICMP_ERROR;  net.c -> icmp_limit_allow() before each answer
 * Pure:   octets and time in, fields out.
 * Keeps:  an error counts only where it quotes a TCP packet's addresses, ports and sequence number; whether that number is in flight
 *         is tcp's question (RFC 5927). A path MTU below the family's floor is raised to it (IPv4) or not believed (IPv6).
 * Source: RFC 792, RFC 1122 sections 3.2.2 and 4.2.3.9, RFC 1191, RFC 4443, RFC 8201, RFC 6633 (source quench is ignored).
 */
#ifndef GREYLINE_NET_ICMP_H
#define GREYLINE_NET_ICMP_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/net/ip.h"
#include "dataplane/net/net.h"

#define ICMP_HEADER_OCTETS 8

#define ICMP4_ECHO_REPLY 0
#define ICMP4_ECHO       8
#define ICMP6_ECHO       128
#define ICMP6_ECHO_REPLY 129

/* p: an ICMP or ICMPv6 packet of at least ICMP_HEADER_OCTETS whose checksum was verified. False: not an error, or not one about a
 * TCP packet. out->flow.local is the quoted packet's source. */
bool icmp_error_parse(const struct ip_packet *p, struct net_icmp_error *out);

/* A token bucket. */
#define ICMP_LIMIT_PER_S 1000
#define ICMP_LIMIT_BURST 200

struct icmp_limit {
	uint64_t credit_us; /* time earned and not spent */
	uint64_t last_us;
};

void icmp_limit_init(struct icmp_limit *l, uint64_t now_us);
bool icmp_limit_allow(struct icmp_limit *l, uint64_t now_us);

#endif
