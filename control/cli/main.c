/*
 * main.c - greylinectl: the hand of the operator.
 *
 * Flow:   command line -> row of cli_commands[] -> its function -> exit code
 * Touches: the control socket; the database for `db`; nothing else.
 * Keeps:  exit codes 0 done, 1 not found, 2 usage, 3 daemon not reachable.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "control/cli/cli.h"

#define GREY_WHICH                                                                                                     \
	"A record is named by its reference (as in a reply or the log) or by CLIENT SENDER RECIPIENT. The null "       \
	"sender is <>.\n"

const struct cli_command cli_commands[] = {
	{ "status", "", "What runs, since when, and how it is", NULL, cmd_status },
	{ "stats", "[GROUP] [--all]", "Counters, by group",
		"Counters that are 0 are left out unless --all is given. With --json all are there.\n", cmd_stats },
	{ "set", "OPTION VALUE", "Change an option now and keep it",
		"The value is kept in the database and lies over the file's until `unset`. Durations: 90, 90s, 4m, 6h, "
		"36d.\n"
		"  greylinectl set greylist.block 10m\n",
		cmd_set },
	{ "unset", "OPTION", "Give an option back to the file", NULL, cmd_unset },
	{ "config", "[OPTION] [--changed]", "What is in force and where it comes from",
		"Origin is default, file or set. --changed leaves out what has its default. One OPTION shows its "
		"range, default and help.\n",
		cmd_config },
	{ "config show", "[OPTION] [--changed]", "The same as config", NULL, cmd_config },
	{ "reload", "", "Read the configuration file again",
		"A bad file never replaces a good one: every error is printed with file and line, and the exit code is "
		"2. Returns when all workers\n"
		"took the new configuration.\n",
		cmd_reload },
	{ "grey list", "[--sender S] [--recipient R] [--network N] [--state grey|white|lapsed] [--limit N] [--after A]",
		"Records of the greylist",
		"--sender and --recipient take an address or a part of it. --after continues where the last list "
		"ended.\n",
		cmd_grey_list },
	{ "grey show", "REF | CLIENT SENDER RECIPIENT", "One record of the greylist", GREY_WHICH, cmd_grey_show },
	{ "grey pass", "REF | CLIENT SENDER RECIPIENT", "Let a sender through from its next attempt on", GREY_WHICH,
		cmd_grey_pass },
	{ "grey del",
		"REF | CLIENT SENDER RECIPIENT | [--sender S] [--recipient R] [--network N] [--state "
		"grey|white|lapsed]",
		"Forget records of the greylist", GREY_WHICH, cmd_grey_del },
	{ "client show", "CLIENT", "All that is known about a client", NULL, cmd_client_show },
	{ "client list", "", "Clients allowed or denied by the operator", NULL, cmd_client_list },
	{ "client allow", "CLIENT [NOTE]", "Allow a client, network or confirmed name",
		"CLIENT is an address, a network (192.0.2.0/24) or a host name; .example.org is every name below it. "
		"Names count only where they\n"
		"resolve back to the client.\n",
		cmd_client_allow },
	{ "client deny", "CLIENT [NOTE]", "Deny a client, network or confirmed name",
		"As client allow. Allowed comes before denied.\n", cmd_client_deny },
	{ "client forget", "CLIENT", "Forget a client: its verdict, allowance, traps and list entries", NULL,
		cmd_client_forget },
	{ "explain", "CLIENT [HELO] [FROM] [RCPT] [--listener NAME]", "What would happen now, rule by rule",
		"Asks DNS as for a real session, and writes nothing. The null sender is <>. The numbers are those of "
		"the order of tests.\n"
		"  greylinectl explain 192.0.2.1 mail.example.net alice@example.net bob@example.org\n",
		cmd_explain },
	{ "why", "REF", "What a reference in a reply or the log stands for", NULL, cmd_why },
	{ "dnsbl test", "CLIENT", "Ask every zone and the reverse DNS about an address", NULL, cmd_dnsbl_test },
	{ "dnsbl status", "", "Zones and resolvers: whether they are believed, answers, hits, latency",
		"A zone counts for IPv4 and for IPv6 while it is \"active\": it proved itself by its test points (RFC "
		"5782) at start and does\n"
		"each half hour. In quarantine it is shown as lists-everything, lists-nothing, answers-errors or "
		"lists-good-clients, and comes\n"
		"back by itself.\n",
		cmd_dnsbl_status },
	{ "dnsbl disable", "ZONE", "Ask a zone no more, at once and over restarts", "ZONE is the public name.\n",
		cmd_dnsbl_disable },
	{ "dnsbl enable", "ZONE", "Ask a disabled zone again", NULL, cmd_dnsbl_enable },
	{ "dns cache show", "[CLIENT] [--limit N]", "What DNS said about clients, the last used first", NULL,
		cmd_dns_cache_show },
	{ "dns cache flush", "[CLIENT]", "Forget what DNS said about a client, or about all",
		"Verdicts in the table stay: client forget removes one.\n", cmd_dns_cache_flush },
	{ "backend list", "", "Mail servers behind, as the last probe found them", NULL, cmd_backend_list },
	{ "backend probe", "NAME", "Probe a mail server now",
		"Includes the open relay test. Exit code 1 when there is no such backend.\n", cmd_backend_probe },
	{ "backend drain", "NAME", "Give a mail server no new sessions",
		"Sessions that have it go on to their end. Kept over restarts, until backend ready. Exit code 1 when "
		"there "
		"is no such backend.\n",
		cmd_backend_drain },
	{ "backend ready", "NAME", "Give a drained mail server sessions again", NULL, cmd_backend_ready },
	{ "cert list", "", "Certificates: names, keys, dates, and which files could not be used",
		"TLSA 3 1 1 is the SHA-256 of the public key, as a DANE record has it. A certificate that is \"kept\" "
		"has new "
		"files that are\n"
		"bad: the one loaded before stays in use.\n",
		cmd_cert_list },
	{ "cert check", "", "What is wrong with certificates, or soon will be",
		"Exit code 1 when there is an error or a warning.\n", cmd_cert_check },
	{ "cert reload", "", "Read the certificates' folder again now",
		"The data plane looks by itself every second. A bad certificate never replaces a good one. Returns "
		"when all "
		"workers took them.\n",
		cmd_cert_reload },
	{ "report", "[--limit N]", "Who never came back, who lapsed, how long good mail waited, who was refused", NULL,
		cmd_report },
	{ "db stats", "[--state-dir DIR]", "The database, read from its file", NULL, cmd_db_stats },
	{ "db list", "[--kind KIND] [--limit N] [--state-dir DIR]", "Stored records with their names",
		"KIND is triplet (the default), client, auto, pair, trap, sender-domain or all.\n", cmd_db_list },
	{ "db show", "REF [--state-dir DIR]", "A stored record or reject by its reference", NULL, cmd_db_show },
	{ "db options", "[--state-dir DIR]", "Options kept by set", NULL, cmd_db_options },
	{ "db backends", "[--state-dir DIR]", "Mail servers as last stored", NULL, cmd_db_backends },
	{ "db check", "[--state-dir DIR]", "Read every record; exit code 1 when one is damaged", NULL, cmd_db_check },
	{ "log reopen", "", "Open the log file anew, after it was moved", NULL, cmd_log_reopen },
	{ "help", "[COMMAND]", "This list, or a command in detail", NULL, cmd_help },
};

const size_t cli_n_commands = ARRAY_LEN(cli_commands);

static void
print_general_help(FILE *to)
{
	fprintf(to, "usage: greylinectl [--socket PATH] [--json] COMMAND [ARGUMENTS]\n\n");
	for (size_t i = 0; i < cli_n_commands; i++)
		if (strcmp(cli_commands[i].words, "config show") != 0)
			fprintf(to, "  %-15s %s\n", cli_commands[i].words, cli_commands[i].summary);
	fprintf(to, "\n--socket PATH   the control socket; else $GREYLINE_SOCKET, else " CLI_SOCKET_DEFAULT "\n"
		    "--json          the result as JSON\n"
		    "--state-dir DIR of db; else $GREYLINE_STATE_DIR, else " CLI_STATE_DIR_DEFAULT "\n"
		    "\nExit codes: 0 done, 1 not found, 2 usage or value refused, 3 daemon not reachable.\n"
		    "greylinectl help COMMAND tells more.\n");
}

static void
print_command_help(FILE *to, const struct cli_command *c)
{
	fprintf(to, "usage: greylinectl %s%s%s\n\n%s.\n", c->words, c->synopsis[0] != '\0' ? " " : "", c->synopsis,
		c->summary);
	if (c->details != NULL)
		fprintf(to, "\n%s", c->details);
}

/* Commands of a group by its first word: how many were printed. */
static unsigned
print_group_help(FILE *to, const char *group)
{
	const size_t n = strlen(group);
	unsigned found = 0;

	for (size_t i = 0; i < cli_n_commands; i++)
		if (strncmp(cli_commands[i].words, group, n) == 0 &&
			(cli_commands[i].words[n] == ' ' || cli_commands[i].words[n] == '\0')) {
			fprintf(to, "%s greylinectl %s%s%s\n", found == 0 ? "usage:" : "      ", cli_commands[i].words,
				cli_commands[i].synopsis[0] != '\0' ? " " : "", cli_commands[i].synopsis);
			found++;
		}
	return found;
}

int
cli_usage(const struct cli *cli, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "greylinectl: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	if (cli->command != NULL)
		fprintf(stderr, "usage: greylinectl %s%s%s\n", cli->command->words,
			cli->command->synopsis[0] != '\0' ? " " : "", cli->command->synopsis);
	return CLI_USAGE;
}

/* The value of --name VALUE or --name=VALUE at argv[*i]; NULL after a message when it is missing. */
static const char *
option_value(const struct cli *cli, int argc, char **argv, int *i, size_t n_name)
{
	if (argv[*i][2 + n_name] == '=')
		return argv[*i] + 2 + n_name + 1;
	if (*i + 1 >= argc) {
		cli_usage(cli, "--%.*s needs a value", (int)n_name, argv[*i] + 2);
		return NULL;
	}
	return argv[++*i];
}

int
cli_arguments(struct cli *cli, int argc, char **argv, const struct cli_option *options, size_t n_options, int min,
	int max, const char *pos[CLI_ARGS_MAX])
{
	bool only_positions = false;
	int n = 0;

	for (int i = 0; i < argc; i++) {
		const char *name = argv[i] + 2;
		const size_t n_name = strncmp(argv[i], "--", 2) == 0 ? strcspn(name, "=") : 0;
		size_t o = 0;

		if (!only_positions && strcmp(argv[i], "--") == 0) {
			only_positions = true;
			continue;
		}
		if (only_positions || strncmp(argv[i], "--", 2) != 0) {
			if (n == max) {
				cli_usage(cli, "\"%.80s\" is one argument too many", argv[i]);
				return -1;
			}
			pos[n++] = argv[i];
			continue;
		}
		while (o < n_options &&
			(strlen(options[o].name) != n_name || strncmp(options[o].name, name, n_name) != 0))
			o++;
		if (o == n_options) {
			cli_usage(cli, "unknown option %.80s", argv[i]);
			return -1;
		}
		if (options[o].flag != NULL) {
			*options[o].flag = true;
			continue;
		}
		*options[o].value = option_value(cli, argc, argv, &i, n_name);
		if (*options[o].value == NULL)
			return -1;
	}
	if (n < min) {
		cli_usage(cli, "%s is missing", n == 0 && min > 0 ? "an argument" : "another argument");
		return -1;
	}
	for (int i = n; i < CLI_ARGS_MAX; i++)
		pos[i] = NULL;
	return n;
}

/* The command whose words begin argv; *used tells how many words it has. The longest wins. */
static const struct cli_command *
find_command(int argc, char **argv, int *used)
{
	const struct cli_command *best = NULL;

	*used = 0;
	for (size_t i = 0; i < cli_n_commands; i++) {
		const char *words = cli_commands[i].words;
		int n = 0;

		while (*words != '\0' && n < argc) {
			const size_t length = strcspn(words, " ");

			if (strlen(argv[n]) != length || strncmp(words, argv[n], length) != 0)
				break;
			words += length + (words[length] == ' ');
			n++;
		}
		if (*words == '\0' && n > *used) {
			best = &cli_commands[i];
			*used = n;
		}
	}
	return best;
}

int
cmd_help(struct cli *cli, int argc, char **argv)
{
	const struct cli_command *c;
	int used;

	if (argc == 0) {
		print_general_help(stdout);
		return CLI_OK;
	}
	c = find_command(argc, argv, &used);
	if (c != NULL && used == argc) {
		print_command_help(stdout, c);
		return CLI_OK;
	}
	if (argc == 1 && print_group_help(stdout, argv[0]) > 0)
		return CLI_OK;
	return cli_usage(cli, "there is no command \"%.80s\"", argv[0]);
}

/* Takes the options that are the same everywhere out of argv; what stays is counted. -1 after a message. */
static int
take_globals(struct cli *cli, int argc, char **argv, bool *help)
{
	int kept = 0;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			while (i < argc)
				argv[kept++] = argv[i++];
			break;
		}
		if (strcmp(argv[i], "--json") == 0) {
			cli->json = true;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			*help = true;
		} else if (strcmp(argv[i], "--socket") == 0 || strncmp(argv[i], "--socket=", 9) == 0) {
			cli->socket_path = option_value(cli, argc, argv, &i, 6);
			if (cli->socket_path == NULL)
				return -1;
		} else if (strcmp(argv[i], "--state-dir") == 0 || strncmp(argv[i], "--state-dir=", 12) == 0) {
			cli->state_dir = option_value(cli, argc, argv, &i, 9);
			if (cli->state_dir == NULL)
				return -1;
		} else {
			argv[kept++] = argv[i];
		}
	}
	return kept;
}

static const char *
environment(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : otherwise;
}

int
main(int argc, char **argv)
{
	struct cli cli = { .socket_path = environment("GREYLINE_SOCKET", CLI_SOCKET_DEFAULT),
		.state_dir = environment("GREYLINE_STATE_DIR", CLI_STATE_DIR_DEFAULT) };
	bool help = false;
	int used, exit_code;

	argc = take_globals(&cli, argc - 1, ++argv, &help);
	if (argc < 0)
		return CLI_USAGE;
	if (argc == 0) {
		print_general_help(help ? stdout : stderr);
		return help ? CLI_OK : CLI_USAGE;
	}
	if (help)
		return cmd_help(&cli, argc, argv);
	cli.command = find_command(argc, argv, &used);
	if (cli.command == NULL) {
		if (print_group_help(stderr, argv[0]) == 0)
			cli_usage(&cli, "there is no command \"%.80s\"; greylinectl help lists them", argv[0]);
		return CLI_USAGE;
	}
	exit_code = cli.command->run(&cli, argc - used, argv + used);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("greylinectl: stdout");
		return exit_code != CLI_OK ? exit_code : CLI_UNREACHABLE;
	}
	return exit_code;
}
