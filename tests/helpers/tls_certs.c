/*
 * tls_certs.c - see tls_certs.h.
 */
#include "tests/helpers/tls_certs.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/base/bug.h"

#define DAY_S 86400

void
tls_certs_init(struct tls_certs *c)
{
	const struct test_cert *chain[1] = { &c->ca };

	memset(c, 0, sizeof(*c));
	snprintf(c->dir, sizeof(c->dir), "/tmp/greyline-certs-XXXXXX");
	BUG_ON(mkdtemp(c->dir) == NULL);
	c->ca = test_cert_make("P-256", "test authority", "", NULL, -DAY_S, 90 * DAY_S);
	c->ca_pem = test_cert_pem(chain, 1);
	c->ca_octets = (uint32_t)strlen(c->ca_pem);
	c->store = cert_store_create();
	BUG_ON(c->store == NULL);
}

void
tls_certs_write(struct tls_certs *c, const char *label, bool ecdsa, const char *names)
{
	struct test_cert leaf = test_cert_make(ecdsa ? "P-256" : "RSA:2048", label, names, &c->ca, -DAY_S, 90 * DAY_S);
	const struct test_cert *chain[2] = { &leaf, &c->ca };
	char *pem = test_cert_pem(chain, 2), *secret = test_key_pem(leaf.key, NULL), *both, name[128];

	BUG_ON(asprintf(&both, "%s%s", pem, secret) < 0);
	snprintf(name, sizeof(name), "%s.pem", label);
	test_write(c->dir, name, both, 0600);
	free(both);
	free(pem);
	free(secret);
	test_cert_free(&leaf);
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
	test_remove_tree(c->dir);
	cert_store_destroy(c->store);
	test_cert_free(&c->ca);
	free(c->ca_pem);
}
