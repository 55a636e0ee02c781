/*
 * backend_probe.c - asks one backend what it is: banner, EHLO, whether it relays for strangers, QUIT.
 *
 * Flow:   worker/probes.c -> backend_probe_start() -> octets there and back -> backend_probe_done(): a struct backend_state to store
 * Pure:   octets and time are arguments.
 * Keeps:  a probe sends no message: after RCPT comes RSET. It ends within BACKEND_PROBE_TOTAL_US and the time for QUIT.
 * Source: POLICY sections 1 and 5.
 */
#include "dataplane/relay/backend_probe.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "dataplane/base/bug.h"
#include "dataplane/relay/xclient.h"

enum probe_step {
#define PROBE_STEPS(X)                                                                                                 \
	X(CONNECT)                                                                                                     \
	X(BANNER) X(EHLO0) X(STARTTLS) X(TLS) X(EHLO) X(XCLIENT) X(EHLO2) X(MAIL) X(RCPT) X(RSET) X(QUIT) X(END)
#define X(name) PROBE_##name,
	PROBE_STEPS(X)
#undef X
};

static const char *const probe_step_names[] = {
#define X(name) #name,
	PROBE_STEPS(X)
#undef X
};

enum probe_result { PROBE_PENDING, PROBE_OK, PROBE_FAILED, PROBE_OPEN_RELAY, PROBE_LOOP };

static void
count(const struct backend_probe *p, enum counter which)
{
	if (p->counters != NULL)
		counter_inc(p->counters, which);
}

/* Next command: text is sent, its answer awaited until the step's limit. */
static void
probe_send(struct backend_probe *p, enum probe_step step, const char *text, uint64_t limit_us, uint64_t now_us)
{
	const uint32_t n = (uint32_t)strlen(text);

	BUG_ON(p->out_len + n > sizeof(p->out));
	memcpy(p->out + p->out_len, text, n);
	p->out_len += n;
	p->step = (uint8_t)step;
	p->deadline_us = step == PROBE_QUIT ? now_us + limit_us : MIN(now_us + limit_us, p->end_us);
	smtp_reply_parser_init(&p->parser);
}

/* The result stands; what is left is manners. */
static void
probe_quit(struct backend_probe *p, enum probe_result result, uint64_t now_us)
{
	p->result = (uint8_t)result;
	probe_send(p, PROBE_QUIT, "QUIT\r\n", BACKEND_PROBE_QUIT_US, now_us);
}

static void
probe_end(struct backend_probe *p, enum probe_result result)
{
	if (p->result == PROBE_PENDING)
		p->result = (uint8_t)result;
	p->step = PROBE_END;
	p->out_len = p->out_sent = 0;
}

static void
probe_fail(struct backend_probe *p, const char *words)
{
	if (p->result == PROBE_PENDING)
		backend_state_words(&p->found, words);
	probe_end(p, PROBE_FAILED);
}

void
backend_probe_start(struct backend_probe *p, uint32_t index, const struct conf_backend *conf, const char *our_name,
	const struct ip_addr *local, bool relaytest, uint32_t random, const struct backend_state *before,
	uint64_t now_us)
{
	memset(p, 0, offsetof(struct backend_probe, parser));
	smtp_reply_parser_init(&p->parser);
	p->out_len = p->out_sent = 0;
	p->result = PROBE_PENDING;
	p->helo = p->client_refused = p->under_tls = p->tls_failed = p->tls_possible = p->no_starttls = false;
	p->way = BACKEND_PROBE_AS_CONFIGURED;
	p->ehlo = (struct ehlo){ 0 };
	p->counters = NULL;

	p->backend = index;
	p->conf = *conf;
	p->found = *before;
	p->found.id = conf->id;
	p->found.words[sizeof(p->found.words) - 1] = '\0';
	snprintf(p->our_name, sizeof(p->our_name), "%s", our_name);
	snprintf(p->label, sizeof(p->label), "greyline-%08x", random);
	p->src_port = (uint16_t)(32768 + random % 28000);
	p->local = *local;
	/* A test client that is turned away before EHLO leaves us without the backend's extensions: the next probe
	 * asks for them. */
	p->relaytest = relaytest && !conf->is_submission &&
	               !(before->relaytest_s != 0 && !before->probed && before->health != BACKEND_OPEN_RELAY);
	p->started_us = now_us;
	p->end_us = now_us + BACKEND_PROBE_TOTAL_US;
	p->step = PROBE_CONNECT;
	p->deadline_us = now_us + BACKEND_PROBE_GREETING_US;
}

/* The outside client of the relay test, of the backend's family: both ends of a PROXY header are of one. */
static struct ip_addr
relaytest_client(const struct backend_probe *p)
{
	static const struct ip_addr v6 = { .octet = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } }; /* 2001:db8::1 (RFC 3849) */

	return ip_addr_is_v4(&p->conf.addr) ? ip_addr_v4(BACKEND_RELAYTEST_CLIENT4) : v6;
}

void
backend_probe_connected(struct backend_probe *p, uint64_t now_us)
{
	struct proxy_addrs addrs = {
		.src = p->relaytest ? relaytest_client(p) : p->local,
		.src_port = p->src_port,
		.dst = p->conf.addr,
		.dst_port = p->conf.port,
	};
	/* RFC 8314 section 3.3: TLS before all else */
	const bool silent = p->conf.is_submission && p->conf.port == 465;
	uint8_t head[PROXY_HEADER_MAX_OCTETS];
	uint32_t n = 0;

	if (p->step != PROBE_CONNECT)
		return;
	switch ((enum conf_client_address)p->conf.client_address) {
	case CLIENT_ADDRESS_PROXY_V1:
		n = proxy_header_build_v1(&addrs, head);
		break;
	case CLIENT_ADDRESS_PROXY_V2:
		n = p->relaytest ? proxy_header_build_v2(&addrs, head) : proxy_header_build_v2_local(head);
		break;
	case CLIENT_ADDRESS_NONE:
	case CLIENT_ADDRESS_XCLIENT:
		break;
	}
	probe_send(p, PROBE_BANNER, "", silent ? BACKEND_PROBE_SILENT_TLS_US : BACKEND_PROBE_GREETING_US, now_us);
	memcpy(p->out, head, n);
	p->out_len = n;
}

void
backend_probe_disconnected(struct backend_probe *p, uint64_t now_us)
{
	char words[64];

	(void)now_us;
	if (p->step == PROBE_END)
		return;
	snprintf(words, sizeof(words), p->step == PROBE_CONNECT ? "no connection" : "connection lost at %s",
		probe_step_names[p->step]);
	p->tls_failed = p->step == PROBE_TLS;
	probe_fail(p, words);
}

static void
probe_ehlo(struct backend_probe *p, enum probe_step step, uint64_t now_us)
{
	char line[CONF_HOST_OCTETS + 16];

	snprintf(line, sizeof(line), "%s %s\r\n", p->helo ? "HELO" : "EHLO", p->our_name);
	probe_send(p, step, line, BACKEND_PROBE_GREETING_US, now_us);
}

/* Whether the banner's first word is our name: then we talk to ourselves. */
static bool
banner_names_us(const struct backend_probe *p)
{
	const struct smtp_reply *r = &p->parser.reply;
	const size_t n = strlen(p->our_name);

	if (r->len_octets < 4 + n || strncasecmp(r->text + 4, p->our_name, n) != 0)
		return false;
	return r->len_octets == 4 + n || strchr(" \t\r", r->text[4 + n]) != NULL;
}

/* The test's client was refused where it speaks for itself: it relays nothing. */
static void
probe_client_refused(struct backend_probe *p, uint64_t now_us)
{
	p->client_refused = true;
	probe_quit(p, PROBE_OK, now_us);
}

/* Whether what is said now is said to the outside client of the relay test, and not to us. */
static bool
speaks_to_test_client(const struct backend_probe *p)
{
	switch ((enum conf_client_address)p->conf.client_address) {
	case CLIENT_ADDRESS_PROXY_V1:
	case CLIENT_ADDRESS_PROXY_V2:
		return p->relaytest;
	case CLIENT_ADDRESS_XCLIENT:
		return p->relaytest && p->step > PROBE_XCLIENT;
	case CLIENT_ADDRESS_NONE: /* the test client is ourselves: if we are refused, so is all mail */
		break;
	}
	return false;
}

static bool
wants_starttls(const struct backend_probe *p)
{
	return p->way == BACKEND_PROBE_KEYS || (p->conf.tls != BACKEND_TLS_NEVER && p->way != BACKEND_PROBE_PLAIN);
}

/* As relay_init() has it: once something is to be checked there is no way back to plain text. */
static bool
is_tls_strict(const struct backend_probe *p)
{
	return p->way == BACKEND_PROBE_KEYS || p->conf.tls == BACKEND_TLS_REQUIRE || p->conf.ca_octets > 0 ||
	       p->conf.n_fingerprints > 0;
}

static void
probe_in_banner(struct backend_probe *p, uint64_t now_us)
{
	const uint16_t code = p->parser.reply.code;

	if (code == 220 && banner_names_us(p)) {
		backend_state_words(&p->found, "answers with our own name: mail to it would loop");
		probe_quit(p, PROBE_LOOP, now_us);
		return;
	}
	if (code == 220 && p->conf.is_submission) {
		probe_quit(p, PROBE_OK, now_us);
		return;
	}
	if (code == 220) {
		probe_ehlo(p, wants_starttls(p) ? PROBE_EHLO0 : PROBE_EHLO, now_us);
		return;
	}
	if (code >= 500 && speaks_to_test_client(p))
		probe_client_refused(p, now_us);
	else
		probe_end(p, PROBE_FAILED);
}

static void
probe_send_mail(struct backend_probe *p, uint64_t now_us)
{
	/* the null sender: no test of a sender's domain stands before that of the recipient's */
	probe_send(p, PROBE_MAIL, "MAIL FROM:<>\r\n", BACKEND_PROBE_GREETING_US, now_us);
}

static void
probe_send_xclient(struct backend_probe *p, uint64_t now_us)
{
	struct relay_client client = {
		.addrs = { .src = relaytest_client(p), .dst = p->conf.addr },
		.ptr_state = PTR_NONE,
		.esmtp = true,
	};
	char line[XCLIENT_LINE_MAX_OCTETS + 1];

	client.addrs.src_port = p->src_port;
	client.addrs.dst_port = p->conf.port;
	snprintf(client.helo, sizeof(client.helo), "%s", p->our_name);
	line[xclient_build(&client, p->ehlo.xclient, line)] = '\0';
	probe_send(p, PROBE_XCLIENT, line, BACKEND_PROBE_GREETING_US, now_us);
}

/* No TLS here: without it go on where the configuration allows, or fail; why NULL: the backend's words tell. */
static void
probe_without_tls(struct backend_probe *p, const char *why)
{
	if (!is_tls_strict(p))
		return;
	if (why != NULL)
		backend_state_words(&p->found, why);
	count(p, CTR_tls_backend_failed);
	probe_end(p, PROBE_FAILED);
}

static void
probe_in_starttls(struct backend_probe *p, uint64_t now_us)
{
	if (p->parser.reply.code == 220) {
		p->step = PROBE_TLS;
		p->deadline_us = MIN(now_us + BACKEND_PROBE_GREETING_US, p->end_us);
		return;
	}
	p->no_starttls = true;
	probe_without_tls(p, NULL);
	if (p->step != PROBE_END)
		probe_ehlo(p, PROBE_EHLO, now_us);
}

bool
backend_probe_wants_tls(const struct backend_probe *p)
{
	return p->step == PROBE_TLS;
}

void
backend_probe_tls_started(struct backend_probe *p, uint64_t now_us)
{
	if (p->step != PROBE_TLS)
		return;
	p->under_tls = true;
	if (p->way == BACKEND_PROBE_KEYS) {
		probe_quit(p, PROBE_OK, now_us);
		return;
	}
	p->helo = false;
	probe_ehlo(p, PROBE_EHLO, now_us);
}

void
backend_probe_tls_failed(struct backend_probe *p, const char *words)
{
	if (p->step != PROBE_TLS)
		return;
	count(p, CTR_tls_backend_failed);
	p->tls_failed = true;
	probe_fail(p, words);
}

bool
backend_probe_may_go_plain(const struct backend_probe *p)
{
	return p->tls_failed && !is_tls_strict(p);
}

static void
probe_in_ehlo(struct backend_probe *p, uint64_t now_us)
{
	const uint16_t code = p->parser.reply.code;

	if (!p->helo && (code == 500 || code == 502)) {
		p->helo = true;
		probe_ehlo(p, (enum probe_step)p->step, now_us);
		return;
	}
	if (code != 250) {
		if (code >= 500 && speaks_to_test_client(p))
			probe_client_refused(p, now_us);
		else
			probe_end(p, PROBE_FAILED);
		return;
	}
	if (p->step == PROBE_EHLO || p->step == PROBE_EHLO0) {
		p->ehlo = (struct ehlo){ 0 };
		if (!p->helo)
			ehlo_parse(&p->parser.reply, &p->ehlo);
	}
	if (p->step == PROBE_EHLO0) {
		p->no_starttls = (p->ehlo.ext & EXT_STARTTLS) == 0;
		if (p->no_starttls)
			probe_without_tls(p, p->way == BACKEND_PROBE_KEYS
						     ? "STARTTLS is not offered"
						     : "STARTTLS is not offered, and TLS is demanded of it");
		else if (!p->tls_possible)
			probe_without_tls(p, "its TLS options cannot be used, or there is no memory for TLS");
		else {
			probe_send(p, PROBE_STARTTLS, "STARTTLS\r\n", BACKEND_PROBE_GREETING_US, now_us);
			return;
		}
		if (p->step == PROBE_END)
			return;
		p->step = PROBE_EHLO; /* in plain text, and this was its answer */
	}
	if (p->step == PROBE_EHLO && p->conf.client_address == CLIENT_ADDRESS_XCLIENT) {
		if ((p->ehlo.ext & EXT_XCLIENT) == 0 || (p->ehlo.xclient & XCLIENT_ADDR) == 0) {
			backend_state_words(&p->found,
				"XCLIENT ADDR is not offered to us: name us in smtpd_authorized_xclient_hosts");
			probe_quit(p, PROBE_FAILED, now_us);
			return;
		}
		if (p->relaytest) {
			probe_send_xclient(p, now_us);
			return;
		}
	}
	if (p->relaytest)
		probe_send_mail(p, now_us);
	else
		probe_quit(p, PROBE_OK, now_us);
}

static void
probe_in_xclient(struct backend_probe *p, uint64_t now_us)
{
	if (p->parser.reply.code == 220)
		probe_ehlo(p, PROBE_EHLO2, now_us);
	else
		probe_end(p, PROBE_FAILED);
}

static void
probe_in_mail(struct backend_probe *p, uint64_t now_us)
{
	char line[96];

	if (p->parser.reply.code != 250) { /* no sender, no relaying */
		probe_quit(p, PROBE_OK, now_us);
		return;
	}
	snprintf(line, sizeof(line), "RCPT TO:<relaytest@%s.invalid>\r\n", p->label);
	probe_send(p, PROBE_RCPT, line, BACKEND_PROBE_GREETING_US, now_us);
}

static const char relays[] =
	"relays to any domain for strangers: its mynetworks must not name the gateway or everybody";
static const char relays_for_us[] = "relays to any domain for us, and so for every stranger: "
				    "take the gateway's address out of its mynetworks";

static void
probe_in_rcpt(struct backend_probe *p, uint64_t now_us)
{
	if (p->parser.reply.code < 300) {
		p->result = PROBE_OPEN_RELAY;
		backend_state_words(&p->found, p->conf.client_address == CLIENT_ADDRESS_NONE ? relays_for_us : relays);
	}
	probe_send(p, PROBE_RSET, "RSET\r\n", BACKEND_PROBE_GREETING_US, now_us);
}

static void
probe_handle_reply(struct backend_probe *p, uint64_t now_us)
{
	if (p->result == PROBE_PENDING)
		smtp_reply_words(&p->parser.reply, p->found.words, sizeof(p->found.words));
	/* Busy or shutting down: no answer to what was asked. */
	if (p->parser.reply.code == 421 && p->step != PROBE_QUIT) {
		probe_end(p, PROBE_FAILED);
		return;
	}
	switch ((enum probe_step)p->step) {
	case PROBE_BANNER:
		probe_in_banner(p, now_us);
		return;
	case PROBE_EHLO0:
	case PROBE_EHLO:
	case PROBE_EHLO2:
		probe_in_ehlo(p, now_us);
		return;
	case PROBE_STARTTLS:
		probe_in_starttls(p, now_us);
		return;
	case PROBE_XCLIENT:
		probe_in_xclient(p, now_us);
		return;
	case PROBE_MAIL:
		probe_in_mail(p, now_us);
		return;
	case PROBE_RCPT:
		probe_in_rcpt(p, now_us);
		return;
	case PROBE_RSET:
		probe_quit(p, p->result == PROBE_PENDING ? PROBE_OK : (enum probe_result)p->result, now_us);
		return;
	case PROBE_QUIT:
		probe_end(p, PROBE_OK);
		return;
	case PROBE_CONNECT:
	case PROBE_TLS:
	case PROBE_END:
		return;
	}
}

uint32_t
backend_probe_input(struct backend_probe *p, const struct buf_view *in, uint64_t now_us)
{
	struct buf_view v = *in;

	while (v.len_octets > 0 && p->step != PROBE_END && p->step != PROBE_CONNECT) {
		enum smtp_reply_result result;

		if (p->step == PROBE_TLS) {
			backend_probe_tls_failed(p, "octets behind the answer to STARTTLS");
			break;
		}
		if (p->out_sent < p->out_len) {
			probe_fail(p, "reply before the command");
			break;
		}
		result = smtp_reply_parse(&p->parser, &v);
		if (result == SMTP_REPLY_MORE)
			break;
		if (result == SMTP_REPLY_BROKEN) {
			probe_fail(p, "not a reply");
			break;
		}
		probe_handle_reply(p, now_us);
	}
	return in->len_octets;
}

uint32_t
backend_probe_output(struct backend_probe *p, uint8_t *out, uint32_t n)
{
	n = MIN(n, p->out_len - p->out_sent);
	memcpy(out, p->out + p->out_sent, n);
	p->out_sent += n;
	if (p->out_sent == p->out_len)
		p->out_len = p->out_sent = 0;
	return n;
}

static void
probe_timeout(struct backend_probe *p)
{
	char words[64];

	if (p->conf.is_submission && p->conf.port == 465 && p->step == PROBE_BANNER) {
		backend_state_words(&p->found, "connection stays open");
		probe_end(p, PROBE_OK);
		return;
	}
	snprintf(words, sizeof(words), p->step == PROBE_CONNECT ? "no connection in time" : "no answer in time at %s",
		probe_step_names[p->step]);
	p->tls_failed = p->step == PROBE_TLS;
	probe_fail(p, words);
}

/* The result, written into the state found. */
static void
probe_conclude(struct backend_probe *p, uint32_t now_s)
{
	struct backend_state *s = &p->found;
	char words[sizeof(s->words)];

	p->done = true;
	p->ok = p->result == PROBE_OK;
	count(p, CTR_relay_probes);
	switch ((enum probe_result)p->result) {
	case PROBE_OK:
		if (p->relaytest) {
			s->relaytest_s = MAX(now_s, 1);
			if (s->health == BACKEND_OPEN_RELAY)
				backend_state_health(s, BACKEND_UNPROBED, now_s);
		}
		if (!p->client_refused || p->conf.client_address == CLIENT_ADDRESS_XCLIENT) {
			s->probed = 1;
			s->probed_s = now_s;
			s->ext = p->ehlo.ext;
			s->size_octets = p->ehlo.size_octets;
			s->auth = p->ehlo.auth;
			s->under_tls = p->under_tls;
		}
		backend_state_success(s, now_s);
		return;
	case PROBE_OPEN_RELAY:
		count(p, CTR_relay_probes_open_relay);
		s->relaytest_s = MAX(now_s, 1);
		s->failures = 0;
		backend_state_health(s, BACKEND_OPEN_RELAY, now_s);
		return;
	case PROBE_LOOP:
		count(p, CTR_relay_probes_loop);
		s->failures = 0;
		backend_state_health(s, BACKEND_LOOP, now_s);
		return;
	case PROBE_PENDING:
	case PROBE_FAILED:
		count(p, CTR_relay_probes_failed);
		memcpy(words, s->words, sizeof(words));
		backend_state_failure(s, words, now_s);
		return;
	}
}

bool
backend_probe_done(struct backend_probe *p, uint32_t now_s, uint64_t now_us)
{
	if (p->done)
		return true;
	if (p->step != PROBE_END && now_us >= p->deadline_us)
		probe_timeout(p);
	if (p->step != PROBE_END)
		return false;
	probe_conclude(p, now_s);
	return true;
}
