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
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "tests/sim/mutant.h"
#include "tests/sim/scene.h"

#define LINE_MAX_OCTETS 8192
#define OCTETS_MAX      (512u << 10)
#define CONNS_MAX       16
#define SCENARIOS_MAX   1024
#define IDS_MAX         12
#define MUTANTS_MAX     1024
#define WAIT_LIMIT_US   UINT64_C(700000000)
#define SCENARIO_WALL_S 60
#define CHILDREN        2

struct scenario {
	const char *file, *title;
	unsigned line;    /* of its title */
	const char *text; /* what follows the title */
	const char *end;
	char ids[IDS_MAX][64];
	unsigned n_ids;
};

static struct scenario scenarios[SCENARIOS_MAX];
static unsigned n_scenarios;

/* One scenario under way. */
struct play {
	const struct scenario *of;
	unsigned line;
	struct scene s;
	bool begun, framed;
	char client[64];
	struct {
		char name[32];
		struct sim_conn *c;
	} conn[CONNS_MAX];
	unsigned n_conns, at;
	uint32_t cut;
	uint64_t mark_us;
	uint32_t log_from, message_at[4];
	size_t heard_at[4];
};

static struct play play;
static uint8_t octets[OCTETS_MAX], sent[OCTETS_MAX * 2];
static size_t n_sent;

__attribute__((format(printf, 1, 2), noreturn)) static void
failed(const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "%s:%u (%s): ", play.of->file, play.line, play.of->title);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

/* ---- words ---- */

/* The next word of *at (lent until overwritten); "" at the end. */
static char *
word(char **at)
{
	char *w = *at + strspn(*at, " ");

	*at = w + strcspn(w, " ");
	if (**at != '\0')
		*(*at)++ = '\0';
	return w;
}

static uint64_t
number(const char *text)
{
	char *end;
	const unsigned long long v = strtoull(text, &end, 10);

	if (end == text || *end != '\0')
		failed("\"%s\" is no number", text);
	return v;
}

static uint64_t
time_us(const char *text)
{
	static const struct {
		const char *unit;
		uint64_t us;
	} units[] = { { "ms", 1000 }, { "s", 1000000 }, { "m", 60000000 }, { "h", UINT64_C(3600000000) },
		{ "d", UINT64_C(86400000000) } };
	char *end;
	const unsigned long long v = strtoull(text, &end, 10);

	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (end != text && strcmp(end, units[i].unit) == 0)
			return v * units[i].us;
	failed("\"%s\" is no time: right is 10ms, 2s, 4m, 1h, 1d", text);
}

static bool
on_off(const char *text)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		failed("\"%s\" is neither on nor off", text);
	return strcmp(text, "on") == 0;
}

static unsigned
one_of(const char *text, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (names[i] != NULL && strcmp(text, names[i]) == 0)
			return i;
	failed("unknown word \"%s\"", text);
}

/* Unescapes text to octets[]; returns how many. */
static size_t
unescape(const char *text)
{
	size_t n = 0;

	while (*text != '\0') {
		unsigned long times = 1;
		char c = *text++;

		if (c == '\\') {
			c = *text++;
			if (c == 'r') {
				c = '\r';
			} else if (c == 'n') {
				c = '\n';
			} else if (c == 't') {
				c = '\t';
			} else if (c == '0') {
				c = '\0';
			} else if (c == 'x') {
				const char hex[3] = { text[0], text[1], '\0' };

				c = (char)strtoul(hex, NULL, 16);
				text += 2;
			} else if (c == '{') {
				char *end;

				times = strtoul(text, &end, 10);
				c = end[1];
				text = end + 3;
			}
		}
		if (times > sizeof(octets) - n)
			failed("too many octets for the runner");
		memset(octets + n, c, times);
		n += times;
	}
	return n;
}

/* Whether text is as pattern says: {*} any text, {A..B} a number between. */
static bool
matches(const char *pattern, const char *text)
{
	for (; *pattern != '\0'; pattern++, text++) {
		long low, high, got;
		int n = 0;
		char *end;

		if (strncmp(pattern, "{*}", 3) == 0) {
			for (;; text++) {
				if (matches(pattern + 3, text))
					return true;
				if (*text == '\0')
					return false;
			}
		}
		if (sscanf(pattern, "{%ld..%ld}%n", &low, &high, &n) == 2 && n > 0) {
			got = strtol(text, &end, 10);
			if (end == text || got < low || got > high)
				return false;
			pattern += n - 1;
			text = end - 1;
			continue;
		}
		if (*pattern != *text)
			return false;
	}
	return *text == '\0';
}

/* ---- the stage ---- */

static struct fake_mta *
backend(const char *name, unsigned *index)
{
	static const char *const names[] = { "mta", "mta-x", "mta-v1", "submit" };
	struct fake_mta *mtas[] = { &play.s.mta, &play.s.mta_x, &play.s.mta_v1, &play.s.submit };
	const unsigned i = one_of(name, names, ARRAY_LEN(names));

	if (index != NULL)
		*index = i;
	return mtas[i];
}

static void
begin(void)
{
	if (play.begun)
		return;
	play.begun = true;
	play.s.framed = play.framed;
	scene_start(&play.s, 1, 1, (struct sim_wire){ .delay_us = 500 });
	scene_settle(&play.s);
	for (unsigned i = 0; i < 4; i++) {
		static const char *const names[] = { "mta", "mta-x", "mta-v1", "submit" };

		play.heard_at[i] = backend(names[i], NULL)->heard_octets;
	}
	play.log_from = play.s.control.n_log;
}

static struct sim_conn *
conn(void)
{
	if (play.n_conns == 0)
		failed("no connection is open");
	return play.conn[play.at].c;
}

static void
cmd_open(char *args)
{
	const char *name = word(&args), *port = word(&args);
	const bool is_v6 = strchr(play.client, ':') != NULL;
	struct sim_conn *c;

	begin();
	if (play.n_conns == CONNS_MAX)
		failed("too many connections");
	c = sim_connect(
		play.s.client, play.client, is_v6 ? GATEWAY6 : GATEWAY4, port[0] != '\0' ? (uint16_t)number(port) : 25);
	scene_frame(&play.s, c);
	play.at = play.n_conns++;
	play.conn[play.at].c = c;
	snprintf(play.conn[play.at].name, sizeof(play.conn[0].name), "%s", name);
	sim_run(play.s.sim, 20000);
}

static bool
all_sent(void *arg)
{
	struct sim_conn *c = arg;

	return c->out_octets == 0 || c->tcp == NULL;
}

static void
client_sends(const char *text, bool line)
{
	size_t n;
	const uint8_t *from;

	if (play.n_conns == 0)
		cmd_open((char[]){ "" });
	n = unescape(text);
	if (line) {
		BUG_ON(n + 2 > sizeof(octets));
		memcpy(octets + n, "\r\n", 2);
		n += 2;
	}
	if (conn()->tcp == NULL)
		failed("the connection is gone");
	/* lent until it is sent, which may be after the next line of the scenario */
	if (!sim_until(play.s.sim, WAIT_LIMIT_US, all_sent, conn()))
		failed("the gateway takes no octets");
	if (n_sent + n > sizeof(sent))
		n_sent = 0;
	BUG_ON(n > sizeof(sent));
	memcpy(sent + n_sent, octets, n);
	from = sent + n_sent;
	n_sent += n;
	for (size_t at = 0; at < n && conn()->tcp != NULL;) {
		const size_t piece = play.cut == 0 ? n : MIN(n - at, (size_t)play.cut);

		sim_send(conn(), from + at, piece);
		at += piece;
		if (at < n)
			sim_run(play.s.sim, 1000);
	}
}

/* ---- what is awaited ---- */

static char got_line[LINE_MAX_OCTETS];

/* The next line to the client into got_line, without CRLF. */
static bool
take_line(void *arg)
{
	struct sim_conn *c = arg;
	const uint8_t *at = c->in + c->in_seen;
	const uint8_t *nl = c->in_octets > c->in_seen ? memchr(at, '\n', c->in_octets - c->in_seen) : NULL;
	size_t n;

	if (nl == NULL)
		return false;
	n = (size_t)(nl - at);
	if (n == 0 || at[n - 1] != '\r' || n > sizeof(got_line))
		failed("a line to the client without CRLF, or too long");
	for (size_t i = 0; i + 1 < n; i++)
		if (at[i] < 0x20 || at[i] > 0x7e)
			failed("octet 0x%02x in a line to the client", at[i]);
	memcpy(got_line, at, n - 1);
	got_line[n - 1] = '\0';
	c->in_seen += n + 1;
	return true;
}

static bool
line_or_end(void *arg)
{
	struct sim_conn *c = arg;

	return take_line(c) || c->tcp == NULL || c->eof;
}

static void
cmd_s(const char *pattern)
{
	if (play.n_conns == 0)
		cmd_open((char[]){ "" });
	got_line[0] = '\0';
	if (!sim_until(play.s.sim, WAIT_LIMIT_US, line_or_end, conn()))
		failed("nothing came, want \"%s\"", pattern);
	if (got_line[0] == '\0')
		failed("the connection ended, want \"%s\"", pattern);
	if (!matches(pattern, got_line))
		failed("got \"%s\", want \"%s\"", got_line, pattern);
}

static void
cmd_s_none(char *args)
{
	const char *text = word(&args);

	begin();
	sim_run(play.s.sim, text[0] != '\0' ? time_us(text) : 1000000);
	if (conn()->in_octets > conn()->in_seen)
		failed("got \"%.*s\", want nothing", (int)MIN(conn()->in_octets - conn()->in_seen, (size_t)400),
			(const char *)conn()->in + conn()->in_seen);
	if (conn()->tcp == NULL || conn()->eof)
		failed("the connection ended");
}

static bool
has_ended(void *arg)
{
	struct sim_conn *c = arg;

	return c->tcp == NULL || c->eof;
}

static void
cmd_gone(bool by_reset)
{
	if (!sim_until(play.s.sim, WAIT_LIMIT_US, has_ended, conn()))
		failed("the connection is open still");
	if (take_line(conn()))
		failed("got \"%s\" before the end", got_line);
	if (conn()->reset != by_reset)
		failed("it ended by %s", conn()->reset ? "reset" : "close");
	if (conn()->tcp != NULL)
		sim_close(conn());
	sim_run(play.s.sim, 100000);
}

/* A reply that must have this code; its text is of no interest here. */
static void
reply_of(int code)
{
	do {
		got_line[0] = '\0';
		if (!sim_until(play.s.sim, WAIT_LIMIT_US, line_or_end, conn()))
			failed("nothing came, want %d", code);
		if (atoi(got_line) != code)
			failed("got \"%s\", want %d", got_line, code);
	} while (got_line[3] == '-');
}

static void
cmd_hello(char *args)
{
	cmd_open(args);
	reply_of(220);
	client_sends("EHLO client.example", true);
	reply_of(250);
}

static void
cmd_mail(const char *from)
{
	char line[LINE_MAX_OCTETS];

	snprintf(line, sizeof(line), "MAIL FROM:<%s>", strcmp(from, "-") == 0 ? "" : from);
	client_sends(line, true);
	reply_of(250);
}

static void
cmd_data(const char *text)
{
	char all[LINE_MAX_OCTETS];

	client_sends("DATA", true);
	reply_of(354);
	snprintf(all, sizeof(all), "%s\\r\\n.\\r\\n", text);
	client_sends(all, false);
}

/* ---- backends ---- */

static void
cmd_b(char *name, const char *pattern)
{
	unsigned index;
	struct fake_mta *m = backend(name, &index);
	const char *at, *nl;
	char line[LINE_MAX_OCTETS];

	for (unsigned i = 0; i < 2000 && play.heard_at[index] >= m->heard_octets; i++)
		sim_run(play.s.sim, 10000);
	at = m->heard + play.heard_at[index];
	nl = play.heard_at[index] < m->heard_octets ? memchr(at, '\n', m->heard_octets - play.heard_at[index]) : NULL;
	if (nl == NULL)
		failed("the backend was told nothing, want \"%s\"", pattern);
	snprintf(line, sizeof(line), "%.*s", (int)(nl - at), at);
	play.heard_at[index] += (size_t)(nl + 1 - at);
	if (!matches(pattern, line))
		failed("the backend was told \"%s\", want \"%s\"", line, pattern);
}

static void
cmd_b_none(char *name)
{
	unsigned index;
	struct fake_mta *m = backend(name, &index);

	sim_run(play.s.sim, 100000);
	if (play.heard_at[index] < m->heard_octets)
		failed("the backend was told \"%.*s\"", (int)strcspn(m->heard + play.heard_at[index], "\n"),
			m->heard + play.heard_at[index]);
}

static void
cmd_m(char *name, const char *text)
{
	unsigned index;
	struct fake_mta *m = backend(name, &index);
	const struct fake_message *msg;
	const size_t n = unescape(text);

	for (unsigned i = 0; i < 1000 && play.message_at[index] >= m->n_messages; i++)
		sim_run(play.s.sim, 10000);
	if (play.message_at[index] >= m->n_messages)
		failed("the backend has no more messages");
	msg = &m->message[play.message_at[index]++];
	if (msg->octets != n || memcmp(msg->data, octets, n) != 0)
		failed("the message is %zu octets \"%.*s\", want %zu", msg->octets, (int)MIN(msg->octets, (size_t)400),
			(const char *)msg->data, n);
}

static void
cmd_m_none(char *name)
{
	unsigned index;
	struct fake_mta *m = backend(name, &index);

	sim_run(play.s.sim, 100000);
	if (play.message_at[index] < m->n_messages)
		failed("the backend has a message \"%.*s\"",
			(int)MIN(m->message[play.message_at[index]].octets, (size_t)400),
			(const char *)m->message[play.message_at[index]].data);
}

static void
cmd_n(char *args)
{
	struct fake_mta *m = backend(word(&args), NULL);
	const char *what = word(&args);
	const uint64_t want = number(word(&args));
	static const char *const names[] = { "conns", "quits", "aborted", "chunks" };
	const uint32_t values[] = { m->n_sessions, m->n_session_quits, m->n_aborted_in_data, m->n_chunks };
	const uint32_t got = values[one_of(what, names, ARRAY_LEN(names))];

	if (got != want)
		failed("%s: got %u, want %llu", what, got, (unsigned long long)want);
}

/* Text of the scenario that a fake keeps. */
static const char *
kept(const char *text)
{
	const size_t n = unescape(text);
	char *copy = malloc(n + 1);

	BUG_ON(copy == NULL);
	memcpy(copy, octets, n);
	copy[n] = '\0';
	return copy;
}

static void
cmd_backend(char *args)
{
	unsigned index;
	struct fake_mta *m = backend(word(&args), &index);
	const char *what = word(&args);
	static const char *const hows[] = { [FAKE_OK] = "ok",
		[FAKE_SILENT] = "silent",
		[FAKE_CLOSE] = "close",
		[FAKE_RESET] = "reset",
		[FAKE_421] = "421",
		[FAKE_4XX] = "4xx",
		[FAKE_5XX] = "5xx",
		[FAKE_NONSENSE] = "nonsense",
		[FAKE_RAW] = "raw" };
	static const char *const addresses[] = { [CLIENT_ADDRESS_NONE] = "none",
		[CLIENT_ADDRESS_PROXY_V1] = "proxy_v1",
		[CLIENT_ADDRESS_PROXY_V2] = "proxy_v2",
		[CLIENT_ADDRESS_XCLIENT] = "xclient" };
	const struct {
		const char *name;
		enum fake_fail *at;
	} stages[] = {
		{ "connect", &m->at_connect },
		{ "banner", &m->at_banner },
		{ "ehlo", &m->at_ehlo },
		{ "xclient", &m->at_xclient },
		{ "mail", &m->at_mail },
		{ "rcpt", &m->at_rcpt },
		{ "data", &m->at_data },
		{ "body", &m->at_body },
		{ "chunk", &m->at_chunk },
		{ "dot", &m->at_dot },
		{ "rset", &m->at_rset },
		{ "auth", &m->at_auth },
	};

	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		if (strcmp(what, stages[i].name) == 0) {
			*stages[i].at = (enum fake_fail)one_of(word(&args), hows, ARRAY_LEN(hows));
			return;
		}
	if (strcmp(what, "ext") == 0)
		m->ext = kept(args);
	else if (strcmp(what, "banner-text") == 0)
		m->banner = kept(args);
	else if (strcmp(what, "text") == 0)
		m->raw = kept(args);
	else if (strcmp(what, "unknown") == 0)
		m->unknown_rcpt = kept(args);
	else if (strcmp(what, "delay") == 0)
		m->delay_us = time_us(word(&args));
	else if (strcmp(what, "dribble") == 0)
		m->dribble = on_off(word(&args));
	else if (strcmp(what, "deaf_in_data") == 0)
		m->deaf_in_data = on_off(word(&args));
	else if (strcmp(what, "open_relay") == 0)
		m->open_relay = on_off(word(&args));
	else if (strcmp(what, "pause") == 0)
		sim_host_pause(m->host, on_off(word(&args)));
	else if (strcmp(what, "shout") == 0)
		fake_mta_shout(m, kept(args));
	else if (strcmp(what, "drained") == 0)
		segment_backend(sim_segment(play.s.sim), play.s.config.backend[index].id, false)->drained =
			on_off(word(&args));
	else if (strcmp(what, "address") == 0)
		play.s.config.backend[index].client_address =
			(uint8_t)one_of(word(&args), addresses, ARRAY_LEN(addresses));
	else
		failed("unknown word \"%s\"", what);
}

/* ---- configuration ---- */

static void
cmd_set(char *args)
{
	struct conf *conf = &play.s.config.conf;
	const char *name = word(&args), *value = word(&args);
	static const char *const modes[] = {
		[MODE_OBSERVE] = "observe", [MODE_SOFT] = "soft", [MODE_ENFORCE] = "enforce"
	};
	static const char *const ats[] = { [REJECT_AT_RCPT] = "rcpt", [REJECT_AT_CONNECT] = "connect" };
	static const char *const lfs[] = {
		[BARE_LF_NORMALIZE] = "normalize", [BARE_LF_REJECT] = "reject", [BARE_LF_TOLERATE] = "tolerate"
	};
	static const char *const effects[] = {
		[EFFECT_NOTHING] = "nothing", [EFFECT_GREY] = "grey", [EFFECT_DEFER] = "451", [EFFECT_REJECT] = "554"
	};
#define NUMBER(field)                                                                                                  \
	{                                                                                                              \
#field, &conf->field, sizeof(conf->field)                                                              \
	}
	const struct {
		const char *name;
		void *at;
		size_t octets;
	} numbers[] = { NUMBER(grey_reference), NUMBER(known_clients_relay), NUMBER(trap_scope_network),
		NUMBER(grey_block_s), NUMBER(grey_pass_s), NUMBER(grey_expire_s), NUMBER(grey_lapse_memory_s),
		NUMBER(grey_window_max_s), NUMBER(grey_auto_after), NUMBER(grey_source_budget),
		NUMBER(dnsbl_reject_threshold), NUMBER(dnsbl_grey_threshold), NUMBER(dns_deadline_ms),
		NUMBER(client_fresh_s), NUMBER(trap_s), NUMBER(greet_pause_ms), NUMBER(command_timeout_s),
		NUMBER(data_timeout_s), NUMBER(session_max_s), NUMBER(data_rate_floor_octets_s), NUMBER(rcpts_max),
		NUMBER(commands_max), NUMBER(errors_max), NUMBER(messages_max), NUMBER(message_max_octets),
		NUMBER(backend_connect_ms), NUMBER(backend_greeting_ms), NUMBER(backend_total_ms),
		NUMBER(backend_reply_ms), NUMBER(backend_dot_s), NUMBER(backend_probe_s), NUMBER(drain_s),
		NUMBER(client_sessions_max), NUMBER(client_network_sessions_max), NUMBER(log_grey_per_s),
		NUMBER(protocol_early_talker), NUMBER(protocol_pipelining), NUMBER(protocol_bare_line),
		NUMBER(protocol_non_smtp), NUMBER(protocol_errors), NUMBER(protocol_helo_syntax),
		NUMBER(protocol_helo_ours), NUMBER(protocol_helo_literal), NUMBER(protocol_errors_from),
		NUMBER(protocol_grey_threshold) };
#undef NUMBER

	if (strcmp(name, "mode") == 0) {
		conf->mode = (uint8_t)one_of(value, modes, ARRAY_LEN(modes));
		return;
	}
	if (strcmp(name, "reject_at") == 0) {
		conf->reject_at = (uint8_t)one_of(value, ats, ARRAY_LEN(ats));
		return;
	}
	if (strcmp(name, "bare_lf") == 0) {
		conf->bare_lf = (uint8_t)one_of(value, lfs, ARRAY_LEN(lfs));
		return;
	}
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = { "ptr_missing", "ptr_unconfirmed", "ptr_generic" };
		uint8_t *const at[] = { &conf->ptr_missing, &conf->ptr_unconfirmed, &conf->ptr_generic };

		if (strcmp(name, names[i]) == 0) {
			*at[i] = (uint8_t)one_of(value, effects, ARRAY_LEN(effects));
			return;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		const uint64_t v = strcmp(name, numbers[i].name) == 0 ? number(value) : 0;

		if (strcmp(name, numbers[i].name) != 0)
			continue;
		if (numbers[i].octets == 1)
			*(uint8_t *)numbers[i].at = (uint8_t)v;
		else if (numbers[i].octets == 4)
			*(uint32_t *)numbers[i].at = (uint32_t)v;
		else
			*(uint64_t *)numbers[i].at = v;
		return;
	}
	failed("unknown option \"%s\"", name);
}

static void
cmd_list(char *args)
{
	struct sim_config *c = &play.s.config;
	const char *name = word(&args);
	const struct {
		const char *name;
		const char **at;
	} lists[] = { { "client_allow", &c->client_allow }, { "client_deny", &c->client_deny },
		{ "sender_allow", &c->sender_allow }, { "sender_deny", &c->sender_deny },
		{ "rcpt_allow", &c->rcpt_allow }, { "rcpt_deny", &c->rcpt_deny }, { "rcpt_no_grey", &c->rcpt_no_grey },
		{ "trap", &c->trap } };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (strcmp(name, lists[i].name) == 0) {
			*lists[i].at = kept(args);
			return;
		}
	failed("unknown list \"%s\"", name);
}

static unsigned
pool_index(const char *name)
{
	static const char *const names[] = { "default", "second", "submission" };

	return one_of(name, names, ARRAY_LEN(names));
}

static void
cmd_listener(char *args)
{
	struct conf_listener *l = &play.s.config.listener[0];
	const char *what = word(&args), *value;

	if (strcmp(what, "pools") == 0) {
		l->pools = 0;
		while ((value = word(&args))[0] != '\0')
			l->pools |= UINT64_C(1) << pool_index(value);
	} else if (strcmp(what, "trusted") == 0) {
		struct ip_addr a;

		value = word(&args);
		if (ip_addr_parse(value, &a) != 0)
			failed("\"%s\" is no address", value);
		l->trusted[l->n_trusted++] = (struct conf_port_addr){ .addr = a, .prefix_bits = 128 };
	} else if (strcmp(what, "i_trust_the_backend") == 0) {
		l->i_trust_the_backend = on_off(word(&args));
	} else if (strcmp(what, "auth") == 0) {
		static const char *const names[] = { "none", "relay" };

		l->auth_relay = (uint8_t)one_of(word(&args), names, ARRAY_LEN(names));
	} else if (strcmp(what, "any_domain") == 0) {
		play.s.config.any_domain = on_off(word(&args));
	} else {
		failed("unknown word \"%s\"", what);
	}
}

static void
cmd_pool(char *args)
{
	struct conf_pool *p = &play.s.config.pool[pool_index(word(&args))];
	const char *name;

	p->backends = 0;
	while ((name = word(&args))[0] != '\0') {
		unsigned index;

		backend(name, &index);
		p->backends |= UINT64_C(1) << index;
	}
}

static void
cmd_dns(char *args)
{
	struct fake_control *c = &play.s.control;
	const char *what = word(&args), *value = word(&args);
	static const char *const states[] = { [PTR_NONE] = "none",
		[PTR_UNCONFIRMED] = "unconfirmed",
		[PTR_CONFIRMED] = "confirmed",
		[PTR_GENERIC] = "generic",
		[PTR_TEMPERR] = "temperr" };
	static const char *const name_lists[] = {
		[NAME_LIST_NONE] = "none", [NAME_LIST_ALLOW] = "allow", [NAME_LIST_DENY] = "deny"
	};

	if (strcmp(what, "ptr") == 0) {
		c->verdict.ptr_state = (uint8_t)one_of(value, states, ARRAY_LEN(states));
	} else if (strcmp(what, "name") == 0) {
		c->ptr = strcmp(value, "none") == 0 ? NULL : kept(value);
	} else if (strcmp(what, "score") == 0) {
		c->verdict.score = (int16_t)number(value);
		c->verdict.zone = c->verdict.score > 0 ? 0 : ZONE_NONE;
	} else if (strcmp(what, "name_list") == 0) {
		c->verdict.name_list = (uint8_t)one_of(value, name_lists, ARRAY_LEN(name_lists));
	} else if (strcmp(what, "silent") == 0) {
		c->silent = on_off(value);
	} else if (strcmp(what, "delay") == 0) {
		c->delay_us = time_us(value);
	} else {
		failed("unknown word \"%s\"", what);
	}
}

/* ---- the rest ---- */

static void
deliver(int want, const char *from, const char *to)
{
	int got;

	begin();
	got = scene_deliver(&play.s, play.client, strcmp(from, "-") == 0 ? "" : from, to, "Subject: x\r\n\r\ntext\r\n");
	if (got != want)
		failed("delivery: got %d (%s), want %d", got, play.s.reply, want);
}

static void
cmd_log(const char *pattern, bool want)
{
	struct fake_control *c = &play.s.control;
	char whole[LINE_MAX_OCTETS];
	bool found = false;

	sim_run(play.s.sim, 100000);
	snprintf(whole, sizeof(whole), "{*}%s{*}", pattern);
	if (c->n_log - play.log_from > ARRAY_LEN(c->log))
		failed("more log lines than the fake keeps: L-skip before");
	for (uint32_t i = play.log_from; i < c->n_log; i++)
		found |= matches(whole, c->log[i % ARRAY_LEN(c->log)]);
	if (found == want)
		return;
	for (uint32_t i = play.log_from; i < c->n_log; i++)
		fprintf(stderr, "  log: %s\n", c->log[i % ARRAY_LEN(c->log)]);
	failed("%s log line with \"%s\"", want ? "no" : "a", pattern);
}

static void
cmd_count(char *args)
{
	const char *name = word(&args), *want = word(&args);

	for (unsigned i = 0; i < COUNTER_N; i++) {
		char full[128];
		uint64_t got;

		snprintf(full, sizeof(full), "%s_%s", counter_names[i].group, counter_names[i].name);
		if (strcmp(full, name) != 0)
			continue;
		sim_run(play.s.sim, 10000);
		got = counter_read(&sim_segment(play.s.sim)->counters[0], (enum counter)i);
		if (strcmp(want, "+") == 0 ? got == 0 : got != number(want))
			failed("%s: got %llu, want %s", name, (unsigned long long)got, want);
		return;
	}
	failed("no counter is called \"%s\"", name);
}

static void
cmd_elapsed(char *args)
{
	const uint64_t low = time_us(word(&args)), high = time_us(word(&args)),
		       got = sim_now_us(play.s.sim) - play.mark_us;

	if (got < low || got > high)
		failed("%llu ms have passed, want %llu to %llu", (unsigned long long)got / 1000,
			(unsigned long long)low / 1000, (unsigned long long)high / 1000);
}

static void
cmd_client(const char *address)
{
	begin();
	snprintf(play.client, sizeof(play.client), "%s", address);
	if (strcmp(address, CLIENT4) != 0 && strcmp(address, CLIENT6) != 0)
		play.s.client = sim_host_add(play.s.sim, 0, address, NULL);
}

static void
cmd_use(const char *name)
{
	for (unsigned i = 0; i < play.n_conns; i++)
		if (strcmp(play.conn[i].name, name) == 0) {
			play.at = i;
			return;
		}
	failed("no connection \"%s\"", name);
}

static void run_line(const char *line);

static void
cmd_repeat(char *args)
{
	const uint64_t n = number(word(&args));

	for (uint64_t i = 0; i < n; i++)
		run_line(args);
}

static bool
begins(const char *line, const char *with, const char **rest)
{
	const size_t n = strlen(with);

	if (strncmp(line, with, n) != 0 || (line[n] != '\0' && line[n] != ' '))
		return false;
	*rest = line[n] == ' ' ? line + n + 1 : line + n;
	return true;
}

static void
run_line(const char *line)
{
	char copy[LINE_MAX_OCTETS], *args, *name;
	const char *rest;

	if (line[0] == '\0' || line[0] == '#' || begins(line, "for", &rest))
		return;
	if (begins(line, "C:", &rest)) {
		client_sends(rest, true);
		return;
	}
	if (begins(line, "c:", &rest)) {
		client_sends(rest, false);
		return;
	}
	if (begins(line, "S:", &rest)) {
		cmd_s(rest);
		return;
	}
	if (begins(line, "L:", &rest) || begins(line, "L-none:", &rest)) {
		cmd_log(rest, line[1] == ':');
		return;
	}
	snprintf(copy, sizeof(copy), "%s", line);
	args = copy;
	name = word(&args);
	if (strcmp(name, "set") == 0) {
		cmd_set(args);
	} else if (strcmp(name, "list") == 0) {
		cmd_list(args);
	} else if (strcmp(name, "listener") == 0) {
		cmd_listener(args);
	} else if (strcmp(name, "pool") == 0) {
		cmd_pool(args);
	} else if (strcmp(name, "backend") == 0) {
		cmd_backend(args);
	} else if (strcmp(name, "dns") == 0) {
		cmd_dns(args);
	} else if (strcmp(name, "framed") == 0) {
		play.framed = on_off(word(&args));
	} else if (strcmp(name, "repeat") == 0) {
		cmd_repeat(args);
	} else if (strcmp(name, "cut") == 0) {
		play.cut = (uint32_t)number(word(&args));
	} else {
		begin(); /* all below happens on a running stage */
		if (strcmp(name, "publish") == 0) {
			sim_publish(play.s.sim, sim_conf_parts(&play.s.config));
		} else if (strcmp(name, "client") == 0) {
			cmd_client(word(&args));
		} else if (strcmp(name, "open") == 0) {
			cmd_open(args);
		} else if (strcmp(name, "hello") == 0) {
			cmd_hello(args);
		} else if (strcmp(name, "mail") == 0) {
			cmd_mail(word(&args));
		} else if (strcmp(name, "data") == 0) {
			cmd_data(args);
		} else if (strcmp(name, "use") == 0) {
			cmd_use(word(&args));
		} else if (strcmp(name, "S-none") == 0) {
			cmd_s_none(args);
		} else if (strcmp(name, "gone") == 0 || strcmp(name, "reset") == 0) {
			cmd_gone(strcmp(name, "reset") == 0);
		} else if (strcmp(name, "close") == 0) {
			sim_close(conn());
		} else if (strcmp(name, "abort") == 0) {
			sim_abort(conn());
		} else if (strcmp(name, "drain") == 0) {
			atomic_store(&sim_shared(play.s.sim)->drain, 1);
		} else if (strcmp(name, "T:") == 0) {
			sim_run(play.s.sim, time_us(word(&args)));
		} else if (strcmp(name, "mark") == 0) {
			play.mark_us = sim_now_us(play.s.sim);
		} else if (strcmp(name, "elapsed") == 0) {
			cmd_elapsed(args);
		} else if (strcmp(name, "B") == 0 || strcmp(name, "M") == 0) {
			char *who = word(&args);

			if (strlen(who) == 0 || who[strlen(who) - 1] != ':')
				failed("right is \"%s NAME: TEXT\"", name);
			who[strlen(who) - 1] = '\0';
			if (name[0] == 'B')
				cmd_b(who, args);
			else
				cmd_m(who, args);
		} else if (strcmp(name, "B-none") == 0) {
			cmd_b_none(word(&args));
		} else if (strcmp(name, "B-skip") == 0) {
			unsigned index;
			const struct fake_mta *m = backend(word(&args), &index);

			play.heard_at[index] = m->heard_octets;
		} else if (strcmp(name, "M-skip") == 0) {
			unsigned index;
			const struct fake_mta *m = backend(word(&args), &index);

			play.message_at[index] = m->n_messages;
		} else if (strcmp(name, "M-none") == 0) {
			cmd_m_none(word(&args));
		} else if (strcmp(name, "N") == 0) {
			cmd_n(args);
		} else if (strcmp(name, "deliver") == 0) {
			const int want = (int)number(word(&args));
			const char *from = word(&args);

			deliver(want, from, word(&args));
		} else if (strcmp(name, "white") == 0) {
			const char *from = word(&args), *to = word(&args);

			deliver(451, from, to);
			sim_run(play.s.sim, play.s.config.conf.grey_block_s * UINT64_C(1000000) + 1000000);
			deliver(250, from, to);
			for (unsigned i = 0; i < 4; i++) {
				static const char *const names[] = { "mta", "mta-x", "mta-v1", "submit" };
				const struct fake_mta *m = backend(names[i], NULL);

				play.heard_at[i] = m->heard_octets;
				play.message_at[i] = m->n_messages;
			}
			play.log_from = play.s.control.n_log;
		} else if (strcmp(name, "L-skip") == 0) {
			play.log_from = play.s.control.n_log;
		} else if (strcmp(name, "count") == 0) {
			cmd_count(args);
		} else {
			failed("unknown word \"%s\"", name);
		}
	}
}

/* Runs in a process of its own and ends it: 0 when the scenario held. */
__attribute__((noreturn)) static void
run_scenario(const struct scenario *sc)
{
	char line[LINE_MAX_OCTETS];

	memset(&play, 0, sizeof(play));
	play.of = sc;
	play.line = sc->line;
	snprintf(play.client, sizeof(play.client), "%s", CLIENT4);
	scene_conf(&play.s);
	alarm(SCENARIO_WALL_S);
	for (const char *at = sc->text; at < sc->end;) {
		const char *nl = memchr(at, '\n', (size_t)(sc->end - at));
		const size_t n = nl != NULL ? (size_t)(nl - at) : (size_t)(sc->end - at);

		play.line++;
		if (n >= sizeof(line))
			failed("line too long for the runner");
		memcpy(line, at, n);
		line[n] = '\0';
		run_line(line);
		at += n + 1;
	}
	if (!play.begun)
		failed("nothing happens in it");
	scene_end(&play.s); /* aborts when a buffer leaked */
	_exit(0);
}

/* ---- the files ---- */

static void
take_ids(struct scenario *sc, const char *line, size_t n)
{
	char copy[LINE_MAX_OCTETS], *at = copy, *w;

	snprintf(copy, sizeof(copy), "%.*s", (int)n, line);
	word(&at);
	while ((w = word(&at))[0] != '\0') {
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
				run_scenario(j->scenario);
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
