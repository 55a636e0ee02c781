/*
 * tls_certs.h - certificates made for a test, as the data plane gets them: a folder of PEM files read into a set.
 *
 * Touches: a temporary folder, gone with tls_certs_free().
 */
#ifndef GREYLINE_TESTS_HELPERS_TLS_CERTS_H
#define GREYLINE_TESTS_HELPERS_TLS_CERTS_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tls/cert_store.h"
#include "tests/helpers/cert_files.h"

struct tls_certs {
	char dir[64];
	struct test_cert ca;
	char *ca_pem;
	uint32_t ca_octets;
	struct cert_store *store;
};

void tls_certs_init(struct tls_certs *c);
/* The same, and for name a certificate of each kind: LABEL-ecdsa.pem and LABEL-rsa.pem. */
void tls_certs_init_with(struct tls_certs *c, const char *label, const char *name);
void tls_certs_free(struct tls_certs *c);
/* Writes LABEL.pem: a certificate for names ("a.example,*.b.example"), signed by the CA, with its key: P-256 or RSA of 2048 bits. */
void tls_certs_write(struct tls_certs *c, const char *label, bool ecdsa, const char *names);
/* SHA-256 of the public key of LABEL.pem, as a backend's fingerprint. */
void tls_certs_fingerprint(const struct tls_certs *c, const char *label, uint8_t out[32]);
/* The folder as a set; lent until the next call. default_name as tls.default_name. */
const struct cert_set *tls_certs_set(struct tls_certs *c, const char *default_name);

#endif
