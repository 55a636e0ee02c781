/*
 * scene.c - see scene.h.
 */
#include "tests/helpers/tcp_check.h"
#include "tests/sim/scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/tls/stream_test.h"
#include "dataplane/worker/worker_impl.h"

static struct stream_test *framed[512]; /* of this scene; freed at its end */
static uint32_t n_framed;

/* Records of odd sizes, late by some milliseconds: what TLS will do to the dialogue, and a little more. */
static struct stream *
framed_stream(bool is_client)
{
	static const uint32_t record_octets[] = { 1, 7, 100, 1400, STREAM_TEST_RECORD_MAX_OCTETS };
	struct stream_test *t = malloc(sizeof(*t));
	const struct stream_test_conf conf = { .record_octets = record_octets[n_framed % ARRAY_LEN(record_octets)],
		.delay_us = 3000,
		.handshake_octets = 700,
		.is_client = is_client };

	BUG_ON(t == NULL || n_framed == ARRAY_LEN(framed));
	framed[n_framed++] = t;
	stream_test_init(t, &conf);
	return &t->stream;
}

static struct stream *
framed_server(void *arg)
{
	(void)arg;
	return framed_stream(false);
}

/* As identity is; only it is another, so that whoever asks by its address does not know it. */
static struct stream *
other_identity(void *arg)
{
	static struct stream other;

	(void)arg;
	other = *stream_identity();
	return &other;
}

#define REPLY_LIMIT_US UINT64_C(700000000)

static void
step(struct sim *sim, void *arg)
{
	struct scene *s = arg;

	(void)sim;
	fake_mta_step(&s->mta);
	fake_mta_step(&s->mta_x);
	fake_mta_step(&s->mta_v1);
	fake_mta_step(&s->submit);
	fake_control_step(&s->control);
}

void
scene_conf(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	sim_conf_init(&s->config);
	s->control.verdict = (struct client_verdict){ .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
	s->control.ptr = "mail.sender.example";
	s->mta.ext = "250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250-DSN\r\n";
	s->mta_x.ext = s->mta_v1.ext = s->mta.ext;
}

static void
start(struct scene *s, struct sim_conf conf, uint32_t n_workers)
{
	if (s->framed)
		conf.stream_create = framed_server;
	if (s->long_way)
		conf.stream_create = other_identity;
	if (s->tls_client != NULL)
		scene_tls_conf(s, &conf);
	s->config.conf.workers = n_workers;
	conf.parts = sim_conf_parts(&s->config);
	s->sim = sim_create(&conf);
	s->client = sim_host_add(s->sim, 0, CLIENT4, CLIENT6);
	s->lan = sim_host_add(s->sim, 1, "198.18.1.3", "2001:db8:0:2::3");
	fake_mta_start(&s->mta, s->sim, s->lan, "198.18.1.3", 25, CLIENT_ADDRESS_PROXY_V2);
	/* a host has one list of accepted connections: each fake gets a host of its own on the same address space */
	fake_mta_start(&s->mta_x, s->sim, sim_host_add(s->sim, 1, "198.18.1.4", NULL), "198.18.1.4", 2525,
		CLIENT_ADDRESS_XCLIENT);
	fake_mta_start(&s->mta_v1, s->sim, sim_host_add(s->sim, 1, "198.18.1.5", NULL), "198.18.1.5", 24,
		CLIENT_ADDRESS_PROXY_V1);
	fake_mta_start(&s->submit, s->sim, sim_host_add(s->sim, 1, "198.18.1.6", NULL), "198.18.1.6", 587,
		CLIENT_ADDRESS_PROXY_V2);
	s->submit.tolerant = true;
	s->control.sim = s->sim;
	sim_on_step(s->sim, step, s);
}

void
scene_start(struct scene *s, uint64_t seed, uint32_t n_workers, struct sim_wire wire)
{
	start(s, (struct sim_conf){ .seed = seed, .n_workers = n_workers, .wire = wire }, n_workers);
}

void
scene_start_outside(struct scene *s, uint64_t seed, uint32_t n_workers)
{
	start(s, (struct sim_conf){ .seed = seed }, n_workers);
}

void
scene_end(struct scene *s)
{
	for (uint32_t i = 0; i < s->config.conf.workers; i++)
		if (sim_worker(s->sim, i) != NULL)
			tcp_check_invariants(sim_worker(s->sim, i)->tcp, false);
	fake_mta_stop(&s->mta);
	fake_mta_stop(&s->mta_x);
	fake_mta_stop(&s->mta_v1);
	fake_mta_stop(&s->submit);
	scene_tls_end(s);
	sim_destroy(s->sim);
	scene_tls_gone(s);
	while (n_framed > 0)
		free(framed[--n_framed]);
}

static bool
all_probed(void *arg)
{
	struct scene *s = arg;

	for (uint32_t i = 0; i < s->config.n_backends; i++) {
		const struct backend_state *st = segment_backend(sim_segment(s->sim), s->config.backend[i].id, false);

		if (st == NULL || st->health == BACKEND_UNPROBED)
			return false;
	}
	return true;
}

void
scene_settle(struct scene *s)
{
	if (!sim_until(s->sim, 60000000, all_probed, s)) {
		fprintf(stderr, "backends were not probed\n");
		abort();
	}
	sim_run(s->sim, 2000000); /* offers follow within a second */
}

void
scene_begin(struct scene *s)
{
	scene_start(s, 1, 1, (struct sim_wire){ .delay_us = 500 });
	scene_settle(s);
}

void
scene_usual(struct scene *s)
{
	scene_conf(s);
	scene_begin(s);
}

struct worker *
scene_worker(struct scene *s)
{
	return sim_worker(s->sim, 0);
}

struct session *
scene_session(struct scene *s)
{
	for (uint32_t i = 0; i < s->config.conf.sessions; i++) {
		struct session *it = session_store_at(scene_worker(s), i);

		if (it != NULL)
			return it;
	}
	BUG_ON(true);
	return NULL;
}

uint64_t
scene_count(struct scene *s, enum counter which)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s->config.conf.workers; i++)
		n += counter_read(&sim_segment(s->sim)->counters[i], which);
	return n;
}

uint64_t
scene_passes(struct scene *s, uint32_t worker)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < TURN_BUCKETS; i++)
		n += sim_segment(s->sim)->live->turns[worker].busy[i];
	return n;
}

struct waiting {
	struct scene *s;
	struct sim_conn *c;
};

/* One whole reply into s->reply; false while it is not there. */
static bool
take_reply(void *arg)
{
	struct waiting *w = arg;
	struct sim_conn *c = w->c;
	size_t at = c->in_seen;

	for (;;) {
		const uint8_t *line = c->in + at;
		const uint8_t *nl = c->in_octets > at ? memchr(line, '\n', c->in_octets - at) : NULL;

		if (nl == NULL)
			return c->tcp == NULL || c->eof;
		at += (size_t)(nl + 1 - line);
		if (nl - line >= 3 && (nl - line == 3 || line[3] != '-')) {
			const size_t n = MIN(at - c->in_seen, sizeof(w->s->reply) - 1);

			memcpy(w->s->reply, c->in + c->in_seen, n);
			w->s->reply[n] = '\0';
			c->in_seen = at;
			return true;
		}
	}
}

int
scene_reply_within(struct scene *s, struct sim_conn *c, uint64_t limit_us)
{
	struct waiting w = { s, c };

	s->reply[0] = '\0';
	if (!sim_until(s->sim, limit_us, take_reply, &w))
		return 0;
	return atoi(s->reply);
}

int
scene_reply(struct scene *s, struct sim_conn *c)
{
	return scene_reply_within(s, c, REPLY_LIMIT_US);
}

static bool
all_sent(void *arg)
{
	struct sim_conn *c = arg;

	return c->out_octets == 0 || c->tcp == NULL;
}

int
scene_chat(struct scene *s, struct sim_conn *c, const char *line)
{
	char out[8192];
	const int n = snprintf(out, sizeof(out), "%s\r\n", line);

	BUG_ON(n < 0 || (size_t)n >= sizeof(out));
	if (c->tcp == NULL)
		return 0;
	sim_send(c, out, (size_t)n);
	sim_until(s->sim, REPLY_LIMIT_US, all_sent, c);
	return scene_reply(s, c);
}

void
scene_frame(struct scene *s, struct sim_conn *c)
{
	if (s->framed)
		c->stream = framed_stream(true);
}

struct sim_conn *
scene_open(struct scene *s, const char *from, const char *to)
{
	struct sim_conn *c = sim_connect(s->client, from, to, 25);

	scene_frame(s, c);
	scene_reply(s, c);
	if (s->tls && atoi(s->reply) == 220) {
		char banner[sizeof(s->reply)];

		memcpy(banner, s->reply, sizeof(banner));
		scene_chat(s, c, "EHLO client.example");
		if (!scene_starttls(s, c))
			fprintf(stderr, "no TLS: %s\n", s->reply);
		memcpy(s->reply, banner, sizeof(banner)); /* the reply of a connection just opened is its banner */
	}
	return c;
}

int
scene_rcpt(struct scene *s, struct sim_conn *c, const char *from, const char *to)
{
	char line[1024];
	int code;

	if ((code = scene_chat(s, c, "EHLO client.example")) != 250)
		return code;
	snprintf(line, sizeof(line), "MAIL FROM:<%s>", from);
	if ((code = scene_chat(s, c, line)) != 250)
		return code;
	snprintf(line, sizeof(line), "RCPT TO:<%s>", to);
	return scene_chat(s, c, line);
}

void
scene_quit(struct scene *s, struct sim_conn *c)
{
	char last[sizeof(s->reply)];

	memcpy(last, s->reply, sizeof(last));
	scene_chat(s, c, "QUIT");
	sim_close(c);
	sim_run(s->sim, 100000);
	memcpy(s->reply, last, sizeof(last)); /* the reply a test looks at is the one before */
}

int
scene_deliver(struct scene *s, const char *client, const char *from, const char *to, const char *body)
{
	struct sim_conn *c = scene_open(s, client, strchr(client, ':') != NULL ? GATEWAY6 : GATEWAY4);
	int code = scene_rcpt(s, c, from, to);

	if (code == 250 && (code = scene_chat(s, c, "DATA")) == 354) {
		snprintf(s->message, sizeof(s->message), "%s.", body);
		code = scene_chat(s, c, s->message);
	}
	scene_quit(s, c);
	return code;
}

int
scene_wait_s(const struct scene *s)
{
	const char *at = strstr(s->reply, "try again in ");
	int n;

	return at != NULL && sscanf(at, "try again in %d seconds", &n) == 1 ? n : -1;
}

void
scene_make_white(struct scene *s, const char *client, const char *from, const char *to)
{
	static const char body[] = "Subject: hello\r\n\r\nlast\r\n";
	int got = scene_deliver(s, client, from, to, body);

	if (got == 451) {
		sim_run(s->sim, 241000000);
		got = scene_deliver(s, client, from, to, body);
		if (got == 250)
			return;
	}
	fprintf(stderr, "%s to %s is not let through the greylist: %d %s\n", from, to, got, s->reply);
	abort();
}

void
scene_send_all(struct scene *s, struct sim_conn *c, const void *data, size_t octets)
{
	sim_send(c, data, octets);
	for (uint32_t i = 0; i < 100000 && c->out_octets > 0 && c->tcp != NULL; i++)
		sim_step(s->sim, 1000);
}

bool
scene_is_gone(void *conn)
{
	struct sim_conn *c = conn;

	return c->tcp == NULL || c->eof || c->reset;
}

void
scene_check_resting(struct scene *s, const char *label, uint32_t n, uint32_t bufs_before)
{
	const struct worker *w = scene_worker(s);
	const struct {
		const char *what;
		uint32_t got, want;
	} rows[] = {
		{ "sessions", worker_sessions(w), n },
		{ "at rest", tcp_n_rests(w->tcp), n },
		{ "session blocks", w->sessions.n_used, 0 },
		{ "relays", w->relays.n_used, 0 },
		{ "kept recipients", w->kepts.n_used, 0 },
		{ "connections", tcp_n_conns(w->tcp), 0 },
		{ "woken", tcp_n_woken(w->tcp), 0 },
		{ "buffers", sim_bufs_in_use(s->sim), bufs_before },
	};

	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].got != rows[i].want) {
			fprintf(stderr, "%s: %s: got %u, want %u\n", label, rows[i].what, rows[i].got, rows[i].want);
			abort();
		}
}

void
scene_check_nothing_left(struct scene *s, const char *label, uint32_t bufs_before)
{
	uint32_t sessions = 0;

	sim_run(s->sim, 20000000);
	for (uint32_t i = 0; i < s->config.conf.workers; i++)
		sessions += worker_sessions(sim_worker(s->sim, i));
	if (sessions == 0 && sim_bufs_in_use(s->sim) <= bufs_before + 16) /* a probe may be under way */
		return;
	fprintf(stderr, "%s: %u sessions and %u buffers are left, %u before\n", label, sessions,
		sim_bufs_in_use(s->sim), bufs_before);
	abort();
}
