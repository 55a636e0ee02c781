/*
 * tls_context_impl.h - the struct behind tls_context.h, for tls_context.c and stream_tls.c.
 *
 * Keeps:  whatever the main thread made for a worker starts with a struct tls_item: it goes to the worker by a mailbox and comes back by
 *         the list of retired ones, so that it is freed where it was made.
 */
#ifndef GREYLINE_TLS_TLS_CONTEXT_IMPL_H
#define GREYLINE_TLS_TLS_CONTEXT_IMPL_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "dataplane/tls/tls_context.h"
#include "dataplane/tls/tls_memory.h"

enum tls_item_kind { TLS_ITEM_SERVER, TLS_ITEM_CLIENTS, TLS_ITEM_TICKETS };

struct tls_item {
	struct tls_item *next; /* retired */
	enum tls_item_kind kind;
	uint32_t n_users; /* sessions, and one while it is in force: the worker's */
};

/* What clients are shown: an SSL_CTX for each identity of the set. */
struct tls_server {
	struct tls_item item;
	const struct cert_set *set; /* NULL: none */
	uint64_t generation;
	uint32_t n;
	SSL_CTX *ctx[];
};

struct tls_client {
	uint32_t id;  /* of the backend */
	SSL_CTX *ctx; /* NULL: its options cannot be used */
	struct tls_clients *of;
	bool by_ca;
	uint8_t n_fingerprints;
	uint8_t fingerprint[CONF_FINGERPRINTS_MAX][CONF_FINGERPRINT_OCTETS];
	char name[CONF_HOST_OCTETS];
};

struct tls_clients {
	struct tls_item item;
	EVP_MD *sha256;
	SSL_CTX *asker; /* believes nothing and checks nothing: what it hears is told and not acted upon */
	uint32_t n;
	struct tls_client client[CONF_BACKENDS_MAX];
};

struct tls_tickets {
	struct tls_item item;
	struct tls_ticket_keys keys;
};

struct tls_context {
	struct tls_memory *memory, *keys;
	struct counters *counters;
	OSSL_LIB_CTX *lib;
	OSSL_PROVIDER *provider;
	EVP_CIPHER *ticket_cipher;
	/* in force: the worker's */
	struct tls_server *server;
	struct tls_clients *clients;
	struct tls_tickets *tickets;
	/* the main thread's news, and what comes back to it */
	_Atomic(struct tls_server *) next_server;
	_Atomic(struct tls_clients *) next_clients;
	_Atomic(struct tls_tickets *) next_tickets;
	_Atomic(struct tls_item *) retired;
	_Atomic uint64_t generation;
};

/* Worker: one user less; the last one retires it. */
void tls_item_put(struct tls_context *c, struct tls_item *item);
const struct tls_client *tls_context_client(const struct tls_context *c, uint32_t id);

#endif
