/*
 * cert_files.h - certificates made for a test: authorities, leaves, keys, written as PEM into a folder of its own.
 */
#ifndef GREYLINE_TESTS_HELPERS_CERT_FILES_H
#define GREYLINE_TESTS_HELPERS_CERT_FILES_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

struct test_cert {
	X509 *x;
	EVP_PKEY *key;
};

/* key: "P-256", "P-384", "secp256k1", "RSA:2048", "RSA:1024", "ED25519". */
EVP_PKEY *test_key(const char *key);
/* names: "a.example,b.example" as subject alternatives ("": none, the common name is cn alone). issuer NULL: self-signed.
 * Valid from now + from_s to now + to_s. */
struct test_cert test_cert_make(
	const char *key, const char *cn, const char *names, const struct test_cert *issuer, long from_s, long to_s);
void test_cert_free(struct test_cert *c);

/* Texts in PEM; the caller frees. */
char *test_cert_pem(const struct test_cert *const *chain, unsigned n);
char *test_key_pem(EVP_PKEY *key, const char *passphrase);
/* Writes by a temporary name and renames, as tools do that replace certificates. */
void test_write(const char *folder, const char *name, const char *text, unsigned mode);
/* fullchain.pem and privkey.pem in folder/label. */
void test_write_pair(const char *folder, const char *label, const struct test_cert *c, const struct test_cert *issuer);
void test_remove_tree(const char *folder);

#endif
