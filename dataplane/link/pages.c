/*
 * pages.c - see pages.h.
 *
 * Source: proc(5), "/proc/pid/smaps": a line for each mapping, then its figures in kB. Rss holds everything but hugetlb's pages.
 */
#include "dataplane/link/pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LINE_OCTETS 512 /* longer ones, of a long path, are read in parts that mean nothing */

struct mapping {
	uint64_t from, to;
	bool writable;
};

static bool
begins_mapping(const char *line, struct mapping *m)
{
	struct mapping read;
	char mode[5];

	/* names of figures begin with digits of that kind, too: nothing is taken over before all of it was read */
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &read.from, &read.to, mode) != 3)
		return false;
	read.writable = mode[1] == 'w';
	*m = read;
	return true;
}

static void
count(const char *line, struct pages *p)
{
	static const char *const huge[] = { "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb",
		"Private_Hugetlb" };
	char name[24];
	uint64_t kib;

	if (sscanf(line, "%23[A-Za-z_]: %" SCNu64 " kB", name, &kib) != 2)
		return;
	if (strcmp(name, "Rss") == 0 || strcmp(name, "Shared_Hugetlb") == 0 || strcmp(name, "Private_Hugetlb") == 0)
		p->octets += kib << 10;
	for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++)
		if (strcmp(name, huge[i]) == 0)
			p->huge_octets += kib << 10;
}

int
pages_read(FILE *f, const void *at, size_t octets, struct pages *there, struct pages *else_where)
{
	const uint64_t from = (uintptr_t)at, to = from + octets;
	struct pages in = { 0 }, out = { 0 };
	struct mapping m = { 0 };
	bool any = false;
	char line[LINE_OCTETS];

	while (fgets(line, sizeof(line), f) != NULL) {
		if (begins_mapping(line, &m))
			any = true;
		else if (m.from >= from && m.to <= to)
			count(line, &in);
		else if (m.writable)
			count(line, &out);
	}
	if (ferror(f))
		return -EIO;
	if (!any)
		return -ENOSYS;
	*there = in;
	*else_where = out;
	return 0;
}

int
pages_look(const void *at, size_t octets, struct pages *there, struct pages *else_where)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	int rc;

	if (f == NULL)
		return errno == ENOENT ? -ENOSYS : -errno;
	rc = pages_read(f, at, octets, there, else_where);
	fclose(f);
	return rc;
}
