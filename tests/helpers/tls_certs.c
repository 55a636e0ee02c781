/*
 * tls_certs.c - see tls_certs.h.
 */
#include "tests/helpers/tls_certs.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"

static X509 *
make(struct tls_certs *c, EVP_PKEY *key, const char *cn, const char *names, bool is_ca)
{
	X509 *x = X509_new();
	X509_NAME *subject = X509_get_subject_name(x);
	char san[1024] = "", copy[1024];
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++c->serial);
	X509_gmtime_adj(X509_getm_notBefore(x), -86400);
	X509_gmtime_adj(X509_getm_notAfter(x), 90 * 86400L);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, c->ca != NULL ? X509_get_subject_name(c->ca) : subject);
	X509V3_set_ctx(&ctx, c->ca != NULL ? c->ca : x, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
	if (names != NULL) {
		snprintf(copy, sizeof(copy), "%s", names);
		for (char *name = strtok(copy, ","); name != NULL; name = strtok(NULL, ","))
			snprintf(san + strlen(san), sizeof(san) - strlen(san), "%sDNS:%s", san[0] != '\0' ? "," : "",
				name);
		e = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san);
		X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	BUG_ON(X509_sign(x, c->ca_key != NULL ? c->ca_key : key, EVP_sha256()) == 0);
	return x;
}

void
tls_certs_init(struct tls_certs *c)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem;

	memset(c, 0, sizeof(*c));
	snprintf(c->dir, sizeof(c->dir), "/tmp/greyline-certs-XXXXXX");
	BUG_ON(mkdtemp(c->dir) == NULL);
	c->ca_key = EVP_EC_gen("P-256");
	c->ca = make(c, c->ca_key, "test authority", NULL, true);
	PEM_write_bio_X509(bio, c->ca);
	c->ca_octets = (uint32_t)BIO_get_mem_data(bio, &pem);
	c->ca_pem = malloc(c->ca_octets);
	memcpy(c->ca_pem, pem, c->ca_octets);
	BIO_free(bio);
	c->store = cert_store_create();
	BUG_ON(c->store == NULL);
}

void
tls_certs_write(struct tls_certs *c, const char *label, bool ecdsa, const char *names)
{
	EVP_PKEY *key = ecdsa ? EVP_EC_gen("P-256") : EVP_RSA_gen(2048);
	X509 *x = make(c, key, label, names, false);
	char path[256], tmp[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.pem", c->dir, label);
	snprintf(tmp, sizeof(tmp), "%s/.new", c->dir);
	f = fopen(tmp, "w");
	BUG_ON(f == NULL || chmod(tmp, 0600) != 0);
	PEM_write_X509(f, x);
	PEM_write_X509(f, c->ca);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	BUG_ON(fclose(f) != 0 || rename(tmp, path) != 0);
	X509_free(x);
	EVP_PKEY_free(key);
}

void
tls_certs_init_with(struct tls_certs *c, const char *label, const char *name)
{
	char file[64];

	tls_certs_init(c);
	snprintf(file, sizeof(file), "%s-ecdsa", label);
	tls_certs_write(c, file, true, name);
	snprintf(file, sizeof(file), "%s-rsa", label);
	tls_certs_write(c, file, false, name);
}

void
tls_certs_fingerprint(const struct tls_certs *c, const char *label, uint8_t out[32])
{
	char path[256];
	FILE *f;
	X509 *x;
	uint8_t *der = NULL;
	int n;

	snprintf(path, sizeof(path), "%s/%s.pem", c->dir, label);
	f = fopen(path, "r");
	BUG_ON(f == NULL);
	x = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	BUG_ON(n <= 0 || EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL) != 1);
	OPENSSL_free(der);
	X509_free(x);
}

const struct cert_set *
tls_certs_set(struct tls_certs *c, const char *default_name)
{
	const struct cert_look look = {
		.folder = c->dir, .default_name = default_name, .now_s = time(NULL), .now = true
	};

	cert_store_look(c->store, &look);
	for (uint32_t i = 0; i < cert_store_report(c->store)->n_rows; i++)
		if (cert_store_report(c->store)->row[i].state != CERT_GOOD)
			fprintf(stderr, "%s: %s\n", cert_store_report(c->store)->row[i].label,
				cert_store_report(c->store)->row[i].why);
	return cert_store_set(c->store);
}

void
tls_certs_free(struct tls_certs *c)
{
	DIR *d = opendir(c->dir);
	struct dirent *e;
	char path[512];

	while (d != NULL && (e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", c->dir, e->d_name);
		unlink(path);
	}
	if (d != NULL)
		closedir(d);
	rmdir(c->dir);
	cert_store_destroy(c->store);
	X509_free(c->ca);
	EVP_PKEY_free(c->ca_key);
	free(c->ca_pem);
}
