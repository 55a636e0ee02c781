/*
 * cmd_config.c - set, unset, config.
 */
#include <string.h>

#include "control/cli/cli.h"

static void
print_change(const json_t *result)
{
	char value[1024], old[1024];

	cli_print_text(cli_get_text(result, "option", "?"));
	printf(" = %s", cli_format(cli_get(result, "value"), CLI_TEXT, value, sizeof(value)));
	if (cli_get(result, "old") != NULL)
		printf(" (was %s)", cli_format(cli_get(result, "old"), CLI_TEXT, old, sizeof(old)));
	if (strcmp(cli_get_text(result, "counts", "live"), "start") == 0)
		printf(", counts at the next start");
	else if (json_is_true(cli_get(result, "confirmed")))
		printf(", in force at every worker");
	else
		printf(", ready; no data plane confirmed it");
	printf("\n");
}

static int
change(struct cli *cli, const char *cmd, const char *option, const char *value)
{
	json_t *args = json_object(), *result;
	int exit_code;

	cli_put(args, "option", option);
	cli_put(args, "value", value);
	exit_code = cli_ask(cli, cmd, args, &result);
	if (result != NULL)
		print_change(result);
	json_decref(result);
	return exit_code;
}

int
cmd_set(struct cli *cli, int argc, char **argv)
{
	const char *pos[CLI_ARGS_MAX];

	if (cli_arguments(cli, argc, argv, NULL, 0, 2, 2, pos) < 0)
		return CLI_USAGE;
	return change(cli, "set", pos[0], pos[1]);
}

int
cmd_unset(struct cli *cli, int argc, char **argv)
{
	const char *pos[CLI_ARGS_MAX];

	if (cli_arguments(cli, argc, argv, NULL, 0, 1, 1, pos) < 0)
		return CLI_USAGE;
	return change(cli, "unset", pos[0], NULL);
}

int
cmd_config(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field columns[] = {
		{ "option", "OPTION", CLI_TEXT },
		{ "value", "VALUE", CLI_TEXT },
		{ "origin", "ORIGIN", CLI_TEXT },
		{ "default", "DEFAULT", CLI_TEXT },
		{ "waiting", "WAITS FOR START", CLI_YES },
	};
	static const struct cli_field fields[] = {
		{ "option", "option", CLI_TEXT },
		{ "value", "value", CLI_TEXT },
		{ "origin", "origin", CLI_TEXT },
		{ "default", "default", CLI_TEXT },
		{ "type", "type", CLI_TEXT },
		{ "range", "range", CLI_TEXT },
		{ "counts", "counts", CLI_TEXT },
		{ "waiting", "waits for start", CLI_YES },
		{ "help", "help", CLI_TEXT },
	};
	bool changed = false;
	const struct cli_option options[] = { { "changed", NULL, &changed } };
	const char *pos[CLI_ARGS_MAX];
	json_t *args, *result;
	const json_t *list;
	int exit_code;

	if (cli_arguments(cli, argc, argv, options, ARRAY_LEN(options), 0, 1, pos) < 0)
		return CLI_USAGE;
	args = json_object();
	cli_put(args, "option", pos[0]);
	if (changed)
		json_object_set_new(args, "changed", json_true());
	exit_code = cli_ask(cli, "config", args, &result);
	if (result == NULL)
		return exit_code;
	list = cli_get(result, "options");
	if (pos[0] != NULL && json_array_size(list) == 1)
		cli_print_fields(json_array_get(list, 0), fields, ARRAY_LEN(fields));
	else
		cli_print_table(
			list, columns, ARRAY_LEN(columns), changed ? "every option has its default" : "no such option");
	json_decref(result);
	return CLI_OK;
}
