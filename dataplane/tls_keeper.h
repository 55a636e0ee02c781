/*
 * tls_keeper.h - TLS as the data plane's main thread keeps it: memory, contexts, certificates, keys of tickets.
 *
 * Flow:   main.c -> tls_keeper_create() -> tls_keeper_start(), then tls_keeper_tick() in each look -> tls/cert_store.c -> tls_context_load()
 *         of every worker -> what is in force to the segment
 * Touches: the folder of certificates; the segment's certificate area (its one writer); standard error.
 * Keeps:  what cannot be used (a bad pair, ciphers nobody knows) changes nothing that serves; the main thread never waits for a worker.
 */
#ifndef GREYLINE_DATAPLANE_TLS_KEEPER_H
#define GREYLINE_DATAPLANE_TLS_KEEPER_H

#include "dataplane/link/segment.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/tls/tls_context.h"

struct tls_keeper;

/* Before anything in the process has used OpenSSL: takes its memory over and makes a context for each worker. say: a line for standard
 * error. NULL after a message. */
struct tls_keeper *tls_keeper_create(struct segment *segment, const struct snapshot *snapshot,
	void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2))));
/* Reads certificates and keys and hands them to the contexts, before the first worker runs. */
void tls_keeper_start(struct tls_keeper *k, const struct snapshot *snapshot, uint64_t now_us);
/* Of worker i; lent until tls_keeper_destroy(). */
struct tls_context *tls_keeper_context(struct tls_keeper *k, uint32_t worker);
/* One step; costs some stat() a second. */
void tls_keeper_tick(struct tls_keeper *k, const struct snapshot *snapshot, uint64_t now_us);
/* After the workers are gone: keys are wiped. */
void tls_keeper_destroy(struct tls_keeper *k);

/* What all of OpenSSL may take, in octets, for the bounds printed at start. */
uint64_t tls_keeper_memory_octets(const struct tls_keeper *k);

#endif
