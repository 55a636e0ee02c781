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

/*
 * The tags of a triplet and of its pair, and what they are hashes of: the sender's part, a NUL, the recipient give the pair's; that and the
 * network the triplet's, so the names are hashed once. Both are of 64 bits: the detour makes no two triplets meet that would not anyway.
 * The pair's is of SipHash-1-3, for nobody is told it; of the triplet's, clients may be told 40 bits as a reference.
 */
struct triplet_key {
	uint64_t tag, pair_tag;
	char names[2 * (TRIPLET_PATH_MAX_OCTETS + 1)];
};

/* Of canonical paths. */
void triplet_key_make(struct triplet_key *k, const struct siphash_key *key, const struct ip_addr *network,
	const char *sender, uint32_t n_sender, const char *rcpt, uint32_t n_rcpt);

/* Of any other kind over its key material. Never 0. */
uint64_t policy_tag(const struct siphash_key *key, enum vt_kind kind, const void *material, uint32_t len_octets);
/* Of a kind whose material is an address or a network. */
uint64_t policy_address_tag(const struct siphash_key *key, enum vt_kind kind, const struct ip_addr *a);

#endif
