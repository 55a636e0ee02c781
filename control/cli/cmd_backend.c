/*
 * cmd_backend.c - backend list, backend probe, backend drain, backend ready.
 */
#include "control/cli/cli.h"

int
cmd_backend_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field columns[] = {
		{ "name", "NAME", CLI_TEXT },
		{ "pool", "POOL", CLI_TEXT },
		{ "address", "ADDRESS", CLI_TEXT },
		{ "port", "PORT", CLI_TEXT },
		{ "client_address", "CLIENT ADDRESS", CLI_TEXT },
		{ "state", "STATE", CLI_TEXT },
		{ "under_tls", "TLS", CLI_YES },
		{ "size", "SIZE", CLI_OCTETS },
		{ "failures", "FAILED", CLI_TEXT },
		{ "probed_at", "PROBED", CLI_TIME },
		{ "extensions", "EXTENSIONS", CLI_TEXT },
		{ "advice", "ADVICE", CLI_TEXT },
		{ "words", "SAID", CLI_TEXT },
	};
	json_t *result;
	const int exit_code = cli_ask_one(cli, "backend list", NULL, false, argc, argv, &result);

	if (result != NULL)
		cli_print_table(cli_get(result, "backends"), columns, ARRAY_LEN(columns), "no backends are configured");
	json_decref(result);
	return exit_code;
}

/* A command about one backend, answered by the backend as it is then. */
static int
one_backend(struct cli *cli, const char *command, int argc, char **argv)
{
	static const struct cli_field fields[] = {
		{ "name", "name", CLI_TEXT },
		{ "pool", "pool", CLI_TEXT },
		{ "address", "address", CLI_TEXT },
		{ "port", "port", CLI_TEXT },
		{ "client_address", "client address", CLI_TEXT },
		{ "state", "state", CLI_TEXT },
		{ "under_tls", "under TLS", CLI_YES },
		{ "size", "size", CLI_OCTETS },
		{ "extensions", "extensions", CLI_TEXT },
		{ "probed_at", "probed", CLI_TIME },
		{ "changed_at", "changed", CLI_TIME },
		{ "failures", "failed in a row", CLI_TEXT },
		{ "relaytest_at", "open relay test", CLI_TIME },
		{ "advice", "advice", CLI_TEXT },
		{ "words", "said", CLI_TEXT },
	};
	const json_t *backends;
	json_t *result;
	const int exit_code = cli_ask_one(cli, command, "backend", true, argc, argv, &result);

	if (result == NULL)
		return exit_code;
	backends = cli_get(result, "backends");
	if (!json_is_array(backends)) /* one backend by itself */
		cli_print_fields(result, fields, ARRAY_LEN(fields));
	for (size_t i = 0; i < json_array_size(backends); i++)
		cli_print_fields(json_array_get(backends, i), fields, ARRAY_LEN(fields));
	json_decref(result);
	return CLI_OK;
}

int
cmd_backend_probe(struct cli *cli, int argc, char **argv)
{
	return one_backend(cli, "backend probe", argc, argv);
}

int
cmd_backend_drain(struct cli *cli, int argc, char **argv)
{
	return one_backend(cli, "backend drain", argc, argv);
}

int
cmd_backend_ready(struct cli *cli, int argc, char **argv)
{
	return one_backend(cli, "backend ready", argc, argv);
}
