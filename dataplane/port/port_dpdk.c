/*
 * port_dpdk.c - devices and the worker's door to them.
 *
 * Flow:   port_open() configures;  worker -> port_io_ops -> rte_eth_rx_burst(), rte_eth_tx_burst(), rings
 * Touches: ethdevs, rings. No lock, no allocation beyond mempools after port_open().
 * Keeps:  a queue is touched by one lcore alone; every ring has one producer and one consumer; what finds no room is dropped and
 *         counted, nothing waits.
 */
#include "dataplane/port/port_impl.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_ring_elem.h>

#include "dataplane/base/bug.h"

static_assert(sizeof(struct net_neighbour) % 4 == 0, "ring elements are of 4 octets each");

#define TX_RETRIES 2 /* a full queue is tried again so often, then the rest is dropped */

static struct port_worker *
worker_of(struct port_io *io)
{
	return (struct port_worker *)io;
}

static bool
has_queue(const struct port_worker *w, const struct port_dev *dev)
{
	return dev->n_queues > 1 || dev->owner == w->index;
}

static uint16_t
queue_of(const struct port_worker *w, const struct port_dev *dev)
{
	return dev->n_queues > 1 ? (uint16_t)w->index : 0;
}

/* ---- receive ---- */

static uint32_t
rx_port(struct port_worker *w, uint32_t port_index, struct net_frame *out, uint32_t n)
{
	struct port_dev *dev = &w->set->dev[port_index];
	struct rte_mbuf *m[RX_BURST_MAX_SEGS];
	uint32_t done = 0;
	uint64_t octets = 0;
	uint16_t got;

	got = rte_eth_rx_burst(dev->id, queue_of(w, dev), m, (uint16_t)RTE_MIN(n, (uint32_t)RX_BURST_MAX_SEGS));
	for (uint16_t i = 0; i < got; i++) {
		octets += m[i]->pkt_len;
		done += port_frame_of_mbuf(w, m[i], (uint8_t)port_index, &out[done]);
	}
	if (got > 0) {
		counter_add(w->io.counters, CTR_port_rx_frames, got);
		counter_add(w->io.counters, CTR_port_rx_octets, octets);
	}
	return done;
}

static uint32_t
port_rx(struct port_io *io, struct net_frame *out, uint32_t n)
{
	struct port_worker *w = worker_of(io);
	const uint32_t first = w->rx_next;
	uint32_t done = 0;

	for (uint32_t i = 0; i < w->set->n_ports && done < n; i++) {
		const uint32_t port_index = (first + i) % w->set->n_ports;

		if (has_queue(w, &w->set->dev[port_index]))
			done += rx_port(w, port_index, out + done, n - done);
	}
	w->rx_next = (first + 1) % w->set->n_ports;
	return done;
}

/* ---- transmit ---- */

/* Gives mbufs to the device; what it does not take is dropped. */
static void
tx_now(struct port_worker *w, struct port_dev *dev, struct rte_mbuf **m, uint32_t n)
{
	const uint16_t queue = queue_of(w, dev);
	uint64_t octets = 0;
	uint32_t sent = 0;

	if (!atomic_load_explicit(
		    &dev->link_up, memory_order_relaxed)) { /* af_packet waits for ever when its ring fills up */
		rte_pktmbuf_free_bulk(m, n);
		counter_add(w->io.counters, CTR_port_tx_full, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		octets += m[i]->pkt_len;
	for (uint32_t i = 0; i <= TX_RETRIES && sent < n; i++)
		sent += rte_eth_tx_burst(dev->id, queue, m + sent, (uint16_t)(n - sent));
	for (uint32_t i = sent; i < n; i++)
		octets -= m[i]->pkt_len;
	if (sent < n) {
		rte_pktmbuf_free_bulk(m + sent, n - sent);
		counter_add(w->io.counters, CTR_port_tx_full, n - sent);
	}
	counter_add(w->io.counters, CTR_port_tx_frames, sent);
	counter_add(w->io.counters, CTR_port_tx_octets, octets);
}

static void
batch_flush(struct port_worker *w, uint32_t port_index)
{
	struct port_batch *b = &w->batch[port_index];
	struct port_dev *dev = &w->set->dev[port_index];

	if (b->n == 0)
		return;
	if (has_queue(w, dev)) {
		tx_now(w, dev, b->mbuf, b->n);
	} else {
		const uint32_t put =
			rte_ring_sp_enqueue_burst(w->set->tx[w->index][port_index], (void **)b->mbuf, b->n, NULL);

		if (put < b->n) {
			rte_pktmbuf_free_bulk(b->mbuf + put, b->n - put);
			counter_add(w->io.counters, CTR_port_tx_full, b->n - put);
		}
	}
	b->n = 0;
}

/* Takes m. */
static void
batch_add(struct port_worker *w, uint32_t port_index, struct rte_mbuf *m)
{
	struct port_batch *b = &w->batch[port_index];

	b->mbuf[b->n++] = m;
	if (b->n == PORT_TX_BATCH)
		batch_flush(w, port_index);
}

static void
port_tx(struct port_io *io, const struct frame *frames, uint32_t n)
{
	struct port_worker *w = worker_of(io);

	for (uint32_t i = 0; i < n; i++) {
		const struct frame *f = &frames[i];
		struct rte_mbuf *m;

		HOT_BUG_ON(f->port_index >= w->set->n_ports);
		m = port_mbuf_of_frame(&w->pool, f, &w->set->dev[f->port_index]);
		if (m == NULL)
			counter_inc(w->io.counters, CTR_port_no_buffer);
		else
			batch_add(w, f->port_index, m);
	}
}

static void
port_tx_answer(struct port_io *io, const struct net_frame *received, uint32_t octets)
{
	struct port_worker *w = worker_of(io);

	HOT_BUG_ON(received->port_index >= w->set->n_ports);
	batch_add(w, received->port_index, port_mbuf_of_answer(received, octets));
}

/* What other workers want to send through a port we own. */
static void
tx_for_others(struct port_worker *w, uint32_t port_index)
{
	struct port_dev *dev = &w->set->dev[port_index];

	if (dev->n_queues > 1 || dev->owner != w->index)
		return;
	for (uint32_t from = 0; from < w->set->n_workers; from++) {
		struct rte_ring *ring = w->set->tx[from][port_index];
		struct rte_mbuf *m[PORT_TX_BATCH];
		uint32_t n;

		/* at most one ring's worth a turn: the producer may be faster than we are */
		for (uint32_t done = 0; ring != NULL && done < PORT_RING_FRAMES; done += n) {
			n = rte_ring_sc_dequeue_burst(ring, (void **)m, PORT_TX_BATCH, NULL);
			if (n == 0)
				break;
			tx_now(w, dev, m, n);
		}
	}
}

static void
port_flush(struct port_io *io)
{
	struct port_worker *w = worker_of(io);

	for (uint32_t i = 0; i < w->set->n_ports; i++) {
		batch_flush(w, i);
		tx_for_others(w, i);
	}
}

/* ---- between workers ---- */

static void
port_redirect(struct port_io *io, uint32_t worker, const struct net_frame *frame)
{
	struct port_worker *w = worker_of(io);
	struct rte_mbuf *m = port_mbuf_pack(frame);

	if (worker >= w->set->n_workers || worker == w->index ||
		rte_ring_sp_enqueue(w->set->redirect[w->index][worker], m) != 0) {
		rte_pktmbuf_free(m);
		counter_inc(w->io.counters, CTR_port_redirect_full);
	}
}

static uint32_t
port_redirected(struct port_io *io, struct net_frame *out, uint32_t n)
{
	struct port_worker *w = worker_of(io);
	const uint32_t n_workers = w->set->n_workers, first = w->redirect_next;
	struct rte_mbuf *m[RX_BURST_MAX_SEGS];
	uint32_t done = 0;

	for (uint32_t i = 0; i < n_workers && done < n; i++) {
		struct rte_ring *ring = w->set->redirect[(first + i) % n_workers][w->index];
		uint32_t got;

		if (ring == NULL)
			continue;
		got = rte_ring_sc_dequeue_burst(ring, (void **)m, RTE_MIN(n - done, (uint32_t)RX_BURST_MAX_SEGS), NULL);
		for (uint32_t k = 0; k < got; k++)
			port_mbuf_unpack(m[k], &out[done++]);
	}
	w->redirect_next = (first + 1) % n_workers;
	return done;
}

static void
port_neighbour_tell(struct port_io *io, const struct net_neighbour *n)
{
	struct port_worker *w = worker_of(io);

	for (uint32_t to = 0; to < w->set->n_workers; to++)
		if (to != w->index) /* a full ring loses it: its reader asks for itself */
			rte_ring_sp_enqueue_elem(w->set->neighbour[w->index][to], (void *)(uintptr_t)n, sizeof(*n));
}

static bool
port_neighbour_hear(struct port_io *io, struct net_neighbour *out)
{
	struct port_worker *w = worker_of(io);
	const uint32_t n_workers = w->set->n_workers;

	for (uint32_t i = 0; i < n_workers; i++) {
		struct rte_ring *ring = w->set->neighbour[w->neighbour_next][w->index];

		if (ring != NULL && rte_ring_sc_dequeue_elem(ring, out, sizeof(*out)) == 0)
			return true;
		w->neighbour_next = (w->neighbour_next + 1) % n_workers;
	}
	return false;
}

static const struct port_io_ops port_dpdk_ops = {
	.rx = port_rx,
	.tx = port_tx,
	.tx_answer = port_tx_answer,
	.flush = port_flush,
	.redirect = port_redirect,
	.redirected = port_redirected,
	.neighbour_tell = port_neighbour_tell,
	.neighbour_hear = port_neighbour_hear,
};

/* ---- open and close ---- */

#define RSS_WANTED                                                                                                     \
	(RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_IPV6 |                  \
		RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_IPV6_TCP_EX)

/* The name by which a device is looked up: what stands before its arguments. */
static int
find_device(const struct conf_port *port, uint16_t *id, char *why, uint32_t why_octets)
{
	char name[CONF_DEVICE_OCTETS];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(port->device, ","), port->device);
	if (rte_eth_dev_get_port_by_name(name, id) != 0) {
		snprintf(why, why_octets, "port %s: no device %s (is it bound, does its interface exist?)", port->name,
			name);
		return -ENODEV;
	}
	return 0;
}

/*
 * As many queues as there are workers, or one. memif's peer decides how many of its queues exist, and what is sent to one that does not is
 * lost: one.
 */
static uint16_t
choose_queues(const struct rte_eth_dev_info *info, uint32_t n_workers)
{
	if (strcmp(info->driver_name, "net_memif") == 0)
		return 1;
	return info->max_rx_queues >= n_workers && info->max_tx_queues >= n_workers ? (uint16_t)n_workers : 1;
}

/* Our key as long as the device wants it; false: a length we cannot serve. */
static bool
fill_rss(const struct rte_eth_dev_info *info, const struct flow_steering *steering, uint8_t *key,
	struct rte_eth_conf *conf)
{
	const uint64_t types = RSS_WANTED & info->flow_type_rss_offloads;

	if ((types & (RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP)) == 0)
		return false;
	if (info->hash_key_size != 40 && info->hash_key_size != FLOW_KEY_OCTETS)
		return false;
	memcpy(key, steering->key, FLOW_KEY_OCTETS);
	conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	conf->rx_adv_conf.rss_conf.rss_key = key;
	conf->rx_adv_conf.rss_conf.rss_key_len = info->hash_key_size;
	conf->rx_adv_conf.rss_conf.rss_hf = types;
	return true;
}

/* Our indirection table, repeated to the device's size. A device with a smaller one spreads otherwise: its frames are redirected. */
static void
fill_reta(uint16_t id, const struct rte_eth_dev_info *info, const struct flow_steering *steering)
{
	struct rte_eth_rss_reta_entry64 reta[RTE_ETH_RSS_RETA_SIZE_512 / RTE_ETH_RETA_GROUP_SIZE] = { 0 };

	if (info->reta_size == 0 || info->reta_size > RTE_ETH_RSS_RETA_SIZE_512 ||
		info->reta_size % FLOW_RETA_ENTRIES != 0)
		return;
	for (uint32_t i = 0; i < info->reta_size; i++) {
		reta[i / RTE_ETH_RETA_GROUP_SIZE].mask |= UINT64_C(1) << i % RTE_ETH_RETA_GROUP_SIZE;
		reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] =
			steering->reta[i % FLOW_RETA_ENTRIES];
	}
	rte_eth_dev_rss_reta_update(id, reta, info->reta_size);
}

static int
setup_queues(struct port_set *set, struct port_dev *dev, const struct rte_eth_dev_info *info,
	const struct rte_eth_conf *conf)
{
	uint16_t n_rx = PORT_QUEUE_DESCS, n_tx = PORT_QUEUE_DESCS;
	int rc = rte_eth_dev_adjust_nb_rx_tx_desc(dev->id, &n_rx, &n_tx);

	for (uint16_t q = 0; rc == 0 && q < dev->n_queues; q++) {
		const uint32_t user = dev->n_queues > 1 ? q : dev->owner;
		struct rte_eth_rxconf rx = info->default_rxconf;
		struct rte_eth_txconf tx = info->default_txconf;

		rx.offloads = conf->rxmode.offloads;
		tx.offloads = conf->txmode.offloads;
		rc = rte_eth_rx_queue_setup(dev->id, q, n_rx, SOCKET_ID_ANY, &rx, set->worker[user].pool.mp);
		if (rc == 0)
			rc = rte_eth_tx_queue_setup(dev->id, q, n_tx, SOCKET_ID_ANY, &tx);
	}
	return rc;
}

/*
 * The MTU of the kernel's interface below net_af_packet: that driver admits no more than 1500 through ethdev, whatever its rings hold, but
 * carries what the interface does.
 */
static int
set_kernel_mtu(const struct conf_port *port)
{
	const char *iface = strstr(port->device, ",iface=");
	struct ifreq req = { 0 };
	int fd, rc = 0;

	if (port_af_packet_slot(port) == 0 || iface == NULL)
		return -ENOTSUP;
	iface += strlen(",iface=");
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%.*s", (int)strcspn(iface, ","), iface);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCGIFMTU, &req) != 0) {
		rc = -errno;
	} else if (req.ifr_mtu < (int)port->mtu) {
		req.ifr_mtu = port->mtu;
		rc = ioctl(fd, SIOCSIFMTU, &req) != 0 ? -errno : 0;
	}
	close(fd);
	return rc;
}

/* MTU and MAC address where the configuration names them; a device that cannot change them is asked whether it fits. */
static int
set_identity(const struct port_dev *dev, const struct conf_port *port, char *why, uint32_t why_octets)
{
	static const uint8_t none[6];
	struct rte_ether_addr mac;
	uint16_t mtu = 0;
	int rc;

	rte_eth_dev_get_mtu(dev->id, &mtu);
	if (mtu != port->mtu) {
		rc = port->mtu > RTE_ETHER_MTU ? set_kernel_mtu(port) : -ENOTSUP;
		if (rc == -ENOTSUP)
			rc = rte_eth_dev_set_mtu(dev->id, port->mtu);
		if (rc != 0 && rc != -ENOTSUP && mtu < port->mtu) {
			snprintf(why, why_octets, "port %s: the device refuses an MTU of %u (it has %u): %s",
				port->name, port->mtu, mtu, rte_strerror(-rc));
			return rc;
		}
	}
	if (memcmp(port->mac, none, sizeof(none)) != 0) {
		memcpy(mac.addr_bytes, port->mac, sizeof(port->mac));
		rte_eth_dev_default_mac_addr_set(dev->id, &mac); /* a refusal does no harm: the port is promiscuous */
	}
	return 0;
}

static int
open_dev(struct port_set *set, uint32_t index, const struct port_conf *pc, const struct flow_steering *steering,
	char *why, uint32_t why_octets)
{
	const struct conf_port *port = &pc->ports[index];
	struct port_dev *dev = &set->dev[index];
	struct rte_eth_conf conf = { 0 };
	struct rte_eth_dev_info info = { 0 };
	uint8_t key[FLOW_KEY_OCTETS];
	bool rss;
	int rc;

	rc = find_device(port, &dev->id, why, why_octets);
	if (rc != 0)
		return rc;
	rc = rte_eth_dev_info_get(dev->id, &info);
	if (rc != 0)
		goto fail;
	snprintf(dev->name, sizeof(dev->name), "%s", port->name);
	snprintf(dev->driver, sizeof(dev->driver), "%s", info.driver_name);
	dev->vlan = port->vlan;
	dev->n_queues = choose_queues(&info, pc->n_workers);
	dev->owner = (uint16_t)(index % pc->n_workers);
	rss = dev->n_queues > 1 && fill_rss(&info, steering, key, &conf);
	if (rss && (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH) != 0) {
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_RSS_HASH;
		dev->hash_is_ours = true;
	}
	conf.rxmode.offloads |= info.rx_offload_capa & (RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_IPV4_CKSUM);
	conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	dev->may_chain = conf.txmode.offloads != 0;
	rc = rte_eth_dev_configure(dev->id, dev->n_queues, dev->n_queues, &conf);
	if (rc == 0)
		rc = set_identity(dev, port, why, why_octets);
	if (rc == 0)
		rc = setup_queues(set, dev, &info, &conf);
	if (rc == 0)
		rc = rte_eth_dev_start(dev->id);
	if (rc != 0)
		goto fail;
	if (rss)
		fill_reta(dev->id, &info, steering);
	rte_eth_promiscuous_enable(
		dev->id); /* best effort, as the next: what a device cannot do is done by its bridge or switch */
	rte_eth_allmulticast_enable(dev->id); /* neighbour discovery */
	return 0;
fail:
	if (why[0] == '\0')
		snprintf(why, why_octets, "port %s (%s): %s", port->name, port->device, rte_strerror(-rc));
	rte_eth_dev_close(dev->id);
	return rc;
}

/* Rings exist where they can be used: none to oneself, none to a port with a queue for everybody. */
static int
make_rings(struct port_set *set)
{
	char name[RTE_RING_NAMESIZE];

	for (uint32_t from = 0; from < set->n_workers; from++) {
		for (uint32_t p = 0; p < set->n_ports; p++)
			set->worker[from].pool.crosses |= set->dev[p].n_queues < set->n_workers;
		for (uint32_t to = 0; to < set->n_workers; to++) {
			if (from == to)
				continue;
			snprintf(name, sizeof(name), "gl_rd_%u_%u", from, to);
			set->redirect[from][to] =
				rte_ring_create(name, PORT_RING_FRAMES, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
			snprintf(name, sizeof(name), "gl_nb_%u_%u", from, to);
			set->neighbour[from][to] = rte_ring_create_elem(name, sizeof(struct net_neighbour),
				PORT_RING_NEIGHBOURS, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
			if (set->redirect[from][to] == NULL || set->neighbour[from][to] == NULL)
				return -rte_errno;
		}
		for (uint32_t p = 0; p < set->n_ports; p++) {
			if (set->dev[p].n_queues > 1 || set->dev[p].owner == from)
				continue;
			snprintf(name, sizeof(name), "gl_tx_%u_%u", from, p);
			set->tx[from][p] =
				rte_ring_create(name, PORT_RING_FRAMES, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
			if (set->tx[from][p] == NULL)
				return -rte_errno;
		}
	}
	return 0;
}

/* Buffers of a worker: three fifths of the memory, an mbuf's own octets included. */
static uint32_t
bufs_of_worker(const struct port_conf *conf, uint32_t room_octets)
{
	const uint64_t octets = (uint64_t)conf->memory_mb * 1024 * 1024 / 5 * 3 / conf->n_workers;
	const uint64_t n = octets / (sizeof(struct rte_mbuf) + RTE_PKTMBUF_HEADROOM + room_octets + 64);

	return (uint32_t)(n < PORT_BUFS_MIN ? PORT_BUFS_MIN : n > PORT_BUFS_MAX ? PORT_BUFS_MAX : n);
}

uint32_t
port_room_of_buffer(const struct port_conf *conf)
{
	uint32_t room_octets = BUF_ROOM_MAX_OCTETS;

	for (uint32_t i = 0; i < conf->n_ports; i++) {
		room_octets = RTE_MAX(room_octets, conf->ports[i].mtu + (uint32_t)PORT_FRAME_OCTETS + 64);
		room_octets = RTE_MAX(room_octets, port_af_packet_slot(&conf->ports[i]));
	}
	return RTE_ALIGN_CEIL(room_octets, 64U);
}

static int
open_workers(
	struct port_set *set, const struct port_conf *conf, struct counters *counters, char *why, uint32_t why_octets)
{
	const uint32_t room_octets = port_room_of_buffer(conf), n_bufs = bufs_of_worker(conf, room_octets);
	unsigned lcore = rte_get_next_lcore(UINT_MAX, 1, 0);

	for (uint32_t i = 0; i < set->n_workers; i++) {
		struct port_worker *w = &set->worker[i];
		const int rc = port_pool_init(&w->pool, i, n_bufs, room_octets);

		if (rc != 0) {
			snprintf(why, why_octets,
				"%u buffers of %u octets for worker %u: %s (dataplane.memory_mb is %u)", n_bufs,
				room_octets, i, rte_strerror(-rc), conf->memory_mb);
			return rc;
		}
		if (lcore >= RTE_MAX_LCORE) {
			snprintf(why, why_octets, "no lcore for worker %u", i);
			return -EINVAL;
		}
		w->io = (struct port_io){ .ops = &port_dpdk_ops, .pool = &w->pool.pool, .counters = &counters[i] };
		w->set = set;
		w->index = i;
		w->lcore = lcore;
		lcore = rte_get_next_lcore(lcore, 1, 0);
	}
	return 0;
}

struct port_set *
port_open(const struct port_conf *conf, const struct flow_steering *steering, struct counters *counters, char *why,
	uint32_t why_octets)
{
	struct port_set *set = rte_zmalloc("gl_ports", sizeof(*set), RTE_CACHE_LINE_SIZE);
	uint32_t up;
	int rc;

	BUG_ON(conf->n_ports == 0 || conf->n_ports > CONF_PORTS_MAX || conf->n_workers == 0 ||
		conf->n_workers > CONF_WORKERS_MAX);
	why[0] = '\0';
	if (set == NULL) {
		snprintf(why, why_octets, "no memory for the ports");
		return NULL;
	}
	set->n_workers = conf->n_workers;
	rc = open_workers(set, conf, counters, why, why_octets);
	while (rc == 0 && set->n_ports < conf->n_ports) {
		rc = open_dev(set, set->n_ports, conf, steering, why, why_octets);
		set->n_ports += rc == 0; /* of those that are to be closed */
	}
	if (rc == 0) {
		rc = make_rings(set);
		if (rc != 0)
			snprintf(why, why_octets, "no memory for the rings between workers");
	}
	if (rc != 0) {
		port_close(set);
		return NULL;
	}
	port_watch_links(set, &up);
	return set;
}

static void
drain_ring(struct rte_ring *ring)
{
	void *m;

	while (ring != NULL && rte_ring_sc_dequeue(ring, &m) == 0)
		rte_pktmbuf_free(m);
	rte_ring_free(ring);
}

void
port_close(struct port_set *set)
{
	for (uint32_t i = 0; i < set->n_ports; i++) {
		rte_eth_dev_stop(set->dev[i].id); /* errors are of no use here: everything is given up anyway */
		rte_eth_dev_close(set->dev[i].id);
	}
	for (uint32_t from = 0; from < set->n_workers; from++) {
		for (uint32_t to = 0; to < set->n_workers; to++) {
			drain_ring(set->redirect[from][to]);
			rte_ring_free(set->neighbour[from][to]);
		}
		for (uint32_t p = 0; p < CONF_PORTS_MAX; p++) {
			drain_ring(set->tx[from][p]);
			rte_pktmbuf_free_bulk(set->worker[from].batch[p].mbuf, set->worker[from].batch[p].n);
		}
	}
	for (uint32_t i = 0; i < set->n_workers; i++)
		port_pool_fini(&set->worker[i].pool);
	rte_free(set);
}

struct port_io *
port_io_of(struct port_set *set, uint32_t worker)
{
	BUG_ON(worker >= set->n_workers);
	return &set->worker[worker].io;
}

void
port_mac(const struct port_set *set, uint32_t port_index, uint8_t *mac)
{
	struct rte_ether_addr addr = { 0 };

	BUG_ON(port_index >= set->n_ports);
	rte_eth_macaddr_get(set->dev[port_index].id, &addr);
	memcpy(mac, addr.addr_bytes, sizeof(addr.addr_bytes));
}

char *
port_describe(const struct port_set *set, uint32_t port_index, char *out, uint32_t out_octets)
{
	const struct port_dev *dev = &set->dev[port_index];
	char owner[32] = "", vlan[16] = "";

	if (dev->n_queues < set->n_workers)
		snprintf(owner, sizeof(owner), " owned by worker %u", dev->owner);
	if (dev->vlan != 0)
		snprintf(vlan, sizeof(vlan), ", VLAN %u", dev->vlan);
	snprintf(out, out_octets, "port %s: %s, %u queue%s%s, %s%s, link %s", dev->name, dev->driver, dev->n_queues,
		dev->n_queues > 1 ? "s" : "", owner, dev->may_chain ? "chained frames" : "linear frames", vlan,
		atomic_load(&dev->link_up) ? "up" : "down");
	return out;
}

uint32_t
port_watch_links(struct port_set *set, uint32_t *up)
{
	uint32_t changed = 0;

	*up = 0;
	for (uint32_t i = 0; i < set->n_ports; i++) {
		struct rte_eth_link link = { 0 };
		bool is_up;

		if (rte_eth_link_get_nowait(set->dev[i].id, &link) != 0)
			link.link_status = RTE_ETH_LINK_UP; /* a device that cannot tell */
		is_up = link.link_status == RTE_ETH_LINK_UP;
		*up |= (uint32_t)is_up << i;
		changed |= (uint32_t)(atomic_exchange(&set->dev[i].link_up, is_up) != is_up) << i;
	}
	return changed;
}

bool
port_wait_links(struct port_set *set, uint32_t timeout_ms)
{
	const uint32_t all = (UINT32_C(1) << set->n_ports) - 1;
	uint32_t up = 0;

	for (uint32_t waited_ms = 0;; waited_ms += 10) {
		port_watch_links(set, &up);
		if (up == all || waited_ms >= timeout_ms)
			return up == all;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
}

void
port_stats(const struct port_set *set, uint32_t port_index, struct port_stats *out)
{
	struct rte_eth_stats s = { 0 };

	BUG_ON(port_index >= set->n_ports);
	rte_eth_stats_get(set->dev[port_index].id, &s);
	*out = (struct port_stats){ .rx_frames = s.ipackets,
		.tx_frames = s.opackets,
		.rx_missed = s.imissed,
		.rx_errors = s.ierrors,
		.tx_errors = s.oerrors,
		.rx_no_buffer = s.rx_nombuf };
}
