/*
 * fuzz_stream_tls.c - the seam of TLS with a client that sends anything: from the first octet, behind the first flight, or under TLS.
 *
 * Input:  one octet of settings (where the client's own octets begin, which version), one of the size of pieces; the rest is what it
 *         sends then, in pieces, cut anyhow; octet 0xee asks the stream to say something, 0xef drops what it said.
 * Keeps:  never more consumed than given, nothing plain before the handshake is done, few buffers held, a failed stream says its alert
 *         and nothing else, and everything is given back.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/tls/stream_tls.h"
#include "tests/helpers/tls_certs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BUFS_MAX 256

struct play {
	struct buf_pool *pool;
	struct stream *stream;
	SSL *ssl; /* the client as far as it is right */
	BIO *in, *out;
	uint64_t plain_octets;
};

static struct tls_context *context;
static struct counters counters;
static SSL_CTX *client;

static void
prepare(void)
{
	static const struct conf conf = {
		.tls_min_version = TLS_VERSION_1_2, .tls_tickets = 1, .tls_ticket_lifetime_s = 7200
	};
	static struct tls_certs certs;
	char why[256];

	tls_certs_init(&certs);
	tls_certs_write(&certs, "a", true, "a.example");
	context = tls_context_create(NULL, NULL, &counters, why, sizeof(why));
	BUG_ON(context == NULL ||
		tls_context_load(context, &conf, tls_certs_set(&certs, "a.example"), why, sizeof(why)) != 0);
	tls_context_take(context);
	tls_certs_free(&certs);
	client = SSL_CTX_new(TLS_client_method());
	BUG_ON(client == NULL);
}

static void
give(struct play *p, const uint8_t *octets, uint32_t n)
{
	while (n > 0) {
		const struct buf_view wire = { octets, n, NULL };
		struct buf_view plain;
		const bool handshaking = p->stream->handshaking;
		const uint32_t used = stream_unwrap(p->stream, &wire, &plain, 1000);

		BUG_ON(used > n);
		BUG_ON(plain.len_octets > 0 && (p->stream->handshaking || plain.buf == NULL));
		(void)handshaking;
		for (uint32_t i = 0; i < plain.len_octets; i++)
			p->plain_octets += plain.ptr[i] != 0; /* each octet is looked at */
		octets += used;
		n -= used;
		if (used == 0 && plain.len_octets == 0)
			return;
	}
}

static void
fetch(struct play *p, bool tell)
{
	const struct buf_view nothing = { 0 };
	struct buf_view wire;

	do {
		stream_wrap(p->stream, &nothing, &wire, 1000);
		if (wire.len_octets > 0 && tell)
			BIO_write(p->in, wire.ptr, (int)wire.len_octets);
	} while (wire.len_octets > 0);
}

static void
speak_rightly(struct play *p)
{
	uint8_t wire[8192];
	int n;

	SSL_do_handshake(p->ssl);
	ERR_clear_error();
	n = BIO_read(p->out, wire, sizeof(wire));
	if (n > 0)
		give(p, wire, (uint32_t)n);
	fetch(p, true);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct play p = { 0 };
	uint32_t piece, say;

	if (context == NULL)
		prepare();
	if (size < 2)
		return 0;
	p.pool = buf_malloc_create(BUFS_MAX);
	p.stream = stream_tls_server(context, p.pool);
	BUG_ON(p.stream == NULL);
	p.ssl = SSL_new(client);
	p.in = BIO_new(BIO_s_mem());
	p.out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(p.in, -1);
	SSL_set_bio(p.ssl, p.in, p.out);
	SSL_set_connect_state(p.ssl);
	if ((data[0] & 4) != 0)
		SSL_set_max_proto_version(p.ssl, TLS1_2_VERSION);
	for (uint32_t i = 0; i < (data[0] & 3u); i++)
		speak_rightly(&p);
	piece = data[1] + 1u;
	say = (data[0] & 8) != 0; /* whether the rest is what the client says under TLS, or raw octets of the wire */
	data += 2;
	size -= 2;
	while (size > 0) {
		const uint32_t n = (uint32_t)MIN((size_t)piece, size);

		if (data[0] == 0xee)
			fetch(&p, true);
		else if (data[0] == 0xef)
			fetch(&p, false);
		if (say && SSL_is_init_finished(p.ssl)) {
			uint8_t wire[8192];
			int k;

			SSL_write(p.ssl, data, (int)n);
			ERR_clear_error();
			k = BIO_read(p.out, wire, sizeof(wire));
			if (k > 0)
				give(&p, wire, (uint32_t)k);
		} else {
			give(&p, data, n);
		}
		BUG_ON(buf_malloc_in_use(p.pool) > STREAM_TLS_OUT_MAX + 2);
		data += n;
		size -= n;
	}
	p.stream->ops->shutdown(p.stream);
	fetch(&p, true);
	p.stream->ops->destroy(p.stream);
	SSL_free(p.ssl);
	ERR_clear_error();
	buf_malloc_destroy(p.pool);
	return 0;
}
