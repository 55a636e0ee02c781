/*
 * cmd_dnsbl.c - dnsbl test, dnsbl status.
 */
#include "control/cli/cli.h"

int
cmd_dnsbl_test(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field fields[] = {
		{ "client", "client", CLI_TEXT },
		{ "ptr_state", "reverse DNS", CLI_TEXT },
		{ "ptr", "name", CLI_TEXT },
		{ "score", "score", CLI_TEXT },
		{ "effect", "effect", CLI_TEXT },
		{ "complete", "all answered", CLI_YES },
		{ "dns_ms", "asked for", CLI_MS },
	};
	static const struct cli_field columns[] = {
		{ "zone", "ZONE", CLI_TEXT },
		{ "state", "STATE", CLI_TEXT },
		{ "listed", "LISTED", CLI_YES },
		{ "answers", "ANSWERS", CLI_TEXT },
		{ "weight", "WEIGHT", CLI_TEXT },
		{ "dns_ms", "TIME", CLI_MS },
		{ "text", "TEXT", CLI_TEXT },
	};
	const char *pos[CLI_ARGS_MAX];
	json_t *args, *result;
	int exit_code;

	if (cli_arguments(cli, argc, argv, NULL, 0, 1, 1, pos) < 0)
		return CLI_USAGE;
	args = json_object();
	cli_put(args, "client", pos[0]);
	exit_code = cli_ask(cli, "dnsbl test", args, &result);
	if (result == NULL)
		return exit_code;
	cli_print_fields(result, fields, ARRAY_LEN(fields));
	printf("\n");
	cli_print_table(cli_get(result, "zones"), columns, ARRAY_LEN(columns), "no zones are configured");
	json_decref(result);
	return CLI_OK;
}

int
cmd_dnsbl_status(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field zones[] = {
		{ "zone", "ZONE", CLI_TEXT },
		{ "state", "STATE", CLI_TEXT },
		{ "weight_max", "WEIGHT", CLI_TEXT },
		{ "decisive", "DECISIVE", CLI_YES },
		{ "asked", "ASKED", CLI_TEXT },
		{ "listed", "LISTED", CLI_TEXT },
		{ "errors", "ERRORS", CLI_TEXT },
		{ "latency_ms", "LATENCY", CLI_MS },
	};
	static const struct cli_field resolvers[] = { { "server", "RESOLVER", CLI_TEXT },
		{ "state", "STATE", CLI_TEXT } };
	static const struct cli_field cache[] = {
		{ "cache.asked", "clients asked for", CLI_TEXT },
		{ "cache.hits", "answered from the cache", CLI_TEXT },
		{ "cache.clients", "clients cached", CLI_TEXT },
	};
	const char *pos[CLI_ARGS_MAX];
	json_t *result;
	int exit_code;

	if (cli_arguments(cli, argc, argv, NULL, 0, 0, 0, pos) < 0)
		return CLI_USAGE;
	exit_code = cli_ask(cli, "dnsbl status", NULL, &result);
	if (result == NULL)
		return exit_code;
	cli_print_table(cli_get(result, "zones"), zones, ARRAY_LEN(zones), "no zones are configured");
	printf("\n");
	cli_print_table(cli_get(result, "resolvers"), resolvers, ARRAY_LEN(resolvers), "no resolvers: no DNS tests");
	if (cli_get(result, "cache") != NULL) {
		printf("\n");
		cli_print_fields(result, cache, ARRAY_LEN(cache));
	}
	json_decref(result);
	return CLI_OK;
}
