/*
 * request.c - one request to greyline-control and its answer.
 *
 * Flow:   command -> cli_request() -> Unix socket, one line of JSON each way -> result
 * Touches: the control socket.
 * Keeps:  bounded: an answer has CLI_ANSWER_MAX_OCTETS at most and comes within CLI_ANSWER_TIMEOUT_S, or the daemon counts as not reachable.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control/cli/cli.h"

#define READ_OCTETS 65536u

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The socket, or -errno. */
static int
connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd, error;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) != 0) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

static int
send_all(int fd, const char *data, size_t n)
{
	while (n > 0) {
		const ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		data += sent;
		n -= (size_t)sent;
	}
	return 0;
}

/* One line without its LF; the caller frees it. NULL: *error is the reason. */
static char *
read_line(int fd, int *error)
{
	const int64_t end_ms = now_ms() + CLI_ANSWER_TIMEOUT_S * 1000;
	size_t used = 0, room = READ_OCTETS;
	char *line = malloc(room), *more;

	*error = ENOMEM;
	while (line != NULL) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		const int64_t left_ms = end_ms - now_ms();
		char *lf;
		ssize_t n;

		if (left_ms <= 0 || poll(&p, 1, (int)left_ms) == 0) {
			*error = ETIMEDOUT;
			break;
		}
		n = read(fd, line + used, room - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			*error = n < 0 ? errno : EPIPE;
			break;
		}
		lf = memchr(line + used, '\n', (size_t)n);
		used += (size_t)n;
		if (lf != NULL) {
			*lf = '\0';
			return line;
		}
		if (used < room)
			continue;
		if (room >= CLI_ANSWER_MAX_OCTETS) {
			*error = EMSGSIZE;
			break;
		}
		room *= 2;
		more = realloc(line, room);
		if (more == NULL)
			break;
		line = more;
	}
	free(line);
	return NULL;
}

void
cli_print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	putchar('\n');
}

int
cli_fail(const struct cli *cli, enum cli_exit exit_code, const char *code, const char *format, ...)
{
	char message[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	for (char *c = message; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			*c = '?';
	fprintf(stderr, "greylinectl: %s\n", message);
	if (cli->json) {
		json_t *o = json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", message);

		if (o != NULL)
			cli_print_json(o);
		json_decref(o);
	}
	return exit_code;
}

/* What the daemon refused, as an exit code. Every line of a refused file goes to stderr. */
static int
refused(const struct cli *cli, const json_t *error)
{
	static const struct {
		const char *code;
		enum cli_exit exit_code;
	} codes[] = {
		{ "not-found", CLI_NOT_FOUND },
		{ "usage", CLI_USAGE },
		{ "bad-value", CLI_USAGE },
		{ "unavailable", CLI_UNREACHABLE },
	};
	const char *code = cli_get_text(error, "code", "unknown");
	const json_t *lines = json_object_get(error, "lines"), *line;
	enum cli_exit exit_code = CLI_UNREACHABLE;
	size_t i;

	for (i = 0; i < ARRAY_LEN(codes); i++)
		if (strcmp(codes[i].code, code) == 0)
			exit_code = codes[i].exit_code;
	if (json_is_array(lines) && !cli->json)
		json_array_foreach(lines, i, line) if (json_is_string(line))
			fprintf(stderr, "%s\n", json_string_value(line));
	if (cli->json) {
		json_t *o = json_pack("{s:O}", "error", error);

		if (o != NULL)
			cli_print_json(o);
		json_decref(o);
		fprintf(stderr, "greylinectl: %s\n", cli_get_text(error, "message", code));
		return exit_code;
	}
	return cli_fail(cli, exit_code, code, "%s", cli_get_text(error, "message", code));
}

/* The line of the request, LF included; the caller frees it. Takes args. */
static char *
request_line(const char *cmd, json_t *args)
{
	json_t *o = json_pack("{s:s, s:o*}", "cmd", cmd, "args", args);
	char *text = o != NULL ? json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL, *line = NULL;

	json_decref(o);
	if (text != NULL && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	return line;
}

int
cli_request(struct cli *cli, const char *cmd, json_t *args, json_t **result)
{
	char *line = request_line(cmd, args), *answer = NULL;
	json_t *o = NULL, *value;
	json_error_t why;
	int fd = -1, error, exit_code;

	*result = NULL;
	if (line == NULL || strlen(line) > CLI_REQUEST_MAX_OCTETS) {
		exit_code = cli_fail(cli, CLI_USAGE, "usage", "an argument is too long or not UTF-8");
		goto out;
	}
	fd = connect_to(cli->socket_path);
	if (fd < 0) {
		exit_code = cli_fail(cli, CLI_UNREACHABLE, "unavailable", "%s: %s%s", cli->socket_path, strerror(-fd),
			fd == -ENOENT || fd == -ECONNREFUSED ? " (is greyline-control running?)" : "");
		goto out;
	}
	error = -send_all(fd, line, strlen(line));
	if (error == 0)
		answer = read_line(fd, &error);
	if (answer == NULL) {
		exit_code = cli_fail(cli, CLI_UNREACHABLE, "unavailable", "%s: %s", cli->socket_path,
			error == EPIPE ? "closed without an answer" : strerror(error));
		goto out;
	}
	o = json_loads(answer, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(o) || !json_is_boolean(json_object_get(o, "ok"))) {
		exit_code = cli_fail(
			cli, CLI_UNREACHABLE, "unavailable", "%s: the answer is not in our protocol", cli->socket_path);
		goto out;
	}
	if (!json_is_true(json_object_get(o, "ok"))) {
		exit_code = refused(cli, json_object_get(o, "error"));
		goto out;
	}
	value = json_object_get(o, "result");
	*result = value != NULL ? json_incref(value) : json_object();
	exit_code = CLI_OK;
out:
	json_decref(o);
	free(answer);
	free(line);
	if (fd >= 0)
		close(fd);
	return exit_code;
}

int
cli_ask(struct cli *cli, const char *cmd, json_t *args, json_t **result)
{
	const int exit_code = cli_request(cli, cmd, args, result);

	if (exit_code == CLI_OK && cli->json) {
		cli_print_json(*result);
		json_decref(*result);
		*result = NULL;
	}
	return exit_code;
}

int
cli_ask_one(struct cli *cli, const char *cmd, const char *key, bool needed, int argc, char **argv, json_t **result)
{
	const char *pos[CLI_ARGS_MAX];
	json_t *args = NULL;

	*result = NULL;
	if (cli_arguments(cli, argc, argv, NULL, 0, needed ? 1 : 0, key != NULL ? 1 : 0, pos) < 0)
		return CLI_USAGE;
	if (key != NULL) {
		args = json_object();
		cli_put(args, key, pos[0]);
	}
	return cli_ask(cli, cmd, args, result);
}

int
cli_show_one(struct cli *cli, const char *cmd, const char *key, bool needed, int argc, char **argv,
	const struct cli_field *fields, size_t n)
{
	json_t *result;
	const int exit_code = cli_ask_one(cli, cmd, key, needed, argc, argv, &result);

	if (result != NULL)
		cli_print_fields(result, fields, n);
	json_decref(result);
	return exit_code;
}

bool
cli_limit(const struct cli *cli, const char *text, long max, long *out)
{
	char *end;
	long n;

	if (text == NULL)
		return true;
	n = strtol(text, &end, 10);
	if (end == text || *end != '\0' || n < 1 || n > max) {
		cli_usage(cli, "--limit is a number from 1 to %ld", max);
		return false;
	}
	*out = n;
	return true;
}

bool
cli_put_limit(const struct cli *cli, json_t *args, const char *text)
{
	long n = 0;

	if (!cli_limit(cli, text, CLI_LIMIT_MAX, &n))
		return false;
	if (text != NULL)
		json_object_set_new(args, "limit", json_integer(n));
	return true;
}

void
cli_put(json_t *args, const char *key, const char *text)
{
	if (text != NULL)
		json_object_set_new(
			args, key, json_string(text)); /* not UTF-8: NULL, left out; control names what is missing */
}
