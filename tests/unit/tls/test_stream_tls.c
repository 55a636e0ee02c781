/*
 * test_stream_tls.c - what a stream of TLS and a client agree upon, and the octets between them, cut, wrong or missing.
 *                     Certificates, tickets, backends and memory are in test_tls_context.c.
 */
#include "tests/unit/tls/tls_pair.h"

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions_ciphers_and_key_types),
		cmocka_unit_test(test_old_versions_only_by_option),
		cmocka_unit_test(test_nothing_in_common_is_told),
		cmocka_unit_test(test_records_cut_at_every_octet),
		cmocka_unit_test(test_large_messages_both_ways),
		cmocka_unit_test(test_a_record_too_large_or_changed_ends_the_stream),
		cmocka_unit_test(test_renegotiation_is_refused),
		cmocka_unit_test(test_handshakes_abandoned_at_every_place),
		cmocka_unit_test(test_a_peer_that_never_reads_is_not_answered_without_end),
		cmocka_unit_test(test_close_notify_and_its_absence),
		cmocka_unit_test(test_an_empty_pool_waits_and_goes_on),
	};

	return cmocka_run_group_tests(tests, pair_set_up, pair_tear_down);
}
