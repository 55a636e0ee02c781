/*
 * smtp_naive.h - what becomes of a message's octets, worked out the slow and obvious way.
 *
 * Pure:   octets.
 * Keeps:  it shares no code and no structure with smtp_data.c: it looks at the whole message at once.
 */
#ifndef GREYLINE_TESTS_SMTP_NAIVE_H
#define GREYLINE_TESTS_SMTP_NAIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"

#define SMTP_NAIVE_MAX_OCTETS 256

struct smtp_naive {
	uint8_t out[4 * SMTP_NAIVE_MAX_OCTETS];
	uint32_t n_out;
	uint32_t used; /* octets up to and including the end, or all */
	bool ended, broken;
};

struct smtp_naive smtp_naive(const uint8_t *in, uint32_t n, enum conf_bare_lf mode);

#endif
