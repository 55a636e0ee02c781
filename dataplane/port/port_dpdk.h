/*
 * port_dpdk.h - the DPDK implementation of ports, for main.c: start the EAL, open the ports, run the workers.
 *
 * Flow:   main -> port_eal_start() -> port_open() -> port_io_of() for each worker -> port_launch() -> ... -> port_wait() -> port_close()
 * Touches: the EAL and the devices; threads (one lcore a worker).
 * Keeps:  free of <rte_*.h>. A port has one queue for each worker or one queue in all; in the second case one worker owns it,
 *         polls it and transmits for the others, who reach it by rings. Between two lcores there is one ring for each direction and
 *         purpose, with one producer and one consumer, so a worker that is descheduled holds up nobody's ring.
 */
#ifndef GREYLINE_PORT_PORT_DPDK_H
#define GREYLINE_PORT_PORT_DPDK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/conf.h"
#include "dataplane/base/counters.h"
#include "dataplane/net/flow.h"
#include "dataplane/port/port.h"

struct port_set;

struct port_conf {
	const struct conf_port *ports; /* borrowed for the call */
	uint32_t n_ports;
	uint32_t n_workers;
	uint32_t memory_mb; /* of EAL memory; most of it becomes buffers */
	bool spin; /* workers get a CPU of their own where there are enough; else they float over all of ours */
	const char *eal_args; /* NUL-terminated strings one after another */
	size_t eal_args_octets;
	const char *instance; /* tells this process's files in hugetlbfs from those of others */
};

/*
 * Starts the EAL, once in a process: the given arguments first, then what they leave open (lcores, memory, devices). The calling thread
 * becomes the main lcore. 0, or -errno with a message in why.
 */
int port_eal_start(const struct port_conf *conf, char *why, uint32_t why_octets);

/* How many CPUs' worth of arguments port_eal_start() would give to the EAL: for messages and tests. Arguments are separated by blanks in
 * out. 0 or -E2BIG. */
int port_eal_arguments(const struct port_conf *conf, char *out, uint32_t out_octets);

/* Configures and starts every port. counters: one for each worker, borrowed until port_close(). steering is read here (key and table are
 * given to devices that can hash). NULL with a message in why. */
struct port_set *port_open(const struct port_conf *conf, const struct flow_steering *steering,
	struct counters *counters, char *why, uint32_t why_octets);
/* After all workers have ended. */
void port_close(struct port_set *set);

struct port_io *port_io_of(struct port_set *set, uint32_t worker);

/* The MAC address a port has now. */
void port_mac(const struct port_set *set, uint32_t port_index, uint8_t *mac);

/* One line about a port: driver, queues, owner, offloads. Returns out. */
char *port_describe(const struct port_set *set, uint32_t port_index, char *out, uint32_t out_octets);

/* Main thread, about once a second: looks at the links. While a link is down, frames for it are dropped (a driver might block for ever).
 * Answers a bit for each port that changed; *up has one for each port that is up. */
uint32_t port_watch_links(struct port_set *set, uint32_t *up);

/* Waits for all links, at most timeout_ms. Whether all are up. */
bool port_wait_links(struct port_set *set, uint32_t timeout_ms);

struct port_stats {
	uint64_t rx_frames, tx_frames, rx_missed, rx_errors, tx_errors, rx_no_buffer; /* as the device counts */
};
void port_stats(const struct port_set *set, uint32_t port_index, struct port_stats *out);

/* Runs run(arg) on the lcore of a worker. 0 or -errno. */
int port_launch(struct port_set *set, uint32_t worker, int (*run)(void *), void *arg);
/* Waits until what was launched there has returned. */
void port_wait(struct port_set *set, uint32_t worker);

#endif
