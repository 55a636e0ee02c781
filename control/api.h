/*
 * api.h - the control socket: one JSON request on each line, one answer for each.
 *
 * Flow:   greylinectl -> api.c (lines, clients) -> a row of the table of commands (api_*.c) -> answer
 * Touches: a Unix socket on the event loop.
 * Keeps:  README.md has the protocol. Clients, lines and the size of what waits to be sent have caps; one request of a client at a time,
 *         so answers keep the order; a request that waits (DNS, workers) holds its client, never the loop.
 */
#ifndef GREYLINE_CONTROL_API_H
#define GREYLINE_CONTROL_API_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct control;
struct api;
struct api_request;

#define API_CLIENTS_MAX       32
#define API_LINE_MAX_OCTETS   65536
#define API_IDLE_S            600
#define API_ANSWER_MAX_OCTETS (64u << 20)

/* 0 or -errno. */
int api_open(struct control *c, const char *path);
void api_close(struct control *c);

/* A command: answers now or later by exactly one of the two. args is an object, borrowed. */
typedef void api_fn(struct control *c, struct api_request *r, const json_t *args);

struct api_command {
	const char *name;
	api_fn *run;
	const char *args; /* names it knows, separated by spaces */
};

/* Takes result. Gives r back: it must not be used afterwards. */
void api_answer(struct api_request *r, json_t *result);
void api_error(struct api_request *r, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Takes more: an object whose members are added to the error. */
void api_error_with(struct api_request *r, const char *code, const char *message, json_t *more);
struct control *api_control(struct api_request *r);

/* Arguments: the text, or NULL when it is not there. */
const char *api_text(const json_t *args, const char *name);
/* A text that has to be there; answers `usage` and gives NULL when it is not. */
const char *api_need(struct api_request *r, const json_t *args, const char *name);
int64_t api_number(const json_t *args, const char *name, int64_t otherwise);

/* One line as a request: for the fuzz target and the tests. NULL with a message in why (160 octets). *args lends. */
const struct api_command *api_parse(const char *line, size_t octets, json_t **root, const json_t **args, char *why);

/* Printable text of anything: escaped as in the log. The caller owns the value. */
json_t *api_string(const char *text);

/* api_status.c: what an administrator has to see to, worst first, each one line; empty when all is well. The caller owns the array. */
json_t *status_alarms(struct control *c);

/* api_*.c */
extern const struct api_command api_commands_status[], api_commands_config[], api_commands_grey[],
	api_commands_client[], api_commands_explain[], api_commands_backend[], api_commands_cert[];

#endif
