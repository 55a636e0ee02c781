/*
 * api.c - clients of the control socket, lines, and the way to the commands.
 *
 * Flow:   see api.h.
 * Touches: the socket.
 * Keeps:  a client that goes while its request waits leaves the request alone: its answer is dropped.
 */
#include "control/api.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/control.h"
#include "control/log.h"
#include "dataplane/base/bug.h"

struct api_client {
	LIST_ENTRY(api_client) link;
	struct api *api;
	struct bufferevent *bev;
	struct api_request *waiting;
};

struct api_request {
	struct control *c;
	struct api_client *client; /* NULL: gone */
	json_t *root;
};

struct api {
	struct control *c;
	struct evconnlistener *listener;
	LIST_HEAD(, api_client) clients;
	uint32_t n_clients;
	char path[160];
};

static const struct api_command *const tables[] = { api_commands_status, api_commands_config, api_commands_grey,
	api_commands_client, api_commands_explain, api_commands_backend, api_commands_cert };

json_t *
api_string(const char *text)
{
	char out[4096];

	log_escape(text, strlen(text), out, sizeof(out));
	return json_string(out);
}

const char *
api_text(const json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

int64_t
api_number(const json_t *args, const char *name, int64_t otherwise)
{
	const json_t *v = json_object_get(args, name);
	const char *text = json_string_value(v);
	char *end;

	if (json_is_integer(v))
		return json_integer_value(v);
	if (text != NULL && text[0] != '\0') {
		long long n = strtoll(text, &end, 10);

		if (*end == '\0')
			return n;
	}
	return otherwise;
}

const char *
api_need(struct api_request *r, const json_t *args, const char *name)
{
	const char *text = api_text(args, name);

	if (text == NULL)
		api_error(r, "usage", "%s is missing", name);
	return text;
}

struct control *
api_control(struct api_request *r)
{
	return r->c;
}

/* Whether name is one of the words. */
static bool
is_word_of(const char *words, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = words; p != NULL && *p != '\0'; p += strcspn(p, " "), p += strspn(p, " "))
		if (strcspn(p, " ") == n && strncmp(p, name, n) == 0)
			return true;
	return false;
}

const struct api_command *
api_parse(const char *line, size_t octets, json_t **root, const json_t **args, char *why)
{
	static json_t *nothing;
	const struct api_command *cmd = NULL;
	const char *name, *key;
	json_error_t error;
	json_t *value;

	if (nothing == NULL)
		nothing = json_object();
	*root = json_loadb(line, octets, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(*root)) {
		snprintf(why, 160, "not a JSON object: %.100s", *root == NULL ? error.text : "another value");
		goto refused;
	}
	name = json_string_value(json_object_get(*root, "cmd"));
	if (name == NULL) {
		snprintf(why, 160, "cmd is missing");
		goto refused;
	}
	for (unsigned i = 0; cmd == NULL && i < ARRAY_LEN(tables); i++)
		for (const struct api_command *t = tables[i]; cmd == NULL && t->name != NULL; t++)
			if (strcmp(t->name, name) == 0)
				cmd = t;
	if (cmd == NULL) {
		snprintf(why, 160, "unknown command %.100s", name);
		goto refused;
	}
	value = json_object_get(*root, "args");
	*args = value != NULL && !json_is_null(value) ? value : nothing;
	if (!json_is_object(*args)) {
		snprintf(why, 160, "args is not an object");
		goto refused;
	}
	json_object_foreach((json_t *)(uintptr_t)*args, key, value) if (!is_word_of(cmd->args, key))
	{
		snprintf(why, 160, "%.60s has no argument %.60s", name, key);
		goto refused;
	}
	return cmd;
refused:
	for (char *p = why; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
	json_decref(*root);
	*root = NULL;
	return NULL;
}

/* --- answers */

static void client_next(struct api_client *client);

static void
client_free(struct api_client *client)
{
	if (client->waiting != NULL)
		client->waiting->client = NULL;
	LIST_REMOVE(client, link);
	client->api->n_clients--;
	bufferevent_free(client->bev);
	free(client);
}

/* Sends an object as one line. Takes it. */
static void
client_send(struct api_client *client, json_t *line)
{
	char *text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII);
	struct evbuffer *out = bufferevent_get_output(client->bev);

	json_decref(line);
	BUG_ON(text == NULL);
	if (strlen(text) <= API_ANSWER_MAX_OCTETS)
		evbuffer_add(out, text, strlen(text));
	else
		evbuffer_add_printf(out, "{\"ok\":false,\"error\":{\"code\":\"usage\",\"message\":\"the answer is too "
					 "large; give a limit\"}}");
	evbuffer_add(out, "\n", 1);
	free(text);
}

/* Gives the request's answer, frees it and goes on with its client. */
static void
finish(struct api_request *r, json_t *line)
{
	struct api_client *client = r->client;

	json_decref(r->root);
	free(r);
	if (client == NULL) {
		json_decref(line);
		return;
	}
	client->waiting = NULL;
	client_send(client, line);
	bufferevent_enable(client->bev, EV_READ);
	bufferevent_trigger(client->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_OPT_DEFER_CALLBACKS);
}

void
api_answer(struct api_request *r, json_t *result)
{
	finish(r, json_pack("{s:b, s:o}", "ok", 1, "result", result));
}

void
api_error_with(struct api_request *r, const char *code, const char *message, json_t *more)
{
	json_t *error = more != NULL ? more : json_object();

	json_object_set_new(error, "code", json_string(code));
	json_object_set_new(error, "message", api_string(message));
	finish(r, json_pack("{s:b, s:o}", "ok", 0, "error", error));
}

void
api_error(struct api_request *r, const char *code, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	api_error_with(r, code, text, NULL);
}

/* --- clients */

static void
line_run(struct api_client *client, const char *line, size_t octets)
{
	struct api_request *r = calloc(1, sizeof(*r));
	const struct api_command *cmd;
	const json_t *args;
	char why[160];

	BUG_ON(r == NULL);
	r->c = client->api->c;
	r->client = client;
	client->waiting = r;
	cmd = api_parse(line, octets, &r->root, &args, why);
	if (cmd == NULL)
		api_error(r, "usage", "%s", why);
	else
		cmd->run(r->c, r, args);
}

static void
client_next(struct api_client *client)
{
	struct evbuffer *in = bufferevent_get_input(client->bev);

	if (client->waiting == NULL) {
		size_t n;
		char *line = evbuffer_readln(in, &n, EVBUFFER_EOL_LF);

		if (line == NULL) {
			if (evbuffer_get_length(in) > API_LINE_MAX_OCTETS)
				client_free(client);
			return;
		}
		if (n > API_LINE_MAX_OCTETS) {
			free(line);
			client_free(client);
			return;
		}
		line_run(client, line, n);
		free(line);
	}
}

static void
client_read(struct bufferevent *bev, void *arg)
{
	struct api_client *client = arg;

	if (client->waiting != NULL) {
		/* what comes meanwhile stays in the kernel beyond the high-water mark */
		return;
	}
	if (evbuffer_get_length(bufferevent_get_output(bev)) > API_ANSWER_MAX_OCTETS) {
		client_free(client);
		return;
	}
	client_next(client);
}

static void
client_event(struct bufferevent *bev, short what, void *arg)
{
	struct api_client *client = arg;

	(void)bev;
	if ((what & BEV_EVENT_TIMEOUT) != 0 && client->waiting != NULL) {
		bufferevent_enable(client->bev, EV_READ);
		return;
	}
	if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT)) != 0)
		client_free(client);
}

static void
accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	const struct timeval idle = { .tv_sec = API_IDLE_S };
	struct api *api = arg;
	struct api_client *client;

	(void)listener;
	(void)addr;
	(void)len;
	if (api->n_clients >= API_CLIENTS_MAX || (client = calloc(1, sizeof(*client))) == NULL) {
		evutil_closesocket(fd);
		return;
	}
	client->api = api;
	client->bev = bufferevent_socket_new(api->c->base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (client->bev == NULL) {
		evutil_closesocket(fd);
		free(client);
		return;
	}
	LIST_INSERT_HEAD(&api->clients, client, link);
	api->n_clients++;
	bufferevent_setcb(client->bev, client_read, NULL, client_event, client);
	bufferevent_setwatermark(client->bev, EV_READ, 0, API_LINE_MAX_OCTETS + 2);
	bufferevent_set_timeouts(client->bev, &idle, NULL);
	bufferevent_enable(client->bev, EV_READ | EV_WRITE);
}

int
api_open(struct control *c, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct api *api = calloc(1, sizeof(*api));

	BUG_ON(api == NULL);
	api->c = c;
	LIST_INIT(&api->clients);
	snprintf(api->path, sizeof(api->path), "%s", path);
	if (strlen(path) >= sizeof(addr.sun_path)) {
		free(api);
		return -ENAMETOOLONG;
	}
	memcpy(addr.sun_path, path, strlen(path));
	unlink(path); /* of a life before; this one holds the lock */
	api->listener = evconnlistener_new_bind(c->base, accepted, api, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
		16, (struct sockaddr *)&addr, sizeof(addr));
	if (api->listener == NULL) {
		int error = -errno;

		free(api);
		return error != 0 ? error : -EIO;
	}
	if (chmod(path, 0660) != 0)
		fprintf(stderr, "greyline-control: %s: %s\n", path, strerror(errno));
	c->api = api;
	return 0;
}

void
api_close(struct control *c)
{
	struct api *api = c->api;

	if (api == NULL)
		return;
	while (!LIST_EMPTY(&api->clients))
		client_free(LIST_FIRST(&api->clients));
	evconnlistener_free(api->listener);
	unlink(api->path);
	free(api);
	c->api = NULL;
}
