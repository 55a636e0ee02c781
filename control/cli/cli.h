/*
 * cli.h - what the commands of greylinectl share: the request, the arguments, printing for people.
 *
 * Flow:   main -> command -> cli_request() -> greyline-control's socket -> table or raw JSON on stdout
 * Keeps:  0 done, 1 not found, 2 usage, 3 daemon not reachable: nothing else leaves the process. What the daemon says is printed as
 *         printable text, whatever it holds. With --json stdout is one JSON value and nothing else.
 */
#ifndef GREYLINE_CONTROL_CLI_CLI_H
#define GREYLINE_CONTROL_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

#include "dataplane/base/bug.h"

enum cli_exit { CLI_OK = 0, CLI_NOT_FOUND = 1, CLI_USAGE = 2, CLI_UNREACHABLE = 3 };

#define CLI_SOCKET_DEFAULT     "/run/greyline/control.sock"
#define CLI_STATE_DIR_DEFAULT  "/var/lib/greyline"
#define CLI_REQUEST_MAX_OCTETS 65536u /* as control takes it */
#define CLI_ANSWER_MAX_OCTETS  (64u << 20)
#define CLI_ANSWER_TIMEOUT_S   20 /* control answers within 15 */
#define CLI_ARGS_MAX           8
#define CLI_LIMIT_MAX          10000 /* rows of one answer, as control gives them */

struct cli_command;
struct cli_field;

struct cli {
	const char *socket_path, *state_dir;
	bool json;
	const struct cli_command *command; /* under way, for usage errors */
};

/* Arguments of a command: positions and --name VALUE. */
struct cli_option {
	const char *name;   /* without dashes */
	const char **value; /* takes the next argument; NULL for a flag */
	bool *flag;
};

struct cli_command {
	const char *words;    /* "grey list" */
	const char *synopsis; /* what follows */
	const char *summary;  /* one line */
	const char *details;  /* for help; may be NULL */
	int (*run)(struct cli *cli, int argc, char **argv);
};

extern const struct cli_command cli_commands[];
extern const size_t cli_n_commands;

/* Positions into pos, at least min and at most max (CLI_ARGS_MAX). The count, or -1 after a message. */
int cli_arguments(struct cli *cli, int argc, char **argv, const struct cli_option *options, size_t n_options, int min,
	int max, const char *pos[CLI_ARGS_MAX]);
/* Prints what is wrong and how the command is used. Always CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A message on stderr; in JSON mode an object with "error" on stdout besides. Answers exit_code. */
int cli_fail(const struct cli *cli, enum cli_exit exit_code, const char *code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Sends cmd with args (takes them; NULL: none) and waits for the answer. CLI_OK: *result is the caller's, json_decref() it. Else the
 * failure was printed and the value is the exit code.
 */
int cli_request(struct cli *cli, const char *cmd, json_t *args, json_t **result);
/* The same and, in JSON mode, prints the result: *result is NULL then and the caller is done. */
int cli_ask(struct cli *cli, const char *cmd, json_t *args, json_t **result);
/* cli_ask() for a command that takes one argument at most: key is its name, NULL takes none; needed: it must be there. */
int cli_ask_one(struct cli *cli, const char *cmd, const char *key, bool needed, int argc, char **argv, json_t **result);
/* The same, and the answer as lines for people. */
int cli_show_one(struct cli *cli, const char *cmd, const char *key, bool needed, int argc, char **argv,
	const struct cli_field *fields, size_t n);
void cli_print_json(const json_t *value);

/* Adds text under key unless it is NULL. */
void cli_put(json_t *args, const char *key, const char *text);
/* A --limit from 1 to max into *out, which stays as it is for NULL. False after a message. */
bool cli_limit(const struct cli *cli, const char *text, long max, long *out);
/* The same under "limit" of args. */
bool cli_put_limit(const struct cli *cli, json_t *args, const char *text);

/* How a value is shown. */
enum cli_as {
	CLI_TEXT,     /* any scalar; lists of scalars joined by blanks */
	CLI_DURATION, /* seconds: 3m 20s */
	CLI_TIME,     /* seconds since 1970: local date and time */
	CLI_OCTETS,   /* 12.3 MiB */
	CLI_MS,       /* 12 ms */
	CLI_YES,      /* yes, no */
	CLI_SHARE,    /* 0.75: 75 % */
};

struct cli_field {
	const char *key; /* dots lead into objects */
	const char *title;
	enum cli_as as;
};

/* The value under a dotted key; NULL when there is none. Lends. */
const json_t *cli_get(const json_t *object, const char *dotted);
const char *cli_get_text(const json_t *object, const char *dotted, const char *otherwise);
/* As text into out; "-" for what is missing. Returns out. */
char *cli_format(const json_t *value, enum cli_as as, char *out, size_t room);
/* An array of objects as a table; columns nobody fills are left out. Nothing but `none` when it is empty. */
void cli_print_table(const json_t *array, const struct cli_field *columns, size_t n, const char *none);
/* An object as lines "title  value"; fields that are missing or empty are left out. */
void cli_print_fields(const json_t *object, const struct cli_field *fields, size_t n);
/* Text of outside on stdout: control octets and what is above 126 as \xHH. */
void cli_print_text(const char *text);

/* The commands, one file for each group. */
int cmd_status(struct cli *cli, int argc, char **argv);
int cmd_stats(struct cli *cli, int argc, char **argv);
int cmd_reload(struct cli *cli, int argc, char **argv);
int cmd_log_reopen(struct cli *cli, int argc, char **argv);
int cmd_set(struct cli *cli, int argc, char **argv);
int cmd_unset(struct cli *cli, int argc, char **argv);
int cmd_config(struct cli *cli, int argc, char **argv);
int cmd_grey_list(struct cli *cli, int argc, char **argv);
int cmd_grey_show(struct cli *cli, int argc, char **argv);
int cmd_grey_pass(struct cli *cli, int argc, char **argv);
int cmd_grey_del(struct cli *cli, int argc, char **argv);
int cmd_client_show(struct cli *cli, int argc, char **argv);
int cmd_client_list(struct cli *cli, int argc, char **argv);
int cmd_client_allow(struct cli *cli, int argc, char **argv);
int cmd_client_deny(struct cli *cli, int argc, char **argv);
int cmd_client_forget(struct cli *cli, int argc, char **argv);
int cmd_explain(struct cli *cli, int argc, char **argv);
int cmd_why(struct cli *cli, int argc, char **argv);
int cmd_dnsbl_test(struct cli *cli, int argc, char **argv);
int cmd_dnsbl_status(struct cli *cli, int argc, char **argv);
int cmd_dnsbl_disable(struct cli *cli, int argc, char **argv);
int cmd_dnsbl_enable(struct cli *cli, int argc, char **argv);
int cmd_dns_cache_show(struct cli *cli, int argc, char **argv);
int cmd_dns_cache_flush(struct cli *cli, int argc, char **argv);
int cmd_backend_list(struct cli *cli, int argc, char **argv);
int cmd_backend_probe(struct cli *cli, int argc, char **argv);
int cmd_backend_drain(struct cli *cli, int argc, char **argv);
int cmd_backend_ready(struct cli *cli, int argc, char **argv);
int cmd_cert_list(struct cli *cli, int argc, char **argv);
int cmd_cert_check(struct cli *cli, int argc, char **argv);
int cmd_cert_reload(struct cli *cli, int argc, char **argv);
int cmd_report(struct cli *cli, int argc, char **argv);
int cmd_db_stats(struct cli *cli, int argc, char **argv);
int cmd_db_list(struct cli *cli, int argc, char **argv);
int cmd_db_show(struct cli *cli, int argc, char **argv);
int cmd_db_options(struct cli *cli, int argc, char **argv);
int cmd_db_backends(struct cli *cli, int argc, char **argv);
int cmd_db_check(struct cli *cli, int argc, char **argv);
int cmd_help(struct cli *cli, int argc, char **argv);

#endif
