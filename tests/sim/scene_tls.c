/*
 * scene_tls.c - TLS on a test's stage: the gateway's certificates, clients and backends that speak it.
 *
 * Clients and fakes use the same stream as the gateway, each from contexts of their own: what differs from other implementations is
 * tried end to end, with real ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/tls/stream_tls.h"
#include "tests/sim/scene.h"

#define CLIENT_BACKEND_ID 1
#define STREAMS_MAX       2048
#define TLS_LIMIT_US      UINT64_C(60000000)

static struct stream *streams[STREAMS_MAX]; /* of this scene */
static uint32_t n_streams;
static struct tls_certs *certs_of_scene;

struct tls_certs scene_certs;

int
scene_tls_set_up(void **state)
{
	(void)state;
	tls_certs_init_with(&scene_certs, "gw", "gw.example");
	return 0;
}

int
scene_tls_tear_down(void **state)
{
	(void)state;
	tls_certs_free(&scene_certs);
	return 0;
}

static struct tls_context *
context(struct counters *counters)
{
	char why[256];
	struct tls_context *c = tls_context_create(NULL, NULL, counters, why, sizeof(why));

	BUG_ON(c == NULL);
	return c;
}

static void
load(struct scene *s, struct tls_context *c, const struct conf *conf)
{
	char why[256];

	(void)s;
	if (tls_context_load(c, conf, tls_certs_set(certs_of_scene, "gw.example"), why, sizeof(why)) != 0) {
		fprintf(stderr, "certificates: %s\n", why);
		abort();
	}
}

/* What the keeper does at start. */
static struct tls_context *
gateway_context(void *arg, uint32_t worker, struct counters *counters)
{
	struct scene *s = arg;
	struct tls_context *c = context(counters);
	struct tls_ticket_keys keys = { 0 };
	uint8_t fresh[TLS_TICKET_NAME_OCTETS + 2 * TLS_TICKET_KEY_OCTETS];
	char why[256];

	(void)worker;
	memset(fresh, 7, sizeof(fresh));
	tls_ticket_keys_rotate(&keys, fresh);
	tls_context_tickets(c, &keys);
	load(s, c, &s->config.conf);
	BUG_ON(tls_context_load_backends(c, s->config.backend, s->config.n_backends, certs_of_scene->ca_pem,
		       certs_of_scene->ca_octets, why, sizeof(why)) != 0);
	return c;
}

void
scene_tls(struct scene *s, struct tls_certs *certs)
{
	const struct conf_backend gateway = {
		.id = CLIENT_BACKEND_ID, .tls = BACKEND_TLS_REQUIRE, .tls_name = "gw.example"
	};
	char why[256];

	certs_of_scene = certs;
	s->config.listener[0].tls = LISTENER_TLS_MAY;
	s->config.conf.tls_min_version = TLS_VERSION_1_2;
	s->config.conf.tls_tickets = 1;
	s->config.conf.tls_ticket_lifetime_s = 7200;
	s->config.conf.tls_handshake_s = 30;
	s->config.conf.tls_handshakes_per_turn = 1;
	s->config.conf.tls_handshake_queue = 256;
	s->tls_client = context(&s->tls_counters);
	BUG_ON(tls_context_load_backends(s->tls_client, &gateway, 1, NULL, 0, why, sizeof(why)) != 0);
	tls_context_take(s->tls_client);
	s->tls_backend = context(&s->tls_counters);
	load(s, s->tls_backend, &s->config.conf);
	tls_context_take(s->tls_backend);
}

void
scene_tls_conf(struct scene *s, struct sim_conf *conf)
{
	conf->tls_create = gateway_context;
	conf->tls_arg = s;
}

void
scene_tls_reload(struct scene *s, struct tls_certs *certs)
{
	certs_of_scene = certs;
	for (uint32_t i = 0; i < s->config.conf.workers; i++)
		load(s, sim_tls(s->sim, i), &s->config.conf);
}

static struct stream *
keep(struct stream *stream)
{
	BUG_ON(stream == NULL || n_streams == STREAMS_MAX);
	streams[n_streams++] = stream;
	return stream;
}

struct stream *
scene_tls_client(struct scene *s)
{
	return keep(stream_tls_client(s->tls_client, sim_pool(s->sim), CLIENT_BACKEND_ID));
}

struct stream *
scene_tls_backend(void *scene)
{
	struct scene *s = scene;

	return keep(stream_tls_server(s->tls_backend, sim_pool(s->sim)));
}

static bool
handshake_over(void *arg)
{
	struct sim_conn *c = arg;

	return c->tcp == NULL || c->eof || c->stream->failed || !c->stream->handshaking;
}

bool
scene_tls_wait(struct scene *s, struct sim_conn *c)
{
	sim_until(s->sim, TLS_LIMIT_US, handshake_over, c);
	return !c->stream->handshaking && !c->stream->failed;
}

bool
scene_starttls(struct scene *s, struct sim_conn *c)
{
	if (scene_chat(s, c, "STARTTLS") != 220)
		return false;
	c->stream = scene_tls_client(s);
	return scene_tls_wait(s, c);
}

/* Before the simulator goes: streams hold buffers of its pool. */
void
scene_tls_end(struct scene *s)
{
	(void)s;
	while (n_streams > 0) {
		struct stream *stream = streams[--n_streams];

		stream->ops->destroy(stream);
	}
}

void
scene_tls_gone(struct scene *s)
{
	tls_context_destroy(s->tls_client);
	tls_context_destroy(s->tls_backend);
	s->tls_client = s->tls_backend = NULL;
}
