/*
 * config.c - greyline.conf: from the file to values that are checked.
 *
 * Flow:   main, api (reload) -> config_load() -> libconfig's tree -> single values (options.def), lists, parts (config_parts.c)
 * Touches: the configuration file and its list files, read once.
 * Keeps:  nothing of a file with an error is used; every setting is known by name or refused with the nearest name.
 */
#include "control/config_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/base/bug.h"

#define CONFIG_DEPTH_MAX 8

void
config_error(struct config_errors *errors, const char *format, ...)
{
	char text[1024];
	va_list args;

	if (errors->n == CONFIG_ERRORS_MAX) {
		errors->dropped++;
		return;
	}
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
	if (errors->line == NULL)
		errors->line = calloc(CONFIG_ERRORS_MAX, sizeof(*errors->line));
	BUG_ON(errors->line == NULL);
	errors->line[errors->n] = strdup(text);
	BUG_ON(errors->line[errors->n] == NULL);
	errors->n++;
}

void
config_errors_free(struct config_errors *errors)
{
	for (uint32_t i = 0; i < errors->n; i++)
		free(errors->line[i]);
	free(errors->line);
	*errors = (struct config_errors){ 0 };
}

void
reader_error(struct config_reader *r, uint32_t line, const char *path, const char *format, ...)
{
	char text[OPTION_ERROR_OCTETS];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	config_error(r->errors, "%s:%u: %s%s%s", r->config->path, line, path, path[0] != '\0' ? ": " : "", text);
}

const char *
reader_value(const config_setting_t *s, char *out, size_t octets)
{
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_STRING:
		snprintf(out, octets, "\"%.100s\"", config_setting_get_string(s));
		break;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		snprintf(out, octets, "%lld", config_setting_get_int64(s));
		break;
	case CONFIG_TYPE_FLOAT:
		snprintf(out, octets, "%g", config_setting_get_float(s));
		break;
	case CONFIG_TYPE_BOOL:
		snprintf(out, octets, "%s", config_setting_get_bool(s) ? "true" : "false");
		break;
	case CONFIG_TYPE_GROUP:
		snprintf(out, octets, "a group");
		break;
	default:
		snprintf(out, octets, "a list");
		break;
	}
	return out;
}

static void
read_single(struct config_reader *r, const config_setting_t *s, const char *path, const struct option_row *o)
{
	char why[OPTION_ERROR_OCTETS], value[160];
	int error = -EINVAL;

	switch (config_setting_type(s)) {
	case CONFIG_TYPE_STRING:
		error = option_parse(o, config_setting_get_string(s), &r->config->file, why);
		break;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		error = option_set_integer(o, config_setting_get_int64(s), &r->config->file, why);
		break;
	case CONFIG_TYPE_BOOL:
		if (o->type == OPTION_BOOL)
			error = option_parse(o, config_setting_get_bool(s) ? "true" : "false", &r->config->file, why);
		else
			snprintf(why, sizeof(why), "not a %s; right is %.400s", option_type_name(o),
				option_range(o, (char[OPTION_ERROR_OCTETS]){ 0 }));
		break;
	default:
		snprintf(why, sizeof(why), "not a %s; right is %.400s", option_type_name(o),
			option_range(o, (char[OPTION_ERROR_OCTETS]){ 0 }));
		break;
	}
	if (error != 0)
		config_error(r->errors, "%s:%u: %s = %s: %s", r->config->path, config_setting_source_line(s), path,
			reader_value(s, value, sizeof(value)), why);
	else
		r->config->file_origin[o - option_table] = ORIGIN_FILE;
}

void
reader_texts(struct config_reader *r, const config_setting_t *s, const char *path, struct config_texts *out)
{
	int n = config_setting_length(s);
	char value[160];

	if (!config_setting_is_array(s) && !config_setting_is_list(s)) {
		reader_error(r, config_setting_source_line(s), path, "%s is not a list; right is [ \"...\", \"...\" ]",
			reader_value(s, value, sizeof(value)));
		return;
	}
	for (int i = 0; i < n; i++) {
		const config_setting_t *e = config_setting_get_elem(s, (unsigned)i);

		if (config_setting_type(e) != CONFIG_TYPE_STRING)
			reader_error(r, config_setting_source_line(e), path, "%s is not a text in quotes",
				reader_value(e, value, sizeof(value)));
		else
			config_texts_add(out, config_setting_get_string(e), strlen(config_setting_get_string(e)),
				config_setting_source_line(e), 0);
	}
	out->n_inline = out->n;
}

static void
check_item(struct config_reader *r, enum option_list_id id, struct config_text *t)
{
	const char *path = option_list_table[id].path, *wrong = NULL;
	struct ip_addr addr;
	uint16_t port;

	switch (option_list_table[id].item) {
	case ITEM_NETWORK:
		config_list_parse(LIST_OF_NETWORKS, r->config->path, 0, t->text, strlen(t->text),
			id == LIST_CLIENT_ALLOW ? &r->config->client_allow : &r->config->client_deny, NULL, r->errors);
		break;
	case ITEM_HOST:
		wrong = config_host_wrong(t->text);
		break;
	case ITEM_ADDRESS:
		wrong = config_address_wrong(t->text);
		break;
	case ITEM_SERVER:
		if (config_server_parse(t->text, 53, &addr, &port) != 0)
			wrong = "is not a server; right is for example \"192.0.2.53\", \"192.0.2.53:53\" or "
				"\"[2001:db8::53]:53\"";
		break;
	case ITEM_FILE_NAME:
	case ITEM_WORDS:
		wrong = t->text[0] == '\0' ? "is empty" : NULL;
		break;
	}
	if (wrong != NULL)
		reader_error(r, t->line, path, "\"%.100s\" %s", t->text, wrong);
}

/* Networks inside the file: the line of the entry, not line 1 of its text. */
static void
fix_network_lines(struct config_networks *n, uint32_t from, uint32_t line)
{
	for (uint32_t i = from; i < n->n; i++)
		n->v[i].value = MIN(line, 0xffffffu);
}

static void
read_list(struct config_reader *r, const config_setting_t *s, enum option_list_id id)
{
	struct config_texts *list = &r->config->list[id];

	reader_texts(r, s, option_list_table[id].path, list);
	for (uint32_t i = 0; i < list->n; i++) {
		struct config_networks *n =
			id == LIST_CLIENT_ALLOW ? &r->config->client_allow : &r->config->client_deny;
		uint32_t from = n->n, errors = r->errors->n;

		check_item(r, id, &list->v[i]);
		if (option_list_table[id].item != ITEM_NETWORK)
			continue;
		fix_network_lines(n, from, list->v[i].line);
		if (r->errors->n > errors) { /* the same: the message says line 1 */
			char *old = r->errors->line[errors];
			const char *rest = old + strlen(r->config->path) + strlen(":1: ");
			char text[1024];

			snprintf(text, sizeof(text), "%s:%u: %s: %s", r->config->path, list->v[i].line,
				option_list_table[id].path, rest);
			free(old);
			r->errors->line[errors] = strdup(text);
			BUG_ON(r->errors->line[errors] == NULL);
		}
	}
}

static void
unknown(struct config_reader *r, const config_setting_t *s, const char *path)
{
	const char *near = option_nearest(path);

	reader_error(r, config_setting_source_line(s), path, "unknown setting%s%s%s",
		near != NULL ? "; did you mean " : "", near != NULL ? near : "", near != NULL ? "?" : "");
}

/* Whether path is the beginning of a known setting's path. */
static bool
is_group(const char *path)
{
	size_t n = strlen(path);

	for (unsigned i = 0; i < option_n; i++)
		if (strncmp(option_table[i].path, path, n) == 0 && option_table[i].path[n] == '.')
			return true;
	for (unsigned i = 0; i < LIST_N; i++)
		if (strncmp(option_list_table[i].path, path, n) == 0 && option_list_table[i].path[n] == '.')
			return true;
	return false;
}

static void
read_group(struct config_reader *r, const config_setting_t *group, const char *prefix, unsigned depth)
{
	int n = config_setting_length(group);

	for (int i = 0; i < n; i++) {
		const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		const char *name = config_setting_name(s);
		const struct option_row *o;
		char path[256];
		bool done = false;

		snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", name != NULL ? name : "");
		if (reader_part(r, s, path))
			continue;
		o = option_find(path);
		if (o != NULL) {
			read_single(r, s, path, o);
			continue;
		}
		for (unsigned l = 0; l < LIST_N && !done; l++)
			if (strcmp(option_list_table[l].path, path) == 0) {
				read_list(r, s, (enum option_list_id)l);
				done = true;
			}
		if (done)
			continue;
		if (config_setting_is_group(s) && is_group(path) && depth < CONFIG_DEPTH_MAX)
			read_group(r, s, path, depth + 1);
		else if (is_group(path))
			reader_error(
				r, config_setting_source_line(s), path, "is a group; right is %s = { ... };", path);
		else
			unknown(r, s, path);
	}
}

/* The whole of a regular file; NULL with the reason in why. The caller frees. */
static char *
read_whole(const char *path, size_t max_octets, size_t *octets, char *why, size_t why_octets)
{
	struct stat st;
	char *text = NULL;
	size_t n = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) != 0) {
		snprintf(why, why_octets, "%s", strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, why_octets, "not a regular file");
		goto out;
	}
	if (st.st_size < 0 || (uint64_t)st.st_size > max_octets) {
		snprintf(why, why_octets, "larger than %zu octets", max_octets);
		goto out;
	}
	text = malloc((size_t)st.st_size + 1);
	BUG_ON(text == NULL);
	while (n < (size_t)st.st_size && (got = read(fd, text + n, (size_t)st.st_size - n)) != 0) {
		if (got < 0) {
			snprintf(why, why_octets, "%s", strerror(errno));
			free(text);
			text = NULL;
			goto out;
		}
		n += (size_t)got;
	}
	text[n] = '\0';
	*octets = n;
out:
	if (fd >= 0)
		close(fd);
	return text;
}

/* A name relative to the configuration's folder becomes a path. */
static void
beside(const char *config_path, const char *name, char *out, size_t octets)
{
	const char *slash = strrchr(config_path, '/');

	if (name[0] == '/' || slash == NULL)
		snprintf(out, octets, "%s", name);
	else
		snprintf(out, octets, "%.*s/%s", (int)(slash - config_path), config_path, name);
}

char *
reader_file(
	struct config_reader *r, uint32_t line, const char *path, const char *name, size_t max_octets, size_t *octets)
{
	char full[1024], why[128];
	char *text;

	if (!r->read_files)
		return NULL;
	beside(r->config->path, name, full, sizeof(full));
	text = read_whole(full, max_octets, octets, why, sizeof(why));
	if (text == NULL)
		reader_error(r, line, path, "cannot read \"%.200s\": %s", full, why);
	return text;
}

void
reader_list_file(struct config_reader *r, enum list_kind kind, const struct config_text *file, const char *path,
	struct config_networks *networks, struct config_texts *texts)
{
	char name[1024], why[128];
	size_t octets;
	char *text;

	if (!r->read_files)
		return;
	beside(r->config->path, file->text, name, sizeof(name));
	if (r->config->n_sources == CONFIG_SOURCES_MAX) {
		reader_error(r, file->line, path, "more than %u list files", CONFIG_SOURCES_MAX);
		return;
	}
	text = read_whole(name, CONFIG_LIST_FILE_MAX_OCTETS, &octets, why, sizeof(why));
	if (text == NULL) {
		reader_error(r, file->line, path, "cannot read \"%.200s\": %s", name, why);
		return;
	}
	r->config->source[r->config->n_sources] = strdup(name);
	BUG_ON(r->config->source[r->config->n_sources] == NULL);
	config_list_parse(kind, name, (uint16_t)r->config->n_sources, text, octets, networks, texts, r->errors);
	r->config->n_sources++;
	free(text);
}

static void
read_list_files(struct config_reader *r)
{
	static const struct {
		enum option_list_id files, list;
		enum list_kind kind;
	} rows[] = {
		{ LIST_CLIENT_ALLOW_FILES, LIST_CLIENT_ALLOW, LIST_OF_NETWORKS },
		{ LIST_CLIENT_DENY_FILES, LIST_CLIENT_DENY, LIST_OF_NETWORKS },
		{ LIST_CLIENT_ALLOW_NAMES_FILES, LIST_CLIENT_ALLOW_NAMES, LIST_OF_HOSTS },
		{ LIST_CLIENT_DENY_NAMES_FILES, LIST_CLIENT_DENY_NAMES, LIST_OF_HOSTS },
		{ LIST_SENDER_ALLOW_FILES, LIST_SENDER_ALLOW, LIST_OF_ADDRESSES },
		{ LIST_SENDER_DENY_FILES, LIST_SENDER_DENY, LIST_OF_ADDRESSES },
		{ LIST_RCPT_ALLOW_FILES, LIST_RCPT_ALLOW, LIST_OF_ADDRESSES },
		{ LIST_RCPT_DENY_FILES, LIST_RCPT_DENY, LIST_OF_ADDRESSES },
		{ LIST_RCPT_NO_GREY_FILES, LIST_RCPT_NO_GREY, LIST_OF_ADDRESSES },
		{ LIST_TRAPS_FILES, LIST_TRAPS, LIST_OF_ADDRESSES },
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct config_texts *files = &r->config->list[rows[i].files];

		for (uint32_t f = 0; f < files->n; f++)
			reader_list_file(r, rows[i].kind, &files->v[f], option_list_table[rows[i].files].path,
				rows[i].list == LIST_CLIENT_ALLOW ? &r->config->client_allow : &r->config->client_deny,
				&r->config->list[rows[i].list]);
	}
	if (r->config->file.big_senders) {
		const struct config_text file = { .text = r->config->file.big_senders_file };

		reader_list_file(r, LIST_OF_HOSTS, &file, "clients.big_senders_file", NULL, &r->config->big_senders);
	}
}

/* What libconfig would take silently or end the process for. */
static bool
text_is_sane(struct config_reader *r, const char *text, size_t octets)
{
	uint32_t line = 1;

	for (size_t i = 0; i < octets; i++) {
		if (text[i] == '\0') {
			reader_error(r, line, "", "a NUL octet");
			return false;
		}
		if (text[i] == '\n')
			line++;
		if (text[i] == '@' && strncmp(text + i, "@include", 8) == 0 &&
			(i == 0 || text[i - 1] == '\n' || text[i - 1] == ' ' || text[i - 1] == '\t')) {
			reader_error(r, line, "",
				"@include is not supported: the configuration is one file; long lists go to list "
				"files");
			return false;
		}
	}
	return true;
}

static struct config *
config_new(const char *path)
{
	struct config *c = calloc(1, sizeof(*c));

	BUG_ON(c == NULL);
	c->path = strdup(path);
	c->source[0] = strdup(path);
	c->n_sources = 1;
	c->file_origin = calloc(option_n, 1);
	c->origin = calloc(option_n, 1);
	c->zone = calloc(CONF_ZONES_MAX, sizeof(*c->zone));
	BUG_ON(c->path == NULL || c->source[0] == NULL || c->file_origin == NULL || c->origin == NULL ||
		c->zone == NULL);
	option_defaults(&c->file);
	return c;
}

struct config *
config_parse(const char *path, const char *text, size_t octets, bool read_files, struct config_errors *errors)
{
	struct config_reader r = { .config = config_new(path), .errors = errors, .read_files = read_files };
	const char *wrong, *which;
	config_t tree;

	config_init(&tree);
	if (!text_is_sane(&r, text, octets))
		goto out;
	if (config_read_string(&tree, text) != CONFIG_TRUE) {
		reader_error(&r, (uint32_t)config_error_line(&tree), "", "%s%s", config_error_text(&tree),
			strcmp(config_error_text(&tree), "syntax error") == 0
				? " here or just before: a quote, = or ; too few or too many?"
				: "");
		goto out;
	}
	read_group(&r, config_root_setting(&tree), "", 0);
	read_list_files(&r);
	wrong = option_check_all(&r.config->file, &which);
	if (wrong != NULL) {
		const config_setting_t *s = config_lookup(&tree, which);

		reader_error(&r, s != NULL ? config_setting_source_line(s) : 1, which, "%s", wrong);
	}
	reader_sort_zones(r.config);
	reader_check_parts(&r);
out:
	config_destroy(&tree);
	for (unsigned i = 0; i < CONF_LISTENERS_MAX; i++)
		config_texts_free(&r.listener_pools[i]);
	if (errors->n > 0) {
		config_free(r.config);
		return NULL;
	}
	r.config->values = r.config->file;
	memcpy(r.config->origin, r.config->file_origin, option_n);
	return r.config;
}

struct config *
config_load(const char *path, struct config_errors *errors)
{
	struct config *c;
	char why[128];
	size_t octets;
	char *text = read_whole(path, CONFIG_FILE_MAX_OCTETS, &octets, why, sizeof(why));

	if (text == NULL) {
		config_error(errors, "%s: %s", path, why);
		return NULL;
	}
	c = config_parse(path, text, octets, true, errors);
	free(text);
	return c;
}

void
config_free(struct config *c)
{
	if (c == NULL)
		return;
	for (unsigned i = 0; i < LIST_N; i++)
		config_texts_free(&c->list[i]);
	for (unsigned i = 0; i < CONF_LISTENERS_MAX; i++)
		config_texts_free(&c->listener_domains[i]);
	for (unsigned i = 0; i < CONF_POOLS_MAX; i++)
		config_texts_free(&c->pool_domains[i]);
	for (uint32_t i = 0; i < c->n_sources; i++)
		free(c->source[i]);
	config_texts_free(&c->big_senders);
	free(c->client_allow.v);
	free(c->client_deny.v);
	free(c->ca);
	free(c->zone);
	free(c->file_origin);
	free(c->origin);
	free(c->path);
	free(c);
}

int
config_set(struct config *c, const struct option_row *o, const char *text, char *why)
{
	struct option_values values = c->values;
	const char *wrong, *path;
	int error;

	if (o->when == OPTION_FILE) {
		snprintf(why, OPTION_ERROR_OCTETS, "is set by the configuration file alone");
		return -EINVAL;
	}
	error = option_parse(o, text, &values, why);
	if (error != 0)
		return error;
	wrong = option_check_all(&values, &path);
	if (wrong != NULL) {
		snprintf(why, OPTION_ERROR_OCTETS, "%s %s", path, wrong);
		return -EINVAL;
	}
	c->values = values;
	c->origin[o - option_table] = ORIGIN_SET;
	return 0;
}

int
config_unset(struct config *c, const struct option_row *o, char *why)
{
	struct option_values values = c->values;
	const char *wrong, *path;

	option_copy(o, &values, &c->file);
	wrong = option_check_all(&values, &path);
	if (wrong != NULL) {
		snprintf(why, OPTION_ERROR_OCTETS, "%s %s", path, wrong);
		return -EINVAL;
	}
	c->values = values;
	c->origin[o - option_table] = c->file_origin[o - option_table];
	return 0;
}
