/*
 * smtp_auth.c - see smtp_auth.h.
 *
 * Pure:   octets.
 */
#include "dataplane/smtp/smtp_auth.h"

#include <string.h>
#include <strings.h>

#include "dataplane/base/bug.h"

static const char *const names[] = {
#define X(word, name) name,
	SMTP_AUTH_MECHANISMS(X)
#undef X
};

uint32_t
smtp_auth_bit(const char *name, uint32_t len_octets)
{
	for (uint32_t i = 0; i < ARRAY_LEN(names); i++)
		if (strlen(names[i]) == len_octets && strncasecmp(names[i], name, len_octets) == 0)
			return UINT32_C(1) << i;
	return 0;
}

char *
smtp_auth_names(uint32_t set, char out[SMTP_AUTH_NAMES_MAX_OCTETS])
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < ARRAY_LEN(names); i++) {
		const uint32_t n = (uint32_t)strlen(names[i]);

		if ((set >> i & 1) == 0)
			continue;
		BUG_ON(at + n + 2 > SMTP_AUTH_NAMES_MAX_OCTETS);
		out[at++] = ' ';
		memcpy(out + at, names[i], n);
		at += n;
	}
	out[at] = '\0';
	return out;
}
