/*
 * config_list.c - lists of networks, names and addresses, from the file itself or from list files.
 *
 * Flow:   config.c -> config_list_parse() -> networks or texts -> compile.c
 * Pure:   octets in, entries and errors out.
 * Keeps:  an entry is taken exactly or refused with file and line, never widened (PITFALLS 45).
 */
#include "control/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

static void *
grow(void *v, uint32_t *room, size_t size)
{
	uint32_t more = *room == 0 ? 16 : *room * 2;
	void *p = realloc(v, more * size);

	BUG_ON(p == NULL);
	*room = more;
	return p;
}

void
config_texts_add(struct config_texts *t, const char *text, size_t octets, uint32_t line, uint16_t source)
{
	if (t->n == t->room)
		t->v = grow(t->v, &t->room, sizeof(*t->v));
	t->v[t->n] = (struct config_text){ .text = strndup(text, octets), .line = line, .source = source };
	BUG_ON(t->v[t->n].text == NULL);
	t->n++;
}

void
config_texts_free(struct config_texts *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		free(t->v[i].text);
	free(t->v);
	*t = (struct config_texts){ 0 };
}

/* A domain of letters, digits, hyphens and underscores in labels of 63 octets at most. */
static const char *
domain_wrong(const char *name)
{
	size_t label = 0, digits = 0, n = strlen(name);

	if (n > 253)
		return "is longer than a domain name can be";
	for (const char *p = name; *p != '\0'; p++) {
		if ((unsigned char)*p >= 0x80)
			return "has letters beyond ASCII; right is its A-label form (xn--...)";
		if (*p == '.') {
			if (label == 0)
				return "has an empty label";
			label = digits = 0;
		} else if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_') {
			return "has a character a domain name cannot have";
		} else if (++label > 63) {
			return "has a label of more than 63 octets";
		} else {
			digits += isdigit((unsigned char)*p) != 0;
		}
	}
	if (n == 0 || label == 0)
		return "is not a domain name";
	/* PITFALLS 45: "192.0" is half an address, never a name: no top-level domain is a number (RFC 3696 section 2) */
	return digits == label ? "is neither a domain name nor a network" : NULL;
}

const char *
config_host_wrong(const char *text)
{
	if (strcmp(text, "*") == 0)
		return NULL;
	return domain_wrong(text[0] == '.' ? text + 1 : text);
}

const char *
config_address_wrong(const char *text)
{
	const char *at = strrchr(text, '@');

	if (strlen(text) > 320)
		return "is longer than a mail address can be";
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p <= 0x20 || *p == 0x7f)
			return "has a space or a control character";
	if (at == NULL)
		return config_host_wrong(text);
	if (at == text && at[1] == '\0')
		return "is not a mail address";
	return at[1] == '\0' ? NULL : domain_wrong(at + 1);
}

static void
network_add(const char *text, const char *file, uint32_t line, uint16_t source, struct config_networks *out,
	struct config_errors *errors)
{
	struct prefix_entry e;
	char right[IP_ADDR_TEXT_MAX_OCTETS + 8];
	int error = prefix_parse(text, &e);

	if (error == -EDOM) {
		config_error(errors, "%s:%u: %.80s has host bits set; right is %s", file, line, text,
			prefix_format(&e, right));
		return;
	}
	if (error != 0) {
		config_error(errors,
			"%s:%u: %.80s is not a network; right is for example 192.0.2.0/24 or 2001:db8::/32", file, line,
			text);
		return;
	}
	if (out->n == CONFIG_LIST_ENTRIES_MAX)
		return;
	if (out->n == out->room)
		out->v = grow(out->v, &out->room, sizeof(*out->v));
	e.value = (uint32_t)source << 24 | MIN(line, 0xffffffu);
	out->v[out->n++] = e;
}

static void
entry_add(enum list_kind kind, const char *text, const char *file, uint32_t line, uint16_t source,
	struct config_networks *networks, struct config_texts *texts, struct config_errors *errors)
{
	const char *wrong;

	if (kind == LIST_OF_NETWORKS) {
		network_add(text, file, line, source, networks, errors);
		return;
	}
	wrong = kind == LIST_OF_HOSTS ? config_host_wrong(text) : config_address_wrong(text);
	if (wrong != NULL)
		config_error(errors, "%s:%u: \"%.80s\" %s", file, line, text, wrong);
	else if (texts->n < CONFIG_LIST_ENTRIES_MAX)
		config_texts_add(texts, text, strlen(text), line, source);
}

void
config_list_parse(enum list_kind kind, const char *file, uint16_t source, const char *text, size_t octets,
	struct config_networks *networks, struct config_texts *texts, struct config_errors *errors)
{
	const char *end = text + octets;
	uint32_t line = 0;

	while (text < end) {
		const char *eol = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((eol != NULL ? eol : end) - text);
		const char *comment = memchr(text, '#', n);
		size_t len = comment != NULL ? (size_t)(comment - text) : n;
		const char *at = text;
		char entry[512];

		line++;
		text = eol != NULL ? eol + 1 : end;
		while (len > 0 && isspace((unsigned char)*at)) {
			at++;
			len--;
		}
		while (len > 0 && isspace((unsigned char)at[len - 1]))
			len--;
		if (len == 0)
			continue;
		if (len >= sizeof(entry) || memchr(at, '\0', len) != NULL) {
			config_error(errors, "%s:%u: not an entry: %s", file, line,
				len >= sizeof(entry) ? "too long" : "a NUL octet");
			continue;
		}
		memcpy(entry, at, len);
		entry[len] = '\0';
		entry_add(kind, entry, file, line, source, networks, texts, errors);
	}
}

int
config_server_parse(const char *text, uint16_t default_port, struct ip_addr *addr, uint16_t *port)
{
	char host[IP_ADDR_TEXT_MAX_OCTETS];
	const char *colon = NULL, *end;
	size_t n = strlen(text);
	long p = default_port;

	if (text[0] == '[') {
		end = strchr(text, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return -EINVAL;
		colon = end[1] == ':' ? end + 1 : NULL;
		n = (size_t)(end - text - 1);
		text++;
	} else if ((colon = strchr(text, ':')) != NULL && strchr(colon + 1, ':') != NULL) {
		colon = NULL; /* an IPv6 address without port */
	} else if (colon != NULL) {
		n = (size_t)(colon - text);
	}
	if (colon != NULL) {
		char *rest;

		if (!isdigit((unsigned char)colon[1]))
			return -EINVAL;
		p = strtol(colon + 1, &rest, 10);
		if (*rest != '\0' || p < 1 || p > 65535)
			return -EINVAL;
	}
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	if (ip_addr_parse(host, addr) != 0)
		return -EINVAL;
	*port = (uint16_t)p;
	return 0;
}
