/*
 * cmd_explain.c - explain: what would happen now; why: what did happen.
 */
#include <string.h>

#include "control/cli/cli.h"

static void
print_verdict(const json_t *result)
{
	const long long code = json_integer_value(cli_get(result, "code"));
	const char *verdict = cli_get_text(result, "verdict", "?"), *would = cli_get_text(result, "would", verdict);
	const char *at = cli_get_text(result, "refused_at", "");
	char text[1024];

	printf("\nverdict  ");
	cli_print_text(verdict);
	if (code != 0) {
		printf(": %lld ", code);
		cli_print_text(cli_get_text(result, "enhanced", ""));
		printf(" %s", cli_format(cli_get(result, "text"), CLI_TEXT, text, sizeof(text)));
	}
	printf("\nby rule  %lld ", (long long)json_integer_value(cli_get(result, "rule")));
	cli_print_text(cli_get_text(result, "rule_name", ""));
	if (cli_get_text(result, "reason", "")[0] != '\0') {
		printf(" (");
		cli_print_text(cli_get_text(result, "reason", ""));
		printf(")");
	}
	printf("\n");
	if (strcmp(at, "syn") == 0)
		printf("before   its SYN is refused: no connection, no banner (reject_at = syn)\n");
	else if (strcmp(at, "connect") == 0)
		printf("before   refused by a 554 banner (reject_at)\n");
	if (strcmp(would, verdict) != 0) {
		printf("enforce  would ");
		cli_print_text(would);
		printf(" (mode is ");
		cli_print_text(cli_get_text(result, "mode", "?"));
		printf(")\n");
	}
}

int
cmd_explain(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field steps[] = {
		{ "rule", "RULE", CLI_TEXT },
		{ "name", "TEST", CLI_TEXT },
		{ "matched", "DECIDES", CLI_YES },
		{ "detail", "DETAIL", CLI_TEXT },
	};
	static const struct cli_field client[] = {
		{ "listener", "listener", CLI_TEXT },
		{ "mode", "mode", CLI_TEXT },
		{ "client.ptr_state", "reverse DNS", CLI_TEXT },
		{ "client.ptr", "name", CLI_TEXT },
		{ "client.score", "score", CLI_TEXT },
		{ "client.zone", "most by", CLI_TEXT },
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
		{ "ref", "reference", CLI_TEXT },
	};
	const char *listener = NULL;
	const struct cli_option options[] = { { "listener", &listener, NULL } };
	const char *pos[CLI_ARGS_MAX];
	json_t *args, *result;
	int exit_code;

	if (cli_arguments(cli, argc, argv, options, ARRAY_LEN(options), 1, 4, pos) < 0)
		return CLI_USAGE;
	args = json_object();
	cli_put(args, "client", pos[0]);
	cli_put(args, "helo", pos[1]);
	cli_put(args, "from", pos[2] != NULL && strcmp(pos[2], "<>") == 0 ? "" : pos[2]);
	cli_put(args, "rcpt", pos[3]);
	cli_put(args, "listener", listener);
	exit_code = cli_ask(cli, "explain", args, &result);
	if (result == NULL)
		return exit_code;
	printf("%s\n", pos[0]);
	cli_print_fields(result, client, ARRAY_LEN(client)); /* "client" is what DNS says about it */
	printf("\n");
	cli_print_table(cli_get(result, "steps"), steps, ARRAY_LEN(steps), "no rule was looked at");
	print_verdict(result);
	json_decref(result);
	return CLI_OK;
}

int
cmd_why(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field fields[] = {
		{ "kind", "kind", CLI_TEXT },
		{ "ref", "reference", CLI_TEXT },
		{ "at", "at", CLI_TIME },
		{ "state", "state", CLI_TEXT },
		{ "network", "network", CLI_TEXT },
		{ "client", "client", CLI_TEXT },
		{ "ptr", "name", CLI_TEXT },
		{ "helo", "HELO", CLI_TEXT },
		{ "sender", "sender", CLI_TEXT },
		{ "recipient", "recipient", CLI_TEXT },
		{ "from", "sender", CLI_TEXT },
		{ "rcpt", "recipient", CLI_TEXT },
		{ "first_at", "first attempt", CLI_TIME },
		{ "last_at", "last attempt", CLI_TIME },
		{ "wait_s", "waits", CLI_DURATION },
		{ "lapsed", "windows lapsed", CLI_TEXT },
		{ "expires_in_s", "expires in", CLI_DURATION },
		{ "verdict", "verdict", CLI_TEXT },
		{ "rule", "rule", CLI_TEXT },
		{ "rule_name", "test", CLI_TEXT },
		{ "reason", "reason", CLI_TEXT },
		{ "score", "score", CLI_TEXT },
		{ "listener", "listener", CLI_TEXT },
		{ "code", "code", CLI_TEXT },
		{ "reply", "reply", CLI_TEXT },
	};

	return cli_show_one(cli, "why", "ref", true, argc, argv, fields, ARRAY_LEN(fields));
}
