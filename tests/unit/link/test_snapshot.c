/*
 * test_snapshot.c - snapshots: written and read back, refused when old, and every count, index, text and offset broken.
 *
 * Touches: a folder of its own in /dev/shm (or TMPDIR). Includes the source, so that a broken file can be given a right
 *         checksum: without it no check behind the checksum would ever be reached.
 */
#include "dataplane/link/snapshot.c"

#include <stdlib.h>

#include "tests/check.h"
#include "tests/unit/link/snapshot_parts.h"

static char folder[256], path[300];
static struct snapshot_parts parts;

static int
set_up(void **state)
{
	const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR"); /* fsync() there is cheap */

	(void)state;
	snprintf(folder, sizeof(folder), "%s/greyline-snapshot-XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/policy.snapshot", folder);
	snapshot_parts_init(&parts);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder); /* fails when a temporary file was left */
}

static void
test_snapshot_comes_back(void **state)
{
	struct snapshot s;
	char why[128] = "x";
	uint64_t value;

	(void)state;
	CHECK_EQ("none yet", snapshot_map(&s, path, why, sizeof(why)), -ENOENT);
	CHECK_EQ("no generation", snapshot_generation(path), 0);
	CHECK_EQ("write", snapshot_write(path, 5, parts.part), 0);
	CHECK_EQ("map", snapshot_map(&s, path, why, sizeof(why)), 0);
	CHECK_STR("nothing to say", why, "");
	CHECK_EQ("generation", s.generation, 5);
	CHECK_EQ("generation", snapshot_generation(path), 5);
	CHECK_STR("conf", s.conf->hostname, "gw.example.org");
	CHECK_EQ("ports", s.n_ports, 2);
	CHECK_STR("port", s.ports[1].device, "net_af_packet1,iface=p1");
	CHECK_EQ("listeners", s.n_listeners, 2);
	CHECK_EQ("pools", s.n_pools, 2);
	CHECK_EQ("backends", s.n_backends, 2);
	CHECK_EQ("backend", s.backends[1].id, 78);
	CHECK_EQ("zones", s.n_zones, 2);
	CHECK_EQ("eal", s.eal_args_octets, 19);
	CHECK_STR("eal", s.eal_args + 10, "--no-pci");
	CHECK_STR("segment", s.segment_path, "/dev/shm/greyline-test/segment");
	CHECK_TRUE("domains", name_set_find_domain(s.domains, "mail.example.net", 16, &value));
	CHECK_EQ("pool", value >> 32, 1);
	CHECK_EQ("networks", prefix_table_count(s.client_allow), 2);
	CHECK_TRUE("empty lists", s.client_deny == NULL && s.sender_allow == NULL && s.rcpt_no_grey == NULL);
	snapshot_unmap(&s);
	CHECK_TRUE("unmapped", s.base == NULL);
	snapshot_unmap(&s); /* harmless */
}

static void
test_snapshot_write_goes_forward_only(void **state)
{
	(void)state;
	CHECK_EQ("zero", snapshot_write(path, 0, parts.part), -ESTALE);
	CHECK_EQ("the same", snapshot_write(path, 5, parts.part), -ESTALE);
	CHECK_EQ("lower", snapshot_write(path, 4, parts.part), -ESTALE);
	CHECK_EQ("higher", snapshot_write(path, 6, parts.part), 0);
	CHECK_EQ("as written", snapshot_generation(path), 6);
}

static void
test_snapshot_write_that_fails_keeps_the_old(void **state)
{
	char nowhere[400];
	struct snapshot s;
	char why[128];

	(void)state;
	snprintf(nowhere, sizeof(nowhere), "%s/none/policy.snapshot", folder);
	CHECK_EQ("no folder", snapshot_write(nowhere, 1, parts.part), -ENOENT);
	CHECK_EQ("the old one", snapshot_map(&s, path, why, sizeof(why)), 0);
	snapshot_unmap(&s);
}

static void
test_snapshot_replaced_or_cut_while_mapped_stays_whole(void **state)
{
	struct snapshot s;
	char why[128];
	const uint64_t next = snapshot_generation(path) + 1;

	(void)state;
	CHECK_EQ("write", snapshot_write(path, next, parts.part), 0);
	CHECK_EQ("map", snapshot_map(&s, path, why, sizeof(why)), 0);
	CHECK_EQ("cut under us", truncate(path, 10), 0);
	CHECK_STR(
		"whole", s.segment_path, "/dev/shm/greyline-test/segment"); /* a mapping of the file would be SIGBUS */
	CHECK_EQ("a cut one is replaced", snapshot_write(path, next, parts.part), 0);
	snapshot_unmap(&s);
}

static void
write_octets(const void *data, size_t octets)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK_TRUE("open", fd >= 0);
	CHECK_EQ("write", write_all(fd, data, octets), 0);
	close(fd);
}

static uint8_t *
read_octets(size_t *octets)
{
	struct stat st;
	uint8_t *data;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	CHECK_TRUE("open", fd >= 0 && fstat(fd, &st) == 0);
	*octets = (size_t)st.st_size;
	data = aligned_alloc(64, (*octets + 63) & ~(size_t)63);
	CHECK_EQ("read", read_all(fd, data, *octets), 0);
	close(fd);
	return data;
}

static void
seal(uint8_t *data, size_t octets)
{
	struct snapshot_head *head = (struct snapshot_head *)(void *)data;

	head->checksum = siphash(&checksum_key, data + offsetof(struct snapshot_head, abi),
		octets - offsetof(struct snapshot_head, abi));
}

/* A mapped snapshot with everything in it touched, as readers do. */
static void
use(const struct snapshot *s)
{
	struct name_set_entry e;
	struct prefix_entry p;
	const struct ip_addr a = ip_addr_v4(0xc0000201);
	size_t sum = strlen(s->conf->hostname) + strlen(s->segment_path);
	uint64_t value;

	for (uint32_t i = 0; i < s->n_ports; i++)
		sum += strlen(s->ports[i].name) + strlen(s->ports[i].device) +
		       s->ports[i].addr[MAX(s->ports[i].n_addrs, 1u) - 1].prefix_bits;
	for (uint32_t i = 0; i < s->n_listeners; i++)
		sum += strlen(s->listeners[i].name) + s->pools[s->listeners[i].default_pool].backends;
	for (uint32_t i = 0; i < s->n_backends; i++)
		sum += strlen(s->backends[i].name);
	for (uint32_t i = 0; i < name_set_count(s->domains); i++) {
		name_set_at(s->domains, i, &e);
		sum += e.len_octets > 0 ? (size_t)e.name[e.len_octets - 1] : 0;
	}
	name_set_find_address(s->sender_deny, "bob@example.org", 15, &value);
	prefix_table_find(s->client_allow, &a, &p);
	for (const char *arg = s->eal_args; arg != NULL && arg < s->eal_args + s->eal_args_octets;
		arg += strlen(arg) + 1)
		sum += strlen(arg);
	CHECK_TRUE("used", sum > 0);
}

static int
map_octets(const void *data, size_t octets, char *why, uint32_t why_octets)
{
	struct snapshot s;
	int rc;

	write_octets(data, octets);
	rc = snapshot_map(&s, path, why, why_octets);
	if (rc == 0) {
		use(&s);
		snapshot_unmap(&s);
	}
	return rc;
}

static void
test_snapshot_damage_is_seen_by_the_checksum(void **state)
{
	char why[128];
	size_t octets;
	uint8_t *data;

	(void)state;
	CHECK_EQ("write", snapshot_write(path, snapshot_generation(path) + 1, parts.part), 0);
	data = read_octets(&octets);
	for (size_t at = 0; at < octets; at += 1 + at / 64) {
		data[at] ^= 0x10;
		CHECK_EQ("one octet", map_octets(data, octets, why, sizeof(why)), -EPROTO);
		CHECK_TRUE("with a reason", why[0] != '\0');
		data[at] ^= 0x10;
	}
	for (size_t cut = 0; cut < octets; cut += 61)
		CHECK_EQ("cut", map_octets(data, cut, why, sizeof(why)), -EPROTO);
	CHECK_EQ("whole again", map_octets(data, octets, why, sizeof(why)), 0);
	free(data);
}

/* The same with a right checksum: refused, or harmless to its readers. */
static void
test_snapshot_forged_octets_are_refused_or_harmless(void **state)
{
	char why[128];
	size_t octets;
	uint8_t *data;
	unsigned refused = 0, taken = 0;

	(void)state;
	CHECK_EQ("write", snapshot_write(path, snapshot_generation(path) + 1, parts.part), 0);
	data = read_octets(&octets);
	for (size_t at = 16; at < octets; at += at < 512 ? 1 : 7) {
		for (unsigned k = 0; k < 2; k++) {
			const uint8_t old = data[at];

			data[at] ^= k == 0 ? 0xff : 0x41;
			seal(data, octets);
			if (map_octets(data, octets, why, sizeof(why)) == 0)
				taken++;
			else
				refused++;
			data[at] = old;
		}
	}
	CHECK_TRUE("both happened", refused > 100 && taken > 100);
	free(data);
}

struct breakage {
	const char *label;
	enum snapshot_section section;
	size_t at; /* offset in the section */
	size_t size;
	uint64_t value;
};

static void
test_snapshot_every_index_and_count_is_checked(void **state)
{
#define AT(type, member) offsetof(struct type, member), sizeof(((struct type *)0)->member)
	static const struct breakage rows[] = {
		{ "mode", SNAPSHOT_CONF, AT(conf, mode), 3 },
		{ "reject_at", SNAPSHOT_CONF, AT(conf, reject_at), 3 },
		{ "bare_lf", SNAPSHOT_CONF, AT(conf, bare_lf), 3 },
		{ "idle", SNAPSHOT_CONF, AT(conf, idle), 2 },
		{ "ptr_missing", SNAPSHOT_CONF, AT(conf, ptr_missing), 4 },
		{ "no workers", SNAPSHOT_CONF, AT(conf, workers), 0 },
		{ "too many workers", SNAPSHOT_CONF, AT(conf, workers), CONF_WORKERS_MAX + 1 },
		{ "no sessions", SNAPSHOT_CONF, AT(conf, sessions), 0 },
		{ "no hostname", SNAPSHOT_CONF, 0, 1, 0 },
		{ "mtu low", SNAPSHOT_PORTS, AT(conf_port, mtu), 1279 },
		{ "mtu high", SNAPSHOT_PORTS, AT(conf_port, mtu), 9001 },
		{ "a VLAN that cannot be", SNAPSHOT_PORTS, AT(conf_port, vlan), 4095 },
		{ "addresses of a port", SNAPSHOT_PORTS, AT(conf_port, n_addrs), CONF_ADDRS_MAX + 1 },
		{ "prefix bits", SNAPSHOT_PORTS,
			offsetof(struct conf_port, addr) + offsetof(struct conf_port_addr, prefix_bits), 1, 129 },
		{ "role", SNAPSHOT_LISTENERS, AT(conf_listener, role), 2 },
		{ "port 0", SNAPSHOT_LISTENERS, AT(conf_listener, port), 0 },
		{ "addresses of a listener", SNAPSHOT_LISTENERS, AT(conf_listener, n_addrs), CONF_ADDRS_MAX + 1 },
		{ "pools of a listener", SNAPSHOT_LISTENERS, AT(conf_listener, pools), 4 },
		{ "pool 63", SNAPSHOT_LISTENERS, AT(conf_listener, pools), UINT64_C(1) << 63 },
		{ "default pool", SNAPSHOT_LISTENERS, AT(conf_listener, default_pool), 2 },
		{ "backends of a pool", SNAPSHOT_POOLS, AT(conf_pool, backends), 4 },
		{ "client_address", SNAPSHOT_BACKENDS, AT(conf_backend, client_address), CLIENT_ADDRESS_XCLIENT + 1 },
		{ "backend id 0", SNAPSHOT_BACKENDS, AT(conf_backend, id), 0 },
		{ "backend port 0", SNAPSHOT_BACKENDS, AT(conf_backend, port), 0 },
		{ "eal arguments without end", SNAPSHOT_EAL_ARGS, 18, 1, 'x' },
		{ "no segment path", SNAPSHOT_SEGMENT_PATH, 0, 1, 0 },
		{ "segment path without end", SNAPSHOT_SEGMENT_PATH, 30, 1, 'x' },
		{ "domains' magic", SNAPSHOT_DOMAINS, 0, 1, 0 },
		{ "networks' magic", SNAPSHOT_CLIENT_ALLOW, 0, 1, 0 },
	};
#undef AT
	char why[128];
	size_t octets;
	uint8_t *data;
	const struct snapshot_head *head;

	(void)state;
	CHECK_EQ("write", snapshot_write(path, snapshot_generation(path) + 1, parts.part), 0);
	data = read_octets(&octets);
	head = (const struct snapshot_head *)(const void *)data;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t *p = data + head->section[rows[i].section].offset + rows[i].at, kept[8];

		memcpy(kept, p, rows[i].size);
		memcpy(p, &rows[i].value, rows[i].size);
		seal(data, octets);
		CHECK_EQ(rows[i].label, map_octets(data, octets, why, sizeof(why)), -EPROTO);
		memcpy(p, kept, rows[i].size);
	}
	seal(data, octets);
	CHECK_EQ("whole again", map_octets(data, octets, why, sizeof(why)), 0);
	free(data);
}

static void
test_snapshot_texts_without_end_are_refused(void **state)
{
	static const struct {
		const char *label;
		enum snapshot_section section;
		size_t at, size;
	} rows[] = {
		{ "hostname", SNAPSHOT_CONF, 0, CONF_HOST_OCTETS },
		{ "port name", SNAPSHOT_PORTS, 0, CONF_NAME_OCTETS },
		{ "port device", SNAPSHOT_PORTS, offsetof(struct conf_port, device), CONF_DEVICE_OCTETS },
		{ "listener name", SNAPSHOT_LISTENERS, 0, CONF_NAME_OCTETS },
		{ "pool name", SNAPSHOT_POOLS, 0, CONF_NAME_OCTETS },
		{ "backend name", SNAPSHOT_BACKENDS, 0, CONF_NAME_OCTETS },
		{ "zone name", SNAPSHOT_ZONES, 0, CONF_HOST_OCTETS },
	};
	char why[128];
	size_t octets;
	uint8_t *data;
	const struct snapshot_head *head;

	(void)state;
	CHECK_EQ("write", snapshot_write(path, snapshot_generation(path) + 1, parts.part), 0);
	data = read_octets(&octets);
	head = (const struct snapshot_head *)(const void *)data;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t *p = data + head->section[rows[i].section].offset + rows[i].at, kept[256];

		memcpy(kept, p, rows[i].size);
		memset(p, 'x', rows[i].size);
		seal(data, octets);
		CHECK_EQ(rows[i].label, map_octets(data, octets, why, sizeof(why)), -EPROTO);
		memcpy(p, kept, rows[i].size);
	}
	free(data);
}

static void
test_snapshot_domains_name_listeners_and_pools_there_are(void **state)
{
	static const struct {
		const char *label;
		uint64_t value;
		int want;
	} rows[] = {
		{ "the listener's own pool", UINT64_C(0xffff) << 32 | 1, 0 },
		{ "pool 1", UINT64_C(1) << 32 | 3, 0 },
		{ "pool 2", UINT64_C(2) << 32 | 1, -EPROTO },
		{ "listener 2", UINT64_C(0xffff) << 32 | 4, -EPROTO },
		{ "pool 65536", UINT64_C(0x10000) << 32 | 1, -EPROTO },
	};
	struct snapshot_parts p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct name_set_entry domain = { "example.org", 11, rows[i].value };
		struct snapshot s;
		char why[128];
		int rc;

		snapshot_parts_init(&p);
		p.part[SNAPSHOT_DOMAINS].octets = name_set_build(p.domains, sizeof(p.domains), &domain, 1, 1);
		CHECK_EQ("write", snapshot_write(path, snapshot_generation(path) + 1, p.part), 0);
		rc = snapshot_map(&s, path, why, sizeof(why));
		CHECK_EQ(rows[i].label, rc, rows[i].want);
		if (rc == 0)
			snapshot_unmap(&s);
	}
}

static void
test_snapshot_sections_outside_are_refused(void **state)
{
	static const uint64_t hostile[] = { 0, 8, UINT64_MAX, UINT64_MAX - 63, UINT64_C(1) << 63, 1 << 20, 64 };
	char why[128];
	size_t octets;
	uint8_t *data;
	struct snapshot_head *head;

	(void)state;
	CHECK_EQ("write", snapshot_write(path, snapshot_generation(path) + 1, parts.part), 0);
	data = read_octets(&octets);
	head = (struct snapshot_head *)(void *)data;
	for (unsigned s = 0; s < SNAPSHOT_SECTION_N; s++) {
		const struct section_row kept = head->section[s];

		for (size_t k = 0; k < ARRAY_LEN(hostile); k++) {
			head->section[s].offset = hostile[k];
			seal(data, octets);
			CHECK_EQ("offset", map_octets(data, octets, why, sizeof(why)), -EPROTO);
			head->section[s] = kept;
			if (hostile[k] <= 64)
				continue; /* a shorter section may be sound */
			head->section[s].octets = hostile[k];
			seal(data, octets);
			CHECK_EQ("octets", map_octets(data, octets, why, sizeof(why)), -EPROTO);
			head->section[s] = kept;
		}
	}
	free(data);
}

static void
test_snapshot_is_no_folder_and_no_device(void **state)
{
	struct snapshot s;
	char why[128];

	(void)state;
	CHECK_EQ("a folder", snapshot_map(&s, folder, why, sizeof(why)), -EPROTO);
	CHECK_EQ("a device", snapshot_map(&s, "/dev/null", why, sizeof(why)), -EPROTO);
	CHECK_EQ("without room for a reason", snapshot_map(&s, "/dev/null", NULL, 0), -EPROTO);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_snapshot_comes_back),
		cmocka_unit_test(test_snapshot_write_goes_forward_only),
		cmocka_unit_test(test_snapshot_write_that_fails_keeps_the_old),
		cmocka_unit_test(test_snapshot_replaced_or_cut_while_mapped_stays_whole),
		cmocka_unit_test(test_snapshot_damage_is_seen_by_the_checksum),
		cmocka_unit_test(test_snapshot_forged_octets_are_refused_or_harmless),
		cmocka_unit_test(test_snapshot_every_index_and_count_is_checked),
		cmocka_unit_test(test_snapshot_texts_without_end_are_refused),
		cmocka_unit_test(test_snapshot_domains_name_listeners_and_pools_there_are),
		cmocka_unit_test(test_snapshot_sections_outside_are_refused),
		cmocka_unit_test(test_snapshot_is_no_folder_and_no_device),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
