/*
 * memory_list.h - what pools and tables take when all of them are full, a line each, for the limits printed at start.
 *
 * Flow:   whoever made a pool adds its line (tcp_memory(), net_memory(), ...) -> the main thread prints them and their sum
 * Keeps:  a line is taken from the pool as it was made, not computed a second time from the configuration.
 */
#ifndef GREYLINE_BASE_MEMORY_LIST_H
#define GREYLINE_BASE_MEMORY_LIST_H

#include <stdint.h>

#include "dataplane/base/bug.h"

#define MEMORY_LINES_MAX 24

struct memory_line {
	const char *name; /* of what it holds, plural; lives for ever */
	uint64_t n;       /* at most */
	uint64_t octets;  /* of one */
};

struct memory_list {
	struct memory_line line[MEMORY_LINES_MAX];
	uint32_t n_lines;
};

/* Room for n of octets each. Nothing is added where there is none. */
static inline void
memory_list_add(struct memory_list *l, const char *name, uint64_t n, uint64_t octets)
{
	BUG_ON(l->n_lines == MEMORY_LINES_MAX);
	if (n > 0)
		l->line[l->n_lines++] = (struct memory_line){ .name = name, .n = n, .octets = octets };
}

static inline uint64_t
memory_list_octets(const struct memory_list *l)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < l->n_lines; i++)
		sum += l->line[i].n * l->line[i].octets;
	return sum;
}

#endif
