/*
 * port_impl.h - what the files of this folder share.
 */
#ifndef GREYLINE_PORT_PORT_IMPL_H
#define GREYLINE_PORT_PORT_IMPL_H

#include <stdatomic.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include "dataplane/port/port_dpdk.h"

#define PORT_TX_BATCH        32
#define PORT_RING_FRAMES     1024 /* of each redirect and transmit ring; a power of two */
#define PORT_RING_NEIGHBOURS 64
#define PORT_QUEUE_DESCS     1024
#define PORT_COPY_OCTETS     256   /* payload up to this is copied behind the header: cheaper than a chain */
#define PORT_CLONES_MAX      16384 /* indirect mbufs of a worker */
#define PORT_BUFS_MIN        2048  /* of a worker: less cannot fill two ports' receive rings */
#define PORT_BUFS_MAX        (UINT32_C(1) << 20)
#define PORT_POOL_CACHE      256
#define PORT_FRAME_OCTETS    (RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN) /* of a frame around its packet */

struct port_dev;
struct port_worker;

/* A buf_pool over mbufs: struct buf is struct rte_mbuf. */
struct port_pool {
	struct buf_pool pool; /* first: ops get this one */
	struct rte_mempool *mp;
	struct rte_mempool *clones;
	bool crosses; /* other lcores free what this one sends: references are counted by locked instructions */
};

/* port_mbuf.c */
int port_pool_init(struct port_pool *p, uint32_t worker, uint32_t n_bufs, uint32_t room_octets);
void port_pool_fini(struct port_pool *p);
/* One frame as mbufs: chained when dev->may_chain, else in one; with the tag of dev->vlan. NULL: no buffer, or longer than one (counted by
 * the caller). */
struct rte_mbuf *port_mbuf_of_frame(struct port_pool *p, const struct frame *f, const struct port_dev *dev);
/* Where an answer may be written over a received frame, as net_frame has it. */
uint8_t *port_room_of_mbuf(struct rte_mbuf *m, const struct port_dev *dev);
/* A received frame whose room holds octets of an answer. Takes the frame's reference. */
struct rte_mbuf *port_mbuf_of_answer(const struct net_frame *received, uint32_t octets);
/* A received mbuf as a frame, without the tag of dev->vlan. False: dropped and counted. Takes m. */
bool port_frame_of_mbuf(struct port_worker *w, struct rte_mbuf *m, uint8_t port_index, struct net_frame *out);
/* A frame as it crosses a ring, and back. */
struct rte_mbuf *port_mbuf_pack(const struct net_frame *f);
void port_mbuf_unpack(struct rte_mbuf *m, struct net_frame *out);

/* port_lcore.c: octets of a slot in the rings of a net_af_packet port; 0 for other devices. */
uint32_t port_af_packet_slot(const struct conf_port *port);

/*
 * port_dpdk.c: room of a buffer: a frame of the largest MTU, a tag included; and a whole slot of an af_packet ring, because that driver copies what is in the
 * slot without a look at the room (PITFALLS 25).
 */
uint32_t port_room_of_buffer(const struct port_conf *conf);

struct port_dev {
	uint16_t id;       /* of the ethdev */
	uint16_t n_queues; /* n_workers, or 1 */
	uint16_t owner;    /* worker, where n_queues is 1 and there are several */
	uint16_t vlan;     /* 0: none */
	bool may_chain;
	bool hash_is_ours; /* the device hashes with our key and tells the result */
	atomic_bool link_up;
	char name[RTE_ETH_NAME_MAX_LEN];
	char driver[32];
};

struct port_batch {
	uint32_t n;
	struct rte_mbuf *mbuf[PORT_TX_BATCH];
};

struct port_worker {
	struct port_io io; /* first: ops get this one */
	struct port_set *set;
	uint32_t index;
	uint32_t rx_next;       /* port polled first in the next burst */
	uint32_t redirect_next; /* worker listened to first */
	uint32_t neighbour_next;
	struct port_pool pool;
	struct port_batch batch[CONF_PORTS_MAX];
	unsigned lcore;
} __rte_cache_aligned;

struct port_set {
	uint32_t n_ports, n_workers;
	struct port_dev dev[CONF_PORTS_MAX];
	struct port_worker worker[CONF_WORKERS_MAX];
	struct rte_ring *redirect[CONF_WORKERS_MAX][CONF_WORKERS_MAX];  /* [from][to]: mbufs */
	struct rte_ring *neighbour[CONF_WORKERS_MAX][CONF_WORKERS_MAX]; /* [from][to]: struct net_neighbour */
	struct rte_ring *tx[CONF_WORKERS_MAX][CONF_PORTS_MAX];          /* [from][port]: mbufs, to the port's owner */
};

#endif
