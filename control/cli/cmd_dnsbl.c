/*
 * cmd_dnsbl.c - dnsbl test, status, disable, enable; dns cache.
 */
#include "control/cli/cli.h"

int
cmd_dnsbl_test(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field fields[] = {
		{ "client", "client", CLI_TEXT },
		{ "name", "name", CLI_TEXT },
		{ "ptr_state", "reverse DNS", CLI_TEXT },
		{ "ptr", "name", CLI_TEXT },
		{ "score", "score", CLI_TEXT },
		{ "effect", "effect", CLI_TEXT },
		{ "complete", "all answered", CLI_YES },
		{ "dns_ms", "asked for", CLI_MS },
	};
	static const struct cli_field columns[] = {
		{ "zone", "ZONE", CLI_TEXT },
		{ "asks", "ABOUT", CLI_TEXT },
		{ "state", "STATE", CLI_TEXT },
		{ "listed", "LISTED", CLI_YES },
		{ "answers", "ANSWERS", CLI_TEXT },
		{ "weight", "WEIGHT", CLI_TEXT },
		{ "counts", "COUNTS", CLI_YES },
		{ "dns_ms", "TIME", CLI_MS },
		{ "seen_as", "SEES US AS (RESOLVER)", CLI_TEXT },
	};
	json_t *result;
	const int exit_code = cli_ask_one(cli, "dnsbl test", "client", true, argc, argv, &result);

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
		{ "asks", "ABOUT", CLI_TEXT },
		{ "state", "IPV4", CLI_TEXT },
		{ "state6", "IPV6", CLI_TEXT },
		{ "weight_max", "WEIGHT", CLI_TEXT },
		{ "decisive", "DECISIVE", CLI_YES },
		{ "asked", "ASKED", CLI_TEXT },
		{ "answered", "ANSWERED", CLI_TEXT },
		{ "listed", "LISTED", CLI_TEXT },
		{ "errors", "ERRORS", CLI_TEXT },
		{ "latency_ms", "LATENCY", CLI_MS },
		{ "latency_max_ms", "LONGEST", CLI_MS },
	};
	static const struct cli_field resolvers[] = { { "server", "RESOLVER", CLI_TEXT },
		{ "state", "STATE", CLI_TEXT }, { "asked", "ASKED", CLI_TEXT }, { "answered", "ANSWERED", CLI_TEXT },
		{ "timeouts", "TIMEOUTS", CLI_TEXT }, { "latency_ms", "LATENCY", CLI_MS } };
	static const struct cli_field cache[] = {
		{ "cache.asked", "clients asked for", CLI_TEXT },
		{ "cache.hits", "answered from the cache", CLI_TEXT },
		{ "cache.clients", "clients cached", CLI_TEXT },
	};
	json_t *result;
	const int exit_code = cli_ask_one(cli, "dnsbl status", NULL, false, argc, argv, &result);

	if (result == NULL)
		return exit_code;
	if (json_is_true(cli_get(result, "zones_off")))
		printf("ZONES ARE OFF: every resolver invents answers for names that do not exist\n\n");
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

static int
zone_switch(struct cli *cli, int argc, char **argv, const char *command)
{
	static const struct cli_field fields[] = { { "zone", "zone", CLI_TEXT }, { "disabled", "disabled", CLI_YES } };

	return cli_show_one(cli, command, "zone", true, argc, argv, fields, ARRAY_LEN(fields));
}

int
cmd_dnsbl_disable(struct cli *cli, int argc, char **argv)
{
	return zone_switch(cli, argc, argv, "dnsbl disable");
}

int
cmd_dnsbl_enable(struct cli *cli, int argc, char **argv)
{
	return zone_switch(cli, argc, argv, "dnsbl enable");
}

int
cmd_dns_cache_show(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field columns[] = {
		{ "client", "CLIENT", CLI_TEXT },
		{ "ptr_state", "REVERSE DNS", CLI_TEXT },
		{ "score", "SCORE", CLI_TEXT },
		{ "zone", "ZONE", CLI_TEXT },
		{ "ttl_s", "LEFT", CLI_DURATION },
		{ "complete", "WHOLE", CLI_YES },
		{ "ptr", "NAME", CLI_TEXT },
	};
	const char *pos[CLI_ARGS_MAX], *limit = NULL;
	const struct cli_option options[] = { { .name = "limit", .value = &limit } };
	json_t *args, *result;
	int exit_code;

	if (cli_arguments(cli, argc, argv, options, ARRAY_LEN(options), 0, 1, pos) < 0)
		return CLI_USAGE;
	args = json_object();
	cli_put(args, "client", pos[0]);
	if (!cli_put_limit(cli, args, limit)) {
		json_decref(args);
		return CLI_USAGE;
	}
	exit_code = cli_ask(cli, "dns cache show", args, &result);
	if (result == NULL)
		return exit_code;
	cli_print_table(cli_get(result, "entries"), columns, ARRAY_LEN(columns), "nothing is cached");
	json_decref(result);
	return CLI_OK;
}

int
cmd_dns_cache_flush(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field fields[] = { { "removed", "forgotten", CLI_TEXT } };

	return cli_show_one(cli, "dns cache flush", "client", false, argc, argv, fields, ARRAY_LEN(fields));
}
