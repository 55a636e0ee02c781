/*
 * stream_tls.h - the stream of TLS: OpenSSL between the connection's octets and the dialogue's.
 *
 * Flow:   worker: stream_tls_server() or stream_tls_client() -> stream_unwrap(), stream_wrap() as of any stream -> destroy
 * Touches: OpenSSL, with memory of the context's region; buffers of the lcore's pool.
 * Keeps:  wire octets go from the received view straight into OpenSSL, plain octets come out in buffers of the pool (so they go on to a
 *         backend without a copy); records to send lie in buffers of the pool, at most STREAM_TLS_OUT_MAX of them, then nothing more is
 *         read or taken; between records OpenSSL holds no buffer. An SSL object belongs to the lcore that made it, for life.
 * Source: RFC 8446, 5246; OpenSSL 3.0 (SSL_MODE_RELEASE_BUFFERS).
 *
 * stream.handshaking is true until the handshake is done: the worker then calls unwrap only when octets are there and it has a step to
 * give away. A failed handshake or record sets stream.failed; what wrap still gives then is the alert.
 */
#ifndef GREYLINE_TLS_STREAM_TLS_H
#define GREYLINE_TLS_STREAM_TLS_H

#include "dataplane/tls/stream.h"
#include "dataplane/tls/tls_context.h"

#define STREAM_TLS_OUT_MAX 32 /* buffers of 2 KiB: the longest flight (a chain of some 50 KiB) or three records */
#define STREAM_TLS_OUT_READ_MAX                                                                                        \
	4 /* with so many unsent nothing is read: a peer that does not read is not answered without end */
#define STREAM_TLS_RECORD_MAX_OCTETS 16384 /* of plain octets that one wrap takes */
#define STREAM_TLS_HELLO_MAX_OCTETS                                                                                    \
	16384 /* of a client's message before it is encrypted; OpenSSL takes 131396 and makes room at once */
#define STREAM_TLS_RENEWALS_MAX                                                                                        \
	32 /* changes of keys, and wishes to renegotiate, in one session: each costs us more than the peer */
#define STREAM_TLS_RETRY_US 2000 /* with no buffer left in the pool */

/* Why a stream failed. */
enum stream_tls_failure {
#define STREAM_TLS_FAILURES(X)                                                                                         \
	X(NONE, "none")                                                                                                \
	X(VERSION, "tls-version")       /* no version in common */                                                     \
	X(CIPHER, "tls-cipher")         /* no cipher, group or signature in common */                                  \
	X(ALERT, "tls-alert")           /* the peer said so */                                                         \
	X(UNVERIFIED, "tls-unverified") /* the peer's certificate is not what we want */                               \
	X(MEMORY, "tls-memory")                                                                                        \
	X(NONSENSE, "tls-nonsense") /* not TLS, or broken */
#define X(name, word) STREAM_TLS_##name,
	STREAM_TLS_FAILURES(X)
#undef X
};

/* What was agreed upon; words of OpenSSL, lent as long as the stream lives. */
struct stream_tls_facts {
	const char *version; /* "TLSv1.3" */
	const char *cipher;  /* "TLS_AES_256_GCM_SHA384" */
	const char *name;    /* SNI; "" when none was sent */
	bool resumed;
};

/* NULL where there is no memory (or no certificate, no such backend). pool is borrowed for life. */
struct stream *stream_tls_server(struct tls_context *c, struct buf_pool *pool);
struct stream *stream_tls_client(struct tls_context *c, struct buf_pool *pool, uint32_t backend_id);
/* Asks a server for its certificate of one kind (enum cert_key_type) under a name (SNI; "": none). Believes nothing: for stream_tls_peer(). */
struct stream *stream_tls_asker(struct tls_context *c, struct buf_pool *pool, const char *name, uint8_t key_type);

/* False before the handshake is done. */
bool stream_tls_facts(const struct stream *s, struct stream_tls_facts *out);
/* What certificate the server showed; false: none. The row's label, state and why are the caller's. */
bool stream_tls_peer(const struct stream *s, struct cert_status *row);
enum stream_tls_failure stream_tls_failure(const struct stream *s);
const char *stream_tls_failure_word(enum stream_tls_failure f); /* for the log */

#endif
