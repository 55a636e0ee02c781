/*
 * options.h - the settings of options.def as a table: parse, check, show, document.
 *
 * Flow:   config (file), api (set, unset, config), main (--dump-options) -> one table
 * Pure:   text in, values out; no files.
 * Keeps:  a value is written only when it is valid; text made by option_format() parses back to the same value.
 */
#ifndef GREYLINE_CONTROL_OPTIONS_H
#define GREYLINE_CONTROL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "dataplane/base/conf.h"

/* Every single value: what the data plane reads (conf) and what control alone needs. */
struct option_values {
	struct conf conf;
	char run_dir[108]; /* a socket's path has 107 octets */
	char state_dir[151];
	char lcores[256];
	char log_file[512];
	char metrics_listen[64];
	char dnsbl_disabled[1000]; /* public names, separated by spaces */
	bool big_senders;
	char big_senders_file[512];
	uint8_t log_format; /* enum log_format */
	uint32_t dns_timeout_ms, dns_tries, dns_cache_entries, dns_in_flight;
	uint32_t why_entries, map_mb, map_max_mb, store_grey_per_s;
	uint64_t state_entries;
};

enum option_type {
	OPTION_BOOL,         /* uint8_t */
	OPTION_WORD,         /* uint8_t: index of the word */
	OPTION_COUNT,        /* uint32_t */
	OPTION_COUNT64,      /* uint64_t */
	OPTION_NUMBER,       /* int32_t */
	OPTION_SECONDS,      /* uint32_t; "90", "90s", "4m", "6h", "36d" */
	OPTION_MILLISECONDS, /* uint32_t; "500", "500ms", "2s" */
	OPTION_OCTETS,       /* uint64_t; "1000", "64k", "40m", "1g" (powers of 1024) */
	OPTION_TEXT,         /* char[] */
};

enum option_when {
	OPTION_LIVE,  /* at once */
	OPTION_START, /* at the next start of the daemon it concerns */
	OPTION_FILE,  /* known before the database is open: by the file alone */
};

struct option_row {
	const char *path;
	enum option_type type;
	enum option_when when;
	size_t offset, octets; /* of the field in struct option_values */
	int64_t min, max;
	const char *words; /* of OPTION_WORD, separated by spaces */
	const char *def, *help;
};

enum option_item { ITEM_NETWORK, ITEM_HOST, ITEM_ADDRESS, ITEM_FILE_NAME, ITEM_SERVER, ITEM_WORDS };

enum option_list_id {
#define OPTION(...)
#define OPTION_LIST(path, id, item, when, help) id,
#define GROUP(path, help)
#define MEMBER(group, name, kind, def, help)
#include "control/options.def"
#undef OPTION
#undef OPTION_LIST
#undef GROUP
#undef MEMBER
	LIST_N
};

struct option_list {
	const char *path;
	enum option_item item;
	enum option_when when;
	const char *help;
};

struct option_member {
	const char *group, *name, *kind, *def, *help;
};

extern const struct option_row option_table[];
extern const unsigned option_n;
extern const struct option_list option_list_table[LIST_N];
extern const struct option_member option_member_table[];
extern const unsigned option_member_n;

#define OPTION_TEXT_OCTETS  1024 /* of a value as text, with NUL */
#define OPTION_ERROR_OCTETS 512

const struct option_row *option_find(const char *path);
void option_defaults(struct option_values *values);

/* Parses text into the field. 0, or -EINVAL with what would be right in why (OPTION_ERROR_OCTETS); values is then unchanged. */
int option_parse(const struct option_row *o, const char *text, struct option_values *values, char *why);
/* A number from the file: seconds, milliseconds, octets, a count. The same answers. */
int option_set_integer(const struct option_row *o, int64_t number, struct option_values *values, char *why);
/* The value as text into out (OPTION_TEXT_OCTETS). Returns out. */
char *option_format(const struct option_row *o, const struct option_values *values, char *out);
bool option_equal(const struct option_row *o, const struct option_values *a, const struct option_values *b);
void option_copy(const struct option_row *o, struct option_values *to, const struct option_values *from);
/* "4m to 24h", "observe, soft or enforce", "1 to 16" into out (OPTION_ERROR_OCTETS). Returns out. */
char *option_range(const struct option_row *o, char *out);
const char *option_type_name(const struct option_row *o);
const char *option_when_name(enum option_when when);

/* What is wrong with the values as a whole (relations between them), NULL when nothing. path: the option to name. */
const char *option_check_all(const struct option_values *values, const char **path);

/* The nearest known name (settings, lists and groups) within an edit distance of a third of its length; NULL when none is near. */
const char *option_nearest(const char *path);
/* The nearest of names[0..n-1]. */
const char *name_nearest(const char *name, const char *const *names, unsigned n);
/* Damerau-Levenshtein distance of two texts (64 octets are compared). */
unsigned edit_distance(const char *a, const char *b);

/* The documentation: "md", "man" or "sample". False: no such form. */
bool option_dump(FILE *out, const char *form);

#endif
