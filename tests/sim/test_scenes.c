/*
 * test_scenes.c - runs the scenario files of tests/dialogues/worker: timed dialogues with a whole worker, in virtual time.
 *
 * Touches: the files named by its arguments; each scenario runs in a process of its own, so that one that dies takes no other with it.
 *
 *   test_scenes FILE ...                 every scenario must hold
 *   test_scenes --only TEXT FILE ...     those whose title holds TEXT, one after another
 *   test_scenes --mutants LIST FILE ...  (the program with the mutants built in) every mutant must be caught by a scenario that names its id
 *
 * A file holds scenarios, each begun by "== TITLE". What a line of one may be:
 *   # text                      ignored, as are empty lines
 *   for ID ...                  what of tests/dialogues/requirements.txt this shows
 *   set OPTION VALUE            a number of struct conf, by its name; mode observe|soft|enforce, reject_at rcpt|connect, bare_lf WORD
 *   list NAME ENTRY             client_allow client_deny sender_allow sender_deny rcpt_allow rcpt_deny rcpt_no_grey trap: its one entry
 *   listener OPTION VALUE       pools NAME ..., trusted NETWORK, i_trust_the_backend on, any_domain on, auth relay
 *   pool NAME BACKEND ...       its backends
 *   backend NAME OPTION VALUE   ext TEXT, banner TEXT, raw TEXT, delay TIME, unknown ADDRESS, dribble on|off, deaf_in_data on|off,
 *                               open_relay on|off, address none|proxy_v1|proxy_v2|xclient, pause on|off, size N,
 *                               STAGE HOW: connect banner ehlo xclient mail rcpt data body chunk dot rset auth;
 *                               ok silent close reset 421 4xx 5xx nonsense raw;  shout TEXT says it unasked
 *   dns OPTION VALUE            ptr STATE, name NAME|none, score N, name_list allow|deny|none, silent on|off, delay TIME
 *   publish                     the configuration as changed since then is in force
 *   client ADDRESS              where later connections come from (198.18.0.10 is the first)
 *   framed on                   the session's stream re-frames and delays, as TLS will
 *   open [NAME] [PORT]          a connection, which is the one spoken over from here on
 *   use NAME                    another one
 *   hello [NAME]                open, the banner and EHLO client.example with its reply, whatever they say
 *   mail FROM                   MAIL FROM, which is taken ("-" is the null sender)
 *   data TEXT                   DATA, which is taken, and TEXT with its final dot
 *   cut N                       octets of the client go in segments of N each, a millisecond apart; 0: as they come
 *   C: LINE                     the client sends LINE and CRLF; escapes \r \n \0 \t \\ \xHH \{N:c} (c N times)
 *   c: OCTETS                   the same without CRLF
 *   repeat N LINE               that line of the scenario N times
 *   S: PATTERN                  the next line to the client is this. {*} stands for any text, {A..B} for a number between
 *   S-none [TIME]               nothing comes for so long (1s)
 *   gone | reset                the gateway closes (resets) the connection, and nothing came before that
 *   close | abort               the client does
 *   drain                       SIGTERM
 *   T: TIME                     so much time passes: 10ms 2s 4m 1h 1d
 *   mark;  elapsed A B          between A and B have passed since mark
 *   B NAME: PATTERN             the next line the backend was told is this; PROXY headers are "PROXY ADDRESS"
 *   B-none NAME;  B-skip NAME   it was told nothing more; what it was told so far is of no interest
 *   M NAME: OCTETS              its next message is this, octet for octet, to CRLF.CRLF
 *   M-none NAME                 it has no more messages
 *   N NAME conns|quits|aborted|chunks N
 *   deliver CODE FROM RCPT      a whole delivery in a session of its own ("-" is the null sender)
 *   white FROM RCPT             the triplet is let through the greylist
 *   L: PATTERN;  L-none: PATTERN  a log line since the last L-skip holds this (none does)
 *   L-skip
 *   count NAME N                a counter since the scenario began; +: above 0
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "tests/sim/mutant.h"
#include "tests/sim/play.h"

#define SCENARIOS_MAX 1024
#define MUTANTS_MAX   1024
#define CHILDREN      2

static struct scenario scenarios[SCENARIOS_MAX];
static unsigned n_scenarios;

/* ---- the files ---- */

static void
take_ids(struct scenario *sc, const char *line, size_t n)
{
	char copy[PLAY_LINE_MAX_OCTETS], *at = copy, *w;

	snprintf(copy, sizeof(copy), "%.*s", (int)n, line);
	play_word(&at);
	while ((w = play_word(&at))[0] != '\0') {
		BUG_ON(sc->n_ids == IDS_MAX);
		snprintf(sc->ids[sc->n_ids++], sizeof(sc->ids[0]), "%s", w);
	}
}

static void
load(const char *path)
{
	FILE *f = fopen(path, "r");
	struct scenario *sc = NULL;
	unsigned line = 0;
	char *text, *end;
	size_t n;

	if (f == NULL) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	text = malloc(4u << 20); /* lives as long as the program */
	BUG_ON(text == NULL);
	n = fread(text, 1, (4u << 20) - 1, f);
	fclose(f);
	text[n] = '\0';
	end = text + n;
	for (char *at = text; at < end;) {
		char *nl = memchr(at, '\n', (size_t)(end - at));
		const size_t len = nl != NULL ? (size_t)(nl - at) : (size_t)(end - at);

		line++;
		if (len > 3 && strncmp(at, "== ", 3) == 0) {
			BUG_ON(n_scenarios == SCENARIOS_MAX);
			if (sc != NULL)
				sc->end = at;
			sc = &scenarios[n_scenarios++];
			sc->file = path;
			sc->line = line;
			sc->title = strndup(at + 3, len - 3);
			sc->text = at + len + (nl != NULL);
			sc->end = end;
		} else if (sc != NULL && len > 4 && strncmp(at, "for ", 4) == 0) {
			take_ids(sc, at, len);
		}
		at += len + 1;
	}
}

/* ---- children ---- */

struct job {
	const struct scenario *scenario;
	unsigned mutant;
	pid_t pid;
	bool done, held;
};

static struct job jobs[MUTANTS_MAX * 4];
static unsigned n_jobs;

/* Runs all jobs, CHILDREN at a time. */
static void
run_jobs(bool quiet)
{
	unsigned next = 0, running = 0;

	while (next < n_jobs || running > 0) {
		int status;
		pid_t pid;

		while (running < CHILDREN && next < n_jobs) {
			struct job *j = &jobs[next++];

			fflush(NULL);
			j->pid = fork();
			BUG_ON(j->pid < 0);
			if (j->pid == 0) {
				if (quiet && freopen("/dev/null", "w", stderr) == NULL)
					_exit(3);
				mutant_now = j->mutant;
				play_scenario(j->scenario);
			}
			running++;
		}
		pid = wait(&status);
		for (unsigned i = 0; i < n_jobs; i++)
			if (!jobs[i].done && jobs[i].pid == pid) {
				jobs[i].done = true;
				jobs[i].held = WIFEXITED(status) && WEXITSTATUS(status) == 0;
				if (!jobs[i].held && !quiet)
					fprintf(stderr, "%s:%u (%s): does not hold\n", jobs[i].scenario->file,
						jobs[i].scenario->line, jobs[i].scenario->title);
				running--;
			}
	}
}

static int
run_all(const char *only)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < n_scenarios; i++)
		if (only == NULL || strstr(scenarios[i].title, only) != NULL)
			jobs[n_jobs++] = (struct job){ .scenario = &scenarios[i] };
	run_jobs(false);
	for (unsigned i = 0; i < n_jobs; i++)
		bad += !jobs[i].held;
	printf("%u scenarios, %u do not hold\n", n_jobs, bad);
	return bad > 0 || n_jobs == 0;
}

static bool
has_id(const struct scenario *sc, const char *id)
{
	for (unsigned i = 0; i < sc->n_ids; i++)
		if (strcmp(sc->ids[i], id) == 0)
			return true;
	return false;
}

/* Each mutant against the scenarios that name its id. */
static int
run_mutants(void)
{
	unsigned survivors = 0, m;

	for (m = 0; m < mutants_n; m++)
		for (unsigned i = 0; i < n_scenarios && mutants[m].missing == NULL; i++)
			if (has_id(&scenarios[i], mutants[m].id)) {
				BUG_ON(n_jobs == ARRAY_LEN(jobs));
				jobs[n_jobs++] = (struct job){ .scenario = &scenarios[i], .mutant = m + 1 };
			}
	run_jobs(true);
	for (m = 0; m < mutants_n; m++) {
		unsigned n = 0, caught = 0;

		for (unsigned i = 0; i < n_jobs; i++)
			if (jobs[i].mutant == m + 1) {
				n++;
				caught += !jobs[i].held;
			}
		if (caught > 0)
			continue;
		survivors++;
		if (mutants[m].missing != NULL)
			fprintf(stderr, "%s: %s\n", mutants[m].where, mutants[m].missing);
		else
			fprintf(stderr, "%s: the mutant of %s is seen by none of its %u scenarios\n", mutants[m].where,
				mutants[m].id, n);
	}
	printf("%u mutants, %u not caught\n", mutants_n, survivors);
	return survivors > 0 || mutants_n == 0;
}

int
main(int argc, char **argv)
{
	const char *only = NULL;
	bool with_mutants = false;
	int i = 1;

	if (i + 1 < argc && strcmp(argv[i], "--only") == 0) {
		only = argv[i + 1];
		i += 2;
	} else if (i < argc && strcmp(argv[i], "--mutants") == 0) {
		with_mutants = true;
		i++;
	}
	if (i == argc) {
		fprintf(stderr, "usage: %s [--only TEXT | --mutants] FILE ...\n", argv[0]);
		return 2;
	}
	for (; i < argc; i++)
		load(argv[i]);
	return with_mutants ? run_mutants() : run_all(only);
}
