/*
 * world_senders.c - the senders of a world: what each has to deliver, and its dialogues until it has.
 */
#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 60000

/* --- messages --- */

static size_t
body_make(uint64_t seed, uint32_t n, uint8_t *out)
{
	uint64_t z = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + n * UINT64_C(0xd1b54a32d192ed03);
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
const uint8_t *
world_body(const struct world *w, uint32_t n, size_t *octets)
{
	static struct {
		uint64_t seed;
		size_t octets;
		uint8_t text[BODY_MAX];
	} made[MESSAGES_MAX];

	if (made[n].octets == 0 || made[n].seed != w->seed) {
		made[n].seed = w->seed;
		made[n].octets = body_make(w->seed, n, made[n].text);
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
			world_die("a reply of %zu octets", len);
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
	s->again_us = sim_now_us(w->sim) + (1 + world_draw(w, 20)) * SECOND;
	if (s->tries > 400)
		world_die("message %u was not taken in 400 tries; the last reply: %s", s->message, s->reply);
}

static void
sender_send_body(const struct world *w, struct sender *s)
{
	size_t octets;
	const uint8_t *body = world_body(w, s->message, &octets);

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
	if (w->verbose)
		printf("%10.6f sender %d stage %u: %s", (double)(sim_now_us(w->sim)) / 1e6, (int)(s - w->sender),
			s->stage, s->reply);
	if (code == 554 || code == 550 || code == 500 || code == 501 || code == 502 || code == 503)
		world_die("an honest sender is told %s in stage %u", s->reply, s->stage);
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
		sender_send_body(w, s);
		s->stage = S_DOT;
		return;
	case S_DOT:
		if (code != 250)
			break;
		if (w->delivered[s->message] == 0)
			world_die("message %u is said to be taken (%s), and lies nowhere", s->message, s->reply);
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
		world_die("stage %u is answered by %s", s->stage, s->reply);
	s->failed += strstr(s->reply, "Greylisted") == NULL;
	/* told to come again: by some with QUIT, by some without a word */
	if (world_one_in(w, 3)) {
		sender_drop(w, s, true);
		return;
	}
	sender_say(s, "QUIT\r\n");
	model_close(s->conn);
	s->stage = S_QUIT;
}

void
world_sender_turn(struct world *w, struct sender *s)
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
	if (s->conn->in_octets > s->conn->in_read && h->habits.deaf_pm > world_draw(w, 1000)) {
		s->conn->deaf_until_us = now_us + world_draw(w, h->habits.deaf_us);
		return;
	}
	while (s->conn != NULL && (code = take_reply(s)) != 0)
		sender_reply(w, s, code);
	if (s->conn != NULL && s->conn->eof)
		model_close(s->conn);
}

bool
world_all_done(void *arg)
{
	const struct world *w = arg;

	for (uint32_t i = 0; i < w->n_senders; i++)
		if (!w->sender[i].done || w->sender[i].conn != NULL)
			return false;
	return true;
}
