/*
 * cmd_cert.c - cert list, cert check, cert reload.
 */
#include <string.h>

#include "control/cli/cli.h"

static void
print_certificates(const json_t *result)
{
	static const struct cli_field columns[] = {
		{ "certificate", "CERTIFICATE", CLI_TEXT },
		{ "state", "STATE", CLI_TEXT },
		{ "default", "DEFAULT", CLI_YES },
		{ "key", "KEY", CLI_TEXT },
		{ "not_after_at", "UNTIL", CLI_TIME },
		{ "left_s", "LEFT", CLI_DURATION },
		{ "names", "NAMES", CLI_TEXT },
		{ "spki_sha256", "TLSA 3 1 1", CLI_TEXT },
		{ "why", "REMARK", CLI_TEXT },
	};
	const char *error = cli_get_text(result, "error", ""), *note = cli_get_text(result, "note", "");

	cli_print_table(cli_get(result, "certificates"), columns, ARRAY_LEN(columns),
		"no certificates: STARTTLS is not offered");
	if (error[0] != '\0')
		cli_print_text(error), putchar('\n');
	if (note[0] != '\0')
		cli_print_text(note), putchar('\n');
}

int
cmd_cert_list(struct cli *cli, int argc, char **argv)
{
	json_t *result;
	const int exit_code = cli_ask_one(cli, "cert list", NULL, false, argc, argv, &result);

	if (result != NULL)
		print_certificates(result);
	json_decref(result);
	return exit_code;
}

static void
print_check(const json_t *result)
{
	static const struct cli_field columns[] = {
		{ "severity", "SEVERITY", CLI_TEXT },
		{ "about", "ABOUT", CLI_TEXT },
		{ "text", "FINDING", CLI_TEXT },
	};
	static const struct cli_field mtas[] = {
		{ "backend", "MTA", CLI_TEXT },
		{ "spliced", "SPLICED", CLI_YES },
		{ "result", "RESULT", CLI_TEXT },
		{ "name", "NAME", CLI_TEXT },
		{ "key", "KEY", CLI_TEXT },
		{ "same", "OURS", CLI_YES },
		{ "spki_sha256", "TLSA 3 1 1", CLI_TEXT },
		{ "words", "SAID", CLI_TEXT },
	};

	cli_print_table(cli_get(result, "findings"), columns, ARRAY_LEN(columns), "all is well");
	if (json_array_size(cli_get(result, "mtas")) == 0)
		return;
	putchar('\n');
	cli_print_table(cli_get(result, "mtas"), mtas, ARRAY_LEN(mtas), "");
}

int
cmd_cert_check(struct cli *cli, int argc, char **argv)
{
	const char *pos[CLI_ARGS_MAX];
	json_t *result;
	bool well;
	int exit_code;

	if (cli_arguments(cli, argc, argv, NULL, 0, 0, 0, pos) < 0)
		return CLI_USAGE;
	exit_code = cli_request(cli, "cert check", NULL, &result);
	if (exit_code != CLI_OK)
		return exit_code;
	well = json_is_true(cli_get(result, "well"));
	if (cli->json)
		cli_print_json(result);
	else
		print_check(result);
	json_decref(result);
	return well ? CLI_OK : CLI_NOT_FOUND;
}

int
cmd_cert_reload(struct cli *cli, int argc, char **argv)
{
	json_t *result;
	const int exit_code = cli_ask_one(cli, "cert reload", NULL, false, argc, argv, &result);

	if (result == NULL)
		return exit_code;
	print_certificates(result);
	if (!json_is_true(cli_get(result, "confirmed")))
		puts("not every worker has confirmed these certificates yet");
	json_decref(result);
	return exit_code;
}
