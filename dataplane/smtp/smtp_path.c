/*
 * smtp_path.c - see smtp_path.h.
 *
 * Pure:   octets. Each parser moves a cursor over the line and answers false where the grammar ends.
 */
#include "dataplane/smtp/smtp_path.h"

#include <assert.h>
#include <string.h>
#include <strings.h>
#include <tmmintrin.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"

struct cursor {
	const char *p, *end;
};

static uint8_t
peek(const struct cursor *c)
{
	return c->p < c->end ? (uint8_t)*c->p : 0; /* a line holds no NUL */
}

static bool
eat(struct cursor *c, char what)
{
	if (c->p == c->end || *c->p != what)
		return false;
	c->p++;
	return true;
}

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool
is_alnum(uint8_t c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

#define LOCAL  1 /* atext of RFC 5322 section 3.2.3, UTF-8 beyond ASCII (RFC 6531 section 3.3), and the dot */
#define DOMAIN 2

/* What an octet may stand in: every octet of every address is looked up here. */
static const uint8_t octet_class[256] = {
	['0' ... '9'] = LOCAL | DOMAIN,
	['A' ... 'Z'] = LOCAL | DOMAIN,
	['a' ... 'z'] = LOCAL | DOMAIN,
	[0x80 ... 0xff] = LOCAL | DOMAIN,
	['-'] = LOCAL | DOMAIN,
	['_'] = LOCAL | DOMAIN,
	['!'] = LOCAL,
	['#'] = LOCAL,
	['$'] = LOCAL,
	['%'] = LOCAL,
	['&'] = LOCAL,
	['\''] = LOCAL,
	['*'] = LOCAL,
	['+'] = LOCAL,
	['/'] = LOCAL,
	['='] = LOCAL,
	['?'] = LOCAL,
	['^'] = LOCAL,
	['`'] = LOCAL,
	['{'] = LOCAL,
	['|'] = LOCAL,
	['}'] = LOCAL,
	['~'] = LOCAL,
	['.'] = LOCAL,
};

/* Moves over all octets of that class. */
static void
skip_class(struct cursor *c, uint8_t class)
{
	const char *p = c->p;

	while (p < c->end && (octet_class[(uint8_t)*p] & class) != 0)
		p++;
	c->p = p;
}

/* "Quoted-string" of section 4.1.2, its quotes included. */
static bool
parse_quoted(struct cursor *c)
{
	if (!eat(c, '"'))
		return false;
	while (c->p < c->end) {
		const uint8_t o = (uint8_t)*c->p++;

		if (o == '"')
			return true;
		if (o == '\\') {
			if (c->p == c->end || (uint8_t)*c->p < 0x20 || (uint8_t)*c->p > 0x7e)
				return false;
			c->p++;
		} else if (o < 0x20 || o == 0x7f) {
			return false;
		}
	}
	return false;
}

static bool
parse_local(struct cursor *c)
{
	const char *start = c->p;

	if (peek(c) == '"')
		return parse_quoted(c);
	skip_class(c, LOCAL);
	return c->p > start;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" or "[tag:content]" of section 4.1.3. */
static bool
parse_literal(struct cursor *c)
{
	char text[IP_ADDR_TEXT_MAX_OCTETS + 8];
	const char *start;
	struct ip_addr addr;
	uint32_t n;

	if (!eat(c, '['))
		return false;
	start = c->p;
	while (peek(c) > 0x20 && peek(c) < 0x7f && strchr("[]\\", peek(c)) == NULL)
		c->p++;
	n = (uint32_t)(c->p - start);
	if (!eat(c, ']') || n == 0)
		return false;
	if (is_digit((uint8_t)*start) || (n > 5 && strncasecmp(start, "IPv6:", 5) == 0)) {
		const uint32_t skip = is_digit((uint8_t)*start) ? 0 : 5;

		if (n - skip >= sizeof(text))
			return false;
		memcpy(text, start + skip, n - skip);
		text[n - skip] = '\0';
		/* an IPv4 address without its tag, an IPv6 one with it */
		return ip_addr_parse(text, &addr) == 0 && (strchr(text, ':') == NULL) == (skip == 0);
	}
	return memchr(start + 1, ':', n - 1) != NULL && start[n - 1] != ':';
}

/* "Domain" of section 4.1.2: labels of 1 to 63 octets between dots. */
static bool
parse_domain(struct cursor *c)
{
	for (;;) {
		const char *label = c->p;

		skip_class(c, DOMAIN);
		if (c->p == label || c->p - label > 63)
			return false;
		if (!eat(c, '.'))
			return true;
	}
}

/* "@a,@b:" of section 4.1.2: accepted and ignored, as section 3.3 wants it. */
static bool
parse_source_route(struct cursor *c)
{
	do {
		if (!eat(c, '@') || !parse_domain(c))
			return false;
	} while (eat(c, ','));
	return eat(c, ':');
}

static bool
is_utf8(const char *text, uint32_t n)
{
	const uint8_t *p = (const uint8_t *)text, *end = p + n;

	while (p < end) {
		uint32_t more, value, least;

		if (*p < 0x80) {
			p++;
			continue;
		}
		if (*p >= 0xc2 && *p <= 0xdf)
			more = 1, value = *p & 0x1f, least = 0x80;
		else if (*p >= 0xe0 && *p <= 0xef)
			more = 2, value = *p & 0x0f, least = 0x800;
		else if (*p >= 0xf0 && *p <= 0xf4)
			more = 3, value = *p & 0x07, least = 0x10000;
		else
			return false;
		if ((uint32_t)(end - p) <= more)
			return false;
		p++;
		for (; more > 0; more--, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
			value = value << 6 | (*p & 0x3f);
		}
		if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
			return false;
	}
	return true;
}

static enum smtp_path_result
path_take(const char *start, const char *domain, const char *end, struct smtp_path *out)
{
	const uint32_t n = (uint32_t)(end - start);
	bool has_8bit;

	if (n > SMTP_PATH_MAX_OCTETS || (domain != NULL && end - domain > SMTP_DOMAIN_MAX_OCTETS))
		return SMTP_PATH_TOO_LONG;
	has_8bit = (text_kinds(start, n) & TEXT_8BIT) != 0;
	if (has_8bit && !is_utf8(start, n))
		return SMTP_PATH_NOT_UTF8;
	out->len_octets = (uint16_t)n;
	out->has_8bit = has_8bit;
	if (n > 0)
		memcpy(out->text, start, n);
	out->text[n] = '\0';
	return SMTP_PATH_OK;
}

/* --- nearly every path: <local@domain>, short, of ASCII octets that need no quotes --- */

/*
 * The classes once more, for sixteen octets at a time: an octet is of a class where the bit of its upper four bits (2 to 7; above there is
 * none) is set in the row of its lower four. After the way of D. Lemire and G. Langdale, "Parsing Gigabytes of JSON per Second" (2019).
 */
#define UPPER(n) (1u << ((n)-2))
#define LETTERS  (UPPER(4) | UPPER(5) | UPPER(6) | UPPER(7))
#define SMALL    (UPPER(6) | UPPER(7))
#define CAPITALS (UPPER(4) | UPPER(5))

static const uint8_t local_rows[16] __attribute__((aligned(16))) = {
	/* 0 */ UPPER(3) | UPPER(5) | SMALL,               /* 0 P ` p */
	/* 1 */ UPPER(2) | UPPER(3) | LETTERS,             /* ! 1 A Q a q */
	/* 2 */ UPPER(3) | LETTERS,                        /* 2 */
	/* 3 */ UPPER(2) | UPPER(3) | LETTERS,             /* # */
	/* 4 */ UPPER(2) | UPPER(3) | LETTERS,             /* $ */
	/* 5 */ UPPER(2) | UPPER(3) | LETTERS,             /* % */
	/* 6 */ UPPER(2) | UPPER(3) | LETTERS,             /* & */
	/* 7 */ UPPER(2) | UPPER(3) | LETTERS,             /* ' */
	/* 8 */ UPPER(3) | LETTERS,                        /* 8 */
	/* 9 */ UPPER(3) | LETTERS,                        /* 9 */
	/* a */ UPPER(2) | LETTERS,                        /* * J Z j z */
	/* b */ UPPER(2) | UPPER(4) | SMALL,               /* + K k { */
	/* c */ UPPER(4) | SMALL,                          /* L l | */
	/* d */ UPPER(2) | UPPER(3) | UPPER(4) | SMALL,    /* - = M m } */
	/* e */ UPPER(2) | CAPITALS | SMALL,               /* . N ^ n ~ */
	/* f */ UPPER(2) | UPPER(3) | CAPITALS | UPPER(6), /* / ? O _ o */
};
static const uint8_t domain_rows[16] __attribute__((aligned(16))) = {
	/* 0 */ UPPER(3) | UPPER(5) | UPPER(7), [1 ... 9] = UPPER(3) | LETTERS,
	/* a */ LETTERS,
	/* b */ UPPER(4) | UPPER(6),
	/* c */ UPPER(4) | UPPER(6),
	/* d */ UPPER(2) | UPPER(4) | UPPER(6), /* - */
	/* e */ UPPER(4) | UPPER(6),
	/* f */ CAPITALS | UPPER(6), /* _ */
};
static const uint8_t upper_bits[16] __attribute__((aligned(
	16))) = { [2] = UPPER(2), [3] = UPPER(3), [4] = UPPER(4), [5] = UPPER(5), [6] = UPPER(6), [7] = UPPER(7) };

/* A bit for each of the first 64 octets. */
struct path_bits {
	uint64_t local, domain, dot;
};

static inline struct path_bits
path_bits(const char *text, uint32_t n)
{
	const __m128i local = _mm_load_si128((const __m128i *)(const void *)local_rows),
		      domain = _mm_load_si128((const __m128i *)(const void *)domain_rows),
		      upper = _mm_load_si128((const __m128i *)(const void *)upper_bits), four = _mm_set1_epi8(0x0f),
		      zero = _mm_setzero_si128();
	struct path_bits b = { 0 };

	for (uint32_t at = 0; at < n && at < 64; at += 16) {
		const __m128i x = text_load_16(text + at, n - at), low = _mm_and_si128(x, four),
			      bit = _mm_shuffle_epi8(upper, _mm_and_si128(_mm_srli_epi16(x, 4), four));
		const __m128i no_local = _mm_cmpeq_epi8(_mm_and_si128(_mm_shuffle_epi8(local, low), bit), zero),
			      no_domain = _mm_cmpeq_epi8(_mm_and_si128(_mm_shuffle_epi8(domain, low), bit), zero);

		b.local |= (uint64_t)(~_mm_movemask_epi8(no_local) & 0xffff) << at;
		b.domain |= (uint64_t)(~_mm_movemask_epi8(no_domain) & 0xffff) << at;
		b.dot |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_set1_epi8('.'))) << at;
	}
	return b;
}

static inline void
copy_short(char *out, const char *from, uint32_t n)
{
	uint32_t at = 0;

	for (; n - at >= 16; at += 16)
		_mm_storeu_si128(
			(__m128i *)(void *)(out + at), _mm_loadu_si128((const __m128i *)(const void *)(from + at)));
	if (at < n)
		_mm_storeu_si128((__m128i *)(void *)(out + at), text_load_16(from + at, n - at));
}

static_assert(sizeof(((struct smtp_path *)0)->text) >= 64 + 16, "room for whole sixteens of a short path");

/* False: something of it is not so, and the grammar has to be asked. */
static inline bool
short_path(struct smtp_str text, struct smtp_path *out, struct smtp_str *rest)
{
	struct path_bits b;
	uint32_t at, end;
	uint64_t octets, dots;

	if (text.len_octets < 5 || text.ptr[0] != '<')
		return false;
	b = path_bits(text.ptr + 1, text.len_octets - 1);
	at = ~b.local != 0 ? (uint32_t)__builtin_ctzll(~b.local) : 63; /* where the local part ends */
	if (at == 0 || at > 61 || at + 2 >= text.len_octets || text.ptr[1 + at] != '@')
		return false;
	octets = (b.domain | b.dot) >> (at + 1);
	end = (uint32_t)__builtin_ctzll(~octets); /* of the domain, from its beginning on; zeros came in from above */
	dots = (b.dot >> (at + 1)) & ((UINT64_C(1) << end) - 1);
	if (end == 0 || (dots & 1) != 0 || (dots & dots >> 1) != 0 || (dots >> (end - 1) & 1) != 0)
		return false;
	end += at + 1;
	if (end + 1 >= text.len_octets || text.ptr[1 + end] != '>' ||
		(end + 2 < text.len_octets && text.ptr[end + 2] != ' ' && text.ptr[end + 2] != '\t'))
		return false;
	copy_short(out->text, text.ptr + 1, end);
	out->text[end] = '\0';
	out->len_octets = (uint16_t)end;
	out->has_8bit = false;
	*rest = (struct smtp_str){ text.ptr + end + 2, text.len_octets - end - 2 };
	return true;
}

enum smtp_path_result
smtp_path_parse(struct smtp_str text, struct smtp_path *out, struct smtp_str *rest)
{
	struct cursor c = { text.ptr, text.ptr + text.len_octets };
	const char *start, *domain = NULL, *end;
	enum smtp_path_result result;
	bool brackets, route;

	if (short_path(text, out, rest))
		return SMTP_PATH_OK;
	while (peek(&c) == ' ' || peek(&c) == '\t')
		c.p++;
	brackets = eat(&c, '<');
	route = brackets && peek(&c) == '@';
	if (route && !parse_source_route(&c))
		return SMTP_PATH_SYNTAX;
	start = c.p;
	if (!brackets || route || peek(&c) != '>') {
		if (!parse_local(&c))
			return SMTP_PATH_SYNTAX;
		if (eat(&c, '@')) {
			domain = c.p;
			if (peek(&c) == '[' ? !parse_literal(&c) : !parse_domain(&c))
				return SMTP_PATH_SYNTAX;
		}
	}
	end = c.p;
	if (brackets && !eat(&c, '>'))
		return SMTP_PATH_SYNTAX;
	if (c.p < c.end && *c.p != ' ' && *c.p != '\t')
		return SMTP_PATH_SYNTAX;
	result = path_take(start, domain, end, out);
	if (result != SMTP_PATH_OK)
		return result;
	if (domain == NULL && out->len_octets > 0 && !smtp_path_is_postmaster(out))
		return SMTP_PATH_SYNTAX;
	*rest = (struct smtp_str){ c.p, (uint32_t)(c.end - c.p) };
	return SMTP_PATH_OK;
}

bool
smtp_path_is_postmaster(const struct smtp_path *path)
{
	return smtp_str_is((struct smtp_str){ path->text, path->len_octets }, "postmaster");
}

int
smtp_param_next(struct smtp_str *text, struct smtp_param *out)
{
	struct cursor c = { text->ptr, text->ptr + text->len_octets };
	const char *start;

	while (peek(&c) == ' ' || peek(&c) == '\t')
		c.p++;
	if (c.p == c.end) {
		text->len_octets = 0;
		return 0;
	}
	start = c.p; /* esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-") */
	while (is_alnum(peek(&c)) || (peek(&c) == '-' && c.p > start))
		c.p++;
	out->name = (struct smtp_str){ start, (uint32_t)(c.p - start) };
	out->value = (struct smtp_str){ NULL, 0 };
	if (c.p == start)
		return -1;
	if (eat(&c, '=')) { /* esmtp-value: any octet but control, space and "=" (RFC 6531 section 3.3 adds UTF-8) */
		start = c.p;
		while (peek(&c) > 0x20 && peek(&c) != '=')
			c.p++;
		out->value = (struct smtp_str){ start, (uint32_t)(c.p - start) };
		if (c.p == start)
			return -1;
	}
	if (c.p < c.end && *c.p != ' ' && *c.p != '\t')
		return -1;
	*text = (struct smtp_str){ c.p, (uint32_t)(c.end - c.p) };
	return 1;
}

static char
to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool
smtp_str_is(struct smtp_str a, const char *b)
{
	uint32_t i = 0;

	/* the first octet settles most: no call, and no length taken first */
	while (i < a.len_octets && b[i] != '\0' && to_lower(a.ptr[i]) == to_lower(b[i]))
		i++;
	return i == a.len_octets && b[i] == '\0';
}

bool
smtp_str_number(struct smtp_str text, uint64_t *out)
{
	uint64_t value = 0;

	if (text.len_octets == 0 || text.len_octets > 20)
		return false;
	for (uint32_t i = 0; i < text.len_octets; i++) {
		const uint8_t c = (uint8_t)text.ptr[i];

		if (!is_digit(c) || __builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(c - '0'), &value))
			return false;
	}
	*out = value;
	return true;
}

static bool
is_hex_upper(uint8_t c)
{
	return is_digit(c) || (c >= 'A' && c <= 'F');
}

bool
smtp_str_is_xtext(struct smtp_str text)
{
	for (uint32_t i = 0; i < text.len_octets; i++) {
		const uint8_t c = (uint8_t)text.ptr[i];

		if (c < 0x21 || c > 0x7e || c == '=')
			return false;
		if (c != '+')
			continue;
		if (text.len_octets - i < 3 || !is_hex_upper((uint8_t)text.ptr[i + 1]) ||
			!is_hex_upper((uint8_t)text.ptr[i + 2]))
			return false;
		i += 2;
	}
	return text.len_octets > 0;
}
