/*
 * cert_files.c - see cert_files.h.
 */
#include "tests/helpers/cert_files.h"

#include <ftw.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/base/bug.h"

EVP_PKEY *
test_key(const char *key)
{
	EVP_PKEY *k;

	if (strncmp(key, "RSA:", 4) == 0)
		k = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)atoi(key + 4));
	else if (strcmp(key, "ED25519") == 0)
		k = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		k = EVP_PKEY_Q_keygen(NULL, NULL, "EC", key);
	BUG_ON(k == NULL);
	return k;
}

static void
add_ext(X509 *x, const X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, (X509 *)(uintptr_t)issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	BUG_ON(e == NULL || X509_add_ext(x, e, -1) != 1);
	X509_EXTENSION_free(e);
}

struct test_cert
test_cert_make(
	const char *key, const char *cn, const char *names, const struct test_cert *issuer, long from_s, long to_s)
{
	static long serial = 1000;
	struct test_cert c = { .x = X509_new(), .key = test_key(key) };
	char value[4096] = "", list[4096];
	char *rest = list, *name;
	EVP_PKEY *by = issuer != NULL ? issuer->key : c.key;
	X509_NAME *subject = X509_NAME_new();

	snprintf(list, sizeof(list), "%s", names);
	X509_set_version(c.x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c.x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(c.x), from_s);
	X509_gmtime_adj(X509_getm_notAfter(c.x), to_s);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_subject_name(c.x, subject);
	X509_set_issuer_name(c.x, issuer != NULL ? X509_get_subject_name(issuer->x) : subject);
	X509_NAME_free(subject);
	X509_set_pubkey(c.x, c.key);
	add_ext(c.x, issuer != NULL ? issuer->x : c.x, NID_basic_constraints,
		names[0] == '\0' ? "CA:TRUE" : "CA:FALSE");
	while ((name = strsep(&rest, ",")) != NULL && name[0] != '\0')
		snprintf(value + strlen(value), sizeof(value) - strlen(value), "%sDNS:%s", value[0] != '\0' ? "," : "",
			name);
	if (value[0] != '\0')
		add_ext(c.x, issuer != NULL ? issuer->x : c.x, NID_subject_alt_name, value);
	BUG_ON(X509_sign(c.x, by, EVP_PKEY_is_a(by, "ED25519") ? NULL : EVP_sha256()) == 0);
	return c;
}

void
test_cert_free(struct test_cert *c)
{
	X509_free(c->x);
	EVP_PKEY_free(c->key);
	*c = (struct test_cert){ 0 };
}

static char *
text_of(BIO *b)
{
	char *data, *text;
	long n = BIO_get_mem_data(b, &data);

	text = strndup(data, (size_t)n);
	BUG_ON(text == NULL);
	BIO_free(b);
	return text;
}

char *
test_cert_pem(const struct test_cert *const *chain, unsigned n)
{
	BIO *b = BIO_new(BIO_s_mem());

	for (unsigned i = 0; i < n; i++)
		BUG_ON(PEM_write_bio_X509(b, chain[i]->x) != 1);
	return text_of(b);
}

char *
test_key_pem(EVP_PKEY *key, const char *passphrase)
{
	BIO *b = BIO_new(BIO_s_mem());

	BUG_ON(PEM_write_bio_PKCS8PrivateKey(b, key, passphrase != NULL ? EVP_aes_128_cbc() : NULL, passphrase,
		       passphrase != NULL ? (int)strlen(passphrase) : 0, NULL, NULL) != 1);
	return text_of(b);
}

void
test_write(const char *folder, const char *name, const char *text, unsigned mode)
{
	char path[512], temporary[600];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	snprintf(temporary, sizeof(temporary), "%s/.new", folder);
	(void)unlink(temporary);
	f = fopen(temporary, "w");
	BUG_ON(f == NULL);
	fputs(text, f);
	fchmod(fileno(f), mode);
	fclose(f);
	BUG_ON(rename(temporary, path) != 0);
}

void
test_write_pair(const char *folder, const char *label, const struct test_cert *c, const struct test_cert *issuer)
{
	const struct test_cert *chain[2] = { c, issuer };
	char *pem = test_cert_pem(chain, issuer != NULL ? 2 : 1), *key = test_key_pem(c->key, NULL);
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder, label);
	(void)mkdir(path, 0755);
	test_write(path, "fullchain.pem", pem, 0644);
	test_write(path, "privkey.pem", key, 0600);
	free(pem);
	free(key);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
test_remove_tree(const char *folder)
{
	(void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
