/*
 * tls_context.c - see tls_context.h.
 *
 * Choices, and why:
 *   versions    1.2 and 1.3. Below that only by option, and then with @SECLEVEL=0: TLS 1.0 and 1.1 sign with SHA-1, which level 1 refuses.
 *   ciphers     forward secrecy first, ECDSA before RSA, then plain RSA key exchange: for MTAs the alternative is plain text, so a weak
 *               but unbroken cipher is better than none (RFC 7435). Nothing anonymous, nothing without encryption, no MD5, RC4, 3DES.
 *   no DHE      neither its ciphers nor the groups ffdhe*, unless configured: a client that computes nothing makes the server compute for 4
 *               (2048 bits) to 170 ms (8192 bits, which OpenSSL takes by itself), and an lcore serves nobody meanwhile (CVE-2002-20001).
 *   tickets     one for each full handshake (an MTA comes back with one connection at a time); no cache in this process.
 *   never       renegotiation, compression, early data, client certificates.
 *
 * Source: RFC 5246, 8446, 5077, 6066 (SNI), 7435; OpenSSL 3.0.
 */
#include "dataplane/tls/tls_context.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/tls/tls_context_impl.h"

#define CIPHERS_DEFAULT "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:RSA+AESGCM:RSA+AES:!aNULL:!eNULL:!MD5:!PSK:!SRP"
#define GROUPS_DEFAULT  "X25519:P-256:X448:P-521:P-384"
#define SERVER_OPTIONS                                                                                                 \
	(SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA)
#define MODES                                                                                                          \
	(SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_ENABLE_PARTIAL_WRITE |              \
		SSL_MODE_NO_AUTO_CHAIN)

/* What is being built, and where the reason goes when it cannot be. */
struct build {
	struct tls_context *c;
	const struct conf *conf;
	char *why;
	uint32_t why_octets;
};

static bool __attribute__((format(printf, 2, 3))) fails(const struct build *b, const char *format, ...)
{
	const unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(b->why, b->why_octets, format, ap);
	va_end(ap);
	if (code != 0 && n >= 0 && (uint32_t)n < b->why_octets)
		snprintf(b->why + n, b->why_octets - (uint32_t)n, ": %s",
			reason != NULL ? reason : "refused by OpenSSL");
	ERR_clear_error();
	return false;
}

/* ---- tickets ---- */

void
tls_ticket_keys_rotate(
	struct tls_ticket_keys *keys, const uint8_t fresh[TLS_TICKET_NAME_OCTETS + 2 * TLS_TICKET_KEY_OCTETS])
{
	memmove(&keys->key[1], &keys->key[0], sizeof(keys->key[0]) * (TLS_TICKET_KEYS - 1));
	memcpy(keys->key[0].name, fresh, TLS_TICKET_NAME_OCTETS);
	memcpy(keys->key[0].aes, fresh + TLS_TICKET_NAME_OCTETS, TLS_TICKET_KEY_OCTETS);
	memcpy(keys->key[0].hmac, fresh + TLS_TICKET_NAME_OCTETS + TLS_TICKET_KEY_OCTETS, TLS_TICKET_KEY_OCTETS);
	keys->n = MIN(keys->n + 1, (uint32_t)TLS_TICKET_KEYS);
}

static bool
ticket_init(
	const struct tls_context *c, uint32_t index, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, uint8_t *iv, bool seal)
{
	struct tls_tickets *t = c->tickets;
	char sha256[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, t->keys.key[index].hmac, TLS_TICKET_KEY_OCTETS),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1 &&
	       EVP_CipherInit_ex(cipher, c->ticket_cipher, NULL, t->keys.key[index].aes, iv, seal ? 1 : 0) == 1;
}

/* 1: done; 0: no key, so a full handshake; 2: opened by an old key, so the client gets a new ticket; negative: failed. */
static int
ticket_callback(SSL *ssl, unsigned char name[TLS_TICKET_NAME_OCTETS], unsigned char iv[EVP_MAX_IV_LENGTH],
	EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
	const struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct tls_tickets *t = c->tickets;

	if (t == NULL || t->keys.n == 0)
		return 0;
	if (seal) {
		if (RAND_bytes_ex(c->lib, iv, 16, 0) != 1)
			return -1;
		memcpy(name, t->keys.key[0].name, TLS_TICKET_NAME_OCTETS);
		return ticket_init(c, 0, cipher, mac, iv, true) ? 1 : -1;
	}
	for (uint32_t i = 0; i < t->keys.n; i++)
		if (memcmp(name, t->keys.key[i].name, TLS_TICKET_NAME_OCTETS) == 0) {
			if (!ticket_init(c, i, cipher, mac, iv, false))
				return -1;
			return i == 0 ? 1 : 2;
		}
	return 0;
}

/* ---- what clients are shown ---- */

static int
sni_callback(SSL *ssl, int *alert, void *arg)
{
	const struct tls_server *server = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	bool known;
	uint32_t i;

	(void)alert;
	if (name == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	i = cert_set_identity(server->set, name, strlen(name), &known);
	if (i != 0)
		SSL_set_SSL_CTX(ssl, server->ctx[i]);
	return known ? SSL_TLSEXT_ERR_OK
	             : SSL_TLSEXT_ERR_NOACK; /* a name that is not ours gets the certificate of none */
}

static BIO *
pem_of(const char *pem, uint32_t octets)
{
	return BIO_new_mem_buf(pem, (int)octets);
}

/* Our keys have no passphrase: never ask the terminal for one. */
static int
no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return 0;
}

static X509 *
next_certificate(const struct build *b, BIO *bio)
{
	X509 *x = X509_new_ex(b->c->lib, NULL);

	if (x != NULL && PEM_read_bio_X509(bio, &x, no_passphrase, NULL) == NULL) {
		X509_free(x);
		x = NULL;
	}
	return x;
}

/* The leaf in *leaf, the rest in *chain; false where there is no leaf. */
static bool
read_chain(const struct build *b, const struct cert_pair *pair, X509 **leaf, STACK_OF(X509) * chain)
{
	BIO *bio = pem_of(pair->chain_pem, pair->chain_octets);
	X509 *x;

	if (bio == NULL)
		return false;
	*leaf = next_certificate(b, bio);
	while (*leaf != NULL && (x = next_certificate(b, bio)) != NULL)
		if (sk_X509_push(chain, x) == 0) {
			X509_free(x);
			break;
		}
	ERR_clear_error(); /* the end of the octets is one */
	BIO_free(bio);
	return *leaf != NULL;
}

static EVP_PKEY *
read_key(const struct build *b, const struct cert_pair *pair)
{
	BIO *bio = pem_of(pair->key_pem, pair->key_octets);
	EVP_PKEY *key =
		bio != NULL ? PEM_read_bio_PrivateKey_ex(bio, NULL, no_passphrase, NULL, b->c->lib, NULL) : NULL;

	BIO_free(bio);
	return key;
}

/* A pair as OpenSSL has it, read once for all identities that show it. */
struct parsed {
	X509 *leaf;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
};

static void
parsed_free(struct parsed *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		X509_free(p[i].leaf);
		sk_X509_pop_free(p[i].chain, X509_free);
		EVP_PKEY_free(p[i].key);
	}
	free(p);
}

static struct parsed *
parse_pairs(const struct build *b, const struct cert_set *set)
{
	struct parsed *p = calloc(MAX(set->n_pairs, 1u), sizeof(*p));

	for (uint32_t i = 0; p != NULL && i < set->n_pairs; i++) {
		p[i].chain = sk_X509_new_null();
		if (p[i].chain == NULL || !read_chain(b, &set->pairs[i], &p[i].leaf, p[i].chain) ||
			(p[i].key = read_key(b, &set->pairs[i])) == NULL) {
			fails(b, "%s: its certificate or key cannot be read", set->pairs[i].label);
			parsed_free(p, set->n_pairs);
			return NULL;
		}
	}
	return p;
}

static int
version_of(uint8_t version)
{
	switch ((enum conf_tls_version)version) {
	case TLS_VERSION_1_0:
		return TLS1_VERSION;
	case TLS_VERSION_1_1:
		return TLS1_1_VERSION;
	case TLS_VERSION_1_2:
		return TLS1_2_VERSION;
	case TLS_VERSION_1_3:
		return TLS1_3_VERSION;
	}
	return TLS1_2_VERSION;
}

/* Options that both sides have in common; ciphers of conf or ours. */
static bool
set_common(const struct build *b, SSL_CTX *ctx)
{
	static char groups_default[] = GROUPS_DEFAULT;
	const struct conf *conf = b->conf;
	const bool old = conf->tls_min_version < TLS_VERSION_1_2;

	SSL_CTX_set_mode(ctx, MODES);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (old)
		SSL_CTX_set_security_level(ctx, 0);
	if (SSL_CTX_set_min_proto_version(ctx, version_of(conf->tls_min_version)) != 1)
		return fails(b, "tls.min_version");
	if (SSL_CTX_set_cipher_list(ctx, conf->tls_ciphers[0] != '\0' ? conf->tls_ciphers : CIPHERS_DEFAULT) != 1)
		return fails(b, "tls.ciphers = \"%s\"", conf->tls_ciphers);
	if (conf->tls_ciphersuites[0] != '\0' && SSL_CTX_set_ciphersuites(ctx, conf->tls_ciphersuites) != 1)
		return fails(b, "tls.ciphersuites = \"%s\"", conf->tls_ciphersuites);
	if (SSL_CTX_set1_groups_list(
		    ctx, conf->tls_groups[0] != '\0' ? (char *)(uintptr_t)conf->tls_groups : groups_default) != 1)
		return fails(b, "tls.groups = \"%s\"", conf->tls_groups);
	return true;
}

static bool
set_identity(const struct build *b, SSL_CTX *ctx, const struct cert_set *set, const struct cert_identity *identity,
	const struct parsed *p)
{
	for (uint32_t k = 0; k < CERT_KEY_TYPE_N; k++) {
		const uint16_t i = identity->pair[k];

		if (i == CERT_NO_PAIR)
			continue;
		if (SSL_CTX_use_cert_and_key(ctx, p[i].leaf, p[i].key, p[i].chain, 1) != 1)
			return fails(b, "%s: certificate and key are not taken", set->pairs[i].label);
	}
	return true;
}

static SSL_CTX *
make_server_ctx(const struct build *b, struct tls_server *server, uint32_t index, const struct parsed *p)
{
	static const unsigned char sid[] = "greyline";
	SSL_CTX *ctx = SSL_CTX_new_ex(b->c->lib, NULL, TLS_server_method());

	if (ctx == NULL) {
		fails(b, "no memory for certificates");
		return NULL;
	}
	SSL_CTX_set_app_data(ctx, b->c);
	SSL_CTX_set_options(ctx, SERVER_OPTIONS | (b->conf->tls_tickets ? 0 : SSL_OP_NO_TICKET));
	SSL_CTX_set_num_tickets(ctx, b->conf->tls_tickets ? 1 : 0);
	SSL_CTX_set_timeout(ctx, MAX(b->conf->tls_ticket_lifetime_s, 1u));
	SSL_CTX_set_session_id_context(ctx, sid, sizeof(sid) - 1);
	SSL_CTX_set_dh_auto(ctx, 1);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_callback);
	SSL_CTX_set_tlsext_servername_callback(ctx, sni_callback);
	SSL_CTX_set_tlsext_servername_arg(ctx, server);
	if (!set_common(b, ctx) || !set_identity(b, ctx, server->set, &server->set->identities[index], p)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

/* ---- items, there and back ---- */

static void
item_free(struct tls_item *item)
{
	switch (item->kind) {
	case TLS_ITEM_SERVER: {
		struct tls_server *s = (struct tls_server *)(void *)item;

		for (uint32_t i = 0; i < s->n; i++)
			SSL_CTX_free(s->ctx[i]);
		cert_set_release(s->set);
		break;
	}
	case TLS_ITEM_CLIENTS: {
		struct tls_clients *s = (struct tls_clients *)(void *)item;

		for (uint32_t i = 0; i < s->n; i++)
			SSL_CTX_free(s->client[i].ctx);
		SSL_CTX_free(s->asker);
		EVP_MD_free(s->sha256);
		break;
	}
	case TLS_ITEM_TICKETS:
		OPENSSL_cleanse(&((struct tls_tickets *)(void *)item)->keys, sizeof(struct tls_ticket_keys));
		break;
	}
	OPENSSL_free(item);
}

/* Main thread: frees what the worker has given back. */
static void
tidy(struct tls_context *c)
{
	struct tls_item *item = atomic_exchange_explicit(&c->retired, NULL, memory_order_acquire);

	while (item != NULL) {
		struct tls_item *next = item->next;

		item_free(item);
		item = next;
	}
}

void
tls_item_put(struct tls_context *c, struct tls_item *item)
{
	if (item == NULL || --item->n_users > 0)
		return;
	item->next = atomic_load_explicit(&c->retired, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(
		&c->retired, &item->next, item, memory_order_release, memory_order_relaxed))
		;
}

#define MAILBOX_TAKE(box)                                                                                              \
	(atomic_load_explicit(&(box), memory_order_relaxed) == NULL                                                    \
			? NULL                                                                                         \
			: atomic_exchange_explicit(&(box), NULL, memory_order_acquire))

bool
tls_context_take(struct tls_context *c)
{
	struct tls_server *server = MAILBOX_TAKE(c->next_server);
	struct tls_clients *clients = MAILBOX_TAKE(c->next_clients);
	struct tls_tickets *tickets = MAILBOX_TAKE(c->next_tickets);

	if (server != NULL) {
		if (c->server != NULL)
			tls_item_put(c, &c->server->item);
		c->server = server;
		atomic_store_explicit(&c->generation, server->generation, memory_order_release);
		counter_inc(c->counters, CTR_tls_swapped);
	}
	if (clients != NULL) {
		if (c->clients != NULL)
			tls_item_put(c, &c->clients->item);
		c->clients = clients;
	}
	if (tickets != NULL) {
		if (c->tickets != NULL)
			tls_item_put(c, &c->tickets->item);
		c->tickets = tickets;
	}
	return server != NULL || clients != NULL || tickets != NULL;
}

/* ---- the main thread's side ---- */

static bool
build_server(const struct build *b, struct tls_server *s)
{
	struct parsed *p = parse_pairs(b, s->set);

	if (p == NULL)
		return false;
	while (s->n < s->set->n_identities) {
		s->ctx[s->n] = make_server_ctx(b, s, s->n, p);
		if (s->ctx[s->n] == NULL)
			break;
		s->n++;
	}
	parsed_free(p, s->set->n_pairs);
	return s->n == s->set->n_identities;
}

int
tls_context_load(
	struct tls_context *c, const struct conf *conf, const struct cert_set *set, char *why, uint32_t why_octets)
{
	const struct build b = { .c = c, .conf = conf, .why = why, .why_octets = why_octets };
	const uint32_t n = set != NULL ? set->n_identities : 0;
	struct tls_memory *before = tls_memory_enter(c->keys);
	struct tls_server *s;
	bool ok = true;

	tidy(c);
	ERR_clear_error();
	s = OPENSSL_zalloc(sizeof(*s) + n * sizeof(s->ctx[0]));
	if (s == NULL) {
		snprintf(why, why_octets, "no memory for certificates");
		tls_memory_enter(before);
		return -ENOMEM;
	}
	s->item = (struct tls_item){ .kind = TLS_ITEM_SERVER, .n_users = 1 };
	if (set != NULL) {
		s->set = cert_set_take(set);
		s->generation = set->generation;
		ok = build_server(&b, s);
	}
	if (!ok) {
		item_free(&s->item);
		s = NULL;
	} else if ((s = atomic_exchange_explicit(&c->next_server, s, memory_order_acq_rel)) != NULL) {
		item_free(&s->item); /* the worker had not taken it yet */
	}
	tls_memory_enter(before);
	return ok ? 0 : -EINVAL;
}

/* Whether the certificate or its public key is one of those wanted. */
static bool
fingerprint_fits(const struct tls_client *k, X509 *x)
{
	uint8_t of_certificate[EVP_MAX_MD_SIZE], of_key[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	uint8_t *der = NULL;
	const int octets = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	bool ok = octets > 0 && EVP_Digest(der, (size_t)octets, of_key, NULL, k->of->sha256, NULL) == 1 &&
	          X509_digest(x, k->of->sha256, of_certificate, &n) == 1;

	OPENSSL_free(der);
	for (uint32_t i = 0; ok && i < k->n_fingerprints; i++)
		if (memcmp(k->fingerprint[i], of_key, CONF_FINGERPRINT_OCTETS) == 0 ||
			memcmp(k->fingerprint[i], of_certificate, CONF_FINGERPRINT_OCTETS) == 0)
			return true;
	return false;
}

/* Each check that the configuration names must hold: the chain to the CA with the name, the fingerprint. */
static int
verify_callback(X509_STORE_CTX *store, void *arg)
{
	const struct tls_client *k = arg;

	if (k->by_ca && X509_verify_cert(store) != 1)
		return 0;
	if (k->n_fingerprints > 0 && !fingerprint_fits(k, X509_STORE_CTX_get0_cert(store))) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
		return 0;
	}
	return 1;
}

static bool
add_authorities(const struct build *b, SSL_CTX *ctx, const char *pem, uint32_t octets)
{
	BIO *bio = pem_of(pem, octets);
	uint32_t n = 0;
	X509 *x;

	if (bio == NULL)
		return fails(b, "no memory for authorities");
	while ((x = next_certificate(b, bio)) != NULL) {
		n += X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) == 1;
		X509_free(x);
	}
	BIO_free(bio);
	if (n == 0)
		return fails(b, "no certificate in tls_ca");
	ERR_clear_error();
	return true;
}

static SSL_CTX *
make_client_ctx(const struct build *b, const struct tls_client *k, const char *ca, uint32_t ca_octets)
{
	SSL_CTX *ctx = SSL_CTX_new_ex(b->c->lib, NULL, TLS_client_method());
	X509_VERIFY_PARAM *param;

	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_app_data(ctx, b->c);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
	if (!set_common(b, ctx) || (k->by_ca && !add_authorities(b, ctx, ca, ca_octets))) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	if (k->by_ca || k->n_fingerprints > 0) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
		SSL_CTX_set_cert_verify_callback(ctx, verify_callback, (void *)(uintptr_t)k);
	}
	param = SSL_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN); /* tls_ca may hold the very certificate */
	if (k->by_ca && k->name[0] != '\0')
		X509_VERIFY_PARAM_set1_host(param, k->name, 0);
	return ctx;
}

/* For questions what certificate an MTA shows, however old its TLS is. */
static SSL_CTX *
make_asker_ctx(struct tls_context *c, char *why, uint32_t why_octets)
{
	static const struct conf any = { .tls_min_version = TLS_VERSION_1_0 };
	const struct build b = { .c = c, .conf = &any, .why = why, .why_octets = why_octets };
	SSL_CTX *ctx = SSL_CTX_new_ex(c->lib, NULL, TLS_client_method());

	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_app_data(ctx, c);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
	if (!set_common(&b, ctx)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

int
tls_context_load_backends(struct tls_context *c, const struct conf_backend *backends, uint32_t n, const char *ca,
	uint64_t ca_octets, char *why, uint32_t why_octets)
{
	static const struct conf ours = { .tls_min_version =
						  TLS_VERSION_1_2 }; /* the link is ours: no need for anything old */
	const struct build b = { .c = c, .conf = &ours, .why = why, .why_octets = why_octets };
	struct tls_memory *before = tls_memory_enter(c->keys);
	struct tls_clients *s, *unused;
	int rc = 0;

	tidy(c);
	ERR_clear_error();
	s = OPENSSL_zalloc(sizeof(*s));
	if (s == NULL) {
		snprintf(why, why_octets, "no memory for backends");
		tls_memory_enter(before);
		return -ENOMEM;
	}
	s->item = (struct tls_item){ .kind = TLS_ITEM_CLIENTS, .n_users = 1 };
	s->sha256 = EVP_MD_fetch(c->lib, "SHA256", NULL);
	s->asker = make_asker_ctx(c, why, why_octets);
	for (uint32_t i = 0; i < n && s->n < CONF_BACKENDS_MAX; i++) {
		const struct conf_backend *from = &backends[i];
		struct tls_client *k = &s->client[s->n];

		if (from->tls == BACKEND_TLS_NEVER)
			continue;
		k->id = from->id;
		k->of = s;
		k->by_ca = from->ca_octets > 0;
		k->n_fingerprints = (uint8_t)MIN((uint32_t)from->n_fingerprints, (uint32_t)CONF_FINGERPRINTS_MAX);
		memcpy(k->fingerprint, from->fingerprint, sizeof(k->fingerprint));
		snprintf(k->name, sizeof(k->name), "%s", from->tls_name);
		BUG_ON(k->by_ca && (from->ca_offset > ca_octets || from->ca_octets > ca_octets - from->ca_offset));
		k->ctx = make_client_ctx(&b, k, k->by_ca ? ca + from->ca_offset : NULL, from->ca_octets);
		if (k->ctx == NULL)
			rc = -EINVAL;
		s->n++;
	}
	unused = atomic_exchange_explicit(&c->next_clients, s, memory_order_acq_rel);
	if (unused != NULL)
		item_free(&unused->item);
	tls_memory_enter(before);
	return rc;
}

void
tls_context_tickets(struct tls_context *c, const struct tls_ticket_keys *keys)
{
	struct tls_memory *before = tls_memory_enter(c->keys);
	struct tls_tickets *t;

	tidy(c);
	t = OPENSSL_zalloc(sizeof(*t));
	if (t != NULL) { /* else the keys before stay: they are rotated again later */
		t->item = (struct tls_item){ .kind = TLS_ITEM_TICKETS, .n_users = 1 };
		t->keys = *keys;
		t = atomic_exchange_explicit(&c->next_tickets, t, memory_order_acq_rel);
		if (t != NULL)
			item_free(&t->item);
	}
	tls_memory_enter(before);
}

uint64_t
tls_context_generation(const struct tls_context *c)
{
	return atomic_load_explicit(&c->generation, memory_order_acquire);
}

struct tls_context *
tls_context_create(
	struct tls_memory *memory, struct tls_memory *keys, struct counters *counters, char *why, uint32_t why_octets)
{
	struct tls_context *c = calloc(1, sizeof(*c));
	struct tls_memory *before;
	const struct build b = { .c = c, .why = why, .why_octets = why_octets };

	/* the system's openssl.cnf is for tools: what this gateway does must not hang on it */
	if (c == NULL || OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1) {
		snprintf(why, why_octets, "OpenSSL does not start");
		free(c);
		return NULL;
	}
	c->memory = memory;
	c->keys = keys;
	c->counters = counters;
	before = tls_memory_enter(keys);
	c->lib = OSSL_LIB_CTX_new();
	c->provider = c->lib != NULL ? OSSL_PROVIDER_load(c->lib, "default") : NULL;
	c->ticket_cipher = c->provider != NULL ? EVP_CIPHER_fetch(c->lib, "AES-256-CBC", NULL) : NULL;
	tls_memory_enter(before);
	if (c->ticket_cipher == NULL) {
		fails(&b, "OpenSSL has no default provider");
		tls_context_destroy(c);
		return NULL;
	}
	return c;
}

void
tls_context_destroy(struct tls_context *c)
{
	struct tls_memory *before;

	if (c == NULL)
		return;
	tls_context_take(c);
	before = tls_memory_enter(c->keys);
	if (c->server != NULL)
		tls_item_put(c, &c->server->item);
	if (c->clients != NULL)
		tls_item_put(c, &c->clients->item);
	if (c->tickets != NULL)
		tls_item_put(c, &c->tickets->item);
	tidy(c);
	EVP_CIPHER_free(c->ticket_cipher);
	if (c->provider != NULL)
		OSSL_PROVIDER_unload(c->provider);
	OSSL_LIB_CTX_free(c->lib);
	tls_memory_enter(before);
	free(c);
}

/* ---- the worker's side ---- */

bool
tls_context_has_certificate(const struct tls_context *c)
{
	return c->server != NULL && c->server->n > 0;
}

bool
tls_context_has_memory(const struct tls_context *c)
{
	return c->memory == NULL || tls_memory_free_octets(c->memory) >= TLS_SESSION_MIN_OCTETS;
}

const struct tls_client *
tls_context_client(const struct tls_context *c, uint32_t id)
{
	for (uint32_t i = 0; c->clients != NULL && i < c->clients->n; i++)
		if (c->clients->client[i].id == id)
			return c->clients->client[i].ctx != NULL ? &c->clients->client[i] : NULL;
	return NULL;
}

bool
tls_context_has_backend(const struct tls_context *c, uint32_t id)
{
	return tls_context_client(c, id) != NULL;
}
