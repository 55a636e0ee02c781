/*
 * ehlo.c - keywords of a reply to EHLO.
 *
 * Pure:   a reply in, a set out.
 * Keeps:  a keyword that does not stand alone as RFC 5321 writes it is not there: offering too little loses nothing.
 * Source: RFC 5321 section 4.1.1.1.
 */
#include "dataplane/relay/ehlo.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "dataplane/base/bug.h"
#include "dataplane/smtp/smtp_auth.h"

#define SIZE_DIGITS_MAX 20 /* RFC 1870 section 4 */

struct word {
	const char *ptr;
	uint32_t len;
};

/* name_octets are those of name, in capitals, as nearly everybody writes it. */
static bool
word_is(const struct word *w, const char *name, size_t name_octets)
{
	return w->len == name_octets &&
	       (memcmp(w->ptr, name, name_octets) == 0 || strncasecmp(w->ptr, name, name_octets) == 0);
}

/* Takes the next word of a line; false at its end. */
static bool
word_take(const char **at, const char *end, struct word *out)
{
	const char *p = *at;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	out->ptr = p;
	while (p < end && *p != ' ' && *p != '\t')
		p++;
	out->len = (uint32_t)(p - out->ptr);
	*at = p;
	return out->len > 0;
}

/* A number beyond 64 bits is as good as none: no fixed limit. */
static uint64_t
size_number(const struct word *w)
{
	uint64_t v = 0;

	if (w->len > SIZE_DIGITS_MAX)
		return 0;
	for (uint32_t i = 0; i < w->len; i++) {
		if (w->ptr[i] < '0' || w->ptr[i] > '9')
			return 0;
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(w->ptr[i] - '0'), &v))
			return 0;
	}
	return v;
}

static uint32_t
xclient_attrs(const char *at, const char *end)
{
	static const struct {
		const char *name;
		uint32_t octets, bit;
	} attrs[] = {
#define X(name) { #name, sizeof(#name) - 1, XCLIENT_##name },
		XCLIENT_ATTRS(X)
#undef X
	};
	uint32_t found = 0;
	struct word w;

	while (word_take(&at, end, &w)) {
		for (size_t i = 0; i < ARRAY_LEN(attrs); i++) {
			if (word_is(&w, attrs[i].name, attrs[i].octets))
				found |= attrs[i].bit;
		}
	}
	return found;
}

static void
ehlo_line(const char *at, const char *end, struct ehlo *out)
{
	static const struct {
		const char *name;
		uint32_t octets, ext;
	} keywords[] = {
#define KEYWORD(name) { #name, sizeof(#name) - 1, EXT_##name }
		KEYWORD(PIPELINING),
		KEYWORD(SIZE),
		KEYWORD(8BITMIME),
		KEYWORD(SMTPUTF8),
		KEYWORD(DSN),
		KEYWORD(CHUNKING),
		KEYWORD(BINARYMIME),
		KEYWORD(ENHANCEDSTATUSCODES),
		KEYWORD(STARTTLS),
		KEYWORD(XCLIENT),
		KEYWORD(AUTH),
#undef KEYWORD
	};
	struct word w, arg;
	uint32_t ext = 0;

	if (!word_take(&at, end, &w))
		return;
	for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
		if (word_is(&w, keywords[i].name, keywords[i].octets))
			ext = keywords[i].ext;
	}
	out->ext |= ext;
	if (ext == EXT_SIZE && word_take(&at, end, &arg))
		out->size_octets = size_number(&arg);
	while (ext == EXT_AUTH && word_take(&at, end, &arg))
		out->auth |= smtp_auth_bit(arg.ptr, arg.len);
	if (ext == EXT_XCLIENT)
		out->xclient |= xclient_attrs(at, end);
}

void
ehlo_parse(const struct smtp_reply *r, struct ehlo *out)
{
	const char *at = r->text, *end = r->text + r->len_octets, *nl;
	bool first = true; /* the first line is the greeting */

	*out = (struct ehlo){ 0 };
	for (; at < end; at = nl + 1, first = false) {
		nl = memchr(at, '\n', (size_t)(end - at));
		if (nl == NULL)
			return;
		if (!first && nl - at >= 5)
			ehlo_line(at + 4, nl - 1, out);
	}
}
