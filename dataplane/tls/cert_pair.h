/*
 * cert_pair.h - one certificate chain and its private key: read from files, checked, held.
 *
 * Flow:   cert_store.c (which files) -> cert_pair_load() -> cert_item -> sets
 * Touches: the files named; OpenSSL; for each key some pages of its own that are locked and in no core dump.
 * Keeps:  an item is whole and checked, or is not there; its key's octets are wiped when the last holder goes.
 */
#ifndef GREYLINE_TLS_CERT_PAIR_H
#define GREYLINE_TLS_CERT_PAIR_H

#include <openssl/types.h>
#include <stdatomic.h>

#include "dataplane/tls/cert_set.h"

#define CERT_CHAIN_FILE_MAX_OCTETS (256u << 10)
#define CERT_KEY_FILE_MAX_OCTETS   (64u << 10) /* alone; with its chain in one file: the sum */
#define CERT_CHAIN_MAX             10
#define CERT_NAMES_PER_PAIR_MAX    256

struct cert_item {
	atomic_uint holders;
	struct cert_pair pair;
	struct cert_status status; /* as it was found; state and why are the store's */
	char *chain;               /* pair.chain_pem: the certificates alone, written anew */
	char *key;                 /* pair.key_pem: the file as it is */
	size_t key_room;           /* of the mapping */
	uint32_t n_names;
	char **names; /* lower case, "*.x" for a wildcard; one allocation with its texts */
};

/* The files of a pair; key NULL: in the same file as the chain. */
struct cert_files {
	const char *label, *chain, *key;
};

/*
 * Reads and checks. Gives the item with one holder, or NULL with the reason in why (CERT_TEXT_OCTETS) and in *row what could be
 * learned all the same. Dates are not judged here: a pair may be right and not of this day. An item's status.why may hold a warning.
 */
struct cert_item *cert_pair_load(OSSL_LIB_CTX *lib, const struct cert_files *files, struct cert_status *row, char *why);

struct cert_item *cert_item_take(struct cert_item *item);
void cert_item_release(struct cert_item *item);

#endif
