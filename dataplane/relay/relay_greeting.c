/*
 * relay_greeting.c - the hand-off: PROXY, banner, EHLO, STARTTLS, EHLO, XCLIENT, EHLO, up to where the first recipient can be asked.
 *
 * Flow:   relay_connected() -> replies in the stages BANNER to EHLO2 -> relay_ready()
 * Pure:   octets and time are arguments; counters are the only thing written outside.
 * Keeps:  nothing is said before the banner but PROXY; behind TLS all is greeted anew; a refusal of the client's name is passed on only
 *         where a probe with our own name works.
 * Source: POLICY section 5; RFC 5321 section 3.2; RFC 3207; Postfix XCLIENT_README.
 */
#include "dataplane/relay/relay_parts.h"

#include <string.h>

#include "dataplane/relay/xclient.h"

static void
relay_greet(struct relay *r, enum relay_stage stage, const char *verb, const char *name, uint64_t now_us)
{
	/* verb, name and line end always fit: nothing else is in out */
	relay_out_str(r, verb);
	relay_out_str(r, " ");
	relay_out_str(r, name);
	relay_out_str(r, "\r\n");
	relay_await(r, stage, now_us);
}

/* EHLO or HELO as the client would say it. */
void
relay_greet_as_client(struct relay *r, enum relay_stage stage, uint64_t now_us)
{
	r->own_name = r->client.helo[0] == '\0';
	r->ehlo = (struct ehlo){ 0 };
	relay_greet(r, stage, r->use_helo ? "HELO" : "EHLO", r->own_name ? r->our_name : r->client.helo, now_us);
}

static void
relay_send_xclient(struct relay *r, uint64_t now_us)
{
	char line[XCLIENT_LINE_MAX_OCTETS];
	uint32_t n;

	/* Without ADDR the backend would judge the client by our address: as good as refused. */
	if ((r->ehlo.ext & EXT_XCLIENT) == 0 || (r->ehlo.xclient & XCLIENT_ADDR) == 0) {
		r->stage = RELAY_STAGE_XCLIENT;
		relay_words_set(r, "XCLIENT ADDR is not offered to us");
		relay_count(r, CTR_relay_xclient_refused);
		relay_lose(r, false);
		return;
	}
	n = xclient_build(&r->client, r->ehlo.xclient, line);
	relay_out_add(r, line, n);
	relay_await(r, RELAY_STAGE_XCLIENT, now_us);
}

/* The stage of a greeting with the client's name. */
enum relay_stage
relay_greet_stage(const struct relay *r)
{
	return r->client_address == CLIENT_ADDRESS_XCLIENT ? RELAY_STAGE_EHLO2 : RELAY_STAGE_EHLO;
}

/* The greeting that counts: behind TLS, or where there will be none. */
static void
relay_begin_greeting(struct relay *r, uint64_t now_us)
{
	r->ehlo = (struct ehlo){ 0 };
	if (r->client_address == CLIENT_ADDRESS_XCLIENT) {
		r->own_name = true;
		relay_greet(r, RELAY_STAGE_EHLO, "EHLO", r->our_name, now_us);
	} else {
		relay_greet_as_client(r, RELAY_STAGE_EHLO, now_us);
	}
}

void
relay_connected(struct relay *r, uint64_t now_us)
{
	if (r->stage != RELAY_STAGE_CONNECT)
		return;
	switch ((enum conf_client_address)r->client_address) {
	case CLIENT_ADDRESS_PROXY_V1:
		r->out_len = proxy_header_build_v1(&r->client.addrs, r->out);
		break;
	case CLIENT_ADDRESS_PROXY_V2:
		r->out_len = proxy_header_build_v2(&r->client.addrs, r->out);
		if (r->client.tls.version[0] != '\0')
			r->out_len = proxy_header_add_tls(r->out, r->out_len, &r->client.tls);
		break;
	case CLIENT_ADDRESS_NONE:
	case CLIENT_ADDRESS_XCLIENT:
		break;
	}
	relay_await(r, RELAY_STAGE_BANNER, now_us);
}

void
relay_in_banner(struct relay *r, uint64_t now_us)
{
	if (r->parser.reply.code != 220) {
		relay_lose(r, false);
		return;
	}
	if (r->tls == BACKEND_TLS_NEVER) {
		relay_begin_greeting(r, now_us);
		return;
	}
	r->own_name = true;
	relay_greet(r, RELAY_STAGE_EHLO0, "EHLO", r->our_name, now_us);
}

/* No TLS here: without it go on, or not at all; why NULL: the backend's words tell. */
static void
relay_without_tls(struct relay *r, const char *why, uint64_t now_us)
{
	if (!r->tls_strict) {
		relay_begin_greeting(r, now_us);
		return;
	}
	r->stage = RELAY_STAGE_STARTTLS;
	if (why != NULL)
		relay_words_set(r, why);
	relay_lose(r, false);
}

void
relay_in_ehlo0(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (code == 250)
		ehlo_parse(&r->parser.reply, &r->ehlo);
	else if (code < 500) {
		relay_lose(r, false);
		return;
	}
	if (code != 250 || (r->ehlo.ext & EXT_STARTTLS) == 0) {
		relay_without_tls(r, "STARTTLS is not offered", now_us);
	} else if (!r->tls_possible) {
		relay_without_tls(r, "its TLS options cannot be used", now_us);
	} else {
		relay_out_str(r, "STARTTLS\r\n");
		relay_await(r, RELAY_STAGE_STARTTLS, now_us);
	}
}

void
relay_in_starttls(struct relay *r, uint64_t now_us)
{
	if (r->parser.reply.code != 220) {
		relay_without_tls(r, NULL, now_us);
		return;
	}
	relay_await(r, RELAY_STAGE_TLS, now_us);
	relay_say(r, RELAY_ACTION_STARTTLS);
}

void
relay_tls_started(struct relay *r, uint64_t now_us)
{
	if (r->stage != RELAY_STAGE_TLS)
		return;
	relay_begin_greeting(r, now_us);
}

void
relay_tls_failed(struct relay *r, const char *words)
{
	if (r->stage != RELAY_STAGE_TLS)
		return;
	relay_words_set(r, words);
	relay_lose(r, false);
}

bool
relay_may_go_plain(const struct relay *r)
{
	return r->tls_failed && !r->tls_strict;
}

/* The greeting with the client's name (or ours in its stead) was refused. */
static void
relay_greeting_refused(struct relay *r, uint64_t now_us)
{
	const uint16_t code = r->parser.reply.code;

	if (!r->use_helo && (code == 500 || code == 502)) { /* RFC 5321 section 3.2: unknown command, so HELO */
		r->use_helo = true;
		relay_count(r, CTR_relay_helo_fallback);
		relay_greet_as_client(r, (enum relay_stage)r->stage, now_us);
		return;
	}
	if (code < 500 || r->own_name || !r->probe_works) {
		relay_lose(r, false);
		return;
	}
	relay_count(r, CTR_relay_ehlo_refused);
	r->ehlo_refused = true;
	if (r->want_rcpt) {
		r->want_rcpt = false;
		relay_pass(r, RELAY_ACTION_RCPT_REPLY);
	}
	relay_ready(r, now_us);
}

void
relay_in_ehlo(struct relay *r, uint64_t now_us)
{
	const bool before_xclient = r->stage == RELAY_STAGE_EHLO && r->client_address == CLIENT_ADDRESS_XCLIENT;
	const uint16_t code = r->parser.reply.code;

	if (code >= 400 && before_xclient) { /* it refuses us, not the client */
		relay_lose(r, false);
		return;
	}
	if (code >= 400) {
		relay_greeting_refused(r, now_us);
		return;
	}
	if (code != 250) {
		relay_nonsense(r);
		return;
	}
	if (!r->use_helo || before_xclient)
		ehlo_parse(&r->parser.reply, &r->ehlo);
	if (before_xclient) {
		relay_send_xclient(r, now_us);
		return;
	}
	relay_count(r, CTR_relay_greetings);
	relay_ready(r, now_us);
}

void
relay_in_xclient(struct relay *r, uint64_t now_us)
{
	if (r->parser.reply.code != 220) {
		relay_count(r, CTR_relay_xclient_refused);
		relay_lose(r, false);
		return;
	}
	relay_greet_as_client(r, RELAY_STAGE_EHLO2, now_us);
}
