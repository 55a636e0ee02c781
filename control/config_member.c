/*
 * config_member.c - the members of one group of a list: texts, numbers, addresses, names, domains.
 *
 * Flow:   see config_member.h.
 * Touches: the domain files they name.
 */
#include "control/config_member.h"

#include <ctype.h>
#include <string.h>

#include "dataplane/base/bug.h"

uint32_t
member_line_of(const config_setting_t *s)
{
	return config_setting_source_line(s);
}

/* The path for messages; unknown members are refused with the nearest name. False when it is no group. */
bool
member_begin(struct member_ctx *m, struct config_reader *r, const config_setting_t *group, const char *kind, int index)
{
	const char *names[32];
	unsigned n_names = 0;
	const char *name = NULL;
	char value[160];

	*m = (struct member_ctx){ .r = r, .group = group, .kind = kind };
	snprintf(m->path, sizeof(m->path), "%s[%d]", kind, index);
	if (!config_setting_is_group(group)) {
		reader_error(r, member_line_of(group), m->path, "%s is not a group; right is { name = ...; ... }",
			reader_value(group, value, sizeof(value)));
		return false;
	}
	if (config_setting_lookup_string(group, "name", &name) == CONFIG_TRUE)
		snprintf(m->path, sizeof(m->path), "%s.%.60s", kind, name);
	for (unsigned i = 0; i < option_member_n; i++)
		if (option_member_table[i].name != NULL && strcmp(option_member_table[i].group, kind) == 0 &&
			n_names < ARRAY_LEN(names))
			names[n_names++] = option_member_table[i].name;
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		const char *have = config_setting_name(s), *near;
		bool known = false;

		for (unsigned k = 0; k < n_names; k++)
			known = known || strcmp(names[k], have) == 0;
		if (known)
			continue;
		near = name_nearest(have, names, n_names);
		reader_error(r, member_line_of(s), m->path, "unknown member %.60s%s%s%s", have,
			near != NULL ? "; did you mean " : "", near != NULL ? near : "", near != NULL ? "?" : "");
	}
	return true;
}

const config_setting_t *
member_get(const struct member_ctx *m, const char *name, bool required)
{
	const config_setting_t *s = config_setting_get_member(m->group, name);

	if (s == NULL && required)
		reader_error(m->r, member_line_of(m->group), m->path, "%s has to be given", name);
	return s;
}

/* A text into out; "" when it is not there. False on error or absence of a required one. */
bool
member_text(const struct member_ctx *m, const char *name, char *out, size_t octets, bool required)
{
	const config_setting_t *s = member_get(m, name, required);
	const char *text;
	char value[160];

	out[0] = '\0';
	if (s == NULL)
		return !required;
	if (config_setting_type(s) != CONFIG_TYPE_STRING) {
		reader_error(m->r, member_line_of(s), m->path, "%s = %s is not a text in quotes", name,
			reader_value(s, value, sizeof(value)));
		return false;
	}
	text = config_setting_get_string(s);
	if (strlen(text) >= octets || (required && text[0] == '\0')) {
		reader_error(m->r, member_line_of(s), m->path, "%s = \"%.60s\": right is a text of 1 to %zu octets",
			name, text, octets - 1);
		return false;
	}
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f) {
			reader_error(
				m->r, member_line_of(s), m->path, "%s has characters beyond printable ASCII", name);
			return false;
		}
	memcpy(out, text, strlen(text) + 1);
	return true;
}

bool
member_word(
	const struct member_ctx *m, const char *name, const char *const *words, unsigned n, uint8_t def, uint8_t *out)
{
	char text[32], right[128] = "";
	const char *near;

	*out = def;
	if (config_setting_get_member(m->group, name) == NULL)
		return true;
	if (!member_text(m, name, text, sizeof(text), true))
		return false;
	for (unsigned i = 0; i < n; i++)
		if (strcmp(text, words[i]) == 0) {
			*out = (uint8_t)i;
			return true;
		}
	for (unsigned i = 0; i < n; i++)
		snprintf(right + strlen(right), sizeof(right) - strlen(right), "%s%s",
			i == 0       ? ""
			: i == n - 1 ? " or "
				     : ", ",
			words[i]);
	near = name_nearest(text, words, n);
	reader_error(m->r, member_line_of(config_setting_get_member(m->group, name)), m->path,
		"%s = \"%s\": right is %s%s%s%s", name, text, right, near != NULL ? "; did you mean " : "",
		near != NULL ? near : "", near != NULL ? "?" : "");
	return false;
}

bool
member_number(const struct member_ctx *m, const char *name, long min, long max, long def, uint16_t *out)
{
	const config_setting_t *s = member_get(m, name, false);
	long long n = def;
	char value[160];

	if (s != NULL) {
		n = config_setting_get_int64(s);
		if ((config_setting_type(s) != CONFIG_TYPE_INT && config_setting_type(s) != CONFIG_TYPE_INT64) ||
			n < min || n > max) {
			reader_error(m->r, member_line_of(s), m->path, "%s = %s: right is %ld to %ld", name,
				reader_value(s, value, sizeof(value)), min, max);
			return false;
		}
	}
	*out = (uint16_t)n;
	return true;
}

bool
member_bool(const struct member_ctx *m, const char *name, bool *out)
{
	const config_setting_t *s = member_get(m, name, false);
	char value[160];

	*out = false;
	if (s == NULL)
		return true;
	if (config_setting_type(s) == CONFIG_TYPE_BOOL) {
		*out = config_setting_get_bool(s) != 0;
		return true;
	}
	if (config_setting_type(s) == CONFIG_TYPE_STRING) {
		const char *text = config_setting_get_string(s);

		if (strcasecmp(text, "yes") == 0 || strcasecmp(text, "true") == 0 || strcasecmp(text, "on") == 0) {
			*out = true;
			return true;
		}
		if (strcasecmp(text, "no") == 0 || strcasecmp(text, "false") == 0 || strcasecmp(text, "off") == 0)
			return true;
	}
	reader_error(m->r, member_line_of(s), m->path, "%s = %s: right is true or false", name,
		reader_value(s, value, sizeof(value)));
	return false;
}

bool
member_addr(const struct member_ctx *m, const char *name, struct ip_addr *out, bool required, int family)
{
	char text[IP_ADDR_TEXT_MAX_OCTETS];
	const config_setting_t *s = config_setting_get_member(m->group, name);

	memset(out, 0, sizeof(*out));
	if (!member_text(m, name, text, sizeof(text), required))
		return false;
	if (text[0] == '\0')
		return true;
	if (ip_addr_parse(text, out) != 0 || (family != 0 && ip_addr_is_v4(out) != (family == 4))) {
		reader_error(m->r, member_line_of(s), m->path, "%s = \"%s\" is not an %s address", name, text,
			family == 4   ? "IPv4"
			: family == 6 ? "IPv6"
				      : "IP");
		memset(out, 0, sizeof(*out));
		return false;
	}
	return true;
}

/* A name of ours: letters, digits, hyphen, underscore, dot; it goes into logs as it is. */
bool
member_name(const struct member_ctx *m, char *out)
{
	const config_setting_t *s = config_setting_get_member(m->group, "name");

	if (!member_text(m, "name", out, CONF_NAME_OCTETS, true))
		return false;
	for (const char *p = out; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && strchr("-_.", *p) == NULL) {
			reader_error(m->r, member_line_of(s), m->path,
				"name = \"%s\": right are letters, digits, - _ and .", out);
			return false;
		}
	return true;
}

void
member_domains(const struct member_ctx *m, struct config_texts *out)
{
	const config_setting_t *s = config_setting_get_member(m->group, "domains");
	struct config_text file = { 0 };
	char name[512], path[384];

	snprintf(path, sizeof(path), "%s.domains", m->path);
	if (s != NULL)
		reader_texts(m->r, s, path, out);
	for (uint32_t i = 0; i < out->n; i++) {
		const char *wrong = config_host_wrong(out->v[i].text);

		if (wrong != NULL)
			reader_error(m->r, out->v[i].line, path, "\"%.100s\" %s", out->v[i].text, wrong);
	}
	if (!member_text(m, "domains_file", name, sizeof(name), false) || name[0] == '\0')
		return;
	file.text = name;
	file.line = member_line_of(config_setting_get_member(m->group, "domains_file"));
	snprintf(path, sizeof(path), "%s.domains_file", m->path);
	reader_list_file(m->r, LIST_OF_HOSTS, &file, path, NULL, out);
}
