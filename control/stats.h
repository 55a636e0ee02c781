/*
 * stats.h - counters summed over the workers; Prometheus text over HTTP.
 *
 * Touches: the segment's counters (relaxed reads), evhttp on metrics.listen.
 */
#ifndef GREYLINE_CONTROL_STATS_H
#define GREYLINE_CONTROL_STATS_H

#include <stdint.h>

#include "dataplane/base/counters.h"

struct control;

/* The sum of one counter over every worker and control. */
uint64_t stats_sum(const struct control *c, enum counter which);
/* The sum of a counter by its names; 0 where there is none. */
uint64_t stats_by_name(const struct control *c, const char *group, const char *name);
/* The water marks that some worker has reached, as base/marks.h has them. */
uint32_t stats_marks(const struct control *c);
/* Control's own counts into its slot of the segment. */
void stats_publish(struct control *c);

/* Serves /metrics on "ADDRESS:PORT". 0 or -errno; "" serves nothing. */
int stats_listen(struct control *c, const char *address);
void stats_close(struct control *c);

#endif
