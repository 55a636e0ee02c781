/*
 * api_cert.c - cert list, cert reload; the row of cert check.
 *
 * Flow:   api.c -> rows in the segment (certs.c);  a reload is a number raised there, and its answer the same number
 * Touches: the segment.
 * Keeps:  control reads no certificate and no key: what is told here is what the data plane has found.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/api.h"
#include "control/cert_check.h"
#include "control/certs.h"
#include "control/control.h"
#include "dataplane/base/bug.h"

#define RELOAD_WAIT_US 14000000
#define RELOAD_LOOK_US 20000

static json_t *
hex(const uint8_t *octets, size_t n)
{
	char text[2 * 32 + 1] = "";

	for (size_t i = 0; i < n && i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", octets[i]);
	return json_string(text);
}

static json_t *
row_json(const struct cert_status *r)
{
	json_t *names = json_array(), *o;
	char text[CERT_NAMES_OCTETS], *rest = text, *name;

	memcpy(text, r->names, sizeof(text));
	while ((name = strsep(&rest, " ")) != NULL)
		if (name[0] != '\0')
			json_array_append_new(names, json_string(name));
	o = json_pack("{s:s, s:s, s:b, s:b, s:o, s:I, s:s}", "certificate", r->label, "state", cert_state_name(r),
		"in_use", (int)r->in_use, "default", (int)r->is_default, "names", names, "n_names",
		(json_int_t)r->n_names, "why", r->why);
	if (r->not_after == 0) /* nothing could be read of it */
		return o;
	json_object_set_new(o, "key", json_sprintf("%s %u", cert_key_name(r), r->key_bits));
	json_object_set_new(o, "not_before_at", json_integer(r->not_before));
	json_object_set_new(o, "not_after_at", json_integer(r->not_after));
	json_object_set_new(o, "left_s", json_integer(r->not_after - (int64_t)time(NULL)));
	json_object_set_new(o, "issuer", json_string(r->issuer));
	json_object_set_new(o, "chain", json_integer(r->n_chain));
	json_object_set_new(o, "spki_sha256", hex(r->spki_sha256, 32));
	json_object_set_new(o, "cert_sha256", hex(r->cert_sha256, 32));
	if (r->loaded_at != 0)
		json_object_set_new(o, "loaded_at", json_integer(r->loaded_at));
	return o;
}

static json_t *
area_json(struct control *c, const struct cert_area *a)
{
	json_t *rows = json_array();

	for (uint32_t i = 0; i < a->n_rows; i++)
		json_array_append_new(rows, row_json(&a->row[i]));
	return json_pack("{s:s, s:I, s:I, s:s, s:s, s:o}", "folder", c->config->values.conf.tls_certificates,
		"generation", (json_int_t)a->generation, "looked_at", (json_int_t)a->looked_at, "error",
		a->folder_error, "note", a->note, "certificates", rows);
}

static void
cert_list(struct control *c, struct api_request *r, const json_t *args)
{
	const struct cert_area *a = certs_read(c);

	(void)args;
	if (a == NULL)
		api_error(r, "unavailable", "there is no segment, or the data plane is just writing it");
	else
		api_answer(r, area_json(c, a));
}

/* --- reload */

struct reload {
	struct control *c;
	struct api_request *r;
	struct event *timer;
	uint64_t wanted, until_us;
};

static void
reload_look(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval tv = { .tv_usec = RELOAD_LOOK_US };
	struct reload *l = arg;
	struct control *c = l->c;
	const bool done = c->attached && __atomic_load_n(&c->segment.certs->reload_done, __ATOMIC_ACQUIRE) == l->wanted;
	const struct cert_area *a;
	json_t *result;

	(void)fd;
	(void)what;
	if (!done && c->attached && control_mono_us() < l->until_us) {
		event_add(l->timer, &tv);
		return;
	}
	event_free(l->timer);
	a = certs_read(c);
	if (a == NULL) {
		api_error(l->r, "unavailable", "there is no segment");
	} else {
		result = area_json(c, a);
		json_object_set_new(result, "confirmed", json_boolean(done));
		api_answer(l->r, result);
	}
	free(l);
}

static void
cert_reload(struct control *c, struct api_request *r, const json_t *args)
{
	const struct timeval tv = { .tv_usec = RELOAD_LOOK_US };
	struct reload *l;

	(void)args;
	if (!control_dataplane_serves(c)) {
		api_error(r, "unavailable",
			"the data plane does not serve: it reads certificates, and will when it starts");
		return;
	}
	l = calloc(1, sizeof(*l));
	BUG_ON(l == NULL);
	l->c = c;
	l->r = r;
	l->until_us = control_mono_us() + RELOAD_WAIT_US;
	l->wanted = __atomic_add_fetch(&c->segment.certs->reload_wanted, 1, __ATOMIC_ACQ_REL);
	l->timer = evtimer_new(c->base, reload_look, l);
	BUG_ON(l->timer == NULL);
	event_add(l->timer, &tv);
}

const struct api_command api_commands_cert[] = {
	{ "cert list", cert_list, "" },
	{ "cert check", cert_check, "" }, /* cert_check.c */
	{ "cert reload", cert_reload, "" },
	{ 0 },
};
