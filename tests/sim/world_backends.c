/*
 * world_backends.c - the backends of a world: a small MTA on a model, which takes a message only as it was sent.
 */
#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
		world_die("a backend is told %.*s", (int)len, line);
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
		world_die("a message %u that nobody sent", n);
	want = world_body(w, n, &octets);
	if (memcmp(text, want, have < octets ? have : octets) != 0) {
		size_t at = 0;

		while (text[at] == want[at])
			at++;
		world_die("message %u differs at octet %zu of %zu", n, at, octets);
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
	if (c->in_octets > c->in_read && be->host.habits.deaf_pm > world_draw(w, 1000)) {
		c->deaf_until_us = sim_now_us(w->sim) + world_draw(w, be->host.habits.deaf_us);
		return;
	}
	if (!b->header_seen) {
		const size_t have = c->in_octets;

		if (have < 16 || have < 16u + (size_t)(c->in[14] << 8 | c->in[15]))
			return;
		if (memcmp(c->in, "\r\n\r\n\0\r\nQUIT\n", 12) != 0)
			world_die("a backend hears no PROXY header first");
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

void
world_backend_turn(struct world *w, struct backend *be)
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
