/*
 * daemon_play.h - greyline-control as a process of a test: started with a configuration of its own, asked over its socket, ended in order.
 *
 * Touches: a folder in /tmp and a segment in /dev/shm, gone with daemon_end().
 */
#ifndef GREYLINE_TESTS_UNIT_CONTROL_DAEMON_PLAY_H
#define GREYLINE_TESTS_UNIT_CONTROL_DAEMON_PLAY_H

#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *daemon_program; /* set by main() */

struct daemon {
	char dir[64], config[96], segment[256];
	unsigned entries; /* state.entries */
	char metrics[32]; /* metrics.listen */
	pid_t pid;
	int fd;
	char buffer[1 << 22];
	size_t n;
};

static void
write_config(const struct daemon *d, const char *more)
{
	FILE *f = fopen(d->config, "w");

	assert_non_null(f);
	fprintf(f,
		"run_dir = \"%s/run\"; state_dir = \"%s/state\"; hostname = \"gw.example.org\";\n"
		"ports = ( { name = \"wan\"; device = \"x\"; addresses = [ \"198.18.0.2/16\" ]; } );\n"
		"pools = ( { name = \"default\"; backends = ( { name = \"mta1\"; address = \"198.18.1.3\"; "
		"client_address = \"proxy_v2\"; } ); } );\n"
		"listeners = ( { name = \"mx\"; role = \"mx\"; addresses = [ \"198.18.0.2\" ]; domains = [ "
		"\"example.org\" ]; pools = [ \"default\" ]; } );\n"
		"state = { entries = %u; }; log = { file = \"%s/mail.log\"; }; metrics = { listen = \"%s\"; };\n%s\n",
		d->dir, d->dir, d->entries, d->dir, d->metrics, more);
	fclose(f);
}

static void
connect_to(struct daemon *d)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct timeval wait = { .tv_sec = 20 };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/run/control.sock", d->dir);
	for (int i = 0; i < 2000; i++) {
		d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(d->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
			setsockopt(d->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
			d->n = 0;
			return;
		}
		close(d->fd);
		usleep(10000);
	}
	fail_msg("the socket does not come");
}

static pid_t
run(const struct daemon *d)
{
	pid_t pid = fork();

	if (pid == 0) {
		int log = open("/dev/null", O_WRONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failing test leaves nothing behind */
		dup2(log, 1);
		if (getenv("TEST_VERBOSE") == NULL)
			dup2(log, 2);
		execl(daemon_program, daemon_program, "--config", d->config, "--foreground", (char *)NULL);
		_exit(127);
	}
	return pid;
}

static void
daemon_start_at(struct daemon *d, const char *more, const char *metrics)
{
	memset(d, 0, sizeof(*d));
	d->entries = 4096;
	snprintf(d->metrics, sizeof(d->metrics), "%s", metrics);
	strcpy(d->dir, "/tmp/greyline-api-XXXXXX");
	assert_non_null(mkdtemp(d->dir));
	snprintf(d->config, sizeof(d->config), "%s/greyline.conf", d->dir);
	write_config(d, more);
	d->pid = run(d);
	connect_to(d);
}

static void
daemon_start(struct daemon *d, const char *more)
{
	daemon_start_at(d, more, "");
}

/* Takes a reference away: the answer lives until json_decref(). */
static json_t *
ask_line(struct daemon *d, const char *line)
{
	char *eol;
	json_t *j;

	assert_int_equal(write(d->fd, line, strlen(line)), (ssize_t)strlen(line));
	assert_int_equal(write(d->fd, "\n", 1), 1);
	while ((eol = memchr(d->buffer, '\n', d->n)) == NULL) {
		ssize_t n = read(d->fd, d->buffer + d->n, sizeof(d->buffer) - d->n);

		if (n <= 0)
			fail_msg("%s: no answer", line);
		d->n += (size_t)n;
	}
	j = json_loadb(d->buffer, (size_t)(eol - d->buffer), 0, NULL);
	d->n -= (size_t)(eol + 1 - d->buffer);
	memmove(d->buffer, eol + 1, d->n);
	assert_true(json_is_object(j));
	return j;
}

/* The member at path of the answer's result as text, "" when it is not there; static room. */
static const char *
value_at(json_t *answer, const char *path)
{
	static char text[4096];
	json_t *at = answer;
	char part[64];

	while (*path != '\0' && at != NULL) {
		size_t n = strcspn(path, "/");

		snprintf(part, sizeof(part), "%.*s", (int)n, path);
		at = json_is_array(at) ? json_array_get(at, (size_t)atoi(part)) : json_object_get(at, part);
		path += n + (path[n] == '/');
	}
	text[0] = '\0';
	if (json_is_string(at))
		snprintf(text, sizeof(text), "%s", json_string_value(at));
	else if (json_is_integer(at))
		snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(at));
	else if (json_is_boolean(at))
		snprintf(text, sizeof(text), "%s", json_is_true(at) ? "true" : "false");
	else if (json_is_array(at))
		snprintf(text, sizeof(text), "%zu elements", json_array_size(at));
	return text;
}

static void
check(struct daemon *d, const char *line, const char *path, const char *want)
{
	json_t *answer = ask_line(d, line);
	const char *got = value_at(answer, path);

	if (strcmp(got, want) != 0) {
		char *all = json_dumps(answer, 0);

		fail_msg("%s: %s: got \"%s\", want \"%s\" in %s", line, path, got, want, all);
	}
	json_decref(answer);
}

static int
daemon_wait(struct daemon *d)
{
	int status = 0;

	for (int i = 0; i < 2000; i++) {
		if (waitpid(d->pid, &status, WNOHANG) == d->pid)
			return status;
		usleep(10000);
	}
	fail_msg("it does not end");
	return -1;
}

static void
remove_tree(const char *path)
{
	char command[320];

	snprintf(command, sizeof(command), "rm -rf '%s'", path);
	assert_int_equal(system(command), 0);
}

/* Asks where its segment is: d->segment. */
static void
daemon_ask_segment(struct daemon *d)
{
	json_t *status = ask_line(d, "{\"cmd\":\"status\"}");

	snprintf(d->segment, sizeof(d->segment), "%s", value_at(status, "result/segment"));
	json_decref(status);
}

static void
daemon_end(struct daemon *d)
{
	daemon_ask_segment(d);
	close(d->fd);
	kill(d->pid, SIGTERM);
	CHECK_EQ("ends in order", daemon_wait(d), 0);
	*strrchr(d->segment, '/') = '\0';
	assert_true(strncmp(d->segment, "/dev/shm/greyline-", 18) == 0);
	remove_tree(d->segment);
	remove_tree(d->dir);
}

#endif
