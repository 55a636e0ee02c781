/*
 * kept.c - see kept.h.
 *
 * Touches: the file.
 */
#include "dataplane/link/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEPT_MAGIC       UINT64_C(0x00317470656b6c67) /* "glkept1" */
#define KEPT_MODE        0600
#define KEPT_HEAD_OCTETS 4096

struct kept_head {
	uint64_t magic, word, octets;
};

static bool
is_of_us(int fd, const struct kept_head *want)
{
	struct kept_head h;
	struct stat st;

	return pread(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h) && memcmp(&h, want, sizeof(h)) == 0 &&
	       fstat(fd, &st) == 0 && (uint64_t)st.st_size == KEPT_HEAD_OCTETS + want->octets;
}

/* Zeroed, allocated (a hole that tmpfs cannot fill would be a SIGBUS), the head last. */
static int
make_anew(int fd, const struct kept_head *head)
{
	const off_t octets = (off_t)(KEPT_HEAD_OCTETS + head->octets);
	int rc;

	if (ftruncate(fd, 0) != 0)
		return -errno;
	rc = posix_fallocate(fd, 0, octets);
	if (rc != 0)
		return -rc;
	return pwrite(fd, head, sizeof(*head), 0) == (ssize_t)sizeof(*head) ? 0 : -EIO;
}

static void *
open_and_map(const char *path, const struct kept_head *head, int *err)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, KEPT_MODE);
	void *base = MAP_FAILED;

	if (fd < 0) {
		*err = errno;
		return NULL;
	}
	*err = is_of_us(fd, head) ? 0 : -make_anew(fd, head);
	if (*err == 0) {
		base = mmap(NULL, head->octets, PROT_READ | PROT_WRITE, MAP_SHARED, fd, KEPT_HEAD_OCTETS);
		*err = base == MAP_FAILED ? errno : 0;
	}
	close(fd);
	return base == MAP_FAILED ? NULL : base;
}

void *
kept_open(const char *path, uint64_t word, uint64_t octets, char *why, uint32_t why_octets)
{
	const struct kept_head head = { .magic = KEPT_MAGIC, .word = word, .octets = octets };
	int err;
	void *base = open_and_map(path, &head, &err);

	if (base == NULL)
		snprintf(why, why_octets, "%s: %s (%llu KiB are wanted)", path, strerror(err),
			(unsigned long long)(KEPT_HEAD_OCTETS + octets) >> 10);
	return base;
}
