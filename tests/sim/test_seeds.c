/*
 * test_seeds.c - a whole gateway among peers that are not ours, under everything a wire and a night can bring; one world for each seed.
 *
 * usage: test_seeds [--first N] [--count N] [--seed N] [--attacks] [--verbose]
 *
 * A world: one to three workers; client hosts and two backends that are models (model.h) with habits drawn from the seed; senders that must
 * deliver their messages and come back until they have; a wire that loses, duplicates, reorders, delays, corrupts and changes its MTU with
 * and without a word; frames that arrive on any lcore, a re-hash in mid-session; control that stalls or forgets, backends that stall or lose
 * their power. After the trouble the wire is clean again, and everything has to come to its end.
 *
 * What must hold, at every step: what tcp_check_invariants() says of each connection; what the models judge of each segment. At every
 * message: 250 is said only for what lies at a backend, octet for octet. At the end: every message was delivered; no connection, session or
 * buffer is left; an idle gateway sleeps and is silent. With --attacks each seed is a clean wire and one attack after another, and 99 of 100 sessions of the good
 * clients must succeed.
 */
#include "tests/sim/model.h"

#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "dataplane/worker/worker_impl.h"
#include "tests/helpers/tcp_check.h"
#include "tests/sim/peers.h"

#define CLIENTS_MAX  4
#define SENDERS_MAX  3 /* of a client */
#define BACKENDS     2
#define MESSAGES_MAX 64
#define BODY_MAX     60000
#define BUFS         4096
#define EVIL_HOSTS   4
#define SECOND       UINT64_C(1000000)

static struct world *current; /* of the handler of SIGABRT */
static uint64_t current_seed;
static const char *program;
static bool verbose;

struct sender {
	struct model_host *host;
	struct model_conn *conn;
	uint32_t stage, message, messages_end, tries;
	uint64_t again_us;
	bool done, half_closes, pipelines;
	bool one_each; /* a session for each message */
	uint32_t sessions, failed;
	char reply[512];
};

struct mailbox { /* of one connection of a backend */
	struct model_conn *conn;
	bool in_data, header_seen, closing;
	size_t data_from;
	uint64_t answer_us;
};

struct backend {
	struct model_host host;
	struct mailbox box[MODEL_CONNS_MAX];
	uint64_t up_us;
};

struct trouble {
	uint64_t at_us;
	uint32_t kind;
};

enum attack { A_NONE, A_SYNS, A_ACKS, A_RSTS, A_IDLERS, A_ZERO_WINDOWS, A_ONE_OCTET, A_N };

static const char *const attack_name[] = { "none", "spoofed SYNs", "spoofed ACKs", "RSTs at clients' connections",
	"connections that say nothing", "peers that never open their window", "one octet a segment" };

struct world {
	enum attack attack;
	uint64_t attack_due_us;
	struct model_host evil[EVIL_HOSTS];
	uint32_t n_forged;
	uint64_t rng;
	struct sim *sim;
	struct sim_config config;
	struct fake_control control;
	uint64_t control_until_us; /* stalled until then */
	struct model_host client[CLIENTS_MAX];
	uint32_t n_clients, n_senders, n_messages;
	struct sender sender[CLIENTS_MAX * SENDERS_MAX];
	struct backend backend[BACKENDS];
	uint32_t delivered[MESSAGES_MAX];
	bool accepted[MESSAGES_MAX];
	struct trouble trouble[12];
	uint32_t n_troubles;
	uint64_t calm_us;
};

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	abort();
}

static void
on_abort(int signal_number)
{
	char text[256];
	const int n = snprintf(text, sizeof(text), "seed %llu failed at %llu us; replay: %s --seed %llu --verbose\n",
		(unsigned long long)current_seed,
		(unsigned long long)(current != NULL && current->sim != NULL ? sim_now_us(current->sim) : 0), program,
		(unsigned long long)current_seed);

	(void)signal_number;
	if (write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(3);
	signal(SIGABRT, SIG_DFL);
}

static uint32_t
draw(struct world *w, uint32_t n)
{
	w->rng = w->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return n == 0 ? 0 : (uint32_t)(w->rng >> 33) % n;
}

static bool
one_in(struct world *w, uint32_t n)
{
	return draw(w, n) == 0;
}

/* --- messages --- */

static size_t
body_make(uint32_t n, uint8_t *out)
{
	uint64_t z = (current_seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + n * UINT64_C(0xd1b54a32d192ed03);
	const size_t want = n % 5 == 0 ? 200 + (z >> 40) % 24000 : 100 + (z >> 40) % 1500;
	size_t at = (size_t)sprintf((char *)out, "X-Number: %u\r\n\r\n", n);

	while (at < want) {
		uint32_t line;

		z = z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		line = (uint32_t)(z >> 33) % 200;
		if (line % 7 == 0) {
			out[at++] = '.';
			out[at++] = '.';
		} else {
			out[at++] = 'l'; /* an unstuffed dot would end the data */
		}
		for (uint32_t i = 0; i < line; i++)
			out[at++] = (uint8_t)(' ' + 1 + (z >> (i % 48)) % 90);
		out[at++] = '\r';
		out[at++] = '\n';
	}
	memcpy(out + at, ".\r\n", 3);
	return at + 3;
}

/* The text of message n as it crosses the wire, dots stuffed, with the end of data. A function of seed and number, made once. */
static const uint8_t *
body_of(uint32_t n, size_t *octets)
{
	static struct {
		uint64_t seed;
		size_t octets;
		uint8_t text[BODY_MAX];
	} made[MESSAGES_MAX];

	if (made[n].octets == 0 || made[n].seed != current_seed) {
		made[n].seed = current_seed;
		made[n].octets = body_make(n, made[n].text);
	}
	*octets = made[n].octets;
	return made[n].text;
}

/* --- senders --- */

/* A whole reply, its code; 0: none yet. The text of the last line is kept. */
static int
take_reply(struct sender *s)
{
	struct model_conn *c = s->conn;
	size_t at = c->in_read;

	for (;;) {
		const uint8_t *end = at < c->in_octets ? memchr(c->in + at, '\n', c->in_octets - at) : NULL;
		const char *line = (const char *)c->in + at;
		size_t len;

		if (end == NULL)
			return 0;
		len = (size_t)(end - (c->in + at)) + 1;
		if (len < 6 || len > 510)
			die("a reply of %zu octets", len);
		at += len;
		if (line[3] == '-')
			continue;
		memcpy(s->reply, line, len);
		s->reply[len] = '\0';
		model_read(c, at - c->in_read);
		return atoi(s->reply);
	}
}

static void
sender_say(struct sender *s, const char *text)
{
	model_send(s->conn, text, strlen(text));
}

static void
sender_drop(struct world *w, struct sender *s, bool abort_it)
{
	if (abort_it)
		model_abort(s->conn);
	model_forget(s->conn);
	s->conn = NULL;
	s->stage = 0;
	s->tries++;
	s->again_us = sim_now_us(w->sim) + (1 + draw(w, 20)) * SECOND;
	if (s->tries > 400)
		die("message %u was not taken in 400 tries; the last reply: %s", s->message, s->reply);
}

enum stage { S_BANNER, S_EHLO, S_MAIL, S_RCPT, S_DATA, S_DOT, S_QUIT };

static void
sender_send_body(struct sender *s)
{
	size_t octets;
	const uint8_t *body = body_of(s->message, &octets);

	model_send(s->conn, body, octets);
}

static void
sender_mail(struct sender *s)
{
	char text[160];

	snprintf(text, sizeof(text), "MAIL FROM:<sender%u@sender.example>\r\n", s->message);
	sender_say(s, text);
	s->stage = S_MAIL;
}

/* One reply moves the dialogue on. */
static void
sender_reply(struct world *w, struct sender *s, int code)
{
	if (verbose)
		printf("%10.6f sender %d stage %u: %s", (double)(sim_now_us(w->sim)) / 1e6, (int)(s - w->sender),
			s->stage, s->reply);
	if (code == 554 || code == 550 || code == 500 || code == 501 || code == 502 || code == 503)
		die("an honest sender is told %s in stage %u", s->reply, s->stage);
	switch ((enum stage)s->stage) {
	case S_BANNER:
		if (code != 220)
			break;
		sender_say(s, "EHLO client.example\r\n");
		s->stage = S_EHLO;
		return;
	case S_EHLO:
		if (code != 250)
			break;
		sender_mail(s);
		if (s->pipelines)
			sender_say(s, "RCPT TO:<alice@example.org>\r\n");
		return;
	case S_MAIL:
		if (code != 250)
			break;
		if (!s->pipelines)
			sender_say(s, "RCPT TO:<alice@example.org>\r\n");
		s->stage = S_RCPT;
		return;
	case S_RCPT:
		if (code != 250)
			break;
		sender_say(s, "DATA\r\n");
		s->stage = S_DATA;
		return;
	case S_DATA:
		if (code != 354)
			break;
		sender_send_body(s);
		s->stage = S_DOT;
		return;
	case S_DOT:
		if (code != 250)
			break;
		if (w->delivered[s->message] == 0)
			die("message %u is said to be taken (%s), and lies nowhere", s->message, s->reply);
		w->accepted[s->message] = true;
		if (++s->message < s->messages_end && !s->one_each) {
			sender_mail(s);
			if (s->pipelines)
				sender_say(s, "RCPT TO:<alice@example.org>\r\n");
			return;
		}
		s->done = s->message == s->messages_end;
		sender_say(s, "QUIT\r\n");
		if (s->half_closes)
			model_close(s->conn);
		s->stage = S_QUIT;
		return;
	case S_QUIT:
		model_close(s->conn);
		return;
	}
	if (code < 400 || code > 499)
		die("stage %u is answered by %s", s->stage, s->reply);
	s->failed += strstr(s->reply, "Greylisted") == NULL;
	/* told to come again: by some with QUIT, by some without a word */
	if (one_in(w, 3)) {
		sender_drop(w, s, true);
		return;
	}
	sender_say(s, "QUIT\r\n");
	model_close(s->conn);
	s->stage = S_QUIT;
}

static void
sender_turn(struct world *w, struct sender *s)
{
	struct model_host *h = s->host;
	const uint64_t now_us = sim_now_us(w->sim);
	int code;

	if (s->conn == NULL) {
		if (s->done || now_us < s->again_us)
			return;
		s->conn = model_connect(h, s->half_closes != s->pipelines,
			s->half_closes != s->pipelines ? "2001:db8:0:1::2" : "198.18.0.2", 25);
		s->stage = S_BANNER;
		s->sessions++;
		return;
	}
	if (s->conn->state == MODEL_ENDED) {
		s->failed += s->stage != S_QUIT;
		sender_drop(w, s, false);
		return;
	}
	if (now_us < s->conn->deaf_until_us)
		return;
	if (s->conn->in_octets > s->conn->in_read && h->habits.deaf_pm > draw(w, 1000)) {
		s->conn->deaf_until_us = now_us + draw(w, h->habits.deaf_us);
		return;
	}
	while (s->conn != NULL && (code = take_reply(s)) != 0)
		sender_reply(w, s, code);
	if (s->conn != NULL && s->conn->eof)
		model_close(s->conn);
}

/* --- backends --- */

static void
box_say(struct mailbox *b, const char *text)
{
	model_send(b->conn, text, strlen(text));
}

static void
box_line(struct mailbox *b, const char *line, size_t len)
{
	if (len >= 4 && memcmp(line, "EHLO", 4) == 0)
		box_say(b, "250-mta.example\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250 8BITMIME\r\n");
	else if (len >= 9 && memcmp(line, "RCPT TO:<", 9) == 0)
		box_say(b, memcmp(line + 9, "relaytest", 9) == 0 ? "554 5.7.1 Relay access denied\r\n"
								 : "250 2.1.5 Ok\r\n");
	else if (len >= 4 && memcmp(line, "DATA", 4) == 0) {
		box_say(b, "354 Go on\r\n");
		b->in_data = true;
		b->data_from = b->conn->in_read;
	} else if (len >= 4 && memcmp(line, "QUIT", 4) == 0) {
		box_say(b, "221 2.0.0 Bye\r\n");
		model_close(b->conn);
	} else if (len >= 5 &&
		   (memcmp(line, "MAIL ", 5) == 0 || memcmp(line, "RSET\r", 5) == 0 || memcmp(line, "NOOP\r", 5) == 0))
		box_say(b, "250 2.0.0 Ok\r\n");
	else
		die("a backend is told %.*s", (int)len, line);
}

/* The message, if it is there whole. */
static bool
box_data(struct world *w, struct mailbox *b)
{
	struct model_conn *c = b->conn;
	const uint8_t *want;
	const uint8_t *text = c->in + b->data_from;
	const size_t have = c->in_octets - b->data_from;
	size_t octets;
	uint32_t n;

	model_read(c, c->in_octets - c->in_read);
	if (have < 16 || sscanf((const char *)text, "X-Number: %u\r\n", &n) != 1)
		return false;
	if (n >= w->n_messages)
		die("a message %u that nobody sent", n);
	want = body_of(n, &octets);
	if (memcmp(text, want, have < octets ? have : octets) != 0) {
		size_t at = 0;

		while (text[at] == want[at])
			at++;
		die("message %u differs at octet %zu of %zu", n, at, octets);
	}
	if (have < octets)
		return false;
	c->in_read = b->data_from + octets;
	b->in_data = false;
	w->delivered[n]++;
	box_say(b, "250 2.0.0 Ok: queued\r\n");
	return true;
}

static void
box_turn(struct world *w, struct backend *be, struct mailbox *b)
{
	struct model_conn *c = b->conn;

	if (c->state == MODEL_ENDED) {
		model_forget(c);
		b->conn = NULL;
		return;
	}
	if (sim_now_us(w->sim) < c->deaf_until_us)
		return;
	if (c->in_octets > c->in_read && be->host.habits.deaf_pm > draw(w, 1000)) {
		c->deaf_until_us = sim_now_us(w->sim) + draw(w, be->host.habits.deaf_us);
		return;
	}
	if (!b->header_seen) {
		const size_t have = c->in_octets;

		if (have < 16 || have < 16u + (size_t)(c->in[14] << 8 | c->in[15]))
			return;
		if (memcmp(c->in, "\r\n\r\n\0\r\nQUIT\n", 12) != 0)
			die("a backend hears no PROXY header first");
		model_read(c, 16u + (size_t)(c->in[14] << 8 | c->in[15]));
		b->header_seen = true;
		box_say(b, "220 mta.example ESMTP\r\n");
	}
	for (;;) {
		const uint8_t *end;
		size_t len;

		if (b->in_data && !box_data(w, b))
			break;
		end = c->in_octets > c->in_read ? memchr(c->in + c->in_read, '\n', c->in_octets - c->in_read) : NULL;
		if (end == NULL)
			break;
		len = (size_t)(end - (c->in + c->in_read)) + 1;
		model_read(c, len);
		box_line(b, (const char *)end + 1 - len, len);
	}
	if (c->eof)
		model_close(c);
}

static void
backend_turn(struct world *w, struct backend *be)
{
	struct model_conn *c;

	if (be->host.down && sim_now_us(w->sim) >= be->up_us)
		be->host.down = false;
	while (!be->host.down && (c = model_accept(&be->host)) != NULL)
		be->box[c - be->host.conn] = (struct mailbox){ .conn = c };
	for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++)
		if (be->box[i].conn != NULL)
			box_turn(w, be, &be->box[i]);
}

/* --- trouble --- */

static void
draw_wire(struct world *w)
{
	static const uint32_t mtu[] = { 0, 0, 0, 0, 1400, 1280 };
	struct sim_wire *wire = sim_wire_of(w->sim);
	const bool bad = one_in(w, 2);

	*wire = (struct sim_wire){ .loss = one_in(w, 2) ? draw(w, bad ? 150 : 30) : 0,
		.duplicate = one_in(w, 3) ? draw(w, 50) : 0,
		.reorder = one_in(w, 2) ? draw(w, 100) : 0,
		.corrupt = one_in(w, 3) ? draw(w, 20) : 0,
		.delay_us = 50 + draw(w, one_in(w, 3) ? 150000 : 3000),
		.jitter_us = one_in(w, 3) ? draw(w, 20000) : 0,
		.mtu = mtu[draw(w, ARRAY_LEN(mtu))],
		.mtu_silent = one_in(w, 4) };
}

static void
draw_habits(struct world *w, struct model_host *h)
{
	static const uint16_t mss[] = { 1460, 1460, 1440, 1220, 536, 88, 0, 8960 };
	struct model_habits *b = &h->habits;

	b->mss = mss[draw(w, ARRAY_LEN(mss))];
	b->ts = !one_in(w, 4);
	b->sack = !one_in(w, 4);
	b->wscale = one_in(w, 4) ? -1 : (int)draw(w, 15);
	b->window = one_in(w, 5) ? 400 + draw(w, 3000) : 8000 + draw(w, b->wscale > 0 ? 200000 : 57000);
	if (b->wscale > 8 && b->window < 1u << (b->wscale + 2))
		b->wscale = 8;
	b->delack_us = one_in(w, 3) ? 0 : draw(w, 200000);
	b->seg_max = one_in(w, 4) ? 1 + draw(w, 100) : 1440;
	b->ragged = one_in(w, 4);
	b->reneges = one_in(w, 6);
	b->repeats_syn = one_in(w, 6);
	b->deaf_pm = one_in(w, 4) ? draw(w, 100) : 0;
	b->deaf_us = 1000 + draw(w, 3000000);
	b->rto_us = 250000 + draw(w, 1000000);
}

enum {
	T_WIRE,
	T_REHASH,
	T_CONTROL_STALLS,
	T_CONTROL_FORGETS,
	T_BACKEND_STALLS,
	T_BACKEND_CRASHES,
	T_CLIENT_CRASHES,
	T_N
};

static void
make_trouble(struct world *w, uint32_t kind)
{
	struct backend *be = &w->backend[draw(w, BACKENDS)];
	const uint64_t now_us = sim_now_us(w->sim), for_us = (1 + draw(w, 40)) * SECOND;

	if (verbose)
		printf("%10.6f trouble %u\n", (double)now_us / 1e6, kind);
	switch (kind) {
	case T_WIRE:
		draw_wire(w);
		break;
	case T_REHASH:
		sim_rehash(w->sim);
		break;
	case T_CONTROL_FORGETS:
		w->control.n_held = 0;
		w->control_until_us = now_us + for_us / 8;
		break;
	case T_CONTROL_STALLS:
		w->control_until_us = now_us + for_us;
		break;
	case T_BACKEND_CRASHES:
		model_crash(&be->host);
		/* fall through */
	case T_BACKEND_STALLS:
		be->host.down = true;
		be->up_us = now_us + for_us;
		break;
	case T_CLIENT_CRASHES:
		model_crash(&w->client[draw(w, w->n_clients)]);
		break;
	}
}

/* --- attacks --- */

static bool
all_done(void *arg)
{
	const struct world *w = arg;

	for (uint32_t i = 0; i < w->n_senders; i++)
		if (!w->sender[i].done || w->sender[i].conn != NULL)
			return false;
	return true;
}

#define ATTACK_EVERY_US 1000 /* a thousand segments a second */

static void
forge(struct world *w)
{
	static const uint8_t gateway[16] = { [10] = 0xff, [11] = 0xff, 198, 18, 0, 2 };
	uint8_t from[16] = { [10] = 0xff, [11] = 0xff, 11 };
	const struct sender *s = &w->sender[draw(w, w->n_senders)];
	uint16_t port = (uint16_t)(1024 + draw(w, 60000));

	from[13] = (uint8_t)draw(w, 256);
	from[14] = (uint8_t)draw(w, 256);
	from[15] = (uint8_t)(1 + draw(w, 254));
	w->n_forged++;
	if (w->attack == A_SYNS) {
		model_forge(&w->evil[0], from, port, gateway, 25, draw(w, UINT32_MAX), 0, 2, 0);
	} else if (w->attack == A_ACKS) {
		model_forge(&w->evil[0], from, port, gateway, 25, draw(w, UINT32_MAX), draw(w, UINT32_MAX), 16,
			draw(w, 2) * 100);
	} else if (s->conn != NULL && !s->conn->v6) {
		model_forge(&w->evil[0], s->conn->here, s->conn->port_here, gateway, 25, draw(w, UINT32_MAX),
			draw(w, UINT32_MAX), one_in(w, 2) ? 4 : 20, 0);
	}
}

/* As many connections as it can have, opened again when they are taken away. */
static void
evil_turn(struct world *w, struct model_host *h)
{
	for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
		struct model_conn *c = &h->conn[i];

		if (c->state == MODEL_ENDED)
			model_forget(c);
		else if (c->state == MODEL_OPEN && c->eof && one_in(w, 50))
			model_abort(c);
		if (c->state != MODEL_FREE || !one_in(w, 20))
			continue;
		c = model_connect(h, false, "198.18.0.2", 25);
		for (uint32_t k = 0; c != NULL && w->attack == A_ONE_OCTET && k < 300; k++)
			model_send(c, "NOOP\r\n", 6);
	}
}

static void
attack_turn(struct world *w)
{
	if (w->attack == A_NONE || sim_now_us(w->sim) < w->attack_due_us || all_done(w))
		return;
	if (w->attack <= A_RSTS) {
		forge(w);
		w->attack_due_us = sim_now_us(w->sim) + ATTACK_EVERY_US;
		return;
	}
	for (uint32_t i = 0; i < EVIL_HOSTS; i++)
		evil_turn(w, &w->evil[i]);
	w->attack_due_us = sim_now_us(w->sim) + 50 * ATTACK_EVERY_US;
}

/* --- the world --- */

static void
check_workers(struct world *w)
{
	/* after a turn everything has been said */
	for (uint32_t i = 0; i < w->config.conf.workers; i++)
		tcp_check_invariants(sim_worker(w->sim, i)->tcp, false);
}

static void
step(struct sim *sim, void *arg)
{
	struct world *w = arg;
	const uint64_t now_us = sim_now_us(sim);

	for (uint32_t i = 0; i < w->n_senders; i++)
		sender_turn(w, &w->sender[i]);
	for (uint32_t i = 0; i < BACKENDS; i++)
		backend_turn(w, &w->backend[i]);
	if (now_us >= w->control_until_us)
		fake_control_step(&w->control);
	attack_turn(w);
	while (w->n_troubles > 0 && w->trouble[w->n_troubles - 1].at_us <= now_us)
		make_trouble(w, w->trouble[--w->n_troubles].kind);
	if (w->calm_us != 0 && now_us >= w->calm_us) {
		*sim_wire_of(sim) = (struct sim_wire){ .delay_us = 1000 };
		w->control_until_us = 0;
		w->calm_us = 0;
	}
	check_workers(w);
}

static int
by_time(const void *a, const void *b)
{
	const struct trouble *x = a, *y = b;

	return x->at_us < y->at_us ? 1 : x->at_us > y->at_us ? -1 : 0; /* the next one last */
}

static void
world_conf(struct world *w, uint32_t n_workers)
{
	struct sim_config *c = &w->config;

	sim_conf_init(c);
	c->conf.workers = n_workers;
	c->conf.sessions = 64;
	c->conf.memory_mb = 16;
	c->conf.grey_block_s = 5;
	c->conf.errors_max = 1000;
	c->conf.messages_max = 1000;
	c->conf.known_clients_relay = 0;
	c->conf.client_sessions_max = 20;
	c->client_allow = one_in(w, 2) ? "198.18.0.0/24" : NULL;
	c->backend[1] = c->backend[0];
	snprintf(c->backend[1].name, sizeof(c->backend[1].name), "mta-2");
	c->backend[1].addr.octet[15] = 4;
	c->backend[1].id = 12;
	c->n_backends = BACKENDS;
	for (uint32_t i = 0; i < 3; i++)
		c->pool[i].backends = 3;
}

static void
world_start(struct world *w, uint64_t seed, bool attacked)
{
	struct sim_conf conf = { .seed = seed, .n_bufs = BUFS };
	uint32_t n_senders;

	memset(w, 0, sizeof(*w));
	w->rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 7;
	draw(w, 2);
	conf.n_workers = 1 + draw(w, 3);
	world_conf(w, conf.n_workers);
	if (attacked)
		w->config.conf.sessions = 256; /* the limit of an address is what keeps room for others */
	conf.wire = (struct sim_wire){ .delay_us = 500 };
	conf.parts = sim_conf_parts(&w->config);
	w->sim = sim_create(&conf);
	w->control.sim = w->sim;
	w->control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
	w->control.ptr = "mail.sender.example";
	for (uint32_t i = 0; i < BACKENDS; i++) {
		static const char *const ip4[] = { "198.18.1.3", "198.18.1.4" }, *const ip6[] = { "2001:db8:0:2::3",
			"2001:db8:0:2::4" };

		model_host_init(&w->backend[i].host, w->sim, 1, ip4[i], ip6[i], seed * 100 + i);
		draw_habits(w, &w->backend[i].host);
		w->backend[i].host.listen_port = 25;
	}
	w->n_clients = 1 + draw(w, CLIENTS_MAX);
	for (uint32_t i = 0; i < w->n_clients; i++) {
		char ip4[32], ip6[48];

		snprintf(ip4, sizeof(ip4), "198.18.0.%u", 10 + i);
		snprintf(ip6, sizeof(ip6), "2001:db8:0:1::%u", 10 + i);
		model_host_init(&w->client[i], w->sim, 0, ip4, ip6, seed * 100 + 50 + i);
		draw_habits(w, &w->client[i]);
		n_senders = 1 + draw(w, SENDERS_MAX);
		for (uint32_t k = 0; k < n_senders; k++) {
			struct sender *s = &w->sender[w->n_senders++];

			*s = (struct sender){ .host = &w->client[i],
				.message = w->n_messages,
				.pipelines = one_in(w, 2),
				.half_closes = one_in(w, 3),
				.again_us = sim_now_us(w->sim) + 2 * SECOND + draw(w, 10 * SECOND) };
			w->n_messages += 1 + draw(w, 2);
			s->messages_end = w->n_messages;
		}
	}
	for (uint32_t i = 0; i < CLIENTS_MAX; i++)
		w->client[i].trace = verbose;
	for (uint32_t i = 0; i < BACKENDS; i++)
		w->backend[i].host.trace = verbose;
	w->n_troubles = draw(w, ARRAY_LEN(w->trouble));
	for (uint32_t i = 0; i < w->n_troubles; i++)
		w->trouble[i] = (struct trouble){ sim_now_us(w->sim) + draw(w, 90 * SECOND),
			draw(w, 2) == 0 ? T_WIRE : draw(w, T_N) };
	qsort(w->trouble, w->n_troubles, sizeof(w->trouble[0]), by_time);
	w->calm_us = sim_now_us(w->sim) + 180 * SECOND;
	if (one_in(w, 2))
		draw_wire(w);
	sim_on_step(w->sim, step, w);
}

static uint32_t
connections(const struct world *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->config.conf.workers; i++)
		n += tcp_n_conns(sim_worker(w->sim, i)->tcp);
	return n;
}

/* An attacked world: good clients on a clean wire, who stand on no list, against one kind of attack. */
static void
attack_start(struct world *w, enum attack attack, uint64_t seed)
{
	w->attack = attack;
	w->n_troubles = 0;
	w->n_messages = 0;
	w->n_senders = MIN(w->n_senders, 8u);
	*sim_wire_of(w->sim) = (struct sim_wire){ .delay_us = 1000 };
	for (uint32_t i = 0; i < w->n_senders; i++) {
		struct sender *s = &w->sender[i];

		s->one_each = true;
		s->message = w->n_messages;
		w->n_messages += MESSAGES_MAX / w->n_senders;
		s->messages_end = w->n_messages;
	}
	for (uint32_t i = 0; i < EVIL_HOSTS; i++) {
		char ip4[32], ip6[48];
		struct model_habits *b = &w->evil[i].habits;

		snprintf(ip4, sizeof(ip4), "198.18.0.%u", 200 + i);
		snprintf(ip6, sizeof(ip6), "2001:db8:0:1::%u", 200 + i);
		model_host_init(&w->evil[i], w->sim, 0, ip4, ip6, seed * 1000 + i);
		if (attack == A_ZERO_WINDOWS)
			b->window = 0;
		if (attack == A_ONE_OCTET)
			b->seg_max = 1;
	}
	for (uint32_t i = 0; i < w->n_clients; i++)
		w->client[i].habits = w->evil[0].habits.window == 0 || attack == A_ONE_OCTET
		                              ? (struct model_habits){ .mss = 1400,
							.ts = true,
							.sack = true,
							.wscale = 5,
							.window = 65535,
							.seg_max = 1400,
							.rto_us = 400000 }
		                              : w->evil[0].habits;
}

static void
attack_judge(struct world *w)
{
	uint32_t sessions = 0, failed = 0;

	for (uint32_t i = 0; i < w->n_senders; i++) {
		sessions += w->sender[i].sessions;
		failed += w->sender[i].failed;
	}
	printf("%s: %u sessions of good clients, %u failed; %u segments forged\n", attack_name[w->attack], sessions,
		failed, w->n_forged);
	if (failed * 100 > sessions)
		die("more than one in a hundred of the good clients' sessions failed");
	for (uint32_t i = 0; i < EVIL_HOSTS; i++) {
		model_crash(&w->evil[i]);
		model_host_fini(&w->evil[i]);
	}
}

static void
world_end(struct world *w)
{
	uint64_t frames, steps;
	uint32_t sessions = 0, tries;

	if (!sim_until(w->sim, 7200 * SECOND, all_done, w)) {
		for (uint32_t i = 0; i < w->n_senders; i++)
			if (!w->sender[i].done || w->sender[i].conn != NULL)
				die("sender %u hangs in stage %u with message %u after %u tries, last reply: %s", i,
					w->sender[i].stage, w->sender[i].message, w->sender[i].tries,
					w->sender[i].reply);
	}
	if (w->attack != A_NONE)
		attack_judge(w);
	for (uint32_t i = 0; i < w->n_messages; i++)
		if (!w->accepted[i] || w->delivered[i] == 0)
			die("message %u: accepted %d, delivered %u", i, w->accepted[i], w->delivered[i]);
	/* every limit of a waiting state passes */
	sim_run(w->sim, 1000 * SECOND);
	frames = sim_frames(w->sim);
	steps = sim_steps(w->sim);
	sim_run(w->sim, 300 * SECOND);
	/* ten probes of each backend, at thirty frames each at most, and neighbours refreshed */
	if (sim_frames(w->sim) - frames > 1500)
		die("an idle gateway and its peers say %llu frames in five minutes",
			(unsigned long long)(sim_frames(w->sim) - frames));
	if (sim_steps(w->sim) - steps > 20000)
		die("an idle gateway wakes %llu times in five minutes",
			(unsigned long long)(sim_steps(w->sim) - steps));
	for (uint32_t i = 0; i < w->config.conf.workers; i++)
		sessions += worker_sessions(sim_worker(w->sim, i));
	if (sessions != 0)
		die("%u sessions are left", sessions);
	for (tries = 0; tries < 1000 && (connections(w) != 0 || sim_bufs_in_use(w->sim) != 0); tries++)
		sim_step(w->sim, 20000); /* a probe is under way */
	if (tries == 1000)
		die("%u connections and %u buffers are left", connections(w), sim_bufs_in_use(w->sim));
	for (uint32_t i = 0; i < w->n_clients; i++)
		model_host_fini(&w->client[i]);
	for (uint32_t i = 0; i < BACKENDS; i++)
		model_host_fini(&w->backend[i].host);
	sim_destroy(w->sim);
	w->sim = NULL;
}

int
main(int argc, char **argv)
{
	static struct world w;
	uint64_t first = 1, count = 20, messages = 0;
	bool attacks = false;

	program = argv[0];
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0) {
			verbose = true;
		} else if (strcmp(argv[i], "--attacks") == 0) {
			attacks = true;
		} else if (i + 1 < argc && strcmp(argv[i], "--first") == 0) {
			first = strtoull(argv[++i], NULL, 10);
		} else if (i + 1 < argc && strcmp(argv[i], "--count") == 0) {
			count = strtoull(argv[++i], NULL, 10);
		} else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) {
			first = strtoull(argv[++i], NULL, 10);
			count = 1;
		} else {
			fprintf(stderr, "usage: %s [--first N] [--count N] [--seed N] [--attacks] [--verbose]\n",
				argv[0]);
			return 2;
		}
	}
	signal(SIGABRT, on_abort);
	/* one world after another in the same pages */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	current = &w;
	for (uint64_t seed = first; seed < first + count; seed++) {
		current_seed = seed;
		for (enum attack a = attacks ? A_SYNS : A_NONE; a < (attacks ? A_N : A_SYNS); a++) {
			world_start(&w, seed, attacks);
			if (attacks)
				attack_start(&w, a, seed);
			world_end(&w);
			messages += w.n_messages;
		}
	}
	printf("%llu worlds, %llu messages, all delivered\n", (unsigned long long)count, (unsigned long long)messages);
	return 0;
}
