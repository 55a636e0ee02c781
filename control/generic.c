/*
 * generic.c - names made from the address they belong to.
 *
 * Pure:   text.
 */
#include "control/generic.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dataplane/base/bug.h"

static const char *const words[] = {
#define GENERIC_WORD(word) word,
#include "control/generic.def"
#undef GENERIC_WORD
};

#define NUMBERS_MAX 32

/* The decimal numbers of a name in their order; leading zeros are nothing. */
static unsigned
numbers_of(const char *name, unsigned out[NUMBERS_MAX])
{
	unsigned n = 0;

	while (*name != '\0' && n < NUMBERS_MAX) {
		char *end;

		if (!isdigit((unsigned char)*name)) {
			name++;
			continue;
		}
		out[n] = (unsigned)MIN(strtoul(name, &end, 10), 100000ul);
		n++;
		name = end;
	}
	return n;
}

static bool
has_v4(const char *name, const uint8_t o[4])
{
	unsigned number[NUMBERS_MAX], n = numbers_of(name, number);
	char hex[9];

	for (unsigned i = 0; i + 4 <= n; i++) {
		if (number[i] == o[0] && number[i + 1] == o[1] && number[i + 2] == o[2] && number[i + 3] == o[3])
			return true;
		if (number[i] == o[3] && number[i + 1] == o[2] && number[i + 2] == o[1] && number[i + 3] == o[0])
			return true;
	}
	snprintf(hex, sizeof(hex), "%02x%02x%02x%02x", o[0], o[1], o[2], o[3]);
	return strcasestr(name, hex) != NULL;
}

static bool
has_v6(const char *name, const uint8_t o[16])
{
	char digits[256], want[17];
	size_t n = 0;

	for (const char *p = name; *p != '\0' && n < sizeof(digits) - 1; p++)
		if (isxdigit((unsigned char)*p))
			digits[n++] = (char)tolower((unsigned char)*p);
	digits[n] = '\0';
	for (unsigned i = 0; i < 8; i++)
		snprintf(want + 2 * i, 3, "%02x", o[8 + i]);
	return strstr(digits, want) != NULL;
}

bool
ptr_is_generic(const char *name, const struct ip_addr *client)
{
	if (!(ip_addr_is_v4(client) ? has_v4(name, client->octet + 12) : has_v6(name, client->octet)))
		return false;
	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (strcasestr(name, words[i]) != NULL)
			return true;
	return isdigit((unsigned char)name[0]); /* 192-0-2-1.example.net */
}
