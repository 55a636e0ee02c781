/*
 * flood.c - a data plane as control sees it, without one: new triplets at a rate, promotions, names; and databases to restart with.
 *
 * Flow:   flood SEGMENT: entries into the verdict table and names into the event ring, as workers do it, at --rate for --seconds
 *         check FOLDER FILE: how many of the promoted are WHITE in the database
 *         fill SEGMENT FOLDER: --entries records straight into the database, while control is down
 * Touches: the segment in the data plane's role (its lock); the database, read only but for fill.
 * Keeps:  what cannot be inserted or told is counted, nothing waits. Tags are functions of a number, so that check finds them again.
 */
#include <getopt.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/link/segment.h"
#include "lmdb-schema/key.h"
#include "lmdb-schema/record.h"

#define TURN_TRIPLETS  64
#define PROMOTE_BEHIND 20000 /* triplets between an insert and its promotion */
#define FILL_BATCH     100000
#define FILL_WHITE     10  /* of so many records one is WHITE */
#define RECORD_OCTETS  160 /* of the map, for one record, at most */
#define NETWORKS       65536

struct flood {
	struct segment segment;
	uint64_t rate, white_rate, entries;
	uint32_t seconds;
	uint64_t seed;
	const char *out;
};

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static uint64_t
tag_of(const struct flood *f, uint64_t i)
{
	uint64_t x = i + f->seed * UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) | 1;
}

static struct vt_ages
ages_now(const struct flood *f)
{
	return (struct vt_ages){ .now_s = segment_policy_now_s(&f->segment, segment_boot_us()),
		.grey_s = 21600 + 604800,
		.white_s = 36 * 86400,
		.client_s = 43200,
		.auto_s = 36 * 86400 };
}

/* The readable name of triplet i; false: the ring was full. */
static bool
tell_name(struct flood *f, uint64_t i)
{
	struct link_event_name *e = ring_reserve(&f->segment.event[0]);
	char sender[64];
	static const char rcpt[] = "user@example.org";
	const int n = snprintf(sender, sizeof(sender), "sender%" PRIu64 "@sender.example", i);

	if (e == NULL)
		return false;
	*e = (struct link_event_name){ .head = { .type = LINK_EVENT_NAME,
					       .len_octets = sizeof(*e),
					       .dataplane_incarnation = f->segment.incarnation,
					       .control_incarnation = f->segment.live->incarnation[SEGMENT_CONTROL] },
		.tag = tag_of(f, i),
		.kind = VT_TRIPLET,
		.sender_len = (uint16_t)n,
		.rcpt_len = sizeof(rcpt) - 1,
		.network = ip_addr_v4(10u << 24 | (uint32_t)(i % NETWORKS) << 8) };
	memcpy(e->text, sender, (size_t)n);
	memcpy(e->text + n, rcpt, sizeof(rcpt) - 1);
	ring_publish(&f->segment.event[0]);
	return true;
}

/* GREY becomes WHITE; false: it is gone. */
static bool
promote(struct flood *f, uint64_t i, const struct vt_ages *ages)
{
	struct vt_entry old, want;

	for (unsigned tries = 0; tries < 8 && verdict_table_find(&f->segment.table, tag_of(f, i), &old); tries++) {
		want = old;
		want.kind_state = vt_kind_state(VT_TRIPLET, VT_WHITE);
		want.time_s = ages->now_s;
		if (verdict_table_put(&f->segment.table, &old, &want, ages, NULL) == VT_PUT_DONE)
			return true;
	}
	return false;
}

static int
run_flood(struct flood *f)
{
	const uint64_t began = now_ns(), until = began + f->seconds * UINT64_C(1000000000);
	uint64_t n = 0, refused = 0, told = 0, lost = 0, promoted = 0, gone = 0, evicted_white = 0, now;
	struct vt_ages ages = ages_now(f);
	FILE *out = fopen(f->out, "w");

	if (out == NULL)
		return 1;
	while ((now = now_ns()) < until) {
		const uint64_t due = (uint64_t)((double)(now - began) * (double)f->rate / 1e9);
		const uint64_t due_white = (uint64_t)((double)(now - began) * (double)f->white_rate / 1e9);

		if (n >= due) {
			nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
			continue;
		}
		for (unsigned k = 0; k < TURN_TRIPLETS && n < due; k++, n++) {
			const struct vt_entry e = { .tag = tag_of(f, n),
				.time_s = ages.now_s,
				.kind_state = vt_kind_state(VT_TRIPLET, VT_GREY) };
			struct vt_entry victim = { 0 };

			if (verdict_table_put(&f->segment.table, NULL, &e, &ages, &victim) != VT_PUT_DONE) {
				refused++;
				continue;
			}
			evicted_white += vt_kind(&victim) == VT_TRIPLET && vt_state(&victim) == VT_WHITE;
			if (tell_name(f, n))
				told++;
			else
				lost++;
		}
		/* promotions are spread over what was inserted a while ago */
		while (promoted + gone < due_white && n > PROMOTE_BEHIND) {
			const uint64_t i = (n - PROMOTE_BEHIND) / (promoted + gone + 1) * (promoted + gone);

			if (promote(f, i, &ages)) {
				fprintf(out, "%" PRIu64 "\n", i);
				promoted++;
			} else {
				gone++;
			}
		}
		if (n % 100000 < TURN_TRIPLETS)
			ages = ages_now(f);
	}
	fclose(out);
	printf("{\"offered\": %" PRIu64 ", \"a_second\": %.0f, \"refused_full\": %" PRIu64 ", \"names_told\": %" PRIu64
	       ", \"names_lost\": %" PRIu64 ", \"promoted\": %" PRIu64 ", \"evicted_before_promotion\": %" PRIu64
	       ", \"white_evicted\": %" PRIu64 "}\n",
		n, (double)n * 1e9 / (double)(now - began), refused, told, lost, promoted, gone, evicted_white);
	return 0;
}

/* ---- the database ---- */

static int
open_database(const char *folder, uint64_t map_octets, unsigned flags, MDB_env **env, MDB_txn **txn, MDB_dbi *entries)
{
	char path[4096];
	int error;

	snprintf(path, sizeof(path), "%s/greyline.mdb", folder);
	if ((error = mdb_env_create(env)) != 0 || (error = mdb_env_set_maxdbs(*env, 16)) != 0 ||
		(error = mdb_env_set_mapsize(*env, map_octets)) != 0 ||
		(error = mdb_env_open(*env, path, MDB_NOSUBDIR | flags, 0640)) != 0 ||
		(error = mdb_txn_begin(*env, NULL, flags & MDB_RDONLY, txn)) != 0 ||
		(error = mdb_dbi_open(*txn, schema_db_name(SCHEMA_DB_ENTRIES), 0, entries)) != 0)
		fprintf(stderr, "flood: %s: %s\n", path, mdb_strerror(error));
	return error;
}

static bool
is_white(MDB_txn *txn, MDB_dbi entries, uint64_t tag)
{
	uint8_t octets[SCHEMA_ENTRY_KEY_OCTETS];
	MDB_val key = { .mv_data = octets, .mv_size = schema_entry_key_build(octets, VT_TRIPLET, tag) }, value;
	struct schema_entry e;

	return mdb_get(txn, entries, &key, &value) == 0 && schema_entry_parse(value.mv_data, value.mv_size, &e) == 0 &&
	       e.state == VT_WHITE;
}

static int
run_check(struct flood *f, const char *folder, const char *promoted)
{
	uint64_t n = 0, stored = 0, i;
	FILE *in = fopen(promoted, "r");
	MDB_dbi entries;
	MDB_env *env;
	MDB_txn *txn;

	if (in == NULL || open_database(folder, 0, MDB_RDONLY, &env, &txn, &entries) != 0)
		return 1;
	for (; fscanf(in, "%" SCNu64, &i) == 1; n++)
		stored += is_white(txn, entries, tag_of(f, i));
	fclose(in);
	mdb_txn_abort(txn);
	mdb_env_close(env);
	printf("{\"promoted\": %" PRIu64 ", \"stored\": %" PRIu64 "}\n", n, stored);
	return 0;
}

/* Keys rise, as a cursor would read them from any database of that size. */
static int
run_fill(struct flood *f, const char *folder)
{
	const uint64_t step = UINT64_MAX / f->entries;
	const uint32_t now_s = segment_policy_now_s(&f->segment, segment_boot_us());
	MDB_dbi entries;
	MDB_env *env;
	MDB_txn *txn;
	int error;

	if (open_database(
		    folder, (UINT64_C(64) << 20) + f->entries * RECORD_OCTETS, MDB_NOSYNC, &env, &txn, &entries) != 0)
		return 1;
	for (uint64_t i = 0; i < f->entries; i++) {
		const struct schema_entry e = { .state = i % FILL_WHITE == 0 ? VT_WHITE : VT_GREY, .time_s = now_s };
		uint8_t key_octets[SCHEMA_ENTRY_KEY_OCTETS], value_octets[64];
		MDB_val key = { .mv_data = key_octets,
			.mv_size = schema_entry_key_build(key_octets, VT_TRIPLET, i * step + 1 + tag_of(f, i) % step) };
		MDB_val value = { .mv_data = value_octets,
			.mv_size = schema_entry_build(&e, value_octets, sizeof(value_octets)) };

		error = mdb_put(txn, entries, &key, &value, 0);
		if (error == 0 && (i + 1) % FILL_BATCH == 0) {
			error = mdb_txn_commit(txn);
			error = error != 0 ? error : mdb_txn_begin(env, NULL, 0, &txn);
		}
		if (error != 0) {
			fprintf(stderr, "flood: record %" PRIu64 ": %s\n", i, mdb_strerror(error));
			return 1;
		}
	}
	error = mdb_txn_commit(txn);
	if (error == 0)
		error = mdb_env_sync(env, 1);
	mdb_env_close(env);
	printf("{\"entries\": %" PRIu64 "}\n", f->entries);
	return error != 0;
}

static void
usage(void)
{
	fputs("usage: flood flood SEGMENT --out FILE [--rate N] [--white N] [--seconds N] [--seed N]\n"
	      "       flood check FOLDER FILE [--seed N]\n"
	      "       flood fill SEGMENT FOLDER [--entries N] [--seed N]\n",
		stderr);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "rate", required_argument, NULL, 'r' },
		{ "white", required_argument, NULL, 'w' }, { "seconds", required_argument, NULL, 'd' },
		{ "entries", required_argument, NULL, 'n' }, { "seed", required_argument, NULL, 's' },
		{ "out", required_argument, NULL, 'o' }, { 0 } };
	struct flood f = { .rate = 500000, .white_rate = 5000, .seconds = 10, .entries = 10000000, .seed = 1 };
	char why[256];
	int option, rc;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			f.rate = strtoull(optarg, NULL, 10);
			break;
		case 'w':
			f.white_rate = strtoull(optarg, NULL, 10);
			break;
		case 'd':
			f.seconds = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'n':
			f.entries = strtoull(optarg, NULL, 10);
			break;
		case 's':
			f.seed = strtoull(optarg, NULL, 10);
			break;
		case 'o':
			f.out = optarg;
			break;
		default:
			usage();
		}
	}
	argv += optind;
	argc -= optind;
	if (argc == 3 && strcmp(argv[0], "check") == 0)
		return run_check(&f, argv[1], argv[2]);
	if (argc < 2 || f.entries == 0)
		usage();
	if (argc == 3 && strcmp(argv[0], "fill") == 0) {
		if (segment_open_reader(&f.segment, argv[1], why, sizeof(why)) == 0)
			return run_fill(&f, argv[2]);
	} else if (argc == 2 && strcmp(argv[0], "flood") == 0 && f.out != NULL) {
		if (segment_open_dataplane(&f.segment, argv[1], why, sizeof(why)) == 0) {
			rc = run_flood(&f);
			segment_close(&f.segment, true);
			return rc;
		}
	} else {
		usage();
	}
	fprintf(stderr, "flood: %s: %s\n", argv[1], why);
	return 1;
}
