/*
 * segment.c - creating, checking and attaching the shared memory; policy time; slots of backends.
 *
 * Flow:   see segment.h.
 * Touches: the segment's file, PATH.lock (held only while control opens), PATH.tmp.PID, PATH.aside.
 * Keeps:  a file of that name is complete: it is filled under another name, its magic last, and renamed. Its head is
 *         copied once and compared as a whole with the head this build would write, so nothing in it steers a pointer.
 *         Every block of it is allocated before it is touched (posix_fallocate), else the first touch of a page a full
 *         tmpfs cannot give is a SIGBUS. Locks are open-file-description locks on the segment (octet = role), gone with
 *         the process however it ends; besides, each process holds a shared flock(), which is what the EAL looks for
 *         before it deletes a file from hugetlbfs.
 */
#include "dataplane/link/segment.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"

#define SEGMENT_MODE           0660 /* the two service users share a group */
#define SEGMENT_FOLDER_MODE    0770
#define SEGMENT_ALIGN_OCTETS   4096
#define SEGMENT_HEAD_OCTETS    4096
#define SEGMENT_HUGE_OCTETS    ((uint64_t)LARGE_PAGE_OCTETS)
#define SEGMENT_OPEN_TRIES_MAX 8   /* the path changed between open and lock */
#define SEGMENT_LOCK_TRIES_MAX 100 /* another control is just opening: 20 ms each */
#define SEGMENT_LOCK_WAIT_NS   20000000

struct part {
	uint64_t offset, octets;
};

/* The first page. All of it follows from entries, n_buckets, n_workers and table_key, so a reader computes it and
 * compares. */
struct segment_head {
	uint64_t magic; /* stored last */
	uint32_t abi;
	uint32_t counters_word; /* names and order of the counters */
	uint32_t sizes_word;    /* of every struct that lies in here */
	uint32_t n_buckets;
	uint32_t n_workers;
	uint32_t reserved;
	uint64_t entries;
	struct siphash_key table_key;
	struct part live, budget, sources, event, answer, counters, backends, certs, table;
	uint64_t octets;
	uint64_t checksum; /* SipHash with a fixed key of all between magic and here: against damage */
};

static_assert(sizeof(struct segment_head) <= SEGMENT_HEAD_OCTETS, "the head is one page");

static const struct siphash_key word_key = { UINT64_C(0x677265796c696e65), UINT64_C(0x7365676d656e7431) };

__attribute__((format(printf, 3, 4))) static void
say(char *why, uint32_t why_octets, const char *format, ...)
{
	va_list ap;

	if (why_octets == 0)
		return;
	va_start(ap, format);
	vsnprintf(why, why_octets, format, ap);
	va_end(ap);
}

/* --- layout --- */

static uint32_t
counters_word(void)
{
	struct siphash_state s;

	siphash_init(&s, &word_key);
	for (unsigned i = 0; i < COUNTER_N; i++) {
		siphash_update(&s, counter_names[i].group, strlen(counter_names[i].group) + 1);
		siphash_update(&s, counter_names[i].name, strlen(counter_names[i].name) + 1);
	}
	return (uint32_t)siphash_final(&s);
}

static uint32_t
sizes_word(void)
{
	const uint32_t sizes[] = { sizeof(struct segment_live), offsetof(struct segment_live, policy_offset_s),
		offsetof(struct segment_live, snapshot_in_force), offsetof(struct segment_live, unclean_ends),
		offsetof(struct segment_live, boot_id), sizeof(struct source_budget_cell), SOURCE_BUDGET_CELLS,
		sizeof(struct source_cell), SOURCE_CELLS_PER_WORKER, sizeof(struct ring_shared), LINK_EVENT_OCTETS,
		LINK_EVENT_RECORDS, LINK_ANSWER_OCTETS, LINK_ANSWER_RECORDS, sizeof(struct link_event_client),
		sizeof(struct link_event_name), sizeof(struct link_event_log), sizeof(struct link_answer_client),
		sizeof(struct link_answer_probe), LOG_FIELD_N, sizeof(struct backend_state),
		offsetof(struct backend_state, size_octets), offsetof(struct backend_state, words), CONF_BACKENDS_MAX,
		COUNTER_N, sizeof(struct vt_entry), sizeof(struct cert_area), offsetof(struct cert_area, row),
		sizeof(struct cert_status), VT_KIND_KNOWN };

	return (uint32_t)siphash(&word_key, sizes, sizeof(sizes));
}

static struct part
place(uint64_t *at, uint64_t octets)
{
	const struct part p = { .offset = *at, .octets = octets };

	*at = (*at + octets + SEGMENT_ALIGN_OCTETS - 1) & ~(uint64_t)(SEGMENT_ALIGN_OCTETS - 1);
	return p;
}

static uint64_t
head_checksum(const struct segment_head *h)
{
	return siphash(
		&word_key, &h->abi, offsetof(struct segment_head, checksum) - offsetof(struct segment_head, abi));
}

/* A power of two, for any number of workers. */
static uint32_t
source_cells_for(uint32_t n_workers)
{
	uint32_t n = SOURCE_CELLS_PER_WORKER;

	while (n < n_workers * SOURCE_CELLS_PER_WORKER)
		n *= 2;
	return n;
}

static struct segment_head
head_for(uint64_t entries, uint32_t n_buckets, uint32_t n_workers, const struct siphash_key *key)
{
	struct segment_head h;
	uint64_t at = SEGMENT_HEAD_OCTETS;

	memset(&h, 0, sizeof(h)); /* padding too: heads are compared octet by octet */
	h.magic = SEGMENT_MAGIC;
	h.abi = SEGMENT_ABI;
	h.counters_word = counters_word();
	h.sizes_word = sizes_word();
	h.n_buckets = n_buckets;
	h.n_workers = n_workers;
	h.entries = entries;
	h.table_key = *key;
	h.live = place(&at, sizeof(struct segment_live));
	h.budget = place(&at, SOURCE_BUDGET_CELLS * sizeof(struct source_budget_cell));
	h.sources = place(&at, source_cells_for(n_workers) * sizeof(struct source_cell));
	h.event = place(&at, n_workers * ring_octets(LINK_EVENT_OCTETS, LINK_EVENT_RECORDS));
	h.answer = place(&at, n_workers * ring_octets(LINK_ANSWER_OCTETS, LINK_ANSWER_RECORDS));
	h.counters = place(&at, (CONF_WORKERS_MAX + 1) * sizeof(struct counters));
	h.backends = place(&at, CONF_BACKENDS_MAX * sizeof(struct backend_state));
	h.certs = place(&at, sizeof(struct cert_area));
	h.table = place(&at, verdict_table_octets(n_buckets));
	h.octets = (at + SEGMENT_HUGE_OCTETS - 1) & ~(SEGMENT_HUGE_OCTETS - 1); /* hugetlbfs has whole pages alone */
	h.checksum = head_checksum(&h);
	return h;
}

uint64_t
segment_octets_for(const struct segment_params *params)
{
	return head_for(params->entries, verdict_table_buckets_for(params->entries),
		params->workers != 0 ? params->workers : CONF_WORKERS_MAX, &params->table_key)
	        .octets;
}

/* Whether a copied head is what this build writes for its numbers, and the file is as long as it says. */
static bool
head_valid(const struct segment_head *h, uint64_t file_octets, char *why, uint32_t why_octets)
{
	struct segment_head want;

	if (h->magic != SEGMENT_MAGIC) {
		say(why, why_octets, "not a segment, or one that was never finished");
		return false;
	}
	if (h->abi != SEGMENT_ABI || h->counters_word != counters_word() || h->sizes_word != sizes_word()) {
		say(why, why_octets, "a segment of another version");
		return false;
	}
	if (h->n_workers == 0 || h->n_workers > CONF_WORKERS_MAX || h->n_buckets == 0) {
		say(why, why_octets, "%u workers, %u buckets", h->n_workers, h->n_buckets);
		return false;
	}
	want = head_for(h->entries, h->n_buckets, h->n_workers, &h->table_key);
	if (memcmp(h, &want, sizeof(want)) != 0) {
		say(why, why_octets, "its head is damaged");
		return false;
	}
	if (file_octets < want.octets) {
		say(why, why_octets, "%llu octets of %llu are there", (unsigned long long)file_octets,
			(unsigned long long)want.octets);
		return false;
	}
	return true;
}

/* --- files and locks --- */

static int
lock_octet(int fd, off_t octet)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = octet, .l_len = 1 };

	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	return errno == EACCES || errno == EAGAIN ? -EWOULDBLOCK : -errno;
}

static bool
names_this_file(const char *path, int fd)
{
	struct stat by_path, by_fd;

	return stat(path, &by_path) == 0 && fstat(fd, &by_fd) == 0 && by_path.st_dev == by_fd.st_dev &&
	       by_path.st_ino == by_fd.st_ino;
}

/* Opens the file that path names and takes the role's lock on it. Gives the descriptor, or -errno. */
static int
open_locked(const char *path, enum segment_role role)
{
	for (unsigned tries = 0; tries < SEGMENT_OPEN_TRIES_MAX; tries++) {
		const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		int rc;

		if (fd < 0)
			return -errno;
		rc = lock_octet(fd, role);
		if (rc == 0 && names_this_file(path, fd))
			return fd;
		close(fd);
		if (rc != 0)
			return rc;
	}
	return -EAGAIN;
}

/* Two controls starting at once would each create a segment: the second waits here, then meets the first one's lock. */
static int
open_lock_file(const char *path)
{
	const struct timespec wait = { .tv_nsec = SEGMENT_LOCK_WAIT_NS };
	char name[SEGMENT_PATH_OCTETS + 8];
	int fd, rc = -EWOULDBLOCK;

	snprintf(name, sizeof(name), "%s.lock", path);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, SEGMENT_MODE);
	if (fd < 0)
		return -errno;
	for (unsigned tries = 0; tries < SEGMENT_LOCK_TRIES_MAX && rc == -EWOULDBLOCK; tries++) {
		if (tries > 0)
			nanosleep(&wait, NULL);
		rc = lock_octet(fd, 0);
	}
	if (rc != 0) {
		close(fd);
		return rc;
	}
	return fd;
}

static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static int
check_path(const char *path, char *why, uint32_t why_octets)
{
	if (path[0] == '\0' || strlen(path) >= SEGMENT_PATH_OCTETS || strstr(base_name(path), "map_") != NULL) {
		say(why, why_octets,
			"%s: a segment cannot have this name (empty, too long, or with map_, which the EAL deletes)",
			path);
		return -EINVAL;
	}
	return 0;
}

/* A folder somebody else may rename files in is no place for ours: /dev/shm is open to all, and our name is no secret. */
static bool
is_ours(const struct stat *st)
{
	return S_ISDIR(st->st_mode) && (st->st_uid == geteuid() || st->st_uid == 0) &&
	       ((st->st_mode & S_IWOTH) == 0 || (st->st_mode & S_ISVTX) != 0);
}

/* The folder of path, one level; it may be there. -EPERM where it belongs to somebody else. */
static int
make_folder(const char *path)
{
	char folder[SEGMENT_PATH_OCTETS];
	struct stat st;
	char *slash;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash == NULL || slash == folder)
		return 0;
	*slash = '\0';
	if (mkdir(folder, SEGMENT_FOLDER_MODE) != 0 && errno != EEXIST)
		return -errno;
	if (lstat(folder, &st) != 0)
		return -errno;
	return is_ours(&st) ? 0 : -EPERM;
}

/* --- mapping --- */

static void
bind(struct segment *s, const struct segment_head *h)
{
	uint8_t *base = s->base;

	s->live = (struct segment_live *)(void *)(base + h->live.offset);
	s->budget = (struct source_budget_cell *)(void *)(base + h->budget.offset);
	source_table_bind(&s->sources, base + h->sources.offset, source_cells_for(h->n_workers), &h->table_key);
	s->counters = (struct counters *)(void *)(base + h->counters.offset);
	s->backends = (struct backend_state *)(void *)(base + h->backends.offset);
	s->certs = (struct cert_area *)(void *)(base + h->certs.offset);
	for (uint32_t i = 0; i < h->n_workers; i++) {
		ring_bind(&s->event[i], base + h->event.offset + i * ring_octets(LINK_EVENT_OCTETS, LINK_EVENT_RECORDS),
			LINK_EVENT_OCTETS, LINK_EVENT_RECORDS);
		ring_bind(&s->answer[i],
			base + h->answer.offset + i * ring_octets(LINK_ANSWER_OCTETS, LINK_ANSWER_RECORDS),
			LINK_ANSWER_OCTETS, LINK_ANSWER_RECORDS);
	}
	verdict_table_bind(&s->table, base + h->table.offset, h->n_buckets, &h->table_key);
	s->n_workers = h->n_workers;
	s->entries = h->entries;
}

static int
map_file(struct segment *s, uint64_t octets)
{
	void *base = large_map_file(s->fd, octets, s->read_only ? PROT_READ : PROT_READ | PROT_WRITE);

	if (base == MAP_FAILED)
		return -errno;
	s->base = base;
	s->octets = octets;
	return 0;
}

/* Maps the open file s->fd after its head was found valid. -EPROTO: foreign or broken. */
static int
map_checked(struct segment *s, char *why, uint32_t why_octets)
{
	struct segment_head head;
	struct stat st;
	int rc;

	if (fstat(s->fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < SEGMENT_HUGE_OCTETS) {
		say(why, why_octets, "not a segment: %lld octets", (long long)st.st_size);
		return -EPROTO;
	}
	if (pread(s->fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head)) {
		say(why, why_octets, "its head cannot be read");
		return -EPROTO;
	}
	if (!head_valid(&head, (uint64_t)st.st_size, why, why_octets))
		return -EPROTO;
	/* a sparse file (copied, or cut and grown) would kill us at its first hole that the file system cannot fill */
	if (!s->read_only && (rc = posix_fallocate(s->fd, 0, (off_t)head.octets)) != 0) {
		say(why, why_octets, "it has holes, and the file system no room for them: %s", strerror(rc));
		return -EPROTO;
	}
	rc = map_file(s, head.octets);
	if (rc == 0)
		bind(s, &head);
	return rc;
}

/* Counts the role's new life, and whether the last one ended in order. */
static void
begin_life(struct segment *s)
{
	const bool clean = __atomic_exchange_n(&s->live->clean_end[s->role], 0, __ATOMIC_ACQ_REL) != 0;

	s->incarnation = __atomic_add_fetch(&s->live->incarnation[s->role], 1, __ATOMIC_ACQ_REL);
	s->was_unclean = s->incarnation > 1 && !clean;
	if (s->role == SEGMENT_DATAPLANE)
		source_table_forget_sessions(&s->sources); /* those of an earlier life are gone with it */
	if (s->was_unclean)
		__atomic_add_fetch(&s->live->unclean_ends, 1, __ATOMIC_ACQ_REL);
	__atomic_store_n(s->role == SEGMENT_CONTROL ? &s->live->control_pid : &s->live->dataplane_pid,
		(uint32_t)getpid(), __ATOMIC_RELAXED);
}

/*
 * A writer that was killed between its swap and its dirty bit left an entry the database will not hear of. Once after
 * such an end, while control runs or while it is away, every bucket is marked; the marks stay in the segment, so this
 * is done when they are set.
 */
static void
sweep_after_unclean_ends(struct segment *s)
{
	const uint32_t ends = __atomic_load_n(&s->live->unclean_ends, __ATOMIC_ACQUIRE);

	if (ends == __atomic_load_n(&s->live->unclean_swept, __ATOMIC_ACQUIRE))
		return;
	verdict_table_dirty_all(&s->table);
	__atomic_store_n(&s->live->unclean_swept, ends, __ATOMIC_RELEASE);
}

static void
drop(struct segment *s)
{
	if (s->base != NULL)
		munmap(s->base, s->octets);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct segment){ .fd = -1 };
}

/*
 * In pages of 2 MiB where the kernel has them: a look at the table touches lines all over it. posix_fallocate() alone would fill a tmpfs with pages of
 * 4 KiB, unless it is mounted with huge=always or within_size: so each 2 MiB get one octet, which is enough for a collapse into a huge page, and
 * posix_fallocate() comes after it for whatever stayed empty.
 */
static void
allocate_huge(struct segment *s)
{
	const char zero = 0;

	for (uint64_t at = 0; at < s->octets; at += SEGMENT_HUGE_OCTETS)
		if (pwrite(s->fd, &zero, 1, (off_t)at) != 1)
			return; /* no room; or hugetlbfs, which has no other pages and no write() */
	large_collapse(s->base, s->octets);
}

/* Room for octets in the file that s->fd is, all of it, and its mapping. 0 or -errno with what is missing in why. */
static int
allocate(struct segment *s, const char *path, uint64_t octets, bool plain_pages, char *why, uint32_t why_octets)
{
	const int fd = s->fd;
	int rc = ftruncate(fd, (off_t)octets) == 0 ? 0 : errno;
	struct statvfs fs;

	if (rc == 0)
		rc = -map_file(s, octets);
	if (rc == 0 && !plain_pages)
		allocate_huge(s);
	if (rc == 0)
		rc = posix_fallocate(fd, 0, (off_t)octets);
	if (rc == 0)
		return 0;
	(void)ftruncate(fd, 0); /* what it has is free again, and counted so */
	if (fstatvfs(fd, &fs) == 0)
		say(why, why_octets, "%s: needs %llu MiB, its file system has %llu MiB free: %s", path,
			(unsigned long long)(octets >> 20), (unsigned long long)fs.f_bavail * fs.f_frsize >> 20,
			strerror(rc));
	else
		say(why, why_octets, "%s: needs %llu MiB: %s", path, (unsigned long long)(octets >> 20), strerror(rc));
	return rc == ENOMEM ? -ENOSPC : -rc; /* hugetlbfs says ENOSPC or ENOMEM */
}

/* Fills the file that s->fd is, under its temporary name. The magic comes last. */
static int
fill(struct segment *s, const struct segment_head *head, const char *path, bool plain_pages, char *why,
	uint32_t why_octets)
{
	struct segment_head *in_place;
	const int rc = allocate(s, path, head->octets, plain_pages, why, why_octets);

	if (rc != 0)
		return rc;
	/* posix_fallocate() reserves pages, their first touch zeroes them: before the data plane is told, not in its first seconds of service.
	 * Linux 5.14; without it each page waits for its first touch. */
	(void)madvise(s->base, head->octets, MADV_POPULATE_WRITE);
	in_place = s->base;
	memcpy(&in_place->abi, &head->abi, sizeof(*head) - offsetof(struct segment_head, abi));
	__atomic_store_n(&in_place->magic, head->magic, __ATOMIC_RELEASE);
	bind(s, head);
	return 0;
}

static int
create(struct segment *s, const char *path, const struct segment_params *params, char *why, uint32_t why_octets)
{
	const struct segment_head head = head_for(
		params->entries, verdict_table_buckets_for(params->entries), params->workers, &params->table_key);
	char temporary[SEGMENT_PATH_OCTETS + 32];
	int rc;

	snprintf(temporary, sizeof(temporary), "%s.tmp", path); /* the lock file makes us the only one */
	(void)unlink(temporary);                                /* of a control that was killed here */
	s->fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, SEGMENT_MODE);
	if (s->fd < 0) {
		rc = -errno;
		say(why, why_octets, "%s: %s", temporary, strerror(-rc));
		return rc;
	}
	(void)fchmod(s->fd, SEGMENT_MODE); /* whatever the umask: the data plane's user is in the group */
	rc = lock_octet(s->fd, SEGMENT_CONTROL);
	if (rc == 0)
		rc = fill(s, &head, path, params->plain_pages, why, why_octets);
	if (rc == 0 && rename(temporary, path) != 0)
		rc = -errno;
	if (rc != 0) {
		(void)unlink(temporary);
		drop(s);
	}
	return rc;
}

/* A folder of that name goes only when it is empty: we did not fill it. */
static void
forget_aside(const char *path)
{
	char aside[SEGMENT_PATH_OCTETS + 8];

	snprintf(aside, sizeof(aside), "%s.aside", path);
	if (unlink(aside) != 0 && errno == EISDIR)
		(void)rmdir(aside);
}

/* Out of the way, but not lost: somebody may want to know what it was. One such file is kept. */
static int
set_aside(const char *path)
{
	char aside[SEGMENT_PATH_OCTETS + 8];

	forget_aside(path);
	snprintf(aside, sizeof(aside), "%s.aside", path);
	return rename(path, aside) == 0 || errno == ENOENT ? 0 : -errno;
}

/* Attaches control to the file that is there. -EPROTO: not usable for these params. */
static int
attach_control(struct segment *s, const char *path, const struct segment_params *params, char *why, uint32_t why_octets)
{
	int rc;

	s->fd = open_locked(path, SEGMENT_CONTROL);
	if (s->fd < 0) {
		rc = s->fd;
		if (rc == -EWOULDBLOCK)
			say(why, why_octets, "%s: another control is running", path);
		return rc == -ELOOP || rc == -EISDIR || rc == -ENXIO ? -EPROTO : rc;
	}
	rc = map_checked(s, why, why_octets);
	if (rc == 0 && (s->table.key.k0 != params->table_key.k0 || s->table.key.k1 != params->table_key.k1)) {
		say(why, why_octets, "it belongs to another database");
		rc = -EPROTO;
	}
	if (rc == 0 && s->n_workers < params->workers) {
		say(why, why_octets, "it has rings for %u workers, %u are wanted", s->n_workers, params->workers);
		rc = -EPROTO;
	}
	if (rc != 0)
		drop(s);
	return rc;
}

static int
open_or_create(struct segment *s, const char *path, const struct segment_params *params, bool *created, char *why,
	uint32_t why_octets)
{
	int rc = attach_control(s, path, params, why, why_octets);

	*created = false;
	if (rc != -EPROTO && rc != -ENOENT)
		return rc;
	if (rc == -EPROTO && (rc = set_aside(path)) != 0)
		return rc;
	rc = create(s, path, params, why, why_octets);
	if (rc == -ENOSPC) { /* what was set aside may be what fills the file system */
		forget_aside(path);
		rc = create(s, path, params, why, why_octets);
	}
	*created = rc == 0;
	return rc;
}

int
segment_open_control(struct segment *s, const char *path, const struct segment_params *params, bool *created, char *why,
	uint32_t why_octets)
{
	struct segment_params full = *params;
	struct segment new = { .fd = -1, .role = SEGMENT_CONTROL };
	int lock_fd, rc;

	say(why, why_octets, "%s", "");
	if (full.workers == 0 || full.workers > CONF_WORKERS_MAX)
		full.workers = CONF_WORKERS_MAX;
	rc = check_path(path, why, why_octets);
	if (rc != 0)
		return rc;
	rc = make_folder(path);
	if (rc != 0) {
		say(why, why_octets, "the folder of %s: %s", path, strerror(-rc));
		return rc;
	}
	lock_fd = open_lock_file(path);
	if (lock_fd < 0) {
		say(why, why_octets, "%s.lock: %s", path,
			lock_fd == -EWOULDBLOCK ? "another control is starting" : strerror(-lock_fd));
		return lock_fd;
	}
	rc = open_or_create(&new, path, &full, created, why, why_octets);
	close(lock_fd);
	if (rc != 0) {
		if (why_octets > 0 && why[0] == '\0')
			say(why, why_octets, "%s: %s", path, strerror(-rc));
		return rc;
	}
	new.role = SEGMENT_CONTROL;
	(void)flock(new.fd, LOCK_SH | LOCK_NB);
	snprintf(new.path, sizeof(new.path), "%s", path);
	begin_life(&new);
	sweep_after_unclean_ends(&new);
	*s = new;
	return 0;
}

int
segment_open_dataplane(struct segment *s, const char *path, char *why, uint32_t why_octets)
{
	struct segment new = { .fd = -1, .role = SEGMENT_DATAPLANE };
	int rc = check_path(path, why, why_octets);

	if (rc != 0)
		return rc;
	say(why, why_octets, "%s", "");
	new.fd = open_locked(path, SEGMENT_DATAPLANE);
	if (new.fd < 0) {
		rc = new.fd;
		say(why, why_octets, "%s: %s", path,
			rc == -EWOULDBLOCK ? "another data plane is running" : strerror(-rc));
		return rc == -ELOOP || rc == -EISDIR || rc == -ENXIO ? -EPROTO : rc;
	}
	rc = map_checked(&new, why, why_octets);
	if (rc != 0) {
		drop(&new);
		return rc;
	}
	(void)flock(new.fd, LOCK_SH | LOCK_NB);
	(void)madvise(new.base, new.octets,
		MADV_POPULATE_WRITE); /* Linux 5.14; without it the first touches fault, once each */
	snprintf(new.path, sizeof(new.path), "%s", path);
	begin_life(&new);
	*s = new;
	return 0;
}

int
segment_open_reader(struct segment *s, const char *path, char *why, uint32_t why_octets)
{
	struct segment new = { .fd = -1, .read_only = true };
	int rc = check_path(path, why, why_octets);

	if (rc != 0)
		return rc;
	say(why, why_octets, "%s", "");
	new.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (new.fd < 0) {
		rc = -errno;
		say(why, why_octets, "%s: %s", path, strerror(-rc));
		return rc;
	}
	rc = map_checked(&new, why, why_octets);
	if (rc != 0) {
		drop(&new);
		return rc;
	}
	snprintf(new.path, sizeof(new.path), "%s", path);
	*s = new;
	return 0;
}

void
segment_close(struct segment *s, bool clean)
{
	if (s->base != NULL && !s->read_only && clean)
		__atomic_store_n(&s->live->clean_end[s->role], 1, __ATOMIC_RELEASE);
	drop(s);
}

bool
segment_is_current(const struct segment *s)
{
	return s->fd >= 0 && names_this_file(s->path, s->fd);
}

/* --- policy time --- */

uint64_t
segment_boot_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void
segment_boot_id(char out[SEGMENT_BOOT_ID_OCTETS])
{
	const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	memset(out, 0, SEGMENT_BOOT_ID_OCTETS);
	if (fd < 0)
		return;
	n = read(fd, out, SEGMENT_BOOT_ID_OCTETS - 1);
	close(fd);
	if (n <= 0)
		memset(out, 0, SEGMENT_BOOT_ID_OCTETS);
	out[strcspn(out, "\n")] = '\0';
}

uint32_t
segment_policy_now_s(const struct segment *s, uint64_t boot_us)
{
	const int64_t offset_s = __atomic_load_n(&s->live->policy_offset_s, __ATOMIC_ACQUIRE);
	int64_t now_s;

	if (__builtin_add_overflow((int64_t)(boot_us / 1000000), offset_s, &now_s) || now_s < 1)
		return 1; /* a hostile offset; 0 is kept for "never" */
	return now_s > UINT32_MAX ? UINT32_MAX : (uint32_t)now_s;
}

uint32_t
segment_loading_left_s(const struct segment *s, uint64_t boot_us)
{
	uint32_t left_s;

	if (__atomic_load_n(&s->live->loading, __ATOMIC_ACQUIRE) != SEGMENT_LOADING ||
		boot_us >= __atomic_load_n(&s->live->heartbeat_us[SEGMENT_CONTROL], __ATOMIC_RELAXED) +
				   SEGMENT_LOADING_SILENT_US)
		return 0;
	left_s = __atomic_load_n(&s->live->loading_left_s, __ATOMIC_RELAXED);
	return left_s > 0 ? left_s : 1;
}

bool
segment_policy_is_set(const struct segment *s, const char *boot_id)
{
	char kept[SEGMENT_BOOT_ID_OCTETS];

	if (__atomic_load_n(&s->live->policy_offset_set, __ATOMIC_ACQUIRE) == 0)
		return false;
	memcpy(kept, s->live->boot_id, sizeof(kept));
	return strnlen(kept, sizeof(kept)) < sizeof(kept) && strncmp(kept, boot_id, sizeof(kept)) == 0;
}

/* The flag goes down first and up last: killed between, the next start sets the offset anew. */
static void
policy_set(struct segment *s, int64_t offset_s, const char *boot_id)
{
	__atomic_store_n(&s->live->policy_offset_set, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&s->live->policy_offset_s, offset_s, __ATOMIC_RELEASE);
	memset(s->live->boot_id, 0, sizeof(s->live->boot_id));
	memcpy(s->live->boot_id, boot_id, strnlen(boot_id, sizeof(s->live->boot_id) - 1));
	__atomic_store_n(&s->live->policy_offset_set, 1, __ATOMIC_RELEASE);
}

void
segment_policy_start(struct segment *s, uint64_t boot_us, uint64_t wall_s, const char *boot_id)
{
	if (!segment_policy_is_set(s, boot_id))
		policy_set(s, (int64_t)wall_s - (int64_t)(boot_us / 1000000), boot_id);
}

void
segment_policy_restore(struct segment *s, int64_t offset_s, const char *of_boot_id, const char *boot_id)
{
	if (!segment_policy_is_set(s, boot_id) && of_boot_id[0] != '\0' && strcmp(of_boot_id, boot_id) == 0)
		policy_set(s, offset_s, boot_id);
}

/* --- backends --- */

struct backend_state *
segment_backend(struct segment *s, uint32_t id, bool create_one)
{
	if (id == 0)
		return NULL;
	for (unsigned i = 0; i < CONF_BACKENDS_MAX; i++) {
		if (__atomic_load_n(&s->backends[i].id, __ATOMIC_ACQUIRE) == id)
			return &s->backends[i];
	}
	for (unsigned i = 0; create_one && i < CONF_BACKENDS_MAX; i++) {
		uint32_t free_id = 0;

		if (__atomic_compare_exchange_n(
			    &s->backends[i].id, &free_id, id, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ||
			free_id == id)
			return &s->backends[i];
	}
	return NULL;
}

void
segment_backends_keep(struct segment *s, const uint32_t *ids, uint32_t n)
{
	for (unsigned i = 0; i < CONF_BACKENDS_MAX; i++) {
		const uint32_t id = __atomic_load_n(&s->backends[i].id, __ATOMIC_ACQUIRE);
		bool wanted = id == 0;

		for (uint32_t k = 0; k < n && !wanted; k++)
			wanted = ids[k] == id;
		if (wanted)
			continue;
		memset((uint8_t *)&s->backends[i] + sizeof(s->backends[i].id), 0,
			sizeof(s->backends[i]) - sizeof(s->backends[i].id));
		__atomic_store_n(&s->backends[i].id, 0, __ATOMIC_RELEASE);
	}
}
