/*
 * test_stream_tls.c - the stream of TLS against OpenSSL as a client of its own (memory BIOs), octet by octet where that matters.
 */
#include <errno.h>
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

/* ---- both sides ---- */

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

static void
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

static void
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

static struct tls_context *
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

static struct side *
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
static void
side_free(struct side *s)
{
	if (s->stream != NULL)
		s->stream->ops->destroy(s->stream);
	buf_malloc_destroy(s->pool);
	free(s);
}

/* What the stream has to say, to the client. Plain octets of ours go first. Returns those taken. */
static uint32_t
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
static uint32_t
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
static void
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

static void
shake(struct side *s, struct peer *p, uint32_t chunk)
{
	SSL_do_handshake(p->ssl);
	exchange(s, p, chunk);
}

/* The client says all octets, in as many records as it likes. */
static void
client_says(struct side *s, struct peer *p, const uint8_t *octets, uint32_t n, uint32_t chunk)
{
	CHECK_EQ("written", SSL_write(p->ssl, octets, (int)n), (int)n);
	exchange(s, p, chunk);
}

static void
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
static void
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

/* ---- what is agreed upon ---- */

static void
test_versions_ciphers_and_key_types(void **state)
{
	static const struct {
		const char *label;
		struct want want;
		const char *version, *cipher;
	} rows[] = {
		{ "anything", { 0 }, "TLSv1.3", "TLS_AES_256_GCM_SHA384" },
		{ "1.3, ECDSA", { .sigalgs = "ECDSA+SHA256" }, "TLSv1.3", NULL },
		{ "1.3, RSA alone", { .sigalgs = "RSA-PSS+SHA256" }, "TLSv1.3", NULL },
		{ "1.2", { .max = TLS1_2_VERSION }, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384" },
		{ "1.2, RSA certificate", { .max = TLS1_2_VERSION, .ciphers = "ECDHE-RSA-AES128-GCM-SHA256" },
			"TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256" },
		{ "1.2, CHACHA20", { .max = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305" }, "TLSv1.2",
			"ECDHE-ECDSA-CHACHA20-POLY1305" },
		{ "1.2, DHE", { .max = TLS1_2_VERSION, .ciphers = "DHE-RSA-AES256-GCM-SHA384" }, "TLSv1.2",
			"DHE-RSA-AES256-GCM-SHA384" },
		{ "1.2, CBC", { .max = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-AES128-SHA" }, "TLSv1.2",
			"ECDHE-ECDSA-AES128-SHA" },
		{ "1.2, plain RSA exchange", { .max = TLS1_2_VERSION, .ciphers = "AES128-SHA256" }, "TLSv1.2",
			"AES128-SHA256" },
	};
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++)
		talk(rows[i].label, c, &rows[i].want, 16384, rows[i].version, rows[i].cipher);
	tls_context_destroy(c);
}

static void
test_old_versions_only_by_option(void **state)
{
	static const struct want v10 = { .min = TLS1_VERSION, .max = TLS1_VERSION, .old = true };
	static const struct want v11 = { .min = TLS1_1_VERSION, .max = TLS1_1_VERSION, .old = true };
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	struct side *s = side_new(c);
	struct peer p;

	(void)state;
	peer_init(&p, &v10);
	shake(s, &p, 16384);
	CHECK_TRUE("refused by default", s->stream->failed && s->stream->handshaking);
	CHECK_EQ("why", stream_tls_failure(s->stream), STREAM_TLS_VERSION);
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);

	conf.tls_min_version = TLS_VERSION_1_0;
	c = context_of(tls_certs_set(&certs, "mx.example"));
	/* with TLS 1.0 and CBC, OpenSSL sends an empty record before each of its own: those are read as nothing */
	talk("1.0 by option", c, &v10, 16384, "TLSv1", NULL);
	talk("1.0, octet by octet", c, &v10, 1, "TLSv1", NULL);
	talk("1.1 by option", c, &v11, 16384, "TLSv1.1", NULL);
	conf.tls_min_version = TLS_VERSION_1_2;
	tls_context_destroy(c);
}

static void
test_nothing_in_common_is_told(void **state)
{
	static const struct want cbc = { .max = TLS1_2_VERSION, .ciphers = "AES128-SHA" };
	struct tls_context *c;
	struct side *s;
	struct peer p;
	static const uint8_t smtp[] = "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n";

	(void)state;
	snprintf(conf.tls_ciphers, sizeof(conf.tls_ciphers), "ECDHE+AESGCM");
	c = context_of(tls_certs_set(&certs, "mx.example"));
	conf.tls_ciphers[0] = '\0';
	s = side_new(c);
	peer_init(&p, &cbc);
	shake(s, &p, 16384);
	CHECK_EQ("no cipher", stream_tls_failure(s->stream), STREAM_TLS_CIPHER);
	side_free(s);
	peer_free(&p);

	s = side_new(c);
	hear(s, smtp, sizeof(smtp) - 1, 100);
	CHECK_EQ("plain text where TLS begins", stream_tls_failure(s->stream), STREAM_TLS_NONSENSE);
	CHECK_EQ("nothing of it is a command", s->n_got, 0);
	side_free(s);
	tls_context_destroy(c);
}

static void
test_names_choose_certificates(void **state)
{
	static const struct {
		const char *name, *cn;
		bool ecdsa;
	} rows[] = {
		{ NULL, "mx-ecdsa", true },
		{ "mx.example", "mx-ecdsa", true },
		{ "mx.example", "mx-rsa", false },
		{ "other.example", "other", true },
		{ "a.wild.example", "other", true },
		{ "unknown.example", "mx-ecdsa", true },
		{ "unknown.example", "mx-rsa", false },
	};
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct want w = { .name = rows[i].name,
			.sigalgs = rows[i].ecdsa ? "ECDSA+SHA256" : "RSA-PSS+SHA256" };
		struct side *s = side_new(c);
		struct peer p;
		X509 *x;
		char cn[64] = "";

		peer_init(&p, &w);
		shake(s, &p, 16384);
		CHECK_TRUE("done", SSL_is_init_finished(p.ssl));
		x = SSL_get1_peer_certificate(p.ssl);
		X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof(cn));
		CHECK_STR(rows[i].name != NULL ? rows[i].name : "no name", cn, rows[i].cn);
		CHECK_EQ("the chain comes with it", sk_X509_num(SSL_get_peer_cert_chain(p.ssl)), 2);
		X509_free(x);
		side_free(s);
		peer_free(&p);
	}
	tls_context_destroy(c);
}

/* ---- octets ---- */

static void
test_records_cut_at_every_octet(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));

	(void)state;
	for (uint32_t v = 0; v < ARRAY_LEN(versions); v++) {
		const struct want w = { .min = versions[v], .max = versions[v] };
		uint8_t wire[1024];
		int n;

		/* everything, one octet at a time */
		talk("octet by octet", c, &w, 1, NULL, NULL);
		/* two records cut into two pieces at each place */
		for (uint32_t cut = 1;; cut++) {
			struct side *s = side_new(c);
			struct peer p;

			peer_init(&p, &w);
			shake(s, &p, 65536);
			SSL_write(p.ssl, message, 40);
			SSL_write(p.ssl, message + 40, 60);
			n = BIO_read(p.out, wire, sizeof(wire));
			hear(s, wire, MIN(cut, (uint32_t)n), 65536);
			hear(s, wire + MIN(cut, (uint32_t)n), (uint32_t)n - MIN(cut, (uint32_t)n), 65536);
			CHECK_OCTETS("cut", s->got, s->n_got, message, 100);
			side_free(s);
			peer_free(&p);
			if (cut >= (uint32_t)n)
				break;
		}
	}
	tls_context_destroy(c);
}

static void
test_large_messages_both_ways(void **state)
{
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	const struct want w = { 0 };
	struct side *s = side_new(c);
	struct peer p;

	(void)state;
	peer_init(&p, &w);
	shake(s, &p, 1460);
	client_says(s, &p, message, 16384, 1460); /* the largest record */
	CHECK_OCTETS("one record", s->got, s->n_got, message, 16384);
	s->n_got = 0;
	for (uint32_t at = 0; at < MESSAGE_OCTETS; at += 10000)
		client_says(s, &p, message + at, 10000, 1460);
	CHECK_OCTETS("many", s->got, s->n_got, message, MESSAGE_OCTETS);
	client_hears(s, &p, message, MESSAGE_OCTETS);
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);
}

static void
test_a_record_too_large_or_changed_ends_the_stream(void **state)
{
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	const struct want w = { 0 };
	uint8_t wire[1024];

	(void)state;
	for (uint32_t kind = 0; kind < 3; kind++) {
		struct side *s = side_new(c);
		struct peer p;
		int n;

		peer_init(&p, &w);
		shake(s, &p, 65536);
		SSL_write(p.ssl, message, 100);
		n = BIO_read(p.out, wire, sizeof(wire));
		if (kind == 0)
			wire[n - 1] ^= 1;
		else if (kind == 1)
			wire[3] = 0x7f; /* of 32 KiB */
		else
			wire[0] = 0x50;
		hear(s, wire, (uint32_t)n, 65536);
		CHECK_TRUE("failed", s->stream->failed);
		CHECK_EQ("nothing of it came out", s->n_got, 0);
		speak(s, &p, NULL, 0);
		CHECK_TRUE("the client is told by an alert",
			SSL_read(p.ssl, wire, 10) <= 0 && SSL_get_error(p.ssl, 0) != SSL_ERROR_WANT_READ);
		side_free(s);
		peer_free(&p);
	}
	tls_context_destroy(c);
}

/* ---- hostile clients ---- */

static void
test_renegotiation_is_refused(void **state)
{
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	const struct want w = { .max = TLS1_2_VERSION };
	const uint64_t before = counters.value[CTR_tls_renegotiations];
	struct side *s = side_new(c);
	struct peer p;

	(void)state;
	peer_init(&p, &w);
	shake(s, &p, 16384);
	for (uint32_t i = 0; i < 3; i++) {
		uint8_t wire[4096];
		int n;

		SSL_renegotiate(p.ssl);
		SSL_do_handshake(p.ssl);
		n = BIO_read(p.out, wire, sizeof(wire));
		CHECK_TRUE("it tries", n > 0 || i > 0);
		if (n > 0)
			hear(s, wire, (uint32_t)n, 16384);
		speak(s, &p, NULL, 0);
	}
	CHECK_TRUE("counted", counters.value[CTR_tls_renegotiations] > before);
	CHECK_TRUE("no new handshake", !s->stream->handshaking);
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);
}

static void
test_handshakes_abandoned_at_every_place(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));

	(void)state;
	for (uint32_t v = 0; v < ARRAY_LEN(versions); v++) {
		const struct want w = { .min = versions[v], .max = versions[v] };
		bool ended = false;

		for (uint32_t stop = 0; !ended; stop += stop < 16 ? 1 : 23) {
			struct side *s = side_new(c);
			struct peer p;
			uint32_t sent = 0;

			peer_init(&p, &w);
			for (uint32_t i = 0; i < 10; i++) {
				uint8_t wire[8192];
				int n;

				ended = SSL_do_handshake(p.ssl) == 1;
				ERR_clear_error();
				n = BIO_read(p.out, wire, sizeof(wire));
				if (n <= 0)
					break;
				hear(s, wire, MIN((uint32_t)n, stop - sent), 16384);
				sent += MIN((uint32_t)n, stop - sent);
				if (sent == stop) {
					ended = false;
					break;
				}
				speak(s, &p, NULL, 0);
			}
			CHECK_TRUE("no failure, only an end that never came", !s->stream->failed);
			side_free(s); /* a buffer or block left behind is found here and by the leak check */
			peer_free(&p);
		}
	}
	tls_context_destroy(c);
}

static void
test_a_peer_that_never_reads_is_not_answered_without_end(void **state)
{
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	const struct want w = { .min = TLS1_3_VERSION };
	struct side *s = side_new(c);
	struct peer p;
	uint32_t taken = 0, sent = 0;

	(void)state;
	peer_init(&p, &w);
	shake(s, &p, 16384);
	/* each asks for an answer; none is fetched */
	for (uint32_t i = 0; i < 2000; i++) {
		uint8_t wire[4096];
		int n;

		SSL_key_update(p.ssl, SSL_KEY_UPDATE_REQUESTED);
		SSL_do_handshake(p.ssl);
		n = BIO_read(p.out, wire, sizeof(wire));
		CHECK_TRUE("an update", n > 0);
		sent += (uint32_t)n;
		taken += hear(s, wire, (uint32_t)n, 16384);
		if (taken < sent)
			break;
	}
	CHECK_TRUE("it stops reading", taken < sent || buf_malloc_in_use(s->pool) <= STREAM_TLS_OUT_READ_MAX + 2);
	CHECK_TRUE("few buffers are held", buf_malloc_in_use(s->pool) <= STREAM_TLS_OUT_READ_MAX + 2);
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);
}

static void
test_close_notify_and_its_absence(void **state)
{
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	const struct want w = { 0 };
	struct side *s = side_new(c);
	uint8_t wire[256];
	struct peer p;

	(void)state;
	peer_init(&p, &w);
	shake(s, &p, 16384);
	client_says(s, &p, message, 10, 16384);
	CHECK_TRUE("octets are no end", !s->stream->peer_eof);
	SSL_shutdown(p.ssl);
	exchange(s, &p, 16384);
	CHECK_TRUE("close_notify is", s->stream->peer_eof);
	CHECK_EQ("what follows is dropped", hear(s, message, 100, 100), 100);
	CHECK_EQ("and no octet of it comes out", s->n_got, 10);
	s->stream->ops->shutdown(s->stream);
	speak(s, &p, message, 10); /* nothing is said behind ours */
	CHECK_EQ("ours comes", SSL_read(p.ssl, wire, sizeof(wire)), 0);
	CHECK_EQ("as such", SSL_get_error(p.ssl, 0), SSL_ERROR_ZERO_RETURN);
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);
}

/* ---- buffers and time ---- */

static void
test_an_empty_pool_waits_and_goes_on(void **state)
{
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	const struct want w = { 0 };
	struct side *s = side_new(c);
	const struct buf_view nothing = { 0 };
	struct buf_view plain;
	struct peer p;
	uint8_t wire[256];
	int n;

	(void)state;
	peer_init(&p, &w);
	shake(s, &p, 16384);
	SSL_write(p.ssl, message, 100);
	n = BIO_read(p.out, wire, sizeof(wire));
	buf_malloc_fail_at(s->pool, 1);
	CHECK_EQ("not taken", stream_unwrap(s->stream, &(struct buf_view){ wire, (uint32_t)n, NULL }, &plain, 5000), 0);
	CHECK_TRUE("it asks to be called again",
		s->stream->ops->deadline_us(s->stream) > 5000 && s->stream->ops->deadline_us(s->stream) < 100000);
	CHECK_TRUE("it is no failure", !s->stream->failed);
	hear(s, wire, (uint32_t)n, 16384);
	CHECK_OCTETS("all is there", s->got, s->n_got, message, 100);
	CHECK_EQ("no more deadline", s->stream->ops->deadline_us(s->stream), (long long)UINT64_MAX);
	stream_unwrap(s->stream, &nothing, &plain, 6000);
	CHECK_EQ("an idle stream holds no buffer", buf_malloc_in_use(s->pool), 0);
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);
}

/* ---- tickets ---- */

static SSL_SESSION *
session_with(struct tls_context *c, SSL_SESSION *before, bool *resumed)
{
	const struct want w = { .session = before, .name = "mx.example" };
	struct side *s = side_new(c);
	struct stream_tls_facts facts;
	SSL_SESSION *session;
	uint8_t octet;
	struct peer p;

	peer_init(&p, &w);
	shake(s, &p, 16384);
	CHECK_TRUE("done", SSL_is_init_finished(p.ssl) && stream_tls_facts(s->stream, &facts));
	CHECK_EQ("both know", SSL_session_reused(p.ssl), facts.resumed);
	*resumed = facts.resumed;
	SSL_read(p.ssl, &octet, 1); /* the ticket comes behind the handshake */
	session = SSL_get1_session(p.ssl);
	SSL_shutdown(p.ssl);
	side_free(s);
	peer_free(&p);
	return session;
}

static void
test_tickets_serve_at_every_worker_and_are_rotated(void **state)
{
	const struct cert_set *set = tls_certs_set(&certs, "mx.example");
	struct tls_context *a = context_of(set), *b = context_of(set);
	struct tls_ticket_keys keys = { 0 };
	uint8_t fresh[TLS_TICKET_NAME_OCTETS + 2 * TLS_TICKET_KEY_OCTETS];
	SSL_SESSION *first, *next;
	bool resumed;

	(void)state;
	memset(fresh, 0x5a, sizeof(fresh));
	tls_ticket_keys_rotate(&keys, fresh);
	first = session_with(a, NULL, &resumed);
	CHECK_TRUE("a first time", !resumed);
	next = session_with(b, first, &resumed);
	CHECK_TRUE("at the other worker", resumed);
	SSL_SESSION_free(next);
	for (uint32_t i = 1; i <= TLS_TICKET_KEYS; i++) {
		memset(fresh, (int)i, sizeof(fresh));
		tls_ticket_keys_rotate(&keys, fresh);
		CHECK_EQ("keys", keys.n, MIN(i + 1, (uint32_t)TLS_TICKET_KEYS));
		tls_context_tickets(b, &keys);
		CHECK_TRUE("news", tls_context_take(b));
		next = session_with(b, first, &resumed);
		CHECK_EQ(i < TLS_TICKET_KEYS ? "an old key opens" : "a forgotten one does not", resumed,
			i < TLS_TICKET_KEYS);
		SSL_SESSION_free(next);
	}
	SSL_SESSION_free(first);
	tls_context_destroy(a);
	tls_context_destroy(b);
}

/* ---- certificates replaced ---- */

static void
test_certificates_replaced_during_handshakes_fail_none(void **state)
{
	enum { N = 24 };
	const struct want w = { .max = TLS1_2_VERSION }; /* two round trips: something to replace in between */
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	struct side *s[N];
	struct peer p[N];
	char why[256] = "";

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		uint8_t wire[8192];
		int n;

		s[i] = side_new(c);
		peer_init(&p[i], &w);
		if (i % 3 != 0) { /* some have not begun, some are between the flights */
			SSL_do_handshake(p[i].ssl);
			n = BIO_read(p[i].out, wire, sizeof(wire));
			hear(s[i], wire, (uint32_t)n, 16384);
		}
		if (i % 4 == 3) {
			tls_certs_write(&certs, "mx-ecdsa", true, "mx.example");
			CHECK_EQ(why, tls_context_load(c, &conf, tls_certs_set(&certs, "mx.example"), why, sizeof(why)),
				0);
			CHECK_TRUE("taken over", tls_context_take(c));
		}
	}
	for (uint32_t i = 0; i < N; i++) {
		speak(s[i], &p[i], NULL, 0);
		shake(s[i], &p[i], 16384);
		CHECK_TRUE("none fails", SSL_is_init_finished(p[i].ssl) && !s[i]->stream->failed);
		client_says(s[i], &p[i], message, 100, 16384);
		CHECK_OCTETS("and it works", s[i]->got, s[i]->n_got, message, 100);
		side_free(s[i]);
		peer_free(&p[i]);
	}
	CHECK_EQ("no options that OpenSSL does not know",
		tls_context_load(c, &(struct conf){ .tls_ciphers = "NO-SUCH" }, tls_certs_set(&certs, "mx.example"),
			why, sizeof(why)),
		-EINVAL);
	CHECK_TRUE("why", strstr(why, "NO-SUCH") != NULL);
	CHECK_TRUE("nothing to take over", !tls_context_take(c));
	tls_context_destroy(c);
}

/* ---- to a backend ---- */

static enum stream_tls_failure
with_backend(struct conf_backend backend, bool *done)
{
	const struct cert_set *set = tls_certs_set(&certs, "mx.example");
	struct tls_context *server = context_of(set), *client = context_of(NULL);
	struct side *a = side_new(server), *b = calloc(1, sizeof(*b));
	enum stream_tls_failure failure;
	char why[256] = "";

	backend.id = 77;
	backend.tls = BACKEND_TLS_REQUIRE;
	CHECK_EQ(why, tls_context_load_backends(client, &backend, 1, certs.ca_pem, certs.ca_octets, why, sizeof(why)),
		0);
	tls_context_take(client);
	CHECK_TRUE("known", tls_context_has_backend(client, 77) && !tls_context_has_backend(client, 78));
	b->context = client;
	b->pool = buf_malloc_create(256);
	b->stream = stream_tls_client(client, b->pool, 77);
	CHECK_TRUE("a stream", b->stream != NULL);
	for (uint32_t i = 0; i < 20; i++) {
		struct side *from = i % 2 == 0 ? b : a, *to = i % 2 == 0 ? a : b;
		const struct buf_view nothing = { 0 };
		struct buf_view wire;

		do {
			stream_wrap(from->stream, &nothing, &wire, 1000);
			if (wire.len_octets > 0)
				hear(to, wire.ptr, wire.len_octets, 1000);
		} while (wire.len_octets > 0);
	}
	*done = !a->stream->handshaking && !b->stream->handshaking && !a->stream->failed && !b->stream->failed;
	failure = stream_tls_failure(b->stream);
	side_free(a);
	side_free(b);
	tls_context_destroy(server);
	tls_context_destroy(client);
	return failure;
}

static void
test_a_backend_is_verified_by_ca_name_and_fingerprint(void **state)
{
	struct conf_backend b = { .tls_name = "mx.example" };
	bool done;

	(void)state;
	CHECK_EQ("nothing is checked", with_backend(b, &done), STREAM_TLS_NONE);
	CHECK_TRUE("done", done);
	b.ca_octets = certs.ca_octets;
	CHECK_EQ("by CA and name", with_backend(b, &done), STREAM_TLS_NONE);
	CHECK_TRUE("done", done);
	snprintf(b.tls_name, sizeof(b.tls_name), "not.example");
	CHECK_EQ("another name", with_backend(b, &done), STREAM_TLS_UNVERIFIED);
	CHECK_TRUE("not done", !done);
	b = (struct conf_backend){ .n_fingerprints = 2 };
	CHECK_EQ("a fingerprint that is not its", with_backend(b, &done), STREAM_TLS_UNVERIFIED);
	tls_certs_fingerprint(&certs, "mx-ecdsa", b.fingerprint[1]);
	CHECK_EQ("by fingerprint", with_backend(b, &done), STREAM_TLS_NONE);
	CHECK_TRUE("done", done);
	b.ca_octets = certs.ca_octets;
	snprintf(b.tls_name, sizeof(b.tls_name), "not.example");
	CHECK_EQ("both must hold", with_backend(b, &done), STREAM_TLS_UNVERIFIED);
}

/* ---- memory that runs out ---- */

static uint32_t fail_in; /* the n-th allocation from now fails; 0: none */

static void *
failing_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	if (fail_in != 0 && --fail_in == 0)
		return NULL;
	return malloc(n);
}

static void *
failing_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	if (fail_in != 0 && --fail_in == 0)
		return NULL;
	return realloc(p, n);
}

static void
failing_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

static void
test_each_allocation_of_a_stream_fails_once(void **state)
{
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	const struct want w = { 0 };
	uint8_t hello[4096];
	struct peer p;
	int n;

	(void)state;
	peer_init(&p, &w);
	SSL_do_handshake(p.ssl);
	n = BIO_read(p.out, hello, sizeof(hello));
	peer_free(&p);
	for (uint32_t at = 1;; at++) {
		struct side *s = calloc(1, sizeof(*s));
		bool survived;

		s->context = c;
		s->pool = buf_malloc_create(256);
		fail_in = at;
		s->stream = stream_tls_server(c, s->pool);
		if (s->stream != NULL)
			hear(s, hello, (uint32_t)n, 16384);
		survived = fail_in != 0; /* it was never reached: no more allocations than that */
		fail_in = 0;
		side_free(s);
		if (survived)
			break;
		CHECK_TRUE("it ends", at < 10000);
	}
	talk("afterwards all is well", c, &w, 16384, NULL, NULL);
	tls_context_destroy(c);
}

static int
set_up(void **state)
{
	(void)state;
	tls_certs_init(&certs);
	tls_certs_write(&certs, "mx-ecdsa", true, "mx.example");
	tls_certs_write(&certs, "mx-rsa", false, "mx.example");
	tls_certs_write(&certs, "other", true, "other.example,*.wild.example");
	for (uint32_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)(i * 2654435761u >> 13);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	tls_certs_free(&certs);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions_ciphers_and_key_types),
		cmocka_unit_test(test_old_versions_only_by_option),
		cmocka_unit_test(test_nothing_in_common_is_told),
		cmocka_unit_test(test_names_choose_certificates),
		cmocka_unit_test(test_records_cut_at_every_octet),
		cmocka_unit_test(test_large_messages_both_ways),
		cmocka_unit_test(test_a_record_too_large_or_changed_ends_the_stream),
		cmocka_unit_test(test_renegotiation_is_refused),
		cmocka_unit_test(test_handshakes_abandoned_at_every_place),
		cmocka_unit_test(test_a_peer_that_never_reads_is_not_answered_without_end),
		cmocka_unit_test(test_close_notify_and_its_absence),
		cmocka_unit_test(test_an_empty_pool_waits_and_goes_on),
		cmocka_unit_test(test_tickets_serve_at_every_worker_and_are_rotated),
		cmocka_unit_test(test_certificates_replaced_during_handshakes_fail_none),
		cmocka_unit_test(test_a_backend_is_verified_by_ca_name_and_fingerprint),
		cmocka_unit_test(test_each_allocation_of_a_stream_fails_once),
	};

	if (CRYPTO_set_mem_functions(failing_malloc, failing_realloc, failing_free) != 1)
		return 1;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
