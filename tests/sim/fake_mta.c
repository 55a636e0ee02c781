/*
 * fake_mta.c - the backend of a test in the simulator.
 *
 * Keeps:  shares no code with the relay: its parsing is naive on purpose.
 */
#include "tests/sim/peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

struct fake_conn {
	struct sim_conn *c;
	struct fake_mta *m;
	struct fake_conn *next;
	bool tls_next; /* when what it said is out */
	bool header_done, in_data, greeted, body_failed;
	bool in_chunk, chunk_last, chunk_unwanted,
		bdat_open; /* bdat_open: a message in chunks has begun and not ended */
	uint64_t chunk_left;
	uint8_t *bdat; /* its chunks so far */
	size_t bdat_octets;
	bool ended;        /* closed as told: says nothing more */
	bool is_session;   /* no probe */
	uint8_t auth_left; /* lines of an AUTH exchange that are awaited */
	char said[4096];   /* until it is known whether this is a session */
	size_t said_octets;
	size_t data_start;
	uint64_t ready_us;
	struct fake_message msg;
	char out[8192];
	size_t out_octets;
};

static struct fake_conn *conns; /* of all fakes in this process */

void
fake_mta_start(struct fake_mta *m, struct sim *sim, struct sim_host *host, const char *addr, uint16_t port,
	enum conf_client_address client_address)
{
	m->sim = sim;
	m->host = host;
	m->client_address = client_address;
	BUG_ON(sim_listen(host, addr, port) != 0);
}

static void
say(struct fake_conn *f, const char *text)
{
	const size_t n = strlen(text);

	if (f->m->tolerant && f->out_octets + n > sizeof(f->out))
		return;
	BUG_ON(f->out_octets + n > sizeof(f->out));
	memcpy(f->out + f->out_octets, text, n);
	f->out_octets += n;
}

/* True when the stage went wrong as told, so that the caller does nothing more. */
static bool
fails(struct fake_conn *f, enum fake_fail how)
{
	switch (how) {
	case FAKE_OK:
		return false;
	case FAKE_SILENT:
		return true;
	case FAKE_CLOSE:
		f->ended = true;
		if (f->out_octets > 0)
			sim_send(f->c, f->out, f->out_octets);
		sim_close(f->c);
		return true;
	case FAKE_RESET:
		sim_abort(f->c);
		return true;
	case FAKE_421:
		say(f, "421 4.3.2 shutting down\r\n");
		return true;
	case FAKE_4XX:
		say(f, "450 4.2.0 not now\r\n");
		return true;
	case FAKE_5XX:
		say(f, "550 5.1.0 never\r\n");
		return true;
	case FAKE_NONSENSE:
		say(f, "what?\r\n");
		return true;
	case FAKE_RAW:
		say(f, f->m->raw);
		return true;
	}
	return false;
}

/* Keeps a line that was heard: with the fake once this is known to be a session. */
static void
hear(struct fake_conn *f, const char *line)
{
	struct fake_mta *m = f->m;
	const size_t n = strlen(line);

	if (!f->is_session) {
		if (f->said_octets + n + 1 > sizeof(f->said))
			return; /* noise behind a splice */
		memcpy(f->said + f->said_octets, line, n);
		f->said[f->said_octets + n] = '\n';
		f->said_octets += n + 1;
		return;
	}
	if (m->heard_octets + n + 1 > sizeof(m->heard)) /* only noise says so much, and nobody looks at it */
		m->heard_octets = 0;
	memcpy(m->heard + m->heard_octets, line, n);
	m->heard[m->heard_octets + n] = '\n';
	m->heard_octets += n + 1;
}

/* It greeted by a name that no probe has. */
static void
become_session(struct fake_conn *f)
{
	char *line, *save = NULL;

	if (f->is_session)
		return;
	f->is_session = true;
	f->m->n_sessions++;
	f->said[MIN(f->said_octets, sizeof(f->said) - 1)] = '\0';
	for (line = strtok_r(f->said, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
		hear(f, line);
}

static void
copy_arg(char *out, size_t room, const char *line, const char *key)
{
	const char *at = strstr(line, key);
	size_t n = 0;

	out[0] = '\0';
	if (at == NULL)
		return;
	at += strlen(key);
	while (at[n] != '\0' && at[n] != ' ' && at[n] != '>' && n + 1 < room) {
		out[n] = at[n];
		n++;
	}
	out[n] = '\0';
}

static void
banner(struct fake_conn *f)
{
	char line[512];

	if (f->greeted || fails(f, f->m->at_banner)) {
		f->greeted = true;
		return;
	}
	f->greeted = true;
	snprintf(line, sizeof(line), "220 %s\r\n", f->m->banner != NULL ? f->m->banner : "mta.example ESMTP");
	say(f, line);
}

static void
heard_client(struct fake_conn *f)
{
	char line[sizeof(f->msg.client) + 8];

	snprintf(line, sizeof(line), "PROXY %s", f->msg.client);
	hear(f, line);
}

static void
keep_word(char *out, size_t room, const uint8_t *value, size_t n)
{
	snprintf(out, room, "%.*s", (int)n, (const char *)value);
}

/* TLVs of version 2; those of SSL hold others. */
static void
header_tls(struct fake_conn *f, const uint8_t *at, const uint8_t *end)
{
	while (end - at >= 3) {
		const size_t n = (size_t)at[1] << 8 | at[2];

		BUG_ON(n > (size_t)(end - at - 3));
		if (at[0] == 0x20) {
			BUG_ON(n < 5 || at[3] != 1);
			header_tls(f, at + 8, at + 3 + n);
		} else if (at[0] == 0x21) {
			keep_word(f->msg.tls_version, sizeof(f->msg.tls_version), at + 3, n);
		} else if (at[0] == 0x23) {
			keep_word(f->msg.tls_cipher, sizeof(f->msg.tls_cipher), at + 3, n);
		} else if (at[0] == 0x02) {
			keep_word(f->msg.tls_name, sizeof(f->msg.tls_name), at + 3, n);
		}
		at += 3 + n;
	}
}

static bool
header(struct fake_conn *f)
{
	const uint8_t *in = f->c->in;
	const size_t n = f->c->in_octets;
	static const uint8_t sig[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };
	struct ip_addr a;

	if (f->m->client_address == CLIENT_ADDRESS_PROXY_V1) {
		const uint8_t *nl = n > 0 ? memchr(in, '\n', n) : NULL;
		char kind[8], src[64];

		if (nl == NULL)
			return false;
		BUG_ON(sscanf((const char *)in, "PROXY %7s %63s", kind, src) != 2);
		snprintf(f->msg.client, sizeof(f->msg.client), "%s", src);
		heard_client(f);
		f->c->in_seen = (size_t)(nl + 1 - in);
	} else if (f->m->client_address == CLIENT_ADDRESS_PROXY_V2) {
		size_t len;

		if (n < 16 || n < 16 + (len = (size_t)in[14] << 8 | in[15]))
			return false;
		BUG_ON(memcmp(in, sig, 12) != 0);
		if (in[12] == 0x21 && in[13] == 0x11) {
			a = ip_addr_v4(
				(uint32_t)in[16] << 24 | (uint32_t)in[17] << 16 | (uint32_t)in[18] << 8 | in[19]);
			ip_addr_format(&a, f->msg.client);
		} else if (in[12] == 0x21 && in[13] == 0x21) {
			memcpy(a.octet, in + 16, 16);
			ip_addr_format(&a, f->msg.client);
		}
		heard_client(f);
		header_tls(f, in + 16 + (in[13] == 0x21 ? 36 : 12), in + 16 + len);
		f->c->in_seen = 16 + len;
	}
	return true;
}

static void
drop_messages(struct fake_mta *m)
{
	for (uint32_t i = 0; i < m->n_messages; i++)
		free(m->message[i].data);
	m->n_messages = 0;
}

static void
drop_chunks(struct fake_conn *f)
{
	free(f->bdat);
	f->bdat = NULL;
	f->bdat_octets = 0;
	f->bdat_open = false;
}

static void
keep_message(struct fake_conn *f, const uint8_t *data, size_t octets)
{
	struct fake_mta *m = f->m;
	struct fake_message *to;

	if (f->body_failed || fails(f, m->at_dot))
		return;
	if (m->on_message != NULL) {
		struct fake_message seen = f->msg;

		seen.data = (uint8_t *)(uintptr_t)data; /* borrowed for the call */
		seen.octets = octets;
		m->on_message(m->on_message_arg, &seen);
		f->msg.n_to = 0;
		say(f, "250 2.0.0 Ok: queued as SIM1\r\n");
		return;
	}
	if (m->n_messages == FAKE_MESSAGES_MAX) /* only noise sends so many, and looks at none */
		drop_messages(m);
	to = &m->message[m->n_messages++];
	*to = f->msg;
	to->octets = octets;
	to->data = malloc(octets + 1);
	BUG_ON(to->data == NULL);
	if (octets > 0)
		memcpy(to->data, data, octets);
	f->msg.n_to = 0;
	say(f, "250 2.0.0 Ok: queued as SIM1\r\n");
}

static void
end_message(struct fake_conn *f, size_t end)
{
	f->in_data = false;
	keep_message(f, f->c->in + f->data_start, end - f->data_start);
}

/* "BDAT n [LAST]" (RFC 3030): its octets come whatever is answered. */
static void
bdat_command(struct fake_conn *f, const char *line)
{
	unsigned long long n;
	char last[8] = "";

	if (sscanf(line + 4, " %llu %7s", &n, last) < 1) {
		BUG_ON(!f->m->tolerant); /* the relay writes nothing else */
		say(f, "501 5.5.4 Syntax: BDAT SIZE [LAST]\r\n");
		return;
	}
	f->m->n_chunks++;
	f->in_chunk = true;
	f->chunk_left = n;
	f->chunk_last = strcmp(last, "LAST") == 0;
	f->chunk_unwanted = f->msg.n_to == 0;
	f->bdat_open = !f->chunk_unwanted;
}

/* Takes octets of the chunk; true when it has ended or has gone wrong. */
static bool
chunk_input(struct fake_conn *f)
{
	struct fake_mta *m = f->m;
	struct sim_conn *c = f->c;
	const size_t n = (size_t)MIN((uint64_t)(c->in_octets - c->in_seen), f->chunk_left);

	if (n > 0 && !f->chunk_unwanted) {
		f->bdat = realloc(f->bdat, f->bdat_octets + n);
		BUG_ON(f->bdat == NULL);
		memcpy(f->bdat + f->bdat_octets, c->in + c->in_seen, n);
		f->bdat_octets += n;
	}
	c->in_seen += n;
	f->chunk_left -= n;
	if (m->at_body != FAKE_OK && n > 0 && !f->body_failed) {
		f->body_failed = true;
		if (fails(f, m->at_body))
			return false;
	}
	if (f->chunk_left > 0)
		return false;
	f->in_chunk = false;
	if (f->chunk_unwanted) {
		say(f, "503 5.5.1 no recipients\r\n");
	} else if (f->chunk_last) {
		keep_message(f, f->bdat, f->bdat_octets);
		drop_chunks(f);
	} else if (fails(f, m->at_chunk)) {
		drop_chunks(f);
		f->msg.n_to = 0;
	} else if (!f->body_failed) {
		say(f, "250 2.0.0 chunk taken\r\n");
	}
	return true;
}

/*
 * AUTH PLAIN with its answer in the command or in a line of its own, AUTH LOGIN in two lines. "c2VjcmV0" (secret) is right for either, all
 * else is wrong, "*" cancels.
 */
static void
auth_line(struct fake_conn *f, const char *line)
{
	f->auth_left--;
	if (strcmp(line, "*") == 0) {
		f->auth_left = 0;
		say(f, "501 5.7.0 Authentication aborted\r\n");
	} else if (f->auth_left > 0) {
		say(f, "334 UGFzc3dvcmQ6\r\n");
	} else if (!fails(f, f->m->at_auth)) {
		say(f, strcmp(line, "c2VjcmV0") == 0 ? "235 2.7.0 Authentication successful\r\n"
						     : "535 5.7.8 Authentication credentials invalid\r\n");
	}
}

static void
auth_command(struct fake_conn *f, const char *line)
{
	if (strcmp(line, "AUTH LOGIN") == 0) {
		f->auth_left = 2;
		say(f, "334 VXNlcm5hbWU6\r\n");
	} else if (strcmp(line, "AUTH PLAIN") == 0) {
		f->auth_left = 1;
		say(f, "334 \r\n");
	} else if (strncmp(line, "AUTH PLAIN ", 11) == 0) {
		f->auth_left = 1;
		auth_line(f, line + 11);
	} else {
		say(f, "504 5.7.4 no such mechanism here\r\n");
	}
}

static void
command(struct fake_conn *f, const char *line)
{
	struct fake_mta *m = f->m;
	const bool too_early = m->tls_only && f->c->stream == NULL;
	char reply[1024];

	if ((strncasecmp(line, "EHLO ", 5) == 0 || strncasecmp(line, "HELO ", 5) == 0) &&
		strcmp(line + 5, "gw.example") != 0)
		become_session(f);
	hear(f, line);
	if (f->auth_left > 0) {
		auth_line(f, line);
	} else if (strncasecmp(line, "AUTH ", 5) == 0) {
		auth_command(f, line);
	} else if (strncasecmp(line, "EHLO", 4) == 0 || strncasecmp(line, "HELO", 4) == 0) {
		if (fails(f, m->at_ehlo))
			return;
		snprintf(f->msg.helo, sizeof(f->msg.helo), "%.255s", line + 5);
		f->msg.under_tls = f->c->stream != NULL;
		snprintf(reply, sizeof(reply), "250-mta.example\r\n%s%s%s250 ENHANCEDSTATUSCODES\r\n",
			m->ext != NULL && !too_early ? m->ext : "",
			m->tls_create != NULL && f->c->stream == NULL ? "250-STARTTLS\r\n" : "",
			m->client_address == CLIENT_ADDRESS_XCLIENT && !too_early
				? "250-XCLIENT NAME ADDR PORT PROTO HELO REVERSE_NAME\r\n"
				: "");
		say(f, reply);
	} else if (strcmp(line, "STARTTLS") == 0 && m->tls_create != NULL && f->c->stream == NULL) {
		m->n_tls++;
		if (fails(f, m->at_starttls))
			return;
		say(f, "220 2.0.0 Ready to start TLS\r\n");
		if (m->leaves_at_starttls && fails(f, FAKE_CLOSE))
			return;
		f->tls_next = true;
	} else if (too_early && strncasecmp(line, "QUIT", 4) != 0) {
		say(f, "530 5.7.0 Must issue a STARTTLS command first\r\n");
	} else if (strncasecmp(line, "XCLIENT", 7) == 0) {
		if (fails(f, m->at_xclient))
			return;
		copy_arg(f->msg.client, sizeof(f->msg.client), line, " ADDR=");
		copy_arg(f->msg.name, sizeof(f->msg.name), line, " NAME=");
		say(f, "220 mta.example ESMTP\r\n");
	} else if (strncasecmp(line, "MAIL", 4) == 0) {
		if (fails(f, m->at_mail))
			return;
		copy_arg(f->msg.from, sizeof(f->msg.from), line, "<");
		f->msg.n_to = 0;
		say(f, "250 2.1.0 Ok\r\n");
	} else if (strncasecmp(line, "RCPT", 4) == 0) {
		char to[512];

		if (fails(f, m->at_rcpt))
			return;
		copy_arg(to, sizeof(to), line, "<");
		if (m->unknown_rcpt != NULL && strcmp(to, m->unknown_rcpt) == 0) {
			say(f, "550 5.1.1 User unknown in virtual mailbox table\r\n");
			return;
		}
		if (strstr(to, ".invalid") != NULL && !m->open_relay) {
			say(f, "554 5.7.1 Relay access denied\r\n");
			return;
		}
		if (f->msg.n_to < 8)
			snprintf(f->msg.to[f->msg.n_to], sizeof(f->msg.to[0]), "%s", to);
		f->msg.n_to++;
		say(f, "250 2.1.5 Ok\r\n");
	} else if (strncasecmp(line, "DATA", 4) == 0) {
		if (fails(f, m->at_data))
			return;
		say(f, "354 End data with <CR><LF>.<CR><LF>\r\n");
		f->in_data = true;
		f->c->deaf = m->deaf_in_data;
		f->data_start = f->c->in_seen;
	} else if (strncasecmp(line, "BDAT ", 5) == 0) {
		bdat_command(f, line);
	} else if (strncasecmp(line, "RSET", 4) == 0) {
		drop_chunks(f);
		f->msg.n_to = 0;
		if (fails(f, m->at_rset))
			return;
		say(f, "250 2.0.0 Ok\r\n");
	} else if (strncasecmp(line, "QUIT", 4) == 0) {
		m->n_quits++;
		m->n_session_quits += f->is_session;
		say(f, "221 2.0.0 Bye\r\n");
		f->c->close_after_out = true;
	} else {
		say(f, "500 5.5.2 what?\r\n");
	}
}

/* CRLF.CRLF at or after from - 2 (the CRLF of the DATA line counts); the octets it ends at, 0 when there is none yet. */
static size_t
find_dot(const struct sim_conn *c, size_t from)
{
	for (size_t i = from; i + 3 <= c->in_octets; i++)
		if (memcmp(c->in + i, ".\r\n", 3) == 0 && memcmp(c->in + i - 2, "\r\n", 2) == 0)
			return i + 3;
	return 0;
}

static void
serve(struct fake_conn *f)
{
	struct fake_mta *m = f->m;
	struct sim_conn *c = f->c;

	if (!f->header_done) {
		if (!header(f))
			return;
		f->header_done = true;
	}
	banner(f);
	for (;;) {
		if (c->tcp == NULL || f->ended)
			return;
		if (f->in_chunk) {
			if (!chunk_input(f))
				return;
			continue;
		}
		if (f->in_data) {
			/* look again only from a little before what is new */
			size_t end = find_dot(c, MAX(f->data_start, c->in_seen > 4 ? c->in_seen - 4 : 0));

			if (m->at_body != FAKE_OK && c->in_octets > f->data_start && !f->body_failed) {
				f->body_failed = true;
				if (fails(f, m->at_body))
					return;
			}
			if (end == 0) {
				c->in_seen = MAX(c->in_octets, f->data_start);
				return;
			}
			c->in_seen = end;
			end_message(f, end);
			continue;
		}
		{
			const uint8_t *at = c->in + c->in_seen;
			const uint8_t *nl =
				c->in_octets > c->in_seen ? memchr(at, '\n', c->in_octets - c->in_seen) : NULL;
			char line[4096];
			size_t n;

			if (nl == NULL)
				return;
			n = (size_t)(nl - at);
			if (m->tolerant && (n == 0 || at[n - 1] != '\r' || n >= sizeof(line))) {
				c->in_seen += n + 1;
				say(f, "500 5.5.2 what?\r\n");
				return;
			}
			BUG_ON(n == 0 || at[n - 1] != '\r' || n >= sizeof(line)); /* the relay must end lines by CRLF */
			memcpy(line, at, n - 1);
			line[n - 1] = '\0';
			c->in_seen += n + 1;
			command(f, line);
		}
	}
}

/* Whether it has the end of a message that it did not come to answer. */
static bool
has_end(const struct fake_conn *f)
{
	if (f->in_chunk)
		return f->chunk_last && f->c->in_octets - f->c->in_seen >= f->chunk_left;
	return f->in_data && find_dot(f->c, f->data_start) != 0;
}

void
fake_mta_step(struct fake_mta *m)
{
	struct sim_conn *c;
	const uint64_t now = sim_now_us(m->sim);

	while ((c = sim_accept(m->host)) != NULL) {
		struct fake_conn *f = calloc(1, sizeof(*f));

		BUG_ON(f == NULL);
		f->c = c;
		f->m = m;
		f->next = conns;
		conns = f;
		m->n_conns++;
		if (m->at_connect != FAKE_OK)
			fails(f, m->at_connect);
	}
	for (struct fake_conn *f = conns; f != NULL; f = f->next) {
		if (f->m != m || f->c->tcp == NULL)
			continue;
		if (f->ended)
			f->out_octets = 0;
		if (f->out_octets == 0 && !f->ended) {
			serve(f);
			f->ready_us = now + m->delay_us;
		}
		if (f->out_octets > 0 && now >= f->ready_us && f->c->tcp != NULL && f->c->out_octets == 0) {
			const size_t n = m->dribble ? 1 : f->out_octets;

			/* the sim borrows what it sends until it is sent: it is small enough for one go */
			sim_send(f->c, f->out, n);
			f->c->out_octets = 0; /* a connection just reset takes nothing: it is lost, as in life */
			f->out_octets -= n;
			memmove(f->out, f->out + n, f->out_octets);
			f->ready_us = now + 1000;
			if (f->tls_next && f->out_octets == 0) {
				f->tls_next = false;
				f->c->stream = m->tls_create(m->tls_arg);
			}
		}
		if ((f->c->eof || f->c->reset) && (f->in_data || f->bdat_open)) {
			m->n_aborted_in_data++;
			f->in_data = f->in_chunk = false;
			drop_chunks(f);
		}
		if (f->c->eof && f->c->out_octets == 0)
			sim_close(f->c);
	}
	/* what is gone from the host is forgotten; a reset inside the data is counted first */
	for (struct fake_conn **at = &conns; *at != NULL;) {
		struct fake_conn *f = *at;

		if (f->m != m || f->c->tcp != NULL) {
			at = &f->next;
			continue;
		}
		if (has_end(f))
			m->n_unanswered++;
		else
			m->n_aborted_in_data += f->in_data || f->bdat_open;
		drop_chunks(f);
		*at = f->next;
		sim_conn_forget(f->c);
		free(f);
	}
}

void
fake_mta_shout(struct fake_mta *m, const char *text)
{
	for (struct fake_conn *f = conns; f != NULL; f = f->next)
		if (f->m == m && f->c->tcp != NULL)
			say(f, text);
}

void
fake_mta_deafen(struct fake_mta *m, bool deaf)
{
	for (struct fake_conn *f = conns; f != NULL; f = f->next)
		if (f->m == m)
			sim_deafen(f->c, deaf);
}

void
fake_mta_shut(struct fake_mta *m)
{
	for (struct fake_conn *f = conns; f != NULL; f = f->next) {
		if (f->m != m || f->c->tcp == NULL)
			continue;
		if (f->c->stream != NULL)
			f->c->stream->ops->shutdown(f->c->stream);
		sim_close(f->c);
	}
}

void
fake_mta_stop(struct fake_mta *m)
{
	struct fake_conn **at = &conns;

	while (*at != NULL) {
		struct fake_conn *f = *at;

		if (f->m == m) {
			*at = f->next;
			drop_chunks(f);
			free(f);
		} else {
			at = &f->next;
		}
	}
	drop_messages(m);
}
