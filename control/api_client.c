/*
 * api_client.c - client show, list, allow, deny, forget.
 *
 * Flow:   api.c -> records of the table, lists of the snapshot, operator's entries of the database
 * Touches: the table, the database, the snapshot.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/api.h"
#include "control/api_client.h"
#include "control/compile.h"
#include "control/control.h"
#include "dataplane/base/bug.h"
#include "dataplane/table/name_set.h"

static const char *
known_name(uint8_t known)
{
	static const char *const names[] = { "unasked", "asked", "known", "late" };

	return known < ARRAY_LEN(names) ? names[known] : "?";
}

json_t *
verdict_json(struct control *c, const struct client_verdict *v, const char *ptr)
{
	const uint32_t now_s = control_now_s(c);
	static const char *const lists[] = { "none", "allow", "deny", "big-sender" };
	json_t *out = json_pack("{s:s, s:s, s:i, s:s}", "known", known_name(v->known), "ptr_state",
		policy_ptr_name((enum ptr_state)v->ptr_state), "score", (int)v->score, "name_list",
		lists[v->name_list <= NAME_LIST_BIG_SENDER ? v->name_list : 0]);

	if (ptr != NULL)
		json_object_set_new(out, "ptr", api_string(ptr));
	if (v->zone < c->config->n_zones)
		json_object_set_new(out, "zone", api_string(c->config->zone[v->zone].name));
	if (v->known == CLIENT_KNOWN && v->time_s != 0)
		json_object_set_new(out, "age_s", json_integer(now_s > v->time_s ? now_s - v->time_s : 0));
	return out;
}

json_t *
handshakes_json(struct control *c, const struct ip_addr *client, uint32_t listener)
{
	static const char *const names[] = { "none known", "failed once", "failed twice", "completed" };
	const struct conf *conf = &c->config->values.conf;
	const uint32_t now_s = control_now_s(c);
	const char *hidden = "no";
	struct policy_ctx ctx;
	struct handshake h;
	json_t *out;

	control_policy_ctx(c, &ctx);
	h = policy_tls_state(&ctx, client, now_s);
	if (h.state == HANDSHAKE_HIDDEN && conf->tls_hide_after_failures != 0 &&
		(listener == LISTENER_ANY || c->config->listener[listener].tls == LISTENER_TLS_MAY))
		hidden = conf->mode == MODE_OBSERVE ? "would" : "yes";
	out = json_pack("{s:s, s:s}", "hidden", hidden, "handshakes", names[h.state]);
	if (h.state != HANDSHAKE_NONE) {
		json_object_set_new(out, "at", json_integer((json_int_t)control_wall_of(c, now_s - h.since_s)));
		json_object_set_new(out, "left_s", json_integer(h.left_s));
	}
	return out;
}

static void
list_entry(struct control *c, json_t *out, const char *list, const void *table, const struct ip_addr *addr)
{
	struct prefix_entry e;
	char text[IP_ADDR_TEXT_MAX_OCTETS + 8];
	uint32_t source;

	if (table == NULL || !prefix_table_find(table, addr, &e))
		return;
	source = e.value >> 24;
	json_array_append_new(
		out, json_pack("{s:s, s:s, s:o, s:i}", "list", list, "network", prefix_format(&e, text), "source",
			     source == COMPILE_SOURCE_OPERATOR ? json_string("operator")
			     : source < c->config->n_sources   ? api_string(c->config->source[source])
							       : json_string("?"),
			     "line", (int)(e.value & 0xffffff)));
}

static void
trap_json(struct control *c, json_t *out, const char *name, uint64_t tag)
{
	struct vt_entry e;
	uint32_t left_s = 0;

	if (verdict_table_find(&c->segment.table, tag, &e) && vt_kind(&e) == VT_TRAP &&
		policy_trap_is_active(&c->config->values.conf, &e, control_now_s(c), &left_s))
		json_object_set_new(out, name, json_pack("{s:I}", "left_s", (json_int_t)left_s));
}

struct count_triplets {
	struct control *c;
	struct ip_addr network;
	uint32_t grey, white;
};

static bool
count_one(void *arg, const struct store_name *name)
{
	struct count_triplets *t = arg;
	struct vt_entry e;

	if (ip_addr_equal(&name->network, &t->network) && verdict_table_find(&t->c->segment.table, name->tag, &e) &&
		vt_kind(&e) == VT_TRIPLET) {
		t->grey += vt_state(&e) != VT_WHITE;
		t->white += vt_state(&e) == VT_WHITE;
	}
	return true;
}

static json_t *
source_state_json(
	const struct control *c, const struct ip_addr *addr, bool is_network, const struct source_limits *limits)
{
	const struct source_table *t = &c->segment.sources;
	const struct source_state s = source_table_look(t, source_key_of(t, addr, is_network), segment_boot_us());
	const uint64_t price_us = limits->per_min != 0 ? SOURCE_RATE_PERIOD_US / limits->per_min : 0;

	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:s}", "sessions", (int)s.sessions, "sessions_limit",
		(int)limits->sessions, "rate", price_us != 0 ? (int)((s.owed_us + price_us - 1) / price_us) : 0,
		"rate_limit", (int)limits->per_min, "refused", (int)s.refused, "over",
		source_judge(&s, limits) == SOURCE_OVER_SESSIONS ? "sessions"
		: source_judge(&s, limits) == SOURCE_OVER_RATE   ? "rate"
								 : "nothing");
}

json_t *
source_json(struct control *c, const struct ip_addr *addr)
{
	const struct conf *conf = &c->config->values.conf;
	const struct ip_addr network = policy_client_network(addr);
	const struct source_limits of_address = { conf->client_sessions_max, conf->limits_client_rate };
	const struct source_limits of_network = { conf->client_network_sessions_max, conf->limits_network_rate };
	struct policy_ctx ctx;

	control_policy_ctx(c, &ctx);
	return json_pack("{s:b, s:o, s:o}", "stranger", (int)policy_is_stranger(&ctx, addr, control_now_s(c)),
		"address", source_state_json(c, addr, false, &of_address), "network",
		source_state_json(c, &network, true, &of_network));
}

#define CLIENT_SCAN_MAX 200000u

static void
client_show(struct control *c, struct api_request *r, const json_t *args)
{
	const char *text = api_need(r, args, "client");
	struct count_triplets t = { .c = c };
	json_t *out, *lists;
	struct ip_addr addr;
	struct prefix_entry p;
	struct vt_entry e;

	if (text == NULL)
		return;
	if (ip_addr_parse(text, &addr) != 0) {
		if (prefix_parse(text, &p) != 0) {
			api_error(r, "usage", "\"%.60s\" is not an address", text);
			return;
		}
		addr = p.addr;
	}
	if (!c->attached) {
		api_error(r, "unavailable", "there is no segment");
		return;
	}
	out = json_pack("{s:s, s:o}", "client", text, "source", source_json(c, &addr));
	if (verdict_table_find(&c->segment.table, policy_client_tag(&c->segment.table, &addr), &e) &&
		vt_kind(&e) == VT_CLIENT) {
		struct client_verdict v = policy_client_decode(&e);

		json_object_set_new(out, "verdict", verdict_json(c, &v, NULL));
	} else {
		json_object_set_new(out, "verdict", json_pack("{s:s}", "known", "unasked"));
	}
	if (verdict_table_find(&c->segment.table, policy_auto_tag(&c->segment.table, &addr), &e) &&
		vt_kind(&e) == VT_AUTO)
		json_object_set_new(out, "auto",
			json_pack("{s:i, s:I}", "count", (int)VT_AUTO_COUNT(&e), "at",
				(json_int_t)control_wall_of(c, e.time_s)));
	json_object_set_new(out, "starttls", handshakes_json(c, &addr, LISTENER_ANY));
	trap_json(c, out, "trap", policy_trap_tag(&c->segment.table, &addr));
	trap_json(c, out, "trap_network", policy_trap_network_tag(&c->segment.table, &addr));
	lists = json_array();
	if (c->mapped) {
		list_entry(c, lists, "allow", c->snapshot.client_allow, &addr);
		list_entry(c, lists, "deny", c->snapshot.client_deny, &addr);
	}
	json_object_set_new(out, "lists", lists);
	t.network = policy_client_network(&addr);
	store_names(c->store, VT_TRIPLET, 0, CLIENT_SCAN_MAX, count_one, &t);
	json_object_set_new(out, "triplets", json_pack("{s:i, s:i}", "grey", (int)t.grey, "white", (int)t.white));
	api_answer(r, out);
}

static void
client_row(void *arg, const char *key, char list, const char *note, uint64_t wall_s)
{
	if (json_array_size(arg) < 10000)
		json_array_append_new(arg,
			json_pack("{s:o, s:s, s:I, s:o}", "network", api_string(key), "list",
				list == 'a' ? "allow" : "deny", "at", (json_int_t)wall_s, "note", api_string(note)));
}

static void
client_list(struct control *c, struct api_request *r, const json_t *args)
{
	json_t *rows = json_array();

	(void)args;
	store_clients(c->store, client_row, rows);
	api_answer(r, json_pack("{s:o}", "entries", rows));
}

struct listed {
	struct api_request *r;
	json_t *result;
};

static void
confirmed(void *arg, bool all)
{
	struct listed *l = arg;

	json_object_set_new(l->result, "confirmed", json_boolean(all));
	api_answer(l->r, l->result);
	free(l);
}

static void
confirm(struct control *c, struct api_request *r, json_t *result)
{
	struct listed *l = malloc(sizeof(*l));

	BUG_ON(l == NULL);
	*l = (struct listed){ r, result };
	json_object_set_new(result, "generation", json_integer((json_int_t)c->generation));
	control_confirm(c, confirmed, l);
}

static void
client_put(struct control *c, struct api_request *r, const json_t *args, char list)
{
	const char *text = api_need(r, args, "client"), *note = api_text(args, "note");
	char why[OPTION_ERROR_OCTETS];
	int error;

	if (text == NULL)
		return;
	error = control_client_put(c, text, list, note != NULL ? note : "", why);
	if (error == 0)
		confirm(c, r,
			json_pack("{s:o, s:s}", "network", api_string(text), "list", list == 'a' ? "allow" : "deny"));
	else
		api_error(r, error == -EINVAL ? "bad-value" : "unavailable", "%s", why);
}

static void
client_allow(struct control *c, struct api_request *r, const json_t *args)
{
	client_put(c, r, args, 'a');
}

static void
client_deny(struct control *c, struct api_request *r, const json_t *args)
{
	client_put(c, r, args, 'd');
}

static void
client_forget(struct control *c, struct api_request *r, const json_t *args)
{
	const char *text = api_need(r, args, "client");
	struct policy_ctx ctx;
	struct prefix_entry p;
	struct ip_addr addr;
	uint32_t removed = 0;

	if (text == NULL)
		return;
	if (control_client_remove(c, text) == 0)
		removed++;
	if (c->attached && (ip_addr_parse(text, &addr) == 0 || prefix_parse(text, &p) == 0)) {
		if (ip_addr_parse(text, &addr) != 0)
			addr = p.addr;
		control_policy_ctx(c, &ctx);
		store_entry_remove(c->store, VT_CLIENT, policy_client_tag(&c->segment.table, &addr));
		store_entry_remove(c->store, VT_AUTO, policy_auto_tag(&c->segment.table, &addr));
		store_entry_remove(c->store, VT_TRAP, policy_trap_tag(&c->segment.table, &addr));
		store_entry_remove(c->store, VT_TRAP, policy_trap_network_tag(&c->segment.table, &addr));
		if (policy_tls_state(&ctx, &addr, control_now_s(c)).state !=
			HANDSHAKE_GOOD) /* as policy_client_forget() */
			store_entry_remove(c->store, VT_TLS, policy_tls_tag(&c->segment.table, &addr));
		removed += policy_client_forget(&ctx, &addr);
		resolver_forget(c->resolver, &addr);
	}
	if (removed == 0)
		api_error(r, "not-found", "nothing is known of %.80s", text);
	else
		confirm(c, r, json_pack("{s:i}", "removed", (int)removed));
}

const struct api_command api_commands_client[] = {
	{ "client show", client_show, "client" },
	{ "client list", client_list, "" },
	{ "client allow", client_allow, "client note" },
	{ "client deny", client_deny, "client note" },
	{ "client forget", client_forget, "client" },
	{ 0 },
};
