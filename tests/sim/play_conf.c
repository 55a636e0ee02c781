/*
 * play_conf.c - the lines of a scenario that change the configuration, the backends' manners and what DNS says.
 */
#include "tests/sim/play.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

/* Text of the scenario that a fake keeps. */
static const char *
kept(const char *text)
{
	const size_t n = play_unescape(text);
	char *copy = malloc(n + 1);

	BUG_ON(copy == NULL);
	memcpy(copy, play_octets, n);
	copy[n] = '\0';
	return copy;
}

void
play_set_backend(char *args)
{
	unsigned index;
	struct fake_mta *m = play_backend(play_word(&args), &index);
	const char *what = play_word(&args);
	static const char *const hows[] = { [FAKE_OK] = "ok",
		[FAKE_SILENT] = "silent",
		[FAKE_CLOSE] = "close",
		[FAKE_RESET] = "reset",
		[FAKE_421] = "421",
		[FAKE_4XX] = "4xx",
		[FAKE_5XX] = "5xx",
		[FAKE_NONSENSE] = "nonsense",
		[FAKE_RAW] = "raw" };
	static const char *const addresses[] = { [CLIENT_ADDRESS_NONE] = "none",
		[CLIENT_ADDRESS_PROXY_V1] = "proxy_v1",
		[CLIENT_ADDRESS_PROXY_V2] = "proxy_v2",
		[CLIENT_ADDRESS_XCLIENT] = "xclient" };
	const struct {
		const char *name;
		enum fake_fail *at;
	} stages[] = {
		{ "connect", &m->at_connect },
		{ "banner", &m->at_banner },
		{ "ehlo", &m->at_ehlo },
		{ "xclient", &m->at_xclient },
		{ "mail", &m->at_mail },
		{ "rcpt", &m->at_rcpt },
		{ "data", &m->at_data },
		{ "body", &m->at_body },
		{ "chunk", &m->at_chunk },
		{ "dot", &m->at_dot },
		{ "rset", &m->at_rset },
		{ "auth", &m->at_auth },
	};

	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		if (strcmp(what, stages[i].name) == 0) {
			*stages[i].at = (enum fake_fail)play_one_of(play_word(&args), hows, ARRAY_LEN(hows));
			return;
		}
	if (strcmp(what, "ext") == 0)
		m->ext = kept(args);
	else if (strcmp(what, "banner-text") == 0)
		m->banner = kept(args);
	else if (strcmp(what, "text") == 0)
		m->raw = kept(args);
	else if (strcmp(what, "unknown") == 0)
		m->unknown_rcpt = kept(args);
	else if (strcmp(what, "delay") == 0)
		m->delay_us = play_time_us(play_word(&args));
	else if (strcmp(what, "dribble") == 0)
		m->dribble = play_on_off(play_word(&args));
	else if (strcmp(what, "deaf_in_data") == 0)
		m->deaf_in_data = play_on_off(play_word(&args));
	else if (strcmp(what, "open_relay") == 0)
		m->open_relay = play_on_off(play_word(&args));
	else if (strcmp(what, "pause") == 0)
		sim_host_pause(m->host, play_on_off(play_word(&args)));
	else if (strcmp(what, "shout") == 0)
		fake_mta_shout(m, kept(args));
	else if (strcmp(what, "drained") == 0)
		segment_backend(sim_segment(play.s.sim), play.s.config.backend[index].id, false)->drained =
			play_on_off(play_word(&args));
	else if (strcmp(what, "address") == 0)
		play.s.config.backend[index].client_address =
			(uint8_t)play_one_of(play_word(&args), addresses, ARRAY_LEN(addresses));
	else
		play_failed("unknown word \"%s\"", what);
}

void
play_set(char *args)
{
	struct conf *conf = &play.s.config.conf;
	const char *name = play_word(&args), *value = play_word(&args);
	static const char *const modes[] = {
		[MODE_OBSERVE] = "observe", [MODE_SOFT] = "soft", [MODE_ENFORCE] = "enforce"
	};
	static const char *const ats[] = {
		[REJECT_AT_RCPT] = "rcpt", [REJECT_AT_CONNECT] = "connect", [REJECT_AT_SYN] = "syn"
	};
	static const char *const lfs[] = {
		[BARE_LF_NORMALIZE] = "normalize", [BARE_LF_REJECT] = "reject", [BARE_LF_TOLERATE] = "tolerate"
	};
	static const char *const effects[] = {
		[EFFECT_NOTHING] = "nothing", [EFFECT_GREY] = "grey", [EFFECT_DEFER] = "451", [EFFECT_REJECT] = "554"
	};
#define NUMBER(field)                                                                                                  \
	{                                                                                                              \
#field, &conf->field, sizeof(conf->field)                                                              \
	}
	const struct {
		const char *name;
		void *at;
		size_t octets;
	} numbers[] = { NUMBER(grey_reference), NUMBER(known_clients_relay), NUMBER(trap_scope_network),
		NUMBER(grey_block_s), NUMBER(grey_pass_s), NUMBER(grey_expire_s), NUMBER(grey_lapse_memory_s),
		NUMBER(grey_window_max_s), NUMBER(grey_auto_after), NUMBER(grey_source_budget),
		NUMBER(dnsbl_reject_threshold), NUMBER(dnsbl_grey_threshold), NUMBER(dns_deadline_ms),
		NUMBER(client_fresh_s), NUMBER(trap_s), NUMBER(greet_pause_ms), NUMBER(command_timeout_s),
		NUMBER(data_timeout_s), NUMBER(session_max_s), NUMBER(data_rate_floor_octets_s), NUMBER(rcpts_max),
		NUMBER(commands_max), NUMBER(errors_max), NUMBER(messages_max), NUMBER(message_max_octets),
		NUMBER(backend_connect_ms), NUMBER(backend_greeting_ms), NUMBER(backend_total_ms),
		NUMBER(backend_reply_ms), NUMBER(backend_dot_s), NUMBER(backend_probe_s), NUMBER(drain_s),
		NUMBER(client_sessions_max), NUMBER(client_network_sessions_max), NUMBER(limits_client_rate),
		NUMBER(limits_network_rate), NUMBER(limits_reserve_percent), NUMBER(log_grey_per_s),
		NUMBER(protocol_early_talker), NUMBER(protocol_pipelining), NUMBER(protocol_bare_line),
		NUMBER(protocol_non_smtp), NUMBER(protocol_errors), NUMBER(protocol_helo_syntax),
		NUMBER(protocol_helo_ours), NUMBER(protocol_helo_literal), NUMBER(protocol_errors_from),
		NUMBER(protocol_grey_threshold) };
#undef NUMBER

	if (strcmp(name, "mode") == 0) {
		conf->mode = (uint8_t)play_one_of(value, modes, ARRAY_LEN(modes));
		return;
	}
	if (strcmp(name, "reject_at") == 0) {
		conf->reject_at = (uint8_t)play_one_of(value, ats, ARRAY_LEN(ats));
		return;
	}
	if (strcmp(name, "bare_lf") == 0) {
		conf->bare_lf = (uint8_t)play_one_of(value, lfs, ARRAY_LEN(lfs));
		return;
	}
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = { "ptr_missing", "ptr_unconfirmed", "ptr_generic" };
		uint8_t *const at[] = { &conf->ptr_missing, &conf->ptr_unconfirmed, &conf->ptr_generic };

		if (strcmp(name, names[i]) == 0) {
			*at[i] = (uint8_t)play_one_of(value, effects, ARRAY_LEN(effects));
			return;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		const uint64_t v = strcmp(name, numbers[i].name) == 0 ? play_number(value) : 0;

		if (strcmp(name, numbers[i].name) != 0)
			continue;
		if (numbers[i].octets == 1)
			*(uint8_t *)numbers[i].at = (uint8_t)v;
		else if (numbers[i].octets == 4)
			*(uint32_t *)numbers[i].at = (uint32_t)v;
		else
			*(uint64_t *)numbers[i].at = v;
		return;
	}
	play_failed("unknown option \"%s\"", name);
}

void
play_set_list(char *args)
{
	struct sim_config *c = &play.s.config;
	const char *name = play_word(&args);
	const struct {
		const char *name;
		const char **at;
	} lists[] = { { "client_allow", &c->client_allow }, { "client_deny", &c->client_deny },
		{ "sender_allow", &c->sender_allow }, { "sender_deny", &c->sender_deny },
		{ "rcpt_allow", &c->rcpt_allow }, { "rcpt_deny", &c->rcpt_deny }, { "rcpt_no_grey", &c->rcpt_no_grey },
		{ "trap", &c->trap } };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (strcmp(name, lists[i].name) == 0) {
			*lists[i].at = kept(args);
			return;
		}
	play_failed("unknown list \"%s\"", name);
}

static unsigned
pool_index(const char *name)
{
	static const char *const names[] = { "default", "second", "submission" };

	return play_one_of(name, names, ARRAY_LEN(names));
}

void
play_set_listener(char *args)
{
	struct conf_listener *l = &play.s.config.listener[0];
	const char *what = play_word(&args), *value;

	if (strcmp(what, "pools") == 0) {
		l->pools = 0;
		while ((value = play_word(&args))[0] != '\0')
			l->pools |= UINT64_C(1) << pool_index(value);
	} else if (strcmp(what, "trusted") == 0) {
		struct ip_addr a;

		value = play_word(&args);
		if (ip_addr_parse(value, &a) != 0)
			play_failed("\"%s\" is no address", value);
		l->trusted[l->n_trusted++] = (struct conf_port_addr){ .addr = a, .prefix_bits = 128 };
	} else if (strcmp(what, "i_trust_the_backend") == 0) {
		l->i_trust_the_backend = play_on_off(play_word(&args));
	} else if (strcmp(what, "auth") == 0) {
		static const char *const names[] = { "none", "relay" };

		l->auth_relay = (uint8_t)play_one_of(play_word(&args), names, ARRAY_LEN(names));
	} else if (strcmp(what, "any_domain") == 0) {
		play.s.config.any_domain = play_on_off(play_word(&args));
	} else {
		play_failed("unknown word \"%s\"", what);
	}
}

void
play_set_pool(char *args)
{
	struct conf_pool *p = &play.s.config.pool[pool_index(play_word(&args))];
	const char *name;

	p->backends = 0;
	while ((name = play_word(&args))[0] != '\0') {
		unsigned index;

		play_backend(name, &index);
		p->backends |= UINT64_C(1) << index;
	}
}

void
play_set_dns(char *args)
{
	struct fake_control *c = &play.s.control;
	const char *what = play_word(&args), *value = play_word(&args);
	static const char *const states[] = { [PTR_NONE] = "none",
		[PTR_UNCONFIRMED] = "unconfirmed",
		[PTR_CONFIRMED] = "confirmed",
		[PTR_GENERIC] = "generic",
		[PTR_TEMPERR] = "temperr" };
	static const char *const name_lists[] = {
		[NAME_LIST_NONE] = "none", [NAME_LIST_ALLOW] = "allow", [NAME_LIST_DENY] = "deny"
	};

	if (strcmp(what, "ptr") == 0) {
		c->verdict.ptr_state = (uint8_t)play_one_of(value, states, ARRAY_LEN(states));
	} else if (strcmp(what, "name") == 0) {
		c->ptr = strcmp(value, "none") == 0 ? NULL : kept(value);
	} else if (strcmp(what, "score") == 0) {
		c->verdict.score = (int16_t)play_number(value);
		c->verdict.zone = c->verdict.score > 0 ? 0 : ZONE_NONE;
	} else if (strcmp(what, "name_list") == 0) {
		c->verdict.name_list = (uint8_t)play_one_of(value, name_lists, ARRAY_LEN(name_lists));
	} else if (strcmp(what, "silent") == 0) {
		c->silent = play_on_off(value);
	} else if (strcmp(what, "delay") == 0) {
		c->delay_us = play_time_us(value);
	} else {
		play_failed("unknown word \"%s\"", what);
	}
}
