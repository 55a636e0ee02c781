/*
 * cert_facts.h - what can be told of one certificate: key, dates, names, digests. Of ours, and of an MTA's.
 *
 * Flow:   cert_pair.c (files of ours), stream_tls.c (what a backend showed) -> cert_facts() -> a row
 * Touches: OpenSSL.
 * Keeps:  every text is printable ASCII, terminated and bounded, whatever the certificate holds.
 * Source: RFC 5280; RFC 6125 section 6.4.4 (names); RFC 6698, 7671 (TLSA 3 1 1).
 */
#ifndef GREYLINE_TLS_CERT_FACTS_H
#define GREYLINE_TLS_CERT_FACTS_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "dataplane/base/cert_status.h"

#define CERT_HOST_MAX_OCTETS 253

/* Key, dates, issuer, digests (sha256 of the caller's library), names as far as they fit; the row's other fields stay. */
void cert_facts(X509 *x, const EVP_MD *sha256, struct cert_status *row);

/* Each host name of it as SNI can ask for it, until each() says false: subject alternatives, the common name only where there are none. */
void cert_names(X509 *x, bool (*each)(void *arg, const char *name, size_t octets), void *arg);

/* Kind of key, bits; CERT_KEY_TYPE_N: one that TLS servers do not use. */
enum cert_key_type cert_key_of(EVP_PKEY *key, uint32_t *bits);

/* Seconds since 1970; 0: not a time. */
int64_t cert_seconds(const ASN1_TIME *t);

#endif
