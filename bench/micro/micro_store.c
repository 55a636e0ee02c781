/* micro_store.c - what lies on disk: records committed and loaded by control's store, and a snapshot mapped and checked. */
#include "bench/micro/micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/store.h"
#include "dataplane/base/bug.h"
#include "dataplane/link/snapshot.h"
#include "dataplane/table/prefix.h"
#include "tests/unit/link/snapshot_parts.h"

#define STORE_ENTRIES  200000
#define STORE_ROUNDS   3
#define LOAD_RECORDS   20000
#define TURN_BUDGET_US 50000
#define TICK_US        100000
#define NETWORKS       1000000
#define MAPS           5

static void
folder_make(char folder[64])
{
	const char *tmp = getenv("TMPDIR");

	snprintf(folder, 64, "%s/greyline-micro-XXXXXX", tmp != NULL && strlen(tmp) < 30 ? tmp : "/tmp");
	BUG_ON(mkdtemp(folder) == NULL);
}

static void
file_remove(const char *folder, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	unlink(path);
}

static void
table_make(struct verdict_table *t, uint64_t entries)
{
	const uint32_t n = verdict_table_buckets_for(entries);

	verdict_table_bind(t, memory(verdict_table_octets(n)), n, &micro_key);
}

/* Turns of control's loop until nothing is dirty; seconds. */
static double
commit_all(struct store *s, const struct verdict_table *t, uint64_t *now_us)
{
	const double start = now_s();

	do {
		*now_us += TICK_US;
	} while (store_commit(s, t, *now_us, TURN_BUDGET_US));
	return now_s() - start;
}

void
bench_store(void)
{
	const struct store_params params = {
		.map_mb = 64, .map_max_mb = 4096, .grey_per_s = 5000, .why_entries = 1000
	};
	double committed[STORE_ROUNDS], loaded[STORE_ROUNDS];
	uint64_t now_us = 1000000;
	char folder[64];
	struct verdict_table t;
	struct store *s;

	folder_make(folder);
	s = store_create(folder, &params);
	BUG_ON(s == NULL || store_stats(s)->state != STORE_READY);
	for (unsigned r = 0; r < STORE_ROUNDS; r++) {
		struct verdict_table cold;

		table_make(&t, 2 * STORE_ENTRIES);
		for (uint64_t i = 0; i < STORE_ENTRIES; i++) {
			const struct vt_entry e = {
				.tag = tag_of(i), .time_s = NOW_S - r, .kind_state = vt_kind_state(VT_TRIPLET, VT_WHITE)
			};

			BUG_ON(verdict_table_put(&t, NULL, &e, &micro_ages, NULL) != VT_PUT_DONE);
		}
		committed[r] = STORE_ENTRIES / commit_all(s, &t, &now_us);
		table_make(&cold, 2 * STORE_ENTRIES);
		loaded[r] = now_s();
		store_load_begin(s, true, 0);
		while (store_load_step(s, &cold, &micro_ages, LOAD_RECORDS) == STORE_LOAD_MORE)
			continue;
		loaded[r] = STORE_ENTRIES / (now_s() - loaded[r]);
		free(cold.bucket);
		free(t.bucket);
	}
	add_size("database octets a WHITE record", "octets", (double)store_stats(s)->used_octets / STORE_ENTRIES);
	store_destroy(s);
	add_rates("WHITE records committed to LMDB, fsync included", committed, STORE_ROUNDS);
	add_rates("WHITE records loaded from LMDB into a cold table", loaded, STORE_ROUNDS);
	file_remove(folder, "greyline.mdb");
	file_remove(folder, "greyline.mdb-lock");
	file_remove(folder, "greyline.running");
	rmdir(folder);
}

/* A snapshot with a list of a million networks, as `reload` makes the data plane take it. */
void
bench_snapshot(void)
{
	struct prefix_entry *entries = memory(NETWORKS * sizeof(*entries));
	const size_t room = prefix_table_octets(NETWORKS);
	void *networks = memory(room);
	static struct snapshot_parts parts;
	static struct snapshot snapshot;
	double written[MAPS], mapped[MAPS];
	char folder[64], path[96], why[256];

	for (uint32_t i = 0; i < NETWORKS; i++) {
		entries[i] = (struct prefix_entry){ .addr = ip_addr_v4((uint32_t)mix(i)), .bits = 128, .value = i };
		entries[i].addr = ip_addr_mask(&entries[i].addr, 128);
	}
	snapshot_parts_init(&parts);
	parts.part[SNAPSHOT_CLIENT_DENY] =
		(struct snapshot_part){ networks, prefix_table_build(networks, room, entries, NETWORKS, 1) };
	folder_make(folder);
	snprintf(path, sizeof(path), "%s/snapshot", folder);
	for (unsigned i = 0; i < MAPS; i++) {
		double start = now_s();

		BUG_ON(snapshot_write(path, i + 1, parts.part) != 0);
		written[i] = (now_s() - start) * 1e3;
		start = now_s();
		if (snapshot_map(&snapshot, path, why, sizeof(why)) != 0) {
			fprintf(stderr, "micro: %s\n", why);
			exit(1);
		}
		mapped[i] = (now_s() - start) * 1e3;
		snapshot_unmap(&snapshot);
	}
	add_size(
		"snapshot with a million networks", "MiB", (double)parts.part[SNAPSHOT_CLIENT_DENY].octets / (1 << 20));
	add_times("snapshot with a million networks, written", "ms", written, MAPS);
	add_times("snapshot with a million networks, mapped and checked", "ms", mapped, MAPS);
	file_remove(folder, "snapshot");
	rmdir(folder);
	free(entries);
	free(networks);
}
