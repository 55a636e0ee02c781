/*
 * test_tls.c - TLS with whole workers in virtual time: STARTTLS, implicit TLS, what comes behind the commands, certificates replaced,
 * handshakes that never end or are too many, TLS to backends, what they and the log are told.
 */
#include "tests/check.h"
#include "tests/sim/scene.h"

#include <stdlib.h>

#include "dataplane/tls/stream_tls.h"
#include "dataplane/worker/worker_impl.h"

static const struct sim_wire clean = { .delay_us = 500 };
static struct scene s; /* one at a time */
static const char body[] = "Subject: hello\r\n\r\nfirst line\r\n..dotted\r\nlast\r\n";
static const char body_wire[] = "Subject: hello\r\n\r\nfirst line\r\n..dotted\r\nlast\r\n.\r\n";

static void
conf(void)
{
	scene_conf(&s);
	s.config.conf.grey_block_s = 1;
	scene_tls(&s, &scene_certs);
}

static void
start(uint32_t n_workers)
{
	scene_start(&s, 1, n_workers, clean);
	scene_settle(&s);
}

static uint64_t
counted(enum counter which)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s.config.conf.workers; i++)
		n += sim_segment(s.sim)->counters[i].value[which];
	return n;
}

/* Lets the triplet through the greylist, in plain text or as the scene says. */
static void
make_white(const char *from, const char *to)
{
	CHECK_EQ("first attempt", scene_deliver(&s, CLIENT4, from, to, body), 451);
	sim_run(s.sim, 3000000);
}

/* ---- STARTTLS ---- */

static void
test_a_message_under_tls_arrives_and_everybody_is_told(void **state)
{
	const struct fake_message *m;
	const char *line;

	(void)state;
	conf();
	s.tls = true;
	start(1);
	make_white("a@sender.example", "u@example.org");
	CHECK_EQ("retry", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	m = &s.mta.message[0];
	CHECK_OCTETS("octets", m->data, m->octets, body_wire, sizeof(body_wire) - 1);
	CHECK_STR("version by PROXY", m->tls_version, "TLSv1.3");
	CHECK_STR("cipher by PROXY", m->tls_cipher, "TLS_AES_256_GCM_SHA384");
	CHECK_STR("name by PROXY", m->tls_name, "gw.example");
	line = fake_control_find(&s.control, "verdict=pass");
	CHECK_TRUE(line, strstr(line, "tls=TLSv1.3:TLS_AES_256_GCM_SHA384") != NULL);
	CHECK_EQ("handshakes", counted(CTR_tls_handshakes), 2);
	CHECK_EQ("none failed", counted(CTR_tls_failed_nonsense) + counted(CTR_tls_failed_gone), 0);
	scene_end(&s);
}

static void
test_what_was_said_before_tls_is_forgotten(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	start(1);
	make_white("a@sender.example", "u@example.org");
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO before.example"), 250);
	CHECK_TRUE("offered", strstr(s.reply, "STARTTLS") != NULL);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_TRUE("TLS", scene_starttls(&s, c));
	CHECK_EQ("the transaction is gone", scene_chat(&s, c, "DATA"), 503);
	CHECK_EQ("the greeting is gone", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 503);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO after.example"), 250);
	CHECK_TRUE("not offered twice", strstr(s.reply, "STARTTLS") == NULL);
	CHECK_EQ("refused twice", scene_chat(&s, c, "STARTTLS"), 503);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 250);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
	CHECK_EQ("message", scene_chat(&s, c, "Subject: x\r\n\r\nx\r\n."), 250);
	CHECK_EQ("one message", s.mta.n_messages, 1);
	CHECK_STR("the backend knows the name said under TLS", s.mta.message[0].helo, "after.example");
	CHECK_STR("and that it is TLS", s.mta.message[0].tls_version, "TLSv1.3");
	scene_quit(&s, c);
	scene_end(&s);
}

/* PITFALLS 32: the octets behind STARTTLS, in its segment and in the ones after it, before the handshake. */
static void
test_octets_behind_starttls_are_never_obeyed(void **state)
{
	static const char injected[] = "STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@sender.example>\r\n"
				       "RCPT TO:<u@example.org>\r\n";
	char many[3500];
	struct sim_conn *c;

	(void)state;
	conf();
	start(1);
	/* in one segment: dropped, and a handshake follows */
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	sim_send(c, injected, sizeof(injected) - 1);
	CHECK_EQ("220", scene_reply(&s, c), 220);
	c->stream = scene_tls_client(&s);
	CHECK_TRUE("TLS", scene_tls_wait(&s, c));
	sim_run(s.sim, 2000000);
	CHECK_EQ("nothing is answered under TLS that was said before", (long long)(c->in_octets - c->in_seen), 0);
	CHECK_TRUE("counted", counted(CTR_smtp_plain_after_starttls) >= sizeof(injected) - 12);
	CHECK_EQ("no greeting", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 503);
	scene_quit(&s, c);
	/* in several segments that arrive together */
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	memset(many, 'x', sizeof(many));
	memcpy(many, injected, sizeof(injected) - 1);
	sim_send(c, many, sizeof(many));
	CHECK_EQ("220", scene_reply(&s, c), 220);
	c->stream = scene_tls_client(&s);
	CHECK_TRUE("TLS behind them", scene_tls_wait(&s, c));
	CHECK_EQ("no greeting", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 503);
	CHECK_TRUE("all of them counted",
		counted(CTR_smtp_plain_after_starttls) >= sizeof(injected) - 12 + sizeof(many) - 10);
	scene_quit(&s, c);
	/* behind the 220: plain text where a handshake is due ends the session */
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("STARTTLS", scene_chat(&s, c, "STARTTLS"), 220);
	sim_send(c, injected + 10, sizeof(injected) - 11);
	sim_run(s.sim, 3000000);
	CHECK_TRUE("closed", c->eof || c->tcp == NULL);
	CHECK_EQ("as nonsense", counted(CTR_tls_failed_nonsense), 1);
	CHECK_TRUE("logged", strstr(fake_control_find(&s.control, "end=tls-nonsense"), "end=") != NULL);
	CHECK_EQ("no question to the backend", s.mta.n_messages, 0);
	sim_close(c);
	sim_run(s.sim, 3000000);
	scene_end(&s);
}

static void
test_tls_required_refuses_mail_without_it(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.listener[0].tls = LISTENER_TLS_REQUIRE;
	start(1);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 530);
	CHECK_STR("text", s.reply, "530 5.7.0 Must issue a STARTTLS command first\r\n");
	CHECK_EQ("NOOP", scene_chat(&s, c, "NOOP"), 250);
	CHECK_EQ("RSET", scene_chat(&s, c, "RSET"), 250);
	CHECK_TRUE("TLS", scene_starttls(&s, c));
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	scene_quit(&s, c);
	scene_end(&s);
}

/* A failure of ours is no 5xx: without a certificate, or with too many handshakes waiting. */
static void
test_tls_that_is_not_possible_is_454(void **state)
{
	char why[256];
	struct sim_conn *c;

	(void)state;
	conf();
	start(1);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_TRUE("offered", strstr(s.reply, "STARTTLS") != NULL);
	CHECK_EQ("the certificates go", tls_context_load(sim_tls(s.sim, 0), &s.config.conf, NULL, why, sizeof(why)), 0);
	sim_run(s.sim, 2000000);
	CHECK_EQ("who was offered it", scene_chat(&s, c, "STARTTLS"), 454);
	CHECK_EQ("goes on in plain text", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	scene_quit(&s, c);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_TRUE("not offered", strstr(s.reply, "STARTTLS") == NULL);
	CHECK_EQ("not known", scene_chat(&s, c, "STARTTLS"), 502);
	scene_quit(&s, c);
	s.config.listener[0].tls = LISTENER_TLS_REQUIRE;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	sim_run(s.sim, 2000000);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("required and not possible", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 454);
	CHECK_EQ("STARTTLS", scene_chat(&s, c, "STARTTLS"), 454);
	scene_quit(&s, c);
	s.config.listener[0].tls = LISTENER_TLS_IMPLICIT;
	sim_publish(s.sim, sim_conf_parts(&s.config));
	sim_run(s.sim, 2000000);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_run(s.sim, 3000000);
	CHECK_TRUE("implicit TLS is closed", c->reset || c->eof || c->tcp == NULL);
	CHECK_EQ("counted", counted(CTR_tls_no_certificate), 1);
	CHECK_EQ("not a word in plain text", (long long)c->in_octets, 0);
	scene_end(&s);
}

/* ---- implicit TLS ---- */

static void
test_implicit_tls(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.listener[0].tls = LISTENER_TLS_IMPLICIT;
	start(1);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	c->stream = scene_tls_client(&s);
	CHECK_EQ("the banner under TLS", scene_reply(&s, c), 220);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_TRUE("not offered", strstr(s.reply, "STARTTLS") == NULL);
	CHECK_EQ("refused", scene_chat(&s, c, "STARTTLS"), 503);
	CHECK_EQ("MAIL", scene_chat(&s, c, "MAIL FROM:<a@sender.example>"), 250);
	CHECK_EQ("RCPT", scene_chat(&s, c, "RCPT TO:<u@example.org>"), 451);
	scene_quit(&s, c);
	CHECK_TRUE("close_notify came", c->stream->peer_eof);
	/* who speaks SMTP there is told nothing in plain text */
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	sim_send(c, "EHLO plain.example\r\n", 20);
	sim_run(s.sim, 3000000);
	CHECK_TRUE("closed", c->eof || c->tcp == NULL);
	CHECK_TRUE("an alert and nothing more", c->in_octets <= 7);
	scene_end(&s);
}

static void
test_who_is_refused_at_connect_costs_no_handshake(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.config.conf.reject_at = REJECT_AT_CONNECT;
	s.config.listener[0].tls = LISTENER_TLS_IMPLICIT;
	s.control.verdict = (struct client_verdict){ .ptr_state = PTR_NONE, .zone = ZONE_NONE };
	s.control.delay_us = 300000; /* the verdict comes after the hello */
	start(1);
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	c->stream = scene_tls_client(&s);
	CHECK_TRUE("no handshake", !scene_tls_wait(&s, c));
	CHECK_EQ("refused", counted(CTR_worker_refused_at_connect), 1);
	CHECK_EQ("no step of it", counted(CTR_tls_queued) + counted(CTR_tls_handshakes), 0);
	sim_run(s.sim, 3000000);
	/* the same client known by now */
	c = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
	c->stream = scene_tls_client(&s);
	CHECK_TRUE("no handshake", !scene_tls_wait(&s, c));
	CHECK_EQ("no step of it", counted(CTR_tls_queued) + counted(CTR_tls_handshakes), 0);
	scene_end(&s);
}

/* ---- handshakes that are many, slow, abandoned ---- */

static void
test_handshakes_wait_for_their_turn_and_beyond_the_queue_it_is_454(void **state)
{
	enum { N = 40 };
	struct sim_conn *c[N], *late;
	uint32_t closed = 0;

	(void)state;
	conf();
	s.config.conf.tls_handshake_queue = 4;
	s.config.conf.tls_handshakes_per_turn = 1;
	start(1);
	late = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, late, "EHLO late.example"), 250);
	for (uint32_t i = 0; i < N; i++) {
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("EHLO", scene_chat(&s, c[i], "EHLO client.example"), 250);
		CHECK_EQ("STARTTLS", scene_chat(&s, c[i], "STARTTLS"), 220);
	}
	for (uint32_t i = 0; i < N; i++)
		c[i]->stream = scene_tls_client(&s);
	sim_step(s.sim, 10); /* they are on their way, and the command behind them */
	CHECK_EQ("behind forty first messages", scene_chat(&s, late, "STARTTLS"), 454);
	CHECK_STR("text", s.reply, "454 4.7.0 TLS not available at the moment, please try again later\r\n");
	CHECK_EQ("counted", counted(CTR_tls_busy), 1);
	CHECK_EQ("in plain text it goes on", scene_chat(&s, late, "MAIL FROM:<a@sender.example>"), 250);
	for (uint32_t i = 0; i < N; i++)
		CHECK_TRUE("each gets its turn", scene_tls_wait(&s, c[i]));
	sim_run(s.sim, 1000000); /* the client's last message is under way still */
	CHECK_EQ("all", counted(CTR_tls_handshakes), N);
	CHECK_TRUE("some waited", counted(CTR_tls_queued) >= N);
	CHECK_EQ("with nothing waiting it is 220", scene_chat(&s, late, "STARTTLS"), 220);
	CHECK_EQ("never hidden for that", counted(CTR_tls_hides), 0);
	scene_end(&s);

	conf();
	s.config.conf.tls_handshake_queue = 4;
	s.config.conf.tls_handshakes_per_turn = 1;
	s.config.listener[0].tls = LISTENER_TLS_IMPLICIT;
	start(1);
	for (uint32_t i = 0; i < N; i++) {
		c[i] = sim_connect(s.client, CLIENT4, GATEWAY4, 25);
		c[i]->stream = scene_tls_client(&s);
	}
	for (uint32_t i = 0; i < N; i++)
		closed += !scene_tls_wait(&s, c[i]);
	sim_run(s.sim, 1000000);
	CHECK_EQ("closed, and counted", counted(CTR_tls_busy_implicit), closed);
	CHECK_TRUE("some", closed > 0);
	CHECK_EQ("the others are served", counted(CTR_tls_handshakes), N - closed);
	scene_end(&s);
}

static void
test_a_handshake_that_does_not_go_on_is_ended(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	start(1);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
	CHECK_EQ("STARTTLS", scene_chat(&s, c, "STARTTLS"), 220);
	sim_send(c, "\x16\x03\x01\x02\x00\x01", 6); /* a record that never comes whole */
	sim_run(s.sim, 29000000);
	CHECK_TRUE("there is time", c->tcp != NULL && !c->eof && !c->reset);
	sim_run(s.sim, 4000000);
	CHECK_TRUE("not for ever", c->tcp == NULL || c->eof || c->reset);
	CHECK_EQ("counted", counted(CTR_tls_failed_timeout), 1);
	/* the client goes away in the middle, in order and by reset */
	for (uint32_t i = 0; i < 2; i++) {
		c = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("EHLO", scene_chat(&s, c, "EHLO client.example"), 250);
		CHECK_EQ("STARTTLS", scene_chat(&s, c, "STARTTLS"), 220);
		sim_send(c, "\x16\x03\x01\x02\x00\x01", 6);
		sim_run(s.sim, 100000);
		if (i == 0)
			sim_close(c);
		else
			sim_abort(c);
		sim_run(s.sim, 3000000);
	}
	CHECK_EQ("counted", counted(CTR_tls_failed_gone), 2);
	CHECK_EQ("no session is left", worker_sessions(sim_worker(s.sim, 0)), 0);
	scene_end(&s);
}

static void
test_certificates_replaced_while_handshakes_run(void **state)
{
	enum { N = 60 };
	struct sim_conn *c[N];

	(void)state;
	conf();
	scene_start(&s, 3, 2, (struct sim_wire){ .delay_us = 2000, .jitter_us = 1000 });
	scene_settle(&s);
	for (uint32_t i = 0; i < N; i++) {
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("EHLO", scene_chat(&s, c[i], "EHLO client.example"), 250);
		CHECK_EQ("STARTTLS", scene_chat(&s, c[i], "STARTTLS"), 220);
		c[i]->stream = scene_tls_client(&s);
		sim_run(s.sim, 1000);
		if (i % 10 == 9) {
			tls_certs_write(&scene_certs, "gw-ecdsa", true, "gw.example");
			scene_tls_reload(&s, &scene_certs);
		}
	}
	for (uint32_t i = 0; i < N; i++)
		CHECK_TRUE("none fails", scene_tls_wait(&s, c[i]));
	for (uint32_t i = 0; i < N; i++) {
		CHECK_EQ("and each works", scene_chat(&s, c[i], "EHLO client.example"), 250);
		scene_quit(&s, c[i]);
	}
	sim_run(s.sim, 1000000);
	CHECK_EQ("all", counted(CTR_tls_handshakes), N);
	CHECK_TRUE("replaced", counted(CTR_tls_swapped) >= 2 * (1 + N / 10));
	scene_end(&s);
}

/* ---- message octets ---- */

static void
carry(const char *label, uint64_t seed, uint32_t n_workers, struct sim_wire wire, size_t octets, bool backend_tls)
{
	uint8_t *mail = malloc(octets + 8);
	size_t n = 0;
	uint64_t x = seed * 2654435761u + 1;
	struct sim_conn *c;

	BUG_ON(mail == NULL);
	while (n + 1300 < octets) {
		const size_t len = (x = x * UINT64_C(6364136223846793005) + 1442695040888963407u) >> 33;

		/* any octet but CR and LF, dots at the beginning stuffed */
		if ((x >> 20) % 4 == 0) {
			mail[n++] = '.';
			mail[n++] = '.';
		}
		for (size_t i = 0; i < len % 1200; i++) {
			const uint8_t o = (uint8_t)(x >> (i % 5 * 8)) ^ (uint8_t)i;

			mail[n++] = o == '\r' || o == '\n' || o == 0 || (i == 0 && o == '.') ? 'a' : o;
		}
		mail[n++] = '\r';
		mail[n++] = '\n';
	}
	memcpy(mail + n, ".\r\n", 3);
	conf();
	s.tls = true;
	s.config.conf.data_timeout_s = 1800;
	if (backend_tls) {
		s.config.backend[0].tls = BACKEND_TLS_REQUIRE;
		s.mta.tls_create = scene_tls_backend;
		s.mta.tls_arg = &s;
	}
	scene_start(&s, seed, n_workers, wire);
	scene_settle(&s);
	CHECK_EQ(label, scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", "x\r\n"), 451);
	sim_run(s.sim, 5000000);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ(label, scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ(label, scene_chat(&s, c, "DATA"), 354);
	sim_send(c, mail, n + 3);
	CHECK_EQ(label, scene_reply_within(&s, c, UINT64_C(3600000000)), 250);
	CHECK_EQ(label, s.mta.n_messages, 1);
	CHECK_OCTETS(label, s.mta.message[0].data, s.mta.message[0].octets, mail, n + 3);
	CHECK_EQ(label, s.mta.message[0].under_tls, backend_tls);
	scene_quit(&s, c);
	scene_end(&s);
	free(mail);
}

static void
test_large_mail_under_tls_arrives_octet_for_octet(void **state)
{
	static const struct sim_wire lossy = {
		.loss = 10, .duplicate = 5, .reorder = 10, .delay_us = 5000, .jitter_us = 1000
	};

	(void)state;
	carry("clean", 41, 1, clean, 4u << 20, false);
	carry("lossy, two workers", 42, 2, lossy, 1u << 20, false);
	carry("TLS on both sides", 43, 1, clean, 4u << 20, true);
	carry("TLS on both sides, lossy, two workers", 44, 2, lossy, 1u << 20, true);
}

static void
test_a_client_without_close_notify_is_counted_and_half_a_message_is_none(void **state)
{
	struct sim_conn *c;

	(void)state;
	conf();
	s.tls = true;
	start(1);
	make_white("a@sender.example", "u@example.org");
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("RCPT", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("DATA", scene_chat(&s, c, "DATA"), 354);
	sim_send(c, "Subject: half\r\n", 15);
	sim_run(s.sim, 1000000);
	sim_close(c); /* FIN without close_notify: cut by anybody on the way */
	sim_run(s.sim, 5000000);
	CHECK_EQ("counted", counted(CTR_tls_no_close_notify), 1);
	CHECK_EQ("no message", s.mta.n_messages, 0);
	CHECK_EQ("aborted", s.mta.n_aborted_in_data, 1);
	scene_end(&s);
}

/* ---- backends ---- */

static void
backend_tls(enum conf_backend_tls tls)
{
	conf();
	s.config.backend[0].tls = (uint8_t)tls;
	s.config.pool[0].backends = 1; /* that one alone */
}

static void
offer_tls(struct fake_mta *m)
{
	m->tls_create = scene_tls_backend;
	m->tls_arg = &s;
}

static void
test_a_backend_that_requires_tls(void **state)
{
	static const enum fake_fail wrong[] = { FAKE_4XX, FAKE_5XX, FAKE_NONSENSE, FAKE_CLOSE, FAKE_421 };

	(void)state;
	backend_tls(BACKEND_TLS_REQUIRE);
	offer_tls(&s.mta);
	start(1);
	make_white("a@sender.example", "u@example.org");
	CHECK_EQ("retry", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_OCTETS("octets", s.mta.message[0].data, s.mta.message[0].octets, body_wire, sizeof(body_wire) - 1);
	CHECK_TRUE("under TLS", s.mta.message[0].under_tls);
	CHECK_STR("EHLO with the client's name under TLS", s.mta.message[0].helo, "client.example");
	CHECK_STR("the client spoke plain text", s.mta.message[0].tls_version, "");
	for (uint32_t i = 0; i < ARRAY_LEN(wrong); i++) {
		s.mta.at_starttls = wrong[i];
		CHECK_EQ("STARTTLS goes wrong", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body),
			451);
		CHECK_STR("our failure", s.reply,
			"451 4.3.0 Mail server temporarily unavailable, please try again later\r\n");
	}
	s.mta.at_starttls = FAKE_OK;
	s.mta.tls_create = NULL;
	CHECK_EQ("not offered", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_EQ("never in plain text", s.mta.n_messages, 1);
	CHECK_TRUE("logged", fake_control_find(&s.control, "STARTTLS is not offered")[0] != '\0');
	scene_end(&s);
}

/* Its steps have their turns among those of clients, beyond the bound for these: nobody that was let through is turned away for it. */
static void
test_handshakes_with_backends_wait_for_their_turn(void **state)
{
	enum { N = 40, MAILS = 6 };
	struct sim_conn *c[N], *mail[MAILS];

	(void)state;
	backend_tls(BACKEND_TLS_REQUIRE);
	s.config.conf.tls_handshake_queue = 4;
	s.config.conf.tls_handshakes_per_turn = 1;
	offer_tls(&s.mta);
	start(1);
	make_white("a@sender.example", "u@example.org");
	for (uint32_t i = 0; i < N; i++) {
		c[i] = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("EHLO", scene_chat(&s, c[i], "EHLO client.example"), 250);
		CHECK_EQ("STARTTLS", scene_chat(&s, c[i], "STARTTLS"), 220);
	}
	for (uint32_t i = 0; i < MAILS; i++) {
		mail[i] = scene_open(&s, CLIENT4, GATEWAY4);
		CHECK_EQ("EHLO", scene_chat(&s, mail[i], "EHLO client.example"), 250);
		CHECK_EQ("MAIL", scene_chat(&s, mail[i], "MAIL FROM:<a@sender.example>"), 250);
	}
	for (uint32_t i = 0; i < MAILS; i++)
		sim_send(mail[i], "RCPT TO:<u@example.org>\r\n", 25);
	for (uint32_t i = 0; i < N; i++)
		c[i]->stream = scene_tls_client(&s);
	for (uint32_t i = 0; i < MAILS - 1; i++) {
		CHECK_EQ("let through", scene_reply(&s, mail[i]), 250);
		CHECK_EQ("DATA", scene_chat(&s, mail[i], "DATA"), 354);
		CHECK_EQ("message", scene_chat(&s, mail[i], "Subject: x\r\n\r\nx\r\n."), 250);
		CHECK_TRUE("under TLS", s.mta.message[i].under_tls);
		scene_quit(&s, mail[i]);
	}
	sim_abort(mail[MAILS - 1]);
	for (uint32_t i = 0; i < N; i++)
		CHECK_TRUE("clients get theirs", scene_tls_wait(&s, c[i]));
	CHECK_TRUE("two steps for each, at least", counted(CTR_tls_backend_queued) >= 2 * (MAILS - 1));
	CHECK_EQ("none failed", counted(CTR_tls_backend_failed), 0);
	/* one that goes away while its step waits */
	mail[0] = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("EHLO", scene_chat(&s, mail[0], "EHLO client.example"), 250);
	CHECK_EQ("MAIL", scene_chat(&s, mail[0], "MAIL FROM:<a@sender.example>"), 250);
	sim_send(mail[0], "RCPT TO:<u@example.org>\r\n", 25);
	sim_run(s.sim, 2600);
	sim_abort(mail[0]);
	sim_run(s.sim, 5000000);
	scene_end(&s);
}

/* It says 220 and is gone: what waits for its turn then is a session that has no backend any more. */
static void
test_a_backend_that_leaves_before_its_turn(void **state)
{
	uint64_t queued;

	(void)state;
	backend_tls(BACKEND_TLS_REQUIRE);
	offer_tls(&s.mta);
	start(1);
	make_white("a@sender.example", "u@example.org");
	s.mta.leaves_at_starttls = true;
	queued = counted(CTR_tls_backend_queued);
	for (uint32_t i = 0; i < 3; i++) {
		struct sim_conn *c = scene_open(&s, CLIENT4, GATEWAY4);

		CHECK_EQ("our failure", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 451);
		CHECK_STR("as any other", s.reply,
			"451 4.3.0 Mail server temporarily unavailable, please try again later\r\n");
		scene_quit(&s, c);
		CHECK_EQ("it stood in the queue", counted(CTR_tls_backend_queued), queued + i + 1);
	}
	s.mta.leaves_at_starttls = false;
	sim_run(s.sim, 60000000);
	CHECK_EQ("and serves again when it stays",
		scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", "x\r\n"), 250);
	scene_end(&s);
}

static void
test_a_backend_that_may_use_tls(void **state)
{
	struct sim_conn *c;
	uint64_t failed;

	(void)state;
	backend_tls(BACKEND_TLS_MAY);
	start(1);
	make_white("a@sender.example", "u@example.org");
	CHECK_EQ("not offered: plain", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("plain", !s.mta.message[0].under_tls);
	offer_tls(&s.mta);
	CHECK_EQ("offered", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("TLS", s.mta.message[1].under_tls);
	s.mta.at_starttls = FAKE_5XX;
	CHECK_EQ("refused: plain", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("plain", !s.mta.message[2].under_tls);
	s.mta.at_starttls = FAKE_RAW;
	s.mta.raw = "220 go on\r\n"; /* and no handshake follows: plain text is said next, which is no TLS */
	s.mta.tolerant = true;
	CHECK_EQ("a handshake that fails: anew in plain text",
		scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("plain", !s.mta.message[3].under_tls);
	CHECK_EQ("counted", counted(CTR_tls_backend_plain), 1);
	s.mta.raw = "220 go on\r\n250 injected\r\n"; /* octets behind the 220 were not said under TLS */
	CHECK_EQ("injection is a failure of TLS, too",
		scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_EQ("counted", counted(CTR_tls_backend_plain), 2);
	c = scene_open(&s, CLIENT4, GATEWAY4);
	CHECK_EQ("its first message", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("anew in plain text", counted(CTR_tls_backend_plain), 3);
	failed = counted(CTR_tls_backend_failed);
	CHECK_EQ("no more of it", scene_chat(&s, c, "RSET"), 250);
	fake_mta_shout(&s.mta, "421 4.4.2 mta.example Error: timeout exceeded\r\n");
	sim_run(s.sim, 8000000);
	CHECK_EQ("at rest", tcp_n_rests(scene_worker(&s)->tcp), 1);
	CHECK_EQ("its second", scene_rcpt(&s, c, "a@sender.example", "u@example.org"), 250);
	CHECK_EQ("in plain text at once", counted(CTR_tls_backend_failed), failed);
	CHECK_EQ("counted", counted(CTR_tls_backend_plain), 4);
	scene_quit(&s, c);
	scene_end(&s);
}

static void
test_a_backend_is_not_believed_without_its_fingerprint(void **state)
{
	(void)state;
	backend_tls(BACKEND_TLS_MAY);
	s.config.backend[0].n_fingerprints = 1;
	offer_tls(&s.mta);
	start(1);
	make_white("a@sender.example", "u@example.org");
	CHECK_EQ("another key", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 451);
	CHECK_EQ("neither by TLS nor in plain text", s.mta.n_messages, 0);
	CHECK_TRUE("counted", counted(CTR_tls_backend_unverified) >= 1);
	scene_end(&s);

	backend_tls(BACKEND_TLS_MAY);
	s.config.backend[0].n_fingerprints = 1;
	tls_certs_fingerprint(&scene_certs, "gw-ecdsa", s.config.backend[0].fingerprint[0]);
	offer_tls(&s.mta);
	start(1);
	make_white("a@sender.example", "u@example.org");
	CHECK_EQ("its key", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.org", body), 250);
	CHECK_TRUE("TLS", s.mta.message[0].under_tls);
	scene_end(&s);
}

static void
test_xclient_comes_after_tls(void **state)
{
	(void)state;
	conf();
	s.config.backend[1].tls = BACKEND_TLS_REQUIRE;
	offer_tls(&s.mta_x);
	start(1);
	make_white("a@sender.example", "u@example.net");
	CHECK_EQ("retry", scene_deliver(&s, CLIENT4, "a@sender.example", "u@example.net", body), 250);
	CHECK_EQ("at the XCLIENT backend", s.mta_x.n_messages, 1);
	CHECK_TRUE("under TLS", s.mta_x.message[0].under_tls);
	CHECK_STR("client", s.mta_x.message[0].client, CLIENT4);
	scene_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_message_under_tls_arrives_and_everybody_is_told),
		cmocka_unit_test(test_what_was_said_before_tls_is_forgotten),
		cmocka_unit_test(test_octets_behind_starttls_are_never_obeyed),
		cmocka_unit_test(test_tls_required_refuses_mail_without_it),
		cmocka_unit_test(test_tls_that_is_not_possible_is_454),
		cmocka_unit_test(test_implicit_tls),
		cmocka_unit_test(test_who_is_refused_at_connect_costs_no_handshake),
		cmocka_unit_test(test_handshakes_wait_for_their_turn_and_beyond_the_queue_it_is_454),
		cmocka_unit_test(test_a_handshake_that_does_not_go_on_is_ended),
		cmocka_unit_test(test_certificates_replaced_while_handshakes_run),
		cmocka_unit_test(test_large_mail_under_tls_arrives_octet_for_octet),
		cmocka_unit_test(test_a_client_without_close_notify_is_counted_and_half_a_message_is_none),
		cmocka_unit_test(test_a_backend_that_requires_tls),
		cmocka_unit_test(test_handshakes_with_backends_wait_for_their_turn),
		cmocka_unit_test(test_a_backend_that_leaves_before_its_turn),
		cmocka_unit_test(test_a_backend_that_may_use_tls),
		cmocka_unit_test(test_a_backend_is_not_believed_without_its_fingerprint),
		cmocka_unit_test(test_xclient_comes_after_tls),
	};

	return cmocka_run_group_tests(tests, scene_tls_set_up, scene_tls_tear_down);
}
