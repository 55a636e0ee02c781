/*
 * options.c - parsing, showing and documenting single settings.
 *
 * Flow:   options.def -> option_table -> config.c, api_config.c, --dump-options
 * Pure:   text in, values out.
 * Keeps:  a value is written only when it is valid and in range.
 */
#include "control/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "control/config.h"
#include "dataplane/base/bug.h"

const struct option_row option_table[] = {
#define OPTION(path, field, type, when, min, max, words, def, help)                                                    \
	{ path, OPTION_##type, OPTION_##when, offsetof(struct option_values, field),                                   \
		sizeof(((struct option_values *)0)->field), min, max, words, def, help },
#define OPTION_LIST(path, id, item, when, help)
#define GROUP(path, help)
#define MEMBER(group, name, kind, def, help)
#include "control/options.def"
#undef OPTION
#undef OPTION_LIST
#undef GROUP
#undef MEMBER
};
const unsigned option_n = ARRAY_LEN(option_table);

const struct option_list option_list_table[LIST_N] = {
#define OPTION(...)
#define OPTION_LIST(path, id, item, when, help) { path, ITEM_##item, OPTION_##when, help },
#define GROUP(path, help)
#define MEMBER(group, name, kind, def, help)
#include "control/options.def"
#undef OPTION
#undef OPTION_LIST
#undef GROUP
#undef MEMBER
};

/* name NULL: the group itself */
const struct option_member option_member_table[] = {
#define OPTION(...)
#define OPTION_LIST(path, id, item, when, help)
#define GROUP(path, help)                    { path, NULL, NULL, NULL, help },
#define MEMBER(group, name, kind, def, help) { group, name, kind, def, help },
#include "control/options.def"
#undef OPTION
#undef OPTION_LIST
#undef GROUP
#undef MEMBER
};
const unsigned option_member_n = ARRAY_LEN(option_member_table);

const struct option_row *
option_find(const char *path)
{
	for (unsigned i = 0; i < option_n; i++)
		if (strcmp(option_table[i].path, path) == 0)
			return &option_table[i];
	return NULL;
}

static void *
field_of(const struct option_row *o, struct option_values *values)
{
	return (char *)values + o->offset;
}

static const void *
field_of_const(const struct option_row *o, const struct option_values *values)
{
	return (const char *)values + o->offset;
}

void
option_copy(const struct option_row *o, struct option_values *to, const struct option_values *from)
{
	memcpy(field_of(o, to), field_of_const(o, from), o->octets);
}

bool
option_equal(const struct option_row *o, const struct option_values *a, const struct option_values *b)
{
	if (o->type == OPTION_TEXT)
		return strcmp(field_of_const(o, a), field_of_const(o, b)) == 0;
	return memcmp(field_of_const(o, a), field_of_const(o, b), o->octets) == 0;
}

void
option_defaults(struct option_values *values)
{
	char why[OPTION_ERROR_OCTETS];

	memset(values, 0, sizeof(*values));
	for (unsigned i = 0; i < option_n; i++)
		if (option_table[i].type != OPTION_TEXT || option_table[i].def[0] != '\0')
			BUG_ON(option_parse(&option_table[i], option_table[i].def, values, why) != 0);
}

static int64_t
number_read(const struct option_row *o, const struct option_values *values)
{
	const void *f = field_of_const(o, values);

	switch (o->type) {
	case OPTION_BOOL:
	case OPTION_WORD:
		return *(const uint8_t *)f;
	case OPTION_COUNT:
	case OPTION_SECONDS:
	case OPTION_MILLISECONDS:
		return *(const uint32_t *)f;
	case OPTION_NUMBER:
		return *(const int32_t *)f;
	case OPTION_COUNT64:
	case OPTION_OCTETS:
		return (int64_t) * (const uint64_t *)f;
	case OPTION_TEXT:
		break;
	}
	return 0;
}

static void
number_write(const struct option_row *o, struct option_values *values, int64_t n)
{
	void *f = field_of(o, values);

	switch (o->type) {
	case OPTION_BOOL:
	case OPTION_WORD:
		*(uint8_t *)f = (uint8_t)n;
		break;
	case OPTION_COUNT:
	case OPTION_SECONDS:
	case OPTION_MILLISECONDS:
		*(uint32_t *)f = (uint32_t)n;
		break;
	case OPTION_NUMBER:
		*(int32_t *)f = (int32_t)n;
		break;
	case OPTION_COUNT64:
	case OPTION_OCTETS:
		*(uint64_t *)f = (uint64_t)n;
		break;
	case OPTION_TEXT:
		break;
	}
}

/* --- showing */

static const struct {
	char unit[3];
	int64_t seconds;
} second_units[] = { { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 } };

static void
number_format(const struct option_row *o, int64_t n, char *out, size_t octets)
{
	switch (o->type) {
	case OPTION_SECONDS:
		for (unsigned i = 0; i < ARRAY_LEN(second_units); i++)
			if (n % second_units[i].seconds == 0 && (n != 0 || second_units[i].seconds == 1)) {
				snprintf(out, octets, "%" PRId64 "%s", n / second_units[i].seconds,
					second_units[i].unit);
				return;
			}
		break;
	case OPTION_MILLISECONDS:
		snprintf(out, octets, "%" PRId64 "ms", n);
		return;
	case OPTION_OCTETS:
	case OPTION_BOOL:
	case OPTION_WORD:
	case OPTION_COUNT:
	case OPTION_COUNT64:
	case OPTION_NUMBER:
	case OPTION_TEXT:
		break;
	}
	snprintf(out, octets, "%" PRId64, n);
}

/* The word of an index into out; false when there are not so many. */
static bool
word_at(const char *words, int64_t index, char *out, size_t octets)
{
	while (*words != '\0') {
		size_t n = strcspn(words, " ");

		if (index-- == 0) {
			snprintf(out, octets, "%.*s", (int)n, words);
			return true;
		}
		words += n;
		words += strspn(words, " ");
	}
	return false;
}

char *
option_format(const struct option_row *o, const struct option_values *values, char *out)
{
	if (o->type == OPTION_TEXT)
		snprintf(out, OPTION_TEXT_OCTETS, "%s", (const char *)field_of_const(o, values));
	else if (o->type == OPTION_BOOL)
		snprintf(out, OPTION_TEXT_OCTETS, "%s", number_read(o, values) != 0 ? "true" : "false");
	else if (o->type != OPTION_WORD)
		number_format(o, number_read(o, values), out, OPTION_TEXT_OCTETS);
	else if (!word_at(o->words, number_read(o, values), out, OPTION_TEXT_OCTETS))
		snprintf(out, OPTION_TEXT_OCTETS, "%" PRId64, number_read(o, values));
	return out;
}

char *
option_range(const struct option_row *o, char *out)
{
	char low[64], high[64], word[64];
	size_t at = 0;

	switch (o->type) {
	case OPTION_BOOL:
		snprintf(out, OPTION_ERROR_OCTETS, "true or false");
		break;
	case OPTION_WORD:
		out[0] = '\0';
		for (int64_t i = 0; word_at(o->words, i, word, sizeof(word)) && at < OPTION_ERROR_OCTETS; i++)
			at += (size_t)snprintf(out + at, OPTION_ERROR_OCTETS - at, "%s%s",
				i == 0        ? ""
				: i == o->max ? " or "
					      : ", ",
				word);
		break;
	case OPTION_TEXT:
		snprintf(out, OPTION_ERROR_OCTETS, "a text of %s%" PRId64 " octets", o->min > 0 ? "1 to " : "up to ",
			o->max);
		break;
	case OPTION_COUNT:
	case OPTION_COUNT64:
	case OPTION_NUMBER:
	case OPTION_SECONDS:
	case OPTION_MILLISECONDS:
	case OPTION_OCTETS:
		number_format(o, o->min, low, sizeof(low));
		number_format(o, o->max, high, sizeof(high));
		snprintf(out, OPTION_ERROR_OCTETS, "%s to %s", low, high);
		break;
	}
	return out;
}

const char *
option_type_name(const struct option_row *o)
{
	switch (o->type) {
	case OPTION_BOOL:
		return "boolean";
	case OPTION_WORD:
		return "word";
	case OPTION_COUNT:
	case OPTION_COUNT64:
	case OPTION_NUMBER:
		return "number";
	case OPTION_SECONDS:
		return "duration, s m h d";
	case OPTION_MILLISECONDS:
		return "duration, ms s";
	case OPTION_OCTETS:
		return "octets, k m g";
	case OPTION_TEXT:
		return "text";
	}
	return "";
}

const char *
option_when_name(enum option_when when)
{
	switch (when) {
	case OPTION_LIVE:
		return "live";
	case OPTION_START:
		return "start";
	case OPTION_FILE:
		return "file";
	}
	return "";
}

/* --- parsing */

int
option_set_integer(const struct option_row *o, int64_t number, struct option_values *values, char *why)
{
	char range[OPTION_ERROR_OCTETS];

	if (o->type == OPTION_TEXT || o->type == OPTION_WORD || o->type == OPTION_BOOL) {
		snprintf(why, OPTION_ERROR_OCTETS, "a number is not %s", option_range(o, range));
		return -EINVAL;
	}
	if (number < o->min || number > o->max) {
		snprintf(why, OPTION_ERROR_OCTETS, "out of range; right is %.400s", option_range(o, range));
		return -EINVAL;
	}
	number_write(o, values, number);
	return 0;
}

static int
bool_parse(const char *text, int64_t *out)
{
	static const struct {
		const char *word;
		int64_t value;
	} words[] = { { "true", 1 }, { "yes", 1 }, { "on", 1 }, { "1", 1 }, { "false", 0 }, { "no", 0 }, { "off", 0 },
		{ "0", 0 } };

	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(text, words[i].word) == 0) {
			*out = words[i].value;
			return 0;
		}
	return -EINVAL;
}

static int
word_parse(const char *words, const char *text, int64_t *out)
{
	char word[64];

	for (int64_t i = 0; word_at(words, i, word, sizeof(word)); i++)
		if (strcmp(text, word) == 0) {
			*out = i;
			return 0;
		}
	return -EINVAL;
}

/* A number with a unit of o's type: 0 or -EINVAL. */
static int
number_parse(const struct option_row *o, const char *text, int64_t *out)
{
	static const struct {
		enum option_type type;
		const char *unit;
		int64_t factor;
	} units[] = {
		{ OPTION_SECONDS, "s", 1 },
		{ OPTION_SECONDS, "m", 60 },
		{ OPTION_SECONDS, "h", 3600 },
		{ OPTION_SECONDS, "d", 86400 },
		{ OPTION_SECONDS, "w", 604800 },
		{ OPTION_MILLISECONDS, "ms", 1 },
		{ OPTION_MILLISECONDS, "s", 1000 },
		{ OPTION_MILLISECONDS, "m", 60000 },
		{ OPTION_OCTETS, "k", 1024 },
		{ OPTION_OCTETS, "m", 1048576 },
		{ OPTION_OCTETS, "g", 1073741824 },
	};
	int64_t factor = 0, n;
	char *end;

	if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && isdigit((unsigned char)text[1])))
		return -EINVAL;
	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno != 0)
		return -EINVAL;
	if (*end == '\0')
		factor = 1;
	for (unsigned i = 0; factor == 0 && i < ARRAY_LEN(units); i++)
		if (units[i].type == o->type && strcmp(end, units[i].unit) == 0)
			factor = units[i].factor;
	if (factor == 0 || __builtin_mul_overflow(n, factor, out))
		return -EINVAL;
	return 0;
}

static int
text_parse(const struct option_row *o, const char *text, struct option_values *values, char *why)
{
	size_t n = strlen(text);
	char range[OPTION_ERROR_OCTETS];

	if ((int64_t)n < o->min || (int64_t)n > o->max || n >= o->octets) {
		snprintf(why, OPTION_ERROR_OCTETS, "right is %.400s", option_range(o, range));
		return -EINVAL;
	}
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || (unsigned char)text[i] == 0x7f) {
			snprintf(why, OPTION_ERROR_OCTETS, "control characters are not allowed");
			return -EINVAL;
		}
	memset(field_of(o, values), 0, o->octets);
	memcpy(field_of(o, values), text, n);
	return 0;
}

int
option_parse(const struct option_row *o, const char *text, struct option_values *values, char *why)
{
	char range[OPTION_ERROR_OCTETS];
	int64_t n = 0;
	int error;

	switch (o->type) {
	case OPTION_TEXT:
		return text_parse(o, text, values, why);
	case OPTION_BOOL:
	case OPTION_WORD:
		error = o->type == OPTION_BOOL ? bool_parse(text, &n) : word_parse(o->words, text, &n);
		if (error != 0)
			snprintf(why, OPTION_ERROR_OCTETS, "right is %.400s", option_range(o, range));
		else
			number_write(o, values, n);
		return error;
	case OPTION_COUNT:
	case OPTION_COUNT64:
	case OPTION_NUMBER:
	case OPTION_SECONDS:
	case OPTION_MILLISECONDS:
	case OPTION_OCTETS:
		if (number_parse(o, text, &n) != 0) {
			snprintf(why, OPTION_ERROR_OCTETS, "not a %s; right is %.400s", option_type_name(o),
				option_range(o, range));
			return -EINVAL;
		}
		return option_set_integer(o, n, values, why);
	}
	return -EINVAL;
}

/* A host name of ours: letters, digits, hyphens, at least one dot (RFC 5321 section 2.3.5). */
static bool
hostname_ok(const char *name)
{
	size_t label = 0;
	bool dot = false;

	for (const char *p = name; *p != '\0'; p++) {
		if (*p == '.') {
			if (label == 0 || p[-1] == '-')
				return false;
			dot = true;
			label = 0;
		} else if (isalnum((unsigned char)*p) || (*p == '-' && label > 0)) {
			if (++label > 63)
				return false;
		} else {
			return false;
		}
	}
	return dot && label > 0;
}

const char *
option_check_all(const struct option_values *values, const char **path)
{
	const struct conf *c = &values->conf;
	struct ip_addr addr;
	uint16_t port;

	*path = "hostname";
	if (c->hostname[0] == '\0')
		return "has to be given, for example \"gw.example.org\"";
	if (!hostname_ok(c->hostname))
		return "is not a full host name; right is for example \"gw.example.org\"";
	*path = "greylist.pass";
	if (c->grey_pass_s <= c->grey_block_s)
		return "has to be longer than greylist.block";
	*path = "greylist.window_max";
	if (c->grey_window_max_s < c->grey_pass_s && c->grey_lapse_memory_s > 0)
		return "has to be at least greylist.pass";
	*path = "greylist.expire";
	if (c->grey_expire_s <= c->grey_block_s)
		return "has to be longer than greylist.block";
	*path = "dnsbl.grey_threshold";
	if (c->dnsbl_grey_threshold > c->dnsbl_reject_threshold)
		return "has to be at most dnsbl.reject_threshold";
	*path = "state.map_max_mb";
	if (values->map_max_mb < values->map_mb)
		return "has to be at least state.map_mb";
	*path = "metrics.listen";
	if (values->metrics_listen[0] != '\0' && config_server_parse(values->metrics_listen, 9925, &addr, &port) != 0)
		return "has to be an address of ours, for example \"127.0.0.1:9925\" or \"[::1]:9925\", or empty";
	*path = "run_dir";
	if (values->run_dir[0] != '/')
		return "has to be an absolute path";
	if (strlen(values->run_dir) > sizeof(values->run_dir) - 1 - sizeof("/control.sock"))
		return "is too long: a socket's path has 107 octets";
	*path = "state_dir";
	if (values->state_dir[0] != '/')
		return "has to be an absolute path";
	*path = "log.file";
	if (values->log_file[0] != '\0' && values->log_file[0] != '/')
		return "has to be an absolute path";
	*path = NULL;
	return NULL;
}

/* --- names that are near */

#define EDIT_MAX_OCTETS 64

unsigned
edit_distance(const char *a, const char *b)
{
	unsigned rows[3][EDIT_MAX_OCTETS + 1];
	unsigned *before2 = rows[0], *before = rows[1], *row = rows[2];
	size_t na = MIN(strlen(a), (size_t)EDIT_MAX_OCTETS), nb = MIN(strlen(b), (size_t)EDIT_MAX_OCTETS);

	for (size_t j = 0; j <= nb; j++) {
		before[j] = (unsigned)j;
		before2[j] = 0;
	}
	for (size_t i = 1; i <= na; i++) {
		unsigned *oldest = before2;

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned best = before[j - 1] + (a[i - 1] != b[j - 1]);

			best = MIN(best, before[j] + 1);
			best = MIN(best, row[j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, before2[j - 2] + 1);
			row[j] = best;
		}
		before2 = before;
		before = row;
		row = oldest;
	}
	return before[nb];
}

struct nearest {
	const char *name;
	unsigned distance;
};

static void
nearest_try(struct nearest *best, const char *want, const char *name)
{
	unsigned d = edit_distance(want, name);

	if (d <= 1 + strlen(want) / 3 && (best->name == NULL || d < best->distance)) {
		best->name = name;
		best->distance = d;
	}
}

const char *
name_nearest(const char *name, const char *const *names, unsigned n)
{
	struct nearest best = { 0 };

	for (unsigned i = 0; i < n; i++)
		nearest_try(&best, name, names[i]);
	return best.name;
}

const char *
option_nearest(const char *path)
{
	struct nearest best = { 0 };
	const char *word = strrchr(path, '.');

	for (unsigned i = 0; i < option_n; i++)
		nearest_try(&best, path, option_table[i].path);
	for (unsigned i = 0; i < LIST_N; i++)
		nearest_try(&best, path, option_list_table[i].path);
	for (unsigned i = 0; i < option_member_n; i++)
		if (option_member_table[i].name == NULL)
			nearest_try(&best, path, option_member_table[i].group);
	/* the right word in the wrong group: "block" or "policy.block" means greylist.block */
	word = word != NULL ? word + 1 : path;
	for (unsigned i = 0; best.name == NULL && i < option_n; i++) {
		const char *last = strrchr(option_table[i].path, '.');

		if (last != NULL && strcmp(last + 1, word) == 0)
			best.name = option_table[i].path;
	}
	return best.name;
}

/* --- documentation */

static const char *
item_name(enum option_item item)
{
	switch (item) {
	case ITEM_NETWORK:
		return "list of networks";
	case ITEM_HOST:
		return "list of domain names";
	case ITEM_ADDRESS:
		return "list of mail addresses";
	case ITEM_FILE_NAME:
		return "list of files";
	case ITEM_SERVER:
		return "list of servers";
	case ITEM_WORDS:
		return "list of texts";
	}
	return "";
}

static const char *
when_text(enum option_when when)
{
	switch (when) {
	case OPTION_LIVE:
		return "at once";
	case OPTION_START:
		return "at the next start";
	case OPTION_FILE:
		return "by the file alone";
	}
	return "";
}

static void
dump_md(FILE *out)
{
	char range[OPTION_ERROR_OCTETS];

	fprintf(out, "# Settings of greyline.conf\n\n"
		     "Made by `greyline-control --dump-options=md` from control/options.def; do not edit.\n\n"
		     "The file has the syntax of libconfig: `name = value;`, groups in `{ }`, arrays in `[ ]`, lists "
		     "of groups in `( )`,\n"
		     "comments after `#` or `//`. Durations are a number of seconds or a text with s, m, h or d "
		     "(`\"4m\"`); settings whose\n"
		     "name ends in `_ms` count milliseconds. List files hold one entry on each line; `#` begins a "
		     "comment.\n\n"
		     "*Counts*: \"at once\" after `greylinectl reload` or `greylinectl set`; \"at the next start\" of "
		     "the daemon it concerns.\n\n"
		     "## Single values\n\n| setting | kind | range | default | counts | meaning |\n| --- | --- | --- | "
		     "--- | --- | --- |\n");
	for (unsigned i = 0; i < option_n; i++) {
		const struct option_row *o = &option_table[i];

		fprintf(out, "| `%s` | %s | %s | %s%s%s | %s | %s |\n", o->path, option_type_name(o),
			option_range(o, range), o->def[0] != '\0' ? "`" : "", o->def, o->def[0] != '\0' ? "`" : "",
			when_text(o->when), o->help);
	}
	fprintf(out, "\n## Lists\n\n| setting | kind | counts | meaning |\n| --- | --- | --- | --- |\n");
	for (unsigned i = 0; i < LIST_N; i++)
		fprintf(out, "| `%s` | %s | %s | %s |\n", option_list_table[i].path,
			item_name(option_list_table[i].item), when_text(option_list_table[i].when),
			option_list_table[i].help);
	for (unsigned i = 0; i < option_member_n; i++) {
		const struct option_member *m = &option_member_table[i];

		if (m->name == NULL)
			fprintf(out,
				"\n## %s\n\n%s\n\n| member | kind | default | meaning |\n| --- | --- | --- | --- |\n",
				m->group, m->help);
		if (m->name != NULL) {
			fprintf(out, "| `%s` | ", m->name);
			for (const char *p = m->kind; *p != '\0'; p++)
				fprintf(out, *p == '|' ? "\\|" : "%c", *p); /* a bare one would end the cell */
			fprintf(out, " | %s | %s |\n", strcmp(m->def, "-") == 0 ? "has to be given" : m->def, m->help);
		}
	}
}

/* Text for roff: a backslash and a leading dot would be read as orders, a hyphen as a dash. */
static void
roff(FILE *out, const char *text)
{
	for (const char *p = text; *p != '\0'; p++) {
		if (*p == '\\' || *p == '-')
			fputc('\\', out);
		if ((*p == '.' || *p == '\'') && (p == text || p[-1] == '\n'))
			fputs("\\&", out);
		fputc(*p, out);
		if (*p == '\\')
			fputc('e', out);
	}
}

static void
roff_row(FILE *out, const char *name, const char *kind, const char *help)
{
	fprintf(out, ".TP\n.B ");
	roff(out, name);
	fprintf(out, "\n");
	roff(out, help);
	fprintf(out, "\n.br\n");
	roff(out, kind);
	fprintf(out, "\n");
}

static void
dump_man(FILE *out)
{
	char range[OPTION_ERROR_OCTETS], kind[2 * OPTION_ERROR_OCTETS];

	fprintf(out, ".\\\" made by greyline-control --dump-options=man from control/options.def; do not edit\n"
		     ".TH GREYLINE.CONF 5 \"\" \"Greyline\" \"Greyline\"\n.SH NAME\ngreyline.conf, greyline-control "
		     "\\- configuration of the mail gateway\n"
		     ".SH SYNOPSIS\n.B greyline-control\n\\-\\-config FILE [\\-\\-foreground] | \\-\\-check FILE | "
		     "\\-\\-dump\\-options=man|md|sample\n"
		     ".SH DESCRIPTION\n.B greyline-control\nreads the configuration, keeps the database, asks DNS and "
		     "serves greylinectl and metrics.\n"
		     "SIGHUP reads the configuration again and reopens the log; SIGTERM ends it. A bad file never "
		     "replaces a good one.\n.PP\n"
		     "The file has the syntax of libconfig: name = value; groups in { }, arrays in [ ], lists of "
		     "groups in ( ), comments after #.\n"
		     "Durations are a number of seconds or a text with s, m, h or d; settings whose name ends in _ms "
		     "count milliseconds.\n"
		     "List files hold one entry on each line.\n.SH SINGLE VALUES\n");
	for (unsigned i = 0; i < option_n; i++) {
		const struct option_row *o = &option_table[i];

		snprintf(kind, sizeof(kind), "%s; %s; default %s; counts %s", option_type_name(o),
			option_range(o, range), o->def[0] != '\0' ? o->def : "empty", when_text(o->when));
		roff_row(out, o->path, kind, o->help);
	}
	fprintf(out, ".SH LISTS\n");
	for (unsigned i = 0; i < LIST_N; i++) {
		snprintf(kind, sizeof(kind), "%s; counts %s", item_name(option_list_table[i].item),
			when_text(option_list_table[i].when));
		roff_row(out, option_list_table[i].path, kind, option_list_table[i].help);
	}
	for (unsigned i = 0; i < option_member_n; i++) {
		const struct option_member *m = &option_member_table[i];

		if (m->name == NULL) {
			fprintf(out, ".SH ");
			roff(out, m->group);
			fprintf(out, "\n");
			roff(out, m->help);
			fprintf(out, "\n");
		} else {
			snprintf(kind, sizeof(kind), "%s; %s%s", m->kind,
				strcmp(m->def, "-") == 0 ? "has to be given" : "default ",
				strcmp(m->def, "-") == 0 ? "" : m->def);
			roff_row(out, m->name, kind, m->help);
		}
	}
	fprintf(out, ".SH SEE ALSO\n.BR greylinectl (1),\n.BR greyline\\-dataplane (8)\n");
}

static void
sample_value(FILE *out, const struct option_row *o)
{
	bool quoted = o->type == OPTION_TEXT || o->type == OPTION_WORD;

	for (const char *p = o->def; !quoted && o->type != OPTION_BOOL && *p != '\0'; p++)
		quoted = !isdigit((unsigned char)*p) && *p != '-';
	fprintf(out, quoted ? "\"%s\"" : "%s", o->def);
}

static void
dump_sample(FILE *out)
{
	char range[OPTION_ERROR_OCTETS];

	fprintf(out, "# greyline.conf - every single setting with its default, as comments. Made by `greyline-control "
		     "--dump-options=sample`.\n\n"
		     "hostname = \"gw.example.org\";\n\n"
		     "ports = (\n\t{ name = \"wan\"; device = \"0000:01:00.0\"; addresses = [ \"192.0.2.2/24\", "
		     "\"2001:db8:0:1::2/64\" ];\n"
		     "\t  gateway4 = \"192.0.2.1\"; gateway6 = \"2001:db8:0:1::1\"; },\n"
		     "\t{ name = \"lan\"; device = \"0000:01:00.1\"; addresses = [ \"198.51.100.2/24\" ]; }\n);\n\n"
		     "pools = (\n\t{ name = \"default\"; domains = [ ];\n\t  backends = (\n"
		     "\t\t{ name = \"mta1\"; address = \"198.51.100.3\"; port = 25; client_address = \"proxy_v2\"; } "
		     "); }\n);\n\n"
		     "listeners = (\n\t{ name = \"mx\"; role = \"mx\"; addresses = [ \"192.0.2.2\", "
		     "\"2001:db8:0:1::2\" ]; port = 25;\n"
		     "\t  domains = [ \"example.org\" ]; pools = [ \"default\" ]; }\n);\n\n"
		     "# No third party's zone is active as shipped. Look at each operator's terms of use before taking "
		     "one into use:\n"
		     "# large sites need a subscription, and public resolvers are refused by most.\n"
		     "# dnsbl = { zones = ( \"bl.example.net=127.0.0.[2..11]*3\",\n"
		     "#\t{ zone = \"KEY.bl.example.com\"; name = \"bl.example.com\"; filters = [ \"127.0.0.2*4\" ]; } "
		     "); };\n\n"
		     "dns = { resolvers = [ \"127.0.0.1:53\" ]; };\n\n");
	for (unsigned i = 0; i < option_n; i++) {
		const struct option_row *o = &option_table[i];
		const char *dot = strrchr(o->path, '.');
		const size_t group = dot != NULL ? (size_t)(dot - o->path) : 0;
		const bool first = i == 0 || strncmp(option_table[i - 1].path, o->path, group + 1) != 0;
		const bool last = i + 1 == option_n || strncmp(option_table[i + 1].path, o->path, group + 1) != 0;

		if (strcmp(o->path, "hostname") == 0)
			continue;
		if (group > 0 && first)
			fprintf(out, "# %.*s = {\n", (int)group, o->path);
		fprintf(out, "# %s# %s (%s)\n# %s%s = ", group > 0 ? "\t" : "", o->help, option_range(o, range),
			group > 0 ? "\t" : "", dot != NULL ? dot + 1 : o->path);
		sample_value(out, o);
		fprintf(out, ";\n");
		if (group > 0 && last)
			fprintf(out, "# };\n");
	}
}

bool
option_dump(FILE *out, const char *form)
{
	if (strcmp(form, "md") == 0)
		dump_md(out);
	else if (strcmp(form, "man") == 0)
		dump_man(out);
	else if (strcmp(form, "sample") == 0)
		dump_sample(out);
	else
		return false;
	return true;
}
