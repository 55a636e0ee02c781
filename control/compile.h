/*
 * compile.h - a configuration and the operator's lists as the sections of a snapshot.
 *
 * Flow:   control.c (start, reload, set, client allow) -> compile_snapshot() -> link/snapshot -> data plane; control itself maps the same
 *         file for `explain`, so that both decide by the same octets
 * Touches: the snapshot file.
 */
#ifndef GREYLINE_CONTROL_COMPILE_H
#define GREYLINE_CONTROL_COMPILE_H

#include "control/config.h"

/* Networks that `client allow|deny` added; value as in prefix lists, with COMPILE_SOURCE_OPERATOR as source. */
#define COMPILE_SOURCE_OPERATOR 255u

struct compile_extra {
	const struct prefix_entry *allow, *deny;
	uint32_t n_allow, n_deny;
	uint64_t seed; /* of the hashes */
};

/* Writes the snapshot of that generation. 0 or -errno. */
int compile_snapshot(const struct config *config, const struct compile_extra *extra, const char *segment_path,
	const char *path, uint64_t generation);

#endif
