/*
 * certs.c - certificates as control sees them.
 *
 * Flow:   see certs.h.
 * Touches: the segment's certificate area; the wall clock, for what expires.
 * Keeps:  the area is the data plane's, and it faces the Internet: what is used here is a copy that was checked.
 */
#include "control/certs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "control/api.h"
#include "control/control.h"
#include "dataplane/base/bug.h"

#define READ_TRIES_MAX 16

const char *
cert_state_name(const struct cert_status *r)
{
	switch ((enum cert_state)r->state) {
	case CERT_GOOD:
		return "in use";
	case CERT_EXPIRED:
		return "expired";
	case CERT_NOT_YET:
		return "not yet valid";
	case CERT_KEPT:
		return "kept";
	case CERT_BAD:
		return "bad";
	}
	return "?";
}

const char *
cert_key_name(const struct cert_status *r)
{
	switch ((enum cert_key_type)r->key_type) {
	case CERT_KEY_ECDSA:
		return "ECDSA";
	case CERT_KEY_RSA:
		return "RSA";
	case CERT_KEY_ED25519:
		return "Ed25519";
	case CERT_KEY_TYPE_N:
		break;
	}
	return "?";
}

static void
tame(char *text, size_t octets)
{
	text[octets - 1] = '\0';
	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
}

void
certs_tame(struct cert_status *r)
{
	if (r->state > CERT_BAD)
		r->state = CERT_BAD;
	if (r->key_type >= CERT_KEY_TYPE_N)
		r->key_type = CERT_KEY_ECDSA;
	r->in_use = r->state == CERT_BAD ? 0 : r->in_use != 0;
	r->is_default = r->is_default != 0;
	tame(r->label, sizeof(r->label));
	tame(r->names, sizeof(r->names));
	tame(r->issuer, sizeof(r->issuer));
	tame(r->why, sizeof(r->why));
}

const struct cert_area *
certs_read(struct control *c)
{
	static struct cert_area copy; /* 1.3 MiB: too much for the stack, and one thread alone asks */
	const struct cert_area *a = c->attached ? c->segment.certs : NULL;

	for (unsigned tries = 0; a != NULL && tries < READ_TRIES_MAX; tries++) {
		const uint32_t before = __atomic_load_n(&a->sequence, __ATOMIC_ACQUIRE);

		memcpy(&copy, a, sizeof(copy));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if ((before & 1) != 0 || __atomic_load_n(&a->sequence, __ATOMIC_RELAXED) != before)
			continue;
		copy.n_rows = MIN(copy.n_rows, (uint32_t)CERT_ROWS_MAX);
		tame(copy.folder_error, sizeof(copy.folder_error));
		tame(copy.note, sizeof(copy.note));
		for (uint32_t i = 0; i < copy.n_rows; i++)
			certs_tame(&copy.row[i]);
		return &copy;
	}
	return NULL;
}

static void __attribute__((format(printf, 2, 3))) add(json_t *alarms, const char *format, ...)
{
	char text[600];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(alarms, api_string(text));
}

static void
row_alarm(const struct cert_status *r, int64_t warn_s, int64_t now_s, json_t *alarms)
{
	const int64_t left_s = r->not_after - now_s;

	if (r->state == CERT_BAD)
		add(alarms, "certificate %s cannot be used: %s", r->label, r->why);
	else if (r->state == CERT_KEPT)
		add(alarms, "certificate %s: its new files are not used, what was loaded before stays: %s", r->label,
			r->why);
	else if (r->state == CERT_NOT_YET)
		add(alarms, "certificate %s is not valid yet, and is used because nothing else is there", r->label);
	if (r->state != CERT_BAD && left_s <= 0)
		add(alarms, "certificate %s has EXPIRED: who checks it will not deliver", r->label);
	else if (r->state != CERT_BAD && warn_s > 0 && left_s <= warn_s)
		add(alarms, "certificate %s expires in %lld days", r->label, (long long)(left_s / 86400));
}

void
certs_alarms(struct control *c, json_t *alarms)
{
	const struct cert_area *a = certs_read(c);
	const int64_t now_s = (int64_t)time(NULL);

	if (a == NULL)
		return;
	for (uint32_t i = 0; i < a->n_rows; i++)
		row_alarm(&a->row[i], c->config->values.conf.tls_warn_s, now_s, alarms);
	if (a->generation != 0 && a->folder_error[0] != '\0')
		add(alarms, "certificates: %s", a->folder_error);
	for (uint32_t i = 0; i < c->config->n_listeners && a->generation == 0; i++) {
		const struct conf_listener *l = &c->config->listener[i];

		if (l->tls == LISTENER_TLS_REQUIRE || l->tls == LISTENER_TLS_IMPLICIT)
			add(alarms, "listener %s demands TLS, and no certificate is loaded: %s", l->name,
				a->folder_error[0] != '\0' ? a->folder_error : "see cert list");
	}
}

/* A label's value, as Prometheus wants it. */
static void
put_label(struct evbuffer *out, const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		evbuffer_add_printf(out, "%s%c", *p == '"' || *p == '\\' ? "\\" : "", *p);
}

void
certs_metrics(struct control *c, struct evbuffer *out)
{
	const struct cert_area *a = certs_read(c);
	uint32_t n_used = 0, n_bad = 0;

	if (a == NULL)
		return;
	for (uint32_t i = 0; i < a->n_rows; i++) {
		n_used += a->row[i].in_use;
		n_bad += a->row[i].state == CERT_BAD || a->row[i].state == CERT_KEPT;
	}
	evbuffer_add_printf(out,
		"# HELP greyline_certificates certificates in use\n# TYPE greyline_certificates "
		"gauge\ngreyline_certificates %u\n"
		"# HELP greyline_certificates_refused certificates whose files cannot be used\n"
		"# TYPE greyline_certificates_refused gauge\ngreyline_certificates_refused %u\n"
		"# HELP greyline_certificate_not_after_seconds when it expires, in seconds since 1970\n"
		"# TYPE greyline_certificate_not_after_seconds gauge\n",
		n_used, n_bad);
	for (uint32_t i = 0; i < a->n_rows; i++) {
		if (!a->row[i].in_use)
			continue;
		evbuffer_add_printf(out, "greyline_certificate_not_after_seconds{certificate=\"");
		put_label(out, a->row[i].label);
		evbuffer_add_printf(
			out, "\",key=\"%s\"} %" PRId64 "\n", cert_key_name(&a->row[i]), a->row[i].not_after);
	}
}
