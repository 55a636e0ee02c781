/*
 * fuzz_link_segment.c - a segment with hostile contents: its head is refused or sound, and whatever lies in it harms
 * nobody.
 *
 * Input:  rows of 6 octets: part (0: head; then live, budget, event ring, answer ring, counters, backends, table,
 *         bitmaps), offset in the part (2, little endian, times 8 but for the head), value, how many octets of it (1 to
 *         255), whether the head's checksum is put right (odd). Applied to a sound segment of this build.
 * Touches: one file in /dev/shm, made once, removed at the end. Includes the source for the layout of the head.
 */
#include "dataplane/link/segment.c"

#include <stdlib.h>

#include "dataplane/link/log_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROW_OCTETS 6
#define ROWS_MAX   64
#define EVENTS_MAX (LINK_EVENT_RECORDS + 1)

static char fuzz_path[128], fuzz_folder[100];
static struct segment_head sound;
static struct segment mine; /* the sound one, kept mapped: the one who writes what is hostile */

static void
clean_up(void)
{
	char name[160];

	unlink(fuzz_path);
	snprintf(name, sizeof(name), "%s.lock", fuzz_path);
	unlink(name);
	rmdir(fuzz_folder);
}

static void
set_up(void)
{
	const struct segment_params params = { .entries = 300, .table_key = { 1, 2 }, .workers = 1 };
	char why[256];
	bool created;

	snprintf(fuzz_folder, sizeof(fuzz_folder), "/dev/shm/greyline-fuzz-%d", (int)getpid());
	snprintf(fuzz_path, sizeof(fuzz_path), "%s/segment", fuzz_folder);
	BUG_ON(segment_open_control(&mine, fuzz_path, &params, &created, why, sizeof(why)) != 0);
	memcpy(&sound, mine.base, sizeof(sound));
	atexit(clean_up);
}

/* What both daemons do with what lies there. */
static void
use(struct segment *s)
{
	const struct vt_ages ages = {
		.now_s = segment_policy_now_s(s, 5000000), .grey_s = 100, .white_s = 1000, .client_s = 10, .auto_s = 10
	};
	const struct ip_addr a = ip_addr_v4(0xc0000200);
	uint32_t buckets[128], cursor = 0, n;
	char id[SEGMENT_BOOT_ID_OCTETS] = "boot", why[64];
	struct vt_counts counts;
	union link_answer answer;
	union link_event event;

	for (unsigned i = 0; i < EVENTS_MAX && link_event_take(&s->event[0], &event) != LINK_EMPTY; i++)
		;
	for (unsigned i = 0; i < EVENTS_MAX && link_answer_take(&s->answer[0], &answer) != LINK_EMPTY; i++)
		;
	BUG_ON(ring_count(&s->event[0]) > LINK_EVENT_RECORDS);
	(void)segment_policy_is_set(s, id);
	segment_policy_start(s, 1, 2, id);
	(void)source_budget_take(s->budget, siphash(&s->table.key, a.octet, sizeof(a.octet)), 5, 7200);
	(void)segment_backend(s, 77, true);
	segment_backends_keep(s, buckets, 0);
	verdict_table_requeue_in_flight(&s->table);
	while ((n = verdict_table_take_dirty(&s->table, &cursor, buckets, ARRAY_LEN(buckets))) > 0) {
		for (uint32_t i = 0; i < n; i++) {
			struct vt_entry e[4], evicted;

			verdict_table_read_bucket(&s->table, buckets[i], e);
			for (unsigned k = 0; k < 4; k++) {
				if (vt_kind(&e[k]) != VT_FREE)
					(void)verdict_table_put(&s->table, NULL, &e[k], &ages, &evicted);
			}
		}
		verdict_table_committed(&s->table, buckets, n);
		break; /* once: what was put is dirty again */
	}
	(void)verdict_table_check(&s->table, why, sizeof(why));
	verdict_table_count(&s->table, &counts);
	BUG_ON(counts.used > (uint64_t)s->table.n_buckets * 4);
}

static void
apply(const uint8_t *row)
{
	const struct part parts[] = { { 0, sizeof(sound) }, sound.live, sound.budget, sound.event, sound.answer,
		sound.counters, sound.backends, sound.table,
		{ sound.table.offset + (uint64_t)sound.n_buckets * 64,
			sound.table.octets - (uint64_t)sound.n_buckets * 64 } };
	const struct part *p = &parts[row[0] % ARRAY_LEN(parts)];
	const uint64_t at = ((uint64_t)row[1] | (uint64_t)row[2] << 8) * (p->offset == 0 ? 1 : 8) % p->octets;

	memset((uint8_t *)mine.base + p->offset + at, row[3], MIN((uint64_t)row[4], p->octets - at));
	if (p->offset == 0 && row[5] % 2 == 1) {
		struct segment_head *h = mine.base;

		h->magic = SEGMENT_MAGIC;
		h->checksum = head_checksum(h);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct segment s;
	char why[256];
	int rc;

	if (mine.base == NULL)
		set_up();
	memset((uint8_t *)mine.base + SEGMENT_HEAD_OCTETS, 0, sound.live.octets);
	for (size_t i = 0; i + ROW_OCTETS <= size && i < ROWS_MAX * ROW_OCTETS; i += ROW_OCTETS)
		apply(data + i);
	rc = segment_open_dataplane(&s, fuzz_path, why, sizeof(why));
	BUG_ON(rc != 0 && rc != -EPROTO);
	if (rc == 0) {
		use(&s);
		segment_close(&s, true);
	}
	memcpy(mine.base, &sound, sizeof(sound));
	return 0;
}
