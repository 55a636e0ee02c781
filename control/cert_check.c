/*
 * cert_check.c - `cert check`: what is wrong with certificates here, and how they fit those that MTAs show.
 *
 * Flow:   see cert_check.h. First the rows of our own certificates; then each MTA of an mx listener is asked by STARTTLS what certificate it
 *         shows for each of our names, one question for each kind of key (a server shows one of its keys, by what the client knows).
 * Touches: the segment: certificate rows, ring of answers to worker 0. The wall clock.
 * Keeps:  the data plane asks and this process judges: only the data plane reaches a backend, and OpenSSL with an untrusted certificate in its
 *         hands belongs where no database is. What comes back is hostile: copied, checked, made printable. One check runs at a time, whoever
 *         else asks meanwhile gets its result; CHECK_AT_ONCE questions are under way, and all is over after CHECK_WAIT_US.
 * Source: RFC 7672 sections 3.1.1 and 3.2.3 (DANE, names), RFC 8461 section 4.1 (MTA-STS).
 */
#include "control/cert_check.h"

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

#define CHECK_WAIT_US       13000000 /* control answers within 15 s; a backend that says nothing takes 10 s */
#define CHECK_LOOK_US       20000
#define CHECK_AT_ONCE       4
#define CHECK_NAMES_MAX     8
#define CHECK_REQUESTS_MAX  8
#define CHECK_KINDS         CERT_KEY_TYPE_N
#define CHECK_DIGEST_OCTETS 65

/* One MTA and what it showed, by name and kind. */
struct mta {
	uint32_t id, index;
	char name[CONF_NAME_OCTETS];
	bool spliced; /* known clients are handed to it and meet its certificate */
	bool over;    /* nothing more is asked */
	bool unasked; /* nobody could ask it */
	uint32_t next;
	uint64_t question; /* under way; 0: none */
	uint32_t result;   /* of the first question that was no success and ended it; LINK_KEYS_SHOWN: none */
	char words[256];
	struct cert_status *shown[CHECK_NAMES_MAX][CHECK_KINDS]; /* NULL: no key of that kind, or not asked */
};

struct cert_check {
	struct api_request *request[CHECK_REQUESTS_MAX];
	uint32_t n_requests;
	struct event *timer;
	uint64_t until_us;
	char name[CHECK_NAMES_MAX][CONF_HOST_OCTETS];
	uint32_t n_names;
	bool more_names; /* than are asked about */
	struct mta *mta;
	uint32_t n_mtas;
};

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

/* ---- questions ---- */

/* Whether it stands behind an mx listener at all. */
static bool
is_mta(const struct control *c, uint32_t backend)
{
	const struct config *f = c->config;

	if (f->backend[backend].is_submission)
		return false;
	for (uint32_t i = 0; i < f->n_listeners; i++)
		for (uint32_t p = 0; p < f->n_pools; p++)
			if (f->listener[i].role == ROLE_MX && (f->listener[i].pools >> p & 1) != 0 &&
				(f->pool[p].backends >> backend & 1) != 0)
				return true;
	return false;
}

static const char *
default_name(const struct control *c)
{
	const struct conf *conf = &c->config->values.conf;

	return conf->tls_default_name[0] != '\0' ? conf->tls_default_name : conf->hostname;
}

static void
add_name(struct cert_check *k, const char *name)
{
	for (uint32_t i = 0; i < k->n_names; i++)
		if (strcasecmp(k->name[i], name) == 0)
			return;
	if (strlen(name) >= sizeof(k->name[0]) || name[0] == '*')
		return;
	if (k->n_names == CHECK_NAMES_MAX) {
		k->more_names = true;
		return;
	}
	snprintf(k->name[k->n_names++], sizeof(k->name[0]), "%s", name);
}

/* The names clients come for: the default one, then those of our certificates. A wildcard cannot be asked for. */
static void
collect_names(struct control *c, const struct cert_area *a, struct cert_check *k)
{
	add_name(k, default_name(c));
	for (uint32_t i = 0; i < a->n_rows; i++) {
		char text[CERT_NAMES_OCTETS], *rest = text, *one;

		memcpy(text, a->row[i].names, sizeof(text));
		while (a->row[i].in_use && (one = strsep(&rest, " ")) != NULL)
			if (one[0] != '\0')
				add_name(k, one);
	}
}

static bool
send_question(struct control *c, const struct cert_check *k, struct mta *m)
{
	struct link_answer_keys *slot = ring_reserve(&c->segment.answer[0]);
	struct link_answer_keys out = {
		.head = { .type = LINK_ANSWER_KEYS,
			.len_octets = sizeof(out),
			.dataplane_incarnation =
				__atomic_load_n(&c->segment.live->incarnation[SEGMENT_DATAPLANE], __ATOMIC_RELAXED),
			.control_incarnation = c->segment.incarnation },
		.question = ++c->cert_questions,
		.backend_id = m->id,
		.key_type = m->next % CHECK_KINDS,
	};

	if (slot == NULL)
		return false;
	snprintf(out.name, sizeof(out.name), "%s", k->name[m->next / CHECK_KINDS]);
	memcpy(slot, &out, sizeof(out));
	ring_publish(&c->segment.answer[0]);
	m->question = out.question;
	return true;
}

/* Sends what may be sent. True: all is heard. */
static bool
ask(struct control *c, struct cert_check *k)
{
	uint32_t under_way = 0, open = 0;

	for (uint32_t i = 0; i < k->n_mtas; i++)
		under_way += k->mta[i].question != 0;
	for (uint32_t i = 0; i < k->n_mtas; i++) {
		struct mta *m = &k->mta[i];

		m->over = m->over || m->next == k->n_names * CHECK_KINDS;
		if (!m->over && m->question == 0 && under_way < CHECK_AT_ONCE && send_question(c, k, m))
			under_way++;
		open += !m->over;
	}
	return open == 0;
}

void
cert_check_event(struct control *c, const struct link_event_keys *e)
{
	struct cert_check *k = c->cert_check;
	struct mta *m = NULL;
	struct cert_status *row;
	uint32_t kind;

	for (uint32_t i = 0; k != NULL && m == NULL && i < k->n_mtas; i++)
		if (k->mta[i].question != 0 && k->mta[i].question == e->question)
			m = &k->mta[i];
	if (m == NULL)
		return;
	m->question = 0;
	kind = m->next % CHECK_KINDS;
	if (e->result == LINK_KEYS_SHOWN && e->shown.key_type == kind) {
		row = malloc(sizeof(*row));
		BUG_ON(row == NULL);
		*row = e->shown;
		certs_tame(row);
		m->shown[m->next / CHECK_KINDS][kind] = row;
	} else if (e->result != LINK_KEYS_SHOWN &&
		   (m->result == LINK_KEYS_SHOWN || e->result != LINK_KEYS_TLS_FAILED)) {
		struct cert_status tamed = e->shown;

		certs_tame(&tamed);
		m->result = e->result;
		snprintf(m->words, sizeof(m->words), "%s", tamed.why);
		m->over = e->result != LINK_KEYS_TLS_FAILED; /* that is of this kind of key, perhaps */
	}
	m->next++;
}

/* ---- what follows ---- */

static const char *
hex_of(const uint8_t *digest, char out[CHECK_DIGEST_OCTETS])
{
	for (unsigned i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	return out;
}

static const char *
kind_name(uint32_t kind)
{
	const struct cert_status r = { .key_type = (uint8_t)kind };

	return cert_key_name(&r);
}

/* Our certificate of that kind for that name: the one with the same key where there is one. NULL: none. */
static const struct cert_status *
ours_for(const struct cert_area *a, const char *name, uint32_t kind, const struct cert_status *its)
{
	const struct cert_status *found = NULL;

	for (uint32_t i = 0; i < a->n_rows; i++) {
		const struct cert_status *r = &a->row[i];

		if (!r->in_use || r->key_type != kind || !row_holds(r, name))
			continue;
		if (memcmp(r->spki_sha256, its->spki_sha256, sizeof(r->spki_sha256)) == 0)
			return r;
		found = found == NULL ? r : found;
	}
	return found;
}

/* Whether an earlier name led to the same two keys. */
static bool
was_told(const struct cert_area *a, const struct cert_check *k, const struct mta *m, uint32_t name, uint32_t kind,
	const struct cert_status *ours)
{
	for (uint32_t n = 0; n < name; n++) {
		const struct cert_status *its = m->shown[n][kind];

		if (its != NULL &&
			memcmp(its->spki_sha256, m->shown[name][kind]->spki_sha256, sizeof(its->spki_sha256)) == 0 &&
			ours_for(a, k->name[n], kind, its) == ours)
			return true;
	}
	return false;
}

static void
compare_keys(const struct cert_area *a, const struct cert_check *k, const struct mta *m, uint32_t name, uint32_t kind,
	json_t *findings)
{
	const struct cert_status *its = m->shown[name][kind], *ours = ours_for(a, k->name[name], kind, its);
	const char *severity = m->spliced ? "warning" : "note";
	char one[CHECK_DIGEST_OCTETS], other[CHECK_DIGEST_OCTETS];

	if ((ours != NULL && memcmp(ours->spki_sha256, its->spki_sha256, sizeof(its->spki_sha256)) == 0) ||
		was_told(a, k, m, name, kind, ours))
		return;
	if (ours != NULL)
		find(findings, severity, m->name,
			"%s %s key for %s is not ours: TLSA must list both, 3 1 1 %s (ours) and 3 1 1 %s (its)",
			m->spliced ? "known clients are spliced to it, and its" : "no client is spliced to it; its",
			kind_name(kind), k->name[name], hex_of(ours->spki_sha256, one),
			hex_of(its->spki_sha256, other));
	else
		find(findings, severity, m->name,
			"%s has a key of a kind that we have none of for %s, %s: TLSA must list it, too, 3 1 1 %s",
			m->spliced ? "known clients are spliced to it, and it" : "no client is spliced to it; it",
			k->name[name], kind_name(kind), hex_of(its->spki_sha256, one));
}

/* What clients that are spliced to it meet besides the key. */
static void
check_shown(const struct control *c, const struct cert_check *k, const struct mta *m, uint32_t name, uint32_t kind,
	json_t *findings)
{
	const struct cert_status *its = m->shown[name][kind];
	const int64_t left_s = its->not_after - (int64_t)time(NULL);
	bool said = false;

	for (uint32_t n = 0; n < name; n++)
		said = said ||
		       (m->shown[n][kind] != NULL && memcmp(m->shown[n][kind]->cert_sha256, its->cert_sha256, 32) == 0);
	if (!row_holds(its, k->name[name]))
		find(findings, "warning", m->name,
			"known clients are spliced to it, and its %s certificate is not for %s, but for %.200s: "
			"who checks names (MTA-STS) does not deliver",
			kind_name(kind), k->name[name], its->names[0] != '\0' ? its->names : "no name");
	if (!said && left_s <= 0)
		find(findings, "error", m->name, "known clients are spliced to it, and its %s certificate has expired",
			kind_name(kind));
	else if (!said && left_s <= (int64_t)c->config->values.conf.tls_warn_s)
		find(findings, "warning", m->name,
			"known clients are spliced to it, and its %s certificate expires in %lld days", kind_name(kind),
			(long long)(left_s / 86400));
}

/* Whether one of the fingerprints in its configuration is what it shows. */
static bool
is_expected(const struct conf_backend *b, const struct cert_check *k, const struct mta *m, bool *any)
{
	*any = false;
	for (uint32_t n = 0; n < k->n_names; n++)
		for (uint32_t kind = 0; kind < CHECK_KINDS; kind++) {
			const struct cert_status *its = m->shown[n][kind];

			*any = *any || its != NULL;
			for (uint32_t f = 0; its != NULL && f < b->n_fingerprints; f++)
				if (memcmp(b->fingerprint[f], its->spki_sha256, CONF_FINGERPRINT_OCTETS) == 0 ||
					memcmp(b->fingerprint[f], its->cert_sha256, CONF_FINGERPRINT_OCTETS) == 0)
					return true;
		}
	return false;
}

static const struct conf_backend *
backend_of(const struct control *c, const struct mta *m)
{
	for (uint32_t i = 0; i < c->config->n_backends; i++)
		if (c->config->backend[i].id == m->id)
			return &c->config->backend[i];
	return NULL; /* the configuration was replaced meanwhile */
}

/* It showed nothing: what that means depends on who depends on it. */
static void
check_silent(const struct mta *m, json_t *findings)
{
	const char *severity = !m->spliced ? "note" : m->unasked ? "warning" : "error";

	switch ((enum link_keys_result)m->result) {
	case LINK_KEYS_NO_STARTTLS:
		if (m->spliced)
			find(findings, severity, m->name,
				"known clients are spliced to it, and it has no STARTTLS (%s): they lose TLS, and "
				"who demands it (DANE, MTA-STS) does not deliver",
				m->words);
		return;
	case LINK_KEYS_TLS_FAILED:
		find(findings, severity, m->name, "%s%s", m->spliced ? "known clients are spliced to it; " : "",
			m->words);
		return;
	case LINK_KEYS_UNREACHABLE:
		find(findings, severity, m->name, "it could not be asked for its certificate: %s", m->words);
		return;
	case LINK_KEYS_SHOWN:
	case LINK_KEYS_RESULT_N:
		break;
	}
	find(findings, severity, m->name, "it did not answer in time what certificate it has");
}

static void
judge_mta(const struct control *c, const struct cert_area *a, const struct cert_check *k, const struct mta *m,
	json_t *findings)
{
	const struct conf_backend *b = backend_of(c, m);
	bool any;

	if (b == NULL)
		return;
	if (!is_expected(b, k, m, &any) && any && b->n_fingerprints > 0)
		find(findings, b->tls != BACKEND_TLS_NEVER ? "error" : "warning", m->name,
			"none of its tls_fingerprints is what it shows%s",
			b->tls != BACKEND_TLS_NEVER ? ": no mail gets there by TLS" : "");
	if (!any) {
		check_silent(m, findings);
		return;
	}
	for (uint32_t n = 0; n < k->n_names; n++)
		for (uint32_t kind = 0; kind < CHECK_KINDS; kind++)
			if (m->shown[n][kind] != NULL) {
				compare_keys(a, k, m, n, kind, findings);
				if (m->spliced)
					check_shown(c, k, m, n, kind, findings);
			}
}

static void
mta_json(const struct cert_area *a, const struct cert_check *k, const struct mta *m, json_t *mtas)
{
	static const char *const results[] = { "shown", "tls-failed", "no-starttls", "unreachable" };
	char digest[CHECK_DIGEST_OCTETS];
	bool any = false;

	for (uint32_t n = 0; n < k->n_names; n++)
		for (uint32_t kind = 0; kind < CHECK_KINDS; kind++) {
			const struct cert_status *its = m->shown[n][kind], *ours;
			json_t *o;

			if (its == NULL)
				continue;
			any = true;
			ours = ours_for(a, k->name[n], kind, its);
			o = json_pack("{s:s, s:b, s:s, s:s, s:o, s:s, s:I, s:b, s:b, s:s}", "backend", m->name,
				"spliced", (int)m->spliced, "result", "shown", "name", k->name[n], "key",
				json_sprintf("%s %u", kind_name(kind), its->key_bits), "spki_sha256",
				hex_of(its->spki_sha256, digest), "not_after_at", (json_int_t)its->not_after,
				"holds_name", (int)row_holds(its, k->name[n]), "same",
				(int)(ours != NULL && memcmp(ours->spki_sha256, its->spki_sha256, 32) == 0), "names",
				its->names);
			if (ours != NULL)
				json_object_set_new(
					o, "our_spki_sha256", json_string(hex_of(ours->spki_sha256, digest)));
			json_array_append_new(mtas, o);
		}
	if (!any)
		json_array_append_new(mtas,
			json_pack("{s:s, s:b, s:s, s:o}", "backend", m->name, "spliced", (int)m->spliced, "result",
				m->result != LINK_KEYS_SHOWN && m->result < ARRAY_LEN(results) ? results[m->result]
											       : "no-answer",
				"words", api_string(m->words)));
}

/* ---- the answer ---- */

static json_t *
result_json(struct control *c, const struct cert_area *a, const struct cert_check *k)
{
	json_t *findings = json_array(), *mtas = json_array();
	bool well = true;

	if (a->folder_error[0] != '\0')
		find(findings, a->generation != 0 ? "error" : "note", c->config->values.conf.tls_certificates, "%s",
			a->folder_error);
	if (a->note[0] != '\0')
		find(findings, "warning", c->config->values.conf.tls_certificates, "%s", a->note);
	check_rows(a, c->config->values.conf.tls_warn_s, findings);
	check_key_types(a, findings);
	check_listeners(c, a, findings);
	for (uint32_t i = 0; i < k->n_mtas; i++) {
		judge_mta(c, a, k, &k->mta[i], findings);
		mta_json(a, k, &k->mta[i], mtas);
	}
	if (k->more_names)
		find(findings, "note", default_name(c), "MTAs were asked about %u names, and not about the others",
			k->n_names);
	for (size_t i = 0; i < json_array_size(findings); i++)
		well = well &&
		       strcmp(json_string_value(json_object_get(json_array_get(findings, i), "severity")), "note") == 0;
	return json_pack("{s:b, s:i, s:o, s:o}", "well", (int)well, "certificates", (int)a->n_rows, "findings",
		findings, "mtas", mtas);
}

static void
check_free(struct control *c)
{
	struct cert_check *k = c->cert_check;

	if (k == NULL)
		return;
	for (uint32_t i = 0; i < k->n_mtas; i++)
		for (uint32_t n = 0; n < CHECK_NAMES_MAX; n++)
			for (uint32_t kind = 0; kind < CHECK_KINDS; kind++)
				free(k->mta[i].shown[n][kind]);
	if (k->timer != NULL)
		event_free(k->timer);
	free(k->mta);
	free(k);
	c->cert_check = NULL;
}

void
cert_check_stop(struct control *c)
{
	check_free(c);
}

static void
look(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval tv = { .tv_usec = CHECK_LOOK_US };
	struct control *c = arg;
	struct cert_check *k = c->cert_check;
	const struct cert_area *a;

	(void)fd;
	(void)what;
	if (c->attached && control_dataplane_serves(c) && !ask(c, k) && control_mono_us() < k->until_us) {
		event_add(k->timer, &tv);
		return;
	}
	a = certs_read(c);
	for (uint32_t i = 0; i < k->n_requests; i++) {
		if (a == NULL)
			api_error(k->request[i], "unavailable",
				"there is no segment, or the data plane is just writing it");
		else
			api_answer(k->request[i], result_json(c, a, k));
	}
	check_free(c);
}

/* MTAs of the configuration as it is now. Without a data plane that serves nobody can ask them, and that is what is told. */
static void
collect_mtas(struct control *c, struct cert_check *k)
{
	const bool serves = control_dataplane_serves(c);

	k->mta = calloc(MAX(c->config->n_backends, 1u), sizeof(k->mta[0]));
	BUG_ON(k->mta == NULL);
	for (uint32_t i = 0; i < c->config->n_backends; i++) {
		struct mta *m = &k->mta[k->n_mtas];

		if (!is_mta(c, i))
			continue;
		m->id = c->config->backend[i].id;
		m->spliced = is_spliced_to(c, i);
		snprintf(m->name, sizeof(m->name), "%s", c->config->backend[i].name);
		if (!serves) {
			m->over = m->unasked = true;
			m->result = LINK_KEYS_UNREACHABLE;
			snprintf(m->words, sizeof(m->words), "the data plane does not serve, and only it can reach it");
		}
		k->n_mtas++;
	}
}

void
cert_check(struct control *c, struct api_request *r, const json_t *args)
{
	const struct timeval at_once = { 0 };
	const struct cert_area *a = certs_read(c);
	struct cert_check *k = c->cert_check;

	(void)args;
	if (a == NULL) {
		api_error(r, "unavailable", "there is no segment, or the data plane is just writing it");
		return;
	}
	if (k != NULL && k->n_requests == CHECK_REQUESTS_MAX) {
		api_error(r, "unavailable", "%u others wait for the same already", CHECK_REQUESTS_MAX);
		return;
	}
	if (k == NULL) {
		k = calloc(1, sizeof(*k));
		BUG_ON(k == NULL);
		c->cert_check = k;
		k->until_us = control_mono_us() + CHECK_WAIT_US;
		collect_names(c, a, k);
		collect_mtas(c, k);
		k->timer = evtimer_new(c->base, look, c);
		BUG_ON(k->timer == NULL);
		event_add(k->timer, &at_once);
	}
	k->request[k->n_requests++] = r;
}
