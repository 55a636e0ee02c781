/*
 * main.c - greyline-control: options, then control_start() and the loop.
 *
 * Touches: the command line, standard output and error, signals.
 */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/control.h"

static const char usage[] =
	"usage: greyline-control --config FILE [--foreground]\n"
	"       greyline-control --check FILE            read and check a configuration, nothing else\n"
	"       greyline-control --dump-options=FORM     every setting: man, md or sample\n"
	"       greyline-control --version | --help\n";

static struct config *
config_or_errors(const char *path)
{
	struct config_errors errors = { 0 };
	struct config *config = config_load(path, &errors);

	for (uint32_t i = 0; i < errors.n; i++)
		fprintf(stderr, "%s\n", errors.line[i]);
	if (errors.dropped > 0)
		fprintf(stderr, "and %u more errors\n", errors.dropped);
	config_errors_free(&errors);
	return config;
}

static int
serve(const char *path, bool foreground)
{
	struct config *config = config_or_errors(path);
	struct control *c;
	char absolute[1024];
	int status = 1;

	if (config == NULL)
		return 2;
	if (realpath(path, absolute) == NULL)
		snprintf(absolute, sizeof(absolute), "%s", path);
	if (!foreground && daemon(0, 1) != 0) { /* before anything is open */
		fprintf(stderr, "greyline-control: %s\n", strerror(errno));
		config_free(config);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	c = calloc(1, sizeof(*c));
	if (c == NULL) {
		config_free(config);
		return 1;
	}
	if (control_start(c, absolute, config) == 0) {
		fprintf(stderr, "greyline-control: ready\n");
		event_base_dispatch(c->base);
		status = 0;
	}
	control_stop(c);
	free(c);
	return status;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "check", required_argument, NULL, 'k' },
		{ "dump-options", required_argument, NULL, 'd' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *path = NULL;
	bool foreground = false;
	struct config *config;
	int o;

	while ((o = getopt_long(argc, argv, "c:fh", options, NULL)) != -1)
		switch (o) {
		case 'c':
			path = optarg;
			break;
		case 'f':
			foreground = true;
			break;
		case 'k':
			config = config_or_errors(optarg);
			if (config == NULL)
				return 2;
			printf("%s: correct\n", optarg);
			config_free(config);
			return 0;
		case 'd':
			if (option_dump(stdout, optarg))
				return 0;
			fprintf(stderr, "greyline-control: right is man, md or sample\n");
			return 2;
		case 'v':
			printf("greyline-control %s\n", CONTROL_VERSION);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	if (path == NULL || optind != argc) {
		fputs(usage, stderr);
		return 2;
	}
	return serve(path, foreground);
}
