/*
 * triplet.h - the key of a greylist record: client network, normalised sender, folded recipient.
 *
 * Pure:   octets in, a tag out.
 * Keeps:  only the key is normalised; the backend gets the client's octets. Equal mail by a human's judgement gives an equal tag: VERP,
 *         BATV, +tag, SRS (PITFALLS 39).
 * Source: POLICY section 3; RFC 5321 section 2.3.11 and 4.1.2 for quoting; RFC 5891 for U-labels (libidn2).
 */
#ifndef GREYLINE_POLICY_TRIPLET_H
#define GREYLINE_POLICY_TRIPLET_H

#include <stdint.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/siphash.h"
#include "dataplane/table/verdict_table.h"

#define TRIPLET_PATH_MAX_OCTETS 320

/* Normalised sender or recipient into out (TRIPLET_PATH_MAX_OCTETS + 1), NUL-terminated. "" (the null sender) stays "". */
void triplet_normalise_sender(const char *path, char *out);
void triplet_normalise_rcpt(const char *path, char *out);

/* The address itself as lists compare it: source route stripped, needless quotes removed, ASCII letters folded, domain as A-labels;
 * no tag or digit dropped. Its length. */
uint32_t triplet_canonical(const char *path, char *out);

/* The sender's part of the key from its canonical address of n octets: what triplet_normalise_sender() gives for every spelling of it. Its length. */
uint32_t triplet_sender_key(const char *canonical, uint32_t n, char *out);

/* The part after the last '@' of a canonical or normalised path; "" when there is none. Lends a pointer into path. */
const char *triplet_domain(const char *path);
const char *triplet_domain_of(const char *path, uint32_t n); /* of n octets */

/* A domain as its key: ASCII letters folded, U-labels as A-labels, one final dot dropped. out: TRIPLET_PATH_MAX_OCTETS + 1. */
void triplet_normalise_domain(const char *domain, char *out);

/* Of a network (policy_client_network()) and a sender and recipient that are normalised already. Never 0. */
uint64_t triplet_tag(
	const struct siphash_key *key, const struct ip_addr *network, const char *sender, const char *rcpt);

/* What a triplet's tag is a hash of: the network, the sender's part, a NUL, the recipient. Behind the network it is what a pair's is. */
struct triplet_key {
	uint32_t len_octets;
	struct ip_addr network;
	char names[2 * (TRIPLET_PATH_MAX_OCTETS + 1)];
};

/* Of canonical paths. */
void triplet_key_make(struct triplet_key *k, const struct ip_addr *network, const char *sender, uint32_t n_sender,
	const char *rcpt, uint32_t n_rcpt);
uint64_t triplet_key_tag(const struct siphash_key *key, const struct triplet_key *k);
uint64_t triplet_key_pair_tag(const struct siphash_key *key, const struct triplet_key *k);

/* Of any kind over its key material. Never 0. */
uint64_t policy_tag(const struct siphash_key *key, enum vt_kind kind, const void *material, uint32_t len_octets);

#endif
