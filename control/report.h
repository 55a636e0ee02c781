/*
 * report.h - figures over days for `greylinectl report`: what greylisting cost and what it kept away.
 *
 * Flow:   events.c (log records), control.c (sweep of the table) -> report -> api;  kept in the database as octets
 * Pure:   numbers.
 * Keeps:  a fixed size whatever comes: delays in classes of an eighth of an octave, networks by space-saving (Metwally 2005): a network
 *         that is refused often is never missing, its count may be too high by at most the count of the one it took the place of.
 */
#ifndef GREYLINE_CONTROL_REPORT_H
#define GREYLINE_CONTROL_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/addr.h"

#define REPORT_VERSION  1
#define REPORT_CLASSES  256 /* of delays: up to 2^32 s */
#define REPORT_NETWORKS 256

struct report_network {
	struct ip_addr network;
	uint32_t rule;
	uint32_t reserved;
	uint64_t count;
};

/* As in the database: one machine writes and reads it, a record of another version or size is begun anew. */
struct report {
	uint32_t version, octets;
	uint64_t since_wall_s;
	uint64_t deferred, passed, never_back, lapsed, rejected;
	uint64_t delay[REPORT_CLASSES];
	struct report_network network[REPORT_NETWORKS];
};

void report_init(struct report *r, uint64_t wall_s);
/* Takes octets from the database; false when they are none of ours. */
int report_load(struct report *r, const void *octets, size_t n);
void report_delay(struct report *r, uint32_t waited_s);
/* The delay that share (0 to 100) percent of those who passed did not exceed; 0 when nobody passed. */
uint32_t report_percentile(const struct report *r, unsigned percent);
void report_refused(struct report *r, const struct ip_addr *network, uint32_t rule);
/* The n most refused, most first; how many there are. */
uint32_t report_top(const struct report *r, struct report_network *out, uint32_t n);

#endif
