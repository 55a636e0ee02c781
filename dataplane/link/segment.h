/*
 * segment.h - the shared memory of the two daemons.
 *
 * Flow:   control creates (temporary name, posix_fallocate, header last, rename); the data plane attaches.
 * Touches: one file in /dev/shm or hugetlbfs, OFD locks for the roles.
 * Keeps:  DESIGN section 1. It outlives either process. Both treat its contents as hostile: copy, then check, never
 *         read twice.
 */
#ifndef GREYLINE_LINK_SEGMENT_H
#define GREYLINE_LINK_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/cert_status.h"
#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/link/message.h"
#include "dataplane/link/ring.h"
#include "dataplane/table/source_budget.h"
#include "dataplane/table/source_table.h"
#include "dataplane/table/verdict_table.h"

#define SEGMENT_MAGIC UINT64_C(0x0031656e696c7967) /* "gyline1" */
#define SEGMENT_ABI                                                                                                    \
	3 /* raised where what lies there means something else: tags of 1 were other hashes, in 2 a put of a kind was not told from a load */

#define SEGMENT_BOOT_ID_OCTETS 40 /* /proc/sys/kernel/random/boot_id: 36 characters */
#define SEGMENT_PATH_OCTETS    256

enum segment_role { SEGMENT_CONTROL, SEGMENT_DATAPLANE };

/*
 * How long passes of a worker took (worker_turn()), from the receive call to the end of the transmit call: TURN_BUCKETS_A_POWER buckets for each
 * power of two of TSC cycles from 512 on; the first holds all below, the last all above. Turns that found nothing to do are counted apart: they are
 * an empty loop, so a long one is a pause of the machine.
 */
#define TURN_BUCKETS_A_POWER_LOG2 3
#define TURN_BUCKETS_A_POWER      (1 << TURN_BUCKETS_A_POWER_LOG2)
#define TURN_BUCKET_0_LOG2        9
#define TURN_BUCKETS              (16 * TURN_BUCKETS_A_POWER)

struct turn_times {
	_Alignas(64) uint64_t busy[TURN_BUCKETS];
	uint64_t empty[TURN_BUCKETS];
	uint64_t busy_cycles,
		empty_cycles; /* of all of these; the counter worker.busy_cycles also has what a turn does before it receives */
};

static inline uint32_t
turn_bucket(uint64_t cycles)
{
	const uint64_t least = UINT64_C(1) << TURN_BUCKET_0_LOG2, counted = cycles > least ? cycles : least;
	const uint32_t top = 63u - (uint32_t)__builtin_clzll(counted);
	const uint32_t at = (top - TURN_BUCKET_0_LOG2) * TURN_BUCKETS_A_POWER +
	                    (uint32_t)(counted >> (top - TURN_BUCKETS_A_POWER_LOG2) & (TURN_BUCKETS_A_POWER - 1));

	return at < TURN_BUCKETS ? at : TURN_BUCKETS - 1;
}

/* The least number of cycles that is counted in a bucket beyond the first. */
static inline uint64_t
turn_bucket_from(uint32_t bucket)
{
	const uint32_t top = TURN_BUCKET_0_LOG2 + bucket / TURN_BUCKETS_A_POWER;

	return (UINT64_C(1) << top) + ((uint64_t)(bucket % TURN_BUCKETS_A_POWER) << (top - TURN_BUCKETS_A_POWER_LOG2));
}

/* Whether the table holds what the database does. */
enum segment_loading {
	SEGMENT_LOADED,
	SEGMENT_LOADING,    /* control is filling it: a miss means nothing yet */
	SEGMENT_LOAD_AGAIN, /* the database could not be read to its end: decided by what there is, tried again */
};

/* What both sides write now and then; every field relaxed atomics. */
struct segment_live {
	uint32_t incarnation[2]; /* by role, raised at each attach */
	uint32_t clean_end[2];   /* set at an orderly end, cleared at attach */
	int64_t policy_offset_s; /* policy time = boot time + this */
	uint32_t policy_offset_set;
	uint32_t loading;                             /* enum segment_loading */
	uint64_t heartbeat_us[2];                     /* boot time of the role's last sign of life */
	uint64_t snapshot_generation;                 /* wanted by control */
	uint64_t snapshot_in_force[CONF_WORKERS_MAX]; /* by worker */
	uint32_t dataplane_pid, control_pid;
	uint32_t dataplane_state; /* 0 none, 1 starting, 2 serving, 3 draining */
	uint32_t sessions_open[CONF_WORKERS_MAX];
	uint32_t marks[CONF_WORKERS_MAX]; /* water marks reached, by the worker alone: bits of base/marks.h */
	uint32_t unclean_ends;  /* lives that ended without segment_close(clean): control sweeps when it grows */
	uint32_t unclean_swept; /* of those, how many segment_open_control() has swept for */
	/* of the boot policy_offset_s belongs to; written by control before policy_offset_set */
	char boot_id[SEGMENT_BOOT_ID_OCTETS];
	/* while SEGMENT_LOADING: how long it will take yet, and records settled of those there are; by control */
	uint32_t loading_left_s;
	uint64_t loading_done, loading_of;
	/* by the data plane, once a minute: of this segment and of its other memory, what is there and what of it in huge pages. 0: not known */
	uint64_t pages_octets, pages_huge_octets, memory_octets, memory_huge_octets;
	struct turn_times turns[CONF_WORKERS_MAX]; /* written by the worker alone */
};

struct segment {
	int fd;
	void *base;
	uint64_t octets;
	enum segment_role role;
	struct segment_live *live;
	struct verdict_table table;
	struct source_budget_cell *budget;
	struct source_table sources;
	struct ring event[CONF_WORKERS_MAX], answer[CONF_WORKERS_MAX];
	struct counters *counters;      /* [CONF_WORKERS_MAX + 1], the last is control's */
	struct backend_state *backends; /* [CONF_BACKENDS_MAX] */
	struct cert_area *certs;
	char path[SEGMENT_PATH_OCTETS];
	uint32_t n_workers;   /* rings there are; event[] and answer[] beyond are not bound */
	uint64_t entries;     /* state.entries at creation, for status */
	uint32_t incarnation; /* of this attach */
	bool read_only;       /* a reader: nothing may be written */
	bool was_unclean;     /* the life before of this role ended without a clean close */
};

struct segment_params {
	uint64_t entries;
	/* from LMDB; a segment with another key is set aside, its tags mean nothing to us */
	struct siphash_key table_key;
	/* rings for so many; 0: CONF_WORKERS_MAX. A segment with fewer is set aside, with more is fine */
	uint32_t workers;
	/* a new one gets the pages its file system gives by itself, not huge ones */
	bool plain_pages;
};

/* Octets of the file these params make. */
uint64_t segment_octets_for(const struct segment_params *params);

/* Creates or, where a valid one is there, attaches (a foreign or broken one is renamed to path.aside). *created tells
 * which; why then says what was wrong with the one set aside, "" when there was none.
 * 0 or -errno: -EWOULDBLOCK another control runs, -ENOSPC the file system is too small (why says what is missing),
 * -EINVAL a name that the EAL would delete (it removes every unlocked *map_* in hugetlbfs), -EPERM the folder is
 * somebody else's. */
int segment_open_control(struct segment *s, const char *path, const struct segment_params *params, bool *created,
	char *why, uint32_t why_octets);
/* Attaches. -ENOENT not there yet, -EPROTO foreign or broken, -EWOULDBLOCK another data plane runs. */
int segment_open_dataplane(struct segment *s, const char *path, char *why, uint32_t why_octets);
/* Reads only (tests, tools): no lock, no incarnation. */
int segment_open_reader(struct segment *s, const char *path, char *why, uint32_t why_octets);
void segment_close(struct segment *s, bool clean);
/* Whether the path still names this file (deleted or replaced: false). */
bool segment_is_current(const struct segment *s);

/*
 * How long the table is still being filled: 0 when it holds all, else at least 1. A control that is silent fills nothing, so after
 * SEGMENT_LOADING_SILENT_US without a sign of it a miss is a miss again: nobody is put off for ever.
 */
#define SEGMENT_LOADING_SILENT_US 5000000
uint32_t segment_loading_left_s(const struct segment *s, uint64_t boot_us);

/* Boot time as policy_now and policy_start want it, and this boot's name (zero-filled where there is none). */
uint64_t segment_boot_us(void);
void segment_boot_id(char out[SEGMENT_BOOT_ID_OCTETS]);

/* Policy time now: boot time plus the offset kept in the segment (POLICY section 3). boot_s from CLOCK_BOOTTIME. */
uint32_t segment_policy_now_s(const struct segment *s, uint64_t boot_us);
/* Whether the offset was set in this boot; before that policy time means nothing. */
bool segment_policy_is_set(const struct segment *s, const char *boot_id);
/* Control, once after attach: sets the offset from the wall clock where it is not set for this boot. */
void segment_policy_start(struct segment *s, uint64_t boot_us, uint64_t wall_s, const char *boot_id);
/* Control, before segment_policy_start(): takes over the offset that LMDB kept, where the segment is new but the boot
 * the same. */
void segment_policy_restore(struct segment *s, int64_t offset_s, const char *of_boot_id, const char *boot_id);

/* The slot of a backend's state by its id; claims a free one when create. NULL: none. */
struct backend_state *segment_backend(struct segment *s, uint32_t id, bool create);
/* Control: frees the slots of backends that are not among ids (they left the configuration). */
void segment_backends_keep(struct segment *s, const uint32_t *ids, uint32_t n);

#endif
