/*
 * cmd_grey.c - grey list, show, pass, del.
 */
#include <string.h>

#include "control/cli/cli.h"

/* A sender as people write it: <> is the null sender. */
static const char *
sender_of(const char *text)
{
	return text != NULL && strcmp(text, "<>") == 0 ? "" : text;
}

/* REF or CLIENT SENDER RECIPIENT. */
static json_t *
which(const char *const pos[CLI_ARGS_MAX], int n)
{
	json_t *args = json_object();

	if (n == 1) {
		cli_put(args, "ref", pos[0]);
	} else {
		cli_put(args, "client", pos[0]);
		cli_put(args, "sender", sender_of(pos[1]));
		cli_put(args, "recipient", pos[2]);
	}
	return args;
}

static void
print_entry(const json_t *entry)
{
	static const struct cli_field fields[] = {
		{ "ref", "reference", CLI_TEXT },
		{ "state", "state", CLI_TEXT },
		{ "network", "network", CLI_TEXT },
		{ "sender", "sender", CLI_TEXT },
		{ "recipient", "recipient", CLI_TEXT },
		{ "first_at", "first attempt", CLI_TIME },
		{ "last_at", "last attempt", CLI_TIME },
		{ "wait_s", "waits", CLI_DURATION },
		{ "lapsed", "windows lapsed", CLI_TEXT },
		{ "expires_in_s", "expires in", CLI_DURATION },
	};

	cli_print_fields(entry, fields, ARRAY_LEN(fields));
}

struct filters {
	const char *sender, *recipient, *network, *state, *limit, *after;
};

/* The filters as arguments; false after a message. */
static bool
put_filters(const struct cli *cli, json_t *args, const struct filters *f)
{
	cli_put(args, "sender", sender_of(f->sender));
	cli_put(args, "recipient", f->recipient);
	cli_put(args, "network", f->network);
	cli_put(args, "state", f->state);
	cli_put(args, "after", f->after);
	return cli_put_limit(cli, args, f->limit);
}

#define FILTER_OPTIONS(f)                                                                                              \
	{ "sender", &(f).sender, NULL }, { "recipient", &(f).recipient, NULL }, { "network", &(f).network, NULL },     \
	{                                                                                                              \
		"state", &(f).state, NULL                                                                              \
	}

int
cmd_grey_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_field columns[] = {
		{ "ref", "REF", CLI_TEXT },
		{ "state", "STATE", CLI_TEXT },
		{ "network", "NETWORK", CLI_TEXT },
		{ "sender", "SENDER", CLI_TEXT },
		{ "recipient", "RECIPIENT", CLI_TEXT },
		{ "first_at", "FIRST", CLI_TIME },
		{ "last_at", "LAST", CLI_TIME },
		{ "wait_s", "WAITS", CLI_DURATION },
		{ "lapsed", "LAPSED", CLI_TEXT },
		{ "expires_in_s", "EXPIRES IN", CLI_DURATION },
	};
	struct filters f = { 0 };
	const struct cli_option options[] = { FILTER_OPTIONS(f), { "limit", &f.limit, NULL },
		{ "after", &f.after, NULL } };
	const char *pos[CLI_ARGS_MAX];
	json_t *args, *result;
	int exit_code;

	if (cli_arguments(cli, argc, argv, options, ARRAY_LEN(options), 0, 0, pos) < 0)
		return CLI_USAGE;
	args = json_object();
	if (!put_filters(cli, args, &f)) {
		json_decref(args);
		return CLI_USAGE;
	}
	exit_code = cli_ask(cli, "grey list", args, &result);
	if (result == NULL)
		return exit_code;
	cli_print_table(cli_get(result, "entries"), columns, ARRAY_LEN(columns), "no records");
	if (json_is_true(cli_get(result, "more"))) {
		char after[64];

		printf("there are more: --after %s\n",
			cli_format(cli_get(result, "after"), CLI_TEXT, after, sizeof(after)));
	}
	json_decref(result);
	return CLI_OK;
}

/* 1 or 3 positions; anything else is wrong. */
static int
which_arguments(struct cli *cli, int argc, char **argv, const char *pos[CLI_ARGS_MAX])
{
	const int n = cli_arguments(cli, argc, argv, NULL, 0, 1, 3, pos);

	if (n != 2)
		return n;
	cli_usage(cli, "a reference, or client, sender and recipient");
	return -1;
}

static int
one_entry(struct cli *cli, const char *cmd, int argc, char **argv)
{
	const char *pos[CLI_ARGS_MAX];
	const int n = which_arguments(cli, argc, argv, pos);
	json_t *result;
	int exit_code;

	if (n < 0)
		return CLI_USAGE;
	exit_code = cli_ask(cli, cmd, which(pos, n), &result);
	if (result != NULL)
		print_entry(result);
	json_decref(result);
	return exit_code;
}

int
cmd_grey_show(struct cli *cli, int argc, char **argv)
{
	return one_entry(cli, "grey show", argc, argv);
}

int
cmd_grey_pass(struct cli *cli, int argc, char **argv)
{
	return one_entry(cli, "grey pass", argc, argv);
}

int
cmd_grey_del(struct cli *cli, int argc, char **argv)
{
	struct filters f = { 0 };
	const struct cli_option options[] = { FILTER_OPTIONS(f) };
	const char *pos[CLI_ARGS_MAX];
	json_t *args, *result;
	int exit_code, n;

	n = cli_arguments(cli, argc, argv, options, ARRAY_LEN(options), 0, 3, pos);
	if (n < 0)
		return CLI_USAGE;
	if (n == 2)
		return cli_usage(cli, "a reference, or client, sender and recipient");
	if (n == 0 && f.sender == NULL && f.recipient == NULL && f.network == NULL && f.state == NULL)
		return cli_usage(cli, "which records? A reference, or client, sender and recipient, or a filter");
	if (n > 0 && (f.sender != NULL || f.recipient != NULL || f.network != NULL || f.state != NULL))
		return cli_usage(cli, "either one record or filters");
	args = n > 0 ? which(pos, n) : json_object();
	if (!put_filters(cli, args, &f)) {
		json_decref(args);
		return CLI_USAGE;
	}
	exit_code = cli_ask(cli, "grey del", args, &result);
	if (result != NULL)
		printf("%lld deleted\n", (long long)json_integer_value(cli_get(result, "deleted")));
	json_decref(result);
	return exit_code;
}
