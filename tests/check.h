/*
 * check.h - what every unit test includes: cmocka and checks that print label, got and want.
 */
#ifndef GREYLINE_TESTS_CHECK_H
#define GREYLINE_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/base/bug.h"

#define CHECK_EQ(label, got, want)                                                                                     \
	do {                                                                                                           \
		const long long got_ = (long long)(got), want_ = (long long)(want);                                    \
		if (got_ != want_)                                                                                     \
			fail_msg("%s: got %lld, want %lld", (label), got_, want_);                                     \
	} while (0)

#define CHECK_TRUE(label, cond)                                                                                        \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			fail_msg("%s: not so: %s", (label), #cond);                                                    \
	} while (0)

#define CHECK_STR(label, got, want)                                                                                    \
	do {                                                                                                           \
		const char *got_ = (got), *want_ = (want);                                                             \
		if (strcmp(got_, want_) != 0)                                                                          \
			fail_msg("%s: got \"%s\", want \"%s\"", (label), got_, want_);                                 \
	} while (0)

#define CHECK_OCTETS(label, got, got_len, want, want_len)                                                              \
	do {                                                                                                           \
		const size_t got_len_ = (size_t)(got_len), want_len_ = (size_t)(want_len);                             \
		if (got_len_ != want_len_)                                                                             \
			fail_msg("%s: got %zu octets, want %zu", (label), got_len_, want_len_);                        \
		if (got_len_ > 0 && memcmp((got), (want), got_len_) != 0)                                              \
			fail_msg("%s: octets differ", (label));                                                        \
	} while (0)

#endif
