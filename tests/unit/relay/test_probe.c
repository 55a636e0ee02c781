/*
 * test_probe.c - probes of a scripted backend: reachability, extensions, open relay, loop.
 */
#include "dataplane/relay/backend_probe.h"

#include <stdlib.h>

#include "tests/check.h"

#define OUR_NAME "gw.example.org"

enum how {
	NONE = CLIENT_ADDRESS_NONE,
	V1 = CLIENT_ADDRESS_PROXY_V1,
	V2 = CLIENT_ADDRESS_PROXY_V2,
	XC = CLIENT_ADDRESS_XCLIENT
};

#define TURNS_MAX 14

/* The backend's side: what must have come, then what it says. A say of NULL ends: it closes; "" is silence; TLS is a handshake that is
 * done, TLS_FAILS one that is not. */
struct turn {
	const char *want, *say;
};

struct row {
	const char *label;
	enum how how;
	bool relaytest, submission;
	uint8_t tls; /* enum conf_backend_tls */
	bool tls_impossible, by_fingerprint, plain_way;
	bool may_go_plain; /* after it */
	uint16_t port;
	uint8_t before; /* enum backend_health */
	bool ok;
	uint8_t health; /* after */
	uint32_t ext;
	uint64_t size;
	const char *words; /* contained */
	struct turn turns[TURNS_MAX];
};

#define EHLO   "EHLO " OUR_NAME "\r\n"
#define RCPT   "RCPT TO:<relaytest@greyline-0000002a.invalid>\r\n"
#define HI     "220 mta.example ESMTP\r\n"
#define EXTS   "250-mta.example\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"
#define XOFFER "250-mta\r\n250-DSN\r\n250 XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT\r\n"
#define STLS   "250-mta\r\n250 STARTTLS\r\n"
#define GO                                                                                                             \
	{                                                                                                              \
		"STARTTLS\r\n", "220 go\r\n"                                                                           \
	}
#define MAY  BACKEND_TLS_MAY
#define MUST BACKEND_TLS_REQUIRE
static const char handshake_done[] = "tls", handshake_fails[] = "no tls";
#define TLS                                                                                                            \
	{                                                                                                              \
		"", handshake_done                                                                                     \
	}
#define TLS_FAILS                                                                                                      \
	{                                                                                                              \
		"", handshake_fails                                                                                    \
	}
/* clang-format off */
#define BYE  { "QUIT\r\n", "221 bye\r\n" }
/* clang-format on */

static const struct row rows[] = {
	{ "up, with its extensions", NONE, .ok = true, .health = BACKEND_UP, .ext = EXT_SIZE | EXT_8BITMIME,
		.size = 1000, .words = "250-mta.example", .turns = { { "", HI }, { EHLO, EXTS }, BYE } },
	{ "PROXY version 1 with our own address", V1, .ok = true, .health = BACKEND_UP, .words = "250 mta",
		.turns = { { "PROXY TCP4 198.18.1.2 198.18.1.3 32810 25\r\n", HI }, { EHLO, "250 mta\r\n" }, BYE } },
	{ "a backend that does not know EHLO", NONE, .ok = true, .health = BACKEND_UP,
		.turns = { { "", HI }, { EHLO, "502 what\r\n" }, { "HELO " OUR_NAME "\r\n", "250-mta\r\n250 DSN\r\n" },
			BYE } },
	{ "QUIT unanswered changes nothing", NONE, .ok = true, .health = BACKEND_UP,
		.turns = { { "", HI }, { EHLO, "250 mta\r\n" }, { "QUIT\r\n", "" } } },
	{ "QUIT answered by closing", NONE, .ok = true, .health = BACKEND_UP,
		.turns = { { "", HI }, { EHLO, "250 mta\r\n" }, { "QUIT\r\n", NULL } } },
	{ "XCLIENT must be offered", XC, .words = "smtpd_authorized_xclient_hosts",
		.turns = { { "", HI }, { EHLO, EXTS }, BYE } },
	{ "XCLIENT offered", XC, .ok = true, .health = BACKEND_UP, .ext = EXT_DSN | EXT_XCLIENT,
		.turns = { { "", HI }, { EHLO, XOFFER }, BYE } },

	{ "no banner", NONE, .words = "no answer in time at BANNER", .turns = { { "", "" } } },
	{ "closed without a banner", NONE, .words = "connection lost at BANNER", .turns = { { "", NULL } } },
	{ "banner 554", NONE, .words = "554 go away", .turns = { { "", "554 go away\r\n" } } },
	{ "banner 421", NONE, .words = "421 busy", .turns = { { "", "421 busy\r\n" } } },
	{ "banner that is no reply", NONE, .words = "not a reply", .turns = { { "", "SSH-2.0-OpenSSH\r\n" } } },
	{ "banner and more", NONE, .words = "reply before the command", .turns = { { "", HI "250 x\r\n" } } },
	{ "EHLO refused", NONE, .words = "550 no", .turns = { { "", HI }, { EHLO, "550 no\r\n" } } },
	{ "EHLO silent", NONE, .words = "no answer in time at EHLO", .turns = { { "", HI }, { EHLO, "" } } },
	{ "EHLO lost", NONE, .words = "connection lost at EHLO", .turns = { { "", HI }, { EHLO, NULL } } },

	{ "relay test: refused, as it should be", V1, .relaytest = true, .ok = true, .health = BACKEND_UP,
		.ext = EXT_SIZE | EXT_8BITMIME, .size = 1000, .words = "250 ok",
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", HI }, { EHLO, EXTS },
			{ "MAIL FROM:<>\r\n", "250 ok\r\n" }, { RCPT, "554 5.7.1 Relay access denied\r\n" },
			{ "RSET\r\n", "250 ok\r\n" }, BYE } },
	{ "relay test: a temporary refusal is one as well", V1, .relaytest = true, .ok = true, .health = BACKEND_UP,
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", HI }, { EHLO, "250 x\r\n" },
			{ "MAIL FROM:<>\r\n", "250 ok\r\n" }, { RCPT, "450 4.1.2 later\r\n" },
			{ "RSET\r\n", "250 ok\r\n" }, BYE } },
	{ "relay test: the null sender refused", V1, .relaytest = true, .ok = true, .health = BACKEND_UP,
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", HI }, { EHLO, "250 x\r\n" },
			{ "MAIL FROM:<>\r\n", "550 no\r\n" }, BYE } },
	{ "relay test: the outside client is turned away at the banner", V1, .relaytest = true, .ok = true,
		.health = BACKEND_UP, .words = "554 listed",
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", "554 listed\r\n" }, BYE } },
	{ "relay test: the connection is lost", V1, .relaytest = true, .words = "connection lost at RCPT",
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", HI }, { EHLO, "250 x\r\n" },
			{ "MAIL FROM:<>\r\n", "250 ok\r\n" }, { RCPT, NULL } } },
	{ "relay test: 421", V1, .relaytest = true, .words = "421 busy",
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", HI }, { EHLO, "250 x\r\n" },
			{ "MAIL FROM:<>\r\n", "250 ok\r\n" }, { RCPT, "421 busy\r\n" } } },
	{ "relay test: relays, found out", V1, .relaytest = true, .health = BACKEND_OPEN_RELAY, .words = "mynetworks",
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", HI }, { EHLO, "250 x\r\n" },
			{ "MAIL FROM:<>\r\n", "250 ok\r\n" }, { RCPT, "250 2.1.5 ok\r\n" },
			{ "RSET\r\n", "250 ok\r\n" }, BYE } },
	{ "relay test: relays, and dies at RSET", V1, .relaytest = true, .health = BACKEND_OPEN_RELAY,
		.words = "mynetworks",
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", HI }, { EHLO, "250 x\r\n" },
			{ "MAIL FROM:<>\r\n", "250 ok\r\n" }, { RCPT, "250 2.1.5 ok\r\n" }, { "RSET\r\n", NULL } } },
	{ "relay test as the outside client by XCLIENT", XC, .relaytest = true, .ok = true, .health = BACKEND_UP,
		.ext = EXT_DSN | EXT_XCLIENT,
		.turns = { { "", HI }, { EHLO, XOFFER },
			{ "XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=32810 PROTO=ESMTP "
			  "HELO=" OUR_NAME "\r\n",
				HI },
			{ EHLO, "250 mta\r\n" }, { "MAIL FROM:<>\r\n", "250 ok\r\n" }, { RCPT, "554 no\r\n" },
			{ "RSET\r\n", "250 ok\r\n" }, BYE } },
	{ "relay test: XCLIENT refused", XC, .relaytest = true, .words = "550 5.7.0 insufficient",
		.turns = { { "", HI }, { EHLO, XOFFER },
			{ "XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=32810 PROTO=ESMTP "
			  "HELO=" OUR_NAME "\r\n",
				"550 5.7.0 insufficient authorization\r\n" } } },
	{ "relay test without a client's address: as ourselves", NONE, .relaytest = true, .health = BACKEND_OPEN_RELAY,
		.words = "gateway's address",
		.turns = { { "", HI }, { EHLO, "250 x\r\n" }, { "MAIL FROM:<>\r\n", "250 ok\r\n" },
			{ RCPT, "250 ok\r\n" }, { "RSET\r\n", "250 ok\r\n" }, BYE } },
	{ "an open relay stays out of service after a plain probe", NONE, .before = BACKEND_OPEN_RELAY, .ok = true,
		.health = BACKEND_OPEN_RELAY, .turns = { { "", HI }, { EHLO, "250 mta\r\n" }, BYE } },
	{ "an open relay that was closed comes back by a relay test", NONE, .before = BACKEND_OPEN_RELAY,
		.relaytest = true, .ok = true, .health = BACKEND_UP,
		.turns = { { "", HI }, { EHLO, "250 x\r\n" }, { "MAIL FROM:<>\r\n", "250 ok\r\n" },
			{ RCPT, "554 no\r\n" }, { "RSET\r\n", "250 ok\r\n" }, BYE } },

	{ "TLS demanded: extensions are those under TLS", NONE, .tls = MUST, .ok = true, .health = BACKEND_UP,
		.ext = EXT_SIZE | EXT_8BITMIME, .size = 1000,
		.turns = { { "", HI }, { EHLO, STLS }, GO, TLS, { EHLO, EXTS }, BYE } },
	{ "TLS demanded: HELO alone is no TLS", NONE, .tls = MUST, .words = "STARTTLS is not offered",
		.turns = { { "", HI }, { EHLO, "502 what\r\n" }, { "HELO " OUR_NAME "\r\n", "250 mta\r\n" } } },
	{ "TLS demanded and not offered", NONE, .tls = MUST, .words = "STARTTLS is not offered",
		.turns = { { "", HI }, { EHLO, EXTS } } },
	{ "TLS demanded and refused", NONE, .tls = MUST, .words = "454 not now",
		.turns = { { "", HI }, { EHLO, STLS }, { "STARTTLS\r\n", "454 not now\r\n" } } },
	{ "TLS demanded, its options cannot be used", NONE, .tls = MUST, .tls_impossible = true,
		.words = "options cannot be used", .turns = { { "", HI }, { EHLO, STLS } } },
	{ "TLS demanded, the handshake fails", NONE, .tls = MUST, .words = "tls-unverified",
		.turns = { { "", HI }, { EHLO, STLS }, GO, TLS_FAILS } },
	{ "TLS demanded, closed in the handshake", NONE, .tls = MUST, .words = "connection lost at TLS",
		.turns = { { "", HI }, { EHLO, STLS }, GO, { "", NULL } } },
	{ "TLS demanded, octets behind the 220", NONE, .tls = MUST, .words = "octets behind",
		.turns = { { "", HI }, { EHLO, STLS }, { "STARTTLS\r\n", "220 go\r\n250 injected\r\n" } } },
	{ "TLS demanded, silent at STARTTLS", NONE, .tls = MUST, .words = "no answer in time at STARTTLS",
		.turns = { { "", HI }, { EHLO, STLS }, { "STARTTLS\r\n", "" } } },
	{ "TLS demanded, silent in the handshake", NONE, .tls = MUST, .words = "no answer in time at TLS",
		.turns = { { "", HI }, { EHLO, STLS }, GO, { "", "" } } },
	{ "TLS possible and offered", NONE, .tls = MAY, .ok = true, .health = BACKEND_UP,
		.ext = EXT_SIZE | EXT_8BITMIME, .size = 1000,
		.turns = { { "", HI }, { EHLO, STLS }, GO, TLS, { EHLO, EXTS }, BYE } },
	{ "TLS possible and not offered: this EHLO counts", NONE, .tls = MAY, .ok = true, .health = BACKEND_UP,
		.ext = EXT_SIZE | EXT_8BITMIME, .size = 1000, .turns = { { "", HI }, { EHLO, EXTS }, BYE } },
	{ "TLS possible and refused: on in plain text", NONE, .tls = MAY, .ok = true, .health = BACKEND_UP,
		.ext = EXT_SIZE | EXT_8BITMIME, .size = 1000,
		.turns = { { "", HI }, { EHLO, STLS }, { "STARTTLS\r\n", "454 no\r\n" }, { EHLO, EXTS }, BYE } },
	{ "TLS possible, the handshake fails: plain text may be tried", NONE, .tls = MAY, .may_go_plain = true,
		.words = "tls-unverified", .turns = { { "", HI }, { EHLO, STLS }, GO, TLS_FAILS } },
	{ "TLS possible, lost in the handshake: likewise", NONE, .tls = MAY, .may_go_plain = true,
		.words = "connection lost at TLS", .turns = { { "", HI }, { EHLO, STLS }, GO, { "", NULL } } },
	{ "TLS possible, and this is the plain try", NONE, .tls = MAY, .plain_way = true, .ok = true,
		.health = BACKEND_UP, .ext = EXT_SIZE | EXT_8BITMIME, .size = 1000,
		.turns = { { "", HI }, { EHLO, EXTS }, BYE } },
	{ "TLS possible with a fingerprint: no way back", NONE, .tls = MAY, .by_fingerprint = true,
		.words = "tls-unverified", .turns = { { "", HI }, { EHLO, STLS }, GO, TLS_FAILS } },
	{ "TLS possible with a fingerprint: not offered is a failure", NONE, .tls = MAY, .by_fingerprint = true,
		.words = "STARTTLS is not offered", .turns = { { "", HI }, { EHLO, EXTS } } },
	{ "relay test under TLS: PROXY, EHLO, STARTTLS, EHLO", V1, .tls = MUST, .relaytest = true, .ok = true,
		.health = BACKEND_UP, .ext = EXT_SIZE | EXT_8BITMIME, .size = 1000,
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", HI }, { EHLO, STLS }, GO, TLS,
			{ EHLO, EXTS }, { "MAIL FROM:<>\r\n", "250 ok\r\n" },
			{ RCPT, "554 5.7.1 Relay access denied\r\n" }, { "RSET\r\n", "250 ok\r\n" }, BYE } },
	{ "relay test under TLS: relays, found out", V1, .tls = MUST, .relaytest = true, .health = BACKEND_OPEN_RELAY,
		.words = "mynetworks",
		.turns = { { "PROXY TCP4 192.0.2.1 198.18.1.3 32810 25\r\n", HI }, { EHLO, STLS }, GO, TLS,
			{ EHLO, EXTS }, { "MAIL FROM:<>\r\n", "250 ok\r\n" }, { RCPT, "250 ok\r\n" },
			{ "RSET\r\n", "250 ok\r\n" }, BYE } },
	{ "relay test under TLS by XCLIENT: EHLO, STARTTLS, EHLO, XCLIENT, EHLO", XC, .tls = MUST, .relaytest = true,
		.ok = true, .health = BACKEND_UP, .ext = EXT_DSN | EXT_XCLIENT,
		.turns = { { "", HI }, { EHLO, STLS }, GO, TLS, { EHLO, XOFFER },
			{ "XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=32810 PROTO=ESMTP "
			  "HELO=" OUR_NAME "\r\n",
				HI },
			{ EHLO, "250 mta\r\n" }, { "MAIL FROM:<>\r\n", "250 ok\r\n" }, { RCPT, "554 no\r\n" },
			{ "RSET\r\n", "250 ok\r\n" }, BYE } },
	{ "XCLIENT offered before TLS alone is none", XC, .tls = MUST, .words = "smtpd_authorized_xclient_hosts",
		.turns = { { "", HI }, { EHLO, "250-mta\r\n250-STARTTLS\r\n250 XCLIENT ADDR\r\n" }, GO, TLS,
			{ EHLO, EXTS }, BYE } },

	{ "our own name in the banner is a loop", NONE, .health = BACKEND_LOOP, .words = "our own name",
		.turns = { { "", "220 GW.example.org ESMTP\r\n" }, BYE } },
	{ "our own name alone", NONE, .health = BACKEND_LOOP, .words = "our own name",
		.turns = { { "", "220 gw.example.org\r\n" }, BYE } },
	{ "a longer name is another's", NONE, .ok = true, .health = BACKEND_UP,
		.turns = { { "", "220 gw.example.org.uk ESMTP\r\n" }, { EHLO, "250 mta\r\n" }, BYE } },
	{ "a loop that was undone", NONE, .before = BACKEND_LOOP, .ok = true, .health = BACKEND_UP,
		.turns = { { "", HI }, { EHLO, "250 mta\r\n" }, BYE } },

	{ "submission: the banner alone", NONE, .submission = true, .relaytest = true, .port = 587, .ok = true,
		.health = BACKEND_UP, .turns = { { "", HI }, BYE } },
	{ "submission: banner 421", NONE, .submission = true, .port = 587, .words = "421",
		.turns = { { "", "421 busy\r\n" } } },
	{ "submission with TLS first says nothing", NONE, .submission = true, .port = 465, .ok = true,
		.health = BACKEND_UP, .turns = { { "", "" } } },
	{ "submission with TLS first that closes", NONE, .submission = true, .port = 465, .words = "connection lost",
		.turns = { { "", NULL } } },
};

static void
setup(struct backend_probe *p, const struct row *row, uint64_t now_us)
{
	const struct conf_backend conf = { .name = "mta1",
		.id = 77,
		.addr = ip_addr_v4(0xc6120103),
		.port = row->port != 0 ? row->port : 25,
		.client_address = (uint8_t)row->how,
		.is_submission = row->submission,
		.tls = row->tls,
		.n_fingerprints = row->by_fingerprint };
	const struct ip_addr local = ip_addr_v4(0xc6120102);
	const struct backend_state before = { .health = row->before };

	memset(p, 0xa5, sizeof(*p));
	backend_probe_start(p, 3, &conf, OUR_NAME, &local, row->relaytest, 42, &before, now_us);
	p->tls_possible = !row->tls_impossible;
	p->way = row->plain_way ? BACKEND_PROBE_PLAIN : BACKEND_PROBE_AS_CONFIGURED;
}

static void
output(struct backend_probe *p, char *out, size_t room)
{
	uint32_t n = 0, got;

	while ((got = backend_probe_output(p, (uint8_t *)out + n, MIN(9u, (uint32_t)(room - 1 - n)))) > 0)
		n += got;
	out[n] = '\0';
}

static void
say(struct backend_probe *p, const char *text, uint32_t cut, uint64_t now_us)
{
	const uint32_t len = (uint32_t)strlen(text);

	for (uint32_t at = 0; at < len; at += cut) {
		uint32_t n = MIN(cut, len - at);
		uint8_t *piece = malloc(n);
		struct buf_view v = { .ptr = piece, .len_octets = n };

		memcpy(piece, text + at, n);
		CHECK_EQ("all is taken", backend_probe_input(p, &v, now_us), n);
		free(piece);
	}
}

static void
play(const struct row *row, uint32_t cut)
{
	uint64_t now_us = 5000000;
	struct backend_probe p;
	char out[1024];

	setup(&p, row, now_us);
	output(&p, out, sizeof(out));
	CHECK_STR(row->label, out, "");
	backend_probe_connected(&p, now_us);
	for (const struct turn *t = row->turns; t < row->turns + TURNS_MAX && t->want != NULL; t++) {
		output(&p, out, sizeof(out));
		CHECK_STR(row->label, out, t->want);
		CHECK_TRUE(row->label, !backend_probe_done(&p, 100, now_us));
		if (t->say == handshake_done || t->say == handshake_fails) {
			CHECK_TRUE(row->label, backend_probe_wants_tls(&p));
			if (t->say == handshake_done)
				backend_probe_tls_started(&p, now_us);
			else
				backend_probe_tls_failed(&p, "TLS with it fails: tls-unverified");
		} else if (t->say == NULL) {
			backend_probe_disconnected(&p, now_us);
		} else if (t->say[0] == '\0') {
			CHECK_TRUE(row->label,
				p.deadline_us > now_us &&
					p.deadline_us <= 5000000 + BACKEND_PROBE_TOTAL_US + BACKEND_PROBE_QUIT_US);
			now_us = p.deadline_us - 1;
			CHECK_TRUE(row->label, !backend_probe_done(&p, 100, now_us));
			now_us++;
		} else {
			say(&p, t->say, cut, now_us);
			now_us += 1000;
		}
	}
	CHECK_TRUE(row->label, backend_probe_done(&p, 100, now_us));
	CHECK_TRUE(row->label, backend_probe_done(&p, 200, now_us + 1000000));
	output(&p, out, sizeof(out));
	CHECK_STR("nothing is sent after the end", out, "");
	CHECK_EQ(row->label, p.ok, row->ok);
	CHECK_EQ(row->label, backend_probe_may_go_plain(&p), row->may_go_plain);
	CHECK_EQ(row->label, p.backend, 3);
	CHECK_EQ(row->label, p.found.id, 77);
	CHECK_EQ(row->label, p.found.health, row->health);
	CHECK_EQ(row->label, p.found.failures,
		row->ok || row->health == BACKEND_OPEN_RELAY || row->health == BACKEND_LOOP ? 0 : 1);
	if (row->ok) {
		CHECK_EQ(row->label, p.found.ext, row->ext);
		CHECK_EQ(row->label, p.found.size_octets, row->size);
		CHECK_EQ(row->label, p.found.probed, !p.client_refused);
	}
	if (row->words != NULL && !(row->ok && row->relaytest && !p.client_refused))
		if (strstr(p.found.words, row->words) == NULL)
			fail_msg("%s: words \"%s\"", row->label, p.found.words);
}

static void
test_backend_probe_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		play(&rows[i], 1000);
		play(&rows[i], 1);
	}
}

/* PITFALLS 49: one mynetworks entry with the gateway's address makes an open relay behind it. */
static void
test_pitfall_49_a_backend_that_relays_for_us_is_taken_out(void **state)
{
	const struct conf_pool pool = { .backends = 1 };
	unsigned found = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct backend_state s = { .health = rows[i].health };

		if (rows[i].health != BACKEND_OPEN_RELAY || rows[i].words == NULL)
			continue;
		CHECK_EQ("no session goes there", backend_choose(&pool, &s, 1, 0, 0, 0, 0), -1);
		CHECK_TRUE("the words name mynetworks",
			strstr(rows[i].words, "mynetworks") != NULL || strstr(rows[i].words, "gateway") != NULL);
		play(&rows[i], 1000);
		found++;
	}
	CHECK_TRUE("each way of telling the client", found >= 3);
}

/* The version 2 header has octets that a C string cannot hold. */
static void
test_backend_probe_proxy_v2(void **state)
{
	static const uint8_t local[] = { 0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x20, 0,
		0, 0 };
	static const uint8_t test4[] = { 0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21,
		0x11, 0, 12, 192, 0, 2, 1, 198, 18, 1, 3, 0x80, 0x2a, 0, 25 };
	const struct row plain = { .how = V2 }, test = { .how = V2, .relaytest = true };
	struct conf_backend conf6 = { .port = 25, .client_address = CLIENT_ADDRESS_PROXY_V2 };
	struct backend_state none = { 0 };
	struct proxy_addrs a;
	struct ip_addr local6;
	struct backend_probe p;
	uint8_t out[600];
	char text[IP_ADDR_TEXT_MAX_OCTETS];
	uint32_t used, n;

	(void)state;
	setup(&p, &plain, 1);
	backend_probe_connected(&p, 1);
	CHECK_OCTETS("a plain probe is LOCAL", out, backend_probe_output(&p, out, sizeof(out)), local, sizeof(local));
	setup(&p, &test, 1);
	backend_probe_connected(&p, 1);
	CHECK_OCTETS("a relay test comes as the outside client", out, backend_probe_output(&p, out, sizeof(out)), test4,
		sizeof(test4));

	ip_addr_parse("2001:db8:0:2::3", &conf6.addr);
	ip_addr_parse("2001:db8:0:2::2", &local6);
	backend_probe_start(&p, 0, &conf6, OUR_NAME, &local6, true, 42, &none, 1);
	backend_probe_connected(&p, 1);
	n = backend_probe_output(&p, out, sizeof(out));
	CHECK_EQ("over IPv6", proxy_header_parse(out, n, &a, &used), PROXY_DONE);
	CHECK_STR("as 2001:db8::1", ip_addr_format(&a.src, text), "2001:db8::1");
}

static void
test_backend_probe_connect_fails(void **state)
{
	const struct row row = { .how = NONE };
	struct backend_probe p;

	(void)state;
	setup(&p, &row, 1000);
	backend_probe_disconnected(&p, 2000);
	CHECK_TRUE("refused", backend_probe_done(&p, 5, 2000) && !p.ok);
	CHECK_STR("words", p.found.words, "no connection");
	setup(&p, &row, 1000);
	CHECK_TRUE("waits", !backend_probe_done(&p, 5, 1000 + BACKEND_PROBE_GREETING_US - 1));
	CHECK_TRUE("timed out", backend_probe_done(&p, 5, 1000 + BACKEND_PROBE_GREETING_US) && !p.ok);
	CHECK_STR("words", p.found.words, "no connection in time");
}

/* A backend that answers each command in its last moment does not hold a probe for ever. */
static void
test_backend_probe_ends_in_time(void **state)
{
	const struct row row = { .how = NONE, .relaytest = true };
	const uint64_t start_us = 1000;
	struct backend_probe p;
	uint64_t now_us = start_us;
	char out[200];

	(void)state;
	setup(&p, &row, now_us);
	backend_probe_connected(&p, now_us);
	for (int i = 0; i < 20 && !backend_probe_done(&p, 5, now_us); i++) {
		output(&p, out, sizeof(out));
		now_us = p.deadline_us - 1;
		say(&p, i == 0 ? HI : "250 ok\r\n", 100, now_us);
		now_us++;
	}
	CHECK_TRUE("done", backend_probe_done(&p, 5, now_us));
	CHECK_TRUE("in time", now_us <= start_us + BACKEND_PROBE_TOTAL_US + BACKEND_PROBE_QUIT_US);
}

/* The outside client is turned away before EHLO: the next probe asks for the extensions, whatever the schedule wants.
 * */
static void
test_backend_probe_after_a_refused_test_client_asks_for_extensions(void **state)
{
	const struct conf_backend conf = { .id = 77, .client_address = CLIENT_ADDRESS_PROXY_V1 };
	const struct ip_addr local = ip_addr_v4(1);
	struct backend_state before = { .relaytest_s = 5 };
	struct backend_probe p;

	(void)state;
	backend_probe_start(&p, 0, &conf, OUR_NAME, &local, true, 42, &before, 1);
	CHECK_TRUE("plain", !p.relaytest);
	before.probed = 1;
	backend_probe_start(&p, 0, &conf, OUR_NAME, &local, true, 42, &before, 1);
	CHECK_TRUE("test", p.relaytest);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backend_probe_rows),
		cmocka_unit_test(test_pitfall_49_a_backend_that_relays_for_us_is_taken_out),
		cmocka_unit_test(test_backend_probe_proxy_v2),
		cmocka_unit_test(test_backend_probe_connect_fails),
		cmocka_unit_test(test_backend_probe_ends_in_time),
		cmocka_unit_test(test_backend_probe_after_a_refused_test_client_asks_for_extensions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
