/*
 * api_cert.c - cert list, cert check, cert reload.
 *
 * Flow:   api.c -> rows in the segment (certs.c);  a reload is a number raised there, and its answer the same number
 * Touches: the segment.
 * Keeps:  control reads no certificate and no key: what is told here is what the data plane has found.
 */
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/api.h"
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

/* --- check */

static void __attribute__((format(printf, 4, 5)))
find(json_t *findings, const char *severity, const char *about, const char *format, ...)
{
	char text[600];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(findings, json_pack("{s:s, s:o, s:o}", "severity", severity, "about", api_string(about),
						"text", api_string(text)));
}

/* Whether the row's names hold name, exactly or by the wildcard of its first label. */
static bool
row_holds(const struct cert_status *r, const char *name)
{
	const char *dot = strchr(name, '.');
	char wild[CONF_HOST_OCTETS + 2], text[CERT_NAMES_OCTETS], *rest = text, *one;

	snprintf(wild, sizeof(wild), "*%s", dot != NULL ? dot : "");
	memcpy(text, r->names, sizeof(text));
	while ((one = strsep(&rest, " ")) != NULL)
		if (strcasecmp(one, name) == 0 || (dot != NULL && strcasecmp(one, wild) == 0))
			return true;
	return false;
}

/* Clients without ECDSA exist (old MTAs), and they would get no TLS at all. */
static void
check_key_types(const struct cert_area *a, json_t *findings)
{
	for (uint32_t i = 0; i < a->n_rows; i++) {
		const struct cert_status *r = &a->row[i];
		char first[CONF_HOST_OCTETS];
		bool rsa = r->key_type == CERT_KEY_RSA;

		if (!r->in_use || r->n_names == 0)
			continue;
		snprintf(first, sizeof(first), "%.*s", (int)strcspn(r->names, " "), r->names);
		for (uint32_t k = 0; k < a->n_rows && !rsa; k++)
			rsa = a->row[k].in_use && a->row[k].key_type == CERT_KEY_RSA && row_holds(&a->row[k], first);
		if (!rsa)
			find(findings, "note", r->label,
				"no RSA certificate beside it for %s: clients that know RSA alone will have no TLS",
				first);
	}
}

static void
check_rows(const struct cert_area *a, uint32_t warn_s, json_t *findings)
{
	const int64_t now_s = (int64_t)time(NULL);

	for (uint32_t i = 0; i < a->n_rows; i++) {
		const struct cert_status *r = &a->row[i];

		if (r->state == CERT_BAD)
			find(findings, "error", r->label, "cannot be used: %s", r->why);
		else if (r->state == CERT_KEPT)
			find(findings, "error", r->label,
				"its new files are not used, what was loaded before stays: %s", r->why);
		else if (r->why[0] != '\0')
			find(findings, "warning", r->label, "%s", r->why);
		if (r->state == CERT_NOT_YET)
			find(findings, "error", r->label, "is not valid yet, and used because nothing else is there");
		if (r->state != CERT_BAD && r->not_after <= now_s)
			find(findings, "error", r->label, "has expired");
		else if (r->state != CERT_BAD && r->not_after - now_s <= (int64_t)warn_s)
			find(findings, "warning", r->label, "expires in %lld days",
				(long long)((r->not_after - now_s) / 86400));
	}
}

static void
check_listeners(const struct control *c, const struct cert_area *a, json_t *findings)
{
	for (uint32_t i = 0; i < c->config->n_listeners && a->generation == 0; i++) {
		const struct conf_listener *l = &c->config->listener[i];

		if (l->tls == LISTENER_TLS_REQUIRE || l->tls == LISTENER_TLS_IMPLICIT)
			find(findings, "error", l->name, "this listener demands TLS, and no certificate is loaded");
		else if (l->tls == LISTENER_TLS_MAY)
			find(findings, "note", l->name, "this listener offers no STARTTLS: no certificate is loaded");
	}
}

static bool
is_ours(const struct cert_area *a, const uint8_t *fingerprint)
{
	for (uint32_t i = 0; i < a->n_rows; i++)
		if (a->row[i].in_use &&
			(memcmp(a->row[i].spki_sha256, fingerprint, CONF_FINGERPRINT_OCTETS) == 0 ||
				memcmp(a->row[i].cert_sha256, fingerprint, CONF_FINGERPRINT_OCTETS) == 0))
			return true;
	return false;
}

/* Whether known clients of an mx listener may be spliced to this backend: as session_judge.c has it, one pool and PROXY. */
static bool
is_spliced_to(const struct control *c, uint32_t backend)
{
	const struct config *f = c->config;

	if (f->values.conf.known_clients_relay || f->values.conf.mode == MODE_OBSERVE ||
		f->backend[backend].client_address == CLIENT_ADDRESS_NONE ||
		f->backend[backend].client_address == CLIENT_ADDRESS_XCLIENT)
		return false;
	for (uint32_t i = 0; i < f->n_listeners; i++)
		for (uint32_t p = 0; p < f->n_pools; p++)
			if (f->listener[i].role == ROLE_MX && f->listener[i].tls != LISTENER_TLS_OFF &&
				f->listener[i].pools == UINT64_C(1) << p && (f->pool[p].backends >> backend & 1) != 0)
				return true;
	return false;
}

/*
 * Clients spliced to an MTA meet its certificate in the place of ours, under the same name of the MX: a TLSA record that lists one of the two
 * alone makes senders with DANE refuse the other. The MTA's key is what the configuration says it is: its certificate never passes here
 * in clear text, TLS 1.3 hides it.
 */
static void
check_spliced(const struct control *c, const struct cert_area *a, json_t *findings)
{
	for (uint32_t i = 0; i < c->config->n_backends; i++) {
		const struct conf_backend *b = &c->config->backend[i];

		if (!is_spliced_to(c, i))
			continue;
		if (b->n_fingerprints == 0)
			find(findings, "warning", b->name,
				"known clients are spliced to it and meet its certificate: give its tls_fingerprints, "
				"so that keys can be compared; TLSA "
				"must list its key and ours, and its certificate must hold the names of the MX");
		for (uint32_t k = 0; k < b->n_fingerprints; k++) {
			char text[2 * CONF_FINGERPRINT_OCTETS + 1] = "";

			for (unsigned o = 0; o < CONF_FINGERPRINT_OCTETS; o++)
				snprintf(text + 2 * o, 3, "%02x", b->fingerprint[k][o]);
			if (!is_ours(a, b->fingerprint[k]))
				find(findings, "warning", b->name,
					"known clients are spliced to it and meet %s, which is none of ours: TLSA must "
					"list both, and its certificate must hold "
					"the names of the MX",
					text);
		}
	}
}

static void
cert_check(struct control *c, struct api_request *r, const json_t *args)
{
	const struct cert_area *a = certs_read(c);
	json_t *findings;
	bool well = true;

	(void)args;
	if (a == NULL) {
		api_error(r, "unavailable", "there is no segment, or the data plane is just writing it");
		return;
	}
	findings = json_array();
	if (a->folder_error[0] != '\0')
		find(findings, a->generation != 0 ? "error" : "note", c->config->values.conf.tls_certificates, "%s",
			a->folder_error);
	if (a->note[0] != '\0')
		find(findings, "warning", c->config->values.conf.tls_certificates, "%s", a->note);
	check_rows(a, c->config->values.conf.tls_warn_s, findings);
	check_key_types(a, findings);
	check_listeners(c, a, findings);
	check_spliced(c, a, findings);
	for (size_t i = 0; i < json_array_size(findings); i++)
		well = well &&
		       strcmp(json_string_value(json_object_get(json_array_get(findings, i), "severity")), "note") == 0;
	api_answer(r,
		json_pack("{s:b, s:i, s:o}", "well", (int)well, "certificates", (int)a->n_rows, "findings", findings));
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
	{ "cert check", cert_check, "" },
	{ "cert reload", cert_reload, "" },
	{ 0 },
};
