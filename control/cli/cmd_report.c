/*
 * cmd_report.c - report.
 */
#include "control/cli/cli.h"

int
cmd_report(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field fields[] = {
		{ "since_at", "since", CLI_TIME },
		{ "greylisted", "greylisted", CLI_TEXT },
		{ "passed", "came back and passed", CLI_TEXT },
		{ "never_came_back", "never came back", CLI_TEXT },
		{ "lapsed", "came back too late (lapsed)", CLI_TEXT },
		{ "delay_p50_s", "added delay, half of them", CLI_DURATION },
		{ "delay_p95_s", "added delay, 95 of 100", CLI_DURATION },
		{ "rejected", "refused", CLI_TEXT },
	};
	static const struct cli_field columns[] = {
		{ "network", "MOST REFUSED", CLI_TEXT },
		{ "count", "REFUSED", CLI_TEXT },
		{ "rule", "RULE", CLI_TEXT },
		{ "rule_name", "TEST", CLI_TEXT },
	};
	const char *limit = NULL;
	const struct cli_option options[] = { { "limit", &limit, NULL } };
	const char *pos[CLI_ARGS_MAX];
	json_t *args, *result;
	int exit_code;

	if (cli_arguments(cli, argc, argv, options, ARRAY_LEN(options), 0, 0, pos) < 0)
		return CLI_USAGE;
	args = json_object();
	if (!cli_put_limit(cli, args, limit)) {
		json_decref(args);
		return CLI_USAGE;
	}
	exit_code = cli_ask(cli, "report", args, &result);
	if (result == NULL)
		return exit_code;
	cli_print_fields(result, fields, ARRAY_LEN(fields));
	printf("\n");
	cli_print_table(cli_get(result, "refused_networks"), columns, ARRAY_LEN(columns), "nobody was refused");
	json_decref(result);
	return CLI_OK;
}
