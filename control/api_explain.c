/*
 * api_explain.c - explain, why, dnsbl test, dnsbl status.
 *
 * Flow:   explain: table, else DNS -> policy_rcpt() dry, with a trace;  why: record of the greylist, else the table of rejects
 * Touches: DNS; writes nothing but what DNS said.
 * Keeps:  explain decides by the code and the octets of the snapshot the data plane decides by.
 */
#include <stdlib.h>
#include <string.h>

#include "control/api.h"
#include "control/api_client.h"
#include "control/api_grey.h"
#include "control/control.h"
#include "dataplane/base/bug.h"
#include "dataplane/policy/client.h"

struct explain {
	struct control *c;
	struct api_request *r;
	struct policy_question q;
	char helo[256], from[512], rcpt[512], ptr[256];
	json_t *steps;
	bool asked_dns;
};

static void
trace(void *arg, enum policy_rule rule, bool matched, const char *detail)
{
	struct explain *x = arg;

	json_array_append_new(x->steps, json_pack("{s:i, s:s, s:b, s:o}", "rule", (int)rule, "name", policy_rule_name(rule), "matched", (int)matched,
		"detail", api_string(detail != NULL ? detail : "")));
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
	out = json_pack("{s:s, s:s, s:i, s:s, s:i, s:s, s:o, s:s, s:I, s:I, s:i}", "verdict", policy_verdict_name(a.verdict), "would",
		policy_verdict_name(a.would), "rule", (int)a.rule, "rule_name", policy_rule_name(a.rule), "code", (int)a.code, "enhanced", a.enhanced,
		"text", api_string(a.text), "reason", a.reason != NULL ? a.reason : "", "wait_s", (json_int_t)a.wait_s, "waited_s", (json_int_t)a.waited_s,
		"score", (int)a.score);
	json_object_set_new(out, "ref", json_string(a.ref != 0 ? policy_ref_format(a.ref, ref) : ""));
	json_object_set_new(out, "mode", json_string(modes[c->config->values.conf.mode <= MODE_ENFORCE ? c->config->values.conf.mode : MODE_ENFORCE]));
	json_object_set_new(out, "listener", json_string(x->q.listener < c->config->n_listeners ? c->config->listener[x->q.listener].name : ""));
	json_object_set_new(out, "client", verdict_json(c, &x->q.verdict, x->ptr));
	json_object_set_new(out, "asked_dns", json_boolean(x->asked_dns));
	json_object_set_new(out, "steps", x->steps);
	api_answer(x->r, out);
	free(x);
}

static void
explain_dns(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct explain *x = arg;

	(void)client;
	x->q.verdict = result->verdict;
	x->q.verdict.time_s = control_now_s(x->c);
	snprintf(x->ptr, sizeof(x->ptr), "%s", result->ptr);
	explain_finish(x);
}

/* The listener by name; the first mx without one. False: answered. */
static bool
listener_take(struct control *c, struct api_request *r, const json_t *args, uint32_t *out)
{
	const char *name = api_text(args, "listener");

	for (uint32_t i = 0; i < c->config->n_listeners; i++)
		if (name != NULL ? strcmp(c->config->listener[i].name, name) == 0 : c->config->listener[i].role == ROLE_MX) {
			*out = i;
			return true;
		}
	api_error(r, name != NULL ? "not-found" : "unavailable", "there is no listener %s", name != NULL ? name : "of role mx");
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
	resolver_ask(c->resolver, &addr, c->config->values.conf.dns_deadline_ms, false, explain_dns, x);
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
		out = json_pack("{s:s, s:s, s:I, s:s, s:s, s:i, s:s, s:i, s:i}", "kind", "reject", "ref", policy_ref_format(ref, ref_text), "at",
			(json_int_t)w.wall_s, "client", ip_addr_format(&addr, addr_text), "verdict", policy_verdict_name((enum verdict)w.verdict), "rule", (int)w.rule,
			"rule_name", policy_rule_name((enum policy_rule)w.rule), "score", (int)w.score, "code", (int)w.code);
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
	if (c->attached && grey_tag_by_ref(c, ref, &tag) && verdict_table_find(&c->segment.table, tag, &e) && vt_kind(&e) == VT_TRIPLET) {
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

static json_t *
zone_json(struct control *c, uint32_t index, const struct resolver_zone_result *z)
{
	static const char *const states[] = { "unasked", "clear", "listed", "error" };
	json_t *answers = json_array();
	char text[IP_ADDR_TEXT_MAX_OCTETS];

	for (unsigned i = 0; i < z->n_addrs; i++)
		json_array_append_new(answers, json_string(ip_addr_format(&z->addr[i], text)));
	return json_pack("{s:o, s:b, s:s, s:o, s:i, s:b, s:i}", "zone", api_string(c->config->zone[index].name), "listed", (int)(z->state == ZONE_LISTED),
		"state", states[z->state <= ZONE_ERROR ? z->state : 0], "answers", answers, "weight", (int)(z->state == ZONE_LISTED ? z->weight : 0), "error",
		(int)(z->state == ZONE_ERROR), "dns_ms", (int)z->dns_ms);
}

static void
dnsbl_tested(void *arg, const struct ip_addr *client, const struct resolver_result *result)
{
	struct dnsbl_test *t = arg;
	struct control *c = t->c;
	struct client_judgement j = client_judge(&c->config->values.conf, &result->verdict);
	json_t *zones = json_array(), *out;
	char text[IP_ADDR_TEXT_MAX_OCTETS];

	for (uint32_t i = 0; i < result->n_zones && i < c->config->n_zones; i++)
		json_array_append_new(zones, zone_json(c, i, &result->zone[i]));
	out = json_pack("{s:s, s:s, s:o, s:i, s:i, s:s, s:b, s:o}", "client", ip_addr_format(client, text), "ptr_state",
		policy_ptr_name((enum ptr_state)result->verdict.ptr_state), "ptr", api_string(result->ptr), "score", (int)result->verdict.score, "dns_ms",
		(int)result->dns_ms, "effect", effect_name(j.effect), "complete", (int)result->complete, "zones", zones);
	api_answer(t->r, out);
	free(t);
}

static void
dnsbl_test(struct control *c, struct api_request *r, const json_t *args)
{
	const char *text = api_need(r, args, "client");
	struct dnsbl_test *t;
	struct ip_addr addr;

	if (text == NULL)
		return;
	if (ip_addr_parse(text, &addr) != 0) {
		api_error(r, "usage", "\"%.60s\" is not an address", text);
		return;
	}
	if (c->config->list[LIST_RESOLVERS].n == 0) {
		api_error(r, "unavailable", "dns.resolvers is empty: DNS is not asked");
		return;
	}
	t = malloc(sizeof(*t));
	BUG_ON(t == NULL);
	*t = (struct dnsbl_test){ c, r };
	resolver_ask(c->resolver, &addr, 10000, true, dnsbl_tested, t);
}

static void
dnsbl_status(struct control *c, struct api_request *r, const json_t *args)
{
	const struct resolver_stats *s = resolver_stats(c->resolver);
	json_t *zones = json_array(), *resolvers = json_array();

	(void)args;
	for (uint32_t i = 0; i < c->config->list[LIST_RESOLVERS].n; i++)
		json_array_append_new(resolvers, json_pack("{s:o, s:s}", "server", api_string(c->config->list[LIST_RESOLVERS].v[i].text), "state",
			s->down ? "down" : "up"));
	for (uint32_t i = 0; i < c->config->n_zones; i++) {
		const struct resolver_zone_stats *z = &s->zone[i];
		int lowest, highest;

		zone_weight_range(&c->config->zone[i], &lowest, &highest);
		json_array_append_new(zones, json_pack("{s:o, s:i, s:i, s:b, s:I, s:I, s:I, s:f, s:s}", "zone", api_string(c->config->zone[i].name), "weight_min",
			lowest, "weight_max", highest, "decisive", (int)c->config->zone[i].spec.decisive, "asked", (json_int_t)z->asked, "listed",
			(json_int_t)z->listed, "errors", (json_int_t)z->errors, "latency_ms", z->asked > 0 ? (double)z->ms_total / (double)z->asked : 0.0, "state",
			z->asked > 8 && z->errors * 2 > z->asked ? "failing" : "active"));
	}
	api_answer(r, json_pack("{s:o, s:o, s:{s:i, s:I, s:I}}", "resolvers", resolvers, "zones", zones, "cache", "clients", (int)s->cached, "hits",
		(json_int_t)s->cache_hits, "asked", (json_int_t)s->clients));
}

const struct api_command api_commands_explain[] = {
	{ "explain", explain, "client helo from rcpt listener" }, { "why", why, "ref" }, { "dnsbl test", dnsbl_test, "client" },
	{ "dnsbl status", dnsbl_status, "" }, { 0 },
};
