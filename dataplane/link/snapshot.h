/*
 * snapshot.h - the compiled configuration: an immutable file of sections, complete before it is named.
 *
 * Flow:   control/config -> snapshot_write() -> file -> data plane's main thread snapshot_map() -> one pointer ->
 *         workers
 * Keeps:  checksummed (why which: snapshot.c); every offset, count and index checked by snapshot_map() once, so that
 *         readers need not; strings terminated.
 */
#ifndef GREYLINE_LINK_SNAPSHOT_H
#define GREYLINE_LINK_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/conf.h"

#define SNAPSHOT_MAGIC UINT64_C(0x31706e73796c7267) /* "grlysnp1" in spirit */
#define SNAPSHOT_ABI   1

#define SNAPSHOT_EAL_ARGS_MAX 64

enum snapshot_section {
	SNAPSHOT_CONF,         /* struct conf */
	SNAPSHOT_PORTS,        /* struct conf_port[] */
	SNAPSHOT_LISTENERS,    /* struct conf_listener[] */
	SNAPSHOT_POOLS,        /* struct conf_pool[] */
	SNAPSHOT_BACKENDS,     /* struct conf_backend[] */
	SNAPSHOT_ZONES,        /* struct conf_zone[] */
	SNAPSHOT_EAL_ARGS,     /* NUL-terminated strings one after another */
	SNAPSHOT_SEGMENT_PATH, /* NUL-terminated */
	SNAPSHOT_DOMAINS,      /* name_set; value = listener bits (low 32) | pool index << 32 */
	SNAPSHOT_CLIENT_ALLOW, /* prefix table */
	SNAPSHOT_CLIENT_DENY,
	SNAPSHOT_SENDER_ALLOW, /* name_set */
	SNAPSHOT_SENDER_DENY,
	SNAPSHOT_RCPT_ALLOW,
	SNAPSHOT_RCPT_DENY,
	SNAPSHOT_RCPT_NO_GREY,
	SNAPSHOT_TRAPS,
	SNAPSHOT_CA, /* PEM octets; conf_backend.ca_offset and ca_octets name parts of it */
	SNAPSHOT_SECTION_N
};

/* To write. */
struct snapshot_part {
	const void *data;
	size_t octets;
};

/* Writes path.tmp, syncs, renames. generation must be above 0 and above that of the file it replaces. 0 or -errno:
 * -ESTALE where it is not; then nothing was touched. */
int snapshot_write(const char *path, uint64_t generation, const struct snapshot_part parts[SNAPSHOT_SECTION_N]);

/* The generation of the file at path, 0 where there is none: where a new writer goes on. */
uint64_t snapshot_generation(const char *path);

/* A mapped snapshot with typed pointers; NULL for empty lists. */
struct snapshot {
	void *base;
	size_t octets;
	uint64_t generation;
	const struct conf *conf;
	const struct conf_port *ports;
	const struct conf_listener *listeners;
	const struct conf_pool *pools;
	const struct conf_backend *backends;
	const struct conf_zone *zones;
	uint32_t n_ports, n_listeners, n_pools, n_backends, n_zones;
	const char *eal_args;
	size_t eal_args_octets;
	const char *segment_path;
	const char *ca;
	size_t ca_octets;
	const void *domains, *client_allow, *client_deny, *sender_allow, *sender_deny, *rcpt_allow, *rcpt_deny,
		*rcpt_no_grey, *traps;
};

/* Copies to memory of its own, validates, makes it read-only. 0; -ENOENT; -EPROTO with the reason in why. *s is written
 * on success only. */
int snapshot_map(struct snapshot *s, const char *path, char *why, uint32_t why_octets);
/* The same on an open file, whose offset is at its start. */
int snapshot_map_fd(struct snapshot *s, int fd, char *why, uint32_t why_octets);
void snapshot_unmap(struct snapshot *s);

#endif
