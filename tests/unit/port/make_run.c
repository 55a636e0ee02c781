/*
 * make_run.c - plays control for a data plane that is tested alone: writes a snapshot and a segment, and prints the counters.
 *
 * usage: make_run RUN_DIR make WORKERS MEMORY_MB nap|spin EAL_ARGS DEVICE[=MAC] ADDR/BITS,... GATEWAY4|- GATEWAY6|- [MTU]
 *        make_run RUN_DIR again GENERATION     the same snapshot once more, and the wish for it in the segment
 *        make_run RUN_DIR wish GENERATION      the wish alone
 *        make_run RUN_DIR counters             group.name value of all workers, those that are not zero
 *        make_run RUN_DIR live                 what the data plane says of itself
 * EAL_ARGS are separated by blanks. IPv4 prefix lengths are those of IPv4.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dataplane/base/bug.h"
#include "dataplane/link/segment.h"
#include "dataplane/link/snapshot.h"

static char snapshot_path[512], segment_path[512], why[512];

static int
fail(const char *what, int rc)
{
	fprintf(stderr, "make_run: %s: %s (%s)\n", what, strerror(-rc), why);
	return 1;
}

static void
parse_addresses(struct conf_port *port, char *text)
{
	for (char *at = strtok(text, ","); at != NULL && port->n_addrs < CONF_ADDRS_MAX; at = strtok(NULL, ",")) {
		struct conf_port_addr *a = &port->addr[port->n_addrs++];
		char *slash = strchr(at, '/');

		*slash = '\0';
		if (ip_addr_parse(at, &a->addr) != 0)
			exit(2);
		a->prefix_bits = (uint8_t)(atoi(slash + 1) + (ip_addr_is_v4(&a->addr) ? 96 : 0));
	}
}

static int
make(char **arg, int n)
{
	static struct conf conf = { .hostname = "gw.example.org",
		.mode = MODE_ENFORCE,
		.workers = 1,
		.sessions = 256,
		.drain_s = 2,
		.memory_mb = 128,
		.rcpts_max = 100,
		.command_timeout_s = 300,
		.data_timeout_s = 180,
		.backend_probe_s = 30,
		.grey_block_s = 240,
		.grey_pass_s = 21600,
		.grey_expire_s = 3110400,
		.dns_deadline_ms = 2000 };
	struct conf_port port = { .name = "wan", .mtu = 1500 };
	struct conf_backend backend = {
		.name = "none", .port = 25, .client_address = CLIENT_ADDRESS_PROXY_V2, .id = 1
	};
	struct conf_pool pool = { .name = "default", .backends = 1 };
	struct conf_listener listener = { .pools = 1, .name = "mx", .role = ROLE_MX, .port = 25 };
	struct snapshot_part parts[SNAPSHOT_SECTION_N] = { 0 };
	const struct segment_params params = { .entries = 4096 };
	struct segment segment;
	char eal[1024] = "";
	uint32_t eal_octets = 0;
	bool created;
	int rc;

	if (n < 8)
		return 2;
	conf.workers = (uint32_t)atoi(arg[0]);
	conf.memory_mb = (uint32_t)atoi(arg[1]);
	conf.idle = strcmp(arg[2], "spin") == 0 ? IDLE_SPIN : IDLE_NAP;
	for (char *at = strtok(arg[3], " "); at != NULL; at = strtok(NULL, " "))
		eal_octets += (uint32_t)snprintf(eal + eal_octets, sizeof(eal) - eal_octets, "%s", at) + 1;
	snprintf(port.device, sizeof(port.device), "%s", arg[4]);
	parse_addresses(&port, arg[5]);
	if (strcmp(arg[6], "-") != 0)
		ip_addr_parse(arg[6], &port.gateway4);
	if (strcmp(arg[7], "-") != 0)
		ip_addr_parse(arg[7], &port.gateway6);
	if (n > 8)
		port.mtu = (uint16_t)atoi(arg[8]);
	backend.addr = port.gateway4;
	listener.n_addrs = port.n_addrs;
	for (uint32_t i = 0; i < port.n_addrs; i++)
		listener.addr[i] = port.addr[i].addr;
	parts[SNAPSHOT_CONF] = (struct snapshot_part){ &conf, sizeof(conf) };
	parts[SNAPSHOT_PORTS] = (struct snapshot_part){ &port, sizeof(port) };
	parts[SNAPSHOT_LISTENERS] = (struct snapshot_part){ &listener, sizeof(listener) };
	parts[SNAPSHOT_POOLS] = (struct snapshot_part){ &pool, sizeof(pool) };
	parts[SNAPSHOT_BACKENDS] = (struct snapshot_part){ &backend, sizeof(backend) };
	parts[SNAPSHOT_EAL_ARGS] = (struct snapshot_part){ eal, eal_octets };
	parts[SNAPSHOT_SEGMENT_PATH] = (struct snapshot_part){ segment_path, strlen(segment_path) + 1 };
	rc = segment_open_control(&segment, segment_path, &params, &created, why, sizeof(why));
	if (rc != 0)
		return fail(segment_path, rc);
	__atomic_store_n(&segment.live->snapshot_generation, 1, __ATOMIC_RELEASE);
	segment_close(&segment, true);
	rc = snapshot_write(snapshot_path, 1, parts);
	return rc != 0 ? fail(snapshot_path, rc) : 0;
}

static int
wish(uint64_t generation)
{
	const struct segment_params params = { .entries = 4096 };
	struct segment segment;
	bool created;
	const int rc = segment_open_control(&segment, segment_path, &params, &created, why, sizeof(why));

	if (rc != 0)
		return fail(segment_path, rc);
	__atomic_store_n(&segment.live->snapshot_generation, generation, __ATOMIC_RELEASE);
	segment_close(&segment, true);
	return 0;
}

static int
again(uint64_t generation)
{
	struct snapshot_part parts[SNAPSHOT_SECTION_N] = { 0 };
	struct snapshot s;
	int rc = snapshot_map(&s, snapshot_path, why, sizeof(why));

	if (rc != 0)
		return fail(snapshot_path, rc);
	parts[SNAPSHOT_CONF] = (struct snapshot_part){ s.conf, sizeof(*s.conf) };
	parts[SNAPSHOT_PORTS] = (struct snapshot_part){ s.ports, s.n_ports * sizeof(*s.ports) };
	parts[SNAPSHOT_LISTENERS] = (struct snapshot_part){ s.listeners, s.n_listeners * sizeof(*s.listeners) };
	parts[SNAPSHOT_POOLS] = (struct snapshot_part){ s.pools, s.n_pools * sizeof(*s.pools) };
	parts[SNAPSHOT_BACKENDS] = (struct snapshot_part){ s.backends, s.n_backends * sizeof(*s.backends) };
	parts[SNAPSHOT_EAL_ARGS] = (struct snapshot_part){ s.eal_args, s.eal_args_octets };
	parts[SNAPSHOT_SEGMENT_PATH] = (struct snapshot_part){ segment_path, strlen(segment_path) + 1 };
	rc = snapshot_write(snapshot_path, generation, parts);
	snapshot_unmap(&s);
	return rc != 0 ? fail(snapshot_path, rc) : wish(generation);
}

static int
show(const char *what)
{
	struct segment segment;
	int rc = segment_open_reader(&segment, segment_path, why, sizeof(why));

	if (rc != 0)
		return fail(segment_path, rc);
	if (strcmp(what, "live") == 0) {
		printf("state %u pid %u generation %" PRIu64 " %" PRIu64 " heartbeat_us %" PRIu64 "\n",
			segment.live->dataplane_state, segment.live->dataplane_pid, segment.live->snapshot_in_force[0],
			segment.live->snapshot_in_force[1], segment.live->heartbeat_us[SEGMENT_DATAPLANE]);
		return 0;
	}
	for (uint32_t c = 0; c < COUNTER_N; c++) {
		uint64_t sum = 0;

		for (uint32_t i = 0; i < segment.n_workers; i++)
			sum += counter_read(&segment.counters[i], (enum counter)c);
		if (sum > 0)
			printf("%s.%s %" PRIu64 "\n", counter_names[c].group, counter_names[c].name, sum);
	}
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	snprintf(snapshot_path, sizeof(snapshot_path), "%s/policy.snapshot", argv[1]);
	snprintf(segment_path, sizeof(segment_path), "%s/segment", argv[1]);
	mkdir(argv[1], 0700);
	if (strcmp(argv[2], "make") == 0)
		return make(argv + 3, argc - 3);
	if (strcmp(argv[2], "again") == 0 && argc == 4)
		return again(strtoull(argv[3], NULL, 10));
	if (strcmp(argv[2], "wish") == 0 && argc == 4)
		return wish(strtoull(argv[3], NULL, 10));
	return show(argv[2]);
}
