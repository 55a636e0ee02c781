/*
 * echo.c - the limit: a bare receive-swap-transmit loop on one port, with the cycles it spends.
 *
 * Flow:   rte_eth_rx_burst() -> MAC addresses swapped -> rte_eth_tx_burst()
 * Touches: one port, one mapped file of counters.
 * Keeps:  nothing else is done to a frame, so no gateway on the same port, lcore and machine can cost less. Empty for a while, it naps, to
 *         leave the lcore to the gateway it alternates with.
 *
 * usage: echo COUNTERS_FILE -- EAL arguments
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ether.h>

#include "bench/load/shared.h"

#define BURST       32
#define NAP_AFTER   4096
#define NAP_MIN_NS  200000
#define NAP_MAX_NS  10000000 /* who wakes up more often takes the CPU from the worker while that is measured */
#define POOL_BUFS   16383
#define QUEUE_DESCS 1024
#define TX_RETRIES  2

static volatile sig_atomic_t stopped;

static void
stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static struct echo_shared *
counters_map(const char *path)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *at;

	if (fd < 0 || ftruncate(fd, sizeof(struct echo_shared)) != 0)
		return NULL;
	at = mmap(NULL, sizeof(struct echo_shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return at == MAP_FAILED ? NULL : at;
}

static void
port_start(uint16_t port)
{
	struct rte_mempool *pool =
		rte_pktmbuf_pool_create("echo", POOL_BUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	const struct rte_eth_conf conf = { 0 };

	if (pool == NULL || rte_eth_dev_configure(port, 1, 1, &conf) != 0 ||
		rte_eth_rx_queue_setup(port, 0, QUEUE_DESCS, SOCKET_ID_ANY, NULL, pool) != 0 ||
		rte_eth_tx_queue_setup(port, 0, QUEUE_DESCS, SOCKET_ID_ANY, NULL) != 0 || rte_eth_dev_start(port) != 0)
		rte_exit(EXIT_FAILURE, "echo: the port does not start\n");
}

static uint16_t
turn(uint16_t port)
{
	struct rte_mbuf *m[BURST];
	const uint16_t n = rte_eth_rx_burst(port, 0, m, BURST);
	uint16_t sent = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m[i], struct rte_ether_hdr *);
		const struct rte_ether_addr to = eth->dst_addr;

		eth->dst_addr = eth->src_addr;
		eth->src_addr = to;
	}
	for (uint32_t i = 0; i <= TX_RETRIES && sent < n; i++)
		sent = (uint16_t)(sent + rte_eth_tx_burst(port, 0, m + sent, (uint16_t)(n - sent)));
	if (sent < n)
		rte_pktmbuf_free_bulk(m + sent, n - sent);
	return n;
}

int
main(int argc, char **argv)
{
	uint32_t empty = 0;
	long nap_ns = NAP_MIN_NS;
	struct echo_shared *shared;
	uint64_t began;
	uint16_t n;

	if (argc < 3 || strcmp(argv[2], "--") != 0 || (shared = counters_map(argv[1])) == NULL) {
		fprintf(stderr, "usage: echo COUNTERS_FILE -- EAL arguments\n");
		return 2;
	}
	argv[2] = argv[0];
	if (rte_eal_init(argc - 2, argv + 2) < 0 || rte_eth_dev_count_avail() != 1)
		rte_exit(EXIT_FAILURE, "echo: one port is wanted\n");
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	port_start(0);
	fprintf(stderr, "echo: ready\n");
	while (!stopped) {
		began = rte_rdtsc();
		n = turn(0);
		if (n > 0) {
			__atomic_store_n(
				&shared->busy_cycles, shared->busy_cycles + rte_rdtsc() - began, __ATOMIC_RELAXED);
			__atomic_store_n(&shared->busy_turns, shared->busy_turns + 1, __ATOMIC_RELAXED);
			__atomic_store_n(&shared->frames, shared->frames + n, __ATOMIC_RELAXED);
			empty = 0;
			nap_ns = NAP_MIN_NS;
		} else if (++empty > NAP_AFTER) {
			nanosleep(&(struct timespec){ .tv_nsec = nap_ns }, NULL);
			nap_ns = RTE_MIN(nap_ns * 2, NAP_MAX_NS);
		}
	}
	rte_eth_dev_stop(0);
	rte_eth_dev_close(0);
	return 0;
}
