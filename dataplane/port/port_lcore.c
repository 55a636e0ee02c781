/*
 * port_lcore.c - the EAL: its arguments, its start, its lcores.
 *
 * Flow:   main -> port_eal_start() -> rte_eal_init();  port_launch() -> a worker's lcore
 * Touches: the process: threads, memory, devices. Once.
 * Keeps:  what the operator gives is never overruled; only what is left open is filled in.
 * Source: DPDK 22.11 EAL parameters.
 */
#include "dataplane/port/port_impl.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include "dataplane/base/bug.h"

#define EAL_ARGS_MAX       64
#define EAL_ARG_OCTETS     512
#define EAL_ARGS_OCTETS    8192
#define EAL_CPUS_MAX       1024
#define AF_PACKET_NAME     "net_af_packet"
#define AF_PACKET_SLOT_MAX 32768UL
#define AF_PACKET_FRAMES   1024 /* of each ring: 3 ms at the rates seen on veth */
#define AF_PACKET_OVERHEAD 128  /* of a ring's slot: TPACKET2_HDRLEN, alignment, the link header */

/* Arguments as one string of words for the EAL: each NUL-terminated, argv points into text. */
struct eal_args {
	int n;
	bool too_many;
	char *argv[EAL_ARGS_MAX + 1];
	uint32_t used_octets;
	char text[EAL_ARGS_OCTETS];
};

static void __attribute__((format(printf, 2, 3))) add_arg(struct eal_args *a, const char *format, ...)
{
	const uint32_t left = sizeof(a->text) - a->used_octets;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(a->text + a->used_octets, left, format, ap);
	va_end(ap);
	if (n < 0 || (uint32_t)n >= left || a->n == EAL_ARGS_MAX) {
		a->too_many = true;
		return;
	}
	a->argv[a->n++] = a->text + a->used_octets;
	a->used_octets += (uint32_t)n + 1;
}

/* Whether the operator gave one of the options (NULL-terminated list), as "--opt", "--opt=..." or, for one letter, "-x...". */
static bool
has_option(const struct eal_args *a, const char *const *names)
{
	for (int i = 1; i < a->n; i++) {
		for (uint32_t k = 0; names[k] != NULL; k++) {
			const size_t len = strlen(names[k]);

			if (strncmp(a->argv[i], names[k], len) == 0 &&
				(len == 2 || a->argv[i][len] == '\0' || a->argv[i][len] == '='))
				return true;
		}
	}
	return false;
}

static bool
has_one(const struct eal_args *a, const char *name)
{
	return has_option(a, (const char *const[]){ name, NULL });
}

/* A bound device has a PCI address, with or without domain: 0000:01:00.0. */
static bool
is_pci_name(const char *device)
{
	uint32_t colons = 0;

	for (; *device != '\0' && *device != ','; device++) {
		if (*device == ':')
			colons++;
		else if (*device == '.')
			return colons > 0;
		else if (!isxdigit((unsigned char)*device))
			return false;
	}
	return false;
}

static bool
has_key(const char *device, const char *key)
{
	const size_t len = strlen(key);

	for (const char *at = strchr(device, ','); at != NULL; at = strchr(at + 1, ','))
		if (strncmp(at + 1, key, len) == 0 && at[1 + len] == '=')
			return true;
	return false;
}

uint32_t
port_af_packet_slot(const struct conf_port *port)
{
	const char *given = strstr(port->device, ",framesz=");
	uint32_t slot_octets = 2048;

	if (strncmp(port->device, AF_PACKET_NAME, strlen(AF_PACKET_NAME)) != 0)
		return 0;
	if (given != NULL)
		return (uint32_t)RTE_MIN(strtoul(given + strlen(",framesz="), NULL, 10), AF_PACKET_SLOT_MAX);
	while (slot_octets < port->mtu + (uint32_t)PORT_FRAME_OCTETS + AF_PACKET_OVERHEAD)
		slot_octets *= 2;
	return slot_octets;
}

/*
 * net_af_packet with what is left open: a slot that holds a whole frame of the MTU (PITFALLS 25: what is longer is cut silently), a block
 * that holds a slot, and a queue pair for each worker.
 */
static void
add_af_packet(struct eal_args *a, const struct conf_port *port, uint32_t n_workers)
{
	const uint32_t slot_octets = port_af_packet_slot(port);
	char more[128];
	int n = 0;

	more[0] = '\0';
	if (!has_key(port->device, "framesz"))
		n += snprintf(more + n, sizeof(more) - (size_t)n, ",framesz=%u", slot_octets);
	if (!has_key(port->device, "blocksz"))
		n += snprintf(more + n, sizeof(more) - (size_t)n, ",blocksz=%u", RTE_MAX(slot_octets, UINT32_C(4096)));
	if (!has_key(port->device, "framecnt"))
		n += snprintf(more + n, sizeof(more) - (size_t)n, ",framecnt=%u", AF_PACKET_FRAMES);
	if (!has_key(port->device, "qpairs") && n_workers > 1)
		snprintf(more + n, sizeof(more) - (size_t)n, ",qpairs=%u", n_workers);
	add_arg(a, "--vdev=%s%s", port->device, more);
}

static void
add_devices(struct eal_args *a, const struct port_conf *conf)
{
	for (uint32_t i = 0; i < conf->n_ports; i++) {
		const struct conf_port *port = &conf->ports[i];

		if (is_pci_name(port->device)) {
			if (!has_option(a, (const char *const[]){ "-a", "--allow", "-b", "--block", NULL }))
				add_arg(a, "--allow=%s", port->device);
		} else if (strncmp(port->device, AF_PACKET_NAME, strlen(AF_PACKET_NAME)) == 0) {
			add_af_packet(a, port, conf->n_workers);
		} else {
			add_arg(a, "--vdev=%s", port->device);
		}
	}
}

/*
 * Lcore 0 is the main thread and floats: it sleeps. Workers that spin get a CPU each, the first CPU last (the system's own work tends to
 * be there); workers that nap float over all CPUs, because several instances may share the machine and none needs a CPU whole.
 */
static void
add_lcores(struct eal_args *a, const struct port_conf *conf)
{
	uint16_t cpu[EAL_CPUS_MAX];
	uint32_t n_cpus = 0, used = 0;
	char all[1024], text[2048];
	cpu_set_t set;

	if (has_option(a, (const char *const[]){ "-l", "-c", "--lcores", "-S", "-s", NULL }))
		return;
	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		CPU_SET(0, &set);
	for (uint32_t i = 0; i < CPU_SETSIZE && i < EAL_CPUS_MAX; i++)
		if (CPU_ISSET(i, &set))
			cpu[n_cpus++] = (uint16_t)i;
	for (uint32_t i = 0; i < n_cpus && used < sizeof(all) - 8; i++)
		used += (uint32_t)snprintf(all + used, sizeof(all) - used, "%s%u", i > 0 ? "," : "", cpu[i]);
	used = (uint32_t)snprintf(text, sizeof(text), "0@(%s)", all);
	for (uint32_t i = 1; i <= conf->n_workers && used < sizeof(text); i++) {
		if (conf->spin && n_cpus >= conf->n_workers)
			used += (uint32_t)snprintf(text + used, sizeof(text) - used, ",%u@%u", i, cpu[i % n_cpus]);
		else
			used += (uint32_t)snprintf(text + used, sizeof(text) - used, ",%u@(%s)", i, all);
	}
	if (used >= sizeof(text)) /* very many CPUs with gaps: let the EAL choose */
		return;
	add_arg(a, "--lcores=%s", text);
}

static void
collect(struct eal_args *a, const struct port_conf *conf)
{
	memset(a, 0, sizeof(*a));
	add_arg(a, "greyline-dataplane");
	for (size_t at = 0; at < conf->eal_args_octets;) {
		const size_t len = strnlen(conf->eal_args + at, conf->eal_args_octets - at);

		if (len > 0)
			add_arg(a, "%.*s", (int)RTE_MIN(len, (size_t)EAL_ARG_OCTETS), conf->eal_args + at);
		at += len + 1;
	}
	add_lcores(a, conf);
	if (has_one(a, "--no-huge")) {
		if (!has_option(a, (const char *const[]){ "-m", "--socket-mem", NULL }))
			add_arg(a, "-m%u", conf->memory_mb); /* that heap cannot grow */
		if (!has_one(a, "--no-shconf"))
			add_arg(a, "--no-shconf");
	} else if (!has_option(a, (const char *const[]){ "--file-prefix", "--in-memory", NULL })) {
		add_arg(a, "--file-prefix=%s", conf->instance);
	}
	if (!has_one(a, "--no-telemetry") && !has_one(a, "--telemetry"))
		add_arg(a, "--no-telemetry");
	if (!has_one(a, "--log-level"))
		add_arg(a, "--log-level=warning");
	add_devices(a, conf);
}

int
port_eal_arguments(const struct port_conf *conf, char *out, uint32_t out_octets)
{
	struct eal_args *a = malloc(sizeof(*a));
	uint32_t used = 0;
	int rc;

	if (a == NULL)
		return -ENOMEM;
	collect(a, conf);
	for (int i = 1; i < a->n && used < out_octets; i++)
		used += (uint32_t)snprintf(out + used, out_octets - used, "%s%s", i > 1 ? " " : "", a->argv[i]);
	rc = a->too_many || used >= out_octets ? -E2BIG : 0;
	free(a);
	return rc;
}

int
port_eal_start(const struct port_conf *conf, char *why, uint32_t why_octets)
{
	/* the EAL keeps pointers into its arguments and reorders argv: both live as long as the process */
	static struct eal_args args;
	static char *argv[EAL_ARGS_MAX + 1];

	collect(&args, conf);
	if (args.too_many) {
		snprintf(why, why_octets, "more than %u EAL arguments or %u octets of them", EAL_ARGS_MAX,
			EAL_ARGS_OCTETS);
		return -E2BIG;
	}
	memcpy(argv, args.argv, sizeof(argv));
	if (rte_eal_init(args.n, argv) < 0) {
		const int err = rte_errno != 0 ? rte_errno : EINVAL;

		snprintf(why, why_octets, "the EAL does not start: %s", rte_strerror(err));
		return -err;
	}
	if (rte_lcore_count() < conf->n_workers + 1) {
		snprintf(why, why_octets, "%u lcores, but %u workers and the main thread", rte_lcore_count(),
			conf->n_workers);
		return -EINVAL;
	}
	return 0;
}

int
port_launch(struct port_set *set, uint32_t worker, int (*run)(void *), void *arg)
{
	BUG_ON(worker >= set->n_workers);
	return rte_eal_remote_launch(run, arg, set->worker[worker].lcore);
}

void
port_wait(struct port_set *set, uint32_t worker)
{
	BUG_ON(worker >= set->n_workers);
	rte_eal_wait_lcore(set->worker[worker].lcore);
}
