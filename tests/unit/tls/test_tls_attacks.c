/*
 * test_tls_attacks.c - what a client could take from a worker by TLS: time, memory, its turn. Each was possible once.
 */
#include "tests/unit/tls/tls_pair.h"

static void
shake_groups(struct tls_context *c, const char *groups, const struct want *w, enum stream_tls_failure failure)
{
	struct side *s = side_new(c);
	struct peer p;

	peer_init(&p, w);
	if (groups != NULL)
		CHECK_EQ(groups, SSL_set1_groups_list(p.ssl, (char *)(uintptr_t)groups), 1);
	shake(s, &p, 16384);
	CHECK_STR(groups != NULL ? groups : w->ciphers, stream_tls_failure_word(stream_tls_failure(s->stream)),
		stream_tls_failure_word(failure));
	CHECK_EQ("done", !s->stream->handshaking && !s->stream->failed, failure == STREAM_TLS_NONE);
	side_free(s);
	peer_free(&p);
}

/* Diffie-Hellman over large numbers: one hello without any work for the client, up to 170 ms for the server (CVE-2002-20001). */
static void
test_no_client_makes_us_compute_for_long(void **state)
{
	static const char *const heavy[] = { "ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192" };
	static const char *const fine[] = { "X25519", "P-256", "P-384", "P-521", "X448", "ffdhe8192:X25519" };
	static const struct want v13 = { .min = TLS1_3_VERSION };
	static const struct want dhe = { .max = TLS1_2_VERSION, .ciphers = "DHE-RSA-AES256-GCM-SHA384" };
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(heavy); i++)
		shake_groups(c, heavy[i], &v13, STREAM_TLS_CIPHER);
	for (uint32_t i = 0; i < ARRAY_LEN(fine); i++)
		shake_groups(c, fine[i], &v13, STREAM_TLS_NONE);
	shake_groups(c, NULL, &dhe, STREAM_TLS_CIPHER);
	tls_context_destroy(c);
	/* who wants it all the same says so */
	snprintf(conf.tls_groups, sizeof(conf.tls_groups), "ffdhe2048");
	snprintf(conf.tls_ciphers, sizeof(conf.tls_ciphers), "DHE+AESGCM");
	c = context_of(tls_certs_set(&certs, "mx.example"));
	conf.tls_groups[0] = conf.tls_ciphers[0] = '\0';
	shake_groups(c, "ffdhe2048", &v13, STREAM_TLS_NONE);
	shake_groups(c, NULL, &dhe, STREAM_TLS_NONE);
	tls_context_destroy(c);
}

/* A record that holds the first octets of a ClientHello of n octets. */
static uint32_t
claim(uint8_t out[9], uint32_t n)
{
	const uint8_t octets[9] = { SSL3_RT_HANDSHAKE, 3, 1, 0, 4, SSL3_MT_CLIENT_HELLO, (uint8_t)(n >> 16),
		(uint8_t)(n >> 8), (uint8_t)n };

	memcpy(out, octets, sizeof(octets));
	return sizeof(octets);
}

/* Nine octets say that 96 KiB follow: OpenSSL makes room for them at once, and 500 such connections had all memory of a worker. */
static void
test_a_hello_takes_no_more_memory_than_a_hello_needs(void **state)
{
	static const uint32_t wrong[] = { STREAM_TLS_HELLO_MAX_OCTETS + 1, 65536, 98000, 131000, 0xffffff };
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	uint8_t wire[9];

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(wrong); i++)
		for (uint32_t chunk = 1; chunk <= 9; chunk += 4) {
			struct side *s = side_new(c);

			hear(s, wire, claim(wire, wrong[i]), chunk);
			CHECK_TRUE("it ends at once", s->stream->failed);
			CHECK_EQ("as nonsense", stream_tls_failure(s->stream), STREAM_TLS_NONSENSE);
			side_free(s);
		}
	for (uint32_t n = 0; n <= STREAM_TLS_HELLO_MAX_OCTETS; n += STREAM_TLS_HELLO_MAX_OCTETS) {
		struct side *s = side_new(c);

		if (n > 0) {
			hear(s, wire, claim(wire, n), 9);
			CHECK_TRUE("so much may come", !s->stream->failed);
		}
		side_free(s);
	}
	tls_context_destroy(c);
}

/* The same in the second hello, which comes in clear, too: behind a HelloRetryRequest and the ChangeCipherSpec that means nothing. */
static void
test_a_second_hello_is_held_to_the_same(void **state)
{
	static const uint8_t nothing[] = { SSL3_RT_CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1 };
	static const struct want v13 = { .min = TLS1_3_VERSION };
	struct tls_context *c;
	struct side *s;
	struct peer p;
	uint8_t wire[4096];
	int n;

	(void)state;
	snprintf(conf.tls_groups, sizeof(conf.tls_groups), "X25519");
	c = context_of(tls_certs_set(&certs, "mx.example"));
	conf.tls_groups[0] = '\0';
	shake_groups(c, "P-256:X25519", &v13, STREAM_TLS_NONE); /* a second hello as it should be */
	s = side_new(c);
	peer_init(&p, &v13);
	SSL_set1_groups_list(p.ssl, "P-256:X25519");
	SSL_do_handshake(p.ssl);
	n = BIO_read(p.out, wire, sizeof(wire));
	hear(s, wire, (uint32_t)n, 16384);
	speak(s, &p, NULL, 0);
	CHECK_TRUE("retry", !s->stream->failed && s->stream->handshaking);
	hear(s, nothing, sizeof(nothing), 2);
	CHECK_TRUE("nothing wrong yet", !s->stream->failed);
	hear(s, wire, claim(wire, 98000), 3);
	CHECK_TRUE("it ends at once", s->stream->failed);
	ERR_clear_error();
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);
}

/* New keys without end: no octet of the dialogue, so none of its limits, and each some microseconds of a turn. */
static void
test_keys_are_not_changed_without_end(void **state)
{
	static const struct want v13 = { .min = TLS1_3_VERSION };
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	struct side *s = side_new(c);
	struct peer p;
	uint32_t sent = 0;

	(void)state;
	peer_init(&p, &v13);
	shake(s, &p, 16384);
	for (; sent < STREAM_TLS_RENEWALS_MAX; sent++) {
		CHECK_EQ("asked for",
			SSL_key_update(p.ssl, sent % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED),
			1);
		client_says(s, &p, message, 10, 16384);
	}
	CHECK_TRUE("so many are fine", !s->stream->failed);
	CHECK_EQ("and every octet came", s->n_got, sent * 10);
	for (; sent < 2 * STREAM_TLS_RENEWALS_MAX && !s->stream->failed; sent++) {
		uint8_t wire[4096];
		int n;

		SSL_key_update(p.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
		SSL_do_handshake(p.ssl);
		n = BIO_read(p.out, wire, sizeof(wire));
		if (n > 0)
			hear(s, wire, (uint32_t)n, 16384);
		ERR_clear_error();
	}
	CHECK_TRUE("then it is over", s->stream->failed);
	CHECK_TRUE("soon", sent <= STREAM_TLS_RENEWALS_MAX + 2);
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);
}

/* Records without a meaning are borne, but not for ever. */
static void
test_records_that_mean_nothing_are_bounded(void **state)
{
	static const uint8_t nothing[] = { SSL3_RT_CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1 };
	static const struct want v13 = { .min = TLS1_3_VERSION };
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	struct side *s = side_new(c);
	struct peer p;
	uint8_t wire[4096];
	uint32_t i;
	int n;

	(void)state;
	peer_init(&p, &v13);
	SSL_do_handshake(p.ssl);
	n = BIO_read(p.out, wire, sizeof(wire));
	hear(s, wire, (uint32_t)n, 16384);
	for (i = 0; i < 100 && !s->stream->failed; i++) {
		hear(s, nothing, sizeof(nothing), 16384);
		speak(s, NULL, NULL, 0);
	}
	CHECK_TRUE("it ends", s->stream->failed && i > 1 && i < 64);
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);
}

/* TLS 1.0 says an empty record before each with octets, against an attack of its time. */
static void
test_empty_records_are_nothing(void **state)
{
	static const struct want v10 = { .min = TLS1_VERSION, .max = TLS1_VERSION, .old = true };
	struct tls_context *c;
	struct side *s;
	struct peer p;
	uint8_t wire[4096];
	uint32_t records = 0;
	int n;

	(void)state;
	conf.tls_min_version = TLS_VERSION_1_0;
	c = context_of(tls_certs_set(&certs, "mx.example"));
	conf.tls_min_version = TLS_VERSION_1_2;
	s = side_new(c);
	peer_init(&p, &v10);
	shake(s, &p, 16384);
	CHECK_TRUE("done", !s->stream->handshaking);
	for (uint32_t i = 0; i < 100; i++) {
		CHECK_EQ("said", SSL_write(p.ssl, message + i * 7, 7), 7);
		n = BIO_read(p.out, wire, sizeof(wire));
		for (int at = 0; at + 5 <= n; at += 5 + (wire[at + 3] << 8 | wire[at + 4]))
			records++;
		hear(s, wire, (uint32_t)n, i % 2 == 0 ? 1 : 16384);
	}
	CHECK_EQ("an empty record with each", records, 200);
	CHECK_OCTETS("and no octet more or less", s->got, s->n_got, message, 700);
	side_free(s);
	peer_free(&p);
	tls_context_destroy(c);
}

/* What we never agreed upon: protocols by ALPN are not ours to choose, nothing is said before the handshake (0-RTT). */
static void
test_alpn_is_passed_over_and_early_data_never_offered(void **state)
{
	static const uint8_t protocols[] = "\x02h2\x04smtp";
	static const struct want v13 = { .min = TLS1_3_VERSION };
	struct tls_context *c = context_of(tls_certs_set(&certs, "mx.example"));
	struct side *s = side_new(c);
	const uint8_t *chosen;
	SSL_SESSION *session;
	struct peer p;
	unsigned octets;
	size_t written;

	(void)state;
	peer_init(&p, &v13);
	SSL_set_alpn_protos(p.ssl, protocols, sizeof(protocols) - 1);
	shake(s, &p, 16384);
	CHECK_TRUE("done", !s->stream->handshaking && !s->stream->failed);
	SSL_get0_alpn_selected(p.ssl, &chosen, &octets);
	CHECK_EQ("none was chosen", octets, 0);
	client_says(s, &p, message, 10, 16384);
	client_hears(s, &p, message, 10); /* the ticket comes with it */
	session = SSL_get1_session(p.ssl);
	CHECK_TRUE("a ticket", SSL_SESSION_is_resumable(session) == 1);
	CHECK_EQ("which allows no early data", SSL_SESSION_get_max_early_data(session), 0);
	side_free(s);
	peer_free(&p);
	s = side_new(c);
	peer_init(&p, &(struct want){ .min = TLS1_3_VERSION, .session = session });
	CHECK_TRUE("nor is it taken", SSL_write_early_data(p.ssl, "QUIT\r\n", 6, &written) != 1);
	ERR_clear_error();
	side_free(s);
	peer_free(&p);
	SSL_SESSION_free(session);
	tls_context_destroy(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_client_makes_us_compute_for_long),
		cmocka_unit_test(test_a_hello_takes_no_more_memory_than_a_hello_needs),
		cmocka_unit_test(test_a_second_hello_is_held_to_the_same),
		cmocka_unit_test(test_keys_are_not_changed_without_end),
		cmocka_unit_test(test_records_that_mean_nothing_are_bounded),
		cmocka_unit_test(test_empty_records_are_nothing),
		cmocka_unit_test(test_alpn_is_passed_over_and_early_data_never_offered),
	};

	return cmocka_run_group_tests(tests, pair_set_up, pair_tear_down);
}
