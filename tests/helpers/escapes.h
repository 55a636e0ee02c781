/*
 * escapes.h - the escapes of the dialogue language (tests/dialogues): \r \n \t \0 \\ \xHH, and \{N:c} for N times c.
 */
#ifndef GREYLINE_TESTS_HELPERS_ESCAPES_H
#define GREYLINE_TESTS_HELPERS_ESCAPES_H

#include <stddef.h>

/* The octets that text stands for, in out; how many, or SIZE_MAX where they do not fit in room. */
size_t escapes_decode(const char *text, void *out, size_t room);

#endif
