/*
 * report.c - counts, classes, the most refused networks.
 *
 * Pure:   numbers.
 */
#include "control/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

void
report_init(struct report *r, uint64_t wall_s)
{
	memset(r, 0, sizeof(*r));
	r->version = REPORT_VERSION;
	r->octets = sizeof(*r);
	r->since_wall_s = wall_s;
}

int
report_load(struct report *r, const void *octets, size_t n)
{
	uint32_t head[2];

	if (n != sizeof(*r))
		return -EINVAL;
	memcpy(head, octets, sizeof(head));
	if (head[0] != REPORT_VERSION || head[1] != sizeof(*r))
		return -EINVAL;
	memcpy(r, octets, n);
	return 0;
}

/* Classes: 0 to 7 exactly, then eight for each doubling. */
static unsigned
class_of(uint32_t s)
{
	unsigned octave;

	if (s < 8)
		return s;
	octave = 31u - (unsigned)__builtin_clz(s);
	return MIN((octave - 2) * 8 + (s >> (octave - 3) & 7), REPORT_CLASSES - 1u);
}

/* The largest delay of a class. */
static uint32_t
class_top(unsigned class)
{
	unsigned octave = class / 8 + 2;
	uint64_t low;

	if (class < 8)
		return class;
	low = (uint64_t)(8 + class % 8) << (octave - 3);
	return (uint32_t)MIN(low + (UINT64_C(1) << (octave - 3)) - 1, (uint64_t)UINT32_MAX);
}

void
report_delay(struct report *r, uint32_t waited_s)
{
	r->delay[class_of(waited_s)]++;
	r->passed++;
}

uint32_t
report_percentile(const struct report *r, unsigned percent)
{
	uint64_t all = 0, seen = 0;

	for (unsigned i = 0; i < REPORT_CLASSES; i++)
		all += r->delay[i];
	for (unsigned i = 0; i < REPORT_CLASSES; i++) {
		seen += r->delay[i];
		if (all > 0 && seen * 100 >= all * percent)
			return class_top(i);
	}
	return 0;
}

void
report_refused(struct report *r, const struct ip_addr *network, uint32_t rule)
{
	struct report_network *least = &r->network[0];

	for (unsigned i = 0; i < REPORT_NETWORKS; i++) {
		struct report_network *n = &r->network[i];

		if (n->count > 0 && n->rule == rule && ip_addr_equal(&n->network, network)) {
			n->count++;
			return;
		}
		if (n->count < least->count)
			least = n;
	}
	*least = (struct report_network){ .network = *network, .rule = rule, .count = least->count + 1 };
}

static int
more_first(const void *a, const void *b)
{
	const struct report_network *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

uint32_t
report_top(const struct report *r, struct report_network *out, uint32_t n)
{
	struct report_network all[REPORT_NETWORKS];
	uint32_t have = 0;

	memcpy(all, r->network, sizeof(all));
	qsort(all, REPORT_NETWORKS, sizeof(all[0]), more_first);
	while (have < n && have < REPORT_NETWORKS && all[have].count > 0) {
		out[have] = all[have];
		have++;
	}
	return have;
}
