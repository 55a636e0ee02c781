/*
 * cert_facts.c - what can be told of one certificate.
 *
 * Flow:   see cert_facts.h.
 * Touches: see cert_facts.h.
 */
#include "dataplane/tls/cert_facts.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "dataplane/base/bug.h"

int64_t
cert_seconds(const ASN1_TIME *t)
{
	struct tm tm = { 0 };

	return t != NULL && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void
text_of_name(const X509_NAME *name, char *out, size_t octets)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *text = NULL;
	long n;

	if (b == NULL)
		return;
	X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 | ASN1_STRFLGS_ESC_MSB | ASN1_STRFLGS_ESC_CTRL);
	n = BIO_get_mem_data(b, &text);
	snprintf(out, octets, "%.*s", (int)MIN(n, (long)octets - 1), n > 0 ? text : "");
	for (char *p = out; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
	BIO_free(b);
}

enum cert_key_type
cert_key_of(EVP_PKEY *key, uint32_t *bits)
{
	*bits = key != NULL ? (uint32_t)MAX(EVP_PKEY_get_bits(key), 0) : 0;
	if (key == NULL)
		return CERT_KEY_TYPE_N;
	if (EVP_PKEY_is_a(key, "RSA"))
		return CERT_KEY_RSA;
	if (EVP_PKEY_is_a(key, "EC"))
		return CERT_KEY_ECDSA;
	return EVP_PKEY_is_a(key, "ED25519") ? CERT_KEY_ED25519 : CERT_KEY_TYPE_N;
}

/* A host name as SNI can ask for it: letters, digits, hyphens, underscores, dots; a wildcard only as the whole first label. */
static bool
name_usable(const char *text, size_t n)
{
	const size_t from = n > 2 && text[0] == '*' && text[1] == '.' ? 2 : 0;

	if (n == 0 || n > CERT_HOST_MAX_OCTETS || text[from] == '.' || text[n - 1] == '.')
		return false;
	for (size_t i = from; i < n; i++) {
		const char c = text[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-' &&
			c != '_' && c != '.')
			return false;
		if (i > 0 && c == '.' && text[i - 1] == '.')
			return false;
	}
	return from == 0 || memchr(text + from, '.', n - from) != NULL; /* "*.org" is nobody's */
}

static bool
one_name(const ASN1_STRING *s, bool (*each)(void *arg, const char *name, size_t octets), void *arg)
{
	const char *text = (const char *)ASN1_STRING_get0_data(s);
	const size_t n = (size_t)MAX(ASN1_STRING_length(s), 0);
	char name[CERT_HOST_MAX_OCTETS + 1];

	if (!name_usable(text, n))
		return true;
	for (size_t i = 0; i < n; i++)
		name[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
	name[n] = '\0';
	return each(arg, name, n);
}

void
cert_names(X509 *x, bool (*each)(void *arg, const char *name, size_t octets), void *arg)
{
	GENERAL_NAMES *alts = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	const X509_NAME *subject = X509_get_subject_name(x);
	bool more = true;
	int cn;

	for (int i = 0; more && i < sk_GENERAL_NAME_num(alts); i++) { /* -1 of NULL */
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(alts, i);

		if (g->type == GEN_DNS)
			more = one_name(g->d.dNSName, each, arg);
	}
	cn = alts == NULL ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
	if (cn >= 0)
		(void)one_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, cn)), each, arg);
	GENERAL_NAMES_free(alts);
	ERR_clear_error();
}

struct listing {
	struct cert_status *row;
	size_t at;
};

static bool
list_name(void *arg, const char *name, size_t octets)
{
	struct listing *l = arg;
	struct cert_status *row = l->row;

	if (l->at + octets + 2 < sizeof(row->names))
		l->at += (size_t)snprintf(
			row->names + l->at, sizeof(row->names) - l->at, "%s%s", row->n_names > 0 ? " " : "", name);
	row->n_names++;
	return true;
}

void
cert_facts(X509 *x, const EVP_MD *sha256, struct cert_status *row)
{
	struct listing l = { .row = row };
	unsigned char *der = NULL;
	unsigned octets = 0;
	int n;

	row->key_type = (uint8_t)cert_key_of(X509_get0_pubkey(x), &row->key_bits);
	row->not_before = cert_seconds(X509_get0_notBefore(x));
	row->not_after = cert_seconds(X509_get0_notAfter(x));
	text_of_name(X509_get_issuer_name(x), row->issuer, sizeof(row->issuer));
	X509_digest(x, sha256, row->cert_sha256, &octets);
	n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	if (n > 0)
		EVP_Digest(der, (size_t)n, row->spki_sha256, NULL, sha256, NULL);
	OPENSSL_free(der);
	row->n_names = 0;
	row->names[0] = '\0';
	cert_names(x, list_name, &l);
	ERR_clear_error();
}
