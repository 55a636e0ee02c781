/*
 * play.c - plays a scenario: clients, what they and the backends must hear, time, logs and counters.
 */
#include "tests/sim/play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/bug.h"

#define WAIT_LIMIT_US   UINT64_C(700000000)
#define SCENARIO_WALL_S 60

static uint8_t sent[PLAY_OCTETS_MAX * 2];
static size_t n_sent;

struct fake_mta *
play_backend(const char *name, unsigned *index)
{
	static const char *const names[] = { "mta", "mta-x", "mta-v1", "submit" };
	struct fake_mta *mtas[] = { &play.s.mta, &play.s.mta_x, &play.s.mta_v1, &play.s.submit };
	const unsigned i = play_one_of(name, names, ARRAY_LEN(names));

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

		play.heard_at[i] = play_backend(names[i], NULL)->heard_octets;
	}
	play.log_from = play.s.control.n_log;
}

static struct sim_conn *
conn(void)
{
	if (play.n_conns == 0)
		play_failed("no connection is open");
	return play.conn[play.at].c;
}

static void
cmd_open(char *args)
{
	const char *name = play_word(&args), *port = play_word(&args);
	const bool is_v6 = strchr(play.client, ':') != NULL;
	struct sim_conn *c;

	begin();
	if (play.n_conns == CONNS_MAX)
		play_failed("too many connections");
	c = sim_connect(play.s.client, play.client, is_v6 ? GATEWAY6 : GATEWAY4,
		port[0] != '\0' ? (uint16_t)play_number(port) : 25);
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
	n = play_unescape(text);
	if (line) {
		BUG_ON(n + 2 > PLAY_OCTETS_MAX);
		memcpy(play_octets + n, "\r\n", 2);
		n += 2;
	}
	if (conn()->tcp == NULL)
		play_failed("the connection is gone");
	/* lent until it is sent, which may be after the next line of the scenario */
	if (!sim_until(play.s.sim, WAIT_LIMIT_US, all_sent, conn()))
		play_failed("the gateway takes no octets");
	if (n_sent + n > sizeof(sent))
		n_sent = 0;
	BUG_ON(n > sizeof(sent));
	memcpy(sent + n_sent, play_octets, n);
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

static char got_line[PLAY_LINE_MAX_OCTETS];

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
		play_failed("a line to the client without CRLF, or too long");
	for (size_t i = 0; i + 1 < n; i++)
		if (at[i] < 0x20 || at[i] > 0x7e)
			play_failed("octet 0x%02x in a line to the client", at[i]);
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
		play_failed("nothing came, want \"%s\"", pattern);
	if (got_line[0] == '\0')
		play_failed("the connection ended, want \"%s\"", pattern);
	if (!play_matches(pattern, got_line))
		play_failed("got \"%s\", want \"%s\"", got_line, pattern);
}

static void
cmd_s_none(char *args)
{
	const char *text = play_word(&args);

	begin();
	sim_run(play.s.sim, text[0] != '\0' ? play_time_us(text) : 1000000);
	if (conn()->in_octets > conn()->in_seen)
		play_failed("got \"%.*s\", want nothing", (int)MIN(conn()->in_octets - conn()->in_seen, (size_t)400),
			(const char *)conn()->in + conn()->in_seen);
	if (conn()->tcp == NULL || conn()->eof)
		play_failed("the connection ended");
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
		play_failed("the connection is open still");
	if (take_line(conn()))
		play_failed("got \"%s\" before the end", got_line);
	if (conn()->reset != by_reset)
		play_failed("it ended by %s", conn()->reset ? "reset" : "close");
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
			play_failed("nothing came, want %d", code);
		if (atoi(got_line) != code)
			play_failed("got \"%s\", want %d", got_line, code);
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
	char line[PLAY_LINE_MAX_OCTETS];

	snprintf(line, sizeof(line), "MAIL FROM:<%s>", strcmp(from, "-") == 0 ? "" : from);
	client_sends(line, true);
	reply_of(250);
}

static void
cmd_data(const char *text)
{
	char all[PLAY_LINE_MAX_OCTETS];

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
	struct fake_mta *m = play_backend(name, &index);
	const char *at, *nl;
	char line[PLAY_LINE_MAX_OCTETS];

	for (unsigned i = 0; i < 2000 && play.heard_at[index] >= m->heard_octets; i++)
		sim_run(play.s.sim, 10000);
	at = m->heard + play.heard_at[index];
	nl = play.heard_at[index] < m->heard_octets ? memchr(at, '\n', m->heard_octets - play.heard_at[index]) : NULL;
	if (nl == NULL)
		play_failed("the backend was told nothing, want \"%s\"", pattern);
	snprintf(line, sizeof(line), "%.*s", (int)(nl - at), at);
	play.heard_at[index] += (size_t)(nl + 1 - at);
	if (!play_matches(pattern, line))
		play_failed("the backend was told \"%s\", want \"%s\"", line, pattern);
}

static void
cmd_b_none(char *name)
{
	unsigned index;
	struct fake_mta *m = play_backend(name, &index);

	sim_run(play.s.sim, 100000);
	if (play.heard_at[index] < m->heard_octets)
		play_failed("the backend was told \"%.*s\"", (int)strcspn(m->heard + play.heard_at[index], "\n"),
			m->heard + play.heard_at[index]);
}

static void
cmd_m(char *name, const char *text)
{
	unsigned index;
	struct fake_mta *m = play_backend(name, &index);
	const struct fake_message *msg;
	const size_t n = play_unescape(text);

	for (unsigned i = 0; i < 1000 && play.message_at[index] >= m->n_messages; i++)
		sim_run(play.s.sim, 10000);
	if (play.message_at[index] >= m->n_messages)
		play_failed("the backend has no more messages");
	msg = &m->message[play.message_at[index]++];
	if (msg->octets != n || memcmp(msg->data, play_octets, n) != 0)
		play_failed("the message is %zu octets \"%.*s\", want %zu", msg->octets,
			(int)MIN(msg->octets, (size_t)400), (const char *)msg->data, n);
}

static void
cmd_m_none(char *name)
{
	unsigned index;
	struct fake_mta *m = play_backend(name, &index);

	sim_run(play.s.sim, 100000);
	if (play.message_at[index] < m->n_messages)
		play_failed("the backend has a message \"%.*s\"",
			(int)MIN(m->message[play.message_at[index]].octets, (size_t)400),
			(const char *)m->message[play.message_at[index]].data);
}

static void
cmd_n(char *args)
{
	struct fake_mta *m = play_backend(play_word(&args), NULL);
	const char *what = play_word(&args);
	const uint64_t want = play_number(play_word(&args));
	static const char *const names[] = { "conns", "quits", "aborted", "chunks" };
	const uint32_t values[] = { m->n_sessions, m->n_session_quits, m->n_aborted_in_data, m->n_chunks };
	const uint32_t got = values[play_one_of(what, names, ARRAY_LEN(names))];

	if (got != want)
		play_failed("%s: got %u, want %llu", what, got, (unsigned long long)want);
}

/* ---- the rest ---- */

static void
deliver(int want, const char *from, const char *to)
{
	int got;

	begin();
	got = scene_deliver(&play.s, play.client, strcmp(from, "-") == 0 ? "" : from, to, "Subject: x\r\n\r\ntext\r\n");
	if (got != want)
		play_failed("delivery: got %d (%s), want %d", got, play.s.reply, want);
}

static void
cmd_log(const char *pattern, bool want)
{
	struct fake_control *c = &play.s.control;
	char whole[PLAY_LINE_MAX_OCTETS];
	bool found = false;

	sim_run(play.s.sim, 100000);
	snprintf(whole, sizeof(whole), "{*}%s{*}", pattern);
	if (c->n_log - play.log_from > ARRAY_LEN(c->log))
		play_failed("more log lines than the fake keeps: L-skip before");
	for (uint32_t i = play.log_from; i < c->n_log; i++)
		found |= play_matches(whole, c->log[i % ARRAY_LEN(c->log)]);
	if (found == want)
		return;
	for (uint32_t i = play.log_from; i < c->n_log; i++)
		fprintf(stderr, "  log: %s\n", c->log[i % ARRAY_LEN(c->log)]);
	play_failed("%s log line with \"%s\"", want ? "no" : "a", pattern);
}

static void
cmd_count(char *args)
{
	const char *name = play_word(&args), *want = play_word(&args);

	for (unsigned i = 0; i < COUNTER_N; i++) {
		char full[128];
		uint64_t got;

		snprintf(full, sizeof(full), "%s_%s", counter_names[i].group, counter_names[i].name);
		if (strcmp(full, name) != 0)
			continue;
		sim_run(play.s.sim, 10000);
		got = counter_read(&sim_segment(play.s.sim)->counters[0], (enum counter)i);
		if (strcmp(want, "+") == 0 ? got == 0 : got != play_number(want))
			play_failed("%s: got %llu, want %s", name, (unsigned long long)got, want);
		return;
	}
	play_failed("no counter is called \"%s\"", name);
}

static void
cmd_elapsed(char *args)
{
	const uint64_t low = play_time_us(play_word(&args)), high = play_time_us(play_word(&args)),
		       got = sim_now_us(play.s.sim) - play.mark_us;

	if (got < low || got > high)
		play_failed("%llu ms have passed, want %llu to %llu", (unsigned long long)got / 1000,
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
	play_failed("no connection \"%s\"", name);
}

static void run_line(const char *line);

static void
cmd_repeat(char *args)
{
	const uint64_t n = play_number(play_word(&args));

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
	char copy[PLAY_LINE_MAX_OCTETS], *args, *name;
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
	name = play_word(&args);
	if (strcmp(name, "set") == 0) {
		play_set(args);
	} else if (strcmp(name, "list") == 0) {
		play_set_list(args);
	} else if (strcmp(name, "listener") == 0) {
		play_set_listener(args);
	} else if (strcmp(name, "pool") == 0) {
		play_set_pool(args);
	} else if (strcmp(name, "backend") == 0) {
		play_set_backend(args);
	} else if (strcmp(name, "dns") == 0) {
		play_set_dns(args);
	} else if (strcmp(name, "framed") == 0) {
		play.framed = play_on_off(play_word(&args));
	} else if (strcmp(name, "repeat") == 0) {
		cmd_repeat(args);
	} else if (strcmp(name, "cut") == 0) {
		play.cut = (uint32_t)play_number(play_word(&args));
	} else {
		begin(); /* all below happens on a running stage */
		if (strcmp(name, "publish") == 0) {
			sim_publish(play.s.sim, sim_conf_parts(&play.s.config));
		} else if (strcmp(name, "client") == 0) {
			cmd_client(play_word(&args));
		} else if (strcmp(name, "open") == 0) {
			cmd_open(args);
		} else if (strcmp(name, "hello") == 0) {
			cmd_hello(args);
		} else if (strcmp(name, "mail") == 0) {
			cmd_mail(play_word(&args));
		} else if (strcmp(name, "data") == 0) {
			cmd_data(args);
		} else if (strcmp(name, "use") == 0) {
			cmd_use(play_word(&args));
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
			sim_run(play.s.sim, play_time_us(play_word(&args)));
		} else if (strcmp(name, "mark") == 0) {
			play.mark_us = sim_now_us(play.s.sim);
		} else if (strcmp(name, "elapsed") == 0) {
			cmd_elapsed(args);
		} else if (strcmp(name, "B") == 0 || strcmp(name, "M") == 0) {
			char *who = play_word(&args);

			if (strlen(who) == 0 || who[strlen(who) - 1] != ':')
				play_failed("right is \"%s NAME: TEXT\"", name);
			who[strlen(who) - 1] = '\0';
			if (name[0] == 'B')
				cmd_b(who, args);
			else
				cmd_m(who, args);
		} else if (strcmp(name, "B-none") == 0) {
			cmd_b_none(play_word(&args));
		} else if (strcmp(name, "B-skip") == 0) {
			unsigned index;
			const struct fake_mta *m = play_backend(play_word(&args), &index);

			play.heard_at[index] = m->heard_octets;
		} else if (strcmp(name, "M-skip") == 0) {
			unsigned index;
			const struct fake_mta *m = play_backend(play_word(&args), &index);

			play.message_at[index] = m->n_messages;
		} else if (strcmp(name, "M-none") == 0) {
			cmd_m_none(play_word(&args));
		} else if (strcmp(name, "N") == 0) {
			cmd_n(args);
		} else if (strcmp(name, "deliver") == 0) {
			const int want = (int)play_number(play_word(&args));
			const char *from = play_word(&args);

			deliver(want, from, play_word(&args));
		} else if (strcmp(name, "white") == 0) {
			const char *from = play_word(&args), *to = play_word(&args);

			deliver(451, from, to);
			sim_run(play.s.sim, play.s.config.conf.grey_block_s * UINT64_C(1000000) + 1000000);
			deliver(250, from, to);
			for (unsigned i = 0; i < 4; i++) {
				static const char *const names[] = { "mta", "mta-x", "mta-v1", "submit" };
				const struct fake_mta *m = play_backend(names[i], NULL);

				play.heard_at[i] = m->heard_octets;
				play.message_at[i] = m->n_messages;
			}
			play.log_from = play.s.control.n_log;
		} else if (strcmp(name, "L-skip") == 0) {
			play.log_from = play.s.control.n_log;
		} else if (strcmp(name, "count") == 0) {
			cmd_count(args);
		} else {
			play_failed("unknown word \"%s\"", name);
		}
	}
}

void
play_scenario(const struct scenario *sc)
{
	char line[PLAY_LINE_MAX_OCTETS];

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
			play_failed("line too long for the runner");
		memcpy(line, at, n);
		line[n] = '\0';
		run_line(line);
		at += n + 1;
	}
	if (!play.begun)
		play_failed("nothing happens in it");
	scene_end(&play.s); /* aborts when a buffer leaked */
	_exit(0);
}
