/*
 * cmd_daemon.c - status, stats, reload, log reopen.
 */
#include <string.h>

#include "control/cli/cli.h"

/* The first lines of status: all is well, or what is not. */
static void
print_health(const json_t *result)
{
	const json_t *alarms = cli_get(result, "alarms");
	const char *mode = cli_get_text(result, "mode", "");

	if (json_array_size(alarms) == 0)
		printf("all is well%s\n\n", strcmp(mode, "observe") == 0
						    ? "; mode observe: nobody is refused or delayed"
					    : strcmp(mode, "soft") == 0 ? "; mode soft: nobody is refused for good"
									: "");
	for (size_t i = 0; i < json_array_size(alarms); i++) {
		printf("ALARM  ");
		cli_print_text(json_string_value(json_array_get(alarms, i)));
		printf("\n");
	}
	if (json_array_size(alarms) > 0)
		printf("\n");
}

int
cmd_status(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field fields[] = {
		{ "version", "version", CLI_TEXT },
		{ "hostname", "hostname", CLI_TEXT },
		{ "mode", "mode", CLI_TEXT },
		{ "uptime_s", "control up", CLI_DURATION },
		{ "control_pid", "control pid", CLI_TEXT },
		{ "dataplane.state", "data plane", CLI_TEXT },
		{ "dataplane.alive", "data plane alive", CLI_YES },
		{ "dataplane.pid", "data plane pid", CLI_TEXT },
		{ "dataplane.workers", "workers", CLI_TEXT },
		{ "dataplane.sessions", "sessions", CLI_TEXT },
		{ "dataplane.memory_octets", "memory in use", CLI_OCTETS },
		{ "dataplane.memory_huge_octets", "in pages of 2 MiB", CLI_OCTETS },
		{ "snapshot.generation", "configuration", CLI_TEXT },
		{ "snapshot.in_force", "in force, by worker", CLI_TEXT },
		{ "table.used", "records", CLI_TEXT },
		{ "table.entries", "room for", CLI_TEXT },
		{ "table.load", "load", CLI_SHARE },
		{ "table.grey", "GREY", CLI_TEXT },
		{ "table.white", "WHITE", CLI_TEXT },
		{ "table.memory_octets", "segment", CLI_OCTETS },
		{ "table.memory_huge_octets", "in pages of 2 MiB", CLI_OCTETS },
		{ "table.loading", "loading", CLI_YES },
		{ "table.loading_share", "loaded", CLI_SHARE },
		{ "table.loading_left_s", "loaded in", CLI_DURATION },
		{ "table.entries_wanted", "room wanted", CLI_TEXT },
		{ "store.state", "database", CLI_TEXT },
		{ "store.used_octets", "database used", CLI_OCTETS },
		{ "store.map_octets", "database map", CLI_OCTETS },
		{ "store.lag", "database lag", CLI_TEXT },
		{ "store.note", "database note", CLI_TEXT },
		{ "resolver.state", "resolver", CLI_TEXT },
		{ "resolver.servers", "servers", CLI_TEXT },
		{ "resolver.in_flight", "questions in flight", CLI_TEXT },
		{ "resolver.cached", "answers cached", CLI_TEXT },
		{ "backends.up", "backends up", CLI_TEXT },
		{ "backends.total", "backends", CLI_TEXT },
		{ "segment", "segment at", CLI_TEXT },
		{ "options_waiting_for_start", "waiting for start", CLI_TEXT },
	};
	json_t *result;
	const int exit_code = cli_ask_one(cli, "status", NULL, false, argc, argv, &result);

	if (result == NULL)
		return exit_code;
	print_health(result);
	cli_print_fields(result, fields, ARRAY_LEN(fields));
	json_decref(result);
	return CLI_OK;
}

static void
print_counters(const char *group, json_t *counters, bool all)
{
	const char *name;
	json_t *value;

	json_object_foreach(counters, name, value)
	{
		char text[64];

		if (json_is_object(value)) { /* a group inside: by worker */
			print_counters(name, value, all);
			continue;
		}
		if (!all && json_is_integer(value) && json_integer_value(value) == 0)
			continue;
		cli_print_text(group);
		printf(".");
		cli_print_text(name);
		printf("%*s%s\n", (int)(strlen(group) + strlen(name) < 38 ? 38 - strlen(group) - strlen(name) : 1), " ",
			cli_format(value, CLI_TEXT, text, sizeof(text)));
	}
}

int
cmd_stats(struct cli *cli, int argc, char **argv)
{
	bool all = false;
	const struct cli_option options[] = { { "all", NULL, &all } };
	const char *pos[CLI_ARGS_MAX], *group;
	json_t *args, *result, *counters;
	int exit_code;

	if (cli_arguments(cli, argc, argv, options, ARRAY_LEN(options), 0, 1, pos) < 0)
		return CLI_USAGE;
	args = json_object();
	cli_put(args, "group", pos[0]);
	exit_code = cli_ask(cli, "stats", args, &result);
	if (result == NULL)
		return exit_code;
	json_object_foreach(result, group, counters) if (json_is_object(counters)) print_counters(group, counters, all);
	json_decref(result);
	return CLI_OK;
}

int
cmd_reload(struct cli *cli, int argc, char **argv)
{
	json_t *result;
	const int exit_code = cli_ask_one(cli, "reload", NULL, false, argc, argv, &result);

	if (result == NULL)
		return exit_code;
	printf("configuration %lld %s\n", (long long)json_integer_value(cli_get(result, "generation")),
		json_is_true(cli_get(result, "confirmed")) ? "in force at every worker"
							   : "is ready; no data plane confirmed it");
	if (json_array_size(cli_get(result, "waiting")) > 0) {
		char names[2048];

		printf("counts at the next start: %s\n",
			cli_format(cli_get(result, "waiting"), CLI_TEXT, names, sizeof(names)));
	}
	json_decref(result);
	return CLI_OK;
}

int
cmd_log_reopen(struct cli *cli, int argc, char **argv)
{
	json_t *result;
	const int exit_code = cli_ask_one(cli, "log reopen", NULL, false, argc, argv, &result);

	json_decref(result);
	return exit_code;
}
