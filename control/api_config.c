/*
 * api_config.c - config, set, unset, reload.
 *
 * Flow:   api.c -> config.c, store.c, control_publish() -> workers confirm -> answer
 * Touches: the configuration in force, the database, the snapshot.
 */
#include <stdlib.h>
#include <string.h>

#include "control/api.h"
#include "control/control.h"
#include "dataplane/base/bug.h"

static void
waiting_add(void *arg, const char *path)
{
	json_array_append_new(arg, json_string(path));
}

static bool
array_has(const json_t *array, const char *text)
{
	size_t i;
	json_t *v;

	json_array_foreach(array, i, v) if (strcmp(json_string_value(v), text) == 0) return true;
	return false;
}

static void
option_add(json_t *out, const struct control *c, const struct option_row *o, const json_t *waiting)
{
	static const char *const origins[] = { "default", "file", "set" };
	char value[OPTION_TEXT_OCTETS], range[OPTION_ERROR_OCTETS], shown[OPTION_TEXT_OCTETS];
	const enum config_origin origin = (enum config_origin)c->config->origin[o - option_table];
	struct option_values defaults;
	json_t *row;

	option_defaults(&defaults);
	option_format(o, &defaults, shown);
	row = json_pack("{s:s, s:o, s:o, s:s, s:s, s:s, s:o, s:s}", "option", o->path, "value",
		api_string(option_format(o, &c->config->values, value)), "default", api_string(shown), "origin",
		origins[origin], "counts", option_when_name(o->when), "type", option_type_name(o), "range",
		api_string(option_range(o, range)), "help", o->help);
	if (array_has(waiting, o->path))
		json_object_set_new(row, "waiting", json_true());
	if (origin == ORIGIN_SET) {
		option_format(o, &c->config->file, value);
		json_object_set_new(row, "file", api_string(value));
	}
	json_array_append_new(out, row);
}

static void
list_add(json_t *out, const struct control *c, unsigned id)
{
	const struct config_texts *t = &c->config->list[id];
	json_t *values = json_array();

	for (uint32_t i = 0; i < t->n && i < t->n_inline && i < 1000; i++)
		json_array_append_new(values, api_string(t->v[i].text));
	json_array_append_new(
		out, json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:i, s:s}", "option", option_list_table[id].path,
			     "value", values, "default", "", "origin", t->n_inline > 0 ? "file" : "default", "counts",
			     option_when_name(option_list_table[id].when), "type", "list", "entries", (int)t->n, "help",
			     option_list_table[id].help));
}

/* Whether path is what was asked for: itself or its group. */
static bool
wanted(const char *path, const char *asked)
{
	size_t n;

	if (asked == NULL || strcmp(path, asked) == 0)
		return true;
	n = strlen(asked);
	return strncmp(path, asked, n) == 0 && path[n] == '.';
}

static void
config(struct control *c, struct api_request *r, const json_t *args)
{
	const char *asked = api_text(args, "option"), *near;
	const bool changed = json_is_true(json_object_get(args, "changed"));
	json_t *out = json_array(), *waiting = json_array();
	bool known = false;

	control_waiting(c, waiting_add, waiting);
	for (unsigned i = 0; i < option_n; i++) {
		const struct option_row *o = &option_table[i];
		struct option_values defaults;

		if (!wanted(o->path, asked))
			continue;
		known = true;
		option_defaults(&defaults);
		if (!changed || !option_equal(o, &c->config->values, &defaults))
			option_add(out, c, o, waiting);
	}
	for (unsigned i = 0; i < LIST_N; i++) {
		if (!wanted(option_list_table[i].path, asked))
			continue;
		known = true;
		if (!changed || c->config->list[i].n_inline > 0)
			list_add(out, c, i);
	}
	json_decref(waiting);
	if (!known) {
		json_decref(out);
		near = option_nearest(asked);
		api_error(r, "not-found", "%s: unknown setting%s%s%s", asked, near != NULL ? "; did you mean " : "",
			near != NULL ? near : "", near != NULL ? "?" : "");
		return;
	}
	api_answer(r, json_pack("{s:o}", "options", out));
}

/* --- set, unset */

struct change {
	struct api_request *r;
	json_t *result;
};

static void
confirmed(void *arg, bool all)
{
	struct change *ch = arg;

	json_object_set_new(ch->result, "confirmed", json_boolean(all));
	api_answer(ch->r, ch->result);
	free(ch);
}

/* Takes result; answers when the workers have it. */
static void
confirm(struct control *c, struct api_request *r, json_t *result)
{
	struct change *ch = malloc(sizeof(*ch));

	BUG_ON(ch == NULL);
	*ch = (struct change){ r, result };
	json_object_set_new(result, "generation", json_integer((json_int_t)c->generation));
	control_confirm(c, confirmed, ch);
}

static const struct option_row *
option_need(struct api_request *r, const json_t *args)
{
	const char *path = api_need(r, args, "option"), *near;
	const struct option_row *o;

	if (path == NULL)
		return NULL;
	o = option_find(path);
	if (o != NULL)
		return o;
	for (unsigned i = 0; i < LIST_N; i++)
		if (strcmp(option_list_table[i].path, path) == 0) {
			api_error(r, "bad-value", "%s is a list: it is changed in the file, then greylinectl reload",
				path);
			return NULL;
		}
	near = option_nearest(path);
	api_error(r, "bad-value", "%s: unknown setting%s%s%s", path, near != NULL ? "; did you mean " : "",
		near != NULL ? near : "", near != NULL ? "?" : "");
	return NULL;
}

/* Puts what changed into force: the snapshot, and the resolver where it is concerned. */
static int
apply(struct control *c, const struct option_row *o)
{
	int error = 0;

	if (strcmp(o->path, "dnsbl.disabled") == 0)
		error = control_questions_changed(c);
	else if (strncmp(o->path, "dns.", 4) == 0 || strncmp(o->path, "dnsbl.", 6) == 0 ||
		 strncmp(o->path, "reverse_dns.", 12) == 0)
		error = resolver_configure(c->resolver, c->config); /* it answers early by thresholds and effects */
	return error != 0 ? error : control_publish(c);
}

static void
set_option(struct control *c, struct api_request *r, const json_t *args)
{
	const struct option_row *o = option_need(r, args);
	char why[OPTION_ERROR_OCTETS], before[OPTION_TEXT_OCTETS], after[OPTION_TEXT_OCTETS], number[32];
	const json_t *v = json_object_get(args, "value");
	const char *text = json_string_value(v);
	struct option_values old = c->config->values;
	uint8_t old_origin;
	int error;

	if (o == NULL)
		return;
	if (json_is_integer(v)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
		text = number;
	}
	if (json_is_boolean(v))
		text = json_is_true(v) ? "true" : "false";
	if (text == NULL) {
		api_error(r, "usage", "value is missing");
		return;
	}
	old_origin = c->config->origin[o - option_table];
	option_format(o, &c->config->values, before);
	if (config_set(c->config, o, text, why) != 0) {
		api_error(r, "bad-value", "%s = \"%.200s\": %s", o->path, text, why);
		return;
	}
	option_format(o, &c->config->values, after);
	error = apply(c, o);
	if (error != 0) {
		c->config->values = old;
		c->config->origin[o - option_table] = old_origin;
		api_error(r, "unavailable", "%s: %s", o->path, strerror(-error));
		return;
	}
	error = store_option_put(c->store, o->path, after, (uint64_t)(control_wall_us() / 1000000));
	confirm(c, r,
		json_pack("{s:s, s:o, s:o, s:s, s:b}", "option", o->path, "value", api_string(after), "old",
			api_string(before), "counts", option_when_name(o->when), "kept", error == 0));
}

static void
unset_option(struct control *c, struct api_request *r, const json_t *args)
{
	const struct option_row *o = option_need(r, args);
	char why[OPTION_ERROR_OCTETS], before[OPTION_TEXT_OCTETS], after[OPTION_TEXT_OCTETS];
	int error;

	if (o == NULL)
		return;
	if (c->config->origin[o - option_table] != ORIGIN_SET) {
		api_error(r, "not-found", "%s was not set", o->path);
		return;
	}
	option_format(o, &c->config->values, before);
	if (config_unset(c->config, o, why) != 0) {
		api_error(r, "bad-value", "without it: %s", why);
		return;
	}
	option_format(o, &c->config->values, after);
	error = apply(c, o);
	if (error != 0) {
		api_error(r, "unavailable", "%s: %s", o->path, strerror(-error));
		return;
	}
	store_option_remove(c->store, o->path);
	confirm(c, r,
		json_pack("{s:s, s:o, s:o, s:s}", "option", o->path, "value", api_string(after), "old",
			api_string(before), "counts", option_when_name(o->when)));
}

static void
reload(struct control *c, struct api_request *r, const json_t *args)
{
	struct config_errors errors = { 0 };
	json_t *workers, *waiting, *lines;

	(void)args;
	if (control_reload(c, &errors) != 0) {
		lines = json_array();
		for (uint32_t i = 0; i < errors.n; i++)
			json_array_append_new(lines, api_string(errors.line[i]));
		if (errors.dropped > 0)
			json_array_append_new(lines, json_sprintf("and %u more errors", errors.dropped));
		api_error_with(r, "bad-value", errors.n > 0 ? errors.line[0] : "the configuration is refused",
			json_pack("{s:o}", "lines", lines));
		config_errors_free(&errors);
		return;
	}
	config_errors_free(&errors);
	workers = json_array();
	waiting = json_array();
	control_waiting(c, waiting_add, waiting);
	for (uint32_t w = 0; w < c->dataplane_start.conf.workers; w++)
		json_array_append_new(workers, json_integer((json_int_t)w));
	confirm(c, r, json_pack("{s:o, s:o}", "workers", workers, "waiting", waiting));
}

const struct api_command api_commands_config[] = {
	{ "config", config, "option changed" },
	{ "set", set_option, "option value" },
	{ "unset", unset_option, "option" },
	{ "reload", reload, "" },
	{ 0 },
};
