/*
 * test_segment.c - the segment: creation, roles, lives, what is foreign or broken, file systems too small, policy time,
 * backends.
 *
 * Touches: a folder of its own in /dev/shm (or TMPDIR where that is missing), child processes that are killed.
 */
#include "dataplane/link/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"

static char folder[200], path[250];
static const struct segment_params params = { .entries = 3000, .table_key = { 1, 2 }, .workers = 1 };

static int
set_up(void **state)
{
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");

	(void)state;
	snprintf(folder, sizeof(folder), "%s/greyline-test-XXXXXX", base != NULL ? base : "/tmp");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/sub/segment", folder);
	return 0;
}

static int
tear_down(void **state)
{
	static const char *const names[] = { "", ".lock", ".aside", ".tmp" };
	char name[300];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(name, sizeof(name), "%s%s", path, names[i]);
		unlink(name);
	}
	snprintf(name, sizeof(name), "%s/sub", folder);
	rmdir(name);
	return rmdir(folder); /* fails when anything else was left */
}

static void
open_control(struct segment *s, bool want_created)
{
	char why[256];
	bool created;
	const int rc = segment_open_control(s, path, &params, &created, why, sizeof(why));

	if (rc != 0)
		fail_msg("control: %d: %s", rc, why);
	CHECK_EQ("created", created, want_created);
}

static void
open_dataplane(struct segment *s)
{
	char why[256];
	const int rc = segment_open_dataplane(s, path, why, sizeof(why));

	if (rc != 0)
		fail_msg("data plane: %d: %s", rc, why);
}

static void
test_segment_is_shared_and_outlives_both(void **state)
{
	struct segment c, d, r;
	char why[256];
	struct vt_entry e = { .tag = 9, .kind_state = vt_kind_state(VT_TRIPLET, VT_WHITE), .time_s = 1 }, got;
	const struct vt_ages ages = { .now_s = 1, .white_s = 100, .grey_s = 100 };

	(void)state;
	CHECK_EQ("the data plane waits", segment_open_dataplane(&d, path, why, sizeof(why)), -ENOENT);
	open_control(&c, true);
	open_dataplane(&d);
	CHECK_EQ("workers", d.n_workers, 1);
	CHECK_EQ("entries", d.entries, 3000);
	CHECK_EQ("key", d.table.key.k1, 2);
	CHECK_TRUE("buckets", d.table.n_buckets == verdict_table_buckets_for(3000));
	CHECK_EQ("write", verdict_table_put(&d.table, NULL, &e, &ages, NULL), VT_PUT_DONE);
	CHECK_TRUE("seen", verdict_table_find(&c.table, 9, &got));
	CHECK_TRUE("an event", ring_reserve(&d.event[0]) != NULL);
	ring_publish(&d.event[0]);
	CHECK_TRUE("seen", ring_front(&c.event[0]) != NULL);
	CHECK_EQ("a reader", segment_open_reader(&r, path, why, sizeof(why)), 0);
	CHECK_TRUE("reads", verdict_table_find(&r.table, 9, &got));
	segment_close(&r, true);
	segment_close(&c, true);
	segment_close(&d, true);
	open_control(&c, false);
	CHECK_TRUE("warm", verdict_table_find(&c.table, 9, &got));
	segment_close(&c, true);
}

static void
test_segment_a_role_is_had_once(void **state)
{
	struct segment c, d, other;
	char why[256];
	bool created;

	(void)state;
	open_control(&c, false);
	open_dataplane(&d);
	CHECK_EQ("control", segment_open_control(&other, path, &params, &created, why, sizeof(why)), -EWOULDBLOCK);
	CHECK_TRUE("says so", strstr(why, "another control") != NULL);
	CHECK_EQ("data plane", segment_open_dataplane(&other, path, why, sizeof(why)), -EWOULDBLOCK);
	CHECK_TRUE("says so", strstr(why, "another data plane") != NULL);
	segment_close(&d, true);
	open_dataplane(&d);
	segment_close(&d, true);
	segment_close(&c, true);
}

static void
test_segment_counts_lives_and_unclean_ends(void **state)
{
	struct segment c, d;
	uint32_t before;
	int status;
	pid_t pid;

	(void)state;
	open_control(&c, false);
	before = c.live->unclean_ends;
	open_dataplane(&d);
	CHECK_TRUE("after a clean end", !c.was_unclean && !d.was_unclean);
	CHECK_EQ("incarnation", d.incarnation, d.live->incarnation[SEGMENT_DATAPLANE]);
	CHECK_EQ("pid", c.live->dataplane_pid, getpid());
	segment_close(&d, true);
	CHECK_EQ("marked", c.live->clean_end[SEGMENT_DATAPLANE], 1);

	pid = fork();
	if (pid == 0) {
		open_dataplane(&d);
		raise(SIGKILL);
	}
	CHECK_EQ("child", waitpid(pid, &status, 0), pid);
	open_dataplane(&d); /* the lock died with it */
	CHECK_TRUE("unclean", d.was_unclean);
	CHECK_EQ("counted for control", c.live->unclean_ends, before + 1);
	segment_close(&d, false);
	open_dataplane(&d);
	CHECK_TRUE("an end that was not called clean", d.was_unclean);
	CHECK_EQ("lives", d.live->incarnation[SEGMENT_DATAPLANE], d.incarnation);
	segment_close(&d, true);
	segment_close(&c, true);
}

static uint32_t
dirty_buckets(const struct segment *s)
{
	uint32_t buckets[64], cursor = 0, n, sum = 0;

	while ((n = verdict_table_take_dirty(&s->table, &cursor, buckets, ARRAY_LEN(buckets))) > 0) {
		verdict_table_committed(&s->table, buckets, n);
		sum += n;
	}
	return sum;
}

/* PITFALLS 30e: killed between its swap and its dirty bit, a data plane leaves an entry that only a sweep finds. */
static void
test_segment_is_swept_once_after_an_unclean_end_while_control_was_away(void **state)
{
	struct segment c, d;

	(void)state;
	open_control(&c, false);
	dirty_buckets(&c);
	open_dataplane(&d);
	segment_close(&c, true);
	segment_close(&d, false);
	open_dataplane(&d); /* which is what tells that the last one ended so */
	open_control(&c, false);
	CHECK_EQ("every bucket", dirty_buckets(&c), c.table.n_buckets);
	segment_close(&c, true);
	open_control(&c, false);
	CHECK_EQ("once", dirty_buckets(&c), 0);
	segment_close(&c, false);
	open_control(&c, false);
	CHECK_EQ("after its own unclean end", dirty_buckets(&c), c.table.n_buckets);
	segment_close(&d, true);
	segment_close(&c, true);
}

/* PITFALLS 30a: the EAL takes flock() of what it wants to delete, and never touches another's. */
static void
test_segment_is_safe_from_the_eal_in_hugetlbfs(void **state)
{
	struct segment s;
	bool created;
	char name[300], why[256];
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "%s/sub/rtemap_0", folder);
	CHECK_EQ("a name with map_", segment_open_control(&s, name, &params, &created, why, sizeof(why)), -EINVAL);
	open_control(&s, false);
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK_TRUE("locked as the EAL looks for it", flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK);
	close(fd);
	segment_close(&s, true);
}

static void
test_segment_deleted_or_replaced_is_noticed(void **state)
{
	struct segment c, d, fresh;
	char why[256];
	bool created;

	(void)state;
	open_control(&c, false);
	open_dataplane(&d);
	CHECK_TRUE("current", segment_is_current(&c) && segment_is_current(&d));
	CHECK_EQ("deleted", unlink(path), 0);
	CHECK_TRUE("noticed", !segment_is_current(&c) && !segment_is_current(&d));
	CHECK_EQ("made anew", segment_open_control(&fresh, path, &params, &created, why, sizeof(why)), 0);
	CHECK_TRUE("created", created);
	CHECK_TRUE("still not the old one", !segment_is_current(&c));
	CHECK_TRUE("the new one is", segment_is_current(&fresh));
	segment_close(&c, true);
	segment_close(&d, true);
	open_dataplane(&d);
	segment_close(&d, true);
	segment_close(&fresh, true);
}

static void
poke(off_t at, const void *octets, size_t n)
{
	const int fd = open(path, O_RDWR | O_CLOEXEC);

	CHECK_TRUE("open", fd >= 0);
	CHECK_EQ("write", pwrite(fd, octets, n, at), n);
	close(fd);
}

/* Whatever is wrong with the file: the data plane says so, control sets it aside and goes on with a new one. */
static void
check_is_set_aside(const char *label)
{
	struct segment s;
	char why[256] = "", aside[300];
	bool created = false;

	CHECK_EQ(label, segment_open_dataplane(&s, path, why, sizeof(why)), -EPROTO);
	CHECK_TRUE(label, why[0] != '\0');
	CHECK_EQ(label, segment_open_control(&s, path, &params, &created, why, sizeof(why)), 0);
	CHECK_TRUE(label, created);
	segment_close(&s, true);
	snprintf(aside, sizeof(aside), "%s.aside", path);
	CHECK_EQ(label, access(aside, F_OK), 0);
	open_dataplane(&s);
	segment_close(&s, true);
}

static void
test_segment_foreign_or_broken_is_set_aside(void **state)
{
	static const uint8_t ones[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	struct segment s;
	int fd;

	(void)state;
	open_control(&s, false);
	segment_close(&s, true);
	for (off_t at = 0; at < 184; at += 8) { /* every word of the head */
		poke(at, ones, sizeof(ones));
		check_is_set_aside("a word of the head");
	}
	CHECK_EQ("cut", truncate(path, 5 << 20), 0);
	check_is_set_aside("cut");
	CHECK_EQ("empty", truncate(path, 0), 0);
	check_is_set_aside("empty");
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_TRUE("a sparse file of zeros", fd >= 0 && ftruncate(fd, 64 << 20) == 0);
	close(fd);
	check_is_set_aside("zeros");
	unlink(path);
	CHECK_EQ("a link", symlink("/etc/passwd", path), 0);
	check_is_set_aside("a link is not followed");
	unlink(path);
	CHECK_EQ("a folder", mkdir(path, 0700), 0);
	check_is_set_aside("a folder");
	poke(0, ones, sizeof(ones));
	check_is_set_aside("after a folder"); /* which is in the way of what is set aside next */
}

static void
test_segment_of_another_database_or_with_fewer_workers_is_set_aside(void **state)
{
	struct segment s;
	struct segment_params other = params;
	char why[256];
	bool created;

	(void)state;
	other.table_key.k0 = 99;
	CHECK_EQ("another key", segment_open_control(&s, path, &other, &created, why, sizeof(why)), 0);
	CHECK_TRUE("made anew", created);
	segment_close(&s, true);
	open_control(&s, true);
	segment_close(&s, true);
	other = params;
	other.workers = 2;
	CHECK_EQ("more workers", segment_open_control(&s, path, &other, &created, why, sizeof(why)), 0);
	CHECK_TRUE("made anew", created);
	segment_close(&s, true);
	open_control(&s, false); /* more rings than wanted are no harm */
	segment_close(&s, true);
	other.entries = 50000;
	CHECK_EQ("more entries", segment_open_control(&s, path, &other, &created, why, sizeof(why)), 0);
	CHECK_TRUE("count at the next creation", !created);
	CHECK_EQ("as it was made", s.entries, 3000);
	segment_close(&s, true);
	unlink(path);
}

static void
test_segment_folder_of_somebody_else_is_refused(void **state)
{
	struct segment s;
	char name[300], why[256];
	bool created;

	(void)state;
	snprintf(name, sizeof(name), "%s/open", folder);
	CHECK_EQ("a folder open to all", mkdir(name, 0700) | chmod(name, 0777), 0);
	snprintf(name, sizeof(name), "%s/open/segment", folder);
	CHECK_EQ("refused", segment_open_control(&s, name, &params, &created, why, sizeof(why)), -EPERM);
	CHECK_TRUE("with a reason", why[0] != '\0');
	snprintf(name, sizeof(name), "%s/open", folder);
	if (geteuid() == 0) {
		CHECK_EQ("another user's", chmod(name, 0700) | chown(name, 65534, 65534), 0);
		snprintf(name, sizeof(name), "%s/open/segment", folder);
		CHECK_EQ("refused", segment_open_control(&s, name, &params, &created, why, sizeof(why)), -EPERM);
	}
	snprintf(name, sizeof(name), "%s/open", folder);
	CHECK_EQ("empty", rmdir(name), 0);
	CHECK_EQ("a link", symlink(folder, name), 0);
	snprintf(name, sizeof(name), "%s/open/segment", folder);
	CHECK_EQ("refused", segment_open_control(&s, name, &params, &created, why, sizeof(why)), -EPERM);
	snprintf(name, sizeof(name), "%s/open", folder);
	unlink(name);
}

/* PITFALLS 30b: mmap() of more than a tmpfs has succeeds, and the first touch is SIGBUS. A limit on file sizes and a
 * small tmpfs. */
static void
test_segment_says_what_room_is_missing(void **state)
{
	const struct rlimit small = { 4 << 20, RLIM_INFINITY };
	struct rlimit before;
	struct segment s;
	char why[256];
	bool created;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ("limit", getrlimit(RLIMIT_FSIZE, &before) | setrlimit(RLIMIT_FSIZE, &small), 0);
	CHECK_TRUE("refused", segment_open_control(&s, path, &params, &created, why, sizeof(why)) != 0);
	CHECK_EQ("limit", setrlimit(RLIMIT_FSIZE, &before), 0);
	CHECK_TRUE("says how much", strstr(why, "MiB") != NULL);
	CHECK_TRUE("nothing is left", access(path, F_OK) != 0);
}

static void
test_segment_in_a_small_tmpfs(void **state)
{
	struct segment s;
	struct segment_params big = params;
	char mount_point[250], name[300], why[256];
	bool created;

	(void)state;
	snprintf(mount_point, sizeof(mount_point), "%s/small", folder);
	snprintf(name, sizeof(name), "%s/segment", mount_point);
	/* in a mount namespace of our own: it goes with us however we end */
	if (mkdir(mount_point, 0700) != 0 || unshare(CLONE_NEWNS) != 0 ||
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		mount("none", mount_point, "tmpfs", 0, "size=40m") != 0) {
		rmdir(mount_point);
		print_message("not tried: needs the right to mount a tmpfs\n");
		skip();
	}
	big.entries = 10000000;
	CHECK_EQ("too small", segment_open_control(&s, name, &big, &created, why, sizeof(why)), -ENOSPC);
	CHECK_TRUE("says what is there", strstr(why, "39 MiB free") != NULL || strstr(why, "40 MiB free") != NULL);
	CHECK_EQ("small enough", segment_open_control(&s, name, &params, &created, why, sizeof(why)), 0);
	segment_close(&s, true);
	/* broken, set aside, and then in the way of its successor */
	big.entries = 700000;
	CHECK_EQ("broken", truncate(name, 100), 0);
	CHECK_EQ("the one aside makes room", segment_open_control(&s, name, &big, &created, why, sizeof(why)), 0);
	CHECK_TRUE("created", created);
	segment_close(&s, true);
	CHECK_EQ("unmount", umount(mount_point), 0);
	rmdir(mount_point);
}

static void
test_segment_a_file_with_holes_is_filled_or_refused(void **state)
{
	struct segment s;
	struct stat st;

	(void)state;
	open_control(&s, true);
	segment_close(&s, true);
	CHECK_EQ("as long as allocated", stat(path, &st), 0);
	CHECK_TRUE("no holes", (uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size);
	CHECK_EQ("cut to the head", truncate(path, 2 << 20), 0);
	CHECK_EQ("and grown", truncate(path, st.st_size), 0);
	open_control(&s, false);
	CHECK_EQ("stat", stat(path, &st), 0);
	CHECK_TRUE("filled", (uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size);
	segment_close(&s, true);
	CHECK_EQ("mode", st.st_mode & 0777, 0660);
}

/* PITFALLS 44. */
static void
test_segment_policy_time_ignores_the_wall_clock_until_the_next_boot(void **state)
{
	enum { BOOT1_US = 500 * 1000000 };
	struct segment s;

	(void)state;
	open_control(&s, false);
	CHECK_TRUE("not set", !segment_policy_is_set(&s, "boot-1"));
	segment_policy_start(&s, BOOT1_US, 1000000, "boot-1");
	CHECK_TRUE("set", segment_policy_is_set(&s, "boot-1"));
	CHECK_EQ("the wall clock once", segment_policy_now_s(&s, BOOT1_US), 1000000);
	CHECK_EQ("then boot time", segment_policy_now_s(&s, BOOT1_US + 5000000), 1000005);
	segment_close(&s, false);

	open_control(&s, false); /* the wall clock went back by a day meanwhile */
	segment_policy_start(&s, BOOT1_US + 10 * 1000000, 1000010 - 86400, "boot-1");
	CHECK_EQ("a restart changes nothing", segment_policy_now_s(&s, BOOT1_US + 10 * 1000000), 1000010);
	segment_policy_start(&s, 3 * 1000000, 2000000, "boot-2");
	CHECK_EQ("a reboot reads the wall clock", segment_policy_now_s(&s, 3 * 1000000), 2000000);
	CHECK_TRUE("the boot before is over", !segment_policy_is_set(&s, "boot-1"));
	segment_close(&s, true);
}

static void
test_segment_policy_time_comes_back_from_the_database_in_the_same_boot(void **state)
{
	struct segment s;

	(void)state;
	unlink(path);
	open_control(&s, true); /* deleted while running: the segment is new, the boot is not */
	segment_policy_restore(&s, 777, "boot-0", "boot-1");
	CHECK_TRUE("of another boot: no", !segment_policy_is_set(&s, "boot-1"));
	segment_policy_restore(&s, 777, "", "");
	CHECK_TRUE("of none: no", !segment_policy_is_set(&s, "boot-1"));
	segment_policy_restore(&s, 777, "boot-1", "boot-1");
	CHECK_EQ("of this one: yes", segment_policy_now_s(&s, 1000000), 778);
	segment_policy_start(&s, 1000000, 5555555, "boot-1");
	CHECK_EQ("and it stays", segment_policy_now_s(&s, 1000000), 778);
	segment_close(&s, true);
}

static void
test_segment_policy_time_of_hostile_memory_is_a_time(void **state)
{
	static const struct {
		const char *label;
		int64_t offset_s;
		uint32_t want;
	} rows[] = {
		{ "far past", INT64_MIN, 1 },
		{ "before the beginning", -1000, 1 },
		{ "zero", -10, 1 },
		{ "far future", INT64_MAX, 1 },
		{ "beyond 32 bits", UINT32_MAX, UINT32_MAX },
	};
	struct segment s;
	char id[SEGMENT_BOOT_ID_OCTETS];

	(void)state;
	open_control(&s, false);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		s.live->policy_offset_s = rows[i].offset_s;
		CHECK_EQ(rows[i].label, segment_policy_now_s(&s, 10 * 1000000), rows[i].want);
	}
	memset(s.live->boot_id, 'x', sizeof(s.live->boot_id)); /* without end */
	s.live->policy_offset_set = 1;
	segment_boot_id(id);
	CHECK_EQ("a boot has a name", strlen(id), 36);
	CHECK_TRUE("not this one", !segment_policy_is_set(&s, id));
	CHECK_TRUE("boot time", segment_boot_us() > 0);
	segment_close(&s, true);
}

static void
test_segment_loading_lasts_while_control_lives(void **state)
{
	static const struct {
		const char *label;
		enum segment_loading loading;
		uint32_t left_s;
		uint64_t silent_us;
		uint32_t want_s;
	} rows[] = {
		{ "loaded", SEGMENT_LOADED, 9, 0, 0 },
		{ "loading", SEGMENT_LOADING, 9, 0, 9 },
		{ "at least a second", SEGMENT_LOADING, 0, 0, 1 },
		{ "control away for a restart", SEGMENT_LOADING, 9, SEGMENT_LOADING_SILENT_US - 1, 9 },
		{ "control gone: nobody is put off for ever", SEGMENT_LOADING, 9, SEGMENT_LOADING_SILENT_US, 0 },
		{ "cut short: by what there is", SEGMENT_LOAD_AGAIN, 9, 0, 0 },
		{ "a word nobody writes", (enum segment_loading)77, 9, 0, 0 },
	};
	struct segment_live live = { 0 };
	const struct segment s = { .live = &live };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		live.loading = rows[i].loading;
		live.loading_left_s = rows[i].left_s;
		live.heartbeat_us[SEGMENT_CONTROL] = 1000000;
		CHECK_EQ(rows[i].label, segment_loading_left_s(&s, 1000000 + rows[i].silent_us), rows[i].want_s);
	}
}

static void
test_segment_backends_have_a_slot_each(void **state)
{
	struct segment s;
	const uint32_t keep[] = { 7 };

	(void)state;
	open_control(&s, false);
	CHECK_TRUE("id 0 is none", segment_backend(&s, 0, true) == NULL);
	CHECK_TRUE("not there", segment_backend(&s, 7, false) == NULL);
	CHECK_TRUE("claimed", segment_backend(&s, 7, true) != NULL);
	CHECK_TRUE("the same", segment_backend(&s, 7, true) == segment_backend(&s, 7, false));
	for (uint32_t i = 1; i < CONF_BACKENDS_MAX; i++)
		segment_backend(&s, 100 + i, true)->failures = 3;
	CHECK_TRUE("full", segment_backend(&s, 9999, true) == NULL);
	segment_backends_keep(&s, keep, 1);
	CHECK_TRUE("kept", segment_backend(&s, 7, false) != NULL);
	CHECK_TRUE("freed", segment_backend(&s, 101, false) == NULL);
	CHECK_EQ("and empty", segment_backend(&s, 9999, true)->failures, 0);
	segment_close(&s, true);
}

static void
test_segment_two_controls_at_once_make_one_segment(void **state)
{
	enum { N = 4 };
	pid_t pid[N];
	unsigned winners = 0;

	(void)state;
	unlink(path);
	for (unsigned i = 0; i < N; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			struct segment s;
			char why[256];
			bool created;
			const int rc = segment_open_control(&s, path, &params, &created, why, sizeof(why));

			if (rc == 0)
				usleep(500000); /* until the others have tried */
			_exit(rc == 0 ? 0 : rc == -EWOULDBLOCK ? 1 : 2);
		}
	}
	for (unsigned i = 0; i < N; i++) {
		int status;

		CHECK_EQ("child", waitpid(pid[i], &status, 0), pid[i]);
		CHECK_TRUE("won or told", WIFEXITED(status) && WEXITSTATUS(status) <= 1);
		winners += WEXITSTATUS(status) == 0;
	}
	CHECK_EQ("one", winners, 1);
}

static void
test_turn_bucket_divides_each_power_of_two_in_eight(void **state)
{
	static const struct {
		const char *label;
		uint64_t cycles;
		uint32_t want;
	} rows[] = {
		{ "nothing", 0, 0 },
		{ "below the first", 511, 0 },
		{ "the first", 512, 0 },
		{ "its upper half", 768, 4 },
		{ "its last", 1023, 7 },
		{ "the next", 1024, 8 },
		{ "the last of an eighth", 1151, 8 },
		{ "the next eighth", 1152, 9 },
		{ "the last power", UINT64_C(1) << 24, 120 },
		{ "the last", UINT64_C(15) << 21, 127 },
		{ "beyond", UINT64_MAX, 127 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_EQ(rows[i].label, turn_bucket(rows[i].cycles), rows[i].want);
	for (uint32_t i = 1; i < TURN_BUCKETS; i++) {
		CHECK_EQ("begins where it says", turn_bucket(turn_bucket_from(i)), i);
		CHECK_EQ("and not before", turn_bucket(turn_bucket_from(i) - 1), i - 1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segment_is_shared_and_outlives_both),
		cmocka_unit_test(test_segment_a_role_is_had_once),
		cmocka_unit_test(test_turn_bucket_divides_each_power_of_two_in_eight),
		cmocka_unit_test(test_segment_counts_lives_and_unclean_ends),
		cmocka_unit_test(test_segment_is_swept_once_after_an_unclean_end_while_control_was_away),
		cmocka_unit_test(test_segment_is_safe_from_the_eal_in_hugetlbfs),
		cmocka_unit_test(test_segment_deleted_or_replaced_is_noticed),
		cmocka_unit_test(test_segment_foreign_or_broken_is_set_aside),
		cmocka_unit_test(test_segment_of_another_database_or_with_fewer_workers_is_set_aside),
		cmocka_unit_test(test_segment_folder_of_somebody_else_is_refused),
		cmocka_unit_test(test_segment_says_what_room_is_missing),
		cmocka_unit_test(test_segment_in_a_small_tmpfs),
		cmocka_unit_test(test_segment_a_file_with_holes_is_filled_or_refused),
		cmocka_unit_test(test_segment_policy_time_ignores_the_wall_clock_until_the_next_boot),
		cmocka_unit_test(test_segment_policy_time_comes_back_from_the_database_in_the_same_boot),
		cmocka_unit_test(test_segment_policy_time_of_hostile_memory_is_a_time),
		cmocka_unit_test(test_segment_loading_lasts_while_control_lives),
		cmocka_unit_test(test_segment_backends_have_a_slot_each),
		cmocka_unit_test(test_segment_two_controls_at_once_make_one_segment),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
