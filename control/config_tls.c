/*
 * config_tls.c - what listeners and backends say about TLS: read and checked.
 *
 * Flow:   see config_tls.h.
 * Touches: the files that tls_ca names; certificates of authorities are public. No private key is ever read here: those are the data
 *         plane's alone.
 * Keeps:  the octets of a CA file go to the data plane inside the snapshot, so that it opens no file for them; that they hold
 *         certificates is seen here by their frame and there by OpenSSL.
 */
#include "control/config_tls.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_KEY   "PRIVATE KEY-----"

void
listener_tls_read(struct member_ctx *m, struct conf_listener *l)
{
	static const char *const words[] = { "off", "may", "require", "implicit" };
	const config_setting_t *s = config_setting_get_member(m->group, "tls");
	const uint8_t def = l->role == ROLE_MX ? LISTENER_TLS_MAY : LISTENER_TLS_OFF;

	if (!member_word(m, "tls", words, ARRAY_LEN(words), def, &l->tls))
		return;
	if (l->role == ROLE_SUBMISSION && l->tls != LISTENER_TLS_OFF)
		reader_error(m->r, member_line_of(s), m->path,
			"tls = \"%s\": a submission listener is spliced, so TLS is the MTA's; right is off",
			words[l->tls]);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 64 hexadecimal digits, colons between octets allowed (as openssl x509 -fingerprint prints them). */
static bool
fingerprint_parse(const char *text, uint8_t out[CONF_FINGERPRINT_OCTETS])
{
	for (unsigned i = 0; i < CONF_FINGERPRINT_OCTETS; i++) {
		int high, low;

		if (i > 0 && *text == ':')
			text++;
		high = hex_digit(text[0]);
		low = high >= 0 ? hex_digit(text[1]) : -1;
		if (low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	return *text == '\0';
}

static bool
read_fingerprints(struct member_ctx *m, struct conf_backend *b)
{
	const config_setting_t *s = config_setting_get_member(m->group, "tls_fingerprints");
	struct config_texts texts = { 0 };
	bool ok = true;

	if (s == NULL)
		return true;
	reader_texts(m->r, s, m->path, &texts);
	for (uint32_t i = 0; i < texts.n; i++) {
		if (b->n_fingerprints == CONF_FINGERPRINTS_MAX) {
			reader_error(m->r, texts.v[i].line, m->path, "tls_fingerprints: more than %d",
				CONF_FINGERPRINTS_MAX);
			ok = false;
			break;
		}
		if (!fingerprint_parse(texts.v[i].text, b->fingerprint[b->n_fingerprints])) {
			reader_error(m->r, texts.v[i].line, m->path,
				"tls_fingerprints: \"%.100s\" is not a SHA-256; right are 64 hexadecimal digits",
				texts.v[i].text);
			ok = false;
			continue;
		}
		b->n_fingerprints++;
	}
	config_texts_free(&texts);
	return ok;
}

/* Appends the file to config->ca, or finds the same octets there already: pools often share one CA. */
static bool
read_ca(struct member_ctx *m, struct conf_backend *b)
{
	const config_setting_t *s = config_setting_get_member(m->group, "tls_ca");
	struct config *c = m->r->config;
	char name[CONF_PATH_OCTETS], *text;
	const char *at;
	size_t octets;
	uint32_t errors = m->r->errors->n;

	if (!member_text(m, "tls_ca", name, sizeof(name), false))
		return false;
	if (name[0] == '\0')
		return true;
	text = reader_file(m->r, member_line_of(s), m->path, name, CONF_CA_MAX_OCTETS, &octets);
	if (text == NULL)
		return m->r->errors->n == errors;
	if (strlen(text) != octets || strstr(text, PEM_BEGIN) == NULL || strstr(text, PEM_KEY) != NULL) {
		reader_error(m->r, member_line_of(s), m->path, "tls_ca = \"%.200s\" %s", name,
			strstr(text, PEM_KEY) != NULL ? "holds a private key: it belongs neither there nor to this user"
						      : "holds no certificate in PEM (" PEM_BEGIN ")");
		free(text);
		return false;
	}
	b->ca_octets = (uint32_t)octets;
	at = c->ca_octets > 0 ? memmem(c->ca, c->ca_octets, text, octets) : NULL;
	if (at != NULL) {
		b->ca_offset = (uint32_t)(at - c->ca);
	} else if (c->ca_octets + octets > CONF_CA_MAX_OCTETS) {
		reader_error(m->r, member_line_of(s), m->path,
			"tls_ca: the files of all backends hold more than %u octets", CONF_CA_MAX_OCTETS);
	} else {
		c->ca = realloc(c->ca, c->ca_octets + octets);
		BUG_ON(c->ca == NULL);
		memcpy(c->ca + c->ca_octets, text, octets);
		b->ca_offset = c->ca_octets;
		c->ca_octets += (uint32_t)octets;
	}
	free(text);
	return m->r->errors->n == errors;
}

bool
backend_tls_read(struct member_ctx *m, struct conf_backend *b)
{
	static const char *const words[] = { "never", "may", "require" };
	const char *wrong;
	bool ok = member_word(m, "tls", words, ARRAY_LEN(words), BACKEND_TLS_NEVER, &b->tls);

	ok = member_text(m, "tls_name", b->tls_name, sizeof(b->tls_name), false) && ok;
	ok = read_fingerprints(m, b) && ok;
	ok = read_ca(m, b) && ok;
	if (!ok)
		return false;
	wrong = b->tls_name[0] != '\0' ? config_host_wrong(b->tls_name) : NULL;
	if (wrong == NULL && (b->tls_name[0] == '*' || b->tls_name[0] == '.'))
		wrong = "is a pattern; right is the name itself";
	if (wrong != NULL) {
		reader_error(m->r, member_line_of(config_setting_get_member(m->group, "tls_name")), m->path,
			"tls_name = \"%.100s\" %s", b->tls_name, wrong);
		return false;
	}
	if (b->ca_octets > 0 && b->tls_name[0] == '\0') {
		reader_error(m->r, member_line_of(config_setting_get_member(m->group, "tls_ca")), m->path,
			"tls_ca needs tls_name: any certificate of these authorities would be taken without");
		return false;
	}
	if (b->tls == BACKEND_TLS_NEVER &&
		b->ca_octets >
			0) { /* fingerprints are of use without: to cert check, where clients are spliced to it */
		reader_error(m->r, member_line_of(m->group), m->path,
			"tls_ca means nothing without tls = \"require\" (or \"may\")");
		return false;
	}
	return true;
}

bool
backend_tls_equal(const struct config *c, const struct conf_backend *a, const struct conf_backend *b)
{
	return a->tls == b->tls && strcasecmp(a->tls_name, b->tls_name) == 0 &&
	       a->n_fingerprints == b->n_fingerprints &&
	       memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint)) == 0 && a->ca_octets == b->ca_octets &&
	       (a->ca_octets == 0 || memcmp(c->ca + a->ca_offset, c->ca + b->ca_offset, a->ca_octets) == 0);
}
