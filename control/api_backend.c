/*
 * api_backend.c - backend list, backend probe, backend drain, backend ready.
 *
 * Flow:   api.c -> states in the segment;  a probe is asked for by the answer ring of worker 0 and its result looked for in the state
 * Touches: the segment; the database, for what the operator said about a backend.
 * Keeps:  drained is written here alone; a probe writes around it (worker/probes.c).
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "control/api.h"
#include "control/control.h"
#include "dataplane/base/bug.h"

#define PROBE_WAIT_US 14000000
#define PROBE_LOOK_US 50000

static const char *
state_name(const struct backend_state *b)
{
	if (b->drained)
		return "drained";
	switch ((enum backend_health)b->health) {
	case BACKEND_UNPROBED:
		return "unprobed";
	case BACKEND_UP:
		return "up";
	case BACKEND_DOWN:
		return "down";
	case BACKEND_OPEN_RELAY:
		return "open-relay";
	case BACKEND_LOOP:
		return "loop";
	case BACKEND_DRAINED:
		return "drained";
	}
	return "?";
}

static json_t *
extensions(uint32_t ext)
{
	static const char *const names[] = { "PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING",
		"BINARYMIME", "ENHANCEDSTATUSCODES", "STARTTLS", "XCLIENT", "AUTH" };
	json_t *out = json_array();

	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if ((ext >> i & 1) != 0)
			json_array_append_new(out, json_string(names[i]));
	return out;
}

static json_t *
backend_json(struct control *c, uint32_t index)
{
	static const char *const ways[] = { "none", "proxy_v1", "proxy_v2", "xclient" };
	const struct conf_backend *conf = &c->config->backend[index];
	struct backend_state state = { 0 };
	const struct backend_state *live = segment_backend(&c->segment, conf->id, false);
	char addr[IP_ADDR_TEXT_MAX_OCTETS], at[IP_ADDR_TEXT_MAX_OCTETS + 10];
	json_t *pools = json_array(), *out;

	if (live != NULL)
		state = *live;
	state.words[sizeof(state.words) - 1] = '\0';
	for (uint32_t p = 0; p < c->config->n_pools; p++)
		if ((c->config->pool[p].backends >> index & 1) != 0)
			json_array_append_new(pools, json_string(c->config->pool[p].name));
	ip_addr_format(&conf->addr, addr);
	snprintf(at, sizeof(at), ip_addr_is_v4(&conf->addr) ? "%s:%u" : "[%s]:%u", addr, conf->port);
	out = json_pack("{s:s, s:s, s:O, s:s, s:s, s:b, s:o, s:I, s:i, s:o}", "name", conf->name, "address", at,
		"pools", pools, "client_address",
		ways[conf->client_address <= CLIENT_ADDRESS_XCLIENT ? conf->client_address : 0], "state",
		state_name(&state), "up", (int)(state.health == BACKEND_UP && !state.drained), "extensions",
		extensions(state.ext), "size", (json_int_t)state.size_octets, "failures", (int)state.failures, "words",
		api_string(state.words));
	json_object_set_new(out, "under_tls", json_boolean(state.under_tls));
	json_object_set_new(
		out, "pool", json_incref(json_array_get(pools, 0) != NULL ? json_array_get(pools, 0) : json_null()));
	json_decref(pools);
	if (state.probed_s != 0)
		json_object_set_new(out, "probed_at", json_integer(control_wall_of(c, state.probed_s)));
	if (state.changed_s != 0)
		json_object_set_new(out, "changed_at", json_integer(control_wall_of(c, state.changed_s)));
	if (state.relaytest_s != 0)
		json_object_set_new(out, "relaytest_at", json_integer(control_wall_of(c, state.relaytest_s)));
	if (state.health == BACKEND_OPEN_RELAY)
		json_object_set_new(out, "advice",
			json_string("it relays for strangers: take the gateway's address out of its mynetworks"));
	return out;
}

static json_t *
backends_json(struct control *c, uint64_t which)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < c->config->n_backends; i++)
		if ((which >> i & 1) != 0)
			json_array_append_new(list, backend_json(c, i));
	return json_pack("{s:o}", "backends", list);
}

static void
backend_list(struct control *c, struct api_request *r, const json_t *args)
{
	(void)args;
	if (!c->attached)
		api_error(r, "unavailable", "there is no segment");
	else
		api_answer(r, backends_json(c, UINT64_MAX));
}

/* --- probe */

struct probe {
	struct control *c;
	struct api_request *r;
	struct event *timer;
	uint64_t which, until_us;
	struct {
		uint32_t id, probed_s, relaytest_s, changed_s;
		uint8_t failures, health;
	} before[CONF_BACKENDS_MAX];
};

static bool
probe_is_done(const struct probe *p, uint32_t index)
{
	const struct backend_state *b = segment_backend(&p->c->segment, p->before[index].id, false);

	return b != NULL &&
	       (b->probed_s != p->before[index].probed_s || b->relaytest_s != p->before[index].relaytest_s ||
		       b->changed_s != p->before[index].changed_s || b->failures != p->before[index].failures ||
		       b->health != p->before[index].health);
}

static void
probe_look(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval tv = { .tv_usec = PROBE_LOOK_US };
	struct probe *p = arg;
	bool done = true;

	(void)fd;
	(void)what;
	for (uint32_t i = 0; i < p->c->config->n_backends && p->c->attached; i++)
		if ((p->which >> i & 1) != 0 && p->c->config->backend[i].id == p->before[i].id)
			done = done && probe_is_done(p, i);
	if (!done && control_mono_us() < p->until_us && p->c->attached) {
		event_add(p->timer, &tv);
		return;
	}
	event_free(p->timer);
	if (p->c->attached)
		api_answer(p->r, backends_json(p->c, p->which));
	else
		api_error(p->r, "unavailable", "there is no segment");
	free(p);
}

static bool
probe_send(struct control *c, uint32_t id)
{
	struct link_answer_probe *slot = ring_reserve(&c->segment.answer[0]);
	const struct link_answer_probe out = {
		.head = { .type = LINK_ANSWER_PROBE,
			.len_octets = sizeof(out),
			.dataplane_incarnation =
				__atomic_load_n(&c->segment.live->incarnation[SEGMENT_DATAPLANE], __ATOMIC_RELAXED),
			.control_incarnation = c->segment.incarnation },
		.backend_id = id,
		.relaytest = 1,
	};

	if (slot == NULL)
		return false;
	memcpy(slot, &out, sizeof(out));
	ring_publish(&c->segment.answer[0]);
	return true;
}

static void
backend_probe(struct control *c, struct api_request *r, const json_t *args)
{
	const struct timeval tv = { .tv_usec = PROBE_LOOK_US };
	const char *name = api_text(args, "backend");
	struct probe *p;

	if (!control_dataplane_serves(c)) {
		api_error(r, "unavailable", "the data plane does not serve: only it can reach a backend");
		return;
	}
	p = calloc(1, sizeof(*p));
	BUG_ON(p == NULL);
	p->c = c;
	p->r = r;
	p->until_us = control_mono_us() + PROBE_WAIT_US;
	for (uint32_t i = 0; i < c->config->n_backends; i++) {
		const struct backend_state *b = segment_backend(&c->segment, c->config->backend[i].id, false);

		if (name != NULL && strcmp(name, c->config->backend[i].name) != 0)
			continue;
		p->which |= UINT64_C(1) << i;
		p->before[i].id = c->config->backend[i].id;
		if (b != NULL) {
			p->before[i].probed_s = b->probed_s;
			p->before[i].relaytest_s = b->relaytest_s;
			p->before[i].changed_s = b->changed_s;
			p->before[i].failures = b->failures;
			p->before[i].health = b->health;
		}
		if (!probe_send(c, c->config->backend[i].id))
			p->until_us = 0;
	}
	if (p->which == 0) {
		free(p);
		api_error(r, "not-found", "there is no backend %s", name != NULL ? name : "");
		return;
	}
	p->timer = evtimer_new(c->base, probe_look, p);
	BUG_ON(p->timer == NULL);
	event_add(p->timer, &tv);
}

/* --- drain and ready */

/*
 * The operator's word about a backend: in the database first, so that what was answered survives, then in the segment, where every worker
 * reads it at its next choice. Sessions that have the backend already keep it. A drained one is probed on, so that ready finds it up.
 */
static void
backend_drain_set(struct control *c, struct api_request *r, const json_t *args, uint8_t drained)
{
	const char *name = api_text(args, "backend");
	struct backend_state *live, now;
	uint32_t i = 0;
	int error;

	if (!c->attached) {
		api_error(r, "unavailable", "there is no segment");
		return;
	}
	if (name == NULL) {
		api_error(r, "usage", "the name of a backend has to be given");
		return;
	}
	while (i < c->config->n_backends && strcmp(c->config->backend[i].name, name) != 0)
		i++;
	live = i < c->config->n_backends ? segment_backend(&c->segment, c->config->backend[i].id, true) : NULL;
	if (live == NULL) {
		api_error(r, "not-found", "there is no backend %s", name);
		return;
	}
	now = *live;
	now.drained = drained;
	now.words[sizeof(now.words) - 1] = '\0';
	error = store_backend_put(c->store, &now);
	if (error != 0) {
		api_error(r, "unavailable", "%s stays as it is: it could not be stored: %s", name, strerror(-error));
		return;
	}
	__atomic_store_n(&live->drained, drained, __ATOMIC_RELAXED);
	c->backend_kept[live - c->segment.backends] = now;
	api_answer(r, backends_json(c, UINT64_C(1) << i));
}

static void
backend_drain(struct control *c, struct api_request *r, const json_t *args)
{
	backend_drain_set(c, r, args, 1);
}

static void
backend_ready(struct control *c, struct api_request *r, const json_t *args)
{
	backend_drain_set(c, r, args, 0);
}

const struct api_command api_commands_backend[] = {
	{ "backend list", backend_list, "" },
	{ "backend probe", backend_probe, "backend" },
	{ "backend drain", backend_drain, "backend" },
	{ "backend ready", backend_ready, "backend" },
	{ 0 },
};
