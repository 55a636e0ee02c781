/*
 * stream_tls.c - see stream_tls.h.
 *
 * Keeps:  the view given to unwrap is read by OpenSSL within that call only; a buffer that was lent out is never written again; the
 *         error queue of OpenSSL, which is the thread's, is empty before each of its calls.
 */
#include "dataplane/tls/stream_tls.h"

#include <openssl/err.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/tls/cert_facts.h"
#include "dataplane/tls/tls_context_impl.h"

struct piece {
	struct buf *buf;
	uint8_t *data;
	uint32_t len_octets;
};

/* The records of a client as far as they are in clear: how long its messages say that they are. */
struct hello_walk {
	bool over;
	uint8_t type, n_head, n_message_head;
	uint8_t head[5], message_head[4];
	uint32_t record_left, message_left;
};

struct stream_tls {
	struct stream stream;
	struct tls_context *context;
	struct tls_item *of; /* what it was made from */
	struct buf_pool *pool;
	SSL *ssl;
	const uint8_t *in; /* within unwrap: what OpenSSL may read */
	uint32_t in_octets;
	struct buf *lent_plain;
	uint64_t retry_us; /* the pool was empty; 0: it was not */
	struct hello_walk walk;
	uint32_t n_renewals;
	uint8_t failure; /* enum stream_tls_failure */
	bool is_client, close_wanted, close_sent, out_lent, read_again, peer_alert;
	uint8_t out_from, out_n; /* of out[], a ring */
	struct piece out[STREAM_TLS_OUT_MAX];
};

static struct stream_tls *
tls_of(struct stream *s)
{
	return container_of_(s, struct stream_tls, stream);
}

const char *
stream_tls_failure_word(enum stream_tls_failure f)
{
	static const char *const words[] = {
#define X(name, word) word,
		STREAM_TLS_FAILURES(X)
#undef X
	};

	return (uint32_t)f < ARRAY_LEN(words) ? words[f] : "?";
}

/* ---- OpenSSL's end of the octets ---- */

/* Of a handshake record. False: a message says that it is too long. */
static bool
walk_messages(struct hello_walk *w, const uint8_t *p, uint32_t n)
{
	while (n > 0) {
		const uint32_t skip = MIN(w->message_left, n);

		p += skip;
		n -= skip;
		w->message_left -= skip;
		if (n == 0)
			break;
		w->message_head[w->n_message_head++] = *p++;
		n--;
		if (w->n_message_head < sizeof(w->message_head))
			continue;
		w->n_message_head = 0;
		w->message_left =
			(uint32_t)w->message_head[1] << 16 | (uint32_t)w->message_head[2] << 8 | w->message_head[3];
		if (w->message_left > STREAM_TLS_HELLO_MAX_OCTETS)
			return false;
	}
	return true;
}

/*
 * OpenSSL makes room for as much as a message says, up to 128 KiB, when its first four octets are there: some hundreds of connections with
 * nine octets each would take all memory of TLS from everybody else. So what is said in clear is read along. Encrypted it is from the first
 * ChangeCipherSpec on, but in 1.3, where that means nothing and a second hello may follow.
 */
static bool
walk_records(struct stream_tls *t, const uint8_t *p, uint32_t n)
{
	struct hello_walk *w = &t->walk;

	while (n > 0 && !w->over) {
		const uint32_t part = MIN(w->record_left, n);

		if (part > 0) {
			if (w->type == SSL3_RT_HANDSHAKE && !walk_messages(w, p, part))
				return false;
			p += part;
			n -= part;
			w->record_left -= part;
			continue;
		}
		w->head[w->n_head++] = *p++;
		n--;
		if (w->n_head < sizeof(w->head))
			continue;
		w->n_head = 0;
		w->type = w->head[0];
		w->record_left = (uint32_t)w->head[3] << 8 | w->head[4];
		w->over = w->type == SSL3_RT_APPLICATION_DATA ||
		          (w->type == SSL3_RT_CHANGE_CIPHER_SPEC && SSL_version(t->ssl) != TLS1_3_VERSION);
	}
	return true;
}

static int
bio_read(BIO *bio, char *out, int room)
{
	struct stream_tls *t = BIO_get_data(bio);
	const uint32_t n = MIN(t->in_octets, (uint32_t)room);

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (t->stream.handshaking && !t->is_client && !walk_records(t, t->in, n))
		return -1; /* and no retry: it fails */
	memcpy(out, t->in, n);
	t->in += n;
	t->in_octets -= n;
	return (int)n;
}

/* The last piece with room, or a new one; NULL where the ring is full or the pool empty. */
static struct piece *
piece_with_room(struct stream_tls *t)
{
	struct piece *p = &t->out[(t->out_from + t->out_n + STREAM_TLS_OUT_MAX - 1) % STREAM_TLS_OUT_MAX];

	if (t->out_n > (t->out_lent ? 1 : 0) && p->len_octets < BUF_ROOM_MAX_OCTETS)
		return p;
	if (t->out_n == STREAM_TLS_OUT_MAX)
		return NULL;
	p = &t->out[(t->out_from + t->out_n) % STREAM_TLS_OUT_MAX];
	p->buf = buf_alloc(t->pool, BUF_ROOM_MAX_OCTETS, &p->data);
	p->len_octets = 0;
	if (p->buf == NULL)
		return NULL;
	t->out_n++;
	return p;
}

static int
bio_write(BIO *bio, const char *in, int octets)
{
	struct stream_tls *t = BIO_get_data(bio);
	int done = 0;

	BIO_clear_retry_flags(bio);
	while (done < octets) {
		struct piece *p = piece_with_room(t);
		uint32_t n;

		if (p == NULL)
			break;
		n = MIN((uint32_t)(octets - done), BUF_ROOM_MAX_OCTETS - p->len_octets);
		memcpy(p->data + p->len_octets, in + done, n);
		p->len_octets += n;
		done += (int)n;
	}
	if (done > 0 || octets == 0)
		return done;
	BIO_set_retry_write(bio);
	return -1;
}

static long
bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP ? 1 : 0;
}

static int
bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

/* Made once, before any worker runs, and never changed: the same for all. */
static BIO_METHOD *
bio_method(void)
{
	static _Atomic(BIO_METHOD *) method;
	BIO_METHOD *m = atomic_load_explicit(&method, memory_order_acquire), *none = NULL;
	struct tls_memory *before;

	if (m != NULL)
		return m;
	before = tls_memory_enter(NULL);
	m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "greyline stream");
	if (m != NULL) {
		BIO_meth_set_read(m, bio_read);
		BIO_meth_set_write(m, bio_write);
		BIO_meth_set_ctrl(m, bio_ctrl);
		BIO_meth_set_create(m, bio_create);
		if (!atomic_compare_exchange_strong(&method, &none, m)) {
			BIO_meth_free(m);
			m = none;
		}
	}
	tls_memory_enter(before);
	return m;
}

/* ---- what went wrong ---- */

static void
info_callback(const SSL *ssl, int where, int value)
{
	struct stream_tls *t = SSL_get_app_data(ssl);

	if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && value >> 8 == SSL3_AL_FATAL)
		t->peer_alert = true;
	if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT && (value & 0xff) == SSL_AD_NO_RENEGOTIATION) {
		t->n_renewals++;
		counter_inc(t->context->counters, CTR_tls_renegotiations);
	}
}

/* A peer may change its keys at any time and without an octet for us: nobody's limits see it. */
static void
message_callback(int written, int version, int type, const void *message, size_t octets, SSL *ssl, void *arg)
{
	struct stream_tls *t = arg;

	(void)version;
	(void)ssl;
	if (written == 0 && type == SSL3_RT_HANDSHAKE && octets > 0 && *(const uint8_t *)message == SSL3_MT_KEY_UPDATE)
		t->n_renewals++;
}

static enum stream_tls_failure
failure_of(const struct stream_tls *t)
{
	const unsigned long code = ERR_peek_error();

	if (t->peer_alert)
		return STREAM_TLS_ALERT;
	if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
		return STREAM_TLS_MEMORY;
	if (ERR_GET_LIB(code) != ERR_LIB_SSL)
		return STREAM_TLS_NONSENSE;
	switch (ERR_GET_REASON(code)) {
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
	case SSL_R_VERSION_TOO_HIGH:
	case SSL_R_NO_PROTOCOLS_AVAILABLE:
	case SSL_R_INAPPROPRIATE_FALLBACK:
		return STREAM_TLS_VERSION;
	case SSL_R_NO_SHARED_CIPHER:
	case SSL_R_NO_SHARED_GROUPS:
	case SSL_R_NO_SUITABLE_KEY_SHARE:
	case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
	case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
	case SSL_R_NO_CIPHERS_SPECIFIED:
		return STREAM_TLS_CIPHER;
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
		return STREAM_TLS_UNVERIFIED;
	default:
		return STREAM_TLS_NONSENSE;
	}
}

/* After a call of OpenSSL that gave nothing. */
static void
settle(struct stream_tls *t, int rc)
{
	switch (SSL_get_error(t->ssl, rc)) {
	case SSL_ERROR_NONE:
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return;
	case SSL_ERROR_ZERO_RETURN:
		t->stream.peer_eof = true;
		return;
	default:
		if (!t->stream.failed)
			t->failure = (uint8_t)failure_of(t);
		t->stream.failed = true;
		return;
	}
}

/* ---- one step each way ---- */

static void
handshake_step(struct stream_tls *t)
{
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(t->ssl);
	if (rc != 1) {
		settle(t, rc);
		return;
	}
	t->stream.handshaking = false;
	if (t->is_client) {
		counter_inc(t->context->counters, CTR_tls_backend_handshakes);
	} else {
		counter_inc(t->context->counters, CTR_tls_handshakes);
		if (SSL_session_reused(t->ssl))
			counter_inc(t->context->counters, CTR_tls_resumed);
	}
}

static void
plain_step(struct stream_tls *t, struct buf_view *plain, uint64_t now_us)
{
	uint8_t *data = NULL;
	struct buf *buf;
	int n;

	/* nothing to read from, nothing decrypted: no buffer is asked for */
	if (t->in_octets == 0 && SSL_pending(t->ssl) == 0 && !t->read_again)
		return;
	t->read_again = false;
	buf = buf_alloc(t->pool, BUF_ROOM_MAX_OCTETS, &data);
	if (buf == NULL) {
		t->retry_us = now_us + STREAM_TLS_RETRY_US;
		return;
	}
	ERR_clear_error();
	n = SSL_read(t->ssl, data, BUF_ROOM_MAX_OCTETS);
	if (t->n_renewals > STREAM_TLS_RENEWALS_MAX) {
		buf_unref(t->pool, buf);
		t->failure = STREAM_TLS_NONSENSE;
		t->stream.failed = true;
		return;
	}
	if (n <= 0) {
		buf_unref(t->pool, buf);
		settle(t, n);
		t->read_again =
			SSL_want_write(t->ssl); /* an answer of TLS's own did not fit: it goes on without octets */
		return;
	}
	t->lent_plain = buf;
	*plain = (struct buf_view){ data, (uint32_t)n, buf };
}

static uint32_t
tls_unwrap(struct stream *s, const struct buf_view *wire, struct buf_view *plain, uint64_t now_us)
{
	struct stream_tls *t = tls_of(s);
	struct tls_memory *before;

	*plain = (struct buf_view){ NULL, 0, NULL };
	buf_unref(t->pool, t->lent_plain);
	t->lent_plain = NULL;
	if (s->failed || s->peer_eof || t->out_n > STREAM_TLS_OUT_READ_MAX)
		return s->failed || s->peer_eof ? wire->len_octets : 0; /* after the end all is dropped */
	t->retry_us = 0;
	t->in = wire->ptr;
	t->in_octets = wire->len_octets;
	before = tls_memory_enter(t->context->memory);
	if (s->handshaking)
		handshake_step(t);
	if (!s->handshaking && !s->failed)
		plain_step(t, plain, now_us);
	tls_memory_enter(before);
	t->in = NULL;
	return wire->len_octets - t->in_octets;
}

/* Drops the piece that was lent. */
static void
out_advance(struct stream_tls *t)
{
	if (!t->out_lent)
		return;
	buf_unref(t->pool, t->out[t->out_from].buf);
	t->out_from = (uint8_t)((t->out_from + 1) % STREAM_TLS_OUT_MAX);
	t->out_n--;
	t->out_lent = false;
}

/* Lets OpenSSL say what it has to: octets of plain, the client's first flight, what a full ring held back, close_notify. */
static uint32_t
say(struct stream_tls *t, const struct buf_view *plain, uint64_t now_us)
{
	int n = 0;

	if (t->stream.handshaking) {
		if (SSL_in_before(t->ssl) ? t->is_client : SSL_want_write(t->ssl))
			handshake_step(t);
		return 0;
	}
	if (buf_available(t->pool) < STREAM_TLS_OUT_MAX) {
		t->retry_us = now_us + STREAM_TLS_RETRY_US;
		return 0;
	}
	ERR_clear_error();
	if (plain->len_octets > 0 && !t->close_wanted) {
		n = SSL_write(t->ssl, plain->ptr, (int)MIN(plain->len_octets, (uint32_t)STREAM_TLS_RECORD_MAX_OCTETS));
		if (n <= 0)
			settle(t, n);
	} else if (t->close_wanted && !t->close_sent) {
		t->close_sent = true;
		SSL_shutdown(t->ssl);
	}
	return n > 0 ? (uint32_t)n : 0;
}

static uint32_t
tls_wrap(struct stream *s, const struct buf_view *plain, struct buf_view *wire, uint64_t now_us)
{
	struct stream_tls *t = tls_of(s);
	uint32_t used = 0;

	*wire = (struct buf_view){ NULL, 0, NULL };
	out_advance(t);
	if (t->out_n == 0 && !s->failed) {
		struct tls_memory *before = tls_memory_enter(t->context->memory);

		t->retry_us = 0;
		used = say(t, plain, now_us);
		tls_memory_enter(before);
	}
	if (t->out_n > 0) {
		const struct piece *p = &t->out[t->out_from];

		*wire = (struct buf_view){ p->data, p->len_octets, p->buf };
		t->out_lent = true;
	}
	return used;
}

static void
tls_shutdown(struct stream *s)
{
	tls_of(s)->close_wanted = true;
}

static uint64_t
tls_deadline_us(const struct stream *s)
{
	const struct stream_tls *t = (const struct stream_tls *)s; /* embedded first */

	return t->retry_us != 0 ? t->retry_us : UINT64_MAX;
}

/* Of a record that is not whole OpenSSL holds what has come, in its own memory. */
static bool
tls_may_rest(const struct stream *s)
{
	const struct stream_tls *t = (const struct stream_tls *)s; /* embedded first */

	return !s->handshaking && !s->failed && !s->peer_eof && !t->close_wanted && t->out_n == 0 &&
	       t->lent_plain == NULL && t->retry_us == 0 && !t->read_again && SSL_pending(t->ssl) == 0;
}

static void
tls_destroy(struct stream *s)
{
	struct stream_tls *t = tls_of(s);
	struct tls_context *c = t->context;
	struct tls_memory *before = tls_memory_enter(c->memory);

	buf_unref(t->pool, t->lent_plain);
	for (uint32_t i = 0; i < t->out_n; i++)
		buf_unref(t->pool, t->out[(t->out_from + i) % STREAM_TLS_OUT_MAX].buf);
	SSL_free(t->ssl);
	ERR_clear_error();
	tls_item_put(c, t->of);
	OPENSSL_free(t);
	tls_memory_enter(before);
}

/* ---- begin ---- */

static const struct stream_ops tls_ops = {
	.unwrap = tls_unwrap,
	.wrap = tls_wrap,
	.shutdown = tls_shutdown,
	.deadline_us = tls_deadline_us,
	.may_rest = tls_may_rest,
	.destroy = tls_destroy,
};

static struct stream *
create(struct tls_context *c, struct buf_pool *pool, SSL_CTX *ctx, struct tls_item *of, bool is_client)
{
	struct stream_tls *t = OPENSSL_zalloc(sizeof(*t));
	SSL *ssl = SSL_new(ctx);
	BIO *bio = BIO_new(bio_method());

	ERR_clear_error();
	if (t == NULL || ssl == NULL || bio == NULL) {
		OPENSSL_free(t);
		SSL_free(ssl);
		BIO_free(bio);
		return NULL;
	}
	*t = (struct stream_tls){
		.stream = { .ops = &tls_ops, .is_tls = true, .handshaking = true },
		.context = c,
		.of = of,
		.pool = pool,
		.ssl = ssl,
		.is_client = is_client,
	};
	of->n_users++;
	BIO_set_data(bio, t);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_app_data(ssl, t);
	SSL_set_info_callback(ssl, info_callback);
	SSL_set_msg_callback(ssl, message_callback);
	SSL_set_msg_callback_arg(ssl, t);
	if (is_client)
		SSL_set_connect_state(ssl);
	else
		SSL_set_accept_state(ssl);
	return &t->stream;
}

struct stream *
stream_tls_server(struct tls_context *c, struct buf_pool *pool)
{
	struct tls_memory *before;
	struct stream *s;

	if (!tls_context_has_certificate(c))
		return NULL;
	before = tls_memory_enter(c->memory);
	s = create(c, pool, c->server->ctx[0], &c->server->item, false);
	tls_memory_enter(before);
	return s;
}

struct stream *
stream_tls_client(struct tls_context *c, struct buf_pool *pool, uint32_t backend_id)
{
	const struct tls_client *k = tls_context_client(c, backend_id);
	struct tls_memory *before;
	struct stream *s;

	if (k == NULL)
		return NULL;
	before = tls_memory_enter(c->memory);
	s = create(c, pool, k->ctx, &c->clients->item, true);
	if (s != NULL && k->name[0] != '\0' &&
		SSL_set_tlsext_host_name(tls_of(s)->ssl, (char *)(uintptr_t)k->name) != 1) {
		tls_destroy(s);
		s = NULL;
	}
	tls_memory_enter(before);
	return s;
}

/*
 * The server takes its key by what the client can verify: signatures (and, below 1.3, ciphers) of one kind alone. A server without a key of that
 * kind ends the handshake with an alert.
 */
static bool
ask_for_kind(SSL *ssl, uint8_t key_type)
{
	static const struct {
		const char *signatures, *ciphers;
	} of[CERT_KEY_TYPE_N] = {
		[CERT_KEY_ECDSA] = { "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ECDSA+SHA1", "aECDSA:!aNULL:!eNULL" },
		[CERT_KEY_RSA] = { "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512:RSA+"
				   "SHA1",
			"aRSA:!aNULL:!eNULL" },
		[CERT_KEY_ED25519] = { "ed25519", "aECDSA:!aNULL:!eNULL" },
	};

	return SSL_set1_sigalgs_list(ssl, (char *)(uintptr_t)of[key_type].signatures) == 1 &&
	       SSL_set_cipher_list(ssl, of[key_type].ciphers) == 1;
}

struct stream *
stream_tls_asker(struct tls_context *c, struct buf_pool *pool, const char *name, uint8_t key_type)
{
	struct tls_memory *before;
	struct stream *s;

	if (c->clients == NULL || c->clients->asker == NULL || key_type >= CERT_KEY_TYPE_N)
		return NULL;
	before = tls_memory_enter(c->memory);
	s = create(c, pool, c->clients->asker, &c->clients->item, true);
	if (s != NULL &&
		(!ask_for_kind(tls_of(s)->ssl, key_type) ||
			(name[0] != '\0' && SSL_set_tlsext_host_name(tls_of(s)->ssl, (char *)(uintptr_t)name) != 1))) {
		tls_destroy(s);
		s = NULL;
	}
	tls_memory_enter(before);
	return s;
}

/* ---- what the caller may know ---- */

bool
stream_tls_facts(const struct stream *s, struct stream_tls_facts *out)
{
	const struct stream_tls *t = (const struct stream_tls *)s;
	const char *name;

	if (!s->is_tls || s->ops != &tls_ops || s->handshaking)
		return false;
	name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
	*out = (struct stream_tls_facts){
		.version = SSL_get_version(t->ssl),
		.cipher = SSL_get_cipher_name(t->ssl),
		.name = name != NULL ? name : "",
		.resumed = SSL_session_reused(t->ssl) == 1,
	};
	return true;
}

bool
stream_tls_peer(const struct stream *s, struct cert_status *row)
{
	const struct stream_tls *t = (const struct stream_tls *)s;
	struct tls_memory *before;
	X509 *x;

	if (s->ops != &tls_ops || s->handshaking || !t->is_client)
		return false;
	before = tls_memory_enter(t->context->memory);
	x = SSL_get1_peer_certificate(t->ssl);
	if (x != NULL)
		cert_facts(x, ((const struct tls_clients *)(const void *)t->of)->sha256, row);
	X509_free(x);
	tls_memory_enter(before);
	return x != NULL;
}

enum stream_tls_failure
stream_tls_failure(const struct stream *s)
{
	return s->ops == &tls_ops ? (enum stream_tls_failure)((const struct stream_tls *)s)->failure : STREAM_TLS_NONE;
}
