/*
 * backend_probe.h - a question to one backend: does it serve, what does it offer, does it relay for strangers?
 *
 * Flow:   worker 0 over its own TCP: backend_probe_start() -> _connected(), _input(), _output() -> backend_probe_done()
 * Pure:   octets and time are arguments.
 * Source: POLICY sections 1 and 5.
 */
#ifndef GREYLINE_RELAY_BACKEND_PROBE_H
#define GREYLINE_RELAY_BACKEND_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/relay/backend.h"
#include "dataplane/relay/ehlo.h"
#include "dataplane/relay/relay.h"

#define BACKEND_PROBE_GREETING_US 10000000
#define BACKEND_PROBE_TOTAL_US    30000000
#define BACKEND_PROBE_QUIT_US     2000000 /* for the answer to QUIT: the result stands already */
/* port 465 says nothing before the handshake: alive when it stays open so long */
#define BACKEND_PROBE_SILENT_TLS_US 1000000
#define BACKEND_RELAYTEST_CLIENT4   0xc0000201u /* 192.0.2.1 (RFC 5737) */

/* How the backend is to be spoken to. */
enum backend_probe_way {
	BACKEND_PROBE_AS_CONFIGURED,
	BACKEND_PROBE_PLAIN, /* TLS with it failed, and its configuration takes plain text for better than nothing */
	BACKEND_PROBE_KEYS, /* by TLS whatever its configuration says, and nothing behind it: for the certificate it shows */
};

/*
 * A probe of one backend: banner, EHLO, (STARTTLS and EHLO anew, as its configuration has it,) (relay test,) QUIT. The order is that of a
 * session (POLICY section 5): PROXY, EHLO, STARTTLS, EHLO, XCLIENT.
 */
struct backend_probe {
	uint32_t backend; /* index */
	bool relaytest;   /* with MAIL and RCPT to relaytest@LABEL.invalid as client 192.0.2.1 / 2001:db8::1 */
	uint8_t step;
	bool done;
	bool ok;
	struct backend_state found;
	struct conf_backend conf;
	char our_name[CONF_HOST_OCTETS];
	char label[32]; /* random label of the relay test */
	uint64_t deadline_us, started_us;
	struct ip_addr local;
	struct smtp_reply_parser parser;
	uint8_t out[1024];
	uint32_t out_len, out_sent;
	uint8_t result;    /* enum probe_result, see backend.c */
	bool helo;         /* it does not know EHLO */
	uint16_t src_port; /* of the client told to it */
	struct ehlo ehlo;
	uint64_t end_us;     /* of the whole probe */
	bool client_refused; /* the relay test's client was turned away before RCPT: no news of extensions */
	uint8_t way;         /* enum backend_probe_way */
	bool tls_possible;   /* set by the caller likewise: its TLS options can be used, there is memory */
	bool under_tls, tls_failed;
	bool no_starttls;          /* not offered, or refused */
	struct counters *counters; /* set by the caller after backend_probe_start(); NULL: not counted */
};

void backend_probe_start(struct backend_probe *p, uint32_t index, const struct conf_backend *conf, const char *our_name,
	const struct ip_addr *local, bool relaytest, uint32_t random, const struct backend_state *before,
	uint64_t now_us);
void backend_probe_connected(struct backend_probe *p, uint64_t now_us);
/* The backend said 220 to STARTTLS: change the stream, then tell how its handshake ended; until then nothing is taken and nothing said. */
bool backend_probe_wants_tls(const struct backend_probe *p);
void backend_probe_tls_started(struct backend_probe *p, uint64_t now_us);
void backend_probe_tls_failed(struct backend_probe *p, const char *words);
/* It failed at TLS, and may be asked once more without: the state found is not to be stored then. */
bool backend_probe_may_go_plain(const struct backend_probe *p);
void backend_probe_disconnected(struct backend_probe *p, uint64_t now_us);
uint32_t backend_probe_input(struct backend_probe *p, const struct buf_view *in, uint64_t now_us);
uint32_t backend_probe_output(struct backend_probe *p, uint8_t *out, uint32_t n);
/* true when it ended: p->found holds the state to store, p->found.words why. */
bool backend_probe_done(struct backend_probe *p, uint32_t now_s, uint64_t now_us);

#endif
