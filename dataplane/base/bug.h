/*
 * bug.h - checks for our own mistakes.
 *
 * Keeps:  BUG_ON() is compiled in always, HOT_BUG_ON() (for the path of each segment) only where GREYLINE_DEBUG is set.
 *         A peer's mistake or the outside's failure never ends here: those are data.
 */
#ifndef GREYLINE_BASE_BUG_H
#define GREYLINE_BASE_BUG_H

#include <stdio.h>
#include <stdlib.h>

#define BUG_ON(cond)                                                                                                   \
	do {                                                                                                           \
		if (__builtin_expect(!!(cond), 0)) {                                                                   \
			fprintf(stderr, "greyline: BUG at %s:%d: %s\n", __FILE__, __LINE__, #cond);                    \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

#ifdef GREYLINE_DEBUG
#define HOT_BUG_ON(cond) BUG_ON(cond)
#else
#define HOT_BUG_ON(cond) ((void)sizeof(cond))
#endif

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#ifndef MIN
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#endif
#ifndef MAX
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* The struct that embeds member at ptr. */
#define container_of_(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
