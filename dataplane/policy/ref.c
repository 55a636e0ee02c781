/*
 * ref.c - references in replies and log: 40 bits as 8 characters.
 *
 * Pure:   octets.
 * Source: D. Crockford, "Base 32": no I, L, O, U; reading takes either case, I and L as 1, O as 0, and hyphens anywhere.
 */
#include <errno.h>
#include <string.h>

#include "dataplane/policy/policy.h"

#define REF_CHARS 8

static const char ref_alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

char *
policy_ref_format(uint64_t ref, char out[9])
{
	for (int i = REF_CHARS - 1; i >= 0; i--) {
		out[i] = ref_alphabet[ref & 31];
		ref >>= 5;
	}
	out[REF_CHARS] = '\0';
	return out;
}

static int
ref_digit(char c)
{
	const char *at;

	if (c >= 'a' && c <= 'z')
		c = (char)(c - 'a' + 'A');
	if (c == 'I' || c == 'L')
		c = '1';
	if (c == 'O')
		c = '0';
	at = c != '\0' ? strchr(ref_alphabet, c) : NULL;
	return at != NULL ? (int)(at - ref_alphabet) : -1;
}

int
policy_ref_parse(const char *text, uint64_t *ref)
{
	uint64_t value = 0;
	unsigned n = 0;

	for (; *text != '\0'; text++) {
		int digit;

		if (*text == '-')
			continue;
		digit = ref_digit(*text);
		if (digit < 0 || n == REF_CHARS)
			return -EINVAL;
		value = value << 5 | (unsigned)digit;
		n++;
	}
	if (n != REF_CHARS)
		return -EINVAL;
	*ref = value;
	return 0;
}
