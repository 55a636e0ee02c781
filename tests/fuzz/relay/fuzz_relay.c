/*
 * fuzz_relay.c - a relay, and a probe, against a backend that says anything at any time.
 *
 * The input is a script: an octet of set-up, then operations of one octet each, OP_SAY followed by a length and that
 * many octets.
 * Keeps:  each reply for the client is printable lines within bounds, never 421; a failure is 451 4.3.0; the message
 *         is answered 2xx only after its end was sent and the backend said 250 afterwards; nothing but PROXY goes out
 *         before the backend spoke; every state can be left by time alone but those without a deadline.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/relay/backend_probe.h"
#include "dataplane/relay/relay_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	OP_SAY,
	OP_CONNECT,
	OP_CLOSE,
	OP_RCPT,
	OP_DATA,
	OP_BDAT,
	OP_BODY,
	OP_DOT,
	OP_RESET,
	OP_QUIT,
	OP_AFTER,
	OP_FLUSH,
	OP_SAY2,
	OP_SAY3,
	OP_RCPT2,
	OP_AUTH,
	OP_N
};

struct run {
	struct relay r;
	uint64_t now_us;
	bool spoke;    /* the backend has said something */
	bool dot_sent; /* since the last message's answer */
	bool connected;
	uint8_t how;
};

static void
check_reply(const struct smtp_reply *r, enum relay_action action)
{
	BUG_ON(r->len_octets < 5 || r->len_octets >= SMTP_REPLY_MAX_OCTETS ||
		memcmp(r->text + r->len_octets - 2, "\r\n", 2) != 0);
	BUG_ON(r->code < 200 || r->code > 599 || r->code == 421);
	for (uint32_t i = 0; i < r->len_octets; i++)
		BUG_ON((uint8_t)r->text[i] >= 0x7f ||
			((uint8_t)r->text[i] < 0x20 && strchr("\t\r\n", r->text[i]) == NULL));
	if (action == RELAY_ACTION_FAILED)
		BUG_ON(r->code != 451 || memcmp(r->text, "451 4.3.0 ", 10) != 0);
	if (action == RELAY_ACTION_DATA_REPLY)
		BUG_ON(r->code != 354 && r->code != 250 && r->code < 400);
	if (action == RELAY_ACTION_AUTH_REPLY)
		BUG_ON(r->code != 235 && r->code != 334 && r->code < 400);
	if (action == RELAY_ACTION_RCPT_REPLY)
		BUG_ON(r->code >= 300 && r->code < 400);
}

static void
take_actions(struct run *u)
{
	enum relay_action action;

	for (int i = 0; (action = relay_next(&u->r, u->now_us)) != RELAY_ACTION_NONE; i++) {
		BUG_ON(i > 3);
		if (action == RELAY_ACTION_CLOSED)
			continue;
		check_reply(relay_reply(&u->r), action);
		if (action != RELAY_ACTION_MESSAGE_REPLY)
			continue;
		BUG_ON(relay_reply(&u->r)->code < 400 && (relay_reply(&u->r)->code != 250 || !u->dot_sent));
		u->dot_sent = false;
	}
}

static void
flush(struct run *u)
{
	uint8_t out[RELAY_OUT_MAX_OCTETS];
	const uint32_t n = relay_output(&u->r, out, sizeof(out));

	if (n == 0)
		return;
	BUG_ON(!u->connected);
	BUG_ON(!u->spoke && u->how != CLIENT_ADDRESS_PROXY_V1 && u->how != CLIENT_ADDRESS_PROXY_V2);
	BUG_ON(!u->spoke && memcmp(out, u->how == CLIENT_ADDRESS_PROXY_V1 ? "PROXY " : "\r\n\r\n\0\r", 6) != 0);
}

static void
say(struct run *u, const uint8_t *data, uint32_t len)
{
	uint8_t *piece = malloc(len > 0 ? len : 1);
	struct buf_view v = { .ptr = piece, .len_octets = len };

	memcpy(piece, data, len);
	for (int i = 0; i < 4 && v.len_octets > 0; i++) {
		const uint32_t used = relay_input(&u->r, &v, u->now_us);

		BUG_ON(used > v.len_octets);
		v.ptr += used;
		v.len_octets -= used;
		u->spoke = true;
		take_actions(u);
	}
	free(piece);
}

/* What a worker may do: only what the dialogue with the client allows. */
static bool
may_ask(const struct run *u)
{
	switch (u->r.stage) {
	case RELAY_STAGE_AUTH:
	case RELAY_STAGE_MAIL:
	case RELAY_STAGE_RCPT:
	case RELAY_STAGE_DATA:
	case RELAY_STAGE_BODY:
	case RELAY_STAGE_DOT:
		return u->r.muted && !u->r.want_rcpt && !u->r.want_auth;
	default:
		return !u->r.want_rcpt && !u->r.want_auth;
	}
}

static void
step(struct run *u, uint8_t op, const uint8_t **at, const uint8_t *end)
{
	switch (op % OP_N) {
	case OP_SAY:
	case OP_SAY2:
	case OP_SAY3:
		if (*at < end && u->connected) {
			const uint32_t len = MIN((uint32_t) * *at, (uint32_t)(end - *at - 1));

			say(u, *at + 1, len);
			*at += 1 + len;
		}
		return;
	case OP_CONNECT:
		u->connected = true;
		relay_connected(&u->r, u->now_us);
		return;
	case OP_CLOSE:
		relay_disconnected(&u->r, u->now_us);
		return;
	case OP_RCPT:
	case OP_RCPT2:
		if (may_ask(u))
			relay_rcpt(&u->r, "from@a.example", op % OP_N == OP_RCPT ? "" : " SIZE=9 BODY=8BITMIME",
				"to@b.example", "", op & 0x40 ? EXT_8BITMIME : 0, op & 0x20 ? 1000 : 0, u->now_us);
		return;
	case OP_AUTH: /* between transactions alone, which the dialogue sees to */
		if (may_ask(u) && u->r.n_accepted == 0)
			relay_auth(&u->r, "AUTH PLAIN c2VjcmV0", 19, (op & 0x40) != 0, u->now_us);
		return;
	case OP_DATA:
		if (u->r.stage == RELAY_STAGE_CLOSED ||
			(u->r.stage == RELAY_STAGE_READY && u->r.n_accepted > 0 && !u->r.want_rcpt && !u->r.want_auth))
			relay_data(&u->r, u->now_us);
		return;
	case OP_BDAT:
		if (u->r.stage == RELAY_STAGE_READY && u->r.n_accepted > 0 && !u->r.want_rcpt) {
			relay_bdat(&u->r, op & 0x40 ? 0 : 10, (op & 0x20) != 0, u->now_us);
			u->dot_sent = (op & 0x60) == 0x60;
		}
		return;
	case OP_BODY:
	case OP_DOT:
		if (relay_wants_body(&u->r)) {
			const bool bdat = u->r.bdat && u->r.stage == RELAY_STAGE_BODY;
			const uint32_t n = bdat ? (uint32_t)u->r.bdat_left_octets : 7;

			if (u->r.stage == RELAY_STAGE_BODY)
				u->dot_sent = bdat ? u->r.bdat_last : op % OP_N == OP_DOT;
			relay_body_sent(&u->r, n, op % OP_N == OP_DOT, u->now_us);
		}
		return;
	case OP_RESET:
		relay_reset(&u->r, u->now_us);
		return;
	case OP_QUIT:
		relay_quit(&u->r, u->now_us);
		return;
	case OP_AFTER:
		u->now_us += (uint64_t)(op >> 4) * 1000000;
		return;
	case OP_FLUSH:
		flush(u);
		return;
	}
}

static void
run_relay(const uint8_t *data, size_t size)
{
	static struct run u;
	struct relay_backend b = {
		.conf.client_address = data[0] % 4, .our_name = "gw.example.org", .probe_works = (data[0] & 4) != 0
	};
	struct relay_client c = {
		.addrs = { .src = ip_addr_v4(1), .dst = ip_addr_v4(2), .src_port = 3, .dst_port = 25 },
		.helo = "client.example",
		.esmtp = (data[0] & 8) != 0
	};
	const uint8_t *at = data + 1, *end = data + size;

	memset(&u, 0x5a, sizeof(u));
	u.now_us = 1000000;
	u.spoke = u.dot_sent = u.connected = false;
	u.how = data[0] % 4;
	relay_init(&u.r, &b, &c, u.now_us);
	while (at < end) {
		const uint8_t op = *at++;

		step(&u, op, &at, end);
		take_actions(&u);
		if (data[0] & 16)
			flush(&u);
		BUG_ON(strlen(relay_words(&u.r)) >= RELAY_WORDS_OCTETS);
	}
	for (int i = 0; i < 8 && relay_deadline_us(&u.r) != UINT64_MAX; i++) { /* time alone ends what waits */
		u.now_us = MAX(u.now_us, relay_deadline_us(&u.r));
		take_actions(&u);
		BUG_ON(i == 7);
	}
}

static void
run_probe(const uint8_t *data, size_t size)
{
	static struct backend_probe p;
	const struct conf_backend conf = { .client_address = data[0] % 4,
		.port = data[0] & 64 ? 465 : 25,
		.is_submission = (data[0] & 32) != 0,
		.addr = ip_addr_v4(2) };
	const struct ip_addr local = ip_addr_v4(1);
	const struct backend_state before = { .health = data[0] % 6 };
	const uint8_t *at = data + 1, *end = data + size;
	uint64_t now_us = 1000;
	uint8_t out[64];

	backend_probe_start(&p, 0, &conf, "gw.example.org", &local, (data[0] & 16) != 0, data[0], &before, now_us);
	backend_probe_connected(&p, now_us);
	while (at < end && !backend_probe_done(&p, 5, now_us)) {
		const uint32_t len = MIN(*at % 64u, (uint32_t)(end - at - 1));
		uint8_t *piece = malloc(len > 0 ? len : 1);
		struct buf_view v = { .ptr = piece, .len_octets = len };

		while (backend_probe_output(&p, out, sizeof(out)) > 0)
			;
		memcpy(piece, at + 1, len);
		BUG_ON(backend_probe_input(&p, &v, now_us) > len);
		free(piece);
		now_us += *at & 0x80 ? 3000000 : 1;
		at += 1 + len;
	}
	backend_probe_disconnected(&p, now_us);
	BUG_ON(!backend_probe_done(&p, 5, now_us));
	BUG_ON(p.found.health == BACKEND_OPEN_RELAY && before.health != BACKEND_OPEN_RELAY && !p.relaytest);
	BUG_ON(memchr(p.found.words, '\0', sizeof(p.found.words)) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	run_relay(data, size);
	run_probe(data, size);
	return 0;
}
