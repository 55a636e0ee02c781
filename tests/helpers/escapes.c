/*
 * escapes.c - see escapes.h.
 */
#include "tests/helpers/escapes.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t
escapes_decode(const char *text, void *out, size_t room)
{
	size_t n = 0;

	while (*text != '\0') {
		unsigned long times = 1;
		char c = *text++;

		if (c == '\\' && *text != '\0') {
			c = *text++;
			if (c == 'r') {
				c = '\r';
			} else if (c == 'n') {
				c = '\n';
			} else if (c == 't') {
				c = '\t';
			} else if (c == '0') {
				c = '\0';
			} else if (c == 'x') {
				const char hex[3] = { text[0], text[1], '\0' };

				c = (char)strtoul(hex, NULL, 16);
				text += 2;
			} else if (c == '{') {
				char *end;

				times = strtoul(text, &end, 10);
				c = end[1];
				text = end + 3;
			}
		}
		if (times > room - n)
			return SIZE_MAX;
		memset((char *)out + n, c, times);
		n += times;
	}
	return n;
}
