/*
 * test_port_args.c - what the EAL is told: the operator's words first, then what they leave open.
 */
#include "tests/check.h"

#include "dataplane/port/port_dpdk.h"

/* The CPUs of this machine decide the lcores' text: it is given here, where a test is not about it. */
#define LCORES "--lcores=0@0,1@0"

struct row {
	const char *label;
	const char *given; /* separated by blanks */
	const char *device;
	uint32_t n_workers, mtu;
	const char *want;
};

static void
arguments(const struct row *row, bool spin, char *out, uint32_t out_octets)
{
	struct conf_port port = { .name = "wan", .mtu = (uint16_t)row->mtu };
	char given[512];
	struct port_conf conf = { .ports = &port,
		.n_ports = 1,
		.n_workers = row->n_workers,
		.memory_mb = 256,
		.eal_args = given,
		.instance = "greyline-1",
		.spin = spin };

	conf.eal_args_octets = (size_t)snprintf(given, sizeof(given), "%s", row->given) + 1;
	for (char *p = given; *p != '\0'; p++)
		if (*p == ' ')
			*p = '\0';
	snprintf(port.device, sizeof(port.device), "%s", row->device);
	CHECK_EQ(row->label, port_eal_arguments(&conf, out, out_octets), 0);
}

static void
test_port_eal_arguments_fill_in_what_is_open(void **state)
{
	static const struct row rows[] = {
		{ "af_packet as in the lab", "--no-huge --no-pci " LCORES, "net_af_packet0,iface=wan0", 1, 1500,
			"--no-huge --no-pci " LCORES " -m256 --no-shconf --no-telemetry --log-level=warning "
			"--vdev=net_af_packet0,iface=wan0,framesz=2048,blocksz=4096,framecnt=1024" },
		{ "two workers: a queue pair each", LCORES " --no-huge", "net_af_packet0,iface=wan0", 2, 1500,
			LCORES " --no-huge -m256 --no-shconf --no-telemetry --log-level=warning "
			       "--vdev=net_af_packet0,iface=wan0,framesz=2048,blocksz=4096,framecnt=1024,qpairs=2" },
		{ "a large MTU: a larger slot and block", LCORES " --no-huge", "net_af_packet0,iface=wan0", 1, 9000,
			LCORES " --no-huge -m256 --no-shconf --no-telemetry --log-level=warning "
			       "--vdev=net_af_packet0,iface=wan0,framesz=16384,blocksz=16384,framecnt=1024" },
		{ "what is given stays", LCORES " --no-huge -m 64 --no-shconf --no-telemetry --log-level=8",
			"net_af_packet0,iface=wan0,framesz=4096,blocksz=8192,framecnt=64,qpairs=1", 2, 1500,
			LCORES " --no-huge -m 64 --no-shconf --no-telemetry --log-level=8 "
			       "--vdev=net_af_packet0,iface=wan0,framesz=4096,blocksz=8192,framecnt=64,qpairs=1" },
		{ "hugepages: files of our own name, and the heap may grow", LCORES, "net_tap0", 1, 1500,
			LCORES " --file-prefix=greyline-1 --no-telemetry --log-level=warning --vdev=net_tap0" },
		{ "a bound device", LCORES, "0000:01:00.0", 1, 1500,
			LCORES " --file-prefix=greyline-1 --no-telemetry --log-level=warning --allow=0000:01:00.0" },
		{ "a bound device with arguments, short name", LCORES " --in-memory", "01:00.1,rss=1", 1, 1500,
			LCORES " --in-memory --no-telemetry --log-level=warning --allow=01:00.1,rss=1" },
		{ "the operator's own list of devices", LCORES " -a 0000:01:00.0", "0000:01:00.0", 1, 1500,
			LCORES " -a 0000:01:00.0 --file-prefix=greyline-1 --no-telemetry --log-level=warning" },
		{ "a name that begins like a PCI address", LCORES, "eth_af_xdp0,iface=a.b", 1, 1500,
			LCORES
			" --file-prefix=greyline-1 --no-telemetry --log-level=warning --vdev=eth_af_xdp0,iface=a.b" },
	};
	char got[1024];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		arguments(&rows[i], false, got, sizeof(got));
		CHECK_STR(rows[i].label, got, rows[i].want);
	}
}

static void
test_port_eal_arguments_name_an_lcore_for_each_worker(void **state)
{
	const struct row row = { "three workers", "--no-huge", "net_null0", 3, 1500, NULL };
	char got[1024];

	(void)state;
	for (int spin = 0; spin < 2; spin++) {
		arguments(&row, spin != 0, got, sizeof(got));
		CHECK_TRUE("the main thread", strstr(got, "--lcores=0@(") != NULL);
		for (uint32_t i = 1; i <= 3; i++) {
			char want[8];

			snprintf(want, sizeof(want), ",%u@", i);
			CHECK_TRUE("a worker", strstr(got, want) != NULL);
		}
		CHECK_TRUE("no more", strstr(got, ",4@") == NULL);
	}
}

static void
test_port_eal_arguments_beyond_the_room(void **state)
{
	static char many[400 * 3];
	struct conf_port port = { .device = "net_null0" };
	struct port_conf conf = { .ports = &port,
		.n_ports = 1,
		.n_workers = 1,
		.eal_args = many,
		.eal_args_octets = sizeof(many),
		.instance = "x" };
	char got[2048];

	(void)state;
	for (size_t i = 0; i < sizeof(many); i += 3)
		memcpy(many + i, "-v", 3);
	CHECK_TRUE("too many", port_eal_arguments(&conf, got, sizeof(got)) != 0);
	conf.eal_args_octets = 6;
	CHECK_TRUE("too little room", port_eal_arguments(&conf, got, 10) != 0);
	CHECK_EQ("fits", port_eal_arguments(&conf, got, sizeof(got)), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_eal_arguments_fill_in_what_is_open),
		cmocka_unit_test(test_port_eal_arguments_name_an_lcore_for_each_worker),
		cmocka_unit_test(test_port_eal_arguments_beyond_the_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
