/*
 * tls_context.h - what one worker needs to speak TLS: its OSSL_LIB_CTX, its certificates, its ticket keys, its memory.
 *
 * Flow:   main thread: tls_context_create() -> tls_context_load(), tls_context_load_backends(), tls_context_tickets() whenever something
 *         changed -> mailbox -> worker: tls_context_take() each turn -> stream_tls_server(), stream_tls_client()
 * Touches: OpenSSL (memory, entropy, the clock for tickets and certificates). No file, no log.
 * Keeps:  parsing and building is done by the main thread alone; a worker takes a finished thing over by one exchange of a pointer. What
 *         was replaced lives until its last session is gone. An object of OpenSSL made for one worker is never used by another: the
 *         only thing workers have in common are the octets of certificates, keys and ticket keys.
 */
#ifndef GREYLINE_TLS_TLS_CONTEXT_H
#define GREYLINE_TLS_TLS_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/tls/cert_set.h"

#define TLS_TICKET_KEYS        3 /* the one that seals, and those before it that still open */
#define TLS_TICKET_NAME_OCTETS 16
#define TLS_TICKET_KEY_OCTETS  32
#define TLS_SESSION_MIN_OCTETS                                                                                         \
	131072 /* with less memory left no handshake begins: one takes about 70 KiB while it lasts */

struct tls_context;
struct tls_memory;

/* Sealed by key[0]. Shared by all workers: a client may come back to any of them. */
struct tls_ticket_keys {
	uint32_t n;
	struct {
		uint8_t name[TLS_TICKET_NAME_OCTETS], aes[TLS_TICKET_KEY_OCTETS], hmac[TLS_TICKET_KEY_OCTETS];
	} key[TLS_TICKET_KEYS];
};

/* A new key before the others, of fresh octets; the oldest goes. */
void tls_ticket_keys_rotate(
	struct tls_ticket_keys *keys, const uint8_t fresh[TLS_TICKET_NAME_OCTETS + 2 * TLS_TICKET_KEY_OCTETS]);

/* memory: of its sessions; keys: of what the main thread builds. Both may be NULL (the libc heap) and outlive the context. */
struct tls_context *tls_context_create(
	struct tls_memory *memory, struct tls_memory *keys, struct counters *counters, char *why, uint32_t why_octets);
/* After the worker's last session. */
void tls_context_destroy(struct tls_context *c);

/*
 * Main thread: from its next turn on the worker shows these certificates, by these options (conf's tls_ values). NULL: no TLS to clients. 0, or
 * -EINVAL and why: then all stays as it is. The set is taken for as long as it is shown.
 */
int tls_context_load(
	struct tls_context *c, const struct conf *conf, const struct cert_set *set, char *why, uint32_t why_octets);
/* Likewise for the backends that are to be spoken to by TLS; ca lies behind conf_backend.ca_offset. A backend whose options cannot be
 * used is left out, named in why (-EINVAL): require then means 451, and nothing falls back to plain. */
int tls_context_load_backends(struct tls_context *c, const struct conf_backend *backends, uint32_t n, const char *ca,
	uint64_t ca_octets, char *why, uint32_t why_octets);
void tls_context_tickets(struct tls_context *c, const struct tls_ticket_keys *keys);

/* Generation of the set that new sessions are shown; 0: none. Any thread. */
uint64_t tls_context_generation(const struct tls_context *c);

/* Worker, once a turn: takes over what the main thread has left. True when something changed. */
bool tls_context_take(struct tls_context *c);
/* Whether clients can be spoken to by TLS at all: a certificate is there. */
bool tls_context_has_certificate(const struct tls_context *c);
/* Whether there is memory for one more handshake. */
bool tls_context_has_memory(const struct tls_context *c);
/* Whether the backend of that id can be spoken to by TLS. */
bool tls_context_has_backend(const struct tls_context *c, uint32_t id);

#endif
