/*
 * play_words.c - words, numbers, times, patterns and octets of a scenario's lines.
 */
#include "tests/sim/play.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "tests/helpers/escapes.h"

struct play play;
uint8_t play_octets[PLAY_OCTETS_MAX];

__attribute__((format(printf, 1, 2), noreturn)) void
play_failed(const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "%s:%u (%s): ", play.of->file, play.line, play.of->title);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

/* The next word of *at (lent until overwritten); "" at the end. */
char *
play_word(char **at)
{
	char *w = *at + strspn(*at, " ");

	*at = w + strcspn(w, " ");
	if (**at != '\0')
		*(*at)++ = '\0';
	return w;
}

uint64_t
play_number(const char *text)
{
	char *end;
	const unsigned long long v = strtoull(text, &end, 10);

	if (end == text || *end != '\0')
		play_failed("\"%s\" is no number", text);
	return v;
}

uint64_t
play_time_us(const char *text)
{
	static const struct {
		const char *unit;
		uint64_t us;
	} units[] = { { "ms", 1000 }, { "s", 1000000 }, { "m", 60000000 }, { "h", UINT64_C(3600000000) },
		{ "d", UINT64_C(86400000000) } };
	char *end;
	const unsigned long long v = strtoull(text, &end, 10);

	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (end != text && strcmp(end, units[i].unit) == 0)
			return v * units[i].us;
	play_failed("\"%s\" is no time: right is 10ms, 2s, 4m, 1h, 1d", text);
}

bool
play_on_off(const char *text)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		play_failed("\"%s\" is neither on nor off", text);
	return strcmp(text, "on") == 0;
}

unsigned
play_one_of(const char *text, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (names[i] != NULL && strcmp(text, names[i]) == 0)
			return i;
	play_failed("unknown word \"%s\"", text);
}

/* Whether text is as pattern says: {*} any text, {A..B} a number between. */
bool
play_matches(const char *pattern, const char *text)
{
	for (; *pattern != '\0'; pattern++, text++) {
		long low, high, got;
		int n = 0;
		char *end;

		if (strncmp(pattern, "{*}", 3) == 0) {
			for (;; text++) {
				if (play_matches(pattern + 3, text))
					return true;
				if (*text == '\0')
					return false;
			}
		}
		if (sscanf(pattern, "{%ld..%ld}%n", &low, &high, &n) == 2 && n > 0) {
			got = strtol(text, &end, 10);
			if (end == text || got < low || got > high)
				return false;
			pattern += n - 1;
			text = end - 1;
			continue;
		}
		if (*pattern != *text)
			return false;
	}
	return *text == '\0';
}

size_t
play_unescape(const char *text)
{
	const size_t n = escapes_decode(text, play_octets, PLAY_OCTETS_MAX);

	if (n == SIZE_MAX)
		play_failed("too many octets for the runner");
	return n;
}
