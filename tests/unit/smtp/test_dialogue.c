/*
 * test_dialogue.c - runs the scenario files of tests/dialogues against smtp_session, each in several cuts of the client's octets.
 *
 * Touches: the files named by its arguments.
 *
 * A file holds dialogues, each begun by "== NAME". A line of one is:
 *   # text             ignored, as are empty lines
 *   set OPTION VALUE   before start: ext LIST, size N, starttls on, bare_lf reject|tolerate|normalize, and the numbers of struct conf
 *                      auth on (AUTH PLAIN is carried to a backend), starttls_busy on, tls_required on, commands_max errors_max rcpts_max messages_max message_max command_timeout_s data_timeout_s rate_floor
 *   set tls_at_once on  the stream changes as soon as it is told to, with octets of the client still waiting
 *   cuts whole         only as it stands: no cutting of the client's octets (where the cut matters)
 *   start              greets at once (what most do: the first line that is not "set" implies it)
 *   pause              begins with the greet pause;  tease gives its first line, greet ends it
 *   refuse CODE TEXT   greets with a refusal
 *   C: LINE            the client sends LINE and CRLF; escapes \r \n \0 \t \\ \xHH \{N:c} (c N times)
 *   c: OCTETS          the same without CRLF
 *   repeat N LINE      LINE of the dialogue N times
 *   S: LINE            the next line to the client is this
 *   S-none             nothing more is there for the client
 *   A: KIND CODE TEXT  answers what is awaited, which must be KIND: rcpt, data, chunk, message
 *   fail CODE TEXT     the backend failed inside the message
 *   E: ACTION          the action was told (earlier ones that were not asked for are skipped);  E-none: no action is left
 *   B: OCTETS          the backend was given exactly these since the last B:
 *   room N             octets the backend takes from now on
 *   T: MS              time passes
 *   tls                the stream changed to TLS
 *   eof yes|no         the client closed; whether a message was under way
 *   shut yes|no        we want to end the session; whether it could be
 *   X: STATE           the state is this
 *   from|rcpt|helo|params|rcpt_params TEXT, needs LIST, early yes|no, esmtp yes|no, is_tls yes|no, chunk N LAST|MORE,
 *   octets N, messages N: what the session tells of itself
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "dataplane/smtp/smtp_auth.h"
#include "dataplane/smtp/smtp_session.h"
#include "dataplane/smtp/smtp_session_impl.h"
#include "tests/check.h"
#include "tests/helpers/escapes.h"
#include "tests/helpers/smtp_rested.h"

#define OCTETS_MAX  (256u << 10)
#define ACTIONS_MAX 4096

static const char *const action_names[] = {
	[SMTP_ACTION_NONE] = "NONE",
	[SMTP_ACTION_EHLO] = "EHLO",
	[SMTP_ACTION_MAIL] = "MAIL",
	[SMTP_ACTION_RCPT] = "RCPT",
	[SMTP_ACTION_DATA] = "DATA",
	[SMTP_ACTION_CHUNK_END] = "CHUNK_END",
	[SMTP_ACTION_BODY_END] = "BODY_END",
	[SMTP_ACTION_ABORT] = "ABORT",
	[SMTP_ACTION_RESET] = "RESET",
	[SMTP_ACTION_STARTTLS] = "STARTTLS",
	[SMTP_ACTION_QUIT] = "QUIT",
	[SMTP_ACTION_CLOSE] = "CLOSE",
};

struct octet_queue {
	uint8_t at[OCTETS_MAX];
	uint32_t from, to;
};

struct play {
	struct smtp_session s;
	struct smtp_env env;
	struct conf conf;
	struct counters counters;
	struct octet_queue in, out, body;
	enum smtp_action action[ACTIONS_MAX];
	uint32_t n_actions, next_action;
	enum smtp_action awaited;
	uint32_t cut, room;
	uint64_t now_us;
	bool begun, tls_at_once, rests;
	uint32_t n_rests;
	const char *file, *name;
	unsigned line;
	char text[OCTETS_MAX];
};

__attribute__((format(printf, 2, 3), noreturn)) static void
failed(const struct play *p, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fail_msg("%s:%u (%s, cut %u): %s", p->file, p->line, p->name, p->cut, text);
	abort();
}

static void
push(struct play *p, struct octet_queue *q, const void *data, uint32_t n)
{
	if (q->to + n > OCTETS_MAX)
		failed(p, "too many octets for the runner");
	if (n > 0)
		memcpy(q->at + q->to, data, n);
	q->to += n;
}

static void
told(struct play *p, enum smtp_action action)
{
	if (p->n_actions == ACTIONS_MAX)
		failed(p, "too many actions");
	p->action[p->n_actions++] = action;
	if (action == SMTP_ACTION_RCPT || action == SMTP_ACTION_DATA || action == SMTP_ACTION_CHUNK_END ||
		action == SMTP_ACTION_BODY_END) {
		if (p->awaited != SMTP_ACTION_NONE)
			failed(p, "%s told while %s awaits its answer", action_names[action], action_names[p->awaited]);
		p->awaited = action;
	}
	if (action == SMTP_ACTION_STARTTLS && p->tls_at_once)
		smtp_session_tls_started(&p->s, &p->env, p->now_us);
	if (action == SMTP_ACTION_ABORT)
		p->body.from = p->body.to; /* the backend forgets the message */
}

static void
drain(struct play *p)
{
	uint8_t room[256];
	uint32_t n;

	while ((n = smtp_session_output(&p->s, room, sizeof(room))) > 0) {
		for (uint32_t i = 0; i < n; i++)
			if (room[i] >= 0x80)
				failed(p, "a reply with 8-bit");
		push(p, &p->out, room, n);
	}
}

/* The caller's loop of smtp_session.h, until nothing moves. Each input is an allocation of its own, for the sanitizer. */
static void
run(struct play *p)
{
	for (;;) {
		const uint32_t have = p->in.to - p->in.from;
		const uint32_t n = p->cut > 0 ? MIN(have, p->cut) : have;
		uint8_t *octets = malloc(n > 0 ? n : 1);
		struct buf_view body[SMTP_BODY_VIEWS_MAX];
		const struct buf_view in = { octets, n, NULL };
		enum smtp_action action;
		uint32_t used, n_body, given = 0;

		memcpy(octets, p->in.at + p->in.from, n);
		if (p->rests && n > 0)
			p->n_rests += smtp_rested(&p->s);
		used = smtp_session_input(&p->s, &p->env, &in, p->room, body, &n_body, &action, p->now_us);
		if (used > n)
			failed(p, "consumed %u of %u octets", used, n);
		for (uint32_t i = 0; i < n_body; i++) {
			push(p, &p->body, body[i].ptr, body[i].len_octets);
			given += body[i].len_octets;
		}
		free(octets);
		if (action == SMTP_ACTION_ABORT && given > 0)
			failed(p, "%u octets given with ABORT", given);
		if (given > p->room)
			failed(p, "%u octets given, room for %u", given, p->room);
		p->in.from += used;
		drain(p);
		if (action != SMTP_ACTION_NONE)
			told(p, action);
		if (used == 0 && action == SMTP_ACTION_NONE)
			return;
	}
}

static void
begin(struct play *p, const char *how)
{
	p->begun = true;
	smtp_session_init(&p->s, &p->env, p->now_us);
	if (strcmp(how, "pause") == 0)
		return;
	smtp_session_greet(&p->s, &p->env, p->now_us);
	run(p);
}

/* What text stands for, to out (OCTETS_MAX); returns octets. */
static uint32_t
unescape(const struct play *p, const char *text, char *out)
{
	const size_t n = escapes_decode(text, out, OCTETS_MAX);

	if (n == SIZE_MAX)
		failed(p, "too many octets for the runner");
	return (uint32_t)n;
}

static uint32_t
ext_list(struct play *p, const char *text)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} exts[] = {
		{ "PIPELINING", EXT_PIPELINING },
		{ "SIZE", EXT_SIZE },
		{ "8BITMIME", EXT_8BITMIME },
		{ "SMTPUTF8", EXT_SMTPUTF8 },
		{ "DSN", EXT_DSN },
		{ "CHUNKING", EXT_CHUNKING },
		{ "BINARYMIME", EXT_BINARYMIME },
		{ "ENHANCEDSTATUSCODES", EXT_ENHANCEDSTATUSCODES },
		{ "NONE", 0 },
	};
	char copy[256], *word, *save = NULL;
	uint32_t set = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
		uint32_t i = 0;

		while (i < ARRAY_LEN(exts) && strcmp(exts[i].name, word) != 0)
			i++;
		if (i == ARRAY_LEN(exts))
			failed(p, "unknown extension %s", word);
		set |= exts[i].bit;
	}
	return set;
}

static void
do_set(struct play *p, char *text)
{
	const struct {
		const char *name;
		uint32_t *at;
	} numbers[] = {
		{ "commands_max", &p->conf.commands_max },
		{ "errors_max", &p->conf.errors_max },
		{ "rcpts_max", &p->conf.rcpts_max },
		{ "messages_max", &p->conf.messages_max },
		{ "command_timeout_s", &p->conf.command_timeout_s },
		{ "data_timeout_s", &p->conf.data_timeout_s },
		{ "rate_floor", &p->conf.data_rate_floor_octets_s },
	};
	char *value = strchr(text, ' ');

	if (value == NULL)
		failed(p, "set needs a value");
	*value++ = '\0';
	for (uint32_t i = 0; i < ARRAY_LEN(numbers); i++) {
		if (strcmp(text, numbers[i].name) != 0)
			continue;
		*numbers[i].at = (uint32_t)strtoul(value, NULL, 10);
		return;
	}
	if (strcmp(text, "ext") == 0)
		p->env.ext = ext_list(p, value);
	else if (strcmp(text, "size") == 0)
		p->env.size_octets = strtoull(value, NULL, 10);
	else if (strcmp(text, "message_max") == 0)
		p->conf.message_max_octets = strtoull(value, NULL, 10);
	else if (strcmp(text, "starttls") == 0)
		p->env.starttls = strcmp(value, "on") == 0;
	else if (strcmp(text, "starttls_busy") == 0)
		p->env.starttls_busy = strcmp(value, "on") == 0;
	else if (strcmp(text, "tls_required") == 0)
		p->env.tls_required = strcmp(value, "on") == 0;
	else if (strcmp(text, "auth") == 0)
		p->env.auth = strcmp(value, "on") == 0 ? smtp_auth_bit("PLAIN", 5) : 0;
	else if (strcmp(text, "tls_at_once") == 0)
		p->tls_at_once = strcmp(value, "on") == 0;
	else if (strcmp(text, "hostname") == 0)
		snprintf(p->conf.hostname, sizeof(p->conf.hostname), "%s", value);
	else if (strcmp(text, "bare_lf") == 0)
		p->conf.bare_lf = strcmp(value, "reject") == 0     ? BARE_LF_REJECT
		                  : strcmp(value, "tolerate") == 0 ? BARE_LF_TOLERATE
		                                                   : BARE_LF_NORMALIZE;
	else
		failed(p, "unknown option %s", text);
}

static void
read_reply(struct play *p, char *text, struct smtp_reply *r)
{
	const unsigned long code = strtoul(text, &text, 10);
	char line[SMTP_REPLY_LINE_MAX_OCTETS];

	(void)p;
	snprintf(line, sizeof(line), "%s", *text == ' ' ? text + 1 : text);
	smtp_reply_set(r, (uint16_t)code, NULL, line);
}

static void
do_answer(struct play *p, char *text)
{
	static const struct {
		const char *kind;
		enum smtp_action action;
	} kinds[] = {
		{ "rcpt", SMTP_ACTION_RCPT },
		{ "data", SMTP_ACTION_DATA },
		{ "chunk", SMTP_ACTION_CHUNK_END },
		{ "message", SMTP_ACTION_BODY_END },
	};
	char *reply = strchr(text, ' ');
	struct smtp_reply r;
	uint32_t i = 0;

	if (reply == NULL)
		failed(p, "an answer needs a kind and a reply");
	*reply++ = '\0';
	read_reply(p, reply, &r);
	while (i < ARRAY_LEN(kinds) && strcmp(kinds[i].kind, text) != 0)
		i++;
	if (i == ARRAY_LEN(kinds) || kinds[i].action != p->awaited)
		failed(p, "answer to %s, awaited is %s", text, action_names[p->awaited]);
	p->awaited = SMTP_ACTION_NONE;
	if (kinds[i].action == SMTP_ACTION_RCPT)
		smtp_session_rcpt_answer(&p->s, &p->env, &r, p->now_us);
	else if (kinds[i].action == SMTP_ACTION_BODY_END)
		smtp_session_message_answer(&p->s, &p->env, &r, p->now_us);
	else
		smtp_session_data_answer(&p->s, &p->env, &r, p->now_us);
	drain(p);
	run(p);
}

static void
want_line(struct play *p, const char *want)
{
	const uint8_t *line = p->out.at + p->out.from;
	const uint32_t have = p->out.to - p->out.from;
	const uint8_t *lf = have > 0 ? memchr(line, '\n', have) : NULL;
	char got[1024];

	if (lf == NULL)
		failed(p, "got no line, want \"%s\"", want);
	snprintf(got, sizeof(got), "%.*s", (int)(lf - line), (const char *)line);
	p->out.from += (uint32_t)(lf - line) + 1;
	if (lf == line || lf[-1] != '\r')
		failed(p, "line without CR: \"%s\"", got);
	got[lf - line - 1] = '\0';
	if (strcmp(got, want) != 0)
		failed(p, "got \"%s\", want \"%s\"", got, want);
}

static void
want_action(struct play *p, const char *name)
{
	const uint32_t from = p->next_action;

	while (p->next_action < p->n_actions)
		if (strcmp(action_names[p->action[p->next_action++]], name) == 0)
			return;
	failed(p, "action %s was not told (%u others were)", name, p->n_actions - from);
}

static void
want_body(struct play *p, const char *want, uint32_t n)
{
	const uint32_t have = p->body.to - p->body.from;
	char got[512];
	uint32_t at = 0;

	for (uint32_t i = 0; i < have && at + 8 < sizeof(got); i++) {
		const uint8_t c = p->body.at[p->body.from + i];

		at += (uint32_t)snprintf(got + at, sizeof(got) - at, c >= 0x20 && c < 0x7f ? "%c" : "\\x%02x", c);
	}
	got[at] = '\0';
	if (have != n || memcmp(p->body.at + p->body.from, want, n) != 0)
		failed(p, "the backend got %u octets, \"%s\", want %u", have, got, n);
	p->body.from = p->body.to;
}

static void
want_text(struct play *p, const char *what, const char *got, const char *want)
{
	if (strcmp(got, want) != 0)
		failed(p, "%s: got \"%s\", want \"%s\"", what, got, want);
}

static void
want_yes(struct play *p, const char *what, bool got, const char *want)
{
	if (got != (strcmp(want, "yes") == 0))
		failed(p, "%s: got %s, want %s", what, got ? "yes" : "no", want);
}

static void
do_send(struct play *p, const char *text, bool crlf)
{
	push(p, &p->in, p->text, unescape(p, text, p->text));
	if (crlf)
		push(p, &p->in, "\r\n", 2);
	run(p);
}

/* One line of a dialogue: verb, and what follows its first space. */
static void
do_line(struct play *p, char *verb, char *rest)
{
	struct smtp_envelope *e = smtp_session_envelope(&p->s);
	struct smtp_reply r;
	bool last;

	if (strcmp(verb, "set") == 0) {
		do_set(p, rest);
	} else if (strcmp(verb, "start") == 0 || strcmp(verb, "pause") == 0) {
		begin(p, verb);
	} else if (strcmp(verb, "tease") == 0) {
		smtp_session_tease(&p->s, &p->env);
		drain(p);
	} else if (strcmp(verb, "greet") == 0) {
		smtp_session_greet(&p->s, &p->env, p->now_us);
		drain(p);
		run(p);
	} else if (strcmp(verb, "refuse") == 0) {
		begin(p, "pause");
		read_reply(p, rest, &r);
		smtp_session_refuse(&p->s, &p->env, &r, p->now_us);
		drain(p);
		run(p);
	} else if (!p->begun) {
		begin(p, "start");
		do_line(p, verb, rest);
	} else if (strcmp(verb, "C:") == 0 || strcmp(verb, "c:") == 0) {
		do_send(p, rest, verb[0] == 'C');
	} else if (strcmp(verb, "repeat") == 0) {
		unsigned long n = strtoul(rest, &rest, 10);
		char copy[4096], *what;

		for (; n > 0; n--) {
			snprintf(copy, sizeof(copy), "%s", rest + 1);
			what = copy + strcspn(copy, " ");
			if (*what == ' ')
				*what++ = '\0';
			do_line(p, copy, what);
		}
	} else if (strcmp(verb, "S:") == 0) {
		want_line(p, rest);
	} else if (strcmp(verb, "S-none") == 0) {
		if (p->out.from != p->out.to)
			failed(p, "got \"%.*s\", want nothing", (int)(p->out.to - p->out.from),
				(const char *)p->out.at + p->out.from);
	} else if (strcmp(verb, "A:") == 0) {
		do_answer(p, rest);
	} else if (strcmp(verb, "fail") == 0) {
		read_reply(p, rest, &r);
		p->awaited = SMTP_ACTION_NONE;
		smtp_session_data_failed(&p->s, &p->env, &r, p->now_us);
		drain(p);
		run(p);
	} else if (strcmp(verb, "E:") == 0) {
		want_action(p, rest);
	} else if (strcmp(verb, "E-none") == 0) {
		if (p->next_action < p->n_actions)
			failed(p, "action %s is left", action_names[p->action[p->next_action]]);
	} else if (strcmp(verb, "B:") == 0) {
		want_body(p, p->text, unescape(p, rest, p->text));
	} else if (strcmp(verb, "room") == 0) {
		p->room = (uint32_t)strtoul(rest, NULL, 10);
		run(p);
	} else if (strcmp(verb, "T:") == 0) {
		p->now_us += strtoull(rest, NULL, 10) * 1000;
		run(p);
	} else if (strcmp(verb, "tls") == 0) {
		smtp_session_tls_started(&p->s, &p->env, p->now_us);
		run(p);
	} else if (strcmp(verb, "eof") == 0) {
		want_yes(p, "eof", smtp_session_eof(&p->s), rest);
		run(p);
	} else if (strcmp(verb, "shut") == 0) {
		want_yes(p, "shut", smtp_session_shut(&p->s, &p->env, "Service is going down", p->now_us), rest);
		drain(p);
		run(p);
	} else if (strcmp(verb, "X:") == 0) {
		want_text(p, "state", smtp_state_name(smtp_session_state(&p->s)), rest);
	} else if (strcmp(verb, "from") == 0) {
		want_text(p, verb, e->from.text, rest);
	} else if (strcmp(verb, "rcpt") == 0) {
		want_text(p, verb, e->rcpt.text, rest);
	} else if (strcmp(verb, "params") == 0) {
		want_text(p, verb, e->mail_params, rest);
	} else if (strcmp(verb, "rcpt_params") == 0) {
		want_text(p, verb, e->rcpt_params, rest);
	} else if (strcmp(verb, "helo") == 0) {
		want_text(p, verb, smtp_session_helo(&p->s), rest);
	} else if (strcmp(verb, "needs") == 0) {
		if (e->needs != ext_list(p, rest))
			failed(p, "needs: got %#x, want %#x", e->needs, ext_list(p, rest));
	} else if (strcmp(verb, "early") == 0) {
		want_yes(p, verb, smtp_session_early_talker(&p->s), rest);
	} else if (strcmp(verb, "octets") == 0) {
		if (smtp_session_message_octets(&p->s) != strtoull(rest, NULL, 10))
			failed(p, "octets: got %llu, want %s", (unsigned long long)smtp_session_message_octets(&p->s),
				rest);
	} else if (strcmp(verb, "messages") == 0) {
		if (smtp_session_messages(&p->s) != strtoul(rest, NULL, 10))
			failed(p, "messages: got %u, want %s", smtp_session_messages(&p->s), rest);
	} else if (strcmp(verb, "esmtp") == 0) {
		want_yes(p, verb, smtp_session_is_esmtp(&p->s), rest);
	} else if (strcmp(verb, "is_tls") == 0) {
		want_yes(p, verb, smtp_session_is_tls(&p->s), rest);
	} else if (strcmp(verb, "chunk") == 0) {
		const uint64_t want = strtoull(rest, &rest, 10);

		if (smtp_session_chunk(&p->s, &last) != want)
			failed(p, "chunk has another size");
		want_yes(p, "last", last, strcmp(rest, " LAST") == 0 ? "yes" : "no");
	} else {
		failed(p, "what is \"%s\"?", verb);
	}
}

static void
play_reset(struct play *p, const char *name, uint32_t cut)
{
	memset(&p->counters, 0, sizeof(p->counters));
	memset(&p->s, 0xa5, sizeof(p->s)); /* init must set what it relies on */
	p->conf = (struct conf){
		.hostname = "gw.example.org",
		.command_timeout_s = 300,
		.data_timeout_s = 180,
		.rcpts_max = 100,
		.commands_max = 1000,
		.errors_max = 100,
		.messages_max = 1000,
	};
	p->env = (struct smtp_env){
		.conf = &p->conf,
		.counters = &p->counters,
		.size_octets = 40000000,
		.ext = EXT_PIPELINING | EXT_SIZE | EXT_8BITMIME | EXT_ENHANCEDSTATUSCODES,
	};
	p->in.from = p->in.to = p->out.from = p->out.to = p->body.from = p->body.to = 0;
	p->n_actions = p->next_action = 0;
	p->awaited = SMTP_ACTION_NONE;
	p->now_us = 1000000;
	p->room = UINT32_MAX;
	p->begun = p->tls_at_once = false;
	p->cut = cut;
	p->name = name;
}

static void
play_file(struct play *p, const char *path, uint32_t cut, unsigned *n_dialogues)
{
	FILE *f = fopen(path, "r");
	char line[8192], name[8192] = "";
	bool skip = false;

	p->file = path;
	p->line = 0;
	if (f == NULL)
		fail_msg("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f) != NULL) {
		char *rest = line;

		p->line++;
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "== ", 3) == 0) {
			snprintf(name, sizeof(name), "%s", line + 3);
			play_reset(p, name, cut);
			skip = false;
			(*n_dialogues)++;
			continue;
		}
		if (line[0] == '\0' || line[0] == '#' || skip)
			continue;
		if (strcmp(line, "cuts whole") == 0) {
			skip = cut != 0;
			continue;
		}
		rest = line + strcspn(line, " ");
		if (*rest == ' ')
			*rest++ = '\0';
		do_line(p, line, rest);
	}
	fclose(f);
}

static char **files;
static int n_files;

static void
test_dialogues_reply_as_written(void **state)
{
	static const uint32_t cuts[] = { 0, 1, 2, 3, 7, 64 };
	struct play *p = calloc(1, sizeof(*p));
	unsigned n = 0;

	(void)state;
	assert_non_null(p);
	for (int i = 0; i < n_files; i++)
		for (uint32_t c = 0; c < ARRAY_LEN(cuts); c++)
			play_file(p, files[i], cuts[c], &n);
	free(p);
	printf("%u dialogues played\n", n);
	CHECK_TRUE("there are dialogues", n > 0);
}

/* Every one of them again, at rest between any two pieces of what the client sends where a dialogue may be: nobody can tell. */
static void
test_dialogues_that_rest_reply_the_same(void **state)
{
	static const uint32_t cuts[] = { 0, 1, 7 };
	struct play *p = calloc(1, sizeof(*p));
	unsigned n = 0;

	(void)state;
	assert_non_null(p);
	p->rests = true;
	for (int i = 0; i < n_files; i++)
		for (uint32_t c = 0; c < ARRAY_LEN(cuts); c++)
			play_file(p, files[i], cuts[c], &n);
	CHECK_TRUE("they rested", p->n_rests > n);
	free(p);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dialogues_reply_as_written),
		cmocka_unit_test(test_dialogues_that_rest_reply_the_same),
	};

	files = argv + 1;
	n_files = argc - 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
