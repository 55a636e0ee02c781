/*
 * api_explain.c - explain, why, dnsbl, dns cache.
 *
 * Flow:   explain: table, else DNS -> policy_rcpt() dry, with a trace;  why: record of the greylist, else the table of rejects
 * Touches: DNS; writes nothing but what DNS said; `dnsbl disable|enable` set an option.
 * Keeps:  explain decides by the code and the octets of the snapshot the data plane decides by.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "control/api.h"
#include "control/api_client.h"
#include "control/api_grey.h"
#include "control/control.h"
#include "dataplane/base/bug.h"
#include "dataplane/policy/client.h"
#include "dataplane/policy/triplet.h"

#define TEST_DEADLINE_MS 10000 /* nobody but the operator waits */

struct explain {
	struct control *c;
	struct api_request *r;
	struct policy_question q;
	char helo[256], from[512], rcpt[512], ptr[256];
	json_t *steps;
	bool asked_dns;
	unsigned out; /* questions to DNS, and one while they are being asked */
};

static void
trace(void *arg, enum policy_rule rule, bool matched, const char *detail)
{
	struct explain *x = arg;

	json_array_append_new(
		x->steps, json_pack("{s:i, s:s, s:b, s:o}", "rule", (int)rule, "name", policy_rule_name(rule),
				  "matched", (int)matched, "detail", api_string(detail != NULL ? detail : "")));
}

/* Where the client is refused before it can name a recipient (reject_at), whoever that would be. "": it is not. */
static const char *
refused_at(const struct policy_ctx *ctx, const struct policy_question *q)
{
	struct policy_answer a;

	if (policy_syn_refused(ctx, q->listener, &q->client, q->now_s))
		return "syn";
	if (ctx->conf->reject_at == REJECT_AT_RCPT)
		return "";
	policy_connect(ctx, q, &a);
	return a.verdict == VERDICT_REJECT ? "connect" : "";
}

static void
explain_finish(struct explain *x)
{
	static const char *const modes[] = { "observe", "soft", "enforce" };
	struct control *c = x->c;
	struct policy_answer a;
	struct policy_ctx ctx;
	json_t *out;
	char ref[9];

	control_policy_ctx(c, &ctx);
	ctx.budget = NULL; /* dry: nothing is counted */
	x->q.now_s = control_now_s(c);
	x->q.helo = x->helo;
	x->q.from = x->from;
	x->q.rcpt = x->rcpt;
	x->q.ptr_name = x->q.verdict.ptr_state == PTR_CONFIRMED || x->q.verdict.ptr_state == PTR_GENERIC ? x->ptr : "";
	x->q.dry = true;
	x->steps = json_array();
	policy_rcpt(&ctx, &x->q, &a, trace, x);
	if (a.verdict == VERDICT_WAIT) { /* DNS said nothing in time: decided without, as a session would be */
		json_array_clear(x->steps);
		x->q.verdict.known = CLIENT_LATE;
		policy_rcpt(&ctx, &x->q, &a, trace, x);
	}
	out = json_pack("{s:s, s:s, s:i, s:s, s:i, s:s, s:o, s:s, s:I, s:I, s:i}", "verdict",
		policy_verdict_name(a.verdict), "would", policy_verdict_name(a.would), "rule", (int)a.rule, "rule_name",
		policy_rule_name(a.rule), "code", (int)a.code, "enhanced", a.enhanced, "text", api_string(a.text),
		"reason", a.reason != NULL ? a.reason : "", "wait_s", (json_int_t)a.wait_s, "waited_s",
		(json_int_t)a.waited_s, "score", (int)a.score);
	json_object_set_new(out, "ref", json_string(a.ref != 0 ? policy_ref_format(a.ref, ref) : ""));
	json_object_set_new(out, "mode",
		json_string(modes[c->config->values.conf.mode <= MODE_ENFORCE ? c->config->values.conf.mode
									      : MODE_ENFORCE]));
	json_object_set_new(out, "listener",
		json_string(x->q.listener < c->config->n_listeners ? c->config->listener[x->q.listener].name : ""));
	json_object_set_new(out, "refused_at", json_string(refused_at(&ctx, &x->q)));
	json_object_set_new(out, "client", verdict_json(c, &x->q.verdict, x->ptr));
	json_object_set_new(out, "starttls", handshakes_json(c, &x->q.client, x->q.listener));
	json_object_set_new(out, "asked_dns", json_boolean(x->asked_dns));
	json_object_set_new(out, "steps", x->steps);
	json_object_set_new(out, "source", source_json(x->c, &x->q.client));
	api_answer(x->r, out);
	free(x);
}

static void
explain_one_answered(struct explain *x)
{
	if (--x->out > 0)
		return;
	x->q.names.known = CLIENT_KNOWN;
	explain_finish(x);
}

static void
explain_dns(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct explain *x = arg;

	(void)client;
	x->q.verdict = result->verdict;
	x->q.verdict.time_s = control_now_s(x->c);
	snprintf(x->ptr, sizeof(x->ptr), "%s", result->ptr);
	explain_one_answered(x);
}

static void
explain_helo(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct explain *x = arg;

	(void)client;
	x->q.names.helo_score = MAX(result->verdict.score, (int16_t)0);
	x->q.names.helo_zone = result->verdict.zone;
	x->q.names.helo_decisive = result->decisive;
	explain_one_answered(x);
}

static void
explain_sender(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct explain *x = arg;

	(void)client;
	x->q.names.sender_score = MAX(result->verdict.score, (int16_t)0);
	x->q.names.sender_zone = result->verdict.zone;
	explain_one_answered(x);
}

/* Everything at once, as for a session. */
static void
explain_ask(struct explain *x)
{
	struct control *c = x->c;
	const uint32_t deadline_ms = c->config->values.conf.dns_deadline_ms;
	char canonical[TRIPLET_PATH_MAX_OCTETS + 1], name[DNSBL_NAME_MAX_OCTETS + 1];
	const char *domain;

	x->out = 2;
	resolver_ask(c->resolver, &x->q.client, deadline_ms, false, explain_dns, x);
	if (dnsbl_domain_askable(x->helo, strlen(x->helo), name) > 0) {
		x->out++;
		resolver_ask_name(c->resolver, ZONE_KIND_HELO, name, false, deadline_ms, false, explain_helo, x);
	}
	triplet_canonical(x->from, canonical);
	domain = triplet_domain(canonical);
	if (dnsbl_domain_askable(domain, strlen(domain), name) > 0) {
		x->out++;
		resolver_ask_name(c->resolver, ZONE_KIND_SENDER, name, false, deadline_ms, false, explain_sender, x);
	}
	explain_one_answered(x);
}

/* The listener by name; the first mx without one. False: answered. */
static bool
listener_take(struct control *c, struct api_request *r, const json_t *args, uint32_t *out)
{
	const char *name = api_text(args, "listener");

	for (uint32_t i = 0; i < c->config->n_listeners; i++)
		if (name != NULL ? strcmp(c->config->listener[i].name, name) == 0
				 : c->config->listener[i].role == ROLE_MX) {
			*out = i;
			return true;
		}
	api_error(r, name != NULL ? "not-found" : "unavailable", "there is no listener %s",
		name != NULL ? name : "of role mx");
	return false;
}

static void
unbracket(const char *text, char *out, size_t room)
{
	size_t n = strlen(text);

	if (n >= 2 && text[0] == '<' && text[n - 1] == '>') {
		text++;
		n -= 2;
	}
	snprintf(out, room, "%.*s", (int)MIN(n, (size_t)320), text);
}

static void
explain(struct control *c, struct api_request *r, const json_t *args)
{
	const char *client = api_need(r, args, "client"), *text;
	struct explain *x;
	struct policy_ctx ctx;
	bool fresh = false;
	uint32_t listener;
	struct ip_addr addr;

	if (client == NULL)
		return;
	if (ip_addr_parse(client, &addr) != 0) {
		api_error(r, "usage", "\"%.60s\" is not an address", client);
		return;
	}
	if (!c->attached || !c->mapped) {
		api_error(r, "unavailable", "there is no segment or snapshot");
		return;
	}
	if (!listener_take(c, r, args, &listener))
		return;
	x = calloc(1, sizeof(*x));
	BUG_ON(x == NULL);
	x->c = c;
	x->r = r;
	x->q.client = addr;
	x->q.listener = listener;
	x->q.i_trust_the_backend = c->config->listener[listener].i_trust_the_backend;
	text = api_text(args, "helo");
	snprintf(x->helo, sizeof(x->helo), "%.255s", text != NULL ? text : "client.invalid");
	text = api_text(args, "from");
	unbracket(text != NULL ? text : "someone@sender.invalid", x->from, sizeof(x->from));
	text = api_text(args, "rcpt");
	if (text != NULL) {
		unbracket(text, x->rcpt, sizeof(x->rcpt));
	} else { /* somebody at one of our domains */
		const struct config_texts *d = &c->config->listener_domains[listener];
		const char *domain = d->n > 0 ? d->v[0].text : "invalid";

		snprintf(x->rcpt, sizeof(x->rcpt), "someone@%s", domain[0] == '.' ? domain + 1 : domain);
	}
	control_policy_ctx(c, &ctx);
	x->q.verdict = policy_client_lookup(&ctx, &addr, control_now_s(c), &fresh);
	/* the table keeps no names, so DNS is asked all the same: its cache mostly knows */
	x->asked_dns = true;
	x->q.names = NAME_VERDICT_NONE;
	explain_ask(x);
}

/* --- why */

static void
text_set(json_t *out, const char *name, struct schema_text t)
{
	char text[SCHEMA_PATH_MAX_OCTETS + 1];

	json_object_set_new(out, name, api_string(schema_text_copy(t, text, sizeof(text))));
}

static void
why(struct control *c, struct api_request *r, const json_t *args)
{
	const char *text = api_need(r, args, "ref");
	char room[SCHEMA_VALUE_MAX_OCTETS], addr_text[IP_ADDR_TEXT_MAX_OCTETS], ref_text[9];
	struct schema_why w;
	struct store_name name;
	struct ip_addr addr;
	struct vt_entry e;
	uint64_t ref, tag;
	json_t *out;

	if (text == NULL)
		return;
	if (policy_ref_parse(text, &ref) != 0) {
		api_error(r, "not-found", "\"%.40s\" is no reference", text);
		return;
	}
	if (store_why(c->store, ref, &w, room) == 0) {
		memcpy(addr.octet, w.client, sizeof(addr.octet));
		out = json_pack("{s:s, s:s, s:I, s:s, s:s, s:i, s:s, s:i, s:i}", "kind", "reject", "ref",
			policy_ref_format(ref, ref_text), "at", (json_int_t)w.wall_s, "client",
			ip_addr_format(&addr, addr_text), "verdict", policy_verdict_name((enum verdict)w.verdict),
			"rule", (int)w.rule, "rule_name", policy_rule_name((enum policy_rule)w.rule), "score",
			(int)w.score, "code", (int)w.code);
		text_set(out, "listener", w.listener);
		text_set(out, "ptr", w.ptr);
		text_set(out, "helo", w.helo);
		text_set(out, "from", w.from);
		text_set(out, "rcpt", w.rcpt);
		text_set(out, "reason", w.reason);
		text_set(out, "reply", w.reply);
		api_answer(r, out);
		return;
	}
	if (c->attached && grey_tag_by_ref(c, ref, &tag) && verdict_table_find(&c->segment.table, tag, &e) &&
		vt_kind(&e) == VT_TRIPLET) {
		out = grey_json(c, &e, store_name(c->store, VT_TRIPLET, tag, &name) == 0 ? &name : NULL);
		json_object_set_new(out, "kind", json_string("greylist"));
		api_answer(r, out);
		return;
	}
	api_error(r, "not-found", "nothing is known of %.40s: it is too old, or was never given", text);
}

/* --- dnsbl */

struct dnsbl_test {
	struct control *c;
	struct api_request *r;
	unsigned out; /* of a name: lists of HELO names and of senders */
	char name[DNSBL_NAME_MAX_OCTETS + 1];
	json_t *zones;
	int score;
	uint32_t dns_ms;
	bool complete;
};

static const char *
effect_name(enum client_effect e)
{
	switch (e) {
	case EFFECT_NOTHING:
		return "nothing";
	case EFFECT_GREY:
		return "grey";
	case EFFECT_DEFER:
		return "defer";
	case EFFECT_REJECT:
		return "reject";
	}
	return "?";
}

/* What the zone is asked about. */
static const char *
zone_asks(const struct control *c, uint32_t index)
{
	static const char *const asks[ZONE_KINDS] = { "client", "helo", "sender" };

	return asks[c->config->zone[index].kind];
}

static json_t *
zone_json(struct control *c, uint32_t index, const struct resolver_result *result)
{
	const struct resolver_zone_result *z = &result->zone[index];
	static const char *const states[] = { "unasked", "clear", "listed", "error" };
	const struct resolver_stats *s = resolver_stats(c->resolver);
	json_t *answers = json_array(), *seen = json_array();
	char text[IP_ADDR_TEXT_MAX_OCTETS];

	for (unsigned i = 0; i < z->n_addrs; i++)
		json_array_append_new(answers, json_string(ip_addr_format(&z->addr[i], text)));
	for (uint32_t i = 0; i < result->n_seen; i++)
		if (result->seen[i].zone == index && result->seen[i].server < s->n_servers)
			json_array_append_new(seen, json_sprintf("%s (%s)", ip_addr_format(&result->seen[i].addr, text),
							    s->server[result->seen[i].server].name));
	return json_pack("{s:o, s:s, s:b, s:s, s:o, s:i, s:b, s:i, s:b, s:o}", "zone",
		api_string(c->config->zone[index].name), "asks", zone_asks(c, index), "listed",
		(int)(z->state == ZONE_LISTED), "state", states[z->state <= ZONE_ERROR ? z->state : 0], "answers",
		answers, "weight", (int)(z->state == ZONE_LISTED ? z->weight : 0), "error",
		(int)(z->state == ZONE_ERROR), "dns_ms", (int)z->dns_ms, "counts", (int)z->counts, "seen_as", seen);
}

/* The zones of a result that are asked about such a subject. */
static void
zones_add(struct dnsbl_test *t, const struct resolver_result *result, enum conf_zone_kind kind)
{
	for (uint32_t i = 0; i < result->n_zones && i < t->c->config->n_zones; i++)
		if (t->c->config->zone[i].kind == kind)
			json_array_append_new(t->zones, zone_json(t->c, i, result));
}

static void
dnsbl_tested(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct dnsbl_test *t = arg;
	struct client_judgement j = client_judge(&t->c->config->values.conf, &result->verdict);
	char text[IP_ADDR_TEXT_MAX_OCTETS];

	zones_add(t, result, ZONE_KIND_CLIENT);
	api_answer(t->r,
		json_pack("{s:s, s:s, s:o, s:i, s:i, s:s, s:b, s:o}", "client", ip_addr_format(client, text),
			"ptr_state", policy_ptr_name((enum ptr_state)result->verdict.ptr_state), "ptr",
			api_string(result->ptr), "score", (int)result->verdict.score, "dns_ms", (int)result->dns_ms,
			"effect", effect_name(j.effect), "complete", (int)result->complete, "zones", t->zones));
	free(t);
}

/* The lists of one kind have answered about a name. */
static void
name_tested(struct dnsbl_test *t, const struct resolver_result *result, enum conf_zone_kind kind)
{
	zones_add(t, result, kind);
	t->score += result->verdict.score;
	t->dns_ms = MAX(t->dns_ms, result->dns_ms);
	t->complete = t->complete && result->complete;
	if (--t->out > 0)
		return;
	api_answer(t->r, json_pack("{s:o, s:i, s:i, s:b, s:o}", "name", api_string(t->name), "score", t->score,
				 "dns_ms", (int)t->dns_ms, "complete", (int)t->complete, "zones", t->zones));
	free(t);
}

static void
name_tested_as_helo(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	(void)client;
	name_tested(arg, result, ZONE_KIND_HELO);
}

static void
name_tested_as_sender(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	(void)client;
	name_tested(arg, result, ZONE_KIND_SENDER);
}

static void
dnsbl_test(struct control *c, struct api_request *r, const json_t *args)
{
	const char *text = api_need(r, args, "client");
	char name[DNSBL_NAME_MAX_OCTETS + 1];
	struct dnsbl_test *t;
	struct ip_addr addr;
	bool is_addr;

	if (text == NULL)
		return;
	is_addr = ip_addr_parse(text, &addr) == 0;
	if (!is_addr && dnsbl_domain_askable(text, strlen(text), name) == 0) {
		api_error(r, "usage", "\"%.60s\" is neither an address nor a domain", text);
		return;
	}
	if (c->config->list[LIST_RESOLVERS].n == 0) {
		api_error(r, "unavailable", "dns.resolvers is empty: DNS is not asked");
		return;
	}
	t = malloc(sizeof(*t));
	BUG_ON(t == NULL);
	*t = (struct dnsbl_test){ .c = c, .r = r, .out = 2, .complete = true, .zones = json_array() };
	if (is_addr) {
		resolver_ask(c->resolver, &addr, TEST_DEADLINE_MS, true, dnsbl_tested, t);
		return;
	}
	snprintf(t->name, sizeof(t->name), "%s", name);
	resolver_ask_name(c->resolver, ZONE_KIND_HELO, name, false, TEST_DEADLINE_MS, true, name_tested_as_helo, t);
	resolver_ask_name(c->resolver, ZONE_KIND_SENDER, name, false, TEST_DEADLINE_MS, true, name_tested_as_sender, t);
}

static json_t *
servers_json(const struct resolver_stats *s)
{
	json_t *out = json_array();

	for (uint32_t i = 0; i < s->n_servers; i++) {
		const struct resolver_server_stats *v = &s->server[i];

		json_array_append_new(
			out, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:f}", "server", v->name, "state",
				     v->down        ? "down"
				     : v->inventing ? "invents"
						    : "up",
				     "asked", (json_int_t)v->questions, "answered", (json_int_t)v->answers, "failures",
				     (json_int_t)v->failures, "timeouts", (json_int_t)v->timeouts, "latency_ms",
				     v->answers > 0 ? (double)v->ms_total / (double)v->answers : 0.0));
	}
	return out;
}

static void
dnsbl_status(struct control *c, struct api_request *r, const json_t *args)
{
	const struct resolver_stats *s = resolver_stats(c->resolver);
	const uint64_t now_us = control_mono_us();
	json_t *zones = json_array(), *row;

	(void)args;
	for (uint32_t i = 0; i < c->config->n_zones; i++) {
		const struct zone_health *h = resolver_zone_health(c->resolver, i);
		const struct resolver_zone_stats *z = &s->zone[i];
		int lowest, highest;

		if (h == NULL)
			break;
		zone_weight_range(&c->config->zone[i], &lowest, &highest);
		row = json_pack("{s:o, s:s, s:i, s:i, s:b, s:I, s:I, s:I, s:I, s:f, s:i}", "zone",
			api_string(c->config->zone[i].name), "asks", zone_asks(c, i), "weight_min", lowest,
			"weight_max", highest, "decisive", (int)c->config->zone[i].spec.decisive, "asked",
			(json_int_t)z->asked, "answered", (json_int_t)z->answered, "listed", (json_int_t)z->listed,
			"errors", (json_int_t)z->errors, "latency_ms",
			z->answered > 0 ? (double)z->ms_total / (double)z->answered : 0.0, "latency_max_ms",
			(int)MIN(z->ms_max, 1000000u));
		json_object_set_new(row, "state",
			json_string(
				s->zones_off ? "off" : zone_standing_name(zone_health_standing(h, ZONE_V4, now_us))));
		json_object_set_new(row, "state6",
			json_string(
				s->zones_off ? "off" : zone_standing_name(zone_health_standing(h, ZONE_V6, now_us))));
		json_object_set_new(row, "good_clients",
			json_pack("{s:i, s:i}", "asked", (int)h->good_asked, "listed", (int)h->good_listed));
		json_array_append_new(zones, row);
	}
	api_answer(r, json_pack("{s:o, s:o, s:b, s:{s:i, s:I, s:I, s:I}}", "resolvers", servers_json(s), "zones", zones,
			      "zones_off", (int)s->zones_off, "cache", "clients", (int)s->cached, "hits",
			      (json_int_t)s->cache_hits, "asked", (json_int_t)s->clients, "answered_early",
			      (json_int_t)s->early));
}

/* The words of text but for name, and name at the end where add is wanted. False: no room. */
static bool
words_with(const char *text, const char *name, bool add, char *out, size_t room)
{
	size_t n = 0;

	out[0] = '\0';
	for (const char *p = text + strspn(text, " "); *p != '\0'; p += strcspn(p, " "), p += strspn(p, " ")) {
		const size_t len = strcspn(p, " ");

		if (len == strlen(name) && strncasecmp(p, name, len) == 0)
			continue;
		n += (size_t)snprintf(out + n, room - n, "%s%.*s", n > 0 ? " " : "", (int)len, p);
		if (n >= room)
			return false;
	}
	if (add)
		n += (size_t)snprintf(out + n, room - n, "%s%s", n > 0 ? " " : "", name);
	return n < room;
}

static void
zone_switch(struct control *c, struct api_request *r, const json_t *args, bool disable)
{
	const struct option_row *o = option_find("dnsbl.disabled");
	const char *text = api_need(r, args, "zone"), *name = NULL;
	char words[sizeof(c->config->values.dnsbl_disabled)], why[OPTION_ERROR_OCTETS];

	if (text == NULL)
		return;
	for (uint32_t i = 0; i < c->config->n_zones; i++)
		if (strcasecmp(c->config->zone[i].name, text) == 0)
			name = c->config->zone[i].name;
	if (name == NULL) {
		api_error(r, "not-found", "there is no zone %.80s; greylinectl dnsbl status lists them", text);
		return;
	}
	if (o == NULL || !words_with(c->config->values.dnsbl_disabled, name, disable, words, sizeof(words)) ||
		config_set(c->config, o, words, why) != 0) {
		api_error(r, "bad-value", "%.80s: dnsbl.disabled has no room", text);
		return;
	}
	if (control_questions_changed(c) != 0) {
		api_error(r, "unavailable", "the resolver cannot be set up");
		return;
	}
	api_answer(r, json_pack("{s:o, s:b, s:b}", "zone", api_string(name), "disabled", (int)disable, "kept",
			      (int)(store_option_put(
					    c->store, o->path, words, (uint64_t)(control_wall_us() / 1000000)) == 0)));
}

static void
dnsbl_disable(struct control *c, struct api_request *r, const json_t *args)
{
	zone_switch(c, r, args, true);
}

static void
dnsbl_enable(struct control *c, struct api_request *r, const json_t *args)
{
	zone_switch(c, r, args, false);
}

/* --- the cache */

struct cache_rows {
	json_t *rows;
	const struct ip_addr *only; /* NULL: all */
	struct control *c;
	uint32_t left;
};

static void
cache_row(void *arg, const struct dns_cached *e)
{
	struct cache_rows *x = arg;
	const int64_t left_us = (int64_t)(e->until_us - control_mono_us());
	char text[IP_ADDR_TEXT_MAX_OCTETS];

	if ((x->only != NULL && !ip_addr_equal(x->only, &e->client)) || x->left == 0)
		return;
	x->left--;
	json_array_append_new(x->rows,
		json_pack("{s:s, s:s, s:o, s:i, s:o, s:i, s:b}", "client", ip_addr_format(&e->client, text),
			"ptr_state", policy_ptr_name((enum ptr_state)e->verdict.ptr_state), "ptr", api_string(e->text),
			"score", (int)e->verdict.score, "zone",
			api_string(e->verdict.zone < x->c->config->n_zones ? x->c->config->zone[e->verdict.zone].name
									   : ""),
			"ttl_s", (int)(MAX(left_us, (int64_t)0) / 1000000), "complete", (int)e->complete));
}

/* The optional client; false: answered. */
static bool
client_take(struct api_request *r, const json_t *args, struct ip_addr *addr, bool *given)
{
	const char *text = api_text(args, "client");

	*given = text != NULL;
	if (text == NULL || ip_addr_parse(text, addr) == 0)
		return true;
	api_error(r, "usage", "\"%.60s\" is not an address", text);
	return false;
}

static void
api_dns_cache_show(struct control *c, struct api_request *r, const json_t *args)
{
	const uint32_t limit = (uint32_t)MIN(MAX(api_number(args, "limit", 100), (int64_t)1), (int64_t)10000);
	struct ip_addr addr;
	bool given;
	struct cache_rows x = { .c = c, .left = limit };

	if (!client_take(r, args, &addr, &given))
		return;
	x.only = given ? &addr : NULL;
	x.rows = json_array();
	resolver_cache_each(c->resolver, given ? UINT32_MAX : limit, cache_row, &x);
	if (given && json_array_size(x.rows) == 0) {
		json_decref(x.rows);
		api_error(r, "not-found", "nothing is cached of %.60s", api_text(args, "client"));
		return;
	}
	api_answer(r, json_pack("{s:o, s:i}", "entries", x.rows, "cached", (int)resolver_stats(c->resolver)->cached));
}

static void
api_dns_cache_flush(struct control *c, struct api_request *r, const json_t *args)
{
	int removed = (int)resolver_stats(c->resolver)->cached;
	struct ip_addr addr;
	bool given;

	if (!client_take(r, args, &addr, &given))
		return;
	if (given)
		removed = resolver_forget(c->resolver, &addr);
	else
		resolver_flush(c->resolver);
	if (given && removed == 0)
		api_error(r, "not-found", "nothing is cached of %.60s", api_text(args, "client"));
	else
		api_answer(r, json_pack("{s:i}", "removed", removed));
}

const struct api_command api_commands_explain[] = {
	{ "explain", explain, "client helo from rcpt listener" },
	{ "why", why, "ref" },
	{ "dnsbl test", dnsbl_test, "client" },
	{ "dnsbl status", dnsbl_status, "" },
	{ "dnsbl disable", dnsbl_disable, "zone" },
	{ "dnsbl enable", dnsbl_enable, "zone" },
	{ "dns cache show", api_dns_cache_show, "client limit" },
	{ "dns cache flush", api_dns_cache_flush, "client" },
	{ 0 },
};
