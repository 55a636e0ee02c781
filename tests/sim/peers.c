/*
 * peers.c - the simulator's backend, control and configuration.
 *
 * Keeps:  the backend shares no code with the relay: its parsing is naive on purpose.
 */
#include "tests/sim/peers.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/link/log_record.h"
#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

/* ---- backend ---- */

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
			m->ext != NULL ? m->ext : "",
			m->tls_create != NULL && f->c->stream == NULL ? "250-STARTTLS\r\n" : "",
			m->client_address == CLIENT_ADDRESS_XCLIENT
				? "250-XCLIENT NAME ADDR PORT PROTO HELO REVERSE_NAME\r\n"
				: "");
		say(f, reply);
	} else if (strcmp(line, "STARTTLS") == 0 && m->tls_create != NULL && f->c->stream == NULL) {
		m->n_tls++;
		if (fails(f, m->at_starttls))
			return;
		say(f, "220 2.0.0 Ready to start TLS\r\n");
		f->tls_next = true;
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

/* ---- control ---- */

static void
keep_log(struct fake_control *c, const struct link_event_log *e)
{
	char *line = c->log[c->n_log++ % ARRAY_LEN(c->log)];
	size_t n = (size_t)snprintf(line, sizeof(c->log[0]), "kind=%u", e->kind);
	struct log_field f;

	BUG_ON(!log_record_valid(e));
	for (bool more = log_record_first(e, &f); more; more = log_record_next(e, &f))
		n += (size_t)snprintf(line + n, sizeof(c->log[0]) - n, " %s=%.*s", log_field_name(f.id),
			(int)MIN(f.len_octets, 300u), (const char *)f.octets);
}

static void
answer(struct fake_control *c, const union link_answer *a, uint16_t worker)
{
	union link_answer *to = ring_reserve(&sim_segment(c->sim)->answer[worker]);

	if (to == NULL)
		return;
	memcpy(to, a, a->head.len_octets);
	ring_publish(&sim_segment(c->sim)->answer[worker]);
}

static void
answer_after(struct fake_control *c, const union link_answer *a, uint16_t worker, uint64_t delay_us)
{
	if (delay_us == 0) {
		answer(c, a, worker);
		return;
	}
	BUG_ON(c->n_held == ARRAY_LEN(c->held));
	c->held[c->n_held].due_us = sim_now_us(c->sim) + delay_us;
	c->held[c->n_held].worker = worker;
	c->held[c->n_held++].a = *a;
}

static void
name_question(struct fake_control *c, const struct link_event_names *e)
{
	union link_answer a = {
		.names = { .head = e->head, .session = e->session, .transaction = e->transaction, .names = c->names }
	};

	c->n_name_questions++;
	snprintf(c->asked_helo, sizeof(c->asked_helo), "%.*s", e->helo_len, e->text);
	snprintf(c->asked_sender, sizeof(c->asked_sender), "%.*s", e->sender_len, e->text + e->helo_len);
	a.head.type = LINK_ANSWER_NAMES;
	a.head.len_octets = sizeof(a.names);
	a.names.names.known = CLIENT_KNOWN;
	if (!c->names_silent)
		answer_after(c, &a, e->head.worker, c->names_delay_us);
}

static void
question(struct fake_control *c, const struct link_event_client *e)
{
	union link_answer a = { .client = {
					.head = e->head,
					.session = e->session,
					.client = e->client,
					.verdict = c->verdict,
				} };

	c->n_questions++;
	c->n_last_name_questions += e->want_name == LINK_WANT_LAST_NAME;
	a.head.type = LINK_ANSWER_CLIENT;
	a.head.len_octets = sizeof(a.client);
	a.client.verdict.known = CLIENT_KNOWN;
	if (c->ptr != NULL) {
		a.client.ptr_len = (uint16_t)strlen(c->ptr);
		memcpy(a.client.ptr, c->ptr, a.client.ptr_len);
	}
	if (!c->silent)
		answer_after(c, &a, e->head.worker, c->delay_us);
}

void
fake_control_step(struct fake_control *c)
{
	for (uint32_t i = 0; i < sim_segment(c->sim)->n_workers; i++) {
		const void *record;

		while ((record = ring_front(&sim_segment(c->sim)->event[i])) != NULL) {
			const struct link_head *head = record;

			if (head->type == LINK_EVENT_CLIENT)
				question(c, record);
			else if (head->type == LINK_EVENT_NAMES)
				name_question(c, record);
			else if (head->type == LINK_EVENT_LOG)
				keep_log(c, record);
			ring_release(&sim_segment(c->sim)->event[i]);
		}
	}
	for (uint32_t i = 0; i < c->n_held;) {
		if (c->held[i].due_us > sim_now_us(c->sim)) {
			i++;
			continue;
		}
		answer(c, &c->held[i].a, c->held[i].worker);
		c->held[i] = c->held[--c->n_held];
	}
}

const char *
fake_control_find(const struct fake_control *c, const char *text)
{
	for (uint32_t i = c->n_log; i-- > 0 && i + ARRAY_LEN(c->log) >= c->n_log;)
		if (strstr(c->log[i % ARRAY_LEN(c->log)], text) != NULL)
			return c->log[i % ARRAY_LEN(c->log)];
	return "";
}

/* ---- configuration ---- */

static void
port_init(struct conf_port *p, const char *name, uint8_t n, const char *v4, const char *v6)
{
	snprintf(p->name, sizeof(p->name), "%s", name);
	snprintf(p->device, sizeof(p->device), "sim%u", n);
	p->mtu = 1500;
	memcpy(p->mac, (uint8_t[]){ 2, 0, 0, 0, n, 1 }, 6);
	p->n_addrs = 2;
	BUG_ON(ip_addr_parse(v4, &p->addr[0].addr) != 0 || ip_addr_parse(v6, &p->addr[1].addr) != 0);
	p->addr[0].prefix_bits = 96 + 24;
	p->addr[1].prefix_bits = 64;
}

static void
backend_init(struct conf_backend *b, const char *name, const char *addr, uint16_t port, enum conf_client_address how,
	uint32_t id)
{
	*b = (struct conf_backend){ .port = port, .client_address = (uint8_t)how, .id = id };
	snprintf(b->name, sizeof(b->name), "%s", name);
	BUG_ON(ip_addr_parse(addr, &b->addr) != 0);
}

static void
listener_init(struct conf_listener *l, const char *name, enum conf_role role, uint16_t port, uint64_t pools,
	uint16_t default_pool)
{
	*l = (struct conf_listener){
		.role = (uint8_t)role, .port = port, .pools = pools, .default_pool = default_pool, .n_addrs = 2
	};
	snprintf(l->name, sizeof(l->name), "%s", name);
	BUG_ON(ip_addr_parse("198.18.0.2", &l->addr[0]) != 0 || ip_addr_parse("2001:db8:0:1::2", &l->addr[1]) != 0);
}

void
sim_conf_init(struct sim_config *c)
{
	memset(c, 0, sizeof(*c));
	c->conf = (struct conf){
		.hostname = "gw.example",
		.mode = MODE_ENFORCE,
		.ptr_missing = EFFECT_REJECT,
		.known_clients_relay = 1,
		.grey_block_s = 240,
		.grey_pass_s = 21600,
		.grey_expire_s = 36 * 86400,
		.grey_lapse_memory_s = 7 * 86400,
		.grey_window_max_s = 4 * 86400,
		.grey_auto_after = 5,
		.grey_source_budget = 1000,
		.dnsbl_reject_threshold = 5,
		.dnsbl_grey_threshold = 1,
		.dns_deadline_ms = 2000,
		.client_fresh_s = 43200,
		.trap_s = 86400,
		.command_timeout_s = 300,
		.data_timeout_s = 180,
		.session_max_s = 3600,
		.rcpts_max = 100,
		.commands_max = 1000,
		.errors_max = 20,
		.messages_max = 100,
		.backend_connect_ms = 10000,
		.backend_greeting_ms = 10000,
		.backend_total_ms = 30000,
		.backend_reply_ms = 35000,
		.backend_dot_s = 600,
		.backend_probe_s = 30,
		.backend_relaytest_s = 86400,
		.drain_s = 60,
		.log_grey_per_s = 1000,
		.workers = 1,
		.sessions = 1024,
		.memory_mb = 64,
	};
	port_init(&c->port[0], "wan", 0, "198.18.0.2", "2001:db8:0:1::2");
	port_init(&c->port[1], "lan", 1, "198.18.1.2", "2001:db8:0:2::2");
	backend_init(&c->backend[0], "mta", "198.18.1.3", 25, CLIENT_ADDRESS_PROXY_V2, 11);
	backend_init(&c->backend[1], "mta-x", "198.18.1.4", 2525, CLIENT_ADDRESS_XCLIENT, 12);
	backend_init(&c->backend[2], "mta-v1", "198.18.1.5", 24, CLIENT_ADDRESS_PROXY_V1, 13);
	backend_init(&c->backend[3], "submit", "198.18.1.6", 587, CLIENT_ADDRESS_PROXY_V2, 14);
	c->backend[3].is_submission = 1;
	c->n_backends = 4;
	snprintf(c->pool[0].name, sizeof(c->pool[0].name), "default");
	c->pool[0].backends = 1 << 0;
	snprintf(c->pool[1].name, sizeof(c->pool[1].name), "second");
	c->pool[1].backends = 1 << 1;
	snprintf(c->pool[2].name, sizeof(c->pool[2].name), "submission");
	c->pool[2].backends = 1 << 3;
	listener_init(&c->listener[0], "mx", ROLE_MX, 25, 3, 0);
	listener_init(&c->listener[1], "submission", ROLE_SUBMISSION, 587, 1 << 2, 2);
	snprintf(c->zone[0].name, sizeof(c->zone[0].name), "bl.example");
	snprintf(c->zone[1].name, sizeof(c->zone[1].name), "helo.list.example");
	snprintf(c->zone[2].name, sizeof(c->zone[2].name), "sender.list.example");
	c->zone[1].kind = ZONE_KIND_HELO;
	c->zone[2].kind = ZONE_KIND_SENDER;
}

static void
list_part(struct sim_config *c, enum snapshot_section section, uint32_t i, const char *entry)
{
	size_t n;

	if (entry == NULL)
		return;
	if (section == SNAPSHOT_CLIENT_ALLOW || section == SNAPSHOT_CLIENT_DENY) {
		struct prefix_entry e;

		BUG_ON(prefix_parse(entry, &e) != 0);
		n = prefix_table_build(c->lists[i], sizeof(c->lists[i]), &e, 1, 1);
	} else {
		const struct name_set_entry e = { .name = entry, .len_octets = (uint32_t)strlen(entry), .value = 1 };

		n = name_set_build(c->lists[i], sizeof(c->lists[i]), &e, 1, 1);
	}
	BUG_ON(n == 0);
	c->part[section] = (struct snapshot_part){ c->lists[i], n };
}

const struct snapshot_part *
sim_conf_parts(struct sim_config *c)
{
	static const char eal[] = "";
	static const char path[] = "/nowhere";
	const struct name_set_entry domains[] = {
		{ "example.org", 11, UINT64_C(0xffff) << 32 | 1 },
		{ "example.net", 11, UINT64_C(1) << 32 | 1 },
		{ "*", 1, UINT64_C(0xffff) << 32 | 1 },
	};
	size_t n = name_set_build(c->domains, sizeof(c->domains), domains, c->any_domain ? 3 : 2, 7);

	BUG_ON(n == 0);
	memset(c->part, 0, sizeof(c->part));
	c->part[SNAPSHOT_CONF] = (struct snapshot_part){ &c->conf, sizeof(c->conf) };
	c->part[SNAPSHOT_PORTS] = (struct snapshot_part){ c->port, sizeof(c->port) };
	c->part[SNAPSHOT_LISTENERS] = (struct snapshot_part){ c->listener, sizeof(c->listener) };
	c->part[SNAPSHOT_POOLS] = (struct snapshot_part){ c->pool, sizeof(c->pool) };
	c->part[SNAPSHOT_BACKENDS] = (struct snapshot_part){ c->backend, c->n_backends * sizeof(c->backend[0]) };
	c->part[SNAPSHOT_ZONES] = (struct snapshot_part){ c->zone, sizeof(c->zone) };
	c->part[SNAPSHOT_EAL_ARGS] = (struct snapshot_part){ eal, sizeof(eal) };
	c->part[SNAPSHOT_SEGMENT_PATH] = (struct snapshot_part){ path, sizeof(path) };
	c->part[SNAPSHOT_DOMAINS] = (struct snapshot_part){ c->domains, n };
	list_part(c, SNAPSHOT_CLIENT_ALLOW, 0, c->client_allow);
	list_part(c, SNAPSHOT_CLIENT_DENY, 1, c->client_deny);
	list_part(c, SNAPSHOT_RCPT_DENY, 2, c->rcpt_deny);
	list_part(c, SNAPSHOT_RCPT_NO_GREY, 3, c->rcpt_no_grey);
	list_part(c, SNAPSHOT_TRAPS, 4, c->trap);
	list_part(c, SNAPSHOT_SENDER_ALLOW, 5, c->sender_allow);
	list_part(c, SNAPSHOT_SENDER_DENY, 6, c->sender_deny);
	list_part(c, SNAPSHOT_RCPT_ALLOW, 7, c->rcpt_allow);
	return c->part;
}
