/*
 * snapshot.c - writing, reading and checking the compiled configuration.
 *
 * Flow:   see snapshot.h.
 * Touches: the file named, its temporary neighbour, one anonymous mapping.
 * Keeps:  the file is copied to memory of our own before anything of it is looked at: what is checked is what is used,
 *         whoever writes to the file meanwhile, and a file cut short under us is no SIGBUS. After snapshot_map() no
 *         reader has to check.
 *
 * The checksum is SipHash-2-4 with a fixed, public key over all octets of the file but its own: it is there against
 * damage and half files, not against forgers (those are met by the checks of every count, index and offset). Taken
 * instead of CRC32C because it is in base and tested already, and because its 64 bits also tell apart any two of a
 * million damaged files; 40 MB take about 30 ms.
 */
#include "dataplane/link/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/siphash.h"
#include "dataplane/base/verdict.h"
#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

#define SNAPSHOT_MAX_OCTETS   (UINT64_C(1) << 32)
#define SNAPSHOT_PATH_OCTETS  4096
#define SNAPSHOT_ALIGN_OCTETS 64
/* no writer gets there; a damaged one must not stop its replacement */
#define SNAPSHOT_GENERATION_MAX (UINT64_C(1) << 62)
#define SNAPSHOT_SESSIONS_MAX   (1u << 24)
#define SNAPSHOT_MTU_MIN        1280
#define SNAPSHOT_MTU_MAX        9000
#define SNAPSHOT_POOL_DEFAULT   0xffff /* in a value of the domains: the listener's own */

struct section_row {
	uint64_t offset, octets;
};

struct snapshot_head {
	uint64_t magic;
	uint64_t checksum; /* of all after it */
	uint32_t abi;
	uint32_t layout; /* of the structs of conf.h as this build has them */
	uint64_t generation;
	uint64_t octets;
	struct section_row section[SNAPSHOT_SECTION_N];
};

static_assert(offsetof(struct snapshot_head, abi) == 16, "the checksum starts there");

/* Differs where a struct of conf.h has another size or its parts lie elsewhere: file and reader are of one build. */
static uint32_t
layout_word(void)
{
	static const struct siphash_key key = { 1, 2 };
	const uint32_t sizes[] = { sizeof(struct conf), sizeof(struct conf_port), sizeof(struct conf_listener),
		sizeof(struct conf_pool), sizeof(struct conf_backend), sizeof(struct conf_zone),
		offsetof(struct conf, mode), offsetof(struct conf, grey_block_s),
		offsetof(struct conf, dns_deadline_ms), offsetof(struct conf, greet_pause_ms),
		offsetof(struct conf, message_max_octets), offsetof(struct conf, backend_connect_ms),
		offsetof(struct conf, log_grey_per_s), offsetof(struct conf, memory_mb),
		offsetof(struct conf_port, addr), offsetof(struct conf_listener, pools),
		offsetof(struct conf_listener, trusted), offsetof(struct conf_backend, id),
		offsetof(struct conf, tls_min_version), offsetof(struct conf, tls_memory_mb),
		offsetof(struct conf_listener, tls), offsetof(struct conf_backend, tls),
		offsetof(struct conf_backend, ca_offset), SNAPSHOT_SECTION_N };

	return (uint32_t)siphash(&key, sizes, sizeof(sizes));
}

static uint64_t
align_up(uint64_t v)
{
	return (v + SNAPSHOT_ALIGN_OCTETS - 1) & ~(uint64_t)(SNAPSHOT_ALIGN_OCTETS - 1);
}

static const struct siphash_key checksum_key = { UINT64_C(0x677265796c696e65), UINT64_C(0x736e617073686f74) };

/* --- writing --- */

static int
write_all(int fd, const void *data, size_t octets)
{
	const uint8_t *p = data;

	while (octets > 0) {
		const ssize_t n = write(fd, p, MIN(octets, (size_t)1 << 30));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		octets -= (size_t)n;
	}
	return 0;
}

static const uint8_t zeros[SNAPSHOT_ALIGN_OCTETS];

static int
write_parts(int fd, const struct snapshot_head *head, const struct snapshot_part parts[SNAPSHOT_SECTION_N])
{
	const uint64_t start = align_up(sizeof(*head));
	int rc = write_all(fd, head, sizeof(*head));

	if (rc == 0)
		rc = write_all(fd, zeros, start - sizeof(*head));
	for (unsigned i = 0; i < SNAPSHOT_SECTION_N && rc == 0; i++) {
		rc = write_all(fd, parts[i].data, parts[i].octets);
		if (rc == 0)
			rc = write_all(fd, zeros, align_up(parts[i].octets) - parts[i].octets);
	}
	return rc;
}

static void
fill_head(struct snapshot_head *head, uint64_t generation, const struct snapshot_part parts[SNAPSHOT_SECTION_N])
{
	struct siphash_state sum;
	uint64_t at = align_up(sizeof(*head));

	*head = (struct snapshot_head){
		.magic = SNAPSHOT_MAGIC, .abi = SNAPSHOT_ABI, .layout = layout_word(), .generation = generation
	};
	for (unsigned i = 0; i < SNAPSHOT_SECTION_N; i++) {
		head->section[i] = (struct section_row){ .offset = at, .octets = parts[i].octets };
		at += align_up(parts[i].octets);
	}
	head->octets = at;

	siphash_init(&sum, &checksum_key);
	siphash_update(&sum, &head->abi, sizeof(*head) - offsetof(struct snapshot_head, abi));
	siphash_update(&sum, zeros, align_up(sizeof(*head)) - sizeof(*head));
	for (unsigned i = 0; i < SNAPSHOT_SECTION_N; i++) {
		siphash_update(&sum, parts[i].data, parts[i].octets);
		siphash_update(&sum, zeros, align_up(parts[i].octets) - parts[i].octets);
	}
	head->checksum = siphash_final(&sum);
}

/* The folder's entry is on disk too: a snapshot that was reported is there after a power cut. */
static void
sync_folder_of(const char *path)
{
	char folder[SNAPSHOT_PATH_OCTETS];
	char *slash;
	int fd;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash == NULL)
		snprintf(folder, sizeof(folder), ".");
	else
		slash[slash == folder] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		(void)fsync(fd); /* where a file system cannot, the rename still holds while it runs */
		close(fd);
	}
}

uint64_t
snapshot_generation(const char *path)
{
	struct snapshot_head head;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, &head, sizeof(head));
	close(fd);
	if (n != (ssize_t)sizeof(head) || head.magic != SNAPSHOT_MAGIC || head.generation > SNAPSHOT_GENERATION_MAX)
		return 0; /* damaged: it is replaced by whatever comes */
	return head.generation;
}

int
snapshot_write(const char *path, uint64_t generation, const struct snapshot_part parts[SNAPSHOT_SECTION_N])
{
	char temporary[SNAPSHOT_PATH_OCTETS];
	struct snapshot_head head;
	int fd, rc;

	if (generation == 0 || generation <= snapshot_generation(path))
		return -ESTALE;
	if (snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	fill_head(&head, generation, parts);
	if (head.octets > SNAPSHOT_MAX_OCTETS)
		return -EFBIG;
	(void)unlink(temporary); /* of a writer that was killed */
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	rc = write_parts(fd, &head, parts);
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	if (close(fd) != 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(temporary, path) != 0)
		rc = -errno;
	if (rc != 0)
		(void)unlink(temporary);
	else
		sync_folder_of(path);
	return rc;
}

/* --- checking: each check answers false and leaves the reason --- */

struct check {
	const uint8_t *base;
	const struct snapshot_head *head;
	char *why;
	uint32_t why_octets;
};

__attribute__((format(printf, 2, 3))) static bool
refuse(const struct check *c, const char *format, ...)
{
	va_list ap;

	if (c->why_octets > 0) {
		va_start(ap, format);
		vsnprintf(c->why, c->why_octets, format, ap);
		va_end(ap);
	}
	return false;
}

static bool
terminated(const char *text, size_t room)
{
	return memchr(text, '\0', room) != NULL;
}

/* The section's octets, NULL when empty. */
static const void *
section(const struct check *c, enum snapshot_section which, size_t *octets)
{
	*octets = c->head->section[which].octets;
	return *octets > 0 ? c->base + c->head->section[which].offset : NULL;
}

/* A section of n equal structs, at most max. */
static bool
section_array(const struct check *c, enum snapshot_section which, const char *name, size_t size, uint32_t max,
	const void **out, uint32_t *n)
{
	size_t octets;
	const void *p = section(c, which, &octets);

	if (octets % size != 0 || octets / size > max)
		return refuse(c, "%s: %zu octets are not up to %u of %zu", name, octets, max, size);
	*out = p;
	*n = (uint32_t)(octets / size);
	return true;
}

static bool
check_head(const struct check *c, size_t octets)
{
	const struct snapshot_head *h = c->head;

	if (h->magic != SNAPSHOT_MAGIC)
		return refuse(c, "not a snapshot");
	if (h->abi != SNAPSHOT_ABI || h->layout != layout_word())
		return refuse(c, "written by another version");
	if (h->octets != octets)
		return refuse(c, "%zu octets, but its head says %llu", octets, (unsigned long long)h->octets);
	if (siphash(&checksum_key, c->base + offsetof(struct snapshot_head, abi),
		    octets - offsetof(struct snapshot_head, abi)) != h->checksum)
		return refuse(c, "the checksum is wrong");
	if (h->generation == 0 || h->generation > SNAPSHOT_GENERATION_MAX)
		return refuse(c, "generation %llu", (unsigned long long)h->generation);
	for (unsigned i = 0; i < SNAPSHOT_SECTION_N; i++) {
		const struct section_row *s = &h->section[i];

		if (s->offset % SNAPSHOT_ALIGN_OCTETS != 0 || s->offset < sizeof(*h) || s->offset > octets ||
			s->octets > octets - s->offset)
			return refuse(c, "section %u lies outside", i);
	}
	return true;
}

static bool
check_conf(const struct check *c, struct snapshot *s)
{
	const void *p = NULL;
	uint32_t n = 0;
	const struct conf *conf;

	if (!section_array(c, SNAPSHOT_CONF, "conf", sizeof(struct conf), 1, &p, &n))
		return false;
	if (n != 1)
		return refuse(c, "conf: missing");
	s->conf = conf = p;
	if (!terminated(conf->hostname, sizeof(conf->hostname)) || conf->hostname[0] == '\0')
		return refuse(c, "conf: hostname");
	if (conf->mode > MODE_ENFORCE || conf->reject_at > REJECT_AT_SYN || conf->bare_lf > BARE_LF_TOLERATE ||
		conf->idle > IDLE_SPIN || conf->ptr_missing > EFFECT_REJECT || conf->ptr_unconfirmed > EFFECT_REJECT ||
		conf->ptr_generic > EFFECT_REJECT)
		return refuse(c, "conf: a choice that does not exist");
	if (conf->tls_min_version > TLS_VERSION_1_3 ||
		!terminated(conf->tls_certificates, sizeof(conf->tls_certificates)) ||
		!terminated(conf->tls_default_name, sizeof(conf->tls_default_name)) ||
		!terminated(conf->tls_ciphers, sizeof(conf->tls_ciphers)) ||
		!terminated(conf->tls_ciphersuites, sizeof(conf->tls_ciphersuites)) ||
		!terminated(conf->tls_groups, sizeof(conf->tls_groups)))
		return refuse(c, "conf: tls: a version that does not exist or a text without end");
	if (conf->helo_weight_max < 0 || conf->helo_weight_max > 999 || conf->sender_weight_max < 0 ||
		conf->sender_weight_max > 999)
		return refuse(c, "conf: weights of lists of names");
	if (conf->workers == 0 || conf->workers > CONF_WORKERS_MAX)
		return refuse(c, "conf: %u workers", conf->workers);
	if (conf->sessions == 0 || conf->sessions > SNAPSHOT_SESSIONS_MAX)
		return refuse(c, "conf: %u sessions", conf->sessions);
	return true;
}

static bool
check_ports(const struct check *c, struct snapshot *s)
{
	const void *p = NULL;

	if (!section_array(c, SNAPSHOT_PORTS, "ports", sizeof(struct conf_port), CONF_PORTS_MAX, &p, &s->n_ports))
		return false;
	s->ports = p;
	for (uint32_t i = 0; i < s->n_ports; i++) {
		const struct conf_port *port = &s->ports[i];

		if (!terminated(port->name, sizeof(port->name)) || !terminated(port->device, sizeof(port->device)))
			return refuse(c, "port %u: a text without end", i);
		if (port->mtu < SNAPSHOT_MTU_MIN || port->mtu > SNAPSHOT_MTU_MAX)
			return refuse(c, "port %u: mtu %u", i, port->mtu);
		if (port->vlan > CONF_VLAN_MAX)
			return refuse(c, "port %u: VLAN %u", i, port->vlan);
		if (port->n_addrs > CONF_ADDRS_MAX)
			return refuse(c, "port %u: %u addresses", i, port->n_addrs);
		for (uint32_t a = 0; a < port->n_addrs; a++) {
			if (port->addr[a].prefix_bits > 128)
				return refuse(c, "port %u: a prefix of %u bits", i, port->addr[a].prefix_bits);
		}
	}
	return true;
}

/* Whether every bit set in bits is below n. */
static bool
bits_below(uint64_t bits, uint32_t n)
{
	return n >= 64 || bits >> n == 0;
}

static bool
check_listeners(const struct check *c, struct snapshot *s)
{
	const void *p = NULL;

	if (!section_array(c, SNAPSHOT_LISTENERS, "listeners", sizeof(struct conf_listener), CONF_LISTENERS_MAX, &p,
		    &s->n_listeners))
		return false;
	s->listeners = p;
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		const struct conf_listener *l = &s->listeners[i];

		if (!terminated(l->name, sizeof(l->name)))
			return refuse(c, "listener %u: a name without end", i);
		if (l->auth_relay > 1)
			return refuse(c, "listener %u: auth %u", i, l->auth_relay);
		if (l->tls > LISTENER_TLS_IMPLICIT)
			return refuse(c, "listener %u: tls %u", i, l->tls);
		if (l->role > ROLE_SUBMISSION || l->n_addrs > CONF_ADDRS_MAX || l->port == 0)
			return refuse(
				c, "listener %u: role %u, %u addresses, port %u", i, l->role, l->n_addrs, l->port);
		if (l->n_trusted > CONF_TRUSTED_MAX)
			return refuse(c, "listener %u: %u trusted networks", i, l->n_trusted);
		for (uint32_t j = 0; j < l->n_trusted; j++)
			if (l->trusted[j].prefix_bits > 128)
				return refuse(
					c, "listener %u: a trusted network of %u bits", i, l->trusted[j].prefix_bits);
		if (!bits_below(l->pools, s->n_pools) || l->default_pool >= s->n_pools)
			return refuse(c, "listener %u: a pool that does not exist", i);
	}
	return true;
}

static bool
check_pools(const struct check *c, struct snapshot *s)
{
	const void *p = NULL;

	s->ca = section(c, SNAPSHOT_CA, &s->ca_octets);
	if (!section_array(c, SNAPSHOT_POOLS, "pools", sizeof(struct conf_pool), CONF_POOLS_MAX, &p, &s->n_pools))
		return false;
	s->pools = p;
	if (!section_array(c, SNAPSHOT_BACKENDS, "backends", sizeof(struct conf_backend), CONF_BACKENDS_MAX, &p,
		    &s->n_backends))
		return false;
	s->backends = p;
	for (uint32_t i = 0; i < s->n_pools; i++) {
		if (!terminated(s->pools[i].name, sizeof(s->pools[i].name)) ||
			!bits_below(s->pools[i].backends, s->n_backends))
			return refuse(c, "pool %u: a name without end or a backend that does not exist", i);
	}
	for (uint32_t i = 0; i < s->n_backends; i++) {
		const struct conf_backend *b = &s->backends[i];

		if (!terminated(b->name, sizeof(b->name)) || b->client_address > CLIENT_ADDRESS_XCLIENT || b->id == 0 ||
			b->port == 0)
			return refuse(c, "backend %u: name, client_address, port or id", i);
		if (b->tls > BACKEND_TLS_REQUIRE || b->n_fingerprints > CONF_FINGERPRINTS_MAX ||
			!terminated(b->tls_name, sizeof(b->tls_name)) || b->ca_offset > s->ca_octets ||
			b->ca_octets > s->ca_octets - b->ca_offset)
			return refuse(c, "backend %u: tls, its name, fingerprints or CA", i);
	}
	return true;
}

static bool
check_zones(const struct check *c, struct snapshot *s)
{
	const void *p = NULL;

	if (!section_array(c, SNAPSHOT_ZONES, "zones", sizeof(struct conf_zone), CONF_ZONES_MAX, &p, &s->n_zones))
		return false;
	s->zones = p;
	for (uint32_t i = 0; i < s->n_zones; i++) {
		if (!terminated(s->zones[i].name, sizeof(s->zones[i].name)))
			return refuse(c, "zone %u: a name without end", i);
		if (s->zones[i].kind >= ZONE_KINDS || (i > 0 && s->zones[i].kind < s->zones[i - 1].kind))
			return refuse(c, "zone %u: kind %u", i, s->zones[i].kind);
	}
	return true;
}

static bool
check_texts(const struct check *c, struct snapshot *s)
{
	size_t octets, args = 0;

	s->eal_args = section(c, SNAPSHOT_EAL_ARGS, &s->eal_args_octets);
	if (s->eal_args != NULL && s->eal_args[s->eal_args_octets - 1] != '\0')
		return refuse(c, "eal arguments: without end");
	for (size_t i = 0; i < s->eal_args_octets; i++)
		args += s->eal_args[i] == '\0';
	if (args > SNAPSHOT_EAL_ARGS_MAX)
		return refuse(c, "eal arguments: %zu of them", args);
	s->segment_path = section(c, SNAPSHOT_SEGMENT_PATH, &octets);
	if (s->segment_path == NULL || s->segment_path[0] == '\0' || !terminated(s->segment_path, octets))
		return refuse(c, "segment path: missing or without end");
	return true;
}

static bool
check_name_sets(const struct check *c, struct snapshot *s)
{
	const struct {
		enum snapshot_section which;
		const void **out;
		const char *name;
	} sets[] = {
		{ SNAPSHOT_DOMAINS, &s->domains, "domains" },
		{ SNAPSHOT_SENDER_ALLOW, &s->sender_allow, "senders.allow" },
		{ SNAPSHOT_SENDER_DENY, &s->sender_deny, "senders.deny" },
		{ SNAPSHOT_RCPT_ALLOW, &s->rcpt_allow, "recipients.allow" },
		{ SNAPSHOT_RCPT_DENY, &s->rcpt_deny, "recipients.deny" },
		{ SNAPSHOT_RCPT_NO_GREY, &s->rcpt_no_grey, "recipients.no_greylist" },
		{ SNAPSHOT_TRAPS, &s->traps, "traps.addresses" },
	};
	size_t octets;

	for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
		*sets[i].out = section(c, sets[i].which, &octets);
		if (*sets[i].out != NULL && !name_set_valid(*sets[i].out, octets))
			return refuse(c, "%s: not a well formed set", sets[i].name);
	}
	for (uint32_t i = 0; i < name_set_count(s->domains); i++) {
		struct name_set_entry e;

		name_set_at(s->domains, i, &e);
		if (!bits_below((uint32_t)e.value, s->n_listeners) ||
			(e.value >> 32 >= s->n_pools && e.value >> 32 != SNAPSHOT_POOL_DEFAULT))
			return refuse(c, "domains: a listener or pool that does not exist");
	}
	return true;
}

static bool
check_prefix_tables(const struct check *c, struct snapshot *s)
{
	size_t octets;

	s->client_allow = section(c, SNAPSHOT_CLIENT_ALLOW, &octets);
	if (s->client_allow != NULL && !prefix_table_valid(s->client_allow, octets))
		return refuse(c, "clients.allow: not a well formed table");
	s->client_deny = section(c, SNAPSHOT_CLIENT_DENY, &octets);
	if (s->client_deny != NULL && !prefix_table_valid(s->client_deny, octets))
		return refuse(c, "clients.deny: not a well formed table");
	return true;
}

/* Pools before listeners and domains, which name them. */
static bool
check_all(const struct check *c, struct snapshot *s)
{
	s->generation = c->head->generation;
	return check_conf(c, s) && check_ports(c, s) && check_pools(c, s) && check_listeners(c, s) &&
	       check_zones(c, s) && check_texts(c, s) && check_name_sets(c, s) && check_prefix_tables(c, s);
}

/* --- mapping --- */

static int
read_all(int fd, void *out, size_t octets)
{
	uint8_t *p = out;

	while (octets > 0) {
		const ssize_t n = read(fd, p, MIN(octets, (size_t)1 << 30));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPROTO; /* shorter than it was a moment ago */
		p += n;
		octets -= (size_t)n;
	}
	return 0;
}

int
snapshot_map_fd(struct snapshot *out, int fd, char *why, uint32_t why_octets)
{
	struct check c = { .why = why, .why_octets = why_octets };
	struct snapshot s = { 0 };
	struct stat st;
	int rc;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct snapshot_head) ||
		(uint64_t)st.st_size > SNAPSHOT_MAX_OCTETS) {
		refuse(&c, "not a snapshot: %lld octets", (long long)st.st_size);
		return -EPROTO;
	}
	s.octets = (size_t)st.st_size;
	s.base = mmap(NULL, s.octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s.base == MAP_FAILED)
		return -errno;
	c.base = s.base;
	c.head = s.base;
	rc = read_all(fd, s.base, s.octets);
	if (rc == 0 && (!check_head(&c, s.octets) || !check_all(&c, &s)))
		rc = -EPROTO;
	if (rc == 0 && mprotect(s.base, s.octets, PROT_READ) != 0)
		rc = -errno;
	if (rc != 0) {
		munmap(s.base, s.octets);
		return rc;
	}
	*out = s;
	return 0;
}

int
snapshot_map(struct snapshot *s, const char *path, char *why, uint32_t why_octets)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int rc;

	if (why_octets > 0)
		why[0] = '\0';
	if (fd < 0) {
		rc = -errno;
		if (why_octets > 0)
			snprintf(why, why_octets, "%s: %s", path, strerror(-rc));
		return rc;
	}
	rc = snapshot_map_fd(s, fd, why, why_octets);
	close(fd);
	if (rc != 0 && why_octets > 0 && why[0] == '\0')
		snprintf(why, why_octets, "%s: %s", path, strerror(-rc));
	return rc;
}

void
snapshot_unmap(struct snapshot *s)
{
	if (s->base != NULL)
		munmap(s->base, s->octets);
	*s = (struct snapshot){ 0 };
}
