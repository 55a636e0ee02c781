/*
 * control_settings.c - what may change while running: the operator's clients, options set over the file, reload.
 *
 * Flow:   api_*.c, SIGHUP -> control_client_put(), control_reload() -> the database, the configuration in force -> control_publish()
 * Touches: the database, the resolver, client verdicts in the table.
 * Keeps:  a configuration that cannot be applied changes nothing.
 */
#include "control/control_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/compile.h"
#include "dataplane/base/bug.h"

/* --- what was learned by zones and name lists that are others now */

static bool
texts_differ(const struct config_texts *a, const struct config_texts *b)
{
	if (a->n != b->n)
		return true;
	for (uint32_t i = 0; i < a->n; i++)
		if (strcmp(a->v[i].text, b->v[i].text) != 0)
			return true;
	return false;
}

static bool
questions_differ(const struct config *a, const struct config *b)
{
	if (a->n_zones != b->n_zones ||
		texts_differ(&a->list[LIST_CLIENT_ALLOW_NAMES], &b->list[LIST_CLIENT_ALLOW_NAMES]) ||
		texts_differ(&a->list[LIST_CLIENT_DENY_NAMES], &b->list[LIST_CLIENT_DENY_NAMES]) ||
		texts_differ(&a->big_senders, &b->big_senders))
		return true;
	for (uint32_t i = 0; i < a->n_zones; i++)
		if (memcmp(&a->zone[i].spec, &b->zone[i].spec, sizeof(a->zone[i].spec)) != 0 ||
			a->zone[i].kind != b->zone[i].kind || strcmp(a->zone[i].name, b->zone[i].name) != 0)
			return true;
	return false;
}

/* A verdict holds the index of a zone and whether a name was on a list: under other zones or lists it is asked for anew. */
void
control_verdicts_drop(struct control *c)
{
	struct vt_entry e[4];

	for (uint32_t b = 0; c->attached && b < c->segment.table.n_buckets; b++) {
		verdict_table_read_bucket(&c->segment.table, b, e);
		for (unsigned i = 0; i < 4; i++)
			if (vt_kind(&e[i]) == VT_CLIENT)
				verdict_table_remove(&c->segment.table, &e[i]);
	}
}

/* --- the operator's clients */

static void
networks_add(struct control_networks *n, const struct prefix_entry *e)
{
	if (n->n == n->room) {
		n->room = n->room == 0 ? 16 : n->room * 2;
		n->v = realloc(n->v, n->room * sizeof(*n->v));
		BUG_ON(n->v == NULL);
	}
	n->v[n->n] = *e;
	n->v[n->n++].value = COMPILE_SOURCE_OPERATOR << 24;
}

static void
client_take(void *arg, const char *key, char list, const char *note, uint64_t wall_s)
{
	struct control *c = arg;
	struct prefix_entry e;

	(void)note;
	(void)wall_s;
	if (c->allow.n + c->deny.n + c->n_names >= CONTROL_CLIENTS_MAX)
		return;
	if (prefix_parse(key, &e) == 0) {
		networks_add(list == 'a' ? &c->allow : &c->deny, &e);
	} else if (config_host_wrong(key) == NULL) {
		config_texts_add(&c->config->list[list == 'a' ? LIST_CLIENT_ALLOW_NAMES : LIST_CLIENT_DENY_NAMES], key,
			strlen(key), 0, COMPILE_SOURCE_OPERATOR);
		c->n_names++;
	}
}

static void
names_drop_operators(struct config_texts *t)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < t->n; i++) {
		if (t->v[i].source == COMPILE_SOURCE_OPERATOR)
			free(t->v[i].text);
		else
			t->v[kept++] = t->v[i];
	}
	t->n = kept;
}

/* The operator's entries as the database has them, into the networks and the name lists of the configuration in force. */
void
control_clients_read(struct control *c)
{
	c->allow.n = c->deny.n = c->n_names = 0;
	names_drop_operators(&c->config->list[LIST_CLIENT_ALLOW_NAMES]);
	names_drop_operators(&c->config->list[LIST_CLIENT_DENY_NAMES]);
	store_clients(c->store, client_take, c);
}

int
control_questions_changed(struct control *c)
{
	if (resolver_configure(c->resolver, c->config) != 0)
		return -EIO;
	control_verdicts_drop(c);
	return 0;
}

static int
clients_changed(struct control *c, uint32_t names_before)
{
	control_clients_read(c);
	if ((c->n_names > 0 || names_before > 0) && control_questions_changed(c) != 0)
		return -EIO;
	return control_publish(c);
}

int
control_client_put(struct control *c, const char *key, char list, const char *note, char *why)
{
	struct prefix_entry e;
	char text[IP_ADDR_TEXT_MAX_OCTETS + 8];
	const uint32_t names = c->n_names;
	int error = prefix_parse(key, &e);

	if (error == -EDOM) {
		snprintf(
			why, OPTION_ERROR_OCTETS, "%.80s has host bits set; right is %s", key, prefix_format(&e, text));
		return -EINVAL;
	}
	if (error == 0) {
		key = prefix_format(&e, text);
	} else if (config_host_wrong(key) != NULL || strchr(key, '.') == NULL || strcmp(key, "*") == 0) {
		snprintf(why, OPTION_ERROR_OCTETS, "\"%.80s\" is neither a network nor a host name", key);
		return -EINVAL;
	}
	error = store_client_put(c->store, key, list, note, (uint64_t)(control_wall_us() / 1000000));
	if (error == 0)
		error = clients_changed(c, names);
	if (error != 0)
		snprintf(why, OPTION_ERROR_OCTETS, "cannot be kept: %s", strerror(-error));
	return error == -EINVAL ? -EIO : error;
}

int
control_client_remove(struct control *c, const char *key)
{
	struct prefix_entry e;
	char text[IP_ADDR_TEXT_MAX_OCTETS + 8];
	const uint32_t names = c->n_names;
	int error;

	if (prefix_parse(key, &e) == 0)
		key = prefix_format(&e, text);
	error = store_client_remove(c->store, key);
	return error == 0 ? clients_changed(c, names) : error;
}

bool
control_entry_remove(struct control *c, enum vt_kind kind, uint64_t tag)
{
	struct vt_entry e;
	bool removed = false;

	for (unsigned i = 0;
		i < 8 && c->attached && verdict_table_find(&c->segment.table, tag, &e) && vt_kind(&e) == kind; i++)
		if (verdict_table_remove(&c->segment.table, &e)) {
			removed = true;
			break;
		}
	store_entry_remove(c->store, (uint8_t)kind, tag);
	return removed;
}

/* --- configuration */

struct overlay {
	struct config *config;
	struct {
		char name[64], text[OPTION_TEXT_OCTETS];
		bool done;
	} * v;
	uint32_t n;
};

static void
overlay_take(void *arg, const char *name, const char *text)
{
	struct overlay *o = arg;

	if (o->n == option_n)
		return;
	snprintf(o->v[o->n].name, sizeof(o->v[o->n].name), "%s", name);
	snprintf(o->v[o->n++].text, OPTION_TEXT_OCTETS, "%s", text);
}

/* Lays what was set over the file's values. Values that depend on each other find their order by trying again. */
void
control_overlay(struct control *c, struct config *config)
{
	struct overlay o = { .config = config, .v = calloc(option_n, sizeof(*o.v)) };
	char why[OPTION_ERROR_OCTETS] = "";
	bool moved = true;

	BUG_ON(o.v == NULL);
	store_options(c->store, overlay_take, &o);
	while (moved) {
		moved = false;
		for (uint32_t i = 0; i < o.n; i++) {
			const struct option_row *option = option_find(o.v[i].name);

			if (!o.v[i].done && option != NULL && config_set(config, option, o.v[i].text, why) == 0)
				o.v[i].done = moved = true;
		}
	}
	for (uint32_t i = 0; i < o.n; i++)
		if (!o.v[i].done)
			fprintf(stderr, "greyline-control: set %s = %s does not fit any more and is left out: %s\n",
				o.v[i].name, o.v[i].text, option_find(o.v[i].name) == NULL ? "unknown setting" : why);
	free(o.v);
}

int
control_reload(struct control *c, struct config_errors *errors)
{
	struct config *fresh = config_load(c->config_path, errors), *old = c->config;
	int error;

	if (fresh == NULL)
		return -EINVAL;
	/* what is bound to the start stays as it is until then */
	if (strcmp(fresh->file.run_dir, c->at_start.run_dir) != 0 ||
		strcmp(fresh->file.state_dir, c->at_start.state_dir) != 0) {
		config_error(errors, "%s: run_dir and state_dir cannot change while running: restart greyline-control",
			c->config_path);
		config_free(fresh);
		return -EINVAL;
	}
	control_overlay(c, fresh);
	c->config = fresh;
	control_clients_read(c);
	error = resolver_configure(c->resolver, fresh);
	if (error == 0)
		error = control_publish(c);
	if (error != 0) {
		config_error(errors, "%s: cannot be applied: %s", c->config_path, strerror(-error));
		c->config = old;
		config_free(fresh);
		control_clients_read(c);
		if (resolver_configure(c->resolver, old) != 0)
			fprintf(stderr, "greyline-control: the resolver cannot be set up\n");
		return -EIO;
	}
	if (questions_differ(old, fresh))
		control_verdicts_drop(c);
	config_free(old);
	return 0;
}

void
control_waiting(const struct control *c, void (*fn)(void *arg, const char *path), void *arg)
{
	for (unsigned i = 0; i < option_n; i++) {
		const struct option_row *o = &option_table[i];
		const bool of_dataplane = strncmp(o->path, "dataplane.", 10) == 0;

		if (o->when != OPTION_START)
			continue;
		if (strcmp(o->path, "state.entries") == 0) {
			if (c->attached && c->segment.entries != c->config->values.state_entries)
				fn(arg, o->path);
		} else if (!option_equal(o, &c->config->values, of_dataplane ? &c->dataplane_start : &c->at_start)) {
			fn(arg, o->path);
		}
	}
}
