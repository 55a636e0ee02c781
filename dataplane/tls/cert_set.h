/*
 * cert_set.h - the certificates the gateway shows: an immutable set made from a folder, and which of them a name gets.
 *
 * Flow:   main thread: cert_load() (folder -> set) -> worker_publish_certs() -> each worker makes its SSL_CTXs from the PEM octets ->
 *         worker_certs_generation() of all -> cert_set_release() of the one before
 * Touches: files of one folder, read by the main thread alone; memory for keys that is locked and never in a core dump.
 * Keeps:  a set is never changed after cert_load(); a pair is in it only when key and certificate belong together; a bad pair never
 *         replaces a good one, and a good set never an empty one; private keys are wiped when the last set that holds them goes.
 *
 * The rules of choice (what is a pair, what is bad, what stays) are written down in cert_load.c and docs/configuration.md.
 *
 * Who frees: sets are counted (cert_set_take(), cert_set_release()); the main thread holds one of the set in force. A worker that copies
 * nothing and keeps pointers into a set holds it for no longer than the main thread does: it stops to use a set in the turn in which it
 * confirms the next one. What a worker made of it (SSL_CTX, EVP_PKEY) is its own and lives as long as its sessions need it.
 */
#ifndef GREYLINE_TLS_CERT_SET_H
#define GREYLINE_TLS_CERT_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/cert_status.h"

#define CERT_PAIRS_MAX      512  /* of one set */
#define CERT_IDENTITIES_MAX 4096 /* combinations of pairs that names lead to */
#define CERT_NO_PAIR        UINT16_MAX

/* One certificate chain with its key. */
struct cert_pair {
	char label[CERT_LABEL_OCTETS]; /* of its files, unique in the set: what the operator reads */
	enum cert_key_type key_type;
	uint32_t key_bits;
	const char *chain_pem; /* the leaf first, then its issuers; not terminated */
	uint32_t chain_octets;
	uint32_t key_octets;
	const char *key_pem;           /* in locked memory, not terminated */
	int64_t not_before, not_after; /* of the leaf, seconds since 1970 */
	uint8_t spki_sha256[32];       /* of the leaf's public key, as TLSA 3 1 1 has it */
};

/* What a client is shown: at most one pair of each key type. OpenSSL holds them side by side in one SSL_CTX and takes what the client can. */
struct cert_identity {
	uint16_t pair[CERT_KEY_TYPE_N]; /* index into pairs, CERT_NO_PAIR */
};

struct cert_set {
	uint64_t generation; /* grows with each set of this process; never 0 */
	uint32_t n_pairs, n_identities;
	uint32_t n_names_dropped; /* names that got identity 0, because there were CERT_IDENTITIES_MAX others */
	const struct cert_pair *pairs;
	const struct cert_identity *identities; /* [0] is for clients without SNI and for names that are not ours */
};

/*
 * The identity for the name of a client's SNI (octets need no end, case does not matter, one dot at the end is ignored): the exact name,
 * else the wildcard of its first label (RFC 6125 section 6.4.3), else 0. *known tells whether a certificate holds the name.
 */
uint32_t cert_set_identity(const struct cert_set *set, const char *name, size_t octets, bool *known);

/* One more holder. Returns set. */
const struct cert_set *cert_set_take(const struct cert_set *set);
/* One holder less; the last one frees. NULL is nothing. Any thread. */
void cert_set_release(const struct cert_set *set);

#endif
