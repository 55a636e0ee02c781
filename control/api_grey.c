/*
 * api_grey.c - grey list, show, pass, del.
 *
 * Flow:   api.c -> names of the database, records of the live table -> answer
 * Touches: the table and the database.
 * Keeps:  what is shown is the live record; one that is gone is not listed, whatever the names say. A list looks at GREY_SCAN_MAX names
 *         at most and says where to go on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "control/api.h"
#include "control/api_grey.h"
#include "control/control.h"
#include "dataplane/base/bug.h"
#include "dataplane/policy/grey.h"
#include "dataplane/policy/triplet.h"

#define GREY_SCAN_MAX  200000u
#define GREY_LIMIT_MAX 10000

static struct grey_conf
grey_conf_now(const struct control *c)
{
	const struct conf *conf = &c->config->values.conf;

	return (struct grey_conf){ .block_s = conf->grey_block_s,
		.pass_s = conf->grey_pass_s,
		.expire_s = conf->grey_expire_s,
		.lapse_memory_s = conf->grey_lapse_memory_s,
		.window_max_s = conf->grey_window_max_s };
}

static const char *
state_of(const struct grey_conf *conf, const struct grey_record *rec, uint32_t now_s)
{
	if (rec->state == GREY_WHITE)
		return "white";
	return now_s > rec->time_s && now_s - rec->time_s >= grey_window_s(conf, rec->lapsed) ? "lapsed" : "grey";
}

json_t *
grey_json(struct control *c, const struct vt_entry *e, const struct store_name *name)
{
	const struct grey_conf conf = grey_conf_now(c);
	const struct grey_record rec = grey_load(e);
	const uint32_t now_s = control_now_s(c), age_s = now_s > rec.time_s ? now_s - rec.time_s : 0;
	struct grey_record copy = rec;
	char ref[9], text[IP_ADDR_TEXT_MAX_OCTETS + 8];
	json_t *out = json_pack("{s:s, s:s, s:i}", "ref", policy_ref_format(policy_ref_of_tag(e->tag), ref), "state",
		state_of(&conf, &rec, now_s), "lapsed", (int)rec.lapsed);

	if (name != NULL) {
		struct prefix_entry p = { .addr = name->network, .bits = ip_addr_is_v4(&name->network) ? 120 : 64 };

		json_object_set_new(out, "network", json_string(prefix_format(&p, text)));
		json_object_set_new(out, "sender", api_string(name->sender));
		json_object_set_new(out, "recipient", api_string(name->rcpt));
	}
	if (rec.state == GREY_WHITE) {
		json_object_set_new(out, "last_at", json_integer(control_wall_of(c, rec.time_s)));
		json_object_set_new(
			out, "expires_in_s", json_integer(age_s < conf.expire_s ? conf.expire_s - age_s : 0));
	} else {
		const uint32_t window_s = grey_window_s(&conf, rec.lapsed);
		const struct grey_answer a = grey_decide(&conf, &copy, now_s);

		json_object_set_new(out, "first_at", json_integer(control_wall_of(c, rec.time_s)));
		json_object_set_new(out, "wait_s", json_integer(age_s >= window_s ? 0 : (json_int_t)a.wait_s));
		json_object_set_new(out, "expires_in_s", json_integer(age_s < window_s ? window_s - age_s : 0));
	}
	return out;
}

/* --- the list */

struct grey_filter {
	const char *sender, *rcpt, *state;
	bool by_network;
	struct prefix_entry network;
};

struct listing {
	struct control *c;
	struct grey_filter filter;
	json_t *out;    /* NULL: delete */
	uint64_t *tags; /* to delete */
	uint32_t n, limit;
	uint64_t last_tag;
};

static bool
filter_matches(const struct grey_filter *f, const struct store_name *name)
{
	if (f->sender != NULL && strcasestr(name->sender, f->sender) == NULL)
		return false;
	if (f->rcpt != NULL && strcasestr(name->rcpt, f->rcpt) == NULL)
		return false;
	if (f->by_network) {
		struct ip_addr a =
			ip_addr_mask(&name->network, MIN(f->network.bits, ip_addr_is_v4(&name->network) ? 120u : 64u));
		struct ip_addr b = ip_addr_mask(
			&f->network.addr, MIN(f->network.bits, ip_addr_is_v4(&name->network) ? 120u : 64u));

		if (!ip_addr_equal(&a, &b))
			return false;
	}
	return true;
}

static bool
list_one(void *arg, const struct store_name *name)
{
	struct listing *l = arg;
	const struct grey_conf conf = grey_conf_now(l->c);
	struct grey_record rec;
	struct vt_entry e;

	l->last_tag = name->tag;
	if (!filter_matches(&l->filter, name) || !verdict_table_find(&l->c->segment.table, name->tag, &e) ||
		vt_kind(&e) != VT_TRIPLET)
		return true;
	rec = grey_load(&e);
	if (l->filter.state != NULL && strcmp(l->filter.state, state_of(&conf, &rec, control_now_s(l->c))) != 0)
		return true;
	if (l->out != NULL)
		json_array_append_new(l->out, grey_json(l->c, &e, name));
	else
		l->tags[l->n] = name->tag;
	return ++l->n < l->limit;
}

/* A sender or recipient as the key has it, so that what the operator writes finds what was normalised. */
static bool
filter_take(struct api_request *r, const json_t *args, struct grey_filter *f)
{
	const char *network = api_text(args, "network");
	struct ip_addr addr;

	*f = (struct grey_filter){ .sender = api_text(args, "sender"),
		.rcpt = api_text(args, "recipient"),
		.state = api_text(args, "state") };
	if (f->state != NULL && strcmp(f->state, "grey") != 0 && strcmp(f->state, "white") != 0 &&
		strcmp(f->state, "lapsed") != 0) {
		api_error(r, "usage", "state is grey, white or lapsed");
		return false;
	}
	if (network == NULL)
		return true;
	f->by_network = true;
	if (ip_addr_parse(network, &addr) == 0) {
		f->network = (struct prefix_entry){ .addr = addr, .bits = 128 };
		return true;
	}
	if (prefix_parse(network, &f->network) != 0) {
		api_error(r, "usage", "network: \"%.60s\" is not a network", network);
		return false;
	}
	return true;
}

static void
grey_list(struct control *c, struct api_request *r, const json_t *args)
{
	struct listing l = { .c = c,
		.limit = (uint32_t)MIN(MAX(api_number(args, "limit", 100), (int64_t)1), (int64_t)GREY_LIMIT_MAX) };
	const char *after = api_text(args, "after");
	json_t *result;
	char text[24];
	int more;

	if (!c->attached) {
		api_error(r, "unavailable", "there is no segment");
		return;
	}
	if (!filter_take(r, args, &l.filter))
		return;
	l.out = json_array();
	l.last_tag = after != NULL ? strtoull(after, NULL, 16) : 0;
	more = store_names(c->store, VT_TRIPLET, l.last_tag, GREY_SCAN_MAX, list_one, &l);
	if (more < 0 && more != -ENOENT) {
		json_decref(l.out);
		api_error(r, "unavailable", "the database cannot be read: names are not known");
		return;
	}
	result = json_pack("{s:o, s:b}", "entries", l.out, "more", more == 1 || l.n == l.limit);
	if (more == 1 || l.n == l.limit) {
		snprintf(text, sizeof(text), "%016llx", (unsigned long long)l.last_tag);
		json_object_set_new(result, "after", json_string(text));
	}
	api_answer(r, result);
}

/* --- one record */

/* The tag a request means: by ref, or by client, sender and recipient. False: answered with an error. */
static bool
tag_take(struct control *c, struct api_request *r, const json_t *args, uint64_t *tag, bool *by_triplet)
{
	const char *text = api_text(args, "ref"), *client, *sender, *rcpt;
	struct ip_addr addr;
	uint64_t ref;

	*by_triplet = text == NULL;
	if (!c->attached) {
		api_error(r, "unavailable", "there is no segment");
		return false;
	}
	if (text != NULL) {
		if (policy_ref_parse(text, &ref) != 0) {
			api_error(r, "not-found", "\"%.40s\" is no reference", text);
			return false;
		}
		if (!grey_tag_by_ref(c, ref, tag)) {
			api_error(r, "not-found", "no record has the reference %.40s", text);
			return false;
		}
		return true;
	}
	client = api_need(r, args, "client");
	sender = client != NULL ? api_need(r, args, "sender") : NULL;
	rcpt = sender != NULL ? api_need(r, args, "recipient") : NULL;
	if (rcpt == NULL)
		return false;
	if (ip_addr_parse(client, &addr) != 0) {
		struct prefix_entry e;

		if (prefix_parse(client, &e) != 0) {
			api_error(r, "usage", "client: \"%.60s\" is not an address", client);
			return false;
		}
		addr = e.addr;
	}
	*tag = policy_triplet_tag(&c->segment.table, &addr, strcmp(sender, "<>") == 0 ? "" : sender, rcpt);
	return true;
}

bool
grey_tag_by_ref(struct control *c, uint64_t ref, uint64_t *tag)
{
	struct vt_entry e[4];

	if (store_entry_by_ref(c->store, VT_TRIPLET, ref, tag) == 0)
		return true;
	/* not in the database, or it cannot be read: the tags of the live table are looked through */
	for (uint32_t b = 0; b < c->segment.table.n_buckets; b++) {
		verdict_table_read_bucket(&c->segment.table, b, e);
		for (unsigned i = 0; i < 4; i++)
			if (vt_kind(&e[i]) == VT_TRIPLET && policy_ref_of_tag(e[i].tag) == ref) {
				*tag = e[i].tag;
				return true;
			}
	}
	return false;
}

static bool
entry_need(struct control *c, struct api_request *r, uint64_t tag, struct vt_entry *e)
{
	if (verdict_table_find(&c->segment.table, tag, e) && vt_kind(e) == VT_TRIPLET)
		return true;
	api_error(r, "not-found", "there is no such record");
	return false;
}

static void
entry_answer(struct control *c, struct api_request *r, const struct vt_entry *e)
{
	struct store_name name;

	api_answer(r, grey_json(c, e, store_name(c->store, VT_TRIPLET, e->tag, &name) == 0 ? &name : NULL));
}

static void
grey_show(struct control *c, struct api_request *r, const json_t *args)
{
	struct vt_entry e;
	bool by_triplet;
	uint64_t tag;

	if (tag_take(c, r, args, &tag, &by_triplet) && entry_need(c, r, tag, &e))
		entry_answer(c, r, &e);
}

static void
grey_pass(struct control *c, struct api_request *r, const json_t *args)
{
	const uint32_t now_s = control_now_s(c);
	struct vt_entry old, want;
	struct vt_ages ages;
	bool by_triplet, found;
	uint64_t tag;

	if (!tag_take(c, r, args, &tag, &by_triplet))
		return;
	ages = policy_ages(&c->config->values.conf, now_s);
	for (unsigned i = 0; i < 8; i++) {
		const struct grey_record white = { .state = GREY_WHITE, .time_s = now_s };

		found = verdict_table_find(&c->segment.table, tag, &old) && vt_kind(&old) == VT_TRIPLET;
		if (!found && !by_triplet) {
			api_error(r, "not-found", "there is no such record");
			return;
		}
		want = grey_store(&white, tag);
		switch (verdict_table_put(&c->segment.table, found ? &old : NULL, &want, &ages, NULL)) {
		case VT_PUT_DONE:
			if (by_triplet) { /* the operator may let in who was never here: the name is his */
				char sender[TRIPLET_PATH_MAX_OCTETS + 1], rcpt[TRIPLET_PATH_MAX_OCTETS + 1];
				struct ip_addr addr, network;
				struct prefix_entry e;

				triplet_normalise_sender(
					strcmp(api_text(args, "sender"), "<>") == 0 ? "" : api_text(args, "sender"),
					sender);
				triplet_normalise_rcpt(api_text(args, "recipient"), rcpt);
				if (ip_addr_parse(api_text(args, "client"), &addr) != 0 &&
					prefix_parse(api_text(args, "client"), &e) == 0)
					addr = e.addr;
				network = policy_client_network(&addr);
				store_name_add(c->store, VT_TRIPLET, tag, &network, now_s, sender,
					(uint32_t)strlen(sender), rcpt, (uint32_t)strlen(rcpt));
			}
			entry_answer(c, r, &want);
			return;
		case VT_PUT_FULL:
			api_error(r, "unavailable", "the table is full");
			return;
		case VT_PUT_RACED:
			break;
		}
	}
	api_error(r, "unavailable", "the record keeps changing; once more");
}

static void
grey_del(struct control *c, struct api_request *r, const json_t *args)
{
	struct listing l = { .c = c, .limit = GREY_LIMIT_MAX };
	bool by_triplet;
	struct vt_entry e;
	uint64_t tag;

	if (api_text(args, "ref") != NULL || api_text(args, "client") != NULL) {
		if (!tag_take(c, r, args, &tag, &by_triplet) || !entry_need(c, r, tag, &e))
			return;
		api_answer(r, json_pack("{s:i}", "deleted", (int)control_entry_remove(c, VT_TRIPLET, tag)));
		return;
	}
	if (!c->attached) {
		api_error(r, "unavailable", "there is no segment");
		return;
	}
	if (!filter_take(r, args, &l.filter))
		return;
	if (l.filter.sender == NULL && l.filter.rcpt == NULL && l.filter.state == NULL && !l.filter.by_network) {
		api_error(r, "usage", "what to delete: ref; or client, sender and recipient; or a filter");
		return;
	}
	l.tags = calloc(GREY_LIMIT_MAX, sizeof(*l.tags));
	BUG_ON(l.tags == NULL);
	store_names(c->store, VT_TRIPLET, 0, GREY_SCAN_MAX, list_one, &l);
	for (uint32_t i = 0; i < l.n; i++)
		control_entry_remove(c, VT_TRIPLET, l.tags[i]);
	free(l.tags);
	if (l.n == 0)
		api_error(r, "not-found", "no record matches");
	else
		api_answer(r, json_pack("{s:i}", "deleted", (int)l.n));
}

const struct api_command api_commands_grey[] = {
	{ "grey list", grey_list, "sender recipient network state limit after" },
	{ "grey show", grey_show, "ref client sender recipient" },
	{ "grey pass", grey_pass, "ref client sender recipient" },
	{ "grey del", grey_del, "ref client sender recipient network state" },
	{ 0 },
};
