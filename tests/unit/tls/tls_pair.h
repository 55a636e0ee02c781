/*
 * tls_pair.h - the stream of TLS and OpenSSL as a client of its own (memory BIOs), octet by octet where that matters.
 */
#ifndef GREYLINE_TESTS_UNIT_TLS_TLS_PAIR_H
#define GREYLINE_TESTS_UNIT_TLS_TLS_PAIR_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/tls/stream_tls.h"
#include "tests/check.h"
#include "tests/helpers/tls_certs.h"

#define MESSAGE_OCTETS 100000

static struct tls_certs certs;
static struct counters counters;
static struct conf conf = { .tls_min_version = TLS_VERSION_1_2, .tls_tickets = 1, .tls_ticket_lifetime_s = 7200 };
static uint8_t message[MESSAGE_OCTETS];

/* A client: OpenSSL with memory on both ends. */
struct peer {
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out; /* what it reads, what it wrote */
};

struct want {
	int min, max;        /* 0: any */
	const char *ciphers; /* of TLS 1.2 and below */
	const char *sigalgs;
	const char *name;
	SSL_SESSION *session;
	bool old;
};

static inline void
peer_init(struct peer *p, const struct want *w)
{
	p->ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_min_proto_version(p->ctx, w->min);
	SSL_CTX_set_max_proto_version(p->ctx, w->max);
	if (w->old)
		SSL_CTX_set_security_level(p->ctx, 0);
	if (w->ciphers != NULL)
		CHECK_EQ("ciphers", SSL_CTX_set_cipher_list(p->ctx, w->ciphers), 1);
	if (w->sigalgs != NULL)
		CHECK_EQ("sigalgs", SSL_CTX_set1_sigalgs_list(p->ctx, w->sigalgs), 1);
	p->ssl = SSL_new(p->ctx);
	p->in = BIO_new(BIO_s_mem());
	p->out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(p->in, -1);
	SSL_set_bio(p->ssl, p->in, p->out);
	if (w->name != NULL)
		SSL_set_tlsext_host_name(p->ssl, w->name);
	if (w->session != NULL)
		SSL_set_session(p->ssl, w->session);
	SSL_set_connect_state(p->ssl);
}

static inline void
peer_free(struct peer *p)
{
	SSL_free(p->ssl);
	SSL_CTX_free(p->ctx);
	ERR_clear_error();
}

struct side { /* ours */
	struct tls_context *context;
	struct buf_pool *pool;
	struct stream *stream;
	uint8_t got[MESSAGE_OCTETS * 2];
	uint32_t n_got;
};

static inline struct tls_context *
context_of(const struct cert_set *set)
{
	struct tls_ticket_keys keys = { 0 };
	uint8_t fresh[TLS_TICKET_NAME_OCTETS + 2 * TLS_TICKET_KEY_OCTETS];
	char why[256] = "";
	struct tls_context *c = tls_context_create(NULL, NULL, &counters, why, sizeof(why));

	CHECK_TRUE(why, c != NULL);
	memset(fresh, 0x5a, sizeof(fresh));
	tls_ticket_keys_rotate(&keys, fresh);
	tls_context_tickets(c, &keys);
	if (set != NULL && tls_context_load(c, &conf, set, why, sizeof(why)) != 0)
		fail_msg("load: %s", why);
	tls_context_take(c);
	return c;
}

static inline struct side *
side_new(struct tls_context *c)
{
	struct side *s = calloc(1, sizeof(*s));

	s->context = c;
	s->pool = buf_malloc_create(256);
	s->stream = stream_tls_server(c, s->pool);
	CHECK_TRUE("a stream", s->stream != NULL);
	return s;
}

/* Aborts where a buffer leaked. */
static inline void
side_free(struct side *s)
{
	if (s->stream != NULL)
		s->stream->ops->destroy(s->stream);
	buf_malloc_destroy(s->pool);
	free(s);
}

/* What the stream has to say, to the client. Plain octets of ours go first. Returns those taken. */
static inline uint32_t
speak(struct side *s, struct peer *p, const uint8_t *plain, uint32_t n)
{
	uint32_t taken = 0, used;
	struct buf_view wire;

	do {
		const struct buf_view v = { plain + taken, n - taken, NULL };

		used = stream_wrap(s->stream, &v, &wire, 1000);
		taken += used;
		if (wire.len_octets > 0 && p != NULL)
			BIO_write(p->in, wire.ptr, (int)wire.len_octets);
	} while (used > 0 || wire.len_octets > 0);
	return taken;
}

/* Octets of the wire into the stream, in pieces of at most chunk. Returns those taken. */
static inline uint32_t
hear(struct side *s, const uint8_t *octets, uint32_t n, uint32_t chunk)
{
	uint32_t at = 0, used;
	struct buf_view plain;

	do {
		/* in a piece of its own: reading beyond it is seen */
		uint8_t *piece = malloc(MAX(MIN(n - at, chunk), 1u));
		const struct buf_view wire = { piece, MIN(n - at, chunk), NULL };

		if (wire.len_octets > 0)
			memcpy(piece, octets + at, wire.len_octets);
		used = stream_unwrap(s->stream, &wire, &plain, 1000);
		at += used;
		if (plain.len_octets > 0) {
			CHECK_TRUE("room", s->n_got + plain.len_octets <= sizeof(s->got));
			CHECK_TRUE("in a buffer of the pool", plain.buf != NULL);
			memcpy(s->got + s->n_got, plain.ptr, plain.len_octets);
			s->n_got += plain.len_octets;
		}
		free(piece);
	} while (used > 0 || plain.len_octets > 0);
	return at;
}

/* All that the client has written goes to the stream, and back, until neither has anything. */
static inline void
exchange(struct side *s, struct peer *p, uint32_t chunk)
{
	for (uint32_t i = 0; i < 100; i++) {
		uint8_t wire[65536];
		const int n = BIO_read(p->out, wire, sizeof(wire));

		if (n > 0)
			hear(s, wire, (uint32_t)n, chunk);
		speak(s, p, NULL, 0);
		if (SSL_is_init_finished(p->ssl) || s->stream->failed || SSL_do_handshake(p->ssl) == 1) {
			if (BIO_pending(p->out) == 0)
				return;
		}
		ERR_clear_error();
		if (BIO_pending(p->out) == 0)
			return;
	}
	fail_msg("the handshake does not end");
}

static inline void
shake(struct side *s, struct peer *p, uint32_t chunk)
{
	SSL_do_handshake(p->ssl);
	exchange(s, p, chunk);
}

/* The client says all octets, in as many records as it likes. */
static inline void
client_says(struct side *s, struct peer *p, const uint8_t *octets, uint32_t n, uint32_t chunk)
{
	CHECK_EQ("written", SSL_write(p->ssl, octets, (int)n), (int)n);
	exchange(s, p, chunk);
}

static inline void
client_hears(struct side *s, struct peer *p, const uint8_t *octets, uint32_t n)
{
	static uint8_t got[MESSAGE_OCTETS];
	uint32_t said = 0, heard = 0;

	while (heard < n) {
		int k;

		said += speak(s, p, octets + said, n - said);
		k = SSL_read(p->ssl, got + heard, (int)(n - heard));
		CHECK_TRUE("it comes", k > 0);
		heard += (uint32_t)k;
	}
	CHECK_OCTETS("heard", got, heard, octets, n);
}

/* A handshake and some octets each way; facts are checked where wanted. */
static inline void
talk(const char *label, struct tls_context *c, const struct want *w, uint32_t chunk, const char *version,
	const char *cipher)
{
	struct side *s = side_new(c);
	struct stream_tls_facts facts;
	struct peer p;

	peer_init(&p, w);
	CHECK_TRUE(label, !stream_tls_facts(s->stream, &facts));
	shake(s, &p, chunk);
	CHECK_STR(label, stream_tls_failure_word(stream_tls_failure(s->stream)), "none");
	CHECK_TRUE(label, SSL_is_init_finished(p.ssl) && !s->stream->handshaking && !s->stream->failed);
	CHECK_TRUE(label, stream_tls_facts(s->stream, &facts));
	if (version != NULL)
		CHECK_STR(label, facts.version, version);
	if (cipher != NULL)
		CHECK_STR(label, facts.cipher, cipher);
	CHECK_STR(label, facts.name, w->name != NULL ? w->name : "");
	client_says(s, &p, message, 3000, chunk);
	CHECK_OCTETS(label, s->got, s->n_got, message, 3000);
	client_hears(s, &p, message, 3000);
	SSL_shutdown(p.ssl);
	exchange(s, &p, chunk);
	CHECK_TRUE(label, s->stream->peer_eof);
	s->stream->ops->shutdown(s->stream);
	speak(s, &p, NULL, 0);
	CHECK_EQ(label, SSL_shutdown(p.ssl), 1);
	side_free(s);
	peer_free(&p);
}

static inline int
pair_set_up(void **state)
{
	(void)state;
	tls_certs_init_with(&certs, "mx", "mx.example");
	tls_certs_write(&certs, "other", true, "other.example,*.wild.example");
	for (uint32_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)(i * 2654435761u >> 13);
	return 0;
}

static inline int
pair_tear_down(void **state)
{
	(void)state;
	tls_certs_free(&certs);
	return 0;
}

#endif
