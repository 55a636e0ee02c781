/*
 * fuzz_link_snapshot.c - hostile snapshot files: refused, or harmless to everything that reads them.
 *
 * Input:  first octet 0: the rest is a file whose magic, version, length and checksum are put right, so that the checks
 *         behind them are reached. Else: the rest are patches of a sound snapshot, 4 octets each: section, offset (2,
 *         of the section, little endian; in steps of 1), value. The sound one is made by this build, so the corpus does
 *         not age with the structs.
 * Includes the source for the layout of the head.
 */
#include "dataplane/link/snapshot.c"

#include <stdlib.h>

#include "tests/unit/link/snapshot_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_MAX_OCTETS 65536

static void
read_all_of(const struct snapshot *s)
{
	static const char name[] = "a.mail.example.net";
	const struct ip_addr v4 = ip_addr_v4(0xc0000201);
	size_t sum = strlen(s->conf->hostname) + strlen(s->segment_path);
	const void *const sets[] = { s->domains, s->sender_allow, s->sender_deny, s->rcpt_allow, s->rcpt_deny,
		s->rcpt_no_grey, s->traps };
	struct name_set_entry e;
	struct prefix_entry p;
	uint64_t value;

	for (uint32_t i = 0; i < s->n_ports; i++) {
		sum += strlen(s->ports[i].name) + strlen(s->ports[i].device);
		for (uint32_t a = 0; a < s->ports[i].n_addrs; a++)
			sum += s->ports[i].addr[a].addr.octet[15];
	}
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		sum += strlen(s->listeners[i].name) + s->pools[s->listeners[i].default_pool].backends;
		for (uint32_t k = 0; k < 64; k++)
			sum += s->listeners[i].pools >> k & 1 ? s->pools[k].backends : 0;
	}
	for (uint32_t i = 0; i < s->n_pools; i++) {
		for (uint32_t k = 0; k < 64; k++)
			sum += s->pools[i].backends >> k & 1 ? s->backends[k].port : 0;
	}
	for (uint32_t i = 0; i < s->n_zones; i++)
		sum += strlen(s->zones[i].name);
	for (size_t k = 0; k < ARRAY_LEN(sets); k++) {
		for (uint32_t i = 0; name_set_at(sets[k], i, &e); i++)
			sum += e.len_octets > 0 ? (uint8_t)e.name[e.len_octets - 1] : 0;
		name_set_find_domain(sets[k], name, sizeof(name) - 1, &value);
		name_set_find_address(sets[k], "bob@example.org", 15, &value);
	}
	for (uint32_t i = 0; prefix_table_at(s->client_allow, i, &p); i++)
		sum += p.value;
	prefix_table_find(s->client_allow, &v4, &p);
	prefix_table_find(s->client_deny, &v4, &p);
	for (const char *arg = s->eal_args; arg != NULL && arg < s->eal_args + s->eal_args_octets;
		arg += strlen(arg) + 1)
		sum += strlen(arg);
	BUG_ON(sum == 0);
}

static void
patch(uint8_t *file, const uint8_t *data, size_t size)
{
	const struct snapshot_head *head = (const struct snapshot_head *)(const void *)file;
	struct section_row rows[SNAPSHOT_SECTION_N];

	memcpy(rows, head->section, sizeof(rows));
	for (size_t i = 0; i + 4 <= size; i += 4) {
		const unsigned section_no = data[i] % (SNAPSHOT_SECTION_N + 1);
		const uint64_t at = (uint64_t)data[i + 1] | (uint64_t)data[i + 2] << 8;

		if (section_no == SNAPSHOT_SECTION_N) /* the rows of the head */
			file[offsetof(struct snapshot_head, section) + at % sizeof(rows)] = data[i + 3];
		else if (rows[section_no].octets > 0)
			file[rows[section_no].offset + at % rows[section_no].octets] = data[i + 3];
	}
}

/* A sound file of this build in memory; made once. */
static const uint8_t *
sound_file(size_t *octets)
{
	static uint8_t file[FILE_MAX_OCTETS];
	static struct snapshot_parts parts;
	static size_t n;

	if (n == 0) {
		const int fd = memfd_create("snapshot", MFD_CLOEXEC);
		struct snapshot_head head;

		snapshot_parts_init(&parts);
		fill_head(&head, 1, parts.part);
		BUG_ON(fd < 0 || head.octets > sizeof(file) || write_parts(fd, &head, parts.part) != 0 ||
			lseek(fd, 0, SEEK_SET) != 0 || read_all(fd, file, head.octets) != 0);
		close(fd);
		n = head.octets;
	}
	*octets = n;
	return file;
}

static void
put_right(uint8_t *file, size_t octets)
{
	struct snapshot_head *head = (struct snapshot_head *)(void *)file;

	if (octets < sizeof(*head))
		return;
	head->magic = SNAPSHOT_MAGIC;
	head->abi = SNAPSHOT_ABI;
	head->layout = layout_word();
	head->octets = octets;
	head->checksum = siphash(&checksum_key, file + offsetof(struct snapshot_head, abi),
		octets - offsetof(struct snapshot_head, abi));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(64) uint8_t file[FILE_MAX_OCTETS];
	struct snapshot s;
	size_t octets;
	char why[128];
	int fd, rc;

	if (size < 1 || size > sizeof(file))
		return 0;
	if (data[0] == 0) {
		octets = size - 1;
		memcpy(file, data + 1, octets);
	} else {
		const uint8_t *sound = sound_file(&octets);

		memcpy(file, sound, octets);
		patch(file, data + 1, size - 1);
	}
	put_right(file, octets);
	fd = memfd_create("snapshot", MFD_CLOEXEC);
	BUG_ON(fd < 0 || write_all(fd, file, octets) != 0 || lseek(fd, 0, SEEK_SET) != 0);
	rc = snapshot_map_fd(&s, fd, why, sizeof(why));
	close(fd);
	if (rc == 0) {
		read_all_of(&s);
		snapshot_unmap(&s);
	}
	return 0;
}
