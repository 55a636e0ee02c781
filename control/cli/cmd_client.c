/*
 * cmd_client.c - client show, list, allow, deny, forget.
 */
#include "control/cli/cli.h"

int
cmd_client_show(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field fields[] = {
		{ "client", "client", CLI_TEXT },
		{ "network", "network", CLI_TEXT },
		{ "verdict.known", "verdict", CLI_TEXT },
		{ "verdict.ptr_state", "reverse DNS", CLI_TEXT },
		{ "verdict.ptr", "name", CLI_TEXT },
		{ "verdict.score", "score", CLI_TEXT },
		{ "verdict.zone", "most by", CLI_TEXT },
		{ "verdict.name_list", "name on list", CLI_TEXT },
		{ "verdict.age_s", "asked ago", CLI_DURATION },
		{ "auto.count", "counted to automatic allow", CLI_TEXT },
		{ "auto.at", "last counted", CLI_TIME },
		{ "trap.left_s", "blocked for", CLI_DURATION },
		{ "trap_network.left_s", "network blocked for", CLI_DURATION },
		{ "starttls.handshakes", "handshakes", CLI_TEXT },
		{ "starttls.at", "last", CLI_TIME },
		{ "starttls.hidden", "STARTTLS hidden", CLI_TEXT },
		{ "starttls.left_s", "for", CLI_DURATION },
		{ "source.stranger", "stranger", CLI_YES },
		{ "source.address.sessions", "sessions now", CLI_TEXT },
		{ "source.address.sessions_limit", "  limit", CLI_TEXT },
		{ "source.address.rate", "connections of a minute", CLI_TEXT },
		{ "source.address.rate_limit", "  limit", CLI_TEXT },
		{ "source.address.refused", "refused lately", CLI_TEXT },
		{ "source.network.sessions", "sessions of the network", CLI_TEXT },
		{ "source.network.sessions_limit", "  limit", CLI_TEXT },
		{ "source.network.rate", "connections of the network", CLI_TEXT },
		{ "source.network.rate_limit", "  limit", CLI_TEXT },
		{ "source.network.refused", "refused of the network", CLI_TEXT },
		{ "triplets.grey", "GREY records", CLI_TEXT },
		{ "triplets.white", "WHITE records", CLI_TEXT },
	};
	static const struct cli_field columns[] = {
		{ "list", "LIST", CLI_TEXT },
		{ "network", "ENTRY", CLI_TEXT },
		{ "source", "FROM", CLI_TEXT },
		{ "line", "LINE", CLI_TEXT },
	};
	json_t *result;
	const int exit_code = cli_ask_one(cli, "client show", "client", true, argc, argv, &result);

	if (result == NULL)
		return exit_code;
	cli_print_fields(result, fields, ARRAY_LEN(fields));
	if (json_array_size(cli_get(result, "lists")) > 0) {
		printf("\n");
		cli_print_table(cli_get(result, "lists"), columns, ARRAY_LEN(columns), "");
	}
	json_decref(result);
	return CLI_OK;
}

int
cmd_client_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field columns[] = {
		{ "network", "CLIENT", CLI_TEXT },
		{ "list", "LIST", CLI_TEXT },
		{ "at", "SINCE", CLI_TIME },
		{ "note", "NOTE", CLI_TEXT },
	};
	json_t *result;
	const int exit_code = cli_ask_one(cli, "client list", NULL, false, argc, argv, &result);

	if (result != NULL)
		cli_print_table(cli_get(result, "entries"), columns, ARRAY_LEN(columns),
			"no clients allowed or denied by the operator");
	json_decref(result);
	return exit_code;
}

static int
put_on_list(struct cli *cli, const char *cmd, int argc, char **argv)
{
	const char *pos[CLI_ARGS_MAX];
	char network[512];
	json_t *args, *result;
	int exit_code;

	if (cli_arguments(cli, argc, argv, NULL, 0, 1, 2, pos) < 0)
		return CLI_USAGE;
	args = json_object();
	cli_put(args, "client", pos[0]);
	cli_put(args, "note", pos[1]);
	exit_code = cli_ask(cli, cmd, args, &result);
	if (result == NULL)
		return exit_code;
	printf("%s: ", cli_format(cli_get(result, "network"), CLI_TEXT, network, sizeof(network)));
	cli_print_text(cli_get_text(result, "list", "done"));
	printf("%s\n", json_is_true(cli_get(result, "confirmed")) ? ", in force at every worker"
								  : ", ready; no data plane confirmed it");
	json_decref(result);
	return CLI_OK;
}

int
cmd_client_allow(struct cli *cli, int argc, char **argv)
{
	return put_on_list(cli, "client allow", argc, argv);
}

int
cmd_client_deny(struct cli *cli, int argc, char **argv)
{
	return put_on_list(cli, "client deny", argc, argv);
}

int
cmd_client_forget(struct cli *cli, int argc, char **argv)
{
	json_t *result;
	const int exit_code = cli_ask_one(cli, "client forget", "client", true, argc, argv, &result);

	if (result != NULL)
		printf("%lld removed\n", (long long)json_integer_value(cli_get(result, "removed")));
	json_decref(result);
	return exit_code;
}
