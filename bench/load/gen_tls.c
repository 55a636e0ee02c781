/*
 * gen_tls.c - TLS of the load generator's clients: OpenSSL between two memories, over the generator's own TCP.
 *
 * Flow:   gen_session.c: STARTTLS was answered -> gen_tls_begin() -> gen_tls_flight() goes out;  what comes in -> gen_tls_feed() ->
 *         gen_tls_plain() -> the next line -> gen_tls_say() -> gen_tls_flight()
 * Pure:   no clock and no I/O, but for what OpenSSL does by itself (entropy).
 * Keeps:  the last flight is kept until the next one: the gateway's answer says that it arrived, its silence that it goes out again.
 *         Certificates are not checked: the price measured is the gateway's. With tls-resumed a session comes back with the newest ticket
 *         of this generator, and is wrong when the gateway does not take it.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "bench/load/gen_impl.h"

#define PLAIN_OCTETS 2048

struct gen_tls {
	SSL *ssl;
	BIO *in, *out;
	bool with_ticket, checked;
	uint32_t plain_octets, flight_octets;
	uint8_t plain[PLAIN_OCTETS], flight[GEN_TLS_FLIGHT_OCTETS];
};

static int
keep_ticket(SSL *ssl, SSL_SESSION *session)
{
	struct gen *g = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION *copy = SSL_SESSION_dup(
		session); /* OpenSSL spoils the session of a connection that ends without close_notify */

	if (copy != NULL) {
		SSL_SESSION_free(g->tls_ticket);
		g->tls_ticket = copy;
	}
	return 0; /* the session stays OpenSSL's */
}

/* Each connection has a copy of its own, for the same reason. */
static bool
use_ticket(struct gen *g, SSL *ssl)
{
	SSL_SESSION *copy = g->tls_ticket != NULL ? SSL_SESSION_dup(g->tls_ticket) : NULL;
	const bool used = copy != NULL && SSL_set_session(ssl, copy) == 1;

	SSL_SESSION_free(copy);
	return used;
}

bool
gen_tls_create(struct gen *g)
{
	if (!gen_is_tls(g))
		return true;
	g->tls_ctx = SSL_CTX_new(TLS_client_method());
	g->tls = calloc(g->conf.slots, sizeof(*g->tls));
	if (g->tls_ctx == NULL || g->tls == NULL)
		return false;
	SSL_CTX_set_app_data(g->tls_ctx, g);
	SSL_CTX_set_mode(g->tls_ctx, SSL_MODE_RELEASE_BUFFERS);
	if (g->conf.template == GEN_tls_resumed) {
		SSL_CTX_set_session_cache_mode(g->tls_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(g->tls_ctx, keep_ticket);
	}
	return true;
}

void
gen_tls_destroy(struct gen *g)
{
	for (uint32_t i = 0; g->tls != NULL && i < g->conf.slots; i++)
		gen_tls_end(g, i);
	free(g->tls);
	SSL_SESSION_free(g->tls_ticket);
	SSL_CTX_free(g->tls_ctx);
}

bool
gen_tls_active(const struct gen *g, uint32_t slot)
{
	return g->tls != NULL && g->tls[slot] != NULL;
}

void
gen_tls_end(struct gen *g, uint32_t slot)
{
	if (!gen_tls_active(g, slot))
		return;
	SSL_free(g->tls[slot]->ssl);
	ERR_clear_error();
	free(g->tls[slot]);
	g->tls[slot] = NULL;
}

/* What OpenSSL wants said is a new flight. */
static bool
take_flight(struct gen_tls *t)
{
	const int n = BIO_pending(t->out) > 0 ? BIO_read(t->out, t->flight, sizeof(t->flight)) : 0;

	if (n > 0)
		t->flight_octets = (uint32_t)n;
	return BIO_pending(t->out) <= 0;
}

bool
gen_tls_begin(struct gen *g, uint32_t slot)
{
	struct gen_tls *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return false;
	g->tls[slot] = t;
	t->ssl = SSL_new(g->tls_ctx);
	t->in = BIO_new(BIO_s_mem());
	t->out = BIO_new(BIO_s_mem());
	if (t->ssl == NULL || t->in == NULL || t->out == NULL) {
		BIO_free(t->in);
		BIO_free(t->out);
		gen_tls_end(g, slot);
		return false;
	}
	BIO_set_mem_eof_return(t->in, -1);
	BIO_set_mem_eof_return(t->out, -1);
	SSL_set_bio(t->ssl, t->in, t->out);
	SSL_set_connect_state(t->ssl);
	t->with_ticket = use_ticket(g, t->ssl);
	SSL_do_handshake(t->ssl);
	ERR_clear_error();
	return take_flight(t) && t->flight_octets > 0;
}

static bool
shake(struct gen *g, struct gen_tls *t)
{
	const int rc = SSL_do_handshake(t->ssl);
	const int why = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, rc);

	ERR_clear_error();
	if (rc != 1)
		return why == SSL_ERROR_WANT_READ;
	if (t->checked)
		return true;
	t->checked = true;
	g->stats.tls_handshakes++;
	g->stats.tls_resumed += SSL_session_reused(t->ssl) == 1;
	return !t->with_ticket || SSL_session_reused(t->ssl) == 1;
}

/* Octets of the wire, in order. False: that is no TLS, or not what was agreed upon. */
bool
gen_tls_feed(struct gen *g, uint32_t slot, const uint8_t *octets, uint32_t n)
{
	struct gen_tls *t = g->tls[slot];
	int got;

	if (BIO_write(t->in, octets, (int)n) != (int)n)
		return false;
	if (!SSL_is_init_finished(t->ssl) && !shake(g, t))
		return false;
	if (SSL_is_init_finished(t->ssl)) {
		while (t->plain_octets < sizeof(t->plain) && (got = SSL_read(t->ssl, t->plain + t->plain_octets,
								      (int)(sizeof(t->plain) - t->plain_octets))) > 0)
			t->plain_octets += (uint32_t)got;
		if (t->plain_octets == sizeof(t->plain))
			return false; /* no reply is so long */
		ERR_clear_error();
	}
	return true;
}

bool
gen_tls_is_open(const struct gen *g, uint32_t slot)
{
	return SSL_is_init_finished(g->tls[slot]->ssl) == 1;
}

const uint8_t *
gen_tls_plain(const struct gen *g, uint32_t slot, uint32_t *n)
{
	*n = g->tls[slot]->plain_octets;
	return g->tls[slot]->plain;
}

void
gen_tls_consume(struct gen *g, uint32_t slot, uint32_t n)
{
	struct gen_tls *t = g->tls[slot];

	memmove(t->plain, t->plain + n, t->plain_octets - n);
	t->plain_octets -= n;
}

void
gen_tls_say(struct gen *g, uint32_t slot, const char *line, uint32_t n)
{
	SSL_write(g->tls[slot]->ssl, line, (int)n);
	ERR_clear_error();
}

void
gen_tls_close(struct gen *g, uint32_t slot)
{
	SSL_shutdown(g->tls[slot]->ssl);
	ERR_clear_error();
}

/* New octets to send; 0: none. */
uint32_t
gen_tls_new_flight(struct gen *g, uint32_t slot)
{
	struct gen_tls *t = g->tls[slot];

	return BIO_pending(t->out) > 0 && take_flight(t) ? t->flight_octets : 0;
}

const uint8_t *
gen_tls_flight(const struct gen *g, uint32_t slot, uint32_t *n)
{
	*n = g->tls[slot]->flight_octets;
	return g->tls[slot]->flight;
}
