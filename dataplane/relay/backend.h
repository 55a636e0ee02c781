/*
 * backend.h - which backend to take, and the probes that find out what each can do.
 *
 * Flow:   worker 0: backend_probe_* over its own TCP -> struct backend_state in the segment -> every worker:
 *         backend_choose()
 * Pure:   octets, time and states are arguments.
 * Source: POLICY sections 1 and 5.
 */
#ifndef GREYLINE_RELAY_BACKEND_H
#define GREYLINE_RELAY_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/relay/ehlo.h"
#include "dataplane/relay/relay.h"

#define BACKEND_FAILURES_DOWN     3 /* in a row */
#define BACKEND_PROBE_GREETING_US 10000000
#define BACKEND_PROBE_TOTAL_US    30000000
#define BACKEND_PROBE_QUIT_US     2000000 /* for the answer to QUIT: the result stands already */
/* port 465 says nothing before the handshake: alive when it stays open so long */
#define BACKEND_PROBE_SILENT_TLS_US 1000000
#define BACKEND_RELAYTEST_CLIENT4   0xc0000201u /* 192.0.2.1 (RFC 5737) */

/*
 * The next backend of a pool to try: not in tried (a bit each), in service, and able to carry needs and size_octets.
 * Spread by spread (a hash). A pool whose backends are all down is tried all the same (a probe may be late). states[i]
 * belongs to backend i. -1: none left; -2: none is able. Where all of the pool take too little for size_octets one of
 * them is answered, so that the relay says 554 5.3.4; where only one that is down or out of service takes it, -2: that
 * is our failure, not the message's.
 */
int backend_choose(const struct conf_pool *pool, const struct backend_state *states, uint32_t n_backends,
	uint64_t tried, uint32_t needs, uint64_t size_octets, uint32_t spread);

/* What a listener offers in EHLO, of all backends it can route to (POLICY section 5): ext and the largest SIZE. */
void backend_offer(const struct conf_listener *l, const struct conf_pool *pools, uint32_t n_pools,
	const struct conf_backend *backends, const struct backend_state *states, uint32_t n_backends, uint32_t *ext,
	uint64_t *size_octets);

/* The AUTH mechanisms a listener with auth = relay offers: those of every backend of its default pool, where the exchange is carried. */
uint32_t backend_offer_auth(const struct conf_listener *l, const struct conf_pool *pools, uint32_t n_pools,
	const struct backend_state *states, uint32_t n_backends);

/* The state's changes: pure, on a copy that the caller stores. Down after three failures in a row, up after one
 * success. */
void backend_state_failure(struct backend_state *s, const char *words, uint32_t now_s);
void backend_state_success(struct backend_state *s, uint32_t now_s);

/* A probe of one backend: banner, EHLO, (relay test,) QUIT. */
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
	uint64_t end_us;           /* of the whole probe */
	bool client_refused;       /* the relay test's client was turned away before RCPT: no news of extensions */
	struct counters *counters; /* set by the caller after backend_probe_start(); NULL: not counted */
};

void backend_probe_start(struct backend_probe *p, uint32_t index, const struct conf_backend *conf, const char *our_name,
	const struct ip_addr *local, bool relaytest, uint32_t random, const struct backend_state *before,
	uint64_t now_us);
void backend_probe_connected(struct backend_probe *p, uint64_t now_us);
void backend_probe_disconnected(struct backend_probe *p, uint64_t now_us);
uint32_t backend_probe_input(struct backend_probe *p, const struct buf_view *in, uint64_t now_us);
uint32_t backend_probe_output(struct backend_probe *p, uint8_t *out, uint32_t n);
/* true when it ended: p->found holds the state to store, p->found.words why. */
bool backend_probe_done(struct backend_probe *p, uint32_t now_s, uint64_t now_us);

#endif
