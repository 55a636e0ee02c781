/*
 * segment.h - the shared memory of the two daemons.
 *
 * Flow:   control creates (temporary name, posix_fallocate, header last, rename); the data plane attaches.
 * Touches: one file in /dev/shm or hugetlbfs, OFD locks for the roles.
 * Keeps:  DESIGN section 1. It outlives either process. Both treat its contents as hostile: copy, then check, never read twice.
 */
#ifndef GREYLINE_LINK_SEGMENT_H
#define GREYLINE_LINK_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/link/message.h"
#include "dataplane/link/ring.h"
#include "dataplane/table/source_budget.h"
#include "dataplane/table/verdict_table.h"

#define SEGMENT_MAGIC UINT64_C(0x0031656e696c7967) /* "gyline1" */
#define SEGMENT_ABI   1

enum segment_role { SEGMENT_CONTROL, SEGMENT_DATAPLANE };

/* What both sides write now and then; every field relaxed atomics. */
struct segment_live {
	uint32_t incarnation[2];        /* by role, raised at each attach */
	uint32_t clean_end[2];          /* set at an orderly end, cleared at attach */
	int64_t policy_offset_s;        /* policy time = boot time + this */
	uint32_t policy_offset_set;
	uint32_t loading;               /* control is filling the table from LMDB */
	uint64_t heartbeat_us[2];       /* boot time of the role's last sign of life */
	uint64_t snapshot_generation;   /* wanted by control */
	uint64_t snapshot_in_force[CONF_WORKERS_MAX]; /* by worker */
	uint32_t dataplane_pid, control_pid;
	uint32_t dataplane_state;       /* 0 none, 1 starting, 2 serving, 3 draining */
	uint32_t sessions_open[CONF_WORKERS_MAX];
	uint32_t tcp_timestamp_offset;
	uint32_t port_cursor[CONF_WORKERS_MAX]; /* of backend source ports */
};

struct segment {
	int fd;
	void *base;
	uint64_t octets;
	enum segment_role role;
	struct segment_live *live;
	struct verdict_table table;
	struct source_budget_cell *budget;
	struct ring event[CONF_WORKERS_MAX], answer[CONF_WORKERS_MAX];
	struct counters *counters;       /* [CONF_WORKERS_MAX + 1], the last is control's */
	struct backend_state *backends;  /* [CONF_BACKENDS_MAX] */
	char path[256];
};

struct segment_params {
	uint64_t entries;
	struct siphash_key table_key; /* from LMDB */
};

/* Creates or, where a valid one is there, attaches (a foreign or broken one is renamed aside). *created tells which.
 * 0 or -errno: -EWOULDBLOCK another control runs, -ENOSPC the file system is too small (why says what is missing). */
int segment_open_control(struct segment *s, const char *path, const struct segment_params *params, bool *created, char *why,
	uint32_t why_octets);
/* Attaches. -ENOENT not there yet, -EPROTO foreign or broken, -EWOULDBLOCK another data plane runs. */
int segment_open_dataplane(struct segment *s, const char *path, char *why, uint32_t why_octets);
/* Reads only (tests, tools): no lock, no incarnation. */
int segment_open_reader(struct segment *s, const char *path, char *why, uint32_t why_octets);
void segment_close(struct segment *s, bool clean);
/* Whether the path still names this file (deleted or replaced: false). */
bool segment_is_current(const struct segment *s);

/* Policy time now: boot time plus the offset kept in the segment (POLICY section 3). boot_s from CLOCK_BOOTTIME. */
uint32_t segment_policy_now_s(const struct segment *s, uint64_t boot_us);
/* Control, once after attach: sets the offset from the wall clock where it is not set for this boot. */
void segment_policy_start(struct segment *s, uint64_t boot_us, uint64_t wall_s, const char *boot_id);

/* The slot of a backend's state by its id; claims a free one when create. NULL: none. */
struct backend_state *segment_backend(struct segment *s, uint32_t id, bool create);

#endif
