/*
 * test_tls_context.c - what streams of one context share: certificates by name and swapped, tickets, how backends are verified, memory.
 */
#include "tests/unit/tls/tls_pair.h"

#include <errno.h>

/* ---- names ---- */

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

/*
 * A reload makes new contexts of OpenSSL's, and a certificate may be another by then: a client comes back by its ticket all the same. Only where
 * tickets were switched off it does not.
 */
static void
test_tickets_go_on_over_a_reload(void **state)
{
	static const struct {
		const char *label;
		bool new_certificate, off, want;
	} rows[] = {
		{ "the same configuration", false, false, true },
		{ "another certificate", true, false, true },
		{ "tickets off", false, true, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
		struct conf next = conf;
		SSL_SESSION *first, *again;
		char why[256] = "";
		bool resumed;

		first = session_with(c, NULL, &resumed);
		CHECK_TRUE("a first time", !resumed);
		next.tls_tickets = !rows[i].off;
		if (rows[i].new_certificate)
			tls_certs_write(&certs, "mx-ecdsa", true, "mx.example");
		CHECK_EQ(why, tls_context_load(c, &next, tls_certs_set(&certs, "mx.example"), why, sizeof(why)), 0);
		CHECK_TRUE("taken over", tls_context_take(c));
		again = session_with(c, first, &resumed);
		CHECK_EQ(rows[i].label, resumed, rows[i].want);
		SSL_SESSION_free(again);
		SSL_SESSION_free(first);
		tls_context_destroy(c);
	}
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_choose_certificates),
		cmocka_unit_test(test_tickets_serve_at_every_worker_and_are_rotated),
		cmocka_unit_test(test_tickets_go_on_over_a_reload),
		cmocka_unit_test(test_certificates_replaced_during_handshakes_fail_none),
		cmocka_unit_test(test_a_backend_is_verified_by_ca_name_and_fingerprint),
		cmocka_unit_test(test_each_allocation_of_a_stream_fails_once),
	};

	if (CRYPTO_set_mem_functions(failing_malloc, failing_realloc, failing_free) != 1)
		return 1;
	return cmocka_run_group_tests(tests, pair_set_up, pair_tear_down);
}
